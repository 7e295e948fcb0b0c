"""A call of every public function that computes, with tiny and ordinary numbers, and the bytes of its result.

`python tests/environment_cases.py MODE THREADS` prints a digest for each, made under that mode from the
first import of `precision` on: for `test_float_environment.py`, which compares processes.
"""

from __future__ import annotations

import ctypes
import dataclasses
import enum
import functools
import hashlib
import importlib
import inspect
import os
import platform
import re
import struct
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

# ---- the register, without any code of the package ----------------------------------------------------
X86, LINUX = platform.machine() in ("x86_64", "AMD64"), sys.platform == "linux"
#: Where fenv_t keeps the register, MXCSR on x86-64 and FPCR on ARM; its control bits, without the flags; and
#: the bits of flush-to-zero, denormals-are-zero (ARM has one for both) and of the ways of rounding.
_MXCSR = {"ftz": 0x8000, "daz": 0x40, "down": 0x2000, "up": 0x4000, "zero": 0x6000}
_FPCR = {"ftz": 1 << 24, "daz": 1 << 24, "up": 1 << 22, "down": 2 << 22, "zero": 3 << 22}
LAYOUTS: dict[tuple[str, bool], tuple[int, int, dict[str, int]]] = {
    ("linux", True): (28, 0xFFC0, _MXCSR),
    ("darwin", True): (4, 0xFFC0, _MXCSR),
    ("linux", False): (0, ~0, _FPCR),
    ("darwin", False): (8, ~0, _FPCR),
}
KNOWN = X86 or platform.machine() in ("aarch64", "arm64")
LAYOUT = LAYOUTS.get((sys.platform, X86)) if KNOWN else None
#: Every mode alone, and the worst of them together.
MODES: dict[str, tuple[str, ...]] = {
    "nearest": (),
    "ftz": ("ftz",),
    "daz": ("daz",),
    "up": ("up",),
    "down": ("down",),
    "zero": ("zero",),
    "ftz+daz": ("ftz", "daz"),
    "ftz+daz+up": ("ftz", "daz", "up"),
    "ftz+daz+down": ("ftz", "daz", "down"),
}


@functools.cache
def _libm() -> Any:
    return ctypes.PyDLL("libm.so.6" if LINUX and platform.libc_ver()[0] == "glibc" else None)


def _environment() -> Any:
    kept = ctypes.create_string_buffer(256)
    _libm().fegetenv(kept)
    return kept


def control() -> int:
    """The control bits of this thread's register."""
    assert LAYOUT is not None
    return struct.unpack_from("<I", _environment(), LAYOUT[0])[0] & LAYOUT[1] & 0xFFFFFFFF


def set_mode(name: str) -> None:
    """Set this thread's register to a mode of `MODES`, whatever it was."""
    assert LAYOUT is not None
    kept = _environment()
    (word,) = struct.unpack_from("<I", kept, LAYOUT[0])
    bits = LAYOUT[2]
    for bit in bits.values():
        word &= ~bit
    for part in MODES[name]:
        word |= bits[part]
    struct.pack_into("<I", kept, LAYOUT[0], word & 0xFFFFFFFF)
    _libm().fesetenv(kept)


@contextmanager
def mode(name: str) -> Iterator[None]:
    set_mode(name)
    try:
        yield
    finally:
        set_mode("nearest")


if __name__ == "__main__":
    set_mode(sys.argv[1])

import ml_dtypes  # noqa: E402

import precision as pr  # noqa: E402
from precision import bounds, cost, formats, metrics, specs, storage, studies  # noqa: E402
from precision.formats import _codec_constants  # noqa: E402
from precision.metrics import _distributions, _fidelity  # noqa: E402
from precision.storage import _array_files  # noqa: E402


