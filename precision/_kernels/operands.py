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
    """What `pack_right` looks up: the value and the exponent, less the operand's reference, of each code.

    For codes of 32 bits there are no values, which are the codes' own bits, and the exponents are those
    of each element. Where they are the largest of their type, the element is NaN or Inf.
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
def pack_right(
    operand: Operand, tables: Tables, matrix: int, start: int, depth: int, none: int, first: int, lanes: int,
    halves: int, values: Any, exponents: Any, special: Any,
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
            value, exponent = zero, I32(none)
            if i < outer_end and n < inner_end:
                place = corner + i * outer_step + n * inner_step
                code = operand.codes[place]
                if by_table:
                    value, exponent = tables.values[code], I32(tables.exponents[code])
                else:
                    value = float32_of(U32(U32(code) & U32(operand.mask)))
                    exponent = I32(tables.exponents[place])
                if exponent == I32(-none - 1):
                    special[matrix * columns + first + (i if operand.transposed else n)] = True
                    value, exponent = zero, I32(none)
            to = i * outer_to + n * inner_to
            exponents[to] = exponent
            if halves == 1:
                values[to] = value
            else:
                to += (n if operand.transposed else i) * lanes
                values[to] = value if value > zero else zero
                values[to + lanes] = -value if value < zero else zero
