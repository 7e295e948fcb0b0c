"""The record of a study: a question, a pure cell, and the grid that answers the question."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from precision._support._types import Plain
from precision.studies._command_options import Command
from precision.studies._sections import Section

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


@dataclass(frozen=True, kw_only=True)
class Study:
    """A question about numbers, with the grid of cells that answers it.

    Parameters
    ----------
    name : str
        As `study` finds it.
    question : str
        One line.
    cell : callable
        A module-level function of keyword-only parameters, all with defaults, to a flat mapping of numbers.
        It is pure: the same parameters give the same bits in any process and order.
    grid : mapping
        The values that the study varies, by parameter; the others keep the cell's defaults. What is slow to
        prepare varies slowest, so that neighbouring cells share it.
    reads : mapping
        For every parameter how text becomes its value. A reader also takes a value, and raises TypeError or
        ValueError, which name the parameter, for what is none.
    figure : callable
        Draws the study's table, one row a cell (extra ``plots``).
    sections : callable, optional
        Splits the study's table into the sections that a terminal shows. By default every cell is a line
        of one section.
    answer : callable, optional
        Says in one to three sentences what the numbers of the study's table answer.
    command : Command, optional
        The options of the study's own subcommand, and what they ask for.

    Examples
    --------
    >>> from precision.studies import study
    >>> promotion = study("promotion")
    >>> promotion.question
    'How often must a unit be promoted to float32?'
    >>> str(promotion.reads["accumulator"]("hopper_fp8.with_width(10)"))
    'HOPPER_FP8.with_width(10)'
    >>> found = promotion.cell(promoted=128, k=1024)
    >>> found["norm_relative_error"] < 2e-4, found["total_sqnr_db"] > 28
    (True, True)
    """

    name: str
    question: str
    cell: Callable[..., Mapping[str, Plain]]
    grid: Mapping[str, tuple[Any, ...]]
    reads: Mapping[str, Callable[[Any], Any]]
    figure: Callable[[pd.DataFrame], Figure]
    sections: Callable[[pd.DataFrame], list[Section]] | None = None
    answer: Callable[[pd.DataFrame], str] | None = None
    command: Command | None = None
