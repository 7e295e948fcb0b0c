"""Largest exponents of the products of a row, found in LLVM while the row before it is summed.

A loop that multiplies and adds leaves units of the processor idle which add and compare bytes. So a kernel
walks the rows of a tile with a loop over products whose body also takes the next row's exponents.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir

from precision._kernels._llvm_pieces import I8, I32, I64, counted_loop, declared, larger, lowest, splat

LANES = 64
REGISTER_LANES = 16  # of float32 and int32
Body = Callable[[Any, Any], Any]


def largest_of_row(builder: Any, row: Any, columns: Any, some: range) -> tuple[Any, Body]:
    """Make a loop body, and its start, that finds the largest exponents in some vectors of the lanes.

    ``row`` points to the exponents of a row, each four equal bytes, and ``columns`` to those of the lanes,
    [k][lane]. Their sums saturate.
    """
    lanes = REGISTER_LANES * len(some)
    vector = ir.VectorType(I8, lanes)
    signature = ir.FunctionType(vector, [vector, vector])
    add = declared(builder.module, signature, f"llvm.sadd.sat.v{lanes}i8")

    def body(k: Any, largest: Any) -> Any:
        left = splat(builder, builder.load(builder.gep(row, [k])), lanes // 4)
        first = builder.add(builder.mul(k, I64(LANES)), I64(REGISTER_LANES * some.start))
        place = builder.bitcast(builder.gep(columns, [first]), vector.as_pointer())
        total = builder.call(add, [builder.bitcast(left, vector), builder.load(place, align=lanes)])
        return larger(builder, total, largest)

    return lowest(vector), body


def loop_over_rows(
    builder: Any, rows: Any, products: Any, exponents_of: Callable[[Any], tuple[Any, Body]],
    sum_row: Callable[[Any, Any, tuple[Any, Body]], Any],
) -> None:  # fmt: skip
    """Write a loop over rows, in which each is summed with its exponents and finds those of the next.

    ``exponents_of`` makes the loop over a row's exponents, and ``sum_row``, given the row, its largest
    exponents and the loop over the next row's, returns the largest exponents of the next row. After the last
    row come its own again.
    """
    start, body = exponents_of(I64(0))
    first = counted_loop(builder, products, [start], lambda k, carried: [body(k, carried[0])])

    def row(i: Any, carried: list[Any]) -> list[Any]:
        following = builder.add(i, I64(1))
        last = builder.icmp_signed("==", following, rows)
        return [sum_row(i, carried[0], exponents_of(builder.select(last, i, following)))]

    counted_loop(builder, rows, first, row)


def as_words(builder: Any, exponents: Any, n: int) -> Any:
    """Return the ``n``-th vector of int32 of a vector of bytes."""
    lanes = list(range(REGISTER_LANES * n, REGISTER_LANES * (n + 1)))
    words = ir.VectorType(I32, REGISTER_LANES)
    some = builder.shuffle_vector(
        exponents, ir.Constant(exponents.type, ir.Undefined), ir.Constant(words, lanes)
    )
    return builder.sext(some, words)
