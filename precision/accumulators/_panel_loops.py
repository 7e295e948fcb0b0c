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

#: Products that one call of a kernel sums, at most, but for a chunk of one tile: some milliseconds of work.
_PART = 2**27
#: Elements of the left operand that are laid out at once, at least.
_LEAST_BLOCK = 2**18
_NONE: Array = np.empty(0, np.float32)


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
        self.product, self.kernel, self.step, self.out = product, kernel, step, out.reshape(-1)
        self.kernels, self.unit, self.reference = panel_modules()[1], as_unit(step), sum(references)
        _, rows, columns = product.shape
        length, lanes = product.length, kernel.lanes
        depth = _choose_chunk_depth(product, step, kernel.depth)
        chunks = -(-length // depth)
        self.height = _tile_rows(product, lanes)
        self.blocks = _plan_blocks(product, self.height, depth)
        matrices, block = (max(each[i] for each in self.blocks) for i in (1, 3))
        self.grid = self.kernels.Grid(rows, block, columns, length, depth, chunks, lanes, kernel.halves)
        kind = np.dtype(kernel.left_exponent)
        self.left = LeftRows(product.left, references[0], self.grid, matrices, kind, kernel.apart)
        self.right = as_right(product.right, references[1])
        self.epilogue = build_epilogue(product, depth)
        self.inside = None
        if product.unit_scales is not None and step.inner is not None:
            self.inside = _TileScales(product.unit_scales, step.inner, chunks * depth)
        self.start = _NONE if product.start is None else np.ascontiguousarray(product.start).reshape(-1)
        self.marks = np.zeros(len(product.right.codes) * columns, np.uint8)
        self.spare: list[Any] = []  # memory of threads that have no work now

    def run(self) -> tuple[Array | None, Array | None]:
        """Sum block after block, and return the marks of left rows and right columns."""
        for block in self.blocks:
            self.left.lay_out(*block)
            self._sum_block(*block)
        found = (
            marks.reshape(-1, size) != 0 if marks.any() else None
            for marks, size in ((self.left.marks, self.grid.rows), (self.marks, self.grid.columns))
        )
        return next(found), next(found)

    def _sum_block(self, first_matrix: int, matrices: int, first_row: int, rows: int) -> None:
        """Sum the outputs of a block of the left operand, on all threads."""
        left_matrix, right_matrix = self.product.left_matrix, self.product.right_matrix
        pairs = np.flatnonzero((left_matrix >= first_matrix) & (left_matrix < first_matrix + matrices))
        tiles, across = -(-rows // self.height), -(-self.grid.columns // self.grid.lanes)
        items = self.kernels.Items(
            pairs, left_matrix, right_matrix, tiles, across, self.height, first_matrix, first_row, rows,
            self.epilogue.left_groups, self.epilogue.right_groups,
        )  # fmt: skip
        chunks, each = self.grid.chunks, self.height * self.grid.lanes * self.grid.depth
        most = max(1, _PART // each)  # chunks of one tile
        together = 1 if self.inside or chunks > most else max(1, most // chunks)
        part = _int32_terms(self.product, self.step) if self.kernel is INTEGER else 1

        def work(first: int, last: int) -> None:
            scratch = self.spare.pop() if self.spare else self._allocate(part)
            for item in range(first, last, together):
                beside = self._scale(scratch, items, item) if self.inside else scratch
                for start in range(0, chunks, most):
                    checkpoint()
                    self.kernels.sum_tiles(
                        item, min(last, item + together), start, min(chunks, start + most), items,
                        self.left.record, self.right, self.reference, self.unit, self.grid, self.epilogue,
                        beside, self.start, self.out, self.marks,
                    )  # fmt: skip
            self.spare.append(scratch)

        count = len(pairs) * tiles * across
        in_pieces(work, count, 1 if count < 16 else max(1, count // (16 * get_num_threads())))

    def _allocate(self, part: int) -> Any:
        """Allocate the memory of one thread."""
        return _allocate_scratch(
            self.kernel, self.grid.depth, self.height, self.step, bool(self.epilogue.promote), part
        )

    def _scale(self, scratch: Any, items: Any, item: int) -> Any:
        """Return a thread's memory with the scales of a tile that its unit applies."""
        assert self.inside is not None
        pair = int(items.pairs[item // (items.tiles * items.across)])
        down, column = item % items.tiles * self.height, item // items.tiles % items.across * self.grid.lanes
        i, j = int(items.left_matrix[pair]), int(items.right_matrix[pair])
        high = min(self.height, items.rows - down)
        return self.inside.beside(scratch, i, j, items.first_row + down, high, column, self.grid.lanes)


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
