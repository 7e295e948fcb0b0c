"""Arrays of the other byte order, as files hold them: the same results, or an error by name."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import precision as pr
from precision import bounds, metrics, specs, storage, testing
from precision.metrics import _fidelity
from precision.testing import _reports

FLOATS = (np.float16, ml_dtypes.bfloat16, np.float32, np.float64)
NARROW = FLOATS[:3]
PER_TENSOR = pr.QuantSpec(pr.E4M3, pr.PerTensor())


def swapped(array: np.ndarray) -> np.ndarray:
    """The same values in the other byte order."""
    other = array.astype(array.dtype.newbyteorder("S"))
    assert not other.dtype.isnative and other.dtype.itemsize > 1
    return other


def parts(result: Any) -> list[Any]:
    """What a result is made of, as arrays and text."""
    if isinstance(result, np.ndarray):
        return [result.dtype, result.shape, result.tobytes()]
    if isinstance(result, dict):
        return [str(result)]
    if dataclasses.is_dataclass(result) and not isinstance(result, type):
        fields = [getattr(result, field.name) for field in dataclasses.fields(result)]
        return [piece for field in fields for piece in parts(field)]
    if isinstance(result, tuple):
        return [piece for field in result for piece in parts(field)]
    return [str(result)]


def arrays(dtype: Any) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(4)
    x = rng.standard_normal((16, 64)).astype(dtype)
    return x, (x.astype(np.float64) * 1.01).astype(dtype)


def bound(a: np.ndarray, b: np.ndarray) -> Any:
    return bounds.error_bound(PER_TENSOR, pr.HOPPER_FP8, a, b.T)


def explained(a: np.ndarray, b: np.ndarray) -> Any:
    result, exact = np.zeros((16, 16), np.float32), np.ones((16, 16))
    return bounds.explain(result, exact, spec=PER_TENSOR, accumulator=pr.HOPPER_FP8, a=a, b=b.T)


UNARY: dict[str, Callable[[np.ndarray], Any]] = {
    "round_to": lambda x: pr.round_to(x, pr.E4M3),
    "round_to at random": lambda x: pr.round_to(x, pr.E5M2, rounding=pr.Stochastic(8)),
    "encode": lambda x: pr.encode(x, pr.E8M13),
    "Hadamard": lambda x: pr.Hadamard(16)(x),
    "Hadamard, axis 0": lambda x: pr.Hadamard(16).inverse(x, axis=0),
    "specs.quantize": lambda x: specs.quantize(x, pr.E4M3),
    "a view of fewer rows": lambda x: pr.quantize(x[::2, ::-1], pr.MXFP8_E4M3),
}
for spec in (pr.MXFP8_E4M3, pr.NVFP4, pr.NVFP4_4OVER6, PER_TENSOR, pr.LogFMT(8), pr.DEEPEP_LOGFMT10):
    UNARY[f"quantize {spec}"] = lambda x, spec=spec: pr.quantize(x, spec)
    UNARY[f"quantize {spec}, axis 0"] = lambda x, spec=spec: pr.quantize(x, spec, axis=0)
    UNARY[f"tally {spec}"] = lambda x, spec=spec: _fidelity.tally(x, spec)
BINARY: dict[str, Callable[[np.ndarray, np.ndarray], Any]] = {
    **{name: getattr(metrics, name) for name in (
        "sqnr", "norm_relative_error", "max_error_over_mean", "signed_relative_error", "cosine", "calc_diff",
        "ulp_distance", "report",
    )},
    "ulp_distance of a format": lambda x, y: metrics.ulp_distance(x, y, pr.E4M3),
    "error_bound": bound,
    "explain": explained,
}  # fmt: skip


@pytest.mark.parametrize("dtype", FLOATS, ids=lambda dtype: np.dtype(dtype).name)
@pytest.mark.parametrize("name", UNARY)
def test_functions_of_an_array(name, dtype):
    x, _ = arrays(dtype)
    assert parts(UNARY[name](swapped(x))) == parts(UNARY[name](x))


@pytest.mark.parametrize("dtype", FLOATS, ids=lambda dtype: np.dtype(dtype).name)
@pytest.mark.parametrize("name", BINARY)
def test_functions_of_two_arrays(name, dtype):
    x, y = arrays(dtype)
    wanted = parts(BINARY[name](x, y))
    assert parts(BINARY[name](swapped(x), y)) == wanted
    assert parts(BINARY[name](x, swapped(y))) == wanted
    assert parts(BINARY[name](swapped(x), swapped(y))) == wanted


def test_integers_and_both_orders_in_one_call():
    x = np.arange(-5, 5, dtype=np.int32)
    assert metrics.report(swapped(x), x) == metrics.report(x, swapped(x)) == metrics.report(x, x)
    one = np.array([1.0], np.float32)
    assert metrics.ulp_distance(np.nextafter(one, 2).astype(">f4"), one.astype(">f4")) == 1.0
    assert metrics.ulp_distance(np.nextafter(one, 2).astype(">f4"), one) == 1.0


@pytest.mark.parametrize("dtype", NARROW, ids=lambda dtype: np.dtype(dtype).name)
def test_operands_are_taken_or_refused_by_name(dtype):
    x, y = arrays(dtype)
    for unit in (pr.EXACT, pr.FP32_FMA, *([pr.HOPPER_TF32] if dtype == np.float32 else [])):
        for name, pair in (("a", (swapped(x), y)), ("b", (x, swapped(y)))):
            for call in (
                lambda a, b, unit=unit: pr.matmul(a, b.T, accumulator=unit),
                lambda a, b, unit=unit: bounds.error_bound(None, unit, a, b.T),
            ):
                try:
                    found = parts(call(*pair))
                except TypeError as error:
                    assert str(error).startswith(name) and str(pair[name == "b"].dtype) in str(error)
                else:
                    assert found == parts(call(x, y))


def test_the_start_and_the_result_of_a_product():
    x = pr.encode(arrays(np.float32)[0], pr.E4M3)
    for dtype in NARROW:
        c = np.arange(256, dtype=np.float32).reshape(16, 16).astype(dtype)
        product = [parts(pr.matmul(x, x.T, c=start, accumulator=pr.HOPPER_FP8)) for start in (c, swapped(c))]
        assert product[0] == product[1]
    for dtype in (np.float16, np.float32, np.float64):
        other = pr.matmul(x, x.T, dtype=np.dtype(dtype).newbyteorder("S"))
        assert np.array_equal(other, pr.matmul(x, x.T, dtype=dtype))


def refuses_or_agrees(call: Callable[[np.ndarray], Any], array: np.ndarray, name: str) -> None:
    wanted = parts(call(array))
    try:
        found = parts(call(swapped(array)))
    except (TypeError, ValueError) as error:
        assert name in str(error) and str(swapped(array).dtype) in str(error)
    else:
        assert found == wanted


@pytest.mark.parametrize("fmt", [pr.FP16, pr.BF16, pr.E5M6, pr.E8M13, pr.TF32, pr.FP32], ids=str)
def test_codes(fmt):
    own = pr.encode(arrays(np.float32)[0], fmt)
    for codes in (own, own.view(fmt.code_dtype)):
        refuses_or_agrees(lambda c: pr.decode(c, fmt), codes, "codes")
        refuses_or_agrees(lambda c: pr.QuantizedTensor(c, 0.5, fmt=fmt).dequantize(), codes, "codes")
        if fmt.bits <= 16:
            refuses_or_agrees(lambda c: storage.pack(c, fmt), codes, "codes")


def test_codes_in_wider_integers():
    for dtype in (np.uint16, np.uint32, np.uint64):
        refuses_or_agrees(lambda c: pr.decode(c, pr.E4M3), np.arange(200, dtype=dtype), "codes")


def test_scales():
    codes = pr.encode(arrays(np.float32)[0], pr.E4M3)
    scale = np.linspace(1, 3, 64, dtype=np.float32).reshape(16, 4)
    for array in (scale, scale.astype(ml_dtypes.bfloat16), scale.astype(np.float16)):
        refuses_or_agrees(lambda s: pr.QuantizedTensor(codes, s, fmt=pr.E4M3).dequantize(), array, "scale")
    tensor_scale = np.array(0.75, np.float32)
    made = [pr.QuantizedTensor(codes, scale, fmt=pr.E4M3, tensor_scale=s) for s in (
        tensor_scale, swapped(tensor_scale))]  # fmt: skip
    assert made[0].tensor_scale == made[1].tensor_scale


@pytest.mark.parametrize("spec", [pr.LogFMT(10), pr.DEEPEP_LOGFMT10], ids=str)
def test_logfmt_codes_and_metadata(spec):
    q = pr.quantize(arrays(ml_dtypes.bfloat16)[0], spec)
    first, second = q.metadata
    for use in (pr.LogFMTTensor.dequantize, pr.LogFMTTensor.pack):
        refuses_or_agrees(lambda c, use=use: use(pr.LogFMTTensor(c, q.metadata, spec)), q.codes, "codes")
        refuses_or_agrees(
            lambda m, use=use: use(pr.LogFMTTensor(q.codes, (m, second), spec)), first, "metadata"
        )
        refuses_or_agrees(
            lambda m, use=use: use(pr.LogFMTTensor(q.codes, (first, m), spec)), second, "metadata"
        )


def test_out():
    x = arrays(np.float32)[0]
    codes, q, log = pr.encode(x, pr.E4M3), pr.quantize(x, pr.MXFP8_E4M3), pr.quantize(x, pr.LogFMT(8))
    for call in (
        lambda out: pr.round_to(x, pr.E4M3, out=out),
        lambda out: pr.encode(x, pr.FP32, out=out),
        lambda out: pr.decode(codes, pr.E4M3, out=out),
        lambda out: q.dequantize(out=out),
        lambda out: log.dequantize(out=out),
    ):
        refuses_or_agrees(call, np.zeros_like(x), "out")


def test_what_checked_code_returns():
    def in_both_orders(
        check: Callable[[Callable[..., Any]], _reports.Report], fn: Callable[..., Any]
    ) -> None:
        swapping = functools.wraps(fn)(lambda *given: swapped(fn(*given)))  # of the same parameters
        for call in (fn, swapping):
            report = check(call)
            assert report.ok, report

    in_both_orders(lambda fn: testing.check_quantizer(fn, pr.BF16), lambda x: pr.round_to(x, pr.BF16))
    in_both_orders(lambda fn: testing.check_quantizer(fn, pr.FP16), lambda x: pr.encode(x, pr.FP16))
    in_both_orders(
        lambda fn: testing.check_packing(lambda codes: storage.pack(codes, pr.E5M6), fn, pr.E5M6),
        lambda packed, length: storage.unpack(packed, pr.E5M6, int(length)),
    )
    in_both_orders(
        lambda fn: testing.check_matmul(fn, pr.HOPPER_FP8),
        lambda a, b: pr.matmul(a, b, accumulator=pr.HOPPER_FP8),
    )
