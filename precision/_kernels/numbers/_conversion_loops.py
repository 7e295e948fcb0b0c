"""Loops of `round_to`, `encode` and `decode` over contiguous arrays of bits."""

from __future__ import annotations

from typing import Any

import numpy as np

from precision._kernels._jit import jit
from precision._kernels._llvm_scalars import bits32, float32_of, left, right
from precision._kernels._llvm_vectors import stream, wide_vectors
from precision._kernels._params import Ends, FormatParams, ModeParams, ShortParams, StochasticParams
from precision._kernels._scalar_rounding import (
    U32,
    U64,
    core32,
    core64,
    decode_value,
    lifted32,
    nearest_code32,
    philox,
)

_rounded32, _random32, _code32, _value32 = core32.rounded, core32.rounded_random, core32.code, core32.value
_rounded64, _random64, _code64, _value64 = core64.rounded, core64.rounded_random, core64.code, core64.value

# There is one loop for each source size, result and kind of rounding. They are module-level functions, since
# Numba caches no closure over compiled functions, and separate ones, since a test inside would not vectorize.


@jit
def encode32(x: Any, out: Any, fmt: FormatParams, mode: ModeParams, ends: Ends) -> None:
    """Write codes of float32 bits."""
    wide_vectors()
    for i in range(x.size):
        sign, magnitude, _, _, code = _rounded32(x[i], fmt, mode)
        out[i] = _code32(sign, magnitude, code, fmt, ends)


@jit
def round32(x: Any, out: Any, fmt: FormatParams, mode: ModeParams, ends: Ends) -> None:
    """Write rounded values of float32 bits, as bits."""
    wide_vectors()
    for i in range(x.size):
        sign, magnitude, kept, binade, code = _rounded32(x[i], fmt, mode)
        out[i] = _value32(sign, magnitude, kept, binade, code, fmt, ends)


@jit
def encode_random32(
    x: Any, out: Any, fmt: FormatParams, mode: StochasticParams, ends: Ends, low: int, high: int
) -> None:
    """Write codes of float32 bits, rounded by the random words of the elements low + 2**32 * high and on."""
    wide_vectors()
    for i in range(x.size):
        word = right(philox(U32(U32(low) + U32(i)), high, mode), U32(32 - mode.bits))
        sign, magnitude, _, _, code = _random32(x[i], fmt, mode, word)
        out[i] = _code32(sign, magnitude, code, fmt, ends)


@jit
def round_random32(
    x: Any, out: Any, fmt: FormatParams, mode: StochasticParams, ends: Ends, low: int, high: int
) -> None:
    """Write values of float32 bits, rounded by the random words of the elements low + 2**32 * high and on."""
    wide_vectors()
    for i in range(x.size):
        word = right(philox(U32(U32(low) + U32(i)), high, mode), U32(32 - mode.bits))
        sign, magnitude, kept, binade, code = _random32(x[i], fmt, mode, word)
        out[i] = _value32(sign, magnitude, kept, binade, code, fmt, ends)


@jit
def encode64(x: Any, out: Any, fmt: FormatParams, mode: ModeParams, ends: Ends) -> None:
    """Write codes of float64 bits."""
    wide_vectors()
    for i in range(x.size):
        sign, magnitude, _, _, code = _rounded64(x[i], fmt, mode)
        out[i] = _code64(sign, magnitude, code, fmt, ends)


@jit
def round64(x: Any, out: Any, fmt: FormatParams, mode: ModeParams, ends: Ends) -> None:
    """Write rounded values of float64 bits, as bits."""
    wide_vectors()
    for i in range(x.size):
        sign, magnitude, kept, binade, code = _rounded64(x[i], fmt, mode)
        out[i] = _value64(sign, magnitude, kept, binade, code, fmt, ends)


@jit
def encode_random64(
    x: Any, out: Any, fmt: FormatParams, mode: StochasticParams, ends: Ends, low: int, high: int
) -> None:
    """Write codes of float64 bits, rounded by the random words of the elements low + 2**32 * high and on."""
    wide_vectors()
    for i in range(x.size):
        word = right(philox(U32(U32(low) + U32(i)), high, mode), U32(32 - mode.bits))
        sign, magnitude, _, _, code = _random64(x[i], fmt, mode, word)
        out[i] = _code64(sign, magnitude, code, fmt, ends)


@jit
def round_random64(
    x: Any, out: Any, fmt: FormatParams, mode: StochasticParams, ends: Ends, low: int, high: int
) -> None:
    """Write values of float64 bits, rounded by the random words of the elements low + 2**32 * high and on."""
    wide_vectors()
    for i in range(x.size):
        word = right(philox(U32(U32(low) + U32(i)), high, mode), U32(32 - mode.bits))
        sign, magnitude, kept, binade, code = _random64(x[i], fmt, mode, word)
        out[i] = _value64(sign, magnitude, kept, binade, code, fmt, ends)


# ---- faster loops from float32, for formats whose values of either sign differ in the sign alone ----------
# ``over`` and ``nan`` are codes or float32 bits, without sign.


