"""Known mistakes in making scales from amaxes, each a rule that predicts the scales of a matrix."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import ml_dtypes
import numpy as np

from precision._support._types import Array
from precision.formats._rounding_modes import Overflow
from precision.quantization._granularity import PerBlock, PerGroup, PerTensor, PerVector
from precision.quantization._scale_rules import Arithmetic, NonFinite, ScaleRule
from precision.testing.blocks._block_layout import amax_of, reduce_blocks, repeat_over_blocks
from precision.testing.blocks._expected_blocks import ObservedBlocks, Parts, Predict, Reference
from precision.testing.blocks._scale_arithmetic import (
    from_what_came,
    of_spec,
    other_maxima,
    other_roundings,
    wide,
)


def scale_rules(reference: Reference, seen: Sequence[ObservedBlocks]) -> Iterator[tuple[str, Predict]]:
    """Yield every known mistake with the rule that predicts its scales, the likelier first."""
    yield from _other_groups(reference)
    yield from _other_amaxes(reference)
    yield from _other_specs(reference)
    yield from _logarithms(reference)
    yield from other_maxima(reference)
    yield from other_roundings(reference)
    yield from from_what_came(reference, seen)


# ---- which elements -----------------------------------------------------------------------------------
def _other_groups(reference: Reference) -> Iterator[tuple[str, Predict]]:
    """Yield rules that take amaxes over other elements than those of the block."""
    spec, axis = reference.spec, reference.axis
    declared = spec.granularity
    across = -1 if reference.layout.transposed else -2

    def along_other(x: Array) -> Parts:
        return replace(reference, axis=across).parts(x)

    def turned(x: Array) -> Parts:
        found = replace(reference, axis=across).parts(np.ascontiguousarray(x))
        assert found.scale is not None
        return found._replace(scale=np.ascontiguousarray(found.scale.T))

    def flat(x: Array) -> Parts:
        """Return scales of groups along the other axis, stored in the order of these groups."""
        found = turned(x)
        right = reference.parts(x)
        assert found.scale is not None and right.scale is not None
        return found._replace(scale=found.scale.reshape(right.scale.shape))

    def reorder(x: Array) -> Parts:
        found = along_other(x)
        right = reference.parts(x)
        assert found.scale is not None and right.scale is not None
        return found._replace(scale=found.scale.reshape(right.scale.shape))

    for rule in (turned, along_other, flat, reorder):
        yield "group size taken along the wrong axis", rule

    def transposed(x: Array) -> Parts:
        found = reference.parts(x)
        assert found.scale is not None
        return found._replace(scale=np.ascontiguousarray(found.scale.T).reshape(found.scale.shape))

    yield "scales transposed", transposed
    kinds: list[tuple[str, Any]] = [("tensor", PerTensor()), ("row", PerVector())]
    kinds += [(f"group of {n}", PerGroup(n)) for n in (8, 16, 32, 64, 128, 256)]
    kinds += [(f"block of {n} x {n}", PerBlock(n, n)) for n in (16, 32, 64, 128)]
    for name, granularity in kinds:
        if granularity == declared:
            continue
        try:
            other = Reference(replace(spec, granularity=granularity), axis=axis)
        except ValueError:
            continue

        def spread(x: Array, other: Reference = other) -> Parts:
            """Return for each block the scale of that other block in which its first element lies."""
            amax = amax_of(wide(x), other.block(x))
            each = repeat_over_blocks(amax, x.shape, other.block(x))
            own = tuple(b or s for b, s in zip(reference.block(x), x.shape, strict=True))
            return Parts(x, *reference.scales(each[:: own[0], :: own[1]]))

        yield f"amax of the whole {name}" if name in ("tensor", "row") else f"amax of a {name}", spread


def _other_amaxes(reference: Reference) -> Iterator[tuple[str, Predict]]:
    """Yield rules that make something else of a block's elements than their largest magnitude."""

    def by(reduce: Callable[[Array, tuple[int | None, ...]], Array]) -> Predict:
        def rule(x: Array) -> Parts:
            with np.errstate(all="ignore"):
                amax = reduce(wide(x), reference.block(x))
            return Parts(x, *reference.scales(amax.astype(wide(x).dtype)))

        return rule

    def without(index: int) -> Callable[[Array, tuple[int | None, ...]], Array]:
        def reduce(x: Array, block: tuple[int | None, ...]) -> Array:
            steps = reference.layout.steps
            kept = np.abs(x)
            along = 0 if reference.layout.transposed else 1
            # Counted from the block's start, and in the last block from what there is.
            places = np.arange(x.shape[along]) % steps[along]
            lost = places == (index % steps[along])
            if along == 0:
                kept[lost] = 0
            else:
                kept[:, lost] = 0
            return amax_of(kept, block)

        return reduce

    def ignoring_nan(x: Array, block: tuple[int | None, ...]) -> Array:
        return reduce_blocks(np.abs(x), block, np.fmax.reduce) if np.isnan(x).any() else amax_of(x, block)

    yield (
        "largest element instead of largest magnitude",
        by(lambda x, block: np.maximum(reduce_blocks(x, block, np.max), 0)),
    )
    yield (
        "largest element instead of largest magnitude",
        by(lambda x, block: np.abs(reduce_blocks(x, block, np.max))),
    )
    yield "last element of a block left out of amax", by(without(-1))
    yield "first element of a block left out of amax", by(without(0))
    yield "NaN left out of amax", by(ignoring_nan)
    for name, kind in (("bfloat16", ml_dtypes.bfloat16), ("float16", np.float16)):
        yield f"amax rounded to {name}", by(lambda x, block, kind=kind: amax_of(x, block).astype(kind))  # type: ignore[misc]
    for eps in (1e-4, 1e-5, 1e-6, 1e-7, 1e-8, 1e-10, 1e-12, 2.0**-126, 1e-30):
        yield f"{eps:.3g} added to amax", by(lambda x, block, eps=eps: amax_of(x, block) + x.dtype.type(eps))  # type: ignore[misc]


