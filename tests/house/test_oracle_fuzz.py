"""A sample of the oracle fuzz of `benchmarks`; its oracles are right, and its comparison can fail."""

import random
import sys
from fractions import Fraction
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

import precision as pr

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import oracle_fuzz
import oracle_fuzz_products as products
import oracle_fuzz_quantizing as quantizing
import oracle_numbers as numbers
import oracle_products
import oracle_quantizing


@pytest.mark.parametrize(
    ("compare", "count"),
    [
        pytest.param(products.compare, 400, id="products"),
        pytest.param(quantizing.compare, 600, id="quantizing"),
    ],
)
def test_sample_equals_the_oracle(compare, count):
    """Random cases equal the oracle in every bit."""
    threads = pr.get_num_threads()
    try:
        counts, differences = oracle_fuzz.run(compare, count, 13, jobs=1)
    finally:
        pr.set_num_threads(threads)
    assert sum(counts.values()) == count
    assert not differences


# ---- the oracles themselves


def oracle_product(unit, a, b, c):
    """Return one output of the oracle of products, of arrays of types of ml_dtypes or NumPy."""
    sides = []
    for array, shape in ((a, (1, -1)), (b, (-1, 1))):
        codes = numbers.unsigned(array).astype(np.uint64).reshape(shape)
        sides.append(oracle_products.Side(pr.formats.format_of(array.dtype), codes))
    case = oracle_products.Case(unit, "", *sides, c=np.full((1, 1), c, np.float32))
    results, _ = oracle_products.Oracle(case).outputs()
    return results[0]


@pytest.mark.parametrize(
    ("unit", "dtype", "expected"),
    [
        (pr.HOPPER_FP16, np.float16, -0.75),
        (pr.HOPPER_BF16, ml_dtypes.bfloat16, -0.75),
        (pr.HOPPER_FP8, ml_dtypes.float8_e5m2, 0.0),
        (pr.FusedSum((pr.FP16,), 8, fraction_bits=24), np.float16, -0.5),
        (pr.FusedSum((pr.FP16,), 4, fraction_bits=23), np.float16, 0.0),
    ],
    ids=["hopper fp16", "hopper bf16", "hopper e5m2", "ampere fp16", "volta fp16"],
)
def test_oracle_gives_published_golden_sums(unit, dtype, expected):
    """The oracle gives the sums that MMA-Sim (arXiv 2511.10909, table 8) publishes for real GPUs."""
    a = np.array([-(2.0**13), -0.5, -0.25, -0.125]).astype(dtype)
    b = np.array([2.0**10, 1, 1, 1]).astype(dtype)
    assert oracle_product(unit, a, b, 2.0**23) == expected


def test_oracle_gives_recorded_sums_of_a_v100():
    """The oracle truncates into the register, and does not normalise products, as a V100 does (recorded)."""
    unit = pr.FusedSum((pr.FP16,), 4, fraction_bits=23, min_exponent=-131)
    first = oracle_product(
        unit,
        np.full(4, 0x3E00, np.uint16).view(np.float16),
        np.full(4, 0x3D00, np.uint16).view(np.float16),
        np.uint32(0x3F7FFFFF).view(np.float32),
    )
    second = oracle_product(
        unit,
        np.uint16([0x3E00, 0x3C01, 0x3C01, 0x3C00]).view(np.float16),
        np.uint16([0x3E00, 0x3001, 0x3001, 0x3000]).view(np.float16),
        np.uint32(0x3E000000).view(np.float32),
    )
    assert [numbers.float_bits(value) for value in (first, second)] == [0x4107FFFF, 0x40300801]


def test_philox_gives_its_authors_known_answers():
    """The random bits are those of Philox4x32-10's published test vectors."""
    ones = 0xFFFFFFFF
    assert numbers.philox(0, 0, 0) == 0x6627E8D5
    assert numbers.philox(5, 1, 0) != numbers.philox(5, 0, 0) != numbers.philox(5, 0, 1 << 32)
    assert 0 <= numbers.philox(ones, ones, (ones << 32) | ones) <= ones


def test_fused_multiply_add_equals_exact_fractions():
    """One rounding of the exact value, over the whole range of float32."""
    rng = random.Random(0)
    words = np.array([rng.getrandbits(32) for _ in range(6000)], np.uint32).view(np.float32)
    words[::7] = np.ldexp(np.float32(1), np.arange(len(words[::7])) % 60 - 30)
    values = [float(value) for value in words if np.isfinite(value)]
    for a, b, c in zip(values[0::3], values[1::3], values[2::3], strict=False):
        for addend in (c, -numbers.float32(a * b)):
            if not np.isfinite(addend):
                continue
            exact = Fraction(a) * Fraction(b) + Fraction(addend)
            assert numbers.fused_multiply_add(a, b, addend) == numbers.round_fraction(exact)


@pytest.mark.parametrize(
    "name", ["float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e3m4", "float4_e2m1fn"]
)
def test_grid_reads_and_rounds_as_ml_dtypes_does(name):
    """Every code has the value that ml_dtypes gives it, and random numbers round to the same codes."""
    dtype = np.dtype(getattr(ml_dtypes, name))
    grid = numbers.grid_of(pr.formats.format_of(dtype))
    codes = np.arange(1 << grid.bits, dtype=np.uint8)
    expected = codes.view(dtype).astype(np.float64)
    assert np.array_equal([grid.value(int(code)) for code in codes], expected, equal_nan=True)
    x = np.random.default_rng(0).uniform(-grid.max, grid.max, 2000)
    x[::2] *= 2.0 ** -np.arange(1000) % 12
    want = x.astype(np.float32).astype(dtype).view(np.uint8).tolist()
    got = [
        oracle_quantizing.encode(grid, float(value), "TIES_TO_EVEN", "SATURATE")
        for value in x.astype(np.float32)
    ]
    assert got == want


# ---- the comparison can fail


def differences_of(compare, count):
    """Return how many of the first cases differ."""
    _, differences = oracle_fuzz.run(compare, count, 13, jobs=1)
    return len(differences)


def test_a_wrong_oracle_of_products_is_noticed(monkeypatch):
    """An oracle that keeps one fraction bit more differs somewhere."""
    right = oracle_products.Register.__init__

    def wrong(self, unit):
        right(self, unit)
        self.fraction_bits += 1

    monkeypatch.setattr(oracle_products.Register, "__init__", wrong)
    assert differences_of(products.compare, 100) > 3


def test_a_wrong_oracle_of_quantizing_is_noticed(monkeypatch):
    """An oracle whose FLOOR rule gives twice the scale differs somewhere."""
    right = oracle_quantizing.Oracle.exponent
    monkeypatch.setattr(oracle_quantizing.Oracle, "exponent", lambda self, value: right(self, value) + 1)
    assert differences_of(quantizing.compare, 100) > 3
