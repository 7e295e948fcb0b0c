"""Inputs and specs for the tests of LogFMT, and the comparison with `reference_logfmt`."""

import itertools
from typing import Any

import ml_dtypes
import numpy as np
import reference_logfmt as oracle

import precision as pr
from precision.logfmt import BelowClamp, Fallback, LogBase, LogFMT, Metadata, SingleValued, Space
from precision.quantization import NonFinite

EVEN, AWAY = pr.Rounding.TIES_TO_EVEN, pr.Rounding.TIES_TO_AWAY

#: Every option with its values; `pairs` takes each pair of values of two options together.
OPTIONS: dict[str, list[Any]] = {
    "bits": list(range(3, 17)),
    "block_size": [128, 16, 7, 100, 1, 4096],
    "base": list(LogBase),
    "rounding": [EVEN, AWAY, pr.Stochastic(8, seed=3), pr.Stochastic(32, seed=2**40 + 1), pr.Stochastic(1)],
    "space": list(Space),
    "clamp": [32, None, 5, 1],
    "below_clamp": list(BelowClamp),
    "metadata": list(Metadata),
    "metadata_format": [pr.FP32, pr.BF16, pr.FP16],
    "from_stored": [True, False],
    "single_valued": list(SingleValued),
    "skip_zeros": [True, False],
    "negative_zero": [True, False],
    "non_finite": list(NonFinite),
    "fallback": [None, "bf16", "fp16"],
}


def made(chosen: dict[str, Any]) -> LogFMT | None:
    """The spec of these options, None where they do not go together."""
    chosen = dict(chosen)
    if chosen["fallback"] is not None:
        fmt = pr.BF16 if chosen["fallback"] == "bf16" else pr.FP16
        chosen["fallback"] = Fallback(fmt, 3 * chosen["block_size"], amax_below=4.0)
    try:
        return LogFMT(**chosen)
    except ValueError:
        return None


def pairs(seed: int = 0, options: dict[str, list[Any]] = OPTIONS) -> list[LogFMT]:
    """Specs in which each two values of two options meet, if they can at all (greedy, from random ones)."""
    rng = np.random.Generator(np.random.Philox(seed))
    names = list(options)
    wanted = {
        (a, i, b, j)
        for a, b in itertools.combinations(range(len(names)), 2)
        for i in range(len(options[names[a]]))
        for j in range(len(options[names[b]]))
    }
    found = []
    for _ in range(300):
        best: tuple[set[Any], LogFMT | None] = (set(), None)
        for _ in range(40):
            at = [int(rng.integers(len(options[name]))) for name in names]
            met = {(a, at[a], b, at[b]) for a, b in itertools.combinations(range(len(names)), 2)} & wanted
            spec = made({name: options[name][i] for name, i in zip(names, at, strict=True)})
            if spec is not None and len(met) > len(best[0]):
                best = met, spec
        if best[1] is None:
            break
        wanted -= best[0]
        found.append(best[1])
    return found


def plain(spec: LogFMT) -> oracle.Spec:
    """A spec in the oracle's words."""
    stochastic = isinstance(spec.rounding, pr.Stochastic)
    fallback = spec.fallback
    return oracle.Spec(
        spec.bits,
        spec.block_size,
        base=spec.base.value,
        rounding="stochastic" if stochastic else spec.rounding.value,
        stochastic=(spec.rounding.bits, spec.rounding.seed) if stochastic else None,
        space=spec.space.value,
        clamp=spec.clamp,
        below_clamp=spec.below_clamp.value,
        metadata=spec.metadata.value,
        metadata_format=str(spec.metadata_format),
        from_stored=spec.from_stored,
        single_valued=spec.single_valued.value,
        skip_zeros=spec.skip_zeros,
        negative_zero=spec.negative_zero,
        non_finite=spec.non_finite.value,
        fallback=None if fallback is None else (str(fallback.fmt), fallback.span, fallback.amax_below),
    )


def bits_of(array: Any) -> Any:
    return np.ascontiguousarray(array).view(f"u{array.dtype.itemsize}")


def same_numbers(found: Any, wanted: Any) -> Any:
    """Elementwise: equal with its sign, or both NaN."""
    found = found.astype(np.float64)
    return ((found == wanted) & (np.signbit(found) == np.signbit(wanted))) | (
        np.isnan(found) & np.isnan(wanted)
    )


