"""Loops over products written in LLVM, where Numba's own loops would leave registers unused.

The *lanes* are 64 columns of the right operand (float32) or 32 (float64): 256 bytes, which LLVM keeps in as
few registers as the processor has (four of 512 bits). Every loop walks ``count`` products of one row with all
lanes at once, its sums in registers.

Arrays are flat and contiguous; offsets count elements. The right operand's arrays are aligned to 64 bytes,
and their offsets are whole vectors. `_plain_vectors` has the same loops in Python.
"""

from __future__ import annotations

import functools
from typing import Any

from llvmlite import ir
from numba import types

from precision._kernels import _plain_vectors as plain
from precision._kernels._jit import intrinsic
from precision._kernels._llvm_pieces import (
    I16,
    I32,
    I64,
    REGISTER_BYTES,
    VECTOR_BYTES,
    counted_loop,
    declared,
    larger,
    lowest,
    own_function,
    passes,
    splat,
    write_rounding,
)
from precision._kernels._numba_codegen import llvm_loop, nothing, pointer, prefer_wide_vectors

WIDE_LANES = 32


@intrinsic
def set_rounding(typingctx: Any, mode: Any) -> Any:
    """Set this thread's rounding of float arithmetic: 0 toward zero, 1 to nearest even (the default)."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        write_rounding(builder, args[0])
        return nothing(context)

    return types.void(types.int32), codegen


@intrinsic
def keep_apart(typingctx: Any) -> Any:
    """Keep the function that calls this first from being inlined, so that arithmetic keeps its rounding."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        builder.function.attributes.add("noinline")
        prefer_wide_vectors(builder.function)
        return nothing(context)

    return types.void(), codegen


@llvm_loop(plain.stream)
def stream(typingctx: Any, source: Any, s0: Any, target: Any, t0: Any, count: Any) -> Any:
    """Copy ``count`` elements to memory past the caches, which a normal store would first fill from there.

    Both places are aligned to 64 bytes, and ``count`` elements are a multiple of that.
    """
    each = 8 * REGISTER_BYTES // source.dtype.bitwidth

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        vector = ir.VectorType(ir.IntType(source.dtype.bitwidth), each)
        places = (
            pointer(context, builder, source, *args[:2]),
            pointer(context, builder, target, *args[2:4]),
        )
        reads, writes = (builder.bitcast(place, vector.as_pointer()) for place in places)
        mark = builder.module.add_metadata([I32(1)])

        def body(k: Any, _: list[Any]) -> list[Any]:
            value = builder.load(builder.gep(reads, [k]), align=REGISTER_BYTES)
            stored = builder.store(value, builder.gep(writes, [k]), align=REGISTER_BYTES)
            stored.set_metadata("nontemporal", mark)
            return []

        counted_loop(builder, builder.udiv(args[4], I64(each)), [], body)
        return nothing(context)

    if source.dtype != target.dtype:
        return None
    return types.void(source, types.intp, target, types.intp, types.intp), codegen


