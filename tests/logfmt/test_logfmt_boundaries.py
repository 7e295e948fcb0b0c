"""LogFMT where it is hardest: numbers on a boundary between two levels, and as near to one as can be found.

How near numbers come to a boundary (`benchmarks/logfmt_worst_cases.py`, 10 million boundaries each, LINEAR,
base E, codes from the stored numbers): float32 in wide tiles 2**-50.7; float32 in tiles of a few ULPs
2**-56.4; the number 1 in tiles around it 2**-52 for float32 (2**-49 with BF16 metadata) and 2**-105 for
float64 (2**-107). Constructed: 2**-46 for float32 and 2**-104 for float64 with levels from unrounded
extremes. Each is a test here.
"""

import itertools
from fractions import Fraction

import logfmt_cases as cases
import mpmath
import numba
import numpy as np
import pytest
import reference_logfmt as oracle
from numba import types
from numba.extending import intrinsic

import precision as pr
from precision._kernels._llvm_pieces import counted_loop
from precision._kernels._numba_codegen import nothing, pointer
from precision._kernels.logfmt._llvm_lanes import FLOAT, I64, Lanes
from precision._kernels.logfmt._llvm_logarithms import LOG2_ERROR, Line, Places
from precision.logfmt import BelowClamp, LogBase, LogFMT, Metadata, Space

F = np.float32
EVEN, AWAY = cases.EVEN, cases.AWAY
UNROUNDED = {"from_stored": False}
EXTREMES = {"metadata": Metadata.EXTREMES}


#: The package decides such a number as if it lay on the boundary (remove once it does not).


def agrees(x, spec):
    __tracebackhide__ = True
    codes, metadata, wanted = cases.differences(x, spec)
    assert (codes, metadata) == (0, 0), spec
    return wanted


def distance(spec, low, v, high):
    """log2 of v's relative distance from the nearest boundary; -inf on it."""
    plain = cases.plain(spec)
    tile = oracle.tile_of(Fraction(low), Fraction(high), False, plain)
    k = oracle.magnitude(Fraction(v), tile, None, plain)
    found = []
    with mpmath.mp.workprec(500):
        for i in (max(1, k - 1), min(k, plain.steps)):
            terms = oracle.boundary(tile, i, None, plain)
            at = mpmath.fsum(oracle.number(weight) * term.value() for weight, term in terms)
            found.append(abs(mpmath.mpf(v) / at - 1))
        return float(mpmath.log(min(found), 2)) if min(found) else -np.inf


# ---- ties ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, UNROUNDED, EXTREMES], ids=["min_step", "unrounded", "extremes"])
@pytest.mark.parametrize(
    ("space", "ties"), [(Space.LINEAR, [1.5, 3, 6, 12, 24, 48]), (Space.LOG, [2, 8, 32])], ids=str
)
def test_ties_between_powers_of_two(space, ties, options):
    """Levels 1, 2, 4, ... 64, or 1, 4, 16, 64 of which the geometric means are numbers."""
    bits, last = (4, 64) if space is Space.LINEAR else (3, 16)
    ties = [t for t in ties if t < last]
    x = F([1, last, *ties, *(-t for t in ties)])
    found = {}
    for rounding in (EVEN, AWAY):
        spec = LogFMT(bits, base=LogBase.TWO, space=space, rounding=rounding, clamp=None, **options)
        agrees(np.concatenate([x, np.nextafter(x, F(0))[2:], np.nextafter(x, F(100))[2:]]), spec)
        found[rounding] = pr.quantize(x, spec).codes[2 : 2 + len(ties)].tolist()
    below = range(1, len(ties) + 1)
    assert found[EVEN] == [k + k % 2 for k in below]
    assert found[AWAY] == [k + 1 for k in below]


@pytest.mark.parametrize("options", [UNROUNDED, EXTREMES], ids=["unrounded", "extremes"])
@pytest.mark.parametrize("base", list(LogBase))
def test_ties_between_other_numbers(base, options):
    """From 1 to 81 by 9, with levels from the extremes themselves: means 5 and 45, or 3 and 27.

    From 3 to 3 * 5**6 by 5, and from 2**-20 * 3**6 to 2**-20 * 5**6 by 5/3.
    """
    tiles = [
        (3, [1, 5, 45, 3, 27, 9, 81]),
        (4, [3, 9, 15, 45, 75, 1125, 5625, 46875]),
        (4, [2.0**-20 * 3**a * 5 ** (6 - a) * n for a in range(7) for n in (1, 4 / 3)][1:-1]),
    ]
    for bits, numbers in tiles:
        for space, rounding in itertools.product(Space, (EVEN, AWAY, pr.Stochastic(1), pr.Stochastic(3))):
            spec = LogFMT(bits, base=base, space=space, rounding=rounding, **options)
            agrees(F(numbers), spec)
            agrees(np.array(numbers) * 2.0**-900, LogFMT(bits, space=space, rounding=rounding, **UNROUNDED))
    assert pr.quantize(F([1, 5, 45, 81]), LogFMT(3, base=base, **options)).codes.tolist() == [1, 2, 2, 3]
    log = LogFMT(3, base=base, space=Space.LOG, rounding=AWAY, **options)
    assert pr.quantize(F([1, 3, 27, 81]), log).codes.tolist() == [1, 2, 3, 3]


