"""The loops of `_llvm_vectors` in Python, for Numba to compile where they cannot be written in LLVM.

They give the same bits in either rounding mode that their callers set: every sum here is exact.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from precision._kernels._jit import jit
from precision._kernels._llvm_scalars import fused_multiply_add

F32, F64, I32 = np.float32, np.float64, np.int32
_LANES, _WIDE_LANES = 64, 32  # of float32 and of float64


@jit
def add_cut(total: Any, product: Any, precision: Any) -> Any:
    """Return a sum and a product that is not negative, cut to the sum's last place; both as float64.

    The sum has ``precision`` bits, and stays in its binade.
    """
    _, exponent = math.frexp(total)
    quantum = math.ldexp(1.0, exponent - precision)
    return total + math.floor(product / quantum) * quantum


def stream(source: Any, s0: Any, target: Any, t0: Any, count: Any) -> None:
    """Copy ``count`` elements."""
    for i in range(count):
        target[t0 + i] = source[s0 + i]


def largest_exponents(count: Any, ae: Any, a0: Any, be: Any, b0: Any, out: Any) -> None:
    """Write the largest sum of a row's exponent and a lane's into ``out``, saturating as int16."""
    for j in range(_WIDE_LANES):
        largest: Any = -32768
        for k in range(count):
            total = np.int64(ae[a0 + k]) + np.int64(be[b0 + k * _WIDE_LANES + j])
            largest = max(largest, min(max(total, -32768), 32767))
        out[j] = largest


def add_cut_products(count: Any, a: Any, a0: Any, b: Any, b0: Any, sums: Any) -> None:
    """Add positive products and the magnitudes of negative ones to two halves of sums, cut."""
    for k in range(count):
        x = F64(a[a0 + k])
        swap = _WIDE_LANES if x < 0.0 else 0
        for j in range(_WIDE_LANES):
            place = b0 + 2 * k * _WIDE_LANES + j
            positive, negative = b[place + swap], b[place + _WIDE_LANES - swap]
            sums[j] = add_cut(sums[j], abs(x) * positive, 53)
            sums[_WIDE_LANES + j] = add_cut(sums[_WIDE_LANES + j], abs(x) * negative, 53)


def add_scaled(
    rows: Any, lanes: Any, registers: Any, totals: Any, left: Any, l0: Any, right: Any, left_first: Any
) -> None:
    """Add a tile's registers to its totals, scaled, and clear them."""
    for i in range(rows):
        scale = left[l0 + i]
        before, after = (scale, F32(1)) if left_first else (F32(1), scale)
        for j in range(lanes):
            n = i * lanes + j
            partial, factor = F32(registers[n] * before), F32(after * right[j])
            totals[n] = fused_multiply_add(partial, factor, totals[n])
            registers[n] = 0


def chain_products(count: Any, a: Any, a0: Any, b: Any, b0: Any, sums: Any, s0: Any) -> None:
    """Add products to the lanes' sums by float32 fused multiply-adds."""
    for k in range(count):
        for j in range(_LANES):
            sums[s0 + j] = fused_multiply_add(a[a0 + k], b[b0 + k * _LANES + j], sums[s0 + j])
