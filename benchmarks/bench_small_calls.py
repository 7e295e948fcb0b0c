"""Repeated calls on arrays of 4x128, as multiples of ``x.astype(ml_dtypes.float8_e4m3fn)`` of the same array.

Each is timed hot, with one thread and with two.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np

import precision as pr
from benchmarks.measuring import Row, Side, Yardstick, as_test, timed
from benchmarks.yardsticks import normal

GROUPS = pr.QuantSpec(pr.E4M3, pr.PerGroup(128))
BLOCKS = pr.QuantSpec(pr.E4M3, pr.PerBlock(128, 128))


def small() -> np.ndarray:
    """Return the array."""
    return normal(4, 128)


def weights() -> np.ndarray:
    """Return the right operand of a product."""
    return normal(128, 8)


def call(function: Callable[..., object], *operands: Callable[[], object]) -> Callable[[], Side]:
    """Return what prepares the time of a call on the operands, which are made first."""
    return lambda: timed(functools.partial(function, *(operand() for operand in operands)))


def quantize(spec: pr.QuantSpec | pr.LogFMT) -> Callable[[], Side]:
    """Return what prepares the time of a `quantize`."""
    return call(lambda x: pr.quantize(x, spec), small)


CAST = Yardstick("`astype` to E4M3 of the array", call(lambda x: x.astype(pr.E4M3.dtype), small))
CALLS = {
    "round_to of 4x128": (call(lambda x: pr.round_to(x, pr.E4M3), small), 3),
    "encode of 4x128": (call(lambda x: pr.encode(x, pr.E4M3), small), 3),
    "quantize 1x128 of 4x128": (quantize(GROUPS), 5),
    "quantize MXFP8 of 4x128": (quantize(pr.MXFP8_E4M3), 5),
    "quantize NVFP4 of 4x128": (quantize(pr.NVFP4), 5),
    "quantize LogFMT-8 of 4x128": (quantize(pr.LogFMT(8)), 8),
    "dequantize 1x128 of 4x128": (call(lambda q: q.dequantize(), lambda: pr.quantize(small(), GROUPS)), 4),
    "matmul of 4x128x8": (
        call(pr.matmul, lambda: pr.encode(small(), pr.E4M3), lambda: pr.encode(weights(), pr.E4M3)),
        8,
    ),
    "matmul of 4x128x8 with scales": (
        call(
            functools.partial(pr.matmul, accumulator=pr.HOPPER_FP8.promoted(128)),
            lambda: pr.quantize(small(), GROUPS),
            lambda: pr.quantize(weights(), BLOCKS, axis=-2),
        ),
        None,
    ),
}
"""What prepares each call, and its bar."""
ROWS = tuple(
    Row(
        f"{name}{', one thread' if threads == 1 else ''}",
        CAST,
        make=make,
        bar=bar,
        cost=True,
        headline=threads == 2 and bar is not None and "encode" not in name,
        threads=threads,
    )
    for threads in (2, 1)
    for name, (make, bar) in CALLS.items()
)

test_row = as_test(ROWS)
