"""Quantizing 16M float32 numbers to microscaling formats and back, on two threads.

Run ``pytest benchmarks/bench_microscaling.py -s``. Each prints the speed of a round trip as a ratio to a copy
of the same float32 array in two halves on two threads, timed in turn with it, and the least ratio that it
must reach. Results go to new arrays, or into given ones. Where torchao is installed its round trip is
timed in turn as well, on as many threads.
"""

from __future__ import annotations

import importlib
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
BACK = np.empty_like(X)
POOL = ThreadPoolExecutor(2)

# Codes lie one in a byte; `precision.storage` packs them.
SPECS = {name: getattr(pr, name) for name in ("MXFP8_E4M3", "MXFP6_E2M3", "MXFP4", "NVFP4")}
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
    each: int = 1,
) -> None:
    """Time both in turn, ``each`` times ours; print and check the ratio of the speeds."""
    ours(), theirs()
    best = yardstick = float("inf")
    for _ in range(rounds):
        best = min(best, min(seconds(ours) for _ in range(each)))
        yardstick = min(yardstick, seconds(theirs))
    ratio = yardstick / best
    wanted = f"  (bar {bar})" if bar else ""
    print(f"\n{name:<50} {X.size / best / 1e9:6.2f} G elements/s  ratio {ratio:6.2f}{wanted}", end="")
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


@pytest.mark.parametrize("given", [True, False])
@pytest.mark.parametrize("name", SPECS)
def test_torchao(benchmark, name, given):
    torch = pytest.importorskip("torch")
    pytest.importorskip("torchao")
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    spec = SPECS[name]
    q = pr.quantize(X, spec)

    def ours() -> None:
        if given:
            pr.quantize(X, spec, out=q).dequantize(out=BACK)
        else:
            pr.quantize(X, spec).dequantize()

    title = f"{name} round trip, {'given' if given else 'new'} arrays, to torchao's"
    theirs = torchao_round_trip(name, torch)
    try:
        compare(benchmark, title, ours, theirs, PEER_BAR if given else None, rounds=5, each=10)
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
        "MXFP6_E2M3": getattr(constants, "DTYPE_FP6_E2M3", None),
        "MXFP4": torch.float4_e2m1fn_x2,
    }[name]
    if elements is None:
        pytest.skip(f"torchao has no {name} any more")
    return lambda: mx.MXTensor.to_mx(x, elements, 32).dequantize(torch.float32)
