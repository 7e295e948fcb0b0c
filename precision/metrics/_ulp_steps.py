"""Steps between floating-point numbers, counted on their ordered bit patterns."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt

from precision.formats._codec import decode, encode
from precision.formats._float_format import FloatFormat
from precision.formats._rounding_modes import Overflow

Float64Array = npt.NDArray[np.float64]


def _order_codes(codes: npt.NDArray[Any], bits: int, signed: bool) -> npt.NDArray[np.int64]:
    """Return bit patterns as integers in the order of their values; both zeros are 0."""
    unsigned = codes.view(np.dtype(f"u{codes.dtype.itemsize}")).astype(np.uint64)
    unsigned &= np.uint64(2**bits - 1)
    if not signed:
        return unsigned.astype(np.int64)
    magnitude = (unsigned & np.uint64(2 ** (bits - 1) - 1)).astype(np.int64)
    return np.where(unsigned >> np.uint64(bits - 1) != 0, -magnitude, magnitude)


def _encode(name: str, x: npt.NDArray[Any], fmt: FloatFormat) -> npt.NDArray[Any]:
    """Return the codes of numbers rounded to a format; an error about ``x`` names the argument instead."""
    try:
        return np.asarray(encode(x.astype(np.float64), fmt, overflow=Overflow.NON_SATURATING))
    except ValueError as error:
        message = str(error)
        if not message.startswith("x "):
            raise
        raise ValueError(f"{name} {message[2:]}") from None


def count_steps(a: npt.NDArray[Any], b: npt.NDArray[Any]) -> Float64Array:
    """Count the steps between two arrays of one floating-point type: 0 for two NaN, Inf for one."""
    info = ml_dtypes.finfo(a.dtype)
    signed = float(info.min) < 0
    steps_a, steps_b = (_order_codes(array, int(info.bits), signed=signed) for array in (a, b))
    return _count_distances(steps_a, steps_b, np.isnan(a), np.isnan(b))


def count_steps_in_format(a: npt.NDArray[Any], b: npt.NDArray[Any], fmt: FloatFormat) -> Float64Array:
    """Count the steps between two arrays that are first rounded to a format: 0 for two NaN, Inf for one."""
    codes = [_encode(name, x, fmt) for name, x in (("result", a), ("reference", b))]
    steps_a, steps_b = (_order_codes(code, fmt.bits, fmt.signed) for code in codes)
    nan_a, nan_b = (np.isnan(decode(code, fmt)) for code in codes)
    return _count_distances(steps_a, steps_b, nan_a, nan_b)


def _count_distances(
    steps_a: npt.NDArray[np.int64],
    steps_b: npt.NDArray[np.int64],
    nan_a: npt.NDArray[np.bool_],
    nan_b: npt.NDArray[np.bool_],
) -> Float64Array:
    """Return the distances between two arrays of step numbers as float64, exact up to 2**53."""
    # Opposite signs may be further apart than int64 holds, so the difference is taken in float64
    # there; steps of one sign are subtracted exactly.
    far = (steps_a < 0) != (steps_b < 0)
    distance = np.where(
        far,
        np.abs(steps_a.astype(np.float64)) + np.abs(steps_b.astype(np.float64)),
        np.abs(np.where(far, 0, steps_a) - np.where(far, 0, steps_b)).astype(np.float64),
    )
    return np.where(nan_a & nan_b, 0.0, np.where(nan_a | nan_b, np.inf, distance))
