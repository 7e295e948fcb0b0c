"""The loop for small products: the integer reference's bits, the panels' bits, and when it is chosen."""

import dataclasses

import numpy as np
import oracle
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from product_cases import expected_bits, random_codes, same_bits, tensors

import precision as pr
from precision import formats
from precision.accumulators import NAMED, _panel_loops, _small_products
from precision.gemm import _matrix_product, _single_calls

ZERO, EVEN, AWAY = pr.Rounding.TOWARD_ZERO, pr.Rounding.TIES_TO_EVEN, pr.Rounding.TIES_TO_AWAY
F32 = np.float32


def fused(*operands, products=4, bits=13, register=pr.FP32, rounding=ZERO, **options):
    return pr.FusedSum(
        operands, products, fraction_bits=bits, register=register, register_rounding=rounding, **options
    )


UNITS = [
    *dict.fromkeys(
        unit
        for unit in NAMED.values()
        if isinstance(unit, pr.FusedSum) and not unit.scale_in_unit and unit.alignment_rounding is ZERO
    ),
    fused(pr.E4M3, products=1),
    fused(pr.E4M3, pr.E5M2, products=3, bits=1),
    fused(pr.E5M2, products=32, bits=28),
    fused(pr.FP16, products=7, bits=28, rounding=EVEN),
    fused(pr.FP16, products=16, bits=24, register=pr.FP16, rounding=EVEN),
    fused(pr.FP16, products=4, bits=8, register=pr.FP16, rounding=pr.Rounding.TOWARD_POSITIVE),
    fused(pr.BF16, products=33, bits=25, register=pr.TF32, rounding=AWAY),
    fused(pr.BF16, products=2, bits=20, register=pr.BF16),
    fused(pr.TF32, products=8, bits=26, rounding=pr.Rounding.TO_ODD),
    fused(pr.E2M1, pr.E4M3, products=64, bits=4, min_exponent=0, register=pr.E8M13),
    fused(pr.BF16, products=4, bits=15, min_exponent=-300),
    fused(pr.FloatFormat(5, 14), products=3, bits=28),
    fused(
        formats.E4M3FNUZ, formats.E5M2FNUZ, formats.UE4M3, products=5, bits=9, register=pr.E5M6, rounding=EVEN
    ),
]
"""Units whose sums the loop computes: all named ones, widths from 1 to 28, steps from 1 to 64 products."""


@pytest.fixture
def chosen(monkeypatch):
    """Send every product, also a large one, to the loop, and say for each whether it finished."""
    finished = []
    real = _small_products.sum_small

    def sum_small(product, step):
        result = real(product, step)
        finished.append(result is not None)
        return result

    monkeypatch.setattr(_matrix_product, "find_call", lambda *_: None)
    monkeypatch.setattr(_small_products, "MOST", 2**60)
    monkeypatch.setattr(_panel_loops, "sum_small", sum_small)
    return finished


def small(a, b, unit, **rest):
    """A product by the loop, which must take it and finish it, prepared as a whole and in its own place."""
    with pytest.MonkeyPatch.context() as patch:
        real = _small_products.sum_small
        found = []

        def sum_small(product, step):
            found.append(real(product, step))
            return found[-1]

        patch.setattr(_small_products, "MOST", 2**60)
        patch.setattr(_panel_loops, "sum_small", sum_small)
        prepared = pr.matmul(a, b, accumulator=unit, **rest)
        patch.setattr(_matrix_product, "find_call", lambda *_: None)
        found.clear()
        result = pr.matmul(a, b, accumulator=unit, **rest)
    assert found and found[0] is not None
    assert prepared.tobytes() == result.tobytes() and prepared.dtype == result.dtype
    assert prepared.shape == result.shape and prepared.flags.c_contiguous and prepared.flags.writeable
    return result


def by_panels(a, b, unit, **rest):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_small_products, "MOST", -1)
        return pr.matmul(a, b, accumulator=unit, **rest)


