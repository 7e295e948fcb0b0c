"""Fused sums over panels of columns: three ways to the same bits, each for the units that it fits.

- *narrow*: float32 sums that stay in one binade, added to with rounding toward zero, so that one
  fused multiply-add cuts a product and adds it. Positive and negative products have a sum each.
- *integer*: the aligned products as int32, cut by the conversion: wider alignments, same lanes.
- *wide*: as narrow in float64: any finite operands, up to 30 fraction bits, any register.

Each kernel takes a range of *items*: an item is a tile of rows times a panel of columns of one pair of
matrices. It walks K in chunks; within a chunk every row's register passes through the unit's steps.
What holds NaN or Inf was packed as zeros and is computed by `general`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from precision._kernels._jit import inline, jit, overload
from precision._kernels.operands import Operand, Tables, pack_right
from precision._kernels.params import Ends, FormatParams, ModeParams
from precision._kernels.rounding import bits32, bits64, core64, float32_of, float64_of
from precision._kernels.vector import (
    add_cut_products,
    add_exact_product,
    add_scaled_products,
    chain_products,
    fused_multiply_add,
    keep_apart,
    largest_exponents,
    set_rounding,
)

U32, I32, U64, I64, F32, F64 = np.uint32, np.int32, np.uint64, np.int64, np.float32, np.float64
_rounded64, _value64 = core64.rounded, core64.value

NARROW_LANES = 64
WIDE_LANES = 32
CANONICAL_NAN = 0x7FFFFFFF


class Unit(NamedTuple):
    """What a kernel knows of a unit."""

    products: int
    fraction_bits: int
    min_exponent: int
    register_min_exponent: int
    register_mask: int  #: bits of a float32 that a truncating register keeps; 0: it rounds as `Register` says


class Register(NamedTuple):
    """A register that does more than drop a float32's last bits."""

    format: FormatParams
    mode: ModeParams
    ends: Ends


class Left(NamedTuple):
    """The left operand, float32 values and exponents [matrix][chunk][row][k in chunk], zeros at the end."""

    values: Any
    exponents: Any


class Grid(NamedTuple):
    """Sizes, and how the work is cut."""

    rows: int
    columns: int
    length: int  #: K
    depth: int  #: of a chunk of K
    chunks: int
    tile: int  #: rows of a tile
    tiles: int
    panels: int
    started: bool  #: the output holds what the sums start at; else they start at zero
    left_matrix: Any  #: for each pair, its left and right matrix
    right_matrix: Any


class Epilogue(NamedTuple):
    """What happens to partial sums. Scales are flat float32 [matrix][group of K][row or column]."""

    promote: int  #: chunks between promotions, 0: none
    partial_first: bool  #: fma(fl(partial*sa), sb, total), else fma(partial, fl(sa*sb), total)
    left_scale: Any
    left_groups: int  #: groups of a matrix
    left_group: int  #: chunks of a group
    right_scale: Any
    right_groups: int
    right_group: int


class Narrow(NamedTuple):
    """Memory of one thread for the narrow way. Arrays are flat and aligned to 64 bytes.

    ``values`` and ``exponents`` are a chunk of the right operand as `pack_right` lays it out,
    ``registers`` and ``totals`` float32 [row of the tile][lane], ``largest`` exponents [lane].
    """

    values: Any
    exponents: Any
    registers: Any
    totals: Any
    largest: Any
    sums: Any  #: float32 [2][lane], of positive products and of negative ones


class Integer(NamedTuple):
    """The same for the integer way."""

    values: Any
    exponents: Any
    registers: Any
    totals: Any
    largest: Any
    scale: Any  #: float32 [lane], from a product to its aligned term
    unscale: Any  #: and back
    whole: Any  #: int32 [part of the products][lane], and one part of zeros


class Wide(NamedTuple):
    """The same for the wide way, with float64 values and sums."""

    values: Any
    exponents: Any
    registers: Any
    totals: Any
    largest: Any
    sums: Any
    register: Register


