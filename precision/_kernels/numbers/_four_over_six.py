"""The choice, of two scales for a group, of that with the lower error (`FOUR_OVER_SIX_MAE`, `…_MSE`)."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from precision._kernels._jit import jit, overload
from precision._kernels._llvm_scalars import least
from precision._kernels._params import Ends, FormatParams, ModeParams
from precision._kernels._scalar_rounding import U32, U64, decode_value
from precision._kernels.numbers._element_codes import code_of
from precision._kernels.numbers._group_scales import (
    ScaleFormat,
    ScaleParams,
    Yes,
    chosen,
    divisor_of,
    scale_code,
    wanted_scales,
)


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
def _quotient(value: Any, divisor: Any, how: ScaleParams) -> Any:
    return value / divisor


@jit
def _product(value: Any, divisor: Any, how: ScaleParams) -> Any:
    return value * divisor


def _scaled(value: Any, divisor: Any, how: ScaleParams) -> Any:
    """Return an element divided (or multiplied) by what `divisor_of` returned."""


@overload(_scaled)
def _scaled_by_rule(value: Any, divisor: Any, how: Any) -> Any:
    return _product if chosen(how, "multiply") is Yes else _quotient


@jit
def _find_errors(
    x: Any, start: Any, count: Any, code: Any, how: ScaleParams, target: ScaleFormat, trial: Trial, out: Any
) -> None:
    """Write the errors of a group's elements under a scale of this code; 0 for those that are not finite."""
    kind = x.dtype.type
    scale, total = decode_value(U32(code), target.fmt), _total(code, how, target)
    divisor, amax, span = divisor_of(total, how), trial.amax, trial.span
    by_amax, squares = trial.by_amax, trial.squares
    for i in range(count):
        value = x[start + i]
        code_of_value = code_of(_scaled(value, divisor, how), trial.fmt, trial.mode, trial.ends)
        q = kind(decode_value(U32(code_of_value), trial.fmt))
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
            start, count = U64(r * width + low), U64(least(group, width - low))
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
