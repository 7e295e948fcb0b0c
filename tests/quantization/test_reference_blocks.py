"""The package's quantizer against `reference_blocks`, block by block; the oracle against other statements."""

import dataclasses
import math
from collections.abc import Callable
from fractions import Fraction
from functools import cache

import numpy as np
import pytest
import reference
import reference_blocks as oracle
from hypothesis import example, given, settings
from hypothesis import strategies as st

import precision as pr
from precision.testing.strategies import _block_strategies

MX = ("MXFP8_E4M3", "MXFP8_E5M2", "MXFP6_E2M3", "MXFP6_E3M2", "MXFP4", "MXINT8", "MXINT4")
NV = ("NVFP4", "NVINT4")
ELEMENTS: dict[str, reference.Format | oracle.Integer] = {
    "MXFP8_E4M3": reference.E4M3,
    "MXFP8_E5M2": reference.E5M2,
    "MXFP6_E2M3": reference.E2M3,
    "MXFP6_E3M2": reference.E3M2,
    "MXFP4": reference.E2M1,
    "MXINT8": oracle.MXINT8,
    "MXINT4": oracle.MXINT4,
    "NVFP4": reference.E2M1,
    "NVINT4": oracle.INT4,
}
RULES = ("amax", *oracle.POWER_RULES)
TINY, HUGE, SMALLEST_NORMAL = 2.0**-149, float(np.finfo(np.float32).max), 2.0**-126
OVERFLOWS = float(
    np.nextafter(np.float32(448 * 2.0**119), np.float32(0))
)  # the largest amax below 448 * 2**119


# ---- inputs -----------------------------------------------------------------------------------------


