"""The record of a matrix unit, and the catalogue of all of them."""

from __future__ import annotations

import enum
import sys
from dataclasses import dataclass
from typing import Any, TypeVar

from precision._support._expressions import shorten
from precision._support._suggestions import did_you_mean, suggest_names
from precision.accumulators._accumulator import Accumulator
from precision.accumulators._accumulator_text import enter_accumulator

Kind = TypeVar("Kind", bound=Accumulator)


class Evidence(enum.Enum):
    """The kind of evidence for a unit's arithmetic.

    ``RECORDED``: outputs of the hardware are in this repository, and the unit gives each of their bits.
    ``PUBLISHED``: a published model, which its authors compared with the hardware. ``PROPOSED``: nobody has
    built it. ``DEFINED``: the arithmetic is a definition, and no hardware is meant.
    """

    RECORDED = "recorded vectors"
    PUBLISHED = "published model"
    PROPOSED = "proposal"
    DEFINED = "definition"

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True)
class Unit:
    """A matrix unit of the catalogue: an accumulator with a name, its instruction, GPUs and evidence.

    Parameters
    ----------
    name : str
        The name of the accumulator, as in ``pr.HOPPER_FP8``.
    accumulator : Accumulator
        The arithmetic with which it sums products.
    instruction : str
        The instruction that it stands for, or how the same sum is written in software.
    gpus : tuple of str
        The GPUs that have it.
    evidence : Evidence
        The kind of evidence for its arithmetic.
    source : str
        Where the evidence is written or recorded.

    Examples
    --------
    >>> from precision.units import CATALOGUE
    >>> unit = CATALOGUE["HOPPER_FP8"]
    >>> print(unit.instruction, unit.gpus, unit.evidence, sep="; ")
    wgmma, FP8 operands, FP32 accumulator; ('H100', 'H200'); recorded vectors
    """

    name: str
    accumulator: Accumulator
    instruction: str
    gpus: tuple[str, ...]
    evidence: Evidence
    source: str


#: Every unit by its name, in the order in which they are listed.
CATALOGUE: dict[str, Unit] = {}


def unit(
    name: str, accumulator: Kind, *, instruction: str, gpus: tuple[str, ...], evidence: Evidence, source: str
) -> Kind:
    """Add a unit to the catalogue, and return its accumulator with its name."""
    accumulator = enter_accumulator(name, accumulator)
    CATALOGUE[name] = Unit(name, accumulator, instruction, gpus, evidence, source)
    return accumulator


def find_unit(name: str) -> Unit:
    """Return the catalogue's entry of a name.

    Raises
    ------
    ValueError
        If there is none; the message lists near names.
    """
    if name not in CATALOGUE:
        raise ValueError(f"unit {shorten(name)} is not in the catalogue: {suggest_names(name, CATALOGUE)}")
    return CATALOGUE[name]


def find_accumulator(name: str) -> Any:
    """Return the accumulator of a unit, as the attribute of `precision.units` with its name.

    Raises
    ------
    AttributeError
        If the catalogue has no unit of that name; the message lists near names.
    """
    if name in CATALOGUE:
        return CATALOGUE[name].accumulator
    hinted = "" if name.startswith("_") else did_you_mean(name, CATALOGUE)
    raise AttributeError(f"module 'precision.units' has no attribute {name!r}{hinted}", name=name)


def list_names() -> list[str]:
    """List the attributes of `precision.units` for `dir`: the units, and the room's public names."""
    return sorted({*CATALOGUE, *sys.modules["precision.units"].__all__})
