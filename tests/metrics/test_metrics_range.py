"""Measures over the whole range of float64, against exact fractions, and at their documented edges."""

from __future__ import annotations

import math
from decimal import Decimal, localcontext
from fractions import Fraction

import ml_dtypes
import numpy as np
import pytest

from precision import bounds, metrics

LARGEST = float(np.finfo(np.float64).max)
SMALLEST = 5e-324
SCALARS = {name: getattr(metrics, name) for name in (
    "sqnr", "norm_relative_error", "max_error_over_mean", "signed_relative_error", "cosine", "calc_diff",
)}  # fmt: skip


def decimal(x: Fraction) -> Decimal:
    return Decimal(x.numerator) / Decimal(x.denominator)


def exact(result: np.ndarray, reference: np.ndarray) -> dict[str, float]:
    """Every measure of finite vectors that are not zero, from exact sums and roots in 60 digits."""
    x, y = ([Fraction(float(v)) for v in z] for z in (result, reference))
    error = [a - b for a, b in zip(x, y, strict=True)]
    squared_error, squared_x, squared_y = (sum(v * v for v in z) for z in (error, x, y))
    dot = sum(a * b for a, b in zip(x, y, strict=True))
    total = sum(map(abs, y))
    bias = sum((b > 0) * e - (b < 0) * e for e, b in zip(error, y, strict=True))
    with localcontext() as context:
        context.prec, context.Emax, context.Emin = 60, 10**6, -(10**6)
        ratio = decimal(squared_error / squared_y)
        return {
            "sqnr": float(-10 * ratio.log10()) if ratio else math.inf,
            "norm_relative_error": float(ratio.sqrt()),
            "max_error_over_mean": float(decimal(max(map(abs, error)) * len(y) / total)),
            "signed_relative_error": float(decimal(bias / total)),
            "cosine": float(decimal(dot) / decimal(squared_x * squared_y).sqrt()),
            "calc_diff": float(decimal(squared_error / (squared_x + squared_y))),
        }


def close(found: float, wanted: float, slack: float = 0.0) -> bool:
    """Equal but for rounding; overflow of the true value itself is Inf, underflow a few subnormal steps."""
    if math.isinf(wanted) or math.isinf(found):
        return found == wanted or max(abs(found), abs(wanted)) > 0.999 * LARGEST
    return abs(found - wanted) <= 1e-13 * abs(wanted) + slack + 4 * SMALLEST


EXPONENTS = [-1074, -1060, -1022, -1000, -600, -540, -500, -450, -1, 0, 400, 500, 512, 600, 1000, 1023]


@pytest.mark.parametrize("low", EXPONENTS)
@pytest.mark.parametrize("high", [-1070, -1020, -700, -480, 0, 490, 700, 1020, 1023])
def test_the_whole_range_against_fractions(low, high):
    rng = np.random.default_rng(3000 + low + high)
    for count in (1, 5):
        with np.errstate(all="ignore"):
            reference = np.ldexp(rng.uniform(1, 2, count), low) * rng.choice([-1, 1], count)
            result = np.ldexp(rng.uniform(1, 2, count), high) * rng.choice([-1, 1], count)
            near = np.ldexp(reference, -1) if low > -1000 else reference
        for one, other in ((result, reference), (near, reference)):
            wanted = exact(one, other)
            with np.errstate(all="raise"):
                found = {name: measure(one, other) for name, measure in SCALARS.items()}
            for name, value in found.items():
                # The terms of the cosine and of the bias may cancel.
                slack = {"cosine": 1e-15, "sqnr": 1e-12}.get(name, 0.0)  # dB near 0 come from a ratio near 1
                if name == "signed_relative_error":
                    slack = 1e-15 * wanted["max_error_over_mean"]
                assert close(value, wanted[name], slack), (name, one, other)


