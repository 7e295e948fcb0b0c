"""The properties of rounding to a format, element by element, that `check_quantizer` tries."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from precision._support._types import Array
from precision.formats._int_format import IntFormat
from precision.formats._rounding_modes import Overflow, Rounding, Stochastic
from precision.testing import _hard_values
from precision.testing._calls import Call, as_array, same_bits
from precision.testing._properties import Attempt, Property, as_not_applicable, as_passed
from precision.testing._reports import Outcome, Verdict
from precision.testing._shown_numbers import differ, show_array, show_value
from precision.testing.elements._declared_rounding import Elements, decode_result
from precision.testing.elements._rounding_mistakes import Observed
from precision.testing.elements._stochastic_properties import random_tests

SYMMETRIC = (Rounding.TIES_TO_EVEN, Rounding.TIES_TO_AWAY, Rounding.TOWARD_ZERO, Rounding.TO_ODD)


def elements_properties(target: Elements) -> tuple[Property, ...]:
    """Return every property of rounding to a format, the essential ones first."""
    return tuple(
        Property(name, meaning, test=test, guess=target.guess, essential=essential)
        for name, meaning, essential, test in _tests(target)
    )


Test = tuple[str, str, bool, Callable[[Call], Attempt]]


def _tests(target: Elements) -> Iterator[Test]:
    """Yield name, meaning, whether it is essential, and test of every property."""
    fmt, dtype = target.fmt, target.dtype
    if isinstance(target.right.rounding, Stochastic):
        yield from _contract(target)
        yield from random_tests(target)
        return

    def compares(name: str, meaning: str, points: Callable[[], Array], **options: Any) -> Test:
        return name, meaning, False, lambda call: target.compare(name, points(), call, **options)

    yield from _contract(target)
    yield compares(
        "nearest value", "numbers beside and between values and ties go to the right value",
        lambda: target.with_signs(_hard_values.off_ties(fmt, dtype)),
    )  # fmt: skip
    yield compares(
        "tie rule", "numbers halfway between two values go to the declared one",
        lambda: target.with_signs(_hard_values.ties(fmt, dtype)),
    )  # fmt: skip
    yield compares(
        "subnormals", "numbers below the smallest normal value, of the format and of the source",
        lambda: target.with_signs(_hard_values.below_normal(fmt, dtype)),
    )  # fmt: skip
    yield compares(
        "overflow rule", "what becomes of numbers too large, and of Inf", lambda: _too_large(target)
    )
    yield "NaN", "NaNs of every kind become NaN", False, lambda call: _nan(target, call)
    yield "signed zero", "zeros, and what rounds to zero, keep their sign", False, lambda c: _zeros(target, c)
    yield compares(
        "idempotence", "values of the format stay what they are",
        lambda: target.with_signs(_hard_values.own_values(fmt, dtype)),
    )  # fmt: skip
    yield (
        "monotonicity",
        "a larger number never becomes smaller",
        False,
        lambda call: _monotonic(target, call),
    )
    yield "sign symmetry", "-x becomes the negative of what x becomes", False, lambda c: _symmetric(target, c)


def _contract(target: Elements) -> Iterator[Test]:
    """Yield the tests of properties that every rounding function must have."""
    yield "result", "shape and type of the result", True, lambda call: _result(target, call)
    yield "input unchanged", "the input is not written into", False, lambda call: _unchanged(target, call)
    yield "determinism", "the same input gives the same result", False, lambda call: _repeats(target, call)
    yield (
        "array edges",
        "an element's result does not depend on its neighbours",
        False,
        (lambda call: _edges(target, call)),
    )


def _plain_numbers(target: Elements, count: int) -> Array:
    """Return numbers in the middle of the format's range, none of them special."""
    span = np.linspace(0.5, 2.0, count) * max(target.fmt.smallest, min(1.0, target.fmt.max / 4))
    return span.astype(target.dtype)


def _result(target: Elements, call: Call) -> Attempt:
    shapes = (256,), (7,), (3, 5), (16, 64)
    for shape in shapes:
        target.observe(call, _plain_numbers(target, int(np.prod(shape))).reshape(shape))
    return as_passed("result", len(shapes))


def _unchanged(target: Elements, call: Call) -> Attempt:
    x = target.everything()
    replace(call, forgiving=False)(x)
    return as_passed("input unchanged", x.size)


def _repeats(target: Elements, call: Call) -> Attempt:
    if isinstance(target.right.rounding, Stochastic):
        return as_not_applicable("determinism", "the declared rounding is stochastic")
    x = target.everything()
    first, second = as_array(call(x)), as_array(call(x))
    if same_bits(first, second):
        return as_passed("determinism", x.size)
    a, b = (decode_result(one, target.fmt, target.returns) for one in (first, second))
    return _differs("determinism", target, x, a, b, "not deterministic")


