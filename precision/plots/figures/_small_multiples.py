"""The figure of small multiples, which has a panel for each value of a column."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from precision.metrics._distributions import DISTRIBUTIONS
from precision.plots._axes import new_figure
from precision.plots._columns import check_columns, drop_failed_rows, keys, show_value

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def _title(column: str, value: object) -> str:
    if isinstance(value, str):
        return DISTRIBUTIONS[value].description if value in DISTRIBUTIONS else value
    return f"{column.replace('_', ' ')} = {'none' if value is None else show_value(value)}"


def panels(
    table: pd.DataFrame,
    column: str,
    draw: Callable[..., Any],
    *,
    across: int | None = None,
    sharex: bool = True,
    sharey: bool = True,
    size: tuple[float, float] = (5.0, 3.6),
    **options: Any,
) -> Figure:
    """Draw a figure with a panel for each value of a column, in the order of the table.

    Parameters
    ----------
    table : pandas.DataFrame
        The table of a sweep.
    column : str
        The name of the column; each panel shows the rows of one of its values, which is the panel's title.
    draw : callable
        The function that draws a panel, called as ``draw(part, ax=axes, **options)``; `error_over_k` is
        one. A line has the same colour in every panel.
    across : int, optional
        The number of panels side by side; by default 3, or 2 if there are 4 panels.
    sharex, sharey : bool
        True if all panels have the same limits on x, or on y.
    size : (float, float)
        Width and height of a panel in inches.
    **options
        Further arguments of ``draw``.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ImportError, TypeError, ValueError
        As ``draw`` raises them; if the column does not exist, or the table has no row without an error.

    Examples
    --------
    >>> import pandas as pd
    >>> from precision import plots
    >>> table = pd.DataFrame({
    ...     "distribution": ["normal", "normal", "uniform", "uniform"],
    ...     "k": [128, 256, 128, 256],
    ...     "norm_relative_error": [1e-3, 2e-3, 1e-2, 4e-2],
    ... })
    >>> figure = plots.panels(table, "distribution", plots.error_over_k)
    >>> [axes.get_title() for axes in figure.axes]
    ['N(0,1)', 'U(0,1)']
    """
    check_columns(table, column=column)
    table = drop_failed_rows(table)
    values = keys(table, [column])
    shown = list(dict.fromkeys(values))
    if across is None:
        across = 2 if len(shown) == 4 else 3
    if across < 1:
        raise ValueError(f"across must be at least 1, got {across}")
    across = min(across, len(shown))
    down = math.ceil(len(shown) / across)
    figure = new_figure(size[0] * across + 0.8, size[1] * down + 0.4)
    drawn: list[Axes] = []
    for i, value in enumerate(shown):
        first = drawn[0] if drawn else None
        axes = figure.add_subplot(
            down, across, i + 1, sharex=first if sharex else None, sharey=first if sharey else None
        )
        drawn.append(axes)
        draw(table[[other == value for other in values]], ax=axes, **options)
        above = [_title(column, value[0]), axes.get_title()]
        axes.set_title("\n".join(filter(None, above)), fontsize=11 if not above[1] else 9)
    _keep_outer_labels(drawn, across, sharex, sharey)
    return figure


def _keep_outer_labels(drawn: list[Axes], across: int, sharex: bool, sharey: bool) -> None:
    """Remove labels of shared axes from the inner panels; outer y labels get the lines of all panels."""
    lines = dict.fromkeys(line for axes in drawn for line in axes.get_ylabel().split("\n"))
    for i, axes in enumerate(drawn):
        if sharex and i + across < len(drawn):
            axes.set_xlabel("")
            axes.tick_params(labelbottom=False)
        if sharey and i % across:
            axes.set_ylabel("")
            axes.tick_params(labelleft=False)
        elif sharey:
            axes.set_ylabel("\n".join(lines))
