"""The scales of a product's operands, and the order in which the product applies them."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from precision._support._types import Array
from precision.accumulators._accumulator import Accumulator, ScaleEntry
from precision.accumulators._inner_scales import InnerScales
from precision.accumulators._operand_layout import Stack
from precision.accumulators._product import Factors, GroupScales, Product, UnitScales
from precision.formats._code_checks import clean_codes
from precision.formats._codec import decode
from precision.formats._float_format import FloatFormat
from precision.formats._named import E8M0
from precision.gemm._operands import Checked, Shapes

#: A length of K that no product reaches: a group of so many spans all of K.
_WHOLE = 2**40


class Scales(NamedTuple):
    """An operand's scales as matrices (count, rows or columns, groups of K), with what each scale spans.

    ``kind`` is "none", "tensor" (one number), "vector" (one for each row or column), "group" (changing
    along K too) or "block" (a group of several rows or columns).
    """

    kind: str
    values: Array
    group: int
    lines: int
    tensor_scale: np.float32 | None
    fmt: FloatFormat = E8M0

    def expanded(self, matrices: int, count: int) -> Array:
        """Repeat scales so that each row or column has its own: [matrix][group of K][row or column]."""
        repeated = np.repeat(self.values, self.lines, axis=1)[:, :count] if self.lines > 1 else self.values
        groups = np.broadcast_to(repeated, (matrices, count, repeated.shape[2]))
        return np.ascontiguousarray(groups.swapaxes(1, 2))


_NO_SCALES = Scales("none", np.ones((1, 1, 1), np.float32), 0, 1, None)


def read_scales(operand: Checked, axis: int, merged: bool = False) -> Scales:
    """Return the scales of an operand as matrices; K is ``axis``, -1 in the left operand and -2 in the right.

    A tensor scale is kept apart, or ``merged`` into the others as `QuantizedTensor.dequantize` merges it.
    """
    q = operand.quantized
    if q is None:
        return _NO_SCALES
    if merged:
        scale = q.multipliers()
    else:
        scale = decode(clean_codes(q.scale, q.scale_format, f"{operand.name}: scale"), q.scale_format)
    tensor_scale = None if merged else q.tensor_scale
    codes, block = q.codes, list(q.block)
    if codes.ndim == 1:
        where = 0 if axis == -1 else 1
        scale, codes = np.expand_dims(scale, where), np.expand_dims(codes, where)
        block.insert(where, None if block[0] is None else 1)
    length, along = codes.shape[axis], block[axis]
    other = -1 if axis == -2 else -2
    lines = block[other]
    batch = codes.shape[:-2]
    repeated = np.broadcast_to(_repeat_batch(scale, block, batch), (*batch, *scale.shape[-2:]))
    whole = repeated.reshape(
        math.prod(batch), *scale.shape[-2:]
    )  # a length of -1 would be ambiguous without elements
    values = whole.swapaxes(1, 2) if axis == -2 else whole
    values = np.ascontiguousarray(values, dtype=np.float32)
    each = min(lines or codes.shape[other], max(1, codes.shape[other]))
    if along is not None:
        kind = "group" if lines == 1 else "block"
        return Scales(kind, values, along, each, tensor_scale, q.scale_format)
    kind = "tensor" if lines is None else "vector"
    return Scales(kind, values, length, each, tensor_scale, q.scale_format)


def _repeat_batch(scale: Array, block: list[Any], batch: tuple[int, ...]) -> Array:
    """Repeat the scales of blocks that span several matrices, so that each matrix has its own."""
    for axis, size in enumerate(batch):
        if block[axis] is not None and block[axis] > 1:
            scale = np.repeat(scale, min(block[axis], size), axis=axis).take(range(size), axis=axis)
    return scale


class Epilogue(NamedTuple):
    """Plan of a product's scales: group scales multiply at promotion, factors multiply the sums in order."""

    groups: GroupScales | None
    factors: tuple[Array, ...]  #: each broadcast to (results, rows, columns)
    unit: UnitScales | None = None  #: scales that the unit applies itself
    exact: tuple[Factors, Factors] | None = None  #: scales of an exact sum


