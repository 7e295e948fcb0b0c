"""Two sums that no matrix unit computes, plain float32 and exact, with which the units are compared."""

from __future__ import annotations

from precision.accumulators.kinds._exact import Exact
from precision.accumulators.kinds._fma_chain import FmaChain
from precision.units._catalogue import Evidence, unit

#: Plain float32: one fused multiply-add a product, in the order of K.
FP32_FMA = unit(
    "FP32_FMA", FmaChain(),
    instruction="fma.rn.f32 in the order of K", gpus=("any",),
    evidence=Evidence.DEFINED, source="IEEE 754-2019, section 5.4.1",
)  # fmt: skip
#: The correctly rounded sum of the exact products.
EXACT = unit(
    "EXACT", Exact(),
    instruction="none: the reference that others are compared with", gpus=(),
    evidence=Evidence.DEFINED, source="the exact sum, rounded once",
)  # fmt: skip
