"""LogFMT's loops over tiles, 16 elements at a time, written in LLVM.

Two polynomials do the work: log2 of a float32 to 2**-21.4 binades, and 2**x to 0.75 units in the last place.
Every operation is an IEEE one or a fused multiply-add, so any processor gives the same bits.
"""

from __future__ import annotations

from functools import reduce
from typing import Any, NamedTuple

from llvmlite import ir
from numba import types

from precision._kernels._jit import intrinsic
from precision._kernels.building import (
    counted_loop,
    declared,
    own_function,
    pointer,
    splat,
)

_I32, _I64 = ir.IntType(32), ir.IntType(64)
_FLOAT, _DOUBLE = ir.FloatType(), ir.DoubleType()

LOG2 = (1.4426813125610352, -0.7213318943977356, 0.4853716194629669, -0.3645600378513336)
"""log2(1 + r) / r for |r| below 0.1121, within 2**-21.5 after the product with r."""
INVERSES = (0x3F63BDE0, 0x3F39E475, 0x3F1D7339, 0x3F08CDA3)
"""Bits of float32 next to 8/9, 8/11, 8/13 and 8/15, whose logarithms are nearly float32, too."""
LOGARITHMS = (0x3E2CCB94, 0x3EEC60CA, 0x3F338512, 0x3F676F3D)
"""Bits of -log2 of those."""
EXP2 = (0.6931470632553101, 0.24022643268108368, 0.055532075464725494, 0.009628419764339924)
"""(2**r - 1) / r for |r| <= 1/8, within 2**-28.29 after the product with r, relative to 2**r."""
QUARTERS = (0x3F8FB81B, 0x3FAAE96F, 0x3FCB3FE5, 0x3FF1B4B3)
"""Bits of 2**(SHIFT + j/4) rounded to float32, off by less than 0.006 units in the last place."""
SHIFT = 0.16710861803508978
"""log2 of the first, which is exact; chosen among all of them so that the other three are nearly so."""
LOG2_ERROR = 2.0**-21.4
"""Of the logarithm of a number from 1 to 2; a test walks through every one."""
GROUP = 32  # tiles that go through each stage together
AHEAD = 128 * GROUP  # elements: a group of tiles of 128
_WRITES_AHEAD = 1024  # elements: a page of values, whose end stops the processor's own fetching
_TOGETHER = 4  # registers of values made at a time, to hide latencies
_MAGIC_QUARTERS = 1.5 * 2.0**21  # added to a float32 it leaves the nearest quarters in the low bits


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


