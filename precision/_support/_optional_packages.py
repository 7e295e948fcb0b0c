"""Packages that only an extra brings, imported where they are used, with an error that names the extra."""

from __future__ import annotations

import importlib
from types import ModuleType


class MissingExtraError(ImportError):
    """The error for a package of an extra that is not installed; the message names the extra."""


def require(module: str, extra: str) -> ModuleType:
    """Import a module of an extra and return it; raise `MissingExtraError` if its package is missing."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or module.partition(".")[0] != error.name.partition(".")[0]:
            raise  # the package is installed, and something that it imports is missing
        raise MissingExtraError(missing_package_message(error.name, extra), name=error.name) from error


def missing_package_message(package: str, extra: str) -> str:
    """Return the message for a user who lacks a package: how to install its extra."""
    return f"{package} is not installed: pip install 'precision-emu[{extra}]'"
