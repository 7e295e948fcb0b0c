"""Sums of a tile of rows and a panel of columns over K, chunk by chunk, by one kernel of `_panel_steps`.

Operands come laid out by NumPy (`accumulators._operand_layout`), so that nothing here knows of strides or
edges.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from precision._kernels._jit import inline, jit, overload
from precision._kernels._llvm_scalars import float32_of
from precision._kernels._llvm_vectors import add_scaled
from precision._kernels._params import CANONICAL_NAN, Epilogue, Unit
from precision._kernels.products._llvm_elements import unpack_columns, unpack_rows
from precision._kernels.products._panel_steps import (
    Chain,
    Grouped,
    Integer,
    Left,
    Narrow,
    ScaledInteger,
    Wide,
    advance_chain,
    advance_grouped,
    advance_integer,
    advance_narrow,
    advance_scaled,
    advance_wide,
)

U32, I32 = np.uint32, np.int32


class Right(NamedTuple):
    """The right operand: an element of K and a column lies at ``k*k_stride + column*stride`` of its matrix.

    `_llvm_elements` says what codes mean.
    """

    codes: Any  #: of all matrices
    k_stride: int
    stride: int
    table: Any
    shift: int
    mask: int
    min_exponent: int
    reference: int


class Grid(NamedTuple):
    """The sizes of the product, and of the parts that it is cut into."""

    rows: int
    block: int  #: rows of the left operand that are laid out
    columns: int
    length: int  #: K
    depth: int  #: of a chunk of K
    chunks: int
    lanes: int
    halves: int  #: of the right operand's values, as `add_cut_products` has them; one keeps their sign


class Tile(NamedTuple):
    """The rows and columns of one tile, the chunks of K to take, and the places where its data starts."""

    rows: int
    columns: int
    first: int
    last: int
    left: int  #: of chunk 0
    right: int
    left_scale: int
    right_scale: int
    out: int


@inline
def _promote(epilogue: Epilogue, grid: Grid, tile: Tile, chunk: int, scratch: Any) -> None:
    """Add the registers to the totals, scaled, and clear them."""
    factors, right_scale = scratch.factors, epilogue.right_scale
    left_place = tile.left_scale + chunk // epilogue.left_group * grid.rows
    right_place = tile.right_scale + chunk // epilogue.right_group * grid.columns
    for j in range(tile.columns):
        factors[j] = right_scale[right_place + j]
    add_scaled(
        tile.rows, grid.lanes, scratch.registers, scratch.totals, epilogue.left_scale, left_place, factors,
        epilogue.partial_first,
    )  # fmt: skip


@inline
def _write(totals: Any, out: Any, first: int, rows: int, columns: int, lanes: int, stride: int) -> None:
    """Write a tile's totals to the flat outputs, with the units' own NaN."""
    for i in range(rows):
        for j in range(columns):
            total = totals[i * lanes + j]
            out[first + i * stride + j] = total if total == total else float32_of(U32(CANONICAL_NAN))


def _advance(
    left: Left, base: int, rows: int, start: int, depth: int, count: int,
    reference: int, unit: Unit, lanes: int, scratch: Any,
) -> None:  # fmt: skip
    """Pass the registers of some rows through ``count`` products, by the kernel of the scratch's type."""


@overload(_advance)
def _advance_by_type(
    left: Left, base: int, rows: int, start: int, depth: int, count: int,
    reference: int, unit: Unit, lanes: int, scratch: Any,
) -> Any:  # fmt: skip
    kernels: dict[type, Any] = {
        Narrow: advance_narrow,
        Integer: advance_integer,
        ScaledInteger: advance_scaled,
        Wide: advance_wide,
        Grouped: advance_grouped,
        Chain: advance_chain,
    }
    kernel = kernels[scratch.instance_class]
    return getattr(kernel, "py_func", kernel)


@jit
def lay_out_rows(
    rows: int, count: int, depth: int, codes: Any, first: int, row_stride: int, stride: int,
    table: Any, shift: int, mask: int, min_exponent: int, reference: int,
    values: Any, swaps: Any, exponents: Any, to: int, marks: Any, first_mark: int,
) -> None:  # fmt: skip
    """Lay out some rows of a chunk of the left operand, as `unpack_rows` does."""
    unpack_rows(
        rows, count, depth, codes, first, row_stride, stride, table, I32(shift), U32(mask),
        I32(min_exponent), I32(reference), values, swaps, exponents, to, marks, first_mark,
    )  # fmt: skip


@jit
def sum_tile(
    tile: Tile, left: Left, right: Right, reference: int, unit: Unit,
    grid: Grid, epilogue: Epilogue, scratch: Any, out: Any,
) -> None:  # fmt: skip
    """Take the scratch's registers and totals through chunks of K, by the kernel of the scratch's type.

    After the last chunk, the totals go to the flat outputs.

    Beyond the end of K, the scratch keeps what the chunk before left: zeros of the left operand multiply it.
    """
    for chunk in range(tile.first, tile.last):
        base = tile.left + chunk * grid.block * grid.depth
        start = chunk * grid.depth
        count = min(grid.depth, grid.length - start)
        unpack_columns(
            count, tile.columns, right.codes, tile.right + start * right.k_stride, right.k_stride,
            right.stride, right.table, I32(right.shift), U32(right.mask), I32(right.min_exponent),
            I32(right.reference), grid.lanes, grid.halves, scratch.values, scratch.exponents, scratch.marks,
        )  # fmt: skip
        _advance(left, base, tile.rows, start, grid.depth, count, reference, unit, grid.lanes, scratch)
        if epilogue.promote and ((chunk + 1) % epilogue.promote == 0 or chunk + 1 == grid.chunks):
            _promote(epilogue, grid, tile, chunk, scratch)
    if tile.last == grid.chunks:
        _write(scratch.totals, out, tile.out, tile.rows, tile.columns, grid.lanes, grid.columns)
