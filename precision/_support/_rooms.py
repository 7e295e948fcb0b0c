"""The public rooms and the everyday names of the package, each imported when it is first asked for."""

from __future__ import annotations

import importlib
import sys
from typing import Any

# Threads may ask for the first names; NumPy and ml_dtypes can be imported by one thread at a time.
import ml_dtypes  # noqa: F401
import numpy.typing  # noqa: F401

from precision._support import _moved_names

#: Every public room. A room that needs an extra raises an error that names it when it is imported.
ROOMS = (
    "accumulators", "bounds", "cost", "formats", "gemm", "hardware", "logfmt", "metrics", "plots",
    "quantization", "specs", "storage", "studies", "sweep", "testing", "units",
)  # fmt: skip

#: The names of `precision` itself, by the module that has them.
EVERYDAY = {
    "_support.machine._threads": ("get_num_threads", "set_num_threads"),
    "formats": (
        "BF16", "E2M1", "E2M3", "E3M2", "E4M3", "E5M2", "E5M6", "E8M0", "E8M13", "FP16", "FP32", "FP64",
        "TF32", "FloatFormat", "IntFormat", "Overflow", "Rounding", "Specials", "Stochastic", "decode",
        "encode", "format_of", "parse_format", "round_to",
    ),
    "quantization": (
        "Arithmetic", "Hadamard", "NonFinite", "PerBlock", "PerGroup", "PerTensor", "PerVector",
        "QuantizedTensor", "QuantSpec", "ScaleRule",
    ),
    "quantization._microscaling": (
        "MXFP4", "MXFP6_E2M3", "MXFP6_E3M2", "MXFP8_E4M3", "MXFP8_E5M2", "MXINT4", "MXINT8", "NVFP4",
        "NVFP4_4OVER6", "NVFP4_TE", "NVINT4",
    ),
    "logfmt": ("DEEPEP_LOGFMT10", "LogFMT", "LogFMTTensor"),
    "specs": ("quantize",),
    "accumulators": (
        "Exact", "FmaChain", "FusedSum", "ScaledGroups", "ScaledProducts", "parse_accumulator",
    ),
    "units._nvidia": (
        "BLACKWELL_MX", "BLACKWELL_NVFP4", "HOPPER_BF16", "HOPPER_FP8", "HOPPER_FP8_ACC16", "HOPPER_FP16",
        "HOPPER_FP16_ACC16", "HOPPER_TF32",
    ),
    "units._plain_arithmetic": ("EXACT", "FP32_FMA"),
    "gemm": ("Trace", "matmul", "trace"),
}  # fmt: skip
#: Everyday names that are other ones in their module.
RENAMED = {"parse_accumulator": "parse"}

_MODULES = {name: module for module, names in EVERYDAY.items() for name in names}


def import_name(name: str) -> Any:
    """Import an everyday name or a room, and return it as an attribute of `precision`.

    Raises
    ------
    AttributeError
        If there is no such name or room; the message says where a module of an earlier version went.
    """
    module = _MODULES.get(name)
    if module is not None:
        importlib.import_module(f"precision.{module.partition('.')[0]}")  # the room, then its module
        value = getattr(importlib.import_module(f"precision.{module}"), RENAMED.get(name, name))
        setattr(sys.modules["precision"], name, value)  # Python does not ask again
        return value
    if name in ROOMS:
        return importlib.import_module(f"precision.{name}")
    moved = f": {_moved_names.describe_move(name)}" if name in _moved_names.MODULES else ""
    raise AttributeError(f"module 'precision' has no attribute {name!r}{moved}", name=name)


def list_public_names() -> list[str]:
    """List the attributes of `precision` for `dir`: the rooms and the everyday names."""
    return sorted({*ROOMS, *sys.modules["precision"].__all__})


_moved_names.install_finder()
