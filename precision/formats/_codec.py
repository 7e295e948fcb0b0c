"""Values to codes and back: `round_to`, `encode` and `decode`, each with one rounding from any source."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from precision._kernels._params import Ends, StochasticParams
from precision._support._array_checks import refuse_masked, refuse_overlapping
from precision._support._types import Array
from precision._support.machine._aligned_memory import streaming
from precision._support.machine._float_environment import in_default_environment
from precision._support.machine._threads import parallel
from precision.formats._code_checks import clean_codes
from precision.formats._codec_constants import (
    MODES,
    code_ends,
    float_bits,
    format_params,
    nearest_suits,
    short_params,
    value_ends,
)
from precision.formats._float_format import FloatFormat
from precision.formats._int_format import IntFormat
from precision.formats._named import BF16, FP64, Format, format_of
from precision.formats._rounding_modes import Overflow, Rounding, Stochastic, checked_offset

GRAIN = 1 << 18
"""Least elements that a call of a loop works on."""
_LOW = 0xFFFFFFFF  #: the counter's low word


@in_default_environment
def round_to(
    x: npt.ArrayLike,
    fmt: Format,
    *,
    rounding: Rounding | Stochastic = Rounding.TIES_TO_EVEN,
    overflow: Overflow = Overflow.SATURATE,
    nan: float | None = None,
    offset: int = 0,
    out: Array | None = None,
) -> Array:
    """Round to the values of a format, with one rounding from the source.

    Parameters
    ----------
    x : array_like
        float16, bfloat16, float32, float64, or any other floating-point type of ml_dtypes.
    fmt : FloatFormat or IntFormat
        The values to round to.
    rounding : Rounding or Stochastic
        How.
    overflow : Overflow
        What becomes of values too large. In unsigned formats negative values that do not round to zero
        overflow too: to the smallest value (SATURATE), or to NaN (NON_SATURATING). The same holds for zero
        in a format without zero, where every other value below the smallest becomes the smallest.
    nan : float, optional
        A value of ``fmt`` that takes the place of NaN in the result. Needed where ``fmt`` has no NaN and
        the result would hold one.
    offset : int
        The index of the first element, 0 to 2**64 - ``x.size``. A `Stochastic` rounding counts its random
        bits from there, so that the pieces of a contiguous array, each with its place in it, give what the
        whole array gives. A deterministic rounding gives the same for every offset.
    out : ndarray, optional
        Where to put the result; it may be ``x`` itself, or overlap it.

    Returns
    -------
    ndarray
        float64 for float64, else float32; of ``x``'s shape.

    Raises
    ------
    TypeError
        If ``x`` is not of a floating-point type, or another argument is not of the type given above.
    ValueError
        If the result would hold a NaN in a format without NaN, or if ``nan``, ``offset`` or ``out`` does
        not fit.

    Notes
    -----
    Every rounding is of the source itself, also from float64. NaN stays NaN; its payload is lost. Formats
    without a negative zero give +0.

    Examples
    --------
    >>> import numpy as np, precision as pr
    >>> pr.round_to(np.float32([5.3, -1000.0, np.nan]), pr.E4M3)
    array([   5.5, -448. ,    nan], dtype=float32)
    >>> pr.round_to([2.5, 3.5, -0.25], pr.IntFormat(4))
    array([2., 4., 0.])

    Rows of an array give what the whole array gives:

    >>> x, random = np.full((4, 100), 1.03, np.float32), pr.Stochastic(8)
    >>> whole = pr.round_to(x, pr.E4M3, rounding=random)
    >>> bool((pr.round_to(x[3], pr.E4M3, rounding=random, offset=3 * 100) == whole[3]).all())
    True
    """
    source = _source(x)
    how = _Conversion(fmt, rounding, overflow, nan, source, offset)
    dtype = _wide(source)
    return how.run(source, out, dtype, np.dtype(f"u{dtype.itemsize}"), to_codes=False)


@in_default_environment
def encode(
    x: npt.ArrayLike,
    fmt: Format,
    *,
    rounding: Rounding | Stochastic = Rounding.TIES_TO_EVEN,
    overflow: Overflow = Overflow.SATURATE,
    nan: float | None = None,
    offset: int = 0,
    out: Array | None = None,
) -> Array:
    """Codes of the values that `round_to` gives.

    Parameters
    ----------
    x, fmt, rounding, overflow, nan, offset
        As in `round_to`.
    out : ndarray, optional
        Where to put the codes, of type ``fmt.dtype``.

    Returns
    -------
    ndarray
        Codes of type ``fmt.dtype`` and ``x``'s shape: ml_dtypes' or NumPy's type of that format, else
        unsigned integers. A NaN is written as ``fmt.nan_code``, with the sign of ``x`` where the format's
        NaN has one.

    Raises
    ------
    TypeError, ValueError
        As `round_to`.

    Examples
    --------
    >>> import numpy as np, precision as pr
    >>> pr.encode(np.float32([1.0, -0.3, np.nan]), pr.E4M3).view(np.uint8)
    array([ 56, 170, 127], dtype=uint8)
    """
    source = _source(x)
    how = _Conversion(fmt, rounding, overflow, nan, source, offset)
    return how.run(source, out, fmt.dtype, fmt.code_dtype, to_codes=True)


@in_default_environment
def decode(codes: npt.ArrayLike, fmt: Format, *, out: Array | None = None) -> Array:
    """Values of codes, exactly.

    Parameters
    ----------
    codes : array_like
        Of type ``fmt.dtype``, or unsigned integers below ``2**fmt.bits``. (ml_dtypes' integers of fewer than
        8 bits may have bits above those, which ml_dtypes ignores.)
    fmt : FloatFormat or IntFormat
        What they mean.
    out : ndarray, optional
        Where to put the values, of type float32.

    Returns
    -------
    ndarray
        float32, of the codes' shape. NaNs are quiet.

    Raises
    ------
    TypeError
        If ``codes`` has another type.
    ValueError
        If a code does not fit into ``fmt.bits``, or ``out`` does not fit.

    Examples
    --------
    >>> import numpy as np, precision as pr
    >>> pr.decode(np.uint8([0x00, 0x38, 0x7E, 0xFF]), pr.E4M3)
    array([  0.,   1., 448.,  nan], dtype=float32)
    """
    _check_format(fmt)
    refuse_masked("codes", codes)
    given = np.asarray(codes)
    if given.dtype.kind == "u" and not given.dtype.isnative:
        given = given.astype(given.dtype.newbyteorder("="))
    if given.dtype != fmt.dtype and given.dtype.kind != "u":
        raise TypeError(f"codes must have dtype {fmt.dtype} or an unsigned integer one, got {given.dtype}")
    given = clean_codes(given, fmt)
    bits = np.ascontiguousarray(given).reshape(-1).view(f"u{given.itemsize}")
    result, target = _target(out, given, np.dtype(np.float32))
    if not bits.size:
        return result

    from precision._kernels.numbers import _conversion_loops

    fp = format_params(fmt)
    values = target.reshape(-1)

    def work(start: int, stop: int) -> None:
        piece = bits[start:stop]
        _conversion_loops.decode(
            piece.astype(np.uint32) if piece.itemsize == 8 else piece, values[start:stop], fp
        )

    parallel(work, bits.size, _grain(bits.size))
    return _delivered(result, target)


class _Conversion:
    """One checked call of `round_to` or `encode`."""

    def __init__(
        self,
        fmt: Format,
        rounding: Rounding | Stochastic,
        overflow: Overflow,
        nan: float | None,
        source: Array,
        offset: int,
    ) -> None:
        _check_format(fmt)
        if not isinstance(rounding, Rounding | Stochastic):
            raise TypeError(f"rounding must be a Rounding or a Stochastic, got {rounding!r}")
        if not isinstance(overflow, Overflow):
            raise TypeError(f"overflow must be an Overflow, got {overflow!r}")
        self.fmt, self.rounding, self.overflow = fmt, rounding, overflow
        self.offset = checked_offset(offset, source.size)
        self.nbytes = 0  #: of the source and the result, once there is one
        self.ends = code_ends(fmt, overflow, None if nan is None else _exact_code(nan, fmt))
        # Whether results of either sign differ in the sign bit alone. A replacement of NaN has one sign.
        self.symmetric = nan is None and isinstance(fmt, FloatFormat) and fmt.has_negative_zero
        if nan is None and not fmt.has_nan:
            self._refuse_nan(source)

    def _refuse_nan(self, source: Array) -> None:
        """Raise before any work if the result would hold a NaN in a format that has none."""
        flat, wide = source.reshape(-1), _wide(source)
        mark = float_bits(math.nan, wide.itemsize)
        marked = Ends(mark, mark, mark, mark, self.ends.zero_is_nan)
        found: list[int] = []

        def work(start: int, stop: int) -> None:
            piece = result = _widened(flat[start:stop], wide)
            if self.overflow is Overflow.NON_SATURATING:  # what overflows shows only when it is rounded
                result = np.empty_like(piece)
                kernel = self._kernel(wide.itemsize, False, marked)
                kernel(piece.view(f"u{wide.itemsize}"), result.view(f"u{wide.itemsize}"), start)
            bad = np.isnan(result)
            if bad.any():
                found.append(start + int(bad.argmax()))

        parallel(work, flat.size, GRAIN)
        if found:
            first = min(found)
            raise ValueError(
                f"x has {flat[first]} at flat index {first}, which would become NaN, and {self.fmt} "
                "has none: choose a replacement (nan=0.0, for one) or Overflow.SATURATE"
            )

    def _kernel(self, itemsize: int, to_codes: bool, ends: Ends) -> Callable[[Array, Array, int], None]:
        """The loop for a source of this size: (source bits, result, index of the first) -> None."""
        from precision._kernels.numbers import _conversion_loops

        fp, name = format_params(self.fmt), "encode" if to_codes else "round"
        if isinstance(self.rounding, Stochastic):
            seed = self.rounding.seed
            random = StochasticParams(self.rounding.bits, seed & 0xFFFFFFFF, seed >> 32)
            loop = getattr(_conversion_loops, f"{name}_random{8 * itemsize}")

            def work(x: Array, out: Array, start: int) -> None:
                index, done = self.offset + start, 0
                while done < x.size:  # a loop's counter carries no further than its low word
                    low, high = (index + done) & _LOW, (index + done) >> 32
                    stop = min(x.size, done + _LOW + 1 - low)
                    loop(x[done:stop], out[done:stop], fp, random, ends, low, high)
                    done = stop

            return work
        if itemsize == 4 and self.symmetric:
            short = self._short_kernel(to_codes, ends)
            if short is not None:
                return short
        mode, loop = MODES[self.rounding], getattr(_conversion_loops, f"{name}{8 * itemsize}")
        return lambda x, out, start: loop(x, out, fp, mode, ends)

    def _short_kernel(self, to_codes: bool, ends: Ends) -> Callable[[Array, Array, int], None] | None:
        """The same for float32 and a deterministic mode, where a short way suits the format."""
        from precision._kernels.numbers import _conversion_loops

        short = short_params(self.fmt)
        if short is None:
            return None
        assert isinstance(self.rounding, Rounding)
        mode, nearest = MODES[self.rounding], self.rounding is Rounding.TIES_TO_EVEN
        unsigned = (1 << (self.fmt.bits - 1 if to_codes else 31)) - 1
        over, nan, places = ends.over_positive & unsigned, ends.nan_positive & unsigned, 32 - self.fmt.bits
        if nearest and not to_codes:
            return lambda x, out, start: _conversion_loops.round_nearest32(
                x, out, *streaming(out, self.nbytes), short, over, nan
            )
        # Whatever lies past the largest value has the code after its own, which is Inf's or NaN's.
        cap = short.maximum + ((over > short.max_code) << short.shift)
        if nearest and nearest_suits(short, cap):
            return lambda x, out, start: _conversion_loops.encode_nearest32(
                x, out, *streaming(out, self.nbytes), short, cap, nan, places
            )
        if short.shift < 2:
            return None
        if to_codes:
            return lambda x, out, start: _conversion_loops.encode_short32(
                x, out, short, mode, over, nan, places
            )
        return lambda x, out, start: _conversion_loops.round_short32(x, out, short, mode, over, nan)

    def run(
        self, source: Array, out: Array | None, dtype: np.dtype[Any], word: np.dtype[Any], *, to_codes: bool
    ) -> Array:
        result, target = _target(out, source, dtype)
        if not source.size:
            return result
        flat, cells = source.reshape(-1), target.reshape(-1).view(word)
        wide = _wide(source)
        self.nbytes = source.nbytes + target.nbytes
        ends = self.ends if to_codes else value_ends(self.fmt, self.ends, wide.itemsize)
        kernel = self._kernel(wide.itemsize, to_codes, ends)

        def work(start: int, stop: int) -> None:
            piece = _widened(flat[start:stop], wide)
            kernel(piece.view(f"u{wide.itemsize}"), cells[start:stop], start)

        grain = _grain(flat.size) if source.dtype == wide else GRAIN  # what is widened stays in cache
        parallel(work, flat.size, grain)
        return _delivered(result, target)


def _exact_code(value: float, fmt: Format) -> int:
    """The code of a value that the format has."""
    if isinstance(value, bool) or not isinstance(value, float | int | np.floating):
        raise TypeError(f"nan must be a number, got {value!r}")
    if math.isfinite(value):
        code = int(encode(np.float64(value), fmt).view(fmt.code_dtype)[()])
        if fmt.value(code) == value:
            return code
    raise ValueError(f"nan must be a finite value of {fmt}, got {value}")


def _check_format(fmt: object) -> None:
    if not isinstance(fmt, FloatFormat | IntFormat):
        raise TypeError(f"fmt must be a FloatFormat or an IntFormat, got {fmt!r}")
    if fmt == FP64:
        raise ValueError("fmt must not be fp64: it describes inputs and outputs only")


def _source(x: npt.ArrayLike) -> Array:
    """The input as a contiguous native array of a floating-point type."""
    refuse_masked("x", x)
    array = np.asarray(x)
    if not _is_float(array.dtype):
        raise TypeError(
            f"x must be of a floating-point type (float16, bfloat16, …, float64), got {array.dtype}"
        )
    return np.ascontiguousarray(array, array.dtype.newbyteorder("=")).reshape(array.shape)


@functools.lru_cache(maxsize=256)
def _is_float(dtype: np.dtype[Any]) -> bool:
    try:
        return isinstance(format_of(dtype.newbyteorder("=")), FloatFormat)
    except (ValueError, TypeError):  # TypeError: a type without byte order
        return False


def _grain(size: int) -> int:
    """A sixteenth of a large array as a power of two, since calls of a few hundred microseconds cost dear."""
    return max(GRAIN, min(1 << 20, 1 << (size // 16).bit_length() - 1)) if size >= 16 else GRAIN


def _wide(source: Array) -> np.dtype[Any]:
    """The type that the kernels read: float64 as it is, anything else widened to float32."""
    return np.dtype(np.float64 if source.dtype == np.float64 else np.float32)


def _widened(piece: Array, wide: np.dtype[Any]) -> Array:
    if piece.dtype != BF16.dtype:
        return piece.astype(wide, copy=False)
    bits = piece.view(np.uint16).astype(np.uint32)  # several times as fast as ml_dtypes' cast
    bits <<= 16
    return bits.view(wide)


def _target(out: Array | None, source: Array, dtype: np.dtype[Any]) -> tuple[Array, Array]:
    """The array to return, and a contiguous one to fill, which overlaps no part of the source but all."""
    if out is None:
        result = np.empty(source.shape, dtype)
        return result, result
    refuse_masked("out", out)
    if not isinstance(out, np.ndarray):
        raise TypeError(f"out must be an ndarray, got {type(out).__name__}")
    if out.dtype != dtype or out.shape != source.shape:
        raise ValueError(f"out must be {dtype} of shape {source.shape}, got {out.dtype} of shape {out.shape}")
    if not out.flags.writeable:
        raise ValueError("out must be writable, got a read-only array")
    refuse_overlapping("out", out)
    same = out.ctypes.data == source.ctypes.data and out.itemsize == source.itemsize
    if not out.flags.c_contiguous or (np.may_share_memory(out, source) and not same):
        return out, np.empty(source.shape, dtype)
    return out, out


def _delivered(result: Array, target: Array) -> Array:
    """The result, copied from the array that was filled where that is another one."""
    if result is not target:
        result[...] = target
    return result
