"""Units that take scales themselves: against exact fractions and published values."""

import dataclasses

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from product_cases import expected_bits, tensors

import precision as pr
from precision.accumulators import _panel_kernels, _panel_loops
from precision.formats import parse_format
from precision.testing.strategies import _unit_strategies

UE5M3 = parse_format("ue5m3")


@settings(max_examples=150, deadline=None)
@given(
    unit=_unit_strategies.fused_sums(scaled=True),
    scale=st.sampled_from(["e8m0", "e4m3", "ue5m3", "fp32"]),
    length=st.integers(1, 70),
    times=st.sampled_from([1, 2]),
    kind=st.sampled_from(["near", "near", "far", "bits"]),
    data=st.sampled_from(["finite", "sparse", "bits"]),
    started=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
@example(pr.BLACKWELL_MX, "e8m0", 70, 1, "near", "finite", True, 0)
@example(pr.BLACKWELL_MX, "e8m0", 70, 1, "bits", "bits", False, 1)
@example(pr.BLACKWELL_NVFP4, "e4m3", 70, 1, "near", "finite", True, 2)
@example(pr.BLACKWELL_NVFP4, "e8m0", 70, 2, "bits", "sparse", False, 3)
@example(pr.BLACKWELL_NVFP4.with_width(3), "e4m3", 64, 1, "near", "finite", True, 4)
def test_scales_inside_the_unit_are_the_oracles(unit, scale, length, times, kind, data, started, seed):
    products = isinstance(unit.scale_in_unit, pr.ScaledProducts)
    group = times * (unit.products if products else unit.scale_in_unit.n)
    a, b = tensors(unit, parse_format("e8m0" if products else scale), 3, length, 2, group, seed, kind, data)
    c = None
    if started:
        c = pr.round_to(np.random.default_rng(seed).standard_normal((3, 2)).astype(np.float32), unit.register)
    result = pr.matmul(a, b, accumulator=unit, c=c)
    np.testing.assert_array_equal(result.view(np.uint32), expected_bits(a, b, unit, c))


def codes_of(values, fmt: pr.FloatFormat) -> np.ndarray:
    return pr.encode(np.asarray(values, np.float32), fmt)


@pytest.mark.parametrize(("fmt", "left", "right"), [(pr.E5M2, 0, 0), (pr.E4M3, 5, 2)], ids=str)
def test_golden_value_of_mx(fmt, left, right):
    """MMA-Sim's (arXiv 2511.10909, table 8): -0.75 on Blackwell, whichever part of it is in the scales."""
    a = np.float32([[-(2.0**13), -0.5, -0.25, -0.125]]) / 2.0**left
    b = np.float32([[2.0**10], [1.0], [1.0], [1.0]]) / 2.0**right
    scales = (np.full((1, 1), 127 + shift, np.uint8).view(pr.E8M0.dtype) for shift in (left, right))
    qa = pr.QuantizedTensor(codes_of(a, fmt), next(scales), fmt=fmt, block=(1, 32))
    qb = pr.QuantizedTensor(codes_of(b, fmt), next(scales), fmt=fmt, block=(32, 1))
    assert pr.matmul(qa, qb, accumulator=pr.BLACKWELL_MX, c=np.float32([[2.0**23]]))[0, 0] == -0.75


def test_golden_value_of_nvfp4():
    """The exact -0.875 of the same table, with operands rescaled: |E2M1 * UE4M3| is at most 2688."""
    x, y = np.zeros((1, 64), np.float32), np.zeros((64, 1), np.float32)
    x[0, :5], y[:5, 0] = (-4, -4, 0, 0, 0), (4, 4, 0, 0, 0)
    x[0, 16:19], y[16:19, 0] = (-1, -0.5, -0.5), (0.5, 0.5, 0.25 * 2)
    sa = np.float32([[256, 1, 1, 1]]).astype(pr.E4M3.dtype)
    sb = np.float32([[256], [1], [1], [1]]).astype(pr.E4M3.dtype)
    qa = pr.QuantizedTensor(codes_of(x, pr.E2M1), sa, fmt=pr.E2M1, block=(1, 16))
    qb = pr.QuantizedTensor(codes_of(y, pr.E2M1), sb, fmt=pr.E2M1, block=(16, 1))
    c = np.float32([[2.0**21]])
    exact = pr.matmul(qa, qb, accumulator=pr.EXACT, c=c)[0, 0]
    assert exact == -1.0
    assert pr.matmul(qa, qb, accumulator=pr.BLACKWELL_NVFP4, c=c)[0, 0] == exact
    assert pr.matmul(qa, qb, accumulator=pr.BLACKWELL_NVFP4.with_width(21), c=c)[0, 0] == -1.0
    assert pr.matmul(qa, qb, accumulator=pr.BLACKWELL_NVFP4.with_width(15), c=c)[0, 0] == 0


def plain(x, rng):
    return x


def wide(x, rng):
    return x * np.float32(2.0) ** rng.integers(-20, 20, x.shape).astype(np.float32)


def special(x, rng):
    x[3, 40] = np.nan
    return x


def tiny(x, rng):
    return x * np.float32(1e-35)


@pytest.mark.parametrize(
    ("spec", "unit", "data", "way"),
    [
        (pr.MXFP8_E4M3, pr.BLACKWELL_MX, plain, "Integer"),
        (pr.MXFP8_E5M2, pr.BLACKWELL_MX, wide, "Integer"),
        (pr.MXFP6_E2M3, pr.BLACKWELL_MX, special, "Integer"),
        (pr.MXFP4, pr.BLACKWELL_MX, tiny, "general"),
        (pr.MXFP4, pr.BLACKWELL_MX, wide, "Integer"),
        (pr.MXFP8_E4M3, pr.BLACKWELL_MX.with_width(13), plain, "Integer"),
        (pr.MXFP8_E4M3, pr.BLACKWELL_MX.with_width(26), plain, "general"),
        (pr.MXFP8_E4M3, pr.BLACKWELL_MX.promoted(64), wide, "Integer"),
        (pr.NVFP4, pr.BLACKWELL_NVFP4, plain, "Grouped"),
        (pr.NVFP4, pr.BLACKWELL_NVFP4, special, "Grouped"),
        (pr.NVFP4, pr.BLACKWELL_NVFP4.with_width(9), wide, "Grouped"),
        (pr.MXFP4, pr.BLACKWELL_NVFP4, tiny, "Grouped"),
        (pr.MXFP4, pr.BLACKWELL_NVFP4.promoted(128), wide, "Grouped"),
    ],
    ids=lambda value: value.__name__ if callable(value) and hasattr(value, "__name__") else str(value),
)
def test_each_kernel_is_chosen_and_exact_over_panels_and_tiles(spec, unit, data, way, monkeypatch):
    """Several tiles and panels, a ragged K and a start: all outputs by the general kernel as well."""
    rng = np.random.default_rng(5)
    x, y = (data(rng.standard_normal(shape, np.float32), rng) for shape in ((130, 200), (200, 131)))
    a, b = pr.quantize(x, spec), pr.quantize(y, spec, axis=-2)
    c = rng.standard_normal((130, 131), np.float32)
    found, choose = [], _panel_kernels.choose_kernel

    def watched(product, some):
        found.append(choose(product, some))
        return found[-1]

    monkeypatch.setattr(_panel_loops, "choose_kernel", watched)
    monkeypatch.setattr(_panel_loops, "_tile_rows", lambda *_: 64)
    result = pr.matmul(a, b, accumulator=unit, c=c)
    assert (found[0][0].name if found[0][0] else "general") == way
    monkeypatch.setattr(_panel_loops, "choose_kernel", lambda *_: (None, 0, 0))
    general = pr.matmul(a, b, accumulator=unit, c=c)
    np.testing.assert_array_equal(result.view(np.uint32), general.view(np.uint32))


def test_group_scaling_inside_the_unit_that_deepseek_asked_for():
    """FP32 scales, 1x128 by 128x128, in the unit: the register's width decides the error."""
    rng = np.random.default_rng(6)
    x, y = rng.random((8, 1024), np.float32), rng.random((1024, 8), np.float32)
    a = pr.quantize(x, pr.QuantSpec(pr.E4M3, pr.PerGroup(128)))
    b = pr.quantize(y, pr.QuantSpec(pr.E4M3, pr.PerBlock(128, 128)), axis=-2)
    exact = pr.matmul(a, b, accumulator=pr.EXACT, dtype=np.float64)
    unit = pr.FusedSum((pr.E4M3,), 32, fraction_bits=25, scale_in_unit=pr.ScaledGroups(32))
    errors = []
    for bits in (10, 16, 25):
        result = pr.matmul(a, b, accumulator=unit.with_width(bits))
        # The blocks' scales repeated over the lines under them.
        tall = pr.QuantizedTensor(b.codes, np.repeat(b.scale, 8, 1), fmt=b.fmt, block=(128, 1))
        expected = expected_bits(a, tall, unit.with_width(bits))
        np.testing.assert_array_equal(result.view(np.uint32), expected)
        errors.append(np.abs(result / exact - 1).max())
    assert errors[0] > 30 * errors[1] > 900 * errors[2]


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: pr.ScaledGroups(0), ValueError, "n must lie in 1"),
        (
            lambda: pr.FusedSum((pr.E4M3,), 32, fraction_bits=13, scale_in_unit=16),
            TypeError,
            "scale_in_unit must",
        ),
        (
            lambda: pr.FusedSum((pr.E4M3,), 32, fraction_bits=13, scale_in_unit=pr.ScaledGroups(3)),
            ValueError,
            "a divisor of 32",
        ),
        (
            lambda: pr.FusedSum((pr.E5M2,), 32, fraction_bits=13, scale_in_unit=pr.ScaledGroups(32)),
            ValueError,
            "within 62 bits",
        ),
        (
            lambda: pr.FusedSum((pr.E4M3,), 32, fraction_bits=39, scale_in_unit=pr.ScaledGroups(32)),
            ValueError,
            "fraction_bits must be at most",
        ),
        (
            lambda: pr.matmul(
                *_operands(pr.QuantSpec(pr.E4M3, pr.PerGroup(32))), accumulator=pr.BLACKWELL_MX
            ),
            TypeError,
            "a must have scales that are powers of two",
        ),
        (
            lambda: pr.matmul(
                *_operands(pr.QuantSpec(pr.E2M1, pr.PerGroup(8))), accumulator=pr.BLACKWELL_NVFP4
            ),
            ValueError,
            "a must have a scale for a multiple of 16 of K",
        ),
    ],
)
def test_bad_units_and_scales_are_answered(make, error, message):
    with pytest.raises(error, match=message):
        make()


