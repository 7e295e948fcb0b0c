"""Loops of `quantize` and `dequantize` over whole pieces of an array.

A *piece* is a flat array of rows of ``row_width`` elements, each row cut into groups of ``group`` (the last
one may be shorter). It is walked in tiles that stay in cache from one stage to the next: all amax, all scales
(`_group_scales`), then the elements. These are divided or multiplied into memory for one tile, and encoded
from there; in the common case they are scaled and encoded in one loop.

Python takes these loops from `quantizing_loop`, which makes one for each `Rule`. Their arrays are the piece
``x``; ``amax``, ``scales`` (codes) and ``divisors``, with one entry for each group of the piece; the memory
``q`` for the quotients of a tile, of the source's type; and the ``codes``. A tile has ``tile_rows`` rows of
``tile_width`` elements: of ``row_width``, or in tiles of one row also of a multiple of ``group``, or of any
number where the piece is one group. The last three arrays are `Packed`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numba import types

from precision._kernels._jit import inline, jit, overload
from precision._kernels._llvm_scalars import always_inline, least
from precision._kernels._llvm_vectors import call_for, wide_vectors
from precision._kernels._params import Ends, FormatParams, ShortParams, StochasticParams
from precision._kernels._scalar_rounding import U32, U64, decode_value
from precision._kernels.numbers._conversion_loops import random_words
from precision._kernels.numbers._element_codes import (
    encode_tile,
    fill_group,
    nearest_group,
    random_code_of,
    random_group,
)
from precision._kernels.numbers._group_scales import (
    Given,
    Rule,
    ScaleParams,
    Yes,
    chosen,
    find_largest,
    make_scales,
)
from precision._kernels.numbers._packed_params import (
    elements_of,
    mode_of,
    random_of,
    scales_of,
    short_of,
    signs_of,
    target_of,
)


class Position(NamedTuple):
    """The place of a piece in the whole array: `_index` makes flat indices of its elements by it."""

    row: int
    column: int
    width: int
    inner: int
    offset: int  #: index of the array's first element, modulo 2**64 as a signed integer


# ---- stages of a tile -----------------------------------------------------------------------------------


@jit
def _make_tile_scales(
    x: Any, amax: Any, scales: Any, divisors: Any, rows: int, start: int, width: int, group: int, first: int,
    how: ScaleParams, target: Any,
) -> None:  # fmt: skip
    """Write the scales of a tile, whose first element and group are ``start`` and ``first``."""
    find_largest(x, rows, start, width, group, amax, first, how)
    stop = first + rows * ((width + group - 1) // group)
    make_scales(amax, first, stop, how, target, scales, divisors)


@jit
def _keep_scales(
    x: Any, amax: Any, scales: Any, divisors: Any, rows: int, start: int, width: int, group: int, first: int,
    how: ScaleParams, target: Any,
) -> None:  # fmt: skip
    """Write nothing: the scales of a tile are there already."""


def _settle(
    x: Any, amax: Any, scales: Any, divisors: Any, rows: int, start: int, width: int, group: int, first: int,
    how: ScaleParams, target: Any,
) -> None:  # fmt: skip
    """Write the scales of a tile, unless they are given."""


@overload(_settle)
def _settle_by_rule(
    x: Any, amax: Any, scales: Any, divisors: Any, rows: int, start: int, width: int, group: int, first: int,
    how: Any, target: Any,
) -> Any:  # fmt: skip
    return _keep_scales if chosen(how, "way") is Given else _make_tile_scales


@jit
def _divide_group(x: Any, start: Any, count: Any, divisor: Any, q: Any, to: Any, how: ScaleParams) -> None:
    """Write a group's quotients."""
    wide_vectors()
    always_inline()
    for i in range(count):
        q[to + i] = x[start + i] / divisor


@jit
def _multiply_group(x: Any, start: Any, count: Any, divisor: Any, q: Any, to: Any, how: ScaleParams) -> None:
    """Write a group's products."""
    wide_vectors()
    always_inline()
    for i in range(count):
        q[to + i] = x[start + i] * divisor


def _scale_group(x: Any, start: Any, count: Any, divisor: Any, q: Any, to: Any, how: ScaleParams) -> None:
    """Write a group's quotients or products."""


@overload(_scale_group)
def _scale_by_rule(x: Any, start: Any, count: Any, divisor: Any, q: Any, to: Any, how: Any) -> Any:
    return _multiply_group if chosen(how, "multiply") is Yes else _divide_group


