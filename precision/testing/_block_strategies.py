"""Strategies for matrices made block by block, and for specs."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from precision._extras import require
from precision.formats import FP32, NAMED, FloatFormat
from precision.quantized import SPECS, QuantSpec
from precision.scaling import Granularity, PerBlock, PerGroup, PerTensor, PerVector, ScaleRule
from precision.testing import _values
from precision.testing._block_inputs import Blocks
from precision.testing._block_reference import Reference
from precision.testing._format_strategies import formats, overflows, roundings
from precision.testing._number_strategies import numbers
from precision.testing._shrink import simplicity

if TYPE_CHECKING:
    from hypothesis import strategies as st
else:
    st = require("hypothesis.strategies", "testing")

Array = npt.NDArray[Any]


@functools.lru_cache(maxsize=64)
def _hard_amaxes(spec: QuantSpec, dtype: np.dtype[Any]) -> tuple[float, ...]:
    inputs = Blocks(Reference(spec), dtype)
    exact = np.concatenate([inputs.amaxes(), inputs.extremes()]).astype(dtype).astype(np.float64)
    return tuple(sorted(dict.fromkeys(exact[np.isfinite(exact) & (exact > 0)].tolist()), key=simplicity))


@st.composite
def _one_block(draw: st.DrawFn, spec: QuantSpec, size: int, dtype: np.dtype[Any], finite: bool) -> Array:
    """Zeros; an amax alone; one value; ties under the amax's scale; random numbers; outliers; NaN or Inf."""
    kinds = ["zeros", "amax", "one value", "hard elements", "random", "outlier"]
    kind = draw(st.sampled_from(kinds if finite else [*kinds, "special"]))
    block = np.zeros(size)
    if kind == "zeros":
        return block
    amax = draw(st.sampled_from(_hard_amaxes(spec, dtype)))
    place = draw(st.integers(0, size - 1))
    negative = draw(st.booleans()) and spec.fmt.signed
    if kind == "one value":
        block[:] = amax
    elif kind in ("random", "outlier"):
        rng = np.random.default_rng(draw(st.integers(0, 2**16)))
        block[:] = rng.standard_normal(size) * amax / (4 if kind == "random" else 1000)
        block = np.clip(block if spec.fmt.signed else np.abs(block), -amax, amax)
    elif kind == "hard elements":
        scales, tensor = Reference(spec).scales(np.array([amax], np.float32))
        few = draw(
            st.dictionaries(st.integers(0, size - 1), numbers(spec.fmt, nan=False, inf=False), max_size=4)
        )
        for where, value in few.items():
            scaled = value * float(scales[0]) * tensor
            block[where] = scaled if abs(scaled) <= amax and (scaled >= 0 or spec.fmt.signed) else 0.0
    block[place] = -amax if negative else amax
    if kind == "special":
        block[draw(st.integers(0, size - 1))] = draw(st.sampled_from([np.nan, np.inf, -np.inf]))
    return block


@st.composite
def blocks(
    draw: st.DrawFn,
    spec: QuantSpec,
    *,
    dtype: npt.DTypeLike = np.float32,
    max_blocks: int = 3,
    ragged: bool = True,
    finite: bool = False,
) -> Array:
    """Matrices for a spec whose groups run along the last axis, made block by block.

    Parameters
    ----------
    spec : QuantSpec
        Of blocks of at most 2**16 elements.
    dtype : dtype
        float32, float64, float16 or bfloat16.
    max_blocks : int
        Blocks along either axis, at most.
    ragged : bool
        Whether blocks at the edges may be shorter.
    finite : bool
        Whether NaN and Inf are left out.

    Examples
    --------
    >>> import dataclasses, precision as pr
    >>> from hypothesis import find, settings
    >>> from precision.testing import strategies as pst
    >>> ceil = dataclasses.replace(pr.MXFP4, scale_rule=pr.ScaleRule.CEIL)
    >>> def differ(x):
    ...     return (pr.quantize(x, pr.MXFP4).scale != pr.quantize(x, ceil).scale).any()
    >>> find(pst.blocks(pr.MXFP4, finite=True), differ, settings=settings(deadline=None))
    array([[1.5]], dtype=float32)
    """
    kind = _values.checked_source(dtype)
    layout = Reference(spec).layout
    height, width = layout.height, layout.width
    rows, columns = draw(st.integers(1, max_blocks)), draw(st.integers(1, max_blocks))
    last_row = draw(st.integers(1, height)) if ragged else height
    last_column = draw(st.integers(1, width)) if ragged else width
    x = np.zeros(((rows - 1) * height + last_row, (columns - 1) * width + last_column))
    for top in range(0, len(x), height):
        for left in range(0, x.shape[1], width):
            part = x[top : top + height, left : left + width]
            part[...] = draw(_one_block(spec, part.size, kind, finite)).reshape(part.shape)
    with np.errstate(all="ignore"):
        narrow = x.astype(kind)
    return narrow


@st.composite
def specs(draw: st.DrawFn, *, stochastic: bool = False) -> QuantSpec:
    """Specs: the named ones, and others with any format, granularity, scale format, rule and rounding.

    Examples
    --------
    >>> from hypothesis import find
    >>> from precision.testing import strategies as pst
    >>> print(find(pst.specs(), lambda spec: spec.tensor_scale))
    NVFP4
    """
    if draw(st.sampled_from([True, False])):
        return draw(st.sampled_from([spec for spec in SPECS.values()]))
    fmt = draw(formats(max_bits=16))
    shared: list[Granularity] = [PerGroup(32), PerTensor(), PerVector()]
    granularity = draw(
        st.one_of(
            st.sampled_from(shared),
            st.builds(PerGroup, st.integers(1, 64)),
            st.builds(PerBlock, st.integers(1, 16), st.integers(1, 32)),
        )
    )
    rules = [rule for rule in ScaleRule if not rule.tries_two_scales]
    rule = draw(st.sampled_from(rules))
    e8m0 = NAMED["e8m0"]
    assert isinstance(e8m0, FloatFormat)
    scale_format = draw(st.sampled_from([FP32, e8m0] if rule is ScaleRule.AMAX else [e8m0, FP32]))
    return QuantSpec(
        fmt,
        granularity,
        scale_format=scale_format,
        scale_rule=rule,
        rounding=draw(roundings(stochastic=stochastic)),
        overflow=draw(overflows(fmt)),
    )
