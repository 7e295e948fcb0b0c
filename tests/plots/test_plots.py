"""Lines over a parameter: what is drawn of a sweep's table, where it is named, and what is refused."""

from __future__ import annotations

import itertools
import subprocess
import sys

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

import precision as pr
from precision import plots
from precision.studies import study
from precision.sweep import sweep


@pytest.fixture(autouse=True)
def no_window():
    before = plt.get_fignums()
    yield
    plt.close("all")
    assert before == []


def table_of(**columns):
    return pd.DataFrame(columns)


def error(accumulator, k, seed=0):
    """Some number that says where it comes from."""
    return (
        1e-4
        * k
        * {"HOPPER_FP8": 1.0, "HOPPER_FP8.promoted(64)": 0.1, "FP32_FMA": 0.001}[accumulator]
        * (1 + seed)
    )


def sweep_table(seeds=(0,), ks=(1024, 128, 4096)):
    """As a sweep gives it: parameters, then measures, then errors."""
    cells = itertools.product(("HOPPER_FP8", "HOPPER_FP8.promoted(64)", "FP32_FMA"), ks, seeds)
    return pd.DataFrame(
        [
            {
                "accumulator": accumulator, "k": k, "m": 16, "distribution": "normal", "seed": seed,
                "sqnr_db": -20 * np.log10(error(accumulator, k, seed)),
                "norm_relative_error": error(accumulator, k, seed),
                "signed_relative_error": -error(accumulator, k, seed),
                "error": None,
            }
            for accumulator, k, seed in cells
        ]
    )  # fmt: skip


def lines_of(axes):
    """What is drawn, by the colour of the name beside it: names and lines share it."""
    named = {to_rgb(text.get_color()): text.get_text() for text in axes.texts}
    return {
        named[to_rgb(line.get_color())]: line.get_xydata().tolist()
        for line in axes.lines
        if line.get_marker() not in "v^" or line.get_markerfacecolor() != "white"
    }


# ---- what is drawn --------------------------------------------------------------------------------------
def test_a_line_for_each_accumulator_with_its_points_in_order():
    axes = plots.error_over_k(sweep_table())
    assert lines_of(axes) == {
        name: [[float(k), error(accumulator, k)] for k in (128, 1024, 4096)]
        for name, accumulator in (
            ("HOPPER_FP8", "HOPPER_FP8"),
            ("promoted(64)", "HOPPER_FP8.promoted(64)"),
            ("FP32_FMA", "FP32_FMA"),
        )
    }
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["128", "1,024", "4,096"]
    assert axes.get_ylabel() == "norm relative error" and axes.get_xlabel() == "K, products in each sum"
    assert not axes.collections  # one seed: no band
    styles = {(line.get_color(), str(line.get_linestyle()), line.get_marker()) for line in axes.lines}
    assert all(len({style[i] for style in styles}) == 3 for i in range(3))  # told apart in print, too


def test_sqnr_is_linear_and_signed_measures_are_magnitudes():
    axes = plots.error_over_k(sweep_table(), y="sqnr_db")
    assert axes.get_yscale() == "linear" and axes.get_ylabel() == "SQNR, dB"
    assert lines_of(axes)["FP32_FMA"][0] == [128.0, -20 * np.log10(error("FP32_FMA", 128))]
    axes = plots.error_over_k(sweep_table(), y="signed_relative_error")
    assert axes.get_yscale() == "log" and axes.get_ylabel() == "magnitude of bias, relative"
    assert lines_of(axes)["FP32_FMA"][0] == [128.0, error("FP32_FMA", 128)]