@jit
def _keep_infinities(x: Any, start: Any, count: Any, divisor: Any, q: Any, to: Any, how: ScaleParams) -> None:
    """Put each infinite element in the place of its quotient, which is NaN for Inf / Inf and Inf * 0."""
    if divisor == np.float32(np.inf) or divisor == np.float32(0):  # a divisor is never 0, a factor never Inf
        for i in range(count):
            if abs(x[start + i]) == np.inf:
                q[to + i] = x[start + i]


@jit
def _keep_quotients(x: Any, start: Any, count: Any, divisor: Any, q: Any, to: Any, how: ScaleParams) -> None:
    """Leave the quotients of infinite elements as they are."""


def _repair_group(x: Any, start: Any, count: Any, divisor: Any, q: Any, to: Any, how: ScaleParams) -> None:
    """Put infinite elements in the place of their quotients, where amax is taken over finite elements."""


@overload(_repair_group)
def _repair_by_rule(x: Any, start: Any, count: Any, divisor: Any, q: Any, to: Any, how: Any) -> Any:
    return _keep_infinities if chosen(how, "finite") is Yes else _keep_quotients


@jit
def _fill(
    x: Any, divisors: Any, rows: int, start: int, width: int, group: int, first: int, q: Any, how: ScaleParams
) -> int:
    """Write the quotients of a tile, and return their number."""
    to = 0
    for _ in range(rows):
        for low in range(0, width, group):
            count, divisor = least(group, width - low), divisors[first]
            call_for(x, start + to + rows * width, count)
            _scale_group(x, U64(start + to), U64(count), divisor, q, U64(to), how)
            _repair_group(x, U64(start + to), U64(count), divisor, q, U64(to), how)
            to += count
            first += 1
    return to


# ---- nearest, saturating: division and rounding in one loop -----------------------------------------


def _quantize_nearest(rule: Rule) -> Callable[..., None]:
    @jit
    def quantize_nearest(
        x: Any, amax: Any, scales: Any, divisors: Any, q: Any, codes: Any,
        row_width: int, group: int, tile_rows: int, tile_width: int,
        ints: Any, floats: Any, singles: Any,
    ) -> None:  # fmt: skip
        """Write codes of a piece of float32: nearest, ties to even, saturating, in a signed format."""
        wide_vectors()
        how = scales_of(rule, ints, floats, singles)
        target, short, signs = target_of(how, ints), short_of(ints), signs_of(ints)
        height, groups = x.size // row_width, (row_width + group - 1) // group
        for r in range(0, height, tile_rows):
            for column in range(0, row_width, tile_width):
                rows, width = least(tile_rows, height - r), least(tile_width, row_width - column)
                start, first = r * row_width + column, r * groups + column // group
                _settle(x, amax, scales, divisors, rows, start, width, group, first, how, target)
                for _ in range(rows):
                    for low in range(0, width, group):
                        count, divisor = least(group, width - low), divisors[first]
                        call_for(x, start + rows * width, count)
                        if divisor != divisor:
                            fill_group(codes, U64(start), U64(count), signs.nan)
                        else:
                            nearest_group(x, U64(start), U64(count), divisor, codes, short, signs, how)
                        start += count
                        first += 1

    return quantize_nearest


# ---- any rounding ---------------------------------------------------------------------------------------


def _quantize(rule: Rule) -> Callable[..., None]:
    @jit
    def quantize(
        x: Any, amax: Any, scales: Any, divisors: Any, q: Any, codes: Any,
        row_width: int, group: int, tile_rows: int, tile_width: int,
        ints: Any, floats: Any, singles: Any,
    ) -> None:  # fmt: skip
        """Write codes of a piece."""
        wide_vectors()
        how = scales_of(rule, ints, floats, singles)
        target, short, mode = target_of(how, ints), short_of(ints), mode_of(ints)
        fmt, ends = elements_of(ints)
        height, groups = x.size // row_width, (row_width + group - 1) // group
        for r in range(0, height, tile_rows):
            for column in range(0, row_width, tile_width):
                rows, width = least(tile_rows, height - r), least(tile_width, row_width - column)
                start, first = r * row_width + column, r * groups + column // group
                _settle(x, amax, scales, divisors, rows, start, width, group, first, how, target)
                count = _fill(x, divisors, rows, start, width, group, first, q, how)
                encode_tile(q, count, codes, start, fmt, short, mode, ends)

    return quantize


