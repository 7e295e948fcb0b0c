"""Number formats: a format is a set of values (which code means which number) and nothing else.

Rounding and overflow are arguments of the codec, not properties of a format.
"""

from __future__ import annotations

from typing import Any, TypeAlias, cast

import numpy as np
import numpy.typing as npt

from precision._support._array_checks import check_dtype
from precision._support.machine._float_environment import in_default_environment
from precision.formats._float_format import FloatFormat, Specials
from precision.formats._format_text import CALLS, DTYPES, made
from precision.formats._int_format import IntFormat

__all__ = [
    "BF16",
    "E2M1",
    "E2M3",
    "E3M2",
    "E3M4",
    "E4M3",
    "E4M3B11FNUZ",
    "E4M3FNUZ",
    "E4M3_IEEE",
    "E5M2",
    "E5M2FNUZ",
    "E5M6",
    "E8M0",
    "E8M13",
    "FP16",
    "FP32",
    "FP64",
    "INT2",
    "INT4",
    "INT8",
    "MXINT8",
    "NAMED",
    "TF32",
    "UE4M3",
    "UE5M3",
    "UINT1",
    "UINT2",
    "UINT4",
    "UINT8",
    "FloatFormat",
    "Format",
    "IntFormat",
    "Specials",
    "format_of",
    "parse_format",
]

Format: TypeAlias = FloatFormat | IntFormat


@in_default_environment
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
    kinds = {"FloatFormat": FloatFormat, "IntFormat": IntFormat}
    return cast(Format, made(text, kinds, Specials.__members__))


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

NAMED: dict[str, Format] = {name: parse_format(name) for name in CALLS}
"""The named formats, by the name that they print."""


def format_of(dtype: npt.DTypeLike) -> Format:
    """The format of a NumPy or ml_dtypes data type.

    Raises
    ------
    TypeError
        If ``dtype`` names no data type (None is none: NumPy would read it as float64).
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
    known: dict[np.dtype[Any], Format] = {kind: NAMED[name] for name, kind in DTYPES.items()}
    known |= {fmt.dtype: fmt for fmt in (INT8, UINT8, INT4, UINT4, INT2, UINT2, UINT1)}
    if wanted not in known:
        raise ValueError(f"no format has dtype {wanted}; known: {', '.join(map(str, known))}")
    return known[wanted]
