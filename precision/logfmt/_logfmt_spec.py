"""LogFMT-nBit: tiles of numbers on a logarithmic grid (arXiv 2505.09343, section 3.2).

The paper leaves much open. Each choice is a field of `LogFMT`, with the most natural reading as default.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt

from precision._support._argument_checks import check_axis, check_int
from precision._support._array_checks import refuse_masked
from precision._support._expressions import shorten
from precision._support._types import Array
from precision._support.machine._float_environment import methods_in_default_environment
from precision.formats import _text_language
from precision.formats._code_checks import largest_code
from precision.formats._float_format import FloatFormat, Specials
from precision.formats._named import BF16, FP16, FP32
from precision.formats._rounding_modes import Rounding, Stochastic
from precision.logfmt._design_choices import BelowClamp, Fallback, LogBase, Metadata, SingleValued, Space
from precision.quantization._scale_rules import NonFinite

METADATA_TYPES: dict[FloatFormat, np.dtype[Any]] = {
    FP32: np.dtype(np.float32),
    BF16: np.dtype(ml_dtypes.bfloat16),
    FP16: np.dtype(np.float16),
}


@dataclass(frozen=True)
@methods_in_default_environment
class LogFMT:
    """A sign and a place on a logarithmic grid that each tile of neighbours has for itself.

    Code 0 is zero. Code K from 1 to 2**(bits-1) - 1 stands for ``base**(min + step*(K - 1))``, the sign is
    the bit above. A tile's min is the logarithm of its smallest nonzero magnitude, but at least that of its
    largest less ``clamp`` binades; with max, the logarithm of its largest, ``step = (max - min) /
    (2**(bits-1) - 2)``. Everything is as if computed with real numbers: min and step are rounded once, to
    nearest even, to ``metadata_format``; an element becomes the nearest of the levels that those two stand
    for, decided right even beside the boundary between two levels.

    Parameters
    ----------
    bits : int
        Of a code, with its sign: 3 to 16.
    block_size : int
        Neighbours along the axis in a tile; the last may be shorter.
    base : LogBase
        Of the logarithms, E ("exp" in the paper) or TWO.
    rounding : Rounding or Stochastic
        TIES_TO_EVEN (of codes), TIES_TO_AWAY (of magnitudes), or Stochastic, whose bits belong to the
        element's flat index in ``x``, counted from the ``offset`` of `precision.quantize`. To nearest is
        biased toward zero or away from it in a tile, however the boundary is drawn; Stochastic in LINEAR
        space is unbiased.
    space : Space
        In which distances are measured.
    clamp : int or None
        A tile's largest range, in binades; None for no clamp. At the clamp itself it makes no difference
        whether min must exceed max - log(2**clamp) or may equal it.
    below_clamp : BelowClamp
        What becomes of smaller elements. In a tile that was not clamped nothing lies below min but by min's
        rounding, and such elements take the first level.
    metadata : Metadata
        The two numbers stored for a tile.
    metadata_format : FloatFormat
        In which they are stored: FP32, BF16 or FP16 (with EXTREMES not FP16, whose range is too small).
        Stored extremes are kept within the format's positive numbers.
    from_stored : bool
        Whether codes are chosen with the stored numbers, which the reader has, or with those before they
        were rounded.
    single_valued : SingleValued
        The code where the step is zero: in a tile of one magnitude, or where the step is too small for the
        metadata's format.
    skip_zeros : bool
        Whether zeros are left out of the smallest magnitude. If not, a zero puts min at the clamp (DeepEP).
    negative_zero : bool
        Whether zero keeps its sign, and negative elements that become zero theirs.
    non_finite : NonFinite
        NAN_SCALE: a NaN or Inf makes its tile's metadata NaN, the codes 0, and every value NaN.
        FINITE_AMAX: the extremes are taken over the finite elements; Inf takes the last level, NaN the
        positive last level. Where no other element is finite and nonzero, that is 1.
    fallback : Fallback, optional
        Which tiles are not cast at all. It needs EXTREMES, from which the reader sees them.

    Raises
    ------
    TypeError, ValueError
        If a parameter is of another type, out of range, or does not fit the others.

    Notes
    -----
    A tile of zeros stores zeros, and a min that rounds to zero is +0. A boundary between two levels is
    transcendental or algebraic, and a number lies on it only where both levels are powers of two (or, with
    levels from unrounded extremes, rational; or, in LOG space, where it is 1 and the levels lie symmetrically
    about it): there alone are ties.

    Examples
    --------
    >>> import numpy as np, precision as pr
    >>> q = pr.quantize(np.float32([[1, -2, 4, 8, 0]]), pr.LogFMT(4))
    >>> q.codes, q.dequantize()
    (array([[ 1, 11,  5,  7,  0]], dtype=uint8), array([[ 1., -2.,  4.,  8.,  0.]], dtype=float32))
    >>> q.nbytes, pr.LogFMT(8).bits_per_element((32, 7168))
    (11, 8.5)
    >>> str(pr.LogFMT(10, 64, rounding=pr.Stochastic(16)))
    'LogFMT(10, 64, rounding=Stochastic(bits=16))'
    """

    bits: int
    block_size: int = 128
    base: LogBase = field(default=LogBase.E, kw_only=True)
    rounding: Rounding | Stochastic = field(default=Rounding.TIES_TO_EVEN, kw_only=True)
    space: Space = field(default=Space.LINEAR, kw_only=True)
    clamp: int | None = field(default=32, kw_only=True)
    below_clamp: BelowClamp = field(default=BelowClamp.NEAREST, kw_only=True)
    metadata: Metadata = field(default=Metadata.MIN_STEP, kw_only=True)
    metadata_format: FloatFormat = field(default=FP32, kw_only=True)
    from_stored: bool = field(default=True, kw_only=True)
    single_valued: SingleValued = field(default=SingleValued.FIRST, kw_only=True)
    skip_zeros: bool = field(default=True, kw_only=True)
    negative_zero: bool = field(default=True, kw_only=True)
    non_finite: NonFinite = field(default=NonFinite.NAN_SCALE, kw_only=True)
    fallback: Fallback | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        check_int("bits", self.bits, 3, 16)
        check_int("block_size", self.block_size, 1, 2**31)
        kinds = {
            "base": LogBase, "space": Space, "below_clamp": BelowClamp, "metadata": Metadata,
            "single_valued": SingleValued, "non_finite": NonFinite,
            "from_stored": bool, "skip_zeros": bool, "negative_zero": bool,
        }  # fmt: skip
        for name, kind in kinds.items():
            if not isinstance(getattr(self, name), kind):
                raise TypeError(f"{name} must be of type {kind.__name__}, got {getattr(self, name)!r}")
        if not isinstance(self.rounding, Stochastic | Rounding):
            raise TypeError(f"rounding must be a Rounding or Stochastic, got {self.rounding!r}")
        nearest = Rounding.TIES_TO_EVEN, Rounding.TIES_TO_AWAY
        if isinstance(self.rounding, Rounding) and self.rounding not in nearest:
            raise ValueError(
                f"rounding must be TIES_TO_EVEN, TIES_TO_AWAY or Stochastic(...), got {self.rounding}"
            )
        if self.clamp is not None:
            check_int("clamp", self.clamp, 1, 4096)
        elif not self.skip_zeros:
            raise ValueError("skip_zeros=False needs a clamp: else one zero makes min minus infinity")
        if not isinstance(self.metadata_format, FloatFormat):
            raise TypeError(f"metadata_format must be a FloatFormat, got {self.metadata_format!r}")
        if self.metadata_format not in METADATA_TYPES:
            raise ValueError(f"metadata_format must be FP32, BF16 or FP16, got {self.metadata_format}")
        extremes = self.metadata is Metadata.EXTREMES
        if extremes and self.metadata_format == FP16:
            raise ValueError("metadata_format must be FP32 or BF16 with EXTREMES, got fp16")
        if self.fallback is not None:
            if not isinstance(self.fallback, Fallback):
                raise TypeError(f"fallback must be a Fallback or None, got {self.fallback!r}")
            if not extremes:
                raise ValueError("fallback needs metadata=EXTREMES, from which the reader sees what is cast")
            if self.fallback.span % self.block_size:
                raise ValueError(
                    f"fallback must have a span that block_size={self.block_size} divides, "
                    f"got {self.fallback.span}"
                )

    def __str__(self) -> str:
        return "DEEPEP_LOGFMT10" if self == DEEPEP_LOGFMT10 else _text_language.describe(self)

    @classmethod
    def parse(cls, text: str) -> LogFMT:
        """The spec that ``str`` printed, or that a user wrote in the same language.

        Raises
        ------
        TypeError
            If ``text`` is not a string.
        ValueError
            If it says no LogFMT; the message names the part that is unknown.

        Examples
        --------
        >>> import precision as pr
        >>> pr.LogFMT.parse("logfmt(8, space=LOG, metadata_format=bf16)").bits
        8
        """
        found = _text_language.evaluate(text, vocabulary(), "spec")
        if not isinstance(found, cls):
            raise ValueError(f"spec {shorten(text)}: must say a LogFMT, as LogFMT(8)")
        return found

    @property
    def code_dtype(self) -> np.dtype[Any]:
        """Of the codes: uint8 up to 8 bits, else, and with a fallback, uint16."""
        return np.dtype(np.uint8 if self.bits <= 8 and self.fallback is None else np.uint16)

    def tiles_shape(self, shape: tuple[int, ...], axis: int = -1) -> tuple[int, ...]:
        """Shape of the metadata of an array of ``shape``: tiles along the axis.

        Examples
        --------
        >>> import precision as pr
        >>> pr.LogFMT(8).tiles_shape((4, 300))
        (4, 3)
        """
        along = check_axis(axis, len(shape))
        return tuple(-(-n // self.block_size) if i == along else n for i, n in enumerate(shape))

    def bits_per_element(self, shape: tuple[int, ...], axis: int = -1) -> float:
        """Bits stored for each element of an array of ``shape``, metadata counted, every tile being cast.

        Raises
        ------
        ValueError
            If the shape holds no element.
        """
        size = math.prod(shape)
        if size == 0:
            raise ValueError(f"shape must hold at least one element, got {tuple(shape)}")
        return self.bits + 2 * self.metadata_format.bits * math.prod(self.tiles_shape(shape, axis)) / size

    def quantize(
        self, x: npt.ArrayLike, axis: int = -1, out: LogFMTTensor | None = None, *, offset: int = 0
    ) -> LogFMTTensor:
        """Codes and metadata of ``x``; see `precision.quantize`.

        ``x`` may be float16, bfloat16, float32, float64 or a narrower floating-point type; it is not rounded
        before codes are chosen.
        """
        from precision.logfmt import _tile_loops

        return _tile_loops.quantized(x, self, axis, out, offset)

    def unpack(self, packed: Array, shape: tuple[int, ...], axis: int = -1) -> LogFMTTensor:
        """The tensor that `LogFMTTensor.pack` made bytes of.

        Parameters
        ----------
        packed : ndarray
            uint8, one-dimensional.
        shape : tuple of int
            Of the tensor.
        axis : int
            Along which its tiles run.

        Raises
        ------
        TypeError
            If an argument is of another type.
        ValueError
            If there are more or fewer bytes than such a tensor takes, bits after the last code that are not
            zero, or stored numbers that no quantizing gives: the shape, the spec or the bytes are others.
        """
        from precision.logfmt import _wire_bytes

        return _wire_bytes.unpacked(packed, self, shape, axis)


@dataclass(frozen=True, eq=False, repr=False)
@methods_in_default_environment
class LogFMTTensor:
    """Codes on logarithmic grids, with the two numbers of each tile.

    Parameters
    ----------
    codes : ndarray
        uint8 up to 8 bits, else, and with a fallback, uint16.
    metadata : tuple of two ndarrays
        Of shape ``spec.tiles_shape(codes.shape, axis)`` and the metadata format's type: min and step, or
        the smallest and the largest magnitude.
    spec : LogFMT
        What they mean.
    axis : int
        Along which tiles run.

    Raises
    ------
    TypeError, ValueError
        If a part is of another type or shape than the spec says. (`check` looks at the numbers.)

    Examples
    --------
    >>> import numpy as np, precision as pr
    >>> q = pr.quantize(np.float32([[1, -2, 4, 8, 0]]), pr.LogFMT(4, base=pr.logfmt.LogBase.TWO))
    >>> q, q.min, q.step, q.bits_per_element
    (LogFMTTensor(shape=(1, 5), spec=LogFMT(4, 128, base=TWO)), array([[0.]]), array([[0.5]]), 17.6)
    >>> packed = q.pack()
    >>> packed.size == q.nbytes, bool((q.spec.unpack(packed, q.shape).codes == q.codes).all())
    (True, True)
    """

    codes: Array
    metadata: tuple[Array, Array]
    spec: LogFMT
    axis: int = field(default=-1, kw_only=True)

    def __post_init__(self) -> None:
        if not isinstance(self.spec, LogFMT):
            raise TypeError(f"spec must be a LogFMT, got {self.spec!r}")
        codes, spec = self.codes, self.spec
        refuse_masked("codes", codes)
        if not isinstance(codes, np.ndarray) or codes.dtype != spec.code_dtype:
            got = codes.dtype if isinstance(codes, np.ndarray) else type(codes).__name__
            raise TypeError(f"codes must be an ndarray of {spec.code_dtype}, got {got}")
        if codes.ndim == 0:
            raise ValueError("codes must have at least one axis")
        object.__setattr__(self, "axis", check_axis(self.axis, codes.ndim))
        kind, shape = METADATA_TYPES[spec.metadata_format], spec.tiles_shape(codes.shape, self.axis)
        if not isinstance(self.metadata, tuple) or len(self.metadata) != 2:
            raise TypeError(f"metadata must be a tuple of two ndarrays, got {type(self.metadata).__name__}")
        for array in self.metadata:
            refuse_masked("metadata", array)
            if not isinstance(array, np.ndarray) or array.dtype != kind:
                got = array.dtype if isinstance(array, np.ndarray) else type(array).__name__
                raise TypeError(f"metadata must be ndarrays of {kind}, got {got}")
            if array.shape != shape:
                raise ValueError(
                    f"metadata must have shape {shape} for codes of {codes.shape} in tiles of "
                    f"{spec.block_size} along axis {self.axis}, got {array.shape}"
                )
        self.check_codes()

    def check(self) -> None:
        """Raise ValueError unless every code and number is one that quantizing gives."""
        spec = self.spec
        first, second = (array.astype(np.float64) for array in self.metadata)
        good = (np.isnan(first) & np.isnan(second)) | (np.isfinite(first) & (second >= 0) & (second < np.inf))
        if spec.metadata is Metadata.EXTREMES:
            good &= np.isnan(first) | ((first >= 0) & (first <= second))
        if not good.all():
            place = tuple(int(i) for i in np.argwhere(~good)[0])
            pair = f"{first[place]} and {second[place]}"
            raise ValueError(f"metadata must be what {spec} stores, got {pair} for tile {place}")
        self.check_codes()

    def check_codes(self) -> None:
        """Raise ValueError unless every code of an element that is cast lies below ``2**spec.bits``."""
        spec = self.spec
        if spec.bits < 8 * self.codes.itemsize and largest_code(self.codes) >> spec.bits:
            above = self.codes[self.cast_elements()] if spec.fallback else self.codes
            if above.size and int(above.max()) >> spec.bits:
                raise ValueError(f"codes of {spec} must lie below 2**{spec.bits}, got {above.max()}")

    def __repr__(self) -> str:
        along = "" if self.axis == self.ndim - 1 else f", axis={self.axis}"
        return f"LogFMTTensor(shape={self.shape}, spec={self.spec}{along})"

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the codes."""
        return self.codes.shape

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return self.codes.ndim

    @property
    def min(self) -> Array:
        """Logarithm of each tile's lowest level, to the spec's base; float64, of the tiles' shape."""
        return self._logarithms()[0]

    @property
    def step(self) -> Array:
        """Logarithm of the ratio of neighbouring levels, to the spec's base; float64, of the tiles' shape."""
        return self._logarithms()[1]

    def _logarithms(self) -> tuple[Array, Array]:
        first, second = (array.astype(np.float64) for array in self.metadata)
        spec = self.spec
        if spec.metadata is Metadata.MIN_STEP:
            return first, second
        log = np.log if spec.base is LogBase.E else np.log2
        zeros = second == 0
        first, second = np.where(zeros, 1.0, first), np.where(zeros, 1.0, second)
        high = log(second)
        if spec.clamp is not None:
            clamped = second * 2.0**-spec.clamp
            first = np.maximum(first, clamped)
        with np.errstate(divide="ignore"):  # without a clamp, a zero that counts is at -Inf
            low = log(first)
        if spec.clamp is not None:  # what lies below float64's normal numbers has its logarithm alone
            low = np.where(first < np.finfo(np.float64).tiny, high - spec.clamp * log(2.0), low)
        return low, (high - low) / (2 ** (spec.bits - 1) - 2)

    @property
    def cast(self) -> Array:
        """Whether each tile is cast to LogFMT; bool, of the tiles' shape. All are, without a fallback."""
        fallback = self.spec.fallback
        if fallback is None:
            return np.ones(self.metadata[0].shape, bool)
        low, high = (np.moveaxis(array.astype(np.float64), self.axis, -1) for array in self.metadata)
        applies = (low < high) & (high < fallback.amax_below)
        per_span = fallback.span // self.spec.block_size
        tiles = applies.shape[-1]
        if tiles:
            spans = np.logical_and.reduceat(applies, np.arange(0, tiles, per_span), axis=-1)
            applies = np.repeat(spans, per_span, axis=-1)[..., :tiles]
        return np.moveaxis(applies, -1, self.axis)

    def cast_elements(self) -> Array:
        """`cast` of each element's tile; bool, of the codes' shape."""
        each = np.repeat(self.cast, self.spec.block_size, axis=self.axis)
        return each.take(np.arange(self.shape[self.axis]), axis=self.axis)

    @property
    def nbytes(self) -> int:
        """Bytes to store or send: those of `pack`."""
        size, spec = self.codes.size, self.spec
        cast = size if spec.fallback is None else int(self.cast_elements().sum())
        numbers = sum(array.nbytes for array in self.metadata)
        return numbers + -(-cast * spec.bits // 8) + 2 * (size - cast)

    @property
    def bits_per_element(self) -> float:
        """Bits stored for each element, metadata and tiles that are not cast counted."""
        if not self.codes.size:
            raise ValueError(f"a tensor of shape {self.shape} holds no element")
        return 8 * self.nbytes / self.codes.size

    def dequantize(self, dtype: npt.DTypeLike = np.float32, *, out: Array | None = None) -> Array:
        """The values that the codes and numbers stand for.

        Parameters
        ----------
        dtype : dtype
            float32: within one unit in the last place of the exact value. float64: within four.
        out : ndarray, optional
            Where they are written: of the tensor's shape and of ``dtype``, any strides.

        Returns
        -------
        ndarray
            Of the tensor's shape. Values beyond the type's largest become it.

        Raises
        ------
        TypeError
            If ``dtype`` is another one, or ``out`` is no array of it.
        ValueError
            If ``out`` has another shape, is read-only or has elements that share memory.
        """
        from precision.logfmt import _tile_loops
        from precision.quantization._row_loops import checked_out

        kind = checked_out(self.shape, dtype, out)
        return _tile_loops.dequantized(self, kind, out)

    def pack(self) -> Array:
        """The bytes that would be sent; `LogFMT.unpack` reads them.

        With the tiles' axis moved to the end, in C order: the first numbers of all tiles, the second ones,
        the codes of all elements that are cast as one little-endian bit stream of ``spec.bits`` each (filled
        up with zero bits to a byte), and the others' 16 bits each. Numbers are little-endian.

        Returns
        -------
        ndarray
            New, uint8, of length ``nbytes``.
        """
        from precision.logfmt import _wire_bytes

        return _wire_bytes.packed(self)


DEEPEP_LOGFMT10 = LogFMT(
    10,
    base=LogBase.TWO,
    metadata=Metadata.EXTREMES,
    metadata_format=BF16,
    skip_zeros=False,
    below_clamp=BelowClamp.NEXT_LEVEL,
    fallback=Fallback(BF16, 1024),
)
"""What DeepEP's low-latency combine sends with ``use_logfmt`` (``csrc/kernels/internode_ll.cu``, 2025).

128 channels a tile, their amax and amin as BF16, zeros counted; 1024 channels (512 where 1024 do not divide
the hidden size) are cast where every tile has amax < 1 and amin < amax, and stay BF16 otherwise. Its input is
BF16. It computes logarithms with the GPU's approximate ``lg2`` and ``ex2``, so that next to a boundary its
code may be the neighbour; here they are exact.
"""


def vocabulary() -> dict[str, object]:
    """The names that `LogFMT.parse` reads."""
    kinds = LogFMT, Fallback, Stochastic
    names: dict[str, object] = {kind.__name__: kind for kind in kinds}
    names |= {"LOGFMT": LogFMT, "DEEPEP_LOGFMT10": DEEPEP_LOGFMT10}
    for members in (LogBase, Space, BelowClamp, Metadata, SingleValued, NonFinite, Rounding, Specials):
        names |= {member.name: member for member in members}
    return names
