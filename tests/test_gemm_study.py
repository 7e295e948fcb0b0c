"""The study of `precision gemm`: draws, references, accumulators, and the table that it gives."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

import precision as pr
from precision import metrics, studies
from precision.cli._study_commands import compute_table
from precision.metrics import DISTRIBUTIONS, draw
from precision.studies import Matrices, study
from precision.studies.built_in._matrix_product import default_accumulators
from precision.sweep import sweep

GEMM = study("gemm")

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


def test_a_drawn_matrix_counts_its_axes_from_either_end():
    for name in DISTRIBUTIONS:
        for axis in (0, 1):
            x = draw(name, (96, 64), k_axis=axis, seed=5)
            assert np.array_equal(x, draw(name, (96, 64), k_axis=axis - 2, seed=5))
            assert np.array_equal(x, draw(name, [96, 64], k_axis=np.int8(axis), seed=np.uint64(5)))
        assert draw(name, (0, 3), k_axis=0).shape == (0, 3) and draw(name, (3, 0), k_axis=1).shape == (3, 0)


@pytest.mark.parametrize(
    ("wrong", "kind", "words"),
    [
        ({"seed": -1}, ValueError, "seed must be at least 0, got -1"),
        ({"seed": 1.0}, TypeError, "seed must be an int, got 1.0"),
        ({"k_axis": 2}, ValueError, r"k_axis must lie in -2\.\.1 for 2 axes, got 2"),
        ({"k_axis": -3}, ValueError, r"k_axis must lie in -2\.\.1 for 2 axes, got -3"),
        ({"k_axis": True}, TypeError, "k_axis must be an int, got True"),
        ({"shape": (-1, 4)}, ValueError, r"shape\[0\] must be at least 0, got -1"),
        ({"shape": (4, -4)}, ValueError, r"shape\[1\] must be at least 0, got -4"),
        ({"shape": (4, 4.0)}, TypeError, r"shape\[1\] must be an int, got 4.0"),
        ({"shape": (4,)}, ValueError, r"shape must be two sizes, \(rows, columns\), got \(4,\)"),
        ({"shape": 4}, TypeError, r"shape must be two sizes, \(rows, columns\), got 4"),
    ],
)
@pytest.mark.parametrize("name", ["normal", "outliers"])
def test_arguments_of_draw_are_named(name, wrong, kind, words):
    with pytest.raises(kind, match=f"^{words}$"):
        draw(name, **{"shape": (4, 4), "k_axis": 1} | wrong)


def cell(**values):
    """One product of U(0,1) of 8 rows and columns, unless told otherwise."""
    return GEMM.cell(**{"data": "uniform", "m": 8, "n": 8, "a_spec": pr.E4M3, "b_spec": pr.E4M3} | values)


def test_two_references():
    a, b = draw("uniform", (8, 512), k_axis=1), draw("uniform", (512, 8), k_axis=0)
    qa, qb = pr.quantize(a, TENSOR, axis=-1), pr.quantize(b, TENSOR, axis=-2)
    table = sweep(
        GEMM, {"data": "uniform", "m": 8, "n": 8, "k": 512, "accumulator": pr.HOPPER_FP8, "a_spec": TENSOR}
    )
    (row,) = table.to_dict("records")
    result = pr.matmul(qa, qb, accumulator=pr.HOPPER_FP8)
    quantized = qa.dequantize().astype(np.float64) @ qb.dequantize().astype(np.float64)
    original = a.astype(np.float64) @ b.astype(np.float64)
    assert (row["data"], row["m"], row["n"], row["k"]) == ("uniform", 8, 8, 512)
    assert (row["a_spec"], row["b_spec"], row["accumulator"]) == (str(TENSOR), str(TENSOR), "HOPPER_FP8")
    found = row["accumulation_norm_relative_error"]
    assert found == pytest.approx(metrics.norm_relative_error(result, quantized), rel=1e-3)
    assert {name: row[f"total_{name}"] for name in metrics.MEASURES} == metrics.report(result, original)
    # Given matrices are multiplied as drawn ones are.
    mine = Matrices("mine", a, b)
    values = cell(data=mine, k=512, a_spec=TENSOR, b_spec=TENSOR, accumulator=pr.HOPPER_FP8)
    assert values == {name: row[name] for name in values}


def test_bare_format_means_scale_one():
    a, b = draw("normal", (4, 64), k_axis=1), draw("normal", (64, 4), k_axis=0)
    found = cell(data="normal", m=4, n=4, k=64, accumulator=pr.EXACT)
    rounded = pr.round_to(a, pr.E4M3).astype(np.float64) @ pr.round_to(b, pr.E4M3).astype(np.float64)
    original = a.astype(np.float64) @ b.astype(np.float64)
    # what is left beside quantization is one rounding to float32
    expected = metrics.norm_relative_error(rounded, original)
    assert found["total_norm_relative_error"] == pytest.approx(expected, rel=1e-6)
    assert found["accumulation_norm_relative_error"] < 2**-24


def test_given_matrices_are_cut_to_the_sizes():
    a, b = draw("normal", (9, 300), k_axis=1), draw("normal", (300, 7), k_axis=0)
    part = Matrices("part", a[:4, :128], b[:128, :5])
    sizes = {"m": 4, "n": 5, "k": 128, "accumulator": pr.EXACT}
    assert cell(data=Matrices("whole", a, b), **sizes) == cell(data=part, **sizes)
    with pytest.raises(
        ValueError, match=r"data has shapes \(4, 128\) and \(128, 5\): too few for \(4, 5, 129\)"
    ):
        cell(data=part, **sizes | {"k": 129})
    with pytest.raises(ValueError, match=r"shapes \(M, K\) and \(K, N\), got \(2, 3\) and \(4, 5\)"):
        Matrices("none", np.ones((2, 3), np.float32), np.ones((4, 5), np.float32))


def test_matrices_are_known_by_their_name():
    a, b = draw("normal", (4, 64), k_axis=1), draw("normal", (64, 4), k_axis=0)
    pairs = [Matrices("first", a, b), Matrices("second", 2 * a, b)]
    table = sweep(GEMM, {"data": pairs, "m": 4, "n": 4, "k": 64, "accumulator": pr.EXACT})
    assert table["data"].tolist() == ["first", "second"]
    with pytest.raises(ValueError, match="holds 'first' twice"):
        sweep(GEMM, {"data": [pairs[0], Matrices("first", b.T, a.T)]})


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
    a_spec, b_spec = specs
    rows = [
        cell(data="normal", m=16, n=16, k=256, a_spec=a_spec, b_spec=b_spec, accumulator=unit)
        for unit in default_accumulators(a_spec, b_spec)
    ]
    assert all(row["accumulation_norm_relative_error"] < 0.05 for row in rows)
    assert all(row["total_sqnr_db"] > 20 for row in rows)


def test_what_an_h100_loses():
    """On U(0,1) at K = 4096 an H100 makes errors of 6.6e-2 (fast) and 5.0e-4 (slow), all toward zero."""
    units = pr.HOPPER_FP8, pr.HOPPER_FP8.promoted(128)
    fast, slow = (cell(m=64, n=64, k=4096, accumulator=unit) for unit in units)
    assert fast["accumulation_norm_relative_error"] == pytest.approx(6.6e-2, rel=0.05)
    assert fast["accumulation_signed_relative_error"] == pytest.approx(-6.6e-2, rel=0.05)
    assert slow["accumulation_signed_relative_error"] == pytest.approx(-5.0e-4, rel=0.05)


def options(**given):
    """What the subcommand's options are where the command line does not name them."""
    every = {one.name: () if one.repeatable else one.default for one in GEMM.command.options}
    return {**every, "format": pr.E4M3, "threads": None} | given


