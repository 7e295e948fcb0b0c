"""Fronts, number lines, histograms, heat maps and panels: what is drawn, and what is refused."""

from __future__ import annotations

import itertools
import math

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

import precision as pr
from precision import plots
from precision.metrics import draw, tally


@pytest.fixture(autouse=True)
def no_window():
    before = plt.get_fignums()
    yield
    assert before == plt.get_fignums() == []


def own_axes():
    return Figure(layout="constrained").subplots()


# ---- pareto ---------------------------------------------------------------------------------------------
POINTS = {
    "MXFP4": (4.25, 18.6), "NVFP4": (4.5, 20.7), "MXINT4": (4.25, 17.5), "MXFP8_E5M2": (8.25, 25.4),
    "MXFP8_E4M3": (8.25, 31.5), "bf16": (16.0, 55.5),
}  # fmt: skip


def formats_table(**more):
    rows = [{"spec": s, "bits_per_element": b, "sqnr_db": q, "error": None} for s, (b, q) in POINTS.items()]
    return pd.DataFrame(rows).assign(**more)


def front_of(axes):
    return [tuple(point) for point in axes.lines[0].get_xydata().tolist()]


def test_front_points_and_names():
    axes = plots.pareto(formats_table())
    dots = {tuple(line.get_xydata()[0].tolist()): line for line in axes.lines[1:]}
    assert set(dots) == set(POINTS.values())
    beaten = {p for p in dots if any(q != p and q[0] <= p[0] and q[1] >= p[1] for q in dots)}
    assert front_of(axes) == sorted(set(dots) - beaten) and len(beaten) == 2
    for point, line in dots.items():
        assert (line.get_markerfacecolor() == "white") == (point in beaten)
    assert sorted(text.get_text() for text in axes.texts) == sorted(POINTS)
    beside = pd.DataFrame(
        [{"spec": "as good, larger", "bits_per_element": 9.0, "sqnr_db": 31.5, "error": None}]
    )
    assert front_of(plots.pareto(pd.concat([formats_table(), beside]))) == front_of(axes)
    assert axes.get_xlabel() == "bits for each element, scales counted (less is better)"
    assert axes.get_ylabel() == "SQNR, dB (more is better)"
    assert axes.get_xscale() == axes.get_yscale() == "linear"


def test_senses_of_better_turn_the_front():
    table = formats_table(norm_relative_error=[10 ** (-q / 20) for _, q in POINTS.values()])
    error = plots.pareto(table, y="norm_relative_error")
    names = [point[0] for point in front_of(error)]
    assert names == [4.25, 4.5, 8.25, 16.0] and error.get_yscale() == "linear"  # less than two decades
    worse = plots.pareto(table, better_x="more", better_y="less")
    assert front_of(worse) == [(4.25, 17.5), (4.5, 20.7), (8.25, 25.4), (16.0, 55.5)]
    assert "(more is better)" in worse.get_xlabel() and "(less is better)" in worse.get_ylabel()
    with pytest.raises(ValueError, match="better_y must be 'less' or 'more', got 'higher'"):
        plots.pareto(table, better_y="higher")
    wide = plots.pareto(
        table.assign(norm_relative_error=np.logspace(0, -5, len(table))), y="norm_relative_error"
    )
    assert wide.get_yscale() == "log"


def test_seeds_are_one_point_and_what_failed_or_is_infinite_none():
    table = pd.concat([formats_table(seed=seed) for seed in range(3)], ignore_index=True)
    table["sqnr_db"] += table["seed"]
    table["error"] = table["error"].astype(object)
    table.loc[table.spec == "bf16", "error"] = "no memory"
    table.loc[table.spec == "MXINT4", "sqnr_db"] = math.inf
    axes = plots.pareto(table)
    expected = {(b, q + 1) for s, (b, q) in POINTS.items() if s not in ("bf16", "MXINT4")}
    assert {tuple(line.get_xydata()[0].tolist()) for line in axes.lines[1:]} == expected
    with pytest.raises(ValueError, match="no row with finite bits_per_element and sqnr_db"):
        plots.pareto(table.assign(sqnr_db=math.nan))
    with pytest.raises(ValueError, match="names 'specs' is no column of the table; near names: spec"):
        plots.pareto(table, names="specs")


