"""The accumulators that a GEMM may have used instead of the declared one, each named as a mistake."""

from __future__ import annotations

from collections.abc import Iterator

from precision.accumulators._accumulator import Accumulator
from precision.accumulators._neighbours import in_float32
from precision.accumulators.kinds._fused_sum import FusedSum
from precision.formats._named import BF16, FP16, FP32, TF32
from precision.units._plain_arithmetic import EXACT, FP32_FMA

Unit = tuple[str, Accumulator | None]


def units(declared: Accumulator) -> Iterator[Unit]:
    """Yield other accumulators with the mistake that each would be: the declared one's neighbours first."""
    yield from declared.neighbours()
    step = declared.step
    if step is None:
        yield "accumulates in FP32, one fused multiply-add a product", FP32_FMA
        return
    if step.aligns:
        yield in_float32(declared), FP32_FMA
        yield in_float32(declared), FP32_FMA.promoted(declared.promotion)
    yield "sums exactly and rounds once", EXACT
    if not step.aligns:
        yield (
            "accumulates as a tensor core does: FP32 register, truncated",
            FusedSum((FP16, BF16, TF32, FP32), 16, fraction_bits=25),
        )
