"""The one jit policy of the house, and the typed wrapper that mypy sees.

Lazy ``njit(cache=True, nogil=True, error_model="numpy")``: never fastmath, never parallel.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, ParamSpec, TypeVar, cast

import numba
import numba.extending
import numpy as np
from numba.core.caching import FunctionCache

from precision._kernels._code_files import CodeFiles, warn_once

if numba.config.DISABLE_JIT:  # type: ignore[attr-defined]
    raise RuntimeError(
        "NUMBA_DISABLE_JIT is set, and precision's kernels are compiled code, which has no other form: "
        "unset NUMBA_DISABLE_JIT in the environment, and start Python anew"
    )

P = ParamSpec("P")
R = TypeVar("R")

_FOLDER = Path(__file__).parent


def _room_stamp() -> str:
    """Return a checksum of this folder's sources, and of the versions of Python and NumPy.

    Numba stamps a cached function with its own file alone, but our kernels inline functions of
    other files: a cache entry is good only while the whole room is unchanged. Contents, not times of
    files, decide: a reinstalled or copied package keeps its compiled code.
    """
    stamp = hashlib.blake2b(f"{sys.version} {np.__version__}".encode(), digest_size=8)
    for path in sorted(_FOLDER.rglob("*.py")):
        stamp.update(f"\n{path.relative_to(_FOLDER).as_posix()}\n".encode())
        stamp.update(path.read_bytes())
    return stamp.hexdigest()


_STAMP = _room_stamp()


class _Cache(FunctionCache):
    """Numba's cache of a function, for the room as it is, safe from damaged files, and quicker to load."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function)  # type: ignore[no-untyped-call]
        # Entries of another state of the room lie in other files: they may name types that are gone.
        name = f"{self._impl.filename_base}-{_STAMP}"
        self._cache_file: Any = CodeFiles(self._cache_path, name, _STAMP)

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Load compiled code before Numba loads what it knows of Python and NumPy, a third of a first call.

        Only compiling needs that, and asks for it by itself. Compiled code calls Numba's runtime and nothing
        else. Where a newer Numba works in another way, its own method follows; and what that cannot load is
        compiled.
        """
        try:
            from numba.core.runtime.nrt import rtsys

            rtsys.initialize(target_context)
            return self._load_overload(sig, target_context)  # type: ignore[no-untyped-call]
        except Warning:  # where warnings are errors
            raise
        except Exception:
            pass
        try:
            return super().load_overload(sig, target_context)  # type: ignore[no-untyped-call]
        except Warning:
            raise
        except Exception as error:
            warn_once(f"compiled code cannot be loaded ({type(error).__name__}: {error})")
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Save compiled code, where the folder for it can be made and Numba finds a form for it."""
        try:
            super().save_overload(sig, data)  # type: ignore[no-untyped-call]
        except (
            OSError,
            RuntimeError,
        ) as error:  # Ctrl-C as LLVM hands the code over
            warn_once(f"compiled code cannot be saved ({error})")


def jit(function: Callable[P, R]) -> Callable[P, R]:
    """Compile ``function`` at its first call, without the GIL, cached on disk where that can be."""
    compiled: Any = numba.njit(nogil=True, error_model="numpy")(function)
    try:
        compiled._cache = _Cache(function)
    except (RuntimeError, OSError) as error:  # Numba: "no locator available"
        warn_once(f"no folder for compiled code can be written ({error})")
    except (AttributeError, TypeError) as error:  # another Numba, of other private parts: its own way
        warn_once(f"this Numba keeps compiled code in its own way ({error}), and misses edits of kernels")
        compiled.enable_caching()
    return cast(Callable[P, R], compiled)


def inline(function: Callable[P, R]) -> Callable[P, R]:
    """Make ``function`` part of each compiled function that calls it, before types are known.

    LLVM would inline it as well, but only after it was compiled by itself: this halves compile times.
    """
    return cast(Callable[P, R], numba.njit(inline="always", nogil=True, error_model="numpy")(function))


def intrinsic(function: Callable[..., Any]) -> Any:
    """Numba's ``intrinsic``: a function that writes its own LLVM code, for any types that it takes."""
    return numba.extending.intrinsic(function)


def overload(function: Callable[..., Any]) -> Callable[[Callable[..., Any]], Any]:
    """Numba's ``overload``: what compiled code calls in place of ``function``, chosen by argument types."""
    return numba.extending.overload(function, jit_options={"nogil": True, "error_model": "numpy"})
