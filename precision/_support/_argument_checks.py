"""Checks of arguments, with errors that name the argument."""

from __future__ import annotations

import operator


def check_int(name: str, value: object, low: int, high: int | None = None, kind: str = "an int") -> int:
    """Return a whole number from ``low`` to ``high`` as an int.

    Anything with ``__index__`` is a whole number, a bool is not. ``kind`` is the error's word for one.

    Raises
    ------
    TypeError
        If the value is no whole number.
    ValueError
        If it lies outside the range.
    """
    if type(value) is int:
        number = value
    elif isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(f"{name} must be {kind}, got {value!r}")
    else:
        number = operator.index(value)
    if high is None and number < low:
        raise ValueError(f"{name} must be at least {low}, got {number}")
    if high is not None and not low <= number <= high:
        raise ValueError(f"{name} must lie in {low}..{high}, got {number}")
    return number


def check_axis(axis: object, ndim: int, name: str = "axis") -> int:
    """Return ``axis`` as an int from 0 to ndim - 1, or raise an error that calls it ``name``."""
    if isinstance(axis, bool) or not hasattr(axis, "__index__"):
        raise TypeError(f"{name} must be an int, got {axis!r}")
    index = operator.index(axis)
    if not -ndim <= index < ndim:
        axes = f"lie in {-ndim}..{ndim - 1} for {ndim} axes" if ndim else "name an axis, and there is none"
        raise ValueError(f"{name} must {axes}, got {index}")
    return index % ndim
