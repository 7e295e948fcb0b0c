"""Compares random LogFMT tensors with an oracle in high precision: codes, metadata, packed bytes, values.

    python benchmarks/oracle_fuzz_logfmt.py --count 780000 --seed 1 --jobs 2

``--count`` counts elements. It draws every option of `LogFMT`, the type, shape, layout and axis of the array, and values
that are ordinary, extreme, narrow, subnormal, not finite, or beside the boundary between two levels, from the seed and
the case's number. The oracle takes real numbers from mpmath, and float64 only where a margin of error decides. It
follows the documents and docstrings and was written without reading the package.
"""

import argparse
import functools
import itertools
import math
import os
import random
import time
from collections import Counter
from fractions import Fraction

import ml_dtypes
import mpmath
import numpy as np
import oracle_fuzz
from oracle_numbers import philox, unsigned

import precision as pr
from precision.logfmt import BelowClamp, Fallback, LogBase, LogFMT, LogFMTTensor, Metadata, SingleValued, Space

SCRIPT = "benchmarks/oracle_fuzz_logfmt.py"
FORMATS = {"fp32": (23, -126, 127, np.float32), "bf16": (7, -126, 127, ml_dtypes.bfloat16), "fp16": (10, -14, 15, np.float16)}
NARROW, WIDE = 200, 2600
LN2 = math.log(2)


# ---- real numbers -------------------------------------------------------------------------------------------------


def real(value):
    """Return a Fraction or float as a number of mpmath, in its present precision."""
    value = Fraction(value)
    return mpmath.mpf(value.numerator) / value.denominator


