"""Correctly rounded sums of exact products, by float64 BLAS if no sum can round, else by wide integers."""

from __future__ import annotations

import math

import numpy as np

from precision._support._types import Array
from precision._support.machine._threads import checkpoint, parallel
from precision.accumulators import _operand_layout
from precision.accumulators._operand_layout import Stack
from precision.accumulators._product import Factors, Product
from precision.formats._int_format import IntFormat

#: Products that one call of the exact kernel sums at most: some 0.03 s.
_SUM_PIECE = 2**20
#: Products of one call of BLAS: about a tenth of a second on a slow processor.
_BLAS_PIECE = 2**31


def _exact_bits(left: Stack, right: Stack) -> int:
    """Return a number of bits that holds any sum of K products of two operands exactly."""
    bits = math.ceil(math.log2(max(1, left.codes.shape[2]))) + 1
    for stack in (left, right):
        lowest, highest = _operand_layout.exponents(stack)
        fraction = stack.fmt.fraction_bits
        bits += highest + 1 + (fraction if isinstance(stack.fmt, IntFormat) else fraction - lowest)
    return bits


def _scale_matrix(stack: Stack, factors: Factors, matrix: int, axis: int) -> Array:
    """Return one matrix of an operand times its scales in float64, where that is exact; K is ``axis``."""
    codes = Stack(stack.codes[matrix][None], stack.fmt)
    values = _operand_layout.values(codes)[0].astype(np.float64)
    groups, length = factors.values.shape[1], values.shape[axis]
    scales = factors.values[matrix]
    if groups > 1:
        scales = np.repeat(scales, factors.group, axis=0)[:length]
    with np.errstate(invalid="ignore"):  # Inf times zero is NaN
        scaled: Array = values * (scales.T if axis == 1 else scales)
    return scaled


def _sum_matrices(left: Array, right: Array, start: Array | None, odd: bool, out: Array) -> None:
    """Fill ``out`` with ``left @ right + start``, rounded once; all are float64 matrices."""
    from precision._kernels.products import _kulisch

    rows, columns = np.ascontiguousarray(left), np.empty(right.shape[::-1])
    near = max(1, min(64, 2**20 // max(1, right.shape[0])))  # columns transposed by one call, for the cache

    def turn(first: int, last: int) -> None:
        columns[first:last] = right[:, first:last].T

    parallel(turn, len(columns), near)
    initial = np.empty((0, 0)) if start is None else start.astype(np.float64)

    length, width = rows.shape[1], out.shape[1]
    most = max(1, _SUM_PIECE // max(1, length))  # outputs of one call, from one row if rows are long

    def work(first: int, last: int) -> None:
        digits = np.zeros(_kulisch.DIGITS, np.int64)
        if length > _SUM_PIECE:
            for row in range(first, last):
                for column in range(width):
                    own = 0.0 if start is None else float(initial[row, column])
                    out[row, column] = _sum_one_long(rows, row, columns, column, own, odd, digits)
            return
        if width <= most:
            _kulisch.sum_exact(first, last, rows, columns, initial, odd, digits, out)
            return
        for column in range(0, width, most):
            checkpoint()
            some = np.s_[first:last, column : column + most]
            part, added = np.empty(out[some].shape), np.ascontiguousarray(initial[some])
            sides = rows[first:last], columns[column : column + most]
            _kulisch.sum_exact(0, last - first, *sides, added, odd, digits, part)
            out[some] = part

    parallel(work, out.shape[0], max(1, 2**14 // max(1, width * length)))


def _sum_one_long(left: Array, i: int, right: Array, j: int, start: float, odd: bool, digits: Array) -> float:
    """Return the rounded sum of ``start`` and the products of two long rows, taken in pieces.

    ``digits`` is memory for the wide integer, and must hold zeros.
    """
    from precision._kernels.products import _kulisch

    special = _kulisch.add_products(np.array([[start]]), 0, np.ones((1, 1)), 0, 0, 1, 0.0, digits)
    length = left.shape[1]
    for k in range(0, length, _SUM_PIECE):
        checkpoint()
        special = _kulisch.add_products(left, i, right, j, k, min(length, k + _SUM_PIECE), special, digits)
    return float(_kulisch.finish(special, odd, digits))


def _multiply_by_blas(left: Array, right: Array, out: Array) -> None:
    """Fill ``out`` with the float64 product ``left @ right``, in which no sum rounds, piece by piece."""
    (rows, columns), length = out.shape, max(1, left.shape[1])
    most = max(1, _BLAS_PIECE // length)  # outputs of a piece; BLAS wants many rows in each
    high = _even_length(rows, max(most // max(1, columns), min(rows, 256)))
    wide = _even_length(columns, most // max(1, high))
    for top in range(0, rows, high):
        for first in range(0, columns, wide):
            some = np.s_[top : top + high, first : first + wide]
            np.matmul(left[some[0]], right[:, some[1]], out=out[some])


def _even_length(total: int, most: int) -> int:
    """Return the length of the fewest pieces of at most ``most`` that are all about as long."""
    return max(1, -(-total // max(1, -(-total // max(1, most)))))


def _apply_scales(sums: Array, row: Array, column: Array, odd: bool) -> None:
    """Multiply exact sums by ``row[i] * column[j]`` in place, rounded once; factors have 24 bits at most."""
    from precision._kernels.products import _kulisch

    grain = max(1, 2**16 // max(1, sums.shape[1]))
    parallel(lambda i, j: _kulisch.scale_exact(i, j, sums, row, column, odd), sums.shape[0], grain)


def exact_sums(product: Product, odd: bool) -> Array:
    """Compute every exact sum as float64, rounded to nearest even, or to odd before a second rounding.

    An operand's element times its scale must fit float64's 53 bits.
    """
    left, right, start = product.left, product.right, product.start
    factors = product.exact_factors or tuple(
        Factors(np.ones((len(stack.codes), 1, count)), max(1, product.length))
        for stack, count in zip((left, right), product.shape[1:], strict=True)
    )
    out = np.empty(product.shape)
    if not out.size:
        return out
    pairs = list(zip(product.left_matrix, product.right_matrix, strict=True))
    # An infinite scale multiplies each product and not their sum, since products of both signs give NaN.
    constant = all(f.values.shape[1] == 1 and np.isfinite(f.values).all() for f in factors)
    by_blas = (
        constant and start is None and left.codes.shape[2] and not _operand_layout.has_specials(left, right)
    )
    if by_blas and _exact_bits(left, right) <= 53:
        a, b = (_operand_layout.values(stack).astype(np.float64) for stack in (left, right))
        plain = all((f.values == 1).all() for f in factors)
        for n, (i, j) in enumerate(pairs):
            _multiply_by_blas(a[i], b[j], out[n])
            if not plain:
                _apply_scales(out[n], factors[0].values[i, 0], factors[1].values[j, 0], odd)
        out += 0.0  # the zero of an exact sum is +0
        return out
    for n, (i, j) in enumerate(pairs):
        a = _scale_matrix(left, factors[0], i, 1)
        b = _scale_matrix(right, factors[1], j, 0)
        _sum_matrices(a, b, None if start is None else start[n], odd, out[n])
    return out
