"""Operands of a product, looked up and laid out for the kernels over panels, as two loops in LLVM.

An element's code is looked up in a table of float32 values, or where the table is empty, its bits are those
of a float32 once they are shifted and masked. NaN and Inf become zeros, and are marked. An exponent is the
value's, but not less than ``least`` and less by ``reference``; a zero has the smallest number of its type.

`_plain_elements` has the same loops in Python.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types

from precision._kernels._llvm_pieces import I8, I16, I32, I64, counted_loop, declared, own_function, splat
from precision._kernels._numba_codegen import llvm_loop, nothing, pointer, processor_features
from precision._kernels.products import _plain_elements as plain

_FLOAT, _DOUBLE = ir.FloatType(), ir.DoubleType()
_VECTOR = 16  #: elements that are looked up at once


class _Reader:
    """Writes the code that reads some elements, one or `_VECTOR` at a time."""

    def __init__(self, context: Any, builder: Any, codes: Any, table: Any, numbers: list[Any]) -> None:
        self.builder, self.codes, self.table = builder, codes, table
        self.entries, self.shift, self.mask, self.least, self.reference = numbers
        self.gathers = "+avx512f" in processor_features(context)

    def _look_up(self, codes: Any, count: int) -> Any:
        """Return the bits of the table's values for some codes."""
        builder, words = self.builder, ir.VectorType(I32, count)
        if self.gathers and count == _VECTOR:
            reals, marks = ir.VectorType(_FLOAT, count), ir.VectorType(ir.IntType(1), count)
            signature = ir.FunctionType(reals, [reals, self.table.type, words, marks, I32])
            gather = declared(builder.module, signature, "llvm.x86.avx512.mask.gather.dps.512")
            zeros, every = ir.Constant(reals, [0.0] * count), ir.Constant(marks, [1] * count)
            return builder.bitcast(builder.call(gather, [zeros, self.table, codes, every, I32(4)]), words)
        found = ir.Constant(words, ir.Undefined)
        bits = builder.bitcast(self.table, I32.as_pointer())
        for i in range(count):
            place = builder.gep(bits, [builder.zext(builder.extract_element(codes, I32(i)), I64)])
            found = builder.insert_element(found, builder.load(place), I32(i))
        return found

    def read(self, place: Any, count: int) -> tuple[Any, Any]:
        """Return the bits of ``count`` elements' values from a place on, and which are NaN or Inf."""
        builder, words = self.builder, ir.VectorType(I32, count)
        kind = ir.VectorType(self.codes.type.pointee, count)
        at = builder.bitcast(builder.gep(self.codes, [place]), kind.as_pointer())
        codes = builder.load(at, align=1)
        codes = codes if kind.element == I32 else builder.zext(codes, words)
        with builder.if_else(builder.icmp_signed(">", self.entries, I64(0))) as (then, otherwise):
            with then:
                found, found_in = self._look_up(codes, count), builder.block
            with otherwise:
                own = builder.shl(codes, splat(builder, self.shift, count))
                own, own_in = builder.and_(own, splat(builder, self.mask, count)), builder.block
        bits = builder.phi(words)
        bits.add_incoming(found, found_in)
        bits.add_incoming(own, own_in)
        infinity = ir.Constant(words, [0x7F800000] * count)
        special = builder.icmp_unsigned("==", builder.and_(bits, infinity), infinity)
        return builder.select(special, ir.Constant(words, [0] * count), bits), special

    def exponents(self, bits: Any, width: int) -> Any:
        """Return the exponents of some values, as int32; ``width`` is that of their type."""
        builder, words = self.builder, bits.type
        count = words.count

        def constant(x: int) -> Any:
            return ir.Constant(words, [x] * count)

        if width == 8:
            field = builder.and_(builder.lshr(bits, constant(23)), constant(255))
            exponent = builder.sub(field, constant(127))
        else:  # of any float32: as float64, all of them are normal
            doubles = ir.VectorType(I64, count)
            value = builder.bitcast(bits, ir.VectorType(_FLOAT, count))
            value = builder.bitcast(builder.fpext(value, ir.VectorType(_DOUBLE, count)), doubles)
            field = builder.lshr(value, ir.Constant(doubles, [52] * count))
            field = builder.and_(builder.trunc(field, words), constant(2047))
            exponent = builder.sub(field, constant(1023))
        least = splat(builder, self.least, count)
        exponent = builder.select(builder.icmp_signed(">", exponent, least), exponent, least)
        exponent = builder.sub(exponent, splat(builder, self.reference, count))
        zero = builder.icmp_unsigned("==", builder.and_(bits, constant(0x7FFFFFFF)), constant(0))
        return builder.select(zero, constant(-(1 << (width - 1))), exponent)

    def each(self, count: Any, contiguous: Any, body: Callable[[Any, int], None]) -> None:
        """Write ``body(first, how many)`` for whole vectors of contiguous elements, then for single ones."""
        builder = self.builder
        whole = builder.select(contiguous, builder.udiv(count, I64(_VECTOR)), I64(0))
        done = builder.mul(whole, I64(_VECTOR))

        def several(k: Any, _: list[Any]) -> list[Any]:
            body(builder.mul(k, I64(_VECTOR)), _VECTOR)
            return []

        def one(k: Any, _: list[Any]) -> list[Any]:
            body(builder.add(done, k), 1)
            return []

        for times, part in ((whole, several), (builder.sub(count, done), one)):
            with builder.if_then(builder.icmp_signed(">", times, I64(0))):
                counted_loop(builder, times, [], part)

    def store(self, vector: Any, target: Any, place: Any) -> None:
        """Store a vector from an element of an array on."""
        size = {_FLOAT: 4, _DOUBLE: 8}.get(vector.type.element) or vector.type.element.width // 8
        at = self.builder.bitcast(self.builder.gep(target, [place]), vector.type.as_pointer())
        self.builder.store(vector, at, align=size)