def test_names_of_points_lie_on_no_other_name_and_within_the_axes():
    rng = np.random.default_rng(1)
    table = pd.DataFrame(
        {
            "spec": [f"QuantSpec(e4m3, PerGroup({i}))" for i in range(14)],
            "bits_per_element": np.round(4 + 6 * rng.random(14), 2),
            "sqnr_db": 20 + 20 * rng.random(14),
        }
    )
    table.loc[5:9, ["bits_per_element", "sqnr_db"]] = [7.0, 30.0]  # one dot, five names
    axes = plots.pareto(table)
    axes.figure.draw_without_rendering()
    boxes = [Text.get_window_extent(text) for text in axes.texts]
    inside = axes.get_window_extent()
    for i, box in enumerate(boxes):
        assert inside.x0 - 1 <= box.x0 and box.x1 <= inside.x1 + 1
        assert inside.y0 - 1 <= box.y0 and box.y1 <= inside.y1 + 1
        assert not any(box.overlaps(other) for other in boxes[:i])


# ---- number lines ---------------------------------------------------------------------------------------
def strokes(axes):
    return [sorted(float(segment[0][0]) for segment in part.get_segments()) for part in axes.collections]


def test_values_of_formats_subnormals_apart():
    axes = plots.number_line(["e2m1", pr.IntFormat(3, symmetric=False)], log=False, negative=True)
    normal, subnormal, integers, none = strokes(axes)
    assert normal == [-6, -4, -3, -2, -1.5, -1, 0, 1, 1.5, 2, 3, 4, 6] and subnormal == [-0.5, 0.5]
    assert integers == [-4, -3, -2, -1, 0, 1, 2, 3] and none == []
    normal, subnormal = strokes(plots.number_line("e4m3"))
    values = {pr.E4M3.value(code) for code in range(1, 0x7F)}
    assert subnormal == [i / 512 for i in range(1, 8)]  # zero is no value of a logarithmic axis
    assert normal == sorted(value for value in values if value >= 2**-6) and normal[-1] == 448
    heights = [np.ptp(part.get_segments()[0][:, 1]) for part in axes.collections[:2]]
    assert heights[1] < heights[0]  # not by colour alone


def test_scales_and_limits_of_number_lines():
    axes = plots.number_line(["e4m3", "int4"])
    assert axes.get_xscale() == "log" and "zero left out" in axes.get_xlabel()
    assert [text.get_text() for text in axes.texts] == ["max 448\nleast $2^{-9}$", "max 7\nleast 1"]
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["e4m3", "int4"]
    both = plots.number_line("e4m3", negative=True)
    assert both.get_xscale() == "symlog" and "linear within ±$2^{-9}$" in both.get_xlabel()
    assert 0.0 in strokes(both)[0] and both.get_xlim()[1] > 448
    assert plots.number_line(["e8m0"]).texts[0].get_text() == "max $2^{127}$\nleast $2^{-127}$"


def test_what_is_no_small_format_is_refused():
    for wrong, kind, message in (
        ([], ValueError, "formats is empty"),
        ("fp16", ValueError, "at most 8 bits, got fp16 of 16"),
        (["e4m3", "e4m4x"], ValueError, "e4m4x"),
        ([3], TypeError, "formats must be formats or their names, got 3"),
    ):
        with pytest.raises(kind, match=message):
            plots.number_line(wrong)


# ---- histograms -----------------------------------------------------------------------------------------
def counts(axes):
    return [np.asarray(part.get_data().values) for part in axes.patches]


@pytest.mark.parametrize("log", [False, True])
def test_histogram_counts_what_there_is(log):
    x = draw("student_t", (64, 256), k_axis=1)
    axes = plots.histogram(x, "MXFP4", log=log)
    after = pr.quantize(x, pr.MXFP4).dequantize()
    edges = axes.patches[0].get_data().edges
    for values, seen in zip((x, after), counts(axes), strict=True):
        values = np.abs(values.astype(float)) if log else values.astype(float)
        within = [np.count_nonzero((values >= a) & (values < b)) for a, b in itertools.pairwise(edges)]
        assert np.allclose(seen * x.size / 100, within, atol=1e-6)
    assert f"line: MXFP4; zeros: {100 * np.mean(after == 0):.1f} %" in axes.get_title()
    assert f"clipped: {100 * tally(x, pr.MXFP4).clipped_share:.2g} %" in axes.get_title()
    assert axes.get_xscale() == ("log" if log else "linear")


