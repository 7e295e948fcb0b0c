"""Operands of a product, as stacks of codes and in the layouts that kernels read."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import numpy as np

from precision._support._types import Array
from precision._support.machine._aligned_memory import aligned_parts
from precision._support.machine._pieces import in_pieces
from precision._support.machine._threads import checkpoint
from precision.formats._codec import decode
from precision.formats._codec_arrays import F32
from precision.formats._float_format import FloatFormat
from precision.formats._int_format import IntFormat
from precision.formats._named import BF16, FP32, TF32, Format

#: Elements that one call of NumPy lays out: between two such pieces a product can be interrupted.
_PIECE = 2**20
#: Elements of an operand that is looked up as a whole, at most.
_SMALL = 2**16


class Stack(NamedTuple):
    """Matrices of codes of one format: unsigned integers of shape (count, rows, columns).

    The codes of TF32 are held as the bits of float32 numbers, of which the low 13 are ignored.
    """

    codes: Array
    fmt: Format

    @property
    def orientation(self) -> tuple[Array, bool]:
        """Codes with a contiguous last axis, read-only, and True if rows and columns are swapped."""
        codes, transposed = self.codes, False
        if not codes.flags.c_contiguous:
            transposed = codes.swapaxes(1, 2).flags.c_contiguous
            codes = codes.swapaxes(1, 2) if transposed else np.ascontiguousarray(codes)
        codes = codes.view()
        codes.flags.writeable = False  # so that kernels are compiled for one type of array
        return codes, transposed


def _every_value(fmt: Format) -> Array:
    """Return the float32 values of all codes of a format, in the order of codes."""
    codes = np.arange(1 << fmt.bits, dtype=fmt.code_dtype)
    if fmt.dtype.kind == "u":
        return decode(codes, fmt)
    # ml_dtypes and NumPy widen exactly, and need no compiler.
    values: Array = codes.view(fmt.dtype).astype(np.float32)
    return np.ldexp(values, -fmt.fraction_bits) if isinstance(fmt, IntFormat) else values


@functools.lru_cache(maxsize=64)
def _table(fmt: Format) -> Array:
    """Return the table of a format's values, or an empty array if a code's bits are those of a float32."""
    table = np.empty(0, np.float32) if fmt in (BF16, FP32, TF32) else _every_value(fmt)
    table.flags.writeable = False
    return table


def _min_exponent(fmt: Format) -> int:
    """Return the smallest exponent that kernels give an element of a format.

    Subnormal numbers have the exponent of the smallest normal one. The values of an integer format lie far
    above 2**-126.
    """
    return fmt.min_exponent if isinstance(fmt, FloatFormat) else -126


def as_operand(stack: Stack) -> Any:
    """Build the record of an operand that the general kernel reads."""
    from precision._kernels.products._coded_operands import Operand

    fmt = stack.fmt
    codes, transposed = stack.orientation
    return Operand(
        codes=codes.reshape(-1),
        rows=stack.codes.shape[1],
        columns=stack.codes.shape[2],
        transposed=int(transposed),
        table=_table(fmt),
        shift=16 if fmt == BF16 else 0,
        mask=0xFFFFE000 if fmt == TF32 else 0xFFFFFFFF,
        min_exponent=_min_exponent(fmt),
    )


def values(stack: Stack) -> Array:
    """Return the float32 value of every element of a stack."""
    if stack.fmt in (FP32, TF32):
        bits = stack.codes & np.uint32(0xFFFFE000) if stack.fmt == TF32 else stack.codes
        return np.ascontiguousarray(bits).view(np.float32)
    return decode(stack.codes, stack.fmt)


def has_specials(*stacks: Stack) -> bool:
    """Tell whether any element of some stacks is NaN or Inf."""
    return any(not np.isfinite(values(stack)).all() for stack in stacks)


def exponents(stack: Stack) -> tuple[int, int]:
    """Return bounds of the elements' exponents: the format's own if they are close, else measured."""
    fmt = stack.fmt
    if isinstance(fmt, FloatFormat) and fmt.max_exponent - fmt.min_exponent <= 62:
        return fmt.min_exponent, fmt.max_exponent
    from precision._kernels.products._coded_operands import exponent_range

    operand = as_operand(stack)
    found: list[tuple[int, int]] = []
    in_pieces(
        lambda start, stop: found.append(exponent_range(operand, start, stop)), operand.codes.size, 2**18
    )
    lowest, highest = min(f[0] for f in found), max(f[1] for f in found)
    return (int(lowest), int(highest)) if lowest <= highest else (0, 0)


class Tables(NamedTuple):
    """Values and exponents of codes, as the kernels over panels read them.

    NaN and Inf are zeros to these kernels, and are marked in ``special``. For codes of up to 16 bits there
    is one entry for each code. Codes of 32 bits are values as they are: ``values`` is empty then, and the
    other arrays have an entry for each element of the stack.
    """

    values: Array
    exponents: Array  #: relative to the operand's reference; the smallest of their type for a zero
    special: Array


def _entries(elements: Array, fmt: Format, reference: int, kind: np.dtype[Any]) -> Tables:
    """Build the tables of some float32 values."""
    special = ~np.isfinite(elements)
    elements = np.where(special, np.float32(0), elements)  # a copy: the array may be the caller's
    limits = np.iinfo(kind)
    exponents = np.maximum(np.frexp(elements)[1] - 1, _min_exponent(fmt)) - reference
    exponents[elements == 0] = limits.min
    clipped: Array = np.clip(exponents, limits.min, limits.max)
    return Tables(elements, clipped.astype(kind), special)


@functools.lru_cache(maxsize=64)
def _code_tables(fmt: Format, reference: int, kind: np.dtype[Any]) -> Tables:
    """Build the tables of every code of a format."""
    return _entries(_every_value(fmt), fmt, reference, kind)


def _pieces(shape: tuple[int, ...]) -> list[tuple[slice, slice]]:
    """Cut a matrix into pieces: some whole rows each, or parts of one long row."""
    rows, columns = shape
    high, wide = max(1, 2**16 // max(1, columns)), max(1, min(columns, _PIECE))
    return [
        (slice(top, top + high), slice(left, left + wide))
        for top in range(0, rows, high)
        for left in range(0, columns, wide)
    ]


def build_tables(stack: Stack, reference: int, kind: np.dtype[Any]) -> Tables:
    """Build the tables of a stack: of its format's codes, or of its elements if codes have 32 bits."""
    if stack.codes.itemsize < 4:
        return _code_tables(stack.fmt, reference, kind)
    found = Tables(
        np.empty(0, np.float32), np.empty(stack.codes.shape, kind), np.empty(stack.codes.shape, bool)
    )

    def work(start: int, stop: int) -> None:
        for matrix in range(start, stop):
            for some in _pieces(stack.codes.shape[1:]):
                checkpoint()
                piece = values(Stack(stack.codes[matrix][some], stack.fmt))
                _, found.exponents[matrix][some], found.special[matrix][some] = _entries(
                    piece, stack.fmt, reference, kind
                )

    in_pieces(work, len(stack.codes), 1)
    return found


