"""Of two scales for each group, the one with the lower error (`ScaleRule.FOUR_OVER_SIX_MAE`, `…_MSE`)."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from precision._kernels._jit import jit
from precision._kernels.params import Ends, FormatParams, ModeParams
from precision._kernels.rounding import U32, U64, bits64, core64, decode_value
from precision._kernels.scales import ScaleFormat, ScaleParams, divisor_of, scale_code, wanted_scales

_code64, _rounded64 = core64.code, core64.rounded


class Trial(NamedTuple):
    """How elements are quantized and restored for their errors. The floats have the source's type."""

    fmt: FormatParams
    mode: ModeParams
    ends: Ends
    squares: int  #: 1 for the sum of squares, 0 for that of magnitudes
    by_amax: int  #: 1: restored as q * code * amax / span, 0: as q * fl32(code * tensor scale)
    amax: Any  #: of the tensor
    span: Any  #: largest element times the largest scale that the tensor scale aims at


@jit
def _total(code: Any, how: ScaleParams, target: ScaleFormat) -> Any:
    return np.float32(decode_value(U32(code), target.fmt) * np.float32(how.tensor_scale))


@jit
def _error(
    x: Any, start: Any, count: Any, code: Any, how: ScaleParams, target: ScaleFormat, trial: Trial
) -> Any:
    """The error of a group's finite elements by the scale of this code, summed in order."""
    kind = x.dtype.type
    scale, total = decode_value(U32(code), target.fmt), _total(code, how, target)
    divisor, error = divisor_of(total, how), kind(0)
    for i in range(count):
        value = x[start + i]
        if abs(value) < kind(np.inf):
            quotient = value * divisor if how.multiply else value / divisor
            # a float32 as a float64 is the same number: one core rounds both
            sign, size, _, _, rounded = _rounded64(bits64(np.float64(quotient)), trial.fmt, trial.mode)
            q = kind(decode_value(U32(_code64(sign, size, rounded, trial.fmt, trial.ends)), trial.fmt))
            restored = q * scale * trial.amax / trial.span if trial.by_amax else q * total
            away = restored - value
            error += away * away if trial.squares else abs(away)
    return error


@jit
def better_scales(
    x: Any, rows: int, width: int, group: int, amax: Any,
    how: ScaleParams, target: ScaleFormat, trial: Trial, codes: Any, divisors: Any,
) -> None:  # fmt: skip
    """Scales of a piece, and what its elements are divided or multiplied by. Spoils ``amax``."""
    wanted_scales(amax, 0, amax.size, how)
    g = 0
    for r in range(rows):
        for low in range(0, width, group):
            start, count = U64(r * width + low), U64(min(group, width - low))
            # a group of zeros stays -1
            more = amax[g] * np.float32(1.5)
            code, other = scale_code(amax[g], how, target), scale_code(more, how, target)
            if code != other:
                first = _error(x, start, count, code, how, target, trial)
                if _error(x, start, count, other, how, target, trial) < first:
                    code = other
            codes[g] = code
            divisors[g] = divisor_of(_total(code, how, target), how)
            g += 1
