"""How long calls on arrays of 4x128 take, against ``x.astype(ml_dtypes.float8_e4m3fn)`` of the same array.

Run ``python benchmarks/bench_small_calls.py [REPEATS]``: every repeat times each call in turn, hot, the cast
among them, with one thread and then with as many as users have. It prints the medians, their ratios to the
cast's median, and whether each is within its bar.
"""

from __future__ import annotations

import math
import statistics
import sys
import time
from collections.abc import Callable

import ml_dtypes
import numpy as np

import precision as pr

BLOCK = 1e-4
"""Seconds between two looks at the clock: short, so that other processes seldom fall into one."""
TRIES = 5
"""Blocks in a row, of which the best counts."""


def calls() -> dict[str, tuple[float, Callable[[], object]]]:
    """The bar of each call, as a multiple of the cast's time, and the call."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((4, 128)).astype(np.float32)
    weights = pr.encode(rng.standard_normal((128, 8)).astype(np.float32), pr.E4M3)
    spec = pr.QuantSpec(pr.E4M3, pr.PerGroup(128))
    block = pr.QuantSpec(pr.E4M3, pr.PerBlock(128, 128))
    codes, quantized = pr.encode(x, pr.E4M3), pr.quantize(x, spec)
    w = rng.standard_normal((128, 8)).astype(np.float32)
    scaled, promoted, logs = pr.quantize(w, block, axis=-2), pr.HOPPER_FP8.promoted(128), pr.LogFMT(8)
    return {
        "cast": (1, lambda: x.astype(ml_dtypes.float8_e4m3fn)),
        "round_to": (3, lambda: pr.round_to(x, pr.E4M3)),
        "encode": (3, lambda: pr.encode(x, pr.E4M3)),
        "quantize 1x128": (5, lambda: pr.quantize(x, spec)),
        "quantize MXFP8": (5, lambda: pr.quantize(x, pr.MXFP8_E4M3)),
        "quantize NVFP4": (5, lambda: pr.quantize(x, pr.NVFP4)),
        "dequantize": (4, lambda: quantized.dequantize()),
        "matmul 4x128x8": (8, lambda: pr.matmul(codes, weights)),
        "with scales": (math.inf, lambda: pr.matmul(quantized, scaled, accumulator=promoted)),
        "LogFMT encode": (8, lambda: pr.quantize(x, logs)),
    }


def seconds(call: Callable[[], object], loops: int) -> float:
    """Time of one of some calls in a row, the least of a few such blocks: the first warms the caches."""
    best = float("inf")
    for _ in range(TRIES):
        start = time.perf_counter()
        for _ in range(loops):
            call()
        best = min(best, time.perf_counter() - start)
    return best / loops


def compare(threads: int, repeats: int) -> bool:
    """Print one table, and return whether every bar is met."""
    pr.set_num_threads(threads)
    measured = calls()
    usual = {name: min(seconds(call, 5) for _ in range(20)) for name, (_, call) in measured.items()}
    times: dict[str, list[float]] = {name: [] for name in measured}
    for _ in range(repeats):
        for name, (_, call) in measured.items():
            times[name].append(seconds(call, max(1, round(BLOCK / usual[name]))))
    medians = {name: statistics.median(some) for name, some in times.items()}
    good = True
    print(f"{threads} thread{'s' if threads > 1 else ''}: {'time':>22} {'ratio':>8} {'at most':>9}")
    for name, (bar, _) in measured.items():
        ratio = medians[name] / medians["cast"]
        good &= ratio <= bar
        verdict = "" if name == "cast" else "yes" if ratio <= bar else "NO"
        print(f"  {name:<18} {1e6 * medians[name]:8.2f} us {ratio:8.1f} {bar:9.0f}  {verdict}")
    return good


def main(repeats: int) -> int:
    usual = pr.get_num_threads()
    met = [compare(threads, repeats) for threads in dict.fromkeys((1, usual))]
    print("every bar is met" if all(met) else "a bar is missed")
    return not all(met)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000))
