"""Drawing of lines with their names at their ends, and of a table as such lines."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np

from precision._support._types import Array
from precision.plots._axes import choose_axes
from precision.plots._columns import Key, find_varying, keys, names_of, numbers
from precision.plots._style import Style, Styles, is_linear, label_axes, style_axes, styles_of, title_of

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes


class Line(NamedTuple):
    """The line of one combination of parameters; a ``level`` is horizontal, and has one value for every x."""

    name: str
    style: Style
    xs: Sequence[float]
    ys: Sequence[float]
    band: tuple[Sequence[float], Sequence[float]] | None = None
    level: bool = False
    thick: float = 1.5


def draw_lines(axes: Axes, lines: Sequence[Line], log: bool) -> list[str]:
    """Draw lines with names at their right ends, and return in words which values lie beyond the axis.

    Those values, zeros on a logarithmic axis and infinities, are drawn as open triangles at its edge.
    """
    from precision.plots._name_placement import End, EndNames

    axes.set_yscale("log" if log else "linear")
    axes.margins(y=0.08)
    ends, outside = [], set()
    for line in lines:
        colour, dash, marker = line.style
        xs, ys = np.asarray(line.xs, np.float64), np.asarray(line.ys, np.float64)
        look: dict[str, Any] = {"color": colour, "linestyle": dash, "linewidth": line.thick}
        shown = np.isfinite(ys) & ((ys > 0) | (not log))
        beyond = ~shown & ~np.isnan(ys)
        outside |= {"0" if y == 0 else "infinite" for y in ys[beyond]}
        where = axes.transAxes if line.level else axes.get_xaxis_transform()
        for x, y in zip([1.0] if line.level else xs[beyond], ys[beyond], strict=False):
            edge, shape = (1.0, "^") if y > 0 else (0.0, "v")
            hollow: dict[str, Any] = {"color": colour, "markerfacecolor": "white", "markersize": 7}
            axes.plot([x], [edge], shape, transform=where, clip_on=False, **hollow)
        if line.level:
            if shown.all():
                axes.axhline(float(ys[0]), **look)
            ends.append(End(math.inf, float(ys[0]), line.name, colour))
            continue
        if line.band:
            axes.fill_between(xs, *line.band, where=shown, color=colour, alpha=0.15, linewidth=0)
        axes.plot(xs, np.where(shown, ys, np.nan), marker=marker, markersize=4, **look)
        last = int(np.flatnonzero(~np.isnan(ys))[-1])
        ends.append(End(float(xs[last]), float(ys[last]), line.name, colour))
    EndNames(axes, ends)
    return sorted(outside)


# ---- from a table -----------------------------------------------------------------------------------
_MOST_LINES = 24
Points: TypeAlias = dict[Key, dict[float | None, list[float]]]


def _points(table: pd.DataFrame, xs: Array, ys: Array, by: tuple[str, ...]) -> Points:
    """Group values by the combination of ``by``, then by x; rows without an x are under None."""
    points: Points = {}
    for key, x, y in zip(keys(table, by), xs, ys, strict=True):
        its = points.setdefault(key, {})
        if not math.isnan(y):
            its.setdefault(None if math.isnan(x) else float(x), []).append(float(y))
    return {key: its for key, its in points.items() if its}


def _lines(points: Points, names: dict[Key, str], styles: Styles, without_x: str) -> list[Line]:
    styles.choose([key for key, its in points.items() if set(its) != {None}])
    lines = []
    for key, its in points.items():
        name, xs = names[key], sorted(x for x in its if x is not None)
        if None in its:
            dotted = Style(styles.colour_of(key), (0, (1, 2)), "")
            level_name = f"{name}, {without_x}" if xs else name
            value = float(np.median(its[None]))
            lines.append(Line(level_name, dotted, [], [value], level=True, thick=1.2))
        if xs:
            style = styles.of(key)
            low, middle, high = ([float(f(its[x])) for x in xs] for f in (np.min, np.median, np.max))
            band = (low, high) if low != high else None
            lines.append(Line(name, style, xs, middle, band))
    return lines


def _chosen(table: pd.DataFrame, by: Sequence[str] | str | None, x: str, y: str) -> tuple[str, ...]:
    if by is None:
        return find_varying(table, (x, y))
    return (by,) if isinstance(by, str) else tuple(by)


def _note(table: pd.DataFrame, points: Points, besides: Sequence[str]) -> str:
    """Return the line of the y label that says what one point stands for, or "" if each is one row."""
    most = max((len(values) for its in points.values() for values in its.values()), default=1)
    if most == 1:
        return ""
    others = find_varying(table, besides)
    if "seed" in table.columns and len(set(keys(table, ["seed"]))) > 1:
        others = ("seed", *others)
    over = f"{most} seeds" if others == ("seed",) else f"up to {most} values ({', '.join(others)})"
    return f"\nmedian and range of {over}"


class LineOptions(NamedTuple):
    """The arguments that all figures of lines have: the column drawn, what tells lines apart, the axes."""

    y: str
    by: Sequence[str] | str | None
    log: bool | None
    ax: Axes | None


def draw_table(table: pd.DataFrame, x: str, xs: Array, choice: LineOptions) -> tuple[Axes, list[float]]:
    """Draw a table as lines without the x axis; return the Axes and the places on x.

    Rows whose place in ``xs`` is NaN are drawn as level lines.
    """
    y, by, log, ax = choice
    chosen = _chosen(table, by, x, y)
    if log is None:
        log = not is_linear(y)
    ys = numbers(table, y, "y")
    points = _points(table, xs, np.abs(ys) if log else ys, chosen)
    if not points:
        raise ValueError(f"y {y!r} holds no number: there is nothing to draw")
    if len(points) > _MOST_LINES:
        raise ValueError(
            f"table makes {len(points)} lines, one for each combination of {', '.join(chosen)}: no figure "
            f"tells more than {_MOST_LINES} apart: choose rows, or name with by= what tells lines apart"
        )
    names = names_of(chosen, points)
    axes = choose_axes(ax, 7.0, max(4.2, 1.2 + 0.16 * sum(name.count("\n") + 1 for name in names.values())))
    style_axes(axes)
    beyond = draw_lines(axes, _lines(points, names, styles_of(axes, chosen), f"no {x}"), log)
    signed = bool(log and (ys < 0).any())
    label = f"magnitude of {title_of(y)}" if signed else title_of(y)
    label += _note(table, points, (x, y, *chosen))
    label += "\nopen triangles: " + " or ".join(beyond) if beyond else ""
    label_axes(axes, y=label)
    places = sorted({place for its in points.values() for place in its if place is not None})
    return axes, places
