"""``precision quantize``: what it prints, what it writes, and how it refuses."""

from __future__ import annotations

import csv
import io
import json
import os

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file
from test_cli import ran, refused, run

import precision as pr
from precision import specs
from precision.metrics import DISTRIBUTIONS, draw, tally
from precision.studies.built_in._spec_fidelity import SPECS as DEFAULT_SPECS

SMALL = ["--shape", "16x96"]
FEW = ["--spec", "MXFP4", "--spec", "QuantSpec(e4m3, PerGroup(128))"]


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")


def rows_of(*arguments):
    return json.loads(ran("quantize", *arguments, "--no-figure", "--json", "-"))


@pytest.fixture
def model():
    rng = np.random.default_rng(0)
    tensors = {
        "layer.0.weight": rng.standard_normal((24, 160), np.float32),
        "layer.1.weight": rng.standard_normal((24, 160)).astype(ml_dtypes.bfloat16),
        "layer.0.bias": rng.standard_normal(24).astype(np.float32),
        "ids": np.arange(24),
        "empty": np.zeros((0, 4), np.float32),
    }
    save_file(tensors, "model.safetensors")
    return tensors


def test_table_and_figure():
    output = ran("quantize", "normal", *SMALL)
    assert output.startswith("N(0,1), 16x96\n")
    lines = {line.split("  ")[0]: line for line in output.splitlines()}
    assert {str(spec) for spec in DEFAULT_SPECS} <= set(lines)
    found = tally(draw("normal", (16, 96), k_axis=1), pr.MXFP4)
    columns = lines["MXFP4"].split()
    assert columns[1:3] == ["4.250", f"{found.sqnr_db:.1f}"]
    assert float(columns[4]) == pytest.approx(100 * found.flushed / 1536, rel=0.05)
    assert os.listdir() == ["precision-quantize.png"]
    with open("precision-quantize.png", "rb") as file:
        assert file.read(8) == b"\x89PNG\r\n\x1a\n"


def test_svg_figures_repeat():
    for name in ("a.svg", "b.svg"):
        ran("quantize", "normal", *SMALL, "--figure", name)
    with open("a.svg") as a, open("b.svg") as b:
        text = a.read()
        assert text == b.read() and "<svg" in text


def test_json_and_csv_hold_every_row():
    rows = rows_of("laplace", *SMALL, *FEW, "--csv", "rows.csv", "--seed", 4)
    assert [row["spec"] for row in rows] == FEW[1::2]
    x = draw("laplace", (16, 96), k_axis=1, seed=4)
    for row in rows:
        found = tally(x, pr.QuantSpec.parse(row["spec"]))
        assert (row["sqnr_db"], row["signed_relative_error"]) == (found.sqnr_db, found.signed_relative_error)
        assert (row["data"], row["tensor"], row["shape"]) == ("laplace", "", "16x96")
    with open("rows.csv") as file:
        table = list(csv.DictReader(file))
    assert [float(row["flushed_share"]) for row in table] == [row["flushed_share"] for row in rows]
    streamed = ran("quantize", "laplace", *SMALL, *FEW, "--no-figure", "--csv", "-", "--seed", 4)
    assert list(csv.DictReader(io.StringIO(streamed))) == table


def test_axis():
    (row,) = rows_of("outliers", *SMALL, "--spec", "MXFP4", "--axis", -2)
    found = tally(draw("outliers", (16, 96), k_axis=0), pr.MXFP4, axis=0)
    assert row["sqnr_db"] == found.sqnr_db and row["bits_per_element"] == 4.5


def test_rules_stand_under_their_spec():
    arguments = ["normal", *SMALL, *FEW, "--spec", "MXFP8_E5M2", "--rule", "rceil", "--rule", "FLOOR"]
    output = ran("quantize", *arguments, "--no-figure")
    names = [line.split("  ")[0] or line.split()[0] for line in output.splitlines()[4:9]]
    assert names == ["MXFP4", "scale_rule=RCEIL", FEW[3], "MXFP8_E5M2", "scale_rule=RCEIL"]
    assert [pr.QuantSpec.parse(row["spec"]).scale_rule.name for row in rows_of(*arguments)] == [
        "FLOOR", "RCEIL", "AMAX", "FLOOR", "RCEIL",
    ]  # fmt: skip


