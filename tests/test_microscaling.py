"""What holds of every microscaling spec, and the conventions in which implementations part."""

import dataclasses
from fractions import Fraction

import numpy as np
import pytest
import reference
import reference_blocks as oracle
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import plain
from test_reference_blocks import (
    KINDS,
    ORDERS,
    TINY,
    agree,
    codes_of,
    finite_tensors,
    float32,
    nvfp4_spec,
    same_tensor,
)

import precision as pr
from precision.formats import UE4M3, UE5M3
from precision.quantization._quant_spec import SPECS
from precision.quantization._spec_fields import code_of_value
from precision.testing.strategies import _block_strategies

F = np.float32
Case = tuple[np.ndarray, pr.QuantSpec]
RULES = [rule for rule in pr.ScaleRule if rule.gives_powers_of_two]
MX = [
    dataclasses.replace(spec, scale_rule=rule)
    for spec in SPECS.values()
    if spec.scale_format == pr.E8M0
    for rule in RULES
]
NV = [
    pr.NVFP4,
    pr.NVFP4_TE,
    pr.NVINT4,
    dataclasses.replace(pr.NVFP4, arithmetic=pr.Arithmetic.DIVISION),
    dataclasses.replace(pr.NVINT4, arithmetic=pr.Arithmetic.NVFP4_PAPER),
]
SIX = [
    pr.NVFP4_4OVER6,
    nvfp4_spec("nvfp4_paper", "FOUR_OVER_SIX_MSE", 256),
    nvfp4_spec("division", "FOUR_OVER_SIX_MAE"),
]


# ---- properties ---------------------------------------------------------------------------------------


def narrow(spec: pr.QuantSpec) -> pr.QuantSpec:
    """Blocks of 5, so that short rows hold whole ones and shorter ones."""
    return dataclasses.replace(spec, granularity=pr.PerGroup(5))


def cases(specs: list[pr.QuantSpec]) -> st.SearchStrategy[Case]:
    """Tensors with a spec for which they are hard, far from the ends of float32's range."""

    def of(spec: pr.QuantSpec) -> st.SearchStrategy[Case]:
        x = _block_strategies.blocks(spec, max_blocks=(3, 2), finite=True, amaxes=(2.0**-20, 2.0**17))
        return st.tuples(x, st.just(spec))

    return st.sampled_from([narrow(spec) for spec in specs]).flatmap(of)


NAMED = cases([*MX, *NV, *SIX])


@given(NAMED)
@settings(max_examples=150, deadline=None)
def test_sign_symmetric(case: Case) -> None:
    x, spec = case
    plus, minus = pr.quantize(x, spec), pr.quantize(-x, spec)
    assert np.array_equal(codes_of(plus)[0], codes_of(minus)[0])
    assert np.array_equal(plus.dequantize(), -minus.dequantize())


@given(NAMED, st.integers(-70, 70))
@settings(max_examples=150, deadline=None)
def test_equivariant_under_powers_of_two(case: Case, shift: int) -> None:
    """As long as neither the scales nor a result leave their range, which 2**±70 is far from.

    Squares of errors are in float32 too, and leave its range earlier.
    """
    x, spec = case
    shift = shift // 5 if spec.scale_rule is pr.ScaleRule.FOUR_OVER_SIX_MSE else shift
    moved = pr.quantize(np.ldexp(x, shift), spec).dequantize()
    assert np.array_equal(moved, np.ldexp(pr.quantize(x, spec).dequantize(), shift))


@given(NAMED)
@settings(max_examples=150, deadline=None)
def test_monotone_within_a_block(case: Case) -> None:
    x, spec = case
    y = pr.quantize(x, spec).dequantize()
    for left, right in ((0, 5), (5, 10)):
        order = np.argsort(x[:, left:right], axis=1)
        sorted_y = np.take_along_axis(y[:, left:right], order, axis=1)
        assert (np.diff(sorted_y, axis=1) >= 0).all()


def values_of(fmt: pr.FloatFormat | pr.IntFormat) -> np.ndarray:
    """All finite values of an element format that quantizing gives."""
    codes = np.arange(1 << fmt.bits).astype(fmt.code_dtype).view(fmt.dtype)
    found = pr.decode(codes, fmt).astype(np.float64)
    return np.unique(found[np.abs(found) <= fmt.max])


