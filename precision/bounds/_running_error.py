"""A bound on the distance between a register and the exact sum, advanced step by step.

`bounds.error_bound` has its proof.

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

#: These stand for the exponent and the last place of a zero, which has none; int16 holds the sum of two.
NO_EXPONENT, NO_PLACE = -9000, 9000
#: The number of fraction bits that stands for an alignment without loss.
LOSSLESS = 12000
#: The number of steps of a chain that are bounded together.
CHAIN_STEPS = 32
NEAREST = (Rounding.TIES_TO_EVEN, Rounding.TIES_TO_AWAY)
#: Roundings that change a number by at most its own size.
SHRINKING = (*NEAREST, Rounding.TOWARD_ZERO)


def top_powers(magnitudes: Array) -> Array:
    """Return the largest power of two up to each number, which must not be negative; 0 for subnormals.

    That is the float64 without its fraction bits.
    """
    bits = np.ascontiguousarray(magnitudes).view(np.int64) & np.int64(0x7FF << 52)
    return bits.view(np.float64)


def powers(exponents: Array) -> Array:
    """Return ``2.0**exponents``, with 0 and Inf for those that float64 has no normal power for."""
    fields = np.clip(exponents, -1023, 1024).astype(np.int64) + 1023
    return (fields << 52).view(np.float64)


def last_places(values: Array) -> Array:
    """Return the exponent of the lowest bit that is set in each float64, and `NO_PLACE` for zero."""
    significands, exponents = np.frexp(values)
    whole = np.abs(np.ldexp(significands, 53)).astype(np.int64)
    lowest = (whole & -whole).astype(np.float64)
    found = np.frexp(lowest)[1] - 54 + exponents
    return np.where(values == 0, NO_PLACE, found).astype(np.int16)


def grains(values: Array) -> Array:
    """Return the largest power of two that each float64 is a multiple of, and Inf for zero."""
    return powers(last_places(values))


def as_float64(values: Array) -> Array:
    """Return a copy in float64, without a warning for a signalling NaN."""
    with np.errstate(invalid="ignore"):
        return values.astype(np.float64)


class StepRules(NamedTuple):
    """The rules of one step of an accumulator, as the bounds need them.

    A fused multiply-add is a step of one product, aligned without loss.
    """

    products: int
    fraction_bits: int
    min_exponent: int
    alignment: Rounding
    register: FloatFormat
    rounding: Rounding
    safe: float  #: a factor above 1 that covers the rounding errors of the bound's own arithmetic

    @classmethod
    def from_step(cls, step: Step, length: int) -> StepRules:
        """Return the rules of an accumulator's step, for sums of ``length`` products."""
        safe = 1 + (8 * length + 64) * 2.0**-52
        if step.fraction_bits is None or step.min_exponent is None:
            even = Rounding.TIES_TO_EVEN
            return cls(1, LOSSLESS, NO_EXPONENT, even, step.register, step.register_rounding, safe)
        return cls(
            step.products, step.fraction_bits, step.min_exponent, step.alignment_rounding, step.register,
            step.register_rounding, safe,
        )  # fmt: skip


class Side(NamedTuple):
    """One operand of a tile: (matrices, rows, K) on the left, (matrices, K, columns) on the right.

    The ``values`` are multiplied by the scales that the unit takes itself. The ``exponents`` are those at
    which terms are aligned, one for each term along K: a term is a product, or the exact sum of ``group``
    products if that is not 0. The ``places`` are the exponents of the values' last set bits. ``non_finite``
    marks the rows or columns that hold NaN or Inf.

    ``values`` have the scales that the unit takes itself multiplied in. ``exponents`` are what terms align
    at, one for each term of K: a product, or the exact sum of ``group`` if that is not 0. ``places`` say
    where values end, ``odd`` which rows or columns hold NaN or Inf.
    """

    values: Array
    exponents: Array
    places: Array
    non_finite: Array
    group: int

    def take(self, matrices: Array, lines: slice, axis: int) -> Side:
        """Select some rows (``axis`` 1) or columns (``axis`` 2) of some matrices."""
        some = (matrices, lines) if axis == 1 else (matrices, slice(None), lines)
        non_finite = self.non_finite[matrices, lines]
        return Side(self.values[some], self.exponents[some], self.places[some], non_finite, self.group)


def build_side(stack: Stack, scales: tuple[Array, int, FloatFormat] | None, group: int, axis: int) -> Side:
    """Build the record of an operand, K on ``axis``; NaN and Inf count as zeros in it."""
    values = as_float64(stack_values(stack))
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
        multipliers = as_float64(factors.take(which, axis=axis))
        finite &= np.isfinite(multipliers)
        values *= np.where(np.isfinite(multipliers), multipliers, 0)
        exponents = shifts if group else exponents + shifts
        exponents[values == 0] = NO_EXPONENT
        if group > 1 and length:
            exponents = np.maximum.reduceat(exponents, np.arange(0, length, group), axis=axis)
    non_finite = np.asarray(np.logical_not(finite).any(axis=axis))
    return Side(values, exponents.astype(np.int16), last_places(values), non_finite, group)


