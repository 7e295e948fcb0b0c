"""How far a quantized element can lie from its original, by what the spec says and the scale that it got."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from precision._support._types import Array
from precision.bounds._running_error import NEAREST, top_powers
from precision.formats._float_format import FloatFormat
from precision.formats._rounding_modes import Overflow, Stochastic
from precision.quantization._granularity import filled
from precision.quantization._quant_spec import QuantSpec
from precision.quantization._quantized_tensor import QuantizedTensor
from precision.quantization._scale_rules import Arithmetic


class Conversion(NamedTuple):
    """An operand before and after: |original - used| <= rounding + certain, elementwise, all float64."""

    original: Array
    used: Array
    rounding: Array  #: of roundings to nearest, or stochastic ones
    certain: Array  #: clipping, directed rounding, the bias of few random bits, the quotient's own rounding

    @property
    def change(self) -> Array:
        """The bound on |original - used|."""
        return self.rounding + self.certain


def untouched(x: Array) -> Conversion:
    """An operand that is what the caller gave."""
    nothing = np.zeros(x.shape)
    return Conversion(x, x, nothing, nothing)


def known(original: Array, used: Array) -> Conversion:
    """An operand whose change is known."""
    with np.errstate(invalid="ignore"):
        change = np.abs(original - used)
    return Conversion(original, used, np.zeros(change.shape), np.where(np.isnan(change), np.inf, change))


def quantizing(x: Array, q: QuantizedTensor, spec: QuantSpec) -> Conversion:
    """What ``spec`` lets happen to the elements of ``x`` under the scales of ``q``."""
    original = x.astype(np.float64)
    used = q.dequantize(np.float64)
    scale = _spread(q.multipliers().astype(np.float64), q)
    with np.errstate(all="ignore"):
        rounding, certain = _elements(original, scale, spec, 53 if x.dtype == np.float64 else 24)
        rounding, certain = rounding * scale, certain * scale
        zero = scale == 0  # whatever the code, its value is zero
        lost = ~(np.isfinite(scale) & np.isfinite(original))
        if spec.arithmetic is not Arithmetic.DIVISION:  # reciprocals out of range are clipped
            zero |= scale < 2.0**-120
        rounding = np.where(zero | lost, 0, rounding)
        certain = np.where(zero, np.abs(original) + spec.fmt.max * scale, certain)
    return Conversion(original, used, rounding, np.where(lost, np.inf, certain))


def _spread(scale: Array, q: QuantizedTensor) -> Array:
    """One multiplier for each element."""
    for axis, (size, step) in enumerate(zip(q.shape, filled(q.block, q.shape), strict=True)):
        if scale.shape[axis] == 1:
            continue
        scale = np.repeat(scale, step, axis=axis).take(np.arange(size), axis=axis) if step > 1 else scale
    return np.broadcast_to(scale, q.shape)


def _elements(x: Array, scale: Array, spec: QuantSpec, digits: int) -> tuple[Array, Array]:
    """The two parts in units of the scale; see `Conversion`."""
    fmt, rounding = spec.fmt, spec.rounding
    size = np.abs(x) / scale
    # Division: one rounding. Products with a rounded reciprocal: two more, the reciprocal perhaps subnormal.
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
    # Above the largest value: what is cut off, and for roundings other than to nearest perhaps a step below.
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