@given(NAMED)
@settings(max_examples=150, deadline=None)
def test_the_nearest_value_unless_clipped(case: Case) -> None:
    """No other code under the block's scale is nearer to x.

    With a power of two for a scale that is exact. Under a tensor scale the division or the product, the
    multiplier and fl32(scale * tensor scale) are rounded, which moves an element by 3 * 2**-24 of itself.
    """
    x, spec = case
    q = pr.quantize(x, spec)
    scale = np.repeat(q.multipliers().astype(np.float64), 5, axis=1)[:, : x.shape[1]]
    code = pr.decode(q.codes, q.fmt).astype(np.float64)
    wanted = np.divide(x, scale, out=np.zeros(x.shape), where=scale > 0)
    # beyond max, the last value is the nearest
    best = np.abs(values_of(spec.fmt)[:, None, None] - wanted).min(axis=0)
    slack = 2.0**-22 * np.abs(wanted) if spec.tensor_scale else 0.0
    assert ((np.abs(code - wanted) <= best + slack) | (scale == 0)).all()


@given(cases(MX))
@settings(max_examples=150, deadline=None)
def test_mx_is_idempotent_in_value(case: Case) -> None:
    """The scale may be half the first one the second time (RCEIL: amax rounded to max / 2)."""
    x, spec = case
    once = pr.quantize(x, spec).dequantize()
    assert np.array_equal(pr.quantize(once, spec).dequantize(), once)


@given(cases(NV))
@settings(max_examples=150, deadline=None)
def test_nv_is_idempotent_in_codes_of_blocks_with_a_normal_scale(case: Case) -> None:
    """NVFP4 is not idempotent in value.

    6 * 448 * tensor scale is amax but for roundings, so that the second tensor scale may differ in its last
    places. The scales and codes are the same, where a block's scale is a normal E4M3: it is then within
    1/16 of amax / 6, and amax becomes 6 again. A subnormal scale is far off: 1.5 * 2**-9 becomes 2 * 2**-9,
    under which 6 becomes 4.5 and then 4; then amax asks for 4/3 * 2**-9, which becomes 2**-9.
    """
    x, spec = case
    first = pr.quantize(x, spec)
    second = pr.quantize(first.dequantize(), spec)
    assert first.tensor_scale == pytest.approx(second.tensor_scale, rel=2.0**-21)
    normal = first.scale.astype(F) >= pr.E4M3.min_normal
    assert np.array_equal(codes_of(first)[0][normal], codes_of(second)[0][normal])
    inside = np.repeat(normal, 5, axis=1)[:, : x.shape[1]]
    assert np.array_equal(codes_of(first)[1][inside], codes_of(second)[1][inside])


def test_where_nvfp4_is_not_idempotent() -> None:
    x = F([[2688, 0, 0], [6 * 1.5 * 2.0**-9, 0, 0]])
    spec = dataclasses.replace(pr.NVFP4, granularity=pr.PerGroup(3))
    once = pr.quantize(x, spec).dequantize()
    twice = pr.quantize(once, spec).dequantize()
    assert [once[1, 0] * 512, twice[1, 0] * 512] == [8, 6]


@given(cases([pr.NVFP4_4OVER6, SIX[1]]))
@settings(max_examples=100, deadline=None)
def test_four_over_six_is_idempotent_but_for_roundings(case: Case) -> None:
    """The scale that was kept restores the values again; another does so if its values are the same."""
    x, spec = case
    first = pr.quantize(x, spec)
    once, twice = first.dequantize(), pr.quantize(first.dequantize(), spec).dequantize()
    normal = np.repeat(first.scale.astype(F) >= 2.0**-5, 5, axis=1)[:, : x.shape[1]]
    assert np.allclose(once[normal], twice[normal], rtol=2.0**-20, atol=0)


# ---- other formats, and float64 -------------------------------------------------------------------------

FORMATS = [
    (pr.IntFormat(4), oracle.INT4, pr.E4M3),
    (pr.E2M3, reference.E2M3, UE5M3),
    (pr.E4M3, reference.E4M3, pr.E5M2),
    (pr.IntFormat(8, fraction_bits=6), oracle.MXINT8, UE4M3),
]