def tensor(codes, fmt):
    """Codes (TF32: the bits of float32) as an operand."""
    if fmt == pr.TF32:
        return codes
    return pr.QuantizedTensor(codes, 1.0, fmt=fmt)


def finite_codes(fmt, shape, seed, zeros=0.2):
    """Any finite codes, some of them zeros of either sign."""
    rng = np.random.default_rng(seed)
    kind = fmt.code_dtype
    codes = rng.integers(0, 1 << fmt.bits, shape).astype(kind)
    codes[~np.isfinite(pr.decode(codes, fmt))] = 1
    zero = rng.random(shape) < zeros
    codes[zero] = 0
    if fmt.has_negative_zero:
        codes[zero & (rng.random(shape) < 0.5)] = fmt.magnitude_mask + 1
    if fmt == pr.TF32:
        return (codes.astype(np.uint32) << np.uint32(13)).view(F32)
    return codes.view(fmt.dtype)


@pytest.mark.parametrize("unit", UNITS, ids=str)
@given(
    seed=st.integers(0, 2**32 - 1),
    shape=st.tuples(st.integers(1, 3), st.integers(1, 70), st.integers(1, 3)),
    kind=st.sampled_from(("bits", "normal", "wide")),
    start=st.sampled_from((None, 0.0, -0.0, 1.0, -(2.0**-20), 2.0**10)),
    promoted=st.sampled_from((0, 1, 3)),
)
@settings(max_examples=25, deadline=None)
def test_gives_the_references_bits(unit, seed, shape, kind, start, promoted):
    rows, length, columns = shape
    rng = np.random.default_rng(seed)
    unit = unit.promoted(promoted * unit.products) if promoted else unit
    sides = []
    for at, size in ((0, (rows, length)), (-1, (length, columns))):
        fmt = unit.operands[at]
        codes = finite_codes(fmt, size, seed + 1 + at)
        if kind != "bits":
            codes = random_codes(rng, fmt, size, kind)
            codes[~np.isfinite(codes.astype(F32))] = 0
        sides.append((codes, fmt))
    c = None if start is None else np.full((rows, columns), start, F32)
    (a, fa), (b, fb) = sides
    wanted = oracle.product_bits(a, b, fa, fb, unit, c)
    if (wanted & 0x7F800000 == 0x7F800000).any():  # a register overflowed on the way
        same_bits(pr.matmul(tensor(a, fa), tensor(b, fb), accumulator=unit, c=c), wanted)
    else:
        same_bits(small(tensor(a, fa), tensor(b, fb), unit, c=c), wanted)


def products(values, unit, c=0.0):
    """One output by the loop and by the reference, of products given as pairs of numbers."""
    fmt = unit.operands[0]
    x, y = (np.array(side, F32) for side in zip(*values, strict=True))
    a, b = pr.encode(x[None], fmt), pr.encode(y[:, None], fmt)
    np.testing.assert_array_equal(pr.decode(a, fmt)[0], x)
    np.testing.assert_array_equal(pr.decode(b, fmt)[:, 0], y)
    c = np.full((1, 1), c, F32)
    return pr.matmul(a, b, accumulator=unit, c=c), oracle.product_bits(a, b, fmt, fmt, unit, c)


TINY, MOST = 2.0**-9, 448.0  # E4M3's
NARROW = fused(pr.E4M3, products=4, bits=2, register=pr.FloatFormat(8, 2))
HALF = fused(pr.FP16, products=4, bits=24, register=pr.FP16, rounding=EVEN)
WIDE_RANGE = fused(pr.BF16, products=4, bits=25)


