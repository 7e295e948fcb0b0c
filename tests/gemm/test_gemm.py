"""`matmul` and `trace` against integer sums: random units, operands, starts and scales; shapes and errors."""

import math
import random
import tracemalloc
from fractions import Fraction

import ml_dtypes
import numpy as np
import oracle
import pytest
import reference as ref
from hypothesis import example, given, settings
from hypothesis import strategies as st
from product_cases import random_codes, rounded64, same_bits, starts

import precision as pr
from precision.accumulators import _general_loops, _operand_layout, _panel_kernels, _panel_loops, _product
from precision.formats import parse_format
from precision.testing.strategies import _unit_strategies

OPERANDS = {name: parse_format(name) for name in ("e4m3", "e5m2", "fp16", "bf16", "fp32")}


@settings(max_examples=250, deadline=None)
@given(
    unit=_unit_strategies.fused_sums(),
    length=st.integers(1, 70),
    data=st.sampled_from(["normal", "wide", "wider", "bits"]),
    start=st.sampled_from(["none", "none", "normal", "wide", "special"]),
    seed=st.integers(0, 2**32 - 1),
)
@example(unit=pr.HOPPER_FP8, length=70, data="bits", start="wide", seed=0)
@example(unit=pr.HOPPER_FP8.promoted(64), length=70, data="normal", start="special", seed=1)
@example(unit=pr.HOPPER_BF16, length=40, data="wider", start="wide", seed=2)
@example(unit=pr.HOPPER_TF32.with_width(30), length=20, data="bits", start="normal", seed=3)
@example(unit=pr.HOPPER_FP16_ACC16, length=40, data="bits", start="special", seed=4)
@example(unit=pr.FusedSum((pr.FP32,), 32, fraction_bits=30), length=70, data="wider", start="wide", seed=5)
@example(unit=pr.FusedSum((pr.FP32,), 1, fraction_bits=1), length=9, data="bits", start="none", seed=1)
@example(unit=pr.FusedSum((pr.BF16,), 3, fraction_bits=1), length=54, data="wide", start="none", seed=54)
def test_any_fused_sum_is_the_oracles(unit, length, data, start, seed):
    rng = np.random.default_rng(seed)
    fmt = unit.operands[0]
    a, b = random_codes(rng, fmt, (3, length), data), random_codes(rng, fmt, (length, 2), data)
    c = starts(rng, unit, start)
    expected = oracle.product_bits(a, b, fmt, fmt, unit, c)
    if a.dtype.kind == "u":  # a format without a type of its own
        a, b = (pr.QuantizedTensor(x, 1.0, fmt=fmt) for x in (a, b))
    same_bits(pr.matmul(a, b, accumulator=unit, c=c), expected)


WAYS = {
    "Narrow": pr.HOPPER_FP8,
    "Integer": pr.HOPPER_FP8.with_width(20),
    "Wide": pr.HOPPER_FP8.with_width(28),
    "general": pr.FusedSum(
        (pr.E4M3, pr.E5M2), 32, fraction_bits=13, alignment_rounding=pr.Rounding.TIES_TO_EVEN
    ),
}


@pytest.mark.parametrize("name", WAYS)
def test_each_kernel_is_chosen_and_exact_over_panels_and_tiles(name, monkeypatch):
    """Several tiles and panels: a few outputs by the oracle, all by the general kernel."""
    unit = WAYS[name]
    rng = np.random.default_rng(7)
    a, b = random_codes(rng, pr.E4M3, (150, 200), "normal"), random_codes(rng, pr.E5M2, (200, 131), "normal")
    stacks = [_operand_layout.Stack(x.view(np.uint8)[None], f) for x, f in ((a, pr.E4M3), (b, pr.E5M2))]
    zeros = np.zeros(1, np.int64)
    product = _product.Product(*stacks, zeros, zeros, None, None, None)
    way, *_ = _panel_kernels.choose_kernel(product, unit.step)
    assert (way.name if way else "general") == name
    monkeypatch.setattr(_panel_loops, "_tile_rows", lambda *_: 64)
    result = pr.matmul(a, b, accumulator=unit)
    out = np.empty((1, 150, 131), np.float32)
    _general_loops.run_general(product, unit.step, out)
    np.testing.assert_array_equal(result.view(np.uint32), out[0].view(np.uint32))
    some = np.ix_([0, 63, 64, 149]), np.ix_([0, 63, 64, 130])
    rows, columns = a[some[0]], b[:, some[1][0]]
    expected = oracle.product_bits(rows, columns, pr.E4M3, pr.E5M2, unit)
    np.testing.assert_array_equal(
        result[np.ix_([0, 63, 64, 149], [0, 63, 64, 130])].view(np.uint32), expected
    )


