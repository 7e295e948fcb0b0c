"""Rounding and codes against a table oracle, an integer oracle, and ml_dtypes."""

import re

import ml_dtypes
import numpy as np
import pytest
import reference
from hypothesis import example, given, settings
from hypothesis import strategies as st

from precision._kernels import _scalar_rounding as rounding_kernels
from precision._kernels._jit import jit
from precision._kernels._params import NO_SHORT, StochasticParams
from precision._kernels.numbers import _conversion_loops as kernels
from precision._support.machine import _aligned_memory
from precision._support.machine._threads import get_num_threads, set_num_threads
from precision.formats import (
    E2M1,
    E4M3,
    E4M3FNUZ,
    E5M2,
    E8M0,
    FP16,
    FP32,
    FP64,
    INT4,
    INT8,
    NAMED,
    UE4M3,
    FloatFormat,
    IntFormat,
    Overflow,
    Rounding,
    Specials,
    Stochastic,
    decode,
    encode,
    parse_format,
    round_to,
)
from precision.formats._codec import GRAIN
from precision.formats._codec_constants import MODES, code_ends, format_params, short_params, value_ends
from precision.testing.strategies import _format_strategies, _number_strategies

FLOATS = [fmt for fmt in NAMED.values() if isinstance(fmt, FloatFormat) and fmt != FP64]
ODD_ONES = [
    FloatFormat(4, 3, signed=False, specials=Specials.EXTENDED),
    FloatFormat(4, 3, specials=Specials.FN, subnormals=False),
    FloatFormat(3, 0, specials=Specials.NONE),
    FloatFormat(3, 0, specials=Specials.NONE, subnormals=False),
    FloatFormat(8, 2, specials=Specials.FNUZ),
    FloatFormat(5, 2, bias=-90),
    FloatFormat(5, 2, bias=140),
]
SMALL = [fmt for fmt in FLOATS if fmt.bits <= 16] + ODD_ONES
INTEGERS = [
    *(fmt for fmt in NAMED.values() if isinstance(fmt, IntFormat)),
    IntFormat(8, symmetric=False),
    IntFormat(12, fraction_bits=5),
    IntFormat(16, fraction_bits=24),
]
WORDS = np.arange(1 << 16, dtype=np.uint16)
SOURCES = {"float16": WORDS.view(np.float16), "bfloat16": WORDS.view(ml_dtypes.bfloat16)}


def oracle(fmt):
    specials = fmt.specials.value if fmt.signed or fmt.specials is not Specials.FNUZ else "fn"
    return reference.Format(
        fmt.exponent_bits, fmt.fraction_bits, fmt.bias, fmt.signed, specials, fmt.subnormals
    )


def codes_of(x, fmt, **options):
    """Codes as int64, a NaN's sign taken off (the oracle knows one NaN)."""
    codes = encode(x, fmt, **options).view(fmt.code_dtype).astype(np.int64)
    if fmt.nan_code is not None:
        magnitude = codes & fmt.magnitude_mask
        codes = np.where(magnitude == fmt.nan_code, fmt.nan_code, codes)
    return codes


def same_values(values, codes, fmt, wanted_bits):
    """`round_to`'s values are the codes' values, signs of zeros and NaNs included."""
    table = np.array([fmt.value(c) for c in range(1 << fmt.bits)]) if fmt.bits <= 16 else None
    want = decode(codes, fmt).astype(wanted_bits) if table is None else table[codes.view(fmt.code_dtype)]
    np.testing.assert_array_equal(values, want)
    assert np.array_equal(np.signbit(values), np.signbit(want) | (np.isnan(want) & np.signbit(values)))


def check_against_table(x, fmt, mode, overflow):
    with np.errstate(invalid="ignore"):
        wide = x.astype(np.float64)
    want = reference.table_round_array(wide, oracle(fmt), mode.value, overflow.value)
    options = {"rounding": mode, "overflow": overflow}
    if (want < 0).any():  # NaN, which the format does not have
        with pytest.raises(ValueError, match="has none"):
            encode(x, fmt, **options)
        zero_code = 0 if fmt.has_zero else int(encode(np.float32(1), fmt).view(fmt.code_dtype)[()])
        want = np.where(want < 0, zero_code, want)
        options["nan"] = 0.0 if fmt.has_zero else 1.0
    np.testing.assert_array_equal(codes_of(x, fmt, **options), want)
    same_values(round_to(x, fmt, **options), encode(x, fmt, **options), fmt, np.float64)


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("fmt", SMALL, ids=str)
def test_every_16_bit_input_against_the_table(fmt, source):
    for mode in Rounding:
        for overflow in Overflow:
            check_against_table(SOURCES[source], fmt, mode, overflow)


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("fmt", [fmt for fmt in FLOATS if fmt.bits > 16], ids=str)
def test_every_16_bit_input_is_kept_by_wider_formats(fmt, source):
    x = SOURCES[source]
    with np.errstate(invalid="ignore"):
        wide = x.astype(np.float32)
    for mode in Rounding:
        np.testing.assert_array_equal(round_to(x, fmt, rounding=mode, overflow=Overflow.NON_SATURATING), wide)
        codes = encode(wide, fmt, rounding=mode, overflow=Overflow.NON_SATURATING)
        np.testing.assert_array_equal(decode(codes, fmt), wide)
        finite = np.isfinite(wide)
        assert np.array_equal(round_to(x[finite], fmt, rounding=mode).view("u4"), wide[finite].view("u4"))


