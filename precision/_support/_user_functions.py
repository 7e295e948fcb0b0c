"""Functions of a user's own, as the command line names them."""

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


def function_named(text: str) -> Callable[..., Any]:
    """The callable that ``module:function`` or ``file.py:function`` names.

    Raises
    ------
    ValueError
        If there is none, or the code of the user's own that is run to find it raises.
    """
    module, colon, name = text.rpartition(":")
    if not (module and colon and name):
        raise ValueError(f"must be module:function or file.py:function, got {text!r}")
    if module.endswith(".py") and not os.path.isfile(module):
        raise ValueError(f"there is no file {module}")
    try:
        found = _module_of(Path(module)) if module.endswith(".py") else _imported(module)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise ValueError(f"{text!r} cannot be imported: {type(error).__name__}: {error}") from error
    for part in name.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            holder = spoken_name(getattr(found, "__name__", str(found)))
            raise ValueError(f"{text!r}: {holder} has no {part!r}") from None
        except Exception as error:
            raise ValueError(f"{text!r} cannot be read: {type(error).__name__}: {error}") from error
    if not callable(found):
        raise ValueError(f"{text!r} is no function but {type(found).__name__}")
    return found  # type: ignore[no-any-return]


def spoken_name(module: str) -> str:
    """The name of a module as its user knows it: of a file's private one, the file's."""
    stem, mark, digest = module.rpartition("@")
    return stem if mark and len(digest) == _DIGITS else module


def _imported(module: str) -> Any:
    with _importing_from(os.getcwd(), first=True):
        return importlib.import_module(module)


_DIGITS = 12  # of the digest in a private name


def _module_of(path: Path) -> Any:
    """Run a file as a module of a name that no import statement can ask for: numpy.py is not numpy."""
    whole = path.resolve()
    name = f"{path.stem}@{hashlib.sha256(os.fsencode(whole)).hexdigest()[:_DIGITS]}"
    spec = spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[name] = module
    try:
        # As of a script, its neighbours can be imported. They come last if the file itself would be found
        # in place of the module of its name.
        with _importing_from(str(whole.parent), first=not _is_a_module(path.stem)):
            spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]  # half of it
        raise
    return module


@contextmanager
def _importing_from(folder: str, *, first: bool) -> Iterator[None]:
    """Let modules be found in a folder: at first or at last in the block, and at last from then on.

    What the package itself imports later must not be found there, worker processes must find their modules.
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
    try:
        return name in sys.modules or (name.isidentifier() and find_spec(name) is not None)
    except (ImportError, ValueError):
        return False
