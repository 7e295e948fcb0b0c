"""Arguments that NumPy or math would choke on: errors that name them, or the right answer."""

from __future__ import annotations

import math

import numpy as np
import pytest

import precision as pr
from precision import bounds, cost, specs
from precision.metrics import _fidelity

LONG = np.ones((4, 64), np.longdouble)
SHORT = np.ones((4, 64), np.float32)
PER_TENSOR = pr.QuantSpec(pr.E4M3, pr.PerTensor())
U = 2.0**-24
long_only = pytest.mark.skipif(LONG.itemsize == 8, reason="longdouble is float64 here")

LONGDOUBLES = {
    "round_to x": lambda: pr.round_to(LONG, pr.E4M3),
    "round_to out": lambda: pr.round_to(SHORT, pr.E4M3, out=LONG.copy()),
    "encode x": lambda: pr.encode(LONG, pr.E4M3),
    "decode codes": lambda: pr.decode(LONG, pr.E4M3),
    "quantize x": lambda: pr.quantize(LONG, pr.MXFP8_E4M3),
    "LogFMT x": lambda: pr.quantize(LONG, pr.LogFMT(8)),
    "specs.quantize x": lambda: specs.quantize(LONG, pr.E4M3),
    "tally x": lambda: _fidelity.tally(LONG, pr.MXFP8_E4M3),
    "Hadamard x": lambda: pr.Hadamard(16)(LONG),
    "dequantize dtype": lambda: pr.quantize(SHORT, pr.MXFP8_E4M3).dequantize(np.longdouble),
    "dequantize out": lambda: pr.quantize(SHORT, pr.LogFMT(8)).dequantize(out=LONG.copy()),
    "QuantizedTensor codes": lambda: pr.QuantizedTensor(LONG, 1.0, fmt=pr.E4M3),
    "QuantizedTensor scale": lambda: pr.QuantizedTensor(
        pr.encode(SHORT, pr.E4M3), np.longdouble(1), fmt=pr.E4M3
    ),
    "QuantizedTensor tensor_scale": lambda: pr.QuantizedTensor(
        pr.encode(SHORT, pr.E4M3), 1.0, fmt=pr.E4M3, tensor_scale=np.longdouble(1)
    ),
    "matmul a": lambda: pr.matmul(LONG, SHORT.T, accumulator=pr.FP32_FMA),
    "matmul b": lambda: pr.matmul(SHORT, LONG.T, accumulator=pr.FP32_FMA),
    "matmul c": lambda: pr.matmul(SHORT, SHORT.T, c=LONG[:, :4], accumulator=pr.FP32_FMA),
    "matmul dtype": lambda: pr.matmul(SHORT, SHORT.T, dtype=np.longdouble, accumulator=pr.FP32_FMA),
    "error_bound a": lambda: bounds.error_bound(PER_TENSOR, pr.HOPPER_FP8, LONG, SHORT.T),
    "error_bound b": lambda: bounds.error_bound(PER_TENSOR, pr.HOPPER_FP8, SHORT, LONG.T),
    "error_bound failure": lambda: bounds.error_bound(
        PER_TENSOR, pr.HOPPER_FP8, SHORT, SHORT.T, failure=np.longdouble(0.1)
    ),
    "explain result": lambda: explain(result=LONG[:, :4]),
    "explain reference": lambda: explain(reference=LONG[:, :4]),
    "explain a": lambda: explain(a=LONG),
    "gamma u": lambda: bounds.gamma(3, np.longdouble(U)),
    "probabilistic_gamma lam": lambda: bounds.probabilistic_gamma(3, U, np.longdouble(4)),
    "failure_probability lam": lambda: bounds.failure_probability(np.longdouble(4)),
    "input_conversion u_low": lambda: bounds.input_conversion(np.longdouble(U)),
    "input_conversion accumulation": lambda: bounds.input_conversion(U, np.longdouble(1)),
    "bits_per_element fmt": lambda: cost.bits_per_element(np.longdouble(4), (4, 4)),
    "bits_per_element shape": lambda: cost.bits_per_element(pr.E4M3, np.longdouble(4)),
    "Link bandwidth": lambda: cost.Link(np.longdouble(4)),
}


def explain(**changed):
    one = np.ones((4, 4), np.float32)
    given = {"result": one, "reference": one, "a": SHORT, "b": SHORT.T} | changed
    result, reference = given.pop("result"), given.pop("reference")
    return bounds.explain(result, reference, spec=PER_TENSOR, accumulator=pr.HOPPER_FP8, **given)


@long_only
@pytest.mark.parametrize("name", LONGDOUBLES)
def test_longdouble_is_refused_by_name(name):
    with pytest.raises((TypeError, ValueError), match=rf"^{name.split()[-1]} (of e4m3 )?must "):
        LONGDOUBLES[name]()


HUGE = [2**31, 2**53, 2**63, 2**64, 2**1000]


