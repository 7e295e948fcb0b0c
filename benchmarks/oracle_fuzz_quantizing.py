"""Compares random quantized tensors of every spec with an oracle in Python's integers, byte for byte.

    python benchmarks/oracle_fuzz_quantizing.py --count 30000 --seed 1 --jobs 2

It draws the spec (formats, scale rule, granularity, tensor scale, arithmetic and every other field), the array and the
axis of each case from the seed and the case's number; compares codes, scales, the tensor scale, and the restored values
in float32 and float64; prints how many cases of each kind differ, and the first differences in full, each with the
command that runs it again. The oracle follows the documents and docstrings and was written without reading the package.
"""

import argparse
import math
import random
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np
import oracle_fuzz
from oracle_numbers import (
    LARGEST_FLOAT32,
    SMALLEST_FLOAT32,
    SMALLEST_NORMAL_FLOAT32,
    carries,
    float32,
    grid_of,
    parts,
    philox,
    round_fraction,
    unsigned,
)
from oracle_numbers import Fraction as Exact

import precision as pr


@dataclass
class Case:
    """One array and the spec that quantizes it."""

    spec: Any
    x: np.ndarray
    axis: int
    kind: str


# ---- the oracle ---------------------------------------------------------------------------------------------------

POWERS = ("FLOOR", "CEIL", "RCEIL", "RCEIL_RECIPROCAL", "EVEN")


def floor_log2(value):
    """Return the largest whole e with 2**e <= value, of a positive float."""
    return math.frexp(value)[1] - 1


def encode(grid, value, mode, overflow, random_bits=None):
    """Return the code of a finite or infinite float, by a rounding and a rule for overflow."""
    negative = math.copysign(1.0, value) < 0
    saturate = overflow == "SATURATE"
    if grid.is_int:
        return encode_int(grid, value, mode, negative, random_bits)
    if math.isinf(value):
        code = grid.max_code + 1
    else:
        mantissa, place = parts(value)
        code = grid.round_magnitude(abs(mantissa), place, mode, negative, random_bits)
    if negative and not grid.signed and code:
        return 0 if saturate else grid.nan_code
    sign = grid.sign_bit if negative and grid.signed else 0
    if code > grid.max_code:
        if saturate:
            code = grid.max_code
        elif grid.has_inf:
            code = grid.inf_code
        else:
            return grid.nan_code | (sign if grid.nan_has_sign else 0)
    if code == 0 and not grid.negative_zero:
        return 0
    return code | sign


def encode_int(grid, value, mode, negative, random_bits):
    """Return the code of a finite or infinite float in an integer format, which saturates."""
    if math.isinf(value):
        whole = grid.min_integer if negative else grid.max_integer
    else:
        mantissa, place = parts(value)
        place += grid.fraction
        size = abs(mantissa)
        if place >= 0:
            size <<= place
        else:
            kept = size >> -place
            rest = size - (kept << -place)
            if rest:
                kept += carries(mode, kept & 1, rest, 1 << (-place - 1), -place, negative, random_bits)
            size = kept
        whole = max(min(-size if negative else size, grid.max_integer), grid.min_integer)
    return whole & ((1 << grid.bits) - 1)


