"""The scales of two operands as matrices, and the order in which a product applies them."""

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

_WHOLE = 2**40


class Scales(NamedTuple):
    """An operand's scales as matrices (count, rows or columns, groups of K), and how they lie.

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
        """Float32 scales [matrix][group][row or column], one line for each row or column."""
        repeated = np.repeat(self.values, self.lines, axis=1)[:, :count] if self.lines > 1 else self.values
        groups = np.broadcast_to(repeated, (matrices, count, repeated.shape[2]))
        return np.ascontiguousarray(groups.swapaxes(1, 2))


_NO_SCALES = Scales("none", np.ones((1, 1, 1), np.float32), 0, 1, None)


def read_scales(operand: Checked, axis: int, merged: bool = False) -> Scales:
    """The scales of an operand whose K is ``axis`` (-1 for the left one, -2 for the right one).

    A tensor scale stays apart, or is ``merged`` as dequantizing does.
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
    whole = repeated.reshape(math.prod(batch), *scale.shape[-2:])  # not -1: there may be no element
    values = whole.swapaxes(1, 2) if axis == -2 else whole
    values = np.ascontiguousarray(values, dtype=np.float32)
    each = min(lines or codes.shape[other], max(1, codes.shape[other]))
    if along is not None:
        kind = "group" if lines == 1 else "block"
        return Scales(kind, values, along, each, tensor_scale, q.scale_format)
    kind = "tensor" if lines is None else "vector"
    return Scales(kind, values, length, each, tensor_scale, q.scale_format)


def _repeat_batch(scale: Array, block: list[Any], batch: tuple[int, ...]) -> Array:
    """Scales with one entry for each matrix, where a block spans several."""
    for axis, size in enumerate(batch):
        if block[axis] is not None and block[axis] > 1:
            scale = np.repeat(scale, min(block[axis], size), axis=axis).take(range(size), axis=axis)
    return scale


class Epilogue(NamedTuple):
    """What becomes of scales: group scales enter at promotion, the rest multiplies the sums in order."""

    groups: GroupScales | None
    factors: tuple[Array, ...]  #: each broadcast to (results, rows, columns)
    unit: UnitScales | None = None  #: those that the unit takes itself
    exact: tuple[Factors, Factors] | None = None  #: those of an exact sum


def _inside(
    left: Scales, right: Scales, unit: Accumulator, inside: InnerScales, shapes: Shapes
) -> UnitScales:
    """Return the scales for a unit that takes them itself, or raise if it does not take these."""
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
    """Raise unless the accumulator is promoted as scales ask that change at each ``group`` of K."""
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
    """FACTS 0.2's orders for its pairs of scales; fma(partial, fl(sa*sb), total) for any other pair."""
    kinds = [left.kind, right.kind]
    tensor = [s.tensor_scale for s in (left, right) if s.tensor_scale is not None]
    last: tuple[Array, ...] = (_multiplied(*tensor),) if tensor else ()
    if shapes.length == 0:  # nothing is summed, and there are no scales but those of the tensors
        return Epilogue(None, last)
    if accumulator.inner_scales is not None:
        return Epilogue(None, last, _inside(left, right, accumulator, accumulator.inner_scales, shapes))
    if kinds == ["none", "none"]:
        return Epilogue(None, ())
    promotion = accumulator.promotion
    if promotion is None:  # one group that spans K is then a scale of its row or column
        for side, scales in enumerate((left, right)):
            if kinds[side] in ("group", "block") and scales.group >= shapes.length:
                kinds[side] = "vector"
    # An unscaled operand has scales of one, as its partner's are.
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
        # What spans all of K is one group, however many intervals there are.
        spans = [s.group if 0 < s.group < shapes.length else _WHOLE for s in (left, right)]
        return Epilogue(GroupScales(sa, spans[0], sb, spans[1], partial_first), last)
    row = sa[shapes.left_matrix, 0][:, :, None]
    column = sb[shapes.right_matrix, 0][:, None, :]
    if kinds == ["vector", "vector"]:
        return Epilogue(None, (column, row, *last))
    if kinds == ["tensor", "tensor"]:
        row, column = row[:, :1], column[:, :, :1]
    return Epilogue(None, (_multiplied(row, column), *last))


def _multiplied(*factors: Array | np.float32) -> Array:
    """The product of float32 scales, from the left, which may overflow to Inf as arithmetic does."""
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        product: Array = np.ones((), np.float32)
        for factor in factors:
            product = np.asarray(product * factor)
        return product


def _exact_factors(left: Checked, right: Checked, shapes: Shapes) -> tuple[Factors, Factors]:
    """Return both operands' scales for an exact sum, each merged with its tensor scale."""
    sides = ((left, -1, len(shapes.left), shapes.rows), (right, -2, len(shapes.right), shapes.columns))
    one, other = (
        Factors(scales.expanded(matrices, count).astype(np.float64), scales.group)
        for operand, axis, matrices, count in sides
        for scales in (read_scales(operand, axis, merged=True),)
    )
    return one, other


def epilogue_of(left: Checked, right: Checked, accumulator: Accumulator, shapes: Shapes) -> Epilogue:
    """Read both operands' scales, and plan how a product by the accumulator applies them."""
    if accumulator.scale_entry is ScaleEntry.EXACT:
        return Epilogue(None, (), exact=_exact_factors(left, right, shapes))
    return plan_scales(read_scales(left, -1), read_scales(right, -2), accumulator, shapes)


def product_of(
    left: Checked,
    right: Checked,
    accumulator: Accumulator,
    shapes: Shapes,
    start: Array | None,
    epilogue: Epilogue,
) -> Product:
    """Build the checked product that accumulators sum."""
    return Product(
        Stack(shapes.left, left.fmt), Stack(shapes.right, right.fmt), shapes.left_matrix, shapes.right_matrix,
        accumulator.promotion, epilogue.groups, start, epilogue.unit, epilogue.exact,
    )  # fmt: skip
