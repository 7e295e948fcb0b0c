"""LogFMT-nBit: the spec, and the tensor that it makes of an array (arXiv 2505.09343, section 3.2).

The paper leaves much open. Each choice is a parameter of `LogFMT`, with the most natural reading as default.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from precision._support._argument_checks import check_axis
from precision._support._expressions import shorten
from precision._support._hashed_once import HashedOnce
from precision._support._types import Array
from precision._support.machine._float_environment import methods_in_default_environment
from precision.formats import _text_language
from precision.formats._float_format import Specials
from precision.formats._named import BF16
from precision.formats._rounding_modes import Rounding, Stochastic, checked_offset
from precision.logfmt import _logfmt_checks, _single_calls, _tile_loops, _wire_bytes
from precision.logfmt._design_choices import BelowClamp, Fallback, LogBase, Metadata, SingleValued, Space
from precision.logfmt._logfmt_fields import LogFMTFields
from precision.logfmt._logfmt_parts import LogFMTParts
from precision.quantization._dequantizing import check_dequantize_arguments
from precision.quantization._row_views import source_of
from precision.quantization._scale_rules import NonFinite


@dataclass(frozen=True, repr=False)
@methods_in_default_environment
class LogFMT(LogFMTFields):
    """A spec of LogFMT-nBit: a code is a sign and a level of a logarithmic grid, one grid for each tile.

    A tile is a run of ``block_size`` neighbours along the axis. Code 0 stands for zero. Code K from 1 to
    2**(bits-1) - 1 stands for the *level* ``base**(min + step*(K - 1))``, and a negative element has
    2**(bits-1) added to its code. A tile's min is the logarithm of its smallest nonzero magnitude, but at
    least the logarithm of its largest magnitude divided by ``2**clamp``; with max, the logarithm of its
    largest, ``step = (max - min) / (2**(bits-1) - 2)``.

    Everything is as if computed with real numbers: min and step are rounded once, to nearest even, to
    ``metadata_format``; an element becomes the nearer of the two levels around it, of the levels that the
    stored min and step stand for, and is decided right however near it lies to the boundary between them.

    Parameters
    ----------
    bits : int
        Bits of a code, its sign among them: 3 to 16.
    block_size : int
        Elements of a tile, at least 1. The last tile of a row may be shorter.
    base : LogBase
        Base of the logarithms that are stored: E ("exp" in the paper) or TWO.
    rounding : Rounding or Stochastic
        Which level an element between two becomes. TIES_TO_EVEN: the nearer, and the one of the even code
        where both are equally near. TIES_TO_AWAY: the nearer, and the larger magnitude of two equally near.
        Stochastic: the upper one with the probability that its distance gives; the random bits belong to
        the element's flat index in ``x``, counted from the ``offset`` of `precision.quantize`. Rounding to
        nearest is biased in a tile, toward zero or away from it, in whichever space; Stochastic in LINEAR
        space is unbiased.
    space : Space
        Whether an element's distances from the levels are those of numbers or of their logarithms.
    clamp : int or None
        The largest range of a tile's levels, in binades: where the largest magnitude exceeds the smallest
        by more, min is raised to the logarithm of the largest divided by ``2**clamp``, and the tile is
        *clamped*. None: no tile is. (Where the range is the clamp exactly, min is the same either way.)
    below_clamp : BelowClamp
        What becomes of elements below the lowest level of a tile that was clamped. In one that was not, only
        the rounding of min puts elements below the lowest level, and they take it.
    metadata : Metadata
        The two numbers stored for a tile: min and step, or its smallest and its largest magnitude.
    metadata_format : FloatFormat
        The format in which they are stored: FP32, BF16 or FP16 (with EXTREMES not FP16, whose range is too
        small). Stored extremes that round to zero or overflow become the format's smallest or largest
        positive number.
    from_stored : bool
        Whether codes are chosen by the levels of the stored numbers, which the reader has, or by those of
        the numbers before they were rounded.
    single_valued : SingleValued
        The code of every nonzero finite element of a tile whose step is zero: FIRST, code 1, or LAST, code
        2**(bits-1) - 1. All levels of such a tile are one number. It is a tile whose nonzero elements have
        one magnitude; and, with ``from_stored``, one whose step, or whose difference of the extremes, is lost
        when the numbers are stored.
    skip_zeros : bool
        Whether zeros are left out of the smallest magnitude. If they are not, a tile with a zero and a
        nonzero element is clamped (and stores 0 as its smallest magnitude with EXTREMES), as DeepEP has it.
    negative_zero : bool
        Whether elements that become zero keep their sign: -0, and negative ones that are rounded to zero,
        have the code 2**(bits-1) then, else 0.
    non_finite : NonFinite
        What a NaN or Inf does to its tile. NAN_SCALE: both stored numbers become NaN, every code 0, and every
        value NaN. FINITE_AMAX: the extremes are taken over the finite elements; Inf takes the last level
        with its sign, NaN the positive last level. Where no finite element but zeros is left, the last level
        is 1.
    fallback : Fallback, optional
        Which tiles are stored as 16-bit numbers instead of codes. It needs EXTREMES, from which the reader
        sees which tiles those are. None: every tile is cast.

    Raises
    ------
    TypeError, ValueError
        If a parameter is of another type, out of range, or does not fit the others.

    Notes
    -----
    A tile of zeros stores two zeros and has the codes of zeros. A min that rounds to zero is +0.

    A boundary between two levels is transcendental or algebraic, and a number lies on it only where both
    levels are powers of two (or, with levels from unrounded extremes, rational; or, in LOG space, where the
    number is 1 and the levels lie symmetrically about it): there alone are ties.

    Examples
    --------
    >>> import numpy as np, precision as pr
    >>> q = pr.quantize(np.float32([[1, -2, 4, 8, 0]]), pr.LogFMT(4))
    >>> q.codes, q.dequantize()
    (array([[ 1, 11,  5,  7,  0]], dtype=uint8), array([[ 1., -2.,  4.,  8.,  0.]], dtype=float32))
    >>> q.nbytes, pr.LogFMT(8).bits_per_element((32, 7168))
    (11, 8.5)

    Its text reads back:

    >>> pr.LogFMT(10, 64, rounding=pr.Stochastic(16))
    LogFMT(10, 64, rounding=Stochastic(bits=16))

    One magnitude, zeros of both signs, a tile with NaN, and elements far below the clamp:

    >>> x = np.float32([[3, -3, 0, -0.0], [1, 2, 4, np.nan], [1, 2.0**-40, 2.0**-20, 0]])
    >>> q = pr.quantize(x, pr.LogFMT(4, base=pr.logfmt.LogBase.TWO))
    >>> q.codes
    array([[1, 9, 0, 8],
           [0, 0, 0, 0],
           [7, 0, 3, 0]], dtype=uint8)
    >>> q.dequantize()[1], float(q.min[2, 0])
    (array([nan, nan, nan, nan], dtype=float32), -32.0)
    """

    __hash__ = HashedOnce.__hash__

    def __post_init__(self) -> None:
        for name, number in _logfmt_checks.check_fields(self).items():
            object.__setattr__(self, name, number)

    def __str__(self) -> str:
        return "DEEPEP_LOGFMT10" if self == DEEPEP_LOGFMT10 else _text_language.describe(self)

    __repr__ = __str__

    @classmethod
    def parse(cls, text: str) -> LogFMT:
        """Return the spec that a text describes, which is how the spec prints.

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
        spec = _text_language.evaluate(text, vocabulary(), "spec")
        if not isinstance(spec, cls):
            raise ValueError(f"spec {shorten(text)}: must say a LogFMT, as LogFMT(8)")
        return spec

    def quantize(
        self, x: npt.ArrayLike, axis: int = -1, out: LogFMTTensor | None = None, *, offset: int = 0
    ) -> LogFMTTensor:
        """Quantize an array to codes and metadata; `precision.quantize` explains the arguments.

        ``x`` may be float16, bfloat16, float32, float64 or a narrower floating-point type; it is not rounded
        before codes are chosen.
        """
        call = None if out is not None else _single_calls.find_call(self, x, axis)
        if call is not None:
            parts = call(x, checked_offset(offset, x.size))  # type: ignore[arg-type, union-attr]
            if parts is not None:
                return LogFMTTensor._unchecked(*parts, self, parts[0].ndim - 1)
        source = source_of(x)
        first = checked_offset(offset, source.size)
        along = check_axis(axis, source.ndim)
        if out is None:
            codes, metadata = _tile_loops.new_arrays(source.shape, self, along)
        else:
            codes, metadata = self._arrays_of(out, source.shape, along)
            if any(np.may_share_memory(source, array) for array in (codes, *metadata)):
                source = source.copy()
        _tile_loops.encode_tiles(source, self, along, first, codes, metadata)
        return LogFMTTensor._unchecked(codes, metadata, self, along)

    def _arrays_of(
        self, out: object, shape: tuple[int, ...], along: int
    ) -> tuple[Array, tuple[Array, Array]]:
        """Return the arrays of ``out``; raise TypeError or ValueError unless they suit and can be written."""
        if not isinstance(out, LogFMTTensor):
            raise TypeError(f"out must be a LogFMTTensor, got {type(out).__name__}")
        for name, wanted in {"shape": shape, "spec": self, "axis": along}.items():
            if getattr(out, name) != wanted:
                raise ValueError(f"out must have {name} {wanted}, got {getattr(out, name)}")
        _logfmt_checks.check_writable(out.codes, out.metadata)
        return out.codes, out.metadata

    def unpack(self, packed: Array, shape: tuple[int, ...], axis: int = -1) -> LogFMTTensor:
        """Rebuild a tensor from the bytes that `LogFMTTensor.pack` made of it.

        Parameters
        ----------
        packed : ndarray
            uint8, one-dimensional.
        shape : tuple of int
            Shape of the tensor.
        axis : int
            The axis along which its tiles run.

        Raises
        ------
        TypeError
            If an argument is of another type.
        ValueError
            If there are more or fewer bytes than such a tensor takes, bits after the last code that are not
            zero, or stored numbers that no quantizing gives: the shape, the spec or the bytes are others.
        """
        sizes = _logfmt_checks.checked_shape(shape)
        along = check_axis(axis, len(sizes))
        tensor = LogFMTTensor(*_wire_bytes.unpacked_parts(packed, self, sizes, along), self, axis=along)
        _logfmt_checks.check_numbers(tensor.metadata, self)
        return tensor


