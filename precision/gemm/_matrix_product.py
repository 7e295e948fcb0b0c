"""The matrix product `matmul`, which sums as a chosen accumulator does."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from precision._support._types import Array
from precision._support.machine._float_environment import in_default_environment
from precision.accumulators._accumulator import Accumulator
from precision.accumulators._accumulator_text import as_accumulator
from precision.formats._codec import encode
from precision.formats._named import BF16
from precision.formats._rounding_modes import Overflow
from precision.gemm._default_unit import unit_of_operands
from precision.gemm._operands import Operand, Shapes, checked_dtype, checked_operand, checked_start
from precision.gemm._scale_epilogue import build_product, multiply_by_scales, plan_epilogue
from precision.gemm._single_calls import find_call


def _round_to_type(sums: Array, kind: np.dtype[Any]) -> Array:
    """Return sums rounded once to the type of the result."""
    if sums.dtype == kind:
        return sums
    if kind == BF16.dtype and sums.dtype == np.float64:
        return encode(sums, BF16, overflow=Overflow.NON_SATURATING)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        return sums.astype(kind)


@in_default_environment
def matmul(
    a: Operand,
    b: Operand,
    *,
    accumulator: Accumulator | str | None = None,
    c: npt.ArrayLike | None = None,
    dtype: npt.DTypeLike = np.float32,
) -> Array:
    """Compute the matrix product ``a @ b`` as an accumulator sums it, bit for bit.

    Parameters
    ----------
    a, b : array or QuantizedTensor
        Operands of shapes ``(..., M, K)`` and ``(..., K, N)`` by `numpy.matmul`'s rules: vectors and
        broadcast batch axes too. Arrays are float16, float32 or of an ml_dtypes float (a unit that takes
        TF32 ignores the low 13 bits of float32); a QuantizedTensor holds its format's codes, of TF32 19 bits.
    accumulator : Accumulator or str, optional
        The accumulator that sums the products, or its text, as ``"HOPPER_FP8.promoted(128)"``. By default
        it is the unit that `precision.units.DEFAULTS` has for the operands' formats and scales.
    c : array, optional
        The start of the sum: of the register, or with promotion of the float32 total. float16, bfloat16 or
        float32; it broadcasts to the result's shape. Tensor-wise and row-wise scales, which multiply the
        finished sum, multiply ``c`` too, unless the unit takes them itself; `EXACT` adds it unscaled.
    dtype : data type
        The result's type: float16, bfloat16, float32 or float64. The float32 result is rounded to it once,
        to nearest even. `EXACT` rounds the exact sum to it.

    Returns
    -------
    ndarray
        The product, of `numpy.matmul`'s shape and the type ``dtype``.

    Raises
    ------
    TypeError
        If an operand, ``c`` or ``dtype`` is of a type that the accumulator does not take.
    ValueError
        If shapes do not fit, or scales change along K within the interval of promotion.

    Notes
    -----
    Scales enter as on an H100 (measured): tensor-wise ``total * (sa * sb)``; row-wise
    ``(total * sb) * sa``; groups along K at each promotion, ``fma(partial, sa * sb, total)`` for 1 x n
    by n x n and ``fma(partial * sa, sb, total)`` for 1 x n by 1 x n. Any other pair of scales is
    ``fma(partial, sa * sb, total)``. Every product and sum is one float32 operation. A second, tensor-wise
    scale of each operand multiplies the total last. A unit with ``scale_in_unit`` takes all other scales.
    `EXACT` merges an operand's second scale into its others, by one float32 product each as
    `QuantizedTensor.dequantize` does, and takes the merged scales as exact factors.

    With K = 0 nothing is summed: the result is +0, or ``c`` as it is, a NaN's bits and the sign of a zero
    included. Second scales multiply it, and no other scale does, not even a tensor-wise one. `EXACT` makes
    a -0 a +0, and multiplies ``c`` by no scale.

    A NaN that a `FusedSum` or an `FmaChain` gives is 0x7FFFFFFF in float32, whatever the register's format,
    as on NVIDIA's GPUs; converted, it is 0x7FFF in float16, 0x7FC0 in bfloat16 and 0x7FFFFFFFE0000000 in
    float64. A NaN that `EXACT` gives is quiet, and its sign and payload are not fixed.

    Examples
    --------
    >>> import numpy as np, precision as pr
    >>> a = pr.encode(np.array([[448.0, 1.0, -448.0]]), pr.E4M3)
    >>> b = pr.encode(np.array([[448.0], [1.0], [448.0]]), pr.E4M3)
    >>> [float(pr.matmul(a, b, accumulator=unit)[0, 0]) for unit in (pr.HOPPER_FP8, pr.EXACT)]
    [0.0, 1.0]
    """
    if c is None:
        small = find_call(a, b, accumulator, dtype)
        result = None if small is None else small(a, b)
        if result is not None:
            return result
    if accumulator is None:
        accumulator = unit_of_operands(("a", a, -1), ("b", b, -2))
    accumulator = as_accumulator(accumulator)
    kind = checked_dtype(dtype)
    left = checked_operand("a", a, accumulator)
    right = checked_operand("b", b, accumulator)
    shapes = Shapes(left, right)
    start = checked_start(c, accumulator, shapes)
    epilogue = plan_epilogue(left, right, accumulator)
    if 0 in shapes.sizes:
        return np.zeros(shapes.result, kind)
    product = build_product(left, right, accumulator, shapes, start, epilogue)
    if shapes.length or accumulator.step is None:
        sums = accumulator.run(product, kind)
    else:
        sums = np.zeros(shapes.sizes, np.float32) if start is None else start.copy()
    multiply_by_scales(sums, epilogue.factors)
    return _round_to_type(sums.reshape(shapes.result), kind)