# ---- bytes of results ---------------------------------------------------------------------------------
def said(value: Any) -> Iterator[bytes]:
    """Everything that a result holds, to the bit."""
    yield type(value).__name__.encode()
    if isinstance(value, np.ndarray | np.generic):
        array = np.asarray(value)
        yield f"{array.dtype} {array.shape}".encode()
        yield array.tobytes()
    elif isinstance(value, float):
        yield struct.pack("<d", value)
    elif isinstance(value, str | int | None | bytes | np.dtype | enum.Enum):
        yield (value.name if isinstance(value, enum.Enum) else str(value)).encode()
    elif dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            if not callable(getattr(value, field.name)) or dataclasses.is_dataclass(
                getattr(value, field.name)
            ):
                yield field.name.encode()
                yield from said(getattr(value, field.name))
    elif type(value).__module__.startswith("xarray"):
        yield from said([np.asarray(value[name]) for name in value.variables])
    elif isinstance(value, Mapping):
        for key, one in value.items():
            yield from said(key)
            yield from said(one)
    elif isinstance(value, list | tuple):
        for one in value:
            yield from said(one)
    elif type(value).__module__.startswith("pandas"):
        yield from said([value[name].tolist() for name in value.columns])
    elif hasattr(value, "get_children"):  # a figure or its axes
        axes = value.axes if isinstance(value.axes, list) else [value]
        for ax in axes:
            yield from said([np.asarray(line.get_xydata()) for line in ax.lines])
            yield from said([np.asarray(path.vertices) for c in ax.collections for path in c.get_paths()])
            yield from said([np.asarray(image.get_array()) for image in ax.images])
            yield from said([text.get_text() for text in ax.texts])
    elif type(value).__module__.startswith("hypothesis"):
        # What is drawn depends on the modules that are loaded, whose constants Hypothesis tries.
        yield from said(re.sub(r" at 0x[0-9a-f]+", "", repr(value)))
    elif callable(value):  # a rule or reader inside a record
        yield b"callable"
    else:
        raise TypeError(f"no bytes of {type(value)}")


def digest(value: Any) -> str:
    return hashlib.sha256(b"\0".join(said(value))).hexdigest()[:16]


# ---- what is given ------------------------------------------------------------------------------------
class Inputs:
    """Arrays with tiny and ordinary numbers, and what is made of them; all of it made in a clean mode."""

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        ordinary = rng.standard_normal((32, 256)).astype(np.float32)
        ordinary[0, :4] = 0.1, 0.3, -0.7, 5.3
        spread = np.ldexp(rng.standard_normal((32, 256)), rng.integers(-150, -118, (32, 256)))
        tiny = spread.astype(np.float32)
        tiny[0, :4] = 3e-39, 1e-45, -1e-45, 1.1754942e-38
        self.ordinary, self.tiny, self.tiniest = ordinary, tiny, tiny * np.float32(2**-10)
        self.both = np.concatenate([ordinary, tiny])
        self.wide = self.both.astype(np.float64) / 3
        self.wide[1, :4] = 5e-324, -2e-310, 2.2250738585072009e-308, 1e-300
        self.large = np.tile(self.both, (40, 1))  # 655360 elements: two threads share them
        self.reference = self.both.astype(np.float64) * (1 + 1e-3 * rng.standard_normal(self.both.shape))
        self.both64, self.reference32 = self.both.astype(np.float64), self.reference.astype(np.float32)
        self.a, self.b = ordinary, rng.standard_normal((256, 24)).astype(np.float32)
        self.a8, self.b8 = pr.encode(self.a, pr.E4M3), pr.encode(self.b, pr.E4M3)
        self.abf, self.bbf = pr.encode(tiny, pr.BF16), pr.encode(self.b, pr.BF16)
        self.groups = pr.QuantSpec(pr.E4M3, pr.PerGroup(128))
        self.qa, self.qb = pr.quantize(self.a, self.groups), pr.quantize(self.b, self.groups, axis=-2)
        self.mx = pr.quantize(tiny, pr.MXFP8_E4M3)
        self.nv = pr.quantize(self.a, pr.NVFP4)
        self.log = pr.LogFMT(8).quantize(self.both)
        self.packed = self.log.pack()
        self.e8m0 = np.arange(255, dtype=np.uint8)
        self.folder = Path(tempfile.mkdtemp(prefix="precision-environment-"))
        storage.save(self.folder / "q.safetensors", {"q": self.nv})
        np.save(self.folder / "x.npy", self.both)
        arrays = {"data": "normal", "rows": 16, "columns": 256, "spec": [pr.MXFP4, pr.LogFMT(8)]}
        self.rows = _sweep().sweep("all_to_all", arrays, progress=False)
        self.products = _sweep().sweep("gemm", {"m": 8, "n": 8, "k": [128, 256]}, progress=False)
        self.tally = _fidelity.tally(self.both, pr.MXFP4)
        self.explained = bounds.explain(
            pr.matmul(self.a8, self.b8, accumulator=pr.HOPPER_FP8),
            accumulator=pr.HOPPER_FP8, a=self.a8, b=self.b8,
        )  # fmt: skip


