"""The steps of `_llvm_integer_step` in Python, for Numba to compile where they cannot be written in LLVM."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from precision._kernels._jit import jit
from precision._kernels._llvm_scalars import bits32, exponent32, float32_of
from precision._kernels.products._plain_narrow_step import largest_exponent

F32, F64, I32, U32, I64 = np.float32, np.float64, np.int32, np.uint32, np.int64
_LANES = 64


@jit
def _cut(value: Any, places: Any) -> Any:
    """Return ``value * 2**places`` without its fraction."""
    return I64(math.ldexp(value, places))


def integer_steps(
    rows: Any, steps: Any, products: Any, part: Any, a: Any, ae: Any, a0: Any, depth: Any, b: Any, be: Any,
    registers: Any, reference: Any, floor: Any, width: Any, mask: Any, left_shift: Any, l0: Any,
    right_shift: Any, r0: Any,
) -> None:  # fmt: skip
    """Take each row's registers through its steps, one lane after another; every sum is exact."""
    for i in range(rows):
        for n in range(steps):
            place, k0 = a0 + i * depth + n * products, n * products
            for j in range(_LANES):
                register = registers[i * _LANES + j]
                exponent = largest_exponent(products, ae, place, be, k0 * _LANES + j)
                shift = I64(0)
                if right_shift is not None:
                    shift = I64(left_shift[l0 + i]) + I64(right_shift[r0 + j])
                own = max(I64(exponent32(register)), floor)
                exponent = max(own, exponent + reference + shift) if exponent > -128 else own
                places = min(127, max(-126, width - exponent + shift))
                total = _cut(F64(register), width - exponent)
                for k in range(products):
                    product = F64(a[place + k]) * F64(b[(k0 + k) * _LANES + j])
                    total += _cut(product, places)
                sign = U32(0x80000000) if total < 0 else U32(0)
                magnitude = abs(total)
                _, bits = math.frexp(F64(magnitude))
                kept = magnitude >> max(0, bits - 24) << max(0, bits - 24)
                result = bits32(F32(math.ldexp(F64(kept), exponent - width)))
                registers[i * _LANES + j] = float32_of(U32((sign | result) & U32(mask)))
