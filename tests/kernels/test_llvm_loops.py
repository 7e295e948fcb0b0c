"""Loops and operations written in LLVM give the bits of the same ones that Numba compiles from Python."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from loop_pairs import Pair, bits, calls

import precision as pr
from precision._kernels import _llvm_scalars as scalars
from precision._kernels import _llvm_vectors as vectors
from precision._kernels import _plain_vectors as plain_vectors
from precision._kernels.logfmt import _decoding, _tile_lines
from precision._kernels.logfmt import _llvm_logarithms as logarithms
from precision._kernels.logfmt import _llvm_powers as powers
from precision._kernels.logfmt import _plain_tiles as plain_tiles
from precision._kernels.logfmt._llvm_lanes import GROUP
from precision._kernels.numbers import _llvm_groups as groups
from precision._kernels.numbers import _plain_groups as plain_groups
from precision.formats._codec_constants import format_params, short_params
from precision.logfmt._tile_loops import grid_of
from precision.quantization._group_loops import _decoding as decoding_of

F32, I32, U32 = np.float32, np.int32, np.uint32


# ---- one number ------------------------------------------------------------------------------------------

WORDS = np.array(
    [0, 1, 0x7FFFFF, 0x800000, 0x3F800000, 0x7F7FFFFF, 0x7F800000, 0x7F800001, 0x7FC00000, 0x80000000,
     0x80000001, 0xBF800000, 0xFF800000, 0xFFFFFFFF, *(1 << i for i in range(32)),
     *np.random.default_rng(0).integers(0, 1 << 32, 4000)], np.uint32,
)  # fmt: skip


def mapped(function: Any, *arrays: np.ndarray) -> list[Any]:
    call = calls(function, len(arrays))
    return [call(*values) for values in zip(*arrays, strict=True)]


def test_bits_of_floats_are_those_that_numpy_views():
    floats = WORDS.view(np.float32)
    doubles = WORDS.astype(np.uint64) << np.uint64(32) | WORDS[::-1]
    quiet = floats[~np.isnan(floats)]  # Python's own float, by which a call passes, may quiet NaN
    assert mapped(scalars.bits32, quiet) == quiet.view(np.uint32).tolist()
    assert bits(np.array(mapped(scalars.float32_of, WORDS), F32)).tolist() == bits(floats).tolist()
    numbers = doubles.view(np.float64)
    numbers = numbers[~np.isnan(numbers)]
    assert mapped(scalars.bits64, numbers) == numbers.view(np.uint64).tolist()
    assert bits(np.array(mapped(scalars.float64_of, doubles))).tolist() == bits(doubles.view(float)).tolist()


def test_words_are_shifted_and_counted_as_by_python():
    places = (np.arange(len(WORDS)) % 32).astype(np.uint32)
    words = [int(word) for word in WORDS]
    shifts = [(word, int(count)) for word, count in zip(words, places, strict=True)]
    assert mapped(scalars.left, WORDS, places) == [word << count & 0xFFFFFFFF for word, count in shifts]
    assert mapped(scalars.right, WORDS, places) == [word >> count for word, count in shifts]
    assert mapped(scalars.leading_zeros, WORDS) == [32 - w.bit_length() for w in words]


def test_parts_of_floats_are_those_of_their_bits():
    floats = WORDS.view(np.float32)
    floats = floats[~np.isnan(floats)]
    fields = (floats.view(np.uint32) >> 23 & 255).astype(int) - 127
    assert mapped(scalars.exponent32, floats) == fields.tolist()
    exponents = np.arange(-126, 128, dtype=np.int32)
    assert mapped(scalars.power32, exponents) == [math.ldexp(1.0, int(e)) for e in exponents]
    masks = np.full(len(floats), 0xFFFF8000, np.uint32)
    found = np.array(mapped(scalars.masked32, floats, masks), F32)
    np.testing.assert_array_equal(bits(found), bits((floats.view(np.uint32) & masks).view(F32)))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_fused_multiply_add_rounds_the_exact_sum_once(dtype):
    rng = np.random.default_rng(1)
    size = 3000
    a, b = (np.ldexp(rng.standard_normal(size), rng.integers(-30, 30, size)).astype(dtype) for _ in "ab")
    c = (-(a.astype(float) * b.astype(float)) * (1 + rng.choice([0, 2.0**-20, 2.0**-30], size))).astype(dtype)
    c[::3] = np.ldexp(rng.standard_normal(len(c[::3])), rng.integers(-60, 60, len(c[::3]))).astype(dtype)
    loop = calls(scalars.fused_multiply_add, 3)
    for x, y, z in zip(a, b, c, strict=True):
        total = Fraction(float(x)) * Fraction(float(y)) + Fraction(float(z))
        found = dtype(loop(x, y, z))
        # The nearest: no neighbour is nearer, and of two as near the one with an even last bit.
        error = abs(Fraction(float(found)) - total)
        for other in (np.nextafter(found, dtype(np.inf)), np.nextafter(found, dtype(-np.inf))):
            away = abs(Fraction(float(other)) - total)
            assert error < away or (error == away and not int(found.view(f"u{found.itemsize}")) & 1)


# ---- copies and groups of 16 and 32 ------------------------------------------------------------------------


def test_streamed_copies():
    pair = Pair(vectors.stream, plain_vectors.stream, 5)
    for dtype in (np.uint8, np.uint16, np.uint32):
        source = np.arange(1024).astype(dtype)
        pair.agree(source, 64, np.zeros(2048, dtype), 128, 512)


@pytest.mark.parametrize(("loop", "group"), [(groups.largest16, 16), (groups.largest32, 32)])
def test_largest_magnitudes(loop, group):
    rng = np.random.default_rng(group)
    x = rng.integers(0, 1 << 32, 40 * group, np.uint32)
    x[: 2 * group] = 0
    x[2 * group : 3 * group] = 0x80000000
    Pair(loop, plain_groups.largest(group), 5).agree(x, group, 39, np.zeros(50, np.uint32), 3)


@pytest.mark.parametrize("places", [0, 1])
@pytest.mark.parametrize(
    ("loop", "kind", "name"),
    [(groups.any_values, "any", name) for name in ("e4m3", "e5m2", "e2m1", "e3m2", "e2m3")]
    + [(groups.finite_values, "finite", "e4m3"), (groups.stream_finite, "finite", "e2m1")]
    + [(groups.integer_values, "integer", "int8"), (groups.stream_integer, "integer", "int4")],
)
def test_values_of_every_code(loop, kind, name, places):
    fmt = pr.parse_format(name)
    how, signed = decoding_of(fmt)
    assert signed == (kind == "integer")
    codes = np.arange(1 << fmt.bits, dtype=np.uint8)
    if kind == "finite":
        codes = codes[(codes & how.magnitude) <= how.last]
    codes = np.resize(codes, 16 * 19)
    rng = np.random.default_rng(7)
    factors = np.ldexp(rng.uniform(1, 2, 19), rng.integers(-140, 120, 19)).astype(F32)
    factors[:3] = 1.0, 2.0**-149, np.finfo(F32).max
    pair = Pair(loop, plain_groups.decoded(kind), 8)
    for runs in (1, 2, 18, 19):
        pair.agree(codes, 0, how, factors, places, runs, np.zeros(16 * 19, F32), 0)


@pytest.mark.parametrize(
    ("loop", "operation"), [(groups.encode_products, "fmul"), (groups.encode_quotients, "fdiv")]
)
@pytest.mark.parametrize("name", ["e4m3", "e5m2", "e2m1", "int8"])
def test_codes_of_every_bfloat16(loop, operation, name):
    fmt = pr.parse_format(name)
    words = np.arange(1 << 16, dtype=np.uint32) << 16
    x = words.view(F32)
    x = x[np.isfinite(x)]
    x = np.concatenate([x[: x.size // 16 * 16], x[: x.size // 16 * 16] * F32(0.9375)])
    runs = x.size // 16
    factors = np.resize(np.array([1.0, 0.75, 2.0**-120, 2.0**100, 1 / 448, 2.0**-149], F32), runs + 1)
    factors = factors[np.random.default_rng(8).permutation(runs + 1)]
    short, params = short_params(fmt), format_params(fmt)
    pair = Pair(loop, plain_groups.encoded(operation), 9)
    for places, some in ((0, runs), (1, runs - 1)):
        pair.agree(x, 0, factors, places, some, short, params, np.zeros(x.size, np.uint8), 0)


# ---- LogFMT ----------------------------------------------------------------------------------------------


def tiles_of(seed: int, tiles: int, runs: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((tiles, 16 * runs)) * np.exp2(rng.integers(-20, 20, (tiles, 1)))
    x *= np.exp2(rng.uniform(-6, 6, x.shape) * rng.integers(0, 2, (tiles, 1)))
    return x.astype(F32)


def test_extremes():
    x = tiles_of(9, 5, 3).view(np.uint32)
    x[0] = 0
    x[1, 4] = 0x80000000
    x[2] = np.random.default_rng(9).integers(0, 1 << 32, x.shape[1], np.uint32)
    x[3, 3:] = np.arange(x.shape[1] - 3)
    pair = Pair(logarithms.extremes, plain_tiles.extremes, 7)
    for runs in (1, 3, 2):
        pair.agree(x.reshape(-1), 0, 5, runs, np.zeros(96, np.uint32), 2, GROUP)


@pytest.mark.parametrize("spec", [pr.LogFMT(4), pr.LogFMT(8), pr.LogFMT(10)], ids=str)
def test_codes_by_logarithms(spec):
    grid, tiles, runs = grid_of(spec), 6, 8
    x = tiles_of(spec.bits, tiles, runs)
    x[1, ::9] = 0.0
    stats, logs = np.zeros(3 * GROUP, np.uint32), np.zeros(2 * GROUP)
    size = np.abs(x)
    least = np.where(size > 0, size, np.inf).min(axis=1).astype(F32)
    stats[:tiles] = size.max(axis=1).view(np.uint32)
    stats[GROUP : GROUP + tiles] = least.view(np.uint32) - U32(1)
    stats[2 * GROUP : 2 * GROUP + tiles] = size.min(axis=1).view(np.uint32)
    levels, lines = np.zeros((10, GROUP)), np.zeros((6, GROUP), F32)
    _tile_lines.find_logarithms(stats, tiles, logs)
    _tile_lines.find_levels(stats, tiles, grid, logs, levels)
    _tile_lines.find_lines(levels, tiles, grid, lines)
    words, kind = x.view(np.uint32).reshape(-1), np.uint8 if spec.bits <= 8 else np.uint16
    marked = Pair(logarithms.encode_marked, plain_tiles.encoded(True), 11)
    unmarked = Pair(logarithms.encode_unmarked, plain_tiles.encoded(False), 11)
    codes, opened = np.zeros(x.size, kind), np.zeros(GROUP, np.uint8)
    marks = np.zeros(2 * runs * tiles, np.uint8)
    for t in range(tiles):
        first = t * 16 * runs
        arguments = words, first, 1, runs, lines, t, grid.bits, codes, first, opened, marks
        found = marked.agree(*arguments)
        assert found[7].any()
        if not levels[7, t]:  # nothing lies beyond the levels
            unmarked.agree(*arguments)
    together = np.flatnonzero(levels[7, :tiles] == 0)
    if np.array_equal(together, np.arange(tiles)):
        unmarked.agree(words, 0, tiles, runs, lines, 0, grid.bits, codes, 0, opened, marks)


@pytest.mark.parametrize("spec", [pr.LogFMT(4), pr.LogFMT(8), pr.LogFMT(10)], ids=str)
def test_values_of_every_logfmt_code(spec):
    grid, tiles = grid_of(spec), 5
    count = max(16, 1 << spec.bits)
    kind = np.uint8 if spec.bits <= 8 else np.uint16
    codes = np.tile(np.resize(np.arange(1 << spec.bits).astype(kind), count), tiles)
    firsts = np.array([-70.5, -3.25, 0.0, 0.3, 60.0], F32)
    seconds = (np.array([31.0, 8.5, 1.0, 0.01, 20.0]) / grid.steps).astype(F32)
    logs, ladders = np.zeros((2, GROUP)), np.zeros((5, GROUP), F32)
    slow = np.zeros(GROUP, np.uint8)
    _decoding._find_ladders(0, tiles, grid, firsts, seconds, logs, ladders, slow)
    assert not slow[:tiles].any()
    pair = Pair(powers.decode, plain_tiles.decode, 9)
    found = pair.agree(codes, 0, tiles, count // 16, ladders, 0, grid.bits, np.zeros(codes.size, F32), 0)
    assert len(np.unique(found[7])) > (1 << spec.bits) // 2
