"""The unit that a product gets where its caller names none: one ordered table."""

from __future__ import annotations

from typing import NamedTuple

from precision.accumulators._accumulator import Accumulator
from precision.formats._float_format import FloatFormat
from precision.formats._named import BF16, E2M1, E2M3, E3M2, E4M3, E5M2, E8M0, FP16, FP32, TF32, Format
from precision.units._nvidia import (
    BLACKWELL_MX,
    BLACKWELL_NVFP4,
    HOPPER_BF16,
    HOPPER_FP8,
    HOPPER_FP16,
    HOPPER_TF32,
)
from precision.units._plain_arithmetic import FP32_FMA


class OperandKind(NamedTuple):
    """What the choice of a unit depends on: an operand's format, and its group scales' if it has any."""

    fmt: Format
    scale_format: Format | None = None  #: of group scales that a unit may take itself, or None
    group: int | None = None  #: elements of K under one of them


class Default(NamedTuple):
    """One line of the table: the operands that it is about, and their unit."""

    formats: tuple[FloatFormat, ...]
    scale_format: FloatFormat | None  #: None: scales of any kind, which enter after the sum
    group: int | None
    unit: Accumulator


_MX_ELEMENTS = (E4M3, E5M2, E2M3, E3M2, E2M1)

#: Which unit operands get by default: the first line that fits both. A new unit does not change it.
DEFAULTS = (
    Default(_MX_ELEMENTS, E8M0, 32, BLACKWELL_MX),
    Default((E2M1,), E4M3, 16, BLACKWELL_NVFP4),
    Default((E4M3, E5M2), None, None, HOPPER_FP8),
    Default((BF16,), None, None, HOPPER_BF16),
    Default((FP16,), None, None, HOPPER_FP16),
    Default((TF32,), None, None, HOPPER_TF32),
    Default((FP32,), None, None, FP32_FMA),
)


def _fits(line: Default, operand: OperandKind) -> bool:
    if operand.fmt not in line.formats:
        return False
    return line.scale_format is None or (operand.scale_format, operand.group) == line[1:3]


def default_unit(a: OperandKind, b: OperandKind) -> Accumulator | None:
    """Return the unit that two operands get by default, or None where no line of `DEFAULTS` fits both.

    Examples
    --------
    >>> import precision as pr
    >>> from precision.units._defaults import OperandKind, default_unit
    >>> default_unit(OperandKind(pr.E4M3), OperandKind(pr.E5M2))
    HOPPER_FP8
    >>> block = OperandKind(pr.E4M3, pr.E8M0, 32)
    >>> default_unit(block, block)
    BLACKWELL_MX
    """
    return next((line.unit for line in DEFAULTS if _fits(line, a) and _fits(line, b)), None)
