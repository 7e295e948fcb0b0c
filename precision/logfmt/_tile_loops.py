"""Arrays of any shape encoded and decoded by the loops of `_kernels.logfmt`, on threads.

An array is taken as rows along the tiles' axis, and the loops work on a range of tiles at a time.
"""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from precision._kernels._params import StochasticParams
from precision._support._types import Array
from precision._support.machine._threads import checkpoint, parallel
from precision.formats._codec import decode, encode
from precision.formats._rounding_modes import Overflow, Rounding, Stochastic, signed64
from precision.logfmt._axis_views import from_last, to_last
from precision.logfmt._design_choices import BelowClamp, LogBase, Metadata, SingleValued, Space
from precision.logfmt._logfmt_fields import METADATA_TYPES, LogFMTFields
from precision.logfmt._stored_numbers import cast_elements
from precision.quantization._scale_rules import NonFinite

if TYPE_CHECKING:
    from precision._kernels.logfmt._levels import Grid

_PIECE = 1 << 19
"""Elements that one call of a loop works on, about; fewer of small arrays."""
_OPEN = 1 << 10
"""Elements near a boundary for which a call of a loop has room, beside those of one tile."""
_NO_CLAMP = 1 << 20
"""Binades that no tile's range reaches."""


@functools.lru_cache(maxsize=256)
def grid_of(fields: LogFMTFields) -> Grid:
    """Return the parameters of a spec as the numbers that the loops read."""
    from precision._kernels.logfmt import _levels as levels

    stored, rounding = fields.metadata_format, fields.rounding
    return levels.Grid(
        bits=fields.bits,
        steps=2 ** (fields.bits - 1) - 2,
        natural=int(fields.base is LogBase.E),
        linear=int(fields.space is Space.LINEAR),
        ties_away=int(rounding is Rounding.TIES_TO_AWAY),
        random_bits=rounding.bits if isinstance(rounding, Stochastic) else 0,
        clamp=_NO_CLAMP if fields.clamp is None else fields.clamp,
        below={
            BelowClamp.NEAREST: levels.NEAREST,
            BelowClamp.MIN: levels.MIN,
            BelowClamp.ZERO: levels.ZERO,
            BelowClamp.NEXT_LEVEL: levels.NEXT_LEVEL,
        }[fields.below_clamp],
        extremes=int(fields.metadata is Metadata.EXTREMES),
        precision=stored.fraction_bits + 1,
        min_exponent=stored.min_exponent,
        largest=stored.max,
        from_stored=int(fields.from_stored),
        single_last=int(fields.single_valued is SingleValued.LAST),
        skip_zeros=int(fields.skip_zeros),
        keep_sign=int(fields.negative_zero),
        finite=int(fields.non_finite is NonFinite.FINITE_AMAX),
    )