@jit
def encode_short32(
    x: Any, out: Any, short: ShortParams, mode: ModeParams, over: int, nan: int, places: int
) -> None:
    """Write the codes of `encode32`, whose sign lies ``places`` lower than a float32's."""
    wide_vectors()
    shift, offset = U32(short.shift), U32(short.offset)
    lowest = right(U32(short.threshold), shift)
    top = right(U32(0x80000000), U32(places))
    for i in range(x.size):
        magnitude = U32(x[i] & U32(0x7FFFFFFF))
        small, word = lifted32(magnitude, U32(U32(0) - right(x[i], U32(31))), short, mode)
        code = U32(right(word, shift) - (lowest if small else offset))
        code = U32(over) if code > U32(short.max_code) else code
        code = U32(nan) if magnitude > U32(0x7F800000) else code
        out[i] = U32(code | U32(right(x[i], U32(places)) & top))


@jit
def round_short32(x: Any, out: Any, short: ShortParams, mode: ModeParams, over: int, nan: int) -> None:
    """Write the values of `round32`."""
    wide_vectors()
    lowest = float32_of(U32(short.threshold))
    for i in range(x.size):
        magnitude = U32(x[i] & U32(0x7FFFFFFF))
        small, word = lifted32(magnitude, U32(U32(0) - right(x[i], U32(31))), short, mode)
        result = bits32(np.float32(float32_of(word) - lowest)) if small else word
        result = U32(over) if result > U32(short.maximum) else result
        result = U32(nan) if magnitude > U32(0x7F800000) else result
        out[i] = U32(result | U32(x[i] & U32(0x80000000)))


# The loops to nearest write whole vectors past the caches where ``block`` is a buffer: ``head`` elements lie
# before the first aligned vector. Where ``block`` is empty they write as any loop does.


@jit
def _encode_nearest(
    x: Any, first: Any, count: Any, out: Any, to: Any, short: ShortParams, cap: int, nan: int, places: int
) -> None:
    """Write the codes of some elements, ties to even."""
    wide_vectors()
    top = right(U32(0x80000000), U32(places))
    for i in range(count):
        bits = x[first + i]
        magnitude = U32(bits & U32(0x7FFFFFFF))
        code = nearest_code32(magnitude if magnitude < U32(cap) else U32(cap), short)
        code = U32(nan) if magnitude > U32(0x7F800000) else code
        out[to + i] = U32(code | U32(right(bits, U32(places)) & top))


@jit
def encode_nearest32(
    x: Any, out: Any, head: int, block: Any, short: ShortParams, cap: int, nan: int, places: int
) -> None:
    """Write the codes of `encode_short32`, ties to even; ``cap`` (bits) stands for larger magnitudes."""
    first = x.size if block.size == 0 else head
    _encode_nearest(x, U64(0), U64(first), out, U64(0), short, cap, nan, places)
    while x.size - first >= block.size and block.size > 0:
        _encode_nearest(x, U64(first), U64(block.size), block, U64(0), short, cap, nan, places)
        stream(block, 0, out, first, block.size)
        first += block.size
    _encode_nearest(x, U64(first), U64(x.size - first), out, U64(first), short, cap, nan, places)


@jit
def _round_nearest(
    x: Any, first: Any, count: Any, out: Any, to: Any, short: ShortParams, over: int, nan: int
) -> None:
    """Write the values of some elements, ties to even: by integers, and subnormal ones by an addition."""
    wide_vectors()
    shift, magic = U32(short.shift), float32_of(U32(short.magic))
    below = U32(left(U32(1), shift) - U32(1))
    half = right(below, U32(1))
    tie = U32(below & U32(1))
    for i in range(count):
        bits = x[first + i]
        magnitude = U32(bits & U32(0x7FFFFFFF))
        odd = U32(right(magnitude, shift) & tie)
        normal = U32(U32(U32(magnitude + half) + odd) & U32(~below))
        small = bits32(np.float32(np.float32(float32_of(magnitude) + magic) - magic))
        result = normal if magnitude >= U32(short.threshold) else small
        result = U32(over) if result > U32(short.maximum) else result
        result = U32(nan) if magnitude > U32(0x7F800000) else result
        out[to + i] = U32(result | U32(bits & U32(0x80000000)))


@jit
def round_nearest32(x: Any, out: Any, head: int, block: Any, short: ShortParams, over: int, nan: int) -> None:
    """Write the values of `round_short32`, ties to even."""
    first = x.size if block.size == 0 else head
    _round_nearest(x, U64(0), U64(first), out, U64(0), short, over, nan)
    while x.size - first >= block.size and block.size > 0:
        _round_nearest(x, U64(first), U64(block.size), block, U64(0), short, over, nan)
        stream(block, 0, out, first, block.size)
        first += block.size
    _round_nearest(x, U64(first), U64(x.size - first), out, U64(first), short, over, nan)


@jit
def decode(codes: Any, out: Any, fmt: FormatParams) -> None:
    """Write values (float32) of codes (any unsigned integers)."""
    wide_vectors()
    for i in range(codes.size):
        out[i] = decode_value(U32(codes[i]), fmt)
