"""LogFMT in real numbers, for the oracle fuzz: codes, stored numbers, packed bytes, and levels.

Real numbers are mpmath's; float64 decides only where a margin of error lets it. This follows the documents
and docstrings, and was written without reading the package, of which it takes only the options of a spec.
"""

import functools
import math
from fractions import Fraction

import ml_dtypes
import mpmath
import numpy as np
from oracle_numbers import philox

import precision as pr
from precision.logfmt import BelowClamp, LogBase, Metadata, SingleValued, Space

FORMATS = {
    "fp32": (23, -126, 127, np.float32),
    "bf16": (7, -126, 127, ml_dtypes.bfloat16),
    "fp16": (10, -14, 15, np.float16),
}
NARROW, WIDE = 200, 2600
LN2 = math.log(2)


# ---- real numbers


def real(value):
    """Return a Fraction or float as a number of mpmath, in its present precision."""
    value = Fraction(value)
    return mpmath.mpf(value.numerator) / value.denominator


def sign_of(function, scale):
    """Return the sign of ``function()``, a difference of two numbers of about ``scale``.

    It is 0 where they agree to almost 2000 bits, which is taken for equality.
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


# ---- codes


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
        if min(part, 1 - part) <= 2 * error:  # it may lie between the next two, where another part decides
            return None
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


# ---- tiles


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
        # The step of numbers before they were rounded is zero only in a tile of one magnitude.
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


# ---- tensors


def fallback_bits(value, name):
    """Return the bits of a number rounded once to nearest even to BF16 or FP16, Inf where it is too large."""
    _, _, top, dtype = FORMATS[name]
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
