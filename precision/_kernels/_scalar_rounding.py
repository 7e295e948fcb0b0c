"""The scalar core of every conversion: one integer formula for every format and mode.

A finite source is ``significand * 2**(exponent - point)``. Its significand is shifted right to the
target's quantum in its binade: ``kept`` and the discarded ``rest``; a carry rounds ``kept`` up. The
magnitude code ``(binade << fraction_bits) + kept`` comes out right by itself where the carry leaves the
binade, and for subnormals. Inlined into a loop all of it is branch-free and vectorizes: Numba promotes
to 64 bits, so each step is cast back, and parameters are chosen by masks rather than by selects.

``sign`` is a word of 0 or all ones throughout.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from precision._kernels._jit import jit
from precision._kernels._params import Ends, FormatParams, ModeParams, ShortParams, StochasticParams

U32, I32, U64, I64 = np.uint32, np.int32, np.uint64, np.int64


def _bitcast(name: str, source: Any, target: Any) -> Any:
    def typer(typingctx: Any, value: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return builder.bitcast(args[0], context.get_value_type(target))

        return (target(source), codegen) if value == source else None

    typer.__name__ = name
    return intrinsic(typer)


#: bits of a float32 or float64, and back; they take exactly that type
bits32 = _bitcast("bits32", types.float32, types.uint32)
float32_of = _bitcast("float32_of", types.uint32, types.float32)
bits64 = _bitcast("bits64", types.float64, types.uint64)
float64_of = _bitcast("float64_of", types.uint64, types.float64)


def _shift(name: str) -> Any:
    def typer(typingctx: Any, value: Any, places: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return getattr(builder, name)(*args)

        return (value(value, places), codegen) if value == places else None

    typer.__name__ = name
    return intrinsic(typer)


#: shifts of unsigned words by fewer places than they have; Numba's own are done in 64 bits
left, right = _shift("shl"), _shift("lshr")


def _leading_zeros(typingctx: Any, value: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.ctlz(args[0], context.get_constant(types.boolean, False))

    return value(value), codegen


def _always_inline(typingctx: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.function.attributes.add("alwaysinline")
        return context.get_dummy_value()

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


#: a * b / 2**places of 64-bit words, places from -64 on, cut, its last bit set where anything was cut off
shifted_product: Any = intrinsic(_shifted_product)
#: a float32's exponent field without its bias: -127 for zeros and subnormals, 128 for Inf and NaN
exponent32: Any = intrinsic(_exponent32)
#: 2**exponent as a float32, for an int32 from -126 to 127
power32: Any = intrinsic(_power32)
#: a float32 without the bits that a uint32 mask lacks
masked32: Any = intrinsic(_masked32)
#: leading zero bits of an unsigned word
leading_zeros: Any = intrinsic(_leading_zeros)
#: called first in a compiled function, has LLVM inline it into its callers whatever its size
always_inline: Any = intrinsic(_always_inline)


@jit
def unpack32(magnitude: Any) -> Any:
    """Significand and exponent of a float32's magnitude bits; subnormals are normalised, zero is 0."""
    small = magnitude < U32(0x00800000)
    normal = bits32(np.float32(I32(magnitude))) if small else magnitude
    exponent = I32(I32(right(normal, U32(23))) - (I32(127 + 149) if small else I32(127)))
    leading = U32(0x00800000) if normal != U32(0) else U32(0)
    return U32(U32(normal & U32(0x007FFFFF)) | leading), exponent


@jit
def unpack64(magnitude: Any) -> Any:
    """Significand and exponent of a float64's magnitude bits.

    Subnormals stay as they are: they lie far below the quantum of any format.
    """
    field = I64(right(magnitude, U64(52)))
    leading = U64(1 << 52) if field > I64(0) else U64(0)
    exponent = I64((field if field > I64(1) else I64(1)) - I64(1023))
    return U64(U64(magnitude & U64((1 << 52) - 1)) | leading), exponent


@jit
def scaled32(significand: Any, exponent: Any) -> Any:
    """``significand * 2**exponent`` in float32, for a significand up to 2**24 and a float32 value."""
    normal = left(U32(I32(exponent + I32(127))), U32(23))
    small = left(U32(1), U32(U32(I32(exponent + I32(149))) & U32(31)))
    power = normal if exponent >= I32(-126) else small
    return np.float32(np.float32(I32(significand)) * float32_of(power))


@jit
def scaled64(significand: Any, exponent: Any) -> Any:
    """``significand * 2**exponent`` in float64, for a value of a format."""
    return np.float64(I64(significand)) * float64_of(left(U64(I64(exponent + I64(1023))), U64(52)))


