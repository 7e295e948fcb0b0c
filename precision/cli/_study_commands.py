"""Subcommands of the studies that have one, built from the options that each study declares."""

from __future__ import annotations

import inspect
import sys
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from precision.cli import _printed_tables
from precision.cli._shared_options import FILE, Outputs, Parsed, errors_as_messages, output_options
from precision.cli._standard_streams import say
from precision.studies._command_options import Command, Option
from precision.studies._experiment import Study
from precision.studies._registry import study
from precision.sweep._grid_runs import sweep

if TYPE_CHECKING:
    import pandas as pd

_THREADS = Option("threads", int, least=1, help="By default the CPUs of this process.")


def study_command(name: str, of: str) -> click.Command:
    """Build the subcommand ``name``, which runs the study ``of`` on the grid that its options give."""
    chosen = study(of)
    if chosen.command is None:
        raise TypeError(f"study {of!r} declares no command")
    run = _runner(chosen, chosen.command)
    run.__doc__ = chosen.command.help
    command: Callable[..., Any] = output_options(f"precision-{name}.png")(run)
    for option in reversed((*chosen.command.options, _THREADS)):
        command = _parameter(option)(command)
    return click.command(name)(command)


def _parameter(option: Option) -> Callable[[Any], Any]:
    """Return click's decorator for a declared option."""
    if option.positional:
        return click.argument(option.name, metavar=option.metavar)
    name = f"--{option.name.replace('_', '-')}"
    if option.kind is bool:
        return click.option(name, option.name, is_flag=True, help=option.help)
    more: dict[str, Any] = {}
    if option.kind is int:
        more["type"] = int if option.least is None else click.IntRange(option.least)
    elif option.kind is float:
        more["type"] = float if option.least is None else click.FloatRange(option.least, min_open=True)
    elif option.kind is Path:
        more["type"] = FILE
    elif option.kind is not str:
        more["type"] = Parsed(option.kind)
    return click.option(
        name,
        option.name,
        help=option.help,
        default=None if option.repeatable else option.default,
        show_default=option.default is not None,
        multiple=option.repeatable,
        metavar=option.metavar,
        **more,
    )


def _runner(chosen: Study, command: Command) -> Callable[..., None]:
    def run(**options: Any) -> None:
        with errors_as_messages():
            outputs = Outputs.of(options)
            table = compute_table(chosen, command, options)
            rows = table[list(command.columns)].to_dict("records")
            outputs.write(
                rows, lambda: chosen.figure(table), lambda: _printed_tables.print_study(chosen, table)
            )

    return run


def compute_table(chosen: Study, command: Command, options: Mapping[str, Any]) -> pd.DataFrame:
    """Compute the table of a study on the grid that the options give.

    Raises
    ------
    Exception
        The first error of a cell.
    KeyboardInterrupt
        If Ctrl-C ended the sweep.
    """
    grid, notes = command.ask(options)
    for note in notes:
        say(note, err=True)
    parameters = inspect.signature(chosen.cell).parameters
    given = {name: [value] for name, value in options.items() if name in parameters and value is not None}
    axes = dict(grid) | {name: value for name, value in given.items() if name not in grid}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="interrupted: ")
        table = sweep(
            chosen,
            [axes],
            kernel_threads=options["threads"],
            max_cells=sys.maxsize,
            stop_at_error=True,
        )
    if not table.attrs["provenance"]["complete"]:
        raise KeyboardInterrupt
    return table if command.complete is None else command.complete(table)
