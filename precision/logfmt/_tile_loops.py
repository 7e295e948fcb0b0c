"""Runs the loops of `_kernels.logfmt`: arrays of any shape as rows of tiles, tiles in pieces on threads."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from precision._kernels._params import StochasticParams
from precision._support._argument_checks import checked_axis
from precision._support._array_checks import refuse_overlapping
from precision._support._shared_memory import refuse_shared
from precision._support._types import Array
from precision._support.machine._threads import checkpoint, parallel
from precision.formats._codec import decode, encode
from precision.formats._rounding_modes import Overflow, Rounding, Stochastic, checked_offset, signed64
from precision.logfmt import _near_boundaries
from precision.logfmt._design_choices import BelowClamp, LogBase, Metadata, SingleValued, Space
from precision.logfmt._logfmt_spec import METADATA_TYPES, LogFMT, LogFMTTensor
from precision.quantization._row_views import source_of
from precision.quantization._scale_rules import NonFinite

if TYPE_CHECKING:
    from precision._kernels.logfmt._levels import Grid


_PIECE = 1 << 19  # elements that one call of a loop works on, at least; fewer for small arrays
_DOUBTS = 1 << 10
_NO_CLAMP = 1 << 20  # binades


def grid_of(spec: LogFMT) -> Grid:
    """The spec in numbers."""
    from precision._kernels.logfmt import _levels as levels

    info = spec.metadata_format
    rounding = spec.rounding
    return levels.Grid(
        bits=spec.bits,
        steps=2 ** (spec.bits - 1) - 2,
        natural=int(spec.base is LogBase.E),
        linear=int(spec.space is Space.LINEAR),
        ties_away=int(rounding is Rounding.TIES_TO_AWAY),
        random_bits=rounding.bits if isinstance(rounding, Stochastic) else 0,
        clamp=_NO_CLAMP if spec.clamp is None else spec.clamp,
        below={
            BelowClamp.NEAREST: levels.NEAREST,
            BelowClamp.MIN: levels.MIN,
            BelowClamp.ZERO: levels.ZERO,
            BelowClamp.NEXT_LEVEL: levels.NEXT_LEVEL,
        }[spec.below_clamp],
        extremes=int(spec.metadata is Metadata.EXTREMES),
        precision=info.fraction_bits + 1,
        min_exponent=info.min_exponent,
        largest=info.max,
        from_stored=int(spec.from_stored),
        single_last=int(spec.single_valued is SingleValued.LAST),
        skip_zeros=int(spec.skip_zeros),
        keep_sign=int(spec.negative_zero),
        finite=int(spec.non_finite is NonFinite.FINITE_AMAX),
    )


def quantized(
    x: npt.ArrayLike, spec: LogFMT, axis: int, out: LogFMTTensor | None, offset: int = 0
) -> LogFMTTensor:
    """What `LogFMT.quantize` returns."""
    source = source_of(x)
    first = checked_offset(offset, source.size)
    along = checked_axis(axis, source.ndim)
    codes, metadata = _targets(source.shape, spec, along, out)
    if any(np.may_share_memory(source, array) for array in (codes, *metadata)):
        source = source.copy()
    rows = np.moveaxis(source, along, -1)
    if source.size:
        target = np.moveaxis(codes, along, -1)
        direct = target.flags.c_contiguous
        flat = target if direct else np.empty(rows.shape, codes.dtype)
        moved = [np.moveaxis(array, along, -1) for array in metadata]
        numbers = [_as_float32(array) for array in moved]
        _fill(rows, spec, source.shape, along, flat.reshape(-1), numbers, first)
        for kept, made in zip(moved, numbers, strict=True):
            if made is not kept:
                kept[...] = made
        if not direct:
            target[...] = flat
    tensor = LogFMTTensor(codes, metadata, spec, axis=along)
    if spec.fallback is not None and source.size:
        raw = encode(source, spec.fallback.fmt, overflow=Overflow.NON_SATURATING).view(np.uint16)
        np.copyto(codes, raw, where=~tensor.cast_elements())
    return tensor


def _targets(
    shape: tuple[int, ...], spec: LogFMT, along: int, out: LogFMTTensor | None
) -> tuple[Array, tuple[Array, Array]]:
    """Codes, contiguous along the axis, and metadata to fill: new ones, or those of ``out`` if they fit."""
    if out is None:
        moved = *shape[:along], *shape[along + 1 :], shape[along]
        codes = np.moveaxis(np.empty(moved, spec.code_dtype), -1, along)
        tiles, kind = spec.tiles_shape(shape, along), METADATA_TYPES[spec.metadata_format]
        return codes, (np.empty(tiles, kind), np.empty(tiles, kind))
    if not isinstance(out, LogFMTTensor):
        raise TypeError(f"out must be a LogFMTTensor, got {type(out).__name__}")
    wanted = {"shape": shape, "spec": spec, "axis": along}
    for name, value in wanted.items():
        if getattr(out, name) != value:
            raise ValueError(f"out must have {name} {value}, got {getattr(out, name)}")
    if not all(array.flags.writeable for array in (out.codes, *out.metadata)):
        raise ValueError("out must be writable, got read-only codes or metadata")
    first, second = out.metadata
    refuse_shared(codes=out.codes, **{"metadata[0]": first, "metadata[1]": second})
    refuse_overlapping("the codes of out", out.codes)
    for array in out.metadata:
        refuse_overlapping("the metadata of out", array)
    return out.codes, out.metadata


def _as_float32(array: Array) -> Array:
    """Stored numbers as the kernels take them: the array itself if it is such, else another like it."""
    return np.ascontiguousarray(array, np.float32)


def _fill(
    rows: Array,
    spec: LogFMT,
    shape: tuple[int, ...],
    along: int,
    codes: Array,
    numbers: list[Array],
    offset: int,
) -> None:
    """Codes of rows, and the stored numbers of their tiles; ``offset`` is the first element's index."""
    from precision._kernels.logfmt import _tiles as kernels

    grid = grid_of(spec)
    random = isinstance(spec.rounding, Stochastic)
    seed = spec.rounding.seed if isinstance(spec.rounding, Stochastic) else 0
    philox = StochasticParams(grid.random_bits, seed & 0xFFFFFFFF, seed >> 32)
    width = rows.shape[-1]
    tiles = -(-width // spec.block_size)
    inner = int(np.prod(shape[along + 1 :]))
    block = min(spec.block_size, width)
    where = kernels.Rows(width, block, tiles, 0, 0, width, inner, signed64(offset))
    total = rows.size // width * tiles
    firsts, seconds = (array.reshape(-1) for array in numbers)
    fast = rows.dtype.itemsize <= 4 and not random
    flat = np.ascontiguousarray(rows).reshape(-1)
    each = max(1, min(_PIECE, max(flat.size >> 4, 1 << 13)) // block)

    def work(first: int, last: int) -> None:
        # Whole rows, or tiles of one row, are converted piece by piece.
        checkpoint()
        top = first // tiles
        bottom = -(-last // tiles)
        left = (first % tiles) * block if bottom - top == 1 else 0
        right = min(width, ((last - 1) % tiles + 1) * block) if bottom - top == 1 else width
        part = flat[top * width + left : (bottom - 1) * width + right]
        shift = top * width + left
        own = where._replace(width=right - left, tiles=-(-(right - left) // block), top=top, left=left)
        base = top * tiles + left // block
        some = first - base, last - base
        stored = firsts[base:last], seconds[base:last]
        target = codes[shift : shift + part.size]
        # Room for every element of a tile: two boundaries at most lie near one.
        doubts = np.zeros(_DOUBTS + 4 * block, np.int64)
        if fast:
            bits = np.ascontiguousarray(part, np.float32).view(np.uint32)
            kernels.encode_tiles(bits, *some, own, grid, target, *stored, doubts)
        else:
            values = part.astype(np.float64)
            kernels.encode_each(values, *some, own, grid, philox, target, *stored, doubts)
        if doubts[0] >= len(doubts) and last - first > 1:
            middle = (first + last) // 2
            work(first, middle)
            work(middle, last)
            return
        for index in sorted(set(doubts[1 : doubts[0] + 1].tolist())):
            checkpoint()
            row, column = divmod(index, own.width)
            number = row * own.tiles + column // block
            start = row * own.width + column // block * block
            tile = part[start : min(start + block, (row + 1) * own.width)].astype(np.float64)
            t = kernels.random_threshold(top + row, left + column, own, philox) if random else 0.5
            pair = float(stored[0][number]), float(stored[1][number])
            sign, guess = divmod(int(target[index]), grid.steps + 2)
            code = _near_boundaries.code_of(float(part[index]), tile, pair, spec, guess, Decimal(float(t)))
            target[index] = sign * (grid.steps + 2) + code

    parallel(work, total, each)


def dequantized(tensor: LogFMTTensor, dtype: np.dtype[Any], out: Array | None) -> Array:
    """What `LogFMTTensor.dequantize` returns."""
    from precision._kernels.logfmt import _decoding as kernels
    from precision._kernels.logfmt._tiles import Rows

    spec, along = tensor.spec, tensor.axis
    codes = np.ascontiguousarray(np.moveaxis(tensor.codes, along, -1))
    given = None if out is None else np.moveaxis(out, along, -1)
    shared = out is not None and any(
        np.may_share_memory(out, array) for array in (tensor.codes, *tensor.metadata)
    )
    direct = given is not None and given.flags.c_contiguous and not shared
    result = given if given is not None and direct else np.empty(codes.shape, dtype)
    if codes.size:
        width = codes.shape[-1]
        block = min(spec.block_size, width)
        tiles = -(-width // spec.block_size)
        where = Rows(width, block, tiles, 0, 0, width, 1, 0)
        firsts, seconds = (
            _as_float32(np.moveaxis(array, along, -1)).reshape(-1) for array in tensor.metadata
        )
        flat, target, grid = codes.reshape(-1), result.reshape(-1), grid_of(spec)
        loop = kernels.decode_tiles if dtype == np.float32 else kernels.decode_each
        parallel(
            lambda first, last: loop(flat, first, last, where, grid, firsts, seconds, target),
            len(firsts),
            max(1, min(_PIECE, max(flat.size >> 4, 1 << 13)) // block),
        )
        if spec.fallback is not None:
            raw = decode(codes.view(spec.fallback.fmt.dtype), spec.fallback.fmt)
            np.copyto(result, raw, where=~np.moveaxis(tensor.cast_elements(), along, -1))
    if out is None:
        return np.moveaxis(result, -1, along)
    if given is not None and not direct:
        given[...] = result
    return out
