"""The steps of `_llvm_narrow_step` in Python, for Numba to compile where they cannot be written in LLVM."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from precision._kernels._llvm_scalars import bits32, exponent32, float32_of
from precision._kernels._plain_vectors import add_cut

F32, F64, I32, U32, I64 = np.float32, np.float64, np.int32, np.uint32, np.int64
_LANES = 64


def narrow_steps(
    rows: Any, steps: Any, products: Any, a: Any, ae: Any, a0: Any, depth: Any, b: Any, be: Any,
    registers: Any, reference: Any, floor: Any, power: Any, mask: Any,
) -> None:  # fmt: skip
    """Take each row's registers through its steps, one lane after another; every sum is exact."""
    for i in range(rows):
        for n in range(steps):
            place, k0 = a0 + i * depth + n * products, n * products
            for j in range(_LANES):
                register = registers[i * _LANES + j]
                exponent: Any = -128
                for k in range(products):
                    total = I64(ae[place + k]) + I64(be[(k0 + k) * _LANES + j])
                    exponent = max(exponent, max(-128, min(127, total)))
                exponent = max(exponent + reference, I64(exponent32(register)), floor)
                first = math.ldexp(1.0, exponent + power)
                positive = add_cut(first, max(F64(register), 0.0), 24)
                negative = add_cut(first, max(-F64(register), 0.0), 24)
                for k in range(products):
                    x, column = F64(a[place + k]), 2 * (k0 + k) * _LANES + j
                    swap = _LANES if x < 0.0 else 0
                    positive = add_cut(positive, abs(x) * F64(b[column + swap]), 24)
                    negative = add_cut(negative, abs(x) * F64(b[column + _LANES - swap]), 24)
                bits = bits32(F32(positive - negative))
                registers[i * _LANES + j] = float32_of(U32(bits & U32(mask)))