def test_rows_in_order():
    asked = options(m=4, n=8, k=((256, 64),), distribution=("normal", "uniform"), accumulator=(pr.EXACT,))
    table = compute_table(GEMM, GEMM.command, asked)
    assert list(zip(table["data"], table["k"], strict=True)) == [
        ("normal", 64),
        ("normal", 256),
        ("uniform", 64),
        ("uniform", 256),
    ]
    assert set(table["m"]) == {4} and set(table["n"]) == {8}
    assert table.equals(compute_table(GEMM, GEMM.command, asked))


def test_the_default_command_gives_the_recorded_numbers():
    """All numbers of `precision gemm --json`, but those of its slowest cells, as version 0.1 gave them."""
    recorded = json.loads(
        gzip.decompress(Path(__file__).with_name("recorded_gemm_study.json.gz").read_bytes())
    )
    table = compute_table(GEMM, GEMM.command, options(k=((128, 256, 512, 1024, 2048),)))
    rows = table[list(GEMM.command.columns)].to_dict("records")
    assert len(rows) == 2 * 5 * 11 and [list(row) for row in rows] == [list(row) for row in recorded]
    for row, expected in zip(rows, recorded, strict=True):
        for name, value in expected.items():
            if isinstance(value, float):  # in whose sums BLAS and NumPy have orders of their own
                value = pytest.approx(value, rel=1e-3 if "ulp" in name else 1e-9, abs=1e-14)
            assert row[name] == value, (row["accumulator"], name)


def test_the_answer_is_made_of_the_numbers():
    table = compute_table(GEMM, GEMM.command, options(m=4, n=4, k=((64, 256),), distribution=("uniform",)))
    rows = table[(table["k"] == 256) & (table["accumulator"] != "EXACT")].set_index("accumulator")
    errors = rows["accumulation_norm_relative_error"]
    said = GEMM.answer(table)
    assert said.startswith(f"At K = 256 on U(0,1), {errors.idxmax()} loses {errors.max():.1e}"[:-4])
    assert f"{errors.idxmin()} loses least" in said and said.count(". ") <= 2 and said.endswith(".")
    alone = table[table["accumulator"] == "EXACT"]
    assert "nothing to compare" in GEMM.answer(alone)


def test_bad_arguments():
    for values, error, message in (
        ({"data": "norml"}, ValueError, "distribution must be one of normal.*did you mean 'normal'"),
        ({"k": 0}, ValueError, "k must lie in 1"),
        ({"m": 2.0}, TypeError, "m must be an int"),
        ({"seed": -1}, ValueError, "seed must lie in 0"),
    ):
        with pytest.raises(error, match=message):
            cell(**values)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("GemmStudy", "`sweep` runs the study gemm over a grid"),
        ("compare", "`sweep` runs the study gemm over a grid"),
        ("QuantizationStudy", "`sweep` runs the study quantize over a grid"),
        ("Wire", "`sweep` runs the study all_to_all over a grid"),
        ("DEFAULT_SPECS", r'it is study\("quantize"\).grid\["spec"\] now'),
        ("nothing", "has no attribute 'nothing'$"),
    ],
)
def test_names_of_the_old_studies_say_what_took_their_place(name, message):
    with pytest.raises(AttributeError, match=message):
        getattr(studies, name)
