"""Which kernel sums a product, and running it: what lies between `matmul`'s checks and the compiled loops."""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np
import numpy.typing as npt

from precision._kernels._threads import checkpoint, get_num_threads, parallel
from precision._memory import aligned
from precision._packing import (
    RightPanels,
    as_operand,
    packed_left,
    specials,
    tables,
)
from precision._ways import (
    CHAIN,
    INTEGER,
    NARROW,
    GroupScales,
    Product,
    UnitScales,
    Way,
    as_register,
    as_unit,
    choose,
    largest_term,
    scale_parts,
)
from precision.accumulators import FusedSum, ScaledGroups, ScaledProducts
from precision.codec import MODES
from precision.formats import FP32

Array = npt.NDArray[Any]

#: Stands where a kernel wants a unit and its parameters do not matter: a chain's products come one by one.
ANY = FusedSum((FP32,), 1, fraction_bits=1)
_WHOLE = 2**40
#: Elements of a panel of the right operand that are laid out at once.
SLAB = 2**18
#: Products that one call of the general kernel sums, where one output has not more: 0.1 s at most.
GENERAL_PIECE = 2**20
CANONICAL_NAN = np.uint32(0x7FFFFFFF).view(np.float32)


def _scratch(way: Way, depth: int, tile: int, unit: FusedSum, promoted: bool, part: int) -> Any:
    """Memory of one thread."""
    from precision._kernels import fused

    lanes = way.lanes
    common = {
        "values": aligned(depth * way.halves * lanes, way.real),
        "exponents": aligned(depth * lanes, way.exponent),
        "registers": aligned(tile * lanes, np.float32),
    }
    common["totals"] = aligned(tile * lanes, np.float32) if promoted else common["registers"]
    if way is CHAIN:
        return fused.Chain(**common)
    if way is NARROW:
        return fused.Narrow(**common)
    common["largest"] = aligned(lanes, way.exponent)
    if way is INTEGER:
        whole = aligned((max(2, -(-unit.products // part)) + 1) * lanes, np.int32)
        whole[:] = 0
        scales, none = aligned(2 * lanes, np.float32), np.zeros(max(tile, lanes), np.int32)
        return fused.Integer(
            **common, left_shift=none, right_shift=none, left_group=_WHOLE, right_group=_WHOLE,
            shifts=aligned(lanes, np.int32), scale=scales[:lanes], unscale=scales[lanes:], whole=whole,
            part=part,
        )  # fmt: skip
    if isinstance(unit.scale_in_unit, ScaledGroups):
        size, no_scale, no_exponent = unit.scale_in_unit.n, np.empty(0, np.float32), np.empty(0, np.int32)
        return fused.Grouped(
            **common, dots=aligned(lanes, np.float32), top=aligned(lanes, np.int32), group=size,
            terms=aligned(unit.products // size * lanes, np.float64), left_scale=no_scale,
            left_exponent=no_exponent, right_scale=no_scale, right_exponent=no_exponent,
        )  # fmt: skip
    sums = aligned(2 * lanes, way.real)
    return fused.Wide(**common, sums=sums, register=as_register(unit))


def _epilogue(product: Product, step: int) -> Any:
    """Promotion and group scales for a kernel that counts K in steps of ``step``."""
    from precision._kernels.params import Epilogue

    _, rows, columns = product.shape
    promote = product.promotion // step if product.promotion else 0
    scales = product.scales
    if scales is None:
        shapes = (len(product.left.codes), 1, rows), (len(product.right.codes), 1, columns)
        left, right = (np.ones(shape if promote else 0, np.float32) for shape in shapes)
        whole = max(1, product.length)
        scales = GroupScales(left, whole, right, whole, False)
        groups = 1, 1
    else:
        groups = scales.left.shape[1], scales.right.shape[1]
    left, right = scales.left.reshape(-1), scales.right.reshape(-1)
    spans = (-(-group // step) for group in (scales.left_group, scales.right_group))
    return Epilogue(
        promote, scales.partial_first, left, groups[0], next(spans), right, groups[1], next(spans)
    )


def _unit_scales(product: Product, unit: FusedSum | None) -> Any:
    """The same for the general kernel."""
    from precision._kernels.params import UnitScales

    scales, inside = product.unit_scales, unit.scale_in_unit if unit else None
    if scales is None or unit is None or inside is None:
        empty = np.empty(0, np.float32), np.empty(0, np.int32), np.empty(0, np.int64)
        return UnitScales(-1, 0, 0, *empty, 0, 1, *empty, 0, 1)
    group, place = 0, 0
    if isinstance(inside, ScaledGroups):
        group, place = inside.n, -inside.headroom(unit.operands)[1]
    sides = [
        (values.reshape(-1), *(part.reshape(-1) for part in scale_parts(values, fmt)), values.shape[1], span)
        for values, fmt, span in (
            (scales.left, scales.left_format, scales.left_group),
            (scales.right, scales.right_format, scales.right_group),
        )
    ]
    bits = scales.left_format.fraction_bits + scales.right_format.fraction_bits
    return UnitScales(group, place, bits, *sides[0], *sides[1])


def _chunk_depth(product: Product, unit: FusedSum, target: int) -> int:
    """The K of a chunk: the most steps up to ``target`` of which every interval along K is a multiple."""
    intervals = [product.promotion] if product.promotion else []
    if product.unit_scales is not None and isinstance(unit.scale_in_unit, ScaledProducts):
        groups = product.unit_scales.left_group, product.unit_scales.right_group
        intervals += [group for group in groups if group < product.length]
    step = unit.products
    steps = max(1, min(target // step, -(-product.length // step)))
    while any(interval % (steps * step) for interval in intervals):
        steps -= 1
    return steps * step


def _tile_rows(product: Product, lanes: int) -> int:
    """Rows of a tile: up to 1024, fewer where there would not be work for every thread."""
    results, rows, columns = product.shape
    tile = min(rows, 1024)
    others = results * -(-columns // lanes)
    while tile > 64 and others * -(-rows // tile) < 4 * get_num_threads():
        tile = -(-tile // 2)
    return tile


def _int32_terms(product: Product, unit: FusedSum) -> int:
    """Terms cut at the unit's width that an int32 sums beside the register, as a power of two."""
    most = (2.0 ** (31 - unit.fraction_bits) - 2) / largest_term(product)
    return min(unit.products, 1 << max(0, math.frexp(most)[1] - 1))


class _InnerScales:
    """Scales inside the unit, laid out for tiles."""

    def __init__(self, scales: UnitScales, inside: ScaledProducts | ScaledGroups, length: int) -> None:
        sides = (
            (scales.left, scales.left_group, scales.left_format),
            (scales.right, scales.right_group, scales.right_format),
        )
        self.groups = scales.left_group, scales.right_group
        self.values: list[Array] = []
        self.exponents: list[Array] = []
        for values, group, fmt in sides:
            if isinstance(inside, ScaledGroups):  # one for each exact sum
                each = np.arange(length // inside.n) * inside.n // group
                values = values[:, np.minimum(each, values.shape[1] - 1)]
            self.values.append(np.where(np.isfinite(values), values, np.float32(0)))
            self.exponents.append(scale_parts(values, fmt)[0])

    def beside(self, scratch: Any, i: int, j: int, row: int, rows: int, column: int, lanes: int) -> Any:
        """The scratch with the scales of one tile."""

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
    product: Product, way: Way, unit: FusedSum, references: tuple[int, int], out: Array
) -> tuple[Array, Array]:
    """Sum every output by ``way``; returns which left rows and right columns hold NaN or Inf."""
    from precision._kernels import panels

    results, rows, columns = product.shape
    length, lanes = product.length, way.lanes
    depth = _chunk_depth(product, unit, way.depth)
    chunks = -(-length // depth)
    found_left, found_right = (
        tables(stack, reference, np.dtype(way.exponent))
        for stack, reference in zip((product.left, product.right), references, strict=True)
    )
    left = packed_left(product.left, found_left, depth)
    model, reference = as_unit(unit), sum(references)
    height = _tile_rows(product, lanes)
    tiles, across = -(-rows // height), -(-columns // lanes)
    grid = panels.Grid(rows, columns, length, depth, chunks, lanes, way.halves)
    epilogue = _epilogue(product, depth)
    most = max(1, min(chunks, SLAB // (depth * lanes)))
    part = _int32_terms(product, unit)
    inside = None
    if product.unit_scales is not None and unit.scale_in_unit is not None:
        inside = _InnerScales(product.unit_scales, unit.scale_in_unit, chunks * depth)

    def work(first: int, last: int) -> None:
        scratch = _scratch(way, depth, height, unit, bool(epilogue.promote), part)
        right = RightPanels(product.right, found_right, lanes, most * depth)
        for item in range(first, last):
            pair, row = item // (tiles * across), item % tiles * height
            column = item // tiles % across * lanes
            i, j = int(product.left_matrix[pair]), int(product.right_matrix[pair])
            tile = panels.Tile(
                rows=min(height, rows - row),
                columns=min(lanes, columns - column),
                first=0,
                last=0,
                left=(i * chunks * rows + row) * depth,
                left_scale=i * epilogue.left_groups * rows + row,
                right_scale=j * epilogue.right_groups * columns + column,
            )
            if inside:
                scratch = inside.beside(scratch, i, j, row, tile.rows, column, lanes)
            here = np.s_[pair, row : row + tile.rows, column : column + tile.columns]
            totals = scratch.totals[: tile.rows * lanes].reshape(-1, lanes)
            scratch.registers.fill(0)
            totals.fill(0)
            if product.start is not None:
                totals[:, : tile.columns] = product.start[here]
            for start in range(0, chunks, most):
                checkpoint()
                stop = min(chunks, start + most)
                panel = right.take(j, column, start * depth, (stop - start) * depth)
                slab = tile._replace(first=start, last=stop)
                panels.sum_tile(slab, left, panel, reference, model, grid, epilogue, scratch)
            invalid = np.isnan(totals)
            if invalid.any():
                totals[invalid] = CANONICAL_NAN
            out[here] = totals[:, : tile.columns]

    items = results * tiles * across
    parallel(work, items, max(1, items // (16 * get_num_threads())))
    left_special = specials(product.left, found_left, 2)
    right_special = specials(product.right, found_right, 1)
    if product.unit_scales is not None:
        left_special = left_special | ~np.isfinite(product.unit_scales.left).all(axis=1)
        right_special = right_special | ~np.isfinite(product.unit_scales.right).all(axis=1)
    return left_special, right_special


def _general_rows(first: int, last: int, *, rows: Array, columns: Array, length: int, **rest: Any) -> None:
    """Sum ``rows[first:last]`` times ``columns`` by the general kernel, some columns at a time."""
    from precision._kernels import general

    most = max(1, GENERAL_PIECE // max(1, length * (last - first)))
    for start in range(0, columns.size, most):
        checkpoint()
        some = columns[start : start + most]
        general.sum_general(first, last, rows=rows, columns=some, length=length, **rest)


def run_general(
    product: Product,
    unit: FusedSum | None,
    out: Array,
    left_special: Array | None = None,
    right_special: Array | None = None,
) -> None:
    """Sum by the general kernel: everything, or only the outputs of rows and columns marked as special."""
    marked = (left_special, right_special)
    if all(side is not None and not side.any() for side in marked):
        return
    left, right = as_operand(product.left), as_operand(product.right)
    chain = unit is None
    some = unit or ANY
    model, register, alignment = as_unit(some), as_register(some), MODES[some.alignment_rounding]
    epilogue, scales = _epilogue(product, 1), _unit_scales(product, unit)
    results, rows, columns = product.shape
    every_row, every_column = np.arange(rows), np.arange(columns)
    for n in range(results):
        i, j = int(product.left_matrix[n]), int(product.right_matrix[n])
        start = np.empty((0, 0), np.float32) if product.start is None else product.start[n]
        target = out[n]
        if left_special is None or right_special is None:
            parts = [(every_row, every_column)]
        else:
            some_rows, some_columns = left_special[i].nonzero()[0], right_special[j].nonzero()[0]
            parts = [(some_rows, every_column), (every_row, some_columns)]
        for some_rows, some_columns in parts:
            if not (some_rows.size and some_columns.size):
                continue

            part = functools.partial(
                _general_rows, rows=some_rows, columns=some_columns, left=left, right=right, i=i, j=j,
                length=product.length, unit=model, rounding=register, alignment=alignment, scales=scales,
                chain=chain, promote=product.promotion or 0, epilogue=epilogue, start=start, out=target,
            )  # fmt: skip
            parallel(part, some_rows.size, max(1, 2**16 // max(1, product.length * some_columns.size)))


def fused_sum(product: Product, unit: FusedSum, out: Array) -> None:
    """Every output of the product by a `FusedSum`, into float32 ``out``."""
    way, left_reference, right_reference = choose(product, unit)
    if way is None:
        run_general(product, unit, out)
        return
    special = run_panels(product, way, unit, (left_reference, right_reference), out)
    if product.start is not None and not product.promotion:
        # A register that starts at NaN or Inf is the general kernel's as well.
        odd = ~np.isfinite(product.start)
        if odd.any():
            np.logical_or.at(special[0], product.left_matrix, odd.any(axis=2))
    run_general(product, unit, out, *special)


def chain_sum(product: Product, out: Array) -> None:
    """Every output by float32 fused multiply-adds in the order of K, into ``out``."""
    special = run_panels(product, CHAIN, ANY, (0, 0), out)
    run_general(product, None, out, *special)


def trace_sum(product: Product, unit: FusedSum | None) -> tuple[Array, Array]:
    """Register and float32 total after every step of a product of one row and one column."""
    from precision._kernels import general

    some = unit or ANY
    model, register, alignment = as_unit(some), as_register(some), MODES[some.alignment_rounding]
    step = unit.products if unit else 1
    every = product.promotion or product.length
    steps = sum(-(-min(every, product.length - k) // step) for k in range(0, product.length, every))
    registers, totals = np.empty(steps, np.float32), np.empty(steps, np.float32)
    initial = np.float32(0) if product.start is None else product.start[0, 0, 0]
    general.dot(
        0, 0, as_operand(product.left), as_operand(product.right), 0, 0, product.length,
        model, register, alignment, _unit_scales(product, unit), unit is None,
        product.promotion or 0, _epilogue(product, 1), initial, registers, totals,
    )  # fmt: skip
    return registers, totals
