"""Compares random quantized tensors of every spec with an oracle in Python's integers, byte for byte.

    python benchmarks/oracle_fuzz_quantizing.py --count 30000 --seed 1 --jobs 2

It draws the spec (formats, scale rule, granularity, tensor scale, arithmetic and every other field), the
array and the axis of each case from the seed and the case's number; compares codes, scales, the tensor
scale, and the restored values in float32 and float64; prints how many cases of each kind differ, and the
first differences in full, each with the command that runs it again. The oracle (`oracle_quantizing`)
follows the documents and docstrings and was written without reading the package.
"""

import argparse
import math
import random
from dataclasses import replace

import ml_dtypes
import numpy as np
import oracle_fuzz
from oracle_numbers import float32, grid_of, unsigned
from oracle_quantizing import Case, Oracle

import precision as pr

# ---- drawing

FORMATS = pr.formats
ELEMENTS = [
    pr.E4M3, pr.E5M2, pr.E2M1, pr.E2M3, pr.E3M2, pr.FP16, pr.BF16, pr.TF32, pr.E5M6, pr.E8M13, pr.FP32,
    FORMATS.E4M3FNUZ, FORMATS.E5M2FNUZ, FORMATS.E4M3B11FNUZ, FORMATS.E3M4, FORMATS.E4M3_IEEE,
    FORMATS.UE4M3, FORMATS.UE5M3,
    FORMATS.INT8, FORMATS.INT4, FORMATS.MXINT8, FORMATS.UINT8, FORMATS.UINT4, FORMATS.INT2, FORMATS.UINT2,
    FORMATS.UINT1,
    pr.IntFormat(12, fraction_bits=5, symmetric=False), pr.IntFormat(16), pr.IntFormat(4, symmetric=False),
    pr.IntFormat(8, fraction_bits=20), pr.IntFormat(4, fraction_bits=2),
]  # fmt: skip
SCALES = [
    pr.FP32, pr.FP32, pr.FP32, pr.E8M0, pr.E8M0, pr.E4M3, pr.E4M3, FORMATS.UE4M3, FORMATS.UE5M3,
    pr.FP16, pr.BF16, pr.E5M2, FORMATS.E4M3FNUZ, pr.E8M13, FORMATS.E3M4,
]  # fmt: skip
NAMED = [
    pr.MXFP8_E4M3, pr.MXFP8_E5M2, pr.MXFP6_E2M3, pr.MXFP6_E3M2, pr.MXFP4, pr.MXINT8, pr.MXINT4, pr.NVFP4,
    pr.NVFP4_TE, pr.NVFP4_4OVER6, pr.NVINT4,
]  # fmt: skip
SOURCES = [np.float32, np.float32, np.float32, np.float64, np.float64, np.float16, ml_dtypes.bfloat16]
NARROW = [ml_dtypes.float8_e5m2, ml_dtypes.float8_e4m3fn, ml_dtypes.float8_e3m4]


def random_format(rng, *, scale):
    """Draw a format of floating-point numbers for elements or scales."""
    while True:
        exponent, fraction = rng.randint(1, 8), rng.choice([0, 1, 2, 3, 4, 7, 10, rng.randint(0, 23)])
        standard = 2 ** (exponent - 1) - 1
        try:
            fmt = pr.FloatFormat(
                exponent,
                fraction,
                bias=rng.choice([None, None, standard + rng.randint(-5, 5)]),
                signed=rng.random() < (0.4 if scale else 0.8),
                specials=rng.choice(list(pr.Specials)),
                subnormals=not scale or rng.random() < 0.8,
            )
        except ValueError:
            continue
        if not scale or fmt.has_nan:
            return fmt


def random_value(rng, fmt):
    """Draw a positive value of a format of scales."""
    grid = grid_of(fmt)
    if rng.random() < 0.3 or grid.max_code == 0:
        return grid.smallest
    if rng.random() < 0.5:
        code = min(max((grid.bias + rng.randint(-8, 8)) << grid.fraction, 1), grid.max_code)
    else:
        code = rng.randint(1, grid.max_code)
    return grid.value(code)


def draw_granularity(rng, shape):
    """Draw which elements share a scale."""
    roll = rng.random()
    if roll < 0.15:
        return pr.PerTensor()
    if roll < 0.3:
        return pr.PerVector()
    if roll < 0.75 or len(shape) < 2:
        return pr.PerGroup(rng.choice([1, 2, 3, 4, 8, 16, 16, 32, 32, 5, 128]))
    return pr.PerBlock(rng.choice([1, 2, 3, 4, 16, 128]), rng.choice([1, 2, 4, 8, 16, 32, 128]))


