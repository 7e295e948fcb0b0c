"""The parameters by which the kernels make scales: the tensor's, and each group's from its amax."""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from precision._support._types import Array
from precision.formats._codec_constants import MODES, code_ends, format_params
from precision.formats._float_format import FloatFormat
from precision.formats._named import FP32
from precision.formats._rounding_modes import Overflow, Rounding
from precision.quantization._scale_rules import Arithmetic, Errors, NonFinite, Way
from precision.quantization._spec_fields import SpecFields, code_of_value

if TYPE_CHECKING:
    from precision._kernels._params import Ends
    from precision._kernels.numbers._four_over_six import Trial
    from precision._kernels.numbers._group_scales import ScaleFormat, ScaleParams


_FLOAT32 = np.finfo(np.float32)
SMALLEST, LEAST_NORMAL, LARGEST = _FLOAT32.smallest_subnormal, _FLOAT32.tiny, _FLOAT32.max


class TensorScale(NamedTuple):
    """The scale of a tensor, with the numbers that it came from in the source's type."""

    value: np.float32
    encode: Any  #: s_enc of `Arithmetic`; 1 for DIVISION
    amax: Any


@functools.lru_cache(maxsize=256)
def span(spec: SpecFields) -> float:
    """Return the largest element times the largest scale that the tensor scale aims at."""
    bound = spec.scale_format.max if spec.scale_bound is None else spec.scale_bound
    return float(spec.fmt.max * bound)


def tensor_scale_of(spec: SpecFields, amax: Array) -> TensorScale:
    """Return the tensor's scale for the groups' amax."""
    kind = amax.dtype.type
    largest = amax[np.isfinite(amax)].max(initial=kind(spec.min_amax or 0))
    if largest == 0:
        return TensorScale(np.float32(1), kind(1), largest)
    # Results out of float32's range are clipped.
    with np.errstate(over="ignore", under="ignore"):
        if spec.arithmetic is Arithmetic.DIVISION:
            scale = largest / kind(span(spec)) if kind is np.float32 else _share(largest, spec, up=False)
            return TensorScale(np.clip(scale, SMALLEST, LARGEST), kind(1), largest)
        encode = kind(span(spec)) / largest if kind is np.float32 else _share(largest, spec, up=True)
        encode = np.clip(encode, LEAST_NORMAL, LARGEST)
        return TensorScale(np.float32(1) / encode, kind(encode), largest)


def _share(largest: Any, spec: SpecFields, *, up: bool) -> np.float32:
    """Return a tensor's amax over `span`, or the reverse if ``up``: the exact quotient, rounded once."""
    # Float64 alone comes here, and `fractions` imports `decimal`, which takes as long as some rooms.
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
    """Return the parameters of the scales, for a source of this type."""
    params = _without_tensor_scale(spec, dtype)
    if tensor is None:
        return params
    from precision._kernels.numbers._group_scales import PRODUCTS

    kind = dtype.type
    params = params._replace(plain=0, tensor_scale=kind(tensor.value))
    if spec.arithmetic is Arithmetic.DIVISION:
        return params
    params = params._replace(way=PRODUCTS, multiply=1, factor=tensor.encode)
    if spec.arithmetic is Arithmetic.TRANSFORMER_ENGINE and not spec.scale_rule.tries_two_scales:
        with np.errstate(over="ignore", under="ignore"):
            folded = kind(tensor.encode * (kind(1) / params.maximum))
        params = params._replace(factor=folded, maximum=kind(1))
    return params


@functools.lru_cache(maxsize=256)
def _without_tensor_scale(spec: SpecFields, dtype: np.dtype[Any]) -> ScaleParams:
    from precision._kernels.numbers import _group_scales as kernels

    kind, element, fmt = dtype.type, spec.fmt, spec.scale_format
    recipe = spec.scale_rule.recipe(element)
    ways = {
        Way.QUOTIENT: kernels.QUOTIENTS,
        Way.POWER: kernels.POWERS,
        Way.POWER_OF_PRODUCT: kernels.RECIPROCAL_POWERS,
    }
    # 0.0 is added so that -0.0 counts as 0.0, to which it is equal.
    least = fmt.smallest if spec.least_scale is None else spec.least_scale + 0.0
    zero = (1.0 if fmt == FP32 else least) if spec.zero_scale is None else spec.zero_scale + 0.0
    loud = spec.scale_overflow is Overflow.NON_SATURATING
    return kernels.ScaleParams(
        plain=int(fmt == FP32),
        way=ways[recipe.way],
        finite=int(spec.non_finite is NonFinite.FINITE_AMAX),
        multiply=0,
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
    """Return the parameters by which a scale is rounded to its format."""
    from precision._kernels.numbers._group_scales import ScaleFormat

    ends = code_ends(spec.scale_format, Overflow.SATURATE)
    if spec.scale_overflow is Overflow.NON_SATURATING:
        ends = ends._replace(over_positive=ends.nan_positive)
    return ScaleFormat(format_params(spec.scale_format), MODES[Rounding.TIES_TO_EVEN], ends)


def element_ends(spec: SpecFields) -> Ends:
    """Return the codes that overflow and NaN become among the elements."""
    fmt = spec.fmt
    ends = code_ends(fmt, spec.overflow)
    nan = ends.nan_positive  # the NaN is the scale's, or PTX's: it has no sign
    if spec.non_finite is NonFinite.FINITE_AMAX and not fmt.has_nan:
        nan = ends.over_positive
    return ends._replace(nan_positive=nan, nan_negative=nan)


def trial_params(spec: SpecFields, dtype: np.dtype[Any], tensor: TensorScale | None) -> Trial:
    """Return the parameters by which the errors of two scales are found."""
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
    assert code is not None  # the spec was checked
    return code
