"""Measures against numbers worked out by hand, and against exact fractions."""

from __future__ import annotations

import math
from fractions import Fraction

import ml_dtypes
import numpy as np
import pytest

from precision import metrics

REFERENCE = np.array([4.0, -2.0, 1.0, 0.0])
RESULT = np.array([3.5, -2.0, 1.0, 0.5])
SCALARS = [
    metrics.sqnr,
    metrics.norm_relative_error,
    metrics.max_error_over_mean,
    metrics.signed_relative_error,
    metrics.cosine,
    metrics.calc_diff,
]


def test_by_hand():
    # error (-1/2, 0, 0, 1/2); |error|^2 = 1/2; |reference|^2 = 21; |result|^2 = 12.25 + 4 + 1 + 0.25
    assert metrics.sqnr(RESULT, REFERENCE) == pytest.approx(10 * math.log10(42), rel=1e-15)
    assert metrics.norm_relative_error(RESULT, REFERENCE) == pytest.approx(math.sqrt(1 / 42), rel=1e-15)
    assert metrics.max_error_over_mean(RESULT, REFERENCE) == 0.5 / (7 / 4)
    assert metrics.signed_relative_error(RESULT, REFERENCE) == -0.5 / 7
    assert metrics.cosine(RESULT, REFERENCE) == pytest.approx(19 / math.sqrt(17.5 * 21), rel=1e-15)
    assert metrics.calc_diff(RESULT, REFERENCE) == pytest.approx(1 - 2 * 19 / (17.5 + 21), rel=1e-14)


def test_against_fractions():
    rng = np.random.default_rng(7)
    x = rng.standard_normal((5, 40)).astype(np.float32)
    y = (x * (1 + 1e-3 * rng.standard_normal(x.shape))).astype(np.float32)
    fx, fy = ([Fraction(float(v)) for v in z.flat] for z in (x, y))
    errors = [a - b for a, b in zip(fx, fy, strict=True)]
    squared_error, squared_x, squared_y = (sum(v * v for v in vs) for vs in (errors, fx, fy))
    dot = sum(a * b for a, b in zip(fx, fy, strict=True))
    total = sum(abs(b) for b in fy)
    bias = sum(e if b > 0 else -e for e, b in zip(errors, fy, strict=True))

    assert metrics.norm_relative_error(x, y) == pytest.approx(math.sqrt(squared_error / squared_y), rel=1e-13)
    assert metrics.sqnr(x, y) == pytest.approx(-10 * math.log10(squared_error / squared_y), rel=1e-13)
    assert metrics.max_error_over_mean(x, y) == pytest.approx(
        float(max(map(abs, errors)) / (total / 200)), rel=1e-13
    )
    assert metrics.signed_relative_error(x, y) == pytest.approx(float(bias / total), rel=1e-9)
    assert metrics.calc_diff(x, y) == pytest.approx(float(1 - 2 * dot / (squared_x + squared_y)), rel=1e-13)
    assert metrics.cosine(x, y) == pytest.approx(dot / math.sqrt(squared_x * squared_y), rel=1e-14)


def test_calc_diff_does_not_cancel():
    # The textbook form gives 0 here; the true value is 2^-60 / (2 + ...).
    assert metrics.calc_diff([1 + 2.0**-30], [1.0]) == pytest.approx(2.0**-61, rel=1e-8)


def test_bias_has_the_sign_of_growth():
    reference = np.array([1.0, -1.0, 3.0])
    assert metrics.signed_relative_error(0.9 * reference, reference) == pytest.approx(-0.1)
    assert metrics.signed_relative_error(1.1 * reference, reference) == pytest.approx(0.1)
    # An error where the reference is zero has no direction.
    assert metrics.signed_relative_error([5.0, 1.0], [0.0, 1.0]) == 0.0


def test_equal_arrays():
    x = np.array([[1.5, -2.0], [0.0, 7.0]], np.float32)
    assert metrics.sqnr(x, x) == math.inf
    assert metrics.cosine(x, x) == pytest.approx(1.0)
    for measure in (metrics.norm_relative_error, metrics.max_error_over_mean, metrics.calc_diff):
        assert measure(x, x) == 0.0