def integer_codes(x, fmt, mode):
    """Codes of finite values by floor and remainder, both exact in float64."""
    with np.errstate(over="ignore"):
        steps = np.abs(x) * 2.0**fmt.fraction_bits
    whole = np.floor(np.minimum(steps, 2.0**40))
    rest, odd, minus = np.minimum(steps, 2.0**40) - whole, whole % 2 == 1, np.signbit(x)
    up = {
        "ties_to_even": (rest > 0.5) | ((rest == 0.5) & odd),
        "ties_to_away": rest >= 0.5,
        "toward_zero": rest < 0,
        "toward_positive": (rest > 0) & ~minus,
        "toward_negative": (rest > 0) & minus,
        "to_odd": (rest > 0) & ~odd,
    }[mode.value]
    low, high = reference.int_limits(fmt.bits, fmt.signed, fmt.symmetric)
    return np.clip(np.where(minus, -1, 1) * (whole + up), low, high).astype(np.int64) % (1 << fmt.bits)


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("fmt", INTEGERS, ids=str)
def test_every_16_bit_input_into_integers(fmt, source):
    with np.errstate(invalid="ignore"):
        wide = SOURCES[source].astype(np.float64)
    number = ~np.isnan(wide)
    x = SOURCES[source][number]
    wide = np.nan_to_num(wide[number])
    for mode in Rounding:
        codes = encode(x, fmt, rounding=mode)
        np.testing.assert_array_equal(codes.view(fmt.code_dtype), integer_codes(wide, fmt, mode))
        values = round_to(x, fmt, rounding=mode)
        assert np.array_equal(values, decode(codes, fmt)) and not np.signbit(values[values == 0]).any()
        np.testing.assert_array_equal(codes[::997].view(fmt.code_dtype), [
            reference.int_round(reference.from_float(v), fmt.bits, signed=fmt.signed, mode=mode.value,
                                fraction_bits=fmt.fraction_bits, symmetric=fmt.symmetric)
            for v in x[::997].astype(np.float64)
        ])  # fmt: skip


def boundaries(fmt, dtype):
    """Values of a format, the midpoints between them and past the largest, and all their neighbours."""
    f = oracle(fmt)
    count = f.max_code + 1
    picked = set(range(min(count, 300)))
    if count > 300:
        picked = {*range(12), *range(count - 12, count), *np.random.default_rng(1).integers(0, count, 40)}
        for binade in range(0, f.max_code >> f.fraction_bits, 23):
            picked |= {(binade + 1 << f.fraction_bits) + near for near in (-2, -1, 0, 1)}
    values = []
    for code in sorted(picked):
        here, after = (reference.magnitude_value(int(c), f) for c in (code, code + 1))
        values += [float(here), float((here + after) / 2)]
    with np.errstate(over="ignore"):
        x = np.array([*values, float(reference.magnitude_value(f.max_code + 1, f))]).astype(dtype)
        x = np.concatenate([x, np.nextafter(x, dtype(0)), np.nextafter(x, dtype(np.inf))])
    tiny = np.finfo(dtype).smallest_subnormal
    x = np.concatenate([x, [0, tiny, np.finfo(dtype).max, np.inf]]).astype(dtype)
    return np.concatenate([x, -x])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("fmt", FLOATS + ODD_ONES, ids=str)
def test_boundaries_against_the_integer_oracle(fmt, dtype):
    x = boundaries(fmt, dtype)
    exact = [reference.from_float(v) for v in x]
    f = oracle(fmt)
    for mode in Rounding:
        want = np.array([reference.integer_round(v, f, mode.value, "saturate") for v in exact])
        np.testing.assert_array_equal(codes_of(x, fmt, rounding=mode), want)
        same_values(round_to(x, fmt, rounding=mode), encode(x, fmt, rounding=mode), fmt, dtype)
        if fmt.has_nan:
            want = np.array([reference.integer_round(v, f, mode.value, "non_saturating") for v in exact])
            options = {"rounding": mode, "overflow": Overflow.NON_SATURATING}
            np.testing.assert_array_equal(codes_of(x, fmt, **options), want)
            same_values(round_to(x, fmt, **options), encode(x, fmt, **options), fmt, dtype)


