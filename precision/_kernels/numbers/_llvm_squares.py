"""The turning of squares of elements written in LLVM, by shuffles of their rows as vectors, and its use.

`_plain_groups` has the same loop in Python.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types

from precision._kernels._jit import jit
from precision._kernels._numba_codegen import llvm_loop, nothing, pointer
from precision._kernels.numbers import _plain_groups as plain

SIDE = plain.SIDE


def _turned(builder: Any, rows: list[Any]) -> list[Any]:
    """Return the columns of a square matrix given by its rows: each step turns squares of twice the side."""
    step = 1
    while step < SIDE:
        # Of a pair of rows, each second run of ``step`` lanes of the upper one changes places with the run
        # before it of the lower one.
        upper = [lane if lane & step == 0 else SIDE + lane - step for lane in range(SIDE)]
        lower = [lane + step if lane & step == 0 else SIDE + lane for lane in range(SIDE)]
        kind = ir.VectorType(ir.IntType(32), SIDE)
        for i in (i for i in range(SIDE) if i & step == 0):
            pair = rows[i], rows[i + step]
            rows[i] = builder.shuffle_vector(*pair, ir.Constant(kind, upper))
            rows[i + step] = builder.shuffle_vector(*pair, ir.Constant(kind, lower))
        step *= 2
    return rows


@llvm_loop(plain.turn_square)
def turn_square(
    typingctx: Any, source: Any, row: Any, column: Any, step: Any, out: Any, to: Any, width: Any
) -> Any:
    """Write ``SIDE`` rows, ``width`` apart, of a matrix whose columns lie ``step`` elements apart."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        size = source.dtype.bitwidth
        vector = ir.VectorType(ir.IntType(size), SIDE).as_pointer()
        origin = pointer(context, builder, source, args[0], builder.add(args[1], builder.mul(*args[2:4])))
        target = pointer(context, builder, out, *args[4:6])

        def place(base: Any, k: int, apart: Any) -> Any:
            return builder.bitcast(builder.gep(base, [builder.mul(apart.type(k), apart)]), vector)

        rows = [builder.load(place(origin, k, args[3]), align=size // 8) for k in range(SIDE)]
        for k, row in enumerate(_turned(builder, rows)):
            builder.store(row, place(target, k, args[6]), align=size // 8)
        return nothing(context)

    return types.void(source, *(types.intp,) * 3, out, types.intp, types.intp), codegen


@jit
def gather(source: Any, out: Any) -> None:
    """Copy rows that lie across memory into flat ``out``, by squares."""
    height, width = source.shape
    across = source.strides[0] == source.itemsize and source.strides[1] % source.itemsize == 0
    step = source.strides[1] // source.itemsize
    whole_rows, whole_columns = height // SIDE * SIDE, width // SIDE * SIDE
    if not across:
        whole_rows = whole_columns = 0
    for start in range(0, whole_columns, SIDE):
        for top in range(0, whole_rows, SIDE):
            turn_square(source, top, start, step, out, top * width + start, width)
    for r in range(height):
        for k in range(whole_columns if r < whole_rows else 0, width):
            out[r * width + k] = source[r, k]