def test_zero_reference():
    zero, one = np.zeros(3), np.ones(3)
    assert metrics.sqnr(zero, zero) == math.inf
    assert metrics.sqnr(one, zero) == -math.inf
    assert metrics.norm_relative_error(zero, zero) == 0.0
    assert metrics.norm_relative_error(one, zero) == math.inf
    assert metrics.max_error_over_mean(one, zero) == math.inf
    assert metrics.cosine(zero, zero) == 1.0
    assert metrics.cosine(one, zero) == metrics.cosine(zero, one) == 0.0
    assert metrics.calc_diff(zero, zero) == 0.0
    assert metrics.calc_diff(one, zero) == 1.0


@pytest.mark.parametrize("measure", SCALARS)
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_specials_do_not_hide(measure, value):
    bad = np.array([1.0, value])
    with np.errstate(all="raise"):
        assert math.isnan(measure(bad, bad))
    if math.isnan(value):
        assert math.isnan(measure(bad, [1.0, 1.0]))
        assert math.isnan(measure([1.0, 1.0], bad))


@pytest.mark.parametrize("measure", [*SCALARS, metrics.ulp_distance, metrics.report])
def test_bad_arguments(measure):
    with pytest.raises(ValueError, match=r"result has shape \(3,\) and reference \(1,\)"):
        measure(np.ones(3), np.ones(1))
    with pytest.raises(ValueError, match="result has no elements"):
        measure(np.ones((0, 3)), np.ones((0, 3)))
    with pytest.raises(TypeError, match="reference must be an array of real numbers, got dtype complex128"):
        measure(np.ones(2), np.ones(2) * 1j)
    with pytest.raises(TypeError, match="result must be an array of real numbers, got dtype object"):
        measure(np.array([Fraction(1)]), np.ones(1))


def test_any_real_dtype():
    for dtype in (np.int8, np.float16, ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn, ml_dtypes.int4):
        x = np.array([1, 2, 3]).astype(dtype)
        assert metrics.max_error_over_mean(x, [1.0, 2.0, 4.0]) == pytest.approx(3 / 7)


@pytest.mark.parametrize(
    "dtype",
    [
        np.float16,
        ml_dtypes.bfloat16,
        ml_dtypes.float8_e4m3fn,
        ml_dtypes.float8_e5m2,
        ml_dtypes.float8_e4m3fnuz,
        ml_dtypes.float8_e8m0fnu,
        ml_dtypes.float6_e3m2fn,
        ml_dtypes.float4_e2m1fn,
    ],
)
def test_ulps_count_the_values_between(dtype):
    bits = ml_dtypes.finfo(dtype).bits
    codes = np.arange(2**bits, dtype=np.uint16 if bits == 16 else np.uint8)
    values = codes.view(dtype)
    finite = np.unique(values[np.isfinite(values.astype(np.float32))].astype(np.float64))
    rng = np.random.default_rng(3)
    i, j = rng.integers(len(finite), size=(2, 300))
    assert np.array_equal(metrics.ulp_distance(finite[i].astype(dtype), finite[j].astype(dtype)), abs(i - j))


def test_ulps_of_wide_types():
    one = np.float64(1.0)
    assert metrics.ulp_distance(np.nextafter(one, 2), one) == 1
    largest = np.finfo(np.float64).max
    assert metrics.ulp_distance(np.array([largest]), np.array([-largest])) == 2.0 * 0x7FEFFFFFFFFFFFFF
    smallest = np.float32(1.401298464324817e-45)
    assert metrics.ulp_distance(np.float32(smallest), np.float32(-smallest)) == 2
    assert metrics.ulp_distance(np.float32(np.inf), np.finfo(np.float32).max) == 1


def test_ulps_of_specials():
    x = np.array([np.nan, np.nan, 1.0, 0.0], np.float32)
    y = np.array([-np.nan, 1.0, np.nan, -0.0], np.float32)
    assert metrics.ulp_distance(x, y).tolist() == [0.0, np.inf, np.inf, 0.0]


def test_ulps_need_one_floating_type():
    with pytest.raises(TypeError, match="result has dtype float32 and reference float64"):
        metrics.ulp_distance(np.ones(1, np.float32), np.ones(1))
    for integer in (np.int32, ml_dtypes.int4):
        with pytest.raises(TypeError, match="has no ULPs"):
            metrics.ulp_distance(np.ones(1, integer), np.ones(1, integer))