@pytest.mark.parametrize("seed", range(8))
def test_mixed_exponents_against_fractions(seed):
    rng = np.random.default_rng(seed)
    for _ in range(25):
        count = int(rng.integers(1, 12))
        x, y = (
            np.ldexp(rng.uniform(-1, 1, count), rng.integers(-1074, 1024, count) // rng.choice([1, 2, 16]))
            for _ in range(2)
        )
        if rng.random() < 0.5:
            y = x * rng.uniform(0.9, 1.1, count)
        if not (x.any() and y.any() and np.isfinite(y).all()):
            continue
        wanted = exact(x, y)
        for name, measure in SCALARS.items():
            slack = {"cosine": 1e-14, "sqnr": 1e-12}.get(name, 0.0)
            if name == "signed_relative_error":
                slack = 1e-14 * wanted["max_error_over_mean"]
            assert close(measure(x, y), wanted[name], slack), (name, x, y)


def test_the_ends_of_the_range_by_hand():
    for size in (SMALLEST, 1e-310, 2e-170, 1e-160, 1.0, 1e160, LARGEST / 2):
        x, y = [2 * size], [size]
        assert metrics.norm_relative_error(x, y) == 1.0
        assert metrics.max_error_over_mean(x, y) == 1.0
        assert metrics.signed_relative_error(x, y) == 1.0
        assert metrics.sqnr(x, y) == 0.0
        assert metrics.calc_diff(x, y) == pytest.approx(0.2, rel=1e-15)
        assert metrics.cosine(x, y) == 1.0
        assert metrics.cosine([size, -size], [size, size]) == 0.0
    assert metrics.norm_relative_error([LARGEST], [-LARGEST]) == 2.0
    assert metrics.max_error_over_mean([LARGEST, LARGEST], [-LARGEST, LARGEST]) == 2.0
    assert metrics.signed_relative_error([-LARGEST] * 3, [LARGEST] * 3) == pytest.approx(-2.0, rel=1e-15)
    assert metrics.calc_diff([LARGEST], [-LARGEST]) == 2.0
    assert metrics.cosine([LARGEST] * 2, [-LARGEST] * 2) == pytest.approx(-1.0, rel=1e-15)
    # Of four subnormals the mean would be 1.25 steps: more than one of them, and less than two.
    assert metrics.max_error_over_mean([2 * SMALLEST, 0, 0, 0], [SMALLEST, 0, 0, 0]) == 4.0
    # The ratio itself does not fit into float64, its logarithm does.
    assert metrics.norm_relative_error([1e200], [1e-200]) == math.inf
    assert metrics.sqnr([1e200], [1e-200]) == pytest.approx(-8000.0, rel=1e-14)


def test_ordinary_results_keep_their_bits():
    rng = np.random.default_rng(1)
    for scale in (1e-100, 1e-5, 1.0, 1e100):
        for count in (1, 3, 1000, 4097):
            y = scale * rng.standard_normal(count)
            x = y * (1 + 1e-3 * rng.standard_normal(count))
            error, size = x - y, np.abs(y)
            norm = [math.sqrt(np.sum(v * v)) for v in (error, x, y)]
            assert metrics.norm_relative_error(x, y) == norm[0] / norm[2]
            assert metrics.sqnr(x, y) == -20.0 * np.log10(norm[0] / norm[2])
            assert metrics.max_error_over_mean(x, y) == np.abs(error).max() / size.mean()
            assert metrics.signed_relative_error(x, y) == (np.sign(y) * error).sum() / size.sum()
            assert metrics.cosine(x, y) == np.sum((x / norm[1]) * (y / norm[2]))
            squares = [np.sum(v * v) for v in (error, x, y)]
            assert metrics.calc_diff(x, y) == squares[0] / (squares[1] + squares[2])


INFINITE_OVER_ZERO = ["norm_relative_error", "max_error_over_mean", "signed_relative_error"]


@pytest.mark.parametrize("size", [SMALLEST, 1e-200, 1.0, LARGEST, np.inf])
def test_an_error_over_a_zero_reference_is_infinite(size):
    for result in (np.full(4, size), np.full(4, -size), np.array([0.0, size, 0.0, -size])):
        for name in INFINITE_OVER_ZERO:
            assert SCALARS[name](result, np.zeros(4)) == math.inf, name
        assert metrics.sqnr(result, np.zeros(4)) == -math.inf
        assert metrics.cosine(result, np.zeros(4)) == metrics.cosine(np.zeros(4), result) == 0.0
        if np.isfinite(size):
            assert metrics.calc_diff(result, np.zeros(4)) == 1.0


def test_no_error_over_a_zero_reference_is_zero():
    for name in (*INFINITE_OVER_ZERO, "calc_diff"):
        assert SCALARS[name](np.zeros(3), -np.zeros(3)) == 0.0, name
    assert metrics.sqnr(np.zeros(3), np.zeros(3)) == math.inf
    assert metrics.cosine(np.zeros(3), np.zeros(3)) == 1.0


@pytest.mark.parametrize("name", SCALARS)
@pytest.mark.parametrize("other", [0.0, SMALLEST, 1.0, LARGEST, np.inf, np.nan])
def test_a_nan_in_either_gives_nan(name, other):
    bad, good = np.array([np.nan, 1.0, 0.0]), np.full(3, other)
    with np.errstate(all="raise"):
        assert math.isnan(SCALARS[name](bad, good))
        assert math.isnan(SCALARS[name](good, bad))


@pytest.mark.parametrize("size", [1e-310, 1e-170, 1.0, 1e300])
def test_an_infinite_result_is_an_infinite_error(size):
    for name in ("norm_relative_error", "max_error_over_mean", "signed_relative_error"):
        assert SCALARS[name]([np.inf, size], [size, size]) == math.inf, name
    assert metrics.sqnr([np.inf, size], [size, size]) == -math.inf


def test_an_integer_result_counts_its_ulps_in_float64():
    for dtype in (np.int8, np.uint16, ml_dtypes.int4, ml_dtypes.uint2):
        found = metrics.report(np.array([1, 2]).astype(dtype), [1.0, np.nextafter(2.0, 3.0)])
        assert found["max_ulp"] == 1.0


@pytest.mark.parametrize("name", [*SCALARS, "ulp_distance", "report"])
def test_what_is_no_number_is_refused_by_name(name):
    texts = np.array(["1"]).astype(np.dtypes.StringDType())
    for bad in (
        np.array(["1"]),
        texts,
        np.array([1], ">M8[s]"),
        np.zeros(1, [("a", ">f4")]),
        np.ones(1, bool),
    ):
        with pytest.raises(TypeError, match="result must be an array of real numbers"):
            getattr(metrics, name)(bad, np.ones(1))


@pytest.mark.parametrize("name", [*SCALARS, "ulp_distance", "report"])
def test_longdouble_is_refused_by_name(name):
    long = np.ones(3, np.longdouble)
    if long.itemsize == 8:
        pytest.skip("longdouble is float64 here")
    with pytest.raises(TypeError, match="result must be an array of at most 64 bits"):
        getattr(metrics, name)(long, np.ones(3))
    with pytest.raises(TypeError, match="reference must be an array of at most 64 bits"):
        getattr(metrics, name)(np.ones(3), long)


def test_ulps_of_a_format_without_inf_and_nan_name_the_array():
    import precision as pr

    assert metrics.ulp_distance([6.0, 1.0], [4.0, 1.0], pr.E2M1).tolist() == [1.0, 0.0]
    with pytest.raises(ValueError, match=r"result has 100\.0 at flat index 1"):
        metrics.ulp_distance([1.0, 100.0], [1.0, 1.0], pr.E2M1)
    with pytest.raises(ValueError, match="reference has nan at flat index 0"):
        metrics.ulp_distance([1.0, 1.0], [np.nan, 1.0], pr.E2M1)


@pytest.mark.parametrize("size", [3 * SMALLEST, 1e-200, 1.0, 1e200])
def test_explanations_and_heat_maps_of_extreme_errors(size):
    from precision.plots.figures._heat_map import _reduced

    total, part = np.full((2, 4), 4 * size), np.full((2, 4), size)
    nothing = np.zeros((2, 4))
    found = bounds.Explanation(
        total=total, quantization=3 * part, alignment=part, register=nothing, epilogue=nothing,
        unexplained=nothing,
    )  # fmt: skip
    assert found.shares() == {
        "quantization": 0.75, "alignment": 0.25, "register": 0.0, "epilogue": 0.0, "unexplained": 0.0,
    }  # fmt: skip
    assert f"{4 * size:11.3e}{4 * size:11.3e}{4 * size:12.3e}" in str(found)
    with np.errstate(all="raise"):
        mean = _reduced(np.array([[3 * size, -4 * size], [0.0, 1.0]]), (1, 2), "rms")
    wanted = [5 * size / math.sqrt(2), math.sqrt(0.5)]
    assert mean.ravel().tolist() == pytest.approx(wanted, rel=1e-12, abs=SMALLEST)


def test_sqnr_of_tiny_numbers_has_no_cancellation():
    """The ratio of tiny norms is an ordinary number, whose logarithm is taken at once (found by the fuzz)."""
    result = [-5.587469789167705e-135, 0.0, -9.71936502975062e-137, 0.0, 0.0]
    reference = [-5.591067346475226e-135, 0.0, -9.700074473327541e-137, 0.0, 0.0]
    expected = pytest.approx(63.818577976610594945, rel=1e-15)
    assert metrics.sqnr(result, reference) == expected
    for power in (-900, -600, 0, 600, 900):
        x, y = (np.ldexp(np.array(values) * 2.0**448, power) for values in (result, reference))
        assert metrics.sqnr(x, y) == expected
