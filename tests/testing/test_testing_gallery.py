"""Mutants of good quantizers, one realistic bug each: the checks must catch every one and name it.

The good ones are plain NumPy and ml_dtypes. ``found`` says where a bug was met, by kind of source.
"""

from dataclasses import replace

import ml_dtypes
import numpy as np
import pytest

import precision as pr
from precision.testing import check_quantizer

E4M3, E5M2, E2M1 = (
    np.dtype(getattr(ml_dtypes, n)) for n in ("float8_e4m3fn", "float8_e5m2", "float4_e2m1fn")
)
FP32_GROUPS = pr.QuantSpec(pr.E4M3, pr.PerGroup(128))
INT8_ROWS = pr.QuantSpec(pr.IntFormat(8), pr.PerVector())
RCEIL = replace(pr.MXFP8_E4M3, scale_rule=pr.ScaleRule.RCEIL)


# ---- good: elements --------------------------------------------------------------------------------------
def e4m3(x):
    return np.clip(x, -448, 448).astype(E4M3)


def e5m2(x):
    return np.clip(x, -57344, 57344).astype(E5M2)


def e2m1(x):
    return np.clip(x, -6, 6).astype(E2M1)


def int8(x):
    return np.clip(np.rint(x), -127, 127).astype(np.int8)


