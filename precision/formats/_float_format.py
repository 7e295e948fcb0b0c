"""Floating-point formats, which say what number each code means."""

from __future__ import annotations

import enum
import functools
import math
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np

from precision._support._argument_checks import check_int
from precision._support._hashed_once import HashedOnce
from precision._support.machine._float_environment import in_default_environment
from precision.formats import _format_text


class Specials(enum.Enum):
    """Conventions for the special codes of a floating-point format: Inf, NaN and negative zero.

    ======== ============================ ======================================= =====
    member   Inf                          NaN                                     -0
    ======== ============================ ======================================= =====
    IEEE     top exponent field, frac. 0  top exponent field, other fractions     yes
    FN       none                         all bits after the sign set             yes
    FNUZ     none                         the code of -0 (unsigned: all ones)     no
    EXTENDED the largest magnitude        the code of -0 (unsigned: all ones)     no
    NONE     none                         none                                    yes
    ======== ============================ ======================================= =====

    FN and FNUZ are ml_dtypes' suffixes; EXTENDED and FNUZ are IEEE P3109's "e" and "f" formats.

    Examples
    --------
    >>> import precision as pr
    >>> [pr.FloatFormat(4, 3, specials=specials).max for specials in (pr.Specials.IEEE, pr.Specials.FN)]
    [240.0, 448.0]
    """

    IEEE = "ieee"
    FN = "fn"
    FNUZ = "fnuz"
    EXTENDED = "extended"
    NONE = "none"

    def __str__(self) -> str:
        return self.name


def code_dtype(bits: int) -> np.dtype[Any]:
    """Return the smallest unsigned integer type of at least ``bits`` bits."""
    return np.dtype(next(f"u{size}" for size in (1, 2, 4, 8) if bits <= 8 * size))


