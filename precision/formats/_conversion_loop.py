"""The choice of a conversion's loop: the fastest that is exact for format, rounding and type of source."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TypeAlias

from precision._kernels._params import Ends, StochasticParams
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
from precision.formats._named import Format
from precision.formats._rounding_modes import Overflow, Rounding, Stochastic

Loop: TypeAlias = Callable[[Array, Array, int, int], None]
"""A loop over a piece of a conversion: bits of the source, of the result, index of the first, all bytes.

The index is that of random bits. The bytes are those of the whole source and result: large results are
written past the caches.
"""

_LOW = 0xFFFFFFFF  #: the counter's low word


def same_but_for_sign(fmt: Format) -> bool:
    """Return whether results of either sign differ in the sign bit alone."""
    return isinstance(fmt, FloatFormat) and fmt.has_negative_zero


@functools.lru_cache(maxsize=512)
def loop_of(
    fmt: Format, rounding: Rounding, overflow: Overflow, nan: int | None, itemsize: int, to_codes: bool
) -> Loop:
    """Return the loop of a deterministic rounding, which is found once.

    Parameters
    ----------
    fmt, rounding, overflow
        As in `round_to`.
    nan : int, optional
        The code that takes the place of NaN.
    itemsize : int
        Bytes of an element that the loop reads.
    to_codes : bool
        Whether it writes codes, or values.
    """
    ends = ends_of(fmt, overflow, nan, itemsize, to_codes)
    return choose_loop(fmt, rounding, ends, itemsize, to_codes, nan)


def ends_of(fmt: Format, overflow: Overflow, nan: int | None, itemsize: int, to_codes: bool) -> Ends:
    """Return what overflow and NaN become, as codes or as bits of values."""
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
    """Choose the loop for a source of ``itemsize`` bytes an element; parameters as in `loop_of`."""
    from precision._kernels.numbers import _conversion_loops

    if isinstance(rounding, Stochastic):
        return _random_loop(fmt, rounding, ends, itemsize, to_codes)
    # A replacement of NaN has one sign.
    if itemsize == 4 and nan is None and same_but_for_sign(fmt):
        short = _short_loop(fmt, rounding, ends, to_codes)
        if short is not None:
            return short
    fp, mode = format_params(fmt), MODES[rounding]
    loop = getattr(_conversion_loops, f"{'encode' if to_codes else 'round'}{8 * itemsize}")
    return lambda x, out, start, nbytes: loop(x, out, fp, mode, ends)


def _random_loop(fmt: Format, rounding: Stochastic, ends: Ends, itemsize: int, to_codes: bool) -> Loop:
    from precision._kernels.numbers import _conversion_loops

    fp, seed = format_params(fmt), rounding.seed
    random = StochasticParams(rounding.bits, seed & _LOW, seed >> 32)
    loop = getattr(_conversion_loops, f"{'encode' if to_codes else 'round'}_random{8 * itemsize}")

    def work(x: Array, out: Array, start: int, nbytes: int) -> None:
        done = 0
        while done < x.size:  # a loop's counter carries no further than its low word
            low, high = (start + done) & _LOW, (start + done) >> 32
            stop = min(x.size, done + _LOW + 1 - low)
            loop(x[done:stop], out[done:stop], fp, random, ends, low, high)
            done = stop

    return work


def _short_loop(fmt: Format, rounding: Rounding, ends: Ends, to_codes: bool) -> Loop | None:
    """Choose a loop for float32 and a deterministic mode, where a short way suits the format."""
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
    # Whatever lies past the largest value has the code after its own, which is Inf's or NaN's.
    cap = short.maximum + ((over > short.max_code) << short.shift)
    if nearest and nearest_suits(short, cap):
        return lambda x, out, start, nbytes: _conversion_loops.encode_nearest32(
            x, out, *streaming(out, nbytes), short, cap, nan, places
        )
    if short.shift < 2:
        return None
    if to_codes:
        return lambda x, out, start, nbytes: _conversion_loops.encode_short32(
            x, out, short, mode, over, nan, places
        )
    return lambda x, out, start, nbytes: _conversion_loops.round_short32(x, out, short, mode, over, nan)
