"""Loops written in LLVM beside the same ones that Numba compiles from Python."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numba
import numpy as np

from precision._kernels import _llvm_vectors as vectors
from precision._support.machine._aligned_memory import aligned


def calls(function: Any, count: int, mode: int | None = None) -> Any:
    """Compile a call of a function that only compiled code can call, in a rounding mode if one is given."""
    names = ", ".join(f"x{i}" for i in range(count))
    lines = [f"def call({names}):", f"    return function({names})"]
    if mode is not None:
        lines = [lines[0], "    keep_apart()", f"    set_rounding(I32({mode}))", f"    function({names})",
                 "    set_rounding(I32(1))"]  # fmt: skip
    space = {"function": function, "I32": np.int32}
    space |= {"keep_apart": vectors.keep_apart, "set_rounding": vectors.set_rounding}
    exec("\n".join(lines), space)
    return numba.njit(space["call"])


def own(value: Any) -> Any:
    """Copy an array to aligned memory."""
    if not isinstance(value, np.ndarray):
        return value
    copy = aligned(value.size, value.dtype)
    copy[:] = value.reshape(-1)
    return copy.reshape(value.shape)


def bits(array: np.ndarray) -> np.ndarray:
    """View an array as unsigned words, with one pattern for all NaN."""
    words = array.view(f"u{array.itemsize}").copy()
    if array.dtype.kind == "f":
        words[np.isnan(array)] = np.iinfo(words.dtype).max
    return words


class Pair:
    """A loop in LLVM and the same in Python, each called with copies of the same arrays."""

    def __init__(self, loop: Any, plain: Callable[..., None], count: int, mode: int | None = None) -> None:
        self.loop, self.plain = calls(loop, count, mode), calls(numba.njit(plain), count)

    def agree(self, *arguments: Any) -> list[Any]:
        """Compare all arrays after a call of each; returns them."""
        ours, others = [own(x) for x in arguments], [own(x) for x in arguments]
        self.loop(*ours)
        self.plain(*others)
        for mine, other in zip(ours, others, strict=True):
            if isinstance(mine, np.ndarray):
                np.testing.assert_array_equal(bits(mine), bits(other))
        return ours


@functools.cache
def compiled_pair(loop: Any, plain: Callable[..., None], count: int, mode: int | None = None) -> Pair:
    """Return the pair of two loops, whose code is compiled once for all tests of a process."""
    return Pair(loop, plain, count, mode)
