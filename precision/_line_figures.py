"""Errors as lines over a parameter, from a sweep's table. `plots` gives these figures out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from precision import accumulators
from precision._figure_style import Style, dress, is_linear, own_axes, styles_of, ticks_at, title_of
from precision._table_columns import Array, Key, check_columns, keys, names_of, numbers, said, usable, varying

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

_MOST_LINES = 24


class Line(NamedTuple):
    """What is drawn of one combination of parameters; a level has one value, whatever x is."""

    name: str
    style: Style
    xs: Sequence[float]
    ys: Sequence[float]
    band: tuple[Sequence[float], Sequence[float]] | None = None
    level: bool = False
    thick: float = 1.5


# ---- drawing ----------------------------------------------------------------------------------------
def draw_lines(axes: Axes, lines: Sequence[Line], log: bool) -> bool:
    """Draw lines with their names at their right ends, and say whether some values lie beyond the axis.

    Those, zeros on a logarithmic axis or infinities, are open triangles at its edge.
    """
    from precision._artists import End, EndNames

    axes.set_yscale("log" if log else "linear")
    axes.margins(y=0.08)
    ends, any_beyond = [], False
    for line in lines:
        colour, dash, marker = line.style
        xs, ys = np.asarray(line.xs, np.float64), np.asarray(line.ys, np.float64)
        look: dict[str, Any] = {"color": colour, "linestyle": dash, "linewidth": line.thick}
        shown = np.isfinite(ys) & ((ys > 0) | (not log))
        beyond = ~shown & ~np.isnan(ys)
        any_beyond |= bool(beyond.any())
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
    return any_beyond


# ---- from a table -----------------------------------------------------------------------------------
Points = dict[Key, dict[float | None, list[float]]]


def _points(table: pd.DataFrame, xs: Array, ys: Array, by: tuple[str, ...]) -> Points:
    """The values at each x of each combination of the values of ``by``; those without an x at None."""
    points: Points = {}
    for key, x, y in zip(keys(table, by), xs, ys, strict=True):
        its = points.setdefault(key, {})
        if not math.isnan(y):
            its.setdefault(None if math.isnan(x) else float(x), []).append(float(y))
    return {key: its for key, its in points.items() if its}


def _lines(points: Points, axes: Axes, by: tuple[str, ...], without_x: str) -> list[Line]:
    names, styles = names_of(by, points), styles_of(axes, by)
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
        return varying(table, (x, y))
    return (by,) if isinstance(by, str) else tuple(by)


def _note(table: pd.DataFrame, points: Points, besides: Sequence[str]) -> str:
    """What stands for several rows, below what the y axis is."""
    most = max((len(values) for its in points.values() for values in its.values()), default=1)
    if most == 1:
        return ""
    others = varying(table, besides)
    if "seed" in table.columns and len(set(keys(table, ["seed"]))) > 1:
        others = ("seed", *others)
    over = f"{most} seeds" if others == ("seed",) else f"up to {most} values ({', '.join(others)})"
    return f"\nmedian of {over}; band: least to largest"


def _draw(
    table: pd.DataFrame, x: str, y: str, xs: Array, by: Sequence[str] | str | None, ax: Axes | None
) -> tuple[Axes, list[float]]:
    """All but the x axis; with the places on it."""
    chosen = _chosen(table, by, x, y)
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
    axes = own_axes(ax, 7.0, max(4.2, 1.2 + 0.19 * len(points)))
    dress(axes)
    beyond = draw_lines(axes, _lines(points, axes, chosen, f"no {x}"), log)
    signed = bool(log and (ys < 0).any())
    label = f"magnitude of {title_of(y)}" if signed else title_of(y)
    label += _note(table, points, (x, y, *chosen))
    if beyond:
        label += "\nopen triangles: 0, or infinite" if log else "\nopen triangles: infinite"
    axes.set_ylabel(label, fontsize=10 if "\n" not in label else 9)
    places = sorted({place for its in points.values() for place in its if place is not None})
    return axes, places


def _powers(axes: Axes, places: Sequence[float], names: Sequence[str] | None = None) -> None:
    """A logarithmic x axis with a tick at each place."""
    axes.set_xscale("log", base=2)
    ticks_at(axes, places, names or [said(int(p) if p == int(p) else p) for p in places])


def error_over_k(
    table: pd.DataFrame,
    *,
    y: str = "norm_relative_error",
    by: Sequence[str] | str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """An error over K, both logarithmic; a line for each combination of the other parameters that vary.

    Parameters
    ----------
    table : pandas.DataFrame
        Of a sweep: a row a cell; parameters, the column ``k`` among them, then measures, then ``error``.
        Rows that hold an error are left out, and so is what is missing (NaN).
    y : str
        The column drawn. Errors stand as magnitudes on a logarithmic axis; ``sqnr_db``, ``cosine``, shares
        and bits as they are.
    by : str or sequence of str, optional
        The columns that tell lines apart. By default every parameter that varies but ``seed``: the
        columns left of the first measure. Rows that share a point are drawn as their median, with a band
        from the least to the largest, and the y axis says so.
    ax : matplotlib.axes.Axes, optional
        Where to draw. By default a figure of its own, of which pyplot knows nothing: Jupyter shows it as
        the value of a cell, and `save` writes it.

    Returns
    -------
    matplotlib.axes.Axes
        Names of lines stand right of them; a figure without a layout engine gets the constrained one.

    Raises
    ------
    ImportError
        Without matplotlib; names the extra.
    TypeError
        If ``table`` is no DataFrame or ``ax`` no Axes.
    ValueError
        If a column does not exist (near names are listed) or holds no numbers; if there is nothing to
        draw, or more than 24 lines.

    Examples
    --------
    >>> import pandas as pd
    >>> from precision import plots
    >>> table = pd.DataFrame({
    ...     "accumulator": 2 * ["HOPPER_FP8"] + 2 * ["FP32_FMA"],
    ...     "k": [128, 256, 128, 256],
    ...     "norm_relative_error": [1e-3, 2e-3, 1e-7, 1e-7],
    ...     "error": [None, None, None, "boom"],
    ... })
    >>> axes = plots.error_over_k(table)
    >>> [name.get_text() for name in axes.texts], [len(line.get_xdata()) for line in axes.lines]
    (['FP32_FMA', 'HOPPER_FP8'], [2, 1])
    """
    check_columns(table, x="k", y=y, by=by)
    table = usable(table)
    xs = numbers(table, "k", "x")
    if np.isnan(xs).any() or (xs <= 0).any():
        raise ValueError(f"k must be a positive number in every row, got {table['k'].tolist()[:4]}")
    axes, places = _draw(table, "k", y, xs, by, ax)
    _powers(axes, places)
    axes.set_xlabel(title_of("k"))
    return axes


def _own_width(text: object) -> float:
    """Fraction bits of an accumulator's alignment; NaN where it has none."""
    try:
        unit = accumulators.parse(str(text))
    except ValueError:
        return math.nan
    return float(unit.fraction_bits) if isinstance(unit, accumulators.FusedSum) else math.nan


