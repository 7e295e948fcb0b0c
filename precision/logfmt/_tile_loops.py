"""Runs the loops of `_kernels.logfmt`: arrays of any shape as rows of tiles, tiles in pieces on threads."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from precision._kernels._params import StochasticParams
from precision._support._argument_checks import check_axis
from precision._support._array_checks import refuse_overlapping
from precision._support._shared_memory import refuse_shared
from precision._support._types import Array
from precision._support.machine._threads import checkpoint, parallel
from precision.formats._codec import decode, encode
from precision.formats._rounding_modes import Overflow, Rounding, Stochastic, checked_offset, signed64
from precision.logfmt import _near_boundaries
from precision.logfmt._design_choices import BelowClamp, LogBase, Metadata, SingleValued, Space
from precision.logfmt._logfmt_spec import METADATA_TYPES, LogFMT, LogFMTTensor
from precision.quantization._row_loops import source_of
from precision.quantization._scale_rules import NonFinite

if TYPE_CHECKING:
    from precision._kernels.logfmt._levels import Grid


_PIECE = 1 << 19  # elements that one call of a loop works on, at least; fewer for small arrays
_LONG = 1 << 20  # elements of a tile; one that has more is made in parts of `_PIECE`
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
    along = check_axis(axis, source.ndim)
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
    encoding = _Encoding(spec, grid, philox, fast)
    if block > _LONG:
        _fill_long_tiles(flat, where, encoding, codes, firsts, seconds)
        return
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
        if not encoding.run(part, some, own, codes[shift : shift + part.size], stored):
            middle = (first + last) // 2
            work(first, middle)
            work(middle, last)

    parallel(work, total, each)


class _Encoding(NamedTuple):
    """The numbers of a spec by which loops encode elements."""

    spec: LogFMT
    grid: Grid
    philox: StochasticParams
    fast: bool  #: by the loops for float32 that round to nearest

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of elements that the loops read."""
        return np.dtype(np.float32 if self.fast else np.float64)

    def run(
        self, part: Array, some: tuple[int, int], own: Any, target: Array, stored: tuple[Array, Array]
    ) -> bool:
        """Fill codes and stored numbers of some tiles of a part, which ``own`` lays out.

        Return False if they have more elements near boundaries than there is room for, and are several.
        """
        from precision._kernels.logfmt import _tiles as kernels

        grid, block = self.grid, own.block
        # Room for every element of a tile: two boundaries at most lie near one.
        doubts = np.zeros(_DOUBTS + 4 * block, np.int64)
        elements = np.ascontiguousarray(part, self.dtype)
        if self.fast:
            kernels.encode_tiles(elements.view(np.uint32), *some, own, grid, target, *stored, doubts)
        else:
            kernels.encode_each(elements, *some, own, grid, self.philox, target, *stored, doubts)
        if doubts[0] >= len(doubts) and some[1] - some[0] > 1:
            return False
        for index in sorted(set(doubts[1 : doubts[0] + 1].tolist())):
            checkpoint()
            row, column = divmod(index, own.width)
            number = row * own.tiles + column // block
            start = row * own.width + column // block * block
            tile = part[start : min(start + block, (row + 1) * own.width)].astype(np.float64)
            t = 0.5
            if grid.random_bits:
                t = kernels.random_threshold(own.top + row, own.left + column, own, self.philox)
            pair = float(stored[0][number]), float(stored[1][number])
            sign, guess = divmod(int(target[index]), grid.steps + 2)
            x, threshold = float(part[index]), Decimal(float(t))
            code = _near_boundaries.code_of(x, tile, pair, self.spec, guess, threshold)
            target[index] = sign * (grid.steps + 2) + code
        return True


class _Part(NamedTuple):
    """Some elements of one long tile."""

    tile: int
    row: int  #: row and column of the first element
    column: int
    here: slice  #: of the flat array


def _parts(size: int, where: Any) -> list[_Part]:
    """Cut the long tiles of ``size`` elements into parts."""
    found, width = [], where.width
    for row in range(size // width):
        for tile in range(where.tiles):
            end = min((tile + 1) * where.block, width)
            for column in range(tile * where.block, end, _PIECE):
                here = slice(row * width + column, row * width + min(column + _PIECE, end))
                found.append(_Part(row * where.tiles + tile, row, column, here))
    return found


def _fill_long_tiles(
    flat: Array, where: Any, encoding: _Encoding, codes: Array, firsts: Array, seconds: Array
) -> None:
    """Encode tiles that one call of a loop would take long for, part by part.

    A tile's levels come from its smallest and largest magnitudes, and from whether it holds zeros, NaN or
    Inf: a part beside elements of the tile that say as much is a tile of the same levels.
    """
    parts, dtype = _parts(flat.size, where), encoding.dtype
    seen: list[list[Array]] = [[] for _ in range(len(firsts))]

    def look(first: int, last: int) -> None:
        for part in parts[first:last]:
            checkpoint()
            seen[part.tile].append(_witnesses(np.ascontiguousarray(flat[part.here], dtype)))

    parallel(look, len(parts), 1)
    beside = [_witnesses(np.concatenate(tile)) for tile in seen]

    def encode_parts(first: int, last: int) -> None:
        for part in parts[first:last]:
            checkpoint()
            elements = np.concatenate([np.ascontiguousarray(flat[part.here], dtype), beside[part.tile]])
            size, target = elements.size, np.empty(elements.size, codes.dtype)
            own = where._replace(width=size, block=size, tiles=1, top=part.row, left=part.column)
            stored = np.empty(1, np.float32), np.empty(1, np.float32)
            encoding.run(elements, (0, 1), own, target, stored)
            codes[part.here] = target[: part.here.stop - part.here.start]
            firsts[part.tile], seconds[part.tile] = stored[0][0], stored[1][0]

    parallel(encode_parts, len(parts), 1)


def _witnesses(elements: Array) -> Array:
    """Return the least and the largest finite magnitude above zero, a zero and an Inf, if there are any."""
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
        parts = _parts(flat.size, where) if block > _LONG else []

        def decode_parts(first: int, last: int) -> None:
            for part in parts[first:last]:
                size = part.here.stop - part.here.start
                own = Rows(size, size, 1, 0, 0, size, 1, 0)
                stored = firsts[part.tile : part.tile + 1], seconds[part.tile : part.tile + 1]
                loop(flat[part.here], 0, 1, own, grid, *stored, target[part.here])

        if parts:
            parallel(decode_parts, len(parts), 1)
        else:
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
