"""The options of a study's own subcommand, declared without the package that parses them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Option:
    """An option of a study's subcommand; if the cell has a parameter of its name, it sets that parameter.

    Parameters
    ----------
    name : str
        The name; ``a_format`` is written ``--a-format`` on the command line.
    kind : type or callable
        ``int`` for a whole number of at least ``least``, ``float`` for a number above ``least``,
        ``pathlib.Path`` for a file that exists, ``bool`` for a flag, False if it is not given. Any other
        callable turns the option's text into its value, and raises ValueError for text that it cannot read.
    help : str
        The line of ``--help`` about the option.
    default : optional
        The value, or its text, if the option is not given; by default None.
    least : int, optional
        The lower bound of a number; by default there is none.
    repeatable : bool
        True if the option may be given several times; its value is then a tuple.
    metavar : str, optional
        The word by which ``--help`` calls the value.
    positional : bool
        True for an argument, which has no name on the command line, and must be given.
    """

    name: str
    kind: Any = str
    _: KW_ONLY
    help: str = ""
    default: Any = None
    least: int | None = None
    repeatable: bool = False
    metavar: str | None = None
    positional: bool = False


class Asked(NamedTuple):
    """The grid that the options of a subcommand give, and notes on it that the user should read."""

    grid: Mapping[str, Any]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Command:
    """The declaration of a study's own subcommand: its options, and the grid that they give.

    Parameters
    ----------
    help : str
        The text of ``--help``; its first sentence is the summary.
    options : tuple of Option
        The options, in the order of ``--help``.
    ask : callable
        A function from the options' values by name to the grid, whose last axis runs fastest. An option
        that has the name of a parameter of the cell, and is not an axis of this grid, becomes an axis of one
        value.
    columns : tuple of str
        The columns that ``--json`` and ``--csv`` hold, in this order.
    complete : callable, optional
        A function that adds to the table what follows from several cells, such as totals.
    """

    help: str
    options: tuple[Option, ...]
    ask: Callable[[Mapping[str, Any]], Asked]
    columns: tuple[str, ...]
    complete: Callable[[pd.DataFrame], pd.DataFrame] | None = None
