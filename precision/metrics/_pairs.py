"""Pairs of arrays, a result and its reference, checked and converted to vectors in float64."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt

from precision._support._array_checks import refuse_masked
from precision.metrics._scaled_sums import subtract
from precision.metrics._ulp_steps import count_steps

Float64Array = npt.NDArray[np.float64]


class Pair:
    """A result and its reference as vectors in float64, beside the result in its own type."""

    def __init__(self, result: npt.NDArray[Any], reference: npt.NDArray[Any]) -> None:
        self.typed = result
        self.result: Float64Array = result.astype(np.float64).ravel()
        self.reference: Float64Array = reference.astype(np.float64).ravel()

    @property
    def error(self) -> tuple[Float64Array, int]:
        """The result less the reference, as numbers and the exponent of a power of two to multiply by."""
        return subtract(self.result, self.reference)

    @cached_property
    def ulps(self) -> Float64Array:
        """The steps from each reference to its result in the result's type (float64 for integers)."""
        typed = self.typed.astype(np.float64) if is_integer(self.typed.dtype) else self.typed
        with np.errstate(over="ignore", under="ignore"):
            return count_steps(typed.ravel(), self.reference.astype(typed.dtype))


def _is_real(dtype: np.dtype[Any]) -> bool:
    """Tell whether a type holds real numbers, ml_dtypes' types among them."""
    if dtype.kind in "fiu":
        return True
    for information in (ml_dtypes.finfo, ml_dtypes.iinfo):
        try:
            information(dtype)
        except (TypeError, ValueError):
            continue
        return dtype.kind != "c"
    return False


def is_integer(dtype: np.dtype[Any]) -> bool:
    """Tell whether a type holds integers, ml_dtypes' types among them."""
    return dtype.kind in "iu" or "int" in dtype.name


def check_real_array(x: npt.ArrayLike, name: str) -> npt.NDArray[Any]:
    """Return an array of real numbers in this machine's byte order; raise if it has others, or none."""
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


def check_same_shape(result: npt.NDArray[Any], reference: npt.NDArray[Any]) -> None:
    """Raise ValueError unless two arrays have the same shape."""
    if result.shape != reference.shape:
        raise ValueError(
            f"result has shape {result.shape} and reference {reference.shape}: they must be the same"
        )


def check_pair(result: npt.ArrayLike, reference: npt.ArrayLike) -> Pair:
    """Return a result and its reference as a checked pair; raise if either is no array of real numbers."""
    a, b = check_real_array(result, "result"), check_real_array(reference, "reference")
    check_same_shape(a, b)
    return Pair(a, b)
