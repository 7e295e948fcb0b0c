"""What block quantization is, one block at a time, in Python integers and fractions.

Nothing here imports `precision` or NumPy: this page states what is right, slowly. Formats are
`reference.Format`, or `Integer`; numbers are `reference.Value`: a `Fraction`, or "nan", "+inf", "-inf", "-0".
`fl` is one IEEE rounding to nearest, ties to even, into the source's type (FP32 or FP64); `fl32` into FP32.

A block gives its scale's code and its elements' codes (`Block`). Everywhere:

- a block that holds NaN or Inf has the scale NaN; its codes are the elements' NaN, or 0 without one;
- a scale that would be zero is the smallest positive one (but see ``least_scale``), and one too large
  the largest;
- a block of zeros has the smallest positive scale (1 where scales are FP32), and keeps the zeros' signs.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

from reference import (
    E2M1,
    E4M3,
    E8M0,
    FP32,
    ONE,
    ZERO,
    Format,
    Value,
    decode,
    exact_product,
    exact_sum,
    floor_log2,
    from_float,
    int_decode,
    int_round,
    integer_round,
    is_negative,
    magnitude_value,
    power,
    round_value,
)


@dataclass(frozen=True)
class Integer:
    """A signed integer in two's complement times 2**-fraction_bits; symmetric: no code -2**(bits-1)."""

    bits: int
    fraction_bits: int = 0
    symmetric: bool = True


INT4, INT8 = Integer(4), Integer(8)
MXINT4, MXINT8 = Integer(4, fraction_bits=2), Integer(8, fraction_bits=6)
FLT_MAX = magnitude_value(FP32.max_code, FP32)
SMALLEST_FLOAT = power(-149)
POWER_RULES = ("floor", "ceil", "rceil", "even")


class Block(NamedTuple):
    """The code of the scale and the codes of the elements."""

    scale: int
    codes: list[int]


class Tensor(NamedTuple):
    """The tensor scale (exactly a float32) and the blocks."""

    tensor_scale: Fraction
    blocks: list[Block]


# ------------------------------------------------------------------------------------------ one number


def largest(element: Format | Integer) -> Fraction:
    """The largest value."""
    if isinstance(element, Integer):
        return ((1 << (element.bits - 1)) - 1) * power(-element.fraction_bits)
    return magnitude_value(element.max_code, element)


def significand_places(element: Format | Integer) -> int:
    """Bits below the leading one of the largest value's significand."""
    return element.bits - 2 if isinstance(element, Integer) else element.fraction_bits


def element_code(x: Value, element: Format | Integer) -> int:
    """One rounding to nearest, ties to even, saturating."""
    if isinstance(element, Integer):
        return int_round(x, element.bits, fraction_bits=element.fraction_bits, symmetric=element.symmetric)
    return integer_round(x, element, "ties_to_even", "saturate")


def element_value(code: int, element: Format | Integer) -> Value:
    """The value of an element's code."""
    if isinstance(element, Integer):
        return int_decode(code, element.bits, fraction_bits=element.fraction_bits)
    return decode(code, element)


def product(x: Value, y: Value, f: Format = FP32) -> Value:
    """fl(x * y)."""
    return round_value(exact_product(x, y), f)


def quotient(x: Value, y: Value, f: Format = FP32) -> Value:
    """fl(x / y) for y that is no negative zero; x / 0 is infinite, 0 / 0 is NaN."""
    if y == 0:
        return "nan" if x in ("nan", "-0", ZERO) else "-inf" if is_negative(x) else "+inf"
    if isinstance(y, str):
        raise ValueError(f"divisor: {y}")
    return round_value(exact_product(x, 1 / y), f)


def at_most(x: Value, limit: Fraction) -> Fraction:
    """min(x, limit) for x >= 0."""
    return limit if x == "+inf" else min(finite(x), limit)


def finite(x: Value) -> Fraction:
    """``x`` as a fraction."""
    if isinstance(x, str) and x != "-0":
        raise ValueError(f"not finite: {x}")
    return ZERO if isinstance(x, str) else x


# ------------------------------------------------------------------------------------------- one block


def largest_magnitude(block: Iterable[float]) -> Fraction | None:
    """The largest magnitude; None if there is a NaN or Inf."""
    amax = ZERO
    for x in block:
        if not math.isfinite(x):
            return None
        amax = max(amax, abs(Fraction(x)))
    return amax


def scale_value(code: int, f: Format) -> Fraction:
    """The value of a scale's code, a positive number or zero."""
    return finite(decode(code, f))


def smallest_code(f: Format) -> int:
    """The code of the smallest positive scale."""
    return 1 if f.subnormals else 0


