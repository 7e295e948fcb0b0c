"""A checked product, and which kernel is exact for it and a unit."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from precision._support._types import Array
from precision.accumulators._accumulator import FusedSum
from precision.accumulators._inner_scales import ScaledGroups
from precision.accumulators._kernel_records import as_unit
from precision.accumulators._operand_layout import Stack, Tables, exponents, tables, values
from precision.accumulators._product import Product, scale_parts
from precision.formats._rounding_modes import Rounding


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
GROUPED = Way("Grouped", 64, 1)


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
        integer = unit.fraction_bits <= 25 and _fits_int32_parts(product, unit)
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


def largest_term(product: Product) -> float:
    """The largest product of two significands."""
    return math.prod(2 - 2.0**-stack.fmt.fraction_bits for stack in (product.left, product.right))


def _fits_int32_parts(product: Product, unit: FusedSum) -> bool:
    """Whether a step's cut terms and register stay within the 2**32 that `advance_integer` joins."""
    return (unit.products * largest_term(product) + 2) * 2.0**unit.fraction_bits <= 2.0**32


def _in_use(stack: Stack, axis: int, group: int) -> Array:
    """Whether any element under a scale is not zero, [matrix][group of K][row or column]; K is ``axis``."""
    some = tables(stack, 0, np.dtype(np.int16))
    nonzero = (some.values != 0).take(stack.codes) if some.values.size else values(stack) != 0
    starts = np.arange(0, stack.codes.shape[axis], group)
    found = np.logical_or.reduceat(nonzero | _special(some, stack), starts, axis=axis)
    return found.swapaxes(1, 2) if axis == 2 else found


def _special(some: Tables, stack: Stack) -> Array:
    return some.special.take(stack.codes) if some.values.size else some.special


def _choose_scaled(product: Product, unit: FusedSum) -> tuple[Way | None, int, int]:
    """The same for a unit that takes scales itself."""
    general, scales, inside = (None, 0, 0), product.unit_scales, unit.scale_in_unit
    if scales is None or not as_unit(unit).register_mask:
        return general
    if unit.alignment_rounding is not Rounding.TOWARD_ZERO:
        return general
    (low_a, high_a), (low_b, high_b) = exponents(product.left), exponents(product.right)
    near = max(high_a - low_a, high_b - low_b) <= 62
    width, terms = unit.fraction_bits + 2, unit.products
    if isinstance(inside, ScaledGroups):
        top, bottom = inside.headroom((product.left.fmt, product.right.fmt))  # type: ignore[arg-type]
        factor = scales.left_format.fraction_bits + scales.right_format.fraction_bits + 2
        sums = (unit.products // inside.n).bit_length() + 1
        exact = top + bottom <= 24 and top + bottom + factor <= 53
        return (GROUPED, high_a, high_b) if near and exact and width + top + sums <= 52 else general
    if any(group % terms and group < product.length for group in (scales.left_group, scales.right_group)):
        return general
    sides = (
        (scales.left, scales.left_format, scales.left_group, product.left, 2),
        (scales.right, scales.right_format, scales.right_group, product.right, 1),
    )
    low, high = low_a + low_b, high_a + high_b
    for scale, fmt, group, stack, axis in sides:
        if (scale == 0).any():  # the integer way knows scales by their exponents
            return general
        kept = np.isfinite(scale)
        exponent = scale_parts(scale, fmt)[0]
        if (np.abs(exponent[kept]) > 50).any():
            kept &= _in_use(stack, axis, group)  # blocks of zeros have the smallest scales
        found = exponent[kept]
        low, high = low + int(found.min(initial=0)), high + int(found.max(initial=0))
    significands = sum(stack.fmt.fraction_bits + 1 for stack in (product.left, product.right))
    suits = significands <= 24 and unit.fraction_bits <= 25 and _fits_int32_parts(product, unit)
    if near and suits and low >= -100 and high <= 100 and _starts_within(product, -100, 100):
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
