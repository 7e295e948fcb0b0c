"""The machine code of the hot loops of products, as counts of vector instructions in the innermost loops.

Run ``python benchmarks/hot_loops.py``. It compiles the FP8 and BF16 kernels anew, since Numba shows no code
that it read from its cache.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections import Counter

os.environ["NUMBA_CACHE_DIR"] = tempfile.mkdtemp()

import numpy as np

import precision as pr
from precision._kernels.products import _tile_sums


def loops(assembly: str) -> list[Counter[str]]:
    """Return how often each vector instruction stands in an innermost loop, the longest four loops first."""
    found: dict[str, Counter[str]] = {}
    ends, label = set(), ""
    for line in assembly.splitlines():
        if start := re.match(r"(\.LBB\w+):", line):
            label = start[1]
        elif (jump := re.match(r"\tj\w+\t(\.LBB\w+)", line)) and jump[1] == label:
            ends.add(label)
        if label and (step := re.match(r"\t(v\w+)\t.*(zmm|ymm|xmm)", line)):
            found.setdefault(label, Counter())[f"{step[1]} {step[2]}"] += 1
    return sorted((found[label] for label in ends & found.keys()), key=lambda c: -c.total())[:4]


def main() -> None:
    """Print the loops of both kernels."""
    x = np.random.default_rng(0).standard_normal((64, 64), dtype=np.float32)
    for fmt, unit in ((pr.E4M3, pr.HOPPER_FP8), (pr.BF16, pr.HOPPER_BF16)):
        before = set(_tile_sums.sum_tiles.signatures)
        codes = pr.encode(x, fmt)
        pr.matmul(codes, codes, accumulator=unit)
        (signature,) = set(_tile_sums.sum_tiles.signatures) - before
        for counter in loops(_tile_sums.sum_tiles.inspect_asm(signature)):
            print(f"{unit}: " + ", ".join(f"{n} {op}" for op, n in counter.most_common(8)))


if __name__ == "__main__":
    main()