@pytest.mark.parametrize("name", WAYS)
def test_registers_of_one_bit(name):
    """Among them exactly one, above all products and below them: its exponent counts, and zero has none."""
    rng = np.random.default_rng(17)
    x, y = (rng.choice((-1, 1), s) * 2.0 ** rng.integers(-9, -4, s) for s in ((2, 40), (40, 8)))
    a, b = pr.encode(x, pr.E4M3), pr.encode(y, pr.E5M2)
    c = np.float32([[1, -1, 2, 0.5, 0, 2.0**-120, -(2.0**127), 1 + 2.0**-10]] * 2)
    unit = WAYS[name]
    same_bits(pr.matmul(a, b, accumulator=unit, c=c), oracle.product_bits(a, b, pr.E4M3, pr.E5M2, unit, c))


@settings(max_examples=60, deadline=None)
@given(
    length=st.integers(1, 40),
    data=st.sampled_from(["normal", "wider", "bits"]),
    name=st.sampled_from(["e4m3", "bf16", "fp32", "fp16"]),
    promotion=st.sampled_from([None, 1, 7]),
    start=st.sampled_from(["none", "wide", "special"]),
    seed=st.integers(0, 2**32 - 1),
)
def test_fma_chain_is_the_oracles(length, data, name, promotion, start, seed):
    rng = np.random.default_rng(seed)
    fmt, chain = OPERANDS[name], pr.FP32_FMA.promoted(promotion)
    a, b = random_codes(rng, fmt, (3, length), data), random_codes(rng, fmt, (length, 2), data)
    c = starts(rng, pr.HOPPER_FP8, start)
    same_bits(pr.matmul(a, b, accumulator=chain, c=c), oracle.product_bits(a, b, fmt, fmt, chain, c))


@settings(max_examples=80, deadline=None)
@given(
    length=st.integers(1, 40),
    data=st.sampled_from(["normal", "wide", "wider", "bits"]),
    name=st.sampled_from(["e4m3", "e5m2", "bf16", "fp32", "fp16"]),
    output=st.sampled_from(["FP32", "FP64", "FP16", "BF16"]),
    start=st.sampled_from(["none", "wide", "special"]),
    seed=st.integers(0, 2**32 - 1),
)
def test_exact_is_the_correctly_rounded_sum(length, data, name, output, start, seed):
    rng = np.random.default_rng(seed)
    fmt = OPERANDS[name]
    a, b = random_codes(rng, fmt, (3, length), data), random_codes(rng, fmt, (length, 2), data)
    c = starts(rng, pr.HOPPER_FP8, start)
    dtype = {"FP32": np.float32, "FP64": np.float64, "FP16": np.float16, "BF16": ml_dtypes.bfloat16}[output]
    result = pr.matmul(a, b, accumulator=pr.EXACT, c=c, dtype=dtype)
    expected = oracle.exact_bits(a, b, fmt, fmt, getattr(ref, output), c).astype(f"u{result.itemsize}")
    bits = result.view(f"u{result.itemsize}").copy()
    invalid = np.isnan(result.astype(np.float32))
    top = 1 << (8 * result.itemsize - 1)
    assert (invalid == (expected == top - 1)).all()
    bits[invalid] = top - 1
    bits[bits == top] = expected[expected == top] = 0  # whatever the sign of what rounds to zero
    np.testing.assert_array_equal(bits, expected)


SCALINGS = {
    "tensor": (pr.PerTensor(), pr.PerTensor(), None),
    "row": (pr.PerVector(), pr.PerVector(), None),
    "block": (pr.PerGroup(64), pr.PerBlock(64, 64), 64),
    "group": (pr.PerGroup(64), pr.PerGroup(64), 32),
    "whole group": (pr.PerGroup(256), pr.PerGroup(256), 64),
}


