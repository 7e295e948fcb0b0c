"""Granularities, and every scale rule against exact rationals, down to float32's subnormals."""

import re
from fractions import Fraction

import numpy as np
import pytest
import reference
from hypothesis import given
from hypothesis import strategies as st

from precision.formats import (
    BF16,
    E2M1,
    E2M3,
    E3M2,
    E4M3,
    E5M2,
    E8M0,
    FP32,
    INT8,
    MXINT8,
    UE5M3,
    FloatFormat,
    Format,
)
from precision.quantization import PerBlock, PerGroup, PerTensor, PerVector, QuantSpec, ScaleRule
from precision.specs import quantize

ELEMENTS = [E4M3, E5M2, E2M1, E2M3, E3M2, INT8, MXINT8]
# RCEIL_RECIPROCAL and the orders of NVFP4 are in test_reference_blocks.
POWERS = [ScaleRule.FLOOR, ScaleRule.CEIL, ScaleRule.RCEIL, ScaleRule.EVEN]


def oracle(fmt: FloatFormat) -> reference.Format:
    return reference.Format(
        fmt.exponent_bits, fmt.fraction_bits, fmt.bias, fmt.signed, fmt.specials.value, fmt.subnormals
    )


def significand_places(fmt: Format) -> int:
    """Fraction bits of an element in the binade of its largest value."""
    return fmt.fraction_bits if isinstance(fmt, FloatFormat) else fmt.bits - 2


def exponent(rule: ScaleRule, amax: Fraction, fmt: Format, low: int, high: int) -> int:
    """The oracle's exponent, between other limits than E8M0's: a power of two in amax is one in the scale."""
    shift = reference.floor_log2(amax)
    middle = reference.scale_exponent(
        rule.value, amax / reference.power(shift), Fraction(fmt.max), significand_places(fmt)
    )
    return min(max(middle + shift, low), high)


def around(values: np.ndarray) -> np.ndarray:
    """The values with both their neighbours, positive and finite."""
    none, inf = values.dtype.type(0), values.dtype.type(np.inf)
    near = np.concatenate([values, np.nextafter(values, none), np.nextafter(values, inf)])
    return np.unique(near[(near > 0) & np.isfinite(near)])


def edges(fmt: Format) -> np.ndarray:
    """Powers of two, the largest element, halfway significands, each times powers of two, and neighbours."""
    places = significand_places(fmt)
    tops = [1.0, fmt.max / 2.0**fmt.max_exponent, 2 - 2.0 ** -(places + 1), 1 + 2.0 ** -(places + 1), 1.5]
    all_powers = np.ldexp(1.0, np.arange(-149, 128))
    with np.errstate(over="ignore", under="ignore"):
        return around(np.float32(np.outer(tops, all_powers).ravel()))


def scales(x: np.ndarray, fmt: Format, **options: object) -> np.ndarray:
    """The scale of each element as a group of its own."""
    spec = QuantSpec(fmt, PerGroup(1), **options)
    return quantize(x, spec).multipliers()


@pytest.mark.parametrize("fmt", ELEMENTS, ids=str)
@pytest.mark.parametrize("rule", POWERS, ids=str)
def test_powers_of_two_are_exact(fmt: Format, rule: ScaleRule) -> None:
    amax = edges(fmt)
    narrow = scales(amax, fmt, scale_format=E8M0, scale_rule=rule)
    wide = scales(-amax, fmt, scale_rule=rule)
    for value, e8m0, fp32 in zip(amax, narrow, wide, strict=True):
        exact = Fraction(float(value))
        wanted = reference.scale_exponent(rule.value, exact, Fraction(fmt.max), significand_places(fmt))
        assert e8m0 == np.ldexp(1.0, wanted), value
        assert fp32 == np.ldexp(1.0, exponent(rule, exact, fmt, -149, 127)), value


@pytest.mark.parametrize("rule", POWERS, ids=str)
def test_powers_of_two_from_float64(rule: ScaleRule) -> None:
    amax = around(np.ldexp([1.0, 1.5, 1.75, 1.9375], np.arange(-300, 300, 7)[:, None]).ravel())
    amax = np.concatenate([amax, [5e-324, np.finfo(np.float64).max]])
    got = scales(amax, E4M3, scale_format=E8M0, scale_rule=rule)
    for value, scale in zip(amax, got, strict=True):
        assert scale == np.ldexp(1.0, exponent(rule, Fraction(value), E4M3, -127, 127)), value


