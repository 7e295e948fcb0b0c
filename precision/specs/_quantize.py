"""The function `quantize`, which takes any kind of spec, and the protocol of specs."""

from __future__ import annotations

from typing import Any, Protocol, TypeVar, overload

import numpy as np
import numpy.typing as npt

from precision.formats._codec import encode
from precision.formats._float_format import FloatFormat
from precision.formats._named import FP32
from precision.formats._rounding_modes import checked_offset
from precision.logfmt._logfmt_spec import LogFMTTensor
from precision.quantization._quantized_tensor import QuantizedTensor, check_target
from precision.quantization._row_views import source_of
from precision.specs._spec_text import parse

Result_co = TypeVar("Result_co", covariant=True)


class Spec(Protocol[Result_co]):
    """Protocol of specs: the methods by which `quantize` and others use any spec.

    Any class with these methods is a spec; it need not derive from this one. The type parameter is the kind
    of quantized tensor that the spec makes.

    Examples
    --------
    >>> import precision as pr
    >>> pr.MXFP8_E4M3.bits_per_element((4, 64))
    8.25
    """

    def quantize(self, x: npt.ArrayLike, axis: int = -1, out: Any = None) -> Result_co:
        """Quantize an array to codes and scales.

        Parameters
        ----------
        x : array_like
            The array.
        axis : int
            The axis along which groups run.
        out : object, optional
            A tensor that this spec made of an array of ``x``'s shape, whose memory takes the result.
        """
        ...

    def bits_per_element(self, shape: tuple[int, ...], axis: int = -1) -> float:
        """Return the bits that are stored for each element of an array, scales included.

        Parameters
        ----------
        shape : tuple of int
            The shape of the array.
        axis : int
            The axis along which groups run.
        """
        ...


