"""The peak of a product's memory beside its output, as a multiple of its operands' codes.

tracemalloc counts it, to which NumPy tells the size of every array: exactly, the same at every run, and
without what Numba and LLVM hold, among which a peak of the whole process (``resource.getrusage``) would not
show it. Arrays made inside the kernels are not counted; they are of the size of a thread's tile.
"""

from __future__ import annotations

import functools
import tracemalloc
from typing import Any

import precision as pr
from benchmarks.bench_gemm import SQUARE, operands
from benchmarks.measuring import Row, Side, Yardstick, as_test

PRODUCTS = {
    "HOPPER_FP8": (pr.E4M3, pr.HOPPER_FP8, SQUARE),
    "HOPPER_FP8, 1x128 by 128x128 scales": ("1x128 by 128x128", pr.HOPPER_FP8.promoted(128), SQUARE),
    "HOPPER_FP8, 16 rows": (pr.E4M3, pr.HOPPER_FP8, (16, 4096, 4096)),
    "HOPPER_BF16": (pr.BF16, pr.HOPPER_BF16, SQUARE),
    "BLACKWELL_MX on MXFP8": (pr.MXFP8_E4M3, pr.BLACKWELL_MX, SQUARE),
    "BLACKWELL_NVFP4": (pr.NVFP4, pr.BLACKWELL_NVFP4, SQUARE),
}


def codes(x: Any) -> Any:
    """Return an operand's codes."""
    return getattr(x, "codes", x)


def peak(kind: Any, unit: pr.Accumulator, shape: tuple[int, int, int]) -> Side:
    """Return the peak of a product's memory, less its output."""
    a, b = operands(kind, shape=shape)
    pr.matmul(a, b, accumulator=unit)  # what is kept from the first call on is not the product's

    def side() -> float:
        tracemalloc.start()
        try:
            out = pr.matmul(a, b, accumulator=unit)
            return tracemalloc.get_traced_memory()[1] - out.nbytes
        finally:
            tracemalloc.stop()

    return side


def operand_codes(kind: Any, shape: tuple[int, int, int]) -> Side:
    """Return the size of the operands' codes."""
    size = sum(codes(x).nbytes for x in operands(kind, shape=shape))
    return lambda: size


ROWS = tuple(
    Row(
        f"peak memory of {name}",
        Yardstick("its operands' codes", functools.partial(operand_codes, kind, shape)),
        make=functools.partial(peak, kind, unit, shape),
        bar=4.5 if kind is pr.NVFP4 else 4,  # of NVFP4, 4.25 measured
        goal=4 if kind is pr.NVFP4 else None,
        cost=True,
        headline=name == "HOPPER_FP8",
        unit="B",
    )
    for name, (kind, unit, shape) in PRODUCTS.items()
)

test_row = as_test(ROWS)
