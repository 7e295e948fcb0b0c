"""Integer formats with an implicit power-of-two scale."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, field
from typing import Any, cast

import ml_dtypes
import numpy as np

from precision._support._argument_checks import check_int
from precision._support._hashed_once import HashedOnce
from precision._support.machine._float_environment import in_default_environment
from precision.formats import _format_text
from precision.formats._float_format import code_dtype


@dataclass(frozen=True)
class IntFormat(HashedOnce):
    """An integer format with an implicit power-of-two scale: code times ``2**-fraction_bits``.

    Parameters
    ----------
    bits : int
        Width of a code, 1 to 16 (signed: 2 to 16).
    signed : bool
        True for two's complement, False for unsigned integers.
    fraction_bits : int
        Bits below the binary point, 0 to 24; MXINT8 has 6.
    symmetric : bool
        True if encoding leaves the code of ``-2**(bits - 1)`` unused. Decoding always accepts it.

    Raises
    ------
    TypeError, ValueError
        If a parameter has the wrong type or range.

    Examples
    --------
    >>> import precision as pr
    >>> mx = pr.IntFormat(8, fraction_bits=6)
    >>> str(mx), mx.max, mx.min
    ('mxint8', 1.984375, -1.984375)
    """

    bits: int
    signed: bool = field(default=True, kw_only=True)
    fraction_bits: int = field(default=0, kw_only=True)
    symmetric: bool = field(default=True, kw_only=True)

    __hash__ = HashedOnce.__hash__

    def __post_init__(self) -> None:
        for name in ("signed", "symmetric"):
            if not isinstance(getattr(self, name), bool):
                raise TypeError(f"{name} must be a bool, got {getattr(self, name)!r}")
        check_int("bits", self.bits, 1 + self.signed, 16)
        check_int("fraction_bits", self.fraction_bits, 0, 24)
        if not self.signed:  # unsigned formats have no such code: equal sets of values are equal
            object.__setattr__(self, "symmetric", True)

    @functools.cached_property
    def max_code(self) -> int:
        """Code of the largest value."""
        return (1 << (self.bits - self.signed)) - 1

    @functools.cached_property
    def max(self) -> float:
        """Largest value."""
        return math.ldexp(self.max_code, -self.fraction_bits)

    @property
    def min(self) -> float:
        """Smallest (most negative) value that encoding writes."""
        least = -(self.max_code + (not self.symmetric)) if self.signed else 0
        return math.ldexp(least, -self.fraction_bits)

    @property
    def smallest(self) -> float:
        """Smallest positive value, which is the distance between neighbouring values."""
        return math.ldexp(1.0, -self.fraction_bits)

    @functools.cached_property
    def max_exponent(self) -> int:
        """Exponent of the largest power of two among the values."""
        return self.bits - self.signed - 1 - self.fraction_bits

    @property
    def has_inf(self) -> bool:
        """False: integers have no infinities."""
        return False

    @functools.cached_property
    def has_nan(self) -> bool:
        """False: integers have no NaN."""
        return False

    @functools.cached_property
    def has_zero(self) -> bool:
        """True: integers have a zero."""
        return True

    @functools.cached_property
    def has_negative_zero(self) -> bool:
        """False: two's complement has one zero."""
        return False

    @functools.cached_property
    def dtype(self) -> np.dtype[Any]:
        """Data type of arrays of codes: ml_dtypes' or NumPy's, else the smallest unsigned integer."""
        if self.bits in (8, 16):
            return np.dtype(f"{'i' if self.signed else 'u'}{self.bits // 8}")
        known = getattr(ml_dtypes, f"{'' if self.signed else 'u'}int{self.bits}", None)
        return self.code_dtype if known is None else np.dtype(known)

    @functools.cached_property
    def code_dtype(self) -> np.dtype[Any]:
        """Smallest unsigned integer type that holds a code."""
        return code_dtype(self.bits)

    @in_default_environment
    def value(self, code: int) -> float:
        """Return the exact value of one code, which is two's complement in ``bits`` bits if signed.

        Parameters
        ----------
        code : int
            0 to ``2**bits - 1``.

        Raises
        ------
        TypeError, ValueError
            If ``code`` is no whole number, or is out of range.

        Examples
        --------
        >>> import precision as pr
        >>> pr.IntFormat(4).value(0xF)
        -1.0
        """
        check_int("code", code, 0, (1 << self.bits) - 1)
        integer = code - (1 << self.bits) if self.signed and code >> (self.bits - 1) else code
        return math.ldexp(integer, -self.fraction_bits)

    @functools.cached_property
    def name(self) -> str:
        """Shortest text that parses back to this format."""
        return _format_text.shortest_name(self._constructor)

    @functools.cached_property
    def _constructor(self) -> str:
        """Text of the constructor call that builds this format."""
        given = [str(self.bits)]
        given += [] if self.signed else ["signed=False"]
        given += [f"fraction_bits={self.fraction_bits}"] if self.fraction_bits else []
        given += [] if self.symmetric else ["symmetric=False"]
        return f"IntFormat({', '.join(given)})"

    def __str__(self) -> str:
        return self.name

    @classmethod
    @in_default_environment
    def parse(cls, text: str) -> IntFormat:
        """Return the integer format that a text names, as ``int8``, ``uint4`` or ``mxint8``.

        Parameters
        ----------
        text : str
            A name in capitals or not, or a constructor call as ``IntFormat(8, fraction_bits=6)``.

        Raises
        ------
        TypeError
            If ``text`` is not a string.
        ValueError
            If no integer format has that name.

        Examples
        --------
        >>> import precision as pr
        >>> pr.IntFormat.parse("uint4").max
        15.0
        """
        return cast(IntFormat, _format_text.build_format(text, {"IntFormat": cls}, {}))
