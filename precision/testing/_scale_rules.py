"""Known mistakes in how scales come from amaxes, each a rule that predicts the scales of a matrix."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt

from precision.codec import round_to
from precision.formats import FP32
from precision.quantized import QuantSpec
from precision.rounding import Overflow, Rounding
from precision.scaling import Arithmetic, NonFinite, PerBlock, PerGroup, PerTensor, PerVector, ScaleRule
from precision.testing._block_layout import amax_of, reduced
from precision.testing._block_reference import Parts, Predict, Reference, SeenBlocks

Array = npt.NDArray[Any]
Scales = Callable[[Array, float], Array]


def scale_rules(reference: Reference, seen: Sequence[SeenBlocks]) -> Iterator[tuple[str, Predict]]:
    """Every known mistake with the scales it predicts, the likelier first."""
    yield from _other_groups(reference)
    yield from _other_amaxes(reference)
    yield from _other_specs(reference)
    yield from _logarithms(reference)
    yield from _other_maxima(reference)
    yield from _other_roundings(reference)
    yield from _from_what_came(reference, seen)


def _wide(x: Array) -> Array:
    return x if x.dtype == np.float64 else x.astype(np.float32)


def _of_spec(reference: Reference, **changes: Any) -> Predict | None:
    """The scales of another spec; None where there is no such spec."""
    try:
        other = replace(reference, spec=replace(reference.spec, **changes))
    except (TypeError, ValueError):
        return None
    return other.parts


# ---- which elements -----------------------------------------------------------------------------------
def _other_groups(reference: Reference) -> Iterator[tuple[str, Predict]]:
    """Amaxes of other elements than those of the block, where that gives as many scales."""
    spec, axis = reference.spec, reference.axis
    declared = spec.granularity
    across = -1 if reference.layout.transposed else -2

    def along_other(x: Array) -> Parts:
        found = replace(reference, axis=across).parts(x)
        return found

    def turned(x: Array) -> Parts:
        found = replace(reference, axis=across).parts(np.ascontiguousarray(x))
        assert found.scale is not None
        return found._replace(scale=np.ascontiguousarray(found.scale.T))

    def flat(x: Array) -> Parts:
        """Groups run along the other axis, and their scales are stored in that order."""
        found = turned(x)
        right = reference.parts(x)
        assert found.scale is not None and right.scale is not None
        return found._replace(scale=found.scale.reshape(right.scale.shape))

    def reordered(x: Array) -> Parts:
        found = along_other(x)
        right = reference.parts(x)
        assert found.scale is not None and right.scale is not None
        return found._replace(scale=found.scale.reshape(right.scale.shape))

    for rule in (turned, along_other, flat, reordered):
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
            """Each block has the scale of the larger one in which its first element lies, or the largest."""
            amax = amax_of(_wide(x), other.block(x))
            steps = tuple(b or s for b, s in zip(other.block(x), x.shape, strict=True))
            each = np.repeat(np.repeat(amax, steps[0], 0), steps[1], 1)[: x.shape[0], : x.shape[1]]
            own = tuple(b or s for b, s in zip(reference.block(x), x.shape, strict=True))
            return Parts(x, *reference.scales(each[:: own[0], :: own[1]]))

        yield f"amax of the whole {name}" if name in ("tensor", "row") else f"amax of a {name}", spread


def _other_amaxes(reference: Reference) -> Iterator[tuple[str, Predict]]:
    def by(reduce: Callable[[Array, tuple[int | None, ...]], Array]) -> Predict:
        def rule(x: Array) -> Parts:
            with np.errstate(all="ignore"):
                amax = reduce(_wide(x), reference.block(x))
            return Parts(x, *reference.scales(amax.astype(_wide(x).dtype)))

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
        return reduced(np.abs(x), block, np.fmax.reduce) if np.isnan(x).any() else amax_of(x, block)

    yield (
        "largest element instead of largest magnitude",
        by(lambda x, block: np.maximum(reduced(x, block, np.max), 0)),
    )
    yield (
        "largest element instead of largest magnitude",
        by(lambda x, block: np.abs(reduced(x, block, np.max))),
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
    """One parameter of the spec otherwise."""
    spec = reference.spec

    def one(name: str, **changes: Any) -> Iterator[tuple[str, Predict]]:
        found = _of_spec(reference, **changes)
        if found is not None:
            yield name, found

    for rule in ScaleRule:
        if rule is not spec.scale_rule:
            said = f"scale rule {rule} instead of {spec.scale_rule}"
            if rule is ScaleRule.AMAX and spec.scale_rule.gives_powers_of_two:
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
    """Exponents by a floating-point logarithm."""
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
                    amax = amax_of(_wide(x), reference.block(x))
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


# ---- another largest value, another rounding ------------------------------------------------------------
def _maxima(spec: QuantSpec) -> list[float]:
    fmt = spec.fmt
    known = {
        448.0,
        240.0,
        256.0,
        224.0,
        480.0,
        512.0,
        57344.0,
        49152.0,
        65504.0,
        127.0,
        128.0,
        7.0,
        8.0,
        6.0,
        4.0,
        5.0,
    }
    known |= {
        2.0**fmt.max_exponent,
        2.0 ** (fmt.max_exponent + 1),
        7.5,
        28.0,
        30.0,
        15.5,
        1.0,
        fmt.max * 2,
        fmt.max / 2,
    }
    return sorted(known - {fmt.max})


def _to_scale_format(spec: QuantSpec, wanted: Array, rounding: Rounding = Rounding.TIES_TO_EVEN) -> Array:
    fmt = spec.scale_format
    least = fmt.smallest if spec.least_scale is None else spec.least_scale
    found = round_to(wanted, fmt, rounding=rounding).astype(np.float64)
    return np.where(found < least, least, found)


def _with_scales(reference: Reference, scales: Scales) -> Predict:
    """Scales of the amaxes that are positive numbers; the declared ones for the rest."""

    def rule(x: Array) -> Parts:
        amax = amax_of(_wide(x), reference.block(x))
        right, tensor = reference.scales(amax)
        with np.errstate(all="ignore"):
            found = np.asarray(scales(amax, tensor), np.float64)
        return Parts(x, np.where(np.isfinite(amax) & (amax > 0), found, right), tensor)

    return rule


def _other_maxima(reference: Reference) -> Iterator[tuple[str, Predict]]:
    spec = reference.spec
    declared = spec.fmt.max
    for other in _maxima(spec):
        name = f"max is {other:g} instead of {declared:g}"

        def amax_rule(amax: Array, tensor: float, other: float = other) -> Array:
            kind = amax.dtype.type
            return _to_scale_format(spec, (amax / kind(other)) / kind(tensor))

        def power_rule(amax: Array, tensor: float, other: float = other) -> Array:
            """The rule of the quotient's exponent."""
            right, _ = reference.scales((amax * amax.dtype.type(declared / other)).astype(amax.dtype))
            return right

        if spec.scale_rule is ScaleRule.AMAX:
            yield name, _with_scales(reference, amax_rule)
        elif math.frexp(declared / other)[0] != 0.5:
            yield name, _with_scales(reference, power_rule)
    if spec.scale_rule.gives_powers_of_two:
        for steps in (1, -1, 2, -2, 3, -3, 8, -8, *(s * spec.fmt.max_exponent for s in (1, -1))):

            def moved(amax: Array, tensor: float, steps: int = steps) -> Array:
                right, _ = reference.scales(amax)
                return np.clip(right * 2.0**steps, spec.scale_format.smallest, spec.scale_format.max)

            if steps:
                ratio = "too large" if steps > 0 else "too small"
                yield f"scale {2 ** abs(steps)} times {ratio}", _with_scales(reference, moved)


