"""Strategies for accumulators."""

from __future__ import annotations

from typing import TYPE_CHECKING

from precision import accumulators as kinds
from precision import formats as f
from precision import units
from precision._support._optional_packages import require
from precision._support.machine._float_environment import in_default_environment
from precision.formats._rounding_modes import Rounding

if TYPE_CHECKING:
    from hypothesis import strategies as st
else:
    st = require("hypothesis.strategies", "testing")


@st.composite
@in_default_environment
def accumulators(draw: st.DrawFn) -> kinds.Accumulator:
    """Draw accumulators: the named ones, and fused sums of other widths and intervals of promotion.

    `fused_sums` has units of any description.

    Examples
    --------
    >>> from hypothesis import find
    >>> from precision.testing import strategies as pst
    >>> unit = find(pst.accumulators(), lambda unit: getattr(unit, "fraction_bits", 99) < 8)
    >>> str(unit).partition(".with_width")[1]
    '.with_width'
    """
    named: kinds.Accumulator = draw(st.sampled_from(_UNITS))
    step = named.step
    if step is None or not step.aligns:
        return named
    unit = named
    if draw(st.booleans()):
        unit = unit.with_width(draw(st.integers(2, 25)))
    if draw(st.booleans()) and step.inner is None:
        unit = unit.promoted(step.products * draw(st.integers(1, 8)))
    return unit


#: Every unit of the catalogue, plain arithmetic first: Hypothesis reports the first that fails.
_UNITS = [unit.accumulator for unit in reversed(units.CATALOGUE.values())]


# ---- fused sums of any description ------------------------------------------------------------------------
@st.composite
@in_default_environment
def fused_sums(draw: st.DrawFn, *, scaled: bool | None = False) -> kinds.FusedSum:
    """Draw fused sums of any operands, products, width, register, roundings, floor and promotion.

    Both operands have the same format, FP32's and E8M0's among them. Rounding toward zero, as GPUs do, is
    the most frequent.

    Parameters
    ----------
    scaled : bool, optional
        Whether the unit takes scales itself, of its products or of groups of them; None: either.

    Examples
    --------
    >>> from hypothesis import find
    >>> from precision.testing import strategies as pst
    >>> unit = find(pst.fused_sums(), lambda unit: unit.register.bits < 16 and unit.promotion)
    >>> unit.promotion % unit.products
    0
    >>> find(pst.fused_sums(scaled=True), lambda unit: unit.products > 16).scale_in_unit is None
    False
    """
    inside = draw(_scales_inside()) if scaled or (scaled is None and draw(st.booleans())) else None
    if inside and inside.group:
        operand, products = draw(st.sampled_from(_GROUPED)), inside.group * draw(st.sampled_from([1, 2, 4]))
    elif inside:
        operand, products = draw(st.sampled_from(_MX)), draw(st.sampled_from([1, 4, 16, 32]))
    else:
        operand, products = draw(st.sampled_from(_OPERANDS)), draw(st.sampled_from(_PRODUCTS))
    modes = st.sampled_from([Rounding.TOWARD_ZERO] * 4 + list(Rounding))
    times = None if inside else draw(st.sampled_from([None, 1, 3]))
    return kinds.FusedSum(
        (operand,),
        products,
        fraction_bits=draw(st.integers(1, 28 if inside else 30)),
        register=draw(st.sampled_from([f.FP32, f.E8M13, f.FP16] if inside else _REGISTERS)),
        alignment_rounding=draw(modes),
        register_rounding=draw(modes),
        min_exponent=draw(st.sampled_from([-133, -133, -139, -21, -5, 0, -300])),
        promotion=times and times * products,
        scale_in_unit=inside,
    )


def _scales_inside() -> st.SearchStrategy[kinds.ScaledProducts | kinds.ScaledGroups]:
    groups = st.sampled_from([1, 4, 16]).map(kinds.ScaledGroups)
    return st.one_of(st.builds(kinds.ScaledProducts), groups)


_PRODUCTS = 1, 2, 3, 4, 5, 8, 16, 17, 32, 33, 64
_MX = f.E4M3, f.E5M2, f.E2M3, f.E3M2, f.E2M1
_GROUPED = f.E4M3, f.E2M1, f.E2M3  # whose exact sums fit in 62 bits
_OPERANDS = (
    f.E4M3, f.E5M2, f.E4M3FNUZ, f.E3M4, f.E2M1, f.E2M3, f.FP16, f.BF16, f.TF32, f.FP32, f.E8M0,
    f.FloatFormat(5, 2, bias=140), f.FloatFormat(8, 2, specials=f.Specials.FNUZ),  # with values below 2**-126
)  # fmt: skip
_REGISTERS = (
    f.FP32, *(f.FloatFormat(8, bits) for bits in (1, 2, 7, 10, 13, 20, 22)), f.FP16, f.E5M2,
    f.FloatFormat(6, 9), f.FloatFormat(4, 10),
)  # fmt: skip
