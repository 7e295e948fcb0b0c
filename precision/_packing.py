"""Operands of a product before the kernels: stacks of codes, what they mean, and the left one packed."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from precision._kernels._threads import parallel
from precision.codec import decode
from precision.formats import BF16, FP32, TF32, FloatFormat, Format

Array = npt.NDArray[Any]


class Stack(NamedTuple):
    """Matrices of codes (unsigned integers, or float32 as uint32), of shape (count, rows, columns)."""

    codes: Array
    fmt: Format

    @property
    def orientation(self) -> tuple[Array, bool]:
        """The codes with their last axis contiguous, read-only, and whether that swapped rows and columns."""
        codes, transposed = self.codes, False
        if not codes.flags.c_contiguous:
            transposed = codes.swapaxes(1, 2).flags.c_contiguous
            codes = codes.swapaxes(1, 2) if transposed else np.ascontiguousarray(codes)
        codes = codes.view()
        codes.flags.writeable = False  # one type for the compiler, whatever the caller's array was
        return codes, transposed


@functools.lru_cache(maxsize=64)
def _table(fmt: Format) -> Array:
    """The float32 value of every code, or nothing where a code's own bits are a float32's."""
    if fmt in (BF16, FP32, TF32):
        table = np.empty(0, np.float32)
    else:
        codes = np.arange(1 << fmt.bits, dtype=fmt.code_dtype)
        # ml_dtypes and NumPy widen exactly, and need no compiler.
        table = codes.view(fmt.dtype).astype(np.float32) if fmt.dtype.kind != "u" else decode(codes, fmt)
    table.flags.writeable = False
    return table


def _min_exponent(fmt: Format) -> int:
    """The exponent of subnormals; an integer's value has its own, far above float32's smallest."""
    return fmt.min_exponent if isinstance(fmt, FloatFormat) else -126


def as_operand(stack: Stack, reference: int = 0) -> Any:
    from precision._kernels.operands import Operand

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
        reference=reference,
    )


def values(stack: Stack) -> Array:
    """The float32 value of every element."""
    if stack.fmt in (FP32, TF32):
        bits = stack.codes & np.uint32(0xFFFFE000) if stack.fmt == TF32 else stack.codes
        return np.ascontiguousarray(bits).view(np.float32)
    return decode(stack.codes, stack.fmt)


def has_specials(*stacks: Stack) -> bool:
    """Whether any element is NaN or Inf."""
    return any(not np.isfinite(values(stack)).all() for stack in stacks)


def exponents(stack: Stack) -> tuple[int, int]:
    """Smallest and largest exponent: the format's where they lie close, else those of the elements."""
    fmt = stack.fmt
    if isinstance(fmt, FloatFormat) and fmt.max_exponent - fmt.min_exponent <= 62:
        return fmt.min_exponent, fmt.max_exponent
    from precision._kernels.operands import exponent_range

    operand = as_operand(stack)
    found: list[tuple[int, int]] = []
    parallel(
        lambda start, stop: found.append(exponent_range(operand, start, stop)), operand.codes.size, 2**18
    )
    lowest, highest = min(f[0] for f in found), max(f[1] for f in found)
    return (int(lowest), int(highest)) if lowest <= highest else (0, 0)


def _exponents_of(elements: Array, fmt: Format, reference: int, kind: np.dtype[Any]) -> Array:
    """Exponents of float32 values as `Tables` has them."""
    limits = np.iinfo(kind)
    exponents = np.maximum(np.frexp(elements)[1] - 1, _min_exponent(fmt)) - reference
    exponents[elements == 0] = limits.min
    exponents[~np.isfinite(elements)] = limits.max
    clipped: Array = np.clip(exponents, limits.min, limits.max)
    return clipped.astype(kind)


@functools.lru_cache(maxsize=64)
def _code_tables(fmt: Format, reference: int, kind: np.dtype[Any]) -> tuple[Array, Array]:
    table = values(Stack(np.arange(1 << fmt.bits, dtype=fmt.code_dtype)[None, None], fmt)).reshape(-1)
    return table, _exponents_of(table, fmt, reference, kind)


def tables(stack: Stack, reference: int, kind: np.dtype[Any]) -> Any:
    """What `pack` looks up: for each code, or for each element of a stack of 32-bit codes."""
    from precision._kernels.operands import Tables

    if stack.codes.itemsize < 4:
        return Tables(*_code_tables(stack.fmt, reference, kind))
    codes = stack.orientation[0].reshape(-1)
    exponents = np.empty(codes.size, kind)

    def work(start: int, stop: int) -> None:
        piece = values(Stack(codes[None, None, start:stop], stack.fmt)).reshape(-1)
        exponents[start:stop] = _exponents_of(piece, stack.fmt, reference, kind)

    parallel(work, codes.size, 2**16)
    return Tables(np.empty(0, np.float32), exponents)


def aligned(size: int, dtype: npt.DTypeLike) -> Array:
    """An empty array that starts at a multiple of 64 bytes."""
    kind = np.dtype(dtype)
    raw = np.empty(size * kind.itemsize + 64, np.uint8)
    offset = -raw.ctypes.data % 64
    return raw[offset : offset + size * kind.itemsize].view(kind)


def packed_left(stack: Stack, found: Any, depth: int, kind: npt.DTypeLike) -> tuple[Any, Array]:
    """The left operand as kernels read it, and which rows of which matrix hold NaN or Inf.

    NumPy looks the codes up: it is done once for all panels, and one loop less to compile.
    """
    from precision._kernels.fused import Left

    codes = stack.codes
    count, rows, length = codes.shape
    chunks = -(-length // depth)
    limits = np.iinfo(kind)
    flat_values = aligned(count * chunks * rows * depth, np.float32)
    flat_exponents = aligned(flat_values.size, kind)
    packed, exponents = (flat.reshape(count, chunks, rows, depth) for flat in (flat_values, flat_exponents))
    special = np.zeros((count, rows), np.bool_)
    each = None
    if not found.values.size:
        oriented, transposed = stack.orientation
        each = found.exponents.reshape(oriented.shape)
        each = each.swapaxes(1, 2) if transposed else each
    step = max(1, 2**16 // (chunks * depth))

    def work(start: int, stop: int) -> None:
        for piece in range(start, stop):
            matrix, first = piece // pieces, piece % pieces * step
            some = slice(first, min(rows, first + step))
            value = np.zeros((some.stop - first, chunks * depth), np.float32)
            exponent = np.full(value.shape, limits.min, kind)
            code = codes[matrix, some]
            if each is None:
                value[:, :length] = found.values.take(code, mode="clip")
                exponent[:, :length] = found.exponents.take(code, mode="clip")
            else:
                value[:, :length] = values(Stack(code[None], stack.fmt))[0]
                exponent[:, :length] = each[matrix, some]
            odd = exponent == limits.max
            if odd.any():
                special[matrix, some] = odd.any(axis=1)
                value[odd], exponent[odd] = 0, limits.min
            packed[matrix, :, some] = value.reshape(-1, chunks, depth).swapaxes(0, 1)
            exponents[matrix, :, some] = exponent.reshape(-1, chunks, depth).swapaxes(0, 1)

    pieces = -(-rows // step)
    parallel(work, count * pieces, 1)
    return Left(flat_values, flat_exponents), special
