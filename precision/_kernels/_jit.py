"""The one jit policy of the house, and the typed wrapper that mypy sees.

Lazy ``njit(cache=True, nogil=True, error_model="numpy")``: never fastmath, never parallel.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, ParamSpec, TypeVar, cast

import numba
import numba.extending
from numba.core.caching import FunctionCache, IndexDataCacheFile

P = ParamSpec("P")
R = TypeVar("R")

_FOLDER = Path(__file__).parent


def _room_stamp() -> tuple[float, int]:
    """Newest change and total size of this folder's sources.

    Numba stamps a cached function with its own file alone, but our kernels inline functions of
    other files: a cache entry is good only while the whole room is unchanged.
    """
    stats = [path.stat() for path in _FOLDER.rglob("*.py")]
    return max(s.st_mtime for s in stats), sum(s.st_size for s in stats)


_STAMP = _room_stamp()
_warned = False


class _Cache(FunctionCache):
    """Numba's cache of a function, for the room as it is, and quicker to load."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function)  # type: ignore[no-untyped-call]
        # Entries of another state of the room lie in other files: they may name types that are gone.
        name = f"{self._impl.filename_base}-{_STAMP[0]:.6f}-{_STAMP[1]}"
        self._cache_file = IndexDataCacheFile(self._cache_path, name, _STAMP)  # type: ignore[no-untyped-call]

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Load compiled code before Numba loads what it knows of Python and NumPy, a third of a first call.

        Only compiling needs that, and asks for it by itself. Compiled code calls Numba's runtime and nothing
        else; where this finds no code, or a newer Numba works in another way, Numba's own method follows.
        """
        with contextlib.suppress(Exception):
            from numba.core.runtime.nrt import rtsys

            rtsys.initialize(target_context)
            found = self._load_overload(sig, target_context)  # type: ignore[no-untyped-call]
            if found is not None:
                return found
        return super().load_overload(sig, target_context)  # type: ignore[no-untyped-call]


def jit(function: Callable[P, R]) -> Callable[P, R]:
    """Compile ``function`` at its first call, without the GIL, cached on disk where that can be."""
    global _warned
    compiled: Any = numba.njit(nogil=True, error_model="numpy")(function)
    try:
        compiled._cache = _Cache(function)
    except RuntimeError as error:  # Numba: "no locator available"
        if not _warned:
            _warned = True
            warnings.warn(
                f"precision: no folder for compiled code can be written ({error}); "
                "every process compiles anew. Set NUMBA_CACHE_DIR to a writable folder.",
                RuntimeWarning,
                stacklevel=2,
            )
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