class Chain(NamedTuple):
    """The same for float32 fused multiply-adds."""

    values: Any
    exponents: Any
    registers: Any
    totals: Any


@inline
def _begin(
    out: Any, grid: Grid, pair: int, r0: int, rows: int, c0: int, lanes: int, promote: int, scratch: Any
) -> None:
    """Read what the totals, or without promotion the registers, start at from ``out`` [pair][row][column]."""
    state, other = (scratch.totals, scratch.registers) if promote else (scratch.registers, scratch.totals)
    wide = min(lanes, grid.columns - c0) if grid.started else 0
    for i in range(rows):
        place = (pair * grid.rows + r0 + i) * grid.columns + c0
        for j in range(lanes):
            state[i * lanes + j] = out[place + j] if j < wide else F32(0)
            other[i * lanes + j] = 0


@inline
def _end(
    out: Any, grid: Grid, pair: int, r0: int, rows: int, c0: int, lanes: int, promote: int, scratch: Any
) -> None:
    """Write them there; a NaN as NVIDIA's units do, with all bits set but the sign."""
    state = scratch.totals if promote else scratch.registers
    invalid = float32_of(U32(CANONICAL_NAN))
    for i in range(rows):
        place = (pair * grid.rows + r0 + i) * grid.columns + c0
        for j in range(min(lanes, grid.columns - c0)):
            result = state[i * lanes + j]
            out[place + j] = result if result == result else invalid


@inline
def _promote(
    epilogue: Epilogue, grid: Grid, pair: int, chunk: int,
    r0: int, rows: int, c0: int, lanes: int, scratch: Any,
) -> None:  # fmt: skip
    """Add the registers to the totals, scaled, and clear them."""
    registers, totals = scratch.registers, scratch.totals
    left_group, right_group = chunk // epilogue.left_group, chunk // epilogue.right_group
    left_place = (grid.left_matrix[pair] * epilogue.left_groups + left_group) * grid.rows + r0
    right_place = (grid.right_matrix[pair] * epilogue.right_groups + right_group) * grid.columns + c0
    one = F32(1)
    for i in range(rows):
        sa = epilogue.left_scale[left_place + i]
        # fl(partial*sa)*sb + total, or partial*fl(sa*sb) + total: each with a factor of one.
        before, after = (sa, one) if epilogue.partial_first else (one, sa)
        for j in range(min(lanes, grid.columns - c0)):
            factor = F32(after * epilogue.right_scale[right_place + j])
            partial = F32(registers[i * lanes + j] * before)
            totals[i * lanes + j] = fused_multiply_add(partial, factor, totals[i * lanes + j])
            registers[i * lanes + j] = 0


@inline
def _largest(product: Any, none: Any, reference: Any, register: Any, unit: Unit, floor: Any) -> Any:
    """The exponent at which a lane's terms align: products', unless all are zero, and the register's."""
    exponent = I32(I32(product) + I32(reference)) if I32(product) > I32(none) else I32(floor)
    field = I32(I32(U32(bits32(register) >> U32(23)) & U32(255)) - I32(127))
    field = field if field > I32(unit.register_min_exponent) else I32(unit.register_min_exponent)
    field = field if register != F32(0) else I32(floor)
    exponent = exponent if exponent > field else field
    return exponent if exponent > I32(floor) else I32(floor)


