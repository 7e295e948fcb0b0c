"""Operands as `_single_sums` reads them, code by code: values, and exponents that are never normalised.

An operand is a stack of matrices of codes, or of float32 values, as it lies in memory; either its rows or its
columns may be contiguous. A subnormal has its format's smallest exponent; a zero takes no part in a largest
exponent.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from precision._kernels._jit import inline, jit
from precision._kernels._llvm_scalars import bits32, float32_of

U32, I32 = np.uint32, np.int32


class Operand(NamedTuple):
    """Flat codes [matrix][row][column], or [matrix][column][row] if ``transposed``, and what they mean."""

    codes: Any
    rows: int
    columns: int
    transposed: int
    table: Any  #: float32 values of all codes; empty where a code's own bits are a float32's
    shift: int  #: places that a code's bits stand to the left in that float32
    mask: int  #: bits of that float32 that the unit reads
    min_exponent: int  #: of the format: the exponent of its subnormals


@inline
def read(operand: Operand, place: Any) -> Any:
    """Return the element at a place in memory: its float32 value, its exponent, and whether it is NaN or Inf.

    A zero's exponent means nothing.
    """
    code = operand.codes[place]
    if operand.table.size:
        value = operand.table[code]
    else:
        value = float32_of(U32(U32(U32(code) << U32(operand.shift)) & U32(operand.mask)))
    magnitude = U32(bits32(value) & U32(0x7FFFFFFF))
    exponent = I32(I32(magnitude >> U32(23)) - I32(127))
    if exponent == I32(-127):  # a subnormal of float32: its magnitude counts 2**-149
        exponent = I32(I32(U32(bits32(np.float32(magnitude)) >> U32(23))) - I32(127 + 149))
    exponent = exponent if exponent > I32(operand.min_exponent) else I32(operand.min_exponent)
    return value, exponent, magnitude >= U32(0x7F800000)


@jit
def exponent_range(operand: Operand, start: int, stop: int) -> Any:
    """Return smallest and largest exponent of the finite, non-zero elements from ``start`` to ``stop``."""
    lowest, highest = I32(10000), I32(-10000)
    for place in range(start, stop):
        value, exponent, special = read(operand, place)
        if value != np.float32(0) and not special:
            lowest = exponent if exponent < lowest else lowest
            highest = exponent if exponent > highest else highest
    return lowest, highest
