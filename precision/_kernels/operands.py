"""Operands as the dot-product kernels read them: values, and exponents that are never normalised.

An operand is a stack of matrices of codes, or of float32 values, as it lies in memory; either its
rows or its columns may be contiguous. A subnormal has its format's smallest exponent, and a zero has
none (`ZERO`), so that it takes no part in a largest exponent.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from precision._kernels._jit import inline, jit
from precision._kernels.rounding import bits32, float32_of

U32, I32 = np.uint32, np.int32


class Operand(NamedTuple):
    """Codes [matrix][row][column], or [matrix][column][row] if ``transposed``, flat, and how to read them."""

    codes: Any
    rows: int
    columns: int
    transposed: int
    table: Any  #: float32 values of all codes; empty where a code's own bits are a float32's
    shift: int  #: places that a code's bits stand to the left in that float32
    mask: int  #: bits of that float32 that the unit reads
    min_exponent: int  #: of the format: the exponent of its subnormals
    reference: int  #: exponents are kept relative to this one


class Tables(NamedTuple):
    """For each code its value, and its exponent less the operand's reference; both empty for 32-bit codes.

    NaN and Inf have the value 0 and the exponent `SPECIAL` of the type.
    """

    values: Any
    exponents: Any


@inline
def read(operand: Operand, place: Any) -> Any:
    """The element at a place in memory: its float32 value, its exponent, and whether it is NaN or Inf.

    A zero's exponent means nothing.
    """
    code = operand.codes[place]
    if operand.table.size:
        value = operand.table[code]
    else:
        value = float32_of(U32(U32(U32(code) << U32(operand.shift)) & U32(operand.mask)))
    magnitude = U32(bits32(value) & U32(0x7FFFFFFF))
    exponent = I32(I32(magnitude >> U32(23)) - I32(127))
    if exponent == I32(-127):  # a float32 subnormal: its magnitude counts 2**-149
        exponent = I32(I32(U32(bits32(np.float32(magnitude)) >> U32(23))) - I32(127 + 149))
    exponent = exponent if exponent > I32(operand.min_exponent) else I32(operand.min_exponent)
    return value, exponent, magnitude >= U32(0x7F800000)


@jit
def exponent_range(operand: Operand, start: int, stop: int) -> Any:
    """Smallest and largest exponent of the finite, non-zero elements ``start`` to ``stop`` in memory."""
    lowest, highest = I32(10000), I32(-10000)
    for place in range(start, stop):
        value, exponent, special = read(operand, place)
        if value != np.float32(0) and not special:
            lowest = exponent if exponent < lowest else lowest
            highest = exponent if exponent > highest else highest
    return lowest, highest


@inline
def pack(
    operand: Operand, tables: Tables, matrix: int, start: int, depth: int, none: int, first: int, lanes: int,
    halves: int, values: Any, exponents: Any, base: int, special: Any,
) -> None:  # fmt: skip
    """K from ``start`` of the columns from ``first``: [k][half][lane], halves as `add_cut_products` has them.

    With one half the values keep their sign. What lies beyond K or the last column is zero, whose exponent
    is ``none``; ``special`` [matrix][column] marks columns with NaN or Inf, which are packed as zeros. Both
    arrays are filled from ``base``, counted in exponents.
    """
    length, columns = operand.rows, operand.columns
    zero = np.float32(0)
    by_table = tables.values.size > 0
    deep, wide = min(depth, length - start), min(lanes, columns - first)
    # Memory is read in its order; a code's next neighbours lie along k or along the lanes.
    k_step, lane_step = (1, length) if operand.transposed else (columns, 1)
    corner = matrix * length * columns + start * k_step + first * lane_step
    outer, outer_step, outer_to = (lanes, lane_step, 1) if operand.transposed else (depth, k_step, lanes)
    inner, inner_step, inner_to = (depth, k_step, lanes) if operand.transposed else (lanes, lane_step, 1)
    outer_end, inner_end = (wide, deep) if operand.transposed else (deep, wide)
    for i in range(outer):
        for n in range(inner):
            value, exponent, odd = zero, I32(none), False
            if i < outer_end and n < inner_end:
                place = corner + i * outer_step + n * inner_step
                if by_table:
                    code = operand.codes[place]
                    value, exponent = tables.values[code], I32(tables.exponents[code])
                    odd = exponent == I32(-none - 1)
                else:
                    value, exponent, odd = read(operand, place)
                    exponent = I32(exponent - I32(operand.reference)) if value != zero else I32(none)
                if odd:
                    special[matrix * columns + first + (i if operand.transposed else n)] = True
                    value, exponent = zero, I32(none)
            to = base + i * outer_to + n * inner_to
            exponents[to] = exponent
            if halves == 1:
                values[to] = value
            else:
                to += base + (n if operand.transposed else i) * lanes
                values[to] = value if value > zero else zero
                values[to + lanes] = -value if value < zero else zero


@jit
def pack_left(
    columns: Operand, tables: Tables, first: int, last: int, chunks: int, depth: int, none: int,
    values: Any, exponents: Any, special: Any,
) -> None:  # fmt: skip
    """Rows ``first`` to ``last``, counted through all matrices, as [matrix][chunk][row][k in chunk].

    The operand is given with its rows as columns.
    """
    rows = columns.columns
    for index in range(first, last):
        matrix, row = index // rows, index % rows
        for chunk in range(chunks):
            base = ((matrix * chunks + chunk) * rows + row) * depth
            start = chunk * depth
            pack(columns, tables, matrix, start, depth, none, row, 1, 1, values, exponents, base, special)
