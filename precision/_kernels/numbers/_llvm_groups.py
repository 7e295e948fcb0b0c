"""Loops over groups of 16 or 32 neighbours written in LLVM, with a group or a run of 16 as one vector.

`_plain_groups` has the same loops in Python.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types

from precision._kernels._llvm_pieces import counted_loop, declared, splat
from precision._kernels._numba_codegen import llvm_loop, nothing, pointer, tuple_field
from precision._kernels.numbers import _plain_groups as plain

_I32 = ir.IntType(32)
_I64 = ir.IntType(64)

TILE = 4096  # elements: 16 KiB of float32


def _largest(group: int) -> Any:
    """Make the loop for groups of this size."""

    @llvm_loop(plain.largest(group))
    def largest(typingctx: Any, x: Any, first: Any, count: Any, out: Any, to: Any) -> Any:
        """Write bits of the largest magnitude of ``count`` groups, at least one; NaN is the largest."""

        def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            vector = ir.VectorType(_I32, group)
            source = pointer(context, builder, x, *args[:2])
            target = pointer(context, builder, out, *args[3:])
            mask = ir.Constant(vector, [0x7FFFFFFF] * group)
            name = f"llvm.vector.reduce.umax.v{group}i32"
            reduce = declared(builder.module, ir.FunctionType(_I32, [vector]), name)

            def body(k: Any, _: list[Any]) -> list[Any]:
                place = builder.gep(source, [builder.mul(k, _I64(group))])
                bits = builder.load(builder.bitcast(place, vector.as_pointer()), align=4)
                builder.store(builder.call(reduce, [builder.and_(bits, mask)]), builder.gep(target, [k]))
                return []

            counted_loop(builder, args[2], [], body)
            return nothing(context)

        return types.void(x, types.intp, types.intp, out, types.intp), codegen

    return largest


def _fields(context: Any, builder: Any, kind: Any, value: Any, lanes: int) -> Any:
    """Return a function that gives a tuple's numbers by name, as vectors of words or (float32) of floats."""

    def field(name: str) -> Any:
        return splat(builder, tuple_field(context, builder, kind, value, name), lanes)

    return field


def _pairs_of_runs(builder: Any, runs: Any, body: Any) -> None:
    """Write ``body(k, 32)`` for each pair of runs of 16, k and k + 1, and ``body(k, 16)`` for an odd one."""
    pairs = builder.lshr(runs, _I64(1))

    def pair(k: Any, _: list[Any]) -> list[Any]:
        body(builder.shl(k, _I64(1)), 32)
        return []

    with builder.if_then(builder.icmp_signed(">", pairs, _I64(0)), likely=True):
        counted_loop(builder, pairs, [], pair)
    with builder.if_then(builder.trunc(runs, ir.IntType(1)), likely=False):
        body(builder.sub(runs, _I64(1)), 16)


