"""The study of `precision quantize`: what is drawn or read, in which order rows come, and their totals."""

from __future__ import annotations

import dataclasses
import math
import weakref

import ml_dtypes
import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import save_file

import precision as pr
from precision import plots
from precision.metrics import Tally, draw, tally
from precision.studies import Arrays, Source, _array_sources, _spec_tallies, read_sources, study
from precision.studies._array_sources import suited
from precision.studies._spec_tallies import tally_of, with_totals
from precision.studies.built_in._quantize import SPECS as DEFAULT_SPECS
from precision.studies.built_in._quantize import with_rules
from precision.sweep import sweep

QUANTIZE = study("quantize")
SPECS = (pr.MXFP8_E4M3, pr.NVFP4)
RULES = (pr.ScaleRule.FLOOR, pr.ScaleRule.RCEIL)


@pytest.fixture
def model(tmp_path):
    rng = np.random.default_rng(0)
    tensors = {
        "wide": rng.standard_normal((6, 80), np.float32),
        "half": rng.standard_normal((5, 3, 40)).astype(ml_dtypes.bfloat16),
        "bias": rng.standard_normal(9).astype(np.float16),
        "ids": np.arange(12).reshape(3, 4),
        "one": np.ones((1, 1), np.float32),
        "scalar": np.array(2, np.float32),
        "none": np.zeros((0, 4), np.float32),
    }
    save_file(tensors, tmp_path / "model.safetensors")
    return tmp_path / "model.safetensors", tensors


def table_of(specs=DEFAULT_SPECS, data="normal", tensor=("",), **sizes):
    """The rows of each array for each spec, and their totals."""
    grid = {"data": [data], "tensor": tensor, "spec": specs, **{"rows": 32, "columns": 256} | sizes}
    return with_totals(sweep(QUANTIZE, [grid]))


def of_file(path, specs, **options):
    sources = read_sources(path)
    arrays = Arrays("m", sources)
    return table_of(specs, arrays, list(arrays.sources), **options)


def _saved(path, array):
    np.save(path, array)
    return str(path)


def tallies(table):
    return [tally_of(row) for row in table.to_dict("records")]


def test_default_specs_print_and_parse():
    assert len(set(DEFAULT_SPECS)) == len(DEFAULT_SPECS) == 12
    assert all(pr.QuantSpec.parse(str(spec)) == spec for spec in DEFAULT_SPECS)


def test_drawn_matrices():
    x = _array_sources.read("outliers", "", 64, 96, -2, 7)
    assert np.array_equal(x, draw("outliers", (64, 96), k_axis=0, seed=7))
    with pytest.raises(ValueError, match="did you mean 'normal'"):
        QUANTIZE.cell(data="norml")
    with pytest.raises(ValueError, match="axis must lie in"):
        QUANTIZE.cell(axis=2)
    with pytest.raises(ValueError, match="rows must lie in 1"):
        QUANTIZE.cell(rows=0)


def test_one_array_has_no_total():
    table = table_of(SPECS, rows=16, columns=48)
    x = draw("normal", (16, 48), k_axis=1)
    assert tallies(table) == [tally(x, spec) for spec in SPECS]
    assert set(table["shape"]) == {"16x48"} and set(table["tensor"]) == {""}
    assert table.equals(table_of(SPECS, rows=16, columns=48))


def test_rows_and_totals_of_a_file(model):
    path, tensors = model
    table = of_file(path, SPECS)
    found, names = tallies(table), list(table["tensor"])
    assert sorted(set(names[:-2])) == ["bias", "half", "wide"] and names[-2:] == ["", ""]
    assert len(table) == 8 and set(table["data"]) == {"m"}
    assert table["spec"].tolist() == ["MXFP8_E4M3", "NVFP4"] * 4
    for i, spec in enumerate(SPECS):
        parts = [tally(tensors[name], spec) for name in names[:-2:2]]
        assert found[i:-2:2] == parts
        total = found[-2 + i]
        assert (table["shape"].iloc[-2 + i], total) == ("", sum(parts, Tally()))
        # The total's SQNR is of the summed energies, not a mean of decibels.
        whole = np.concatenate([np.asarray(tensors[n], np.float64).ravel() for n in ("wide", "half", "bias")])
        assert total.signal == pytest.approx(float(whole @ whole))
        assert total.elements == 480 + 600 + 9
        assert total.bits_per_element == pytest.approx(sum(p.bits for p in parts) / 1089)


