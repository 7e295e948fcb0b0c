"""What LogFMT is, in integers, fractions and as many digits as a decision takes (mpmath).

Nothing here imports `precision` or ml_dtypes. A spec is the plain record `Spec`, options are strings.

A level of a tile is a `Power`: c * base**rho with rational c and rho, whose base is e or a rational that is
no power of another rational. Such a number is rational only if rho is a whole number (of base e: zero), and
a sum of them with positive weights only if each is: no cancellation can help it. So a comparison that stays
undecided is settled exactly where the boundary is rational, and with more digits where it is not: a number
can then not lie on it.

`encode` is quick enough for a million numbers: it brackets each between two boundaries in NumPy's
longdouble, and settles one by one those that come too near.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from itertools import count
from typing import Any

import mpmath
import numpy as np
from reference import (
    BF16,
    FP16,
    FP32,
    Format,
    Value,
    magnitude_value,
    power,
    random_integer,
    round_value,
    table_round_array,
)
from reference import decode as decode_code

mp = mpmath.mp
FORMATS = {"fp32": FP32, "bf16": BF16, "fp16": FP16}
#: Bits of a first try, and those of its result that are not believed.
PRECISION, DOUBT = 160, 32


@dataclass(frozen=True)
class Spec:
    """`stochastic` is (bits, seed), `fallback` (format, span, amax_below)."""

    bits: int
    block_size: int = 128
    base: str = "e"
    rounding: str = "ties_to_even"
    stochastic: tuple[int, int] | None = None
    space: str = "linear"
    clamp: int | None = 32
    below_clamp: str = "nearest"
    metadata: str = "min_step"
    metadata_format: str = "fp32"
    from_stored: bool = True
    single_valued: str = "first"
    skip_zeros: bool = True
    negative_zero: bool = True
    non_finite: str = "nan_scale"
    fallback: tuple[str, int, float] | None = None

    @property
    def steps(self) -> int:
        """Steps between the lowest level, of code 1, and the highest."""
        return (1 << (self.bits - 1)) - 2


# ---------------------------------------------------------------------------------------------- numbers


def root(n: int, k: int) -> int | None:
    """The integer whose k-th power is n < 2**1000, if there is one."""
    guess = round(n ** (1 / k))
    nearby = [g for g in range(max(1, guess - 2), guess + 3) if g**k == n]
    if guess < 1 << 40 or nearby:  # a float holds such a root, and its error is below one
        return nearby[0] if nearby else None
    return math.isqrt(n) if k == 2 and math.isqrt(n) ** 2 == n else None


@lru_cache(maxsize=1 << 16)
def primitive(q: Fraction) -> tuple[Fraction, int]:
    """(g, m) with g**m = q > 1 and the largest m."""
    twos = (q.numerator & -q.numerator).bit_length() - (q.denominator & -q.denominator).bit_length()
    odd = q / power(twos)
    if odd == 1:
        return Fraction(2), twos
    longest = int(max(odd.numerator, odd.denominator).bit_length() / math.log2(3)) + 1
    for k in range(longest, 1, -1):
        if twos % k:
            continue
        top, bottom = root(odd.numerator, k), root(odd.denominator, k)
        if top is not None and bottom is not None:
            return Fraction(top, bottom) * power(twos // k), k
    return q, 1


@dataclass(frozen=True)
class Power:
    """scale * base**exponent; `base` is "e", 2, or a fraction that is no power of another."""

    scale: Fraction
    base: Fraction | str
    exponent: Fraction

    def rational(self) -> Fraction | None:
        if self.exponent == 0:
            return self.scale
        if self.base == "e" or self.exponent.denominator != 1:
            return None
        return self.scale * Fraction(self.base) ** int(self.exponent)

    def value(self) -> Any:
        """To mpmath's working precision, nearly."""
        exponent = number(self.exponent)
        grown = mpmath.exp(exponent) if self.base == "e" else number(Fraction(self.base)) ** exponent
        return number(self.scale) * grown


def number(x: Fraction) -> Any:
    return mpmath.mpf(x.numerator) / x.denominator


Sum = list[tuple[Fraction, Power]]


def precisions() -> Iterator[int]:
    for i in count():
        yield PRECISION << i


