"""Aligned memory, and when results are written past the caches."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import numpy.typing as npt

from precision._support._types import Array

#: Bytes of an operation's arrays from which on no cache holds them, so that results stream past it.
LARGE = 1 << 25
_LINE = 64
_BLOCK = 4096  # elements: a block, its source and the codes stay in the first-level cache


def aligned(size: int, dtype: npt.DTypeLike) -> Array:
    """An empty array that starts at a multiple of 64 bytes."""
    kind = np.dtype(dtype)
    raw = np.empty(size * kind.itemsize + _LINE, np.uint8)
    offset = -raw.ctypes.data % _LINE
    return raw[offset : offset + size * kind.itemsize].view(kind)


def aligned_parts(*parts: tuple[int, np.dtype[Any]], zeros: bool = False) -> list[Array]:
    """Return arrays of these sizes and types in one memory, each at a multiple of 64 bytes; empty, or zeros.

    They hold the memory together: it is for arrays that live as long as each other.
    """
    nbytes = _LINE
    for size, kind in parts:
        nbytes += -(-size * kind.itemsize // _LINE) * _LINE
    raw = np.zeros(nbytes, np.uint8) if zeros else np.empty(nbytes, np.uint8)
    place, found = -raw.ctypes.data % _LINE, []
    for size, kind in parts:
        found.append(np.ndarray(size, kind, raw, place))
        place += -(-size * kind.itemsize // _LINE) * _LINE
    return found


@functools.lru_cache(maxsize=8)
def _nothing(dtype: np.dtype[Any]) -> Array:
    return np.empty(0, dtype)


def streaming(out: Array, nbytes: int) -> tuple[int, Array]:
    """Choose how a loop writes its piece ``out`` of an operation over ``nbytes``.

    Returns the number of elements before the first whole line of the cache, and a buffer to fill with those
    that follow; an empty one if the loop is to write as usual.
    """
    if nbytes < LARGE or out.size < 2 * _BLOCK:
        return 0, _nothing(out.dtype)
    head, rest = divmod(-out.ctypes.data % _LINE, out.itemsize)
    if rest:
        return 0, _nothing(out.dtype)
    return head, aligned(_BLOCK, out.dtype)
