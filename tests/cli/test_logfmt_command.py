"""``precision logfmt``: what it prints, what it writes, and how it refuses."""

from __future__ import annotations

import csv
import io
import json
import os

import numpy as np
import pytest
from safetensors.numpy import save_file
from test_cli import ran, refused

import precision as pr
from precision import specs
from precision.metrics import draw, tally
from precision.studies.built_in._all_to_all import BITS as DEFAULT_BITS
from precision.studies.built_in._all_to_all import PEERS

SMALL = ["--shape", "16x256"]
FEW = ["--bits", "8,10"]


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")


def rows_of(*arguments):
    return json.loads(ran("logfmt", *arguments, "--no-figure", "--json", "-"))


def lines_of(output):
    return {line.split("  ")[0]: line.split() for line in output.splitlines()}


def test_table_and_figure():
    output = ran("logfmt", "normal", *SMALL)
    assert output.startswith(
        "all-to-all: 32 tokens to 9 experts each, 7,000 values, 50 GB/s; token: 61 layers\n"
    )
    assert "(dispatch) in e4m3; back (combine) in the row's format" in output and "N(0,1), 16x256" in output
    lines = lines_of(output)
    assert {str(pr.LogFMT(bits)) for bits in DEFAULT_BITS} | {str(spec) for spec in PEERS} <= set(lines)
    found = tally(draw("normal", (16, 256), k_axis=1), pr.BF16)
    # bytes, dB, largest, bias, dispatch, combine and both in µs (the paper's 120.96), a token in ms
    assert lines["bf16"][1:3] == ["2.0000", f"{found.sqnr_db:.1f}"]
    assert lines["bf16"][5:] == ["40.32", "80.64", "120.96", "14.76"]
    assert float(lines["bf16"][3]) == pytest.approx(found.max_relative_error, rel=0.01)
    assert float(lines["bf16"][4]) == pytest.approx(found.signed_relative_error, rel=0.05)
    assert os.listdir() == ["precision-logfmt.png"]
    with open("precision-logfmt.png", "rb") as file:
        assert file.read(8) == b"\x89PNG\r\n\x1a\n"


def test_json_and_csv_hold_every_row():
    arguments = ["lognormal", *SMALL, *FEW, "--seed", 4]
    rows = rows_of(*arguments, "--csv", "rows.csv")
    assert [row["spec"] for row in rows] == [str(s) for s in (pr.LogFMT(8), pr.LogFMT(10), *PEERS)]
    x = draw("lognormal", (16, 256), k_axis=1, seed=4)
    for row in rows:
        found = tally(x, specs.parse(row["spec"]))
        assert row["sqnr_db"] == found.sqnr_db and row["max_relative_error"] == found.max_relative_error
        assert row["signed_relative_error"] == found.signed_relative_error
        assert row["bits_per_element"] == found.bits_per_element
        assert row["combine"] == row["spec"] and row["dispatch"] == "e4m3"
    assert rows[0]["seconds_combine"] == pytest.approx((1 + 55 * 8 / 7000) * 32 * 9 * 7000 / 50e9)
    with open("rows.csv") as file:
        table = list(csv.DictReader(file))
    assert [float(row["seconds_per_token"]) for row in table] == [row["seconds_per_token"] for row in rows]
    streamed = ran("logfmt", *arguments, "--no-figure", "--csv", "-")
    assert list(csv.DictReader(io.StringIO(streamed))) == table


def test_the_wire_is_the_users():
    arguments = ["--hidden", 7168, "--tokens", 64, "--experts", 5, "--layers", 10, "--bandwidth", 900]
    output = ran("logfmt", "normal", *SMALL, *FEW, *arguments, "--no-figure")
    assert "64 tokens to 5 experts each, 7,168 values, 900 GB/s; token: 10 layers" in output
    (row,) = [row for row in rows_of("normal", *SMALL, *FEW, *arguments) if row["spec"] == "bf16"]
    assert row["seconds_per_micro_batch"] == pytest.approx(3 * 64 * 5 * 7168 / 900e9)
    assert row["seconds_per_token"] == pytest.approx(10 * 2 * 3 * 64 * 5 * 7168 / 900e9)