def differences(x: Any, spec: LogFMT, axis: int = -1) -> tuple[int, int, Any]:
    """(codes that differ, numbers of metadata that differ, what the oracle says)."""
    q = pr.quantize(x, spec, axis=axis)
    wanted = oracle.encode(x, plain(spec), axis)
    wrong = np.moveaxis(q.codes.astype(np.int64) != wanted.codes, axis, -1)
    if spec.fallback is not None:  # any NaN will do for a NaN that is not cast
        outside = ~np.repeat(wanted.cast, spec.block_size, axis=-1)[..., : wrong.shape[-1]]
        nan = np.isnan(np.moveaxis(q.dequantize(), axis, -1)) & np.isnan(np.moveaxis(x, axis, -1))
        wrong &= ~(outside & nan.astype(bool))
        assert np.array_equal(np.moveaxis(q.cast, axis, -1), wanted.cast)
    bad = sum(
        int((~same_numbers(np.moveaxis(m, axis, -1), w)).sum())
        for m, w in zip(q.metadata, wanted.metadata(), strict=True)
    )
    return int(wrong.sum()), bad, wanted


def decode_errors(q: Any, wanted: oracle.Encoded, axis: int = -1) -> float:
    """The largest error of `dequantize()` in ULPs of float32, at the number that is right."""
    high, low = oracle.decode(q.codes.astype(np.int64), wanted, plain(q.spec), axis)
    got = q.dequantize().astype(np.float64)
    largest = float(np.finfo(np.float32).max)
    over = np.isfinite(high) & (np.abs(high) > largest)
    cast = np.moveaxis(np.repeat(wanted.cast, q.spec.block_size, axis=-1), -1, axis)
    cast = np.take(cast, np.arange(q.codes.shape[axis]), axis)
    over |= np.isinf(high) & cast
    high, low = np.where(over, np.copysign(largest, high), high), np.where(over, 0, low)
    special = ~np.isfinite(high)
    assert same_numbers(got[special], high[special]).all()
    assert (np.signbit(got) == np.signbit(high))[~np.isnan(high)].all()
    ulp = np.exp2(np.maximum(np.frexp(np.where(special, 1, high))[1] - 24, -149))
    with np.errstate(invalid="ignore"):
        return float(np.where(special, 0, np.abs((got - high) - low) / ulp).max(initial=0))


# ---------------------------------------------------------------------------------------------- inputs

DTYPES = [np.dtype(t) for t in (np.float32, np.float16, ml_dtypes.bfloat16, np.float64)]


def families(size: int, dtype: Any = np.float32, seed: int = 0) -> dict[str, Any]:
    """Vectors of many kinds, as a type holds them."""
    rng = np.random.Generator(np.random.Philox(seed))
    info = ml_dtypes.finfo(dtype)
    least, largest = float(info.smallest_subnormal), float(info.max)
    digits = info.nmant

    def signs(x: Any) -> Any:
        return np.where(rng.integers(0, 2, size) == 1, -x, x)

    normal = rng.standard_normal(size)
    spread = np.exp2(rng.uniform(np.log2(least), np.log2(largest) - 1, size))
    ulps = 1 + rng.integers(0, 4, size) * 2.0**-digits
    special = normal.copy()
    special[rng.integers(0, size, 3)] = [np.nan, np.inf, -np.inf]
    found = {
        "normal": normal,
        "heavy": np.clip(signs(np.abs(rng.standard_cauchy(size)) ** 1.5), -largest, largest),
        "subnormal": signs(least * rng.integers(1, 2 ** min(digits, 20), size)),
        "huge range": signs(spread),
        "one value": signs(np.full(size, 1.75)),
        "one value, lone": np.where(np.arange(size) % 5 == 0, -0.3, 0),
        "zero": signs(np.zeros(size)),
        "with zeros": np.where(rng.integers(0, 4, size) == 0, signs(np.zeros(size)), normal),
        "few ulps": signs(ulps),
        "few ulps below one": signs(1 - rng.integers(0, 5, size) * 2.0 ** -(digits + 1)),
        "special": special,
        "powers of two": signs(np.exp2(rng.integers(-14, 15, size))),
        "halfway": signs(rng.integers(1, 6, size) * np.exp2(rng.integers(-8, 9, size))),
        "over the clamp": signs(np.exp2(rng.uniform(-7, 6, size) * rng.choice([1, 2], size))),
    }
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        found["few ulps, large"] = signs(ulps * (largest / 8))
        return {name: x.astype(dtype) for name, x in found.items()}
