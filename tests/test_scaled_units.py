"""Units that take scales themselves: against exact fractions and published values."""

import numpy as np
import oracle
import pytest
import reference as ref
from hypothesis import example, given, settings
from hypothesis import strategies as st

import precision as pr
from precision.formats import parse_format

UE5M3 = parse_format("ue5m3")
FORMATS = [pr.E4M3, pr.E5M2, pr.E2M3, pr.E3M2, pr.E2M1]


@st.composite
def units(draw: st.DrawFn) -> pr.FusedSum:
    """Both ways to scale, with any width, register and rounding that fits the operands."""
    plain = st.sampled_from([pr.Rounding.TOWARD_ZERO] * 4 + list(pr.Rounding))
    grouped = draw(st.booleans())
    operands = (draw(st.sampled_from([pr.E4M3, pr.E2M1, pr.E2M3] if grouped else FORMATS)),)
    group = draw(st.sampled_from([1, 4, 16])) if grouped else 1
    return pr.FusedSum(
        operands,
        group * draw(st.sampled_from([1, 2, 4])) if grouped else draw(st.sampled_from([1, 4, 16, 32])),
        fraction_bits=draw(st.integers(1, 28)),
        register=draw(st.sampled_from([pr.FP32, pr.E8M13, pr.FP16])),
        alignment_rounding=draw(plain),
        register_rounding=draw(plain),
        min_exponent=draw(st.sampled_from([-133, -139, -21, 0])),
        promotion=None,
        scale_in_unit=pr.ScaledGroups(group) if grouped else pr.ScaledProducts(),
    )


def random_scales(
    rng: np.random.Generator, fmt: pr.FloatFormat, shape: tuple[int, ...], kind: str
) -> np.ndarray:
    """Scale codes: moderate ones, any finite ones, or any, NaN, zero and Inf among them."""
    if kind == "bits":
        codes = rng.integers(0, 1 << min(fmt.bits - fmt.signed, 31), shape)
        return codes.astype(fmt.code_dtype).view(fmt.dtype)
    spread = 3 if kind == "near" else 40
    x = np.abs(rng.standard_normal(shape)) * 2.0 ** rng.integers(-spread, spread + 1, shape)
    return pr.encode(x.astype(np.float32), fmt)


def tensors(unit, scale_format, rows, length, columns, group, seed, kind, data):
    """Operands of any codes (but NaN and Inf, unless ``data`` is "bits") with scales along K."""
    rng = np.random.default_rng(seed)
    fmt = unit.operands[0]
    groups = -(-length // group)
    sides = []
    for shape, scales in (((rows, length), (rows, groups)), ((length, columns), (groups, columns))):
        codes = rng.integers(0, 1 << fmt.bits, shape).astype(fmt.code_dtype)
        if data != "bits":
            codes[~np.isfinite(pr.decode(codes, fmt))] = 1
            codes[rng.random(shape) < (0.7 if data == "sparse" else 0.1)] = 0
        block = (1, group) if shape[0] == rows and shape[1] == length else (group, 1)
        sides.append(
            pr.QuantizedTensor(
                codes, random_scales(rng, scale_format, scales, kind), fmt=fmt, block=block,
                scale_format=scale_format,
            )
        )  # fmt: skip
    return sides


def expected_bits(a, b, unit, c=None) -> np.ndarray:
    group = unit.scale_in_unit.n if isinstance(unit.scale_in_unit, pr.ScaledGroups) else 0
    model, formats = oracle.plain_unit(unit), [oracle.plain(q.scale_format) for q in (a, b)]
    fmt = oracle.plain(a.fmt)
    (rows, length), columns = a.shape, b.shape[1]
    x, y = a.codes.view(a.fmt.code_dtype), b.codes.view(b.fmt.code_dtype)
    sx, sy = a.scale.view(a.scale_format.code_dtype), b.scale.view(b.scale_format.code_dtype)
    span_a, span_b = a.block[1] or length, b.block[0] or length
    bits = np.empty((rows, columns), np.uint32)
    for i, j in np.ndindex(bits.shape):
        register = ref.ZERO if c is None else oracle.value32(c[i, j])
        for k in range(0, length, unit.products):
            some = range(k, min(length, k + unit.products))
            pairs = [(int(x[i, n]), int(y[n, j])) for n in some]
            scales = [(int(sx[i, n // span_a]), int(sy[n // span_b, j])) for n in some]
            register = ref.scaled_fused_sum(pairs, fmt, fmt, register, model, scales, tuple(formats), group)
        bits[i, j] = ref.register_bits(register, ref.FP32)
    return bits


@settings(max_examples=150, deadline=None)
@given(
    unit=units(),
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
