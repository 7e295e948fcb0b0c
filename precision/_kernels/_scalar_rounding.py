"""The arithmetic of every conversion of one number: one integer formula for every format and mode.

A finite source is ``significand * 2**(exponent - point)``. Its significand is shifted right to the target's
quantum (the unit in the last place) in its binade: ``kept`` and the discarded ``rest``; a carry rounds
``kept`` up. The magnitude code ``(binade << fraction_bits) + kept`` comes out right by itself where the carry
leaves the binade, and for subnormals. Inlined into a loop all of it has no branches and vectorizes: Numba
promotes to 64 bits, so each step is cast back, and parameters are chosen by masks rather than by selects.

``sign`` is a word of 0 or all ones throughout.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from precision._kernels._jit import inline, jit
from precision._kernels._llvm_scalars import always_inline as always_inline
from precision._kernels._llvm_scalars import bits32 as bits32
from precision._kernels._llvm_scalars import bits64 as bits64
from precision._kernels._llvm_scalars import float32_of as float32_of
from precision._kernels._llvm_scalars import float64_of as float64_of
from precision._kernels._llvm_scalars import leading_zeros as leading_zeros
from precision._kernels._llvm_scalars import left as left
from precision._kernels._llvm_scalars import right as right
from precision._kernels._llvm_scalars import shifted_product as shifted_product
from precision._kernels._params import Ends, FormatParams, ModeParams, ShortParams, StochasticParams

U32, I32, U64, I64 = np.uint32, np.int32, np.uint64, np.int64


@jit
def unpack32(magnitude: Any) -> Any:
    """Return significand and exponent of a float32's magnitude bits; subnormals are normalised, zero is 0."""
    small = magnitude < U32(0x00800000)
    normal = bits32(np.float32(I32(magnitude))) if small else magnitude
    exponent = I32(I32(right(normal, U32(23))) - (I32(127 + 149) if small else I32(127)))
    leading = U32(0x00800000) if normal != U32(0) else U32(0)
    return U32(U32(normal & U32(0x007FFFFF)) | leading), exponent


@jit
def unpack64(magnitude: Any) -> Any:
    """Return significand and exponent of a float64's magnitude bits.

    Subnormals stay as they are: they lie far below the quantum of any format.
    """
    field = I64(right(magnitude, U64(52)))
    leading = U64(1 << 52) if field > I64(0) else U64(0)
    exponent = I64((field if field > I64(1) else I64(1)) - I64(1023))
    return U64(U64(magnitude & U64((1 << 52) - 1)) | leading), exponent


@jit
def scaled32(significand: Any, exponent: Any) -> Any:
    """Return ``significand * 2**exponent`` in float32, for a significand up to 2**24 and a float32 value."""
    normal = left(U32(I32(exponent + I32(127))), U32(23))
    small = left(U32(1), U32(U32(I32(exponent + I32(149))) & U32(31)))
    power = normal if exponent >= I32(-126) else small
    return np.float32(np.float32(I32(significand)) * float32_of(power))


@jit
def scaled64(significand: Any, exponent: Any) -> Any:
    """Return ``significand * 2**exponent`` in float64, for a value of a format."""
    return np.float64(I64(significand)) * float64_of(left(U64(I64(exponent + I64(1023))), U64(52)))


class Core(NamedTuple):
    """The compiled functions of one word size, as `_core` describes them."""

    pick: Any
    split: Any
    carry: Any
    rounded: Any
    rounded_random: Any
    code: Any
    value: Any


class _Cutting(NamedTuple):
    """The compiled functions that cut a significand and decide whether it is rounded up."""

    pick: Any
    split: Any
    carry: Any
    random_carry: Any


