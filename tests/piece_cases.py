"""Products that are made in several pieces, for the tests of pieces and of Ctrl-C between them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import precision as pr
from precision.formats import Format

GENERAL = pr.FusedSum(
    (pr.E8M13,), 16, fraction_bits=25, alignment_rounding=pr.Rounding.TIES_TO_EVEN
)  # no fast loop knows it
RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    """Put the number of threads back after each test of a module that imports this fixture."""
    before = pr.get_num_threads()
    yield
    pr.set_num_threads(before)


def normal(*shape: int) -> Any:
    """Draw float32 numbers of a standard normal distribution."""
    return RNG.standard_normal(shape, dtype=np.float32)


def product(unit: Any, rows: int, length: int, columns: int, fmt: Format | None = None) -> Callable[[], Any]:
    """Build a product of drawn matrices, which the returned function computes."""
    a, b = normal(rows, length), normal(length, columns)
    if fmt is not None:
        a, b = pr.encode(a, fmt), pr.encode(b, fmt)
        a, b = (pr.QuantizedTensor(x, 1.0, fmt=fmt) for x in (a, b))
    return lambda: pr.matmul(a, b, accumulator=unit)
