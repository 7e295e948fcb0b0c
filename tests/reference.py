"""Slow and obviously right oracles, in Python integers and fractions.

Nothing here imports `precision` or ml_dtypes, and nothing takes one of the package's classes: formats are
the plain record `Format`, modes are strings. A number is a `Value`: a `Fraction`, or one of the strings
"nan", "+inf", "-inf" and "-0" (positive zero is `Fraction(0)`). NumPy serves `table_round_array` only.

Rounding modes: `MODES`. Overflow: "saturate" or "non_saturating".
"""

import math
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache, lru_cache
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

Value = Fraction | str
ZERO = Fraction(0)
ONE = Fraction(1)
MODES = ("ties_to_even", "ties_to_away", "toward_zero", "toward_positive", "toward_negative", "to_odd")


# ---------------------------------------------------------------------------------------------- formats


@dataclass(frozen=True)
class Format:
    """A binary floating-point format.

    `specials` is "ieee" (top exponent field: Inf and NaN), "fn" (NaN: magnitude all ones, no Inf), "fnuz"
    (NaN: the code of -0, no Inf), "extended" (P3109: NaN as fnuz, or all ones if unsigned; Inf: the
    magnitude below) or "none". Without `subnormals` exponent field 0 is an ordinary binade: no zero (E8M0).
    """

    exponent_bits: int
    fraction_bits: int
    bias: int
    signed: bool = True
    specials: str = "ieee"
    subnormals: bool = True

    def __post_init__(self) -> None:
        if self.specials not in ("ieee", "fn", "fnuz", "extended", "none"):
            raise ValueError(f"specials: {self.specials!r}")
        nan_is_negative_zero = self.signed and self.specials in ("fnuz", "extended")
        if nan_is_negative_zero and not self.subnormals:
            raise ValueError("a format whose NaN is the code of -0 needs a zero")
        if self.specials == "fnuz" and not self.signed:
            raise ValueError("an unsigned format has no code of -0: say fn")

    @property
    def magnitude_bits(self) -> int:
        return self.exponent_bits + self.fraction_bits

    @property
    def bits(self) -> int:
        return self.magnitude_bits + self.signed

    @property
    def sign_bit(self) -> int:
        return 1 << self.magnitude_bits

    @property
    def min_exponent(self) -> int:
        """Exponent of the smallest binade, which the subnormals share."""
        return (1 if self.subnormals else 0) - self.bias

    @property
    def nan_code(self) -> int | None:
        """The NaN that a conversion gives (IEEE: quiet, positive), None where there is none."""
        ones = self.sign_bit - 1
        if self.specials == "ieee":
            infinity = ones >> self.fraction_bits << self.fraction_bits
            return infinity | 1 << (self.fraction_bits - 1) if self.fraction_bits else None
        if self.specials == "none":
            return None
        return self.sign_bit if self.signed and self.specials != "fn" else ones

    @property
    def inf_code(self) -> int | None:
        """The code of +Inf, None where there is none."""
        ones = self.sign_bit - 1
        if self.specials == "ieee":
            return ones >> self.fraction_bits << self.fraction_bits
        if self.specials == "extended":
            return ones if self.signed else ones - 1
        return None

    @property
    def max_code(self) -> int:
        """The code of the largest finite value."""
        if self.inf_code is not None:
            return self.inf_code - 1
        return self.sign_bit - 1 - (self.specials == "fn")

    @property
    def has_negative_zero(self) -> bool:
        return self.signed and self.subnormals and self.specials not in ("fnuz", "extended")


E4M3 = Format(4, 3, 7, specials="fn")
E5M2 = Format(5, 2, 15)
E2M1 = Format(2, 1, 1, specials="none")
E2M3 = Format(2, 3, 1, specials="none")
E3M2 = Format(3, 2, 3, specials="none")
E8M0 = Format(8, 0, 127, signed=False, specials="fn", subnormals=False)
UE4M3 = Format(4, 3, 7, signed=False, specials="fn")
FP16 = Format(5, 10, 15)
BF16 = Format(8, 7, 127)
TF32 = Format(8, 10, 127)
E8M13 = Format(8, 13, 127)
FP32 = Format(8, 23, 127)
FP64 = Format(11, 52, 1023)


