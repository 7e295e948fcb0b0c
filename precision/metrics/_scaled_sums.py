"""Sums over the whole range of float64, of squares and of magnitudes, each with the exponent of a factor.

Squares of numbers below 2**-537 underflow and those of numbers above 2**512 overflow, though the quotient of
two norms would be an ordinary number. So numbers are multiplied by a power of two first, which is exact, but
only where their sum would be near the ends of the range: an ordinary sum has the bits of a plain one.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Float64Array = npt.NDArray[np.float64]

# Between these limits a sum of squares has lost nothing: each square that underflowed is below 2**-1074, and
# even 2**60 of them lie far below the last bit of the sum.
_LEAST, _MOST = 2.0**-900, 2.0**1000
_SPREAD = 62
"""Binades by which a sum of as many numbers as fit into memory may exceed the largest of them."""


class ScaledSum(NamedTuple):
    """Numbers that stand for ``values * 2**exponent``, and a sum over ``values``."""

    values: Float64Array
    exponent: int
    total: float


def multiply_by_power(value: float, exponent: int) -> float:
    """Return ``value * 2**exponent``, which may overflow to Inf or underflow."""
    with np.errstate(over="ignore", under="ignore"):
        return float(np.ldexp(value, max(-5000, min(5000, exponent))))


def normalize(x: npt.NDArray[Any]) -> tuple[Float64Array, int]:
    """Return ``(y, e)`` with ``x = y * 2**e``, the largest magnitude of y at least 1/2 and below 1.

    Arrays of zeros, arrays with NaN or Inf and arrays without elements come back as they are. An element of
    2**-1074 of the largest magnitude or less may become zero.
    """
    largest = float(np.abs(x).max(initial=0.0))
    if largest == 0 or not math.isfinite(largest):
        return x, 0
    exponent = math.frexp(largest)[1]
    with np.errstate(under="ignore"):
        return np.ldexp(x, -exponent), exponent


def sum_squares(x: Float64Array) -> ScaledSum:
    """Sum the squares of the elements, as ``total * 4**exponent``, the same for any number of threads."""
    total = _sum_of_squares(x)
    if _LEAST <= total <= _MOST or math.isnan(total):
        return ScaledSum(x, 0, total)
    y, exponent = normalize(x)
    return ScaledSum(y, exponent, _sum_of_squares(y) if exponent else total)


def sum_magnitudes(x: Float64Array) -> ScaledSum:
    """Sum the magnitudes of the elements, as ``total * 2**exponent``."""
    size = np.abs(x)
    total = _plain_sum(size)
    if _LEAST <= total <= _MOST or math.isnan(total):
        return ScaledSum(size, 0, total)
    y, exponent = normalize(size)
    return ScaledSum(y, exponent, _plain_sum(y) if exponent else total)


def subtract(x: Float64Array, y: Float64Array) -> tuple[Float64Array, int]:
    """Return ``(d, e)`` with ``x - y = d * 2**e``; e is 0 unless a difference of finite numbers overflows."""
    try:
        with np.errstate(over="raise", invalid="ignore"):  # Inf - Inf is NaN
            return x - y, 0
    except FloatingPointError:
        with np.errstate(under="ignore", invalid="ignore"):
            return x / 2 - y / 2, 1


def sum_signed(x: Float64Array) -> tuple[float, int]:
    """Sum the elements, as ``total * 2**exponent``; the exponent is 0 unless the plain sum overflows."""
    try:
        with np.errstate(over="raise", invalid="ignore"):
            return float(np.sum(x)), 0
    except FloatingPointError:
        with np.errstate(under="ignore", invalid="ignore"):
            return float(np.sum(np.ldexp(x, -_SPREAD))), _SPREAD


def add_scaled(one: tuple[float, int], other: tuple[float, int], *, base: int) -> tuple[float, int]:
    """Add two numbers given as ``total`` and ``exponent`` of ``total * 2**(base * exponent)``.

    The result has the exponent of one of them.
    """
    if one[1] == other[1]:
        return one[0] + other[0], one[1]
    if 0.0 in (one[0], other[0]):
        return one if other[0] == 0 else other
    small, large = sorted((one, other), key=lambda pair: pair[1])
    return multiply_by_power(small[0], base * (small[1] - large[1])) + large[0], large[1]


def _sum_of_squares(x: Float64Array) -> float:
    """Sum the squares of the elements without scaling them, perhaps to Inf."""
    with np.errstate(over="ignore", under="ignore"):
        return float(np.sum(x * x))


def _plain_sum(x: Float64Array) -> float:
    """Sum the elements without scaling them, perhaps to Inf."""
    with np.errstate(over="ignore"):
        return float(np.sum(x))