def nan_block(count: int, element: Format | Integer, scale_format: Format) -> Block:
    """A block that held NaN or Inf."""
    nan = element.nan_code if isinstance(element, Format) else None
    assert scale_format.nan_code is not None
    return Block(scale_format.nan_code, [nan or 0] * count)


def zero_scale(f: Format) -> int:
    """The scale of a block of zeros."""
    return integer_round(ONE, FP32) if f == FP32 else smallest_code(f)


def rounded_scale(x: Value, f: Format, least: int) -> int:
    """Nearest, ties to even, saturating; not below the code ``least``."""
    return max(integer_round(x, f, "ties_to_even", "saturate"), least)


def scale_exponent(rule: str, amax: Fraction, element: Format | Integer) -> int:
    """The exponent of a rule for powers of two, without an end to the exponents; amax > 0.

    With emax the exponent of the largest element:
    FLOOR: floor(log2 amax) - emax. CEIL: ceil(log2 amax) - emax. EVEN: floor(log2 of amax rounded to the
    elements' significand, half up) - emax. RCEIL: the least e with amax / 2**e <= the largest element.
    """
    limit = largest(element)
    emax = floor_log2(limit)
    if rule == "floor":
        return floor_log2(amax) - emax
    if rule == "ceil":
        return -floor_log2(1 / amax) - emax
    if rule == "even":
        step = power(floor_log2(amax) - significand_places(element))
        return floor_log2(math.floor(amax / step + Fraction(1, 2)) * step) - emax
    if rule == "rceil":
        exponent = floor_log2(amax) - emax - 1
        while amax / power(exponent) > limit:
            exponent += 1
        return exponent
    raise ValueError(f"rule: {rule!r}")


def power_code(exponent: int, f: Format) -> int:
    """The code of 2**exponent, clamped to the format's powers of two."""
    low = floor_log2(scale_value(smallest_code(f), f))
    high = floor_log2(magnitude_value(f.max_code, f))
    return integer_round(power(min(max(exponent, low), high)), f)


def divided(
    block: Sequence[float], scale: int, element: Format | Integer, scale_format: Format,
    tensor_scale: Fraction, source: Format,
) -> Block:  # fmt: skip
    """The elements divided by fl32(scale * tensor_scale): one division, one rounding.

    A divisor that would be zero is the smallest float32.
    """
    divisor = finite(product(scale_value(scale, scale_format), tensor_scale)) or SMALLEST_FLOAT
    codes = [element_code(quotient(from_float(x), divisor, source), element) for x in block]
    return Block(scale, codes)


def quantize_block(
    block: Sequence[float],
    element: Format | Integer,
    scale_format: Format,
    rule: str,
    *,
    tensor_scale: Fraction = ONE,
    source: Format = FP32,
) -> Block:
    """A block by one of the rules amax, floor, ceil, rceil and even.

    AMAX: RNE(fl(fl(amax / max) / tensor_scale)). The others: the power of two for fl(amax / tensor_scale).
    """
    amax = largest_magnitude(block)
    if amax is None:
        return nan_block(len(block), element, scale_format)
    if amax == 0:
        scale = zero_scale(scale_format)
    elif rule == "amax":
        wanted = quotient(quotient(amax, largest(element), source), tensor_scale, source)
        scale = rounded_scale(wanted, scale_format, smallest_code(scale_format))
    else:
        relative = finite(quotient(amax, tensor_scale, source))
        exponent = scale_exponent(rule, relative, element) if relative else -(1 << 20)
        scale = power_code(exponent, scale_format)
    return divided(block, scale, element, scale_format, tensor_scale, source)


def tensor_scale_for(
    amax: Fraction, element: Format | Integer, scale_format: Format, bound: Fraction | None = None
) -> Fraction:
    """fl32(amax / (max * the largest scale)), rounded once: 1 for amax 0, and never zero or infinite.

    ``bound`` stands for the largest scale (4/6 takes 256).
    """
    if amax == 0:
        return ONE
    limit = largest(scale_format) if bound is None else bound
    wanted = round_value(amax / (largest(element) * limit), FP32)
    return max(at_most(wanted, FLT_MAX), SMALLEST_FLOAT)


def quantize_tensor(
    blocks: Sequence[Sequence[float]],
    element: Format | Integer,
    scale_format: Format,
    rule: str,
    *,
    source: Format = FP32,
) -> Tensor:
    """Blocks under one tensor scale, which is taken over the blocks without NaN and Inf."""
    scale = tensor_scale_for(tensor_amax(blocks), element, scale_format)
    return Tensor(
        scale,
        [quantize_block(b, element, scale_format, rule, tensor_scale=scale, source=source) for b in blocks],
    )


