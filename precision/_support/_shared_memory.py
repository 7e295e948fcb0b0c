"""A check that arrays to be written do not share memory."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import numpy.typing as npt

_WORK: Any = 100_000  # NumPy's type stubs allow only -1 and 0
"""The most steps that NumPy may take to find a common byte: more than any two regular layouts need."""


def refuse_shared(**parts: npt.NDArray[Any]) -> None:
    """Raise ValueError if two arrays of an ``out`` share memory, so that one would overwrite the other.

    Arrays that interlace without a common byte pass. Arrays with many axes of odd strides, where the search
    for a common byte would take too long, raise too.
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
