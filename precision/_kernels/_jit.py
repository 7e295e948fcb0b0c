"""The one policy by which kernels are compiled, and typed wrappers of Numba's decorators.

Kernels are compiled at their first call, as by ``njit(cache=True, nogil=True, error_model="numpy")``: never
fastmath, never parallel. Nothing of Numba is used here that it does not document.
"""

from __future__ import annotations

import functools
import hashlib
import sys
from collections.abc import Callable
from pathlib import Path
from types import FunctionType
from typing import Any, ParamSpec, TypeVar, cast

import numba
import numba.extending
import numpy as np

from precision._kernels._numba_cache import keep_on_disk
from precision._kernels._numba_parts import kernel, part_options

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


def jit(function: Callable[P, R]) -> Callable[P, R]:
    """Compile ``function`` at its first call, without the GIL, cached on disk where that can be."""
    compiled: Any = kernel(function)
    keep_on_disk(compiled, function, _STAMP)
    return cast(Callable[P, R], compiled)


def inline(function: Callable[P, R]) -> Callable[P, R]:
    """Make ``function`` part of each compiled function that calls it, before types are known.

    LLVM would inline it as well, but only after it was compiled by itself: this halves compile times.
    """
    return cast(Callable[P, R], numba.njit(inline="always", nogil=True, error_model="numpy")(function))


def intrinsic(function: Callable[..., Any]) -> Any:
    """Make an intrinsic of Numba's: a function that writes its own LLVM code, for any types that it takes."""
    return numba.extending.intrinsic(function)


def overload(function: Callable[..., Any]) -> Callable[[Callable[..., Any]], Any]:
    """Choose by its arguments' types what compiled code calls in the place of ``function``.

    What is decorated takes the types and returns a function, compiled or not, of the same parameters.
    """

    def decorate(choose: Callable[..., Any]) -> Any:
        @functools.wraps(_unannotated(choose))
        def chosen(*args: Any, **named: Any) -> Any:
            found = choose(*args, **named)
            return found and _unannotated(getattr(found, "py_func", found))

        options: Any = part_options()
        return numba.extending.overload(function, jit_options=options)(chosen)

    return decorate


def _unannotated(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a copy without annotations, which Numba wants to be equal in both functions of an overload."""
    made = FunctionType(
        function.__code__,
        function.__globals__,
        function.__name__,
        function.__defaults__,
        function.__closure__,
    )
    made.__qualname__, made.__module__ = function.__qualname__, function.__module__
    return made
