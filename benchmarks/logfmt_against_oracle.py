"""Every code of about a million numbers over all widths and options, against the tests' oracle.

Run ``python benchmarks/logfmt_against_oracle.py [VALUES]`` (minutes). Specs: each two values of two options
of LogFMT together (`tests/logfmt_cases.py`); inputs: fifteen kinds, in float16, bfloat16, float32 and
float64. Prints the codes compared, how many were too near a boundary for longdouble and were settled with
mpmath, and how many codes and stored numbers differ; exits with 1 if any does.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
import logfmt_cases as cases


def main(values: int) -> int:
    start = time.perf_counter()
    compared = settled = codes = metadata = turn = 0
    while compared < values:
        specs = [spec for spec in cases.pairs(turn) if spec.block_size > 1 or turn == 0]
        for n, spec in enumerate(specs):
            dtype = cases.DTYPES[(n + turn) % 4]
            size = 2 * spec.block_size + 3 if spec.block_size < 1000 else 600
            for name, x in cases.families(size, dtype, 1000 * turn + n).items():
                wrong, bad, wanted = cases.differences(x, spec)
                compared, settled = compared + x.size, settled + wanted.settled
                codes, metadata = codes + wrong, metadata + bad
                if wrong or bad:
                    print(f"{wrong} codes, {bad} numbers of metadata: {name}, {dtype}, {spec}", flush=True)
            if compared >= values:
                break
        turn += 1
    print(
        f"{compared} codes compared, {settled} of them settled with mpmath, {codes} differ; "
        f"{metadata} stored numbers differ ({time.perf_counter() - start:.0f} s)"
    )
    return int(codes + metadata > 0)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000))
