"""The public rooms of the package, each imported when it is first asked for."""

from __future__ import annotations

import importlib
import sys
from typing import Any

from precision._support import _moved_names

#: Every public room. Those that need an extra say so when they are imported.
ROOMS = (
    "accumulators", "bounds", "cost", "formats", "gemm", "hardware", "logfmt", "metrics", "plots",
    "quantization", "specs", "storage", "studies", "sweep", "testing", "units",
)  # fmt: skip


def room(name: str) -> Any:
    """Return the room of that name as an attribute of `precision`, importing it.

    Raises
    ------
    AttributeError
        If there is none; the message says where a module of an earlier version went.
    """
    if name in ROOMS:
        return importlib.import_module(f"precision.{name}")
    moved = f": {_moved_names.where(name)}" if name in _moved_names.MODULES else ""
    raise AttributeError(f"module 'precision' has no attribute {name!r}{moved}", name=name)


def public_names() -> list[str]:
    """Return what `dir` lists of `precision`: the rooms, and the everyday names."""
    return sorted({*ROOMS, *sys.modules["precision"].__all__})


_moved_names.install()