def test_every_kind_of_spec():
    names = ["LogFMT(8, 64)", "bf16", "DEEPEP_LOGFMT10", "MXFP8_E4M3"]
    arguments = ["normal", *SMALL, *(part for name in names for part in ("--spec", name))]
    rows = rows_of(*arguments)
    assert [row["spec"] for row in rows] == names
    x = draw("normal", (16, 96), k_axis=1)
    for row in rows:
        assert row["sqnr_db"] == tally(x, specs.parse(row["spec"])).sqnr_db
    assert [row["bits_per_element"] for row in rows[:2]] == [8 + 2 * 64 / 96, 16]
    assert rows_of(*arguments, "--rule", "RCEIL")[:3] == rows[:3]
    output = ran("quantize", *arguments)
    assert [line.split("  ")[0] for line in output.splitlines()[4:8]] == names
    assert os.listdir() == ["precision-quantize.png"]


def test_npy():
    x = np.random.default_rng(1).standard_normal((2, 3, 33)).astype(np.float16)
    np.save("x.npy", x)
    (row,) = rows_of("x.npy", "--spec", "NVFP4")
    assert (row["data"], row["shape"], row["sqnr_db"]) == ("x.npy", "2x3x33", tally(x, pr.NVFP4).sqnr_db)


def test_whole_file_and_some_tensors(model):
    rows = rows_of("model.safetensors", *FEW)
    assert [row["tensor"] for row in rows[-2:]] == ["", ""] and len(rows) == 8
    assert {row["tensor"] for row in rows[:-2]} == {"layer.0.weight", "layer.1.weight", "layer.0.bias"}
    assert rows[-1]["elements"] == 2 * 24 * 160 + 24
    (one,) = rows_of("model.safetensors", "--spec", "MXFP4", "--tensor", "layer.1.weight")
    assert one in rows and one["sqnr_db"] == tally(model["layer.1.weight"], pr.MXFP4).sqnr_db
    output = ran("quantize", "model.safetensors", *FEW, "--no-figure")
    assert "model.safetensors, layer.1.weight, 24x160" in output
    assert "model.safetensors, 7,704 elements, 3 tensors" in output


def test_of_many_tensors_only_the_total_is_printed():
    save_file({f"w{i}": np.ones((2, 40), np.float32) for i in range(9)}, "many.safetensors")
    output = ran("quantize", "many.safetensors", *FEW, "--no-figure")
    assert "many.safetensors, 720 elements, 9 tensors" in output and "w3" not in output
    assert "--csv" in output
    assert len(rows_of("many.safetensors", *FEW)) == 20


def test_tensors_that_a_spec_does_not_suit_are_left_out_aloud(model):
    arguments = ("quantize", "model.safetensors", "--spec", "QuantSpec(int8, PerBlock(8, 8))", "--no-figure")
    result = run(*arguments, "--json", "-")
    assert "left out: 1 of 3 tensors, as layer.0.bias: PerBlock(8, 8) needs an array of at least 2 axes" in (
        " ".join(result.stderr.split())
    )
    assert {row["tensor"] for row in json.loads(result.stdout)} == {"layer.0.weight", "layer.1.weight", ""}
    assert "layer.0.bias" in refused(*arguments, "--tensor", "layer.0.bias")


def test_nan_and_inf_are_counted_and_shown():
    x = draw("normal", (16, 96), k_axis=1)
    x[3, 40], x[5, 2] = np.nan, np.inf
    np.save("x.npy", x)
    mx, whole = rows_of("x.npy", "--spec", "MXFP4", "--spec", "QuantSpec(e4m3, PerTensor())")
    assert (mx["non_finite"], mx["measured"], whole["measured"]) == (2, 1536 - 64, 0)
    assert whole["sqnr_db"] is whole["max_relative_error"] is whole["clipped_share"] is None
    output = ran("quantize", "x.npy", *FEW, "--spec", "QuantSpec(e4m3, PerTensor())")
    assert "of which 2 are NaN or Inf" in output and "measured" in output
    line = next(line for line in output.splitlines() if "PerTensor" in line)
    assert line.split()[2:] == ["8.021", "-", "-", "-", "-", "-", "0"]


