"""Strategies for granularities and specs."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from precision import formats as f
from precision._support._optional_packages import require
from precision._support.machine._float_environment import in_default_environment
from precision.quantization._granularity import Granularity, PerBlock, PerGroup, PerTensor, PerVector
from precision.quantization._quant_spec import SPECS, QuantSpec
from precision.quantization._scale_rules import Arithmetic, NonFinite, ScaleRule
from precision.testing.strategies._format_strategies import formats, overflows, roundings

if TYPE_CHECKING:
    from hypothesis import strategies as st
else:
    st = require("hypothesis.strategies", "testing")


@in_default_environment
def granularities(*, max_group: int = 64, blocks: bool = True) -> st.SearchStrategy[Granularity]:
    """Draw granularities: groups of 32, whole tensors and vectors, other groups, blocks.

    Parameters
    ----------
    max_group : int
        Elements of a group, or of a block along either axis, at most.
    blocks : bool
        Whether there are blocks, which need two axes.

    Examples
    --------
    >>> from hypothesis import find
    >>> from precision.testing import strategies as pst
    >>> type(find(pst.granularities(), lambda granularity: hasattr(granularity, "m"))).__name__
    'PerBlock'
    """
    sizes = st.integers(1, max_group)
    shared: list[Granularity] = [PerGroup(min(32, max_group)), PerTensor(), PerVector()]
    parts: list[st.SearchStrategy[Granularity]] = [st.sampled_from(shared), st.builds(PerGroup, sizes)]
    return st.one_of([*parts, st.builds(PerBlock, sizes, sizes)] if blocks else parts)


@st.composite
@in_default_environment
def specs(draw: st.DrawFn, *, stochastic: bool = False, every_field: bool = False) -> QuantSpec:
    """Draw specs: the named ones, and others of any format, granularity, scale format, rule and rounding.

    Parameters
    ----------
    stochastic : bool
        Also `Stochastic` roundings.
    every_field : bool
        Also tensor scales with every arithmetic, rules that try two scales, other formats for scales, and
        what becomes of zeros, of scales too small or too large, of NaN and Inf.

    Examples
    --------
    >>> from hypothesis import find
    >>> from precision.testing import strategies as pst
    >>> find(pst.specs(), lambda spec: spec.tensor_scale).tensor_scale
    True
    >>> find(pst.specs(every_field=True), lambda spec: str(spec.non_finite) != "NAN_SCALE").non_finite
    <NonFinite.FINITE_AMAX: 'finite_amax'>
    """
    if draw(st.sampled_from([True, False])):
        return draw(st.sampled_from([spec for spec in SPECS.values()]))
    if every_field and draw(st.booleans()):
        return draw(_under_tensor_scale())
    fmt = draw(formats(max_bits=16))
    granularity = draw(granularities())
    rules = [rule for rule in ScaleRule if not rule.tries_two_scales]
    rule = draw(st.sampled_from(rules))
    scale_format = draw(st.sampled_from([f.FP32, f.E8M0] if rule.only_divides else [f.E8M0, f.FP32]))
    spec = QuantSpec(
        fmt,
        granularity,
        scale_format=scale_format,
        scale_rule=rule,
        rounding=draw(roundings(stochastic=stochastic)),
        overflow=draw(overflows(fmt)),
    )
    return draw(_with_ends(spec)) if every_field else spec


@st.composite
@in_default_environment
def _with_ends(draw: st.DrawFn, spec: QuantSpec) -> QuantSpec:
    """Draw the spec with other rules for groups of zeros, scales at the ends of their format, NaN and Inf."""
    return dataclasses.replace(
        spec,
        scale_format=draw(st.sampled_from([spec.scale_format, f.FP32, f.E8M0, f.E4M3, f.UE5M3, f.BF16])),
        min_amax=draw(st.none() | st.floats(1e-30, 1e30)),
        zero_scale=draw(st.sampled_from([None, 1.0, 2.0**-3])),
        least_scale=draw(st.sampled_from([None, 2.0**-6, 2])),
        scale_overflow=draw(overflows()),
        non_finite=draw(st.sampled_from(list(NonFinite))),
    )


def _under_tensor_scale() -> st.SearchStrategy[QuantSpec]:
    return st.builds(
        QuantSpec,
        st.sampled_from([f.E2M1, f.E4M3, f.INT4]),
        st.builds(PerGroup, st.integers(1, 1024)),
        scale_format=st.sampled_from([f.E4M3, f.UE5M3]),
        scale_rule=st.sampled_from([rule for rule in ScaleRule if not rule.gives_powers_of_two]),
        tensor_scale=st.just(True),
        arithmetic=st.sampled_from(list(Arithmetic)),
        scale_bound=st.none() | st.floats(2.0**-9, 448),
        least_scale=st.sampled_from([None, 0.0, 2.0**-6, 0.875]),
    )
