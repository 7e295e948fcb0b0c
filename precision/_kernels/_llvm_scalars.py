"""Operations on one number that compiled code needs and Numba lacks, each a few instructions of LLVM.

They are written with what Numba and llvmlite document, `nothing` apart.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types

from precision._kernels._jit import intrinsic
from precision._kernels._numba_codegen import array_on_stack, llvm_loop, nothing


def _bitcast(name: str, source: Any, target: Any) -> Any:
    def typer(typingctx: Any, value: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return builder.bitcast(args[0], context.get_value_type(target))

        return (target(source), codegen) if value == source else None

    typer.__name__ = name
    return intrinsic(typer)


#: bits of a float32 or float64, and the way back; each takes exactly that type
bits32 = _bitcast("bits32", types.float32, types.uint32)
float32_of = _bitcast("float32_of", types.uint32, types.float32)
bits64 = _bitcast("bits64", types.float64, types.uint64)
float64_of = _bitcast("float64_of", types.uint64, types.float64)


_WORDS = {types.float32: types.uint32, types.float64: types.uint64}
_FLOATS = {word: kind for kind, word in _WORDS.items()}


def _either_bitcast(name: str, targets: dict[Any, Any]) -> Any:
    def typer(typingctx: Any, value: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return builder.bitcast(args[0], context.get_value_type(targets[value]))

        return (targets[value](value), codegen) if value in targets else None

    typer.__name__ = name
    return intrinsic(typer)


#: bits of a float of either size, and the way back
bits_of, float_of = _either_bitcast("bits_of", _WORDS), _either_bitcast("float_of", _FLOATS)


def _least(typingctx: Any, a: Any, b: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.select(builder.icmp_signed("<", args[0], args[1]), *args)

    return types.int64(types.int64, types.int64), codegen


#: the lesser of two int64; Numba compiles a function for each use of `min` with other types
least: Any = intrinsic(_least)


def _shift(name: str) -> Any:
    def typer(typingctx: Any, value: Any, places: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return getattr(builder, name)(*args)

        return (value(value, places), codegen) if value == places else None

    typer.__name__ = name
    return intrinsic(typer)


#: shifts of unsigned words by fewer places than they have; Numba's own shifts are done in 64 bits
left, right = _shift("shl"), _shift("lshr")


def _leading_zeros(typingctx: Any, value: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.ctlz(args[0], context.get_constant(types.boolean, False))

    return value(value), codegen


def _stack_array(kind: Any, *counts: Any) -> Any:
    """Return signature and code of a new array of a type, of so many rows (and columns), all constants."""
    if not all(isinstance(count, types.Literal) for count in counts):
        return None
    make_type: Any = types.Array

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        shape = [count.literal_value for count in counts]
        return array_on_stack(context, builder, signature.return_type, shape)

    return make_type(kind.dtype, len(counts), "C")(kind, *counts), codegen


def _new_row(kind: Any, count: Any) -> Any:
    return np.empty(count, kind)


def _new_table(kind: Any, rows: Any, columns: Any) -> Any:
    return np.empty((rows, columns), kind)


@llvm_loop(_new_row)
def stack_row(typingctx: Any, kind: Any, count: Any) -> Any:
    """Return a new flat array of ``count`` elements, a constant, that lasts until the function returns."""
    return _stack_array(kind, count)


@llvm_loop(_new_table)
def stack_table(typingctx: Any, kind: Any, rows: Any, columns: Any) -> Any:
    """Return a new array of two dimensions, constants, that lasts until the function returns."""
    return _stack_array(kind, rows, columns)


def _always_inline(typingctx: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.function.attributes.add("alwaysinline")
        return nothing(context)

    return types.void(), codegen


def _exponent32(typingctx: Any, value: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        word = context.get_value_type(types.int32)
        field = builder.and_(builder.lshr(builder.bitcast(args[0], word), word(23)), word(255))
        return builder.sub(field, word(127))

    return (types.int32(value), codegen) if value == types.float32 else None


def _power32(typingctx: Any, exponent: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        word = context.get_value_type(types.int32)
        field = builder.shl(builder.add(args[0], word(127)), word(23))
        return builder.bitcast(field, context.get_value_type(types.float32))

    return (types.float32(exponent), codegen) if exponent == types.int32 else None


def _masked32(typingctx: Any, value: Any, mask: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        bits = builder.bitcast(args[0], context.get_value_type(types.uint32))
        return builder.bitcast(builder.and_(bits, args[1]), args[0].type)

    return (value(value, mask), codegen) if (value, mask) == (types.float32, types.uint32) else None


@intrinsic
def fused_multiply_add(typingctx: Any, a: Any, b: Any, c: Any) -> Any:
    """Return ``a*b + c`` rounded once, on any processor (float32 or float64)."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.fma(*args)

    return a(a, a, a), codegen


def _shifted_product(typingctx: Any, a: Any, b: Any, places: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        wide, word = ir.IntType(128), ir.IntType(64)
        product = builder.mul(builder.zext(args[0], wide), builder.zext(args[1], wide))
        zero = word(0)
        up = builder.icmp_signed("<", args[2], zero)
        most = builder.select(builder.icmp_signed(">", args[2], word(120)), word(120), args[2])
        left = builder.zext(builder.select(up, builder.sub(zero, args[2]), zero), wide)
        right = builder.zext(builder.select(up, zero, most), wide)
        kept = builder.lshr(product, right)
        lost = builder.icmp_unsigned("!=", builder.shl(kept, right), product)
        result = builder.or_(builder.shl(kept, left), builder.zext(lost, wide))
        return builder.trunc(result, word)

    wanted = (types.uint64, types.uint64, types.int64)
    return (types.uint64(*wanted), codegen) if (a, b, places) == wanted else None


#: a * b / 2**places of 64-bit words, for places from -64 on, without its fraction; its last bit is set where
#: anything was cut off
shifted_product: Any = intrinsic(_shifted_product)
#: a float32's exponent field without its bias: -127 for zeros and subnormals, 128 for Inf and NaN
exponent32: Any = intrinsic(_exponent32)
#: 2**exponent as a float32, for an int32 from -126 to 127
power32: Any = intrinsic(_power32)
#: a float32 without the bits that a uint32 mask lacks
masked32: Any = intrinsic(_masked32)
#: leading zero bits of an unsigned word
leading_zeros: Any = intrinsic(_leading_zeros)
#: first statement of a compiled function that LLVM is to inline into its callers whatever its size
always_inline: Any = intrinsic(_always_inline)
