"""The parser of every kind of spec (`QuantSpec`, `LogFMT` or a bare format), and checks of specs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, TypeAlias, TypeVar

from precision._support._argument_checks import check_axis
from precision._support._expressions import shorten
from precision._support.machine._float_environment import in_default_environment
from precision.formats import _text_language
from precision.formats._float_format import FloatFormat
from precision.formats._rounding_modes import Stochastic
from precision.logfmt import _logfmt_spec
from precision.logfmt._logfmt_spec import LogFMT
from precision.quantization import _quant_spec
from precision.quantization._quant_spec import QuantSpec

AnySpec: TypeAlias = QuantSpec | LogFMT | FloatFormat
"""A spec of any kind. A bare format rounds an array's values as they are, with scale 1, and saturates."""
_Left = TypeVar("_Left", bound=AnySpec | None)
_Right = TypeVar("_Right", bound=AnySpec | None)


@in_default_environment
def parse(text: str) -> AnySpec:
    """Return the spec or format that a text describes, which is how it prints.

    Parameters
    ----------
    text : str
        A name of a spec or a format, in capitals or not, or a constructor call.

    Raises
    ------
    TypeError
        If ``text`` is not a string.
    ValueError
        If ``text`` describes no `QuantSpec`, `LogFMT` or floating-point format; the message names the part
        that cannot be read.

    Examples
    --------
    >>> from precision import specs
    >>> [str(specs.parse(text)) for text in ("mxfp4", "logfmt(8)", "QuantSpec(e4m3, PerGroup(128))", "bf16")]
    ['MXFP4', 'LogFMT(8, 128)', 'QuantSpec(e4m3, PerGroup(128))', 'bf16']
    """
    found = _text_language.evaluate(text, _quant_spec.vocabulary() | _logfmt_spec.vocabulary(), "spec")
    if not isinstance(found, QuantSpec | LogFMT | FloatFormat):
        raise ValueError(
            f"spec {shorten(text)}: must say a QuantSpec, as QuantSpec(e4m3, PerGroup(128)), "
            "a LogFMT, as LogFMT(8), or a floating-point format, as bf16"
        )
    if isinstance(found, FloatFormat) and not (found.signed and found.has_zero):
        raise ValueError(f"spec {shorten(text)}: a format without scales must have a sign and a zero")
    return found


def check_suits(spec: AnySpec, shape: tuple[int, ...], axis: int = -1) -> None:
    """Raise ValueError if a spec cannot take an array of some shape.

    Parameters
    ----------
    spec : QuantSpec, LogFMT or FloatFormat
        The spec.
    shape : tuple of int
        The shape of the array.
    axis : int
        The axis along which groups run.

    Raises
    ------
    ValueError
        If ``axis`` is none of the array's, or the groups do not suit the shape.

    Examples
    --------
    >>> import precision as pr
    >>> from precision import specs
    >>> specs.check_suits(pr.MXFP8_E4M3, (4, 100))  # the last group of a row is shorter
    """
    check_axis(axis, len(shape))
    if isinstance(spec, QuantSpec):
        spec.scale_shape(shape, axis)


def for_operands(left: _Left, right: _Right) -> tuple[_Left, _Right]:
    """Return specs for the two operands of one product that share no random bits.

    If both round stochastically by the same seed, the right one's becomes ``with_stream(1)`` of it
    (`Stochastic`), else the errors of the operands are correlated and the product is biased. Every other
    pair comes back as it is; so does a pair that this function returned. The studies of products, their
    commands and `precision.bounds` quantize by such a pair.

    Parameters
    ----------
    left, right : QuantSpec, LogFMT, FloatFormat or None
        The spec of each operand; None for an operand that is not quantized.

    Examples
    --------
    >>> import precision as pr
    >>> from precision import specs
    >>> spec = pr.QuantSpec(pr.E4M3, pr.PerTensor(), rounding=pr.Stochastic(8))
    >>> left, right = specs.for_operands(spec, spec)
    >>> left == spec, right.rounding == pr.Stochastic(8).with_stream(1)
    (True, True)
    >>> specs.for_operands(left, right) == (left, right)
    True
    """
    if isinstance(right, QuantSpec | LogFMT):
        first, second = getattr(left, "rounding", None), right.rounding
        if isinstance(first, Stochastic) and isinstance(second, Stochastic) and first.seed == second.seed:
            own: Any = replace(right, rounding=second.with_stream(1))
            return left, own
    return left, right
