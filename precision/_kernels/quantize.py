"""Loops of `quantize` and `dequantize`: amax of each group, scales, elements.

A *piece* is a flat array of rows of ``width`` elements, each row cut into groups of ``group`` (the last
one may be shorter). It is walked in tiles that stay in cache from one stage to the next: all amax, all
scales, then the elements. These are divided into a scratch tile that the loops of `codec` encode, or,
where the common case allows it, divided and encoded in one loop.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from precision._kernels._jit import jit
from precision._kernels.codec import encode32, encode64
from precision._kernels.params import Ends, FormatParams, ModeParams, ShortParams, StochasticParams
from precision._kernels.rounding import (
    I64,
    U32,
    U64,
    bits32,
    bits64,
    core32,
    core64,
    decode_value,
    float64_of,
    left,
    nearest_code32,
    philox,
    right,
)

SMALLEST, LARGEST = np.finfo(np.float32).smallest_subnormal, np.finfo(np.float32).max

_random32, _code32 = core32.rounded_random, core32.code
_random64, _code64 = core64.rounded_random, core64.code
_rounded64 = core64.rounded


class ScaleParams(NamedTuple):
    """How a group's amax becomes its scale. The floats have the source's type.

    A power of two takes its exponent from ``float64_bits(amax) + addend``, less ``max_exponent``: the
    rules differ only in what they add below the exponent field.
    """

    plain: int  #: 1 for scales in FP32 and no tensor scale
    power_of_two: int
    addend: int
    max_exponent: int  #: of the largest element
    low: int  #: exponents of the scale format's smallest value and of its largest power of two
    high: int
    maximum: Any  #: largest element
    min_amax: Any
    tensor_scale: Any  #: 1 without one
    zero_scale: Any  #: the scale of a group of zeros
    smallest_code: int  #: of the smallest positive scale


class ScaleFormat(NamedTuple):
    """Everything that rounding to the scale's format needs."""

    fmt: FormatParams
    mode: ModeParams
    ends: Ends


class Piece(NamedTuple):
    """One piece and its scratch. The arrays named ``_bits`` view the others.

    ``amax``, ``scales`` (codes) and ``divisors`` have one entry for each group of the piece.
    """

    x: Any
    x_bits: Any
    magnitude: Any  #: mask of all bits but the sign
    amax: Any
    amax_bits: Any
    scales: Any
    divisors: Any
    q: Any
    q_bits: Any


class Shape(NamedTuple):
    """How a piece is cut: rows, groups, and the tile of ``tile_rows`` rows by ``tile_width`` elements."""

    width: int
    group: int
    tile_rows: int
    tile_width: (
        int  #: ``width``, or with one row a tile a multiple of ``group``, or any if there is one group
    )
    divisors_given: int


class Position(NamedTuple):
    """Where a piece lies in the array as given: element (r, k) has the flat index that `_index` says."""

    row: int
    column: int
    width: int
    inner: int


@jit
def largest_magnitudes(
    x: Any, rows: int, start: int, width: int, group: int, magnitude: Any, out: Any, to: int
) -> None:
    """Bits of the largest magnitude of each group; NaN counts as the largest."""
    for r in range(rows):
        for low in range(0, width, group):
            first = U64(start + r * width + low)
            largest = magnitude ^ magnitude
            for i in range(U64(min(group, width - low))):
                value = x[first + i] & magnitude
                largest = max(largest, value)
            out[to] = largest
            to += 1


@jit
def _wanted_scales(amax: Any, first: int, stop: int, how: ScaleParams) -> None:
    """Replace each amax by its scale before rounding; NaN and Inf give NaN."""
    nothing, endless = amax.dtype.type(0), amax.dtype.type(np.inf)
    for i in range(U64(first), U64(stop)):
        largest = how.min_amax if amax[i] < how.min_amax else amax[i]
        scale = largest / how.maximum / how.tensor_scale
        scale = how.zero_scale if largest == nothing else scale
        amax[i] = scale if largest < endless else amax.dtype.type(np.nan)


@jit
def _wanted_powers(amax: Any, first: int, stop: int, how: ScaleParams) -> None:
    """The same for powers of two."""
    nothing, endless = amax.dtype.type(0), amax.dtype.type(np.inf)
    for i in range(U64(first), U64(stop)):
        largest = how.min_amax if amax[i] < how.min_amax else amax[i]
        bits = U64(bits64(np.float64(largest / how.tensor_scale)) + U64(how.addend))
        exponent = I64(I64(right(bits, U64(52))) - I64(1023 + how.max_exponent))
        exponent = I64(min(max(exponent, I64(how.low)), I64(how.high)))
        scale = amax.dtype.type(float64_of(left(U64(exponent + I64(1023)), U64(52))))
        scale = how.zero_scale if largest == nothing else scale
        amax[i] = scale if largest < endless else amax.dtype.type(np.nan)


