"""Checks of arrays and data types that callers pass; each error names the argument."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from precision._support._types import Array


def refuse_masked(name: str, value: object) -> None:
    """Raise TypeError if ``value`` is a masked array: the values under its mask would count."""
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError(
            f"{name} must be a plain array, got a masked one, whose mask would be lost: fill it first, "
            "as with .filled(0)"
        )


def named_dtype(value: npt.DTypeLike | None, wanted: str, name: str = "dtype") -> np.dtype[Any]:
    """Return the data type that ``value`` names; None, which NumPy reads as float64, raises TypeError."""
    try:
        if value is not None:
            return np.dtype(value)
    except (TypeError, ValueError):
        pass
    raise TypeError(f"{name} must be {wanted}, got {value!r}")


def refuse_overlapping(name: str, array: Array) -> None:
    """Raise ValueError if two elements of an array that is written to share memory."""
    if not array.flags.c_contiguous and _overlaps_itself(array):
        raise ValueError(
            f"{name} must give each element its own memory, got shape {array.shape} with strides "
            f"{array.strides}, in which elements overlap"
        )


def _overlaps_itself(array: Array) -> bool:
    if array.size < 2:
        return False
    axes = sorted(
        (abs(step), size) for step, size in zip(array.strides, array.shape, strict=True) if size > 1
    )
    reach = array.itemsize  # bytes from the first to the end of the last element along the axes so far
    for step, size in axes:
        if step == 0:
            return True
        if step < reach:
            break
        reach += step * (size - 1)
    else:
        return False
    # Axes that interlace may still leave every element its own bytes: only the places themselves tell.
    places = np.zeros(1, np.int64)
    for step, size in axes:
        places = (places[:, None] + step * np.arange(size)).reshape(-1)
    places.sort()
    return bool((np.diff(places) < array.itemsize).any())