def test_ulps_of_a_format():
    import precision as pr

    x, y = np.array([1.0, 1.1, -448.0, 0.001]), np.array([1.25, 1.0, 448.0, -0.001])
    # E4M3 has 8 steps a binade: 1.1 rounds to 1.125; 448 has code 0x7E; 0.001 rounds to 2^-9 * 1
    assert metrics.ulp_distance(x, y, pr.E4M3).tolist() == [2.0, 1.0, 2.0 * 0x7E, 2.0]
    assert metrics.ulp_distance([500.0, 500.0], [500.0, 1.0], pr.E4M3).tolist() == [0.0, np.inf]


def test_report_holds_every_measure():
    x, y = RESULT.astype(np.float32), REFERENCE
    values = metrics.report(x, y)
    assert tuple(values) == metrics.MEASURES
    assert values["sqnr_db"] == metrics.sqnr(x, y)
    assert values["norm_relative_error"] == metrics.norm_relative_error(x, y)
    assert values["max_error_over_mean"] == metrics.max_error_over_mean(x, y)
    assert values["signed_relative_error"] == metrics.signed_relative_error(x, y)
    assert values["cosine"] == metrics.cosine(x, y)
    assert values["calc_diff"] == metrics.calc_diff(x, y)
    steps = metrics.ulp_distance(x, y.astype(np.float32))
    assert (values["mean_ulp"], values["max_ulp"]) == (steps.mean(), steps.max())
    assert metrics.report(np.array([1, 2]), [1, 2])["max_ulp"] == 0


# ---- declared once ---------------------------------------------------------------------------------------
def test_metrics_are_declared_once_and_read_everywhere():
    """A new metric is one function with its declaration: reports, titles, texts and axes follow."""
    from precision.metrics import _columns
    from precision.plots import _style

    fields = {"unit": "%", "heading": "equal\n%", "better": metrics.Better.MORE, "linear": True}
    try:

        @_columns.metric("agreeing_share", "equal elements", **fields)
        def agreeing_share(pair):
            """Return the share of equal elements, in percent."""
            return 100.0 * float((pair.result == pair.reference).mean())

        assert agreeing_share([1.0, 2.0], [1.0, 3.0]) == 50.0
        assert metrics.report([1.0, 2.0], [1.0, 3.0])["agreeing_share"] == 50.0
        assert _style.title_of("total_agreeing_share") == "equal elements, % (with quantization)"
        assert _style.more_is_better("agreeing_share") and _style.is_linear("total_agreeing_share")
        with pytest.raises(ValueError, match="'agreeing_share', which is taken"):
            _columns.declare("agreeing_share", "again", heading="again")
        with pytest.raises(ValueError, match="must be the same"):
            agreeing_share([1.0], [1.0, 3.0])
    finally:
        for registry in (_columns._DECLARED, _columns.PAIR_MEASURES):
            registry.pop("agreeing_share", None)


def test_every_metric_says_what_it_is():
    for name, metric in metrics.METRICS.items():
        assert metric.name == name and metric.title and metric.heading
        assert isinstance(metric.better, metrics.Better) and metric.text(math.nan) == "-"
        assert (metric.measure is not None) == (name in metrics.MEASURES)
    for name in metrics.MEASURES:  # a new measure's function is entered in the room's list
        measure = metrics.METRICS[name].measure
        assert getattr(metrics, measure.__name__, None) is measure, f"{measure.__name__} is not public"
    assert metrics.METRICS["signed_relative_error"].better is metrics.Better.NEAR_ZERO
    more = {name for name, metric in metrics.METRICS.items() if metric.more_is_better}
    assert more == {"sqnr_db", "cosine", "tokens_per_second"}
    with pytest.raises(TypeError):
        metrics.METRICS["mine"] = metrics.METRICS["cosine"]


def test_texts_of_metrics_are_brief():
    texts = {name: metrics.METRICS[name].text(0.00123456) for name in metrics.METRICS}
    assert texts["sqnr_db"] == "0.0" and texts["norm_relative_error"] == "1.23e-3"
    assert texts["signed_relative_error"] == "+1.2e-3" and texts["clipped_share"] == "0.12"
    assert texts["cosine"] == "9.99e-1" and metrics.METRICS["max_ulp"].text(0.0) == "0"
    assert metrics.METRICS["sqnr_db"].text(math.inf) == "inf"
