"""Figures in which every spec is a point: what it loses over what it takes. `plots` gives them out."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from precision import specs
from precision._support.machine._float_environment import in_default_environment
from precision.formats._float_format import FloatFormat
from precision.formats._named import FP32
from precision.logfmt._logfmt_spec import LogFMT
from precision.metrics._distributions import DISTRIBUTIONS
from precision.plots._axes import new_figure
from precision.plots._columns import front
from precision.plots._rows import HasLink, HasTally, HasTime
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
    dress,
    spread,
)
from precision.quantization._quant_spec import SPECS, QuantSpec, alike_but_for_rule
from precision.specs._spec_text import AnySpec

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# What scales the elements has a colour of Okabe and Ito's, and what they are a marker.
_ELEMENTS = {"float": "o", "integer": "s", "logarithmic": "D"}
_SCALES = {
    "powers of two": BLUE,
    "8 bits, over a float32 one": VERMILION,
    "float32": GREEN,
    "others": PURPLE,
    "a tile's min and step": ORANGE,
    "none": BLACK,
}


# ---- names and places -------------------------------------------------------------------------------
def _kinds(spec: AnySpec) -> tuple[str, str]:
    """What scales the elements, and what they are."""
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
    """``MXFP4``, ``MXFP4 RCEIL`` for its kin with another rule, ``e4m3, PerGroup(128)``."""
    for name, known in SPECS.items():
        if alike_but_for_rule(spec, known):
            return name if spec == known else f"{name} {spec.scale_rule}"
    return (
        str(spec).removeprefix("QuantSpec(").removesuffix(")") if isinstance(spec, QuantSpec) else str(spec)
    )


def _label_points(axes: Axes, points: list[tuple[float, float, str, str]]) -> None:
    """Name points at their right, those of nearly the same width in one column beside all of them."""
    low, high = axes.get_xlim()
    bottom, top = axes.get_ylim()
    columns: list[list[tuple[float, float, str, str]]] = []
    for point in sorted(points):
        if columns and point[0] - columns[-1][-1][0] < 0.09 * (high - low):
            columns[-1].append(point)
        else:
            columns.append([point])
    for column in columns:
        beside = max(x for x, *_ in column) + 0.025 * (high - low)
        column.sort(key=lambda point: point[1])
        heights = [(y - bottom) / (top - bottom) for _, y, *_ in column]
        placed = spread(heights, 0.042, 0.02, 0.98)
        for (x, y, text, colour), height in zip(column, placed, strict=True):
            axes.annotate(
                text,
                xy=(x, y),
                xytext=(beside, bottom + height * (top - bottom)),
                textcoords="data",
                fontsize=8,
                color=colour,
                va="center",
                arrowprops={
                    "arrowstyle": "-",
                    "lw": 0.6,
                    "color": colour,
                    "alpha": 0.6,
                    "relpos": (0, 0.5),
                    "shrinkA": 1,
                    "shrinkB": 4,
                },
            )


def _panels(rows: Sequence[HasTally]) -> dict[str, list[int]]:
    """Which rows each panel shows: one for each array, or for a file of several their total."""
    if not rows:
        raise ValueError("rows is empty: there is nothing to draw")
    totals = {row.data for row in rows if not row.shape}
    panels: dict[str, list[int]] = {}
    for i, row in enumerate(rows):
        if row.data not in totals or not row.shape:
            name = DISTRIBUTIONS[row.data].description if row.data in DISTRIBUTIONS else row.data
            panels.setdefault(name + (f", {row.tensor}" if row.tensor else ""), []).append(i)
    return panels


def _limits(
    points: Sequence[tuple[float, float]], least: float, room: float = 0.32
) -> tuple[tuple[float, float], tuple[float, float]]:
    """Of both axes, with room for names at the right of the last points; at least ``least`` wide."""
    widths, heights = zip(*(points or [(4.0, 20.0), (8.0, 40.0)]), strict=True)
    span = max(max(widths) - min(widths), least)
    left, right = min(widths) - 0.1 * span, max(widths) + 0.1 * span
    right += room * (right - left)
    rise = max(max(heights) - min(heights), 6.0)
    return (left, right), (min(heights) - 0.12 * rise, max(heights) + 0.12 * rise)


# ---- the figures ------------------------------------------------------------------------------------
@in_default_environment
def error_over_bits(rows: Iterable[HasTally]) -> Figure:
    """SQNR over the bits stored for each element: one panel for each kind of data, a point for each spec.

    Of a file of several tensors their total is drawn. A dashed line gains 6.02 dB a bit: the limit that
    rate-distortion theory sets for independent normal numbers, whatever the code.

    Parameters
    ----------
    rows : iterable of SpecRow
        Of a study.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ImportError
        Without matplotlib; names the extra.
    ValueError
        If there are no rows.
    """
    table = list(rows)
    panels = _panels(table)
    shown = [
        (row.tally.bits_per_element, row.tally.sqnr_db)
        for i in panels.values()
        for row in map(table.__getitem__, i)
    ]
    across, up = _limits([point for point in shown if math.isfinite(point[1])], 1.0)

    figure = new_figure(1.0 + 7.0 * len(panels), 5.2)
    figures = figure.subplots(1, len(panels), squeeze=False, sharey=True)[0]
    colours: dict[str, None] = {}
    markers: dict[str, None] = {}
    for axes, (name, places) in zip(figures, panels.items(), strict=True):
        axes.set(xlim=across, ylim=up, xlabel="bits for each element, scales counted")
        axes.plot(across, [6.02 * x for x in across], "--", color=FAINT, linewidth=1, zorder=0)
        points = []
        for row in map(table.__getitem__, places):
            x, y = row.tally.bits_per_element, row.tally.sqnr_db
            if not math.isfinite(y):
                continue
            spec = specs.parse(row.spec)
            scales, kind = _kinds(spec)
            colours[scales] = markers[kind] = None
            colour = _SCALES[scales]
            axes.plot([x], [y], _ELEMENTS[kind], color=colour, markersize=7, markeredgecolor="white")
            points.append((x, y, _spec_label(spec), colour))
        _label_points(axes, points)
        dress(axes)
        widest = max((x for x, *_ in points), default=across[1])
        if widest - min((x for x, *_ in points), default=across[1]) > 1:
            axes.set_xticks(range(math.ceil(across[0]), math.ceil(widest) + 1))
        axes.set_title(name, fontsize=11)
    figures[0].set_ylabel("SQNR, dB")
    from matplotlib.lines import Line2D

    entries = [(f"scales: {name}", _SCALES[name], "o") for name in colours]
    entries += [(f"elements: {name}", GREY, _ELEMENTS[name]) for name in markers]
    handles = [
        Line2D([], [], color=colour, marker=marker, linestyle="none", label=name)
        for name, colour, marker in entries
    ]
    limit = "6.02 dB a bit: the limit for N(0,1)"
    handles.append(Line2D([], [], color=FAINT, linestyle="--", linewidth=1, label=limit))
    figure.legend(handles=handles, loc="outside lower center", ncols=3, fontsize=8, frameon=False)
    return figure


@in_default_environment
def error_over_bytes(rows: Iterable[HasTime], wire: HasLink) -> Figure:
    """SQNR over the bytes sent for each value, and the time that takes: a panel for each kind of data.

    LogFMT with its defaults is one line, with the widths as its labels, every other spec a point. A grey band
    follows the Pareto front: what lies on it is beaten by nothing that is as small. Of a file of several
    tensors their total is drawn.

    Parameters
    ----------
    rows : iterable of SentRow
        Of a study.
    wire : Wire
        Through what they were sent; the upper axis is its time.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ImportError
        Without matplotlib; names the extra.
    ValueError
        If there are no rows.
    """
    table = list(rows)
    panels = _panels([sent.row for sent in table])
    places = {
        i: (table[i].bytes_per_element, table[i].row.tally.sqnr_db)
        for its in panels.values()
        for i in its
        if math.isfinite(table[i].row.tally.sqnr_db)
    }
    across, up = _limits(list(places.values()), 0.125, room=0.15)
    values = wire.ep.tokens * wire.ep.experts_per_token * wire.ep.hidden
    fixed = 0.0 if wire.dispatch is None else table[0].time.dispatch
    slope = (2 if wire.dispatch is None else 1) * 1e6 * values / wire.link.bandwidth  # µs for each byte
    start = 1e6 * (fixed + (2 if wire.dispatch is None else 1) * wire.link.latency)

    figure = new_figure(1.0 + 7.0 * len(panels), 5.6)
    figures = figure.subplots(1, len(panels), squeeze=False, sharey=True)[0]
    for axes, (name, its) in zip(figures, panels.items(), strict=True):
        axes.set(
            xlim=across, ylim=up, xlabel="bytes sent for each value (combine), scales and metadata counted"
        )
        best = front([places[i] for i in its if i in places])
        if best:
            axes.step(*zip(*best, strict=True), where="post", color=PALE, linewidth=5, zorder=0)
        points, line = [], []
        for i in its:
            if i not in places:
                continue
            spec, (x, y) = specs.parse(table[i].row.spec), places[i]
            if isinstance(spec, LogFMT) and spec == LogFMT(spec.bits):
                line.append((x, y, spec.bits))
                continue
            scales, kind = _kinds(spec)
            colour = _SCALES[scales]
            axes.plot([x], [y], _ELEMENTS[kind], color=colour, markersize=7, markeredgecolor="white")
            points.append((x, y, _wire_label(spec), colour))
        _draw_widths(axes, sorted(line))
        _label_points(axes, points)
        dress(axes)
        above = axes.secondary_xaxis(
            "top", functions=(lambda x: start + slope * x, lambda t: (t - start) / slope)
        )
        above.set_xlabel("dispatch and combine, µs", fontsize=9)
        above.tick_params(labelsize=9)
        axes.set_title(name, fontsize=11)
    figures[0].set_ylabel("SQNR, dB")
    ep = wire.ep
    there = "in the same format" if wire.dispatch is None else f"in {table[0].dispatch}"
    figure.suptitle(
        f"all-to-all of {ep.tokens:,} tokens to {ep.experts_per_token} experts, {ep.hidden:,} values, "
        f"{wire.link.bandwidth / 1e9:g} GB/s: there {there}, back as drawn\n"
        "grey: the Pareto front, beaten by nothing as small",
        fontsize=9,
    )
    return figure


def _wire_label(spec: AnySpec) -> str:
    """`_spec_label`, shorter for groups as DeepSeek-V3's: ``e4m3, 1x128``."""
    return _spec_label(spec).replace("PerGroup(128)", "1x128")


def _draw_widths(axes: Axes, line: Sequence[tuple[float, float, int]]) -> None:
    """LogFMT's widths as a line, each point named at its upper left, the line at its end."""
    if not line:
        return
    colour, marker = _SCALES["a tile's min and step"], _ELEMENTS["logarithmic"]
    xs, ys, _ = zip(*line, strict=True)
    axes.plot(xs, ys, "-", color=colour, marker=marker, markersize=6, markeredgecolor="white", linewidth=1.4)
    for x, y, bits in line:
        name = f"LogFMT-{bits}" if bits == line[-1][2] else str(bits)
        axes.annotate(name, (x, y), (-5, 5), textcoords="offset points", fontsize=8, color=colour, ha="right")