class Oracle:
    """The quantized tensor of one case."""

    def __init__(self, case):
        spec = self.spec = case.spec
        self.x = case.x
        self.wide = case.x.dtype == np.float64
        self.grid, self.scale_grid = grid_of(spec.fmt), grid_of(spec.scale_format)
        self.rule = spec.scale_rule.name
        self.arithmetic = spec.arithmetic.name
        self.block = block_of(spec.granularity, case.x.shape, case.axis)
        self.scale_shape = tuple(
            -(-extent // (n or max(extent, 1))) for n, extent in zip(self.block, case.x.shape, strict=True)
        )
        self.bound = self.scale_grid.max if spec.scale_bound is None else spec.scale_bound
        self.aim = self.grid.max * self.bound  # a value of the source's type, where that does not overflow
        if math.isfinite(self.fl(self.aim)):
            self.aim = self.fl(self.aim)
        self.least = self.scale_grid.smallest if spec.least_scale is None else spec.least_scale
        if spec.zero_scale is not None:
            self.zero = spec.zero_scale
        else:
            self.zero = 1.0 if spec.scale_format == pr.FP32 else self.least
        stochastic = isinstance(spec.rounding, pr.Stochastic)
        self.mode = spec.rounding.bits if stochastic else spec.rounding.name
        self.seed = spec.rounding.seed if stochastic else None
        self.overflown = False

    def fl(self, value):
        """Round a float64 result of one operation on the source's values to the source's type."""
        return value if self.wide else float32(value)

    def divide(self, a, b):
        """Divide two values of the source's type, as IEEE 754 does."""
        with np.errstate(all="ignore"):
            return self.fl(float(np.float64(a) / np.float64(b)))

    def run(self):
        """Return codes, scales' codes, scales' values, the tensor scale and restored values."""
        with np.errstate(all="ignore"):
            flat = self.x.astype(np.float64).reshape(-1).tolist()
        self.values = flat
        members = self.members()
        groups = [self.group(index) for index in members]
        least = 0.0 if self.spec.min_amax is None else self.fl(self.spec.min_amax)
        self.amax = max([amax for amax, nan in groups if not nan], default=least)
        self.tensor_scale = self.enc = None
        if self.spec.tensor_scale:
            self.set_tensor_scale()
        codes, scales = [0] * len(flat), []
        for index, (amax, nan) in zip(members, groups, strict=True):
            scale_code, found = self.quantize_group(index, amax, nan)
            scales.append(scale_code)
            for i, code in zip(index, found, strict=True):
                codes[i] = code
        return codes, scales, members

    def members(self):
        """Return the flat indices of each group's elements, in order."""
        shape = self.x.shape
        number = np.zeros(shape, np.int64)
        for axis, (n, count) in enumerate(zip(self.block, self.scale_shape, strict=True)):
            place = np.arange(shape[axis]) // (n or max(shape[axis], 1))
            number = number * count + place.reshape([-1 if d == axis else 1 for d in range(len(shape))])
        result = [[] for _ in range(math.prod(self.scale_shape))]
        for i, group in enumerate(number.reshape(-1).tolist()):
            result[group].append(i)
        return result

    def group(self, index):
        """Return a group's amax, and whether its scale is NaN."""
        largest, odd = 0.0, False
        for i in index:
            value = abs(self.values[i])
            if not math.isfinite(value):
                odd = True
            elif value > largest:
                largest = value
        if self.spec.min_amax is not None:
            largest = max(largest, self.fl(self.spec.min_amax))
        return largest, odd and self.spec.non_finite.name == "NAN_SCALE"

    def set_tensor_scale(self):
        """Set the tensor scale, and of the arithmetics that multiply its reciprocal."""
        aim = Exact(self.aim)
        if self.arithmetic == "DIVISION":
            self.tensor_scale = 1.0
            if self.amax:
                scale = round_fraction(Exact(self.amax) / aim)
                self.tensor_scale = min(max(scale, SMALLEST_FLOAT32), LARGEST_FLOAT32)
            return
        self.enc = 1.0
        if self.amax:
            self.enc = round_fraction(aim / Exact(self.amax))
            self.enc = min(max(self.enc, SMALLEST_NORMAL_FLOAT32), LARGEST_FLOAT32)
        self.tensor_scale = min(float32(1.0 / self.enc), LARGEST_FLOAT32)

    # -- scales

    def unrounded(self, amax):
        """Return the scale before rounding, of AMAX and FOUR_OVER_SIX."""
        if self.enc is None:
            scale = self.divide(amax, self.grid.max)
            return scale if self.tensor_scale is None else self.divide(scale, self.tensor_scale)
        if self.arithmetic == "TRANSFORMER_ENGINE" and self.rule == "AMAX":
            return self.fl(amax * self.fl(self.enc * self.divide(1.0, self.grid.max)))
        return self.fl(self.divide(amax, self.grid.max) * self.enc)

    def stored(self, value):
        """Return the code of a scale rounded to its format, or that of NaN."""
        grid = self.scale_grid
        if math.isinf(value):
            code = grid.max_code + 1
        else:
            mantissa, place = parts(value)
            if not grid.subnormals and value < grid.smallest:
                code = 0
            else:
                code = grid.round_magnitude(mantissa, place, "TIES_TO_EVEN", False)
        if code > grid.max_code:
            return grid.max_code if self.spec.scale_overflow.name == "SATURATE" else grid.nan_code
        return max(code, self.code_of(self.least))

    def code_of(self, value):
        """Return the code of a scale that is a value of its format."""
        if value == 0:
            return 0
        mantissa, place = parts(value)
        return self.scale_grid.round_magnitude(mantissa, place, "TOWARD_ZERO", False)

    def power(self, amax):
        """Return the code of the scale of a rule for powers of two."""
        value = amax
        if self.tensor_scale is not None:
            value = self.divide(amax, self.tensor_scale)
        grid = self.scale_grid
        if value == 0:
            return self.code_of(self.least)
        exponent = grid.emax + 1 if math.isinf(value) else self.exponent(value)
        if exponent > grid.emax:
            if self.spec.scale_overflow.name != "SATURATE":
                return grid.nan_code
            exponent = grid.emax
        smallest = floor_log2(grid.smallest)
        if exponent < smallest:
            return self.code_of(self.least)
        return max(self.code_of(math.ldexp(1.0, exponent)), self.code_of(self.least))

    def exponent(self, value):
        """Return the exponent of the scale of a value, by the rule."""
        base = floor_log2(value)
        if self.rule == "FLOOR":
            return base - self.grid.emax
        if self.rule == "CEIL":
            return base + (math.frexp(value)[0] != 0.5) - self.grid.emax
        if self.rule == "EVEN":
            bits = self.grid.significand_bits
            kept = Exact(value) / Exact(2) ** (base - bits + 1)
            return base + (math.floor(kept + Exact(1, 2)) >= 1 << bits) - self.grid.emax
        if self.rule == "RCEIL":
            quotient = Exact(value) / Exact(self.grid.max)
            found = floor_log2(value) - self.grid.emax - 2
            while Exact(2) ** found < quotient:
                found += 1
            return found
        reciprocal = float32(1.0 / self.grid.max)
        scaled = round_fraction(Exact(value) * Exact(reciprocal))
        if math.isinf(scaled):
            return 128
        bits = int(np.float32(scaled).view(np.uint32))
        field, fraction = bits >> 23, bits & 0x7FFFFF
        if (0 < field < 254 and fraction > 0) or (field == 0 and fraction > 0x400000):
            field += 1
        return field - 127

    # -- elements

    def quantize_group(self, index, amax, nan):
        """Return the code of a group's scale, and its elements' codes."""
        grid = self.scale_grid
        if nan:
            return grid.nan_code, [self.nan_element()] * len(index)
        if amax == 0:
            code = self.code_of(self.zero)
            return code, self.elements(index, code)
        if self.rule in POWERS:
            code = self.power(amax)
            return code, self.elements(index, code)
        scale = self.unrounded(amax)
        first = self.stored(scale)
        found = self.elements(index, first)
        if not self.rule.startswith("FOUR"):
            return first, found
        second = self.stored(self.fl(1.5 * scale))
        other = self.elements(index, second)
        if self.error(index, second, other) < self.error(index, first, found):
            return second, other
        return first, found

    def nan_element(self):
        """Return the code of an element under a scale that is NaN."""
        if self.grid.has_nan:
            return self.grid.nan_code
        return 0 if self.spec.non_finite.name == "NAN_SCALE" else self.largest_code()

    def multiplier(self, code):
        """Return what codes are multiplied by."""
        scale = self.scale_grid.value(code)
        return scale if self.tensor_scale is None else float32(scale * self.tensor_scale)

    def elements(self, index, scale_code):
        """Return the codes of elements under a scale."""
        divisor = self.multiplier(scale_code)
        self.overflown = self.overflown or math.isinf(divisor)
        if math.isnan(divisor):
            return [self.nan_element()] * len(index)
        if divisor == 0:
            divisor = SMALLEST_FLOAT32
        factor = None
        if self.enc is not None:
            factor = min(float32(1.0 / divisor), LARGEST_FLOAT32)
        codes = []
        for i in index:
            value = self.values[i]
            if math.isnan(value):
                codes.append(self.grid.nan_code if self.grid.has_nan else self.largest_code())
                continue
            if math.isfinite(value):
                value = self.divide(value, divisor) if factor is None else self.fl(value * factor)
            bits = None
            if self.seed is not None:
                bits = philox(i & 0xFFFFFFFF, i >> 32, self.seed) >> (32 - self.mode)
            codes.append(encode(self.grid, value, self.mode, self.spec.overflow.name, bits))
        return codes

    def largest_code(self):
        """Return the code of the largest value of the elements."""
        return self.grid.max_integer if self.grid.is_int else self.grid.max_code

    def error(self, index, scale_code, codes):
        """Return the sum of errors of a group, each operation rounded to the source's type."""
        factor = self.multiplier(scale_code)
        scale = self.scale_grid.value(scale_code)
        total = 0.0
        for i, code in zip(index, codes, strict=True):
            value = self.values[i]
            if not math.isfinite(value):
                continue
            element = self.grid.value(code)
            if self.arithmetic == "TRANSFORMER_ENGINE":
                restored = self.divide(self.fl(self.fl(element * scale) * self.amax), self.fl(self.aim))
            else:
                restored = self.fl(element * factor)
            difference = self.fl(restored - value)
            part = abs(difference) if self.rule == "FOUR_OVER_SIX_MAE" else self.fl(difference * difference)
            total = self.fl(total + part)
        return total


def block_of(granularity, shape, axis):
    """Return the elements under one scale along each axis."""
    name = type(granularity).__name__
    axis %= len(shape)
    if name == "PerTensor":
        return (None,) * len(shape)
    block = [1] * len(shape)
    if name == "PerVector":
        block[axis] = None
    elif name == "PerGroup":
        block[axis] = granularity.n
    else:
        other = len(shape) - 1 if axis == len(shape) - 2 else len(shape) - 2
        block[axis], block[other] = granularity.m, granularity.n
    return tuple(block)


# ---- drawing ------------------------------------------------------------------------------------------------------

FORMATS = pr.formats
ELEMENTS = [
    pr.E4M3, pr.E5M2, pr.E2M1, pr.E2M3, pr.E3M2, pr.FP16, pr.BF16, pr.TF32, pr.E5M6, pr.E8M13, pr.FP32,
    FORMATS.E4M3FNUZ, FORMATS.E5M2FNUZ, FORMATS.E4M3B11FNUZ, FORMATS.E3M4, FORMATS.E4M3_IEEE, FORMATS.UE4M3, FORMATS.UE5M3,
    FORMATS.INT8, FORMATS.INT4, FORMATS.MXINT8, FORMATS.UINT8, FORMATS.UINT4, FORMATS.INT2, FORMATS.UINT2, FORMATS.UINT1,
    pr.IntFormat(12, fraction_bits=5, symmetric=False), pr.IntFormat(16), pr.IntFormat(4, symmetric=False),
    pr.IntFormat(8, fraction_bits=20), pr.IntFormat(4, fraction_bits=2),
]  # fmt: skip
SCALES = [
    pr.FP32, pr.FP32, pr.FP32, pr.E8M0, pr.E8M0, pr.E4M3, pr.E4M3, FORMATS.UE4M3, FORMATS.UE5M3, pr.FP16, pr.BF16, pr.E5M2,
    FORMATS.E4M3FNUZ, pr.E8M13, FORMATS.E3M4,
]  # fmt: skip
NAMED = [
    pr.MXFP8_E4M3, pr.MXFP8_E5M2, pr.MXFP6_E2M3, pr.MXFP6_E3M2, pr.MXFP4, pr.MXINT8, pr.MXINT4, pr.NVFP4, pr.NVFP4_TE,
    pr.NVFP4_4OVER6, pr.NVINT4,
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
        words = draw.integers(0, 1 << (8 * dtype.itemsize), size, dtype=np.uint64, endpoint=False) if dtype.itemsize < 8 else (
            draw.integers(0, 2**64 - 1, size, dtype=np.uint64, endpoint=True)
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
        x = top * 2.0 ** rng.randint(-8, 8) * (1 + draw.integers(-2, 3, size) * 2.0 ** rng.choice([-23, -24, -52, -8]))
        x *= draw.choice([1.0, -1.0, 0.5, 0.25], size)
    if size and rng.random() < 0.15:
        for _ in range(rng.randint(1, 3)):
            x[rng.randrange(size)] = rng.choice([math.nan, math.inf, -math.inf, -0.0, -math.nan])
    with np.errstate(all="ignore"):
        return x.astype(dtype).reshape(shape)


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
    return Case(spec, x, axis, kind)


# ---- comparing ----------------------------------------------------------------------------------------------------


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
