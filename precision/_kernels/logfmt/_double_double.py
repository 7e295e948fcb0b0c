"""Powers and logarithms of 2 to about 100 bits, for decisions that float64 leaves open.

A number is a *pair*, an unevaluated sum ``(high, low)`` of two float64 (Dekker 1971). Nothing here is fast;
relative errors stay below 2**-96 for arguments up to 2**11, well below the 2**-90 that callers take as equal.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from precision._kernels._jit import jit
from precision._kernels._llvm_scalars import fused_multiply_add

LN2 = (0.6931471805599453, 2.3190468138462996e-17)
LOG2E = (1.4426950408889634, 2.0355273740931033e-17)


@jit
def two_sum(a: Any, b: Any) -> Any:
    """Return ``a + b`` exactly."""
    total = a + b
    part = total - a
    return total, (a - (total - part)) + (b - part)


@jit
def two_product(a: Any, b: Any) -> Any:
    """Return ``a * b`` exactly, where neither it nor its error leaves the range."""
    product = a * b
    return product, fused_multiply_add(a, b, -product)


@jit
def add(a: Any, b: Any) -> Any:
    """Return ``a + b``, of pairs."""
    high, low = two_sum(a[0], b[0])
    more, rest = two_sum(a[1], b[1])
    high, low = two_sum(high, low + more)
    return two_sum(high, low + rest)


@jit
def multiply(a: Any, b: Any) -> Any:
    """Return ``a * b``, of pairs."""
    high, low = two_product(a[0], b[0])
    return two_sum(high, low + (a[0] * b[1] + a[1] * b[0]))


@jit
def divide(a: Any, b: Any) -> Any:
    """Return ``a / b`` of a pair by a float64."""
    first = a[0] / b
    product, error = two_product(first, b)
    rest = ((a[0] - product) - error + a[1]) / b
    return two_sum(first, rest)


@jit
def exp2(x: Any) -> Any:
    """Return ``2**x`` of a pair, exact for whole numbers; it and its inverse must be normal in float64."""
    whole = np.floor(x[0] + 0.5)
    rest = multiply(two_sum(x[0] - whole, x[1]), LN2)
    # |rest| <= 0.3466: the next term of the series is below 2**-108.
    total = (1.0, 0.0)
    for n in range(24, 0, -1):
        total = add((1.0, 0.0), divide(multiply(total, rest), float(n)))
    power = np.float64(2.0) ** whole
    return total[0] * power, total[1] * power


@jit
def log2(x: float) -> Any:
    """Return ``log2(x)`` of a positive float64 as a pair; exact for powers of two."""
    fraction, exponent = math.frexp(x)
    if fraction < 0.7071067811865476:
        fraction, exponent = fraction * 2.0, exponent - 1
    start = np.log2(fraction)
    power = exp2((start, 0.0))
    # log2(fraction) = start + log2(1 + excess), with an excess of some 2**-53
    difference = add((fraction, 0.0), (-power[0], -power[1]))
    excess = divide(difference, power[0])
    excess = add(excess, (-0.5 * excess[0] * excess[0] - excess[0] * power[1] / power[0], 0.0))
    return add((float(exponent), 0.0), add((start, 0.0), multiply(excess, LOG2E)))
