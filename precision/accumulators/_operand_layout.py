"""Operands of a product, as stacks of codes and in the layouts that kernels read."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import numpy as np

from precision._support._types import Array
from precision._support.machine._aligned_memory import aligned_parts
from precision._support.machine._pieces import in_pieces
from precision.formats._codec import decode
from precision.formats._codec_arrays import F32
from precision.formats._float_format import FloatFormat
from precision.formats._int_format import IntFormat
from precision.formats._named import BF16, FP32, TF32, Format

#: Elements that one piece of work lays out: between two such pieces a product can be interrupted.
_PIECE = 2**17


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


@functools.cache
def panel_modules() -> tuple[Any, Any]:
    """Import the modules `_panel_steps` and `_tile_sums` of the kernels over panels, once.

    An import statement costs a microsecond each time it is reached.
    """
    from precision._kernels.products import _panel_steps, _tile_sums

    return _panel_steps, _tile_sums


def as_right(stack: Stack, reference: int) -> Any:
    """Build the record of a right operand that the kernels over panels read."""
    operand = as_operand(stack)
    strides = (1, operand.rows) if operand.transposed else (operand.columns, 1)
    return panel_modules()[1].Right(
        operand.codes, *strides, operand.table, operand.shift, operand.mask, operand.min_exponent, reference
    )


class LeftRows:
    """Rows of the left operand, laid out as the kernels over panels read them: in chunks of K.

    ``kind`` is the type of exponents, and ``apart`` tells whether signs are apart from values. The memory is
    that of ``grid.block`` rows of some matrices.
    """

    def __init__(
        self, stack: Stack, reference: int, grid: Any, matrices: int, kind: np.dtype[Any], apart: bool
    ) -> None:
        self.operand, self.reference, self.grid = as_operand(stack), reference, grid
        elements = matrices * grid.block * grid.chunks * grid.depth
        values, swaps, exponents = aligned_parts(
            (elements, F32), (elements if apart else 0, np.dtype(np.uint16)), (elements, kind)
        )
        self.record = panel_modules()[0].Left(values, exponents, swaps)
        self.marks = np.zeros(len(stack.codes) * grid.rows, np.uint8)

    def lay_out(self, first_matrix: int, matrices: int, first_row: int, rows: int) -> None:
        """Lay out some rows of some matrices, on all threads, and mark those that hold NaN or Inf."""
        operand, grid = self.operand, self.grid
        size = operand.rows * operand.columns
        strides = (1, operand.rows) if operand.transposed else (operand.columns, 1)
        place = first_matrix * size + first_row * strides[0]

        def work(start: int, stop: int) -> None:
            panel_modules()[1].lay_out_rows(
                start, stop, rows, operand.codes, place, size, *strides, operand.table, operand.shift,
                operand.mask, operand.min_exponent, self.reference, grid, self.record, self.marks,
                first_matrix * grid.rows + first_row,
            )  # fmt: skip

        in_pieces(work, matrices * grid.chunks, max(1, _PIECE // (rows * grid.depth)))
