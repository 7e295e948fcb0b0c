"""The arrays of a conversion: the source that compiled loops read, and the array that they fill."""

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
"""Unsigned integer types by their bytes: as such integers the loops see codes and values."""

_READY = frozenset(fmt.dtype for fmt in (BF16, FP16, FP32, FP64))


def float_source(x: npt.ArrayLike) -> Array:
    """Return the input as a contiguous array of a floating-point type in the machine's byte order.

    Raises
    ------
    TypeError
        If its type is not a floating-point one, or it is a masked array.
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
    """Tell whether a data type is that of a known floating-point format."""
    try:
        return isinstance(format_of(dtype.newbyteorder("=")), FloatFormat)
    except (ValueError, TypeError):  # TypeError: a type without byte order
        return False


def wide_type(source: Array) -> np.dtype[Any]:
    """Return the type in which the loops read a source: float64 for float64, float32 for any other."""
    return F64 if source.dtype == F64 else F32


def widen(piece: Array, wide: np.dtype[Any]) -> Array:
    """Convert a piece of the source, exactly, to the type that the loops read."""
    if piece.dtype != BF16.dtype:
        return piece.astype(wide, copy=False)
    bits = piece.view(np.uint16).astype(np.uint32)  # several times as fast as ml_dtypes' cast
    bits <<= 16
    return bits.view(wide)


def allocate_result(source: Array, dtype: np.dtype[Any], out: Array | None) -> tuple[Array, Array]:
    """Return the array of the result, and the contiguous one that the loops fill.

    They are one array, unless ``out`` is not contiguous or shares a part of the source's memory. (``out`` may
    be the source itself.)

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


def copy_back(result: Array, target: Array) -> Array:
    """Return the result, after copying into it what the loops wrote to another array."""
    if result is not target:
        result[...] = target
    return result
