"""The check of codes before they are read: which bits an array of codes may hold.

Codes of a format lie below ``2**bits``, and most types that hold them have more bits than that. A code with
bits above is none of the format's, and a table of the format's values has no entry for it. Arrays can be
changed, so codes are checked where they are read, not only where a tensor is built.

- Unsigned integers with such bits are refused.
- ml_dtypes' integers of fewer than 8 bits (``int4``, ``uint2``, ...) are read as ml_dtypes reads them, which
  ignores the bits above. (Signed ones come with copies of the sign there.)
- ml_dtypes' floating-point types of fewer than 8 bits (``float4_e2m1fn``, ``float6_e2m3fn``,
  ``float6_e3m2fn``) are refused: ml_dtypes has no single reading. The byte 0x11 as ``float4_e2m1fn`` converts
  to -0.5, as any bit above counts as the sign, and equals the byte 0x01, which converts to 0.5. It is also
  what a byte of two packed codes looks like.
"""

from __future__ import annotations

import numpy as np

from precision._support._array_checks import refuse_masked
from precision._support._types import Array
from precision._support.machine._threads import parallel
from precision.formats._named import Format

_GRAIN = 1 << 20  # codes from which on threads share the search of the largest


def typed_codes(codes: object, fmt: Format, name: str = "codes") -> Array:
    """Return a view of an array of codes in the type ``fmt.dtype``, without a look at its bits.

    Raises
    ------
    TypeError
        If ``codes`` is no plain array of ``fmt.dtype`` or of the unsigned integers of that size.
    """
    refuse_masked(name, codes)
    if not isinstance(codes, np.ndarray):
        raise TypeError(f"{name} must be an ndarray, got {type(codes).__name__}")
    if codes.dtype == fmt.dtype:
        return codes
    if codes.dtype != fmt.code_dtype:
        raise TypeError(f"{name} of {fmt} must have dtype {fmt.dtype} or {fmt.code_dtype}, got {codes.dtype}")
    return codes.view(fmt.dtype)


def checked_codes(codes: object, fmt: Format, name: str = "codes") -> Array:
    """Return a view of codes in the type ``fmt.dtype``, or raise if some are none of the format's.

    Raises
    ------
    TypeError
        If ``codes`` is no plain array of such a type.
    ValueError
        If a code has a bit above the format's width. (Integers of ml_dtypes may have one.)
    """
    typed = typed_codes(codes, fmt, name)
    assert isinstance(codes, np.ndarray)
    clean_codes(codes, fmt, name)  # in the given type: unsigned integers must have no such bit
    return typed


def clean_codes(codes: Array, fmt: Format, name: str = "codes") -> Array:
    """Return codes without bits above the format's width, or raise if there are bits that count.

    Codes without such bits are returned as they are; bits that ml_dtypes ignores are cleared in a copy.

    Parameters
    ----------
    codes : ndarray
        Codes of type ``fmt.dtype``, or unsigned integers of any size.
    fmt : FloatFormat or IntFormat
        The format of the codes.
    name : str
        The name of the codes in an error.

    Raises
    ------
    ValueError
        If a code has such a bit, and its type is not one of ml_dtypes' integers, which ignore it.
    """
    if codes.itemsize * 8 <= fmt.bits:
        return codes
    bits = codes.view(np.dtype(f"u{codes.itemsize}"))
    largest = largest_code(bits)
    if not largest >> fmt.bits:
        return codes
    if "int" in codes.dtype.name and codes.dtype.kind not in "iu":  # one of ml_dtypes' integers
        kept: Array = bits & bits.dtype.type((1 << fmt.bits) - 1)
        return kept.view(codes.dtype)
    hint = "" if fmt.bits > 7 else " (one code a byte: storage.unpack takes packed ones apart)"
    raise ValueError(f"{name} of {fmt} must lie below 2**{fmt.bits}, got {largest}{hint}")


def largest_code(bits: Array) -> int:
    """Return the largest of some unsigned integers (0 of none), found by every thread where they are many."""
    if not bits.size:
        return 0
    if bits.size <= _GRAIN or not (bits.flags.c_contiguous or bits.flags.f_contiguous):
        return int(bits.max())
    flat, found = bits.reshape(-1, order="A"), []
    parallel(lambda start, stop: found.append(int(flat[start:stop].max())), flat.size, _GRAIN)
    return max(found)
