"""LogFMT's loops over tiles, 16 elements at a time, written in LLVM.

Two polynomials do the work: log2 of a float32 to 2**-21.3 binades, and 2**x to 0.75 units in the last place.
Every operation is an IEEE one or a fused multiply-add, so any processor gives the same bits.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from llvmlite import ir
from numba import types

from precision._kernels._jit import intrinsic
from precision._kernels.building import (
    REGISTER_BYTES,
    counted_loop,
    declared,
    own_function,
    pointer,
    splat,
)

_I32, _I64 = ir.IntType(32), ir.IntType(64)
_FLOAT, _DOUBLE = ir.FloatType(), ir.DoubleType()

LOG2 = (
    1.442699670791626, -0.7213758230209351, 0.48046624660491943, -0.3589631915092468,
    0.2972504496574402, -0.27268660068511963, 0.17065849900245667,
)  # fmt: skip
"""log2(1 + t) / t for t from sqrt(1/2) - 1 to sqrt(2) - 1, within 2**-21.6 after the product with t."""
EXP2 = (0.6931470632553101, 0.24022643268108368, 0.055532075464725494, 0.009628419764339924)
"""(2**r - 1) / r for |r| <= 1/8, within 2**-28.29 after the product with r, relative to 2**r."""
QUARTERS = (0x3F8FB81B, 0x3FAAE96F, 0x3FCB3FE5, 0x3FF1B4B3)
"""Bits of 2**(SHIFT + j/4) rounded to float32, off by less than 0.006 units in the last place."""
SHIFT = 0.16710861803508978
"""log2 of the first, which is exact; chosen among all of them so that the other three are nearly so."""
LOG2_ERROR = 2.0**-21.3
"""Of the whole logarithm but for the rounding of its last sum; a test walks through every significand."""
RUNS = 16  # that one call of `encode` takes, at most
GROUP = 32  # tiles that go through each stage together
AHEAD = 128 * GROUP  # elements: a group of tiles of 128
_WRITES_AHEAD = 1024  # elements: a page of values, whose end stops the processor's own fetching
_TOGETHER = 4  # registers of values made at a time, to hide latencies
_MIDDLE = 0x3F3504F3  # sqrt(1/2)
_MAGIC = 1.5 * 2.0**23  # added to a float32 it leaves the nearest whole number in the low bits
_MAGIC_QUARTERS = 1.5 * 2.0**21  # the same of quarters


class Line(NamedTuple):
    """The place of an element on its tile's grid: ``log2(x * 2**-exponent) * slope + offset``; float32.

    The nearest whole number is the code. Places further than ``open`` from it, or below ``below``, are open.
    """

    exponent: Any  #: int32
    slope: Any
    offset: Any
    least: Any
    most: Any
    open: Any
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

    def estrin(self, x: Any, coefficients: tuple[float, ...]) -> Any:
        """A polynomial, in few dependent steps."""
        powers = x
        terms: list[Any] = [self.number(c) for c in coefficients]
        while len(terms) > 1:
            pairs = [self.fma(terms[i + 1], powers, terms[i]) for i in range(0, len(terms) - 1, 2)]
            terms = pairs + terms[len(terms) - len(terms) % 2 :]
            powers = self.builder.fmul(powers, powers) if len(terms) > 1 else powers
        return terms[0]

    def log2(self, bits: Any, start: Any) -> Any:
        """log2 of positive normal numbers, less the exponent in ``start = middle + (exponent << 23)``."""
        builder = self.builder
        distance = builder.sub(bits, start)
        binades = builder.sitofp(builder.ashr(distance, self.word(23)), self.floats)
        rest = builder.and_(distance, self.word(0x7FFFFF))
        significand = builder.bitcast(builder.add(rest, self.word(_MIDDLE)), self.floats)
        t = builder.fsub(significand, self.number(1.0))
        return self.fma(self.estrin(t, LOG2), t, binades)

    def fetch(self, place: Any, writes: bool) -> None:
        """Call for memory that is soon read, or written; any address will do."""
        octet = ir.IntType(8).as_pointer()
        signature = ir.FunctionType(ir.VoidType(), [octet, _I32, _I32, _I32])
        prefetch = declared(self.builder.module, signature, "llvm.prefetch.p0")
        place = self.builder.bitcast(place, octet)
        self.builder.call(prefetch, [place, _I32(int(writes)), _I32(3), _I32(1)])

    def space(self, arrays: int) -> list[Any]:
        """Arrays of RUNS runs in the stack frame, to hand values from one loop to the next.

        A loop that did all would need more constants than there are registers.
        """
        each = RUNS * 16 // self.count
        with self.builder.goto_entry_block():
            return [self.builder.alloca(self.words, each) for _ in range(arrays)]

    def keep(self, space: Any, k: Any, value: Any) -> None:
        """Write one of those."""
        self.builder.store(self.builder.bitcast(value, self.words), self.builder.gep(space, [k]))

    def kept(self, space: Any, k: Any, kind: Any) -> Any:
        """Read one."""
        return self.builder.bitcast(self.builder.load(self.builder.gep(space, [k])), kind)

    def runs(self, count: Any, body: Any, carried: list[Any]) -> list[Any]:
        """``body`` for each register's worth of ``count`` runs of 16."""
        return counted_loop(self.builder, self.builder.mul(count, _I64(16 // self.count)), carried, body)


@intrinsic
def extremes(typingctx: Any, bits: Any, first: Any, runs: Any, out: Any, to: Any, apart: Any) -> Any:
    """The largest magnitude, the least nonzero one less 1 (wrapping), and the least; as bits.

    Of ``runs`` runs of 16 float32, at least one; written to ``out[to]`` and ``apart`` further on each.
    """

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        lanes = _Lanes(context, builder)
        words = lanes.words
        source = builder.bitcast(pointer(context, builder, bits, *args[:2]), words.as_pointer())
        target = pointer(context, builder, out, *args[3:5])

        def body(k: Any, carried: list[Any]) -> list[Any]:
            word = builder.load(builder.gep(source, [k]), align=4)
            word = builder.and_(word, lanes.word(0x7FFFFFFF))
            below = builder.sub(word, lanes.word(1))
            largest, nonzero, least = carried
            return [
                builder.select(builder.icmp_unsigned(">", word, largest), word, largest),
                builder.select(builder.icmp_unsigned("<", below, nonzero), below, nonzero),
                builder.select(builder.icmp_unsigned("<", word, least), word, least),
            ]

        results = lanes.runs(args[2], body, [lanes.word(0), lanes.word(0xFFFFFFFF), lanes.word(0xFFFFFFFF)])
        for value, name in zip(results, ("umax", "umin", "umin"), strict=True):
            signature = ir.FunctionType(_I32, [words])
            name = f"llvm.vector.reduce.{name}.v{lanes.count}i32"
            builder.store(builder.call(declared(builder.module, signature, name), [value]), target)
            target = builder.gep(target, [args[5]])
        return context.get_dummy_value()

    return types.void(bits, types.intp, types.intp, out, types.intp, types.intp), codegen


def _encoded(plain: bool) -> Any:
    @intrinsic
    def encoded(
        typingctx: Any, bits: Any, first: Any, runs: Any, line: Any, width: Any, codes: Any, to: Any,
        marks: Any,
    ) -> Any:  # fmt: skip
        """Codes of up to RUNS runs of 16 float32, of ``width`` bits; whether an element is open is returned.

        Codes of zeros keep the sign. The plain loop is for tiles where nothing lies beyond the levels by half
        a step: only zeros have places below 1/2. The other one limits places to ``least`` and ``most``, and
        ``marks[i]`` says of each element whether it is open.
        """

        def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            lanes = _Lanes(context, builder)
            code_type = ir.VectorType(ir.IntType(codes.dtype.bitwidth), lanes.count)
            octets = ir.VectorType(ir.IntType(8), lanes.count)
            source = builder.bitcast(pointer(context, builder, bits, *args[:2]), lanes.words.as_pointer())
            target = builder.bitcast(pointer(context, builder, codes, *args[5:7]), code_type.as_pointer())
            noted = builder.bitcast(pointer(context, builder, marks, args[7], _I64(0)), octets.as_pointer())
            the = {name: builder.extract_value(args[3], i) for i, name in enumerate(Line._fields)}
            start = builder.add(builder.shl(the["exponent"], _I32(23)), _I32(_MIDDLE))
            start = lanes.splat(start)
            slope, offset, least, most, limit, below = (
                lanes.splat(the[name]) for name in ("slope", "offset", "least", "most", "open", "below")
            )
            size = builder.trunc(args[4], _I32)
            high = lanes.splat(builder.sub(_I32(32), size))
            sign_bit = lanes.splat(builder.shl(_I32(1), builder.sub(size, _I32(1))))
            mask = lanes.splat(builder.sub(builder.shl(_I32(1), builder.sub(size, _I32(1))), _I32(1)))
            absolute = declared(
                builder.module, ir.FunctionType(lanes.floats, [lanes.floats]), f"llvm.fabs.v{lanes.count}f32"
            )

            (places,) = lanes.space(1)

            def locate(k: Any, _: list[Any]) -> list[Any]:
                at = builder.gep(source, [k])
                # The next group's memory, which would else be read only when this one is done.
                lanes.fetch(builder.gep(source, [builder.add(k, _I64(AHEAD // lanes.count))]), False)
                magnitude = builder.and_(builder.load(at, align=4), lanes.word(0x7FFFFFFF))
                lanes.keep(places, k, lanes.fma(lanes.log2(magnitude, start), slope, offset))
                return []

            def round_(k: Any, carried: list[Any]) -> list[Any]:
                word = builder.load(builder.gep(source, [k]), align=4)
                place = lanes.kept(places, k, lanes.floats)
                lowest = lanes.number(0.0) if plain else least
                place = builder.select(builder.fcmp_ordered(">", place, lowest), place, lowest)
                if not plain:
                    place = builder.select(builder.fcmp_ordered("<", place, most), place, most)
                shifted = builder.fadd(place, lanes.number(_MAGIC))
                rest = builder.fsub(place, builder.fsub(shifted, lanes.number(_MAGIC)))
                rest = builder.call(absolute, [rest])
                if not plain:
                    under = builder.fcmp_ordered("<", place, below)
                    rest = builder.select(under, lanes.number(1.0), rest)
                code = builder.and_(builder.bitcast(shifted, lanes.words), mask)
                if not plain:
                    magnitude = builder.and_(word, lanes.word(0x7FFFFFFF))
                    nonzero = builder.icmp_signed(">", magnitude, lanes.word(0))
                    code = builder.select(nonzero, code, lanes.word(0))
                sign = builder.and_(builder.lshr(word, high), sign_bit)
                code = builder.trunc(builder.or_(code, sign), code_type)
                builder.store(code, builder.gep(target, [k]), align=1)
                if not plain:
                    undecided = builder.and_(builder.fcmp_ordered(">", rest, limit), nonzero)
                    builder.store(builder.zext(undecided, octets), builder.gep(noted, [k]), align=1)
                return [builder.select(builder.fcmp_ordered(">", rest, carried[0]), rest, carried[0])]

            lanes.runs(args[2], locate, [])
            (furthest,) = lanes.runs(args[2], round_, [lanes.number(0.0)])
            undecided = builder.fcmp_ordered(">", furthest, limit)
            undecided = builder.bitcast(undecided, ir.IntType(lanes.count))
            return builder.icmp_unsigned("!=", undecided, ir.IntType(lanes.count)(0))

        signature = types.boolean(bits, types.intp, types.intp, line, types.intp, codes, types.intp, marks)
        return signature, codegen

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
    if "+avx" in lanes.features:
        kind = "avx512.vpermilvar.ps.512" if lanes.count == 16 else "avx.vpermilvar.ps.256"
        signature = ir.FunctionType(lanes.floats, [lanes.floats, lanes.words])
        permute = declared(builder.module, signature, f"llvm.x86.{kind}")
        values = builder.bitcast(ir.Constant(lanes.words, table * (lanes.count // 4)), lanes.floats)
        found = builder.bitcast(builder.call(permute, [values, quarters]), lanes.words)
    else:
        odd, high = (
            builder.icmp_unsigned("!=", builder.and_(quarters, lanes.word(bit)), lanes.word(0))
            for bit in (1, 2)
        )
        low_half, high_half = (
            builder.select(odd, lanes.word(table[j + 1]), lanes.word(table[j])) for j in (0, 2)
        )
        found = builder.select(high, high_half, low_half)
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
        # Else registers would be kept on the stack across the ends of pages, at a tenth of the speed.
        builder.function.attributes.alignstack = REGISTER_BYTES
        lanes = _Lanes(context, builder)
        code_type = ir.VectorType(ir.IntType(codes.dtype.bitwidth), lanes.count)
        source = builder.bitcast(source, code_type.as_pointer())
        target = builder.bitcast(target, lanes.floats.as_pointer())
        up = lanes.splat(builder.sub(_I32(32), builder.trunc(width_, _I32)))
        registers = builder.mul(runs_, _I64(16 // lanes.count))
        together = builder.udiv(registers, _I64(_TOGETHER))
        left = builder.sub(registers, builder.mul(together, _I64(_TOGETHER)))

        ahead = _I64(_WRITES_AHEAD // lanes.count)

        def tile(t: Any, _: list[Any]) -> list[Any]:
            ladder = []
            for row in range(len(Ladder._fields)):
                place = builder.gep(numbers, [builder.add(t, _I64(row * GROUP))])
                ladder.append(lanes.splat(builder.load(place)))
            ladder[0] = builder.fadd(ladder[0], lanes.number(_MAGIC_QUARTERS))

            def several(first: Any, count: Any, each: int) -> None:
                def body(k: Any, _: list[Any]) -> list[Any]:
                    one = builder.add(first, builder.mul(k, _I64(each)))
                    places = [builder.add(one, _I64(i)) for i in range(each)]
                    some = [builder.load(builder.gep(source, [place]), align=1) for place in places]
                    for place in places[:: 16 // lanes.count]:
                        lanes.fetch(builder.gep(target, [builder.add(place, ahead)]), True)
                    for place, value in zip(places, _values(lanes, some, up, ladder), strict=True):
                        builder.store(value, builder.gep(target, [place]), align=4)
                    return []

                with builder.if_then(builder.icmp_signed(">", count, _I64(0))):
                    counted_loop(builder, count, [], body)

            first = builder.mul(t, registers)
            several(first, together, _TOGETHER)
            several(builder.add(first, builder.mul(together, _I64(_TOGETHER))), left, 1)
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

        def body(k: Any, _: list[Any]) -> list[Any]:
            bits_ = builder.load(builder.gep(source, [k]), align=4)
            builder.store(lanes.log2(bits_, lanes.word(_MIDDLE)), builder.gep(target, [k]), align=4)
            return []

        lanes.runs(args[1], body, [])
        return context.get_dummy_value()

    return types.void(bits, types.intp, out), codegen
