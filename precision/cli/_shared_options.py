"""Parts that commands share: types of options, messages instead of tracebacks, exit codes, output files."""

from __future__ import annotations

import _thread
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import click

from precision import plots
from precision._support._optional_packages import MissingExtraError
from precision._support.files._whole_files import check_output, draft
from precision.cli import _printed_tables
from precision.cli._standard_streams import accept_every_sign, forget_unwritable, printing, say

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Command = TypeVar("Command", bound=Callable[..., Any])

# Errors whose message tells a user what is wrong with an argument, or what this machine lacks for it.
_PLAIN = (
    ValueError,
    TypeError,
    ArithmeticError,
    MemoryError,
    RecursionError,
    OSError,
    BrokenExecutor,
    MissingExtraError,
)
_INTERRUPTED = 130  # as a shell reports a command that Ctrl-C ended


def _message(error: BaseException) -> str:
    """The error's own words, with its kind where they alone would tell nothing."""
    if isinstance(error, (ArithmeticError, MemoryError, RecursionError)) or not str(error):
        return f"{type(error).__name__}: {error}".removesuffix(": ")
    return str(error)


@contextmanager
def _no_interrupt_lost() -> Iterator[None]:
    """A block in which Ctrl-C counts also where it comes while C calls Python, as LLVM does when it compiles.

    Python can only print an exception there and go on; here the interrupt comes once more, a moment later.
    """
    before, inside = sys.unraisablehook, [True]

    def interrupt() -> None:
        if inside:
            _thread.interrupt_main()

    def once_more(found: Any) -> None:
        if not issubclass(found.exc_type, KeyboardInterrupt):
            before(found)
            return
        later = threading.Timer(0.02, interrupt)
        later.daemon = True
        later.start()

    sys.unraisablehook = once_more
    try:
        yield
    finally:
        inside.clear()
        sys.unraisablehook = before


def _came_of_an_interrupt(error: BaseException | None) -> bool:
    """Whether it is Ctrl-C, or an error that a library made of it, as of an import that did not end."""
    seen = set[int]()  # an error may be its own cause
    while error is not None and id(error) not in seen:
        if isinstance(error, KeyboardInterrupt):
            return True
        seen.add(id(error))
        error = error.__cause__ or error.__context__
    return False


class Root(click.Group):
    """The command with all its subcommands: one place for Ctrl-C and for the standard streams."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run a command line; every sign can be printed, and what cannot be written is no second error."""
        accept_every_sign()
        try:
            return super().main(*args, **kwargs)
        except OSError as error:  # of printing help, or an error: a subcommand's own are messages already
            with suppress(OSError):
                say(f"Error: {error}", err=True)
            sys.exit(1)
        finally:
            forget_unwritable()

    def invoke(self, ctx: click.Context) -> Any:
        """Run the subcommand; Ctrl-C ends each of them with 130."""
        try:
            with _no_interrupt_lost():
                return super().invoke(ctx)
        except BaseException as error:
            if not _came_of_an_interrupt(error):
                raise
            say("\ninterrupted", err=True)
            raise click.exceptions.Exit(_INTERRUPTED) from None


class _InputFile(click.Path):
    """A file that is there."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Read the name, and refuse what the system takes for none."""
        try:
            return super().convert(value, param, ctx)
        except ValueError:
            self.fail(f"{value!r} is no file's name.", param, ctx)