def sign(v: Fraction, boundary: Sum) -> int:
    """-1, 0 or 1: v is below, on or above the boundary."""
    for precision in precisions():
        with mp.workprec(precision):
            at = mpmath.fsum(number(weight) * term.value() for weight, term in boundary)
            apart = number(v) - at
            if abs(apart) > mpmath.ldexp(at, DOUBT - precision):
                return 1 if apart > 0 else -1
        if precision > PRECISION:
            continue
        parts = [term.rational() for weight, term in boundary if weight]
        if None not in parts:
            exact = sum((weight * (term.rational() or 0) for weight, term in boundary if weight), Fraction(0))
            return (v > exact) - (v < exact)
    raise AssertionError


def rounded_log(q: Fraction, base: str, divisor: int, f: Format) -> Value:
    """log_base(q) / divisor, rounded once to nearest even into a format."""
    if q == 1:
        return Fraction(0)
    twos = (q.numerator & -q.numerator).bit_length() - (q.denominator & -q.denominator).bit_length()
    if base == "two" and q == power(twos):
        return round_value(Fraction(twos, divisor), f)
    for precision in precisions():
        with mp.workprec(precision):
            # log1p, since near 1 the logarithm's digits are those of q - 1
            log = mpmath.log1p(number(q - 1)) if Fraction(1, 2) < q < 2 else mpmath.log(number(q))
            log = log / divisor / (mpmath.ln2 if base == "two" else 1)
            around = [log * (1 + mpmath.ldexp(s, DOUBT - precision)) for s in (-1, 1)]
            ends = [round_value(exact(end), f) for end in around]
        if ends[0] == ends[1]:
            return ends[0]
    raise AssertionError


def exact(x: Any) -> Fraction:
    """An mpf as a fraction."""
    negative, mantissa, exponent, _ = x._mpf_
    return (-1 if negative else 1) * int(mantissa) * power(exponent)


# ------------------------------------------------------------------------------------------------- tiles


@dataclass
class Grid:
    """Levels scale * base**(start + step * (K - 1))."""

    scale: Fraction
    base: Fraction | str
    start: Fraction
    step: Fraction

    def level(self, k: int) -> Power:
        return Power(self.scale, self.base, self.start + self.step * (k - 1))


def grid_of(low: Fraction, high: Fraction, steps: int) -> Grid:
    """From low to high, exactly."""
    if low == high:
        return Grid(low, Fraction(2), Fraction(0), Fraction(0))
    base, times = primitive(high / low)
    return Grid(low, base, Fraction(0), Fraction(times, steps))


@dataclass
class Tile:
    """Metadata; the grid that codes are chosen with and the one that a reader has; whether min was raised.

    `grid` None: no nonzero finite element (levels are 1), or a NaN tile.
    """

    first: Value
    second: Value
    grid: Grid | None = None
    read: Grid | None = None
    clamped: bool = False

    @property
    def is_nan(self) -> bool:
        return self.first == "nan"


def tile_of(low: Fraction | None, high: Fraction | None, has_zero: bool, spec: Spec) -> Tile:
    """The tile whose nonzero finite magnitudes are low to high; None: it has none."""
    if low is None or high is None:
        return Tile(Fraction(0), Fraction(0))
    f = FORMATS[spec.metadata_format]
    zero = has_zero and not spec.skip_zeros

    def limits(small: Fraction, large: Fraction, zero: bool) -> tuple[Fraction, bool]:
        if spec.clamp is None:
            return small, False
        least = large / power(spec.clamp)
        return (least, True) if zero or small < least else (small, False)

    start, clamped = limits(low, high, zero)
    real = None if spec.from_stored else grid_of(start, high, spec.steps)
    if spec.metadata == "min_step":
        first = rounded_log(start, spec.base, 1, f)
        first = Fraction(0) if first == "-0" else first  # the rules' one zero
        second = rounded_log(high / start, spec.base, spec.steps, f)
        base: Fraction | str = "e" if spec.base == "e" else Fraction(2)
        read = Grid(Fraction(1), base, finite(first), finite(second))
        return Tile(first, second, real or read, read, clamped)

    least, largest = magnitude_value(1, f), magnitude_value(f.max_code, f)
    lo, hi = (min(largest, max(least, finite(round_value(x, f)))) for x in (low, high))
    lo_read, clamped_read = limits(lo, hi, zero)
    read = grid_of(lo_read, hi, spec.steps)
    stored = Fraction(0) if zero else lo
    return Tile(stored, hi, real or read, read, clamped_read if spec.from_stored else clamped)


def finite(x: Value) -> Fraction:
    if isinstance(x, str):
        if x == "+inf":
            return power(4096)
        assert x == "-0"
        return Fraction(0)
    return x


