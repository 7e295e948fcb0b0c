"""Sums in which one line of a kernel decides: rare operands, registers and scales, by the exact oracles."""

import dataclasses
from fractions import Fraction

import ml_dtypes
import numpy as np
import oracle
import pytest
from product_cases import expected_bits, rounded64, same_bits

import precision as pr
from precision.accumulators import _operand_layout, _panel_kernels, _product

TO_EVEN = pr.Rounding.TIES_TO_EVEN
F32 = np.float32


def quantized(codes, scale, fmt, axis, group, scale_format=pr.E8M0):
    """A matrix of codes with a scale for each row (axis 1) or column (axis 0) and group of K."""
    shape, block = list(codes.shape), [1, 1]
    shape[axis], block[axis] = -(-shape[axis] // group), group
    scales = np.broadcast_to(scale, shape).copy()
    return pr.QuantizedTensor(codes, scales, fmt=fmt, block=tuple(block), scale_format=scale_format)


def e8m0(*exponents: int) -> np.ndarray:
    return (127 + np.array(exponents)).astype(np.uint8).view(pr.E8M0.dtype)


@pytest.mark.parametrize("products", [7, 8, 16, 17, 24, 31])
def test_steps_of_one_to_four_parts(products):
    """An int32 holds eight such products: one, two or more of them are joined."""
    unit = pr.FusedSum((pr.FP16,), products, fraction_bits=25)
    rng = np.random.default_rng(products)
    a, b = (rng.standard_normal(s).astype(np.float16) for s in ((5, 70), (70, 66)))
    stacks = [_operand_layout.Stack(x.view(np.uint16)[None], pr.FP16) for x in (a, b)]
    one = np.zeros(1, np.int64)
    way, *_ = _panel_kernels.choose_kernel(_product.Product(*stacks, one, one, None, None, None), unit.step)
    assert way is _panel_kernels.INTEGER
    result = pr.matmul(a, b, accumulator=unit)
    columns = [0, 40, 65]
    same_bits(result[:, columns], oracle.product_bits(a, b[:, columns], pr.FP16, pr.FP16, unit))


def test_grouped_scales_of_one_and_zero():
    """A scale of zero takes the exponent from a sum, one leaves it."""
    rng = np.random.default_rng(0)
    x, y = (rng.integers(0, 16, s).astype(np.uint8).view(pr.E2M1.dtype) for s in ((6, 64), (64, 6)))
    unit = pr.BLACKWELL_NVFP4.with_width(3)
    for scales in ([1.0, 1.0], [0.0, 2.0**-6, 1.0, 2.0**-9]):
        left = rng.choice(scales, (6, 4)).astype(pr.E4M3.dtype)
        a = quantized(x, left, pr.E2M1, 1, 16, pr.E4M3)
        b = quantized(y, np.ones((4, 6), pr.E4M3.dtype), pr.E2M1, 0, 16, pr.E4M3)
        same_bits(pr.matmul(a, b, accumulator=unit), expected_bits(a, b, unit))


@pytest.mark.parametrize("register", ["subnormal", "zero"])
def test_subnormal_operands_and_registers_of_float32(register):
    unit = pr.FusedSum((pr.FP32,), 4, fraction_bits=30, alignment_rounding=TO_EVEN)
    rng = np.random.default_rng(1)
    a = rng.integers(1, 1 << 23, (4, 8)).astype(np.uint32).view(F32)
    b = (rng.standard_normal((8, 3)) * 2.0 ** rng.integers(0, 100, (1, 3))).astype(F32)
    c = None
    if register == "subnormal":
        b *= F32(2.0**-100)
        c = rng.integers(1, 1 << 23, (4, 3)).astype(np.uint32).view(F32)
    same_bits(pr.matmul(a, b, accumulator=unit, c=c), oracle.product_bits(a, b, pr.FP32, pr.FP32, unit, c))


@pytest.mark.parametrize("distance", [40, 61, 62, 63, 64, 65, 100])
@pytest.mark.parametrize("rounding", list(pr.Rounding))
def test_terms_far_below_the_largest(rounding, distance):
    """A term of which no bit is left counts by its sign alone, in the modes that heed it."""
    unit = pr.FusedSum((pr.FP32,), 2, fraction_bits=20, alignment_rounding=rounding)
    a = F32([[1, 1.5 * 2.0**-distance], [1, -1.5 * 2.0**-distance], [-1, 2.0**-distance]])
    b = F32([[1], [1.25]])
    same_bits(pr.matmul(a, b, accumulator=unit), oracle.product_bits(a, b, pr.FP32, pr.FP32, unit))


def test_registers_below_their_formats_normal_values():
    """They align at the format's smallest exponent."""
    unit = pr.FusedSum((pr.FP16,), 4, fraction_bits=4, register=pr.FP16, alignment_rounding=TO_EVEN)
    rng = np.random.default_rng(2)
    a = (rng.standard_normal((6, 4)) * 2.0**-9).astype(np.float16)
    b = (rng.standard_normal((4, 6)) * 2.0**-9).astype(np.float16)
    c = (rng.integers(1, 1 << 6, (6, 6)) * 2.0**-24).astype(F32)
    same_bits(pr.matmul(a, b, accumulator=unit, c=c), oracle.product_bits(a, b, pr.FP16, pr.FP16, unit, c))


def test_registers_at_the_largest_float32():
    """They are numbers, to which products still add."""
    unit = pr.FusedSum((pr.FP32,), 4, fraction_bits=30, alignment_rounding=TO_EVEN)
    largest = np.finfo(F32).max
    c = F32([[largest, -largest]])
    a, b = np.ones((1, 4), F32), np.zeros((4, 2), F32)
    b[0] = -(2.0**105), 2.0**105
    same_bits(pr.matmul(a, b, accumulator=unit, c=c), oracle.product_bits(a, b, pr.FP32, pr.FP32, unit, c))
    inside = dataclasses.replace(pr.BLACKWELL_MX, products=4, alignment_rounding=TO_EVEN)
    ones, signs = np.ones((1, 4), pr.E4M3.dtype), F32([[-1, 1]] * 4).astype(pr.E4M3.dtype)
    qa, qb = quantized(ones, e8m0(60), pr.E4M3, 1, 4), quantized(signs, e8m0(43), pr.E4M3, 0, 4)
    expected = expected_bits(qa, qb, inside, c)
    assert (expected != c.view(np.uint32)).all()
    same_bits(pr.matmul(qa, qb, accumulator=inside, c=c), expected)


def test_exact_groups_as_wide_as_they_may_be():
    """62 bits of a sum: products with bits above and below the place where an integer starts."""
    fmt = pr.FloatFormat(5, 1)
    unit = pr.FusedSum((fmt,), 2, fraction_bits=24, scale_in_unit=pr.ScaledGroups(1))
    rng = np.random.default_rng(3)
    x, y = (rng.choice([-3, -2, 2, 3], s) * 2.0 ** rng.integers(6, 13, s) for s in ((8, 2), (2, 8)))
    a, b = (pr.encode(z, fmt) for z in (x, y))
    qa = quantized(a, np.ones((8, 2), F32), fmt, 1, 1, pr.FP32)
    qb = quantized(b, np.ones((2, 8), F32), fmt, 0, 1, pr.FP32)
    same_bits(pr.matmul(qa, qb, accumulator=unit), expected_bits(qa, qb, unit))


def test_infinite_scales_multiply():
    """Inf times a negative sum is -Inf, times a sum of zero NaN."""
    x = np.zeros((3, 4), F32)
    x[:, 0] = 2, -2, 0
    unit = pr.FusedSum((pr.E4M3,), 4, fraction_bits=20, scale_in_unit=pr.ScaledGroups(4))
    a = quantized(pr.encode(x, pr.E4M3), F32(np.inf), pr.E4M3, 1, 4, pr.FP32)
    b = quantized(np.ones((4, 1), pr.E4M3.dtype), F32(1), pr.E4M3, 0, 4, pr.FP32)
    np.testing.assert_array_equal(pr.matmul(a, b, accumulator=unit), [[np.inf], [-np.inf], [np.nan]])


@pytest.mark.parametrize("block", [(1, 8), (8, 8)], ids=["1 x n by 1 x n", "1 x n by n x n"])
def test_promotion_with_scales_in_the_general_kernel(block):
    rng = np.random.default_rng(4)
    unit = pr.FusedSum((pr.E4M3,), 8, fraction_bits=13, alignment_rounding=TO_EVEN, promotion=8)
    x, y = (rng.standard_normal(s).astype(F32).astype(pr.E4M3.dtype) for s in ((3, 24), (24, 8)))
    sa, sb = (rng.lognormal(0, 2, s).astype(F32) for s in ((3, 3), (3, 8 // block[0])))
    a = pr.QuantizedTensor(x, sa, fmt=pr.E4M3, block=(1, 8))
    b = pr.QuantizedTensor(y, sb, fmt=pr.E4M3, block=(8, 8) if block[0] == 8 else (8, 1))
    result = pr.matmul(a, b, accumulator=unit)
    if block[0] == 8:
        sb = np.repeat(sb, 8, axis=1)
    expected = oracle.product_bits(
        x, y, pr.E4M3, pr.E4M3, unit, epilogue="block" if block[0] == 8 else "group",
        scale_a=lambda i, j: [oracle.value32(s) for s in sa[i]],
        scale_b=lambda i, j: [oracle.value32(s) for s in sb[:, j]],
    )  # fmt: skip
    same_bits(result, expected)


@pytest.mark.parametrize("odd", [False, True])
def test_the_last_digit_of_an_exact_sum_counts(odd):
    """A tie, or a representable number, and one bit that is the last of a 32-bit digit."""
    from precision._kernels.products import _kulisch

    rows = [[2.0 ** (32 * n - 1), tie, 2.0 ** (32 * n - 96)] for n in range(-20, 20)
            for tie in (0, 2.0 ** (32 * n - 54))]  # fmt: skip
    rows += [[0, 0, 5e-324], [0, 0, 0], [1, -1, 5e-324], [1, -1, 0]]
    digits, out = np.zeros(_kulisch.DIGITS, np.int64), np.empty((len(rows), 1))
    _kulisch.sum_exact(0, len(rows), np.array(rows), np.ones((1, 3)), np.empty((0, 0)), odd, digits, out)
    expected = [rounded64(sum(map(Fraction, row), Fraction(0)), odd) for row in rows]
    np.testing.assert_array_equal(out[:, 0], expected)


def test_exact_factors_leave_what_they_multiply_exactly():
    from precision._kernels.products import _kulisch

    sums = np.array([[1.5, -1.5, 0.0]])
    _kulisch.scale_exact(0, 1, sums, np.array([2.0]), np.array([1.0, 4.0, 3.0]), True)
    np.testing.assert_array_equal(sums, [[3, -12, 0]])


@pytest.mark.parametrize(
    "accumulator", [pr.HOPPER_TF32, pr.HOPPER_TF32.with_width(30), pr.FP32_FMA, pr.EXACT], ids=str
)
def test_tf32_codes_are_read_as_such(accumulator):
    """A tensor's codes have 19 bits; arrays hold TF32 as float32."""
    rng = np.random.default_rng(5)
    x, y = (pr.round_to(rng.standard_normal(s).astype(F32), pr.TF32) for s in ((4, 24), (24, 5)))
    x[0, 3], y[5, 1] = np.inf, np.nan
    codes = [pr.encode(z, pr.TF32, overflow=pr.Overflow.NON_SATURATING) for z in (x, y)]
    assert all((some < 1 << 19).all() for some in codes)
    a, b = (pr.QuantizedTensor(some, F32(1), fmt=pr.TF32) for some in codes)
    expected = pr.matmul(x, y, accumulator=accumulator)
    assert np.isfinite(expected).sum() == 12 and (expected != 0).all()
    np.testing.assert_array_equal(pr.matmul(a, b, accumulator=accumulator), expected)
    if accumulator != pr.EXACT:
        row, column = (pr.QuantizedTensor(z, F32(1), fmt=pr.TF32) for z in (codes[0][1], codes[1][:, 0]))
        assert pr.trace(row, column, accumulator=accumulator).register[-1] == expected[1, 0]


#: The bits of a NaN by the type of the result, as `matmul` documents them.
NAN_BITS = {"float16": 0x7FFF, "bfloat16": 0x7FC0, "float32": 0x7FFFFFFF, "float64": 0x7FFFFFFFE0000000}


@pytest.mark.parametrize("dtype", NAN_BITS)
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_bits_of_nan_by_the_type_of_the_result(dtype, sign):
    kind = np.dtype(getattr(ml_dtypes, dtype, None) or dtype)
    units = (pr.HOPPER_FP8, pr.HOPPER_FP8_ACC16, pr.HOPPER_FP16, pr.HOPPER_FP16_ACC16, pr.HOPPER_BF16)
    for unit in (*units, pr.HOPPER_TF32, pr.FP32_FMA, pr.FP32_FMA.promoted(2), pr.HOPPER_FP8.promoted(32)):
        fmt = unit.operand_formats[0] if unit.operand_formats else pr.FP32
        x = np.copysign(np.float32([[np.nan]]), np.float32(sign))
        a = x if fmt in (pr.TF32, pr.FP32) else pr.encode(x, fmt)
        result = pr.matmul(a, a, accumulator=unit, dtype=kind)
        assert result.view(f"u{kind.itemsize}").item() == NAN_BITS[dtype], unit


def test_an_empty_sum_is_its_start():
    """With K = 0 the result is ``c`` as it is; only second scales multiply it, and `EXACT` gives no -0."""
    a, b = np.zeros((1, 0), pr.E4M3.dtype), np.zeros((0, 3), pr.E4M3.dtype)
    c = np.uint32([0xFFC12345, 0x80000000, 0x3FC00000]).view(np.float32)[None]

    def scaled(codes, tensor_scale=None):
        return pr.QuantizedTensor(codes, np.float32(3), fmt=pr.E4M3, tensor_scale=tensor_scale)

    for unit in (pr.HOPPER_FP8, pr.HOPPER_FP8.promoted(32), pr.FP32_FMA):
        for left, right in ((a, b), (scaled(a), scaled(b))):
            result = pr.matmul(left, right, accumulator=unit, c=c)
            assert result.view(np.uint32).tolist() == c.view(np.uint32).tolist()
        assert pr.matmul(a, b, accumulator=unit).view(np.uint32).tolist() == [[0, 0, 0]]
        second = scaled(a, np.float32(5)), scaled(b, np.float32(2))
        assert pr.matmul(*second, accumulator=unit, c=c)[0, 1:].tolist() == [0.0, 15.0]
    for left, right in ((a, b), (scaled(a, np.float32(5)), scaled(b, np.float32(2)))):
        result = pr.matmul(left, right, accumulator=pr.EXACT, c=c)
        assert result[0, 1:].view(np.uint32).tolist() == [0, 0x3FC00000] and np.isnan(result[0, 0])


def test_exact_sums_take_tensor_scales_merged_in_float32():
    one = pr.encode(np.float32([[1.0]]), pr.E4M3)
    scale, tensor_scale = np.float32(1.3), np.float32(1.1)
    a = pr.QuantizedTensor(one, scale, fmt=pr.E4M3, tensor_scale=tensor_scale)
    result = pr.matmul(a, one, accumulator=pr.EXACT, c=np.float32([[1.0]]), dtype=np.float64).item()
    assert result == 1.0 + float(scale * tensor_scale) != 1.0 + float(scale) * float(tensor_scale)