def test_powers_of_two_lie_at_edges_of_bins():
    x = 2.0 ** np.arange(-8, 9, dtype=np.float32)
    axes = plots.histogram(x, x, bins=100)
    edges = axes.patches[0].get_data().edges
    assert set(x.tolist()) <= set(edges.tolist())
    assert counts(axes)[0].max() == pytest.approx(100 / 17)


def test_a_long_tail_is_said_not_drawn():
    x = np.float32([2.0**-90] + 4095 * [1.0] + 3 * [2.0])
    axes = plots.histogram(x, x)
    assert (
        axes.patches[0].get_data().edges[0] == 1
        and "smaller: 0.024 % before, 0.024 % after" in axes.get_xlabel()
    )


def test_histogram_of_arrays_and_what_is_not_finite():
    axes = plots.histogram(np.float32([1, 2, np.nan, 0]), [1.5, 1.5, 1.0, 1.0], ax=own_axes())
    assert axes.get_title() == "grey: before; zeros: 33.3 %\nline: after; zeros: none\nleft out: 1 not finite"
    assert plots.histogram(np.zeros(4, np.float32), "MXFP4").get_title().count("zeros: 100 %") == 2
    for wrong, message in (
        (((np.ones(3, np.float32), np.ones(4))), r"after must have x's shape \(3,\), got \(4,\)"),
        ((np.float32([np.nan]), "MXFP4"), "no element that is finite"),
        ((np.ones(3, np.float32), "MXFP5"), "unknown name 'MXFP5'"),
    ):
        with pytest.raises(ValueError, match=message):
            plots.histogram(*wrong)
    with pytest.raises(ValueError, match="bins must be at least 1, got 0"):
        plots.histogram(np.ones(3, np.float32), "MXFP4", bins=0)


# ---- heat maps ------------------------------------------------------------------------------------------
def test_signed_errors_around_zero_with_blocks():
    result, reference = np.arange(24.0).reshape(4, 6), np.zeros((4, 6))
    reference[0, 0], reference[3, 5] = 30.0, np.nan
    axes = plots.error_heatmap(result, reference, block=(2, 4), unit="ULP")
    (image,) = axes.images
    shown = image.get_array()
    assert image.get_clim() == (-30, 30) and shown[0, 0] == -30 and shown[3, 4] == 22
    assert bool(np.ma.getmaskarray(shown)[3, 5]) and "black: 1 not finite" in axes.get_title()
    assert [line.get_xdata() for line in axes.lines] == [[4, 4]]  # blocks of two rows are too low for lines
    assert axes.figure.axes[1].get_ylabel() == "error, ULP"
    assert image.get_cmap()(0.5)[:3] == pytest.approx((0.97, 0.97, 0.97), abs=0.01)


def test_magnitudes_on_a_logarithmic_scale():
    error = np.array([[1e-6, -1e-2], [0.0, 1e-3]])
    axes = plots.error_heatmap(error, log=True)
    (image,) = axes.images
    assert image.norm.__class__.__name__ == "LogNorm" and image.get_clim() == (1e-6, 1e-2)
    assert image.get_array()[0, 1] == 1e-2 and axes.get_title() == "white: no error"
    assert image.get_cmap()(image.norm(image.get_array()))[1, 0].tolist() == [1, 1, 1, 1]
    assert plots.error_heatmap(np.zeros((2, 2)), log=True).images[0].get_array().shape == (2, 2)


@pytest.mark.parametrize("reduce", ["max", "rms"])
def test_large_matrices_are_reduced_and_say_so(reduce):
    error = np.random.default_rng(0).standard_normal((600, 300))
    axes = plots.error_heatmap(error, reduce=reduce)
    shown = axes.images[0].get_array()
    assert shown.shape == (200, 150)
    for i, j in ((0, 0), (17, 149), (199, 3)):
        tile = error[3 * i : 3 * i + 3, 2 * j : 2 * j + 2].ravel()
        expected = tile[np.abs(tile).argmax()] if reduce == "max" else math.sqrt(np.mean(tile**2))
        assert shown[i, j] == pytest.approx(expected)
    assert (
        axes.get_title()
        == f"each cell: {'largest error' if reduce == 'max' else 'root mean square'} of 3 × 2 elements"
    )
    assert axes.get_xlim() == (0, 300) and axes.get_ylim() == (600, 0)
    assert axes.images[0].get_clim()[0] == (0 if reduce == "rms" else -np.abs(error).max())
    ragged = plots.error_heatmap(np.ones((257, 513)), reduce=reduce).images[0].get_array()
    assert ragged.shape == (129, 171) and (ragged == 1).all()


