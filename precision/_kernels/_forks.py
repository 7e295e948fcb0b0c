"""Forks while another thread compiles: they wait for it, and a child that could not wait says what to do.

A forked child has none of its parent's other threads, but their locks as they were: it would wait for ever for
Numba's compiler lock, and LLVM would be left in the middle of its work. The private parts that this touches:
``_lock`` of ``numba.core.compiler_lock.global_compiler_lock`` and ``lib._lock._lock`` of
``llvmlite.binding.ffi``, and ``__spec__._initializing`` of modules, which Python's imports set. Where one of
them is gone, forks go on as if this module were not there.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from typing import Any, NoReturn

#: Seconds that a fork waits for a compilation, whose thread might in turn wait for the thread that forks.
PATIENCE = 60.0
_BUSY = "numba", "llvmlite", "precision._kernels"


def _holders() -> list[Any]:
    """List the objects whose attribute ``_lock`` guards compiling, in the order in which they are taken."""
    found = [
        getattr(sys.modules.get("numba.core.compiler_lock"), "global_compiler_lock", None),
        getattr(getattr(sys.modules.get("llvmlite.binding.ffi"), "lib", None), "_lock", None),
    ]
    return [holder for holder in found if hasattr(getattr(holder, "_lock", None), "acquire")]


def _importing() -> bool:
    """Tell whether a thread imports what compiling needs; its locks, too, would stay as they are."""
    for name, module in list(sys.modules.items()):
        starts = name.startswith(_BUSY)
        if starts and getattr(getattr(module, "__spec__", None), "_initializing", False):
            return True
    return False


class _Refusal:
    """The compiler's lock in a child that was forked while another thread held it."""

    def acquire(self, *_: object, **__: object) -> NoReturn:
        raise RuntimeError(
            "this process was forked while another thread of its parent compiled, and cannot compile: start "
            "processes by multiprocessing's 'spawn' or 'forkserver', or call what they compute once before"
        )

    def release(self) -> None:
        """Do nothing: it is never held."""

    def _is_owned(self) -> bool:
        return False


class _Fork:
    """A thread's present fork: the locks that it has taken, and the holders of those that it has not."""

    def __init__(self) -> None:
        self.taken: list[Any] = []
        self.missed: list[Any] = []

    def prepare(self) -> None:
        """Wait until no thread compiles, and keep others from it until the fork is over."""
        end = time.monotonic() + PATIENCE
        while not self._take(end) and time.monotonic() < end:
            self.release()
            time.sleep(0.01)

    def _take(self, end: float) -> bool:
        self.missed = _holders()
        while self.missed:
            lock = self.missed[0]._lock
            if not lock.acquire(timeout=max(0.0, end - time.monotonic())):
                return False
            self.taken.append(lock)
            del self.missed[0]
        return not _importing()

    def release(self) -> None:
        """Let other threads compile again."""
        while self.taken:
            self.taken.pop().release()

    def refuse(self) -> None:
        """Make the child's compilations raise where its parent's were still under way."""
        for holder in self.missed:
            holder._lock = _Refusal()


class _Forks(threading.local):
    """The forks under way in the present thread."""

    fork: _Fork | None = None


_forks = _Forks()


def _before() -> None:
    _forks.fork = fork = _Fork()
    fork.prepare()


def _after_in_parent() -> None:
    fork, _forks.fork = _forks.fork, None
    if fork is not None:
        fork.release()


def _after_in_child() -> None:
    fork, _forks.fork = _forks.fork, None
    if fork is not None:
        fork.refuse()
        fork.release()


def register() -> None:
    """Guard this process's forks, after ``logging`` has registered the hooks that it has."""

    if hasattr(os, "register_at_fork"):
        os.register_at_fork(
            before=_before, after_in_parent=_after_in_parent, after_in_child=_after_in_child
        )