@pytest.mark.parametrize(("fmt", "element", "scale_format"), FORMATS, ids=str)
@pytest.mark.parametrize("rule", ["AMAX", "FOUR_OVER_SIX_MAE", "FOUR_OVER_SIX_MSE"])
@pytest.mark.parametrize("arithmetic", pr.Arithmetic, ids=str)
def test_any_formats_in_any_order(fmt, element, scale_format, rule, arithmetic) -> None:  # type: ignore[no-untyped-def]
    spec = dataclasses.replace(
        nvfp4_spec(arithmetic.value, rule), fmt=fmt, scale_format=scale_format, least_scale=None
    )
    for x in (tensor[:4] for tensor in finite_tensors()):
        blocks, how = x.tolist(), {"element": element, "scale_format": plain(scale_format), "least_scale": 1}
        if rule != "AMAX":
            how |= {"error": rule[-3:].lower(), "arithmetic": arithmetic.value}
            want = oracle.four_over_six(blocks, bound=Fraction(scale_format.max), **how)
        elif arithmetic is pr.Arithmetic.DIVISION:
            want = oracle.quantize_tensor(blocks, element, plain(scale_format), "amax")
        else:
            want = ORDERS[arithmetic.value](blocks, **how)
        agree(x, spec, want.blocks, float(want.tensor_scale))


