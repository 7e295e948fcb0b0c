"""Fused sums of small products, one output after another: no panels, no scratch to lay out, no threads.

Operands are whole significands and exponents, so that a cut term is a shifted integer. The loop suits
alignments that truncate to at most 28 fraction bits, and operands whose products have at most 28 as well; any
register, whatever its rounding. NaN and Inf, of operands and of registers, are left to other kernels.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from precision._kernels._jit import inline, jit
from precision._kernels._llvm_scalars import (
    bits32,
    bits64,
    float32_of,
    float64_of,
    fused_multiply_add,
    left,
    right,
)
from precision._kernels._params import CANONICAL_NAN, FormatParams, ModeParams
from precision._kernels._scalar_rounding import round_scaled_integer

U32, I32, U64, I64, F32, F64 = np.uint32, np.int32, np.uint64, np.int64, np.float32, np.float64

_NO_SCALE = 1000

NO_EXPONENT = -20000
"""The exponent of a zero: below that of every product of numbers, also if the other factor's is added."""


class Arithmetic(NamedTuple):
    """The arithmetic of a step."""

    products: Any
    fraction_bits: Any
    min_exponent: Any
    register_min_exponent: Any
    up: Any  #: places from the last one of two significands' product up to the last one of a term
    down: Any  #: or down, where that has more
    part: Any  #: terms that an int32 can sum
    kept: Any  #: bits of a float64 that a truncating register with float32's exponents keeps; 0 for others
    register: FormatParams
    mode: ModeParams


class Scaling(NamedTuple):
    """Promotions, and the scales that enter there or inside the unit: [matrix][group of K][row or column].

    The scales are flat, and empty if there are none.
    """

    promote: Any  #: K between promotions, 0: none
    inside: Any  #: 1 for scales that are powers of two, by which the unit multiplies each product
    partial_first: Any  #: fma(fl(partial*sa), sb, total), else fma(partial, fl(sa*sb), total)
    left: Any
    left_groups: Any  #: groups of a matrix
    left_group: Any  #: K of a group
    right: Any
    right_groups: Any
    right_group: Any


# ---- the numbers of a plan, in the order in which `pack` writes them ------------------------------------

_STEP, _REGISTER, _SPANS = 12, 20, 36  # where each begins; the two operands' formats come first


@inline
def _arithmetic_of(rule: Any) -> Arithmetic:
    i = _STEP
    n = _REGISTER
    register = FormatParams(
        rule[n], rule[n + 1], rule[n + 2], rule[n + 3], rule[n + 4], rule[n + 5], rule[n + 6], rule[n + 7],
        rule[n + 8], rule[n + 9], rule[n + 10], rule[n + 11],
    )  # fmt: skip
    return Arithmetic(
        U64(rule[i]), rule[i + 1], I32(rule[i + 2]), I32(rule[i + 3]), U32(rule[i + 4]), I32(rule[i + 5]),
        U64(rule[i + 6]), U64(rule[i + 7]), register,
        ModeParams(rule[n + 12], rule[n + 13], rule[n + 14], rule[n + 15]),
    )  # fmt: skip


@inline
def _scaling_of(rule: Any, left_scale: Any, right_scale: Any) -> Scaling:
    i = _SPANS
    return Scaling(
        U64(rule[i]), rule[i + 1], rule[i + 2], left_scale, rule[i + 3], U64(rule[i + 4]),
        right_scale, rule[i + 5], U64(rule[i + 6]),
    )  # fmt: skip


# ---- one step -------------------------------------------------------------------------------------------


@jit
def _unpack(codes: Any, rule: Any, at: Any, significands: Any, exponents: Any) -> bool:
    """Write signed significands and exponents of codes; tell whether one is NaN or Inf."""
    places, bias, mask = U32(rule[at]), I32(rule[at + 1]), U32(rule[at + 2])
    most, nan, below = U32(rule[at + 3]), U32(rule[at + 4]), U32(rule[at + 5])
    hidden, bad = left(U32(1), places), U32(0)
    for i in range(U64(codes.size)):
        code = right(codes[i], below)
        size = U32(code & mask)
        field = right(size, places)
        bad = U32(bad | (U32(1) if size > most else U32(0)) | (U32(1) if code == nan else U32(0)))
        significand = I32(U32(size & U32(hidden - U32(1))) + (hidden if field > U32(0) else U32(0)))
        exponent = I32(I32(field if field > U32(0) else U32(1)) - bias)
        significands[i] = I32(-significand) if code > mask else significand
        exponents[i] = exponent if size > U32(0) else I32(NO_EXPONENT)
    return bool(bad != U32(0))


@inline
def _largest_exponent(ea: Any, a: Any, eb: Any, b: Any, count: Any, floor: Any) -> Any:
    """Return the largest exponent of some products, or ``floor`` if that is larger."""
    top = floor
    for k in range(count):
        exponent = I32(ea[a + k] + eb[b + k])
        top = exponent if exponent > top else top
    return top


@inline
def _cut_terms(
    sa: Any, ea: Any, a: Any, sb: Any, eb: Any, b: Any, count: Any, top: Any, up: Any, down: Any
) -> Any:
    """Return the sum of some products, each cut toward zero to a whole number of last places."""
    total = I32(0)
    for k in range(count):
        places = I32(I32(top - I32(ea[a + k] + eb[b + k])) + down)
        places = places if places < I32(31) else I32(31)
        product = I32(sa[a + k] * sb[b + k])
        size = left(U32(product if product > I32(0) else I32(-product)), up)
        term = I32(right(size, U32(places)))
        total = I32(total + (term if product > I32(0) else I32(-term)))
    return total


