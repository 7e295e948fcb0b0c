"""LogFMT of 16M float32 numbers into given arrays, on two threads, against copies and NumPy.

The peer is straightforward vectorized NumPy that does the same with float32 logarithms.
"""

from __future__ import annotations

import functools

import numpy as np

import precision as pr
from benchmarks.measuring import Row, Side, Yardstick, as_test, timed
from benchmarks.yardsticks import COPY, SHAPE, given, normal

COPY_BARS = {8: (0.3, 0.5), 10: (0.22, 0.3)}
"""For so many bits, the bars of encoding and decoding."""


def numpy_encode(x: np.ndarray, bits: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The paper's encode as one would write it in NumPy: the nearest level in linear space, in float32."""
    tiles = x.reshape(-1, 128)
    size = np.abs(tiles)
    logs = np.log(size, out=np.full_like(size, np.inf), where=size > 0)
    low = logs.min(axis=1, keepdims=True)
    high = np.log(size.max(axis=1, keepdims=True))
    low = np.maximum(low, high - np.float32(32 * np.log(2)))
    step = (high - low) / np.float32(2 ** (bits - 1) - 2)
    below = np.clip(np.floor((logs - low) / step), 0, 2 ** (bits - 1) - 3)
    level = np.exp(low + step * below)
    above = np.exp(low + step * (below + 1))
    code = below + 1 + (size > (level + above) / 2)
    code = np.where(size > 0, code, 0).astype(np.uint16)
    code |= np.signbit(tiles).astype(np.uint16) << (bits - 1)
    return code.astype(np.uint8 if bits <= 8 else np.uint16).reshape(x.shape), low, step


def numpy_decode(codes: np.ndarray, low: np.ndarray, step: np.ndarray, bits: int) -> np.ndarray:
    tiles = codes.reshape(-1, 128)
    place = tiles & ((1 << (bits - 1)) - 1)
    size = np.where(place > 0, np.exp(low + step * (place.astype(np.float32) - 1)), np.float32(0))
    return np.where(tiles >> (bits - 1), -size, size).reshape(codes.shape)


def encodes(bits: int) -> Side:
    """Return the time of our `quantize`."""
    x, spec = normal(*SHAPE), pr.LogFMT(bits)
    q = pr.quantize(x, spec)
    return timed(lambda: pr.quantize(x, spec, out=q))


def decodes(bits: int) -> Side:
    """Return the time of our `dequantize`."""
    q = pr.quantize(normal(*SHAPE), pr.LogFMT(bits))
    return timed(lambda: q.dequantize(out=given(*SHAPE)))


def numpy_encodes(bits: int) -> Side:
    """Return the time of NumPy's encode, after a check that its codes are nearly ours."""
    x = normal(*SHAPE)
    codes, _, _ = numpy_encode(x, bits)
    assert (codes != pr.quantize(x, pr.LogFMT(bits)).codes).mean() < 1e-3
    return timed(lambda: numpy_encode(x, bits))


def numpy_decodes(bits: int) -> Side:
    """Return the time of NumPy's decode, after a check that its values are nearly ours."""
    q = pr.quantize(normal(*SHAPE), pr.LogFMT(bits))
    _, low, step = numpy_encode(normal(*SHAPE), bits)
    np.testing.assert_allclose(numpy_decode(q.codes, low, step, bits), q.dequantize(), rtol=1e-5)
    return timed(lambda: numpy_decode(q.codes, low, step, bits))


WAYS = (("encode", encodes, numpy_encodes), ("decode", decodes, numpy_decodes))
ROWS = (
    *(
        Row(
            f"LogFMT-{bits} {way}",
            COPY,
            make=functools.partial(ours, bits),
            bar=bars[way == "decode"],
            headline=bits == 8,
        )
        for bits, bars in COPY_BARS.items()
        for way, ours, _ in WAYS
    ),
    *(
        Row(
            f"LogFMT-{bits} {way} against NumPy",
            Yardstick("the same in vectorized NumPy", functools.partial(theirs, bits)),
            make=functools.partial(ours, bits),
            bar=40,
            headline=bits == 8,
        )
        for bits in COPY_BARS
        for way, ours, theirs in WAYS
    ),
)

test_row = as_test(ROWS)
