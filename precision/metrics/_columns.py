"""The record of a metric, declared once for tables, sweeps, plots and reports."""

from __future__ import annotations

import enum
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy.typing as npt

from precision._support.machine._float_environment import (
    in_default_environment,
    methods_in_default_environment,
)
from precision.metrics._pairs import Pair, check_pair


class Better(enum.Enum):
    """The direction in which a measure improves."""

    MORE = "more"
    LESS = "less"
    NEAR_ZERO = "nearer to zero"

    def __str__(self) -> str:
        return self.value


def number_text(value: float, style: str) -> str:
    """Return a number with no more of an exponent than it needs (1.39e-4), and NaN as a dash."""
    if math.isnan(value):
        return "-"
    if value == 0 and style[-1] in "eg":
        return "0"
    mantissa, e, exponent = f"{value:{style}}".partition("e")
    return f"{mantissa}{e}{int(exponent)}" if e else mantissa


@methods_in_default_environment
@dataclass(frozen=True, kw_only=True)
class Metric:
    """A metric as tables, sweeps, figures and reports need it: its name, title, unit and direction.

    Parameters
    ----------
    name : str
        The name of its column in a table, and its key in a report.
    title : str
        The title of an axis that shows it, without the unit.
    unit : str
        The unit, as "dB"; empty for a plain number.
    heading : str
        The heading of a printed column of it; it may have several lines.
    show : str or callable
        The text of a value in a printed column, or the style of `format` that gives it.
    better : Better
        The direction in which it improves.
    linear : bool
        True if an axis that shows it is linear; else the axis is logarithmic, and shows magnitudes.
    measure : callable, optional
        The function of ``(result, reference)`` that computes it; None for one that is no error of one array
        against another.

    Examples
    --------
    >>> from precision import metrics
    >>> metric = metrics.METRICS["sqnr_db"]
    >>> print(metric.label, metric.better, metric.text(31.25), sep="; ")
    SQNR, dB; more; 31.2
    >>> round(metric.measure([1.0, 2.0, 2.3], [1.0, 2.0, 2.0]), 6)
    20.0
    """

    name: str
    title: str
    unit: str = ""
    heading: str
    show: str | Callable[[float], str] = ".2e"
    better: Better = Better.LESS
    linear: bool = False
    measure: Callable[[npt.ArrayLike, npt.ArrayLike], float] | None = None

    @property
    def label(self) -> str:
        """The title, followed by the unit if there is one."""
        return f"{self.title}, {self.unit}" if self.unit else self.title

    @property
    def more_is_better(self) -> bool:
        """True if larger values mean a better result."""
        return self.better is Better.MORE

    def text(self, value: float) -> str:
        """Return the text of a value in a printed column."""
        return number_text(value, self.show) if isinstance(self.show, str) else self.show(value)


_DECLARED: dict[str, Metric] = {}
#: Every metric by its name, in the order of declaration.
METRICS: Mapping[str, Metric] = MappingProxyType(_DECLARED)
#: The metrics of a pair of arrays by their names, in the order of a report.
PAIR_MEASURES: dict[str, Callable[[Pair], float]] = {}


def declare(name: str, title: str, **fields: Any) -> Metric:
    """Declare a metric under its name, and return it.

    Raises
    ------
    ValueError
        If the name is taken.
    """
    if name in METRICS:
        raise ValueError(f"name must be new, got {name!r}, which is taken")
    _DECLARED[name] = Metric(name=name, title=title, **fields)
    return METRICS[name]


def metric(
    name: str, title: str, **fields: Any
) -> Callable[[Callable[[Pair], float]], Callable[[npt.ArrayLike, npt.ArrayLike], float]]:
    """Turn a function of a checked pair into a public measure of two arrays, and declare its metric."""

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


def find_metric(column: str) -> Metric | None:
    """Return the metric that a column's name ends in, as that of total_sqnr_db; None if it is no metric's."""
    for name in sorted(METRICS, key=len, reverse=True):
        if column == name or column.endswith(f"_{name}"):
            return METRICS[name]
    return None


# These are metrics of numbers that `precision.cost` computes, a room below this one that cannot declare them.
declare(
    "bits_per_element",
    "bits for each element, scales counted",
    heading="bits /\nelement",
    show=".3f",
    linear=True,
)
declare("bytes_per_element", "bytes for each element", heading="bytes /\nelement", show=".3f", linear=True)
declare(
    "tokens_per_second",
    "tokens per second",
    heading="tokens\n/ s",
    show=".1f",
    better=Better.MORE,
    linear=True,
)