def build_sides(
    left: Stack, right: Stack, scales: UnitScales | None, inner: InnerScales | None
) -> tuple[Side, Side]:
    """Build the records of both operands, with the scales that a unit takes itself multiplied in."""
    if scales is None or inner is None:
        return build_side(left, None, 0, 2), build_side(right, None, 0, 1)
    group = inner.group
    one = build_side(left, (scales.left, scales.left_group, scales.left_format), group, 2)
    return one, build_side(right, (scales.right, scales.right_group, scales.right_format), group, 1)


class _Terms:
    """The terms of one step for every output of a tile: exponents and last places, in memory used again."""

    def __init__(self, left: Side, right: Side, shape: tuple[int, int, int]) -> None:
        self.left, self.right = left, right
        self.exponent, self.place, self.other = (np.empty(shape, np.int16) for _ in range(3))
        self.below = np.empty(shape, np.bool_)

    def _add_outer(self, left: Array, right: Array, k: int, out: Array) -> Array:
        return np.add(left[:, :, k, None], right[:, k, None, :], out=out)

    def iterate_places(self, first: int, last: int) -> Iterator[tuple[int, Array]]:
        """Yield each term's number and the lowest place at which it can have a bit set.

        That place is `NO_PLACE` or above for a zero.
        """
        group = max(1, self.left.group)
        for k in range(first, last, group):
            place = self._add_outer(self.left.places, self.right.places, k, self.place)
            for n in range(k + 1, min(last, k + group)):
                np.minimum(
                    place, self._add_outer(self.left.places, self.right.places, n, self.other), out=place
                )
            yield k // group, place

    def find_extremes(self, first: int, last: int) -> tuple[Array, Array]:
        """Return the largest exponent and the lowest last place of terms ``first`` to ``last`` along K."""
        largest = np.full(self.exponent.shape, 2 * NO_EXPONENT, np.int16)
        lowest = np.full(self.place.shape, NO_PLACE, np.int16)
        for term, place in self.iterate_places(first, last):
            np.minimum(lowest, place, out=lowest)
            exponent = self._add_outer(self.left.exponents, self.right.exponents, term, self.exponent)
            if self.left.group:  # a group whose products are all zero takes no part
                exponent[place > NO_PLACE // 2] = 2 * NO_EXPONENT
            np.maximum(largest, exponent, out=largest)
        return largest, lowest

    def count_below(self, first: int, last: int, cut: Array) -> Array:
        """Count the terms that have bits below ``2**cut``, for each output."""
        count = np.zeros(self.place.shape, np.int16)
        for _, place in self.iterate_places(first, last):
            np.add(count, np.less(place, cut, out=self.below), out=count)
        return count


class RegisterBound:
    """The exact sum of a register, and a bound on the register's distance from it, advanced step by step.

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

    def __init__(self, left: Side, right: Side, rules: StepRules, start: Array | None) -> None:
        shape = (len(left.values), left.values.shape[1], right.values.shape[2])
        self.rules, self.left, self.right = rules, left, right
        self.terms = _Terms(left, right, shape)
        lowest = left.places.min(axis=2, initial=NO_PLACE), right.places.min(axis=1, initial=NO_PLACE)
        self.finest = powers(lowest[0][:, :, None].astype(np.int32) + lowest[1][:, None, :])
        self.lost: Array = left.non_finite[:, :, None] | right.non_finite[:, None, :]
        self.reset(start)

    def reset(self, start: Array | None = None) -> None:
        """Set the register to zero, or to ``start``."""
        shape = self.lost.shape
        self.alignment, self.register, self.certain, self.variance = (np.zeros(shape) for _ in range(4))
        self.sums = np.zeros(shape) if start is None else start.astype(np.float64)
        self.sizes = np.abs(self.sums)
        self.grain = grains(self.sums)
        self.exact_grain = np.minimum(self.finest, self.grain)
        self.above = self.sizes.copy()  #: at least the register's magnitude
        self.below = self.sizes.copy()  #: at most the register's magnitude

    def compute_slack(self) -> Array:
        """Bound the error of the float64 sum that stands for the exact one; 0 where that fits 53 bits."""
        slack: Array = self.sizes * ((self.rules.safe - 1) * (self.sizes > self.exact_grain * 2.0**52))
        return slack

    def run(self, first: int, last: int) -> None:
        """Add the products of K from ``first`` to ``last``, one step after the other."""
        step = self.rules.products if self.rules.fraction_bits < LOSSLESS else CHAIN_STEPS
        for k in range(first, last, step):
            checkpoint()
            end = min(k + step, last)
            left, right = self.left.values[:, :, k:end], self.right.values[:, k:end]
            size = np.abs(left) @ np.abs(right)
            self.sizes += size
            if self.rules.fraction_bits == LOSSLESS:
                self._advance_chain(k, end)
                continue
            self.sums += left @ right
            self._round(self._align(k, end, size))

    def _advance_chain(self, first: int, last: int) -> None:
        """Add some products in steps of one each, rounded to nearest and not aligned."""
        safe, fmt = self.rules.safe, self.rules.register
        lowest = self.terms.find_extremes(first, last)[1]
        self.grain = np.minimum(self.grain, powers(lowest.astype(np.int32)))
        slack, change, size = self.compute_slack(), np.empty(self.sums.shape), np.empty(self.sums.shape)
        top, most = size.view(np.int64), np.zeros(self.sums.shape)
        for k in range(first, last):
            left, right = self.left.values[:, :, k, None], self.right.values[:, k, None, :]
            self.sums += np.multiply(left, right, out=change)
            np.abs(self.sums, out=size)
            size += slack
            size += self.register
            size *= safe
            np.maximum(most, size, out=most)
            # These are the operations of `rounding_error`, in memory used again.
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
        """Bound the loss of one step's alignment; return a power of two that the sum is a multiple of."""
        rules = self.rules
        found, lowest = self.terms.find_extremes(first, last)
        largest = powers(np.maximum(found, np.int16(rules.min_exponent)))
        least, scale = 2.0**rules.register.min_exponent, 2.0**-rules.fraction_bits
        own = np.maximum(top_powers(self.above), least) * (self.above > 0)
        cut = np.maximum(largest, own) * scale
        nearest, shrinks = rules.alignment in NEAREST, rules.alignment in SHRINKING
        step = cut / 2 if nearest else cut
        grain = powers(lowest)
        change, squares = np.where(self.grain < cut, step, 0.0), np.zeros(0)
        if shrinks:
            change = np.minimum(change, self.above)
        if nearest:
            squares = change**2
        if (grain < cut).any():
            # A power of two is compared by its exponent, which int16 holds.
            count = self.terms.count_below(first, last, np.frexp(cut)[1].astype(np.int16) - np.int16(1))
            more = count * step
            if nearest:
                squares += more * step
            change += np.minimum(more, size * rules.safe) if shrinks else more
        self.alignment += change
        if nearest:
            self.variance += squares
        else:
            self.certain += change
        # A term is cut to a multiple of its step, or is a multiple of its own last place.
        own = np.maximum(top_powers(self.below), least) * (self.below > 0)
        smallest_cut = np.maximum(largest, own) * scale
        result: Array = np.maximum(smallest_cut, np.minimum(grain, self.grain))
        return result

    def _round(self, grain: Array) -> None:
        """Bound the rounding of the sum, a multiple of ``grain``, into the register."""
        rules = self.rules
        fmt, size = rules.register, np.abs(self.sums)
        slack = self.compute_slack()
        distance = slack + self.alignment
        distance += self.register
        most = (size + distance) * rules.safe
        change = rounding_error(most, fmt, rules.rounding, grain)
        self.lost |= ~(most <= fmt.max)
        self.register += change
        if rules.rounding in NEAREST:
            self.variance += change**2
        else:
            self.certain += change
        self.above = most + change
        distance += change
        # The subtraction itself must not round up to a power of two.
        self.below = np.maximum(size - (distance * rules.safe + size * (2.0**-52 * (distance > 0))), 0)
        last = np.maximum(top_powers(self.below), 2.0**fmt.min_exponent) * 2.0**-fmt.fraction_bits
        self.grain = np.maximum(grain, last)


def rounding_error(size: Array, fmt: FloatFormat, rounding: Rounding, grain: Array | float = 0.0) -> Array:
    """Return the most that rounding changes a number of magnitude ``size`` or less, a multiple of ``grain``.

    The ``grain`` is a power of two.
    """
    step = np.maximum(
        top_powers(size) * 2.0**-fmt.fraction_bits, 2.0 ** (fmt.min_exponent - fmt.fraction_bits)
    )
    # A multiple of the step does not change; any other multiple of ``grain`` lies at least that far from one.
    change = step / 2 if rounding in NEAREST else step - np.minimum(grain, step)
    change *= step > grain
    if not fmt.subnormals:  # a number that is too small becomes zero or the smallest value
        return change + fmt.min_normal
    return np.minimum(change, size) if rounding in SHRINKING else change
