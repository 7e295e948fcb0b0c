"""Known mistakes of quantizers with scales, each a rule that predicts every output it would give.

Scales are explained by themselves; elements under the scales that came with them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from precision._support._types import Array
from precision.formats._rounding_modes import Stochastic
from precision.testing._shown_numbers import differ
from precision.testing.blocks._block_layout import amax_of, repeat_over_blocks
from precision.testing.blocks._expected_blocks import ObservedBlocks, Parts, Reference
from precision.testing.blocks._scale_arithmetic import Scales, unrounded_scales, wide
from precision.testing.blocks._scale_mistakes import scale_rules
from precision.testing.elements._rounding_mistakes import Observed, rules

Quotient = Callable[[Array, Parts], Array]


def guess(reference: Reference, seen: Sequence[ObservedBlocks], part: str = "") -> Iterator[str]:
    """Yield the mistakes that explain every result: in scales, or in elements if the scales are right."""
    finite = [one for one in seen if np.isfinite(one.x).all()]
    if any(one.came.scale is None for one in seen):
        yield from _of_restored(reference, finite)
    elif part == "elements":
        yield from _of_elements(reference, finite)
    elif all(_matches(reference.parts(one.x), one.came) for one in seen):
        yield from () if part == "scales" else _of_elements(reference, finite)
    else:
        yield from _of_scales(reference, seen)


def _matches(wanted: Parts, came: Parts) -> bool:
    """Tell whether the observed scales are the predicted ones."""
    if wanted.scale is None or came.scale is None or wanted.scale.shape != came.scale.shape:
        return False
    tensor = np.float32(wanted.tensor) == np.float32(came.tensor)
    return bool(tensor) and not differ(wanted.scale, came.scale).any()


def _of_scales(reference: Reference, seen: Sequence[ObservedBlocks]) -> Iterator[str]:
    """Yield the mistakes that predict all observed scales."""
    # Those that the declared rule does not explain come first: most mistakes fall there.
    order = sorted(seen, key=lambda one: _matches(reference.parts(one.x), one.came))
    for name, rule in scale_rules(reference, seen):
        if all(_predicts(rule, one) for one in order):
            yield name


def _predicts(rule: Any, one: ObservedBlocks) -> bool:
    """Tell whether a rule predicts the observed scales of a matrix."""
    try:
        return _matches(rule(one.x), one.came)
    except (ValueError, OverflowError, IndexError):
        return False


# ---- elements ---------------------------------------------------------------------------------------
def _of_elements(reference: Reference, seen: Sequence[ObservedBlocks]) -> Iterator[str]:
    """Yield the mistakes that predict all observed elements under the observed scales."""
    if isinstance(reference.spec.rounding, Stochastic) or not seen:
        return
    usable, quotients, came = [], [], []
    for one in seen:
        assert one.came.scale is not None
        total = reference.total(one.x, one.came.scale, one.came.tensor)
        usable.append(np.isfinite(total) & (total > 0))
        quotients.append(reference.quotients(one.x, one.came.scale, one.came.tensor))
        came.append(one.came.values)
    kept = [
        Observed(q[use].reshape(-1), v[use].reshape(-1))
        for q, v, use in zip(quotients, came, usable, strict=True)
    ]
    together = [one for one in kept if one.x.size]
    found = False
    for signs in (True, False):
        right = [differ(reference.rounds(one.x), one.got, signs=signs).any() for one in together]
        if found or not any(right):
            return
        for name, values in _scalings(reference, seen):
            matched = zip(values, came, usable, strict=True)
            if not any(differ(v[use], c[use], signs=signs).any() for v, c, use in matched):
                found = True
                yield name
        for name, rule in rules(reference.rounds, together):
            try:
                with np.errstate(all="ignore"):
                    predicted = [np.asarray(rule(one.x), np.float64) for one in together]
            except (ValueError, OverflowError):
                continue
            if not any(
                differ(p, one.got, signs=signs).any() for p, one in zip(predicted, together, strict=True)
            ):
                found = True
                yield name


def _scalings(reference: Reference, seen: Sequence[ObservedBlocks]) -> Iterator[tuple[str, list[Array]]]:
    """Yield mistakes in dividing elements by scales, each with the values it gives for every matrix."""
    for name, quotient in _quotients(reference):
        try:
            with np.errstate(all="ignore"):
                yield name, [reference.rounds(quotient(one.x, one.came)) for one in seen]
        except ValueError:
            continue
    yield "the last, shorter block left out", [_without_short(reference, one) for one in seen]


def _quotients(reference: Reference) -> Iterator[tuple[str, Quotient]]:
    """Yield the known mistakes in dividing elements by scales, each with what it rounds to the format."""
    yield from _unrounded_divisors(reference)
    yield from _other_operations(reference)
    yield from _other_scales(reference)


def _each_scale(reference: Reference, x: Array, came: Parts) -> Array:
    """Return the stored scale of each element, without the tensor's, as float32."""
    assert came.scale is not None
    return repeat_over_blocks(came.scale, x.shape, reference.block(x)).astype(np.float32)