@pytest.mark.parametrize("rule", ["AMAX", "FOUR_OVER_SIX_MAE", "FOUR_OVER_SIX_MSE"])
@pytest.mark.parametrize("arithmetic", pr.Arithmetic, ids=str)
def test_orders_of_float64(arithmetic: pr.Arithmetic, rule: str) -> None:
    """The tensor scale, s_enc and the multipliers are float32; all else is float64."""
    rng = np.random.default_rng(3)
    x = rng.standard_normal((40, 16)) * np.ldexp(1.0, rng.integers(-9, 3, (40, 1)))
    x[::4] = rng.integers(-24, 25, (10, 16)) / 4
    te, division = (arithmetic is a for a in (pr.Arithmetic.TRANSFORMER_ENGINE, pr.Arithmetic.DIVISION))
    bound = 256 if rule != "AMAX" else 448
    amax, top = np.abs(x).max(axis=1, keepdims=True), np.abs(x).max()
    s_enc = F(6 * bound / top)
    second = F(top / (6 * bound)) if division else 1 / s_enc
    base = amax / 6 / second if division else amax / 6 * np.float64(s_enc)
    if te and rule == "AMAX":
        base = amax * (np.float64(s_enc) * (1 / np.float64(6)))
    grid = values_of(pr.E2M1)

    def made(wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        scale = np.maximum(pr.round_to(wanted, pr.E4M3), 0 if te else 2.0**-9).astype(F)
        total = scale * second
        q = pr.round_to(x / total if division else x * (1 / total).astype(np.float64), pr.E2M1)
        assert np.isin(q, grid).all()
        back = q * scale * top / (6 * bound) if te else q * total.astype(np.float64)
        away = np.abs(back - x) if rule.endswith("MAE") else (back - x) ** 2
        error = np.zeros(len(x))
        for column in away.T:
            error = error + column
        return scale, q, error[:, None]

    scale, q, error = made(base)
    if rule != "AMAX":
        other = made(base * 1.5)
        scale, q = (np.where(other[2] < error, b, a) for a, b in zip((scale, q), other[:2], strict=True))
    found = pr.quantize(x, nvfp4_spec(arithmetic.value, rule, bound))
    assert found.tensor_scale == second
    assert np.array_equal(found.scale.astype(F), scale)
    assert np.array_equal(pr.decode(found.codes, pr.E2M1), q)


def test_tensor_scales_at_the_ends_of_float64() -> None:
    """s_enc stays a normal float32 or below float32's largest, so that its reciprocal is a number."""
    largest, least = float(np.finfo(F).max), float(np.finfo(F).tiny)
    for amax, wanted in ((1e300, 1 / F(least)), (1e-300, 1 / F(largest))):
        q = pr.quantize(np.array([[amax, -amax, 0.0]]), pr.NVFP4)
        assert q.tensor_scale == wanted
    assert pr.quantize(np.zeros((2, 16)), pr.NVFP4).tensor_scale == 1


# ---- RCEIL by the reciprocal ----------------------------------------------------------------------------


def test_where_the_two_rceil_part() -> None:
    x = F([[np.nextafter(F(127 / 64), F(2))]])
    rules = (pr.ScaleRule.RCEIL, pr.ScaleRule.RCEIL_RECIPROCAL)
    scales = [float(pr.quantize(x, dataclasses.replace(pr.MXINT8, scale_rule=r)).scale[0, 0]) for r in rules]
    assert scales == [2, 1]


def test_rceil_reciprocal_under_other_scale_formats_and_types() -> None:
    amax = np.abs(KINDS["thresholds"](np.random.default_rng(5), 300, 1, 448.0))
    base = dataclasses.replace(pr.MXFP8_E4M3, scale_rule=pr.ScaleRule.RCEIL_RECIPROCAL)
    want = pr.quantize(amax, base).multipliers()
    for scale_format in (pr.FP32, pr.BF16):
        spec = dataclasses.replace(base, scale_format=scale_format)
        assert np.array_equal(pr.quantize(amax, spec).multipliers(), want)
    # float64: the product is rounded in float64, then to float32
    wide = np.random.default_rng(6).random((300, 1)) * np.ldexp(1.0, np.arange(-150, 150))[:, None]
    with np.errstate(over="ignore", under="ignore"):
        bits = F(wide * np.float64(F(1) / F(448))).view(np.uint32)
    field, fraction = bits >> 23, bits & 0x7FFFFF
    up = np.where(field == 0, fraction > 0x400000, fraction > 0)
    got = codes_of(pr.quantize(wide, base))[0]
    assert np.array_equal(got, np.minimum(field + up, 254))


# ---- conventions ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "value"),
    [
        (dataclasses.replace(pr.MXFP4, zero_scale=2.0**-126), 2.0**-126),  # microxcaling
        (dataclasses.replace(pr.MXFP4, zero_scale=1.0), 1.0),
        (dataclasses.replace(pr.NVFP4, least_scale=2.0**-6), 2.0**-6),  # torchao
        (dataclasses.replace(pr.NVFP4, least_scale=2.0**-6, zero_scale=2.0**-9), 2.0**-9),
        (dataclasses.replace(pr.NVFP4, zero_scale=0.0), 0.0),
        (pr.NVFP4_TE, 0.0),
        (pr.NVFP4_4OVER6, 0.0),
        (dataclasses.replace(pr.NVFP4_4OVER6, zero_scale=1.0), 1.0),
        (pr.QuantSpec(pr.E4M3, pr.PerGroup(32)), 1.0),
        (pr.QuantSpec(pr.E4M3, pr.PerGroup(32), least_scale=4.0), 1.0),
        (pr.QuantSpec(pr.E4M3, pr.PerGroup(32), zero_scale=0.0), 0.0),
        (pr.QuantSpec(pr.E4M3, pr.PerTensor(), scale_format=pr.E8M0, zero_scale=0.5), 0.5),
    ],
    ids=str,
)
def test_the_scale_of_zeros(spec: pr.QuantSpec, value: float) -> None:
    for x in (np.zeros((2, 64), F), np.zeros((2, 64)), np.full((2, 64), -0.0, F)):
        q = pr.quantize(x, spec)
        assert (pr.decode(q.scale, q.scale_format) == value).all()
        assert not q.dequantize().any()
        assert np.array_equal(np.signbit(pr.decode(q.codes, q.fmt)), np.signbit(x))
    x = np.ones((2, 64), F)
    x[1] = 0
    if spec.granularity != pr.PerTensor():
        q = pr.quantize(x, spec)
        assert (pr.decode(q.scale, q.scale_format)[1] == value).all() and q.dequantize()[0].all()


