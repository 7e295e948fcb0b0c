"""Running sums in float64, one for each column of a float32 matrix, rounded after every addition."""

from __future__ import annotations

from typing import Any

import numpy as np

from precision._kernels._jit import jit
from precision._kernels._params import Ends, FormatParams, ModeParams, StochasticParams
from precision._kernels._scalar_rounding import U64
from precision._kernels.numbers._conversion_loops import round64, round_random64


@jit
def _add(total: Any, addends: Any, sums: Any, bits: Any) -> None:
    """Write ``total + addends`` to ``sums``, rounded to odd, so that rounding it again rounds the exact sum.

    ``bits`` are those of ``sums``.
    """
    for j in range(total.size):
        addend = np.float64(addends[j])
        near = total[j] + addend
        back = near - total[j]
        lost = (total[j] - (near - back)) + (addend - back)  # Knuth's TwoSum: the rounding error
        sums[j] = near
        if lost != 0 and bits[j] & U64(1) == U64(0):
            bits[j] = bits[j] + U64(1) if (lost > 0) == (near > 0) else bits[j] - U64(1)


@jit
def _note(step: int, total: Any, new: Any, changed: Any, last: Any) -> None:
    """Replace the totals by the new sums, and count for each how often it changed, and when last."""
    for j in range(total.size):
        if new[j] != total[j]:
            changed[j] += 1
            last[j] = step
        total[j] = new[j]


@jit
def sum_rows(
    addends: Any, first: int, stop: int, total: Any, changed: Any, last: Any,
    fmt: FormatParams, mode: ModeParams, ends: Ends,
) -> None:  # fmt: skip
    """Add the rows ``first`` to ``stop`` to ``total`` in turn, and count how often each sum changes.

    ``last`` takes the last step that changed it; the first row of all is step 1.
    """
    sums, new = np.empty(total.size), np.empty(total.size)
    for i in range(first, stop):
        _add(total, addends[i], sums, sums.view(np.uint64))
        round64(sums.view(np.uint64), new.view(np.uint64), fmt, mode, ends)
        _note(i + 1, total, new, changed, last)


@jit
def sum_rows_random(
    addends: Any,
    first: int,
    stop: int,
    total: Any,
    changed: Any,
    last: Any,
    fmt: FormatParams,
    bits: int,
    keys: Any,
    ends: Ends,
) -> None:
    """Add every row as `sum_rows` does, with ``bits`` random bits, whose keys are the rows of ``keys``."""
    sums, new = np.empty(total.size), np.empty(total.size)
    for i in range(first, stop):
        _add(total, addends[i], sums, sums.view(np.uint64))
        random = StochasticParams(bits, keys[i, 0], keys[i, 1])
        round_random64(sums.view(np.uint64), new.view(np.uint64), fmt, random, ends, 0, 0)
        _note(i + 1, total, new, changed, last)
