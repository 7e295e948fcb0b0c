"""LogFMT's encoding loops over tiles in LLVM: extremes, and codes by float32 logarithms to 2**-21.4 binades.

`_plain_tiles` has the same loops in Python.
"""

from __future__ import annotations

from functools import reduce
from typing import Any, NamedTuple

from llvmlite import ir
from numba import types

from precision._kernels._llvm_pieces import counted_loop, declared, own_function
from precision._kernels._numba_codegen import llvm_loop, nothing, pointer
from precision._kernels.logfmt import _plain_tiles as plain
from precision._kernels.logfmt._llvm_lanes import FLOAT, GROUP, I32, I64, Lanes
from precision._kernels.logfmt._plain_tiles import INVERSES, LOG2, LOGARITHMS

LOG2_ERROR = 2.0**-21.4
"""A bound on the error of the logarithm of a number from 1 to 2; a test walks through every one."""
AHEAD = 128 * GROUP  # elements: a group of tiles of 128


class Line(NamedTuple):
    """The place of an element on its tile's grid: ``log2(x * 2**-exponent) * slope + offset``; float32.

    In units of ``2**(bits - 32)`` of a step. The whole number below it is the code, unless the rest is less
    than ``open`` or the place less than ``below``: such an element is open.
    """

    exponent: Any  #: a whole number from -126 to 100
    slope: Any
    offset: Any
    open: Any  #: a whole number
    least: Any
    below: Any


