"""Encoding of small arrays by one call of a loop, for which all but the arrays is prepared."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from precision._support._plans import planned
from precision._support._types import Array
from precision.formats._rounding_modes import signed64
from precision.logfmt._logfmt_fields import METADATA_TYPES, LogFMTFields
from precision.logfmt._long_tiles import LONG
from precision.logfmt._tile_loops import encoding_of
from precision.quantization._row_views import is_native_float

MOST = 1 << 13
"""Elements of an array that one call of a loop encodes, at most: threads would share more."""

Parts: TypeAlias = tuple[Array, tuple[Array, Array]]
Call: TypeAlias = Callable[[Array, int], Parts | None]
"""A prepared encoding, of an array and the index from which random bits are counted, to codes and metadata.

It returns None if more elements lie near boundaries than one call has room for.
"""


def find_call(fields: LogFMTFields, source: object, axis: object) -> Call | None:
    """Return the prepared encoding of an array, or None if the general way is to be taken.

    That is the way for large arrays, for tiles that do not lie contiguous in memory, for specs with a
    fallback, and for arguments that raise an error.
    """
    if type(source) is not np.ndarray or type(axis) is not int:
        return None
    if source.size > MOST or not source.flags.c_contiguous:
        return None
    return _prepare(fields, source.shape, source.dtype, axis)


@planned
def _prepare(fields: LogFMTFields, shape: tuple[int, ...], dtype: np.dtype[Any], axis: int) -> Call | None:
    """Prepare the encoding of contiguous arrays of a shape, or return None if one call cannot do it."""
    if not is_native_float(dtype) or not shape or not math.prod(shape) or axis not in (-1, len(shape) - 1):
        return None
    if fields.fallback is not None:
        return None
    from precision._kernels.logfmt._tiles import Rows

    width, rows = shape[-1], math.prod(shape[:-1])
    block, tiles = min(fields.block_size, width), -(-width // fields.block_size)
    assert block <= LONG
    places = Rows(width, block, tiles, 0, 0, width, 1, 0)
    encoding, code_dtype = encoding_of(fields, dtype.itemsize), fields.code_dtype
    counts, kind = fields.tiles_shape(shape), METADATA_TYPES[fields.metadata_format]

    def call(source: Array, offset: int) -> Parts | None:
        codes, numbers = (
            np.empty(shape, code_dtype),
            (np.empty(counts, np.float32), np.empty(counts, np.float32)),
        )
        where = places if not offset else places._replace(offset=signed64(offset))
        flat = numbers[0].reshape(-1), numbers[1].reshape(-1)
        if not encoding.run(source.reshape(-1), (0, rows * tiles), where, codes.reshape(-1), flat):
            return None
        if kind == np.float32:
            return codes, numbers
        return codes, (numbers[0].astype(kind), numbers[1].astype(kind))

    return call
