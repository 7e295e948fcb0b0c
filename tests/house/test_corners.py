"""Corners that a fuzz with independent oracles found, each with its neighbours."""

import warnings

import numpy as np
import pytest

import precision as pr

INT8 = pr.parse_format("int8")


@pytest.mark.parametrize("fmt", [INT8, pr.parse_format("int4"), pr.E4M3, pr.FP16], ids=str)
@pytest.mark.parametrize("infinite", ["scale", "b"])
def test_an_infinite_factor_multiplies_each_product(fmt, infinite):
    """Inf times products of both signs is Inf - Inf, which is NaN; of one sign it is that Inf."""
    for values, wanted in (
        ([1.0, -2.0], np.nan),
        ([1.0, 2.0], np.inf),
        ([-1.0, -2.0], -np.inf),
        ([1.0, 0.0], np.nan),
    ):
        codes = pr.encode(np.array([values]), fmt)
        scale = np.float32([[np.inf if infinite == "scale" else 1]])
        a = pr.QuantizedTensor(codes, scale, fmt=fmt, block=(None, None))
        b = np.full((2, 1), np.inf if infinite == "b" else 1, np.float16)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            got = pr.matmul(a, b, accumulator=pr.EXACT, dtype=np.float64)
        assert np.array_equal(got, [[wanted]], equal_nan=True), (values, got)


@pytest.mark.parametrize("unit", [pr.HOPPER_FP8, pr.HOPPER_FP8.promoted(128), pr.FP32_FMA], ids=str)
def test_a_tensor_scale_multiplies_the_total_of_nothing(unit):
    """At K = 0 the total is ``c``, and the tensors' scales multiply it as they do at any other K."""
    found = []
    for k in (0, 1):
        a = pr.QuantizedTensor(np.zeros((2, k), np.uint8), np.ones((2, k), np.float32), fmt=pr.E4M3,
                               block=(1, 1), tensor_scale=np.float32(0.5))  # fmt: skip
        b = np.zeros((k, 3), pr.E4M3.dtype)
        c = np.full((2, 3), 8, np.float32)
        found.append(
            pr.matmul(a, b, accumulator=unit.promoted(unit.promotion or 32 if k else unit.promotion), c=c)
        )
    assert (found[0] == 4).all() and (found[1] == 4).all()


def test_a_register_has_a_zero():
    without = pr.FloatFormat(5, 4, subnormals=False)
    with pytest.raises(ValueError, match="register must have a zero"):
        pr.FusedSum((pr.E4M3,), 4, fraction_bits=8, register=without)


@pytest.mark.parametrize("shape", [(1, 0), (0, 3), (0,), (2, 0, 4)], ids=str)
@pytest.mark.parametrize(
    "scale", [1.0, np.float32(2), np.ones((), pr.E8M0.dtype)], ids=["float", "float32", "e8m0"]
)
def test_one_number_is_the_scale_of_an_empty_tensor(shape, scale):
    q = pr.QuantizedTensor(np.zeros(shape, np.uint8), scale, fmt=pr.E4M3)
    assert q.dequantize().shape == shape and q.block == (None,) * len(shape)


@pytest.mark.parametrize("order", pr.Arithmetic, ids=str)
@pytest.mark.parametrize("group", [pr.PerTensor(), pr.PerGroup(3), pr.PerGroup(16)], ids=str)
@pytest.mark.parametrize("fmt", [pr.E4M3, pr.E2M1, pr.parse_format("int8")], ids=str)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "rounding", [pr.Rounding.TIES_TO_EVEN, pr.Rounding.TOWARD_ZERO, pr.Stochastic(8)], ids=str
)
def test_infinities_saturate_under_scales_that_overflow(order, group, fmt, dtype, rounding):
    """FINITE_AMAX: an infinity becomes the largest value of its sign, whatever its group's scale is."""
    spec = pr.QuantSpec(
        fmt, group, scale_format=pr.E4M3, tensor_scale=True, non_finite=pr.NonFinite.FINITE_AMAX,
        rounding=rounding, least_scale=448.0, scale_bound=0.01, arithmetic=order,
    )  # fmt: skip
    x = np.array([3e38, -np.inf, np.inf] + [1.0] * 13, dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        q = pr.quantize(x, spec)
        multipliers, values = q.multipliers(), q.dequantize()
    assert np.isinf(multipliers.flat[0]) and values.shape == x.shape
    assert pr.decode(q.codes, fmt)[1:3].tolist() == [-fmt.max, fmt.max]