def _differs(name: str, target: Elements, x: Array, wanted: Array, got: Array, cause: str) -> Attempt:
    """Return the failure that shows two different results of one input."""
    bad = np.flatnonzero(differ(wanted, got, signs=True))
    index = int(bad[0]) if bad.size else 0
    outcome = Outcome(
        name, Verdict.FAILED, cases=x.size, failures=max(1, bad.size),
        example=f"{show_array(x[index : index + 1])} at index {index} of {x.size}",
        expected=show_value(float(wanted[index]), target.fmt), got=show_value(float(got[index]), target.fmt),
        cause=cause,
    )  # fmt: skip
    return Attempt(outcome)


def _edges(target: Elements, call: Call) -> Attempt:
    name = "array edges"
    if isinstance(target.right.rounding, Stochastic):
        return as_not_applicable(name, "the random bits of an element may depend on its place")
    x = np.resize(target.everything(), 1030)
    whole, cases = target.observe(call, x), 0
    for size in (*range(1, 36), 63, 64, 65, 127, 128, 129, 255, 257, 511, 513, 1023, 1025):
        part = target.observe(call, x[-size:])
        cases += size
        if differ(whole[-size:], part, signs=True).any():
            return _differs(name, target, x[-size:], whole[-size:], part, "depends on the array's length")
    return as_passed(name, cases)


def _too_large(target: Elements) -> Array:
    """Return numbers around and above the largest value, and Inf where its result is declared."""
    points = _hard_values.around_overflow(target.fmt, target.dtype)
    infinity = np.array([np.inf], target.dtype)
    points = np.concatenate([points, infinity])
    # Unsigned formats overflow below zero as well.
    signed = np.concatenate([points, -points])
    if target.fmt.has_nan:
        return signed
    return signed[np.isfinite(signed)] if target.right.overflow is not Overflow.SATURATE else signed


def _nan(target: Elements, call: Call) -> Attempt:
    if not target.fmt.has_nan:
        return as_not_applicable("NaN", f"{target.fmt} has none, and nothing says what takes its place")
    return target.compare("NaN", _hard_values.nans(target.dtype), call)


def _zeros(target: Elements, call: Call) -> Attempt:
    fmt, dtype = target.fmt, target.dtype
    if not fmt.has_zero:
        return as_not_applicable("signed zero", f"{fmt} has no zero")
    small = _hard_values.below_normal(fmt, dtype)
    # A tie to zero is the tie rule's business.
    small = small[small.astype(np.float64) < fmt.smallest / 2]
    points = np.concatenate([np.zeros(1, dtype), small])
    x = np.concatenate([points, -points]) if fmt.signed else points
    if not fmt.signed:
        x = np.concatenate([x, -np.zeros(1, dtype)])
    return target.compare("signed zero", x, call, signs=fmt.has_negative_zero or not fmt.signed)


def _monotonic(target: Elements, call: Call) -> Attempt:
    name, fmt = "monotonicity", target.fmt
    up = _hard_values.all_kinds(fmt, target.dtype)
    x = np.concatenate([-up[::-1], up]) if fmt.signed else up
    if target.right.overflow is Overflow.NON_SATURATING:
        x = x[np.isfinite(target.right(x))]
    y = target.observe(call, x)
    seen = (Observed(x, y),)
    with np.errstate(invalid="ignore"):
        falls = np.flatnonzero(y[1:] < y[:-1])
    if not falls.size:
        return as_passed(name, x.size, seen)
    i = int(falls[0])
    outcome = Outcome(
        name, Verdict.FAILED, cases=x.size, failures=falls.size, example=show_array(x[i : i + 2]),
        expected="the second result not below the first",
        got=f"{show_value(float(y[i]), fmt)}, then {show_value(float(y[i + 1]), fmt)}",
    )  # fmt: skip
    return Attempt(outcome, seen)


def _symmetric(target: Elements, call: Call) -> Attempt:
    name, fmt = "sign symmetry", target.fmt
    if not fmt.signed:
        return as_not_applicable(name, f"{fmt} has no sign")
    if target.right.rounding not in SYMMETRIC:
        return as_not_applicable(name, f"{target.right.rounding} does not treat both signs alike")
    if isinstance(fmt, IntFormat) and not fmt.symmetric:
        return as_not_applicable(name, f"{fmt} has a value more below zero")

    def negated(call: Call, x: Array) -> Array:
        return -target.observe(call, -x)

    def positive(x: Array) -> Array:
        return target.observe(call, x)

    x = _hard_values.all_kinds(fmt, target.dtype)
    tried = target.compare(name, x, call, got=negated, expect=positive)
    came = [Observed(-one.x, -one.got) for one in tried.observed if isinstance(one, Observed)]
    return Attempt(tried.outcome, tuple(came))