@given(
    data=st.lists(
        st.tuples(st.sampled_from((0.0, -0.0, 1.0, -1.5, TINY, -TINY, MOST)), st.just(1.0)), min_size=1
    ),
    unit=st.just(NARROW),
    c=st.just(0.0),
)
@example([(1.0, 1.0), (0.25, 1.0)], NARROW, 0.0)  # the last place, and below it: cut, not a tie
@example([(1.0, 1.0), (0.125, 1.0), (0.125, 1.0)], NARROW, 0.0)
@example([(-1.0, 1.0), (-0.125, 1.0)], NARROW, 0.0)  # toward zero on either side
@example([(-0.125, 1.0)], NARROW, 4.0)
@example([(TINY, TINY), (MOST, MOST)], NARROW, 0.0)  # shifted by more than 31 places with the next
@example([(TINY, TINY), (-TINY, TINY)], NARROW, 0.0)  # a zero that is +0
@example([(-0.0, 1.0), (0.0, -1.0)], NARROW, -0.0)
@example([(2.0**-14, 2.0**-10)] * 3, HALF, 0.0)  # a subnormal register
@example([(2.0**-14, 2.0**-11)], HALF, 0.0)  # a tie between zero and the least subnormal
@example([(2.0**-14, 2.0**-11), (2.0**-14, 2.0**-10)], HALF, 0.0)  # a tie to even, upward
@example([(2048.0, 1.0), (1.0, 1.0)], HALF, 0.0)  # ties of normal numbers
@example([(2048.0, 1.0), (3.0, 1.0)], HALF, 0.0)
@example([(60000.0, 1.0), (5520.0, 1.0)], HALF, 0.0)  # overflow at the end
@example([(60000.0, 1.0)] * 5, HALF, 0.0)  # and on the way, by a product of the next step
@example([(2.0**127, 1.0), (2.0**127, 1.0)], WIDE_RANGE, 0.0)
@example([(-(2.0**127), 2.0**127)], WIDE_RANGE, 0.0)
@example([(2.0**-126, 2.0**-23)], WIDE_RANGE, 0.0)  # the least float32, and what is cut to zero
@example([(-(2.0**-126), 2.0**-24)], WIDE_RANGE, 0.0)
@example([(2.0**-126, 2.0**-2), (2.0**-126, 2.0**-23)], WIDE_RANGE, 2.0**-149)
@example([(2.0**-133, 2.0**-133)], WIDE_RANGE, 1.0)  # subnormal operands
@settings(max_examples=40, deadline=None)
def test_ties_subnormals_overflow_and_zeros(data, unit, c):
    same_bits(*products(data, unit, c))


@pytest.mark.parametrize("fmt", [pr.E4M3, pr.E5M2, formats.E4M3FNUZ, pr.E2M3], ids=str)
def test_every_product_of_two_codes(fmt):
    """13 fraction bits hold each product of two of these exactly: float64 says what it is."""
    codes = np.arange(1 << fmt.bits).astype(fmt.code_dtype)
    codes = codes[np.isfinite(pr.decode(codes, fmt))]
    values = pr.decode(codes, fmt).astype(np.float64)
    a, b = (pr.QuantizedTensor(x, 1.0, fmt=fmt) for x in (codes[:, None], codes[None, :]))
    wanted = (values[:, None] * values + 0.0).astype(F32)  # -0 + 0 is +0
    same_bits(small(a, b, fused(fmt)), wanted.view(np.uint32))


def test_every_sum_of_two_products_of_small_codes():
    """All pairs of E2M1's codes at widths that cut: the kernels over panels, and the reference for some."""
    codes = np.arange(16, dtype=np.uint8)
    pairs = np.stack(np.meshgrid(codes, codes, indexing="ij"), -1).reshape(-1, 2)
    a, b = (pr.QuantizedTensor(x, 1.0, fmt=pr.E2M1) for x in (pairs, pairs.T))
    for bits in (1, 2, 3):
        unit = fused(pr.E2M1, products=2, bits=bits, register=pr.FloatFormat(8, bits))
        result = small(a, b, unit)
        assert result.tobytes() == by_panels(a, b, unit).tobytes()
        some = np.random.default_rng(bits).integers(0, 256, 24)
        wanted = oracle.product_bits(pairs[some], pairs.T[:, some], pr.E2M1, pr.E2M1, unit)
        same_bits(result[np.ix_(some, some)], wanted)


