"""The oracle of `reference.py` against outside truth.

ml_dtypes, Random123's published vectors, NumPy's float32, published golden vectors, and what an H100
answered (tests/vectors). The recorded `mma.sync` FP8 cases are left out: that instruction runs on the FP16
unit in an order of its own (FACTS 0.1), which is no fused sum of FP8 products.
"""

import math
from fractions import Fraction
from functools import cache
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import reference as ref
from reference import MODES, Format, Unit, Value

VECTORS = Path(__file__).parents[1] / "vectors"
OUTPUTS = 32  # sampled from every recorded case
SEED = 20260801

OUTSIDE: dict[str, Format] = {
    "float8_e3m4": Format(3, 4, 3),
    "float8_e4m3": Format(4, 3, 7),
    "float8_e4m3b11fnuz": Format(4, 3, 11, specials="fnuz"),
    "float8_e4m3fn": ref.E4M3,
    "float8_e4m3fnuz": Format(4, 3, 8, specials="fnuz"),
    "float8_e5m2": ref.E5M2,
    "float8_e5m2fnuz": Format(5, 2, 16, specials="fnuz"),
    "float8_e8m0fnu": ref.E8M0,
    "float6_e2m3fn": ref.E2M3,
    "float6_e3m2fn": ref.E3M2,
    "float4_e2m1fn": ref.E2M1,
    "bfloat16": ref.BF16,
    "float16": ref.FP16,
}
SMALL = {
    **{name: f for name, f in OUTSIDE.items() if f.bits <= 8},
    "ue4m3": ref.UE4M3,
    "binary8p4se": Format(4, 3, 8, specials="extended"),
    "binary8p3ue": Format(6, 2, 32, signed=False, specials="extended"),
    "binary8p1uf": Format(8, 0, 128, signed=False, specials="fn"),
    "e5m0": Format(5, 0, 15),
    "signed e3m1 without subnormals": Format(3, 1, 3, specials="fn", subnormals=False),
    "unsigned e3m2 without subnormals": Format(3, 2, 3, False, "none", subnormals=False),
    "e1m2": Format(1, 2, 0, specials="none"),
}
FUSED = {
    "f32.fp8": Unit(32, 13, ref.E8M13),
    "f16.fp8": Unit(32, 13, ref.FP16, register_rounding="ties_to_even"),
    "f32.16": Unit(16, 25),
    "f32.tf32": Unit(8, 25),
    "f16.16": Unit(16, 25, ref.FP16, register_rounding="ties_to_even"),
}
OPERANDS = {"e4m3": ref.E4M3, "e5m2": ref.E5M2, "f16": ref.FP16, "bf16": ref.BF16, "tf32": ref.TF32}


def dtype_of(name: str) -> Any:
    return np.dtype(np.float16 if name == "float16" else getattr(ml_dtypes, name))


def attempt(function: Any, *arguments: Any) -> int | None:
    """The code, or None where the oracle says that there is none."""
    try:
        return int(function(*arguments))
    except ValueError:
        return None


def probes(f: Format) -> list[Value]:
    """Every value and midpoint of a format, points just beside them, and points past both ends."""
    points = [ref.magnitude_value(code, f) for code in range(f.max_code + 2)]
    smallest = min(p for p in points if p)
    points += [points[-1] * 2, smallest / 8, smallest * 3 / 4]
    points += [(low + high) / 2 for low, high in pairwise(sorted(points))]
    magnitudes = {p * (1 + d) for p in points for d in (0, ref.power(-40), -ref.power(-40))}
    numbers: list[Value] = [s * p for p in sorted(magnitudes) for s in (1, -1)]
    return [*numbers, "-0", "nan", "+inf", "-inf"]


# ------------------------------------------------------------------------------------ formats, rounding


