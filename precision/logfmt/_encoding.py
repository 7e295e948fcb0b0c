"""The encoding of some tiles by the loops of `_kernels.logfmt`, and of the elements that these leave open."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from precision._kernels._params import StochasticParams
from precision._support._types import Array
from precision._support.machine._threads import checkpoint
from precision.logfmt._logfmt_fields import LogFMTFields

if TYPE_CHECKING:
    from precision._kernels.logfmt._levels import Grid

_OPEN = 1 << 10
"""Elements near a boundary for which a call of a loop has room, beside those of one tile."""


class _Scratch(threading.local):
    """A thread's memory for the loop over tiles of float32, kept between calls unless tiles are long."""

    def __init__(self) -> None:
        self._kept: dict[tuple[int, np.dtype[Any]], tuple[Array, ...]] = {}

    def of(self, block: int, dtype: np.dtype[Any]) -> tuple[Array, ...]:
        """Return memory for a tile of so many elements, whose codes are of this type."""
        found = self._kept.get((block, dtype))
        if found is None:
            most = 16 * -(-block // 16)
            found = np.empty(most, np.uint32), np.empty(most, dtype), np.empty(most // 8, np.uint8)
            if most <= _OPEN:
                self._kept = {(block, dtype): found}
        return found


_scratch = _Scratch()


class Encoding(NamedTuple):
    """The numbers of a spec by which loops encode elements, and the module of these loops."""

    fields: LogFMTFields
    grid: Grid
    philox: StochasticParams
    vectorized: bool  #: whether the loops for float32 that round to nearest are taken
    loops: Any

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of elements that the loops read."""
        return np.dtype(np.float32 if self.vectorized else np.float64)

    def run(
        self, part: Array, tiles: tuple[int, int], layout: Any, codes: Array, stored: tuple[Array, Array]
    ) -> bool:
        """Fill codes and stored numbers of a range of tiles of a part, which ``layout`` describes.

        Return False, with codes not yet right, if several tiles have more elements near boundaries than
        there is room for.
        """
        loops = self.loops
        # Room for every element of a tile: at most two boundaries lie near an element.
        open_ones = np.zeros(_OPEN + 4 * layout.block, np.int64)
        elements = np.ascontiguousarray(part, self.dtype)
        if self.vectorized:
            bits = elements.view(np.uint32)
            left, scratch = np.zeros(tiles[1], np.uint8), _scratch.of(layout.block, codes.dtype)
            if loops.encode_tiles(bits, *tiles, layout, self.grid, codes, *stored, left, *scratch):
                space = np.empty(layout.block)
                loops.encode_left(bits, *tiles, layout, self.grid, left, space, codes, *stored, open_ones)
        else:
            loops.encode_each(elements, *tiles, layout, self.grid, self.philox, codes, *stored, open_ones)
        if open_ones[0] >= len(open_ones) and tiles[1] - tiles[0] > 1:
            return False
        if open_ones[0]:
            self._settle(set(open_ones[1 : open_ones[0] + 1].tolist()), part, layout, codes, stored)
        return True

    def _settle(
        self, places: set[int], part: Array, layout: Any, codes: Array, stored: tuple[Array, Array]
    ) -> None:
        """Decide the codes of elements so near a boundary that the loops could not."""
        # Few calls come here, and `decimal` and `fractions` take as long to import as all of this room.
        from precision._kernels.logfmt._tiles import random_threshold
        from precision.logfmt._near_boundaries import code_of

        sign_bit = self.grid.steps + 2
        for index in sorted(places):
            checkpoint()
            row, column = divmod(index, layout.width)
            place = column // layout.block
            number, start = row * layout.tiles + place, row * layout.width + place * layout.block
            tile = part[start : min(start + layout.block, (row + 1) * layout.width)].astype(np.float64)
            share = 0.5
            if self.grid.random_bits:
                where = layout.top + row, layout.left + column
                share = float(random_threshold(*where, layout, self.philox))
            pair = float(stored[0][number]), float(stored[1][number])
            sign, guess = divmod(int(codes[index]), sign_bit)
            code = code_of(float(part[index]), tile, pair, self.fields, guess, share)
            codes[index] = sign * sign_bit + code
