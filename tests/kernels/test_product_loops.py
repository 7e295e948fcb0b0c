"""The loops of products written in LLVM give the bits of the same ones that Numba compiles from Python."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import pytest
from loop_pairs import calls, compiled_pair, own

import precision as pr
from precision._kernels import _llvm_vectors as vectors
from precision._kernels import _plain_vectors as plain_vectors
from precision._kernels.products import (
    _llvm_elements,
    _llvm_grouped_step,
    _llvm_integer_step,
    _llvm_narrow_step,
    _plain_elements,
    _plain_steps,
)

F32, I32, U32, I64 = np.float32, np.int32, np.uint32, np.int64
NO_SWAPS = np.zeros(0, np.uint16)


def test_largest_exponents():
    dtype, lanes = np.int16, 32
    rng, limits = np.random.default_rng(2), np.iinfo(dtype)
    pair = compiled_pair(vectors.largest_exponents, plain_vectors.largest_exponents, 6)
    for count in (1, 2, 7):
        ae = rng.integers(limits.min, limits.max, 20, dtype, endpoint=True)
        be = rng.integers(limits.min, limits.max, (count + 1) * lanes, dtype, endpoint=True)
        ae[:2] = be[: lanes // 2] = limits.min
        be[lanes // 2 : lanes] = limits.max
        pair.agree(count, ae, 1, be, lanes, np.zeros(lanes, dtype))


def halves(values: np.ndarray) -> np.ndarray:
    """Positive parts of each row, then its negative parts."""
    return np.concatenate([np.maximum(values, 0), np.maximum(-values, 0)], axis=1)


def test_cut_products():
    dtype, lanes = np.float64, 32
    rng = np.random.default_rng(3)
    pair = compiled_pair(vectors.add_cut_products, plain_vectors.add_cut_products, 6, mode=0)
    nearest = calls(numba.njit(plain_vectors.add_cut_products), 6)
    for count in (1, 8):
        a = (rng.integers(-15, 16, 12) * 2.0 ** rng.integers(-8, 5, 12)).astype(F32)
        a[0], a[3], a[4] = np.nan, -0.0, 0.0  # the first is not read
        b = rng.integers(-15, 16, (count + 1, lanes)) * 2.0 ** rng.integers(-8, 5, (count + 1, lanes))
        b = halves(b).astype(dtype).reshape(-1)
        sums = np.full(2 * lanes, 2.0**20, dtype) + (rng.integers(0, 4, 2 * lanes) / 4).astype(dtype)
        arguments = count, a, 1, b, 2 * lanes, sums
        found = pair.agree(*arguments)[-1]
        plain = [own(x) for x in arguments]
        nearest(*plain)  # the same to nearest, as its sums are exact
        np.testing.assert_array_equal(found, plain[-1])
        assert (found != sums).any()


def test_chained_products():
    rng = np.random.default_rng(5)
    pair = compiled_pair(vectors.chain_products, plain_vectors.chain_products, 7)
    a = np.ldexp(rng.standard_normal(40), rng.integers(-70, 60, 40)).astype(F32)
    b = np.ldexp(rng.standard_normal(40 * 64), rng.integers(-79, 60, 40 * 64)).astype(F32)
    sums = np.ldexp(rng.standard_normal(64), rng.integers(-149, 120, 64)).astype(F32)
    sums[:3] = np.inf, -np.inf, -0.0
    b[64:67] = -np.inf, 0.0, -0.0
    pair.agree(33, a, 1, b, 64, sums, 0)
    pair.agree(1, a, 1, b, 64, sums, 0)


def table_of(fmt: Any) -> np.ndarray:
    """Finite values of a format's codes."""
    values = pr.decode(np.arange(1 << fmt.bits, dtype=fmt.code_dtype), fmt)
    return values[np.isfinite(values)]


def exponents_of(values: np.ndarray, least: int, reference: int) -> np.ndarray:
    """Exponents as int8, less a reference, -128 for zeros."""
    with np.errstate(divide="ignore"):
        found = np.floor(np.log2(np.abs(values.astype(np.float64))))
    return np.where(np.isfinite(found), np.maximum(found, least) - reference, -128).astype(np.int8)


def words_of(exponents: np.ndarray) -> np.ndarray:
    """Words of four equal bytes."""
    return exponents.view(np.uint8).astype(np.uint32) * U32(0x01010101)


