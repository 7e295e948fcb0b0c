"""The loops of `_llvm_elements` in Python, for Numba to compile where they cannot be written in LLVM."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from precision._kernels._jit import jit
from precision._kernels._llvm_scalars import bits32, float32_of

F32, F64, U32, I64 = np.float32, np.float64, np.uint32, np.int64


@jit
def _read(code: Any, table: Any, shift: Any, mask: Any) -> Any:
    """Return an element's value, zero for NaN and Inf, and 1 for these."""
    value = table[code] if table.size else float32_of(U32(U32(U32(code) << U32(shift)) & U32(mask)))
    special = U32(bits32(value) & U32(0x7F800000)) == U32(0x7F800000)
    return (F32(0), 1) if special else (value, 0)


@jit
def _exponent(value: Any, least: Any, reference: Any, lowest: Any) -> Any:
    """Return an element's exponent."""
    if value == F32(0):
        return lowest
    _, exponent = math.frexp(F64(value))
    return max(I64(exponent) - 1, I64(least)) - reference


def unpack_columns(
    depth: Any, columns: Any, codes: Any, c0: Any, k_stride: Any, stride: Any,
    table: Any, shift: Any, mask: Any, least: Any, reference: Any,
    lanes: Any, halves: Any, values: Any, exponents: Any, marks: Any,
) -> None:  # fmt: skip
    """Write values and exponents of a part of the right operand, one after another."""
    lowest = -(1 << (8 * exponents.itemsize - 1))
    for k in range(depth):
        for j in range(columns):
            value, special = _read(codes[c0 + k * k_stride + j * stride], table, shift, mask)
            marks[j] |= special
            exponents[k * lanes + j] = _exponent(value, least, reference, lowest)
            to = k * halves * lanes + j
            if halves == 1:
                values[to] = value
            else:
                values[to] = value if value > F32(0) else F32(0)
                values[to + lanes] = -value if value < F32(0) else F32(0)


def unpack_rows(
    rows: Any, count: Any, depth: Any, codes: Any, c0: Any, row_stride: Any, stride: Any,
    table: Any, shift: Any, mask: Any, least: Any, reference: Any,
    values: Any, swaps: Any, exponents: Any, v0: Any, marks: Any, m0: Any,
) -> None:  # fmt: skip
    """Write values and exponents of rows of the left operand, one after another."""
    lowest = -(1 << (8 * (1 if exponents.itemsize == 4 else exponents.itemsize) - 1))
    for i in range(rows):
        for k in range(depth):
            value, special = F32(0), 0
            if k < count:
                value, special = _read(codes[c0 + i * row_stride + k * stride], table, shift, mask)
            if special:
                marks[m0 + i] = 1
            to = v0 + i * depth + k
            exponent = _exponent(value, least, reference, lowest)
            exponents[to] = U32(exponent & 255) * U32(0x01010101) if exponents.itemsize == 4 else exponent
            if swaps.size:
                values[to] = abs(value)
                swaps[to] = 256 if value < F32(0) else 0
            else:
                values[to] = value
