"""The computation of one cell of a sweep, in this process or in a worker, and its outcome."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Callable, Container, Iterator, Mapping
from contextlib import contextmanager
from multiprocessing import parent_process
from time import perf_counter
from typing import Any, NamedTuple

from precision._support._types import Plain
from precision._support.machine._float_environment import callers_environment, in_default_environment
from precision._support.machine._threads import get_num_threads, set_num_threads
from precision.sweep._grid import as_plain


class CellOutcome(NamedTuple):
    """The outcome of one call of a sweep: its metrics, or the error it raised, and the seconds it took.

    ``raised`` is the error itself, if the task keeps errors and it was raised in the process that asked.
    """

    metrics: dict[str, Plain]
    error: str | None = None
    trace: str | None = None
    seconds: float = 0.0
    raised: BaseException | None = None


class Task(NamedTuple):
    """The part of a sweep's calls that is the same for all of them, and is sent to a worker once."""

    function: Callable[..., Any]
    parameters: frozenset[str]
    kernel_threads: int | None
    home: tuple[str, int]  # the machine and process that runs the sweep
    keeps_errors: bool = False


def current_process() -> tuple[str, int]:
    """Return the names of this machine and of this process."""
    return socket.gethostname(), os.getpid()


@in_default_environment
def read_metrics(returned: object, parameters: Container[str]) -> dict[str, Plain]:
    """Return the value that a cell returned as columns of a table.

    A mapping of names to plain values gives a column each; one plain value is the column ``result``.

    Raises
    ------
    TypeError, ValueError
        If the cell returned anything else, or a name that is a parameter's or ``error``.
    """
    if not isinstance(returned, Mapping):
        returned = {"result": returned}
    row: dict[str, Plain] = {}
    for name, value in returned.items():
        if not isinstance(name, str):
            raise TypeError(f"a cell must return its metrics by name, got the name {name!r}")
        if name in parameters or name == "error":
            raise ValueError(f"a cell must not return {name!r}, which is another column of the table")
        try:
            row[name] = as_plain(value)
        except TypeError as error:
            raise TypeError(f"metric {name!r}: {error}") from None
    return row


def is_main_thread() -> bool:
    """Tell whether this is the main thread."""
    return threading.current_thread() is threading.main_thread()


def _make_writable(text: str) -> str:
    """Escape characters that UTF-8 cannot write, which a file's name in an error may hold."""
    return text.encode(errors="backslashreplace").decode()


def _describe_error(error: BaseException) -> str:
    """Return the type and the message of an error."""
    try:
        return _make_writable(f"{type(error).__name__}: {error}")
    except Exception:
        return f"{type(error).__name__}, which cannot be printed"


def run_cell(task: Task, arguments: Mapping[str, Any]) -> CellOutcome:
    """Call the function of a task with a cell's arguments, and return the outcome, errors included."""
    threads = task.kernel_threads
    if threads is None and task.home != current_process():
        threads = 1  # an executor has a worker for every core
    if threads is not None and threads != get_num_threads():
        set_num_threads(threads)
    start = perf_counter()
    try:
        with callers_environment():
            returned = task.function(**arguments)
        metrics = read_metrics(returned, task.parameters)
    except BaseException as error:
        # In the main thread SystemExit may come from a signal that asks this process to end.
        if isinstance(error, SystemExit) and task.home == current_process() and is_main_thread():
            raise
        if isinstance(error, KeyboardInterrupt):
            raise
        kept = error if task.keeps_errors and task.home == current_process() else None
        return CellOutcome(
            {}, _describe_error(error), _make_writable(traceback.format_exc()), perf_counter() - start, kept
        )
    return CellOutcome(metrics, seconds=perf_counter() - start)


@contextmanager
def delay_interrupts() -> Iterator[None]:
    """Hold Ctrl-C back until the end of the block; processes that the block starts ignore it.

    A terminal sends Ctrl-C to these processes too, and each would print its traceback.
    """
    if not hasattr(signal, "pthread_sigmask"):  # not POSIX
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def allow_interrupts() -> Iterator[None]:
    """Let Ctrl-C end the block, also in a process that was started inside `delay_interrupts`."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def start_worker(quiet: bool) -> None:
    """Prepare a worker process, so that it ends when its parent does, even by SIGKILL.

    If ``quiet``, text that it prints goes to the standard error.
    """
    parent = parent_process()
    if parent is not None:

        def end() -> None:
            """Wait for the end of the parent process, then end this one."""
            parent.join()
            os._exit(1)

        threading.Thread(target=end, daemon=True).start()
    if quiet:
        sys.stdout = sys.stderr
