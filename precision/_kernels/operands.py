"""Operands as the dot-product kernels read them: values, and exponents that are never normalised.

An operand is a stack of matrices of codes, or of float32 values, as it lies in memory; either its
rows or its columns may be contiguous. A subnormal has its format's smallest exponent, and a zero has
none (`ZERO`), so that it takes no part in a largest exponent.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from precision._kernels._jit import jit
from precision._kernels.rounding import bits32, float32_of

U32, I32 = np.uint32, np.int32


class Operand(NamedTuple):
    """Codes [matrix][row][column], or [matrix][column][row] if ``transposed``, and how to read them."""

    codes: Any
    transposed: int
    table: Any  #: float32 values of all codes; empty where a code's own bits are a float32's
    shift: int  #: places that a code's bits stand to the left in that float32
    mask: int  #: bits of that float32 that the unit reads
    min_exponent: int  #: of the format: the exponent of its subnormals
    reference: int  #: exponents are kept relative to this one


class Exponents(NamedTuple):
    """Smallest and largest exponent of finite, non-zero elements, and whether there are NaN or Inf."""

    lowest: int
    highest: int
    special: bool


@jit
def element(operand: Operand, matrix: Any, row: Any, column: Any) -> Any:
    """One element as float32."""
    line, place = (column, row) if operand.transposed else (row, column)
    code = operand.codes[matrix, line, place]
    if operand.table.size:
        return operand.table[code]
    return float32_of(U32(U32(U32(code) << U32(operand.shift)) & U32(operand.mask)))


@jit
def is_special(value: Any) -> Any:
    """NaN or Inf, read off the bits."""
    return U32(bits32(value) & U32(0x7F800000)) == U32(0x7F800000)


@jit
def exponent_of(value: Any, min_exponent: Any) -> Any:
    """The exponent of a finite, non-zero float32, not below ``min_exponent``."""
    magnitude = U32(bits32(value) & U32(0x7FFFFFFF))
    exponent = I32(I32(magnitude >> U32(23)) - I32(127))
    if exponent == I32(-127):  # a float32 subnormal: its magnitude counts 2**-149
        exponent = I32(I32(U32(bits32(np.float32(magnitude)) >> U32(23))) - I32(127 + 149))
    return exponent if exponent > I32(min_exponent) else I32(min_exponent)


@jit
def exponent_range(operand: Operand, start: int, stop: int) -> Any:
    """`Exponents` of the lines ``start`` to ``stop`` as they lie in memory, all matrices counted through."""
    _, lines, length = operand.codes.shape
    lowest, highest, special = I32(10000), I32(-10000), False
    for index in range(start, stop):
        matrix, line = index // lines, index % lines
        for place in range(length):
            if operand.transposed:
                value = element(operand, matrix, place, line)
            else:
                value = element(operand, matrix, line, place)
            if is_special(value):
                special = True
            elif value != np.float32(0):
                exponent = exponent_of(value, operand.min_exponent)
                lowest = min(lowest, exponent)
                highest = max(highest, exponent)
    return lowest, highest, special


@jit
def pack_left(
    operand: Operand,
    start: int,
    stop: int,
    depth: int,
    values: Any,
    exponents: Any,
    special: Any,
) -> None:
    """Rows ``start`` to ``stop`` (counted through all matrices) as [matrix][chunk][row][k in chunk].

    ``depth`` is the length of a chunk of K, padded with zeros; ``special`` marks rows with NaN or Inf,
    which are packed as zeros.
    """
    if operand.transposed:
        _, length, rows = operand.codes.shape
    else:
        _, rows, length = operand.codes.shape
    chunks = -(-length // depth)
    none = np.iinfo(exponents.dtype).min
    for index in range(start, stop):
        matrix, row = index // rows, index % rows
        for chunk in range(chunks):
            base = ((matrix * chunks + chunk) * rows + row) * depth
            for k in range(depth):
                value, exponent = np.float32(0), I32(none)
                if chunk * depth + k < length:
                    value = element(operand, matrix, row, chunk * depth + k)
                    if is_special(value):
                        special[index] = True
                        value = np.float32(0)
                    elif value != np.float32(0):
                        exponent = I32(exponent_of(value, operand.min_exponent) - I32(operand.reference))
                values[base + k] = value
                exponents[base + k] = exponent


@jit
def pack_right(
    operand: Operand,
    matrix: int,
    chunk: int,
    depth: int,
    first: int,
    lanes: int,
    halves: int,
    values: Any,
    exponents: Any,
    special: Any,
) -> None:
    """One chunk of K of the columns from ``first``: [k][half][lane], halves as `add_cut_products` has them.

    With one half the values keep their sign. Lanes beyond the last column are zeros; ``special``
    [matrix][column] marks columns with NaN or Inf, which are packed as zeros.
    """
    if operand.transposed:
        _, columns, length = operand.codes.shape
    else:
        _, length, columns = operand.codes.shape
    none = np.iinfo(exponents.dtype).min
    zero = np.float32(0)
    deep = min(depth, length - chunk * depth)
    wide = min(lanes, columns - first)
    if deep < depth or wide < lanes:
        values[: depth * halves * lanes] = 0
        exponents[: depth * lanes] = none
    outer, inner = (wide, deep) if operand.transposed else (deep, wide)
    for i in range(outer):
        for n in range(inner):
            k, lane = (n, i) if operand.transposed else (i, n)
            value = element(operand, matrix, chunk * depth + k, first + lane)
            exponent = I32(none)
            if is_special(value):
                special[matrix, first + lane] = True
                value = zero
            elif value != zero:
                exponent = I32(exponent_of(value, operand.min_exponent) - I32(operand.reference))
            exponents[k * lanes + lane] = exponent
            if halves == 1:
                values[k * lanes + lane] = value
            else:
                values[2 * k * lanes + lane] = value if value > zero else zero
                values[(2 * k + 1) * lanes + lane] = -value if value < zero else zero