def tensor_amax(blocks: Sequence[Sequence[float]]) -> Fraction:
    """The largest magnitude of the blocks without NaN and Inf."""
    return max((largest_magnitude(b) or ZERO for b in blocks), default=ZERO)


# --------------------------------------------------------------------------------- NVIDIA's MXFP8 recipe


def rceil_reciprocal_code(amax: Fraction, element: Format | Integer) -> int:
    """E8M0 byte for amax > 0: s = fl32(amax * fl32(1 / max)), then its exponent field, rounded up by hand.

    The field goes up by one if s is normal, below 2**127 and no power of two, or if s is subnormal with
    more than half of its fraction (s > 2**-127). arXiv 2506.08027; cuBLAS, "D block quantization".
    """
    s = product(amax, quotient(ONE, largest(element)))
    bits = integer_round(s, FP32, "ties_to_even", "saturate")
    field, fraction = bits >> 23, bits & 0x7FFFFF
    normal, subnormal = 0 < field < 254 and fraction > 0, field == 0 and fraction > 0x400000
    return field + (normal or subnormal)


def rceil_reciprocal(block: Sequence[float], element: Format | Integer) -> Block:
    """A block of float32 by RCEIL_RECIPROCAL: E8M0 scales.

    The recipe multiplies by 2**(127 - byte); that is the division, as both are exact until rounded.
    """
    amax = largest_magnitude(block)
    if amax is None:
        return nan_block(len(block), element, E8M0)
    scale = zero_scale(E8M0) if amax == 0 else rceil_reciprocal_code(amax, element)
    return divided(block, scale, element, E8M0, ONE, FP32)


# ------------------------------------------------------------------------------------------------ NVFP4


def encode_scale(amax: Fraction, span: Fraction) -> Fraction:
    """s_enc = fl32(span / amax) for the tensor's amax: at most FLT_MAX, and 1 for amax 0.

    ``span`` is the largest element times the largest scale. The paper is silent on both ends;
    TransformerEngine does so.
    """
    return ONE if amax == 0 else at_most(quotient(span, amax), FLT_MAX)


def multiplied(
    block: Sequence[float], scale: int, decode_scale: Fraction, element: Format | Integer,
    scale_format: Format,
) -> Block:  # fmt: skip
    """Elements times fl32(1 / fl32(scale * s_dec)), which is at most FLT_MAX."""
    multiplier = at_most(quotient(ONE, product(scale_value(scale, scale_format), decode_scale)), FLT_MAX)
    return Block(scale, [element_code(product(from_float(x), multiplier), element) for x in block])


def nvfp4_paper(
    blocks: Sequence[Sequence[float]],
    *,
    least_scale: int = 1,
    element: Format | Integer = E2M1,
    scale_format: Format = E4M3,
) -> Tensor:
    """NVFP4 in the order of arXiv 2509.25149, appendix B; float32. The tensor scale is s_dec.

    s_enc = fl32(6 * 448 / amax_x), s_dec = fl32(1 / s_enc), s_b = fl32(amax_b / 6),
    code = E4M3(fl32(s_b * s_enc)), element = E2M1(fl32(x * fl32(1 / fl32(code * s_dec)))).
    Other formats put their largest values in the places of 6 and 448.
    """
    s_enc = encode_scale(tensor_amax(blocks), largest(element) * largest(scale_format))
    s_dec = finite(quotient(ONE, s_enc))

    def one(block: Sequence[float]) -> Block:
        amax = largest_magnitude(block)
        if amax is None:
            return nan_block(len(block), element, scale_format)
        wanted = product(quotient(amax, largest(element)), s_enc)
        return multiplied(
            block, rounded_scale(wanted, scale_format, least_scale), s_dec, element, scale_format
        )

    return Tensor(s_dec, [one(b) for b in blocks])


def nvfp4_transformer_engine(
    blocks: Sequence[Sequence[float]],
    *,
    least_scale: int = 0,
    element: Format | Integer = E2M1,
    scale_format: Format = E4M3,
) -> Tensor:
    """NVFP4 in TransformerEngine's order (core_nvfp4.cuh): 1/6 is folded into s_enc; float32.

    code = E4M3(fl32(amax_b * fl32(s_enc * fl32(1/6)))); the rest is `nvfp4_paper`. TransformerEngine lets
    a scale be zero: its multiplier is then FLT_MAX. ``least_scale=1`` is the convention of this package.
    """
    s_enc = encode_scale(tensor_amax(blocks), largest(element) * largest(scale_format))
    s_dec = finite(quotient(ONE, s_enc))
    folded = product(s_enc, quotient(ONE, largest(element)))

    def one(block: Sequence[float]) -> Block:
        amax = largest_magnitude(block)
        if amax is None:
            return nan_block(len(block), element, scale_format)
        scale = rounded_scale(product(amax, folded), scale_format, least_scale)
        return multiplied(block, scale, s_dec, element, scale_format)

    return Tensor(s_dec, [one(b) for b in blocks])


