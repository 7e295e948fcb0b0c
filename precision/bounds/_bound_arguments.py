"""Checks of what closed-form bounds take, and their one function with an overflow."""

from __future__ import annotations

import math

from precision._support._argument_checks import check_int

_LARGEST = 2**1000  # of any number here: twice such a one, or its square root, is a float64


def check_size(n: object, name: str = "n") -> int:
    """Return a number of terms as an int, or raise unless its bounds fit a float64."""
    number = check_int(name, n, 0)
    if number > _LARGEST:
        raise ValueError(f"{name} must be at most 2**1000, got an int of {number.bit_length()} bits")
    return number


def checked_float(name: str, value: object) -> float:
    """Return a number as it is, or raise unless it is one that float64 holds with room above."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} must be a float, got {value!r}")
    if isinstance(value, int) and abs(value) > _LARGEST:
        raise ValueError(f"{name} must be at most 2**1000, got an int of {value.bit_length()} bits")
    return value


def check_roundoff(name: str, u: object) -> None:
    """Raise unless ``u`` is a unit roundoff, at least 0 and below 1."""
    if not 0 <= checked_float(name, u) < 1:
        raise ValueError(f"{name} must be at least 0 and below 1, got {u}")


def check_lam(lam: object) -> None:
    """Raise unless ``lam``, the deviation that a probabilistic bound allows, is positive."""
    if not checked_float("lam", lam) > 0:
        raise ValueError(f"lam must be positive, got {lam}")


def expm1(x: float) -> float:
    """Return ``exp(x) - 1``, or Inf where float64 does not hold it: such a bound says nothing."""
    try:
        return math.expm1(x)
    except OverflowError:
        return math.inf
