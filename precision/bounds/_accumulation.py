"""The bound of an accumulation: the register's in tiles, then promotion, scales and the result's type."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from precision._support._types import Array
from precision._support.machine._threads import parallel
from precision.accumulators._accumulator import Accumulator
from precision.accumulators._operand_layout import Stack
from precision.accumulators._step import Step
from precision.bounds._conversion import Conversion
from precision.bounds._running_error import Machine, Side, Stray, grains, rounding_error, sides, widened
from precision.formats._float_format import FloatFormat
from precision.formats._named import BF16, FP16, FP32, FP64
from precision.formats._rounding_modes import Rounding
from precision.gemm._operands import Checked, Operand, Shapes
from precision.gemm._scale_epilogue import Epilogue, plan_scales, read_scales

Tile = tuple[slice, slice, slice]
#: Outputs of a tile: its arrays of float64 stay in second-level cache.
TILE = 1 << 16
OUTPUTS = {"float16": FP16, "bfloat16": BF16, "float32": FP32, "float64": FP64}


class Prepared(NamedTuple):
    """A product's checked arguments, as `matmul` checks them, and its operands' conversion."""

    left: Checked
    right: Checked
    shapes: Shapes
    start: Array | None
    kind: np.dtype[Any]
    conversions: tuple[Conversion, Conversion] | None
    given: tuple[Operand, Operand]  #: the operands, quantized


class Parts:
    """Bounds of a tile's outputs that are scaled, added to and rounded; the exact value beside them.

    The exact value is a multiple of ``exact_grain``, what the unit has in its place one of ``grain``.
    """

    def __init__(self, value: Array, size: Array, safe: float, exact_grain: Array, grain: Array) -> None:
        self.value, self.size, self.safe = value, size, safe
        self.exact_grain, self.grain = exact_grain, grain
        nothing: Array = np.zeros(value.shape)
        self.alignment, self.register, self.epilogue = nothing, nothing, nothing
        self.certain, self.variance = nothing, nothing
        self.lost: Array = np.zeros(value.shape, np.bool_)

    @classmethod
    def of(cls, stray: Stray) -> Parts:
        """The register's."""
        parts = cls(stray.sums.copy(), stray.sizes.copy(), stray.machine.safe, stray.exact_grain, stray.grain)
        parts.alignment, parts.register = stray.alignment.copy(), stray.register.copy()
        parts.certain, parts.variance = stray.certain.copy(), stray.variance.copy()
        return parts

    @property
    def most(self) -> Array:
        """No result is larger."""
        slack = self.size * (self.safe - 1)
        return (np.abs(self.value) + slack + self.alignment + self.register + self.epilogue) * self.safe

    def scale(self, exact: Array, used: Array, rounds: bool) -> None:
        """Multiplied by ``used`` (of float32) where ``exact`` is meant; the product perhaps rounded."""
        off = np.abs(used - exact)
        self.certain = self.certain * used + np.abs(self.value) * off
        self.epilogue = self.epilogue * used + np.abs(self.value) * off
        self.alignment, self.register = self.alignment * used, self.register * used
        self.variance = self.variance * used**2
        self.value, self.size = self.value * exact, self.size * exact
        self.exact_grain, self.grain = self.exact_grain * grains(exact), self.grain * grains(used)
        self.lost |= ~(used <= FP32.max)
        if rounds:
            # A power of two rounds nothing but subnormal results.
            powers = np.frexp(used)[0] == 0.5
            self.round(FP32, np.where(powers, 2.0**-150, np.inf))

    def add(self, other: Parts) -> None:
        for name in ("value", "size", "alignment", "register", "epilogue", "certain", "variance"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.exact_grain = np.minimum(self.exact_grain, other.exact_grain)
        self.grain = np.minimum(self.grain, other.grain)
        self.lost |= other.lost

    def round(self, fmt: FloatFormat, most: Array | float = np.inf) -> None:
        """Rounded to nearest, which changes it by at most ``most``."""
        size = self.most
        change = np.minimum(rounding_error(size, fmt, Rounding.TIES_TO_EVEN, self.grain), most)
        self.lost |= ~(size <= fmt.max)
        self.epilogue = self.epilogue + change
        self.variance = self.variance + change**2

    def compare(self) -> None:
        """The reference is the exact value rounded to float64."""
        change = rounding_error(self.most, FP64, Rounding.TIES_TO_EVEN, self.exact_grain)
        self.epilogue, self.certain = self.epilogue + change, self.certain + change


class Bounds(NamedTuple):
    """Bounds of an accumulation, arrays (results, rows, columns); see `Stray` for their meaning."""

    alignment: Array
    register: Array
    epilogue: Array
    certain: Array
    variance: Array
    lost: Array


class SumOfProducts:
    """The accumulation of a product in tiles."""

    def __init__(self, accumulator: Accumulator, step: Step, args: Prepared) -> None:
        self.accumulator, self.shapes, self.start = accumulator, args.shapes, args.start
        self.kind, self.length, self.converted = args.kind, args.shapes.length, args.conversions is not None
        self.machine = Machine.of(step, max(1, self.length))
        self.scales = read_scales(args.left, -1), read_scales(args.right, -2)
        self.epilogue: Epilogue = plan_scales(*self.scales, accumulator, self.shapes)
        stacks = Stack(self.shapes.left, args.left.fmt), Stack(self.shapes.right, args.right.fmt)
        self.left, self.right = sides(*stacks, self.epilogue.unit, step.inner)
        self.factors = self._exact_factors()

    def _exact_factors(self) -> list[tuple[Array, Array]]:
        """The factors of the finished sum: what is meant, and float32's."""
        used = [np.asarray(factor, np.float64) for factor in self.epilogue.factors]
        exact = list(used)
        tensor = [s.tensor_scale for s in self.scales if s.tensor_scale is not None]
        if tensor and used:
            exact[-1] = np.asarray(math.prod(float(scale) for scale in tensor))
        first = len(used) - bool(tensor)
        if first == 1:  # a product of both operands' scales, rounded
            sa, sb = (
                scales.expanded(len(stack), count)[which, 0].astype(np.float64)
                for scales, stack, count, which in (
                    (self.scales[0], self.shapes.left, self.shapes.rows, self.shapes.left_matrix),
                    (self.scales[1], self.shapes.right, self.shapes.columns, self.shapes.right_matrix),
                )
            )
            exact[0] = sa[:, :, None] * sb[:, None, :]
        return list(zip(exact, used, strict=True))

    def merging(self) -> float:
        """How far float32 products of two scales, which the reference takes, lie from the exact ones."""
        most = 1.0
        for scales in self.scales:
            if scales.tensor_scale is not None:
                exact = scales.values.astype(np.float64) * float(scales.tensor_scale)
                with np.errstate(all="ignore"):
                    rounded = (scales.values * scales.tensor_scale).astype(np.float64)
                    off = np.abs(rounded / exact - 1)[exact != 0]
                most *= 1 + float(off.max(initial=0))
        return most - 1

    def run(self) -> Bounds:
        """Every output's bounds."""
        shape = self.shapes.sizes
        bounds = [np.zeros(shape) for _ in range(5)]
        out = Bounds(bounds[0], bounds[1], bounds[2], bounds[3], bounds[4], np.zeros(shape, np.bool_))
        if not out.lost.size:
            return out
        pieces = list(tiles(shape))
        merging = self.merging()

        def work(first: int, last: int) -> None:
            with np.errstate(all="ignore"):
                for tile in pieces[first:last]:
                    self._tile(tile, merging, out)

        parallel(work, len(pieces), 1)
        return out

    def _tile(self, tile: Tile, merging: float, out: Bounds) -> None:
        pairs, rows, columns = tile
        i, j = self.shapes.left_matrix[pairs], self.shapes.right_matrix[pairs]
        left, right = self.left.take(i, rows, 1), self.right.take(j, columns, 2)
        start = None if self.start is None else self.start[tile]
        parts = self._sums(
            left, right, None if start is None else np.nan_to_num(start, posinf=0, neginf=0), tile
        )
        for exact, used in self.factors:
            parts.scale(_part(exact, tile), _part(used, tile), rounds=True)
        if merging:
            off = parts.size * merging
            parts.epilogue, parts.certain = parts.epilogue + off, parts.certain + off
        if merging or self.converted:  # the reference is another number, of as many digits as there are
            parts.exact_grain = np.zeros(parts.value.shape)
        if self.kind != np.float32 and self.kind != np.float64:
            parts.round(OUTPUTS[self.kind.name])
        parts.compare()
        if start is not None:
            parts.lost |= ~np.isfinite(start)
        for name in out._fields:
            getattr(out, name)[tile] = getattr(parts, name)

    def _sums(self, left: Side, right: Side, start: Array | None, tile: Tile) -> Parts:
        """The sums before scales that multiply them at the end."""
        promotion = self.accumulator.promotion
        stray = Stray(left, right, self.machine, None if promotion else start)
        if not promotion:
            stray.run(0, self.length)
            parts = Parts.of(stray)
            parts.lost |= stray.lost
            return parts
        initial = np.zeros(stray.lost.shape) if start is None else start.astype(np.float64)
        ends = grains(initial)
        total = Parts(initial, np.abs(initial), self.machine.safe, ends, ends)
        for first in range(0, self.length, promotion):
            last = min(first + promotion, self.length)
            stray.reset()
            stray.run(first, last)
            partial = Parts.of(stray)
            self._scale_partial(partial, first, tile)
            total.add(partial)
            total.round(FP32)
        total.lost |= stray.lost
        return total

    def _group_scales(self, k: int, tile: Tile) -> tuple[Array, Array]:
        """The scales of K from ``k`` that enter at promotion."""
        groups = self.epilogue.groups
        assert groups is not None
        pairs, rows, columns = tile
        i, j = self.shapes.left_matrix[pairs], self.shapes.right_matrix[pairs]
        sa = groups.left[i, k // groups.left_group][:, rows, None].astype(np.float64)
        return sa, groups.right[j, k // groups.right_group][:, None, columns].astype(np.float64)

    def partial_factor(self, k: int, tile: Tile) -> Array | float:
        """What the sum over an interval of promotion from ``k`` is multiplied by, exactly."""
        if self.epilogue.groups is None:
            return 1.0
        sa, sb = self._group_scales(k, tile)
        factor: Array = sa * sb
        return factor

    def _scale_partial(self, partial: Parts, k: int, tile: Tile) -> None:
        """Group scales of K from ``k``; the product with the last one is fused with the addition."""
        if self.epilogue.groups is None:
            return
        sa, sb = self._group_scales(k, tile)
        if self.epilogue.groups.partial_first:
            partial.scale(sa, sa, rounds=True)
            partial.scale(sb, sb, rounds=False)
        else:
            partial.scale(sa * sb, (sa * sb).astype(np.float32).astype(np.float64), rounds=False)


def _part(x: Array, tile: Tile) -> Array:
    """The part of an array that broadcasts to (results, rows, columns)."""
    if x.ndim == 0:
        return x
    return x[tuple(slice(None) if size == 1 else some for size, some in zip(x.shape, tile, strict=True))]


def tiles(shape: tuple[int, int, int]) -> Iterator[Tile]:
    """Slices of pairs, rows and columns, of some `TILE` outputs each."""
    pairs, rows, columns = shape
    wide = max(1, min(columns, 512))
    high = max(1, min(rows, TILE // wide))
    deep = max(1, TILE // (wide * high))
    for p in range(0, pairs, deep):
        for m in range(0, rows, high):
            for n in range(0, columns, wide):
                yield slice(p, p + deep), slice(m, m + high), slice(n, n + wide)


def exact_bounds(args: Prepared) -> Bounds:
    """The bounds of `EXACT`: one rounding to the result's type."""
    a, b = (
        given.quantized.dequantize(np.float64) if given.quantized is not None else widened(given.codes)
        for given in (args.left, args.right)
    )
    safe = 1 + (8 * args.shapes.length + 64) * 2.0**-52
    with np.errstate(all="ignore"):
        value, size = (np.asarray(x @ y).reshape(args.shapes.sizes) for x, y in ((a, b), (abs(a), abs(b))))
        if args.start is not None:
            value, size = value + args.start, size + np.abs(args.start)
        ends = [grains(np.asarray(x)).min(initial=np.inf) for x in (a, b, args.start) if x is not None]
        grain = np.full(value.shape, min(ends[0] * ends[1], *ends[2:], np.inf))
        parts = Parts(value, size, safe, grain, grain)
        parts.round(OUTPUTS[args.kind.name])
        if args.conversions is not None:
            parts.exact_grain = np.zeros(value.shape)
        parts.compare()
    parts.lost |= ~np.isfinite(size)
    return Bounds(*(getattr(parts, name) for name in Bounds._fields))
