"""The properties of a quantizer with scales, each with the matrices that try it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from precision._support._types import Array
from precision.formats._int_format import IntFormat
from precision.formats._rounding_modes import Stochastic
from precision.testing import _hard_values
from precision.testing._calls import Call
from precision.testing._properties import Attempt, Property, as_not_applicable, as_passed
from precision.testing._reports import Outcome, Verdict
from precision.testing._shown_numbers import differ, shortest_decimal, show_array
from precision.testing.blocks._declared_quantizer import Judge, Quantizer, Test, chain_matrices
from precision.testing.blocks._expected_blocks import ObservedBlocks
from precision.testing.elements._element_properties import SYMMETRIC
from precision.testing.elements._stochastic_properties import COPIES, judge_share


def block_properties(target: Quantizer) -> tuple[Property, ...]:
    """Return every property of a quantizer with scales, the essential ones first."""
    guesses = dict.fromkeys(_OF_SCALES, target.guess_scales) | dict.fromkeys(
        _OF_ELEMENTS, target.guess_elements
    )
    return tuple(
        Property(
            name, meaning, test=test, guess=guesses.get(name, target.guess), essential=essential,
            alone=name not in guesses,
        )
        for name, meaning, essential, test in _tests(target)
    )  # fmt: skip


#: Properties that judge scales alone, and elements alone under the scales that came with them.
_OF_SCALES = "scale rule", "scale range"
_OF_ELEMENTS = (
    "scale applied as stored", "nearest value", "tie rule", "subnormals", "overflow rule", "signed zero",
)  # fmt: skip


def _tests(target: Quantizer) -> Iterator[Test]:
    """Yield name, meaning, whether it is essential, and test of every property."""
    yield from _tests_of_results(target)
    yield from _tests_of_scales(target)
    yield from _tests_of_elements(target)
    yield from _tests_of_both(target)


def _comparing(
    target: Quantizer, name: str, meaning: str, give: Callable[[], Iterator[Array]], judge: Judge
) -> Test:
    """Return the test that gives matrices to the quantizer and judges its results."""
    return name, meaning, False, lambda call: target.compare(name, give(), call, judge)


def _tests_of_results(target: Quantizer) -> Iterator[Test]:
    """Yield the tests of properties that every quantizer must have."""
    yield "result", "shapes and types of codes and scales", True, lambda call: _result(target, call)
    yield "input unchanged", "the input is not written into", False, lambda call: _unchanged(target, call)
    yield "determinism", "the same input gives the same result", False, lambda call: _repeats(target, call)


def _tests_of_scales(target: Quantizer) -> Iterator[Test]:
    """Yield the tests of scales alone."""
    inputs = target.inputs
    yield _comparing(
        target, "scale rule",
        "each block's amax, wherever it stands and whatever its sign, sets the declared scale",
        lambda: chain_matrices(lambda: inputs.of_amaxes(inputs.amaxes()), inputs.scale_ties), target.scales,
    )  # fmt: skip
    yield _comparing(
        target, "scale range", "the smallest and largest amaxes, and the ends of the scale's format",
        lambda: inputs.of_amaxes(inputs.extremes()), target.scales,
    )  # fmt: skip
    yield _comparing(
        target, "zero blocks", "blocks of zeros, alone and beside others",
        lambda: _zeros(target), target.whole,
    )  # fmt: skip


def _tests_of_elements(target: Quantizer) -> Iterator[Test]:
    """Yield the tests of elements under the scales that the quantizer returned with them."""
    inputs = target.inputs
    yield _comparing(
        target, "scale applied as stored",
        "elements are divided by the scale that is stored, not by one before rounding",
        lambda: chain_matrices(lambda: inputs.random(11, 256), lambda: inputs.of_amaxes(inputs.amaxes(), 12)),
        target.elements,
    )  # fmt: skip
    yield _comparing(
        target, "nearest value", "elements beside and between values and ties go to the right value",
        lambda: inputs.of_elements(inputs.points(_hard_values.off_ties)), target.elements,
    )  # fmt: skip
    if isinstance(target.reference.spec.rounding, Stochastic):
        meaning = "the mean of many roundings of an element is the element"
        yield "unbiased", meaning, False, lambda call: _unbiased(target, call)
    else:
        yield _comparing(
            target, "tie rule", "elements halfway between two values go to the declared one",
            lambda: inputs.of_elements(inputs.points(_hard_values.ties)), target.elements,
        )  # fmt: skip
    yield _comparing(
        target, "subnormals",
        "elements below the smallest normal value, and blocks of the source's subnormals",
        lambda: chain_matrices(
            lambda: inputs.of_elements(inputs.points(_hard_values.below_normal)),
            lambda: inputs.of_amaxes(inputs.extremes(), 13),
        ),
        target.elements,
    )  # fmt: skip
    yield _comparing(
        target, "overflow rule", "elements whose quotient exceeds the largest value",
        lambda: inputs.of_elements(inputs.over()[0], tops=inputs.over()[1]), target.elements,
    )  # fmt: skip


def _tests_of_both(target: Quantizer) -> Iterator[Test]:
    """Yield the tests of scales and elements together."""
    yield _comparing(
        target, "NaN and Inf", "what one of them does to its block, and to no other",
        lambda: _not_finite(target), target.restored_values,
    )  # fmt: skip
    yield "signed zero", "zeros, and what rounds to zero, keep their sign", False, lambda c: _signs(target, c)
    yield "idempotence", "restored values quantize to themselves", False, lambda call: _again(target, call)
    meaning = "in a block a larger element never becomes smaller"
    yield "monotonicity", meaning, False, lambda call: _rises(target, call)
    if target.reference.spec.fmt.signed:
        meaning = "-x has x's scales and negated codes"
        yield "sign symmetry", meaning, False, lambda call: _negated(target, call)
    meaning = "lengths that blocks do not divide: the last one is shorter"
    yield "block edges", meaning, False, lambda call: _ragged(target, call)
    yield "axis", "groups run along the declared axis", False, lambda call: _axis(target, call)


def _plain(target: Quantizer) -> Array:
    return next(iter(target.inputs.random(1, 16)))


def _result(target: Quantizer, call: Call) -> Attempt:
    x = _plain(target)
    target.observe(call, x)
    return as_passed("result", 1)


def _unchanged(target: Quantizer, call: Call) -> Attempt:
    x = _plain(target)
    replace(call, forgiving=False)(x)
    return as_passed("input unchanged", x.size)


def _repeats(target: Quantizer, call: Call) -> Attempt:
    name = "determinism"
    if isinstance(target.reference.spec.rounding, Stochastic):
        return as_not_applicable(name, "the declared rounding is stochastic")
    cases = 0
    for x in target.inputs.random(2, 64):
        first, second = target.observe(call, x), target.observe(call, x)
        pairs: list[tuple[Array, Array]] = [(first.values, second.values)]
        pairs.append((np.array(first.tensor), np.array(second.tensor)))
        if first.scale is not None and second.scale is not None:
            pairs.append((first.scale, second.scale))
        cases += x.size
        wrong = sum(int(differ(a, b, signs=True).sum()) for a, b in pairs)
        if wrong:
            outcome = Outcome(
                name, Verdict.FAILED, cases=x.size, failures=wrong, cause="not deterministic",
                expected="the same codes and scales twice", got="others the second time",
            )  # fmt: skip
            return Attempt(outcome)
    return as_passed(name, cases)


def _zeros(target: Quantizer) -> Iterator[Array]:
    n = target.reference.layout.elements
    blocks = np.zeros((6, n), target.dtype)
    yield from target.reference.layout.place(blocks[:1])
    blocks[1] = 1.0
    blocks[4] = 0.0078125
    if target.reference.spec.fmt.signed:
        blocks[3] = -0.0
    yield from target.reference.layout.place(blocks)


def _not_finite(target: Quantizer) -> Iterator[Array]:
    n, layout = target.reference.layout.elements, target.reference.layout
    rng = np.random.default_rng(4)
    specials = [[np.nan], [np.inf], [-np.inf], [np.nan, np.inf], [-np.nan]]
    for index, some in enumerate(specials):
        blocks = target.inputs.cast(rng.uniform(0.5, 1, (4, n)) * rng.choice([-1.0, 1.0], (4, n)))
        if not target.reference.spec.fmt.signed:
            blocks = np.abs(blocks)
        place = (index * 5) % n
        for offset, value in enumerate(some):
            blocks[1, (place + offset) % n] = value
        yield from layout.place(blocks)


def _signs(target: Quantizer, call: Call) -> Attempt:
    name, fmt = "signed zero", target.reference.spec.fmt
    if not fmt.has_negative_zero:
        return as_not_applicable(name, f"{fmt} has no negative zero")
    if isinstance(target.reference.spec.rounding, Stochastic):
        small = _hard_values.as_float64([0.0])
    else:
        small = np.concatenate(
            [_hard_values.as_float64([0, 0, 0]), fmt.smallest * _hard_values.as_float64([0.125, 0.25, 0.375])]
        )
    inputs = target.inputs

    def matrices() -> Iterator[Array]:
        for x in inputs.of_elements(np.resize(small, 256)):
            flat = x.copy()
            flat[flat == 0] *= np.resize(np.array([1, -1, -1], x.dtype), (flat == 0).sum())
            yield flat

    return target.compare(name, matrices(), call, lambda x, came: target.elements(x, came, signs=True))


def _again(target: Quantizer, call: Call) -> Attempt:
    name = "idempotence"
    if target.dtype != np.float32:
        return as_not_applicable(name, f"restored values are float32, not {target.dtype}")

    def matrices() -> Iterator[Array]:
        for x in target.inputs.random(7):
            restored = target.reference.restore(x, target.observe(call, x)).astype(np.float32)
            yield np.where(np.isfinite(restored), restored, np.float32(0))

    # A scale of amax / max may come out otherwise the second time, and then the spec says so too.
    return target.compare(name, matrices(), call, target.restored_values)


def _rises(target: Quantizer, call: Call) -> Attempt:
    name, layout, cases = "monotonicity", target.reference.layout, 0
    if layout.height * layout.width == 1:
        return as_not_applicable(name, "a block holds one element")
    if isinstance(target.reference.spec.rounding, Stochastic):
        return as_not_applicable(name, "the declared rounding is stochastic")
    rng, seen = np.random.default_rng(8), []
    span = target.reference.spec.fmt.max
    count = min(layout.most(), 64)
    blocks = np.sort(
        rng.uniform(-span if target.reference.spec.fmt.signed else 0, span, (count, layout.elements))
    )
    for x in layout.place(target.inputs.cast(blocks)):
        came = target.observe(call, x)
        seen.append(ObservedBlocks(x, came))
        restored = target.reference.restore(x, came)
        along = 0 if layout.transposed else 1
        ahead, behind = (
            np.take(restored, range(*r), axis=along) for r in ((1, x.shape[along]), (0, x.shape[along] - 1))
        )
        rising = np.diff(x, axis=along) >= 0
        width = layout.steps[along]
        inside = (np.arange(1, x.shape[along]) % width != 0).reshape((-1, 1) if along == 0 else (1, -1))
        falls = (ahead < behind) & rising & inside
        cases += x.size
        if falls.any():
            where = tuple(np.argwhere(falls)[0])
            after = (where[0] + 1, where[1]) if along == 0 else (where[0], where[1] + 1)
            first, second = (shortest_decimal(np.float32(restored[place])) for place in (where, after))
            outcome = Outcome(
                name, Verdict.FAILED, cases=cases, failures=int(falls.sum()),
                example=show_array(np.array([x[where], x[after]])),
                expected="the second restored value not below the first", got=f"{first}, then {second}",
            )  # fmt: skip
            return Attempt(outcome, tuple(seen))
    return as_passed(name, cases, seen)


def _negated(target: Quantizer, call: Call) -> Attempt:
    name, spec = "sign symmetry", target.reference.spec
    if spec.rounding not in SYMMETRIC:
        return as_not_applicable(name, f"{spec.rounding} does not treat both signs alike")
    if isinstance(spec.fmt, IntFormat) and not spec.fmt.symmetric:
        return as_not_applicable(name, f"{spec.fmt} has a value more below zero")

    def judge(x: Array, came: Any) -> Any:
        other = target.observe(call, -x)
        mirrored = other._replace(values=-other.values)
        wanted, got = (target.reference.restore(x, parts) for parts in (mirrored, came))
        return target.restored_values(x, came)._replace(bad=differ(wanted, got), expected=wanted, got=got)

    return target.compare(name, target.inputs.random(9, 32), call, judge)


def _ragged(target: Quantizer, call: Call) -> Attempt:
    name, layout = "block edges", target.reference.layout
    if not target.ragged:
        return as_not_applicable(name, "ragged=False: lengths are multiples of the block")
    height, width = layout.height, layout.width

    def matrices() -> Iterator[Array]:
        rng = np.random.default_rng(10)
        for rows, columns in (
            (height, 2 * width + 1), (height + 1, width - 1), (height, 1),
            (2 * height + 1, width * 3 // 2 + 1),
        ):  # fmt: skip
            if rows * columns == 0:
                continue
            x = rng.standard_normal((rows, columns)) * np.linspace(1, 100, columns)
            x = x if target.reference.spec.fmt.signed else np.abs(x)
            x[-1, -1] = 3000.0
            yield target.inputs.cast(np.ascontiguousarray(x.T if layout.transposed else x))

    return target.compare(name, matrices(), call, target.whole)


def _axis(target: Quantizer, call: Call) -> Attempt:
    name, layout = "axis", target.reference.layout
    if layout.whole_tensor:
        return as_not_applicable(name, "one scale holds for the whole tensor")
    if layout.height == layout.width:
        return as_not_applicable(name, "blocks are square")
    side = layout.height * layout.width * 2
    rng = np.random.default_rng(11)
    if side > 1024:
        side = max(layout.height, layout.width) * 2
    # Magnitudes grow along both axes, unlike: no two blocks of either way share an amax.
    x = (
        rng.uniform(0.5, 1, (side, side))
        * np.exp2(np.arange(side) / 16)[:, None]
        * np.exp2(np.arange(side) / 24)
    )
    x = x / np.exp2(side / 20)
    return target.compare(name, iter([target.inputs.cast(x)]), call, target.whole)


def _unbiased(target: Quantizer, call: Call) -> Attempt:
    """Compare how many of many equal elements were rounded up with the share that their distance gives."""
    name, spec = "unbiased", target.reference.spec
    assert isinstance(spec.rounding, Stochastic)
    fmt, layout = spec.fmt, target.reference.layout
    if layout.elements < 2:
        return as_not_applicable(name, "a block holds one element")
    low, high = _hard_values.pairs(fmt)
    middle = min(int(np.searchsorted(low, min(1.0, fmt.max / 2))), len(low) - 1)
    cases = 0
    for fraction in (0.25, 0.5, 0.75, 0.9):
        point = low[middle] + fraction * (high[middle] - low[middle])
        count = -(-COPIES // layout.elements)
        share, total, number, real = 0, 0, 0.0, fraction
        for x in target.inputs.of_elements(np.full(count * layout.elements, point)):
            came = target.observe(call, x)
            if came.scale is None:
                return as_not_applicable(name, "no scale came")
            q = np.abs(target.reference.quotients(x, came.scale, came.tensor).astype(np.float64))
            same = np.abs(q - point) < 1e-6 * point
            if not same.any():
                continue
            share += int((np.abs(came.values[same]) >= high[middle]).sum())
            total += int(same.sum())
            number = float(q[same][0])
        cases += total
        real = (number - low[middle]) / (high[middle] - low[middle]) if total else fraction
        wrong, cause = judge_share(share, total, real, spec.rounding.bits)
        if wrong:
            outcome = Outcome(
                name, Verdict.FAILED, cases=cases, failures=1, cause=cause,
                example=f"{total} elements of {shortest_decimal(number)} times their scale",
                expected=f"{shortest_decimal(round(real, 6))} of them rounded up in magnitude",
                got=shortest_decimal(round(share / total, 6)),
            )  # fmt: skip
            return Attempt(outcome)
    return as_passed(name, cases)