def symmetric(unit):
    """Tiles around 1 whose BF16 min and step put two levels symmetric about it: (step, bits, xmin, xmax).

    From the smallest step on, one tile for each step and width. (In float64, but for 1 - i*unit.)
    """
    found = {}
    i, j = np.meshgrid([1, 2, 3, 4, 5, 8, 15, 16, 32, 64], np.arange(1, 4000))

    def stored(x):
        fraction, exponent = np.frexp(x)
        return np.ldexp(np.rint(np.ldexp(fraction, 8)), exponent - 8)

    for bits in range(3, 17):
        n = (1 << (bits - 1)) - 2
        start, high = np.log1p(-i * unit), np.log1p(2 * j * unit)
        step = stored((high - start) / n)
        turns = -2 * stored(start) / step
        for at in np.argwhere((turns == np.rint(turns)) & (turns % 2 == 1) & (turns < 2 * n)):
            at = tuple(at)
            found[step[at], bits] = (1 - i[at] * unit, 1 + 2 * j[at] * unit)
    return [(step, bits, float(low), float(high)) for (step, bits), (low, high) in sorted(found.items())]


@pytest.mark.parametrize("rounding", [EVEN, AWAY], ids=str)
def test_a_tie_with_base_e(rounding):
    """The only one: two levels symmetric about 1 (by logarithm), which 16-bit min and step can be."""
    tiles = symmetric(2.0**-12)
    assert len(tiles) > 20
    for _, bits, low, high in tiles[:: len(tiles) // 12]:
        spec = LogFMT(bits, space=Space.LOG, metadata_format=pr.BF16, rounding=rounding)
        assert distance(spec, low, 1.0, high) == -np.inf
        agrees(F([low, 1, high, np.nextafter(F(1), F(0)), np.nextafter(F(1), F(2))]), spec)


@pytest.mark.parametrize("bits", [3, 8, 10])
def test_the_boundary_of_zero(bits):
    """Half of the lowest level, and a level below it."""
    for below, rounding in itertools.product(BelowClamp, (EVEN, AWAY, pr.Stochastic(2), pr.Stochastic(32))):
        for space, options in itertools.product(Space, ({}, UNROUNDED, EXTREMES)):
            spec = LogFMT(
                bits, base=LogBase.TWO, clamp=2, below_clamp=below, rounding=rounding, space=space, **options
            )
            ends = F([1, 0.25, 0.125, 0.0625, 0.1767767, 0.1875, 0.03125])
            more = [np.nextafter(ends, F(2)), np.nextafter(ends, F(0))]
            agrees(np.concatenate([ends, -ends, *more]), spec)
    x = F([1, 0.125, -0.125])
    wide = LogFMT(bits, base=LogBase.TWO, clamp=2)
    assert pr.quantize(x, wide).codes[1:].tolist() == [0, 1 << (bits - 1)]
    assert pr.quantize(x, LogFMT(bits, base=LogBase.TWO, clamp=2, rounding=AWAY)).codes[1] == 1


@pytest.mark.parametrize("clamp", [1, 5, 32, 100])
def test_the_edge_of_the_clamp(clamp):
    """At the clamp itself and a ULP to each side."""
    for high in (1.0, 3.0, 1.9999999, 2.0**20):
        edge = F(high * 2.0**-clamp)
        for low in (np.nextafter(edge, F(0)), edge, np.nextafter(edge, F(1))):
            for options in ({}, UNROUNDED, EXTREMES, {"below_clamp": BelowClamp.ZERO}, {"base": LogBase.TWO}):
                agrees(F([low, high, np.sqrt(low * high), low * 1.01]), LogFMT(6, clamp=clamp, **options))


# ---- beside boundaries --------------------------------------------------------------------------------

TILES = [(0.37, 11.0), (1.0, 1.5), (0.9, 1.1), (3e-39, 5e-38), (1e-5, 3e30)]


@pytest.mark.parametrize("bits", range(3, 17))
def test_the_neighbours_of_boundaries(bits):
    """The last number not above a boundary and the next one, of float32 and of float64."""
    options = [{}, UNROUNDED, {**EXTREMES, "metadata_format": pr.BF16}, {"metadata_format": pr.FP16}]
    for n, (low, high) in enumerate(TILES):
        for dtype, space in itertools.product((np.float32, np.float64), Space):
            chosen = options[(n + bits) % 4]
            base = list(LogBase)[(n + bits // 2) % 2]
            spec = LogFMT(bits, 4096, base=base, space=space, below_clamp=BelowClamp.NEXT_LEVEL, **chosen)
            plain = cases.plain(spec)
            ends = dtype([F(low), F(high)])
            tile = oracle.encode(ends, plain).tiles[0]
            first, last = oracle.first_boundary(tile, plain), plain.steps
            which = np.unique(np.linspace(first, last, 8).astype(int))
            beside = [v for k in which for v in oracle.beside(tile, int(k), None, plain, dtype)]
            inside = [v for v in beside if ends[0] < v < ends[1]]
            wanted = agrees(dtype([*ends, *inside]), spec)
            assert len(inside) > 3 and wanted.tiles.size == 1


@pytest.mark.parametrize("rounding", [pr.Stochastic(1), pr.Stochastic(4, seed=2), pr.Stochastic(32, seed=1)])
@pytest.mark.parametrize("space", list(Space))
def test_the_neighbours_of_stochastic_boundaries(space, rounding):
    """The element's own random integer says where its boundary is."""
    spec = LogFMT(7, 4096, space=space, rounding=rounding)
    plain = cases.plain(spec)
    ends = F([0.3, 20])
    tile = oracle.encode(ends, plain).tiles[0]
    x = list(ends)
    for k in range(1, 62):
        for turn in (0, 1):
            random = int(oracle.random_integers(rounding.seed, len(x), rounding.bits))
            x.append(oracle.beside(tile, k, oracle.threshold(random, plain), plain)[turn])
    x = np.clip(F(x), *ends)
    agrees(x, spec)


# ---- worst cases --------------------------------------------------------------------------------------

FOUND = [
    # bits, smallest, number, largest, metadata, log2 of the distance
    (3, "0x1.c5d27ep-16", "0x1.4149b6p-8", "0x1.c46954p+1", pr.FP32, -50.65),
    (10, "0x1.e6b596p-7", "0x1.09c5f0p-6", "0x1.7c2742p+2", pr.FP32, -47.80),
    (4, "0x1.5d3832p-20", "0x1.b385a6p+2", "0x1.97a6d4p+3", pr.FP32, -47.44),
    (6, "0x1.45ac56p-3", "0x1.282fcp-2", "0x1.0e9c76p+3", pr.FP32, -46.14),
    (14, "0x1.fffff8p-1", "0x1.000002p+0", "0x1.000004p+0", pr.FP32, -56.42),
    (10, "0x1.fffff8p-1", "0x1.000002p+0", "0x1.000004p+0", pr.FP32, -52.42),
    (14, "0x1.ffff08p-1", "0x1.ffff64p-1", "0x1.00000ap+0", pr.FP32, -49.78),
    (16, "0x1.ffff2ep-1", "0x1p+0", "0x1.000048p+0", pr.FP32, -51.61),
    (16, "0x1.fff528p-1", "0x1p+0", "0x1.00035ep+0", pr.FP32, -51.99),
    (13, "0x1.fffcbp-1", "0x1p+0", "0x1.000414p+0", pr.FP32, -49.91),
    (9, "0x1.fffe9ap-1", "0x1p+0", "0x1.00014ap+0", pr.BF16, -49.00),
    (9, "0x1.ffff76p-1", "0x1p+0", "0x1.0001b8p+0", pr.BF16, -49.00),
    (3, "0x1.ffffffffffffap-1", "0x1p+0", "0x1.0000000000001p+0", pr.FP32, -105.00),
    (7, "0x1.ffffffffffff2p-1", "0x1p+0", "0x1.0000000000075p+0", pr.FP32, -105.00),
    (9, "0x1.fffffffffffedp-1", "0x1p+0", "0x1.00000000000f5p+0", pr.BF16, -107.00),
    (11, "0x1.fffffffffff17p-1", "0x1p+0", "0x1.000000000038bp+0", pr.BF16, -107.00),
]


@pytest.mark.parametrize(
    "case",
    [pytest.param(c, id=f"{c[0]}-{c[-1]}") for c in FOUND],
)
def test_found_worst_cases(case):
    bits, *numbers, fmt, expected = case
    low, v, high = (float.fromhex(n) for n in numbers)
    spec = LogFMT(bits, metadata_format=fmt)
    assert distance(spec, low, v, high) == pytest.approx(expected, abs=0.01)
    x = np.array([low, v, high, -v])
    for rounding, space in itertools.product((EVEN, AWAY), Space):
        agrees(x, LogFMT(bits, metadata_format=fmt, rounding=rounding, space=space))
        if np.array_equal(F(x), x):
            agrees(F(x), LogFMT(bits, metadata_format=fmt, rounding=rounding, space=space))


@pytest.mark.parametrize(("unit", "least"), [(2.0**-24, -49), (2.0**-53, -107)])
@pytest.mark.parametrize("base", list(LogBase))
def test_constructed_worst_cases(unit, least, base):
    """The mean of b**(-s/2) and b**(s/2) exceeds 1 by s**2/8, with s as small as narrow tiles make it."""
    tiles = symmetric(unit)[:12]
    for _, bits, low, high in tiles:
        for rounding in (EVEN, AWAY):
            spec = LogFMT(bits, base=base, metadata_format=pr.BF16, rounding=rounding)
            agrees(np.array([low, 1, high]), spec)
    if base is LogBase.E:
        _, bits, low, high = tiles[0]
        assert distance(LogFMT(bits, metadata_format=pr.BF16), low, 1.0, high) == pytest.approx(
            least, abs=0.1
        )


@pytest.mark.parametrize("options", [UNROUNDED, EXTREMES], ids=["unrounded", "extremes"])
@pytest.mark.parametrize("unit", [2.0**-23, 2.0**-52])
@pytest.mark.parametrize("bits", [3, 4, 7, 8, 12, 16])
def test_worst_cases_of_unrounded_extremes(bits, unit, options):
    """From 1 - i*u to 1 + j*u with i : j as the boundary parts the tile, 1 is off it by u**2 only.

    u**2 is 2**-46 in float32 and 2**-104 in float64 (whose extremes FP32 can't store).
    """
    n = (1 << (bits - 1)) - 2
    for k in sorted({1, 2, n // 3 + 1, n // 2, n}):
        i, j = 2 * k - 1, 2 * n - 2 * k + 1
        x = np.array([1 - i * unit, 1, 1 + j * unit])
        for space, base in itertools.product(Space, LogBase):
            agrees(x, LogFMT(bits, base=base, space=space, **options))
    for r in (1, 3):  # a level at the geometric mean of 1 - r*u and 1 + r*u: 1 lies u**2/2 above it
        x = np.array([1 - r * unit, 1, 1 + r * unit])
        for seed in range(3):
            agrees(x, LogFMT(bits, rounding=pr.Stochastic(1, seed=seed), **UNROUNDED))


# ---- the bounds that the vector loop rests on ---------------------------------------------------------


@intrinsic
def polynomial_log2(typingctx, bits, runs, out):
    """Write the loops' own log2 of runs of 16 float32."""

    def codegen(context, builder, sig, args):
        lanes = Lanes(context, builder)
        source = builder.bitcast(pointer(context, builder, bits, args[0], I64(0)), lanes.words.as_pointer())
        target = builder.bitcast(pointer(context, builder, out, args[2], I64(0)), lanes.floats.as_pointer())
        places = Places(lanes, Line(*(FLOAT(x) for x in (0.0, 1.0, 0.0, 0.0, 0.0, 0.0))))

        def body(k, _):
            word = builder.load(builder.gep(source, [k]), align=4)
            builder.store(places.find([word])[0], builder.gep(target, [k]), align=4)
            return []

        counted_loop(builder, builder.mul(args[1], I64(16 // lanes.count)), [], body)
        return nothing(context)

    return types.void(bits, types.intp, out), codegen


def test_the_logarithm_of_every_significand():
    @numba.njit
    def logarithms(bits, out):
        polynomial_log2(bits, len(bits) // 16, out)

    for first in range(0, 1 << 23, 1 << 20):
        x = (np.arange(first, first + (1 << 20), dtype=np.uint32) + np.uint32(0x3F800000)).view(np.float32)
        found = np.empty_like(x)
        logarithms(x.view(np.uint32), found)
        assert np.abs(found - np.log2(x.astype(np.float64))).max() < LOG2_ERROR
