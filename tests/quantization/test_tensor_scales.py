"""Tensor scales over scales of as wide a range as float32's, and of float64 tensors, against fractions."""

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
import reference
import reference_blocks as oracle
from oracle import plain

import precision as pr
from precision.formats import FloatFormat, IntFormat

NARROW = [
    pr.parse_format("int2"), pr.parse_format("uint1"), IntFormat(4, fraction_bits=3),
    IntFormat(8, fraction_bits=7),
    IntFormat(3, signed=False, fraction_bits=3), FloatFormat(2, 1, bias=4),
    FloatFormat(3, 2, bias=8, specials=pr.Specials.NONE),
]  # fmt: skip
WIDE = [pr.FP32, pr.BF16, pr.TF32, pr.E8M13, FloatFormat(8, 7, signed=False)]
POWERS = [rule for rule in pr.ScaleRule if rule.gives_powers_of_two]


def rounded(x: Fraction, fmt: reference.Format) -> Fraction:
    value = reference.round_value(x, fmt)
    return Fraction(0) if value == "-0" else Fraction(value) if not isinstance(value, str) else math.inf


def element(fmt):
    if isinstance(fmt, IntFormat):
        return oracle.Integer(fmt.bits, fmt.fraction_bits) if fmt.signed else None
    return plain(fmt)


def drawn(seed: int, *shape: int, dtype=np.float32) -> np.ndarray:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(shape) * 2.0 ** rng.integers(-20, 20, (shape[0], 1))
    return x.astype(dtype)


@pytest.mark.parametrize("rule", pr.ScaleRule, ids=str)
@pytest.mark.parametrize("scale_format", WIDE, ids=str)
@pytest.mark.parametrize("fmt", NARROW, ids=str)
def test_elements_are_divided_by_both_scales(fmt, scale_format, rule):
    """Every code is the nearest to x / fl32(scale * tensor scale)."""
    if fmt.max * scale_format.max > pr.FP32.max:
        pytest.skip("a product of the largest element and scale is no float32: refused")
    spec = pr.QuantSpec(fmt, pr.PerGroup(4), scale_format=scale_format, scale_rule=rule, tensor_scale=True)
    for dtype, seed in itertools.product((np.float32, np.float64), range(3)):
        x = drawn(seed, 6, 8, dtype=dtype)
        x[0, :4] = 0
        x = x if fmt.signed else np.abs(x)
        q = pr.quantize(x, spec)
        exact = Fraction(float(np.abs(x).max())) / (Fraction(fmt.max) * Fraction(scale_format.max))
        assert Fraction(float(q.tensor_scale)) == max(rounded(exact, reference.FP32), Fraction(2) ** -149)
        scales = pr.decode(q.scale, scale_format).astype(np.float64)
        totals = (scales * np.float64(q.tensor_scale)).astype(np.float32)
        totals[totals == 0] = np.float32(2.0**-149)
        quotients = (x.reshape(6, 2, 4) / totals[..., None].astype(dtype)).reshape(x.shape)
        assert (pr.encode(quotients, fmt).view(fmt.code_dtype) == q.codes.view(fmt.code_dtype)).all()
        # A group's largest is at the format's, but for the rounding of scales up or down and of tiny totals.
        values = np.abs(q.dequantize(np.float64)).reshape(6, 2, 4).max(axis=2)
        amax = np.abs(x.astype(np.float64)).reshape(6, 2, 4).max(axis=2)
        large = amax >= amax.max() / 1e3
        assert (values[large] >= 0.4 * amax[large]).all() and (values <= 4 * amax).all()


@pytest.mark.parametrize("fmt", [f for f in NARROW if element(f) is not None], ids=str)
@pytest.mark.parametrize("scale_format", WIDE[:4], ids=str)
@pytest.mark.parametrize("rule", ["amax", *oracle.POWER_RULES])
def test_whole_tensors_against_the_oracle(rule, scale_format, fmt):
    if fmt.max * scale_format.max > pr.FP32.max:
        pytest.skip("a product of the largest element and scale is no float32: refused")
    spec = pr.QuantSpec(
        fmt,
        pr.PerVector(),
        scale_format=scale_format,
        scale_rule=pr.ScaleRule[rule.upper()],
        tensor_scale=True,
    )
    for dtype, source in ((np.float32, reference.FP32), (np.float64, reference.FP64)):
        x = drawn(9, 5, 4, dtype=dtype)
        q = pr.quantize(x, spec)
        want = oracle.quantize_tensor(x.tolist(), element(fmt), plain(scale_format), rule, source=source)
        assert Fraction(float(q.tensor_scale)) == want.tensor_scale
        assert q.scale.view(scale_format.code_dtype).ravel().tolist() == [
            block.scale for block in want.blocks
        ]
        assert q.codes.view(fmt.code_dtype).tolist() == [block.codes for block in want.blocks]