@pytest.mark.parametrize("least", [None, 2.0**-6, 0.0])
@pytest.mark.parametrize("arithmetic", pr.Arithmetic, ids=str)
def test_the_least_scale_of_nvfp4(arithmetic: pr.Arithmetic, least: float | None) -> None:
    """Against the oracle, which counts in codes; from blocks far below the tensor's amax."""
    rng = np.random.default_rng(2)
    x = float32(rng.standard_normal((60, 16)) * np.ldexp(1.0, rng.integers(-24, 1, (60, 1))))
    spec = dataclasses.replace(pr.NVFP4, arithmetic=arithmetic, least_scale=least)
    code = {None: 1, 2.0**-6: 8, 0.0: 0}[least]
    if arithmetic is pr.Arithmetic.DIVISION:
        q, plain_q = pr.quantize(x, spec), pr.quantize(x, dataclasses.replace(spec, least_scale=None))
        amax = np.abs(x).max(axis=1)
        wanted = reference.table_round_array(amax / F(6) / q.tensor_scale, reference.E4M3)
        assert np.array_equal(codes_of(q)[0][:, 0], np.maximum(wanted, code))
        same = codes_of(q)[0] == codes_of(plain_q)[0]
        assert np.array_equal(q.dequantize()[same[:, 0]], plain_q.dequantize()[same[:, 0]])
        return
    want = ORDERS[arithmetic.value](x.tolist(), least_scale=code)
    same_tensor(want, codes_of(pr.quantize(x, spec))[0][:, 0], codes_of(pr.quantize(x, spec))[1], F(want[0]))
    zeros = sum(block.scale == 0 for block in want.blocks)
    assert (zeros > 0) == (least == 0)


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_the_least_scale_of_powers_of_two(rule: pr.ScaleRule) -> None:
    x = F(np.ldexp(1.0, np.arange(-149, 127)))[:, None]
    spec = dataclasses.replace(pr.MXFP4, scale_rule=rule)
    usual = pr.quantize(x, spec).multipliers()
    raised = pr.quantize(x, dataclasses.replace(spec, least_scale=2.0**-20)).multipliers()
    assert np.array_equal(raised, np.maximum(usual, F(2.0**-20)))


def test_the_least_scale_of_float32() -> None:
    x = F([[TINY], [2.0**-20], [1.0]])
    spec = pr.QuantSpec(pr.E4M3, pr.PerGroup(1))
    quotients = x / F(448)
    got = pr.quantize(x, dataclasses.replace(spec, least_scale=0.0))
    assert np.array_equal(got.scale, quotients) and got.scale[0, 0] == 0
    assert got.dequantize()[0, 0] == 0 and codes_of(got)[1][0, 0] == 0x38  # 1, of the smallest float32
    got = pr.quantize(x, dataclasses.replace(spec, least_scale=0.25))
    assert got.scale.tolist() == [[0.25]] * 3 and got.dequantize()[2, 0] == 1


def test_scales_too_large() -> None:
    """microxcaling makes a block NaN whose exponent exceeds 127."""
    loud = {"scale_overflow": pr.Overflow.NON_SATURATING}
    huge = float(np.finfo(F).max)
    x = F([[huge, 1], [2.0**127, 1], [2.0**126, -1]])
    for rule, bad in ((pr.ScaleRule.CEIL, [True, False, False]), (pr.ScaleRule.FLOOR, [False] * 3)):
        spec = dataclasses.replace(pr.MXINT8, scale_rule=rule, **loud)
        q = pr.quantize(x, spec)
        assert np.isnan(q.multipliers())[:, 0].tolist() == bad
        assert np.isnan(q.dequantize()).tolist() == [[b, b] for b in bad]
        assert not codes_of(q)[1][np.array(bad)].any()
        plain_q = pr.quantize(x, dataclasses.replace(spec, scale_overflow=pr.Overflow.SATURATE))
        good = ~np.array(bad)
        assert np.array_equal(plain_q.dequantize()[good], q.dequantize()[good])
    # a quotient that rounds above the largest scale; 448 * 6 is the largest amax, 464 * 6 a tie to even
    x = F([[448 * 6], [464 * 6], [np.nextafter(F(464 * 6), F(9999))]])
    e4m3 = pr.QuantSpec(pr.E2M1, pr.PerGroup(1), scale_format=pr.E4M3, **loud)
    assert np.isnan(pr.quantize(x, e4m3).multipliers())[:, 0].tolist() == [False, False, True]
    e5m2 = dataclasses.replace(e4m3, scale_format=pr.E5M2)
    assert np.isnan(pr.quantize(F([[1e9]]), e5m2).scale.astype(F)).all()  # NaN, though there is an Inf
    fp32 = pr.QuantSpec(pr.E4M3, pr.PerGroup(1), **loud)
    assert np.isnan(pr.quantize(np.array([[1e300]]), fp32).scale).all()
    assert codes_of(pr.quantize(np.array([[1e300]]), fp32))[1] == 0x7F
    ceil = dataclasses.replace(fp32, fmt=pr.IntFormat(8, fraction_bits=6), scale_rule=pr.ScaleRule.CEIL)
    assert np.isnan(pr.quantize(F([[huge]]), ceil).scale).all()