@dataclass(frozen=True)
class FloatFormat(HashedOnce):
    """A binary floating-point format of up to 8 exponent and 23 fraction bits.

    Every finite value must be a float32 value. The one wider format is `FP64` (11 and 52 bits), which
    describes inputs and outputs only.

    Parameters
    ----------
    exponent_bits, fraction_bits : int
        Widths of the exponent field, 1 to 8 bits, and of the fraction field, 0 to 23.
    bias : int, optional
        Exponent bias; by default ``2**(exponent_bits - 1) - 1``, and one more for FNUZ and EXTENDED.
    signed : bool
        True if codes have a sign bit.
    specials : Specials
        The convention for the codes of Inf, NaN and negative zero.
    subnormals : bool
        If False, exponent field 0 is a binade like the others, and the format has no zero (E8M0).

    Raises
    ------
    TypeError, ValueError
        If a parameter has the wrong type or range, if a finite value would not be a float32 value, or if
        no positive finite value would be left.

    Examples
    --------
    >>> import precision as pr
    >>> pr.E4M3.max, pr.E4M3.min_normal, pr.E4M3.min_subnormal
    (448.0, 0.015625, 0.001953125)
    >>> pr.FloatFormat(5, 6) == pr.E5M6, str(pr.FloatFormat(4, 3, bias=9))
    (True, 'FloatFormat(4, 3, bias=9)')
    """

    exponent_bits: int
    fraction_bits: int
    bias: int = field(default=cast(int, None), kw_only=True)
    signed: bool = field(default=True, kw_only=True)
    specials: Specials = field(default=Specials.IEEE, kw_only=True)
    subnormals: bool = field(default=True, kw_only=True)

    __hash__ = HashedOnce.__hash__

    def __post_init__(self) -> None:
        is_fp64 = (self.exponent_bits, self.fraction_bits) == (11, 52)
        if not is_fp64:
            check_int("exponent_bits", self.exponent_bits, 1, 8)
            check_int("fraction_bits", self.fraction_bits, 0, 23)
        if not isinstance(self.specials, Specials):
            raise TypeError(f"specials must be a Specials, got {self.specials!r}")
        for name in ("signed", "subnormals"):
            if not isinstance(getattr(self, name), bool):
                raise TypeError(f"{name} must be a bool, got {getattr(self, name)!r}")
        if cast(object, self.bias) is None:
            object.__setattr__(self, "bias", self._standard_bias)
        check_int("bias", self.bias, -1100, 1100)
        self._check_values(is_fp64)

    def _check_values(self, is_fp64: bool) -> None:
        """Raise unless the format has a positive finite value, and all its values are float32 values."""
        if self.specials is Specials.IEEE and self.fraction_bits == 0:
            raise ValueError("specials IEEE need at least 1 fraction bit to tell Inf from NaN")
        if not self.subnormals and self.signed and self.specials in (Specials.FNUZ, Specials.EXTENDED):
            raise ValueError(f"specials {self.specials} put NaN in place of -0: they need subnormals=True")
        if self.max_code < (1 if self.subnormals else 0):
            raise ValueError(f"{self._constructor} has no positive finite value")
        if is_fp64:
            if (self.bias, self.signed, self.specials, self.subnormals) != (1023, True, Specials.IEEE, True):
                raise ValueError("exponent_bits must lie in 1..8; 11 and 52 bits are IEEE's FP64 only")
        elif self.max_exponent > 127 or self.min_exponent - self.fraction_bits < -149:
            raise ValueError(
                f"{self._constructor} has values that no float32 holds: exponents "
                f"{self.min_exponent - self.fraction_bits}..{self.max_exponent}, must lie in -149..127"
            )

    @property
    def _standard_bias(self) -> int:
        """Exponent bias that the format has by default."""
        half = 1 << (self.exponent_bits - 1)
        return half if self.specials in (Specials.FNUZ, Specials.EXTENDED) else half - 1

    # ---- codes ----------------------------------------------------------------------------------
    @functools.cached_property
    def bits(self) -> int:
        """Width of a code in bits."""
        return self.signed + self.exponent_bits + self.fraction_bits

    @functools.cached_property
    def magnitude_mask(self) -> int:
        """Bit mask of a code without its sign bit."""
        return (1 << (self.exponent_bits + self.fraction_bits)) - 1

    @functools.cached_property
    def max_code(self) -> int:
        """Code of the largest finite value."""
        if self.specials is Specials.IEEE:
            return (((1 << self.exponent_bits) - 1) << self.fraction_bits) - 1
        unsigned = not self.signed
        reserved = {
            Specials.FN: 1,
            Specials.FNUZ: int(unsigned),
            Specials.EXTENDED: 1 + unsigned,
            Specials.NONE: 0,
        }[self.specials]
        return self.magnitude_mask - reserved

    @property
    def inf_code(self) -> int | None:
        """Code of +Inf, or None in a format without infinities."""
        return self.max_code + 1 if self.has_inf else None

    @functools.cached_property
    def nan_code(self) -> int | None:
        """Code that encoding writes for a positive NaN (a quiet one), or None in a format without NaN."""
        if self.specials is Specials.IEEE:
            return self.max_code + 1 + (1 << (self.fraction_bits - 1))
        if self.specials is Specials.NONE:
            return None
        if self.specials is Specials.FN or not self.signed:
            return self.magnitude_mask
        return self.magnitude_mask + 1

    @property
    def has_inf(self) -> bool:
        """True if the format has infinities."""
        return self.specials in (Specials.IEEE, Specials.EXTENDED)

    @functools.cached_property
    def has_nan(self) -> bool:
        """True if the format has a NaN."""
        return self.specials is not Specials.NONE

    @functools.cached_property
    def has_zero(self) -> bool:
        """True if the format has a zero."""
        return self.subnormals

    @functools.cached_property
    def has_negative_zero(self) -> bool:
        """True if the format has a negative zero beside the positive one."""
        no = (Specials.FNUZ, Specials.EXTENDED)
        return self.signed and self.subnormals and self.specials not in no

    @functools.cached_property
    def dtype(self) -> np.dtype[Any]:
        """Data type of arrays of codes: ml_dtypes' or NumPy's, else the smallest unsigned integer."""
        return _format_text.DTYPES.get(self._constructor, self.code_dtype)

    @functools.cached_property
    def code_dtype(self) -> np.dtype[Any]:
        """Smallest unsigned integer type that holds a code."""
        return code_dtype(self.bits)

    # ---- values ---------------------------------------------------------------------------------
    @functools.cached_property
    def min_exponent(self) -> int:
        """Exponent of the smallest normal value."""
        return 1 - self.bias if self.subnormals else -self.bias

    @functools.cached_property
    def max_exponent(self) -> int:
        """Exponent of the largest finite value."""
        return math.frexp(self.max)[1] - 1

    @functools.cached_property
    def max(self) -> float:
        """Largest finite value."""
        return self.value(self.max_code)

    @property
    @in_default_environment
    def min_normal(self) -> float:
        """Smallest positive normal value: the smallest of full precision."""
        return math.ldexp(1.0, self.min_exponent)

    @property
    @in_default_environment
    def min_subnormal(self) -> float | None:
        """Smallest positive subnormal value, or None in a format without subnormal values."""
        has = self.subnormals and self.fraction_bits > 0
        return math.ldexp(1.0, self.min_exponent - self.fraction_bits) if has else None

    @property
    def smallest(self) -> float:
        """Smallest positive value."""
        return self.value(1 if self.subnormals else 0)

    @in_default_environment
    def value(self, code: int) -> float:
        """Return the exact value of one code.

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
        >>> [pr.E4M3.value(code) for code in (0x38, 0x81, 0x7F)]
        [1.0, -0.001953125, nan]
        """
        check_int("code", code, 0, (1 << self.bits) - 1)
        magnitude = code & self.magnitude_mask
        sign = -1.0 if code > self.magnitude_mask else 1.0
        if magnitude > self.max_code or (code == self.nan_code):
            return sign * math.inf if magnitude == self.inf_code else math.nan
        binade, fraction = divmod(magnitude, 1 << self.fraction_bits)
        if binade or not self.subnormals:
            fraction += 1 << self.fraction_bits
        exponent = max(binade, int(self.subnormals)) - self.bias - self.fraction_bits
        return sign * math.ldexp(fraction, exponent)

    # ---- names ----------------------------------------------------------------------------------
    @functools.cached_property
    def name(self) -> str:
        """Shortest text that parses back to this format."""
        e, m, u = self.exponent_bits, self.fraction_bits, "" if self.signed else "u"
        suffix = {Specials.FN: "fn", Specials.FNUZ: "fnuz"}.get(self.specials, "")
        kind = {Specials.FNUZ: "f", Specials.EXTENDED: "e"}.get(self.specials, "")
        p3109 = f"binary{self.bits}p{m + 1}{u or 's'}{kind}"
        return _format_text.shortest_name(self._constructor, f"{u}e{e}m{m}", f"{u}e{e}m{m}{suffix}", p3109)

    @functools.cached_property
    def _constructor(self) -> str:
        """Text of the constructor call that builds this format."""
        given = [str(self.exponent_bits), str(self.fraction_bits)]
        given += [f"bias={self.bias}"] if self.bias != self._standard_bias else []
        given += [] if self.signed else ["signed=False"]
        given += [f"specials={self.specials}"] if self.specials is not Specials.IEEE else []
        given += [] if self.subnormals else ["subnormals=False"]
        return f"FloatFormat({', '.join(given)})"

    def __str__(self) -> str:
        return self.name

    @classmethod
    @in_default_environment
    def parse(cls, text: str) -> FloatFormat:
        """Return the floating-point format that a text names, as ``str`` prints it, in capitals or not.

        ``e4m3`` is OCP's (largest value 448), and ``e2m1``, ``e2m3``, ``e3m2`` and ``e8m0`` are as well;
        every other bare ``eXmY`` has IEEE specials; ``ueXmY`` is unsigned with one NaN and no Inf. The
        suffixes ``fn`` and ``fnuz``, and full names as ``float8_e4m3`` or ``bfloat16``, mean what
        ml_dtypes means. ``binary{K}p{P}{s|u}{e|f}`` are IEEE P3109's. ``fp16``, ``bf16``, ``tf32``,
        ``fp22`` (E8M13), ``fp32``, ``fp64``, and the constructor call itself are known too.

        Parameters
        ----------
        text : str
            A name, or a constructor call as ``FloatFormat(4, 3, specials=FN)``.

        Raises
        ------
        TypeError
            If ``text`` is not a string.
        ValueError
            If no floating-point format has that name; the message lists near ones.

        Examples
        --------
        >>> import precision as pr
        >>> pr.FloatFormat.parse("E4M3").max, pr.FloatFormat.parse("float8_e4m3").max
        (448.0, 240.0)
        >>> pr.FloatFormat.parse("binary8p4se").max
        224.0
        """
        return cast(FloatFormat, _format_text.build_format(text, {"FloatFormat": cls}, Specials.__members__))
