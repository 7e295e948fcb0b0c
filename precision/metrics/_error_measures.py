"""How far a result is from its reference: the field's error measures, all computed in float64.

Every measure takes ``result`` and ``reference``, two real arrays of one shape (no broadcasting), and
looks at them as one long vector. A NaN in either gives NaN, except in `ulp_distance`. Where both error
and reference are zero, the error counts as zero; where only the reference is, a relative error is
infinite. Numbers near the ends of float64's range are as good as any: nothing but a result that float64
does not hold overflows or underflows.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import ml_dtypes
import numpy as np
import numpy.typing as npt

from precision._support._array_checks import refuse_masked
from precision._support.machine._float_environment import in_default_environment
from precision.metrics._scaled_sums import add_scaled, difference, magnitudes, shifted, signed_sum, squares

if TYPE_CHECKING:
    from precision.formats._float_format import FloatFormat

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

Float64Array = npt.NDArray[np.float64]


class _Pair(NamedTuple):
    """A checked pair of vectors in float64."""

    result: Float64Array
    reference: Float64Array

    @property
    def error(self) -> tuple[Float64Array, int]:
        """The result less the reference, and the power of two that it is to be multiplied by."""
        return difference(self.result, self.reference)


def _is_real(dtype: np.dtype[Any]) -> bool:
    if dtype.kind in "fiu":
        return True
    for information in (ml_dtypes.finfo, ml_dtypes.iinfo):
        try:
            information(dtype)
        except (TypeError, ValueError):
            continue
        return dtype.kind != "c"
    return False


def _real_array(x: npt.ArrayLike, name: str) -> npt.NDArray[Any]:
    """``x`` as an array in this machine's byte order."""
    refuse_masked(name, x)
    array = np.asarray(x)
    native = array.dtype if array.dtype.isnative else array.dtype.newbyteorder("=")
    if not _is_real(native):
        raise TypeError(f"{name} must be an array of real numbers, got dtype {array.dtype}")
    if native.kind == "f" and native.itemsize > 8:
        raise TypeError(f"{name} must be an array of at most 64 bits an element, got dtype {array.dtype}")
    if array.size == 0:
        raise ValueError(f"{name} has no elements (shape {array.shape}): there is nothing to measure")
    return array.astype(native, copy=False)


def _same_shape(result: npt.NDArray[Any], reference: npt.NDArray[Any]) -> None:
    if result.shape != reference.shape:
        raise ValueError(
            f"result has shape {result.shape} and reference {reference.shape}: they must be the same"
        )


def _pair(result: npt.ArrayLike, reference: npt.ArrayLike) -> _Pair:
    a, b = _real_array(result, "result"), _real_array(reference, "reference")
    _same_shape(a, b)
    return _Pair(a.astype(np.float64).ravel(), b.astype(np.float64).ravel())


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


def _norm_ratio(pair: _Pair) -> tuple[float, int]:
    """|error| / |reference| as a number and the power of two that it is to be multiplied by."""
    values, halved = pair.error
    error, reference = squares(values), squares(pair.reference)
    ratio = _ratio(math.sqrt(error.total), math.sqrt(reference.total))
    return ratio, halved + error.exponent - reference.exponent


def _norm_relative_error(pair: _Pair) -> float:
    return shifted(*_norm_ratio(pair))


def _sqnr(pair: _Pair) -> float:
    ratio, exponent = _norm_ratio(pair)
    with np.errstate(divide="ignore"):
        return float(-20.0 * (np.log10(ratio) + exponent * math.log10(2)))


def _max_error_over_mean(pair: _Pair) -> float:
    values, halved = pair.error
    total = magnitudes(pair.reference)
    return _scaled_ratio(float(np.abs(values).max()), total.total / len(values), halved - total.exponent)


def _signed_relative_error(pair: _Pair) -> float:
    values, halved = pair.error
    total = magnitudes(pair.reference)
    if total.total == 0:  # nothing has a sign to lose: any error is away from zero
        return _ratio(float(np.abs(values).max()), 0.0)
    with np.errstate(invalid="ignore"):  # 0 * Inf is NaN
        signed, exponent = signed_sum(np.sign(pair.reference) * values)
    return _scaled_ratio(signed, total.total, halved + exponent - total.exponent)


def _cosine(pair: _Pair) -> float:
    x, y = (squares(vector) for vector in pair)
    if math.isnan(x.total) or math.isnan(y.total):
        return math.nan
    if 0.0 in (x.total, y.total):
        return 1.0 if x.total == y.total else 0.0
    with np.errstate(invalid="ignore", under="ignore"):  # Inf / Inf is NaN
        return float(np.sum((x.values / math.sqrt(x.total)) * (y.values / math.sqrt(y.total))))