@cache
def power(exponent: int) -> Fraction:
    """2**exponent, exactly."""
    return Fraction(2**exponent) if exponent >= 0 else Fraction(1, 2**-exponent)


def floor_log2(x: Fraction) -> int:
    """The largest e with 2**e <= x."""
    e = x.numerator.bit_length() - x.denominator.bit_length()
    return e if power(e) <= x else e - 1


def split(magnitude: int, f: Format) -> tuple[int, int]:
    """(significand, exponent) of a magnitude code: significand * 2**(exponent - fraction_bits).

    Specials are read as the numbers they would be, and codes past the widest go on into further binades.
    """
    field, fraction = magnitude >> f.fraction_bits, magnitude & ((1 << f.fraction_bits) - 1)
    if field == 0 and f.subnormals:
        return fraction, f.min_exponent
    return fraction + (1 << f.fraction_bits), field - f.bias


def magnitude_value(magnitude: int, f: Format) -> Fraction:
    """The number of a magnitude code, as `split` reads it."""
    significand, exponent = split(magnitude, f)
    return significand * power(exponent - f.fraction_bits)


@lru_cache(maxsize=1 << 18)
def decode(code: int, f: Format) -> Value:
    """The value of a code."""
    negative, magnitude = bool(code & f.sign_bit) and f.signed, code & (f.sign_bit - 1)
    if f.nan_code is not None and (code == f.nan_code or (f.specials == "fn" and magnitude == f.nan_code)):
        return "nan"
    if f.inf_code is not None and magnitude >= f.inf_code:
        return "nan" if magnitude > f.inf_code else "-inf" if negative else "+inf"
    value = magnitude_value(magnitude, f)
    if value == 0:
        return "-0" if negative else ZERO
    return -value if negative else value


@cache
def values(f: Format) -> list[tuple[Fraction, int]]:
    """All finite values with their codes, ascending; -0 comes just before 0."""
    pairs = []
    for code in range(1 << f.bits):
        value = decode(code, f)
        if value == "-0":
            pairs.append((ZERO, code))
        elif isinstance(value, Fraction):
            pairs.append((value, code))
    return sorted(pairs, key=lambda pair: (pair[0], -pair[1]))


def from_float(x: float | np.floating[Any]) -> Value:
    """The exact value of a float (NumPy's float16 and float32 scalars included)."""
    x = float(x)
    if math.isnan(x):
        return "nan"
    if math.isinf(x):
        return "+inf" if x > 0 else "-inf"
    return "-0" if x == 0 and math.copysign(1, x) < 0 else Fraction(x)


def to_float(x: Value) -> float:
    """The float of a value, which must be exact."""
    result = float(x if x != "-0" else "-0.0")
    assert isinstance(x, str) or Fraction(result) == x
    return result


def is_negative(x: Value) -> bool:
    return x in ("-inf", "-0") if isinstance(x, str) else x < 0


def _finite(x: Value) -> Fraction:
    return ZERO if isinstance(x, str) else x


# --------------------------------------------------------------------------------------------- rounding


def _nan(f: Format) -> int:
    if f.nan_code is None:
        raise ValueError("the format has no NaN")
    return f.nan_code


def _settle(negative: bool, magnitude: int, f: Format, overflow: str) -> int:
    """The code for a sign and a rounded magnitude code, which may lie past the format's largest.

    A negative number in an unsigned format saturates to the smallest value or becomes NaN; overflow
    saturates, or becomes Inf or else NaN. ValueError where that NaN does not exist.
    """
    if overflow not in ("saturate", "non_saturating"):
        raise ValueError(f"overflow: {overflow!r}")
    saturate = overflow == "saturate"
    if negative and not f.signed:
        rounds_to_zero = magnitude == 0 and f.subnormals
        return 0 if rounds_to_zero or saturate else _nan(f)
    if magnitude > f.max_code:
        if not saturate and f.inf_code is None:
            return _nan(f)
        magnitude = f.max_code if saturate or f.inf_code is None else f.inf_code
    if magnitude == 0 and f.subnormals and not f.has_negative_zero:
        return 0
    return magnitude | (f.sign_bit if negative else 0)


