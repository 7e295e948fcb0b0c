"""Hands ranges of work to a shared pool of threads. Kernels release the GIL; results never depend on it."""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from precision._support._float_environment import default_environment

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

_lock = threading.Lock()
_pool: ThreadPoolExecutor | None = None
_pool_size = 0
_num_threads: int | None = None


def get_num_threads() -> int:
    """Threads that a computation may use: the last `set_num_threads`, else the CPUs of this process.

    Examples
    --------
    >>> import precision as pr
    >>> pr.get_num_threads() >= 1
    True
    """
    if _num_threads is not None:
        return _num_threads
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def set_num_threads(n: int) -> None:
    """Let every computation of this process use up to ``n`` threads. Results do not depend on ``n``.

    Parameters
    ----------
    n : int
        At least 1.

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
    if isinstance(n, bool) or not isinstance(n, int):
        raise TypeError(f"n must be an int, got {n!r}")
    if n < 1:
        raise ValueError(f"n must be at least 1, got {n}")
    _num_threads = n


def _forget_pool() -> None:
    """A forked child has none of its parent's threads: it starts its own pool."""
    global _pool, _pool_size, _lock
    _pool, _pool_size, _lock = None, 0, threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_pool)


def _shared_pool(workers: int) -> ThreadPoolExecutor:
    """The pool, grown to ``workers``. A smaller one that is replaced still ends what it was given."""
    from concurrent.futures import ThreadPoolExecutor

    global _pool, _pool_size
    with _lock:
        if _pool is None or _pool_size < workers:
            _pool = ThreadPoolExecutor(workers, thread_name_prefix="precision")
            _pool_size = workers
        return _pool


def parallel(work: Callable[[int, int], None], total: int, grain: int) -> None:
    """Call ``work(start, stop)`` over ``range(total)`` in pieces of ``grain``, on this thread and the pool's.

    The pieces are always the same ones; threads take the next piece as they become free. The first
    exception raised by ``work`` is raised here, after every thread has stopped.
    """
    pieces = -(-total // grain)
    if pieces <= 0:
        return
    following = itertools.count()

    def loop() -> None:
        while (piece := next(following)) < pieces:
            work(piece * grain, min(total, (piece + 1) * grain))

    def helper() -> None:
        with default_environment():  # which the calling thread has from the public function on
            loop()

    helpers = min(get_num_threads(), pieces) - 1
    if helpers == 0:
        loop()
        return
    pool = _shared_pool(helpers)
    futures = [pool.submit(helper) for _ in range(helpers)]
    try:
        loop()
    finally:
        errors = [future.exception() for future in futures]
    for error in errors:
        if error is not None:
            raise error