@pytest.mark.parametrize("scaling", SCALINGS)
@pytest.mark.parametrize("start", ["none", "normal"])
def test_scales_enter_in_the_hardwares_order(scaling, start):
    left, right, promotion = SCALINGS[scaling]
    rng = np.random.default_rng(3)
    x = (rng.standard_normal((3, 150)) * rng.lognormal(0, 3, (3, 1))).astype(np.float32)
    w = (rng.standard_normal((150, 5)) * rng.lognormal(0, 3, 5)).astype(np.float32)
    qa = pr.quantize(x, pr.QuantSpec(pr.E4M3, left))
    qb = pr.quantize(w, pr.QuantSpec(pr.E4M3, right), axis=-2)
    unit = pr.HOPPER_FP8.promoted(promotion)
    c = starts(rng, unit, start)
    c = None if c is None else np.broadcast_to(c[:, :1], (3, 5))
    intervals = [k for k in range(0, 150, promotion or 150)]
    group = {"block": 64, "group": 64, "whole group": 256}.get(scaling, 150)

    def scales(q, i, axis):
        line = (
            q.scale[min(i, q.scale.shape[0] - 1)] if axis == 0 else q.scale[:, min(i, q.scale.shape[1] - 1)]
        )
        if scaling == "block" and axis == 1:
            line = q.scale[:, i // 64]
        found = [oracle.value32(line[k // group if len(line) > 1 else 0]) for k in intervals]
        return found if promotion else found[0]

    order = "group" if scaling == "whole group" else scaling
    expected = oracle.product_bits(
        qa.codes, qb.codes, pr.E4M3, pr.E4M3, unit, c,
        epilogue=order, scale_a=lambda i, j: scales(qa, i, 0), scale_b=lambda i, j: scales(qb, j, 1),
    )  # fmt: skip
    same_bits(pr.matmul(qa, qb, accumulator=unit, c=c), expected)


def test_any_other_pair_of_scales_is_fused_at_promotion():
    rng = np.random.default_rng(5)
    qa = pr.quantize(rng.standard_normal((2, 100)).astype(np.float32), pr.QuantSpec(pr.E4M3, pr.PerTensor()))
    qb = pr.quantize(
        rng.standard_normal((100, 3)).astype(np.float32), pr.QuantSpec(pr.E4M3, pr.PerGroup(32)), axis=0
    )
    unit = pr.HOPPER_FP8.promoted(32)
    expected = oracle.product_bits(
        qa.codes, qb.codes, pr.E4M3, pr.E4M3, unit, epilogue="block",
        scale_a=oracle.value32(qa.scale[0, 0]),
        scale_b=lambda i, j: [oracle.value32(s) for s in qb.scale[:, j]],
    )  # fmt: skip
    same_bits(pr.matmul(qa, qb, accumulator=unit), expected)


def test_scale_values_propagate_as_arithmetic_does():
    codes = np.ones((2, 32), pr.E4M3.dtype)
    scale = np.array([[np.inf], [0.0]], np.float32)
    qa = pr.QuantizedTensor(codes, scale, fmt=pr.E4M3)
    qb = pr.QuantizedTensor(codes.T, np.array([[1.0, np.nan]], np.float32), fmt=pr.E4M3)
    np.testing.assert_array_equal(pr.matmul(qa, qb), [[np.inf, np.nan], [0, np.nan]])


def test_exact_takes_scales_in():
    rng = np.random.default_rng(6)
    x, w = (rng.standard_normal(s).astype(np.float32) for s in ((3, 96), (96, 4)))
    for left, right in (
        (pr.PerTensor(), pr.PerTensor()),
        (pr.PerVector(), pr.PerVector()),
        (pr.PerGroup(32), pr.PerBlock(32, 32)),
    ):
        qa = pr.quantize(x, pr.QuantSpec(pr.E4M3, left))
        qb = pr.quantize(w, pr.QuantSpec(pr.E4M3, right), axis=-2)
        for dtype in (np.float32, np.float64):
            result = pr.matmul(qa, qb, accumulator=pr.EXACT, dtype=dtype)
            a, b = qa.dequantize(np.float64), qb.dequantize(np.float64)
            for i, j in np.ndindex(result.shape):
                total = sum(
                    ref.from_float(float(p)) * ref.from_float(float(q))
                    for p, q in zip(a[i], b[:, j], strict=True)
                )
                assert result[i, j] == dtype(
                    ref.to_float(
                        ref.round_value(total, ref.FP32 if dtype is np.float32 else ref.FP64, "ties_to_even")
                    )
                )


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float32, np.float64])
def test_result_types_round_once(dtype):
    rng = np.random.default_rng(8)
    a, b = random_codes(rng, pr.E4M3, (4, 64), "normal"), random_codes(rng, pr.E4M3, (64, 4), "normal")
    single = pr.matmul(a, b)
    result = pr.matmul(a, b, dtype=dtype)
    assert result.dtype == dtype
    np.testing.assert_array_equal(result, single.astype(dtype))


SHAPES = [
    ((5,), (5,)),
    ((5,), (5, 3)),
    ((2, 5), (5,)),
    ((4, 2, 5), (5, 3)),
    ((2, 5), (4, 5, 3)),
    ((4, 1, 2, 5), (3, 5, 2)),
    ((1, 2, 5), (7, 5, 1)),
    ((0, 5), (5, 3)),
    ((2, 0), (0, 3)),
    ((2, 5), (5, 0)),
    ((0, 2, 5), (5, 3)),
    ((0,), (0,)),
]


@pytest.mark.parametrize(("left", "right"), SHAPES)
@pytest.mark.parametrize("accumulator", [pr.HOPPER_FP8, pr.HOPPER_FP8.promoted(32), pr.FP32_FMA, pr.EXACT])
def test_shapes_are_numpys(left, right, accumulator):
    rng = np.random.default_rng(9)
    a, b = (rng.integers(-4, 5, shape).astype(np.float32) for shape in (left, right))
    result = pr.matmul(pr.encode(a, pr.E4M3), pr.encode(b, pr.E4M3), accumulator=accumulator)
    expected = np.matmul(a, b)
    assert result.shape == expected.shape
    np.testing.assert_array_equal(result, expected)


def test_zero_length_gives_the_start():
    a, b = np.empty((2, 0), pr.E4M3.dtype), np.empty((0, 3), pr.E4M3.dtype)
    np.testing.assert_array_equal(pr.matmul(a, b, c=np.float32(2)), np.full((2, 3), 2))


def test_strided_reversed_and_read_only_operands():
    rng = np.random.default_rng(10)
    a, b = random_codes(rng, pr.E4M3, (12, 96), "normal"), random_codes(rng, pr.E4M3, (96, 8), "normal")
    expected = pr.matmul(a[::2, ::-3].copy(), b[::-3, 1::2].copy())
    np.testing.assert_array_equal(pr.matmul(a[::2, ::-3], b[::-3, 1::2]), expected)
    a.flags.writeable = b.flags.writeable = False
    whole = pr.matmul(a, b)
    np.testing.assert_array_equal(pr.matmul(np.asfortranarray(a), np.asfortranarray(b)), whole)
    np.testing.assert_array_equal(pr.matmul(b.T, a.T), whole.T)
    stacked = np.stack([b, b]).swapaxes(1, 2).copy().swapaxes(1, 2)
    np.testing.assert_array_equal(pr.matmul(a, stacked)[1], whole)


def test_millions_of_k():
    ones = np.ones(3_000_000, pr.E4M3.dtype)
    assert pr.matmul(ones, ones, accumulator=pr.EXACT) == 3_000_000
    assert pr.matmul(ones, ones, accumulator=pr.HOPPER_FP8) == 2.0**14
    assert pr.matmul(ones, ones, accumulator=pr.HOPPER_FP8.promoted(128)) == 3_000_000


E4 = np.ones((4, 128), pr.E4M3.dtype)
QA = pr.QuantizedTensor(E4, np.ones((4, 2), np.float32), fmt=pr.E4M3, block=(1, 64))
BAD = {
    "K differs": (lambda: pr.matmul(E4, E4), ValueError, r"a has shape \(4, 128\), b has shape \(4, 128\)"),
    "scalar": (lambda: pr.matmul(E4, E4[0, 0]), ValueError, "b must have at least one axis"),
    "batch": (lambda: pr.matmul(np.stack([E4] * 2), np.stack([E4.T] * 3)), ValueError, "broadcast"),
    "integers": (lambda: pr.matmul(np.ones((4, 4), int), E4.T), TypeError, "a must be .* int64"),
    "objects": (lambda: pr.matmul(E4, np.full((128, 2), None)), TypeError, "b must be .* object"),
    "float64": (lambda: pr.matmul(np.ones((4, 128)), E4.T), TypeError, "a must be .* float64"),
    "wrong unit": (lambda: pr.matmul(E4, E4.T, accumulator=pr.HOPPER_BF16), TypeError, "a must hold bf16"),
    "not a unit": (lambda: pr.matmul(E4, E4.T, accumulator=5), TypeError, "accumulator must be"),
    "dtype": (lambda: pr.matmul(E4, E4.T, dtype=np.int32), TypeError, "dtype must be one of"),
    "c's shape": (
        lambda: pr.matmul(E4, E4.T, c=np.ones(3, np.float32)),
        ValueError,
        r"c must broadcast .* \(4, 4\)",
    ),
    "c's type": (lambda: pr.matmul(E4, E4.T, c=np.ones(4)), TypeError, "c must be an array of"),
    "c not in FP16": (
        lambda: pr.matmul(E4, E4.T, accumulator=pr.HOPPER_FP8_ACC16, c=np.float32(0.1)),
        ValueError,
        "c must hold values of the register's format fp16",
    ),
    "never promoted": (lambda: pr.matmul(QA, QA.T), ValueError, r"use .promoted\(64\)"),
    "promoted too late": (
        lambda: pr.matmul(QA, QA.T, accumulator=pr.HOPPER_FP8.promoted(128)),
        ValueError,
        "64",
    ),
    "no divisor": (
        lambda: pr.matmul(QA, QA.T, accumulator=pr.FusedSum((pr.E4M3,), 3, fraction_bits=13).promoted(48)),
        ValueError,
        "divisor of the groups of 64",
    ),
    "interval": (
        lambda: pr.HOPPER_FP8.promoted(100),
        ValueError,
        "multiple of the unit's 32 products, got 100",
    ),
    "trace of matrices": (lambda: pr.trace(E4, E4), ValueError, "a_row must be a vector"),
    "trace of EXACT": (
        lambda: pr.trace(E4[0], E4[0], accumulator=pr.EXACT),
        TypeError,
        "accumulator must be",
    ),
    "negative scale": (
        lambda: pr.QuantizedTensor(E4, np.float32(-1), fmt=pr.E4M3),
        ValueError,
        "scale",
    ),
    "threads": (lambda: pr.set_num_threads(0), ValueError, "n must be at least 1, got 0"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_answered(case):
    call, error, message = BAD[case]
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize(
    "accumulator",
    [pr.HOPPER_FP8, pr.HOPPER_FP8.promoted(64), pr.FP32_FMA, pr.FP32_FMA.promoted(5), pr.HOPPER_FP8_ACC16],
)
@pytest.mark.parametrize("start", [None, 3.0])
def test_trace_is_every_prefix(accumulator, start):
    rng = np.random.default_rng(11)
    a, b = random_codes(rng, pr.E4M3, (150,), "normal"), random_codes(rng, pr.E4M3, (150,), "normal")
    steps = pr.trace(a, b, accumulator=accumulator, c=start)
    unit = "fma" if isinstance(accumulator, pr.FmaChain) else oracle.plain_unit(accumulator)
    codes = [x.view(np.uint8).tolist() for x in (a, b)]
    c = ref.ZERO if start is None else oracle.value32(start)
    expected = ref.trace(codes[0], ref.E4M3, codes[1], ref.E4M3, unit, c=c, promotion=accumulator.promotion)
    assert steps.k.tolist() == [k for k, _, _ in expected]
    assert [oracle.value32(x) for x in steps.register] == [register for _, register, _ in expected]
    if accumulator.promotion:
        assert [oracle.value32(x) for x in steps.total] == [total for _, _, total in expected]
        assert steps.total[-1] == pr.matmul(
            a, b, accumulator=accumulator, c=None if start is None else np.float32(start)
        )
    else:
        assert not steps.total.any()
        assert steps.register[-1] == pr.matmul(
            a, b, accumulator=accumulator, c=None if start is None else np.float32(start)
        )


@pytest.mark.parametrize("rows", [1024, 64])
@pytest.mark.parametrize("name", ["e4m3", "bf16"])
def test_memory_beside_the_output_is_a_few_times_the_codes(rows, name):
    """Traced allocations; a thread's scratch (some 600 KiB) does not grow with the matrices."""
    fmt = OPERANDS[name]
    rng = np.random.default_rng(12)
    a, b = (random_codes(rng, fmt, shape, "normal") for shape in ((rows, 2048), (2048, 1024)))
    unit = pr.HOPPER_FP8 if name == "e4m3" else pr.HOPPER_BF16
    pr.matmul(a, b, accumulator=unit)  # compiles, and makes what is kept
    tracemalloc.start()
    try:
        result = pr.matmul(a, b, accumulator=unit)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak - result.nbytes <= 6 * (a.nbytes + b.nbytes)


@pytest.mark.parametrize("spec", [pr.MXINT8, pr.MXINT4, pr.NVINT4], ids=str)
def test_integer_operands_keep_their_binary_point(spec):
    """Read by table for panels, and code by code for traces and beside a NaN: the same values."""
    rng = np.random.default_rng(13)
    x, y = rng.standard_normal((4, 64), np.float32), rng.standard_normal((64, 3), np.float32)
    x[3, 5] = np.nan
    a, b = pr.quantize(x, spec), pr.quantize(y, spec, axis=-2)
    accumulator = pr.FP32_FMA.promoted(16)
    product = pr.matmul(a, b, accumulator=accumulator)
    exact = pr.matmul(a, b, accumulator=pr.EXACT)
    np.testing.assert_allclose(product[:3], exact[:3], rtol=1e-5, atol=1e-5)
    row, column = _codes(a, 0), _codes(b.T, 0)
    last = pr.trace(row, column, accumulator=pr.FP32_FMA).register[-1]
    assert last == pr.matmul(row, column, accumulator=pr.FP32_FMA)
    left, right = (pr.decode(q.codes, q.fmt).astype(np.float64) for q in (row, column))
    assert abs(last - left @ right) < 1e-4 * np.abs(left) @ np.abs(right)


def _codes(q: pr.QuantizedTensor, row: int) -> pr.QuantizedTensor:
    """One row's codes without their scales."""
    return pr.QuantizedTensor(q.codes[row], np.ones((), np.float32), fmt=q.fmt)


@pytest.mark.parametrize("accumulator", [pr.HOPPER_TF32, pr.FP32_FMA, pr.EXACT, pr.HOPPER_BF16], ids=str)
def test_operands_are_left_as_they_are(accumulator):
    """NaN and Inf too, which kernels see as zeros; read-only arrays work."""
    rng = np.random.default_rng(14)
    dtype = pr.BF16.dtype if accumulator == pr.HOPPER_BF16 else np.float32
    a, b = (rng.standard_normal(shape, np.float32).astype(dtype) for shape in ((70, 64), (64, 64)))
    a[3, 5], b[7, 9], b[1, 2] = np.nan, np.inf, -np.inf
    before = a.tobytes(), b.tobytes()
    result = pr.matmul(a, b, accumulator=accumulator)
    assert np.isnan(result[3]).all() and not np.isfinite(result[:, 9]).any()
    assert (a.tobytes(), b.tobytes()) == before
    a.flags.writeable = b.flags.writeable = False
    np.testing.assert_array_equal(pr.matmul(a, b, accumulator=accumulator), result)


def test_a_step_of_the_integer_way_stays_within_its_sums():
    """32 negative products of the largest FP16 significands and a register: more than 2**32 at 25 bits."""
    unit = pr.FusedSum((pr.FP16,), 32, fraction_bits=25)
    rng = np.random.default_rng(0)
    a = -(2 - rng.integers(1, 4, (8, 32)) * 2.0**-10).astype(np.float16)
    b = (2 - rng.integers(1, 4, (32, 8)) * 2.0**-10).astype(np.float16)
    c = -(2 - rng.integers(1, 2**22, (8, 8)) * 2.0**-23).astype(np.float32)
    expected = oracle.product_bits(a, b, pr.FP16, pr.FP16, unit, c)
    same_bits(pr.matmul(a, b, accumulator=unit, c=c), expected)


@pytest.mark.parametrize("shape", [(0, 64, 3), (5, 64, 0), (5, 0, 3), (0, 0, 0)], ids=str)
@pytest.mark.parametrize(
    ("spec", "accumulator"),
    [
        (pr.QuantSpec(pr.E4M3, pr.PerTensor()), pr.HOPPER_FP8),
        (pr.QuantSpec(pr.E4M3, pr.PerVector()), pr.HOPPER_FP8),
        (pr.QuantSpec(pr.E4M3, pr.PerGroup(32)), pr.HOPPER_FP8.promoted(32)),
        (pr.MXFP8_E4M3, pr.BLACKWELL_MX),
        (pr.NVFP4, pr.BLACKWELL_NVFP4),
        (pr.NVFP4, pr.EXACT),
    ],
    ids=str,
)
def test_quantized_operands_of_size_zero(spec, accumulator, shape):
    """An expert without tokens: zeros of the right shape."""
    m, k, n = shape
    for batch in ((), (2,)):
        a = pr.quantize(np.ones((*batch, m, k), np.float32), spec)
        b = pr.quantize(np.ones((*batch, k, n), np.float32), spec, axis=-2)
        result = pr.matmul(a, b, accumulator=accumulator)
        assert result.shape == (*batch, m, n) and not result.any()


def test_hot_loops_may_use_the_widest_registers():
    """llvmlite takes only attributes that it knows, unless by the set beneath: notice when that ends."""
    from precision._kernels._jit import jit
    from precision._kernels._llvm_vectors import keep_apart

    def nothing() -> None:
        keep_apart()

    compiled = jit(nothing)
    compiled()
    (signature,) = compiled.signatures
    assert '"prefer-vector-width"="512"' in compiled.inspect_llvm(signature)


def exact_rows() -> list[list[float]]:
    """Sums that tie, nearly tie, cancel, carry far, end among subnormal numbers or overflow."""
    rng = random.Random(15)
    rows = []
    for power in (*range(-1074, -1000), *range(-1000, 970, 11), *range(955, 972)):
        n = [rng.randrange(1 << 52, 1 << 53) for _ in range(5)]
        x, half = math.ldexp(n[0], power), math.ldexp(1, power - 1)
        rows += [
            [x, half, 0, 0, 0],
            [-x, -half, math.ldexp(1, power - 70), 0, 0],
            [x, half, math.ldexp(1, power - rng.randrange(2, 300)), 0, 0],
            [x, -x, math.ldexp(n[1], power - rng.randrange(1, 400)), 0, 0],
            [math.ldexp(m, power - rng.randrange(90)) * rng.choice((1, -1)) for m in n],
            [math.ldexp(m, power - rng.randrange(9)) for m in n],
        ]
    return rows


@pytest.mark.parametrize("odd", [False, True])
@pytest.mark.parametrize("started", [False, True])
def test_exact_sums_anywhere_in_float64(odd, started):
    """The kernel itself: operands of a product have not the exponents for this."""
    from precision._kernels.products import _kulisch

    rows = [row for row in exact_rows() if not odd or abs(sum(map(Fraction, row))) < 2**1023]
    left, right = np.array(rows), np.ones((1, 5))
    start = left[:, 4:] if started else np.empty((0, 0))
    digits, out = np.zeros(_kulisch.DIGITS, np.int64), np.empty((len(rows), 1))
    width = 4 if started else 5
    _kulisch.sum_exact(
        0, len(rows), left[:, :width].copy(), right[:, :width].copy(), start.copy(), odd, digits, out
    )
    expected = [rounded64(sum(map(Fraction, row), Fraction(0)), odd) for row in rows]
    np.testing.assert_array_equal(out[:, 0], expected)


@pytest.mark.parametrize("odd", [False, True])
def test_exact_products_and_factors_of_every_bit(odd):
    from precision._kernels.products import _kulisch

    rng = np.random.default_rng(16)
    left, right = (
        rng.standard_normal(shape) * 2.0 ** rng.integers(-200, 200, shape) for shape in ((40, 6),) * 2
    )
    digits, out = np.zeros(_kulisch.DIGITS, np.int64), np.empty((40, 40))
    _kulisch.sum_exact(0, 40, left, right, np.empty((0, 0)), odd, digits, out)
    for i, j in np.ndindex(out.shape):
        total = sum((Fraction(p) * Fraction(q) for p, q in zip(left[i], right[j], strict=True)), Fraction(0))
        assert out[i, j] == rounded64(total, odd)
    row, column = (rng.standard_normal(40).astype(np.float32).astype(np.float64) for _ in range(2))
    scaled = out.copy()
    _kulisch.scale_exact(0, 40, scaled, row, column, odd)
    for i, j in np.ndindex(out.shape):
        assert scaled[i, j] == rounded64(Fraction(out[i, j]) * Fraction(row[i]) * Fraction(column[j]), odd)
