"""Columns of tables that hold a measure, declared once for tables, sweeps, plots and reports."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt

from precision._support.machine._float_environment import in_default_environment
from precision.metrics._pairs import Pair, check_pair


class Better(enum.Enum):
    """The direction in which a measure improves."""

    MORE = "more"
    LESS = "less"
    NEAR_ZERO = "nearer to zero"

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True, kw_only=True)
class Column:
    """A measure as tables and figures show it: its name, title, unit and direction.

    Parameters
    ----------
    name : str
        The name of its column, and its key in a report.
    title : str
        The title of an axis that shows it, without the unit.
    unit : str
        The unit, as "dB"; empty for a plain number.
    better : Better
        The direction in which it improves.
    linear : bool
        True if an axis that shows it is linear; else the axis is logarithmic, and shows magnitudes.
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
        """The title, followed by the unit if there is one."""
        return f"{self.title}, {self.unit}" if self.unit else self.title


#: Every declared column by its name, in the order of declaration.
COLUMNS: dict[str, Column] = {}
#: The measures of a pair of arrays, by the name of their columns, in the order of a report.
PAIR_MEASURES: dict[str, Callable[[Pair], float]] = {}


def declare(name: str, title: str, **fields: Any) -> Column:
    """Declare a column under its name, and return it.

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
    """Turn a function of a checked pair into a public measure of two arrays, and declare its column."""

    def register(function: Callable[[Pair], float]) -> Callable[[npt.ArrayLike, npt.ArrayLike], float]:
        def measure(result: npt.ArrayLike, reference: npt.ArrayLike) -> float:
            return function(check_pair(result, reference))

        for attribute in ("__module__", "__name__", "__qualname__", "__doc__"):
            setattr(measure, attribute, getattr(function, attribute))
        public: Callable[[npt.ArrayLike, npt.ArrayLike], float] = in_default_environment(measure)
        PAIR_MEASURES[name] = function
        declare(name, title, measure=public, **fields)
        return public

    return register


def find_column(text: str) -> Column | None:
    """Return the column that a heading names, with or without a prefix as in total_sqnr_db; None if none."""
    for name in sorted(COLUMNS, key=len, reverse=True):
        if text == name or text.endswith(f"_{name}"):
            return COLUMNS[name]
    return None


# These are columns of numbers that `precision.cost` computes: it lies below this room and cannot declare
# them.
declare("bits_per_element", "bits for each element, scales counted", linear=True)
declare("bytes_per_element", "bytes for each element", linear=True)
declare("tokens_per_second", "tokens per second", better=Better.MORE, linear=True)