def numbers_and_formats():
    """A float32 or float64, and a format for which it is hard."""

    def of(fmt, dtype):
        return st.tuples(
            _number_strategies.arrays(fmt, dtype=dtype, max_size=1).map(lambda x: x[0]), st.just(fmt)
        )

    formats = _format_strategies.float_formats(max_bits=32, unusual=True)
    return st.tuples(formats, st.sampled_from([np.float32, np.float64])).flatmap(lambda pair: of(*pair))


# Any bits, where the public strategies prefer hard ones.
BITS32 = st.integers(0, 2**32 - 1).map(lambda n: np.uint32(n).view(np.float32))
BITS64 = st.integers(0, 2**64 - 1).map(lambda n: np.uint64(n).view(np.float64))


@settings(max_examples=500, deadline=None)
@given(
    case=numbers_and_formats()
    | st.tuples(BITS32 | BITS64, _format_strategies.float_formats(max_bits=32, unusual=True)),
    mode=_format_strategies.roundings(),
    overflow=_format_strategies.overflows(),
)
@example((np.float64(1 + 2**-4), E4M3), Rounding.TIES_TO_EVEN, Overflow.SATURATE)  # a tie
@example((np.float64(1 + 2**-4 + 2**-40), E4M3), Rounding.TIES_TO_EVEN, Overflow.SATURATE)  # a tie in float32
@example((np.float64(1 + 3 * 2**-4 - 2**-52), E4M3), Rounding.TIES_TO_AWAY, Overflow.SATURATE)
@example((np.float64(1 + 2**-24 + 2**-52), FP32), Rounding.TIES_TO_EVEN, Overflow.SATURATE)
@example((np.float64(464), E4M3), Rounding.TIES_TO_EVEN, Overflow.NON_SATURATING)  # the last that stays 448
@example((np.float64(464 + 2**-43), E4M3), Rounding.TIES_TO_EVEN, Overflow.NON_SATURATING)
@example((np.float32(-61440), E5M2), Rounding.TOWARD_ZERO, Overflow.NON_SATURATING)
@example((np.float32(2**-10), E4M3), Rounding.TIES_TO_EVEN, Overflow.SATURATE)  # half the smallest
@example((np.float32(2**-9 * 1.5), E4M3), Rounding.TO_ODD, Overflow.SATURATE)
@example((np.float32(2**-6 - 2**-12), E4M3), Rounding.TOWARD_POSITIVE, Overflow.SATURATE)  # into the normals
@example((np.float32(1e-45), E4M3), Rounding.TOWARD_POSITIVE, Overflow.SATURATE)
@example((np.float64(-5e-324), E4M3FNUZ), Rounding.TOWARD_NEGATIVE, Overflow.SATURATE)
@example((np.float32(-0.0), E4M3FNUZ), Rounding.TIES_TO_EVEN, Overflow.SATURATE)
@example((np.float32(0), E8M0), Rounding.TIES_TO_EVEN, Overflow.NON_SATURATING)
@example((np.float32(3e-39), E8M0), Rounding.TIES_TO_EVEN, Overflow.SATURATE)  # below the smallest
@example((np.float32(1.5), E8M0), Rounding.TIES_TO_EVEN, Overflow.SATURATE)  # code 127 or 128
@example((np.float32(-1), UE4M3), Rounding.TIES_TO_EVEN, Overflow.NON_SATURATING)
@example((np.float32(-1e-30), UE4M3), Rounding.TOWARD_NEGATIVE, Overflow.NON_SATURATING)
@example((np.float32(np.nan), E5M2), Rounding.TIES_TO_EVEN, Overflow.SATURATE)
@example((np.float32(-np.inf), E5M2), Rounding.TIES_TO_EVEN, Overflow.SATURATE)
@example((np.float64(np.inf), E2M1), Rounding.TIES_TO_EVEN, Overflow.NON_SATURATING)
def test_any_float_into_any_format(case, mode, overflow):
    x, fmt = case
    options = {"rounding": mode, "overflow": overflow}
    value = reference.from_float(x)
    try:
        want = reference.integer_round(value, oracle(fmt), mode.value, overflow.value)
    except ValueError:
        with pytest.raises(ValueError, match=f"would become NaN, and {re.escape(str(fmt))} has none"):
            encode(x, fmt, **options)
        return
    assert codes_of(x, fmt, **options) == want
    rounded, decoded = round_to(x, fmt, **options), decode(encode(x, fmt, **options), fmt)
    assert rounded.dtype == x.dtype and np.array_equal(rounded, decoded, equal_nan=True)
    assert np.isnan(rounded) or np.signbit(rounded) == np.signbit(decoded)


