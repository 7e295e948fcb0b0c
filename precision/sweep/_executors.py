"""The running of a sweep's calls in this process or by an executor, each with its outcome as it ends."""

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
from precision.sweep._cell_runs import (
    CellOutcome,
    Task,
    allow_interrupts,
    current_process,
    is_main_thread,
    run_cell,
)
from precision.sweep._grid import Cell

# The number of cells handed to an executor at a time: enough to keep some hundred workers busy, and few
# enough to be cancelled at once.
_AHEAD = 1024
_PATIENCE = 10.0  # the seconds that a scheduler may take to answer


def _check_workers(client: Any) -> None:
    """Raise ValueError unless every Dask worker has this version of the package.

    Other versions could give other bits, and a worker without the package would never answer.
    """
    try:
        here = version("precision-emu")
    except PackageNotFoundError:
        return  # this process runs from a folder of sources, and so do its workers
    for address, installed in client.run(version, "precision-emu", on_error="return").items():
        if installed != here:
            raise ValueError(
                f"executor: worker {address} has precision-emu {installed}, and this process {here}: "
                "install one"
            )


def _check_scheme(address: str) -> None:
    """Raise ValueError for an address of a kind that Dask does not know, which it would try for long."""
    scheme, mark, _ = address.partition("://")
    try:
        if mark:
            require("distributed.comm.registry", "distributed").get_backend(scheme)
    except ValueError as error:
        raise ValueError(f"executor: {address!r} is no address of a Dask scheduler: {error}") from error


class Runner:
    """A runner of a sweep's calls, in this process or through an executor; a context manager.

    At its end it closes the client that it opened, and leaves a caller's executor open.
    """

    def __init__(self, executor: object) -> None:
        self._close: list[Callable[[], object]] = []
        try:
            self._executor = self._open_executor(executor)
        except BaseException:
            self.__exit__(None, None, None)
            raise

    def _open_executor(self, executor: object) -> Executor | None:
        """Return the executor to use, or None for this process; an address is connected to."""
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
            # Dask must not take equal calls for one: the sweep itself computes equal cells once.
            opened: Executor = executor.get_executor(pure=False)
            return opened
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
    def description(self) -> str:
        """The name of the executor's type, or ``in-process``, for the provenance."""
        return "in-process" if self._executor is None else type(self._executor).__name__

    def run(
        self,
        function: Callable[..., Any],
        cells: Sequence[Cell],
        done: Callable[[Cell, CellOutcome], object],
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
            KeyboardInterrupt, or the error that ended the executor; cells that have ended by then are handed
            over first.
        """
        names = frozenset(name for cell in cells for name in cell.shown)
        task = Task(function, names, kernel_threads, current_process(), keep_errors)
        before = get_num_threads()
        try:
            if self._executor is None:
                for cell in cells:
                    done(cell, run_cell(task, cell.arguments))
            else:
                _run_through(self._executor, task, cells, done)
        finally:
            if kernel_threads is not None:
                set_num_threads(before)


def _pack(what: object, name: str) -> bytes:
    """Serialize an object for another process; raise TypeError if it cannot be.

    The other process reads it itself, since some executors hang if an import fails while they do.
    """
    try:
        packed: bytes = require("cloudpickle", "sweep").dumps(what)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise TypeError(f"{name} cannot be sent to another process: {error}") from error
    return packed


@functools.lru_cache(maxsize=4)
def _unpack_task(task: bytes) -> Task:
    """Read a serialized task; the last few are kept."""
    unpacked: Task = pickle.loads(task)
    return unpacked


def _run_packed(task: bytes, arguments: bytes) -> CellOutcome | str:
    """Run `run_cell` on serialized arguments in another process.

    If they cannot be read there, the text of the error is returned instead.
    """
    try:
        call = _unpack_task(task), pickle.loads(arguments)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    with allow_interrupts():
        return run_cell(*call)


def _run_through(
    executor: Executor, task: Task, cells: Sequence[Cell], done: Callable[[Cell, CellOutcome], object]
) -> None:
    """Run cells through an executor, and hand over each outcome as it ends."""
    if isinstance(executor, ThreadPoolExecutor):

        def submit(cell: Cell) -> Future[CellOutcome | str]:
            return executor.submit(run_cell, task, cell.arguments)
    else:
        packed = _pack(task, "function")

        def submit(cell: Cell) -> Future[CellOutcome | str]:
            return executor.submit(_run_packed, packed, _pack(cell.arguments, "grid: an argument"))

    waiting, blamed = deque(cells), list[Cell]()
    running: dict[Future[CellOutcome | str], Cell] = {}
    ended: SimpleQueue[Future[CellOutcome | str] | None] = SimpleQueue()

    def start(cell: Cell) -> None:
        """Submit a cell, and remember its future."""
        future = submit(cell)
        running[future] = cell
        future.add_done_callback(ended.put)

    def next_ended() -> Future[CellOutcome | str]:
        """Return the next future that has ended; raise if Ctrl-C or the executor ended the run."""
        future = ended.get()
        if future is None:
            raise KeyboardInterrupt
        if future.cancelled():  # this sweep cancels none here: the cluster or the pool was shut down
            raise BrokenExecutor("executor: it ended before the cells did")
        return future

    try:
        with _redirect_interrupts(lambda: ended.put(None)):
            while waiting or running:
                while waiting and len(running) < _AHEAD:
                    start(waiting.popleft())
                future = next_ended()
                cell = running.pop(future)
                if _worker_died(future):
                    blamed.append(cell)
                else:
                    done(cell, _read_outcome(future))
            # Dask blames every cell that a worker held when it died. Run alone, each shows if it is to blame.
            for cell in blamed:
                start(cell)
                done(running.pop(future := next_ended()), _read_outcome(future))
    except BaseException:
        for future in running:
            future.cancel()
        for future, cell in running.items():
            if future.done() and not future.cancelled() and future.exception() is None:
                done(cell, _read_outcome(future))
        raise


@contextmanager
def _redirect_interrupts(action: Callable[[], object]) -> Iterator[None]:
    """Let Ctrl-C call ``action`` within the block, instead of raising wherever this thread stands."""
    default = signal.default_int_handler
    if not is_main_thread() or signal.getsignal(signal.SIGINT) is not default:
        yield  # the user's own handler stays
        return
    signal.signal(signal.SIGINT, lambda *_: action())
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, default)


def _worker_died(future: Future[Any]) -> bool:
    """Tell whether the workers that tried a cell died, of it or of another cell (Dask alone goes on)."""
    return type(future.exception()).__name__ == "KilledWorker"


def _read_outcome(future: Future[CellOutcome | str]) -> CellOutcome:
    """Return the outcome of a future that has ended.

    An error that ends the executor is raised; the death of a worker is the cell's error.
    """
    error = future.exception()
    if _worker_died(future):
        return CellOutcome({}, f"KilledWorker: {error}")
    if error is not None:
        raise error
    result = future.result()
    if isinstance(result, str):
        raise TypeError(
            f"function: a worker process cannot read it ({result}): what it needs must be installed there"
        )
    return result