@dataclass(frozen=True, eq=False, repr=False)
@methods_in_default_environment
class LogFMTTensor(LogFMTParts):
    """A tensor quantized by LogFMT: codes with the two numbers that are stored for each tile.

    Parameters
    ----------
    codes : ndarray
        uint8 up to 8 bits; uint16 for more bits, and with a fallback. Of an element that is not cast, the
        code is the 16 bits of its number in the fallback's format.
    metadata : tuple of two ndarrays
        Of shape ``spec.tiles_shape(codes.shape, axis)`` and the metadata format's type: min and step, or
        the smallest and the largest magnitude.
    spec : LogFMT
        The spec that gives both their meaning.
    axis : int
        The axis along which tiles run.

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

    spec: LogFMT

    def __post_init__(self) -> None:
        if not isinstance(self.spec, LogFMT):
            raise TypeError(f"spec must be a LogFMT, got {self.spec!r}")
        _logfmt_checks.check_codes_array(self.codes, self.spec)
        object.__setattr__(self, "axis", check_axis(self.axis, self.codes.ndim))
        _logfmt_checks.check_metadata_arrays(self.metadata, self.codes, self.spec, self.axis)
        self.check_codes()

    @classmethod
    def _unchecked(cls, codes: Array, metadata: tuple[Array, Array], spec: LogFMT, axis: int) -> LogFMTTensor:
        """Return a tensor of parts that quantizing made, and that need no check; ``axis`` is not negative."""
        tensor = object.__new__(cls)
        tensor.__dict__.update(codes=codes, metadata=metadata, spec=spec, axis=axis)
        return tensor

    def __repr__(self) -> str:
        along = "" if self.axis == self.ndim - 1 else f", axis={self.axis}"
        return f"LogFMTTensor(shape={self.shape}, spec={self.spec}{along})"

    def dequantize(self, dtype: npt.DTypeLike = np.float32, *, out: Array | None = None) -> Array:
        """Return the values that the codes and numbers stand for.

        Parameters
        ----------
        dtype : dtype
            float32: within one unit in the last place of the exact value. float64: within four.
        out : ndarray, optional
            Array to write them into: of the tensor's shape and of ``dtype``, any strides.

        Returns
        -------
        ndarray
            Of the tensor's shape. A value beyond the type's largest becomes the largest.

        Raises
        ------
        TypeError
            If ``dtype`` is another one, or ``out`` is no array of it.
        ValueError
            If ``out`` has another shape, is read-only or has elements that share memory.
        """
        kind = check_dequantize_arguments(self.shape, dtype, out)
        return _tile_loops.decode_tiles(self.codes, self.metadata, self.spec, self.axis, kind, out)

    def pack(self) -> Array:
        """Pack the tensor into the bytes that would be sent, which `LogFMT.unpack` reads.

        With the tiles' axis moved to the end, in C order: the first numbers of all tiles, the second ones,
        the codes of all elements that are cast as one little-endian bit stream of ``spec.bits`` each (filled
        up with zero bits to a byte), and the others' 16 bits each. Numbers are little-endian.

        Returns
        -------
        ndarray
            New, uint8, of length ``nbytes``.

        Raises
        ------
        ValueError
            If a code or a number is none that quantizing gives, as `check` says.
        """
        self.check()
        return _wire_bytes.packed_bytes(self.codes, self.metadata, self.spec, self.axis)


DEEPEP_LOGFMT10 = LogFMT(
    10,
    base=LogBase.TWO,
    metadata=Metadata.EXTREMES,
    metadata_format=BF16,
    skip_zeros=False,
    below_clamp=BelowClamp.NEXT_LEVEL,
    fallback=Fallback(BF16, 1024),
)
"""The spec by which DeepEP's low-latency combine sends with ``use_logfmt``.

Source: ``csrc/kernels/internode_ll.cu``, 2025. 128 channels a tile, their amax and amin as BF16, zeros
counted; 1024 channels (512 where 1024 do not divide the hidden size) are cast where every tile has amax < 1
and amin < amax, and stay BF16 otherwise. Its input is BF16. DeepEP computes logarithms with the GPU's
approximate ``lg2`` and ``ex2``, so that next to a boundary its code may be the neighbour; here they are
exact.
"""


def vocabulary() -> dict[str, object]:
    """Return the names that `LogFMT.parse` reads, with what they stand for."""
    kinds = LogFMT, Fallback, Stochastic
    names: dict[str, Any] = {kind.__name__: kind for kind in kinds}
    names |= {"LOGFMT": LogFMT, "DEEPEP_LOGFMT10": DEEPEP_LOGFMT10}
    for members in (LogBase, Space, BelowClamp, Metadata, SingleValued, NonFinite, Rounding, Specials):
        names |= {member.name: member for member in members}
    return names
