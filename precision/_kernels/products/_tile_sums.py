"""Sums of a tile of rows and a panel of columns over K, chunk by chunk, by one kernel of `_panel_steps`.

Operands come laid out by NumPy (`accumulators._operand_layout`), so that nothing here knows of strides or
edges.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from precision._kernels._jit import inline, jit, overload
from precision._kernels._llvm_scalars import float32_of, fused_multiply_add
from precision._kernels._params import Epilogue, Unit
from precision._kernels.products._panel_steps import (
    Chain,
    Grouped,
    Integer,
    Left,
    Narrow,
    Wide,
    advance_chain,
    advance_grouped,
    advance_integer,
    advance_narrow,
    advance_wide,
)

U32, F32 = np.uint32, np.float32


class Right(NamedTuple):
    """A part along K of a panel of the right operand, [k][lane], with zeros at the end.

    Only the lanes of columns that exist are read.

    ``codes`` are looked up in ``values`` and ``exponents``, which have one entry for each code; or, where
    ``values`` is empty, they are the bits of float32 values, and ``exponents`` has one for each element.
    """

    codes: Any
    values: Any
    exponents: Any


class Grid(NamedTuple):
    """The sizes of the product, and of the parts that it is cut into."""

    rows: int
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
    left_scale: int
    right_scale: int


@inline
def _unpack(right: Right, first: int, columns: int, grid: Grid, scratch: Any) -> None:
    """Write values and exponents of a chunk of the right operand, [k][half][lane], of existing columns."""
    # Local names, since Numba counts references, atomically, each time it reads an array of a tuple.
    values, exponents, zero = scratch.values, scratch.exponents, F32(0)
    codes, table, places = right.codes, right.values, right.exponents
    for k in range(grid.depth):
        to = k * grid.halves * grid.lanes
        for j in range(columns):
            n = k * grid.lanes + j
            code = codes[first + n]
            if table.size:
                value = table[code]
                exponents[n] = places[code]
            else:
                value = float32_of(U32(code))
                exponents[n] = places[first + n]
            if grid.halves == 1:
                values[to + j] = value
            else:
                values[to + j] = max(value, zero)
                values[to + grid.lanes + j] = max(-value, zero)


@inline
def _promote(epilogue: Epilogue, grid: Grid, tile: Tile, chunk: int, scratch: Any) -> None:
    """Add the registers to the totals, scaled, and clear them."""
    registers, totals, one = scratch.registers, scratch.totals, F32(1)
    left_scale, right_scale = epilogue.left_scale, epilogue.right_scale
    left_place = tile.left_scale + chunk // epilogue.left_group * grid.rows
    right_place = tile.right_scale + chunk // epilogue.right_group * grid.columns
    for i in range(tile.rows):
        sa = left_scale[left_place + i]
        # fl(partial*sa)*sb + total, or partial*fl(sa*sb) + total: in each of them one factor is 1.
        before, after = (sa, one) if epilogue.partial_first else (one, sa)
        for j in range(tile.columns):
            n = i * grid.lanes + j
            factor = F32(after * right_scale[right_place + j])
            totals[n] = fused_multiply_add(F32(registers[n] * before), factor, totals[n])
            registers[n] = 0


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
        Wide: advance_wide,
        Grouped: advance_grouped,
        Chain: advance_chain,
    }
    kernel = kernels[scratch.instance_class]
    return getattr(kernel, "py_func", kernel)


@jit
def sum_tile(
    tile: Tile, left: Left, right: Right, reference: int, unit: Unit,
    grid: Grid, epilogue: Epilogue, scratch: Any,
) -> None:  # fmt: skip
    """Take the scratch's registers and totals through chunks of K, by the kernel of the scratch's type."""
    for chunk in range(tile.first, tile.last):
        _unpack(right, (chunk - tile.first) * grid.depth * grid.lanes, tile.columns, grid, scratch)
        base = tile.left + chunk * grid.rows * grid.depth
        start = chunk * grid.depth
        count = min(grid.depth, grid.length - start)
        _advance(left, base, tile.rows, start, grid.depth, count, reference, unit, grid.lanes, scratch)
        if epilogue.promote and ((chunk + 1) % epilogue.promote == 0 or chunk + 1 == grid.chunks):
            _promote(epilogue, grid, tile, chunk, scratch)
