"""The import of the package's modules in the default floating-point environment, and in the order of rooms.

A module computes constants, and if it has no compiled file yet, Python parses the numbers in its text; both
round. Without the guard an import in a thread that flushes subnormal numbers would leave wrong constants for
as long as the process lives (in a compiled file for good).

Rooms are imported when they are first asked for, by several threads at once it may be. Python locks every
module by itself: a room first and then its modules, but a module of another room before that room, where it
is not there yet. Two threads that take two locks in different orders fail. So a room runs once the room below
it is complete, and all threads take the locks of rooms from the top down.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

from precision._support.machine._float_environment import in_default_environment

_PACKAGE = __name__.partition(".")[0] + "."
#: The rooms of the everyday names, from the ground up. Every other room stands on all of them.
GROUND = ("formats", "quantization", "logfmt", "specs", "accumulators", "units", "gemm")


def _room_below(name: str) -> str | None:
    """Return the room that must be imported before the room ``name``, or None if there is none."""
    room = name.removeprefix(_PACKAGE)
    if "." in room or room.startswith("_") or room == GROUND[0]:
        return None
    return _PACKAGE + (GROUND[GROUND.index(room) - 1] if room in GROUND else GROUND[-1])


def _after(below: str, run: Callable[[ModuleType], None]) -> Callable[[ModuleType], None]:
    """Return a function that imports the room ``below`` and then executes a room by ``run``."""

    def run_above(module: ModuleType) -> None:
        importlib.import_module(below)
        run(module)

    return run_above


def _list_public_names(module: ModuleType) -> list[str]:
    """Return what `dir` shows of a room: its public names, and imported folders that list names as well."""
    inside = f"{module.__name__}."
    folders = {
        name
        for name, value in vars(module).items()
        if isinstance(value, ModuleType) and value.__name__ == inside + name and hasattr(value, "__all__")
    }
    return sorted({*module.__all__, *folders})


def _then_list_names(run: Callable[[ModuleType], None]) -> Callable[[ModuleType], None]:
    """Return ``run``, which executes a room, followed by a `dir` of its own where the room has none."""

    def run_and_list(module: ModuleType) -> None:
        run(module)
        if hasattr(module, "__all__") and "__dir__" not in vars(module):
            vars(module)["__dir__"] = lambda: _list_public_names(module)

    return run_and_list


class _Finder:
    """A finder of this package's modules whose loaders run them in the default environment."""

    @staticmethod
    def find_spec(
        name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the spec of a module of this package with a guarded loader, or None for any other module."""
        if not name.startswith(_PACKAGE):
            return None
        found = PathFinder.find_spec(name, path, target)
        if found is not None and found.loader is not None:
            loader, below = found.loader, _room_below(name)
            run: Callable[[ModuleType], None] = in_default_environment(loader.exec_module)
            if found.submodule_search_locations is not None:
                run = _then_list_names(run)
            if below is not None:  # not imported here: Python holds a lock of all imports while it searches
                run = _after(below, run)
            loader.exec_module = run  # type: ignore[assignment,method-assign]
        return found


def guard_imports() -> None:
    """Make every module of the package that is imported from now on run in the default environment."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())
