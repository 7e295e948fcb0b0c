"""The study of `precision logfmt`: what is sent, against the paper's arithmetic by hand; and its figure."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import precision as pr
from precision import plots
from precision.cost import DEEPSEEK_V3_EP
from precision.studies import Arrays, Source, study
from precision.studies.built_in._all_to_all import PEERS, complete
from precision.sweep import sweep

ALL_TO_ALL = study("all_to_all")
SPECS = (*map(pr.LogFMT, (6, 8, 10)), *PEERS)


def table_of(specs=SPECS, data="normal", tensor=("",), **wire):
    grid = {"data": [data], "tensor": tensor, "spec": specs, "rows": 16, "columns": 256, **wire}
    return complete(sweep(ALL_TO_ALL, [grid]))


def rows_of(*arguments, **wire):
    return table_of(*arguments, **wire).to_dict("records")


def test_the_papers_setting():
    (row,) = rows_of((pr.BF16,))
    assert (row["dispatch"], row["spec"], row["combine_bytes_per_element"]) == ("e4m3", "bf16", 2.0)
    assert 1e6 * row["seconds_per_micro_batch"] == pytest.approx(120.96)
    (fast,) = rows_of((pr.BF16,), bandwidth=900.0)
    assert 1e6 * fast["seconds_per_micro_batch"] == pytest.approx(6.72)
    (late,) = rows_of((pr.BF16,), latency=1e-6)
    assert 1e6 * late["seconds_per_micro_batch"] == pytest.approx(122.96)


def test_scales_and_metadata_are_sent():
    # 7000 values are 55 tiles of 128 (the last shorter), 219 blocks of 32; LogFMT keeps 2 x 32 bits a tile.
    wanted = {
        "LogFMT(8, 128)": 1 + 55 * 8 / 7000,
        "QuantSpec(e4m3, PerGroup(128))": 1 + 55 * 4 / 7000,
        "MXFP8_E5M2": 1 + 219 / 7000,
        "bf16": 2,
    }
    rows = {row["spec"]: row for row in rows_of()}
    assert len(rows) == len(SPECS)
    for spec, size in wanted.items():
        row = rows[spec]
        assert row["combine_bytes_per_element"] == pytest.approx(size)
        assert row["seconds_dispatch"] == pytest.approx(40.32e-6)
        assert row["seconds_combine"] == pytest.approx(size * 32 * 9 * 7000 / 50e9)


def test_dispatch_in_another_format_or_the_same():
    hidden = DEEPSEEK_V3_EP.hidden
    (row,) = rows_of((pr.BF16,), hidden=hidden, dispatch=pr.QuantSpec(pr.E4M3, pr.PerGroup(128)))
    assert row["dispatch_bytes"] == pytest.approx((1 + 4 / 128) * 32 * 9 * 7168)
    (same,) = rows_of((pr.LogFMT(8),), hidden=hidden, dispatch="same")
    assert same["dispatch"] == same["spec"] == "LogFMT(8, 128)"
    assert same["seconds_dispatch"] == same["seconds_combine"] == pytest.approx(1.0625 * 32 * 9 * 7168 / 50e9)


def test_a_fallback_is_charged_what_its_numbers_took():
    x = np.full((4, 2048), 0.5, np.float32)
    x[:, 1::2] = 0.25
    x[:2] *= 8  # above 1: these rows stay BF16
    cast = np.full((4, 2048), 0.5, np.float32)
    arrays = Arrays("x", [Source("x", x.shape, lambda: x), Source("cast", x.shape, lambda: cast)])
    (row, _, total) = rows_of((pr.DEEPEP_LOGFMT10,), arrays, ["x", "cast"])
    assert row["bits_per_element"] == 13 + 2 * 16 / 128
    assert row["combine_bytes_per_element"] == 13.25 / 8
    # A file's total is charged what all of its numbers took.
    assert total["shape"] == "" and total["combine_bytes_per_element"] == total["bits_per_element"] / 8
    assert total["seconds_combine"] == pytest.approx(total["bits_per_element"] / 8 * 32 * 9 * 7000 / 50e9)


def test_rows_are_those_of_the_study_quantize_and_their_costs():
    (flat,) = rows_of((pr.BF16,))
    assert flat.items() >= study("quantize").cell(spec=pr.BF16, rows=16, columns=256).items()
    assert set(ALL_TO_ALL.command.columns) <= set(flat)
    assert ALL_TO_ALL.command.columns[:13] == study("quantize").command.columns
    assert (flat["dispatch"], flat["combine"], flat["combine_bytes_per_element"]) == ("e4m3", "bf16", 2.0)
    assert flat["seconds_per_token"] == pytest.approx(61 * 2 * 120.96e-6)
    assert flat["seconds_per_layer"] == pytest.approx(241.92e-6)
    assert flat["tokens_per_second"] == pytest.approx(1 / flat["seconds_per_token"])
    assert flat["seconds_per_micro_batch"] == flat["seconds_dispatch"] + flat["seconds_combine"]
    assert flat["combine_bytes"] == 2 * flat["dispatch_bytes"] == 2 * 32 * 9 * 7000


# ---- the figure -----------------------------------------------------------------------------------------
def drawn_figure(specs=SPECS, data=("normal",), **wire):
    table = pd.concat([table_of(specs, name, **wire) for name in data])
    return table.to_dict("records"), ALL_TO_ALL.figure(table)


def points_of(axes):
    return {tuple(point) for line in axes.lines[1:] for point in line.get_xydata().tolist()}


def test_figure_has_every_spec_and_the_front():
    rows, figure = drawn_figure(data=("normal", "student_t"))
    assert [axes.get_title() for axes in figure.axes] == ["N(0,1)", "Student t, 3 degrees of freedom"]
    for axes, data in zip(figure.axes, ("normal", "student_t"), strict=True):
        its = {(r["combine_bytes_per_element"], r["sqnr_db"]) for r in rows if r["data"] == data}
        assert points_of(axes) == its
        front = {tuple(point) for point in axes.lines[0].get_xydata().tolist()}
        beaten = {p for p in its if any(q != p and q[0] <= p[0] and q[1] >= p[1] for q in its)}
        assert front == its - beaten and beaten
        names = [text.get_text() for text in axes.texts]
        assert sorted(names) == sorted(
            ["6", "8", "LogFMT-10", "e4m3, 1x128", "e5m2, 1x128", "MXFP8_E4M3", "MXFP8_E5M2", "bf16"]
        )


@pytest.mark.parametrize(
    "wire", [{}, {"dispatch": "same"}, {"bandwidth": 900.0, "latency": 3e-6, "tokens": 8}]
)
def test_the_upper_axis_is_the_time_of_both_ways(wire):
    rows, figure = drawn_figure(**wire)
    figure.draw_without_rendering()
    (above,) = figure.axes[0].child_axes
    low, high = figure.axes[0].get_xlim()
    start, stop = above.get_xlim()
    for row in rows:
        time = start + (row["combine_bytes_per_element"] - low) / (high - low) * (stop - start)
        assert time == pytest.approx(1e6 * row["seconds_per_micro_batch"])


def test_figures_of_little():
    zeros = Arrays("zeros", [Source("", (4,), lambda: np.zeros(4, np.float32))])
    table = table_of((pr.BF16,), zeros)
    assert not points_of(plots.error_over_bytes(table).axes[0])
    assert "nothing to compare" in ALL_TO_ALL.answer(table)
    with pytest.raises(ValueError, match="table is empty"):
        plots.error_over_bytes(table[:0])
    with pytest.raises(ValueError, match="column 'bandwidth' is no column of the table"):
        plots.error_over_bytes(table.drop(columns="bandwidth"))


def test_the_answer_is_made_of_the_numbers():
    table = table_of()
    rows = {row["spec"]: row for row in table.to_dict("records")}
    said = ALL_TO_ALL.answer(table)
    small = rows["LogFMT(6, 128)"]
    assert f"{1e6 * small['seconds_per_micro_batch']:.2f} µs with LogFMT(6, 128)" in said
    assert "120.96 µs with bf16" in said
    gain = rows["LogFMT(8, 128)"]["sqnr_db"] - rows["QuantSpec(e4m3, PerGroup(128))"]["sqnr_db"]
    assert f"LogFMT(8, 128) is the most exact, by {gain:.1f} dB" in said
    assert "No spec of its size is more exact" in ALL_TO_ALL.answer(table_of(PEERS))


def test_other_logfmts_are_points_with_their_own_names():
    specs = (pr.LogFMT(8), pr.LogFMT(8, 64))
    _, figure = drawn_figure(specs)
    assert sorted(text.get_text() for text in figure.axes[0].texts) == ["LogFMT(8, 64)", "LogFMT-8"]
