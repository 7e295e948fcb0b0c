"""The standard streams: signs that they cannot encode, and pipes that nobody reads any more."""

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
    """A plain spelling of what an encoding lacks, or its number; an error handler of `codecs`."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    plain = (_SUBSTITUTES.get(sign) or sign.encode("ascii", "backslashreplace").decode() for sign in lacking)
    return "".join(plain), error.end


codecs.register_error(_NAME, _substitute)


def accept_every_sign() -> None:
    """Let the standard streams print a substitute for what their encodings lack, instead of raising."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            with suppress(OSError, ValueError):  # of a closed one, or one that cannot be flushed
                stream.reconfigure(errors=_NAME)


def forget_unwritable() -> None:
    """Send nowhere what a stream cannot write, so that Python does not fail at it once more when it ends."""
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:  # it was closed when the process began
                stream.flush()
        except OSError:
            with suppress(OSError, ValueError):  # no file of the system's, as in a test or a notebook
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, stream.fileno())
                os.close(nowhere)
        except ValueError:  # it was closed since
            pass


@contextmanager
def printing() -> Iterator[None]:
    """Run a block that prints, which ends early if nobody reads, as under ``| head``.

    The command goes on to its own exit code then.
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
    """Print in the stream's own encoding, if anybody reads."""
    with printing():
        click.echo(text + end, file=sys.stderr if err else sys.stdout, nl=False)