class Core(NamedTuple):
    """The compiled functions of one word size, as `_core` describes them."""

    pick: Any
    split: Any
    carry: Any
    random_carry: Any
    rounded: Any
    rounded_random: Any
    finish: Any
    code: Any
    value: Any


def _core(U: Any, I: Any, point: int, unpack: Any, scaled: Any, to_bits: Any) -> Core:  # noqa: E741
    """The core on unsigned words ``U`` (signed ``I``) for the floats of that size."""
    top_bit = 8 * np.dtype(U).itemsize - 1
    infinity = U(((1 << (top_bit - point)) - 1) << point)

    @jit
    def pick(positive: Any, negative: Any, sign: Any) -> Any:
        """One of two parameters by the sign, in words of this size."""
        return U(U(positive) ^ U(U(U(positive) ^ U(negative)) & sign))

    @jit
    def split(significand: Any, exponent: Any, point: Any, fmt: FormatParams) -> Any:
        """Cut a significand below 2**(point + 1) at the format's quantum.

        Returns kept, rest, the mask of rest, the bits cut, the bits to cut had the word no end, the
        exponent of kept's binade, and the magnitude code without a carry.
        """
        lowest = I(fmt.min_exponent)
        binade = exponent if exponent > lowest else lowest
        drop = I(I(point - I(fmt.fraction_bits)) + I(binade - exponent))
        most = I(point + I(2))  # enough for whatever is left to lie below one half
        cut = drop if drop < most else most
        kept = right(significand, U(cut))
        mask = U(left(U(1), U(cut)) - U(1))
        code = I(I(I(left(U(binade - lowest), U(fmt.fraction_bits))) + I(kept)) - I(fmt.hidden))
        return kept, U(significand & mask), mask, cut, drop, binade, code

    @jit
    def carry(rest: Any, mask: Any, cut: Any, code: Any, sign: Any, mode: ModeParams) -> Any:
        """1 if a deterministic mode rounds the magnitude up, else 0."""
        shift = U(pick(mode.shift_positive, mode.shift_negative, sign) & U(top_bit))
        nudge = U(U(U(code) & U(mode.use_odd)) | U(mode.one))
        addend = U(U(right(mask, shift) + nudge) & mask)
        return right(U(rest + addend), U(cut))

    @jit
    def random_carry(rest: Any, drop: Any, bits: Any, random: Any) -> Any:
        """1 if ``random``, of ``bits`` bits, carries out of the first ``bits`` discarded ones, else 0."""
        below = I(drop - I(bits))
        down = below if below > I(0) else I(0)
        down = down if down < I(top_bit) else I(top_bit)
        up = I(0) if below > I(0) else I(-below)
        threshold = right(left(rest, U(up)), U(down))
        full = U(left(U(2), U(I(bits) - I(1))) - U(1))
        return U(1) if U(random) > U(full ^ threshold) else U(0)

    @jit
    def rounded(bits: Any, fmt: FormatParams, mode: ModeParams) -> Any:
        """A float's bits, rounded: its sign, magnitude bits, and the result as `code` and `value` take it."""
        sign = U(U(0) - right(bits, U(top_bit)))
        magnitude = U(bits & U((1 << top_bit) - 1))
        significand, exponent = unpack(magnitude)
        kept, rest, mask, cut, _, binade, code = split(significand, exponent, I(point), fmt)
        up = carry(rest, mask, cut, code, sign, mode)
        return sign, magnitude, U(kept + up), binade, I(code + I(up))

    @jit
    def rounded_random(bits: Any, fmt: FormatParams, mode: StochasticParams, random: Any) -> Any:
        """`rounded` by a random integer of ``mode.bits`` bits."""
        sign = U(U(0) - right(bits, U(top_bit)))
        magnitude = U(bits & U((1 << top_bit) - 1))
        significand, exponent = unpack(magnitude)
        kept, rest, _, _, drop, binade, code = split(significand, exponent, I(point), fmt)
        up = random_carry(rest, drop, mode.bits, random)
        return sign, magnitude, U(kept + up), binade, I(code + I(up))

    @jit
    def finish(result: Any, over: Any, sign: Any, magnitude: Any, ends: Ends) -> Any:
        """A result, or what ``ends`` has for overflow and NaN."""
        result = pick(ends.over_positive, ends.over_negative, sign) if over else result
        zero = U(ends.zero_is_nan)  # makes a zero wrap around to the largest word, above infinity
        nan = U(magnitude - zero) > U(infinity - zero)
        return pick(ends.nan_positive, ends.nan_negative, sign) if nan else result

    @jit
    def code(sign: Any, magnitude: Any, code: Any, fmt: FormatParams, ends: Ends) -> Any:
        """The code of a sign and a rounded magnitude code, for a source of these magnitude bits."""
        positive = U(code) if code > I(0) else U(0)
        negative = U(U(U(positive ^ U(fmt.negate_flip)) + U(fmt.negate_base)) & U(fmt.mask))
        some = sign if U(positive | U(fmt.negative_zero)) != U(0) else U(0)
        over = code > I(pick(fmt.max_code, fmt.max_negative, sign))
        return finish(pick(positive, negative, some), over, sign, magnitude, ends)

    @jit
    def value(
        sign: Any, magnitude: Any, kept: Any, binade: Any, code: Any, fmt: FormatParams, ends: Ends
    ) -> Any:
        """The value, as a float's bits, of what `rounded` returned."""
        least = U(fmt.hidden)  # formats without zero end there
        significand = kept if kept > least else least
        some = sign if code > I(0) or U(fmt.negative_zero) != U(0) else U(0)
        result = to_bits(scaled(significand, I(binade - I(fmt.fraction_bits))))
        result = U(result | U(some & U(1 << top_bit)))
        over = code > I(pick(fmt.max_code, fmt.max_negative, sign))
        return finish(result, over, sign, magnitude, ends)

    return Core(pick, split, carry, random_carry, rounded, rounded_random, finish, code, value)


