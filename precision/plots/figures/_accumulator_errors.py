"""The figure of `precision gemm`: the errors of accumulators over K."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

from precision._support.machine._float_environment import in_default_environment
from precision.metrics._distributions import DISTRIBUTIONS
from precision.plots._axes import new_figure
from precision.plots._columns import check_columns, drop_failed_rows, short_texts
from precision.plots._named_lines import Line, draw_lines
from precision.plots._style import GREY, MARKERS, Style, is_linear, set_ticks, style_axes, title_of

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

# Families of accumulators in shades of Okabe and Ito's colours; the members of a family differ in line
# style and marker as well.
_FAMILIES = {
    "unit": ("#D55E00",),
    "promoted": ("#0072B2", "#3FA0DC", "#00496F", "#5B9BC8", "#003C5C"),
    "width": ("#009E73", "#3FB28F", "#00664B", "#6BB39A"),
    "both": ("#CC79A7", "#B0548A", "#8F4A72", "#D58FB8"),
    "other": ("#000000", "#777777", "#444444", "#AAAAAA"),
}
_DASHES = ("-", "--", "-.", ":")
_TITLES = {
    "accumulation": "error of the accumulation\n(against the exact product of the quantized operands)",
    "total": "error of quantization and accumulation\n(against the product of the originals)",
}
# Smaller errors are not drawn: roundings of float32's last bit would only stretch the axis.
_SHOWN = 1e-9


def _family(accumulator: str) -> str:
    if accumulator.startswith(("FP32_FMA", "EXACT")):
        return "other"
    promoted, width = ".promoted(" in accumulator, ".with_width(" in accumulator
    if promoted or width:
        return "both" if promoted and width else "promoted" if promoted else "width"
    return "unit" if accumulator.startswith("HOPPER") else "other"


def _styles(names: Iterable[str]) -> dict[str, Style]:
    used: dict[str, int] = dict.fromkeys(_FAMILIES, 0)
    styles = {}
    for name in names:
        family = _family(name)
        i, colours = used[family], _FAMILIES[family]
        used[family] += 1
        styles[name] = Style(colours[i % len(colours)], _DASHES[i % len(_DASHES)], MARKERS[i % len(MARKERS)])
    return styles


@in_default_environment
def gemm_errors(
    table: pd.DataFrame, *, measure: str = "norm_relative_error", reference: str = "accumulation"
) -> Figure:
    """Draw the error of each accumulator as a line over K, in a panel for each kind of data.

    Both axes are logarithmic. If the table holds EXACT, a dashed grey line shows the error that quantization
    alone makes.

    Parameters
    ----------
    table : pandas.DataFrame
        The table of the study ``gemm``, as `sweep` or ``precision gemm --json`` gives it.
    measure : str
        The name of one of `metrics.MEASURES`; its magnitude is drawn.
    reference : {"accumulation", "total"}
        The reference of the errors: the exact product of the quantized operands ("accumulation"), or that
        of the original operands ("total").

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ImportError
        Without matplotlib; names the extra.
    TypeError
        If ``table`` is no DataFrame.
    ValueError
        If the table lacks a column, or has no row without an error.
    """
    check_columns(table, column=("data", "accumulator", "k", f"{reference}_{measure}"))
    table = drop_failed_rows(table)
    panels, names = list(table["data"].unique()), list(table["accumulator"].unique())
    short, styles = short_texts(names, unit_said=True), _styles(names)

    def line(panel: str, name: str, against: str) -> tuple[list[int], list[float]]:
        its = table[(table["data"] == panel) & (table["accumulator"] == name)].sort_values("k")
        errors = its[f"{against}_{measure}"].abs()
        return its["k"].tolist(), errors.where(errors > _SHOWN).tolist()

    figure = new_figure(max(7.5, 1.0 + 5.0 * len(panels)), 4.8)
    figures = figure.subplots(1, len(panels), squeeze=False, sharey=True)[0]
    for axes, panel in zip(figures, panels, strict=True):
        lines = [
            Line(
                short[name],
                styles[name],
                *line(panel, name, reference),
                thick=2.4 - (_family(name) != "unit"),
            )
            for name in names
            if name != "EXACT"
        ]
        if "EXACT" in names and reference == "accumulation":
            quantized = line(panel, "EXACT", "total")
            lines.append(Line("quantization alone", Style(GREY, "--", ""), *quantized, thick=1.2))
        style_axes(axes)
        draw_lines(axes, [one for one in lines if not all(map(math.isnan, one.ys))], not is_linear(measure))
        axes.set(xscale="log", xlabel="K")
        ticks = sorted(set(table["k"][table["data"] == panel]))
        set_ticks(axes, ticks, [f"{k:,}" for k in ticks])
        axes.set_title(DISTRIBUTIONS[panel].description if panel in DISTRIBUTIONS else panel, fontsize=11)
    figures[0].set_ylabel(title_of(measure))
    first = table.iloc[0]
    same = first["a_spec"] == first["b_spec"]
    operands = first["a_spec"] if same else f"a: {first['a_spec']}, b: {first['b_spec']}"
    outputs = f"{first['m']} × {first['n']} outputs"
    hidden = {name.partition(".")[0] for name in names if short[name] != name}
    outputs += "".join(f", accumulated by forms of {unit}" for unit in hidden - set(names))
    wide = len(panels) > 1
    figure.suptitle(f"{_TITLES[reference]}\n{operands}{', ' if wide else chr(10)}{outputs}", fontsize=10)
    return figure
