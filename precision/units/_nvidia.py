"""Matrix units of NVIDIA's GPUs, one entry each.

A new unit is one entry here, and nothing else changes.
"""

from __future__ import annotations

from precision.accumulators._inner_scales import ScaledGroups, ScaledProducts
from precision.accumulators.kinds._fused_sum import FusedSum
from precision.formats._named import BF16, E2M1, E2M3, E3M2, E4M3, E5M2, E8M13, FP16, TF32
from precision.formats._rounding_modes import Rounding
from precision.units._catalogue import Evidence, unit

_HOPPER = ("H100", "H200")
_BLACKWELL = ("B200", "RTX Blackwell")
_HERE = "measured on an H100 and an H200; tests/vectors"
_MMA_SIM = "MMA-Sim, arXiv 2511.10909"

#: FP8 operands into FP32: 13 fraction bits are kept while products are added.
HOPPER_FP8 = unit(
    "HOPPER_FP8", FusedSum((E4M3, E5M2), 32, fraction_bits=13, register=E8M13),
    instruction="wgmma, FP8 operands, FP32 accumulator", gpus=_HOPPER,
    evidence=Evidence.RECORDED, source=_HERE,
)  # fmt: skip
#: FP8 operands into FP16: the exact sum is rounded once, to nearest even.
HOPPER_FP8_ACC16 = unit(
    "HOPPER_FP8_ACC16",
    FusedSum((E4M3, E5M2), 32, fraction_bits=13, register=FP16, min_exponent=-21,
             register_rounding=Rounding.TIES_TO_EVEN),
    instruction="wgmma, FP8 operands, FP16 accumulator", gpus=_HOPPER,
    evidence=Evidence.RECORDED, source=_HERE,
)  # fmt: skip
#: FP16 operands into FP32.
HOPPER_FP16 = unit(
    "HOPPER_FP16", FusedSum((FP16,), 16, fraction_bits=25),
    instruction="wgmma and mma.sync, FP16 operands, FP32 accumulator", gpus=_HOPPER,
    evidence=Evidence.RECORDED, source=_HERE,
)  # fmt: skip
#: BF16 operands into FP32.
HOPPER_BF16 = unit(
    "HOPPER_BF16", FusedSum((BF16,), 16, fraction_bits=25),
    instruction="wgmma and mma.sync, BF16 operands, FP32 accumulator", gpus=_HOPPER,
    evidence=Evidence.RECORDED, source=_HERE,
)  # fmt: skip
#: FP16 operands into FP16.
HOPPER_FP16_ACC16 = unit(
    "HOPPER_FP16_ACC16",
    FusedSum((FP16,), 16, fraction_bits=25, register=FP16, min_exponent=-21,
             register_rounding=Rounding.TIES_TO_EVEN),
    instruction="wgmma and mma.sync, FP16 operands, FP16 accumulator", gpus=_HOPPER,
    evidence=Evidence.RECORDED, source=_HERE,
)  # fmt: skip
#: TF32 operands, given as float32 whose low 13 bits the unit ignores.
HOPPER_TF32 = unit(
    "HOPPER_TF32", FusedSum((TF32,), 8, fraction_bits=25),
    instruction="wgmma and mma.sync, TF32 operands, FP32 accumulator", gpus=_HOPPER,
    evidence=Evidence.RECORDED, source=_HERE,
)  # fmt: skip
#: MX operands, whose scales of powers of two the unit takes itself.
BLACKWELL_MX = unit(
    "BLACKWELL_MX",
    FusedSum((E4M3, E5M2, E2M3, E3M2, E2M1), 32, fraction_bits=25, scale_in_unit=ScaledProducts()),
    instruction="tcgen05.mma and mma.sync with block scaling, MX operands", gpus=_BLACKWELL,
    evidence=Evidence.PUBLISHED, source=_MMA_SIM,
)  # fmt: skip
#: NVFP4 operands, or MXFP4 with its blocks of 32.
BLACKWELL_NVFP4 = unit(
    "BLACKWELL_NVFP4",
    FusedSum((E2M1,), 64, fraction_bits=35, min_exponent=-139, scale_in_unit=ScaledGroups(16)),
    instruction="tcgen05.mma and mma.sync with block scaling, NVFP4 operands", gpus=_BLACKWELL,
    evidence=Evidence.PUBLISHED, source=_MMA_SIM,
)  # fmt: skip