def test_limit_of_the_colours():
    axes = plots.error_heatmap([[5.0, -1.0]], limit=2.0)
    assert axes.images[0].get_clim() == (-2, 2) and axes.images[0].colorbar.extend == "both"


def test_no_matrices_are_refused():
    for arguments, keywords, message in (
        (([1.0],), {}, r"result must be a matrix with elements, got shape \(1,\)"),
        (([[1.0]], [[1.0, 2.0]]), {}, r"reference must have result's shape \(1, 1\), got \(1, 2\)"),
        (([[1.0]],), {"reduce": "mean"}, "reduce must be 'max' or 'rms', got 'mean'"),
        (([[1.0]],), {"block": (0, 3)}, r"block must be two sizes of at least 1, got \(0, 3\)"),
        (([[1.0]],), {"limit": 0.0}, "limit must be positive, got 0.0"),
        (([[1j]],), {}, "result must be real"),
    ):
        with pytest.raises(ValueError, match=message):
            plots.error_heatmap(*arguments, **keywords)


# ---- panels ---------------------------------------------------------------------------------------------
def panel_table():
    rows = [
        {
            "distribution": d,
            "accumulator": a,
            "k": k,
            "norm_relative_error": (i + 1) * k * (1 + len(a)),
            "error": None,
        }
        for i, d in enumerate(("uniform", "normal", "laplace", "outliers", "symmetric"))
        for a in ("FP32_FMA", "EXACT")
        for k in (128, 256)
    ]
    return pd.DataFrame(rows)


def test_a_panel_for_each_value():
    table = panel_table()
    figure = plots.panels(table, "distribution", plots.error_over_k)
    titles = ["U(0,1)", "N(0,1)", "Laplace(0,1)", "N(0,1), one channel of K in 128 times 32", "U(-1,1)"]
    assert [axes.get_title() for axes in figure.axes] == titles
    for i, axes in enumerate(figure.axes):
        expected = [[float(k), (i + 1) * k * 9.0] for k in (128, 256)]
        assert axes.lines[0].get_xydata().tolist() == expected
        assert axes.get_ylim() == figure.axes[0].get_ylim()
        assert (axes.get_ylabel() != "") == (i % 3 == 0) and (axes.get_xlabel() != "") == (i >= 2)
        assert {text.get_text(): text.get_color() for text in axes.texts} == {
            text.get_text(): text.get_color() for text in figure.axes[0].texts
        }


def test_options_and_numbers_of_panels():
    seen = []
    figure = plots.panels(
        panel_table(), "k", lambda part, ax, mark: seen.append((part.k.unique().tolist(), ax, mark)), mark=7
    )
    assert seen == [([128], figure.axes[0], 7), ([256], figure.axes[1], 7)]
    assert [axes.get_title() for axes in figure.axes] == ["k = 128", "k = 256"]
    apart = plots.panels(
        panel_table(), "distribution", plots.error_over_k, across=1, sharex=False, sharey=False
    )
    assert len({axes.get_ylim() for axes in apart.axes}) == 5
    assert all(axes.get_xlabel() and axes.get_ylabel() for axes in apart.axes)


def test_what_every_panel_must_say_is_said_once():
    table = panel_table()
    table.loc[(table.distribution == "normal") & (table.k == 128), "norm_relative_error"] = 0.0
    figure = plots.panels(table, "distribution", plots.error_over_k)
    assert figure.axes[0].get_ylabel().split("\n") == ["norm relative error", "open triangles: 0"]
    with pytest.raises(
        ValueError, match="column 'distributions' is no column of the table; near names: distribution"
    ):
        plots.panels(table, "distributions", plots.error_over_k)
    with pytest.raises(ValueError, match="across must be at least 1, got 0"):
        plots.panels(table, "k", plots.error_over_k, across=0)
