"""Errors as lines over a parameter, from a sweep's table. `plots` gives these figures out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from precision import accumulators
from precision._support.machine._float_environment import in_default_environment
from precision.plots._columns import check_columns, keys, numbers, said, short_texts, usable
from precision.plots._named_lines import Choice, draw_table
from precision.plots._style import call_axes, shared_ticks, ticks_at, title_of

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes


def _written(places: Sequence[float]) -> list[str]:
    return [said(int(place) if place == int(place) else place) for place in places]


def _finish(axes: Axes, x: str, places: Sequence[float], names: Sequence[str], *, log: bool) -> Axes:
    """The x axis: a tick at each place, and what it is called."""
    if log:
        axes.set_xscale("log", base=2)
    ticks_at(axes, places, names)
    call_axes(axes, x=title_of(x))
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
    """An error over K, both logarithmic; a line for each combination of the other parameters that vary.

    Parameters
    ----------
    table : pandas.DataFrame
        Of a sweep: a row a cell; parameters, the column ``k`` among them, then measures, then ``error``.
        Rows that hold an error are left out, and so is what is missing (NaN).
    y : str
        The column drawn.
    by : str or sequence of str, optional
        The columns that tell lines apart. By default every parameter that varies but ``seed``: the
        columns left of the first measure. Rows that share a point are drawn as their median, with a band
        from the least to the largest, and the y axis says so.
    log : bool, optional
        Whether the y axis is logarithmic, and of magnitudes. By default it is, but for ``sqnr_db``,
        ``cosine``, shares and bits.
    ax : matplotlib.axes.Axes, optional
        Where to draw. By default a figure of its own, that pyplot does not know: Jupyter shows it as
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
    axes, places = draw_table(table, "k", xs, Choice(y, by, log, ax))
    return _finish(axes, "k", places, _written(places), log=True)


def _own_width(text: object) -> float:
    """Fraction bits of an accumulator's alignment; NaN where it has none."""
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
    """An error over the accumulator's width, linear; see `error_over_k` for all else.

    A row without a ``width`` stands at its ``accumulator``'s own. Accumulators that have none (FP32_FMA,
    EXACT) are dotted level lines.

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
    table = usable(table)
    xs = numbers(table, "width", "x")
    if "accumulator" in table.columns:
        own = [_own_width(text) for text in table["accumulator"]]
        xs = np.where(np.isnan(xs), own, xs)
    axes, places = draw_table(table, "width", xs, Choice(y, by, log, ax))
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
    """An error over the promotion interval, logarithmic; see `error_over_k` for all else.

    ``promoted`` = 0, or missing, means never: it stands one octave right of the largest interval.

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
    table = usable(table)
    xs = numbers(table, "promoted", "x")
    if (xs < 0).any():
        raise ValueError(f"promoted must be at least 0, got {float(np.nanmin(xs)):g}")
    never = np.isnan(xs) | (xs == 0)
    known = [place for place, name in shared_ticks(ax).items() if name == "never"]
    beyond = max([2.0 * float(xs[~never].max(initial=1.0)), *known])
    axes, places = draw_table(table, "promoted", np.where(never, beyond, xs), Choice(y, by, log, ax))
    names = ["never" if never.any() and place == beyond else said(int(place)) for place in places]
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
    """An error over any parameter; see `error_over_k` for all but the x axis.

    Numbers lie on a linear axis, or on one of base 2 where all are positive and the largest is at least 16
    times the least. Texts (granularities, rules, specs) stand side by side in the table's order, as they are
    once what goes without saying is left out. Rows without an ``x`` are dotted level lines.

    Parameters
    ----------
    table, y, by, log, ax
        As in `error_over_k`.
    x : str
        A column of numbers or texts.

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
    table = usable(table)
    values = [value for (value,) in keys(table, [x])]
    if not any(isinstance(value, str) for value in values):
        xs = numbers(table, x, "x")
        axes, places = draw_table(table, x, xs, Choice(y, by, log, ax))
        wide = bool(places) and 0 < 16 * places[0] <= places[-1]
        return _finish(axes, x, places, _written(places), log=wide)
    texts = dict.fromkeys(str(value) for value in values if value is not None)
    short = short_texts(texts)
    known = {name: place for place, name in shared_ticks(ax).items()}
    for name in short.values():
        known.setdefault(name, float(len(known)))
    xs = np.array([math.nan if value is None else known[short[str(value)]] for value in values])
    axes, places = draw_table(table, x, xs, Choice(y, by, log, ax))
    called = {place: name for name, place in known.items()}
    return _finish(axes, x, places, [called[place] for place in places], log=False)
