"""Loops of `round_to`, `encode` and `decode` over contiguous arrays of bits."""

from __future__ import annotations

from typing import Any

import numpy as np

from precision._kernels._jit import jit
from precision._kernels.params import Ends, FormatParams, ModeParams, NearestParams, StochasticParams
from precision._kernels.rounding import (
    I32,
    U32,
    bits32,
    core32,
    core64,
    decode_value,
    float32_of,
    left,
    philox,
    right,
)

_rounded32, _random32, _code32, _value32 = core32.rounded, core32.rounded_random, core32.code, core32.value
_pick32, _finish32 = core32.pick, core32.finish
_rounded64, _random64, _code64, _value64 = core64.rounded, core64.rounded_random, core64.code, core64.value

# One loop for each source size, result and kind of rounding: module-level functions, since Numba caches
# no closure over compiled functions, and separate ones, since a test inside would not vectorize.


@jit
def encode32(x: Any, out: Any, fmt: FormatParams, mode: ModeParams, ends: Ends) -> None:
    """Codes of float32 bits."""
    for i in range(x.size):
        sign, magnitude, _, _, code = _rounded32(x[i], fmt, mode)
        out[i] = _code32(sign, magnitude, code, fmt, ends)


@jit
def round32(x: Any, out: Any, fmt: FormatParams, mode: ModeParams, ends: Ends) -> None:
    """Rounded values of float32 bits, as bits."""
    for i in range(x.size):
        sign, magnitude, kept, binade, code = _rounded32(x[i], fmt, mode)
        out[i] = _value32(sign, magnitude, kept, binade, code, fmt, ends)


@jit
def encode_random32(
    x: Any, out: Any, fmt: FormatParams, mode: StochasticParams, ends: Ends, low: int, high: int
) -> None:
    """`encode32` by the random words of the elements low + 2**32 * high and on."""
    for i in range(x.size):
        word = right(philox(U32(U32(low) + U32(i)), high, mode), U32(32 - mode.bits))
        sign, magnitude, _, _, code = _random32(x[i], fmt, mode, word)
        out[i] = _code32(sign, magnitude, code, fmt, ends)


@jit
def round_random32(
    x: Any, out: Any, fmt: FormatParams, mode: StochasticParams, ends: Ends, low: int, high: int
) -> None:
    """`round32` by the random words of the elements low + 2**32 * high and on."""
    for i in range(x.size):
        word = right(philox(U32(U32(low) + U32(i)), high, mode), U32(32 - mode.bits))
        sign, magnitude, kept, binade, code = _random32(x[i], fmt, mode, word)
        out[i] = _value32(sign, magnitude, kept, binade, code, fmt, ends)


@jit
def encode64(x: Any, out: Any, fmt: FormatParams, mode: ModeParams, ends: Ends) -> None:
    """Codes of float64 bits."""
    for i in range(x.size):
        sign, magnitude, _, _, code = _rounded64(x[i], fmt, mode)
        out[i] = _code64(sign, magnitude, code, fmt, ends)


@jit
def round64(x: Any, out: Any, fmt: FormatParams, mode: ModeParams, ends: Ends) -> None:
    """Rounded values of float64 bits, as bits."""
    for i in range(x.size):
        sign, magnitude, kept, binade, code = _rounded64(x[i], fmt, mode)
        out[i] = _value64(sign, magnitude, kept, binade, code, fmt, ends)


@jit
def encode_random64(
    x: Any, out: Any, fmt: FormatParams, mode: StochasticParams, ends: Ends, low: int, high: int
) -> None:
    """`encode64` by the random words of the elements low + 2**32 * high and on."""
    for i in range(x.size):
        word = right(philox(U32(U32(low) + U32(i)), high, mode), U32(32 - mode.bits))
        sign, magnitude, _, _, code = _random64(x[i], fmt, mode, word)
        out[i] = _code64(sign, magnitude, code, fmt, ends)


@jit
def round_random64(
    x: Any, out: Any, fmt: FormatParams, mode: StochasticParams, ends: Ends, low: int, high: int
) -> None:
    """`round64` by the random words of the elements low + 2**32 * high and on."""
    for i in range(x.size):
        word = right(philox(U32(U32(low) + U32(i)), high, mode), U32(32 - mode.bits))
        sign, magnitude, kept, binade, code = _random64(x[i], fmt, mode, word)
        out[i] = _value64(sign, magnitude, kept, binade, code, fmt, ends)


@jit
def encode_nearest32(x: Any, out: Any, near: NearestParams, fmt: FormatParams, ends: Ends) -> None:
    """`encode32`, ties to even, the short way."""
    shift, magic = U32(near.shift), U32(near.magic)
    half = right(U32(left(U32(1), shift) - U32(1)), U32(1))
    tie = U32(near.shift > 0)
    for i in range(x.size):
        sign = U32(U32(0) - right(x[i], U32(31)))
        magnitude = U32(x[i] & U32(0x7FFFFFFF))
        odd = U32(right(magnitude, shift) & tie)
        normal = I32(right(U32(U32(magnitude + half) + odd), shift)) - I32(near.offset)
        small = I32(U32(bits32(float32_of(magnitude) + float32_of(magic)) - magic))
        code = I32(normal) if magnitude >= U32(near.threshold) else small
        out[i] = _code32(sign, magnitude, code, fmt, ends)


@jit
def round_nearest32(x: Any, out: Any, near: NearestParams, fmt: FormatParams, ends: Ends) -> None:
    """`round32`, ties to even, the short way: integers for normal values, an addition for subnormal ones."""
    shift, magic = U32(near.shift), float32_of(U32(near.magic))
    below = U32(left(U32(1), shift) - U32(1))
    half = right(below, U32(1))
    tie = U32(below & U32(1))
    for i in range(x.size):
        sign = U32(U32(0) - right(x[i], U32(31)))
        magnitude = U32(x[i] & U32(0x7FFFFFFF))
        odd = U32(right(magnitude, shift) & tie)
        normal = U32(U32(U32(magnitude + half) + odd) & U32(~below))
        small = bits32(np.float32(np.float32(float32_of(magnitude) + magic) - magic))
        result = normal if magnitude >= U32(near.threshold) else small
        over = result > _pick32(near.max_positive, near.max_negative, sign)
        some = sign if U32(result | U32(fmt.negative_zero)) != U32(0) else U32(0)
        result = U32(result | U32(some & U32(0x80000000)))
        out[i] = _finish32(result, over, sign, magnitude, ends)


@jit
def decode(codes: Any, out: Any, fmt: FormatParams) -> None:
    """Values (float32) of codes (any unsigned integers)."""
    for i in range(codes.size):
        out[i] = decode_value(U32(codes[i]), fmt)
