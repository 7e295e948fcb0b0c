"""The conversions between values and codes: `round_to`, `encode` and `decode`."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from precision._kernels._params import Ends
from precision._support._array_checks import refuse_masked
from precision._support._types import Array
from precision._support.machine._aligned_memory import streaming
from precision._support.machine._float_environment import in_default_environment
from precision._support.machine._pieces import in_pieces
from precision.formats._code_checks import clean_codes
from precision.formats._codec_arrays import (
    F32,
    WORDS,
    allocate_result,
    copy_back,
    float_source,
    wide_type,
    widen,
)
from precision.formats._codec_constants import code_ends, float_bits, format_params
from precision.formats._conversion_loop import build_special_results, choose_loop, find_loop
from precision.formats._float_format import FloatFormat
from precision.formats._int_format import IntFormat
from precision.formats._named import Format
from precision.formats._rounding_modes import Overflow, Rounding, Stochastic, checked_offset

GRAIN = 1 << 18
"""The fewest elements that one call of a compiled loop converts, if the array has more."""


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
    """Round numbers to the values of a format, with a single rounding from the type that they have.

    Parameters
    ----------
    x : array_like
        float16, bfloat16, float32, float64, or any other floating-point type of ml_dtypes.
    fmt : FloatFormat or IntFormat
        The values to round to.
    rounding : Rounding or Stochastic
        The rounding mode, deterministic or stochastic.
    overflow : Overflow
        The rule for values too large. In unsigned formats negative values that do not round to zero
        overflow too: to the smallest value (SATURATE), or to NaN (NON_SATURATING). Zero does likewise in a
        format without zero, where every other value below the smallest becomes the smallest.
    nan : float, optional
        A value of ``fmt`` that takes the place of NaN in the result. It is needed if ``fmt`` has no NaN
        and the result would hold one.
    offset : int
        The index of the first element, 0 to 2**64 - ``x.size``. A `Stochastic` rounding counts its random
        bits from there, so that the pieces of a contiguous array, each with its place in it, give what the
        whole array gives. A deterministic rounding gives the same for every offset.
    out : ndarray, optional
        The array that takes the result; it may be ``x`` itself, or overlap it.

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
    The source itself is rounded, also a float64: nothing is rounded to float32 on the way. Formats without a
    negative zero give +0. NaN stays NaN, a quiet one without payload: float32 0x7FC00000 or 0xFFC00000, with
    the sign of ``x`` in formats whose NaN has either sign. The one NaN of a signed FNUZ or EXTENDED format
    has the code of -0 and is read as negative, that of an unsigned format as positive.

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
    return _convert(x, fmt, rounding, overflow, nan, offset, out, to_codes=False)


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
    """Encode numbers as the codes of a format, rounded as `round_to` rounds them.

    Parameters
    ----------
    x, fmt, rounding, overflow, nan, offset
        The arguments that `round_to` takes.
    out : ndarray, optional
        The array that takes the codes, of type ``fmt.dtype``.

    Returns
    -------
    ndarray
        Codes of type ``fmt.dtype`` and ``x``'s shape: ml_dtypes' or NumPy's type of that format, else
        unsigned integers. A NaN is written as ``fmt.nan_code``, with the sign of ``x`` if the format's
        NaN has either sign.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit, as `round_to` says.

    Examples
    --------
    >>> import numpy as np, precision as pr
    >>> pr.encode(np.float32([1.0, -0.3, np.nan]), pr.E4M3).view(np.uint8)
    array([ 56, 170, 127], dtype=uint8)
    """
    return _convert(x, fmt, rounding, overflow, nan, offset, out, to_codes=True)


