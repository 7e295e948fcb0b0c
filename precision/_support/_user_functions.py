"""Functions of a user's own, imported by the text that names them on the command line."""

from __future__ import annotations

import hashlib
import importlib
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any


def import_function(text: str) -> Callable[..., Any]:
    """Import the callable that ``module:function`` or ``file.py:function`` names.

    Raises
    ------
    ValueError
        If there is no such callable, or the user's code that is run to find it raises.
    """
    module, colon, name = text.rpartition(":")
    if not (module and colon and name):
        raise ValueError(f"must be module:function or file.py:function, got {text!r}")
    if module.endswith(".py") and not os.path.isfile(module):
        raise ValueError(f"there is no file {module}")
    try:
        found = _run_as_module(Path(module)) if module.endswith(".py") else _import_module(module)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise ValueError(f"{text!r} cannot be imported: {type(error).__name__}: {error}") from error
    for part in name.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            holder = displayed_module_name(getattr(found, "__name__", str(found)))
            raise ValueError(f"{text!r}: {holder} has no {part!r}") from None
        except Exception as error:
            raise ValueError(f"{text!r} cannot be read: {type(error).__name__}: {error}") from error
    if not callable(found):
        raise ValueError(f"{text!r} is no function but {type(found).__name__}")
    return found  # type: ignore[no-any-return]


def displayed_module_name(module: str) -> str:
    """Return a module's name for its user; for the private name of a file's module, that of the file."""
    stem, mark, digest = module.rpartition("@")
    return stem if mark and len(digest) == _DIGITS else module


def _import_module(module: str) -> Any:
    """Import a module by its name, also from the current folder."""
    with _search_folder(os.getcwd(), first=True):
        return importlib.import_module(module)


_DIGITS = 12  # the digits of the digest in a private name


def _run_as_module(path: Path) -> Any:
    """Run a file as a module, under a name that no import statement can ask for.

    A file numpy.py does not take the place of numpy.
    """
    whole = path.resolve()
    name = f"{path.stem}@{hashlib.sha256(os.fsencode(whole)).hexdigest()[:_DIGITS]}"
    spec = spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[name] = module
    try:
        # As with a script, modules in its folder can be imported. They come last if the file would be found
        # in place of another module of its name.
        with _search_folder(str(whole.parent), first=not _is_a_module(path.stem)):
            spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]  # a module that ran in part
        raise
    return module


@contextmanager
def _search_folder(folder: str, *, first: bool) -> Iterator[None]:
    """Let modules be found in a folder within the block, and as the last choice after it.

    In the block the folder is searched first or last. Later imports of the package itself must not find their
    modules there, but worker processes must find theirs.
    """
    if "" in sys.path or folder in sys.path:
        yield
        return
    sys.path.insert(0 if first else len(sys.path), folder)
    try:
        yield
    finally:
        if folder in sys.path:
            sys.path.remove(folder)
        sys.path.append(folder)


def _is_a_module(name: str) -> bool:
    """Tell whether a name is that of a module that can be imported."""
    try:
        return name in sys.modules or (name.isidentifier() and find_spec(name) is not None)
    except (ImportError, ValueError):
        return False