def _each_run(builder: Any, factors: Any, k: Any, places: Any, lanes: int) -> Any:
    """Return the factors of one or two runs, in their lanes."""
    halves = []
    for run in range(lanes // 16):
        place = builder.lshr(builder.add(k, _I64(run)), places)
        halves.append(splat(builder, builder.load(builder.gep(factors, [place])), 16))
    if lanes == 16:
        return halves[0]
    order = ir.Constant(ir.VectorType(_I32, lanes), list(range(lanes)))
    return builder.shuffle_vector(*halves, order)


def _decoded(kind: str, streams: bool) -> Any:
    """Make the loop for a kind of format, whose stores go past the caches where it ``streams``."""

    @llvm_loop(plain.decoded(kind))
    def decoded(
        typingctx: Any, codes: Any, first: Any, how: Any, factors: Any, places: Any, count: Any, out: Any,
        to: Any,
    ) -> Any:  # fmt: skip
        """Write values of ``count`` runs of 16 codes, at least one; run k has the factor ``k >> places``.

        A value is the product of a factor and of what `decode_value` gives; of ``"finite"`` codes none may be
        Inf or NaN. Where it ``streams`` past the caches, ``out`` is aligned to 16 bytes.
        """

        def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            source = pointer(context, builder, codes, *args[:2])
            factor = pointer(context, builder, factors, args[3], _I64(0))
            target = pointer(context, builder, out, *args[6:])
            mark = builder.module.add_metadata([_I32(1)])

            def body(k: Any, lanes: int) -> None:
                words, floats = ir.VectorType(_I32, lanes), ir.VectorType(ir.FloatType(), lanes)
                octets = ir.VectorType(ir.IntType(8), lanes)
                the = _fields(context, builder, sig.args[2], args[2], lanes)

                def constant(value: int) -> Any:
                    return ir.Constant(words, [value] * lanes)

                def magnitude(size: Any) -> Any:
                    value = builder.shl(builder.add(size, the("offset")), the("shift"))
                    if kind == "finite":
                        # Below the lowest normal value v, twice what is read as normal is too large by v;
                        # elsewhere that is no less than it.
                        value = builder.bitcast(value, floats)
                        hidden = builder.shl(builder.add(the("hidden"), the("offset")), the("shift"))
                        twice = builder.fsub(builder.fadd(value, value), builder.bitcast(hidden, floats))
                        least = builder.select(builder.fcmp_ordered("<", value, twice), value, twice)
                        return builder.bitcast(least, words)
                    small = builder.fmul(builder.sitofp(size, floats), the("quantum"))
                    normal = builder.icmp_unsigned(">=", size, the("hidden"))
                    value = builder.select(normal, value, builder.bitcast(small, words))
                    infinite = builder.icmp_unsigned("==", size, the("infinity"))
                    special = builder.select(infinite, constant(0x7F800000), constant(0x7FC00000))
                    return builder.select(builder.icmp_unsigned("<=", size, the("last")), value, special)

                step = builder.shl(k, _I64(4))
                place = builder.bitcast(builder.gep(source, [step]), octets.as_pointer())
                goal = builder.bitcast(builder.gep(target, [step]), floats.as_pointer())
                code = builder.zext(builder.load(place, align=1), words)
                word = builder.shl(code, the("up"))
                if kind == "integer":
                    signed = builder.sitofp(builder.ashr(word, the("up")), floats)
                    value = builder.fmul(signed, the("quantum"))
                else:
                    size = magnitude(builder.and_(code, the("magnitude")))
                    sign = builder.and_(word, constant(0x80000000))
                    value = builder.bitcast(builder.or_(size, sign), floats)
                result = builder.fmul(value, _each_run(builder, factor, k, args[4], lanes))
                stored = builder.store(result, goal, align=16 if streams else 4)
                if streams:
                    stored.set_metadata("nontemporal", mark)

            _pairs_of_runs(builder, args[5], body)
            return nothing(context)

        signature = types.void(
            codes, types.intp, how, factors, types.intp, types.intp, out, types.intp
        )  # fmt: skip
        return signature, codegen

    return decoded


def _encoded(operation: str) -> Any:
    """Make the loop that multiplies by factors (``"fmul"``) or divides by them (``"fdiv"``)."""

    @llvm_loop(plain.encoded(operation))
    def encoded(
        typingctx: Any, x: Any, first: Any, factors: Any, places: Any, count: Any,
        short: Any, fmt: Any, codes: Any, to: Any,
    ) -> Any:  # fmt: skip
        """Write codes of ``count`` runs of 16, at least one; run k has the factor ``k >> places``.

        Numbers are rounded to nearest, ties to even, and saturate, as by `nearest_code32`; runs under a
        factor of NaN get any codes. The memory of the next tile is called for beforehand, which would
        otherwise be read only when this one is done.
        """

        def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            source = pointer(context, builder, x, *args[:2])
            factor = pointer(context, builder, factors, args[2], _I64(0))
            target = pointer(context, builder, codes, *args[7:])
            octet = ir.IntType(8)
            prefetch = declared(
                builder.module,
                ir.FunctionType(ir.VoidType(), [octet.as_pointer(), _I32, _I32, _I32]),
                "llvm.prefetch.p0",
            )

            def body(k: Any, lanes: int) -> None:
                words, floats = ir.VectorType(_I32, lanes), ir.VectorType(ir.FloatType(), lanes)
                octets = ir.VectorType(octet, lanes)
                short = _fields(context, builder, sig.args[5], args[5], lanes)
                field = _fields(context, builder, sig.args[6], args[6], lanes)

                def constant(value: int) -> Any:
                    return ir.Constant(words, [value] * lanes)

                def byte(value: Any) -> Any:
                    return builder.trunc(value, octets)

                shift, lowest, most = (short(name) for name in ("shift", "threshold", "maximum"))
                up = builder.shl(shift, constant(23))
                step = builder.mul(k, _I64(16))
                place = builder.gep(source, [step])
                ahead = builder.gep(place, [_I64(TILE)])
                for line in range(0, lanes, 16):
                    where = builder.bitcast(builder.gep(ahead, [_I64(line)]), octet.as_pointer())
                    builder.call(prefetch, [where, _I32(0), _I32(3), _I32(1)])
                value = builder.load(builder.bitcast(place, floats.as_pointer()), align=4)
                each = _each_run(builder, factor, k, args[3], lanes)
                bits = builder.bitcast(getattr(builder, operation)(value, each), words)
                size = builder.and_(bits, constant(0x7FFFFFFF))
                size = builder.select(builder.icmp_unsigned("<", size, most), size, most)
                binade = builder.select(builder.icmp_unsigned(">", size, lowest), size, lowest)
                binade = builder.and_(binade, constant(0x7F800000))
                power = builder.bitcast(builder.add(binade, up), floats)
                total = builder.bitcast(builder.fadd(builder.bitcast(size, floats), power), words)
                # The sum's last byte counts quanta of the binade; the binade is added, modulo 2**8.
                code = byte(builder.add(total, builder.lshr(total, shift)))
                code = builder.sub(code, byte(builder.lshr(builder.add(lowest, up), shift)))
                sign = byte(builder.ashr(bits, constant(31)))
                code = builder.xor(code, builder.and_(sign, byte(field("negate_flip"))))
                code = builder.add(code, builder.and_(sign, byte(field("negate_base"))))
                goal = builder.bitcast(builder.gep(target, [step]), octets.as_pointer())
                builder.store(builder.and_(code, byte(field("mask"))), goal, align=1)

            _pairs_of_runs(builder, args[4], body)
            return nothing(context)

        signature = types.void(
            x, types.intp, factors, types.intp, types.intp, short, fmt, codes, types.intp
        )  # fmt: skip
        return signature, codegen

    return encoded


largest16, largest32 = _largest(16), _largest(32)
encode_products, encode_quotients = _encoded("fmul"), _encoded("fdiv")
any_values, finite_values, integer_values = (_decoded(kind, False) for kind in ("any", "finite", "integer"))
stream_finite, stream_integer = _decoded("finite", True), _decoded("integer", True)