def _cutting(U: Any, I: Any) -> _Cutting:  # noqa: E741
    """Compile what cuts significands, on unsigned words ``U`` (signed ``I``)."""
    top_bit = 8 * np.dtype(U).itemsize - 1

    @jit
    def pick(positive: Any, negative: Any, sign: Any) -> Any:
        """Choose one of two parameters by the sign, in words of this size."""
        return U(U(positive) ^ U(U(U(positive) ^ U(negative)) & sign))

    @jit
    def split(significand: Any, exponent: Any, point: Any, fmt: FormatParams) -> Any:
        """Cut a significand below 2**(point + 1) at the format's quantum.

        Returns kept, rest, the mask of rest, the number of bits cut, the number that would be cut if the word
        had no end, the exponent of kept's binade, and the magnitude code without a carry.
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
        """Return 1 if a deterministic mode rounds the magnitude up, else 0."""
        shift = U(pick(mode.shift_positive, mode.shift_negative, sign) & U(top_bit))
        nudge = U(U(U(code) & U(mode.use_odd)) | U(mode.one))
        addend = U(U(right(mask, shift) + nudge) & mask)
        return right(U(rest + addend), U(cut))

    @jit
    def random_carry(rest: Any, drop: Any, bits: Any, random: Any) -> Any:
        """Return 1 if ``random``, of ``bits`` bits, carries out of the first ``bits`` discarded, else 0."""
        below = I(drop - I(bits))
        down = below if below > I(0) else I(0)
        down = down if down < I(top_bit) else I(top_bit)
        up = I(0) if below > I(0) else I(-below)
        threshold = right(left(rest, U(up)), U(down))
        full = U(left(U(2), U(I(bits) - I(1))) - U(1))
        return U(1) if U(random) > U(full ^ threshold) else U(0)

    return _Cutting(pick, split, carry, random_carry)


def _results(U: Any, I: Any, point: int, pick: Any, scaled: Any, to_bits: Any) -> tuple[Any, Any]:  # noqa: E741
    """Compile what makes codes and values of rounded significands, overflow and NaN included."""
    top_bit = 8 * np.dtype(U).itemsize - 1
    infinity = U(((1 << (top_bit - point)) - 1) << point)

    @jit
    def finish(result: Any, over: Any, sign: Any, magnitude: Any, ends: Ends) -> Any:
        """Replace a result by what ``ends`` has for overflow and NaN."""
        result = pick(ends.over_positive, ends.over_negative, sign) if over else result
        zero = U(ends.zero_is_nan)  # makes a zero wrap around to the largest word, above infinity
        nan = U(magnitude - zero) > U(infinity - zero)
        return pick(ends.nan_positive, ends.nan_negative, sign) if nan else result

    @jit
    def code(sign: Any, magnitude: Any, code: Any, fmt: FormatParams, ends: Ends) -> Any:
        """Return the code of a sign and a rounded magnitude code, for a source of these magnitude bits."""
        positive = U(code) if code > I(0) else U(0)
        negative = U(U(U(positive ^ U(fmt.negate_flip)) + U(fmt.negate_base)) & U(fmt.mask))
        some = sign if U(positive | U(fmt.negative_zero)) != U(0) else U(0)
        over = code > I(pick(fmt.max_code, fmt.max_negative, sign))
        return finish(pick(positive, negative, some), over, sign, magnitude, ends)

    @jit
    def value(
        sign: Any, magnitude: Any, kept: Any, binade: Any, code: Any, fmt: FormatParams, ends: Ends
    ) -> Any:
        """Return the value, as a float's bits, of what `rounded` returned."""
        least = U(fmt.hidden)  # formats without zero end there
        significand = kept if kept > least else least
        some = sign if code > I(0) or U(fmt.negative_zero) != U(0) else U(0)
        result = to_bits(scaled(significand, I(binade - I(fmt.fraction_bits))))
        result = U(result | U(some & U(1 << top_bit)))
        over = code > I(pick(fmt.max_code, fmt.max_negative, sign))
        return finish(result, over, sign, magnitude, ends)

    return code, value


