"""Measures of quantizing, against exact fractions over the slow reference, and by hand."""

from __future__ import annotations

import dataclasses
import math
from fractions import Fraction

import ml_dtypes
import numpy as np
import pytest
import reference as ref
from oracle import plain

import precision as pr
from precision.metrics import Tally, _fidelity, draw, tally
from precision.quantization._quant_spec import SPECS

MX = [spec for spec in SPECS.values() if spec.scale_format == pr.E8M0]
RULES = (pr.ScaleRule.FLOOR, pr.ScaleRule.CEIL, pr.ScaleRule.RCEIL, pr.ScaleRule.EVEN)
NVFP4 = dataclasses.replace(pr.NVFP4, arithmetic=pr.Arithmetic.DIVISION)  # as the oracle below has it


# ---- the oracle -----------------------------------------------------------------------------------------
def rounded(x: Fraction, fmt) -> Fraction:
    if isinstance(fmt, pr.IntFormat):
        code = ref.int_round(x, fmt.bits, fraction_bits=fmt.fraction_bits, symmetric=fmt.symmetric)
        return ref.int_decode(code, fmt.bits, fraction_bits=fmt.fraction_bits)
    value = ref.decode(ref.integer_round(x, plain(fmt)), plain(fmt))
    return value if isinstance(value, Fraction) else ref.ZERO  # the zero with a sign is no number there


def plain_scale(spec, amax: Fraction, tensor_scale: Fraction | None) -> Fraction:
    """The multiplier of a block."""
    most = Fraction(spec.fmt.max)
    if spec.scale_rule is not pr.ScaleRule.AMAX:
        places = spec.fmt.bits - 2 if isinstance(spec.fmt, pr.IntFormat) else spec.fmt.fraction_bits
        return ref.power(ref.scale_exponent(spec.scale_rule.value, amax, most, places)) if amax else ref.ZERO
    if tensor_scale is None:
        return ref.scale_amax(amax, most, ref.FP32)
    wanted = ref.div32(ref.div32(amax, most), tensor_scale)
    scale = ref.decode(ref.integer_round(wanted, plain(spec.scale_format)), plain(spec.scale_format))
    return ref.mul32(scale, tensor_scale)


def blocks_of(x: np.ndarray, spec, axis: int) -> list[list[float]]:
    """The elements under each scale, in plain lists."""
    if spec.granularity == pr.PerTensor():
        return [x.ravel().tolist()]
    length = spec.granularity.n if isinstance(spec.granularity, pr.PerGroup) else x.shape[axis]
    lines = np.moveaxis(x, axis, -1).reshape(-1, x.shape[axis]).tolist()
    return [line[i : i + length] for line in lines for i in range(0, len(line), length)]


def plain_tally(x: np.ndarray, spec, axis: int = -1) -> dict[str, float]:
    """Every measure, one element at a time."""
    exact = [[Fraction(v) if math.isfinite(v) else None for v in b] for b in blocks_of(x, spec, axis)]
    good = [block for block in exact if None not in block]
    tensor_scale = None
    if spec.tensor_scale:
        largest = max((abs(v) for block in good for v in block), default=Fraction(0))
        tensor_scale = ref.div32(largest, Fraction(spec.fmt.max) * Fraction(spec.scale_format.max))
    sums: dict[str, Fraction | int] = dict.fromkeys(
        ("measured", "clipped", "flushed", "signal", "noise", "magnitude", "signed_error"), 0
    )
    worst = Fraction(0)
    for block in good:
        scale = plain_scale(spec, max(map(abs, block)), tensor_scale)
        for v in block:
            value = rounded(ref.div32(v, scale), spec.fmt) * scale if v else Fraction(0)
            error = value - v
            sums["measured"] += 1
            sums["clipped"] += abs(v) > Fraction(spec.fmt.max) * scale * (1 + ref.power(-22))
            sums["flushed"] += v != 0 and value == 0
            sums["signal"] += v * v
            sums["noise"] += error * error
            sums["magnitude"] += abs(v)
            sums["signed_error"] += error if v > 0 else -error
            worst = max(worst, abs(error / v) if v else Fraction(0))
    scales = len(exact) * spec.scale_format.bits + 32 * spec.tensor_scale
    return {
        "elements": x.size,
        "non_finite": sum(v is None for block in exact for v in block),
        "bits": x.size * spec.fmt.bits + scales,
        "max_relative_error": float(worst),
        **dict.fromkeys(("signal_exponent", "noise_exponent", "magnitude_exponent"), 0),  # none is huge
        **{name: float(value) for name, value in sums.items()},
    }