def _operands(spec):
    x = np.ones((4, 64), np.float32)
    return pr.quantize(x, spec), pr.quantize(x.T, spec, axis=-2)


def both_ways(a, b, unit, c, way, monkeypatch):
    """The result of the kernel that `matmul` chooses, which must be ``way``: the general one's bits."""
    found, choose = [], _panel_kernels.choose_kernel

    def watched(product, some):
        found.append(choose(product, some))
        return found[-1]

    with monkeypatch.context() as patch:
        patch.setattr(_panel_loops, "choose_kernel", watched)
        result = pr.matmul(a, b, accumulator=unit, c=c)
        patch.setattr(_panel_loops, "choose_kernel", lambda *_: (None, 0, 0))
        general = pr.matmul(a, b, accumulator=unit, c=c)
    assert (found[0][0].name if found[0][0] else "general") == way
    np.testing.assert_array_equal(result.view(np.uint32), general.view(np.uint32))
    return result


def grouped(x, group, axis=-1, fmt=pr.E4M3):
    spec = pr.QuantSpec(fmt, pr.PerGroup(group), scale_format=pr.E8M0, scale_rule=pr.ScaleRule.FLOOR)
    return pr.quantize(x, spec, axis)


@pytest.mark.parametrize(
    ("left", "right", "way"),
    [
        (32, 64, "Integer"),
        (96, 32, "Integer"),
        (64, 256, "Integer"),
        (16, 32, "general"),
        (32, 48, "general"),
    ],
)
def test_groups_of_the_two_operands_may_differ(left, right, way, monkeypatch):
    rng = np.random.default_rng(7)
    x, y = (wide(rng.standard_normal(shape, np.float32), rng) for shape in ((5, 200), (200, 67)))
    both_ways(grouped(x, left), grouped(y, right, -2), pr.BLACKWELL_MX, None, way, monkeypatch)


