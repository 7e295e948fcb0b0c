"""How a value is rounded, and what becomes of one too large: arguments, not properties of a format."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Named(enum.Enum):
    """An enumeration whose members print as the name that `parse` reads back."""

    def __str__(self) -> str:
        return self.name


class Rounding(Named):
    """Deterministic rounding modes: IEEE 754's five, and to odd.

    ``TIES_TO_EVEN`` and ``TO_ODD`` look at the parity of the *code*. It is the significand's as well,
    except in formats without fraction bits, where every significand is odd.

    Examples
    --------
    >>> import precision as pr
    >>> float(pr.round_to(1.1, pr.E4M3, rounding=pr.Rounding.TOWARD_POSITIVE))
    1.125
    >>> str(pr.Rounding.TIES_TO_EVEN)
    'TIES_TO_EVEN'
    """

    TIES_TO_EVEN = "ties_to_even"
    TIES_TO_AWAY = "ties_to_away"
    TOWARD_ZERO = "toward_zero"
    TOWARD_POSITIVE = "toward_positive"
    TOWARD_NEGATIVE = "toward_negative"
    TO_ODD = "to_odd"


@dataclass(frozen=True)
class Stochastic:
    """Stochastic rounding with a chosen number of random bits.

    The discarded part of the magnitude is cut to ``bits`` bits below the last kept place, a random
    integer of as many bits is added, and the carry rounds the magnitude up. Element ``i`` (in C order)
    takes the top bits of word 0 of Philox4x32-10 (Salmon et al., SC 2011) at counter
    ``(i mod 2**32, i >> 32, 0, 0)`` under the key ``(seed mod 2**32, seed >> 32)``: the same for any
    order, chunk or thread.

    With few bits the cut biases the result toward zero, by less than 2**-bits of the last kept place.

    Parameters
    ----------
    bits : int
        Random bits, 1 to 32.
    seed : int
        0 to 2**64 - 1.

    Raises
    ------
    TypeError, ValueError
        If one of them is not an integer, or is out of range.

    Examples
    --------
    >>> import numpy as np, precision as pr
    >>> x = np.full(4096, 1.03125, np.float32)         # a quarter of the way from 1 to 1.125
    >>> y = pr.round_to(x, pr.E4M3, rounding=pr.Stochastic(bits=8, seed=1))
    >>> bool(abs(y.mean() - 1.03125) < 0.003), float(y.min()), float(y.max())
    (True, 1.0, 1.125)
    """

    bits: int = 32
    seed: int = 0

    def __post_init__(self) -> None:
        for name, value, low, high in (("bits", self.bits, 1, 32), ("seed", self.seed, 0, 2**64 - 1)):
            if isinstance(value, bool) or not isinstance(value, int):
                raise TypeError(f"{name} must be an int, got {value!r}")
            if not low <= value <= high:
                raise ValueError(f"{name} must lie in {low}..{high}, got {value}")

    def __str__(self) -> str:
        given = [f"{n}={v}" for n, v, d in (("bits", self.bits, 32), ("seed", self.seed, 0)) if v != d]
        return f"Stochastic({', '.join(given)})"


class Overflow(Named):
    """What becomes of a value that, rounded with an unbounded exponent, exceeds the format's largest.

    ``SATURATE``: it and the infinities become the largest value of their sign. ``NON_SATURATING``: Inf,
    or NaN where the format has no Inf, under *every* rounding mode. That is what the conversions of
    OCP's OFP8 1.0 (Table 3) and the H100's truncating registers do (measured); IEEE 754's directed
    modes stop at the largest value instead, which SATURATE gives for finite values.

    Examples
    --------
    >>> import precision as pr
    >>> [float(pr.round_to(1e4, pr.E4M3, overflow=rule)) for rule in pr.Overflow]
    [448.0, nan]
    """

    SATURATE = "saturate"
    NON_SATURATING = "non_saturating"