def assert_agrees(found: Tally, expected: dict[str, float]) -> None:
    assert dataclasses.asdict(found) == pytest.approx(expected, rel=1e-11, abs=1e-300)
    for count in ("elements", "measured", "non_finite", "clipped", "flushed", "bits"):
        assert getattr(found, count) == expected[count], count


def numbers(seed: int = 0) -> np.ndarray:
    """Ragged rows with magnitudes from flushed to clipped, zeros of both signs, and a row of zeros."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((4, 70)) * np.exp(3 * rng.standard_normal((4, 70)))
    x[rng.random(x.shape) < 0.05] = 0
    x[0, 3], x[2] = -0.0, 0
    return x.astype(np.float32)


OTHERS = (
    NVFP4,
    pr.NVINT4,
    pr.QuantSpec(pr.E4M3, pr.PerGroup(128)),
    pr.QuantSpec(pr.E4M3, pr.PerTensor()),
    pr.QuantSpec(pr.IntFormat(8), pr.PerVector()),
)


@pytest.mark.parametrize(
    "spec", [*(dataclasses.replace(spec, scale_rule=rule) for spec in MX for rule in RULES), *OTHERS], ids=str
)
@pytest.mark.parametrize("axis", [0, 1])
def test_against_fractions(spec, axis):
    expected = plain_tally(numbers(), spec, axis)
    assert_agrees(tally(numbers(), spec, axis=axis), expected)


def test_the_numbers_try_everything():
    counts = [plain_tally(numbers(), spec) for spec in (pr.MXFP4, NVFP4, pr.MXFP8_E4M3)]
    assert all(found["clipped"] > 0 and found["flushed"] > 0 for found in counts)


@pytest.mark.parametrize("spec", [pr.MXFP4, *OTHERS], ids=str)
def test_non_finite_elements_take_their_block_along(spec):
    x = numbers()
    x[1, 5], x[3, 66] = np.nan, -np.inf
    found = tally(x, spec)
    assert_agrees(found, plain_tally(x, spec))
    assert found.non_finite == 2 and found.elements == 280
    left = {"PerGroup(32)": 280 - 32 - 6, "PerGroup(16)": 280 - 16 - 6, "PerTensor()": 0}
    assert found.measured == left.get(str(spec.granularity), 140)
    assert math.isnan(found.clipped_share) == math.isnan(found.sqnr_db) == (found.measured == 0)


# ---- by hand --------------------------------------------------------------------------------------------
def test_by_hand():
    # MXFP4, amax 7: scale 1. 7 is clipped to 6, 0.2 flushed, -3.5 a tie that goes to -4.
    found = tally(np.float32([7, -3.5, 0.2, 0, 1]), pr.MXFP4)
    assert (found.elements, found.measured, found.clipped, found.flushed) == (5, 5, 1, 1)
    assert found.bits == 5 * 4 + 8 and found.bits_per_element == 5.6
    assert found.noise == pytest.approx(1 + 0.25 + 0.04) and found.signal == pytest.approx(62.29)
    assert found.signed_relative_error == pytest.approx((-1 + 0.5 - 0.2) / 11.7)
    assert found.sqnr_db == pytest.approx(10 * math.log10(62.29 / 1.29))
    assert (found.clipped_share, found.flushed_share, found.max_relative_error) == (0.2, 0.2, 1.0)


def test_amax_scales_in_float32_clip_nothing():
    x = draw("normal", (256, 256), k_axis=1)
    for fmt in (pr.E4M3, pr.E5M2, pr.E2M1, pr.IntFormat(8), pr.IntFormat(4)):
        assert tally(x, pr.QuantSpec(fmt, pr.PerGroup(16))).clipped == 0


def test_ends_that_differ():
    # Scale 1 by FLOOR: -128 is a value of int8 with both ends, +127.75 lies beyond the other.
    two = pr.QuantSpec(
        pr.IntFormat(8, symmetric=False), pr.PerVector(), scale_format=pr.E8M0, scale_rule=pr.ScaleRule.FLOOR
    )
    assert tally(np.float32([-127.9, 127.75, 64]), two).clipped == 1
    unsigned = dataclasses.replace(two, fmt=pr.IntFormat(8, signed=False))
    found = tally(np.float32([-3, 255, 128]), unsigned)
    assert (found.clipped, found.flushed) == (1, 1)


def test_no_error_and_no_signal():
    exact = tally(np.float32([1, 2, -4]), pr.MXFP4)
    assert exact.sqnr_db == math.inf and exact.max_relative_error == exact.signed_relative_error == 0
    zeros = tally(np.zeros(40, np.float32), pr.NVFP4)
    assert zeros.sqnr_db == math.inf and zeros.flushed == zeros.signed_relative_error == 0


def test_overflow_to_infinity_is_an_infinite_error():
    spec = dataclasses.replace(pr.MXFP8_E5M2, overflow=pr.Overflow.NON_SATURATING)
    found = tally(np.float32([65535, 1]), spec)
    assert found.sqnr_db == -math.inf and found.clipped == 1 and found.max_relative_error == math.inf


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float64, ">f4"])
def test_other_types(dtype):
    x = numbers().clip(-60000, 60000).astype(dtype)
    assert_agrees(tally(x, pr.MXFP6_E3M2), plain_tally(x.astype(np.float64), pr.MXFP6_E3M2))


@pytest.mark.parametrize(
    "spec", [pr.MXFP4, pr.NVFP4, pr.QuantSpec(pr.E4M3, pr.PerBlock(5, 7)), *OTHERS], ids=str
)
@pytest.mark.parametrize("axis", [-1, -2])
def test_pieces_change_nothing(spec, axis, monkeypatch):
    x = np.asfortranarray(draw("student_t", (3 * 37, 50), k_axis=1)).reshape(37, 3, 50)
    x[7, 1, 3] = np.nan
    whole = tally(x, spec, axis=axis)
    monkeypatch.setattr(_fidelity, "_PIECE", 100)
    assert_agrees(tally(x, spec, axis=axis), dataclasses.asdict(whole))
    assert_agrees(tally(x[:1], spec, axis=axis), dataclasses.asdict(tally(x[:1].copy(), spec, axis=axis)))


def test_tallies_add_up():
    x, spec = numbers(), pr.MXFP4
    parts = [tally(row[None], spec) for row in x]
    assert_agrees(sum(parts, Tally()), dataclasses.asdict(tally(x, spec)))
    for one, other in ((math.nan, 1.0), (1.0, math.nan)):
        total = Tally(max_relative_error=one) + Tally(max_relative_error=other)
        assert math.isnan(total.max_relative_error)
    assert math.isnan(Tally().sqnr_db) and math.isnan(Tally().bits_per_element)


def test_published_sqnr_of_normal_numbers():
    """Of 2^23 samples, to 0.02 dB; a quarter of them here."""
    x = draw("normal", (512, 4096), k_axis=1)
    table = {pr.MXFP8_E4M3: (30.65, 31.18, 31.52, 31.52), pr.MXFP6_E3M2: (25.36, 25.54, 25.54, 25.54),
             pr.MXFP6_E2M3: (30.94, 30.99, 28.77, 30.96), pr.MXFP4: (18.79, 19.03, 16.82, 18.76),
             pr.MXINT8: (41.67, 41.64, 35.65, 41.62)}  # fmt: skip
    rules = (pr.ScaleRule.FLOOR, pr.ScaleRule.EVEN, pr.ScaleRule.CEIL, pr.ScaleRule.RCEIL)
    for spec, expected in table.items():
        found = [tally(x, dataclasses.replace(spec, scale_rule=rule)).sqnr_db for rule in rules]
        assert found == pytest.approx(expected, abs=0.03), spec
    assert tally(x, pr.NVFP4).sqnr_db == pytest.approx(20.44, abs=0.03)
    assert tally(x, pr.NVINT4).sqnr_db == pytest.approx(21.28, abs=0.03)


def test_bad_arguments():
    with pytest.raises(ValueError, match=r"x has no elements \(shape \(0, 4\)\)"):
        tally(np.zeros((0, 4), np.float32), pr.MXFP4)
    with pytest.raises(TypeError, match="floating-point type"):
        tally(np.arange(4), pr.MXFP4)
    with pytest.raises(ValueError, match="axis must lie in"):
        tally(numbers(), pr.MXFP4, axis=2)


# ---- other specs than QuantSpec -------------------------------------------------------------------------
def levels_tally(x: np.ndarray, bits: int, axis: int) -> dict[str, float]:
    """LogFMT's measures in float64: every element against every level of its tile of 128."""
    sums = dict.fromkeys(("signal", "noise", "magnitude", "signed_error"), 0.0)
    worst = 0.0
    for line in np.moveaxis(x, axis, -1).reshape(-1, x.shape[axis]).astype(np.float64):
        for start in range(0, len(line), 128):
            size = np.abs(line[start : start + 128])
            logs = np.log(size[size > 0])
            low, high = max(logs.min(), logs.max() - 32 * math.log(2)), logs.max()
            levels = np.exp(np.linspace(low, high, 2 ** (bits - 1) - 1))
            if low > logs.min():
                levels = np.append(0.0, levels)
            near = levels[np.abs(size[:, None] - levels).argmin(1)]
            error = np.where(size > 0, near - size, 0.0)
            sums["signal"] += size @ size
            sums["noise"] += error @ error
            sums["magnitude"] += size.sum()
            sums["signed_error"] += error.sum()
            worst = max(worst, (np.abs(error)[size > 0] / size[size > 0]).max())
    return sums | {"max_relative_error": worst}