# ---- other specs --------------------------------------------------------------------------------------
def _other_specs(reference: Reference) -> Iterator[tuple[str, Predict]]:
    """Yield the rules of specs with one parameter changed."""
    spec = reference.spec

    def one(name: str, **changes: Any) -> Iterator[tuple[str, Predict]]:
        found = of_spec(reference, **changes)
        if found is not None:
            yield name, found

    for rule in ScaleRule:
        if rule is not spec.scale_rule:
            said = f"scale rule {rule} instead of {spec.scale_rule}"
            if rule.only_divides and spec.scale_rule.gives_powers_of_two:
                said = f"scale rounded to nearest instead of {spec.scale_rule}"
            yield from one(said, scale_rule=rule)
    for order in Arithmetic:
        if order is not spec.arithmetic:
            yield from one(f"arithmetic {order} instead of {spec.arithmetic}", arithmetic=order)
    for eps in (1e-4, 1e-5, 1e-6, 1e-7, 1e-8, 1e-10, 1e-12, 1e-30, 2.0**-126):
        if eps != spec.min_amax:
            yield from one(f"amax below {eps:.3g} counts as it", min_amax=eps)
    if spec.min_amax is not None:
        yield from one(f"min_amax {spec.min_amax:g} not applied", min_amax=None)
    for kind in NonFinite:
        if kind is not spec.non_finite:
            yield from one(f"non_finite {kind} instead of {spec.non_finite}", non_finite=kind)
    for overflow in Overflow:
        if overflow is not spec.scale_overflow:
            yield from one(
                f"scale_overflow {overflow} instead of {spec.scale_overflow}", scale_overflow=overflow
            )
    if spec.tensor_scale:
        for bound in (448.0, 256.0, 240.0):
            if bound != (spec.scale_bound or spec.scale_format.max):
                yield from one(f"scale_bound {bound:g}", scale_bound=bound)


# ---- powers of two through logarithms -----------------------------------------------------------------
def _logarithms(reference: Reference) -> Iterator[tuple[str, Predict]]:
    """Yield rules that take a scale's exponent from a logarithm in floating point."""
    spec = reference.spec
    if not spec.scale_rule.gives_powers_of_two or spec.tensor_scale:
        return
    low, high = math.frexp(spec.scale_format.smallest)[1] - 1, spec.scale_format.max_exponent
    ways: tuple[tuple[str, Callable[[Array], Array]], ...] = (
        ("floor", np.floor), ("ceil", np.ceil), ("round", np.rint),
    )  # fmt: skip
    kinds: tuple[tuple[str, Any], ...] = (("float32", np.float32), ("float64", np.float64))
    for kind_name, kind in kinds:
        for way_name, way in ways:
            for quotient in (False, True):

                def rule(x: Array, kind: Any = kind, way: Any = way, quotient: bool = quotient) -> Parts:
                    amax = amax_of(wide(x), reference.block(x))
                    right, tensor = reference.scales(amax)
                    with np.errstate(all="ignore"):
                        usable = amax.astype(kind)
                        if quotient:
                            usable = usable / kind(spec.fmt.max)
                        exponent = way(np.log2(usable)).astype(np.float64)
                    if not quotient:
                        exponent = exponent - spec.fmt.max_exponent
                    scale = np.exp2(np.clip(exponent, low, high))
                    plain = np.isfinite(amax) & (amax > 0) & np.isfinite(exponent)
                    return Parts(x, np.where(plain, scale, right), tensor)

                of = "amax / max" if quotient else "amax"
                yield f"{way_name} of {kind_name} log2 of {of}", rule