@pytest.mark.parametrize(
    ("power", "way"), [(0, "Integer"), (90, "Integer"), (110, "general"), (-90, "Integer"), (-110, "general")]
)
def test_registers_far_from_the_products(power, way, monkeypatch):
    rng = np.random.default_rng(8)
    x, y = rng.standard_normal((5, 64), np.float32), rng.standard_normal((64, 66), np.float32)
    c = (rng.standard_normal((5, 66)) * 2.0**power).astype(np.float32)
    small = np.float32(2.0**-34)  # scales of about 2**-42 each
    both_ways(grouped(x * small, 32), grouped(y * small, 32, -2), pr.BLACKWELL_MX, c, way, monkeypatch)


@pytest.mark.parametrize("bits", [35, 36, 38, 40])
def test_widest_grouped_sums(bits, monkeypatch):
    """Scales far apart, so that terms are cut; past what float64 sums hold, the general kernel."""
    rng = np.random.default_rng(9)
    unit = pr.BLACKWELL_NVFP4.with_width(bits)
    spec = pr.QuantSpec(pr.E2M1, pr.PerGroup(16), scale_format=pr.E8M0, scale_rule=pr.ScaleRule.FLOOR)
    x, y = (wide(rng.standard_normal(shape, np.float32), rng) for shape in ((5, 128), (128, 66)))
    a, b = pr.quantize(x, spec), pr.quantize(y, spec, axis=-2)
    way = "Grouped" if bits <= 37 else "general"
    both_ways(a, b, unit, rng.standard_normal((5, 66), np.float32), way, monkeypatch)


