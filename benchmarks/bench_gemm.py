"""Products against NumPy's float32 ``@`` of the same shape, everything included: checks, packing, scales.

Operands are codes, or quantized tensors with scales. mmasim's model of Hopper's wgmma
(``pip install torch==2.13.0 mmasim``), whose bits must agree, is timed at the shape at which it is fastest.
"""

from __future__ import annotations

import functools
import timeit
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import precision as pr
from benchmarks.measuring import Row, Side, Yardstick, as_test, timed
from benchmarks.yardsticks import AFTER_BLAS, blas, normal

SQUARE = (2048, 2048, 2048)
FP8_TENSORS = {
    "1x128 by 128x128": (pr.PerGroup(128), pr.PerBlock(128, 128)),
    "row-wise": (pr.PerVector(), pr.PerVector()),
}
"""How the operands of a scaled product are divided."""


@functools.cache
def operands(kind: Any, *outer: int, shape: tuple[int, int, int]) -> tuple[Any, Any]:
    """Return operands for a product: codes of a format, tensors of a spec, or those of `FP8_TENSORS`."""
    m, k, n = shape
    a, b = normal(*outer, m, k), normal(*outer, k, n, seed=1)
    if kind in FP8_TENSORS:
        left, right = (pr.QuantSpec(pr.E4M3, division) for division in FP8_TENSORS[kind])
        return pr.quantize(a, left), pr.quantize(b, right, axis=-2)
    if isinstance(kind, pr.QuantSpec):
        return pr.quantize(a, kind), pr.quantize(b, kind, axis=-2)
    if kind is None:
        return a, b
    scale = 30 if kind is pr.E4M3 else 1
    return pr.encode(scale * a, kind), pr.encode(scale * b, kind)


def product(
    kind: Any,
    unit: pr.Accumulator | None = None,
    *,
    shape: tuple[int, int, int] = SQUARE,
    outer: Sequence[int] = (),
    transposed: bool = False,
) -> Callable[[], Side]:
    """Return what prepares the time of a product."""

    def make() -> Side:
        a, b = operands(kind, *outer, shape=shape)
        b = b.T if transposed else b
        return timed(lambda: pr.matmul(a, b, accumulator=unit), rest=AFTER_BLAS)

    return make


# ---- a multiply-add's cost over K -------------------------------------------------------------------
LENGTHS = (256, 1024, 16384)
USUAL_LENGTH = 4096


