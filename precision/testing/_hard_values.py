"""The numbers that are hardest to round to a format: its values, ties, their neighbours, and both ends."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt

from precision._support._array_checks import check_dtype
from precision._support._types import Array
from precision.formats._codec import decode
from precision.formats._float_format import FloatFormat
from precision.formats._named import Format, format_of

SOURCES = tuple(np.dtype(t) for t in (np.float32, np.float64, np.float16, ml_dtypes.bfloat16))
"""The types that numbers to quantize may have."""
MANY = 2048
"""Pairs of neighbouring values that are tried of a format, all of them where there are fewer."""


def as_float64(numbers: Sequence[float]) -> Array:
    """Return numbers as a float64 array."""
    return np.asarray(numbers, np.float64)


def checked_source(dtype: npt.DTypeLike) -> np.dtype[Any]:
    """Return the data type that ``dtype`` names; raise TypeError unless numbers to quantize may have it."""
    wanted = f"one of {', '.join(map(str, SOURCES))}"
    kind = check_dtype(dtype, wanted)
    if kind not in SOURCES:
        raise TypeError(f"dtype must be {wanted}, got {kind}")
    return kind


def word_of(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the type of unsigned integers as large as a type."""
    return np.dtype(f"u{dtype.itemsize}")


def largest_of(dtype: np.dtype[Any]) -> float:
    """Return the largest finite number of a type."""
    return float(ml_dtypes.finfo(dtype).max)


def exactly_held(values: Array, dtype: np.dtype[Any]) -> Array:
    """Return those of some float64 numbers that a type holds exactly, as numbers of this type."""
    with np.errstate(all="ignore"):
        narrow = values.astype(dtype)
        return np.asarray(narrow[(narrow.astype(np.float64) == values) & np.isfinite(values)])


def shift_ulps(values: Array, steps: int) -> Array:
    """Return positive finite numbers moved by ``steps`` ULPs, without those that leave that range."""
    word = word_of(values.dtype)
    bits = values.view(word).astype(np.int64) + steps
    end = int(np.array(np.inf, values.dtype).view(word))
    return np.ascontiguousarray(bits[(bits > 0) & (bits < end)].astype(word)).view(values.dtype)


def sorted_union(parts: Iterable[Array], dtype: np.dtype[Any]) -> Array:
    """Return every number of some arrays once, in ascending order of their bits."""
    word = word_of(dtype)
    bits = np.concatenate([np.ascontiguousarray(part, dtype).view(word) for part in parts])
    return np.unique(bits).view(dtype)


def with_signs(points: Array, fmt: Format) -> Array:
    """Return the points, and their negatives too if the format has a sign."""
    signed = fmt.signed
    return np.concatenate([points, -points]) if signed else points