Case = Callable[[Inputs], Any]
DRAWN_FROM = (
    "accumulators", "arrays", "blocks", "codes", "float_formats", "formats", "fused_sums", "granularities",
    "int_formats", "numbers", "specs",
)  # fmt: skip
TALLIED = (
    "sqnr_db", "signed_relative_error", "norm_relative_error", "clipped_share", "flushed_share",
    "bits_per_element",
)  # fmt: skip
CASES: dict[str, Case] = {}


def _plots() -> Any:
    import matplotlib

    matplotlib.use("Agg")
    from precision import plots

    return plots


def _table() -> Any:
    import pandas as pd

    columns = {"k": [128, 256], "width": [10, 13], "promoted": [0, 128], "bits_per_element": [4.25, 8.3]}
    return pd.DataFrame({**columns, "norm_relative_error": [1e-3, 3.3e-4], "sqnr_db": [20.1, 31.7]})


def _rounded(x: Any) -> Any:
    return pr.encode(x, pr.E4M3)


def _product(a: Any, b: Any) -> Any:
    return pr.matmul(a, b, accumulator=pr.HOPPER_FP8)


def _cell(x: float, y: int = 3) -> dict[str, float]:
    """A cell of a sweep; the mode in it is the caller's, so it computes nothing that depends on that."""
    return {"same": x, "whole": 2 * y}


def _checked(x: Any) -> str:
    return str(x)


def _strategy(name: str) -> Case:
    def case(i: Inputs) -> Any:
        from precision.testing import strategies

        options = {"numbers": (pr.E4M3,), "arrays": (pr.E5M2,), "codes": (pr.E4M3,), "blocks": (pr.MXFP4,)}
        return getattr(strategies, name)(*options.get(name, ()))

    return case


def _testing() -> Any:
    from precision import testing

    return testing


def _sweep() -> Any:

    return importlib.import_module("precision.sweep")


def _saved(i: Inputs, tensors_of: dict[str, Any]) -> bytes:
    path = i.folder / f"again-{os.getpid()}.safetensors"
    storage.save(path, tensors_of)
    return path.read_bytes()


def _figure_bytes(i: Inputs) -> bytes:
    path = i.folder / f"figure-{os.getpid()}.png"
    plots = _plots()
    plots.save(plots.number_line("e2m1"), path)
    return path.read_bytes()[:8]


def _stored(i: Inputs) -> Any:
    path = i.folder / f"store-{os.getpid()}-{len(os.listdir(i.folder))}.sqlite"
    _sweep().sweep(_cell, {"x": [0.5, 0.1]}, store=path, progress=False)
    return _sweep().read_store(path)


