"""Bounds on the change that quantizing makes to an element, from its spec and the scale that it got."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from precision._support._types import Array
from precision.bounds._running_error import NEAREST, top_powers
from precision.formats._float_format import FloatFormat
from precision.formats._rounding_modes import Overflow, Stochastic
from precision.quantization._granularity import clip_block
from precision.quantization._quant_spec import QuantSpec
from precision.quantization._quantized_tensor import QuantizedTensor
from precision.quantization._scale_rules import Arithmetic


class Conversion(NamedTuple):
    """An operand before and after its conversion, with |original - used| <= rounding + certain elementwise.

    All arrays are float64.
    """

    original: Array
    used: Array
    rounding: Array  #: the part from rounding to nearest or stochastically
    certain: (
        Array  #: from clipping, directed rounding, the quotient's rounding and the bias of few random bits
    )

    @property
    def change(self) -> Array:
        """The bound on |original - used|."""
        return self.rounding + self.certain


def record_unchanged(x: Array) -> Conversion:
    """Return the conversion of an operand that the unit is given as it is."""
    nothing = np.zeros(x.shape)
    return Conversion(x, x, nothing, nothing)


def record_change(original: Array, used: Array) -> Conversion:
    """Return the conversion of an operand whose converted values are known, so that its bound is exact."""
    with np.errstate(invalid="ignore"):
        change = np.abs(original - used)
    return Conversion(original, used, np.zeros(change.shape), np.where(np.isnan(change), np.inf, change))


def bound_quantization(x: Array, q: QuantizedTensor, spec: QuantSpec) -> Conversion:
    """Bound the change that ``spec`` can make to each element of ``x`` under the scales of ``q``."""
    original = x.astype(np.float64)
    used = q.dequantize(np.float64)
    scale = _expand_scales(q.multipliers().astype(np.float64), q)
    with np.errstate(all="ignore"):
        rounding, certain = _bound_elements(original, scale, spec, 53 if x.dtype == np.float64 else 24)
        rounding, certain = rounding * scale, certain * scale
        zero = scale == 0  # under a scale of zero every code has the value zero
        lost = ~(np.isfinite(scale) & np.isfinite(original))
        if spec.arithmetic is not Arithmetic.DIVISION:  # a reciprocal beyond float32's range is clipped
            zero |= scale < 2.0**-120
        rounding = np.where(zero | lost, 0, rounding)
        certain = np.where(zero, np.abs(original) + spec.fmt.max * scale, certain)
    return Conversion(original, used, rounding, np.where(lost, np.inf, certain))


def _expand_scales(scale: Array, q: QuantizedTensor) -> Array:
    """Return one multiplier for each element."""
    for axis, (size, step) in enumerate(zip(q.shape, clip_block(q.block, q.shape), strict=True)):
        if scale.shape[axis] == 1:
            continue
        scale = np.repeat(scale, step, axis=axis).take(np.arange(size), axis=axis) if step > 1 else scale
    return np.broadcast_to(scale, q.shape)


def _bound_elements(x: Array, scale: Array, spec: QuantSpec, digits: int) -> tuple[Array, Array]:
    """Return the two bounds of `Conversion`, rounding and certain, in units of the scale."""
    fmt, rounding = spec.fmt, spec.rounding
    size = np.abs(x) / scale
    # A division rounds once. A product with a rounded reciprocal rounds twice more, and the reciprocal may be
    # subnormal.
    relative = 2.0 ** (1 - digits) if spec.arithmetic is Arithmetic.DIVISION else 2.0**-20
    quotient = size * relative + 2.0**-148
    size = size + quotient
    if isinstance(fmt, FloatFormat):
        step = np.maximum(top_powers(size), fmt.min_normal) * 2.0**-fmt.fraction_bits
        top_step = 2.0 ** (fmt.max_exponent - fmt.fraction_bits)
    else:
        top_step = 2.0**-fmt.fraction_bits
        step = np.full(size.shape, top_step)
    nearest = rounding in NEAREST
    part = step / 2 if nearest else step
    modelled = nearest or isinstance(rounding, Stochastic)
    certain = quotient + (0 if modelled else part)
    if isinstance(rounding, Stochastic):
        certain = certain + step * 2.0**-rounding.bits
    part = part if modelled else np.zeros(size.shape)
    # An element above the largest value loses what is cut off, and where rounding is not to nearest perhaps
    # one step more.
    above = size > fmt.max
    excess = size - fmt.max + 2 * quotient
    if not nearest:
        excess = np.maximum(excess, top_step + quotient)
    if spec.overflow is Overflow.NON_SATURATING:
        over = size >= fmt.max + top_step / 2 if nearest else above
        excess = np.where(over, np.inf, excess)
    negative = x < 0
    if not fmt.signed:
        above = above | negative
        worst = np.inf if spec.overflow is Overflow.NON_SATURATING else size
        excess = np.where(negative, worst, excess)
    return np.where(above, 0, part), np.where(above, excess, certain)