def _each_total(reference: Reference, x: Array, came: Parts) -> Array:
    """Return fl32(scale * tensor scale) of each element as float32."""
    assert came.scale is not None
    return reference.total(x, came.scale, came.tensor).astype(np.float32)


def _unrounded_divisors(reference: Reference) -> Iterator[tuple[str, Quotient]]:
    """Yield quotients by scales that are rounded only afterwards."""
    for name, scales in unrounded_scales(reference):

        def divided(x: Array, came: Parts, scales: Scales = scales) -> Array:
            amax = amax_of(wide(x), reference.block(x))
            q = wide(x) / repeat_over_blocks(scales(amax, came.tensor), x.shape, reference.block(x))
            return np.where(x == 0, wide(x), q)

        def inverted(x: Array, came: Parts, scales: Scales = scales) -> Array:
            amax = amax_of(wide(x), reference.block(x))
            scale = repeat_over_blocks(scales(amax, came.tensor), x.shape, reference.block(x))
            return np.where(x == 0, wide(x), wide(x) * (1 / scale).astype(wide(x).dtype))

        yield f"scale rounded after the elements were divided{name}", divided
        yield f"scale rounded after the elements were divided{name}", inverted


def _other_operations(reference: Reference) -> Iterator[tuple[str, Quotient]]:
    """Yield quotients computed by other operations than one division."""

    def total(x: Array, came: Parts) -> Array:
        return _each_total(reference, x, came)

    def by_amax(x: Array, came: Parts) -> Array:
        """Return x * (max / amax), which many kernels compute in the place of x / (amax / max)."""
        amax = repeat_over_blocks(amax_of(wide(x), reference.block(x)), x.shape, reference.block(x))
        factor = (x.dtype.type(reference.spec.fmt.max) / amax).astype(wide(x).dtype)
        return np.where(x == 0, wide(x), wide(x) * factor)

    def tensor_first(x: Array, came: Parts) -> Array:
        return np.asarray((wide(x) / np.float32(came.tensor)) / _each_scale(reference, x, came))

    def tensor_last(x: Array, came: Parts) -> Array:
        return np.asarray((wide(x) / _each_scale(reference, x, came)) / np.float32(came.tensor))

    def no_tensor(x: Array, came: Parts) -> Array:
        return np.asarray(wide(x) / _each_scale(reference, x, came))

    yield "reciprocal multiplied instead of divided", lambda x, c: wide(x) * (np.float32(1) / total(x, c))
    yield "divided instead of the reciprocal multiplied", lambda x, c: wide(x) / total(x, c)
    yield "elements multiplied by max / amax instead of divided by the scale", by_amax
    yield "elements multiplied by the scale instead of divided", lambda x, c: wide(x) * total(x, c)
    yield "elements not scaled", lambda x, c: wide(x)
    if reference.spec.tensor_scale:
        yield "tensor scale not applied to the elements", no_tensor
        yield "divided by both scales one after another", tensor_first
        yield "divided by both scales one after another", tensor_last


