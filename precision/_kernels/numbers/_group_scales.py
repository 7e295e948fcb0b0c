"""Scales of groups: their largest magnitudes, their codes, and what elements are divided or multiplied by."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from precision._kernels._jit import jit, overload
from precision._kernels._llvm_scalars import bits32, bits64, bits_of, float64_of, float_of, least, left, right
from precision._kernels._llvm_vectors import wide_vectors
from precision._kernels._params import Ends, FormatParams, ModeParams
from precision._kernels._scalar_rounding import I64, U32, U64, core64, decode_value

# The smallest is made of bits: NumPy's finfo keeps the one that it computed first, which is 0 under a
# caller's flush-to-zero.
SMALLEST, LARGEST = np.uint32(1).view(np.float32), np.finfo(np.float32).max


class Quotients(NamedTuple):
    """The way of a scale that is amax / maximum / tensor scale."""

    number: int = 0


class Powers(NamedTuple):
    """The way of a power of two by the bits of amax."""

    number: int = 1


class ReciprocalPowers(NamedTuple):
    """The way of a power of two by the bits of amax * factor."""

    number: int = 2


class Products(NamedTuple):
    """The way of a scale that is amax / maximum * factor."""

    number: int = 3


class Given(NamedTuple):
    """The way of scales that were made before."""

    number: int = 4


class Yes(NamedTuple):
    """An answer in a `Rule`."""

    number: int = 1


class No(NamedTuple):
    """The other answer in a `Rule`."""

    number: int = 0


class Rule(NamedTuple):
    """The choices between loops, each by the type of a field: those not chosen are not compiled."""

    way: Any  #: `Quotients`, `Powers`, `ReciprocalPowers`, `Products` or `Given`
    plain: Any  #: `Yes` for scales in FP32 and no tensor scale
    finite: Any  #: `Yes` where amax is taken over the finite elements
    multiply: Any  #: `Yes` where elements are multiplied by fl32(1 / fl32(scale * tensor scale))


def chosen(how: Any, field: str) -> Any:
    """Return the class of a field of the rule, from the type of a `ScaleParams` in compiled code."""
    rule = how.types[how.fields.index("rule")]
    return rule.types[rule.fields.index(field)].instance_class


_code64, _rounded64 = core64.code, core64.rounded


class ScaleParams(NamedTuple):
    """The rule from a group's amax to its scale. Floats have the source's type, where none is named.

    A power of two takes its exponent from ``float64_bits(amax) + addend``, less ``max_exponent``: the
    rules differ only in what they add below the exponent field.
    """

    rule: Rule
    addend: int
    max_exponent: int  #: of the largest element
    low: int  #: exponents of the least scale and of the scale format's largest power of two
    high: int
    over: int  #: a larger exponent gives NaN
    maximum: Any  #: largest element; 1 where the factor has it
    min_amax: Any
    tensor_scale: Any  #: 1 without one
    factor: Any  #: float32 for `ReciprocalPowers`
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
def largest_magnitudes(x: Any, rows: int, start: int, width: int, group: int, out: Any, to: int) -> None:
    """Write the largest magnitude of each group; NaN counts as the largest."""
    wide_vectors()
    for r in range(rows):
        for low in range(0, width, group):
            first = U64(start + r * width + low)
            largest = bits_of(out.dtype.type(0))
            for i in range(U64(least(group, width - low))):
                value = bits_of(abs(x[first + i]))
                largest = value if value > largest else largest
            out[to] = float_of(largest)
            to += 1


@jit
def largest_finite_magnitudes(
    x: Any, rows: int, start: int, width: int, group: int, out: Any, to: int
) -> None:
    """Write the largest magnitude of each group's finite elements."""
    wide_vectors()
    none, infinity = bits_of(out.dtype.type(0)), bits_of(out.dtype.type(np.inf))
    for r in range(rows):
        for low in range(0, width, group):
            first = U64(start + r * width + low)
            largest = none
            for i in range(U64(least(group, width - low))):
                value = bits_of(abs(x[first + i]))
                value = value if value < infinity else none
                largest = value if value > largest else largest
            out[to] = float_of(largest)
            to += 1


@jit
def _find_among_all(
    x: Any, rows: int, start: int, width: int, group: int, out: Any, to: int, how: Any
) -> None:
    largest_magnitudes(x, rows, start, width, group, out, to)


@jit
def _find_among_finite(
    x: Any, rows: int, start: int, width: int, group: int, out: Any, to: int, how: Any
) -> None:
    largest_finite_magnitudes(x, rows, start, width, group, out, to)


