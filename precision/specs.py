"""Every way of making numbers smaller under one name: `QuantSpec`, `LogFMT`, or a bare format."""

from __future__ import annotations

from typing import Any, TypeAlias, overload

import numpy as np
import numpy.typing as npt

from precision import _text, logfmt, quantized
from precision._support._float_environment import in_default_environment
from precision.codec import encode
from precision.formats import FloatFormat
from precision.logfmt import LogFMT, LogFMTTensor
from precision.quantized import QuantizedTensor, QuantSpec
from precision.scaling import checked_axis

__all__ = ["AnySpec", "check_suits", "parse", "quantize"]

AnySpec: TypeAlias = QuantSpec | LogFMT | FloatFormat
"""How an array is stored; a bare format rounds its values as they are, with scale 1, and saturates."""


@in_default_environment
def parse(text: str) -> AnySpec:
    """The spec or format that ``str`` printed, or that a user wrote in the same language.

    Raises
    ------
    TypeError
        If ``text`` is not a string.
    ValueError
        If it says none of the three; the message names the part that is unknown.

    Examples
    --------
    >>> from precision import specs
    >>> [str(specs.parse(text)) for text in ("mxfp4", "logfmt(8)", "QuantSpec(e4m3, PerGroup(128))", "bf16")]
    ['MXFP4', 'LogFMT(8, 128)', 'QuantSpec(e4m3, PerGroup(128))', 'bf16']
    """
    if not isinstance(text, str):
        raise TypeError(f"text must be a str, got {text!r}")
    found = _text.evaluate(text, quantized.vocabulary() | logfmt.vocabulary(), "spec")
    if not isinstance(found, QuantSpec | LogFMT | FloatFormat):
        raise ValueError(
            f"spec {text!r}: must say a QuantSpec, as QuantSpec(e4m3, PerGroup(128)), "
            "a LogFMT, as LogFMT(8), or a floating-point format, as bf16"
        )
    if isinstance(found, FloatFormat) and not (found.signed and found.has_zero):
        raise ValueError(f"spec {text!r}: a format without scales must have a sign and a zero")
    return found


def check_suits(spec: AnySpec, shape: tuple[int, ...], axis: int = -1) -> None:
    """Raise ValueError if ``spec`` cannot take an array of ``shape`` with groups along ``axis``."""
    checked_axis(axis, len(shape))
    if isinstance(spec, QuantSpec):
        spec.scale_shape(shape, axis)


@overload
def quantize(
    x: npt.ArrayLike, spec: QuantSpec | FloatFormat, axis: int = ..., *, nan: float | None = ...
) -> QuantizedTensor: ...
@overload
def quantize(x: npt.ArrayLike, spec: LogFMT, axis: int = ..., *, nan: float | None = ...) -> LogFMTTensor: ...
@overload
def quantize(
    x: npt.ArrayLike, spec: AnySpec, axis: int = ..., *, nan: float | None = ...
) -> QuantizedTensor | LogFMTTensor: ...
@in_default_environment
def quantize(
    x: npt.ArrayLike, spec: AnySpec, axis: int = -1, *, nan: float | None = None
) -> QuantizedTensor | LogFMTTensor:
    """`precision.quantize`, which takes a bare format too.

    Parameters
    ----------
    x : array_like
        Of a floating-point type.
    spec : QuantSpec, LogFMT or FloatFormat
        How. A bare format makes a tensor with scale 1.
    axis : int
        Along which groups run.
    nan : float, optional
        What NaN becomes in a bare format that has none; without it, NaN raises there.

    Raises
    ------
    TypeError, ValueError
        As `precision.quantize` and `encode` raise them.

    Examples
    --------
    >>> import numpy as np, precision as pr
    >>> from precision import specs
    >>> specs.quantize(np.float32([0.3, 500]), pr.E4M3).dequantize()
    array([3.125e-01, 4.480e+02], dtype=float32)
    """
    if not isinstance(spec, FloatFormat):
        tensor: Any = quantized.quantize(x, spec, axis=axis)
        return tensor  # type: ignore[no-any-return]
    codes = encode(x, spec, nan=nan if spec.nan_code is None else None)
    return QuantizedTensor(codes, np.ones((), np.float32), fmt=spec)
