"""Hypothesis strategies for low-precision numbers, arrays, formats, specs, accumulators (extra ``testing``).

Each prefers what is hard: ties and numbers one ULP off ties, subnormals of target and source, both sides of
the largest value, amaxes on and next to powers of two, blocks of zeros or of one value, NaN, Inf, outliers.
All of them shrink to few elements, zeros, and numbers of few significant bits.

In a test file::

    from hypothesis import given
    from precision.testing import strategies as pst

    @given(pst.arrays(pr.E4M3))
    def test_rounding_again_changes_nothing(x):
        once = my_rounding(x)
        assert np.array_equal(my_rounding(once), once, equal_nan=True)
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from precision import accumulators as units
from precision._extras import require
from precision.formats import FP32, NAMED, FloatFormat, Format, IntFormat, Specials
from precision.quantized import SPECS, QuantSpec
from precision.rounding import Overflow, Rounding, Stochastic
from precision.scaling import Granularity, PerBlock, PerGroup, PerTensor, PerVector, ScaleRule
from precision.testing import _values
from precision.testing._block_inputs import Blocks
from precision.testing._block_reference import Reference
from precision.testing._shrink import simplicity

if TYPE_CHECKING:
    from hypothesis import strategies as st
else:
    st = require("hypothesis.strategies", "testing")

__all__ = [
    "accumulators",
    "arrays",
    "blocks",
    "codes",
    "float_formats",
    "formats",
    "int_formats",
    "numbers",
    "overflows",
    "roundings",
    "specs",
]

Array = npt.NDArray[Any]


# ---- formats, roundings ---------------------------------------------------------------------------------
def float_formats(*, max_bits: int = 16, signed: bool | None = None) -> st.SearchStrategy[FloatFormat]:
    """Floating-point formats with a zero: the named ones, and any other of at most ``max_bits`` bits.

    Parameters
    ----------
    max_bits : int
        At least 4, at most 32.
    signed : bool, optional
        Only those with a sign, or without one.

    Examples
    --------
    >>> from hypothesis import find
    >>> from precision.testing import strategies as pst
    >>> print(find(pst.float_formats(), lambda fmt: fmt.fraction_bits >= 2 and fmt.has_inf))
    e5m2
    """
    _check_bits(max_bits)

    def suits(fmt: Format) -> bool:
        inside = isinstance(fmt, FloatFormat) and fmt.bits <= max_bits and fmt.has_zero
        return inside and (signed is None or fmt.signed == signed)

    known = sorted((fmt for fmt in NAMED.values() if suits(fmt)), key=lambda fmt: fmt.bits)
    any_other = _any_float_format(max_bits, signed)
    return st.one_of(st.sampled_from(known), any_other) if known else any_other


@st.composite
def _any_float_format(draw: st.DrawFn, max_bits: int, signed: bool | None) -> FloatFormat:
    exponent_bits = draw(st.integers(2, min(8, max_bits - 2)))
    has_sign = draw(st.booleans()) if signed is None else signed
    fraction_bits = draw(st.integers(1, min(23, max_bits - exponent_bits - has_sign)))
    specials = draw(st.sampled_from(list(Specials)))
    try:
        return FloatFormat(exponent_bits, fraction_bits, signed=has_sign, specials=specials)
    except ValueError:  # values past float32, or none at all
        return FloatFormat(
            min(exponent_bits, 5), min(fraction_bits, 10), signed=has_sign, specials=Specials.FN
        )


def int_formats(*, max_bits: int = 16) -> st.SearchStrategy[IntFormat]:
    """Integer formats of 2 to ``max_bits`` bits: signed and not, with and without a binary point.

    Examples
    --------
    >>> from hypothesis import find
    >>> from precision.testing import strategies as pst
    >>> print(find(pst.int_formats(), lambda fmt: fmt.signed and fmt.max > 5))
    int4
    """
    _check_bits(max_bits)
    return st.builds(
        IntFormat,
        st.integers(2, min(16, max_bits)),
        signed=st.sampled_from([True, False]),
        fraction_bits=st.integers(0, 8),
        symmetric=st.sampled_from([True, False]),
    )


def formats(*, max_bits: int = 16) -> st.SearchStrategy[Format]:
    """Floating-point and integer formats with a zero."""
    return st.one_of(float_formats(max_bits=max_bits), int_formats(max_bits=max_bits))


def _check_bits(max_bits: object) -> None:
    if isinstance(max_bits, bool) or not isinstance(max_bits, int) or not 4 <= max_bits <= 32:
        raise ValueError(f"max_bits must lie in 4..32, got {max_bits!r}")


def roundings(*, stochastic: bool = False) -> st.SearchStrategy[Rounding | Stochastic]:
    """Rounding modes, nearest-even first; also `Stochastic` ones if asked for."""
    modes: st.SearchStrategy[Rounding | Stochastic] = st.sampled_from(list(Rounding))
    if not stochastic:
        return modes
    return st.one_of(modes, st.builds(Stochastic, bits=st.integers(1, 32), seed=st.integers(0, 2**64 - 1)))


def overflows(fmt: Format | None = None) -> st.SearchStrategy[Overflow]:
    """What becomes of numbers too large; of a format without NaN only SATURATE."""
    return st.sampled_from([Overflow.SATURATE] if fmt is not None and not fmt.has_nan else list(Overflow))


# ---- numbers and arrays -----------------------------------------------------------------------------------
@functools.lru_cache(maxsize=64)
def _hard_numbers(fmt: Format, dtype: np.dtype[Any]) -> tuple[tuple[float, ...], ...]:
    """Values, ties, their neighbours, subnormals, both sides of the largest: of each the simplest first."""
    found = []
    kinds = (_values.exact, _values.ties, _values.off_ties, _values.below_normal, _values.around_overflow)
    for points in (kind(fmt, dtype) for kind in kinds):
        if points.size > 1024:
            points = np.random.default_rng(0).choice(points, 1024, replace=False)
        found.append(tuple(sorted((float(p) for p in points), key=simplicity)))
    return tuple(kind for kind in found if kind)


def numbers(
    fmt: Format, *, dtype: npt.DTypeLike = np.float32, nan: bool = True, inf: bool = True
) -> st.SearchStrategy[float]:
    """Numbers that are hard to round to a format, and any others, all of them values of ``dtype``.

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
    >>> from hypothesis import find
    >>> from precision.testing import strategies as pst
    >>> def by(rounding):
    ...     return lambda x: pr.round_to(x, pr.E4M3, rounding=rounding)
    >>> even, away = by(pr.Rounding.TIES_TO_EVEN), by(pr.Rounding.TIES_TO_AWAY)
    >>> find(pst.numbers(pr.E4M3), lambda x: even(x) != away(x))
    1.0625
    """
    kind = _values.checked_source(dtype)
    positive = st.one_of([st.just(0.0), *(st.sampled_from(known) for known in _hard_numbers(fmt, kind))])
    signed = st.builds(lambda x, negative: -x if negative else x, positive, st.booleans())
    parts: list[st.SearchStrategy[float]] = [positive, signed, _any_number(kind)]
    # A number too large comes before them, so that what any overflow does shrinks to a finite one.
    large = [x for x in (2 * fmt.max,) if x <= _values.largest_of(kind)]
    special = [*large, *((np.inf, -np.inf) if inf else ()), *((np.nan, -np.nan) if nan else ())]
    return st.one_of([*parts, st.sampled_from(special)] if special else parts)


def _any_number(dtype: np.dtype[Any]) -> st.SearchStrategy[float]:
    """Any finite number of a type."""
    width = 8 * dtype.itemsize if dtype.kind == "f" else 32
    finite = st.floats(width=width, allow_nan=False, allow_infinity=False)  # type: ignore[arg-type]
    if dtype.kind == "f":
        return finite
    return finite.map(lambda x: float(np.float32(x).astype(dtype))).filter(np.isfinite)


def arrays(
    fmt: Format,
    *,
    dtype: npt.DTypeLike = np.float32,
    min_size: int = 1,
    max_size: int = 16,
    nan: bool = True,
    inf: bool = True,
) -> st.SearchStrategy[Array]:
    """Flat arrays of `numbers` for a format; NaNs have any payload.

    Parameters
    ----------
    fmt, dtype, nan, inf
        As in `numbers`.
    min_size, max_size : int
        Elements.

    Examples
    --------
    >>> import precision as pr
    >>> from hypothesis import find
    >>> from precision.testing import strategies as pst
    >>> find(pst.arrays(pr.E2M1), lambda x: x.size > 1)
    array([0., 0.], dtype=float32)
    """
    kind = _values.checked_source(dtype)
    patterns = _values.nans(kind)

    def made(values: Sequence[float], payload: int) -> Array:
        x = np.array(values, np.float64).astype(kind)
        x[np.isnan(x)] = patterns[payload]
        return x

    elements = st.lists(numbers(fmt, dtype=kind, nan=nan, inf=inf), min_size=min_size, max_size=max_size)
    return st.builds(made, elements, st.integers(0, len(patterns) - 1))


def codes(fmt: Format, *, min_size: int = 1, max_size: int = 16) -> st.SearchStrategy[Array]:
    """Flat arrays of codes of a format, of type ``fmt.dtype``."""
    word = fmt.code_dtype
    each = st.integers(0, (1 << fmt.bits) - 1)
    return st.lists(each, min_size=min_size, max_size=max_size).map(
        lambda c: np.array(c, word).view(fmt.dtype)
    )


# ---- blocks ---------------------------------------------------------------------------------------------
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
    >>> from hypothesis import find
    >>> from precision.testing import strategies as pst
    >>> ceil = dataclasses.replace(pr.MXFP4, scale_rule=pr.ScaleRule.CEIL)
    >>> def differ(x):
    ...     return (pr.quantize(x, pr.MXFP4).scale != pr.quantize(x, ceil).scale).any()
    >>> find(pst.blocks(pr.MXFP4, finite=True), differ)
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


# ---- specs and accumulators ------------------------------------------------------------------------------
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


@st.composite
def accumulators(draw: st.DrawFn) -> units.Accumulator:
    """Accumulators: the named ones, and fused sums of other widths and intervals of promotion.

    Examples
    --------
    >>> from hypothesis import find
    >>> from precision.testing import strategies as pst
    >>> print(find(pst.accumulators(), lambda unit: getattr(unit, "fraction_bits", 99) < 8))
    HOPPER_FP8.with_width(2)
    """
    named: units.Accumulator = draw(st.sampled_from(_UNITS))
    if not isinstance(named, units.FusedSum):
        return named
    unit = named
    if draw(st.booleans()):
        unit = unit.with_width(draw(st.integers(2, 25)))
    if draw(st.booleans()) and unit.scale_in_unit is None:
        unit = unit.promoted(unit.products * draw(st.integers(1, 8)))
    return unit


_UNITS: tuple[units.Accumulator, ...] = (
    units.EXACT, units.FP32_FMA, units.HOPPER_FP8, units.HOPPER_FP8_ACC16, units.HOPPER_FP16,
    units.HOPPER_FP16_ACC16, units.HOPPER_BF16, units.HOPPER_TF32, units.BLACKWELL_MX, units.BLACKWELL_NVFP4,
)  # fmt: skip