FINITE = {"non_finite": pr.NonFinite.FINITE_AMAX}
LOUD = {"overflow": pr.Overflow.NON_SATURATING}
FINITE_SPECS = [
    pr.MXFP8_E4M3,
    dataclasses.replace(pr.MXFP8_E4M3, **LOUD),
    dataclasses.replace(pr.MXFP8_E5M2, **LOUD),
    dataclasses.replace(pr.MXFP8_E5M2, rounding=pr.Stochastic(bits=8)),
    pr.MXFP6_E3M2,
    pr.MXFP4,
    dataclasses.replace(pr.MXINT8, rounding=pr.Rounding.TOWARD_ZERO),
    pr.NVFP4,
    pr.NVFP4_TE,
    pr.NVFP4_4OVER6,
    pr.NVINT4,
    pr.QuantSpec(pr.E4M3, pr.PerTensor()),
    pr.QuantSpec(pr.E4M3, pr.PerBlock(2, 8)),
]


@pytest.mark.parametrize("spec", FINITE_SPECS, ids=str)
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
def test_finite_amax(spec: pr.QuantSpec, dtype: type) -> None:
    """The finite elements are quantized as if the others were zero; the others by their kind."""
    rng = np.random.default_rng(4)
    x = (rng.standard_normal((12, 64)) * np.ldexp(1.0, rng.integers(-3, 4, (12, 1)))).astype(dtype)
    x[rng.random(x.shape) < 0.1] = np.nan
    x[rng.random(x.shape) < 0.1] = -np.nan
    x[rng.random(x.shape) < 0.1] = np.inf
    x[rng.random(x.shape) < 0.1] = -np.inf
    x[3] = np.where(np.arange(64) % 2, np.nan, np.inf)  # amax 0
    usual = np.isfinite(x)
    q = pr.quantize(x, dataclasses.replace(spec, **FINITE))
    wanted = pr.quantize(np.where(usual, x, dtype(0)), spec)
    assert np.array_equal(codes_of(q)[0], codes_of(wanted)[0]) and q.tensor_scale == wanted.tensor_scale
    assert np.array_equal(codes_of(q)[1][usual], codes_of(wanted)[1][usual])
    values = pr.decode(q.codes, q.fmt)
    fmt = spec.fmt
    has_nan = isinstance(fmt, pr.FloatFormat) and fmt.has_nan
    nan = fmt.nan_code if has_nan else codes_of(pr.quantize(F([[1.0]]), pr.QuantSpec(fmt, pr.PerTensor())))[1]
    assert (codes_of(q)[1][np.isnan(x)] == nan).all()
    assert has_nan or (values[np.isnan(x)] == fmt.max).all()
    over = fmt.max
    if spec.overflow is pr.Overflow.NON_SATURATING:
        over = np.inf if fmt.has_inf else np.nan
    for sign in (1, -1):
        np.testing.assert_array_equal(values[x == sign * np.inf], over * sign)


# ---- 4/6 ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spec", SIX, ids=str)
def test_four_over_six_along_any_axis(spec: pr.QuantSpec) -> None:
    x = float32(np.random.default_rng(7).standard_normal((37, 6, 50)))
    want = pr.quantize(x, spec)
    for axis in (0, 1):
        q = pr.quantize(np.moveaxis(x, -1, axis), spec, axis=axis)
        assert np.array_equal(np.moveaxis(q.dequantize(), axis, -1), want.dequantize())
    out = pr.quantize(x * F(3), spec)
    assert pr.quantize(x, spec, out=out).codes is out.codes
    assert np.array_equal(codes_of(out)[1], codes_of(want)[1])


def four_over_six_values(x: np.ndarray, spec: pr.QuantSpec) -> tuple[np.ndarray, np.ndarray]:
    """What x becomes by AMAX's scales and by 1.5 times them; groups of 8, float32 scales."""
    plain_spec = dataclasses.replace(spec, scale_rule=pr.ScaleRule.AMAX)
    base = pr.quantize(x, plain_spec)
    found = []
    for factor in (F(1), F(1.5)):
        scale = base.scale * factor
        codes = pr.encode(x / np.repeat(scale, 8, axis=1)[:, : x.shape[1]], spec.fmt, rounding=spec.rounding)
        found.append(pr.QuantizedTensor(codes, scale, fmt=spec.fmt, block=base.block).dequantize())
    return found[0], found[1]