@jit
def _advance_narrow(
    left: Left, base: int, rows: int, depth: int, count: int,
    reference: int, unit: Unit, lanes: int, scratch: Any,
) -> None:  # fmt: skip
    """Pass each row's registers through the steps of one chunk, in rounding toward zero.

    The last step is padded with zeros. A step of nothing else is not taken: where the register has
    more places than the alignment, it would cut it.

    A lane's sum is (2**23 + n) * quantum with n below 2**23: quantum is its last place. The floor is
    harmless: it lies below every product's exponent, so a register under it is a multiple of
    its quantum and is not cut. Exponents that mean a zero lie below it as well.
    """
    keep_apart()
    set_rounding(I32(0))
    sums, registers, largest = scratch.sums, scratch.registers, scratch.largest
    floor = I32(max(unit.min_exponent, -60))
    power = I32(127 + 23 - unit.fraction_bits)
    mask = U32(unit.register_mask)
    zero = F32(0)
    for i in range(rows):
        for k in range(0, count, unit.products):
            a0 = base + i * depth + k
            largest_exponents(unit.products, left.exponents, a0, scratch.exponents, k * NARROW_LANES, largest)
            for j in range(NARROW_LANES):
                # No product's exponent, and a zero register's, lie below the floor by themselves.
                register = registers[i * NARROW_LANES + j]
                field = I32(I32(U32(bits32(register) >> U32(23)) & U32(255)) - I32(127))
                exponent = I32(I32(largest[j]) + I32(reference))
                exponent = exponent if exponent > field else field
                exponent = exponent if exponent > floor else floor
                first = float32_of(U32(U32(exponent + power) << U32(23)))
                sums[j] = F32(first + (register if register > zero else zero))
                sums[NARROW_LANES + j] = F32(first - (register if register < zero else zero))
            add_cut_products(unit.products, left.values, a0, scratch.values, 2 * k * NARROW_LANES, sums)
            for j in range(NARROW_LANES):
                total = F32(sums[j] - sums[NARROW_LANES + j])
                registers[i * NARROW_LANES + j] = float32_of(U32(bits32(total) & mask))
    set_rounding(I32(1))


