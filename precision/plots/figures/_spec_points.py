"""Figures of SQNR with a point for each spec, over the bits that it stores or the bytes that it sends."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from precision import specs
from precision._support.machine._float_environment import in_default_environment
from precision.formats._float_format import FloatFormat
from precision.formats._named import FP32
from precision.logfmt._logfmt_spec import LogFMT
from precision.metrics._distributions import DISTRIBUTIONS
from precision.plots._axes import new_figure
from precision.plots._columns import check_columns, drop_failed_rows, pareto_front
from precision.plots._style import (
    BLACK,
    BLUE,
    FAINT,
    GREEN,
    GREY,
    ORANGE,
    PALE,
    PURPLE,
    VERMILION,
    style_axes,
)
from precision.quantization._quant_spec import SPECS, QuantSpec, alike_but_for_rule
from precision.specs._spec_text import AnySpec

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# The kind of the elements chooses the marker, and the kind of their scales the colour.
_ELEMENTS = {"float": "o", "integer": "s", "logarithmic": "D"}
_SCALES = {
    "powers of two": BLUE,
    "8 bits, over a float32 one": VERMILION,
    "float32": GREEN,
    "others": PURPLE,
    "a tile's min and step": ORANGE,
    "none": BLACK,
}
_COLUMNS = ("data", "tensor", "shape", "spec", "sqnr_db")
_WIRE = ("dispatch", "seconds_dispatch", "tokens", "experts", "hidden", "bandwidth", "latency")


# ---- names and places -------------------------------------------------------------------------------
def _kinds(spec: AnySpec) -> tuple[str, str]:
    """Return the kind of a spec's scales and the kind of its elements, as keys of the colours and markers."""
    if isinstance(spec, LogFMT):
        return "a tile's min and step", "logarithmic"
    if isinstance(spec, FloatFormat):
        return "none", "float"
    elements = "float" if isinstance(spec.fmt, FloatFormat) else "integer"
    if not spec.scale_format.fraction_bits or spec.scale_rule.gives_powers_of_two:
        return "powers of two", elements
    if spec.tensor_scale and spec.scale_format.bits == 8:
        return "8 bits, over a float32 one", elements
    return ("float32" if spec.scale_format == FP32 else "others"), elements


def _spec_label(spec: AnySpec) -> str:
    """Return a spec's short name: ``MXFP4``, ``MXFP4 RCEIL`` with another rule, ``e4m3, PerGroup(128)``."""
    for name, known in SPECS.items():
        if alike_but_for_rule(spec, known):
            return name if spec == known else f"{name} {spec.scale_rule}"
    return (
        str(spec).removeprefix("QuantSpec(").removesuffix(")") if isinstance(spec, QuantSpec) else str(spec)
    )


def _label_points(axes: Axes, points: Sequence[tuple[float, float, str, str]]) -> None:
    """Name points, each given by its place, text and colour."""
    from precision.plots._name_placement import End, PointNames

    PointNames(axes, [End(*point) for point in points])


