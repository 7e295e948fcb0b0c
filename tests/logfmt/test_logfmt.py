"""LogFMT against `reference_logfmt` on every code and number of metadata, and what must hold of any tile."""

import itertools

import logfmt_cases as cases
import numpy as np
import pytest
import reference as ref
import reference_logfmt as oracle
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import precision as pr
from precision.logfmt import BelowClamp, LogBase, LogFMT, Metadata, Space
from precision.quantization import NonFinite

F = np.float32
PAIRS = cases.pairs()


# ---- the oracle itself --------------------------------------------------------------------------------


def test_the_quick_oracle_is_the_slow_one():
    """And its random integers are those of `reference`."""
    for seed, index, bits in itertools.product((0, 7, 2**63 + 5), (0, 99, 2**33 + 1), (1, 8, 32)):
        found = oracle.random_integers(seed, np.array([index]), bits)
        assert found[0] == ref.random_integer(seed, index, bits)
    for n, spec in enumerate(PAIRS[:30]):
        plain = cases.plain(spec)
        if plain.fallback is not None:
            continue
        x = cases.families(20, np.float64, n)[("normal", "huge range", "halfway", "special")[n % 4]]
        encoded = oracle.encode(x, plain)
        for i, value in enumerate(x):
            random = (
                ref.random_integer(plain.stochastic[1], i, plain.stochastic[0]) if plain.stochastic else 0
            )
            tile = encoded.tiles[i // plain.block_size]
            assert oracle.code(ref.from_float(value), tile, random, plain) == encoded.codes[i]


def test_primitive_roots():
    for g, m in (
        ("3/2", 2),
        ("2", 14),
        ("6", 7),
        ("5/3", 1),
        ("16777217/16777215", 1),
        ("9007199254740991", 1),
    ):
        fraction = oracle.Fraction(g)
        assert oracle.primitive(fraction**m) == (fraction, m)


# ---- every code ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", range(len(PAIRS)), ids=lambda n: str(PAIRS[n]))
def test_codes_and_metadata(n):
    """Each two values of two options together; five kinds of input for each spec, in one of four types."""
    spec, dtype = PAIRS[n], cases.DTYPES[n % 4]
    found = cases.families(min(3 * spec.block_size + 3, 150), dtype, n)
    names = list(found)
    for i in range(5):
        name = names[(n + 3 * i) % len(names)]
        codes, metadata, _ = cases.differences(found[name], spec)
        assert (codes, metadata) == (0, 0), (name, dtype)


@pytest.mark.parametrize("bits", range(3, 17))
def test_all_kinds_of_input_at_every_width(bits):
    for name, x in cases.families(150, F, bits).items():
        for spec in (LogFMT(bits), LogFMT(bits, metadata=Metadata.EXTREMES, metadata_format=pr.BF16)):
            codes, metadata, _ = cases.differences(x, spec)
            assert (codes, metadata) == (0, 0), (name, spec)


@pytest.mark.parametrize("dtype", cases.DTYPES, ids=str)
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_axes_and_ragged_tiles(axis, dtype):
    """Stochastic rounding too, whose index is that of the array, not of the tile."""
    x = cases.families(5 * 19 * 3, dtype, 1)["with zeros"].reshape(5, 19, 3)
    for spec in (
        LogFMT(6, 7),
        LogFMT(5, 4, rounding=pr.Stochastic(16, seed=5)),
        LogFMT(9, 2, metadata=Metadata.EXTREMES, fallback=pr.logfmt.Fallback(pr.BF16, 4)),
    ):
        assert cases.differences(x, spec, axis)[:2] == (0, 0)
        assert cases.differences(x[::-1, ::2], spec, axis)[:2] == (0, 0)


def test_deepep_preset():
    x = np.concatenate([s * v for s in (0.1, 1) for v in cases.families(1024, F, 5).values()])
    assert cases.differences(x, pr.DEEPEP_LOGFMT10)[:2] == (0, 0)


# ---- values -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", range(0, len(PAIRS), 7), ids=lambda n: str(PAIRS[n]))
def test_values_within_an_ulp(n):
    spec = PAIRS[n]
    for name in ("normal", "with zeros", "special", "few ulps"):
        x = cases.families(80, F, n)[name]
        q = pr.quantize(x, spec)
        assert cases.decode_errors(q, oracle.encode(x, cases.plain(spec))) <= 1, name


@pytest.mark.parametrize("base", list(LogBase))
@pytest.mark.parametrize("fmt", [pr.FP32, pr.BF16, pr.FP16], ids=str)
def test_every_code_of_many_metadata_within_an_ulp(base, fmt):
    """Levels from far below float32's range to far above it; those above are its largest number."""
    rng = np.random.Generator(np.random.Philox(4))
    spec = LogFMT(7, 128, base=base, metadata_format=fmt)
    dtype = pr.quantize(F([1]), spec).metadata[0].dtype
    start = np.concatenate([rng.uniform(-160, 100, 20), [-104, -103.3, -87.4, 80, 88.7, 127]])
    step = np.exp2(rng.uniform(-12, 1.5, start.size))
    metadata = start.astype(dtype), step.astype(dtype)
    codes = np.tile(np.arange(128, dtype=np.uint8), start.size)
    q = pr.LogFMTTensor(codes, metadata, spec, axis=0)
    tiles = np.empty(start.size, object)
    for i, (first, second) in enumerate(zip(*metadata, strict=True)):
        a, s = oracle.Fraction(float(first)), oracle.Fraction(float(second))
        grid = oracle.Grid(oracle.Fraction(1), "e" if base is LogBase.E else oracle.Fraction(2), a, s)
        tiles[i] = oracle.Tile(a, s, grid, grid)
    wanted = oracle.Encoded(codes, tiles, np.ones(start.size, bool), 0)
    assert cases.decode_errors(q, wanted) <= 1


@pytest.mark.parametrize("bits", [5, 8, 10, 16])
def test_all_codes_of_random_tiles_within_three_quarters_of_an_ulp(bits):
    """A million codes of tiles in the range of the vector loop, against 64-bit significands."""
    rng = np.random.Generator(np.random.Philox(bits))
    codes = 1 << bits
    low = rng.uniform(-118, 60, (1 << 20) >> bits).astype(F)
    step = (np.exp2(rng.uniform(-12, 5.9, low.size)) / (codes / 2 - 2)).astype(F)
    spec = LogFMT(bits, codes, base=LogBase.TWO)
    every = np.tile(np.arange(codes, dtype=spec.code_dtype), low.size)
    found = pr.LogFMTTensor(every, (low, step), spec, axis=0).dequantize().reshape(-1, codes)
    place = np.arange(1, codes // 2) - 1
    exact = np.exp2(low[:, None].astype(np.longdouble) + step[:, None].astype(np.longdouble) * place)
    error = np.abs(found[:, 1 : codes // 2] - exact) / np.spacing(exact.astype(F))
    assert error.max() < 0.75
    np.testing.assert_array_equal(found[:, codes // 2 :], -found[:, : codes // 2])
    assert np.all(np.signbit(found) == (np.arange(codes) >= codes // 2))


@pytest.mark.parametrize(("bits", "decibels"), [(6, 24.55), (8, 37.00), (10, 49.15)])
def test_signal_to_noise_on_normal_numbers(bits, decibels):
    x = np.random.Generator(np.random.Philox(12345)).standard_normal(2**20).astype(F)
    error = x - pr.quantize(x, LogFMT(bits)).dequantize().astype(float)
    found = 10 * np.log10((x.astype(float) ** 2).sum() / (error**2).sum())
    assert abs(found - decibels) < 0.03


# ---- properties ---------------------------------------------------------------------------------------

# Any float32 and numbers of few bits: LogFMT has no codes that `pst.numbers` could be hard for.
NUMBERS = st.one_of(
    st.floats(width=32, allow_nan=False, allow_infinity=False),
    st.builds(lambda n, e: float(np.ldexp(n, e)), st.integers(-511, 511), st.integers(-40, 20)),
)
TILES = st.lists(NUMBERS, min_size=1, max_size=40).map(F)
NEAREST = [s for s in PAIRS if not isinstance(s.rounding, pr.Stochastic) and s.fallback is None]
NO_FALLBACK = st.sampled_from([s for s in PAIRS if s.fallback is None])


@given(TILES, NO_FALLBACK)
@settings(max_examples=150, deadline=None)
def test_sign_symmetric(x, spec):
    plus, minus = pr.quantize(x, spec), pr.quantize(-x, spec)
    assert all(np.array_equal(a, b) for a, b in zip(plus.metadata, minus.metadata, strict=True))
    flipped = plus.codes ^ plus.codes.dtype.type(1 << (spec.bits - 1))
    if not spec.negative_zero:
        low = (1 << (spec.bits - 1)) - 1
        flipped = np.where(plus.codes & low == 0, 0, flipped)
    assert np.array_equal(minus.codes, flipped)


@given(TILES, st.sampled_from(NEAREST))
@settings(max_examples=150, deadline=None)
def test_monotone(x, spec):
    """To nearest; a random integer can part two equal numbers."""
    y = pr.quantize(x, spec).dequantize()
    for start in range(0, x.size, spec.block_size):
        tile = slice(start, start + spec.block_size)
        assert (np.diff(y[tile][np.argsort(x[tile], kind="stable")]) >= 0).all()


@given(TILES, NO_FALLBACK)
@settings(max_examples=150, deadline=None)
def test_zero_for_zero_or_below_the_clamp(x, spec):
    q = pr.quantize(x, spec)
    zero = (q.codes & ((1 << (spec.bits - 1)) - 1)) == 0
    assert zero[x == 0].all()
    for start in range(0, x.size, spec.block_size):
        tile = np.abs(x[start : start + spec.block_size].astype(float))
        lost = zero[start : start + spec.block_size] & (tile != 0)
        if spec.clamp is None or spec.below_clamp is BelowClamp.MIN or not lost.any():
            assert not lost.any()
            continue
        highest = tile.max()
        if spec.metadata is Metadata.EXTREMES or spec.metadata_format != pr.FP32:
            highest *= 1.5  # stored, it may be larger by as much, and so may be the lowest level
        assert tile[lost].max() <= np.ldexp(highest, -spec.clamp) * (1 + 2.0**-16)


SCALED = [
    LogFMT(8, from_stored=False),
    LogFMT(5, 7, from_stored=False, base=LogBase.TWO, space=Space.LOG, below_clamp=BelowClamp.NEXT_LEVEL),
    LogFMT(12, metadata=Metadata.EXTREMES),
    LogFMT(9, metadata=Metadata.EXTREMES, skip_zeros=False, clamp=9, rounding=pr.Stochastic(12)),
]


@given(TILES, st.sampled_from(SCALED), st.integers(-60, 60))
@settings(max_examples=150, deadline=None)
def test_powers_of_two_leave_the_codes_alone(x, spec, shift):
    """Where codes do not come from rounded logarithms."""
    scaled = np.ldexp(x.astype(float), shift)
    if spec.metadata is Metadata.EXTREMES:  # must be exact in FP32
        assume(np.abs(scaled).max() < 2.0**128 and np.array_equal(scaled.astype(F).astype(float), scaled))
    assert np.array_equal(pr.quantize(scaled, spec).codes, pr.quantize(x, spec).codes)


@given(TILES, st.integers(3, 16), st.sampled_from(list(LogBase)), st.sampled_from(list(Metadata)))
@settings(max_examples=200, deadline=None)
def test_extremes_are_met(x, bits, base, metadata):
    """FP32 extremes: exactly. Logarithms in FP32: within 2 + |log xmin| + log(xmax/xmin) ULPs of float32.

    Each of min and step is off by 2**-24 of itself at most, min is then at most log xmin, N steps the rest;
    an ULP (below the number) is at least 2**-24 of it, and two are for the value's own rounding.
    """
    q = pr.quantize(x, LogFMT(bits, base=base, metadata=metadata, clamp=None))
    y = q.dequantize()
    nonzero = np.abs(x[x != 0])
    if nonzero.size:
        low, high = float(nonzero.min()), float(nonzero.max())
        allowed = 0 if metadata is Metadata.EXTREMES else 2 + abs(np.log(low)) + np.log(high / low)
        for end in (low, high):
            got = np.abs(y)[np.abs(x) == F(end)].astype(float)
            assert (np.abs(got - end) <= allowed * (end - float(np.nextafter(F(end), F(0))))).all()


def test_zeros_beside_the_least_normal_numbers():
    """Where a step is so wide that 2**-127 would lie nearer to the lowest level than half a step."""
    x = np.zeros((8, 128), np.float32)
    x[:, 0::3] = -0.0
    x[:, 1::3] = np.ldexp(np.float32(1.02), -126)
    x[:, 2] = np.ldexp(np.float32(1.5), np.arange(-125, -93, 4))
    for bits, space in itertools.product((3, 4, 5, 8), Space):
        tensor = pr.quantize(x, LogFMT(bits, space=space))
        codes = tensor.codes.astype(int)
        assert np.array_equal(codes[x == 0], np.signbit(x[x == 0]) << bits - 1)
        assert (codes[x != 0] & 2 ** (bits - 1) - 1).all()


@given(
    st.lists(st.floats(0.5, 2.0**20, width=32), min_size=2, max_size=40).map(F),
    st.integers(3, 8),
    st.sampled_from(list(LogBase)),
    st.sampled_from(list(Space)),
    st.sampled_from(list(Metadata)),
)
@settings(max_examples=150, deadline=None)
def test_idempotent_in_codes(x, bits, base, space, metadata):
    """With FP32 metadata, in a tile that is not clamped and whose step is no matter of ULPs."""
    assume(x.max() / x.min() > 1.01)
    spec = LogFMT(bits, base=base, space=space, metadata=metadata)
    q = pr.quantize(x, spec)
    assert np.array_equal(pr.quantize(q.dequantize(), spec).codes, q.codes)


def recoded(x, spec):
    q = pr.quantize(F(x), spec)
    return q.codes.tolist(), pr.quantize(q.dequantize(), spec).codes.tolist()


def test_where_codes_are_not_idempotent():
    """What is below the clamp becomes zero, and is gone from the smallest magnitude the second time."""
    lost = [1e-30, 60000, 2.0**32]  # levels 1, 2**16 and 2**32; then 2**16, 2**24 and 2**32
    for below in (BelowClamp.NEAREST, BelowClamp.ZERO, BelowClamp.NEXT_LEVEL):
        assert recoded(lost, LogFMT(3, below_clamp=below)) == ([0, 2, 3], [0, 1, 3])
    kept = LogFMT(3, below_clamp=BelowClamp.MIN)
    assert recoded(lost, kept) == ([1, 2, 3], [1, 2, 3])
    assert recoded(lost, LogFMT(3, skip_zeros=False)) == ([0, 2, 3], [0, 2, 3])


# ---- stochastic rounding ------------------------------------------------------------------------------


def test_stochastic_rounding_in_linear_space_is_unbiased():
    """Within 5 standard errors, at every place between two levels; to nearest is not, whatever the space."""
    tile = np.full(130, 1.0)
    tile[1], places = 16.0, np.linspace(1, 16, 128)
    tile[2:] = places  # levels 1, 2**(2/3), ... 16: all between
    x = np.tile(F(tile), 4096)

    def bias(**options):
        q = pr.quantize(x, LogFMT(4, 130, base=LogBase.TWO, **options))
        return (q.dequantize().astype(float) - x).reshape(-1, 130)[:, 2:].mean(axis=0)

    levels = np.exp2(np.arange(7) * (4 / 6))
    gap = np.interp(places, levels, np.append(np.diff(levels), levels[-1] - levels[-2]))
    stochastic = bias(rounding=pr.Stochastic(32, seed=9))
    widest = np.diff(levels)[np.clip(np.searchsorted(levels, places, "right") - 1, 0, 5)]
    limit = 5 * widest / 2 / np.sqrt(4096) + 1e-5
    assert (np.abs(stochastic) < limit).all() and (gap > 0).all()
    assert (np.abs(bias()) > limit).sum() > 90
    whole = np.abs(stochastic.mean())
    assert whole < 5 * widest.max() / 2 / np.sqrt(4096 * 128)
    assert (np.abs(bias(rounding=pr.Stochastic(32), space=Space.LOG)) > limit).sum() > 60


def test_few_random_bits_round_as_documented():
    """t = (2**n - r) / 2**n: with one bit half of the numbers go up from the middle, none below it."""
    x = np.concatenate([[1, 4], np.full(1000, 2.5), np.full(1000, 2.4), np.full(1000, 3.9)]).astype(F)
    spec = LogFMT(3, 4096, clamp=None, rounding=pr.Stochastic(1), metadata=Metadata.EXTREMES)
    assert np.array_equal(pr.quantize(x[[0, 1]], spec).codes, [1, 3])
    codes = pr.quantize(x, spec).codes
    t = (2 - oracle.random_integers(0, np.arange(x.size), 1)) / 2
    wanted = np.where(x < 2, 1, np.where(x >= 2 + t * 2, 3, 2))
    assert np.array_equal(codes[2:], wanted[2:])


def test_non_finite_numbers():
    x = F([1, -np.inf, np.nan, -np.nan, np.inf, 0, -3])
    q = pr.quantize(x, LogFMT(4))
    assert np.isnan(q.metadata[0]).all() and np.isnan(q.metadata[1]).all()
    assert not q.codes.any() and np.isnan(q.dequantize()).all()
    q = pr.quantize(x, LogFMT(4, non_finite=NonFinite.FINITE_AMAX))
    assert q.codes.tolist() == [1, 15, 7, 7, 7, 0, 15]
    assert np.allclose(q.dequantize(), [1, -3, 3, 3, 3, 0, -3], rtol=1e-6)