@pytest.mark.parametrize("fmt", SMALL + INTEGERS, ids=str)
def test_codes_survive_the_round_trip(fmt):
    codes = np.arange(1 << fmt.bits, dtype=fmt.code_dtype)
    values = decode(codes, fmt)
    np.testing.assert_array_equal(values, np.array([fmt.value(int(c)) for c in codes], np.float32))
    keeps = ~np.isnan(values)
    if isinstance(fmt, IntFormat):
        keeps &= values >= fmt.min
    back = encode(values[keeps], fmt, overflow=Overflow.NON_SATURATING)
    np.testing.assert_array_equal(back.view(fmt.code_dtype), codes[keeps])
    np.testing.assert_array_equal(
        round_to(values[keeps], fmt, overflow=Overflow.NON_SATURATING), values[keeps]
    )
    np.testing.assert_array_equal(decode(codes.view(fmt.dtype), fmt), values)
    np.testing.assert_array_equal(decode(codes.astype(np.uint64), fmt), values)


SHORT = [
    *("e4m3", "e5m2", "e2m1", "bf16", "fp32", "e5m22", "e5m21", "e7m21", "e4m3b11fnuz", "mxint8", "e8m0"),
    *("FloatFormat(1, 1)", "FloatFormat(1, 5)", "FloatFormat(1, 3, specials=FN)"),
    *("FloatFormat(1, 3, specials=NONE)", "FloatFormat(2, 4, bias=100)", "FloatFormat(4, 3, bias=-110)"),
]


@pytest.mark.parametrize("mode", Rounding, ids=str)
@pytest.mark.parametrize("name", SHORT)
def test_the_short_ways_are_the_general_one(name, mode):
    fmt = parse_format(name)
    rng = np.random.default_rng(3)
    bits = rng.integers(0, 2**32, 1 << 17, dtype=np.uint32)
    bits[: 1 << 16] = np.arange(1 << 16, dtype=np.uint32) << 16  # ties among them
    low = rng.standard_normal(1 << 16) * np.exp2(rng.integers(-3, 3, 1 << 16)) * fmt.smallest
    coarse = rng.integers(-70, 71, 1 << 12) * fmt.smallest / 4  # ties and values among small numbers, and
    small = np.concatenate([low, coarse]).astype(np.float32).view(np.uint32)  # their neighbours
    bits = np.concatenate([bits, small, small + np.uint32(1), small - np.uint32(1)])
    x = bits.view(np.float32)
    if not fmt.has_nan:
        bits = bits[~np.isnan(x)]
        x = bits.view(np.float32)
    for overflow in Overflow if fmt.has_nan else [Overflow.SATURATE]:
        how, ends = {"rounding": mode, "overflow": overflow}, code_ends(fmt, overflow)
        codes, values = np.empty(bits.size, fmt.code_dtype), np.empty_like(bits)
        kernels.encode32(bits, codes, format_params(fmt), MODES[mode], ends)
        kernels.round32(
            bits, values, values.size, values, format_params(fmt), MODES[mode], value_ends(fmt, ends)
        )
        np.testing.assert_array_equal(encode(x, fmt, **how).view(fmt.code_dtype), codes)
        np.testing.assert_array_equal(round_to(x, fmt, **how).view(np.uint32), values)


@pytest.mark.parametrize("mode", Rounding)
@pytest.mark.parametrize("fmt", [E4M3, E5M2, FP16], ids=str)
def test_nan_of_every_payload(fmt, mode):
    """The least and the largest, which are next to Inf and to the other sign's zero."""
    bits = np.uint32([0x7F800001, 0x7FFFFFFF, 0x7FC00000])
    with np.errstate(invalid="ignore"):
        for sign in (0, 0x80000000):
            x = (bits | np.uint32(sign)).view(np.float32)
            nan = fmt.nan_code | (sign and 1 << (fmt.bits - 1))
            assert (encode(x, fmt, rounding=mode).view(fmt.code_dtype) == nan).all()
            assert np.isnan(round_to(x, fmt, rounding=mode)).all()


@pytest.mark.parametrize("fmt", [E4M3, FP32, E5M2], ids=str)
def test_smallest_float64_numbers_are_not_zero(fmt):
    """2**-1022 has no fraction bits, 2**-1074 no leading one: rounded away from zero they are something."""
    x = np.float64([2.0**-1022, 2.0**-1074, 3 * 2.0**-1023, 2.0**-1021])
    for mode, sign in ((Rounding.TOWARD_POSITIVE, 1), (Rounding.TOWARD_NEGATIVE, -1)):
        codes = encode(sign * x, fmt, rounding=mode).view(fmt.code_dtype)
        assert (codes & fmt.magnitude_mask == 1).all()
    assert (decode(encode(x, fmt, rounding=Rounding.TOWARD_ZERO), fmt) == 0).all()


ML_DTYPES = ["bf16", "e5m2", "float8_e4m3", "e3m4", "e4m3", "e4m3fnuz", "e5m2fnuz", "e4m3b11fnuz"]