def _panels(table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return the rows of each panel by its title: those of each array, or the total of a file of several."""
    panels = {}
    for (data, tensor, shape), rows in table.groupby(["data", "tensor", "shape"], sort=False):
        if not shape or "" not in set(table["shape"][table["data"] == data]):
            name = DISTRIBUTIONS[data].description if data in DISTRIBUTIONS else data
            panels[name + (f", {tensor}" if tensor else "")] = rows
    return panels


def _points(rows: pd.DataFrame, x: str) -> list[tuple[AnySpec, float, float]]:
    """Return each spec of some rows with its x and its SQNR, those without a finite SQNR left out."""
    places = zip(
        map(specs.parse, rows["spec"]), rows[x].astype(float), rows["sqnr_db"].astype(float), strict=True
    )
    return [place for place in places if math.isfinite(place[2])]


def _limits(
    points: Sequence[tuple[float, float]], least: float, room: float = 0.32
) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return the limits of both axes, with room for names at the right; x spans at least ``least``."""
    widths, heights = zip(*(points or [(4.0, 20.0), (8.0, 40.0)]), strict=True)
    span = max(max(widths) - min(widths), least)
    left, right = min(widths) - 0.1 * span, max(widths) + 0.1 * span
    right += room * (right - left)
    rise = max(max(heights) - min(heights), 6.0)
    return (left, right), (min(heights) - 0.12 * rise, max(heights) + 0.12 * rise)


# ---- the figures ------------------------------------------------------------------------------------
def _new_axes(panels: int, height: float) -> tuple[Figure, list[Axes]]:
    figure = new_figure(1.0 + 7.0 * panels, height)
    return figure, list(figure.subplots(1, panels, squeeze=False, sharey=True)[0])


def _draw_point(axes: Axes, spec: AnySpec, x: float, y: float) -> str:
    """Draw the point of a spec, and return its colour."""
    scales, kind = _kinds(spec)
    colour = _SCALES[scales]
    axes.plot([x], [y], _ELEMENTS[kind], color=colour, markersize=7, markeredgecolor="white")
    return colour


def _draw_legend(figure: Figure, drawn: Sequence[AnySpec]) -> None:
    """Draw a legend of the colours and markers of some specs below the axes."""
    from matplotlib.lines import Line2D

    kinds = list(map(_kinds, drawn))
    entries = [(f"scales: {name}", _SCALES[name], "o") for name in dict.fromkeys(one for one, _ in kinds)]
    entries += [
        (f"elements: {name}", GREY, _ELEMENTS[name]) for name in dict.fromkeys(two for _, two in kinds)
    ]
    handles = [
        Line2D([], [], color=colour, marker=marker, linestyle="none", label=name)
        for name, colour, marker in entries
    ]
    limit = "6.02 dB a bit: the limit for N(0,1)"
    handles.append(Line2D([], [], color=FAINT, linestyle="--", linewidth=1, label=limit))
    figure.legend(handles=handles, loc="outside lower center", ncols=3, fontsize=8, frameon=False)


@in_default_environment
def error_over_bits(table: pd.DataFrame) -> Figure:
    """Draw SQNR over the bits stored for each element, with a panel for each kind of data.

    Each spec is a point. For a file of several tensors their total is drawn. A dashed line rises by 6.02 dB
    a bit: the limit that rate-distortion theory sets for independent normal numbers, whatever the code.

    Parameters
    ----------
    table : pandas.DataFrame
        The table of the study ``quantize``, as `sweep` or ``precision quantize --json`` gives it.

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
        If it lacks a column, or has no row without an error.
    """
    check_columns(table, column=(*_COLUMNS, "bits_per_element"))
    table = drop_failed_rows(table)
    panels = {name: _points(rows, "bits_per_element") for name, rows in _panels(table).items()}
    drawn = [point for points in panels.values() for point in points]
    across, up = _limits([(x, y) for _, x, y in drawn], 1.0)
    figure, all_axes = _new_axes(len(panels), 5.2)
    for axes, (name, points) in zip(all_axes, panels.items(), strict=True):
        axes.set(xlim=across, ylim=up, xlabel="bits for each element, scales counted")
        axes.plot(across, [6.02 * x for x in across], "--", color=FAINT, linewidth=1, zorder=0)
        _label_points(
            axes, [(x, y, _spec_label(spec), _draw_point(axes, spec, x, y)) for spec, x, y in points]
        )
        style_axes(axes)
        widest = max((x for _, x, _ in points), default=across[1])
        if widest - min((x for _, x, _ in points), default=across[1]) > 1:
            axes.set_xticks(range(math.ceil(across[0]), math.ceil(widest) + 1))
        axes.set_title(name, fontsize=11)
    all_axes[0].set_ylabel("SQNR, dB")
    _draw_legend(figure, [spec for spec, _, _ in drawn])
    return figure


@in_default_environment
def error_over_bytes(table: pd.DataFrame) -> Figure:
    """Draw SQNR over the bytes sent for each value, with a panel for each kind of data.

    LogFMT with its defaults is one line, labelled with its widths; every other spec is a point. A grey band
    follows the Pareto front: no spec that sends as few bytes is better than one on it. For a file of several
    tensors their total is drawn. The upper axis shows the time of dispatch and combine together.

    Parameters
    ----------
    table : pandas.DataFrame
        The table of the study ``all_to_all``, as `sweep` gives it.

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
        If it lacks a column, or has no row without an error.
    """
    check_columns(table, column=(*_COLUMNS, "combine_bytes_per_element", *_WIRE))
    table = drop_failed_rows(table)
    panels = {name: _points(rows, "combine_bytes_per_element") for name, rows in _panels(table).items()}
    across, up = _limits([(x, y) for points in panels.values() for _, x, y in points], 0.125, room=0.15)
    start, slope = _time(table)
    figure, all_axes = _new_axes(len(panels), 5.6)
    for axes, (name, points) in zip(all_axes, panels.items(), strict=True):
        axes.set(
            xlim=across, ylim=up, xlabel="bytes sent for each value (combine), scales and metadata counted"
        )
        best = pareto_front([(x, y) for _, x, y in points])
        if best:
            axes.step(*zip(*best, strict=True), where="post", color=PALE, linewidth=5, zorder=0)
        line = {
            spec: (x, y) for spec, x, y in points if isinstance(spec, LogFMT) and spec == LogFMT(spec.bits)
        }
        others = [
            (x, y, _wire_label(spec), _draw_point(axes, spec, x, y))
            for spec, x, y in points
            if spec not in line
        ]
        _draw_widths(axes, sorted((x, y, spec.bits) for spec, (x, y) in line.items()))
        _label_points(axes, others)
        style_axes(axes)
        above = axes.secondary_xaxis(
            "top",
            functions=(lambda x: start + slope * np.asarray(x), lambda t: (np.asarray(t) - start) / slope),
        )
        above.set_xlabel("dispatch and combine, µs", fontsize=9)
        above.tick_params(labelsize=9)
        axes.set_title(name, fontsize=11)
    all_axes[0].set_ylabel("SQNR, dB")
    first = table.iloc[0]
    there = "in the same format" if _sent_alike(table) else f"in {first['dispatch']}"
    figure.suptitle(
        f"all-to-all of {first['tokens']:,} tokens to {first['experts']} experts, {first['hidden']:,} "
        f"values, {first['bandwidth']:g} GB/s: there {there}, back as drawn\n"
        "grey: the Pareto front, beaten by nothing as small",
        fontsize=9,
    )
    return figure


def _sent_alike(table: pd.DataFrame) -> bool:
    """Tell whether every row is sent to the experts in the spec in which it comes back."""
    return bool((table["dispatch"] == table["spec"]).all() or (table["dispatch"] == "same").all())


def _time(table: pd.DataFrame) -> tuple[float, float]:
    """Return the microseconds of both ways at 0 bytes sent back a value, and the increase for each byte."""
    first, ways = table.iloc[0], 2 if _sent_alike(table) else 1
    values = first["tokens"] * first["experts"] * first["hidden"]
    fixed = 0.0 if ways == 2 else first["seconds_dispatch"]
    return 1e6 * (fixed + ways * first["latency"]), ways * 1e-3 * values / first["bandwidth"]


def _wire_label(spec: AnySpec) -> str:
    """Return a spec's short name, with DeepSeek-V3's groups as ``e4m3, 1x128``."""
    return _spec_label(spec).replace("PerGroup(128)", "1x128")


def _draw_widths(axes: Axes, line: Sequence[tuple[float, float, int]]) -> None:
    """Draw LogFMT's widths as a line, whose points are named at their upper left by their bits."""
    if not line:
        return
    colour, marker = _SCALES["a tile's min and step"], _ELEMENTS["logarithmic"]
    xs, ys, _ = zip(*line, strict=True)
    axes.plot(xs, ys, "-", color=colour, marker=marker, markersize=6, markeredgecolor="white", linewidth=1.4)
    for x, y, bits in line:
        name = f"LogFMT-{bits}" if bits == line[-1][2] else str(bits)
        axes.annotate(name, (x, y), (-5, 5), textcoords="offset points", fontsize=8, color=colour, ha="right")
