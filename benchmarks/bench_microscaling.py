"""Quantizing 16M float32 numbers to microscaling formats and back, against copies and torchao.

Codes lie one in a byte; `precision.storage` packs them. torchao's results are always new arrays, and so are
its intermediate ones, five times the size of the source: it spends most of its time on pages that the system
hands out anew. How often that happens is up to the heap, so two states are set, for both sides alike: every
large array is new to the process, or freed memory stays with it and is used again ("kept"). The bar of 20 is
for given arrays: with new ones the first touch of our own results' pages takes 4 to 7 % of torchao's time by
itself.
"""

from __future__ import annotations

import ctypes
import importlib
from collections.abc import Callable

import precision as pr
from benchmarks.measuring import Row, Side, Yardstick, as_test, timed
from benchmarks.yardsticks import COPY, NEW_COPY, SHAPE, given, normal

NAMES = ("MXFP8_E4M3", "MXFP8_E5M2", "MXFP6_E2M3", "MXFP6_E3M2", "MXFP4", "NVFP4")
SPECS = {name: getattr(pr, name) for name in NAMES}
GOALS = {"MXFP8_E4M3": 0.85, "MXFP4": 0.85, "NVFP4": 0.5}
"""The goals of `quantize` into given arrays."""


def quantizes(name: str) -> Callable[[], Side]:
    """Return what prepares a `quantize` into given arrays."""

    def make() -> Side:
        x, spec = normal(*SHAPE), SPECS[name]
        out = pr.quantize(x, spec)
        return timed(lambda: pr.quantize(x, spec, out=out))

    return make


def dequantizes(name: str) -> Callable[[], Side]:
    """Return what prepares a `dequantize` into a given array."""

    def make() -> Side:
        q = pr.quantize(normal(*SHAPE), SPECS[name])
        return timed(lambda: q.dequantize(out=given(*SHAPE)))

    return make


def there_and_back(name: str, memory: str) -> Callable[[], Side]:
    """Return what prepares a `quantize` and a `dequantize` of its result, into given memory or new arrays."""

    def make() -> Side:
        x, spec = normal(*SHAPE), SPECS[name]
        out = pr.quantize(x, spec)
        if memory == "given":
            return timed(lambda: pr.quantize(x, spec, out=out).dequantize(out=given(*SHAPE)))
        return timed(lambda: pr.quantize(x, spec).dequantize())

    return make


def set_heap(kept: bool) -> None:
    """Let glibc take large arrays from the system and give them back, or (for good) keep what is freed."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        raise RuntimeError("torchao's yardstick needs the mallopt of glibc")
    trim_threshold, mmap_threshold, mmap_max = -1, -3, -4
    if kept:
        mallopt(mmap_max, 0)
        mallopt(trim_threshold, 2**31 - 1)
    else:
        mallopt(mmap_threshold, 1 << 20)


def torchao(name: str, memory: str) -> Side:
    """Return the time of torchao's way there and back."""
    import torch

    torch.set_num_threads(2)
    set_heap(kept=memory == "kept")
    x = torch.from_numpy(normal(*SHAPE))
    if name == "NVFP4":
        nvfp4 = importlib.import_module("torchao.prototype.mx_formats.nvfp4_tensor")

        def nvfp4_there_and_back() -> object:
            scale = nvfp4.per_tensor_amax_to_scale(x.abs().max())
            return nvfp4.NVFP4Tensor.to_nvfp4(x, per_tensor_scale=scale).dequantize(torch.float32)

        return timed(nvfp4_there_and_back)
    mx = importlib.import_module("torchao.prototype.mx_formats.mx_tensor")
    constants = importlib.import_module("torchao.prototype.mx_formats.constants")
    elements = {
        "MXFP8_E4M3": lambda: torch.float8_e4m3fn,
        "MXFP8_E5M2": lambda: torch.float8_e5m2,
        "MXFP6_E2M3": lambda: constants.DTYPE_FP6_E2M3,
        "MXFP6_E3M2": lambda: constants.DTYPE_FP6_E3M2,
        "MXFP4": lambda: torch.float4_e2m1fn_x2,
    }[name]()
    return timed(lambda: mx.MXTensor.to_mx(x, elements, 32).dequantize(torch.float32))


def against_torchao(name: str, memory: str) -> Row:
    """Return the row that compares a way there and back with torchao's."""
    return Row(
        f"{name} there and back, {memory} memory, against torchao",
        Yardstick("torchao's, into new arrays", lambda: torchao(name, memory)),
        make=there_and_back(name, memory),
        bar=20 if memory == "given" else None,
        needs=("torch", "torchao"),
        apart=memory == "kept",
        headline=memory == "given" and name in ("MXFP8_E4M3", "NVFP4"),
    )


ROWS = (
    *(
        Row(
            f"{name} quantize",
            COPY,
            make=quantizes(name),
            goal=GOALS.get(name),
            headline=name in ("MXFP8_E4M3", "NVFP4"),
        )
        for name in SPECS
    ),
    *(Row(f"{name} dequantize", COPY, make=dequantizes(name)) for name in SPECS),
    *(Row(f"{name} there and back", COPY, make=there_and_back(name, "given"), bar=0.4) for name in SPECS),
    *(
        Row(f"{name} there and back, new arrays", NEW_COPY, make=there_and_back(name, "new"))
        for name in SPECS
    ),
    # The memory varies slowest: a heap that keeps its memory comes last.
    *(against_torchao(name, memory) for memory in ("given", "new", "kept") for name in SPECS),
)
"""Quantizing into given arrays, unless a row says otherwise."""

test_row = as_test(ROWS)