# ---- good: blocks ----------------------------------------------------------------------------------------
def tiles(x, n):
    """(rows, blocks, n), the last block filled up with zeros."""
    rows, width = x.shape
    padded = np.zeros((rows, -(-width // n) * n), x.dtype)
    padded[:, :width] = x
    return padded.reshape(rows, -1, n)


def amax_of(t):
    return np.abs(t).max(-1)


def floor_exponent(amax):
    """floor(log2) from the bits, exactly; zero is as small as the smallest."""
    return np.frexp(np.where(amax > 0, amax, 2.0**-149).astype(np.float64))[1] - 1


def e8m0(exponent, amax):
    scale = np.exp2(np.clip(exponent, -127, 127).astype(np.float64)).astype(np.float32)
    return np.where(np.isfinite(amax), scale, np.float32(np.nan))


def mxfp8(x, amax=amax_of, exponent=lambda amax: floor_exponent(amax) - 8, element=e4m3, divide=np.divide):
    t = tiles(x, 32)
    largest = amax(t)
    scale = e8m0(exponent(largest), largest)
    codes = element(divide(t, scale[..., None])).reshape(len(x), -1)[:, : x.shape[1]]
    return codes, scale.astype(ml_dtypes.float8_e8m0fnu)


def exact_rceil(amax):
    fraction, exponent = np.frexp(np.where(amax > 0, amax, 2.0**-149).astype(np.float64) / 448)
    return np.where(fraction > 0.5, exponent, exponent - 1)


def mxfp4(x, **changes):
    return mxfp8(x, **{"exponent": lambda amax: floor_exponent(amax) - 2, "element": e2m1, **changes})


def plain_scale(amax):
    scale = amax / np.float32(448)
    tiny = np.float32(2.0**-149)
    return np.where(
        amax == 0, np.float32(1), np.where(np.isfinite(amax), np.maximum(scale, tiny), np.float32(np.nan))
    )


def groups(x, amax=amax_of, scale_of=plain_scale, divide=np.divide, n=128, element=e4m3):
    t = tiles(x, n)
    scale = scale_of(amax(t)).astype(np.float32)
    return element(divide(t, scale[..., None])).reshape(len(x), -1)[:, : x.shape[1]], scale


def int8_rows(x, top=127, element=int8):
    amax = np.abs(x).max(1, keepdims=True)
    scale = np.where(amax == 0, np.float32(1), np.maximum(amax / np.float32(top), np.float32(2.0**-149)))
    scale = np.where(np.isfinite(amax), scale, np.float32(np.nan))
    q = np.divide(x, scale)
    return element(np.where(np.isnan(q), 0, q)), scale


LEAST = np.float32(2.0**-9)


def nvfp4(x, least=LEAST, order="paper", applied=True):
    t = tiles(x, 16)
    amax = amax_of(t)
    finite = amax[np.isfinite(amax)]
    top = finite.max() if finite.size and finite.max() > 0 else None
    big = np.float32(np.finfo(np.float32).max)
    encode = np.float32(1) if top is None else np.clip(np.float32(2688) / top, np.float32(2.0**-126), big)
    tensor = np.float32(1) / encode
    if order == "paper":
        wanted = (amax / np.float32(6)) * encode
    else:
        wanted = amax * (encode * (np.float32(1) / np.float32(6)))
    scale = np.maximum(np.clip(wanted, 0, 448).astype(E4M3).astype(np.float32), least)
    scale = np.where(np.isfinite(amax), scale, np.float32(np.nan))
    with np.errstate(divide="ignore"):
        inverse = np.minimum(np.float32(1) / (scale * (tensor if applied else np.float32(1))), big)
    q = t * inverse[..., None]
    codes = e2m1(np.where(np.isnan(q), 0, q)).reshape(len(x), -1)[:, : x.shape[1]]
    return codes, scale.astype(E4M3), tensor


GOOD = {
    "e4m3": (pr.E4M3, e4m3),
    "e5m2": (pr.E5M2, e5m2),
    "e2m1": (pr.E2M1, e2m1),
    "int8": (pr.IntFormat(8), int8),
    "mxfp8": (pr.MXFP8_E4M3, mxfp8),
    "mxfp8 restored": (pr.MXFP8_E4M3, lambda x: restored(*mxfp8(x))),
    "mxfp8 by rceil": (RCEIL, lambda x: mxfp8(x, exponent=exact_rceil)),
    "mxfp4": (pr.MXFP4, lambda x: mxfp4(x, element=lambda q: e2m1(np.where(np.isnan(q), 0, q)))),
    "groups of 128": (FP32_GROUPS, groups),
    "int8 rows": (INT8_ROWS, int8_rows),
    "nvfp4": (pr.NVFP4, nvfp4),
}


def restored(codes, scale):
    wide = np.repeat(scale.astype(np.float32), 32, axis=1)[:, : codes.shape[1]]
    return codes.astype(np.float32) * wide


@pytest.mark.parametrize("name", GOOD)
def test_good_quantizers_pass(name):
    like, fn = GOOD[name]
    report = check_quantizer(fn, like)
    assert report.ok, str(report)


# ---- mutants: elements -----------------------------------------------------------------------------------
def by_thresholds(x):
    """Magnitudes by comparing with midpoints; a tie is not above its midpoint."""
    middle = np.float32([0.25, 0.75, 1.25, 1.75, 2.5, 3.5, 5])
    code = (np.abs(x)[..., None] > middle).sum(-1).astype(np.uint8)
    return code | (np.signbit(x).astype(np.uint8) << 3)


def half_away(x):
    """To 3 fraction bits through frexp, and floor(|x| + 0.5) with the sign put back."""
    magnitude = np.minimum(np.abs(x.astype(np.float64)), 448)
    exponent = np.maximum(np.frexp(magnitude)[1] - 1, -6)
    rounded = np.floor(np.ldexp(magnitude, 3 - exponent) + 0.5)
    return np.copysign(np.minimum(np.ldexp(rounded, exponent - 3), 448), x).astype(np.float32)


def shifted(x):
    """E5M2 as the upper byte of float16."""
    return (np.clip(x, -57344, 57344).astype(np.float16).view(np.uint16) >> 8).astype(np.uint8)


def half_up(x):
    return np.clip(np.floor(x + np.float32(0.5)), -127, 127).astype(np.int8)


def truncated(x):
    magnitude = np.minimum(np.abs(x.astype(np.float64)), 448)
    exponent = np.maximum(np.frexp(magnitude)[1] - 1, -6)
    cut = np.floor(np.ldexp(magnitude, 3 - exponent))
    return np.copysign(np.ldexp(cut, exponent - 3), x).astype(np.float32)


def flushed(x):
    return np.where(np.abs(x) < 2.0**-6, np.copysign(np.float32(0), x), e4m3(x).astype(np.float32)).astype(
        E4M3
    )


def clamped_by_fmin(x):
    """IEEE's minNum and maxNum. NumPy's own return a signalling NaN on some processors, so these compare."""
    below = np.where(x < 448, x, np.float32(448))
    return np.where(below > -448, below, np.float32(-448)).astype(E4M3)


def sign_by_comparison(x):
    return np.where(
        x < 0, -e4m3(np.abs(x)).astype(np.float32), e4m3(np.abs(x)).astype(np.float32)
    ) + np.float32(0)


def fnuz_codes(x):
    return np.clip(x, -240, 240).astype(ml_dtypes.float8_e4m3fnuz).view(np.uint8)


def tail_forgotten(x):
    flat = x.reshape(-1)
    out = np.zeros(flat.shape, E4M3)
    whole = flat.size // 8 * 8 if flat.size > 16 else flat.size
    out[:whole] = e4m3(flat[:whole])
    return out.reshape(x.shape)


def finite_only(x):
    """Finite numbers saturate, infinities are left to the cast."""
    return np.where(np.isinf(x), x, np.clip(x, -448, 448)).astype(E4M3)


def through_bfloat16(x):
    return e4m3(x.astype(ml_dtypes.bfloat16).astype(np.float32))


def through_float16(x):
    return np.clip(x, -57344, 57344).astype(np.float16).astype(np.float32).astype(E4M3).astype(np.float32)


def normals_first(x):
    """To three fraction bits as if there were no subnormals, then to their grid."""
    kept = np.clip(x, -448, 448).astype(np.float64)
    fraction, exponent = np.frexp(kept)
    return np.ldexp(np.rint(np.ldexp(fraction, 4)), exponent - 4).astype(np.float32).astype(E4M3)


ELEMENTS = [
    # name, like, options, mutant, cause, where it was met
    ("half away", pr.E4M3, {}, half_away, "ties away from zero", "an emulator's default rounding"),
    ("strict comparison", pr.E2M1, {}, by_thresholds, "ties toward zero", "a GPU library's FP4 helper"),
    ("plain cast", pr.E4M3, {}, lambda x: x.astype(E4M3), "does not saturate", "type libraries' casts"),
    (
        "float64 through float32",
        pr.E4M3,
        {"dtype": np.float64},
        lambda x: np.clip(x, -448, 448).astype(np.float32).astype(E4M3),
        "double rounding through float32",
        "a type library's cast of float64",
    ),
    ("through bfloat16", pr.E4M3, {}, through_bfloat16, "double rounding through bfloat16", ""),
    ("shifted out", pr.E5M2, {}, shifted, "rounded to float16 and then truncated", ""),
    ("floor of the magnitude", pr.E4M3, {}, truncated, "truncates", ""),
    ("no subnormals", pr.E4M3, {}, flushed, "subnormals flushed", "arXiv 2310.10537, algorithm 1"),
    ("two roundings of subnormals", pr.E4M3, {}, normals_first, "double rounding of subnormals", ""),
    ("clamped by fmin", pr.E4M3, {}, clamped_by_fmin, "NaN saturated", "PTX's rule for FP4 and FP6"),
    ("sign by comparison", pr.E4M3, {}, sign_by_comparison, "-0 lost", ""),
    ("integers by a cast", pr.parse_format("int4"), {}, lambda x: x.astype(ml_dtypes.int4),
     "truncates, and overflow wraps around", "a type library's int4"),
    ("all of int8", pr.IntFormat(8), {}, lambda x: np.clip(np.rint(x), -128, 127).astype(np.int8),
     "the code -128 is used", "integer quantizers"),
    ("half up", pr.IntFormat(8), {}, half_up, "ties up: floor(x + 0.5)", ""),
    ("the other E4M3", pr.E4M3, {}, fnuz_codes, "codes of e4m3fnuz instead of e4m3", "two kinds of GPUs"),
    ("another E4M3's limit", pr.E4M3, {}, lambda x: np.clip(x, -240, 240).astype(E4M3),
     "largest value is 240 instead of 448", "E4M3 with IEEE specials"),
    ("tail forgotten", pr.E4M3, {}, tail_forgotten, "depends on the array's length", ""),
    ("infinities not clamped", pr.E4M3, {}, finite_only, "Inf becomes NaN", "arXiv 2209.05433's rule"),
]  # fmt: skip


# ---- mutants: blocks -------------------------------------------------------------------------------------
def divided_first(x):
    t = tiles(x, 32)
    amax = amax_of(t)
    wanted = np.where(amax > 0, amax, np.float32(1)) / np.float32(448)
    codes = e4m3(t / wanted[..., None]).reshape(len(x), -1)[:, : x.shape[1]]
    return codes, e8m0(exact_rceil(amax), amax).astype(ml_dtypes.float8_e8m0fnu)


def log2_floor(amax):
    with np.errstate(all="ignore"):
        return np.where(amax > 0, np.floor(np.log2(amax)) - 8, -127)


def log2_ceil(amax):
    with np.errstate(all="ignore"):
        return np.where(amax > 0, np.ceil(np.log2(amax / np.float32(448))), -127)


def wrong_axis(x):
    if x.shape[0] != x.shape[1] or x.shape[0] % 32:
        return mxfp8(x)
    codes, scale = mxfp8(np.ascontiguousarray(x.T))
    return np.ascontiguousarray(codes.T), np.ascontiguousarray(scale.T).reshape(len(x), -1)


def short_block_skipped(x):
    codes, scale = mxfp8(x)
    codes[:, x.shape[1] // 32 * 32 :] = 0
    return codes, scale


def astype_e8m0(x):
    t = tiles(x, 32)
    amax = amax_of(t)
    scale = np.maximum(amax / np.float32(448), np.float32(2.0**-127)).astype(ml_dtypes.float8_e8m0fnu)
    return e4m3(t / scale.astype(np.float32)[..., None]).reshape(len(x), -1)[:, : x.shape[1]], scale


def small_zero_scale(x):
    codes, scale = mxfp8(x)
    scale[amax_of(tiles(x, 32)) == 0] = 2.0**-126
    return codes, scale


def without_abs(x):
    return groups(x, amax=lambda t: np.abs(t.max(-1)))


def nan_aware(x):
    with np.errstate(all="ignore"):
        return groups(x, amax=lambda t: np.fmax.reduce(np.abs(t), axis=-1))


def scale_of_reciprocal(amax):
    return np.where(
        amax == 0, plain_scale(amax), np.maximum(amax * np.float32(1 / 448), np.float32(2.0**-149))
    )


def by_256(amax):
    return np.where(amax == 0, plain_scale(amax), np.maximum(amax / np.float32(256), np.float32(2.0**-149)))


def times_reciprocal(t, scale):
    with np.errstate(all="ignore"):
        return t * (np.float32(1) / scale)


def int8_by_128(x):
    return int8_rows(x, top=128)


BLOCKS = [
    ("scale rounded late", RCEIL, divided_first, "scale rounded after the elements were divided",
     "a trap in the wild: errors 14 times larger"),
    ("floor of a logarithm", pr.MXFP8_E4M3, lambda x: mxfp8(x, exponent=log2_floor),
     "floor of float32 log2 of amax", "an emulator of MX"),
    ("ceil of a logarithm", RCEIL, lambda x: mxfp8(x, exponent=log2_ceil),
     "ceil of float32 log2 of amax / max", "MX quantizers"),
    ("NVIDIA's rule for OCP's", pr.MXFP8_E4M3, lambda x: mxfp8(x, exponent=exact_rceil),
     "scale rule RCEIL instead of FLOOR", "two recipes of one name"),
    ("cast to E8M0", RCEIL, astype_e8m0, "scale rounded to nearest instead of RCEIL", "a trap in the wild"),
    ("zero block of 2^-126", pr.MXFP8_E4M3, small_zero_scale,
     "a block of zeros has the scale 1.17549e-38 instead of 5.87747e-39", "an emulator of MX"),
    ("wrong axis", pr.MXFP8_E4M3, wrong_axis, "group size taken along the wrong axis", ""),
    ("short block skipped", pr.MXFP8_E4M3, short_block_skipped, "the last, shorter block left out", ""),
    ("ties away under a scale", pr.MXFP4, lambda x: mxfp4(x, element=by_away), "ties away from zero",
     "an emulator's default rounding"),
    ("ties down under a scale", pr.MXFP4, lambda x: mxfp4(x, element=by_thresholds), "ties toward zero",
     "a GPU library's FP4 helper"),
    ("not clipped", pr.MXFP8_E4M3, lambda x: mxfp8(x, element=lambda q: q.astype(E4M3)), "does not saturate",
     "quantizers without a clip"),
    ("scale by a reciprocal", FP32_GROUPS, lambda x: groups(x, scale_of=scale_of_reciprocal),
     "amax * (1 / max) instead of amax / max", "two training libraries"),
    ("elements by a reciprocal", FP32_GROUPS, lambda x: groups(x, divide=times_reciprocal),
     "reciprocal multiplied instead of divided", "a GEMM library's quantizer"),
    ("clamped amax", FP32_GROUPS,
     lambda x: groups(x, amax=lambda t: np.maximum(amax_of(t), np.float32(1e-4))),
     "amax below 0.0001 counts as it", "a GEMM library's quantizer"),
    ("amax of the signed numbers", FP32_GROUPS, without_abs,
     "largest element instead of largest magnitude", ""),
    ("amax without NaN", FP32_GROUPS, nan_aware, "NaN left out of amax", ""),
    ("groups of 64", FP32_GROUPS, lambda x: groups(x, amax=lambda t: amax_of(t[..., :64])),
     "amax of a group of 64", ""),
    ("256 for 448", FP32_GROUPS, lambda x: groups(x, scale_of=by_256),
     "max is 256 instead of 448", ""),
    ("128 for 127", INT8_ROWS, int8_by_128, "max is 128 instead of 127", "integer quantizers"),
    ("TransformerEngine's order", pr.NVFP4, lambda x: nvfp4(x, order="folded"),
     "arithmetic TRANSFORMER_ENGINE instead of NVFP4_PAPER", "a training library"),
    ("scales of at least 2^-6", pr.NVFP4, lambda x: nvfp4(x, least=np.float32(2.0**-6)),
     "least scale is 0.015625 instead of 0.00195312", "a quantization library"),
    ("tensor scale forgotten", pr.NVFP4, lambda x: nvfp4(x, applied=False),
     "tensor scale not applied to the elements", ""),
]  # fmt: skip


def by_away(q):
    """E2M1 with ties away from zero."""
    middle = np.float32([0.25, 0.75, 1.25, 1.75, 2.5, 3.5, 5])
    return (np.abs(q)[..., None] >= middle).sum(-1).astype(np.uint8) | (np.signbit(q).astype(np.uint8) << 3)


@pytest.mark.parametrize("mutant", ELEMENTS, ids=lambda m: m[0])
def test_mutant_of_a_format(mutant):
    _, like, options, fn, cause, _ = mutant
    report = check_quantizer(fn, like, **options)
    assert cause in report.causes, str(report)
    assert report.causes == (cause,), str(report)


@pytest.mark.parametrize("mutant", BLOCKS, ids=lambda m: m[0])
def test_mutant_of_a_spec(mutant):
    _, like, fn, cause, _ = mutant
    report = check_quantizer(fn, like)
    assert cause in report.causes, str(report)
    assert report.causes == (cause,), str(report)


def test_half_of_the_gallery_was_met():
    met = [mutant[-1] for mutant in ELEMENTS + BLOCKS]
    assert len(met) >= 15 and sum(map(bool, met)) * 2 >= len(met)
