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
    """Accumulator that sums exact products exactly, and rounds once to the result's type.

    Scales are exact factors of the products. A tensor scale is not a factor of its own: it is merged into
    the operand's scales first, by one float32 product each, as `QuantizedTensor.dequantize` does. The start
    ``c`` is a term of the sum, which no scale multiplies.

    A result that is NaN is a quiet NaN whose sign and payload are not fixed: they come from an operand, or
    from the processor. (The other accumulators give 0x7FFFFFFF.)

    Examples
    --------
    >>> import precision as pr
    >>> print(pr.EXACT)
    EXACT
    """

    def constructor_text(self) -> str:
        """Return the text of the constructor call that builds this accumulator."""
        return _text_language.describe(self)

    @property
    def scale_entry(self) -> ScaleEntry:
        """Place where scales enter: as exact factors of the products."""
        return ScaleEntry.EXACT

    def run(self, product: Product, dtype: np.dtype[Any]) -> Array:
        """Compute every output in float64, rounded to odd if ``dtype`` is narrower."""
        return exact_sums(product, odd=dtype != np.float64)
