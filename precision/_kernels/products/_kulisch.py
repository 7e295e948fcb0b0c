"""Exact sums of products: a fixed-point number as wide as all float64 values, rounded once at the end."""

from __future__ import annotations

from typing import Any

import numpy as np

from precision._kernels._jit import jit
from precision._kernels._llvm_scalars import fused_multiply_add
from precision._kernels._scalar_rounding import always_inline, bits64, float64_of, leading_zeros

U64, I64 = np.uint64, np.int64

#: 32-bit digits of a sum, in int64 words that keep their carries; digit 0 starts at 2**-1088
DIGITS = 72
_BASE = 1088


@jit
def _add(digits: Any, x: Any) -> None:
    """Add a finite float64; a word grows by less than 2**32, so 2**30 additions cannot overflow it."""
    bits = bits64(x)
    field = I64((bits >> U64(52)) & U64(0x7FF))
    size = U64(bits & U64((1 << 52) - 1)) | (U64(1 << 52) if field else U64(0))
    place = (field if field > 0 else I64(1)) - 1075 + _BASE
    digit, shift = place >> 5, U64(place & 31)
    low = I64((size << shift) & U64(0xFFFFFFFF))
    middle = I64((size >> (U64(32) - shift)) & U64(0xFFFFFFFF))
    high = I64((size >> U64(32)) >> (U64(32) - shift))
    if bits >> U64(63):
        low, middle, high = -low, -middle, -high
    digits[digit] += low
    digits[digit + 1] += middle
    digits[digit + 2] += high


@jit
def _round(digits: Any, odd: bool) -> Any:
    """Round the sum to float64, to nearest even or, before a second rounding, to odd; clear the digits."""
    carry = I64(0)
    for n in range(DIGITS):
        digits[n] += carry
        carry = digits[n] >> 32
        digits[n] &= 0xFFFFFFFF
    negative = carry < 0
    if negative:
        carry = I64(1)
        for n in range(DIGITS):
            digits[n] = (digits[n] ^ 0xFFFFFFFF) + carry
            carry = digits[n] >> 32
            digits[n] &= 0xFFFFFFFF
    top = DIGITS - 1
    while top > 0 and digits[top] == 0:
        top -= 1
    if digits[top] == 0:
        return 0.0
    # The leading 64 bits, the last of them standing for all that follow.
    window = U64(digits[top]) << U64(32)
    if top >= 1:
        window |= U64(digits[top - 1])
    zeros = I64(leading_zeros(window))
    below = U64(digits[top - 2]) if top >= 2 else U64(0)
    window = (window << U64(zeros)) | (below >> U64(32 - zeros))
    sticky = (below << U64(zeros)) & U64(0xFFFFFFFF)
    for n in range(top - 2):
        sticky |= U64(digits[n])
    window |= U64(1) if sticky else U64(0)
    digits[:] = 0
    # value = window * 2**place; float64 keeps 53 bits. It keeps fewer below 2**-1022, but a sum of float64
    # numbers is a multiple of 2**-1074, and has no more there.
    place = 32 * (top - 1) - _BASE - zeros
    size = window >> U64(11)
    rest = window & U64(0x7FF)
    half = U64(0x400)
    if odd:
        size |= U64(1) if rest else U64(0)
    elif rest > half or (rest == half and size & U64(1)):
        size += U64(1)
    result = np.float64(size)
    exponent = place + 11
    while exponent > 900:
        result *= 2.0**900
        exponent -= 900
    while exponent < -900:
        result *= 2.0**-52
        exponent += 52
    result *= float64_of(U64(exponent + 1023) << U64(52))
    return -result if negative else result


@jit
def add_products(
    left: Any, i: int, right: Any, j: int, first: int, last: int, special: Any, digits: Any
) -> Any:
    """Add the products ``first`` to ``last`` of a row of each matrix of float64 to the digits.

    Return ``special`` plus those that are NaN or Inf.
    """
    always_inline()  # and no views of rows, whose references would be counted
    for k in range(first, last):
        product = left[i, k] * right[j, k]
        if np.isfinite(product):
            if product != 0.0:
                _add(digits, product)
                rest = fused_multiply_add(left[i, k], right[j, k], -product)
                if rest != 0.0:
                    _add(digits, rest)
        else:
            special += product
    return special


@jit
def finish(special: Any, odd: bool, digits: Any) -> Any:
    """Return the rounded sum of `add_products`, and clear the digits for the next one."""
    always_inline()
    total = _round(digits, odd)
    return total if special == 0.0 else special  # a sum of NaN and Inf is never zero


@jit
def sum_exact(
    first: int, last: int, left: Any, right: Any, start: Any, odd: bool, digits: Any, out: Any
) -> None:
    """Write the rows ``first`` to ``last`` of left @ right.T (+ start) to ``out``; all are float64."""
    digits[:] = 0
    for i in range(first, last):
        for j in range(right.shape[0]):
            special = 0.0
            if start.size:
                if np.isfinite(start[i, j]):
                    _add(digits, start[i, j])
                else:
                    special += start[i, j]
            special = add_products(left, i, right, j, 0, left.shape[1], special, digits)
            out[i, j] = finish(special, odd, digits)


@jit
def scale_exact(first: int, last: int, sums: Any, row: Any, column: Any, odd: bool) -> None:
    """Multiply ``sums[i, j]`` by ``row[i] * column[j]``, which is exact, and round once, perhaps to odd."""
    for i in range(first, last):
        for j in range(sums.shape[1]):
            factor = row[i] * column[j]
            total = sums[i, j] * factor
            if odd and np.isfinite(total):
                rest = fused_multiply_add(sums[i, j], factor, -total)
                bits = bits64(total)
                if rest != 0.0:
                    if (rest < 0.0) != (total < 0.0):
                        bits -= U64(1)
                    total = float64_of(bits | U64(1))
            sums[i, j] = total
