"""LogFMT's loops over tiles. Rows of elements lie one after another, and tiles never cross a row's end.

Tiles of float32 in the normal range go through the vector loops of `logfmt_vectors`, whose float32 logarithm
decides nearly every code; elements too near a boundary, and all other tiles, go through `logfmt_levels`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from precision._kernels._jit import jit
from precision._kernels._params import StochasticParams
from precision._kernels._scalar_rounding import I32, U32, U64, float32_of, philox, right
from precision._kernels.logfmt import _double_double as dd
from precision._kernels.logfmt import _logarithms as vectors
from precision._kernels.logfmt._lanes import GROUP
from precision._kernels.logfmt._levels import (
    BAD,
    MIN,
    NEXT_LEVEL,
    NORMAL,
    SINGLE,
    Grid,
    Tile,
    choose,
    nearest_offset,
    rounded,
    settle,
    tile_of,
)

_LN2, _LOG2E = dd.LN2[0], dd.LOG2E[0]
_LOG2_ERROR = vectors.LOG2_ERROR


class Rows(NamedTuple):
    """Where elements lie: rows of ``width`` in tiles of ``block``, a part of the whole array.

    The element in column c of its row r has the index ``((r // inner) * length + c) * inner + r % inner``,
    counted from ``offset``.
    """

    width: int
    block: int
    tiles: int  #: in a row
    top: int  #: row and column of the first element in the whole array
    left: int
    length: int  #: of a whole row
    inner: int
    offset: int  #: index of the array's first element, modulo 2**64 as a signed integer


@jit
def span(tile: int, rows: Rows) -> Any:
    """First element of a tile and their number."""
    row, place = divmod(tile, rows.tiles)
    left = place * rows.block
    return row * rows.width + left, min(rows.block, rows.width - left)


# ---- one element after another ----------------------------------------------------------------------


@jit
def random_threshold(row: int, column: int, rows: Rows, random: StochasticParams) -> Any:
    """How far from one level to the next the boundary of an element lies."""
    place = ((row // rows.inner) * rows.length + column) * rows.inner + row % rows.inner
    index = U64(U64(place) + U64(rows.offset))
    word = right(philox(U32(index), U32(right(index, U64(32))), random), U32(32 - random.bits))
    return 1.0 - np.float64(word) * 2.0**-random.bits


@jit
def _code(x: float, tile: Tile, offset: float, t: float, grid: Grid, doubts: Any, index: int) -> int:
    """The code of one element, its sign included."""
    negative = int(x < 0.0 or (x == 0.0 and np.copysign(1.0, x) < 0.0))
    top = grid.steps + 1
    if tile.kind == BAD:
        return 0
    if x != x:
        return top
    if x == 0.0:
        magnitude = 0
    elif np.isinf(x):
        magnitude = top
    elif tile.kind == SINGLE:
        magnitude = top if grid.single_last else 1
    else:
        magnitude = choose(abs(x), tile, offset, t, grid, doubts, index)
    if magnitude == 0 and not grid.keep_sign:
        negative = 0
    return magnitude | (negative << (grid.bits - 1))


@jit
def _tile_from(x: Any, start: int, count: int, grid: Grid) -> Tile:
    """The tile of float64 elements."""
    smallest, largest, zero, bad = np.inf, 0.0, 0, 0
    for i in range(start, start + count):
        size = abs(x[i])
        if size == 0.0:
            zero = 1
        elif size < np.inf:
            smallest, largest = min(smallest, size), max(largest, size)
        else:
            bad = 1
    return tile_of(smallest, largest, zero, bad, grid)


@jit
def encode_each(
    x: Any, first: int, last: int, rows: Rows, grid: Grid, random: StochasticParams, codes: Any, firsts: Any,
    seconds: Any, doubts: Any,
) -> None:  # fmt: skip
    """Codes and stored numbers of tiles ``first`` to ``last`` of float64; see `logfmt_levels` for doubts."""
    for number in range(first, last):
        start, count = span(number, rows)
        tile = _tile_from(x, start, count, grid)
        firsts[number], seconds[number] = tile.first, tile.second
        offset = nearest_offset(tile.step, grid)
        row, column = divmod(start, rows.width)
        for i in range(count):
            t = 0.5
            if grid.random_bits:
                t = random_threshold(rows.top + row, rows.left + column + i, rows, random)
                offset = t
            codes[start + i] = _code(x[start + i], tile, offset, t, grid, doubts, start + i)


# ---- float32, many at a time ------------------------------------------------------------------------


@jit
def _log2(bits: Any) -> Any:
    """log2 of a positive normal float32 to some 2**-50, with no call: atanh's series."""
    distance = I32(I32(bits) - I32(0x3F3504F3))
    m = np.float64(float32_of(U32(I32(I32(distance & I32(0x7FFFFF)) + I32(0x3F3504F3)))))
    s = (m - 1.0) / (m + 1.0)
    q = s * s
    p = q * q
    even = ((((p / 21.0 + 1.0 / 17.0) * p + 1.0 / 13.0) * p + 1.0 / 9.0) * p + 1.0 / 5.0) * p + 1.0
    odd = (((p / 19.0 + 1.0 / 15.0) * p + 1.0 / 11.0) * p + 1.0 / 7.0) * p + 1.0 / 3.0
    return np.float64(distance >> I32(23)) + s * (even + odd * q) * (2.0 * _LOG2E)


@jit
def _find_logarithms(stats: Any, tiles: int, logs: Any) -> None:
    """log2 of the tiles' least nonzero and largest magnitudes; what is no normal number gives anything."""
    for i in range(U64(tiles)):
        logs[i] = _log2(U32(stats[U64(GROUP) + i] + U32(1)))
    for i in range(U64(tiles)):
        logs[U64(GROUP) + i] = _log2(stats[i])


@jit
def _store(levels: Any, tiles: int, grid: Grid) -> None:
    """Round two numbers of each tile as they are stored; where their errors leave a doubt, it is noted.

    They lie in rows 0 and 1, their errors in rows 8 and 9.
    """
    if grid.precision == 24:
        for i in range(U64(tiles)):
            first, second, error, other = levels[0, i], levels[1, i], levels[8, i], levels[9, i]
            doubt = (np.float32(first - error) != np.float32(first + error)) | (np.float32(second) == 0.0)
            doubt |= np.float32(second - other) != np.float32(second + other)
            levels[0, i], levels[1, i] = np.float64(np.float32(first)), np.float64(np.float32(second))
            levels[5, i] = 1.0 if doubt else levels[5, i]
        return
    for i in range(tiles):
        for row in range(2):
            value, error = levels[row, i], levels[8 + row, i]
            levels[row, i] = rounded(value, 0.0, grid)
            if rounded(value - error, 0.0, grid) != rounded(value + error, 0.0, grid):
                levels[5, i] = 1.0
        if levels[1, i] == 0.0:
            levels[5, i] = 1.0


@jit
def _find_levels(stats: Any, tiles: int, grid: Grid, logs: Any, levels: Any) -> None:
    """Stored numbers, low, step, reach and doubt of each tile; doubt is not 0 where it goes the slow way."""
    exact = U32(0xFFFF) if grid.extremes and grid.precision == 8 else U32(0)
    unit, back = (_LN2, _LOG2E) if grid.natural else (1.0, 1.0)
    clamp, steps = float(grid.clamp), float(grid.steps)
    counts_zero, unsigned = not grid.skip_zeros, not grid.keep_sign
    for i in range(U64(tiles)):
        largest, smallest = stats[i], U32(stats[U64(GROUP) + i] + U32(1))
        has_zero = stats[U64(2 * GROUP) + i] == U32(0)
        zero = has_zero & counts_zero
        low, high = logs[i], logs[U64(GROUP) + i]
        reach = high - low
        clamped = zero | (reach > clamp)
        doubt = (smallest < U32(0x00800000)) | (largest >= U32(0x7F800000)) | (smallest >= largest)
        doubt |= ((smallest | largest) & exact) != U32(0)
        doubt |= (abs(reach - clamp) < 2.0**-38) & (not zero)
        # Zeros without their signs are made one by one.
        doubt |= (has_zero | clamped) & unsigned
        low = high - clamp if clamped else low
        reach = clamp if clamped else reach
        levels[2, i], levels[3, i], levels[4, i] = low, reach / steps, reach
        levels[5, i] = 1.0 if doubt else 0.0
        levels[6, i] = 1.0 if clamped else 0.0
        levels[7, i] = 1.0 if has_zero else 0.0
    if grid.extremes:
        for i in range(U64(tiles)):
            smallest = U32(stats[U64(GROUP) + i] + U32(1))
            zero = (stats[U64(2 * GROUP) + i] == U32(0)) & counts_zero
            levels[0, i] = 0.0 if zero else np.float64(float32_of(smallest))
            levels[1, i] = np.float64(float32_of(stats[i]))
    else:
        for i in range(U64(tiles)):
            low, step, clamped = levels[2, i], levels[3, i], levels[6, i]
            error = 2.0**-48 * (abs(logs[i]) + abs(logs[U64(GROUP) + i]))
            levels[0, i], levels[1, i] = low * unit, step * unit
            levels[8, i] = error + 2.0**-48 * clamp * clamped
            levels[9, i] = (1.0 - clamped) * error / steps + 2.0**-50 * step
        _store(levels, tiles, grid)
    if not grid.extremes and grid.from_stored:
        for i in range(U64(tiles)):
            levels[2, i], levels[3, i] = levels[0, i] * back, levels[1, i] * back
            levels[4, i] = max(logs[U64(GROUP) + i] - levels[2, i], levels[3, i] * steps)
    for i in range(U64(tiles)):
        low, step = levels[2, i], levels[3, i]
        # Stored numbers may lie far from the extremes, in BF16 and FP16; a clamp has a boundary of its own.
        beyond = logs[U64(GROUP) + i] - (low + step * steps) > 0.2 * step
        beyond |= low + levels[6, i] * step - logs[i] > 0.2 * step
        # The vector loop takes 0 for 2**-127.
        beyond |= (levels[7, i] > 0.0) & (low + 126.0 < step)
        levels[7, i] = 1.0 if beyond else 0.0
        levels[8, i] = np.float64(float32_of(U32(stats[U64(GROUP) + i] + U32(1))))
        levels[9, i] = np.float64(float32_of(stats[i]))


@jit
def _line(low: float, step: float, reach: float, above: float, unit: float) -> Any:
    """Exponent, slope, offset and margin of a tile's line; boundaries lie ``above`` a half above levels.

    The margin bounds the error of all places, with which they are too high: of the logarithm; of the slope
    away from the middle; of the offset and of what it and slopes are added to, each rounded once; and of the
    last two sums.
    """
    slope = 1.0 / step
    near = np.float64(np.float32(slope))
    whole = np.floor(low)
    whole = -126.0 if whole < -126.0 else whole
    whole = 100.0 if whole > 100.0 else whole
    offset = 0.5 * reach * (slope - near) - (low - whole) * near + 1.5 - above
    margin = slope * _LOG2_ERROR + abs(slope - near) * (0.5 * reach + step + 1.0)
    margin += 2.0**-24 * (2.0 * abs(offset) + 1.6 * slope + 2.0) + 0.75 * 2.0**8 / unit
    return whole, near, offset + margin, margin


@jit
def _find_lines(levels: Any, tiles: int, grid: Grid, lines: Any) -> None:
    """What the vector loop needs of each tile, from its levels."""
    linear, unit = grid.linear, 2.0 ** (32 - grid.bits)
    for i in range(U64(tiles)):
        low, step, reach = levels[2, i], levels[3, i], levels[4, i]
        # Where the boundary lies above a level, in steps: 1/2 + log(cosh u) / 2u with u = step/2 in nats,
        # within 2**-32 for u up to 1/4; further on it is computed below.
        u = 0.5 * step * _LN2
        q = u * u
        series = 0.25 - q * (1.0 / 24.0 - q * (1.0 / 90.0 - q * (17.0 / 5040.0 - q * (31.0 / 28350.0))))
        above = u * series if linear else 0.0
        whole, slope, offset, margin = _line(low, step, reach, above, unit)
        lines[0, i] = np.float32(whole)
        lines[1, i] = np.float32(slope * unit)
        lines[2, i] = np.float32(offset * unit)
        lines[3, i] = np.float32(np.ceil(2.00001 * margin * unit))
        lines[4, i] = np.float32((1.5 - 0.5 * levels[6, i]) * unit)
        # Where the lowest level lies: below it a clamped tile has a boundary of its own.
        lines[5, i] = np.float32((1.5 - above + 3.0 * margin) * unit)
    for i in range(tiles):
        if linear and levels[3, i] > 0.7:
            above = nearest_offset(levels[3, i], grid) - 0.5
            whole, slope, offset, margin = _line(levels[2, i], levels[3, i], levels[4, i], above, unit)
            lines[2, i] = np.float32(offset * unit)
            lines[3, i] = np.float32(np.ceil(2.00001 * margin * unit))
            lines[5, i] = np.float32((1.5 - above + 3.0 * margin) * unit)
        if levels[6, i] > 0.0 and grid.below == MIN:
            lines[4, i] = np.float32(1.5 * unit)
        if levels[6, i] == 0.0 or grid.below == MIN or grid.below == NEXT_LEVEL:
            lines[5, i] = np.float32(0.0)


@jit
def _encode_open(
    bits: Any, start: int, count: int, marks: Any, grid: Grid, levels: Any, at: int, codes: Any, to: int,
    doubts: Any, index: int,
) -> None:  # fmt: skip
    """The elements of a tile whose codes the vector loop left open; its guesses are in ``codes``."""
    first, second, low, step = levels[0, at], levels[1, at], levels[2, at], levels[3, at]
    clamped = int(levels[6, at] > 0.0)
    logarithms = int(not grid.extremes and grid.from_stored)
    tile = Tile(NORMAL, first, second, clamped, low, step, logarithms, levels[8, at], levels[9, at])
    mask = (1 << (grid.bits - 1)) - 1
    for eight in range((count + 7) >> 3):
        if marks[eight] == 0:
            continue
        for i in range(8 * eight, min(8 * eight + 8, count)):
            if marks[eight] >> (i & 7) & 1:
                word = bits[start + i]
                x = np.float64(float32_of(U32(word & U32(0x7FFFFFFF))))
                code = settle(x, tile, np.int64(codes[to + i]) & mask, 0.5, grid, doubts, index + i)
                sign = (np.int64(word) >> 31 & 1) << (grid.bits - 1)
                codes[to + i] = code | sign


@jit
def _encode_slow(bits: Any, start: int, count: int, grid: Grid, space: Any, codes: Any, doubts: Any) -> Tile:
    for i in range(count):
        space[i] = np.float64(float32_of(bits[start + i]))
    tile = _tile_from(space, 0, count, grid)
    offset = nearest_offset(tile.step, grid)
    for i in range(count):
        codes[start + i] = _code(space[i], tile, offset, 0.5, grid, doubts, start + i)
    return tile


@jit
def encode_tiles(
    bits: Any, first: int, last: int, rows: Rows, grid: Grid, codes: Any, firsts: Any, seconds: Any,
    doubts: Any,
) -> None:  # fmt: skip
    """`encode_each` to nearest, for float32 given as bits."""
    most = 16 * ((rows.block + 15) // 16)
    padded, padded_codes = np.empty(most, np.uint32), np.empty(most, codes.dtype)
    marks, space = np.empty(most // 8, np.uint8), np.empty(rows.block, np.float64)
    stats, logs = np.empty(3 * GROUP, np.uint32), np.empty(2 * GROUP, np.float64)
    levels, lines = np.empty((10, GROUP), np.float64), np.empty((6, GROUP), np.float32)
    opened, half = np.empty(GROUP, np.uint8), np.float32(2.0 ** (31 - grid.bits))
    # Else a group's tiles do not all have as many runs.
    even = rows.block % 16 == 0 and rows.width % rows.block == 0
    for group in range(first, last, GROUP):
        tiles = min(GROUP, last - group)
        begin, _ = span(group, rows)
        if even:
            vectors.extremes(bits, begin, tiles, most // 16, stats, 0, GROUP)
        else:
            for at in range(tiles):
                start, count = span(group + at, rows)
                if count % 16 == 0:
                    vectors.extremes(bits, start, 1, count // 16, stats, at, GROUP)
                else:
                    _pad(bits, start, count, padded)
                    vectors.extremes(padded, 0, 1, (count + 15) // 16, stats, at, GROUP)
        _find_logarithms(stats, tiles, logs)
        _find_levels(stats, tiles, grid, logs, levels)
        _find_lines(levels, tiles, grid, lines)
        together = even and _any_plain(levels, tiles)
        if together:
            # Tiles that are not plain get any codes, and others further on.
            vectors.encode_plain(
                bits, begin, tiles, most // 16, lines, 0, grid.bits, codes, begin, opened, marks
            )
        for at in range(tiles):
            firsts[group + at], seconds[group + at] = levels[0, at], levels[1, at]
            # Most elements would be open in these.
            slow = levels[5, at] > 0.0 or not lines[3, at] < half
            plain = not slow and levels[7, at] == 0.0
            if together and plain and not opened[at]:
                continue
            start, count = span(group + at, rows)
            runs = (count + 15) // 16
            if slow:
                tile = _encode_slow(bits, start, count, grid, space, codes, doubts)
                firsts[group + at], seconds[group + at] = tile.first, tile.second
                continue
            if count % 16 == 0:
                if plain and not together:
                    vectors.encode_plain(
                        bits, start, 1, runs, lines, at, grid.bits, codes, start, opened, marks
                    )
                    if not opened[at]:
                        continue
                vectors.encode_marked(bits, start, 1, runs, lines, at, grid.bits, codes, start, opened, marks)
                if opened[at]:
                    _encode_open(bits, start, count, marks, grid, levels, at, codes, start, doubts, start)
                continue
            _pad(bits, start, count, padded)
            vectors.encode_marked(padded, 0, 1, runs, lines, at, grid.bits, padded_codes, 0, opened, marks)
            if opened[at]:
                _encode_open(padded, 0, count, marks, grid, levels, at, padded_codes, 0, doubts, start)
            for i in range(count):
                codes[start + i] = padded_codes[i]


@jit
def _any_plain(levels: Any, tiles: int) -> bool:
    some = False
    for i in range(tiles):
        some |= levels[7, i] == 0.0
    return some


@jit
def _pad(bits: Any, start: int, count: int, padded: Any) -> None:
    """A tile filled up with its last element to a multiple of 16."""
    for i in range(count):
        padded[i] = bits[start + i]
    for i in range(count, 16 * ((count + 15) // 16)):
        padded[i] = bits[start + count - 1]
