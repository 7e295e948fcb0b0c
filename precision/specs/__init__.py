"""Any spec as text, and quantizing by it."""

from precision.specs._quantize import Spec, quantize
from precision.specs._spec_text import AnySpec, check_suits, for_operands, parse

__all__ = ["AnySpec", "Spec", "check_suits", "for_operands", "parse", "quantize"]
