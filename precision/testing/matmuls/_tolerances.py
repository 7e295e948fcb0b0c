"""The proven bound of the error of a GEMM that need not be bit-exact, for any order of its steps."""

from __future__ import annotations

import math

import numpy as np

from precision._support._types import Array
from precision.bounds._closed_forms import unit_roundoff
from precision.bounds._whole_product import error_bound
from precision.formats._codec import decode, round_to
from precision.formats._named import FP32, TF32
from precision.formats._rounding_modes import Overflow, Rounding
from precision.gemm._matrix_product import matmul
from precision.testing.matmuls._problem import Declared, Problem
from precision.units._plain_arithmetic import EXACT


def exact(p: Problem, d: Declared) -> Array:
    """Return the exact product of the operands as the unit reads them, in float64."""
    if TF32 not in d.formats:
        return matmul(p.operand(d, 0), p.operand(d, 1), accumulator=EXACT, c=p.c, dtype=np.float64)
    cut = (
        round_to(x, TF32, rounding=Rounding.TOWARD_ZERO, overflow=Overflow.NON_SATURATING) for x in (p.a, p.b)
    )
    a, b = (np.asarray(x, np.float32) for x in cut)
    return matmul(a, b, accumulator=EXACT, c=p.c, dtype=np.float64)


def sizes(p: Problem, d: Declared, side: int) -> Array:
    """Return magnitudes times scales; a subnormal counts as the smallest normal number, as it aligns."""
    fmt, x = d.formats[side], np.abs(np.asarray((p.a, p.b)[side], np.float64))
    size = np.where(x > 0, np.maximum(x, 2.0**fmt.min_exponent), 0.0)
    scale = p.scales[side]
    if scale is None:
        return size
    spec = d.specs[side]
    assert spec is not None
    whole = np.asarray(decode(p.scale_codes(d, side), spec.scale_format), np.float64)
    if d.accumulator.inner_scales is not None and spec.scale_format.fraction_bits:
        whole = np.exp2(np.ceil(np.log2(whole)))  # terms align at the scales' exponents
    for axis, each in enumerate(d.block(side, x.shape)):
        whole = np.repeat(whole, x.shape[axis] if each is None else each, axis=axis).take(
            range(x.shape[axis]), axis
        )
    second = p.second[side]
    return np.asarray(size * whole * (1.0 if second is None else float(second)))


def bound(p: Problem, d: Declared) -> Array:
    """Return the largest error of each output; Inf where the sum may overflow.

    The larger one of two bounds. `precision.bounds.error_bound` follows the declared arithmetic on the data
    in the declared order. `precision.bounds.aligned_truncation` (and gamma, for fused multiply-adds) bounds
    the sum relative to the magnitudes of its terms, whichever way they are ordered and grouped into steps;
    roundings of partial sums that are joined, of scales and of the result are added to it.
    """
    with np.errstate(all="ignore"):
        majorant = sizes(p, d, 0) @ sizes(p, d, 1)
        unit, step, k = d.accumulator, d.accumulator.step, p.length
        inner, floor = 0.0, 0.0
        if step is not None and step.fraction_bits is not None and step.min_exponent is not None:
            terms = step.terms
            if step.inner and step.inner.group:
                # A group's sum may be far below the exponents of its scales, at which it aligns.
                majorant = majorant + _scale_sizes(p, d)
            steps = -(-k // step.products)
            # Half of a term is the most that a last place is off when rounded; a whole one covers all modes.
            lost = (terms + 1) * 2.0**-step.fraction_bits
            held = unit_roundoff(step.register, step.register_rounding)
            inner = steps * math.log1p(lost + held + lost * held)
            least = step.register.min_exponent - step.register.fraction_bits
            floor = steps * ((terms + 1) * 2.0 ** (step.min_exponent - step.fraction_bits) + 2.0**least)
            inside = majorant * terms < step.register.max / 4
        else:
            inner = (k + 1) * math.log1p(2.0**-24) if step else 0.0
            floor = k * 2.0**-149 if step else 0.0
            inside = majorant < d.output.max / 4
        c = np.zeros(()) if p.c is None else np.abs(np.asarray(p.c, np.float64)) * _largest_scale(p, d)
        majorant = majorant + c
        partial = max(4, -(-k // (unit.promotion or k or 1)))
        joined = (partial + 6) * math.log1p(2.0**-23)
        result = unit_roundoff(d.output) if d.output != FP32 else 0.0
        least = d.output.min_exponent - d.output.fraction_bits
        factor = math.expm1(inner + joined + math.log1p(result))
        free = factor * majorant + (floor + 2.0**-149) * _largest_scale(p, d) + 2.0**least
        free = np.where(inside & (majorant < d.output.max / 4) & np.isfinite(free), free, np.inf)
        ordered = error_bound(None, unit, p.operand(d, 0), p.operand(d, 1), c=p.c, dtype=d.dtype).total
        return np.where(np.isfinite(ordered), np.maximum(free, ordered), np.inf)


def _largest_scale(p: Problem, d: Declared) -> float:
    """Return the product of the largest scales, at least 1."""
    found = 1.0
    for scale, second in zip(p.scales, p.second, strict=True):
        found *= 1.0 if scale is None else float(np.max(scale))
        found *= 1.0 if second is None else float(second)
    return max(1.0, found)


def _scale_sizes(p: Problem, d: Declared) -> Array:
    """Return the sums of `sizes` of products, with each element that is not zero taken for one."""
    a, b = (np.where(x != 0, 1.0, 0.0).astype(np.float32) for x in (p.a, p.b))
    ones = Problem(a, b, scales=p.scales, second=p.second)
    return np.asarray(sizes(ones, d, 0) @ sizes(ones, d, 1))


def too_far(reference: Array, got: Array, limit: Array) -> Array:
    """Return where a result is further off than its bound; NaN must be NaN, and Inf that Inf or NaN."""
    with np.errstate(all="ignore"):
        off = np.abs(got - reference) > limit
    wrong = np.where(np.isnan(got) & np.isfinite(limit), True, off)
    wrong = np.where(np.isnan(reference), ~np.isnan(got), wrong)
    return np.asarray(np.where(np.isinf(reference), np.isfinite(got), wrong))
