"""Quantizing 16M float32 numbers to microscaling formats and back, on two threads.

Run ``pytest benchmarks/bench_microscaling.py -s``. Each prints the speed of a round trip as a ratio to a copy
of the same float32 array in two halves on two threads, timed in turn with it, and the least ratio that it
must reach. Results go to new arrays, or into given ones.

Where torchao is installed its round trip is timed in turn as well, on as many threads. Its results are always
new arrays, and so are its intermediate ones, five times the size of the source: it spends most of its time on
pages that the system hands out anew. How often that happens is up to the heap, so two states are set, for
both sides alike: every large array is new to the process, or freed memory stays with it and is used again.

Both sides are timed equally often, each time after a call of their own that is not timed, so that neither
finds the other's memory in the caches. A ratio is that of the median times; the least and the largest ratio
of one round follow it. The bar of 20 is for given arrays: with new ones the first touch of our own results'
pages takes 4 to 7 % of torchao's time by itself.
"""

from __future__ import annotations

import ctypes
import importlib
import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

import precision as pr

SHAPE = (4096, 4096)
ROUNDS, PEER_ROUNDS = 31, 7
X = np.random.default_rng(0).standard_normal(SHAPE, dtype=np.float32)
COPY = np.empty_like(X)
BACK = np.empty_like(X)
POOL = ThreadPoolExecutor(2)

# Codes lie one in a byte; `precision.storage` packs them.
NAMES = "MXFP8_E4M3", "MXFP8_E5M2", "MXFP6_E2M3", "MXFP6_E3M2", "MXFP4", "NVFP4"
SPECS = {name: getattr(pr, name) for name in NAMES}
BAR, PEER_BAR = 0.4, 20


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
    """Of a call that follows another one."""
    work()
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def compare(
    benchmark: Any,
    name: str,
    ours: Callable[[], object],
    theirs: Callable[[], object],
    bar: float | None,
    rounds: int = ROUNDS,
) -> None:
    """Time both in turn; print and check the ratio of the speeds."""
    times = [(seconds(theirs), seconds(ours)) for _ in range(rounds)]
    yardstick, best = (statistics.median(side) for side in zip(*times, strict=True))
    ratio, each = yardstick / best, sorted(them / us for them, us in times)
    print(
        f"\n{name:<50} {X.size / best / 1e9:6.2f} G elements/s  ratio {ratio:6.2f}"
        f"  ({each[0]:.2f} to {each[-1]:.2f}){f'  (bar {bar})' if bar else ''}",
        end="",
    )
    benchmark.extra_info["ratio"] = ratio
    benchmark.pedantic(ours, rounds=3)
    assert ratio >= (bar or 0)


@pytest.mark.parametrize("name", SPECS)
def test_round_trip_into_given_arrays(benchmark, name):
    spec = SPECS[name]
    q = pr.quantize(X, spec)
    compare(
        benchmark,
        f"{name} round trip, given arrays",
        lambda: pr.quantize(X, spec, out=q).dequantize(out=BACK),
        copy,
        BAR,
    )


@pytest.mark.parametrize("name", SPECS)
def test_round_trip_into_new_arrays(benchmark, name):
    spec = SPECS[name]
    compare(
        benchmark, f"{name} round trip, new arrays", lambda: pr.quantize(X, spec).dequantize(), copy, None
    )


@pytest.mark.parametrize("name", SPECS)
def test_quantize(benchmark, name):
    spec = SPECS[name]
    q = pr.quantize(X, spec)
    compare(benchmark, f"{name} quantize", lambda: pr.quantize(X, spec, out=q), copy, None)


@pytest.mark.parametrize("name", SPECS)
def test_dequantize(benchmark, name):
    q = pr.quantize(X, SPECS[name])
    compare(benchmark, f"{name} dequantize", lambda: q.dequantize(out=BACK), copy, None)


def set_heap(kept: bool) -> None:
    """Let glibc take large arrays from the system and give them back, or (for good) keep what is freed."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        pytest.skip("no mallopt here")
    trim_threshold, mmap_threshold, mmap_max = -1, -3, -4
    if kept:
        mallopt(mmap_max, 0)
        mallopt(trim_threshold, 2**31 - 1)
    else:
        mallopt(mmap_threshold, 1 << 20)


# The memory varies slowest: a heap that keeps its memory comes last.
@pytest.mark.parametrize("name", SPECS)
@pytest.mark.parametrize("memory", ["given", "new", "kept"])
def test_torchao(benchmark, memory, name):
    torch = pytest.importorskip("torch")
    pytest.importorskip("torchao")
    spec = SPECS[name]
    q = pr.quantize(X, spec)
    theirs = torchao_round_trip(name, torch)
    set_heap(kept=memory == "kept")

    def ours() -> None:
        if memory == "given":
            pr.quantize(X, spec, out=q).dequantize(out=BACK)
        else:
            pr.quantize(X, spec).dequantize()

    title = f"{name} round trip, {memory} memory, to torchao's"
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        compare(benchmark, title, ours, theirs, PEER_BAR if memory == "given" else None, PEER_ROUNDS)
    finally:
        torch.set_num_threads(before)


def torchao_round_trip(name: str, torch: Any) -> Callable[[], object]:
    x = torch.from_numpy(X)
    if name == "NVFP4":
        nvfp4 = importlib.import_module("torchao.prototype.mx_formats.nvfp4_tensor")

        def there_and_back() -> object:
            scale = nvfp4.per_tensor_amax_to_scale(x.abs().max())
            return nvfp4.NVFP4Tensor.to_nvfp4(x, per_tensor_scale=scale).dequantize(torch.float32)

        return there_and_back
    mx = importlib.import_module("torchao.prototype.mx_formats.mx_tensor")
    constants = importlib.import_module("torchao.prototype.mx_formats.constants")
    elements = {
        "MXFP8_E4M3": torch.float8_e4m3fn,
        "MXFP8_E5M2": torch.float8_e5m2,
        "MXFP6_E2M3": getattr(constants, "DTYPE_FP6_E2M3", None),
        "MXFP6_E3M2": getattr(constants, "DTYPE_FP6_E3M2", None),
        "MXFP4": torch.float4_e2m1fn_x2,
    }[name]
    if elements is None:
        pytest.skip(f"torchao has no {name} any more")
    return lambda: mx.MXTensor.to_mx(x, elements, 32).dequantize(torch.float32)
