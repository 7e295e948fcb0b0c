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
    """Return the message of an error, with the name of its type in front if the message alone is unclear."""
    if isinstance(error, (ArithmeticError, MemoryError, RecursionError)) or not str(error):
        return f"{type(error).__name__}: {error}".removesuffix(": ")
    return str(error)


@contextmanager
def _no_interrupt_lost() -> Iterator[None]:
    """Make Ctrl-C interrupt the block even if it comes while C code, such as LLVM's compiler, calls Python.

    Python can only print an exception there and go on; so this function interrupts again a moment later.
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
    """Tell whether Ctrl-C caused an error, perhaps as the cause of another error that a library raised."""
    seen = set[int]()  # an error may be its own cause
    while error is not None and id(error) not in seen:
        if isinstance(error, KeyboardInterrupt):
            return True
        seen.add(id(error))
        error = error.__cause__ or error.__context__
    return False


class Root(click.Group):
    """A group of subcommands that handles Ctrl-C and faults of the standard streams for all of them."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run a command line; a character or a stream that cannot be written ends in no traceback."""
        accept_every_sign()
        try:
            return super().main(*args, **kwargs)
        except OSError as error:  # from printing help or a message; subcommands report their own errors
            with suppress(OSError):
                say(f"Error: {error}", err=True)
            sys.exit(1)
        finally:
            forget_unwritable()

    def invoke(self, ctx: click.Context) -> Any:
        """Run the subcommand, and end with exit code 130 if Ctrl-C interrupts it."""
        try:
            with _no_interrupt_lost():
                return super().invoke(ctx)
        except BaseException as error:
            if not _came_of_an_interrupt(error):
                raise
            say("\ninterrupted", err=True)
            raise click.exceptions.Exit(_INTERRUPTED) from None


class _InputFile(click.Path):
    """The type of an option that names an existing file."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the path of the file; fail if the text cannot be the name of a file."""
        try:
            return super().convert(value, param, ctx)
        except ValueError:
            self.fail(f"{value!r} is no file's name.", param, ctx)


class _OutputFile(click.ParamType[str]):
    """The type of an option that names a file to write; `Outputs.of` tries whether it can be written."""

    name = "file"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the name of the file; fail if the text cannot be one."""
        if not value or "\0" in value:
            self.fail(f"{value!r} is no file's name.", param, ctx)
        return str(value)


FILE = _InputFile(exists=True, dir_okay=False, path_type=Path)
FILE_OUT = _OutputFile()


class Parsed(click.ParamType[Any]):
    """The type of an option whose text a function reads; the message of its error is shown to the user."""

    name = "text"

    def __init__(self, read: Callable[[str], Any]) -> None:
        self.read = read

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the value that the function reads from the text; fail with the message of its error."""
        if not isinstance(value, str):
            return value
        try:
            return self.read(value)
        except _PLAIN as error:
            self.fail(_message(error), param, ctx)


@contextmanager
def errors_as_messages() -> Iterator[None]:
    """Turn errors that the library raises about its arguments into messages without a traceback."""
    try:
        yield
    except _PLAIN as error:
        raise click.ClickException(_message(error)) from error
    except (Exception, KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException as error:  # a user's own function raised it, for example by sys.exit()
        raise click.ClickException(f"the function raised {type(error).__name__}: {error}") from error


def _write(text: str, path: str) -> None:
    with draft(path) as beside:
        # Names of files and tensors may hold what UTF-8 does not.
        beside.write_bytes(text.encode("utf-8", "backslashreplace"))


def check_output_option(option: str, path: str, check: Callable[[str], object]) -> None:
    """Check an output's path, and raise an error of ``check`` as one that names the option."""
    try:
        check(path)
    except (ValueError, OSError) as error:
        raise click.BadParameter(str(error), param_hint=option) from error


def output_options(figure: str) -> Callable[[Command], Command]:
    """Return a decorator that adds the options of output files; ``figure`` is the figure's default name."""
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
    """The files that a command writes in addition to what it prints."""

    json_path: str | None
    csv_path: str | None
    figure: str | None

    @classmethod
    def of(cls, options: dict[str, Any]) -> Outputs:
        """Return the output files that a command's options name, after a check that each can be written."""
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
                check_output_option(option, path, check)
        return found

    @property
    def piped(self) -> bool:
        """True if JSON or CSV goes to the standard output, so that nothing else may be printed there."""
        return "-" in (self.json_path, self.csv_path)

    def write(
        self,
        rows: list[dict[str, Any]],
        draw: Callable[[], Figure] | None,
        show: Callable[[], object],
        provenance: dict[str, Any] | None = None,
    ) -> None:
        """Write the files, each whole or not at all, and then print the table.

        ``show`` prints the table, unless JSON or CSV goes to the standard output. JSON holds the provenance
        beside the rows. If a file cannot be written, the others are, and the table is printed; its error is
        raised at the end.
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