def _special(x: Value, f: Format, overflow: str) -> int | None:
    """The code for NaN, an infinity or a zero; None for any other value."""
    if x == "nan":
        return _nan(f)
    if x in ("+inf", "-inf"):
        return _settle(x == "-inf", f.sign_bit << 1, f, overflow)
    if x == "-0" or x == 0:
        if not f.subnormals:
            return _settle(f.signed and x == "-0", 0, f, overflow) if overflow == "saturate" else _nan(f)
        return _settle(x == "-0", 0, f, overflow)
    return None


@cache
def _grid(f: Format) -> tuple[list[Fraction], list[int]]:
    """The points that a table search chooses among, and their magnitude codes.

    They run from minus to plus the first value past the largest (it stands for all overflow), for unsigned
    formats too, and hold one zero if the format has a zero.
    """
    magnitudes = [(magnitude_value(code, f), code) for code in range(f.max_code + 2)]
    points = [(-value, code) for value, code in reversed(magnitudes) if value] + magnitudes
    return [value for value, _ in points], [code for _, code in points]


def table_round(x: Value, f: Format, mode: str = "ties_to_even", overflow: str = "saturate") -> int:
    """Code of `x` by searching the sorted values of a format (16 bits at most) and their midpoints."""
    special = _special(x, f, overflow)
    if special is not None:
        return special
    x = _finite(x)
    points, codes = _grid(f)
    i = bisect_left(points, x)
    if i == len(points) or points[i] == x:
        return _settle(x < 0, codes[min(i, len(points) - 1)], f, overflow)
    if i == 0:
        return _settle(True, codes[0], f, overflow)
    lower, upper = i - 1, i
    if points[lower] < 0 < points[upper]:  # no zero: what is too small goes to the smallest of its sign
        return _settle(x < 0, 0, f, overflow)
    inner, outer = (lower, upper) if x > 0 else (upper, lower)
    even, odd = (lower, upper) if codes[lower] % 2 == 0 else (upper, lower)
    middle = (points[lower] + points[upper]) / 2
    nearest = lower if x < middle else upper
    chosen = {
        "ties_to_even": even if x == middle else nearest,
        "ties_to_away": outer if x == middle else nearest,
        "toward_zero": inner,
        "toward_positive": upper,
        "toward_negative": lower,
        "to_odd": odd,
    }[mode]
    return _settle(x < 0, codes[chosen], f, overflow)


@cache
def _grid_arrays(f: Format) -> tuple[Any, Any, Any]:
    """The points of the table, their midpoints (exact in float64) and the parity of their codes."""
    points, codes = _grid(f)
    middles = [(low + high) / 2 for low, high in pairwise(points)]
    return (
        np.array([to_float(p) for p in points]),
        np.array([to_float(m) for m in middles]),
        np.array(codes) % 2,
    )


def _or_none(rule: Any, *arguments: Any) -> int:
    """The code of a rule, -1 where it says that there is none."""
    try:
        return int(rule(*arguments))
    except ValueError:
        return -1


@cache
def _final_codes(f: Format, overflow: str) -> Any:
    """[sign][point of the table] -> code."""
    codes = _grid(f)[1]
    return np.array(
        [[_or_none(_settle, sign, code, f, overflow) for code in codes] for sign in (False, True)]
    )


def _codes_of_specials(f: Format, overflow: str) -> tuple[int, int, int]:
    """The codes of 0, -0 and NaN."""
    zero, negative_zero, nan = (_or_none(_special, x, f, overflow) for x in (ZERO, "-0", "nan"))
    return zero, negative_zero, nan


