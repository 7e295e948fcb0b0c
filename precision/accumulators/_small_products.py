"""Sums of small products by a loop that needs no panels, no layout and no threads."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from precision._support._plans import planned
from precision._support._types import Array
from precision.accumulators._kernel_records import as_unit
from precision.accumulators._product import GroupScales, Product, UnitScales
from precision.accumulators._step import Step
from precision.formats._codec_constants import MODES, format_params
from precision.formats._float_format import FloatFormat
from precision.formats._named import E8M0, TF32, Format
from precision.formats._rounding_modes import Rounding

if TYPE_CHECKING:
    from collections.abc import Callable

MOST = 2**16
"""The most multiplications that the loop for small products is given.

Up to there it takes 0.1 to 0.8 of the time of the kernels over panels, at twice as many 0.9 to 1.0, and
at four times 1.3 to 1.7 (FP8 and BF16, one thread, products of many shapes).
"""

_WIDEST = 28
"""The most fraction bits of an alignment, and of a product, whose terms the loop can hold in 32 bits."""

_WORD = np.dtype(np.uint32)
_NONE: Array = np.empty((0, 0, 0), np.float32)
_WHOLE = 2**40  # of K: no product is as long


class GroupSpans(NamedTuple):
    """The number of each operand's group scales, the K under each, and where and how they enter."""

    left_groups: int = 1
    left: int = _WHOLE
    right_groups: int = 1
    right: int = _WHOLE
    partial_first: bool = False
    inside: bool = False  #: whether the unit multiplies each product by both, which are powers of two


class SmallSum(NamedTuple):
    """The compiled loop for small products of one kind, and the numbers that it reads."""

    loop: Callable[..., bool]
    rule: Array

    def run(
        self, left: Array, right: Array, matrices: tuple[Array, Array],
        scales: GroupScales | UnitScales | None, start: Array | None,
    ) -> Array | None:  # fmt: skip
        """Compute every output in float32, (results, rows, columns), or return None at a NaN or Inf.

        Operands are stacks of codes, unsigned integers; ``matrices`` are the indices of each result's two.
        """
        # Copies of 32-bit words: the loop is compiled for one type of array, contiguous and not read-only.
        rows, columns = left.astype(_WORD, order="C"), right.swapaxes(1, 2).astype(_WORD, order="C")
        one, other = (_NONE, _NONE) if scales is None else (_own(scales.left), _own(scales.right))
        out = np.empty((matrices[0].size, left.shape[1], right.shape[2]), np.float32)
        initial = _NONE if start is None else _own(start)
        return out if self.loop(rows, columns, self.rule, *matrices, one, other, initial, out) else None


def sum_small(product: Product, step: Step) -> Array | None:
    """Compute every output of a small product in float32, or return None if that is left to other kernels.

    They are for large products, for steps and formats that the loop does not suit, and for NaN and Inf.
    """
    if math.prod(product.shape) * product.length > MOST:
        return None
    scales = product.unit_scales or product.scales
    plan = prepare_small(step, product.left.fmt, product.right.fmt, product.promotion, spans_of(scales))
    if plan is None:
        return None
    matrices = product.left_matrix, product.right_matrix
    return plan.run(product.left.codes, product.right.codes, matrices, scales, product.start)


def spans_of(scales: GroupScales | UnitScales | None) -> GroupSpans | None:
    """Return how scales enter a product, or None if the loop does not suit them."""
    if scales is None:
        return GroupSpans()
    spans = GroupSpans(scales.left.shape[1], scales.left_group, scales.right.shape[1], scales.right_group)
    if isinstance(scales, GroupScales):
        return spans._replace(partial_first=scales.partial_first)
    powers = scales.left_format == scales.right_format == E8M0
    return spans._replace(inside=True) if powers else None


def _own(values: Array) -> Array:
    """Return a contiguous array that is not read-only."""
    return values if values.flags.writeable else values.copy()


@planned
def prepare_small(
    step: Step, left: Format, right: Format, promotion: int | None, spans: GroupSpans | None
) -> SmallSum | None:
    """Prepare the sums of products of one kind, or return None if the loop does not suit them."""
    if not (isinstance(left, FloatFormat) and isinstance(right, FloatFormat)) or spans is None:
        return None
    if not _suits(step, left, right, spans):
        return None
    from precision._kernels.products._small_products import sum_small

    assert step.fraction_bits is not None
    assert step.min_exponent is not None
    extra = left.fraction_bits + right.fraction_bits - step.fraction_bits
    rule: tuple[Any, ...] = (
        *_codes(left), *_codes(right),
        step.products, step.fraction_bits, step.min_exponent, step.register.min_exponent,
        max(-extra, 0), max(extra, 0), _int32_terms(step), _kept_bits(step),
        *format_params(step.register), *MODES[step.register_rounding],
        promotion or 0, int(spans.inside), int(spans.partial_first),
        spans.left_groups, spans.left, spans.right_groups, spans.right,
    )  # fmt: skip
    return SmallSum(sum_small, np.array(rule, np.int64))


def _suits(step: Step, left: FloatFormat, right: FloatFormat, spans: GroupSpans) -> bool:
    """Tell whether the loop is exact for a step, the operands' formats, and the scales inside the unit."""
    if step.inner is not None and (step.inner.group or not spans.inside):
        return False
    if spans.inside and (spans.left % step.products or spans.right % step.products):
        return False
    cuts = step.aligns and step.alignment_rounding is Rounding.TOWARD_ZERO
    if not cuts or step.fraction_bits is None or step.fraction_bits > _WIDEST:
        return False
    return left.has_zero and right.has_zero and left.fraction_bits + right.fraction_bits <= _WIDEST


def _int32_terms(step: Step) -> int:
    """Return how many terms an int32 can sum: each is less than four times the unit of the alignment."""
    assert step.fraction_bits is not None
    return min(step.products, 1 << (29 - step.fraction_bits))


def _kept_bits(step: Step) -> int:
    """Return the mask of a float64's bits that a truncating register with float32's exponents keeps, or 0."""
    bits = as_unit(step).register_mask
    return -1 << (52 - step.register.fraction_bits) if bits else 0


def _codes(fmt: FloatFormat) -> tuple[int, ...]:
    """Return the numbers by which the loop splits codes into significands and exponents."""
    nan = -1 if fmt.nan_code is None else fmt.nan_code
    below = 13 if fmt == TF32 else 0  # TF32's codes are float32's, with 13 bits more
    return fmt.fraction_bits, fmt.bias, fmt.magnitude_mask, fmt.max_code, nan, below
