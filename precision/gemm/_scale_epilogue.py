"""The scales of a product's operands, and the order in which the product applies them."""

from __future__ import annotations

import enum
import math
from typing import Any, NamedTuple

import numpy as np

from precision._support._plans import planned
from precision._support._types import Array
from precision.accumulators._accumulator import Accumulator, ScaleEntry
from precision.accumulators._kernel_records import CANONICAL_NAN
from precision.accumulators._operand_layout import Stack
from precision.accumulators._product import Factors, GroupScales, Product, UnitScales
from precision.formats._code_checks import clean_codes
from precision.formats._codec import decode
from precision.formats._float_format import FloatFormat
from precision.formats._named import E8M0, FP32
from precision.gemm._operands import Checked, Shapes, keeps_plans, lay_out
from precision.quantization._granularity import Block

#: A length of K that no product reaches: a group of so many spans all of K.
_WHOLE = 2**40


class ScaleKind(NamedTuple):
    """The properties of an operand that decide how its scales enter a product: all but their values."""

    shape: tuple[int, ...]
    block: Block = ()
    scale_shape: tuple[int, ...] = ()
    fmt: FloatFormat | None = None  #: None without scales


class Places(NamedTuple):
    """The place of each scale in memory, [matrix][group of K][row or column], and what each spans.

    ``kind`` is "none", "tensor" (one number), "vector" (one for each row or column), "group" (changing
    along K too) or "block" (a group of several rows or columns).
    """

    kind: str
    where: Array
    group: int
    fmt: FloatFormat = E8M0


class Scales(NamedTuple):
    """The float32 values of an operand's scales, flat as they lie in memory, and its tensor scale."""

    values: Array
    tensor_scale: np.float32 | None

    def at(self, places: Places) -> Array:
        """Return the scale of each row or column: [matrix][group of K][row or column]."""
        return self.values.take(places.where)


_ONE = np.ones(1, np.float32)


def _find_places(kind: ScaleKind, axis: int, matrices: int, lines: int) -> Places:
    """Return the places of an operand's scales; K is ``axis``, -1 in the left operand and -2 in the right.

    The operand's stack has ``matrices``, and each of these has ``lines`` rows or columns.
    """
    shape, block = kind.shape, list(kind.block)
    if kind.fmt is None:
        return Places("none", np.zeros((matrices, 1, lines), np.int64), 0)
    index = np.arange(math.prod(kind.scale_shape)).reshape(kind.scale_shape)
    if len(shape) == 1:
        where = 0 if axis == -1 else 1
        index, shape = np.expand_dims(index, where), (1, *shape) if where == 0 else (*shape, 1)
        block.insert(where, None if block[0] is None else 1)
    length, along = shape[axis], block[axis]
    other = -1 if axis == -2 else -2
    each, batch = block[other], shape[:-2]
    repeated = np.broadcast_to(_repeat_batch(index, block, batch), (*batch, *index.shape[-2:]))
    whole = repeated.reshape(matrices, *index.shape[-2:])
    groups = whole.swapaxes(1, 2) if axis == -1 else whole  # [matrix][group of K][row or column, or several]
    span = min(each or shape[other], max(1, shape[other]))
    spread = np.repeat(groups, span, axis=2)[:, :, :lines] if span > 1 else groups
    spread = np.ascontiguousarray(np.broadcast_to(spread, (*spread.shape[:2], lines)))
    if along is not None:
        return Places("group" if each == 1 else "block", spread, along, kind.fmt)
    return Places("tensor" if each is None else "vector", spread, length, kind.fmt)


def _repeat_batch(scale: Array, block: list[Any], batch: tuple[int, ...]) -> Array:
    """Repeat the scales of blocks that span several matrices, so that each matrix has its own."""
    for axis, size in enumerate(batch):
        if block[axis] is not None and block[axis] > 1:
            scale = np.repeat(scale, min(block[axis], size), axis=axis).take(range(size), axis=axis)
    return scale


@planned
def _values_of_codes(fmt: FloatFormat) -> Array:
    """Return the values of every code of a format of at most 8 bits."""
    return decode(np.arange(1 << fmt.bits, dtype=fmt.code_dtype), fmt)


