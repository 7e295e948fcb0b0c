"""The subcommand ``precision formats``, which shows the named formats, their limits and values."""

from __future__ import annotations

import click

from precision.cli import _printed_tables
from precision.cli._shared_options import (
    errors_as_messages,
)
from precision.cli._standard_streams import printing, say
from precision.formats._named import NAMED, Format, parse_format


@click.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--json", "as_json", is_flag=True, help="For machines.")
def formats(names: tuple[str, ...], as_json: bool) -> None:
    """List the named formats, or show the limits and every value (up to 8 bits) of those given.

    NAME is e4m3, e5m2fnuz, bf16, binary8p4se, int8, or any other that parses.
    """
    with errors_as_messages():
        chosen: list[Format] = [parse_format(name) for name in names] or list(NAMED.values())
        small = [fmt for fmt in chosen if names and fmt.bits <= 8]
        if as_json:
            entries = [_printed_tables.limits(fmt) for fmt in chosen]
            for entry, fmt in zip(entries, chosen, strict=True):
                if fmt in small:
                    entry["values"] = [fmt.value(code) for code in range(1 << fmt.bits)]
            say(_printed_tables.as_json(entries), end="")
            return
        console = _printed_tables.console()
        with printing():
            console.print(_printed_tables.formats_table(chosen))
            for fmt in small:
                _printed_tables.print_values(console, fmt)
