"""The shared pool of threads, and `parallel`, which divides work between them.

Kernels release the GIL. Results never depend on the number of threads.

Python sees Ctrl-C between two steps of its main thread. So a piece of work, or what lies between two calls
of `checkpoint` in it, is short: some hundredths of a second, below half a second for the slowest loop.
"""

from __future__ import annotations

import contextlib
import itertools
import operator
import os
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, SupportsIndex

from precision._support.machine._float_environment import default_environment
from precision._support.machine._processors import default_threads

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

_lock = threading.Lock()
_pool: ThreadPoolExecutor | None = None
_pool_size = 0
_num_threads: int | None = None


def get_num_threads() -> int:
    """Return how many threads a computation may use.

    The first of these that is set decides:

    1. the last call of `set_num_threads`;
    2. the environment variable ``PRECISION_NUM_THREADS``;
    3. ``NUMBA_NUM_THREADS``;
    4. ``OMP_NUM_THREADS``, of whose list (``4,2``) the first entry counts;
    5. the processors that this process may run on (its affinity), or what the CPU quota of its container
       grants (Linux's control groups; rounded up), whichever is less.

    An empty variable counts as none. One of 3 and 4 that cannot be read is ignored with a warning.

    Raises
    ------
    ValueError
        If ``PRECISION_NUM_THREADS`` is not a whole number of at least 1.

    Examples
    --------
    >>> import precision as pr
    >>> pr.get_num_threads() >= 1
    True
    """
    return default_threads() if _num_threads is None else _num_threads


def set_num_threads(n: SupportsIndex) -> None:
    """Set how many threads every computation of this process may use; results do not depend on it.

    The call wins over every environment variable; `get_num_threads` lists the whole order.

    Parameters
    ----------
    n : int
        At least 1: any whole number that has ``__index__``, but no bool.

    Raises
    ------
    TypeError, ValueError
        If ``n`` is not an integer, or is below 1.

    Examples
    --------
    >>> import precision as pr
    >>> before = pr.get_num_threads()
    >>> pr.set_num_threads(2)
    >>> pr.get_num_threads()
    2
    >>> pr.set_num_threads(before)
    """
    global _num_threads
    if isinstance(n, bool) or not hasattr(n, "__index__"):
        raise TypeError(f"n must be an int, got {n!r}")
    count = operator.index(n)
    if count < 1:
        raise ValueError(f"n must be at least 1, got {count}")
    _num_threads = count


def _forget_pool() -> None:
    """Forget the pool in a forked child, which has none of its parent's threads."""
    global _pool, _pool_size, _lock
    _pool, _pool_size, _lock = None, 0, threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_pool)


def _shared_pool(workers: int) -> ThreadPoolExecutor:
    """Return the pool, of ``workers`` threads at least; a smaller pool is replaced, and ends its work."""
    from concurrent.futures import ThreadPoolExecutor

    global _pool, _pool_size
    with _lock:
        if _pool is None or _pool_size < workers:
            _pool = ThreadPoolExecutor(workers, thread_name_prefix="precision")
            _pool_size = workers
        return _pool


class _Stopped(BaseException):
    """Exception that ends a piece of work halfway, after another piece of the same call has failed."""


class _Call:
    """State of one call of `parallel`, which its threads share: ``stopped`` tells them to stop."""

    def __init__(self) -> None:
        self.stopped = False


class _PresentCall(threading.local):
    """The call of `parallel` that this thread is working for, or None."""

    call: _Call | None = None


_present = _PresentCall()


def checkpoint() -> None:
    """Leave the piece of work that calls this function if its call of `parallel` was stopped.

    Long pieces of work call it now and then.
    """
    call = _present.call
    if call is not None and call.stopped:
        raise _Stopped


def parallel(work: Callable[[int, int], None], total: int, grain: int) -> None:
    """Call ``work(start, stop)`` over ``range(total)`` in pieces of ``grain``, on this thread and the pool's.

    The pieces do not depend on the number of threads, which take the next one as they become free. The first
    exception raised by ``work``, or Ctrl-C, stops every thread after its present piece, and is raised here
    once they have stopped; a second Ctrl-C is raised at once. A call does not wait for a pool that others
    keep busy.
    """
    pieces = -(-total // grain)
    if pieces <= 0:
        return
    following, call = itertools.count(), _Call()

    def loop() -> None:
        outer, _present.call = _present.call, call
        try:
            while not call.stopped and (piece := next(following)) < pieces:
                work(piece * grain, min(total, (piece + 1) * grain))
        except _Stopped:
            pass  # another thread's error is raised by that thread
        except BaseException:
            call.stopped = True
            raise
        finally:
            _present.call = outer

    def helper() -> None:
        with default_environment():  # as in the calling thread, where a public function set it
            loop()

    helpers = min(get_num_threads(), pieces) - 1
    if helpers == 0:
        loop()
        return
    futures: list[Future[None]] = []
    try:
        pool = _shared_pool(helpers)
        for _ in range(helpers):
            futures.append(pool.submit(helper))
        loop()
        _wait(futures)
    except BaseException:
        call.stopped = True
        _wait(futures)
        raise
    for future in futures:
        if not future.cancelled():
            future.result()


def _wait(futures: list[Future[None]]) -> None:
    """Wait for the loops that have begun, and cancel the others, for which no piece is left."""
    for future in [future for future in futures if not future.cancel()]:
        while not future.done():
            # Ctrl-C ends a wait at once on POSIX, and on Windows after its time.
            with contextlib.suppress(TimeoutError):
                future.exception(timeout=0.1)