@overload
def quantize(
    x: npt.ArrayLike,
    spec: Spec[Result_co],
    axis: int = ...,
    out: Any = ...,
    *,
    offset: int = ...,
    nan: float | None = ...,
) -> Result_co: ...
@overload
def quantize(
    x: npt.ArrayLike,
    spec: FloatFormat,
    axis: int = ...,
    out: QuantizedTensor | None = ...,
    *,
    offset: int = ...,
    nan: float | None = ...,
) -> QuantizedTensor: ...
@overload
def quantize(
    x: npt.ArrayLike,
    spec: str,
    axis: int = ...,
    out: Any = ...,
    *,
    offset: int = ...,
    nan: float | None = ...,
) -> QuantizedTensor | LogFMTTensor: ...
def quantize(
    x: npt.ArrayLike,
    spec: Any,
    axis: int = -1,
    out: Any = None,
    *,
    offset: int = 0,
    nan: float | None = None,
) -> Any:
    """Quantize an array by a spec, to codes and scales.

    Parameters
    ----------
    x : array_like
        float16, bfloat16, float32, float64, or another floating-point type of ml_dtypes; at least 1-D.
    spec : QuantSpec, LogFMT, FloatFormat or str
        A spec, a bare format (which rounds values as they are, with the scale 1, and saturates), or the text
        of one of them, as ``"MXFP8_E4M3"``, which `precision.specs.parse` reads. Any other object
        with a ``quantize(x, axis, out)`` method is a spec too (and is given an ``offset`` other than 0).
    axis : int
        The axis along which groups run. A right operand (K, N) of a product takes ``axis=-2``.
    out : QuantizedTensor or LogFMTTensor, optional
        A tensor whose codes and scales are overwritten, of ``x``'s shape and the spec's formats and block.
        They may lie in ``x``'s memory, but not in each other's. The tensor returned shares them, but not
        the tensor scale.
    offset : int
        The index of the first element of ``x``, 0 to 2**64 - ``x.size``, from which a `Stochastic` rounding
        counts its random bits. A deterministic rounding gives the same for every offset. See the notes.
    nan : float, optional
        The replacement of NaN in a bare format that has none; without it, NaN raises there. Other specs
        have their own rules for NaN.

    Returns
    -------
    QuantizedTensor or LogFMTTensor
        The quantized tensor, of ``x``'s shape. The codes of groups lie contiguous in memory, and those of
        larger blocks lie as ``x`` does.

    Raises
    ------
    TypeError
        If ``x`` is not of a floating-point type, or another argument is of the wrong type.
    ValueError
        If ``axis`` is none of ``x``, the granularity does not suit the shape, the text says no spec, ``x``
        has a NaN that a bare format cannot hold, or ``offset`` or ``out`` does not fit: its codes and
        scales may not overlap.

    Notes
    -----
    A `QuantSpec` divides each element by its scale as stored (with a tensor scale: by their float32 product)
    in float64 if ``x`` is float64, and in float32 if it is of any other type, which float32 holds exactly.
    The quotient is rounded to the element's format. Scales that are quotients of amax are computed in the
    same type, and rounded to float32. So a float64 array and its float32 copy may differ in scales and
    codes. (An ``arithmetic`` other than DIVISION has operations of its own.)

    A piece ``x[i:j]`` along the first axis of a larger ``x`` has the offset ``i * x[0].size``; with it the
    piece's codes are those of the whole, if it has the same scales too: it must cut no group (where groups
    or blocks extend along the first axis, ``i`` is a multiple of their length there), and there must be no
    scale over the whole tensor. A piece along another axis is no run of neighbours in C order: quantize
    each run with its own offset.

    Examples
    --------
    >>> import numpy as np, precision as pr
    >>> w = np.random.default_rng(0).standard_normal((256, 384)).astype(np.float32)
    >>> q = pr.quantize(w, pr.QuantSpec(pr.E4M3, pr.PerBlock(128, 128)), axis=-2)
    >>> q.shape, q.scale.shape, q.block
    ((256, 384), (2, 3), (128, 128))
    >>> pr.quantize(w, "MXFP8_E4M3").block
    (1, 32)
    >>> pr.quantize(np.float32([0.3, 500]), pr.E4M3).dequantize()
    array([3.125e-01, 4.480e+02], dtype=float32)

    The second half, as it is quantized in the whole:

    >>> spec = pr.QuantSpec(pr.E4M3, pr.PerBlock(128, 128), rounding=pr.Stochastic(8))
    >>> whole, half = pr.quantize(w, spec), pr.quantize(w[128:], spec, offset=128 * w[0].size)
    >>> bool((half.codes == whole.codes[128:]).all())
    True
    """
    if isinstance(spec, str):
        spec = parse(spec)
    if isinstance(spec, FloatFormat):
        return _quantize_by_format(x, spec, out, offset, nan)
    if not callable(getattr(spec, "quantize", None)) or isinstance(spec, type):
        raise TypeError(f"spec must be one as QuantSpec(E4M3, PerGroup(128)), got {spec!r}")
    first = checked_offset(offset, 0)
    if first == 0:
        return spec.quantize(x, axis=axis, out=out)  # also a spec that knows no offset
    return spec.quantize(x, axis=axis, out=out, offset=first)


def _quantize_by_format(
    x: npt.ArrayLike, fmt: FloatFormat, out: QuantizedTensor | None, offset: int, nan: float | None
) -> QuantizedTensor:
    """Quantize an array by a bare format: to codes of its values, with the scale 1."""
    replacement = nan if fmt.nan_code is None else None
    if out is None:
        codes = encode(x, fmt, nan=replacement, offset=offset)
        return QuantizedTensor(codes, np.ones((), np.float32), fmt=fmt)
    source = source_of(x)
    block = (None,) * source.ndim
    check_target(out, source.shape, fmt, FP32, block)
    codes = encode(source, fmt, nan=replacement, offset=offset, out=out.codes)
    out.scale[...] = 1
    return QuantizedTensor(codes, out.scale, fmt=fmt, block=block)
