"""The steps that `_llvm_narrow_step`, `_llvm_integer_step` and `_llvm_grouped_step` write in LLVM, in Python.

Numba compiles them where loops cannot be written in LLVM. They take one lane after another, and each of their
sums is exact in any rounding mode.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from precision._kernels._jit import jit
from precision._kernels._llvm_scalars import bits32, exponent32, float32_of
from precision._kernels._plain_vectors import add_cut

F32, F64, U32, I64 = np.float32, np.float64, np.uint32, np.int64
_LANES = 64


@jit
def largest_exponent(products: Any, row: Any, place: Any, column: Any, first: Any) -> Any:
    """Return the largest sum of exponents of some products, saturating as int8.

    A row's exponents are words of four equal bytes, each less by 256 where it is negative.
    """
    exponent: Any = -128
    for k in range(products):
        left = I64(row[place + k] & U32(255))
        left = left - 256 if left > 127 else left
        total = left + I64(column[first + k * _LANES])
        exponent = max(exponent, max(-128, min(127, total)))
    return exponent


def narrow_steps(
    rows: Any, steps: Any, products: Any, a: Any, swaps: Any, ae: Any, a0: Any, depth: Any, b: Any, be: Any,
    registers: Any, reference: Any, floor: Any, power: Any, mask: Any,
) -> None:  # fmt: skip
    """Take each row's registers through its steps, one lane after another; every sum is exact."""
    for i in range(rows):
        for n in range(steps):
            place, k0 = a0 + i * depth + n * products, n * products
            for j in range(_LANES):
                register = registers[i * _LANES + j]
                exponent = largest_exponent(products, ae, place, be, k0 * _LANES + j)
                exponent = max(exponent + reference, I64(exponent32(register)), floor)
                first = math.ldexp(1.0, exponent + power)
                positive = add_cut(first, max(F64(register), 0.0), 24)
                negative = add_cut(first, max(-F64(register), 0.0), 24)
                for k in range(products):
                    x, column = F64(a[place + k]), 2 * (k0 + k) * _LANES + j
                    swap = I64(swaps[place + k]) // 4
                    positive = add_cut(positive, x * F64(b[column + swap]), 24)
                    negative = add_cut(negative, x * F64(b[column + _LANES - swap]), 24)
                bits = bits32(F32(positive - negative))
                registers[i * _LANES + j] = float32_of(U32(bits & U32(mask)))


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


def grouped_steps(
    rows: Any, steps: Any, sums: Any, size: Any, a: Any, ae: Any, a0: Any, depth: Any,
    b: Any, be: Any, registers: Any, terms: Any, floor: Any, least: Any, power: Any, mask: Any,
    left_scale: Any, left_exponent: Any, l0: Any, stride: Any, right_scale: Any, right_exponent: Any, r0: Any,
) -> None:  # fmt: skip
    """Take each row's registers through its steps, one lane after another; every sum is exact."""
    for i in range(rows):
        for n in range(steps):
            for j in range(_LANES):
                register = registers[i * _LANES + j]
                top = max(I64(exponent32(register)), I64(least)) if register != F32(0) else I64(floor)
                top = max(top, I64(floor))
                for m in range(sums):
                    at = n * sums + m
                    place, k0 = a0 + i * depth + at * size, at * size
                    dot = F64(0)
                    for k in range(size):
                        dot += F64(a[place + k]) * F64(b[(k0 + k) * _LANES + j])
                    own, lane = l0 + at * stride + i, r0 + at * _LANES + j
                    scale = F64(left_scale[own]) * F64(right_scale[lane])
                    largest = largest_exponent(size, ae, place, be, k0 * _LANES + j)
                    if largest > -128 and scale != 0.0:
                        top = max(top, I64(left_exponent[own]) + I64(right_exponent[lane]))
                    terms[m * _LANES + j] = dot * scale
                first = math.ldexp(1.0, top + power - 1023)
                positive = add_cut(first, max(F64(register), 0.0), 53)
                negative = add_cut(first, max(-F64(register), 0.0), 53)
                for m in range(sums):
                    term = terms[m * _LANES + j]
                    positive = add_cut(positive, max(term, 0.0), 53)
                    negative = add_cut(negative, max(-term, 0.0), 53)
                total = positive - negative
                magnitude = abs(total)
                near = F32(magnitude)
                word = bits32(near)
                if F64(near) > magnitude:  # toward zero, whatever the mode
                    word = U32(word - U32(1))
                bits = U32(word & U32(mask))
                bits = U32(0x7F800000) if magnitude >= 2.0**128 else bits
                if total < 0.0 and bits != U32(0):
                    bits = U32(bits | U32(0x80000000))
                registers[i * _LANES + j] = float32_of(bits)
