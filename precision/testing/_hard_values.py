"""The numbers that are hardest for a format: its values, ties, their neighbours, and both ends."""

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
from precision.formats._int_format import IntFormat
from precision.formats._named import Format, format_of

SOURCES = tuple(np.dtype(t) for t in (np.float32, np.float64, np.float16, ml_dtypes.bfloat16))
"""The types that numbers to quantize may have."""
MANY = 2048
"""Pairs of neighbouring values that are tried of a format, all of them where there are fewer."""


def wide(numbers: Sequence[float]) -> Array:
    """Some numbers as float64."""
    return np.asarray(numbers, np.float64)


def checked_source(dtype: npt.DTypeLike) -> np.dtype[Any]:
    """The type of the numbers to quantize, or an error that names the argument."""
    wanted = f"one of {', '.join(map(str, SOURCES))}"
    kind = check_dtype(dtype, wanted)
    if kind not in SOURCES:
        raise TypeError(f"dtype must be {wanted}, got {kind}")
    return kind


def word_of(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The unsigned integers of a type's size."""
    return np.dtype(f"u{dtype.itemsize}")


def largest_of(dtype: np.dtype[Any]) -> float:
    """The largest finite number of a source type."""
    return float(ml_dtypes.finfo(dtype).max)


def cast(values: Array, dtype: np.dtype[Any]) -> Array:
    """Those of some float64 numbers that a type holds exactly, in it."""
    with np.errstate(all="ignore"):
        narrow = values.astype(dtype)
        return np.asarray(narrow[(narrow.astype(np.float64) == values) & np.isfinite(values)])


def moved(values: Array, steps: int) -> Array:
    """Positive finite numbers ``steps`` ULPs on, but those that would be positive and finite no more."""
    word = word_of(values.dtype)
    bits = values.view(word).astype(np.int64) + steps
    end = int(np.array(np.inf, values.dtype).view(word))
    return np.ascontiguousarray(bits[(bits > 0) & (bits < end)].astype(word)).view(values.dtype)


def joined(parts: Iterable[Array], dtype: np.dtype[Any]) -> Array:
    """Every number once, in ascending order of its bits."""
    word = word_of(dtype)
    bits = np.concatenate([np.ascontiguousarray(part, dtype).view(word) for part in parts])
    return np.unique(bits).view(dtype)


def with_signs(points: Array, fmt: Format) -> Array:
    """The same of both signs, where the format has both."""
    signed = fmt.signed
    return np.concatenate([points, -points]) if signed else points


@functools.lru_cache(maxsize=64)
def lower_codes(fmt: Format) -> tuple[int, ...]:
    """Codes of non-negative values but the largest: all, or of wide formats those at the edges of binades."""
    last = fmt.max_code
    if last <= MANY:
        return tuple(range(last))
    step = 1 << min(fmt.fraction_bits if isinstance(fmt, FloatFormat) else 0, last.bit_length() - 1)
    edges = (
        range(0, last, step) if isinstance(fmt, FloatFormat) else [1 << k for k in range(last.bit_length())]
    )
    near = {code + offset for code in edges for offset in (-2, -1, 0, 1)}
    ends = {*range(64), *range(last - 64, last)}
    spread = np.random.default_rng(0).integers(0, last, MANY // 2).tolist()
    return tuple(sorted(code for code in {*near, *ends, *spread} if 0 <= code < last))


def values_of(fmt: Format, codes: Iterable[int]) -> Array:
    """Values of codes, as float64."""
    word = fmt.code_dtype
    return decode(np.fromiter(codes, dtype=word), fmt).astype(np.float64)


@functools.lru_cache(maxsize=64)
def pairs(fmt: Format) -> tuple[Array, Array]:
    """Neighbouring non-negative values: all of a narrow format, the most telling of a wide one."""
    low = lower_codes(fmt)
    return values_of(fmt, low), values_of(fmt, (code + 1 for code in low))


def least_normal(fmt: Format) -> float:
    """Below it a format loses precision; 0 where it does not."""
    if isinstance(fmt, FloatFormat) and fmt.subnormals:
        return fmt.min_normal
    return 0.0


def last_step(fmt: Format) -> float:
    """The distance from the largest value to the next smaller one."""
    below = fmt.value(fmt.max_code - 1) if fmt.max_code else 0.0
    if isinstance(fmt, FloatFormat) and fmt.fraction_bits == 0:
        return fmt.max  # the next binade begins there
    return fmt.max - below


def exact(fmt: Format, dtype: np.dtype[Any]) -> Array:
    """Non-negative values of the format itself, zero apart."""
    low, high = pairs(fmt)
    values = cast(np.unique(np.concatenate([low, high])), dtype)
    return np.asarray(values[values != 0])


def _midpoints(fmt: Format, subnormal: bool, dtype: np.dtype[Any]) -> Array:
    low, high = pairs(fmt)
    chosen = (low < least_normal(fmt)) == subnormal
    return cast((low[chosen] + high[chosen]) / 2, dtype)


def ties(fmt: Format, dtype: np.dtype[Any]) -> Array:
    """Midpoints of normal neighbours."""
    return _midpoints(fmt, False, dtype)


def off_ties(fmt: Format, dtype: np.dtype[Any]) -> Array:
    """One to three ULPs beside every tie and every value, and a random number between each two."""
    low, high = pairs(fmt)
    normal = low >= least_normal(fmt)
    share = np.random.default_rng(1).uniform(0.05, 0.95, (3, normal.sum()))
    between = low[normal] + share * (high - low)[normal]
    middle, own = ties(fmt, dtype), exact(fmt, dtype)
    own = own[own.astype(np.float64) >= least_normal(fmt)]
    with np.errstate(all="ignore"):
        parts = [
            between.ravel().astype(dtype),
            *(moved(middle, n) for n in (-3, -1, 1, 2)),
            own,
            moved(own, 1),
        ]
        found = joined(parts, dtype)
    values = found.astype(np.float64)
    inside = found[(values >= least_normal(fmt)) & (values <= fmt.max) & (values > 0)]
    return inside[~np.isin(inside, middle)]


def below_normal(fmt: Format, dtype: np.dtype[Any]) -> Array:
    """Subnormals of the format, their ties and neighbours, what rounds to zero, subnormals of the source."""
    limit = least_normal(fmt)
    low, _ = pairs(fmt)
    own = cast(low[(low < limit) & (low > 0)], dtype)
    middle = _midpoints(fmt, True, dtype)
    info = ml_dtypes.finfo(dtype)
    tiny = float(info.smallest_subnormal)
    edge = cast(wide([limit]) if limit else wide([]), dtype)
    source = cast(wide([tiny, 2 * tiny, float(info.tiny), float(info.tiny) / 2]), dtype)
    smallest = cast(wide([fmt.smallest * share for share in (0.25, 0.375, 0.5, 0.75, 1.5)]), dtype)
    parts = [own, middle, edge, source, smallest]
    parts += [moved(part, n) for part in (own, middle, edge, smallest) for n in (-1, 1)]
    found = joined(parts, dtype)
    upper = limit if limit else fmt.smallest
    return np.asarray(found[(found.astype(np.float64) <= upper) & (found != 0)])


def around_overflow(fmt: Format, dtype: np.dtype[Any]) -> Array:
    """The largest value, the tie above it, the neighbours of both, and numbers far too large, but Inf."""
    step, top = last_step(fmt), largest_of(dtype)
    with np.errstate(over="ignore"):
        marks = wide([fmt.max, fmt.max + step / 2, fmt.max + step, fmt.max + 1.5 * step, 2 * fmt.max])
        far = wide([3 * fmt.max, 10 * fmt.max, 1000 * fmt.max, top / 2, top])
    edges = cast(marks, dtype)
    found = joined([edges, moved(edges, -1), moved(edges, 1), cast(far[far > fmt.max], dtype)], dtype)
    return found[found.astype(np.float64) >= fmt.max - step / 2]


def nans(dtype: np.dtype[Any]) -> Array:
    """Quiet and signalling NaNs of both signs, with empty and full payloads."""
    word = word_of(dtype)
    infinity = int(np.array(np.inf, dtype).view(word))
    sign = 1 << (8 * dtype.itemsize - 1)
    quiet = infinity | (infinity >> 1 & ~infinity)
    places = int(ml_dtypes.finfo(dtype).nmant)
    quiet = infinity | 1 << (places - 1)
    full = infinity | ((1 << places) - 1)
    patterns = [quiet, full, infinity | 1, quiet | 1]
    return np.array([p | s for s in (0, sign) for p in patterns], word).view(dtype)


def is_float(dtype: np.dtype[Any]) -> bool:
    """Whether a type is one of NumPy's or ml_dtypes' floating-point types."""
    if dtype.kind == "f":
        return True
    try:
        return isinstance(format_of(dtype), FloatFormat)
    except ValueError:
        return False


def spread(fmt: Format, dtype: np.dtype[Any]) -> Array:
    """Positive numbers of every kind above, in ascending order: for monotonicity and the like."""
    parts = (ties, off_ties, below_normal, around_overflow, exact)
    points = joined([part(fmt, dtype) for part in parts], dtype)
    return points


def int_like(fmt: Format) -> bool:
    """Whether codes are two's complement or plain integers."""
    return isinstance(fmt, IntFormat)