def float32(x: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore", under="ignore"):
        return np.clip(x, -HUGE, HUGE).astype(np.float32)


def wide(rng: np.random.Generator, count: int, width: int, limit: float) -> np.ndarray:
    """Blocks anywhere in float32's range, their elements over some binades below."""
    x = rng.standard_normal((count, width)) * np.ldexp(1.0, rng.integers(-149, 127, (count, 1)))
    return float32(x * np.ldexp(1.0, rng.integers(-9, 1, (count, width))))


def halves(rng: np.random.Generator, count: int, width: int, limit: float) -> np.ndarray:
    """Small multiples of powers of two, so that many quotients are ties."""
    x = rng.integers(-67, 68, (count, width)) * np.ldexp(1.0, rng.integers(-6, 1, (count, width)))
    x[:, 0] = limit * np.ldexp(1.0, rng.integers(-2, 1, count))
    return float32(x * np.ldexp(1.0, rng.integers(-120, 100, (count, 1))))


def thresholds(rng: np.random.Generator, count: int, width: int, limit: float) -> np.ndarray:
    """An amax on, just below and just above what the rules look at: 2**k, max * 2**k, half-up points."""
    x = wide(rng, count, width, limit) * np.float32(0)
    significand = math.frexp(limit)[0] * 2
    at = rng.choice([1.0, significand, 1.5, 1.75, 1.875, 1.9375, 2 - 2.0**-7, 1.99609375], count)
    amax = float32(np.ldexp(at, rng.integers(-140, 127, count)))
    amax = amax.view(np.int32) + rng.integers(-2, 3, count).astype(np.int32)
    x[:, 3 % width] = np.clip(amax, 1, 0x7F7FFFFF).astype(np.int32).view(np.float32)
    x[:, : 3 % width] = x[:, [3 % width]] * float32(rng.random((count, 3 % width)))
    return x


def subnormals(rng: np.random.Generator, count: int, width: int, limit: float) -> np.ndarray:
    """Float32's last numbers."""
    bits = rng.integers(0, 1 << 24, (count, width)) >> rng.integers(0, 25, (count, 1))
    return bits.astype(np.int32).view(np.float32) * rng.choice(np.float32([-1, 1]), (count, width))


def zeros(rng: np.random.Generator, count: int, width: int, limit: float) -> np.ndarray:
    """Zeros of both signs, in every third block one other number."""
    x = rng.choice(np.float32([0.0, -0.0]), (count, width))
    x[::3, -1] = float32(np.ldexp(rng.standard_normal(len(x[::3])), 90))
    return x


def overflows(rng: np.random.Generator, count: int, width: int, limit: float) -> np.ndarray:
    """Up to float32's largest."""
    x = wide(rng, count, width, limit) * np.float32(0) + float32(rng.standard_normal((count, width)))
    x *= np.float32(2.0**124)
    x[:, 1 % width] = rng.choice(np.float32([HUGE, -HUGE, 2.0**127, OVERFLOWS, 448 * 2.0**119]), count)
    return x


def specials(rng: np.random.Generator, count: int, width: int, limit: float) -> np.ndarray:
    """NaN or an infinity in every second block."""
    x = wide(rng, count, width, limit)
    x[::2, rng.integers(width)] = rng.choice(np.float32([np.nan, -np.nan, np.inf, -np.inf]), len(x[::2]))
    return x


KINDS: dict[str, Callable[..., np.ndarray]] = {
    kind.__name__: kind for kind in (wide, halves, thresholds, subnormals, zeros, overflows, specials)
}


# ---- the package's answer, and the oracle's ----------------------------------------------------------


def codes_of(q: pr.QuantizedTensor) -> tuple[np.ndarray, np.ndarray]:
    """Bytes of the scales and of the elements."""
    scale = np.ascontiguousarray(q.scale).view(q.scale_format.code_dtype)
    return scale, np.ascontiguousarray(q.codes).view(q.fmt.code_dtype)


def source_of(x: np.ndarray) -> reference.Format:
    return reference.FP64 if x.dtype == np.float64 else reference.FP32


def agree(x: np.ndarray, spec: pr.QuantSpec, wanted: list[oracle.Block], tensor_scale: object = None) -> None:
    """``spec`` gives the blocks of ``x``'s rows as ``wanted``; a row is one block."""
    q = pr.quantize(x, spec)
    scale, codes = codes_of(q)
    assert scale[:, 0].tolist() == [b.scale for b in wanted]
    np.testing.assert_array_equal(codes, [b.codes for b in wanted])
    assert q.tensor_scale == tensor_scale


def with_rule(name: str, rule: str) -> pr.QuantSpec:
    """A named spec with another rule, and with the package's division."""
    return dataclasses.replace(
        getattr(pr, name), scale_rule=pr.ScaleRule(rule), arithmetic=pr.Arithmetic.DIVISION
    )


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("name", MX)
def test_mx(name: str, rule: str) -> None:
    element, spec = ELEMENTS[name], with_rule(name, rule)
    for seed, kind in enumerate(KINDS.values()):
        x = kind(np.random.default_rng(seed), 9, 32, float(oracle.largest(element)))
        wanted = [oracle.quantize_block(row.tolist(), element, reference.E8M0, rule) for row in x]
        agree(x, spec, wanted)


@pytest.mark.parametrize("rule", ["floor", "rceil", "even"])
@pytest.mark.parametrize("name", ["MXFP8_E4M3", "MXFP4", "MXINT8"])
def test_mx_of_float64(name: str, rule: str) -> None:
    rng, element = np.random.default_rng(7), ELEMENTS[name]
    x = rng.standard_normal((30, 32)) * np.ldexp(1.0, rng.integers(-200, 200, (30, 1)))
    x[::5] *= 1e-200  # below 2**-127
    x[1::5, 0] = np.nextafter(448 * np.ldexp(1.0, rng.integers(-9, 9, 6)), np.inf)
    wanted = [
        oracle.quantize_block(row.tolist(), element, reference.E8M0, rule, source=reference.FP64) for row in x
    ]
    agree(x, with_rule(name, rule), wanted)


def agree_under_tensor_scale(x: np.ndarray, name: str, rule: str = "amax") -> None:
    """A tensor of blocks, each a row of ``x``."""
    blocks = [row.tolist() for row in x]
    want = oracle.quantize_tensor(blocks, ELEMENTS[name], reference.E4M3, rule, source=source_of(x))
    agree(x, with_rule(name, rule), want.blocks, float(want.tensor_scale))


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("name", NV)
def test_nv(name: str, kind: Callable[..., np.ndarray]) -> None:
    limit = float(oracle.largest(ELEMENTS[name]))
    for seed in range(3):
        x = kind(np.random.default_rng(seed), 12, 16, limit)
        agree_under_tensor_scale(x, name)
        # blocks that share a scale of the tensor are usually of like size
        finite = np.where(np.isfinite(x), x, np.float32(0))
        exponents = np.frexp(np.abs(finite).max(axis=1, keepdims=True))[1]
        spread = np.random.default_rng(seed).integers(-20, 1, exponents.shape)
        with np.errstate(invalid="ignore"):
            agree_under_tensor_scale(float32(np.ldexp(x.astype(np.float64), spread - exponents)), name)


@pytest.mark.parametrize("rule", oracle.POWER_RULES)
def test_powers_of_two_under_a_tensor_scale(rule: str) -> None:
    rng = np.random.default_rng(8)
    x = float32(rng.standard_normal((40, 16)) * np.ldexp(1.0, rng.integers(-30, 1, (40, 1))))
    agree_under_tensor_scale(x, "NVFP4", rule)
    x[0, 0], x[1] = HUGE, TINY  # amax / tensor scale is zero
    agree_under_tensor_scale(x, "NVFP4", rule)


@pytest.mark.parametrize("name", NV)
def test_nv_of_float64(name: str) -> None:
    rng = np.random.default_rng(9)
    x = rng.standard_normal((20, 16)) * np.ldexp(1.0, rng.integers(-12, 3, (20, 1)))
    agree_under_tensor_scale(x, name)


def blocks_of(names: tuple[str, ...], rules: tuple[str, ...], rows: int) -> st.SearchStrategy[object]:
    """Up to so many rows of one block, with the name of the spec and the rule for which they are hard."""

    def of(pair: tuple[str, str]) -> st.SearchStrategy[object]:
        return st.tuples(
            _block_strategies.blocks(with_rule(*pair), max_blocks=(rows, 1)), *map(st.just, pair)
        )

    return st.tuples(st.sampled_from(names), st.sampled_from(rules)).flatmap(of)


@given(blocks_of(MX, RULES, 1))
@example(([[TINY]], "MXFP4", "floor"))
@example(([[TINY, -TINY, 3 * TINY]], "MXFP8_E4M3", "even"))  # 3 ulp is a significand of 1.5
@example(([[SMALLEST_NORMAL * (1 - 2.0**-23)]], "MXINT8", "even"))  # rounds into the normal numbers
@example(([[SMALLEST_NORMAL / 2]], "MXINT8", "floor"))  # 2**-127: the smallest scale itself
@example(([[-0.0, 0.0]], "MXFP4", "rceil"))
@example(([[HUGE, -HUGE, 1.0]], "MXINT8", "ceil"))  # 2**128: one more than E8M0 has
@example(([[OVERFLOWS]], "MXFP8_E4M3", "rceil"))
@example(([[448.0, 464.0, 17.0, 19.0]], "MXFP8_E4M3", "floor"))  # 464 saturates
@example(([[7.0, 5.0, 2.5, 1.75, 1.25, 0.75, 0.25, -0.25]], "MXFP4", "floor"))  # every tie of E2M1
@example(([[1.984375, -1.984375, -2.0, 2.0**-7, 3 * 2.0**-7]], "MXINT8", "floor"))
@example(([[math.inf, 1.0]], "MXFP8_E5M2", "floor"))
@example(([[math.nan, 1.0]], "MXFP4", "amax"))
@settings(max_examples=150, deadline=None)
def test_any_mx_block(case: tuple[list[list[float]] | np.ndarray, str, str]) -> None:
    block, name, rule = case
    x = np.array(block, np.float32)
    wanted = oracle.quantize_block(x[0].tolist(), ELEMENTS[name], reference.E8M0, rule)
    agree(x, with_rule(name, rule), [wanted])


@given(blocks_of(NV, ("amax",), 5))
@example(([[TINY, 0.0, -TINY]], "NVFP4", "amax"))
@example(([[HUGE, 1.0, -1.0], [TINY, 0.0, 0.0]], "NVFP4", "amax"))  # the second scale is too small for E4M3
@example(([[4 * TINY] * 3, [TINY, TINY, 0.0]], "NVFP4", "amax"))  # the product of the scales is zero
@example(([[0.0, -0.0, 0.0], [0.0, 0.0, 0.0]], "NVINT4", "amax"))
@example(([[math.nan, 1.0, 2.0], [3.0, 4.0, 5.0]], "NVFP4", "amax"))
@example(([[2688.0, 1.0, 0.25], [6.0, 5.0, 2.5]], "NVFP4", "amax"))
@settings(max_examples=100, deadline=None)
def test_any_nv_tensor(case: tuple[list[list[float]] | np.ndarray, str, str]) -> None:
    agree_under_tensor_scale(np.array(case[0], np.float32), *case[1:])


# ---- the oracle against what others say ---------------------------------------------------------------


def test_rules_by_hand() -> None:
    """E2M1 has the largest element 6 = 1.5 * 2**2, and one place below the leading one."""
    codes = {rule: oracle.quantize_block([7.0], reference.E2M1, reference.E8M0, rule).scale for rule in RULES}
    assert codes == {"amax": 127, "floor": 127, "ceil": 128, "rceil": 128, "even": 128}
    by_hand = {  # floor, ceil, rceil, even
        4.0: (0, 0, 0, 0),
        5.99: (0, 1, 0, 0),
        6.0: (0, 1, 0, 0),
        6.01: (0, 1, 1, 0),
        6.99: (0, 1, 1, 0),
        7.0: (0, 1, 1, 1),  # 1.75 * 4 is the half that goes up to 8
        8.0: (1, 1, 1, 1),
    }
    for amax, wanted in by_hand.items():
        found = [oracle.scale_exponent(rule, Fraction(amax), reference.E2M1) for rule in oracle.POWER_RULES]
        assert tuple(found) == wanted, amax
    # MXINT8 has six places: 127.5 / 64 is the half that goes up to 2
    half = Fraction(255, 128)
    assert oracle.scale_exponent("even", half, oracle.MXINT8) == 1
    assert oracle.scale_exponent("even", half - reference.power(-20), oracle.MXINT8) == 0


@pytest.mark.parametrize("name", MX)
def test_where_floor_clips(name: str) -> None:
    """FLOOR clips exactly where amax's significand exceeds that of the largest element; RCEIL never."""
    element = ELEMENTS[name]
    limit = oracle.largest(element)
    edge = limit / reference.power(reference.floor_log2(limit))
    for significand in (1, edge, edge + reference.power(-20), Fraction(2) - reference.power(-20)):
        for exponent in (-100, 0, 100):
            amax = significand * reference.power(exponent)
            at = {rule: oracle.scale_exponent(rule, amax, element) for rule in oracle.POWER_RULES}
            assert (amax / reference.power(at["floor"]) > limit) == (significand > edge)
            assert amax / reference.power(at["rceil"]) <= limit < amax / reference.power(at["rceil"] - 1)
            assert at["floor"] <= at["rceil"] <= at["floor"] + 1 and at["floor"] <= at["even"] <= at["ceil"]


def test_codes_of_e8m0_and_clamping() -> None:
    small = [oracle.quantize_block([a], reference.E2M1, reference.E8M0, "floor") for a in (TINY, 2.0**-125)]
    assert [b.scale for b in small] == [0, 0]
    assert small[0].codes == [0] and small[1].codes == [6]
    assert oracle.quantize_block([HUGE], oracle.MXINT8, reference.E8M0, "ceil").scale == 254


def neighbours(x: float, ulps: int) -> float:
    """The float32 so many places above ``x``."""
    return float((np.array(x, np.float32).view(np.int32) + np.int32(ulps)).view(np.float32))


def exponents(amax: float, name: str) -> tuple[int, int]:
    """By the reciprocal, and exactly."""
    element = ELEMENTS[name]
    exact = oracle.power_code(oracle.scale_exponent("rceil", Fraction(amax), element), reference.E8M0)
    return oracle.rceil_reciprocal_code(Fraction(amax), element) - 127, exact - 127


@pytest.mark.parametrize("name", MX)
def test_where_rceil_by_the_reciprocal_parts_from_the_exact_rule(name: str) -> None:
    """Only where s = amax * fl32(1 / max) rounds from above a power of two onto it.

    For the five floating-point elements fl32(1 / max) >= 1 / max, and the first amax above max * 2**k
    gives an s that is rounded up, so that the rules agree wherever s is normal. MXINT8's reciprocal is
    too small. Near 2**-127 s has fewer bits: an amax one place above max * 2**-127 gives s = 2**-127
    (not for MXINT4, whose amax has fewer bits there as well).
    """
    limit = float(oracle.largest(ELEMENTS[name]))
    parts = {u for u in range(-40, 41) if len(set(exponents(neighbours(limit * 2.0**5, u), name))) > 1}
    assert parts == ({1} if name == "MXINT8" else set())
    above = neighbours(limit * 2.0**-127, 1)
    assert exponents(limit * 2.0**-127, name) == (-127, -127)
    assert exponents(above, name) == (-126 if name == "MXINT4" else -127, -126)
    assert exponents(limit * 2.0**-126, name) == (-126, -126)


def test_rceil_by_the_reciprocal_at_the_ends() -> None:
    assert oracle.rceil_reciprocal([0.0, -0.0], reference.E4M3) == oracle.Block(0, [0, 0x80])
    assert oracle.rceil_reciprocal([TINY], reference.E4M3) == oracle.Block(0, [0])
    assert oracle.rceil_reciprocal([HUGE], reference.E4M3).scale == 127 + 120
    assert oracle.rceil_reciprocal([HUGE], oracle.MXINT8).scale == 254  # E stays below 255
    assert oracle.rceil_reciprocal([math.inf, 1.0], reference.E4M3) == oracle.Block(255, [0x7F, 0x7F])


# ---- the same arithmetic once more, in NumPy's float32 ------------------------------------------------

F = np.float32
GRID = F([0, 0.5, 1, 1.5, 2, 3, 4, 6])
MIDDLES = F([0.25, 0.75, 1.25, 1.75, 2.5, 3.5, 5])
UP_AT_TIE = np.array([False, True, False, True, False, True, False])


def e2m1(x: np.ndarray) -> np.ndarray:
    """Codes of float32 by the seven midpoints, each with the side that its tie goes to."""
    size = np.abs(x)[..., None]
    steps = (size > MIDDLES) | ((size == MIDDLES) & UP_AT_TIE)
    return steps.sum(-1) + 8 * np.signbit(x)


def e4m3(x: np.ndarray) -> np.ndarray:
    return reference.table_round_array(x, reference.E4M3)


E4M3_VALUES = F(
    [0.0 if (v := reference.decode(c, reference.E4M3)) == "nan" else float(v) for c in range(128)]
)


def numpy_nvfp4(x: np.ndarray, order: str, least: int, bound: int = 448) -> tuple[np.ndarray, np.ndarray, F]:
    """Scale codes, element codes and tensor scale of finite blocks by the paper's or the library's order."""
    amax, amax_x = np.abs(x).max(axis=1, keepdims=True), np.abs(x).max()
    with np.errstate(over="ignore", divide="ignore"):
        s_enc = min(F(6 * bound) / amax_x, F(HUGE)) if amax_x else F(1)
        s_dec = F(1) / s_enc
        wanted = amax / F(6) * s_enc if order == "nvfp4_paper" else amax * (s_enc * (F(1) / F(6)))
        scale = np.maximum(e4m3(wanted), least)
        multiplier = np.minimum(F(1) / (E4M3_VALUES[scale] * s_dec), F(HUGE))
        return scale[:, 0], e2m1(x * multiplier), s_dec


def numpy_four_over_six(
    x: np.ndarray, error: str, bound: int, arithmetic: str, least: int
) -> tuple[np.ndarray, np.ndarray, F]:
    """The same for 4/6."""
    amax, amax_x = np.abs(x).max(axis=1, keepdims=True), np.abs(x).max()
    with np.errstate(over="ignore", divide="ignore", invalid="ignore", under="ignore"):
        s_enc = min(F(6 * bound) / amax_x, F(HUGE)) if amax_x else F(1)
        s_dec = F(1) / s_enc
        if arithmetic == "division":
            s_dec = F(np.clip(amax_x / F(6 * bound), F(TINY), None)) if amax_x else F(1)
        base = amax / F(6) / s_dec if arithmetic == "division" else amax / F(6) * s_enc
        found = []
        for wanted in (base, base * F(1.5)):
            scale = np.maximum(e4m3(wanted), least)
            total = E4M3_VALUES[scale] * s_dec
            if arithmetic == "division":
                codes = e2m1(x / np.maximum(total, F(TINY)))
            else:
                codes = e2m1(x * np.minimum(F(1) / total, F(HUGE)))
            value = np.where(codes > 7, -1, 1).astype(F) * GRID[codes & 7]
            if arithmetic == "transformer_engine":
                value = value * E4M3_VALUES[scale] * amax_x / F(6 * bound)
            else:
                value = value * total
            away = value - x
            away = away * away if error == "mse" else np.abs(away)
            total_error = F(0)
            for column in away.T:
                total_error = total_error + column
            found.append((scale[:, 0], codes, total_error))
    four = found[1][2] < found[0][2]
    return np.where(four, found[1][0], found[0][0]), np.where(four[:, None], found[1][1], found[0][1]), s_dec


ORDERS: dict[str, Callable[..., oracle.Tensor]] = {
    "nvfp4_paper": oracle.nvfp4_paper,
    "transformer_engine": oracle.nvfp4_transformer_engine,
}


ARITHMETICS = ("division", *ORDERS)


def finite_tensors() -> list[np.ndarray]:
    """Tensors of 16-wide blocks: of like size, of all sizes, with ties, tiny and huge ones."""
    rng = np.random.default_rng(10)
    like = rng.standard_normal((12, 16)) * np.ldexp(1.0, rng.integers(-9, 2, (12, 1)))
    ties = rng.integers(-24, 25, (12, 16)) * np.ldexp(0.25, rng.integers(-3, 1, (12, 1)))
    ties[0, 0] = 2688
    tensors = [like, like * 2.0**-100, like * 2.0**118, like * 2.0**-135, ties, ties * 1.25, like * 0]
    return [float32(x) for x in tensors] + [
        KINDS[k](rng, 10, 16, 6.0) for k in ("wide", "zeros", "subnormals")
    ]


def same_tensor(want: oracle.Tensor, scale: np.ndarray, codes: np.ndarray, tensor_scale: F) -> None:
    assert [b.scale for b in want.blocks] == scale.tolist()
    np.testing.assert_array_equal(codes, [b.codes for b in want.blocks])
    assert float(want.tensor_scale) == tensor_scale


@pytest.mark.parametrize("least", [0, 1])
@pytest.mark.parametrize("order", ORDERS)
def test_orders_of_nvfp4_in_float32(order: str, least: int) -> None:
    for x in finite_tensors():
        same_tensor(ORDERS[order](x.tolist(), least_scale=least), *numpy_nvfp4(x, order, least))


@pytest.mark.parametrize("bound", [256, 448])
@pytest.mark.parametrize("error", ["mae", "mse"])
@pytest.mark.parametrize("arithmetic", ARITHMETICS)
def test_four_over_six_in_float32(arithmetic: str, error: str, bound: int) -> None:
    for x in (tensor[:5] for tensor in finite_tensors()):
        least = int(arithmetic != "transformer_engine")
        want = oracle.four_over_six(x.tolist(), error=error, bound=bound, arithmetic=arithmetic)
        same_tensor(want, *numpy_four_over_six(x, error, bound, arithmetic, least))


def test_rceil_by_the_reciprocal_in_float32() -> None:
    for name in ("MXFP8_E4M3", "MXFP8_E5M2", "MXFP4"):
        limit = float(oracle.largest(ELEMENTS[name]))
        for kind in (wide, thresholds, subnormals, overflows):
            amax = np.abs(kind(np.random.default_rng(11), 200, 1, limit)[:, 0])
            amax = amax[amax > 0]
            with np.errstate(under="ignore"):
                bits = (amax * (F(1) / F(limit))).view(np.uint32)
            field, fraction = bits >> 23, bits & 0x7FFFFF
            up = (fraction > 0) & (field < 254) & ~((field == 0) & (fraction <= 0x400000))
            got = [oracle.rceil_reciprocal_code(Fraction(float(a)), ELEMENTS[name]) for a in amax]
            assert got == (field + up).tolist()


def numpy_division(x: np.ndarray) -> tuple[np.ndarray, np.ndarray, F]:
    """NVFP4 as the package has it by default."""
    tensor_scale = np.abs(x).max() / F(2688)
    scale = np.maximum(e4m3(np.abs(x).max(axis=1, keepdims=True) / F(6) / tensor_scale), 1)
    return scale[:, 0], e2m1(x / (E4M3_VALUES[scale] * tensor_scale)), tensor_scale


def bfloat16_tensor(seed: int) -> np.ndarray:
    x = np.random.default_rng(seed).standard_normal((2000, 16))
    return x.astype(pr.BF16.dtype).astype(F)


def in_all_orders(x: np.ndarray) -> list[tuple[np.ndarray, np.ndarray, F]]:
    return [numpy_division(x), *(numpy_nvfp4(x, order, 1) for order in ORDERS)]


@cache
def parting_tensors() -> list[np.ndarray]:
    """Tensors of blocks that get other scales or codes in other orders, beside the tensor's largest."""
    found = []
    for seed in range(8):
        x = bfloat16_tensor(seed)
        first, *others = in_all_orders(x)
        apart = np.abs(x).max(axis=1) == np.abs(x).max()
        for scale, codes, _ in others:
            apart |= (scale != first[0]) | (codes != first[1]).any(axis=1)
        found.append(x[apart][:40])
        found[-1][-1] = x[np.abs(x).max(axis=1).argmax()]
    return found


@pytest.mark.parametrize("order", ORDERS)
def test_orders_of_nvfp4_where_they_part(order: str) -> None:
    for x in parting_tensors():
        same_tensor(ORDERS[order](x.tolist(), least_scale=1), *numpy_nvfp4(x, order, 1))
        same_tensor(
            oracle.quantize_tensor(x.tolist(), reference.E2M1, reference.E4M3, "amax"), *numpy_division(x)
        )


def test_the_orders_of_nvfp4_part_on_ties() -> None:
    """Of bfloat16 normal numbers some per mille get other scales and codes; of float32 ones, hardly any."""
    parts = np.zeros((3, 2), int)
    for seed in range(8):
        found = in_all_orders(bfloat16_tensor(seed))
        parts += [[(found[i][j] != found[i - 1][j]).sum() for j in (0, 1)] for i in range(3)]
    assert parts[:, 1].all() and parts[:, 0].any()
    assert (parts < [[160, 2560]]).all()  # below 1 % of 16,000 scales and 256,000 codes


@cache
def torn_tensors(error: str, bound: int) -> list[np.ndarray]:
    """Tensors of blocks whose better scale depends on how the errors are computed, beside the largest."""
    found = []
    for seed in (10, 11, 23, 29):
        x = bfloat16_tensor(seed)
        scales = [numpy_four_over_six(x, error, bound, arithmetic, 1)[0] for arithmetic in ARITHMETICS]
        torn = (scales[0] != scales[1]) | (scales[1] != scales[2])
        found.append(np.concatenate([x[torn][:20], x[[np.abs(x).max(axis=1).argmax()]]]))
    return found


@pytest.mark.parametrize("bound", [256, 448])
@pytest.mark.parametrize("error", ["mae", "mse"])
def test_four_over_six_where_the_arithmetic_decides(error: str, bound: int) -> None:
    picked = []
    for arithmetic in ARITHMETICS:
        picked.append([])
        for x in torn_tensors(error, bound):
            want = oracle.four_over_six(
                x.tolist(), error=error, bound=bound, arithmetic=arithmetic, least_scale=1
            )
            same_tensor(want, *numpy_four_over_six(x, error, bound, arithmetic, 1))
            picked[-1] += [b.scale for b in want.blocks]
    assert picked[1] != picked[2]  # though the candidates are the same


def test_four_over_six_by_hand() -> None:
    """A block of 4s beside 6: the map to 4 has 3 * 1.5 = 4.5 where 4 and 6 leave a gap at 5."""
    top = [1536.0] + [0.0] * 15  # 6 * 256: the tensor scale is 1
    even = [6.0, 4.0] + [0.0] * 14  # exact with scale 1
    odd = [6.0, 4.5] + [0.0] * 14  # exact with scale 1.5
    tie = [0.0] * 16
    want = oracle.four_over_six([top, even, odd, tie], bound=256)
    assert want.tensor_scale == 1
    scales = [float(oracle.scale_value(b.scale, reference.E4M3)) for b in want.blocks]
    assert scales == [256, 1, 1.5, 0]
    assert want.blocks[1].codes[:2] == [7, 6] and want.blocks[2].codes[:2] == [6, 5]
    # with 448 the map to 4 of the tensor's own amax saturates: 1.5 * 448 is no E4M3
    full = oracle.four_over_six([[2688.0, 2000.0] + [0.0] * 14], bound=448)
    assert oracle.scale_value(full.blocks[0].scale, reference.E4M3) == 448


# ---- the package against the oracle in the orders of others -------------------------------------------


def nvfp4_spec(arithmetic: str, rule: str = "AMAX", bound: int = 448) -> pr.QuantSpec:
    """NVFP4 by some arithmetic, a rule and a largest scale."""
    return dataclasses.replace(
        pr.NVFP4,
        scale_rule=pr.ScaleRule[rule],
        arithmetic=pr.Arithmetic(arithmetic),
        scale_bound=None if bound == 448 else bound,
        least_scale=0.0 if arithmetic == "transformer_engine" else None,
    )


def agree_as_tensor(x: np.ndarray, spec: pr.QuantSpec, want: oracle.Tensor) -> None:
    agree(x, spec, want.blocks, float(want.tensor_scale))


@pytest.mark.parametrize("name", MX)
def test_rceil_reciprocal(name: str) -> None:
    spec = dataclasses.replace(getattr(pr, name), scale_rule=pr.ScaleRule.RCEIL_RECIPROCAL)
    for seed, kind in enumerate(KINDS.values()):
        x = kind(np.random.default_rng(seed), 9, 32, float(oracle.largest(ELEMENTS[name])))
        agree(x, spec, [oracle.rceil_reciprocal(row.tolist(), ELEMENTS[name]) for row in x])


@pytest.mark.parametrize("order", ORDERS)
def test_orders_of_nvfp4(order: str) -> None:
    rng = np.random.default_rng(13)
    for x in [*finite_tensors(), *parting_tensors(), *(k(rng, 10, 16, 6.0) for k in (specials, overflows))]:
        agree_as_tensor(x, nvfp4_spec(order), ORDERS[order](x.tolist()))


@pytest.mark.parametrize("bound", [256, 448])
@pytest.mark.parametrize("error", ["mae", "mse"])
@pytest.mark.parametrize("arithmetic", ARITHMETICS)
def test_four_over_six(arithmetic: str, error: str, bound: int) -> None:
    spec = nvfp4_spec(arithmetic, f"FOUR_OVER_SIX_{error.upper()}", bound)
    rng = np.random.default_rng(14)
    for x in [
        *finite_tensors(),
        *torn_tensors(error, bound),
        *(k(rng, 10, 16, 6.0) for k in (specials, overflows)),
    ]:
        agree_as_tensor(
            x, spec, oracle.four_over_six(x.tolist(), error=error, bound=bound, arithmetic=arithmetic)
        )


# ---- the signal-to-noise ratio of N(0, 1) -------------------------------------------------------------


@pytest.fixture(scope="module")
def normal() -> np.ndarray:
    draw = np.random.Generator(np.random.Philox(12345)).standard_normal(2**23)
    return draw.astype(np.float32)


def decibels(x: np.ndarray, y: np.ndarray) -> float:
    """-10 log10(|x - y|^2 / |x|^2)."""
    error = (y - x).astype(np.float64)
    return float(-10 * np.log10(np.dot(error, error) / np.dot(x.astype(np.float64), x)))


SQNR_MX = {  # FLOOR, EVEN, CEIL, RCEIL
    "MXFP8_E4M3": (30.65, 31.18, 31.52, 31.52),
    "MXFP8_E5M2": (25.36, 25.54, 25.54, 25.54),
    "MXFP6_E3M2": (25.36, 25.54, 25.54, 25.54),
    "MXFP6_E2M3": (30.94, 30.99, 28.77, 30.96),
    "MXFP4": (18.79, 19.03, 16.82, 18.76),
    "MXINT8": (41.67, 41.64, 35.65, 41.62),
}
SQNR = {
    "QuantSpec(e4m3, PerGroup(128))": 31.80,
    "QuantSpec(e4m3, PerGroup(4096))": 31.55,
    "QuantSpec(int8, PerGroup(128))": 43.80,
    "QuantSpec(int8, PerGroup(4096))": 41.26,
    "QuantSpec(int4, PerGroup(128))": 18.62,
    "QuantSpec(int4, PerGroup(4096))": 16.08,
    "NVFP4": 20.44,
    "NVINT4": 21.28,
}


@pytest.mark.parametrize("name", SQNR_MX)
def test_sqnr_of_mx(name: str, normal: np.ndarray) -> None:
    found = [
        decibels(normal, pr.quantize(normal, with_rule(name, rule)).dequantize())
        for rule in ("floor", "even", "ceil", "rceil")
    ]
    assert found == pytest.approx(SQNR_MX[name], abs=0.03)


@pytest.mark.parametrize("name", SQNR)
def test_sqnr(name: str, normal: np.ndarray) -> None:
    q = pr.quantize(normal, pr.QuantSpec.parse(name))
    assert decibels(normal, q.dequantize()) == pytest.approx(SQNR[name], abs=0.03)


@pytest.mark.parametrize(("fmt", "wanted"), [(pr.BF16, 55.59), (pr.FP16, 73.65)], ids=str)
def test_sqnr_of_rounding(fmt: pr.FloatFormat, wanted: float, normal: np.ndarray) -> None:
    assert decibels(normal, pr.round_to(normal, fmt)) == pytest.approx(wanted, abs=0.03)