def find_specials(stack: Stack, found: Tables, axis: int) -> Array | None:
    """Mark the rows (axis 2) or columns (axis 1) that hold NaN or Inf, or return None if none does."""
    codes = stack.codes
    if not found.values.size:
        return np.asarray(found.special.any(axis=axis)) if found.special.any() else None
    if not stack.fmt.has_nan and not stack.fmt.has_inf:
        return None
    if codes.size <= _SMALL and not np.count_nonzero(found.special.take(codes, mode="clip")):
        return None
    marked = np.zeros((len(codes), codes.shape[3 - axis]), bool)
    pieces = _pieces(codes.shape[1:])

    def work(start: int, stop: int) -> None:
        for piece in range(start, stop):
            matrix, some = piece // len(pieces), pieces[piece % len(pieces)]
            marks = found.special.take(codes[matrix][some], mode="clip")
            if marks.any():  # threads may mark the same line, and no thread clears a mark
                marked[matrix, some[2 - axis]][marks.any(axis=axis - 1)] = True

    in_pieces(work, len(codes) * len(pieces), 1)
    return marked


@functools.cache
def panel_modules() -> tuple[Any, Any]:
    """Import the modules `_panel_steps` and `_tile_sums` of the kernels over panels, once.

    An import statement costs a microsecond each time it is reached.
    """
    from precision._kernels.products import _panel_steps, _tile_sums

    return _panel_steps, _tile_sums


