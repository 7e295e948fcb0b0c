"""Formats, rounding modes, units and special results as kernels take them: tuples of numbers and arrays.

This module imports no compiler.
"""

from __future__ import annotations

from typing import Any, NamedTuple


class FormatParams(NamedTuple):
    """A format as its magnitude codes: ``code = (binade << fraction_bits) + significand - hidden``.

    An integer format is one whose every value is subnormal; only ``negate_*`` differ.
    """

    fraction_bits: int
    min_exponent: int  #: exponent of the lowest binade; the quantum is 2**(min_exponent - fraction_bits)
    hidden: int  #: 0 with subnormals, else 2**fraction_bits
    max_code: int  #: largest finite magnitude code
    max_negative: (
        int  #: largest finite magnitude code of negative values; 0, or -1 where there is no -0 either
    )
    mask: int  #: all bits of a code
    magnitude_mask: int  #: all bits of a code but the sign
    negate_flip: int  #: negative code = ((magnitude ^ negate_flip) + negate_base) & mask
    negate_base: int
    negative_zero: int  #: 1 if a negative zero has its own code
    inf_code: int  #: -1 if there is none
    nan_code: int  #: -1 if there is none


class ModeParams(NamedTuple):
    """A rounding mode, as the addend that carries into the kept places.

    addend = ((mask >> shift_of_the_sign) + (odd & use_odd | one)) & mask, where mask covers the
    discarded bits and odd is the parity of the code without them.
    """

    shift_positive: int
    shift_negative: int
    use_odd: int
    one: int


_ALL, _HALF, _NOTHING = 0, 1, 63
TIES_TO_EVEN = ModeParams(_HALF, _HALF, 1, 0)
TIES_TO_AWAY = ModeParams(_HALF, _HALF, 0, 1)
TOWARD_ZERO = ModeParams(_NOTHING, _NOTHING, 0, 0)
TOWARD_POSITIVE = ModeParams(_ALL, _NOTHING, 0, 0)
TOWARD_NEGATIVE = ModeParams(_NOTHING, _ALL, 0, 0)
TO_ODD = ModeParams(_ALL, _ALL, 1, 0)  # an odd code turns the addend over to zero


class StochasticParams(NamedTuple):
    """The number of random bits and the Philox key of a stochastic rounding."""

    bits: int
    key_low: int
    key_high: int


class ShortParams(NamedTuple):
    """A format for the faster loops from float32, valid where both signs have the same magnitudes."""

    shift: int  #: fraction bits cut off a normal value
    threshold: int  #: float32 bits of the lowest normal value
    magic: int  #: float32 bits of the power of two whose last place is the format's quantum
    offset: int  #: subtracted from a float32's shifted bits, it gives the code
    maximum: int  #: float32 bits of the largest value
    max_code: int
    maximum_negative: int  #: float32 bits of the magnitude of the lowest value


NO_SHORT = ShortParams(0, 0, 0, 0, 0, 0, 0)
"""Parameters of no format, for those that the faster loops do not suit."""


class Ends(NamedTuple):
    """The results of overflow and NaN, as codes when encoding, and as bits of values when rounding."""

    over_positive: int
    over_negative: int
    nan_positive: int
    nan_negative: int
    zero_is_nan: int  #: 1 where a zero cannot be represented and does not saturate


class Unit(NamedTuple):
    """A matrix unit's step: how many products it sums, and how it aligns them."""

    products: int
    fraction_bits: int
    min_exponent: int
    register_min_exponent: int
    register_mask: int  #: bits of a float32 that a truncating register keeps; 0: it rounds as `Register` says


class Register(NamedTuple):
    """The parameters of a register that rounds its sums to a format, instead of cutting float32 bits."""

    format: FormatParams
    mode: ModeParams
    ends: Ends


class Epilogue(NamedTuple):
    """The scaling and adding of partial sums. Scales are flat float32 [matrix][group of K][row or column]."""

    promote: int  #: chunks between promotions, 0: none
    partial_first: bool  #: fma(fl(partial*sa), sb, total), else fma(partial, fl(sa*sb), total)
    left_scale: Any
    left_groups: int  #: groups of a matrix
    left_group: int  #: chunks of a group
    right_scale: Any
    right_groups: int
    right_group: int


class UnitScales(NamedTuple):
    """Scales that a unit applies itself, flat [matrix][group of K][row or column], and the K under each.

    A scale is ``significand * 2**(exponent - fraction bits of its format)``.
    """

    group: int  #: products summed exactly before they are scaled; 0: each is a term; -1: no such scales
    place: int  #: such sums count 2**place
    fraction_bits: int  #: of both scales' formats together
    left_value: Any
    left_exponent: Any
    left_significand: Any
    left_groups: int
    left_group: int
    right_value: Any
    right_exponent: Any
    right_significand: Any
    right_groups: int
    right_group: int


CANONICAL_NAN = 0x7FFFFFFF
"""The NaN of NVIDIA's matrix units: all bits set but the sign."""