@llvm_loop(plain.largest_exponents)
def largest_exponents(typingctx: Any, count: Any, ae: Any, a0: Any, be: Any, b0: Any, out: Any) -> Any:
    """Write the largest ``ae[a0 + k] + be[b0 + k*32 + j]`` over k, saturating, into ``out[j]``; all int16."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        count, ae_, a0_, be_, b0_, out_ = args
        lanes, vector = WIDE_LANES, ir.VectorType(I16, WIDE_LANES)
        a = pointer(context, builder, ae, ae_, a0_)
        b = builder.bitcast(pointer(context, builder, be, be_, b0_), vector.as_pointer())
        target = builder.bitcast(pointer(context, builder, out, out_, I64(0)), vector.as_pointer())
        add = declared(builder.module, ir.FunctionType(vector, [vector] * 2), f"llvm.sadd.sat.v{lanes}i16")

        def body(k: Any, carried: list[Any]) -> list[Any]:
            row = splat(builder, builder.load(builder.gep(a, [k])), lanes)
            column = builder.load(builder.gep(b, [k]), align=REGISTER_BYTES)
            return [larger(builder, builder.call(add, [row, column]), carried[0])]

        (largest,) = counted_loop(builder, count, [lowest(vector)], body)
        builder.store(largest, target, align=REGISTER_BYTES)
        return nothing(context)

    return types.void(types.intp, ae, types.intp, be, types.intp, out), codegen


@llvm_loop(plain.add_cut_products)
def add_cut_products(typingctx: Any, count: Any, a: Any, a0: Any, b: Any, b0: Any, sums: Any) -> Any:
    """Add positive products to ``sums[:32]`` and the magnitudes of negative ones to ``sums[32:]``.

    ``b`` holds, for each k, the lanes' values with negative ones replaced by 0, then their
    negatives with negative ones replaced by 0. Every sum lies in one binade and rounding is
    toward zero, so each addition cuts its product's magnitude to a multiple of the sum's last
    place and is otherwise exact. Left operands are float32, ``b`` and ``sums`` float64.
    """
    registers = VECTOR_BYTES // REGISTER_BYTES

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        count, a_, a0_, b_, b0_, sums_ = args
        vector = ir.VectorType(ir.DoubleType(), 8)
        left = pointer(context, builder, a, a_, a0_)
        right = builder.bitcast(pointer(context, builder, b, b_, b0_), vector.as_pointer())
        target = builder.bitcast(pointer(context, builder, sums, sums_, I64(0)), vector.as_pointer())
        absolute = builder.module.declare_intrinsic("llvm.fabs", [ir.FloatType()])
        half = I64(registers)

        def add(some: range, k: Any, carried: list[Any]) -> list[Any]:
            x = builder.load(builder.gep(left, [k]))
            sign = builder.zext(builder.lshr(builder.bitcast(x, I32), I32(31)), I64)
            magnitude = builder.fpext(builder.call(absolute, [x]), ir.DoubleType())
            row = splat(builder, magnitude, vector.count)
            first = builder.mul(k, I64(2 * registers))
            # A negative left operand swaps the two halves.
            shift = builder.mul(sign, half)
            starts = (builder.add(first, shift), builder.sub(builder.add(first, half), shift))
            results = []
            for side, start in enumerate(starts):
                for n, i in enumerate(some):
                    column = builder.load(
                        builder.gep(right, [builder.add(start, I64(i))]), align=REGISTER_BYTES
                    )
                    product = builder.fmul(row, column, flags=("contract",))
                    total = builder.fadd(carried[side * len(some) + n], product, flags=("contract",))
                    results.append(total)
            return results

        for some in passes(context):
            places = [builder.gep(target, [I64(side + i)]) for side in (0, registers) for i in some]
            initial = [builder.load(place, align=REGISTER_BYTES) for place in places]
            results = counted_loop(builder, count, initial, functools.partial(add, some))
            for value, place in zip(results, places, strict=True):
                builder.store(value, place, align=REGISTER_BYTES)
        return nothing(context)

    return types.void(types.intp, a, types.intp, b, types.intp, sums), codegen


@llvm_loop(plain.add_scaled)
def add_scaled(
    typingctx: Any, rows: Any, lanes: Any, registers: Any, totals: Any, left: Any, l0: Any, right: Any,
    left_first: Any,
) -> Any:  # fmt: skip
    """Add a tile's registers to its totals, scaled, and clear them; ``lanes`` is a multiple of 16.

    A total takes ``fma(fl(register * left), right, total)`` where the left scale comes first, else
    ``fma(register, fl(left * right), total)``.
    """

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        arrays = [(registers, args[2], I64(0)), (totals, args[3], I64(0)), (left, args[4], args[5]),
                  (right, args[6], I64(0))]  # fmt: skip
        first = builder.zext(args[7], I32) if args[7].type.width < 32 else args[7]
        parameters, inner = own_function(
            builder, "add_scaled", [*args[:2], first, *(pointer(context, builder, *x) for x in arrays)]
        )
        rows, lanes, first, *places = parameters
        first = inner.icmp_unsigned("!=", first, I32(0))
        vector = ir.VectorType(ir.FloatType(), 16)
        source, target, left_scale, right_scale = places
        ones = ir.Constant(vector, [1.0] * 16)
        count = inner.udiv(lanes, I64(16))
        fma = declared(inner.module, ir.FunctionType(vector, [vector] * 3), "llvm.fma.v16f32")

        def row(i: Any, _: list[Any]) -> list[Any]:
            scale = splat(inner, inner.load(inner.gep(left_scale, [i])), 16)
            # One of the two factors is 1.
            before, after = inner.select(first, scale, ones), inner.select(first, ones, scale)

            def some(j: Any, _: list[Any]) -> list[Any]:
                at = inner.mul(j, I64(16))
                place = inner.add(inner.mul(i, lanes), at)
                register, total, factor = (
                    inner.bitcast(inner.gep(x, [n]), vector.as_pointer())
                    for x, n in ((source, place), (target, place), (right_scale, at))
                )
                partial = inner.fmul(inner.load(register, align=REGISTER_BYTES), before)
                scaled = inner.fmul(after, inner.load(factor, align=REGISTER_BYTES))
                result = inner.call(fma, [partial, scaled, inner.load(total, align=REGISTER_BYTES)])
                inner.store(result, total, align=REGISTER_BYTES)
                inner.store(ir.Constant(vector, [0.0] * 16), register, align=REGISTER_BYTES)
                return []

            counted_loop(inner, count, [], some)
            return []

        counted_loop(inner, rows, [], row)
        inner.ret_void()
        return nothing(context)

    ints = (types.intp,) * 2
    return (
        types.void(*ints, registers, totals, left, types.intp, right, types.boolean),
        codegen,
    )


@llvm_loop(plain.chain_products)
def chain_products(typingctx: Any, count: Any, a: Any, a0: Any, b: Any, b0: Any, sums: Any, s0: Any) -> Any:
    """Add ``a[a0 + k] * b[b0 + k*lanes + j]`` to ``sums[s0 + j]`` for each k in turn, by float32 FMAs."""
    registers = VECTOR_BYTES // REGISTER_BYTES

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        count, a_, a0_, b_, b0_, sums_, s0_ = args
        vector = ir.VectorType(ir.FloatType(), 16)
        left = pointer(context, builder, a, a_, a0_)
        right = builder.bitcast(pointer(context, builder, b, b_, b0_), vector.as_pointer())
        target = builder.bitcast(pointer(context, builder, sums, sums_, s0_), vector.as_pointer())
        places = [builder.gep(target, [I64(i)]) for i in range(registers)]
        fma = declared(builder.module, ir.FunctionType(vector, [vector] * 3), "llvm.fma.v16f32")

        def body(k: Any, carried: list[Any]) -> list[Any]:
            row = splat(builder, builder.load(builder.gep(left, [k])), 16)
            first = builder.mul(k, I64(registers))
            results = []
            for i in range(registers):
                place = builder.gep(right, [builder.add(first, I64(i))])
                column = builder.load(place, align=REGISTER_BYTES)
                results.append(builder.call(fma, [row, column, carried[i]]))
            return results

        initial = [builder.load(place, align=REGISTER_BYTES) for place in places]
        for value, place in zip(counted_loop(builder, count, initial, body), places, strict=True):
            builder.store(value, place, align=REGISTER_BYTES)
        return nothing(context)

    return types.void(types.intp, a, types.intp, b, types.intp, sums, types.intp), codegen
