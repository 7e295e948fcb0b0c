"""Counts of the changes that quantizing makes: bits stored, errors, elements clipped or flushed."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from precision import specs
from precision._support._array_checks import refuse_masked
from precision._support._types import Array
from precision._support.machine._float_environment import (
    in_default_environment,
    methods_in_default_environment,
)
from precision.formats._float_format import FloatFormat
from precision.formats._named import Format
from precision.logfmt._design_choices import LogBase
from precision.logfmt._logfmt_spec import LogFMT, LogFMTTensor
from precision.metrics._columns import declare, number_text
from precision.metrics._scaled_sums import add_scaled, multiply_by_power, sum_magnitudes, sum_squares
from precision.quantization._quantized_tensor import QuantizedTensor
from precision.specs._spec_text import AnySpec

Quantized: TypeAlias = QuantizedTensor | LogFMTTensor
# The number of elements that are measured at a time, so that their float64 copies stay in the cache.
_PIECE = 1 << 16
_FAR = 2.0**1000  # a number above any element that a level may stand for
# An excess over the largest value that is this small does not count: rounding a scale to float32 explains it.
_ROUNDED = 1 + 2.0**-22
# The same allowance above the last level: min and max lie within 103 (150 binades) of zero, or 745 for
# float64.
_ROUNDED_LOGARITHMS = 1 + 2.0**-15


@dataclass(frozen=True, kw_only=True)
@methods_in_default_environment
class Tally:
    """Counts and sums of the changes that quantizing made to some numbers; two tallies add up with ``+``.

    Only finite elements are measured, and only those whose scale is finite: one NaN or Inf excludes its whole
    block (`QuantSpec`), or its tile (`LogFMT`). A share is one of the measured elements, and NaN where there
    are none.

    Parameters
    ----------
    elements, measured, non_finite : int
        All elements, those measured, and those that are NaN or Inf.
    clipped : int
        Measured elements beyond the largest value times their scale; a relative 2**-22, which the rounding
        of the scale to float32 explains, does not count. Of LogFMT those beyond their tile's last level;
        2**-15, which the rounding of min and step to float32 explains, does not count.
    flushed : int
        Measured elements that are not zero and became zero.
    bits : int
        Bits stored for all elements, scales and metadata counted.
    signal, noise : float
        Sums of the squares of the elements and of their errors.
    magnitude, signed_error : float
        Sums of the elements' magnitudes, and of errors away from zero (toward it: negative).
    max_relative_error : float
        Largest |error| / |element| of those that are not zero; 0 where there is none, 1 for a flushed one.
    signal_exponent, noise_exponent, magnitude_exponent : int
        Powers of two, zeros but for float64 elements near the ends of the range, whose sums would leave it:
        the sums are ``signal * 4**signal_exponent``, ``noise * 4**noise_exponent``, and ``magnitude`` and
        ``signed_error`` times ``2**magnitude_exponent``.
    """

    elements: int = 0
    measured: int = 0
    non_finite: int = 0
    clipped: int = 0
    flushed: int = 0
    bits: int = 0
    signal: float = 0.0
    noise: float = 0.0
    magnitude: float = 0.0
    signed_error: float = 0.0
    max_relative_error: float = 0.0
    signal_exponent: int = 0
    noise_exponent: int = 0
    magnitude_exponent: int = 0

    def __add__(self, other: Tally) -> Tally:
        sums = {
            field.name: getattr(self, field.name) + getattr(other, field.name)
            for field in dataclasses.fields(Tally)
        }
        sums["max_relative_error"] = float(np.maximum(self.max_relative_error, other.max_relative_error))
        for name in ("signal", "noise"):
            parts = ((getattr(one, name), getattr(one, f"{name}_exponent")) for one in (self, other))
            sums[name], sums[f"{name}_exponent"] = add_scaled(*parts, base=2)
        exponent = max(self.magnitude_exponent, other.magnitude_exponent)
        if math.isinf(self._rescale_magnitudes(exponent)[0] + other._rescale_magnitudes(exponent)[0]):
            exponent += 1
        (magnitude, signed), (more, more_signed) = (
            one._rescale_magnitudes(exponent) for one in (self, other)
        )
        sums |= {"magnitude": magnitude + more, "signed_error": signed + more_signed}
        sums["magnitude_exponent"] = exponent
        return Tally(**sums)

    def _rescale_magnitudes(self, exponent: int) -> tuple[float, float]:
        """Return ``magnitude`` and ``signed_error`` as they are for another ``magnitude_exponent``."""
        if exponent == self.magnitude_exponent:
            return self.magnitude, self.signed_error
        by = self.magnitude_exponent - exponent
        return multiply_by_power(self.magnitude, by), multiply_by_power(self.signed_error, by)

    @property
    def sqnr_db(self) -> float:
        """The signal-to-quantization-noise ratio, -10 log10(noise / signal), in dB.

        It is infinite without an error, and NaN where nothing was measured.
        """
        if not self.measured or math.isnan(self.noise):
            return math.nan
        if self.noise == 0:
            return math.inf
        with np.errstate(divide="ignore", invalid="ignore", over="ignore", under="ignore"):
            ratio = np.float64(self.signal) / self.noise
            exponent = 2 * (self.signal_exponent - self.noise_exponent)
            if exponent or not 0 < ratio < np.inf:  # the ratio may not fit into float64
                (signal, above), (noise, below) = math.frexp(self.signal), math.frexp(self.noise)
                ratio, exponent = np.float64(signal) / noise, exponent + above - below
            return float(10 * (np.log10(ratio) + exponent * math.log10(2)))

    @property
    def norm_relative_error(self) -> float:
        """The norm of the errors over the norm of the elements (Euclidean); NaN if those are all zero."""
        if not self.signal:
            return math.nan
        (signal, above), (noise, below) = math.frexp(self.signal), math.frexp(self.noise)
        ratio, exponent = noise / signal, below - above
        if exponent % 2:
            ratio, exponent = 2 * ratio, exponent - 1
        return multiply_by_power(math.sqrt(ratio), exponent // 2 + self.noise_exponent - self.signal_exponent)

    @property
    def signed_relative_error(self) -> float:
        """The bias, sum(sign(element) error) / sum |element|, negative where numbers shrink toward zero.

        It is 0 where all elements are zero and stay zero, infinite where they do not (in a format without
        zero), and NaN where nothing was measured.
        """
        if self.magnitude:
            return self.signed_error / self.magnitude
        return self.noise * math.inf if self.noise else self._share(0)

    @property
    def clipped_share(self) -> float:
        """The share of clipped elements among the measured ones; NaN where nothing was measured."""
        return self._share(self.clipped)

    @property
    def flushed_share(self) -> float:
        """The share of flushed elements among the measured ones; NaN where nothing was measured."""
        return self._share(self.flushed)

    @property
    def bits_per_element(self) -> float:
        """The number of bits stored for each element, scales counted; NaN without elements."""
        return self.bits / self.elements if self.elements else math.nan

    def _share(self, count: int) -> float:
        return count / self.measured if self.measured else math.nan


def _percent(share: float) -> str:
    """Return the text of a share in percent."""
    return number_text(100 * share, ".2g")


declare("clipped_share", "clipped, share of the elements", heading="clipped\n%", show=_percent, linear=True)
declare(
    "flushed_share",
    "flushed to zero, share of the elements",
    heading="flushed\n%",
    show=_percent,
    linear=True,
)
declare("max_relative_error", "largest relative error", heading="largest\nrelative", show=".3g")


@in_default_environment
def tally(x: npt.ArrayLike, spec: AnySpec, *, axis: int = -1) -> Tally:
    """Quantize an array, and count its errors and its clipped and flushed elements.

    Parameters
    ----------
    x : array_like
        Of a floating-point type, with at least one element. NaN and Inf are counted, not measured.
    spec : QuantSpec, LogFMT or FloatFormat
        The spec to quantize with; a bare format rounds the elements as they are.
    axis : int
        The axis along which groups run.

    Returns
    -------
    Tally
        Its errors are those of the exact products of codes and scales, or of the levels, in float64.

    Raises
    ------
    TypeError, ValueError
        As `quantize` raises them, and if ``x`` has no elements.

    Examples
    --------
    >>> import numpy as np, precision as pr
    >>> from precision.metrics import tally
    >>> found = tally(np.float32([7.0, -3.0, 0.2, 0.0]), pr.MXFP4)  # scale 1: values 6, -3, 0, 0
    >>> found.clipped, found.flushed, found.max_relative_error, found.bits_per_element
    (1, 1, 1.0, 6.0)
    >>> round(found.signed_relative_error, 4)
    -0.1176
    """
    refuse_masked("x", x)
    array = np.asarray(x)
    quantized = specs.quantize(array, spec, axis, nan=0.0)
    if array.size == 0:
        raise ValueError(f"x has no elements (shape {array.shape}): there is nothing to measure")
    total = sum((_measure(*piece) for piece in _split_into_pieces(array, quantized)), Tally())
    return dataclasses.replace(total, bits=_count_bits(spec, quantized, axis))


def _count_bits(spec: AnySpec, quantized: Quantized, axis: int) -> int:
    """Return the number of bits that an array takes in a format or under a spec."""
    if isinstance(spec, FloatFormat):
        return spec.bits * quantized.codes.size
    if isinstance(spec, LogFMT) and spec.fallback:  # which tiles were cast depends on the numbers
        return 8 * quantized.nbytes
    return round(spec.bits_per_element(quantized.shape, axis) * quantized.codes.size)


# ---- pieces -----------------------------------------------------------------------------------------
def _find_block_lengths(quantized: Quantized, axis: int) -> tuple[int | None, int]:
    """Return two lengths along an axis: the elements under one scale, and those of one fallback decision.

    The first is None where one scale holds for the whole axis.
    """
    if isinstance(quantized, QuantizedTensor):
        block = quantized.block[axis]
        return block, block or 1
    if axis != quantized.axis:
        return 1, 1
    fallback = quantized.spec.fallback
    return quantized.spec.block_size, fallback.span if fallback else quantized.spec.block_size


def _split_into_pieces(x: Array, quantized: Quantized) -> Iterator[tuple[Array, Quantized]]:
    """Yield an array and its codes in pieces of whole blocks."""
    axis = next((i for i, size in enumerate(x.shape) if size > 1), 0)
    size, (block, whole) = x.shape[axis], _find_block_lengths(quantized, axis)
    step = -(-max(1, _PIECE * size // x.size) // whole) * whole
    for start in range(0, size, step):
        before = (slice(None),) * axis
        where = (*before, slice(start, start + step))
        above = slice(None) if block is None else slice(start // block, -(-(start + step) // block))
        codes, numbers = quantized.codes[where], (*before, above)
        if isinstance(quantized, QuantizedTensor):
            yield x[where], dataclasses.replace(quantized, codes=codes, scale=quantized.scale[numbers])
        else:
            first, second = quantized.metadata
            metadata = first[numbers], second[numbers]
            yield x[where], dataclasses.replace(quantized, codes=codes, metadata=metadata)


def _repeat_over_blocks(numbers: Array, block: int | None, axis: int, size: int) -> Array:
    """Repeat numbers of blocks along an axis, so that each element has its own."""
    if block is None or block == 1:
        return numbers
    return np.repeat(numbers, block, axis=axis)[((slice(None),) * axis) + (slice(size),)]


def _find_largest_magnitudes(fmt: Format) -> tuple[float, float]:
    """Return the largest magnitudes of a format's negative and of its positive values."""
    if isinstance(fmt, FloatFormat):
        return (fmt.max if fmt.signed else 0.0), fmt.max
    return -fmt.min, fmt.max


