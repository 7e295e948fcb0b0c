"""Strategies for numbers that are hard to round to a format, for arrays of them, and for codes."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from precision._support._optional_packages import require
from precision._support._types import Array
from precision._support.machine._float_environment import in_default_environment
from precision.formats._named import Format
from precision.testing import _hard_values
from precision.testing._shrinking import simplest_first

if TYPE_CHECKING:
    from hypothesis import strategies as st
else:
    st = require("hypothesis.strategies", "testing")


@functools.lru_cache(maxsize=256)
def _hard_numbers(fmt: Format, dtype: np.dtype[Any]) -> tuple[tuple[float, ...], ...]:
    """Return hard numbers by kind (values, ties, neighbours, subnormals, overflow), the simplest first."""
    found = []
    kinds = (
        _hard_values.own_values,
        _hard_values.ties,
        _hard_values.off_ties,
        _hard_values.below_normal,
        _hard_values.around_overflow,
    )
    for points in (kind(fmt, dtype) for kind in kinds):
        if points.size > 1024:
            points = np.random.default_rng(0).choice(points, 1024, replace=False)
        found.append(simplest_first(points))
    return tuple(kind for kind in found if kind)


@in_default_environment
def numbers(
    fmt: Format, *, dtype: npt.DTypeLike = np.float32, nan: bool = True, inf: bool = True
) -> st.SearchStrategy[float]:
    """Draw numbers that are hard to round to a format, and any others, all of them values of ``dtype``.

    Parameters
    ----------
    fmt : FloatFormat or IntFormat
        To which they are to be rounded.
    dtype : dtype
        float32, float64, float16 or bfloat16: what one ULP, a subnormal and a NaN are.
    nan, inf : bool
        Whether there are any.

    Examples
    --------
    >>> import precision as pr
    >>> from hypothesis import find, settings
    >>> from precision.testing import strategies as pst
    >>> def by(rounding):
    ...     return lambda x: pr.round_to(x, pr.E4M3, rounding=rounding)
    >>> even, away = by(pr.Rounding.TIES_TO_EVEN), by(pr.Rounding.TIES_TO_AWAY)
    >>> tie = find(pst.numbers(pr.E4M3), lambda x: even(x) != away(x), settings=settings(deadline=None))
    >>> bool(even(tie) != away(tie))
    True
    """
    kind = _hard_values.checked_source(dtype)
    positive = st.one_of([st.just(0.0), *(st.sampled_from(known) for known in _hard_numbers(fmt, kind))])
    signed = st.builds(lambda x, negative: -x if negative else x, positive, st.booleans())
    parts: list[st.SearchStrategy[float]] = [positive, signed, _any_number(kind)]
    # A number too large comes before them, so that what any overflow does shrinks to a finite one.
    large = [x for x in (2 * fmt.max,) if x <= _hard_values.largest_of(kind)]
    special = [*large, *((np.inf, -np.inf) if inf else ()), *((np.nan, -np.nan) if nan else ())]
    return st.one_of([*parts, st.sampled_from(special)] if special else parts)


def _any_number(dtype: np.dtype[Any]) -> st.SearchStrategy[float]:
    """Draw any finite number of a type."""
    width = 8 * dtype.itemsize if dtype.kind == "f" else 32
    finite = st.floats(width=width, allow_nan=False, allow_infinity=False)  # type: ignore[arg-type]
    if dtype.kind == "f":
        return finite
    return finite.map(lambda x: float(np.float32(x).astype(dtype))).filter(np.isfinite)


@in_default_environment
def arrays(
    fmt: Format,
    *,
    dtype: npt.DTypeLike = np.float32,
    min_size: int = 1,
    max_size: int = 16,
    nan: bool = True,
    inf: bool = True,
) -> st.SearchStrategy[Array]:
    """Draw flat arrays of `numbers` for a format; NaNs have any payload.

    Parameters
    ----------
    fmt, dtype
        As in `numbers`.
    min_size, max_size : int
        The least and the largest number of elements.
    nan, inf
        As in `numbers`.

    Examples
    --------
    >>> import precision as pr
    >>> from hypothesis import find
    >>> from precision.testing import strategies as pst
    >>> x = find(pst.arrays(pr.E2M1), lambda x: x.size > 1)
    >>> x.dtype, x.size > 1
    (dtype('float32'), True)
    """
    kind = _hard_values.checked_source(dtype)
    patterns = _hard_values.nans(kind)

    def made(values: Sequence[float], payload: int) -> Array:
        x = np.array(values, np.float64).astype(kind)
        x[np.isnan(x)] = patterns[payload]
        return x

    elements = st.lists(numbers(fmt, dtype=kind, nan=nan, inf=inf), min_size=min_size, max_size=max_size)
    return st.builds(made, elements, st.integers(0, len(patterns) - 1))


@in_default_environment
def codes(fmt: Format, *, min_size: int = 1, max_size: int = 16) -> st.SearchStrategy[Array]:
    """Draw flat arrays of codes of a format, of type ``fmt.dtype``.

    Parameters
    ----------
    fmt : FloatFormat or IntFormat
        The format, of which every code may be drawn.
    min_size, max_size : int
        The least and the largest number of elements.
    """
    word = fmt.code_dtype
    each = st.integers(0, (1 << fmt.bits) - 1)
    return st.lists(each, min_size=min_size, max_size=max_size).map(
        lambda c: np.array(c, word).view(fmt.dtype)
    )
