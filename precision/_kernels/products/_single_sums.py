"""Dot products one at a time: fused sums in 64-bit integers for what the panels leave out, and chains.

Any operands (NaN and Inf too), any rounding of terms and register, any scales inside the unit.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from precision._kernels._jit import jit
from precision._kernels._llvm_scalars import fused_multiply_add
from precision._kernels._params import CANONICAL_NAN, Epilogue, ModeParams, Register, Unit, UnitScales
from precision._kernels._scalar_rounding import bits32, float32_of, round_scaled_integer, shifted_product
from precision._kernels.products._coded_operands import Operand, read

U32, I32, U64, I64, F32, F64 = np.uint32, np.int32, np.uint64, np.int64, np.float32, np.float64


@jit
def _significand(value: Any, exponent: Any) -> Any:
    """Return the integer n of a finite float32 n * 2**(exponent - 23), for the exponent from `read`."""
    bits = U32(bits32(value) & U32(0x7FFFFFFF))
    field = I64(bits >> U32(23))
    size = I64(bits & U32(0x007FFFFF)) + (I64(1 << 23) if field > 0 else I64(0))
    places = I64(exponent) - (field - 127 if field > 0 else I64(-126))
    return size >> places if places > 0 else size << -places


@jit
def _cut(size: Any, places: Any, negative: Any, mode: ModeParams) -> Any:
    """Return ``size / 2**places`` rounded to an integer, with the sign."""
    # Sizes that are cut so far down lie below 2**48, and the addition has room.
    places = min(places, I64(60))
    mask = (I64(1) << places) - 1
    kept = size >> places
    shift = mode.shift_negative if negative else mode.shift_positive
    addend = ((mask >> I64(min(shift, 62))) + ((kept & mode.use_odd) | mode.one)) & mask
    kept += ((size & mask) + addend) >> places
    return -kept if negative else kept


@jit
def place_of(operand: Operand, matrix: Any, row: Any, column: Any) -> Any:
    """Return the index of an element in memory."""
    first = matrix * operand.rows * operand.columns
    return first + (column * operand.rows + row if operand.transposed else row * operand.columns + column)


@jit
def step(
    left: Operand, right: Operand, i: int, row: int, j: int, column: int, k: int, stop: int,
    register: Any, unit: Unit, rounding: Register, alignment: ModeParams,
) -> Any:  # fmt: skip
    """Return the register after the products ``k`` to ``stop`` of one dot product."""
    nan: Any = False
    plus: Any = False
    minus: Any = False
    largest = I64(unit.min_exponent)
    register_bits = U32(bits32(register) & U32(0x7FFFFFFF))
    register_exponent = I64(register_bits >> U32(23)) - 127
    register_exponent = max(register_exponent, I64(unit.register_min_exponent))
    if register_bits >= U32(0x7F800000):
        nan, plus, minus = register != register, register > 0, register < 0
    elif register != F32(0):
        largest = max(largest, register_exponent)
    for n in range(k, stop):
        a, ea, special_a = read(left, place_of(left, i, row, n))
        b, eb, special_b = read(right, place_of(right, j, n, column))
        if special_a or special_b:
            product = F32(a * b)
            nan, plus, minus = nan or product != product, plus or product > 0, minus or product < 0
        elif a != 0 and b != 0:
            largest = max(largest, I64(ea) + I64(eb))
    if nan or (plus and minus):
        return float32_of(U32(CANONICAL_NAN))
    if plus or minus:
        return F32(np.inf) if plus else F32(-np.inf)
    total = I64(0)
    for n in range(k, stop):
        a, ea, _ = read(left, place_of(left, i, row, n))
        b, eb, _ = read(right, place_of(right, j, n, column))
        if a != 0 and b != 0:
            size = _significand(a, ea) * _significand(b, eb)
            places = I64(46 - unit.fraction_bits) + largest - (I64(ea) + I64(eb))
            total += _cut(size, places, (a < 0) != (b < 0), alignment)
    if register != 0:
        size = _significand(register, register_exponent) << 23
        places = I64(46 - unit.fraction_bits) + largest - register_exponent
        total += _cut(size, places, register < 0, alignment)
    result = round_scaled_integer(total, largest - unit.fraction_bits, rounding.format, rounding.mode)
    return result if result != 0 else F32(0)


@jit
def _scales_of(
    scales: UnitScales, left: Operand, right: Operand, i: int, row: int, j: int, column: int, k: int
) -> Any:
    """Return the product of the two scales of one term: as float64, and as significand and exponent."""
    a = (i * scales.left_groups + k // scales.left_group) * left.rows + row
    b = (j * scales.right_groups + k // scales.right_group) * right.columns + column
    value = F64(scales.left_value[a]) * F64(scales.right_value[b])
    significand = scales.left_significand[a] * scales.right_significand[b]
    return value, significand, I64(scales.left_exponent[a]) + I64(scales.right_exponent[b])


@jit
def _term(
    left: Operand,
    right: Operand,
    i: int,
    row: int,
    j: int,
    column: int,
    k: int,
    stop: int,
    scales: UnitScales,
) -> Any:
    """Return the exact sum of some products: its value if NaN or Inf, else an integer in units of 2**place.

    Also its exponent, the place, and whether any product is not zero.
    """
    total, exponent, place, some, special = I64(0), I64(0), I64(scales.place), False, F64(0)
    for n in range(k, stop):
        a, ea, special_a = read(left, place_of(left, i, row, n))
        b, eb, special_b = read(right, place_of(right, j, n, column))
        if special_a or special_b:
            special += F64(a) * F64(b)
        elif a != 0 and b != 0:
            some = True
            size = _significand(a, ea) * _significand(b, eb)
            if scales.group == 0:
                exponent = I64(ea) + I64(eb)
                place = exponent - 46
            else:
                shift = I64(ea) + I64(eb) - 46 - place
                size = size << shift if shift > 0 else size >> -shift
            total += -size if (a < 0) != (b < 0) else size
    return special, total, exponent, place, some


@jit
def scaled_step(
    left: Operand, right: Operand, i: int, row: int, j: int, column: int, k: int, stop: int,
    register: Any, unit: Unit, rounding: Register, alignment: ModeParams, scales: UnitScales,
) -> Any:  # fmt: skip
    """Return the register after a step of a unit that scales products, or exact sums of some of them."""
    size = max(1, scales.group)
    special = F64(0)
    largest = I64(unit.min_exponent)
    register_bits = U32(bits32(register) & U32(0x7FFFFFFF))
    register_exponent = max(I64(register_bits >> U32(23)) - 127, I64(unit.register_min_exponent))
    if register_bits >= U32(0x7F800000):
        special += F64(register)
    elif register != F32(0):
        largest = max(largest, register_exponent)
    for n in range(k, stop, size):
        odd, total, exponent, _, some = _term(left, right, i, row, j, column, n, min(stop, n + size), scales)
        value, _, scale = _scales_of(scales, left, right, i, row, j, column, n)
        if odd != 0 or not np.isfinite(value):  # NaN is not 0 either
            special += (F64(total) if odd == 0 else odd) * value
        elif some and value != 0:
            largest = max(largest, exponent + scale)
    if special != 0:
        return F32(special) if special == special else float32_of(U32(CANONICAL_NAN))
    sum_ = I64(0)
    for n in range(k, stop, size):
        _, total, _, place, _ = _term(left, right, i, row, j, column, n, min(stop, n + size), scales)
        if total == 0:
            continue
        _, significand, scale = _scales_of(scales, left, right, i, row, j, column, n)
        places = largest - unit.fraction_bits - (place + scale - scales.fraction_bits)
        # Two places below the last one and a sticky bit decide every rounding.
        cut = I64(shifted_product(U64(abs(total)), U64(significand), places - 2))
        sum_ += _cut(cut, I64(2), total < 0, alignment)
    if register != 0:
        size = _significand(register, register_exponent) << 23
        places = I64(46 - unit.fraction_bits) + largest - register_exponent
        sum_ += _cut(size, places, register < 0, alignment)
    result = round_scaled_integer(sum_, largest - unit.fraction_bits, rounding.format, rounding.mode)
    return result if result != 0 else F32(0)


@jit
def dot(
    row: int, column: int, left: Operand, right: Operand, i: int, j: int, length: int,
    begin: int, until: int,
    unit: Unit, rounding: Register, alignment: ModeParams, scales: UnitScales, chain: bool, promote: int,
    epilogue: Epilogue, register: Any, total: Any,
    registers: Any, totals: Any,
) -> Any:  # fmt: skip
    """Return the register and the total of one output after the products ``begin`` to ``until`` of its K.

    Both are what they were before those products, which are whole steps, or end with K. Where ``registers``
    and ``totals`` are not empty, they take both after every step. With ``chain`` a step is one float32
    fused multiply-add; ``promote`` and the epilogue's groups are lengths of K.
    """
    every = max(1, promote if promote else length)
    products = 1 if chain else unit.products
    place = 0
    for k0 in range(begin // every * every, until, every):
        end = min(length, k0 + every)
        for k in range(max(begin, k0), min(until, end), products):
            if chain:
                a, _, _ = read(left, place_of(left, i, row, k))
                b, _, _ = read(right, place_of(right, j, k, column))
                register = fused_multiply_add(a, b, register)
            elif scales.group >= 0:
                stop = min(end, k + products)
                register = scaled_step(
                    left, right, i, row, j, column, k, stop, register, unit, rounding, alignment, scales
                )
            else:
                stop = min(end, k + products)
                register = step(left, right, i, row, j, column, k, stop, register, unit, rounding, alignment)
            if registers.size:
                registers[place] = register
                totals[place] = total
                place += 1
        if promote and end <= until:
            group = i * epilogue.left_groups + k0 // epilogue.left_group
            sa = epilogue.left_scale[group * left.rows + row]
            group = j * epilogue.right_groups + k0 // epilogue.right_group
            sb = epilogue.right_scale[group * right.columns + column]
            if epilogue.partial_first:
                total = fused_multiply_add(F32(register * sa), sb, total)
            else:
                total = fused_multiply_add(register, F32(sa * sb), total)
            register = F32(0)
            if registers.size:
                totals[place - 1] = total
    return register, total


@jit
def sum_general(
    first: int, last: int, rows: Any, columns: Any, left: Operand, right: Operand, i: int, j: int,
    length: int, unit: Unit, rounding: Register, alignment: ModeParams, scales: UnitScales, chain: bool,
    promote: int, epilogue: Epilogue, start: Any, out: Any,
) -> None:  # fmt: skip
    """Write the outputs of ``rows[first:last]`` and ``columns`` of matrix ``i`` @ matrix ``j`` to ``out``."""
    none = np.empty(0, np.float32)
    for row in rows[first:last]:
        for column in columns:
            initial = start[row, column] if start.size else F32(0)
            register, total = F32(0) if promote else initial, initial if promote else F32(0)
            register, total = dot(
                row, column, left, right, i, j, length, 0, length,
                unit, rounding, alignment, scales, chain, promote, epilogue, register, total, none, none,
            )  # fmt: skip
            result = total if promote else register
            out[row, column] = result if result == result else float32_of(U32(CANONICAL_NAN))
