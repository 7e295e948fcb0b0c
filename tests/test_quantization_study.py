"""Studies of quantizing: what is drawn or read, in which order rows come, and their totals."""

from __future__ import annotations

import dataclasses

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file

import precision as pr
from precision import plots
from precision.metrics import Tally, draw, tally
from precision.studies import (
    DEFAULT_SPECS,
    QuantizationStudy,
    Source,
    SpecRow,
    _spec_comparison,
    drawn,
    read_sources,
    suited,
    with_rules,
)

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


def test_default_specs_print_and_parse():
    assert len(set(DEFAULT_SPECS)) == len(DEFAULT_SPECS) == 12
    assert all(pr.QuantSpec.parse(str(spec)) == spec for spec in DEFAULT_SPECS)


def test_drawn_matrices():
    source = drawn("outliers", (64, 96), axis=-2, seed=7)
    assert source.shape == (64, 96)
    assert np.array_equal(source.read(), draw("outliers", (64, 96), k_axis=0, seed=7))
    with pytest.raises(ValueError, match="did you mean 'normal'"):
        drawn("norml")
    with pytest.raises(ValueError, match="axis must lie in"):
        drawn("normal", axis=2)


def test_one_source_has_no_total():
    study = QuantizationStudy(data="normal", sources=(drawn("normal", (16, 48)),), specs=SPECS)
    rows = list(study.rows())
    assert len(rows) == len(study) == 2
    x = draw("normal", (16, 48), k_axis=1)
    assert [row.tally for row in rows] == [tally(x, spec) for spec in SPECS]
    assert rows == list(study.rows())


def test_rows_and_totals_of_a_file(model):
    path, tensors = model
    study = QuantizationStudy(data="m", sources=read_sources(path), specs=SPECS)
    rows = list(study.rows())
    names = [row.tensor for row in rows]
    assert sorted(set(names[:-2])) == ["bias", "half", "wide"] and names[-2:] == ["", ""]
    assert len(rows) == len(study) == 8
    assert [row.spec for row in rows] == ["MXFP8_E4M3", "NVFP4"] * 4
    for i, spec in enumerate(SPECS):
        parts = [tally(tensors[name], spec) for name in names[:-2:2]]
        assert [row.tally for row in rows[i:-2:2]] == parts
        total = rows[-2 + i]
        assert (total.shape, total.tally) == ((), sum(parts, Tally()))
        # The total's SQNR is of the summed energies, not a mean of decibels.
        whole = np.concatenate([np.asarray(tensors[n], np.float64).ravel() for n in ("wide", "half", "bias")])
        assert total.tally.signal == pytest.approx(float(whole @ whole))
        assert total.tally.elements == 480 + 600 + 9
        assert total.tally.bits_per_element == pytest.approx(sum(p.bits for p in parts) / 1089)


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
    monkeypatch.setattr(_spec_comparison, "read_tensor", lambda path, name: read.append(name))
    sources = read_sources(model[0])
    assert read == []
    sources[1].read()
    assert read == [sources[1].name]
    rows = QuantizationStudy(
        data="m",
        sources=tuple(
            Source(str(i), (4,), lambda i=i: read.append(i) or np.ones(4, np.float32)) for i in range(3)
        ),
        specs=SPECS,
    ).rows()
    next(rows), next(rows)
    assert read[1:] == [0]


def test_rules_are_for_powers_of_two():
    other = dataclasses.replace(pr.MXFP4, scale_rule=pr.ScaleRule.RCEIL)
    assert with_rules([pr.MXFP4, pr.NVFP4], RULES) == (pr.MXFP4, other, pr.NVFP4)
    assert with_rules([pr.MXFP4, pr.MXFP4], []) == (pr.MXFP4,)
    scaled = pr.QuantSpec(pr.E4M3, pr.PerGroup(128), scale_rule=pr.ScaleRule.CEIL)
    assert [spec.scale_rule.name for spec in with_rules([scaled], RULES)] == ["CEIL", "FLOOR", "RCEIL"]
    with pytest.raises(ValueError, match=r"rules \(FLOOR, RCEIL\) are for specs .* got NVFP4"):
        with_rules([pr.NVFP4], RULES)


