"""What does low precision do to my numbers? Formats, quantizers and matrix units, bit for bit."""

from precision._support.machine._threads import get_num_threads, set_num_threads
from precision.accumulators._accumulator_text import parse as parse_accumulator
from precision.accumulators._inner_scales import ScaledGroups, ScaledProducts
from precision.accumulators.kinds._exact import Exact
from precision.accumulators.kinds._fma_chain import FmaChain
from precision.accumulators.kinds._fused_sum import FusedSum
from precision.formats._codec import decode, encode, round_to
from precision.formats._float_format import FloatFormat, Specials
from precision.formats._int_format import IntFormat
from precision.formats._named import (
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
    format_of,
    parse_format,
)
from precision.formats._rounding_modes import Overflow, Rounding, Stochastic
from precision.gemm._matrix_product import matmul
from precision.gemm._step_trace import Trace, trace
from precision.logfmt._logfmt_spec import DEEPEP_LOGFMT10, LogFMT, LogFMTTensor
from precision.quantization._granularity import PerBlock, PerGroup, PerTensor, PerVector
from precision.quantization._hadamard_rotation import Hadamard
from precision.quantization._microscaling import (
    MXFP4,
    MXFP6_E2M3,
    MXFP6_E3M2,
    MXFP8_E4M3,
    MXFP8_E5M2,
    MXINT4,
    MXINT8,
    NVFP4,
    NVFP4_4OVER6,
    NVFP4_TE,
    NVINT4,
)
from precision.quantization._quant_spec import QuantSpec, quantize
from precision.quantization._quantized_tensor import QuantizedTensor
from precision.quantization._scale_rules import Arithmetic, NonFinite, ScaleRule
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
    "BF16",
    "BLACKWELL_MX",
    "BLACKWELL_NVFP4",
    "DEEPEP_LOGFMT10",
    "E2M1",
    "E2M3",
    "E3M2",
    "E4M3",
    "E5M2",
    "E5M6",
    "E8M0",
    "E8M13",
    "EXACT",
    "FP16",
    "FP32",
    "FP32_FMA",
    "FP64",
    "HOPPER_BF16",
    "HOPPER_FP8",
    "HOPPER_FP8_ACC16",
    "HOPPER_FP16",
    "HOPPER_FP16_ACC16",
    "HOPPER_TF32",
    "MXFP4",
    "MXFP6_E2M3",
    "MXFP6_E3M2",
    "MXFP8_E4M3",
    "MXFP8_E5M2",
    "MXINT4",
    "MXINT8",
    "NVFP4",
    "NVFP4_4OVER6",
    "NVFP4_TE",
    "NVINT4",
    "TF32",
    "Arithmetic",
    "Exact",
    "FloatFormat",
    "FmaChain",
    "FusedSum",
    "Hadamard",
    "IntFormat",
    "LogFMT",
    "LogFMTTensor",
    "NonFinite",
    "Overflow",
    "PerBlock",
    "PerGroup",
    "PerTensor",
    "PerVector",
    "QuantSpec",
    "QuantizedTensor",
    "Rounding",
    "ScaleRule",
    "ScaledGroups",
    "ScaledProducts",
    "Specials",
    "Stochastic",
    "Trace",
    "decode",
    "encode",
    "format_of",
    "get_num_threads",
    "matmul",
    "parse_accumulator",
    "parse_format",
    "quantize",
    "round_to",
    "set_num_threads",
    "trace",
]
