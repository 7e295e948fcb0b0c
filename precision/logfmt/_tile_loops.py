"""Arrays of any shape encoded and decoded by the loops of `_kernels.logfmt`, on threads.

An array is taken as rows along the tiles' axis, and the loops work on a range of tiles at a time.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from precision._kernels._params import StochasticParams
from precision._support._plans import planned
from precision._support._types import Array
from precision._support.machine._threads import checkpoint, parallel
from precision.formats._codec import decode, encode
from precision.formats._named import FP32
from precision.formats._rounding_modes import Overflow, Rounding, Stochastic, signed64
from precision.logfmt import _long_tiles
from precision.logfmt._axis_views import from_last, to_last
from precision.logfmt._design_choices import BelowClamp, LogBase, Metadata, SingleValued, Space
from precision.logfmt._encoding import Encoding
from precision.logfmt._logfmt_fields import METADATA_TYPES, LogFMTFields
from precision.logfmt._stored_numbers import cast_elements
from precision.quantization._scale_rules import NonFinite

if TYPE_CHECKING:
    from precision._kernels.logfmt._levels import Grid

_PIECE = 1 << 19
"""Elements that one call of a loop works on, about; fewer of small arrays."""
_NO_CLAMP = 1 << 20
"""Binades that no tile's range reaches."""


@planned
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
        stored=levels.Float32Numbers() if stored == FP32 else levels.OtherNumbers(),
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
    flat = numbers[0].reshape(-1), numbers[1].reshape(-1)
    _encode_rows(source, fields, along, offset, filled.reshape(-1), flat)
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


@planned
def encoding_of(fields: LogFMTFields, itemsize: int) -> Encoding:
    """Return the encoding by a spec of elements of ``itemsize`` bytes."""
    from precision._kernels.logfmt import _tiles

    grid = grid_of(fields)
    seed = fields.rounding.seed if isinstance(fields.rounding, Stochastic) else 0
    philox = StochasticParams(grid.random_bits, seed & 0xFFFFFFFF, seed >> 32)
    return Encoding(fields, grid, philox, itemsize <= 4 and not grid.random_bits, _tiles)


def _encode_rows(
    source: Array, fields: LogFMTFields, along: int, offset: int, codes: Array, stored: tuple[Array, Array]
) -> None:
    """Fill flat codes, and the two numbers of all tiles, of an array as rows along the axis ``along``."""
    from precision._kernels.logfmt._tiles import Rows

    rows = to_last(source, along)
    width, inner = rows.shape[-1], math.prod(source.shape[along + 1 :])
    block, tiles = min(fields.block_size, width), -(-width // fields.block_size)
    whole = Rows(width, block, tiles, 0, 0, width, inner, signed64(offset))
    elements = np.ascontiguousarray(rows).reshape(-1)
    encoding = encoding_of(fields, rows.dtype.itemsize)
    firsts, seconds = stored
    if block > _long_tiles.LONG:
        _long_tiles.encode_long_tiles(elements, whole, encoding, codes, firsts, seconds)
        return

    def work(first: int, last: int) -> None:
        """Encode the tiles ``first`` to ``last``: those of whole rows, or some of one row."""
        checkpoint()
        top, bottom = first // tiles, -(-last // tiles)
        one_row = bottom - top == 1
        left = (first % tiles) * block if one_row else 0
        right = min(width, ((last - 1) % tiles + 1) * block) if one_row else width
        here = slice(top * width + left, (bottom - 1) * width + right)
        layout = whole._replace(width=right - left, tiles=-(-(right - left) // block), top=top, left=left)
        base = top * tiles + left // block
        own = firsts[base:last], seconds[base:last]
        if not encoding.run(elements[here], (first - base, last - base), layout, codes[here], own):
            middle = (first + last) // 2
            work(first, middle)
            work(middle, last)

    parallel(work, elements.size // width * tiles, _tiles_each(elements.size, block))


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
        if block > _long_tiles.LONG:
            _long_tiles.decode_long_tiles(loop, flat, layout, grid, [firsts, seconds], values)
        else:
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
