"""Loops of `round_to`, `encode` and `decode` over contiguous arrays of bits."""

from __future__ import annotations

from typing import Any

import numpy as np

from precision._kernels._jit import jit
from precision._kernels.params import Ends, FormatParams, ModeParams, NearestParams, StochasticParams
from precision._kernels.rounding import (
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
def encode_nearest32(x: Any, out: Any, near: NearestParams, cap: int, nan: int, places: int) -> None:
    """`encode32`, ties to even, the short way for formats whose codes differ in the sign bit alone.

    The addition of a power of two, whose last place is the quantum of the number's binade, rounds to the
    nearest and leaves the significand as an integer in the low bits. ``cap`` (float32 bits) stands for every
    larger magnitude, ``nan`` is a magnitude code, and the sign moves down by ``places``.
    """
    shift, lowest = U32(near.shift), U32(near.threshold)
    up = left(shift, U32(23))
    offset = U32(right(lowest, shift) + up)
    top = right(U32(0x80000000), U32(places))
    for i in range(x.size):
        magnitude = U32(x[i] & U32(0x7FFFFFFF))
        capped = magnitude if magnitude < U32(cap) else U32(cap)
        binade = U32((capped if capped > lowest else lowest) & U32(0x7F800000))
        total = bits32(np.float32(float32_of(capped) + float32_of(U32(binade + up))))
        code = U32(U32(total - binade) + U32(right(binade, shift) - offset))
        code = U32(nan) if magnitude > U32(0x7F800000) else code
        out[i] = U32(code | U32(right(x[i], U32(places)) & top))


@jit
def round_nearest32(x: Any, out: Any, near: NearestParams, over: int, nan: int) -> None:
    """`round32`, ties to even, the short way: integers for normal values, an addition for subnormal ones.

    ``over`` and ``nan`` are float32 bits without sign.
    """
    shift, magic = U32(near.shift), float32_of(U32(near.magic))
    below = U32(left(U32(1), shift) - U32(1))
    half = right(below, U32(1))
    tie = U32(below & U32(1))
    for i in range(x.size):
        magnitude = U32(x[i] & U32(0x7FFFFFFF))
        odd = U32(right(magnitude, shift) & tie)
        normal = U32(U32(U32(magnitude + half) + odd) & U32(~below))
        small = bits32(np.float32(np.float32(float32_of(magnitude) + magic) - magic))
        result = normal if magnitude >= U32(near.threshold) else small
        result = U32(over) if result > U32(near.max_positive) else result
        result = U32(nan) if magnitude > U32(0x7F800000) else result
        out[i] = U32(result | U32(x[i] & U32(0x80000000)))


@jit
def decode(codes: Any, out: Any, fmt: FormatParams) -> None:
    """Values (float32) of codes (any unsigned integers)."""
    for i in range(codes.size):
        out[i] = decode_value(U32(codes[i]), fmt)
