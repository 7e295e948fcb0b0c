"""Matrices that are hard for a quantizer with scales: amaxes and elements where rules differ."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from precision._support._types import Array
from precision.formats._named import Format
from precision.quantization._quant_spec import QuantSpec
from precision.testing import _hard_values
from precision.testing.blocks._block_layout import Layout
from precision.testing.blocks._expected_blocks import Reference

EXPONENTS = 0, -3, 5, -20, 17
"""Of the powers of two that designed blocks are multiplied by."""


@dataclass(frozen=True)
class Blocks:
    """Designed blocks for a spec and a source type, and the matrices that hold them."""

    reference: Reference
    dtype: np.dtype[Any]

    @property
    def spec(self) -> QuantSpec:
        """The spec."""
        return self.reference.spec

    @property
    def layout(self) -> Layout:
        """The layout of blocks in a matrix."""
        return self.reference.layout

    def _signs(self, shape: tuple[int, ...], seed: int) -> Array:
        if not self.spec.fmt.signed:
            return np.ones(shape)
        return np.random.default_rng(seed).choice(_hard_values.as_float64([-1, 1]), shape)

    def cast(self, blocks: Array) -> Array:
        """Return float64 numbers in the source's type, rounded where it does not hold them."""
        with np.errstate(all="ignore"):
            return np.clip(
                blocks, -_hard_values.largest_of(self.dtype), _hard_values.largest_of(self.dtype)
            ).astype(self.dtype)

    def with_anchor(self, blocks: Array, exponent: int) -> Array:
        """Return blocks with one in front that makes the tensor scale, if there is one, a power of two."""
        if not self.spec.tensor_scale:
            return blocks
        bound = self.spec.scale_format.max if self.spec.scale_bound is None else self.spec.scale_bound
        first = np.zeros((1, *blocks.shape[1:]))
        first.flat[0] = self.spec.fmt.max * bound * 2.0**exponent
        return np.concatenate([first.astype(blocks.dtype), blocks])

    def _unit(self, heads: Array, exponent: int) -> Array:
        """Return the divisors of blocks with these amaxes."""
        amax = self.with_anchor(heads, exponent)
        scale, tensor = self.reference.scales(amax)
        return scale[len(amax) - len(heads) :] * tensor

    def of_elements(self, points: Array, *, tops: Array | None = None) -> Iterator[Array]:
        """Yield matrices with ``points``, in units of the scale, below an amax that sets that scale.

        ``tops`` are the amaxes, in the same units; by default the format's largest value.
        """
        n, fmt, most = self.layout.elements, self.spec.fmt, self.layout.most()
        tops = _hard_values.as_float64([fmt.max]) if tops is None else tops
        room = max(1, n - 1)
        count = max(1, min(-(-points.size // room), most // (len(EXPONENTS) * len(tops)) or 1))
        body = np.tile(np.resize(points, (count, room)), (len(tops), 1))
        for index, exponent in enumerate(EXPONENTS):
            heads = self.cast(np.repeat(tops, count) * 2.0**exponent)
            inside = body * self._unit(heads, exponent)[:, None]
            blocks = np.zeros((len(heads), n))
            if n > 1:
                blocks[:, 1:] = np.where(np.abs(inside) <= heads[:, None].astype(np.float64), inside, 0)
            where, place = np.arange(len(blocks)), np.arange(len(blocks)) % n
            blocks[:, 0] = blocks[where, place]
            blocks[where, place] = heads
            signed = self.cast(blocks * self._signs(blocks.shape, index))
            yield from self.layout.place(self.with_anchor(signed, exponent))

    def of_amaxes(self, amaxes: Array, seed: int = 3) -> Iterator[Array]:
        """Yield matrices of blocks with these amaxes, each at another place among smaller random elements."""
        n = self.layout.elements
        rng = np.random.default_rng(seed)
        kept = np.resize(amaxes, min(len(amaxes), self.layout.most()))
        blocks = (
            kept[:, None] * rng.uniform(0, 0.999, (len(kept), n)) * rng.choice([1.0, 0.01], (len(kept), n))
        )
        blocks[np.arange(len(kept)), np.arange(len(kept)) * 7 % n] = kept
        yield from self.layout.place(self.cast(blocks * self._signs(blocks.shape, seed)))

    def amaxes(self) -> Array:
        """Return amaxes on and beside powers of two, the largest value, and where scale rules differ."""
        fmt = self.spec.fmt
        significands = [
            1.0,
            fmt.max / 2.0**fmt.max_exponent,
            1.5,
            1.75,
            1.875,
            2 - 2.0**-4,
            2 - 2.0**-3,
            1.25,
        ]
        exponents = [0, 1, -1, 3, 7, 8, 9, -4, -9, 15, 20, -20, 40, -40, 60, -60]
        marks = _hard_values.as_float64([s * 2.0**e for e in exponents for s in dict.fromkeys(significands)])
        exact = _hard_values.exactly_held(marks, self.dtype)
        beside = np.stack(
            [exact, *(np.resize(_hard_values.shift_ulps(exact, k), len(exact)) for k in (-1, 1))], axis=1
        )
        some = np.random.default_rng(5).uniform(1, 2, 256) * 2.0 ** np.random.default_rng(6).integers(
            -30, 30, 256
        )
        edges = beside.ravel().astype(np.float64)
        count = min(len(edges), len(some))
        mixed = np.concatenate([np.stack([edges[:count], some[:count]], axis=1).ravel(), edges[count:]])
        top = _hard_values.largest_of(self.dtype)
        return mixed[(mixed < top) & (mixed > 0)]

    def scale_ties(self) -> Iterator[Array]:
        """Yield matrices with amaxes whose scales lie halfway between two of their format, or beside it."""
        spec = self.spec
        if spec.scale_format.fraction_bits in (0, 23) or spec.scale_rule.gives_powers_of_two:
            return
        middle = _hard_values.ties(spec.scale_format, np.dtype(np.float32)).astype(np.float64)
        bound = spec.scale_format.max if spec.scale_bound is None else spec.scale_bound
        middle = middle[middle <= bound]
        anchors = (
            np.random.default_rng(7).uniform(1, 2, 8) if spec.tensor_scale else _hard_values.as_float64([1.0])
        )
        for index, anchor in enumerate(anchors):
            head = self.cast(_hard_values.as_float64([anchor * spec.fmt.max * bound]))
            tensor = self.reference.scales(head)[1] if spec.tensor_scale else 1.0
            exact = self.cast(middle * spec.fmt.max * tensor)
            amaxes = np.stack(
                [np.resize(_hard_values.shift_ulps(exact, k), len(exact)) for k in range(-3, 4)], axis=1
            ).ravel()
            kept = np.random.default_rng(index).permutation(amaxes)[: self.layout.most() - 1]
            if spec.tensor_scale:
                kept = np.concatenate([head, kept[kept <= head]])
            yield from self.of_amaxes(kept.astype(np.float64), 20 + index)

    def extremes(self) -> Array:
        """Return the smallest and largest amaxes of the source's type, and of the scale format."""
        fmt, scale = self.spec.fmt, self.spec.scale_format
        info = _hard_values.as_float64([_hard_values.largest_of(self.dtype), 2.0**127, 2.0**126])
        small = 2.0 ** _hard_values.as_float64([-149, -148, -140, -133, -127, -126, -125, -120, -110, -100])
        with np.errstate(over="ignore"):
            ends = _hard_values.as_float64(
                [s * m for s in (scale.smallest, scale.max) for m in (fmt.max, 2.0**fmt.max_exponent)]
            )
            marks = np.concatenate(
                [info, info / 2, small, small * 1.5, *(ends * f for f in (0.25, 0.5, 0.75, 1, 1.5, 2))]
            )
        if self.spec.min_amax:
            marks = np.concatenate(
                [marks, self.spec.min_amax * _hard_values.as_float64([0.1, 0.99, 1, 1.01])]
            )
        top = _hard_values.largest_of(self.dtype)
        with np.errstate(all="ignore"):
            rounded = marks[np.isfinite(marks) & (marks <= top)].astype(self.dtype)
        found = np.unique(rounded[rounded > 0])
        beside = [_hard_values.shift_ulps(found, k) for k in (-1, 1)]
        return _hard_values.sorted_union([found, *beside], self.dtype).astype(np.float64)

    def random(self, seed: int, count: int = 64) -> Iterator[Array]:
        """Yield matrices of normal numbers with some outliers, of another magnitude in each block."""
        rng = np.random.default_rng(seed)
        count = min(count, self.layout.most())
        x = rng.standard_normal((count, self.layout.elements)) * 2.0 ** rng.integers(-6, 6, (count, 1))
        x[rng.random(x.shape) < 0.01] *= 50
        yield from self.layout.place(self.cast(x if self.spec.fmt.signed else np.abs(x)))

    def points(self, of: Callable[[Format, np.dtype[Any]], Array]) -> Array:
        """Return numbers that ``of`` makes for the format, in units of the scale."""
        found = of(self.spec.fmt, np.dtype(np.float32)).astype(np.float64)
        return found[found <= self.spec.fmt.max]

    def over(self) -> tuple[Array, Array]:
        """Return points around and above the largest value, in units of the scale, and amaxes above it."""
        fmt = self.spec.fmt
        step, top = _hard_values.last_step(fmt), 2.0 ** (fmt.max_exponent + 1)
        shares = np.linspace(0, 1, 17)
        tops = fmt.max + shares[1:] * max(top - fmt.max, step) * 0.999
        points = np.concatenate(
            [fmt.max + _hard_values.as_float64([-0.5, -0.25, 0, 0.25, 0.5, 0.75]) * step, tops]
        )
        return points, tops
