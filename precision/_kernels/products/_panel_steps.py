"""Fused sums over panels of columns: five kernels that give the same bits, each for the units that it suits.

- *narrow*: float32 sums that stay in one binade, added to with rounding toward zero, so that one fused
  multiply-add cuts a product and adds it. Positive and negative products have a sum each.
- *integer*: the aligned products as int32, cut by the conversion: wider alignments, as many lanes.
- *wide*: the arithmetic of *narrow* in float64: any finite operands, up to 30 fraction bits, any register.
- *grouped*: exact float32 sums of a few products, scaled, as the terms of a wide sum.
- *chain*: no fused sum, but one float32 fused multiply-add for each product.

Each passes the registers of a tile of rows and a panel of columns through the unit's steps of one chunk of K;
`_tile_sums` walks the chunks. Rows and columns that hold NaN or Inf are zero here; `_single_sums` computes
them.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from precision._kernels._jit import inline, jit
from precision._kernels._llvm_scalars import (
    bits32,
    bits64,
    exponent32,
    float32_of,
    float64_of,
)
from precision._kernels._llvm_vectors import (
    WIDE_LANES,
    add_cut_products,
    chain_products,
    keep_apart,
    largest_exponents,
    set_rounding,
)
from precision._kernels._params import Register, Unit
from precision._kernels._scalar_rounding import core64
from precision._kernels.products._llvm_grouped_step import grouped_steps
from precision._kernels.products._llvm_integer_step import integer_steps
from precision._kernels.products._llvm_narrow_step import narrow_steps

U32, I32, U64, I64, F32, F64 = np.uint32, np.int32, np.uint64, np.int64, np.float32, np.float64
_rounded64, _value64 = core64.rounded, core64.value

NARROW_LANES = 64


class Left(NamedTuple):
    """The left operand, float32 values and exponents [matrix][chunk][row][k in chunk], zeros at the end.

    For *narrow*, values are magnitudes, and ``swaps`` holds 256 for each negative element and 0 for others;
    the other kernels take an empty array. For *narrow* and *integer*, an exponent is a word of four equal
    bytes.
    """

    values: Any
    exponents: Any
    swaps: Any


class Narrow(NamedTuple):
    """Memory of one thread for the *narrow* kernel. Arrays are flat and aligned to 64 bytes.

    ``values`` and ``exponents`` are a chunk of the right operand as `_tile_sums` lays it out, ``registers``
    and ``totals`` float32 [row of the tile][lane]. Without promotion the totals are the registers.
    ``factors`` is for the right operand's scales [lane], and ``marks`` takes a 1 for each lane whose column
    holds NaN or Inf.
    """

    values: Any
    exponents: Any
    registers: Any
    totals: Any
    factors: Any
    marks: Any


class Integer(NamedTuple):
    """Memory of one thread for the *integer* kernel; the first six as in `Narrow`."""

    values: Any
    exponents: Any
    registers: Any
    totals: Any
    factors: Any
    marks: Any
    part: int  #: products whose terms an int32 holds the sum of


class ScaledInteger(NamedTuple):
    """Memory of one thread for the *integer* kernel of a unit that scales products; see `Integer`."""

    values: Any
    exponents: Any
    registers: Any
    totals: Any
    factors: Any
    marks: Any
    part: int
    left_shift: Any  #: int32 exponents of scales inside the unit, [group of K][row of the tile]
    right_shift: Any  #: the right operand's, [group of K][lane]
    left_group: int  #: K under one scale, a multiple of a chunk's
    right_group: int


class Grouped(NamedTuple):
    """Memory of one thread for the *grouped* kernel, of units that scale exact sums of ``group`` products.

    The first six are as in `Narrow`. Scales have one entry for each such sum: float32 values, zero where
    they are, and int32 exponents, [sum along K][row of the tile] and [sum along K][lane].
    """

    values: Any
    exponents: Any
    registers: Any
    totals: Any
    factors: Any
    marks: Any
    terms: Any  #: float64 [sum of the step][lane]
    group: int
    left_scale: Any
    left_exponent: Any
    right_scale: Any
    right_exponent: Any


class Wide(NamedTuple):
    """Memory of one thread for the *wide* kernel, as `Narrow` with float64 values, and with float64 sums."""

    values: Any
    exponents: Any
    registers: Any
    totals: Any
    factors: Any
    marks: Any
    largest: Any
    sums: Any
    register: Register


class Chain(NamedTuple):
    """Memory of one thread for the *chain* kernel, as `Narrow`."""

    values: Any
    exponents: Any
    registers: Any
    totals: Any
    factors: Any
    marks: Any


@inline
def _largest(product: Any, register: Any, unit: Unit, floor: Any) -> Any:
    """Return the exponent at which a lane's terms align: the products' or the register's, at least the floor.

    Products that are all zero have an exponent far below the floor.
    """
    exponent = I32(product)
    field = exponent32(register)
    field = field if field > I32(unit.register_min_exponent) else I32(unit.register_min_exponent)
    field = field if register != F32(0) else I32(floor)
    exponent = exponent if exponent > field else field
    return exponent if exponent > I32(floor) else I32(floor)


def advance_narrow(
    left: Left, base: int, rows: int, start: int, depth: int, count: int,
    reference: int, unit: Unit, lanes: int, scratch: Any,
) -> None:  # fmt: skip
    """Pass each row's registers through the steps of one chunk, in rounding toward zero.

    The last step is padded with zeros. A step of zeros alone is not taken: where the register has more places
    than the alignment, that step would cut it.

    A lane's sum is (2**23 + n) * quantum with n below 2**23: the quantum is its last place. The floor changes
    no bit: it lies below every product's exponent, so a register below the floor is a multiple of the floor's
    quantum and is not cut. The exponents that stand for a zero lie below the floor as well, and so does a
    register's of zero.
    """
    narrow_steps(
        rows, -(-count // unit.products), unit.products, left.values, left.swaps, left.exponents, base, depth,
        scratch.values, scratch.exponents, scratch.registers,
        I32(reference), I32(max(unit.min_exponent, -60)), I32(23 - unit.fraction_bits),
        U32(unit.register_mask),
    )  # fmt: skip


def advance_integer(
    left: Left, base: int, rows: int, start: int, depth: int, count: int,
    reference: int, unit: Unit, lanes: int, scratch: Any,
) -> None:  # fmt: skip
    """Pass each row's registers through the steps of one chunk, with the aligned terms as int32.

    A term is cut by its conversion, and the sum of ``part`` terms stays below 2**31. Such sums and the
    register are joined as high * 256 + low, with |high| up to 2**24, in one rounding to float32 toward zero.
    """
    integer_steps(
        rows, -(-count // unit.products), unit.products, scratch.part, left.values, left.exponents, base,
        depth, scratch.values, scratch.exponents, scratch.registers,
        I32(reference), I32(max(unit.min_exponent, -101)), I32(unit.fraction_bits), U32(unit.register_mask),
        None, 0, None, 0,
    )  # fmt: skip


def advance_scaled(
    left: Left, base: int, rows: int, start: int, depth: int, count: int,
    reference: int, unit: Unit, lanes: int, scratch: Any,
) -> None:  # fmt: skip
    """Pass registers through a chunk as `advance_integer`, with scales inside the unit of powers of two.

    Their exponents are added to those of products. A factor below 2**-126 is replaced by 2**-126, which
    makes zero of every product as well: products lie below 2**126. One above 2**127 meets products of zero
    only, beside which the register decides the alignment.
    """
    integer_steps(
        rows, -(-count // unit.products), unit.products, scratch.part, left.values, left.exponents, base,
        depth, scratch.values, scratch.exponents, scratch.registers,
        I32(reference), I32(max(unit.min_exponent, -101)), I32(unit.fraction_bits), U32(unit.register_mask),
        scratch.left_shift, start // scratch.left_group * rows,
        scratch.right_shift, start // scratch.right_group * NARROW_LANES,
    )  # fmt: skip


@jit
def advance_wide(
    left: Left, base: int, rows: int, start: int, depth: int, count: int,
    reference: int, unit: Unit, lanes: int, scratch: Any,
) -> None:  # fmt: skip
    """Pass each row's registers through the steps of one chunk, as `advance_narrow`, with float64 sums.

    A sum is (2**52 + n) * quantum; products of float32 values are exact. ``lanes`` is `WIDE_LANES`, which the
    compiler is not told: it would unroll loops of 32 rounds into scalar code.
    """
    keep_apart()
    set_rounding(I32(0))
    sums, registers, largest = scratch.sums, scratch.registers, scratch.largest
    rounding = scratch.register
    floor = unit.min_exponent
    power = I64(1023 + 52 - unit.fraction_bits)
    mask = U32(unit.register_mask)
    for i in range(rows):
        for k in range(0, count, unit.products):
            a0 = base + i * depth + k
            largest_exponents(unit.products, left.exponents, a0, scratch.exponents, k * WIDE_LANES, largest)
            for j in range(lanes):
                register = F64(registers[i * lanes + j])
                exponent = _largest(largest[j], registers[i * lanes + j], unit, floor)
                first = float64_of(U64(U64(I64(exponent) + power) << U64(52)))
                sums[j] = first + (register if register > 0.0 else 0.0)
                sums[WIDE_LANES + j] = first - (register if register < 0.0 else 0.0)
            add_cut_products(unit.products, left.values, a0, scratch.values, 2 * k * WIDE_LANES, sums)
            if mask:
                for j in range(lanes):
                    total = sums[j] - sums[WIDE_LANES + j]
                    bits = U32(bits32(F32(total)) & mask)
                    sign = U32(U32(bits32(F32(total))) & U32(0x80000000))
                    bits = U32(sign | U32(0x7F800000)) if abs(total) >= 2.0**128 else bits
                    bits = bits if U32(bits & U32(0x7FFFFFFF)) != U32(0) else U32(0)
                    registers[i * lanes + j] = float32_of(bits)
            else:
                for j in range(lanes):
                    total = sums[j] - sums[WIDE_LANES + j]
                    sign, magnitude, kept, binade, code = _rounded64(
                        bits64(total), rounding.format, rounding.mode
                    )
                    result = float64_of(
                        _value64(sign, magnitude, kept, binade, code, rounding.format, rounding.ends)
                    )
                    registers[i * lanes + j] = F32(result) if result != 0.0 else F32(0)
    set_rounding(I32(1))


def advance_grouped(
    left: Left, base: int, rows: int, start: int, depth: int, count: int,
    reference: int, unit: Unit, lanes: int, scratch: Any,
) -> None:  # fmt: skip
    """Pass each row's registers through steps of scaled exact sums, each of ``scratch.group`` products.

    A sum is exact in float32 (24 bits) and a term in float64 (53); all terms of a step and the register
    stay below 2**52 quanta.
    """
    size, at = scratch.group, start // scratch.group
    grouped_steps(
        rows, -(-count // unit.products), unit.products // size, size, left.values, left.exponents, base,
        depth, scratch.values, scratch.exponents, scratch.registers, scratch.terms, I32(unit.min_exponent),
        I32(unit.register_min_exponent), I64(1023 + 52 - unit.fraction_bits), U32(unit.register_mask),
        scratch.left_scale, scratch.left_exponent, at * rows, rows,
        scratch.right_scale, scratch.right_exponent, at * NARROW_LANES,
    )  # fmt: skip


@jit
def advance_chain(
    left: Left, base: int, rows: int, start: int, depth: int, count: int,
    reference: int, unit: Unit, lanes: int, scratch: Any,
) -> None:  # fmt: skip
    """Add ``count`` products one by one, without zeros as padding, which would turn a sum of -0 into +0."""
    for i in range(rows):
        a0 = base + i * depth
        chain_products(count, left.values, a0, scratch.values, 0, scratch.registers, i * NARROW_LANES)