@jit
def make_scales(
    amax: Any, first: int, stop: int, how: ScaleParams, target: ScaleFormat, codes: Any, divisors: Any
) -> None:
    """Codes of scales, and what elements are divided by: fl32(scale * tensor scale). Spoils ``amax``.

    A scale that would be zero is the smallest positive one.
    """
    if how.power_of_two:
        _wanted_powers(amax, first, stop, how)
    else:
        _wanted_scales(amax, first, stop, how)
    if how.plain:
        for i in range(U64(first), U64(stop)):
            scale = np.float32(amax[i])
            scale = SMALLEST if scale < SMALLEST else scale  # not max: NaN stays
            scale = LARGEST if scale > LARGEST else scale
            codes[i] = bits32(scale)
            divisors[i] = scale
        return
    for i in range(U64(first), U64(stop)):
        sign, size, _, _, rounded = _rounded64(bits64(np.float64(amax[i])), target.fmt, target.mode)
        code = U32(_code64(sign, size, rounded, target.fmt, target.ends))
        codes[i] = max(code, U32(how.smallest_code))
    for i in range(U64(first), U64(stop)):
        divisor = np.float32(decode_value(U32(codes[i]), target.fmt) * np.float32(how.tensor_scale))
        divisors[i] = SMALLEST if divisor == np.float32(0) else divisor


