"""The default unit of a product: the one that a table of `precision.units` has for its operands."""

from __future__ import annotations

import numpy as np

from precision.accumulators._accumulator import Accumulator
from precision.formats._named import FP64, format_in_use
from precision.gemm._operands import Operand, checked_operand
from precision.quantization._quantized_tensor import QuantizedTensor
from precision.units._defaults import OperandKind, default_unit
from precision.units._plain_arithmetic import EXACT


def _kind_of(x: Operand, axis: int) -> OperandKind:
    """Return the format of an operand and its scales along K (``axis``), by which the table names a unit."""
    if isinstance(x, QuantizedTensor):
        group = x.block[axis] if len(x.block) >= -axis else x.block[-1]
        return OperandKind(x.fmt, x.scale_format, group)
    return OperandKind(format_in_use(np.asarray(x).dtype) or FP64)


def unit_of_operands(*operands: tuple[str, Operand, int]) -> Accumulator:
    """Return the default unit of two operands.

    Parameters
    ----------
    *operands : tuple
        Two operands, each as its name in errors, the operand itself, and the axis that is K.

    Raises
    ------
    TypeError
        If an operand is of a type that no accumulator takes, or if the table has no unit that takes both.
    """
    (_, a, along_a), (_, b, along_b) = operands
    kinds = _kind_of(a, along_a), _kind_of(b, along_b)
    unit = default_unit(*kinds)
    if unit is None:
        for name, x, _ in operands:
            checked_operand(name, x, EXACT)  # an operand of a wrong type is named before the missing unit
        given = " and ".join(
            f"{name} of {kind.fmt}" + (f" with {kind.scale_format} scales" if kind.group else "")
            for (name, _, _), kind in zip(operands, kinds, strict=True)
        )
        raise TypeError(
            f"accumulator must be given for {given}: no line of precision.units.DEFAULTS fits both"
        )
    return unit
