"""LogFMT's encoding loops over tiles, whose rows lie one after another; no tile crosses a row's end.

Tiles of float32 in the normal range go through the loops of `_llvm_logarithms`, whose float32 logarithm
decides nearly every code. An element too near a boundary is *open*: float64 decides on it. Tiles where that
leaves an element undecided, and all other tiles, go through the pairs of `_levels`, in loops of their own.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from precision._kernels._jit import jit
from precision._kernels._llvm_scalars import float32_of, least, right, stack_row, stack_table
from precision._kernels._params import StochasticParams
from precision._kernels._scalar_rounding import U32, U64, philox
from precision._kernels.logfmt import _llvm_logarithms as vectors
from precision._kernels.logfmt._levels import (
    BAD,
    NORMAL,
    SINGLE,
    Grid,
    Tile,
    choose,
    nearest_offset,
    settle,
    tile_of,
)
from precision._kernels.logfmt._llvm_lanes import GROUP
from precision._kernels.logfmt._tile_lines import find_levels, find_lines, find_logarithms

_STATS, _LOGS = 3 * GROUP, 2 * GROUP  # numbers of a group of tiles


class Rows(NamedTuple):
    """The places of elements: rows of ``width`` in tiles of ``block``, a part of the whole array.

    The element in column c of row r of the whole array has the index
    ``((r // inner) * length + c) * inner + r % inner``, counted from ``offset``.
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
    """Return the first element of a tile and the number of its elements."""
    row, place = divmod(tile, rows.tiles)
    left = place * rows.block
    return row * rows.width + left, least(rows.block, rows.width - left)


# ---- one element after another ----------------------------------------------------------------------


@jit
def random_threshold(row: int, column: int, rows: Rows, random: StochasticParams) -> Any:
    """Return the boundary of an element between two levels, as a part of their distance."""
    place = ((row // rows.inner) * rows.length + column) * rows.inner + row % rows.inner
    index = U64(U64(place) + U64(rows.offset))
    word = right(philox(U32(index), U32(right(index, U64(32))), random), U32(32 - random.bits))
    return 1.0 - np.float64(word) * 2.0**-random.bits


@jit
def _code(x: float, tile: Tile, offset: float, t: float, grid: Grid, doubts: Any, index: int) -> int:
    """Return the code of one element, its sign included."""
    negative = 1 if x < 0.0 or (x == 0.0 and np.copysign(1.0, x) < 0.0) else 0
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
    """Return the tile of some float64 elements."""
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
    """Write codes and stored numbers of tiles ``first`` to ``last`` of float64; see `_levels` for doubts."""
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


@jit
def encode_left(
    bits: Any, first: int, last: int, rows: Rows, grid: Grid, left: Any, space: Any, codes: Any, firsts: Any,
    seconds: Any, doubts: Any,
) -> None:  # fmt: skip
    """Write what `encode_each` does, to nearest, for the tiles of float32 that `encode_tiles` left.

    ``space`` is memory for a tile of float64.
    """
    for number in range(first, last):
        if left[number]:
            start, count = span(number, rows)
            for i in range(count):
                space[i] = np.float64(float32_of(bits[start + i]))
            tile = _tile_from(space, 0, count, grid)
            firsts[number], seconds[number] = tile.first, tile.second
            offset = nearest_offset(tile.step, grid)
            for i in range(count):
                codes[start + i] = _code(space[i], tile, offset, 0.5, grid, doubts, start + i)


# ---- float32, many at a time ------------------------------------------------------------------------
# The loops in LLVM are called in one place each: every call writes their code once more.


@jit
def _extremes(bits: Any, start: int, tiles: int, runs: int, stats: Any, at: int) -> None:
    """Write extremes of some tiles of ``runs`` runs."""
    vectors.extremes(bits, start, tiles, runs, stats, at, GROUP)


@jit
def _encode_marked(
    bits: Any, start: int, runs: int, lines: Any, at: int, width: int, codes: Any, to: int, opened: Any,
    marks: Any,
) -> None:  # fmt: skip
    """Write codes of a tile, and marks of the elements that are left open."""
    vectors.encode_marked(bits, start, 1, runs, lines, at, width, codes, to, opened, marks)


@jit
def _encode_unmarked(
    bits: Any, start: int, tiles: int, runs: int, lines: Any, at: int, width: int, codes: Any, opened: Any,
    marks: Any,
) -> None:  # fmt: skip
    """Write codes of some tiles, and which of them have elements that are left open."""
    vectors.encode_unmarked(bits, start, tiles, runs, lines, at, width, codes, start, opened, marks)


@jit
def _encode_open(
    bits: Any, start: int, count: int, marks: Any, grid: Grid, levels: Any, at: int, codes: Any, to: int
) -> int:
    """Write codes of the elements of a tile that a loop in LLVM left open; its guesses are in ``codes``.

    Return 1 if float64 cannot decide one of them, else 0.
    """
    first, second, low, step = levels[0, at], levels[1, at], levels[2, at], levels[3, at]
    clamped = 1 if levels[6, at] > 0.0 else 0
    tile = Tile(NORMAL, first, second, clamped, low, step, 0, levels[8, at], levels[9, at])
    mask = (1 << (grid.bits - 1)) - 1
    for eight in range((count + 7) >> 3):
        if marks[eight] == 0:
            continue
        for i in range(8 * eight, least(8 * eight + 8, count)):
            if marks[eight] >> (i & 7) & 1:
                word = bits[start + i]
                x = np.float64(float32_of(U32(word & U32(0x7FFFFFFF))))
                code = settle(x, tile, np.int64(codes[to + i]) & mask, 0.5, grid, 0, 0)
                if code < 0:
                    return 1
                codes[to + i] = code | (np.int64(word) >> 31 & 1) << (grid.bits - 1)
    return 0


@jit
def _find_extremes(
    bits: Any, group: int, tiles: int, even: bool, rows: Rows, runs: int, padded: Any, stats: Any
) -> None:
    """Write extremes of a group's tiles, all of ``runs`` runs where they are ``even``."""
    if even:
        begin, _ = span(group, rows)
        _extremes(bits, begin, tiles, runs, stats, 0)
    else:
        for at in range(tiles):
            start, count = span(group + at, rows)
            if count % 16 == 0:
                _extremes(bits, start, 1, count // 16, stats, at)
            else:
                _pad(bits, start, count, padded)
                _extremes(padded, 0, 1, (count + 15) // 16, stats, at)


@jit
def encode_tiles(
    bits: Any, first: int, last: int, rows: Rows, grid: Grid, codes: Any, firsts: Any, seconds: Any,
    left: Any, padded: Any, padded_codes: Any, marks: Any,
) -> int:  # fmt: skip
    """Write what `encode_each` does, to nearest, for float32 given as bits, but for some tiles.

    Mark these in ``left``, for `encode_left`, and return their number. ``padded``, ``padded_codes`` and
    ``marks`` (a bit for each element) are memory for a tile.
    """
    opened, stats = stack_row(np.uint8, GROUP), stack_row(np.uint32, _STATS)
    logs, levels = stack_row(np.float64, _LOGS), stack_table(np.float64, 10, GROUP)
    lines = stack_table(np.float32, 6, GROUP)
    half, later, begin = np.float32(2.0 ** (31 - grid.bits)), 0, 0
    # Only then all tiles of a group have as many runs.
    even = rows.block % 16 == 0 and rows.width % rows.block == 0
    most = (rows.block + 15) // 16
    for group in range(first, last, GROUP):
        tiles = least(GROUP, last - group)
        _find_extremes(bits, group, tiles, even, rows, most, padded, stats)
        find_logarithms(stats, tiles, logs)
        find_levels(stats, tiles, grid, logs, levels)
        find_lines(levels, tiles, grid, lines)
        together = even and _any_plain(levels, tiles)
        begin, _ = span(group, rows)
        if together:
            # Tiles that are not plain get codes that mean nothing here, and their own further on.
            _encode_unmarked(bits, begin, tiles, most, lines, 0, grid.bits, codes, opened, marks)
        for at in range(tiles):
            firsts[group + at], seconds[group + at] = levels[0, at], levels[1, at]
            # In such tiles most elements would be open.
            slow = levels[5, at] > 0.0 or not lines[3, at] < half
            plain = not slow and levels[7, at] == 0.0
            if together and plain and not opened[at]:
                continue
            start, count = span(group + at, rows)
            whole = count % 16 == 0
            if plain and whole and not together:
                _encode_unmarked(bits, start, 1, count // 16, lines, at, grid.bits, codes, opened, marks)
                if not opened[at]:
                    continue
            if not slow:
                slow = _encode_plain(
                    bits, start, count, grid, levels, lines, at, codes, padded, padded_codes, opened, marks
                )
            if slow:
                left[group + at] = 1
                later += 1
    return later


@jit
def _encode_plain(
    bits: Any, start: int, count: int, grid: Grid, levels: Any, lines: Any, at: int, codes: Any, padded: Any,
    padded_codes: Any, opened: Any, marks: Any,
) -> bool:  # fmt: skip
    """Write codes of a tile, those that are left open one by one; return True if it needs exact decisions."""
    runs, slow = (count + 15) // 16, 0
    if count % 16 == 0:
        _encode_marked(bits, start, runs, lines, at, grid.bits, codes, start, opened, marks)
        if opened[at]:
            slow = _encode_open(bits, start, count, marks, grid, levels, at, codes, start)
    else:
        _pad(bits, start, count, padded)
        _encode_marked(padded, 0, runs, lines, at, grid.bits, padded_codes, 0, opened, marks)
        if opened[at]:
            slow = _encode_open(padded, 0, count, marks, grid, levels, at, padded_codes, 0)
        for i in range(count):
            codes[start + i] = padded_codes[i]
    return slow > 0


@jit
def _any_plain(levels: Any, tiles: int) -> bool:
    """Tell whether the elements of any tile lie within its levels."""
    some = False
    for i in range(tiles):
        some |= levels[7, i] == 0.0
    return some


@jit
def _pad(bits: Any, start: int, count: int, padded: Any) -> None:
    """Copy a tile, and fill it up with its last element to a multiple of 16."""
    for i in range(count):
        padded[i] = bits[start + i]
    for i in range(count, 16 * ((count + 15) // 16)):
        padded[i] = bits[start + count - 1]