@llvm_loop(plain.unpack_columns)
def unpack_columns(
    typingctx: Any, depth: Any, columns: Any, codes: Any, c0: Any, k_stride: Any, stride: Any,
    table: Any, shift: Any, mask: Any, least: Any, reference: Any,
    lanes: Any, halves: Any, values: Any, exponents: Any, marks: Any,
) -> Any:  # fmt: skip
    """Write values and exponents of a part of the right operand, [k][half][lane] and [k][lane].

    An element lies at ``c0 + k*k_stride + column*stride`` of ``codes``. With two halves, the first holds the
    values with negative ones replaced by 0, the second their negatives so. ``marks`` takes a 1 for each
    column with NaN or Inf, and keeps its others.
    """

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        arrays = [(codes, args[2], args[3]), (table, args[6], I64(0)), (values, args[13], I64(0)),
                  (exponents, args[14], I64(0)), (marks, args[15], I64(0))]  # fmt: skip
        entries = context.make_array(table)(context, builder, args[6]).nitems
        parameters, inner = own_function(
            builder, "unpack_columns",
            [*args[:2], *args[4:6], entries, *args[7:13], *(pointer(context, builder, *x) for x in arrays)],
        )  # fmt: skip
        depth, columns, k_stride, stride, *numbers = parameters[:9]
        lanes, halves, source, entry, target, places, seen = parameters[9:]
        reader = _Reader(context, inner, source, entry, numbers)
        width = places.type.pointee.width

        def line(k: Any, _: list[Any]) -> list[Any]:
            start, place = inner.mul(k, k_stride), inner.mul(k, lanes)
            at = inner.mul(place, halves)

            def some(j: Any, count: int) -> None:
                bits, special = reader.read(inner.add(start, inner.mul(j, stride)), count)
                octets = ir.VectorType(I8, count)
                mark = inner.bitcast(inner.gep(seen, [j]), octets.as_pointer())
                inner.store(inner.or_(inner.load(mark, align=1), inner.zext(special, octets)), mark, align=1)
                exponent = reader.exponents(bits, width)
                exponent = inner.trunc(exponent, ir.VectorType(ir.IntType(width), count))
                reader.store(exponent, places, inner.add(place, j))
                real = ir.VectorType(_FLOAT, count)
                value, zeros = inner.bitcast(bits, real), ir.Constant(real, [0.0] * count)
                negative = inner.bitcast(inner.xor(bits, ir.Constant(bits.type, [0x80000000] * count)), real)
                apart = inner.icmp_signed(">", halves, I64(1))
                for side, x in enumerate((value, negative)):
                    kept = inner.select(inner.fcmp_ordered(">", x, zeros), x, zeros)
                    kept = inner.select(apart, kept, x) if side == 0 else kept
                    if target.type.pointee == _DOUBLE:
                        kept = inner.fpext(kept, ir.VectorType(_DOUBLE, count))
                    to = inner.add(at, j)
                    if side == 0:
                        reader.store(kept, target, to)
                    else:
                        with inner.if_then(apart):
                            reader.store(kept, target, inner.add(to, lanes))

            reader.each(columns, inner.icmp_signed("==", stride, I64(1)), some)
            return []

        counted_loop(inner, depth, [], line)
        inner.ret_void()
        return nothing(context)

    ints = (types.intp,) * 2
    return (
        types.void(*ints, codes, types.intp, *ints, table, types.int32, types.uint32, types.int32,
                   types.int32, *ints, values, exponents, marks),
        codegen,
    )  # fmt: skip


