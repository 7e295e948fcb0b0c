"""A check that arrays which are written lie in memory of their own."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import numpy.typing as npt

_WORK: Any = 100_000  # NumPy's stubs know none but -1 and 0
"""Steps that NumPy may take to find an element in common: more than any two regular layouts need."""


def refuse_shared(**parts: npt.NDArray[Any]) -> None:
    """Raise ValueError if two of the arrays of an ``out`` share memory: the second would overwrite the first.

    Arrays that interlace without a common byte pass. Those of which that cannot be told in reasonable time,
    which takes many axes of odd strides, are refused.
    """
    for (one, first), (other, second) in itertools.combinations(parts.items(), 2):
        try:
            shared = np.shares_memory(first, second, max_work=_WORK)
        except np.exceptions.TooHardError:
            shared = True
        if shared:
            raise ValueError(
                f"out must have {one} and {other} in memory of their own, got arrays that overlap"
            )
