"""Names of version 0.1 that moved, with errors that say where each one is now."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from types import ModuleType
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec

#: The modules that are gone, each with the room that has its public names.
MODULES = {
    "codec": "formats",
    "distributions": "metrics",
    "fidelity": "metrics",
    "gemm_study": "studies",
    "hadamard": "quantization",
    "microscaling": "quantization",
    "quantization_study": "studies",
    "quantized": "quantization",
    "rounding": "formats",
    "scaling": "quantization",
    "tensors": "storage",
    "wire_study": "studies",
}

_UNITS = (
    "BLACKWELL_MX", "BLACKWELL_NVFP4", "EXACT", "FP32_FMA", "HOPPER_BF16", "HOPPER_FP8", "HOPPER_FP8_ACC16",
    "HOPPER_FP16", "HOPPER_FP16_ACC16", "HOPPER_TF32",
)  # fmt: skip

#: The public names that left their module, each with where it is or what took its place.
NAMES = {f"precision.accumulators.{name}": f"precision.units.{name} now" for name in _UNITS} | {
    f"precision.quantization.{name}": f"precision.specs.{name} now" for name in ("Spec", "quantize")
}


def describe_move(module: str) -> str:
    """Return the sentence that says where a module of version 0.1 is now."""
    room = MODULES[module]
    return f"precision.{module} moved to precision.{room}: import its names from there"


class _Finder:
    """An import finder that finds nothing, and raises for a module that moved.

    It does not derive from `importlib.abc.MetaPathFinder`, whose import takes a tenth of ours.
    """

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Raise ModuleNotFoundError for a module that moved; return None for any other."""
        parent, _, name = fullname.rpartition(".")
        if parent == "precision" and name in MODULES:
            raise ModuleNotFoundError(describe_move(name), name=fullname)
        return None


def install_finder() -> None:
    """Make imports of modules that moved raise errors that say where the modules are."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.append(_Finder())


_SWEEP = "gone: `sweep` runs the study {} over a grid"
_GONE = {
    **dict.fromkeys(("GemmStudy", "ProductRow", "compare", "default_accumulators"), _SWEEP.format("gemm")),
    **dict.fromkeys(("QuantizationStudy", "SpecRow", "with_rules"), _SWEEP.format("quantize")),
    **dict.fromkeys(("Wire", "SentRow"), _SWEEP.format("all_to_all")),
    "DEFAULT_SPECS": 'study("quantize").grid["spec"] now',
    "DEFAULT_BITS": 'in study("all_to_all").grid["spec"] now',
    "PEERS": 'in study("all_to_all").grid["spec"] now',
    "drawn": "gone: a study takes the name of a distribution",
    "suited": "gone: `precision quantize` leaves out what a spec does not suit",
}
NAMES |= {f"precision.studies.{name}": where for name, where in _GONE.items()}


def raise_for_studies(name: str) -> NoReturn:
    """Raise AttributeError for a missing name of `precision.studies`, with what took its place if any did."""
    _raise_missing("precision.studies", name)


def raise_for_accumulators(name: str) -> NoReturn:
    """Raise AttributeError for a missing name of `precision.accumulators`, with its new place if it moved."""
    _raise_missing("precision.accumulators", name)


def raise_for_quantization(name: str, hint: str) -> NoReturn:
    """Raise AttributeError for a missing name of `precision.quantization`, with its new place or a hint."""
    _raise_missing("precision.quantization", name, hint)


def _raise_missing(module: str, name: str, hint: str = "") -> NoReturn:
    """Raise AttributeError for a missing name of a module, and say where it is if it moved, else a hint."""
    new = NAMES.get(f"{module}.{name}")
    moved = f": it is {new}" if new else hint
    raise AttributeError(f"module {module!r} has no attribute {name!r}{moved}", name=name)
