"""Any spec as text, and quantizing by it."""

from precision.specs._spec_text import AnySpec, check_suits, for_operands, parse, quantize

__all__ = ["AnySpec", "check_suits", "for_operands", "parse", "quantize"]
