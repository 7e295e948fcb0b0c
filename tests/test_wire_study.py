"""What rows cost on the wire, against the paper's arithmetic by hand; and their figure."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest

import precision as pr
from precision import plots
from precision.cost import DEEPSEEK_V3_EP, GB200_NVL72, PAPER_EP, Link
from precision.metrics import tally
from precision.studies import PEERS, QuantizationStudy, Source, SpecRow, Wire, drawn

SPECS = (*map(pr.LogFMT, (6, 8, 10)), *PEERS)


def study(specs=SPECS, data="normal"):
    return QuantizationStudy(data=data, sources=(drawn(data, (16, 256)),), specs=specs)


def test_the_papers_setting():
    (row,) = Wire().sent(study((pr.BF16,)).rows())
    assert (row.dispatch, row.row.spec, row.bytes_per_element) == ("e4m3", "bf16", 2.0)
    assert 1e6 * row.time.per_micro_batch == pytest.approx(120.96)
    (fast,) = Wire(link=GB200_NVL72).sent(study((pr.BF16,)).rows())
    assert 1e6 * fast.time.per_micro_batch == pytest.approx(6.72)


def test_scales_and_metadata_are_sent():
    # 7000 values are 55 tiles of 128 (the last shorter), 219 blocks of 32; LogFMT keeps 2 x 32 bits a tile.
    wanted = {
        "LogFMT(8, 128)": 1 + 55 * 8 / 7000,
        "QuantSpec(e4m3, PerGroup(128))": 1 + 55 * 4 / 7000,
        "MXFP8_E5M2": 1 + 219 / 7000,
        "bf16": 2,
    }
    rows = {row.row.spec: row for row in Wire().sent(study().rows())}
    assert len(rows) == len(SPECS)
    for spec, size in wanted.items():
        row = rows[spec]
        assert row.bytes_per_element == pytest.approx(size)
        assert row.time.dispatch == pytest.approx(40.32e-6)
        assert row.time.combine == pytest.approx(size * 32 * 9 * 7000 / 50e9)


def test_dispatch_in_another_format_or_the_same():
    wire = Wire(ep=DEEPSEEK_V3_EP, dispatch=pr.QuantSpec(pr.E4M3, pr.PerGroup(128)))
    (row,) = wire.sent(study((pr.BF16,)).rows())
    assert row.time.dispatch_bytes == pytest.approx((1 + 4 / 128) * 32 * 9 * 7168)
    (same,) = Wire(ep=DEEPSEEK_V3_EP, dispatch=None).sent(study((pr.LogFMT(8),)).rows())
    assert same.dispatch == same.row.spec == "LogFMT(8, 128)"
    assert same.time.dispatch == same.time.combine == pytest.approx(1.0625 * 32 * 9 * 7168 / 50e9)


def test_a_fallback_is_charged_what_its_numbers_took():
    x = np.full((4, 2048), 0.5, np.float32)
    x[:, 1::2] = 0.25
    x[:2] *= 8  # above 1: these rows stay BF16
    source = Source("", x.shape, lambda: x)
    rows = QuantizationStudy(data="x", sources=(source,), specs=(pr.DEEPEP_LOGFMT10,)).rows()
    (row,) = Wire().sent(rows)
    assert row.row.tally.bits_per_element == 13 + 2 * 16 / 128
    assert row.bytes_per_element == 13.25 / 8


def test_flat_rows_are_rows_and_their_costs():
    (row,) = Wire().sent(study((pr.BF16,)).rows())
    flat = row.flat()
    assert flat.items() >= row.row.flat().items()
    assert (flat["dispatch"], flat["combine"], flat["combine_bytes_per_element"]) == ("e4m3", "bf16", 2.0)
    assert flat["seconds_per_token"] == pytest.approx(61 * 2 * 120.96e-6)
    assert flat["seconds_per_layer"] == pytest.approx(241.92e-6)
    assert flat["tokens_per_second"] == pytest.approx(1 / flat["seconds_per_token"])
    assert flat["seconds_per_micro_batch"] == flat["seconds_dispatch"] + flat["seconds_combine"]
    assert flat["combine_bytes"] == 2 * flat["dispatch_bytes"] == 2 * 32 * 9 * 7000


# ---- the figure -----------------------------------------------------------------------------------------
def drawn_figure(wire, specs=SPECS, data=("normal",)):
    rows = list(itertools.chain.from_iterable(wire.sent(study(specs, name).rows()) for name in data))
    return rows, plots.error_over_bytes(rows, wire)


def points_of(axes):
    return {tuple(point) for line in axes.lines[1:] for point in line.get_xydata().tolist()}


def test_figure_has_every_spec_and_the_front():
    rows, figure = drawn_figure(Wire(), data=("normal", "student_t"))
    assert [axes.get_title() for axes in figure.axes] == ["N(0,1)", "Student t, 3 degrees of freedom"]
    for axes, data in zip(figure.axes, ("normal", "student_t"), strict=True):
        its = {(r.bytes_per_element, r.row.tally.sqnr_db) for r in rows if r.row.data == data}
        assert points_of(axes) == its
        front = {tuple(point) for point in axes.lines[0].get_xydata().tolist()}
        beaten = {p for p in its if any(q != p and q[0] <= p[0] and q[1] >= p[1] for q in its)}
        assert front == its - beaten and beaten
        names = [text.get_text() for text in axes.texts]
        assert sorted(names) == sorted(
            ["6", "8", "LogFMT-10", "e4m3, 1x128", "e5m2, 1x128", "MXFP8_E4M3", "MXFP8_E5M2", "bf16"]
        )


@pytest.mark.parametrize(
    "wire",
    [Wire(), Wire(dispatch=None), Wire(link=Link(9e11, 3e-6), ep=dataclasses.replace(PAPER_EP, tokens=8))],
)
def test_the_upper_axis_is_the_time_of_both_ways(wire):
    rows, figure = drawn_figure(wire)
    figure.draw_without_rendering()
    (above,) = figure.axes[0].child_axes
    low, high = figure.axes[0].get_xlim()
    start, stop = above.get_xlim()
    for row in rows:
        time = start + (row.bytes_per_element - low) / (high - low) * (stop - start)
        assert time == pytest.approx(1e6 * row.time.per_micro_batch)


def test_figures_of_little():
    zeros = SpecRow(
        data="zeros", tensor="", shape=(4,), spec="bf16", tally=tally(np.zeros(4, np.float32), pr.BF16)
    )
    wire = Wire()
    figure = plots.error_over_bytes(wire.sent([zeros]), wire)
    assert not points_of(figure.axes[0])
    with pytest.raises(ValueError, match="rows is empty"):
        plots.error_over_bytes([], wire)


def test_other_logfmts_are_points_with_their_own_names():
    specs = (pr.LogFMT(8), pr.LogFMT(8, 64))
    _, figure = drawn_figure(Wire(), specs)
    assert sorted(text.get_text() for text in figure.axes[0].texts) == ["LogFMT(8, 64)", "LogFMT-8"]