def test_grouped_sums_overflow_to_infinity(monkeypatch):
    ones = np.full((2, 64), 6, np.float32)
    ones[1] = -6
    high = np.full((2, 4), 254, np.uint8).view(pr.E8M0.dtype)
    a = pr.QuantizedTensor(pr.encode(ones, pr.E2M1), high, fmt=pr.E2M1, block=(1, 16))
    low = np.full((4, 2), 130, np.uint8).view(pr.E8M0.dtype)
    b = pr.QuantizedTensor(pr.encode(ones.T, pr.E2M1), low, fmt=pr.E2M1, block=(16, 1))
    result = both_ways(a, b, pr.BLACKWELL_NVFP4, None, "Grouped", monkeypatch)
    assert result.tolist() == [[np.inf, -np.inf], [-np.inf, np.inf]]


def test_blocks_of_zeros_stay_fast(monkeypatch):
    """Their scales are the smallest there are, and mean nothing."""
    rng = np.random.default_rng(10)
    x, y = rng.standard_normal((70, 128), np.float32), rng.standard_normal((128, 70), np.float32)
    x[5, :32], y[32:64, 3], y[:, 9] = 0, 0, 0
    x[6, 3] = np.nan
    result = both_ways(
        pr.quantize(x, pr.MXFP8_E4M3), pr.quantize(y, pr.MXFP8_E4M3, axis=-2), pr.BLACKWELL_MX, None,
        "Integer", monkeypatch,
    )  # fmt: skip
    assert not result[:5, 9].any() and np.isnan(result[6]).all()


@pytest.mark.parametrize("products", [1, 3, 17, 32])
@pytest.mark.parametrize("code", [127, 129, 140, 200])
def test_steps_of_zeros_leave_the_register(products, code, monkeypatch):
    """Whatever the scales: their factor may be beyond float32's range."""
    unit = dataclasses.replace(pr.BLACKWELL_MX, products=products)
    zeros, ones = np.zeros((1, products), pr.E4M3.dtype), np.ones((products, 1), pr.E4M3.dtype)
    a = pr.QuantizedTensor(
        zeros, np.full((1, 1), code, np.uint8).view(pr.E8M0.dtype), fmt=pr.E4M3, block=(1, products)
    )
    b = pr.QuantizedTensor(
        ones, np.full((1, 1), 127, np.uint8).view(pr.E8M0.dtype), fmt=pr.E4M3, block=(products, 1)
    )
    for start in (0.0, 2.0**-90, -1.5):
        assert pr.matmul(a, b, accumulator=unit, c=np.float32([[start]]))[0, 0] == start


def test_scales_of_zero_are_zero():
    """In a format of powers of two that has one."""
    fmt = parse_format("ue5m0")
    ones = np.ones((1, 64), pr.E4M3.dtype)
    a = pr.QuantizedTensor(
        ones, pr.encode(np.float32([[0, 1]]), fmt), fmt=pr.E4M3, block=(1, 32), scale_format=fmt
    )
    b = pr.QuantizedTensor(
        ones.T, pr.encode(np.float32([[1], [1]]), fmt), fmt=pr.E4M3, block=(32, 1), scale_format=fmt
    )
    assert pr.matmul(a, b, accumulator=pr.BLACKWELL_MX)[0, 0] == 32
