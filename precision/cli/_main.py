"""The command ``precision`` (extra ``cli``), whose subcommands are imported when they are asked for."""

from __future__ import annotations

import importlib
import pkgutil

import click

from precision.cli._shared_options import Root

#: Every subcommand with the place of its function, or with the study that declares its options.
SUBCOMMANDS = {
    "check": "precision.cli.subcommands._check_command:check",
    "formats": "precision.cli.subcommands._formats_command:formats",
    "gemm": "study gemm",
    "logfmt": "study all_to_all",
    "quantize": "study quantize",
    "sweep": "precision.cli.subcommands._sweep_command:sweep_command",
    "units": "precision.cli.subcommands._units_command:units",
    "warm": "precision.cli.subcommands._warm_command:warm",
}


class Subcommands(Root):
    """The group of all subcommands."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the subcommands, in alphabetical order."""
        return sorted(SUBCOMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a subcommand and return it; return None if none has that name."""
        if cmd_name not in SUBCOMMANDS:
            return None
        where = SUBCOMMANDS[cmd_name]
        if where.startswith("study "):
            commands = importlib.import_module("precision.cli._study_commands")
            made: click.Command = commands.study_command(cmd_name, where.removeprefix("study "))
            return made
        found: click.Command = pkgutil.resolve_name(where)
        return found


@click.group(cls=Subcommands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="precision-emu")
def command() -> None:
    """Emulate low-precision formats and matrix units, bit for bit."""
