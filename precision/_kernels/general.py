"""Dot products one at a time: the fused sum in 64-bit integers for whatever the panels leave out, and chains.

Any operands (NaN and Inf too), any rounding of terms and register, up to 30 fraction bits.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from precision._kernels._jit import jit
from precision._kernels.fused import Epilogue, Unit
from precision._kernels.operands import Operand, element, exponent_of, is_special
from precision._kernels.params import ModeParams
from precision._kernels.rounding import bits32, float32_of, round_scaled_integer
from precision._kernels.vector import fused_multiply_add

U32, I32, U64, I64, F32 = np.uint32, np.int32, np.uint64, np.int64, np.float32

CANONICAL_NAN = 0x7FFFFFFF


@jit
def _significand(value: Any, exponent: Any) -> Any:
    """A finite float32 as an integer times 2**(exponent - 23), for the exponent that `exponent_of` gave."""
    bits = U32(bits32(value) & U32(0x7FFFFFFF))
    field = I64(bits >> U32(23))
    size = I64(bits & U32(0x007FFFFF)) + (I64(1 << 23) if field > 0 else I64(0))
    places = I64(exponent) - (field - 127 if field > 0 else I64(-126))
    return size >> places if places > 0 else size << -places


@jit
def _cut(size: Any, places: Any, negative: Any, mode: ModeParams) -> Any:
    """``size / 2**places`` rounded to an integer, with the sign."""
    places = min(places, I64(62))
    mask = (I64(1) << places) - 1
    kept = size >> places
    shift = mode.shift_negative if negative else mode.shift_positive
    addend = ((mask >> I64(min(shift, 62))) + ((kept & mode.use_odd) | mode.one)) & mask
    kept += ((size & mask) + addend) >> places
    return -kept if negative else kept


@jit
def step(
    left: Operand, right: Operand, i: int, row: int, j: int, column: int, k: int, stop: int,
    register: Any, unit: Unit, alignment: ModeParams,
) -> Any:  # fmt: skip
    """The register after the products ``k`` to ``stop`` of one dot product."""
    nan, plus, minus = False, False, False
    floor = I64(unit.min_exponent)
    largest = floor
    register_exponent = floor
    if is_special(register):
        if U32(bits32(register) & U32(0x007FFFFF)) != U32(0):
            nan = True
        elif register > 0:
            plus = True
        else:
            minus = True
    elif register != F32(0):
        register_exponent = I64(exponent_of(register, unit.register_min_exponent))
        largest = max(largest, register_exponent)
    for n in range(k, stop):
        a, b = element(left, i, row, n), element(right, j, n, column)
        if is_special(a) or is_special(b):
            product = F32(a * b)
            if a == 0 or b == 0 or U32(bits32(product) & U32(0x7FFFFFFF)) > U32(0x7F800000):
                nan = True
            elif (a < 0) != (b < 0):
                minus = True
            else:
                plus = True
        elif a != 0 and b != 0:
            exponent = I64(exponent_of(a, left.min_exponent)) + I64(exponent_of(b, right.min_exponent))
            largest = max(largest, exponent)
    if nan or (plus and minus):
        return float32_of(U32(CANONICAL_NAN))
    if plus or minus:
        return F32(np.inf) if plus else F32(-np.inf)
    total = I64(0)
    for n in range(k, stop):
        a, b = element(left, i, row, n), element(right, j, n, column)
        if a != 0 and b != 0:
            ea, eb = I64(exponent_of(a, left.min_exponent)), I64(exponent_of(b, right.min_exponent))
            size = _significand(a, ea) * _significand(b, eb)
            places = I64(46 - unit.fraction_bits) + largest - (ea + eb)
            total += _cut(size, places, (a < 0) != (b < 0), alignment)
    if register != 0:
        size = _significand(register, register_exponent) << 23
        places = I64(46 - unit.fraction_bits) + largest - register_exponent
        total += _cut(size, places, register < 0, alignment)
    result = round_scaled_integer(total, largest - unit.fraction_bits, unit.register, unit.mode)
    return result if result != 0 else F32(0)


@jit
def _add_scaled(total: Any, partial: Any, kind: int, sa: Any, sb: Any) -> Any:
    if kind == 0:
        return F32(total + partial)
    if kind == 1:
        return fused_multiply_add(partial, F32(sa * sb), total)
    return fused_multiply_add(F32(partial * sa), sb, total)


@jit
def dot(
    row: int, column: int, left: Operand, right: Operand, i: int, j: int, length: int,
    unit: Unit, alignment: ModeParams, chain: bool, promote: int, epilogue: Epilogue, initial: Any,
    registers: Any, totals: Any,
) -> Any:  # fmt: skip
    """One output; where ``registers`` and ``totals`` are not empty, they take both after every step.

    With ``chain`` a step is one float32 fused multiply-add; ``promote`` and the epilogue's groups are
    lengths of K.
    """
    every = promote if promote else max(length, 1)
    products = 1 if chain else unit.products
    register = F32(0) if promote else initial
    total = initial if promote else F32(0)
    place = 0
    for k0 in range(0, length, every):
        end = min(length, k0 + every)
        for k in range(k0, end, products):
            if chain:
                a, b = element(left, i, row, k), element(right, j, k, column)
                register = fused_multiply_add(a, b, register)
            else:
                stop = min(end, k + products)
                register = step(left, right, i, row, j, column, k, stop, register, unit, alignment)
            if registers.size:
                registers[place] = register
                totals[place] = total
                place += 1
        if promote:
            sa = sb = F32(1)
            if epilogue.kind:
                sa = epilogue.left_scale[i, k0 // epilogue.left_group, row]
                sb = epilogue.right_scale[j, k0 // epilogue.right_group, column]
            total = _add_scaled(total, register, epilogue.kind, sa, sb)
            register = F32(0)
            if registers.size:
                totals[place - 1] = total
    return total if promote else register


@jit
def sum_general(
    first: int, last: int, rows: Any, columns: Any, left: Operand, right: Operand, i: int, j: int,
    length: int, unit: Unit, alignment: ModeParams, chain: bool, promote: int, epilogue: Epilogue,
    start: Any, out: Any,
) -> None:  # fmt: skip
    """``rows[first:last]`` times ``columns`` of the product of matrices ``i`` and ``j``, into ``out``."""
    none = np.empty(0, np.float32)
    for row in rows[first:last]:
        for column in columns:
            initial = start[row, column] if start.size else F32(0)
            out[row, column] = dot(
                row, column, left, right, i, j, length,
                unit, alignment, chain, promote, epilogue, initial, none, none,
            )  # fmt: skip
