"""Rounding, encoding and decoding 16M float32 numbers into given arrays, on two threads.

Run ``pytest benchmarks/bench_codec.py -s``. Each prints its speed as a ratio to a copy of the same float32
array in two halves on two threads, timed in turn with it, and the least ratio that it must reach. The last
ones compare with peers: ml_dtypes' ``astype``, and torch.compile's casts where PyTorch is installed.
"""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numba
import numpy as np
import pytest

import precision as pr

SIZE = 1 << 24
BLOCKS, CALLS = 12, 6
X = np.random.default_rng(0).standard_normal(SIZE).astype(np.float32)
OUT = np.empty_like(X)
COPY = np.empty_like(X)
CODES = np.empty(SIZE, pr.E4M3.dtype)
POOL = ThreadPoolExecutor(2)


@pytest.fixture(autouse=True)
def two_threads() -> Iterator[None]:
    before = pr.get_num_threads()
    pr.set_num_threads(2)
    yield
    pr.set_num_threads(before)


def copy() -> None:
    half = SIZE // 2
    parts = [slice(0, half), slice(half, SIZE)]
    list(POOL.map(lambda part: np.copyto(COPY[part], X[part]), parts))


@numba.njit(nogil=True)
def top_bytes(x, out):
    for i in range(x.size):
        out[i] = x[i] >> 24


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def compare(benchmark: Any, name: str, work: Callable[[], object], other: Callable[[], object], bar: float):
    """Time both in turn; print and check how many times as fast as ``other`` the work is."""
    work(), other()
    ours, theirs = [], []
    for _ in range(BLOCKS):
        for times, call in ((ours, work), (theirs, other)):
            time.sleep(0.005)  # until the threads of PyTorch sleep, which spin for a while after each call
            times += [seconds(call) for _ in range(CALLS)]
    ratio = min(theirs) / min(ours)
    print(f"\n{name:<34} {SIZE / min(ours) / 1e9:6.2f} G elements/s  ratio {ratio:6.2f}  (bar {bar})", end="")
    if benchmark is not None:
        benchmark.extra_info["ratio"] = ratio
        benchmark.pedantic(work, rounds=3)
    assert ratio >= bar


@pytest.mark.parametrize("mode", pr.Rounding, ids=str)
def test_round_to(benchmark, mode):
    bar = 0.75 if mode is pr.Rounding.TIES_TO_EVEN else 0.4
    compare(benchmark, f"round_to {mode}", lambda: pr.round_to(X, pr.E4M3, rounding=mode, out=OUT), copy, bar)


@pytest.mark.parametrize("mode", pr.Rounding, ids=str)
def test_encode(benchmark, mode):
    bar = 0.75 if mode is pr.Rounding.TIES_TO_EVEN else 0.4
    compare(benchmark, f"encode {mode}", lambda: pr.encode(X, pr.E4M3, rounding=mode, out=CODES), copy, bar)


@pytest.mark.parametrize("bits", [8, 32])
def test_stochastic(benchmark, bits):
    how = pr.Stochastic(bits, seed=1)
    compare(None, f"encode {how}", lambda: pr.encode(X, pr.E4M3, rounding=how, out=CODES), copy, 0.15)
    compare(benchmark, f"round_to {how}", lambda: pr.round_to(X, pr.E4M3, rounding=how, out=OUT), copy, 0.15)


@pytest.mark.parametrize("name", ["bf16", "e5m2", "e2m1", "e8m13", "e4m3fnuz", "mxint8"])
def test_round_to_other_formats(benchmark, name):
    fmt = pr.parse_format(name)
    compare(benchmark, f"round_to {name}", lambda: pr.round_to(X, fmt, out=OUT), copy, 0.4)


def test_decode(benchmark):
    pr.encode(X, pr.E4M3, out=CODES)
    compare(benchmark, "decode e4m3", lambda: pr.decode(CODES, pr.E4M3, out=OUT), copy, 0.75)


def test_encode_against_ml_dtypes(benchmark):
    other = lambda: X.astype(pr.E4M3.dtype)  # noqa: E731
    compare(benchmark, "encode, against astype", lambda: pr.encode(X, pr.E4M3, out=CODES), other, 2.0)


if importlib.util.find_spec("torch") is not None:

    def test_against_torch(benchmark):
        """There and back against `round_to`, and one way against `encode`.

        One way, memory is what both wait for: a loop that does nothing but write the top byte of each number
        moves the same bytes, and its ratio is the most that `encode` can come near.
        """
        import torch

        torch.set_num_threads(2)
        x, back = torch.from_numpy(X), torch.empty(SIZE)
        narrow = torch.empty(SIZE, dtype=torch.float8_e4m3fn)
        both = torch.compile(lambda t, out: out.copy_(t.to(torch.float8_e4m3fn)))
        cast = torch.compile(lambda t, out: out.copy_(t))
        half, words, codes = SIZE // 2, X.view(np.uint32), CODES.view(np.uint8)
        parts = [(words[:half], codes[:half]), (words[half:], codes[half:])]
        move = lambda: list(POOL.map(lambda part: top_bytes(*part), parts))  # noqa: E731
        encode = lambda: pr.encode(X, pr.E4M3, out=CODES)  # noqa: E731
        one_way = lambda: cast(x, narrow)  # noqa: E731
        compare(None, "top bytes, against torch.compile", move, one_way, 0)
        compare(None, "encode, against torch.compile", encode, one_way, 2.0)
        work = lambda: pr.round_to(X, pr.E4M3, out=OUT)  # noqa: E731
        compare(benchmark, "round_to, against torch.compile", work, lambda: both(x, back), 2.0)