def table_round_array(x: Any, f: Format, mode: str = "ties_to_even", overflow: str = "saturate") -> Any:
    """`table_round` of a float array at once: int64 codes, -1 where there is no code (no NaN to give).

    The same table, searched in float64, which holds every value and midpoint of the table exactly.
    """
    grid, middle, parity = _grid_arrays(f)
    x = np.asarray(x, dtype=np.float64)
    negative = np.signbit(x)
    y = np.clip(np.where(np.isnan(x), 0, x), grid[0], grid[-1])
    at = np.searchsorted(grid, y)
    upper, lower = at, np.where(grid[at] == y, at, at - 1)
    m = middle[np.maximum(upper - 1, 0)]
    nearest = np.where(y < m, lower, upper)
    inner, outer = np.where(negative, upper, lower), np.where(negative, lower, upper)
    even, odd = np.where(parity[lower] == 0, lower, upper), np.where(parity[lower] == 0, upper, lower)
    chosen = {
        "ties_to_even": np.where(y == m, even, nearest),
        "ties_to_away": np.where(y == m, outer, nearest),
        "toward_zero": inner,
        "toward_positive": upper,
        "toward_negative": lower,
        "to_odd": odd,
    }[mode]
    chosen = np.where(lower == upper, lower, chosen)
    if not f.subnormals:
        chosen = np.where(np.abs(y) < to_float(magnitude_value(0, f)), at - negative, chosen)

    positive_zero, negative_zero, nan = _codes_of_specials(f, overflow)
    result = _final_codes(f, overflow)[negative.astype(int), chosen]
    result = np.where(x == 0, np.where(negative, negative_zero, positive_zero), result)
    return np.where(np.isnan(x), nan, result)


def _rounds_up(rest: Fraction, odd: bool, negative: bool, mode: str) -> bool:
    """Whether a magnitude cut with `rest` (0 <= rest < 1 of a step) lost goes one step up."""
    if rest == 0:
        return False
    return {
        "ties_to_even": 2 * rest > 1 or (2 * rest == 1 and odd),
        "ties_to_away": 2 * rest >= 1,
        "toward_zero": False,
        "toward_positive": not negative,
        "toward_negative": negative,
        "to_odd": not odd,
    }[mode]


def _carries(rest: Fraction, random: int, bits: int) -> bool:
    """The stochastic rule: `rest` cut to `bits` bits, plus the random integer, reaches one."""
    return math.floor(rest * (1 << bits)) + random >= 1 << bits


def _cut(magnitude: Fraction, f: Format) -> tuple[int, Fraction]:
    """(magnitude code cut toward zero, the part of a step lost), with no upper end to the exponents."""
    exponent = max(floor_log2(magnitude), f.min_exponent)
    steps = magnitude / power(exponent - f.fraction_bits)
    whole = math.floor(steps)
    code = ((exponent - f.min_exponent) << f.fraction_bits) + whole
    if f.subnormals:
        return code, steps - whole
    code -= 1 << f.fraction_bits
    return (code, steps - whole) if code >= 0 else (0, ZERO)


def integer_round(x: Value, f: Format, mode: str = "ties_to_even", overflow: str = "saturate") -> int:
    """Code of `x` by integer arithmetic, for a format of any size."""
    special = _special(x, f, overflow)
    if special is not None:
        return special
    x = _finite(x)
    code, rest = _cut(abs(x), f)
    return _settle(x < 0, code + _rounds_up(rest, code % 2 == 1, x < 0, mode), f, overflow)


def stochastic_round(x: Value, f: Format, random: int, bits: int, overflow: str = "saturate") -> int:
    """Code of `x` rounded stochastically with the random integer 0 <= random < 2**bits."""
    special = _special(x, f, overflow)
    if special is not None:
        return special
    x = _finite(x)
    code, rest = _cut(abs(x), f)
    return _settle(x < 0, code + _carries(rest, random, bits), f, overflow)


def round_value(x: Value, f: Format, mode: str = "ties_to_even") -> Value:
    """`x` rounded into a format, overflow to Inf (NaN where there is no Inf), as a value."""
    return decode(integer_round(x, f, mode, "non_saturating"), f)


