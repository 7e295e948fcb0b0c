"""How long ``import precision`` takes, against ``import ml_dtypes`` in the same run (both import NumPy).

Run ``python benchmarks/bench_import.py [ROUNDS]``: it starts new processes in turn and prints the medians
and their ratio, which is to be at most 1.4, and whether it is. Names of `precision` are imported when they
are first asked for, so the last line says what asking for all of them takes; it has no bar.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys

CODE = "import time; start = time.perf_counter(); {}; print(time.perf_counter() - start)"

BAR = 1.4
STATEMENTS = ("import ml_dtypes", "import precision", "from precision import *")


def seconds(statement: str) -> float:
    # Compiled modules are kept, as they are after an installation.
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    command = [sys.executable, "-c", CODE.format(statement)]
    found = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return float(found.stdout)


def main(rounds: int) -> None:
    for statement in STATEMENTS:
        seconds(statement)  # fills the disk's and Python's caches
    times: dict[str, list[float]] = {statement: [] for statement in STATEMENTS}
    for _ in range(rounds):
        for statement in STATEMENTS:
            times[statement].append(seconds(statement))
    medians = [statistics.median(times[statement]) for statement in STATEMENTS]
    for statement, median in zip(STATEMENTS, medians, strict=True):
        print(f"{statement:<23} {1e3 * median:6.1f} ms (median of {rounds})")
    ratio = medians[1] / medians[0]
    print(f"{'ratio':<23} {ratio:6.2f} (at most {BAR}: {'yes' if ratio <= BAR else 'NO'})")
    print(f"{'ratio, with every name':<23} {medians[2] / medians[0]:6.2f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 15)