class _Lanes:
    """Types and constants of one register's lanes: 16 with AVX-512, else 8."""

    def __init__(self, context: Any, builder: Any) -> None:
        self.features = context.codegen().magic_tuple()[2].split(",")
        self.count = 16 if "+avx512f" in self.features else 8
        self.builder = builder
        self.words, self.floats, self.doubles, self.longs = (
            ir.VectorType(kind, self.count) for kind in (_I32, _FLOAT, _DOUBLE, _I64)
        )

    def word(self, value: int) -> Any:
        return ir.Constant(self.words, [value] * self.count)

    def number(self, value: float) -> Any:
        return ir.Constant(self.floats, [value] * self.count)

    def splat(self, value: Any) -> Any:
        return splat(self.builder, value, self.count)

    def fma(self, a: Any, b: Any, c: Any) -> Any:
        name = f"llvm.fma.v{self.count}{'f32' if a.type == self.floats else 'f64'}"
        signature = ir.FunctionType(a.type, [a.type] * 3)
        return self.builder.call(declared(self.builder.module, signature, name), [a, b, c])

    def permuted(self, table: Any, which: Any) -> Any:
        """For each lane one of the four floats that ``table`` repeats, by the two low bits of ``which``."""
        builder = self.builder
        if "+avx" in self.features:
            kind = "avx512.vpermilvar.ps.512" if self.count == 16 else "avx.vpermilvar.ps.256"
            signature = ir.FunctionType(self.floats, [self.floats, self.words])
            return builder.call(declared(builder.module, signature, f"llvm.x86.{kind}"), [table, which])
        odd, high = (
            builder.icmp_unsigned("!=", builder.and_(which, self.word(bit)), self.word(0)) for bit in (1, 2)
        )
        each = [builder.shuffle_vector(table, table, self.word(j)) for j in range(4)]
        low_half, high_half = (builder.select(odd, each[j + 1], each[j]) for j in (0, 2))
        return builder.select(high, high_half, low_half)

    def packed(self, words: list[Any], kind: Any) -> Any:
        """Registers of numbers that ``kind`` holds as one vector of it."""
        builder, count = self.builder, self.count
        if len(words) == 4 and count == 8 and "+avx2" in self.features:
            # Halves of registers are packed, each by itself, and put in order at last.
            short, octet = ir.VectorType(ir.IntType(16), 16), ir.VectorType(ir.IntType(8), 32)
            signature = ir.FunctionType(short, [self.words] * 2)
            pack = declared(builder.module, signature, "llvm.x86.avx2.packusdw")
            shorts = [builder.call(pack, words[i : i + 2]) for i in (0, 2)]
            if kind.width == 16:
                ordered = [self._ordered(x, (0, 2, 1, 3), _I64) for x in shorts]
                return builder.shuffle_vector(*ordered, ir.Constant(ir.VectorType(_I32, 8), list(range(8))))
            signature = ir.FunctionType(octet, [short] * 2)
            pack = declared(builder.module, signature, "llvm.x86.avx2.packuswb")
            return self._ordered(builder.call(pack, shorts), (0, 4, 1, 5, 2, 6, 3, 7), _I32)
        while len(words) > 1:
            size = 2 * words[0].type.count
            mask = ir.Constant(ir.VectorType(_I32, size), list(range(size)))
            words = [builder.shuffle_vector(*words[i : i + 2], mask) for i in range(0, len(words), 2)]
        return builder.trunc(words[0], ir.VectorType(kind, words[0].type.count))

    def _ordered(self, vector: Any, order: tuple[int, ...], kind: Any) -> Any:
        pieces = self.builder.bitcast(vector, ir.VectorType(kind, len(order)))
        return self.builder.shuffle_vector(
            pieces, pieces, ir.Constant(ir.VectorType(_I32, len(order)), order)
        )

    def repeated(self, table: Any) -> Any:
        """Bits of four floats, as `permuted` takes them."""
        return self.builder.bitcast(ir.Constant(self.words, list(table) * (self.count // 4)), self.floats)

    def fetch(self, place: Any, writes: bool) -> None:
        """Call for memory that is soon read, or written; any address will do."""
        octet = ir.IntType(8).as_pointer()
        signature = ir.FunctionType(ir.VoidType(), [octet, _I32, _I32, _I32])
        prefetch = declared(self.builder.module, signature, "llvm.prefetch.p0")
        place = self.builder.bitcast(place, octet)
        self.builder.call(prefetch, [place, _I32(int(writes)), _I32(3), _I32(1)])

    def several(self, count: Any, body: Any, carried: list[Any]) -> list[Any]:
        """``carried = body([k, k + 1, ...], carried)``: some registers at once, the rest one by one."""
        builder = self.builder
        together = builder.udiv(count, _I64(_TOGETHER))
        first = builder.mul(together, _I64(_TOGETHER))
        for times, start, each in ((together, _I64(0), _TOGETHER), (builder.sub(count, first), first, 1)):

            def some(k: Any, inner: list[Any], start: Any = start, each: int = each) -> list[Any]:
                one = builder.add(start, builder.mul(k, _I64(each)))
                return list(body([builder.add(one, _I64(i)) for i in range(each)], inner))

            before = builder.block
            with builder.if_then(builder.icmp_signed(">", times, _I64(0))):
                results = counted_loop(builder, times, carried, some)
                inside = builder.block
            merged = []
            for old, new in zip(carried, results, strict=True):
                phi = builder.phi(old.type)
                phi.add_incoming(old, before)
                phi.add_incoming(new, inside)
                merged.append(phi)
            carried = merged
        return carried


@intrinsic
def extremes(
    typingctx: Any, bits: Any, first: Any, tiles: Any, runs: Any, out: Any, to: Any, apart: Any
) -> Any:
    """The largest magnitude, the least nonzero one less 1 (wrapping), and the least; as bits.

    Of each of ``tiles`` tiles of ``runs`` runs of 16 float32, at least one; written to ``out[to]`` and what
    follows, in rows ``apart``.
    """

    def codegen(context: Any, outer: Any, sig: Any, args: Any) -> Any:
        source = pointer(context, outer, bits, *args[:2])
        target = pointer(context, outer, out, *args[4:6])
        arguments = [source, target, args[2], args[3], args[6]]
        (source, target, tiles_, runs_, apart_), builder = own_function(outer, "extremes", arguments)
        lanes = _Lanes(context, builder)
        source = builder.bitcast(source, lanes.words.as_pointer())
        registers = builder.mul(runs_, _I64(16 // lanes.count))
        none = lanes.word(0xFFFFFFFF)

        def magnitude(place: Any) -> Any:
            return builder.and_(builder.load(builder.gep(source, [place]), align=4), lanes.word(0x7FFFFFFF))

        def larger(a: Any, b: Any) -> Any:
            return builder.select(builder.icmp_unsigned(">", a, b), a, b)

        def smaller(a: Any, b: Any) -> Any:
            return builder.select(builder.icmp_unsigned("<", a, b), a, b)

        def over(name: str, vector: Any) -> Any:
            signature = ir.FunctionType(_I32, [lanes.words])
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
            low = builder.sub(least, _I32(1))
            before = builder.block
            with builder.if_then(builder.icmp_unsigned("==", least, _I32(0)), likely=False):
                (found,) = lanes.several(registers, nonzero, [none])
                found = over("umin", found)
                inside = builder.block
            above = builder.phi(_I32)
            above.add_incoming(low, before)
            above.add_incoming(found, inside)
            place = t
            for value in (largest, above, least):
                builder.store(value, builder.gep(target, [place]))
                place = builder.add(place, apart_)
            return []

        counted_loop(builder, tiles_, [], tile)
        builder.ret_void()
        return context.get_dummy_value()

    size = types.intp
    return types.void(bits, size, size, size, out, size, size), codegen


class _Places:
    """A tile's line in registers, and where elements lie on it."""

    def __init__(self, lanes: _Lanes, line: Line) -> None:
        builder = lanes.builder
        self.lanes = lanes
        exponent = builder.shl(builder.fptosi(line.exponent, _I32), _I32(23))
        self.start = lanes.splat(builder.add(exponent, _I32(127 << 23)))
        slope = lanes.splat(line.slope)
        self.rate = builder.fmul(slope, lanes.number(2.0**-23))
        inverses = builder.bitcast(lanes.repeated(INVERSES), lanes.words)
        inverses = builder.sub(inverses, lanes.splat(exponent))
        self.inverses = builder.bitcast(inverses, lanes.floats)
        self.levels = lanes.fma(lanes.repeated(LOGARITHMS), slope, lanes.splat(line.offset))
        self.polynomial = [builder.fmul(slope, lanes.number(c)) for c in LOG2]

    def of(self, magnitudes: list[Any]) -> list[Any]:
        """For some registers of bits, each step for all of them before the next."""
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


def _encoded(plain: bool) -> Any:
    @intrinsic
    def encoded(
        typingctx: Any, bits: Any, first: Any, tiles: Any, runs: Any, lines: Any, at: Any, width: Any,
        codes: Any, to: Any, opened: Any, marks: Any,
    ) -> Any:  # fmt: skip
        """Codes of ``tiles`` tiles of ``runs`` runs of 16 float32, of ``width`` bits; zeros keep their signs.

        Columns of ``lines`` from ``at`` are the tiles' `Line`s, in rows of GROUP; ``opened`` from ``at`` says
        of each whether an element is open. The plain loop is for tiles where nothing lies beyond the levels
        by half a step, but zeros far below them. The other one limits places to ``least`` and the highest
        level, and bit ``i & 7`` of ``marks[i >> 3]`` says whether element i is open.
        """

        def codegen(context: Any, outer: Any, sig: Any, args: Any) -> Any:
            source = pointer(context, outer, bits, *args[:2])
            numbers = pointer(context, outer, lines, *args[4:6])
            target = pointer(context, outer, codes, *args[7:9])
            flags = pointer(context, outer, opened, args[9], args[5])
            noted = pointer(context, outer, marks, args[10], _I64(0))
            arguments = [source, numbers, target, flags, noted, args[2], args[3], args[6]]
            parameters, builder = own_function(outer, "encode", arguments)
            source, numbers, target, flags, noted, tiles_, runs_, width_ = parameters
            lanes = _Lanes(context, builder)
            code = ir.IntType(codes.dtype.bitwidth)
            source = builder.bitcast(source, lanes.words.as_pointer())
            registers = builder.mul(runs_, _I64(16 // lanes.count))
            down = builder.sub(_I32(32), builder.trunc(width_, _I32))
            unit = builder.shl(_I32(1), down)
            fraction = lanes.splat(builder.sub(unit, _I32(1)))
            # The middle of the highest level.
            most = builder.fsub(_FLOAT(2.0**31), builder.fmul(builder.sitofp(unit, _FLOAT), _FLOAT(0.5)))
            zero = lanes.splat(builder.fmul(builder.sitofp(unit, _FLOAT), _FLOAT(0.5)))
            most, down = lanes.splat(most), lanes.splat(down)

            def tile(t: Any, _: list[Any]) -> list[Any]:
                line = Line(*(
                    builder.load(builder.gep(numbers, [builder.add(t, _I64(row * GROUP))]))
                    for row in range(len(Line._fields))
                ))  # fmt: skip
                line_places = _Places(lanes, line)
                limit = lanes.splat(builder.fptosi(line.open, _I32))
                least, below = lanes.splat(line.least), lanes.splat(line.below)
                start = builder.mul(t, registers)

                def body(places: list[Any], carried: list[Any]) -> list[Any]:
                    places = [builder.add(start, place) for place in places]
                    if plain:
                        # The next group's memory, which would else be read only when this one is done.
                        for place in places[:: 16 // lanes.count]:
                            place = builder.add(place, _I64(AHEAD // lanes.count))
                            lanes.fetch(builder.gep(source, [place]), False)
                    words = [builder.load(builder.gep(source, [place]), align=4) for place in places]
                    magnitudes = [builder.and_(word, lanes.word(0x7FFFFFFF)) for word in words]
                    found = line_places.of(magnitudes)
                    if plain:
                        found = [builder.select(builder.fcmp_ordered(">", x, zero), x, zero) for x in found]
                    else:
                        under = [builder.fcmp_ordered("<", x, below) for x in found]
                        found = [builder.select(builder.fcmp_ordered(">", x, least), x, least) for x in found]
                        found = [builder.select(builder.fcmp_ordered("<", x, most), x, most) for x in found]
                    results = [builder.fptosi(x, lanes.words) for x in found]
                    rests = [builder.and_(result, fraction) for result in results]
                    if not plain:
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
                    where = builder.gep(target, [builder.mul(places[0], _I64(lanes.count))])
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
            return context.get_dummy_value()

        size = types.intp
        return types.void(bits, size, size, size, lines, size, size, codes, size, opened, marks), codegen

    return encoded


encode_plain, encode_marked = _encoded(True), _encoded(False)


class Ladder(NamedTuple):
    """A tile's levels: level K is ``2**(exponent + SHIFT + first + step*K)``, the last two in two parts each.

    The high parts are multiples of 2**-18, so that ``first + step*K`` below 64 is exact without the low ones.
    Steps are of a code that is shifted to the top of 32 bits: ``2**(bits - 32)`` of the tile's.
    """

    exponent: Any  #: float32, a whole number
    first: Any  #: float32, as the rest
    first_low: Any
    step: Any
    step_low: Any


def _power(lanes: _Lanes, near: Any) -> Any:
    """2**(SHIFT + x) as bits, from the float32 ``_MAGIC_QUARTERS + x`` for x a multiple of 1/4."""
    builder = lanes.builder
    quarters = builder.bitcast(near, lanes.words)
    # What the two low bits add to the exponent's field is taken from the table beforehand.
    table = [value - (j << 21) for j, value in enumerate(QUARTERS)]
    found = builder.bitcast(lanes.permuted(lanes.repeated(table), quarters), lanes.words)
    return builder.add(found, builder.shl(quarters, lanes.word(21)))


def _values(lanes: _Lanes, codes: list[Any], up: Any, ladder: list[Any]) -> list[Any]:
    """Values of some registers of codes, each step for all of them before the next, to hide its latency."""
    builder = lanes.builder
    sum_, start, start_low, step, step_low = ladder
    words = [builder.shl(builder.zext(code, lanes.words), up) for code in codes]
    places = [builder.and_(word, lanes.word(0x7FFFFFFF)) for word in words]
    numbers = [builder.sitofp(place, lanes.floats) for place in places]
    xs = [lanes.fma(number, step, start) for number in numbers]
    lows = [lanes.fma(number, step_low, start_low) for number in numbers]
    nears = [builder.fadd(builder.fadd(x, low), sum_) for x, low in zip(xs, lows, strict=True)]
    rests = [
        builder.fadd(builder.fsub(x, builder.fsub(near, sum_)), low)
        for x, near, low in zip(xs, nears, lows, strict=True)
    ]
    powers = []
    for place, near in zip(places, nears, strict=True):
        nonzero = builder.sext(builder.icmp_signed(">", place, lanes.word(0)), lanes.words)
        powers.append(builder.bitcast(builder.and_(_power(lanes, near), nonzero), lanes.floats))
    values = []
    for word, r, power in zip(words, rests, powers, strict=True):
        tail = lanes.number(EXP2[3])
        for c in EXP2[2::-1]:
            tail = lanes.fma(tail, r, lanes.number(c))
        value = builder.bitcast(lanes.fma(builder.fmul(power, r), tail, power), lanes.words)
        value = builder.or_(value, builder.and_(word, lanes.word(0x80000000)))
        values.append(builder.bitcast(value, lanes.floats))
    return values


@intrinsic
def decode(
    typingctx: Any, codes: Any, start: Any, tiles: Any, runs: Any, ladders: Any, at: Any, width: Any,
    out: Any, to: Any,
) -> Any:  # fmt: skip
    """Values of ``tiles`` tiles of ``runs`` runs of 16 codes, all normal numbers; 0 for K = 0.

    Column ``at`` of ``ladders`` and those that follow are the tiles' `Ladder`s, in rows of GROUP.
    """

    def codegen(context: Any, outer: Any, sig: Any, args: Any) -> Any:
        source, numbers, target = (
            pointer(context, outer, kind, array, offset)
            for kind, array, offset in (
                (codes, args[0], args[1]),
                (ladders, args[4], args[5]),
                (out, args[7], args[8]),
            )
        )
        arguments = [source, numbers, target, args[2], args[3], args[6]]
        (source, numbers, target, tiles_, runs_, width_), builder = own_function(outer, "decode", arguments)
        lanes = _Lanes(context, builder)
        code_type = ir.VectorType(ir.IntType(codes.dtype.bitwidth), lanes.count)
        source = builder.bitcast(source, code_type.as_pointer())
        target = builder.bitcast(target, lanes.floats.as_pointer())
        up = lanes.splat(builder.sub(_I32(32), builder.trunc(width_, _I32)))
        registers = builder.mul(runs_, _I64(16 // lanes.count))
        ahead = _I64(_WRITES_AHEAD // lanes.count)

        def tile(t: Any, _: list[Any]) -> list[Any]:
            ladder = []
            for row in range(len(Ladder._fields)):
                place = builder.gep(numbers, [builder.add(t, _I64(row * GROUP))])
                ladder.append(lanes.splat(builder.load(place)))
            ladder[0] = builder.fadd(ladder[0], lanes.number(_MAGIC_QUARTERS))

            first = builder.mul(t, registers)

            def body(places: list[Any], _: list[Any]) -> list[Any]:
                places = [builder.add(first, place) for place in places]
                some = [builder.load(builder.gep(source, [place]), align=1) for place in places]
                for place in places[:: 16 // lanes.count]:
                    lanes.fetch(builder.gep(target, [builder.add(place, ahead)]), True)
                for place, value in zip(places, _values(lanes, some, up, ladder), strict=True):
                    builder.store(value, builder.gep(target, [place]), align=4)
                return []

            lanes.several(registers, body, [])
            return []

        counted_loop(builder, tiles_, [], tile)
        builder.ret_void()
        return context.get_dummy_value()

    size = types.intp
    return types.void(codes, size, size, size, ladders, size, size, out, size), codegen


@intrinsic
def log2_of(typingctx: Any, bits: Any, runs: Any, out: Any) -> Any:
    """The polynomial log2 of runs of 16 float32, for the test of its error."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        lanes = _Lanes(context, builder)
        source = builder.bitcast(pointer(context, builder, bits, args[0], _I64(0)), lanes.words.as_pointer())
        target = builder.bitcast(pointer(context, builder, out, args[2], _I64(0)), lanes.floats.as_pointer())

        places = _Places(lanes, Line(*(_FLOAT(x) for x in (0.0, 1.0, 0.0, 0.0, 0.0, 0.0))))

        def body(k: Any, _: list[Any]) -> list[Any]:
            bits_ = builder.load(builder.gep(source, [k]), align=4)
            builder.store(places.of([bits_])[0], builder.gep(target, [k]), align=4)
            return []

        counted_loop(builder, builder.mul(args[1], _I64(16 // lanes.count)), [], body)
        return context.get_dummy_value()

    return types.void(bits, types.intp, out), codegen
