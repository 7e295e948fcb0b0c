"""The yardsticks of several files, and the array that they and the quantizers read: 16M float32 numbers."""

from __future__ import annotations

import functools
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from benchmarks.measuring import Side, Yardstick, timed

SHAPE = (4096, 4096)
POOL = ThreadPoolExecutor(2)


@functools.cache
def normal(*shape: int, seed: int = 0) -> np.ndarray:
    """Return normally distributed float32 numbers, the same array at every call."""
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


@functools.cache
def given(*shape: int) -> np.ndarray:
    """Return a float32 array to write into, the same at every call."""
    return np.ones(shape, np.float32)


def in_halves(target: np.ndarray, source: np.ndarray) -> None:
    """Copy an array in two halves, each by a thread of its own."""
    half = len(source) // 2
    parts = (slice(0, half), slice(half, None))
    list(POOL.map(lambda part: np.copyto(target[part], source[part]), parts))


def copy_into(new: bool) -> Side:
    """Return the time of a copy of the 16M numbers, by two threads."""
    x, target = normal(*SHAPE), np.ones_like(normal(*SHAPE))
    return timed(lambda: in_halves(np.empty_like(x) if new else target, x))


COPY = Yardstick("a float32 copy", lambda: copy_into(new=False))
NEW_COPY = Yardstick("a float32 copy into a new array", lambda: copy_into(new=True))


def blas(*shape: int, batch: int | None = None) -> Yardstick:
    """Return NumPy's float32 product of an (M, K, N) shape, or of a batch of them."""
    m, k, n = shape
    outer = () if batch is None else (batch,)

    def make() -> Side:
        a, b = normal(*outer, m, k), normal(*outer, k, n, seed=1)
        return timed(lambda: a @ b)

    size = f"{m} x {k} x {n}"
    text = f"float32 `@`, {size}" if batch is None else f"float32 `np.matmul`, {batch} of {size}"
    return Yardstick(text, make)


AFTER_BLAS = 0.12
"""Seconds until OpenBLAS's threads sleep after a product: by their CPU time, they spin for 0.06 to 0.12 s."""
