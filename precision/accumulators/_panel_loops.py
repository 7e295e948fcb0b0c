"""Sums of a checked product by kernels over panels, on all threads."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from precision._support._types import Array
from precision._support.machine._aligned_memory import aligned, aligned_parts
from precision._support.machine._pieces import in_pieces
from precision._support.machine._threads import checkpoint, get_num_threads
from precision.accumulators._general_loops import run_general
from precision.accumulators._inner_scales import InnerScales
from precision.accumulators._kernel_records import _WHOLE, as_register, as_unit, build_epilogue
from precision.accumulators._operand_layout import (
    LeftRows,
    as_right,
    panel_modules,
)
from precision.accumulators._panel_kernels import (
    CHAIN,
    INTEGER,
    NARROW,
    PanelKernel,
    choose_kernel,
    largest_term,
)
from precision.accumulators._product import Product, UnitScales, scale_parts
from precision.accumulators._step import Step
from precision.formats._codec_arrays import F32

#: Elements of a panel of the right operand that are laid out at once, at most.
SLAB = 2**18
#: Elements of the left operand that are laid out at once, at least.
_LEAST_BLOCK = 2**18


def _allocate_scratch(
    kernel: PanelKernel, depth: int, tile: int, step: Step, promoted: bool, part: int
) -> Any:
    """Allocate the scratch that one thread's calls of a kernel work in."""
    steps = panel_modules()[0]
    lanes = kernel.lanes
    # Zeros, since kernels write what exists of a chunk, and read all of it.
    values, exponents, registers, factors, marks = aligned_parts(
        (depth * kernel.halves * lanes, np.dtype(kernel.real)),
        (depth * lanes, np.dtype(kernel.exponent)),
        (tile * lanes, F32),
        (lanes, F32),
        (lanes, np.dtype(np.uint8)),
        zeros=True,
    )
    totals = aligned(tile * lanes, np.float32) if promoted else registers
    common = {
        "values": values, "exponents": exponents, "registers": registers, "totals": totals,
        "factors": factors, "marks": marks,
    }  # fmt: skip
    if kernel is NARROW:
        return steps.Narrow(**common)
    if kernel is CHAIN:
        return steps.Chain(**common)
    if kernel is INTEGER and step.inner is None:
        return steps.Integer(**common, part=part)
    if kernel is INTEGER:
        none = np.zeros(0, np.int32)
        return steps.ScaledInteger(
            **common, part=part, left_shift=none, right_shift=none, left_group=_WHOLE, right_group=_WHOLE
        )
    if step.inner and step.inner.group:
        size, no_scale, no_exponent = step.inner.group, np.empty(0, np.float32), np.empty(0, np.int32)
        return steps.Grouped(
            **common, terms=aligned(step.products // size * lanes, np.float64), group=size,
            left_scale=no_scale, left_exponent=no_exponent, right_scale=no_scale, right_exponent=no_exponent,
        )  # fmt: skip
    common["largest"] = aligned(lanes, kernel.exponent)
    sums = aligned(2 * lanes, kernel.real)
    return steps.Wide(**common, sums=sums, register=as_register(step))


def _choose_chunk_depth(product: Product, step: Step, target: int) -> int:
    """Choose the length of K of a chunk: the most steps within ``target`` that divide every interval of K.

    The intervals are those of promotion and of scales inside the unit.
    """
    intervals = [product.promotion] if product.promotion else []
    if product.unit_scales is not None and step.inner and not step.inner.group:
        groups = product.unit_scales.left_group, product.unit_scales.right_group
        intervals += [group for group in groups if group < product.length]
    count = step.products
    steps = max(1, min(target // count, -(-product.length // count)))
    while any(interval % (steps * count) for interval in intervals):
        steps -= 1
    return steps * count


def _tile_rows(product: Product, lanes: int) -> int:
    """Choose the rows of a tile: 1024 at most, and fewer if there would not be work for every thread."""
    results, rows, columns = product.shape
    tile = min(rows, 1024)
    others = results * -(-columns // lanes)
    while tile > 64 and others * -(-rows // tile) < 4 * get_num_threads():
        tile = -(-tile // 2)
    return tile


def _int32_terms(product: Product, step: Step) -> int:
    """Return how many terms, a power of two, an int32 can sum at the unit's width."""
    assert step.fraction_bits is not None
    most = 2.0 ** (31 - step.fraction_bits) / largest_term(product.left.fmt, product.right.fmt)
    return min(step.products, 1 << max(0, math.frexp(most)[1] - 1))


def _plan_blocks(product: Product, height: int, depth: int) -> list[tuple[int, int, int, int]]:
    """Cut the left operand into blocks that are laid out at once: (first matrix, matrices, first row, rows).

    An element takes ten bytes at most, so that a block is about as large as the operands' codes.
    """
    matrices, rows, length = product.left.codes.shape
    codes = product.left.codes.nbytes + product.right.codes.nbytes
    most = max(_LEAST_BLOCK, codes // 4) // (-(-length // depth) * depth)
    if rows <= most:
        some = max(1, most // rows)
        return [(first, min(some, matrices - first), 0, rows) for first in range(0, matrices, some)]
    high = max(1, most // height) * height
    return [
        (matrix, 1, first, min(high, rows - first))
        for matrix in range(matrices)
        for first in range(0, rows, high)
    ]


class _TileScales:
    """Scales inside a unit, laid out so that each tile can take its own."""

    def __init__(self, scales: UnitScales, inside: InnerScales, length: int) -> None:
        sides = (
            (scales.left, scales.left_group, scales.left_format),
            (scales.right, scales.right_group, scales.right_format),
        )
        self.groups = scales.left_group, scales.right_group
        self.values: list[Array] = []
        self.exponents: list[Array] = []
        for values, group, fmt in sides:
            if inside.group:  # one scale for each exact sum
                each = np.arange(length // inside.group) * inside.group // group
                values = values[:, np.minimum(each, values.shape[1] - 1)]
            self.values.append(np.where(np.isfinite(values), values, np.float32(0)))
            self.exponents.append(scale_parts(values, fmt)[0])

    def beside(self, scratch: Any, i: int, j: int, row: int, rows: int, column: int, lanes: int) -> Any:
        """Return a scratch whose scales are those of one tile."""

        def left(x: Array) -> Array:
            return np.ascontiguousarray(x[i, :, row : row + rows]).reshape(-1)

        def right(x: Array) -> Array:
            some = x[j, :, column : column + lanes]
            padded = np.zeros((len(some), lanes), x.dtype)
            padded[:, : some.shape[1]] = some
            return padded.reshape(-1)

        exponents = left(self.exponents[0]), right(self.exponents[1])
        if hasattr(scratch, "left_shift"):
            return scratch._replace(
                left_shift=exponents[0],
                right_shift=exponents[1],
                left_group=self.groups[0],
                right_group=self.groups[1],
            )
        return scratch._replace(
            left_scale=left(self.values[0]),
            left_exponent=exponents[0],
            right_scale=right(self.values[1]),
            right_exponent=exponents[1],
        )


class _PanelSums:
    """The work of summing every output of a product by one kernel over panels."""

    def __init__(
        self, product: Product, kernel: PanelKernel, step: Step, references: tuple[int, int], out: Array
    ) -> None:
        self.product, self.kernel, self.step, self.out = product, kernel, step, out
        self.kernels, self.unit, self.reference = panel_modules()[1], as_unit(step), sum(references)
        _, rows, columns = product.shape
        length, lanes = product.length, kernel.lanes
        self.depth = _choose_chunk_depth(product, step, kernel.depth)
        self.chunks = -(-length // self.depth)
        self.most = max(1, min(self.chunks, SLAB // (self.depth * lanes)))
        self.height, self.across = _tile_rows(product, lanes), -(-columns // lanes)
        self.blocks = _plan_blocks(product, self.height, self.depth)
        size = max(block[1] for block in self.blocks), max(block[3] for block in self.blocks)
        kind = np.dtype(kernel.left_exponent)
        self.left = LeftRows(product.left, references[0], self.depth, kind, kernel.apart, size)
        self.right = as_right(product.right, references[1])
        self.grid = self.kernels.Grid(
            rows, size[1], columns, length, self.depth, self.chunks, lanes, kernel.halves
        )
        self.epilogue = build_epilogue(product, self.depth)
        self.inside = None
        if product.unit_scales is not None and step.inner is not None:
            self.inside = _TileScales(product.unit_scales, step.inner, self.chunks * self.depth)
        self.marks = np.zeros((len(product.right.codes), columns), bool)

    def run(self) -> tuple[Array | None, Array | None]:
        """Sum block after block, and return the marks of left rows and right columns."""
        for block in self.blocks:
            self.left.lay_out(*block)
            self._sum_block(*block)
        rows = self.left.marks.reshape(self.left.count, -1) != 0
        return rows if rows.any() else None, self.marks if self.marks.any() else None

    def _sum_block(self, first_matrix: int, matrices: int, first_row: int, rows: int) -> None:
        """Sum the outputs of a block of the left operand, on all threads."""
        last_matrix = first_matrix + matrices
        own = (self.product.left_matrix >= first_matrix) & (self.product.left_matrix < last_matrix)
        pairs = np.flatnonzero(own)
        tiles = -(-rows // self.height)
        part = _int32_terms(self.product, self.step) if self.kernel is INTEGER else 1

        def work(first: int, last: int) -> None:
            scratch = _allocate_scratch(
                self.kernel, self.depth, self.height, self.step, bool(self.epilogue.promote), part
            )
            for item in range(first, last):
                pair, down = int(pairs[item // (tiles * self.across)]), item % tiles * self.height
                column = item // tiles % self.across * self.kernel.lanes
                block = first_matrix, first_row, down, min(self.height, rows - down)
                self._sum_tile(scratch, pair, column, block)

        items = len(pairs) * tiles * self.across
        in_pieces(work, items, 1 if items < 16 else max(1, items // (16 * get_num_threads())))

    def _sum_tile(self, scratch: Any, pair: int, column: int, block: tuple[int, int, int, int]) -> None:
        """Sum the outputs of a tile: the first matrix and row of its block, its row there, and its rows."""
        product, grid, lanes = self.product, self.grid, self.kernel.lanes
        first_matrix, first_row, down, high = block
        row, wide = first_row + down, min(lanes, grid.columns - column)
        i, j = int(product.left_matrix[pair]), int(product.right_matrix[pair])
        places = (
            ((i - first_matrix) * self.chunks * grid.block + down) * self.depth,
            j * grid.length * grid.columns + column * self.right.stride,
            i * self.epilogue.left_groups * grid.rows + row,
            j * self.epilogue.right_groups * grid.columns + column,
            (pair * grid.rows + row) * grid.columns + column,
        )
        if self.inside:
            scratch = self.inside.beside(scratch, i, j, row, high, column, lanes)
        scratch.registers.fill(0)
        scratch.totals.fill(0)
        scratch.marks.fill(0)
        if product.start is not None:
            totals = scratch.totals[: high * lanes].reshape(-1, lanes)
            totals[:, :wide] = product.start[pair, row : row + high, column : column + wide]
        for start in range(0, self.chunks, self.most):
            checkpoint()
            stop = min(self.chunks, start + self.most)
            tile = self.kernels.Tile(high, wide, start, stop, *places)
            self.kernels.sum_tile(
                tile, self.left.record, self.right, self.reference, self.unit, grid, self.epilogue, scratch,
                self.out.reshape(-1),
            )  # fmt: skip
        if np.count_nonzero(scratch.marks):  # no thread clears a mark
            self.marks[j, column : column + wide][scratch.marks[:wide] != 0] = True


def run_panels(
    product: Product, kernel: PanelKernel, step: Step, references: tuple[int, int], out: Array
) -> tuple[Array | None, Array | None]:
    """Compute every output by a kernel; return the left rows and right columns that hold NaN or Inf.

    Both are marks, or None for no mark. The outputs of marked rows and columns are wrong, and are left to the
    general kernel.
    """
    special = _PanelSums(product, kernel, step, references, out).run()
    scales = product.unit_scales
    if scales is None:
        return special
    return _mark_not_finite(special[0], scales.left), _mark_not_finite(special[1], scales.right)


def _mark_not_finite(some: Array | None, scales: Array) -> Array:
    """Return marks, with rows or columns added whose scales hold NaN or Inf."""
    return _mark_either(some, np.asarray(~np.isfinite(scales).all(axis=1)))


def _mark_either(some: Array | None, others: Array) -> Array:
    """Return the union of marks (None for no mark) and others."""
    return others if some is None else some | others


def _run_special(product: Product, step: Step, out: Array, left: Array | None, right: Array | None) -> None:
    """Compute the outputs of marked rows and columns, if there are any, by the general kernel."""
    if left is None and right is None:
        return
    if left is None:
        left = np.zeros((len(product.left.codes), product.shape[1]), bool)
    if right is None:
        right = np.zeros((len(product.right.codes), product.shape[2]), bool)
    run_general(product, step, out, left, right)


def sum_fused(product: Product, step: Step) -> Array:
    """Compute every output of a product by fused sums, in float32."""
    out = np.empty(product.shape, np.float32)
    kernel, left_reference, right_reference = choose_kernel(product, step)
    if kernel is None:
        run_general(product, step, out)
        return out
    left, right = run_panels(product, kernel, step, (left_reference, right_reference), out)
    if product.start is not None and not product.promotion:
        # Outputs whose register starts at NaN or Inf are left to the general kernel as well.
        not_finite = ~np.isfinite(product.start)
        if not_finite.any():
            starts = np.zeros((len(product.left.codes), product.shape[1]), bool)
            np.logical_or.at(starts, product.left_matrix, not_finite.any(axis=2))
            left = _mark_either(left, starts)
    _run_special(product, step, out, left, right)
    return out


def sum_chain(product: Product, step: Step) -> Array:
    """Compute every output of a product by float32 fused multiply-adds in the order of K."""
    out = np.empty(product.shape, np.float32)
    special = run_panels(product, CHAIN, step, (0, 0), out)
    _run_special(product, step, out, *special)
    return out
