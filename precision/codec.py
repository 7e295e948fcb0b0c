"""Values to codes and back: `round_to`, `encode` and `decode`, each with one rounding from any source."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from precision._kernels import params
from precision._kernels._threads import parallel
from precision._kernels.params import Ends, FormatParams, ModeParams, NearestParams, StochasticParams
from precision.formats import BF16, FP64, FloatFormat, Format, IntFormat, format_of
from precision.rounding import Overflow, Rounding, Stochastic

Array = npt.NDArray[Any]

GRAIN = 1 << 18
"""Elements that one call of a loop works on; a divisor of 2**32, where the random counter carries."""

MODES: dict[Rounding, ModeParams] = {mode: getattr(params, mode.name) for mode in Rounding}
"""What kernels know of each deterministic mode."""


def round_to(
    x: npt.ArrayLike,
    fmt: Format,
    *,
    rounding: Rounding | Stochastic = Rounding.TIES_TO_EVEN,
    overflow: Overflow = Overflow.SATURATE,
    nan: float | None = None,
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
    out : ndarray, optional
        Where to put the result; it may be ``x`` itself.

    Returns
    -------
    ndarray
        float64 for float64, else float32; of ``x``'s shape.

    Raises
    ------
    TypeError
        If ``x`` is not of a floating-point type, or another argument is not of the type given above.
    ValueError
        If the result would hold a NaN in a format without NaN, or if ``nan`` or ``out`` does not fit.

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
    """
    source = _source(x)
    how = _Conversion(fmt, rounding, overflow, nan, source)
    dtype = _wide(source)
    return how.run(source, out, dtype, np.dtype(f"u{dtype.itemsize}"), to_codes=False)


def encode(
    x: npt.ArrayLike,
    fmt: Format,
    *,
    rounding: Rounding | Stochastic = Rounding.TIES_TO_EVEN,
    overflow: Overflow = Overflow.SATURATE,
    nan: float | None = None,
    out: Array | None = None,
) -> Array:
    """Codes of the values that `round_to` gives.

    Parameters
    ----------
    x, fmt, rounding, overflow, nan
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
    how = _Conversion(fmt, rounding, overflow, nan, source)
    return how.run(source, out, fmt.dtype, fmt.code_dtype, to_codes=True)


def decode(codes: npt.ArrayLike, fmt: Format, *, out: Array | None = None) -> Array:
    """Values of codes, exactly.

    Parameters
    ----------
    codes : array_like
        Of type ``fmt.dtype``, or unsigned integers below ``2**fmt.bits``.
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
    given = np.asarray(codes)
    if given.dtype.kind == "u" and not given.dtype.isnative:
        given = given.astype(given.dtype.newbyteorder("="))
    if given.dtype != fmt.dtype and given.dtype.kind != "u":
        raise TypeError(f"codes must have dtype {fmt.dtype} or an unsigned integer one, got {given.dtype}")
    if given.dtype.kind == "u" and given.itemsize * 8 > fmt.bits and given.size:
        largest = int(given.max())
        if largest >> fmt.bits:
            raise ValueError(f"codes of {fmt} must lie below 2**{fmt.bits}, got {largest}")
    bits = np.ascontiguousarray(given).reshape(-1).view(f"u{given.itemsize}")
    result, target = _target(out, given, np.dtype(np.float32))
    if not bits.size:
        return result

    from precision._kernels import codec

    fp = format_params(fmt)
    values = target.reshape(-1)

    def work(start: int, stop: int) -> None:
        piece = bits[start:stop]
        codec.decode(piece.astype(np.uint32) if piece.itemsize == 8 else piece, values[start:stop], fp)

    parallel(work, bits.size, GRAIN)
    return _delivered(result, target)


@functools.lru_cache(maxsize=256)
def format_params(fmt: Format) -> FormatParams:
    """What kernels know of a format."""
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
    unsigned_limit = 0 if fmt.has_zero else -(1 << 30)  # below any code that rounding can give
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


@functools.lru_cache(maxsize=256)
def nearest_params(fmt: Format) -> NearestParams | None:
    """The parameters of the short way to the nearest float32, or None for a format that it does not suit."""
    fp = format_params(fmt)
    last_place = fp.min_exponent - fp.fraction_bits + 23
    if fp.hidden or not fp.fraction_bits or not -126 <= fp.min_exponent <= 127 or last_place > 127:
        return None
    return NearestParams(
        shift=23 - fp.fraction_bits,
        threshold=(fp.min_exponent + 127) << 23,
        magic=(last_place + 127) << 23,
        offset=(fp.min_exponent + 126) << fp.fraction_bits,
        max_positive=_float_bits(fmt.max, 4),
        max_negative=_float_bits(abs(_least(fmt)), 4),
    )


@functools.lru_cache(maxsize=256)
def code_ends(fmt: Format, overflow: Overflow, nan_code: int | None = None) -> Ends:
    """What overflow and NaN become, as codes. ``nan_code`` takes the place of a NaN (0 if there is none)."""
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


