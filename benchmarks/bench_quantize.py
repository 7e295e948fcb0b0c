"""Quantizing 16M float32 numbers in groups, and back, on two threads, against copies.

Right operands are quantized along ``axis=-2``, across the rows in memory. MX and NVFP4: `bench_microscaling`.
"""

from __future__ import annotations

from collections.abc import Callable

import precision as pr
from benchmarks.measuring import Row, Side, as_test, timed
from benchmarks.yardsticks import COPY, NEW_COPY, SHAPE, normal

GROUPS = pr.QuantSpec(pr.E4M3, pr.PerGroup(128))
BLOCKS = pr.QuantSpec(pr.E4M3, pr.PerBlock(128, 128))
OTHERS = {
    "one scale": pr.QuantSpec(pr.E4M3, pr.PerTensor()),
    "row-wise": pr.QuantSpec(pr.E4M3, pr.PerVector()),
    "int8 1x128": pr.QuantSpec(pr.parse_format("int8"), pr.PerGroup(128)),
    "1x128 TOWARD_ZERO": pr.QuantSpec(pr.E4M3, pr.PerGroup(128), rounding=pr.Rounding.TOWARD_ZERO),
}


def quantizes(spec: pr.QuantSpec, axis: int = -1, *, new: bool = False) -> Callable[[], Side]:
    """Return what prepares a `quantize` into given or new arrays."""

    def make() -> Side:
        x = normal(*SHAPE)
        out = None if new else pr.quantize(x, spec, axis)
        return timed(lambda: pr.quantize(x, spec, axis, out=out))

    return make


def dequantizes() -> Side:
    """Return the time of a `dequantize` into a new array."""
    return timed(pr.quantize(normal(*SHAPE), GROUPS).dequantize)


ROWS = (
    Row(
        "quantize E4M3 1x128",
        COPY,
        make=quantizes(GROUPS),
        bar=0.6,
        goal=0.9,
        headline=True,
    ),
    Row(
        "quantize E4M3 1x128, new arrays",
        NEW_COPY,
        make=quantizes(GROUPS, new=True),
        bar=0.35,
        goal=0.9,
        headline=True,
    ),
    Row("quantize E4M3 1x128, axis -2", COPY, make=quantizes(GROUPS, -2)),
    Row("quantize E4M3 128x128", COPY, make=quantizes(BLOCKS), headline=True),
    Row("quantize E4M3 128x128, axis -2", COPY, make=quantizes(BLOCKS, -2)),
    *(Row(f"quantize {name}", COPY, make=quantizes(spec)) for name, spec in OTHERS.items()),
    Row(
        "quantize E4M3 1x128, stochastic with 8 bits",
        COPY,
        make=quantizes(pr.QuantSpec(pr.E4M3, pr.PerGroup(128), rounding=pr.Stochastic(bits=8))),
        goal=0.25,
        headline=True,
    ),
    Row("dequantize E4M3 1x128, new array", NEW_COPY, make=dequantizes),
)
"""Quantizing into given arrays, unless a row says otherwise."""

test_row = as_test(ROWS)
