"""Known mistakes in rounding to a format, each a rule that predicts every output it would give.

What was observed is compared with the predictions; the first rule that predicts all of it names the cause.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import ml_dtypes
import numpy as np
import numpy.typing as npt

from precision._support._types import Array
from precision.formats._codec import decode, encode, round_to
from precision.formats._float_format import FloatFormat, Specials
from precision.formats._int_format import IntFormat
from precision.formats._named import NAMED, Format
from precision.formats._rounding_modes import Overflow, Rounding, Stochastic
from precision.testing._hard_values import least_normal
from precision.testing._shown_numbers import differ

Rule = Callable[[Array], Array]


class Observed(NamedTuple):
    """The numbers that a callable was given, and the values that it returned, as float64."""

    x: Array
    got: Array


@dataclass(frozen=True)
class Rounds:
    """A rounding to a format: the declared one, or a wrong one."""

    fmt: Format
    rounding: Rounding | Stochastic = field(default=Rounding.TIES_TO_EVEN, kw_only=True)
    overflow: Overflow = field(default=Overflow.SATURATE, kw_only=True)

    def __call__(self, x: Array) -> Array:
        """Return numbers rounded to the format, as float64; NaN stays NaN, even if the format has none."""
        nan = np.isnan(x)
        kept = np.where(nan, x.dtype.type(0), x) if not self.fmt.has_nan else x
        result = round_to(kept, self.fmt, rounding=self.rounding, overflow=self.overflow).astype(np.float64)
        return np.where(nan, np.nan, result)


# ---- roundings --------------------------------------------------------------------------------------
_WRONG_ROUNDINGS = {
    Rounding.TIES_TO_AWAY: "ties away from zero",
    Rounding.TOWARD_ZERO: "truncates",
    Rounding.TIES_TO_EVEN: "ties to even",
    Rounding.TOWARD_POSITIVE: "rounds toward positive",
    Rounding.TOWARD_NEGATIVE: "rounds toward negative",
    Rounding.TO_ODD: "rounds to odd",
}


def _nearest(right: Rounds, upper_at_tie: Callable[[Array, Array], Array]) -> Rule:
    """Return the rule to nearest, which takes the upper value of a tie where ``upper_at_tie(x, lower)``."""

    def rule(x: Array) -> Array:
        low, high = (
            replace(right, rounding=way)(x) for way in (Rounding.TOWARD_NEGATIVE, Rounding.TOWARD_POSITIVE)
        )
        wide = x.astype(np.float64)
        with np.errstate(invalid="ignore"):
            below, above = wide - low, high - wide
            found = np.where((above < below) | ((above == below) & upper_at_tie(wide, low)), high, low)
        end = ~np.isfinite(wide) | ~np.isfinite(low) | ~np.isfinite(high) | (low == high)
        return np.where(end, right(x), found)

    return rule


def _roundings(right: Rounds) -> Iterator[tuple[str, Rule]]:
    """Yield other roundings. Rules for ties come first: on ties alone directed roundings look like them."""
    directed = [
        (name, replace(right, rounding=rounding))
        for rounding, name in _WRONG_ROUNDINGS.items()
        if rounding is not right.rounding
    ]
    yield from (one for one in directed if one[0].startswith("ties"))
    yield "ties toward zero", _nearest(right, lambda x, low: x < 0)
    yield "ties up: floor(x + 0.5)", _nearest(right, lambda x, low: np.ones(x.shape, bool))
    yield "ties down: ceil(x - 0.5)", _nearest(right, lambda x, low: np.zeros(x.shape, bool))
    yield from (one for one in directed if not one[0].startswith("ties"))
    if isinstance(right.fmt, IntFormat):
        # As they are written: the sum is rounded as well, so that the number below 0.5 becomes 1.
        unit = 2.0**right.fmt.fraction_bits

        def half_up(x: Array) -> Array:
            return right(np.floor(x * x.dtype.type(unit) + x.dtype.type(0.5)) / x.dtype.type(unit))

        def half_away(x: Array) -> Array:
            whole = np.trunc(x * x.dtype.type(unit) + np.copysign(x.dtype.type(0.5), x))
            return right(whole / x.dtype.type(unit))

        yield "ties up: floor(x + 0.5)", half_up
        yield "ties away from zero, by adding 0.5", half_away


def _narrow(kind: npt.DTypeLike) -> Rule:
    """Return the rule that rounds to another type of NumPy's first."""

    def rule(x: Array) -> Array:
        with np.errstate(all="ignore"):
            return x.astype(kind).astype(np.float32)

    return rule