@pytest.mark.parametrize("offset", [0, 1, 5, 16])
def test_what_streams_past_the_caches_is_the_same(offset, monkeypatch):
    """Large results are written whole lines at a time: heads, tails and lines of pieces at any address."""
    bits = np.random.default_rng(3).integers(0, 2**32, 2 * GRAIN + 70_001, np.uint32)
    x = bits.view(np.float32)
    found = []
    for large in (0, 1 << 60):
        monkeypatch.setattr(_aligned_memory, "LARGE", large)
        codes = np.zeros(x.size + offset, E4M3.dtype)[offset:]
        values = np.zeros(x.size + offset, np.float32)[offset:]
        encode(x, E4M3, out=codes)
        found.append(codes.view(np.uint8).copy())
        for work in (
            lambda out: round_to(x, E4M3, out=out),
            lambda out: round_to(x, E4M3, rounding=Rounding.TOWARD_ZERO, out=out),
            lambda out: round_to(x, E4M3FNUZ, out=out),
            lambda out, codes=codes: decode(codes, E4M3, out=out),
        ):
            work(values)
            found.append(values.view(np.uint32).copy())
    for streamed, plain in zip(found[:5], found[5:], strict=True):
        assert np.array_equal(streamed, plain)
    lead, block = _aligned_memory.streaming(values, 1 << 60)
    assert (values.ctypes.data + 4 * lead) % 64 == 0 and block.ctypes.data % 64 == 0
    assert 0 < lead <= block.size < values.size


@pytest.mark.parametrize("name", ML_DTYPES)
def test_every_code_as_ml_dtypes_writes_it(name):
    fmt = parse_format(name)
    for source in SOURCES.values():
        with np.errstate(invalid="ignore", over="ignore"):
            wide = source.astype(np.float32)
            want = wide.astype(fmt.dtype)
        got = encode(wide, fmt, overflow=Overflow.NON_SATURATING)
        np.testing.assert_array_equal(got.view(fmt.code_dtype), want.view(fmt.code_dtype))


@pytest.mark.parametrize("name", ["e2m1", "e2m3", "e3m2"])
def test_formats_without_nan_as_ml_dtypes_writes_them(name):
    fmt = parse_format(name)
    x = np.arange(1 << 16, dtype=np.uint16).view(np.float16).astype(np.float32)
    x = x[~np.isnan(x)]
    np.testing.assert_array_equal(encode(x, fmt).view(np.uint8), x.astype(fmt.dtype).view(np.uint8))


# ------------------------------------------------------------------------------------ stochastic rounding


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("bits", [1, 3, 8, 24, 31, 32])
@pytest.mark.parametrize("fmt", [E4M3, E8M0, E4M3FNUZ, UE4M3, FP16, FP32, ODD_ONES[4]], ids=str)
def test_stochastic_against_the_oracle(fmt, bits, dtype):
    rng = np.random.default_rng(bits)
    spread = np.exp2(rng.integers(max(fmt.min_exponent - 4, -120), min(fmt.max_exponent, 120), 200))
    x = (rng.standard_normal(200) * spread).astype(dtype)
    x[:8] = [0, -0.0, np.inf, -np.inf, 1, fmt.smallest / 2, -fmt.smallest / 4, 1e-45]
    seed = 0x123456789ABCDEF0 + bits
    for overflow in Overflow:
        how = {"rounding": Stochastic(bits, seed), "overflow": overflow}
        want = [
            reference.stochastic_round(
                reference.from_float(v),
                oracle(fmt),
                reference.random_integer(seed, i, bits),
                bits,
                overflow.value,
            )
            for i, v in enumerate(x)
        ]
        np.testing.assert_array_equal(codes_of(x, fmt, **how), want)
        rounded, decoded = round_to(x, fmt, **how), decode(encode(x, fmt, **how), fmt)
        np.testing.assert_array_equal(rounded, decoded)
        assert np.array_equal(np.signbit(rounded), np.signbit(decoded))


def test_stochastic_integers_against_the_oracle():
    x = np.random.default_rng(5).uniform(-9, 9, 500)
    got = encode(x, INT4, rounding=Stochastic(16, 7)).view(np.uint8)
    assert list(got) == [
        reference.int_round(
            reference.from_float(v), 4, random=reference.random_integer(7, i, 16), random_bits=16
        )
        for i, v in enumerate(x)
    ]


def test_random_words_depend_on_the_index_alone():
    x = np.full(3 * GRAIN + 17, 1.0625, np.float32)  # halfway: the top random bit decides
    before, results = get_num_threads(), []
    try:
        for threads in (1, 2, 7):
            set_num_threads(threads)
            results.append(round_to(x, E4M3, rounding=Stochastic(1, 99)))
    finally:
        set_num_threads(before)
    assert np.array_equal(results[0], results[1]) and np.array_equal(results[0], results[2])
    for index in [0, 1, 7, GRAIN - 1, GRAIN, 2 * GRAIN + 5, x.size - 1]:
        up = reference.random_integer(99, index, 1)
        assert results[0][index] == (1.125 if up else 1.0)
    part = round_to(x[: GRAIN + 3].reshape(-1, 1), E4M3, rounding=Stochastic(1, 99))
    assert np.array_equal(part[:, 0], results[0][: GRAIN + 3])


