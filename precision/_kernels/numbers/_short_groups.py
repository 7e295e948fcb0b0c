"""Fast loops for groups of 16 or 32 neighbours, which give the bits that the general loops give.

An inner loop over so short a group is either unrolled into scalar code or left to a remainder. So a tile,
which stays in the first-level cache, goes through each stage as a whole: all largest magnitudes, all
scales, all elements. The stages where groups matter are written in LLVM with a group as one vector; the
others are plain loops over a tile or its scales.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import types

from precision._kernels._jit import intrinsic, jit
from precision._kernels._llvm_pieces import counted_loop, declared, pointer, splat
from precision._kernels._params import FormatParams, ShortParams
from precision._kernels._scalar_rounding import (
    I32,
    U32,
    U64,
    bits32,
    decode_value,
    float32_of,
    left,
    nearest_code32,
    right,
)

U8 = np.uint8
_I32 = ir.IntType(32)
_I64 = ir.IntType(64)

# Of bits: NumPy's finfo keeps what it computed first, which is 0 under a caller's flush-to-zero.
SMALLEST, LARGEST = np.uint32(1).view(np.float32), np.finfo(np.float32).max
TILE = 4096  # elements: 16 KiB of float32


class Powers(NamedTuple):
    """How an amax becomes an E8M0 code: ``(bits + addend) >> 23``, less ``max_exponent``, within 0..254."""

    addend: int
    max_exponent: int


class Nested(NamedTuple):
    """How an amax becomes a scale under a tensor scale, and what its elements are scaled by. All float32.

    Divided: amax / maximum / tensor_scale, elements by fl(scale * tensor_scale). Multiplied (arXiv
    2509.25149, appendix B): amax / maximum * encode_scale, elements times 1 / fl(scale * tensor_scale).
    """

    maximum: Any
    tensor_scale: Any
    encode_scale: Any
    multiply: int


class Narrow(NamedTuple):
    """A scale format of at most 8 bits that has a NaN, subnormals, and a zero that no scale becomes."""

    short: ShortParams
    fmt: FormatParams
    smallest_code: int


class Elements(NamedTuple):
    """Everything that rounding elements needs."""

    short: ShortParams
    fmt: FormatParams
    nan: int  #: code of the elements of a group that holds NaN or Inf


class Decoding(NamedTuple):
    """A format of a sign and a magnitude (NaN above the largest), or of two's complement, to be decoded."""

    up: int  #: from a code's sign to a word's
    magnitude: int  #: mask
    hidden: int  #: the lowest normal magnitude
    offset: int  #: what makes a normal magnitude a float32's top bits, and their place
    shift: int
    last: int  #: largest magnitude that is a number
    infinity: int  #: magnitude, or one that there is not
    quantum: Any  #: float32


# ---- loops over groups, a group being one vector ------------------------------------------------------


def _largest(group: int) -> Any:
    @intrinsic
    def largest(typingctx: Any, x: Any, first: Any, count: Any, out: Any, to: Any) -> Any:
        """Bits of the largest magnitude of ``count`` groups, at least one; NaN counts as the largest."""

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
            return context.get_dummy_value()

        return types.void(x, types.intp, types.intp, out, types.intp), codegen

    return largest


def _fields(context: Any, builder: Any, kind: Any, value: Any, lanes: int) -> Any:
    """Gives a tuple's numbers by name, as vectors of words or (float32) of floats."""

    def field(name: str) -> Any:
        place = kind.fields.index(name)
        number = builder.extract_value(value, place)
        if kind.types[place] != types.float32:
            number = context.cast(builder, number, kind.types[place], types.uint32)
        return splat(builder, number, lanes)

    return field


def _pairs_of_runs(builder: Any, runs: Any, body: Any) -> None:
    """``body(k, 32)`` for each pair of runs of 16 from the k-th on, and ``body(k, 16)`` for an odd one."""
    pairs = builder.lshr(runs, _I64(1))

    def pair(k: Any, _: list[Any]) -> list[Any]:
        body(builder.shl(k, _I64(1)), 32)
        return []

    with builder.if_then(builder.icmp_signed(">", pairs, _I64(0)), likely=True):
        counted_loop(builder, pairs, [], pair)
    with builder.if_then(builder.trunc(runs, ir.IntType(1)), likely=False):
        body(builder.sub(runs, _I64(1)), 16)


