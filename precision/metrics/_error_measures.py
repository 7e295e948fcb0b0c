"""The field's measures of the error of a result against its reference, all computed in float64.

Every measure takes ``result`` and ``reference``, two real arrays of one shape (no broadcasting), and looks at
them as one long vector; arrays without elements raise ValueError. A NaN in either gives NaN, except in those
that count ULPs, where the distance of two NaN is 0 and that of one NaN is infinite. A relative error of 0/0
is 0; an error over a reference of zero is infinite. Where the reference holds Inf, the relative errors are
NaN; where only the result does, they are infinite. Numbers near the ends of float64's range are as good as
any: nothing overflows or underflows but a result that float64 does not hold.

A measure is one function with its column here, and nothing else changes: `report`, tables, sweeps and plots
read the declaration.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from precision._support.machine._float_environment import in_default_environment
from precision.formats._float_format import FloatFormat
from precision.metrics._columns import PAIR_MEASURES, Better, metric, number_text
from precision.metrics._pairs import Pair, check_pair, check_real_array, check_same_shape, is_integer
from precision.metrics._scaled_sums import (
    add_scaled,
    multiply_by_power,
    sum_magnitudes,
    sum_signed,
    sum_squares,
)
from precision.metrics._ulp_steps import Float64Array, count_steps, count_steps_in_format


def _divide(error: float, scale: float) -> float:
    """Return ``error / scale``, where 0/0 is 0 and x/0 is infinite with the sign of x."""
    if scale == 0:
        return error if error == 0 or np.isnan(error) else float(np.copysign(np.inf, error))
    return error / scale


def _divide_scaled(error: float, scale: float, exponent: int) -> float:
    """Return ``error / scale * 2**exponent``, where 0/0 is 0 and x/0 is infinite with the sign of x."""
    if exponent == 0:
        return _divide(error, scale)
    fraction, own = math.frexp(error)  # the quotient of a subnormal would lose its last bits
    return multiply_by_power(_divide(fraction, scale), exponent + own)


def _divide_norms(pair: Pair) -> tuple[float, int]:
    """Return |error| / |reference| as a number and the exponent of the power of two that multiplies it."""
    values, halved = pair.error
    error, reference = sum_squares(values), sum_squares(pair.reference)
    ratio = _divide(math.sqrt(error.total), math.sqrt(reference.total))
    return ratio, halved + error.exponent - reference.exponent


_LEAST_NORMAL = 2.0**-1022


def _from_one(value: float) -> str:
    """Return the text of what a cosine lacks to 1."""
    return number_text(value if math.isnan(value) else max(0.0, 1 - value), ".2e")


@metric("sqnr_db", "SQNR", unit="dB", heading="SQNR\ndB", show=".1f", better=Better.MORE, linear=True)
def sqnr(pair: Pair) -> float:
    """Return the signal-to-quantization-noise ratio (SQNR, also QSNR) of a result in dB.

    It is -10 log10(|error|^2 / |reference|^2).

    It is infinite without an error, also where both arrays are zero, and minus infinite if the reference is
    zero and the result is not.

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
    ratio, exponent = _divide_norms(pair)
    whole = multiply_by_power(ratio, exponent)
    if exponent and _LEAST_NORMAL <= whole < math.inf:  # one logarithm, where two would cancel in part
        ratio, exponent = whole, 0
    with np.errstate(divide="ignore"):
        return float(-20.0 * (np.log10(ratio) + exponent * math.log10(2)))


@metric("norm_relative_error", "norm relative error", heading="norm\nrelative")
def norm_relative_error(pair: Pair) -> float:
    """Return |error| / |reference| in the Euclidean (Frobenius) norm.

    It is 0 without an error, also where the reference is zero, and infinite if the reference is zero and the
    result is not.

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
    return multiply_by_power(*_divide_norms(pair))


@metric("max_error_over_mean", "largest error / mean magnitude", heading="max err\n/ mean")
def max_error_over_mean(pair: Pair) -> float:
    """Return max |error| / mean |reference|, a largest relative error that cancellation does not blow up.

    Where error and reference are zero everywhere it is 0; it is infinite if only the reference is. On N(0,1)
    data at K = 4096 it fits the "maximum relative error of nearly 2 %" of DeepSeek-V3 (arXiv 2412.19437,
    section 3.3.2), which states no formula.

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
    values, halved = pair.error
    total = sum_magnitudes(pair.reference)
    return _divide_scaled(float(np.abs(values).max()), total.total / len(values), halved - total.exponent)


@metric("signed_relative_error", "bias, relative", heading="bias", show="+.1e", better=Better.NEAR_ZERO)
def signed_relative_error(pair: Pair) -> float:
    """Return the bias of a result, sum(sign(reference) error) / sum |reference|.

    It is negative where results shrink toward zero, and 0 where both arrays are zero.

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
    values, halved = pair.error
    total = sum_magnitudes(pair.reference)
    if total.total == 0:  # any error of a zero is an error away from zero
        return _divide(float(np.abs(values).max()), 0.0)
    with np.errstate(invalid="ignore"):  # 0 * Inf is NaN
        signed, exponent = sum_signed(np.sign(pair.reference) * values)
    return _divide_scaled(signed, total.total, halved + exponent - total.exponent)


@metric("cosine", "cosine", heading="1 -\ncosine", show=_from_one, better=Better.MORE, linear=True)
def cosine(pair: Pair) -> float:
    """Return the cosine similarity of the two arrays as vectors.

    Two zero vectors give 1, and one zero vector gives 0. The cosine of equal vectors may be rounded to a last
    place below 1.

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
    x, y = (sum_squares(vector) for vector in (pair.result, pair.reference))
    if math.isnan(x.total) or math.isnan(y.total):
        return math.nan
    if 0.0 in (x.total, y.total):
        return 1.0 if x.total == y.total else 0.0
    with np.errstate(invalid="ignore", under="ignore"):  # Inf / Inf is NaN
        return float(np.sum((x.values / math.sqrt(x.total)) * (y.values / math.sqrt(y.total))))