def test_dispatch():
    output = ran("logfmt", "normal", *SMALL, *FEW, "--dispatch", "same")
    assert "to the experts (dispatch) in the row's format, too" in output
    assert lines_of(output)["bf16"][5:8] == ["80.64", "80.64", "161.28"]
    rows = rows_of("normal", *SMALL, *FEW, "--dispatch", "LogFMT(8)")
    assert {row["dispatch"] for row in rows} == {"LogFMT(8, 128)"}
    assert rows[0]["seconds_dispatch"] == rows[0]["seconds_combine"]


def test_widths_and_other_specs():
    more = ["--spec", "LogFMT(8, 64, space=LOG)", "--spec", "DEEPEP_LOGFMT10", "--spec", "bf16"]
    rows = rows_of("normal", *SMALL, "--bits", "5-6, 16,6", *more)
    names = ["LogFMT(5, 128)", "LogFMT(6, 128)", "LogFMT(16, 128)", *map(str, PEERS), more[1], more[3]]
    assert [row["spec"] for row in rows] == names  # each once
    assert rows[0]["sqnr_db"] < rows[1]["sqnr_db"] < rows[2]["sqnr_db"]


def test_files():
    rng = np.random.default_rng(0)
    tensors = {
        "w": rng.standard_normal((24, 160), np.float32),
        "b": rng.standard_normal(24).astype(np.float16),
    }
    save_file(tensors, "model.safetensors")
    rows = rows_of("model.safetensors", *FEW)
    assert len(rows) == 3 * 7 and {row["tensor"] for row in rows} == {"w", "b", ""}
    (one, *_) = rows_of("model.safetensors", *FEW, "--tensor", "w")
    assert one in rows and one["sqnr_db"] == tally(tensors["w"], pr.LogFMT(8)).sqnr_db
    assert "model.safetensors, 3,864 elements, 2 tensors" in ran("logfmt", "model.safetensors", *FEW)
    np.save("x.npy", tensors["w"])
    first = rows_of("x.npy", *FEW, "--axis", 0)[0]
    assert first["sqnr_db"] == tally(tensors["w"], pr.LogFMT(8), axis=0).sqnr_db


def test_nan_takes_its_tile_along():
    x = draw("normal", (16, 256), k_axis=1)
    x[3, 40] = np.nan
    np.save("x.npy", x)
    rows = {row["spec"]: row for row in rows_of("x.npy", *FEW)}
    assert [rows[s]["measured"] for s in ("LogFMT(8, 128)", "MXFP8_E4M3", "bf16")] == [4096 - 128, 4064, 4095]
    output = ran("logfmt", "x.npy", *FEW, "--no-figure")
    assert "of which 1 are NaN or Inf" in output and "measured" in output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["norml"], "got 'norml' (did you mean 'normal'"),
        (["missing.npy"], "there is no file missing.npy"),
        (["x.npy", "--shape", "2x3"], "--shape is of a distribution"),
        (["x.npy", "--axis", "2"], "x.npy: axis must lie in -2..1 for 2 axes, got 2"),
        (["normal", "--bits", "2-8"], "must be widths of 3 to 16, as 8, 6,8,10 or 4-12; got '2-8'"),
        (["normal", "--bits", "17"], "must be widths of 3 to 16"),
        (["normal", "--bits", "10-8"], "must be widths of 3 to 16"),
        (["normal", "--bits", "8,"], "must be widths of 3 to 16"),
        (["normal", "--bits", ""], "must be widths of 3 to 16"),
        (["normal", "--spec", "LogFMT(2)"], "bits must"),
        (["normal", "--spec", "LogFTM(8)"], "unknown name 'LogFTM'"),
        (["normal", "--dispatch", "fp7"], "unknown name 'fp7'"),
        (["normal", "--dispatch", "int8"], "must say a QuantSpec"),
        (["normal", "--dispatch", "QuantSpec(e4m3, PerBlock(3, 3, 3))"], "PerBlock"),
        (["normal", "--hidden", "0"], "0 is not in the range"),
        (["normal", "--bandwidth", "0"], "0.0 is not in the range"),
        (["normal", "--bandwidth", "nan"], "bandwidth must be above 0 and finite"),
        (["normal", "--tokens", "10000000000"], "tokens must"),
        (["normal", "--figure", "no/folder/figure.png"], "is not a folder"),
        (["normal", "--json", "-", "--csv", "-"], "cannot both go to the standard output"),
        ([], "Missing argument"),
    ],
)
def test_refusals(arguments, message):
    np.save("x.npy", np.ones((3, 8), np.float32))
    assert message in refused("logfmt", *arguments)
    assert os.listdir() == ["x.npy"]  # nothing half-written
