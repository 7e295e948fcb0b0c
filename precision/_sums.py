"""Which kernel sums a product, and running it: what lies between `matmul`'s checks and the compiled loops."""

from __future__ import annotations

import functools
import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from precision._kernels._threads import get_num_threads, parallel
from precision._memory import aligned
from precision._packing import (
    RightPanels,
    Stack,
    as_operand,
    exponents,
    packed_left,
    specials,
    tables,
)
from precision.accumulators import FusedSum, ScaledGroups, ScaledProducts
from precision.codec import MODES, code_ends, format_params, value_ends
from precision.formats import FP32, FloatFormat
from precision.rounding import Overflow, Rounding

Array = npt.NDArray[Any]

#: Stands where a kernel wants a unit and its parameters do not matter: a chain's products come one by one.
ANY = FusedSum((FP32,), 1, fraction_bits=1)
_WHOLE = 2**40
#: Elements of a panel of the right operand that are laid out at once.
SLAB = 2**18
CANONICAL_NAN = np.uint32(0x7FFFFFFF).view(np.float32)


class GroupScales(NamedTuple):
    """Scales that enter at promotion, float32 [matrix][group of K][row or column], and K under one."""

    left: Array
    left_group: int
    right: Array
    right_group: int
    partial_first: bool  #: fma(fl(partial*sa), sb, total) instead of fma(partial, fl(sa*sb), total)


class UnitScales(NamedTuple):
    """Scales that the unit takes itself: the same arrays, and the formats that say their exponents."""

    left: Array
    left_group: int
    left_format: FloatFormat
    right: Array
    right_group: int
    right_format: FloatFormat


class Product(NamedTuple):
    """A checked product: stacks of matrices, and for each result the left and right matrix it is of."""

    left: Stack
    right: Stack
    left_matrix: Array
    right_matrix: Array
    promotion: int | None
    scales: GroupScales | None
    start: Array | None  #: (results, rows, columns), float32
    unit_scales: UnitScales | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        return len(self.left_matrix), self.left.codes.shape[1], self.right.codes.shape[2]

    @property
    def length(self) -> int:
        return int(self.left.codes.shape[2])


@functools.lru_cache(maxsize=64)
def as_unit(unit: FusedSum) -> Any:
    from precision._kernels.params import Unit

    register = unit.register
    # A truncating register with float32's exponents is a float32 without its last bits.
    like_float32 = register.exponent_bits == 8 and register.bias == 127
    truncating = unit.register_rounding is Rounding.TOWARD_ZERO and like_float32
    mask = (0xFFFFFFFF << (23 - register.fraction_bits)) & 0xFFFFFFFF if truncating else 0
    return Unit(
        products=unit.products,
        fraction_bits=unit.fraction_bits,
        min_exponent=unit.min_exponent,
        register_min_exponent=register.min_exponent,
        register_mask=mask,
    )


@functools.lru_cache(maxsize=64)
def as_register(unit: FusedSum) -> Any:
    from precision._kernels.params import Register

    ends = value_ends(unit.register, code_ends(unit.register, Overflow.NON_SATURATING), 8)
    return Register(format_params(unit.register), MODES[unit.register_rounding], ends)


class Way(NamedTuple):
    """A kernel over panels: its scratch's class, the K that suits a chunk, lanes, halves and types."""

    name: str
    depth: int
    halves: int
    lanes: int = 64
    real: type[np.floating[Any]] = np.float32
    exponent: type[np.signedinteger[Any]] = np.int8


NARROW = Way("Narrow", 32, 2)
INTEGER = Way("Integer", 64, 1)
WIDE = Way("Wide", 32, 2, 32, np.float64, np.int16)
CHAIN = Way("Chain", 64, 1)


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
            **common, left_shift=none, right_shift=none, left_steps=_WHOLE, right_steps=_WHOLE,
            left_rows=tile, scale=scales[:lanes], unscale=scales[lanes:], whole=whole, part=part,
        )  # fmt: skip
    sums = aligned(2 * lanes, way.real)
    return fused.Wide(**common, sums=sums, register=as_register(unit))


def choose(product: Product, unit: FusedSum) -> tuple[Way | None, int, int]:
    """The fastest kernel that is exact for this product, and what operands' exponents are relative to.

    None: only the general kernel is. The conditions are those that the kernels' comments prove.
    """
    width, terms = unit.fraction_bits + 2, unit.products
    if unit.scale_in_unit is not None:
        return _choose_scaled(product, unit)
    if unit.alignment_rounding is not Rounding.TOWARD_ZERO:
        return None, 0, 0
    significands = sum(stack.fmt.fraction_bits + 1 for stack in (product.left, product.right))
    if as_unit(unit).register_mask and significands <= 24:
        narrow = width + math.ceil(math.log2(terms + 1)) <= 23
        integer = unit.fraction_bits <= 25 and terms << width <= 2**32
        if narrow or integer:
            (low_a, high_a), (low_b, high_b) = exponents(product.left), exponents(product.right)
            near = max(high_a - low_a, high_b - low_b) <= 62
            for way, suits, reach in ((NARROW, narrow, 60), (INTEGER, integer, 100)):
                inside = -reach <= low_a + low_b and high_a + high_b <= reach
                if suits and near and inside and _starts_within(product, -reach, 100):
                    return way, high_a, high_b
    if width + math.ceil(math.log2(terms + 1)) <= 52 and unit.min_exponent >= -300:
        return WIDE, 0, 0
    return None, 0, 0


