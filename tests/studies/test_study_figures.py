"""Figures of the built-in studies: panels, lines and places, from tables as a sweep makes them."""

import inspect
import itertools

import pytest

import precision as pr
from precision.studies import STUDIES

pd = pytest.importorskip("pandas", reason="needs the extra sweep")
pytest.importorskip("matplotlib", reason="needs the extra plots")

SMALL = {"m": 2, "n": 3, "rows": 8, "columns": 64, "sums": 5}


def table_of(name, **axes):
    """A row a cell: every parameter, objects by their text, then the metrics, then ``error``."""
    cell, rows = STUDIES[name].cell, []
    defaults = {key: p.default for key, p in inspect.signature(cell).parameters.items()}
    fixed = defaults | {key: size for key, size in SMALL.items() if key in defaults}
    for values in itertools.product(*axes.values()):
        given = fixed | dict(zip(axes, values, strict=True))
        shown = {
            key: v if isinstance(v, int | float | str) or v is None else str(v) for key, v in given.items()
        }
        rows.append(shown | cell(**given) | {"error": None})
    return pd.DataFrame(rows)


def titles(figure):
    return [axes.get_title() for axes in figure.axes]


def texts(axes):
    return sorted(text.get_text() for text in axes.texts)


def test_accumulation_has_a_panel_for_what_is_drawn():
    table = table_of("accumulation", offset=(0.0, 1.0), k=(64, 256), width=(6, 10, 13))
    figure = STUDIES["accumulation"].figure(table)
    assert titles(figure) == ["U(-1,1)", "U(-1,1) + 1"]
    assert texts(figure.axes[0]) == ["k = 256", "k = 64"]
    first = table[(table["offset"] == 0) & (table["k"] == 64)]
    assert (
        figure.axes[0].lines[0].get_xydata().tolist()
        == first[["width", "norm_relative_error"]].values.tolist()
    )


def test_one_panel_and_no_name_where_nothing_varies_besides():
    figure = STUDIES["accumulation"].figure(table_of("accumulation", k=(64,), width=(6, 10)))
    assert titles(figure) == ["U(-1,1)"] and len(figure.axes[0].lines) == 1


def test_promotion_stands_over_its_interval():
    units = (pr.HOPPER_FP8, pr.HOPPER_FP8.with_width(10))
    table = table_of(
        "promotion", distribution=("normal", "uniform"), accumulator=units, promoted=(0, 32), k=(96,)
    )
    figure = STUDIES["promotion"].figure(table)
    assert titles(figure) == ["N(0,1)", "U(0,1)"]
    assert [label.get_text() for label in figure.axes[1].get_xticklabels()] == ["32", "never"]
    assert texts(figure.axes[1]) == ["HOPPER_FP8", "with_width(10)"]


def test_unit_scaling_compares_designs():
    table = table_of("unit_scaling", design=("promoted", "in_unit"), width=(8, 13), k=(128,))
    (axes,) = STUDIES["unit_scaling"].figure(table).axes
    assert texts(axes) == ["in_unit", "promoted"]
    assert [line.get_xdata().tolist() for line in axes.lines] == [[8, 13]] * 2


def test_group_size_stands_over_the_elements_under_a_scale():
    groups = (
        pr.PerGroup(16),
        pr.PerGroup(48),
        pr.PerBlock(4, 32),
        pr.PerTensor(),
        pr.PerVector(),
        pr.PerGroup(999),
    )
    table = table_of("group_size", group=groups, fmt=(pr.E4M3, pr.E2M1))
    (axes,) = STUDIES["group_size"].figure(table).axes
    assert texts(axes) == ["e2m1", "e4m3"]
    assert axes.lines[0].get_xdata().tolist() == [16, 48, 64, 128, 512]
    assert axes.get_xlabel() == "elements under one scale" and axes.get_ylabel().startswith("SQNR")


def test_formats_are_named_points():
    specs = (pr.MXFP4, pr.MXFP8_E4M3)
    figure = STUDIES["formats"].figure(table_of("formats", distribution=("normal", "laplace"), spec=specs))
    assert titles(figure) == ["N(0,1)", "Laplace(0,1)"]
    assert texts(figure.axes[1]) == ["MXFP4", "MXFP8_E4M3"]


def test_logfmt_counts_metadata():
    table = table_of("logfmt", bits=(4, 5), block_size=(32, 64))
    (axes,) = STUDIES["logfmt"].figure(table).axes
    assert texts(axes) == ["block size = 32", "block size = 64"]
    assert [line.get_xdata().tolist() for line in axes.lines] == [[6, 7], [5, 6]]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["5", "6", "7"]


def test_scale_rules_stand_behind_the_best():
    rules = (pr.ScaleRule.FLOOR, pr.ScaleRule.CEIL)
    table = table_of("scale_rules", spec=(pr.MXFP4, pr.MXINT8), rule=rules, seed=(0, 1, 2))
    (axes,) = STUDIES["scale_rules"].figure(table).axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["MXFP4", "MXINT8"]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["FLOOR", "CEIL"]
    medians = table.groupby(["rule", "spec"])["sqnr_db"].median()
    best = medians.groupby("spec").max()
    for line, rule in zip(axes.lines, ("FLOOR", "CEIL"), strict=False):
        assert line.get_xdata().tolist() == (medians[rule] - best).tolist()


def test_stochastic_bits_has_a_panel_for_each_format():
    roundings = (pr.Rounding.TIES_TO_EVEN, pr.Stochastic(4))
    table = table_of(
        "stochastic_bits", fmt=(pr.BF16, pr.FP16), offset=(0.0, 0.5), k=(16, 64), rounding=roundings
    )
    figure = STUDIES["stochastic_bits"].figure(table)
    assert (
        titles(figure)[:2] == ["bf16 sums of U(-1,1)", "bf16 sums of U(-1,1) + 0.5"] and len(figure.axes) == 4
    )
    assert texts(figure.axes[3]) == ["Stochastic(bits=4)", "TIES_TO_EVEN"]


def test_rows_with_an_error_are_left_out(tmp_path):
    from precision import plots

    table = table_of("scale_rules", spec=(pr.MXFP4,), rule=(pr.ScaleRule.FLOOR, pr.ScaleRule.CEIL))
    table.loc[1, ["sqnr_db", "error"]] = [float("nan"), "boom"]
    figure = STUDIES["scale_rules"].figure(table)
    assert [text.get_text() for text in figure.axes[0].get_legend().get_texts()] == ["FLOOR"]
    plots.save(figure, tmp_path / "rules.png")
    with pytest.raises(ValueError, match="no row without an error"):
        STUDIES["scale_rules"].figure(table[1:])
