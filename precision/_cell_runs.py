"""Cells computed here or by an executor, each with its outcome as it comes."""

from __future__ import annotations

import functools
import os
import pickle
import signal
import socket
import sys
import threading
import traceback
from collections import deque
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from multiprocessing import parent_process
from queue import SimpleQueue
from time import perf_counter
from types import TracebackType
from typing import Any, NamedTuple, Self

from precision._extras import require
from precision._grid import Cell, Plain, plain
from precision._kernels._threads import get_num_threads, set_num_threads

# Cells handed to an executor ahead of what it has done: enough to keep some hundred workers busy, and few
# enough to be cancelled at once.
_AHEAD = 1024
_PATIENCE = 10.0  # seconds that a scheduler may take to answer


class Outcome(NamedTuple):
    """What became of a cell: its metrics, or the error it raised, and the seconds it took."""

    metrics: dict[str, Plain]
    error: str | None = None
    trace: str | None = None
    seconds: float = 0.0


class _Task(NamedTuple):
    """What travels to a worker: everything but the cell's arguments."""

    function: Callable[..., Any]
    parameters: frozenset[str]
    kernel_threads: int | None
    home: tuple[str, int]  # of the process that asked


def home() -> tuple[str, int]:
    """This machine and this process."""
    return socket.gethostname(), os.getpid()


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


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


def _writable(text: str) -> str:
    """Text without what UTF-8 cannot write, as names of files in errors may hold."""
    return text.encode(errors="backslashreplace").decode()


def _said(error: BaseException) -> str:
    try:
        return _writable(f"{type(error).__name__}: {error}")
    except Exception:
        return f"{type(error).__name__}, which cannot be printed"


def run_cell(task: _Task, arguments: Mapping[str, Any]) -> Outcome:
    """Call the function, here or wherever an executor runs it. What it raises is part of the outcome."""
    threads = task.kernel_threads
    if threads is None and task.home != home():
        threads = 1  # an executor has workers for all the cores
    if threads is not None and threads != get_num_threads():
        set_num_threads(threads)
    start = perf_counter()
    try:
        metrics = metrics_of(task.function(**arguments), task.parameters)
    except (Exception, SystemExit) as error:
        # In this thread it may be a signal's, which asks this process to end.
        if isinstance(error, SystemExit) and task.home == home() and _in_main_thread():
            raise
        return Outcome({}, _said(error), _writable(traceback.format_exc()), perf_counter() - start)
    return Outcome(metrics, seconds=perf_counter() - start)


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


def _check_workers(client: Any) -> None:
    """Other versions could give other bits, and a worker without the package would never answer."""
    try:
        here = version("precision-emu")
    except PackageNotFoundError:
        return  # run from a folder of sources, as its workers are
    for address, found in client.run(version, "precision-emu", on_error="return").items():
        if found != here:
            raise ValueError(
                f"executor: worker {address} has precision-emu {found}, and this process {here}: install one"
            )


