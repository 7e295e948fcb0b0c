"""The fields of a `QuantSpec`, and the checks of their types, their ranges and their combinations."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from precision._support._hashed_once import HashedOnce
from precision.formats._float_format import FloatFormat
from precision.formats._int_format import IntFormat
from precision.formats._named import FP32, FP64, Format
from precision.formats._rounding_modes import Overflow, Rounding, Stochastic
from precision.quantization._granularity import Granularity, PerGroup
from precision.quantization._scale_rules import Arithmetic, NonFinite, ScaleRule


@dataclass(frozen=True)
class SpecFields(HashedOnce):
    """The fields of a `QuantSpec`, which are all that the loops read of a spec; `QuantSpec` explains them."""

    fmt: Format
    granularity: Granularity
    scale_format: FloatFormat = field(default=FP32, kw_only=True)
    scale_rule: ScaleRule = field(default=ScaleRule.AMAX, kw_only=True)
    tensor_scale: bool = field(default=False, kw_only=True)
    rounding: Rounding | Stochastic = field(default=Rounding.TIES_TO_EVEN, kw_only=True)
    overflow: Overflow = field(default=Overflow.SATURATE, kw_only=True)
    min_amax: float | None = field(default=None, kw_only=True)
    arithmetic: Arithmetic = field(default=Arithmetic.DIVISION, kw_only=True)
    scale_bound: float | None = field(default=None, kw_only=True)
    zero_scale: float | None = field(default=None, kw_only=True)
    least_scale: float | None = field(default=None, kw_only=True)
    scale_overflow: Overflow = field(default=Overflow.SATURATE, kw_only=True)
    non_finite: NonFinite = field(default=NonFinite.NAN_SCALE, kw_only=True)

    __hash__ = HashedOnce.__hash__


LONGEST_TRIED = 1024
"""The length of the longest groups for which rules may try two scales."""

_KINDS: dict[str, Any] = {
    "fmt": (FloatFormat, IntFormat),
    "scale_format": FloatFormat,
    "scale_rule": ScaleRule,
    "tensor_scale": bool,
    "rounding": (Rounding, Stochastic),
    "overflow": Overflow,
    "arithmetic": Arithmetic,
    "non_finite": NonFinite,
    "scale_overflow": Overflow,
}


def check_fields(spec: SpecFields) -> None:
    """Raise TypeError or ValueError unless an array can be quantized by a spec with these fields."""
    for name, kind in _KINDS.items():
        if not isinstance(getattr(spec, name), kind):
            wanted = " or ".join(k.__name__ for k in (kind if isinstance(kind, tuple) else (kind,)))
            raise TypeError(f"{name} must be a {wanted}, got {getattr(spec, name)!r}")
    if isinstance(spec.granularity, type) or not callable(getattr(spec.granularity, "block", None)):
        raise TypeError(f"granularity must be one as PerGroup(128), got {spec.granularity!r}")
    _check_formats(spec)
    _check_number("min_amax", spec.min_amax)
    if spec.min_amax is not None and not 0 < spec.min_amax <= FP32.max:
        raise ValueError(f"min_amax must be positive and at most float32's largest, got {spec.min_amax}")
    _check_tensor_scale(spec)
    if spec.scale_rule.tries_two_scales:
        _check_two_scales(spec)
    _check_ends_of_scales(spec)


def _check_number(name: str, value: object) -> None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
        raise TypeError(f"{name} must be a float or None, got {value!r}")


def _check_formats(spec: SpecFields) -> None:
    fmt, scale_format = spec.fmt, spec.scale_format
    if fmt == FP64 or not fmt.has_zero:
        raise ValueError(f"fmt must have a zero and at most 32 bits, got {fmt}")
    if scale_format == FP64 or not scale_format.has_nan:
        raise ValueError(f"scale_format must have a NaN and at most 32 bits, got {scale_format}")
    if spec.overflow is Overflow.NON_SATURATING and not fmt.has_nan:
        raise ValueError(f"overflow must be SATURATE for {fmt}, which has neither Inf nor NaN")


def _check_tensor_scale(spec: SpecFields) -> None:
    _check_number("scale_bound", spec.scale_bound)
    if not spec.tensor_scale:
        if spec.arithmetic is not Arithmetic.DIVISION:
            raise ValueError(f"arithmetic {spec.arithmetic} needs tensor_scale=True")
        if spec.scale_bound is not None:
            raise ValueError(f"scale_bound {spec.scale_bound} needs tensor_scale=True")
        return
    limit = spec.scale_format.max
    if spec.fmt.max * limit > FP32.max:
        raise ValueError(f"tensor_scale needs a scale_format of less range than {spec.scale_format}")
    if spec.scale_bound is not None and not 0 < spec.scale_bound <= limit:
        raise ValueError(
            f"scale_bound must be positive and at most {limit}, the largest {spec.scale_format}, "
            f"got {spec.scale_bound}"
        )
    if spec.arithmetic is not Arithmetic.DIVISION and spec.scale_rule.gives_powers_of_two:
        raise ValueError(
            f"arithmetic {spec.arithmetic} needs the scale_rule AMAX or one of FOUR_OVER_SIX, "
            f"got {spec.scale_rule}"
        )


def _check_two_scales(spec: SpecFields) -> None:
    """Raise ValueError unless the spec suits a rule that tries two scales for each group."""
    rule, granularity = spec.scale_rule, spec.granularity
    if not isinstance(granularity, PerGroup) or granularity.n > LONGEST_TRIED:
        raise ValueError(f"{rule} needs PerGroup(1) to PerGroup({LONGEST_TRIED}), got {granularity}")
    if isinstance(spec.rounding, Stochastic):
        raise ValueError(f"{rule} compares errors and needs a deterministic rounding, got {spec.rounding}")


def _check_ends_of_scales(spec: SpecFields) -> None:
    fmt = spec.scale_format
    for name, value in (("zero_scale", spec.zero_scale), ("least_scale", spec.least_scale)):
        _check_number(name, value)
        if value is not None and code_of_value(value, fmt) is None:
            nothing = "0 or a positive value" if fmt.has_zero else "a positive value"
            raise ValueError(f"{name} must be {nothing} of {fmt}, got {value}")
    least = spec.least_scale
    if least is not None and spec.scale_rule.gives_powers_of_two and math.frexp(least)[0] != 0.5:
        raise ValueError(f"least_scale must be a power of two for {spec.scale_rule}, got {least}")


def code_of_value(value: float, fmt: FloatFormat) -> int | None:
    """Return the code of a value that is not negative, or None if the format does not have the value.

    Examples
    --------
    >>> from precision.quantization._spec_fields import code_of_value
    >>> from precision.formats import E4M3, E8M0
    >>> code_of_value(2.0**-6, E4M3), code_of_value(0.3, E4M3), code_of_value(0.0, E8M0)
    (8, None, None)
    """
    if value == 0:
        return 0 if fmt.has_zero else None
    if not 0 < value <= fmt.max:
        return None
    places, exponent = fmt.fraction_bits, max(math.frexp(value)[1] - 1, fmt.min_exponent)
    significand = math.ldexp(value, places - exponent)
    hidden = 0 if fmt.subnormals else 1 << places
    if not significand.is_integer() or significand < hidden:
        return None
    return ((exponent - fmt.min_exponent) << places) + int(significand) - hidden