def test_threads_change_nothing():
    before = pr.get_num_threads()
    try:
        one, two = (rows_of("normal", *SMALL, "--threads", n) for n in (1, 2))
    finally:
        pr.set_num_threads(before)
    assert one == two


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["norml"], "must be one of normal, uniform"),
        (["norml"], "got 'norml' (did you mean 'normal'"),
        (["missing.npy"], "there is no file missing.npy"),
        (["text.txt"], "read from .npy and .safetensors"),
        (["bad.npy"], "not a readable .npy file"),
        (["bad.safetensors"], "not a safetensors file"),
        (["whole.npy"], "whole.npy must be floating-point, of at most 64 bits, got int64"),
        (["none.npy"], "at least one axis and one element, got shape (0, 8)"),
        (["x.npy", "--axis", "2"], "x.npy: axis must lie in -2..1 for 2 axes, got 2"),
        (["normal", "--axis", "-3"], "axis must lie in -2..1 for 2 axes, got -3"),
        (["x.npy", "--tensor", "x"], "one array without a name"),
        (["x.npy", "--shape", "2x3"], "--shape is of a distribution"),
        (["normal", "--shape", "2x0"], "must be rows and columns, as 1024x4096; got '2x0'"),
        (["normal", "--shape", "4"], "must be rows and columns"),
        (["normal", "--tensor", "x"], "--tensor is of a file"),
        (["normal", "--seed", "-1"], "-1 is not in the range"),
        (["normal", "--spec", "MXFP5"], "unknown name 'MXFP5'; near names: MXFP4"),
        (["normal", "--spec", "int8"], "must say a QuantSpec"),
        (["normal", "--spec", "e8m0"], "must have a sign and a zero"),
        (["normal", "--spec", "QuantSpec(e4m3, PerGroup(0))"], "n must be at least 1, got 0"),
        (
            ["normal", "--rule", "UP"],
            "EVEN, FOUR_OVER_SIX_MAE, FOUR_OVER_SIX_MSE; got 'UP'",
        ),
        (["normal", "--spec", "NVFP4", "--rule", "CEIL"], "rules (CEIL) are for specs whose scales are"),
        (["model.safetensors", "--tensor", "layer.2.weight"], "has no tensor 'layer.2.weight'; near names"),
        (
            ["model.safetensors", "--tensor", "ids"],
            "tensor 'ids' of model.safetensors must be float",
        ),
        (["model.safetensors", "--tensor", "empty"], "one element, got shape (0, 4)"),
        (["model.safetensors", "--axis", "2"], "tensor 'layer.0.bias': axis must lie in"),
        (["normal", "--figure", "figure.bmpx"], "must end in one of"),
        (["normal", "--figure", "no/folder/figure.png"], "is not a folder"),
        (["normal", "--csv", "no/folder/rows.csv"], "is not a folder"),
        (["normal", "--json", "-", "--csv", "-"], "cannot both go to the standard output"),
        ([], "Missing argument"),
    ],
)
def test_refusals(model, arguments, message):
    np.save("x.npy", np.ones((3, 8), np.float32))
    np.save("whole.npy", np.ones((3, 8), np.int64))
    np.save("none.npy", np.ones((0, 8), np.float32))
    for name in ("text.txt", "bad.npy", "bad.safetensors"):
        with open(name, "w") as file:
            file.write("no numbers")
    before = sorted(os.listdir())
    assert message in refused("quantize", *arguments)
    assert sorted(os.listdir()) == before  # nothing half-written


@pytest.mark.parametrize("name", ["quantize", "logfmt", "gemm"])
def test_help_names_every_distribution(name):
    assert ", ".join(DISTRIBUTIONS) in " ".join(ran(name, "--help").split())
