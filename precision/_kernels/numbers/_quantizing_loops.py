"""Loops of `quantize` and `dequantize` over whole pieces of an array.

A *piece* is a flat array of rows of ``width`` elements, each row cut into groups of ``group`` (the last one
may be shorter). It is walked in tiles that stay in cache from one stage to the next: all amax, all scales
(`_group_scales`), then the elements. These are divided or multiplied into memory for one tile, which the
loops of `_conversion_loops` encode; in the common case they are scaled and encoded in one loop.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from precision._kernels._jit import jit
from precision._kernels._llvm_scalars import always_inline, bits32, right
from precision._kernels._llvm_vectors import call_for, wide_vectors
from precision._kernels._params import Ends, FormatParams, ShortParams, StochasticParams
from precision._kernels._scalar_rounding import (
    U32,
    U64,
    core32,
    core64,
    decode_value,
    lifted32,
    nearest_code32,
    random_word32,
    short_code32,
)
from precision._kernels.numbers._conversion_loops import encode32, encode64, encode_short32, random_words
from precision._kernels.numbers._group_scales import (
    ScaleFormat,
    ScaleParams,
    largest_finite_magnitudes,
    largest_magnitudes,
    make_scales,
)
from precision._kernels.numbers._llvm_squares import SIDE, turn_square
from precision._kernels.numbers._packed_params import elements_of, mode_of, random_of, scales_of, short_of

_random32, _code32 = core32.rounded_random, core32.code
_random64, _code64 = core64.rounded_random, core64.code


class Piece(NamedTuple):
    """A piece and the memory that its loops work in. The arrays named ``_bits`` view the others.

    ``amax``, ``scales`` (codes) and ``divisors`` have one entry for each group of the piece.
    """

    x: Any
    x_bits: Any
    magnitude: Any  #: mask of all bits but the sign
    infinity: Any  #: bits of infinity
    amax: Any
    amax_bits: Any
    scales: Any
    divisors: Any
    q: Any
    q_bits: Any


class Shape(NamedTuple):
    """The rows, groups and tiles of a piece: a tile has ``tile_rows`` rows of ``tile_width`` elements."""

    width: int
    group: int
    tile_rows: int
    tile_width: int  #: ``width``; in tiles of one row also a multiple of ``group``, or any for a single group
    divisors_given: int


class Position(NamedTuple):
    """The place of a piece in the whole array: `_index` makes flat indices of its elements by it."""

    row: int
    column: int
    width: int
    inner: int
    offset: int  #: index of the array's first element, modulo 2**64 as a signed integer


@jit
def _piece32(x: Any, amax: Any, scales: Any, divisors: Any, q: Any) -> Piece:
    magnitude, infinity = np.uint32(0x7FFFFFFF), np.uint32(0x7F800000)
    x_bits, amax_bits, q_bits = x.view(np.uint32), amax.view(np.uint32), q.view(np.uint32)
    return Piece(x, x_bits, magnitude, infinity, amax, amax_bits, scales, divisors, q, q_bits)


@jit
def _piece64(x: Any, amax: Any, scales: Any, divisors: Any, q: Any) -> Piece:
    magnitude, infinity = np.uint64(0x7FFFFFFFFFFFFFFF), np.uint64(0x7FF0000000000000)
    x_bits, amax_bits, q_bits = x.view(np.uint64), amax.view(np.uint64), q.view(np.uint64)
    return Piece(x, x_bits, magnitude, infinity, amax, amax_bits, scales, divisors, q, q_bits)


@jit
def _settle(
    piece: Piece, shape: Shape, r: int, column: int, how: ScaleParams, target: ScaleFormat
) -> tuple[int, int, int, int]:
    """Write the scales of a tile; return its rows, its width, and its first element and group."""
    rows = min(shape.tile_rows, piece.x.size // shape.width - r)
    width = min(shape.tile_width, shape.width - column)
    groups = (shape.width + shape.group - 1) // shape.group
    start, first = r * shape.width + column, r * groups + column // shape.group
    if not shape.divisors_given:
        if how.finite:
            largest_finite_magnitudes(
                piece.x_bits, rows, start, width, shape.group, piece.magnitude, piece.infinity,
                piece.amax_bits, first,
            )  # fmt: skip
        else:
            largest_magnitudes(
                piece.x_bits, rows, start, width, shape.group, piece.magnitude, piece.amax_bits, first
            )
        stop = first + rows * ((width + shape.group - 1) // shape.group)
        make_scales(piece.amax, first, stop, how, target, piece.scales, piece.divisors)
    return rows, width, start, first


@jit
def _divide_group(x: Any, start: Any, count: Any, divisor: Any, q: Any, to: Any) -> None:
    """Write a group's quotients."""
    wide_vectors()
    always_inline()
    for i in range(count):
        q[to + i] = x[start + i] / divisor