def new_arrays(shape: tuple[int, ...], fields: LogFMTFields, along: int) -> tuple[Array, tuple[Array, Array]]:
    """Return codes, contiguous along the axis, and the two arrays of metadata of an array; not yet filled."""
    codes = np.empty((*shape[:along], *shape[along + 1 :], shape[along]), fields.code_dtype)
    tiles = *shape[:along], -(-shape[along] // fields.block_size), *shape[along + 1 :]
    kind = METADATA_TYPES[fields.metadata_format]
    return from_last(codes, along), (np.empty(tiles, kind), np.empty(tiles, kind))


def encode_tiles(
    source: Array, fields: LogFMTFields, along: int, offset: int, codes: Array, metadata: tuple[Array, Array]
) -> None:
    """Fill the codes and the metadata of ``source``, whose tiles run along the axis ``along``.

    ``offset`` is the index of its first element, from which random bits are counted. The arrays to fill may
    have any strides, but share no memory with ``source``.
    """
    if not source.size:
        return
    target, moved = to_last(codes, along), [to_last(array, along) for array in metadata]
    direct = target.flags.c_contiguous
    filled = target if direct else np.empty(target.shape, codes.dtype)
    numbers = [np.ascontiguousarray(array, np.float32) for array in moved]  # itself, if it is such an array
    rows = to_last(source, along)
    encoder = _Encoder(rows, fields, math.prod(source.shape[along + 1 :]), offset)
    encoder.run(filled.reshape(-1), numbers[0].reshape(-1), numbers[1].reshape(-1))
    for array, number in zip(moved, numbers, strict=True):
        if number is not array:
            array[...] = number
    if not direct:
        target[...] = filled
    if fields.fallback is not None:
        cast = cast_elements(codes.shape, metadata, fields, along)
        if not cast.all():
            raw = encode(source, fields.fallback.fmt, overflow=Overflow.NON_SATURATING).view(np.uint16)
            np.copyto(codes, raw, where=~cast)


class _Encoder:
    """The encoding of one array: its rows of tiles, and what the loops need to know of them.

    ``inner`` is the number of elements from one to the next along the axis of tiles, in the array's C order.
    """

    def __init__(self, rows: Array, fields: LogFMTFields, inner: int, offset: int) -> None:
        from precision._kernels.logfmt import _tiles

        self.loops, self.fields, self.grid = _tiles, fields, grid_of(fields)
        seed = fields.rounding.seed if isinstance(fields.rounding, Stochastic) else 0
        self.philox = StochasticParams(self.grid.random_bits, seed & 0xFFFFFFFF, seed >> 32)
        width = rows.shape[-1]
        block, tiles = min(fields.block_size, width), -(-width // fields.block_size)
        self.layout = _tiles.Rows(width, block, tiles, 0, 0, width, inner, signed64(offset))
        self.elements = np.ascontiguousarray(rows).reshape(-1)
        self.vectorized = rows.dtype.itemsize <= 4 and not self.grid.random_bits

    def run(self, codes: Array, firsts: Array, seconds: Array) -> None:
        """Fill the codes of all elements, and the first and the second number of all tiles; flat arrays."""
        self.codes, self.firsts, self.seconds = codes, firsts, seconds
        total = self.elements.size // self.layout.width * self.layout.tiles
        parallel(self._encode, total, _tiles_each(self.elements.size, self.layout.block))

    def _encode(self, first: int, last: int) -> None:
        """Encode the tiles ``first`` to ``last``: those of whole rows, or some of one row."""
        checkpoint()
        whole = self.layout
        top, bottom = first // whole.tiles, -(-last // whole.tiles)
        one_row = bottom - top == 1
        left = (first % whole.tiles) * whole.block if one_row else 0
        right = min(whole.width, ((last - 1) % whole.tiles + 1) * whole.block) if one_row else whole.width
        start, stop = top * whole.width + left, (bottom - 1) * whole.width + right
        part, codes = self.elements[start:stop], self.codes[start:stop]
        width = right - left
        layout = whole._replace(width=width, tiles=-(-width // whole.block), top=top, left=left)
        base = top * whole.tiles + left // whole.block
        tiles = first - base, last - base
        stored = self.firsts[base:last], self.seconds[base:last]
        # Room for every element of a tile: at most two boundaries lie near an element.
        open_ones = np.zeros(_OPEN + 4 * whole.block, np.int64)
        if self.vectorized:
            bits = np.ascontiguousarray(part, np.float32).view(np.uint32)
            self.loops.encode_tiles(bits, *tiles, layout, self.grid, codes, *stored, open_ones)
        else:
            values = part.astype(np.float64)
            self.loops.encode_each(values, *tiles, layout, self.grid, self.philox, codes, *stored, open_ones)
        if open_ones[0] >= len(open_ones) and last - first > 1:
            middle = (first + last) // 2
            self._encode(first, middle)
            self._encode(middle, last)
            return
        if open_ones[0]:
            self._settle(set(open_ones[1 : open_ones[0] + 1].tolist()), part, layout, codes, stored)

    def _settle(
        self, places: set[int], part: Array, layout: Any, codes: Array, stored: tuple[Array, Array]
    ) -> None:
        """Decide the codes of elements so near a boundary that the loops could not."""
        # Few calls come here, and `decimal` and `fractions` take as long to import as all of this room.
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
                share = float(self.loops.random_threshold(*where, layout, self.philox))
            pair = float(stored[0][number]), float(stored[1][number])
            sign, guess = divmod(int(codes[index]), sign_bit)
            code = code_of(float(part[index]), tile, pair, self.fields, guess, share)
            codes[index] = sign * sign_bit + code


def decode_tiles(
    codes: Array,
    metadata: tuple[Array, Array],
    fields: LogFMTFields,
    along: int,
    dtype: np.dtype[Any],
    out: Array | None,
) -> Array:
    """Return the values of a tensor's parts as float32 or float64, in ``out`` where it is given.

    ``along`` is the axis along which tiles run. ``out`` may have any strides, and lie in the parts' memory.
    """
    from precision._kernels.logfmt import _decoding
    from precision._kernels.logfmt._tiles import Rows

    rows = np.ascontiguousarray(to_last(codes, along))
    target = None if out is None else to_last(out, along)
    direct = (
        out is not None
        and target is not None
        and target.flags.c_contiguous
        and not any(np.may_share_memory(out, array) for array in (codes, *metadata))
    )
    result = target if direct and target is not None else np.empty(rows.shape, dtype)
    if rows.size:
        width = rows.shape[-1]
        block, tiles = min(fields.block_size, width), -(-width // fields.block_size)
        layout, grid = Rows(width, block, tiles, 0, 0, width, 1, 0), grid_of(fields)
        firsts, seconds = (
            np.ascontiguousarray(to_last(array, along), np.float32).reshape(-1) for array in metadata
        )
        flat, values = rows.reshape(-1), result.reshape(-1)
        loop = _decoding.decode_tiles if dtype == np.float32 else _decoding.decode_each
        parallel(
            lambda first, last: loop(flat, first, last, layout, grid, firsts, seconds, values),
            len(firsts),
            _tiles_each(flat.size, block),
        )
        if fields.fallback is not None:
            cast = to_last(cast_elements(codes.shape, metadata, fields, along), along)
            if not cast.all():
                raw = decode(rows.view(fields.fallback.fmt.dtype), fields.fallback.fmt)
                np.copyto(result, raw, where=~cast)
    if out is None:
        return from_last(result, along)
    if target is not None and not direct:
        target[...] = result
    return out


def _tiles_each(size: int, block: int) -> int:
    """Return how many tiles of ``block`` elements one call of a loop takes, of an array of ``size``."""
    return max(1, min(_PIECE, max(size >> 4, 1 << 13)) // block)
