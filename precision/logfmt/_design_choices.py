"""The choices that LogFMT's paper leaves open, each a small class of its own."""

from __future__ import annotations

from dataclasses import dataclass, field

from precision._support._argument_checks import check_int
from precision._support.machine._float_environment import methods_in_default_environment
from precision.formats import _text_language
from precision.formats._float_format import FloatFormat
from precision.formats._named import BF16, FP16
from precision.formats._rounding_modes import Named


class LogBase(Named):
    """Of the logarithms whose min and step are stored. The grid is the same; their rounding is not.

    Examples
    --------
    >>> import numpy as np, precision as pr
    >>> from precision.logfmt import LogBase
    >>> x = np.float32([1, 2, 4, 8])
    >>> for base in LogBase:
    ...     print(base, *pr.quantize(x, pr.LogFMT(4, base=base)).metadata)
    E [0.] [0.3465736]
    TWO [0.] [0.5]
    """

    E = "e"
    TWO = "two"


class Space(Named):
    """Where an element is rounded to one of the two levels around it.

    ``LINEAR``: by its distance from the levels, as the paper demands; to nearest, the boundary is their
    arithmetic mean. ``LOG``: by the distance of logarithms; the boundary is their geometric mean.

    Examples
    --------
    >>> import numpy as np, precision as pr
    >>> from precision.logfmt import Space
    >>> x = np.float32([1, 2.1, 4])                                     # levels 1, 4 and 16
    >>> for space in Space:
    ...     print(space, pr.quantize(np.append(x, x.dtype.type(16)), pr.LogFMT(3, space=space)).codes)
    LINEAR [1 1 2 3]
    LOG [1 2 2 3]
    """

    LINEAR = "linear"
    LOG = "log"


class BelowClamp(Named):
    """What becomes of an element below the lowest level of a tile whose min was raised by the clamp.

    ``NEAREST``: it is rounded to zero or the lowest level like any number between two neighbours (always in
    linear space, since zero has no logarithm). ``MIN``: the lowest level. ``ZERO``: zero. ``NEXT_LEVEL``:
    it is rounded as if code 0 stood for one more level, a step below the lowest, and restores to zero
    (DeepEP).

    Examples
    --------
    >>> import numpy as np, precision as pr
    >>> from precision.logfmt import BelowClamp
    >>> x = np.float32([1e-30, 0.1, 0.2, 0.7, 2**32])                   # levels 1, 2**16 and 2**32
    >>> for below in BelowClamp:
    ...     print(below, pr.quantize(x, pr.LogFMT(3, below_clamp=below)).codes)
    NEAREST [0 0 0 1 3]
    MIN [1 1 1 1 3]
    ZERO [0 0 0 0 3]
    NEXT_LEVEL [0 0 0 1 3]
    """

    NEAREST = "nearest"
    MIN = "min"
    ZERO = "zero"
    NEXT_LEVEL = "next_level"


class Metadata(Named):
    """The two numbers that are stored for a tile.

    ``MIN_STEP``: min, the logarithm of the lowest level, and step. ``EXTREMES``: the smallest and the
    largest magnitude themselves, from which both sides compute the logarithms, the clamp and the step
    (DeepEP). Where those are numbers of the metadata's format, the extremes are then met exactly.

    Examples
    --------
    >>> import numpy as np, precision as pr
    >>> from precision.logfmt import Metadata
    >>> q = pr.quantize(np.float32([-3, 1, 5]), pr.LogFMT(8, metadata=Metadata.EXTREMES))
    >>> q.metadata, q.dequantize()[[1, 2]]
    ((array([1.], dtype=float32), array([5.], dtype=float32)), array([1., 5.], dtype=float32))
    """

    MIN_STEP = "min_step"
    EXTREMES = "extremes"


class SingleValued(Named):
    """The code of every nonzero element of a tile whose step is zero: the FIRST level's, or the LAST's.

    All levels are then one, so this is seen in the codes alone.

    Examples
    --------
    >>> import numpy as np, precision as pr
    >>> from precision.logfmt import SingleValued
    >>> for code in SingleValued:
    ...     print(code, pr.quantize(np.float32([2, -2, 0]), pr.LogFMT(4, single_valued=code)).codes)
    FIRST [1 9 0]
    LAST [ 7 15  0]
    """

    FIRST = "first"
    LAST = "last"


@dataclass(frozen=True)
@methods_in_default_environment
class Fallback:
    """Tiles that are not cast, but sent as numbers of a 16-bit format.

    A tile *applies* if its amax lies below ``amax_below`` and above its amin. Spans of ``span`` neighbours
    along the axis are cast together, if all their tiles apply; a last span may be shorter. Elements of the
    others are rounded to ``fmt``, ties to even.

    Parameters
    ----------
    fmt : FloatFormat
        BF16 or FP16.
    span : int
        Elements, a multiple of the tile.
    amax_below : float
        Positive.

    Raises
    ------
    TypeError, ValueError
        If a parameter is of another type or value.

    Examples
    --------
    >>> import precision as pr
    >>> from precision.logfmt import Fallback
    >>> str(Fallback(pr.BF16, 1024))
    'Fallback(bf16, 1024)'
    """

    fmt: FloatFormat = BF16
    span: int = 1024
    amax_below: float = field(default=1.0, kw_only=True)

    def __post_init__(self) -> None:
        if not isinstance(self.fmt, FloatFormat):
            raise TypeError(f"fmt must be a FloatFormat, got {self.fmt!r}")
        if self.fmt not in (BF16, FP16):
            raise ValueError(f"fmt must be BF16 or FP16, got {self.fmt}")
        check_int("span", self.span, 1, 2**31)
        if isinstance(self.amax_below, bool) or not isinstance(self.amax_below, int | float):
            raise TypeError(f"amax_below must be a float, got {self.amax_below!r}")
        if not self.amax_below > 0:
            raise ValueError(f"amax_below must be positive, got {self.amax_below}")

    def __str__(self) -> str:
        return _text_language.describe(self)
