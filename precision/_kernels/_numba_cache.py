"""A cache of compiled code that follows edits of every kernel, in the place of Numba's own.

This is the only module that reaches into Numba's caching. The private parts are those that `PARTS` names; the
attributes ``_impl.filename_base``, ``_cache_path`` and ``_cache_file`` of a `FunctionCache`, of which Numba
calls ``load``, ``save`` and ``flush`` of the last; and ``_cache`` of a compiled function. Where one of them
is gone or takes other arguments, Numba's own cache serves instead, with one warning that names it: the same
code, but Numba looks at a function's own file alone, and our kernels inline functions of other files.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from numba.core.caching import FunctionCache
from numba.core.runtime.nrt import rtsys
from numba.core.serialize import dumps

from precision._kernels._code_files import CodeFiles, warn_once
from precision._kernels._private_parts import changed

PARTS = {
    "numba.core.caching:FunctionCache": ("py_func",),
    "numba.core.caching:FunctionCache.load_overload": ("self", "sig", "target_context"),
    "numba.core.caching:FunctionCache._load_overload": ("self", "sig", "target_context"),
    "numba.core.caching:FunctionCache.save_overload": ("self", "sig", "data"),
    "numba.core.dispatcher:Dispatcher.enable_caching": ("self",),
    "numba.core.runtime.nrt:rtsys.initialize": ("ctx",),
    "numba.core.serialize:dumps": ("obj",),
}


@functools.cache
def changed_parts() -> list[str]:
    """Name the private parts that are not as this module knows them; empty if all are."""
    return changed(PARTS)


class _Cache(FunctionCache):
    """Numba's cache of a function, for one state of all kernels, safe from damaged files, quicker to load."""

    def __init__(self, function: Callable[..., Any], stamp: str) -> None:
        super().__init__(function)  # type: ignore[no-untyped-call]
        if "_cache_file" not in vars(self):
            raise AttributeError("numba.core.caching:FunctionCache has no _cache_file")
        # Entries of another state of the kernels lie in other files: they may name types that are gone.
        name = f"{self._impl.filename_base}-{stamp}"
        self._cache_file: Any = CodeFiles(self._cache_path, name, stamp, dumps)

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Load compiled code, None where there is none or where it cannot be loaded.

        Numba's own method first loads what it knows of Python and NumPy, which takes a fifth of a first
        `precision gemm`. Only compiling needs that, and asks for it by itself: compiled code calls Numba's
        runtime and nothing else.
        """
        try:
            rtsys.initialize(target_context)
            return self._load_overload(sig, target_context)  # type: ignore[no-untyped-call]
        except Warning:  # where warnings are errors
            raise
        except Exception as error:
            warn_once(f"compiled code cannot be loaded ({type(error).__name__}: {error})")
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Save compiled code, where the folder for it can be made and Numba finds a form for it."""
        try:
            super().save_overload(sig, data)  # type: ignore[no-untyped-call]
        except (OSError, RuntimeError) as error:  # a RuntimeError: Ctrl-C as LLVM hands the code over
            warn_once(f"compiled code cannot be saved ({error})")


def keep_on_disk(compiled: Any, function: Callable[..., Any], stamp: str) -> None:
    """Keep a function's compiled code on disk, for the state of the kernels that ``stamp`` names.

    Where the disk takes none, or Numba has changed, one warning says so.
    """
    try:
        parts = changed_parts()
        if parts:
            raise AttributeError("; ".join(parts))
        if not hasattr(compiled, "_cache"):
            raise AttributeError("a compiled function has no _cache")
        compiled._cache = _Cache(function, stamp)
    except (RuntimeError, OSError) as error:  # Numba: "no locator available"
        warn_once(f"no folder for compiled code can be written ({error})")
    except AttributeError as error:
        warn_once(f"this Numba keeps compiled code in its own way ({error}), and misses edits of kernels")
        compiled.enable_caching()