@functools.lru_cache(maxsize=256)
def value_ends(fmt: Format, codes: Ends, itemsize: int = 4) -> Ends:
    """The same as bits of float32 or float64 values."""
    top = format_params(fmt).mask ^ format_params(fmt).magnitude_mask

    def bits(code: int) -> int:
        return _float_bits(fmt.value(code), itemsize, bool(code & top))

    over, nans = (codes.over_positive, codes.over_negative), (codes.nan_positive, codes.nan_negative)
    return Ends(bits(over[0]), bits(over[1]), bits(nans[0]), bits(nans[1]), codes.zero_is_nan)


def _least(fmt: Format) -> float:
    """The value of the largest magnitude that a negative number can have."""
    if isinstance(fmt, IntFormat):
        return fmt.min
    return -fmt.max if fmt.signed else 0.0


def _float_bits(value: float, itemsize: int, minus: bool = False) -> int:
    """Bits of a float32 or float64 as a signed integer; NaN is quiet, with the sign asked for."""
    number = np.array(math.nan if math.isnan(value) else value, f"f{itemsize}")
    if math.isnan(value):
        number = np.copysign(number, -1.0 if minus else 1.0)
    return int(number.view(f"i{itemsize}"))


class _Conversion:
    """One checked call of `round_to` or `encode`."""

    def __init__(
        self,
        fmt: Format,
        rounding: Rounding | Stochastic,
        overflow: Overflow,
        nan: float | None,
        source: Array,
    ) -> None:
        _check_format(fmt)
        if not isinstance(rounding, Rounding | Stochastic):
            raise TypeError(f"rounding must be a Rounding or a Stochastic, got {rounding!r}")
        if not isinstance(overflow, Overflow):
            raise TypeError(f"overflow must be an Overflow, got {overflow!r}")
        self.fmt, self.rounding, self.overflow = fmt, rounding, overflow
        self.ends = code_ends(fmt, overflow, None if nan is None else _exact_code(nan, fmt))
        # Whether results of either sign differ in the sign bit alone. A replacement of NaN has one sign.
        self.symmetric = nan is None and isinstance(fmt, FloatFormat) and fmt.has_negative_zero
        if nan is None and not fmt.has_nan:
            self._refuse_nan(source)

    def _refuse_nan(self, source: Array) -> None:
        """Raise before any work if the result would hold a NaN in a format that has none."""
        flat, wide = source.reshape(-1), _wide(source)
        mark = _float_bits(math.nan, wide.itemsize)
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
        from precision._kernels import codec

        fp, near = format_params(self.fmt), nearest_params(self.fmt)
        name = "encode" if to_codes else "round"
        if isinstance(self.rounding, Stochastic):
            seed = self.rounding.seed
            random = StochasticParams(self.rounding.bits, seed & 0xFFFFFFFF, seed >> 32)
            loop = getattr(codec, f"{name}_random{8 * itemsize}")
            return lambda x, out, start: loop(x, out, fp, random, ends, start & 0xFFFFFFFF, start >> 32)
        if itemsize == 4 and self.rounding is Rounding.TIES_TO_EVEN and near and self.symmetric:
            over, nan = ends.over_positive & 0x7FFFFFFF, ends.nan_positive & 0x7FFFFFFF
            if not to_codes:
                return lambda x, out, start: codec.round_nearest32(x, out, near, over, nan)
            # Whatever lies past the largest value has the code after its own, which is Inf's or NaN's.
            cap = near.max_positive + ((over > fp.max_code) << near.shift)
            places = 32 - self.fmt.bits
            if 0 < near.shift < 255 - (cap >> 23):  # else the power of two to add is no float32, or too small
                return lambda x, out, start: codec.encode_nearest32(x, out, near, cap, nan, places)
        mode, loop = MODES[self.rounding], getattr(codec, f"{name}{8 * itemsize}")
        return lambda x, out, start: loop(x, out, fp, mode, ends)

    def run(
        self, source: Array, out: Array | None, dtype: np.dtype[Any], word: np.dtype[Any], *, to_codes: bool
    ) -> Array:
        result, target = _target(out, source, dtype)
        if not source.size:
            return result
        flat, cells = source.reshape(-1), target.reshape(-1).view(word)
        wide = _wide(source)
        ends = self.ends if to_codes else value_ends(self.fmt, self.ends, wide.itemsize)
        kernel = self._kernel(wide.itemsize, to_codes, ends)

        def work(start: int, stop: int) -> None:
            piece = _widened(flat[start:stop], wide)
            kernel(piece.view(f"u{wide.itemsize}"), cells[start:stop], start)

        parallel(work, flat.size, GRAIN)
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
    if not isinstance(out, np.ndarray):
        raise TypeError(f"out must be an ndarray, got {type(out).__name__}")
    if out.dtype != dtype or out.shape != source.shape:
        raise ValueError(f"out must be {dtype} of shape {source.shape}, got {out.dtype} of shape {out.shape}")
    if not out.flags.writeable:
        raise ValueError("out must be writable, got a read-only array")
    same = out.ctypes.data == source.ctypes.data and out.itemsize == source.itemsize
    if not out.flags.c_contiguous or (np.may_share_memory(out, source) and not same):
        return out, np.empty(source.shape, dtype)
    return out, out


def _delivered(result: Array, target: Array) -> Array:
    """The result, copied from the array that was filled where that is another one."""
    if result is not target:
        result[...] = target
    return result