# ------------------------------------------------------------------------------------------------- codes


def first_boundary(tile: Tile, spec: Spec) -> int:
    """0 if something lies between code 0 and code 1."""
    return 0 if tile.clamped and spec.below_clamp != "min" else 1


def boundary(tile: Tile, k: int, t: Fraction | None, spec: Spec) -> Sum:
    """What parts code k from k + 1, for the threshold t of a stochastic rounding."""
    grid = tile.grid
    assert grid is not None
    t = Fraction(1, 2) if t is None else t
    if k == 0 and spec.below_clamp == "zero":
        return [(Fraction(1), grid.level(1))]
    if k == 0 and spec.below_clamp == "nearest":
        return [(t, grid.level(1))]
    if spec.space == "log":
        return [(Fraction(1), Power(grid.scale, grid.base, grid.start + grid.step * (k - 1 + t)))]
    return [(1 - t, grid.level(k)), (t, grid.level(k + 1))]


def is_up(v: Fraction, k: int, tile: Tile, t: Fraction | None, spec: Spec) -> bool:
    """Whether the magnitude v has a larger code than k."""
    found = sign(v, boundary(tile, k, t, spec))
    at_least = t is not None or (k == 0 and spec.below_clamp == "zero")
    on_it = at_least or spec.rounding == "ties_to_away" or (k + 1) % 2 == 0
    return found > 0 or (found == 0 and on_it)


def threshold(random: int, spec: Spec) -> Fraction | None:
    return (
        None
        if spec.stochastic is None
        else Fraction((1 << spec.stochastic[0]) - random, 1 << spec.stochastic[0])
    )


def magnitude(v: Fraction, tile: Tile, t: Fraction | None, spec: Spec, guess: int | None = None) -> int:
    """K of a magnitude that is not zero."""
    last = spec.steps + 1
    assert tile.grid is not None
    if tile.grid.step == 0:
        return 1 if spec.single_valued == "first" else last
    low, high = first_boundary(tile, spec), last  # K lies in low..high
    if guess is not None:
        below = guess <= low or is_up(v, guess - 1, tile, t, spec)
        above = guess >= high or not is_up(v, guess, tile, t, spec)
        if below and above:
            return guess
    while low < high:
        middle = (low + high) // 2
        low, high = (middle + 1, high) if is_up(v, middle, tile, t, spec) else (low, middle)
    return low


def code(x: Value, tile: Tile, random: int, spec: Spec) -> int:
    """The code of an element of a tile."""
    negative, last = 1 << (spec.bits - 1), spec.steps + 1
    if tile.is_nan:
        return 0
    if x in ("nan", "+inf", "-inf"):
        return last | (negative if x == "-inf" else 0)
    assert not isinstance(x, str) or x == "-0"
    if x == "-0" or x == 0:
        k, below = 0, x == "-0"
    else:
        x = finite(x)
        k, below = magnitude(abs(x), tile, threshold(random, spec), spec), x < 0
    return k | (negative if below and (k or spec.negative_zero) else 0)


def level(k: int, tile: Tile, spec: Spec) -> Any:
    """What a reader makes of K, as an mpf, to 100 bits and more; K = 0 is for the caller."""
    with mp.workprec(PRECISION):
        return mpmath.mpf(1) if tile.read is None else tile.read.level(k).value()


# ------------------------------------------------------------------------------------------------ arrays


def random_integers(seed: int, index: Any, bits: int) -> Any:
    """`reference.random_integer` of an array of indices."""
    index = np.asarray(index, np.uint64)
    low, half = np.uint64(0xFFFFFFFF), np.uint64(32)
    c = [index & low, index >> half, np.zeros_like(index), np.zeros_like(index)]
    key = [seed % 2**32, seed >> 32]
    for _ in range(10):
        p0, p1 = np.uint64(0xD2511F53) * c[0], np.uint64(0xCD9E8D57) * c[2]
        c = [
            (p1 >> half) ^ c[1] ^ np.uint64(key[0]),
            p1 & low,
            (p0 >> half) ^ c[3] ^ np.uint64(key[1]),
            p0 & low,
        ]
        key = [(key[0] + 0x9E3779B9) % 2**32, (key[1] + 0xBB67AE85) % 2**32]
    return (c[0] >> np.uint64(32 - bits)).astype(np.int64)


LONG = np.longdouble
#: Relative distance from a boundary within which longdouble is not believed: its logarithms reach 750.
GUARD = LONG(2) ** 14 * np.finfo(LONG).eps


