"""The table of default units, which a product gets where its caller names none."""

from __future__ import annotations

import functools
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
    """The properties of an operand that decide its default unit: its format and its group scales."""

    fmt: Format
    scale_format: Format | None = None  #: of group scales that a unit may take itself, or None
    group: int | None = None  #: the number of elements along K under one group scale


class Default(NamedTuple):
    """A line of the table of default units: the operands that it applies to, and their unit."""

    formats: tuple[FloatFormat, ...]
    scale_format: FloatFormat | None  #: None for scales of any kind, which multiply after the sum
    group: int | None
    unit: Accumulator


_MX_ELEMENTS = (E4M3, E5M2, E2M3, E3M2, E2M1)

#: The default units: operands get that of the first line that fits both. A new unit does not change the
#: table.
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
    """Tell whether a line of the table applies to an operand."""
    if operand.fmt not in line.formats:
        return False
    return line.scale_format is None or (operand.scale_format, operand.group) == line[1:3]


@functools.lru_cache(maxsize=256)
def default_unit(a: OperandKind, b: OperandKind) -> Accumulator | None:
    """Return the default unit of two operands, or None where no line of `DEFAULTS` fits both.

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
