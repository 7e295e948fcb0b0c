"""The provenance of a sweep's table: the function, the versions and the grid."""

from __future__ import annotations

import functools
import hashlib
import inspect
import platform
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any, TypeAlias

from precision._support._user_functions import displayed_module_name
from precision.studies._experiment import Study
from precision.sweep._grid import Cell
from precision.sweep._store_checks import Identity

Function: TypeAlias = Callable[..., Any]


def _find_version(package: str) -> str | None:
    """Return the version of an installed package, or None."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def build_identity(chosen: Function | Study, cells: Sequence[Cell]) -> Identity:
    """Build the identity of a store: function or study, its source, this version and the parameters."""
    function: Any = chosen.cell if isinstance(chosen, Study) else chosen
    bound = ""  # positional arguments of functools.partial, which no column shows
    while isinstance(function, functools.partial):
        bound += f"({', '.join(map(repr, function.args))})" if function.args else ""
        function = function.func
    if not hasattr(function, "__qualname__"):
        function = type(function)
    module = displayed_module_name(str(getattr(function, "__module__", "?")))
    name = f"{module}:{function.__qualname__}{bound}"
    if isinstance(chosen, Study):  # a study keeps its name when its module moves
        name = f"study:{chosen.name}"
    try:
        source: str | None = hashlib.sha256(inspect.getsource(function).encode()).hexdigest()
    except (OSError, TypeError):
        source = None
    parameters = tuple(dict.fromkeys(name for cell in cells for name in cell.shown))
    return Identity(name, source, _find_version("precision-emu") or "unknown", parameters)


def build_provenance(chosen: Function | Study, identity: Identity, cells: Sequence[Cell]) -> dict[str, Any]:
    """Build the record of a sweep: its function, parameters, versions, machine and time."""
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
        "versions": {name: _find_version(name) for name in packages} | {"python": platform.python_version()},
        "machine": f"{platform.system()} {platform.machine()}",
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
    }
