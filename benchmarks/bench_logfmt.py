"""LogFMT of 16M float32 numbers, on two threads.

Run ``pytest benchmarks/bench_logfmt.py -s``. Each prints a speed as ratios to a copy of the same float32
array in two halves on two threads, and to straightforward vectorized NumPy that does the same with float32
logarithms, each timed in turn with it, and the least ratios that it must reach. Results go into given arrays.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

import precision as pr

SHAPE = (4096, 4096)
ROUNDS = 15
X = np.random.default_rng(0).standard_normal(SHAPE, dtype=np.float32)
COPY = np.empty_like(X)
BACK = np.empty_like(X)
POOL = ThreadPoolExecutor(2)
NUMPY_BAR = 40
COPY_BARS = {8: (0.3, 0.5), 10: (0.22, 0.3)}


@pytest.fixture(autouse=True)
def two_threads() -> Iterator[None]:
    before = pr.get_num_threads()
    pr.set_num_threads(2)
    yield
    pr.set_num_threads(before)


def copy() -> None:
    half = len(X) // 2
    list(POOL.map(lambda part: np.copyto(COPY[part], X[part]), (slice(0, half), slice(half, None))))


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


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def compare(
    benchmark: Any, name: str, ours: Callable[[], object], theirs: Callable[[], object], bar: float
) -> None:
    """Time copy and NumPy in turn with ours; print and check the ratios of the speeds."""
    ours(), copy()
    best = yardstick = peer = float("inf")
    for i in range(ROUNDS):
        best = min(best, seconds(ours))
        yardstick = min(yardstick, seconds(copy))
        if i % 5 == 0:
            peer = min(peer, seconds(theirs))
    of_copy, of_numpy = yardstick / best, peer / best
    print(
        f"\n{name:<20} {X.size / best / 1e9:5.2f} G elements/s  of a copy {of_copy:5.2f} (bar {bar})"
        f"  of NumPy {of_numpy:6.1f} (bar {NUMPY_BAR})",
        end="",
    )
    benchmark.extra_info.update(of_copy=of_copy, of_numpy=of_numpy)
    benchmark.pedantic(ours, rounds=3)
    assert of_copy >= bar and of_numpy >= NUMPY_BAR


@pytest.mark.parametrize("bits", COPY_BARS)
def test_encode(benchmark, bits):
    spec = pr.LogFMT(bits)
    q = pr.quantize(X, spec)
    codes, _, _ = numpy_encode(X, bits)
    assert (codes != q.codes).mean() < 1e-3
    compare(
        benchmark,
        f"LogFMT-{bits} encode",
        lambda: pr.quantize(X, spec, out=q),
        lambda: numpy_encode(X, bits),
        COPY_BARS[bits][0],
    )


@pytest.mark.parametrize("bits", COPY_BARS)
def test_decode(benchmark, bits):
    q = pr.quantize(X, pr.LogFMT(bits))
    _, low, step = numpy_encode(X, bits)
    np.testing.assert_allclose(numpy_decode(q.codes, low, step, bits), q.dequantize(), rtol=1e-5)
    compare(
        benchmark,
        f"LogFMT-{bits} decode",
        lambda: q.dequantize(out=BACK),
        lambda: numpy_decode(q.codes, low, step, bits),
        COPY_BARS[bits][1],
    )
