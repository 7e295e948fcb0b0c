"""Random numbers, scales and products that suit a declared GEMM."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from precision._support._types import Array
from precision.accumulators._accumulator import Accumulator
from precision.formats._codec import round_to
from precision.formats._float_format import FloatFormat
from precision.formats._int_format import IntFormat
from precision.formats._named import FP32
from precision.formats._rounding_modes import Overflow
from precision.quantization._granularity import scale_shape
from precision.testing.matmuls._problem import Declared, Problem

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Designs:
    """A maker of problems for a declared GEMM."""

    d: Declared

    @property
    def unit(self) -> Accumulator:
        return self.d.accumulator

    @property
    def step(self) -> int:
        """Number of products of one step; 16 for sums without steps."""
        step = self.unit.step
        return step.products if step and step.aligns else 16

    @property
    def width(self) -> int:
        bits = self.unit.step.fraction_bits if self.unit.step else None
        return 24 if bits is None else bits

    @property
    def register(self) -> FloatFormat:
        return self.unit.step.register if self.unit.step else FP32

    @property
    def every(self) -> int | None:
        return self.unit.promotion

    def length(self, k: int) -> int:
        """Return ``k`` rounded up to whole steps; if K must not be ragged, to whole groups and intervals."""
        unit = self.step if self.d.ragged else math.lcm(self.step, self.d.granule, self.every or 1)
        return -(-k // unit) * unit

    def ends(self, side: int) -> tuple[int, int]:
        """Return the least and greatest exponent of operands that keep sums within the register."""
        fmt = self.d.formats[side]
        room = (self.register.max_exponent - 10) // 2
        high = min(fmt.max_exponent, room, 20)
        return max(fmt.min_exponent, high - 40), high

    # ---- numbers ----------------------------------------------------------------------------------------
    def numbers(self, rng: Any, shape: Shape, side: int, low: int, high: int, *, sign: float = 0.5) -> Array:
        """Return numbers of an operand's format, uniform in exponent, positive with probability ``sign``."""
        fmt = self.d.formats[side]
        bits = min(fmt.fraction_bits, 23)
        significand = 1 + rng.integers(0, 1 << bits, shape) / (1 << bits)
        size = np.ldexp(significand, rng.integers(low, high + 1, shape))
        held = np.minimum(size, fmt.max) * np.where(rng.random(shape) < sign, 1.0, -1.0)
        return self.to_format(held, side)

    def to_format(self, x: Array, side: int) -> Array:
        """Return numbers rounded to the format of an operand."""
        fmt = self.d.formats[side]
        near = round_to(np.asarray(x, np.float64), fmt, overflow=Overflow.SATURATE)
        return np.asarray(near, np.float32)

    def small(self, rng: Any, shape: Shape, side: int) -> Array:
        """Return small integers, one in four of them zero."""
        return self.to_format(rng.choice([-2.0, -1, -1, 0, 0, 1, 1, 2], shape), side)

    def ordinary(self, rng: Any, shape: Shape, side: int) -> Array:
        top = min(self.d.formats[side].max / 4, 2.0 ** self.ends(side)[1] / 4, 3.0)
        return self.to_format(rng.standard_normal(shape) * top, side)

    # ---- problems ---------------------------------------------------------------------------------------
    def problem(
        self, rng: Any, a: Array, b: Array, *, scales: str = "plain", c: Array | None = None
    ) -> Problem:
        """Return a problem of two operands, with scales that are "one", "plain" (near one) or "far" apart."""
        found: list[Array | None] = []
        second: list[Array | None] = []
        for side, x in ((0, a), (1, b)):
            spec = self.d.specs[side]
            if spec is None:
                found.append(None)
                second.append(None)
                continue
            shape = scale_shape(x.shape, self.d.block(side, x.shape))
            found.append(self._scale(rng, shape, spec.scale_format, scales))
            number = np.float32(0.5 + rng.random()) if scales != "one" else np.float32(1)
            second.append(np.asarray(number) if spec.tensor_scale else None)
        return Problem(a, b, scales=(found[0], found[1]), second=(second[0], second[1]), c=c)

    def _scale(self, rng: Any, shape: Shape, fmt: FloatFormat, kind: str) -> Array:
        if kind == "one":
            return np.ones(shape, np.float32)
        reach = 3 if kind == "plain" else 14
        low = max(fmt.min_exponent, -reach)
        exponents = rng.integers(low, min(fmt.max_exponent - 1, reach) + 1, shape)
        significands = 1 + rng.random(shape) if fmt.fraction_bits else np.ones(shape)
        return np.asarray(round_to(np.ldexp(significands, exponents), fmt), np.float32)

    def pair(self, rng: Any, m: int, k: int, n: int, draw: Callable[..., Array], **options: Any) -> Problem:
        """Return a problem whose operands are both drawn by ``draw``."""
        return self.problem(rng, draw(rng, (m, k), 0), draw(rng, (k, n), 1), **options)

    def spread(self, rng: Any, shape: Shape, side: int) -> Array:
        """Return numbers over somewhat more binades than the alignment keeps, with some zeros."""
        low, high = self.ends(side)
        low = max(low, high - self.width // 2 - 4)
        x = self.numbers(rng, shape, side, low, high)
        return np.where(rng.random(shape) < 0.25, np.float32(0), x)

    def cancelling(
        self, rng: Any, m: int, k: int, n: int, *, pairs: int = 1, apart: int = 0
    ) -> tuple[Array, Array]:
        """Return operands with large products that cancel, at least ``apart`` along K, among others."""
        a, b = self.spread(rng, (m, k), 0), self.spread(rng, (k, n), 1)
        highs = self.ends(0)[1], self.ends(1)[1]
        for row in range(m):
            for _ in range(pairs):
                i = int(rng.integers(0, k - apart - 1)) if k > apart + 1 else 0
                j = int(rng.integers(i + max(1, apart), k)) if k > 1 else 0
                if i == j:
                    continue
                a[row, i] = self.numbers(rng, (), 0, highs[0], highs[0])
                a[row, j] = -a[row, i]
                top = self.numbers(rng, (n,), 1, max(self.ends(1)[0], highs[1] - 2), highs[1], sign=1.0)
                b[i], b[j] = top, top
        return a, b


def fit_start(p: Problem, d: Declared) -> Problem:
    """Return the problem without ``c`` if the callable takes none, else with zeros if it has none."""
    if not d.start:
        return replace(p, c=None)
    shape = (p.a.shape[-2], p.b.shape[-1])
    return p if p.c is not None else replace(p, c=np.zeros(shape, np.float32))


def checked_format(fmt: object) -> FloatFormat:
    """Return ``fmt``; raise TypeError unless operands may have it."""
    if isinstance(fmt, IntFormat) or not isinstance(fmt, FloatFormat) or fmt.fraction_bits > 23:
        raise TypeError(f"formats must be FloatFormats of float32 values, got {fmt!r}")
    return fmt