core32 = _core(U32, I32, 23, unpack32, scaled32, bits32)
core64 = _core(U64, I64, 52, unpack64, scaled64, bits64)
_pick32, _rounded32, _code32 = core32.pick, core32.rounded, core32.code
_split64, _carry64 = core64.split, core64.carry


@jit
def encode_bits32(bits: Any, fmt: FormatParams, mode: ModeParams, ends: Ends) -> Any:
    """The code (uint32) of a float32's bits (uint32)."""
    sign, magnitude, _, _, code = _rounded32(bits, fmt, mode)
    return _code32(sign, magnitude, code, fmt, ends)


@jit
def nearest_code32(magnitude: Any, short: ShortParams) -> Any:
    """The magnitude code nearest to a float32's magnitude bits (no NaN), ties to even; overflow runs on.

    The addition of a power of two, whose last place is the quantum of the number's binade, rounds to the
    nearest and leaves the significand as an integer in the low bits. It must be a float32 itself.
    """
    always_inline()
    shift, lowest = U32(short.shift), U32(short.threshold)
    up = left(shift, U32(23))
    offset = U32(right(lowest, shift) + up)
    binade = U32((magnitude if magnitude > lowest else lowest) & U32(0x7F800000))
    total = bits32(np.float32(float32_of(magnitude) + float32_of(U32(binade + up))))
    return U32(U32(total - binade) + U32(right(binade, shift) - offset))


@jit
def lifted32(magnitude: Any, sign: Any, short: ShortParams, mode: ModeParams) -> Any:
    """A float32's magnitude bits rounded by any mode, for formats of at most 21 fraction bits.

    Returns whether the number lies below the lowest normal value, and the result; where it does, the result
    has that value added. For the sum has the quantum of subnormal numbers in the same place as a normal
    number has its own, so one addition to the bits rounds both. What the sum loses is kept in its last bit,
    by rounding it to odd.
    """
    always_inline()
    shift, lowest = U32(short.shift), float32_of(U32(short.threshold))
    mask = U32(left(U32(1), shift) - U32(1))
    total = np.float32(float32_of(magnitude) + lowest)
    back = np.float32(total - lowest)  # exact, as the sum lies within the lowest two binades
    excess = U32(1) if back > float32_of(magnitude) else U32(0)
    lost = U32(1) if back != float32_of(magnitude) else U32(0)
    small = magnitude < U32(short.threshold)
    word = U32(U32(bits32(total) - excess) | lost) if small else magnitude
    positive, negative = U32(mode.shift_positive & 31), U32(mode.shift_negative & 31)  # 31 leaves nothing
    half = _pick32(right(mask, positive), right(mask, negative), sign)
    nudge = U32(U32(right(word, shift) & U32(mode.use_odd)) | U32(mode.one))
    addend = U32(U32(half + nudge) & mask)
    return small, U32(U32(word + addend) & U32(~mask))


