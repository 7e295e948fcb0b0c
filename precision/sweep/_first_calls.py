"""The public calls that use every loop of everyday work, by name, and what the first one of each compiles.

`precision warm` makes them, so that nothing is left to compile when somebody needs a loop. A benchmark makes
each of them in a process of its own.
"""

from __future__ import annotations

import dataclasses
import functools
import warnings
from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np

from precision._support._suggestions import did_you_mean
from precision._support.machine._compiling_notice import compiled_here
from precision.formats._bit_packing import pack, unpack
from precision.formats._codec import decode, encode, round_to
from precision.formats._named import BF16, E2M1, E2M3, E4M3
from precision.formats._rounding_modes import Rounding, Stochastic
from precision.gemm._matrix_product import matmul
from precision.gemm._step_trace import trace
from precision.logfmt._logfmt_spec import LogFMT
from precision.quantization._granularity import PerBlock, PerGroup, PerTensor
from precision.quantization._microscaling import MXFP8_E4M3, NVFP4, NVFP4_4OVER6, NVFP4_TE
from precision.quantization._quant_spec import QuantSpec
from precision.specs._quantize import quantize

_GROUPS, _BLOCKS = QuantSpec(E4M3, PerGroup(128)), QuantSpec(E4M3, PerBlock(128, 128))
_RANDOM = Stochastic(seed=1)


_LARGE = 1 << 9
"""The rows of an array that is too large for the ways of small ones."""


@functools.cache
def _drawn(kind: Any, rows: int = 8) -> tuple[Any, Any]:
    """Return two matrices whose product exists, of a type; the left one has so many rows."""
    rng = np.random.default_rng(0)
    left, right = rng.standard_normal((rows, 256)), rng.standard_normal((256, 128))
    return left.astype(np.float32).astype(kind), right.astype(np.float32).astype(kind)


def _random(spec: Any) -> Any:
    """Return a spec that rounds stochastically."""
    return dataclasses.replace(spec, rounding=_RANDOM)


def _make(
    function: Callable[..., Any], *rest: Any, kind: Any = np.float32, rows: int = 8, **named: Any
) -> Callable[[], Any]:
    """Return a call of a function with a matrix."""
    return lambda: function(_drawn(kind, rows)[0], *rest, **named)


def _product(kind: Any, accumulator: str | None = None) -> Callable[[], Any]:
    """Return a product of two matrices of a type."""
    return lambda: matmul(*_drawn(kind), accumulator=accumulator)


def _quantized_product(left: Any, right: Any, accumulator: str | None = None) -> Callable[[], Any]:
    """Return a product of two matrices that are quantized along K."""

    def call() -> Any:
        x, w = _drawn(np.float32)
        return matmul(quantize(x, left), quantize(w, right, axis=0), accumulator=accumulator)

    return call


def _small_product() -> Any:
    """Return a product of so few numbers that it takes the loop for small ones."""
    left, right = _drawn(_FP8)
    return matmul(left[:4, :128], right[:128, :8])


def _back(spec: Any, kind: Any = np.float32, rows: int = 8) -> Callable[[], Any]:
    """Return a matrix quantized and dequantized."""
    return lambda: quantize(_drawn(np.float32, rows)[0], spec).dequantize(kind)


def _packed(fmt: Any) -> Callable[[], Any]:
    """Return codes packed and unpacked."""

    def call() -> Any:
        codes = encode(_drawn(np.float32)[0], fmt)
        return unpack(pack(codes, fmt), fmt, codes.shape[-1])

    return call


_FP8, _BF16 = ml_dtypes.float8_e4m3fn, ml_dtypes.bfloat16