def draw_spec(rng, shape):
    """Draw a spec."""
    if rng.random() < 0.2:
        return rng.choice(NAMED)
    while True:
        fmt = rng.choice(ELEMENTS) if rng.random() < 0.75 else random_format(rng, scale=False)
        scale = rng.choice(SCALES) if rng.random() < 0.85 else random_format(rng, scale=True)
        options = {"scale_format": scale, "scale_rule": rng.choice(list(pr.ScaleRule))}
        options["tensor_scale"] = rng.random() < 0.35
        if options["tensor_scale"]:
            options["arithmetic"] = rng.choice(list(pr.Arithmetic))
            if rng.random() < 0.4:
                options["scale_bound"] = rng.choice([1.0, 256.0, 256.1, 0.1, random_value(rng, scale)])
        if rng.random() < 0.35:
            seed = rng.choice([0, rng.getrandbits(64), rng.getrandbits(16)])
            options["rounding"] = rng.choice([*pr.Rounding, pr.Stochastic(rng.randint(1, 32), seed=seed)])
        if rng.random() < 0.25:
            options["overflow"] = pr.Overflow.NON_SATURATING
        if rng.random() < 0.2:
            options["min_amax"] = rng.choice([1e-4, 1e-12, 0.1, 2.0**-140, 3e20])
        if rng.random() < 0.2:
            options["zero_scale"] = random_value(rng, scale)
        if rng.random() < 0.3:
            options["least_scale"] = rng.choice([0.0, random_value(rng, scale)])
        if rng.random() < 0.25:
            options["scale_overflow"] = pr.Overflow.NON_SATURATING
        if rng.random() < 0.3:
            options["non_finite"] = pr.NonFinite.FINITE_AMAX
        try:
            return pr.QuantSpec(fmt, draw_granularity(rng, shape), **options)
        except ValueError:
            continue


def draw_values(rng, draw, shape, dtype, spec):
    """Draw an array, of one of many kinds of values."""
    size = math.prod(shape)
    dtype = np.dtype(dtype)
    kind = rng.choice(["normal", "normal", "bits", "wide", "ties", "tiny", "zeros", "large", "step"])
    if kind == "bits":
        words = (
            draw.integers(0, 1 << (8 * dtype.itemsize), size, dtype=np.uint64, endpoint=False)
            if dtype.itemsize < 8
            else (draw.integers(0, 2**64 - 1, size, dtype=np.uint64, endpoint=True))
        )
        x = words.astype(f"u{dtype.itemsize}").view(dtype)
        return x.reshape(shape)
    x = draw.standard_normal(size)
    if kind == "normal":
        x *= 2.0 ** rng.choice([0, 0, rng.uniform(-30, 30)])
    elif kind == "wide":
        reach = 300 if dtype == np.float64 and rng.random() < 0.5 else rng.choice([10, 40, 140])
        x *= np.exp2(draw.uniform(-reach, reach, size))
    elif kind == "ties":
        x = draw.integers(-64, 65, size) * 2.0 ** rng.randint(-10, 4)
    elif kind == "tiny":
        x *= 2.0 ** rng.choice([-126, -133, -140, -148, -1000 if dtype == np.float64 else -130])
    elif kind == "zeros":
        x = np.where(draw.random(size) < 0.7, draw.choice([0.0, -0.0], size), x)
        if rng.random() < 0.2:
            x = draw.choice([0.0, -0.0], size)
    elif kind == "large":
        x *= 2.0 ** rng.choice([120, 126, 127, 1010 if dtype == np.float64 else 15, 15])
    elif kind == "step":
        top = grid_of(spec.fmt).max
        x = (
            top
            * 2.0 ** rng.randint(-8, 8)
            * (1 + draw.integers(-2, 3, size) * 2.0 ** rng.choice([-23, -24, -52, -8]))
        )
        x *= draw.choice([1.0, -1.0, 0.5, 0.25], size)
    if size and rng.random() < 0.15:
        for _ in range(rng.randint(1, 3)):
            x[rng.randrange(size)] = rng.choice([math.nan, math.inf, -math.inf, -0.0, -math.nan])
    with np.errstate(all="ignore"):
        return x.astype(dtype).reshape(shape)


def tie_of_tensor_scale(rng, spec, x):
    """Put a float64 amax next to where the tensor scale is halfway between two float32 values."""
    bound = grid_of(spec.scale_format).max if spec.scale_bound is None else spec.scale_bound
    scale = (rng.getrandbits(23) | 1 << 23) * 2.0**-23 + 2.0**-24
    amax = grid_of(spec.fmt).max * bound * (scale * 2.0 ** rng.randint(-30, 30))
    if x.size and np.isfinite(amax):
        x.reshape(-1)[rng.randrange(x.size)] = np.nextafter(amax, rng.choice([0.0, amax, np.inf]))