@jit
def _settle(
    piece: Piece, shape: Shape, r: int, column: int, how: ScaleParams, target: ScaleFormat
) -> tuple[int, int, int, int]:
    """Scales of the tile at row ``r`` and ``column``: its rows and width, first element and first group."""
    rows = min(shape.tile_rows, piece.x.size // shape.width - r)
    width = min(shape.tile_width, shape.width - column)
    groups = (shape.width + shape.group - 1) // shape.group
    start, first = r * shape.width + column, r * groups + column // shape.group
    if not shape.divisors_given:
        largest_magnitudes(
            piece.x_bits, rows, start, width, shape.group, piece.magnitude, piece.amax_bits, first
        )
        stop = first + rows * ((width + shape.group - 1) // shape.group)
        make_scales(piece.amax, first, stop, how, target, piece.scales, piece.divisors)
    return rows, width, start, first


@jit
def _divide_group(x: Any, start: Any, count: Any, divisor: Any, q: Any, to: Any) -> None:
    for i in range(count):
        q[to + i] = x[start + i] / divisor


@jit
def _fill(
    piece: Piece, shape: Shape, r: int, column: int, how: ScaleParams, target: ScaleFormat
) -> tuple[int, int]:
    """The quotients of a tile: its first element and their number."""
    rows, width, start, first = _settle(piece, shape, r, column, how, target)
    to = 0
    for _ in range(rows):
        for low in range(0, width, shape.group):
            count = min(shape.group, width - low)
            _divide_group(piece.x, U64(start + to), U64(count), piece.divisors[first], piece.q, U64(to))
            to += count
            first += 1
    return start, to


# ---- nearest, saturating: division and rounding in one loop -----------------------------------------


@jit
def _nearest_group(
    x: Any, start: Any, count: Any, divisor: Any, codes: Any, short: ShortParams, fmt: FormatParams
) -> None:
    """Codes of quotients that are no NaN."""
    flip, base = U32(fmt.negate_flip), U32(fmt.negate_base)
    for i in range(count):
        bits = bits32(x[start + i] / divisor)
        sign = U32(U32(0) - right(bits, U32(31)))
        code = nearest_code32(min(U32(bits & U32(0x7FFFFFFF)), U32(short.maximum)), short)
        codes[start + i] = U32(U32(U32(code ^ U32(sign & flip)) + U32(sign & base)) & U32(fmt.mask))


@jit
def _fill_group(codes: Any, start: Any, count: Any, code: int) -> None:
    for i in range(count):
        codes[start + i] = code


@jit
def quantize_nearest32(
    piece: Piece, shape: Shape, how: ScaleParams, target: ScaleFormat,
    codes: Any, short: ShortParams, fmt: FormatParams, ends: Ends,
) -> None:  # fmt: skip
    """Codes of a piece of float32: nearest, ties to even, saturating, signed, both signs alike."""
    for r in range(0, piece.x.size // shape.width, shape.tile_rows):
        for column in range(0, shape.width, shape.tile_width):
            rows, width, start, first = _settle(piece, shape, r, column, how, target)
            for _ in range(rows):
                for low in range(0, width, shape.group):
                    count, divisor = min(shape.group, width - low), piece.divisors[first]
                    if divisor == divisor:
                        _nearest_group(piece.x, U64(start), U64(count), divisor, codes, short, fmt)
                    else:
                        _fill_group(codes, U64(start), U64(count), ends.nan_positive)
                    start += count
                    first += 1


# ---- any rounding: one function for each loop of `codec`, as Numba caches none that takes functions ---


@jit
def quantize32(
    piece: Piece, shape: Shape, how: ScaleParams, target: ScaleFormat,
    codes: Any, mode: ModeParams, fmt: FormatParams, ends: Ends,
) -> None:  # fmt: skip
    """Codes of a piece of float32."""
    for r in range(0, piece.x.size // shape.width, shape.tile_rows):
        for column in range(0, shape.width, shape.tile_width):
            start, count = _fill(piece, shape, r, column, how, target)
            encode32(piece.q_bits[:count], codes[start : start + count], fmt, mode, ends)


@jit
def quantize64(
    piece: Piece, shape: Shape, how: ScaleParams, target: ScaleFormat,
    codes: Any, mode: ModeParams, fmt: FormatParams, ends: Ends,
) -> None:  # fmt: skip
    """Codes of a piece of float64."""
    for r in range(0, piece.x.size // shape.width, shape.tile_rows):
        for column in range(0, shape.width, shape.tile_width):
            start, count = _fill(piece, shape, r, column, how, target)
            encode64(piece.q_bits[:count], codes[start : start + count], fmt, mode, ends)


@jit
def _index(element: int, width: int, where: Position) -> Any:
    """Flat index, in the array as given, of the first of a run of elements along the axis."""
    row, column = where.row + element // width, where.column + element % width
    outer, rest = row // where.inner, row % where.inner
    return U64((outer * where.width + column) * where.inner + rest)


@jit
def quantize_random32(
    piece: Piece, shape: Shape, how: ScaleParams, target: ScaleFormat,
    codes: Any, mode: StochasticParams, fmt: FormatParams, ends: Ends, where: Position,
) -> None:  # fmt: skip
    """Codes of a piece of float32, each by its own random word."""
    for r in range(0, piece.x.size // shape.width, shape.tile_rows):
        for column in range(0, shape.width, shape.tile_width):
            start, count = _fill(piece, shape, r, column, how, target)
            run = min(count, shape.width)
            for begin in range(0, count, run):
                index, step = _index(start + begin, shape.width, where), U64(where.inner)
                low, high = U64(begin), U64(start + begin)
                for i in range(U64(run)):
                    at = U64(index + U64(i * step))
                    word = right(philox(U32(at), U32(right(at, U64(32))), mode), U32(32 - mode.bits))
                    sign, magnitude, _, _, code = _random32(piece.q_bits[low + i], fmt, mode, word)
                    codes[high + i] = _code32(sign, magnitude, code, fmt, ends)


@jit
def quantize_random64(
    piece: Piece, shape: Shape, how: ScaleParams, target: ScaleFormat,
    codes: Any, mode: StochasticParams, fmt: FormatParams, ends: Ends, where: Position,
) -> None:  # fmt: skip
    """Codes of a piece of float64, each by its own random word."""
    for r in range(0, piece.x.size // shape.width, shape.tile_rows):
        for column in range(0, shape.width, shape.tile_width):
            start, count = _fill(piece, shape, r, column, how, target)
            run = min(count, shape.width)
            for begin in range(0, count, run):
                index, step = _index(start + begin, shape.width, where), U64(where.inner)
                low, high = U64(begin), U64(start + begin)
                for i in range(U64(run)):
                    at = U64(index + U64(i * step))
                    word = right(philox(U32(at), U32(right(at, U64(32))), mode), U32(32 - mode.bits))
                    sign, magnitude, _, _, code = _random64(piece.q_bits[low + i], fmt, mode, word)
                    codes[high + i] = _code64(sign, magnitude, code, fmt, ends)


@jit
def dequantize(
    codes: Any,
    start: int,
    stop: int,
    width: int,
    group: int,
    divisors: Any,
    row_of: Any,
    fmt: FormatParams,
    one: Any,
    out: Any,
) -> None:
    """Values of the rows ``start`` to ``stop``: one product each of code and scale, in the type of ``one``.

    ``divisors`` is two-dimensional; row r takes its row ``row_of[r]``.
    """
    for r in range(start, stop):
        scale_row = row_of[r]
        for j in range((width + group - 1) // group):
            low = j * group
            first, scale = U64(r * width + low), divisors[scale_row, j] * one
            for i in range(U64(min(group, width - low))):
                out[first + i] = decode_value(U32(codes[first + i]), fmt) * scale


@jit
def dequantize_each(
    codes: Any,
    start: int,
    stop: int,
    width: int,
    group: int,
    divisors: Any,
    row_of: Any,
    fmt: FormatParams,
    one: Any,
    out: Any,
) -> None:
    """`dequantize` for groups of one element, which its inner loop would not vectorize."""
    for r in range(start, stop):
        first, scale_row = U64(r * width), U64(row_of[r])
        for k in range(U64(width)):
            out[first + k] = decode_value(U32(codes[first + k]), fmt) * (divisors[scale_row, k] * one)


@jit
def gather(source: Any, out: Any) -> None:
    """Copy rows that lie across memory into flat ``out``, by squares through a buffer.

    Without it, lines a power of two apart would push each other out of the cache.
    """
    side = 64
    height, width = source.shape
    square = np.empty((side, side + 1), source.dtype)
    for top in range(0, height, side):
        rows = U64(min(side, height - top))
        for start in range(0, width, side):
            columns = U64(min(side, width - start))
            for k in range(columns):
                for r in range(rows):
                    square[r, k] = source[U64(top) + r, U64(start) + k]
            for r in range(rows):
                at = U64((U64(top) + r) * U64(width) + U64(start))
                for k in range(columns):
                    out[at + k] = square[r, k]
