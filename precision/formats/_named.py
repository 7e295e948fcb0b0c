"""The named formats, one a line: name, values, and the data type that holds the codes.

A format is a set of values (which code means which number) and nothing else. Rounding and overflow are
arguments of `round_to` and `encode`, not properties of a format.
"""

from __future__ import annotations

from typing import Any, TypeAlias, TypeVar, cast

import ml_dtypes
import numpy as np
import numpy.typing as npt

from precision._support._array_checks import check_dtype
from precision._support.machine._float_environment import in_default_environment
from precision.formats import _format_text
from precision.formats._float_format import FloatFormat, Specials
from precision.formats._int_format import IntFormat

#: A format of either kind.
Format: TypeAlias = FloatFormat | IntFormat
Kind = TypeVar("Kind", FloatFormat, IntFormat)

NAMED: dict[str, Format] = {}
"""The named formats, by the names that they print."""

_BY_DTYPE: dict[np.dtype[Any], Format] = {}


def _enter(name: str, fmt: Kind, dtype: npt.DTypeLike | None = None, *others: str) -> Kind:
    """Enter a format in the tables of names and of data types, and return it."""
    kind = None if dtype is None else np.dtype(dtype)
    _format_text.enter(name, fmt._constructor, kind, others)
    NAMED[name] = fmt
    if kind is not None:
        _BY_DTYPE[kind] = fmt
    return fmt


_FN, _FNUZ, _EXTENDED, _NONE = Specials.FN, Specials.FNUZ, Specials.EXTENDED, Specials.NONE

E4M3 = _enter("e4m3", FloatFormat(4, 3, specials=_FN), ml_dtypes.float8_e4m3fn)
E5M2 = _enter("e5m2", FloatFormat(5, 2), ml_dtypes.float8_e5m2)
E3M4 = _enter("e3m4", FloatFormat(3, 4), ml_dtypes.float8_e3m4)
E4M3_IEEE = _enter("float8_e4m3", FloatFormat(4, 3), ml_dtypes.float8_e4m3)
E4M3FNUZ = _enter("e4m3fnuz", FloatFormat(4, 3, specials=_FNUZ), ml_dtypes.float8_e4m3fnuz)
E5M2FNUZ = _enter("e5m2fnuz", FloatFormat(5, 2, specials=_FNUZ), ml_dtypes.float8_e5m2fnuz)
E4M3B11FNUZ = _enter("e4m3b11fnuz", FloatFormat(4, 3, bias=11, specials=_FNUZ), ml_dtypes.float8_e4m3b11fnuz)
_enter("binary8p4se", FloatFormat(4, 3, specials=_EXTENDED))
_enter("binary8p3se", FloatFormat(5, 2, specials=_EXTENDED))
_enter("binary8p1uf", FloatFormat(8, 0, signed=False, specials=_FNUZ))
_enter("binary4p2sf", FloatFormat(2, 1, specials=_FNUZ))
E2M3 = _enter("e2m3", FloatFormat(2, 3, specials=_NONE), ml_dtypes.float6_e2m3fn)
E3M2 = _enter("e3m2", FloatFormat(3, 2, specials=_NONE), ml_dtypes.float6_e3m2fn)
E2M1 = _enter("e2m1", FloatFormat(2, 1, specials=_NONE), ml_dtypes.float4_e2m1fn, "float4_e2m1")
E8M0 = _enter(
    "e8m0", FloatFormat(8, 0, signed=False, specials=_FN, subnormals=False), ml_dtypes.float8_e8m0fnu, "ue8m0"
)
UE4M3 = _enter("ue4m3", FloatFormat(4, 3, signed=False, specials=_FN))
UE5M3 = _enter("ue5m3", FloatFormat(5, 3, signed=False, specials=_FN))
E5M6 = _enter("e5m6", FloatFormat(5, 6))
FP16 = _enter("fp16", FloatFormat(5, 10), np.float16)
BF16 = _enter("bf16", FloatFormat(8, 7), ml_dtypes.bfloat16)
TF32 = _enter("tf32", FloatFormat(8, 10))
E8M13 = _enter("e8m13", FloatFormat(8, 13), None, "fp22")
FP32 = _enter("fp32", FloatFormat(8, 23), np.float32)
FP64 = _enter("fp64", FloatFormat(11, 52), np.float64)
INT8 = _enter("int8", IntFormat(8), np.int8)
MXINT8 = _enter("mxint8", IntFormat(8, fraction_bits=6))
UINT8 = _enter("uint8", IntFormat(8, signed=False), np.uint8)
INT4 = _enter("int4", IntFormat(4), ml_dtypes.int4)
UINT4 = _enter("uint4", IntFormat(4, signed=False), ml_dtypes.uint4)
INT2 = _enter("int2", IntFormat(2), ml_dtypes.int2)
UINT2 = _enter("uint2", IntFormat(2, signed=False), ml_dtypes.uint2)
UINT1 = _enter("uint1", IntFormat(1, signed=False), ml_dtypes.uint1)


@in_default_environment
def parse_format(text: str) -> Format:
    """Return the floating-point or integer format that a text names.

    `FloatFormat.parse` and `IntFormat.parse` list the names.

    Parameters
    ----------
    text : str
        A name in any case, as ``e4m3`` or ``int4``, or a constructor call, as ``FloatFormat(4, 3)``.

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
    kinds = {"FloatFormat": FloatFormat, "IntFormat": IntFormat}
    return cast(Format, _format_text.build_format(text, kinds, Specials.__members__))


def format_of(dtype: npt.DTypeLike) -> Format:
    """Return the format of a NumPy or ml_dtypes data type.

    Parameters
    ----------
    dtype : dtype
        A data type, its scalar type or its name.

    Raises
    ------
    TypeError
        If ``dtype`` names no data type. (None is refused, which NumPy would read as float64.)
    ValueError
        If it is the type of no known format; the message lists those known.

    Examples
    --------
    >>> import numpy as np
    >>> from precision.formats import format_of
    >>> str(format_of(np.float16))
    'fp16'
    """
    wanted = check_dtype(dtype, "a data type of NumPy or ml_dtypes")
    found = format_in_use(wanted)
    if found is None:
        raise ValueError(f"no format has dtype {wanted}; known: {', '.join(map(str, _BY_DTYPE))}")
    return found


def format_in_use(dtype: np.dtype[Any]) -> Format | None:
    """Return the format of a data type, or None for a type of no known format."""
    return _BY_DTYPE.get(dtype)
