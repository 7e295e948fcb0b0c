"""The record of one step of an accumulator, which kernels and error bounds read."""

from __future__ import annotations

from typing import NamedTuple

from precision.accumulators._inner_scales import InnerScales
from precision.formats._float_format import FloatFormat
from precision.formats._rounding_modes import Rounding


class Step(NamedTuple):
    """Arithmetic of one step of an accumulator, in which a few products are added to the register.

    Two steps are equal if and only if they compute the same bits, so a step serves as the key of a cache.

    Examples
    --------
    >>> import precision as pr
    >>> step = pr.HOPPER_FP8.step
    >>> step.products, step.fraction_bits, str(step.register), step.aligns
    (32, 13, 'e8m13', True)
    """

    products: int
    fraction_bits: int | None  #: kept in the alignment; None if nothing is aligned (fused multiply-add)
    min_exponent: int | None  #: floor of the exponent at which terms are aligned; None without alignment
    alignment_rounding: Rounding
    register: FloatFormat
    register_rounding: Rounding
    inner: InnerScales | None = None
    group_place: int = 0  #: exponent of the last bit of the exact sum of a group of products

    @property
    def aligns(self) -> bool:
        """True if terms are aligned at their largest exponent and added at once."""
        return self.fraction_bits is not None

    @property
    def terms(self) -> int:
        """Number of terms added to the register: products, or groups of products summed exactly."""
        group = self.inner.group if self.inner else 0
        return self.products // (group or 1)
