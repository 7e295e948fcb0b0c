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
    masked32,
    power32,
)
from precision._kernels._llvm_vectors import (
    add_cut_products,
    add_exact_product,
    add_scaled_products,
    chain_products,
    keep_apart,
    largest_exponents,
    set_rounding,
)
from precision._kernels._params import Register, Unit
from precision._kernels._scalar_rounding import core64
from precision._kernels.products._llvm_narrow_step import narrow_steps

U32, I32, U64, I64, F32, F64 = np.uint32, np.int32, np.uint64, np.int64, np.float32, np.float64
_rounded64, _value64 = core64.rounded, core64.value

NARROW_LANES = 64
WIDE_LANES = 32


class Left(NamedTuple):
    """The left operand, float32 values and exponents [matrix][chunk][row][k in chunk], zeros at the end."""

    values: Any
    exponents: Any


class Narrow(NamedTuple):
    """Memory of one thread for the *narrow* kernel. Arrays are flat and aligned to 64 bytes.

    ``values`` and ``exponents`` are a chunk of the right operand as `_tile_sums` lays it out, ``registers``
    and ``totals`` float32 [row of the tile][lane]. Without promotion the totals are the registers.
    """

    values: Any
    exponents: Any
    registers: Any
    totals: Any


class Integer(NamedTuple):
    """Memory of one thread for the *integer* kernel; the first four as in `Narrow`."""

    values: Any
    exponents: Any
    registers: Any
    totals: Any
    largest: Any  #: exponents [lane]
    left_shift: Any  #: int32 exponents of scales inside the unit, [group of K][row of the tile]
    right_shift: Any  #: the right operand's, [group of K][lane]
    left_group: int  #: K under one scale, a multiple of a chunk's
    right_group: int
    shifts: Any  #: the right operand's exponents of the chunk [lane]
    scale: Any  #: float32 [lane], from a product to its aligned term
    unscale: Any  #: float32 [lane], from an aligned term to its value
    whole: Any  #: int32 [part of the products][lane], and one part of zeros
    part: int  #: products whose terms an int32 holds the sum of


class Grouped(NamedTuple):
    """Memory of one thread for the *grouped* kernel, of units that scale exact sums of ``group`` products.

    The first four are as in `Narrow`. Scales have one entry for each such sum: float32 values, zero where
    they are, and int32 exponents, [sum along K][row of the tile] and [sum along K][lane].
    """

    values: Any
    exponents: Any
    registers: Any
    totals: Any
    largest: Any
    dots: Any  #: float32 [lane]
    terms: Any  #: float64 [sum of the step][lane]
    top: Any  #: int32 exponents [lane]
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
    largest: Any
    sums: Any
    register: Register


class Chain(NamedTuple):
    """Memory of one thread for the *chain* kernel, as `Narrow`."""

    values: Any
    exponents: Any
    registers: Any
    totals: Any


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
        rows, -(-count // unit.products), unit.products, left.values, left.exponents, base, depth,
        scratch.values, scratch.exponents, scratch.registers,
        I32(reference), I32(max(unit.min_exponent, -60)), I32(23 - unit.fraction_bits),
        U32(unit.register_mask),
    )  # fmt: skip


@inline
def _join_parts(whole: Any, parts: int, unscale: Any, mask: Any, registers: Any, first: int) -> None:
    """Add the int32 sums of ``parts`` parts of the products, scaled back, into a row's registers.

    The first two parts are joined lane by lane, since a loop inside would not vectorize.
    """
    if parts <= 2:
        second = NARROW_LANES if parts == 2 else 2 * NARROW_LANES
        for j in range(NARROW_LANES):
            x, y = whole[j], whole[second + j]
            low = I32(I32(x & I32(255)) + I32(y & I32(255)))
            high = I32(I32(I32(x >> I32(8)) + I32(y >> I32(8))) + I32(low >> I32(8)))
            total = add_exact_product(F32(high), F32(256), F32(I32(low & I32(255))))
            registers[first + j] = masked32(total * unscale[j], mask)
    else:
        for j in range(NARROW_LANES):
            high, low = I32(0), I32(0)
            for n in range(parts):
                x = whole[n * NARROW_LANES + j]
                low = I32(low + I32(x & I32(255)))
                high = I32(high + I32(x >> I32(8)))
            high = I32(high + I32(low >> I32(8)))
            total = add_exact_product(F32(high), F32(256), F32(I32(low & I32(255))))
            registers[first + j] = masked32(total * unscale[j], mask)


