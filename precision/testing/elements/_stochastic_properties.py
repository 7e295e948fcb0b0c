"""The properties of stochastic rounding: results are neighbours, and their mean is the number itself."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from precision._support._types import Array
from precision.formats._rounding_modes import Overflow, Rounding, Stochastic
from precision.testing import _hard_values
from precision.testing._calls import Call
from precision.testing._properties import Attempt, as_not_applicable, as_passed
from precision.testing._reports import Outcome, Verdict
from precision.testing._shown_numbers import differ, shortest_decimal, show_array, show_value
from precision.testing.elements._declared_rounding import Elements

COPIES = 1 << 14
"""Times that each number is rounded to see the mean of its results."""
SIGMAS = 6.0
"""Standard deviations that a mean may lie off: by chance in two of 10**9 numbers."""


def random_tests(target: Elements) -> Iterator[tuple[str, str, bool, Callable[[Call], Attempt]]]:
    """Yield the tests that take the place of those of deterministic rounding."""
    fmt, dtype = target.fmt, target.dtype

    def exact(call: Call) -> Attempt:
        x = target.with_signs(_hard_values.own_values(fmt, dtype))
        near = replace(target.right, rounding=Rounding.TIES_TO_EVEN)
        return target.compare("idempotence", x, call, expect=near)

    yield "idempotence", "values of the format stay what they are", False, exact
    yield (
        "neighbours",
        "a number becomes one of the two values beside it",
        False,
        lambda c: _beside(target, c),
    )
    yield (
        "unbiased",
        "the mean of many roundings of a number is that number",
        False,
        lambda c: _mean(target, c),
    )
    yield "NaN", "NaNs of every kind become NaN", False, lambda call: _nan(target, call)


def _nan(target: Elements, call: Call) -> Attempt:
    """Check that NaN becomes NaN, in a format that has it."""
    if not target.fmt.has_nan:
        return as_not_applicable("NaN", f"{target.fmt} has none, and nothing says what takes its place")
    return target.compare(
        "NaN", _hard_values.nans(target.dtype), call, expect=lambda x: np.full(x.shape, np.nan)
    )


def _neighbours(target: Elements, x: Array) -> tuple[Array, Array]:
    """Return the values beside numbers, below and above."""
    ways = Rounding.TOWARD_NEGATIVE, Rounding.TOWARD_POSITIVE
    low, high = (replace(target.right, rounding=way, overflow=Overflow.SATURATE)(x) for way in ways)
    return low, high


def _beside(target: Elements, call: Call) -> Attempt:
    """Check that every result is one of the two values beside its number."""
    x = target.everything()
    x = x[np.abs(x.astype(np.float64)) <= target.fmt.max]
    low, high = _neighbours(target, x)
    came = target.observe(call, x)
    bad = differ(low, came) & differ(high, came)
    if not bad.any():
        return as_passed("neighbours", x.size)
    i = int(np.flatnonzero(bad)[0])
    outcome = Outcome(
        "neighbours", Verdict.FAILED, cases=x.size, failures=int(bad.sum()),
        example=show_array(x[i : i + 1]),
        expected=f"{show_value(float(low[i]), target.fmt)} or {show_value(float(high[i]), target.fmt)}",
        got=show_value(float(came[i]), target.fmt),
    )  # fmt: skip
    return Attempt(outcome)


def _mean(target: Elements, call: Call) -> Attempt:
    """Compare how many of many copies are rounded up with the share that their distance gives."""
    name, rounding = "unbiased", target.right.rounding
    assert isinstance(rounding, Stochastic)
    low, high = _hard_values.pairs(target.fmt)
    middle = min(int(np.searchsorted(low, min(1.0, target.fmt.max / 2))), len(low) - 1)
    below, above = float(low[middle]), float(high[middle])
    cases = 0
    for fraction in (0.25, 0.5, 0.75, 0.9):
        for sign in (1.0, -1.0) if target.fmt.signed else (1.0,):
            number = np.array(sign * (below + fraction * (above - below)), target.dtype)
            real = (abs(float(number)) - below) / (above - below)
            count = int((np.abs(target.observe(call, np.full(COPIES, number))) == above).sum())
            cases += COPIES
            wrong, cause = judge_share(count, COPIES, real, rounding.bits)
            if wrong:
                outcome = Outcome(
                    name, Verdict.FAILED, cases=cases, failures=1, cause=cause,
                    example=f"{COPIES} times {show_array(number.reshape(1))}",
                    expected=f"{shortest_decimal(round(real, 6))} of them rounded up in magnitude",
                    got=shortest_decimal(round(count / COPIES, 6)),
                )  # fmt: skip
                return Attempt(outcome)
    return as_passed(name, cases)


def judge_share(count: int, total: int, real: float, bits: int) -> tuple[bool, str]:
    """Return whether ``count`` of ``total`` rounded up is wrong for a fraction, and a guess at the cause."""
    if not total:
        return False, ""
    share = count / total
    # So few bits cut the fraction by less than 2**-bits.
    slack = SIGMAS * math.sqrt(real * (1 - real) / total) + 2.0**-bits
    if abs(share - real) <= slack:
        return False, ""
    if abs(real - 0.5) > 0.1 and share == float(real > 0.5):
        return True, "rounds to nearest"
    return True, {0.0: "truncates", 1.0: "rounds away from zero"}.get(share, "")