def test_random_words_past_four_billion_elements():
    x = np.full(8, 1.0625, np.float32)
    out = np.empty(8, np.uint8)
    seed = 0xFEDCBA9876543210
    random = StochasticParams(1, seed & 0xFFFFFFFF, seed >> 32)
    ends = code_ends(E4M3, Overflow.SATURATE)
    for back in (8, 3):  # the last element before the counter's high word changes, or not
        want = [0x38 + reference.random_integer(seed, 4 * 2**32 - back + i, 1) for i in range(8)]
        for short in (short_params(E4M3), NO_SHORT):
            kernels.encode_random32(
                x.view(np.uint32), out, format_params(E4M3), random, ends, 2**32 - back, 3, short
            )
            assert list(out) == want


@pytest.mark.parametrize("step", [1, 3, 1 << 31, (1 << 32) + 5])
def test_random_words_of_elements_that_lie_apart(step):
    seed, count, index = 0x123456789ABCDEF, 600, 2**64 - 3 * step
    random = StochasticParams(9, seed & 0xFFFFFFFF, seed >> 32)
    words = np.zeros(count + 2, np.uint32)
    kernels.random_words(np.uint64(index), np.uint64(step), np.uint64(count), random, words, np.uint64(1))
    want = [reference.random_integer(seed, (index + i * step) % 2**64, 9) for i in range(count)]
    assert list(words) == [0, *want, 0]


@pytest.mark.parametrize("fmt", [E4M3, E5M2, E2M1, FP16, FloatFormat(8, 7)], ids=str)
@pytest.mark.parametrize("bits", [1, 4, 6, 12, 21])
def test_the_short_random_way_is_the_general_one(fmt, bits):
    """For float32 of every sign and exponent, and fractions from random ones."""
    rng = np.random.default_rng(bits)
    x = np.concatenate([np.arange(512, dtype=np.uint32) << 23 | low for low in rng.integers(0, 1 << 23, 64)])
    x = np.concatenate([x, x & 0xFFFF0000, x & 0xFFF00000, rng.integers(0, 1 << 32, 20_000)]).astype(
        np.uint32
    )
    if not fmt.has_nan:
        x = x[~np.isnan(x.view(np.float32))]
    random, short = StochasticParams(bits, 7, 8), short_params(fmt)
    for overflow in Overflow if fmt.has_nan else [Overflow.SATURATE]:
        ends = code_ends(fmt, overflow)
        found = []
        for how in (short, NO_SHORT):
            codes, values = np.empty(x.size, fmt.code_dtype), np.empty_like(x)
            kernels.encode_random32(x, codes, format_params(fmt), random, ends, 0, 0, how)
            kernels.round_random32(x, values, format_params(fmt), random, value_ends(fmt, ends), 0, 0, how)
            found += [codes, values]
        np.testing.assert_array_equal(found[0], found[2])
        np.testing.assert_array_equal(found[1], found[3])


@pytest.mark.parametrize("bits", [2, 5, 32])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_stochastic_mean(bits, dtype):
    """The mean of many roundings is the value cut to `bits` bits: within 5 standard deviations of it."""
    n, quantum = 1 << 18, 0.125
    share = np.linspace(0, 1, n, endpoint=False)
    x = (1 + quantum * share).astype(dtype)
    share = (x.astype(np.float64) - 1) / quantum
    chance = np.floor(share * 2.0**bits) / 2.0**bits
    rounded = round_to(x, E4M3, rounding=Stochastic(bits, 2024)).astype(np.float64)
    assert set(np.unique(rounded)) == {1.0, 1.125}
    error = (rounded - 1 - quantum * chance).sum()
    assert abs(error) < 5 * quantum * np.sqrt((chance * (1 - chance)).sum())
    if bits == 32:  # and so it is unbiased
        assert abs((rounded - x).mean()) < 5 * quantum * 0.5 / np.sqrt(n)


# ------------------------------------------------------------------------------------ arrays and arguments


@pytest.mark.parametrize("shape", [(), (0,), (3, 0, 2), (1,), (17, 3)])
@pytest.mark.parametrize(
    "dtype", [np.float16, ml_dtypes.bfloat16, np.float32, np.float64, ml_dtypes.float8_e5m2]
)
def test_shapes_and_types(shape, dtype):
    x = np.full(shape, 1.25, dtype)
    rounded, codes = round_to(x, E5M2), encode(x, E5M2)
    assert rounded.shape == codes.shape == shape and decode(codes, E5M2).shape == shape
    assert rounded.dtype == (np.float64 if dtype is np.float64 else np.float32)
    assert codes.dtype == ml_dtypes.float8_e5m2 and (rounded == 1.25).all()


