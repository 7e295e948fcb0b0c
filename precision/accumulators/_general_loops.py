"""Sums by the general kernel, which computes any product one output at a time."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from precision._support._types import Array
from precision._support.machine._threads import checkpoint, parallel
from precision.accumulators._kernel_records import (
    CANONICAL_NAN,
    as_register,
    as_unit,
    build_epilogue,
    build_unit_scales,
)
from precision.accumulators._operand_layout import as_operand
from precision.accumulators._product import Product
from precision.accumulators._step import Step
from precision.formats._codec_constants import MODES

#: Products that one call of the general kernel sums, or one step if that has more: 0.1 s at most.
GENERAL_PIECE = 2**20

_NONE = np.empty(0, np.float32)


def _sum_one_output(
    row: int, column: int, initial: np.float32, *, length: int, unit: Any, chain: bool, promote: int,
    registers: Array = _NONE, totals: Array = _NONE, **rest: Any,
) -> np.float32:  # fmt: skip
    """Compute one output in pieces of K; ``registers`` and ``totals`` take the state after each step."""
    from precision._kernels.products import _single_sums

    step = 1 if chain else int(unit.products)
    piece = max(1, GENERAL_PIECE // step) * step
    register, total = (np.float32(0), initial) if promote else (initial, np.float32(0))
    for begin in range(0, length, piece):
        checkpoint()
        until = min(length, begin + piece)
        some = slice(begin // step, -(-until // step))
        state = _single_sums.dot(
            row, column, length=length, begin=begin, until=until, unit=unit, chain=chain, promote=promote,
            register=register, total=total, registers=registers[some], totals=totals[some], **rest,
        )  # fmt: skip
        register, total = np.float32(state[0]), np.float32(state[1])
    result = total if promote else register
    return CANONICAL_NAN if np.isnan(result) else result


def _general_rows(
    first: int, last: int, *, rows: Array, columns: Array, length: int, start: Array, out: Array, **rest: Any
) -> None:
    """Compute the outputs of ``rows[first:last]`` and ``columns`` in calls of bounded work."""
    from precision._kernels.products import _single_sums

    if length > GENERAL_PIECE:
        for row in rows[first:last].tolist():
            for column in columns.tolist():
                initial = start[row, column] if start.size else np.float32(0)
                out[row, column] = _sum_one_output(row, column, initial, length=length, **rest)
        return
    most = max(1, GENERAL_PIECE // max(1, length * (last - first)))
    for place in range(0, columns.size, most):
        checkpoint()
        some = columns[place : place + most]
        _single_sums.sum_general(
            first, last, rows=rows, columns=some, length=length, start=start, out=out, **rest
        )


def run_general(
    product: Product,
    step: Step,
    out: Array,
    left_special: Array | None = None,
    right_special: Array | None = None,
) -> None:
    """Compute every output of a product by the general kernel, or those of marked rows and columns alone."""
    marked = (left_special, right_special)
    if all(side is not None and not side.any() for side in marked):
        return
    left, right = as_operand(product.left), as_operand(product.right)
    model, register, alignment = as_unit(step), as_register(step), MODES[step.alignment_rounding]
    epilogue, scales = build_epilogue(product, 1), build_unit_scales(product, step)
    results, rows, columns = product.shape
    every_row, every_column = np.arange(rows), np.arange(columns)
    for n in range(results):
        i, j = int(product.left_matrix[n]), int(product.right_matrix[n])
        start = np.empty((0, 0), np.float32) if product.start is None else product.start[n]
        target = out[n]
        if left_special is None or right_special is None:
            parts = [(every_row, every_column)]
        else:
            some_rows, some_columns = left_special[i].nonzero()[0], right_special[j].nonzero()[0]
            parts = [(some_rows, every_column), (every_row, some_columns)]
        for some_rows, some_columns in parts:
            if not (some_rows.size and some_columns.size):
                continue

            part = functools.partial(
                _general_rows, rows=some_rows, columns=some_columns, left=left, right=right,
                i=i, j=j, length=product.length, unit=model, rounding=register, alignment=alignment,
                scales=scales, chain=not step.aligns, promote=product.promotion or 0, epilogue=epilogue,
                start=start, out=target,
            )  # fmt: skip
            parallel(part, some_rows.size, max(1, 2**16 // max(1, product.length * some_columns.size)))


def trace_sum(product: Product, step: Step) -> tuple[Array, Array]:
    """Return the register and the float32 total after every step of a product of one row and one column."""
    every = product.promotion or product.length
    steps = sum(-(-min(every, product.length - k) // step.products) for k in range(0, product.length, every))
    registers, totals = np.empty(steps, np.float32), np.empty(steps, np.float32)
    initial = np.float32(0) if product.start is None else product.start[0, 0, 0]
    _sum_one_output(
        0, 0, initial, left=as_operand(product.left), right=as_operand(product.right), i=0, j=0,
        length=product.length, unit=as_unit(step), rounding=as_register(step),
        alignment=MODES[step.alignment_rounding], scales=build_unit_scales(product, step),
        chain=not step.aligns, promote=product.promotion or 0, epilogue=build_epilogue(product, 1),
        registers=registers, totals=totals,
    )  # fmt: skip
    return registers, totals