def read_scales(operand: Checked, merged: bool = False) -> Scales:
    """Return the scales of an operand.

    A tensor scale is kept apart, or ``merged`` into the others as `QuantizedTensor.dequantize` merges it.
    """
    q = operand.quantized
    if q is None:
        return Scales(_ONE, None)
    if merged:
        return Scales(q.multipliers().reshape(-1), None)
    fmt, scale = q.scale_format, clean_codes(q.scale, q.scale_format, f"{operand.name}: scale")
    if fmt == FP32:
        values = scale
    elif fmt.bits <= 8:
        values = _values_of_codes(fmt).take(scale.view(fmt.code_dtype))
    else:
        values = decode(scale, fmt)
    return Scales(values.reshape(-1), q.tensor_scale)


class Epilogue(NamedTuple):
    """Plan of a product's scales: group scales multiply at promotion, factors multiply the sums in order."""

    groups: GroupScales | None
    factors: tuple[Array, ...]  #: each broadcast to (results, rows, columns)
    unit: UnitScales | None = None  #: scales that the unit applies itself
    exact: tuple[Factors, Factors] | None = None  #: scales of an exact sum


NO_SCALES = Epilogue(None, ())


class Way(enum.Enum):
    """The ways in which the scales of two operands enter a product, besides their tensor scales."""

    NONE = "none"
    EXACT = "exact"  # factors of an exact sum
    INSIDE = "inside"  # the unit applies them
    GROUPS = "groups"  # at promotion
    VECTORS = "vectors"  # the finished sum times the column's scale, and then times the row's
    PRODUCT = "product"  # the finished sum times the product of the row's scale and the column's


class ScalePlan(NamedTuple):
    """The order in which the scales of two operands enter a product."""

    way: Way
    left: Places
    right: Places
    spans: tuple[int, int] = (0, 0)  #: K under one scale
    partial_first: bool = False
    row: Array | None = None  #: places of the scales of [result][row][1]
    column: Array | None = None  #: of [result][1][column]


def _check_promotion(group: int, accumulator: Accumulator, length: int) -> None:
    """Raise unless the accumulator is promoted often enough for scales that change every ``group`` of K."""
    promotion = accumulator.promotion
    if promotion is None:
        raise ValueError(
            f"accumulator must be promoted where scales change along K: groups are {group} "
            f"of K, {accumulator} is never promoted; use .promoted({group})"
        )
    if group % promotion and promotion < length:
        raise ValueError(
            f"accumulator must be promoted at a divisor of the groups of {group} of K, got {accumulator}"
        )
    if group < promotion:
        raise ValueError(f"accumulator must be promoted within a group of {group} of K, got {accumulator}")


def plan_scales(left: Checked, right: Checked, accumulator: Accumulator) -> ScalePlan:
    """Choose the order in which two operands' scales enter a product.

    `matmul` lists the orders measured on an H100; any other pair is ``fma(partial, fl(sa*sb), total)``.
    """
    small = keeps_plans(left.codes, right.codes)
    prepare = _prepare if small else _prepare.__wrapped__  # type: ignore[attr-defined]
    plan: ScalePlan = prepare(accumulator, _kind_of(left), _kind_of(right))
    return plan


def _kind_of(operand: Checked) -> ScaleKind:
    """Return what the order of an operand's scales follows from."""
    q = operand.quantized
    if q is None:
        return ScaleKind(operand.codes.shape)
    return ScaleKind(operand.codes.shape, q.block, q.scale.shape, q.scale_format)


@planned
def _prepare(accumulator: Accumulator, a: ScaleKind, b: ScaleKind) -> ScalePlan:
    """Choose the order of the scales of two kinds of operands."""
    sizes = lay_out.__wrapped__(a.shape, b.shape)  # type: ignore[attr-defined]
    length, promotion = sizes["length"], accumulator.promotion
    left = _find_places(a, -1, math.prod(a.shape[:-2]), sizes["rows"])
    right = _find_places(b, -2, math.prod(b.shape[:-2]), sizes["columns"])
    # A scale of all K is one group, whatever the number of intervals.
    spans = [s.group if 0 < s.group < length else _WHOLE for s in (left, right)]
    if accumulator.scale_entry is ScaleEntry.EXACT:
        return ScalePlan(Way.EXACT, left, right)
    if length == 0:  # nothing is summed, and tensor scales are the only ones that enter
        return ScalePlan(Way.NONE, left, right)
    if accumulator.inner_scales is not None:
        for name, scales in (("a", left), ("b", right)):
            accumulator.inner_scales.check_scales(name, accumulator, scales.fmt, scales.group, length)
        return ScalePlan(Way.INSIDE, left, right, (spans[0], spans[1]))
    kinds = _pair_kinds(left, right, promotion, length)
    if kinds == ["none", "none"]:
        return ScalePlan(Way.NONE, left, right)
    along_k = [s for s, kind in zip((left, right), kinds, strict=True) if kind in _ALONG and s.group]
    for scales in along_k:
        if scales.group < length:
            _check_promotion(scales.group, accumulator, length)
    if along_k or (promotion and kinds[0] != kinds[1]):
        return ScalePlan(Way.GROUPS, left, right, (spans[0], spans[1]), kinds == ["group", "group"])
    row = left.where[sizes["left_matrix"], 0][:, :, None]
    column = right.where[sizes["right_matrix"], 0][:, None, :]
    if kinds == ["vector", "vector"]:
        return ScalePlan(Way.VECTORS, left, right, row=row, column=column)
    if kinds == ["tensor", "tensor"]:
        row, column = row[:, :1], column[:, :, :1]
    return ScalePlan(Way.PRODUCT, left, right, row=row, column=column)


