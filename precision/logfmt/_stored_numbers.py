"""The two numbers that are stored for a tile: the grid that they stand for, and whether the tile is cast."""

from __future__ import annotations

import numpy as np

from precision._support._types import Array
from precision.logfmt._axis_views import from_last, to_last
from precision.logfmt._design_choices import LogBase, Metadata
from precision.logfmt._logfmt_fields import LogFMTFields


def grid_logarithms(metadata: tuple[Array, Array], fields: LogFMTFields) -> tuple[Array, Array]:
    """Return min and step of each tile as float64: logarithms to the spec's base, of the metadata's shape.

    They are what is stored, or follow from stored extremes as the reader computes them, to float64's
    precision. A tile of zeros has min 0 and step 0.
    """
    first, second = (array.astype(np.float64) for array in metadata)
    if fields.metadata is Metadata.MIN_STEP:
        return first, second
    log = np.log if fields.base is LogBase.E else np.log2
    zeros = second == 0
    smallest, largest = np.where(zeros, 1.0, first), np.where(zeros, 1.0, second)
    high = log(largest)
    if fields.clamp is not None:
        smallest = np.maximum(smallest, largest * 2.0**-fields.clamp)
    with np.errstate(divide="ignore"):  # Without a clamp, the logarithm of a zero that counts is -Inf.
        low = log(smallest)
    if fields.clamp is not None:  # Below float64's normal numbers the power of two above is not exact.
        low = np.where(smallest < np.finfo(np.float64).tiny, high - fields.clamp * log(2.0), low)
    return low, (high - low) / (2 ** (fields.bits - 1) - 2)


def cast_tiles(metadata: tuple[Array, Array], fields: LogFMTFields, axis: int) -> Array:
    """Return whether each tile is cast to codes: bool, of the metadata's shape; `Fallback` has the rule.

    ``axis`` is the one along which tiles run. Every tile is cast where the spec has no fallback.
    """
    fallback = fields.fallback
    if fallback is None:
        return np.ones(metadata[0].shape, bool)
    smallest, largest = (to_last(array.astype(np.float64), axis) for array in metadata)
    applies = (smallest < largest) & (largest < fallback.amax_below)
    per_span = fallback.span // fields.block_size
    tiles = applies.shape[-1]
    if tiles:
        spans = np.logical_and.reduceat(applies, np.arange(0, tiles, per_span), axis=-1)
        applies = spans.take(np.arange(tiles) // per_span, axis=-1)
    return from_last(applies, axis)


def cast_elements(
    shape: tuple[int, ...], metadata: tuple[Array, Array], fields: LogFMTFields, axis: int
) -> Array:
    """Return `cast_tiles` of the tile of each element: bool, of ``shape``, which is the codes'."""
    return cast_tiles(metadata, fields, axis).take(np.arange(shape[axis]) // fields.block_size, axis=axis)
