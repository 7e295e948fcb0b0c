"""The steps of `_llvm_grouped_step` in Python, for Numba to compile where they cannot be written in LLVM."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from precision._kernels._llvm_scalars import bits32, exponent32, float32_of
from precision._kernels._plain_vectors import add_cut
from precision._kernels.products._plain_narrow_step import largest_exponent

F32, F64, I32, U32, I64 = np.float32, np.float64, np.int32, np.uint32, np.int64
_LANES = 64


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