def _choose_scaled(product: Product, unit: FusedSum) -> tuple[Way | None, int, int]:
    """The same for a unit that takes scales itself."""
    general, scales = (None, 0, 0), product.unit_scales
    width, terms = unit.fraction_bits + 2, unit.products
    significands = sum(stack.fmt.fraction_bits + 1 for stack in (product.left, product.right))
    suits = as_unit(unit).register_mask and significands <= 24 and unit.fraction_bits <= 25
    truncating = unit.alignment_rounding is Rounding.TOWARD_ZERO
    if scales is None or not isinstance(unit.scale_in_unit, ScaledProducts) or not (suits and truncating):
        return general
    if any(group % terms and group < product.length for group in (scales.left_group, scales.right_group)):
        return general
    (low_a, high_a), (low_b, high_b) = exponents(product.left), exponents(product.right)
    low, high = low_a + low_b, high_a + high_b
    for values, fmt in ((scales.left, scales.left_format), (scales.right, scales.right_format)):
        found = scale_parts(values[np.isfinite(values)], fmt)[0]
        low, high = low + int(found.min(initial=0)), high + int(found.max(initial=0))
    near = max(high_a - low_a, high_b - low_b) <= 62 and low >= -100 and high <= 100
    if near and terms << width <= 2**32 and _starts_within(product, -100, 100):
        return INTEGER, high_a, high_b
    return general


def _starts_within(product: Product, lowest: int, highest: int) -> bool:
    """Whether every register starts at zero or with an exponent in this range."""
    if product.promotion or product.start is None:
        return True
    size = np.abs(product.start)
    with np.errstate(invalid="ignore"):
        inside = (size == 0) | ((size >= 2.0**lowest) & (size < 2.0 ** (highest + 1)))
    return bool(inside.all())


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


def scale_parts(values: Array, fmt: FloatFormat) -> tuple[Array, Array]:
    """Exponents and significands of scales: ``value = significand * 2**(exponent - fraction_bits)``.

    Those of scales that are NaN or Inf mean nothing.
    """
    finite = np.where(np.isfinite(values), values, np.float32(0)).astype(np.float64)
    exponents = np.maximum(np.frexp(finite)[1] - 1, fmt.min_exponent)
    significands = np.ldexp(finite, fmt.fraction_bits - exponents)
    return exponents.astype(np.int32), significands.astype(np.int64)


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


def _chunk_depth(step: int, promotion: int | None, length: int, target: int) -> int:
    """The K of a chunk: the most steps up to ``target`` of which a promotion interval is a multiple."""
    steps = max(1, min(target // step, -(-length // step)))
    while promotion and promotion % (steps * step):
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
    largest = math.prod(2 - 2.0**-stack.fmt.fraction_bits for stack in (product.left, product.right))
    most = (2.0 ** (31 - unit.fraction_bits) - 2) / largest
    return min(unit.products, 1 << max(0, math.frexp(most)[1] - 1))


class _Shifts:
    """Exponents of scales inside the unit, for tiles of the integer way."""

    def __init__(self, scales: UnitScales, product: Product, step: int) -> None:
        self.left = scale_parts(scales.left, scales.left_format)[0]
        self.right = scale_parts(scales.right, scales.right_format)[0]
        self.left_steps, self.right_steps = (
            -(-group // step) for group in (scales.left_group, scales.right_group)
        )

    def beside(self, scratch: Any, i: int, j: int, row: int, rows: int, column: int, lanes: int) -> Any:
        """The scratch with the exponents of one tile."""
        some = self.right[j, :, column : column + lanes]
        right = np.zeros((len(some), lanes), np.int32)
        right[:, : some.shape[1]] = some
        return scratch._replace(
            left_shift=self.left[i, :, row : row + rows].reshape(-1),
            right_shift=right.reshape(-1),
            left_steps=self.left_steps,
            right_steps=self.right_steps,
            left_rows=rows,
        )


def run_panels(
    product: Product, way: Way, unit: FusedSum, references: tuple[int, int], out: Array
) -> tuple[Array, Array]:
    """Sum every output by ``way``; returns which left rows and right columns hold NaN or Inf."""
    from precision._kernels import panels

    results, rows, columns = product.shape
    length, lanes = product.length, way.lanes
    depth = _chunk_depth(unit.products, product.promotion, length, way.depth)
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
    inside = product.unit_scales and _Shifts(product.unit_scales, product, unit.products)

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


def run_general(
    product: Product,
    unit: FusedSum | None,
    out: Array,
    left_special: Array | None = None,
    right_special: Array | None = None,
) -> None:
    """Sum by the general kernel: everything, or only the outputs of rows and columns marked as special."""
    from precision._kernels import general

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
                general.sum_general, rows=some_rows, columns=some_columns, left=left, right=right, i=i, j=j,
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