# ------------------------------------------------------------------------------------------------- 4/6


def summed_error(block: Sequence[float], values: Iterable[Value], error: str) -> Value:
    """sum |value - x| ("mae") or of squares ("mse"), in order: every operation rounded to float32."""
    total: Value = ZERO
    for x, value in zip(block, values, strict=True):
        difference = round_value(exact_sum(value, negated(from_float(x))), FP32)
        term = product(difference, difference) if error == "mse" else magnitude(difference)
        total = round_value(exact_sum(total, term), FP32)
    return total


def negated(x: Value) -> Value:
    """-x."""
    swapped = {"+inf": "-inf", "-inf": "+inf", "-0": ZERO, "nan": "nan"}
    if isinstance(x, str):
        return swapped[x]
    return -x if x else "-0"


def magnitude(x: Value) -> Value:
    """|x|."""
    return negated(x) if is_negative(x) else x


def less(x: Value, y: Value) -> bool:
    """x < y for sums of magnitudes; false where one is NaN."""
    if "nan" in (x, y) or x == "+inf":
        return False
    return y == "+inf" or finite(x) < finite(y)


def four_over_six(
    blocks: Sequence[Sequence[float]],
    *,
    error: str = "mae",
    bound: int = 256,
    arithmetic: str = "transformer_engine",
    least_scale: int | None = None,
    element: Format | Integer = E2M1,
    scale_format: Format = E4M3,
) -> Tensor:
    """4/6 (arXiv 2512.02010): of the scale that maps amax to 6 and the one that maps it to 4, the better.

    The second candidate is E4M3(fl32(1.5 * base)), where E4M3(base) is the first. The lower error wins,
    6 where they tie. ``bound`` is the largest scale of the 6 that the tensor scale allows for; both
    candidates saturate at 448. Float32. How ``arithmetic`` says the rest:

    - "division": tensor scale fl32(amax_x / (6 * bound)), base = fl32(fl32(amax_b / 6) / tensor scale),
      elements divided by fl32(scale * tensor scale), and restored as code * that;
    - "nvfp4_paper": s_enc = fl32(6 * bound / amax_x), base = fl32(fl32(amax_b / 6) * s_enc), elements
      multiplied as in `nvfp4_paper`, and restored as fl32(code * fl32(scale * s_dec));
    - "transformer_engine" (quantize_4over6_nvfp4.cuh; not the base of its plain NVFP4): as the paper's, but
      restored as fl32(fl32(fl32(code * scale) * amax_x) / (6 * bound)), and scales may be zero.
    """
    amax_x, limit, top = tensor_amax(blocks), Fraction(bound), largest(element)
    te, division = arithmetic == "transformer_engine", arithmetic == "division"
    least = least_scale if least_scale is not None else 0 if te else 1
    s_enc = encode_scale(amax_x, top * limit)
    tensor_scale = (
        tensor_scale_for(amax_x, element, scale_format, bound=limit)
        if division
        else finite(quotient(ONE, s_enc))
    )

    def candidate(block: Sequence[float], wanted: Value) -> tuple[Block, Value]:
        scale = rounded_scale(wanted, scale_format, least)
        if division:
            made = divided(block, scale, element, scale_format, tensor_scale, FP32)
        else:
            made = multiplied(block, scale, tensor_scale, element, scale_format)
        values: list[Value] = [element_value(code, element) for code in made.codes]
        if te:
            values = [product(product(v, scale_value(scale, scale_format)), amax_x) for v in values]
            values = [quotient(v, top * limit) for v in values]
        else:
            restore = product(scale_value(scale, scale_format), tensor_scale)
            values = [product(v, restore) for v in values]
        return made, summed_error(block, values, error)

    def one(block: Sequence[float]) -> Block:
        amax = largest_magnitude(block)
        if amax is None:
            return nan_block(len(block), element, scale_format)
        base = quotient(amax, top)
        base = quotient(base, tensor_scale) if division else product(base, s_enc)
        six, error_six = candidate(block, base)
        four, error_four = candidate(block, product(base, Fraction(3, 2)))
        return four if less(error_four, error_six) else six

    return Tensor(tensor_scale, [one(b) for b in blocks])