def draw_case(seed, index):
    """Draw the case of a number under a seed."""
    rng = random.Random(f"quantizing {seed} {index}")
    draw = np.random.Generator(np.random.PCG64(rng.getrandbits(64)))
    roll = rng.random()
    if roll < 0.2:
        shape = (rng.randint(0 if rng.random() < 0.1 else 1, 150),)
    elif roll < 0.85:
        shape = (rng.randint(1, 8), rng.choice([rng.randint(1, 12), rng.randint(12, 40), 32]))
        shape = shape if rng.random() < 0.6 else shape[::-1]
    else:
        shape = (rng.randint(1, 3), rng.randint(1, 5), rng.randint(1, 10))
    spec = draw_spec(rng, shape)
    axis = rng.randint(-len(shape), len(shape) - 1)
    if isinstance(spec.granularity, pr.PerBlock):
        axis = rng.choice([-1, -2])
    dtype = rng.choice(SOURCES) if rng.random() < 0.95 else rng.choice(NARROW)
    x = draw_values(rng, draw, shape, dtype, spec)
    tie = spec.tensor_scale and dtype == np.float64 and rng.random() < 0.3
    if tie:
        spec = replace(spec, scale_bound=grid_of(spec.scale_format).max * rng.uniform(0.01, 1.0))
        tie_of_tensor_scale(rng, spec, x)
    roll = rng.random()
    if roll < 0.1:
        x = np.asfortranarray(x)
    elif roll < 0.15:
        x = np.ascontiguousarray(x[..., ::-1])[..., ::-1]
    kind = f"{spec.scale_rule.name}"
    if spec.tensor_scale:
        kind += f", {spec.arithmetic.name}"
        if spec.scale_format == pr.FP32 and spec.fmt.max <= 1:
            kind += ", FP32 scales of elements up to 1"
    if tie:
        kind = "float64 at a tie of the tensor scale"
    return Case(spec, x, axis, kind)


# ---- comparing


def oracle_values(x):
    """Return an array's values as Python floats."""
    with np.errstate(all="ignore"):
        return x.astype(np.float64).reshape(-1).tolist()


def describe(case):
    """Return a case in words."""
    text = f"{case.spec!s}\nx: {case.x.dtype.name} shape {case.x.shape} axis {case.axis}"
    if case.x.size <= 40:
        text += f"\n  {oracle_values(case.x)}"
    return text


def masked(codes, bits):
    """Return codes as Python's integers, without what lies above their bits."""
    return [code & ((1 << bits) - 1) for code in unsigned(codes).reshape(-1).tolist()]


def first_difference(name, got, want):
    """Return the first place where two lists differ, in words, or None."""
    for i, (one, other) in enumerate(zip(got, want, strict=True)):
        if one != other and not (one != one and other != other):
            return f"{name} {i} of {len(got)}: got {one!r}, expected {other!r}"
        if one == 0 and isinstance(one, float) and math.copysign(1, one) != math.copysign(1, other):
            return f"{name} {i} of {len(got)}: got {one!r}, expected {other!r}"
    return None


def compare(seed, index):
    """Run one case; return its kind, and the difference in words or None."""
    case = draw_case(seed, index)
    oracle = Oracle(case)
    codes, scales, members = oracle.run()
    if oracle.overflown and case.spec.non_finite.name == "FINITE_AMAX":
        case.kind = "scale * tensor scale = Inf, FINITE_AMAX"
    try:
        given = pr.quantize(case.x, case.spec, axis=case.axis)
        restored = given.dequantize(), given.dequantize(np.float64)
    except Exception as error:
        return case.kind, f"{describe(case)}\nraised {type(error).__name__}: {error}"
    difference = differences(oracle, given, restored, codes, scales, members)
    if difference is not None:
        scale = [oracle.scale_grid.value(code) for code in scales]
        got = np.asarray(given.scale).reshape(-1).tolist() if given.scale.size < 20 else "..."
        difference += f"\nscales got {got}\nexpected {scale if len(scale) < 20 else '...'}"
        difference += f"\ntensor scale got {given.tensor_scale!r}, expected {oracle.tensor_scale!r}"
        return case.kind, f"{describe(case)}\n{difference}"
    return case.kind, None


def differences(oracle, given, restored, codes, scales, members):
    """Return the first difference between a quantized tensor and the oracle's, in words, or None."""
    if given.codes.shape != oracle.x.shape or given.scale.shape != oracle.scale_shape:
        return f"shapes {given.codes.shape} {given.scale.shape}, expected scales {oracle.scale_shape}"
    if (given.tensor_scale is None) != (oracle.tensor_scale is None) or (
        oracle.tensor_scale is not None and float(given.tensor_scale) != oracle.tensor_scale
    ):
        return f"tensor scale got {given.tensor_scale!r}, expected {oracle.tensor_scale!r}"
    scale_bits, bits = oracle.scale_grid.bits, oracle.grid.bits
    found = first_difference("scale", masked(given.scale, scale_bits), scales)
    found = found or first_difference("code", masked(given.codes, bits), codes)
    if found:
        return found
    exact = [0.0] * len(codes)
    for index, scale_code in zip(members, scales, strict=True):
        factor = oracle.multiplier(scale_code)
        for i in index:
            exact[i] = oracle.grid.value(codes[i]) * factor
    rounded = [float32(value) for value in exact]
    return first_difference("float32 value", restored[0].reshape(-1).tolist(), rounded) or first_difference(
        "float64 value", restored[1].reshape(-1).tolist(), exact
    )


def main():
    """Run the fuzz."""
    oracle_fuzz.main(compare, "benchmarks/oracle_fuzz_quantizing.py", __doc__, argparse.ArgumentParser)


if __name__ == "__main__":
    main()