def multiply_add(k: int) -> Side:
    """Return the seconds that a product of 1024 x K x 1024 takes for each multiply-add."""
    a, b = operands(pr.E4M3, shape=(1024, k, 1024))
    repeats = max(1, USUAL_LENGTH // k)  # about as long for every K
    side = timed(lambda: [pr.matmul(a, b) for _ in range(repeats)])
    return lambda: side() / (repeats * 1024 * 1024 * k)


# ---- mmasim -----------------------------------------------------------------------------------------
MMASIM_SHAPES = ((16, 16, 32), (64, 8, 32), (64, 64, 32), (64, 256, 32), (64, 64, 256), (128, 128, 1024))


def mmasim() -> Side:
    """Return mmasim's seconds for each multiply-add at its best shape, after a check of the bits."""
    import torch
    from mmasim.nv_ptx import WGMMA

    torch.set_num_threads(2)
    model = WGMMA("Hopper", "m64n8k32.f32.e4m3.e4m3")
    times = {}
    for m, n, k in MMASIM_SHAPES:
        codes = operands(pr.E4M3, shape=(m, k, n))
        a, b = (torch.from_numpy(x.view(np.uint8)).view(torch.float8_e4m3fn) for x in codes)
        c = torch.zeros((m, n))
        found = model(a, b, c).numpy()
        assert np.array_equal(found.view(np.uint32), pr.matmul(*codes).view(np.uint32)), (m, n, k)
        call = functools.partial(model, a, b, c)
        times[call, m * n * k] = timeit.timeit(call, number=1) / (m * n * k)
    best, size = min(times, key=lambda found: times[found])
    side = timed(best)
    return lambda: side() / size


def square_multiply_add() -> Side:
    """Return the seconds that our square product takes for each multiply-add."""
    side = product(pr.E4M3, pr.HOPPER_FP8)()
    return lambda: side() / 2048**3


# ---- the rows ---------------------------------------------------------------------------------------
BLAS, BATCH_SHAPE = blas(*SQUARE), (16, 1024, 64)
SKINNY = {1: 0.14, 4: 0.28, 16: 0.45}
"""The goals for so many rows."""
ROWS = (
    Row("HOPPER_FP8", BLAS, make=product(pr.E4M3, pr.HOPPER_FP8), bar=0.17, goal=0.25, headline=True),
    Row("HOPPER_FP8, b transposed", BLAS, make=product(pr.E4M3, pr.HOPPER_FP8, transposed=True), bar=0.17),
    Row(
        "HOPPER_FP8 promoted every 128",
        BLAS,
        make=product(pr.E4M3, pr.HOPPER_FP8.promoted(128)),
        bar=0.17,
        goal=0.24,
        headline=True,
    ),
    Row(
        "HOPPER_FP8, row-wise scales",
        BLAS,
        make=product("row-wise", pr.HOPPER_FP8.promoted(128)),
        bar=0.17,
    ),
    Row(
        "HOPPER_FP8, 1x128 by 128x128 scales",
        BLAS,
        make=product("1x128 by 128x128", pr.HOPPER_FP8.promoted(128)),
        bar=0.17,
        goal=0.24,
        headline=True,
    ),
    Row("HOPPER_BF16", BLAS, make=product(pr.BF16, pr.HOPPER_BF16), bar=0.13, goal=0.17, headline=True),
    Row("HOPPER_FP16", BLAS, make=product(pr.FP16, pr.HOPPER_FP16), bar=0.13, goal=0.17),
    Row("HOPPER_FP16_ACC16", BLAS, make=product(pr.FP16, pr.HOPPER_FP16_ACC16)),
    Row("HOPPER_FP8 with 20 bits", BLAS, make=product(pr.E4M3, pr.HOPPER_FP8.with_width(20)), bar=0.13),
    Row("HOPPER_FP8 with 30 bits", BLAS, make=product(pr.E4M3, pr.HOPPER_FP8.with_width(30)), bar=0.06),
    Row("HOPPER_FP8_ACC16", BLAS, make=product(pr.E4M3, pr.HOPPER_FP8_ACC16), bar=0.05),
    Row("HOPPER_TF32", BLAS, make=product(None, pr.HOPPER_TF32), bar=0.08),
    Row(
        "BLACKWELL_MX on MXFP8",
        BLAS,
        make=product(pr.MXFP8_E4M3, pr.BLACKWELL_MX),
        bar=0.12,
        goal=0.20,
        headline=True,
    ),
    Row(
        "BLACKWELL_NVFP4", BLAS, make=product(pr.NVFP4, pr.BLACKWELL_NVFP4), bar=0.1, goal=0.20, headline=True
    ),
    Row("FP32_FMA", BLAS, make=product(pr.E4M3, pr.FP32_FMA), bar=0.3),
    Row("EXACT", BLAS, make=product(pr.E4M3, pr.EXACT), bar=0.2),
    *(
        Row(
            f"HOPPER_FP8, {m} row{'s' if m > 1 else ''}",
            blas(m, 4096, 4096),
            make=product(pr.E4M3, pr.HOPPER_FP8, shape=(m, 4096, 4096)),
            goal=goal,
            headline=True,
        )
        for m, goal in SKINNY.items()
    ),
    Row(
        "HOPPER_FP8, 32 products",
        blas(*BATCH_SHAPE, batch=32),
        make=product(pr.E4M3, pr.HOPPER_FP8, shape=BATCH_SHAPE, outer=(32,)),
        goal=0.4,
        headline=True,
    ),
    # The cost of a multiply-add does not depend on K. (Small products pay besides for the call.)
    *(
        Row(
            f"HOPPER_FP8's multiply-add at K = {k}",
            Yardstick(f"one at K = {USUAL_LENGTH}", lambda: multiply_add(USUAL_LENGTH)),
            make=functools.partial(multiply_add, k),
            bar=1.35,
            cost=True,
        )
        for k in LENGTHS
    ),
    Row(
        "HOPPER_FP8 against mmasim",
        Yardstick("mmasim's wgmma at its best shape", mmasim),
        make=square_multiply_add,
        bar=500,
        needs=("torch", "mmasim"),
        headline=True,
    ),
)
"""Products of 2048 x 2048 matrices, unless a yardstick names another shape (M x K x N)."""

test_row = as_test(ROWS)
