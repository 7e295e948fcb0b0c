"""The class `Study`: a question, a function that computes one cell, and the grid that gives the answer."""

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
    """A question about numbers, with a function for one cell and the grid of cells that answers it.

    Parameters
    ----------
    name : str
        The name by which `study` finds it.
    question : str
        The question, in one line.
    cell : callable
        A module-level function of keyword-only parameters, all with defaults, that returns a flat mapping of
        numbers. It is pure: the same parameters give the same bits in any process and order.
    grid : mapping
        The values of the parameters that the study varies; the others keep the cell's defaults. Parameters
        that are slow to prepare come first and vary slowest, so that neighbouring cells share the work.
    reads : mapping
        For every parameter a reader, which turns text into the parameter's value. A reader also takes a
        value, and raises TypeError or ValueError, which name the parameter, for anything else.
    figure : callable
        A function that draws the study's table, which has one row for each cell (extra ``plots``).
    sections : callable, optional
        A function that splits the study's table into the sections that a terminal shows. By default every
        cell is a line of one section.
    answer : callable, optional
        A function that answers the question in one to three sentences from the study's table.
    command : Command, optional
        The declaration of the study's own subcommand.

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
