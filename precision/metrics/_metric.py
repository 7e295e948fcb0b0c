"""The record of a metric: its name, how tables and figures call and show it, which way is better."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from precision._support.machine._float_environment import methods_in_default_environment


def number_text(value: float, style: str) -> str:
    """Return a number with no more of an exponent than it needs (1.39e-4), and NaN as a dash."""
    if math.isnan(value):
        return "-"
    if value == 0 and style[-1] in "eg":
        return "0"
    mantissa, e, exponent = f"{value:{style}}".partition("e")
    return f"{mantissa}{e}{int(exponent)}" if e else mantissa


@methods_in_default_environment
@dataclass(frozen=True)
class Metric:
    """A metric: everything that tables, sweeps, figures and reports need to know of it.

    Parameters
    ----------
    name : str
        The column of a table.
    title : str
        What an axis is called, with the unit.
    heading : str
        What a printed column is called; may have several lines.
    show : str or callable
        The text of a value in a printed column, or the style of `format` that gives it.
    more_is_better : bool
        The metric grows as the result gets better.
    linear : bool
        A figure shows it as it is; others are errors, whose magnitudes span decades.

    Examples
    --------
    >>> from precision.metrics import METRICS
    >>> METRICS["sqnr_db"].title, METRICS["sqnr_db"].more_is_better, METRICS["sqnr_db"].text(31.25)
    ('SQNR, dB', True, '31.2')
    """

    name: str
    title: str
    heading: str
    show: str | Callable[[float], str] = ".2e"
    more_is_better: bool = False
    linear: bool = False

    def text(self, value: float) -> str:
        """Return the text of a value in a printed column."""
        return number_text(value, self.show) if isinstance(self.show, str) else self.show(value)