def int_limits(bits: int, signed: bool = True, symmetric: bool = True) -> tuple[int, int]:
    """Smallest and largest integer that an encoder gives."""
    if not signed:
        return 0, (1 << bits) - 1
    high = (1 << (bits - 1)) - 1
    return -high - (not symmetric), high


def int_decode(code: int, bits: int, signed: bool = True, fraction_bits: int = 0) -> Fraction:
    """Value of a two's complement code with the implicit scale 2**-fraction_bits."""
    integer = code - (1 << bits) if signed and code >> (bits - 1) else code
    return integer * power(-fraction_bits)


def int_round(
    x: Value,
    bits: int,
    *,
    signed: bool = True,
    fraction_bits: int = 0,
    symmetric: bool = True,
    mode: str = "ties_to_even",
    random: int = 0,
    random_bits: int = 0,
) -> int:
    """Two's complement code of `x`, saturating; `random_bits` > 0 rounds stochastically."""
    if x == "nan":
        raise ValueError("integers have no NaN")
    low, high = int_limits(bits, signed, symmetric)
    if x in ("+inf", "-inf"):
        return (high if x == "+inf" else low) % (1 << bits)
    steps = abs(_finite(x)) * power(fraction_bits)
    whole, negative = math.floor(steps), is_negative(x)
    up = (
        _carries(steps - whole, random, random_bits)
        if random_bits
        else _rounds_up(steps - whole, whole % 2 == 1, negative, mode)
    )
    return min(max((whole + up) * (-1 if negative else 1), low), high) % (1 << bits)


def philox4x32_10(counter: Sequence[int], key: Sequence[int]) -> tuple[int, int, int, int]:
    """Philox4x32-10 (Salmon and others, SC 2011): four 32-bit words of a counter under a key."""
    (c0, c1, c2, c3), (k0, k1) = counter, key
    for _ in range(10):
        p0, p1 = 0xD2511F53 * c0, 0xCD9E8D57 * c2
        c0, c1, c2, c3 = (p1 >> 32) ^ c1 ^ k0, p1 % 2**32, (p0 >> 32) ^ c3 ^ k1, p0 % 2**32
        k0, k1 = (k0 + 0x9E3779B9) % 2**32, (k1 + 0xBB67AE85) % 2**32
    return c0, c1, c2, c3


def random_integer(seed: int, index: int, bits: int) -> int:
    """The random integer of element `index`: the top `bits` bits of word 0."""
    counter = (index % 2**32, index >> 32, 0, 0)
    return philox4x32_10(counter, (seed % 2**32, seed >> 32))[0] >> (32 - bits)


# ----------------------------------------------------------------------------------- float32 arithmetic


def exact_product(x: Value, y: Value) -> Value:
    """x * y, unrounded, with IEEE 754's signs and special cases."""
    negative = is_negative(x) != is_negative(y)
    infinite = "+inf" in (x, y) or "-inf" in (x, y)
    zero = any(value in ("-0", ZERO) for value in (x, y))
    if "nan" in (x, y) or (infinite and zero):
        return "nan"
    if infinite:
        return "-inf" if negative else "+inf"
    if zero:
        return "-0" if negative else ZERO
    return _finite(x) * _finite(y)


def exact_sum(x: Value, y: Value) -> Value:
    """x + y, unrounded, with IEEE 754's signs (nearest rounding) and special cases."""
    if "nan" in (x, y) or {x, y} == {"+inf", "-inf"}:
        return "nan"
    for value in (x, y):
        if value in ("+inf", "-inf"):
            return value
    return "-0" if x == y == "-0" else _finite(x) + _finite(y)


def add32(x: Value, y: Value) -> Value:
    """One float32 addition, to nearest even."""
    return round_value(exact_sum(x, y), FP32)


def mul32(x: Value, y: Value) -> Value:
    """One float32 multiplication, to nearest even."""
    return round_value(exact_product(x, y), FP32)


def fma32(x: Value, y: Value, z: Value) -> Value:
    """One float32 fused multiply-add x * y + z, to nearest even."""
    return round_value(exact_sum(exact_product(x, y), z), FP32)


