"""Codes of elements that lie within 2**-90 of a boundary: exactly, or to as many digits as it takes.

Nearly all are ties, and nearly all of those are between powers of two, which fractions settle. Other
boundaries are sums and products of powers: where hundreds of digits show no difference there is none, and
`decimal` calls it a tie.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Context, Decimal, localcontext
from fractions import Fraction

import numpy as np

from precision._support._types import Array
from precision.formats._rounding_modes import Rounding, Stochastic
from precision.logfmt._design_choices import BelowClamp, LogBase, Metadata, Space
from precision.logfmt._logfmt_spec import LogFMT

_DIGITS = 70, 300


def code_of(
    value: float, tile: Array, stored: tuple[float, float], spec: LogFMT, guess: int, t: Decimal
) -> int:
    """The magnitude code of an element of a tile, at most one from the guess.

    ``tile`` holds the tile's elements, ``stored`` its numbers; ``t`` is how far between two levels the
    boundary lies, 1/2 to nearest.
    """
    levels = [_Levels(tile, stored, spec, _DIGITS[0])]

    def finer() -> Iterator[_Levels]:
        for place, digits in enumerate(_DIGITS):
            if place == len(levels):
                levels.append(_Levels(tile, stored, spec, digits))
            yield levels[place]

    x, code = Decimal(abs(value)), guess
    top = 2 ** (spec.bits - 1) - 1
    while code > levels[0].first and not _up(x, finer(), code - 1, t, spec):
        code -= 1
    while code < top and _up(x, finer(), code, t, spec):
        code += 1
    return code


class _Levels:
    """A tile's levels to some digits."""

    def __init__(self, tile: Array, stored: tuple[float, float], spec: LogFMT, digits: int) -> None:
        self.context = Context(prec=digits + 20, Emin=-(10**6), Emax=10**6)
        self.least = Decimal(10) ** -digits
        self.spec = spec
        sizes = np.abs(tile[np.isfinite(tile)])
        zero = not spec.skip_zeros and bool((sizes == 0).any())
        sizes = sizes[sizes > 0]
        smallest, largest = Decimal(float(sizes.min())), Decimal(float(sizes.max()))
        extremes = spec.metadata is Metadata.EXTREMES
        if extremes and spec.from_stored:
            smallest, largest = Decimal(stored[0]), Decimal(stored[1])
        with localcontext(self.context):
            ln2 = Decimal(2).ln()
            self.clamped = zero
            if spec.clamp is not None:
                self.clamped = zero or smallest * 2**spec.clamp < largest
            steps = 2 ** (spec.bits - 1) - 2
            if spec.from_stored and not extremes:
                unit = Decimal(1) if spec.base is LogBase.E else ln2
                self.low, self.step = Decimal(stored[0]) * unit, Decimal(stored[1]) * unit
            elif self.clamped:
                assert spec.clamp is not None
                self.low, self.step = largest.ln() - spec.clamp * ln2, spec.clamp * ln2 / steps
            else:
                self.low, self.step = smallest.ln(), (largest / smallest).ln() / steps
        self.first = 0 if self.clamped and spec.below_clamp is not BelowClamp.MIN else 1
        # Low and step as fractions, in binades or nats, where they are such.
        self.binades: tuple[Fraction, Fraction] | None = None
        self.nats: tuple[Fraction, Fraction] | None = None
        if spec.from_stored and not extremes:
            pair = Fraction(stored[0]), Fraction(stored[1])
            self.nats, self.binades = (pair, None) if spec.base is LogBase.E else (None, pair)
            return
        low, high = (_exponent(Fraction(size)) for size in (smallest, largest))
        if self.clamped and high is not None and spec.clamp is not None:
            self.binades = Fraction(high - spec.clamp), Fraction(spec.clamp, steps)
        elif low is not None and high is not None:
            self.binades = Fraction(low), Fraction(high - low, steps)

    def exact(self, x: Fraction, j: int, t: Fraction) -> Fraction | None:
        """A number of the sign of x less the boundary above code j, where powers of two give it."""
        below, exponent = self.spec.below_clamp, _exponent(x)
        at_zero = j == 0 and below is not BelowClamp.NEXT_LEVEL
        if self.spec.space is Space.LOG and not at_zero:
            if self.nats is not None and exponent == 0:
                return -(self.nats[0] + self.nats[1] * (j - 1 + t))
            if self.binades is not None and exponent is not None:
                return exponent - (self.binades[0] + self.binades[1] * (j - 1 + t))
            return None
        if self.binades is None:
            return None
        low, step = self.binades
        lower, upper = low + step * (j - 1), low + step * j
        if at_zero:
            factor = t if below is BelowClamp.NEAREST else Fraction(1)
            return x - factor * _power(low) if low.denominator == 1 else None
        if lower.denominator == 1 and upper.denominator == 1:
            return x - (1 - t) * _power(lower) - t * _power(upper)
        return None

    def difference(self, x: Decimal, j: int, t: Decimal) -> Decimal | None:
        """``x`` less the boundary above code j, relative to x; None if it is too small for the digits."""
        with localcontext(self.context):
            below = self.spec.below_clamp
            if j == 0 and below is not BelowClamp.NEXT_LEVEL:
                boundary = (t if below is BelowClamp.NEAREST else 1) * self.low.exp()
            elif self.spec.space is Space.LINEAR:
                boundary = (self.low + self.step * (j - 1)).exp() * (1 - t + t * self.step.exp())
            else:
                boundary = (self.low + self.step * (j - 1 + t)).exp()
            found = (x - boundary) / x
        return found if abs(found) > self.least else None


def _exponent(x: Fraction) -> int | None:
    """The k of x = 2**k, if there is one."""
    one, other = sorted((x.numerator, x.denominator))
    if one != 1 or other & (other - 1):
        return None
    return other.bit_length() - 1 if x >= 1 else 1 - other.bit_length()


def _power(exponent: Fraction) -> Fraction:
    return Fraction(2) ** int(exponent)


def _up(x: Decimal, levels: Iterator[_Levels], j: int, t: Decimal, spec: LogFMT) -> bool:
    """Whether ``x`` takes a code above j."""
    for some in levels:
        exact = some.exact(Fraction(x), j, Fraction(t))
        difference = some.difference(x, j, t) if exact is None else exact
        if difference:
            return difference > 0
        if exact is not None:
            break
    if isinstance(spec.rounding, Stochastic) or spec.rounding is Rounding.TIES_TO_AWAY:
        return True
    return j % 2 == 1 or (j == 0 and spec.below_clamp is BelowClamp.ZERO)