@pytest.mark.parametrize("unit", [u for u in UNITS if u.operands[0].has_nan], ids=str)
def test_leaves_nan_and_inf_to_the_general_way(unit, chosen):
    fmt = unit.operands[0]
    specials = [np.nan, np.inf, -np.inf] if fmt.has_inf else [np.nan]
    for side, value in ((side, value) for side in range(2) for value in specials):
        x, y = np.ones((2, 40), F32), np.ones((40, 3), F32)
        (x, y)[side].flat[7] = value
        keep = pr.Overflow.NON_SATURATING
        a, b = (v if fmt == pr.TF32 else pr.encode(v, fmt, overflow=keep) for v in (x, y))
        left, right = tensor(a, fmt), tensor(b, fmt)
        chosen.clear()
        result = pr.matmul(left, right, accumulator=unit)
        assert chosen == [False]
        same_bits(result, oracle.product_bits(a, b, fmt, fmt, unit))
        assert result.tobytes() == by_panels(left, right, unit).tobytes()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_starts_of_nan_and_inf(value, chosen):
    a, b = (pr.encode(np.ones(shape, F32), pr.E4M3) for shape in ((2, 64), (64, 3)))
    c = np.zeros((2, 3), F32)
    c[1, 2] = value
    for unit, taken in ((pr.HOPPER_FP8, False), (pr.HOPPER_FP8.promoted(32), True)):
        chosen.clear()
        same_bits(
            pr.matmul(a, b, accumulator=unit, c=c), oracle.product_bits(a, b, pr.E4M3, pr.E4M3, unit, c)
        )
        assert chosen == [taken]


# ---- scales at promotion --------------------------------------------------------------------------------


