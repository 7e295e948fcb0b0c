"""The time that compiling takes in this process, and the notice of it, given once, when it becomes long."""

from __future__ import annotations

import contextlib
import sys
import warnings
from typing import NamedTuple

LONG = 1.0
"""The seconds of compiling in a process after which the notice is given."""

_INNER = ("precision", "numba", "threading", "concurrent")
_given = False


class Compiled(NamedTuple):
    """The number of kernels that this process has compiled so far, and the time that took."""

    kernels: int  #: loops that Python calls; those that they call are compiled with them
    seconds: float


_compiled = Compiled(0, 0.0)


def compiled_here() -> Compiled:
    """Return how much was compiled in this process so far."""
    return _compiled


def note_compiling(seconds: float) -> None:
    """Count a kernel that was compiled; the first time that all took longer than `LONG`, warn.

    Where warnings are errors, nothing is raised: a call must not fail for being the first.
    """
    global _compiled, _given
    _compiled = Compiled(_compiled.kernels + 1, _compiled.seconds + seconds)
    if _given or _compiled.seconds <= LONG:
        return
    _given = True
    with contextlib.suppress(Warning):
        warnings.warn(
            f"precision: first calls have compiled for {_compiled.seconds:.1f} s; what is compiled is kept "
            "for the next process. The command `precision warm` compiles everything beforehand.",
            UserWarning,
            stacklevel=_callers_level(),
        )


def _callers_level() -> int:
    """Return how many frames lie between `note_compiling` and the code that called the package."""
    level, frame = 1, sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] in _INNER:
        level, frame = level + 1, frame.f_back
    return level
