"""Rounding modes and overflow rules, which are arguments of a conversion and not properties of a format."""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace

from precision._support._argument_checks import check_int

#: 2**64 over the golden ratio, made odd.
_GOLDEN = 0x9E3779B97F4A7C15


class Named(enum.Enum):
    """An enumeration whose members print as names that the package's parsers read."""

    __hash__ = object.__hash__  # faster than a hash of the name; each member is one object

    def __str__(self) -> str:
        return self.name


class Rounding(Named):
    """Deterministic rounding modes: the five of IEEE 754, and rounding to odd.

    ``TO_ODD`` keeps values of the format, and takes the neighbour with an odd code for any other number.
    "Even" and "odd" speak of the *code*, whose parity is also the significand's, except in formats without
    fraction bits, where every significand is odd.

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
    order, chunk or thread. A piece of a larger array counts from its place there with the ``offset`` of
    `round_to`, `encode` and `quantize`.

    With few bits the cut biases the result toward zero, by less than 2**-bits of the last kept place.

    Two arrays that are rounded with one seed share their random bits, element by element, so that the
    errors of two operands are correlated and their product is biased. Give each operand of a product a
    stream of its own, by `with_stream` or by another seed. (The package does so itself wherever it quantizes
    both operands.)

    Parameters
    ----------
    bits : int
        Number of random bits, 1 to 32.
    seed : int
        Key of the random bits, 0 to 2**64 - 1.

    Raises
    ------
    TypeError, ValueError
        If ``bits`` or ``seed`` is not an integer, or is out of range.

    Examples
    --------
    >>> import numpy as np, precision as pr
    >>> x = np.full(4096, 1.03125, np.float32)         # a quarter of the way from 1 to 1.125
    >>> y = pr.round_to(x, pr.E4M3, rounding=pr.Stochastic(bits=8, seed=1))
    >>> bool(abs(y.mean() - 1.03125) < 0.003), float(y.min()), float(y.max())
    (True, 1.0, 1.125)

    1.0625 lies halfway between 1 and 1.125, and its square is 1.1289. With shared bits both factors are
    rounded up together, or neither is; with bits of their own the mean is right, but for its spread:

    >>> x, random = np.full(2**20, 1.0625, np.float32), pr.Stochastic(8)
    >>> a = pr.round_to(x, pr.E4M3, rounding=random)
    >>> b = pr.round_to(x, pr.E4M3, rounding=random.with_stream(1))
    >>> print(f"shared {(a * a).mean(dtype=float):.3f}, own {(a * b).mean(dtype=float):.3f}")
    shared 1.133, own 1.129
    """

    bits: int = 32
    seed: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "bits", check_int("bits", self.bits, 1, 32))
        object.__setattr__(self, "seed", check_int("seed", self.seed, 0, 2**64 - 1))

    def with_stream(self, n: int) -> Stochastic:
        """Return the stochastic rounding with other random bits: those of stream ``n`` of its seed.

        The seed is ``seed + n * 0x9E3779B97F4A7C15`` modulo 2**64. The factor (2**64 over the golden ratio,
        made odd) takes each n to another seed, far from the small ones that runs are usually numbered by.

        Parameters
        ----------
        n : int
            The stream's number, 0 to 2**64 - 1; 0 is the rounding itself.

        Raises
        ------
        TypeError, ValueError
            If ``n`` is no whole number, or is out of range.

        Examples
        --------
        >>> import precision as pr
        >>> pr.Stochastic(8, seed=3).with_stream(1)
        Stochastic(bits=8, seed=11400714819323198488)
        """
        stream = check_int("n", n, 0, 2**64 - 1, "a whole number")
        return replace(self, seed=(self.seed + stream * _GOLDEN) % 2**64)

    def __str__(self) -> str:
        given = [f"{n}={v}" for n, v, d in (("bits", self.bits, 32), ("seed", self.seed, 0)) if v != d]
        return f"Stochastic({', '.join(given)})"


class Overflow(Named):
    """Rules for values that exceed a format's largest one after rounding with an unbounded exponent.

    ``SATURATE``: such values and the infinities become the largest value of their sign. ``NON_SATURATING``:
    they become Inf, or NaN in a format without Inf, under *every* rounding mode. The conversions of OCP's
    OFP8 1.0 (Table 3) and the H100's truncating registers do so (measured); IEEE 754's directed modes stop
    at the largest value instead, which SATURATE gives for finite values.

    Examples
    --------
    >>> import precision as pr
    >>> [float(pr.round_to(1e4, pr.E4M3, overflow=rule)) for rule in pr.Overflow]
    [448.0, nan]
    """

    SATURATE = "saturate"
    NON_SATURATING = "non_saturating"


def checked_offset(offset: object, size: int) -> int:
    """Return the index of the first of ``size`` elements, or raise if one of their indices exceeds 64 bits.

    Examples
    --------
    >>> from precision.formats._rounding_modes import checked_offset
    >>> checked_offset(2**64 - 8, 8) == 2**64 - 8
    True
    """
    first = check_int("offset", offset, 0, 2**64 - 1, "a whole number")
    if first + size > 2**64:
        raise ValueError(
            f"offset must be at most 2**64 - {size} for an array of {size} elements, whose indices have 64 "
            f"bits, got {first}"
        )
    return first


def signed64(index: int) -> int:
    """Return the signed integer that has the same 64 bits as an unsigned one, as kernels take it.

    Examples
    --------
    >>> from precision.formats._rounding_modes import signed64
    >>> signed64(2**64 - 1), signed64(5)
    (-1, 5)
    """
    return index - 2**64 if index >> 63 else index
