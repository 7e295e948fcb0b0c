"""The steps of the *grouped* kernel as one function in LLVM: the hot loop of NVFP4.

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
from precision._kernels.products._llvm_exponents import LANES, as_words, largest_of_row

_REALS, _WORDS = ir.VectorType(ir.FloatType(), 16), ir.VectorType(I32, 16)
_WIDE, _LONG = ir.VectorType(ir.DoubleType(), 16), ir.VectorType(I64, 16)
_COUNT = VECTOR_BYTES // REGISTER_BYTES


def _words(x: int) -> Any:
    return ir.Constant(_WORDS, [x] * 16)


def _positive(builder: Any, x: Any) -> Any:
    """Return the lanes of a vector of float64 that are positive, and zeros for others."""
    zeros = ir.Constant(_WIDE, [0.0] * 16)
    return builder.select(builder.fcmp_ordered(">", x, zeros), x, zeros)


@llvm_loop(plain.grouped_steps)
def grouped_steps(
    typingctx: Any, rows: Any, steps: Any, sums: Any, size: Any, a: Any, ae: Any, a0: Any, depth: Any,
    b: Any, be: Any, registers: Any, terms: Any, floor: Any, least: Any, power: Any, mask: Any,
    left_scale: Any, left_exponent: Any, l0: Any, stride: Any, right_scale: Any, right_exponent: Any, r0: Any,
) -> Any:  # fmt: skip
    """Take rows of 64 registers through steps of ``sums`` exact sums of ``size`` products each.

    `advance_grouped` describes them. A row of ``a`` and ``ae`` is ``depth`` long: values, and exponents, each
    four equal bytes. ``terms`` is memory for [sum][lane]. The scales of a row's sums lie at ``l0 + row`` and
    every ``stride`` elements further on, those of lanes at ``r0`` and every 64.
    """

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        arrays = [
            (a, args[4], args[6]), (ae, args[5], args[6]), (b, args[8], I64(0)), (be, args[9], I64(0)),
            (registers, args[10], I64(0)), (terms, args[11], I64(0)), (left_scale, args[16], args[18]),
            (left_exponent, args[17], args[18]), (right_scale, args[20], args[22]),
            (right_exponent, args[21], args[22]),
        ]  # fmt: skip
        parameters, inner = own_function(
            builder, "grouped_steps",
            [*args[:4], args[7], *args[12:16], args[19], *(pointer(context, builder, *x) for x in arrays)],
        )  # fmt: skip
        rows, steps, sums, size, depth, floor, least, power, mask, stride = parameters[:10]
        left, left_exponents, right, right_exponents, state, memory, sa, ea, sb, eb = parameters[10:]
        write_rounding(inner, I32(0))
        floor, least, mask = (splat(inner, x, 16) for x in (floor, least, mask))
        power = splat(inner, power, 16)
        right, state, sb = (inner.bitcast(x, _REALS.as_pointer()) for x in (right, state, sb))
        memory, eb = inner.bitcast(memory, _WIDE.as_pointer()), inner.bitcast(eb, _WORDS.as_pointer())

        def start(register: Any) -> Any:
            """Return the exponent at which a register asks to be aligned."""
            field = inner.and_(inner.lshr(inner.bitcast(register, _WORDS), _words(23)), _words(255))
            exponent = larger(inner, inner.sub(field, _words(127)), least)
            zero = inner.fcmp_ordered("==", register, ir.Constant(_REALS, [0.0] * 16))
            return larger(inner, inner.select(zero, floor, exponent), floor)

        def exact_sum(place: Any, k0: Any, some: range) -> tuple[list[Any], Any]:
            """Return the exact sums of a row's products from k0 on, and their largest exponents."""
            row = inner.gep(left, [inner.add(place, k0)])
            columns = inner.gep(right, [inner.mul(k0, I64(_COUNT))])
            lowest, find = largest_of_row(
                inner, inner.gep(left_exponents, [inner.add(place, k0)]),
                inner.gep(right_exponents, [inner.mul(k0, I64(LANES))]), some,
            )  # fmt: skip

            def body(k: Any, carried: list[Any]) -> list[Any]:
                x = splat(inner, inner.load(inner.gep(row, [k])), 16)
                first = inner.gep(columns, [inner.mul(k, I64(_COUNT))])
                found = []
                for m, i in enumerate(some):
                    column = inner.load(inner.gep(first, [I64(i)]), align=REGISTER_BYTES)
                    product = inner.fmul(x, column, flags=("contract",))
                    found.append(inner.fadd(carried[m], product, flags=("contract",)))
                return [*found, find(k, carried[-1])]

            zeros = [ir.Constant(_REALS, [0.0] * 16)] * len(some)
            *dots, largest = counted_loop(inner, size, [*zeros, lowest], body)
            return dots, largest

        def finish(register: Any, top: Any, m: int) -> Any:
            """Return the register after a step, from its terms."""
            first = inner.shl(inner.add(inner.sext(top, _LONG), power), ir.Constant(_LONG, [52] * 16))
            first, value = inner.bitcast(first, _WIDE), inner.fpext(register, _WIDE)
            negated = inner.fneg(value)
            both = [inner.fadd(first, _positive(inner, x)) for x in (value, negated)]

            def add(n: Any, carried: list[Any]) -> list[Any]:
                place = inner.gep(memory, [inner.add(inner.mul(n, I64(_COUNT)), I64(m))])
                term = inner.load(place, align=REGISTER_BYTES)
                return [
                    inner.fadd(total, _positive(inner, x))
                    for total, x in zip(carried, (term, inner.fneg(term)), strict=True)
                ]

            positive, negative = counted_loop(inner, sums, both, add)
            total = inner.fsub(positive, negative)
            bits = inner.bitcast(inner.fptrunc(total, _REALS), _WORDS)
            sign = inner.and_(bits, _words(0x80000000))
            size_ = inner.bitcast(
                inner.and_(inner.bitcast(total, _LONG), ir.Constant(_LONG, [2**63 - 1] * 16)), _WIDE
            )
            over = inner.fcmp_ordered(">=", size_, ir.Constant(_WIDE, [2.0**128] * 16))
            bits = inner.select(over, inner.or_(sign, _words(0x7F800000)), inner.and_(bits, mask))
            magnitude = inner.and_(bits, _words(0x7FFFFFFF))
            zero = inner.icmp_unsigned("==", magnitude, _words(0))
            return inner.bitcast(inner.select(zero, _words(0), bits), _REALS)

        def step(i: Any, n: Any, some: range) -> None:
            place = inner.mul(i, depth)
            cells = [inner.gep(state, [inner.add(inner.mul(i, I64(_COUNT)), I64(m))]) for m in some]
            tops = [start(inner.load(cell, align=REGISTER_BYTES)) for cell in cells]

            def one(j: Any, carried: list[Any]) -> list[Any]:
                at = inner.add(inner.mul(n, sums), j)
                dots, largest = exact_sum(place, inner.mul(at, size), some)
                own = inner.add(inner.mul(at, stride), i)
                row_scale = splat(inner, inner.fpext(inner.load(inner.gep(sa, [own])), ir.DoubleType()), 16)
                row_exponent = splat(inner, inner.load(inner.gep(ea, [own])), 16)
                found = []
                for m, part in enumerate(some):
                    lane = inner.add(inner.mul(at, I64(_COUNT)), I64(part))
                    lane_scale = inner.load(inner.gep(sb, [lane]), align=4)
                    scale = inner.fmul(row_scale, inner.fpext(lane_scale, _WIDE))
                    exponent = inner.add(row_exponent, inner.load(inner.gep(eb, [lane]), align=4))
                    some_product = inner.icmp_signed(">", as_words(inner, largest, m), _words(-128))
                    some_scale = inner.fcmp_ordered("!=", scale, ir.Constant(_WIDE, [0.0] * 16))
                    counts = inner.and_(some_product, some_scale)
                    found.append(larger(inner, carried[m], inner.select(counts, exponent, floor)))
                    to = inner.gep(memory, [inner.add(inner.mul(j, I64(_COUNT)), I64(part))])
                    inner.store(inner.fmul(inner.fpext(dots[m], _WIDE), scale), to, align=REGISTER_BYTES)
                return found

            tops = counted_loop(inner, sums, tops, one)
            for m, cell in enumerate(cells):
                register = inner.load(cell, align=REGISTER_BYTES)
                inner.store(finish(register, tops[m], some[m]), cell, align=REGISTER_BYTES)

        def row(i: Any, _: list[Any]) -> list[Any]:
            def one(n: Any, _: list[Any]) -> list[Any]:
                for some in passes(context):
                    step(i, n, some)
                return []

            counted_loop(inner, steps, [], one)
            return []

        counted_loop(inner, rows, [], row)
        write_rounding(inner, I32(1))
        inner.ret_void()
        return nothing(context)

    ints = (types.intp,) * 4
    return (
        types.void(*ints, a, ae, types.intp, types.intp, b, be, registers, terms, types.int32, types.int32,
                   types.int64, types.uint32, left_scale, left_exponent, types.intp, types.intp, right_scale,
                   right_exponent, types.intp),
        codegen,
    )  # fmt: skip
