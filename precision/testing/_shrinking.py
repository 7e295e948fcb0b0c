"""The search for the smallest failing input: fewer elements, then more zeros, then simpler numbers."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from precision._support._types import Array

Fails = Callable[[Array], bool]
TRIES = 300
"""Calls that shrinking one input may take."""


def simplicity(value: float) -> tuple[int, int, int, int]:
    """Return a key that sorts numbers by how easily they are read: few significant bits, near 1, positive.

    A float32 beside a simple number is simpler than one beside none.

    Examples
    --------
    >>> from precision.testing._shrinking import simplicity
    >>> sorted([1.7, 1.0625, -1.5, 1.0000001192092896, 3.0, 0.0], key=simplicity)
    [0.0, 3.0, -1.5, 1.0625, 1.0000001192092896, 1.7]
    """
    negative = int(math.copysign(1.0, value) < 0)
    if math.isnan(value) or math.isinf(value):
        return (99, 0, 0, negative)
    if value == 0:
        return (0, 0, 0, negative)
    bits, exponent = _significant(value)
    if bits > _BESIDE:
        with np.errstate(all="ignore"):
            here = np.float32(value)
            beside = [
                float(np.nextafter(here, np.float32(way))) for way in (0, math.copysign(math.inf, value))
            ]
        bits = min(bits, *(_BESIDE + _significant(v)[0] for v in beside if v and math.isfinite(v)), 60)
    return (bits, negative, abs(exponent - 1), int(exponent < 1))


_BESIDE = 10


def _significant(value: float) -> tuple[int, int]:
    """Return the number of significant bits of a number, and its exponent."""
    fraction, exponent = math.frexp(abs(value))
    significand = int(math.ldexp(fraction, 53))
    return 53 - ((significand & -significand).bit_length() - 1), exponent


def simplest_first(values: Array) -> tuple[float, ...]:
    """Return positive finite numbers in the order of `simplicity`, the simplest first."""
    numbers = values.astype(np.float64)
    bits, exponent = _significant_bits(numbers)
    with np.errstate(all="ignore"):
        here = numbers.astype(np.float32)
        least = bits
        for way in (0, np.inf):
            beside = np.nextafter(here, np.float32(way)).astype(np.float64)
            usable = (beside != 0) & np.isfinite(beside)
            few = _BESIDE + _significant_bits(np.where(usable, beside, 1.0))[0]
            least = np.where(usable, np.minimum(least, few), least)
    bits = np.where(bits > _BESIDE, least, bits)
    return tuple(numbers[np.lexsort((exponent < 1, np.abs(exponent - 1), bits))].tolist())


def _significant_bits(numbers: Array) -> tuple[Array, Array]:
    fraction, exponent = np.frexp(numbers)
    significand = np.ldexp(fraction, 53).astype(np.int64)
    return 54 - np.frexp((significand & -significand).astype(np.float64))[1], exponent


class Budget:
    """A predicate that calls another predicate at most a given number of times, and then returns False."""

    def __init__(self, fails: Fails, tries: int = TRIES) -> None:
        self.fails, self.left = fails, tries

    def __call__(self, x: Array) -> bool:
        if self.left <= 0:
            return False
        self.left -= 1
        return self.fails(x)


def smallest_element(x: Array, bad: Array, fails: Fails) -> Array:
    """Return one element of a flat array that fails alone, or else as few elements as are found to fail."""
    ask = Budget(fails)
    order = sorted(np.flatnonzero(bad).tolist(), key=lambda i: simplicity(float(x[i])))
    special = [i for i in order if not math.isfinite(float(x[i]))]
    for index in (*order[:16], *special[:4]):
        alone = x[index : index + 1]
        if ask(alone):
            return alone
    return drop_slices(x, ask)


def drop_slices(x: Array, fails: Fails, axis: int = 0, step: int = 1) -> Array:
    """Return as few slices along an axis as still fail, taken ``step`` at a time (delta debugging)."""
    pieces = -(-x.shape[axis] // step)
    parts = 2
    while pieces > 1:
        size = max(1, pieces // parts) * step
        for start in range(0, x.shape[axis], size):
            rest = np.delete(x, np.s_[start : start + size], axis=axis)
            if rest.shape[axis] and fails(rest):
                x, parts = rest, max(2, parts - 1)
                break
        else:
            if size == step:
                break
            parts *= 2
        pieces = -(-x.shape[axis] // step)
    return x


def put_zeros(x: Array, fails: Fails) -> Array:
    """Return the array with as many zeros as it still fails with; many are tried at a time first."""
    x = x.copy()
    where = np.flatnonzero((x != 0) | np.signbit(x))
    size = len(where)
    while size:
        for start in range(0, len(where), size):
            tried = x.copy()
            tried.reshape(-1)[where[start : start + size]] = 0
            if tried.tobytes() != x.tobytes() and fails(tried):
                x = tried
        where = np.flatnonzero((x != 0) | np.signbit(x))
        size //= 2
    return x


def simplify_values(x: Array, fails: Fails) -> Array:
    """Return the array with simpler numbers (fewer significant bits, positive) where it still fails."""
    x = x.copy()
    flat = x.reshape(-1)
    for index in np.flatnonzero(flat).tolist():
        value = float(flat[index])
        if not math.isfinite(value):
            continue
        for candidate in _simpler(value):
            tried = x.copy()
            tried.reshape(-1)[index] = candidate
            now = float(tried.reshape(-1)[index])
            if math.isfinite(now) and simplicity(now) < simplicity(float(flat[index])) and fails(tried):
                flat[index] = now
                break
    return x


def _simpler(value: float) -> list[float]:
    """Return the number cut to 1, 2, 3, … significant bits; a negative one with the other sign as well."""
    fraction, exponent = math.frexp(abs(value))
    cut = [
        math.ldexp(math.floor(math.ldexp(fraction, bits)), exponent - bits) for bits in (1, 2, 3, 4, 6, 8, 12)
    ]
    if value > 0:
        return cut
    return [*cut, *(-c for c in cut), -value]


def shrink(x: Array, fails: Fails, *, steps: tuple[int, ...] | None = None) -> Array:
    """Return as small an array as is found that still fails: fewer slices, more zeros, simpler numbers.

    Parameters
    ----------
    x : ndarray
        A failing input.
    fails : callable
        Whether an array of as many axes fails.
    steps : tuple of int, optional
        How many elements of each axis stay together (the block); 0 leaves an axis as it is.
    """
    ask = Budget(fails)
    for axis, step in enumerate(steps or (1,) * x.ndim):
        if step:
            x = drop_slices(x, ask, axis, step)
    x = put_zeros(x, ask)
    return simplify_values(x, ask)
