"""Number formats: a format is a set of values (which code means which number) and nothing else.

Rounding and overflow are arguments of the codec, not properties of a format.
"""

from __future__ import annotations

import ast
import contextlib
import difflib
import enum
import math
import re
from dataclasses import dataclass, field
from typing import Any, TypeAlias, cast

import ml_dtypes
import numpy as np
import numpy.typing as npt


class Specials(enum.Enum):
    """Which codes of a format are Inf and NaN, and whether it has a negative zero.

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
    """

    IEEE = "ieee"
    FN = "fn"
    FNUZ = "fnuz"
    EXTENDED = "extended"
    NONE = "none"

    def __str__(self) -> str:
        return self.name


def _check_int(name: str, value: object, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be an int, got {value!r}")
    if not low <= value <= high:
        raise ValueError(f"{name} must lie in {low}..{high}, got {value}")


def _code_dtype(bits: int) -> np.dtype[Any]:
    return np.dtype(next(f"u{size}" for size in (1, 2, 4, 8) if bits <= 8 * size))


@dataclass(frozen=True)
class FloatFormat:
    """A binary floating-point format of up to 8 exponent and 23 fraction bits.

    Every finite value must be a float32 value. The one wider format is `FP64` (11 and 52 bits), which
    describes inputs and outputs only.

    Parameters
    ----------
    exponent_bits, fraction_bits : int
        1 to 8, and 0 to 23.
    bias : int, optional
        Exponent bias; by default ``2**(exponent_bits - 1) - 1``, and one more for FNUZ and EXTENDED.
    signed : bool
        Whether there is a sign bit.
    specials : Specials
        Which codes are Inf and NaN.
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

    def __post_init__(self) -> None:
        is_fp64 = (self.exponent_bits, self.fraction_bits) == (11, 52)
        if not is_fp64:
            _check_int("exponent_bits", self.exponent_bits, 1, 8)
            _check_int("fraction_bits", self.fraction_bits, 0, 23)
        if not isinstance(self.specials, Specials):
            raise TypeError(f"specials must be a Specials, got {self.specials!r}")
        for name in ("signed", "subnormals"):
            if not isinstance(getattr(self, name), bool):
                raise TypeError(f"{name} must be a bool, got {getattr(self, name)!r}")
        if cast(object, self.bias) is None:
            object.__setattr__(self, "bias", self._standard_bias)
        _check_int("bias", self.bias, -1100, 1100)
        self._check_values(is_fp64)

    def _check_values(self, is_fp64: bool) -> None:
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
        half = 1 << (self.exponent_bits - 1)
        return half if self.specials in (Specials.FNUZ, Specials.EXTENDED) else half - 1

    # ---- codes ----------------------------------------------------------------------------------
    @property
    def bits(self) -> int:
        """Width of a code in bits."""
        return self.signed + self.exponent_bits + self.fraction_bits

    @property
    def magnitude_mask(self) -> int:
        """All bits but the sign."""
        return (1 << (self.exponent_bits + self.fraction_bits)) - 1

    @property
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
        """Code of +Inf, or None."""
        return self.max_code + 1 if self.has_inf else None

    @property
    def nan_code(self) -> int | None:
        """Code of the NaN that encoding writes (quiet, positive where NaN has a sign), or None."""
        if self.specials is Specials.IEEE:
            return self.max_code + 1 + (1 << (self.fraction_bits - 1))
        if self.specials is Specials.NONE:
            return None
        if self.specials is Specials.FN or not self.signed:
            return self.magnitude_mask
        return self.magnitude_mask + 1

    @property
    def has_inf(self) -> bool:
        """Whether the format has infinities."""
        return self.specials in (Specials.IEEE, Specials.EXTENDED)

    @property
    def has_nan(self) -> bool:
        """Whether the format has a NaN."""
        return self.specials is not Specials.NONE

    @property
    def has_zero(self) -> bool:
        """Whether the format has a zero."""
        return self.subnormals

    @property
    def has_negative_zero(self) -> bool:
        """Whether the format has a zero of either sign."""
        no = (Specials.FNUZ, Specials.EXTENDED)
        return self.signed and self.subnormals and self.specials not in no

    @property
    def dtype(self) -> np.dtype[Any]:
        """Data type of arrays of codes: ml_dtypes' or NumPy's, else the smallest unsigned integer."""
        return _DTYPES.get(self, self.code_dtype)

    @property
    def code_dtype(self) -> np.dtype[Any]:
        """The smallest unsigned integer type that holds a code."""
        return _code_dtype(self.bits)

    # ---- values ---------------------------------------------------------------------------------
    @property
    def min_exponent(self) -> int:
        """Exponent of the smallest normal value."""
        return 1 - self.bias if self.subnormals else -self.bias

    @property
    def max_exponent(self) -> int:
        """Exponent of the largest finite value."""
        return math.frexp(self.max)[1] - 1

    @property
    def max(self) -> float:
        """Largest finite value."""
        return self.value(self.max_code)

    @property
    def min_normal(self) -> float:
        """Smallest value of full precision."""
        return math.ldexp(1.0, self.min_exponent)

    @property
    def min_subnormal(self) -> float | None:
        """Smallest subnormal value, or None where there is none."""
        has = self.subnormals and self.fraction_bits > 0
        return math.ldexp(1.0, self.min_exponent - self.fraction_bits) if has else None

    @property
    def smallest(self) -> float:
        """Smallest positive value."""
        return self.value(1 if self.subnormals else 0)

    def value(self, code: int) -> float:
        """The value of one code, exactly.

        Examples
        --------
        >>> import precision as pr
        >>> [pr.E4M3.value(code) for code in (0x38, 0x81, 0x7F)]
        [1.0, -0.001953125, nan]
        """
        _check_int("code", code, 0, (1 << self.bits) - 1)
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
    @property
    def name(self) -> str:
        """The shortest text that parses back to this format."""
        if self in _SHORT:
            return _SHORT[self]
        e, m, u = self.exponent_bits, self.fraction_bits, "" if self.signed else "u"
        suffix = {Specials.FN: "fn", Specials.FNUZ: "fnuz"}.get(self.specials, "")
        kind = {Specials.FNUZ: "f", Specials.EXTENDED: "e"}.get(self.specials, "")
        p3109 = f"binary{self.bits}p{m + 1}{u or 's'}{kind}"
        for name in (f"{u}e{e}m{m}", f"{u}e{e}m{m}{suffix}", p3109):
            with contextlib.suppress(ValueError):  # the name of an impossible format
                if _named(name) == self:
                    return name
        return self._constructor

    @property
    def _constructor(self) -> str:
        given = [str(self.exponent_bits), str(self.fraction_bits)]
        given += [f"bias={self.bias}"] if self.bias != self._standard_bias else []
        given += [] if self.signed else ["signed=False"]
        given += [f"specials={self.specials}"] if self.specials is not Specials.IEEE else []
        given += [] if self.subnormals else ["subnormals=False"]
        return f"FloatFormat({', '.join(given)})"

    def __str__(self) -> str:
        return self.name

    @classmethod
    def parse(cls, text: str) -> FloatFormat:
        """The format of a name, in any case: the inverse of ``str``.

        ``e4m3`` is OCP's (largest value 448), and ``e2m1``, ``e2m3``, ``e3m2`` and ``e8m0`` are as well;
        every other bare ``eXmY`` has IEEE specials; ``ueXmY`` is unsigned with one NaN and no Inf. The
        suffixes ``fn`` and ``fnuz``, and full names as ``float8_e4m3`` or ``bfloat16``, mean what
        ml_dtypes means. ``binary{K}p{P}{s|u}{e|f}`` are IEEE P3109's. ``fp16``, ``bf16``, ``tf32``,
        ``fp22`` (E8M13), ``fp32``, ``fp64``, and the constructor call itself are known too.

        Raises
        ------
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
        found = parse_format(text)
        if not isinstance(found, FloatFormat):
            raise ValueError(f"{text!r} is an integer format, must be a floating-point one")
        return found


@dataclass(frozen=True)
class IntFormat:
    """An integer format with an implicit power-of-two scale: code times ``2**-fraction_bits``.

    Parameters
    ----------
    bits : int
        1 to 16 (signed: 2 to 16).
    signed : bool
        Two's complement, or unsigned.
    fraction_bits : int
        Bits below the binary point, 0 to 24; MXINT8 has 6.
    symmetric : bool
        Whether encoding leaves the code of ``-2**(bits - 1)`` unused. Decoding always accepts it.

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

    def __post_init__(self) -> None:
        for name in ("signed", "symmetric"):
            if not isinstance(getattr(self, name), bool):
                raise TypeError(f"{name} must be a bool, got {getattr(self, name)!r}")
        _check_int("bits", self.bits, 1 + self.signed, 16)
        _check_int("fraction_bits", self.fraction_bits, 0, 24)
        if not self.signed:  # there is no such code: keep equality by value
            object.__setattr__(self, "symmetric", True)

    @property
    def max_code(self) -> int:
        """Code of the largest value."""
        return (1 << (self.bits - self.signed)) - 1

    @property
    def max(self) -> float:
        """Largest value."""
        return math.ldexp(self.max_code, -self.fraction_bits)

    @property
    def min(self) -> float:
        """Least value that encoding writes."""
        least = -(self.max_code + (not self.symmetric)) if self.signed else 0
        return math.ldexp(least, -self.fraction_bits)

    @property
    def smallest(self) -> float:
        """Smallest positive value, the step between values."""
        return math.ldexp(1.0, -self.fraction_bits)

    @property
    def max_exponent(self) -> int:
        """Exponent of the largest power of two among the values."""
        return self.bits - self.signed - 1 - self.fraction_bits

    @property
    def has_inf(self) -> bool:
        """False: integers have no infinities."""
        return False

    @property
    def has_nan(self) -> bool:
        """False: integers have no NaN."""
        return False

    @property
    def has_zero(self) -> bool:
        """True: integers have a zero."""
        return True

    @property
    def has_negative_zero(self) -> bool:
        """False: two's complement has one zero."""
        return False

    @property
    def dtype(self) -> np.dtype[Any]:
        """Data type of arrays of codes: ml_dtypes' or NumPy's, else the smallest unsigned integer."""
        if self.bits in (8, 16):
            return np.dtype(f"{'i' if self.signed else 'u'}{self.bits // 8}")
        known = getattr(ml_dtypes, f"{'' if self.signed else 'u'}int{self.bits}", None)
        return self.code_dtype if known is None else np.dtype(known)

    @property
    def code_dtype(self) -> np.dtype[Any]:
        """The smallest unsigned integer type that holds a code."""
        return _code_dtype(self.bits)

    def value(self, code: int) -> float:
        """The value of one code (two's complement in ``bits`` bits), exactly.

        Examples
        --------
        >>> import precision as pr
        >>> pr.IntFormat(4).value(0xF)
        -1.0
        """
        _check_int("code", code, 0, (1 << self.bits) - 1)
        integer = code - (1 << self.bits) if self.signed and code >> (self.bits - 1) else code
        return math.ldexp(integer, -self.fraction_bits)

    @property
    def name(self) -> str:
        """The shortest text that parses back to this format."""
        if self in _SHORT:
            return _SHORT[self]
        given = [str(self.bits)]
        given += [] if self.signed else ["signed=False"]
        given += [f"fraction_bits={self.fraction_bits}"] if self.fraction_bits else []
        given += [] if self.symmetric else ["symmetric=False"]
        return f"IntFormat({', '.join(given)})"

    def __str__(self) -> str:
        return self.name

    @classmethod
    def parse(cls, text: str) -> IntFormat:
        """The format of a name (``int8``, ``uint4``, ``mxint8``, …) or constructor call.

        Raises
        ------
        ValueError
            If no integer format has that name.

        Examples
        --------
        >>> import precision as pr
        >>> pr.IntFormat.parse("uint4").max
        15.0
        """
        found = parse_format(text)
        if not isinstance(found, IntFormat):
            raise ValueError(f"{text!r} is a floating-point format, must be an integer one")
        return found


Format: TypeAlias = FloatFormat | IntFormat

E4M3 = FloatFormat(4, 3, specials=Specials.FN)
E5M2 = FloatFormat(5, 2)
E3M4 = FloatFormat(3, 4)
E4M3FNUZ = FloatFormat(4, 3, specials=Specials.FNUZ)
E5M2FNUZ = FloatFormat(5, 2, specials=Specials.FNUZ)
E4M3B11FNUZ = FloatFormat(4, 3, bias=11, specials=Specials.FNUZ)
E4M3_IEEE = FloatFormat(4, 3)
E2M1 = FloatFormat(2, 1, specials=Specials.NONE)
E2M3 = FloatFormat(2, 3, specials=Specials.NONE)
E3M2 = FloatFormat(3, 2, specials=Specials.NONE)
E8M0 = FloatFormat(8, 0, signed=False, specials=Specials.FN, subnormals=False)
UE4M3 = FloatFormat(4, 3, signed=False, specials=Specials.FN)
UE5M3 = FloatFormat(5, 3, signed=False, specials=Specials.FN)
E5M6 = FloatFormat(5, 6)
E8M13 = FloatFormat(8, 13)
FP16 = FloatFormat(5, 10)
BF16 = FloatFormat(8, 7)
TF32 = FloatFormat(8, 10)
FP32 = FloatFormat(8, 23)
FP64 = FloatFormat(11, 52)
INT8 = IntFormat(8)
INT4 = IntFormat(4)
INT2 = IntFormat(2)
UINT8 = IntFormat(8, signed=False)
UINT4 = IntFormat(4, signed=False)
UINT2 = IntFormat(2, signed=False)
UINT1 = IntFormat(1, signed=False)
MXINT8 = IntFormat(8, fraction_bits=6)

NAMED: dict[str, Format] = {
    "e4m3": E4M3,
    "e5m2": E5M2,
    "e3m4": E3M4,
    "float8_e4m3": E4M3_IEEE,
    "e4m3fnuz": E4M3FNUZ,
    "e5m2fnuz": E5M2FNUZ,
    "e4m3b11fnuz": E4M3B11FNUZ,
    "binary8p4se": FloatFormat(4, 3, specials=Specials.EXTENDED),
    "binary8p3se": FloatFormat(5, 2, specials=Specials.EXTENDED),
    "binary8p1uf": FloatFormat(8, 0, signed=False, specials=Specials.FNUZ),
    "binary4p2sf": FloatFormat(2, 1, specials=Specials.FNUZ),
    "e2m3": E2M3,
    "e3m2": E3M2,
    "e2m1": E2M1,
    "e8m0": E8M0,
    "ue4m3": UE4M3,
    "ue5m3": UE5M3,
    "e5m6": E5M6,
    "fp16": FP16,
    "bf16": BF16,
    "tf32": TF32,
    "e8m13": E8M13,
    "fp32": FP32,
    "fp64": FP64,
    "int8": INT8,
    "mxint8": MXINT8,
    "uint8": UINT8,
    "int4": INT4,
    "uint4": UINT4,
    "int2": INT2,
    "uint2": UINT2,
    "uint1": UINT1,
}
"""The named formats, by the name that they print."""

_DTYPES: dict[FloatFormat, np.dtype[Any]] = {
    E4M3: np.dtype(ml_dtypes.float8_e4m3fn),
    E5M2: np.dtype(ml_dtypes.float8_e5m2),
    E3M4: np.dtype(ml_dtypes.float8_e3m4),
    E4M3_IEEE: np.dtype(ml_dtypes.float8_e4m3),
    E4M3FNUZ: np.dtype(ml_dtypes.float8_e4m3fnuz),
    E5M2FNUZ: np.dtype(ml_dtypes.float8_e5m2fnuz),
    E4M3B11FNUZ: np.dtype(ml_dtypes.float8_e4m3b11fnuz),
    E2M3: np.dtype(ml_dtypes.float6_e2m3fn),
    E3M2: np.dtype(ml_dtypes.float6_e3m2fn),
    E2M1: np.dtype(ml_dtypes.float4_e2m1fn),
    E8M0: np.dtype(ml_dtypes.float8_e8m0fnu),
    FP16: np.dtype(np.float16),
    BF16: np.dtype(ml_dtypes.bfloat16),
    FP32: np.dtype(np.float32),
    FP64: np.dtype(np.float64),
}
_SHORT: dict[Format, str] = {fmt: name for name, fmt in NAMED.items()}
_ALIASES: dict[str, Format] = {
    **NAMED,
    **{dtype.name: fmt for fmt, dtype in _DTYPES.items()},
    **{dtype.name.partition("_")[2]: f for f, dtype in _DTYPES.items() if dtype.name.endswith(("fn", "fnu"))},
    "ue8m0": E8M0,
    "fp22": E8M13,
    "float4_e2m1": E2M1,
}


def _named(text: str) -> Format | None:
    """The format of a name, or None for a name of no known pattern."""
    text = text.lower()
    if text in _ALIASES:
        return _ALIASES[text]
    if found := re.fullmatch(r"(u?)e(\d{1,2})m(\d{1,2})(fnuz|fn|)", text):
        u, e, m, suffix = found.groups()
        plain = Specials.FN if u else Specials.IEEE
        specials = {"": plain, "fn": Specials.FN, "fnuz": Specials.FNUZ}[suffix]
        return FloatFormat(int(e), int(m), signed=not u, specials=specials)
    if found := re.fullmatch(r"binary(\d{1,2})p(\d{1,2})([su])([ef])", text):
        k, p, signed = int(found[1]), int(found[2]), found[3] == "s"
        specials = Specials.EXTENDED if found[4] == "e" else Specials.FNUZ
        return FloatFormat(k - p + (not signed), p - 1, signed=signed, specials=specials)
    return None


def _called(text: str) -> Format | None:
    """The format that a constructor call describes, or None for any other text."""
    try:
        call = ast.parse(text, mode="eval").body
    except SyntaxError:
        return None
    kinds = {"FloatFormat": FloatFormat, "IntFormat": IntFormat}
    if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id in kinds):
        return None

    def constant(node: ast.expr) -> Any:
        if isinstance(node, ast.Name) and node.id in Specials.__members__:
            return Specials[node.id]
        return ast.literal_eval(node)

    positional = [constant(node) for node in call.args]
    keywords = {str(word.arg): constant(word.value) for word in call.keywords}
    return cast(Format, kinds[call.func.id](*positional, **keywords))


