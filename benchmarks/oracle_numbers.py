"""Number formats and roundings in Python's integers, for the oracle fuzz.

It was written without reading the package. The only thing taken from the package is the description of a
format (its numbers of bits, bias and specials). What codes mean, and how values round to them, follows
docs/concepts.md and the docstrings of formats and roundings.
"""

import ctypes
import math
import struct
from fractions import Fraction

import numpy as np

FINITE, INFINITE, NAN = 0, 1, 2
ALL_ONES_NAN = 0x7FFFFFFF
SMALLEST_FLOAT32 = 2.0**-149
LARGEST_FLOAT32 = (2.0 - 2.0**-23) * 2.0**127
SMALLEST_NORMAL_FLOAT32 = 2.0**-126


class Grid:
    """The values of one format, of floating-point numbers or of integers, worked out from its parameters."""

    def __init__(self, fmt):
        self.is_int = type(fmt).__name__ == "IntFormat"
        self.fmt = fmt
        self._table = {}
        if self.is_int:
            self._init_int(fmt)
        else:
            self._init_float(fmt)

    def _init_int(self, fmt):
        self.bits, self.signed, self.fraction = fmt.bits, fmt.signed, fmt.fraction_bits
        top = (1 << (self.bits - 1)) - 1 if self.signed else (1 << self.bits) - 1
        low = 0 if not self.signed else (-top if fmt.symmetric else -top - 1)
        self.max_integer, self.min_integer = top, low
        self.max = math.ldexp(top, -self.fraction)
        self.emax = top.bit_length() - 1 - self.fraction
        self.has_inf = self.has_nan = False
        self.nan_has_sign = False
        self.nan_code = None
        self.significand_bits = self.emax + self.fraction + 1

    def _init_float(self, fmt):
        exponent, fraction, bias = fmt.exponent_bits, fmt.fraction_bits, fmt.bias
        kind = fmt.specials.name
        self.fraction, self.bias, self.signed, self.subnormals = fraction, bias, fmt.signed, fmt.subnormals
        self.bits = exponent + fraction + (1 if fmt.signed else 0)
        self.mask = (1 << (exponent + fraction)) - 1
        self.sign_bit = 1 << (exponent + fraction)
        self.kind = kind
        self.has_inf = kind in ("IEEE", "EXTENDED")
        self.has_nan = kind != "NONE"
        last = self.mask
        if kind == "IEEE":
            self.inf_code = ((1 << exponent) - 1) << fraction
            self.max_code = self.inf_code - 1
            self.nan_code = self.inf_code | (1 << (fraction - 1))
        elif kind == "FN":
            self.inf_code, self.max_code, self.nan_code = None, last - 1, last
        elif kind in ("FNUZ", "EXTENDED"):
            self.nan_code = self.sign_bit if self.signed else last
            top = last if self.signed else last - 1
            self.inf_code = top if kind == "EXTENDED" else None
            self.max_code = top - 1 if kind == "EXTENDED" else top
        else:
            self.inf_code, self.max_code, self.nan_code = None, last, None
        self.nan_has_sign = kind in ("IEEE", "FN") and self.signed
        self.negative_zero = self.signed and kind in ("IEEE", "FN", "NONE")
        self.min_exponent = 1 - bias if self.subnormals else -bias
        _, mantissa, exponent = self.magnitude(self.max_code)
        self.max = math.ldexp(mantissa, exponent - fraction)
        self.emax = exponent + mantissa.bit_length() - 1 - fraction
        self.significand_bits = fraction + 1
        _, mantissa, exponent = self.magnitude(1 if self.subnormals else 0)
        self.smallest = math.ldexp(mantissa, exponent - fraction)

    def magnitude(self, code):
        """Read a code without its sign as (kind, mantissa, exponent): mantissa * 2**(exponent - fraction)."""
        if self.has_nan and code == self.nan_code and not (self.signed and self.kind in ("FNUZ", "EXTENDED")):
            return NAN, 0, 0
        if self.has_inf and code == self.inf_code:
            return INFINITE, 0, 0
        if self.kind == "IEEE" and code > self.inf_code:
            return NAN, 0, 0
        field, part = code >> self.fraction, code & ((1 << self.fraction) - 1)
        if field == 0 and self.subnormals:
            return FINITE, part, 1 - self.bias
        return FINITE, part | (1 << self.fraction), field - self.bias

    def read(self, code):
        """Read a code as (kind, signed mantissa, exponent, negative)."""
        found = self._table.get(code)
        if found is None:
            found = self._table[code] = self._read(code)
        return found

    def _read(self, code):
        if self.is_int:
            value = code & ((1 << self.bits) - 1)
            if self.signed and value >> (self.bits - 1):
                value -= 1 << self.bits
            return FINITE, value, 0, value < 0
        negative = bool(self.signed and code & self.sign_bit)
        if negative and self.kind in ("FNUZ", "EXTENDED") and code == self.sign_bit:
            return NAN, 0, 0, False
        kind, mantissa, exponent = self.magnitude(code & self.mask)
        return kind, -mantissa if negative else mantissa, exponent, negative

    def value(self, code):
        """Return the value of a code as a Python float, which holds it exactly."""
        kind, mantissa, exponent, negative = self.read(code)
        if kind == NAN:
            return math.nan
        if kind == INFINITE:
            return -math.inf if negative else math.inf
        if mantissa == 0:
            return -0.0 if negative else 0.0
        return math.ldexp(mantissa, exponent - self.fraction)

    def round_magnitude(self, mantissa, exponent, mode, negative, random=None):
        """Round mantissa * 2**exponent, at least 0, to a code without sign, as if exponents had no upper end.

        ``mode`` is a rounding's name, or the number of stochastic rounding's bits, which ``random`` holds.
        """
        if mantissa == 0:
            return 0
        binade = max(mantissa.bit_length() - 1 + exponent, self.min_exponent)
        shift = binade - self.fraction - exponent
        if shift <= 0:
            kept, rest, half = mantissa << -shift, 0, 1
        else:
            kept = mantissa >> shift
            rest, half = mantissa - (kept << shift), 1 << (shift - 1)
        code = kept
        if kept >> self.fraction:
            code += (binade + self.bias - 1) << self.fraction
        if rest == 0:
            return code
        return code + carries(mode, code & 1, rest, half, shift, negative, random)


