"""The error bound of an accumulation: of the register, tile by tile, and of the operations after it.

These are promotion, the scales and the rounding to the result's type.
"""

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
from precision.bounds._running_error import (
    RegisterBound,
    Side,
    StepRules,
    as_float64,
    build_sides,
    grains,
    rounding_error,
)
from precision.formats._float_format import FloatFormat
from precision.formats._named import BF16, FP16, FP32, FP64
from precision.formats._rounding_modes import Rounding
from precision.gemm._operands import Checked, Operand, Shapes
from precision.gemm._scale_epilogue import apply_plan, plan_scales, read_scales

Tile = tuple[slice, slice, slice]
#: The number of outputs of a tile, small enough for its float64 arrays to stay in the second-level cache.
TILE = 1 << 16
OUTPUT_FORMATS = {"float16": FP16, "bfloat16": BF16, "float32": FP32, "float64": FP64}


class PreparedProduct(NamedTuple):
    """A product's arguments as `matmul` checks them, and the conversion of its two operands."""

    left: Checked
    right: Checked
    shapes: Shapes
    start: Array | None
    kind: np.dtype[Any]
    conversions: tuple[Conversion, Conversion] | None
    given: tuple[Operand, Operand]  #: the operands as the unit gets them, quantized where a spec says so


class OutputBounds:
    """Error bounds of the outputs of a tile, carried through scaling, addition and rounding.

    Beside them stands the exact ``value``, a multiple of ``exact_grain``; what the unit holds in its place is
    a multiple of ``grain``.

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
    def from_register(cls, stray: RegisterBound) -> OutputBounds:
        """Take over the bounds of a register."""
        parts = cls(stray.sums.copy(), stray.sizes.copy(), stray.rules.safe, stray.exact_grain, stray.grain)
        parts.alignment, parts.register = stray.alignment.copy(), stray.register.copy()
        parts.certain, parts.variance = stray.certain.copy(), stray.variance.copy()
        return parts

    @property
    def largest(self) -> Array:
        """The largest magnitude that each output can have."""
        slack = self.size * (self.safe - 1)
        return (np.abs(self.value) + slack + self.alignment + self.register + self.epilogue) * self.safe

    def scale(self, exact: Array, used: Array, rounds: bool) -> None:
        """Multiply the outputs by ``used``, which stands for ``exact``, and round them if ``rounds``."""
        off = np.abs(used - exact)
        self.certain = self.certain * used + np.abs(self.value) * off
        self.epilogue = self.epilogue * used + np.abs(self.value) * off
        self.alignment, self.register = self.alignment * used, self.register * used
        self.variance = self.variance * used**2
        self.value, self.size = self.value * exact, self.size * exact
        self.exact_grain, self.grain = self.exact_grain * grains(exact), self.grain * grains(used)
        self.lost |= ~(used <= FP32.max)
        if rounds:
            # A multiplication by a power of two rounds only subnormal results.
            powers = np.frexp(used)[0] == 0.5
            self.round(FP32, np.where(powers, 2.0**-150, np.inf))

    def add(self, other: OutputBounds) -> None:
        """Add the outputs and the bounds of another sum, without rounding."""
        for name in ("value", "size", "alignment", "register", "epilogue", "certain", "variance"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.exact_grain = np.minimum(self.exact_grain, other.exact_grain)
        self.grain = np.minimum(self.grain, other.grain)
        self.lost |= other.lost

    def round(self, fmt: FloatFormat, most: Array | float = np.inf) -> None:
        """Round the outputs to the nearest value of a format, which changes each by at most ``most``."""
        size = self.largest
        change = np.minimum(rounding_error(size, fmt, Rounding.TIES_TO_EVEN, self.grain), most)
        self.lost |= ~(size <= fmt.max)
        self.epilogue = self.epilogue + change
        self.variance = self.variance + change**2

    def compare(self) -> None:
        """Add the rounding of the reference, which is the exact value rounded to float64."""
        change = rounding_error(self.largest, FP64, Rounding.TIES_TO_EVEN, self.exact_grain)
        self.epilogue, self.certain = self.epilogue + change, self.certain + change


class AccumulationBounds(NamedTuple):
    """Bounds of an accumulation as arrays (results, rows, columns), named as in `RegisterBound`."""

    alignment: Array
    register: Array
    epilogue: Array
    certain: Array
    variance: Array
    lost: Array


class SumOfProducts:
    """The accumulation of a product, of which `run` bounds the error, tile by tile."""

    def __init__(self, accumulator: Accumulator, step: Step, args: PreparedProduct) -> None:
        self.accumulator, self.shapes, self.start = accumulator, args.shapes, args.start
        self.kind, self.length, self.converted = args.kind, args.shapes.length, args.conversions is not None
        self.rules = StepRules.from_step(step, max(1, self.length))
        self.scales = read_scales(args.left), read_scales(args.right)
        self.plan = plan_scales(args.left, args.right, accumulator)
        self.epilogue = apply_plan(self.plan, *self.scales)
        stacks = Stack(self.shapes.left, args.left.fmt), Stack(self.shapes.right, args.right.fmt)
        self.left, self.right = build_sides(*stacks, self.epilogue.unit, step.inner)
        self.factors = self._pair_factors()

    def _pair_factors(self) -> list[tuple[Array, Array]]:
        """Return the factors of the finished sum in pairs: the exact one and its float32."""
        used = [np.asarray(factor, np.float64) for factor in self.epilogue.factors]
        exact = list(used)
        tensor = [s.tensor_scale for s in self.scales if s.tensor_scale is not None]
        if tensor and used:
            exact[-1] = np.asarray(math.prod(float(scale) for scale in tensor))
        first = len(used) - bool(tensor)
        if first == 1:  # that factor is the rounded product of both operands' scales
            sa, sb = (
                scales.at(places)[which, 0].astype(np.float64)
                for scales, places, which in (
                    (self.scales[0], self.plan.left, self.shapes.left_matrix),
                    (self.scales[1], self.plan.right, self.shapes.right_matrix),
                )
            )
            exact[0] = sa[:, :, None] * sb[:, None, :]
        return list(zip(exact, used, strict=True))

    def scale_product_error(self) -> float:
        """Return the relative error of float32 products of group and tensor scales, both operands together.

        The reference multiplies by such a product, where the unit multiplies by one scale after the other.
        """
        most = 1.0
        for scales in self.scales:
            if scales.tensor_scale is not None:
                exact = scales.values.astype(np.float64) * float(scales.tensor_scale)
                with np.errstate(all="ignore"):
                    rounded = (scales.values * scales.tensor_scale).astype(np.float64)
                    off = np.abs(rounded / exact - 1)[exact != 0]
                most *= 1 + float(off.max(initial=0))
        return most - 1

    def run(self) -> AccumulationBounds:
        """Bound the error of every output."""
        shape = self.shapes.sizes
        bounds = [np.zeros(shape) for _ in range(5)]
        out = AccumulationBounds(
            bounds[0], bounds[1], bounds[2], bounds[3], bounds[4], np.zeros(shape, np.bool_)
        )
        if not out.lost.size:
            return out
        pieces = list(split_into_tiles(shape))
        scale_product_error = self.scale_product_error()

        def work(first: int, last: int) -> None:
            with np.errstate(all="ignore"):
                for tile in pieces[first:last]:
                    self._bound_tile(tile, scale_product_error, out)

        parallel(work, len(pieces), 1)
        return out

    def _bound_tile(self, tile: Tile, scale_product_error: float, out: AccumulationBounds) -> None:
        """Bound the outputs of one tile, and write the bounds to ``out``."""
        pairs, rows, columns = tile
        i, j = self.shapes.left_matrix[pairs], self.shapes.right_matrix[pairs]
        left, right = self.left.take(i, rows, 1), self.right.take(j, columns, 2)
        start = None if self.start is None else self.start[tile]
        parts = self._bound_sums(
            left, right, None if start is None else np.nan_to_num(start, posinf=0, neginf=0), tile
        )
        for exact, used in self.factors:
            parts.scale(_broadcast_part(exact, tile), _broadcast_part(used, tile), rounds=True)
        if scale_product_error:
            off = parts.size * scale_product_error
            parts.epilogue, parts.certain = parts.epilogue + off, parts.certain + off
        if scale_product_error or self.converted:  # the reference may have more digits than the exact sum
            parts.exact_grain = np.zeros(parts.value.shape)
        if self.kind != np.float32 and self.kind != np.float64:
            parts.round(OUTPUT_FORMATS[self.kind.name])
        parts.compare()
        if start is not None:
            parts.lost |= ~np.isfinite(start)
        for name in out._fields:
            getattr(out, name)[tile] = getattr(parts, name)

    def _bound_sums(self, left: Side, right: Side, start: Array | None, tile: Tile) -> OutputBounds:
        """Bound the sums of a tile, before the scales that multiply the finished sum."""
        promotion = self.accumulator.promotion
        stray = RegisterBound(left, right, self.rules, None if promotion else start)
        if not promotion:
            stray.run(0, self.length)
            parts = OutputBounds.from_register(stray)
            parts.lost |= stray.lost
            return parts
        initial = np.zeros(stray.lost.shape) if start is None else start.astype(np.float64)
        ends = grains(initial)
        total = OutputBounds(initial, np.abs(initial), self.rules.safe, ends, ends)
        for first in range(0, self.length, promotion):
            last = min(first + promotion, self.length)
            stray.reset()
            stray.run(first, last)
            partial = OutputBounds.from_register(stray)
            self._scale_partial(partial, first, tile)
            total.add(partial)
            total.round(FP32)
        total.lost |= stray.lost
        return total

    def _read_group_scales(self, k: int, tile: Tile) -> tuple[Array, Array]:
        """Return both operands' group scales at element ``k``, which multiply the sum at promotion."""
        groups = self.epilogue.groups
        assert groups is not None
        pairs, rows, columns = tile
        i, j = self.shapes.left_matrix[pairs], self.shapes.right_matrix[pairs]
        sa = groups.left[i, k // groups.left_group][:, rows, None].astype(np.float64)
        return sa, groups.right[j, k // groups.right_group][:, None, columns].astype(np.float64)

    def find_partial_factor(self, k: int, tile: Tile) -> Array | float:
        """Return the exact factor of the sum over the promotion interval that begins at ``k``."""
        if self.epilogue.groups is None:
            return 1.0
        sa, sb = self._read_group_scales(k, tile)
        factor: Array = sa * sb
        return factor

    def _scale_partial(self, partial: OutputBounds, k: int, tile: Tile) -> None:
        """Multiply a partial sum by the group scales at element ``k``.

        The product with the last scale is not rounded, as it is fused with the addition that follows.
        """
        if self.epilogue.groups is None:
            return
        sa, sb = self._read_group_scales(k, tile)
        if self.epilogue.groups.partial_first:
            partial.scale(sa, sa, rounds=True)
            partial.scale(sb, sb, rounds=False)
        else:
            partial.scale(sa * sb, (sa * sb).astype(np.float32).astype(np.float64), rounds=False)


def _broadcast_part(x: Array, tile: Tile) -> Array:
    """Return a tile's part of an array that broadcasts to (results, rows, columns)."""
    if x.ndim == 0:
        return x
    return x[tuple(slice(None) if size == 1 else some for size, some in zip(x.shape, tile, strict=True))]


def split_into_tiles(shape: tuple[int, int, int]) -> Iterator[Tile]:
    """Split (pairs, rows, columns) into slices of about `TILE` outputs each."""
    pairs, rows, columns = shape
    wide = max(1, min(columns, 512))
    high = max(1, min(rows, TILE // wide))
    deep = max(1, TILE // (wide * high))
    for p in range(0, pairs, deep):
        for m in range(0, rows, high):
            for n in range(0, columns, wide):
                yield slice(p, p + deep), slice(m, m + high), slice(n, n + wide)


def bound_exact_sum(args: PreparedProduct) -> AccumulationBounds:
    """Bound the error of `EXACT`, which rounds once, to the result's type."""
    a, b = (
        given.quantized.dequantize(np.float64) if given.quantized is not None else as_float64(given.codes)
        for given in (args.left, args.right)
    )
    safe = 1 + (8 * args.shapes.length + 64) * 2.0**-52
    with np.errstate(all="ignore"):
        value, size = (np.asarray(x @ y).reshape(args.shapes.sizes) for x, y in ((a, b), (abs(a), abs(b))))
        if args.start is not None:
            value, size = value + args.start, size + np.abs(args.start)
        ends = [grains(np.asarray(x)).min(initial=np.inf) for x in (a, b, args.start) if x is not None]
        grain = np.full(value.shape, min(ends[0] * ends[1], *ends[2:], np.inf))
        parts = OutputBounds(value, size, safe, grain, grain)
        parts.round(OUTPUT_FORMATS[args.kind.name])
        if args.conversions is not None:
            parts.exact_grain = np.zeros(value.shape)
        parts.compare()
    parts.lost |= ~np.isfinite(size)
    return AccumulationBounds(*(getattr(parts, name) for name in AccumulationBounds._fields))
