"""Figures of studies. The only room that knows matplotlib (extra ``plots``); it opens no window."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from precision import quantization_study
from precision._extras import require
from precision._files import draft
from precision.formats import FP32, FloatFormat
from precision.quantized import SPECS, QuantSpec, alike_but_for_rule
from precision.sweep import DISTRIBUTIONS, Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["error_over_bits", "error_over_k", "save"]

# Families of accumulators in Okabe and Ito's colours, which most colour-blind readers tell apart; the
# members of a family differ in line style and marker as well.
_FAMILIES = {
    "unit": ("#D55E00",),
    "promoted": ("#0072B2", "#3FA0DC", "#00496F", "#5B9BC8", "#003C5C"),
    "width": ("#009E73", "#3FB28F", "#00664B", "#6BB39A"),
    "both": ("#CC79A7", "#B0548A", "#8F4A72", "#D58FB8"),
    "other": ("#000000", "#777777", "#444444", "#AAAAAA"),
}
_DASHES = ("-", "--", "-.", ":")
_MARKERS = "osD^vPX*"
_TITLES = {
    "accumulation": "error of the accumulation\n(against the exact product of the quantized operands)",
    "total": "error of quantization and accumulation\n(against the product of the originals)",
}


def _family(accumulator: str) -> str:
    if accumulator.startswith(("FP32_FMA", "EXACT")):
        return "other"
    promoted, width = ".promoted(" in accumulator, ".with_width(" in accumulator
    if promoted or width:
        return "both" if promoted and width else "promoted" if promoted else "width"
    return "unit" if accumulator.startswith("HOPPER") else "other"


def _short(name: str, names: Iterable[str]) -> str:
    """``HOPPER_FP8.promoted(64)`` is ``promoted(64)`` where every changed unit is a HOPPER_FP8."""
    units = {other.split(".")[0] for other in names if _family(other) in ("promoted", "width", "both")}
    unit, dot, change = name.partition(".")
    return change if dot and units == {unit} else name


def _spread(positions: list[float], gap: float, low: float, high: float) -> list[float]:
    """The positions, moved as little as keeps them ``gap`` apart (given in rising order)."""
    placed = list(positions)
    for _ in range(200):
        moved = False
        for i in range(len(placed) - 1):
            lack = gap - (placed[i + 1] - placed[i])
            if lack > 1e-9:
                placed[i] -= lack / 2
                placed[i + 1] += lack / 2
                moved = True
        if not moved:
            break
    shift = max(low - placed[0], 0.0) if placed else 0.0
    placed = [p + shift for p in placed]
    shift = max(placed[-1] - high, 0.0) if placed else 0.0
    return [p - shift for p in placed]


def _label_ends(axes: Axes, ends: list[tuple[float, str, str]], low: float, high: float) -> None:
    """Name every line at its right end; a thin leader joins a name that had to move."""
    span = math.log(high / low)
    ends = sorted(ends)
    heights = [math.log(value / low) / span for value, _, _ in ends]
    placed = _spread(heights, 0.047, 0.0, 1.0)
    leader = {"arrowstyle": "-", "lw": 0.6, "relpos": (0, 0.5), "shrinkA": 1, "shrinkB": 1}
    for (_, text, colour), height, beside in zip(ends, heights, placed, strict=True):
        axes.annotate(
            text,
            xy=(1.0, height),
            xytext=(1.05, beside),
            xycoords="axes fraction",
            fontsize=8,
            color=colour,
            va="center",
            annotation_clip=False,
            arrowprops=leader | {"color": colour},
        )


def error_over_k(
    rows: Iterable[Row], *, measure: str = "norm_relative_error", reference: str = "accumulation"
) -> Figure:
    """One panel for each kind of data, one line for each accumulator, error over K on two log scales.

    Beside the accumulators, a dashed grey line shows the error that quantization alone makes, where
    the rows hold EXACT.

    Parameters
    ----------
    rows : iterable of Row
        Of a study.
    measure : str
        One of `metrics.MEASURES`; the magnitude is drawn.
    reference : {"accumulation", "total"}
        Which of a row's two references.

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
    require("matplotlib", "plots")
    from matplotlib.figure import Figure

    table = list(rows)
    if not table:
        raise ValueError("rows is empty: there is nothing to draw")
    panels = list(dict.fromkeys(row.data for row in table))
    names = list(dict.fromkeys(row.accumulator for row in table))
    lines = {
        (panel, name): [
            (row.k, abs(getattr(row, reference)[measure]))
            for row in table
            if (row.data, row.accumulator) == (panel, name)
        ]
        for panel in panels
        for name in names
    }
    floors = {
        panel: [(r.k, abs(r.total[measure])) for r in table if (r.data, r.accumulator) == (panel, "EXACT")]
        for panel in panels
    }
    # What rounds only the last bit of float32 would stretch the axis without saying anything.
    shown = {key: [p for p in line if p[1] > 1e-9] for key, line in lines.items() if key[1] != "EXACT"}
    values = [value for line in (*shown.values(), *floors.values()) for _, value in line if value > 1e-9]
    low, high = (min(values) / 1.6, max(values) * 1.6) if values else (0.1, 1.0)

    figure = Figure(figsize=(max(7.5, 1.0 + 5.0 * len(panels)), 4.8), layout="constrained")
    figures = figure.subplots(1, len(panels), squeeze=False, sharey=True)[0]
    used: dict[str, int] = dict.fromkeys(_FAMILIES, 0)
    styles = {}
    for name in names:
        family = _family(name)
        i = used[family]
        used[family] += 1
        colours = _FAMILIES[family]
        styles[name] = (colours[i % len(colours)], _DASHES[i % len(_DASHES)], _MARKERS[i % len(_MARKERS)])
    for axes, panel in zip(figures, panels, strict=True):
        ends = []
        for name in names:
            line = sorted(shown.get((panel, name), []))
            if line:
                colour, dashes, marker = styles[name]
                ks, errors = zip(*line, strict=True)
                wide = 2.4 if _family(name) == "unit" else 1.4
                axes.plot(ks, errors, dashes, color=colour, marker=marker, markersize=3.5, linewidth=wide)
                ends.append((errors[-1], _short(name, names), colour))
        floor = [(k, value) for k, value in sorted(floors[panel]) if value > 1e-9]
        if floor and reference == "accumulation":
            axes.plot(*zip(*floor, strict=True), "--", color="#999999", linewidth=1.2)
            ends.append((floor[-1][1], "quantization alone", "#777777"))
        axes.set(xscale="log", yscale="log", xlabel="K", ylim=(low, high))
        ticks = sorted({row.k for row in table if row.data == panel})
        axes.set_xticks(ticks, [f"{k:,}" for k in ticks], rotation=45 if len(ticks) > 5 else 0, fontsize=8)
        axes.minorticks_off()
        axes.grid(True, color="#E5E5E5", linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_title(DISTRIBUTIONS[panel].description if panel in DISTRIBUTIONS else panel, fontsize=11)
        _label_ends(axes, ends, low, high)
    figures[0].set_ylabel(measure.replace("_", " "))
    first = table[0]
    same = first.a_spec == first.b_spec
    operands = first.a_spec if same else f"a: {first.a_spec}, b: {first.b_spec}"
    outputs = f"{first.m} × {first.n} outputs"
    hidden = {name.split(".")[0] for name in names if _short(name, names) != name} - set(names)
    outputs += "".join(f", accumulated by forms of {unit}" for unit in hidden)
    wide = len(panels) > 1
    figure.suptitle(f"{_TITLES[reference]}\n{operands}{', ' if wide else chr(10)}{outputs}", fontsize=10)
    return figure


# What scales the elements has a colour, and what they are a marker.
_ELEMENTS = {"float": "o", "integer": "s"}
_SCALES = {
    "powers of two": "#0072B2",
    "8 bits, over a float32 one": "#D55E00",
    "float32": "#009E73",
    "others": "#CC79A7",
}


def _scales(spec: QuantSpec) -> str:
    if not spec.scale_format.fraction_bits or spec.scale_rule.gives_powers_of_two:
        return "powers of two"
    if spec.tensor_scale and spec.scale_format.bits == 8:
        return "8 bits, over a float32 one"
    return "float32" if spec.scale_format == FP32 else "others"


def _spec_label(spec: QuantSpec) -> str:
    """``MXFP4``, ``MXFP4 RCEIL`` for its kin with another rule, ``e4m3, PerGroup(128)``."""
    for name, known in SPECS.items():
        if alike_but_for_rule(spec, known):
            return name if spec == known else f"{name} {spec.scale_rule}"
    return str(spec).removeprefix("QuantSpec(").removesuffix(")")


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
        placed = _spread(heights, 0.042, 0.02, 0.98)
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


def error_over_bits(rows: Iterable[quantization_study.Row]) -> Figure:
    """SQNR over the bits stored for each element: one panel for each kind of data, a point for each spec.

    Of a file of several tensors their total is drawn. A dashed line gains 6.02 dB a bit: the limit that
    rate-distortion theory sets for independent normal numbers, whatever the code.

    Parameters
    ----------
    rows : iterable of quantization_study.Row
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
    require("matplotlib", "plots")
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    table = list(rows)
    if not table:
        raise ValueError("rows is empty: there is nothing to draw")
    totals = {row.data for row in table if not row.shape}
    panels: dict[str, list[quantization_study.Row]] = {}
    for row in table:
        if row.data not in totals or not row.shape:
            name = DISTRIBUTIONS[row.data].description if row.data in DISTRIBUTIONS else row.data
            panels.setdefault(name + (f", {row.tensor}" if row.tensor else ""), []).append(row)
    shown = [row for its_rows in panels.values() for row in its_rows if math.isfinite(row.tally.sqnr_db)]
    widths = [row.tally.bits_per_element for row in shown] or [4.0, 8.0]
    heights = [row.tally.sqnr_db for row in shown] or [20.0, 40.0]
    span = max(max(widths) - min(widths), 1.0)
    left, right = min(widths) - 0.1 * span, max(widths) + 0.1 * span
    # Room for the names at the right of the last points.
    right += 0.32 * (right - left)
    rise = max(max(heights) - min(heights), 6.0)
    low, high = min(heights) - 0.12 * rise, max(heights) + 0.12 * rise

    figure = Figure(figsize=(1.0 + 7.0 * len(panels), 5.2), layout="constrained")
    figures = figure.subplots(1, len(panels), squeeze=False, sharey=True)[0]
    colours: dict[str, None] = {}
    markers: dict[str, None] = {}
    for axes, (name, its_rows) in zip(figures, panels.items(), strict=True):
        axes.set(xlim=(left, right), ylim=(low, high), xlabel="bits for each element, scales counted")
        axes.plot((left, right), (6.02 * left, 6.02 * right), "--", color="#BBBBBB", linewidth=1, zorder=0)
        points = []
        for row in its_rows:
            x, y = row.tally.bits_per_element, row.tally.sqnr_db
            if not math.isfinite(y):
                continue
            spec = QuantSpec.parse(row.spec)
            scales, kind = _scales(spec), "float" if isinstance(spec.fmt, FloatFormat) else "integer"
            colours[scales] = markers[kind] = None
            colour = _SCALES[scales]
            axes.plot([x], [y], _ELEMENTS[kind], color=colour, markersize=7, markeredgecolor="white")
            points.append((x, y, _spec_label(spec), colour))
        _label_points(axes, points)
        axes.grid(True, color="#E5E5E5", linewidth=0.6)
        axes.set_axisbelow(True)
        if max(widths) - min(widths) > 1:
            axes.set_xticks(range(math.ceil(left), math.ceil(max(widths)) + 1))
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_title(name, fontsize=11)
    figures[0].set_ylabel("SQNR, dB")
    entries = [(f"scales: {name}", _SCALES[name], "o") for name in colours]
    entries += [(f"elements: {name}", "#777777", _ELEMENTS[name]) for name in markers]
    handles = [
        Line2D([], [], color=colour, marker=marker, linestyle="none", label=name)
        for name, colour, marker in entries
    ]
    limit = "6.02 dB a bit: the limit for N(0,1)"
    handles.append(Line2D([], [], color="#BBBBBB", linestyle="--", linewidth=1, label=limit))
    figure.legend(handles=handles, loc="outside lower center", ncols=3, fontsize=8, frameon=False)
    return figure


def check(path: str | Path) -> None:
    """Say at once, before any work, if `save` could not write a file of that name.

    Raises
    ------
    ImportError
        Without matplotlib; names the extra.
    ValueError
        If matplotlib writes no such kind of file, or the folder is none.
    """
    require("matplotlib", "plots")
    from matplotlib.backend_bases import FigureCanvasBase

    path = Path(path)
    kinds = FigureCanvasBase.get_supported_filetypes()
    if path.suffix[1:].lower() not in kinds:
        raise ValueError(f"{path}: a figure's name must end in one of {', '.join(f'.{k}' for k in kinds)}")
    if not path.parent.is_dir():
        raise ValueError(f"{path}: {path.parent} is not a folder")


def save(figure: Figure, path: str | Path) -> None:
    """Write a figure to a file of the kind that its suffix names (.png, .svg, .pdf); whole or not at all.

    Raises
    ------
    ValueError
        If matplotlib writes no such kind, or the folder is none.
    OSError
        If the file cannot be written.
    """
    check(path)
    import matplotlib

    kind = Path(path).suffix[1:].lower()
    # Without dates and with a fixed salt, the same figure is the same file.
    dates = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(kind)
    with draft(path) as beside, matplotlib.rc_context({"svg.hashsalt": "precision"}):
        figure.savefig(beside, dpi=160, metadata=dates, format=kind)