@metric("calc_diff", "calc_diff", heading="calc_\ndiff")
def calc_diff(pair: Pair) -> float:
    """Return DeepGEMM's acceptance measure, 1 - 2<x, y> / (|x|^2 + |y|^2).

    Its source is DeepGEMM's ``testing/numeric.py``. Two zero arrays give 0, and one zero array gives 1. An
    array with Inf gives NaN.

    It is computed as |x - y|^2 / (|x|^2 + |y|^2), which is the same number without the cancellation.

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
    values, halved = pair.error
    error, x, y = sum_squares(values), sum_squares(pair.result), sum_squares(pair.reference)
    total, exponent = add_scaled((x.total, x.exponent), (y.total, y.exponent), base=2)
    return multiply_by_power(_divide(error.total, total), 2 * (halved + error.exponent - exponent))


@metric("mean_ulp", "mean error", unit="ULP", heading="mean\nULP", show=".1e")
def mean_ulp(pair: Pair) -> float:
    """Return the mean distance in ULPs of the result's type, to which the reference is rounded.

    The distance is that of `ulp_distance`: 0 where both are NaN, and infinite where one is.

    Parameters
    ----------
    result, reference : array_like
        Real numbers, of the same shape. An integer ``result`` counts ULPs in float64.

    Raises
    ------
    TypeError, ValueError
        If an array is not real or is empty, or the shapes differ.

    Examples
    --------
    >>> import numpy as np
    >>> from precision import metrics
    >>> metrics.mean_ulp(np.float32([1.0, 2.0]), [1.0, 2.0 + 2**-22])
    0.5
    """
    return float(pair.ulps.mean())


@metric("max_ulp", "largest error", unit="ULP", heading="max\nULP", show=".1e")
def max_ulp(pair: Pair) -> float:
    """Return the largest distance in ULPs of the result's type, to which the reference is rounded.

    The distance is that of `ulp_distance`: 0 where both are NaN, and infinite where one is.

    Parameters
    ----------
    result, reference : array_like
        Real numbers, of the same shape. An integer ``result`` counts ULPs in float64.

    Raises
    ------
    TypeError, ValueError
        If an array is not real or is empty, or the shapes differ.

    Examples
    --------
    >>> import numpy as np
    >>> from precision import metrics
    >>> metrics.max_ulp(np.float32([1.0, 2.0]), [1.0, 2.0 + 2**-22])
    1.0
    """
    return float(pair.ulps.max())


MEASURES = tuple(PAIR_MEASURES)
"""The keys of `report`, in order."""


@in_default_environment
def ulp_distance(
    result: npt.ArrayLike, reference: npt.ArrayLike, fmt: FloatFormat | None = None
) -> Float64Array:
    """Count the steps of a format from each ``reference`` to its ``result``, on ordered bit patterns.

    Neighbouring values are one step apart whatever their exponent; -0 and +0 are the same point, and
    Inf is one step beyond the largest value.

    Parameters
    ----------
    result, reference : array_like
        Real numbers, of the same shape. Without ``fmt`` both must have the same floating-point dtype.
    fmt : FloatFormat, optional
        The format that both arrays are first rounded to, to nearest, with overflow to Inf (or NaN).

    Returns
    -------
    ndarray of float64
        Whole numbers, in the arrays' shape: exact up to 2**53. The distance is 0 where both are NaN, and Inf
        where one is.

    Raises
    ------
    TypeError, ValueError
        If an array is empty, the shapes differ, or (without ``fmt``) the dtypes do or are integers. If
        ``fmt`` has neither Inf nor NaN and an element needs one of them.

    Examples
    --------
    >>> import numpy as np
    >>> from precision import metrics
    >>> x = np.array([1.0, 1.0, -1e-45], np.float32)
    >>> y = np.array([np.nextafter(np.float32(1), np.float32(2)), 1.5, 1e-45], np.float32)
    >>> metrics.ulp_distance(x, y)
    array([1.000000e+00, 4.194304e+06, 2.000000e+00])
    """
    a, b = check_real_array(result, "result"), check_real_array(reference, "reference")
    check_same_shape(a, b)
    if fmt is not None:
        return count_steps_in_format(a, b, fmt)
    if a.dtype != b.dtype:
        raise TypeError(
            f"result has dtype {a.dtype} and reference {b.dtype}: they must be the same, or give fmt"
        )
    if is_integer(a.dtype):
        raise TypeError(f"dtype {a.dtype} has no ULPs: give arrays of a floating-point type, or fmt")
    return count_steps(a, b)


@in_default_environment
def report(result: npt.ArrayLike, reference: npt.ArrayLike) -> dict[str, float]:
    """Return every measure of a result by its name; ULPs are those of the result's type.

    The reference is rounded to that type where ULPs are counted. NaN, Inf and zeros count as each measure
    says.

    Parameters
    ----------
    result, reference : array_like
        Real numbers, of the same shape. An integer ``result`` counts ULPs in float64.

    Returns
    -------
    dict
        Each measure's value by its name, in the order of `MEASURES`.

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
    pair = check_pair(result, reference)
    return {name: measure(pair) for name, measure in PAIR_MEASURES.items()}
