"""The trace of one dot product: the register after each of its steps."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from precision._support._types import Array
from precision._support.machine._float_environment import in_default_environment
from precision.accumulators._accumulator import Accumulator
from precision.accumulators._accumulator_text import as_accumulator
from precision.gemm._default_unit import unit_of_operands
from precision.gemm._operands import Operand, Shapes, checked_operand, checked_start
from precision.gemm._scale_epilogue import build_product, plan_epilogue


class Trace(NamedTuple):
    """States of one dot product after each of its steps, as `trace` returns them.

    Attributes
    ----------
    k : ndarray of int64
        Number of elements of K summed after each step.
    register : ndarray of float32
        The register after each step (before a promotion clears it).
    total : ndarray of float32
        The float32 total after each step; zeros without promotion.

    Examples
    --------
    >>> import numpy as np, precision as pr
    >>> ones = np.ones(8, np.float16)
    >>> pr.trace(ones, ones, accumulator=pr.HOPPER_FP16.promoted(16)).total
    array([8.], dtype=float32)
    """

    k: Array
    register: Array
    total: Array


@in_default_environment
def trace(
    a_row: Operand,
    b_column: Operand,
    *,
    accumulator: Accumulator | str | None = None,
    c: float | np.floating[Any] | None = None,
) -> Trace:
    """Return the register and the total after every step of one dot product.

    Parameters
    ----------
    a_row, b_column : array or QuantizedTensor
        Vectors of K elements, of the types that `matmul` takes. Scales that multiply the finished sum
        (those that do not change along K, unless the unit takes them; a tensor's second one) do not enter.
    accumulator : Accumulator or str
        An accumulator with a register, or its text. A step is one fused sum, or one fused multiply-add.
    c : float, optional
        The start of the register, or with promotion of the total.

    Returns
    -------
    Trace
        ``k``, ``register`` and ``total``, one entry a step.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit, as `matmul` says, or if the accumulator has no register or an operand is
        no vector.

    Examples
    --------
    >>> import numpy as np, precision as pr
    >>> ones = np.ones(96, pr.E4M3.dtype)
    >>> steps = pr.trace(ones, ones, accumulator=pr.HOPPER_FP8)
    >>> steps.k.tolist(), steps.register.tolist()
    ([32, 64, 96], [32.0, 64.0, 96.0])
    """
    if accumulator is None:
        accumulator = unit_of_operands(("a_row", a_row, -1), ("b_column", b_column, -1))
    accumulator = as_accumulator(accumulator)
    left = checked_operand("a_row", a_row, accumulator)
    right = checked_operand("b_column", b_column, accumulator)
    for operand in (left, right):
        if operand.codes.ndim != 1:
            raise ValueError(f"{operand.name} must be a vector, got shape {operand.codes.shape}")
    shapes = Shapes(left, right)
    start = checked_start(None if c is None else np.float32(c), accumulator, shapes)
    epilogue = plan_epilogue(left, right, accumulator)
    length, step = shapes.length, accumulator.step
    if step is not None and not length:  # without a step the accumulator answers, or raises
        empty = np.empty(0, np.float32)
        return Trace(np.empty(0, np.int64), empty, empty.copy())
    registers, totals = accumulator.trace(build_product(left, right, accumulator, shapes, start, epilogue))
    every, count = accumulator.promotion or max(1, length), 1 if step is None else step.products
    ends = [min(end, first + every, length) for first in range(0, length, every)
            for end in range(first + count, min(first + every, length) + count, count)]  # fmt: skip
    return Trace(np.array(ends, np.int64), registers, totals)
