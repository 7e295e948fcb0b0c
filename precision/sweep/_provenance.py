"""The provenance of a sweep's table: function, versions and grid."""

from __future__ import annotations

import functools
import hashlib
import inspect
import platform
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any, TypeAlias

from precision.cli._user_functions import spoken_name
from precision.studies._experiment import Study
from precision.sweep._grid import Cell
from precision.sweep._store_checks import Identity

if TYPE_CHECKING:
    pass


Function: TypeAlias = Callable[..., Any]


# ---- provenance -------------------------------------------------------------------------------------
def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _identity(function: Function, cells: Sequence[Cell]) -> Identity:
    bound = ""  # arguments without a name, which no column shows
    while isinstance(function, functools.partial):
        bound += f"({', '.join(map(repr, function.args))})" if function.args else ""
        function = function.func
    if not hasattr(function, "__qualname__"):
        function = type(function)
    module = spoken_name(str(getattr(function, "__module__", "?")))
    name = f"{module}:{function.__qualname__}{bound}"
    try:
        source: str | None = hashlib.sha256(inspect.getsource(function).encode()).hexdigest()
    except (OSError, TypeError):
        source = None
    parameters = tuple(dict.fromkeys(name for cell in cells for name in cell.shown))
    return Identity(name, source, _version("precision-emu") or "unknown", parameters)


def _provenance(chosen: Function | Study, identity: Identity, cells: Sequence[Cell]) -> dict[str, Any]:
    packages = ("precision-emu", "numpy", "numba", "ml_dtypes", "pandas")
    named = {
        str(cell.shown[name]): repr(value)
        for cell in cells
        for name, value in cell.arguments.items()
        if isinstance(cell.shown[name], str) and not isinstance(value, str)
    }
    return {
        "function": identity.function,
        "source_sha256": identity.source,
        "study": chosen.name if isinstance(chosen, Study) else None,
        "parameters": list(identity.parameters),
        "named": named,
        "versions": {name: _version(name) for name in packages} | {"python": platform.python_version()},
        "machine": f"{platform.system()} {platform.machine()}",
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
    }