@pytest.mark.parametrize(("shape", "axis"), [((6, 300), -1), ((200, 7), 0), ((3, 2, 130), -1)])
@pytest.mark.parametrize("piece", [100, 1 << 16])
def test_logfmt_against_its_levels(monkeypatch, shape, axis, piece):
    monkeypatch.setattr(_fidelity, "_PIECE", piece)
    x = np.random.default_rng(0).standard_normal(shape, np.float32)
    x[(0,) * len(shape)] = 0
    x[(1,) * len(shape)] = 1e-20  # below its tile's clamp
    found = tally(x, pr.LogFMT(6), axis=axis)
    for name, value in levels_tally(x, 6, axis).items():
        assert getattr(found, name) == pytest.approx(value, rel=2e-5, abs=2e-6 * found.magnitude), name
    tiles = x.size // shape[axis] * -(-shape[axis] // 128)
    assert found.bits == 6 * x.size + 64 * tiles
    assert (found.measured, found.clipped, found.flushed) == (x.size, 0, 1)


def test_logfmt_tiles_with_nan_are_not_measured():
    x = np.ones((2, 300), np.float32) * np.arange(1, 301, dtype=np.float32)
    x[0, 5], x[1, 299] = np.nan, np.inf
    found = tally(x, pr.LogFMT(8))
    assert (found.elements, found.measured, found.non_finite) == (600, 600 - 128 - 44, 2)
    assert math.isfinite(found.noise)


