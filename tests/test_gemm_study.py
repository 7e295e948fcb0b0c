"""Studies: seeds, references, and the rows they give."""

from __future__ import annotations

import numpy as np
import pytest

import precision as pr
from precision import metrics
from precision.metrics import DISTRIBUTIONS, draw
from precision.studies import GemmStudy, ProductRow, compare, default_accumulators

GROUPS = pr.QuantSpec(pr.E4M3, pr.PerGroup(128))
BLOCKS = pr.QuantSpec(pr.E4M3, pr.PerBlock(128, 128))
TENSOR = pr.QuantSpec(pr.E4M3, pr.PerTensor())


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_draws_are_float32_and_seeded(name):
    x = draw(name, (64, 96), k_axis=1, seed=3)
    assert x.dtype == np.float32 and x.shape == (64, 96) and np.isfinite(x).all()
    assert np.array_equal(x, draw(name, (64, 96), k_axis=1, seed=3))
    others = [draw(name, (64, 96), k_axis=1, seed=4), draw(name, (64, 96), k_axis=0, seed=3)]
    assert not any(np.array_equal(x, other) for other in others)


def test_distributions_are_what_they_say():
    x = {name: draw(name, (256, 256), k_axis=1) for name in DISTRIBUTIONS}
    assert abs(x["normal"].std() - 1) < 0.02 and abs(x["normal"].mean()) < 0.02
    assert x["uniform"].min() >= 0 and x["uniform"].max() < 1 and abs(x["uniform"].mean() - 0.5) < 0.01
    assert x["symmetric"].min() < -0.99 and x["symmetric"].max() > 0.99
    assert abs(np.log(abs(x["lognormal"])).std() - 1) < 0.02 and (x["lognormal"] < 0).any()
    assert abs(abs(x["laplace"]).mean() - 1) < 0.02
    assert abs(x["student_t"]).max() > 8
    channels = x["outliers"].std(axis=0) > 16
    assert 0 < channels.sum() < 16


def test_outliers_are_channels_of_k_in_both_operands():
    for axis in (0, 1):
        wide = draw("outliers", (512, 512), k_axis=axis).std(axis=1 - axis) > 16
        assert 0 < wide.sum() < 16


def test_two_references():
    a, b = draw("uniform", (8, 512), k_axis=1), draw("uniform", (512, 8), k_axis=0)
    qa, qb = pr.quantize(a, TENSOR, axis=-1), pr.quantize(b, TENSOR, axis=-2)
    (row,) = compare(a, b, a_spec=TENSOR, b_spec=TENSOR, accumulators=[pr.HOPPER_FP8], data="x")
    result = pr.matmul(qa, qb, accumulator=pr.HOPPER_FP8)
    quantized = qa.dequantize().astype(np.float64) @ qb.dequantize().astype(np.float64)
    original = a.astype(np.float64) @ b.astype(np.float64)
    assert (row.data, row.m, row.n, row.k) == ("x", 8, 8, 512)
    assert (row.a_spec, row.accumulator) == (str(TENSOR), "HOPPER_FP8")
    measured = row.accumulation["norm_relative_error"]
    assert measured == pytest.approx(metrics.norm_relative_error(result, quantized), rel=1e-3)
    assert row.total == metrics.report(result, original)
    assert row.flat()["accumulation_norm_relative_error"] == measured
    assert row.flat()["total_sqnr_db"] == row.total["sqnr_db"]


def test_bare_format_means_scale_one():
    a, b = draw("normal", (4, 64), k_axis=1), draw("normal", (64, 4), k_axis=0)
    (row,) = compare(a, b, accumulators=[pr.EXACT])
    rounded = pr.round_to(a, pr.E4M3).astype(np.float64) @ pr.round_to(b, pr.E4M3).astype(np.float64)
    original = a.astype(np.float64) @ b.astype(np.float64)
    # what is left beside quantization is one rounding to float32
    expected = metrics.norm_relative_error(rounded, original)
    assert row.total["norm_relative_error"] == pytest.approx(expected, rel=1e-6)
    assert row.accumulation["norm_relative_error"] < 2**-24
    assert row.a_spec == "e4m3"


def test_default_accumulators():
    names = [str(x) for x in default_accumulators(TENSOR, TENSOR)]
    assert names[0] == "HOPPER_FP8" and names[-2:] == ["FP32_FMA", "EXACT"]
    for name in ("HOPPER_FP8.promoted(64)", "HOPPER_FP8.promoted(128)", "HOPPER_FP8.with_width(25)"):
        assert name in names
    assert str(default_accumulators(pr.BF16, pr.BF16)[0]) == "HOPPER_BF16"
    assert [str(x) for x in default_accumulators(pr.E2M1, pr.E2M1)] == ["FP32_FMA", "EXACT"]
    mixed = default_accumulators(GROUPS, BLOCKS)
    assert all("promoted(" in str(x) for x in mixed[:-1]) and mixed[-1] == pr.EXACT


@pytest.mark.parametrize("specs", [(GROUPS, GROUPS), (GROUPS, BLOCKS), (TENSOR, TENSOR), (pr.BF16, pr.BF16)])
def test_default_accumulators_all_run(specs):
    a, b = draw("normal", (16, 256), k_axis=1), draw("normal", (256, 16), k_axis=0)
    rows = list(compare(a, b, a_spec=specs[0], b_spec=specs[1]))
    assert [row.accumulator for row in rows] == [str(x) for x in default_accumulators(*specs)]
    assert all(row.accumulation["norm_relative_error"] < 0.05 for row in rows)
    assert all(row.total["sqnr_db"] > 20 for row in rows)


def test_what_an_h100_loses():
    """On U(0,1) at K = 4096 an H100 makes errors of 6.6e-2 (fast) and 5.0e-4 (slow), all toward zero."""
    a, b = draw("uniform", (64, 4096), k_axis=1), draw("uniform", (4096, 64), k_axis=0)
    fast, slow = compare(a, b, accumulators=[pr.HOPPER_FP8, pr.HOPPER_FP8.promoted(128)])
    assert fast.accumulation["norm_relative_error"] == pytest.approx(6.6e-2, rel=0.05)
    assert fast.accumulation["signed_relative_error"] == pytest.approx(-6.6e-2, rel=0.05)
    assert slow.accumulation["signed_relative_error"] == pytest.approx(-5.0e-4, rel=0.05)


def test_study_rows():
    study = GemmStudy(m=4, n=8, ks=(256, 64), distributions=("normal", "uniform"), accumulators=(pr.EXACT,))
    rows = list(study.rows())
    assert len(rows) == len(study) == 4
    assert [(row.data, row.k) for row in rows] == [
        ("normal", 64),
        ("normal", 256),
        ("uniform", 64),
        ("uniform", 256),
    ]
    assert all(isinstance(row, ProductRow) and (row.m, row.n) == (4, 8) for row in rows)
    assert rows == list(study.rows())


def test_bad_studies():
    with pytest.raises(ValueError, match=r"distribution must be one of normal.*did you mean 'normal'"):
        GemmStudy(distributions=("norml",))
    with pytest.raises(ValueError, match="ks must be at least 1, got 0"):
        GemmStudy(ks=(128, 0))
    with pytest.raises(TypeError, match=r"m must be an int, got 2\.0"):
        GemmStudy(m=2.0)
    with pytest.raises(ValueError, match="seed must be at least 0"):
        GemmStudy(seed=-1)
    with pytest.raises(ValueError, match=r"shapes \(M, K\) and \(K, N\), got \(2, 3\) and \(4, 5\)"):
        next(compare(np.ones((2, 3), np.float32), np.ones((4, 5), np.float32)))
