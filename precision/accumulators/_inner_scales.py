"""Scales that a matrix unit applies itself, inside its sums."""

from __future__ import annotations

from dataclasses import dataclass

from precision._support._argument_checks import _check_int
from precision.formats._float_format import FloatFormat


@dataclass(frozen=True)
class ScaledProducts:
    """Scales inside the unit that are powers of two: their exponents join those of each product.

    Blackwell's way for MXFP8, MXFP6 and MXFP4 (MMA-Sim, arXiv 2511.10909: ST-FDPA).

    Examples
    --------
    >>> import precision as pr
    >>> pr.BLACKWELL_MX.scale_in_unit == pr.ScaledProducts()
    True
    """

    def __str__(self) -> str:
        return "ScaledProducts()"


@dataclass(frozen=True)
class ScaledGroups:
    """Scales inside the unit, of any format: a term is the exact dot product of ``n`` neighbours, scaled.

    Terms align at the exponents of their two scales alone, whatever the dot product's own size, and a
    group whose products are all zero, or whose scale is, takes no part. Blackwell's way for NVFP4, with
    groups of 16 (MMA-Sim, arXiv 2511.10909: GST-FDPA); with 32 and FP32 scales, the unit that
    DeepSeek-V3's authors ask for (arXiv 2412.19437, section 3.5.2). `matmul` is fast where a dot product
    takes at most 24 bits (E2M1); others, E4M3's among them, are summed one output at a time.

    Parameters
    ----------
    n : int
        Products in a group, a divisor of the unit's.

    Examples
    --------
    >>> import precision as pr
    >>> print(pr.BLACKWELL_NVFP4.scale_in_unit)
    ScaledGroups(16)
    """

    n: int

    def __post_init__(self) -> None:
        _check_int("n", self.n, 1, 1024)

    def __str__(self) -> str:
        return f"ScaledGroups({self.n})"

    def headroom(self, operands: tuple[FloatFormat, ...]) -> tuple[int, int]:
        """Bits that any two operands' dot product has above one, and its last place below one."""
        top = 2 * max(operand.max_exponent for operand in operands) + 2 + (self.n - 1).bit_length()
        return top, 2 * max(operand.fraction_bits - operand.min_exponent for operand in operands)
