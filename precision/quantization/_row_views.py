"""Views of arrays of any shape as rows along one axis, for the source of a quantization and its results."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from precision._support._array_checks import refuse_masked
from precision._support._types import Array
from precision._support.machine._threads import parallel
from precision.formats._float_format import FloatFormat
from precision.formats._named import format_of
from precision.quantization._granularity import scale_shape

WORDS = {size: np.dtype(f"u{size}") for size in (1, 2, 4, 8)}
"""The types of unsigned integers by their size in bytes."""

FEW = 1 << 17  # elements: so many stay in the second-level cache; fewer are copied by NumPy as fast


class Span(NamedTuple):
    """The ranges of rows and columns that one piece covers."""

    top: int
    bottom: int
    left: int
    right: int


class Rows:
    """A view of an array as rows along one axis, without a copy, whatever the strides."""

    def __init__(self, array: Array, axis: int) -> None:
        outer, inner = math.prod(array.shape[:axis]), math.prod(array.shape[axis + 1 :])
        self.width, self.inner, self.count = array.shape[axis], inner, outer * inner
        # If the axis is last, all rows are one matrix (a sheet); else each index before the axis has one.
        self.sheet = self.count if inner == 1 else inner
        if inner == 1:
            self.sheets = array.reshape(1, outer, self.width)
        else:
            self.sheets = array.reshape(outer, self.width, inner).transpose(0, 2, 1)

    def take(self, span: Span, dtype: np.dtype[Any]) -> Array:
        """Return the elements of a piece as a flat array, without a copy if they lie so in memory."""
        first, last = span.top // self.sheet, (span.bottom - 1) // self.sheet
        columns = slice(span.left, span.right)
        if first == last:
            rows = slice(span.top - first * self.sheet, span.bottom - first * self.sheet)
            return _contiguous(self.sheets[first, rows, columns], dtype).reshape(-1)
        taken = np.empty((span.bottom - span.top, span.right - span.left), dtype)
        for index in range(first, last + 1):
            start, stop = max(span.top, index * self.sheet), min(span.bottom, (index + 1) * self.sheet)
            rows = slice(start - index * self.sheet, stop - index * self.sheet)
            taken[start - span.top : stop - span.top] = _contiguous(self.sheets[index, rows, columns], dtype)
        return taken.reshape(-1)


def _contiguous(part: Array, dtype: np.dtype[Any]) -> Array:
    """Return a matrix as a contiguous one of ``dtype``, itself if it is one already."""
    if min(part.shape) > 8 and part.strides[0] < part.strides[1]:
        # NumPy would copy it column by column, which misses the cache at nearly every element.
        from precision._kernels.numbers._llvm_squares import gather

        word = WORDS[part.itemsize]
        straight = np.empty(part.shape, part.dtype)
        gather(part.view(word), straight.view(word).reshape(-1))
        part = straight
    return np.ascontiguousarray(part, dtype)


class Target(NamedTuple):
    """An array of results, and the contiguous rows of unsigned integers that loops fill for it."""

    array: Array
    rows: Array
    moved: Array | None  #: a view of the array with the axis last, if the rows are a buffer beside it

    @classmethod
    def new(cls, shape: tuple[int, ...], along: int, dtype: np.dtype[Any]) -> Target:
        """Make a target with a new array of a shape, contiguous along the axis ``along``."""
        width = shape[along]
        if along == len(shape) - 1:
            array = moved = np.empty(shape, dtype)
        else:
            last = [i for i in range(len(shape)) if i != along] + [along]
            moved = np.empty([shape[i] for i in last], dtype)
            array = moved.transpose([last.index(i) for i in range(len(last))])
        return cls(array, moved.view(WORDS[dtype.itemsize]).reshape(-1, width or 1), None)

    @classmethod
    def given(cls, array: Array, along: int, source: Array) -> Target:
        """Make a target of an array that a caller gave.

        The rows are the array itself if it is contiguous along the axis and shares no memory with
        ``source``, which is read while the rows are filled; else they are a buffer.
        """
        last = [i for i in range(array.ndim) if i != along] + [along]
        moved = array.transpose(last)
        direct = moved.flags.c_contiguous and not np.may_share_memory(array, source)
        rows = moved if direct else np.empty(moved.shape, array.dtype)
        bits = rows.view(WORDS[array.itemsize]).reshape(-1, moved.shape[-1] or 1)
        return cls(array, bits, None if direct else moved)

    def finish(self) -> Array:
        """Return the array with its results, copied from the rows if these are a buffer."""
        if self.moved is not None:
            copy_rows(self.rows.view(self.moved.dtype).reshape(self.moved.shape), self.moved)
        return self.array


def copy_rows(rows: Array, target: Array) -> None:
    """Copy a contiguous array to another of its shape and type, which may lie in memory in another order."""
    axes = range(target.ndim - 1) if target.size >= FEW else ()
    for axis in axes:
        back = np.moveaxis(target, -1, axis)
        if back.flags.c_contiguous:
            _turn(rows, back, axis)
            return
    target[...] = rows


def _turn(rows: Array, target: Array, axis: int) -> None:
    """Copy rows to a contiguous array in which they lie along ``axis``."""
    from precision._kernels.numbers._llvm_squares import gather

    word, width = WORDS[target.itemsize], target.shape[axis]
    outer, inner = math.prod(target.shape[:axis]), math.prod(target.shape[axis + 1 :])
    flat, sheets = target.reshape(-1).view(word), rows.view(word).reshape(outer, inner, width)
    side = min(width, max(16, FEW // inner // 16 * 16))
    parts = [(sheet, k, min(k + side, width)) for sheet in range(outer) for k in range(0, width, side)]

    def work(start: int, stop: int) -> None:
        for sheet, first, last in parts[start:stop]:
            place = sheet * width * inner
            gather(sheets[sheet, :, first:last].T, flat[place + first * inner : place + last * inner])

    in_pieces(work, len(parts), 1)


def block_rows(shape: tuple[int, ...], block: tuple[int, ...]) -> Array:
    """Return for each row of elements the index of its row of scales.

    Rows of elements are the indices into ``shape`` in C order.

    Examples
    --------
    >>> from precision.quantization._row_views import block_rows
    >>> block_rows((2, 3), (1, 2))
    array([0, 0, 1, 2, 2, 3])
    """
    if all(step == 1 for step in block):
        return np.arange(math.prod(shape))
    row_of = np.zeros(1, np.int64)
    for size, step, count in zip(shape, block, scale_shape(shape, block), strict=True):
        row_of = (row_of[:, None] * count + np.arange(size) // step).reshape(-1)
    return row_of


def row_parts(width: int, group: int, most: int) -> Iterator[tuple[int, int]]:
    """Cut a row into parts of at most ``most`` elements, each of whole groups or a part of one group.

    Examples
    --------
    >>> from precision.quantization._row_views import row_parts
    >>> list(row_parts(10, 2, 5)), list(row_parts(10, 7, 5))
    ([(0, 4), (4, 8), (8, 10)], [(0, 5), (5, 7), (7, 10)])
    """
    if group <= most:
        step = most // group * group
        yield from ((left, min(left + step, width)) for left in range(0, width, step))
        return
    for low in range(0, width, group):
        end = min(low + group, width)
        yield from ((left, min(left + most, end)) for left in range(low, end, most))


def in_pieces(work: Callable[[int, int], None], total: int, grain: int) -> None:
    """Call ``work(start, stop)`` over ``range(total)`` in pieces on threads, or once if there is one."""
    if total <= grain:
        work(0, total)
    else:
        parallel(work, total, grain)


def source_of(x: npt.ArrayLike) -> Array:
    """Return ``x`` as an array of a floating-point type in the machine's byte order.

    Raises
    ------
    TypeError
        If it has no floating-point type.
    ValueError
        If it is a scalar.
    """
    refuse_masked("x", x)
    source = np.asarray(x)
    native = _native_float(source.dtype)
    if native is None:
        raise TypeError(
            f"x must be of a floating-point type (float16, bfloat16, …, float64), got {source.dtype}"
        )
    if source.ndim == 0:
        raise ValueError("x must have at least one axis, got a scalar")
    return source.astype(native, copy=False)


def is_native_float(dtype: np.dtype[Any]) -> bool:
    """Tell whether a type is a floating-point one in the machine's byte order."""
    native = _native_float(dtype)
    return native is not None and native == dtype


@functools.lru_cache(maxsize=256)
def _native_float(dtype: np.dtype[Any]) -> np.dtype[Any] | None:
    """Return a floating-point type in the machine's byte order; None for any other type."""
    native = dtype.newbyteorder("=")
    try:
        return native if isinstance(format_of(native), FloatFormat) else None
    except (TypeError, ValueError):
        return None
