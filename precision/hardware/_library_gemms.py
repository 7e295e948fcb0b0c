"""Library GEMMs to compare with: a grid of points, their operands, and the outputs that are compared."""

from __future__ import annotations

import dataclasses
import itertools
import math
from dataclasses import KW_ONLY, dataclass

import numpy as np

from precision._support._types import Array
from precision._support.machine._float_environment import in_default_environment
from precision.hardware import _random_operands, _recorded_cases
from precision.hardware._instructions import OPERAND_DTYPES

#: Elements along K under one scale of a block-scaled GEMM.
BLOCK = 128


@dataclass(frozen=True)
class Gemm:
    """The operands of one scaled FP8 GEMM ``(a * scale) @ (b * scale).T``.

    Attributes
    ----------
    a, b : ndarray
        Arrays of FP8 type, ``(M, K)`` and ``(N, K)``.
    scaling : str
        The kind of scales, one of `SCALINGS` in `_recorded_cases`.
    scales : pair of ndarray
        Scales of A and B, float32, of shapes ``()`` twice; ``(M,)`` and ``(N,)``; or ``(M, ceil(K/128))``
        with ``(ceil(N/128), ceil(K/128))`` or ``(N, ceil(K/128))``.
    fast : bool
        True for ``use_fast_accum``, which is without promotion.
    output : str
        The type of the result: ``f32``, ``bf16`` or ``f16``.
    """

    a: Array
    b: Array
    _: KW_ONLY
    scaling: str
    scales: tuple[Array, Array]
    fast: bool
    output: str

    @property
    def square_blocks(self) -> bool:
        """True if B has one scale for each 128 x 128 elements."""
        return self.scaling == "1x128*128x128"

    @property
    def blockwise(self) -> bool:
        """True if the scales change along K."""
        return self.scaling not in ("tensor", "row")

    def select(self, rows: Array, columns: Array) -> Gemm:
        """Return the GEMM of some rows of A and B, whose outputs are some of this one's.

        Each output depends on its own row of A and row of B alone.

        With square blocks the columns must be whole blocks, in order.
        """
        sa, sb = self.scales
        if self.scaling != "tensor":
            sa = sa[rows]
            sb = sb[np.unique(columns // BLOCK)] if self.square_blocks else sb[columns]
        return dataclasses.replace(self, a=self.a[rows], b=self.b[columns], scales=(sa, sb))

    def case(self, name: str, expected: Array) -> _recorded_cases.Case:
        """Build the case that `check` compares with the library's result, given as bit patterns."""
        return _recorded_cases.build_scaled_case(
            name, a=self.a, b=self.b, scales=self.scales, scaling=self.scaling, fast=self.fast,
            expected=expected, dtype=_recorded_cases.OUTPUT_DTYPES[self.output],
        )  # fmt: skip


@dataclass(frozen=True)
class Point:
    """A GEMM to compare with: its shape, formats, accumulation and scaling, a point of the grid."""

    _: KW_ONLY
    m: int
    n: int
    k: int
    a: str
    b: str
    fast: bool
    scaling: str

    def outputs(self, rng: np.random.Generator) -> tuple[str, ...]:
        """Choose the types of result to ask for, one after the other until the library takes one.

        Float32, which shows every bit of the accumulator, comes first most often.
        """
        first = str(rng.choice(["f32", "f32", "bf16", "f16"]))
        return (first, "bf16") if first != "bf16" else (first,)

    def gemm(self, rng: np.random.Generator, *, data: str, output: str) -> Gemm:
        """Draw operands and scales; the scales have full significands, and keep results moderate."""
        along_k = -(-self.k // BLOCK)
        shapes: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {
            "tensor": ((), ()),
            "row": ((self.m,), (self.n,)),
            "1x128*128x128": ((self.m, along_k), (-(-self.n // BLOCK), along_k)),
            "1x128*1x128": ((self.m, along_k), (self.n, along_k)),
        }
        sa, sb = (np.exp2(rng.uniform(-5, 0, size=s)).astype(np.float32) for s in shapes[self.scaling])
        a = _random_operands.draw_gemm_operand(rng, OPERAND_DTYPES[self.a], (self.m, self.k), data=data)
        b = _random_operands.draw_gemm_operand(rng, OPERAND_DTYPES[self.b], (self.n, self.k), data=data)
        return Gemm(
            a.view(OPERAND_DTYPES[self.a]), b.view(OPERAND_DTYPES[self.b]),
            scaling=self.scaling, scales=(np.asarray(sa), np.asarray(sb)), fast=self.fast, output=output,
        )  # fmt: skip


@in_default_environment
def list_points() -> list[Point]:
    """List every point of the grid.

    M and N are in {16, 48, 128, 1008, 4096}; there are seven K up to 16384, three pairs of formats, fast and
    slow accumulation, and four scalings.
    """
    sides, depths = (16, 48, 128, 1008, 4096), (16, 48, 128, 272, 2048, 7168, 16384)
    pairs = (("e4m3", "e4m3"), ("e4m3", "e5m2"), ("e5m2", "e4m3"))
    return [
        Point(m=m, n=n, k=k, a=a, b=b, fast=fast, scaling=scaling)
        for m, n, k, (a, b), fast, scaling in itertools.product(
            sides, sides, depths, pairs, (True, False), _recorded_cases.SCALINGS
        )
    ]


@in_default_environment
def shuffle_points(seed: int) -> list[Point]:
    """List the points of the grid in an order drawn with ``seed``."""
    points = list_points()
    return [points[i] for i in np.random.default_rng(seed).permutation(len(points))]


@in_default_environment
def choose_outputs(point: Point, rng: np.random.Generator, *, budget: int) -> tuple[Array, Array]:
    """Choose the rows and columns whose outputs are compared, of about ``budget`` multiply-adds at most.

    They are all if that fits, else a random choice with the first and the last of each axis.
    """
    unit = BLOCK if point.scaling == "1x128*128x128" else 1
    rows, columns = point.m, point.n
    if rows * columns * point.k > budget:
        side = max(64, math.isqrt(budget // point.k))
        rows, columns = min(rows, side), min(columns, max(side, budget // (point.k * min(rows, side))))
        rows = min(point.m, max(side, budget // (point.k * columns)))
        columns = min(point.n, max(1, columns // unit) * unit)
    chosen = _choose(rng, point.m, rows)
    blocks = _choose(rng, -(-point.n // unit), -(-columns // unit))
    among = (blocks[:, None] * unit + np.arange(unit)).ravel()
    return chosen, among[among < point.n]


def _choose(rng: np.random.Generator, total: int, count: int) -> Array:
    """Choose ``count`` of ``total`` lines in order, the first and the last among them."""
    if count >= total:
        return np.arange(total)
    inner = rng.choice(np.arange(1, total - 1), size=max(count - 2, 0), replace=False)
    return np.unique(np.concatenate(([0], inner, [total - 1])))
