"""LogFMT's loops over tiles. Rows of elements lie one after another, and tiles never cross a row's end.

Tiles of float32 in the normal range go through the vector loops of `logfmt_vectors`, whose float32 logarithm
decides nearly every code; elements too near a boundary, and all other tiles, go through `logfmt_levels`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from precision._kernels import double_double as dd
from precision._kernels import logfmt_vectors as vectors
from precision._kernels._jit import jit
from precision._kernels.logfmt_levels import (
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
from precision._kernels.logfmt_vectors import GROUP
from precision._kernels.params import StochasticParams
from precision._kernels.rounding import I32, U32, U64, float32_of, philox, right

_LN2, _LOG2E = dd.LN2[0], dd.LOG2E[0]
_LOG2_ERROR = vectors.LOG2_ERROR


class Rows(NamedTuple):
    """Where elements lie: rows of ``width`` in tiles of ``block``, a part of the whole array.

    The element in column c of its row r has the index ``((r // inner) * length + c) * inner + r % inner``.
    """

    width: int
    block: int
    tiles: int  #: in a row
    top: int  #: row and column of the first element in the whole array
    left: int
    length: int  #: of a whole row
    inner: int


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
    index = ((row // rows.inner) * rows.length + column) * rows.inner + row % rows.inner
    word = right(philox(U32(index), U32(right(U64(index), U64(32))), random), U32(32 - random.bits))
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
def _stored(value: float, error: float, grid: Grid) -> Any:
    """A number as it is stored, and whether the error leaves no doubt."""
    low, high = value - error, value + error
    if grid.precision == 24:
        return np.float64(np.float32(value)), np.float32(low) == np.float32(high)
    return rounded(value, 0.0, grid), rounded(low, 0.0, grid) == rounded(high, 0.0, grid)


@jit
def _find_logarithms(stats: Any, tiles: int, logs: Any) -> None:
    """log2 of the tiles' least nonzero and largest magnitudes; what is no normal number gives anything."""
    for i in range(U64(tiles)):
        logs[i] = _log2(U32(stats[U64(GROUP) + i] + U32(1)))
    for i in range(U64(tiles)):
        logs[U64(GROUP) + i] = _log2(stats[i])


@jit
def _find_levels(stats: Any, tiles: int, grid: Grid, logs: Any, levels: Any) -> None:
    """Stored numbers, low, step, reach and doubt of each tile; doubt is not 0 where it goes the slow way."""
    exact = U32(0xFFFF) if grid.extremes and grid.precision == 8 else U32(0)
    unit, back = (_LN2, _LOG2E) if grid.natural else (1.0, 1.0)
    clamp, steps = float(grid.clamp), float(grid.steps)
    for i in range(tiles):
        largest, smallest = stats[i], U32(stats[GROUP + i] + U32(1))
        has_zero = stats[2 * GROUP + i] == U32(0)
        zero = has_zero and not grid.skip_zeros
        plain = smallest >= U32(0x00800000) and largest < U32(0x7F800000) and smallest < largest
        low, high = logs[i], logs[GROUP + i]
        reach = high - low
        clamped = zero or reach > clamp
        doubt = not plain or ((smallest | largest) & exact) != U32(0)
        doubt = doubt or (abs(reach - clamp) < 2.0**-38 and not zero)
        # Zeros without their signs are made one by one.
        doubt = doubt or ((has_zero or clamped) and not grid.keep_sign)
        error = 2.0**-48 * (abs(low) + abs(high))
        if clamped:
            low, reach = high - clamp, clamp
        step = reach / steps
        least, second = np.float64(float32_of(smallest)), np.float64(float32_of(largest))
        first = np.float64(0.0) if zero else least
        if not grid.extremes:
            step_error = (0.0 if clamped else error / steps) + 2.0**-50 * step
            first, certain = _stored(low * unit, error + (2.0**-48 * clamp if clamped else 0.0), grid)
            second, sure = _stored(step * unit, step_error, grid)
            doubt = doubt or not certain or not sure or second == 0.0
            if grid.from_stored:
                low, step = first * back, second * back
                reach = max(high - low, step * steps)
        levels[0, i], levels[1, i] = first, second
        levels[8, i], levels[9, i] = least, np.float64(float32_of(largest))
        levels[2, i], levels[3, i], levels[4, i] = low, step, reach
        # Stored numbers may lie far from the extremes, in BF16 and FP16.
        beyond = max(abs(low - logs[i]), abs(low + step * steps - high)) > 0.2 * step
        levels[5, i] = 1.0 if doubt else 0.0
        levels[6, i] = 1.0 if clamped else 0.0
        levels[7, i] = 1.0 if clamped or beyond else 0.0


@jit
def _find_lines(levels: Any, tiles: int, grid: Grid, lines: Any, exponents: Any) -> None:
    """What the vector loop needs of each tile, from its levels."""
    steps, linear = float(grid.steps), grid.linear
    for i in range(U64(tiles)):
        low, step, reach = levels[2, i], levels[3, i], levels[4, i]
        whole = np.floor(low)
        slope = 1.0 / step
        # Where the boundary lies above a level, in steps: 1/2 + log(cosh u) / 2u with u = step/2 in nats,
        # within 2**-32 for u up to 1/4; further on `_mend_lines` computes it.
        u = 0.5 * step * _LN2
        q = u * u
        series = 0.25 - q * (1.0 / 24.0 - q * (1.0 / 90.0 - q * (17.0 / 5040.0 - q * (31.0 / 28350.0))))
        above = u * series if linear else 0.0
        # Of the logarithm and its sum, and of slope, offset and the last sum, each rounded once.
        margin = slope * (_LOG2_ERROR + 2.0**-24 * (reach + 2.0)) + 2.0**-23 * (slope + steps + 4.0)
        lines[0, i] = np.float32(slope)
        lines[1, i] = np.float32((whole - low) * slope + 1.0 - above)
        lines[2, i] = np.float32(1.0 - 0.5 * levels[6, i])
        lines[3, i] = np.float32(0.5 - margin)
        # Where the lowest level lies: below it a clamped tile has a boundary of its own.
        lines[4, i] = np.float32(1.0 - above + margin)
        exponents[i] = np.int32(whole)
    for i in range(tiles):
        if linear and levels[3, i] > 0.7:
            above = nearest_offset(levels[3, i], grid) - 0.5
            whole = np.floor(levels[2, i])
            lines[1, i] = np.float32((whole - levels[2, i]) / levels[3, i] + 1.0 - above)
            lines[4, i] = np.float32(1.0 - above + 0.5) - lines[3, i]
        if levels[6, i] > 0.0 and grid.below == MIN:
            lines[2, i] = np.float32(1.0)
        if levels[6, i] == 0.0 or grid.below == MIN or grid.below == NEXT_LEVEL:
            lines[4, i] = np.float32(0.0)


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
    for i in range(count):
        if marks[i]:
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
    marks, space = np.empty(16 * vectors.RUNS, np.uint8), np.empty(rows.block, np.float64)
    stats, logs = np.empty(3 * GROUP, np.uint32), np.empty(2 * GROUP, np.float64)
    levels, lines = np.empty((10, GROUP), np.float64), np.empty((5, GROUP), np.float32)
    exponents = np.empty(GROUP, np.int32)
    top = np.float32(grid.steps + 1)
    for group in range(first, last, GROUP):
        tiles = min(GROUP, last - group)
        for at in range(tiles):
            start, count = span(group + at, rows)
            if count % 16 == 0:
                vectors.extremes(bits, start, count // 16, stats, at, GROUP)
            else:
                _pad(bits, start, count, padded)
                vectors.extremes(padded, 0, (count + 15) // 16, stats, at, GROUP)
        _find_logarithms(stats, tiles, logs)
        _find_levels(stats, tiles, grid, logs, levels)
        _find_lines(levels, tiles, grid, lines, exponents)
        for at in range(tiles):
            start, count = span(group + at, rows)
            # Below a quarter nothing but NaN and doubtful tiles: most elements would be open.
            if levels[5, at] > 0.0 or not lines[3, at] > np.float32(0.25):
                tile = _encode_slow(bits, start, count, grid, space, codes, doubts)
                firsts[group + at], seconds[group + at] = tile.first, tile.second
                continue
            firsts[group + at], seconds[group + at] = levels[0, at], levels[1, at]
            line = vectors.Line(
                exponents[at], lines[0, at], lines[1, at], lines[2, at], top, lines[3, at], lines[4, at]
            )
            whole = count % 16 == 0
            if not whole:
                _pad(bits, start, count, padded)
            for left in range(0, count, 16 * vectors.RUNS):
                some = min(16 * vectors.RUNS, count - left)
                if not whole:
                    runs = (some + 15) // 16
                    if vectors.encode_marked(padded, left, runs, line, grid.bits, padded_codes, left, marks):
                        index = start + left
                        _encode_open(
                            padded, left, some, marks, grid, levels, at, padded_codes, left, doubts, index
                        )
                    continue
                here, runs = start + left, some // 16
                plain = levels[7, at] == 0.0
                if plain and not vectors.encode_plain(bits, here, runs, line, grid.bits, codes, here, marks):
                    continue
                if vectors.encode_marked(bits, here, runs, line, grid.bits, codes, here, marks):
                    _encode_open(bits, here, some, marks, grid, levels, at, codes, here, doubts, here)
            if not whole:
                for i in range(count):
                    codes[start + i] = padded_codes[i]


@jit
def _pad(bits: Any, start: int, count: int, padded: Any) -> None:
    """A tile filled up with its last element to a multiple of 16."""
    for i in range(count):
        padded[i] = bits[start + i]
    for i in range(count, 16 * ((count + 15) // 16)):
        padded[i] = bits[start + count - 1]
