"""First calls: each public call alone, in a new process whose cache of compiled code is empty.

The yardstick is a new process that compiles one plain loop over a float32 array with `numba.njit`. Times are
processor seconds of the whole process, which other work on the machine disturbs least; the import of the room
of sweeps, where the list of calls lies, is left out.
``python -m benchmarks.bench_first_calls [NAME ...]`` prints what calls that begin so compile, function by
function: those that Python calls, and those that are parts of them.
"""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter

from benchmarks.measuring import Row, Side, Yardstick, as_test

LOOP = """
import json, time
import numba, numpy as np
@numba.njit
def loop(x, out):
    for i in range(x.size):
        out[i] = x[i] * np.float32(2) + np.float32(1)
x = np.ones(1000, np.float32)
loop(x, np.empty_like(x))
print(json.dumps([time.process_time(), []]))
"""
CALL = """
import json, sys, time
from numba.core import event
compiled = []
class Listener(event.Listener):
    def on_start(self, seen):
        pass
    def on_end(self, seen):
        function = seen.data["dispatcher"].py_func
        compiled.append(f"{function.__module__}:{function.__qualname__}")
event.register("numba:compile", Listener())
import precision
precision.quantize, precision.matmul, precision.trace, precision.LogFMT
start = time.process_time()
from precision.sweep._first_calls import make_first_call
extra = time.process_time() - start
make_first_call(sys.argv[1])
print(json.dumps([time.process_time() - extra, compiled]))
"""


def run(code: str, *arguments: str, cache: str | None = None) -> tuple[float, list[str]]:
    """Run code in a new process; return its processor seconds, and the functions that it compiled."""
    with tempfile.TemporaryDirectory() as empty:
        environment = {**os.environ, "NUMBA_CACHE_DIR": cache or empty}
        command = [sys.executable, "-c", code, *arguments]
        found = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    seconds, functions = json.loads(found.stdout.splitlines()[-1])
    return seconds, functions


def first_call(name: str) -> Side:
    """Return the time of a call in a new process, with an empty cache."""
    return lambda: run(CALL, name)[0]


def later_call(name: str) -> Side:
    """Return the time of a call in a new process that finds everything compiled."""
    kept = tempfile.TemporaryDirectory()
    run(CALL, name, cache=kept.name)

    def side() -> float:
        seconds, functions = run(CALL, name, cache=kept.name)
        assert not functions, functions
        return seconds

    return side


PLAIN = Yardstick("a process that compiles one plain loop", lambda: lambda: run(LOOP)[0])
#: The most multiples of the yardstick that a call takes today, and that issue 15 asks for.
LIMITS = {
    "encode": (2.5, 2.5),
    "decode": (2.5, 2.5),
    "round_to": (2.5, 2.5),
    "round_to stochastic": (3.0, 2.5),
    "quantize 1x128": (3.0, 2.5),
    "quantize 128x128": (3.5, 2.5),
    "quantize MXFP8": (3.5, 2.5),
    "quantize NVFP4": (4.0, 2.5),
    "quantize NVFP4 stochastic": (7.0, 2.5),
    "dequantize 1x128": (5.0, 4.0),
    "matmul FP8": (5.0, 2.5),
    "matmul FP8 promoted": (5.0, 2.5),
    "matmul BF16": (5.0, 2.5),
    "matmul FP32_FMA": (4.5, 2.5),
    "matmul EXACT": (3.5, 2.5),
    "matmul 1x128 128x128": (8.5, 4.0),
    "matmul MXFP8": (7.0, 4.0),
    "matmul NVFP4": (8.0, 4.0),
    "logfmt 8 quantize": (7.0, 4.0),
    "logfmt 10 quantize": (7.5, 4.0),
    "logfmt 8 dequantize": (8.5, 4.0),
    "trace FP8": (7.5, 2.5),
}
ROWS = (
    *(
        Row(f"first {name}", PLAIN, make=functools.partial(first_call, name), cost=True, apart=True,
            bar=bar, goal=goal)
        for name, (bar, goal) in LIMITS.items()
    ),
    *(
        Row(f"later {name}", PLAIN, make=functools.partial(later_call, name), cost=True, apart=True, goal=0.7)
        for name in ("quantize 1x128", "matmul FP8", "logfmt 8 quantize")
    ),
)  # fmt: skip

test_row = as_test(ROWS)


def main(names: list[str]) -> None:
    """Print what calls compile."""
    for name in LIMITS:
        if not names or name.startswith(tuple(names)):
            seconds, functions = run(CALL, name)
            print(f"{name}: {len(functions)} functions, {seconds:.2f} s")
            for function, count in Counter(functions).items():
                print(f"    {function}{f', {count} times' if count > 1 else ''}")


if __name__ == "__main__":
    main(sys.argv[1:])