@pytest.mark.parametrize("n", HUGE, ids=lambda n: f"{n.bit_length()} bits")
@pytest.mark.parametrize("u", [2.0**-24, 2.0**-8, 0.5, 1 - 2.0**-53])
def test_bounds_of_huge_sums_are_infinite(n, u):
    for bound in (bounds.probabilistic_gamma, bounds.stochastic_gamma):
        found = bound(n, u, 4.0)
        exponent = 4 * math.sqrt(n) * u + n * u * u / (1 - u)
        assert found == (math.inf if exponent > 709.78 else pytest.approx(math.expm1(exponent), rel=1e-12))
    assert bounds.aligned_truncation(pr.HOPPER_FP8, n) > 1e300
    assert bounds.failure_probability(4.0, u, n=n) == 1.0
    if n * u >= 1:
        with pytest.raises(ValueError, match=r"n \* u must be below 1"):
            bounds.gamma(n, u)


@pytest.mark.parametrize("n", [2**1000 + 1, 10**400], ids=["above", "far above"])
def test_numbers_beyond_float64_are_refused_by_name(n):
    for call in (
        lambda: bounds.gamma(n, U),
        lambda: bounds.probabilistic_gamma(n, U, 4.0),
        lambda: bounds.stochastic_gamma(n, U, 4.0),
        lambda: bounds.failure_probability(4.0, n=n),
        lambda: bounds.block_fma(n, 16, U, U),
        lambda: bounds.aligned_truncation(pr.HOPPER_FP8, n),
    ):
        with pytest.raises(ValueError, match=r"^n must be at most 2\*\*1000, got an int of"):
            call()
    with pytest.raises(ValueError, match=r"^block must be at most 2\*\*1000"):
        bounds.block_fma(4096, n, U, U)
    with pytest.raises(ValueError, match=r"^lam must be at most 2\*\*1000"):
        bounds.probabilistic_gamma(3, U, n)
    with pytest.raises(ValueError, match=r"^accumulation must be at most 2\*\*1000"):
        bounds.input_conversion(U, n)


def test_a_large_lam():
    for lam in (1e200, 1e308, math.inf):
        assert bounds.failure_probability(lam, U, n=4096) == 0.0
        assert bounds.probabilistic_gamma(4096, U, lam) == math.inf
        for bound in (bounds.probabilistic_gamma, bounds.stochastic_gamma):
            assert bound(0, U, lam) == bound(4096, 0.0, lam) == bound(0, 0.0, lam) == 0.0


def test_other_arguments_of_bounds_are_named():
    for fmt in (3, None, "e4m3", pr.MXFP4, pr.IntFormat(8)):
        with pytest.raises(TypeError, match=r"^fmt must be a FloatFormat, got"):
            bounds.unit_roundoff(fmt)
    for rounding in (3, None, "TIES_TO_EVEN"):
        with pytest.raises(TypeError, match=r"^rounding must be a Rounding or a Stochastic, got"):
            bounds.unit_roundoff(pr.E4M3, rounding)
    for name, pair in (("left", (3, pr.E4M3)), ("right", (pr.E4M3, "e4m3"))):
        with pytest.raises(TypeError, match=f"^{name} must be a FloatFormat or an IntFormat"):
            bounds.kulisch_width(*pair)
    for value in ("x", None, True):
        with pytest.raises(TypeError, match=r"^accumulation must be a float"):
            bounds.input_conversion(U, value)
    for exponent in (901, -901, 2**31, 10**400):
        with pytest.raises(ValueError, match=r"^exponent must lie in -900\.\.900"):
            bounds.aligned_sum(pr.HOPPER_FP8, exponent)
    assert 0 < bounds.aligned_sum(pr.HOPPER_FP8, -900) < bounds.aligned_sum(pr.HOPPER_FP8, 900) < math.inf


def test_kulisch_width_of_double_precision():
    # From 2**-2148 to below n * 2**2048: 4196 bits for one product, as in Kulisch's own count without guards.
    assert bounds.kulisch_width(pr.FP64, pr.FP64) == 2148 + 2048
    assert bounds.kulisch_width(pr.FP64, pr.FP64, n=2**20) == 2148 + 2048 + 20


@pytest.mark.parametrize("fmt", [pr.E4M3, pr.MXFP4, 4.5], ids=str)
def test_cost_looks_at_the_shape(fmt):
    for shape in (3, None, "ab", (1.5, 2), (True, 2), {4: 4}, np.longdouble(3), [None]):
        with pytest.raises(TypeError, match=r"^shape must be a tuple of ints, got"):
            cost.bits_per_element(fmt, shape)
    with pytest.raises(ValueError, match=r"^shape must have no negative size, got"):
        cost.bits_per_element(fmt, (4, -1))
    wanted = cost.bits_per_element(fmt, (4, 64))
    assert cost.bits_per_element(fmt, [4, 64]) == cost.bits_per_element(fmt, (np.int64(4), 64)) == wanted


def test_a_link_looks_at_the_size():
    with pytest.raises(TypeError, match=r"^size must be a number"):
        cost.Link(1e9).seconds("x")
    with pytest.raises(ValueError, match=r"^size must be at least 0"):
        cost.Link(1e9).seconds(-1.0)
