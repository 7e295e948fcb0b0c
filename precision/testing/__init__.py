"""testing."""

from precision.testing.blocks._dequantizer_checks import (
    check_dequantizer,
    check_roundtrip,
    dequantizer_properties,
)
from precision.testing.blocks._quantizer_checks import Like, check_quantizer, parsed, quantizer_properties
from precision.testing.matmuls._matmul_checks import (
    Formats,
    Scales,
    Scaling,
    check_matmul,
    declared_accumulator,
    matmul_properties,
)
from precision.testing.packing._packing_checks import (
    SHOWN,
    Packed,
    Packing,
    check_packing,
    packing_properties,
)
from precision.testing.strategies._block_strategies import blocks
from precision.testing.strategies._format_strategies import (
    float_formats,
    formats,
    int_formats,
    overflows,
    roundings,
)
from precision.testing.strategies._number_strategies import arrays, codes, numbers
from precision.testing.strategies._spec_strategies import granularities, specs
from precision.testing.strategies._unit_strategies import accumulators, fused_sums

__all__ = [
    "SHOWN",
    "Formats",
    "Like",
    "Packed",
    "Packing",
    "Scales",
    "Scaling",
    "accumulators",
    "arrays",
    "blocks",
    "check_dequantizer",
    "check_matmul",
    "check_packing",
    "check_quantizer",
    "check_roundtrip",
    "codes",
    "declared_accumulator",
    "dequantizer_properties",
    "float_formats",
    "formats",
    "fused_sums",
    "granularities",
    "int_formats",
    "matmul_properties",
    "numbers",
    "overflows",
    "packing_properties",
    "parsed",
    "quantizer_properties",
    "roundings",
    "specs",
]
