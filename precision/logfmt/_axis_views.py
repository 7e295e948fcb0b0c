"""Views of arrays with the axis of tiles as the last one, and back; cheap where it is the last already."""

from __future__ import annotations

import numpy as np

from precision._support._types import Array


def to_last(array: Array, along: int) -> Array:
    """Return a view in which the axis ``along``, not negative, is the last one."""
    return array if along == array.ndim - 1 else np.moveaxis(array, along, -1)


def from_last(array: Array, along: int) -> Array:
    """Return a view in which the last axis is the axis ``along``, not negative."""
    return array if along == array.ndim - 1 else np.moveaxis(array, -1, along)
