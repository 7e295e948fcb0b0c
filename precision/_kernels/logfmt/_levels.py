"""LogFMT's exact decisions: a tile's stored numbers, and on which side of a boundary an element lies.

float64 decides with a bound on its own error, and pairs of float64 what that leaves open. What is still open
then, at 2**-90, is taken as equal; unless that is proven here, it is noted as a *doubt*, which the callers
settle with integers of any length.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numba import types

from precision._kernels._jit import jit, overload
from precision._kernels.logfmt import _double_double as dd

NORMAL, ZEROS, BAD, SINGLE = 0, 1, 2, 3
NEAREST, MIN, ZERO, NEXT_LEVEL = 0, 1, 2, 3
LATER = 2
"""The answer of a comparison that float64 leaves open, where no pairs are at hand."""

_EQUAL = 2.0**-90
_LN2, _LOG2E = dd.LN2[0], dd.LOG2E[0]


class Float32Numbers(NamedTuple):
    """The mark of a grid whose numbers are stored as float32."""

    number: int = 0


class OtherNumbers(NamedTuple):
    """The mark of a grid whose numbers are stored in another format."""

    number: int = 1


class Grid(NamedTuple):
    """A LogFMT spec as plain numbers, and a mark by whose type loops choose what is compiled."""

    bits: int
    steps: int  #: 2**(bits - 1) - 2
    natural: int  #: 1: logarithms are stored to base e, 0: to base 2
    linear: int
    ties_away: int
    random_bits: int  #: 0: to nearest
    clamp: int  #: binades; more than any range for none
    below: int
    extremes: int  #: 1: extremes are stored, 0: min and step
    stored: Any  #: `Float32Numbers` or `OtherNumbers`
    precision: int  #: of the stored numbers
    min_exponent: int
    largest: float
    from_stored: int
    single_last: int
    skip_zeros: int
    keep_sign: int
    finite: int


class Tile(NamedTuple):
    """The numbers stored for a tile, and the levels that its codes are chosen from.

    Level K lies at ``low + step*(K - 1)`` in binades: in float64 from these two, in double-double from the
    stored numbers (``logarithms``) or from the extremes ``smallest`` and ``largest``.
    """

    kind: int
    first: float
    second: float
    clamped: int
    low: float
    step: float
    logarithms: int
    smallest: float
    largest: float


# ---- stored numbers ---------------------------------------------------------------------------------


@jit
def rounded(high: float, low: float, grid: Grid) -> float:
    """Round ``high + low`` to the stored format, ties to even."""
    if high == 0.0:
        return 0.0
    _, exponent = math.frexp(high)
    least_exponent = grid.min_exponent + 1
    quantum = (exponent if exponent > least_exponent else least_exponent) - grid.precision
    scaled = math.ldexp(high, -quantum)
    whole = np.floor(scaled)
    rest = scaled - whole
    odd = whole - 2.0 * np.floor(whole * 0.5) == 1.0
    if rest > 0.5 or (rest == 0.5 and (low > 0.0 or (low == 0.0 and odd))):
        whole += 1.0
    return math.ldexp(whole, quantum)


@jit
def log2_ratio(large: float, small: float) -> Any:
    """Return ``log2(large / small)`` as a pair, to some 2**-85 of itself."""
    excess = large - small
    if excess > small * 2.0**-10:
        high, low = dd.log2(small)
        return dd.add(dd.log2(large), (-high, -low))
    # 1 + r with r exact to a pair: the series, whose next term is below 2**-120
    r = dd.divide((excess, 0.0), small)
    total = (0.0, 0.0)
    for n in range(12, 0, -1):
        term = dd.divide((1.0 if n % 2 else -1.0, 0.0), float(n))
        total = dd.add(term, dd.multiply(total, r))
    return dd.multiply(dd.multiply(total, r), dd.LOG2E)


@jit
def low_pair(smallest: float, largest: float, clamped: int, grid: Grid) -> Any:
    """Return the binades of the lowest level as a pair."""
    if clamped:
        return dd.add(dd.log2(largest), (-float(grid.clamp), 0.0))
    return dd.log2(smallest)


@jit
def step_pair(smallest: float, largest: float, clamped: int, grid: Grid) -> Any:
    """Return the binades of a step as a pair."""
    if clamped:
        return dd.divide((float(grid.clamp), 0.0), float(grid.steps))
    return dd.divide(log2_ratio(largest, smallest), float(grid.steps))


@jit
def _stored(pair: Any, grid: Grid) -> float:
    """Round a number of binades to the format in which it is stored."""
    value = dd.multiply(pair, dd.LN2) if grid.natural else pair
    return rounded(value[0], value[1], grid)


@jit
def _approximate(value: float, error: float, grid: Grid) -> Any:
    """Round a float64 to the stored format, and tell whether the rounding is certain despite its error."""
    return rounded(value, 0.0, grid), (rounded(value - error, 0.0, grid) == rounded(value + error, 0.0, grid))


@jit
def binades(smallest: float, largest: float, clamped: int, grid: Grid) -> Any:
    """Return lowest level and step in float64, each to some 2**-50 of the largest number met on the way."""
    if clamped:
        return np.log2(largest) - grid.clamp, grid.clamp / grid.steps
    excess = largest - smallest
    if excess < smallest:
        return np.log2(smallest), np.log1p(excess / smallest) * _LOG2E / grid.steps
    return np.log2(smallest), (np.log2(largest) - np.log2(smallest)) / grid.steps


@jit
def is_clamped(smallest: float, largest: float, zero: Any, grid: Grid) -> int:
    """Tell whether the clamp raises min: exactly, since the power of two overflows or loses nothing."""
    return 1 if zero or math.ldexp(smallest, grid.clamp) < largest else 0


@jit
def tile_of(smallest: float, largest: float, has_zero: int, bad: int, grid: Grid) -> Tile:
    """Return the tile of finite, nonzero magnitudes from ``smallest`` to ``largest`` (0: there are none)."""
    nan = np.nan
    if bad and not grid.finite:
        return Tile(BAD, nan, nan, 0, nan, nan, 0, 0.0, 0.0)
    if largest == 0.0:
        return Tile(ZEROS, 0.0, 0.0, 0, 0.0, 0.0, 0, 0.0, 0.0)
    zero = has_zero and not grid.skip_zeros
    clamped = is_clamped(smallest, largest, zero, grid)
    if grid.extremes:
        least = math.ldexp(1.0, grid.min_exponent - grid.precision + 1)
        first = min(max(rounded(smallest, 0.0, grid), least), grid.largest)
        second = min(max(rounded(largest, 0.0, grid), least), grid.largest)
        if grid.from_stored:
            smallest, largest = first, second
            clamped = is_clamped(smallest, largest, zero, grid)
        low, step = binades(smallest, largest, clamped, grid)
        kind = SINGLE if step == 0.0 else NORMAL
        return Tile(kind, 0.0 if zero else first, second, clamped, low, step, 0, smallest, largest)
    low, step = binades(smallest, largest, clamped, grid)
    unit = _LN2 if grid.natural else 1.0
    first, certain = _approximate(low * unit, 2.0**-49 * (abs(low) + clamped * abs(low + grid.clamp)), grid)
    if not certain:
        first = _stored(low_pair(smallest, largest, clamped, grid), grid)
    reach = abs(low) if not clamped and largest - smallest >= smallest else 0.0
    second, certain = _approximate(step * unit, 2.0**-49 * (step + 2.0 * reach / grid.steps), grid)
    if not certain:
        second = _stored(step_pair(smallest, largest, clamped, grid), grid)
    if not grid.from_stored:
        kind = SINGLE if smallest == largest and not clamped else NORMAL
        return Tile(kind, first, second, clamped, low, step, 0, smallest, largest)
    unit = _LOG2E if grid.natural else 1.0
    kind = SINGLE if second == 0.0 else NORMAL
    return Tile(kind, first, second, clamped, first * unit, second * unit, 1, smallest, largest)


# ---- boundaries -------------------------------------------------------------------------------------


@jit
def _boundary(low: float, step: float, j: int, t: float, shift: int, grid: Grid) -> Any:
    """Return the boundary between codes j and j + 1 in float64."""
    if j == 0 and grid.below != NEXT_LEVEL:
        return (t if grid.below == NEAREST else 1.0) * np.exp2(low + shift)
    if grid.linear:
        return np.exp2(low + shift + step * (j - 1)) * (1.0 - t + t * np.exp2(step))
    return np.exp2(low + shift + step * (j - 1 + t))


@jit
def _pairs(tile: Tile, grid: Grid) -> Any:
    """Return the lowest level and the step as pairs."""
    if tile.logarithms:
        low, step = (tile.first, 0.0), (tile.second, 0.0)
        if grid.natural:
            return dd.multiply(low, dd.LOG2E), dd.multiply(step, dd.LOG2E)
        return low, step
    low = low_pair(tile.smallest, tile.largest, tile.clamped, grid)
    return low, step_pair(tile.smallest, tile.largest, tile.clamped, grid)


@jit
def _exact_boundary(low: Any, step: Any, j: int, t: float, shift: int, grid: Grid) -> Any:
    """Return `_boundary` as a pair, from pairs."""
    low = dd.add(low, (float(shift), 0.0))
    if j == 0 and grid.below != NEXT_LEVEL:
        return dd.multiply(dd.exp2(low), (t if grid.below == NEAREST else 1.0, 0.0))
    if grid.linear:
        level = dd.exp2(dd.add(low, dd.multiply(step, (float(j - 1), 0.0))))
        factor = dd.add((1.0 - t, 0.0), dd.multiply(dd.exp2(step), (t, 0.0)))
        return dd.multiply(level, factor)
    return dd.exp2(dd.add(low, dd.multiply(step, dd.two_sum(float(j - 1), t))))


@jit
def _is_tie(low: Any, step: Any, difference: float) -> bool:
    """Tell whether a difference of zero proves a tie: levels are powers of two, and nothing was rounded."""
    whole = np.floor(low[0]) == low[0] and np.floor(step[0]) == step[0] and step[0] < 50.0
    return bool(difference == 0.0 and whole and low[1] == 0.0 and step[1] == 0.0)


@jit
def _up_exactly(
    x: float, tile: Tile, j: int, t: float, shift: int, grid: Grid, doubts: Any, index: int
) -> int:
    """Return 1 if ``x``, scaled by ``2**shift``, takes a code above j, else 0, by pairs.

    A doubt writes the element's index behind those before, whose number is ``doubts[0]``.
    """
    low, step = _pairs(tile, grid)
    high, rest = _exact_boundary(low, step, j, t, shift, grid)
    difference = (x - high) - rest
    if abs(difference) > _EQUAL * x:
        return 1 if difference > 0.0 else 0
    if not _is_tie(low, step, difference):
        doubts[0] += 1
        if doubts[0] < doubts.size:
            doubts[doubts[0]] = index
    return 1 if grid.random_bits or grid.ties_away or j % 2 == 1 or (j == 0 and grid.below == ZERO) else 0


@jit
def _up_later(x: float, tile: Tile, j: int, t: float, shift: int, grid: Grid, doubts: Any, index: int) -> int:
    """Return `LATER`."""
    return LATER


def _up_nearby(
    x: float, tile: Tile, j: int, t: float, shift: int, grid: Grid, doubts: Any, index: int
) -> Any:
    """Decide by pairs where ``doubts`` is an array; elsewhere return `LATER`, and compile no pairs."""


@overload(_up_nearby)
def _up_by_type(x: Any, tile: Any, j: Any, t: Any, shift: Any, grid: Any, doubts: Any, index: Any) -> Any:
    return _up_exactly if isinstance(doubts, types.Array) else _up_later


@jit
def _up(x: float, tile: Tile, j: int, t: float, grid: Grid, doubts: Any, index: int) -> int:
    """Return 1 if ``x`` takes a code above j: it lies above the boundary, or on it and ties go up; else 0.

    Where float64 cannot tell, `_up_nearby` does.
    """
    place = tile.low + tile.step * (j - 1)
    shift = 0
    if abs(place) > 800.0:
        shift = -512 if place > 0.0 else 512
        x = math.ldexp(x, shift)
    near = _boundary(tile.low, tile.step, j, t, shift, grid)
    margin = 2.0**-49 * (abs(tile.low) + tile.step * (grid.steps + 1) + 8.0)
    if abs(x - near) > margin * near:
        return 1 if x > near else 0
    answer: int = _up_nearby(x, tile, j, t, shift, grid, doubts, index)
    return answer


@jit
def choose(x: float, tile: Tile, offset: float, t: float, grid: Grid, doubts: Any, index: int) -> Any:
    """Return the magnitude code of ``x > 0``; boundaries lie ``offset`` steps above levels."""
    place = (np.log2(x) - tile.low) / tile.step + 2.0 - offset
    return settle(x, tile, int(min(max(place, 0.0), grid.steps + 1.0)), t, grid, doubts, index)


@jit
def settle(x: float, tile: Tile, guess: Any, t: float, grid: Grid, doubts: Any, index: int) -> Any:
    """Return the magnitude code of ``x > 0``, the number of boundaries below it, searched from a guess.

    Returns -1 where ``doubts`` is no array and float64 cannot tell.
    """
    first = 0 if tile.clamped and grid.below != MIN else 1
    last = grid.steps + 1
    code = guess if guess > first else first
    stride = 1
    while first < last:
        verdict = 1 if code == first else _up(x, tile, code - 1, t, grid, doubts, index)
        if verdict == 0:
            last = code - 1
            following = code - stride
        else:
            if verdict == 1:
                verdict = 0 if code == last else _up(x, tile, code, t, grid, doubts, index)
            if verdict == LATER:
                return -1
            if verdict == 0:
                return code
            first = code + 1
            following = code + stride
        stride *= 4
        code = following if first <= following <= last else (first + last) // 2
    return first


@jit
def nearest_offset(step: float, grid: Grid) -> Any:
    """Return the distance from a level to its boundary to nearest, in steps of the logarithm."""
    if not grid.linear:
        return 0.5
    nats = step * _LN2
    # At 1024 binades, where levels leave float64's range, expm1 would as well.
    return np.log1p(0.5 * np.expm1(nats if nats < 700.0 else 700.0)) / nats if nats > 0.0 else 0.5