@inline
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
    run = least(count, width)
    for begin in range(0, count, run):
        index = _index(start + begin, width, where)
        random_words(index, U64(where.inner), U64(run), mode, words, U64(begin))


@jit
def _encode_random(
    x: Any, divisors: Any, rows: int, start: int, width: int, group: int, first: int, q: Any, words: Any,
    codes: Any, fmt: FormatParams, short: ShortParams, mode: StochasticParams, ends: Ends, how: ScaleParams,
) -> None:  # fmt: skip
    """Write codes of a tile by way of its quotients or products."""
    count, to = _fill(x, divisors, rows, start, width, group, first, q, how), U64(start)
    for i in range(U64(count)):
        codes[to + i] = random_code_of(q[i], words[i], fmt, mode, ends)


@jit
def _encode_random_groups(
    x: Any, divisors: Any, rows: int, start: int, width: int, group: int, first: int, q: Any, words: Any,
    codes: Any, fmt: FormatParams, short: ShortParams, mode: StochasticParams, ends: Ends, how: ScaleParams,
) -> None:  # fmt: skip
    """Write codes of a tile in one loop where ``short`` has more bits to cut off than are random."""
    if short.shift <= mode.bits:
        _encode_random(
            x, divisors, rows, start, width, group, first, q, words, codes, fmt, short, mode, ends, how
        )
        return
    done, top = 0, fmt.mask ^ fmt.magnitude_mask
    for _ in range(rows):
        for low in range(0, width, group):
            count, divisor = least(group, width - low), divisors[first]
            call_for(x, start + done + rows * width, count)
            random_group(
                x, U64(start + done), U64(count), divisor, words, U64(done), codes,
                short, mode.bits, ends, top,
            )  # fmt: skip
            done += count
            first += 1


def _encode_random_tile(
    x: Any, divisors: Any, rows: int, start: int, width: int, group: int, first: int, q: Any, words: Any,
    codes: Any, fmt: FormatParams, short: ShortParams, mode: StochasticParams, ends: Ends, how: ScaleParams,
) -> None:  # fmt: skip
    """Write codes of a tile, each rounded by its own random integer."""


@overload(_encode_random_tile)
def _encode_random_by_rule(
    x: Any, divisors: Any, rows: int, start: int, width: int, group: int, first: int, q: Any, words: Any,
    codes: Any, fmt: Any, short: Any, mode: Any, ends: Any, how: Any,
) -> Any:  # fmt: skip
    plain = chosen(how, "multiply") is not Yes and chosen(how, "finite") is not Yes
    return _encode_random_groups if plain and x.dtype == types.float32 else _encode_random


def _quantize_random(rule: Rule) -> Callable[..., None]:
    @jit
    def quantize_random(
        x: Any, amax: Any, scales: Any, divisors: Any, q: Any, codes: Any,
        row_width: int, group: int, tile_rows: int, tile_width: int,
        words: Any, row: int, column: int, outer_width: int, inner: int, offset: int,
        ints: Any, floats: Any, singles: Any,
    ) -> None:  # fmt: skip
        """Write codes of a piece, each rounded by its own random integer; ``words`` is as long as ``q``."""
        wide_vectors()
        how = scales_of(rule, ints, floats, singles)
        target, short, mode = target_of(how, ints), short_of(ints), random_of(ints)
        fmt, ends = elements_of(ints)
        where = Position(row, column, outer_width, inner, offset)
        height, groups = x.size // row_width, (row_width + group - 1) // group
        for r in range(0, height, tile_rows):
            for left in range(0, row_width, tile_width):
                rows, width = least(tile_rows, height - r), least(tile_width, row_width - left)
                start, first = r * row_width + left, r * groups + left // group
                _settle(x, amax, scales, divisors, rows, start, width, group, first, how, target)
                _words_of_tile(start, rows * width, row_width, where, mode, words)
                _encode_random_tile(
                    x, divisors, rows, start, width, group, first, q, words, codes, fmt, short, mode, ends,
                    how,
                )  # fmt: skip

    return quantize_random


_LOOPS = {"nearest": _quantize_nearest, "any": _quantize, "random": _quantize_random}


@functools.cache
def quantizing_loop(rounding: str, rule: Rule) -> Callable[..., None]:
    """Return the loop for a kind of rounding and a rule: ``"nearest"``, ``"any"`` or ``"random"``."""
    return _LOOPS[rounding](rule)


# ---- values ---------------------------------------------------------------------------------------------


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
            for i in range(U64(least(group, width - low))):
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