def test_strided_read_only_and_foreign_arrays():
    base = np.random.default_rng(0).standard_normal((40, 50)).astype(np.float32)
    want = round_to(base, E4M3)
    for view in (np.s_[::2, 3::5], np.s_[::-1], np.s_[:, :1]):
        np.testing.assert_array_equal(round_to(base[view], E4M3), want[view])
    np.testing.assert_array_equal(round_to(base.T, E4M3), want.T)
    np.testing.assert_array_equal(round_to(base.astype(">f4"), E4M3), want)
    np.testing.assert_array_equal(round_to(np.broadcast_to(base[0], (3, 50)), E4M3)[2], want[0])
    base.flags.writeable = False
    np.testing.assert_array_equal(round_to(base, E4M3), want)
    codes = encode(base, E4M3)
    codes.flags.writeable = False
    np.testing.assert_array_equal(decode(codes[::3, ::2], E4M3), want[::3, ::2])
    np.testing.assert_array_equal(decode(codes.view(np.uint8).astype(">u2"), E4M3), want)
    assert round_to([0.3, 1.0], E4M3).dtype == np.float64 and float(round_to(0.3, E4M3)) == 0.3125


def test_out_is_filled_and_returned():
    x = np.random.default_rng(1).standard_normal((30, 40)).astype(np.float32)
    want, want_codes = round_to(x, E4M3), encode(x, E4M3)
    out = np.empty_like(x)
    assert round_to(x, E4M3, out=out) is out and np.array_equal(out, want)
    codes = np.empty(x.shape, E4M3.dtype)
    assert encode(x, E4M3, out=codes) is codes
    assert np.array_equal(codes.view(np.uint8), want_codes.view(np.uint8))
    assert decode(codes, E4M3, out=out) is out and np.array_equal(out, want)
    wide = np.zeros((30, 80), np.float32)
    round_to(x, E4M3, out=wide[:, ::2])
    assert np.array_equal(wide[:, ::2], want) and not wide[:, 1::2].any()
    same = x.copy()
    assert round_to(same, E4M3, out=same) is same and np.array_equal(same, want)
    line = np.concatenate([x.ravel(), [0, 0, 0]]).astype(np.float32)
    round_to(line[:-3], E4M3, out=line[3:])  # overlapping, shifted
    assert np.array_equal(line[3:], want.ravel())
    square = x[:, :30].copy()
    round_to(square.T, E4M3, out=square)
    assert np.array_equal(square, want[:, :30].T)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: round_to(np.arange(3), E4M3), TypeError, "x must be of a floating-point type"),
        (lambda: round_to([1, 2], E4M3), TypeError, "got int64"),
        (lambda: round_to(np.array([1.0, None]), E4M3), TypeError, "got object"),
        (lambda: encode(np.zeros(2, np.complex64), E4M3), TypeError, "got complex64"),
        (lambda: encode(np.zeros(2, ml_dtypes.int4), E4M3), TypeError, "got int4"),
        (lambda: encode(np.zeros(2, bool), E4M3), TypeError, "got bool"),
        (lambda: round_to(1.0, "e4m3"), TypeError, "fmt must be a FloatFormat or an IntFormat, got 'e4m3'"),
        (lambda: round_to(1.0, FP64), ValueError, "fmt must not be fp64"),
        (lambda: decode(np.zeros(1, np.uint64), FP64), ValueError, "fmt must not be fp64"),
        (lambda: round_to(1.0, E4M3, rounding="even"), TypeError, "rounding must be a Rounding or"),
        (lambda: round_to(1.0, E4M3, overflow=True), TypeError, "overflow must be an Overflow, got True"),
        (lambda: round_to(1.0, E4M3, out=[0.0]), TypeError, "out must be an ndarray, got list"),
        (lambda: round_to(np.ones(2), E4M3, out=np.ones(3)), ValueError, "out must be float64 of shape (2,)"),
        (lambda: round_to(np.ones(2), E4M3, out=np.ones(2, "f4")), ValueError, "got float32 of shape (2,)"),
        (lambda: encode(np.ones(2), E4M3, out=np.ones(2, "u1")), ValueError, "out must be float8_e4m3fn"),
        (lambda: round_to(np.ones(2), E4M3, out=np.broadcast_to(1.0, 2)), ValueError, "read-only"),
        (lambda: round_to(1.0, E2M1, nan=5.0), ValueError, "nan must be a finite value of e2m1, got 5.0"),
        (lambda: round_to(1.0, E2M1, nan=np.nan), ValueError, "nan must be a finite value of e2m1, got nan"),
        (lambda: round_to(1.0, E2M1, nan="0"), TypeError, "nan must be a number, got '0'"),
        (lambda: encode([1.0, np.nan], E2M1), ValueError, "x has nan at flat index 1"),
        (lambda: encode([1.0, 9.0], INT4, overflow=Overflow.NON_SATURATING), ValueError, "x has 9.0 at flat"),
        (lambda: decode(np.zeros(2), E4M3), TypeError, "codes must have dtype float8_e4m3fn or an unsigned"),
        (lambda: decode(np.zeros(2, E5M2.dtype), E4M3), TypeError, "got float8_e5m2"),
        (lambda: decode(np.zeros(2, np.int8), E4M3), TypeError, "got int8"),
        (lambda: decode(np.uint8([3, 16]), E2M1), ValueError, "codes of e2m1 must lie below 2**4, got 16"),
        (lambda: decode(np.uint16([300]), E4M3), ValueError, "codes of e4m3 must lie below 2**8, got 300"),
        (lambda: decode(np.uint8([1]), INT8, out=np.empty(1, "f8")), ValueError, "out must be float32"),
    ],
)  # fmt: skip
def test_bad_arguments(call, error, message):
    with pytest.raises(error, match=re.escape(message)):
        call()


