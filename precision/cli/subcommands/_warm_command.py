"""The subcommand ``precision warm``, which compiles the loops of public calls before they are needed."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import click

from precision._support.machine._processors import processors
from precision.cli import _printed_tables
from precision.cli._shared_options import errors_as_messages
from precision.cli._standard_streams import printing, say
from precision.cli._sweep_options import open_executor
from precision.studies._sections import Section
from precision.sweep._first_calls import CALLS, choose_calls, make_first_call
from precision.sweep._grid_runs import sweep

if TYPE_CHECKING:
    import pandas as pd


@click.command()
@click.option(
    "--only", multiple=True, metavar="NAME", help="Calls whose names begin so, as quantize. Repeatable."
)
@click.option("--workers", type=click.IntRange(1), help="Processes; by default one for each CPU.")
@click.option("--list", "listing", is_flag=True, help="The names of the calls.")
@click.pass_context
def warm(context: click.Context, only: tuple[str, ...], workers: int | None, listing: bool) -> None:
    """Compile the loops of public calls and keep them, so that no first call waits for it.

    They are kept where Numba keeps compiled code: beside the package, or in NUMBA_CACHE_DIR. Run it once
    after installing, as in a container's recipe or before the tests of a job. Exit code 1: something is not
    compiled or not kept; 130: interrupted, and what is compiled by then is kept.
    """
    if listing:
        for name in CALLS:
            say(name)
        return
    with errors_as_messages():
        names = choose_calls(only)
        with (
            warnings.catch_warnings(record=True) as said,
            open_executor("processes", workers or processors(), quiet=False) as pool,
        ):
            warnings.simplefilter("always")
            table = sweep(make_first_call, {"call": names}, executor=pool)
        with printing():
            _print(table)
    provenance = table.attrs["provenance"]
    if not provenance["complete"]:
        left = len(names) - len(table)
        say(f"interrupted: {left} of {len(names)} calls are left; what is compiled is kept", err=True)
        context.exit(130)
    lost = [text for text in dict.fromkeys(table.get("not_kept", ())) if isinstance(text, str)]
    for text in [*map(str, (warning.message for warning in said)), *lost]:
        say(text, err=True)
    context.exit(1 if provenance["failed"] or lost else 0)


def _print(table: pd.DataFrame) -> None:
    """Print the calls with the loops that each compiled and the seconds that took, and their sums."""
    if not len(table):
        return
    console, done = _printed_tables.console(), table[table["error"].isna()]
    for _, row in table[table["error"].notna()].iterrows():
        _printed_tables.say(console, f"{row['call']}: {row['error']}")
    if not len(done):
        return
    section = Section(
        "",
        {"call": list(done["call"])},
        {
            "loops\ncompiled": [str(count) for count in done["compiled"]],
            "seconds": [f"{seconds:.1f}" for seconds in done["compiling"]],
        },
    )
    _printed_tables.print_section(console, section)
    count, seconds = int(done["compiled"].sum()), float(done["compiling"].sum())
    text = f"{count} loops were compiled, for {seconds:.0f} s of all processes together."
    _printed_tables.print_answer(console, text if count else "Everything was compiled before.")
