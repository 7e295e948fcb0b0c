"""Matrix products as a chosen accumulator sums them: arguments are checked once, then a kernel is picked."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from precision._support._types import Array
from precision._support.machine._float_environment import in_default_environment
from precision.accumulators import _kernel_records, _panel_loops
from precision.accumulators._accumulator import HOPPER_FP8, Accumulator, Exact, FmaChain, FusedSum
from precision.accumulators._exact_sums import Factors, exact_sums
from precision.accumulators._operand_layout import Stack
from precision.accumulators._product import Product
from precision.formats._codec import encode
from precision.formats._named import BF16
from precision.formats._rounding_modes import Overflow
from precision.gemm._operands import Checked, Operand, Shapes, checked_dtype, checked_operand, checked_start
from precision.gemm._scale_epilogue import plan_scales, read_scales


def _scaled(out: Array, factors: tuple[Array, ...]) -> None:
    """Multiply sums by their scales, one after the other; a NaN has all bits set but the sign."""
    if not factors:
        return
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        for factor in factors:
            np.multiply(out, factor, out=out)
    invalid = np.isnan(out)
    if invalid.any():
        out[invalid] = _kernel_records.CANONICAL_NAN


def _exact_product(
    left: Checked, right: Checked, shapes: Shapes, start: Array | None, kind: np.dtype[Any]
) -> Array:
    factors = []
    for operand, axis, count in ((left, -1, shapes.rows), (right, -2, shapes.columns)):
        scales = read_scales(operand, axis, merged=True)
        matrices = len(shapes.left if axis == -1 else shapes.right)
        values = scales.expanded(matrices, count).astype(np.float64)
        factors.append(Factors(values, scales.group))
    sums = exact_sums(
        Stack(shapes.left, left.fmt),
        Stack(shapes.right, right.fmt),
        (shapes.left_matrix, shapes.right_matrix),
        (factors[0], factors[1]),
        start,
        odd=kind != np.float64,
    ).reshape(shapes.result)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        if kind.name == "bfloat16":
            return encode(sums, BF16, overflow=Overflow.NON_SATURATING)
        return sums.astype(kind, copy=False)


@in_default_environment
def matmul(
    a: Operand,
    b: Operand,
    *,
    accumulator: Accumulator = HOPPER_FP8,
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
    accumulator : FusedSum, FmaChain or Exact
        How products are summed.
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
    if not isinstance(accumulator, (FusedSum, FmaChain, Exact)):
        raise TypeError(f"accumulator must be a FusedSum, FmaChain or Exact, got {accumulator!r}")
    kind = checked_dtype(dtype)
    left = checked_operand("a", a, accumulator)
    right = checked_operand("b", b, accumulator)
    shapes = Shapes(left, right)
    start = checked_start(c, accumulator, shapes)
    if isinstance(accumulator, Exact):
        return _exact_product(left, right, shapes, start, kind)
    scales = read_scales(left, -1), read_scales(right, -2)
    epilogue = plan_scales(*scales, accumulator, shapes)
    out: Array = np.empty(shapes.sizes, np.float32)
    if not out.size:
        return out.reshape(shapes.result).astype(kind, copy=False)
    if shapes.length == 0:
        out[...] = 0 if start is None else start
    else:
        product = Product(
            Stack(shapes.left, left.fmt),
            Stack(shapes.right, right.fmt),
            shapes.left_matrix,
            shapes.right_matrix,
            accumulator.promotion,
            epilogue.groups,
            start,
            epilogue.unit,
        )
        if isinstance(accumulator, FusedSum):
            _panel_loops.fused_sum(product, accumulator, out)
        else:
            _panel_loops.chain_sum(product, out)
    _scaled(out, epilogue.factors)
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        return out.reshape(shapes.result).astype(kind, copy=False)