def _other_scales(reference: Reference) -> Iterator[tuple[str, Quotient]]:
    """Yield quotients by other elements' scales, or by scales kept above a bound."""

    def total(x: Array, came: Parts) -> Array:
        return _each_total(reference, x, came)

    def one_scale(x: Array, came: Parts) -> Array:
        return np.asarray(wide(x) / total(x, came).max())

    def normal(x: Array, came: Parts) -> Array:
        return np.asarray(wide(x) / np.maximum(total(x, came), np.float32(2.0**-126)))

    def normal_inverse(x: Array, came: Parts) -> Array:
        return np.asarray(wide(x) * (np.float32(1) / np.maximum(total(x, came), np.float32(2.0**-126))))

    def neighbours(step: int) -> Quotient:
        def quotient(x: Array, came: Parts) -> Array:
            assert came.scale is not None
            along = 0 if reference.layout.transposed else 1
            other = came._replace(scale=np.roll(came.scale, step, axis=along))
            return np.asarray(wide(x) / total(x, other))

        return quotient

    yield "one scale applied to the whole tensor", one_scale
    yield "scales below 2^-126 divided as 2^-126", normal
    yield "scales below 2^-126 divided as 2^-126", normal_inverse
    yield "scale of the block before applied", neighbours(1)
    yield "scale of the block after applied", neighbours(-1)


def _without_short(reference: Reference, one: ObservedBlocks) -> Array:
    """Return the expected values with zeros for the last, shorter block."""
    assert one.came.scale is not None
    values = reference.elements(one.x, one.came.scale, one.came.tensor)
    along = 0 if reference.layout.transposed else 1
    whole = one.x.shape[along] // reference.layout.steps[along] * reference.layout.steps[along]
    rest = [slice(None), slice(None)]
    rest[along] = slice(whole, None)
    values = values.copy()
    values[tuple(rest)] = 0
    return values


# ---- where no scale came ----------------------------------------------------------------------------
def _of_restored(reference: Reference, seen: Sequence[ObservedBlocks]) -> Iterator[str]:
    """Yield the mistakes, in scales or in elements, that explain restored values if no scales are known."""
    parts = [reference.parts(one.x) for one in seen]
    hidden = [ObservedBlocks(one.x, part) for one, part in zip(seen, parts, strict=True)]

    def all_same(restored: Iterable[Array]) -> bool:
        with np.errstate(all="ignore"):
            return not any(differ(r, one.came.values).any() for r, one in zip(restored, seen, strict=True))

    def with_values(values: Iterable[Array]) -> Iterator[Array]:
        for one, value in zip(hidden, values, strict=True):
            yield reference.restore(one.x, one.came._replace(values=value))

    if isinstance(reference.spec.rounding, Stochastic) or all_same(
        with_values(part.values for part in parts)
    ):
        return
    for name, rule in scale_rules(reference, hidden):
        try:
            if all_same(_restored_with(reference, one.x, rule(one.x)) for one in seen):
                yield name
        except (ValueError, OverflowError, IndexError):
            continue
    for name, values in _scalings(reference, hidden):
        if all_same(with_values(values)):
            yield name
    quotients = [Observed(_quotients_of(reference, one), one.came.values.ravel()) for one in hidden]
    for name, mistake in rules(reference.rounds, quotients):
        given = zip(quotients, hidden, strict=True)
        try:
            if all_same(with_values(_shaped(mistake(q.x), one.x) for q, one in given)):
                yield name
        except (ValueError, OverflowError):
            continue


def _shaped(values: Array, x: Array) -> Array:
    return np.asarray(values, np.float64).reshape(x.shape)


def _quotients_of(reference: Reference, one: ObservedBlocks) -> Array:
    assert one.came.scale is not None
    return reference.quotients(one.x, one.came.scale, one.came.tensor).ravel()


def _restored_with(reference: Reference, x: Array, parts: Parts) -> Array:
    assert parts.scale is not None
    values = reference.elements(x, parts.scale, parts.tensor)
    return reference.restore(x, parts._replace(values=values))
