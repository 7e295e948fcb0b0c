"""The steps of the *narrow* kernel as one function in LLVM: the hot loop of FP8.

`_plain_narrow_step` has the same steps in Python.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types

from precision._kernels._llvm_pieces import (
    I32,
    I64,
    REGISTER_BYTES,
    VECTOR_BYTES,
    counted_loop,
    cut_step,
    exponent_step,
    exponent_vector,
    larger,
    lowest,
    own_function,
    passes,
    splat,
    write_rounding,
)
from precision._kernels._numba_codegen import llvm_loop, nothing, pointer
from precision._kernels.products import _plain_narrow_step as plain


@llvm_loop(plain.narrow_steps)
def narrow_steps(
    typingctx: Any, rows: Any, steps: Any, products: Any, a: Any, ae: Any, a0: Any, depth: Any,
    b: Any, be: Any, registers: Any, reference: Any, floor: Any, power: Any, mask: Any,
) -> Any:  # fmt: skip
    """Take rows of 64 registers through ``steps`` of ``products`` each, as `advance_narrow` describes.

    The two sums of a step, of positive and of negative terms, start at ``2**(e + power)`` and the register's
    magnitude, which belongs to one of them; ``e`` is the largest of the products' exponents (int8, less
    ``reference``), the register's and ``floor``. The new register is their difference, without the bits that
    ``mask`` lacks. A row of ``a`` and ``ae`` is ``depth`` long; ``b`` is laid out as for `add_cut_products`.
    """

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        places = [
            pointer(context, builder, kind, array, offset)
            for kind, array, offset in (
                (a, args[3], args[5]), (ae, args[4], args[5]), (b, args[7], I64(0)), (be, args[8], I64(0)),
                (registers, args[9], I64(0)),
            )
        ]  # fmt: skip
        arguments = [*args[:3], *places, args[6], *args[10:]]
        parameters, inner = own_function(builder, "narrow_steps", arguments)
        rows, steps, products, left, left_exponents, right, right_exponents, state = parameters[:8]
        depth, reference, floor, power, mask = parameters[8:]
        count = VECTOR_BYTES // REGISTER_BYTES
        reals, words = ir.VectorType(ir.FloatType(), 16), ir.VectorType(I32, 16)
        zeros = ir.Constant(reals, [0.0] * 16)
        write_rounding(inner, I32(0))
        reference, floor, mask = (splat(inner, x, 16) for x in (reference, floor, mask))
        power = splat(inner, inner.add(power, I32(127)), 16)
        right = inner.bitcast(right, reals.as_pointer())
        exponents_of_lanes = exponent_vector(be)
        right_exponents = inner.bitcast(right_exponents, exponents_of_lanes.as_pointer())
        state = inner.bitcast(state, reals.as_pointer())

        def step(place: Any, k: Any, cells: list[Any]) -> None:
            """Write one step of a row's registers, four vectors of 16, over the products from k."""
            at = inner.add(place, k)
            exponents = exponent_step(
                inner, inner.gep(left_exponents, [at]), inner.gep(right_exponents, [k]), exponents_of_lanes
            )
            (largest,) = counted_loop(
                inner, products, [lowest(exponents_of_lanes)], lambda n, carried: [exponents(n, carried[0])]
            )
            columns = inner.gep(right, [inner.mul(k, I64(2 * count))])
            for some in passes(context):
                sums: list[list[Any]] = [[], []]
                for i in some:
                    register = inner.load(cells[i], align=REGISTER_BYTES)
                    lanes = ir.Constant(words, list(range(16 * i, 16 * (i + 1))))
                    part = inner.shuffle_vector(largest, ir.Constant(exponents_of_lanes, ir.Undefined), lanes)
                    exponent = inner.add(inner.sext(part, words), reference)
                    field = inner.lshr(inner.bitcast(register, words), ir.Constant(words, [23] * 16))
                    field = inner.and_(field, ir.Constant(words, [255] * 16))
                    own = inner.sub(field, ir.Constant(words, [127] * 16))
                    exponent = larger(inner, larger(inner, exponent, own), floor)
                    first = inner.shl(inner.add(exponent, power), ir.Constant(words, [23] * 16))
                    first = inner.bitcast(first, reals)
                    positive = inner.fcmp_ordered(">", register, zeros)
                    sums[0].append(inner.fadd(first, inner.select(positive, register, zeros)))
                    sums[1].append(inner.fsub(first, inner.select(positive, zeros, register)))
                body = cut_step(inner, inner.gep(left, [at]), columns, reals, some)
                totals = counted_loop(inner, products, sums[0] + sums[1], body)
                for n, i in enumerate(some):
                    total = inner.bitcast(inner.fsub(totals[n], totals[len(some) + n]), words)
                    kept = inner.bitcast(inner.and_(total, mask), reals)
                    inner.store(kept, cells[i], align=REGISTER_BYTES)

        def row(i: Any, _: list[Any]) -> list[Any]:
            place, first = inner.mul(i, depth), inner.mul(i, I64(count))
            cells = [inner.gep(state, [inner.add(first, I64(n))]) for n in range(count)]

            def steps_of(n: Any, _: list[Any]) -> list[Any]:
                step(place, inner.mul(n, products), cells)
                return []

            counted_loop(inner, steps, [], steps_of)
            return []

        counted_loop(inner, rows, [], row)
        write_rounding(inner, I32(1))
        inner.ret_void()
        return nothing(context)

    ints = (types.intp,) * 3
    return (
        types.void(*ints, a, ae, types.intp, types.intp, b, be, registers,
                   types.int32, types.int32, types.int32, types.uint32),
        codegen,
    )  # fmt: skip
