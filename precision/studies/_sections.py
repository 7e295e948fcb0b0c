"""Sections, into which a study's table is split to be printed, and the texts of the numbers in them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from precision.metrics._columns import Metric

if TYPE_CHECKING:
    import pandas as pd


class Section(NamedTuple):
    """A part of a printed table: a text above it, and its columns, whose headings may have several lines."""

    text: str
    names: Mapping[str, Sequence[str]]  #: each heading with the texts below it; these columns always show
    values: Mapping[str, Sequence[str]]  #: further columns, of which narrow terminals leave the last ones out


class Column(NamedTuple):
    """A printed column of numbers: its heading, its name in the table, and how a number is written."""

    heading: str
    name: str
    show: Callable[[float], str]


def values_of(rows: pd.DataFrame, columns: Sequence[Column]) -> dict[str, list[str]]:
    """Return for each column its heading and the texts of its numbers in some rows."""
    return {heading: [show(float(value)) for value in rows[name]] for heading, name, show in columns}


def column_of(metric: Metric, prefix: str = "") -> Column:
    """Return the printed column of a metric, whose name in the table may have a prefix."""
    return Column(metric.heading, f"{prefix}{metric.name}", metric.text)
