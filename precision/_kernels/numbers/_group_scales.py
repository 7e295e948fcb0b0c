"""Scales of groups: their largest magnitudes, their codes, and what elements are divided or multiplied by."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from precision._kernels._jit import jit
from precision._kernels._llvm_scalars import bits32, bits64, float64_of, left, right
from precision._kernels._llvm_vectors import wide_vectors
from precision._kernels._params import Ends, FormatParams, ModeParams
from precision._kernels._scalar_rounding import I64, U32, U64, core64, decode_value

# The smallest is made of bits: NumPy's finfo keeps the one that it computed first, which is 0 under a
# caller's flush-to-zero.
SMALLEST, LARGEST = np.uint32(1).view(np.float32), np.finfo(np.float32).max

QUOTIENTS, POWERS, RECIPROCAL_POWERS, PRODUCTS = range(4)
"""The values of `ScaleParams.way`: amax / maximum / tensor scale; a power of two by the bits of amax, or by
those of amax * factor; amax / maximum * factor."""

_code64, _rounded64 = core64.code, core64.rounded


class ScaleParams(NamedTuple):
    """The rule from a group's amax to its scale. Floats have the source's type, where none is named.

    A power of two takes its exponent from ``float64_bits(amax) + addend``, less ``max_exponent``: the
    rules differ only in what they add below the exponent field.
    """

    plain: int  #: 1 for scales in FP32 and no tensor scale
    way: int
    finite: int  #: 1 where amax is taken over the finite elements
    multiply: int  #: 1 where elements are multiplied by fl32(1 / fl32(scale * tensor scale))
    addend: int
    max_exponent: int  #: of the largest element
    low: int  #: exponents of the least scale and of the scale format's largest power of two
    high: int
    over: int  #: a larger exponent gives NaN
    maximum: Any  #: largest element; 1 where the factor has it
    min_amax: Any
    tensor_scale: Any  #: 1 without one
    factor: Any  #: float32 for `RECIPROCAL_POWERS`
    least: Any  #: the least scale, float32, and its code
    least_code: int
    most: Any  #: float32, the scale in the place of one above float32's largest: that number or NaN
    zero: Any  #: the scale of a group of zeros, float32, and its code
    zero_code: int


class ScaleFormat(NamedTuple):
    """The format of scales, as rounding needs it."""

    fmt: FormatParams
    mode: ModeParams
    ends: Ends


@jit
def largest_magnitudes(
    x: Any, rows: int, start: int, width: int, group: int, magnitude: Any, out: Any, to: int
) -> None:
    """Write bits of the largest magnitude of each group; NaN counts as the largest."""
    wide_vectors()
    word = out.dtype.type
    for r in range(rows):
        for low in range(0, width, group):
            first = U64(start + r * width + low)
            largest = word(0)
            for i in range(U64(min(group, width - low))):
                largest = max(largest, word(x[first + i] & magnitude))
            out[to] = largest
            to += 1


@jit
def largest_finite_magnitudes(
    x: Any, rows: int, start: int, width: int, group: int, magnitude: Any, infinity: Any, out: Any, to: int
) -> None:
    """Write bits of the largest magnitude of each group's finite elements; ``infinity`` is bits as well."""
    wide_vectors()
    word = out.dtype.type
    for r in range(rows):
        for low in range(0, width, group):
            first = U64(start + r * width + low)
            largest = word(0)
            for i in range(U64(min(group, width - low))):
                value = word(x[first + i] & magnitude)
                largest = max(largest, value if value < infinity else word(0))
            out[to] = largest
            to += 1


# ---- the scale before rounding, in the place of amax: -1 for a group of zeros, NaN where amax is not finite


@jit
def _settled(amax: Any, i: Any, largest: Any, scale: Any) -> None:
    """Put a group's scale before rounding in the place of its amax: -1 for zeros, NaN for NaN and Inf."""
    if largest == amax.dtype.type(0):
        scale = amax.dtype.type(-1)
    amax[i] = scale if largest < amax.dtype.type(np.inf) else amax.dtype.type(np.nan)


@jit
def _wanted_quotients(amax: Any, first: int, stop: int, how: ScaleParams) -> None:
    """Write amax / maximum / tensor scale."""
    for i in range(U64(first), U64(stop)):
        largest = how.min_amax if amax[i] < how.min_amax else amax[i]
        _settled(amax, i, largest, largest / how.maximum / how.tensor_scale)


@jit
def _wanted_products(amax: Any, first: int, stop: int, how: ScaleParams) -> None:
    """Write amax / maximum * factor."""
    for i in range(U64(first), U64(stop)):
        largest = how.min_amax if amax[i] < how.min_amax else amax[i]
        _settled(amax, i, largest, largest / how.maximum * how.factor)