def test_nothing_is_written_when_nan_is_refused():
    x = np.ones(GRAIN + 5, np.float32)
    x[-1] = np.nan
    out = np.zeros_like(x)
    with pytest.raises(ValueError, match=f"flat index {GRAIN + 4}"):
        round_to(x, E2M1, out=out)
    assert not out.any()


def test_nan_replacement():
    x = np.float32([np.nan, -np.nan, 1.0, np.inf])
    assert list(round_to(x, E2M1, nan=-0.5)) == [-0.5, -0.5, 1.0, 6.0]
    assert list(round_to(x, INT8, nan=0)) == [0, 0, 1, 127]
    wide = x.astype(np.float64)
    assert list(round_to(wide, E2M1, nan=2.0, overflow=Overflow.NON_SATURATING)) == [2, 2, 1, 2]
    assert list(round_to(x, E4M3, nan=0.0)) == [0, 0, 1, 448]


# ------------------------------------------------------------------------- what sums take of the scalar core


def shift_products(a, b, places, out):
    for i in range(a.size):
        out[i] = rounding_kernels.shifted_product(a[i], b[i], places[i])


def test_shifted_products_of_whole_words():
    """The product cut, its last bit set where anything was cut off; what leaves 64 bits above is lost."""
    rng = np.random.default_rng(18)
    a, b = (rng.integers(0, 2**64, 4000, np.uint64) >> rng.integers(0, 64, 4000, np.uint64) for _ in range(2))
    b[::5] = 2**63 >> rng.integers(0, 64, 800, np.uint64)  # exact shifts among them
    places = rng.integers(-64, 120, 4000)
    a[:8], b[:8], places[:8] = 2**60 - 1, 2**59, (118, 119, 120, 121, 127, 128, 1000, 2**40)
    a[8:10], b[8:10], places[8:10] = 0, 5, (-64, 200)
    out = np.empty(4000, np.uint64)
    jit(shift_products)(a, b, places, out)
    for x, y, n, found in zip(a.tolist(), b.tolist(), places.tolist(), out.tolist(), strict=True):
        product = x * y
        kept = product << -n if n < 0 else product >> n
        assert found == (kept | (n > 0 and product != kept << n)) % 2**64


def round_integers(integers, exponents, fmt, mode, out):
    for i in range(integers.size):
        out[i] = rounding_kernels.round_scaled_integer(integers[i], exponents[i], fmt, mode)


@pytest.mark.parametrize("mode", Rounding, ids=str)
def test_integers_of_every_length_round_once(mode):
    """Registers take theirs from such sums, which seldom fill a word."""
    rng = np.random.default_rng(19)
    lengths = np.arange(2 * 63 * 6) % 63
    integers = rng.integers(2**62, 2**63, lengths.size) >> lengths
    integers[::3] &= -1 << np.maximum(0, 62 - lengths[::3] - rng.integers(1, 28, lengths[::3].size))  # ties
    integers[::2] *= -1
    integers[:4] = 2**63 - 1, 1 - 2**63, 2**62 + 1, 0
    loop = jit(round_integers)
    for name in ("fp32", "fp16", "e5m2", "e8m13", "e6m9"):
        fmt = parse_format(name)
        bits = np.array([int(n).bit_length() for n in integers])
        tops = rng.integers(fmt.min_exponent - fmt.fraction_bits - 3, fmt.max_exponent + 3, integers.size)
        exponents = tops - bits + 1
        out = np.empty(integers.size, np.float32)
        loop(integers, exponents, format_params(fmt), MODES[mode], out)
        for n, exponent, found in zip(integers.tolist(), exponents.tolist(), out, strict=True):
            want = reference.round_value(n * reference.power(exponent), oracle(fmt), mode.value)
            assert reference.from_float(found) == want
