"""Sections of a printed table, and the texts of the numbers in them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

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


def brief(value: float, style: str = ".2e") -> str:
    """Return a number with no more of an exponent than it needs: 1.39e-4."""
    if value == 0:
        return "0"
    mantissa, e, exponent = f"{value:{style}}".partition("e")
    return f"{mantissa}{e}{int(exponent)}" if e else mantissa


def or_dash(show: Callable[[float], str]) -> Callable[[float], str]:
    """Return ``show`` with a dash for NaN."""
    return lambda value: "-" if math.isnan(value) else show(value)