def test_what_does_not_suit_is_named():
    sources = (Source("matrix", (4, 6), np.empty), Source("bias", (6,), np.empty))
    blocks = pr.QuantSpec(pr.E4M3, pr.PerBlock(2, 2))
    kept, reasons = suited(sources, (pr.MXFP4, blocks))
    assert kept == sources[:1] and list(reasons) == ["bias"] and "at least 2 axes" in reasons["bias"]
    assert suited(sources, (pr.MXFP4,), axis=-2)[0] == sources[:1]
    with pytest.raises(ValueError, match=r"m, tensor 'bias': PerBlock.* needs an array of at least 2 axes"):
        QuantizationStudy(data="m", sources=sources, specs=(blocks,))
    with pytest.raises(ValueError, match=r"m: axis must lie in -1\.\.0 for 1 axes, got 1"):
        QuantizationStudy(data="m", sources=(sources[1]._replace(name=""),), axis=1)
    for empty in ({"sources": ()}, {"specs": ()}):
        with pytest.raises(ValueError, match="must hold at least one"):
            QuantizationStudy(**{"data": "m", "sources": sources, **empty})


def test_a_block_longer_than_the_axis_is_one_short_block():
    x = draw("normal", (8, 5), k_axis=1)
    found = tally(x, pr.MXFP8_E4M3)
    assert found.bits == 40 * 8 + 8 * 8
    assert found.noise == tally(x, dataclasses.replace(pr.MXFP8_E4M3, granularity=pr.PerVector())).noise


def test_flat_rows():
    found = Tally(elements=8, measured=4, non_finite=1, clipped=1, flushed=2, bits=36, signal=100.0,
                  noise=1.0, magnitude=10.0, signed_error=-1.0, max_relative_error=1.0)  # fmt: skip
    row = SpecRow(data="m", tensor="w", shape=(2, 4), spec="MXFP4", tally=found)
    assert row.flat() == {
        "data": "m", "tensor": "w", "shape": "2x4", "spec": "MXFP4", "elements": 8, "measured": 4,
        "non_finite": 1, "bits_per_element": 4.5, "sqnr_db": 20.0, "clipped_share": 0.25,
        "flushed_share": 0.5, "max_relative_error": 1.0, "signed_relative_error": -0.1,
    }  # fmt: skip


# ---- the figure -----------------------------------------------------------------------------------------
def points_of(axes):
    return {(x, y) for line in axes.lines[1:] for x, y in line.get_xydata().tolist()}


def test_figure_has_a_point_and_a_name_for_each_spec():
    rows = [
        row
        for data in ("normal", "student_t")
        for row in QuantizationStudy(data=data, sources=(drawn(data, (32, 256)),)).rows()
    ]
    figure = plots.error_over_bits(rows)
    assert [axes.get_title() for axes in figure.axes] == ["N(0,1)", "Student t, 3 degrees of freedom"]
    for axes, data in zip(figure.axes, ("normal", "student_t"), strict=True):
        tallies = [row.tally for row in rows if row.data == data]
        assert points_of(axes) == {(t.bits_per_element, t.sqnr_db) for t in tallies}
        names = [text.get_text() for text in axes.texts]
        assert len(names) == 12 and {"MXFP4", "e4m3, PerGroup(128)"} <= set(names)


def test_figure_of_a_file_is_of_its_total(model):
    specs = with_rules([pr.MXFP4, pr.NVFP4], RULES)
    rows = list(QuantizationStudy(data="m", sources=read_sources(model[0]), specs=specs).rows())
    (axes,) = plots.error_over_bits(rows).axes
    assert axes.get_title() == "m"
    assert points_of(axes) == {(r.tally.bits_per_element, r.tally.sqnr_db) for r in rows[-3:]}
    assert {text.get_text() for text in axes.texts} == {"MXFP4", "MXFP4 RCEIL", "NVFP4"}


def test_figure_without_a_finite_point():
    row = SpecRow(
        data="zeros", tensor="", shape=(4,), spec="MXFP4", tally=tally(np.zeros(4, np.float32), pr.MXFP4)
    )
    (axes,) = plots.error_over_bits([row]).axes
    assert not points_of(axes)
    with pytest.raises(ValueError, match="rows is empty"):
        plots.error_over_bits([])