@functools.lru_cache(maxsize=64)
def lower_codes(fmt: Format) -> tuple[int, ...]:
    """Return codes of non-negative values but the largest: all, or of many those beside binades' ends."""
    last = fmt.max_code
    if last <= MANY:
        return tuple(range(last))
    step = 1 << min(fmt.fraction_bits if isinstance(fmt, FloatFormat) else 0, last.bit_length() - 1)
    edges = (
        range(0, last, step) if isinstance(fmt, FloatFormat) else [1 << k for k in range(last.bit_length())]
    )
    near = {code + offset for code in edges for offset in (-2, -1, 0, 1)}
    ends = {*range(64), *range(last - 64, last)}
    drawn = np.random.default_rng(0).integers(0, last, MANY // 2).tolist()
    return tuple(sorted(code for code in {*near, *ends, *drawn} if 0 <= code < last))


def values_of(fmt: Format, codes: Iterable[int]) -> Array:
    """Return the values of codes as float64."""
    word = fmt.code_dtype
    return decode(np.fromiter(codes, dtype=word), fmt).astype(np.float64)


@functools.lru_cache(maxsize=64)
def pairs(fmt: Format) -> tuple[Array, Array]:
    """Return pairs of neighbouring non-negative values, lower and upper: all, or those of `lower_codes`."""
    low = lower_codes(fmt)
    return values_of(fmt, low), values_of(fmt, (code + 1 for code in low))


def least_normal(fmt: Format) -> float:
    """Return the smallest normal value, or 0 if the format has no subnormals."""
    if isinstance(fmt, FloatFormat) and fmt.subnormals:
        return fmt.min_normal
    return 0.0


def last_step(fmt: Format) -> float:
    """Return the distance from the largest value to the next smaller one."""
    below = fmt.value(fmt.max_code - 1) if fmt.max_code else 0.0
    if isinstance(fmt, FloatFormat) and fmt.fraction_bits == 0:
        return fmt.max  # the next binade begins there
    return fmt.max - below


def own_values(fmt: Format, dtype: np.dtype[Any]) -> Array:
    """Return positive values of the format, as far as the type holds them."""
    low, high = pairs(fmt)
    values = exactly_held(np.unique(np.concatenate([low, high])), dtype)
    return np.asarray(values[values != 0])


def _midpoints(fmt: Format, subnormal: bool, dtype: np.dtype[Any]) -> Array:
    """Return the midpoints of subnormal neighbours, or of the others."""
    low, high = pairs(fmt)
    chosen = (low < least_normal(fmt)) == subnormal
    return exactly_held((low[chosen] + high[chosen]) / 2, dtype)


def ties(fmt: Format, dtype: np.dtype[Any]) -> Array:
    """Return the midpoints of neighbouring normal values."""
    return _midpoints(fmt, False, dtype)


def off_ties(fmt: Format, dtype: np.dtype[Any]) -> Array:
    """Return numbers one to three ULPs beside ties and values, and a random one between each two values."""
    low, high = pairs(fmt)
    normal = low >= least_normal(fmt)
    share = np.random.default_rng(1).uniform(0.05, 0.95, (3, normal.sum()))
    between = low[normal] + share * (high - low)[normal]
    middle, own = ties(fmt, dtype), own_values(fmt, dtype)
    own = own[own.astype(np.float64) >= least_normal(fmt)]
    with np.errstate(all="ignore"):
        parts = [
            between.ravel().astype(dtype),
            *(shift_ulps(middle, n) for n in (-3, -1, 1, 2)),
            own,
            shift_ulps(own, 1),
        ]
        found = sorted_union(parts, dtype)
    values = found.astype(np.float64)
    inside = found[(values >= least_normal(fmt)) & (values <= fmt.max) & (values > 0)]
    return inside[~np.isin(inside, middle)]


def below_normal(fmt: Format, dtype: np.dtype[Any]) -> Array:
    """Return subnormals of the format, their ties and neighbours, smaller numbers, subnormals of the type."""
    limit = least_normal(fmt)
    low, _ = pairs(fmt)
    own = exactly_held(low[(low < limit) & (low > 0)], dtype)
    middle = _midpoints(fmt, True, dtype)
    info = ml_dtypes.finfo(dtype)
    tiny = float(info.smallest_subnormal)
    edge = exactly_held(as_float64([limit]) if limit else as_float64([]), dtype)
    source = exactly_held(as_float64([tiny, 2 * tiny, float(info.tiny), float(info.tiny) / 2]), dtype)
    smallest = exactly_held(
        as_float64([fmt.smallest * share for share in (0.25, 0.375, 0.5, 0.75, 1.5)]), dtype
    )
    parts = [own, middle, edge, source, smallest]
    parts += [shift_ulps(part, n) for part in (own, middle, edge, smallest) for n in (-1, 1)]
    found = sorted_union(parts, dtype)
    upper = limit if limit else fmt.smallest
    return np.asarray(found[(found.astype(np.float64) <= upper) & (found != 0)])


def around_overflow(fmt: Format, dtype: np.dtype[Any]) -> Array:
    """Return the largest value, the tie above it, neighbours of both, and finite numbers far too large."""
    step, top = last_step(fmt), largest_of(dtype)
    with np.errstate(over="ignore"):
        marks = as_float64([fmt.max, fmt.max + step / 2, fmt.max + step, fmt.max + 1.5 * step, 2 * fmt.max])
        far = as_float64([3 * fmt.max, 10 * fmt.max, 1000 * fmt.max, top / 2, top])
    edges = exactly_held(marks, dtype)
    found = sorted_union(
        [edges, shift_ulps(edges, -1), shift_ulps(edges, 1), exactly_held(far[far > fmt.max], dtype)], dtype
    )
    return found[found.astype(np.float64) >= fmt.max - step / 2]


def nans(dtype: np.dtype[Any]) -> Array:
    """Return quiet and signalling NaNs of both signs, with empty and full payloads."""
    word = word_of(dtype)
    infinity = int(np.array(np.inf, dtype).view(word))
    sign = 1 << (8 * dtype.itemsize - 1)
    places = int(ml_dtypes.finfo(dtype).nmant)
    quiet = infinity | 1 << (places - 1)
    full = infinity | ((1 << places) - 1)
    patterns = [quiet, full, infinity | 1, quiet | 1]
    return np.array([p | s for s in (0, sign) for p in patterns], word).view(dtype)


def is_float(dtype: np.dtype[Any]) -> bool:
    """Return whether a type is one of NumPy's or ml_dtypes' floating-point types."""
    if dtype.kind == "f":
        return True
    try:
        return isinstance(format_of(dtype), FloatFormat)
    except ValueError:
        return False


def all_kinds(fmt: Format, dtype: np.dtype[Any]) -> Array:
    """Return positive numbers of all the kinds above, in ascending order."""
    parts = (ties, off_ties, below_normal, around_overflow, own_values)
    return sorted_union([part(fmt, dtype) for part in parts], dtype)
