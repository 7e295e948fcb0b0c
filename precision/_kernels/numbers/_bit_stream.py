"""Loops between arrays of codes and rows of a little-endian bit stream.

Four and six bits have loops of their own, whose fixed strides LLVM turns into shuffles of vectors. Any other
width (1 to 15) goes eight codes at a time, which fill ``bits`` bytes, through two words of 64 bits.

Codes are uint8 or uint16; their bits above ``bits`` are left out.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from precision._kernels._jit import jit

U8, U64 = np.uint8, np.uint64


@jit
def _pack_rest(codes: Any, out: Any, done: int, bits: int) -> None:
    """Pack the codes from ``done`` on, one by one; the rest of the last byte is zero."""
    mask, width = U64((U64(1) << U64(bits)) - U64(1)), U64(bits)
    word, have, place = U64(0), U64(0), done * bits // 8
    for i in range(done, codes.size):
        word |= (U64(codes[i]) & mask) << have
        have += width
        while have >= U64(8):
            out[place] = U8(word)
            word >>= U64(8)
            have -= U64(8)
            place += 1
    if have > U64(0):
        out[place] = U8(word)


@jit
def pack4(codes: Any, packed: Any, bits: int) -> None:
    """Pack rows of codes of 4 bits; see `pack_any`."""
    for row in range(codes.shape[0]):
        code, byte = codes[row], packed[row]
        pairs = code.size // 2
        for i in range(pairs):
            byte[i] = U8((code[2 * i] & U8(15)) | (code[2 * i + 1] << U8(4)))
        _pack_rest(code, byte, 2 * pairs, 4)


@jit
def pack6(codes: Any, packed: Any, bits: int) -> None:
    """Pack rows of codes of 6 bits; see `pack_any`."""
    for row in range(codes.shape[0]):
        code, byte = codes[row], packed[row]
        fours = code.size // 4
        for i in range(fours):
            a, b = code[4 * i] & U8(63), code[4 * i + 1] & U8(63)
            c, d = code[4 * i + 2] & U8(63), code[4 * i + 3]
            byte[3 * i] = U8(a | (b << U8(6)))
            byte[3 * i + 1] = U8((b >> U8(2)) | (c << U8(4)))
            byte[3 * i + 2] = U8((c >> U8(4)) | (d << U8(2)))
        _pack_rest(code, byte, 4 * fours, 6)


@jit
def pack_any(codes: Any, packed: Any, bits: int) -> None:
    """Pack rows of codes into rows of whole bytes; the bits left over in a last byte are zero."""
    mask, width = U64((U64(1) << U64(bits)) - U64(1)), U64(bits)
    half = U64(U64(4) * width)
    for row in range(codes.shape[0]):
        eights = codes.shape[1] // 8
        for i in range(eights):
            code, byte = codes[row, 8 * i : 8 * i + 8], packed[row, bits * i : bits * (i + 1)]
            low, high = U64(0), U64(0)
            for k in range(4):
                low |= (U64(code[k]) & mask) << U64(U64(k) * width)
                high |= (U64(code[k + 4]) & mask) << U64(U64(k) * width)
            low |= high << half
            high >>= U64(U64(64) - half)
            for k in range(min(bits, 8)):
                byte[k] = U8(low >> U64(8 * k))
            for k in range(8, bits):
                byte[k] = U8(high >> U64(8 * k - 64))
        _pack_rest(codes[row], packed[row], 8 * eights, bits)


@jit
def _unpack_rest(packed: Any, codes: Any, done: int, bits: int) -> None:
    """Unpack the codes from ``done`` on, one by one."""
    mask, width = U64((U64(1) << U64(bits)) - U64(1)), U64(bits)
    word, have, place = U64(0), U64(0), done * bits // 8
    for i in range(done, codes.size):
        while have < width:
            word |= U64(packed[place]) << have
            have += U64(8)
            place += 1
        codes[i] = word & mask
        word >>= width
        have -= width


@jit
def unpack4(packed: Any, codes: Any, bits: int) -> None:
    """Unpack rows of codes of 4 bits; see `unpack_any`."""
    for row in range(codes.shape[0]):
        byte, code = packed[row], codes[row]
        pairs = code.size // 2
        for i in range(pairs):
            code[2 * i] = byte[i] & U8(15)
            code[2 * i + 1] = byte[i] >> U8(4)
        _unpack_rest(byte, code, 2 * pairs, 4)


@jit
def unpack6(packed: Any, codes: Any, bits: int) -> None:
    """Unpack rows of codes of 6 bits; see `unpack_any`."""
    for row in range(codes.shape[0]):
        byte, code = packed[row], codes[row]
        fours = code.size // 4
        for i in range(fours):
            a, b, c = byte[3 * i], byte[3 * i + 1], byte[3 * i + 2]
            code[4 * i] = a & U8(63)
            code[4 * i + 1] = U8((a >> U8(6)) | (b << U8(2))) & U8(63)
            code[4 * i + 2] = U8((b >> U8(4)) | (c << U8(4))) & U8(63)
            code[4 * i + 3] = c >> U8(2)
        _unpack_rest(byte, code, 4 * fours, 6)


@jit
def unpack_any(packed: Any, codes: Any, bits: int) -> None:
    """Unpack rows of whole bytes into rows of codes; the bits left over in a last byte are not looked at."""
    mask, width = U64((U64(1) << U64(bits)) - U64(1)), U64(bits)
    half = U64(U64(4) * width)
    for row in range(codes.shape[0]):
        eights = codes.shape[1] // 8
        for i in range(eights):
            code, byte = codes[row, 8 * i : 8 * i + 8], packed[row, bits * i : bits * (i + 1)]
            low, high = U64(0), U64(0)
            for k in range(min(bits, 8)):
                low |= U64(byte[k]) << U64(8 * k)
            for k in range(8, bits):
                high |= U64(byte[k]) << U64(8 * k - 64)
            upper = U64((low >> half) | (high << U64(U64(64) - half)))
            for k in range(4):
                shift = U64(U64(k) * width)
                code[k] = (low >> shift) & mask
                code[k + 4] = (upper >> shift) & mask
        _unpack_rest(packed[row], codes[row], 8 * eights, bits)