def _calc_diff(pair: _Pair) -> float:
    # 1 - 2<x, y> / (|x|^2 + |y|^2), written so that nothing cancels.
    values, halved = pair.error
    error, x, y = squares(values), squares(pair.result), squares(pair.reference)
    total, exponent = add_scaled((x.total, x.exponent), (y.total, y.exponent), base=2)
    return shifted(_ratio(error.total, total), 2 * (halved + error.exponent - exponent))


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
    return _sqnr(_pair(result, reference))


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
    return _norm_relative_error(_pair(result, reference))


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
    return _max_error_over_mean(_pair(result, reference))


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
    return _signed_relative_error(_pair(result, reference))


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
    return _cosine(_pair(result, reference))


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
    return _calc_diff(_pair(result, reference))


def _ordered(codes: npt.NDArray[Any], bits: int, signed: bool) -> npt.NDArray[np.int64]:
    """Bit patterns as integers in the order of the values; both zeros are 0."""
    unsigned = codes.view(np.dtype(f"u{codes.dtype.itemsize}")).astype(np.uint64)
    unsigned &= np.uint64(2**bits - 1)
    if not signed:
        return unsigned.astype(np.int64)
    magnitude = (unsigned & np.uint64(2 ** (bits - 1) - 1)).astype(np.int64)
    return np.where(unsigned >> np.uint64(bits - 1) != 0, -magnitude, magnitude)


def _is_integer(dtype: np.dtype[Any]) -> bool:
    return dtype.kind in "iu" or "int" in dtype.name


def _own_patterns(array: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    if _is_integer(array.dtype):
        raise TypeError(f"dtype {array.dtype} has no ULPs: give arrays of a floating-point type, or fmt")
    info = ml_dtypes.finfo(array.dtype)
    return _ordered(array, int(info.bits), signed=float(info.min) < 0)


def _encoded(name: str, x: npt.NDArray[Any], fmt: FloatFormat) -> npt.NDArray[Any]:
    from precision.formats._codec import encode
    from precision.formats._rounding_modes import Overflow

    try:
        return np.asarray(encode(x.astype(np.float64), fmt, overflow=Overflow.NON_SATURATING))
    except ValueError as error:
        said = str(error)
        if not said.startswith("x "):
            raise
        raise ValueError(f"{name} {said[2:]}") from None


@in_default_environment
def ulp_distance(
    result: npt.ArrayLike, reference: npt.ArrayLike, fmt: FloatFormat | None = None
) -> Float64Array:
    """Steps of a format from each ``reference`` to its ``result``, on ordered bit patterns.

    Neighbouring values are one step apart whatever their exponent; -0 and +0 are the same point, and
    Inf is one step beyond the largest value.

    Parameters
    ----------
    result, reference : array_like
        Of the same shape. Without ``fmt`` both must have the same floating-point dtype.
    fmt : FloatFormat, optional
        Both arrays are first rounded to this format, to nearest, with overflow to Inf (or NaN).

    Returns
    -------
    ndarray of float64
        Whole numbers, in the arrays' shape: exact up to 2**53. 0 where both are NaN, Inf where one is.

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
    a, b = _real_array(result, "result"), _real_array(reference, "reference")
    _same_shape(a, b)
    if fmt is None:
        if a.dtype != b.dtype:
            raise TypeError(
                f"result has dtype {a.dtype} and reference {b.dtype}: they must be the same, or give fmt"
            )
        steps_a, steps_b = _own_patterns(a), _own_patterns(b)
        nan_a, nan_b = np.isnan(a), np.isnan(b)
    else:
        from precision.formats._codec import decode

        codes = [_encoded(name, x, fmt) for name, x in (("result", a), ("reference", b))]
        steps_a, steps_b = (_ordered(code, fmt.bits, fmt.signed) for code in codes)
        nan_a, nan_b = (np.isnan(decode(code, fmt)) for code in codes)
    # Opposite signs may be further apart than int64 holds, so the difference is taken in float64
    # there; steps of one sign are subtracted exactly.
    far = (steps_a < 0) != (steps_b < 0)
    distance = np.where(
        far,
        np.abs(steps_a.astype(np.float64)) + np.abs(steps_b.astype(np.float64)),
        np.abs(np.where(far, 0, steps_a) - np.where(far, 0, steps_b)).astype(np.float64),
    )
    return np.where(nan_a & nan_b, 0.0, np.where(nan_a | nan_b, np.inf, distance))


_MEASURES = {
    "sqnr_db": _sqnr,
    "norm_relative_error": _norm_relative_error,
    "max_error_over_mean": _max_error_over_mean,
    "signed_relative_error": _signed_relative_error,
    "cosine": _cosine,
    "calc_diff": _calc_diff,
}
MEASURES = (*_MEASURES, "mean_ulp", "max_ulp")
"""The keys of `report`, in order."""


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
    pair = _pair(result, reference)
    typed = _real_array(result, "result")
    if _is_integer(typed.dtype):
        typed = typed.astype(np.float64)
    with np.errstate(over="ignore", under="ignore"):
        steps = ulp_distance(typed.ravel(), pair.reference.astype(typed.dtype))
    values = {name: measure(pair) for name, measure in _MEASURES.items()}
    return values | {"mean_ulp": float(steps.mean()), "max_ulp": float(steps.max())}