@jit
def decode_value(code: Any, fmt: FormatParams) -> Any:
    """The float32 value of a code (uint32); NaN is quiet, with the code's sign where NaN has one."""
    top = U32(U32(fmt.mask) ^ U32(fmt.magnitude_mask))
    minus = U32(code & top) != U32(0)
    straight = U32(code & U32(fmt.magnitude_mask))
    back = U32(U32(U32(code - U32(fmt.negate_base)) ^ U32(fmt.negate_flip)) & U32(fmt.mask))
    magnitude = back if minus else straight
    m = U32(fmt.fraction_bits)
    field = I32(right(U32(magnitude + U32(fmt.hidden)), m))
    binade = field if field > I32(1) else I32(1)
    fraction = U32(magnitude & U32(left(U32(1), m) - U32(1)))
    significand = U32(fraction | left(U32(1), m)) if field > I32(0) else fraction
    value = scaled32(significand, I32(I32(binade - I32(1)) + I32(I32(fmt.min_exponent) - I32(m))))
    beyond = I32(magnitude) > I32(fmt.max_code) and fmt.nan_code >= 0  # integers have -2**(bits - 1)
    special = beyond or I32(code) == I32(fmt.nan_code)
    result = bits32(value)
    if special:
        result = U32(0x7F800000) if I32(magnitude) == I32(fmt.inf_code) else U32(0x7FC00000)
    return float32_of(U32(result | U32(0x80000000)) if minus else result)


@jit
def round_scaled_integer(integer: Any, exponent: Any, fmt: FormatParams, mode: ModeParams) -> Any:
    """``integer * 2**exponent`` (int64 each) rounded once into a format, as float32; overflow gives Inf.

    The integer is any but -2**63. A negative one that rounds to zero gives -0.
    """
    if integer == 0:
        return np.float32(0)
    sign = U64(0) - U64(1) if integer < 0 else U64(0)
    size = U64(-integer) if integer < 0 else U64(integer)
    zeros = leading_zeros(size)
    # The leading bit goes to bit 61; the one that may fall off stays visible to the carry.
    significand = (
        left(size, U64(zeros - U64(2))) if zeros > U64(1) else U64(right(size, U64(1)) | (size & U64(1)))
    )
    top = I64(I64(exponent) + I64(63) - I64(zeros))
    kept, rest, mask, cut, _, binade, code = _split64(significand, top, I64(61), fmt)
    up = _carry64(rest, mask, cut, code, sign, mode)
    value = scaled32(U32(kept + up), I32(binade - I64(fmt.fraction_bits)))
    value = np.float32(np.inf) if I64(code + I64(up)) > I64(fmt.max_code) else value
    return np.float32(-value) if integer < 0 else value


@jit
def _philox_round(c0: Any, c1: Any, c2: Any, c3: Any, turn: Any, random: StochasticParams) -> Any:
    """One round of Philox4x32, with the key of its turn."""
    first, second = U64(U64(c0) * U64(0xD2511F53)), U64(U64(c2) * U64(0xCD9E8D57))
    k0 = U32(U32(random.key_low) + U32(U32(turn) * U32(0x9E3779B9)))
    k1 = U32(U32(random.key_high) + U32(U32(turn) * U32(0xBB67AE85)))
    new0 = U32(U32(U32(right(second, U64(32))) ^ c1) ^ k0)
    new2 = U32(U32(U32(right(first, U64(32))) ^ c3) ^ k1)
    return new0, U32(second), new2, U32(first)


@jit
def philox(index_low: Any, index_high: Any, random: StochasticParams) -> Any:
    """Word 0 of Philox4x32-10 at counter (index_low, index_high, 0, 0).

    Written out and inlined, since LLVM vectorizes no outer loop.
    """
    always_inline()
    c0, c1, c2, c3 = _philox_round(U32(index_low), U32(index_high), U32(0), U32(0), 0, random)
    c0, c1, c2, c3 = _philox_round(c0, c1, c2, c3, 1, random)
    c0, c1, c2, c3 = _philox_round(c0, c1, c2, c3, 2, random)
    c0, c1, c2, c3 = _philox_round(c0, c1, c2, c3, 3, random)
    c0, c1, c2, c3 = _philox_round(c0, c1, c2, c3, 4, random)
    c0, c1, c2, c3 = _philox_round(c0, c1, c2, c3, 5, random)
    c0, c1, c2, c3 = _philox_round(c0, c1, c2, c3, 6, random)
    c0, c1, c2, c3 = _philox_round(c0, c1, c2, c3, 7, random)
    c0, c1, c2, c3 = _philox_round(c0, c1, c2, c3, 8, random)
    return _philox_round(c0, c1, c2, c3, 9, random)[0]
