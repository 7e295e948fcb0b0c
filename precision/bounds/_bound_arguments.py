"""Checks of the arguments of closed-form bounds, and an ``expm1`` that overflows to Inf."""

from __future__ import annotations

import math

from precision._support._argument_checks import check_int

_LARGEST = 2**1000  # The largest argument: float64 holds twice its value, and its square root.


def check_size(n: object, name: str = "n") -> int:
    """Return a number of terms as an int; raise unless it is at most 2**1000, which bounds can hold."""
    number = check_int(name, n, 0)
    if number > _LARGEST:
        raise ValueError(f"{name} must be at most 2**1000, got an int of {number.bit_length()} bits")
    return number


def check_float(name: str, value: object) -> float:
    """Return a number as it is; raise unless it is an int or a float, and an int at most 2**1000."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} must be a float, got {value!r}")
    if isinstance(value, int) and abs(value) > _LARGEST:
        raise ValueError(f"{name} must be at most 2**1000, got an int of {value.bit_length()} bits")
    return value


def check_roundoff(name: str, u: object) -> None:
    """Raise unless ``u`` is a unit roundoff, at least 0 and below 1. NaN raises too."""
    if not 0 <= check_float(name, u) < 1:
        raise ValueError(f"{name} must be at least 0 and below 1, got {u}")


def check_lam(lam: object) -> None:
    """Raise unless ``lam``, the deviation that a probabilistic bound allows, is positive. NaN raises too."""
    if not check_float("lam", lam) > 0:
        raise ValueError(f"lam must be positive, got {lam}")


def expm1(x: float) -> float:
    """Return ``exp(x) - 1``, or Inf where float64 cannot hold it, which is a bound that says nothing."""
    try:
        return math.expm1(x)
    except OverflowError:
        return math.inf
