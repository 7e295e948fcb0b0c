"""The command: what it prints, what it writes, and how it refuses."""

from __future__ import annotations

import csv
import io
import json
import os

import ml_dtypes
import numpy as np
import pytest
from click.testing import CliRunner
from safetensors.numpy import save_file

import precision as pr
from precision import metrics, storage
from precision.cli import command

SMALL = ["--m", "8", "--n", "8", "--k", "64,128", "--distribution", "normal"]
FEW = ["--accumulator", "HOPPER_FP8", "--accumulator", "EXACT"]


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")


def run(*arguments):
    return CliRunner().invoke(command, [str(argument) for argument in arguments])


def ran(*arguments):
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


def refused(*arguments):
    result = run(*arguments)
    assert result.exit_code in (1, 2), result.output
    assert isinstance(result.exception, SystemExit)  # a message, not a traceback
    return " ".join(result.output.split())


def rows_of(*arguments):
    return json.loads(ran("gemm", "--no-figure", "--json", "-", *arguments))


@pytest.fixture
def model():
    rng = np.random.default_rng(0)
    tensors = {
        "layer.0.query.weight": rng.standard_normal((24, 160), np.float32),
        "layer.0.key.weight": rng.standard_normal((24, 160), np.float32).astype(ml_dtypes.bfloat16),
        "layer.0.bias": np.zeros(24, np.float32),
    }
    save_file(tensors, "model.safetensors")
    return tensors


# ---- precision gemm -------------------------------------------------------------------------------------
def test_tables_and_figure():
    output = ran("gemm", *SMALL, "--m", 16)
    assert output.count("accumulation alone") == output.count("quantization and accumulation") == 1
    assert "N(0,1), (16, 128) @ (128, 8)" in output
    for text in ("HOPPER_FP8 ", "  .promoted(64) ", "  .with_width(10) ", "FP32_FMA ", "SQNR", "cosine"):
        assert text in output
    with open("precision-gemm.png", "rb") as file:
        assert file.read(8) == b"\x89PNG\r\n\x1a\n"
    assert os.listdir() == ["precision-gemm.png"]


def test_svg_figures_repeat():
    for name in ("a.svg", "b.svg"):
        ran("gemm", *SMALL, *FEW, "--figure", name)
    with open("a.svg") as a, open("b.svg") as b:
        text = a.read()
        assert text == b.read() and "<svg" in text


def test_json_and_csv_hold_every_row():
    rows = rows_of(*SMALL, *FEW, "--distribution", "uniform", "--csv", "rows.csv")
    assert [(r["data"], r["k"], r["accumulator"]) for r in rows] == [
        (data, k, accumulator)
        for data in ("normal", "uniform")
        for k in (64, 128)
        for accumulator in ("HOPPER_FP8", "EXACT")
    ]
    for measure in metrics.MEASURES:
        assert {f"accumulation_{measure}", f"total_{measure}"} <= set(rows[0])
    with open("rows.csv") as file:
        table = list(csv.DictReader(file))
    assert [float(row["total_calc_diff"]) for row in table] == [row["total_calc_diff"] for row in rows]
    streamed = list(csv.DictReader(io.StringIO(ran("gemm", *SMALL, *FEW, "--no-figure", "--csv", "-"))))
    assert [row["accumulator"] for row in streamed] == ["HOPPER_FP8", "EXACT"] * 2


def test_seed_fixes_the_numbers():
    assert rows_of(*SMALL, *FEW, "--seed", 5) == rows_of(*SMALL, *FEW, "--seed", 5)
    assert rows_of(*SMALL, *FEW, "--seed", 5) != rows_of(*SMALL, *FEW, "--seed", 6)


@pytest.mark.parametrize(
    ("scaling", "spec"),
    [
        ("none", "e4m3"),
        ("tensor", str(pr.QuantSpec(pr.E4M3, pr.PerTensor()))),
        ("row", str(pr.QuantSpec(pr.E4M3, pr.PerVector()))),
        ("1x128", str(pr.QuantSpec(pr.E4M3, pr.PerGroup(128)))),
        ("128x128", str(pr.QuantSpec(pr.E4M3, pr.PerBlock(128, 128)))),
    ],
)
def test_scalings(scaling, spec):
    (row,) = rows_of("--k", 256, *SMALL[:4], "--distribution", "normal", "--accumulator", "EXACT",
                     "--a-scaling", "row", "--b-scaling", scaling)  # fmt: skip
    assert row["b_spec"] == spec
    assert row["a_spec"] == str(pr.QuantSpec(pr.E4M3, pr.PerVector()))