def _truncated_to_bfloat16(x: Array) -> Array:
    bits = x.astype(np.float32).view(np.uint32) & np.uint32(0xFFFF0000)
    return bits.view(np.float32)


def _double_roundings(right: Rounds) -> Iterator[tuple[str, Rule]]:
    """Yield rules that round twice."""
    for name, kind in (("bfloat16", ml_dtypes.bfloat16), ("float16", np.float16), ("float32", np.float32)):
        narrow = _narrow(kind)
        yield f"double rounding through {name}", lambda x, narrow=narrow: right(narrow(x))  # type: ignore[misc]
    yield "truncated to bfloat16 first", lambda x: right(_truncated_to_bfloat16(x))
    cut = replace(right, rounding=Rounding.TOWARD_ZERO)
    for name, kind in (("float16", np.float16), ("bfloat16", ml_dtypes.bfloat16)):
        narrow = _narrow(kind)
        yield f"rounded to {name} and then truncated", lambda x, narrow=narrow: cut(narrow(x))  # type: ignore[misc]
    fmt = right.fmt
    if isinstance(fmt, FloatFormat) and fmt.subnormals and 0 < fmt.fraction_bits < 23:
        normal = replace(right, fmt=FloatFormat(8, fmt.fraction_bits))
        yield "double rounding of subnormals", lambda x: right(normal(x).astype(np.float32))


# ---- small numbers ----------------------------------------------------------------------------------
def _flushes(right: Rounds) -> Iterator[tuple[str, Rule]]:
    """Yield rules that flush small numbers, or keep them from becoming zero."""
    limit, smallest = least_normal(right.fmt), right.fmt.smallest

    def zeroed(x: Array, small: Array, y: Array) -> Array:
        return np.where(small, np.copysign(0.0, x.astype(np.float64)), y)

    def by_result(x: Array) -> Array:
        y = right(x)
        return zeroed(x, np.abs(y) < limit, y)

    def by_input(x: Array) -> Array:
        return zeroed(x, np.abs(x.astype(np.float64)) < limit, right(x))

    def of_source(x: Array) -> Array:
        tiny = float(ml_dtypes.finfo(x.dtype).tiny)
        return zeroed(x, np.abs(x.astype(np.float64)) < tiny, right(x))

    def below_smallest(x: Array) -> Array:
        return zeroed(x, np.abs(x.astype(np.float64)) < smallest, right(x))

    def never_zero(x: Array) -> Array:
        y = right(x)
        return np.where((y == 0) & (x != 0), np.copysign(smallest, x.astype(np.float64)), y)

    if limit:
        yield "subnormals flushed", by_input
        yield "subnormals flushed", by_result
        for rounding in (Rounding.TOWARD_ZERO, Rounding.TIES_TO_AWAY):
            if rounding is not right.rounding:
                other = replace(right, rounding=rounding)
                what = "truncated" if rounding is Rounding.TOWARD_ZERO else "rounded with ties away from zero"

                def only_small(x: Array, other: Rounds = other) -> Array:
                    return np.where(np.abs(x.astype(np.float64)) < limit, other(x), right(x))

                yield f"subnormals {what}", only_small
    yield "subnormals of the source flushed", of_source
    yield "everything below the smallest value flushed", below_smallest
    yield "the smallest value in the place of what rounds to zero", never_zero