def div32(x: Value, y: Value) -> Value:
    """One float32 division by a non-zero finite number, to nearest even."""
    return round_value(exact_product(x, 1 / _finite(y)), FP32)


def register_bits(x: Value, f: Format) -> int:
    """The bit pattern of a value that `f` (FP32, FP16 or BF16) holds; NaN is all ones below the sign."""
    if x == "nan":
        return f.sign_bit - 1
    code = integer_round(x, f, "ties_to_even", "non_saturating")
    assert decode(code, f) == x
    return code


# ------------------------------------------------------------------------------- sums of a tensor core


class Term(NamedTuple):
    """significand * 2**unit, aligned by `exponent` (which is not normalised)."""

    exponent: int
    significand: int
    unit: int


@dataclass(frozen=True)
class Unit:
    """A fused sum: `products` at once, cut at 2**(e_max - fraction_bits), held in `register`."""

    products: int
    fraction_bits: int
    register: Format = FP32
    alignment_rounding: str = "toward_zero"
    register_rounding: str = "toward_zero"
    min_exponent: int = -133


def tf32_operand(code: int) -> int:
    """The TF32 code that a tensor core reads from a float32 pattern: the low 13 bits are ignored."""
    return code >> 13


@lru_cache(maxsize=1 << 18)
def product(a: int, fa: Format, b: int, fb: Format) -> Term | str:
    """Exact product of two codes: a term, or "nan", "+inf", "-inf"."""
    value = exact_product(decode(a, fa), decode(b, fb))
    if isinstance(value, str) and value != "-0":
        return value
    significand_a, exponent_a = split(a & (fa.sign_bit - 1), fa)
    significand_b, exponent_b = split(b & (fb.sign_bit - 1), fb)
    significand = significand_a * significand_b * (-1 if is_negative(value) else 1)
    exponent = exponent_a + exponent_b
    return Term(exponent, significand, exponent - fa.fraction_bits - fb.fraction_bits)


def register_term(c: Value, f: Format) -> Term | str:
    """The term of an accumulator: its exponent is no lower than the register's smallest."""
    if isinstance(c, str) and c != "-0":
        return c
    if _finite(c) == 0:
        return Term(0, 0, 0)
    c = _finite(c)
    return Term(max(floor_log2(abs(c)), f.min_exponent), c.numerator, -floor_log2(Fraction(c.denominator)))


def _align(term: Term, unit: int, mode: str) -> int:
    """The term as a multiple of 2**unit, what lies below rounded away by `mode`."""
    shift = term.unit - unit
    if shift >= 0:
        return term.significand << shift
    whole, rest = divmod(abs(term.significand), 1 << -shift)
    negative = term.significand < 0
    whole += _rounds_up(Fraction(rest, 1 << -shift), whole % 2 == 1, negative, mode) if rest else 0
    return -whole if negative else whole


def fused_sum(products: Iterable[Term | str], c: Value, unit: Unit) -> Value:
    """One step: products and accumulator aligned, cut, added exactly and rounded into the register.

    The largest exponent is taken among the non-zero terms and `unit.min_exponent`. A zero result is +0,
    overflow Inf under every rounding mode.
    """
    terms = [*products, register_term(c, unit.register)]
    specials = {term for term in terms if isinstance(term, str)}
    if specials:
        return specials.pop() if len(specials) == 1 else "nan"
    finite = [term for term in terms if isinstance(term, Term) and term.significand]
    if not finite:
        return ZERO
    cut = max(unit.min_exponent, *(term.exponent for term in finite)) - unit.fraction_bits
    total = sum(_align(term, cut, unit.alignment_rounding) for term in finite) * power(cut)
    result = round_value(total, unit.register, unit.register_rounding)
    return ZERO if result == "-0" else result


