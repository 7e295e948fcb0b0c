"""The catalogue of matrix units, each with its instruction, its GPUs and the evidence for it."""

from precision.units._catalogue import CATALOGUE, Evidence, Unit
from precision.units._nvidia import (
    BLACKWELL_MX,
    BLACKWELL_NVFP4,
    HOPPER_BF16,
    HOPPER_FP8,
    HOPPER_FP8_ACC16,
    HOPPER_FP16,
    HOPPER_FP16_ACC16,
    HOPPER_TF32,
)
from precision.units._plain_arithmetic import EXACT, FP32_FMA

__all__ = [
    "BLACKWELL_MX",
    "BLACKWELL_NVFP4",
    "CATALOGUE",
    "EXACT",
    "FP32_FMA",
    "HOPPER_BF16",
    "HOPPER_FP8",
    "HOPPER_FP8_ACC16",
    "HOPPER_FP16",
    "HOPPER_FP16_ACC16",
    "HOPPER_TF32",
    "Evidence",
    "Unit",
]