def test_logfmt_whose_last_level_falls_short_clips():
    x = np.float32([[1.0, 1.986]])
    stored = pr.LogFMT(8, metadata=pr.logfmt.Metadata.EXTREMES, metadata_format=pr.BF16)
    assert float(pr.quantize(x, stored).metadata[1][0, 0]) < 1.986
    assert tally(x, stored).clipped == 1 and tally(x, pr.LogFMT(8)).clipped == 0


def test_deepep_counts_what_is_not_cast():
    x = np.tile(np.float32([0.25, 0.5]), (2, 1024))
    x[1] *= 4.03  # not below 1, and no numbers of BF16
    found = tally(x, pr.DEEPEP_LOGFMT10)
    assert found.bits == 10 * 2048 + 16 * 2048 + 2 * 2 * 16 * 16
    rest = tally(x[1:], pr.BF16)
    assert rest.noise > 0 and found.noise == pytest.approx(rest.noise) and found.measured == 4096


def test_a_bare_format_rounds_the_elements_as_they_are():
    x = np.array([[1.0, 1.03, -7.0, 1e-9, 0.0, np.nan, np.inf]])
    found = tally(x, pr.E2M1)
    assert (found.elements, found.measured, found.non_finite, found.bits) == (7, 5, 2, 28)
    assert (found.clipped, found.flushed, found.max_relative_error) == (1, 1, 1.0)
    assert found.noise == pytest.approx(0.03**2 + 1 + 1e-18)
    assert tally(x, pr.BF16).bits_per_element == 16