def test_named_tensors_come_in_their_order_and_once(model):
    path, _ = model
    assert [s.name for s in read_sources(path, ["bias", "wide", "bias"])] == ["bias", "wide"]
    assert [s.shape for s in read_sources(path, ["one"])] == [(1, 1)]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("ids", "tensor 'ids' of .*model.safetensors must be floating-point, of at most 64 bits, got I64"),
        ("scalar", r"tensor 'scalar' of .* at least one axis and one element, got shape \(\)"),
        ("none", r"at least one axis and one element, got shape \(0, 4\)"),
        ("wid", "has no tensor 'wid'; near names: wide"),
    ],
)
def test_tensors_that_cannot_be_studied(model, name, message):
    with pytest.raises(ValueError, match=message):
        read_sources(model[0], ["wide", name])


def test_arrays_that_cannot_be_studied(tmp_path):
    for array, message in (
        (np.arange(4), "must be floating-point, of at most 64 bits, got int64"),
        (np.ones(3, complex), "got complex128"),
        (np.zeros((3, 0)), r"one element, got shape \(3, 0\)"),
        (np.float32(1), r"at least one axis and one element, got shape \(\)"),
    ):
        np.save(tmp_path / "x.npy", array)
        with pytest.raises(ValueError, match=message):
            read_sources(tmp_path / "x.npy")
    np.save(tmp_path / "x.npy", np.ones((2, 3), ">f8"))
    (source,) = read_sources(tmp_path / "x.npy")
    assert source.shape == (2, 3) and tally(source.read(), pr.MXFP4).measured == 6
    save_file({"ids": np.arange(3)}, tmp_path / "ids.safetensors")
    with pytest.raises(ValueError, match="holds no floating-point tensor with an axis longer than 1"):
        read_sources(tmp_path / "ids.safetensors")


def test_one_tensor_is_in_memory_at_a_time(model, monkeypatch):
    read = []
    monkeypatch.setattr(_array_sources, "read_tensor", lambda path, name: read.append(name))
    sources = read_sources(model[0])
    assert read == []
    sources[1].read()
    assert read == [sources[1].name]
    arrays = Arrays(
        "m",
        [Source(str(i), (4,), lambda i=i: read.append(i) or np.ones(4, np.float32)) for i in range(3)],
    )
    assert read[1:] == []
    table_of(SPECS, arrays, ["0", "1", "2"])
    assert read[1:] == [0, 1, 2]  # each once, however many specs
    first = weakref.ref(arrays.read("0"))
    arrays.sources["1"] = Source("1", (4,), lambda: read.append(first()) or np.ones(4, np.float32))
    arrays.read("1")
    assert read[-1] is None  # gone before the next was read
    with pytest.raises(ValueError, match=r"tensor must be one of 0, 1, 2; got '3'"):
        arrays.read("3")


def test_rules_are_for_powers_of_two():
    other = dataclasses.replace(pr.MXFP4, scale_rule=pr.ScaleRule.RCEIL)
    assert with_rules([pr.MXFP4, pr.NVFP4], RULES) == (pr.MXFP4, other, pr.NVFP4)
    assert with_rules([pr.MXFP4, pr.MXFP4], []) == (pr.MXFP4,)
    scaled = pr.QuantSpec(pr.E4M3, pr.PerGroup(128), scale_rule=pr.ScaleRule.CEIL)
    assert [spec.scale_rule.name for spec in with_rules([scaled], RULES)] == ["CEIL", "FLOOR", "RCEIL"]
    with pytest.raises(ValueError, match=r"rules \(FLOOR, RCEIL\) are for specs .* got NVFP4"):
        with_rules([pr.NVFP4], RULES)


def test_what_does_not_suit_is_named(tmp_path):
    sources = (Source("matrix", (4, 6), np.empty), Source("bias", (6,), np.empty))
    blocks = pr.QuantSpec(pr.E4M3, pr.PerBlock(2, 2))
    kept, reasons = suited(sources, (pr.MXFP4, blocks))
    assert kept == sources[:1] and list(reasons) == ["bias"] and "at least 2 axes" in reasons["bias"]
    assert suited(sources, (pr.MXFP4,), axis=-2)[0] == sources[:1]
    save_file({"bias": np.ones(6, np.float32)}, tmp_path / "m.safetensors")
    asked = {"data": str(tmp_path / "m.safetensors"), "axis": -1, "tensor": (), "shape": None, "seed": 0}
    with pytest.raises(ValueError, match=r"m.npy: PerBlock.* needs an array of at least 2 axes"):
        _array_sources.axes(asked | {"data": _saved(tmp_path / "m.npy", np.ones(6, np.float32))}, (blocks,))
    with pytest.raises(ValueError, match=r"m.safetensors, tensor 'bias': PerBlock.* at least 2 axes"):
        _array_sources.axes(asked, (blocks,))
    with pytest.raises(ValueError, match=r"axis must lie in -1\.\.0 for 1 axes, got 1"):
        _array_sources.axes(asked | {"axis": 1}, (pr.MXFP4,))


