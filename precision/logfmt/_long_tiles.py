"""Tiles so long that one call of a loop would take seconds, encoded and decoded part by part.

A tile's levels come from its smallest and largest magnitudes, and from whether it holds zeros, NaN or Inf: a
part beside elements of the tile that say as much is a tile of the same levels.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from precision._support._types import Array
from precision._support.machine._threads import checkpoint, parallel
from precision.logfmt._encoding import Encoding

if TYPE_CHECKING:
    from precision._kernels.logfmt._levels import Grid

LONG = 1 << 20
"""Elements of a tile; one that has more is long."""
PART = 1 << 19
"""Elements of a part of a long tile."""


class _Part(NamedTuple):
    """Some elements of one long tile."""

    tile: int
    row: int  #: row and column of the first element
    column: int
    here: slice  #: its place in the flat array


def _parts(size: int, layout: Any) -> list[_Part]:
    """Return the parts of the long tiles of ``size`` elements."""
    parts, width = [], layout.width
    for row in range(size // width):
        for tile in range(layout.tiles):
            end = min((tile + 1) * layout.block, width)
            for column in range(tile * layout.block, end, PART):
                here = slice(row * width + column, row * width + min(column + PART, end))
                parts.append(_Part(row * layout.tiles + tile, row, column, here))
    return parts


def encode_long_tiles(
    elements: Array, layout: Any, encoding: Encoding, codes: Array, firsts: Array, seconds: Array
) -> None:
    """Fill the codes of all elements, and the two numbers of all tiles; every array is flat."""
    parts, dtype = _parts(elements.size, layout), encoding.dtype
    seen: list[list[Array]] = [[] for _ in range(len(firsts))]

    def look(first: int, last: int) -> None:
        for part in parts[first:last]:
            checkpoint()
            seen[part.tile].append(_witnesses(np.ascontiguousarray(elements[part.here], dtype)))

    parallel(look, len(parts), 1)
    beside = [_witnesses(np.concatenate(tile)) for tile in seen]

    def encode_parts(first: int, last: int) -> None:
        for part in parts[first:last]:
            checkpoint()
            own = np.concatenate([np.ascontiguousarray(elements[part.here], dtype), beside[part.tile]])
            size, target = own.size, np.empty(own.size, codes.dtype)
            place = layout._replace(width=size, block=size, tiles=1, top=part.row, left=part.column)
            stored = np.empty(1, np.float32), np.empty(1, np.float32)
            encoding.run(own, (0, 1), place, target, stored)
            codes[part.here] = target[: part.here.stop - part.here.start]
            firsts[part.tile], seconds[part.tile] = stored[0][0], stored[1][0]

    parallel(encode_parts, len(parts), 1)


def decode_long_tiles(
    loop: Callable[..., None], codes: Array, layout: Any, grid: Grid, metadata: list[Array], values: Array
) -> None:
    """Fill the values of codes by a loop of `_kernels.logfmt._decoding`; every array is flat."""
    parts = _parts(codes.size, layout)

    def decode_parts(first: int, last: int) -> None:
        for part in parts[first:last]:
            size = part.here.stop - part.here.start
            place = layout._replace(width=size, block=size, tiles=1, length=size)
            stored = [array[part.tile : part.tile + 1] for array in metadata]
            loop(codes[part.here], 0, 1, place, grid, *stored, values[part.here])

    parallel(decode_parts, len(parts), 1)


def _witnesses(elements: Array) -> Array:
    """Return few elements with the extremes of all: the least and largest finite, a zero and an Inf."""
    word = np.dtype(f"u{elements.itemsize}").type
    infinity = np.array(np.inf, elements.dtype).view(word)[()]
    sizes = elements.view(word) & word(2 ** (8 * elements.itemsize - 1) - 1)
    found = []
    if sizes.max() >= infinity:
        sizes = sizes[sizes < infinity]
        found.append(infinity)
    if sizes.size:
        smallest = ((sizes - word(1)).min(keepdims=True) + word(1))[0]  # a zero wraps around
        largest = sizes.max()
        if sizes.min() == 0:
            found.append(word(0))
        if largest > 0:
            found += [smallest, largest]
    return np.array(found, word).view(elements.dtype)
