"""Checks of arrays and data types that callers pass, with errors that name the argument."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from precision._support._types import Array


def refuse_masked(name: str, value: object) -> None:
    """Raise TypeError if ``value`` is a masked array, whose masked values would count like any other."""
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError(
            f"{name} must be a plain array, got a masked one, whose mask would be lost: fill it first, "
            "as with .filled(0)"
        )


def check_dtype(value: npt.DTypeLike | None, wanted: str, name: str = "dtype") -> np.dtype[Any]:
    """Return the data type that ``value`` names; raise TypeError for None, which NumPy reads as float64."""
    try:
        if value is not None:
            return np.dtype(value)
    except (TypeError, ValueError):
        pass
    raise TypeError(f"{name} must be {wanted}, got {value!r}")


def refuse_overlapping(name: str, array: Array) -> None:
    """Raise ValueError if two elements of an array that is to be written share memory."""
    if not array.flags.c_contiguous and _overlaps_itself(array):
        raise ValueError(
            f"{name} must give each element its own memory, got shape {array.shape} with strides "
            f"{array.strides}, in which elements overlap"
        )


def _overlaps_itself(array: Array) -> bool:
    """Tell whether two elements of an array share memory."""
    if array.size < 2:
        return False
    axes = sorted(
        (abs(step), size) for step, size in zip(array.strides, array.shape, strict=True) if size > 1
    )
    reach = array.itemsize  # the number of bytes that the elements along the axes so far extend over
    for step, size in axes:
        if step == 0:
            return True
        if step < reach:
            break
        reach += step * (size - 1)
    else:
        return False
    # Elements along interlaced axes may still have their own bytes: their addresses are compared.
    places = np.zeros(1, np.int64)
    for step, size in axes:
        places = (places[:, None] + step * np.arange(size)).reshape(-1)
    places.sort()
    return bool((np.diff(places) < array.itemsize).any())
