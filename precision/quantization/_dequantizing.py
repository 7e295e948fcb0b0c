"""Dequantization: loops that multiply codes by their scales, run over tensors of any layout in memory."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from precision._support._array_checks import check_dtype, refuse_masked, refuse_overlapping
from precision._support._plans import planned
from precision._support._types import Array
from precision.formats._code_checks import clean_codes
from precision.formats._codec_constants import format_params
from precision.formats._float_format import FloatFormat
from precision.formats._named import Format
from precision.quantization import _group_loops
from precision.quantization._granularity import Block, clip_block
from precision.quantization._row_views import WORDS, block_rows, copy_rows, in_pieces, row_parts

PIECE = 1 << 20  # elements that one call of a loop works on, at most
MOST = 1 << 16
"""Elements of a tensor that one call of a loop dequantizes, at most: threads would share more."""
_FLOAT32, _FLOAT64 = np.dtype(np.float32), np.dtype(np.float64)


@functools.cache
def _loops() -> tuple[Any, Any]:
    """Import and return the kernel modules of quantizing and of conversion loops."""
    from precision._kernels.numbers import _conversion_loops, _quantizing_loops

    return _quantizing_loops, _conversion_loops


class Coded(NamedTuple):
    """The parts of a `QuantizedTensor` from which its values are computed."""

    codes: Array
    scale: Array
    tensor_scale: np.float32 | None
    fmt: Format
    scale_format: FloatFormat
    block: Block


def check_dequantize_arguments(
    shape: tuple[int, ...], dtype: npt.DTypeLike, out: Array | None
) -> np.dtype[Any]:
    """Check the arguments of `QuantizedTensor.dequantize`, and return the type of the result.

    Raises
    ------
    TypeError
        If ``dtype`` is neither float32 nor float64, or ``out`` is not a plain array of that type.
    ValueError
        If ``out`` has another shape, is read-only, or has elements that share memory.
    """
    kind = check_dtype(dtype, "float32 or float64")
    if kind not in (_FLOAT32, _FLOAT64):
        raise TypeError(f"dtype must be float32 or float64, got {kind}")
    if out is not None:
        refuse_masked("out", out)
        if not isinstance(out, np.ndarray):
            raise TypeError(f"out must be an ndarray, got {type(out).__name__}")
        if out.dtype != kind:
            raise TypeError(f"out must have dtype {kind}, got {out.dtype}")
        if out.shape != shape:
            raise ValueError(f"out must have shape {shape}, got {out.shape}")
        if not out.flags.writeable:
            raise ValueError("out must be writable, got a read-only array")
        refuse_overlapping("out", out)
    return kind


@planned
def _prepare(
    fmt: Format, scale_format: FloatFormat, block: Block, shape: tuple[int, ...], dtype: np.dtype[Any]
) -> Callable[[Array, Array, float, Array], None] | None:
    """Prepare the loop for small contiguous tensors of a shape, or return None if one call cannot do it.

    The loop takes codes, scales and result as flat arrays, those two by their bits, and the tensor scale.
    """
    steps = clip_block(block, shape)
    if not shape or not math.prod(shape) or steps[-1] == 1:
        return None
    from precision._kernels.numbers import _flat_calls as kernels

    width, group = shape[-1], steps[-1]
    known = None
    if group in _group_loops.GROUPS and dtype == _FLOAT32 and width % group == 0 and set(steps[:-1]) <= {1}:
        known = _group_loops.decoding(fmt, scale_format)
    if known is not None:
        return lambda codes, scales, factor, out: kernels.dequantize_groups(
            codes, group, scales, known, factor, 0, out
        )
    row_of = block_rows(shape[:-1], steps[:-1])
    formats = np.array((*format_params(fmt), *format_params(scale_format)), np.int64)
    return lambda codes, scales, factor, out: kernels.dequantize_rows(
        codes, width, group, scales, row_of, formats, factor, out
    )


def _dequantize_at_once(coded: Coded, dtype: np.dtype[Any]) -> Array | None:
    """Return the values of a small contiguous tensor by one call of a loop, or None for any other."""
    if coded.codes.size > MOST or not (coded.codes.flags.c_contiguous and coded.scale.flags.c_contiguous):
        return None
    loop = _prepare(coded.fmt, coded.scale_format, coded.block, coded.codes.shape, dtype)
    if loop is None:
        return None
    codes = clean_codes(coded.codes, coded.fmt)
    scales = clean_codes(coded.scale, coded.scale_format, "scale")
    out = np.empty(codes.shape, dtype)
    factor = 1.0 if coded.tensor_scale is None else float(coded.tensor_scale)
    bits = codes.reshape(-1).view(WORDS[codes.itemsize]), scales.reshape(-1).view(WORDS[scales.itemsize])
    loop(*bits, factor, out.reshape(-1))
    return out


def dequantize_codes(coded: Coded, dtype: np.dtype[Any], out: Array | None) -> Array:
    """Return the product of each code and its scale, in ``out`` or in a new array laid out as the codes."""
    small = None if out is not None else _dequantize_at_once(coded, dtype)
    if small is not None:
        return small
    # Axes are taken in the order in which the codes lie in memory; a new result lies in the same order.
    steps = [-abs(step) for step in coded.codes.strides]
    order = tuple(sorted(range(len(steps)), key=steps.__getitem__))
    clean = clean_codes(coded.codes, coded.fmt)
    codes = np.ascontiguousarray(clean.transpose(order)).view(WORDS[clean.itemsize])
    given = None if out is None else out.transpose(order)
    direct = given is not None and given.flags.c_contiguous and not _overlaps(given, coded)
    result = given if given is not None and direct else np.empty(codes.shape, dtype)
    if codes.size:
        _fill(coded, order, codes, result, not direct)
    if given is not None and out is not None:
        if not direct:
            copy_rows(result, given)
        return out
    return result.transpose([order.index(axis) for axis in range(len(order))])


def _overlaps(out: Array, coded: Coded) -> bool:
    return np.may_share_memory(out, coded.codes) or np.may_share_memory(out, coded.scale)


def _fill(coded: Coded, order: tuple[int, ...], codes: Array, result: Array, new: bool) -> None:
    """Write the values of contiguous codes, whose axes are the tensor's in ``order``, to ``result``.

    ``new`` tells that it was not written before.
    """
    steps = clip_block(coded.block, coded.codes.shape)
    block = tuple(steps[axis] for axis in order)
    width, group = codes.shape[-1], min(block[-1], codes.shape[-1])
    flat, target = codes.reshape(-1), result.reshape(-1)
    if width % group == 0 and all(step == 1 for step in block[:-1]):
        scales = clean_codes(coded.scale, coded.scale_format, "scale").transpose(order)
        scales = np.ascontiguousarray(scales).view(WORDS[scales.itemsize])
        how = coded.fmt, coded.scale_format, coded.tensor_scale, group
        if _group_loops.dequantize(flat, scales.reshape(-1), *how, target, new):
            return
    row_of = block_rows(codes.shape[:-1], block[:-1])
    each = np.ascontiguousarray(multipliers(coded).transpose(order))
    each = each.reshape(-1, each.shape[-1])
    kernels = _loops()[0]
    fmt, one = format_params(coded.fmt), result.dtype.type(1)
    loop = kernels.dequantize_each if group == 1 else kernels.dequantize

    def work(start: int, stop: int) -> None:
        loop(flat, start, stop, width, group, each, row_of, fmt, one, target)

    def part_of_row(start: int, stop: int) -> None:
        for row, (left, right) in ((n // len(parts), parts[n % len(parts)]) for n in range(start, stop)):
            here, own = slice(row * width + left, row * width + right), row_of[row]
            scales = each[own : own + 1, left // group : -(-right // group)]
            count = right - left
            loop(flat[here], 0, 1, count, min(group, count), scales, row_of[:1] * 0, fmt, one, target[here])

    if width <= PIECE:
        in_pieces(work, len(row_of), max(1, (PIECE >> 2) // width))
        return
    parts = list(row_parts(width, group, PIECE))
    in_pieces(part_of_row, len(row_of) * len(parts), 1)


def multipliers(coded: Coded) -> Array:
    """Return for each block the float32 number that its codes are multiplied by."""
    clean = clean_codes(coded.scale, coded.scale_format, "scale")
    bits = np.ascontiguousarray(clean).reshape(-1).view(WORDS[clean.itemsize])
    scale = np.empty(clean.shape, np.float32)
    values, params = scale.reshape(-1), format_params(coded.scale_format)
    if bits.size:
        decode = _loops()[1].decode

        def work(start: int, stop: int) -> None:
            part = values[start:stop]
            decode(bits[start:stop], part, part.size, part, params)

        in_pieces(work, bits.size, PIECE >> 2)
    if coded.tensor_scale is None:
        return scale
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        return np.asarray(scale * coded.tensor_scale)
