"""`bounds`: closed forms by definition, `error_bound` against fractions, `explain` against a replay."""

import dataclasses
import itertools
import math
import runpy
from fractions import Fraction
from pathlib import Path

import ml_dtypes
import numpy as np
import oracle
import pytest
import reference as ref
from hypothesis import given, settings
from hypothesis import strategies as st
from product_cases import random_codes, starts, tensors

import precision as pr
from precision import bounds, specs
from precision.bounds._conversion import bound_quantization
from precision.formats import parse_format
from precision.testing.strategies import _unit_strategies

SEARCH = runpy.run_path(str(Path(__file__).parents[2] / "benchmarks" / "bound_search.py"))
E4M3_GROUPS = pr.QuantSpec(pr.E4M3, pr.PerGroup(64))


def exact_products(a, b) -> np.ndarray:
    """The exact product of float64 matrices as fractions; None where a row or column is not finite."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    out = np.empty((len(a), b.shape[1]), object)
    for i, j in np.ndindex(out.shape):
        if np.isfinite(a[i]).all() and np.isfinite(b[:, j]).all():
            out[i, j] = sum((Fraction(x) * Fraction(y) for x, y in zip(a[i], b[:, j], strict=True)), ref.ZERO)
    return out


def largest_share(result, wanted, total) -> float:
    """The largest error over its bound, which none may pass; a finite bound means a finite result."""
    worst = 0.0
    for at in np.ndindex(total.shape):
        if math.isinf(total[at]):
            continue
        error = abs(Fraction(float(result[at])) - wanted[at])
        assert error <= Fraction(float(total[at])), (at, float(error), total[at])
        worst = max(worst, float(error / Fraction(float(total[at])))) if error else worst
    return worst


# ------------------------------------------------------------------------------------------- closed forms


@pytest.mark.parametrize("fmt", [pr.E4M3, pr.E5M2, pr.E2M3, pr.FP16])
@pytest.mark.parametrize("rounding", pr.Rounding)
def test_unit_roundoff_is_the_largest_relative_error(fmt, rounding):
    x = 1 + np.linspace(0, 4 * 2.0**-fmt.fraction_bits, 2**14 + 1)
    error = np.abs(pr.round_to(x, fmt, rounding=rounding) - x) / x
    u = bounds.unit_roundoff(fmt, rounding)
    assert 0.99 * u / (1 + u) <= error.max() <= u


def test_stochastic_rounding_errs_by_a_whole_place():
    assert bounds.unit_roundoff(pr.BF16, pr.Stochastic()) == 2 * bounds.unit_roundoff(pr.BF16)


@pytest.mark.parametrize(("n", "u"), [(0, 0.5), (1, 2.0**-24), (1000, 2.0**-11), (3, 0.25)])
def test_gamma_is_its_fraction(n, u):
    exact = n * Fraction(u) / (1 - n * Fraction(u))
    assert bounds.gamma(n, u) == pytest.approx(float(exact), rel=1e-15)
    # No product of n factors 1 + d, |d| <= u, is further from 1.
    assert (1 + u) ** n - 1 <= bounds.gamma(n, u) * (1 + 1e-15) and 1 - (1 - u) ** n <= bounds.gamma(n, u)


def test_probabilistic_gamma_holds_as_often_as_it_says():
    rng = np.random.default_rng(0)
    n, u, lam = 400, 2.0**-8, 1.5
    errors = np.abs(np.prod(1 + rng.uniform(-u, u, (4000, n)), axis=1) - 1)
    # Errors as large as they may be, which come nearest to the bound.
    signs = np.abs(np.prod(1 + u * rng.choice([-1.0, 1.0], (4000, n)), axis=1) - 1)
    allowed = bounds.probabilistic_gamma(n, u, lam)
    assert (errors > allowed).mean() <= (signs > allowed).mean() <= bounds.failure_probability(lam, u)
    assert (signs > allowed).mean() > 0.05 and bounds.gamma(n - 150, u) > 5 * allowed
    assert (np.prod(1 + np.full(n, u)) - 1) > 5 * allowed  # errors of one sign are not what it is for
    assert bounds.failure_probability(6.0, 0.0, n=7) == pytest.approx(14 * math.exp(-18))
    assert bounds.failure_probability(0.1) == 1.0


def test_stochastic_gamma_bounds_sums_that_nearest_gets_stuck_on():
    n, lam = 500, 4.0
    u = bounds.unit_roundoff(pr.BF16, pr.Stochastic())
    total, stuck = np.ones(300, np.float32), np.ones(300, np.float32)
    for step in range(n):
        more = total.astype(np.float64) + 2.0**-9
        total = pr.round_to(more.astype(np.float32), pr.BF16, rounding=pr.Stochastic(seed=step))
        stuck = pr.round_to(stuck + np.float32(2.0**-9), pr.BF16)
    exact = 1 + n * 2.0**-9
    assert (np.abs(total - exact) <= bounds.stochastic_gamma(n, u, lam) * exact).all()
    assert stuck[0] == 1 and np.abs(total - exact).max() < 0.5 * abs(stuck[0] - exact)


def test_block_fma_is_the_published_formula():
    def expected(n, block, u, inner, out):
        steps, effective = -(-n // block), out if out > u else (0 if u <= inner else u)
        first, second = (k * Fraction(v) / (1 - k * Fraction(v)) for k, v in ((steps, effective), (n, inner)))
        return float(first + second + first * second)

    u = 2.0**-11
    for n, block, inner, out in itertools.product((64, 100), (4, 16), (u / 16, u, 0.0), (0.0, 2.0**-9)):
        got = bounds.block_fma(n, block, u, inner, out)
        assert got == pytest.approx(expected(n, block, u, inner, out), rel=1e-14)


def test_input_conversion_is_the_published_formula():
    u, more = Fraction(1, 16), Fraction(3, 1000)
    expected = 2 * u + u**2 + more * (1 + u) ** 2
    assert bounds.input_conversion(float(u), float(more)) == pytest.approx(float(expected), rel=1e-15)


@pytest.mark.parametrize("name", ["e4m3", "e5m2", "e2m1", "e3m2", "int8", "mxint8", "int4", "fp16"])
def test_kulisch_width_holds_every_product(name):
    fmt = parse_format(name)
    dtype = fmt.code_dtype
    values = pr.decode(np.arange(1 << fmt.bits, dtype=np.uint32).astype(dtype), fmt).astype(np.float64)
    sizes = np.unique(np.abs(values[np.isfinite(values) & (values != 0)]))
    least, most = Fraction(sizes[0]) ** 2, Fraction(sizes[-1]) ** 2
    for n in (1, 1024, 1025):
        width = bounds.kulisch_width(fmt, fmt, n)
        assert least * 2 ** (width - 1) <= n * most < least * 2**width


def test_aligned_sum_is_nearly_reached_by_one_step():
    # 2**12 and 31 products of nearly 2**-1 = 2**(12 - 13): all of them are cut.
    a = np.full((1, 32), 1.875, np.float32)
    b = np.full((32, 1), 0.46875, np.float32)
    a[0, 0], b[0, 0] = 64, 64
    a, b = pr.encode(a, pr.E4M3), pr.encode(b, pr.E4M3)
    error = 4096 + 31 * 1.875 * 0.46875 - float(pr.matmul(a, b)[0, 0])
    allowed = bounds.aligned_sum(pr.HOPPER_FP8, 12)
    assert allowed == 33 * 0.5 and allowed / 4 < error < allowed


def test_aligned_truncation_is_reached_within_four_and_never_passed():
    found = SEARCH["search"](SEARCH["cases"]()["HOPPER_FP8"], 220_000)
    assert found.exceeded == found.theorem_exceeded == 0
    assert 0.25 <= found.theorem <= 1 and 0.25 <= found.ratio <= 1
    wide = bounds.aligned_truncation(pr.HOPPER_FP8.with_width(25), 96)
    assert wide < bounds.aligned_truncation(pr.HOPPER_FP8, 96) / 1000


@pytest.mark.parametrize(
    ("call", "kind", "words"),
    [
        (lambda: bounds.gamma(2, 0.5), ValueError, "n \\* u must be below 1, got 2 \\* 0.5"),
        (lambda: bounds.gamma(-1, 0.5), ValueError, "n must be at least 0, got -1"),
        (lambda: bounds.gamma(1.5, 0.5), TypeError, "n must be an int, got 1.5"),
        (lambda: bounds.gamma(1, 1.0), ValueError, "u must be at least 0 and below 1, got 1.0"),
        (lambda: bounds.probabilistic_gamma(9, 0.1, 0), ValueError, "lam must be positive, got 0"),
        (lambda: bounds.probabilistic_gamma(9, 0.1, "1"), TypeError, "lam must be a float, got '1'"),
        (lambda: bounds.block_fma(4, 0, 0.1, 0.1), ValueError, "block must be at least 1, got 0"),
        (lambda: bounds.input_conversion("x"), TypeError, "u_low must be a float"),
        (lambda: bounds.input_conversion(0.1, -1), ValueError, "accumulation must not be negative"),
        (
            lambda: bounds.aligned_sum(pr.EXACT, 1),
            TypeError,
            "unit must be a FusedSum, which aligns its terms, got EXACT",
        ),
        (lambda: bounds.aligned_sum(pr.HOPPER_FP8, 0.5), TypeError, "exponent must be an int, got 0.5"),
        (lambda: bounds.aligned_truncation(pr.HOPPER_FP8.promoted(64), 9), ValueError, "neither be promoted"),
        (lambda: bounds.error_bound("x", pr.EXACT, [1], [1]), TypeError, "spec must be a QuantSpec, a pair"),
        (lambda: bounds.error_bound(None, 5, [1], [1]), TypeError, "accumulator must be a FusedSum"),
        (
            lambda: bounds.error_bound(None, pr.EXACT, np.ones(2, "f2"), np.ones(2, "f2"), failure=1),
            ValueError,
            "failure must lie between 0 and 1, got 1",
        ),
        (
            lambda: bounds.error_bound(
                E4M3_GROUPS, pr.EXACT, pr.quantize(np.ones((1, 2)), E4M3_GROUPS), np.ones((2, 1))
            ),
            TypeError,
            "a must be an array where spec says",
        ),
        (
            lambda: bounds.explain(np.ones(2), accumulator=pr.EXACT, a=np.ones(2, "f2"), b=np.ones(2, "f2")),
            ValueError,
            "result must have the product's shape \\(\\), got \\(2,\\)",
        ),
        (
            lambda: bounds.explain([1], accumulator=pr.EXACT, a=np.ones((1, 2), "f2"), b=np.ones(2, "f2")),
            TypeError,
            "result must be an array of float16",
        ),
    ],
)
def test_wrong_arguments_are_named(call, kind, words):
    with pytest.raises(kind, match=words):
        call()


# -------------------------------------------------------------------------- the bound of an accumulation


def plainly(codes, fmt):
    """An operand, and its values in float64."""
    if fmt.dtype.kind == "u" and fmt != pr.TF32:
        codes = pr.QuantizedTensor(codes, 1.0, fmt=fmt)
        return codes, codes.dequantize(np.float64)
    with np.errstate(invalid="ignore"):
        return codes, codes.astype(np.float64)


@settings(max_examples=150, deadline=None)
@given(
    unit=_unit_strategies.fused_sums(),
    length=st.integers(1, 70),
    data=st.sampled_from(["normal", "wide", "wider", "bits"]),
    start=st.sampled_from(["none", "none", "normal", "wide", "special"]),
    dtype=st.sampled_from([np.float32, np.float64, np.float16]),
    seed=st.integers(0, 2**32 - 1),
)
def test_no_fused_sum_passes_its_bound(unit, length, data, start, dtype, seed):
    rng, fmt = np.random.default_rng(seed), unit.operands[0]
    (a, x), (b, y) = (plainly(random_codes(rng, fmt, s, data), fmt) for s in ((3, length), (length, 2)))
    c = starts(rng, unit, start)
    wanted = exact_products(x, y)
    for at in np.ndindex(3, 2):
        if wanted[at] is not None and c is not None and np.isfinite(c[at]):
            wanted[at] += Fraction(float(c[at]))
    bound = bounds.error_bound(None, unit, a, b, c=c, dtype=dtype)
    result = pr.matmul(a, b, accumulator=unit, c=c, dtype=dtype)
    largest_share(result, wanted, bound.total)
    assert (bound.probabilistic <= bound.total).all()


@settings(max_examples=100, deadline=None)
@given(
    unit=_unit_strategies.fused_sums(scaled=True),
    length=st.integers(1, 70),
    kind=st.sampled_from(["near", "wide", "bits"]),
    data=st.sampled_from(["dense", "sparse", "bits"]),
    second=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_no_unit_that_scales_passes_its_bound(unit, length, kind, data, second, seed):
    grouped = isinstance(unit.scale_in_unit, pr.ScaledGroups)
    fmt = (pr.E8M0, pr.E4M3, pr.FP32)[seed % 3] if grouped else pr.E8M0
    group = unit.scale_in_unit.n * (1 + seed % 2) if grouped else (1, 3, 16, 32)[seed % 4]
    a, b = tensors(unit, fmt, 3, length, 2, group, seed, kind, data)
    if second:
        a, b = (dataclasses.replace(q, tensor_scale=np.float32(t)) for q, t in ((a, 0.3), (b, 1.7)))
    with np.errstate(all="ignore"):
        wanted = exact_products(a.dequantize(np.float64), b.dequantize(np.float64))
        result = pr.matmul(a, b, accumulator=unit)
    largest_share(result, wanted, bounds.error_bound(None, unit, a, b).total)


@settings(max_examples=100, deadline=None)
@given(
    kinds=st.tuples(*[st.sampled_from(["none", "tensor", "vector", "group", "block"])] * 2),
    chain=st.booleans(),
    second=st.booleans(),
    spread=st.sampled_from([0, 2, 20, 70, 120]),
    dtype=st.sampled_from(["float32", "float16", "bfloat16"]),
    length=st.integers(1, 200),
    seed=st.integers(0, 2**32 - 1),
)
def test_no_epilogue_passes_its_bound(kinds, chain, second, spread, dtype, length, seed):
    rng = np.random.default_rng(seed)
    sides, values = [], []
    for kind, shape in zip(kinds, ((3, length), (2, length)), strict=True):
        codes = pr.encode(rng.standard_normal(shape) * 4, pr.E4M3)
        block = {"vector": (1, None), "group": (1, 64), "block": (2, 64)}.get(kind, (None, None))
        counts = tuple(-(-size // (step or size)) for size, step in zip(shape, block, strict=True))
        scale = np.abs(rng.standard_normal(counts)) * 2.0 ** rng.integers(-spread, spread + 1, counts)
        if kind == "none":
            q = codes
        else:
            tensor_scale = np.float32(0.7) if second else None
            q = pr.QuantizedTensor(
                codes, scale.astype(np.float32), fmt=pr.E4M3, block=block, tensor_scale=tensor_scale
            )
        sides.append(q)
        with np.errstate(all="ignore"):
            values.append(q.astype(np.float64) if kind == "none" else q.dequantize(np.float64))
    unit = pr.FP32_FMA if chain else pr.HOPPER_FP8
    if {"group", "block"} & set(kinds) or seed % 2:
        unit = unit.promoted(64)
    with np.errstate(all="ignore"):
        result = pr.matmul(sides[0], sides[1].T, accumulator=unit, dtype=dtype)
        bound = bounds.error_bound(None, unit, sides[0], sides[1].T, dtype=dtype)
    largest_share(result.astype(np.float64), exact_products(values[0], values[1].T), bound.total)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_exact_errs_by_one_rounding(dtype):
    rng = np.random.default_rng(1)
    a, b = (rng.standard_normal(shape).astype(np.float16) for shape in ((4, 33), (33, 5)))
    c = rng.standard_normal((4, 5)).astype(np.float32)
    wanted = exact_products(a, b) + np.vectorize(Fraction, otypes=[object])(c.astype(np.float64))
    result = pr.matmul(a, b, accumulator=pr.EXACT, c=c, dtype=dtype).astype(np.float64)
    bound = bounds.error_bound(None, pr.EXACT, a, b, c=c, dtype=dtype)
    share = largest_share(result, wanted, bound.total)
    assert share > 0.25 or dtype == "float64"
    digits = {"float16": 11, "bfloat16": 8, "float32": 24, "float64": 53}[dtype]
    # Half a place for the result, and where it is not exact half a float64's place for the reference.
    places = 2.0 ** np.floor(np.log2(np.abs(wanted.astype(np.float64)))) * (2.0**-digits + 2.0**-53)
    assert (bound.total <= places * 2.01).all()


def test_start_counts_as_matmul_scales_it():
    a = pr.QuantizedTensor(np.ones((1, 2), pr.E4M3.dtype), 0.3, fmt=pr.E4M3)
    b = pr.QuantizedTensor(np.ones((2, 1), pr.E4M3.dtype), 1.0, fmt=pr.E4M3)
    c, factor = np.float32([[5]]), Fraction(float(np.float32(0.3)))
    for unit, wanted in ((pr.HOPPER_FP8, 7 * factor), (pr.EXACT, 2 * factor + 5)):
        result = pr.matmul(a, b, accumulator=unit, c=c)
        total = bounds.error_bound(None, unit, a, b, c=c).total
        assert abs(Fraction(float(result[0, 0])) - wanted) <= Fraction(total[0, 0]) < Fraction(1, 10**6)


def test_what_cannot_err_has_a_bound_of_zero():
    rng = np.random.default_rng(2)
    a, b = (rng.integers(-3, 4, shape).astype(np.float32) for shape in ((7, 300), (300, 9)))
    for fmt, unit in (
        (pr.E4M3, pr.HOPPER_FP8),
        (pr.E4M3, pr.HOPPER_FP8.promoted(128)),
        (pr.FP16, pr.HOPPER_FP16),
        (pr.BF16, pr.FP32_FMA),
        (pr.BF16, pr.EXACT),
    ):
        x, y = pr.encode(a, fmt), pr.encode(b, fmt)
        np.testing.assert_array_equal(pr.matmul(x, y, accumulator=unit), a @ b)
        assert not bounds.error_bound(None, unit, x, y).total.any(), unit


def test_bounds_are_infinite_where_results_may_not_be_finite():
    one = np.ones((2, 32), np.float32)
    a, b = pr.encode(one * [[1], [300]], pr.E4M3), pr.encode(one.T * 300, pr.E4M3)
    assert np.isinf(bounds.error_bound(None, pr.HOPPER_FP8_ACC16, a, b).total).tolist() == [
        [False] * 2,
        [True] * 2,
    ]
    assert np.isfinite(bounds.error_bound(None, pr.HOPPER_FP8, a, b).total).all()
    assert np.isinf(bounds.error_bound(None, pr.HOPPER_FP8, a, b, dtype=np.float16).total[1]).all()
    odd = one.copy()
    odd[0, 3] = np.nan
    for unit in (pr.HOPPER_FP8, pr.FP32_FMA, pr.EXACT):
        found = bounds.error_bound(None, unit, pr.encode(odd, pr.E4M3), b)
        assert (
            np.isinf(found.total).tolist()
            == np.isinf(found.probabilistic).tolist()
            == [[True] * 2, [False] * 2]
        )
    huge = pr.QuantizedTensor(a, np.float32([[np.nan], [1]]), fmt=pr.E4M3, block=(1, None))
    assert np.isinf(bounds.error_bound(None, pr.HOPPER_FP8, huge, b).total).tolist() == [
        [True] * 2,
        [False] * 2,
    ]
    start = np.float32([[np.inf, 0], [0, 0]])
    assert np.isinf(bounds.error_bound(None, pr.HOPPER_FP8, a, b, c=start).total).sum() == 1


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ((5,), (5,)),
        ((5,), (5, 3)),
        ((2, 5), (5,)),
        ((4, 1, 2, 5), (3, 5, 6)),
        ((2, 0), (0, 3)),
        ((0, 5), (5, 2)),
    ],
)
def test_shapes_are_those_of_matmul(left, right):
    rng = np.random.default_rng(3)
    a, b = (pr.encode(rng.standard_normal(shape), pr.E4M3) for shape in (left, right))
    for unit in (pr.HOPPER_FP8, pr.FP32_FMA.promoted(2), pr.EXACT):
        result = pr.matmul(a, b, accumulator=unit)
        bound = bounds.error_bound(None, unit, a, b)
        found = bounds.explain(result, accumulator=unit, a=a, b=b)
        for name in ("total", "quantization", "alignment", "register", "epilogue"):
            assert getattr(bound, name).shape == getattr(found, name).shape == result.shape
        exact = a.astype(np.float64) @ b.astype(np.float64)
        assert (np.abs(result - exact) <= bound.total).all() and np.isfinite(bound.total).all()
        assert str(found)


def test_tiles_and_threads_change_nothing(monkeypatch):
    rng = np.random.default_rng(4)
    a, b = (pr.encode(rng.standard_normal(shape), pr.E4M3) for shape in ((2, 30, 70), (2, 70, 600)))
    unit = pr.HOPPER_FP8.promoted(32)
    whole = bounds.error_bound(None, unit, a, b)
    before = pr.get_num_threads()
    monkeypatch.setattr("precision.bounds._accumulation.TILE", 2000)
    try:
        for threads in (1, 3):
            pr.set_num_threads(threads)
            parts = bounds.error_bound(None, unit, a, b)
            # BLAS sums in another order for other shapes, but these sums are exact.
            np.testing.assert_array_equal(parts.total, whole.total)
            np.testing.assert_array_equal(parts.probabilistic, whole.probabilistic)
    finally:
        pr.set_num_threads(before)


def test_probabilistic_bounds_grow_with_the_root():
    rng = np.random.default_rng(5)
    shares = []
    for length in (64, 4096):
        a, b = (rng.random(shape).astype(np.float32) for shape in ((12, length), (length, 12)))
        bound = bounds.error_bound(None, pr.FP32_FMA, a, b, failure=1e-6)
        error = np.abs(pr.matmul(a, b, accumulator=pr.FP32_FMA) - a.astype(np.float64) @ b.astype(np.float64))
        assert (error <= bound.probabilistic).all()
        shares.append(float((bound.probabilistic / bound.total).mean()))
    assert shares[1] < 0.25 * shares[0]
    a8, b8 = pr.encode(a, pr.E4M3), pr.encode(b, pr.E4M3)
    truncated = bounds.error_bound(None, pr.HOPPER_FP8, a8, b8)
    np.testing.assert_allclose(truncated.probabilistic, truncated.total, rtol=1e-9)


def test_a_kernel_of_zeros_or_of_fewer_bits_passes_its_bound():
    rng = np.random.default_rng(6)
    a, b = (np.abs(rng.standard_normal(shape)) for shape in ((16, 512), (512, 16)))
    a, b = pr.encode(a, pr.E4M3), pr.encode(b, pr.E4M3)
    exact = a.astype(np.float64) @ b.astype(np.float64)
    total = bounds.error_bound(None, pr.HOPPER_FP8.promoted(128), a, b).total
    assert (np.abs(0 - exact) > total).all()
    for wrong in (pr.HOPPER_FP8, pr.HOPPER_FP8.with_width(9).promoted(128)):
        assert (np.abs(pr.matmul(a, b, accumulator=wrong) - exact) > total).mean() > 0.9
    other = pr.matmul(a, b, accumulator=pr.FP32_FMA)  # another arithmetic, and a better one
    assert (np.abs(other - exact) <= total).all()


@pytest.mark.parametrize(
    "name",
    ["HOPPER_FP8.promoted(64) groups", "HOPPER_FP16_ACC16", "HOPPER_TF32", "BLACKWELL_MX e4m3",
     "BLACKWELL_NVFP4", "FP32_FMA bf16", "alignment_rounding TO_ODD", "register_rounding TIES_TO_AWAY"],
)  # fmt: skip
def test_a_short_search_finds_no_error_beyond_its_bound(name):
    found = SEARCH["search"](SEARCH["cases"]()[name], 70_000)
    assert found.outputs >= 70_000
    assert found.exceeded == found.theorem_exceeded == 0
    assert found.ratio >= 0.25


# ------------------------------------------------------------------------------------------ quantization

SPECS = [
    *(pr.MXFP8_E4M3, pr.MXFP6_E2M3, pr.MXFP4, pr.MXINT8, pr.NVFP4, pr.NVFP4_TE, pr.NVFP4_4OVER6, pr.NVINT4),
    pr.QuantSpec(pr.E4M3, pr.PerTensor()),
    pr.QuantSpec(pr.E5M2, pr.PerVector(), rounding=pr.Rounding.TOWARD_ZERO),
    pr.QuantSpec(pr.E4M3, pr.PerBlock(3, 16), rounding=pr.Rounding.TIES_TO_AWAY),
    pr.QuantSpec(pr.E4M3, pr.PerGroup(20), rounding=pr.Stochastic(bits=4, seed=3)),
    pr.QuantSpec(pr.IntFormat(8, symmetric=False), pr.PerGroup(16), rounding=pr.Rounding.TOWARD_POSITIVE),
    pr.QuantSpec(pr.E2M3, pr.PerGroup(16), rounding=pr.Rounding.TO_ODD, scale_format=pr.E8M0),
    pr.QuantSpec(parse_format("uint8"), pr.PerTensor()),
    pr.QuantSpec(pr.E5M2, pr.PerGroup(16), overflow=pr.Overflow.NON_SATURATING, scale_format=pr.E4M3),
    pr.QuantSpec(pr.BF16, pr.PerTensor()),
    pr.QuantSpec(pr.E4M3, pr.PerGroup(16), min_amax=1e-4),
    dataclasses.replace(pr.MXFP4, non_finite=pr.NonFinite.FINITE_AMAX),
]


def hard_numbers(rng, shape, dtype):
    x = rng.standard_normal(shape) * 2.0 ** rng.integers(-12, 12, (shape[0], 1))
    x[rng.random(shape) < 0.1] = 0
    x[0] = rng.choice([1, 1.5, 1.75, 6, 448, 2.0**-9], shape[1])
    x[1] *= 2.0**-120
    return x.astype(dtype)


@pytest.mark.parametrize("spec", SPECS, ids=str)
@pytest.mark.parametrize("dtype", [np.float32, np.float64, ml_dtypes.bfloat16])
def test_no_element_lies_beyond_its_bound(spec, dtype):
    x = hard_numbers(np.random.default_rng(7), (12, 192), dtype)
    q = pr.quantize(x, spec)
    found = bound_quantization(x, q, spec)
    with np.errstate(invalid="ignore"):
        error = np.abs(x.astype(np.float64) - q.dequantize(np.float64))
    assert ((error <= found.change) | (np.isnan(error) & np.isinf(found.change))).all()
    finite = np.isfinite(found.change) & (found.change > 0)
    assert finite.mean() > 0.7
    assert (error[finite] / found.change[finite]).max() > 0.8


def test_infinite_elements_and_scales_have_no_bound():
    x = np.ones((2, 32), np.float32)
    x[0, 5] = np.nan
    for spec, lost in (
        (pr.MXFP8_E4M3, 32),
        (dataclasses.replace(pr.MXFP4, non_finite=pr.NonFinite.FINITE_AMAX), 1),
    ):
        assert np.isinf(bound_quantization(x, pr.quantize(x, spec), spec).change).sum() == lost


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("spec", "unit"),
    [
        (pr.MXFP8_E4M3, pr.BLACKWELL_MX),
        (pr.NVFP4, pr.BLACKWELL_NVFP4),
        (pr.QuantSpec(pr.E4M3, pr.PerVector()), pr.HOPPER_FP8),
        (E4M3_GROUPS, pr.HOPPER_FP8.promoted(64)),
        ((E4M3_GROUPS, pr.QuantSpec(pr.E4M3, pr.PerBlock(64, 64))), pr.HOPPER_FP8.promoted(64)),
        (pr.MXINT8, pr.EXACT),
        (pr.QuantSpec(pr.E4M3, pr.PerTensor(), rounding=pr.Stochastic(seed=1)), pr.FP32_FMA),
    ],
    ids=str,
)
def test_products_of_quantized_arrays_keep_their_bounds(spec, unit, dtype):
    rng = np.random.default_rng(8)
    a, b = (rng.standard_normal(shape).astype(dtype) for shape in ((6, 192), (192, 5)))
    first, second = spec if isinstance(spec, tuple) else specs.for_operands(spec, spec)
    result = pr.matmul(pr.quantize(a, first), pr.quantize(b, second, axis=0), accumulator=unit)
    bound = bounds.error_bound(spec, unit, a, b)
    assert largest_share(result, exact_products(a, b), bound.total) > 0.005
    assert (np.abs(result - a.astype(np.float64) @ b) <= bound.probabilistic).all()
    if (
        unit is not pr.EXACT and first.fmt == pr.E4M3
    ):  # conversion is most of it, and its errors mostly cancel
        assert (bound.quantization > 0.5 * bound.total).all()
        assert (bound.probabilistic < 0.95 * bound.total).all()


def test_one_operand_may_be_quantized_already():
    rng = np.random.default_rng(9)
    a, b = (rng.standard_normal(shape).astype(np.float32) for shape in ((6, 192), (192, 5)))
    w, unit = pr.quantize(b, E4M3_GROUPS, axis=0), pr.HOPPER_FP8.promoted(64)
    bound = bounds.error_bound((E4M3_GROUPS, None), unit, a, w)
    result = pr.matmul(pr.quantize(a, E4M3_GROUPS), w, accumulator=unit)
    largest_share(result, exact_products(a, w.dequantize(np.float64)), bound.total)
    both = bounds.error_bound(E4M3_GROUPS, unit, a, b)
    assert (bound.quantization < both.quantization).all()


def test_tf32_conversion_is_part_of_the_bound():
    rng = np.random.default_rng(10)
    a, b = (np.abs(rng.standard_normal(shape)).astype(np.float32) for shape in ((4, 40), (40, 4)))
    bound = bounds.error_bound(None, pr.HOPPER_TF32, a, b)
    assert largest_share(pr.matmul(a, b, accumulator=pr.HOPPER_TF32), exact_products(a, b), bound.total) > 0.5
    assert (bound.quantization > bound.alignment).all()


# --------------------------------------------------------------------------------------------- explain


def replayed(a, b, unit, c=ref.ZERO):
    """Sums of what aligning and rounding changed, step by step in fractions."""
    model, fmt = oracle.plain_unit(unit), oracle.plain(unit.operands[0])
    # The same exponents for the register, and fraction bits for any sum.
    wide = dataclasses.replace(model, register=dataclasses.replace(model.register, fraction_bits=400))
    register, aligning, rounding = c, ref.ZERO, ref.ZERO
    for k in range(0, len(a), unit.products):
        terms = [ref.product(int(x), fmt, int(y), fmt) for x, y in zip(a[k:], b[k:], strict=True)][
            : unit.products
        ]
        total = ref.fused_sum(terms, register, wide)
        exact = register + sum(t.significand * Fraction(2) ** t.unit for t in terms)
        after = ref.round_value(total, model.register, model.register_rounding)
        after = ref.ZERO if after == "-0" else after
        aligning, rounding, register = aligning + total - exact, rounding + after - total, after
    return aligning, rounding


@settings(max_examples=60, deadline=None)
@given(
    unit=_unit_strategies.fused_sums(),
    length=st.integers(1, 40),
    wide=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_parts_are_those_of_every_step(unit, length, wide, seed):
    unit, fmt = dataclasses.replace(unit, promotion=None), unit.operands[0]
    rng = np.random.default_rng(seed)
    codes = [random_codes(rng, fmt, s, "wide" if wide else "normal") for s in ((2, length), (length, 2))]
    if fmt == pr.TF32:
        codes = [(x.view(np.uint32) & np.uint32(0xFFFFE000)).view(np.float32) for x in codes]
    (a, _), (b, _) = (plainly(x, fmt) for x in codes)
    result = pr.matmul(a, b, accumulator=unit)
    found = bounds.explain(result, accumulator=unit, a=a, b=b)
    bound = bounds.error_bound(None, unit, a, b)
    bits = [x.view(f"u{x.itemsize}") >> np.uint32(13 if fmt == pr.TF32 else 0) for x in codes]
    for i, j in np.ndindex(2, 2):
        if not np.isfinite(result[i, j]):
            continue
        aligning, rounding = replayed(bits[0][i], bits[1][:, j], unit)
        near = 1e-12 * (abs(float(aligning)) + abs(float(rounding)) + abs(float(result[i, j])))
        assert found.alignment[i, j] == pytest.approx(float(aligning), rel=1e-12, abs=near)
        assert found.register[i, j] == pytest.approx(float(rounding), rel=1e-12, abs=near)
        assert abs(found.epilogue[i, j]) <= near and found.unexplained[i, j] == 0
        if np.isfinite(bound.total[i, j]):
            assert abs(aligning) <= Fraction(bound.alignment[i, j])
            assert abs(rounding) <= Fraction(bound.register[i, j])


@pytest.mark.parametrize(
    ("spec", "unit", "dtype"),
    [
        (None, pr.HOPPER_FP8, "float32"),
        (None, pr.FP32_FMA, "float32"),
        (None, pr.HOPPER_FP8.promoted(64), "bfloat16"),
        (E4M3_GROUPS, pr.HOPPER_FP8.promoted(64), "float32"),
        (E4M3_GROUPS, pr.FP32_FMA.promoted(32), "float16"),
        (pr.QuantSpec(pr.E4M3, pr.PerVector()), pr.HOPPER_FP8, "bfloat16"),
        (pr.MXFP8_E4M3, pr.BLACKWELL_MX, "float32"),
        (pr.NVFP4, pr.BLACKWELL_NVFP4, "float32"),
        (pr.NVFP4, pr.EXACT, "float16"),
    ],
    ids=str,
)
def test_parts_add_up_and_keep_their_bounds(spec, unit, dtype):
    rng = np.random.default_rng(11)
    a, b = (rng.standard_normal(shape).astype(np.float32) for shape in ((6, 256), (256, 5)))
    if spec is None:
        a, b = pr.encode(a, pr.E4M3), pr.encode(b, pr.E4M3)
        result = pr.matmul(a, b, accumulator=unit, dtype=dtype)
    else:
        result = pr.matmul(pr.quantize(a, spec), pr.quantize(b, spec, axis=0), accumulator=unit, dtype=dtype)
    found = bounds.explain(result, accumulator=unit, a=a, b=b, spec=spec)
    bound = bounds.error_bound(spec, unit, a, b, dtype=dtype)
    names = ("quantization", "alignment", "register", "epilogue")
    parts = [getattr(found, name) for name in names]
    np.testing.assert_allclose(sum(parts), found.total, rtol=0, atol=1e-12)
    assert not found.unexplained.any()
    wanted = exact_products(a, b).astype(np.float64)
    np.testing.assert_allclose(found.total, result.astype(np.float64) - wanted, rtol=0, atol=1e-12)
    for name, part in zip(names, parts, strict=True):
        assert (np.abs(part) <= getattr(bound, name) + 1e-12).all(), name
    assert sum(found.shares().values()) == pytest.approx(float(found.total.any()))
    same = bounds.explain(result, wanted, accumulator=unit, a=a, b=b, spec=spec)
    np.testing.assert_allclose(same.quantization, found.quantization, rtol=0, atol=1e-12)


def test_explain_finds_the_undeclared_and_counts_starts():
    rng = np.random.default_rng(12)
    a, b = (np.abs(rng.standard_normal(shape)) for shape in ((8, 256), (256, 8)))
    a, b = pr.encode(a, pr.E4M3), pr.encode(b, pr.E4M3)
    c = np.full((8, 8), 37.5, np.float32)
    for unit in (pr.HOPPER_FP8, pr.HOPPER_FP8.promoted(64), pr.FP32_FMA):
        good = bounds.explain(pr.matmul(a, b, accumulator=unit, c=c), accumulator=unit, a=a, b=b, c=c)
        assert not good.unexplained.any() and not good.quantization.any()
        assert np.abs(good.total).max() < 20
        parts = good.alignment + good.register + good.epilogue
        np.testing.assert_allclose(parts, good.total, rtol=0, atol=1e-11)
    narrow = pr.matmul(a, b, accumulator=pr.HOPPER_FP8.with_width(10))
    found = bounds.explain(narrow, accumulator=pr.HOPPER_FP8, a=a, b=b)
    shares = found.shares()
    assert max(shares, key=shares.get) == "unexplained" and "unexplained" in str(found)
    assert (
        bounds.explain(np.zeros((0, 8), "f4"), accumulator=pr.EXACT, a=a[:0], b=b).shares()["register"] == 0
    )