def test_formats_of_each_operand():
    rows = rows_of(*SMALL, "--format", "e5m2", "--a-format", "E4M3", "--scaling", "none", *FEW)
    assert {(row["a_spec"], row["b_spec"]) for row in rows} == {("e4m3", "e5m2")}


def test_npy_operands_are_multiplied_as_they_are():
    a, b = (np.random.default_rng(i).standard_normal(s) for i, s in enumerate([(4, 300), (300, 6)]))
    np.save("a.npy", a.astype(np.float32))
    np.save("b.npy", b.astype(np.float32))
    rows = rows_of("--a", "a.npy", "--b", "b.npy", *FEW)
    assert [(row["data"], row["k"]) for row in rows[::2]] == [("a.npy @ b.npy", k) for k in (128, 256, 300)]
    assert {(row["m"], row["n"]) for row in rows} == {(4, 6)}
    assert rows_of("--a", "a.npy", "--b", "b.npy", *FEW, "--k", 300) == rows[4:]


@pytest.mark.parametrize("tensor", ["layer.0.query.weight", "layer.0.key.weight"])
def test_weights_are_transposed(model, tensor):
    rows = rows_of("--weights", "model.safetensors", "--tensor", tensor, "--m", 10, *FEW)
    assert [(row["m"], row["n"], row["k"]) for row in rows] == [(10, 24, 128)] * 2 + [(10, 24, 160)] * 2
    assert rows[0]["data"] == f"N(0,1) @ {tensor}.T"
    np.save("x.npy", np.ones((3, 160), np.float32))
    np.save("ones.npy", np.ones((3, 160), np.float16))
    np.save("w.npy", model[tensor].astype(np.float32).T)
    given = rows_of("--weights", "model.safetensors", "--tensor", tensor, "--x", "x.npy", *FEW)
    twin = rows_of("--a", "ones.npy", "--b", "w.npy", *FEW)
    assert [row | {"data": ""} for row in given] == [row | {"data": ""} for row in twin]


def test_table_of_weights(model):
    output = ran("gemm", "--weights", "model.safetensors", "--tensor", "layer.0.key.weight", "--m", 4, *FEW)
    assert "N(0,1) @ layer.0.key.weight.T, (4, 160) @ (160, 24)" in output


def test_threads_change_nothing():
    before = pr.get_num_threads()
    try:
        one, two = (rows_of(*SMALL, *FEW, "--threads", n) for n in (1, 2))
    finally:
        pr.set_num_threads(before)
    assert one == two


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--accumulator", "HOPPER_FP9"], "HOPPER_FP8"),
        (["--accumulator", "HOPPER_FP8.promoted(100)"], "multiple of the unit's 32 products, got 100"),
        (["--distribution", "norml"], "did you mean 'normal'"),
        (["--format", "e4m33x"], "e4m3"),
        (["--format", "int8"], "int8 is no floating-point format"),
        (["--scaling", "1x0"], "scaling must be none, tensor, row"),
        (["--k", "128,x"], "must be whole numbers of at least 1"),
        (["--figure", "figure.bmpx"], "must end in one of"),
        (["--figure", "no/folder/figure.png"], "is not a folder"),
        (["--json", "-", "--csv", "-"], "cannot both go to the standard output"),
        (["--a", "model.safetensors"], "--a and --b go together"),
        (["--x", "x.npy"], "--x and --tensor belong to --weights"),
        (["--tensor", "x"], "--x and --tensor belong to --weights"),
        (["--a-tensor", "x"], "belong to --a and --b"),
        (["--weights", "model.safetensors"], "holds 3 tensors: name one of them"),
        (
            ["--weights", "model.safetensors", "--tensor", "layer.0.kee.weight"],
            "near names: layer.0.key.weight",
        ),
        (["--weights", "model.safetensors", "--tensor", "layer.0.bias"], "must be a matrix"),
        (["--weights", "x.npy", "--x", "wide.npy"], "x has shape (2, 9) and the weights (3, 8)"),
        (["--weights", "x.npy", "--k", "9"], "--k 9 is more than the operands' K = 8"),
        (["--weights", "x.npy", "--tensor", "x"], "one array without a name"),
        (["--weights", "x.npy", "--n", "5"], "are the files' own"),
        (["--weights", "x.npy", "--distribution", "normal"], "leave it out where files are given"),
        (["--a", "x.npy", "--b", "wide.npy"], "a has shape (3, 8) and b (2, 9)"),
        (["--a", "x.npy", "--b", "x.npy", "--weights", "x.npy"], "not both"),
        (["--weights", "whole.npy"], "must be floating-point, got int64"),
        (["--weights", "complex.npy"], "must be real, got complex128"),
        (["--weights", "empty.npy"], "must be a matrix with elements, got shape (0, 8)"),
        (["--weights", "text.txt"], "read from .npy and .safetensors"),
        (["--weights", "bad.npy"], "not a readable .npy file"),
        (["--weights", "missing.npy"], "does not exist"),
        (["--scaling", "1x128", "--accumulator", "HOPPER_FP8"], "promot"),
        (["--format", "bf16", "--accumulator", "HOPPER_FP8"], "bf16"),
    ],
)
def test_refusals(model, arguments, message):
    np.save("x.npy", np.ones((3, 8), np.float32))
    np.save("wide.npy", np.ones((2, 9), np.float32))
    np.save("whole.npy", np.ones((3, 8), np.int64))
    np.save("complex.npy", np.ones((3, 8), complex))
    np.save("empty.npy", np.ones((0, 8), np.float32))
    for name in ("text.txt", "bad.npy"):
        with open(name, "w") as file:
            file.write("no numbers")
    before = sorted(os.listdir())
    size = [] if {"--weights", "--a"} & set(arguments) else ["--m", "4", "--n", "4"]
    size += [] if size == [] or "--k" in arguments else ["--k", "256"]
    assert message in refused("gemm", *size, *arguments)
    assert sorted(os.listdir()) == before  # nothing half-written