def test_seeds_are_a_median_with_a_band():
    axes = plots.error_over_k(sweep_table(seeds=(0, 1, 4)))
    assert lines_of(axes)["HOPPER_FP8"] == [[k, pytest.approx(2e-4 * k)] for k in (128.0, 1024.0, 4096.0)]
    assert "median and range of 3 seeds" in axes.get_ylabel()
    band = axes.collections[0].get_paths()[0].vertices
    at_128 = {round(y / 1e-4 / 128, 6) for x, y in band if x == 128}
    assert at_128 == {1.0, 5.0}
    values = [0.0, 0.0, 1e-3, 1e-3, 2e-3, 3e-3]  # the median of the first three lies beyond the axis
    table = table_of(k=[128, 128, 128, 256, 256, 256], seed=[0, 1, 2, 0, 1, 2], norm_relative_error=values)
    (band,) = plots.error_over_k(table).collections
    assert not any(128 in path.vertices[:, 0] for path in band.get_paths())


def test_by_chooses_what_tells_lines_apart_and_the_rest_is_said():
    table = sweep_table()
    axes = plots.error_over_k(table, by="distribution")
    assert list(lines_of(axes)) == ["normal"]
    assert lines_of(axes)["normal"][0] == [128.0, pytest.approx(error("HOPPER_FP8.promoted(64)", 128))]
    assert "up to 3 values (accumulator)" in " ".join(axes.get_ylabel().split())
    axes = plots.error_over_k(table, by=["m", "accumulator"])
    assert "m = 16, FP32_FMA" in lines_of(axes)


def test_failed_cells_and_missing_numbers_are_left_out():
    table = sweep_table()
    table["error"] = table["error"].astype(object)
    failed = (table.accumulator == "FP32_FMA") & (table.k == 128)
    table.loc[failed, ["error", "norm_relative_error"]] = ["ValueError: no", 7.0]
    table.loc[(table.accumulator == "HOPPER_FP8") & (table.k == 1024), "norm_relative_error"] = np.nan
    drawn = lines_of(plots.error_over_k(table))
    assert [k for k, _ in drawn["FP32_FMA"]] == [1024, 4096]
    assert [k for k, _ in drawn["HOPPER_FP8"]] == [128, 4096]
    assert all(y < 1 for line in drawn.values() for _, y in line)


def test_zeros_and_infinities_are_triangles_at_the_edge():
    table = table_of(k=[128, 256, 512], norm_relative_error=[0.0, 1e-3, np.inf])
    axes = plots.error_over_k(table)
    (line,) = (line for line in axes.lines if len(line.get_xdata()) == 3)
    assert np.isfinite(line.get_ydata()).tolist() == [False, True, False]
    edges = [(line.get_marker(), *line.get_xydata()[0]) for line in axes.lines if len(line.get_xdata()) == 1]
    assert sorted(edges) == [("^", 512.0, 1.0), ("v", 128.0, 0.0)]
    assert axes.get_ylabel().endswith("open triangles: 0 or infinite")


def test_width_of_the_accumulator_and_levels_of_those_without():
    table = table_of(
        accumulator=["HOPPER_FP8", "HOPPER_FP8", "HOPPER_FP8", "FP32_FMA", "EXACT"],
        width=[20, 4, None, None, None],
        norm_relative_error=[1e-5, 0.5, 1e-3, 1e-7, 0.0],
    )
    axes = plots.error_over_width(table)
    drawn = [line.get_xydata().tolist() for line in axes.lines]
    assert [[4.0, 0.5], [13.0, 1e-3], [20.0, 1e-5]] in drawn  # Hopper's FP8 has 13
    assert [[0.0, 1e-7], [1.0, 1e-7]] in drawn
    assert [text.get_text() for text in axes.texts] == ["EXACT", "FP32_FMA", "HOPPER_FP8"]
    assert axes.get_xscale() == "linear" and "0" in axes.get_ylabel().split("triangles: ")[1]


