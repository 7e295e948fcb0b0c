"""Figures of errors as lines over a parameter, from a sweep's table."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from precision import accumulators
from precision._support.machine._float_environment import in_default_environment
from precision.plots._columns import check_columns, drop_failed_rows, keys, numbers, short_texts, show_value
from precision.plots._named_lines import LineOptions, draw_table
from precision.plots._style import label_axes, set_ticks, shared_ticks, title_of

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes


def _written(places: Sequence[float]) -> list[str]:
    return [show_value(int(place) if place == int(place) else place) for place in places]


def _finish(axes: Axes, x: str, places: Sequence[float], names: Sequence[str], *, log: bool) -> Axes:
    """Set the ticks and the label of the x axis, and return the Axes."""
    if log:
        axes.set_xscale("log", base=2)
    set_ticks(axes, places, names)
    label_axes(axes, x=title_of(x))
    return axes


@in_default_environment
def error_over_k(
    table: pd.DataFrame,
    *,
    y: str = "norm_relative_error",
    by: Sequence[str] | str | None = None,
    log: bool | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw an error over K on logarithmic axes, with a line for each combination of the other parameters.

    Parameters
    ----------
    table : pandas.DataFrame
        The table of a sweep, one row a cell: parameters, with the column ``k`` among them, then measures,
        then ``error``. Rows that hold an error are left out, and so are missing values (NaN).
    y : str
        The name of the column to draw.
    by : str or sequence of str, optional
        The columns that tell lines apart. By default every parameter (a column left of the first measure)
        that varies, ``seed`` aside. Rows that share a point are drawn as their median, with a band from the
        least to the largest, and the label of the y axis says so.
    log : bool, optional
        True for a logarithmic y axis of magnitudes. By default it is logarithmic except for ``sqnr_db``,
        ``cosine``, shares and bits.
    ax : matplotlib.axes.Axes, optional
        The Axes to draw on. By default a new figure is made, which pyplot does not know: Jupyter shows it
        as the value of a cell, and `save` writes it.

    Returns
    -------
    matplotlib.axes.Axes
        The Axes. The names of the lines stand at their right ends; a figure without a layout engine gets
        matplotlib's constrained one.

    Raises
    ------
    ImportError
        Without matplotlib; names the extra.
    TypeError
        If ``table`` is not a DataFrame, or ``ax`` is not an Axes.
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
    table = drop_failed_rows(table)
    xs = numbers(table, "k", "x")
    if np.isnan(xs).any() or (xs <= 0).any():
        raise ValueError(f"k must be a positive number in every row, got {table['k'].tolist()[:4]}")
    axes, places = draw_table(table, "k", xs, LineOptions(y, by, log, ax))
    return _finish(axes, "k", places, _written(places), log=True)


def _own_width(text: object) -> float:
    """Return the fraction bits of an accumulator's alignment, or NaN if it aligns nothing."""
    try:
        unit = accumulators.parse(str(text))
    except ValueError:
        return math.nan
    bits = unit.step.fraction_bits if unit.step else None
    return math.nan if bits is None else float(bits)


@in_default_environment
def error_over_width(
    table: pd.DataFrame,
    *,
    y: str = "norm_relative_error",
    by: Sequence[str] | str | None = None,
    log: bool | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw an error over the width of the accumulator, the fraction bits of its alignment.

    The x axis is linear; lines are drawn as `error_over_k` draws them. A row without a ``width`` is drawn at
    that of its ``accumulator``. Accumulators that have none (FP32_FMA, EXACT) are dotted level lines.

    Parameters
    ----------
    table, y, by, log, ax
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
    table = drop_failed_rows(table)
    xs = numbers(table, "width", "x")
    if "accumulator" in table.columns:
        own = [_own_width(text) for text in table["accumulator"]]
        xs = np.where(np.isnan(xs), own, xs)
    axes, places = draw_table(table, "width", xs, LineOptions(y, by, log, ax))
    return _finish(axes, "width", places, _written(places), log=False)


@in_default_environment
def error_over_promotion(
    table: pd.DataFrame,
    *,
    y: str = "norm_relative_error",
    by: Sequence[str] | str | None = None,
    log: bool | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw an error over the promotion interval: the products after which a register is added to the total.

    The x axis is logarithmic; lines are drawn as `error_over_k` draws them. ``promoted`` = 0, or missing,
    means that the register is never promoted: it is drawn at twice the largest interval.

    Parameters
    ----------
    table, y, by, log, ax
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
    table = drop_failed_rows(table)
    xs = numbers(table, "promoted", "x")
    if (xs < 0).any():
        raise ValueError(f"promoted must be at least 0, got {float(np.nanmin(xs)):g}")
    never = np.isnan(xs) | (xs == 0)
    known = [place for place, name in shared_ticks(ax).items() if name == "never"]
    beyond = max([2.0 * float(xs[~never].max(initial=1.0)), *known])
    axes, places = draw_table(table, "promoted", np.where(never, beyond, xs), LineOptions(y, by, log, ax))
    names = ["never" if never.any() and place == beyond else show_value(int(place)) for place in places]
    return _finish(axes, "promoted", places, names, log=True)


@in_default_environment
def error_over(
    table: pd.DataFrame,
    x: str,
    *,
    y: str = "norm_relative_error",
    by: Sequence[str] | str | None = None,
    log: bool | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw an error over any parameter, with lines as `error_over_k` draws them.

    Numbers lie on a linear axis, or on a logarithmic one of base 2 if all are positive and the largest is at
    least 16 times the least. Texts (granularities, rules, specs) lie side by side in the table's order,
    without the parts that all of them share. Rows without an ``x`` are dotted level lines.

    Parameters
    ----------
    table
        The table of a sweep, as in `error_over_k`.
    x : str
        The name of a column of numbers or texts.
    y, by, log, ax
        As in `error_over_k`.

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
    >>> table = pd.DataFrame({"group": ["PerTensor()", "PerGroup(16)"], "sqnr_db": [25.0, 31.0]})
    >>> axes = plots.error_over(table, "group", y="sqnr_db")
    >>> axes.lines[0].get_xydata().tolist(), [label.get_text() for label in axes.get_xticklabels()]
    ([[0.0, 25.0], [1.0, 31.0]], ['PerTensor()', 'PerGroup(16)'])
    """
    check_columns(table, x=x, y=y, by=by)
    table = drop_failed_rows(table)
    values = [value for (value,) in keys(table, [x])]
    if not any(isinstance(value, str) for value in values):
        xs = numbers(table, x, "x")
        axes, places = draw_table(table, x, xs, LineOptions(y, by, log, ax))
        wide = bool(places) and 0 < 16 * places[0] <= places[-1]
        return _finish(axes, x, places, _written(places), log=wide)
    texts = dict.fromkeys(str(value) for value in values if value is not None)
    short = short_texts(texts)
    known = {name: place for place, name in shared_ticks(ax).items()}
    for name in short.values():
        known.setdefault(name, float(len(known)))
    xs = np.array([math.nan if value is None else known[short[str(value)]] for value in values])
    axes, places = draw_table(table, x, xs, LineOptions(y, by, log, ax))
    called = {place: name for name, place in known.items()}
    return _finish(axes, x, places, [called[place] for place in places], log=False)
