"""Known mistakes in scaling: rules for scales and for elements that predict every output they would give.

Scales are explained by themselves; elements under the scales that came with them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from precision.rounding import Stochastic
from precision.testing._block_layout import amax_of, expanded
from precision.testing._block_reference import Parts, Reference, SeenBlocks
from precision.testing._element_rules import Seen, rules
from precision.testing._numbers import differ
from precision.testing._scale_rules import scale_rules, unrounded_scales

Array = npt.NDArray[Any]


def guess(reference: Reference, seen: Sequence[SeenBlocks]) -> str:
    """The first mistake that predicts everything that was seen; "" if none does."""
    if not seen:
        return ""
    finite = [one for one in seen if np.isfinite(one.x).all()]
    if any(one.came.scale is None for one in seen):
        return _of_restored(reference, finite)
    cause = _of_scales(reference, seen)
    return cause if cause is not None else _of_elements(reference, finite)


def _matches(wanted: Parts, came: Parts) -> bool:
    """Whether scales are as predicted."""
    if wanted.scale is None or came.scale is None or wanted.scale.shape != came.scale.shape:
        return False
    tensor = np.float32(wanted.tensor) == np.float32(came.tensor)
    return bool(tensor) and not differ(wanted.scale, came.scale).any()


def _of_scales(reference: Reference, seen: Sequence[SeenBlocks]) -> str | None:
    """The mistake in the scales; None where they are all right, "" where no mistake explains them."""
    wrong = [one for one in seen if not _matches(reference.parts(one.x), one.came)]
    if not wrong:
        return None
    for name, rule in scale_rules(reference, seen):
        # Those that the declared rule does not explain come first: most mistakes fall there.
        if all(_predicts(rule, one) for one in wrong) and all(_predicts(rule, one) for one in seen):
            return name
    return ""


def _predicts(rule: Any, one: SeenBlocks) -> bool:
    try:
        return _matches(rule(one.x), one.came)
    except (ValueError, OverflowError, IndexError):
        return False


# ---- elements ---------------------------------------------------------------------------------------
def _of_elements(reference: Reference, seen: Sequence[SeenBlocks]) -> str:
    spec = reference.spec
    if isinstance(spec.rounding, Stochastic) or not seen:
        return ""
    usable, quotients, came = [], [], []
    for one in seen:
        assert one.came.scale is not None
        total = reference.total(one.x, one.came.scale, one.came.tensor)
        usable.append(np.isfinite(total) & (total > 0))
        quotients.append(reference.quotients(one.x, one.came.scale, one.came.tensor))
        came.append(one.came.values)
    kept = [
        Seen(q[use].reshape(-1), v[use].reshape(-1))
        for q, v, use in zip(quotients, came, usable, strict=True)
    ]
    together = [one for one in kept if one.x.size]
    if not together:
        return ""
    for signs in (True, False):
        right = [differ(reference.rounds(one.x), one.got, signs=signs).any() for one in together]
        if not any(right):
            return ""
        for name, predicted in _scalings(reference, seen):
            if all(
                not differ(predicted[i][usable[i]], came[i][usable[i]], signs=signs).any()
                for i in range(len(seen))
            ):
                return name
        for name, rule in rules(reference.rounds, together):
            try:
                if all(
                    not differ(np.asarray(rule(one.x), np.float64), one.got, signs=signs).any()
                    for one in together
                ):
                    return name
            except (ValueError, OverflowError):
                continue
    return ""


def _scalings(reference: Reference, seen: Sequence[SeenBlocks]) -> Iterator[tuple[str, list[Array]]]:
    """Mistakes in what is divided by what, each with the values it gives for every matrix."""
    for name, quotient in _quotients(reference):
        try:
            with np.errstate(all="ignore"):
                yield name, [reference.rounds(quotient(one.x, one.came)) for one in seen]
        except ValueError:
            continue
    yield "the last, shorter block left out", [_without_short(reference, one) for one in seen]


def _wide(x: Array) -> Array:
    return x if x.dtype == np.float64 else x.astype(np.float32)


def _quotients(reference: Reference) -> Iterator[tuple[str, Any]]:
    def total(x: Array, came: Parts) -> Array:
        assert came.scale is not None
        return reference.total(x, came.scale, came.tensor).astype(np.float32)

    for name, scales in unrounded_scales(reference):

        def unrounded(x: Array, came: Parts, scales: Any = scales) -> Array:
            amax = amax_of(_wide(x), reference.block(x))
            return np.asarray(_wide(x) / expanded(scales(amax, came.tensor), x.shape, reference.block(x)))

        def inverted(x: Array, came: Parts, scales: Any = scales) -> Array:
            amax = amax_of(_wide(x), reference.block(x))
            scale = expanded(scales(amax, came.tensor), x.shape, reference.block(x))
            return np.asarray(_wide(x) * (1 / scale).astype(_wide(x).dtype))

        yield f"scale rounded after the elements were divided{name}", unrounded
        yield f"scale rounded after the elements were divided{name}", inverted

    def by_amax(x: Array, came: Parts) -> Array:
        """x * (max / amax): what many kernels compute in the place of x / (amax / max)."""
        amax = expanded(amax_of(_wide(x), reference.block(x)), x.shape, reference.block(x))
        return np.asarray(_wide(x) * (x.dtype.type(reference.spec.fmt.max) / amax).astype(_wide(x).dtype))

    def by_parts(x: Array, came: Parts) -> Array:
        assert came.scale is not None
        scale = expanded(came.scale, x.shape, reference.block(x)).astype(np.float32)
        return np.asarray((_wide(x) / np.float32(came.tensor)) / scale)

    def by_parts_turned(x: Array, came: Parts) -> Array:
        assert came.scale is not None
        scale = expanded(came.scale, x.shape, reference.block(x)).astype(np.float32)
        return np.asarray((_wide(x) / scale) / np.float32(came.tensor))

    def no_tensor(x: Array, came: Parts) -> Array:
        assert came.scale is not None
        return np.asarray(_wide(x) / expanded(came.scale, x.shape, reference.block(x)).astype(np.float32))

    def one_scale(x: Array, came: Parts) -> Array:
        return np.asarray(_wide(x) / total(x, came).max())

    def moved(step: int) -> Any:
        def rule(x: Array, came: Parts) -> Array:
            assert came.scale is not None
            along = 0 if reference.layout.transposed else 1
            other = came._replace(scale=np.roll(came.scale, step, axis=along))
            return np.asarray(_wide(x) / total(x, other))

        return rule

    yield "reciprocal multiplied instead of divided", lambda x, c: _wide(x) * (np.float32(1) / total(x, c))
    yield "divided instead of the reciprocal multiplied", lambda x, c: _wide(x) / total(x, c)
    yield "elements multiplied by max / amax instead of divided by the scale", by_amax
    yield "elements multiplied by the scale instead of divided", lambda x, c: _wide(x) * total(x, c)
    yield "elements not scaled", lambda x, c: _wide(x)
    if reference.spec.tensor_scale:
        yield "tensor scale not applied to the elements", no_tensor
        yield "divided by both scales one after another", by_parts
        yield "divided by both scales one after another", by_parts_turned
    yield "one scale applied to the whole tensor", one_scale
    yield "scale of the block before applied", moved(1)
    yield "scale of the block after applied", moved(-1)


def _without_short(reference: Reference, one: SeenBlocks) -> Array:
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
def _of_restored(reference: Reference, seen: Sequence[SeenBlocks]) -> str:
    """The mistake behind restored values: in the scales, or else in the elements."""
    if not seen or isinstance(reference.spec.rounding, Stochastic):
        return ""

    def same(restored: Array, one: SeenBlocks) -> bool:
        return not differ(restored, one.came.values).any()

    if all(same(reference.restored(one.x, reference.parts(one.x)), one) for one in seen):
        return ""
    for name, rule in scale_rules(reference, seen):
        try:
            with np.errstate(all="ignore"):
                if all(same(_restored_with(reference, one.x, rule(one.x)), one) for one in seen):
                    return name
        except (ValueError, OverflowError, IndexError):
            continue
    parts = [reference.parts(one.x) for one in seen]
    hidden = [SeenBlocks(one.x, part) for one, part in zip(seen, parts, strict=True)]
    for name, values in _scalings(reference, hidden):
        found = zip(seen, parts, values, strict=True)
        if all(same(reference.restored(one.x, part._replace(values=v)), one) for one, part, v in found):
            return name
    quotients = [Seen(_quotients_of(reference, one), one.came.values.ravel()) for one in hidden]
    for name, rule in rules(reference.rounds, quotients):
        try:
            predicted = [
                np.asarray(rule(q.x), np.float64).reshape(one.x.shape)
                for q, one in zip(quotients, seen, strict=True)
            ]
        except (ValueError, OverflowError):
            continue
        found = zip(seen, parts, predicted, strict=True)
        if all(same(reference.restored(one.x, part._replace(values=v)), one) for one, part, v in found):
            return name
    return ""


def _quotients_of(reference: Reference, one: SeenBlocks) -> Array:
    assert one.came.scale is not None
    return reference.quotients(one.x, one.came.scale, one.came.tensor).ravel()


def _restored_with(reference: Reference, x: Array, parts: Parts) -> Array:
    assert parts.scale is not None
    values = reference.elements(x, parts.scale, parts.tensor)
    return reference.restored(x, parts._replace(values=values))
