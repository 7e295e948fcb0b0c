"""Other models of a library GEMM, tried where the expected one differs: split K, promotion, another unit."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from precision import units
from precision._support._types import Array
from precision._support.machine._float_environment import each_in_default_environment, in_default_environment
from precision.accumulators.kinds._fused_sum import FusedSum
from precision.gemm._matrix_product import matmul
from precision.hardware import _recorded_cases
from precision.hardware._instructions import as_bits
from precision.hardware._library_gemms import BLOCK, Gemm

#: A guess of how a library computes a GEMM: it returns the bit patterns of the result.
Model = Callable[[Gemm], Array]


class Explanation(NamedTuple):
    """The name of the model that fits best, and the number of outputs on which it still differs."""

    model: str
    mismatches: int


@in_default_environment
def explain(gemm: Gemm, expected: Array, *, sample: int = 24, seconds: float = 30.0) -> Explanation:
    """Search for a model that gives the ``expected`` outputs of a library GEMM.

    Each model is tried on a few outputs first, some of which differ from the emulator's.

    Parameters
    ----------
    gemm : Gemm
        The GEMM that the library computed.
    expected : ndarray
        Bit patterns ``(M, N)`` of the library's result.
    sample : int
        Number of rows and of columns that take part in the search. A model that gives all of their outputs
        is then tried on all of ``expected``, and the search goes on if it fails there.
    seconds : float
        Time after which the search ends.
    """
    start = time.perf_counter()
    wrong = _recorded_cases.emulate(gemm.case("all", expected)) != expected
    rows, columns = _choose_lines(wrong.any(axis=1), sample), _choose_lines(wrong.any(axis=0), sample)
    if gemm.square_blocks:
        first = np.flatnonzero(wrong.any(axis=0))[0] // BLOCK * BLOCK
        columns = np.arange(first, min(first + BLOCK, len(gemm.b)))
    few, target = gemm.select(rows, columns), expected[np.ix_(rows, columns)]
    best = Explanation("none of the models tried", int(np.count_nonzero(wrong)))
    for name, model in models(gemm):
        if np.array_equal(model(few), target):
            left = int(np.count_nonzero(model(gemm) != expected))
            if left < best.mismatches:
                best = Explanation(name, left)
        if best.mismatches == 0 or time.perf_counter() - start > seconds:
            break
    return best


def _choose_lines(differs: Array, count: int) -> Array:
    """Choose lines that differ, and then lines that do not, ``count`` in all."""
    return np.sort(np.argsort(~differs, kind="stable")[: max(count, 1)])


@each_in_default_environment
def models(gemm: Gemm) -> Iterator[tuple[str, Model]]:
    """Yield models of a GEMM with their names, the likeliest first.

    Parameters
    ----------
    gemm : Gemm
        The GEMM, whose scaling rules some models out.

    Yields
    ------
    str
        The name of the model.
    callable
        The model, which maps a `Gemm` to the bit patterns of its result.
    """
    yield from _split_models(gemm, usual=True)
    # Scales that change along K need a promotion within their groups, and rule other units out.
    for every in (32, 64) if gemm.blockwise else (None, 32, 64, 128, 256, 512, 1024):
        unit = units.HOPPER_FP8.promoted(every)
        yield (
            (f"promotion every {every}" if every else "no promotion"),
            functools.partial(_sum_at_once, unit=unit),
        )
    if not gemm.blockwise:
        yield "mma.sync on the FP16 unit", _sum_on_fp16_unit
    yield from _split_models(gemm, usual=False)


def _split_models(gemm: Gemm, *, usual: bool) -> Iterator[tuple[str, Model]]:
    """Yield models that split K over blocks and add the parts in float32, with their names.

    The usual one is what cuBLASLt was seen to do. It splits at whole tiles of 128, the last part being
    shorter, and adds the parts in order. The scales of square blocks are padded to four along K, and there it
    splits at four tiles.
    """
    unit = units.HOPPER_FP8.promoted(None if gemm.fast else _recorded_cases.PROMOTION)
    k = gemm.a.shape[1]
    for parts in range(2, min(-(-k // BLOCK), 32) + 1):
        for tile in (BLOCK, 4 * BLOCK) if usual or gemm.blockwise else (64, BLOCK, 2 * BLOCK, 4 * BLOCK):
            divisions = _list_divisions(-(-k // tile), parts)
            for how, owners in divisions[:1] if usual else divisions:
                partials = _Partials(np.repeat(owners, tile)[:k], unit)
                for order in ("in order",) if usual else ("in order", "backwards", "pairwise"):
                    name = f"K split in {parts} parts of tiles of {tile}, {how}, added {order}"
                    yield name, functools.partial(_sum_in_parts, partials=partials, order=order)


def _list_divisions(tiles: int, parts: int) -> list[tuple[str, Array]]:
    """List ways of dividing the tiles along K, each with the part that every tile belongs to."""
    number = np.arange(tiles)
    longer_first = np.repeat(np.arange(parts), [tiles // parts + (p < tiles % parts) for p in range(parts)])
    return [
        ("the last part shorter", number // -(-tiles // parts)),
        ("the first parts longer", longer_first),
        ("balanced", number * parts // tiles),
        ("dealt in turn", number % parts),
    ]


def _finish(gemm: Gemm, total: Array) -> Array:
    """Apply the scales of the tensor or of rows, then round to the output type.

    Scales of blocks are in the total already.
    """
    sa, sb = gemm.scales
    with np.errstate(over="ignore"):
        if gemm.scaling == "tensor":
            total = total * np.float32(sa * sb)
        elif gemm.scaling == "row":
            total = (total * sb) * sa[:, None]
        return as_bits(total.astype(_recorded_cases.OUTPUT_DTYPES[gemm.output]))


def _sum_part(gemm: Gemm, along_k: Array, unit: FusedSum) -> Array:
    """Return the float32 sum over a part of K, before the scales of the tensor or of rows."""
    a, b = np.ascontiguousarray(gemm.a[:, along_k]), np.ascontiguousarray(gemm.b[:, along_k])
    if not gemm.blockwise:
        return np.asarray(matmul(a, b.T, accumulator=unit))
    groups = np.unique(along_k // BLOCK)
    scales = (gemm.scales[0][:, groups], gemm.scales[1][:, groups])
    part = Gemm(a, b, scaling=gemm.scaling, scales=scales, fast=False, output="f32").case("part", np.empty(0))
    return _recorded_cases.emulate(part, unit).view(np.float32)


def _sum_at_once(gemm: Gemm, unit: FusedSum) -> Array:
    """Return the output of a GEMM that sums all of K on one unit."""
    return _finish(gemm, _sum_part(gemm, np.arange(gemm.a.shape[1]), unit))


class _Partials:
    """The sums of the parts of K, computed once for all orders in which they may be added."""

    def __init__(self, owner: Array, unit: FusedSum) -> None:
        self.owner, self.unit = owner, unit
        self._gemm: Gemm | None = None
        self._sums: list[Array] = []

    def __call__(self, gemm: Gemm) -> list[Array]:
        if gemm is not self._gemm:
            parts = (np.flatnonzero(self.owner == part) for part in np.unique(self.owner))
            self._gemm, self._sums = gemm, [_sum_part(gemm, part, self.unit) for part in parts]
        return list(self._sums)


def _sum_in_parts(gemm: Gemm, partials: _Partials, order: str) -> Array:
    """Return the output of a GEMM that adds the parts of K in an order."""
    sums = partials(gemm)
    if order == "backwards":
        sums.reverse()
    while len(sums) > 1:
        if order == "pairwise":
            pairs = zip(sums[::2], sums[1::2], strict=False)
            rest = sums[len(sums) // 2 * 2 :]
            sums = [left + right for left, right in pairs] + rest
        else:
            sums = [sums[0] + sums[1], *sums[2:]]
    return _finish(gemm, sums[0])


def _sum_on_fp16_unit(gemm: Gemm) -> Array:
    """Return the output of `mma.sync` on FP8 operands, which runs on the FP16 unit.

    Of every 32 products it sums those with k mod 4 below 2, then the others; c is added last.
    """
    k = gemm.a.shape[1]
    padding = ((0, 0), (0, -k % 32))
    step = np.arange(32)
    turned = np.concatenate((step[step % 4 < 2], step[step % 4 >= 2]))
    index = (np.arange(0, k + padding[1][1], 32)[:, None] + turned).ravel()
    a, b = (np.pad(x.astype(np.float16), padding)[:, index] for x in (gemm.a, gemm.b))
    return _finish(gemm, np.asarray(matmul(a, b.T, accumulator=units.HOPPER_FP16.promoted(32))))