def long(x: Any) -> Any:
    """An mpf as a longdouble."""
    high = float(x)
    return LONG(high) + LONG(float(x - high))


def magnitudes(v: Any, tile: Tile, random: Any, spec: Spec) -> tuple[Any, int]:
    """`magnitude` of a float64 array without zeros, and how many were settled one by one."""
    assert tile.grid is not None
    if tile.grid.step == 0:
        return np.full(v.shape, magnitude(Fraction(1), tile, None, spec)), 0
    with mp.workprec(PRECISION):
        log_base = mpmath.mpf(1) if tile.grid.base == "e" else mpmath.log(number(Fraction(tile.grid.base)))
        start = long(number(tile.grid.start) * log_base + mpmath.log(number(tile.grid.scale)))
        step = long(number(tile.grid.step) * log_base)
    last, lowest = spec.steps + 1, first_boundary(tile, spec)
    w = (
        LONG(0.5)
        if random is None
        else (2.0 ** spec.stochastic[0] - random).astype(LONG) / LONG(2.0 ** spec.stochastic[0])
    )

    def at(k: Any) -> Any:
        down, up = np.exp(start + step * (k - 1)), np.exp(start + step * k)
        between = np.exp(start + step * (k - 1 + w)) if spec.space == "log" else down + w * (up - down)
        if spec.below_clamp in ("zero", "nearest"):
            between = np.where(k == 0, up * (w if spec.below_clamp == "nearest" else 1), between)
        return between

    wide = v.astype(LONG)
    k = np.clip(np.floor((np.log(wide) - start) / step) + 1, lowest, last)
    k = np.minimum(k + (wide > at(k)), last)
    sure = ((k == lowest) | (wide > at(k - 1) * (1 + GUARD))) & ((k == last) | (wide < at(k) * (1 - GUARD)))
    found = k.astype(np.int64)
    for i in np.flatnonzero(~sure):
        t = None if random is None else threshold(int(random[i]), spec)
        found[i] = magnitude(Fraction(float(v[i])), tile, t, spec, int(found[i]))
    return found, int((~sure).sum())


@dataclass
class Encoded:
    """Codes in the array's order; tiles and `cast` with the axis last; elements settled one by one."""

    codes: Any
    tiles: Any
    cast: Any
    settled: int

    def metadata(self) -> tuple[Any, Any]:
        """Both numbers of the tiles in float64, the axis last."""
        found = [np.empty(self.tiles.shape), np.empty(self.tiles.shape)]
        for at in np.ndindex(self.tiles.shape):
            for into, x in zip(found, (self.tiles[at].first, self.tiles[at].second), strict=True):
                into[at] = math.nan if x == "nan" else -0.0 if x == "-0" else float(x)
        return found[0], found[1]


def applies(tile: Tile, spec: Spec) -> bool:
    assert spec.fallback is not None
    if tile.is_nan:
        return False
    return finite(tile.first) < finite(tile.second) < spec.fallback[2]


def tile_codes(x: Any, index: Any, tile: Tile, spec: Spec) -> tuple[Any, int]:
    """Codes of a tile's elements, a float64 vector, and how many were settled one by one."""
    codes, last, settled = np.zeros(x.shape, np.int64), spec.steps + 1, 0
    if tile.is_nan:
        return codes, 0
    finites = np.isfinite(x)
    nonzero = finites & (x != 0)
    if nonzero.any():
        random = None
        if spec.stochastic is not None:
            random = random_integers(spec.stochastic[1], index[nonzero], spec.stochastic[0])
        codes[nonzero], settled = magnitudes(np.abs(x[nonzero]), tile, random, spec)
    codes[~finites] = last
    negative = np.signbit(x) & ~np.isnan(x)
    if not spec.negative_zero:
        negative &= codes != 0
    return codes | (negative.astype(np.int64) << (spec.bits - 1)), settled


