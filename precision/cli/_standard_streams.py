"""Protection of the standard streams from characters they cannot encode and from pipes that nobody reads."""

from __future__ import annotations

import codecs
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import click

_NAME = "precision.substitute"
_SUBSTITUTES = {
    "µ": "u", "μ": "u", "…": "...", "·": ".", "×": "x", "±": "+-", "–": "-", "—": "-", "−": "-",
    "≤": "<=", "≥": ">=", "²": "^2", "‘": "'", "’": "'", "“": '"', "”": '"',
}  # fmt: skip


def _substitute(error: UnicodeError) -> tuple[str, int]:
    """Return an ASCII substitute for characters that an encoding lacks, as error handlers of `codecs` do."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    plain = (_SUBSTITUTES.get(sign) or sign.encode("ascii", "backslashreplace").decode() for sign in lacking)
    return "".join(plain), error.end


codecs.register_error(_NAME, _substitute)


def accept_every_sign() -> None:
    """Make the standard streams print substitutes for characters that they cannot encode."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            with suppress(OSError, ValueError):  # it is closed, or cannot be flushed
                stream.reconfigure(errors=_NAME)


def forget_unwritable() -> None:
    """Discard what the standard streams cannot write, so that Python does not fail again when it exits."""
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:  # None: it was closed when the process began
                stream.flush()
        except OSError:
            with suppress(OSError, ValueError):  # in a test or a notebook it has no descriptor
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, stream.fileno())
                os.close(nowhere)
        except ValueError:  # it was closed after the process began
            pass


@contextmanager
def printing() -> Iterator[None]:
    """Run a block that prints, and end the block early if nobody reads, as in ``| head``.

    The command then goes on, and has the exit code that it would have anyway.
    """
    try:
        yield
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:
        forget_unwritable()
    except OSError as error:
        raise OSError(f"the standard output cannot be written: {error.strerror or error}") from error


def say(text: str, *, err: bool = False, end: str = "\n") -> None:
    """Print a text to a standard stream; do nothing if the stream is a pipe that nobody reads."""
    with printing():
        click.echo(text + end, file=sys.stderr if err else sys.stdout, nl=False)
