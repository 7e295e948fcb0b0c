"""The choice, of two scales for a group, of that with the lower error (`FOUR_OVER_SIX_MAE`, `…_MSE`)."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import types

from precision._kernels._jit import jit, overload
from precision._kernels._llvm_scalars import bits32, bits64
from precision._kernels._params import Ends, FormatParams, ModeParams
from precision._kernels._scalar_rounding import U32, U64, core32, core64, decode_value
from precision._kernels.numbers._group_scales import (
    ScaleFormat,
    ScaleParams,
    divisor_of,
    scale_code,
    wanted_scales,
)

_code32, _rounded32 = core32.code, core32.rounded
_code64, _rounded64 = core64.code, core64.rounded


class Trial(NamedTuple):
    """The rules by which elements are quantized and restored; floats have the source's type."""

    fmt: FormatParams
    mode: ModeParams
    ends: Ends
    squares: int  #: 1 for the sum of squares, 0 for that of magnitudes
    by_amax: int  #: 1: restored as q * scale * amax / span, 0: as q * fl32(scale * tensor scale)
    amax: Any  #: of the tensor
    span: Any  #: largest element times the largest scale that the tensor scale aims at


@jit
def _total(code: Any, how: ScaleParams, target: ScaleFormat) -> Any:
    """Return fl32(scale * tensor scale) for a scale's code."""
    return np.float32(decode_value(U32(code), target.fmt) * np.float32(how.tensor_scale))


@jit
def code_of32(quotient: Any, trial: Trial) -> Any:
    """Return the code of a float32."""
    sign, size, _, _, rounded = _rounded32(bits32(quotient), trial.fmt, trial.mode)
    return _code32(sign, size, rounded, trial.fmt, trial.ends)


@jit
def code_of64(quotient: Any, trial: Trial) -> Any:
    """Return the code of a float64."""
    sign, size, _, _, rounded = _rounded64(bits64(quotient), trial.fmt, trial.mode)
    return _code64(sign, size, rounded, trial.fmt, trial.ends)


def _code_of(quotient: Any, trial: Trial) -> Any:
    """Return the code of a quotient, by its type."""


@overload(_code_of)
def _code_by_type(quotient: Any, trial: Trial) -> Any:
    code_of = code_of32 if quotient == types.float32 else code_of64
    return getattr(code_of, "py_func", code_of)


@jit
def _find_errors(
    x: Any, start: Any, count: Any, code: Any, how: ScaleParams, target: ScaleFormat, trial: Trial, out: Any
) -> None:
    """Write the errors of a group's elements under a scale of this code; 0 for those that are not finite."""
    kind = x.dtype.type
    scale, total = decode_value(U32(code), target.fmt), _total(code, how, target)
    divisor, amax, span = divisor_of(total, how), trial.amax, trial.span
    multiply, by_amax, squares = how.multiply, trial.by_amax, trial.squares
    for i in range(count):
        value = x[start + i]
        quotient = value * divisor if multiply else value / divisor
        q = kind(decode_value(U32(_code_of(quotient, trial)), trial.fmt))
        away = (q * scale * amax / span if by_amax else q * total) - value
        away = away * away if squares else abs(away)
        out[i] = away if abs(value) < kind(np.inf) else kind(0)


@jit
def better_scales(
    x: Any, rows: int, width: int, group: int, amax: Any,
    how: ScaleParams, target: ScaleFormat, trial: Trial, codes: Any, divisors: Any,
) -> None:  # fmt: skip
    """Write scales of a piece, and what its elements are divided or multiplied by; overwrites ``amax``."""
    wanted_scales(amax, 0, amax.size, how)
    errors, others = np.empty(group, x.dtype), np.empty(group, x.dtype)
    g = 0
    for r in range(rows):
        for low in range(0, width, group):
            start, count = U64(r * width + low), U64(min(group, width - low))
            # A group of zeros has -1 here, and more is below 0 as well.
            more = amax[g] * np.float32(1.5)
            code, other = scale_code(amax[g], how, target), scale_code(more, how, target)
            if code != other:
                _find_errors(x, start, count, code, how, target, trial, errors)
                _find_errors(x, start, count, other, how, target, trial, others)
                error, another = x.dtype.type(0), x.dtype.type(0)
                for i in range(count):  # one after another: a vector loop would add in another order
                    error += errors[i]
                    another += others[i]
                code = other if another < error else code
            codes[g] = code
            divisors[g] = divisor_of(_total(code, how, target), how)
            g += 1
