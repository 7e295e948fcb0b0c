"""Is a quantizer right? Hypothesis strategies and conformance checks for *other people's* code."""

from precision.testing._calls import Fault
from precision.testing._properties import Property
from precision.testing._report import CheckFailed, Outcome, Report, Verdict
from precision.testing.quantizers import check_quantizer, quantizer_properties

__all__ = [
    "CheckFailed",
    "Fault",
    "Outcome",
    "Property",
    "Report",
    "Verdict",
    "check_quantizer",
    "quantizer_properties",
]