@jit
def _power(exponent: Any, how: ScaleParams) -> Any:
    """Return 2**exponent as a float64, within the range of the scale format; NaN where it is too large."""
    exponent = I64(max(exponent, I64(how.low)))
    if exponent > I64(how.over):
        return np.nan
    return float64_of(left(U64(min(exponent, I64(how.high)) + I64(1023)), U64(52)))


@jit
def _wanted_powers(amax: Any, first: int, stop: int, how: ScaleParams) -> None:
    """Write powers of two by the exponent field of amax's bits and an addend."""
    for i in range(U64(first), U64(stop)):
        largest = how.min_amax if amax[i] < how.min_amax else amax[i]
        bits = U64(bits64(np.float64(largest / how.tensor_scale)) + U64(how.addend))
        exponent = I64(I64(right(bits, U64(52))) - I64(1023 + how.max_exponent))
        _settled(amax, i, largest, amax.dtype.type(_power(exponent, how)))


@jit
def _rounded_product(x: Any, factor: Any) -> Any:
    """Round the product of a positive float64 and a float32 to float32, once.

    The high half of x times the factor is exact in float64, and so is its low half. Their sum is rounded to
    odd, so that the rounding to float32 sees on which side of a midpoint the product lies.
    """
    high = float64_of(bits64(x) & U64(0xFFFFFFFFE0000000))
    above, below = high * np.float64(factor), (x - high) * np.float64(factor)
    total = above + below
    rest = below - (total - above)
    bits = bits64(total)
    if bits & U64(1) == U64(0) and total < np.inf:
        if rest > 0:
            bits = bits + U64(1)
        elif rest < 0:
            bits = bits - U64(1)
    return np.float32(float64_of(bits))


@jit
def _wanted_reciprocal_powers(amax: Any, first: int, stop: int, how: ScaleParams) -> None:
    """Write powers of two by the exponent field of fl32(amax * factor), rounded up (`RCEIL_RECIPROCAL`)."""
    for i in range(U64(first), U64(stop)):
        largest = how.min_amax if amax[i] < how.min_amax else amax[i]
        bits = bits32(_rounded_product(np.float64(largest / how.tensor_scale), how.factor))
        field, fraction = I64(right(bits, U32(23))), U32(bits & U32(0x7FFFFF))
        enough = U32(0x400000) if field == I64(0) else U32(0)
        up = I64(1) if fraction > enough and field < I64(254) else I64(0)
        _settled(amax, i, largest, amax.dtype.type(_power(I64(field + up - I64(127)), how)))


@jit
def wanted_scales(amax: Any, first: int, stop: int, how: ScaleParams) -> None:
    """Replace each amax by its scale before rounding; -1 for a group of zeros, NaN for NaN and Inf."""
    if how.way == QUOTIENTS:
        _wanted_quotients(amax, first, stop, how)
    elif how.way == POWERS:
        _wanted_powers(amax, first, stop, how)
    elif how.way == RECIPROCAL_POWERS:
        _wanted_reciprocal_powers(amax, first, stop, how)
    else:
        _wanted_products(amax, first, stop, how)


# ---- the scale as stored, and what elements are divided or multiplied by --------------------------------


@jit
def scale_code(wanted: Any, how: ScaleParams, target: ScaleFormat) -> Any:
    """Return the code of a scale, given before rounding."""
    sign, size, _, _, rounded = _rounded64(bits64(np.float64(wanted)), target.fmt, target.mode)
    code = U32(_code64(sign, size, rounded, target.fmt, target.ends))
    code = max(code, U32(how.least_code))
    return U32(how.zero_code) if wanted < np.float32(0) else code


@jit
def divisor_of(total: Any, how: ScaleParams) -> Any:
    """Return what elements are divided or multiplied by where fl32(scale * tensor scale) is ``total``."""
    if how.multiply:
        multiplier = np.float32(1) / total
        return LARGEST if multiplier > LARGEST else multiplier  # not min: NaN stays
    return SMALLEST if total == np.float32(0) else total


@jit
def make_scales(
    amax: Any, first: int, stop: int, how: ScaleParams, target: ScaleFormat, codes: Any, divisors: Any
) -> None:
    """Write codes of scales, and what elements are divided (or multiplied) by; overwrites ``amax``."""
    wanted_scales(amax, first, stop, how)
    if how.plain:
        for i in range(U64(first), U64(stop)):
            scale = np.float32(amax[i])
            scale = how.least if scale < how.least else scale  # not max: NaN stays
            scale = how.most if scale > LARGEST else scale
            scale = how.zero if amax[i] < np.float32(0) else scale
            codes[i] = bits32(scale)
            divisors[i] = SMALLEST if scale == np.float32(0) else scale
        return
    for i in range(U64(first), U64(stop)):
        codes[i] = scale_code(amax[i], how, target)
    for i in range(U64(first), U64(stop)):
        total = np.float32(decode_value(U32(codes[i]), target.fmt) * np.float32(how.tensor_scale))
        divisors[i] = divisor_of(total, how)
