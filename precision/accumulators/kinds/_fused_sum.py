"""Fused sums, which align a few products at their largest exponent and add them at once."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

import numpy as np

from precision._support._argument_checks import check_int
from precision._support._hashed_once import HashedOnce
from precision._support._types import Array
from precision.accumulators._accumulator import Accumulator, ScaleEntry, check_promotion
from precision.accumulators._general_loops import trace_sum
from precision.accumulators._inner_scales import InnerScales
from precision.accumulators._neighbours import other_fused_sums
from precision.accumulators._panel_loops import sum_fused
from precision.accumulators._product import Product
from precision.accumulators._small_products import GroupSpans, SmallSum, prepare_small
from precision.accumulators._step import Step
from precision.formats import _text_language
from precision.formats._float_format import FloatFormat
from precision.formats._named import FP32, TF32, Format
from precision.formats._rounding_modes import Rounding


@dataclass(frozen=True, repr=False)
class FusedSum(Accumulator):
    """Accumulator that aligns a few exact products and its register at their largest exponent and adds once.

    One step multiplies ``products`` pairs exactly, without normalising (a subnormal operand has its format's
    smallest exponent), takes the largest exponent of the non-zero products and the register, but at least
    ``min_exponent``, rounds each term to a multiple of ``2**(largest - fraction_bits)``, adds the rounded
    terms exactly, and rounds the sum once into the register. Overflow gives Inf only then. A zero register is
    +0, also where a negative sum rounds to zero; NaN, Inf times 0 and Inf minus Inf give NaN, which in a
    float32 result has all bits set but the sign (0x7FFFFFFF), whatever the register's format. K that is not a
    multiple of ``products`` is padded with zeros.

    Parameters
    ----------
    operands : tuple of FloatFormat
        The formats that either operand may have.
    products : int
        Products summed in one step, 1 to 1024.
    fraction_bits : int
        Fraction bits kept below the largest exponent, 1 to 30 (40 with `ScaledGroups`).
    register : FloatFormat
        The accumulator's format, signed, with Inf and NaN.
    alignment_rounding, register_rounding : Rounding
        The rounding of the aligned terms, and that of the sum into the register.
    min_exponent : int
        Floor of the largest exponent, -300 to 0.
    promotion : int, optional
        Elements of K, a multiple of ``products``, after which the register is added to a float32 total (one
        addition, to nearest even) and starts again at zero.
    scale_in_unit : ScaledProducts or ScaledGroups, optional
        The unit takes the operands' scales itself, every term being scaled exactly before it is aligned.
        By default scales are applied outside, at promotion or to the finished sum.

    Raises
    ------
    TypeError, ValueError
        If a parameter is of the wrong type or outside its range.

    Notes
    -----
    The model, and the parameters of the named Hopper units, reproduce an H100 bit for bit.

    One FP16 product a step, aligned to odd with 30 fraction bits and rounded to nearest even into an FP16
    register, as in the last example, is a chain of FP16 fused multiply-adds, but for the sign of a zero: the
    larger term keeps all its bits, and an odd last bit of the other one stands for those that it loses.

    Examples
    --------
    >>> import precision as pr
    >>> pr.HOPPER_FP8.promoted(128)
    HOPPER_FP8.promoted(128)
    >>> pr.HOPPER_FP8.with_width(25).register == pr.FP32
    True
    >>> print(pr.FusedSum((pr.FP16,), products=8, fraction_bits=24))
    FusedSum((fp16,), 8, fraction_bits=24)
    >>> odd, even = pr.Rounding.TO_ODD, pr.Rounding.TIES_TO_EVEN
    >>> chain = pr.FusedSum(
    ...     (pr.FP16,), 1, fraction_bits=30, register=pr.FP16, alignment_rounding=odd, register_rounding=even
    ... )
    >>> ones = pr.encode([1.0] * 4096, pr.FP16)
    >>> float(pr.matmul(ones, ones, accumulator=chain))  # 2048 + 1 is no FP16 number
    2048.0
    """

    operands: tuple[FloatFormat, ...]
    products: int
    fraction_bits: int = field(kw_only=True)
    register: FloatFormat = field(default=FP32, kw_only=True)
    alignment_rounding: Rounding = field(default=Rounding.TOWARD_ZERO, kw_only=True)
    register_rounding: Rounding = field(default=Rounding.TOWARD_ZERO, kw_only=True)
    min_exponent: int = field(default=-133, kw_only=True)
    promotion: int | None = field(default=None, kw_only=True)
    scale_in_unit: InnerScales | None = field(default=None, kw_only=True)

    TEXT_METHODS: ClassVar[tuple[str, ...]] = ("promoted", "with_width")

    __hash__ = HashedOnce.__hash__

    def __post_init__(self) -> None:
        if not isinstance(self.operands, tuple) or not self.operands:
            raise TypeError(f"operands must be a tuple of formats, got {self.operands!r}")
        for operand in self.operands:
            if not isinstance(operand, FloatFormat):
                raise TypeError(f"operands must be FloatFormats, got {operand!r}")
            if operand.fraction_bits > 23:
                raise ValueError(f"operands must be formats of float32 values, got {operand}")
        check_int("products", self.products, 1, 1024)
        self._check_inner_scales()
        check_int("fraction_bits", self.fraction_bits, 1, self._most_fraction_bits)
        check_int("min_exponent", self.min_exponent, -300, 0)
        register = self.register
        if not isinstance(register, FloatFormat):
            raise TypeError(f"register must be a FloatFormat, got {register!r}")
        if not (register.signed and register.has_inf and register.has_nan) or register.fraction_bits > 23:
            raise ValueError(
                f"register must be a signed format of float32 values with Inf and NaN, got {register}"
            )
        if not register.has_zero:
            raise ValueError(f"register must have a zero, which a sum of zero is, got {register}")
        if register.min_exponent < -126:
            raise ValueError(f"register must have exponents of -126 and above, got {register}")
        for name in ("alignment_rounding", "register_rounding"):
            if not isinstance(getattr(self, name), Rounding):
                raise TypeError(f"{name} must be a Rounding, got {getattr(self, name)!r}")
        check_promotion(self.promotion, self.products)
        if self.scale_in_unit is not None:
            self.scale_in_unit.check_unit(self.operands, self.products, self.fraction_bits)

    def _check_inner_scales(self) -> None:
        """Raise TypeError unless ``scale_in_unit`` is a kind of inner scales or None."""
        if self.scale_in_unit is not None and not isinstance(self.scale_in_unit, InnerScales):
            raise TypeError(
                f"scale_in_unit must be ScaledProducts(), ScaledGroups(n) or None, got {self.scale_in_unit!r}"
            )

    @property
    def _most_fraction_bits(self) -> int:
        """Largest number of fraction bits that the alignment may keep."""
        return self.scale_in_unit.most_fraction_bits if self.scale_in_unit else 30

    # ---- variants --------------------------------------------------------------------------------
    def promoted(self, every: int | None) -> Self:
        """Return the unit with another interval of promotion.

        Parameters
        ----------
        every : int or None
            Elements of K after which the register is added to a float32 total and cleared; None for never.

        Raises
        ------
        TypeError, ValueError
            If ``every`` is no whole number, or not a multiple of ``products``.

        Examples
        --------
        >>> import precision as pr
        >>> pr.HOPPER_FP8.promoted(128).promotion
        128
        """
        return dataclasses.replace(self, promotion=every)._derived(self)

    def with_width(self, bits: int) -> Self:
        """Return the unit with ``bits`` fraction bits in its alignment, ``min(bits, 23)`` in its register.

        A register with fewer exponent bits than float32 (FP16) stays as it is.

        Parameters
        ----------
        bits : int
            1 to 30 (40 with `ScaledGroups`).

        Raises
        ------
        TypeError, ValueError
            If ``bits`` is no whole number, or is out of range.

        Examples
        --------
        >>> import precision as pr
        >>> str(pr.HOPPER_FP8.register), str(pr.HOPPER_FP8.with_width(10).register)
        ('e8m13', 'tf32')
        """
        check_int("bits", bits, 1, self._most_fraction_bits)
        register = self.register
        if register.exponent_bits == 8:
            register = dataclasses.replace(register, fraction_bits=min(bits, 23))
        return dataclasses.replace(self, fraction_bits=bits, register=register)._derived(self)

    def _forms(self, base: Any) -> str:
        """Return the text of the method calls that turn ``base`` into this unit."""
        width = "" if self.fraction_bits == base.fraction_bits else f".with_width({self.fraction_bits})"
        return width + super()._forms(base)

    def constructor_text(self) -> str:
        """Return the text of the constructor call that builds this unit."""
        return _text_language.describe(self)

    # ---- operands and scales ----------------------------------------------------------------------------
    @property
    def operand_formats(self) -> tuple[FloatFormat, ...]:
        """Formats that operands may have."""
        return self.operands

    def takes(self, fmt: Format) -> Format | None:
        """Return the format as which an operand is read (TF32 for float32 too), or None if it is refused."""
        if fmt in self.operands:
            return fmt
        return TF32 if fmt == FP32 and TF32 in self.operands else None

    @property
    def scale_entry(self) -> ScaleEntry:
        """Place where scales enter: inside the unit if it applies scales itself, else after it."""
        return ScaleEntry.AFTER if self.scale_in_unit is None else ScaleEntry.INSIDE

    @property
    def inner_scales(self) -> InnerScales | None:
        """Kind of scales that the unit applies itself, which is ``scale_in_unit``."""
        return self.scale_in_unit

    @property
    def start_format(self) -> FloatFormat:
        """Format of the start of a sum: the register's, or float32 if the register is promoted."""
        return self.register if self.promotion is None else FP32

    # ---- the sum -------------------------------------------------------------------------
    @functools.cached_property
    def step(self) -> Step:
        """Arithmetic of one step."""
        inner = self.scale_in_unit
        return Step(
            self.products, self.fraction_bits, self.min_exponent, self.alignment_rounding, self.register,
            self.register_rounding, inner, inner.last_place(self.operands) if inner else 0,
        )  # fmt: skip

    def run(self, product: Product, dtype: np.dtype[Any]) -> Array:
        """Compute every output of a product, as a float32 array (results, rows, columns)."""
        return sum_fused(product, self.step)

    def small_sum(self, left: Format, right: Format, spans: GroupSpans) -> SmallSum | None:
        """Return the prepared sum of small products, or None if it would not be exact for them."""
        return prepare_small(self.step, left, right, self.promotion, spans)

    def trace(self, product: Product) -> tuple[Array, Array]:
        """Return the register and the float32 total after each step of a product of two vectors."""
        return trace_sum(product, self.step)

    def neighbours(self) -> Iterator[tuple[str, Accumulator | None]]:
        """Yield fused sums that differ in a parameter or two, the more common ones first."""
        return other_fused_sums(self)