CALLS: dict[str, Callable[[], Any]] = {
    # Those that compile longest come first, so that worker processes end at about the same time.
    "logfmt 8 quantize": _make(quantize, LogFMT(8)),
    "logfmt 10 quantize": _make(quantize, LogFMT(10)),
    "logfmt stochastic": _make(quantize, LogFMT(8, rounding=_RANDOM)),
    "quantize NVFP4 stochastic": _make(quantize, _random(NVFP4)),
    "trace FP8": lambda: trace(*(v[0] for v in (_drawn(_FP8)[0], _drawn(_FP8)[1].T))),
    "trace FP32_FMA": lambda: trace(_drawn(np.float32)[0][0], _drawn(np.float32)[1][:, 0]),
    "matmul MXFP8": _quantized_product(MXFP8_E4M3, MXFP8_E4M3),
    "matmul NVFP4": _quantized_product(NVFP4, NVFP4),
    "matmul FP16": _product(np.float16),
    "matmul BF16": _product(_BF16),
    "quantize NVFP4_4OVER6": _make(quantize, NVFP4_4OVER6),
    "quantize NVFP4_TE": _make(quantize, NVFP4_TE),
    "quantize MXFP8 stochastic": _make(quantize, _random(MXFP8_E4M3)),
    "quantize MXFP8 float64": _make(quantize, MXFP8_E4M3, kind=np.float64),
    "quantize 1x128 stochastic": _make(quantize, _random(_GROUPS)),
    "quantize 1x128 float64": _make(quantize, _GROUPS, kind=np.float64),
    "quantize 128x128": _make(quantize, _BLOCKS),
    "quantize 1x128": _make(quantize, _GROUPS),
    "quantize 1x128 across memory": lambda: quantize(_drawn(np.float32, _LARGE)[0].T, _GROUPS),
    "quantize tensor": _make(quantize, QuantSpec(E4M3, PerTensor())),
    "quantize NVFP4": _make(quantize, NVFP4),
    "quantize NVFP4 large": _make(quantize, NVFP4, rows=_LARGE),
    "quantize MXFP8": _make(quantize, MXFP8_E4M3),
    "matmul 1x128 128x128": _quantized_product(_GROUPS, _BLOCKS, "HOPPER_FP8.promoted(128)"),
    "matmul small": _small_product,
    "matmul FP8": _product(_FP8),
    "matmul FP8 promoted": _product(_FP8, "HOPPER_FP8.promoted(128)"),
    "matmul EXACT": _product(np.float32, "EXACT"),
    "matmul FP32_FMA": _product(np.float32),
    "logfmt 8 dequantize": _back(LogFMT(8)),
    "logfmt 10 dequantize": _back(LogFMT(10)),
    "logfmt 8 dequantize float64": _back(LogFMT(8), np.float64),
    "dequantize 1x128": _back(_GROUPS),
    "dequantize 1x128 large": _back(_GROUPS, rows=_LARGE),
    "dequantize 128x128 large": _back(_BLOCKS, rows=_LARGE),
    "dequantize 1x128 float64": _back(_GROUPS, np.float64),
    "dequantize 1x128 float64 large": _back(_GROUPS, np.float64, _LARGE),
    "dequantize MXFP8": _back(MXFP8_E4M3),
    "dequantize NVFP4": _back(NVFP4),
    "round_to stochastic": _make(round_to, E4M3, rounding=_RANDOM),
    "encode stochastic": _make(encode, E4M3, rounding=_RANDOM),
    "round_to float64": _make(round_to, E4M3, kind=np.float64),
    "encode float64": _make(encode, E4M3, kind=np.float64),
    "round_to TOWARD_ZERO": _make(round_to, E4M3, rounding=Rounding.TOWARD_ZERO),
    "encode TOWARD_ZERO": _make(encode, E4M3, rounding=Rounding.TOWARD_ZERO),
    "round_to": _make(round_to, E4M3),
    "encode": _make(encode, E4M3),
    "encode BF16": _make(encode, BF16),
    "decode": _make(decode, E4M3, kind=_FP8),
    "decode BF16": _make(decode, BF16, kind=_BF16),
    "pack 4 bits": _packed(E2M1),
    "pack 6 bits": _packed(E2M3),
}


def choose_calls(names: tuple[str, ...]) -> list[str]:
    """Return the calls whose names begin with one of some texts; all of them if there are none.

    Raises
    ------
    ValueError
        If a text begins no call's name.
    """
    for name in names:
        if not name or not any(call.startswith(name) for call in CALLS):
            near = did_you_mean(name, CALLS)
            words = ", ".join(dict.fromkeys(call.partition(" ")[0] for call in CALLS))
            raise ValueError(f"no call begins with {name!r}{near}; calls begin with {words}")
    return [call for call in CALLS if not names or call.startswith(names)]


def make_first_call(call: str) -> dict[str, Any]:
    """Make a call, and return how many loops it compiled, for how long, and why they are not kept, if so."""
    before = compiled_here()
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        CALLS[call]()
    after = compiled_here()
    lost = [str(one.message) for one in seen if issubclass(one.category, RuntimeWarning)]
    return {
        "compiled": after.kernels - before.kernels,
        "compiling": after.seconds - before.seconds,
        "not_kept": lost[0] if lost else None,
    }
