"""Strategies for formats, rounding modes and rules of overflow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from precision._support._argument_checks import check_int
from precision._support._optional_packages import require
from precision._support.machine._float_environment import in_default_environment
from precision.formats._float_format import FloatFormat, Specials
from precision.formats._int_format import IntFormat
from precision.formats._named import NAMED, Format
from precision.formats._rounding_modes import Overflow, Rounding, Stochastic

if TYPE_CHECKING:
    from hypothesis import strategies as st
else:
    st = require("hypothesis.strategies", "testing")


@in_default_environment
def float_formats(
    *, max_bits: int = 16, signed: bool | None = None, unusual: bool = False
) -> st.SearchStrategy[FloatFormat]:
    """Draw floating-point formats with a zero: the named ones, and any other of at most ``max_bits`` bits.

    Parameters
    ----------
    max_bits : int
        The largest number of bits, from 4 to 32.
    signed : bool, optional
        True for formats with a sign only, False for formats without one; by default both are drawn.
    unusual : bool
        True to draw also formats without a zero or subnormals, with any bias, with one exponent bit or no
        fraction bits.

    Examples
    --------
    >>> from hypothesis import find
    >>> from precision.testing import strategies as pst
    >>> find(pst.float_formats(), lambda fmt: fmt.fraction_bits >= 2 and fmt.has_inf).has_inf
    True
    >>> find(pst.float_formats(unusual=True), lambda fmt: not fmt.subnormals).subnormals
    False
    """
    check_int("max_bits", max_bits, 4, 32)

    def suits(fmt: Format) -> bool:
        inside = isinstance(fmt, FloatFormat) and fmt.bits <= max_bits and (fmt.has_zero or unusual)
        return inside and (signed is None or fmt.signed == signed)

    known = sorted((fmt for fmt in NAMED.values() if suits(fmt)), key=lambda fmt: fmt.bits)
    any_other = (_any_unusual_format if unusual else _any_float_format)(max_bits, signed)
    return st.one_of(st.sampled_from(known), any_other) if known else any_other


@st.composite
@in_default_environment
def _any_float_format(draw: st.DrawFn, max_bits: int, signed: bool | None) -> FloatFormat:
    exponent_bits = draw(st.integers(2, min(8, max_bits - 2)))
    has_sign = draw(st.booleans()) if signed is None else signed
    fraction_bits = draw(st.integers(1, min(23, max_bits - exponent_bits - has_sign)))
    specials = draw(st.sampled_from(list(Specials)))
    try:
        return FloatFormat(exponent_bits, fraction_bits, signed=has_sign, specials=specials)
    except ValueError:  # values past float32, or none at all
        return FloatFormat(
            min(exponent_bits, 5), min(fraction_bits, 10), signed=has_sign, specials=Specials.FN
        )


@st.composite
@in_default_environment
def _any_unusual_format(draw: st.DrawFn, max_bits: int, signed: bool | None) -> FloatFormat:
    has_sign = draw(st.booleans()) if signed is None else signed
    exponent_bits = draw(st.integers(1, min(8, max_bits - has_sign)))
    fraction_bits = draw(st.integers(0, min(23, max_bits - exponent_bits - has_sign)))
    specials, subnormals = draw(st.sampled_from(list(Specials))), draw(st.booleans())
    bias: Any = draw(st.none() | st.integers(-126, 160))
    try:
        return FloatFormat(
            exponent_bits, fraction_bits, bias=bias, signed=has_sign, specials=specials, subnormals=subnormals
        )
    except ValueError:  # values past float32, or none at all
        few = fraction_bits % (max_bits - 2 - has_sign)
        return FloatFormat(2, few, signed=has_sign, specials=Specials.FN, subnormals=subnormals)


@in_default_environment
def int_formats(*, max_bits: int = 16) -> st.SearchStrategy[IntFormat]:
    """Draw integer formats of 2 to ``max_bits`` bits: signed and not, with and without a binary point.

    Parameters
    ----------
    max_bits : int
        The largest number of bits, from 4 to 32; no format has more than 16.

    Examples
    --------
    >>> from hypothesis import find
    >>> from precision.testing import strategies as pst
    >>> find(pst.int_formats(), lambda fmt: fmt.signed and fmt.max > 5).max > 5
    True
    """
    check_int("max_bits", max_bits, 4, 32)
    return st.builds(
        IntFormat,
        st.integers(2, min(16, max_bits)),
        signed=st.sampled_from([True, False]),
        fraction_bits=st.integers(0, 8),
        symmetric=st.sampled_from([True, False]),
    )


@in_default_environment
def formats(*, max_bits: int = 16) -> st.SearchStrategy[Format]:
    """Draw floating-point and integer formats with a zero.

    Parameters
    ----------
    max_bits : int
        The largest number of bits, from 4 to 32.
    """
    return st.one_of(float_formats(max_bits=max_bits), int_formats(max_bits=max_bits))


def roundings(*, stochastic: bool = False) -> st.SearchStrategy[Rounding | Stochastic]:
    """Draw rounding modes, the simplest of which is to nearest even.

    Parameters
    ----------
    stochastic : bool
        True to draw `Stochastic` roundings, too.
    """
    modes: st.SearchStrategy[Rounding | Stochastic] = st.sampled_from(list(Rounding))
    if not stochastic:
        return modes
    return st.one_of(modes, st.builds(Stochastic, bits=st.integers(1, 32), seed=st.integers(0, 2**64 - 1)))


def overflows(fmt: Format | None = None) -> st.SearchStrategy[Overflow]:
    """Draw overflow rules.

    Parameters
    ----------
    fmt : FloatFormat or IntFormat, optional
        The format to which the rule is to be applied; without a NaN it leaves SATURATE alone.
    """
    return st.sampled_from([Overflow.SATURATE] if fmt is not None and not fmt.has_nan else list(Overflow))
