"""The parts of a LogFMT tensor as the bytes that would be sent, and back."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from precision._support._types import Array
from precision.formats._bit_packing import pack_bits, unpack_bits
from precision.formats._float_format import code_dtype
from precision.logfmt._axis_views import from_last, to_last
from precision.logfmt._logfmt_fields import METADATA_TYPES, LogFMTFields
from precision.logfmt._stored_numbers import cast_elements


def packed_bytes(codes: Array, metadata: tuple[Array, Array], fields: LogFMTFields, along: int) -> Array:
    """Return the parts of a tensor as bytes; `LogFMTTensor.pack` says in which order."""
    rows = to_last(codes, along)
    parts = [_bytes(to_last(array, along)) for array in metadata]
    if fields.fallback is None:
        parts.append(pack_bits(np.ascontiguousarray(rows).reshape(-1), fields.bits))
    else:
        cast = to_last(cast_elements(codes.shape, metadata, fields, along), along)
        parts.append(pack_bits(rows[cast].astype(code_dtype(fields.bits)), fields.bits))
        parts.append(_bytes(rows[~cast]))
    return np.concatenate(parts)


def unpacked_parts(
    packed: object, fields: LogFMTFields, shape: tuple[int, ...], along: int
) -> tuple[Array, tuple[Array, Array]]:
    """Return codes and metadata of a tensor of ``shape`` from its bytes, tiles running along an axis.

    Raises
    ------
    TypeError, ValueError
        If ``packed`` is no one-dimensional array of uint8, or has another size than such a tensor takes. The
        codes and numbers themselves are not checked.
    """
    if not isinstance(packed, np.ndarray) or packed.dtype != np.uint8:
        got = packed.dtype if isinstance(packed, np.ndarray) else type(packed).__name__
        raise TypeError(f"packed must be an ndarray of uint8, got {got}")
    if packed.ndim != 1:
        raise ValueError(f"packed must have one axis, got shape {packed.shape}")
    tiles, kind = fields.tiles_shape(shape, along), METADATA_TYPES[fields.metadata_format]
    count, size = math.prod(tiles) * kind.itemsize, math.prod(shape)

    def check_size(cast: int) -> int:
        """Return the bytes of the codes of so many elements, if ``packed`` has room for them and the rest."""
        stream = -(-cast * fields.bits // 8)
        wanted = 2 * count + stream + 2 * (size - cast)
        if packed.size != wanted:
            raise ValueError(
                f"packed must have {wanted} bytes for a tensor of shape {shape} in {fields}, "
                f"got {packed.size}"
            )
        return stream

    if fields.fallback is None or packed.size < 2 * count:
        check_size(size)
    moved = *tiles[:along], *tiles[along + 1 :], tiles[along]
    first, second = (
        from_last(_numbers(packed[i * count : (i + 1) * count], kind).reshape(moved), along) for i in range(2)
    )
    rows = np.zeros((*shape[:along], *shape[along + 1 :], shape[along]), fields.code_dtype)
    rest = packed[2 * count :]
    if fields.fallback is None:
        rows[...] = unpack_bits(rest, fields.bits, size).reshape(rows.shape)
    else:
        cast = to_last(cast_elements(shape, (first, second), fields, along), along)
        some = int(cast.sum())
        stream = check_size(some)
        rows[cast] = unpack_bits(rest[:stream], fields.bits, some)
        rows[~cast] = _numbers(rest[stream:], np.dtype(np.uint16))
    return from_last(rows, along), (first, second)


def _bytes(array: Array) -> Array:
    """Return numbers as little-endian bytes, in C order."""
    word = np.dtype(f"u{array.itemsize}")
    return np.ascontiguousarray(array).view(word).astype(word.newbyteorder("<")).view(np.uint8).reshape(-1)


def _numbers(data: Array, kind: np.dtype[Any]) -> Array:
    """Return numbers of a type from their little-endian bytes; the inverse of `_bytes`."""
    word = np.dtype(f"u{kind.itemsize}")
    return np.ascontiguousarray(data).view(word.newbyteorder("<")).astype(word).view(kind)
