"""One cell computed, here or in a worker, and what becomes of it."""

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
from precision.sweep._grid import plain


class Outcome(NamedTuple):
    """What became of a cell: its metrics, or the error it raised, and the seconds it took.

    ``raised`` is the error itself, if the task keeps errors and it was raised in the process that asked.
    """

    metrics: dict[str, Plain]
    error: str | None = None
    trace: str | None = None
    seconds: float = 0.0
    raised: BaseException | None = None


class Task(NamedTuple):
    """What travels to a worker: everything but the cell's arguments."""

    function: Callable[..., Any]
    parameters: frozenset[str]
    kernel_threads: int | None
    home: tuple[str, int]  # of the process that asked
    keeps_errors: bool = False


def home() -> tuple[str, int]:
    """This machine and this process."""
    return socket.gethostname(), os.getpid()


@in_default_environment
def metrics_of(found: object, parameters: Container[str]) -> dict[str, Plain]:
    """What a cell returned, as columns: a mapping of names to plain values, or one value as ``result``.

    Raises
    ------
    TypeError, ValueError
        If it returned anything else, or a name that is a parameter's or ``error``.
    """
    if not isinstance(found, Mapping):
        found = {"result": found}
    row: dict[str, Plain] = {}
    for name, value in found.items():
        if not isinstance(name, str):
            raise TypeError(f"a cell must return its metrics by name, got the name {name!r}")
        if name in parameters or name == "error":
            raise ValueError(f"a cell must not return {name!r}, which is another column of the table")
        try:
            row[name] = plain(value)
        except TypeError as error:
            raise TypeError(f"metric {name!r}: {error}") from None
    return row


def in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


def _writable(text: str) -> str:
    """Text without what UTF-8 cannot write, as names of files in errors may hold."""
    return text.encode(errors="backslashreplace").decode()


def _said(error: BaseException) -> str:
    try:
        return _writable(f"{type(error).__name__}: {error}")
    except Exception:
        return f"{type(error).__name__}, which cannot be printed"


def run_cell(task: Task, arguments: Mapping[str, Any]) -> Outcome:
    """Call the function, here or wherever an executor runs it. What it raises is part of the outcome."""
    threads = task.kernel_threads
    if threads is None and task.home != home():
        threads = 1  # an executor has workers for all the cores
    if threads is not None and threads != get_num_threads():
        set_num_threads(threads)
    start = perf_counter()
    try:
        with callers_environment():
            found = task.function(**arguments)
        metrics = metrics_of(found, task.parameters)
    except BaseException as error:
        # In this thread it may be a signal's, which asks this process to end.
        if isinstance(error, SystemExit) and task.home == home() and in_main_thread():
            raise
        if isinstance(error, KeyboardInterrupt):
            raise
        kept = error if task.keeps_errors and task.home == home() else None
        return Outcome({}, _said(error), _writable(traceback.format_exc()), perf_counter() - start, kept)
    return Outcome(metrics, seconds=perf_counter() - start)


@contextmanager
def interrupts_wait() -> Iterator[None]:
    """A block that Ctrl-C does not end before its end; processes started in it ignore Ctrl-C.

    A terminal sends it to them too, and each would print where it stood.
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
def interruptible() -> Iterator[None]:
    """A block that Ctrl-C does end, also in a process started under `interrupts_wait`."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def start_worker(quiet: bool) -> None:
    """Of a worker process: end when the process that started it does, even by SIGKILL; print as told."""
    parent = parent_process()
    if parent is not None:

        def end() -> None:
            parent.join()
            os._exit(1)

        threading.Thread(target=end, daemon=True).start()
    if quiet:
        sys.stdout = sys.stderr