def scaled_fused_sum(
    pairs: Sequence[tuple[int, int]],
    fa: Format,
    fb: Format,
    c: Value,
    unit: Unit,
    scales: Sequence[tuple[int, int]],
    fs: tuple[Format, Format],
    group: int,
) -> Value:
    """One step of a unit that scales its own terms, given the two scale codes of every pair.

    With `group` 0 each product is a term, its exponent that of the operands and the scales. Else the exact
    sum of `group` products is one, and its exponent that of the scales alone: it takes part in the largest
    exponent unless all its products or a scale are zero (a sum of zero by cancellation does).
    """
    terms: list[tuple[int, Fraction]] = []
    specials: set[Value] = set()
    for start in range(0, len(pairs), max(1, group)):
        some = pairs[start : start + max(1, group)]
        sum_: Value = ZERO
        for x, y in some:
            sum_ = exact_sum(sum_, exact_product(decode(x, fa), decode(y, fb)))
        sa, sb = scales[start]
        factor = exact_product(decode(sa, fs[0]), decode(sb, fs[1]))
        value = exact_product(sum_, factor)
        if isinstance(value, str) and value != "-0":
            specials.add(value)
            continue
        exponent = split(sa & (fs[0].sign_bit - 1), fs[0])[1] + split(sb & (fs[1].sign_bit - 1), fs[1])[1]
        if group == 0:
            exponent += split(some[0][0] & (fa.sign_bit - 1), fa)[1]
            exponent += split(some[0][1] & (fb.sign_bit - 1), fb)[1]
        products = [exact_product(decode(x, fa), decode(y, fb)) for x, y in some]
        if any(_finite(p) for p in products) and _finite(factor):
            terms.append((exponent, _finite(value)))
    own = register_term(c, unit.register)
    if isinstance(own, str):
        specials.add(own)
    if specials:
        return specials.pop() if len(specials) == 1 else "nan"
    if isinstance(own, Term) and own.significand:
        terms.append((own.exponent, _finite(c)))
    if not terms:
        return ZERO
    cut = max(unit.min_exponent, *(exponent for exponent, _ in terms)) - unit.fraction_bits
    total = Fraction(0)
    for _, value in terms:
        whole, rest = divmod(abs(value) / power(cut), 1)
        up = bool(rest) and _rounds_up(rest, whole % 2 == 1, value < 0, unit.alignment_rounding)
        total += (whole + up) * (-1 if value < 0 else 1)
    result = round_value(total * power(cut), unit.register, unit.register_rounding)
    return ZERO if result == "-0" else result


def trace(
    a: Sequence[int],
    fa: Format,
    b: Sequence[int],
    fb: Format,
    unit: Unit | str,
    *,
    c: Value = ZERO,
    promotion: int | None = None,
    epilogue: str = "none",
    scale_a: Value | Sequence[Value] = ONE,
    scale_b: Value | Sequence[Value] = ONE,
) -> list[tuple[int, Value, Value]]:
    """(elements summed, register, total) after every step of a dot product; parameters as for `dot`."""
    size = 1 if isinstance(unit, str) else unit.products
    if (isinstance(unit, str) and unit != "fma") or len(a) != len(b):
        raise ValueError(f"unit {unit!r}, lengths {len(a)}, {len(b)}")
    if promotion is not None and promotion % size:
        raise ValueError(f"promotion: {promotion} is no multiple of {size}")
    register, total, steps = c if promotion is None else ZERO, c, []
    for start in range(0, len(a), size):
        stop = min(start + size, len(a))  # padding with zeros adds no term
        if promotion is not None and start % promotion == 0:
            register = ZERO
        if isinstance(unit, Unit):
            pairs = zip(a[start:stop], b[start:stop], strict=True)
            register = fused_sum((product(x, fa, y, fb) for x, y in pairs), register, unit)
        else:
            register = fma32(decode(a[start], fa), decode(b[start], fb), register)
        if promotion is None:
            total = register
        elif stop % promotion == 0 or stop == len(a):
            interval = start // promotion
            sa, sb = (s if isinstance(s, Fraction | str) else s[interval] for s in (scale_a, scale_b))
            if epilogue == "block":
                total = fma32(register, mul32(sa, sb), total)
            elif epilogue == "group":
                total = fma32(mul32(register, sa), sb, total)
            else:
                total = add32(total, register)
        steps.append((stop, register, total))
    return steps