class Runner:
    """Runs cells, in this process or through an executor; a context, which closes what it opened itself."""

    def __init__(self, executor: object) -> None:
        self._close: list[Callable[[], object]] = []
        self._executor = self._opened(executor)

    def _opened(self, executor: object) -> Executor | None:
        if executor is None or isinstance(executor, Executor):
            return executor
        if isinstance(executor, str):
            distributed = require("distributed", "distributed")
            try:
                executor = distributed.Client(executor, timeout=_PATIENCE, set_as_default=False)
            except (OSError, ValueError) as error:
                raise ValueError(
                    f"executor: no Dask scheduler answers at {executor!r} (as 'tcp://host:8786'): {error}"
                ) from error
            self._close.append(executor.close)  # type: ignore[attr-defined]
        if type(executor).__module__.partition(".")[0] == "distributed" and hasattr(executor, "get_executor"):
            _check_workers(executor)
            # Cells are pure, but only the sweep knows which of them are the same.
            found: Executor = executor.get_executor(pure=False)
            return found
        raise TypeError(
            "executor must be None, a concurrent.futures.Executor, a distributed.Client, or the address of a "
            f"Dask scheduler; got {executor!r}"
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for close in self._close:
            close()

    @property
    def described(self) -> str:
        """Where cells run, for the provenance."""
        return "in-process" if self._executor is None else type(self._executor).__name__

    def run(
        self,
        function: Callable[..., Any],
        cells: Sequence[Cell],
        done: Callable[[Cell, Outcome], object],
        *,
        kernel_threads: int | None = None,
    ) -> None:
        """Run every cell, and hand each with its outcome to ``done`` in the order in which they end.

        Raises
        ------
        TypeError
            If worker processes cannot be sent the function, or cannot read it.
        BaseException
            Ctrl-C, or what ended the executor; cells that have ended by then are handed over first.
        """
        names = frozenset(name for cell in cells for name in cell.shown)
        task = _Task(function, names, kernel_threads, home())
        before = get_num_threads()
        try:
            if self._executor is None:
                for cell in cells:
                    done(cell, run_cell(task, cell.arguments))
            else:
                _through(self._executor, task, cells, done)
        finally:
            if kernel_threads is not None:
                set_num_threads(before)


def _packed(what: object, name: str) -> bytes:
    """For another process, which unpacks it itself: some executors hang where an import fails on the way."""
    try:
        packed: bytes = require("cloudpickle", "sweep").dumps(what)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise TypeError(f"{name} cannot be sent to another process: {error}") from error
    return packed


@functools.lru_cache(maxsize=4)
def _unpacked(task: bytes) -> _Task:
    found: _Task = pickle.loads(task)
    return found


def _run_packed(task: bytes, arguments: bytes) -> Outcome | str:
    """`run_cell` in another process, or why that cannot read what it was sent."""
    try:
        call = _unpacked(task), pickle.loads(arguments)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return run_cell(*call)


def _through(
    executor: Executor, task: _Task, cells: Sequence[Cell], done: Callable[[Cell, Outcome], object]
) -> None:
    if isinstance(executor, ThreadPoolExecutor):

        def submit(cell: Cell) -> Future[Outcome | str]:
            return executor.submit(run_cell, task, cell.arguments)
    else:
        packed = _packed(task, "function")

        def submit(cell: Cell) -> Future[Outcome | str]:
            return executor.submit(_run_packed, packed, _packed(cell.arguments, "grid: an argument"))

    waiting, blamed = deque(cells), list[Cell]()
    running: dict[Future[Outcome | str], Cell] = {}
    ended: SimpleQueue[Future[Outcome | str] | None] = SimpleQueue()

    def start(cell: Cell) -> None:
        future = submit(cell)
        running[future] = cell
        future.add_done_callback(ended.put)

    def next_ended() -> Future[Outcome | str]:
        future = ended.get()
        if future is None:
            raise KeyboardInterrupt
        if future.cancelled():  # not by us: a cluster that went away, a pool that was shut down
            raise BrokenExecutor("executor: it ended before the cells did")
        return future

    try:
        with _interrupts_call(lambda: ended.put(None)):
            while waiting or running:
                while waiting and len(running) < _AHEAD:
                    start(waiting.popleft())
                future = next_ended()
                cell = running.pop(future)
                if _worker_died(future):
                    blamed.append(cell)
                else:
                    done(cell, _outcome(future))
            # Dask blames every cell that a worker held when it died. Each alone shows which one it was.
            for cell in blamed:
                start(cell)
                done(running.pop(future := next_ended()), _outcome(future))
    except BaseException:
        for future in running:
            future.cancel()
        for future, cell in running.items():
            if future.done() and not future.cancelled() and future.exception() is None:
                done(cell, _outcome(future))
        raise


@contextmanager
def _interrupts_call(action: Callable[[], object]) -> Iterator[None]:
    """Ctrl-C calls ``action`` instead of raising in the middle of whatever this thread is at."""
    default = signal.default_int_handler
    if not _in_main_thread() or signal.getsignal(signal.SIGINT) is not default:
        yield  # the user's own handler stays
        return
    signal.signal(signal.SIGINT, lambda *_: action())
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, default)


def _worker_died(future: Future[Any]) -> bool:
    """Whether the workers that tried this cell died of it, or of what else they held (Dask alone goes on)."""
    return type(future.exception()).__name__ == "KilledWorker"


def _outcome(future: Future[Outcome | str]) -> Outcome:
    """Of an ended future. What ends the executor is raised; what ends a worker is the cell's error."""
    error = future.exception()
    if _worker_died(future):
        return Outcome({}, f"KilledWorker: {error}")
    if error is not None:
        raise error
    found = future.result()
    if isinstance(found, str):
        raise TypeError(
            f"function: a worker process cannot read it ({found}): what it needs must be installed there"
        )
    return found