@pytest.mark.parametrize("name", OUTSIDE)
def test_decode_is_that_of_ml_dtypes(name: str) -> None:
    f, dtype = OUTSIDE[name], dtype_of(name)
    codes = np.arange(1 << f.bits).astype(np.uint16 if dtype.itemsize == 2 else np.uint8)
    with np.errstate(invalid="ignore"):
        floats = codes.view(dtype).astype(np.float64)
    assert [ref.decode(code, f) for code in range(1 << f.bits)] == [ref.from_float(x) for x in floats]


def test_values_are_sorted_and_complete() -> None:
    for f in SMALL.values():
        pairs = ref.values(f)
        assert [v for v, _ in pairs] == sorted(v for v, _ in pairs)
        finite = [c for c in range(1 << f.bits) if ref.decode(c, f) not in ("nan", "+inf", "-inf")]
        assert sorted(c for _, c in pairs) == finite
        assert max(pairs)[0] == ref.decode(f.max_code, f)


def test_limits_are_the_published_ones() -> None:
    binary8p4ue = Format(5, 3, 16, signed=False, specials="extended")
    maxima = {"float8_e4m3fn": 448, "float8_e5m2": 57344, "float8_e4m3b11fnuz": 30, "float8_e3m4": 15.5}
    maxima |= {"float4_e2m1fn": 6, "float6_e2m3fn": 7.5, "binary8p4se": 224, "ue4m3": 448}
    for name, largest in maxima.items():
        assert ref.decode(SMALL[name].max_code, SMALL[name]) == largest
    assert ref.decode(binary8p4ue.max_code, binary8p4ue) == 53248
    assert ref.values(ref.FP16)[-1][0] == 65504


