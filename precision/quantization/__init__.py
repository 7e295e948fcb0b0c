"""Arrays as codes and scales: specs, scale rules, quantized tensors, microscaling formats, rotations."""

from precision._support._moved_names import raise_for_quantization as __getattr__  # noqa: F401 -- Python asks for it
from precision.quantization._granularity import Block, Granularity, PerBlock, PerGroup, PerTensor, PerVector
from precision.quantization._hadamard_rotation import TRANSFORMER_ENGINE_SIGNS, Hadamard
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
from precision.quantization._quant_spec import QuantSpec
from precision.quantization._quantized_tensor import QuantizedTensor
from precision.quantization._scale_rules import Arithmetic, NonFinite, ScaleRule

__all__ = [
    "MXFP4", "MXFP6_E2M3", "MXFP6_E3M2", "MXFP8_E4M3", "MXFP8_E5M2", "MXINT4", "MXINT8", "NVFP4",
    "NVFP4_4OVER6", "NVFP4_TE", "NVINT4", "TRANSFORMER_ENGINE_SIGNS", "Arithmetic", "Block", "Granularity",
    "Hadamard", "NonFinite", "PerBlock", "PerGroup", "PerTensor", "PerVector", "QuantSpec",
    "QuantizedTensor", "ScaleRule",
]  # fmt: skip
