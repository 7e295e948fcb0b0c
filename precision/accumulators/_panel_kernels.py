"""The choice of the fastest kernel over panels whose result is exact for a product."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import numpy as np

from precision._support._types import Array
from precision.accumulators._inner_scales import InnerScales, ScaledGroups
from precision.accumulators._kernel_records import as_unit
from precision.accumulators._operand_layout import Stack, exponents, values
from precision.accumulators._product import Product, scale_parts
from precision.accumulators._step import Step
from precision.formats._named import Format
from precision.formats._rounding_modes import Rounding


class PanelKernel(NamedTuple):
    """A compiled kernel over panels of the right operand, with the sizes and types of its arrays.

    ``depth`` is the length of K that suits a chunk, ``lanes`` the number of columns that the kernel sums at
    once, and ``halves`` is 2 if positive and negative products are summed apart, else 1. ``real`` and
    ``exponent`` are the types of the right operand's values and exponents, ``left_exponent`` that of the left
    one's; ``apart`` tells whether the left operand's signs are apart from its values.
    """

    name: str
    depth: int
    halves: int
    lanes: int = 64
    real: type[np.floating[Any]] = np.float32
    exponent: type[np.signedinteger[Any]] = np.int8
    left_exponent: type[np.integer[Any]] = np.int8
    apart: bool = False


NARROW = PanelKernel("Narrow", 32, 2, left_exponent=np.uint32, apart=True)
INTEGER = PanelKernel("Integer", 64, 1, left_exponent=np.uint32)
WIDE = PanelKernel("Wide", 32, 2, 32, np.float64, np.int16, np.int16)
CHAIN = PanelKernel("Chain", 64, 1)
GROUPED = PanelKernel("Grouped", 64, 1, left_exponent=np.uint32)


def choose_kernel(product: Product, step: Step) -> tuple[PanelKernel | None, int, int]:
    """Choose the fastest kernel over panels whose result is exact for a product and a step that aligns.

    Returns the kernel, and for the left and the right operand the exponent that its elements' exponents are
    counted from. None in place of a kernel says that only the general kernel is exact. Comments of the
    kernels prove the conditions.
    """
    if step.inner is not None:
        return _choose_scaled(product, step, step.inner)
    if step.alignment_rounding is not Rounding.TOWARD_ZERO:
        return None, 0, 0
    candidates = _float32_kernels(step, product.left.fmt, product.right.fmt)
    if candidates:
        (low_a, high_a), (low_b, high_b) = exponents(product.left), exponents(product.right)
        near = max(high_a - low_a, high_b - low_b) <= 62
        for kernel, reach in candidates:
            inside = -reach <= low_a + low_b and high_a + high_b <= reach
            if near and inside and _starts_within(product, -reach, 100):
                return kernel, high_a, high_b
    return (WIDE, 0, 0) if _suits_wide(step) else (None, 0, 0)


@functools.lru_cache(maxsize=256)
def _float32_kernels(step: Step, left: Format, right: Format) -> list[tuple[PanelKernel, int]]:
    """List the float32 kernels that suit a step and two formats, with the exponents that each reaches."""
    assert step.fraction_bits is not None
    if not as_unit(step).register_mask or left.fraction_bits + right.fraction_bits + 2 > 24:
        return []
    narrow = step.fraction_bits + 2 + step.products.bit_length() <= 23
    integer = step.fraction_bits <= 25 and _fits_int32_parts(step, left, right)
    return [candidate for candidate, suits in (((NARROW, 60), narrow), ((INTEGER, 100), integer)) if suits]


def _suits_wide(step: Step) -> bool:
    """Tell whether the *wide* kernel, which sums in float64, is exact for a step."""
    assert step.fraction_bits is not None and step.min_exponent is not None
    return step.fraction_bits + 2 + step.products.bit_length() <= 52 and step.min_exponent >= -300


def largest_term(left: Format, right: Format) -> float:
    """Return the largest product of two significands of these formats."""
    return (2 - 2.0**-left.fraction_bits) * (2 - 2.0**-right.fraction_bits)


def _fits_int32_parts(step: Step, left: Format, right: Format) -> bool:
    """Tell whether the sum of a step's cut terms and register fits the *integer* kernel's 2**32."""
    assert step.fraction_bits is not None
    most = (step.products * largest_term(left, right) + 2) * 2.0**step.fraction_bits
    return most <= 2.0**32 - 2.0**11  # less what the low bytes of the joined sums come to


def _mark_groups_in_use(stack: Stack, axis: int, group: int) -> Array:
    """Mark the groups with an element that is not zero, [matrix][group of K][row or column]."""
    nonzero = values(stack) != 0  # NaN and Inf as well
    starts = np.arange(0, stack.codes.shape[axis], group)
    found: Array = np.logical_or.reduceat(nonzero, starts, axis=axis)
    return found.swapaxes(1, 2) if axis == 2 else found


def _choose_scaled(product: Product, step: Step, inside: InnerScales) -> tuple[PanelKernel | None, int, int]:
    """Choose a kernel over panels, as `choose_kernel` does, for a unit that applies scales itself."""
    assert step.fraction_bits is not None
    general, scales = (None, 0, 0), product.unit_scales
    if scales is None or not as_unit(step).register_mask:
        return general
    if step.alignment_rounding is not Rounding.TOWARD_ZERO:
        return general
    (low_a, high_a), (low_b, high_b) = exponents(product.left), exponents(product.right)
    near = max(high_a - low_a, high_b - low_b) <= 62
    width, terms = step.fraction_bits + 2, step.products
    if isinstance(inside, ScaledGroups):
        top, bottom = inside.headroom((product.left.fmt, product.right.fmt))  # type: ignore[arg-type]
        factor = scales.left_format.fraction_bits + scales.right_format.fraction_bits + 2
        sums = (step.products // inside.n).bit_length() + 1
        exact = top + bottom <= 24 and top + bottom + factor <= 53 and min(low_a, low_b) >= -126
        return (GROUPED, high_a, high_b) if near and exact and width + top + sums <= 52 else general
    if any(group % terms and group < product.length for group in (scales.left_group, scales.right_group)):
        return general
    sides = (
        (scales.left, scales.left_format, scales.left_group, product.left, 2),
        (scales.right, scales.right_format, scales.right_group, product.right, 1),
    )
    low, high = low_a + low_b, high_a + high_b
    for scale, fmt, group, stack, axis in sides:
        if (scale == 0).any():  # the *integer* kernel reads only a scale's exponent, which zero lacks
            return general
        kept = np.isfinite(scale)
        exponent = scale_parts(scale, fmt)[0]
        if (np.abs(exponent[kept]) > 50).any():
            # The scales of groups of zeros, which are the smallest ones, do not count.
            kept &= _mark_groups_in_use(stack, axis, group)
        found = exponent[kept]
        low, high = low + int(found.min(initial=0)), high + int(found.max(initial=0))
    significands = sum(stack.fmt.fraction_bits + 1 for stack in (product.left, product.right))
    suits = (
        significands <= 24
        and step.fraction_bits <= 25
        and _fits_int32_parts(step, product.left.fmt, product.right.fmt)
    )
    if near and suits and low >= -100 and high <= 100 and _starts_within(product, -100, 100):
        return INTEGER, high_a, high_b
    return general


def _starts_within(product: Product, lowest: int, highest: int) -> bool:
    """Tell whether every register starts at zero or with an exponent in a range."""
    if product.promotion or product.start is None:
        return True
    size = np.abs(product.start)
    with np.errstate(invalid="ignore"):
        inside = (size == 0) | ((size >= 2.0**lowest) & (size < 2.0 ** (highest + 1)))
    return bool(inside.all())
