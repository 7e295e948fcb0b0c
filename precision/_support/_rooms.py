"""The public rooms of the package, each imported when it is first used."""

from __future__ import annotations

import importlib
import sys
from typing import Any

from precision._support import _moved_names

#: Every public room. A room that needs an extra raises an error that names it when it is imported.
ROOMS = (
    "accumulators", "bounds", "cost", "formats", "gemm", "hardware", "logfmt", "metrics", "plots",
    "quantization", "specs", "storage", "studies", "sweep", "testing", "units",
)  # fmt: skip


def import_room(name: str) -> Any:
    """Import the room of a name, and return it as an attribute of `precision`.

    Raises
    ------
    AttributeError
        If there is no such room; the message says where a module of an earlier version went.
    """
    if name in ROOMS:
        return importlib.import_module(f"precision.{name}")
    moved = f": {_moved_names.describe_move(name)}" if name in _moved_names.MODULES else ""
    raise AttributeError(f"module 'precision' has no attribute {name!r}{moved}", name=name)


def list_public_names() -> list[str]:
    """List the attributes of `precision` for `dir`: the rooms and the everyday names."""
    return sorted({*ROOMS, *sys.modules["precision"].__all__})


_moved_names.install_finder()
