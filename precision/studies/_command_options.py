"""The options of a study's own subcommand, declared without the package that parses them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Option:
    """An option of a subcommand. One that is named as a parameter of the cell gives that parameter's value.

    Parameters
    ----------
    name : str
        ``a_format`` is written ``--a-format``.
    kind : type or callable
        ``int``: a whole number of at least ``least``. ``float``: a number above ``least``.
        ``pathlib.Path``: a file that exists. ``bool``: a flag, False where it is not given. Anything else
        turns the option's text into its value, and raises ValueError.
    help : str
        A line of ``--help``.
    default : optional
        The value, or the text of it, where the option is not given; by default None.
    least : int, optional
        The bound of a number; by default any is taken.
    repeatable : bool
        The option may be given several times: its value is a tuple.
    metavar : str, optional
        What ``--help`` calls the value.
    positional : bool
        It has no name on the command line, and must be given.
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
    """What the options of a subcommand ask for: the axes of a grid, and what a user should know of them."""

    grid: Mapping[str, Any]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Command:
    """The options of a study's own subcommand, and what they ask for.

    Parameters
    ----------
    help : str
        What the subcommand does; its first sentence is the summary.
    options : tuple of Option
        In the order of ``--help``.
    ask : callable
        Turns the options' values by name into the axes that they ask for, the last running fastest. An option
        that is named as a parameter of the cell, and that this leaves out, is an axis of its one value.
    columns : tuple of str
        Columns that ``--json`` and ``--csv`` hold, in this order.
    complete : callable, optional
        Adds to the table what its cells give together, such as totals.
    """

    help: str
    options: tuple[Option, ...]
    ask: Callable[[Mapping[str, Any]], Asked]
    columns: tuple[str, ...]
    complete: Callable[[pd.DataFrame], pd.DataFrame] | None = None
