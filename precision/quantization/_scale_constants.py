"""The computation of a tensor's scale, and of the parameters by which kernels make the scales of groups."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from precision._support._plans import planned
from precision._support._types import Array
from precision.formats._codec_constants import MODES, code_ends, format_params
from precision.formats._float_format import FloatFormat
from precision.formats._named import FP32
from precision.formats._rounding_modes import Overflow, Rounding
from precision.quantization._scale_rules import Arithmetic, Errors, NonFinite, ScaleFormula
from precision.quantization._spec_fields import SpecFields, code_of_value

if TYPE_CHECKING:
    from precision._kernels._params import Ends
    from precision._kernels.numbers._four_over_six import Trial
    from precision._kernels.numbers._group_scales import ScaleFormat, ScaleParams


_FLOAT32 = np.finfo(np.float32)
SMALLEST, LEAST_NORMAL, LARGEST = _FLOAT32.smallest_subnormal, _FLOAT32.tiny, _FLOAT32.max


class TensorScale(NamedTuple):
    """The scale of a tensor, with the numbers that it was computed from in the source's type."""

    value: np.float32
    encode: Any  #: s_enc of `Arithmetic`; 1 for DIVISION
    amax: Any


@planned
def span(spec: SpecFields) -> float:
    """Return the product of the largest element and the largest group scale, to which amax is mapped."""
    bound = spec.scale_format.max if spec.scale_bound is None else spec.scale_bound
    return float(spec.fmt.max * bound)


def tensor_scale_of(spec: SpecFields, amax: Array) -> TensorScale:
    """Compute the scale of a tensor from the amaxes of its groups."""
    kind = amax.dtype.type
    largest = amax[np.isfinite(amax)].max(initial=kind(spec.min_amax or 0))
    if largest == 0:
        return TensorScale(np.float32(1), kind(1), largest)
    # Results outside of float32's range are clipped to it below.
    with np.errstate(over="ignore", under="ignore"):
        if spec.arithmetic is Arithmetic.DIVISION:
            scale = largest / kind(span(spec)) if kind is np.float32 else _share(largest, spec, up=False)
            return TensorScale(np.clip(scale, SMALLEST, LARGEST), kind(1), largest)
        encode = kind(span(spec)) / largest if kind is np.float32 else _share(largest, spec, up=True)
        encode = np.clip(encode, LEAST_NORMAL, LARGEST)
        return TensorScale(np.float32(1) / encode, kind(encode), largest)


def _share(largest: Any, spec: SpecFields, *, up: bool) -> np.float32:
    """Return amax / `span` of a tensor, or span / amax if ``up``: the exact quotient, rounded once."""
    # Only float64 input needs it, and `fractions` imports `decimal`, which is slow to import.
    from fractions import Fraction

    bound = spec.scale_format.max if spec.scale_bound is None else spec.scale_bound
    exact = Fraction(float(largest)) / (Fraction(spec.fmt.max) * Fraction(bound))
    if up:
        exact = 1 / exact
    if exact >= 2**128:
        return np.float32(np.inf)
    exponent = exact.numerator.bit_length() - exact.denominator.bit_length()  # the quotient's, or one more
    exponent -= exact < Fraction(2) ** exponent
    place = Fraction(2) ** max(exponent - 23, -149)
    return np.float32(float(round(exact / place) * place))  # round takes ties to even; the rest is exact


def scale_params(spec: SpecFields, dtype: np.dtype[Any], tensor: TensorScale | None) -> ScaleParams:
    """Build the record by which kernels make the scales of groups, for a source of this type."""
    params = _without_tensor_scale(spec, dtype)
    if tensor is None:
        return params
    from precision._kernels.numbers._group_scales import No, Products, Yes

    kind = dtype.type
    params = params._replace(rule=params.rule._replace(plain=No()), tensor_scale=kind(tensor.value))
    if spec.arithmetic is Arithmetic.DIVISION:
        return params
    rule = params.rule._replace(way=Products(), multiply=Yes())
    params = params._replace(rule=rule, factor=tensor.encode)
    if spec.arithmetic is Arithmetic.TRANSFORMER_ENGINE and not spec.scale_rule.tries_two_scales:
        with np.errstate(over="ignore", under="ignore"):
            folded = kind(tensor.encode * (kind(1) / params.maximum))
        params = params._replace(factor=folded, maximum=kind(1))
    return params


