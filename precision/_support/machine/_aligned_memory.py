"""Aligned memory, and the choice between writing results to the caches and past them."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
import numpy.typing as npt

from precision._support._types import Array

#: Bytes of an operation's arrays from which on no cache could hold them, and results are written past caches.
LARGE = 1 << 25
_LINE = 64  # bytes of a line of the cache
_BLOCK = 512  # elements: so few that reads of the next ones overlap the writes past the caches


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


def streaming(out: Array, nbytes: int) -> tuple[int, Array]:
    """Choose whether a loop writes its piece ``out`` past the caches, in an operation over ``nbytes`` bytes.

    Returns the number of elements that the loop writes first, and the array to which it writes: ``out`` as a
    whole, or a block, from which it is to copy whole lines of the cache. The first elements are then those
    before the first whole line, if there are any, or else a block.
    """
    if nbytes < LARGE or out.size < 2 * _BLOCK:
        return out.size, out
    head, rest = divmod(-out.ctypes.data % _LINE, out.itemsize)
    if rest:
        return out.size, out
    return head or _BLOCK, aligned(_BLOCK, out.dtype)
