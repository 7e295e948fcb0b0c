"""Sums of products in ways that no accumulator of the package has, to recognise mistakes by.

Results are float32 numbers in float64 arrays. Only matrices, no batches; small ones, for all products of a
step are held at once.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from precision._support._types import Array
from precision.accumulators._accumulator import Accumulator
from precision.accumulators._step import Step
from precision.formats._codec import round_to
from precision.formats._float_format import FloatFormat
from precision.formats._named import FP32
from precision.formats._rounding_modes import Overflow, Rounding
from precision.gemm._matrix_product import matmul
from precision.testing.matmuls._problem import Declared, Problem


def wide(x: Array) -> Array:
    """Return an array as float64."""
    return np.asarray(x, np.float64)


def to_float32(x: Array, rounding: Rounding = Rounding.TIES_TO_EVEN) -> Array:
    """Return numbers rounded once to float32, as float64."""
    return wide(round_to(wide(x), FP32, rounding=rounding, overflow=Overflow.NON_SATURATING))


def fma(x: Array, y: Array, z: Array) -> Array:
    """Return the fused multiply-add x*y + z of float32 numbers, rounded once to float32."""
    product = wide(x) * wide(y)  # exact: 48 bits
    total = product + wide(z)
    # The float64 sum is rounded to odd, so that rounding it again to float32 is one rounding.
    high = total - product
    lost = (product - (total - high)) + (wide(z) - high)
    even = (total.view(np.int64) & 1) == 0
    moved = np.nextafter(total, np.where(lost > 0, np.inf, -np.inf))
    odd = np.where(np.isfinite(lost) & (lost != 0) & even, moved, total)
    return to_float32(odd)


COMBINE: dict[str, Callable[[Array, Array, Array, Array], Array]] = {
    "fma(partial, sa * sb, total)": lambda p, sa, sb, t: fma(p, to_float32(sa * sb), t),
    "fma(partial * sa, sb, total)": lambda p, sa, sb, t: fma(to_float32(p * sa), sb, t),
    "fma(partial * sb, sa, total)": lambda p, sa, sb, t: fma(to_float32(p * sb), sa, t),
    "partial * (sa * sb) + total": lambda p, sa, sb, t: to_float32(to_float32(p * to_float32(sa * sb)) + t),
    "(partial * sa) * sb + total": lambda p, sa, sb, t: to_float32(to_float32(to_float32(p * sa) * sb) + t),
    "(partial * sb) * sa + total": lambda p, sa, sb, t: to_float32(to_float32(to_float32(p * sb) * sa) + t),
}
"""How a partial sum and its scales may join a total."""
FINISH: dict[str, Callable[[Array, Array, Array], Array]] = {
    "total * (sa * sb)": lambda t, sa, sb: to_float32(t * to_float32(sa * sb)),
    "(total * sa) * sb": lambda t, sa, sb: to_float32(to_float32(t * sa) * sb),
    "(total * sb) * sa": lambda t, sa, sb: to_float32(to_float32(t * sb) * sa),
}
"""How the scales of a finished sum may enter."""


@dataclass(frozen=True)
class Plan:
    """A plan of a sum: where partial sums end, how they and scales join the total, where c starts."""

    shift: int = field(default=0, kw_only=True)  #: of the ends of intervals, in K
    combine: str = field(default="", kw_only=True)
    finish: str = field(default="", kw_only=True)
    start: str = field(default="as declared", kw_only=True)  #: or "register", "total", "end", "scaled"
    cleared: bool = field(default=True, kw_only=True)
    last: bool = field(default=True, kw_only=True)  #: whether an incomplete interval is added
    adding: Rounding = field(default=Rounding.TIES_TO_EVEN, kw_only=True)
    every: int | None = field(default=None, kw_only=True)

    def __call__(self, p: Problem, d: Declared) -> Array:
        unit = d.accumulator
        if unit.step is None or unit.inner_scales is not None:
            raise ValueError("no partial sums outside the unit")
        every = self.every or unit.promotion
        ends = [*range((every or p.length) + self.shift, p.length, every or p.length), p.length]
        ends = [end for end in ends if end > 0]
        register, a, b = unit.promoted(None), p.codes(d, 0), p.codes(d, 1)
        start = self.start if self.start != "as declared" else "total" if every else "register"
        c = None if p.c is None else np.broadcast_to(p.c, (len(a), b.shape[1])).astype(np.float32)
        first = c if start == "register" else None
        total = np.zeros((len(a), b.shape[1])) if c is None or start != "total" else wide(c)
        begin, part = 0, np.zeros(0)
        with np.errstate(all="ignore"):
            for end in ends:
                if not self.last and every and end - begin < every:
                    break
                initial = first if begin == 0 else None if self.cleared else part.astype(np.float32)
                part = wide(matmul(a[:, begin:end], b[begin:end], accumulator=register, c=initial))
                total = self._join(p, d, part, total, begin, whole=len(ends) == 1 and not every)
                begin = end
            if self.finish:
                total = FINISH[self.finish](total, *self._scales(p, d, 0))
            for second in p.second:
                if second is not None and d.scaled:
                    total = to_float32(total * wide(second))
            if c is not None and start == "end":
                total = to_float32(total + wide(c))
        return total

    def _scales(self, p: Problem, d: Declared, k: int) -> tuple[Array, Array]:
        return wide(p.line_scales(d, 0, k))[:, None], wide(p.line_scales(d, 1, k))[None, :]

    def _join(self, p: Problem, d: Declared, part: Array, total: Array, k: int, *, whole: bool) -> Array:
        if self.combine:
            return COMBINE[self.combine](part, *self._scales(p, d, k), total)
        return part if whole and not total.any() else to_float32(total + part, self.adding)


@dataclass(frozen=True)
class Steps:
    """A fused sum with one change for which `FusedSum` has no parameter."""

    normalised: bool = field(default=False, kw_only=True)  #: exponents of products as they come out
    own_exponent: bool = field(default=False, kw_only=True)  #: subnormal operands enter normalised
    zeros: bool = field(default=False, kw_only=True)  #: zero products count in the largest exponent
    register: str = field(default="aligned", kw_only=True)  #: or "apart", "uncut"
    flushed: bool = field(default=False, kw_only=True)  #: a subnormal register becomes zero
    saturated: bool = field(default=False, kw_only=True)
    products: FloatFormat | None = field(default=None, kw_only=True)  #: what products are rounded to

    def __call__(self, p: Problem, d: Declared) -> Array:
        unit = d.accumulator
        one = unit.step
        if one is None or not one.aligns or one.inner is not None or d.scaled:
            raise ValueError("steps of a plain fused sum only")
        a, b = (_cut(x, f) for x, f in ((p.a, d.formats[0]), (p.b, d.formats[1])))
        shape = len(a), b.shape[1]
        c = np.zeros(shape) if p.c is None else np.broadcast_to(wide(p.c), shape)
        every = unit.promotion
        total, r = (c, np.zeros(shape)) if every else (np.zeros(shape), c)
        with np.errstate(all="ignore"):
            for k in range(0, p.length, one.products):
                if every and k and k % every == 0:
                    total, r = to_float32(total + r), np.zeros(shape)
                upto = min(k + one.products, p.length)
                r = self._step(one, d.formats, a[:, k:upto], b[k:upto], r)
            return to_float32(total + r) if every else r

    def _step(self, unit: Step, formats: tuple[Any, Any], a: Array, b: Array, r: Array) -> Array:
        terms = a[:, :, None] * b[None, :, :]
        if self.products is not None:
            terms = wide(round_to(terms, self.products, overflow=Overflow.NON_SATURATING))
        if self.normalised or self.products is not None:
            exponents = _exponents(terms, None)
        else:
            floors = (None, None) if self.own_exponent else formats
            exponents = _exponents(a, floors[0])[:, :, None] + _exponents(b, floors[1])[None, :, :]
        counted = np.ones(terms.shape, bool) if self.zeros else terms != 0
        assert unit.fraction_bits is not None and unit.min_exponent is not None
        low = unit.min_exponent
        largest = np.where(counted, exponents, low).max(axis=1)
        if self.register == "aligned":
            own = _exponents(r, unit.register)
            largest = np.maximum(largest, np.where(r != 0, own, low))
        step = np.exp2(np.maximum(largest, low) - float(unit.fraction_bits))
        cut = (np.trunc(terms / step[:, None, :]) * step[:, None, :]).sum(axis=1)
        if self.register == "apart":
            return self._into_register(unit, to_float32(cut + r))
        return self._into_register(
            unit, cut + (np.trunc(r / step) * step if self.register == "aligned" else r)
        )

    def _into_register(self, unit: Step, x: Array) -> Array:
        over = Overflow.SATURATE if self.saturated else Overflow.NON_SATURATING
        r = wide(round_to(x, unit.register, rounding=unit.register_rounding, overflow=over))
        if self.flushed:
            r = np.where(np.abs(r) < 2.0**unit.register.min_exponent, 0.0, r)
        return np.where(r == 0, 0.0, r)


def _exponents(x: Array, fmt: FloatFormat | None) -> Array:
    found = np.frexp(x)[1] - 1
    return found if fmt is None else np.maximum(found, fmt.min_exponent)


def _cut(x: Array, fmt: FloatFormat) -> Array:
    """Return operands as a unit reads them: the low bits of TF32 are ignored."""
    return wide(round_to(x, fmt, rounding=Rounding.TOWARD_ZERO, overflow=Overflow.NON_SATURATING))


def split(p: Problem, d: Declared, parts: int) -> Array:
    """Return the sum of so many parts of K, each summed as declared, added in float32 one after the other."""
    unit = d.accumulator
    step = math.lcm(d.granule, unit.promotion or (unit.step.products if unit.step else 1))
    size = -(-p.length // parts // step) * step
    if size >= p.length:
        raise ValueError("too short to split")
    total: Array | None = None
    for first in range(0, p.length, size):
        one = p.span(d, first, min(first + size, p.length))
        part = replace(one, c=p.c if first == 0 else None).expected(d, dtype=np.float32)
        total = part if total is None else to_float32(total + part)
    assert total is not None
    return total


def plain_float32(p: Problem, d: Declared, accumulator: Accumulator) -> Array:
    """Return the product of operands that are multiplied by their scales in float32 first."""
    a, b = (dequantize_operand(p, d, side) for side in (0, 1))
    if accumulator.operand_formats:
        kind = np.dtype(accumulator.operand_formats[0].dtype)
        return wide(matmul(a.astype(kind), b.astype(kind), accumulator=accumulator, c=p.c))
    return wide(matmul(a, b, accumulator=accumulator.promoted(None), c=p.c))


def dequantize_operand(p: Problem, d: Declared, side: int, dtype: Any = np.float32) -> Array:
    """Return an operand multiplied by its scales."""
    if d.specs[side] is None:
        return np.asarray((p.a, p.b)[side], dtype)
    return np.asarray(p.operand(d, side).dequantize(dtype))
