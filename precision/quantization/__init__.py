"""Arrays as codes and scales: specs, scale rules, quantized tensors, microscaling formats, rotations.

Every named spec is an attribute of this room: `precision.quantization.MXFP8_E4M3`.
"""

from precision.quantization import _microscaling  # noqa: F401 -- it enters its specs
from precision.quantization._granularity import Block, Granularity, PerBlock, PerGroup, PerTensor, PerVector
from precision.quantization._hadamard_rotation import TRANSFORMER_ENGINE_SIGNS, Hadamard
from precision.quantization._quant_spec import QuantSpec
from precision.quantization._quant_spec import find_spec as __getattr__  # noqa: F401 -- Python asks for it
from precision.quantization._quant_spec import list_names as __dir__  # noqa: F401 -- Python asks for it
from precision.quantization._quantized_tensor import QuantizedTensor
from precision.quantization._scale_rules import Arithmetic, NonFinite, ScaleRule

__all__ = [
    "TRANSFORMER_ENGINE_SIGNS", "Arithmetic", "Block", "Granularity", "Hadamard", "NonFinite", "PerBlock",
    "PerGroup", "PerTensor", "PerVector", "QuantSpec", "QuantizedTensor", "ScaleRule",
]  # fmt: skip
