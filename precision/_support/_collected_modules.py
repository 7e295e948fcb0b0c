"""The modules of a collection: a folder that holds entries, one a module, and nothing else."""

from __future__ import annotations

import importlib
import pkgutil


def find_entries(collection: str) -> dict[str, str]:
    """Return the modules of a collection by their names without the underscore; no entry is imported.

    Examples
    --------
    >>> from precision._support._collected_modules import find_entries
    >>> find_entries("precision.accumulators.kinds")["fma_chain"]
    'precision.accumulators.kinds._fma_chain'
    """
    folder = importlib.import_module(collection).__path__
    names = sorted(module.name for module in pkgutil.iter_modules(folder) if module.name.startswith("_"))
    return {name.removeprefix("_"): f"{collection}.{name}" for name in names}
