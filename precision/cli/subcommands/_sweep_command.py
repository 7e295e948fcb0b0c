"""The subcommand ``precision sweep``, which runs a built-in study or a configuration file."""

from __future__ import annotations

import math
import textwrap
import warnings
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from precision._support.files._whole_files import check_regular
from precision.cli import _printed_tables
from precision.cli._file_trust import refuse_untrusted
from precision.cli._shared_options import (
    FILE_OUT,
    Outputs,
    Parsed,
    check_output_option,
    errors_as_messages,
    output_options,
)
from precision.cli._standard_streams import say
from precision.cli._sweep_options import axis_of, read_argument, run_sweep
from precision.studies._experiment import Study
from precision.studies._registry import STUDIES
from precision.studies._sections import Section
from precision.sweep._grid_runs import MAX_CELLS

if TYPE_CHECKING:
    import pandas as pd


def _list() -> None:
    for found in STUDIES.values():
        say(f"{found.name:16} {found.question}")
        for name, values in found.grid.items():
            say(f"{'':16}   {name}: {', '.join(map(str, values))}")


@click.command()
@click.argument("asked", metavar="[CONFIG.toml|STUDY]", required=False, callback=read_argument, is_eager=True)
@click.option("--list", "listing", is_flag=True, help="The built-in studies, their questions and grids.")
@click.option(
    "--set",
    type=Parsed(axis_of),
    multiple=True,
    metavar="NAME=VALUE,...",
    help="Values of a parameter, instead of the grid's. Repeatable.",
)
@click.option(
    "--function",
    "named_function",
    metavar="MODULE:FUNCTION",
    help="Run this, or file.py:function, instead of what the file names.",
)
@click.option(
    "--trust", is_flag=True, help="Run the function, or reach the Dask scheduler, that the file names."
)
@click.option("--store", type=FILE_OUT, help="SQLite file that keeps every cell; goes on where it stopped.")
@click.option("--extend", is_flag=True, help="The store may be one of another grid.")
@click.option("--retry-failed", is_flag=True, help="Compute cells again that raised.")
@click.option(
    "--executor",
    metavar="HOW",
    default="in-process",
    show_default=True,
    help="in-process, threads, processes, or the address of a Dask scheduler (tcp://...).",
)
@click.option("--workers", type=click.IntRange(1), help="Of the pool; by default one for each CPU.")
@click.option("--kernel-threads", type=click.IntRange(1), help="Of each cell; 1 in worker processes.")
@click.option(
    "--max-cells",
    type=click.IntRange(1),
    default=MAX_CELLS,
    show_default=True,
    help="A larger grid is refused.",
)
@output_options("precision-sweep.png")
@click.pass_context
def sweep_command(context: click.Context, /, **options: Any) -> None:
    """Run a built-in study, or the function and grid that a TOML file names.

    The file has a key study (a name) or function (module:function, file.py:function), a table [grid] of
    parameters and their values, and any of the options by their names (store = "cells.sqlite"). Options of
    the command line go first. A function or a Dask scheduler that only the file names needs --trust, and
    outputs that it names must lie below the working folder. Exit code 1: a cell raised; 130: interrupted.
    """
    asked = options["asked"]
    if options["named_function"] is not None:
        if "study" in asked:
            raise click.UsageError("--function does not go with a study")
        asked = {**asked, "function": options["named_function"]}
    if options["listing"]:
        _list()
        return
    if not asked:
        raise click.UsageError("name a study, a .toml file or a --function, or ask for --list")
    refuse_untrusted(context, asked, options)
    with errors_as_messages():
        if "function" in asked:  # only a study has a figure of its table
            if context.get_parameter_source("figure") is not ParameterSource.DEFAULT:
                raise ValueError("figure is for studies: precision.plots draws the table of a function")
            options["no_figure"] = True
        outputs = Outputs.of(options)
        if options["store"] is not None:
            check_output_option("--store", options["store"], check_regular)
        with warnings.catch_warnings(record=True) as said:
            table, of = run_sweep(asked, options, quiet=outputs.piped)
        provenance = table.attrs["provenance"]
        rows = table.astype(object).where(table.notna(), None).to_dict("records")
        draw = (lambda: of.figure(table)) if of is not None and len(table) else None
        try:
            outputs.write(rows, draw, lambda: _print(table, of), provenance=provenance)
        except click.ClickException as error:
            if provenance["complete"]:
                raise
            error.show()  # an interrupted sweep has its own exit code, whatever its table lacks
        finally:
            _say_what_went_wrong(table, said)
    if not provenance["complete"]:
        context.exit(130)
    context.exit(1 if provenance["failed"] else 0)


def _say_what_went_wrong(table: pd.DataFrame, said: list[warnings.WarningMessage]) -> None:
    for warning in said:
        say(str(warning.message), err=True)
    provenance = table.attrs["provenance"]
    if provenance["failed"]:
        say(f"{provenance['failed']} of {provenance['cells']} cells raised: see error", err=True)


# ---- the table --------------------------------------------------------------------------------------
_SHOWN = 48  # the most rows of a table that are printed


def _print(table: pd.DataFrame, of: Study | None) -> None:
    """Print a sweep's table, a long one without its middle, its errors, and the answer of its study."""
    if not len(table):
        return
    console, provenance = _printed_tables.console(), table.attrs["provenance"]
    _printed_tables.print_section(console, _section(table))
    errors = table["error"].dropna()
    for text, count in errors.value_counts(sort=False).items():
        _printed_tables.say(console, f"{count} of {len(table)} cells: {text}")
    if of is not None and of.answer is not None and provenance["complete"] and not len(errors):
        _printed_tables.print_answer(console, of.answer(table))


def _section(table: pd.DataFrame) -> Section:
    """Return a sweep's table as texts: the fixed parameters above, then the varying ones and the measures."""
    parameters = [name for name in table.attrs["provenance"]["parameters"] if name in table]
    varying = [name for name in parameters if table[name].nunique(dropna=False) > 1] or parameters[:1]
    fixed = [f"{name} = {table[name].iloc[0]}" for name in parameters if name not in varying]
    places, half = list(range(len(table))), _SHOWN // 2
    cut = len(table) > _SHOWN

    def texts(name: str) -> list[str]:
        shown = [_cell(table[name].iloc[i]) for i in (places[:half] + places[-half:] if cut else places)]
        mark = f"… {len(table) - 2 * half} more" if name == varying[0] else ""
        return [*shown[:half], mark, *shown[half:]] if cut else shown

    def heading(name: str) -> str:
        return "\n".join(textwrap.wrap(name.replace("_", " "), 9, break_long_words=False))

    measures = [name for name in table.columns if name not in parameters and name != "error"]
    return Section(
        ", ".join(fixed),
        {heading(name): texts(name) for name in varying},
        {heading(name): texts(name) for name in measures},
    )


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return "-" if math.isnan(value) else f"{value:.4g}"
    return "-" if value is None or str(value) == "<NA>" else str(value)
