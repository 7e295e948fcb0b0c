"""Matrix products that are hard, designed for one property each, and the same in every run."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from precision._support._types import Array
from precision.formats._codec import round_to
from precision.formats._named import TF32
from precision.testing.matmuls._designed_problems import Designs, Shape
from precision.testing.matmuls._problem import Problem


def exact_sums(s: Designs, rng: Any) -> Iterator[Problem]:
    """Yield products of small integers, whose sums no order or width changes."""
    k = s.length(s.step)
    for m, n in ((k, k), (5, 7)):
        if m <= 64:
            yield s.pair(rng, m, k, n, s.small, scales="one")
    yield s.pair(rng, 6, s.length(3 * s.step), 5, s.small, scales="one")


def alignment(s: Designs, rng: Any) -> Iterator[Problem]:
    """Yield single steps with large products that cancel, so that the bits kept of others are seen."""
    # A grouped unit aligns by its scales alone.
    far = "far" if s.d.scaled and s.unit.inner_scales else "one"
    k = s.length(s.step)
    for pairs in (1, 1, 2, 0):
        yield s.problem(rng, *s.cancelling(rng, 6, k, 6, pairs=pairs), scales=far)
    # Few terms, so that what is lost of each is seen.
    for kept in (2, 3, 4):
        a, b = s.cancelling(rng, 8, k, 8)
        order = np.argsort(-np.abs(a), axis=1, kind="stable")
        np.put_along_axis(a, order[:, kept:], np.float32(0), axis=1)
        yield s.problem(rng, a, b, scales=far)
    if s.unit.inner_scales and s.unit.inner_scales.group:
        for sign in (0.5, 1.0, 0.0):
            a = s.numbers(rng, (8, k), 0, *s.ends(0), sign=sign)
            yield s.problem(rng, a, s.numbers(rng, (k, 8), 1, *s.ends(1), sign=1.0), scales="far")


def register(s: Designs, rng: Any) -> Iterator[Problem]:
    """Yield sums of one to five steps of few binades, of one sign and of both, that fill the register."""
    for steps, sign in ((1, 1.0), (1, 0.0), (2, 0.5), (4, 1.0), (4, 0.0), (5, 0.5)):
        k = s.length(steps * s.step)
        high = [s.ends(side)[1] - 3 for side in (0, 1)]
        low = [max(s.ends(side)[0], high[side] - 5) for side in (0, 1)]
        a = s.numbers(rng, (6, k), 0, low[0], max(low[0], high[0]), sign=sign)
        b = s.numbers(rng, (k, 6), 1, low[1], max(low[1], high[1]), sign=1.0)
        yield s.problem(rng, a, b, scales="one")


def steps(s: Designs, rng: Any) -> Iterator[Problem]:
    """Yield several steps with large products that cancel within a step, or from one to the next."""
    k = s.length(max(4 * s.step, min(128, 8 * s.step)))
    yield from (s.problem(rng, *s.cancelling(rng, 5, k, 4, pairs=p), scales="one") for p in (1, 3))
    # Nearly empty: one large pair, and a few small ones between and around.
    for apart in (0, s.step // 2, s.step):
        a, b = s.cancelling(rng, 8, k, 3, apart=min(apart, k - 2))
        large = np.abs(a) >= 2.0 ** s.ends(0)[1]
        yield s.problem(
            rng, np.where(large | (rng.random(a.shape) < 0.15), a, np.float32(0)), b, scales="one"
        )


def promotion(s: Designs, rng: Any) -> Iterator[Problem]:
    """Yield sums over several intervals of promotion, of one sign, and with products that cancel."""
    every = s.every or 128
    for k in (2 * every + s.step, 6 * every):
        length = s.length(min(k, 1536))
        low = [max(s.ends(side)[0], s.ends(side)[1] - 6) for side in (0, 1)]
        high = [max(low[side], s.ends(side)[1] - 4) for side in (0, 1)]
        a = s.numbers(rng, (3, length), 0, low[0], high[0], sign=1.0)
        b = s.numbers(rng, (length, 3), 1, low[1], high[1], sign=1.0)
        yield s.problem(rng, a, b, scales="one")
        yield s.problem(rng, *s.cancelling(rng, 3, length, 2, pairs=3), scales="one")


def tail(s: Designs, rng: Any) -> Iterator[Problem]:
    """Yield products whose K steps and intervals of promotion do not divide."""
    every = s.every or 128
    half = s.step // 2
    lengths = [1, 2, 3, 8, 17, half, s.step - 1, s.step + 1, s.step + half, 2 * s.step + 3]
    lengths += [every - 1, every + 1, every + s.step + 5]
    for k in sorted({k for k in lengths if k > 0}):
        yield s.pair(rng, 4, k, 3, s.ordinary)


def shapes(s: Designs, rng: Any) -> Iterator[Problem]:
    """Yield products of odd numbers of rows and columns."""
    for m, n in ((1, 1), (1, 17), (17, 1), (33, 9), (3, 70), (65, 2)):
        yield s.pair(rng, m, s.length(s.step), n, s.ordinary)


def batches(s: Designs, rng: Any) -> Iterator[Problem]:
    """Yield stacks of matrices, of equal and of broadcast shapes."""
    k = s.length(s.step)
    for left, right in (((2,), (2,)), ((2, 1), (3,)), ((3,), ())):
        a = s.ordinary(rng, (*left, 3, k), 0)
        yield s.problem(rng, a, s.ordinary(rng, (*right, k, 4), 1))


def scales(s: Designs, rng: Any) -> Iterator[Problem]:
    """Yield products with several groups of scales along K."""
    every = math.lcm(s.every or 1, s.d.granule if s.d.granule > 1 else 1)
    k = s.length(min(max(4 * every, 2 * s.step), 1024))
    for m, n in ((6, 6), (5, 3), (2, 4)):
        yield s.pair(rng, m, k, n, s.ordinary)
    yield s.pair(rng, 6, k, 6, s.small)


def epilogue(s: Designs, rng: Any) -> Iterator[Problem]:
    """Yield products in which the order of partial sums, scales and totals changes the result."""
    every = math.lcm(s.every or 1, s.d.granule if s.d.granule > 1 else 1)
    k = s.length(min(max(3 * every, s.step), 768))
    yield s.pair(rng, 8, k, 8, s.ordinary)
    a, b = s.cancelling(rng, 6, k, 6, pairs=2)
    yield s.problem(rng, a, b)


def starts(s: Designs, rng: Any) -> Iterator[Problem]:
    """Yield sums that start from a ``c`` smaller than, as large as and larger than their products."""
    every = s.every or 2 * s.step
    for k in (s.step, 2 * s.step, 2 * every + s.step):
        length = s.length(k)
        for reach in (0, s.width // 2, s.width + 2):
            a, b = s.cancelling(rng, 5, length, 5)
            top = sum(s.ends(side)[1] for side in (0, 1))
            c = np.ldexp(1 + rng.random((5, 5)), rng.integers(top - reach - 1, top + 2, (5, 5)))
            held = round_to(c * rng.choice([-1.0, 1.0], c.shape), s.register)
            yield s.problem(rng, a, b, scales="one", c=np.asarray(held, np.float32))


def specials(s: Designs, rng: Any) -> Iterator[Problem]:
    """Yield NaN, and Inf times numbers, times zero and less Inf, each in rows and columns of their own."""
    k = s.length(2 * s.step)
    for special in (np.nan, np.inf, -np.inf):
        for side in (0, 1):
            fmt = s.d.formats[side]
            if not (fmt.has_nan if np.isnan(special) else fmt.has_inf):
                continue
            a, b = s.small(rng, (4, k), 0), s.small(rng, (k, 3), 1)
            x, other = ((a, b), (b.T, a.T))[side]
            x[0, 0], x[1, k - 1] = special, special
            other[0, 0], other[k - 1, 0] = 1, 0
            other[0, 1], other[k - 1, 1] = 0, -1
            x[2, 1] = special
            if np.isinf(special):
                x[2, k // 2] = -special
                other[1], other[k // 2] = 1, 1
            yield s.problem(rng, a, b, scales="one")
    for side in (0, 1):
        spec = s.d.specs[side]
        if spec is None or not spec.scale_format.has_nan:
            continue
        a, b = s.numbers(rng, (4, k), 0, *s.ends(0)), s.numbers(rng, (k, 3), 1, *s.ends(1))
        p = s.problem(rng, a, b, scales="one")
        scale = np.array(p.scales[side])
        scale.reshape(-1)[0] = np.nan
        yield replace(p, scales=(scale, p.scales[1]) if side == 0 else (p.scales[0], scale))


def overflow(s: Designs, rng: Any) -> Iterator[Problem]:
    """Yield sums beyond the largest number of the register."""
    tops = [s.d.formats[side].max for side in (0, 1)]
    k = s.length(2 * s.step)
    scale = max(1.0, tops[0] * tops[1] * k / 4 / s.register.max)
    if tops[0] * tops[1] * k < s.register.max:
        return
    for share in (1.0, 0.5, 0.75):
        signs = np.where(rng.random((6, k)) < share, 1.0, -1.0)
        a = s.to_format(signs * min(tops[0], tops[0] / math.sqrt(scale)), 0)
        size = np.ldexp(1.0, rng.integers(-3, 2, (k, 6)))
        yield s.problem(rng, a, s.to_format(size * min(tops[1], tops[1] / math.sqrt(scale)), 1), scales="one")
    a = s.to_format(np.full((2, k), tops[0]), 0)
    a[1, ::2] *= -1
    yield s.problem(rng, a, s.to_format(np.full((k, 2), tops[1]), 1), scales="one")


def zeros(s: Designs, rng: Any) -> Iterator[Problem]:
    """Yield sums of zeros of either sign, and sums that cancel to zero."""
    k = s.length(s.step)
    negative = np.full((2, k), -0.0, np.float32)
    yield s.problem(rng, negative, s.small(rng, (k, 2), 1), scales="one")
    a, b = s.small(rng, (3, k), 0), s.small(rng, (k, 3), 1)
    if k > 1:
        half = k // 2
        a[:, half : 2 * half], b[half : 2 * half] = -a[:, :half], b[:half]
        a[:, 2 * half :] = 0
    yield s.problem(rng, a, b, scales="one")
    yield s.problem(rng, a * np.float32(0), b, scales="one")


def subnormals(s: Designs, rng: Any) -> Iterator[Problem]:
    """Yield products of operands below the smallest normal number of their format."""
    k = s.length(s.step)
    for sides in ((0,), (1,), (0, 1)):
        x = []
        for side, shape in ((0, (5, k)), (1, (k, 5))):
            fmt = s.d.formats[side]
            low = fmt.min_exponent if fmt.min_exponent > -60 else s.ends(side)[0]
            if side in sides and fmt.fraction_bits and fmt.subnormals and low == fmt.min_exponent:
                units = rng.integers(1, 1 << fmt.fraction_bits, shape) * rng.choice([-1.0, 1.0], shape)
                x.append(np.ldexp(units, low - fmt.fraction_bits).astype(np.float32))
            else:
                x.append(s.numbers(rng, shape, side, low, low + 1))
        yield s.problem(rng, x[0], x[1], scales="one")
        sparse = np.where(rng.random(x[0].shape) < 3 / k, x[0], np.float32(0))
        yield s.problem(rng, sparse, x[1], scales="one")


def tiny(s: Designs, rng: Any) -> Iterator[Problem]:
    """Yield sums near the smallest normal number of the register and below it."""
    least = s.register.min_exponent
    lowest = [s.d.formats[side].min_exponent for side in (0, 1)]
    if sum(lowest) > least + 4:
        return
    for below in (0, 8, 16, 24):
        first = max(lowest[0], (least - below) // 2)
        second = max(lowest[1], least - below - first)
        a = s.numbers(rng, (5, s.length(s.step)), 0, first, first + 3)
        b = s.numbers(rng, (s.length(s.step), 5), 1, second, second + 3)
        yield s.problem(rng, np.where(rng.random(a.shape) < 0.3, a, np.float32(0)), b, scales="one")


def results(s: Designs, rng: Any) -> Iterator[Problem]:
    """Yield sums on and beside the ties of 16-bit results."""
    k = s.length(s.step)
    for sign in (1.0, 0.5):
        high = [min(s.ends(side)[1], 3) for side in (0, 1)]
        low = [max(s.ends(side)[0], -3) for side in (0, 1)]
        a = s.numbers(rng, (12, k), 0, low[0], high[0], sign=sign)
        yield s.problem(rng, a, s.numbers(rng, (k, 12), 1, low[1], high[1]), scales="one")
    bits = 7 if s.d.output.fraction_bits == 7 else 10
    a, b = np.zeros((24, k), np.float32), np.zeros((k, 2), np.float32)
    for row in range(24):  # 1 + i ulp + half an ulp, exactly or nearly
        a[row, 0], b[0] = 1, 1
        if k > 3:
            a[row, 1], b[1] = 2.0 ** -(bits // 2) * (row % 4), 2.0 ** -(bits - bits // 2)
            a[row, 2], b[2] = 2.0 ** -((bits + 1) // 2) * (-1) ** (row // 12), 2.0 ** -((bits + 2) // 2)
    yield s.problem(rng, s.to_format(a, 0), s.to_format(b, 1), scales="one")


def ordinary(s: Designs, rng: Any) -> Iterator[Problem]:
    """Yield products of normal and uniform numbers."""
    k = s.length(256)
    yield s.pair(rng, 12, k, 12, s.ordinary)

    def uniform(rng: Any, shape: Shape, side: int) -> Array:
        return np.abs(s.ordinary(rng, shape, side))

    yield s.pair(rng, 8, k, 8, uniform)


def low_bits(s: Designs, rng: Any) -> Iterator[Problem]:
    """Yield operands of TF32 whose low 13 bits are not zero, near ties of rounding them away."""
    k = s.step
    if TF32 not in s.d.formats:
        return
    for few in (1.0, 3 / k):
        x = [np.float32(1) + rng.random(shape).astype(np.float32) for shape in ((6, k), (k, 6))]
        bits = [y.view(np.uint32) for y in x]
        for y in bits:
            y[...] = (y & np.uint32(0xFFFFE000)) | rng.choice(
                np.array([0, 0xFFF, 0x1000, 0x1001, 0x1FFF], np.uint32), y.shape
            )
        a = np.where(rng.random((6, k)) < few, x[0], np.float32(0))
        yield s.problem(rng, a, x[1], scales="one")
