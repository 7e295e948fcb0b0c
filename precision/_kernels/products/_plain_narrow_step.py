"""The steps of `_llvm_narrow_step` in Python, for Numba to compile where they cannot be written in LLVM."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from precision._kernels._jit import jit
from precision._kernels._llvm_scalars import bits32, exponent32, float32_of
from precision._kernels._plain_vectors import add_cut

F32, F64, I32, U32, I64 = np.float32, np.float64, np.int32, np.uint32, np.int64
_LANES = 64


@jit
def largest_exponent(products: Any, row: Any, place: Any, column: Any, first: Any) -> Any:
    """Return the largest sum of exponents of some products, saturating as int8.

    A row's exponents are words of four equal bytes, each less by 256 where it is negative.
    """
    exponent: Any = -128
    for k in range(products):
        left = I64(row[place + k] & U32(255))
        left = left - 256 if left > 127 else left
        total = left + I64(column[first + k * _LANES])
        exponent = max(exponent, max(-128, min(127, total)))
    return exponent


def narrow_steps(
    rows: Any, steps: Any, products: Any, a: Any, swaps: Any, ae: Any, a0: Any, depth: Any, b: Any, be: Any,
    registers: Any, reference: Any, floor: Any, power: Any, mask: Any,
) -> None:  # fmt: skip
    """Take each row's registers through its steps, one lane after another; every sum is exact."""
    for i in range(rows):
        for n in range(steps):
            place, k0 = a0 + i * depth + n * products, n * products
            for j in range(_LANES):
                register = registers[i * _LANES + j]
                exponent = largest_exponent(products, ae, place, be, k0 * _LANES + j)
                exponent = max(exponent + reference, I64(exponent32(register)), floor)
                first = math.ldexp(1.0, exponent + power)
                positive = add_cut(first, max(F64(register), 0.0), 24)
                negative = add_cut(first, max(-F64(register), 0.0), 24)
                for k in range(products):
                    x, column = F64(a[place + k]), 2 * (k0 + k) * _LANES + j
                    swap = I64(swaps[place + k]) // 4
                    positive = add_cut(positive, x * F64(b[column + swap]), 24)
                    negative = add_cut(negative, x * F64(b[column + _LANES - swap]), 24)
                bits = bits32(F32(positive - negative))
                registers[i * _LANES + j] = float32_of(U32(bits & U32(mask)))
