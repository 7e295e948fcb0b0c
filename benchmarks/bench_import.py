"""How long ``import precision`` takes, against ``import ml_dtypes`` in the same run (both import NumPy).

Run ``python benchmarks/bench_import.py [ROUNDS]``: it starts new processes in turn and prints the medians
and their ratio, which is to be at most 1.4, and whether it is.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys

CODE = "import time; start = time.perf_counter(); import {}; print(time.perf_counter() - start)"

BAR = 1.4


def seconds(module: str) -> float:
    # Compiled modules are kept, as they are after an installation.
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    command = [sys.executable, "-c", CODE.format(module)]
    found = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return float(found.stdout)


def main(rounds: int) -> None:
    modules = ("ml_dtypes", "precision")
    for module in modules:
        seconds(module)  # fills the disk's and Python's caches
    times: dict[str, list[float]] = {module: [] for module in modules}
    for _ in range(rounds):
        for module in modules:
            times[module].append(seconds(module))
    medians = [statistics.median(times[module]) for module in modules]
    for module, median in zip(modules, medians, strict=True):
        print(f"import {module:<10} {1e3 * median:6.1f} ms (median of {rounds})")
    ratio = medians[1] / medians[0]
    print(f"ratio            {ratio:6.2f} (at most {BAR}: {'yes' if ratio <= BAR else 'NO'})")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 15)
