"""The base class of every accumulator, with the questions that each kind of accumulator answers."""

from __future__ import annotations

import enum
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, ClassVar, Self

import numpy as np

from precision._support._argument_checks import check_int
from precision._support._types import Array
from precision.accumulators._inner_scales import InnerScales
from precision.accumulators._product import Product
from precision.accumulators._small_products import GroupSpans, SmallSum
from precision.accumulators._step import Step
from precision.formats._float_format import FloatFormat
from precision.formats._named import FP32, Format


class ScaleEntry(enum.Enum):
    """Places where the scales of operands enter a sum.

    ``AFTER``: at each promotion or on the finished sum. ``INSIDE``: the unit scales its terms. ``EXACT``:
    the exact sum takes scales as exact factors.

    Examples
    --------
    >>> import precision as pr
    >>> pr.HOPPER_FP8.scale_entry.name, pr.BLACKWELL_MX.scale_entry.name, pr.EXACT.scale_entry.name
    ('AFTER', 'INSIDE', 'EXACT')
    """

    AFTER = "after"
    INSIDE = "inside"
    EXACT = "exact"


class Accumulator(ABC):
    """Base class of accumulators, which say how the products of a dot product are summed.

    A kind of accumulator derives from this class, overrides the answers that differ, and defines `run`.
    Two accumulators are equal if they compute the same bits, whatever their names.

    Examples
    --------
    >>> import precision as pr
    >>> from precision.accumulators import Accumulator
    >>> isinstance(pr.HOPPER_FP8, Accumulator), isinstance(pr.EXACT, Accumulator)
    (True, True)
    """

    #: Methods that may follow the accumulator in its text, as in ``HOPPER_FP8.promoted(128)``.
    TEXT_METHODS: ClassVar[tuple[str, ...]] = ()

    # ---- the name ---------------------------------------------------------------------------------
    @property
    def name(self) -> str | None:
        """Text by which the accumulator was looked up, or None for one that a constructor call built."""
        base = self.__dict__.get("_base")
        return None if base is None else str(base[0]) + self._forms(base[1])

    def with_name(self, name: str) -> Self:
        """Return an equal accumulator that prints as ``name``.

        Parameters
        ----------
        name : str
            The text that the accumulator prints. `parse` reads it only if it is entered in `NAMED`.

        Examples
        --------
        >>> import precision as pr
        >>> pr.HOPPER_FP8.with_name("MINE").promoted(128)
        MINE.promoted(128)
        """
        return self._derived(self, (name, self))

    def _derived(self, source: Accumulator, base: tuple[str, Accumulator] | None = None) -> Self:
        """Return a copy of this accumulator that remembers the named one which ``source`` was made from.

        The copy prints as that name with calls of methods. ``base``, a name and its accumulator, replaces it.
        """
        base = base or source.__dict__.get("_base")
        twin = object.__new__(type(self))
        twin.__dict__.update(self.__dict__)
        if base is not None:
            twin.__dict__["_base"] = base
        return twin

    def _forms(self, base: Any) -> str:
        """Return the text of the method calls that turn ``base`` into this accumulator."""
        return "" if self.promotion == base.promotion else f".promoted({self.promotion})"

    @abstractmethod
    def constructor_text(self) -> str:
        """Return the text of the constructor call that builds this accumulator."""

    def __str__(self) -> str:
        return self.name or self.constructor_text()

    def __repr__(self) -> str:
        return str(self)

    def __getstate__(self) -> dict[str, Any]:
        """Return what is pickled: all but the hash, which another process would not compute alike."""
        return {name: value for name, value in self.__dict__.items() if name != "_hash"}

    # ---- operands and scales ----------------------------------------------------------------------------
    @property
    def operand_formats(self) -> tuple[FloatFormat, ...]:
        """Formats that operands may have; empty if every format of float32 values is taken."""
        return ()

    def takes(self, fmt: Format) -> Format | None:
        """Return the format as which operands of a format are read, or None if they are refused.

        Parameters
        ----------
        fmt : FloatFormat or IntFormat
            The format of an operand.

        Examples
        --------
        >>> import precision as pr
        >>> str(pr.HOPPER_TF32.takes(pr.FP32)), pr.HOPPER_FP8.takes(pr.FP32)
        ('tf32', None)
        """
        return fmt

    @property
    def scale_entry(self) -> ScaleEntry:
        """Place where the scales of operands enter the sum."""
        return ScaleEntry.AFTER

    @property
    def inner_scales(self) -> InnerScales | None:
        """Kind of scales that the unit applies itself, or None if scales are applied outside."""
        return None

    @property
    def start_format(self) -> FloatFormat:
        """Format whose values the start of the sum (``c`` of `matmul`) may hold."""
        return FP32

    # ---- the sum -------------------------------------------------------------------------
    @property
    def step(self) -> Step | None:
        """Arithmetic of one step, or None for an accumulator that no such record describes.

        Error bounds are made of it, and without it only an exact sum has one. A kind without it may still
        override `trace`, each of whose entries is then of one product.
        """
        return None

    @property
    def promotion(self) -> int | None:
        """Elements of K after which the register is added to a float32 total, or None if it never is."""
        return None

    def promoted(self, every: int | None) -> Self:
        """Return the accumulator with another interval of promotion.

        Parameters
        ----------
        every : int or None
            Elements of K after which the register is added to a float32 total and cleared; None for never.

        Raises
        ------
        TypeError
            If the accumulator has no register.
        ValueError
            If ``every`` is not a multiple of the products of a step.
        """
        if every is not None:
            raise TypeError(f"{self} has no register to promote, so every must be None, got {every!r}")
        return self

    def with_width(self, bits: int) -> Self:
        """Return the accumulator with ``bits`` fraction bits in its alignment.

        Parameters
        ----------
        bits : int
            Fraction bits kept below the largest exponent.

        Raises
        ------
        TypeError
            If the accumulator aligns nothing.
        """
        raise TypeError(f"{self} aligns nothing, so it has no width to change, got {bits!r}")

    @abstractmethod
    def run(self, product: Product, dtype: np.dtype[Any]) -> Array:
        """Compute every output of a product, as a float32 array (results, rows, columns).

        Parameters
        ----------
        product : Product
            A checked product, as `matmul` builds it.
        dtype : dtype
            The type that the outputs are rounded to afterwards.

        Notes
        -----
        The exact sum is float64 instead, and is rounded to odd if ``dtype``, to which it is rounded next, is
        narrower.
        """

    def small_sum(self, left: Format, right: Format, spans: GroupSpans) -> SmallSum | None:
        """Return the prepared sum of small products, or None if the accumulator has none for them.

        It gives the outputs that `run` gives.

        Parameters
        ----------
        left, right : FloatFormat or IntFormat
            The formats of the operands.
        spans : GroupSpans
            The scales that enter at promotion or inside the unit.
        """
        return None

    def trace(self, product: Product) -> tuple[Array, Array]:
        """Return the register and the float32 total after each step of a product of one row and one column.

        Parameters
        ----------
        product : Product
            A checked product of one row and one column, as `trace` of the package builds it.

        Raises
        ------
        TypeError
            If the accumulator has no register.
        """
        raise TypeError(f"accumulator must be one with a register, {self} has none")

    def neighbours(self) -> Iterator[tuple[str, Accumulator | None]]:
        """Yield accumulators that differ in a parameter or two, each after the difference in words.

        None stands in place of an accumulator that cannot be built.
        """
        yield from ()


def check_promotion(promotion: object, products: int) -> None:
    """Raise unless ``promotion`` is None or a multiple of the products of a step."""
    if promotion is None:
        return
    every = check_int("promotion", promotion, 1, 2**31 - 1)
    if every % products:
        raise ValueError(f"promotion must be a multiple of the unit's {products} products, got {promotion}")