@llvm_loop(plain.unpack_rows)
def unpack_rows(
    typingctx: Any, rows: Any, count: Any, depth: Any, codes: Any, c0: Any, row_stride: Any, stride: Any,
    table: Any, shift: Any, mask: Any, least: Any, reference: Any,
    values: Any, swaps: Any, exponents: Any, v0: Any, marks: Any, m0: Any,
) -> Any:  # fmt: skip
    """Write values and exponents of ``count`` elements of each of some left rows, [row][k of ``depth``].

    An element lies at ``c0 + row*row_stride + k*stride`` of ``codes``. Beyond ``count`` there are zeros. An
    exponent of uint32 is four equal bytes. Where ``swaps`` is not empty, values are magnitudes, and it holds
    256 for a negative element and 0 for others. ``marks[m0 + row]`` becomes 1 for a row with NaN or Inf.
    """

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        arrays = [(codes, args[3], args[4]), (table, args[7], I64(0)), (values, args[12], args[15]),
                  (swaps, args[13], args[15]), (exponents, args[14], args[15]),
                  (marks, args[16], args[17])]  # fmt: skip
        entries, sides = (
            context.make_array(kind)(context, builder, array).nitems
            for kind, array in ((table, args[7]), (swaps, args[13]))
        )
        parameters, inner = own_function(
            builder, "unpack_rows",
            [*args[:3], *args[5:7], entries, *args[8:12], sides,
             *(pointer(context, builder, *x) for x in arrays)],
        )  # fmt: skip
        rows, count, depth, row_stride, stride, *numbers = parameters[:10]
        sides, source, entry, target, swap, places, seen = parameters[10:]
        reader = _Reader(context, inner, source, entry, numbers)
        width = places.type.pointee.width

        def write(bits: Any, exponent: Any, to: Any) -> None:
            """Store some elements."""
            n = bits.type.count
            if width == 32:
                octet = inner.and_(exponent, ir.Constant(exponent.type, [255] * n))
                exponent = inner.mul(octet, ir.Constant(exponent.type, [0x01010101] * n))
            else:
                exponent = inner.trunc(exponent, ir.VectorType(ir.IntType(width), n))
            reader.store(exponent, places, to)
            apart = inner.icmp_signed(">", sides, I64(0))
            magnitude = inner.and_(bits, ir.Constant(bits.type, [0x7FFFFFFF] * n))
            reader.store(
                inner.bitcast(inner.select(apart, magnitude, bits), ir.VectorType(_FLOAT, n)), target, to
            )
            with inner.if_then(apart):
                side = inner.and_(inner.lshr(bits, ir.Constant(bits.type, [23] * n)),
                                  ir.Constant(bits.type, [256] * n))  # fmt: skip
                reader.store(inner.trunc(side, ir.VectorType(I16, n)), swap, to)

        def row(i: Any, _: list[Any]) -> list[Any]:
            start, at = inner.mul(i, row_stride), inner.mul(i, depth)

            def some(k: Any, n: int) -> None:
                bits, special = reader.read(inner.add(start, inner.mul(k, stride)), n)
                write(bits, reader.exponents(bits, 8 if width == 32 else width), inner.add(at, k))
                some_special = inner.bitcast(special, ir.IntType(n))
                # Threads mark the same row, so that none may write what it has read.
                with inner.if_then(inner.icmp_unsigned("!=", some_special, ir.IntType(n)(0))):
                    inner.store(I8(1), inner.gep(seen, [i]))

            reader.each(count, inner.icmp_signed("==", stride, I64(1)), some)
            rest = inner.sub(depth, count)
            one = ir.VectorType(I32, 1)
            lowest = ir.Constant(one, [-(1 << ((8 if width == 32 else width) - 1))])

            def none(k: Any, _: list[Any]) -> list[Any]:
                write(ir.Constant(one, [0]), lowest, inner.add(inner.add(at, count), k))
                return []

            with inner.if_then(inner.icmp_signed(">", rest, I64(0))):
                counted_loop(inner, rest, [], none)
            return []

        counted_loop(inner, rows, [], row)
        inner.ret_void()
        return nothing(context)

    ints = (types.intp,) * 3
    return (
        types.void(*ints, codes, *ints, table, types.int32, types.uint32, types.int32, types.int32,
                   values, swaps, exponents, types.intp, marks, types.intp),
        codegen,
    )  # fmt: skip
