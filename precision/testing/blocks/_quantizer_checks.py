"""Checks of quantizers, on everything that is hard for the format or spec that they claim to implement."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from precision._support._expressions import shorten
from precision._support._suggestions import did_you_mean
from precision._support.machine._float_environment import in_default_environment
from precision.formats._float_format import FloatFormat
from precision.formats._int_format import IntFormat
from precision.formats._named import FP64, Format, parse_format
from precision.formats._rounding_modes import Overflow, Rounding, Stochastic
from precision.quantization._quant_spec import SPECS, QuantSpec
from precision.testing._calls import Call, label
from precision.testing._hard_values import checked_source
from precision.testing._properties import Property, run
from precision.testing._reports import Report
from precision.testing.blocks._block_properties import block_properties
from precision.testing.blocks._declared_quantizer import Quantizer
from precision.testing.blocks._expected_blocks import Reference
from precision.testing.elements._declared_rounding import CODES, VALUES, Elements
from precision.testing.elements._element_properties import elements_properties
from precision.testing.elements._rounding_mistakes import Rounds

Like = Format | QuantSpec | str


def parse_like(like: Like) -> Format | QuantSpec:
    """Return a format or a spec; text is read in upper or lower case.

    Raises
    ------
    TypeError, ValueError
        If ``like`` is neither, or names neither.

    Examples
    --------
    >>> from precision.testing.blocks._quantizer_checks import parse_like
    >>> print(parse_like("mxfp8_e4m3"), parse_like("e4m3"), parse_like("QuantSpec(int8, PerVector())"))
    MXFP8_E4M3 e4m3 QuantSpec(int8, PerVector())
    """
    if isinstance(like, FloatFormat | IntFormat | QuantSpec):
        return like
    if not isinstance(like, str):
        raise TypeError(f"like must be a format, a QuantSpec, or the text of one, got {like!r}")
    text = like.strip()
    if text.upper() in SPECS and text.lower() != "mxint8":
        return SPECS[text.upper()]
    if text in SPECS or "QuantSpec" in text:
        return QuantSpec.parse(text)
    try:
        return parse_format(text)
    except ValueError as error:
        raise ValueError(
            f"like {shorten(text)} is no spec{did_you_mean(text.upper(), SPECS)}, and {error}"
        ) from None


@in_default_environment
def quantizer_properties(
    like: Like,
    *,
    rounding: Rounding | Stochastic | None = None,
    overflow: Overflow | None = None,
    axis: int = -1,
    ragged: bool = True,
    returns: str | None = None,
    dtype: npt.DTypeLike = np.float32,
) -> tuple[Property, ...]:
    """Return the properties that `check_quantizer` tries, for pytest to try one by one.

    Parameters
    ----------
    like, rounding, overflow, axis, ragged, returns, dtype
        As in `check_quantizer`.

    Returns
    -------
    tuple of Property
        Each prints as its name, and has ``check(fn)``, which raises an AssertionError where ``fn`` lacks it.

    Examples
    --------
    In a test file::

        @pytest.mark.parametrize("prop", precision.testing.quantizer_properties(precision.MXFP4), ids=str)
        def test_my_quantizer(prop):
            prop.check(my_quantizer)

    >>> import precision as pr
    >>> from precision.testing import quantizer_properties
    >>> properties = quantizer_properties(pr.E2M1)
    >>> [str(prop) for prop in properties][:6]
    ['result', 'input unchanged', 'determinism', 'array edges', 'nearest value', 'tie rule']
    >>> properties[5].check(lambda x: pr.encode(x, pr.E2M1)).cases
    10
    """
    declared, kind = parse_like(like), checked_source(dtype)
    if returns not in (None, CODES, VALUES):
        raise ValueError(f"returns must be 'codes', 'values' or None, got {returns!r}")
    if isinstance(declared, QuantSpec):
        if rounding is not None or overflow is not None:
            raise ValueError(
                f"rounding and overflow are {declared}'s own: leave them out, or change the spec"
            )
        if axis not in (-1, -2, 0, 1):
            raise ValueError(f"axis must be one of a matrix (-2..1), got {axis!r}")
        along = -1 if axis in (-1, 1) else -2
        reference = Reference(declared, axis=along)
        return block_properties(Quantizer(reference, dtype=kind, returns=returns, ragged=ragged))
    if declared == FP64:
        raise ValueError("like must have at most 32 bits, got fp64")
    right = Rounds(
        declared,
        rounding=Rounding.TIES_TO_EVEN if rounding is None else rounding,
        overflow=Overflow.SATURATE if overflow is None else overflow,
    )
    if right.overflow is Overflow.NON_SATURATING and not declared.has_nan:
        raise ValueError(f"overflow must be SATURATE for {declared}, which has neither Inf nor NaN")
    return elements_properties(Elements(right, dtype=kind, returns=returns))


@in_default_environment
def check_quantizer(
    fn: Callable[..., Any],
    like: Like,
    *,
    rounding: Rounding | Stochastic | None = None,
    overflow: Overflow | None = None,
    axis: int = -1,
    ragged: bool = True,
    returns: str | None = None,
    dtype: npt.DTypeLike = np.float32,
    convert: Callable[[Any], Any] | None = None,
    time_limit: float | None = None,
) -> Report:
    """Try a quantizer on everything that is hard for the format or spec that it claims to implement.

    Parameters
    ----------
    fn : callable
        For a format: an array to its codes, or to the rounded values, of the same shape. For a spec: a
        matrix to ``(codes, scale)``, ``(codes, scale, tensor_scale)``, a `QuantizedTensor`, any object with
        such attributes, or the restored values alone ("fake quantization"; scales are then judged by what
        they do). Codes have the format's ml_dtypes type or are unsigned integers, one a code (integers of a
        signed format may be signed); scales are codes of their format, or values of a floating-point type.
        Tensors of PyTorch are read as well.
    like : FloatFormat, IntFormat, QuantSpec or str
        What it should be like: ``pr.E4M3``, ``pr.MXFP8_E4M3``, ``"nvfp4"``.
    rounding : Rounding or Stochastic, optional
        For a format; by default TIES_TO_EVEN. A spec has its own. Of a `Stochastic` rounding the random bits
        are not compared: only neighbours may come, and their mean must be right (to 6 standard deviations).
    overflow : Overflow, optional
        For a format; by default SATURATE. A spec has its own.
    axis : int
        Along which axis of a matrix the groups of a spec run.
    ragged : bool
        Whether lengths that blocks do not divide are tried; False for a quantizer that does not take them.
    returns : {"codes", "values"}, optional
        What comes of ``fn``; by default told by its type.
    dtype : dtype
        Of the numbers given: float32, float64, float16 or bfloat16.
    convert : callable, optional
        Turns each NumPy array into what ``fn`` takes: ``torch.from_numpy``, for one.
    time_limit : float, optional
        Seconds for each call. A call that takes longer is named as hanging; its thread cannot be stopped,
        and is left behind.

    Returns
    -------
    Report
        One outcome for each property, with the smallest failing input that was found, what was expected,
        what came, and a guess at the cause: the known mistake whose predictions match all that was seen.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit. Whatever ``fn`` does wrong is in the report.

    Notes
    -----
    Expected results come from `round_to` and from `quantize`. Elements are judged under the scale that came
    with them, so that a wrong scale alone does not fail them. Inputs are the same in every run.

    The properties for a format, in order:

    - *result*: shape and type of the result. Nothing else is tried where it fails.
    - *input unchanged*: ``fn`` does not write into its input.
    - *determinism*: the same input gives the same bits twice.
    - *array edges*: an element's result does not depend on the array's length, from 1 to 1025.
    - *nearest value*: numbers some ULPs beside ties and values, and between them, become the right value.
    - *tie rule*: numbers halfway between two values go to the declared one.
    - *subnormals*: so do numbers below the smallest normal value of the format, and of ``dtype``.
    - *overflow rule*: so do numbers around and above the largest value, and Inf.
    - *NaN*: NaNs of every kind become NaN, in a format that has it.
    - *signed zero*: zeros, and numbers that are rounded to zero, keep their sign.
    - *idempotence*: values of the format stay what they are.
    - *monotonicity*: a larger number does not become a smaller value.
    - *sign symmetry*: -x becomes the negative of what x becomes.

    For a `Stochastic` rounding *neighbours* (a number becomes one of the two values beside it) and *unbiased*
    (the mean of many roundings is the number) take the place of all from *nearest value* on but *idempotence*
    and *NaN*.

    Those for a spec are, beside these of the same names:

    - *scale rule*, *scale range*: amaxes anywhere in a block, of either sign, and up to the ends of the
      scale's format, give the declared scales.
    - *zero blocks*: so do blocks of zeros, alone and beside others.
    - *scale applied as stored*: elements are divided by the scale after it was rounded to its format.
    - *NaN and Inf*: one of them does to its block what the spec says, and nothing to others.
    - *block edges*: lengths that blocks do not divide end in a shorter block.
    - *axis*: groups run along the declared axis.

    Examples
    --------
    >>> import dataclasses, numpy as np, precision as pr
    >>> from precision.testing import check_quantizer
    >>> def mine(x):
    ...     scale = np.abs(x).reshape(len(x), -1, 32).max(-1) / 448
    ...     codes = x.reshape(len(x), -1, 32) / scale[..., None]
    ...     exponent = np.ceil(np.log2(scale)).astype(int)
    ...     return pr.encode(codes, pr.E4M3).reshape(x.shape), np.exp2(exponent).astype(np.float32)
    >>> rceil = dataclasses.replace(pr.MXFP8_E4M3, scale_rule=pr.ScaleRule.RCEIL)
    >>> report = check_quantizer(mine, like=rceil, ragged=False)
    >>> print(report["nearest value"].cause)
    scale rounded after the elements were divided
    """
    call = Call(fn, convert=convert, time_limit=time_limit)
    properties = quantizer_properties(
        like, rounding=rounding, overflow=overflow, axis=axis, ragged=ragged, returns=returns, dtype=dtype
    )
    return run(properties, call, subject=label(fn), like=_claim_text(parse_like(like), rounding, overflow))


def _claim_text(like: Format | QuantSpec, rounding: object, overflow: object) -> str:
    """Return the text of the format or spec, and its options, that a quantizer is checked against."""
    named = [str(like)] + [str(given) for given in (rounding, overflow) if given is not None]
    return ", ".join(named)