def pack_left(stack: Stack, found: Tables, depth: int) -> Any:
    """Lay out the left operand as the kernels over panels read it: in chunks of ``depth`` elements of K.

    NumPy looks up the codes. All panels share the result, and no kernel has to be compiled for it.
    """
    codes, steps = stack.codes, panel_modules()[0]
    count, rows, length = codes.shape
    chunks = -(-length // depth)
    kind = found.exponents.dtype
    size = count * chunks * rows * depth
    flat_values, flat_exponents = aligned_parts((size, F32), (size, kind))
    packed = flat_values.reshape(count, chunks, rows, depth)
    exponents = flat_exponents.reshape(packed.shape)
    if found.values.size and size <= _SMALL and length == chunks * depth:
        code = codes.reshape(count, rows, chunks, depth).swapaxes(1, 2)
        found.values.take(code, out=packed, mode="clip")
        found.exponents.take(code, out=exponents, mode="clip")
        return steps.Left(flat_values, flat_exponents)
    step, wide = max(1, 2**16 // (chunks * depth)), max(1, min(chunks, _PIECE // depth))
    high, across = -(-rows // step), -(-chunks // wide)

    def work(start: int, stop: int) -> None:
        for piece in range(start, stop):
            line, chunk = piece // across, piece % across * wide
            matrix, first = line // high, line % high * step
            some, into = slice(first, min(rows, first + step)), slice(chunk, min(chunks, chunk + wide))
            along = slice(chunk * depth, min(length, into.stop * depth))
            code, here = codes[matrix, some, along], (matrix, into, some)
            if found.values.size and code.shape[1] == (into.stop - chunk) * depth:
                code = code.reshape(len(code), -1, depth).swapaxes(0, 1)
                if high == across == 1:  # the whole matrix: memory without gaps
                    found.values.take(code, out=packed[matrix], mode="clip")
                    found.exponents.take(code, out=exponents[matrix], mode="clip")
                else:
                    packed[here] = found.values.take(code, mode="clip")
                    exponents[here] = found.exponents.take(code, mode="clip")
                continue
            value = np.zeros((len(code), (into.stop - chunk) * depth), np.float32)
            exponent = np.full(value.shape, np.iinfo(kind).min, kind)
            own = np.s_[:, : code.shape[1]]
            if found.values.size:
                value[own] = found.values.take(code, mode="clip")
                exponent[own] = found.exponents.take(code, mode="clip")
            else:
                value[own] = values(Stack(code, stack.fmt))
                value[own][found.special[matrix, some, along]] = 0
                exponent[own] = found.exponents[matrix, some, along]
            packed[here] = value.reshape(len(value), -1, depth).swapaxes(0, 1)
            exponents[here] = exponent.reshape(len(value), -1, depth).swapaxes(0, 1)

    in_pieces(work, count * high * across, 1)
    return steps.Left(flat_values, flat_exponents)


class RightPanels:
    """Panels of the right operand in one thread's memory, filled with a part of K at a time."""

    def __init__(self, stack: Stack, found: Tables, lanes: int, most: int) -> None:
        self.stack, self.found, self.lanes = stack, found, lanes
        self.codes = np.empty(most * lanes, stack.codes.dtype)
        self.exponents = found.exponents
        if not found.values.size:
            self.exponents = np.empty(most * lanes, found.exponents.dtype)

    def take(self, matrix: int, first_column: int, start: int, count: int) -> Any:
        """Copy ``count`` elements of K from ``start`` on for one panel, and return a kernel's record.

        Beyond the end of K, elements are zeros.
        """
        some = (matrix, slice(start, start + count), slice(first_column, first_column + self.lanes))
        codes = self.stack.codes[some]
        deep, wide = codes.shape
        table = self.codes[: count * self.lanes].reshape(count, self.lanes)
        if deep < count:
            table[deep:] = 0  # any finite value: zeros of the left operand multiply it
        if self.found.values.size:
            table[:deep, :wide] = codes
        else:
            value = values(Stack(codes, self.stack.fmt)).view(np.uint32)
            table[:deep, :wide] = np.where(self.found.special[some], np.uint32(0), value)
            exponents = self.exponents[: count * self.lanes].reshape(count, self.lanes)
            exponents.fill(np.iinfo(exponents.dtype).min)
            exponents[:deep, :wide] = self.found.exponents[some]
        return panel_modules()[1].Right(self.codes, self.found.values, self.exponents)