FP8, EXACT64 = pr.HOPPER_FP8, {"accumulator": pr.EXACT, "dtype": np.float64}
FALLBACK = pr.logfmt.Fallback(amax_below=0.1)
EXTREMES = pr.logfmt.Metadata.EXTREMES
TEXT = "QuantSpec(e4m3, PerGroup(128), min_amax=1e-4)"
LOG_TEXT = "LogFMT(8, metadata=EXTREMES, fallback=Fallback(amax_below=0.1))"
EP, LINK = cost.PAPER_EP, cost.Link(50e9, 1.1e-6)
DRAWN = [("normal", 1), ("uniform", 0), ("symmetric", 1), ("laplace", 1), ("lognormal", 0), ("student_t", 1)]

CASES |= {
    # numbers and codes
    "precision.round_to": lambda i: (
        [
            pr.round_to(x, fmt, rounding=how)
            for x in (i.both, i.wide, i.large)
            for fmt in (pr.BF16, pr.E5M2, pr.E8M13, pr.IntFormat(8))
            for how in (pr.Rounding.TIES_TO_EVEN, pr.Rounding.TOWARD_POSITIVE, pr.Stochastic(8))
        ]
        + [pr.round_to(1e-45, pr.FP32, nan=0.1 * 0 + 1.0)]
    ),
    "precision.encode": lambda i: [
        pr.encode(x, fmt).view(fmt.code_dtype)
        for x in (i.both, i.wide, i.large)
        for fmt in (pr.BF16, pr.E4M3, pr.E8M0, pr.TF32)
    ],
    "precision.decode": lambda i: [
        pr.decode(i.e8m0, pr.E8M0),
        pr.decode(np.arange(65536, dtype=np.uint16), pr.BF16),
        pr.decode(np.arange(2**19, dtype=np.uint32), pr.FP32),
    ],
    "precision.FloatFormat.value": lambda i: [pr.FP64.value(1), pr.FP64.value(2**51 + 1), pr.FP32.value(1)],
    "precision.FloatFormat.min_subnormal": lambda i: [f.min_subnormal for f in (pr.FP64, pr.FP32, pr.E4M3)],
    "precision.FloatFormat.min_normal": lambda i: [f.min_normal for f in (pr.FP64, pr.FP32, pr.E8M0)],
    "precision.FloatFormat.parse": lambda i: pr.FloatFormat.parse("FloatFormat(4, 3, bias=9)"),
    "precision.IntFormat.value": lambda i: [pr.IntFormat(8, fraction_bits=6).value(c) for c in (1, 255)],
    "precision.IntFormat.parse": lambda i: pr.IntFormat.parse("mxint8"),
    "precision.parse_format": lambda i: formats.parse_format("e5m6"),
    "precision.formats.code_ends": lambda i: list(
        _codec_constants.code_ends(pr.E5M2, pr.Overflow.SATURATE, None)
    ),
    "precision.formats.value_ends": lambda i: list(
        _codec_constants.value_ends(
            pr.E5M2, _codec_constants.code_ends(pr.E5M2, pr.Overflow.NON_SATURATING, None), 8
        )
    ),
    "precision.formats.format_params": lambda i: list(_codec_constants.format_params(pr.BF16)),
    # quantizing
    "precision.QuantSpec.__post_init__": lambda i: pr.QuantSpec(pr.E4M3, pr.PerGroup(32), min_amax=5e-324),
    "precision.QuantSpec.__str__": lambda i: str(pr.QuantSpec(pr.E4M3, pr.PerGroup(32), min_amax=1 / 3)),
    "precision.QuantSpec.parse": lambda i: pr.QuantSpec.parse(TEXT),
    "precision.QuantSpec.quantize": lambda i: [
        pr.quantize(x, spec, axis=axis)
        for x in (i.both, i.wide, i.large[: 2**12])
        for spec in (i.groups, pr.MXFP4, pr.MXFP8_E4M3, pr.NVFP4, pr.NVFP4_4OVER6, pr.NVFP4_TE, pr.MXINT8)
        for axis in (-1, -2)
    ],
    "precision.QuantSpec.bits_per_element": lambda i: i.groups.bits_per_element((3, 7 * 128)),
    "precision.QuantizedTensor.__post_init__": lambda i: [
        pr.QuantizedTensor(i.a8, 1e-40, fmt=pr.E4M3),
        pr.QuantizedTensor(i.a8, 0.1, fmt=pr.E4M3, tensor_scale=i.a[0, 1]),
    ],
    "precision.QuantizedTensor.__repr__": lambda i: repr(i.nv),
    "precision.QuantizedTensor.dequantize": lambda i: [
        q.dequantize(kind) for q in (i.qa, i.mx, i.nv) for kind in (np.float32, np.float64)
    ],
    "precision.QuantizedTensor.multipliers": lambda i: [q.multipliers() for q in (i.qa, i.mx, i.nv)],
    "precision.specs.parse": lambda i: specs.parse(TEXT),
    "precision.specs.quantize": lambda i: [specs.quantize(i.both, s) for s in (pr.BF16, pr.MXFP4)],
    # LogFMT
    "precision.LogFMT.__post_init__": lambda i: pr.LogFMT(8, 64),
    "precision.LogFMT.__str__": lambda i: str(pr.LogFMT(10, metadata=EXTREMES, fallback=FALLBACK)),
    "precision.LogFMT.parse": lambda i: pr.LogFMT.parse(LOG_TEXT),
    "precision.LogFMT.code_dtype": lambda i: pr.LogFMT(10).code_dtype,
    "precision.LogFMT.tiles_shape": lambda i: pr.LogFMT(8).tiles_shape((3, 300)),
    "precision.LogFMT.bits_per_element": lambda i: pr.LogFMT(8).bits_per_element((3, 300)),
    "precision.LogFMT.quantize": lambda i: [
        spec.quantize(x)
        for x in (i.both, i.wide)
        for spec in (pr.LogFMT(8), pr.LogFMT(10, base=pr.logfmt.LogBase.TWO), pr.DEEPEP_LOGFMT10)
    ],
    "precision.LogFMT.unpack": lambda i: pr.LogFMT(8).unpack(i.packed, i.both.shape),
    "precision.LogFMTTensor.__post_init__": lambda i: dataclasses.replace(i.log),
    "precision.LogFMTTensor.check": lambda i: i.log.check(),
    "precision.LogFMTTensor.check_codes": lambda i: i.log.check_codes(),
    "precision.LogFMTTensor.__repr__": lambda i: repr(i.log),
    "precision.LogFMTTensor.shape": lambda i: i.log.shape,
    "precision.LogFMTTensor.ndim": lambda i: i.log.ndim,
    "precision.LogFMTTensor.min": lambda i: i.log.min,
    "precision.LogFMTTensor.step": lambda i: i.log.step,
    "precision.LogFMTTensor.cast": lambda i: i.log.cast,
    "precision.LogFMTTensor.cast_elements": lambda i: i.log.cast_elements(),
    "precision.LogFMTTensor.nbytes": lambda i: i.log.nbytes,
    "precision.LogFMTTensor.bits_per_element": lambda i: i.log.bits_per_element,
    "precision.LogFMTTensor.dequantize": lambda i: [i.log.dequantize(k) for k in (np.float32, np.float64)],
    "precision.LogFMTTensor.pack": lambda i: i.log.pack(),
    "precision.logfmt.Fallback.__post_init__": lambda i: pr.logfmt.Fallback(amax_below=1e-310),
    "precision.logfmt.Fallback.__str__": lambda i: str(pr.logfmt.Fallback(amax_below=1 / 3)),
    # products
    "precision.matmul": lambda i: [
        pr.matmul(i.a8, i.b8, accumulator=FP8),
        pr.matmul(i.qa, i.qb, accumulator=FP8.promoted(128)),
        pr.matmul(i.qa, i.qb, **EXACT64),
        pr.matmul(i.tiny, i.b, accumulator=pr.FP32_FMA),
        pr.matmul(i.tiniest, i.b, **EXACT64),
        pr.matmul(i.abf, i.bbf, accumulator=pr.HOPPER_BF16),
        pr.matmul(i.mx, i.mx.T, accumulator=pr.BLACKWELL_MX),
        pr.matmul(i.nv, i.nv.T, accumulator=pr.BLACKWELL_NVFP4),
        pr.matmul(i.large[:512], i.b, accumulator=pr.FP32_FMA),
        pr.matmul(i.a8, i.b8, accumulator=FP8, dtype=ml_dtypes.bfloat16),
    ],
    "precision.trace": lambda i: list(pr.trace(i.a8[0], i.b8[:, 0], accumulator=FP8)),
    "precision.parse_accumulator": lambda i: str(pr.parse_accumulator("HOPPER_FP8.promoted(128)")),
    "precision.Hadamard.__post_init__": lambda i: pr.Hadamard(32, seed=1),
    "precision.Hadamard.__str__": lambda i: str(pr.Hadamard(32, seed=1)),
    "precision.Hadamard.parse": lambda i: pr.Hadamard.parse("Hadamard(16)"),
    "precision.Hadamard.sign_vector": lambda i: pr.Hadamard(32, seed=1).sign_vector,
    "precision.Hadamard.__call__": lambda i: [pr.Hadamard(16)(x) for x in (i.both, i.wide, i.large)],
    "precision.Hadamard.inverse": lambda i: [pr.Hadamard(32, seed=1).inverse(x) for x in (i.both, i.wide)],
    # measures
    **{
        f"precision.metrics.{name}": lambda i, name=name: [
            getattr(metrics, name)(i.both64, i.reference),
            getattr(metrics, name)(i.wide[1, :3], i.wide[1, 1:4]),
        ]
        for name in (
            "calc_diff",
            "cosine",
            "max_error_over_mean",
            "max_ulp",
            "mean_ulp",
            "norm_relative_error",
            "report",
            "signed_relative_error",
            "sqnr",
        )
    },
    "precision.metrics.ulp_distance": lambda i: metrics.ulp_distance(i.both, i.both[::-1].copy()),
    "precision.metrics.tally": lambda i: [
        _fidelity.tally(i.both, s) for s in (pr.MXFP4, pr.LogFMT(8), pr.BF16)
    ],
    "precision.metrics.Tally.__add__": lambda i: i.tally + i.tally,
    **{f"precision.metrics.Tally.{name}": lambda i, name=name: getattr(i.tally, name) for name in TALLIED},
    "precision.metrics.Metric.label": lambda i: [m.label for m in metrics.METRICS.values()],
    "precision.metrics.Metric.more_is_better": lambda i: [m.more_is_better for m in metrics.METRICS.values()],
    "precision.metrics.Metric.text": lambda i: [m.text(1 / 3) for m in metrics.METRICS.values()],
    "precision.metrics.draw": lambda i: [_distributions.draw(d, (7, 5), k_axis=k) for d, k in DRAWN],
    # bounds
    "precision.bounds.unit_roundoff": lambda i: [bounds.unit_roundoff(f) for f in (pr.BF16, pr.FP32)],
    "precision.bounds.gamma": lambda i: [bounds.gamma(n, 2.0**-24) for n in (1, 3, 4096)],
    "precision.bounds.probabilistic_gamma": lambda i: bounds.probabilistic_gamma(4096, 2.0**-24, 3.3),
    "precision.bounds.failure_probability": lambda i: bounds.failure_probability(3.3, 2.0**-24, 77),
    "precision.bounds.stochastic_gamma": lambda i: bounds.stochastic_gamma(4096, 2.0**-8, 3.3),
    "precision.bounds.block_fma": lambda i: bounds.block_fma(4096, 16, 2.0**-11, 2.0**-24),
    "precision.bounds.input_conversion": lambda i: bounds.input_conversion(2.0**-11, 1e-7),
    "precision.bounds.aligned_sum": lambda i: [bounds.aligned_sum(FP8, e) for e in (0, -800, 7)],
    "precision.bounds.aligned_truncation": lambda i: [bounds.aligned_truncation(FP8, n) for n in (32, 4096)],
    "precision.bounds.kulisch_width": lambda i: bounds.kulisch_width(pr.E4M3, pr.E5M2, 4096),
    "precision.bounds.error_bound": lambda i: [
        bounds.error_bound(spec=None, accumulator=FP8, a=i.a8, b=i.b8),
        bounds.error_bound(spec=i.groups, accumulator=FP8.promoted(128), a=i.a, b=i.b),
        bounds.error_bound(spec=None, accumulator=pr.FP32_FMA, a=i.tiny, b=i.b),
    ],
    "precision.bounds.explain": lambda i: bounds.explain(
        pr.matmul(i.a8, i.b8, accumulator=FP8), accumulator=FP8, a=i.a8, b=i.b8
    ),
    "precision.bounds.Explanation.shares": lambda i: i.explained.shares(),
    "precision.bounds.Explanation.__str__": lambda i: str(i.explained),
    # cost
    "precision.cost.Link.__post_init__": lambda i: cost.Link(50e9, 5e-324),
    "precision.cost.Link.seconds": lambda i: [LINK.seconds(s) for s in (1, 7e6, 1e-310)],
    "precision.cost.ExpertParallel.__post_init__": lambda i: dataclasses.replace(EP, compute=1e-310),
    "precision.cost.ExpertParallel.time": lambda i: EP.time(LINK, dispatch=pr.LogFMT(10)),
    "precision.cost.compare": lambda i: cost.compare([pr.E4M3, 8.25, (pr.MXFP4, pr.BF16)], EP, LINK),
    "precision.cost.bits_per_element": lambda i: cost.bits_per_element(pr.MXFP4, (3, 100)),
    "precision.cost.kv_cache_bytes": lambda i: cost.kv_cache_bytes(cost.DEEPSEEK_V3, pr.MXFP4, tokens=3),
    # files and layouts
    "precision.storage.pack": lambda i: storage.pack(i.nv.codes, pr.E2M1),
    "precision.storage.unpack": lambda i: storage.unpack(np.arange(64, dtype=np.uint8), pr.E2M1, 128),
    "precision.storage.swizzle": lambda i: storage.swizzle(i.mx.scale),
    "precision.storage.unswizzle": lambda i: storage.unswizzle(storage.swizzle(i.mx.scale), i.mx.scale.shape),
    "precision.storage.save": lambda i: _saved(i, {"q": i.nv, "r": i.qa}),
    "precision.storage.load": lambda i: storage.load(i.folder / "q.safetensors"),
    "precision.storage.read_tensor": lambda i: _array_files.read_tensor(i.folder / "x.npy"),
    "precision.storage.read_header": lambda i: list(_array_files.read_header(i.folder / "q.safetensors")),
    "precision.storage.read_metadata": lambda i: _array_files.read_metadata(i.folder / "q.safetensors"),
    # studies
    "precision.studies.Arrays.read": lambda i: studies.Arrays(
        "x", studies.read_sources(i.folder / "x.npy")
    ).read(""),
    "precision.studies.read_sources": lambda i: [s.read() for s in studies.read_sources(i.folder / "x.npy")],
    # sweeps
    "precision.sweep.sweep": lambda i: [
        _sweep().sweep(_cell, {"x": [0.5, 1 / 3, 1e-310], "y": [1, 2]}, progress=False),
        _sweep().sweep("promotion", {"promoted": [0, 128], "k": 512, "m": 8, "n": 8}, progress=False),
    ],
    "precision.sweep.read_store": _stored,
    "precision.sweep.to_xarray": lambda i: _sweep().to_xarray(
        _sweep().sweep(_cell, {"x": [0.5, 0.25], "y": [1, 2]}, progress=False)
    ),
    # figures
    "precision.plots.error_heatmap": lambda i: _plots().error_heatmap(i.both, i.reference32),
    "precision.plots.error_over": lambda i: _plots().error_over(_table(), "k"),
    "precision.plots.error_over_bits": lambda i: _plots().error_over_bits(i.rows),
    "precision.plots.error_over_bytes": lambda i: _plots().error_over_bytes(i.rows),
    "precision.plots.error_over_k": lambda i: _plots().error_over_k(_table()),
    "precision.plots.error_over_promotion": lambda i: _plots().error_over_promotion(_table()),
    "precision.plots.error_over_width": lambda i: _plots().error_over_width(_table()),
    "precision.plots.gemm_errors": lambda i: _plots().gemm_errors(i.products),
    "precision.plots.histogram": lambda i: _plots().histogram(i.both, pr.MXFP4),
    "precision.plots.number_line": lambda i: _plots().number_line(["e4m3", "e5m2"]),
    "precision.plots.pareto": lambda i: _plots().pareto(_table()),
    "precision.plots.save": _figure_bytes,
    # checks of other people's code
    "precision.testing.check_quantizer": lambda i: _testing().check_quantizer(_rounded, pr.E4M3).to_dict(),
    "precision.testing.check_dequantizer": lambda i: (
        _testing().check_dequantizer(lambda codes: pr.decode(codes, pr.E4M3), pr.E4M3).to_dict()
    ),
    "precision.testing.check_roundtrip": lambda i: (
        _testing().check_roundtrip(_rounded, lambda codes: pr.decode(codes, pr.E4M3), pr.E4M3).to_dict()
    ),
    "precision.testing.check_packing": lambda i: (
        _testing()
        .check_packing(
            lambda codes: storage.pack(codes, pr.E2M1),
            lambda packed, length: storage.unpack(packed, pr.E2M1, int(length)),
            pr.E2M1,
        )
        .to_dict()
    ),
    "precision.testing.check_matmul": lambda i: (
        _testing().check_matmul(_product, FP8, batches=False).to_dict()
    ),
    "precision.testing.quantizer_properties": lambda i: [
        str(p) for p in _testing().quantizer_properties("e4m3")
    ],
    "precision.testing.dequantizer_properties": lambda i: [
        str(p) for p in _testing().dequantizer_properties("mxfp4")
    ],
    "precision.testing.matmul_properties": lambda i: list(map(str, _testing().matmul_properties(FP8))),
    "precision.testing.Property.outcome": lambda i: (
        _testing().quantizer_properties("e4m3")[3].outcome(_rounded)
    ),
    "precision.testing.Property.check": lambda i: _testing().quantizer_properties("e4m3")[4].check(_rounded),
    "precision.testing.Property.attempt": lambda i: (
        _testing().quantizer_properties("e4m3")[5].outcome(_rounded, time_limit=60.0)
    ),
    **{f"precision.testing.strategies.{name}": _strategy(name) for name in DRAWN_FROM},
}


for _name, _study in studies.STUDIES.items():
    _sizes = {"m": 8, "n": 8, "rows": 16, "columns": 256, "k": 256, "sums": 8}
    CASES[f"precision.studies.STUDIES[{_name}]"] = lambda i, cell=_study.cell, sizes=_sizes: cell(
        **{k: v for k, v in sizes.items() if k in inspect.signature(cell).parameters}
    )
for _name, _kind in _distributions.DISTRIBUTIONS.items():
    CASES[f"precision.metrics.DISTRIBUTIONS[{_name}]"] = lambda i, kind=_kind: kind.draw(
        np.random.default_rng(5), (6, 9), 1
    )


def run(name: str, inputs: Inputs) -> str:
    """The digest of one case."""
    return digest(CASES[name](inputs))


if __name__ == "__main__":
    pr.set_num_threads(int(sys.argv[2]))
    set_mode("nearest")
    GIVEN = Inputs()
    for _name, _case in CASES.items():
        with mode(sys.argv[1]):
            _result = _case(GIVEN)
        print(_name, digest(_result), sep="\t")
