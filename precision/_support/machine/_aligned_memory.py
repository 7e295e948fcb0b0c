"""Aligned memory, and the choice between writing results to the caches and past them."""

from __future__ import annotations

import ctypes
import functools
from typing import Any

import numpy as np
import numpy.typing as npt

from precision._support._types import Array

#: Bytes of an operation's arrays from which on no cache could hold them, and results are written past caches.
LARGE = 1 << 25
_LINE = 64  # bytes of a line of the cache
_BLOCK = 4096  # elements: a block, its source and the codes stay in the first-level cache


def _address(raw: Array) -> int:
    """Return the address of an array's memory, in a third of the time of ``raw.ctypes.data``."""
    return ctypes.addressof(ctypes.c_char.from_buffer(raw.data))


def aligned(size: int, dtype: npt.DTypeLike) -> Array:
    """Allocate an array, without values, that starts at a multiple of 64 bytes."""
    kind = np.dtype(dtype)
    raw = np.empty(size * kind.itemsize + _LINE, np.uint8)
    offset = -_address(raw) % _LINE
    return raw[offset : offset + size * kind.itemsize].view(kind)


def aligned_parts(*parts: tuple[int, np.dtype[Any]], zeros: bool = False) -> list[Array]:
    """Allocate arrays of given sizes and types in one piece of memory, each at a multiple of 64 bytes.

    The arrays have no values, or zeros. The memory lives as long as any of them.
    """
    nbytes = _LINE
    for size, kind in parts:
        nbytes += -(-size * kind.itemsize // _LINE) * _LINE
    raw = np.zeros(nbytes, np.uint8) if zeros else np.empty(nbytes, np.uint8)
    place, found = -_address(raw) % _LINE, []
    for size, kind in parts:
        found.append(np.ndarray(size, kind, raw, place))
        place += -(-size * kind.itemsize // _LINE) * _LINE
    return found


@functools.lru_cache(maxsize=8)
def _nothing(dtype: np.dtype[Any]) -> Array:
    """Return an array of no element, which stands for no buffer."""
    return np.empty(0, dtype)


def streaming(out: Array, nbytes: int) -> tuple[int, Array]:
    """Choose whether a loop writes its piece ``out`` past the caches, in an operation over ``nbytes`` bytes.

    Returns the number of elements before the first whole line of the cache, and a buffer for those that
    follow, from which whole lines are written. An empty buffer tells the loop to write as usual.
    """
    if nbytes < LARGE or out.size < 2 * _BLOCK:
        return 0, _nothing(out.dtype)
    head, rest = divmod(-out.ctypes.data % _LINE, out.itemsize)
    if rest:
        return 0, _nothing(out.dtype)
    return head, aligned(_BLOCK, out.dtype)
