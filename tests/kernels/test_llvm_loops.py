"""Loops and operations written in LLVM give the bits of the same ones that Numba compiles from Python."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numba
import numpy as np
import pytest

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
from precision._kernels.numbers import _llvm_squares as squares
from precision._kernels.numbers import _plain_groups as plain_groups
from precision._kernels.products import _llvm_narrow_step, _plain_narrow_step
from precision._support.machine._aligned_memory import aligned
from precision.formats._codec_constants import format_params, short_params
from precision.logfmt._tile_loops import grid_of
from precision.quantization._group_loops import _decoding as decoding_of

F32, I32, U32 = np.float32, np.int32, np.uint32


def calls(function: Any, count: int, mode: int | None = None) -> Any:
    """Compile a call of a function that only compiled code can call, in a rounding mode if one is given."""
    names = ", ".join(f"x{i}" for i in range(count))
    lines = [f"def call({names}):", f"    return function({names})"]
    if mode is not None:
        lines = [lines[0], "    keep_apart()", f"    set_rounding(I32({mode}))", f"    function({names})",
                 "    set_rounding(I32(1))"]  # fmt: skip
    space = {"function": function, "I32": np.int32}
    space |= {"keep_apart": vectors.keep_apart, "set_rounding": vectors.set_rounding}
    exec("\n".join(lines), space)
    return numba.njit(space["call"])


def own(value: Any) -> Any:
    """Copy an array to aligned memory."""
    if not isinstance(value, np.ndarray):
        return value
    copy = aligned(value.size, value.dtype)
    copy[:] = value.reshape(-1)
    return copy.reshape(value.shape)


def bits(array: np.ndarray) -> np.ndarray:
    """View an array as unsigned words, with one pattern for all NaN."""
    words = array.view(f"u{array.itemsize}").copy()
    if array.dtype.kind == "f":
        words[np.isnan(array)] = np.iinfo(words.dtype).max
    return words


class Pair:
    """A loop in LLVM and the same in Python, each called with copies of the same arrays."""

    def __init__(self, loop: Any, plain: Callable[..., None], count: int, mode: int | None = None) -> None:
        self.loop, self.plain = calls(loop, count, mode), calls(numba.njit(plain), count)

    def agree(self, *arguments: Any) -> list[Any]:
        """Compare all arrays after a call of each; returns them."""
        ours, others = [own(x) for x in arguments], [own(x) for x in arguments]
        self.loop(*ours)
        self.plain(*others)
        for mine, other in zip(ours, others, strict=True):
            if isinstance(mine, np.ndarray):
                np.testing.assert_array_equal(bits(mine), bits(other))
        return ours


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


# ---- products --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("dtype", "lanes"), [(np.int8, 64), (np.int16, 32)])
def test_largest_exponents(dtype, lanes):
    rng, limits = np.random.default_rng(2), np.iinfo(dtype)
    pair = Pair(vectors.largest_exponents, plain_vectors.largest_exponents, 6)
    for count in (1, 2, 7):
        ae = rng.integers(limits.min, limits.max, 20, dtype, endpoint=True)
        be = rng.integers(limits.min, limits.max, (count + 1) * lanes, dtype, endpoint=True)
        ae[:2] = be[: lanes // 2] = limits.min
        be[lanes // 2 : lanes] = limits.max
        pair.agree(count, ae, 1, be, lanes, np.zeros(lanes, dtype))


def halves(values: np.ndarray) -> np.ndarray:
    """Positive parts of each row, then its negative parts."""
    return np.concatenate([np.maximum(values, 0), np.maximum(-values, 0)], axis=1)


@pytest.mark.parametrize(("dtype", "lanes"), [(np.float32, 64), (np.float64, 32)])
def test_cut_products(dtype, lanes):
    rng = np.random.default_rng(3)
    pair = Pair(vectors.add_cut_products, plain_vectors.add_cut_products, 6, mode=0)
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


def test_scaled_products():
    rng = np.random.default_rng(4)
    pair = Pair(vectors.add_scaled_products, plain_vectors.add_scaled_products, 8)
    a = (rng.integers(-240, 241, 20) * 2.0**-6).astype(F32)
    b = (rng.integers(-240, 241, 20 * 64) * 2.0**-6).astype(F32)
    scale = np.exp2(rng.integers(-20, 14, 64)).astype(F32)
    sums = rng.integers(-1000, 1000, 128, np.int32)
    found = pair.agree(16, a, 2, b, 64, scale, sums, 64)
    assert (found[6][64:] != sums[64:]).any() and (found[6][:64] == sums[:64]).all()


def test_chained_products():
    rng = np.random.default_rng(5)
    pair = Pair(vectors.chain_products, plain_vectors.chain_products, 7)
    a = np.ldexp(rng.standard_normal(40), rng.integers(-70, 60, 40)).astype(F32)
    b = np.ldexp(rng.standard_normal(40 * 64), rng.integers(-79, 60, 40 * 64)).astype(F32)
    sums = np.ldexp(rng.standard_normal(64), rng.integers(-149, 120, 64)).astype(F32)
    sums[:3] = np.inf, -np.inf, -0.0
    b[64:67] = -np.inf, 0.0, -0.0
    pair.agree(33, a, 1, b, 64, sums, 0)
    pair.agree(1, a, 1, b, 64, sums, 0)


@pytest.mark.parametrize(("fraction_bits", "mask"), [(13, 0xFFFFFC00), (12, 0xFFFFF800), (13, 0xFFFFFFFF)])
def test_narrow_steps(fraction_bits, mask):
    """Steps over FP8 values, with zeros, both signs and registers far above and below the products."""
    rng = np.random.default_rng(fraction_bits)
    table = pr.decode(np.arange(256, dtype=np.uint8), pr.E4M3)
    table = table[np.isfinite(table)]
    rows, steps, products, depth = 3, 2, 32, 64
    pair = Pair(_llvm_narrow_step.narrow_steps, _plain_narrow_step.narrow_steps, 14)
    a = rng.choice(table, rows * depth)
    b = rng.choice(table, (depth, 64))
    b[:, 5] = a[:depth] = 0.0
    with np.errstate(divide="ignore"):
        ea, eb = (np.floor(np.log2(np.abs(x))) for x in (a, b))
    ea, eb = (np.where(np.isfinite(e), np.maximum(e, -6) - 8, -128).astype(np.int8) for e in (ea, eb))
    registers = np.ldexp(rng.standard_normal(rows * 64), rng.integers(-40, 40, rows * 64)).astype(F32)
    registers[::7] = 0.0
    registers = (registers.view(np.uint32) & U32(mask)).view(F32)
    found = pair.agree(
        rows, steps, products, a, ea, 0, depth, halves(b).reshape(-1), eb.reshape(-1), registers,
        I32(16), I32(-60), I32(23 - fraction_bits), U32(mask),
    )  # fmt: skip
    assert (found[9] != registers).mean() > 0.5


def test_streamed_copies():
    pair = Pair(vectors.stream, plain_vectors.stream, 5)
    for dtype in (np.uint8, np.uint16, np.uint32):
        source = np.arange(1024).astype(dtype)
        pair.agree(source, 64, np.zeros(2048, dtype), 128, 512)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32, np.uint64])
def test_squares_are_turned(dtype):
    """Between larger matrices; the one that is read lies across memory."""
    rng = np.random.default_rng(2)
    below = rng.integers(0, 1 << 63, (20, 37)).astype(dtype)
    call = calls(squares.turn_square, 7)
    plain = calls(numba.njit(plain_groups.turn_square), 7)
    found = [np.zeros(40 * 23, dtype) for _ in range(2)]
    for loop, out in zip((call, plain), found, strict=True):
        loop(below.T, 9, 3, below.shape[1], out, 2 * 23 + 5, 23)
    want = np.zeros((40, 23), dtype)
    want[2:18, 5:21] = below.T[9:25, 3:19]
    for out in found:
        np.testing.assert_array_equal(out.reshape(40, 23), want)


def test_memory_called_for_stays_as_it_is():
    pair = Pair(vectors.call_for, plain_vectors.call_for, 3)
    pair.agree(np.arange(100, dtype=np.float32), 90, 1000)


# ---- groups of 16 and 32 ---------------------------------------------------------------------------------


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
