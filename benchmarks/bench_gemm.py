"""Products of 2048 x 2048 matrices, on two threads, as ratios to NumPy's float32 ``@`` of the same shape.

Run ``pytest benchmarks/bench_gemm.py -s``. A ratio is of the best of several rounds, in which both are timed
in turn, everything included: checks, packing, scales. With mmasim and PyTorch installed
(``pip install torch==2.13.0 mmasim``) the last one times that model of Hopper's wgmma at several shapes,
checks that the bits agree, and compares with its fastest.

``python benchmarks/bench_gemm.py first-call`` prints how long the first `matmul` of a new process takes,
without and with compiled code in the cache, and ``python benchmarks/bench_gemm.py code`` what the compiler
made of the hot loop.
"""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import precision as pr

SIZE = 2048
ROUNDS = 7
_RNG = np.random.default_rng(0)
X = _RNG.standard_normal((SIZE, SIZE), dtype=np.float32)
W = _RNG.standard_normal((SIZE, SIZE), dtype=np.float32)
A, B = (pr.encode(30 * x, pr.E4M3) for x in (X, W))
A16, B16 = (pr.encode(x, pr.BF16) for x in (X, W))
H16, G16 = X.astype(np.float16), W.astype(np.float16)
QA = pr.quantize(X, pr.QuantSpec(pr.E4M3, pr.PerGroup(128)))
QB = pr.quantize(W, pr.QuantSpec(pr.E4M3, pr.PerBlock(128, 128)), axis=-2)
RA = pr.quantize(X, pr.QuantSpec(pr.E4M3, pr.PerVector()))
RB = pr.quantize(W, pr.QuantSpec(pr.E4M3, pr.PerVector()), axis=-2)

MX, NV = ((pr.quantize(X, spec), pr.quantize(W, spec, axis=-2)) for spec in (pr.MXFP8_E4M3, pr.NVFP4))

PRODUCTS = {
    "HOPPER_FP8": (A, B, pr.HOPPER_FP8, 0.17),
    "HOPPER_FP8, b transposed": (A, B.T, pr.HOPPER_FP8, 0.17),
    "HOPPER_FP8 promoted every 128": (A, B, pr.HOPPER_FP8.promoted(128), 0.17),
    "HOPPER_FP8 row-wise scales": (RA, RB, pr.HOPPER_FP8.promoted(128), 0.17),
    "HOPPER_FP8 1x128 by 128x128 scales": (QA, QB, pr.HOPPER_FP8.promoted(128), 0.17),
    "HOPPER_BF16": (A16, B16, pr.HOPPER_BF16, 0.13),
    "HOPPER_FP16": (H16, G16, pr.HOPPER_FP16, 0.13),
    "HOPPER_FP8 with 20 bits": (A, B, pr.HOPPER_FP8.with_width(20), 0.13),
    "HOPPER_FP8 with 30 bits": (A, B, pr.HOPPER_FP8.with_width(30), 0.06),
    "HOPPER_FP8_ACC16": (A, B, pr.HOPPER_FP8_ACC16, 0.05),
    "HOPPER_TF32": (X, W, pr.HOPPER_TF32, 0.08),
    "BLACKWELL_MX": (*MX, pr.BLACKWELL_MX, 0.12),
    "BLACKWELL_NVFP4": (*NV, pr.BLACKWELL_NVFP4, 0.1),
    "FP32_FMA": (A, B, pr.FP32_FMA, 0.3),
    "EXACT": (A, B, pr.EXACT, 0.2),
}


@pytest.fixture(autouse=True)
def two_threads() -> Iterator[None]:
    before = pr.get_num_threads()
    pr.set_num_threads(2)
    yield
    pr.set_num_threads(before)


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def best(*works: Callable[[], object], rounds: int = ROUNDS) -> list[float]:
    """The shortest time of each, taken in turn after one round that is not counted."""
    for work in works:
        work()
    return [
        min(times) for times in zip(*([seconds(work) for work in works] for _ in range(rounds)), strict=True)
    ]


@pytest.mark.parametrize("name", PRODUCTS)
def test_product(name: str, benchmark: Any) -> None:
    a, b, accumulator, bar = PRODUCTS[name]
    ours, blas = best(lambda: pr.matmul(a, b, accumulator=accumulator), lambda: X @ W)
    ratio = blas / ours
    print(
        f"\n{name:<36} {SIZE**3 / ours / 1e9:6.1f} G multiply-adds/s  ratio {ratio:.3f}  (bar {bar})", end=""
    )
    benchmark.extra_info["ratio"] = ratio
    benchmark.pedantic(lambda: pr.matmul(a, b, accumulator=accumulator), rounds=1)
    assert ratio >= bar