# ---- large numbers ----------------------------------------------------------------------------------
def _exceeding(right: Rounds) -> Callable[[Array], Array]:
    """Return the predicate of finite numbers that exceed the largest value when rounded without bound."""

    def past(x: Array) -> Array:
        loud = np.abs(replace(right, overflow=Overflow.SATURATE)(x)) >= right.fmt.max
        step = right.fmt.max - right.fmt.value(right.fmt.max_code - 1) if right.fmt.max_code else 0.0
        wide = np.abs(x.astype(np.float64))
        return np.asarray(loud & np.isfinite(x) & (wide > right.fmt.max + step / 2))

    return past


def _wrap(right: Rounds) -> Rule:
    """Return the rule by which codes of too large numbers wrap around."""
    fmt, ratio = right.fmt, 2.0**right.fmt.fraction_bits

    def rule(x: Array) -> Array:
        with np.errstate(all="ignore"):
            whole = np.rint(x.astype(np.float64) * ratio)
            usable = np.isfinite(whole) & (np.abs(whole) < 2**62)
            codes = np.where(usable, whole, 0).astype(np.int64) & ((1 << fmt.bits) - 1)
        return decode(codes.astype(fmt.code_dtype), fmt).astype(np.float64)

    return rule


def _overflows(right: Rounds, seen: Sequence[Observed]) -> Iterator[tuple[str, Rule]]:
    """Yield rules of overflow other than the declared one."""
    fmt, past = right.fmt, _exceeding(right)

    def replaced(where: Rule, value: float) -> Rule:
        def rule(x: Array) -> Array:
            return np.where(where(x), np.copysign(value, x.astype(np.float64)), right(x))

        return rule

    for other in Overflow:
        if other is not right.overflow and (fmt.has_nan or other is Overflow.SATURATE):
            said = "does not saturate" if other is Overflow.NON_SATURATING else "saturates"
            yield said, replace(right, overflow=other)
    ends = {"NaN": math.nan, "Inf": math.inf, "the largest value": fmt.max, "zero": 0.0}
    for name, value in ends.items():
        yield f"overflow becomes {name}", replaced(lambda x: past(x) | np.isinf(x), value)
        yield f"finite overflow becomes {name}", replaced(past, value)
        yield f"Inf becomes {name}", replaced(np.isinf, value)
    if isinstance(fmt, IntFormat):
        yield "overflow wraps around", _wrap(right)
        truncated = _wrap(replace(right, fmt=fmt))
        yield "truncates, and overflow wraps around", lambda x: truncated(np.trunc(x.astype(np.float64)))
        if fmt.signed and fmt.symmetric:
            least = -(fmt.max_code + 1)
            wide = replace(right, fmt=replace(fmt, symmetric=False))
            yield f"the code {least} is used", wide
    yield from _other_limits(right, seen)


def _other_limits(right: Rounds, seen: Sequence[Observed]) -> Iterator[tuple[str, Rule]]:
    """Yield rules with the largest observed value as the limit, if it is not the format's."""
    fmt = right.fmt
    largest = max((float(np.abs(s.got[np.isfinite(s.got)]).max(initial=0)) for s in seen), default=0.0)
    if not 0 < largest != fmt.max:
        return
    name = f"largest value is {largest:g} instead of {fmt.max:g}"
    if largest < fmt.max:

        def clipped(x: Array) -> Array:
            y = right(np.where(np.isinf(x), np.copysign(x.dtype.type(1), x) * x.dtype.type(fmt.max), x))
            return np.clip(y, -largest, largest)

        yield name, clipped

        def loud(x: Array) -> Array:
            y = right(x)
            return np.where(np.abs(y) > largest, np.copysign(np.nan, y), y)

        yield f"{name}, and NaN above it", loud
        yield (
            f"{name}, and Inf above it",
            lambda x: np.where(
                np.abs(right(x)) > largest, np.copysign(np.inf, x.astype(np.float64)), right(x)
            ),
        )
    elif isinstance(fmt, FloatFormat) and fmt.specials is not Specials.NONE:
        try:
            wider = FloatFormat(
                fmt.exponent_bits, fmt.fraction_bits, bias=fmt.bias, signed=fmt.signed, specials=Specials.NONE
            )
        except ValueError:
            return
        other = replace(right, fmt=wider, overflow=Overflow.SATURATE)
        yield name, lambda x: np.clip(other(x), -largest, largest)