class _OutputFile(click.ParamType[str]):
    """The name of a file to write; whether it can be is tried by `Outputs.of`."""

    name = "file"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Refuse what can be no name."""
        if not value or "\0" in value:
            self.fail(f"{value!r} is no file's name.", param, ctx)
        return str(value)


FILE = _InputFile(exists=True, dir_okay=False, path_type=Path)
FILE_OUT = _OutputFile()


class Parsed(click.ParamType[Any]):
    """An option's value that a function reads from its text; what that raises is the message."""

    name = "text"

    def __init__(self, read: Callable[[str], Any]) -> None:
        self.read = read

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Read the text, or let click say why it cannot be read."""
        if not isinstance(value, str):
            return value
        try:
            return self.read(value)
        except _PLAIN as error:
            self.fail(_message(error), param, ctx)


@contextmanager
def said_plainly() -> Iterator[None]:
    """Turn what the library raises about its arguments into a message to the user, without a traceback."""
    try:
        yield
    except _PLAIN as error:
        raise click.ClickException(_message(error)) from error
    except (Exception, KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException as error:  # of a function of the user's own, as sys.exit(): nothing here raises it
        raise click.ClickException(f"the function raised {type(error).__name__}: {error}") from error


def _write(text: str, path: str) -> None:
    with draft(path) as beside:
        # Names of files and tensors may hold what UTF-8 does not.
        beside.write_bytes(text.encode("utf-8", "backslashreplace"))


def tried(option: str, path: str, check: Callable[[str], object]) -> None:
    """Refuse an output that ``check`` does, as an error of the option's."""
    try:
        check(path)
    except (ValueError, OSError) as error:
        raise click.BadParameter(str(error), param_hint=option) from error


def output_options(figure: str) -> Callable[[Command], Command]:
    """Return a decorator that adds the options that `Outputs.of` reads; the figure has a default name."""
    options = (
        click.option("--figure", type=FILE_OUT, default=figure, show_default=True, help="By suffix."),
        click.option("--no-figure", is_flag=True, help="Write no figure."),
        click.option(
            "--json", "json_path", type=FILE_OUT, help="Every row as JSON; - is the standard output."
        ),
        click.option("--csv", "csv_path", type=FILE_OUT, help="Every row as CSV; - is the standard output."),
    )

    def add(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return add


class Outputs(NamedTuple):
    """The files that a command writes beside what it prints."""

    json_path: str | None
    csv_path: str | None
    figure: str | None

    @classmethod
    def of(cls, options: dict[str, Any]) -> Outputs:
        """Return the files of a command's options; each is tried before any work."""
        found = cls(
            options["json_path"],
            options["csv_path"],
            None if options["no_figure"] else options["figure"],
        )
        if found.json_path == found.csv_path == "-":
            raise click.UsageError("--json and --csv cannot both go to the standard output")
        for option, path, check in (
            ("--json", found.json_path, check_output),
            ("--csv", found.csv_path, check_output),
            ("--figure", found.figure, plots.check),
        ):
            if path is not None and (path != "-" or option == "--figure"):
                tried(option, path, check)
        return found

    @property
    def piped(self) -> bool:
        """Whether a file goes to the standard output, so that tables and messages must keep off it."""
        return "-" in (self.json_path, self.csv_path)

    def write(
        self,
        rows: list[dict[str, Any]],
        draw: Callable[[], Figure] | None,
        show: Callable[[], object],
        provenance: dict[str, Any] | None = None,
    ) -> None:
        """Write what was asked for, each file whole or not at all, and only then print.

        ``show`` prints the table, unless the standard output is taken. The rows of JSON have the provenance
        with them. A file that fails costs neither the others nor the table; its error is raised at the end.
        """
        texts: dict[str, Callable[[], str]] = {
            "--json": lambda: _printed_tables.as_json(
                rows if provenance is None else {"provenance": provenance, "rows": rows}
            ),
            "--csv": lambda: _printed_tables.as_csv(rows),
        }
        lost = []

        def attempt(option: str, path: str, write: Callable[[], object]) -> bool:
            try:
                write()
            except BrokenPipeError:
                pass  # a pipe that nobody reads any more is no fault of the command's
            except _PLAIN as error:
                lost.append(f"{option} {path}: {_message(error)}")
                return False
            return True

        paths = {"--json": self.json_path, "--csv": self.csv_path}
        for option, path in paths.items():
            if path is not None and path != "-":
                attempt(option, path, lambda option=option, path=path: _write(texts[option](), path))  # type: ignore[misc]
        drawn, figure = False, self.figure
        if figure is not None and draw is not None:
            drawn = attempt("--figure", figure, lambda: plots.save(draw(), figure))
        if not self.piped:
            with printing():
                show()
        for option, path in paths.items():
            if path == "-":
                say(texts[option](), end="")
        if drawn:
            say(f"figure: {figure}", err=self.piped)
        if lost:
            raise click.ClickException("; ".join(lost))