def parse_format(text: str) -> Format:
    """The floating-point or integer format of a name or constructor call, as `FloatFormat.parse` describes.

    Raises
    ------
    TypeError
        If ``text`` is not a string.
    ValueError
        If no format has that name (the message lists near ones), or if it names an impossible one.

    Examples
    --------
    >>> from precision.formats import parse_format
    >>> parse_format("int4").max, parse_format("FloatFormat(4, 3, bias=9, specials=FNUZ)").max
    (7.0, 120.0)
    """
    if not isinstance(text, str):
        raise TypeError(f"text must be a str, got {text!r}")
    try:
        found = _named(text.strip()) or _called(text.strip())
    except (TypeError, ValueError) as error:
        raise ValueError(f"no format {text!r}: {error}") from error
    if found is None:
        near = difflib.get_close_matches(text.strip().lower(), _ALIASES, n=4, cutoff=0.5)
        hint = f"; near: {', '.join(near)}" if near else "; examples: e4m3, e5m2fnuz, bf16, binary8p4se, int8"
        raise ValueError(f"no format {text!r}{hint}")
    return found


def format_of(dtype: npt.DTypeLike) -> Format:
    """The format of a NumPy or ml_dtypes data type.

    Raises
    ------
    ValueError
        If it is the type of no known format; the message lists those known.

    Examples
    --------
    >>> import numpy as np
    >>> from precision.formats import format_of
    >>> str(format_of(np.float16))
    'fp16'
    """
    wanted = np.dtype(dtype)
    known: dict[np.dtype[Any], Format] = {kind: fmt for fmt, kind in _DTYPES.items()}
    known |= {fmt.dtype: fmt for fmt in (INT8, UINT8, INT4, UINT4, INT2, UINT2, UINT1)}
    if wanted not in known:
        raise ValueError(f"no format has dtype {wanted}; known: {', '.join(map(str, known))}")
    return known[wanted]