def _other_roundings(reference: Reference) -> Iterator[tuple[str, Predict]]:
    spec = reference.spec
    for name, scales in unrounded_scales(reference):
        if spec.scale_rule is ScaleRule.AMAX:
            kept = _with_scales(reference, lambda a, t, s=scales: _to_scale_format(spec, s(a, t)))  # type: ignore[misc]
            yield (name.removeprefix(": ") or "scale computed by a division"), kept
        if spec.scale_format == FP32:
            continue
        for rounding, said in (
            (Rounding.TOWARD_ZERO, "scale truncated to its format"),
            (Rounding.TOWARD_POSITIVE, "scale rounded up to its format"),
            (Rounding.TIES_TO_AWAY, "scale rounded with ties away from zero"),
        ):
            if spec.scale_rule is ScaleRule.AMAX:

                def rounded(
                    amax: Array, tensor: float, of: Scales = scales, way: Rounding = rounding
                ) -> Array:
                    return _to_scale_format(spec, of(amax, tensor), way)

                yield said, _with_scales(reference, rounded)
        yield "scale not rounded to its format", _with_scales(reference, scales)
    for kind, said in ((ml_dtypes.bfloat16, "bfloat16"), (np.float16, "float16")):

        def narrow(amax: Array, tensor: float, kind: Any = kind) -> Array:
            right, _ = reference.scales(amax)
            return right.astype(kind).astype(np.float64)

        yield f"scale rounded to {said}", _with_scales(reference, narrow)
    yield (
        "the scale's reciprocal is returned",
        _with_scales(
            reference,
            lambda a, t: (np.float32(1) / reference.scales(a)[0].astype(np.float32)).astype(np.float64),
        ),
    )
    yield (
        "the scale's reciprocal is returned",
        _with_scales(reference, lambda a, t: a.dtype.type(spec.fmt.max) / a),
    )


