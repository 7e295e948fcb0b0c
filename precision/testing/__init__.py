"""Is a quantizer right? Hypothesis strategies and conformance checks for *other people's* code.

`check_quantizer`, `check_dequantizer`, `check_roundtrip`, `check_packing` and `check_matmul` try a callable
on everything that is hard and return a `Report`; `quantizer_properties` and its kin give the same properties
one by one, for pytest.
The Hypothesis strategies (extra ``testing``) are in `precision.testing.strategies`.
"""

from precision.bounds import error_bound, explain
from precision.testing._calls import Fault
from precision.testing._properties import Property
from precision.testing._report import CheckFailed, Outcome, Report, Verdict
from precision.testing.dequantizers import check_dequantizer, check_roundtrip, dequantizer_properties
from precision.testing.matmuls import check_matmul, matmul_properties
from precision.testing.packers import check_packing
from precision.testing.quantizers import check_quantizer, quantizer_properties

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
    "dequantizer_properties",
    "error_bound",
    "explain",
    "matmul_properties",
    "quantizer_properties",
]
