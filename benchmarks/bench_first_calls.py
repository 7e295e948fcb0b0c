"""What first calls cost: each public call alone, in a new process whose cache of compiled code is empty.

Run ``python benchmarks/bench_first_calls.py [TURNS] [NAME ...]``: a name stands for all calls that begin so,
and none for all of `BARS`. Every turn runs each call, and between them the yardstick: a new process that
compiles one plain loop over a float32 array with `numba.njit`. The times are processor seconds of the whole
process, its imports included, which other work on the machine disturbs least. It prints medians, with the
extremes, as multiples of the yardstick's median; the kernels that were compiled for Python to call, and the
functions that were compiled by themselves or with them; and whether each call is within its bar. ``--warm``
fills the cache first, and holds each call to `WARM` and to compiling nothing.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile

#: The most multiples of the yardstick that a first call may take.
ALONE, BOTH, LOGFMT, WARM = 2.5, 4.0, 4.0, 0.7
BARS = {
    "encode": ALONE,
    "decode": ALONE,
    "round_to": ALONE,
    "round_to stochastic": ALONE,
    "quantize 1x128": ALONE,
    "quantize 128x128": ALONE,
    "quantize MXFP8": ALONE,
    "quantize NVFP4": ALONE,
    "quantize NVFP4 stochastic": ALONE,
    "dequantize 1x128": BOTH,
    "matmul FP8": ALONE,
    "matmul FP8 promoted": ALONE,
    "matmul BF16": ALONE,
    "matmul FP32_FMA": ALONE,
    "matmul EXACT": ALONE,
    "matmul 1x128 128x128": BOTH,
    "matmul MXFP8": BOTH,
    "matmul NVFP4": BOTH,
    "logfmt 8 quantize": LOGFMT,
    "logfmt 10 quantize": LOGFMT,
    "logfmt 8 dequantize": 2 * LOGFMT,
    "trace FP8": ALONE,
}

YARDSTICK = """
import json, time
import numba, numpy as np
@numba.njit
def loop(x, out):
    for i in range(x.size):
        out[i] = x[i] * np.float32(2) + np.float32(1)
x = np.ones(1000, np.float32)
loop(x, np.empty_like(x))
print(json.dumps([time.process_time(), 1, 1]))
"""
CALL = """
import json, sys, time
from numba.core import event
compiled = []
class Listener(event.Listener):
    def on_start(self, seen):
        pass
    def on_end(self, seen):
        compiled.append(seen.data["dispatcher"].py_func.__name__)
event.register("numba:compile", Listener())
from precision.sweep._first_calls import make_first_call
made = make_first_call(sys.argv[1])
print(json.dumps([time.process_time(), made["compiled"], len(compiled)]))
"""


def run(code: str, *arguments: str, cache: str | None = None) -> tuple[float, int, int]:
    """Run code in a new process; return its processor seconds, and the kernels and functions it compiled."""
    with tempfile.TemporaryDirectory() as empty:
        environment = {**os.environ, "NUMBA_CACHE_DIR": cache or empty}
        found = subprocess.run(
            [sys.executable, "-c", code, *arguments], env=environment, capture_output=True, text=True
        )
    if found.returncode:
        raise RuntimeError(found.stderr)
    seconds, kernels, functions = json.loads(found.stdout.splitlines()[-1])
    return seconds, kernels, functions


def main(arguments: list[str]) -> int:
    warm = "--warm" in arguments
    arguments = [text for text in arguments if text != "--warm"]
    turns = int(arguments[0]) if arguments else 7
    chosen = [name for name in BARS if not arguments[1:] or name.startswith(tuple(arguments[1:]))]
    yardstick: list[float] = []
    found: dict[str, list[tuple[float, int, int]]] = {name: [] for name in chosen}
    with tempfile.TemporaryDirectory() as kept:
        cache = kept if warm else None
        if warm:
            for name in chosen:
                run(CALL, name, cache=cache)
        for _ in range(turns):
            for name in chosen:
                yardstick.append(run(YARDSTICK)[0])
                found[name].append(run(CALL, name, cache=cache))
    unit, good = statistics.median(yardstick), True
    print(f"yardstick {unit:.2f} s ({min(yardstick):.2f} to {max(yardstick):.2f}), {turns} turns")
    print(f"{'call':28} {'ratio':>6} {'from':>6} {'to':>6} {'at most':>8} {'kernels':>8} {'functions':>10}")
    for name in chosen:
        ratios = sorted(seconds / unit for seconds, *_ in found[name])
        _, kernels, functions = found[name][0]
        ratio, bar = statistics.median(ratios), WARM if warm else BARS[name]
        met = ratio <= bar and not (warm and functions)
        good &= met
        print(
            f"{name:28} {ratio:6.2f} {ratios[0]:6.2f} {ratios[-1]:6.2f} {bar:8.1f} {kernels:8} {functions:10}"
            f"  {'yes' if met else 'NO'}"
        )
    return not good


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
