"""The loops of `_llvm_logarithms` and `_llvm_powers` in Python, and the numbers that both kinds share.

Numba compiles them where they cannot be written in LLVM. Each operation on float32 is the one that a lane
does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from precision._kernels._jit import jit
from precision._kernels._llvm_scalars import bits32, float32_of, fused_multiply_add

F32, I32, U32 = np.float32, np.int32, np.uint32
_RUN = 16

LOG2 = (1.4426813125610352, -0.7213318943977356, 0.4853716194629669, -0.3645600378513336)
"""log2(1 + r) / r for |r| below 0.1121, within 2**-21.5 after the product with r."""
INVERSES = (0x3F63BDE0, 0x3F39E475, 0x3F1D7339, 0x3F08CDA3)
"""Bits of float32 next to 8/9, 8/11, 8/13 and 8/15, whose logarithms are nearly float32, too."""
LOGARITHMS = (0x3E2CCB94, 0x3EEC60CA, 0x3F338512, 0x3F676F3D)
"""Bits of -log2 of those."""
EXP2 = (0.6931470632553101, 0.24022643268108368, 0.055532075464725494, 0.009628419764339924)
"""(2**r - 1) / r for |r| <= 1/8, within 2**-28.29 after the product with r, relative to 2**r."""
QUARTERS = (0x3F8FB81B, 0x3FAAE96F, 0x3FCB3FE5, 0x3FF1B4B3)
"""Bits of 2**(SHIFT + j/4) rounded to float32, off by less than 0.006 units in the last place."""
MAGIC_QUARTERS = 1.5 * 2.0**21  # added to a float32 it leaves the nearest quarters in the low bits


def extremes(bits: Any, first: Any, tiles: Any, runs: Any, out: Any, to: Any, apart: Any) -> None:
    """Write for each tile the bits of its largest magnitude, its least nonzero one less 1, and its least."""
    for t in range(tiles):
        largest, above, least = U32(0), U32(0xFFFFFFFF), U32(0xFFFFFFFF)
        for i in range(runs * _RUN):
            size = U32(bits[first + t * runs * _RUN + i] & U32(0x7FFFFFFF))
            largest, least = max(largest, size), min(least, size)
            above = min(above, U32(size - U32(1)))
        out[to + t] = largest
        out[to + apart + t] = above
        out[to + 2 * apart + t] = least


@jit
def _place(size: Any, exponent: Any, slope: Any, offset: Any) -> Any:
    """Return the place of an element, by its magnitude's bits, on the line of its tile."""
    field = U32(I32(exponent) << 23)
    up = U32(U32(size - U32(field + U32(127 << 23))) & U32(0xFF800000))
    which = (size >> U32(21)) & U32(3)
    inverse = float32_of(U32(U32(INVERSES[which]) - field))
    level = fused_multiply_add(float32_of(U32(LOGARITHMS[which])), slope, offset)
    r = fused_multiply_add(float32_of(U32(size - up)), inverse, F32(-1.0))
    total = fused_multiply_add(F32(I32(up)), F32(slope * F32(2.0**-23)), level)
    tail = F32(slope * F32(LOG2[3]))
    for n in range(2, -1, -1):
        tail = fused_multiply_add(tail, r, F32(slope * F32(LOG2[n])))
    return fused_multiply_add(tail, r, total)


def encoded(marks_each: bool) -> Callable[..., None]:
    """Make the loop that marks each open element, or the one that tells only whether there are any."""

    def loop(
        bits: Any, first: Any, tiles: Any, runs: Any, lines: Any, at: Any, width: Any,
        codes: Any, to: Any, opened: Any, marks: Any,
    ) -> None:  # fmt: skip
        unit = 1 << (32 - width)
        most, zero = F32(2.0**31 - 0.5 * unit), F32(0.5 * unit)
        for t in range(tiles):
            exponent, slope, offset = lines[0, at + t], lines[1, at + t], lines[2, at + t]
            limit, least, below = I32(lines[3, at + t]), lines[4, at + t], lines[5, at + t]
            smallest = I32(0x7FFFFFFF)
            for i in range(t * runs * _RUN, (t + 1) * runs * _RUN):
                word = U32(bits[first + i])
                size = U32(word & U32(0x7FFFFFFF))
                place = _place(size, exponent, slope, offset)
                if not marks_each:
                    result = I32(place if place > zero else zero)
                    rest = I32(result & (unit - 1))
                else:
                    inside = place if place > least else least
                    result = I32(inside if inside < most else most)
                    near = size != U32(0) and ((result & (unit - 1)) < limit or place < below)
                    result = result if size != U32(0) else I32(0)
                    rest = I32(0) if near else I32(0x7FFFFFFF)
                    bit = 1 << (i & 7)
                    marks[i >> 3] = (marks[i >> 3] & ~bit) | (bit if near else 0)
                smallest = min(smallest, rest)
                codes[to + i] = U32(U32(result) | U32(word & U32(0x80000000))) >> U32(32 - width)
            opened[at + t] = smallest < limit

    return loop


def decode(
    codes: Any, start: Any, tiles: Any, runs: Any, ladders: Any, at: Any, width: Any, out: Any, to: Any
) -> None:
    """Write values of tiles of codes, all normal numbers; 0 for a magnitude of 0."""
    for t in range(tiles):
        total = F32(ladders[0, at + t] + F32(MAGIC_QUARTERS))
        first, first_low = ladders[1, at + t], ladders[2, at + t]
        step, step_low = ladders[3, at + t], ladders[4, at + t]
        for i in range(t * runs * _RUN, (t + 1) * runs * _RUN):
            word = U32(U32(codes[start + i]) << U32(32 - width))
            number = F32(I32(word & U32(0x7FFFFFFF)))
            x, low = fused_multiply_add(number, step, first), fused_multiply_add(number, step_low, first_low)
            near = F32(F32(x + low) + total)
            rest = F32(F32(x - F32(near - total)) + low)
            quarters = bits32(near)
            which = quarters & U32(3)
            found = U32(U32(QUARTERS[which]) - U32(which << U32(21)))
            power = float32_of(U32(found + U32(quarters << U32(21))))
            if number == F32(0):
                power = F32(0)
            tail = F32(EXP2[3])
            for n in range(2, -1, -1):
                tail = fused_multiply_add(tail, rest, F32(EXP2[n]))
            value = bits32(fused_multiply_add(F32(power * rest), tail, power))
            out[to + i] = float32_of(U32(value | U32(word & U32(0x80000000))))