def _core(U: Any, I: Any, point: int, unpack: Any, scaled: Any, to_bits: Any) -> Core:  # noqa: E741
    """Compile the core on unsigned words ``U`` (signed ``I``) for the floats of that size."""
    top_bit = 8 * np.dtype(U).itemsize - 1
    pick, split, carry, random_carry = _cutting(U, I)
    code, value = _results(U, I, point, pick, scaled, to_bits)

    @jit
    def rounded(bits: Any, fmt: FormatParams, mode: ModeParams) -> Any:
        """Round a float's bits; return its sign, magnitude, and the result as `code` and `value` take it."""
        sign = U(U(0) - right(bits, U(top_bit)))
        magnitude = U(bits & U((1 << top_bit) - 1))
        significand, exponent = unpack(magnitude)
        kept, rest, mask, cut, _, binade, code = split(significand, exponent, I(point), fmt)
        up = carry(rest, mask, cut, code, sign, mode)
        return sign, magnitude, U(kept + up), binade, I(code + I(up))

    @jit
    def rounded_random(bits: Any, fmt: FormatParams, mode: StochasticParams, random: Any) -> Any:
        """Round a float's bits by a random integer of ``mode.bits`` bits; see `rounded`."""
        sign = U(U(0) - right(bits, U(top_bit)))
        magnitude = U(bits & U((1 << top_bit) - 1))
        significand, exponent = unpack(magnitude)
        kept, rest, _, _, drop, binade, code = split(significand, exponent, I(point), fmt)
        up = random_carry(rest, drop, mode.bits, random)
        return sign, magnitude, U(kept + up), binade, I(code + I(up))

    return Core(pick, split, carry, rounded, rounded_random, code, value)


core32 = _core(U32, I32, 23, unpack32, scaled32, bits32)
core64 = _core(U64, I64, 52, unpack64, scaled64, bits64)
_split64, _carry64 = core64.split, core64.carry


@jit
def nearest_code32(magnitude: Any, short: ShortParams) -> Any:
    """Return the magnitude code nearest to a float32's magnitude bits (no NaN), ties to even.

    Beyond the format's largest value codes go on as if it had more binades. The addition of a power of two,
    whose last place is the quantum of the number's binade, rounds to the nearest and leaves the significand
    as an integer in the low bits. That power must be a float32 itself.
    """
    always_inline()
    shift, lowest = U32(short.shift), U32(short.threshold)
    up = left(shift, U32(23))
    offset = U32(right(lowest, shift) + up)
    binade = U32((magnitude if magnitude > lowest else lowest) & U32(0x7F800000))
    total = bits32(np.float32(float32_of(magnitude) + float32_of(U32(binade + up))))
    return U32(U32(total - binade) + U32(right(binade, shift) - offset))


@inline
def lifted32(magnitude: Any, short: ShortParams) -> Any:
    """Lift a float32's magnitude bits to where one addition rounds them, for at most 21 fraction bits.

    Returns whether the number lies below the lowest normal value, and the bits; where it does, these are of
    the sum with that value. The sum has the quantum of subnormal numbers in the place where a normal number
    has its own. It is rounded to odd: its last bit keeps that something was lost.
    """
    lowest = float32_of(U32(short.threshold))
    total = np.float32(float32_of(magnitude) + lowest)
    back = np.float32(total - lowest)  # exact, as the sum lies within the lowest two binades
    excess = U32(1) if back > float32_of(magnitude) else U32(0)
    lost = U32(1) if back != float32_of(magnitude) else U32(0)
    small = magnitude < U32(short.threshold)
    return small, U32(U32(bits32(total) - excess) | lost) if small else magnitude


@inline
def rounded_word32(word: Any, sign: Any, short: ShortParams, mode: ModeParams) -> Any:
    """Round what `lifted32` returned by any deterministic mode."""
    shift = U32(short.shift)
    mask = U32(left(U32(1), shift) - U32(1))
    positive, negative = U32(mode.shift_positive & 31), U32(mode.shift_negative & 31)  # 31 leaves nothing
    above, below = right(mask, positive), right(mask, negative)
    half = U32(above ^ U32(U32(above ^ below) & sign))
    nudge = U32(U32(right(word, shift) & U32(mode.use_odd)) | U32(mode.one))
    addend = U32(U32(half + nudge) & mask)
    return U32(U32(word + addend) & U32(~mask))


@inline
def random_word32(word: Any, random: Any, short: ShortParams, bits: Any) -> Any:
    """Round what `lifted32` returned by a random integer of ``bits`` bits, fewer than are cut off.

    The integer is added to the first of the bits cut off; the last of them, which keeps what was lost, takes
    no part.
    """
    shift = U32(short.shift)
    addend = left(random, U32(shift - U32(bits)))
    return U32(U32(word + addend) & U32(~U32(left(U32(1), shift) - U32(1))))


