"""An oracle of quantizing in Python's integers, for every field of a spec.

It was written without reading the package, and takes of a spec only its parameters. Scales, tensor scales
and elements follow the docstrings of `QuantSpec`, `ScaleRule`, `Arithmetic`, `NonFinite`, `Rounding`,
`Stochastic` and `Overflow`.
"""

import math
from dataclasses import dataclass
from fractions import Fraction as Exact
from typing import Any

import numpy as np
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
)

import precision as pr


@dataclass
class Case:
    """One array and the spec that quantizes it."""

    spec: Any
    x: np.ndarray
    axis: int
    kind: str


# ---- the oracle

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
        aim = Exact(self.grid.max) * Exact(self.bound) if self.wide else Exact(self.aim)
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
