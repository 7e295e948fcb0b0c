"""Fast loops for groups of 16 or 32 neighbours, which give the bits that the general loops give.

An inner loop over so short a group is either unrolled into scalar code or left to a remainder. So a tile,
which stays in the first-level cache, goes through each stage as a whole: all largest magnitudes, all
scales, all elements. The stages where groups matter are written in LLVM with a group as one vector; the
others are plain loops over a tile or its scales.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import types

from precision._kernels._jit import intrinsic, jit
from precision._kernels.params import FormatParams, ShortParams
from precision._kernels.rounding import (
    I32,
    U32,
    U64,
    always_inline,
    bits32,
    decode_value,
    float32_of,
    left,
    nearest_code32,
    right,
)
from precision._kernels.vector import _counted_loop, _declared, _pointer, _splat, stream

_I32 = ir.IntType(32)
_I64 = ir.IntType(64)

SMALLEST, LARGEST = np.finfo(np.float32).smallest_subnormal, np.finfo(np.float32).max
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


class Target(NamedTuple):
    """Where results go: straight into ``out``, or by way of a buffer past the caches.

    ``buffer`` is empty, or has `TILE` elements and one line of the cache; ``head`` elements of ``out`` lie
    before its first whole line.
    """

    out: Any
    head: int
    buffer: Any


# ---- loops over groups, a group being one vector ------------------------------------------------------


def _largest(group: int) -> Any:
    @intrinsic
    def largest(typingctx: Any, x: Any, first: Any, count: Any, out: Any, to: Any) -> Any:
        """Bits of the largest magnitude of ``count`` groups, at least one; NaN counts as the largest."""

        def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            vector = ir.VectorType(_I32, group)
            source = _pointer(context, builder, x, *args[:2])
            target = _pointer(context, builder, out, *args[3:])
            mask = ir.Constant(vector, [0x7FFFFFFF] * group)
            name = f"llvm.vector.reduce.umax.v{group}i32"
            reduce = _declared(builder.module, ir.FunctionType(_I32, [vector]), name)

            def body(k: Any, _: list[Any]) -> list[Any]:
                place = builder.gep(source, [builder.mul(k, _I64(group))])
                bits = builder.load(builder.bitcast(place, vector.as_pointer()), align=4)
                builder.store(builder.call(reduce, [builder.and_(bits, mask)]), builder.gep(target, [k]))
                return []

            _counted_loop(builder, args[2], [], body)
            return context.get_dummy_value()

        return types.void(x, types.intp, types.intp, out, types.intp), codegen

    return largest


def _scaled(group: int, operation: str) -> Any:
    @intrinsic
    def scaled(
        typingctx: Any, x: Any, first: Any, factors: Any, f0: Any, count: Any, out: Any, to: Any
    ) -> Any:
        """``count`` groups, at least one, each with its factor."""

        def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            vector = ir.VectorType(ir.FloatType(), group)
            source = _pointer(context, builder, x, *args[:2])
            factor = _pointer(context, builder, factors, *args[2:4])
            target = _pointer(context, builder, out, *args[5:])

            def body(k: Any, _: list[Any]) -> list[Any]:
                step = builder.mul(k, _I64(group))
                place = builder.bitcast(builder.gep(source, [step]), vector.as_pointer())
                goal = builder.bitcast(builder.gep(target, [step]), vector.as_pointer())
                each = _splat(builder, builder.load(builder.gep(factor, [k])), group)
                result = getattr(builder, operation)(builder.load(place, align=4), each)
                builder.store(result, goal, align=4)
                return []

            _counted_loop(builder, args[4], [], body)
            return context.get_dummy_value()

        signature = types.void(x, types.intp, factors, types.intp, types.intp, out, types.intp)
        return signature, codegen

    return scaled


def _encoded(group: int, operation: str) -> Any:
    @intrinsic
    def encoded(
        typingctx: Any, x: Any, first: Any, factors: Any, f0: Any, count: Any,
        short: Any, fmt: Any, codes: Any, to: Any,
    ) -> Any:  # fmt: skip
        """Codes of ``count`` groups, at least one, each with its factor: nearest even, saturating.

        What `rounding.nearest_code32` does, and the signs. No quotient may be NaN. The memory that the next
        tile lies in is called for: otherwise it would wait for this one to end.
        """

        def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            words = ir.VectorType(_I32, group)
            floats = ir.VectorType(ir.FloatType(), group)
            octets = ir.VectorType(ir.IntType(8), group)

            def constant(value: int) -> Any:
                return ir.Constant(words, [value] * group)

            def field(index: int, name: str) -> Any:
                place = sig.args[index].fields.index(name)
                value = builder.extract_value(args[index], place)
                value = context.cast(builder, value, sig.args[index].types[place], types.uint32)
                return _splat(builder, value, group)

            shift, lowest, most = (field(5, name) for name in ("shift", "threshold", "maximum"))
            flip, base, mask = (field(6, name) for name in ("negate_flip", "negate_base", "mask"))
            up = builder.shl(shift, constant(23))
            offset = builder.add(builder.lshr(lowest, shift), up)
            source = _pointer(context, builder, x, *args[:2])
            factor = _pointer(context, builder, factors, *args[2:4])
            target = _pointer(context, builder, codes, *args[7:])
            octet = ir.IntType(8).as_pointer()
            prefetch = _declared(
                builder.module, ir.FunctionType(ir.VoidType(), [octet, _I32, _I32, _I32]), "llvm.prefetch.p0"
            )

            def body(k: Any, _: list[Any]) -> list[Any]:
                step = builder.mul(k, _I64(group))
                place = builder.gep(source, [step])
                for line in range(0, group, 16):
                    ahead = builder.bitcast(builder.gep(place, [_I64(TILE + line)]), octet)
                    builder.call(prefetch, [ahead, _I32(0), _I32(3), _I32(1)])
                each = _splat(builder, builder.load(builder.gep(factor, [k])), group)
                value = builder.load(builder.bitcast(place, floats.as_pointer()), align=4)
                bits = builder.bitcast(getattr(builder, operation)(value, each), words)
                size = builder.and_(bits, constant(0x7FFFFFFF))
                size = builder.select(builder.icmp_unsigned("<", size, most), size, most)
                binade = builder.select(builder.icmp_unsigned(">", size, lowest), size, lowest)
                binade = builder.and_(binade, constant(0x7F800000))
                power = builder.bitcast(builder.add(binade, up), floats)
                total = builder.bitcast(builder.fadd(builder.bitcast(size, floats), power), words)
                code = builder.add(
                    builder.sub(total, binade), builder.sub(builder.lshr(binade, shift), offset)
                )
                sign = builder.ashr(bits, constant(31))
                code = builder.xor(code, builder.and_(sign, flip))
                code = builder.and_(builder.add(code, builder.and_(sign, base)), mask)
                goal = builder.bitcast(builder.gep(target, [step]), octets.as_pointer())
                builder.store(builder.trunc(code, octets), goal, align=1)
                return []

            _counted_loop(builder, args[4], [], body)
            return context.get_dummy_value()

        signature = types.void(
            x, types.intp, factors, types.intp, types.intp, short, fmt, codes, types.intp
        )  # fmt: skip
        return signature, codegen

    return encoded


_largest16, _largest32 = _largest(16), _largest(32)
_multiplied16, _multiplied32 = _scaled(16, "fmul"), _scaled(32, "fmul")
_products16, _products32 = _encoded(16, "fmul"), _encoded(32, "fmul")
_quotients16, _quotients32 = _encoded(16, "fdiv"), _encoded(32, "fdiv")


@jit
def _magnitudes(bits: Any, first: int, groups: int, group: int, out: Any, to: int) -> None:
    if group == 16:
        _largest16(bits, first, groups, out, to)
    else:
        _largest32(bits, first, groups, out, to)


@jit
def _multiplied(
    x: Any, first: int, factors: Any, f0: int, groups: int, group: int, out: Any, to: int
) -> None:
    if group == 16:
        _multiplied16(x, first, factors, f0, groups, out, to)
    else:
        _multiplied32(x, first, factors, f0, groups, out, to)


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
def _deliver(target: Target, start: int, place: int, count: int) -> None:
    """Copy a tile from the buffer to ``out[start:start + count]``, whole lines past the caches."""
    out, buffer = target.out, target.buffer
    line = buffer.size - TILE
    before = min((line - place) % line, count)
    lines = (count - before) // line * line
    for i in range(U64(before)):
        out[U64(start) + i] = buffer[U64(place) + i]
    if lines > 0:
        stream(buffer, place + before, out, start + before, lines)
    for i in range(U64(before + lines), U64(count)):
        out[U64(start) + i] = buffer[U64(place) + i]


@jit
def _encode(
    x: Any, start: int, count: int, group: int, factors: Any, factor_bits: Any, f0: int, multiply: int,
    elements: Elements, codes: Any,
) -> None:  # fmt: skip
    """Codes of a tile, from the factors of its groups."""
    groups = count // group
    short, fmt = elements.short, elements.fmt
    if multiply:
        if group == 16:
            _products16(x, start, factors, f0, groups, short, fmt, codes, start)
        else:
            _products32(x, start, factors, f0, groups, short, fmt, codes, start)
    elif group == 16:
        _quotients16(x, start, factors, f0, groups, short, fmt, codes, start)
    else:
        _quotients32(x, start, factors, f0, groups, short, fmt, codes, start)
    if _any_nan(factor_bits, f0, groups):
        for j in range(groups):
            if factors[f0 + j] != factors[f0 + j]:
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
        _encode(x, start, count, group, factors, factor_bits, 0, 1, elements, codes)


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
        _encode(x, start, count, group, factors, factor_bits, 0, how.multiply, elements, codes)


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
def _float_values(
    codes: Any, first: int, count: int, bits: int, fmt: FormatParams, short: ShortParams, out: Any
) -> None:
    """Bits of what `decode_value` gives, for formats of a sign and a magnitude with NaN above the largest."""
    up, down = (
        U32(32 - bits),
        U32(33 - bits),
    )  # of a code at the top of the word, LLVM widens nothing to 64 bits
    shift, offset, hidden = U32(short.shift), U32(short.offset), left(U32(1), U32(fmt.fraction_bits))
    quantum = np.float32(float32_of(U32(short.magic)) * np.float32(2.0**-23))
    last = U32(fmt.max_code) if fmt.nan_code >= 0 else U32(fmt.mask)
    infinity = U32(fmt.inf_code)  # no magnitude where there is none
    for i in range(U64(count)):
        word = left(U32(codes[U64(first) + i]), up)
        size = right(left(word, U32(1)), down)
        small = bits32(np.float32(np.float32(I32(size)) * quantum))
        value = small if size < hidden else left(U32(size + offset), shift)
        special = U32(0x7F800000) if size == infinity else U32(0x7FC00000)
        value = value if size <= last else special
        out[i] = U32(value | U32(word & U32(0x80000000)))


@jit
def _integer_values(codes: Any, first: int, count: int, bits: int, short: ShortParams, out: Any) -> None:
    """The same for two's complement."""
    up = U32(32 - bits)
    quantum = np.float32(float32_of(U32(short.magic)) * np.float32(2.0**-23))
    quantum = np.float32(quantum * float32_of(left(U32(127 - (32 - bits)), U32(23))))
    for i in range(U64(count)):
        word = left(U32(codes[U64(first) + i]), up)
        out[i] = bits32(np.float32(np.float32(I32(word)) * quantum))


@jit
def dequantize(
    codes: Any, group: int, bits: int, fmt: FormatParams, short: ShortParams,
    scales: Any, scale_fmt: FormatParams, tensor_scale: Any, values: Any, value_bits: Any, target: Target,
) -> None:  # fmt: skip
    """Values of whole groups in ``codes``: one product each of code and scale."""
    factors = np.empty(TILE // 16, np.float32)
    streams = target.buffer.size > 0
    for low in range(0, codes.size, TILE):
        count = min(TILE, codes.size - low)
        groups, first = count // group, U64(low // group)
        for j in range(U64(groups)):
            factors[j] = np.float32(decode_value(U32(scales[first + j]), scale_fmt) * tensor_scale)
        if fmt.negate_flip:
            _integer_values(codes, low, count, bits, short, value_bits)
        else:
            _float_values(codes, low, count, bits, fmt, short, value_bits)
        place = (low - target.head) % (target.buffer.size - TILE) if streams else low
        out = target.buffer if streams else target.out
        _multiplied(values, 0, factors, 0, groups, group, out, place)
        if streams:
            _deliver(target, low, place, count)