def encode(x: Any, spec: Spec, axis: int = -1) -> Encoded:
    """Everything of an array of floats no wider than float64."""
    wide = np.moveaxis(np.asarray(x).astype(np.float64), axis, -1)
    index = np.moveaxis(np.arange(x.size).reshape(x.shape), axis, -1)
    length, size = wide.shape[-1], spec.block_size
    tiles = np.empty((*wide.shape[:-1], -(-length // size)), object)
    codes, settled = np.empty(wide.shape, np.int64), 0
    for at in np.ndindex(tiles.shape):
        part = (*at[:-1], slice(at[-1] * size, (at[-1] + 1) * size))
        block = wide[part]
        good = np.isfinite(block)
        if spec.non_finite == "nan_scale" and not good.all():
            tiles[at] = Tile("nan", "nan")
        else:
            v = np.abs(block[good & (block != 0)])
            ends = (Fraction(float(v.min())), Fraction(float(v.max()))) if v.size else (None, None)
            tiles[at] = tile_of(*ends, bool((block == 0).any()), spec)
        codes[part], more = tile_codes(block, index[part], tiles[at], spec)
        settled += more
    cast = np.ones(tiles.shape, bool)
    if spec.fallback is not None:
        fmt, span, _ = spec.fallback
        for at in np.ndindex(tiles.shape):
            first = at[-1] // (span // size) * (span // size)
            cast[at] = all(applies(t, spec) for t in tiles[at[:-1]][first : first + span // size])
        outside = ~np.repeat(cast, size, axis=-1)[..., :length]
        codes[outside] = table_round_array(wide[outside], FORMATS[fmt], overflow="non_saturating")
    return Encoded(np.moveaxis(codes, -1, axis), tiles, cast, settled)


def decode(codes: Any, encoded: Encoded, spec: Spec, axis: int = -1) -> tuple[Any, Any]:
    """Values as (high, low) float64 arrays, whose sum is right to 2**-100 of itself; unsaturated."""
    codes = np.moveaxis(codes, axis, -1)
    high, low = np.zeros(codes.shape), np.zeros(codes.shape)
    mask = (1 << (spec.bits - 1)) - 1
    for at in np.ndindex(encoded.tiles.shape):
        part = (*at[:-1], slice(at[-1] * spec.block_size, (at[-1] + 1) * spec.block_size))
        tile, block = encoded.tiles[at], codes[part]
        if not encoded.cast[at]:
            assert spec.fallback is not None
            high[part] = [sixteen_bits(int(c), FORMATS[spec.fallback[0]]) for c in block]
            continue
        if tile.is_nan:
            high[part] = math.nan
            continue
        for k in np.unique(block & mask):
            value = level(int(k), tile, spec) if k else mpmath.mpf(0)
            with mp.workprec(PRECISION):
                pair = float(value), float(value - float(value)) if mpmath.isfinite(float(value)) else 0.0
            chosen = (block & mask) == k
            minus = np.where(block[chosen] > mask, -1.0, 1.0)
            high[part][chosen], low[part][chosen] = minus * pair[0], minus * pair[1]
    return np.moveaxis(high, -1, axis), np.moveaxis(low, -1, axis)


def sixteen_bits(c: int, f: Format) -> float:
    """The value of a 16-bit code."""
    value = decode_code(c, f)
    specials = {"nan": math.nan, "+inf": math.inf, "-inf": -math.inf, "-0": -0.0}
    return specials[value] if isinstance(value, str) else float(value)


# ----------------------------------------------------------------------------------------------- packing


def packed(codes: Any, metadata: tuple[Any, Any], cast: Any, spec: Spec) -> bytes:
    """The bytes of a tensor whose axis is the last; metadata are arrays of their own 16 or 32 bits."""
    found = b"".join(m.astype(m.dtype.newbyteorder("<")).tobytes() for m in metadata)
    whole = np.repeat(cast, spec.block_size, axis=-1)[..., : codes.shape[-1]]
    inside = [int(c) for c in codes[whole]]
    text = "".join(format(c, f"0{spec.bits}b") for c in reversed(inside))
    stream = int(text, 2) if text else 0
    found += stream.to_bytes(-(-len(inside) * spec.bits // 8), "little")
    return found + b"".join(int(c).to_bytes(2, "little") for c in codes[~whole])


def beside(tile: Tile, k: int, t: Fraction | None, spec: Spec, dtype: Any = np.float32) -> list[Any]:
    """The neighbours of a boundary among the numbers of a type: the last not above it, and the next."""
    limits = boundary(tile, k, t, spec)
    with mp.workprec(PRECISION):
        v = dtype(float(mpmath.fsum(number(w) * term.value() for w, term in limits)))
    while sign(Fraction(float(v)), limits) > 0:
        v = np.nextafter(v, dtype(0))
    following = np.nextafter(v, dtype(np.inf))
    while sign(Fraction(float(following)), limits) <= 0:
        v, following = following, np.nextafter(following, dtype(np.inf))
    return [v, following]


__all__ = ["Encoded", "Spec", "Tile", "beside", "decode", "encode", "packed", "random_integer"]
