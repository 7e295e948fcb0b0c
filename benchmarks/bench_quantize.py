"""Quantizing 16M float32 numbers and back, on two threads.

Run ``pytest benchmarks/bench_quantize.py -s``. Each prints its speed as a ratio to a copy of the same float32
array in two halves on two threads, timed in turn with it, and the least ratio that it must reach where
there is one. Right operands are quantized along ``axis=-2``, across the rows in memory.
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
ROUNDS = 31
X = np.random.default_rng(0).standard_normal(SHAPE, dtype=np.float32)
COPY = np.empty_like(X)
POOL = ThreadPoolExecutor(2)

FP8 = pr.QuantSpec(pr.E4M3, pr.PerGroup(128))
MXFP8 = pr.MXFP8_E4M3
NVFP4 = pr.NVFP4
SPECS = [
    (FP8, -1, 0.6),
    (pr.QuantSpec(pr.E4M3, pr.PerTensor()), -1, None),
    (pr.QuantSpec(pr.E4M3, pr.PerVector()), -1, None),
    (pr.QuantSpec(pr.E4M3, pr.PerBlock(128, 128)), -1, None),
    (pr.QuantSpec(pr.E4M3, pr.PerBlock(128, 128)), -2, None),
    (FP8, -2, None),
    (pr.QuantSpec(pr.parse_format("int8"), pr.PerGroup(128)), -1, None),
    (MXFP8, -1, None),
    (NVFP4, -1, None),
    (pr.QuantSpec(pr.E4M3, pr.PerGroup(128), rounding=pr.Rounding.TOWARD_ZERO), -1, None),
    (pr.QuantSpec(pr.E4M3, pr.PerGroup(128), rounding=pr.Stochastic(bits=8)), -1, None),
]


@pytest.fixture(autouse=True)
def two_threads() -> Iterator[None]:
    before = pr.get_num_threads()
    pr.set_num_threads(2)
    yield
    pr.set_num_threads(before)


def copy() -> None:
    half = len(X) // 2
    list(POOL.map(lambda part: np.copyto(COPY[part], X[part]), (slice(0, half), slice(half, None))))


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def compare(benchmark: Any, name: str, work: Callable[[], object], bar: float | None) -> None:
    """Time the work and the copy in turn; print and check the ratio of the speeds."""
    work(), copy()
    ours, theirs = zip(*((seconds(work), seconds(copy)) for _ in range(ROUNDS)), strict=True)
    ratio = min(theirs) / min(ours)
    wanted = f"  (bar {bar})" if bar else ""
    print(f"\n{name:<90} {X.size / min(ours) / 1e9:6.2f} G elements/s  ratio {ratio:5.2f}{wanted}", end="")
    benchmark.extra_info["ratio"] = ratio
    benchmark.pedantic(work, rounds=3)
    assert ratio >= (bar or 0)


@pytest.mark.parametrize(("spec", "axis", "bar"), SPECS, ids=str)
def test_quantize_into_given_arrays(benchmark, spec, axis, bar):
    out = pr.quantize(X, spec, axis)
    compare(benchmark, f"given {spec} axis {axis}", lambda: pr.quantize(X, spec, axis, out=out), bar)


def test_quantize_into_new_arrays(benchmark):
    compare(benchmark, f"new {FP8}", lambda: pr.quantize(X, FP8), 0.35)


@pytest.mark.parametrize("spec", [FP8, MXFP8, NVFP4], ids=str)
def test_dequantize(benchmark, spec):
    q = pr.quantize(X, spec)
    compare(benchmark, f"dequantize {spec}", q.dequantize, None)