@jit
def _advance_integer(
    left: Left, base: int, rows: int, depth: int, count: int,
    reference: int, unit: Unit, lanes: int, scratch: Any,
) -> None:  # fmt: skip
    """The same with the aligned terms as int32.

    A term is below 2**(fraction_bits + 2), so ``part`` of them and the register stay below 2**31.
    Parts are joined as high * 256 + low, with |high| up to 2**24, in one float32 rounding toward zero.
    """
    keep_apart()
    set_rounding(I32(0))
    registers, largest, whole = scratch.registers, scratch.largest, scratch.whole
    scale, unscale = scratch.scale, scratch.unscale
    floor = I32(max(unit.min_exponent, -101))
    mask = U32(unit.register_mask)
    part = min(unit.products, 1 << max(0, 28 - unit.fraction_bits))
    up, down = I32(127 + unit.fraction_bits), I32(127 - unit.fraction_bits)
    for i in range(rows):
        for k in range(0, count, unit.products):
            a0 = base + i * depth + k
            largest_exponents(unit.products, left.exponents, a0, scratch.exponents, k * NARROW_LANES, largest)
            for j in range(NARROW_LANES):
                register = registers[i * NARROW_LANES + j]
                field = I32(I32(U32(bits32(register) >> U32(23)) & U32(255)) - I32(127))
                exponent = I32(I32(largest[j]) + I32(reference)) if largest[j] > -128 else floor
                exponent = exponent if exponent > field else field
                exponent = exponent if exponent > floor else floor
                factor = float32_of(U32(U32(up - exponent) << U32(23)))
                scale[j] = factor
                unscale[j] = float32_of(U32(U32(exponent + down) << U32(23)))
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
            if unit.products <= 2 * part:
                second = NARROW_LANES if unit.products > part else 2 * NARROW_LANES
                for j in range(NARROW_LANES):
                    x, y = whole[j], whole[second + j]
                    low = I32(I32(x & I32(255)) + I32(y & I32(255)))
                    high = I32(I32(I32(x >> I32(8)) + I32(y >> I32(8))) + I32(low >> I32(8)))
                    total = add_exact_product(F32(high), F32(256), F32(I32(low & I32(255))))
                    total = F32(total * unscale[j])
                    registers[i * NARROW_LANES + j] = float32_of(U32(bits32(total) & mask))
            else:
                for j in range(NARROW_LANES):
                    high, low = I32(0), I32(0)
                    for n in range(0, unit.products, part):
                        x = whole[n // part * NARROW_LANES + j]
                        low = I32(low + I32(x & I32(255)))
                        high = I32(high + I32(x >> I32(8)))
                    high = I32(high + I32(low >> I32(8)))
                    total = add_exact_product(F32(high), F32(256), F32(I32(low & I32(255))))
                    total = F32(total * unscale[j])
                    registers[i * NARROW_LANES + j] = float32_of(U32(bits32(total) & mask))
    set_rounding(I32(1))


@jit
def _advance_wide(
    left: Left, base: int, rows: int, depth: int, count: int,
    reference: int, unit: Unit, lanes: int, scratch: Any,
) -> None:  # fmt: skip
    """The narrow way with float64 sums: (2**52 + n) * quantum. Products of float32 values are exact.

    ``lanes`` is `WIDE_LANES`, unknown to the compiler, which unrolls loops of 32 rounds into scalar code.
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
                exponent = _largest(largest[j], -32768, reference, registers[i * lanes + j], unit, floor)
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
def _advance_chain(
    left: Left, base: int, rows: int, depth: int, count: int,
    reference: int, unit: Unit, lanes: int, scratch: Any,
) -> None:  # fmt: skip
    """Add ``count`` products, without padding: a product of zeros would turn a sum of -0 into +0."""
    for i in range(rows):
        a0 = base + i * depth
        chain_products(count, left.values, a0, scratch.values, 0, scratch.registers, i * NARROW_LANES)


def _advance(
    left: Left, base: int, rows: int, depth: int, count: int,
    reference: int, unit: Unit, lanes: int, scratch: Any,
) -> None:  # fmt: skip
    """Pass the registers of some rows through ``count`` products; the scratch's type says which way."""


@overload(_advance)
def _advance_by_type(
    left: Left, base: int, rows: int, depth: int, count: int,
    reference: int, unit: Unit, lanes: int, scratch: Any,
) -> Any:  # fmt: skip
    ways: dict[type, Any] = {
        Narrow: _advance_narrow,
        Integer: _advance_integer,
        Wide: _advance_wide,
        Chain: _advance_chain,
    }
    return ways[scratch.instance_class].py_func


@jit
def sum_panels(
    first: int, last: int, left: Left, right: Operand, tables: Tables, reference: int, unit: Unit,
    grid: Grid, epilogue: Epilogue, scratch: Any, special: Any, out: Any, none: int, lanes: int, halves: int,
) -> None:  # fmt: skip
    """Items ``first`` to ``last`` in the way of the scratch's type."""
    for item in range(first, last):
        r0, c0 = item % grid.tiles * grid.tile, item // grid.tiles % grid.panels * lanes
        pair = item // (grid.tiles * grid.panels)
        rows = min(grid.tile, grid.rows - r0)
        _begin(out, grid, pair, r0, rows, c0, lanes, epilogue.promote, scratch)
        for chunk in range(grid.chunks):
            k0 = chunk * grid.depth
            pack_right(
                right, tables, grid.right_matrix[pair], k0, grid.depth, none, c0, lanes, halves,
                scratch.values, scratch.exponents, special,
            )  # fmt: skip
            base = ((grid.left_matrix[pair] * grid.chunks + chunk) * grid.rows + r0) * grid.depth
            count = min(grid.depth, grid.length - k0)
            _advance(left, base, rows, grid.depth, count, reference, unit, lanes, scratch)
            if epilogue.promote and ((chunk + 1) % epilogue.promote == 0 or chunk + 1 == grid.chunks):
                _promote(epilogue, grid, pair, chunk, r0, rows, c0, lanes, scratch)
        _end(out, grid, pair, r0, rows, c0, lanes, epilogue.promote, scratch)