@jit
def _multiply_group(x: Any, start: Any, count: Any, factor: Any, q: Any, to: Any) -> None:
    """Write a group's products."""
    wide_vectors()
    always_inline()
    for i in range(count):
        q[to + i] = x[start + i] * factor


@jit
def _keep_infinities(x: Any, start: Any, count: Any, q: Any, to: Any) -> None:
    """Put each infinite element in the place of its quotient, which is NaN for Inf / Inf and Inf * 0."""
    for i in range(count):
        if abs(x[start + i]) == np.inf:
            q[to + i] = x[start + i]


@jit
def _fill(piece: Piece, shape: Shape, rows: int, width: int, start: int, first: int, how: ScaleParams) -> int:
    """Write the quotients of a tile, for which `_settle` returned these numbers; return their number."""
    to = 0
    for _ in range(rows):
        for low in range(0, width, shape.group):
            count = min(shape.group, width - low)
            divisor = piece.divisors[first]
            call_for(piece.x, start + to + rows * width, count)
            if how.multiply:
                _multiply_group(piece.x, U64(start + to), U64(count), divisor, piece.q, U64(to))
            else:
                _divide_group(piece.x, U64(start + to), U64(count), divisor, piece.q, U64(to))
            if how.finite and divisor == (np.float32(0) if how.multiply else np.float32(np.inf)):
                _keep_infinities(piece.x, U64(start + to), U64(count), piece.q, U64(to))
            to += count
            first += 1
    return to


# ---- nearest, saturating: division and rounding in one loop -----------------------------------------


@jit
def _nearest_code(bits: Any, short: ShortParams, fmt: FormatParams) -> Any:
    """Return the code of a quotient that is no NaN."""
    always_inline()
    flip, base = U32(fmt.negate_flip), U32(fmt.negate_base)
    sign = U32(U32(0) - right(bits, U32(31)))
    code = nearest_code32(min(U32(bits & U32(0x7FFFFFFF)), U32(short.maximum)), short)
    return U32(U32(U32(code ^ U32(sign & flip)) + U32(sign & base)) & U32(fmt.mask))


@jit
def _nearest_group(
    x: Any, start: Any, count: Any, divisor: Any, codes: Any, short: ShortParams, fmt: FormatParams
) -> None:
    """Write codes of a group's quotients."""
    wide_vectors()
    always_inline()
    for i in range(count):
        codes[start + i] = _nearest_code(bits32(x[start + i] / divisor), short, fmt)


@jit
def _nearest_product_group(
    x: Any, start: Any, count: Any, factor: Any, codes: Any, short: ShortParams, fmt: FormatParams
) -> None:
    """Write codes of a group's products."""
    wide_vectors()
    always_inline()
    for i in range(count):
        codes[start + i] = _nearest_code(bits32(x[start + i] * factor), short, fmt)


@jit
def _fill_group(codes: Any, start: Any, count: Any, code: int) -> None:
    """Write one code for all of a group."""
    for i in range(count):
        codes[start + i] = code


