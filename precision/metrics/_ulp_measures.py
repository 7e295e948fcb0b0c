"""Measures that count ULPs: distances in steps of a format, on ordered bit patterns."""

from __future__ import annotations

import numpy.typing as npt

from precision._support.machine._float_environment import in_default_environment
from precision.formats._float_format import FloatFormat
from precision.metrics._columns import metric
from precision.metrics._pairs import Pair, check_real_array, check_same_shape, is_integer
from precision.metrics._ulp_steps import Float64Array, count_steps, count_steps_in_format


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