def sign_of(function, scale):
    """Return the sign of ``function()``, a difference of two numbers of about ``scale``: 0 where they are equal.

    Numbers that agree to 2000 bits are taken for equal.
    """
    for precision in (NARROW, WIDE):
        with mpmath.workprec(precision):
            difference = function()
            if abs(difference) > mpmath.ldexp(scale, -precision * 3 // 4):
                return 1 if difference > 0 else -1
    return 0


def nearest(function, name):
    """Round ``function()`` once, to nearest even, to a format; return a float, +0 for zero."""
    fraction_bits, min_exponent, _, _ = FORMATS[name]
    for precision in (NARROW, WIDE):
        with mpmath.workprec(precision):
            value = function()
            if value == 0:
                return 0.0
            size = abs(value)
            exponent = max(int(mpmath.floor(mpmath.log(size, 2))), min_exponent)
            while size >= mpmath.ldexp(1, exponent + 1):
                exponent += 1
            while exponent > min_exponent and size < mpmath.ldexp(1, exponent):
                exponent -= 1
            scaled = mpmath.ldexp(size, fraction_bits - exponent)
            whole = int(mpmath.floor(scaled))
            rest = scaled - whole - mpmath.mpf("0.5")
            if abs(rest) > mpmath.ldexp(1, -precision // 2):
                break
    else:
        rest = 1 if whole & 1 else -1
    whole += int(rest > 0)
    place = exponent - fraction_bits
    result = math.ldexp(whole, place) if whole.bit_length() + place <= 1024 else math.inf
    return -result if value < 0 and result else result


def largest(name):
    """Return the largest number of a format."""
    fraction_bits, _, top, _ = FORMATS[name]
    return math.ldexp(2 - math.ldexp(1, -fraction_bits), top)


def smallest(name):
    """Return the smallest positive number of a format."""
    fraction_bits, bottom, _, _ = FORMATS[name]
    return math.ldexp(1, bottom - fraction_bits)


class StoredGrid:
    """The levels base**(low + step * (K - 1)) of two numbers that are exact."""

    def __init__(self, low, step, two):
        self.low, self.step, self.two = Fraction(low), Fraction(step), two
        factor = LN2 if two else 1.0
        self.start, self.pace = low * factor, step * factor

    def log(self, k):
        """Return the natural logarithm of a level."""
        exponent = real(self.low + self.step * (k - 1))
        return exponent * mpmath.ln2 if self.two else exponent

    def log_step(self):
        """Return the natural logarithm of the ratio of two neighbours."""
        return real(self.step) * mpmath.ln2 if self.two else real(self.step)


class ExtremesGrid:
    """The levels between two magnitudes, or a magnitude and the clamp below it."""

    def __init__(self, low, high, clamp, count):
        self.low, self.high, self.clamp, self.count = Fraction(low), Fraction(high), clamp, count
        with mpmath.workprec(NARROW):
            self.start, self.pace = float(self.log(1)), float(self.log_step())

    def range(self):
        """Return the natural logarithm of the ratio of the last level and the first."""
        if self.clamp is not None:
            return self.clamp * mpmath.ln2
        return mpmath.log(real(self.high / self.low))

    def log(self, k):
        """Return the natural logarithm of a level."""
        return mpmath.log(real(self.high)) + self.range() * (k - 1 - self.count) / self.count

    def log_step(self):
        """Return the natural logarithm of the ratio of two neighbours."""
        return self.range() / self.count


# ---- codes --------------------------------------------------------------------------------------------------------


class Chooser:
    """The choice of a code's magnitude for the magnitudes of one tile."""

    def __init__(self, spec, grid, clamped, single):
        self.spec, self.grid, self.clamped, self.single = spec, grid, clamped, single
        self.last = 2 ** (spec.bits - 1) - 1
        self.log = spec.space is Space.LOG
        self.stochastic = isinstance(spec.rounding, pr.Stochastic)
        self.low = math.exp(grid.start) if not single and grid.start < 700 else math.inf

    def threshold(self, index):
        """Return from which part of the way between two levels an element is rounded up."""
        if not self.stochastic:
            return Fraction(1, 2)
        bits, seed = self.spec.rounding.bits, self.spec.rounding.seed
        word = philox(index & 0xFFFFFFFF, index >> 32, seed)
        return Fraction((1 << bits) - (word >> (32 - bits)), 1 << bits)

    def choose(self, size, index):
        """Return the code's magnitude of a positive finite number."""
        if self.single:
            return 1 if self.spec.single_valued is SingleValued.FIRST else self.last
        threshold = self.threshold(index)
        found = self.quickly(size, float(threshold))
        return self.slowly(size, threshold) if found is None else found

    def quickly(self, size, threshold):
        """Choose in float64, or return None where its error leaves it open."""
        grid, pace = self.grid, self.grid.pace
        logarithm = math.log(size)
        place = (logarithm - grid.start) / pace
        error = 2.0**-48 * (abs(logarithm) + abs(grid.start) + 1.0) / pace + 2.0**-46 * (1.0 + abs(place))
        if error > 1e-3 or abs(place) < 2 * error:
            return None
        if place < 0:
            return self.quickly_below(place, pace, error, threshold)
        if place >= self.last - 1:
            return self.last
        whole = math.floor(place)
        return self.up(whole + 1, place - whole, pace, error, threshold, self.log)

    def quickly_below(self, place, pace, error, threshold):
        """Choose below the lowest level."""
        below = self.spec.below_clamp
        if not self.clamped or below is BelowClamp.MIN:
            return 1
        if below is BelowClamp.ZERO:
            return 0
        if below is BelowClamp.NEAREST:
            part = math.exp(max(place * pace, -800.0))
            margin = part * (error * pace + 2.0**-40) + 2.0**-50
            return None if abs(part - threshold) <= margin else int(part > threshold)
        if abs(place + 1) < 2 * error:
            return None
        return 0 if place < -1 else self.up(0, place + 1, pace, error, threshold, self.log)

    def up(self, low, part, pace, error, threshold, log):
        """Round between two levels, or return None."""
        if not log:
            if pace > 1e-4:
                part = math.exp((part - 1) * pace) * (-math.expm1(-part * pace)) / -math.expm1(-pace)
            else:
                part = math.expm1(part * pace) / math.expm1(pace)
            error *= 1 + pace
        margin = 4 * error + 2.0**-40
        return None if abs(part - threshold) <= margin else low + (part > threshold)

    def slowly(self, size, threshold):
        """Choose in high precision."""
        grid = self.grid
        number = Fraction(size)

        def above(k):
            return sign_of(lambda: mpmath.log(real(number)) - grid.log(k), 1 + abs(math.log(size)))

        with mpmath.workprec(NARROW):
            low = int(mpmath.floor((mpmath.log(real(number)) - grid.log(1)) / grid.log_step())) + 1
        if low < 1 or above(1) <= 0:
            if above(1) >= 0:
                return 1
            below = self.spec.below_clamp
            if not self.clamped or below is BelowClamp.MIN:
                return 1
            if below is BelowClamp.ZERO:
                return 0
            if below is BelowClamp.NEAREST:
                sign = sign_of(lambda: real(number) - real(threshold) * mpmath.exp(grid.log(1)), size)
                return int(self.rounds_up(0, sign))
            if above(0) < 0:
                return 0
            low = 0
        if low >= self.last:
            return self.last
        if self.log:
            sign = sign_of(
                lambda: mpmath.log(real(number)) - grid.log(low) - real(threshold) * grid.log_step(),
                1 + abs(math.log(size)),
            )
        else:

            def difference():
                lower, upper = mpmath.exp(grid.log(low)), mpmath.exp(grid.log(low + 1))
                return real(number) - lower - real(threshold) * (upper - lower)

            sign = sign_of(difference, size)
        return low + self.rounds_up(low, sign)

    def rounds_up(self, low, sign):
        """Say whether a number goes to the upper level, by the sign of its distance from the threshold."""
        if sign:
            return sign > 0
        if self.stochastic or self.spec.rounding is pr.Rounding.TIES_TO_AWAY:
            return True
        return low % 2 == 1


# ---- tiles --------------------------------------------------------------------------------------------------------


class Tile:
    """One tile: its stored numbers, its levels for writing and for reading."""

    def __init__(self, spec, values):
        self.spec = spec
        self.name = str(spec.metadata_format)
        self.count = 2 ** (spec.bits - 1) - 2
        self.two = spec.base is LogBase.TWO
        self.extremes = spec.metadata is Metadata.EXTREMES
        finite = [abs(v) for v in values if math.isfinite(v)]
        self.bad = len(finite) < len(values)
        self.poisoned = self.bad and spec.non_finite is pr.NonFinite.NAN_SCALE
        sizes = [v for v in finite if v]
        self.zeros_only = not sizes
        self.first = self.second = 0.0
        self.clamped = False
        self.single = self.read_single = True
        self.written = self.read = None
        if self.poisoned:
            self.first = self.second = math.nan
        elif sizes:
            low = 0.0 if not spec.skip_zeros and len(sizes) < len(finite) else min(sizes)
            self.measure(low, max(sizes))

    def is_clamped(self, low, high):
        """Say whether the clamp raises min."""
        return self.spec.clamp is not None and Fraction(low) * 2**self.spec.clamp < Fraction(high)

    def between(self, low, high):
        """Return the levels between two magnitudes."""
        return ExtremesGrid(low, high, self.spec.clamp if self.is_clamped(low, high) else None, self.count)

    def measure(self, low, high):
        """Work out the stored numbers and the levels."""
        spec = self.spec
        clamped = self.is_clamped(low, high)
        exact = self.between(low, high)
        if self.extremes:
            top, bottom = largest(self.name), smallest(self.name)
            keep = lambda v: min(max(nearest(lambda: real(v), self.name), bottom), top)  # noqa: E731
            self.first = 0.0 if low == 0 else keep(low)
            self.second = keep(high)
            self.read = self.between(self.first, self.second)
            self.read_single = self.first == self.second
            read_clamped = self.is_clamped(self.first, self.second)
        else:
            unit = (lambda: mpmath.ln2) if self.two else (lambda: 1)
            self.first = nearest(lambda: exact.log(1) / unit(), self.name)
            self.second = nearest(lambda: exact.log_step() / unit(), self.name)
            self.read = StoredGrid(self.first, self.second, self.two)
            self.read_single = self.second == 0
            read_clamped = clamped
        self.written = self.read if spec.from_stored else exact
        self.clamped = read_clamped if spec.from_stored else clamped
        # Codes chosen with numbers before they were rounded: their step is zero in a tile of one magnitude alone.
        self.single = self.read_single if spec.from_stored else low == high

    def applies(self):
        """Say whether a fallback would let the tile be cast."""
        return self.second < self.spec.fallback.amax_below and self.second > self.first

    def codes(self, values, indexes):
        """Return the codes of the tile's elements."""
        spec = self.spec
        if self.poisoned:
            return [0] * len(values)
        last = 2 ** (spec.bits - 1) - 1
        chooser = None if self.zeros_only else Chooser(spec, self.written, self.clamped, self.single)
        result = []
        for value, index in zip(values, indexes, strict=True):
            negative = math.copysign(1, value) < 0
            if not math.isfinite(value):
                code, negative = last, negative and not math.isnan(value)
            else:
                code = chooser.choose(abs(value), index) if value else 0
            if code == 0 and not spec.negative_zero:
                negative = False
            result.append(code | (negative << (spec.bits - 1)))
        return result

    @functools.cache  # noqa: B019
    def level(self, k):
        """Return a level as a number of 160 bits, or None where every one is NaN."""
        if self.poisoned:
            return None
        with mpmath.workprec(160):
            if self.read is None:
                return mpmath.mpf(1)
            return mpmath.exp(self.read.log(k if not self.read_single else 1))

    def exact_level(self, k):
        """Return the value that a level has exactly, where the documents promise it, or None."""
        if not self.extremes or self.read is None:
            return None
        if k == self.count + 1 or self.first == self.second:
            return self.second
        return self.first if k == 1 and not self.is_clamped(self.first, self.second) else None


# ---- tensors ------------------------------------------------------------------------------------------------------


def fallback_bits(value, name):
    """Return the bits of a number rounded once to nearest even to BF16 or FP16, Inf where it is too large."""
    fraction_bits, _, top, dtype = FORMATS[name]
    if math.isnan(value):
        result = math.nan
    elif math.isinf(value):
        result = value
    else:
        size = nearest(lambda: real(abs(value)), name)
        result = math.copysign(math.inf if size >= 2.0 ** (top + 1) else size, value)
    return int(np.array(result, dtype=dtype).view(np.uint16))


class Oracle:
    """The quantized tensor of one case."""

    def __init__(self, case):
        self.spec, self.axis = case.spec, case.axis
        spec, x = case.spec, case.plain
        lines = np.moveaxis(x, case.axis, -1)
        flat = np.moveaxis(np.arange(x.size).reshape(x.shape), case.axis, -1)
        self.lead, self.length = lines.shape[:-1], lines.shape[-1]
        self.tiles, self.codes, self.cast = {}, np.zeros(lines.shape, np.int64), np.zeros(lines.shape, bool)
        block = spec.block_size
        for lead in np.ndindex(*self.lead):
            values, indexes = lines[lead].tolist(), flat[lead].tolist()
            starts = range(0, self.length, block)
            tiles = [Tile(spec, values[start : start + block]) for start in starts]
            cast = self.spans(tiles)
            for number, (start, tile) in enumerate(zip(starts, tiles, strict=True)):
                piece = slice(start, min(start + block, self.length))
                self.tiles[(*lead, number)] = tile
                tile.cast = cast[number]
                self.cast[lead][piece] = cast[number]
                if cast[number]:
                    self.codes[lead][piece] = tile.codes(values[piece], indexes[piece])
                else:
                    name = str(spec.fallback.fmt)
                    self.codes[lead][piece] = [fallback_bits(v, name) for v in values[piece]]

    def spans(self, tiles):
        """Return for each tile of a line whether it is cast."""
        fallback = self.spec.fallback
        if fallback is None:
            return [True] * len(tiles)
        group = fallback.span // self.spec.block_size
        applies = [tile.applies() for tile in tiles]
        return [all(applies[k // group * group : (k // group + 1) * group]) for k in range(len(tiles))]

    def metadata(self):
        """Return the two stored numbers of each tile, in the metadata's type, tiles last."""
        count = -(-self.length // self.spec.block_size)
        pair = [np.zeros((*self.lead, count)) for _ in range(2)]
        for place, tile in self.tiles.items():
            pair[0][place], pair[1][place] = tile.first, tile.second
        dtype = FORMATS[str(self.spec.metadata_format)][3]
        return [numbers.astype(np.float32).astype(dtype) for numbers in pair]

    def packed(self):
        """Return the bytes that would be sent."""
        bits = self.spec.bits
        parts = [numbers.reshape(-1).view(np.uint8) for numbers in self.metadata()]
        cast = self.codes[self.cast].astype(np.uint64)
        stream = (cast[:, None] >> np.arange(bits, dtype=np.uint64)) & np.uint64(1)
        parts.append(np.packbits(stream.astype(np.uint8).reshape(-1), bitorder="little"))
        parts.append(self.codes[~self.cast].astype("<u2").view(np.uint8))
        return np.concatenate(parts)


def same_bits(given, wanted):
    """Say where two arrays of one floating-point type have the same bits, any NaN being like another."""
    equal = unsigned(given) == unsigned(wanted)
    return equal | (np.isnan(given.astype(np.float64)) & np.isnan(wanted.astype(np.float64)))


def value_fault(got, code, tile, spec, dtype):
    """Return how a dequantized value is wrong, or None."""
    if not tile.cast:
        name = str(spec.fallback.fmt)
        want = float(np.uint16(code).view(FORMATS[name][3]))
        fine = got == want and math.copysign(1, got) == math.copysign(1, want)
        return None if fine or (math.isnan(got) and math.isnan(want)) else f"expected {want!r}"
    if tile.poisoned:
        return None if math.isnan(got) else "expected NaN"
    k, negative = code & (2 ** (spec.bits - 1) - 1), code >> (spec.bits - 1)
    if math.isnan(got) or (math.copysign(1, got) < 0) != bool(negative):
        return "its sign is wrong, or it is NaN"
    size = abs(got)
    if k == 0:
        return None if size == 0 else "expected 0"
    fraction_bits, bottom, bound = (23, -126, 1) if dtype == np.float32 else (52, -1022, 4)
    # "The extremes are met exactly" speaks of the levels; of values in float64 the bound of four ULP is what is promised.
    exact = tile.exact_level(k) if dtype == np.float32 else None
    if exact is not None and size != exact:
        return f"expected {exact!r}, a stored extreme, exactly"
    level = tile.level(k)
    limit = float(np.finfo(dtype).max)
    if level >= limit:
        level = mpmath.mpf(limit)
        if size > limit:
            return "expected the largest number"
    exponent = max(mpmath.frexp(level)[1] - 1, bottom)
    with mpmath.workprec(160):
        distance = abs(mpmath.mpf(size) - level) / mpmath.ldexp(1, exponent - fraction_bits)
    return None if distance <= bound else f"{float(distance):.4f} ULP from {mpmath.nstr(level, 25)}"


# ---- drawing ------------------------------------------------------------------------------------------------------

TYPES = [np.float16, ml_dtypes.bfloat16, np.float32, np.float64]
SMALL_TYPES = [ml_dtypes.float8_e5m2, ml_dtypes.float8_e4m3fn, ml_dtypes.float8_e4m3fnuz, ml_dtypes.float8_e3m4]
RANGE = {"float16": (-24, 16), "bfloat16": (-133, 128), "float32": (-149, 128), "float64": (-1074, 1024)}


class Case:
    """One tensor: the spec, the array that is given, and the same numbers as float64 in C order."""


def draw_spec(rng):
    """Draw every option of LogFMT."""
    bits = rng.choice([3, 4, 5, 6, 7, 8, 8, 9, 10, 11, 12, 13, 14, 15, 16])
    block = rng.choice([1, 2, 3, 5, 8, 16, 31, 32, 64, 128, 128, 200])
    metadata = rng.choice(list(Metadata))
    extremes = metadata is Metadata.EXTREMES
    skip = rng.random() < 0.6
    clamp = rng.choice([32, 32, 1, 2, 5, 16, 31, 100, 300, 4096, None if skip else 8])
    rounding = rng.choice([pr.Rounding.TIES_TO_EVEN, pr.Rounding.TIES_TO_EVEN, pr.Rounding.TIES_TO_AWAY, None, None])
    if rounding is None:
        rounding = pr.Stochastic(rng.choice([1, 2, 4, 8, 16, 31, 32]), rng.choice([0, 1, rng.getrandbits(64)]))
    fallback = None
    if extremes and rng.random() < 0.4:
        fallback = Fallback(
            rng.choice([pr.BF16, pr.FP16]), block * rng.choice([1, 2, 3, 8]), amax_below=rng.choice([1.0, 0.25, 3.7, 1e30])
        )
    return LogFMT(
        bits,
        block,
        base=rng.choice(list(LogBase)),
        rounding=rounding,
        space=rng.choice(list(Space)),
        clamp=clamp,
        below_clamp=rng.choice(list(BelowClamp)),
        metadata=metadata,
        metadata_format=rng.choice([pr.FP32, pr.FP32, pr.BF16] + ([] if extremes else [pr.FP16])),
        from_stored=rng.random() < 0.6,
        single_valued=rng.choice(list(SingleValued)),
        skip_zeros=skip,
        negative_zero=rng.random() < 0.6,
        non_finite=rng.choice(list(pr.NonFinite)),
        fallback=fallback,
    )


def draw_sizes(rng, draw, count, dtype):
    """Draw magnitudes of one kind."""
    low, high = RANGE.get(np.dtype(dtype).name, (-10, 4))
    kind = rng.choice(["normal", "normal", "uniform", "whole", "wide", "narrow", "powers", "low", "high", "one", "spread"])
    if kind == "normal":
        return kind, np.abs(draw.standard_normal(count)) * 2.0 ** rng.choice([0, 0, -3, 5])
    if kind == "uniform":
        return kind, draw.random(count)
    if kind == "whole":
        return kind, np.ldexp(1 + draw.random(count), draw.integers(low, high, count))
    if kind == "wide":
        span = rng.choice([10, 20, 40, 64, 120])
        start = rng.randint(low, max(low, high - span))
        return kind, np.ldexp(1 + draw.random(count), np.minimum(draw.integers(start, start + span, count), high - 1))
    if kind == "narrow":
        start = (1 + rng.random()) * 2.0 ** rng.randint(max(low // 2, -60), min(high // 2, 60))
        return kind, start * (1 + draw.random(count) * 2.0 ** -rng.choice([3, 7, 10, 20, 23, 40, 50]))
    if kind == "powers":
        start = rng.choice([0, 0, -4, 3])
        return kind, np.ldexp(draw.choice([1.0, 1.0, 1.5, 1.25, 1.75], count), start + draw.integers(0, rng.choice([2, 3, 7, 9]), count))
    if kind == "low":
        return kind, np.ldexp(draw.integers(0, rng.choice([3, 16, 2000]), count).astype(float), low)
    if kind == "high":
        return kind, np.ldexp(2 - draw.random(count) * 2.0 ** -rng.choice([0, 5, 12]), high - 1)
    if kind == "one":
        return kind, np.full(count, draw.standard_normal())
    return kind, np.exp2(draw.standard_normal(count) * rng.choice([1, 4, 12, 30]))


def sprinkle(rng, draw, values):
    """Put zeros, NaN and Inf among the values, and sign them."""
    count = values.size
    values = np.where(draw.random(count) < rng.choice([0, 0.5, 0.5]), -values, values)
    values = np.where(draw.random(count) < rng.choice([0, 0, 0.02, 0.3, 0.95]), np.copysign(0.0, draw.random(count) - 0.5), values)
    if rng.random() < 0.15:
        few = draw.random(count) < rng.choice([0.01, 0.1, 0.9])
        values = np.where(few, draw.choice([np.nan, -np.nan, np.inf, -np.inf], count), values)
    return values


def clipped(values, dtype):
    """Convert to a type, its largest number in place of what lies beyond it."""
    top = float(ml_dtypes.finfo(dtype).max)
    finite = np.isfinite(values)
    values = np.where(finite, np.clip(np.where(finite, values, 0), -top, top), values)
    with np.errstate(all="ignore"):
        return values.astype(dtype)


def near_boundaries(rng, spec, plain, axis, dtype):
    """Move some elements to a level or to the middle of two, keeping each tile's extremes."""
    lines = np.moveaxis(plain, axis, -1)
    for lead in np.ndindex(*lines.shape[:-1]):
        for start in range(0, lines.shape[-1], spec.block_size):
            values = lines[lead][start : start + spec.block_size]
            sizes = np.abs(values)
            inside = np.flatnonzero(np.isfinite(sizes) & (sizes > 0))
            if inside.size < 3 or rng.random() < 0.3:
                continue
            order = inside[np.argsort(sizes[inside])]
            tile = Tile(spec, values.tolist())
            if tile.written is None or tile.single:
                continue
            for place in order[1:-1][: rng.choice([2, 5, 12])]:
                k = rng.choice([0, 1, 1, rng.randint(1, tile.count), rng.randint(1, tile.count)])
                first, second = tile.written.log(k), tile.written.log(k + 1)
                part = rng.choice([0, Fraction(1, 2), Fraction(1, 2), Fraction(1, 4)])
                if rng.random() < 0.5:
                    log = first + (second - first) * real(part)
                    level = mpmath.exp(log)
                else:
                    lower, upper = (0 if k == 0 and rng.random() < 0.5 else mpmath.exp(first)), mpmath.exp(second)
                    level = lower + (upper - lower) * real(part)
                if level > sizes[order[-1]] or (spec.clamp is None and level < sizes[order[0]]):
                    continue
                moved = clipped(np.array([float(level)]), dtype).astype(np.float64)[0]
                if moved <= sizes[order[-1]] and (moved >= sizes[order[0]]):
                    values[place] = math.copysign(moved, values[place])


def draw_case(seed, index):
    """Draw a case from the seed and its number."""
    rng = random.Random(f"logfmt {seed} {index}")
    draw = np.random.default_rng([seed, index])
    case = Case()
    spec = case.spec = draw_spec(rng)
    dtype = rng.choice(TYPES) if rng.random() < 0.93 else rng.choice(SMALL_TYPES)
    length = max(1, rng.choice([1, 7, 50, spec.block_size, 2 * spec.block_size, 3 * spec.block_size + rng.randint(0, 9)]))
    others = rng.choice([(), (), (1,), (2,), (5,), (2, 3)])
    while length * math.prod(others) > 500 and others:
        others = others[1:]
    case.axis = axis = rng.randrange(-len(others) - 1, len(others) + 1)
    shape = list(others)
    shape.insert(axis if axis >= 0 else len(others) + 1 + axis, length)
    size = length * math.prod(others)
    case.kind, sizes = draw_sizes(rng, draw, size, dtype)
    plain = clipped(sprinkle(rng, draw, sizes), dtype).astype(np.float64).reshape(shape)
    if rng.random() < 0.5:
        with mpmath.workprec(NARROW):
            near_boundaries(rng, spec, plain, axis, dtype)
    case.plain = plain = clipped(plain, dtype).astype(np.float64)
    given = clipped(plain, dtype)
    case.layout = rng.choice(["plain", "plain", "fortran", "reversed", "strided", "swapped"])
    if case.layout == "fortran":
        given = np.asfortranarray(given)
    elif case.layout == "reversed":
        given = np.ascontiguousarray(given[..., ::-1])[..., ::-1]
    elif case.layout == "strided":
        padded = np.zeros((*given.shape, 3), given.dtype)
        padded[..., 1] = given
        given = padded[..., 1]
    elif case.layout == "swapped" and np.dtype(dtype).kind == "f" and np.dtype(dtype).itemsize > 1:
        given = given.astype(np.dtype(dtype).newbyteorder(">"))
    case.given, case.dtype = given, np.dtype(dtype)
    case.read_as = rng.choice([np.float32, np.float64])
    case.packs = rng.random() < 0.3
    return case


# ---- comparing ----------------------------------------------------------------------------------------------------


def describe(case):
    """Return a case in words."""
    lines = [f"spec {case.spec!s}, {case.dtype.name} {case.kind} {case.given.shape} axis {case.axis} layout {case.layout}"]
    if case.plain.size <= 64:
        lines.append(f"  x {case.plain.reshape(-1).tolist()}")
    return "\n".join(lines)


def tile_text(case, place):
    """Return the values of the tile around an element, given by its place with the axis last."""
    lines = np.moveaxis(case.plain, case.axis, -1)
    start = place[-1] // case.spec.block_size * case.spec.block_size
    return f"tile {lines[place[:-1]][start : start + case.spec.block_size].tolist()}"


def compare(seed, index):
    """Run one case; return its kind with its number of elements, and the difference in words or None."""
    case = draw_case(seed, index)
    spec = case.spec
    rounding = "Stochastic" if isinstance(spec.rounding, pr.Stochastic) else spec.rounding.name
    kind = (f"{spec.metadata.name} {spec.space.name} {rounding}" + (", fallback" if spec.fallback else ""), case.plain.size)
    oracle = Oracle(case)
    try:
        tensor = pr.quantize(case.given, spec, axis=case.axis)
        values = tensor.dequantize(case.read_as)
        packed = tensor.pack() if case.packs else None
        tensor.check()
    except Exception as error:
        return kind, f"{describe(case)}\nraised {type(error).__name__}: {error}"
    return kind, difference(case, oracle, tensor, values, packed)


def difference(case, oracle, tensor, values, packed):
    """Return how the tensor differs from the oracle's, or None."""
    spec = case.spec
    for name, given, wanted in zip(("first", "second"), tensor.metadata, oracle.metadata(), strict=True):
        lines = np.moveaxis(given, case.axis, -1)
        if given.shape != spec.tiles_shape(case.plain.shape, case.axis) or given.dtype != wanted.dtype:
            return f"{describe(case)}\nmetadata: shape {given.shape}, type {given.dtype}"
        wrong = np.argwhere(~same_bits(lines, wanted))
        if len(wrong):
            place = tuple(wrong[0])
            at = (*place[:-1], place[-1] * spec.block_size)
            return (
                f"{describe(case)}\n{name} number of tile {place}: got {lines[place]!r}, expected {wanted[place]!r}; "
                f"{tile_text(case, at)}"
            )
    wide = np.uint16 if spec.bits > 8 or spec.fallback else np.uint8
    if tensor.codes.dtype != wide or tensor.codes.shape != case.plain.shape:
        return f"{describe(case)}\ncodes: shape {tensor.codes.shape}, type {tensor.codes.dtype}"
    codes = np.moveaxis(tensor.codes, case.axis, -1).astype(np.int64)
    wrong = np.argwhere((codes != oracle.codes) & ~nan_pairs(codes, oracle, spec))
    if len(wrong):
        place = tuple(int(n) for n in wrong[0])
        value = np.moveaxis(case.plain, case.axis, -1)[place]
        tile = oracle.tiles[(*place[:-1], place[-1] // spec.block_size)]
        return (
            f"{describe(case)}\n{len(wrong)} codes differ; at {place} of x {value!r}: got {codes[place]}, expected "
            f"{oracle.codes[place]}; stored {tile.first!r} {tile.second!r} clamped {tile.clamped}; {tile_text(case, place)}"
        )
    words = logarithms_differ(case, oracle, tensor)
    if words:
        return words
    if not np.array_equal(np.moveaxis(tensor.cast_elements(), case.axis, -1), oracle.cast):
        return f"{describe(case)}\ncast_elements differs"
    fault = values_differ(case, oracle, values, codes)
    if fault or packed is None:
        return fault
    return packed_differs(case, oracle, tensor, packed)


def logarithms_differ(case, oracle, tensor):
    """Return how a tensor's ``min`` and ``step`` differ, or None: the stored ones exactly, others in float64's error."""
    spec = case.spec
    low, pace = (np.moveaxis(a, case.axis, -1) for a in (tensor.min, tensor.step))
    for place, tile in oracle.tiles.items():
        got = float(low[place]), float(pace[place])
        wanted, allowed = (tile.first, tile.second), (0.0, 0.0)
        if tile.extremes and tile.read is not None:
            unit = LN2 if tile.two else 1.0
            wanted = tile.read.start / unit, tile.read.pace / unit
            allowed = 2.0**-49 * (1 + abs(wanted[0]) + abs(wanted[1]) * tile.count)
            allowed = allowed, allowed / tile.count
        for name, one, other, margin in zip(("min", "step"), got, wanted, allowed, strict=True):
            if not (abs(one - other) <= margin or (math.isnan(one) and math.isnan(other))):
                return f"{describe(case)}\n{name} of tile {place}: got {one!r}, expected {other!r} of {spec.metadata.name}"
    return None


def nan_pairs(codes, oracle, spec):
    """Say which elements are NaNs that are sent as numbers of the fallback's format, in both."""
    result = np.zeros(codes.shape, bool)
    if spec.fallback is not None and not oracle.cast.all():
        dtype = FORMATS[str(spec.fallback.fmt)][3]
        read = [np.isnan(c.astype(np.uint16).view(dtype).astype(np.float32)) for c in (codes, oracle.codes)]
        result = ~oracle.cast & read[0] & read[1]
    return result


def values_differ(case, oracle, values, codes):
    """Return how dequantized values are wrong, or None."""
    if values.shape != case.plain.shape or values.dtype != case.read_as:
        return f"{describe(case)}\nvalues: shape {values.shape}, type {values.dtype}"
    lines = np.moveaxis(values, case.axis, -1)
    for place in np.ndindex(*codes.shape):
        tile = oracle.tiles[(*place[:-1], place[-1] // case.spec.block_size)]
        got = float(lines[place])
        fault = value_fault(got, int(codes[place]), tile, case.spec, case.read_as)
        if fault:
            return (
                f"{describe(case)}\nvalue at {place} in {np.dtype(case.read_as).name}, code {codes[place]}, stored "
                f"{tile.first!r} {tile.second!r}: got {got!r}, {fault}"
            )
    return None


def packed_differs(case, oracle, tensor, packed):
    """Return how packed bytes are wrong, or None."""
    wanted = oracle.packed()
    bits = 8 * wanted.size / case.plain.size
    if packed.size != wanted.size or tensor.nbytes != wanted.size or tensor.bits_per_element != bits:
        return f"{describe(case)}\npacked: {packed.size} bytes, nbytes {tensor.nbytes}, expected {wanted.size}"
    if not np.isnan(case.plain).any() and not any(tile.poisoned for tile in oracle.tiles.values()):
        if not np.array_equal(packed, wanted):
            return f"{describe(case)}\npacked bytes differ at {np.flatnonzero(packed != wanted)[:5]}"
    back = case.spec.unpack(packed, case.plain.shape, axis=case.axis)
    same = np.array_equal(back.codes, tensor.codes) and all(
        same_bits(a, b).all() for a, b in zip(back.metadata, tensor.metadata, strict=True)
    )
    return None if same and isinstance(back, LogFMTTensor) else f"{describe(case)}\nunpack(pack()) differs"


# ---- command ------------------------------------------------------------------------------------------------------


def cases_for(elements, seed, start):
    """Return how many cases from ``start`` on hold so many elements."""
    total = 0
    for number in itertools.count(1):
        total += draw_case(seed, start + number - 1).plain.size
        if total >= elements:
            return number


def main():
    """Read the command line and run the fuzz."""
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--count", type=int, default=10000, help="number of elements, filled up to a whole case")
    options.add_argument("--seed", type=int, default=0, help="what the cases are drawn from")
    options.add_argument("--start", type=int, default=0, help="number of the first case")
    options.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    options.add_argument("--show", type=int, default=5, help="differences printed in full")
    options.add_argument("--budget", type=float, default=math.inf, help="seconds after which no more cases are begun")
    chosen = options.parse_args()
    begun = time.perf_counter()
    count = cases_for(chosen.count, chosen.seed, chosen.start)
    jobs = chosen.jobs if count > 400 else 1
    counts, differences = oracle_fuzz.run(compare, count, chosen.seed, jobs, chosen.start, 20, chosen.budget)
    cases, elements = Counter(), Counter()
    for (kind, size), number in counts.items():
        cases[kind] += number
        elements[kind] += number * size
    wrong = Counter(kind for _, (kind, _), _ in differences)
    width = max(map(len, cases))
    print(f"{'kind':{width}} {'elements':>8} {'tensors':>8} {'differ':>7}")
    for kind in sorted(cases):
        print(f"{kind:{width}} {elements[kind]:8} {cases[kind]:8} {wrong[kind]:7}")
    seconds = time.perf_counter() - begun
    print(f"{'all':{width}} {elements.total():8} {cases.total():8} {len(differences):7}   {seconds:.0f} s")
    for index, (kind, _), text in differences[: chosen.show]:
        print(f"\n--- case {index}, {kind}\n{text}")
        print(f"again: python {SCRIPT} --seed {chosen.seed} --start {index} --count 1")
    raise SystemExit(bool(differences))


if __name__ == "__main__":
    main()
