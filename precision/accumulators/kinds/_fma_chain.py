"""Chains of float32 fused multiply-adds, one for each product."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

import numpy as np

from precision._support._hashed_once import HashedOnce
from precision._support._types import Array
from precision.accumulators._accumulator import Accumulator, check_promotion
from precision.accumulators._general_loops import trace_sum
from precision.accumulators._neighbours import other_intervals
from precision.accumulators._panel_loops import sum_chain
from precision.accumulators._product import Product
from precision.accumulators._step import Step
from precision.formats import _text_language
from precision.formats._named import FP32
from precision.formats._rounding_modes import Rounding

#: One product is added at a time, and nothing is aligned: the fused multiply-add rounds once.
_STEP = Step(1, None, None, Rounding.TOWARD_ZERO, FP32, Rounding.TIES_TO_EVEN)


@dataclass(frozen=True, repr=False)
class FmaChain(Accumulator):
    """Accumulator that adds each product by a float32 fused multiply-add, in the order of K.

    It takes operands of any format whose values are float32 values. A float32 result that is NaN has all
    bits set but the sign (0x7FFFFFFF), as on NVIDIA's GPUs.

    Parameters
    ----------
    promotion : int, optional
        Elements of K after which the chain's value is added to a float32 total (one addition, to nearest
        even) and starts again at zero.

    Raises
    ------
    TypeError, ValueError
        If ``promotion`` is no whole number, or is below 1.

    Examples
    --------
    >>> import precision as pr
    >>> print(pr.FP32_FMA, pr.FP32_FMA.promoted(128))
    FP32_FMA FP32_FMA.promoted(128)
    """

    promotion: int | None = field(default=None, kw_only=True)

    TEXT_METHODS: ClassVar[tuple[str, ...]] = ("promoted",)

    __hash__ = HashedOnce.__hash__

    def __post_init__(self) -> None:
        check_promotion(self.promotion, 1)

    def promoted(self, every: int | None) -> Self:
        """Return the chain with another interval of promotion.

        Parameters
        ----------
        every : int or None
            Elements of K after which the chain is added to a float32 total and restarted; None for never.
        """
        return dataclasses.replace(self, promotion=every)._derived(self)

    def constructor_text(self) -> str:
        """Return the text of the constructor call that builds this accumulator."""
        return _text_language.describe(self)

    @property
    def step(self) -> Step:
        """Arithmetic of one step: one fused multiply-add."""
        return _STEP

    def run(self, product: Product, dtype: np.dtype[Any]) -> Array:
        """Compute every output of a product, as a float32 array (results, rows, columns)."""
        return sum_chain(product, _STEP)

    def trace(self, product: Product) -> tuple[Array, Array]:
        """Return the chain's value and the float32 total after each product of one row and one column."""
        return trace_sum(product, _STEP)

    def neighbours(self) -> Iterator[tuple[str, Accumulator | None]]:
        """Yield chains with other intervals of promotion, each after the difference in words."""
        return other_intervals(self, 1)
