"""Fast loops for groups of 16 or 32 neighbours, which give the bits that the general loops give.

A compiler either unrolls an inner loop over so short a group into scalar code or leaves it to a remainder. So
a tile of elements, which stays in the first-level cache, goes through each stage as a whole: all largest
magnitudes, all scales, all elements. The stages where groups matter are those of `_llvm_groups`; the others
are plain loops over a tile or its scales.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from precision._kernels._jit import jit
from precision._kernels._llvm_scalars import bits32, float32_of, least, left, right
from precision._kernels._params import FormatParams, ShortParams
from precision._kernels._scalar_rounding import I32, U32, U64, decode_value, nearest_code32
from precision._kernels.numbers._llvm_groups import TILE as TILE
from precision._kernels.numbers._llvm_groups import (
    any_values,
    encode_products,
    encode_quotients,
    finite_values,
    integer_values,
    largest16,
    largest32,
    stream_finite,
    stream_integer,
)

U8 = np.uint8

# The smallest is made of bits: NumPy's finfo keeps the one that it computed first, which is 0 under a
# caller's flush-to-zero.
SMALLEST, LARGEST = np.uint32(1).view(np.float32), np.finfo(np.float32).max


class Powers(NamedTuple):
    """The rule from amax to an E8M0 code: ``(bits + addend) >> 23``, less ``max_exponent``, within 0..254."""

    addend: int
    max_exponent: int


class Nested(NamedTuple):
    """The rule from an amax to a scale under a tensor scale, and to the factor of its elements, in float32.

    With ``multiply`` 0 the scale is amax / maximum / tensor_scale, and elements are divided by fl(scale *
    tensor_scale). With 1 (arXiv 2509.25149, appendix B) the scale is amax / maximum * encode_scale, and
    elements are multiplied by 1 / fl(scale * tensor_scale).
    """

    maximum: Any
    tensor_scale: Any
    encode_scale: Any
    multiply: int


class Narrow(NamedTuple):
    """A scale format of at most 8 bits that has a NaN, subnormals, and a zero, which no scale becomes."""

    short: ShortParams
    fmt: FormatParams
    smallest_code: int


class Elements(NamedTuple):
    """The format of elements, as rounding needs it."""

    short: ShortParams
    fmt: FormatParams
    nan: int  #: code of the elements of a group that holds NaN or Inf


class Decoding(NamedTuple):
    """A format to decode, with a sign bit (and NaN above the largest code) or in two's complement."""

    up: int  #: from a code's sign to a word's
    magnitude: int  #: mask
    hidden: int  #: the lowest normal magnitude
    offset: int  #: (magnitude + offset) << shift are the bits of a normal value as float32
    shift: int
    last: int  #: largest magnitude that is a number
    infinity: int  #: magnitude, or one that there is not
    quantum: Any  #: float32


@jit
def _magnitudes(bits: Any, first: int, groups: int, group: int, out: Any, to: int) -> None:
    """Write bits of the largest magnitude of each group."""
    if group == 16:
        largest16(bits, first, groups, out, to)
    else:
        largest32(bits, first, groups, out, to)


# ---- loops over a tile ----------------------------------------------------------------------------------


@jit
def _power_codes(amax: Any, count: int, how: Powers, codes: Any, to: int, factors: Any) -> None:
    """Write E8M0 codes of the scales, and the reciprocals of the scales as bits.

    The quotient by a power of two is the product with its reciprocal, bit for bit: both are the same real
    number, rounded once, and every scale from 2**-127 to 2**127 has a reciprocal in float32.
    """
    addend, most = U32(how.addend), I32(how.max_exponent)
    for i in range(U64(count)):
        bits = amax[i]
        small = bits < U32(0x00800000)
        normal = bits32(np.float32(float32_of(bits) * np.float32(2.0**32))) if small else bits
        exponent = I32(I32(right(U32(normal + addend), U32(23))) - most)
        exponent = I32(exponent - I32(32)) if small else exponent
        exponent = exponent if exponent > I32(0) else I32(0)
        code = U32(exponent if exponent < I32(254) else I32(254))
        factor = left(U32(U32(254) - code), U32(23)) if code < U32(254) else U32(0x00400000)
        bad = bits >= U32(0x7F800000)
        factors[i] = U32(0x7FC00000) if bad else factor
        codes[U64(to) + i] = U32(255) if bad else code


@jit
def _nested_codes(
    amax: Any, count: int, how: Nested, target: Narrow, codes: Any, to: int, factors: Any
) -> None:
    """Write codes of scales under a tensor scale, and what elements are divided (multiplied) by, as bits."""
    short, fmt = target.short, target.fmt
    for i in range(U64(count)):
        quotient = np.float32(float32_of(amax[i]) / how.maximum)
        wanted = np.float32(quotient * how.encode_scale if how.multiply else quotient / how.tensor_scale)
        code = nearest_code32(min(bits32(wanted), U32(short.maximum)), short)
        code = max(code, U32(target.smallest_code))
        codes[U64(to) + i] = code if amax[i] < U32(0x7F800000) else U32(fmt.nan_code)
    for i in range(U64(count)):
        total = np.float32(decode_value(U32(codes[U64(to) + i]), fmt) * how.tensor_scale)
        divisor = SMALLEST if total == np.float32(0) else total
        multiplier = np.float32(np.float32(1) / total)
        multiplier = LARGEST if multiplier > LARGEST else multiplier  # not min: NaN stays
        factors[i] = bits32(multiplier if how.multiply else divisor)


