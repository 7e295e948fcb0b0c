"""The properties of a matrix product: their problems, the smallest that fails, and a guess at the cause."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from precision._support._types import Array
from precision.accumulators._neighbours import in_float32
from precision.testing._calls import Call, Fault
from precision.testing._properties import Attempt, Property, as_not_applicable, as_passed
from precision.testing._reports import Outcome, Verdict
from precision.testing._shown_numbers import differ, shortest_decimal, show_value
from precision.testing.matmuls import _hard_products, _tolerances
from precision.testing.matmuls._designed_problems import Designs, fit_start
from precision.testing.matmuls._problem import Declared, Problem
from precision.testing.matmuls._product_mistakes import Mistake, matches, mistakes
from precision.testing.matmuls._smallest_problem import smallest
from precision.units._plain_arithmetic import EXACT

MANY = 10
"""Problems that must have come out right before failures are blamed on their sizes."""


class ObservedProduct(NamedTuple):
    """A problem, its expected result, and the observed one."""

    problem: Problem
    expected: Array
    got: Array
    bad: Array
    signs: bool


@dataclass(frozen=True)
class Judge:
    """The judge of results: they must be the declared ones to the last bit, or within the proven bound."""

    d: Declared

    def expected(self, p: Problem) -> Array:
        """Return the declared result, or the exact one where results need only lie within a bound."""
        return p.expected(self.d) if self.d.exact else _tolerances.exact(p, self.d)

    def bad(self, p: Problem, expected: Array, got: Array, *, signs: bool) -> Array:
        """Return where a result is not the expected one, or further off than the bound."""
        if self.d.exact:
            return differ(expected, got, signs=signs)
        return _tolerances.too_far(expected, got, _tolerances.bound(p, self.d))

    def seen(self, call: Call, p: Problem, *, signs: bool = False) -> ObservedProduct:
        """Call the callable with a problem, and judge the result."""
        expected = self.expected(p)
        try:
            got = p.observe(call, self.d)
        except Fault as fault:
            sizes = f"shapes {p.a.shape} and {p.b.shape}"
            raise Fault(fault.kind, f"{fault.detail} ({sizes})") from fault
        return ObservedProduct(p, expected, got, self.bad(p, expected, got, signs=signs), signs)

    # ---- the guess --------------------------------------------------------------------------------------
    def guess(self, observed: Sequence[Any]) -> list[str]:
        """Return the known mistakes that give exactly the observed result of every problem."""
        seen = [one for one in observed if isinstance(one, ObservedProduct)]
        # What failed first, and small problems before large ones: most mistakes are ruled out by one.
        seen.sort(key=lambda one: (not one.bad.any(), one.problem.length * one.got.size))
        if not seen or not seen[0].bad.any():
            return []
        found = [m.cause for m in mistakes(self.d) if all(self.explains(m, one) for one in seen)]
        return list(dict.fromkeys(found)) or self._in_float32(seen) or _only_where(seen)

    def explains(self, mistake: Mistake, one: ObservedProduct) -> bool:
        """Tell whether a mistake gives the observed result of a problem."""
        if self.d.exact:
            return matches(mistake, one.problem, self.d, one.got, signs=one.signs)
        if mistake.change is None:
            return False
        try:
            other = mistake.change(one.problem, self.d)
            if other is None:
                return False
            seen = one._replace(problem=other, expected=self.expected(other))
        except ValueError:
            return False
        if seen.expected.shape != one.got.shape:
            return False
        return not self.bad(other, seen.expected, one.got, signs=False).any()

    def _in_float32(self, seen: Sequence[ObservedProduct]) -> list[str]:
        """Return the cause "a float32 sum in another order" if every result is as exact as such a sum."""
        unit = self.d.accumulator
        if not self.d.exact or unit.step is None or not unit.step.aligns or self.d.dtype != np.float32:
            return []
        for one in seen:
            p = one.problem
            with np.errstate(all="ignore"):
                exact = p.expected(self.d, EXACT, np.float64)
                a, b = (_tolerances.sizes(p, self.d, side) for side in (0, 1))
                limit = (p.length + 4) * 2.0**-23 * (a @ b + (0 if p.c is None else np.abs(p.c))) + 2.0**-149
            if _tolerances.too_far(exact, one.got, np.where(np.isfinite(limit), limit, np.inf)).any():
                return []
        return [f"{in_float32(unit)}, in an order of its own"]


def _sizes(p: Problem) -> tuple[int, int, int]:
    """Return K, and the numbers of rows and columns."""
    return p.length, p.a.shape[-2], p.b.shape[-1]


def _only_where(seen: Sequence[ObservedProduct]) -> list[str]:
    """Return a cause that names the sizes at which every failure and no success occurs, if there are such."""
    bad, good = [one for one in seen if one.bad.any()], [one for one in seen if not one.bad.any()]
    if len(good) < MANY:
        return []
    if all(one.got.ndim > 2 for one in bad) and all(one.got.ndim == 2 for one in good):
        return ["wrong only in batches"]
    for place, name in enumerate("KMN"):
        for n in (2, 4, 8, 16, 32, 64, 128, 256):
            whole = sum(_sizes(one.problem)[place] % n == 0 for one in good)
            if whole >= MANY and all(_sizes(one.problem)[place] % n for one in bad):
                return [f"wrong only where {name} is no multiple of {n}"]
    return []


# ---- one property ------------------------------------------------------------------------------------
def try_problems(
    judge: Judge, name: str, problems: Sequence[Problem], call: Call, *, signs: bool = False
) -> Attempt:
    """Try all problems; the outcome shows the smallest failing problem that is found."""
    seen = [judge.seen(call, p, signs=signs) for p in problems]
    cases, failures = sum(one.got.size for one in seen), sum(int(one.bad.sum()) for one in seen)
    if not failures:
        return as_passed(name, cases, seen)
    worst = min((one for one in seen if one.bad.any()), key=lambda one: one.problem.length * one.got.size)

    def fails(p: Problem) -> bool:
        try:
            return bool(judge.seen(call, p, signs=signs).bad.any())
        except (Fault, ValueError, TypeError):
            return False

    least = smallest(worst.problem, worst.bad, judge.d, fails)
    outcome = _failed_outcome(judge, name, judge.seen(call, least, signs=signs), worst)
    return Attempt(replace(outcome, cases=cases, failures=failures), tuple(seen))


def _failed_outcome(judge: Judge, name: str, least: ObservedProduct, worst: ObservedProduct) -> Outcome:
    """Return the failure that shows the first wrong element of the smallest problem found."""
    d, one = judge.d, least if least.bad.any() else worst
    at = tuple(int(i) for i in np.argwhere(one.bad)[0])
    where = f"y[{', '.join(map(str, at))}]"
    right, came = float(one.expected[at]), float(one.got[at])
    if d.exact:
        said = f"{where} = {show_value(right, d.output)}"
    else:
        limit = float(_tolerances.bound(one.problem, d)[at])
        said = f"{where} = {shortest_decimal(right)} within {limit:.3g}"
    return Outcome(
        name,
        Verdict.FAILED,
        example=one.problem.show(d),
        expected=said,
        got=f"{where} = {show_value(came, d.output)}"
        + ("" if d.exact else f", off by {abs(came - right):.3g}"),
    )


_CLAIMS: tuple[tuple[str, str, Callable[[Designs, Any], Iterator[Problem]], str], ...] = (
    ("exact sums", "small integers, whose sums no order or width changes", _hard_products.exact_sums, ""),
    ("shapes", "any number of rows and columns", _hard_products.shapes, ""),
    ("K tail", "K that steps and intervals do not divide", _hard_products.tail, "ragged"),
    ("batches", "stacks of matrices, broadcast as numpy.matmul does", _hard_products.batches, "batches"),
    ("ordinary data", "normal and uniform numbers", _hard_products.ordinary, ""),
    ("alignment", "one step: bits kept below the largest exponent, and how the rest is cut",
     _hard_products.alignment, ""),
    ("register", "how sums are rounded into the register, and to how many bits", _hard_products.register, ""),
    ("products in a step", "which products are summed together, and in which order",
     _hard_products.steps, ""),
    ("promotion", "where partial sums join the float32 total", _hard_products.promotion, ""),
    ("scales", "which scale belongs to which element", _hard_products.scales, "scaled"),
    ("epilogue", "the order in which partial sums, scales and totals are multiplied and added",
     _hard_products.epilogue, "scaled"),
    ("start", "where c enters", _hard_products.starts, "start"),
    ("NaN and Inf", "what is no number propagates", _hard_products.specials, ""),
    ("overflow", "sums beyond the largest number", _hard_products.overflow, ""),
    ("signed zero", "the sign of a sum of zero", _hard_products.zeros, ""),
    ("subnormal operands", "operands below the smallest normal number count", _hard_products.subnormals, ""),
    ("tiny sums", "sums near the register's smallest numbers", _hard_products.tiny, ""),
    ("low bits", "what the unit ignores of an operand", _hard_products.low_bits, ""),
    ("result type", "the one rounding to the result's type", _hard_products.results, ""),
)  # fmt: skip
_WITHOUT = {
    "ragged": "K that is no multiple of the steps is not to be tried",
    "batches": "batches are not to be tried",
    "scaled": "no scales were declared",
    "start": "the callable takes no c",
}


def gemm_properties(d: Declared) -> tuple[Property, ...]:
    """Return the properties of a declared product, in the order in which they are tried."""
    judge, designs = Judge(d), Designs(d)

    def problems(index: int) -> list[Problem]:
        rng = np.random.default_rng([5, index])
        made = (fit_start(p, d) for p in _CLAIMS[index][2](designs, rng))
        return [p for p in made if d.ragged or p.length % max(1, d.granule) == 0]

    def result(call: Call) -> Attempt:
        """Check only that the callable returns a result of the right shape and type."""
        for p in problems(0)[:1]:
            p.observe(call, d)
        return as_passed("result", 1)

    def unchanged(call: Call) -> Attempt:
        for p in problems(0)[:1]:
            p.observe(replace(call, forgiving=False), d)
        return as_passed("input unchanged", 1)

    def same(call: Call) -> Attempt:
        p = problems(4)[0]
        first = p.observe(call, d)
        for _ in range(3):
            again = p.observe(call, d)
            if differ(first, again, signs=True).any():
                at = tuple(int(i) for i in np.argwhere(differ(first, again, signs=True))[0])
                outcome = Outcome(
                    "determinism", Verdict.FAILED, cases=first.size, cause="not deterministic",
                    failures=int(differ(first, again, signs=True).sum()), example=p.show(d),
                    expected=f"y{list(at)} = {show_value(float(first[at]), d.output)}, as before",
                    got=f"y{list(at)} = {show_value(float(again[at]), d.output)}",
                )  # fmt: skip
                return Attempt(outcome)
        return as_passed("determinism", first.size)

    def claim(index: int, call: Call) -> Attempt:
        name, _, _, needs = _CLAIMS[index]
        if needs and not getattr(d, needs):
            return as_not_applicable(name, _WITHOUT[needs])
        if name == "signed zero" and not d.exact:
            return as_not_applicable(name, "within a bound the sign of zero is free")
        some = problems(index)
        if not some:
            return as_not_applicable(name, "operands and register do not get there")
        return try_problems(judge, name, some, call, signs=name == "signed zero")

    found = [
        Property("result", "shape, type and no exception", test=result, essential=True),
        Property("input unchanged", "operands are only read", test=unchanged),
        Property("determinism", "the same operands give the same result", test=same),
    ]
    guess = judge.guess
    for index, (name, meaning, _, _) in enumerate(_CLAIMS):
        test = functools.partial(claim, index)
        found.append(Property(name, meaning, test=test, guess=guess))
    return tuple(found)
