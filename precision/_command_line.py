"""What the commands share: options as values, messages instead of tracebacks, progress, files."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import BrokenExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from precision import _tables, plots
from precision._extras import MissingExtraError
from precision._files import draft

if TYPE_CHECKING:
    from matplotlib.figure import Figure

T = TypeVar("T")
Command = TypeVar("Command", bound=Callable[..., Any])

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_FILE_OUT = click.Path(dir_okay=False, path_type=Path)
_OUTPUT = click.Path(dir_okay=False, allow_dash=True, path_type=Path)


def reads(read: Callable[[str], Any]) -> Callable[[click.Context, click.Parameter, Any], Any]:
    """A callback that reads an option's text; the ValueError of ``read`` is the message."""

    def callback(context: click.Context, parameter: click.Parameter, value: Any) -> Any:
        try:
            if isinstance(value, tuple):
                return tuple(read(text) for text in value)
            return None if value is None else read(value)
        except ValueError as error:
            raise click.BadParameter(str(error)) from error

    return callback


@contextmanager
def said_plainly() -> Iterator[None]:
    """What the library raises about its arguments is a message to the user here, not a traceback."""
    try:
        yield
    except (ValueError, TypeError, OSError, BrokenExecutor, MissingExtraError) as error:
        raise click.ClickException(str(error)) from error


def with_progress(rows: Iterable[T], total: int, describe: Callable[[T], str]) -> Iterator[T]:
    """The rows, behind a bar that only a terminal sees."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("", total=total)
        for row in rows:
            yield row
            progress.update(task, advance=1, description=describe(row))


def _write(text: str, path: Path) -> None:
    if str(path) == "-":
        click.echo(text, nl=False)
        return
    with draft(path) as beside:
        beside.write_text(text, encoding="utf-8")


def output_options(figure: str) -> Callable[[Command], Command]:
    """The options that `Outputs.of` reads, the figure's default name among them."""
    options = (
        click.option("--figure", type=_FILE_OUT, default=figure, show_default=True, help="By suffix."),
        click.option("--no-figure", is_flag=True, help="Write no figure."),
        click.option(
            "--json", "json_path", type=_OUTPUT, help="Every row as JSON; - is the standard output."
        ),
        click.option("--csv", "csv_path", type=_OUTPUT, help="Every row as CSV; - is the standard output."),
    )

    def add(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return add


class Outputs(NamedTuple):
    """Where a study goes beside the terminal."""

    json_path: Path | None
    csv_path: Path | None
    figure: Path | None

    @classmethod
    def of(cls, options: dict[str, Any]) -> Outputs:
        """Those of a command's options, refused before any work if they cannot be written."""
        found = cls(
            options["json_path"],
            options["csv_path"],
            None if options["no_figure"] else options["figure"],
        )
        if found.json_path == found.csv_path == Path("-"):
            raise click.UsageError("--json and --csv cannot both go to the standard output")
        for path in (found.json_path, found.csv_path):
            if path is not None and not path.parent.is_dir():
                raise ValueError(f"{path}: {path.parent} is not a folder")
        if found.figure is not None:
            plots.check(found.figure)
        return found

    @property
    def piped(self) -> bool:
        """Whether the standard output is taken, so that tables and messages must keep off it."""
        return Path("-") in (self.json_path, self.csv_path)

    def write(
        self,
        rows: list[dict[str, Any]],
        draw: Callable[[], Figure] | None,
        provenance: dict[str, Any] | None = None,
    ) -> None:
        """Write what was asked for, each file whole or not at all; provenance with the rows of JSON."""
        if self.json_path:
            whole = rows if provenance is None else {"provenance": provenance, "rows": rows}
            _write(_tables.as_json(whole), self.json_path)
        if self.csv_path:
            _write(_tables.as_csv(rows), self.csv_path)
        if self.figure is not None and draw is not None:
            plots.save(draw(), self.figure)
            click.echo(f"figure: {self.figure}", err=self.piped)