@llvm_loop(plain.extremes)
def extremes(
    typingctx: Any, bits: Any, first: Any, tiles: Any, runs: Any, out: Any, to: Any, apart: Any
) -> Any:
    """Write for each tile the bits of its largest magnitude, its least nonzero one less 1, and its least.

    There are ``tiles`` tiles of ``runs`` runs of 16 float32, at least one. The three go to ``out[to]`` and to
    ``apart`` and twice that many places behind it; the next tile's to the places that follow.
    """

    def codegen(context: Any, outer: Any, sig: Any, args: Any) -> Any:
        source = pointer(context, outer, bits, *args[:2])
        target = pointer(context, outer, out, *args[4:6])
        arguments = [source, target, args[2], args[3], args[6]]
        (source, target, tiles_, runs_, apart_), builder = own_function(outer, "extremes", arguments)
        lanes = Lanes(context, builder)
        source = builder.bitcast(source, lanes.words.as_pointer())
        registers = builder.mul(runs_, I64(16 // lanes.count))
        none = lanes.word(0xFFFFFFFF)

        def magnitude(place: Any) -> Any:
            return builder.and_(builder.load(builder.gep(source, [place]), align=4), lanes.word(0x7FFFFFFF))

        def larger(a: Any, b: Any) -> Any:
            return builder.select(builder.icmp_unsigned(">", a, b), a, b)

        def smaller(a: Any, b: Any) -> Any:
            return builder.select(builder.icmp_unsigned("<", a, b), a, b)

        def over(name: str, vector: Any) -> Any:
            signature = ir.FunctionType(I32, [lanes.words])
            name = f"llvm.vector.reduce.{name}.v{lanes.count}i32"
            return builder.call(declared(builder.module, signature, name), [vector])

        def tile(t: Any, _: list[Any]) -> list[Any]:
            start = builder.mul(t, registers)

            def both(places: list[Any], carried: list[Any]) -> list[Any]:
                words = [magnitude(builder.add(start, place)) for place in places]
                return [reduce(larger, words, carried[0]), reduce(smaller, words, carried[1])]

            def nonzero(places: list[Any], carried: list[Any]) -> list[Any]:
                words = [magnitude(builder.add(start, place)) for place in places]
                return [reduce(smaller, [builder.sub(word, lanes.word(1)) for word in words], carried[0])]

            largest, least = lanes.several(registers, both, [lanes.word(0), none])
            largest, least = over("umax", largest), over("umin", least)
            low = builder.sub(least, I32(1))
            before = builder.block
            with builder.if_then(builder.icmp_unsigned("==", least, I32(0)), likely=False):
                (found,) = lanes.several(registers, nonzero, [none])
                found = over("umin", found)
                inside = builder.block
            above = builder.phi(I32)
            above.add_incoming(low, before)
            above.add_incoming(found, inside)
            place = t
            for value in (largest, above, least):
                builder.store(value, builder.gep(target, [place]))
                place = builder.add(place, apart_)
            return []

        counted_loop(builder, tiles_, [], tile)
        builder.ret_void()
        return nothing(context)

    size = types.intp
    return types.void(bits, size, size, size, out, size, size), codegen


class Places:
    """A tile's line in registers, and where elements lie on it."""

    def __init__(self, lanes: Lanes, line: Line) -> None:
        builder = lanes.builder
        self.lanes = lanes
        exponent = builder.shl(builder.fptosi(line.exponent, I32), I32(23))
        self.start = lanes.splat(builder.add(exponent, I32(127 << 23)))
        slope = lanes.splat(line.slope)
        self.rate = builder.fmul(slope, lanes.number(2.0**-23))
        inverses = builder.bitcast(lanes.repeated(INVERSES), lanes.words)
        inverses = builder.sub(inverses, lanes.splat(exponent))
        self.inverses = builder.bitcast(inverses, lanes.floats)
        self.levels = lanes.fma(lanes.repeated(LOGARITHMS), slope, lanes.splat(line.offset))
        self.polynomial = [builder.fmul(slope, lanes.number(c)) for c in LOG2]

    def find(self, magnitudes: list[Any]) -> list[Any]:
        """Return the places of some registers of bits, each step for all of them before the next."""
        lanes, builder = self.lanes, self.lanes.builder
        up = [builder.and_(builder.sub(m, self.start), lanes.word(0xFF800000)) for m in magnitudes]
        # All with the line's exponent, which the inverse takes off.
        xs = [builder.bitcast(builder.sub(m, e), lanes.floats) for m, e in zip(magnitudes, up, strict=True)]
        which = [builder.lshr(m, lanes.word(21)) for m in magnitudes]
        inverses = [lanes.permuted(self.inverses, w) for w in which]
        levels = [lanes.permuted(self.levels, w) for w in which]
        rs = [lanes.fma(x, i, lanes.number(-1.0)) for x, i in zip(xs, inverses, strict=True)]
        sums = [
            lanes.fma(builder.sitofp(e, lanes.floats), self.rate, level)
            for e, level in zip(up, levels, strict=True)
        ]
        tails = [self.polynomial[3]] * len(rs)
        for c in self.polynomial[2::-1]:
            tails = [lanes.fma(tail, r, c) for tail, r in zip(tails, rs, strict=True)]
        return [lanes.fma(tail, r, sum_) for tail, r, sum_ in zip(tails, rs, sums, strict=True)]


def _encoded(marks_each: bool) -> Any:
    """Make the loop that marks each open element, or the one that tells only whether there are any."""

    @llvm_loop(plain.encoded(marks_each))
    def encoded(
        typingctx: Any, bits: Any, first: Any, tiles: Any, runs: Any, lines: Any, at: Any, width: Any,
        codes: Any, to: Any, opened: Any, marks: Any,
    ) -> Any:  # fmt: skip
        """Write codes of ``width`` bits of ``tiles`` tiles of ``runs`` runs of 16 float32.

        Zeros keep their signs. Columns of ``lines`` from ``at`` are the tiles' `Line`s, in rows of GROUP;
        ``opened`` from ``at`` says of each whether an element is open. The loop without marks is for tiles
        where nothing lies beyond the levels by half a step, but zeros far below them. The one with marks
        limits places to ``least`` and the highest level, and bit ``i & 7`` of ``marks[i >> 3]`` says whether
        element i is open.
        """

        def codegen(context: Any, outer: Any, sig: Any, args: Any) -> Any:
            source = pointer(context, outer, bits, *args[:2])
            numbers = pointer(context, outer, lines, *args[4:6])
            target = pointer(context, outer, codes, *args[7:9])
            flags = pointer(context, outer, opened, args[9], args[5])
            noted = pointer(context, outer, marks, args[10], I64(0))
            arguments = [source, numbers, target, flags, noted, args[2], args[3], args[6]]
            parameters, builder = own_function(outer, "encode", arguments)
            source, numbers, target, flags, noted, tiles_, runs_, width_ = parameters
            lanes = Lanes(context, builder)
            code = ir.IntType(codes.dtype.bitwidth)
            source = builder.bitcast(source, lanes.words.as_pointer())
            registers = builder.mul(runs_, I64(16 // lanes.count))
            down = builder.sub(I32(32), builder.trunc(width_, I32))
            unit = builder.shl(I32(1), down)
            fraction = lanes.splat(builder.sub(unit, I32(1)))
            # The middle of the places that have the highest code.
            most = builder.fsub(FLOAT(2.0**31), builder.fmul(builder.sitofp(unit, FLOAT), FLOAT(0.5)))
            zero = lanes.splat(builder.fmul(builder.sitofp(unit, FLOAT), FLOAT(0.5)))
            most, down = lanes.splat(most), lanes.splat(down)

            def tile(t: Any, _: list[Any]) -> list[Any]:
                line = Line(*(
                    builder.load(builder.gep(numbers, [builder.add(t, I64(row * GROUP))]))
                    for row in range(len(Line._fields))
                ))  # fmt: skip
                line_places = Places(lanes, line)
                limit = lanes.splat(builder.fptosi(line.open, I32))
                least, below = lanes.splat(line.least), lanes.splat(line.below)
                start = builder.mul(t, registers)

                def body(places: list[Any], carried: list[Any]) -> list[Any]:
                    places = [builder.add(start, place) for place in places]
                    if not marks_each:
                        # The next group's memory would otherwise be read only when this one is done.
                        for place in places[:: 16 // lanes.count]:
                            place = builder.add(place, I64(AHEAD // lanes.count))
                            lanes.fetch(builder.gep(source, [place]), False)
                    words = [builder.load(builder.gep(source, [place]), align=4) for place in places]
                    magnitudes = [builder.and_(word, lanes.word(0x7FFFFFFF)) for word in words]
                    found = line_places.find(magnitudes)
                    if not marks_each:
                        found = [builder.select(builder.fcmp_ordered(">", x, zero), x, zero) for x in found]
                    else:
                        under = [builder.fcmp_ordered("<", x, below) for x in found]
                        found = [builder.select(builder.fcmp_ordered(">", x, least), x, least) for x in found]
                        found = [builder.select(builder.fcmp_ordered("<", x, most), x, most) for x in found]
                    results = [builder.fptosi(x, lanes.words) for x in found]
                    rests = [builder.and_(result, fraction) for result in results]
                    if marks_each:
                        nonzero = [builder.icmp_signed(">", m, lanes.word(0)) for m in magnitudes]
                        results = [
                            builder.select(is_number, result, lanes.word(0))
                            for is_number, result in zip(nonzero, results, strict=True)
                        ]
                        near = [builder.icmp_signed("<", rest, limit) for rest in rests]
                        near = [builder.or_(*pair) for pair in zip(near, under, strict=True)]
                        near = [builder.and_(*pair) for pair in zip(near, nonzero, strict=True)]
                        rests = [builder.select(mark, lanes.word(0), lanes.word(0x7FFFFFFF)) for mark in near]
                        for place, mark in zip(places, near, strict=True):
                            mark = builder.bitcast(mark, ir.IntType(lanes.count))
                            where = builder.bitcast(noted, mark.type.as_pointer())
                            builder.store(mark, builder.gep(where, [place]), align=1)
                    signs = [builder.and_(word, lanes.word(0x80000000)) for word in words]
                    signed = [builder.or_(a, b) for a, b in zip(results, signs, strict=True)]
                    whole = [builder.lshr(a, down) for a in signed]
                    made = lanes.packed(whole, code)
                    where = builder.gep(target, [builder.mul(places[0], I64(lanes.count))])
                    builder.store(made, builder.bitcast(where, made.type.as_pointer()), align=1)

                    def smaller(a: Any, b: Any) -> Any:
                        return builder.select(builder.icmp_signed("<", a, b), a, b)

                    return [reduce(smaller, rests, carried[0])]

                (least_rest,) = lanes.several(registers, body, [lanes.word(0x7FFFFFFF)])
                near = builder.bitcast(builder.icmp_signed("<", least_rest, limit), ir.IntType(lanes.count))
                near = builder.icmp_unsigned("!=", near, ir.IntType(lanes.count)(0))
                builder.store(builder.zext(near, ir.IntType(8)), builder.gep(flags, [t]))
                return []

            counted_loop(builder, tiles_, [], tile)
            builder.ret_void()
            return nothing(context)

        size = types.intp
        return types.void(bits, size, size, size, lines, size, size, codes, size, opened, marks), codegen

    return encoded


encode_unmarked, encode_marked = _encoded(False), _encoded(True)