@planned
def _without_tensor_scale(spec: SpecFields, dtype: np.dtype[Any]) -> ScaleParams:
    from precision._kernels.numbers import _group_scales as kernels

    kind, element, fmt = dtype.type, spec.fmt, spec.scale_format
    recipe = spec.scale_rule.recipe(element)
    formulas = {
        ScaleFormula.QUOTIENT: kernels.Quotients(),
        ScaleFormula.POWER: kernels.Powers(),
        ScaleFormula.POWER_OF_PRODUCT: kernels.ReciprocalPowers(),
    }
    # 0.0 is added so that -0.0 counts as 0.0, to which it is equal.
    least = fmt.smallest if spec.least_scale is None else spec.least_scale + 0.0
    zero = (1.0 if fmt == FP32 else least) if spec.zero_scale is None else spec.zero_scale + 0.0
    loud = spec.scale_overflow is Overflow.NON_SATURATING
    plain = kernels.Yes() if fmt == FP32 else kernels.No()
    finite = kernels.Yes() if spec.non_finite is NonFinite.FINITE_AMAX else kernels.No()
    return kernels.ScaleParams(
        rule=kernels.Rule(formulas[recipe.formula], plain, finite, kernels.No()),
        addend=recipe.added,
        max_exponent=element.max_exponent,
        low=math.frexp(least)[1] - 1,
        high=fmt.max_exponent,
        over=fmt.max_exponent if loud else 1 << 30,
        maximum=kind(element.max),
        min_amax=kind(spec.min_amax or 0),
        tensor_scale=kind(1),
        factor=kind(recipe.factor),
        least=np.float32(least),
        least_code=_code(least, fmt),
        most=np.float32(math.nan if loud else FP32.max),
        zero=np.float32(zero),
        zero_code=_code(zero, fmt),
    )


def scale_target(spec: SpecFields) -> ScaleFormat:
    """Build the record by which kernels round a scale to its format."""
    from precision._kernels.numbers._group_scales import ScaleFormat

    ends = code_ends(spec.scale_format, Overflow.SATURATE)
    if spec.scale_overflow is Overflow.NON_SATURATING:
        ends = ends._replace(over_positive=ends.nan_positive)
    return ScaleFormat(format_params(spec.scale_format), MODES[Rounding.TIES_TO_EVEN], ends)


def element_ends(spec: SpecFields) -> Ends:
    """Build the record of the codes that elements which overflow or are NaN become."""
    fmt = spec.fmt
    ends = code_ends(fmt, spec.overflow)
    nan = ends.nan_positive  # this NaN comes from the scale or from PTX's rule, and has no sign
    if spec.non_finite is NonFinite.FINITE_AMAX and not fmt.has_nan:
        nan = ends.over_positive
    return ends._replace(nan_positive=nan, nan_negative=nan)


def trial_params(spec: SpecFields, dtype: np.dtype[Any], tensor: TensorScale | None) -> Trial:
    """Build the record by which kernels compare the errors of two scales of a group."""
    from precision._kernels.numbers._four_over_six import Trial

    assert isinstance(spec.rounding, Rounding)
    by_amax = tensor is not None and spec.arithmetic is Arithmetic.TRANSFORMER_ENGINE
    return Trial(
        format_params(spec.fmt),
        MODES[spec.rounding],
        element_ends(spec),
        squares=int(spec.scale_rule.recipe(spec.fmt).errors is Errors.SQUARED),
        by_amax=int(by_amax),
        amax=dtype.type(0 if tensor is None else tensor.amax),
        span=dtype.type(span(spec)) if by_amax else dtype.type(1),
    )


def _code(value: float, fmt: FloatFormat) -> int:
    code = code_of_value(value, fmt)
    assert code is not None  # `check_fields` has refused every other value
    return code
