"""Matrix products as a chosen accumulator sums them: arguments are checked once, then a kernel is picked."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from precision import _sums
from precision._arguments import (
    Array,
    Checked,
    Operand,
    Shapes,
    checked_dtype,
    checked_operand,
    checked_start,
    plan_scales,
    read_scales,
)
from precision._exact import Factors, exact_sums
from precision._packing import Stack
from precision._support._float_environment import in_default_environment
from precision._ways import Product
from precision.accumulators import HOPPER_FP8, Accumulator, Exact, FmaChain, FusedSum
from precision.codec import encode
from precision.formats import BF16
from precision.rounding import Overflow


def _scaled(out: Array, factors: tuple[Array, ...]) -> None:
    """Multiply sums by their scales, one after the other; a NaN has all bits set but the sign."""
    if not factors:
        return
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        for factor in factors:
            np.multiply(out, factor, out=out)
    invalid = np.isnan(out)
    if invalid.any():
        out[invalid] = _sums.CANONICAL_NAN


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
            _sums.fused_sum(product, accumulator, out)
        else:
            _sums.chain_sum(product, out)
    _scaled(out, epilogue.factors)
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        return out.reshape(shapes.result).astype(kind, copy=False)


class Trace(NamedTuple):
    """One dot product, step by step.

    Attributes
    ----------
    k : ndarray of int64
        Elements of K summed after each step.
    register : ndarray of float32
        The register after each step (before a promotion clears it).
    total : ndarray of float32
        The float32 total after each step; zeros without promotion.
    """

    k: Array
    register: Array
    total: Array


@in_default_environment
def trace(
    a_row: Operand,
    b_column: Operand,
    *,
    accumulator: Accumulator = HOPPER_FP8,
    c: float | np.floating[Any] | None = None,
) -> Trace:
    """The register after every step of one dot product.

    Parameters
    ----------
    a_row, b_column : array or QuantizedTensor
        Vectors of K elements, of the types that `matmul` takes. Scales that multiply the finished sum
        (those that do not change along K, unless the unit takes them; a tensor's second one) do not show.
    accumulator : FusedSum or FmaChain
        How products are summed; a step is one fused sum, or one fused multiply-add.
    c : float, optional
        Starts the register, or with promotion the total.

    Returns
    -------
    Trace
        ``k``, ``register`` and ``total``, one entry a step.

    Raises
    ------
    TypeError, ValueError
        As `matmul` does, and if the accumulator has no register or an operand is no vector.

    Examples
    --------
    >>> import numpy as np, precision as pr
    >>> ones = np.ones(96, pr.E4M3.dtype)
    >>> steps = pr.trace(ones, ones, accumulator=pr.HOPPER_FP8)
    >>> steps.k.tolist(), steps.register.tolist()
    ([32, 64, 96], [32.0, 64.0, 96.0])
    """
    if not isinstance(accumulator, (FusedSum, FmaChain)):
        raise TypeError(
            f"accumulator must be a FusedSum or FmaChain, which have a register, got {accumulator!r}"
        )
    left = checked_operand("a_row", a_row, accumulator)
    right = checked_operand("b_column", b_column, accumulator)
    for operand in (left, right):
        if operand.codes.ndim != 1:
            raise ValueError(f"{operand.name} must be a vector, got shape {operand.codes.shape}")
    shapes = Shapes(left, right)
    start = checked_start(None if c is None else np.float32(c), accumulator, shapes)
    epilogue = plan_scales(read_scales(left, -1), read_scales(right, -2), accumulator, shapes)
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
    unit = accumulator if isinstance(accumulator, FusedSum) else None
    step = unit.products if unit else 1
    length = shapes.length
    if not length:
        empty = np.empty(0, np.float32)
        return Trace(np.empty(0, np.int64), empty, empty.copy())
    registers, totals = _sums.trace_sum(product, unit)
    every = accumulator.promotion or length
    ends = [min(end, first + every, length) for first in range(0, length, every)
            for end in range(first + step, min(first + every, length) + step, step)]  # fmt: skip
    return Trace(np.array(ends, np.int64), registers, totals)