# ---- the ends of float64's range ------------------------------------------------------------------------
@pytest.mark.parametrize("spec", [pr.LogFMT(8), pr.E4M3, pr.QuantSpec(pr.E4M3, pr.PerGroup(32))], ids=str)
@pytest.mark.parametrize("exponent", [-1070, -600, -540, -470, 0, 470, 510, 600, 1000, 1023])
def test_tallies_over_the_whole_range(exponent, spec):
    rng = np.random.default_rng(exponent + 2000)
    x = np.ldexp(rng.uniform(1, 2, 320), exponent) * rng.choice([-1.0, 1.0], 320)
    with np.errstate(over="raise", divide="raise", invalid="raise"):
        found = tally(x, spec)
        halves = tally(x[:128], spec) + tally(x[128:], spec) if spec != pr.E4M3 else found
    quantized = pr.quantize(x, spec) if spec != pr.E4M3 else pr.round_to(x, spec)
    values = quantized.dequantize(np.float64) if spec != pr.E4M3 else quantized
    values, originals = ([Fraction(float(v)) for v in z] for z in (values, x))
    errors = [v - o for v, o in zip(values, originals, strict=True)]
    signal, noise = (sum(v * v for v in z) for z in (originals, errors))
    bias = sum(e if o > 0 else -e for e, o in zip(errors, originals, strict=True))
    for one in (found, halves):
        assert one.measured == 320
        decibels = 10 * math.log10(signal / noise) if noise else math.inf  # the least subnormals are exact
        assert one.sqnr_db == pytest.approx(decibels, rel=1e-12, abs=1e-12)
        assert one.norm_relative_error == pytest.approx(math.sqrt(noise / signal), rel=1e-12)
        wanted = float(bias / sum(map(abs, originals)))
        assert one.signed_relative_error == pytest.approx(wanted, rel=1e-9, abs=1e-13)


def test_tallies_of_both_ends_add_up():
    large, small = tally(np.array([2.0**1023] * 3), pr.LogFMT(8)), tally(np.array([2.0**-1000] * 5), pr.E4M3)
    for found in (large + small, small + large, Tally() + small + large, small + small + large):
        count = found.measured - 3
        signal = 3 * Fraction(2) ** 2046 + count * Fraction(2) ** -2000
        noise = 3 * (Fraction(float(pr.quantize([2.0**1023], pr.LogFMT(8)).dequantize(np.float64)[0]))
                     - 2**1023) ** 2 + count * Fraction(2) ** -2000  # fmt: skip
        wanted = signal / noise
        exact = 10 * (math.log10(wanted.numerator) - math.log10(wanted.denominator))
        assert found.sqnr_db == pytest.approx(exact, rel=1e-12)
        assert math.ldexp(found.magnitude, found.magnitude_exponent - 1023) == 3.0
    twice = small + small
    assert twice.norm_relative_error == 1.0 and twice.sqnr_db == 0.0 and twice.signed_relative_error == -1.0


def test_ordinary_tallies_are_plain_sums():
    x = np.random.default_rng(3).standard_normal(5000).astype(np.float32)
    found, error = tally(x, pr.E4M3), pr.round_to(x, pr.E4M3).astype(np.float64) - x
    size = np.abs(x.astype(np.float64))
    assert found.signal_exponent == found.noise_exponent == found.magnitude_exponent == 0
    assert (found.signal, found.noise) == (np.sum(size * size), np.sum(error * error))
    assert (found.magnitude, found.signed_error) == (size.sum(), np.sum(np.copysign(1.0, x) * error))
    assert found.norm_relative_error == math.sqrt(found.noise / found.signal)


def test_the_bias_of_zeros_that_become_something_is_infinite():
    assert tally(np.zeros(4), pr.E8M0).signed_relative_error == math.inf  # E8M0 has no zero
    assert tally(np.zeros(4), pr.E4M3).signed_relative_error == 0.0
    assert math.isnan(tally(np.array([np.nan]), pr.E4M3).signed_relative_error)
    assert math.isnan(tally(np.zeros(4), pr.E4M3).norm_relative_error)
