"""The choice of the compiled loop of a conversion: the fastest that is exact for its arguments."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from precision._kernels._params import NO_SHORT, Ends, ShortParams, StochasticParams
from precision._support._plans import planned
from precision._support._types import Array
from precision._support.machine._aligned_memory import streaming
from precision.formats._codec_constants import (
    MODES,
    code_ends,
    format_params,
    nearest_suits,
    short_params,
    value_ends,
)
from precision.formats._float_format import FloatFormat
from precision.formats._int_format import IntFormat
from precision.formats._named import Format
from precision.formats._rounding_modes import Overflow, Rounding, Stochastic

Loop: TypeAlias = Callable[[Array, Array, int, int], None]
"""A loop that converts a piece of an array.

Its arguments are the bits of the piece, the bits of its result, the index of its first element (from which
random bits are counted) and the bytes of the whole source and result (large results are written past the
caches).
"""

_LOW = 0xFFFFFFFF  #: mask of the low word of Philox's counter


def same_but_for_sign(fmt: Format) -> bool:
    """Tell whether a number and its negative always round to codes that differ in the sign bit alone."""
    return isinstance(fmt, FloatFormat) and fmt.has_negative_zero


@planned
def find_loop(
    fmt: Format, rounding: Rounding, overflow: Overflow, nan: int | None, itemsize: int, to_codes: bool
) -> Loop:
    """Find the compiled loop of a deterministic rounding, and keep it for equal arguments.

    Parameters
    ----------
    fmt, rounding, overflow
        The arguments of `round_to`.
    nan : int, optional
        The code that takes the place of NaN.
    itemsize : int
        Bytes of an element that the loop reads.
    to_codes : bool
        True if the loop writes codes, False if it writes values.
    """
    ends = build_special_results(fmt, overflow, nan, itemsize, to_codes)
    return choose_loop(fmt, rounding, ends, itemsize, to_codes, nan)


def build_special_results(
    fmt: Format, overflow: Overflow, nan: int | None, itemsize: int, to_codes: bool
) -> Ends:
    """Build the record of the results of overflow and NaN, as codes or as bits of values."""
    ends = code_ends(fmt, overflow, nan)
    return ends if to_codes else value_ends(fmt, ends, itemsize)


def choose_loop(
    fmt: Format,
    rounding: Rounding | Stochastic,
    ends: Ends,
    itemsize: int,
    to_codes: bool,
    nan: int | None = None,
) -> Loop:
    """Choose the loop of a conversion, deterministic or stochastic; its parameters are `find_loop`'s."""
    from precision._kernels.numbers import _conversion_loops

    if isinstance(rounding, Stochastic):
        return _choose_random_loop(fmt, rounding, ends, itemsize, to_codes, nan)
    # The fast loops copy the sign of NaN, and a replacement of NaN has its own.
    if itemsize == 4 and nan is None and same_but_for_sign(fmt):
        short = _choose_short_loop(fmt, rounding, ends, to_codes)
        if short is not None:
            return short
    fp, mode = format_params(fmt), MODES[rounding]
    near = short_params(fmt) if rounding is Rounding.TIES_TO_EVEN else None
    if itemsize == 4 and not to_codes and near is not None and (isinstance(fmt, IntFormat) or fmt.has_zero):
        unlike, zero = _conversion_loops.round_nearest_unlike32, fp.negative_zero
        return lambda x, out, start, nbytes: unlike(x, out, *streaming(out, nbytes), near, zero, ends)
    if itemsize == 4 and not to_codes:
        round32 = _conversion_loops.round32
        return lambda x, out, start, nbytes: round32(x, out, *streaming(out, nbytes), fp, mode, ends)
    loop = getattr(_conversion_loops, f"{'encode' if to_codes else 'round'}{8 * itemsize}")
    return lambda x, out, start, nbytes: loop(x, out, fp, mode, ends)


def _choose_random_loop(
    fmt: Format, rounding: Stochastic, ends: Ends, itemsize: int, to_codes: bool, nan: int | None
) -> Loop:
    """Choose the loop of a stochastic rounding."""
    from precision._kernels.numbers import _conversion_loops

    fp, seed = format_params(fmt), rounding.seed
    random = StochasticParams(rounding.bits, seed & _LOW, seed >> 32)
    loop = getattr(_conversion_loops, f"{'encode' if to_codes else 'round'}_random{8 * itemsize}")

    last: tuple[ShortParams, ...] = ()
    if itemsize == 4:
        last = (((short_params(fmt) if nan is None and same_but_for_sign(fmt) else None) or NO_SHORT),)
    return lambda x, out, start, nbytes: loop(x, out, fp, random, ends, start & _LOW, start >> 32, *last)


def _choose_short_loop(fmt: Format, rounding: Rounding, ends: Ends, to_codes: bool) -> Loop | None:
    """Choose a fast loop for float32 and a deterministic mode, or return None if none suits the format."""
    from precision._kernels.numbers import _conversion_loops

    short = short_params(fmt)
    if short is None:
        return None
    mode, nearest = MODES[rounding], rounding is Rounding.TIES_TO_EVEN
    unsigned = (1 << (fmt.bits - 1 if to_codes else 31)) - 1
    over, nan, places = ends.over_positive & unsigned, ends.nan_positive & unsigned, 32 - fmt.bits
    if nearest and not to_codes:
        return lambda x, out, start, nbytes: _conversion_loops.round_nearest32(
            x, out, *streaming(out, nbytes), short, over, nan
        )
    # Magnitudes past the largest value are cut to a value whose code is the next one: that of Inf or NaN.
    cap = short.maximum + ((over > short.max_code) << short.shift)
    if nearest and nearest_suits(short, cap):
        return lambda x, out, start, nbytes: _conversion_loops.encode_nearest32(
            x, out, *streaming(out, nbytes), short, cap, nan, places
        )
    if short.shift < 2:
        return None
    if to_codes:
        return lambda x, out, start, nbytes: _conversion_loops.encode_short32(
            x, out, short, mode, ends, unsigned + 1
        )
    return lambda x, out, start, nbytes: _conversion_loops.round_short32(
        x, out, *streaming(out, nbytes), short, mode, ends
    )
