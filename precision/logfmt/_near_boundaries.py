"""The codes of elements that lie within 2**-90 of a boundary between two levels, decided exactly.

Nearly all such elements are ties, and nearly all ties lie between powers of two, which fractions settle.
Other boundaries are sums and products of powers, computed to 70 digits, then to 300: where 300 digits show no
difference from the element, it is taken for a tie.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Context, Decimal, localcontext
from fractions import Fraction

import numpy as np

from precision._support._types import Array
from precision.formats._rounding_modes import Rounding, Stochastic
from precision.logfmt._design_choices import BelowClamp, LogBase, Metadata, Space
from precision.logfmt._logfmt_fields import LogFMTFields

_DIGITS = 70, 300


def code_of(
    value: float, tile: Array, stored: tuple[float, float], fields: LogFMTFields, guess: int, share: float
) -> int:
    """Return the code, without its sign, of one element of a tile.

    Parameters
    ----------
    value : float
        The element: finite and not zero.
    tile : ndarray
        float64, every element of its tile.
    stored : tuple of two floats
        The numbers that are stored for the tile.
    fields : LogFMTFields
        The spec.
    guess : int
        A code from which the search starts; the nearer, the quicker.
    share : float
        How far from one level to the next the boundary between them lies: 1/2 to nearest.
    """
    levels = [_Levels(tile, stored, fields, _DIGITS[0])]

    def with_more_digits() -> Iterator[_Levels]:
        for place, digits in enumerate(_DIGITS):
            if place == len(levels):
                levels.append(_Levels(tile, stored, fields, digits))
            yield levels[place]

    x, code, part = Decimal(abs(value)), guess, Decimal(share)
    last = 2 ** (fields.bits - 1) - 1
    while code > levels[0].lowest_code and not _lies_above(x, with_more_digits(), code - 1, part, fields):
        code -= 1
    while code < last and _lies_above(x, with_more_digits(), code, part, fields):
        code += 1
    return code


class _Levels:
    """The levels of a tile, computed to a chosen number of decimal digits."""

    def __init__(self, tile: Array, stored: tuple[float, float], fields: LogFMTFields, digits: int) -> None:
        self.context = Context(prec=digits + 20, Emin=-(10**6), Emax=10**6)
        self.least = Decimal(10) ** -digits
        self.fields = fields
        sizes = np.abs(tile[np.isfinite(tile)])
        zero = not fields.skip_zeros and bool((sizes == 0).any())
        sizes = sizes[sizes > 0]
        smallest, largest = Decimal(float(sizes.min())), Decimal(float(sizes.max()))
        extremes = fields.metadata is Metadata.EXTREMES
        if extremes and fields.from_stored:
            smallest, largest = Decimal(stored[0]), Decimal(stored[1])
        with localcontext(self.context):
            ln2 = Decimal(2).ln()
            self.clamped = zero
            if fields.clamp is not None:
                self.clamped = zero or smallest * 2**fields.clamp < largest
            steps = 2 ** (fields.bits - 1) - 2
            if fields.from_stored and not extremes:
                unit = Decimal(1) if fields.base is LogBase.E else ln2
                self.low, self.step = Decimal(stored[0]) * unit, Decimal(stored[1]) * unit
            elif self.clamped:
                assert fields.clamp is not None
                self.low, self.step = largest.ln() - fields.clamp * ln2, fields.clamp * ln2 / steps
            else:
                self.low, self.step = smallest.ln(), (largest / smallest).ln() / steps
        self.lowest_code = 0 if self.clamped and fields.below_clamp is not BelowClamp.MIN else 1
        # Min and step as fractions, of binades or of natural logarithms, where they are fractions of these.
        self.binades: tuple[Fraction, Fraction] | None = None
        self.naturals: tuple[Fraction, Fraction] | None = None
        if fields.from_stored and not extremes:
            pair = Fraction(stored[0]), Fraction(stored[1])
            self.naturals, self.binades = (pair, None) if fields.base is LogBase.E else (None, pair)
            return
        low, high = (_exponent(Fraction(size)) for size in (smallest, largest))
        if self.clamped and high is not None and fields.clamp is not None:
            self.binades = Fraction(high - fields.clamp), Fraction(fields.clamp, steps)
        elif low is not None and high is not None:
            self.binades = Fraction(low), Fraction(high - low, steps)

    def exact_difference(self, x: Fraction, code: int, share: Fraction) -> Fraction | None:
        """Return a number of the sign of ``x`` less the boundary above a code, or None.

        It is None where neither powers of two nor logarithms that are fractions give the boundary exactly.
        """
        below, exponent = self.fields.below_clamp, _exponent(x)
        above_zero = code == 0 and below is not BelowClamp.NEXT_LEVEL
        if self.fields.space is Space.LOG and not above_zero:
            if self.naturals is not None and exponent == 0:
                return -(self.naturals[0] + self.naturals[1] * (code - 1 + share))
            if self.binades is not None and exponent is not None:
                return exponent - (self.binades[0] + self.binades[1] * (code - 1 + share))
            return None
        if self.binades is None:
            return None
        low, step = self.binades
        lower, upper = low + step * (code - 1), low + step * code
        if above_zero:
            factor = share if below is BelowClamp.NEAREST else Fraction(1)
            return x - factor * _power_of_two(low) if low.denominator == 1 else None
        if lower.denominator == 1 and upper.denominator == 1:
            return x - (1 - share) * _power_of_two(lower) - share * _power_of_two(upper)
        return None

    def difference(self, x: Decimal, code: int, share: Decimal) -> Decimal | None:
        """Return ``x`` less the boundary above a code, relative to x; None if the digits do not show it."""
        with localcontext(self.context):
            below = self.fields.below_clamp
            if code == 0 and below is not BelowClamp.NEXT_LEVEL:
                boundary = (share if below is BelowClamp.NEAREST else 1) * self.low.exp()
            elif self.fields.space is Space.LINEAR:
                boundary = (self.low + self.step * (code - 1)).exp() * (1 - share + share * self.step.exp())
            else:
                boundary = (self.low + self.step * (code - 1 + share)).exp()
            relative = (x - boundary) / x
        return relative if abs(relative) > self.least else None


def _exponent(x: Fraction) -> int | None:
    """Return the k of x = 2**k, or None if x is no power of two."""
    one, other = sorted((x.numerator, x.denominator))
    if one != 1 or other & (other - 1):
        return None
    return other.bit_length() - 1 if x >= 1 else 1 - other.bit_length()


def _power_of_two(exponent: Fraction) -> Fraction:
    return Fraction(2) ** int(exponent)


def _lies_above(
    x: Decimal, levels: Iterator[_Levels], code: int, share: Decimal, fields: LogFMTFields
) -> bool:
    """Tell whether ``x`` takes the higher code: it lies above the boundary, or on it if ties go up."""
    for some in levels:
        exact = some.exact_difference(Fraction(x), code, Fraction(share))
        difference = some.difference(x, code, share) if exact is None else exact
        if difference:
            return difference > 0
        if exact is not None:
            break
    if isinstance(fields.rounding, Stochastic) or fields.rounding is Rounding.TIES_TO_AWAY:
        return True
    return code % 2 == 1 or (code == 0 and fields.below_clamp is BelowClamp.ZERO)