@pytest.mark.parametrize("rounding", [pr.Rounding.TIES_TO_EVEN, pr.Rounding.TOWARD_ZERO], ids=str)
def test_four_over_six_without_a_tensor_scale(rounding: pr.Rounding) -> None:
    x = float32(np.random.default_rng(8).standard_normal((50, 21)))
    for rule, power in ((pr.ScaleRule.FOUR_OVER_SIX_MAE, 1), (pr.ScaleRule.FOUR_OVER_SIX_MSE, 2)):
        spec = pr.QuantSpec(pr.E2M1, pr.PerGroup(8), scale_rule=rule, rounding=rounding)
        y = pr.quantize(x, spec).dequantize()
        six, four = four_over_six_values(x, spec)
        picked = []
        for left in range(0, 21, 8):
            part = slice(left, left + 8)
            away = [(np.abs(v - x)[:, part] ** power).T for v in (six, four)]
            errors = [sum(columns, F(0)) for columns in away]  # in order, in float32
            better = (errors[1] < errors[0])[:, None]
            assert np.array_equal(y[:, part], np.where(better, four[:, part], six[:, part]))
            picked.append(better.mean())
        assert 0 < np.mean(picked) < 1


def test_four_over_six_of_long_groups_and_many_pieces() -> None:
    x = float32(np.random.default_rng(9).standard_normal((3, 2500)))
    spec = dataclasses.replace(pr.NVFP4_4OVER6, granularity=pr.PerGroup(1024))
    x[1, 2100] = 8.0  # the tensor's amax, in a short group
    blocks = [x[0, :1024].tolist(), x[2, 1024:2048].tolist(), x[1, 2048:].tolist()]
    found = oracle.four_over_six(blocks)
    q = pr.quantize(x, spec)
    scale, codes = codes_of(q)
    assert q.tensor_scale == float(found.tensor_scale)
    assert [scale[0, 0], scale[2, 1], scale[1, 2]] == [b.scale for b in found.blocks]
    assert codes[0, :1024].tolist() == found.blocks[0].codes
    assert codes[1, 2048:].tolist() == found.blocks[2].codes
    big = np.tile(x, (60, 4))
    many = pr.quantize(big[:, :10000], dataclasses.replace(spec, granularity=pr.PerGroup(500)))
    few = pr.quantize(x, dataclasses.replace(spec, granularity=pr.PerGroup(500)))
    assert np.array_equal(codes_of(many)[1], np.tile(codes_of(few)[1], (60, 4)))


def test_four_over_six_lowers_the_error() -> None:
    x = float32(np.random.default_rng(10).standard_normal((512, 512)))
    errors = {}
    for spec in (nvfp4_spec("nvfp4_paper"), nvfp4_spec("nvfp4_paper", "FOUR_OVER_SIX_MSE", 256)):
        errors[spec.scale_rule] = np.square(pr.quantize(x, spec).dequantize() - x).mean()
    assert errors[pr.ScaleRule.FOUR_OVER_SIX_MSE] < 0.9 * errors[pr.ScaleRule.AMAX]


# ---- the named specs, and values of scale formats --------------------------------------------------------


def test_named_specs() -> None:
    assert pr.NVFP4.arithmetic is pr.Arithmetic.NVFP4_PAPER and pr.NVFP4.least_scale is None
    assert nvfp4_spec("transformer_engine") == pr.NVFP4_TE
    assert nvfp4_spec("transformer_engine", "FOUR_OVER_SIX_MAE", 256) == pr.NVFP4_4OVER6
    assert pr.NVINT4.arithmetic is pr.Arithmetic.DIVISION
    for name in ("NVFP4", "NVFP4_TE", "NVFP4_4OVER6"):
        assert str(getattr(pr, name)) == name and pr.QuantSpec.parse(name) == getattr(pr, name)
    assert pr.NVFP4_4OVER6.bits_per_element((16, 16)) == 4.5 + 32 / 256


@pytest.mark.parametrize("fmt", [pr.E4M3, pr.E5M2, pr.E8M0, UE5M3, pr.BF16], ids=str)
def test_code_of_value(fmt: pr.FloatFormat) -> None:
    for code in range(fmt.max_code + 1):
        value = fmt.value(code)
        assert code_of_value(value, fmt) == code
        assert code_of_value(float(np.nextafter(value, np.inf)), fmt) is None
        assert value == 0 or code_of_value(-value, fmt) is None
    for value in (fmt.max * 2, fmt.smallest / 2, np.inf, np.nan):
        assert code_of_value(value, fmt) is None