def _scales_inside(
    left: Scales, right: Scales, unit: Accumulator, inside: InnerScales, shapes: Shapes
) -> UnitScales:
    """Return the scales for a unit that applies them itself, or raise if it does not take them."""
    for name, scales in (("a", left), ("b", right)):
        inside.check_scales(name, unit, scales.fmt, scales.group, shapes.length)
    spans = (s.group if 0 < s.group < shapes.length else _WHOLE for s in (left, right))
    return UnitScales(
        left.expanded(len(shapes.left), shapes.rows),
        next(spans),
        left.fmt,
        right.expanded(len(shapes.right), shapes.columns),
        next(spans),
        right.fmt,
    )


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


def plan_scales(left: Scales, right: Scales, accumulator: Accumulator, shapes: Shapes) -> Epilogue:
    """Choose the order in which two operands' scales enter a product.

    `matmul` lists the orders measured on an H100; any other pair is ``fma(partial, fl(sa*sb), total)``.
    """
    kinds = [left.kind, right.kind]
    tensor = [s.tensor_scale for s in (left, right) if s.tensor_scale is not None]
    last: tuple[Array, ...] = (_multiply(*tensor),) if tensor else ()
    if shapes.length == 0:  # nothing is summed, and tensor scales are the only ones that enter
        return Epilogue(None, last)
    if accumulator.inner_scales is not None:
        return Epilogue(
            None, last, _scales_inside(left, right, accumulator, accumulator.inner_scales, shapes)
        )
    if kinds == ["none", "none"]:
        return Epilogue(None, ())
    promotion = accumulator.promotion
    if promotion is None:  # without promotion one group that spans K scales its row or column
        for side, scales in enumerate((left, right)):
            if kinds[side] in ("group", "block") and scales.group >= shapes.length:
                kinds[side] = "vector"
    # An operand without scales has scales of one, of the same kind as the other operand's.
    for side, partner in ((0, 1), (1, 0)):
        if kinds[side] == "none":
            kinds[side] = "block" if kinds[partner] in ("group", "block") else kinds[partner]
    along_k = [
        s for s, kind in zip((left, right), kinds, strict=True) if kind in ("group", "block") and s.group
    ]
    for scales in along_k:
        if scales.group < shapes.length:
            _check_promotion(scales.group, accumulator, shapes.length)
    sa = left.expanded(len(shapes.left), shapes.rows)
    sb = right.expanded(len(shapes.right), shapes.columns)
    if along_k or (promotion and kinds[0] != kinds[1]):
        partial_first = kinds == ["group", "group"]
        # A scale of all K is one group, whatever the number of intervals.
        spans = [s.group if 0 < s.group < shapes.length else _WHOLE for s in (left, right)]
        return Epilogue(GroupScales(sa, spans[0], sb, spans[1], partial_first), last)
    row = sa[shapes.left_matrix, 0][:, :, None]
    column = sb[shapes.right_matrix, 0][:, None, :]
    if kinds == ["vector", "vector"]:
        return Epilogue(None, (column, row, *last))
    if kinds == ["tensor", "tensor"]:
        row, column = row[:, :1], column[:, :, :1]
    return Epilogue(None, (_multiply(row, column), *last))


def _multiply(*factors: Array | np.float32) -> Array:
    """Multiply float32 scales from left to right; a product may overflow to Inf or underflow."""
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        product: Array = np.ones((), np.float32)
        for factor in factors:
            product = np.asarray(product * factor)
        return product


def _exact_factors(left: Checked, right: Checked, shapes: Shapes) -> tuple[Factors, Factors]:
    """Return both operands' scales as factors of an exact sum, with tensor scales merged into them."""
    sides = ((left, -1, len(shapes.left), shapes.rows), (right, -2, len(shapes.right), shapes.columns))
    one, other = (
        Factors(scales.expanded(matrices, count).astype(np.float64), scales.group)
        for operand, axis, matrices, count in sides
        for scales in (read_scales(operand, axis, merged=True),)
    )
    return one, other


def plan_epilogue(left: Checked, right: Checked, accumulator: Accumulator, shapes: Shapes) -> Epilogue:
    """Read both operands' scales, and plan how the product applies them."""
    if accumulator.scale_entry is ScaleEntry.EXACT:
        return Epilogue(None, (), exact=_exact_factors(left, right, shapes))
    return plan_scales(read_scales(left, -1), read_scales(right, -2), accumulator, shapes)


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