@pytest.mark.parametrize("scale_format", [E4M3, UE5M3, BF16], ids=str)
@pytest.mark.parametrize("rule", POWERS, ids=str)
def test_powers_of_two_stay_within_any_scale_format(rule: ScaleRule, scale_format: FloatFormat) -> None:
    low = int(np.log2(scale_format.smallest))
    amax = edges(E2M1)[::5]
    got = scales(amax, E2M1, scale_format=scale_format, scale_rule=rule)
    for value, scale in zip(amax, got, strict=True):
        wanted = exponent(rule, Fraction(float(value)), E2M1, low, scale_format.max_exponent)
        assert scale == np.ldexp(1.0, wanted), value


@pytest.mark.parametrize("fmt", ELEMENTS, ids=str)
def test_amax_is_one_division(fmt: Format) -> None:
    amax = edges(fmt)[::3]
    for value, scale in zip(amax, scales(amax, fmt), strict=True):
        wanted = reference.scale_amax(Fraction(float(value)), Fraction(fmt.max), reference.FP32)
        assert scale == max(float(wanted), 2.0**-149), value


@pytest.mark.parametrize("scale_format", [E4M3, E8M0, UE5M3, BF16], ids=str)
def test_amax_rounds_the_quotient_to_the_scale_format(scale_format: FloatFormat) -> None:
    rng = np.random.default_rng(1)
    spread = np.float32(rng.standard_normal(500) * 2.0 ** rng.integers(-40, 40, 500))
    for amax in (edges(E2M1)[::4], np.abs(spread)):
        for value, scale in zip(amax, scales(amax, E2M1, scale_format=scale_format), strict=True):
            quotient = reference.div32(Fraction(float(value)), Fraction(6))
            code = reference.integer_round(quotient, oracle(scale_format))
            wanted = max(scale_format.value(code), scale_format.smallest)
            assert scale == wanted, value


def test_amax_of_float64_is_a_float64_division_then_one_rounding() -> None:
    rng = np.random.default_rng(2)
    amax = np.abs(rng.standard_normal(300) * 2.0 ** rng.integers(-200, 200, 300))
    for value, scale in zip(amax, scales(amax, E4M3), strict=True):
        code = reference.integer_round(Fraction(value / 448.0), reference.FP32)
        assert scale == max(FP32.value(code), 2.0**-149)


@pytest.mark.parametrize("rule", ScaleRule, ids=str)
def test_rules_print_as_their_names(rule: ScaleRule) -> None:
    assert ScaleRule[str(rule)] is rule


shapes = st.lists(st.integers(0, 9), min_size=1, max_size=4).map(tuple)


@given(shapes, st.data())
def test_blocks_of_granularities(shape: tuple[int, ...], data: st.DataObject) -> None:
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    along = axis % len(shape)
    assert PerTensor().block(shape, axis) == (None,) * len(shape)
    for granularity, size in ((PerGroup(5), 5), (PerVector(), None)):
        block = granularity.block(shape, axis)
        assert block[along] == size
        assert all(step == 1 for i, step in enumerate(block) if i != along)
    if len(shape) > 1 and along >= len(shape) - 2:
        block = PerBlock(3, 7).block(shape, axis)
        assert block[:-2] == (1,) * (len(shape) - 2)
        assert block[-2:] == ((3, 7) if along == len(shape) - 1 else (7, 3))


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: PerGroup(0), ValueError, "n must be at least 1, got 0"),
        (lambda: PerGroup(128.0), TypeError, "n must be an int, got 128.0"),  # type: ignore[arg-type]
        (lambda: PerGroup(True), TypeError, "n must be an int, got True"),
        (lambda: PerBlock(128, -1), ValueError, "m must be at least 1, got -1"),
        (lambda: PerBlock(0, 1), ValueError, "n must be at least 1, got 0"),
        (lambda: PerBlock(4, 4).block((8,)), ValueError, "needs an array of at least 2 axes"),
        (lambda: PerBlock(4, 4).block((8, 8, 8), 0), ValueError, "axis must be one of the last two"),
        (lambda: PerGroup(4).block((8, 8), 2), ValueError, "axis must lie in -2..1 for 2 axes, got 2"),
        (lambda: PerVector().block((8, 8), -3), ValueError, "axis must lie in -2..1"),
        (lambda: PerTensor().block((8, 8), 5), ValueError, "axis must lie in -2..1"),
        (lambda: PerVector().block((8,), 1.0), TypeError, "axis must be an int, got 1.0"),  # type: ignore[arg-type]
        (lambda: PerVector().block((8,), True), TypeError, "axis must be an int, got True"),
        (lambda: PerTensor().block(()), ValueError, "there is none"),
    ],
)
def test_bad_granularities(make, error, message) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(error, match=re.escape(message)):
        make()
