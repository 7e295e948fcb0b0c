"""The choices that LogFMT's paper leaves open, each an enumeration or a small record."""

from __future__ import annotations

from dataclasses import dataclass, field

from precision._support._argument_checks import check_int
from precision._support.machine._float_environment import methods_in_default_environment
from precision.formats import _text_language
from precision.formats._float_format import FloatFormat
from precision.formats._named import BF16, FP16
from precision.formats._rounding_modes import Named


class LogBase(Named):
    """The base of the logarithms min and step that are stored for a tile: E or TWO.

    Levels are ``base**(min + step*(K - 1))``, so both bases have the same grid but for the rounding of min
    and step when they are stored.

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
    """The space in which distances decide which level an element is rounded to: numbers or logarithms.

    ``LINEAR``: those of the numbers, as the paper demands; to nearest, the boundary between two levels is
    their arithmetic mean. ``LOG``: those of their logarithms; the boundary is the geometric mean.

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
    """The rule for elements below the lowest level of a tile whose min was raised by the clamp.

    ``NEAREST``: such an element is rounded to zero or to the lowest level as any number between two
    neighbours is (always in linear space, since zero has no logarithm). ``MIN``: it becomes the lowest
    level. ``ZERO``: it becomes zero. ``NEXT_LEVEL``: it is rounded as if code 0 stood for one more level, a
    step below the lowest; code 0 restores to zero nevertheless (DeepEP).

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
    """The kinds of the two numbers that are stored for a tile, from which its levels follow.

    ``MIN_STEP``: min, the logarithm of the lowest level, and step. ``EXTREMES``: the smallest and the
    largest magnitude themselves, from which writer and reader compute the logarithms, the clamp and the
    step (DeepEP). Where both are numbers of the metadata's format, they are restored exactly.

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
    """The level that stands for the elements of a tile with a step of zero: the first or the last one.

    ``FIRST`` is code 1, ``LAST`` code 2**(bits-1) - 1, with the element's sign. All levels of such a tile
    are one number, so the choice changes codes and no restored value. The step is zero where all nonzero
    elements have one magnitude, or where magnitudes are so near each other that storing loses the step.

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


@dataclass(frozen=True, repr=False)
@methods_in_default_environment
class Fallback:
    """A rule by which some tiles are not cast to codes, but stored as numbers of a 16-bit format.

    A tile may be cast if its stored largest magnitude lies below ``amax_below`` and above its stored smallest
    one. So a tile of zeros or of one magnitude may not, nor one whose stored numbers are NaN. Tiles are
    decided on together in spans of ``span`` neighbouring elements along the axis, of which the last may be
    shorter: a span is cast if each of its tiles may be, else none of them is.

    Elements that are not cast are rounded to ``fmt``, ties to even, overflow to Inf; NaN and Inf stay. Their
    entries in a tensor's ``codes`` are the 16 bits of that number, and the tile's two numbers are stored all
    the same: from them the reader sees which tiles were cast.

    Parameters
    ----------
    fmt : FloatFormat
        The format of elements that are not cast: BF16 or FP16.
    span : int
        Elements that are cast together or not at all: a multiple of the tile's ``block_size``.
    amax_below : float
        The bound, positive, below which a tile's largest magnitude must lie.

    Raises
    ------
    TypeError, ValueError
        If a parameter is of another type or value.

    Examples
    --------
    Of two tiles of four elements the second has a magnitude of 1 or more, and keeps its BF16 bits:

    >>> import numpy as np, precision as pr
    >>> from precision.logfmt import Fallback, Metadata
    >>> spec = pr.LogFMT(8, 4, metadata=Metadata.EXTREMES, fallback=Fallback(pr.BF16, 4))
    >>> q = pr.quantize(np.float32([0.1, 0.2, 0.4, 0.8, 1, 2, 4, 8]), spec)
    >>> q.cast, q.codes.tolist(), q.nbytes
    (array([ True, False]), [1, 43, 85, 127, 16256, 16384, 16512, 16640], 28)
    >>> Fallback(pr.BF16, 1024)
    Fallback(bf16, 1024)
    """

    fmt: FloatFormat = BF16
    span: int = 1024
    amax_below: float = field(default=1.0, kw_only=True)

    def __post_init__(self) -> None:
        if not isinstance(self.fmt, FloatFormat):
            raise TypeError(f"fmt must be a FloatFormat, got {self.fmt!r}")
        if self.fmt not in (BF16, FP16):
            raise ValueError(f"fmt must be BF16 or FP16, got {self.fmt}")
        object.__setattr__(self, "span", check_int("span", self.span, 1, 2**31))
        if isinstance(self.amax_below, bool) or not isinstance(self.amax_below, int | float):
            raise TypeError(f"amax_below must be a float, got {self.amax_below!r}")
        if not self.amax_below > 0:
            raise ValueError(f"amax_below must be positive, got {self.amax_below}")

    def __str__(self) -> str:
        return _text_language.describe(self)

    __repr__ = __str__
