"""The class `QuantizedTensor`, which holds codes with their scales, checked to fit together."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from precision._support._array_checks import refuse_masked, refuse_overlapping
from precision._support._shared_memory import refuse_shared
from precision._support._types import Array
from precision._support.machine._float_environment import in_default_environment
from precision.formats._code_checks import checked_codes, clean_codes
from precision.formats._codec import decode
from precision.formats._codec_constants import format_params
from precision.formats._float_format import FloatFormat
from precision.formats._int_format import IntFormat
from precision.formats._named import FP64, Format, format_of
from precision.quantization._dequantizing import (
    Coded,
    check_dequantize_arguments,
    dequantize_codes,
    multipliers,
)
from precision.quantization._granularity import Block, checked_block, scale_shape


@dataclass(frozen=True, eq=False, repr=False)
class QuantizedTensor:
    """A tensor of codes with their scales: a value is code * scale, or code * fl32(scale * tensor_scale).

    Parameters
    ----------
    codes : ndarray
        The codes, of type ``fmt.dtype`` or of the unsigned integers of that size, below ``2**fmt.bits``.
        (ml_dtypes' integers of fewer than 8 bits may have bits above those, which ml_dtypes ignores.)
    scale : ndarray or float
        The scales, by which codes are multiplied: an array with as many axes as ``codes``, and along each
        axis one entry for every ``block`` elements, the last block being shorter if the length is not a
        multiple. One number is the scale of the whole tensor. The type is the scale format's: float32, or
        that of ml_dtypes for a narrower format.
    fmt : FloatFormat or IntFormat
        The format of the codes.
    tensor_scale : float32, optional
        A second scale for the whole tensor, finite and positive.
    block : tuple of int or None, optional
        The number of elements under one scale along each axis; None is the whole axis, however long. (So
        rows of 128 with a scale each, ``(1, None)``, differ from groups of 128 along them, ``(1, 128)``:
        `matmul` applies their scales in different orders.) The block may be left out if the shapes of codes
        and scales determine it: along an axis with one scale, with as many scales as elements, or with
        scales for whole blocks of a power of two.
    scale_format : FloatFormat, optional
        The format of the scales; it may be left out if their type determines it.

    Raises
    ------
    TypeError
        If the codes or scales have a type that ``fmt`` or ``scale_format`` does not take.
    ValueError
        If a code or scale has bits that its format does not have, a shape does not fit, ``block`` is missing
        and ambiguous, or a scale is negative. Scales that are zero, Inf or NaN are allowed, and propagate as
        arithmetic does.

    Examples
    --------
    >>> import numpy as np, precision as pr
    >>> codes = pr.encode(np.ones((2, 256), np.float32), pr.E4M3)
    >>> q = pr.QuantizedTensor(codes, np.full((2, 2), 0.5, np.float32), fmt=pr.E4M3)
    >>> q.block, q.nbytes, float(q.dequantize()[1, 255])
    ((1, 128), 528, 0.5)
    """

    codes: Array
    scale: Array
    fmt: Format = field(kw_only=True)
    tensor_scale: np.float32 | None = field(default=None, kw_only=True)
    block: Block = field(default=(), kw_only=True)
    scale_format: FloatFormat = field(default=None, kw_only=True)  # type: ignore[assignment]

    @in_default_environment
    def __post_init__(self) -> None:
        object.__setattr__(self, "codes", _checked_codes(self.codes, self.fmt))
        self._settle_scales()

    @classmethod
    def _of_settled_parts(cls, **parts: Any) -> QuantizedTensor:
        """Build a tensor from all its fields without any check; the caller vouches that they fit together."""
        tensor = object.__new__(cls)
        tensor.__dict__.update(parts)
        return tensor

    def _coded(self) -> Coded:
        """Return the parts of the tensor that dequantization reads."""
        return Coded(self.codes, self.scale, self.tensor_scale, self.fmt, self.scale_format, self.block)

    def _settle_scales(self) -> None:
        """Check the scales, the block and the tensor scale, and infer the fields that were left out."""
        settle = object.__setattr__
        scale, scale_format = _checked_scale(self.scale, self.scale_format)
        settle(self, "scale_format", scale_format)
        given: object = self.block
        unsaid = given is None or (isinstance(given, tuple) and not given)
        if scale.ndim == 0:
            if unsaid:
                settle(self, "block", (None,) * self.ndim)
            scale = scale.reshape((1,) * self.ndim)[tuple(slice(min(1, size)) for size in self.shape)]
        elif unsaid:
            settle(self, "block", _inferred_block(self.shape, scale.shape))
        settle(self, "scale", scale)
        settle(self, "block", _block_of_scales(self.block, self.shape, scale.shape))
        if self.tensor_scale is not None:
            settle(self, "tensor_scale", _checked_tensor_scale(self.tensor_scale))

    @in_default_environment
    def __repr__(self) -> str:
        second = "" if self.tensor_scale is None else f", tensor_scale={self.tensor_scale}"
        return (
            f"QuantizedTensor(shape={self.shape}, fmt={self.fmt}, block={self.block}, "
            f"scale_format={self.scale_format}{second})"
        )

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the codes."""
        return self.codes.shape

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return self.codes.ndim

    @property
    def nbytes(self) -> int:
        """Bytes to store or send, packed: codes and scales in their formats' bits, and the tensor scale."""
        codes = -(-self.codes.size * self.fmt.bits // 8)
        scales = -(-self.scale.size * self.scale_format.bits // 8)
        return codes + scales + (0 if self.tensor_scale is None else 4)

    @property
    def T(self) -> QuantizedTensor:
        """The transposed tensor, with all axes in reverse order; a view."""
        return self._transposed(tuple(reversed(range(self.ndim))))

    @property
    def mT(self) -> QuantizedTensor:
        """The tensor of transposed matrices, with the last two axes exchanged; a view."""
        if self.ndim < 2:
            raise ValueError(f"mT needs at least 2 axes, this tensor has shape {self.shape}")
        return self._transposed((*range(self.ndim - 2), self.ndim - 1, self.ndim - 2))

    def _transposed(self, order: tuple[int, ...]) -> QuantizedTensor:
        return self._of_settled_parts(  # codes that were changed meanwhile are checked when they are read
            codes=self.codes.transpose(order),
            scale=self.scale.transpose(order),
            fmt=self.fmt,
            tensor_scale=self.tensor_scale,
            block=tuple(self.block[axis] for axis in order),
            scale_format=self.scale_format,
        )

    @in_default_environment
    def dequantize(self, dtype: npt.DTypeLike = np.float32, *, out: Array | None = None) -> Array:
        """Return the value of every element, the product of its code and its scale.

        Parameters
        ----------
        dtype : dtype
            float32, in which each product is rounded once, or float64, in which it is exact.
        out : ndarray, optional
            The array to fill, of the tensor's shape and of ``dtype``, with any strides. It is filled fastest
            if it lies in memory as the codes do.

        Returns
        -------
        ndarray
            The values: ``out``, or a new array that lies in memory as the codes do.

        Raises
        ------
        TypeError
            If ``dtype`` is another type, or ``out`` is not an array of ``dtype``.
        ValueError
            If ``out`` has another shape, is read-only or has elements that share memory, or if the codes or
            scales were changed and now have bits that their formats do not have.

        Examples
        --------
        >>> import numpy as np, precision as pr
        >>> x = np.array([[1, 2], [3, 448]], np.float32)
        >>> pr.quantize(x, pr.QuantSpec(pr.E4M3, pr.PerTensor())).dequantize(out=x)
        array([[  1.,   2.],
               [  3., 448.]], dtype=float32)
        """
        return dequantize_codes(self._coded(), check_dequantize_arguments(self.shape, dtype, out), out)

    @in_default_environment
    def multipliers(self) -> Array:
        """Return the number that multiplies the codes of each block, fl32(scale * tensor_scale).

        Returns
        -------
        ndarray
            The float32 multipliers, of the scales' shape.

        Raises
        ------
        ValueError
            If the scales were changed and now have bits that their format does not have.

        Examples
        --------
        >>> import numpy as np, precision as pr
        >>> pr.quantize(np.float32([[8, 1], [3, 6]]), pr.QuantSpec(pr.E2M1, pr.PerVector())).multipliers()
        array([[1.3333334],
               [1.       ]], dtype=float32)
        """
        return multipliers(self._coded())


def check_target(
    out: object, shape: tuple[int, ...], fmt: Format, scale_format: FloatFormat, block: Block
) -> None:
    """Raise unless ``out`` is a writable tensor of the given shape, formats and block.

    Raises
    ------
    TypeError
        If ``out`` is not a `QuantizedTensor`.
    ValueError
        If it is read-only, has another shape, format or block, or has elements that share memory.
    """
    if not isinstance(out, QuantizedTensor):
        raise TypeError(f"out must be a QuantizedTensor, got {type(out).__name__}")
    wanted = (shape, fmt, block, scale_format)
    got = (out.shape, out.fmt, out.block, out.scale_format)
    for name, ours, theirs in zip(("shape", "fmt", "block", "scale_format"), wanted, got, strict=True):
        if ours != theirs:
            raise ValueError(f"out must have {name} {ours}, got {theirs}")
    if not (out.codes.flags.writeable and out.scale.flags.writeable):
        raise ValueError("out must be writable, got read-only codes or scales")
    refuse_shared(codes=out.codes, scale=out.scale)
    refuse_overlapping("the codes of out", out.codes)
    refuse_overlapping("the scales of out", out.scale)


def _checked_codes(codes: object, fmt: object) -> Array:
    if not isinstance(fmt, FloatFormat | IntFormat) or fmt == FP64:
        raise TypeError(f"fmt must be a FloatFormat of at most 32 bits or an IntFormat, got {fmt!r}")
    checked = checked_codes(codes, fmt)
    if checked.ndim == 0:
        raise ValueError("codes must have at least one axis")
    return checked


def _checked_scale(scale: object, fmt: object) -> tuple[Array, FloatFormat]:
    if fmt is not None and (not isinstance(fmt, FloatFormat) or fmt == FP64):
        raise TypeError(f"scale_format must be a FloatFormat of at most 32 bits, got {fmt!r}")
    refuse_masked("scale", scale)
    array = np.asarray(np.float32(scale) if isinstance(scale, int | float) else scale)
    if fmt is None:
        try:
            fmt = format_of(array.dtype)
        except ValueError:
            fmt = FP64
        if not isinstance(fmt, FloatFormat) or fmt == FP64:
            raise TypeError(
                "scale must be float32 or of a narrower type of ml_dtypes (or unsigned integers, with "
                f"scale_format saying what they mean), got {array.dtype}"
            )
    if array.dtype not in (fmt.dtype, fmt.code_dtype):
        raise TypeError(f"scale of {fmt} must have dtype {fmt.dtype} or {fmt.code_dtype}, got {array.dtype}")
    clean_codes(array, fmt, "scale")
    params = format_params(fmt)
    sign = params.mask ^ params.magnitude_mask
    bits = array.view(fmt.code_dtype)
    # A scale of -0 is not negative in arithmetic, and a NaN of either sign is not, either.
    if sign and (bits & fmt.code_dtype.type(sign)).any():
        values = decode(array, fmt)
        if (values < 0).any():
            raise ValueError(f"scale must not be negative, got {values[values < 0].flat[0]}")
    return array if array.dtype == fmt.dtype else array.view(fmt.dtype), fmt


def _inferred_block(shape: tuple[int, ...], scales: tuple[int, ...]) -> Block:
    if len(shape) != len(scales):
        raise ValueError(
            f"scale must have the codes' {len(shape)} axes, got shape {scales} for codes of {shape}"
        )
    block: list[int | None] = []
    for axis, (size, count) in enumerate(zip(shape, scales, strict=True)):
        step = size // count if count and size % count == 0 else 0
        if size == count:
            step = 1
        elif count != 1 and (step == 0 or step & (step - 1)):
            raise ValueError(
                f"block cannot be told from {count} scales for {size} elements on axis {axis}: pass "
                "block=, the elements under one scale along each axis"
            )
        block.append(None if count == 1 != size else max(1, step))
    return tuple(block)


def _block_of_scales(block: Block, shape: tuple[int, ...], scales: tuple[int, ...]) -> Block:
    checked_block(block, shape)
    if scales != scale_shape(shape, block):
        raise ValueError(
            f"scale must have shape {scale_shape(shape, block)} for codes of {shape} in blocks of {block}, "
            f"got {scales}"
        )
    return block


def _checked_tensor_scale(value: object) -> np.float32:
    refuse_masked("tensor_scale", value)
    if isinstance(value, np.ndarray) and value.ndim == 0:
        value = value[()]
    if isinstance(value, bool) or not isinstance(value, int | float | np.float32):
        raise TypeError(f"tensor_scale must be a float32 number, got {value!r}")
    if not (math.isfinite(value) and 0 < np.float32(value) < math.inf):
        raise ValueError(f"tensor_scale must be finite and positive, got {value}")
    return np.float32(value)
