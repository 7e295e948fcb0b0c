"""Library GEMMs to compare with: the grid of points, their operands, the part of a result that counts."""

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
        One of `vectors.SCALINGS`.
    scales : pair of ndarray
        Of A and B, float32: ``()`` twice; ``(M,)`` and ``(N,)``; or ``(M, ceil(K/128))`` with
        ``(ceil(N/128), ceil(K/128))`` or ``(N, ceil(K/128))``.
    fast : bool
        ``use_fast_accum``: no promotion.
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
        """Whether B has one scale for 128 x 128 elements."""
        return self.scaling == "1x128*128x128"

    @property
    def blockwise(self) -> bool:
        """Whether the scales change along K."""
        return self.scaling not in ("tensor", "row")

    def select(self, rows: Array, columns: Array) -> Gemm:
        """The same GEMM with some of its outputs: each depends on its own row of A and row of B alone.

        With square blocks the columns must be whole blocks, in order.
        """
        sa, sb = self.scales
        if self.scaling != "tensor":
            sa = sa[rows]
            sb = sb[np.unique(columns // BLOCK)] if self.square_blocks else sb[columns]
        return dataclasses.replace(self, a=self.a[rows], b=self.b[columns], scales=(sa, sb))

    def case(self, name: str, expected: Array) -> _recorded_cases.Case:
        """What `vectors.check` compares with the library's result, given as bit patterns."""
        return _recorded_cases.scaled_case(
            name, a=self.a, b=self.b, scales=self.scales, scaling=self.scaling, fast=self.fast,
            expected=expected, dtype=_recorded_cases.OUTPUT_DTYPES[self.output],
        )  # fmt: skip


@dataclass(frozen=True)
class Point:
    """One point of the grid."""

    _: KW_ONLY
    m: int
    n: int
    k: int
    a: str
    b: str
    fast: bool
    scaling: str

    def outputs(self, rng: np.random.Generator) -> tuple[str, ...]:
        """The types of result to ask for, one after the other until the library takes one.

        Mostly float32, which shows every bit of the accumulator.
        """
        first = str(rng.choice(["f32", "f32", "bf16", "f16"]))
        return (first, "bf16") if first != "bf16" else (first,)

    def gemm(self, rng: np.random.Generator, *, data: str, output: str) -> Gemm:
        """Fresh operands and scales. The scales have full significands, near what keeps results moderate."""
        along_k = -(-self.k // BLOCK)
        shapes: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {
            "tensor": ((), ()),
            "row": ((self.m,), (self.n,)),
            "1x128*128x128": ((self.m, along_k), (-(-self.n // BLOCK), along_k)),
            "1x128*1x128": ((self.m, along_k), (self.n, along_k)),
        }
        sa, sb = (np.exp2(rng.uniform(-5, 0, size=s)).astype(np.float32) for s in shapes[self.scaling])
        a = _random_operands.gemm_operand(rng, OPERAND_DTYPES[self.a], (self.m, self.k), data=data)
        b = _random_operands.gemm_operand(rng, OPERAND_DTYPES[self.b], (self.n, self.k), data=data)
        return Gemm(
            a.view(OPERAND_DTYPES[self.a]), b.view(OPERAND_DTYPES[self.b]),
            scaling=self.scaling, scales=(np.asarray(sa), np.asarray(sb)), fast=self.fast, output=output,
        )  # fmt: skip


@in_default_environment
def grid() -> list[Point]:
    """Every point: M, N in {16, 48, 128, 1008, 4096}, seven K up to 16384, three format pairs, fast and slow,
    four scalings.
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
def drawn(seed: int) -> list[Point]:
    """The grid in an order drawn with ``seed``."""
    points = grid()
    return [points[i] for i in np.random.default_rng(seed).permutation(len(points))]


@in_default_environment
def compared(point: Point, rng: np.random.Generator, *, budget: int) -> tuple[Array, Array]:
    """The rows and columns whose outputs are compared, at most about ``budget`` multiply-adds in all.

    Everything if it fits, else a random choice that always holds the first and the last of each axis.
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
    if count >= total:
        return np.arange(total)
    inner = rng.choice(np.arange(1, total - 1), size=max(count - 2, 0), replace=False)
    return np.unique(np.concatenate(([0], inner, [total - 1])))
