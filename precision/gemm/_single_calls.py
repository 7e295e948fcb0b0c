"""Small products by one call of a loop, for which all but the arrays is prepared."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from precision._support._plans import planned
from precision._support._types import Array
from precision.accumulators import _small_products
from precision.accumulators._accumulator_text import as_accumulator
from precision.accumulators._small_products import SmallSum, spans_of
from precision.formats._code_checks import clean_codes
from precision.formats._named import TF32, Format
from precision.gemm._default_unit import unit_of_operands
from precision.gemm._operands import Checked, Operand, Shapes, checked_dtype, checked_operand, stack_codes
from precision.gemm._scale_epilogue import (
    NO_SCALES,
    ScalePlan,
    Way,
    apply_plan,
    multiply_by_scales,
    plan_scales,
    read_scales,
)
from precision.quantization._quantized_tensor import QuantizedTensor

_SMALL = 2**14
"""Elements of an operand, at most: plans grow with them."""

_Kind: TypeAlias = tuple[Any, ...]
Call: TypeAlias = Callable[[Any, Any], Array | None]
"""A prepared product of two operands; it returns None if they hold NaN or Inf."""


def find_call(a: Operand, b: Operand, accumulator: Any, dtype: npt.DTypeLike) -> Call | None:
    """Return the prepared product of two operands, or None if the general way is to be taken.

    That is the way for large products, for accumulators without a loop for small ones, and for arguments
    that raise an error.
    """
    left, right = _kind_of(a), _kind_of(b)
    if left is None or right is None:
        return None
    plan = _prepare(left, right, accumulator, dtype)
    return None if plan is None or plan.sums > _small_products.MOST else plan.call


def _kind_of(x: Operand) -> _Kind | None:
    """Return what a product is prepared for of an operand, or None if it is to be taken the general way."""
    if type(x) is np.ndarray:
        return (x.dtype, x.shape) if x.size <= _SMALL else None
    if type(x) is QuantizedTensor and x.codes.size <= _SMALL:
        return x.fmt, x.codes.shape, x.block, x.scale.shape, x.scale_format, x.tensor_scale is None
    return None


def _example(kind: _Kind) -> Operand:
    """Return an operand of a kind, with zeros for codes and scales."""
    if len(kind) == 2:
        return np.zeros(kind[1], kind[0])
    fmt, shape, block, scale_shape, scale_format, no_tensor_scale = kind
    return QuantizedTensor._of_settled_parts(
        codes=np.zeros(shape, fmt.dtype), scale=np.zeros(scale_shape, scale_format.dtype), fmt=fmt,
        tensor_scale=None if no_tensor_scale else np.float32(1), block=block, scale_format=scale_format,
    )  # fmt: skip


class _SmallProduct(NamedTuple):
    """A prepared product, and how many products it sums, of all outputs together."""

    sums: int
    call: Call


@planned
def _prepare(left: _Kind, right: _Kind, accumulator: Any, dtype: Any) -> _SmallProduct | None:
    """Prepare the product of operands of two kinds, or return None if one call of a loop cannot do it."""
    a, b = _example(left), _example(right)
    try:
        if accumulator is None:
            accumulator = unit_of_operands(("a", a, -1), ("b", b, -2))
        unit, kind = as_accumulator(accumulator), checked_dtype(dtype)
        sides = checked_operand("a", a, unit), checked_operand("b", b, unit)
        shapes, plan = Shapes(*sides), plan_scales(*sides, unit)
    except (TypeError, ValueError):  # the general way raises it
        return None
    count = math.prod(shapes.sizes) * shapes.length
    if kind != np.float32 or not count or TF32 in (sides[0].fmt, sides[1].fmt):
        return None
    epilogue = apply_plan(plan, *(read_scales(side) for side in sides))
    spans = spans_of(epilogue.unit or epilogue.groups)
    small = None if spans is None else unit.small_sum(sides[0].fmt, sides[1].fmt, spans)
    return None if small is None else _SmallProduct(count, _call(small, sides, shapes, plan))


def _call(small: SmallSum, sides: tuple[Checked, Checked], shapes: Shapes, plan: ScalePlan) -> Call:
    """Return the product of operands of two kinds by a prepared sum."""
    left_fmt, right_fmt, result = sides[0].fmt, sides[1].fmt, shapes.result
    matrices, scaled = (shapes.left_matrix, shapes.right_matrix), plan.way is not Way.NONE

    def call(a: Any, b: Any) -> Array | None:
        left, right = _checked("a", a, left_fmt), _checked("b", b, right_fmt)
        epilogue = apply_plan(plan, read_scales(left), read_scales(right)) if scaled else NO_SCALES
        stacks = stack_codes(left.codes, 0), stack_codes(right.codes, 1)
        sums = small.run(*stacks, matrices, epilogue.unit or epilogue.groups, None)
        if sums is None:
            return None
        multiply_by_scales(sums, epilogue.factors)
        return sums.reshape(result)

    return call


def _checked(name: str, x: Any, fmt: Format) -> Checked:
    """Return an operand whose type is known to be right, once its codes are found to be."""
    if type(x) is np.ndarray:
        return Checked(name, clean_codes(x, fmt, f"{name}: codes"), fmt, None)
    return Checked(name, clean_codes(x.codes, fmt, f"{name}: codes"), fmt, x)
