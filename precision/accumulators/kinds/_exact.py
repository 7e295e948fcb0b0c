"""The exact sum of exact products, rounded once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from precision._support._types import Array
from precision.accumulators._accumulator import Accumulator, ScaleEntry
from precision.accumulators._exact_sums import exact_sums
from precision.accumulators._product import Product
from precision.formats import _text_language


@dataclass(frozen=True, repr=False)
class Exact(Accumulator):
    """The exact sum of the exact products, scales included, rounded once to the result's type.

    Examples
    --------
    >>> import precision as pr
    >>> print(pr.EXACT)
    EXACT
    """

    def constructor_text(self) -> str:
        return _text_language.describe(self)

    @property
    def scale_entry(self) -> ScaleEntry:
        """Scales are exact factors of the sum."""
        return ScaleEntry.EXACT

    def run(self, product: Product, dtype: np.dtype[Any]) -> Array:
        """Return every output in float64, rounded to odd where ``dtype`` is narrower."""
        return exact_sums(product, odd=dtype != np.float64)