@inline
def short_code32(small: Any, word: Any, bits: Any, short: ShortParams, ends: Ends, top: Any) -> Any:
    """Return the code of a rounded word, for a source of these bits; ``top`` is the sign's place."""
    shift, sign = U32(short.shift), U32(U32(0) - right(bits, U32(31)))
    code = U32(right(word, shift) - (right(U32(short.threshold), shift) if small else U32(short.offset)))
    code = U32(ends.over_positive) if code > U32(short.max_code) else code
    code = U32(code | U32(sign & U32(top)))
    nan = U32(ends.nan_positive) ^ U32(U32(ends.nan_positive ^ ends.nan_negative) & sign)
    return U32(nan) if U32(bits & U32(0x7FFFFFFF)) > U32(0x7F800000) else code


@inline
def short_value32(small: Any, word: Any, bits: Any, short: ShortParams, ends: Ends) -> Any:
    """Return the value, as bits, of a rounded word, for a source of these bits; NaN keeps its sign."""
    lowest = float32_of(U32(short.threshold))
    result = bits32(np.float32(float32_of(word) - lowest)) if small else word
    result = U32(ends.over_positive) if result > U32(short.maximum) else result
    result = U32(ends.nan_positive) if U32(bits & U32(0x7FFFFFFF)) > U32(0x7F800000) else result
    return U32(result | U32(bits & U32(0x80000000)))


@jit
def decode_value(code: Any, fmt: FormatParams) -> Any:
    """Return the float32 value of a code (uint32); NaN is quiet, with the code's sign where NaN has one."""
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
    """Round ``integer * 2**exponent`` (int64 each) once into a format, as float32; overflow gives Inf.

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
def _philox_round(c0: Any, c1: Any, c2: Any, c3: Any, k0: Any, k1: Any) -> Any:
    """Return the four words after one round of Philox4x32 with a key; every number is a uint32."""
    always_inline()
    first, second = U64(U64(c0) * U64(0xD2511F53)), U64(U64(c2) * U64(0xCD9E8D57))
    new0 = U32(U32(U32(right(second, U64(32))) ^ c1) ^ k0)
    new2 = U32(U32(U32(right(first, U64(32))) ^ c3) ^ k1)
    return new0, U32(second), new2, U32(first)


@jit
def _two_philox_rounds(c0: Any, c1: Any, c2: Any, c3: Any, k0: Any, k1: Any) -> Any:
    """Return the four words after two rounds, and the key of the next."""
    always_inline()
    c0, c1, c2, c3 = _philox_round(c0, c1, c2, c3, k0, k1)
    k0, k1 = U32(k0 + U32(0x9E3779B9)), U32(k1 + U32(0xBB67AE85))
    c0, c1, c2, c3 = _philox_round(c0, c1, c2, c3, k0, k1)
    return c0, c1, c2, c3, U32(k0 + U32(0x9E3779B9)), U32(k1 + U32(0xBB67AE85))


@inline
def philox(index_low: Any, index_high: Any, random: StochasticParams) -> Any:
    """Return word 0 of Philox4x32-10 at the counter (index_low, index_high, 0, 0).

    The rounds are written out and inlined, since LLVM vectorizes no outer loop.
    """
    c0, c1, c2, c3 = U32(index_low), U32(index_high), U32(0), U32(0)
    k0, k1 = U32(random.key_low), U32(random.key_high)
    c0, c1, c2, c3, k0, k1 = _two_philox_rounds(c0, c1, c2, c3, k0, k1)
    c0, c1, c2, c3, k0, k1 = _two_philox_rounds(c0, c1, c2, c3, k0, k1)
    c0, c1, c2, c3, k0, k1 = _two_philox_rounds(c0, c1, c2, c3, k0, k1)
    c0, c1, c2, c3, k0, k1 = _two_philox_rounds(c0, c1, c2, c3, k0, k1)
    return _two_philox_rounds(c0, c1, c2, c3, k0, k1)[0]
