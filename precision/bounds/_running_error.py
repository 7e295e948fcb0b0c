"""How far a register can stray from the exact sum, step by step: the bound that `bounds.error_bound` proves.

Arrays are tiles of outputs (pairs, rows, columns). Everything is float64 arithmetic on bounds, and each
magnitude is multiplied by `Machine.safe` before its exponent is read, which covers that arithmetic's own
rounding.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from precision._support._types import Array
from precision._support.machine._threads import checkpoint
from precision.accumulators._inner_scales import InnerScales
from precision.accumulators._operand_layout import Stack
from precision.accumulators._operand_layout import values as stack_values
from precision.accumulators._product import UnitScales, scale_parts
from precision.accumulators._step import Step
from precision.formats._float_format import FloatFormat
from precision.formats._rounding_modes import Rounding

#: A zero has no exponent and no last place: these stand for them, and sums of two of them fit int16.
NO_EXPONENT, NO_PLACE = -9000, 9000
#: Fraction bits of an alignment that loses nothing.
EVERYTHING = 12000
#: Steps of a chain that are taken together.
CHAINED = 32
NEAREST = (Rounding.TIES_TO_EVEN, Rounding.TIES_TO_AWAY)
#: Roundings that change a number by at most its own size.
SHRINKING = (*NEAREST, Rounding.TOWARD_ZERO)


def top_powers(magnitudes: Array) -> Array:
    """The largest power of two of each number that is not negative: its float64 without fraction bits."""
    bits = np.ascontiguousarray(magnitudes).view(np.int64) & np.int64(0x7FF << 52)
    return bits.view(np.float64)


def powers(exponents: Array) -> Array:
    """``2.0**exponents``: with zero and Inf for what float64 has no normal power for."""
    fields = np.clip(exponents, -1023, 1024).astype(np.int64) + 1023
    return (fields << 52).view(np.float64)


def last_places(values: Array) -> Array:
    """The exponent of the last one among the bits of each float64; `NO_PLACE` for zero."""
    significands, exponents = np.frexp(values)
    whole = np.abs(np.ldexp(significands, 53)).astype(np.int64)
    lowest = (whole & -whole).astype(np.float64)
    found = np.frexp(lowest)[1] - 54 + exponents
    return np.where(values == 0, NO_PLACE, found).astype(np.int16)


def grains(values: Array) -> Array:
    """The largest power of two that each float64 is a multiple of; Inf for zero."""
    return powers(last_places(values))


def widened(values: Array) -> Array:
    """A copy in float64 (a signalling NaN is no reason to warn)."""
    with np.errstate(invalid="ignore"):
        return values.astype(np.float64)


class Machine(NamedTuple):
    """One step as the bounds know it; a fused multiply-add is one product, aligned without loss."""

    products: int
    fraction_bits: int
    min_exponent: int
    alignment: Rounding
    register: FloatFormat
    rounding: Rounding
    safe: float  #: more than one, by more than all roundings of the bound's own arithmetic

    @classmethod
    def of(cls, step: Step, length: int) -> Machine:
        """Return the machine of an accumulator's step, for sums of ``length`` products."""
        safe = 1 + (8 * length + 64) * 2.0**-52
        if step.fraction_bits is None or step.min_exponent is None:
            even = Rounding.TIES_TO_EVEN
            return cls(1, EVERYTHING, NO_EXPONENT, even, step.register, step.register_rounding, safe)
        return cls(
            step.products, step.fraction_bits, step.min_exponent, step.alignment_rounding, step.register,
            step.register_rounding, safe,
        )  # fmt: skip


class Side(NamedTuple):
    """An operand: (matrices, rows, K) on the left, (matrices, K, columns) on the right.

    ``values`` have the scales that the unit takes itself multiplied in. ``exponents`` are what terms align
    at, one for each term of K: a product, or the exact sum of ``group`` if that is not 0. ``places`` say
    where values end, ``odd`` which rows or columns hold NaN or Inf.
    """

    values: Array
    exponents: Array
    places: Array
    odd: Array
    group: int

    def take(self, matrices: Array, lines: slice, axis: int) -> Side:
        """Some rows (``axis`` 1) or columns (2) of some matrices."""
        some = (matrices, lines) if axis == 1 else (matrices, slice(None), lines)
        odd = self.odd[matrices, lines]
        return Side(self.values[some], self.exponents[some], self.places[some], odd, self.group)


