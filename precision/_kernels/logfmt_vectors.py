"""LogFMT's loops over tiles, 16 elements at a time, written in LLVM.

Two polynomials do the work: log2 of a float32 to 2**-21.3 binades, and 2**x to less than a unit in the last
place. Every operation is an IEEE one or a fused multiply-add, so any processor gives the same bits.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from llvmlite import ir
from numba import types

from precision._kernels._jit import intrinsic
from precision._kernels.building import counted_loop, declared, pointer, splat

_I32, _I64 = ir.IntType(32), ir.IntType(64)
_FLOAT, _DOUBLE = ir.FloatType(), ir.DoubleType()

LOG2 = (
    1.442699670791626, -0.7213758230209351, 0.48046624660491943, -0.3589631915092468,
    0.2972504496574402, -0.27268660068511963, 0.17065849900245667,
)  # fmt: skip
"""log2(1 + t) / t for t from sqrt(1/2) - 1 to sqrt(2) - 1, within 2**-21.6 after the product with t."""
EXP2 = (
    0.6931471824645996, 0.24022647738456726, 0.05550359562039375, 0.00961849931627512,
    0.0013390971580520272, 0.00015329332381952554,
)  # fmt: skip
"""(2**r - 1) / r for |r| <= 1/2, within 2**-28.3 after the product with r, relative to 2**r."""
LOG2_ERROR = 2.0**-21.3
"""Of the whole logarithm but for the rounding of its last sum; a test walks through every significand."""
RUNS = 16  # that one call of `encode` or `decode` takes, at most
AHEAD = 4096  # elements: a group of tiles of 128
_MIDDLE = 0x3F3504F3  # sqrt(1/2)
_MAGIC = 1.5 * 2.0**23  # added to a float32 it leaves the nearest whole number in the low bits


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
        self.count = 16 if "+avx512f" in context.codegen().magic_tuple()[2] else 8
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

            octet = ir.IntType(8).as_pointer()
            prefetch = declared(
                builder.module, ir.FunctionType(ir.VoidType(), [octet, _I32, _I32, _I32]), "llvm.prefetch.p0"
            )

            (places,) = lanes.space(1)

            def locate(k: Any, _: list[Any]) -> list[Any]:
                at = builder.gep(source, [k])
                # The next group's memory, which would else be read only when this one is done.
                ahead = builder.gep(source, [builder.add(k, _I64(AHEAD // lanes.count))])
                builder.call(prefetch, [builder.bitcast(ahead, octet), _I32(0), _I32(3), _I32(1)])
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
    """A tile's levels: level K is ``2**(exponent + first + step*K)``, the last two in two parts each.

    The high parts are multiples of 2**-18, so that ``first + step*K`` below 64 is exact without the low ones.
    """

    exponent: Any  #: float32, a whole number
    first: Any  #: float32, as the rest
    first_low: Any
    step: Any
    step_low: Any


@intrinsic
def decode(
    typingctx: Any, codes: Any, start: Any, runs: Any, ladder: Any, width: Any, out: Any, to: Any
) -> Any:
    """Values of up to RUNS runs of 16 codes of ``width`` bits, all normal numbers; 0 for K = 0.

    (To stream them past the caches made it slower.)
    """

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        lanes = _Lanes(context, builder)
        code_type = ir.VectorType(ir.IntType(codes.dtype.bitwidth), lanes.count)
        source = builder.bitcast(pointer(context, builder, codes, *args[:2]), code_type.as_pointer())
        target = builder.bitcast(pointer(context, builder, out, *args[5:]), lanes.floats.as_pointer())
        the = {name: builder.extract_value(args[3], i) for i, name in enumerate(Ladder._fields)}
        magic = lanes.splat(builder.fadd(the.pop("exponent"), _FLOAT(_MAGIC)))
        first, first_low, step, step_low = (lanes.splat(value) for value in the.values())
        size = builder.trunc(args[4], _I32)
        up = lanes.splat(builder.sub(_I32(32), size))
        mask = lanes.splat(builder.sub(builder.shl(_I32(1), builder.sub(size, _I32(1))), _I32(1)))

        rests, wholes, keeps = lanes.space(3)

        def split(k: Any, _: list[Any]) -> list[Any]:
            code = builder.zext(builder.load(builder.gep(source, [k]), align=1), lanes.words)
            place = builder.and_(code, mask)
            number = builder.sitofp(place, lanes.floats)
            x = lanes.fma(number, step, first)
            low = lanes.fma(number, step_low, first_low)
            shifted = builder.fadd(builder.fadd(x, low), magic)
            r = builder.fadd(builder.fsub(x, builder.fsub(shifted, magic)), low)
            lanes.keep(rests, k, r)
            sign = builder.and_(builder.shl(code, up), lanes.word(0x80000000))
            whole = builder.shl(builder.bitcast(shifted, lanes.words), lanes.word(23))
            lanes.keep(wholes, k, builder.add(whole, sign))
            nonzero = builder.sext(builder.icmp_signed(">", place, lanes.word(0)), lanes.words)
            lanes.keep(keeps, k, builder.or_(nonzero, lanes.word(0x80000000)))
            return []

        def join(k: Any, _: list[Any]) -> list[Any]:
            r = lanes.kept(rests, k, lanes.floats)
            # 1 + c0*r with its rounding error, to which the rest of the polynomial is added.
            c0, one = lanes.number(EXP2[0]), lanes.number(1.0)
            head = lanes.fma(c0, r, one)
            error = lanes.fma(c0, r, builder.fsub(one, head))
            tail = lanes.fma(builder.fmul(r, r), lanes.estrin(r, EXP2[1:]), error)
            value = builder.bitcast(builder.fadd(head, tail), lanes.words)
            value = builder.add(value, lanes.kept(wholes, k, lanes.words))
            value = builder.and_(value, lanes.kept(keeps, k, lanes.words))
            builder.store(builder.bitcast(value, lanes.floats), builder.gep(target, [k]), align=4)
            return []

        lanes.runs(args[2], split, [])
        lanes.runs(args[2], join, [])
        return context.get_dummy_value()

    signature = types.void(codes, types.intp, types.intp, ladder, types.intp, out, types.intp)
    return signature, codegen


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