def find_largest(x: Any, rows: int, start: int, width: int, group: int, out: Any, to: int, how: Any) -> None:
    """Write the largest magnitude of each group, in compiled code."""


@overload(find_largest)
def _find_by_rule(x: Any, rows: Any, start: Any, width: Any, group: Any, out: Any, to: Any, how: Any) -> Any:
    return _find_among_finite if chosen(how, "finite") is Yes else _find_among_all


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
    exponent = I64(exponent if exponent > I64(how.low) else I64(how.low))
    if exponent > I64(how.over):
        return np.nan
    return float64_of(left(U64(least(exponent, I64(how.high)) + I64(1023)), U64(52)))


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


_WANTED = {
    Quotients: _wanted_quotients,
    Powers: _wanted_powers,
    ReciprocalPowers: _wanted_reciprocal_powers,
    Products: _wanted_products,
}


def wanted_scales(amax: Any, first: int, stop: int, how: ScaleParams) -> None:
    """Replace each amax by its scale before rounding, in compiled code; see above."""


@overload(wanted_scales)
def _wanted_by_rule(amax: Any, first: Any, stop: Any, how: Any) -> Any:
    return _WANTED[chosen(how, "way")]


# ---- the scale as stored, and what elements are divided or multiplied by --------------------------------


@jit
def scale_code(wanted: Any, how: ScaleParams, target: ScaleFormat) -> Any:
    """Return the code of a scale, given before rounding."""
    sign, size, _, _, rounded = _rounded64(bits64(np.float64(wanted)), target.fmt, target.mode)
    code = U32(_code64(sign, size, rounded, target.fmt, target.ends))
    code = code if code > U32(how.least_code) else U32(how.least_code)
    return U32(how.zero_code) if wanted < np.float32(0) else code


@jit
def _divisor(total: Any, how: ScaleParams) -> Any:
    return SMALLEST if total == np.float32(0) else total


@jit
def _multiplier(total: Any, how: ScaleParams) -> Any:
    multiplier = np.float32(1) / total
    return LARGEST if multiplier > LARGEST else multiplier  # not min: NaN stays


def divisor_of(total: Any, how: ScaleParams) -> Any:
    """Return what elements are divided or multiplied by where fl32(scale * tensor scale) is ``total``."""


@overload(divisor_of)
def _divisor_by_rule(total: Any, how: Any) -> Any:
    return _multiplier if chosen(how, "multiply") is Yes else _divisor


@jit
def _make_plain(
    amax: Any, first: int, stop: int, how: ScaleParams, target: Any, codes: Any, divisors: Any
) -> None:
    """Write scales in FP32, as bits, and divisors."""
    for i in range(U64(first), U64(stop)):
        scale = np.float32(amax[i])
        scale = how.least if scale < how.least else scale  # not max: NaN stays
        scale = how.most if scale > LARGEST else scale
        scale = how.zero if amax[i] < np.float32(0) else scale
        codes[i] = bits32(scale)
        divisors[i] = SMALLEST if scale == np.float32(0) else scale


@jit
def _make_coded(
    amax: Any, first: int, stop: int, how: ScaleParams, target: ScaleFormat, codes: Any, divisors: Any
) -> None:
    """Write codes of scales in another format, and what elements are divided or multiplied by."""
    for i in range(U64(first), U64(stop)):
        codes[i] = scale_code(amax[i], how, target)
    for i in range(U64(first), U64(stop)):
        total = np.float32(decode_value(U32(codes[i]), target.fmt) * np.float32(how.tensor_scale))
        divisors[i] = divisor_of(total, how)


def _store_scales(
    amax: Any, first: int, stop: int, how: ScaleParams, target: Any, codes: Any, divisors: Any
) -> None:
    """Write codes of scales, and what elements are divided or multiplied by, from scales before rounding."""


@overload(_store_scales)
def _store_by_rule(amax: Any, first: Any, stop: Any, how: Any, target: Any, codes: Any, divisors: Any) -> Any:
    return _make_plain if chosen(how, "plain") is Yes else _make_coded


@jit
def make_scales(
    amax: Any, first: int, stop: int, how: ScaleParams, target: ScaleFormat, codes: Any, divisors: Any
) -> None:
    """Write codes of scales, and what elements are divided (or multiplied) by; overwrites ``amax``."""
    wanted_scales(amax, first, stop, how)
    _store_scales(amax, first, stop, how, target, codes, divisors)