@jit
def quantize_nearest32(
    x: Any, amax: Any, scales: Any, divisors: Any, q: Any, codes: Any,
    row_width: int, group: int, tile_rows: int, tile_width: int, divisors_given: int,
    ints: Any, floats: Any, singles: Any,
) -> None:  # fmt: skip
    """Write codes of a piece of float32: nearest, ties to even, saturating, in a signed format."""
    piece = _piece32(x, amax, scales, divisors, q)
    shape = Shape(row_width, group, tile_rows, tile_width, divisors_given)
    how, target = scales_of(ints, floats, singles)
    fmt, ends = elements_of(ints)
    short = short_of(ints)
    for r in range(0, piece.x.size // shape.width, shape.tile_rows):
        for column in range(0, shape.width, shape.tile_width):
            rows, width, start, first = _settle(piece, shape, r, column, how, target)
            for _ in range(rows):
                for low in range(0, width, shape.group):
                    count, divisor = min(shape.group, width - low), piece.divisors[first]
                    call_for(piece.x, start + rows * width, count)
                    if divisor != divisor:
                        _fill_group(codes, U64(start), U64(count), ends.nan_positive)
                    elif how.multiply:
                        _nearest_product_group(piece.x, U64(start), U64(count), divisor, codes, short, fmt)
                    else:
                        _nearest_group(piece.x, U64(start), U64(count), divisor, codes, short, fmt)
                    start += count
                    first += 1


# ---- any rounding: a function for each loop of `_conversion_loops`; Numba caches none that takes functions


@jit
def quantize32(
    x: Any, amax: Any, scales: Any, divisors: Any, q: Any, codes: Any,
    row_width: int, group: int, tile_rows: int, tile_width: int, divisors_given: int,
    ints: Any, floats: Any, singles: Any,
) -> None:  # fmt: skip
    """Write codes of a piece of float32."""
    piece = _piece32(x, amax, scales, divisors, q)
    shape = Shape(row_width, group, tile_rows, tile_width, divisors_given)
    how, target = scales_of(ints, floats, singles)
    fmt, ends = elements_of(ints)
    short, mode, top = short_of(ints), mode_of(ints), fmt.mask ^ fmt.magnitude_mask
    for r in range(0, piece.x.size // shape.width, shape.tile_rows):
        for column in range(0, shape.width, shape.tile_width):
            rows, width, start, first = _settle(piece, shape, r, column, how, target)
            count = _fill(piece, shape, rows, width, start, first, how)
            quotients, part = piece.q_bits[:count], codes[start : start + count]
            if short.shift:
                encode_short32(quotients, part, short, mode, ends, top)
            else:
                encode32(quotients, part, fmt, mode, ends)


@jit
def quantize64(
    x: Any, amax: Any, scales: Any, divisors: Any, q: Any, codes: Any,
    row_width: int, group: int, tile_rows: int, tile_width: int, divisors_given: int,
    ints: Any, floats: Any, singles: Any,
) -> None:  # fmt: skip
    """Write codes of a piece of float64."""
    piece = _piece64(x, amax, scales, divisors, q)
    shape = Shape(row_width, group, tile_rows, tile_width, divisors_given)
    how, target = scales_of(ints, floats, singles)
    fmt, ends = elements_of(ints)
    mode = mode_of(ints)
    for r in range(0, piece.x.size // shape.width, shape.tile_rows):
        for column in range(0, shape.width, shape.tile_width):
            rows, width, start, first = _settle(piece, shape, r, column, how, target)
            count = _fill(piece, shape, rows, width, start, first, how)
            encode64(piece.q_bits[:count], codes[start : start + count], fmt, mode, ends)


@jit
def _index(element: int, width: int, where: Position) -> Any:
    """Return the index in the whole array, counted from the offset, of the first of some elements."""
    row, column = where.row + element // width, where.column + element % width
    outer, rest = row // where.inner, row % where.inner
    return U64(U64((outer * where.width + column) * where.inner + rest) + U64(where.offset))


@jit
def _words_of_tile(
    start: int, count: int, width: int, where: Position, mode: StochasticParams, words: Any
) -> None:
    """Write the random integers of a tile's elements."""
    run = min(count, width)
    for begin in range(0, count, run):
        index = _index(start + begin, width, where)
        random_words(index, U64(where.inner), U64(run), mode, words, U64(begin))


@jit
def _random_group(
    x: Any, start: Any, count: Any, divisor: Any, words: Any, first: Any, codes: Any,
    short: ShortParams, bits: int, ends: Ends, top: int,
) -> None:  # fmt: skip
    """Write codes of a group's quotients, each rounded by its own random integer."""
    wide_vectors()
    always_inline()
    for i in range(count):
        quotient = bits32(x[start + i] / divisor)
        small, word = lifted32(U32(quotient & U32(0x7FFFFFFF)), short)
        word = random_word32(word, words[first + i], short, bits)
        codes[start + i] = short_code32(small, word, quotient, short, ends, top)


@jit
def quantize_random32(
    x: Any, amax: Any, scales: Any, divisors: Any, q: Any, codes: Any,
    row_width: int, group: int, tile_rows: int, tile_width: int, divisors_given: int,
    row: int, column: int, outer_width: int, inner: int, offset: int,
    ints: Any, floats: Any, singles: Any,
) -> None:  # fmt: skip
    """Write codes of a piece of float32, each rounded by its own random word."""
    wide_vectors()
    piece = _piece32(x, amax, scales, divisors, q)
    shape = Shape(row_width, group, tile_rows, tile_width, divisors_given)
    how, target = scales_of(ints, floats, singles)
    fmt, ends = elements_of(ints)
    short, mode, top = short_of(ints), random_of(ints), fmt.mask ^ fmt.magnitude_mask
    where, words = Position(row, column, outer_width, inner, offset), np.empty(q.size, np.uint32)
    fast = short.shift > mode.bits and not how.multiply and not how.finite
    for r in range(0, piece.x.size // shape.width, shape.tile_rows):
        for column in range(0, shape.width, shape.tile_width):
            rows, width, start, first = _settle(piece, shape, r, column, how, target)
            _words_of_tile(start, rows * width, shape.width, where, mode, words)
            if not fast:
                count = _fill(piece, shape, rows, width, start, first, how)
                for i in range(U64(count)):
                    sign, magnitude, _, _, code = _random32(piece.q_bits[i], fmt, mode, words[i])
                    codes[U64(start) + i] = _code32(sign, magnitude, code, fmt, ends)
                continue
            done = 0
            for _ in range(rows):
                for low in range(0, width, shape.group):
                    count, divisor = min(shape.group, width - low), piece.divisors[first]
                    call_for(piece.x, start + done + rows * width, count)
                    _random_group(
                        piece.x, U64(start + done), U64(count), divisor, words, U64(done), codes,
                        short, mode.bits, ends, top,
                    )  # fmt: skip
                    done += count
                    first += 1


@jit
def quantize_random64(
    x: Any, amax: Any, scales: Any, divisors: Any, q: Any, codes: Any,
    row_width: int, group: int, tile_rows: int, tile_width: int, divisors_given: int,
    row: int, column: int, outer_width: int, inner: int, offset: int,
    ints: Any, floats: Any, singles: Any,
) -> None:  # fmt: skip
    """Write codes of a piece of float64, each rounded by its own random word."""
    wide_vectors()
    piece = _piece64(x, amax, scales, divisors, q)
    shape = Shape(row_width, group, tile_rows, tile_width, divisors_given)
    how, target = scales_of(ints, floats, singles)
    fmt, ends = elements_of(ints)
    mode, words = random_of(ints), np.empty(q.size, np.uint32)
    where = Position(row, column, outer_width, inner, offset)
    for r in range(0, piece.x.size // shape.width, shape.tile_rows):
        for column in range(0, shape.width, shape.tile_width):
            rows, width, start, first = _settle(piece, shape, r, column, how, target)
            count = _fill(piece, shape, rows, width, start, first, how)
            _words_of_tile(start, count, shape.width, where, mode, words)
            for i in range(U64(count)):
                sign, magnitude, _, _, code = _random64(piece.q_bits[i], fmt, mode, words[i])
                codes[U64(start) + i] = _code64(sign, magnitude, code, fmt, ends)


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
    """Write values of the rows ``start`` to ``stop``: products of code and scale, of the type of ``one``.

    ``divisors`` is two-dimensional; row r takes its row ``row_of[r]``.
    """
    wide_vectors()
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
    """Write what `dequantize` does for groups of one element, which its inner loop would not vectorize."""
    wide_vectors()
    for r in range(start, stop):
        first, scale_row = U64(r * width), U64(row_of[r])
        for k in range(U64(width)):
            out[first + k] = decode_value(U32(codes[first + k]), fmt) * (divisors[scale_row, k] * one)


@jit
def gather(source: Any, out: Any) -> None:
    """Copy rows that lie across memory into flat ``out``, by squares."""
    height, width = source.shape
    across = source.strides[0] == source.itemsize and source.strides[1] % source.itemsize == 0
    step = source.strides[1] // source.itemsize
    whole_rows, whole_columns = height // SIDE * SIDE, width // SIDE * SIDE
    if not across:
        whole_rows = whole_columns = 0
    for start in range(0, whole_columns, SIDE):
        for top in range(0, whole_rows, SIDE):
            turn_square(source, top, start, step, out, top * width + start, width)
    for r in range(height):
        for k in range(whole_columns if r < whole_rows else 0, width):
            out[r * width + k] = source[r, k]
