"""Checked pairs of arrays: a result and its reference, as vectors in float64."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt

from precision._support._array_checks import refuse_masked
from precision.metrics._scaled_sums import difference
from precision.metrics._ulp_steps import steps_between

Float64Array = npt.NDArray[np.float64]


class Pair:
    """A result and its reference as vectors in float64; the result's type counts its ULPs."""

    def __init__(self, result: npt.NDArray[Any], reference: npt.NDArray[Any]) -> None:
        self.typed = result
        self.result: Float64Array = result.astype(np.float64).ravel()
        self.reference: Float64Array = reference.astype(np.float64).ravel()

    @property
    def error(self) -> tuple[Float64Array, int]:
        """The result less the reference, and the power of two that it is to be multiplied by."""
        return difference(self.result, self.reference)

    @cached_property
    def ulps(self) -> Float64Array:
        """Steps from each reference to its result in the result's type (float64 for integers)."""
        typed = self.typed.astype(np.float64) if is_integer(self.typed.dtype) else self.typed
        with np.errstate(over="ignore", under="ignore"):
            return steps_between(typed.ravel(), self.reference.astype(typed.dtype))


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


def is_integer(dtype: np.dtype[Any]) -> bool:
    """Tell whether a type holds integers, ml_dtypes' among them."""
    return dtype.kind in "iu" or "int" in dtype.name


def real_array(x: npt.ArrayLike, name: str) -> npt.NDArray[Any]:
    """Return an array of real numbers in this machine's byte order, or raise."""
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
    """Raise unless two arrays have one shape."""
    if result.shape != reference.shape:
        raise ValueError(
            f"result has shape {result.shape} and reference {reference.shape}: they must be the same"
        )


def pair_of(result: npt.ArrayLike, reference: npt.ArrayLike) -> Pair:
    """Return a result and its reference as a checked pair, or raise."""
    a, b = real_array(result, "result"), real_array(reference, "reference")
    check_same_shape(a, b)
    return Pair(a, b)
