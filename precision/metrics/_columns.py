"""Columns that hold a measure: each is declared once, and tables, sweeps, plots and reports read it."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt

from precision._support.machine._float_environment import in_default_environment
from precision.metrics._pairs import Pair, pair_of


class Better(enum.Enum):
    """The direction in which a measure improves."""

    MORE = "more"
    LESS = "less"
    NEAR_ZERO = "nearer to zero"

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True, kw_only=True)
class Column:
    """A measure as tables and figures show it.

    Parameters
    ----------
    name : str
        The name of its column, and its key in a report.
    title : str
        What an axis of it is called, without its unit.
    unit : str
        Its unit, as "dB"; empty for a plain number.
    better : Better
        The direction in which it improves.
    linear : bool
        Whether an axis of it is linear; else it is logarithmic, and shows magnitudes.
    measure : callable, optional
        The function of ``(result, reference)`` that computes it; None for a column that is no error of one
        array against another.

    Examples
    --------
    >>> from precision import metrics
    >>> column = metrics.COLUMNS["sqnr_db"]
    >>> print(column.title, column.unit, column.better)
    SQNR dB more
    >>> round(column.measure([1.0, 2.0, 2.3], [1.0, 2.0, 2.0]), 6)
    20.0
    """

    name: str
    title: str
    unit: str = ""
    better: Better = Better.LESS
    linear: bool = False
    measure: Callable[[npt.ArrayLike, npt.ArrayLike], float] | None = None

    @property
    def label(self) -> str:
        """The title with the unit behind it."""
        return f"{self.title}, {self.unit}" if self.unit else self.title


#: Every declared column by its name, in the order of declaration.
COLUMNS: dict[str, Column] = {}
#: The measures of a pair of arrays, by the name of their columns, in the order of a report.
PAIR_MEASURES: dict[str, Callable[[Pair], float]] = {}


def declare(name: str, title: str, **fields: Any) -> Column:
    """Enter a column under its name, and return it.

    Raises
    ------
    ValueError
        If the name is taken.
    """
    if name in COLUMNS:
        raise ValueError(f"name must be new, got {name!r}, which is taken")
    COLUMNS[name] = Column(name=name, title=title, **fields)
    return COLUMNS[name]


def metric(
    name: str, title: str, **fields: Any
) -> Callable[[Callable[[Pair], float]], Callable[[npt.ArrayLike, npt.ArrayLike], float]]:
    """Make a public measure of a function of a checked pair, and declare its column."""

    def made(function: Callable[[Pair], float]) -> Callable[[npt.ArrayLike, npt.ArrayLike], float]:
        def measure(result: npt.ArrayLike, reference: npt.ArrayLike) -> float:
            return function(pair_of(result, reference))

        for attribute in ("__module__", "__name__", "__qualname__", "__doc__"):
            setattr(measure, attribute, getattr(function, attribute))
        public: Callable[[npt.ArrayLike, npt.ArrayLike], float] = in_default_environment(measure)
        PAIR_MEASURES[name] = function
        declare(name, title, measure=public, **fields)
        return public

    return made


def find_column(text: str) -> Column | None:
    """Return the column that a table's heading shows, also behind a prefix, as in total_sqnr_db."""
    for name in sorted(COLUMNS, key=len, reverse=True):
        if text == name or text.endswith(f"_{name}"):
            return COLUMNS[name]
    return None


# What a format costs: `cost` lies below this room, and studies put its numbers into tables.
declare("bits_per_element", "bits for each element, scales counted", linear=True)
declare("bytes_per_element", "bytes for each element", linear=True)
declare("tokens_per_second", "tokens per second", better=Better.MORE, linear=True)