def registers_of(rng: np.random.Generator, count: int, mask: int) -> np.ndarray:
    """Registers of all sizes, zeros among them, with the bits that a mask keeps."""
    values = np.ldexp(rng.standard_normal(count), rng.integers(-40, 40, count)).astype(F32)
    values[::7] = 0.0
    return (values.view(np.uint32) & U32(mask)).view(F32)


@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("products", [32, 5])
@pytest.mark.parametrize(("fraction_bits", "mask"), [(13, 0xFFFFFC00), (12, 0xFFFFF800), (13, 0xFFFFFFFF)])
def test_narrow_steps(fraction_bits, mask, products, rows):
    """Steps over FP8 values, with zeros, both signs and registers far above and below the products."""
    rng = np.random.default_rng(fraction_bits)
    table, steps, depth = table_of(pr.E4M3), 2, 64
    pair = compiled_pair(_llvm_narrow_step.narrow_steps, _plain_steps.narrow_steps, 15)
    a, b = rng.choice(table, rows * depth), rng.choice(table, (depth, 64))
    b[:, 5] = a[:7] = 0.0
    if rows > 1:
        a[:depth] = 0.0
    ea, eb = exponents_of(a, -6, 8), exponents_of(b, -6, 8)
    registers = registers_of(rng, rows * 64, mask)
    found = pair.agree(
        rows, steps, products, np.abs(a), np.where(a < 0, 256, 0).astype(np.uint16), words_of(ea), 0, depth,
        halves(b).reshape(-1), eb.reshape(-1), registers, I32(16), I32(-60), I32(23 - fraction_bits),
        U32(mask),
    )  # fmt: skip
    assert (found[10] != registers).mean() > 0.3


@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize(
    ("name", "products", "part"), [("bf16", 16, 16), ("fp16", 16, 16), ("e4m3", 32, 16), ("e5m2", 5, 2)]
)
def test_integer_steps(name, products, part, rows, scaled):
    """Steps with 25 fraction bits, of one int32 sum or several, without and with scales inside the unit."""
    rng, fmt = np.random.default_rng(products), pr.parse_format(name)
    steps, depth, top = 3, 3 * products + 1, 15  # no exponent above the reference
    pair = compiled_pair(_llvm_integer_step.integer_steps, _plain_steps.integer_steps, 19)
    if fmt.bits == 8:
        values = rng.choice(table_of(fmt), rows * depth + 64 * depth)
    else:
        values = rng.standard_normal(rows * depth + 64 * depth) * np.exp2(
            rng.integers(-9, 9, rows * depth + 64 * depth)
        )
        values = pr.round_to(values.astype(F32), fmt)
        values[:200] = pr.round_to(F32(1.999), fmt)  # the largest significands: sums come near to 2**31
    a, b = values[: rows * depth].astype(F32), values[rows * depth :].reshape(depth, 64).astype(F32)
    b[:, 5] = a[1:4] = 0.0
    ea, eb = exponents_of(a, -30, top), exponents_of(b, -30, top)
    registers = registers_of(rng, rows * 64, 0xFFFFFFFF)
    shifts: tuple[Any, ...] = (None, 0, None, 0)
    if scaled:
        left, right = (rng.integers(-40, 40, 64 + 3, np.int32) for _ in range(2))
        right[3 + 5] = 30000  # of a column of zeros
        shifts = left, 2, right, 3
    found = pair.agree(
        rows, steps, products, part, a, words_of(ea), 0, depth, b.reshape(-1), eb.reshape(-1), registers,
        I32(2 * top), I32(-101), I32(25), U32(0xFFFFFFFF), *shifts,
    )  # fmt: skip
    assert (found[10] != registers).mean() > 0.3


@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("size", [16, 3])
def test_grouped_steps(size, rows):
    """Steps of four exact sums of FP4 values with scales, some of them zero."""
    rng = np.random.default_rng(size)
    sums, steps = 4, 2
    depth = sums * steps * size
    pair = compiled_pair(_llvm_grouped_step.grouped_steps, _plain_steps.grouped_steps, 23)
    a, b = (rng.choice(table_of(pr.E2M1), n).astype(F32) for n in (rows * depth, depth * 64))
    a[: 2 * size] = 0.0
    b[::64] = 0.0
    ea, eb = exponents_of(a, 0, 2), exponents_of(b, 0, 2)
    scales = [
        pr.round_to(np.exp2(rng.uniform(-9, 8, n)).astype(F32), pr.E4M3)
        for n in (sums * steps * 5 + 1, sums * steps * 64 + 2)
    ]
    scales[0][3], scales[1][7] = 0.0, 0.0
    exponents = [np.frexp(x)[1].astype(np.int32) - 1 for x in scales]
    registers = registers_of(rng, rows * 64, 0xFFFFFFFF)
    registers[3] = 3e38
    found = pair.agree(
        rows, steps, sums, size, a, words_of(ea), 0, depth, b, eb, registers, np.zeros(64 * sums),
        I32(-140), I32(-126), I64(1023 + 52 - 35), U32(0xFFFFFFFF), scales[0], exponents[0], 1, 5,
        scales[1], exponents[1], 2,
    )  # fmt: skip
    assert (found[10] != registers).mean() > 0.3


