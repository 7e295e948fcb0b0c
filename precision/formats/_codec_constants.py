"""Tuples of integers by which kernels know a format, a rounding mode, and the results of overflow and NaN."""

from __future__ import annotations

import math

import numpy as np

from precision._kernels import _params
from precision._kernels._params import Ends, FormatParams, ModeParams, ShortParams
from precision._support._plans import planned
from precision._support.machine._float_environment import in_default_environment
from precision.formats._int_format import IntFormat
from precision.formats._named import Format
from precision.formats._rounding_modes import Overflow, Rounding

MODES: dict[Rounding, ModeParams] = {mode: getattr(_params, mode.name) for mode in Rounding}
"""The kernels' record of each deterministic rounding mode."""


@planned
@in_default_environment
def format_params(fmt: Format) -> FormatParams:
    """Build the kernels' record of a format."""
    mask = (1 << fmt.bits) - 1
    if isinstance(fmt, IntFormat):
        return FormatParams(
            fraction_bits=fmt.bits,
            min_exponent=fmt.bits - fmt.fraction_bits,
            hidden=0,
            max_code=fmt.max_code,
            max_negative=fmt.max_code + (not fmt.symmetric) if fmt.signed else 0,
            mask=mask,
            magnitude_mask=mask >> 1 if fmt.signed else mask,
            negate_flip=mask,
            negate_base=1,
            negative_zero=0,
            inf_code=-1,
            nan_code=-1,
        )
    unsigned_limit = 0 if fmt.has_zero else -(1 << 30)  # less than any code that rounding can give
    return FormatParams(
        fraction_bits=fmt.fraction_bits,
        min_exponent=fmt.min_exponent,
        hidden=0 if fmt.subnormals else 1 << fmt.fraction_bits,
        max_code=fmt.max_code,
        max_negative=fmt.max_code if fmt.signed else unsigned_limit,
        mask=mask,
        magnitude_mask=fmt.magnitude_mask,
        negate_flip=0,
        negate_base=fmt.magnitude_mask + 1 if fmt.signed else 0,
        negative_zero=int(fmt.has_negative_zero or (fmt.signed and not fmt.has_zero)),
        inf_code=-1 if fmt.inf_code is None else fmt.inf_code,
        nan_code=-1 if fmt.nan_code is None else fmt.nan_code,
    )


@planned
def short_params(fmt: Format) -> ShortParams | None:
    """Build the record of a format for the fast float32 loops, or None if these do not suit the format."""
    fp = format_params(fmt)
    last_place = fp.min_exponent - fp.fraction_bits + 23
    if fp.hidden or not fp.fraction_bits or not -126 <= fp.min_exponent <= 127 or last_place > 127:
        return None
    lowest = fmt.max  # the magnitude of the lowest value
    if fp.max_negative != fp.max_code:
        lowest = math.ldexp(max(fp.max_negative, 0), fp.min_exponent - fp.fraction_bits)
    return ShortParams(
        shift=23 - fp.fraction_bits,
        threshold=(fp.min_exponent + 127) << 23,
        magic=(last_place + 127) << 23,
        offset=(fp.min_exponent + 126) << fp.fraction_bits,
        maximum=float_bits(fmt.max, 4),
        max_code=fp.max_code,
        maximum_negative=float_bits(lowest, 4),
    )


def nearest_suits(short: ShortParams, cap: int) -> bool:
    """Tell whether the fast encoding to nearest even is exact for a format.

    `nearest_code32` of the kernels adds a power of two to each magnitude, which must be a float32 itself.
    ``cap`` is the largest magnitude, as bits of a float32.
    """
    return 0 < short.shift < 255 - (cap >> 23)  # else the power is no float32, or is too small


@planned
@in_default_environment
def code_ends(fmt: Format, overflow: Overflow, nan_code: int | None = None) -> Ends:
    """Build the record of the codes that overflow and NaN become.

    ``nan_code`` replaces NaN if it is given; in a format without NaN it is else 0, and not used.
    """
    fp = format_params(fmt)
    sign = fp.mask ^ fp.magnitude_mask
    nans = (nan_code or 0,) * 2
    if nan_code is None and fp.nan_code >= 0:
        nans = (fp.nan_code, fp.nan_code | sign)
    infs = nans
    if overflow is Overflow.SATURATE:
        least = fp.max_negative
        infs = (fp.max_code, ((least ^ fp.negate_flip) + fp.negate_base) & fp.mask if least > 0 else 0)
    elif fp.inf_code >= 0:
        infs = (fp.inf_code, fp.inf_code | sign if sign else nans[1])
    zero_is_nan = int(overflow is Overflow.NON_SATURATING and not fmt.has_zero)
    return Ends(infs[0], infs[1], nans[0], nans[1], zero_is_nan)


@planned
@in_default_environment
def value_ends(fmt: Format, codes: Ends, itemsize: int = 4) -> Ends:
    """Build the record of the values that overflow and NaN become, as bits of float32 or float64."""
    top = format_params(fmt).mask ^ format_params(fmt).magnitude_mask

    def bits(code: int) -> int:
        return float_bits(fmt.value(code), itemsize, bool(code & top))

    over, nans = (codes.over_positive, codes.over_negative), (codes.nan_positive, codes.nan_negative)
    return Ends(bits(over[0]), bits(over[1]), bits(nans[0]), bits(nans[1]), codes.zero_is_nan)


def float_bits(value: float, itemsize: int, minus: bool = False) -> int:
    """Return the bits of a number in float32 or float64, as a signed integer; NaN is a quiet one."""
    number = np.array(math.nan if math.isnan(value) else value, f"f{itemsize}")
    if math.isnan(value):
        number = np.copysign(number, -1.0 if minus else 1.0)
    return int(number.view(f"i{itemsize}"))
