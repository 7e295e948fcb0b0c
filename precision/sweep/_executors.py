"""Cells run in this process or by an executor, each with its outcome as it ends."""

from __future__ import annotations

import functools
import pickle
import signal
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from queue import SimpleQueue
from types import TracebackType
from typing import Any, Self

from precision._support._optional_packages import require
from precision._support.machine._threads import get_num_threads, set_num_threads
from precision.sweep._cell_runs import Outcome, Task, home, in_main_thread, interruptible, run_cell
from precision.sweep._grid import Cell

# Cells handed to an executor ahead of what it has done: enough to keep some hundred workers busy, and few
# enough to be cancelled at once.
_AHEAD = 1024
_PATIENCE = 10.0  # seconds that a scheduler may take to answer


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


def _check_scheme(address: str) -> None:
    """Raise at once where Dask would try for long: an address whose kind no Dask knows."""
    scheme, mark, _ = address.partition("://")
    try:
        if mark:
            require("distributed.comm.registry", "distributed").get_backend(scheme)
    except ValueError as error:
        raise ValueError(f"executor: {address!r} is no address of a Dask scheduler: {error}") from error


class Runner:
    """Runs cells, in this process or through an executor; a context, which closes what it opened itself."""

    def __init__(self, executor: object) -> None:
        self._close: list[Callable[[], object]] = []
        try:
            self._executor = self._opened(executor)
        except BaseException:
            self.__exit__(None, None, None)
            raise

    def _opened(self, executor: object) -> Executor | None:
        if executor is None or isinstance(executor, Executor):
            return executor
        if isinstance(executor, str):
            distributed = require("distributed", "distributed")
            _check_scheme(executor)
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
        keep_errors: bool = False,
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
        task = Task(function, names, kernel_threads, home(), keep_errors)
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
def _unpacked(task: bytes) -> Task:
    found: Task = pickle.loads(task)
    return found


def _run_packed(task: bytes, arguments: bytes) -> Outcome | str:
    """`run_cell` in another process, or why that cannot read what it was sent."""
    try:
        call = _unpacked(task), pickle.loads(arguments)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    with interruptible():
        return run_cell(*call)


def _through(
    executor: Executor, task: Task, cells: Sequence[Cell], done: Callable[[Cell, Outcome], object]
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
    if not in_main_thread() or signal.getsignal(signal.SIGINT) is not default:
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
