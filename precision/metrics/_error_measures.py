"""How far a result is from its reference: the field's error measures, all computed in float64.

Every measure takes ``result`` and ``reference``, two real arrays of one shape (no broadcasting), and
looks at them as one long vector. A NaN in either gives NaN, except in `ulp_distance`. Where both error
and reference are zero, the error counts as zero; where only the reference is, a relative error is
infinite. Numbers near the ends of float64's range are as good as any: nothing but a result that float64
does not hold overflows or underflows.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from precision._support.machine._float_environment import in_default_environment
from precision.metrics._compared_arrays import Pair, pair, ulp_distance
from precision.metrics._metric import Metric, number_text
from precision.metrics._scaled_sums import add_scaled, magnitudes, shifted, signed_sum, squares

__all__ = [
    "MEASURES",
    "calc_diff",
    "cosine",
    "max_error_over_mean",
    "norm_relative_error",
    "report",
    "signed_relative_error",
    "sqnr",
    "ulp_distance",
]

Measure: TypeAlias = Callable[[Pair], float]

_MEASURES: dict[str, Measure] = {}
ERRORS: dict[str, Metric] = {}
"""Every measure of an error by its name, in the order of `report`."""


def _error(
    name: str, title: str, heading: str, show: str | Callable[[float], str] = ".2e", **how: bool
) -> Callable[[Measure], Measure]:
    """Return a decorator that declares a measure of an error: this line is all that a new one needs."""

    def declare(measure: Measure) -> Measure:
        _MEASURES[name] = measure
        ERRORS[name] = Metric(name, title, heading, show, **how)
        return measure

    return declare


def _from_one(value: float) -> str:
    """Return the text of what a cosine lacks to 1."""
    return number_text(value if math.isnan(value) else max(0.0, 1 - value), ".2e")


def _ratio(error: float, scale: float) -> float:
    """``error / scale`` where 0/0 is 0 and x/0 is infinite with the sign of x."""
    if scale == 0:
        return error if error == 0 or np.isnan(error) else float(np.copysign(np.inf, error))
    return error / scale


def _scaled_ratio(error: float, scale: float, exponent: int) -> float:
    """`_ratio` times a power of two."""
    if exponent == 0:
        return _ratio(error, scale)
    fraction, own = math.frexp(error)  # of a subnormal the quotient would lose its last bits
    return shifted(_ratio(fraction, scale), exponent + own)


def _norm_ratio(pair: Pair) -> tuple[float, int]:
    """|error| / |reference| as a number and the power of two that it is to be multiplied by."""
    values, halved = pair.error
    error, reference = squares(values), squares(pair.reference)
    ratio = _ratio(math.sqrt(error.total), math.sqrt(reference.total))
    return ratio, halved + error.exponent - reference.exponent


@_error("sqnr_db", "SQNR, dB", "SQNR\ndB", ".1f", more_is_better=True, linear=True)
def _sqnr(pair: Pair) -> float:
    ratio, exponent = _norm_ratio(pair)
    with np.errstate(divide="ignore"):
        return float(-20.0 * (np.log10(ratio) + exponent * math.log10(2)))


@_error("norm_relative_error", "norm relative error", "norm\nrelative")
def _norm_relative_error(pair: Pair) -> float:
    return shifted(*_norm_ratio(pair))


@_error("max_error_over_mean", "largest error / mean magnitude", "max err\n/ mean")
def _max_error_over_mean(pair: Pair) -> float:
    values, halved = pair.error
    total = magnitudes(pair.reference)
    return _scaled_ratio(float(np.abs(values).max()), total.total / len(values), halved - total.exponent)


@_error("signed_relative_error", "bias, relative", "bias", "+.1e")
def _signed_relative_error(pair: Pair) -> float:
    values, halved = pair.error
    total = magnitudes(pair.reference)
    if total.total == 0:  # nothing has a sign to lose: any error is away from zero
        return _ratio(float(np.abs(values).max()), 0.0)
    with np.errstate(invalid="ignore"):  # 0 * Inf is NaN
        signed, exponent = signed_sum(np.sign(pair.reference) * values)
    return _scaled_ratio(signed, total.total, halved + exponent - total.exponent)


@_error("cosine", "cosine", "1 -\ncosine", _from_one, more_is_better=True, linear=True)
def _cosine(pair: Pair) -> float:
    x, y = (squares(vector) for vector in (pair.result, pair.reference))
    if math.isnan(x.total) or math.isnan(y.total):
        return math.nan
    if 0.0 in (x.total, y.total):
        return 1.0 if x.total == y.total else 0.0
    with np.errstate(invalid="ignore", under="ignore"):  # Inf / Inf is NaN
        return float(np.sum((x.values / math.sqrt(x.total)) * (y.values / math.sqrt(y.total))))


@_error("calc_diff", "calc_diff", "calc_\ndiff")
def _calc_diff(pair: Pair) -> float:
    # 1 - 2<x, y> / (|x|^2 + |y|^2), written so that nothing cancels.
    values, halved = pair.error
    error, x, y = squares(values), squares(pair.result), squares(pair.reference)
    total, exponent = add_scaled((x.total, x.exponent), (y.total, y.exponent), base=2)
    return shifted(_ratio(error.total, total), 2 * (halved + error.exponent - exponent))


@_error("mean_ulp", "mean error, ULP", "mean\nULP", ".1e")
def _mean_ulp(pair: Pair) -> float:
    return float(pair.steps.mean())


@_error("max_ulp", "largest error, ULP", "max\nULP", ".1e")
def _max_ulp(pair: Pair) -> float:
    return float(pair.steps.max())


MEASURES = tuple(ERRORS)
"""The keys of `report`, in order."""


@in_default_environment
def sqnr(result: npt.ArrayLike, reference: npt.ArrayLike) -> float:
    """Signal-to-quantization-noise ratio, -10 log10(|error|^2 / |reference|^2), in dB (also: QSNR).

    Infinite without an error, minus infinite if the reference is zero and the result is not.

    Parameters
    ----------
    result, reference : array_like
        Real numbers, of the same shape.

    Raises
    ------
    TypeError, ValueError
        If an array is not real or is empty, or the shapes differ.

    Examples
    --------
    >>> from precision import metrics
    >>> round(metrics.sqnr([1.0, 2.0, 2.3], [1.0, 2.0, 2.0]), 6)
    20.0
    """
    return _sqnr(pair(result, reference))


@in_default_environment
def norm_relative_error(result: npt.ArrayLike, reference: npt.ArrayLike) -> float:
    """|error| / |reference| in the Euclidean (Frobenius) norm.

    Parameters
    ----------
    result, reference : array_like
        Real numbers, of the same shape.

    Raises
    ------
    TypeError, ValueError
        If an array is not real or is empty, or the shapes differ.

    Examples
    --------
    >>> from precision import metrics
    >>> metrics.norm_relative_error([3.0, 5.0], [3.0, 4.0])
    0.2
    """
    return _norm_relative_error(pair(result, reference))


@in_default_environment
def max_error_over_mean(result: npt.ArrayLike, reference: npt.ArrayLike) -> float:
    """max |error| / mean |reference|: a largest relative error that cancellation doesn't blow up.

    On N(0,1) data at K = 4096 it fits the "maximum relative error of nearly 2 %" of DeepSeek-V3
    (arXiv 2412.19437, section 3.3.2), which states no formula.

    Parameters
    ----------
    result, reference : array_like
        Real numbers, of the same shape.

    Raises
    ------
    TypeError, ValueError
        If an array is not real or is empty, or the shapes differ.

    Examples
    --------
    >>> from precision import metrics
    >>> metrics.max_error_over_mean([1.0, -2.5, 0.0], [1.0, -2.0, 0.0])
    0.5
    """
    return _max_error_over_mean(pair(result, reference))


@in_default_environment
def signed_relative_error(result: npt.ArrayLike, reference: npt.ArrayLike) -> float:
    """Bias, sum(sign(reference) error) / sum |reference|: negative where results shrink toward zero.

    An error where the reference is zero has no direction and counts as 0, but if the whole reference is zero
    and the result is not, the bias is infinite. A result that is infinite where the reference is zero, next
    to others that are not, gives NaN.

    Parameters
    ----------
    result, reference : array_like
        Real numbers, of the same shape.

    Raises
    ------
    TypeError, ValueError
        If an array is not real or is empty, or the shapes differ.

    Examples
    --------
    >>> from precision import metrics
    >>> metrics.signed_relative_error([0.75, -1.5, 2.0], [1.0, -2.0, 2.0])
    -0.15
    """
    return _signed_relative_error(pair(result, reference))


@in_default_environment
def cosine(result: npt.ArrayLike, reference: npt.ArrayLike) -> float:
    """Cosine similarity of the two arrays as vectors. Two zero vectors give 1, one of them gives 0.

    A vector with Inf has no direction: unless the other one is zero, the result is NaN.

    Parameters
    ----------
    result, reference : array_like
        Real numbers, of the same shape.

    Raises
    ------
    TypeError, ValueError
        If an array is not real or is empty, or the shapes differ.

    Examples
    --------
    >>> from precision import metrics
    >>> round(metrics.cosine([1.0, 1.0], [1.0, 0.0]) ** 2, 12)
    0.5
    """
    return _cosine(pair(result, reference))


@in_default_environment
def calc_diff(result: npt.ArrayLike, reference: npt.ArrayLike) -> float:
    """DeepGEMM's acceptance measure, 1 - 2<x, y> / (|x|^2 + |y|^2) (its ``testing/numeric.py``).

    Computed as |x - y|^2 / (|x|^2 + |y|^2), which is the same number without the cancellation.

    Parameters
    ----------
    result, reference : array_like
        Real numbers, of the same shape.

    Raises
    ------
    TypeError, ValueError
        If an array is not real or is empty, or the shapes differ.

    Examples
    --------
    >>> from precision import metrics
    >>> metrics.calc_diff([3.0, 1.0], [1.0, 3.0])
    0.4
    """
    return _calc_diff(pair(result, reference))


@in_default_environment
def report(result: npt.ArrayLike, reference: npt.ArrayLike) -> dict[str, float]:
    """Every measure at once; ULPs are those of ``result``'s type, to which the reference is rounded.

    Parameters
    ----------
    result, reference : array_like
        Real numbers, of the same shape. An integer ``result`` counts ULPs in float64.

    Returns
    -------
    dict
        From each name of `MEASURES` to its value.

    Raises
    ------
    TypeError, ValueError
        If an array is not real or is empty, or the shapes differ.

    Examples
    --------
    >>> import numpy as np
    >>> from precision import metrics
    >>> values = metrics.report(np.float32([1.0, 2.0, 4.0]), [1.0, 2.0, 5.0])
    >>> values["max_error_over_mean"], values["max_ulp"]
    (0.375, 2097152.0)
    """
    compared = pair(result, reference)
    return {name: measure(compared) for name, measure in _MEASURES.items()}