@jit
def _any_nan(factors: Any, first: int, count: int) -> bool:
    """Tell whether a float32 given by its bits is NaN."""
    largest = U32(0)
    for i in range(U64(count)):
        largest = max(largest, U32(factors[U64(first) + i] & U32(0x7FFFFFFF)))
    return bool(largest > U32(0x7F800000))


@jit
def _mark_nan(
    start: int, count: int, group: int, factors: Any, bits: Any, elements: Elements, codes: Any
) -> None:
    """Write the codes of groups whose factor is NaN."""
    if _any_nan(bits, 0, count // group):
        for j in range(count // group):
            if factors[j] != factors[j]:
                for i in range(group):
                    codes[start + j * group + i] = elements.nan


@jit
def quantize_powers(
    x: Any, bits: Any, group: int, how: Powers, scales: Any,
    factors: Any, factor_bits: Any, elements: Elements, codes: Any,
) -> None:  # fmt: skip
    """Write codes of whole groups of float32 and their E8M0 scales; ``factors`` is memory for a tile's."""
    amax = np.empty(TILE // 16, np.uint32)
    for start in range(0, x.size, TILE):
        count = least(TILE, x.size - start)
        groups = count // group
        _magnitudes(bits, start, groups, group, amax, 0)
        _power_codes(amax, groups, how, scales, start // group, factor_bits)
        encode_products(
            x, start, factors, group // 32, count // 16, elements.short, elements.fmt, codes, start
        )
        _mark_nan(start, count, group, factors, factor_bits, elements, codes)


@jit
def quantize_nested(
    x: Any, bits: Any, group: int, how: Nested, target: Narrow, scales: Any,
    factors: Any, factor_bits: Any, elements: Elements, codes: Any,
) -> None:  # fmt: skip
    """Write codes of whole groups of float32 and their scales under a tensor scale."""
    amax = np.empty(TILE // 16, np.uint32)
    for start in range(0, x.size, TILE):
        count = least(TILE, x.size - start)
        groups = count // group
        _magnitudes(bits, start, groups, group, amax, 0)
        _nested_codes(amax, groups, how, target, scales, start // group, factor_bits)
        if how.multiply:
            encode_products(
                x, start, factors, group // 32, count // 16, elements.short, elements.fmt, codes, start
            )
        else:
            encode_quotients(
                x, start, factors, group // 32, count // 16, elements.short, elements.fmt, codes, start
            )
        _mark_nan(start, count, group, factors, factor_bits, elements, codes)


@jit
def largest_finite(bits: Any, group: int) -> Any:
    """Return bits of the largest magnitude of the groups without NaN and Inf; 0 if there is none."""
    most = U32(0)
    for i in range(U64(bits.size)):
        most = max(most, U32(bits[i] & U32(0x7FFFFFFF)))
    if most < U32(0x7F800000):
        return most
    amax = np.empty(TILE // 16, np.uint32)
    largest = U32(0)
    for start in range(0, bits.size, TILE):
        groups = least(TILE, bits.size - start) // group
        _magnitudes(bits, start, groups, group, amax, 0)
        for i in range(U64(groups)):
            value = amax[i] if amax[i] < U32(0x7F800000) else U32(0)
            largest = max(largest, value)
    return largest


# ---- values ---------------------------------------------------------------------------------------------


@jit
def _factors(scales: Any, first: int, count: int, fmt: FormatParams, tensor_scale: Any, out: Any) -> None:
    """Write what a group's elements are multiplied by: fl(scale * tensor scale)."""
    for j in range(U64(count)):
        out[j] = np.float32(decode_value(U32(scales[U64(first) + j]), fmt) * tensor_scale)


@jit
def _any_special(codes: Any, first: int, count: int, how: Decoding) -> bool:
    """Tell whether a code is Inf or NaN."""
    largest, mask = U8(0), U8(how.magnitude)
    for i in range(U64(count)):
        largest = max(largest, U8(codes[U64(first) + i] & mask))
    return bool(largest > how.last)


@jit
def dequantize(
    codes: Any, group: int, how: Decoding, signed: int, scales: Any, scale_format: FormatParams,
    tensor_scale: Any, streams: int, out: Any,
) -> None:  # fmt: skip
    """Write values of whole groups of 16, 32, 64, … elements: one product each of code and scale."""
    factors, places = np.empty(TILE // 16, np.float32), 0
    while 16 << places < group:
        places += 1
    for start in range(0, codes.size, TILE):
        count = least(TILE, codes.size - start)
        _factors(scales, start // group, count // group, scale_format, tensor_scale, factors)
        runs = count // 16
        if signed:
            if streams:
                stream_integer(codes, start, how, factors, places, runs, out, start)
            else:
                integer_values(codes, start, how, factors, places, runs, out, start)
        elif _any_special(codes, start, count, how):
            any_values(codes, start, how, factors, places, runs, out, start)
        elif streams:
            stream_finite(codes, start, how, factors, places, runs, out, start)
        else:
            finite_values(codes, start, how, factors, places, runs, out, start)
