"""The arrays of a conversion: its source as the loops read it, and the array that they fill."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import numpy.typing as npt

from precision._support._array_checks import refuse_masked, refuse_overlapping
from precision._support._types import Array
from precision.formats._float_format import FloatFormat
from precision.formats._named import BF16, FP16, FP32, FP64, format_of

F32, F64 = np.dtype(np.float32), np.dtype(np.float64)

WORDS = {size: np.dtype(f"u{size}") for size in (1, 2, 4, 8)}
"""Unsigned integers by their bytes: the types as which loops see codes and values."""

_READY = frozenset(fmt.dtype for fmt in (BF16, FP16, FP32, FP64))


def float_source(x: npt.ArrayLike) -> Array:
    """Return the input as a contiguous native array of a floating-point type.

    Raises
    ------
    TypeError
        If it is of no such type, or is masked.
    """
    if type(x) is np.ndarray and x.dtype in _READY and x.flags.c_contiguous:
        return x
    refuse_masked("x", x)
    array = np.asarray(x)
    if not _is_float(array.dtype):
        raise TypeError(
            f"x must be of a floating-point type (float16, bfloat16, …, float64), got {array.dtype}"
        )
    return np.ascontiguousarray(array, array.dtype.newbyteorder("=")).reshape(array.shape)


@functools.lru_cache(maxsize=256)
def _is_float(dtype: np.dtype[Any]) -> bool:
    try:
        return isinstance(format_of(dtype.newbyteorder("=")), FloatFormat)
    except (ValueError, TypeError):  # TypeError: a type without byte order
        return False


def wide_type(source: Array) -> np.dtype[Any]:
    """Return the type that the loops read: float64 as it is, float32 for anything else, which is widened."""
    return F64 if source.dtype == F64 else F32


def widened(piece: Array, wide: np.dtype[Any]) -> Array:
    """Return a piece of the source in the type that the loops read."""
    if piece.dtype != BF16.dtype:
        return piece.astype(wide, copy=False)
    bits = piece.view(np.uint16).astype(np.uint32)  # several times as fast as ml_dtypes' cast
    bits <<= 16
    return bits.view(wide)


def room_for(source: Array, dtype: np.dtype[Any], out: Array | None) -> tuple[Array, Array]:
    """Return the array to return, and a contiguous one to fill, which overlaps no part of the source but all.

    Raises
    ------
    TypeError, ValueError
        If ``out`` cannot take the result.
    """
    if out is None:
        result = np.empty(source.shape, dtype)
        return result, result
    refuse_masked("out", out)
    if not isinstance(out, np.ndarray):
        raise TypeError(f"out must be an ndarray, got {type(out).__name__}")
    if out.dtype != dtype or out.shape != source.shape:
        raise ValueError(f"out must be {dtype} of shape {source.shape}, got {out.dtype} of shape {out.shape}")
    if not out.flags.writeable:
        raise ValueError("out must be writable, got a read-only array")
    refuse_overlapping("out", out)
    same = out.ctypes.data == source.ctypes.data and out.itemsize == source.itemsize
    if not out.flags.c_contiguous or (np.may_share_memory(out, source) and not same):
        return out, np.empty(source.shape, dtype)
    return out, out


def delivered(result: Array, target: Array) -> Array:
    """Return the result, copied from the array that was filled where that is another one."""
    if result is not target:
        result[...] = target
    return result
