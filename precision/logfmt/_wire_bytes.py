"""LogFMT tensors as the bytes that would be sent, and back."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from precision._support._argument_checks import check_axis
from precision._support._types import Array
from precision.formats._bit_packing import pack_bits, unpack_bits
from precision.formats._float_format import code_dtype
from precision.logfmt._logfmt_spec import METADATA_TYPES, LogFMT, LogFMTTensor


def packed(tensor: LogFMTTensor) -> Array:
    """What `LogFMTTensor.pack` returns."""
    tensor.check()
    spec, along = tensor.spec, tensor.axis
    codes = np.moveaxis(tensor.codes, along, -1)
    parts = [_bytes(np.moveaxis(array, along, -1)) for array in tensor.metadata]
    if spec.fallback is None:
        parts.append(pack_bits(np.ascontiguousarray(codes).reshape(-1), spec.bits))
    else:
        cast = np.moveaxis(tensor.cast_elements(), along, -1)
        parts.append(pack_bits(codes[cast].astype(code_dtype(spec.bits)), spec.bits))
        parts.append(_bytes(codes[~cast]))
    return np.concatenate(parts)


def unpacked(data: Array, spec: LogFMT, shape: tuple[int, ...], axis: int) -> LogFMTTensor:
    """What `LogFMT.unpack` returns."""
    if not isinstance(data, np.ndarray) or data.dtype != np.uint8:
        got = data.dtype if isinstance(data, np.ndarray) else type(data).__name__
        raise TypeError(f"packed must be an ndarray of uint8, got {got}")
    if data.ndim != 1:
        raise ValueError(f"packed must have one axis, got shape {data.shape}")
    try:
        sizes = tuple(operator.index(n) for n in shape)
    except TypeError:
        raise TypeError(f"shape must be a tuple of ints, got {shape!r}") from None
    if not sizes or min(sizes) < 0:
        raise ValueError(f"shape must have at least one axis and no negative size, got {sizes}")
    along = check_axis(axis, len(sizes))
    tiles, kind = spec.tiles_shape(sizes, along), METADATA_TYPES[spec.metadata_format]
    count = int(np.prod(tiles)) * kind.itemsize
    size = int(np.prod(sizes))
    least = 2 * count + -(-size * spec.bits // 8)
    if data.size < (2 * count if spec.fallback else least):
        raise _wrong_size(data, least, spec, sizes)
    moved = *tiles[:along], *tiles[along + 1 :], tiles[along]
    metadata = tuple(
        np.moveaxis(_numbers(data[i * count : (i + 1) * count], kind).reshape(moved), -1, along)
        for i in range(2)
    )
    codes = np.zeros((*sizes[:along], *sizes[along + 1 :], sizes[along]), spec.code_dtype)
    tensor = LogFMTTensor(np.moveaxis(codes, -1, along), (metadata[0], metadata[1]), spec, axis=along)
    rest = data[2 * count :]
    if spec.fallback is None:
        if data.size != least:
            raise _wrong_size(data, least, spec, sizes)
        codes[...] = unpack_bits(rest, spec.bits, size).reshape(codes.shape)
    else:
        cast = np.moveaxis(tensor.cast_elements(), along, -1)
        some = int(cast.sum())
        cut = -(-some * spec.bits // 8)
        if len(rest) != cut + 2 * (size - some):
            raise _wrong_size(data, 2 * count + cut + 2 * (size - some), spec, sizes)
        codes[cast] = unpack_bits(rest[:cut], spec.bits, some)
        codes[~cast] = _numbers(rest[cut:], np.dtype(np.uint16))
    tensor.check()
    return tensor


def _bytes(array: Array) -> Array:
    """Numbers as little-endian bytes."""
    word = np.dtype(f"u{array.itemsize}")
    return np.ascontiguousarray(array).view(word).astype(word.newbyteorder("<")).view(np.uint8).reshape(-1)


def _numbers(data: Array, kind: np.dtype[Any]) -> Array:
    word = np.dtype(f"u{kind.itemsize}")
    return np.ascontiguousarray(data).view(word.newbyteorder("<")).astype(word).view(kind)


def _wrong_size(data: Array, wanted: int, spec: LogFMT, shape: tuple[int, ...]) -> ValueError:
    return ValueError(
        f"packed must have {wanted} bytes for a tensor of shape {shape} in {spec}, got {data.size}"
    )