# ---- safetensors ---------------------------------------------------------------------------------------
def test_truncated_files(model):
    with open("model.safetensors", "rb") as file:
        whole = file.read()
    for size, message in ((len(whole) - 1, "is truncated: tensor"), (60, "is truncated: its header"),
                          (5, "is not a safetensors file")):  # fmt: skip
        with open("cut.safetensors", "wb") as file:
            file.write(whole[:size])
        arguments = ("--weights", "cut.safetensors", "--tensor", "layer.0.query.weight")
        assert message in refused("gemm", *arguments)


def test_codes_of_four_bits_are_values():
    q = pr.quantize(np.random.default_rng(0).standard_normal((24, 160), np.float32), pr.MXFP4)
    storage.save("w.safetensors", {"w": q})
    np.save("w.npy", q.codes.astype(np.float32))
    one, two = (rows_of("--weights", "w.safetensors", "--tensor", "w.codes", "--m", 4, *FEW),
                rows_of("--weights", "w.npy", "--m", 4, *FEW))  # fmt: skip
    assert [row | {"data": ""} for row in one] == [row | {"data": ""} for row in two]


# ---- precision formats -----------------------------------------------------------------------------------
def test_table_of_formats():
    output = ran("formats")
    line = next(line for line in output.splitlines() if line.split()[:1] == ["e4m3"])
    assert line.split() == ["e4m3", "8", "7", "448", "2^-6", "2^-9", "FN", "7F", "-"]


def test_values_of_a_format():
    assert "448" in ran("formats", "e4m3") and "0.001953125" in ran("formats", "e4m3")
    (limits,) = json.loads(ran("formats", "e4m3", "--json"))
    assert (limits["max"], limits["nan_code"], limits["inf_code"]) == (448.0, 0x7F, None)
    decoded = np.arange(256, dtype=np.uint8).view(ml_dtypes.float8_e4m3fn).astype(float)
    assert limits["values"] == [None if np.isnan(value) else value for value in decoded]
    (wide,) = json.loads(ran("formats", "bf16", "--json"))
    assert "values" not in wide and wide["max"] == float(ml_dtypes.finfo(ml_dtypes.bfloat16).max)


def test_every_named_format_prints():
    assert len(ran("formats", *pr.formats.NAMED).splitlines()) > len(pr.formats.NAMED)
    assert len(json.loads(ran("formats", "--json"))) == len(pr.formats.NAMED)


def test_unknown_format():
    assert "near: " in refused("formats", "e4m3fnus")
