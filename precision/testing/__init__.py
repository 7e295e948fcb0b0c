"""Conformance checks of other people's quantizers, packers and matrix products; Hypothesis strategies.

`check_quantizer`, `check_dequantizer`, `check_roundtrip`, `check_packing` and `check_matmul` try a callable
on everything that is hard and return a `Report`; `quantizer_properties` and its kin give the same properties
one by one, for pytest.
The Hypothesis strategies (extra ``testing``) are in `precision.testing.strategies`.
"""

from precision.bounds import error_bound, explain
from precision.testing._calls import Fault
from precision.testing._properties import Property
from precision.testing._reports import CheckFailed, Outcome, Report, Verdict
from precision.testing.blocks._dequantizer_checks import (
    check_dequantizer,
    check_roundtrip,
    dequantizer_properties,
)
from precision.testing.blocks._quantizer_checks import check_quantizer, quantizer_properties
from precision.testing.matmuls._matmul_checks import check_matmul, declared_accumulator, matmul_properties
from precision.testing.packing._packing_checks import check_packing

__all__ = [
    "CheckFailed",
    "Fault",
    "Outcome",
    "Property",
    "Report",
    "Verdict",
    "check_dequantizer",
    "check_matmul",
    "check_packing",
    "check_quantizer",
    "check_roundtrip",
    "declared_accumulator",
    "dequantizer_properties",
    "error_bound",
    "explain",
    "matmul_properties",
    "quantizer_properties",
]