def error_over_width(
    table: pd.DataFrame,
    *,
    y: str = "norm_relative_error",
    by: Sequence[str] | str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """An error over the accumulator's width, linear; see `error_over_k` for all else.

    A row without a ``width`` stands at its ``accumulator``'s own. Accumulators that have none (FP32_FMA,
    EXACT) are dotted level lines.

    Parameters
    ----------
    table, y, by, ax
        As in `error_over_k`; the table has the column ``width``.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ImportError, TypeError, ValueError
        As in `error_over_k`.

    Examples
    --------
    >>> import pandas as pd
    >>> from precision import plots
    >>> table = pd.DataFrame({
    ...     "accumulator": 3 * ["HOPPER_FP8"] + ["FP32_FMA"],
    ...     "width": [8, None, 20, None],
    ...     "norm_relative_error": [1e-1, 1e-3, 1e-5, 1e-7],
    ... })
    >>> unit, fma = plots.error_over_width(table).lines
    >>> unit.get_xdata().tolist(), fma.get_ydata()
    ([8.0, 13.0, 20.0], [1e-07, 1e-07])
    """
    check_columns(table, x="width", y=y, by=by)
    table = usable(table)
    xs = numbers(table, "width", "x")
    if "accumulator" in table.columns:
        own = [_own_width(text) for text in table["accumulator"]]
        xs = np.where(np.isnan(xs), own, xs)
    axes, places = _draw(table, "width", y, xs, by, ax)
    ticks_at(axes, places, [said(int(p) if p == int(p) else p) for p in places])
    axes.set_xlabel(title_of("width"))
    return axes


def error_over_promotion(
    table: pd.DataFrame,
    *,
    y: str = "norm_relative_error",
    by: Sequence[str] | str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """An error over the promotion interval, logarithmic; see `error_over_k` for all else.

    ``promoted`` = 0, or missing, means never: it stands one octave right of the largest interval.

    Parameters
    ----------
    table, y, by, ax
        As in `error_over_k`; the table has the column ``promoted``.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ImportError, TypeError, ValueError
        As in `error_over_k`.

    Examples
    --------
    >>> import pandas as pd
    >>> from precision import plots
    >>> table = pd.DataFrame({"promoted": [0, 64, 128], "norm_relative_error": [1e-2, 1e-4, 2e-4]})
    >>> axes = plots.error_over_promotion(table)
    >>> [label.get_text() for label in axes.get_xticklabels()]
    ['64', '128', 'never']
    """
    check_columns(table, x="promoted", y=y, by=by)
    table = usable(table)
    xs = numbers(table, "promoted", "x")
    if (xs < 0).any():
        raise ValueError(f"promoted must be at least 0, got {float(np.nanmin(xs)):g}")
    never = np.isnan(xs) | (xs == 0)
    beyond = 2.0 * float(xs[~never].max(initial=1.0))
    axes, places = _draw(table, "promoted", y, np.where(never, beyond, xs), by, ax)
    names = ["never" if never.any() and place == beyond else said(int(place)) for place in places]
    _powers(axes, places, names)
    axes.set_xlabel(title_of("promoted"))
    return axes
