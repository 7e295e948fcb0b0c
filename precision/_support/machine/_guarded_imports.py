"""The guard of imports, by which the package's modules run in the default floating-point environment.

A module computes constants, and if it has no compiled file yet, Python parses the numbers in its text; both
round. Without the guard an import in a thread that flushes subnormal numbers would leave wrong constants for
as long as the process lives (in a compiled file for good).
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

from precision._support.machine._float_environment import in_default_environment

_PACKAGE = __name__.partition(".")[0] + "."


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
            loader = found.loader
            loader.exec_module = in_default_environment(loader.exec_module)  # type: ignore[method-assign]
        return found


def guard_imports() -> None:
    """Make every module of the package that is imported from now on run in the default environment."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())
