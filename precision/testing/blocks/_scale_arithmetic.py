"""Known mistakes in the arithmetic of scales: constants, orders, roundings, and what zeros become."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import ml_dtypes
import numpy as np

from precision._support._types import Array
from precision.formats._codec import round_to
from precision.formats._named import FP32
from precision.formats._rounding_modes import Rounding
from precision.quantization._quant_spec import QuantSpec
from precision.testing.blocks._block_layout import amax_of
from precision.testing.blocks._expected_blocks import ObservedBlocks, Parts, Predict, Reference

Scales = Callable[[Array, float], Array]


def wide(x: Array) -> Array:
    """Return a float64 matrix as it is, and any other in float32."""
    return x if x.dtype == np.float64 else x.astype(np.float32)


def of_spec(reference: Reference, **changes: Any) -> Predict | None:
    """Return the rule of the spec with some fields changed, or None if there is no such spec."""
    try:
        other = replace(reference, spec=replace(reference.spec, **changes))
    except (TypeError, ValueError):
        return None
    return other.parts


# ---- another largest value, another rounding ------------------------------------------------------------
def _maxima(spec: QuantSpec) -> list[float]:
    """Return largest values that others take for the format's."""
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
    """Return scales rounded to their format, at least its smallest scale."""
    fmt = spec.scale_format
    least = fmt.smallest if spec.least_scale is None else spec.least_scale
    found = round_to(wanted, fmt, rounding=rounding).astype(np.float64)
    return np.where(found < least, least, found)


def _with_scales(reference: Reference, scales: Scales) -> Predict:
    """Return a rule that takes ``scales`` for positive finite amaxes, and the declared scales for others."""

    def rule(x: Array) -> Parts:
        amax = amax_of(wide(x), reference.block(x))
        right, tensor = reference.scales(amax)
        with np.errstate(all="ignore"):
            found = np.asarray(scales(amax, tensor), np.float64)
        return Parts(x, np.where(np.isfinite(amax) & (amax > 0), found, right), tensor)

    return rule


def other_maxima(reference: Reference) -> Iterator[tuple[str, Predict]]:
    """Yield rules that take another largest element, or are off by a power of two."""
    spec = reference.spec
    declared = spec.fmt.max
    for other in _maxima(spec):
        name = f"max is {other:g} instead of {declared:g}"

        def amax_rule(amax: Array, tensor: float, other: float = other) -> Array:
            kind = amax.dtype.type
            return _to_scale_format(spec, (amax / kind(other)) / kind(tensor))

        def power_rule(amax: Array, tensor: float, other: float = other) -> Array:
            """Return the declared rule's scales of amaxes times the ratio of both largest elements."""
            right, _ = reference.scales((amax * amax.dtype.type(declared / other)).astype(amax.dtype))
            return right

        if spec.scale_rule.only_divides:
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


def other_roundings(reference: Reference) -> Iterator[tuple[str, Predict]]:
    """Yield rules with another order of operations, rounding or meaning of the scale."""
    spec = reference.spec
    for name, scales in unrounded_scales(reference):
        if spec.scale_rule.only_divides:
            kept = _with_scales(reference, lambda a, t, s=scales: _to_scale_format(spec, s(a, t)))  # type: ignore[misc]
            yield (name.removeprefix(": ") or "scale computed by a division"), kept
        if spec.scale_format == FP32:
            continue
        for rounding, said in (
            (Rounding.TOWARD_ZERO, "scale truncated to its format"),
            (Rounding.TOWARD_POSITIVE, "scale rounded up to its format"),
            (Rounding.TIES_TO_AWAY, "scale rounded with ties away from zero"),
        ):
            if spec.scale_rule.only_divides:

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
    """Yield the ways in use to compute a scale from an amax before it is rounded, each with its words."""
    spec = reference.spec
    if spec.scale_format == FP32 and spec.scale_rule.only_divides and not spec.tensor_scale:
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
def from_what_came(reference: Reference, seen: Sequence[ObservedBlocks]) -> Iterator[tuple[str, Predict]]:
    """Yield rules whose constants (of zeros, NaN, smallest and largest scales) are the observed ones."""
    spec = reference.spec
    zeros: list[float] = []
    came: list[float] = []
    specials: list[tuple[Array, Array]] = []
    for one in seen:
        if one.came.scale is None:
            continue
        amax = amax_of(wide(one.x), reference.block(one.x))
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
                    scale=np.where(kind(amax_of(wide(x), reference.block(x))), value, right.scale)
                )

            yield f"a block with {said} has the scale {found[0]:g}", constant
    least = min((v for v in came if v > 0), default=0.0)
    declared_least = spec.scale_format.smallest if spec.least_scale is None else spec.least_scale
    for value in dict.fromkeys((least, *zeros[:1], 0.0, spec.scale_format.smallest)):
        other = of_spec(reference, least_scale=value) if value != declared_least else None
        if other is not None:
            yield f"least scale is {value:g} instead of {declared_least:g}", other
    if zeros:
        value = zeros[0]
        declared, _ = reference.scales(np.zeros((1, 1), np.float32))

        def for_zeros(x: Array) -> Parts:
            right = reference.parts(x)
            assert right.scale is not None
            amax = amax_of(wide(x), reference.block(x))
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
