"""LogFMT's decoding loops: values of the codes of tiles, laid out as `_tiles.Rows` says.

A tile's *ladder* is its levels in the form that the loop in LLVM takes (`_llvm_powers.Ladder`).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from precision._kernels._jit import jit
from precision._kernels._llvm_scalars import least, stack_row, stack_table
from precision._kernels._scalar_rounding import U64
from precision._kernels.logfmt import _double_double as dd
from precision._kernels.logfmt import _llvm_powers as powers
from precision._kernels.logfmt._levels import Grid, binades, is_clamped, low_pair, step_pair
from precision._kernels.logfmt._llvm_lanes import GROUP
from precision._kernels.logfmt._tiles import Rows, span

_LN2, _LOG2E = dd.LN2[0], dd.LOG2E[0]
_LARGEST32, _LARGEST64 = float(np.finfo(np.float32).max), float(np.finfo(np.float64).max)


@jit
def _levels(first: float, second: float, grid: Grid) -> Any:
    """Return lowest level and step of a tile in binades, from its extremes."""
    if second == 0.0:
        return 0.0, 0.0
    return binades(first, second, is_clamped(first, second, first == 0.0, grid), grid)


@jit
def _find_ladders(
    first: int, tiles: int, grid: Grid, firsts: Any, seconds: Any, logs: Any, ladders: Any, slow: Any
) -> None:
    """Write ladders of some tiles, and which tiles reach beyond what a ladder holds."""
    if grid.extremes:
        for i in range(tiles):
            pair = np.float64(firsts[first + i]), np.float64(seconds[first + i])
            logs[0, i], logs[1, i] = _levels(pair[0], pair[1], grid)
    else:
        unit = _LOG2E if grid.natural else 1.0
        for i in range(U64(tiles)):
            logs[0, i] = np.float64(firsts[U64(first) + i]) * unit
            logs[1, i] = np.float64(seconds[U64(first) + i]) * unit
    scale = 2.0 ** (grid.bits - 32)
    for i in range(U64(tiles)):
        low, step = logs[0, i], logs[1, i]
        reach = step * grid.steps
        # Further down a product on the way would be subnormal; further up a power of two would be no number.
        inside = low > -120.0 and low + reach < 127.8 and reach < 62.0
        slow[i] = 0 if inside else 1
        whole = np.floor(low + 0.5)
        start = low - whole - step - powers.SHIFT
        start_high, step_high = np.rint(start * 2.0**18) * 2.0**-18, np.rint(step * 2.0**18) * 2.0**-18
        ladders[0, i] = np.float32(whole)
        ladders[1, i], ladders[2, i] = np.float32(start_high), np.float32(start - start_high)
        ladders[3, i], ladders[4, i] = np.float32(step_high * scale), np.float32((step - step_high) * scale)


@jit
def _decode_slow(
    codes: Any, start: int, count: int, grid: Grid, low: float, step: float, out: Any, to: int
) -> None:
    """Write float32 values of a tile that no ladder holds, from ``out[to]`` on."""
    sign, top = 1 << (grid.bits - 1), _LARGEST32
    for i in range(count):
        code = np.int64(codes[start + i])
        magnitude = code & (sign - 1)
        value = np.exp2(low + step * (magnitude - 1)) if magnitude else abs(low) * 0.0
        value = top if value > top else value  # not min: NaN stays
        out[to + i] = np.float32(-value if code & sign else value)


@jit
def _decode_runs(
    codes: Any, start: int, tiles: int, runs: int, ladders: Any, at: int, bits: int, out: Any, to: int
) -> None:
    """Write float32 values of some tiles of ``runs`` runs; the loop in LLVM is called here alone."""
    powers.decode(codes, start, tiles, runs, ladders, at, bits, out, to)


@jit
def decode_tiles(
    codes: Any, first: int, last: int, rows: Rows, grid: Grid, firsts: Any, seconds: Any, out: Any
) -> None:
    """Write float32 values of tiles ``first`` to ``last``. (Stores past the caches would be slower.)"""
    logs, ladders = stack_table(np.float64, 2, GROUP), stack_table(np.float32, 5, GROUP)
    slow, some_values = stack_row(np.uint8, GROUP), stack_row(np.float32, 16)
    some_codes = stack_row(codes.dtype.type, 16)
    for i in range(16):
        some_codes[i] = 0
    runs, even = rows.block // 16, rows.block % 16 == 0 and rows.width % rows.block == 0
    for group in range(first, last, GROUP):
        tiles = least(GROUP, last - group)
        _find_ladders(group, tiles, grid, firsts, seconds, logs, ladders, slow)
        some_slow = 0
        for at in range(tiles):
            some_slow |= slow[at]
        if even and not some_slow:
            start = group * rows.block
            _decode_runs(codes, start, tiles, runs, ladders, 0, grid.bits, out, start)
            continue
        for at in range(tiles):
            start, count = span(group + at, rows)
            if slow[at]:
                _decode_slow(codes, start, count, grid, logs[0, at], logs[1, at], out, start)
                continue
            done = 16 * (count // 16)
            if done:
                _decode_runs(codes, start, 1, count // 16, ladders, at, grid.bits, out, start)
            if done < count:
                for i in range(count - done):
                    some_codes[i] = codes[start + done + i]
                _decode_runs(some_codes, 0, 1, 1, ladders, at, grid.bits, some_values, 0)
                for i in range(count - done):
                    out[start + done + i] = some_values[i]


@jit
def _pairs(smallest: float, largest: float, grid: Grid) -> Any:
    """Return lowest level and step of a tile as pairs, from its extremes."""
    if not largest > 0.0:  # zeros or NaN
        return (largest, 0.0), (largest, 0.0)
    clamped = is_clamped(smallest, largest, smallest == 0.0, grid)
    return low_pair(smallest, largest, clamped, grid), step_pair(smallest, largest, clamped, grid)


@jit
def decode_each(
    codes: Any, first: int, last: int, rows: Rows, grid: Grid, firsts: Any, seconds: Any, out: Any
) -> None:
    """Write float64 values of tiles ``first`` to ``last``, within 4 units in the last place."""
    sign, top = 1 << (grid.bits - 1), _LARGEST64
    for number in range(first, last):
        start, count = span(number, rows)
        low, step = (np.float64(firsts[number]), 0.0), (np.float64(seconds[number]), 0.0)
        if grid.extremes:
            low, step = _pairs(low[0], step[0], grid)
        elif grid.natural:
            low, step = dd.multiply(low, dd.LOG2E), dd.multiply(step, dd.LOG2E)
        for i in range(start, start + count):
            code = np.int64(codes[i])
            magnitude = code & (sign - 1)
            place = dd.add(low, dd.multiply(step, (np.float64(magnitude - 1), 0.0)))
            value = np.exp2(place[0]) * (1.0 + place[1] * _LN2) if magnitude else abs(low[0]) * 0.0
            value = top if value > top else value
            out[i] = -value if code & sign else value
