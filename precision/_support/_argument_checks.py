"""Checks of arguments, whose errors name the argument."""

from __future__ import annotations

import operator
from typing import SupportsIndex


def check_int(name: str, value: object, low: int, high: int) -> None:
    """Raise unless ``value`` is an int from ``low`` to ``high``."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be an int, got {value!r}")
    if not low <= value <= high:
        raise ValueError(f"{name} must lie in {low}..{high}, got {value}")


def _check_int(name: str, value: object, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be an int, got {value!r}")
    if not low <= value <= high:
        raise ValueError(f"{name} must be from {low} to {high}, got {value}")


def checked_axis(axis: object, ndim: int) -> int:
    """``axis`` as 0..ndim-1, or an error that names it."""
    if isinstance(axis, bool) or not isinstance(axis, SupportsIndex):
        raise TypeError(f"axis must be an int, got {axis!r}")
    index = operator.index(axis)
    if not -ndim <= index < ndim:
        axes = f"lie in {-ndim}..{ndim - 1} for {ndim} axes" if ndim else "name an axis, and there is none"
        raise ValueError(f"axis must {axes}, got {index}")
    return index % ndim


def _check_size(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be an int, got {value!r}")
    if value < 1:
        raise ValueError(f"{name} must be at least 1, got {value}")
