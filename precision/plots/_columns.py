"""Reading of a sweep's table for figures: its columns, its rows without errors, and names of lines."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from precision._support._suggestions import find_close_names
from precision._support._types import Array
from precision.plots._style import metric_of

if TYPE_CHECKING:
    import pandas as pd


Key: TypeAlias = tuple[Hashable, ...]
_COUNTS = ("elements", "measured", "non_finite")
_REPEATS = "seed"


def check_columns(table: pd.DataFrame, **columns: str | Sequence[str] | None) -> None:
    """Raise unless ``table`` is a DataFrame with the given columns; keywords name them in errors."""
    if not hasattr(table, "columns") or not hasattr(table, "to_dict"):
        raise TypeError(f"table must be a pandas DataFrame, got {type(table).__name__}")
    known = [str(name) for name in table.columns]
    for argument, names in columns.items():
        for name in [names] if isinstance(names, str) else names or ():
            if name not in known:
                near = find_close_names(name, known, n=4, cutoff=0.5)
                near += [other for other in known if name in other and other not in near]
                hint = f"near names: {', '.join(near)}" if near else f"columns: {', '.join(known)}"
                raise ValueError(f"{argument} {name!r} is no column of the table; {hint}")


def drop_failed_rows(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows without an error; raise ValueError if there is none."""
    if len(table) == 0:
        raise ValueError("table is empty: there is nothing to draw")
    if "error" not in table.columns:
        return table
    # Only a string is an error's message: a metric may have the name "error", too.
    messages = [text if isinstance(text, str) else "" for text in table["error"]]
    if all(messages):
        raise ValueError(
            f"table has no row without an error: there is nothing to draw (first: {messages[0]})"
        )
    return table[[not text for text in messages]]


def numbers(table: pd.DataFrame, column: str, argument: str) -> Array:
    """Return a column as float64, with NaN for missing values."""
    try:
        return np.array([math.nan if value is None else value for value in table[column]], np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"{argument} {column!r} must hold numbers, got {table[column].iloc[0]!r}") from None


def _is_measure(column: str) -> bool:
    return column in _COUNTS or metric_of(column) is not None


def find_varying(table: pd.DataFrame, besides: Iterable[str]) -> tuple[str, ...]:
    """Return the names of the parameters (columns left of the first measure) that differ between rows."""
    besides = {*besides, _REPEATS, "error"}
    found = []
    for column in map(str, table.columns):
        if _is_measure(column):
            break
        if column not in besides and len(set(keys(table, [column]))) > 1:
            found.append(column)
    return tuple(found)


def keys(table: pd.DataFrame, columns: Sequence[str]) -> list[Key]:
    """Return for each row the tuple of its values in some columns; None stands for a missing value."""
    if not columns:
        return [()] * len(table)
    parts = ([_plain(value) for value in table[column]] for column in columns)
    return list(zip(*parts, strict=True))


def _plain(value: Any) -> Hashable:
    if value is None or (isinstance(value, float | np.floating) and math.isnan(value)):
        return None
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and value.is_integer():  # an int column with a gap is one of floats
        return int(value)
    return value if isinstance(value, str | int | float | bool) else str(value)


# ---- names ------------------------------------------------------------------------------------------
def short_texts(texts: Iterable[str], *, unit_said: bool = False) -> dict[str, str]:
    """Shorten the texts of specs and accumulators by the parts that a figure need not repeat.

    ``QuantSpec(e4m3, PerGroup(128))`` becomes ``e4m3, PerGroup(128)``. ``HOPPER_FP8.promoted(64)`` becomes
    ``promoted(64)`` if HOPPER_FP8 is among the texts (or ``unit_said``: the figure names it elsewhere) and
    no form of another unit is, FP32_FMA aside.
    """
    texts = list(texts)
    units = {text.partition(".")[0] for text in texts if _is_form(text)} - {"FP32_FMA"}
    alone = units.pop() if len(units) == 1 and (unit_said or units <= set(texts)) else None
    short = {}
    for text in texts:
        unit, _, form = text.partition(".")
        if text.startswith("QuantSpec(") and text.endswith(")"):
            short[text] = text.removeprefix("QuantSpec(").removesuffix(")")
        else:
            short[text] = form if unit == alone and _is_form(text) else text
    return short


def _is_form(text: str) -> bool:
    unit, dot, form = text.partition(".")
    return bool(dot) and unit.isidentifier() and form.endswith(")")


def wrapped(text: str, width: int = 34) -> str:
    """Break a long name into lines after its commas."""
    lines = [""]
    for part in text.split(", "):
        joined = f"{lines[-1]}, {part}" if lines[-1] else part
        if lines[-1] and len(joined) > width:
            lines[-1] += ","
            lines.append(part)
        else:
            lines[-1] = joined
    return "\n".join(lines)


def show_value(value: Hashable) -> str:
    """Return the text of a value for a figure, an int with commas between thousands."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:g}"


def names_of(
    columns: Sequence[str], values: Iterable[tuple[Hashable, ...]]
) -> dict[tuple[Hashable, ...], str]:
    """Return a name for each combination of values, in which ``column = `` precedes each number."""
    values = list(dict.fromkeys(values))
    short = [short_texts(str(v[i]) for v in values if isinstance(v[i], str)) for i in range(len(columns))]
    names = {}
    for key in values:
        parts = [
            short[i][value] if isinstance(value, str) else f"{column.replace('_', ' ')} = {show_value(value)}"
            for i, (column, value) in enumerate(zip(columns, key, strict=True))
        ]
        names[key] = wrapped(", ".join(parts))
    return names


def pareto_front(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the Pareto front of points, x rising: no point of x as small has a larger y."""
    found: list[tuple[float, float]] = []
    for x, y in sorted(points, key=lambda point: (point[0], -point[1])):
        if not found or y > found[-1][1]:
            found.append((x, y))
    return found
