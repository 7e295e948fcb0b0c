"""The base of every accumulator: what each kind must answer about how it sums products."""

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
from precision.accumulators._step import Step
from precision.formats._float_format import FloatFormat
from precision.formats._named import FP32, Format


class ScaleEntry(enum.Enum):
    """Where the scales of operands enter a sum.

    ``AFTER``: at each promotion or on the finished sum. ``INSIDE``: the unit scales its terms. ``EXACT``:
    the exact sum takes them as exact factors.
    """

    AFTER = "after"
    INSIDE = "inside"
    EXACT = "exact"


class Accumulator(ABC):
    """How the products of a dot product are summed.

    A kind of accumulator derives from this class, overrides the answers that differ, and defines `run`.
    Two accumulators are equal where they compute the same bits, whatever their names.
    """

    #: Methods that may follow the accumulator in its text, as in ``HOPPER_FP8.promoted(128)``.
    TEXT_METHODS: ClassVar[tuple[str, ...]] = ()

    # ---- its name ---------------------------------------------------------------------------------
    @property
    def name(self) -> str | None:
        """The text that it was asked for by, or None for one that was built by hand."""
        base = self.__dict__.get("_base")
        return None if base is None else str(base[0]) + self._forms(base[1])

    def with_name(self, name: str) -> Self:
        """Return an equal accumulator that prints as ``name``."""
        return self._derived(self, (name, self))

    def _derived(self, source: Accumulator, base: tuple[str, Accumulator] | None = None) -> Self:
        """Return a copy of this one that remembers the name which ``source`` was asked for by."""
        base = base or source.__dict__.get("_base")
        twin = object.__new__(type(self))
        twin.__dict__.update(self.__dict__)
        if base is not None:
            twin.__dict__["_base"] = base
        return twin

    def _forms(self, base: Any) -> str:
        """Return the methods that made this accumulator of ``base``, as text."""
        return "" if self.promotion == base.promotion else f".promoted({self.promotion})"

    @abstractmethod
    def constructor_text(self) -> str:
        """Return the call that builds this accumulator, as text."""

    def __str__(self) -> str:
        return self.name or self.constructor_text()

    def __repr__(self) -> str:
        return str(self)

    # ---- what it takes ----------------------------------------------------------------------------
    @property
    def operand_formats(self) -> tuple[FloatFormat, ...]:
        """The formats that operands may have; empty if it takes every format of float32 values."""
        return ()

    def takes(self, fmt: Format) -> Format | None:
        """Return the format as which operands of ``fmt`` are read, or None if they are refused."""
        return fmt

    @property
    def scale_entry(self) -> ScaleEntry:
        """Where scales enter."""
        return ScaleEntry.AFTER

    @property
    def inner_scales(self) -> InnerScales | None:
        """The scales that the unit applies itself, or None."""
        return None

    @property
    def start_format(self) -> FloatFormat:
        """The format whose values ``c`` may hold."""
        return FP32

    # ---- what it computes -------------------------------------------------------------------------
    @property
    def step(self) -> Step | None:
        """The arithmetic of one step, or None where there is no register."""
        return None

    @property
    def promotion(self) -> int | None:
        """Elements of K after which the register joins a float32 total, or None."""
        return None

    def promoted(self, every: int | None) -> Self:
        """Return the accumulator whose register joins a float32 total every ``every`` of K (None: never).

        Raises
        ------
        TypeError
            If it has no register.
        """
        if every is not None:
            raise TypeError(f"{self} has no register to promote, so every must be None, got {every!r}")
        return self

    def with_width(self, bits: int) -> Self:
        """Return the accumulator with ``bits`` fraction bits in its alignment.

        Raises
        ------
        TypeError
            If it aligns nothing.
        """
        raise TypeError(f"{self} aligns nothing, so it has no width to change, got {bits!r}")

    @abstractmethod
    def run(self, product: Product, dtype: np.dtype[Any]) -> Array:
        """Return every output of a product: float32 (results, rows, columns).

        The exact sum is float64 instead, rounded to odd where ``dtype`` is narrower.
        """

    def trace(self, product: Product) -> tuple[Array, Array]:
        """Return the register and the float32 total after each step of a product of one row and one column.

        Raises
        ------
        TypeError
            If it has no register.
        """
        raise TypeError(f"accumulator must have a register, {self} has none")

    def neighbours(self) -> Iterator[tuple[str, Accumulator | None]]:
        """Yield accumulators that differ in a parameter or two, each with the difference in words.

        None stands for an accumulator that cannot be, so that the words are not listed twice.
        """
        yield from ()


def check_promotion(promotion: object, products: int) -> None:
    """Raise unless ``promotion`` is None or a multiple of the products of a step."""
    if promotion is None:
        return
    every = check_int("promotion", promotion, 1, 2**31 - 1)
    if every % products:
        raise ValueError(f"promotion must be a multiple of the unit's {products} products, got {promotion}")
