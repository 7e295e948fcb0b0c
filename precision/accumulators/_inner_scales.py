"""The two kinds of scales that a matrix unit applies itself, inside its sums."""

from __future__ import annotations

from dataclasses import dataclass

from precision._support._argument_checks import check_int
from precision.formats._float_format import FloatFormat


class InnerScales:
    """Base class of the two kinds of scales that a matrix unit applies inside its sums.

    Examples
    --------
    >>> import precision as pr
    >>> pr.BLACKWELL_MX.scale_in_unit.group, pr.BLACKWELL_NVFP4.scale_in_unit.group
    (0, 16)
    """

    @property
    def group(self) -> int:
        """Number of products summed exactly before they are scaled; 0 if each product is scaled by itself."""
        return 0

    @property
    def most_fraction_bits(self) -> int:
        """Largest number of fraction bits that a unit with such scales may keep in its alignment."""
        return 30

    def last_place(self, operands: tuple[FloatFormat, ...]) -> int:
        """Return the exponent of the last bit of a group's exact sum, or 0 if there are no groups.

        Parameters
        ----------
        operands : tuple of FloatFormat
            The formats that either operand may have.
        """
        return 0

    def check_unit(self, operands: tuple[FloatFormat, ...], products: int, fraction_bits: int) -> None:
        """Raise ValueError unless a unit with such scales and operands can be computed exactly.

        Parameters
        ----------
        operands : tuple of FloatFormat
            The formats that either operand may have.
        products : int
            The products that the unit sums in a step.
        fraction_bits : int
            The fraction bits of the unit's alignment.

        Raises
        ------
        ValueError
            If a sum would not fit the integers that hold it.
        """

    def check_scales(self, name: str, unit: object, fmt: FloatFormat, every: int, length: int) -> None:
        """Raise unless the unit takes one operand's scales.

        Parameters
        ----------
        name : str
            The name of the operand in errors.
        unit : object
            The unit, for errors.
        fmt : FloatFormat
            The format of the scales.
        every : int
            The elements of K under one scale.
        length : int
            K.

        Raises
        ------
        TypeError
            If the scales are of a format that the unit does not take.
        ValueError
            If a scale changes inside a group that the unit sums before it scales.
        """


@dataclass(frozen=True)
class ScaledProducts(InnerScales):
    """Scales inside the unit that are powers of two: their exponents join those of each product.

    Blackwell scales MXFP8, MXFP6 and MXFP4 so (MMA-Sim, arXiv 2511.10909: ST-FDPA).

    Examples
    --------
    >>> import precision as pr
    >>> pr.BLACKWELL_MX.scale_in_unit == pr.ScaledProducts()
    True
    """

    def __str__(self) -> str:
        return "ScaledProducts()"

    def check_scales(self, name: str, unit: object, fmt: FloatFormat, every: int, length: int) -> None:
        """Raise TypeError unless the scales are powers of two."""
        if fmt.fraction_bits:
            raise TypeError(
                f"{name} must have scales that are powers of two (e8m0), which is what {unit} takes, "
                f"got {fmt}"
            )


@dataclass(frozen=True)
class ScaledGroups(InnerScales):
    """Scales inside the unit, of any format: each multiplies the exact dot product of ``n`` neighbours.

    The scaled dot products are the terms of the sum. They are aligned by the exponents of their two scales
    alone, whatever the dot product's own size, and a group takes no part if all its products or one of its
    scales are zero. Blackwell sums NVFP4 so, with groups of 16 (MMA-Sim, arXiv 2511.10909: GST-FDPA); with
    32 and FP32 scales it is the unit that DeepSeek-V3's authors ask for (arXiv 2412.19437, section 3.5.2).
    `matmul` is fast if a dot product takes at most 24 bits (E2M1); others, E4M3's among them, are summed one
    output at a time.

    Parameters
    ----------
    n : int
        Products in a group, a divisor of those that the unit sums in a step; 1 to 1024.

    Raises
    ------
    TypeError, ValueError
        If ``n`` is no whole number, or is out of range.

    Examples
    --------
    >>> import precision as pr
    >>> print(pr.BLACKWELL_NVFP4.scale_in_unit)
    ScaledGroups(16)
    """

    n: int

    def __post_init__(self) -> None:
        check_int("n", self.n, 1, 1024)

    def __str__(self) -> str:
        return f"ScaledGroups({self.n})"

    @property
    def group(self) -> int:
        """Number of products summed exactly before they are scaled."""
        return self.n

    @property
    def most_fraction_bits(self) -> int:
        """Largest number of fraction bits that a unit with such scales may keep in its alignment."""
        return 40

    def headroom(self, operands: tuple[FloatFormat, ...]) -> tuple[int, int]:
        """Return how many bits a group's dot product needs above the binary point, and how many below it.

        Parameters
        ----------
        operands : tuple of FloatFormat
            The formats that either operand may have.

        Examples
        --------
        >>> import precision as pr
        >>> pr.ScaledGroups(16).headroom((pr.E2M1,))
        (10, 2)
        """
        top = 2 * max(operand.max_exponent for operand in operands) + 2 + (self.n - 1).bit_length()
        return top, 2 * max(operand.fraction_bits - operand.min_exponent for operand in operands)

    def last_place(self, operands: tuple[FloatFormat, ...]) -> int:
        """Return the exponent of the last bit that a group's exact sum can have."""
        return -self.headroom(operands)[1]

    def check_unit(self, operands: tuple[FloatFormat, ...], products: int, fraction_bits: int) -> None:
        """Raise ValueError unless the exact sums of these operands fit the integers that hold them."""
        if products % self.n:
            raise ValueError(f"scale_in_unit must group a divisor of {products} products, got {self}")
        top, bottom = self.headroom(operands)
        if top + bottom > 62:
            raise ValueError(
                f"operands must have exact sums of {self.n} products within 62 bits for {self}, which "
                f"takes {top + bottom}"
            )
        terms = (products // self.n).bit_length()
        most = 58 - top - terms  # two bits for the scales' significands, two below a term's last place
        if fraction_bits > most:
            raise ValueError(f"fraction_bits must be at most {most} for these operands, got {fraction_bits}")

    def check_scales(self, name: str, unit: object, fmt: FloatFormat, every: int, length: int) -> None:
        """Raise ValueError unless each scale belongs to whole groups of the unit."""
        if every % self.n and every < length:
            raise ValueError(
                f"{name} must have a scale for a multiple of {self.n} of K, which {unit} sums under one, "
                f"got {every}"
            )