@pytest.mark.parametrize("left_first", [False, True])
def test_scaled_registers_are_added(left_first):
    rng = np.random.default_rng(6)
    pair = compiled_pair(vectors.add_scaled, plain_vectors.add_scaled, 8)
    registers, totals = (
        np.ldexp(rng.standard_normal(192), rng.integers(-60, 60, 192)).astype(F32) for _ in range(2)
    )
    left, right = np.exp(rng.standard_normal(5)).astype(F32), np.exp(rng.standard_normal(64)).astype(F32)
    registers[:3] = np.inf, np.nan, -0.0
    totals[2:4] = -0.0, np.inf
    found = pair.agree(3, 64, registers, totals, left, 2, right, left_first)
    assert not found[2].any() and (found[3] != totals).mean() > 0.3


CODED = [
    ("e4m3", np.uint8),
    ("e5m2", np.uint8),
    ("int8", np.uint8),
    ("e4m3fnuz", np.uint8),
    ("fp16", np.uint16),
    ("bf16", np.uint16),
    ("fp32", np.uint32),
]


def coded(name: str, count: int) -> tuple[Any, ...]:
    """Return random codes of a format, with its table, shift, mask and smallest exponent."""
    from precision.accumulators._operand_layout import Stack, as_operand

    fmt = pr.parse_format(name)
    rng = np.random.default_rng(7)
    codes = rng.integers(0, 1 << fmt.bits, count).astype(f"u{fmt.bits // 8}")
    codes[::11] = 0
    operand = as_operand(Stack(codes.reshape(1, 1, -1), fmt))
    return codes, (operand.table, I32(operand.shift), U32(operand.mask), I32(operand.min_exponent), I32(3))


@pytest.mark.parametrize(("name", "kind"), CODED)
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize(
    ("halves_", "real", "exponent"), [(1, F32, np.int8), (2, F32, np.int8), (2, np.float64, np.int16)]
)
def test_columns_are_looked_up(name, kind, transposed, halves_, real, exponent):
    """Every format of codes, along rows and columns, whole vectors and single elements."""
    codes, meaning = coded(name, 5 * 80 + 3)
    lanes = 64 if real is F32 else 32
    pair = compiled_pair(_llvm_elements.unpack_columns, _plain_elements.unpack_columns, 16)
    for columns in (lanes, 19, 1):
        strides = (1, 5) if transposed else (80, 1)
        found = pair.agree(
            5, columns, codes, 3, *strides, *meaning, lanes, halves_,
            np.full(5 * lanes * halves_, 9, real), np.full(5 * lanes, 9, exponent), np.zeros(lanes, np.uint8),
        )  # fmt: skip
        assert found[14].any() or name in ("int8",)
        assert (found[14].reshape(5, lanes)[:, columns:] == 9).all()


@pytest.mark.parametrize(("name", "kind"), CODED)
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize(("apart", "exponent"), [(True, np.uint32), (False, np.uint32), (False, np.int16)])
def test_rows_are_looked_up(name, kind, transposed, apart, exponent):
    codes, meaning = coded(name, 7 * 40 + 3)
    pair = compiled_pair(_llvm_elements.unpack_rows, _plain_elements.unpack_rows, 18)
    for count in (40, 21, 1):
        strides = (1, 7) if transposed else (40, 1)
        swaps = np.full(7 * 40 + 2, 9, np.uint16) if apart else NO_SWAPS
        pair.agree(
            7, count, 40, codes, 3, *strides, *meaning, np.full(7 * 40 + 2, 9, F32), swaps,
            np.full(7 * 40 + 2, 9, exponent), 1, np.zeros(9, np.uint8), 2,
        )  # fmt: skip