def test_never_promoted_stands_right_of_the_largest_interval():
    table = table_of(promoted=[0, 64, 512, 128], norm_relative_error=[4e-1, 1e-4, 3e-4, 2e-4])
    for never in (0, None):
        table["promoted"] = [never, 64, 512, 128]
        axes = plots.error_over_promotion(table)
        assert axes.lines[0].get_xydata().tolist() == [[64, 1e-4], [128, 2e-4], [512, 3e-4], [1024, 4e-1]]
        assert [tick.get_text() for tick in axes.get_xticklabels()] == ["64", "128", "512", "never"]
    only = plots.error_over_promotion(table_of(promoted=[0], norm_relative_error=[0.1]))
    assert [tick.get_text() for tick in only.get_xticklabels()] == ["never"]


def test_rows_of_a_study_are_a_table_too():
    units = [pr.HOPPER_FP8, pr.FP32_FMA]
    table = sweep("gemm", {"data": "normal", "m": 4, "n": 4, "k": [64, 128], "accumulator": units})
    axes = plots.error_over_k(table, y="accumulation_norm_relative_error")
    rows = table[table["accumulator"] == "HOPPER_FP8"]
    assert lines_of(axes)["HOPPER_FP8"] == rows[["k", "accumulation_norm_relative_error"]].values.tolist()
    assert axes.get_ylabel() == "norm relative error (accumulation alone)"