def _each_run(builder: Any, factors: Any, k: Any, places: Any, lanes: int) -> Any:
    """The factors of one or two runs, in their lanes."""
    halves = []
    for run in range(lanes // 16):
        place = builder.lshr(builder.add(k, _I64(run)), places)
        halves.append(splat(builder, builder.load(builder.gep(factors, [place])), 16))
    if lanes == 16:
        return halves[0]
    order = ir.Constant(ir.VectorType(_I32, lanes), list(range(lanes)))
    return builder.shuffle_vector(*halves, order)


def _decoded(kind: str, streams: bool) -> Any:
    @intrinsic
    def decoded(
        typingctx: Any, codes: Any, first: Any, how: Any, factors: Any, places: Any, count: Any, out: Any,
        to: Any,
    ) -> Any:  # fmt: skip
        """Values of ``count`` runs of 16 codes, at least one; run k has the factor ``k >> places``.

        Products of a factor and what `decode_value` gives; of ``"finite"`` codes none may be Inf or NaN.
        Where it ``streams`` past the caches, ``out`` is aligned to 16 bytes.
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
            return context.get_dummy_value()

        signature = types.void(
            codes, types.intp, how, factors, types.intp, types.intp, out, types.intp
        )  # fmt: skip
        return signature, codegen

    return decoded


def _encoded(operation: str) -> Any:
    @intrinsic
    def encoded(
        typingctx: Any, x: Any, first: Any, factors: Any, places: Any, count: Any,
        short: Any, fmt: Any, codes: Any, to: Any,
    ) -> Any:  # fmt: skip
        """Codes of ``count`` runs of 16, at least one; run k has the factor ``k >> places``.

        Nearest even, saturating: what `rounding.nearest_code32` does, and the signs. Runs under a factor of
        NaN get any codes. The memory of the next tile is called for, which would else be read only when
        this one is done.
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
            return context.get_dummy_value()

        signature = types.void(
            x, types.intp, factors, types.intp, types.intp, short, fmt, codes, types.intp
        )  # fmt: skip
        return signature, codegen

    return encoded


_largest16, _largest32 = _largest(16), _largest(32)
_products, _quotients = _encoded("fmul"), _encoded("fdiv")
_any_values, _finite_values, _integer_values = (
    _decoded(kind, False) for kind in ("any", "finite", "integer")
)
_finite_stream, _integer_stream = _decoded("finite", True), _decoded("integer", True)


@jit
def _magnitudes(bits: Any, first: int, groups: int, group: int, out: Any, to: int) -> None:
    if group == 16:
        _largest16(bits, first, groups, out, to)
    else:
        _largest32(bits, first, groups, out, to)


# ---- loops over a tile ----------------------------------------------------------------------------------


@jit
def _power_codes(amax: Any, count: int, how: Powers, codes: Any, to: int, factors: Any) -> None:
    """E8M0 codes of the scales, and the reciprocals of the scales as bits.

    The quotient by a power of two is the product with its reciprocal, bit for bit: both are the same real
    number, rounded once, and every scale from 2**-127 to 2**127 has a reciprocal in float32.
    """
    addend, most = U32(how.addend), I32(how.max_exponent)
    for i in range(U64(count)):
        bits = amax[i]
        small = bits < U32(0x00800000)
        normal = bits32(np.float32(float32_of(bits) * np.float32(2.0**32))) if small else bits
        exponent = I32(I32(right(U32(normal + addend), U32(23))) - most)
        exponent = I32(exponent - I32(32)) if small else exponent
        exponent = exponent if exponent > I32(0) else I32(0)
        code = U32(exponent if exponent < I32(254) else I32(254))
        factor = left(U32(U32(254) - code), U32(23)) if code < U32(254) else U32(0x00400000)
        bad = bits >= U32(0x7F800000)
        factors[i] = U32(0x7FC00000) if bad else factor
        codes[U64(to) + i] = U32(255) if bad else code


@jit
def _nested_codes(
    amax: Any, count: int, how: Nested, target: Narrow, codes: Any, to: int, factors: Any
) -> None:
    """Codes of scales under a tensor scale, and what elements are divided (or multiplied) by, as bits."""
    short, fmt = target.short, target.fmt
    for i in range(U64(count)):
        quotient = np.float32(float32_of(amax[i]) / how.maximum)
        wanted = np.float32(quotient * how.encode_scale if how.multiply else quotient / how.tensor_scale)
        code = nearest_code32(min(bits32(wanted), U32(short.maximum)), short)
        code = max(code, U32(target.smallest_code))
        codes[U64(to) + i] = code if amax[i] < U32(0x7F800000) else U32(fmt.nan_code)
    for i in range(U64(count)):
        total = np.float32(decode_value(U32(codes[U64(to) + i]), fmt) * how.tensor_scale)
        divisor = SMALLEST if total == np.float32(0) else total
        multiplier = np.float32(np.float32(1) / total)
        multiplier = LARGEST if multiplier > LARGEST else multiplier  # not min: NaN stays
        factors[i] = bits32(multiplier if how.multiply else divisor)


@jit
def _any_nan(factors: Any, first: int, count: int) -> bool:
    largest = U32(0)
    for i in range(U64(count)):
        largest = max(largest, U32(factors[U64(first) + i] & U32(0x7FFFFFFF)))
    return bool(largest > U32(0x7F800000))


@jit
def _mark_nan(
    start: int, count: int, group: int, factors: Any, bits: Any, elements: Elements, codes: Any
) -> None:
    """The codes of groups whose factor is NaN."""
    if _any_nan(bits, 0, count // group):
        for j in range(count // group):
            if factors[j] != factors[j]:
                for i in range(group):
                    codes[start + j * group + i] = elements.nan


@jit
def quantize_powers(
    x: Any, bits: Any, group: int, how: Powers, scales: Any,
    factors: Any, factor_bits: Any, elements: Elements, codes: Any,
) -> None:  # fmt: skip
    """Codes of whole groups of float32 and their E8M0 scales. ``factors`` is scratch for a tile."""
    amax = np.empty(TILE // 16, np.uint32)
    for start in range(0, x.size, TILE):
        count = min(TILE, x.size - start)
        groups = count // group
        _magnitudes(bits, start, groups, group, amax, 0)
        _power_codes(amax, groups, how, scales, start // group, factor_bits)
        _products(x, start, factors, group // 32, count // 16, elements.short, elements.fmt, codes, start)
        _mark_nan(start, count, group, factors, factor_bits, elements, codes)


@jit
def quantize_nested(
    x: Any, bits: Any, group: int, how: Nested, target: Narrow, scales: Any,
    factors: Any, factor_bits: Any, elements: Elements, codes: Any,
) -> None:  # fmt: skip
    """Codes of whole groups of float32 and their scales under a tensor scale."""
    amax = np.empty(TILE // 16, np.uint32)
    for start in range(0, x.size, TILE):
        count = min(TILE, x.size - start)
        groups = count // group
        _magnitudes(bits, start, groups, group, amax, 0)
        _nested_codes(amax, groups, how, target, scales, start // group, factor_bits)
        if how.multiply:
            _products(x, start, factors, group // 32, count // 16, elements.short, elements.fmt, codes, start)
        else:
            _quotients(
                x, start, factors, group // 32, count // 16, elements.short, elements.fmt, codes, start
            )
        _mark_nan(start, count, group, factors, factor_bits, elements, codes)


@jit
def largest_finite(bits: Any, group: int) -> Any:
    """Bits of the largest magnitude of the groups without NaN and Inf; 0 if there is none."""
    most = U32(0)
    for i in range(U64(bits.size)):
        most = max(most, U32(bits[i] & U32(0x7FFFFFFF)))
    if most < U32(0x7F800000):
        return most
    amax = np.empty(TILE // 16, np.uint32)
    largest = U32(0)
    for start in range(0, bits.size, TILE):
        groups = min(TILE, bits.size - start) // group
        _magnitudes(bits, start, groups, group, amax, 0)
        for i in range(U64(groups)):
            value = amax[i] if amax[i] < U32(0x7F800000) else U32(0)
            largest = max(largest, value)
    return largest


# ---- values ---------------------------------------------------------------------------------------------


@jit
def _factors(scales: Any, first: int, count: int, fmt: FormatParams, tensor_scale: Any, out: Any) -> None:
    for j in range(U64(count)):
        out[j] = np.float32(decode_value(U32(scales[U64(first) + j]), fmt) * tensor_scale)


@jit
def _any_special(codes: Any, first: int, count: int, how: Decoding) -> bool:
    """Whether a code is Inf or NaN."""
    largest, mask = U8(0), U8(how.magnitude)
    for i in range(U64(count)):
        largest = max(largest, U8(codes[U64(first) + i] & mask))
    return bool(largest > how.last)


@jit
def dequantize(
    codes: Any, group: int, how: Decoding, signed: int, scales: Any, scale_format: FormatParams,
    tensor_scale: Any, streams: int, out: Any,
) -> None:  # fmt: skip
    """Values of whole groups: one product each of code and scale."""
    factors, places = np.empty(TILE // 16, np.float32), group // 32
    for start in range(0, codes.size, TILE):
        count = min(TILE, codes.size - start)
        _factors(scales, start // group, count // group, scale_format, tensor_scale, factors)
        runs = count // 16
        if signed:
            if streams:
                _integer_stream(codes, start, how, factors, places, runs, out, start)
            else:
                _integer_values(codes, start, how, factors, places, runs, out, start)
        elif _any_special(codes, start, count, how):
            _any_values(codes, start, how, factors, places, runs, out, start)
        elif streams:
            _finite_stream(codes, start, how, factors, places, runs, out, start)
        else:
            _finite_values(codes, start, how, factors, places, runs, out, start)
