"""All 2**32 float32 numbers into E4M3 and E5M2, against ml_dtypes' ``astype``.

Run ``python benchmarks/exhaustive_casts.py [FORMAT ...]`` (some minutes). Ties to even, NON_SATURATING,
which is what ml_dtypes does. Every code is compared, NaNs included: both write E4M3's NaN as 7F and FF and
E5M2's as 7E and FE, with the sign of the input. Prints how many were compared and how many differ, and
exits with 1 if any does.
"""

from __future__ import annotations

import sys
import time

import numpy as np

from precision.formats import FloatFormat, Overflow, encode

CHUNK = 1 << 24


def compare(fmt: FloatFormat) -> tuple[int, int]:
    """(codes compared, codes that differ)."""
    offsets = np.arange(CHUNK, dtype=np.uint32)
    codes = np.empty(CHUNK, fmt.dtype)
    compared = different = 0
    for start in range(0, 1 << 32, CHUNK):
        x = (offsets + np.uint32(start)).view(np.float32)
        encode(x, fmt, overflow=Overflow.NON_SATURATING, out=codes)
        with np.errstate(invalid="ignore", over="ignore"):
            theirs = x.astype(fmt.dtype)
        compared += x.size
        different += int(np.count_nonzero(codes.view(fmt.code_dtype) != theirs.view(fmt.code_dtype)))
    return compared, different


def main(names: list[str]) -> int:
    total = 0
    for name in names or ["e4m3", "e5m2"]:
        start = time.perf_counter()
        compared, different = compare(FloatFormat.parse(name))
        seconds = time.perf_counter() - start
        print(f"{name}: {compared} codes compared, {different} differ ({seconds:.0f} s)", flush=True)
        total += different
    return int(total > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