@jit
def advance_integer(
    left: Left, base: int, rows: int, start: int, depth: int, count: int,
    reference: int, unit: Unit, lanes: int, scratch: Any,
) -> None:  # fmt: skip
    """Pass each row's registers through the steps of one chunk, with the aligned terms as int32.

    The sum of ``part`` terms and the register stays below 2**31. Parts are joined as high * 256 + low, with
    |high| up to 2**24, in one rounding to float32 toward zero.

    Exponents of scales inside the unit are added to those of products. A factor below 2**-126 is replaced by
    2**-126, which makes zero of every product as well: products lie below 2**126. One above 2**127 meets
    products of zero only, beside which the register decides the alignment.
    """
    keep_apart()
    set_rounding(I32(0))
    registers, largest, whole = scratch.registers, scratch.largest, scratch.whole
    scale, unscale = scratch.scale, scratch.unscale
    floor = I32(max(unit.min_exponent, -101))
    mask, place = U32(unit.register_mask), I32(reference)
    part = scratch.part
    width = I32(unit.fraction_bits)
    rows_from = start // scratch.left_group * rows
    lanes_from = start // scratch.right_group * NARROW_LANES
    shifts = scratch.shifts
    for j in range(NARROW_LANES):
        shifts[j] = scratch.right_shift[lanes_from + j]
    for i in range(rows):
        row_shift = scratch.left_shift[rows_from + i]
        for k in range(0, count, unit.products):
            a0 = base + i * depth + k
            largest_exponents(unit.products, left.exponents, a0, scratch.exponents, k * NARROW_LANES, largest)
            for j in range(NARROW_LANES):
                register = registers[i * NARROW_LANES + j]
                shift = I32(shifts[j] + row_shift)
                exponent = I32(I32(largest[j]) + I32(shift + place)) if largest[j] > -128 else floor
                exponent = max(floor, exponent32(register), exponent)
                factor = power32(I32(width - exponent))
                scale[j] = power32(min(I32(127), max(I32(-126), I32(I32(width - exponent) + shift))))
                unscale[j] = power32(I32(exponent - width))
                whole[j] = I32(F32(register * factor))
            for n in range(NARROW_LANES, -(-unit.products // part) * NARROW_LANES):
                whole[n] = I32(0)
            for n in range(0, unit.products, part):
                add_scaled_products(
                    min(part, unit.products - n),
                    left.values,
                    a0 + n,
                    scratch.values,
                    (k + n) * NARROW_LANES,
                    scale,
                    whole,
                    n // part * NARROW_LANES,
                )
            _join_parts(whole, -(-unit.products // part), unscale, mask, registers, i * NARROW_LANES)
    set_rounding(I32(1))


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


@jit
def advance_grouped(
    left: Left, base: int, rows: int, start: int, depth: int, count: int,
    reference: int, unit: Unit, lanes: int, scratch: Any,
) -> None:  # fmt: skip
    """Pass each row's registers through steps of scaled exact sums, each of ``scratch.group`` products.

    A sum is exact in float32 (24 bits) and a term in float64 (53); all terms of a step and the register
    stay below 2**52 quanta. ``lanes`` is `NARROW_LANES`.
    """
    keep_apart()
    set_rounding(I32(0))
    registers, largest, dots, terms, top = (
        scratch.registers, scratch.largest, scratch.dots, scratch.terms, scratch.top,
    )  # fmt: skip
    floor, least = I32(unit.min_exponent), I32(unit.register_min_exponent)
    power, mask = I64(1023 + 52 - unit.fraction_bits), U32(unit.register_mask)
    size = scratch.group
    sums = unit.products // size
    for i in range(rows):
        for k in range(0, count, unit.products):
            at = (start + k) // size
            for j in range(NARROW_LANES):
                register = registers[i * NARROW_LANES + j]
                exponent = max(exponent32(register), least) if register != F32(0) else floor
                top[j] = max(exponent, floor)
            for n in range(sums):
                a0, b0 = base + i * depth + k + n * size, (k + n * size) * NARROW_LANES
                largest_exponents(size, left.exponents, a0, scratch.exponents, b0, largest)
                for j in range(NARROW_LANES):
                    dots[j] = F32(0)
                chain_products(size, left.values, a0, scratch.values, b0, dots, 0)
                sa, ea = scratch.left_scale[(at + n) * rows + i], scratch.left_exponent[(at + n) * rows + i]
                scales, own = U64((at + n) * NARROW_LANES), U64(n * NARROW_LANES)
                for j in range(U64(NARROW_LANES)):
                    scale = F64(sa) * F64(scratch.right_scale[scales + j])
                    exponent = I32(ea + scratch.right_exponent[scales + j])
                    some = largest[j] > -128 and scale != 0.0
                    top[j] = max(top[j], exponent if some else floor)
                    terms[own + j] = F64(dots[j]) * scale
            for j in range(NARROW_LANES):
                first = float64_of(U64(U64(I64(top[j]) + power) << U64(52)))
                register = F64(registers[i * NARROW_LANES + j])
                positive = first + max(register, 0.0)
                negative = first + max(-register, 0.0)
                for n in range(sums):
                    term = terms[n * NARROW_LANES + j]
                    positive += max(term, 0.0)
                    negative += max(-term, 0.0)
                total = positive - negative
                bits = U32(bits32(F32(total)) & mask)
                sign = U32(U32(bits32(F32(total))) & U32(0x80000000))
                bits = U32(sign | U32(0x7F800000)) if abs(total) >= 2.0**128 else bits
                bits = bits if U32(bits & U32(0x7FFFFFFF)) != U32(0) else U32(0)
                registers[i * NARROW_LANES + j] = float32_of(bits)
    set_rounding(I32(1))


@jit
def advance_chain(
    left: Left, base: int, rows: int, start: int, depth: int, count: int,
    reference: int, unit: Unit, lanes: int, scratch: Any,
) -> None:  # fmt: skip
    """Add ``count`` products one by one, without zeros as padding, which would turn a sum of -0 into +0."""
    for i in range(rows):
        a0 = base + i * depth
        chain_products(count, left.values, a0, scratch.values, 0, scratch.registers, i * NARROW_LANES)