@inline
def _next_register(
    register: Any, sa: Any, ea: Any, a: Any, sb: Any, eb: Any, b: Any, count: Any, scale: Any,
    how: Arithmetic,
) -> Any:  # fmt: skip
    """Return the register, which is finite, after a step of ``count`` products times 2**scale."""
    size = U32(bits32(register) & U32(0x7FFFFFFF))
    own = I32(I32(right(size, U32(23))) - I32(127))
    own = own if own > how.register_min_exponent else how.register_min_exponent
    top = own if size > U32(0) and own > how.min_exponent else how.min_exponent
    unscaled = _largest_exponent(ea, a, eb, b, count, I32(top - scale))
    top = I32(unscaled + scale)
    last = I64(how.fraction_bits - I64(top))  # terms count 2**-last; the register is cut to them as well
    whole = I64(F64(register) * float64_of(left(U64(last + I64(1023)), U64(52))))
    done = U64(0)
    while done < count:
        some = min(how.part, U64(count - done))
        first, second = U64(a + done), U64(b + done)
        whole += I64(_cut_terms(sa, ea, first, sb, eb, second, some, unscaled, how.up, how.down))
        done = U64(done + some)
    # At most 1024 terms below 2**30 and the register: float64 holds their sum.
    exact = F64(whole) * float64_of(left(U64(I64(1023) - last), U64(52)))
    if how.kept != U64(0) and abs(exact) >= F64(2.0**-126):
        return F32(float64_of(U64(bits64(exact) & how.kept)))
    result = round_scaled_integer(whole, I64(-last), how.register, how.mode)
    return result if result != F32(0) else F32(0)  # a zero is +0


@inline
def _scales_at(
    i: Any, row: Any, rows: Any, j: Any, column: Any, columns: Any, k: Any, scaling: Scaling
) -> Any:
    """Return the scale of a row and that of a column at a place in K."""
    one = scaling.left[(i * scaling.left_groups + I64(k // scaling.left_group)) * rows + row]
    other = scaling.right[(j * scaling.right_groups + I64(k // scaling.right_group)) * columns + column]
    return one, other


@inline
def _exponent_inside(
    i: Any, row: Any, rows: Any, j: Any, column: Any, columns: Any, k: Any, scaling: Scaling
) -> Any:
    """Return the exponent of the scales by which the unit multiplies products, or one too large at a NaN."""
    if not scaling.inside:
        return I32(0)
    one, other = _scales_at(i, row, rows, j, column, columns, k, scaling)
    left_field, right_field = right(bits32(one), U32(23)), right(bits32(other), U32(23))
    if left_field == U32(255) or right_field == U32(255):
        return I32(_NO_SCALE)
    return I32(I32(U32(left_field + right_field)) - I32(254))  # 2**-127 has the field 0, as if normal


@inline
def _promoted(
    total: Any, register: Any, i: Any, row: Any, rows: Any, j: Any, column: Any, columns: Any, k: Any,
    scaling: Scaling,
) -> Any:  # fmt: skip
    """Return the total after a register is added to it, with the scales of its place in K."""
    one, other = F32(1), F32(1)
    if scaling.left.size and not scaling.inside:
        one, other = _scales_at(i, row, rows, j, column, columns, k, scaling)
    if scaling.partial_first:
        return fused_multiply_add(F32(register * one), other, total)
    return fused_multiply_add(register, F32(one * other), total)


# ---- all outputs ----------------------------------------------------------------------------------------


@jit
def sum_small(
    left_codes: Any, right_codes: Any, rule: Any, left_matrix: Any, right_matrix: Any,
    left_scale: Any, right_scale: Any, start: Any, out: Any,
) -> bool:  # fmt: skip
    """Write every output of a product; return False, with some not written, at a NaN or Inf.

    Every array but the plan's numbers and the matrices of each result has three axes. Codes are uint32,
    [matrix][row][k] and [matrix][column][k].
    """
    rows, columns, length = left_codes.shape[1], right_codes.shape[1], U64(left_codes.shape[2])
    sa, ea = np.empty(left_codes.size, np.int32), np.empty(left_codes.size, np.int32)
    sb, eb = np.empty(right_codes.size, np.int32), np.empty(right_codes.size, np.int32)
    if _unpack(left_codes.reshape(-1), rule, 0, sa, ea) or _unpack(right_codes.reshape(-1), rule, 6, sb, eb):
        return False
    how, scaling = _arithmetic_of(rule), _scaling_of(rule, left_scale.reshape(-1), right_scale.reshape(-1))
    starts, outputs = start.reshape(-1), out.reshape(-1)
    promote = scaling.promote
    every = promote if promote > U64(0) else length
    for place in range(outputs.size):
        pair, rest = place // (rows * columns), place % (rows * columns)
        i, row, j, column = left_matrix[pair], rest // columns, right_matrix[pair], rest % columns
        a, b = U64(i * rows + row) * length, U64(j * columns + column) * length
        initial = starts[place] if starts.size else F32(0)
        register, total = (F32(0), initial) if promote > U64(0) else (initial, F32(0))
        k0 = U64(0)
        while k0 < length:
            k, end = k0, min(length, U64(k0 + every))
            while k < end:
                if U32(bits32(register) & U32(0x7FFFFFFF)) >= U32(0x7F800000):
                    return False
                count = min(how.products, U64(end - k))
                scale = _exponent_inside(i, row, rows, j, column, columns, k, scaling)
                if scale == I32(_NO_SCALE):
                    return False
                register = _next_register(register, sa, ea, U64(a + k), sb, eb, U64(b + k), count, scale, how)
                k = U64(k + count)
            if promote > U64(0):
                total = _promoted(total, register, i, row, rows, j, column, columns, k0, scaling)
                register = F32(0)
            k0 = end
        result = total if promote > U64(0) else register
        outputs[place] = result if result == result else float32_of(U32(CANONICAL_NAN))
    return True
