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
from precision.accumulators._kernel_records import _WHOLE, CANONICAL_NAN, as_register, as_unit, build_epilogue
from precision.accumulators._operand_layout import (
    RightPanels,
    build_tables,
    find_specials,
    pack_left,
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
from precision.accumulators._small_products import sum_small
from precision.accumulators._step import Step
from precision.formats._codec_arrays import F32

#: Elements of a panel of the right operand that are laid out at once, at most.
SLAB = 2**18


def _allocate_scratch(
    kernel: PanelKernel, depth: int, tile: int, step: Step, promoted: bool, part: int
) -> Any:
    """Allocate the scratch that one thread's calls of a kernel work in."""
    steps, _ = panel_modules()
    lanes = kernel.lanes
    # Kernels write the values of a tile's columns; the lanes beyond a narrow tile stay zeros.
    values, exponents, registers = aligned_parts(
        (depth * kernel.halves * lanes, np.dtype(kernel.real)),
        (depth * lanes, np.dtype(kernel.exponent)),
        (tile * lanes, F32),
        zeros=True,
    )
    totals = aligned(tile * lanes, np.float32) if promoted else registers
    if kernel is NARROW:
        return steps.Narrow(values, exponents, registers, totals)
    if kernel is CHAIN:
        return steps.Chain(values, exponents, registers, totals)
    common = {"values": values, "exponents": exponents, "registers": registers, "totals": totals}
    common["largest"] = aligned(lanes, kernel.exponent)
    if kernel is INTEGER:
        whole = aligned((max(2, -(-step.products // part)) + 1) * lanes, np.int32)
        whole[:] = 0
        scales, none = aligned(2 * lanes, np.float32), np.zeros(max(tile, lanes), np.int32)
        return steps.Integer(
            **common, left_shift=none, right_shift=none, left_group=_WHOLE, right_group=_WHOLE,
            shifts=aligned(lanes, np.int32), scale=scales[:lanes], unscale=scales[lanes:], whole=whole,
            part=part,
        )  # fmt: skip
    if step.inner and step.inner.group:
        size, no_scale, no_exponent = step.inner.group, np.empty(0, np.float32), np.empty(0, np.int32)
        return steps.Grouped(
            **common, dots=aligned(lanes, np.float32), top=aligned(lanes, np.int32), group=size,
            terms=aligned(step.products // size * lanes, np.float64), left_scale=no_scale,
            left_exponent=no_exponent, right_scale=no_scale, right_exponent=no_exponent,
        )  # fmt: skip
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
    """Return how many terms, a power of two, an int32 can sum beside the register at the unit's width."""
    assert step.fraction_bits is not None
    most = (2.0 ** (31 - step.fraction_bits) - 2) / largest_term(product.left.fmt, product.right.fmt)
    return min(step.products, 1 << max(0, math.frexp(most)[1] - 1))


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
        if hasattr(scratch, "shifts"):
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


def run_panels(
    product: Product, kernel: PanelKernel, step: Step, references: tuple[int, int], out: Array
) -> tuple[Array | None, Array | None]:
    """Compute every output by a kernel; return the left rows and right columns that hold NaN or Inf.

    Both are marks, or None for no mark. The outputs of marked rows and columns are wrong, and are left to the
    general kernel.
    """
    _, kernels = panel_modules()
    results, rows, columns = product.shape
    length, lanes = product.length, kernel.lanes
    depth = _choose_chunk_depth(product, step, kernel.depth)
    chunks = -(-length // depth)
    kind = np.dtype(kernel.exponent)
    found_left = build_tables(product.left, references[0], kind)
    found_right = build_tables(product.right, references[1], kind)
    left = pack_left(product.left, found_left, depth)
    model, reference = as_unit(step), sum(references)
    height = _tile_rows(product, lanes)
    tiles, across = -(-rows // height), -(-columns // lanes)
    grid = kernels.Grid(rows, columns, length, depth, chunks, lanes, kernel.halves)
    epilogue = build_epilogue(product, depth)
    most = max(1, min(chunks, SLAB // (depth * lanes)))
    part = _int32_terms(product, step) if kernel is INTEGER else 1
    inside = None
    if product.unit_scales is not None and step.inner is not None:
        inside = _TileScales(product.unit_scales, step.inner, chunks * depth)

    def work(first: int, last: int) -> None:
        scratch = _allocate_scratch(kernel, depth, height, step, bool(epilogue.promote), part)
        right = RightPanels(product.right, found_right, lanes, most * depth)
        for item in range(first, last):
            pair, row = item // (tiles * across), item % tiles * height
            column = item // tiles % across * lanes
            i, j = int(product.left_matrix[pair]), int(product.right_matrix[pair])
            high, wide = min(height, rows - row), min(lanes, columns - column)
            places = (
                (i * chunks * rows + row) * depth,
                i * epilogue.left_groups * rows + row,
                j * epilogue.right_groups * columns + column,
            )
            if inside:
                scratch = inside.beside(scratch, i, j, row, high, column, lanes)
            here = (pair, slice(row, row + high), slice(column, column + wide))
            totals = scratch.totals[: high * lanes].reshape(-1, lanes)
            scratch.registers.fill(0)
            totals.fill(0)
            if product.start is not None:
                totals[:, :wide] = product.start[here]
            for start in range(0, chunks, most):
                checkpoint()
                stop = min(chunks, start + most)
                panel = right.take(j, column, start * depth, (stop - start) * depth)
                tile = kernels.Tile(high, wide, start, stop, *places)
                kernels.sum_tile(tile, left, panel, reference, model, grid, epilogue, scratch)
            invalid = np.isnan(totals)
            if np.count_nonzero(invalid):
                totals[invalid] = CANONICAL_NAN
            out[here] = totals[:, :wide]

    items = results * tiles * across
    in_pieces(work, items, 1 if items < 16 else max(1, items // (16 * get_num_threads())))
    special = find_specials(product.left, found_left, 2), find_specials(product.right, found_right, 1)
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
    small = sum_small(product, step)
    if small is not None:
        return small
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