def side(stack: Stack, scales: tuple[Array, int, FloatFormat] | None, group: int, axis: int) -> Side:
    """An operand with its K on ``axis``; NaN and Inf count as zeros."""
    values = widened(stack_values(stack))
    finite = np.isfinite(values)
    values[~finite] = 0
    fmt = stack.fmt
    least = fmt.min_exponent if isinstance(fmt, FloatFormat) else -1022
    exponents = np.where(values == 0, NO_EXPONENT, np.maximum(np.frexp(values)[1] - 1, least))
    if scales is not None:
        factors, span, scale_format = scales
        factors = factors.swapaxes(1, 2) if axis == 2 else factors  # from [matrix][group][line]
        length = values.shape[axis]
        which = np.minimum(np.arange(length) // span, factors.shape[axis] - 1)
        shifts = scale_parts(factors, scale_format)[0].take(which, axis=axis)
        multipliers = widened(factors.take(which, axis=axis))
        finite &= np.isfinite(multipliers)
        values *= np.where(np.isfinite(multipliers), multipliers, 0)
        exponents = shifts if group else exponents + shifts
        exponents[values == 0] = NO_EXPONENT
        if group > 1 and length:
            exponents = np.maximum.reduceat(exponents, np.arange(0, length, group), axis=axis)
    odd = np.asarray(np.logical_not(finite).any(axis=axis))
    return Side(values, exponents.astype(np.int16), last_places(values), odd, group)


def sides(
    left: Stack, right: Stack, scales: UnitScales | None, inner: InnerScales | None
) -> tuple[Side, Side]:
    """Both operands as a unit takes them."""
    if scales is None or inner is None:
        return side(left, None, 0, 2), side(right, None, 0, 1)
    group = inner.group
    one = side(left, (scales.left, scales.left_group, scales.left_format), group, 2)
    return one, side(right, (scales.right, scales.right_group, scales.right_format), group, 1)


class _Terms:
    """The terms of one step for every output of a tile: exponents and last places, in memory used again."""

    def __init__(self, left: Side, right: Side, shape: tuple[int, int, int]) -> None:
        self.left, self.right = left, right
        self.exponent, self.place, self.other = (np.empty(shape, np.int16) for _ in range(3))
        self.below = np.empty(shape, np.bool_)

    def _sum(self, left: Array, right: Array, k: int, out: Array) -> Array:
        return np.add(left[:, :, k, None], right[:, k, None, :], out=out)

    def places(self, first: int, last: int) -> Iterator[tuple[int, Array]]:
        """Each term with the last place that it can have a bit at: `NO_PLACE` or above for a zero."""
        group = max(1, self.left.group)
        for k in range(first, last, group):
            place = self._sum(self.left.places, self.right.places, k, self.place)
            for n in range(k + 1, min(last, k + group)):
                np.minimum(place, self._sum(self.left.places, self.right.places, n, self.other), out=place)
            yield k // group, place

    def extremes(self, first: int, last: int) -> tuple[Array, Array]:
        """The largest exponent and the lowest last place of the terms of K from ``first`` to ``last``."""
        largest = np.full(self.exponent.shape, 2 * NO_EXPONENT, np.int16)
        lowest = np.full(self.place.shape, NO_PLACE, np.int16)
        for term, place in self.places(first, last):
            np.minimum(lowest, place, out=lowest)
            exponent = self._sum(self.left.exponents, self.right.exponents, term, self.exponent)
            if self.left.group:  # whether a group takes part is up to its products
                exponent[place > NO_PLACE // 2] = 2 * NO_EXPONENT
            np.maximum(largest, exponent, out=largest)
        return largest, lowest

    def count_below(self, first: int, last: int, cut: Array) -> Array:
        """How many terms have bits below ``2**cut``."""
        count = np.zeros(self.place.shape, np.int16)
        for _, place in self.places(first, last):
            np.add(count, np.less(place, cut, out=self.below), out=count)
        return count


class Stray:
    """The exact sum of a register and a bound on the register's distance from it, advanced step by step.

    Attributes
    ----------
    sums, sizes : ndarray
        The exact sum, in float64, and that of magnitudes.
    alignment, register : ndarray
        Bounds on what aligning and what rounding into the register has changed so far.
    certain, variance : ndarray
        The part of those that is no rounding to nearest, and the squares of what is.
    exact_grain, grain : ndarray
        Powers of two that the exact sum and the register are multiples of.
    lost : ndarray of bool
        Where the register may have overflowed, or an operand is NaN or Inf.
    """

    def __init__(self, left: Side, right: Side, machine: Machine, start: Array | None) -> None:
        shape = (len(left.values), left.values.shape[1], right.values.shape[2])
        self.machine, self.left, self.right = machine, left, right
        self.terms = _Terms(left, right, shape)
        lowest = left.places.min(axis=2, initial=NO_PLACE), right.places.min(axis=1, initial=NO_PLACE)
        self.finest = powers(lowest[0][:, :, None].astype(np.int32) + lowest[1][:, None, :])
        self.lost: Array = left.odd[:, :, None] | right.odd[:, None, :]
        self.reset(start)

    def reset(self, start: Array | None = None) -> None:
        """A register of zero, or of ``start``."""
        shape = self.lost.shape
        self.alignment, self.register, self.certain, self.variance = (np.zeros(shape) for _ in range(4))
        self.sums = np.zeros(shape) if start is None else start.astype(np.float64)
        self.sizes = np.abs(self.sums)
        self.grain = grains(self.sums)
        self.exact_grain = np.minimum(self.finest, self.grain)
        self.above = self.sizes.copy()  #: no smaller than the register
        self.below = self.sizes.copy()  #: no larger than the register

    def slack(self) -> Array:
        """What float64 may have lost of the exact sum: nothing where all of it fits 53 bits."""
        slack: Array = self.sizes * ((self.machine.safe - 1) * (self.sizes > self.exact_grain * 2.0**52))
        return slack

    def run(self, first: int, last: int) -> None:
        """The products of K from ``first`` to ``last``, in steps from there."""
        step = self.machine.products if self.machine.fraction_bits < EVERYTHING else CHAINED
        for k in range(first, last, step):
            checkpoint()
            end = min(k + step, last)
            left, right = self.left.values[:, :, k:end], self.right.values[:, k:end]
            size = np.abs(left) @ np.abs(right)
            self.sizes += size
            if self.machine.fraction_bits == EVERYTHING:
                self._chain(k, end)
                continue
            self.sums += left @ right
            self._round(self._align(k, end, size))

    def _chain(self, first: int, last: int) -> None:
        """Some steps of one product each, to nearest and without alignment."""
        safe, fmt = self.machine.safe, self.machine.register
        lowest = self.terms.extremes(first, last)[1]
        self.grain = np.minimum(self.grain, powers(lowest.astype(np.int32)))
        slack, change, size = self.slack(), np.empty(self.sums.shape), np.empty(self.sums.shape)
        top, most = size.view(np.int64), np.zeros(self.sums.shape)
        for k in range(first, last):
            left, right = self.left.values[:, :, k, None], self.right.values[:, k, None, :]
            self.sums += np.multiply(left, right, out=change)
            np.abs(self.sums, out=size)
            size += slack
            size += self.register
            size *= safe
            np.maximum(most, size, out=most)
            # As `rounding_error` has it.
            top &= np.int64(0x7FF << 52)
            size *= 2.0**-fmt.fraction_bits
            np.maximum(size, 2.0 ** (fmt.min_exponent - fmt.fraction_bits), out=size)
            np.multiply(size, np.greater(size, self.grain), out=change)
            change *= 0.5
            self.register += change
            change *= change
            self.variance += change
        self.lost |= ~(most <= fmt.max)

    def _align(self, first: int, last: int, size: Array) -> Array:
        """One step's terms cut and added; a power of two that the sum is a multiple of."""
        machine = self.machine
        found, lowest = self.terms.extremes(first, last)
        largest = powers(np.maximum(found, np.int16(machine.min_exponent)))
        least, scale = 2.0**machine.register.min_exponent, 2.0**-machine.fraction_bits
        own = np.maximum(top_powers(self.above), least) * (self.above > 0)
        cut = np.maximum(largest, own) * scale
        nearest, shrinks = machine.alignment in NEAREST, machine.alignment in SHRINKING
        step = cut / 2 if nearest else cut
        grain = powers(lowest)
        change, squares = np.where(self.grain < cut, step, 0.0), np.zeros(0)
        if shrinks:
            change = np.minimum(change, self.above)
        if nearest:
            squares = change**2
        if (grain < cut).any():
            # A power of two is its own exponent, which int16 holds.
            count = self.terms.count_below(first, last, np.frexp(cut)[1].astype(np.int16) - np.int16(1))
            more = count * step
            if nearest:
                squares += more * step
            change += np.minimum(more, size * machine.safe) if shrinks else more
        self.alignment += change
        if nearest:
            self.variance += squares
        else:
            self.certain += change
        # What is not a multiple of its step is cut to one; all else is a multiple of its own last place.
        own = np.maximum(top_powers(self.below), least) * (self.below > 0)
        smallest_cut = np.maximum(largest, own) * scale
        result: Array = np.maximum(smallest_cut, np.minimum(grain, self.grain))
        return result

    def _round(self, grain: Array) -> None:
        """The sum, a multiple of ``grain``, rounded into the register."""
        machine = self.machine
        fmt, size = machine.register, np.abs(self.sums)
        slack = self.slack()
        stray = slack + self.alignment
        stray += self.register
        most = (size + stray) * machine.safe
        change = rounding_error(most, fmt, machine.rounding, grain)
        self.lost |= ~(most <= fmt.max)
        self.register += change
        if machine.rounding in NEAREST:
            self.variance += change**2
        else:
            self.certain += change
        self.above = most + change
        stray += change
        # The subtraction itself must not round up to a power of two.
        self.below = np.maximum(size - (stray * machine.safe + size * (2.0**-52 * (stray > 0))), 0)
        last = np.maximum(top_powers(self.below), 2.0**fmt.min_exponent) * 2.0**-fmt.fraction_bits
        self.grain = np.maximum(grain, last)


def rounding_error(size: Array, fmt: FloatFormat, rounding: Rounding, grain: Array | float = 0.0) -> Array:
    """The most that rounding changes a multiple of ``grain`` (a power of two) of at most this magnitude."""
    step = np.maximum(
        top_powers(size) * 2.0**-fmt.fraction_bits, 2.0 ** (fmt.min_exponent - fmt.fraction_bits)
    )
    # Any multiple of a step is kept; a multiple of ``grain`` lies that far from the next one.
    change = step / 2 if rounding in NEAREST else step - np.minimum(grain, step)
    change *= step > grain
    if not fmt.subnormals:  # what is too small becomes the smallest value
        return change + fmt.min_normal
    return np.minimum(change, size) if rounding in SHRINKING else change
