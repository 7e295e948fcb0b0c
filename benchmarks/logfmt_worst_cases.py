"""How near a number can come to a boundary of LogFMT: a search, in longdouble, and mpmath for the best.

Run ``python benchmarks/logfmt_worst_cases.py [MILLIONS]``. It prints, for several kinds of tiles, the least
relative distance found of a float32 or float64 number inside a tile from a boundary (LINEAR, to nearest,
base E, codes from the stored numbers), and the tile. Prints nothing of the package: the rules are the
tests' oracle's. What it found stands in tests/logfmt/test_logfmt_boundaries.py.
"""

from __future__ import annotations

import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
import mpmath
import reference_logfmt as oracle

LONG, F = np.longdouble, np.float32
CHUNK = 1 << 20


def wide(rng: np.random.Generator, count: int) -> list[tuple[float, ...]]:
    """(distance, bits, xmin, v, xmax): tiles from 2**-20..1 to 1..2**12, float32 beside a random boundary."""
    bits = rng.integers(3, 17, count)
    steps = (1 << (bits - 1)) - 2
    low = np.exp2(-20 * rng.random(count)).astype(F)
    high = np.exp2(12 * rng.random(count)).astype(F)
    k = (1 + rng.random(count) * steps).astype(np.int64)
    log_low, log_high = np.log(low.astype(LONG)), np.log(high.astype(LONG))
    start, step = log_low.astype(F).astype(LONG), ((log_high - log_low) / steps).astype(F).astype(LONG)
    between = np.exp(start + step * (k - 1)) * (1 + np.exp(step)) / 2
    v = between.astype(F)
    return best(np.abs(v / between - 1), bits, low, v, high)


def narrow(
    rng: np.random.Generator, count: int, unit: float, metadata: str, reach: int, one: bool
) -> list[tuple[float, ...]]:
    """The same for tiles from 1 - i*unit to 1 + 2*j*unit, where step is tiny; v is 1, or anywhere."""
    bits = rng.integers(3, 17, count)
    steps = (1 << (bits - 1)) - 2
    i, j = rng.integers(1, reach, count), rng.integers(1, reach, count)
    low, high = -i * LONG(unit), 2 * j * LONG(unit)
    log_low, log_high = np.log1p(low), np.log1p(high)
    start, step = stored(log_low, metadata), stored((log_high - log_low) / steps, metadata)
    v = np.zeros(count) if one else 2 * rng.integers(-i // 2, j + 1) * LONG(unit)
    log_v = np.log1p(v)
    k = np.clip(np.rint((log_v - start) / step + LONG(0.5)), 1, steps)
    off = start + step * (k - LONG(0.5)) - log_v + step * step / 8  # of logarithms, but for step**4/192
    return best(np.abs(off), bits, 1 + low, 1 + v, 1 + high)


def stored(x: Any, metadata: str) -> Any:
    """Rounded to FP32, or to BF16 (24 or 8 bits; the numbers are far from subnormal)."""
    fraction, exponent = np.frexp(x)
    places = {"fp32": 24, "bf16": 8}[metadata]
    return np.ldexp(np.rint(np.ldexp(fraction, places)), exponent - places)


def best(distance: Any, bits: Any, low: Any, v: Any, high: Any) -> list[tuple[float, ...]]:
    inside = np.where((low < v) & (v < high), distance, 1)
    return [
        (float(inside[i]), int(bits[i]), float(low[i]), float(v[i]), float(high[i]))
        for i in np.argsort(inside)[:4]
    ]


def confirmed(case: tuple[float, ...], metadata: str) -> float:
    """log2 of the distance, by the oracle's own boundary."""
    _, bits, low, v, high = case
    spec = oracle.Spec(int(bits), metadata_format=metadata)
    tile = oracle.tile_of(Fraction(low), Fraction(high), False, spec)
    k = oracle.magnitude(Fraction(v), tile, None, spec)
    with mpmath.mp.workprec(400):
        found = []
        for i in (max(1, k - 1), min(k, spec.steps)):
            at = mpmath.fsum(
                oracle.number(w) * term.value() for w, term in oracle.boundary(tile, i, None, spec)
            )
            found.append(abs(mpmath.mpf(v) / at - 1))
        return float(mpmath.log(min(found), 2))


def main(millions: int) -> None:
    searches = {
        "float32, wide tiles, FP32 metadata": (wide, (), "fp32"),
        "float32 near 1, FP32 metadata": (narrow, (2.0**-24, "fp32", 256, False), "fp32"),
        "the number 1 among float32, FP32 metadata": (narrow, (2.0**-24, "fp32", 4096, True), "fp32"),
        "the number 1 among float32, BF16 metadata": (narrow, (2.0**-24, "bf16", 1024, True), "bf16"),
        "the number 1 among float64, FP32 metadata": (narrow, (2.0**-53, "fp32", 1024, True), "fp32"),
        "the number 1 among float64, BF16 metadata": (narrow, (2.0**-53, "bf16", 1024, True), "bf16"),
    }
    for name, (search, arguments, metadata) in searches.items():
        rng = np.random.Generator(np.random.Philox(1))
        found: list[tuple[float, ...]] = []
        for _ in range(millions):
            found = sorted({*found, *search(rng, CHUNK, *arguments)})[:4]  # type: ignore[operator]
        print(f"{name}: {millions * CHUNK} boundaries", flush=True)
        for case in found:
            bits, ends = case[1], [float(c).hex() for c in case[2:]]
            print(f"    2**{confirmed(case, metadata):.2f}  LogFMT({bits}) xmin, v, xmax = {', '.join(ends)}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 8)
