"""Figures of studies (extra ``plots``): here and in `_point_figures` alone is matplotlib known; no window."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from precision._extras import require
from precision._files import draft
from precision._point_figures import error_over_bits, error_over_bytes, spread
from precision.distributions import DISTRIBUTIONS
from precision.gemm_study import Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["error_over_bits", "error_over_bytes", "error_over_k", "save"]

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


def _label_ends(axes: Axes, ends: list[tuple[float, str, str]], low: float, high: float) -> None:
    """Name every line at its right end; a thin leader joins a name that had to move."""
    span = math.log(high / low)
    ends = sorted(ends)
    heights = [math.log(value / low) / span for value, _, _ in ends]
    placed = spread(heights, 0.047, 0.0, 1.0)
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
