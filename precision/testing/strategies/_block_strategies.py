"""Strategies for matrices made block by block."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from precision._support._optional_packages import require
from precision._support._types import Array
from precision._support.machine._float_environment import in_default_environment
from precision.quantization._quant_spec import QuantSpec
from precision.testing import _hard_values
from precision.testing._shrinking import simplest_first
from precision.testing.blocks._expected_blocks import Reference
from precision.testing.blocks._hard_matrices import Blocks
from precision.testing.strategies._number_strategies import numbers

if TYPE_CHECKING:
    from hypothesis import strategies as st
else:
    st = require("hypothesis.strategies", "testing")


@functools.lru_cache(maxsize=64)
def _hard_amaxes(spec: QuantSpec, dtype: np.dtype[Any]) -> tuple[float, ...]:
    inputs = Blocks(Reference(spec), dtype)
    exact = np.concatenate([inputs.amaxes(), inputs.extremes()]).astype(dtype).astype(np.float64)
    return simplest_first(np.unique(exact[np.isfinite(exact) & (exact > 0)]))


def _amaxes_within(
    spec: QuantSpec, dtype: np.dtype[Any], within: tuple[float, float] | None
) -> tuple[float, ...]:
    every = _hard_amaxes(spec, dtype)
    if within is None:
        return every
    least, most = within
    kept = tuple(amax for amax in every if least <= amax <= most)
    if not kept:
        raise ValueError(f"amaxes must be a range with a power of two inside, got {within!r}")
    return kept


@functools.lru_cache(maxsize=256)
def _one_block(
    spec: QuantSpec, size: int, dtype: np.dtype[Any], finite: bool, within: tuple[float, float] | None
) -> st.SearchStrategy[Array]:
    """Draw a block: zeros, an amax alone, one value, hard elements, random numbers, an outlier, NaN or Inf.

    Kept, since to make a strategy takes longer than to draw from it.
    """
    kinds = ["zeros", "amax", "one value", "hard elements", "random", "outlier"]
    which = st.sampled_from(kinds if finite else [*kinds, "special"])
    amaxes = st.sampled_from(_amaxes_within(spec, dtype, within))
    places, signs, seeds = st.integers(0, size - 1), st.booleans(), st.integers(0, 2**16)
    elements = st.dictionaries(places, numbers(spec.fmt, nan=False, inf=False), max_size=4)
    specials = st.sampled_from([np.nan, np.inf, -np.inf])
    reference, signed = Reference(spec), spec.fmt.signed

    @st.composite
    @in_default_environment
    def one(draw: st.DrawFn) -> Array:
        kind, block = draw(which), np.zeros(size)
        if kind == "zeros":
            return block
        amax, place = draw(amaxes), draw(places)
        negative = draw(signs) and signed
        if kind == "one value":
            block[:] = amax
        elif kind in ("random", "outlier"):
            rng = np.random.default_rng(draw(seeds))
            block[:] = rng.standard_normal(size) * amax / (4 if kind == "random" else 1000)
            block = np.clip(block if signed else np.abs(block), -amax, amax)
        elif kind == "hard elements":
            scales, tensor = reference.scales(np.array([amax], np.float32))
            for where, value in draw(elements).items():
                scaled = value * float(scales[0]) * tensor
                block[where] = scaled if abs(scaled) <= amax and (scaled >= 0 or signed) else 0.0
        block[place] = -amax if negative else amax
        if kind == "special":
            block[draw(places)] = draw(specials)
        return block

    return one()


@st.composite
@in_default_environment
def blocks(
    draw: st.DrawFn,
    spec: QuantSpec,
    *,
    dtype: npt.DTypeLike = np.float32,
    max_blocks: int | tuple[int, int] = 3,
    ragged: bool = True,
    finite: bool = False,
    amaxes: tuple[float, float] | None = None,
) -> Array:
    """Draw matrices for a spec whose groups run along the last axis, block by block.

    Parameters
    ----------
    spec : QuantSpec
        Of blocks of at most 2**16 elements.
    dtype : dtype
        float32, float64, float16 or bfloat16.
    max_blocks : int or tuple of int
        Blocks along either axis, at most; two numbers: along the first axis and along the last.
    ragged : bool
        Whether blocks at the edges may be shorter.
    finite : bool
        Whether NaN and Inf are left out.
    amaxes : tuple of float, optional
        The least and the largest amax of a block that is not zero, where a property holds only far from the
        ends of a range; by default they reach from the source's smallest number to its largest.

    Examples
    --------
    >>> import dataclasses, precision as pr
    >>> from hypothesis import find, settings
    >>> from precision.testing import strategies as pst
    >>> ceil = dataclasses.replace(pr.MXFP4, scale_rule=pr.ScaleRule.CEIL)
    >>> def differ(x):
    ...     return (pr.quantize(x, pr.MXFP4).scale != pr.quantize(x, ceil).scale).any()
    >>> x = find(pst.blocks(pr.MXFP4, finite=True), differ, settings=settings(deadline=None))
    >>> bool(differ(x))
    True
    """
    kind = _hard_values.checked_source(dtype)
    layout = Reference(spec).layout
    height, width = layout.height, layout.width
    most = max_blocks if isinstance(max_blocks, tuple) else (max_blocks, max_blocks)
    rows, columns = (draw(st.integers(1, count)) for count in most)
    last_row = draw(st.integers(1, height)) if ragged else height
    last_column = draw(st.integers(1, width)) if ragged else width
    x = np.zeros(((rows - 1) * height + last_row, (columns - 1) * width + last_column))
    for top in range(0, len(x), height):
        for left in range(0, x.shape[1], width):
            part = x[top : top + height, left : left + width]
            part[...] = draw(_one_block(spec, part.size, kind, finite, amaxes)).reshape(part.shape)
    with np.errstate(all="ignore"):
        narrow = x.astype(kind)
    return narrow