@in_default_environment
def decode(codes: npt.ArrayLike, fmt: Format, *, out: Array | None = None) -> Array:
    """Decode codes of a format to their values, exactly.

    Parameters
    ----------
    codes : array_like
        Codes of type ``fmt.dtype``, or unsigned integers below ``2**fmt.bits``. (ml_dtypes' integers of fewer
        than 8 bits may have bits above those, which ml_dtypes ignores.)
    fmt : FloatFormat or IntFormat
        The format of the codes.
    out : ndarray, optional
        The array that takes the values, of type float32.

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
    bits = np.ascontiguousarray(given).reshape(-1).view(WORDS[given.itemsize])
    result, target = allocate_result(given, F32, out)
    if not bits.size:
        return result

    from precision._kernels.numbers import _conversion_loops

    fp = format_params(fmt)
    values, nbytes = target.reshape(-1), _streamed_bytes(given, target, out)

    def work(start: int, stop: int) -> None:
        piece, part = bits[start:stop], values[start:stop]
        if piece.itemsize == 8:
            piece = piece.astype(np.uint32)
        _conversion_loops.decode(piece, part, *streaming(part, nbytes), fp)

    in_pieces(work, bits.size, _choose_grain(bits.size))
    return copy_back(result, target)


def _convert(
    x: npt.ArrayLike,
    fmt: Format,
    rounding: Rounding | Stochastic,
    overflow: Overflow,
    nan: float | None,
    offset: int,
    out: Array | None,
    to_codes: bool,
) -> Array:
    """Check the arguments of `round_to` or `encode`, and round or encode the numbers."""
    source = float_source(x)
    _check_format(fmt)
    if not isinstance(rounding, (Rounding, Stochastic)):
        raise TypeError(f"rounding must be a Rounding or a Stochastic, got {rounding!r}")
    if not isinstance(overflow, Overflow):
        raise TypeError(f"overflow must be an Overflow, got {overflow!r}")
    first = checked_offset(offset, source.size)
    code = None if nan is None else _exact_code(nan, fmt)
    wide = wide_type(source)
    word = WORDS[wide.itemsize]
    if nan is None and not fmt.has_nan:
        _refuse_nan(source, fmt, rounding, overflow, first)
    result, target = allocate_result(source, fmt.dtype if to_codes else wide, out)
    if not source.size:
        return result
    if isinstance(rounding, Stochastic):
        ends = build_special_results(fmt, overflow, code, wide.itemsize, to_codes)
        loop = choose_loop(fmt, rounding, ends, wide.itemsize, to_codes, code)
    else:
        loop = find_loop(fmt, rounding, overflow, code, wide.itemsize, to_codes)
    flat, cells = source.reshape(-1), target.reshape(-1).view(WORDS[target.itemsize])
    nbytes = _streamed_bytes(source, target, out)

    def work(start: int, stop: int) -> None:
        loop(widen(flat[start:stop], wide).view(word), cells[start:stop], first + start, nbytes)

    as_is = source.dtype == wide
    if as_is and flat.size <= GRAIN:
        loop(flat.view(word), cells, first, nbytes)
    else:
        # A piece that is widened stays in the cache.
        in_pieces(work, flat.size, _choose_grain(flat.size) if as_is else GRAIN)
    return copy_back(result, target)


def _streamed_bytes(source: Array, target: Array, out: Array | None) -> int:
    """Return the bytes by which loops choose whether to write past the caches; 0 if the target is new.

    The system clears the pages of new memory as they are first written to, which brings them to the caches.
    """
    return source.nbytes + target.nbytes if target is out else 0


def _refuse_nan(
    source: Array, fmt: Format, rounding: Rounding | Stochastic, overflow: Overflow, first: int
) -> None:
    """Raise before any work if the result would hold a NaN in a format that has none."""
    flat, wide = source.reshape(-1), wide_type(source)
    found: list[int] = []
    loop = None
    if overflow is Overflow.NON_SATURATING:  # only rounding shows which values overflow
        mark = float_bits(math.nan, wide.itemsize)
        marked = Ends(mark, mark, mark, mark, code_ends(fmt, overflow).zero_is_nan)
        loop = choose_loop(fmt, rounding, marked, wide.itemsize, to_codes=False)

    def work(start: int, stop: int) -> None:
        piece = result = widen(flat[start:stop], wide)
        if loop is not None:
            result, word = np.empty_like(piece), WORDS[wide.itemsize]
            loop(piece.view(word), result.view(word), first + start, 0)
        bad = np.isnan(result)
        if bad.any():
            found.append(start + int(bad.argmax()))

    in_pieces(work, flat.size, GRAIN)
    if found:
        index = min(found)
        raise ValueError(
            f"x has {flat[index]} at flat index {index}, which would become NaN, and {fmt} "
            "has none: choose a replacement (nan=0.0, for one) or Overflow.SATURATE"
        )


def _exact_code(value: float, fmt: Format) -> int:
    """Return the code of the replacement of NaN, or raise if it is no finite value of the format."""
    if isinstance(value, bool) or not isinstance(value, float | int | np.floating):
        raise TypeError(f"nan must be a number, got {value!r}")
    if math.isfinite(value):
        code = int(encode(np.float64(value), fmt).view(fmt.code_dtype)[()])
        if fmt.value(code) == value:
            return code
    raise ValueError(f"nan must be a finite value of {fmt}, got {value}")


def _check_format(fmt: object) -> None:
    """Raise unless ``fmt`` is a format that values can be rounded to."""
    if not isinstance(fmt, (FloatFormat, IntFormat)):
        raise TypeError(f"fmt must be a FloatFormat or an IntFormat, got {fmt!r}")
    if fmt.bits == 64:
        raise ValueError("fmt must not be fp64: it describes inputs and outputs only")


def _choose_grain(size: int) -> int:
    """Choose the number of elements of a piece: a sixteenth of a large array, rounded down to a power of two.

    More pieces would cost more than they gain: each takes a few hundred microseconds.
    """
    return max(GRAIN, min(1 << 20, 1 << (size // 16).bit_length() - 1)) if size >= 16 else GRAIN