def test_names_at_the_ends_keep_apart_and_within_the_figure():
    table = pd.concat([
        table_of(spec=f"QuantSpec(e2m1, PerGroup({2**i}), scale_format=e4m3, tensor_scale=True)",
                 k=[128, 256], norm_relative_error=[1e-3, 1e-3 * 10 ** (i // 15)])
        for i in range(16)
    ])  # fmt: skip
    axes = plots.error_over_k(table)
    axes.figure.draw_without_rendering()
    boxes = sorted(
        (matplotlib.text.Text.get_window_extent(text) for text in axes.texts), key=lambda box: box.y0
    )
    for below, above in itertools.pairwise(boxes):
        assert below.y1 <= above.y0 + 2
    width, height = axes.figure.canvas.get_width_height()
    assert all(box.x1 <= width and box.y0 >= 0 and box.y1 <= height for box in boxes)
    assert all(box.x0 >= axes.get_window_extent().x1 for box in boxes)
    assert {text.get_fontsize() for text in axes.texts} == {8}


# ---- figures and axes -----------------------------------------------------------------------------------
def test_a_figure_of_its_own_is_none_of_pyplots():
    axes = plots.error_over_k(sweep_table())
    assert isinstance(axes.figure, Figure) and axes.figure.axes == [axes]
    assert plt.get_fignums() == []
    for drawn in (axes, axes.figure):  # what Jupyter shows as the value of a cell
        assert drawn._repr_png_().startswith(b"\x89PNG")


def test_given_axes_are_drawn_on_and_no_others():
    figure, (left, right) = plt.subplots(1, 2)
    assert plots.error_over_k(sweep_table(), ax=left) is left
    assert len(left.lines) == 3 and not right.lines and not right.texts
    assert figure.axes == [left, right] and plt.get_fignums() == [figure.number]
    assert figure.get_layout_engine() is not None  # which makes room for the names
    with pytest.raises(TypeError, match=r"ax must be one matplotlib Axes or None, got ndarray"):
        plots.error_over_k(sweep_table(), ax=np.array([left, right]))


def test_a_line_looks_the_same_in_every_panel():
    figure = Figure()
    one, two = figure.subplots(1, 2)
    table = sweep_table()
    plots.error_over_k(table, ax=one)
    plots.error_over_k(table[::-1], ax=two)
    assert {name: line[0][1] for name, line in lines_of(one).items()} == {
        name: line[0][1] for name, line in lines_of(two).items()
    }
    looks = [{text.get_text(): text.get_color() for text in axes.texts} for axes in (one, two)]
    assert looks[0] == looks[1]


@pytest.mark.parametrize("kind", ["png", "svg", "pdf"])
def test_saved_figures_repeat(tmp_path, kind):
    for name in "ab":
        plots.save(plots.error_over_k(sweep_table(seeds=(0, 1))), tmp_path / f"{name}.{kind}")
    assert (tmp_path / f"a.{kind}").read_bytes() == (tmp_path / f"b.{kind}").read_bytes()


def test_import_needs_neither_pandas_nor_matplotlib():
    code = (
        "import sys\nimport precision.plots\nassert not {'pandas', 'matplotlib'} & set(sys.modules)\n"
        "sys.modules['matplotlib'] = None\n"
        "try: precision.plots.number_line('e2m1')\nexcept ImportError as error: print(error)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "matplotlib is not installed: pip install 'precision-emu[plots]'"


# ---- what is refused ------------------------------------------------------------------------------------
@pytest.mark.parametrize("function", [plots.error_over_k, plots.error_over_width, plots.error_over_promotion])
def test_columns_must_exist(function):
    x = {"error_over_k": "k", "error_over_width": "width", "error_over_promotion": "promoted"}[
        function.__name__
    ]
    table = table_of(**{x: [1, 2], "accumulation_sqnr_db": [1.0, 2.0]})
    with pytest.raises(
        ValueError, match=r"y 'sqnr_db' is no column of the table; near names: accumulation_sqnr_db"
    ):
        function(table, y="sqnr_db")
    with pytest.raises(ValueError, match=r"by 'zzz' is no column of the table; columns: "):
        function(table, y="accumulation_sqnr_db", by="zzz")
    with pytest.raises(ValueError, match=rf"x '{x}' is no column"):
        function(table.rename(columns={x: "other"}), y="accumulation_sqnr_db")
    with pytest.raises(TypeError, match="table must be a pandas DataFrame, got list"):
        function([{"k": 1}])


def test_what_cannot_be_drawn_is_refused():
    table = sweep_table()
    with pytest.raises(ValueError, match="table is empty"):
        plots.error_over_k(table[:0])
    with pytest.raises(ValueError, match=r"no row without an error.*\(first: boom\)"):
        plots.error_over_k(table.assign(error="boom"))
    with pytest.raises(ValueError, match="y 'norm_relative_error' holds no number"):
        plots.error_over_k(table.assign(norm_relative_error=np.nan))
    with pytest.raises(ValueError, match="y 'accumulator' must hold numbers, got 'HOPPER_FP8'"):
        plots.error_over_k(table, y="accumulator")
    with pytest.raises(ValueError, match="k must be a positive number in every row"):
        plots.error_over_k(table.assign(k=0))
    with pytest.raises(ValueError, match="promoted must be at least 0, got -1"):
        plots.error_over_promotion(table.assign(promoted=-1))
    many = pd.concat([table.assign(m=m) for m in range(9)])
    with pytest.raises(
        ValueError, match=r"table makes 27 lines, one for each combination of accumulator, m:"
    ):
        plots.error_over_k(many)
    assert len(plots.error_over_k(many, by="m").lines) == 9


# ---- the figure of precision gemm -----------------------------------------------------------------------
def test_gemm_errors_draws_what_the_rows_say():
    chosen = [pr.HOPPER_FP8.promoted(64), pr.HOPPER_FP8.with_width(10), pr.FP32_FMA.promoted(64), pr.EXACT]
    grid = {"data": "uniform", "m": 8, "n": 8, "k": [512, 128], "accumulator": chosen}
    table = sweep("gemm", grid | {"a_spec": pr.E4M3, "b_spec": pr.E4M3})
    rows = table.to_dict("records")
    figure = study("gemm").figure(table)
    (axes,) = figure.axes
    drawn = lines_of(axes)
    assert set(drawn) == {"promoted(64)", "with_width(10)", "FP32_FMA.promoted(64)", "quantization alone"}
    for name, accumulator in (("promoted(64)", chosen[0]), ("with_width(10)", chosen[1])):
        its = [
            [r["k"], r["accumulation_norm_relative_error"]]
            for r in rows
            if r["accumulator"] == str(accumulator)
        ]
        assert drawn[name] == sorted(its)
    floor = [[r["k"], r["total_norm_relative_error"]] for r in rows if r["accumulator"] == "EXACT"]
    assert drawn["quantization alone"] == sorted(floor)
    assert axes.get_title() == "U(0,1)" and "accumulated by forms of HOPPER_FP8" in figure.get_suptitle()
    total = plots.gemm_errors(table, reference="total", measure="sqnr_db").axes[0]
    assert total.get_yscale() == "linear" and len(total.lines) == 3
    with pytest.raises(ValueError, match="table is empty"):
        plots.gemm_errors(table[:0])
    with pytest.raises(ValueError, match="column 'total_nothing' is no column of the table"):
        plots.gemm_errors(table, reference="total", measure="nothing")
    with pytest.raises(TypeError, match="table must be a pandas DataFrame, got list"):
        plots.gemm_errors([])


# ---- any other parameter --------------------------------------------------------------------------------
def test_texts_stand_side_by_side_and_numbers_where_they_are():
    table = table_of(
        fmt=["e4m3", "e4m3", "e2m1", "e2m1"], group=["PerTensor()", "PerGroup(16)", "PerGroup(16)", None],
        sqnr_db=[25.0, 31.0, 20.0, 15.0],
    )  # fmt: skip
    axes = plots.error_over(table, "group", y="sqnr_db")
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["PerTensor()", "PerGroup(16)"]
    assert [[0, 25], [1, 31]] in [line.get_xydata().tolist() for line in axes.lines]
    assert [[1, 20]] in [line.get_xydata().tolist() for line in axes.lines]
    assert [text.get_text() for text in axes.texts] == ["e2m1, no group", "e2m1", "e4m3"]
    numbers = plots.error_over(table_of(bits=[4, 6, 8], sqnr_db=[10.0, 20.0, 30.0]), "bits", y="sqnr_db")
    assert numbers.get_xscale() == "linear" and numbers.lines[0].get_xdata().tolist() == [4, 6, 8]
    assert plots.error_over(table_of(n=[4, 64], sqnr_db=[1.0, 2.0]), "n", y="sqnr_db").get_xscale() == "log"


def test_the_y_axis_is_logarithmic_as_told():
    axes = plots.error_over_k(sweep_table(), y="signed_relative_error", log=False)
    assert axes.get_yscale() == "linear" and lines_of(axes)["FP32_FMA"][0][1] == -error("FP32_FMA", 128)
    assert plots.error_over_k(sweep_table(), y="sqnr_db", log=True).get_yscale() == "log"


def test_panels_that_share_an_axis_agree_on_it():
    table = table_of(
        m=[1, 1, 2, 2, 2],
        group=["PerGroup(16)", "PerTensor()", "PerVector()", "PerTensor()", "PerGroup(16)"],
        promoted=[0, 64, 0, 64, 256], sqnr_db=[30.0, 20.0, 25.0, 19.0, 29.0],
    )  # fmt: skip
    figure = plots.panels(table, "m", plots.error_over, x="group", y="sqnr_db", by=())
    names = [tick.get_text() for tick in figure.axes[0].get_xticklabels()]
    assert names == ["PerGroup(16)", "PerTensor()", "PerVector()"]
    for axes, part in zip(figure.axes, (table[:2], table[2:]), strict=True):
        drawn = {names[int(x)]: y for x, y in axes.lines[0].get_xydata()}
        assert drawn == dict(zip(part["group"], part["sqnr_db"], strict=True))
    with pytest.raises(ValueError, match=r"panels that share an x axis must agree.*sharex=False"):
        plots.panels(table, "m", plots.error_over_promotion, y="sqnr_db", by=())
    figure = plots.panels(table[::-1], "m", plots.error_over_promotion, y="sqnr_db", by=())
    assert [axes.lines[0].get_xdata()[-1] for axes in figure.axes] == [512, 512]
