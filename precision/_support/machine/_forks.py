"""Hooks that make a fork wait for threads that compile, and make a child raise if the wait was too long.

A forked child has none of its parent's other threads, but has the locks that they held: it would wait for
ever for Numba's compiler lock, and LLVM would be left in the middle of its work. The private parts used here:
``_lock`` of ``numba.core.compiler_lock.global_compiler_lock`` and ``lib._lock._lock`` of
``llvmlite.binding.ffi``, and Python's ``importlib._bootstrap._module_locks`` with the ``owner`` of each lock.
If a later version lacks one of them, forks do not wait for that lock.
"""

from __future__ import annotations

import importlib
import logging  # noqa: F401 -- so that its hooks, which take its lock, run after ours
import os
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, NoReturn

#: Seconds that a fork waits for a compilation, whose thread might in turn wait for the thread that forks.
PATIENCE = 60.0
#: Packages whose modules are imported by the first calls that compile.
_PACKAGES = frozenset({"numba", "llvmlite", "numpy", "ml_dtypes", "precision"})


def _holders() -> list[Any]:
    """List the objects whose attribute ``_lock`` guards compiling, in the order in which they are locked."""
    found = [
        getattr(sys.modules.get("numba.core.compiler_lock"), "global_compiler_lock", None),
        getattr(getattr(sys.modules.get("llvmlite.binding.ffi"), "lib", None), "_lock", None),
    ]
    return [holder for holder in found if hasattr(getattr(holder, "_lock", None), "acquire")]


def _imports() -> list[str]:
    """List the modules for compiling that another thread is importing now."""
    found = []
    for name, reference in list(_module_locks().items()):
        owner = getattr(reference(), "owner", None)
        if owner not in (None, threading.get_ident()) and name.partition(".")[0] in _PACKAGES:
            found.append(name)
    return found


def _module_locks() -> dict[str, Callable[[], Any]]:
    """Return Python's table of the locks of modules under import, or an empty one if there is none."""
    found: dict[str, Callable[[], Any]] = getattr(importlib._bootstrap, "_module_locks", {})
    return found


class _Refusal:
    """A lock that raises: it replaces one that another thread held when this process was forked."""

    def acquire(self, *_: object, **__: object) -> NoReturn:
        """Raise, and say how to start processes instead."""
        raise RuntimeError(
            "this process was forked while another thread of its parent compiled, and cannot compile: start "
            "processes by multiprocessing's 'spawn' or 'forkserver', or call what they compute once before"
        )

    def release(self) -> None:
        """Do nothing, since the lock is never held."""

    def _is_owned(self) -> bool:
        """Tell Python's conditions that no thread holds the lock."""
        return False


class _Fork:
    """A fork under way: the locks that it has taken, and the holders of locks that it could not take."""

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
        """Take the compiler's locks until a time; tell whether no lock and no import is left to wait for."""
        self.missed = _holders()
        while self.missed:
            lock = self.missed[0]._lock
            if not lock.acquire(timeout=max(0.0, end - time.monotonic())):
                return False
            self.taken.append(lock)
            del self.missed[0]
        return not _imports()

    def release(self) -> None:
        """Let other threads compile again."""
        while self.taken:
            self.taken.pop().release()

    def refuse(self) -> None:
        """Make the child's compilations raise where its parent's were still under way."""
        refusal = _Refusal()
        for holder in self.missed:
            holder._lock = refusal
        for name in _imports():  # begun by threads that the child does not have
            _module_locks()[name] = lambda: refusal


class _Forks(threading.local):
    """The fork under way in each thread, or None."""

    fork: _Fork | None = None


_forks = _Forks()


def _before() -> None:
    """Take the compiler's locks before a fork."""
    _forks.fork = fork = _Fork()
    fork.prepare()


def _after_in_parent() -> None:
    """Release the locks in the parent after a fork."""
    fork, _forks.fork = _forks.fork, None
    if fork is not None:
        fork.release()


def _after_in_child() -> None:
    """Release the locks in the child after a fork, and replace those that could not be taken."""
    fork, _forks.fork = _forks.fork, None
    if fork is not None:
        fork.refuse()
        fork.release()


def register() -> None:
    """Register the hooks of forks, after ``logging`` has registered its own."""

    if hasattr(os, "register_at_fork"):
        os.register_at_fork(before=_before, after_in_parent=_after_in_parent, after_in_child=_after_in_child)
