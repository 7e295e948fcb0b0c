"""Functions of a user's own, as the command line names them."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any


def function_named(text: str) -> Callable[..., Any]:
    """The callable that ``module:function`` or ``file.py:function`` names."""
    module, colon, name = text.rpartition(":")
    if not (module and colon and name):
        raise ValueError(f"must be module:function or file.py:function, got {text!r}")
    if module.endswith(".py") and not Path(module).is_file():
        raise ValueError(f"there is no file {module}")
    try:
        found = _module_of(Path(module)) if module.endswith(".py") else _imported(module)
    except Exception as error:
        raise ValueError(f"{text!r} cannot be imported: {type(error).__name__}: {error}") from error
    for part in name.split("."):
        if not hasattr(found, part):
            raise ValueError(f"{text!r}: {getattr(found, '__name__', found)} has no {part!r}")
        found = getattr(found, part)
    if not callable(found):
        raise ValueError(f"{text!r} is no function but {type(found).__name__}")
    return found  # type: ignore[no-any-return]


def _imported(module: str) -> Any:
    if "" not in sys.path and os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    return importlib.import_module(module)


def _module_of(path: Path) -> Any:
    from importlib.util import module_from_spec, spec_from_file_location

    spec = spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[path.stem] = module
    # As of a script: its neighbours can be imported, and worker processes, which get this path, find it.
    sys.path.insert(0, str(path.resolve().parent))
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[path.stem]  # half of it
        raise
    return module