def test_the_example_of_the_report():
    x = np.linspace(-3, 3, 8, dtype=np.float32)
    spec = pr.QuantSpec(pr.parse_format("int2"), pr.PerTensor(), tensor_scale=True)
    back = pr.quantize(x, spec).dequantize()
    assert np.allclose(np.abs(back), [3, 3, 0, 0, 0, 0, 3, 3], rtol=1e-6)


def near_ties(span: Fraction, seed: int, count: int, *, up: bool) -> list[float]:
    """Draw numbers whose quotient by ``span``, or the reverse, lies next to the middle of two float32."""
    rng, found = np.random.default_rng(seed), []
    while len(found) < count:
        number = np.float32(rng.uniform(1, 2) * 2.0 ** int(rng.integers(-40, 40)))
        middle = (Fraction(float(number)) + Fraction(float(np.nextafter(number, np.float32(np.inf))))) / 2
        x = float(span / middle if up else span * middle)
        found += [float(np.nextafter(x, 0)), x, float(np.nextafter(x, math.inf))]
    return found


@pytest.mark.parametrize("arithmetic", pr.Arithmetic, ids=str)
def test_the_scale_of_a_float64_tensor_is_rounded_once(arithmetic):
    division = arithmetic is pr.Arithmetic.DIVISION
    rng = np.random.default_rng(1)
    for seed, fmt in enumerate((pr.E2M1, pr.E4M3, pr.parse_format("int8"), pr.E2M3)):
        bounds = [448.0, 256.0, 256.1, *rng.uniform(1e-3, 448, 5)]
        for bound in map(float, bounds):
            spec = pr.QuantSpec(
                fmt,
                pr.PerGroup(4),
                scale_format=pr.E4M3,
                tensor_scale=True,
                arithmetic=arithmetic,
                scale_bound=bound,
            )
            span = Fraction(fmt.max) * Fraction(bound)
            extremes = [5e-324, 1e-300, 1e-45, 1e39, 1e300, float(np.finfo(np.float64).max)]
            for x in near_ties(span, seed, 30, up=not division) + extremes:
                got = pr.quantize(np.array([x, 0.0, 0.0, 0.0]), spec).tensor_scale
                largest, least = Fraction(float(np.finfo(np.float32).max)), Fraction(2) ** -149
                if division:
                    want = min(max(rounded(Fraction(x) / span, reference.FP32), least), largest)
                else:
                    encode = min(rounded(span / Fraction(x), reference.FP32), largest)
                    want = min(rounded(1 / max(encode, Fraction(2) ** -126), reference.FP32), largest)
                assert Fraction(float(got)) == want, (x, fmt, bound)
    example = pr.QuantSpec(
        pr.E2M1, pr.PerTensor(), scale_format=pr.E4M3, tensor_scale=True, scale_bound=256.1
    )
    got = pr.quantize(np.array([1536.6002747654916, 0.0, 0.0]), example).tensor_scale
    assert got == rounded(Fraction(1536.6002747654916) / (6 * Fraction(256.1)), reference.FP32)


@pytest.mark.parametrize(
    "fmt", [pr.E4M3, pr.E5M2, pr.E2M3, pr.E3M2, pr.E2M1, IntFormat(8, fraction_bits=6)], ids=str
)
def test_a_reciprocal_times_a_float64_amax_is_rounded_once(fmt):
    """Products next to a midpoint of float32, where rounding to float64 first would give another power."""
    factor = np.float32(1) / np.float32(fmt.max)
    spec = pr.QuantSpec(fmt, pr.PerGroup(1), scale_format=pr.E8M0, scale_rule=pr.ScaleRule.RCEIL_RECIPROCAL)
    amax = []
    for exponent in range(-90, 90, 3):
        for significand in (1.0, 1 + 2.0**-24, 1 + 2.0**-23, 1 + 3 * 2.0**-24, 2 - 2.0**-24):
            near = np.float64(math.ldexp(significand, exponent) / float(factor))
            amax += [near, np.nextafter(near, 0), np.nextafter(near, np.inf)]
    found = pr.quantize(np.array(amax), spec).scale.view(np.uint8)
    twice = 0
    for x, code in zip(amax, found, strict=True):
        exact = Fraction(float(x)) * Fraction(float(factor))
        s = rounded(exact, reference.FP32)
        power = math.frexp(float(s))[1] - 1
        wanted = 127 + power + (s != Fraction(2) ** power)
        assert code == wanted, (x, code, wanted)
        twice += np.float32(x * np.float64(factor)) != np.float32(float(s))
    assert twice > 0 or fmt == pr.E2M1  # these inputs tell one rounding from two
