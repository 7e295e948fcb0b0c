"""Sections of a printed table, and the texts of the numbers in them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from precision.metrics._columns import Metric

if TYPE_CHECKING:
    import pandas as pd


class Section(NamedTuple):
    """Lines of a printed table, and the text above them; a heading may have several lines."""

    text: str
    names: Mapping[str, Sequence[str]]  #: heading to the text of each line; never broken, never left out
    values: Mapping[str, Sequence[str]]  #: the same; where the terminal is narrow the last ones are left out


class Column(NamedTuple):
    """A column of numbers: its heading, its name in the table, and the text of a number in it."""

    heading: str
    name: str
    show: Callable[[float], str]


def values_of(rows: pd.DataFrame, columns: Sequence[Column]) -> dict[str, list[str]]:
    """Return the texts of some columns by their headings."""
    return {heading: [show(float(value)) for value in rows[name]] for heading, name, show in columns}


def column_of(metric: Metric, prefix: str = "") -> Column:
    """Return the column of a metric, whose name in the table may have a prefix."""
    return Column(metric.heading, f"{prefix}{metric.name}", metric.text)
