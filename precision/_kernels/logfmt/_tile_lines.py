"""The numbers of many tiles of float32 at a time: logarithms, levels as they are stored, and lines.

A tile's *line* says where its elements lie on the grid of its levels (`_llvm_logarithms.Line`). Rows of
``levels`` hold one number of every tile: 0 and 1 the numbers stored, 2 the lowest level and 3 the step, in
binades, 4 the reach from the lowest level to the highest, 5 a doubt (not 0: the tile is encoded element by
element), 6 whether the clamp raises the lowest level, 7 whether elements lie beyond the levels, 8 and 9 the
extremes. Before that, row 7 says whether there is a zero, and rows 8 and 9 bound the errors of 0 and 1.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from precision._kernels._jit import jit, overload
from precision._kernels._llvm_scalars import float32_of
from precision._kernels._scalar_rounding import I32, U32, U64
from precision._kernels.logfmt import _double_double as dd
from precision._kernels.logfmt._levels import (
    MIN,
    NEXT_LEVEL,
    Float32Numbers,
    Grid,
    nearest_offset,
    rounded,
)
from precision._kernels.logfmt._llvm_lanes import GROUP
from precision._kernels.logfmt._llvm_logarithms import LOG2_ERROR

_LN2, _LOG2E = dd.LN2[0], dd.LOG2E[0]
_LOG2_ERROR = LOG2_ERROR


@jit
def _log2(bits: Any) -> Any:
    """Return log2 of a positive normal float32 to some 2**-50, with no call, by the series of atanh."""
    distance = I32(I32(bits) - I32(0x3F3504F3))
    m = np.float64(float32_of(U32(I32(I32(distance & I32(0x7FFFFF)) + I32(0x3F3504F3)))))
    s = (m - 1.0) / (m + 1.0)
    q = s * s
    p = q * q
    even = ((((p / 21.0 + 1.0 / 17.0) * p + 1.0 / 13.0) * p + 1.0 / 9.0) * p + 1.0 / 5.0) * p + 1.0
    odd = (((p / 19.0 + 1.0 / 15.0) * p + 1.0 / 11.0) * p + 1.0 / 7.0) * p + 1.0 / 3.0
    return np.float64(distance >> I32(23)) + s * (even + odd * q) * (2.0 * _LOG2E)


@jit
def find_logarithms(stats: Any, tiles: int, logs: Any) -> None:
    """Write log2 of the tiles' least nonzero and largest magnitudes; for what is not normal, any number."""
    for i in range(U64(tiles)):
        logs[i] = _log2(U32(stats[U64(GROUP) + i] + U32(1)))
    for i in range(U64(tiles)):
        logs[U64(GROUP) + i] = _log2(stats[i])


@jit
def _store_float32(levels: Any, tiles: int, grid: Grid) -> None:
    for i in range(U64(tiles)):
        first, second, error, other = levels[0, i], levels[1, i], levels[8, i], levels[9, i]
        doubt = (np.float32(first - error) != np.float32(first + error)) | (np.float32(second) == 0.0)
        doubt |= np.float32(second - other) != np.float32(second + other)
        levels[0, i], levels[1, i] = np.float64(np.float32(first)), np.float64(np.float32(second))
        levels[5, i] = 1.0 if doubt else levels[5, i]


@jit
def _store_others(levels: Any, tiles: int, grid: Grid) -> None:
    for i in range(tiles):
        for row in range(2):
            value, error = levels[row, i], levels[8 + row, i]
            levels[row, i] = rounded(value, 0.0, grid)
            if rounded(value - error, 0.0, grid) != rounded(value + error, 0.0, grid):
                levels[5, i] = 1.0
        if levels[1, i] == 0.0:
            levels[5, i] = 1.0


def _store(levels: Any, tiles: int, grid: Grid) -> None:
    """Round rows 0 and 1 as they are stored, and note the tiles where their errors leave a doubt."""


@overload(_store)
def _store_by_type(levels: Any, tiles: Any, grid: Any) -> Any:
    stored = grid.types[grid.fields.index("stored")].instance_class
    return _store_float32 if stored is Float32Numbers else _store_others


@jit
def find_levels(stats: Any, tiles: int, grid: Grid, logs: Any, levels: Any) -> None:
    """Write the levels of each tile, as this module's rows have them."""
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
        # Where codes have no sign for zero, they are written one by one.
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
            high, reach = logs[U64(GROUP) + i] - levels[2, i], levels[3, i] * steps
            levels[4, i] = reach if reach > high else high
    for i in range(U64(tiles)):
        low, step = levels[2, i], levels[3, i]
        # Numbers stored in BF16 and FP16 may lie far from the extremes; a clamp has a boundary of its own.
        beyond = logs[U64(GROUP) + i] - (low + step * steps) > 0.2 * step
        beyond |= low + levels[6, i] * step - logs[i] > 0.2 * step
        # The vector loop takes 0 for 2**-127.
        beyond |= (levels[7, i] > 0.0) & (low + 126.0 < step)
        levels[7, i] = 1.0 if beyond else 0.0
        levels[8, i] = np.float64(float32_of(U32(stats[U64(GROUP) + i] + U32(1))))
        levels[9, i] = np.float64(float32_of(stats[i]))


@jit
def _line(low: float, step: float, reach: float, above: float, unit: float) -> Any:
    """Return exponent, slope, offset and margin of a tile's line.

    Boundaries lie ``0.5 + above`` steps above levels.

    The margin bounds the error of all places, and is added to them: the errors of the logarithm; of the slope
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
def find_lines(levels: Any, tiles: int, grid: Grid, lines: Any) -> None:
    """Write the line of each tile, from its levels."""
    linear, unit = grid.linear, 2.0 ** (32 - grid.bits)
    for i in range(U64(tiles)):
        low, step, reach = levels[2, i], levels[3, i], levels[4, i]
        # The boundary lies 1/2 + log(cosh u) / 2u steps above a level, with u = step/2 in nats: this series
        # is within 2**-32 of that for u up to 1/4; for larger steps it is computed below.
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
        # The place of the lowest level: below it a clamped tile has a boundary of its own.
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