def carries(mode, odd, rest, half, shift, negative, random):
    """Say whether a discarded part of rest / (2 * half), above 0, rounds the magnitude up by one place."""
    if mode == "TIES_TO_EVEN":
        return rest > half or (rest == half and odd)
    if mode == "TIES_TO_AWAY":
        return rest >= half
    if mode == "TOWARD_ZERO":
        return False
    if mode == "TOWARD_POSITIVE":
        return not negative
    if mode == "TOWARD_NEGATIVE":
        return negative
    if mode == "TO_ODD":
        return not odd
    cut = rest >> (shift - mode) if shift >= mode else rest << (mode - shift)
    return (cut + random) >> mode


_GRIDS = {}


def grid_of(fmt):
    """Return the grid of a format, the same for equal formats."""
    found = _GRIDS.get(fmt)
    if found is None:
        found = _GRIDS[fmt] = Grid(fmt)
    return found


def float32(value):
    """Round a float to float32 once, to nearest even, Inf beyond its range."""
    return ctypes.c_float(value).value


def float_bits(value):
    """Return the bits of a value of float32."""
    return struct.unpack("<I", struct.pack("<f", value))[0]


def parts(value):
    """Split a finite float exactly into an integer and a power of two: integer * 2**exponent."""
    if value == 0:
        return 0, 0
    mantissa, exponent = math.frexp(value)
    return int(math.ldexp(mantissa, 53)), exponent - 53


def round_ratio(numerator, denominator, precision=24, smallest=-149, largest=LARGEST_FLOAT32):
    """Round a ratio of positive integers once, to nearest even, to float32 (or another precision)."""
    return round_fraction(Fraction(numerator, denominator), precision, smallest, largest)


def round_fraction(value, precision=24, smallest=-149, largest=LARGEST_FLOAT32):
    """Round a Fraction once, to nearest even, to a binary float of so many bits and smallest exponent."""
    if value == 0:
        return 0.0
    magnitude = abs(value)
    exponent = magnitude.numerator.bit_length() - magnitude.denominator.bit_length()
    if magnitude < Fraction(2) ** exponent:
        exponent -= 1
    place = max(exponent - precision + 1, smallest)
    scaled = magnitude / Fraction(2) ** place
    whole = scaled.numerator // scaled.denominator
    rest = scaled - whole
    if rest > Fraction(1, 2) or (rest == Fraction(1, 2) and whole & 1):
        whole += 1
    if whole.bit_length() + place > 1024:
        result = math.inf
    else:
        result = math.ldexp(whole, place)
        if result > largest:
            result = math.inf
    return -result if value < 0 else result


def fused_multiply_add(a, b, c):
    """Compute a * b + c of float32 values with one rounding to float32, in integers."""
    product = a * b  # exact in float64 where finite: 48 bits, and no exponent leaves its range
    if not (math.isfinite(a) and math.isfinite(b) and math.isfinite(c)):
        return product + c
    if product == 0 or c == 0:
        return float32(product + c)
    m, e = parts(product)
    n, f = parts(c)
    if e < f:
        total, place = m + (n << (f - e)), e
    else:
        total, place = (m << (e - f)) + n, f
    if total == 0:
        return 0.0
    return round_integer(total, place)


def round_integer(total, place):
    """Round total * 2**place once to float32, to nearest even."""
    magnitude = abs(total)
    exponent = max(magnitude.bit_length() - 1 + place, -126)
    shift = exponent - 23 - place
    if shift > 0:
        kept = magnitude >> shift
        rest, half = magnitude - (kept << shift), 1 << (shift - 1)
        if rest > half or (rest == half and kept & 1):
            kept += 1
        place = exponent - 23
    else:
        kept = magnitude
    result = math.inf if kept.bit_length() + place > 128 else math.ldexp(kept, place)
    return -result if total < 0 else result


def philox(counter_low, counter_high, seed):
    """Return word 0 of Philox4x32-10 at counter (low, high, 0, 0) under the key of a 64-bit seed."""
    mask = 0xFFFFFFFF
    words = [counter_low & mask, counter_high & mask, 0, 0]
    key = [seed & mask, (seed >> 32) & mask]
    for _ in range(10):
        first, second = 0xD2511F53 * words[0], 0xCD9E8D57 * words[2]
        words = [
            (second >> 32) ^ words[1] ^ key[0],
            second & mask,
            (first >> 32) ^ words[3] ^ key[1],
            first & mask,
        ]
        key = [(key[0] + 0x9E3779B9) & mask, (key[1] + 0xBB67AE85) & mask]
    return words[0]


def unsigned(codes):
    """View codes of any type as unsigned integers of their size."""
    codes = np.asarray(codes)
    return np.ascontiguousarray(codes).view(f"u{codes.dtype.itemsize}").reshape(codes.shape)
