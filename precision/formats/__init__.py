"""Formats of numbers, and rounding, encoding and decoding to them."""

from precision.formats._codec import decode, encode, round_to  # noqa: I001 -- many names a line
from precision.formats._float_format import FloatFormat, Specials
from precision.formats._int_format import IntFormat
from precision.formats._named import (
    BF16, E2M1, E2M3, E3M2, E3M4, E4M3, E4M3_IEEE, E4M3B11FNUZ, E4M3FNUZ, E5M2, E5M2FNUZ, E5M6, E8M0, E8M13,
    FP16, FP32, FP64, INT2, INT4, INT8, MXINT8, NAMED, TF32, UE4M3, UE5M3, UINT1, UINT2, UINT4, UINT8, Format,
    format_of, parse_format,
)  # fmt: skip
from precision.formats._rounding_modes import Overflow, Rounding, Stochastic

__all__ = [
    "BF16", "E2M1", "E2M3", "E3M2", "E3M4", "E4M3", "E4M3B11FNUZ", "E4M3FNUZ", "E4M3_IEEE", "E5M2",
    "E5M2FNUZ", "E5M6", "E8M0", "E8M13", "FP16", "FP32", "FP64", "INT2", "INT4", "INT8", "MXINT8", "NAMED",
    "TF32", "UE4M3", "UE5M3", "UINT1", "UINT2", "UINT4", "UINT8", "FloatFormat", "Format", "IntFormat",
    "Overflow", "Rounding", "Specials", "Stochastic", "decode", "encode", "format_of", "parse_format",
    "round_to",
]  # fmt: skip
