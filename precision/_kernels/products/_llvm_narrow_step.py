"""The steps of the *narrow* kernel as one function in LLVM: the hot loop of FP8.

`_plain_steps` has the same steps in Python.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types

from precision._kernels._llvm_pieces import (
    I16,
    I32,
    I64,
    REGISTER_BYTES,
    VECTOR_BYTES,
    counted_loop,
    larger,
    own_function,
    passes,
    splat,
    write_rounding,
)
from precision._kernels._numba_codegen import llvm_loop, nothing, pointer
from precision._kernels.products import _plain_steps as plain
from precision._kernels.products._llvm_exponents import LANES, as_words, largest_of_row, loop_over_rows

_REALS, _WORDS = ir.VectorType(ir.FloatType(), 16), ir.VectorType(I32, 16)
_COUNT = VECTOR_BYTES // REGISTER_BYTES


@llvm_loop(plain.narrow_steps)
def narrow_steps(
    typingctx: Any, rows: Any, steps: Any, products: Any, a: Any, swaps: Any, ae: Any, a0: Any, depth: Any,
    b: Any, be: Any, registers: Any, reference: Any, floor: Any, power: Any, mask: Any,
) -> Any:  # fmt: skip
    """Take rows of 64 registers through ``steps`` of ``products`` each, as `advance_narrow` describes.

    The two sums of a step, of positive and of negative terms, start at ``2**(e + power)`` and the register's
    magnitude, which belongs to one of them; ``e`` is the largest of the products' exponents (int8, less
    ``reference``), the register's and ``floor``. The new register is their difference, without the bits that
    ``mask`` lacks.

    A row of ``a``, ``swaps`` and ``ae`` is ``depth`` long: magnitudes, 256 for a negative element and 0 for
    others, and exponents, each four equal bytes. ``b`` is laid out as for `add_cut_products`, a half of whose
    lanes is 256 bytes: a negative left element swaps the halves.
    """

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        places = [
            pointer(context, builder, kind, array, offset)
            for kind, array, offset in (
                (a, args[3], args[6]), (swaps, args[4], args[6]), (ae, args[5], args[6]),
                (b, args[8], I64(0)), (be, args[9], I64(0)), (registers, args[10], I64(0)),
            )
        ]  # fmt: skip
        parameters, inner = own_function(builder, "narrow_steps", [*args[:3], *places, args[7], *args[11:]])
        rows, steps, products, left, sides, left_exponents, right, right_exponents, state = parameters[:9]
        depth, reference, floor, power, mask = parameters[9:]
        write_rounding(inner, I32(0))
        reference, floor, mask = (splat(inner, x, 16) for x in (reference, floor, mask))
        bias = splat(inner, inner.add(power, I32(127)), 16)
        power = splat(inner, inner.shl(power, I32(23)), 16)
        right = inner.bitcast(right, ir.IntType(8).as_pointer())
        state = inner.bitcast(state, _REALS.as_pointer())
        zeros = ir.Constant(_REALS, [0.0] * 16)
        field = ir.Constant(_WORDS, [0x7F800000] * 16)

        def start(register: Any, largest: Any) -> tuple[Any, Any]:
            """Return the positive and the negative sum that a register and its products begin with."""
            exponent = larger(inner, inner.add(largest, reference), floor)
            first = inner.shl(inner.add(exponent, bias), ir.Constant(_WORDS, [23] * 16))
            own = inner.add(inner.and_(inner.bitcast(register, _WORDS), field), power)
            first = inner.bitcast(larger(inner, first, own), _REALS)
            above = inner.select(inner.fcmp_ordered(">", register, zeros), register, zeros)
            below = inner.select(inner.fcmp_ordered("<", register, zeros), register, zeros)
            return inner.fadd(first, above), inner.fsub(first, below)

        def add_products(place: Any, columns: Any, some: range) -> Any:
            """Make the loop body that adds a row's products to its sums, ``(k, sums) -> sums``."""
            row, swap = inner.gep(left, [place]), inner.gep(sides, [place])

            def body(k: Any, carried: list[Any]) -> list[Any]:
                x = splat(inner, inner.load(inner.gep(row, [k])), 16)
                side = inner.load(inner.gep(swap, [k]))
                first = inner.gep(columns, [inner.mul(k, I64(2 * VECTOR_BYTES))])
                results = []
                for n, way in enumerate((side, inner.xor(side, I16(VECTOR_BYTES)))):
                    half = inner.bitcast(inner.gep(first, [inner.zext(way, I64)]), _REALS.as_pointer())
                    for m, i in enumerate(some):
                        column = inner.load(inner.gep(half, [I64(i)]), align=REGISTER_BYTES)
                        product = inner.fmul(x, column, flags=("contract",))
                        results.append(inner.fadd(carried[n * len(some) + m], product, flags=("contract",)))
                return results

            return body

        def step(n: Any, _: list[Any]) -> list[Any]:
            at = inner.mul(n, products)
            columns = inner.gep(right, [inner.mul(at, I64(2 * VECTOR_BYTES))])
            column_exponents = inner.gep(right_exponents, [inner.mul(at, I64(LANES))])
            for some in passes(context):

                def exponents_of(i: Any, some: range = some) -> Any:
                    row = inner.gep(left_exponents, [inner.add(inner.mul(i, depth), at)])
                    return largest_of_row(inner, row, column_exponents, some)

                def sum_row(i: Any, largest: Any, following: Any, some: range = some) -> Any:
                    first = inner.mul(i, I64(_COUNT))
                    cells = [inner.gep(state, [inner.add(first, I64(m))]) for m in some]
                    sums: list[list[Any]] = [[], []]
                    for m, cell in enumerate(cells):
                        register = inner.load(cell, align=REGISTER_BYTES)
                        for side, value in enumerate(start(register, as_words(inner, largest, m))):
                            sums[side].append(value)
                    add = add_products(inner.add(inner.mul(i, depth), at), columns, some)
                    lowest, find = following
                    *totals, next_largest = counted_loop(
                        inner, products, [*sums[0], *sums[1], lowest],
                        lambda k, carried: [*add(k, carried[:-1]), find(k, carried[-1])],
                    )  # fmt: skip
                    for m, cell in enumerate(cells):
                        total = inner.bitcast(inner.fsub(totals[m], totals[len(some) + m]), _WORDS)
                        kept = inner.bitcast(inner.and_(total, mask), _REALS)
                        inner.store(kept, cell, align=REGISTER_BYTES)
                    return next_largest

                loop_over_rows(inner, rows, products, exponents_of, sum_row)
            return []

        counted_loop(inner, steps, [], step)
        write_rounding(inner, I32(1))
        inner.ret_void()
        return nothing(context)

    ints = (types.intp,) * 3
    return (
        types.void(*ints, a, swaps, ae, types.intp, types.intp, b, be, registers,
                   types.int32, types.int32, types.int32, types.uint32),
        codegen,
    )  # fmt: skip
