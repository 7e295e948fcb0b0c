"""The rows that figures are drawn from, as far as a figure reads them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from precision.cost._all_to_all import AllToAllTime, ExpertParallel, Link
from precision.metrics._fidelity import Tally


class HasErrors(Protocol):
    """A product by one accumulator, with its errors against two references."""

    @property
    def data(self) -> str:
        """The distribution or the file."""
        ...

    @property
    def accumulator(self) -> str:
        """The accumulator's text."""
        ...

    @property
    def k(self) -> int:
        """Products in each sum."""
        ...

    @property
    def m(self) -> int:
        """Rows of the product."""
        ...

    @property
    def n(self) -> int:
        """Columns of the product."""
        ...

    @property
    def a_spec(self) -> str:
        """How the left operand is quantized."""
        ...

    @property
    def b_spec(self) -> str:
        """How the right operand is quantized."""
        ...

    @property
    def accumulation(self) -> Mapping[str, float]:
        """Errors against the exact product of the quantized operands."""
        ...

    @property
    def total(self) -> Mapping[str, float]:
        """Errors against the product of the originals."""
        ...


class HasTally(Protocol):
    """What one spec did to an array, or to all of a file."""

    @property
    def data(self) -> str:
        """The distribution or the file."""
        ...

    @property
    def tensor(self) -> str:
        """The tensor of a file of several; empty for the only array, and for the total."""
        ...

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the array; empty for the total."""
        ...

    @property
    def spec(self) -> str:
        """The spec's text."""
        ...

    @property
    def tally(self) -> Tally:
        """The measures."""
        ...


class HasTime(Protocol):
    """What a spec did to numbers, and what sending them in it costs."""

    @property
    def row(self) -> HasTally:
        """The numbers' side."""
        ...

    @property
    def dispatch(self) -> str:
        """What tokens are dispatched in."""
        ...

    @property
    def bytes_per_element(self) -> float:
        """Bytes sent back for each value, scales and metadata counted."""
        ...

    @property
    def time(self) -> AllToAllTime:
        """The seconds of the all-to-all."""
        ...


class HasLink(Protocol):
    """An all-to-all over a link, of which the rows are drawn."""

    @property
    def ep(self) -> ExpertParallel:
        """What is sent."""
        ...

    @property
    def link(self) -> Link:
        """Through what it is sent."""
        ...

    @property
    def dispatch(self) -> object | None:
        """What tokens go to the experts in; None for the format in which they come back."""
        ...
