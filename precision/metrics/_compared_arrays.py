"""Two arrays that are compared: checked, as vectors in float64, and the steps of their type between them."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np
import numpy.typing as npt

from precision._support._array_checks import refuse_masked
from precision._support.machine._float_environment import in_default_environment
from precision.metrics._scaled_sums import difference

if TYPE_CHECKING:
    from precision.formats._float_format import FloatFormat

Float64Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Pair:
    """A result and its reference, checked, as vectors in float64; and the result as it was given."""

    result: Float64Array
    reference: Float64Array
    given: npt.NDArray[Any]

    @functools.cached_property
    def steps(self) -> Float64Array:
        """The ULPs of the result's type between it and the reference, which is rounded to it."""
        typed = self.given.astype(np.float64) if _is_integer(self.given.dtype) else self.given
        with np.errstate(over="ignore", under="ignore"):
            return ulp_distance(typed.ravel(), self.reference.astype(typed.dtype))

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


def pair(result: npt.ArrayLike, reference: npt.ArrayLike) -> Pair:
    """Return two arrays as a `Pair`.

    Raises
    ------
    TypeError, ValueError
        If an array is not real or is empty, or the shapes differ.
    """
    a, b = _real_array(result, "result"), _real_array(reference, "reference")
    _same_shape(a, b)
    return Pair(a.astype(np.float64).ravel(), b.astype(np.float64).ravel(), a)


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