_ALONG = ("group", "block")
"""Kinds of scales that change along K."""


def _pair_kinds(left: Places, right: Places, promotion: int | None, length: int) -> list[str]:
    """Return the kinds of both operands' scales as the product takes them."""
    kinds = [left.kind, right.kind]
    if kinds == ["none", "none"]:
        return kinds
    if promotion is None:  # without promotion one group that spans K scales its row or column
        for side, scales in enumerate((left, right)):
            if kinds[side] in _ALONG and scales.group >= length:
                kinds[side] = "vector"
    # An operand without scales has scales of one, of the same kind as the other operand's.
    for side, partner in ((0, 1), (1, 0)):
        if kinds[side] == "none":
            kinds[side] = "block" if kinds[partner] in _ALONG else kinds[partner]
    return kinds


def _multiply(*factors: Array | np.float32) -> Array:
    """Multiply float32 scales from left to right; a product may overflow to Inf or underflow."""
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        product: Array = np.ones((), np.float32)
        for factor in factors:
            product = np.asarray(product * factor)
        return product


def apply_plan(plan: ScalePlan, left: Scales, right: Scales) -> Epilogue:
    """Return the scales of a product in the order of a plan."""
    if plan.way is Way.EXACT:
        one, other = (
            Factors(scales.at(places).astype(np.float64), places.group)
            for scales, places in ((left, plan.left), (right, plan.right))
        )
        return Epilogue(None, (), exact=(one, other))
    tensor = [s.tensor_scale for s in (left, right) if s.tensor_scale is not None]
    last: tuple[Array, ...] = (_multiply(*tensor),) if tensor else ()
    if plan.way is Way.NONE:
        return Epilogue(None, last)
    if plan.row is None or plan.column is None:
        (sa, sb), (span_a, span_b) = (left.at(plan.left), right.at(plan.right)), plan.spans
        if plan.way is Way.GROUPS:
            return Epilogue(GroupScales(sa, span_a, sb, span_b, plan.partial_first), last)
        return Epilogue(None, last, UnitScales(sa, span_a, plan.left.fmt, sb, span_b, plan.right.fmt))
    row, column = left.values.take(plan.row), right.values.take(plan.column)
    if plan.way is Way.VECTORS:
        return Epilogue(None, (column, row, *last))
    return Epilogue(None, (_multiply(row, column), *last))


def plan_epilogue(left: Checked, right: Checked, accumulator: Accumulator) -> Epilogue:
    """Read both operands' scales, and plan how the product applies them."""
    after = accumulator.scale_entry is ScaleEntry.AFTER
    if after and left.quantized is None and right.quantized is None:
        return NO_SCALES
    merged = accumulator.scale_entry is ScaleEntry.EXACT
    one, other = read_scales(left, merged), read_scales(right, merged)
    return apply_plan(plan_scales(left, right, accumulator), one, other)


def multiply_by_scales(out: Array, factors: tuple[Array, ...]) -> None:
    """Multiply sums in place by one scale after the other, and give every NaN all bits but the sign."""
    if not factors:
        return
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        for factor in factors:
            np.multiply(out, factor, out=out)
    invalid = np.isnan(out)
    if invalid.any():
        out[invalid] = CANONICAL_NAN


def build_product(
    left: Checked,
    right: Checked,
    accumulator: Accumulator,
    shapes: Shapes,
    start: Array | None,
    epilogue: Epilogue,
) -> Product:
    """Build the record of a checked product, which accumulators sum."""
    return Product(
        Stack(shapes.left, left.fmt), Stack(shapes.right, right.fmt), shapes.left_matrix, shapes.right_matrix,
        accumulator.promotion, epilogue.groups, start, epilogue.unit, epilogue.exact,
    )  # fmt: skip
