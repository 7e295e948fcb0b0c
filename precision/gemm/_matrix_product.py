"""The matrix product, summed as an accumulator of choice sums it."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from precision._support._types import Array
from precision._support.machine._float_environment import in_default_environment
from precision.accumulators._accumulator import Accumulator
from precision.accumulators._accumulator_text import as_accumulator
from precision.accumulators._kernel_records import CANONICAL_NAN
from precision.formats._codec import encode
from precision.formats._named import BF16
from precision.formats._rounding_modes import Overflow
from precision.gemm._operands import Operand, Shapes, checked_dtype, checked_operand, checked_start
from precision.gemm._scale_epilogue import epilogue_of, product_of
from precision.units._nvidia import HOPPER_FP8


def _scaled(out: Array, factors: tuple[Array, ...]) -> None:
    """Multiply sums by their scales, one after the other; a NaN has all bits set but the sign."""
    if not factors:
        return
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        for factor in factors:
            np.multiply(out, factor, out=out)
    invalid = np.isnan(out)
    if invalid.any():
        out[invalid] = CANONICAL_NAN


def _in_type(sums: Array, kind: np.dtype[Any]) -> Array:
    """Round sums to the type of the result, once."""
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
    accumulator: Accumulator | str = HOPPER_FP8,
    c: npt.ArrayLike | None = None,
    dtype: npt.DTypeLike = np.float32,
) -> Array:
    """The matrix product ``a @ b`` as ``accumulator`` sums it, bit for bit.

    Parameters
    ----------
    a, b : array or QuantizedTensor
        Of shapes ``(..., M, K)`` and ``(..., K, N)`` by `numpy.matmul`'s rules: vectors and broadcast
        batch axes too. Arrays are float16, float32 (for units that take TF32, whose low 13 bits they
        ignore) or of an ml_dtypes float; a QuantizedTensor holds its format's codes, of TF32 19 bits.
    accumulator : Accumulator or str
        How products are summed; or the text of it, as ``"HOPPER_FP8.promoted(128)"``.
    c : array, optional
        Starts the sum: the register, or with promotion the float32 total. It broadcasts to the
        result's shape. Tensor-wise and row-wise scales, which multiply the finished sum, multiply it too,
        unless the unit takes them itself; `EXACT` adds it unscaled.
    dtype : data type
        float16, bfloat16, float32 or float64; the float32 result is rounded to it once, to nearest
        even. `EXACT` rounds the exact sum to it.

    Returns
    -------
    ndarray
        Of `numpy.matmul`'s shape.

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

    Examples
    --------
    >>> import numpy as np, precision as pr
    >>> a = pr.encode(np.array([[448.0, 1.0, -448.0]]), pr.E4M3)
    >>> b = pr.encode(np.array([[448.0], [1.0], [448.0]]), pr.E4M3)
    >>> [float(pr.matmul(a, b, accumulator=unit)[0, 0]) for unit in (pr.HOPPER_FP8, pr.EXACT)]
    [0.0, 1.0]
    """
    accumulator = as_accumulator(accumulator)
    kind = checked_dtype(dtype)
    left = checked_operand("a", a, accumulator)
    right = checked_operand("b", b, accumulator)
    shapes = Shapes(left, right)
    start = checked_start(c, accumulator, shapes)
    epilogue = epilogue_of(left, right, accumulator, shapes)
    if 0 in shapes.sizes:
        return np.zeros(shapes.result, kind)
    product = product_of(left, right, accumulator, shapes, start, epilogue)
    if shapes.length or accumulator.step is None:
        sums = accumulator.run(product, kind)
    else:
        sums = np.zeros(shapes.sizes, np.float32) if start is None else start.copy()
    _scaled(sums, epilogue.factors)
    return _in_type(sums.reshape(shapes.result), kind)
