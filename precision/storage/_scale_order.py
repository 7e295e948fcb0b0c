"""The order in memory in which matrix units read the scales of blocks: swizzled tiles of 128 by 4."""

from __future__ import annotations

import operator
from collections.abc import Sequence

import ml_dtypes
import numpy as np

from precision._support._array_checks import refuse_masked
from precision._support._types import Array
from precision._support.machine._float_environment import in_default_environment

_TILE_ROWS, _TILE_COLUMNS = 128, 4
_SCALE_DTYPES = [np.dtype(t) for t in (ml_dtypes.float8_e8m0fnu, ml_dtypes.float8_e4m3fn, np.uint8)]


# ---- scales in cuBLAS's order ----------------------------------------------------------------------------
@in_default_environment
def swizzle(scale: Array) -> Array:
    """Put one-byte scales into the order in which cuBLAS reads those of MX and NVFP4 operands.

    The matrix is cut into tiles of 128 x 4, padded with zero bytes, and the tiles follow each other row by
    row. Inside a tile of 512 bytes the scale in row r and column c lies at byte
    ``(r % 32) * 16 + (r // 32) * 4 + c`` (cuBLAS documentation, block scaling factors layout).

    Parameters
    ----------
    scale : ndarray
        E8M0, E4M3, or uint8 (UE4M3 and any other format of 8 bits or fewer), of shape (..., rows, columns).
        Columns run along K: the scales of a right operand (K, N) are those of its ``mT``.

    Returns
    -------
    ndarray
        A new array of uint8, of shape (..., 512 * ceil(rows / 128) * ceil(columns / 4)). It has no elements
        where ``scale`` has none. Bytes are moved as they are, those of NaN and zero too.

    Raises
    ------
    TypeError
        If ``scale`` is no array of one of these types.
    ValueError
        If ``scale`` has fewer than two axes.

    Examples
    --------
    >>> import numpy as np, precision as pr
    >>> from precision import storage
    >>> q = pr.quantize(np.ones((200, 256), np.float32), pr.MXFP8_E4M3)
    >>> q.scale.shape, storage.swizzle(q.scale).shape
    ((200, 8), (2048,))
    """
    refuse_masked("scale", scale)
    if not isinstance(scale, np.ndarray):
        raise TypeError(f"scale must be an ndarray, got {type(scale).__name__}")
    if scale.dtype not in _SCALE_DTYPES:
        raise TypeError(f"scale must be of {', '.join(map(str, _SCALE_DTYPES))}, got {scale.dtype}")
    if scale.ndim < 2:
        raise ValueError(f"scale must have at least two axes, got shape {scale.shape}")
    *batch, rows, columns = scale.shape
    high, wide = _count_tiles(rows, columns)
    padded = np.zeros((*batch, high * _TILE_ROWS, wide * _TILE_COLUMNS), np.uint8)
    padded[..., :rows, :columns] = scale.view(np.uint8)
    fours = padded.view(np.uint32).reshape(*batch, high, 4, 32, wide)  # four columns move as one number
    return np.ascontiguousarray(fours.swapaxes(-3, -1)).view(np.uint8).reshape(*batch, 512 * high * wide)


@in_default_environment
def unswizzle(swizzled: Array, shape: Sequence[int]) -> Array:
    """Return the scales of a swizzled array in the order of their matrix.

    Parameters
    ----------
    swizzled : ndarray
        Scales that `swizzle` put in order: uint8, of shape (..., 512 * ceil(rows / 128) * ceil(columns / 4)).
        The bytes that pad the tiles are ignored.
    shape : sequence of int
        The shape of the scales, (..., rows, columns).

    Returns
    -------
    ndarray
        A new array of uint8, of that shape; ``.view`` with the scales' type gives the scales.

    Raises
    ------
    TypeError
        If an argument has another type.
    ValueError
        If the shapes do not belong together.

    Examples
    --------
    >>> import numpy as np, precision as pr
    >>> from precision import storage
    >>> scale = pr.encode(np.float32([[1, 2, 4], [8, 16, 32]]), pr.E8M0)
    >>> back = storage.unswizzle(storage.swizzle(scale), (2, 3)).view(scale.dtype)
    >>> bool((back == scale).all())
    True
    """
    if not isinstance(swizzled, np.ndarray) or swizzled.dtype != np.uint8:
        got = swizzled.dtype if isinstance(swizzled, np.ndarray) else type(swizzled).__name__
        raise TypeError(f"swizzled must be an ndarray of uint8, got {got}")
    try:
        sizes = tuple(operator.index(n) for n in shape)
    except TypeError:
        raise TypeError(f"shape must be a sequence of ints, got {shape!r}") from None
    if len(sizes) < 2 or min(sizes) < 0:
        raise ValueError(f"shape must be the scales' (..., rows, columns), got {sizes}")
    *batch, rows, columns = sizes
    high, wide = _count_tiles(rows, columns)
    expected = (*batch, 512 * high * wide)
    if swizzled.shape != expected:
        raise ValueError(
            f"swizzled must have shape {expected} for scales of shape {sizes}, got {swizzled.shape}"
        )
    fours = np.ascontiguousarray(swizzled).view(np.uint32).reshape(*batch, high, wide, 32, 4)
    padded = np.ascontiguousarray(fours.swapaxes(-3, -1)).view(np.uint8)
    padded = padded.reshape(*batch, high * _TILE_ROWS, wide * _TILE_COLUMNS)
    return np.array(padded[..., :rows, :columns], order="C")


def _count_tiles(rows: int, columns: int) -> tuple[int, int]:
    """Return how many tiles cover the rows and the columns of a matrix of scales."""
    return -(-rows // _TILE_ROWS), -(-columns // _TILE_COLUMNS)