def scaled_operand(codes, rng, block, kind):
    """An E4M3 operand with float32 scales of some kind for its blocks."""
    shape = tuple(-(-size // step) for size, step in zip(codes.shape, block, strict=True))
    scale = np.abs(rng.standard_normal(shape)).astype(F32)
    spoilt = {"zero": 0.0, "large": 3e38, "inf": np.inf, "nan": np.nan}.get(kind)
    if spoilt is not None:
        scale.flat[rng.integers(scale.size)] = spoilt
    return pr.QuantizedTensor(codes, scale, fmt=pr.E4M3, block=block)


@given(
    seed=st.integers(0, 2**32 - 1),
    shape=st.tuples(st.integers(1, 3), st.integers(1, 150), st.integers(1, 3)),
    blocks=st.sampled_from((((1, 64), (64, 64)), ((1, 64), (64, 1)), ((2, 128), (64, 2)))),
    kind=st.sampled_from(("near", "zero", "large", "inf", "nan")),
    started=st.booleans(),
)
@settings(max_examples=60, deadline=None)
@example(0, (3, 128, 2), ((1, 64), (64, 64)), "near", False)
@example(1, (2, 129, 3), ((1, 64), (64, 1)), "inf", True)
@example(2, (2, 129, 3), ((1, 64), (64, 1)), "large", False)
def test_scales_at_promotion(seed, shape, blocks, kind, started):
    rng = np.random.default_rng(seed)
    rows, length, columns = shape
    sides = [
        finite_codes(pr.E4M3, size, seed + at) for at, size in enumerate(((rows, length), (length, columns)))
    ]
    a, b = (scaled_operand(codes, rng, block, kind) for codes, block in zip(sides, blocks, strict=True))
    unit, every = pr.HOPPER_FP8.promoted(64), range(0, length, 64)
    c = rng.standard_normal((rows, columns)).astype(F32) if started else None
    wanted = oracle.product_bits(
        *sides, pr.E4M3, pr.E4M3, unit, c,
        epilogue="group" if blocks[1] == (64, 1) and blocks[0][0] == 1 else "block",
        scale_a=lambda i, j: [oracle.value32(a.scale[i // blocks[0][0], k // blocks[0][1]]) for k in every],
        scale_b=lambda i, j: [oracle.value32(b.scale[k // blocks[1][0], j // blocks[1][1]]) for k in every],
    )  # fmt: skip
    same_bits(small(a, b, unit, c=c), wanted)


# ---- scales inside the unit -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "unit",
    [
        pr.BLACKWELL_MX,
        dataclasses.replace(pr.BLACKWELL_MX, operands=(pr.E2M1,), fraction_bits=4),
        dataclasses.replace(pr.BLACKWELL_MX, operands=(pr.E5M2,), products=16, register=pr.E8M13),
    ],
    ids=["MX", "narrow", "steps of 16"],
)
@given(
    seed=st.integers(0, 2**32 - 1),
    shape=st.tuples(st.integers(1, 3), st.integers(4, 100), st.integers(1, 3)),
    group=st.sampled_from((32, 64, 128)),
    scales=st.sampled_from(("near", "wide", "bits")),
    data=st.sampled_from(("dense", "sparse", "bits")),
    start=st.sampled_from((None, -1.5, 2.0**60)),
)
@settings(max_examples=40, deadline=None)
@example(0, (2, 64, 2), 32, "near", "dense", None)
@example(1, (2, 100, 2), 32, "bits", "dense", None)
@example(2, (2, 100, 2), 64, "wide", "sparse", -1.5)
def test_powers_of_two_inside_the_unit(unit, seed, shape, group, scales, data, start):
    rows, length, columns = shape
    a, b = tensors(unit, pr.E8M0, rows, length, columns, group, seed, scales, data)
    c = None if start is None else np.full((rows, columns), start, F32)
    wanted = expected_bits(a, b, unit, c)
    special = scales == "bits" or data == "bits"  # NaN or Inf in an operand or a scale
    if special or (wanted & 0x7F800000 == 0x7F800000).any():
        same_bits(pr.matmul(a, b, accumulator=unit, c=c), wanted)
    else:
        same_bits(small(a, b, unit, c=c), wanted)


@pytest.mark.parametrize("exponents", [(-127, -127), (127, 127), (-127, 127), (0, -126)])
def test_the_least_and_largest_scales_inside_the_unit(exponents):
    codes = np.array([[0x01, 0x7E, 0xFE, 0x38]], np.uint8).repeat(8, axis=1)
    sides = [
        pr.QuantizedTensor(
            codes.reshape(shape), np.full((1, 1), n + 127, np.uint8).view(pr.E8M0.dtype), fmt=pr.E4M3,
            block=(32, 1) if shape[0] == 32 else (1, 32),
        )
        for shape, n in zip(((1, 32), (32, 1)), exponents, strict=True)
    ]  # fmt: skip
    same_bits(pr.matmul(*sides), expected_bits(*sides, pr.BLACKWELL_MX))


def test_groups_that_a_step_does_not_fit_are_left(chosen):
    a, b = tensors(pr.BLACKWELL_MX, pr.E8M0, 2, 96, 2, 48, 0, "near", "dense")
    result = pr.matmul(a, b, accumulator=pr.BLACKWELL_MX)
    assert chosen == [False]
    same_bits(result, expected_bits(a, b, pr.BLACKWELL_MX))


# ---- layouts and shapes ---------------------------------------------------------------------------------


def test_layouts_of_operands_do_not_matter():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((6, 40)).astype(F32), rng.standard_normal((40, 5)).astype(F32)
    unit = pr.HOPPER_FP8
    a, b = pr.encode(x, pr.E4M3), pr.encode(y, pr.E4M3)
    wanted = by_panels(a, b, unit)
    held = a.copy(), b.copy()
    wide = np.zeros((12, 80), a.dtype)
    wide[::2, ::2] = a
    backwards = np.ascontiguousarray(b[::-1, ::-1])[::-1, ::-1]
    for left in (a, np.asfortranarray(a), wide[::2, ::2]):
        for right in (b, np.asfortranarray(b), backwards):
            for writable in (True, False):
                left, right = left[...], right[...]
                left.flags.writeable = right.flags.writeable = writable
                assert small(left, right, unit).tobytes() == wanted.tobytes()
    assert held[0].tobytes() == a.tobytes() and held[1].tobytes() == b.tobytes()


def test_batches_vectors_and_starts_broadcast():
    rng = np.random.default_rng(1)
    a = pr.encode(rng.standard_normal((3, 1, 4, 40)).astype(F32), pr.FP16)
    b = pr.encode(rng.standard_normal((2, 40, 5)).astype(F32), pr.FP16)
    for unit in (pr.HOPPER_FP16, pr.HOPPER_FP16.promoted(32)):
        for c in (None, np.float32(2), rng.standard_normal(5).astype(np.float16)):
            assert small(a, b, unit, c=c).tobytes() == by_panels(a, b, unit, c=c).tobytes()
        for left, right in ((a[0, 0, 0], b), (a, b[1, :, 0]), (a[0, 0, 0], b[1, :, 0])):
            assert small(left, right, unit).tobytes() == by_panels(left, right, unit).tobytes()


@pytest.mark.parametrize("dtype", [np.float16, pr.BF16.dtype, np.float64])
def test_results_of_other_types(dtype):
    a, b = np.ones((2, 33), np.float16), np.full((33, 2), 1.0009765625, np.float16)
    assert (
        small(a, b, pr.HOPPER_FP16, dtype=dtype).tobytes()
        == by_panels(a, b, pr.HOPPER_FP16, dtype=dtype).tobytes()
    )


# ---- when it is chosen ----------------------------------------------------------------------------------


def test_is_chosen_for_small_products_alone(monkeypatch):
    calls = []
    real = _small_products.sum_small
    monkeypatch.setattr(_matrix_product, "find_call", lambda *_: None)
    monkeypatch.setattr(_panel_loops, "sum_small", lambda *given: calls.append(real(*given)) or calls[-1])
    most = _small_products.MOST
    for count, taken in ((most // 64, True), (most // 64 + 1, False)):
        ones = pr.encode(np.ones((64, count), F32), pr.E4M3)
        pr.matmul(ones[:8], ones[:8].T)
        assert (calls.pop() is not None) is taken


@pytest.mark.parametrize(
    "unit",
    [
        fused(pr.E4M3, alignment_rounding=EVEN),
        fused(pr.E4M3, bits=29),
        fused(pr.FloatFormat(5, 15), bits=13),
        fused(pr.FloatFormat(4, 3, subnormals=False, specials=pr.Specials.FN), bits=10),
        dataclasses.replace(pr.BLACKWELL_MX, scale_in_unit=None, fraction_bits=30),
    ],
    ids=["to even", "29 bits", "products of 30 bits", "no zero", "30 bits"],
)
def test_leaves_what_it_does_not_suit(unit, chosen):
    fmt = unit.operands[0]
    a, b = (finite_codes(fmt, shape, 5) for shape in ((3, 20), (20, 2)))
    result = pr.matmul(tensor(a, fmt), tensor(b, fmt), accumulator=unit)
    assert chosen == [False]
    same_bits(result, oracle.product_bits(a, b, fmt, fmt, unit))


# ---- products prepared as a whole -----------------------------------------------------------------------


def prepared(a, b, unit=None, dtype=F32):
    return _single_calls.find_call(a, b, unit, dtype)


def test_what_is_prepared_as_a_whole():
    codes = np.ones((4, 128), pr.E4M3.dtype)
    q = pr.quantize(np.ones((4, 128), F32), pr.QuantSpec(pr.E4M3, pr.PerGroup(128)))
    unit = pr.HOPPER_FP8.promoted(128)
    for a, b in (
        (codes, codes.T),
        (codes[0], codes.T),
        (codes[0], codes[1]),
        (codes[None], codes.T),
        (q, q.T),
    ):
        assert prepared(a, b, unit) is not None
        assert prepared(a, b, "HOPPER_FP8.promoted(128)") is not None
    assert prepared(codes, codes.T) is not None
    ones = np.ones((4, 64), F32)
    mx, nv = pr.quantize(ones, pr.MXFP8_E4M3), pr.quantize(ones, pr.NVFP4)
    assert prepared(mx, mx.T) is not None
    wide = np.ones((64, 256), pr.E4M3.dtype)
    for a, b in (
        (codes, codes),  # shapes that do not fit
        (codes.tolist(), codes.T),
        (codes.astype(np.int8), codes.T),
        (q, pr.quantize(np.ones((128, 4), F32), pr.QuantSpec(pr.E4M3, pr.PerGroup(32)), axis=-2)),
        (ones, ones.T),  # a chain of fused multiply-adds
        (nv, nv.T),  # sums of groups with scales inside the unit
        (wide, wide.T),
        (codes[:0], codes.T),
        (codes[:, :0], codes[:, :0].T),
    ):
        assert prepared(a, b) is None
    for accumulator, dtype in ((unit, np.float64), (unit, None), (3, F32), ("NONE", F32), ([unit], F32)):
        assert prepared(codes, codes.T, accumulator, dtype) is None


@pytest.mark.parametrize(
    "case",
    [
        lambda x, q: pr.matmul(x, x),
        lambda x, q: pr.matmul(x, x.T, accumulator=3),
        lambda x, q: pr.matmul(x, x.T, accumulator="NONE"),
        lambda x, q: pr.matmul(x, x.T, dtype=np.int32),
        lambda x, q: pr.matmul(x.astype(np.int8), x.T),
        lambda x, q: pr.matmul(x, x.T, accumulator=pr.HOPPER_BF16),
        lambda x, q: pr.matmul(q, q.T),
        lambda x, q: pr.matmul(q, q.T, accumulator=pr.HOPPER_FP8.promoted(96)),
        lambda x, q: pr.matmul(x[0, 0], x.T),
    ],
    ids=range(9),
)
def test_errors_are_those_of_the_general_way(case, monkeypatch):
    x = np.ones((4, 128), pr.E4M3.dtype)
    q = pr.quantize(np.ones((4, 128), F32), pr.QuantSpec(pr.E4M3, pr.PerGroup(64)))
    said = []
    for _ in range(2):
        for way in (_single_calls.find_call, lambda *_: None):
            monkeypatch.setattr(_matrix_product, "find_call", way)
            with pytest.raises((TypeError, ValueError)) as caught:
                case(x, q)
            said.append((caught.type, str(caught.value)))
    assert len(set(said)) == 1


def test_bits_above_a_format_are_found():
    unit = fused(pr.E2M1, products=4, bits=8)
    q = pr.quantize(np.ones((2, 32), F32), pr.QuantSpec(pr.E2M1, pr.PerTensor()))
    wanted = pr.matmul(q, q.T, accumulator=unit)
    q.codes.view(np.uint8)[1, 2] = 0x82
    for _ in range(2):
        with pytest.raises(ValueError, match="a: codes of e2m1 must lie below"):
            pr.matmul(q, q.T, accumulator=unit)
    q.codes.view(np.uint8)[1, 2] &= 0x0F
    assert wanted.shape == (2, 2)


def test_factors_of_finished_sums():
    rng = np.random.default_rng(3)
    x, y = rng.standard_normal((3, 96)).astype(F32), rng.standard_normal((96, 5)).astype(F32)
    for left in (pr.PerVector(), pr.PerTensor(), pr.PerGroup(128)):
        for right in (pr.PerVector(), pr.PerTensor(), pr.PerGroup(128)):
            a = pr.quantize(x, pr.QuantSpec(pr.E4M3, left))
            b = pr.quantize(y, pr.QuantSpec(pr.E5M2, right), axis=-2)
            for unit in (pr.HOPPER_FP8, pr.HOPPER_FP8.promoted(32), pr.HOPPER_FP8.promoted(96)):
                if unit.promotion == 32 and pr.PerGroup(128) in (left, right):
                    continue
                assert small(a, b, unit).tobytes() == by_panels(a, b, unit).tobytes()
            none = pr.encode(y, pr.E4M3)
            assert small(a, none, pr.HOPPER_FP8).tobytes() == by_panels(a, none, pr.HOPPER_FP8).tobytes()