def test_a_block_longer_than_the_axis_is_one_short_block():
    x = draw("normal", (8, 5), k_axis=1)
    found = tally(x, pr.MXFP8_E4M3)
    assert found.bits == 40 * 8 + 8 * 8
    assert found.noise == tally(x, dataclasses.replace(pr.MXFP8_E4M3, granularity=pr.PerVector())).noise


def test_flat_rows():
    found = Tally(elements=8, measured=4, non_finite=1, clipped=1, flushed=2, bits=36, signal=100.0,
                  noise=1.0, magnitude=10.0, signed_error=-1.0, max_relative_error=1.0)  # fmt: skip
    values = _spec_tallies.values(found)
    assert tally_of(values) == found
    assert values.items() >= {
        "elements": 8, "measured": 4, "non_finite": 1, "bits_per_element": 4.5, "sqnr_db": 20.0,
        "clipped_share": 0.25, "flushed_share": 0.5, "max_relative_error": 1.0,
        "signed_relative_error": -0.1,
    }.items()  # fmt: skip
    nothing = Tally(elements=4, bits=20)
    assert math.isnan(_spec_tallies.values(nothing)["max_relative_error"])
    assert tally_of(_spec_tallies.values(nothing)) == nothing
    assert QUANTIZE.command.columns == (
        "data", "tensor", "shape", "spec", "elements", "measured", "non_finite", "bits_per_element",
        "sqnr_db", "clipped_share", "flushed_share", "max_relative_error", "signed_relative_error",
    )  # fmt: skip


# ---- the figure -----------------------------------------------------------------------------------------
def points_of(axes):
    return {(x, y) for line in axes.lines[1:] for x, y in line.get_xydata().tolist()}


def test_figure_has_a_point_and_a_name_for_each_spec():
    table = pd.concat([table_of(data=data) for data in ("normal", "student_t")])
    figure = plots.error_over_bits(table)
    assert [axes.get_title() for axes in figure.axes] == ["N(0,1)", "Student t, 3 degrees of freedom"]
    for axes, data in zip(figure.axes, ("normal", "student_t"), strict=True):
        rows = table[table["data"] == data]
        assert points_of(axes) == set(zip(rows["bits_per_element"], rows["sqnr_db"], strict=True))
        names = [text.get_text() for text in axes.texts]
        assert len(names) == 12 and {"MXFP4", "e4m3, PerGroup(128)"} <= set(names)


def test_figure_of_a_file_is_of_its_total(model):
    specs = with_rules([pr.MXFP4, pr.NVFP4], RULES)
    table = of_file(model[0], specs)
    (axes,) = QUANTIZE.figure(table).axes
    assert axes.get_title() == "m"
    last = table[-3:]
    assert points_of(axes) == set(zip(last["bits_per_element"], last["sqnr_db"], strict=True))
    assert {text.get_text() for text in axes.texts} == {"MXFP4", "MXFP4 RCEIL", "NVFP4"}


def test_figure_without_a_finite_point():
    zeros = Arrays("zeros", [Source("", (4,), lambda: np.zeros(4, np.float32))])
    table = table_of((pr.MXFP4,), zeros)
    (axes,) = plots.error_over_bits(table).axes
    assert not points_of(axes)
    assert "nothing to compare" in QUANTIZE.answer(table)
    with pytest.raises(ValueError, match="table is empty"):
        plots.error_over_bits(table[:0])
    with pytest.raises(ValueError, match="column 'spec' is no column of the table"):
        plots.error_over_bits(table.drop(columns="spec"))
    with pytest.raises(TypeError, match="table must be a pandas DataFrame, got list"):
        plots.error_over_bits([])


def test_the_answer_is_the_front():
    table = table_of()
    said = QUANTIZE.answer(table)
    best = table.loc[table["sqnr_db"].idxmax()]
    assert said.startswith(f"N(0,1), 32x256: {best['spec']} is the most exact, {best['sqnr_db']:.1f} dB")
    beaten = [
        row["spec"]
        for row in table.to_dict("records")
        if (
            (table["bits_per_element"] <= row["bits_per_element"]) & (table["sqnr_db"] > row["sqnr_db"])
        ).any()
    ]
    names = {name for name in table["spec"] if f"{name} (" in said}
    assert names == set(table["spec"]) - {*beaten, best["spec"]} and names
    (one,) = [QUANTIZE.answer(table_of((pr.MXFP4,)))]
    assert "MXFP4 is the most exact" in one and "No spec" not in one
