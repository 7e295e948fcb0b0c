"""Packing of codes, the order of scales in memory, and arrays and quantized tensors in files."""

from precision.formats._bit_packing import pack, unpack
from precision.storage._array_files import PACKED, TensorEntry, read_header, read_metadata, read_tensor
from precision.storage._scale_order import swizzle, unswizzle
from precision.storage._tensor_files import load, save

__all__ = [
    "PACKED",
    "TensorEntry",
    "load",
    "pack",
    "read_header",
    "read_metadata",
    "read_tensor",
    "save",
    "swizzle",
    "unpack",
    "unswizzle",
]
