"""How products are summed: the kinds of accumulators, what each must answer, and their text."""

from precision.accumulators._accumulator import (
    BLACKWELL_MX,
    BLACKWELL_NVFP4,
    EXACT,
    FP32_FMA,
    HOPPER_BF16,
    HOPPER_FP8,
    HOPPER_FP8_ACC16,
    HOPPER_FP16,
    HOPPER_FP16_ACC16,
    HOPPER_TF32,
    NAMED,
    Accumulator,
    Exact,
    FmaChain,
    FusedSum,
    parse,
)
from precision.accumulators._inner_scales import ScaledGroups, ScaledProducts

__all__ = [
    "BLACKWELL_MX",
    "BLACKWELL_NVFP4",
    "EXACT",
    "FP32_FMA",
    "HOPPER_BF16",
    "HOPPER_FP8",
    "HOPPER_FP8_ACC16",
    "HOPPER_FP16",
    "HOPPER_FP16_ACC16",
    "HOPPER_TF32",
    "NAMED",
    "Accumulator",
    "Exact",
    "FmaChain",
    "FusedSum",
    "ScaledGroups",
    "ScaledProducts",
    "parse",
]
