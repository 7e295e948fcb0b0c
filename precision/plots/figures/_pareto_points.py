"""The figure of two measures against each other, as error against cost, with their Pareto front."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from precision._support._types import Array
from precision._support.machine._float_environment import in_default_environment
from precision.plots._axes import choose_axes
from precision.plots._columns import (
    Key,
    check_columns,
    drop_failed_rows,
    find_varying,
    keys,
    names_of,
    numbers,
    pareto_front,
)
from precision.plots._style import (
    BLUE,
    GREY,
    JOINED,
    PALE,
    is_linear,
    label_axes,
    more_is_better,
    style_axes,
    title_of,
)

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes


_SENSES = {"less": 1.0, "more": -1.0}


def _sense(given: str | None, column: str, argument: str) -> str:
    if given is None:
        return "more" if more_is_better(column) else "less"
    if given not in _SENSES:
        raise ValueError(f"{argument} must be 'less' or 'more', got {given!r}")
    return given


def _is_log(column: str, values: Array) -> bool:
    """Tell whether a column gets a logarithmic axis: it is not linear, and spans more than two decades."""
    return not is_linear(column) and bool((values > 0).all() and values.max() > 100 * values.min())


def _leave_room(axes: Axes, points: Array) -> None:
    """Extend the x axis to the right, to make room for names there."""
    low, high = float(points[:, 0].min()), float(points[:, 0].max())
    beyond = high * (high / low) ** 0.12 if axes.get_xscale() == "log" else high + 0.12 * (high - low)
    axes.update_datalim([(beyond, float(points[0, 1]))])


@in_default_environment
def pareto(
    table: pd.DataFrame,
    *,
    x: str = "bits_per_element",
    y: str = "sqnr_db",
    names: Sequence[str] | str | None = None,
    better_x: str | None = None,
    better_y: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw two measures against each other as named points, with their Pareto front in grey.

    A point on the front is filled and blue: no other point is better in one measure and as good in the
    other. The other points are open and grey.

    Parameters
    ----------
    table : pandas.DataFrame
        The table of a sweep, as in `error_over_k`.
    x, y : str
        The columns of the two measures; errors are drawn as magnitudes.
    names : str or sequence of str, optional
        The columns whose values name the points. By default every parameter that varies, ``seed`` aside.
        Rows of one name are one point, at their medians.
    better_x, better_y : {"less", "more"}, optional
        The better direction of each measure, which the label of its axis says. By default "more" for
        ``sqnr_db``, ``cosine`` and ``tokens_per_second``, and "less" for any other.
    ax : matplotlib.axes.Axes, optional
        The Axes to draw on, as in `error_over_k`.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ImportError, TypeError, ValueError
        As in `error_over_k`; if ``better_x`` or ``better_y`` is neither.

    Examples
    --------
    >>> import pandas as pd
    >>> from precision import plots
    >>> table = pd.DataFrame({
    ...     "spec": ["MXFP4", "NVFP4", "MXFP8_E5M2", "MXFP8_E4M3"],
    ...     "bits_per_element": [4.25, 4.5, 8.25, 8.25],
    ...     "sqnr_db": [18.6, 20.7, 25.4, 31.5],
    ... })
    >>> axes = plots.pareto(table)
    >>> axes.lines[0].get_xydata().tolist()
    [[4.25, 18.6], [4.5, 20.7], [8.25, 31.5]]
    """
    from precision.plots._name_placement import End, PointNames

    check_columns(table, x=x, y=y, names=names)
    senses = _sense(better_x, x, "better_x"), _sense(better_y, y, "better_y")
    table = drop_failed_rows(table)
    given = (names,) if isinstance(names, str) else names
    chosen = find_varying(table, (x, y)) if given is None else tuple(given)
    groups: dict[Key, list[tuple[float, float]]] = {}
    for key, *point in zip(keys(table, chosen), numbers(table, x, "x"), numbers(table, y, "y"), strict=True):
        if all(map(math.isfinite, point)):
            groups.setdefault(key, []).append((float(point[0]), float(point[1])))
    if not groups:
        raise ValueError(f"table has no row with finite {x} and {y}: there is nothing to draw")
    middles = np.array([np.median(its, axis=0) for its in groups.values()])
    for i, column in enumerate((x, y)):
        if not is_linear(column):
            middles[:, i] = np.abs(middles[:, i])
    signs = np.array([_SENSES[senses[0]], -_SENSES[senses[1]]])
    best = {tuple(np.array(point) * signs) for point in pareto_front([tuple(p) for p in middles * signs])}

    axes = choose_axes(ax, 7.0, 4.8)
    style_axes(axes)
    axes.set(
        xscale="log" if _is_log(x, middles[:, 0]) else "linear",
        yscale="log" if _is_log(y, middles[:, 1]) else "linear",
    )
    axes.margins(0.1)
    _leave_room(axes, middles)
    said_x, said_y = (
        f"{title_of(column)} ({sense}{JOINED}is{JOINED}better)"
        for column, sense in zip((x, y), senses, strict=True)
    )
    label_axes(axes, said_x, said_y)
    axes.step(*zip(*sorted(best), strict=True), where="post", color=PALE, linewidth=5, zorder=0)
    called, named = names_of(chosen, groups), []
    for key, (px, py) in zip(groups, middles, strict=True):
        on = (px, py) in best
        colour = BLUE if on else GREY
        axes.plot([px], [py], "o", color=colour, markersize=6, markerfacecolor=colour if on else "white")
        named.append(End(float(px), float(py), called[key], colour))
    PointNames(axes, named)
    return axes