# ---- NaN and zero -----------------------------------------------------------------------------------
def _specials(right: Rounds, seen: Sequence[Observed]) -> Iterator[tuple[str, Rule]]:
    """Yield other rules for NaN, zeros and signs."""
    fmt = right.fmt
    came = [s.got[np.isnan(s.x)] for s in seen]
    given = np.concatenate(came) if came else np.zeros(0)
    if given.size:
        magnitude = float(np.abs(given[0]))
        what = "NaN becomes zero" if magnitude == 0 else f"NaN becomes {magnitude:g}"
        if magnitude == fmt.max:
            what = "NaN saturated"

        def signed(x: Array) -> Array:
            return np.where(np.isnan(x), np.copysign(magnitude, x.astype(np.float64)), right(x))

        yield what, signed
        for value in (magnitude, -magnitude):
            yield what, lambda x, value=value: np.where(np.isnan(x), value, right(x))  # type: ignore[misc]

    def no_negative_zero(x: Array) -> Array:
        return right(x) + 0.0

    def nan_for_zero(x: Array) -> Array:
        y = right(x)
        return np.where((y == 0) & np.signbit(x), np.nan, y)

    def odd_zero(x: Array) -> Array:
        y = right(x)
        return np.where((y == 0) & (x != 0), 0.0, y)

    def exact_zero(x: Array) -> Array:
        return np.where(x == 0, 0.0, right(x))

    yield "-0 lost", no_negative_zero
    yield "-0 lost where a number rounds to it", odd_zero
    yield "-0 lost where it is given", exact_zero
    yield "-0 becomes NaN", nan_for_zero
    yield "sign lost", lambda x: np.abs(right(x))


def _other_formats(right: Rounds) -> Iterator[tuple[str, Rule]]:
    """Yield rules that give codes of another format as this one's, or values of another format."""
    for name, other in NAMED.items():
        if other == right.fmt or other.bits > 16:
            continue
        rounded = Rounds(other, overflow=Overflow.SATURATE)
        if other.bits == right.fmt.bits:

            def misread(x: Array, other: Format = other) -> Array:
                codes = encode(x, other, nan=None if other.has_nan else 0.0).view(other.code_dtype)
                return decode(codes, right.fmt).astype(np.float64)

            yield f"codes of {name} instead of {right.fmt}", misread
        if other.has_zero and other.bits <= 8:
            yield f"values of {name} instead of {right.fmt}", rounded


def rules(right: Rounds, seen: Sequence[Observed]) -> Iterator[tuple[str, Rule]]:
    """Yield every known mistake with its rule, the likelier first."""
    yield from _roundings(right)
    yield from _flushes(right)
    yield from _overflows(right, seen)
    yield from _specials(right, seen)
    yield from _double_roundings(right)
    yield from _other_formats(right)


def guess(right: Rounds, seen: Sequence[Observed]) -> Iterator[str]:
    """Yield the mistakes that predict every observed value, the likeliest first.

    Signs of zeros count at first; if nothing explains them as well, they do not.
    """
    together = [s for s in seen if s.x.size]
    if not together:
        return
    x = np.concatenate([s.x for s in together])
    got = np.concatenate([s.got for s in together])
    expected, found = right(x), False

    def values(rule: Rule) -> Array:
        with np.errstate(all="ignore"):
            return np.asarray(rule(x), np.float64)

    for signs in (True, False):
        if found or not differ(expected, got, signs=signs).any():
            return
        for name, rule in rules(right, together):
            try:
                predicted = values(rule)
            except (ValueError, OverflowError):
                continue
            if not differ(predicted, got, signs=signs).any():
                found = True
                yield name