@pytest.mark.parametrize("name", OUTSIDE)
def test_rounding_to_nearest_even_is_that_of_ml_dtypes(name: str) -> None:
    f, dtype = OUTSIDE[name], dtype_of(name)
    rng = np.random.default_rng(SEED)
    points = np.array([ref.to_float(x) for x in probes(f)]) if f.bits <= 8 else np.zeros(1)
    bits = rng.integers(0, 1 << 32, 2000, dtype=np.uint32).view(np.float32)
    near = rng.standard_normal(2000) * 2.0 ** rng.uniform(f.min_exponent - 4, 12 - f.bias // 16, 2000)
    with np.errstate(all="ignore"):
        x = np.concatenate([points, bits, near]).astype(np.float32)
        if f.nan_code is None:
            x = x[~np.isnan(x)]  # ml_dtypes makes a zero of NaN here
        theirs = x.astype(dtype)
    unsigned = np.uint16 if dtype.itemsize == 2 else np.uint8
    overflow = "non_saturating" if f.nan_code is not None else "saturate"  # FP6 and FP4 saturate
    for value, code in zip(x.tolist(), theirs.view(unsigned).tolist(), strict=True):
        exact = ref.from_float(value)
        if f == ref.E8M0 and isinstance(exact, Fraction) and exact > 0:
            # ml_dtypes rounds E8M0's ties up, not to the even code, and all float32 subnormals above
            # 2**-127 up to 2**-126 (the nearer neighbour of 1.25 * 2**-127 is 2**-127).
            tie = exact == ref.power(ref.floor_log2(exact)) * 3 / 2
            if tie or ref.power(-127) < exact < ref.power(-126):
                continue
        mine = ref.integer_round(exact, f, "ties_to_even", overflow)
        assert ref.decode(mine, f) == ref.decode(code, f), (value, mine, code)
        if f.bits <= 8:
            assert ref.table_round(exact, f, "ties_to_even", overflow) == mine


@pytest.mark.parametrize("name", SMALL)
def test_table_integer_and_array_oracles_agree(name: str) -> None:
    f, xs = SMALL[name], probes(SMALL[name])
    array = np.array([ref.to_float(x) for x in xs])
    for mode, overflow in product(MODES, ("saturate", "non_saturating")):
        table = [attempt(ref.table_round, x, f, mode, overflow) for x in xs]
        assert table == [attempt(ref.integer_round, x, f, mode, overflow) for x in xs]
        theirs = ref.table_round_array(array, f, mode, overflow).tolist()
        assert theirs == [-1 if code is None else code for code in table]


@pytest.mark.parametrize("f", [ref.FP16, ref.BF16, Format(5, 6, 15), Format(8, 7, 127, False, "fn")])
def test_table_and_integer_oracles_agree_on_wide_formats(f: Format) -> None:
    rng = np.random.default_rng(SEED)
    bits = rng.integers(0, 1 << 32, 150, dtype=np.uint32).view(np.float32)
    x = np.concatenate([bits[~np.isnan(bits)], [65519, 65520, -65521]])
    x = np.concatenate([x, rng.standard_normal(100) * 2.0**f.min_exponent])
    codes = rng.integers(0, f.max_code, 100).tolist()
    middles = [(ref.magnitude_value(c, f) + ref.magnitude_value(c + 1, f)) / 2 for c in codes]
    x = np.concatenate([x, [ref.to_float(m) for m in middles]])
    for mode, overflow in product(MODES, ("saturate", "non_saturating")):
        mine = [ref.integer_round(ref.from_float(v), f, mode, overflow) for v in x.tolist()]
        assert mine == [ref.table_round(ref.from_float(v), f, mode, overflow) for v in x.tolist()]
        assert mine == ref.table_round_array(x, f, mode, overflow).tolist()


def test_the_rules_for_overflow_and_for_what_a_format_lacks() -> None:
    def both(x: Value, f: Format, mode: str, overflow: str) -> int | None:
        code = attempt(ref.integer_round, x, f, mode, overflow)
        assert code == attempt(ref.table_round, x, f, mode, overflow)
        return code

    cases: list[tuple[Value, Format, str, str, int | None]] = [
        (Fraction(464), ref.E4M3, "ties_to_even", "non_saturating", 0x7E),
        (Fraction(465), ref.E4M3, "ties_to_even", "non_saturating", 0x7F),
        (Fraction(465), ref.E4M3, "ties_to_even", "saturate", 0x7E),
        (Fraction(479), ref.E4M3, "toward_zero", "non_saturating", 0x7E),
        (Fraction(480), ref.E4M3, "toward_zero", "non_saturating", 0x7F),
        (Fraction(-70000), ref.E5M2, "toward_positive", "non_saturating", 0xFC),
        (Fraction(-70000), ref.E5M2, "toward_positive", "saturate", 0xFB),
        ("-inf", ref.E4M3, "ties_to_even", "saturate", 0xFE),
        ("-inf", ref.E4M3, "ties_to_even", "non_saturating", 0x7F),
        (Fraction(8), ref.E2M1, "ties_to_even", "non_saturating", None),
        ("nan", ref.E2M1, "ties_to_even", "saturate", None),
        (Fraction(-1, 2048), ref.UE4M3, "ties_to_even", "non_saturating", 0),
        (Fraction(-1), ref.UE4M3, "ties_to_even", "non_saturating", 0x7F),
        (Fraction(-1), ref.UE4M3, "ties_to_even", "saturate", 0),
        (ref.ZERO, ref.E8M0, "ties_to_even", "saturate", 0),
        (ref.ZERO, ref.E8M0, "ties_to_even", "non_saturating", 0xFF),
        (ref.power(-140), ref.E8M0, "toward_zero", "non_saturating", 0),
        (Fraction(3), ref.E8M0, "ties_to_even", "saturate", 128),  # codes 128 and 129
        (Fraction(3, 2), ref.E8M0, "ties_to_even", "saturate", 128),
        (Fraction(-1, 4096), OUTSIDE["float8_e4m3fnuz"], "ties_to_even", "saturate", 0),
        (Fraction(-1, 4096), ref.E4M3, "ties_to_even", "saturate", 0x80),
        (Fraction(450), ref.E4M3, "to_odd", "non_saturating", 0x7F),
    ]
    for x, f, mode, overflow, code in cases:
        assert both(x, f, mode, overflow) == code, (x, f, mode, overflow)


def test_philox_known_answers() -> None:
    """Random123's kat_vectors."""
    ones = 0xFFFFFFFF
    known = [
        ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        ((ones,) * 4, (ones,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
        (
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            (0xA4093822, 0x299F31D0),
            (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
        ),
    ]
    for counter, key, words in known:
        assert ref.philox4x32_10(counter, key) == words
    assert ref.random_integer(0, 0, 32) == 0x6627E8D5 and ref.random_integer(0, 0, 8) == 0x66
    word = ref.philox4x32_10((2, 7, 0, 0), (3, 5))[0]
    assert ref.random_integer(seed=5 << 32 | 3, index=7 << 32 | 2, bits=32) == word


@pytest.mark.parametrize("bits", [1, 3, 5])
def test_stochastic_rounding_goes_up_as_often_as_the_cut_fraction_says(bits: int) -> None:
    for f in (ref.E4M3, ref.E2M1, ref.UE4M3):
        for low in (0, 1, 5, f.max_code - 1):
            a, b = ref.magnitude_value(low, f), ref.magnitude_value(low + 1, f)
            for part in (Fraction(k, 37) for k in range(37)):
                x = a + part * (b - a)
                codes = [ref.stochastic_round(x, f, r, bits) for r in range(1 << bits)]
                assert codes == sorted(codes) and set(codes) <= {low, low + 1}
                assert codes.count(low + 1) == (part * 2**bits).__floor__()
                if f.signed:
                    mirrored = [ref.stochastic_round(-x, f, r, bits) for r in range(1 << bits)]
                    assert [code & ~f.sign_bit for code in mirrored] == codes
    assert ref.stochastic_round(Fraction(479), ref.E4M3, 31, 5, "non_saturating") == 0x7F
    assert ref.stochastic_round(Fraction(479), ref.E4M3, 31, 5) == 0x7E


def test_integers() -> None:
    for bits, signed in product((2, 4, 8), (True, False)):
        low, high = ref.int_limits(bits, signed, symmetric=False)
        for n in range(low, high + 1):
            code = n & (2**bits - 1)
            assert ref.int_round(Fraction(n), bits, signed=signed, symmetric=False) == code
            assert ref.int_decode(code, bits, signed) == n
    halves = np.arange(-300, 301) / 2
    mine = [ref.int_decode(ref.int_round(ref.from_float(x), 8), 8) for x in halves]
    assert mine == np.clip(np.rint(halves), -127, 127).tolist()
    directed = {"toward_zero": np.trunc, "toward_positive": np.ceil, "toward_negative": np.floor}
    for mode, function in directed.items():
        codes = [ref.int_round(ref.from_float(x), 8, symmetric=False, mode=mode) for x in halves]
        assert [ref.int_decode(code, 8) for code in codes] == np.clip(function(halves), -128, 127).tolist()
    assert ref.int_decode(ref.int_round("+inf", 8, fraction_bits=6), 8, fraction_bits=6) == Fraction(127, 64)
    assert ref.int_round(Fraction(5, 8), 4, random=3, random_bits=3) == 1
    assert ref.int_round(Fraction(5, 8), 4, random=2, random_bits=3) == 0


# ------------------------------------------------------------------------------------------------ float32


def float32_samples(count: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Triples: any bit patterns, near ones, and the edges of the range."""
    rng = np.random.default_rng(SEED)
    bits = rng.integers(0, 1 << 32, (count, 3), dtype=np.uint32).view(np.float32)
    near = (rng.standard_normal((count, 3)) * 2.0 ** rng.integers(-3, 4, (count, 3))).astype(np.float32)
    small = (rng.standard_normal((count, 3)) * 2.0 ** rng.integers(-76, -60, (count, 3))).astype(np.float32)
    small[:, 2] = (rng.standard_normal(count) * 2.0 ** rng.integers(-150, -120, count)).astype(np.float32)
    cancel = near.copy()
    cancel[:, 2] = -(near[:, 0] * near[:, 1])
    edges = [0.0, -0.0, np.inf, -np.inf, np.nan, 1e-45, -1e-45, 1.1754944e-38, 3.4028235e38, 1.0, -1.0]
    corners = np.array(list(product(edges, repeat=3)), np.float32)
    return np.concatenate([bits, near, small, cancel, corners])


def fma_by_round_to_odd(x: Any, y: Any, z: Any) -> Any:
    """float32 fma in float64 arithmetic: exact product, sum rounded to odd, then one rounding."""
    p, c = x.astype(np.float64) * y.astype(np.float64), z.astype(np.float64)
    s = p + c
    t = s - p
    error = (p - (s - t)) + (c - t)
    even = s.view(np.int64) % 2 == 0
    step = np.nextafter(s, np.where(error > 0, np.inf, -np.inf))
    inexact = np.isfinite(s) & (error != 0)
    return np.where(inexact & even, step, s).astype(np.float32)


def test_float32_arithmetic_is_that_of_numpy() -> None:
    samples = float32_samples(1500)
    x, y, z = samples.T
    with np.errstate(all="ignore"):
        theirs = [x + y, x * y, fma_by_round_to_odd(x, y, z), x / y]
    for i, row in enumerate(samples.tolist()):
        a, b, c = (ref.from_float(v) for v in row)
        mine = [ref.add32(a, b), ref.mul32(a, b), ref.fma32(a, b, c)]
        if isinstance(b, Fraction) and b != 0:
            mine.append(ref.div32(a, b))
        assert mine == [ref.from_float(t[i]) for t in theirs[: len(mine)]], row


def test_register_bits() -> None:
    assert ref.register_bits("nan", ref.FP32) == 0x7FFFFFFF and ref.register_bits("nan", ref.FP16) == 0x7FFF
    assert ref.register_bits("-inf", ref.BF16) == 0xFF80 and ref.register_bits("-0", ref.FP32) == 0x80000000
    x = float32_samples(300)[:300, 0]
    x = x[~np.isnan(x)]
    assert [ref.register_bits(ref.from_float(v), ref.FP32) for v in x.tolist()] == x.view(np.uint32).tolist()


# --------------------------------------------------------------------------------------------------- sums


@pytest.mark.parametrize(
    ("f", "products", "bits", "expected"),
    [
        (ref.FP16, 4, 23, 0),
        (ref.FP16, 8, 24, Fraction(-1, 2)),
        (ref.BF16, 16, 25, Fraction(-3, 4)),
        (ref.TF32, 8, 25, Fraction(-3, 4)),
        (ref.E5M2, 32, 13, 0),
        (ref.E5M2, 32, 25, Fraction(-3, 4)),
    ],
)
def test_golden_vector_of_mma_sim(f: Format, products: int, bits: int, expected: Fraction | int) -> None:
    """MMA-Sim (arXiv 2511.10909), table 8: units from Volta to Blackwell; the exact sum is -0.875."""
    a = [ref.integer_round(ref.from_float(x), f) for x in (-(2.0**13), -0.5, -0.25, -0.125)]
    b = [ref.integer_round(ref.from_float(x), f) for x in (2.0**10, 1.0, 1.0, 1.0)]
    c = Fraction(2**23)
    assert ref.dot(a, f, b, f, Unit(products, bits), c=c) == expected
    assert ref.exact_dot(a, f, b, f, c=c) == Fraction(-7, 8)


def test_golden_vectors_of_volta() -> None:
    """Truncation of the register, and products that are not normalised."""
    unit = Unit(4, 23, min_exponent=-131)
    c = ref.decode(0x3F7FFFFF, ref.FP32)
    truncated = ref.dot([0x3E00] * 4, ref.FP16, [0x3D00] * 4, ref.FP16, unit, c=c)
    assert ref.register_bits(truncated, ref.FP32) == 0x4107FFFF
    a, b = [0x3E00, 0x3C01, 0x3C01, 0x3C00], [0x3E00, 0x3001, 0x3001, 0x3000]
    c = ref.decode(0x3E000000, ref.FP32)
    assert ref.register_bits(ref.dot(a, ref.FP16, b, ref.FP16, unit, c=c), ref.FP32) == 0x40300801


def test_exact_dot_against_float64() -> None:
    """math.fsum rounds the exact sum; E4M3's sums are exact in float64, so NumPy's casts round them once."""
    rng = np.random.default_rng(SEED)
    for f, name in ((ref.E4M3, "float8_e4m3fn"), (ref.E5M2, "float8_e5m2")):
        codes = rng.integers(0, f.max_code + 1, (200, 2, 40)) | rng.integers(0, 2, (200, 2, 40)) << 7
        a, b = codes.astype(np.uint8).view(dtype_of(name)).astype(np.float64).transpose(1, 0, 2)
        for (x, y), products in zip(codes.tolist(), (a * b).tolist(), strict=True):
            total = math.fsum(products)
            assert ref.exact_dot(x, f, y, f, output=ref.FP64) == ref.from_float(total)
            if f == ref.E5M2:
                continue
            assert ref.exact_dot(x, f, y, f) == ref.from_float(np.float32(total))
            with np.errstate(over="ignore"):
                assert ref.exact_dot(x, f, y, f, output=ref.FP16) == ref.from_float(np.float16(total))


def test_fma_chain_against_float64() -> None:
    """Products of BF16 are exact in float32, so each fma is NumPy's addition; also when promoted."""
    rng = np.random.default_rng(SEED)
    floats = rng.standard_normal((20, 2, 48)).astype(ml_dtypes.bfloat16)
    for codes, (a, b) in zip(floats.view(np.uint16).tolist(), floats.astype(np.float32), strict=True):
        total = register = np.float32(0)
        sums = np.float32(1)
        for k, term in enumerate(a * b):
            total, register = total + term, (register if k % 16 else np.float32(0)) + term
            sums = sums + register if k % 16 == 15 else sums
        assert ref.fma_chain(codes[0], ref.BF16, codes[1], ref.BF16) == Fraction(float(total))
        promoted = ref.fma_chain(codes[0], ref.BF16, codes[1], ref.BF16, c=ref.ONE, promotion=16)
        assert promoted == Fraction(float(sums))


@pytest.mark.parametrize("mode", MODES)
def test_alignment_rounds_each_term_by_its_mode(mode: str) -> None:
    """Two products far below c: each is cut to a multiple of one by NumPy's rounding of the same name."""
    halves = [Fraction(n, 4) for n in (-7, -6, -5, -3, -2, -1, 1, 2, 3, 5, 6, 7)]
    unit = Unit(2, 8, ref.FP32, alignment_rounding=mode)
    functions: dict[str, Any] = {
        "ties_to_even": np.rint,
        "ties_to_away": lambda x: np.copysign(np.floor(abs(x) + 0.5), x),
        "toward_zero": np.trunc,
        "toward_positive": np.ceil,
        "toward_negative": np.floor,
        "to_odd": lambda x: x if x == int(x) else np.floor(x) if int(np.floor(x)) % 2 else np.ceil(x),
    }
    function = functions[mode]
    for x, y in product(halves, repeat=2):
        codes = [ref.integer_round(v, ref.BF16) for v in (x, y)]
        got = ref.dot(codes, ref.BF16, [0x3F80] * 2, ref.BF16, unit, c=Fraction(256))
        assert got == 256 + int(function(float(x))) + int(function(float(y)))


def test_special_values_of_a_fused_sum() -> None:
    one, zero, inf = 0x3C, 0x00, 0x7C
    unit = FUSED["f32.fp8"]

    def total(a: list[int], b: list[int], c: Value = ref.ZERO) -> Value:
        return ref.dot(a, ref.E5M2, b, ref.E5M2, unit, c=c)

    assert total([inf], [one]) == "+inf" and total([inf | 0x80], [one], "-inf") == "-inf"
    assert total([inf], [zero]) == "nan" and total([inf], [one], "-inf") == "nan"
    assert total([inf, inf], [one, one | 0x80]) == "nan" and total([0x7D], [zero]) == "nan"
    assert total([zero | 0x80], [one], "-0") == ref.ZERO and total([], [], Fraction(3)) == 3
    tiny = ref.dot([0x8001], ref.FP16, [0x0001], ref.FP16, FUSED["f16.16"])
    assert tiny == ref.ZERO  # -2**-48 rounds to +0
    large = ref.dot([0x7BFF] * 2, ref.FP16, [0x3C00] * 2, ref.FP16, FUSED["f16.16"])
    assert large == "+inf" and ref.fused_sum([], ref.ZERO, unit) == ref.ZERO


# ------------------------------------------------------------------------------------------------- scales


def test_scale_rules_against_their_definitions() -> None:
    rng = np.random.default_rng(SEED)
    maxima = {"e4m3": (448, 3), "e5m2": (57344, 2), "e2m1": (6, 1), "e2m3": (7.5, 3), "e3m2": (28, 2)}
    powers = 2.0 ** np.arange(-126, 128)
    beside = [powers.astype(np.float32).view(np.int32) + d for d in (-1, 0, 1)]
    x = np.concatenate([rng.integers(1, 0x7F800000, 300), *beside])
    amaxes = x[x >= 0x00800000].astype(np.uint32).view(np.float32)
    exponents = range(-127, 128)
    for largest, bits in maxima.values():
        maximum = Fraction(largest)
        emax = int(np.floor(np.log2(largest)))
        for amax in amaxes[::3]:
            exact = Fraction(float(amax))
            field = int(amax.view(np.uint32)) >> 23
            even = (int(amax.view(np.uint32)) + (1 << (23 - bits - 1))) >> 23
            ceil = field + (int(amax.view(np.uint32)) & 0x7FFFFF != 0)
            smallest = next((e for e in exponents if exact <= maximum * ref.power(e)), 127)
            expected = {"floor": field, "even": even, "ceil": ceil}
            for rule, biased in expected.items():
                assert ref.scale_exponent(rule, exact, maximum, bits) == max(biased - 127 - emax, -127)
            assert ref.scale_exponent("rceil", exact, maximum) == smallest
            assert ref.scale_amax(exact, maximum, ref.FP32) == ref.from_float(amax / np.float32(largest))
    assert ref.scale_amax(Fraction(5376), Fraction(6), ref.E4M3) == 448  # saturates


# ------------------------------------------------------------------------------------------------ hardware


@cache
def recorded(name: str) -> tuple[Any, list[str]]:
    file = np.load(VECTORS / f"{name}.npz")
    return file, sorted({key.rpartition("|")[0] for key in file.files})


@cache
def instruction_cases() -> list[tuple[str, str]]:
    """(file, case) of every recorded instruction but `mma.sync` FP8."""
    found = [(name, case) for name in ("instructions", "floors") for case in recorded(name)[1]]
    return [(name, case) for name, case in found if not case.startswith(("mma.f32.e", "mma.f16.e"))]


def sample(count: int, case: str) -> list[int]:
    """Up to OUTPUTS of `count` outputs, the same ones every time."""
    rng = np.random.default_rng([SEED, *case.encode()])
    return sorted(rng.choice(count, min(OUTPUTS, count), replace=False).tolist())


def codes_of(array: Any, name: str) -> list[int]:
    codes: list[int] = array.view(f"u{array.itemsize}").tolist()
    return [ref.tf32_operand(code) for code in codes] if name == "tf32" else codes


def test_all_the_recordings_are_here() -> None:
    units = {case.split("|")[0] for _, case in instruction_cases()}
    assert len(units) == 14 and len(instruction_cases()) >= 14 * 10
    kinds = {name: {case.split("|")[0] for case in recorded(name)[1]} for name in ("gemms", "orders")}
    assert kinds["gemms"] == {"tensor", "scaled", "rowwise", "block", "mm"}
    assert kinds["orders"] == {"scaled", "rowwise-dots"}


@pytest.mark.parametrize("instruction", sorted({case.split("|")[0] for _, case in instruction_cases()}))
def test_instructions_of_an_h100(instruction: str) -> None:
    _, accumulator, *names = instruction.split(".")
    fa, fb = (OPERANDS[name] for name in names)
    kind = "fp8" if fa.bits == 8 else "tf32" if names[0] == "tf32" else "16"
    unit = FUSED[f"{accumulator}.{kind}"]
    held = ref.FP32 if accumulator == "f32" else ref.FP16
    checked = 0
    for name, case in instruction_cases():
        if case.split("|")[0] != instruction:
            continue
        a, b, c, d = (recorded(name)[0][f"{case}|{x}"] for x in "abcd")
        for output in sample(d.size, case):
            t, m, n = (int(i) for i in np.unravel_index(output, d.shape))
            operands = a[t, ..., m, :], b[t, ..., n, :]  # [K], or [16][K] for a chain of sixteen
            row, column = (codes_of(x.ravel(), names[0]) for x in operands)
            start = ref.decode(int(c[t, m, n]), held)
            mine = ref.register_bits(ref.dot(row, fa, column, fb, unit, c=start, output=held), held)
            assert mine == int(d[t, m, n]), (case, t, m, n, hex(mine), hex(int(d[t, m, n])))
            checked += 1
    assert checked >= 10 * OUTPUTS


def gemm_cases() -> list[tuple[str, str]]:
    return [(name, case) for name in ("gemms", "orders") for case in recorded(name)[1]]


@pytest.mark.parametrize(("name", "case"), gemm_cases())
def test_library_gemms_of_an_h100(name: str, case: str) -> None:
    file, _ = recorded(name)
    kind, *rest = case.split("|")
    a, b, result = (file[f"{case}|{i}"] for i in range(3))
    scales = [file[f"{case}|{i}"] for i in (3, 4) if f"{case}|{i}" in file.files]
    named = [word for word in rest if word in OPERANDS]
    operands = named * 2 if kind == "mm" else named if len(named) == 2 else ["e4m3", "e4m3"]
    fa, fb = (OPERANDS[operand] for operand in operands)
    unit = FUSED["f32.16" if kind == "mm" else "f32.fp8"]
    promotion = 128 if "slow" in rest or kind == "block" else None
    output = ref.BF16 if result.itemsize == 2 else ref.FP32
    dots = kind == "rowwise-dots"
    picks = range(result.size) if dots else sample(result.size, case)
    for pick in picks:
        m, n = (pick, pick) if dots else divmod(pick, result.shape[1])
        options: dict[str, Any] = {}
        if kind == "scaled":
            options = {"epilogue": "tensor", "scale_a": scales[0], "scale_b": scales[1]}
        elif kind.startswith("rowwise"):
            options = {"epilogue": "row", "scale_a": scales[0].ravel()[m], "scale_b": scales[1].ravel()[n]}
        elif kind == "block" and rest[0] == "1x128*128x128":
            options = {"epilogue": "block", "scale_a": scales[0][m], "scale_b": scales[1][n // 128]}
        elif kind == "block":
            options = {"epilogue": "group", "scale_a": scales[0][m], "scale_b": scales[1][n]}
        for key in options.keys() - {"epilogue"}:
            numbers = [ref.from_float(scale) for scale in np.ravel(options[key])]
            options[key] = numbers if kind == "block" else numbers[0]
        row, column = codes_of(a[m], operands[0]), codes_of(b[n], operands[1])
        mine = ref.dot(row, fa, column, fb, unit, promotion=promotion, output=output, **options)
        theirs = int(result.view(f"u{result.itemsize}")[pick if dots else (m, n)])
        assert ref.register_bits(mine, output) == theirs, (pick, mine, hex(theirs))
