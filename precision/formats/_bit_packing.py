"""Bit packing of codes along the last axis, little-endian: `storage.pack` and `storage.unpack`."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from precision._support._argument_checks import check_int
from precision._support._types import Array
from precision._support.machine._float_environment import in_default_environment
from precision._support.machine._threads import parallel
from precision.formats._code_checks import clean_codes, typed_codes
from precision.formats._float_format import FloatFormat, code_dtype
from precision.formats._int_format import IntFormat
from precision.formats._named import Format

_CHUNK = 1 << 15  # codes of a row of a long stream: a multiple of 8, so that every row starts at a byte
_GRAIN = 1 << 18  # codes that one call of a loop packs


@in_default_environment
def pack(codes: Array, fmt: Format) -> Array:
    """Pack codes into as few bytes as their bits take: a little-endian bit stream along the last axis.

    Code 0 lies in the lowest bits of byte 0, and code i from bit ``i * fmt.bits`` of its row on. Each row
    ends at a whole byte, filled up with zero bits. For E2M1 that is PyTorch's ``float4_e2m1fn_x2`` (the
    first of two codes in the low half of a byte), for FP6 four codes in three bytes; codes of 8 and 16
    bits are their own bytes.

    Parameters
    ----------
    codes : ndarray
        Codes of type ``fmt.dtype``, or unsigned integers of that size; shape (..., length). (ml_dtypes'
        integers of fewer than 8 bits may have bits above those, which ml_dtypes ignores.)
    fmt : FloatFormat or IntFormat
        The format of the codes, of at most 16 bits.

    Returns
    -------
    ndarray
        New, uint8, of shape (..., ceil(length * fmt.bits / 8)).

    Raises
    ------
    TypeError
        If ``codes`` or ``fmt`` has another type.
    ValueError
        If ``codes`` has no axis or a byte with bits above ``fmt.bits``, or ``fmt`` has more than 16 bits.

    Examples
    --------
    >>> import numpy as np, precision as pr
    >>> from precision import storage
    >>> codes = pr.encode(np.float32([[0.5, 1.0, -6.0]]), pr.E2M1)
    >>> storage.pack(codes, pr.E2M1)
    array([[33, 15]], dtype=uint8)
    >>> storage.pack(np.uint8([1, 2, 3, 63]), pr.E2M3)
    array([129,  48, 252], dtype=uint8)
    """
    bits = _checked_bits(fmt)
    typed_codes(codes, fmt)
    return _pack(clean_codes(codes, fmt).view(fmt.code_dtype), bits)


@in_default_environment
def unpack(packed: Array, fmt: Format, length: int) -> Array:
    """Unpack the codes that `pack` joined to a bit stream.

    Parameters
    ----------
    packed : ndarray
        uint8, of shape (..., ceil(length * fmt.bits / 8)).
    fmt : FloatFormat or IntFormat
        The format of the codes, of at most 16 bits.
    length : int
        Codes in a row.

    Returns
    -------
    ndarray
        New, of type ``fmt.dtype`` and shape (..., length).

    Raises
    ------
    TypeError
        If an argument has another type.
    ValueError
        If the rows of ``packed`` have another number of bytes, or are filled up with bits that are not
        zero, or ``fmt`` has more than 16 bits.

    Examples
    --------
    >>> import numpy as np, precision as pr
    >>> from precision import storage
    >>> codes = storage.unpack(np.uint8([33, 15]), pr.E2M1, 3)
    >>> codes.dtype.name, pr.decode(codes, pr.E2M1).tolist()
    ('float4_e2m1fn', [0.5, 1.0, -6.0])
    """
    return unpack_bits(packed, _checked_bits(fmt), length).view(fmt.dtype)


def row_bytes(length: int, bits: int) -> int:
    """Return the number of bytes that a packed row of ``length`` codes takes."""
    return -(-length * bits // 8)


def pack_bits(codes: Array, bits: int) -> Array:
    """Pack codes of 1 to 16 bits that are unsigned integers of the smallest type, without a format."""
    if codes.dtype != code_dtype(bits):
        raise TypeError(f"codes of {bits} bits must have dtype {code_dtype(bits)}, got {codes.dtype}")
    if codes.itemsize * 8 > bits and codes.size and int(codes.max()) >> bits:
        raise ValueError(f"codes of {bits} bits must lie below 2**{bits}, got {int(codes.max())}")
    return _pack(codes, bits)


def unpack_bits(packed: Array, bits: int, length: int) -> Array:
    """Unpack codes of 1 to 16 bits to unsigned integers of the smallest type, without a format."""
    if not isinstance(packed, np.ndarray):
        raise TypeError(f"packed must be an ndarray, got {type(packed).__name__}")
    if packed.dtype != np.uint8:
        raise TypeError(f"packed must have dtype uint8, got {packed.dtype}")
    check_int("length", length, 0, 2**62)
    if packed.ndim == 0:
        raise ValueError("packed must have at least one axis, got a scalar")
    expected = row_bytes(length, bits)
    if packed.shape[-1] != expected:
        raise ValueError(
            f"packed must have {expected} bytes a row for {length} codes of {bits} bits, "
            f"got shape {packed.shape}"
        )
    if bits in (8, 16):
        return np.array(packed, order="C").view(f"<u{bits // 8}").astype(code_dtype(bits), copy=False)
    filled = length * bits % 8
    if filled and (packed[..., -1] >> np.uint8(filled)).any():
        raise ValueError(
            f"packed must fill up each row of {length} codes of {bits} bits with zero bits, but a last "
            "byte has other bits: the codes have another length or format"
        )
    codes = np.empty((*packed.shape[:-1], length), code_dtype(bits))
    if codes.size:
        from precision._kernels.numbers import _bit_stream

        loop = {4: _bit_stream.unpack4, 6: _bit_stream.unpack6}.get(bits, _bit_stream.unpack_any)
        for some, rows in _as_streams(codes, _as_read_only(packed), bits):
            _run_pieces(lambda c, p: loop(p, c, bits), some, rows)
    return codes


def _pack(codes: Array, bits: int) -> Array:
    """Pack checked codes of ``bits`` bits, row by row."""
    if codes.ndim == 0:
        raise ValueError("codes must have at least one axis, got a scalar")
    if bits in (8, 16):
        return codes.astype(f"<u{bits // 8}", order="C").view(np.uint8)
    length = codes.shape[-1]
    packed = np.empty((*codes.shape[:-1], row_bytes(length, bits)), np.uint8)
    if codes.size:
        from precision._kernels.numbers import _bit_stream

        loop = {4: _bit_stream.pack4, 6: _bit_stream.pack6}.get(bits, _bit_stream.pack_any)
        for some, rows in _as_streams(_as_read_only(codes), packed, bits):
            _run_pieces(lambda c, p: loop(c, p, bits), some, rows)
    return packed


def _checked_bits(fmt: object) -> int:
    """Return the bits of a code, or raise if ``fmt`` is no format of at most 16 bits."""
    if not isinstance(fmt, FloatFormat | IntFormat):
        raise TypeError(f"fmt must be a FloatFormat or an IntFormat, got {fmt!r}")
    if fmt.bits > 16:
        raise ValueError(f"fmt must have at most 16 bits, got {fmt} with {fmt.bits}")
    return fmt.bits


def _as_read_only(array: Array) -> Array:
    """Return an array contiguous and read-only, so that kernels are compiled for one type of array."""
    array = np.ascontiguousarray(array).view()
    array.flags.writeable = False
    return array


def _as_streams(codes: Array, packed: Array, bits: int) -> Iterator[tuple[Array, Array]]:
    """Yield matching matrices of codes (rows, codes) and of packed bytes (rows, bytes) with no long row.

    They are views of the arguments' memory, and cover all of it.
    """
    length = codes.shape[-1]
    if length * bits % 8 == 0:
        length = codes.size  # no row ends inside a byte: all rows are one stream
    codes, packed = codes.reshape(-1, length), packed.reshape(-1, row_bytes(length, bits))
    if length <= _CHUNK:
        yield codes, packed
        return
    whole = length // _CHUNK * _CHUNK
    cut = whole * bits // 8
    for code, byte in zip(codes, packed, strict=True):
        yield code[:whole].reshape(-1, _CHUNK), byte[:cut].reshape(-1, _CHUNK * bits // 8)
        if whole < length:
            yield code[None, whole:], byte[None, cut:]


def _run_pieces(loop: Callable[[Array, Array], None], codes: Array, packed: Array) -> None:
    """Call a packing loop on matching rows of codes and bytes, in pieces that threads share."""
    parallel(
        lambda start, stop: loop(codes[start:stop], packed[start:stop]),
        len(codes),
        max(1, _GRAIN // codes.shape[1]),
    )