def dot(
    a: Sequence[int],
    fa: Format,
    b: Sequence[int],
    fb: Format,
    unit: Unit | str,
    *,
    c: Value = ZERO,
    promotion: int | None = None,
    epilogue: str = "none",
    scale_a: Value | Sequence[Value] = ONE,
    scale_b: Value | Sequence[Value] = ONE,
    output: Format = FP32,
) -> Value:
    """A dot product of codes as a chain of steps, zeros padding the last.

    `unit` is a `Unit` or "fma" (one float32 fused multiply-add a product). `c` starts the register; with
    `promotion` it starts the float32 total, as it is, to which the partial sum of every `promotion`
    elements is added. Epilogues, all in float32, before the one rounding to `output`:

    - "tensor": total * (sa * sb)             - "row": (total * sb) * sa
    - "block": total = fma(partial, sa * sb, total), one scale (or one an interval) for each operand
    - "group": total = fma(partial * sa, sb, total), likewise

    "block" and "group" without promotion take the whole sum for one interval, on a total of zero.
    """
    steps = trace(
        a, fa, b, fb, unit, c=c, promotion=promotion, epilogue=epilogue, scale_a=scale_a, scale_b=scale_b
    )
    total = steps[-1][2] if steps else c
    if epilogue != "none" and (epilogue in ("tensor", "row") or promotion is None):
        sa, sb = (s if isinstance(s, Fraction | str) else s[0] for s in (scale_a, scale_b))
        total = {
            "tensor": lambda: mul32(total, mul32(sa, sb)),
            "row": lambda: mul32(mul32(total, sb), sa),
            "block": lambda: fma32(total, mul32(sa, sb), ZERO),
            "group": lambda: fma32(mul32(total, sa), sb, ZERO),
        }[epilogue]()
    return round_value(total, output)


def fma_chain(
    a: Sequence[int], fa: Format, b: Sequence[int], fb: Format, c: Value = ZERO, promotion: int | None = None
) -> Value:
    """One float32 fused multiply-add a product, in order."""
    return dot(a, fa, b, fb, "fma", c=c, promotion=promotion)


def exact_dot(
    a: Sequence[int],
    fa: Format,
    b: Sequence[int],
    fb: Format,
    *,
    c: Value = ZERO,
    scales: Sequence[Value] | None = None,
    output: Format = FP32,
) -> Value:
    """The exact sum of the products (each times its scale) and `c`, rounded once; an exact zero is +0."""
    total: Value = c
    for k, (x, y) in enumerate(zip(a, b, strict=True)):
        term = exact_product(decode(x, fa), decode(y, fb))
        total = exact_sum(total, term if scales is None else exact_product(term, scales[k]))
    return round_value(ZERO if total == "-0" else total, output)


# -------------------------------------------------------------------------------------------- scales


def scale_amax(amax: Fraction, maximum: Fraction, f: Format, mode: str = "ties_to_even") -> Value:
    """Rule AMAX: amax / maximum rounded once into the scale's format, saturating."""
    return decode(integer_round(amax / maximum, f, mode, "saturate"), f)


def scale_exponent(rule: str, amax: Fraction, maximum: Fraction, fraction_bits: int = 0) -> int:
    """The power of two that a rule gives for amax > 0 and elements up to `maximum`, within E8M0's range.

    FLOOR: floor(log2 amax) - emax, emax = floor(log2 maximum). CEIL: one more unless amax is a power of
    two. RCEIL: ceil(log2(amax / maximum)). EVEN: FLOOR of amax rounded to the elements' `fraction_bits`,
    half up. `amax` counts as a number, not as bits: subnormals are normalised first.
    """
    exponent = floor_log2(amax)
    if rule == "rceil":
        scale = floor_log2(amax / maximum)
        scale += power(scale) < amax / maximum
    else:
        scale = exponent - floor_log2(maximum)
        scale += {
            "floor": False,
            "ceil": amax > power(exponent),
            "even": amax + power(exponent - fraction_bits - 1) >= power(exponent + 1),
        }[rule]
    return min(max(scale, -127), 127)
