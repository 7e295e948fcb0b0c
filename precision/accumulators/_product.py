"""A product whose arguments are checked: operands, scales, and what the sums start from."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from precision._support._types import Array
from precision.accumulators._operand_layout import Stack
from precision.formats._float_format import FloatFormat


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


class Factors(NamedTuple):
    """An operand's scales for an exact sum, float64 [matrix][group of K][row or column], and K under one."""

    values: Array
    group: int


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
    exact_factors: tuple[Factors, Factors] | None = None  #: of an exact sum

    @property
    def shape(self) -> tuple[int, int, int]:
        return len(self.left_matrix), self.left.codes.shape[1], self.right.codes.shape[2]

    @property
    def length(self) -> int:
        return int(self.left.codes.shape[2])


def scale_parts(values: Array, fmt: FloatFormat) -> tuple[Array, Array]:
    """Exponents and significands of scales: ``value = significand * 2**(exponent - fraction_bits)``.

    Those of scales that are NaN or Inf mean nothing.
    """
    finite = np.where(np.isfinite(values), values, np.float32(0)).astype(np.float64)
    exponents = np.maximum(np.frexp(finite)[1] - 1, fmt.min_exponent)
    significands = np.ldexp(finite, fmt.fraction_bits - exponents)
    return exponents.astype(np.int32), significands.astype(np.int64)
