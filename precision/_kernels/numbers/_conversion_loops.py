"""Loops of `round_to`, `encode` and `decode` over contiguous arrays of bits."""

from __future__ import annotations

from typing import Any

import numpy as np

from precision._kernels._jit import inline, jit
from precision._kernels._llvm_scalars import bits32, float32_of, left, right, stack_row
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
    random_word32,
    rounded_word32,
    short_code32,
    short_value32,
)

_rounded32, _random32, _code32, _value32 = core32.rounded, core32.rounded_random, core32.code, core32.value
_pick32 = core32.pick
_rounded64, _random64, _code64, _value64 = core64.rounded, core64.rounded_random, core64.code, core64.value

WORDS = 4096  # random words that are made at a time, and stay in the first-level cache

# There is one loop for each source size, result and kind of rounding. They are module-level functions, since
# Numba caches no closure over compiled functions, and separate ones, since a test inside would not vectorize.
#
# Loops from float32 with a ``block`` write it full, ``lead`` elements the first time, again and again, and
# `put` each block in its place. Where nothing is to be written past the caches the block is ``out`` itself.


@inline
def _lesser(a: Any, b: Any) -> Any:
    """Return the lesser of two uint64. Numba would compile a function for `min`."""
    return a if a < b else b


@inline
def put(block: Any, out: Any, first: Any, count: Any) -> None:
    """Copy the first elements of a block to their place: past the caches, unless they end within a line."""
    if block.size < out.size:
        if count % U64(64 // block.itemsize) == U64(0):
            stream(block, 0, out, first, count)
        else:
            for i in range(count):
                out[first + i] = block[i]


@jit
def encode32(x: Any, out: Any, fmt: FormatParams, mode: ModeParams, ends: Ends) -> None:
    """Write codes of float32 bits."""
    wide_vectors()
    for i in range(x.size):
        sign, magnitude, _, _, code = _rounded32(x[i], fmt, mode)
        out[i] = _code32(sign, magnitude, code, fmt, ends)


@jit
def round32(x: Any, out: Any, lead: int, block: Any, fmt: FormatParams, mode: ModeParams, ends: Ends) -> None:
    """Write rounded values of float32 bits, as bits."""
    wide_vectors()
    first, count = U64(0), U64(lead)
    while first < U64(x.size):
        for i in range(count):
            sign, magnitude, kept, binade, code = _rounded32(x[first + i], fmt, mode)
            block[i] = _value32(sign, magnitude, kept, binade, code, fmt, ends)
        put(block, out, first, count)
        first += count
        count = _lesser(U64(block.size), U64(x.size) - first)


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


# ---- stochastic rounding: the random words of some elements, then the elements ---------------------------


@jit
def random_words(index: Any, step: Any, count: Any, mode: StochasticParams, words: Any, to: Any) -> None:
    """Write the random integers of the elements ``index + i * step``, of ``mode.bits`` bits each."""
    wide_vectors()
    done, low_step = U64(0), U32(step)
    while done < count:
        at = U64(index + U64(done * step))
        low, high = U32(at), U32(right(at, U64(32)))
        # Up to where the counter's high word changes, it is the same for all of a vector.
        some = _lesser(U64(count - done), U64(U64(U64(0xFFFFFFFF) - U64(low)) // step) + U64(1))
        for i in range(some):
            word = philox(U32(low + U32(U32(i) * low_step)), high, mode)
            words[U64(to + done) + i] = right(word, U32(32 - mode.bits))
        done += some


@jit
def encode_random32(
    x: Any, out: Any, fmt: FormatParams, mode: StochasticParams, ends: Ends, low: int, high: int,
    short: ShortParams,
) -> None:  # fmt: skip
    """Write codes of float32 bits, rounded by the random words of the elements low + 2**32 * high and on.

    A fast way, as of `encode_short32`, is taken where ``short`` has more bits to cut off than are random.
    """
    wide_vectors()
    words, start = stack_row(np.uint32, WORDS), U64(U64(low) + left(U64(high), U64(32)))
    top = fmt.mask ^ fmt.magnitude_mask
    for first in range(U64(0), U64(x.size), U64(WORDS)):
        count = _lesser(U64(WORDS), U64(x.size) - first)
        random_words(U64(start + first), U64(1), count, mode, words, U64(0))
        if short.shift > mode.bits:
            for i in range(count):
                bits = x[first + i]
                small, word = lifted32(U32(bits & U32(0x7FFFFFFF)), short)
                word = random_word32(word, words[i], short, mode.bits)
                out[first + i] = short_code32(small, word, bits, short, ends, top)
        else:
            for i in range(count):
                sign, magnitude, _, _, code = _random32(x[first + i], fmt, mode, words[i])
                out[first + i] = _code32(sign, magnitude, code, fmt, ends)


@jit
def round_random32(
    x: Any, out: Any, fmt: FormatParams, mode: StochasticParams, ends: Ends, low: int, high: int,
    short: ShortParams,
) -> None:  # fmt: skip
    """Write values of float32 bits, rounded by the random words of the elements low + 2**32 * high and on.

    A fast way, as of `round_short32`, is taken where ``short`` has more bits to cut off than are random.
    """
    wide_vectors()
    words, start = stack_row(np.uint32, WORDS), U64(U64(low) + left(U64(high), U64(32)))
    for first in range(U64(0), U64(x.size), U64(WORDS)):
        count = _lesser(U64(WORDS), U64(x.size) - first)
        random_words(U64(start + first), U64(1), count, mode, words, U64(0))
        if short.shift > mode.bits:
            for i in range(count):
                bits = x[first + i]
                small, word = lifted32(U32(bits & U32(0x7FFFFFFF)), short)
                word = random_word32(word, words[i], short, mode.bits)
                out[first + i] = short_value32(small, word, bits, short, ends)
        else:
            for i in range(count):
                sign, magnitude, kept, binade, code = _random32(x[first + i], fmt, mode, words[i])
                out[first + i] = _value32(sign, magnitude, kept, binade, code, fmt, ends)


@jit
def encode_random64(
    x: Any, out: Any, fmt: FormatParams, mode: StochasticParams, ends: Ends, low: int, high: int
) -> None:
    """Write codes of float64 bits, rounded by the random words of the elements low + 2**32 * high and on."""
    wide_vectors()
    words, start = stack_row(np.uint32, WORDS), U64(U64(low) + left(U64(high), U64(32)))
    for first in range(U64(0), U64(x.size), U64(WORDS)):
        count = _lesser(U64(WORDS), U64(x.size) - first)
        random_words(U64(start + first), U64(1), count, mode, words, U64(0))
        for i in range(count):
            sign, magnitude, _, _, code = _random64(x[first + i], fmt, mode, words[i])
            out[first + i] = _code64(sign, magnitude, code, fmt, ends)


@jit
def round_random64(
    x: Any, out: Any, fmt: FormatParams, mode: StochasticParams, ends: Ends, low: int, high: int
) -> None:
    """Write values of float64 bits, rounded by the random words of the elements low + 2**32 * high and on."""
    wide_vectors()
    words, start = stack_row(np.uint32, WORDS), U64(U64(low) + left(U64(high), U64(32)))
    for first in range(U64(0), U64(x.size), U64(WORDS)):
        count = _lesser(U64(WORDS), U64(x.size) - first)
        random_words(U64(start + first), U64(1), count, mode, words, U64(0))
        for i in range(count):
            sign, magnitude, kept, binade, code = _random64(x[first + i], fmt, mode, words[i])
            out[first + i] = _value64(sign, magnitude, kept, binade, code, fmt, ends)


# ---- faster loops from float32, for formats whose values of either sign differ in the sign alone ----------
# ``over`` and ``nan`` are codes or float32 bits, without sign.


@jit
def encode_short32(x: Any, out: Any, short: ShortParams, mode: ModeParams, ends: Ends, top: int) -> None:
    """Write the codes of `encode32`; ``top`` is the bit of the sign."""
    wide_vectors()
    for i in range(x.size):
        bits = x[i]
        small, word = lifted32(U32(bits & U32(0x7FFFFFFF)), short)
        word = rounded_word32(word, U32(U32(0) - right(bits, U32(31))), short, mode)
        out[i] = short_code32(small, word, bits, short, ends, top)


@jit
def round_short32(
    x: Any, out: Any, lead: int, block: Any, short: ShortParams, mode: ModeParams, ends: Ends
) -> None:
    """Write the values of `round32`."""
    wide_vectors()
    first, count = U64(0), U64(lead)
    while first < U64(x.size):
        for i in range(count):
            bits = x[first + i]
            small, word = lifted32(U32(bits & U32(0x7FFFFFFF)), short)
            word = rounded_word32(word, U32(U32(0) - right(bits, U32(31))), short, mode)
            block[i] = short_value32(small, word, bits, short, ends)
        put(block, out, first, count)
        first += count
        count = _lesser(U64(block.size), U64(x.size) - first)


@jit
def encode_nearest32(
    x: Any, out: Any, lead: int, block: Any, short: ShortParams, cap: int, nan: int, places: int
) -> None:
    """Write the codes of `encode_short32`, ties to even; ``cap`` (bits) stands for larger magnitudes."""
    wide_vectors()
    top = right(U32(0x80000000), U32(places))
    first, count = U64(0), U64(lead)
    while first < U64(x.size):
        for i in range(count):
            bits = x[first + i]
            magnitude = U32(bits & U32(0x7FFFFFFF))
            code = nearest_code32(magnitude if magnitude < U32(cap) else U32(cap), short)
            code = U32(nan) if magnitude > U32(0x7F800000) else code
            block[i] = U32(code | U32(right(bits, U32(places)) & top))
        put(block, out, first, count)
        first += count
        count = _lesser(U64(block.size), U64(x.size) - first)


@inline
def _nearest_value(magnitude: Any, short: ShortParams) -> Any:
    """Round magnitude bits to nearest, ties to even: by integers, and subnormal ones by an addition."""
    shift, magic = U32(short.shift), float32_of(U32(short.magic))
    below = U32(left(U32(1), shift) - U32(1))
    half = right(below, U32(1))
    tie = U32(below & U32(1))
    odd = U32(right(magnitude, shift) & tie)
    normal = U32(U32(U32(magnitude + half) + odd) & U32(~below))
    small = bits32(np.float32(np.float32(float32_of(magnitude) + magic) - magic))
    return normal if magnitude >= U32(short.threshold) else small


@jit
def round_nearest32(x: Any, out: Any, lead: int, block: Any, short: ShortParams, over: int, nan: int) -> None:
    """Write the values of `round_short32`, ties to even."""
    wide_vectors()
    first, count = U64(0), U64(lead)
    while first < U64(x.size):
        for i in range(count):
            bits = x[first + i]
            magnitude = U32(bits & U32(0x7FFFFFFF))
            result = _nearest_value(magnitude, short)
            result = U32(over) if result > U32(short.maximum) else result
            result = U32(nan) if magnitude > U32(0x7F800000) else result
            block[i] = U32(result | U32(bits & U32(0x80000000)))
        put(block, out, first, count)
        first += count
        count = _lesser(U64(block.size), U64(x.size) - first)


@jit
def round_nearest_unlike32(
    x: Any, out: Any, lead: int, block: Any, short: ShortParams, negative_zero: int, ends: Ends
) -> None:
    """Write the values of `round32`, ties to even, for formats that have another rule for negative numbers.

    Integers and FNUZ formats take 0.4 of the time of `round32`; others would take 1.4 of `round_nearest32`'s.
    """
    wide_vectors()
    first, count = U64(0), U64(lead)
    while first < U64(x.size):
        for i in range(count):
            bits = x[first + i]
            sign = U32(U32(0) - right(bits, U32(31)))
            magnitude = U32(bits & U32(0x7FFFFFFF))
            size = _nearest_value(magnitude, short)
            some = sign if U32(size | U32(negative_zero)) != U32(0) else U32(0)
            result = U32(size | U32(some & U32(0x80000000)))
            over = size > _pick32(short.maximum, short.maximum_negative, sign)
            result = _pick32(ends.over_positive, ends.over_negative, sign) if over else result
            nan = magnitude > U32(0x7F800000)
            block[i] = _pick32(ends.nan_positive, ends.nan_negative, sign) if nan else result
        put(block, out, first, count)
        first += count
        count = _lesser(U64(block.size), U64(x.size) - first)


@jit
def decode(codes: Any, out: Any, lead: int, block: Any, fmt: FormatParams) -> None:
    """Write values (float32) of codes (any unsigned integers)."""
    wide_vectors()
    first, count = U64(0), U64(lead)
    while first < U64(codes.size):
        for i in range(count):
            block[i] = decode_value(U32(codes[first + i]), fmt)
        put(block, out, first, count)
        first += count
        count = _lesser(U64(block.size), U64(codes.size) - first)