def _find_clipping_thresholds(x: Array, quantized: Quantized) -> Array:
    """Return the magnitude above which each element is clipped; not finite where its scale is not."""
    if isinstance(quantized, QuantizedTensor):
        scale = quantized.multipliers().astype(np.float64)
        for axis, block in enumerate(quantized.block):
            scale = _repeat_over_blocks(scale, block, axis, x.shape[axis])
        below, above = _find_largest_magnitudes(quantized.fmt)
        return scale * (_ROUNDED * (above if below == above else np.where(x < 0, below, above)))
    spec = quantized.spec
    log = np.log(2.0) if spec.base is LogBase.TWO else 1.0
    with np.errstate(over="ignore"):
        last = np.exp(log * (quantized.min + quantized.step * (2 ** (spec.bits - 1) - 2)))
    last = _ROUNDED_LOGARITHMS * np.where(np.isinf(last), _FAR, last)
    last = _repeat_over_blocks(last, spec.block_size, quantized.axis, x.shape[quantized.axis])
    if spec.fallback is not None:
        last = np.where(quantized.cast_elements(), last, spec.fallback.fmt.max)
    return last


def _measure(x: Array, quantized: Quantized) -> Tally:
    """Measure the elements of one piece."""
    original = x.astype(np.float64)
    value = quantized.dequantize(np.float64)
    reach = np.broadcast_to(_find_clipping_thresholds(x, quantized), x.shape)
    finite = np.isfinite(original)
    usable = finite & np.isfinite(reach)
    if not usable.all():
        original, value, reach = original[usable], value[usable], reach[usable]
    size = np.abs(original)
    with np.errstate(invalid="ignore", over="ignore"):  # a code may have overflowed to Inf or NaN
        error = value - original
        # The relative error of a zero is left at zero.
        relative = np.divide(np.abs(error), size, out=np.zeros_like(size), where=size != 0)
        signal, noise, magnitude = sum_squares(size), sum_squares(error), sum_magnitudes(size)
        signed = np.copysign(1.0, original) * error
        # The exponent is above zero only where the sum of magnitudes overflows; the errors then have the same
        # one.
        exponent = max(0, magnitude.exponent)
        return Tally(
            elements=x.size,
            measured=original.size,
            non_finite=x.size - int(np.count_nonzero(finite)),
            clipped=int(np.count_nonzero(size > reach)),
            flushed=int(np.count_nonzero((value == 0) & (size != 0))),
            signal=signal.total,
            noise=noise.total,
            magnitude=multiply_by_power(magnitude.total, magnitude.exponent - exponent),
            signed_error=float(np.sum(np.ldexp(signed, -exponent) if exponent else signed)),
            max_relative_error=float(relative.max(initial=0.0)),
            signal_exponent=signal.exponent,
            noise_exponent=noise.exponent,
            magnitude_exponent=exponent,
        )
