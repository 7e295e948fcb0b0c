"""The steps of the *integer* kernel as one function in LLVM: the hot loop of BF16, FP16, TF32 and MX.

`_plain_steps` has the same steps in Python.
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


def _words(x: int) -> Any:
    """Return a vector of equal int32 numbers."""
    return ir.Constant(_WORDS, [x] * 16)


def _power(builder: Any, field: Any) -> Any:
    """Return the powers of two whose exponent fields, from 1 to 254, are given, as float32."""
    return builder.bitcast(builder.shl(field, _words(23)), _REALS)


def _smaller(builder: Any, x: Any, y: Any) -> Any:
    """Return the smaller of two signed integers in every lane."""
    return builder.select(builder.icmp_signed("<", x, y), x, y)


@llvm_loop(plain.integer_steps)
def integer_steps(
    typingctx: Any, rows: Any, steps: Any, products: Any, part: Any, a: Any, ae: Any, a0: Any, depth: Any,
    b: Any, be: Any, registers: Any, reference: Any, floor: Any, width: Any, mask: Any,
    left_shift: Any, l0: Any, right_shift: Any, r0: Any,
) -> Any:  # fmt: skip
    """Take rows of 64 registers through ``steps`` of ``products`` each, as `advance_integer` describes.

    A row of ``a`` and ``ae`` is ``depth`` long: values, and exponents, each four equal bytes. ``b`` and
    ``be`` are [k][lane]. The shifts are int32 exponents of scales inside the unit, one for each row, from
    ``l0`` on, and for each lane, from ``r0`` on; `types.none` for ``left_shift`` stands for no scales.
    """
    shifted = not isinstance(left_shift, types.NoneType)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        arrays = [
            (a, args[4], args[6]), (ae, args[5], args[6]), (b, args[8], I64(0)), (be, args[9], I64(0)),
            (registers, args[10], I64(0)),
        ]  # fmt: skip
        if shifted:
            arrays += [(left_shift, args[15], args[16]), (right_shift, args[17], args[18])]
        places = [pointer(context, builder, *array) for array in arrays]
        parameters, inner = own_function(
            builder, "integer_steps", [*args[:4], args[7], *args[11:15], *places]
        )
        rows, steps, products, part, depth, reference, floor, width, mask = parameters[:9]
        left, left_exponents, right, right_exponents, state, *shifts = parameters[9:]
        write_rounding(inner, I32(0))
        back, width = width, inner.add(width, I32(254))
        reference, floor = (inner.add(x, I32(127)) for x in (reference, floor))
        reference, floor, width, back, mask = (
            splat(inner, x, 16) for x in (reference, floor, width, back, mask)
        )
        right = inner.bitcast(right, _REALS.as_pointer())
        state = inner.bitcast(state, _REALS.as_pointer())
        parts = inner.udiv(inner.add(products, inner.sub(part, I64(1))), part)
        if shifted:
            shifts[1] = inner.bitcast(shifts[1], _WORDS.as_pointer())

        def align(register: Any, largest: Any, shift: Any) -> tuple[Any, Any, Any]:
            """Return the scale of products, the scale back, and the register, aligned.

            Exponents here are those of float32's field, 127 more.
            """
            exponent = inner.add(largest, reference)
            exponent = inner.add(exponent, shift) if shifted else exponent
            some = inner.icmp_signed(">", largest, _words(-128))
            field = inner.and_(inner.lshr(inner.bitcast(register, _WORDS), _words(23)), _words(255))
            own = larger(inner, field, floor)
            exponent = inner.select(some, larger(inner, exponent, own), own)
            places = inner.sub(width, exponent)
            up = _power(inner, places)
            scale = up
            if shifted:
                places = inner.add(places, shift)
                scale = _power(inner, _smaller(inner, larger(inner, places, _words(1)), _words(254)))
            whole = inner.fptosi(inner.fmul(register, up), _WORDS)
            return scale, inner.sub(exponent, back), whole

        def add_products(place: Any, columns: Any, scales: list[Any], some: range) -> Any:
            """Make the loop body that adds a row's aligned products, ``(k, sums) -> sums``."""
            row = inner.gep(left, [place])

            def body(k: Any, carried: list[Any]) -> list[Any]:
                x = splat(inner, inner.load(inner.gep(row, [k])), 16)
                first = inner.gep(columns, [inner.mul(k, I64(_COUNT))])
                results = []
                for m, i in enumerate(some):
                    column = inner.load(inner.gep(first, [I64(i)]), align=REGISTER_BYTES)
                    term = inner.fmul(inner.fmul(x, column), scales[m])
                    results.append(inner.add(carried[m], inner.fptosi(term, _WORDS)))
                return results

            return body

        def split(total: Any) -> list[Any]:
            """Return the last eight bits of whole numbers, and the bits above them."""
            return [inner.and_(total, _words(255)), inner.ashr(total, _words(8))]

        def sum_parts(
            add: Any, following: Any, wholes: list[Any], count: int
        ) -> tuple[list[Any], list[Any], Any]:
            """Add all products to the aligned registers; return low and high bits, and the next exponents."""
            lowest, find = following
            pairs = [split(whole) for whole in wholes]
            carried = [pair[0] for pair in pairs] + [pair[1] for pair in pairs] + [lowest]

            def one(n: Any, carried: list[Any]) -> list[Any]:
                start = inner.mul(n, part)
                rest = inner.sub(products, start)
                length = inner.select(inner.icmp_signed("<", rest, part), rest, part)

                def body(k: Any, sums: list[Any]) -> list[Any]:
                    at = inner.add(start, k)
                    return [*add(at, sums[:-1]), find(at, sums[-1])]

                *sums, largest = counted_loop(inner, length, [_words(0)] * count + [carried[-1]], body)
                pairs = [split(total) for total in sums]
                found = [pair[0] for pair in pairs] + [pair[1] for pair in pairs]
                return [inner.add(x, y) for x, y in zip(carried[:-1], found, strict=True)] + [largest]

            *both, largest = counted_loop(inner, parts, carried, one)
            return both[:count], both[count:], largest

        def step(n: Any, _: list[Any]) -> list[Any]:
            at = inner.mul(n, products)
            columns = inner.gep(right, [inner.mul(at, I64(_COUNT))])
            column_exponents = inner.gep(right_exponents, [inner.mul(at, I64(LANES))])
            for some in passes(context):

                def exponents_of(i: Any, some: range = some) -> Any:
                    row = inner.gep(left_exponents, [inner.add(inner.mul(i, depth), at)])
                    return largest_of_row(inner, row, column_exponents, some)

                def sum_row(i: Any, largest: Any, following: Any, some: range = some) -> Any:
                    first = inner.mul(i, I64(_COUNT))
                    cells = [inner.gep(state, [inner.add(first, I64(m))]) for m in some]
                    aligned: list[list[Any]] = [[], [], []]
                    for m, cell in enumerate(cells):
                        shift = None
                        if shifted:
                            row_shift = splat(inner, inner.load(inner.gep(shifts[0], [i])), 16)
                            lane_shift = inner.load(inner.gep(shifts[1], [I64(some[m])]), align=4)
                            shift = inner.add(row_shift, lane_shift)
                        register = inner.load(cell, align=REGISTER_BYTES)
                        found = align(register, as_words(inner, largest, m), shift)
                        for kept, value in zip(aligned, found, strict=True):
                            kept.append(value)
                    scales, fields, wholes = aligned
                    add = add_products(inner.add(inner.mul(i, depth), at), columns, scales, some)
                    low, high, next_largest = sum_parts(add, following, wholes, len(some))
                    for m, cell in enumerate(cells):
                        # In one rounding toward zero: high * 256 is exact.
                        top = inner.fmul(
                            inner.sitofp(high[m], _REALS),
                            ir.Constant(_REALS, [256.0] * 16),
                            flags=("contract",),
                        )
                        total = inner.fadd(top, inner.sitofp(low[m], _REALS), flags=("contract",))
                        total = inner.bitcast(inner.fmul(total, _power(inner, fields[m])), _WORDS)
                        kept = inner.bitcast(inner.and_(total, mask), _REALS)
                        inner.store(kept, cell, align=REGISTER_BYTES)
                    return next_largest

                loop_over_rows(inner, rows, products, exponents_of, sum_row)
            return []

        counted_loop(inner, steps, [], step)
        write_rounding(inner, I32(1))
        inner.ret_void()
        return nothing(context)

    ints = (types.intp,) * 4
    return (
        types.void(*ints, a, ae, types.intp, types.intp, b, be, registers, types.int32, types.int32,
                   types.int32, types.uint32, left_shift, types.intp, right_shift, types.intp),
        codegen,
    )  # fmt: skip
