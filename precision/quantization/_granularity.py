"""Granularities, which say which elements of an array share a scale.

A granularity has one method, `block`, which returns how many elements along each axis lie under one scale.
A new granularity is a new small class with that method.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from precision._support._argument_checks import check_axis, check_int
from precision.formats._text_language import describe

#: Elements under one scale along each axis; None: the whole axis, however long.
Block = tuple[int | None, ...]


class Granularity(Protocol):
    """The protocol of granularities, which must also print as text that `QuantSpec.parse` reads."""

    def block(self, shape: Sequence[int], axis: int = -1) -> Block:
        """Return how many elements along each axis of an array lie under one scale.

        Parameters
        ----------
        shape : sequence of int
            The shape of the array.
        axis : int
            The axis along which the array is quantized.
        """
        ...


def clip_block(block: Block, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return a block whose entries that are None or exceed the length of their axis are that length."""
    return tuple(
        [
            (size or 1) if step is None else min(step, size or 1)
            for size, step in zip(shape, block, strict=True)
        ]
    )


def scale_shape(shape: tuple[int, ...], block: Block) -> tuple[int, ...]:
    """Return the number of blocks along each axis, a shorter last one counted."""
    return tuple([-(-size // step) for size, step in zip(shape, clip_block(block, shape), strict=True)])


def checked_block(block: object, shape: tuple[int, ...]) -> Block:
    """Return a block (the elements under one scale along each axis) if it suits an array of ``shape``.

    Raises
    ------
    TypeError
        If ``block`` is not a tuple whose entries are ints or None.
    ValueError
        If it does not have one entry for each axis, or an entry is below 1.
    """
    if not isinstance(block, tuple) or [n for n in block if n is not None and type(n) is not int]:
        raise TypeError(f"block must be a tuple of ints or None (the whole axis), got {block!r}")
    if len(block) != len(shape) or [n for n in block if n is not None and n < 1]:
        raise ValueError(f"block must have {len(shape)} entries of at least 1, got {block}")
    return block


class _Printed:
    def __str__(self) -> str:
        return describe(self)


@dataclass(frozen=True)
class PerTensor(_Printed):
    """The granularity of one scale for the whole array.

    Examples
    --------
    >>> import precision as pr
    >>> pr.PerTensor().block((4, 256))
    (None, None)
    """

    __str__ = _Printed.__str__

    def block(self, shape: Sequence[int], axis: int = -1) -> Block:
        """Return how many elements along each axis lie under one scale: None, for the whole of every axis."""
        check_axis(axis, len(shape))
        return (None,) * len(shape)


@dataclass(frozen=True)
class PerVector(_Printed):
    """The granularity of one scale for each vector along the axis, as for each row of a left operand (M, K).

    Examples
    --------
    >>> import precision as pr
    >>> pr.PerVector().block((4, 256)), pr.PerVector().block((256, 8), axis=0)
    ((1, None), (None, 1))
    """

    __str__ = _Printed.__str__

    def block(self, shape: Sequence[int], axis: int = -1) -> Block:
        """Return how many elements of each axis lie under one scale: all of ``axis``, one of the others."""
        along = check_axis(axis, len(shape))
        return tuple([None if i == along else 1 for i in range(len(shape))])


@dataclass(frozen=True)
class PerGroup(_Printed):
    """The granularity of one scale for every ``n`` neighbours along the axis; the last group may be shorter.

    Parameters
    ----------
    n : int
        Elements in a group, at least 1. An axis shorter than ``n`` is one short group.

    Raises
    ------
    TypeError, ValueError
        If ``n`` is not an integer, or is below 1.

    Examples
    --------
    >>> import precision as pr
    >>> pr.PerGroup(128).block((4, 300))
    (1, 128)
    """

    n: int

    __str__ = _Printed.__str__

    def __post_init__(self) -> None:
        object.__setattr__(self, "n", check_int("n", self.n, 1))

    def block(self, shape: Sequence[int], axis: int = -1) -> Block:
        """Return how many elements of each axis lie under one scale: ``n`` of ``axis``, one of the others."""
        along = check_axis(axis, len(shape))
        return tuple([self.n if i == along else 1 for i in range(len(shape))])


@dataclass(frozen=True)
class PerBlock(_Printed):
    """The granularity of one scale for each rectangle of the last two axes, smaller ones at the edges.

    Parameters
    ----------
    n, m : int
        The size of a rectangle, each at least 1: ``m`` elements along the axis of the quantization by ``n``
        along the other one of the last two axes.

    Raises
    ------
    TypeError, ValueError
        If one of them is not an integer, or is below 1.

    Examples
    --------
    >>> import precision as pr
    >>> pr.PerBlock(1, 128).block((64, 256)), pr.PerBlock(1, 128).block((256, 64), axis=-2)
    ((1, 128), (128, 1))
    """

    n: int
    m: int

    __str__ = _Printed.__str__

    def __post_init__(self) -> None:
        object.__setattr__(self, "n", check_int("n", self.n, 1))
        object.__setattr__(self, "m", check_int("m", self.m, 1))

    def block(self, shape: Sequence[int], axis: int = -1) -> Block:
        """Return how many elements of each axis lie under one scale: ``m`` of ``axis``, ``n`` of the other.

        Raises
        ------
        ValueError
            If there are fewer than two axes, or ``axis`` is none of the last two.
        """
        ndim = len(shape)
        along = check_axis(axis, ndim)
        if ndim < 2:
            raise ValueError(f"{self} needs an array of at least 2 axes, got shape {tuple(shape)}")
        if along < ndim - 2:
            raise ValueError(f"axis must be one of the last two for {self}, got {axis} of {tuple(shape)}")
        last_two = (self.n, self.m) if along == ndim - 1 else (self.m, self.n)
        return (1,) * (ndim - 2) + last_two