def unrounded_scales(reference: Reference) -> Iterator[tuple[str, Scales]]:
    """Scales of amaxes before they are rounded to their format, in the orders that are in use."""
    spec = reference.spec
    if spec.scale_format == FP32 and spec.scale_rule is ScaleRule.AMAX and not spec.tensor_scale:
        yield (
            ": amax * (1 / max) instead of amax / max",
            lambda a, t: a * a.dtype.type(np.float32(1) / np.float32(spec.fmt.max)),
        )
        return

    def divided(amax: Array, tensor: float) -> Array:
        kind = amax.dtype.type
        return np.asarray((amax / kind(spec.fmt.max)) / kind(tensor))

    def reciprocal(amax: Array, tensor: float) -> Array:
        kind = amax.dtype.type
        return np.asarray((amax * kind(np.float32(1) / np.float32(spec.fmt.max))) / kind(tensor))

    def both(amax: Array, tensor: float) -> Array:
        kind = amax.dtype.type
        return np.asarray(amax / (kind(spec.fmt.max) * kind(tensor)))

    yield "", divided
    yield ": amax * (1 / max) instead of amax / max", reciprocal
    if spec.tensor_scale:
        yield ": amax / (max * tensor scale)", both


# ---- constants that were seen --------------------------------------------------------------------------
def _from_what_came(reference: Reference, seen: Sequence[SeenBlocks]) -> Iterator[tuple[str, Predict]]:
    """What blocks of zeros, and the smallest and largest scales, became."""
    spec = reference.spec
    zeros: list[float] = []
    came: list[float] = []
    specials: list[tuple[Array, Array]] = []
    for one in seen:
        if one.came.scale is None:
            continue
        amax = amax_of(_wide(one.x), reference.block(one.x))
        specials.append((amax, one.came.scale))
        zeros += one.came.scale[amax == 0].ravel().tolist()
        came += one.came.scale[np.isfinite(one.came.scale) & (amax > 0)].ravel().tolist()
    for said, kind in (("NaN", np.isnan), ("Inf", np.isinf)):
        found = [v for amax, scale in specials for v in scale[kind(amax)].ravel().tolist()]
        if found:

            def constant(x: Array, value: float = found[0], kind: Any = kind) -> Parts:
                right = reference.parts(x)
                assert right.scale is not None
                return right._replace(
                    scale=np.where(kind(amax_of(_wide(x), reference.block(x))), value, right.scale)
                )

            yield f"a block with {said} has the scale {found[0]:g}", constant
    least = min((v for v in came if v > 0), default=0.0)
    declared_least = spec.scale_format.smallest if spec.least_scale is None else spec.least_scale
    for value in dict.fromkeys((least, *zeros[:1], 0.0, spec.scale_format.smallest)):
        other = _of_spec(reference, least_scale=value) if value != declared_least else None
        if other is not None:
            yield f"least scale is {value:g} instead of {declared_least:g}", other
    if zeros:
        value = zeros[0]
        declared, _ = reference.scales(np.zeros((1, 1), np.float32))

        def for_zeros(x: Array) -> Parts:
            right = reference.parts(x)
            assert right.scale is not None
            amax = amax_of(_wide(x), reference.block(x))
            return right._replace(scale=np.where(amax == 0, value, right.scale))

        yield f"a block of zeros has the scale {value:g} instead of {float(declared.flat[0]):g}", for_zeros
    if came:
        least, most = min(came), max(came)
        least_found, most_found = (
            _with_scales(reference, lambda a, t: np.maximum(reference.scales(a)[0], least)),
            _with_scales(reference, lambda a, t: np.minimum(reference.scales(a)[0], most)),
        )
        yield f"scales below {least:.4g} become it", least_found
        yield f"scales above {most:.4g} become it", most_found

        def no_small(amax: Array, tensor: float) -> Array:
            right, _ = reference.scales(amax)
            positive = [v for v in came if v > 0]
            return np.where(right < min(positive, default=0.0), 0.0, right)

        yield "small scales flushed to zero", _with_scales(reference, no_small)
