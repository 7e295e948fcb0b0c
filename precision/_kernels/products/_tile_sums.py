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

U32, I32, U64 = np.uint32, np.int32, np.uint64


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


class Items(NamedTuple):
    """The tiles of a block of the left operand's rows, numbered: rows first, then panels, then pairs."""

    pairs: Any  #: of matrices, as they are numbered in the result
    left_matrix: Any  #: of each pair
    right_matrix: Any
    tiles: int  #: along the block's rows
    across: int  #: panels
    height: int  #: rows of a tile
    first_matrix: int
    first_row: int
    rows: int
    left_groups: int  #: of K, of a matrix's scales
    right_groups: int


class Tile(NamedTuple):
    """The rows and columns of one tile, and the places where its data starts."""

    rows: int
    columns: int
    left: int  #: of chunk 0
    right: int
    left_scale: int
    right_scale: int
    out: int
    marks: int


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
def _place(item: int, items: Items, grid: Grid, right: Right) -> Tile:
    """Return the tile of a number."""
    pair = items.pairs[item // (items.tiles * items.across)]
    down, column = item % items.tiles * items.height, item // items.tiles % items.across * grid.lanes
    i, j, row = items.left_matrix[pair], items.right_matrix[pair], items.first_row + down
    return Tile(
        min(items.height, items.rows - down),
        min(grid.lanes, grid.columns - column),
        ((i - items.first_matrix) * grid.chunks * grid.block + down) * grid.depth,
        j * grid.length * grid.columns + column * right.stride,
        i * items.left_groups * grid.rows + row,
        j * items.right_groups * grid.columns + column,
        (pair * grid.rows + row) * grid.columns + column,
        j * grid.columns + column,
    )


@inline
def _begin(tile: Tile, grid: Grid, initial: Any, scratch: Any) -> None:
    """Clear a tile's registers and marks, and its totals where nothing is given that they start from."""
    registers, totals = scratch.registers, scratch.totals
    for n in range(U64(tile.rows * grid.lanes)):
        registers[n] = 0
        totals[n] = 0
    if initial.size:
        for i in range(tile.rows):
            at, start = U64(i * grid.lanes), U64(tile.out + i * grid.columns)
            for j in range(U64(tile.columns)):
                totals[at + j] = initial[start + j]
    scratch.marks[:] = 0


@inline
def _end(tile: Tile, grid: Grid, scratch: Any, out: Any, marks: Any) -> None:
    """Write a tile's totals to the flat outputs, with the units' own NaN, and its marks to its columns."""
    totals = scratch.totals
    for i in range(tile.rows):
        at, to = U64(i * grid.lanes), U64(tile.out + i * grid.columns)
        for j in range(U64(tile.columns)):  # indices that cannot be negative: the loop becomes a vector loop
            total = totals[at + j]
            out[to + j] = total if total == total else float32_of(U32(CANONICAL_NAN))
    for j in range(tile.columns):
        if scratch.marks[j]:  # threads may mark the same column, and none clears a mark
            marks[tile.marks + j] = 1


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
    first: int, last: int, rows: int, codes: Any, place: int, matrix_stride: int, row_stride: int,
    stride: int, table: Any, shift: int, mask: int, min_exponent: int, reference: int, grid: Grid, left: Left,
    marks: Any, first_mark: int,
) -> None:  # fmt: skip
    """Lay out some rows of chunks of matrices of the left operand, numbered from ``first`` to ``last``.

    ``place`` is that of the first row of matrix 0. Each row with NaN or Inf is marked.
    """
    for piece in range(first, last):
        matrix, chunk = piece // grid.chunks, piece % grid.chunks
        unpack_rows(
            rows, min(grid.depth, grid.length - chunk * grid.depth), grid.depth, codes,
            place + matrix * matrix_stride + chunk * grid.depth * stride, row_stride, stride, table,
            I32(shift), U32(mask), I32(min_exponent), I32(reference), left.values, left.swaps,
            left.exponents, piece * grid.block * grid.depth, marks, first_mark + matrix * grid.rows,
        )  # fmt: skip


@jit
def sum_tiles(
    first: int, last: int, start: int, stop: int, items: Items, left: Left, right: Right, reference: int,
    unit: Unit, grid: Grid, epilogue: Epilogue, scratch: Any, initial: Any, out: Any, marks: Any,
) -> None:  # fmt: skip
    """Take tiles through chunks of K from ``start`` to ``stop``, by the kernel of the scratch's type.

    The first chunk starts from the flat ``initial`` outputs, or from zeros if it is empty, and after the last
    one the totals go to the flat outputs. Beyond the end of K, the scratch keeps what the chunk before left:
    zeros of the left operand multiply it.
    """
    for item in range(first, last):
        tile = _place(item, items, grid, right)
        if start == 0:
            _begin(tile, grid, initial, scratch)
        for chunk in range(start, stop):
            base = tile.left + chunk * grid.block * grid.depth
            k = chunk * grid.depth
            count = min(grid.depth, grid.length - k)
            unpack_columns(
                count, tile.columns, right.codes, tile.right + k * right.k_stride, right.k_stride,
                right.stride, right.table, I32(right.shift), U32(right.mask), I32(right.min_exponent),
                I32(right.reference), grid.lanes, grid.halves, scratch.values, scratch.exponents,
                scratch.marks,
            )  # fmt: skip
            _advance(left, base, tile.rows, k, grid.depth, count, reference, unit, grid.lanes, scratch)
            if epilogue.promote and ((chunk + 1) % epilogue.promote == 0 or chunk + 1 == grid.chunks):
                _promote(epilogue, grid, tile, chunk, scratch)
        if stop == grid.chunks:
            _end(tile, grid, scratch, out, marks)