def test_cost_of_a_multiply_add_does_not_depend_on_k(benchmark: Any) -> None:
    """2048 x 2048 outputs, K from 256 to 16384. (Small products pay 0.3 ms a call besides.)"""
    lengths = [256, 1024, 4096, 16384]
    rng = np.random.default_rng(1)
    operands = {
        k: [pr.encode(30 * rng.standard_normal(s, dtype=np.float32), pr.E4M3) for s in ((SIZE, k), (k, SIZE))]
        for k in lengths
    }
    repeats = {k: max(1, 4096 // k) for k in lengths}  # about as long for every K
    times = best(
        *(lambda k=k: [pr.matmul(*operands[k]) for _ in range(repeats[k])] for k in lengths), rounds=5
    )
    costs = [t / (SIZE * SIZE * k * repeats[k]) for k, t in zip(lengths, times, strict=True)]
    middle = (max(costs) + min(costs)) / 2
    spread = (max(costs) - min(costs)) / 2 / middle
    shown = ", ".join(f"K={k}: {1e12 * cost:.1f} ps" for k, cost in zip(lengths, costs, strict=True))
    print(
        f"\na multiply-add, {shown}: within {100 * spread:.0f} % of {1e12 * middle:.1f} ps  (bar 15 %)",
        end="",
    )
    benchmark.pedantic(lambda: pr.matmul(*operands[1024]), rounds=1)
    assert spread <= 0.15


def test_against_mmasim(benchmark: Any) -> None:
    if not (importlib.util.find_spec("torch") and importlib.util.find_spec("mmasim")):
        pytest.skip("needs pip install torch==2.13.0 mmasim")
    import torch
    from mmasim.nv_ptx import WGMMA

    torch.set_num_threads(2)
    model = WGMMA("Hopper", "m64n8k32.f32.e4m3.e4m3")
    (ours,) = best(lambda: pr.matmul(A, B), rounds=3)
    rate = SIZE**3 / ours
    found = {}
    for m, n, k in ((16, 16, 32), (64, 8, 32), (64, 64, 32), (64, 256, 32), (64, 64, 256), (128, 128, 1024)):
        a, b = A[:m, :k].copy(), B[:k, :n].copy()
        ta, tb = (torch.from_numpy(x.view(np.uint8)).view(torch.float8_e4m3fn) for x in (a, b))
        c = torch.zeros((m, n))
        result = model(ta, tb, c).numpy()
        assert np.array_equal(result.view(np.uint32), pr.matmul(a, b).view(np.uint32))
        (theirs,) = best(lambda ta=ta, tb=tb, c=c: model(ta, tb, c), rounds=5)
        found[m, n, k] = m * n * k / theirs
    shape, fastest = max(found.items(), key=lambda item: item[1])
    ratio = rate / fastest
    print(
        f"\nmmasim at its best, {shape}: {fastest / 1e6:.1f} M multiply-adds/s; ratio {ratio:.0f}  (bar 500)",
        end="",
    )
    benchmark.pedantic(lambda: pr.matmul(A, B), rounds=1)
    assert ratio >= 500


def first_call() -> None:
    """Times the first call in new processes: three times with an empty cache, then with what it left."""
    code = (
        "import time, numpy as np, precision as pr; a = np.ones((64, 64), pr.E4M3.dtype);"
        "t = time.perf_counter(); pr.matmul(a, a); print(time.perf_counter() - t)"
    )
    for _ in range(3):
        with tempfile.TemporaryDirectory() as cache:
            environment = {**os.environ, "NUMBA_CACHE_DIR": cache}
            command = [sys.executable, "-c", code]
            cold, *warm = (float(subprocess.check_output(command, env=environment)) for _ in range(3))
        print(f"first matmul: {cold:.2f} s without a cache (bar 3), {min(warm):.2f} s with it (bar 0.7)")


def code() -> None:
    """Counts the vector instructions of the innermost loops of the FP8 and BF16 kernels."""
    for a, b, unit in ((A, B, pr.HOPPER_FP8), (A16, B16, pr.HOPPER_BF16)):
        from precision._kernels.products import _tile_sums

        before = set(_tile_sums.sum_tile.signatures)
        pr.matmul(a[:64, :64], b[:64, :64], accumulator=unit)
        (signature,) = set(_tile_sums.sum_tile.signatures) - before
        lines = _tile_sums.sum_tile.inspect_asm(signature).splitlines()
        loops: dict[str, Counter[str]] = {}
        label = ""
        for line in lines:
            if found := re.match(r"(\.LBB\w+):", line):
                label = found[1]
            elif (found := re.match(r"\tj\w+\t(\.LBB\w+)", line)) and found[1] == label:
                loops.setdefault(label, Counter())
            if label and (found := re.match(r"\t(v\w+)\t.*(zmm|ymm|xmm)", line)):
                loops.setdefault(f"{label} ", Counter())[f"{found[1]} {found[2]}"] += 1
        hot = [c for name, c in loops.items() if name.endswith(" ") and name.strip() in loops]
        for counter in sorted(hot, key=lambda c: -sum(c.values()))[:4]:
            print(f"{unit}: " + ", ".join(f"{n} {op}" for op, n in counter.most_common(8)))


if __name__ == "__main__":
    {"first-call": first_call, "code": code}[sys.argv[1]]()
