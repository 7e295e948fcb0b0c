"""What does low precision do to my numbers? Formats, quantizers and matrix units, bit for bit."""

from precision._kernels._threads import get_num_threads, set_num_threads
from precision.accumulators import (
    EXACT,
    FP32_FMA,
    HOPPER_BF16,
    HOPPER_FP8,
    HOPPER_FP8_ACC16,
    HOPPER_FP16,
    HOPPER_FP16_ACC16,
    HOPPER_TF32,
    Exact,
    FmaChain,
    FusedSum,
)
from precision.accumulators import parse as parse_accumulator
from precision.codec import decode, encode, round_to
from precision.formats import (
    BF16,
    E2M1,
    E2M3,
    E3M2,
    E4M3,
    E5M2,
    E5M6,
    E8M0,
    E8M13,
    FP16,
    FP32,
    FP64,
    TF32,
    FloatFormat,
    IntFormat,
    Specials,
    format_of,
    parse_format,
)
from precision.gemm import matmul
from precision.quantized import QuantizedTensor, QuantSpec, quantize
from precision.rounding import Overflow, Rounding, Stochastic
from precision.scaling import PerBlock, PerGroup, PerTensor, PerVector, ScaleRule
