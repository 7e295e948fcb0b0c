"""Packages that only an extra brings: imported where they are used, explained where they are missing."""

from __future__ import annotations

import importlib
from types import ModuleType


class MissingExtraError(ImportError):
    """A package of an extra is not installed; the message says which extra brings it."""


def require(module: str, extra: str) -> ModuleType:
    """The module of that name, or an error that says which extra brings it."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or module.partition(".")[0] != error.name.partition(".")[0]:
            raise  # something inside the package is broken: not ours to explain
        raise MissingExtraError(explain(error.name, extra), name=error.name) from error


def explain(package: str, extra: str) -> str:
    """Return the words for a user who lacks ``package``."""
    return f"{package} is not installed: pip install 'precision-emu[{extra}]'"
