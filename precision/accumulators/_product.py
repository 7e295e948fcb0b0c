"""The record of a product whose arguments are checked: operands, scales and the starts of the sums."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from precision._support._types import Array
from precision.accumulators._operand_layout import Stack
from precision.formats._float_format import FloatFormat


class GroupScales(NamedTuple):
    """Scales that multiply a register when it is promoted, and the lengths of K under one scale.

    The arrays are float32 [matrix][group of K][row or column].
    """

    left: Array
    left_group: int
    right: Array
    right_group: int
    partial_first: bool  #: if true fma(fl(partial*sa), sb, total), else fma(partial, fl(sa*sb), total)


class UnitScales(NamedTuple):
    """Scales that a unit applies itself, their formats, and the lengths of K under one scale.

    The arrays are float32 [matrix][group of K][row or column].
    """

    left: Array
    left_group: int
    left_format: FloatFormat
    right: Array
    right_group: int
    right_format: FloatFormat


class Factors(NamedTuple):
    """An operand's scales as factors of an exact sum, and the length of K under one scale.

    The array is float64 [matrix][group of K][row or column].
    """

    values: Array
    group: int


class Product(NamedTuple):
    """A checked product: two stacks of matrices, and the left and right matrix of each result."""

    left: Stack
    right: Stack
    left_matrix: Array
    right_matrix: Array
    promotion: int | None
    scales: GroupScales | None
    start: Array | None  #: starts of the sums, float32 (results, rows, columns)
    unit_scales: UnitScales | None = None
    exact_factors: tuple[Factors, Factors] | None = None  #: scales of an exact sum

    @property
    def shape(self) -> tuple[int, int, int]:
        """Numbers of results, rows and columns."""
        return len(self.left_matrix), self.left.codes.shape[1], self.right.codes.shape[2]

    @property
    def length(self) -> int:
        """Number of products in each sum (K)."""
        return int(self.left.codes.shape[2])


def scale_parts(values: Array, fmt: FloatFormat) -> tuple[Array, Array]:
    """Split scales into exponents and whole significands.

    A scale is ``significand * 2**(exponent - fraction_bits)``; the parts of NaN and Inf mean nothing.
    """
    finite = np.where(np.isfinite(values), values, np.float32(0)).astype(np.float64)
    exponents = np.maximum(np.frexp(finite)[1] - 1, fmt.min_exponent)
    significands = np.ldexp(finite, fmt.fraction_bits - exponents)
    return exponents.astype(np.int32), significands.astype(np.int64)
