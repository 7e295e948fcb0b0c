"""Arrays as codes and scales: the spec that says how, the tensor that results, and the way back."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from precision import _text, scaling
from precision.codec import decode, format_params
from precision.formats import FP32, FP64, NAMED, FloatFormat, Format, IntFormat, Specials, format_of
from precision.rounding import Overflow, Rounding, Stochastic
from precision.scaling import Block, Granularity, ScaleRule

Array = npt.NDArray[Any]
Result_co = TypeVar("Result_co", covariant=True)


@dataclass(frozen=True, eq=False, repr=False)
class QuantizedTensor:
    """Codes with their scales: ``value = code * scale``, or ``code * fl32(scale * tensor_scale)``.

    Parameters
    ----------
    codes : ndarray
        Of type ``fmt.dtype``, or of the unsigned integers of that size.
    scale : ndarray or float
        What codes are multiplied by: as many axes as ``codes``, along each of them one entry for every
        ``block`` elements, the last block being shorter where they do not divide. One number stands for
        the whole tensor. Of the scale format's type: float32, or ml_dtypes' for a narrower one.
    fmt : FloatFormat or IntFormat
        What the codes mean.
    tensor_scale : float32, optional
        A second scale for the whole tensor, finite and positive.
    block : tuple of int or None, optional
        Elements under one scale along each axis; None is the whole axis, however long. (So rows of 128
        with a scale each, ``(1, None)``, differ from groups of 128 along them, ``(1, 128)``: `matmul`
        applies their scales in different orders.) It may be left out where both shapes leave one answer:
        along an axis with one scale, with as many scales as elements, or with scales for whole blocks of
        a power of two.
    scale_format : FloatFormat, optional
        What the scales mean; it may be left out where their type says so.

    Raises
    ------
    TypeError
        If the codes or scales have a type that ``fmt`` or ``scale_format`` does not take.
    ValueError
        If a shape does not fit, ``block`` is missing and ambiguous, or a scale is negative. Scales that
        are zero, Inf or NaN are taken, and propagate as arithmetic does.

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

    def __post_init__(self) -> None:
        settle = object.__setattr__
        settle(self, "codes", _checked_codes(self.codes, self.fmt))
        scale, scale_format = _checked_scale(self.scale, self.scale_format)
        settle(self, "scale_format", scale_format)
        if scale.ndim == 0:
            if not self.block:
                settle(self, "block", (None,) * self.ndim)
            scale = scale.reshape((1,) * self.ndim)
        settle(self, "scale", scale)
        given: object = self.block
        if given is None or given == ():
            settle(self, "block", _inferred_block(self.shape, scale.shape))
        settle(self, "block", _checked_block(self.block, self.shape, scale.shape))
        if self.tensor_scale is not None:
            settle(self, "tensor_scale", _checked_tensor_scale(self.tensor_scale))

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
        """The axes in reverse order; a view."""
        return self._transposed(tuple(reversed(range(self.ndim))))

    @property
    def mT(self) -> QuantizedTensor:
        """The last two axes exchanged; a view."""
        if self.ndim < 2:
            raise ValueError(f"mT needs at least 2 axes, this tensor has shape {self.shape}")
        return self._transposed((*range(self.ndim - 2), self.ndim - 1, self.ndim - 2))

    def _transposed(self, order: tuple[int, ...]) -> QuantizedTensor:
        return dataclasses.replace(
            self,
            codes=self.codes.transpose(order),
            scale=self.scale.transpose(order),
            block=tuple(self.block[axis] for axis in order),
        )

    def dequantize(self, dtype: npt.DTypeLike = np.float32) -> Array:
        """The values that the codes and scales stand for.

        Parameters
        ----------
        dtype : dtype
            float32: each product is rounded once. float64: it is exact.

        Returns
        -------
        ndarray
            Of the tensor's shape.

        Raises
        ------
        TypeError
            If ``dtype`` is another one.

        Examples
        --------
        >>> import numpy as np, precision as pr
        >>> x = np.array([[1, 2], [3, 448]], np.float32)
        >>> pr.quantize(x, pr.QuantSpec(pr.E4M3, pr.PerTensor())).dequantize()
        array([[  1.,   2.],
               [  3., 448.]], dtype=float32)
        """
        from precision import _quantizing

        kind = np.dtype(dtype)
        if kind not in (np.float32, np.float64):
            raise TypeError(f"dtype must be float32 or float64, got {kind}")
        return _quantizing.dequantized(self, kind)

    def multipliers(self) -> Array:
        """What codes are multiplied by, as float32 of the scales' shape: fl32(scale * tensor_scale)."""
        scale = decode(self.scale, self.scale_format)
        if self.tensor_scale is None:
            return scale
        return np.asarray(scale * self.tensor_scale)


class Spec(Protocol[Result_co]):
    """What `quantize` asks of a spec; ``Result`` is its kind of quantized tensor."""

    def quantize(self, x: npt.ArrayLike, axis: int = -1, out: Any = None) -> Result_co:
        """Codes and scales of ``x``, with groups along ``axis``."""
        ...

    def bits_per_element(self, shape: tuple[int, ...], axis: int = -1) -> float:
        """Bits stored for each element of an array of ``shape``, scales counted."""
        ...


@dataclass(frozen=True)
class QuantSpec:
    """How an array becomes codes and scales.

    The scale of a group comes from its amax, the largest magnitude, by ``scale_rule``, and is rounded to
    ``scale_format``. Then the elements are divided by the scale *as stored*: one IEEE division in float32
    (float64 for float64 input), then one rounding to ``fmt``.

    Parameters
    ----------
    fmt : FloatFormat or IntFormat
        Of the elements. It must have a zero.
    granularity : PerTensor, PerVector, PerGroup or PerBlock
        Which elements share a scale.
    scale_format : FloatFormat
        Of the scales. It must have a NaN, and at most 32 bits.
    scale_rule : ScaleRule
        How amax becomes a scale.
    tensor_scale : bool
        Whether a second scale, float32, lies over the whole tensor: fl32(amax / (max * scale_format.max)).
        The groups' scales are then of fl32(fl32(amax / max) / tensor_scale), or by a rule for powers of
        two of fl32(amax / tensor_scale), and the elements are divided by fl32(scale * tensor_scale).
    rounding : Rounding or Stochastic
        Of the elements. The random bits of an element belong to its flat index in ``x``, whatever the axis.
    overflow : Overflow
        Of the elements. NON_SATURATING needs a ``fmt`` with NaN.
    min_amax : float, optional
        An amax below it counts as it (DeepGEMM: 1e-4).

    Raises
    ------
    TypeError, ValueError
        If a parameter is of the wrong type, or they do not fit together.

    Notes
    -----
    A group of zeros has the scale 1 in FP32, and the smallest positive one in any other scale format
    (E8M0: byte 0, as torchao); its elements are zeros. A scale too small for its format becomes the
    smallest positive value, one too large the largest. A group that holds NaN or Inf has the scale NaN, as
    OCP MX v1.0 (section 5.1) makes all its values NaN, in every format; its codes are the format's NaN or,
    without one, 0, and the tensor scale is taken over the other groups.

    Examples
    --------
    >>> import numpy as np, precision as pr
    >>> spec = pr.QuantSpec(pr.E4M3, pr.PerGroup(128))
    >>> q = pr.quantize(np.linspace(-1, 1, 512, dtype=np.float32).reshape(2, 256), spec)
    >>> q.scale.shape, q.codes.dtype.name, spec.bits_per_element((2, 256))
    ((2, 2), 'float8_e4m3fn', 8.25)
    >>> mx = pr.QuantSpec(pr.E2M1, pr.PerGroup(32), scale_format=pr.E8M0, scale_rule=pr.ScaleRule.FLOOR)
    >>> str(mx)
    'QuantSpec(e2m1, PerGroup(32), scale_format=e8m0, scale_rule=FLOOR)'
    >>> pr.QuantSpec.parse(str(mx)) == mx
    True
    """

    fmt: Format
    granularity: Granularity
    scale_format: FloatFormat = field(default=FP32, kw_only=True)
    scale_rule: ScaleRule = field(default=ScaleRule.AMAX, kw_only=True)
    tensor_scale: bool = field(default=False, kw_only=True)
    rounding: Rounding | Stochastic = field(default=Rounding.TIES_TO_EVEN, kw_only=True)
    overflow: Overflow = field(default=Overflow.SATURATE, kw_only=True)
    min_amax: float | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        kinds: dict[str, Any] = {
            "fmt": (FloatFormat, IntFormat),
            "scale_format": FloatFormat,
            "scale_rule": ScaleRule,
            "tensor_scale": bool,
            "rounding": (Rounding, Stochastic),
            "overflow": Overflow,
        }
        for name, kind in kinds.items():
            if not isinstance(getattr(self, name), kind):
                wanted = " or ".join(k.__name__ for k in (kind if isinstance(kind, tuple) else (kind,)))
                raise TypeError(f"{name} must be a {wanted}, got {getattr(self, name)!r}")
        if isinstance(self.granularity, type) or not callable(getattr(self.granularity, "block", None)):
            raise TypeError(f"granularity must be one as PerGroup(128), got {self.granularity!r}")
        if self.fmt == FP64 or not self.fmt.has_zero:
            raise ValueError(f"fmt must have a zero and at most 32 bits, got {self.fmt}")
        if self.scale_format == FP64 or not self.scale_format.has_nan:
            raise ValueError(f"scale_format must have a NaN and at most 32 bits, got {self.scale_format}")
        if self.overflow is Overflow.NON_SATURATING and not self.fmt.has_nan:
            raise ValueError(f"overflow must be SATURATE for {self.fmt}, which has neither Inf nor NaN")
        if self.tensor_scale and self.fmt.max * self.scale_format.max > FP32.max:
            raise ValueError(f"tensor_scale needs a scale_format of less range than {self.scale_format}")
        self._check_min_amax()

    def _check_min_amax(self) -> None:
        if self.min_amax is None:
            return
        if isinstance(self.min_amax, bool) or not isinstance(self.min_amax, int | float):
            raise TypeError(f"min_amax must be a float or None, got {self.min_amax!r}")
        if not 0 < self.min_amax <= FP32.max:
            raise ValueError(f"min_amax must be positive and at most float32's largest, got {self.min_amax}")

    def __str__(self) -> str:
        return _text.describe(self)

    @classmethod
    def parse(cls, text: str) -> QuantSpec:
        """The spec that ``str`` printed, or that a user wrote in the same language.

        Raises
        ------
        TypeError
            If ``text`` is not a string.
        ValueError
            If it says no spec; the message names the part that is unknown.

        Examples
        --------
        >>> import precision as pr
        >>> pr.QuantSpec.parse("QuantSpec(int8, PerBlock(128, 128), rounding=Stochastic(bits=8))").fmt.max
        127.0
        """
        if not isinstance(text, str):
            raise TypeError(f"text must be a str, got {text!r}")
        found = _text.evaluate(text, _vocabulary(), "spec")
        if not isinstance(found, cls):
            raise ValueError(f"spec {text!r}: must say a QuantSpec, as QuantSpec(e4m3, PerGroup(128))")
        return found

    def quantize(
        self, x: npt.ArrayLike, axis: int = -1, out: QuantizedTensor | None = None
    ) -> QuantizedTensor:
        """Codes and scales of ``x``; see `quantize`."""
        from precision import _quantizing

        return _quantizing.quantized(x, self, axis, out)

    def scale_shape(self, shape: tuple[int, ...], axis: int = -1) -> tuple[int, ...]:
        """Shape of the scales of an array of ``shape``.

        Examples
        --------
        >>> import precision as pr
        >>> pr.QuantSpec(pr.E4M3, pr.PerBlock(128, 128)).scale_shape((300, 256))
        (3, 2)
        """
        return scale_shape(shape, self.granularity.block(shape, axis))

    def bits_per_element(self, shape: tuple[int, ...], axis: int = -1) -> float:
        """Bits stored for each element of an array of ``shape``, scales counted.

        Raises
        ------
        ValueError
            If the shape holds no element.

        Examples
        --------
        >>> import precision as pr
        >>> pr.QuantSpec(pr.E4M3, pr.PerGroup(32), scale_format=pr.E8M0).bits_per_element((64, 64))
        8.25
        """
        size = math.prod(shape)
        if size == 0:
            raise ValueError(f"shape must hold at least one element, got {tuple(shape)}")
        scales = math.prod(self.scale_shape(shape, axis)) * self.scale_format.bits
        return self.fmt.bits + (scales + 32 * self.tensor_scale) / size


def quantize(x: npt.ArrayLike, spec: Spec[Result_co], axis: int = -1, out: Any = None) -> Result_co:
    """Quantize an array as a spec says.

    Parameters
    ----------
    x : array_like
        float16, bfloat16, float32, float64, or another floating-point type of ml_dtypes; at least 1-D.
    spec : QuantSpec
        How; any object with a ``quantize(x, axis, out)`` method.
    axis : int
        Along which groups run. A right operand (K, N) of a product takes ``axis=-2``.
    out : QuantizedTensor, optional
        Whose codes and scales are written into: of ``x``'s shape, the spec's formats and block. The
        tensor returned shares them; it has its own tensor scale.

    Returns
    -------
    QuantizedTensor
        Of ``x``'s shape. Groups lie contiguous in memory; the codes of larger blocks lie as ``x`` does.

    Raises
    ------
    TypeError
        If ``x`` is not of a floating-point type, or another argument is of the wrong type.
    ValueError
        If ``axis`` is none of ``x``, the granularity does not suit the shape, or ``out`` does not fit.

    Examples
    --------
    >>> import numpy as np, precision as pr
    >>> w = np.random.default_rng(0).standard_normal((256, 384)).astype(np.float32)
    >>> q = pr.quantize(w, pr.QuantSpec(pr.E4M3, pr.PerBlock(128, 128)), axis=-2)
    >>> q.shape, q.scale.shape, q.block
    ((256, 384), (2, 3), (128, 128))
    """
    if not callable(getattr(spec, "quantize", None)) or isinstance(spec, type):
        raise TypeError(f"spec must be one as QuantSpec(E4M3, PerGroup(128)), got {spec!r}")
    return spec.quantize(x, axis=axis, out=out)


def filled(block: Block, shape: tuple[int, ...]) -> tuple[int, ...]:
    """A block with the length of each whole axis in the place of None."""
    return tuple(max(1, size) if step is None else step for size, step in zip(shape, block, strict=True))


def scale_shape(shape: tuple[int, ...], block: Block) -> tuple[int, ...]:
    """Blocks along each axis, a last shorter one counted."""
    return tuple(-(-size // step) for size, step in zip(shape, filled(block, shape), strict=True))


def _vocabulary() -> dict[str, object]:
    names: dict[str, object] = {
        kind.__name__: kind
        for kind in (
            QuantSpec, Stochastic, FloatFormat, IntFormat,
            scaling.PerTensor, scaling.PerVector, scaling.PerGroup, scaling.PerBlock,
        )
    }  # fmt: skip
    for members in (ScaleRule, Rounding, Overflow, Specials):
        names |= {member.name: member for member in members}
    return names | {name.upper(): fmt for name, fmt in NAMED.items()}


def _checked_codes(codes: object, fmt: object) -> Array:
    if not isinstance(fmt, FloatFormat | IntFormat) or fmt == FP64:
        raise TypeError(f"fmt must be a FloatFormat of at most 32 bits or an IntFormat, got {fmt!r}")
    if not isinstance(codes, np.ndarray):
        raise TypeError(f"codes must be an ndarray, got {type(codes).__name__}")
    if codes.ndim == 0:
        raise ValueError("codes must have at least one axis")
    if codes.dtype == fmt.dtype:
        return codes
    if codes.dtype != fmt.code_dtype:
        raise TypeError(f"codes of {fmt} must have dtype {fmt.dtype} or {fmt.code_dtype}, got {codes.dtype}")
    if codes.itemsize * 8 > fmt.bits and codes.size and int(codes.max()) >> fmt.bits:
        raise ValueError(f"codes of {fmt} must lie below 2**{fmt.bits}, got {int(codes.max())}")
    return codes.view(fmt.dtype)


def _checked_scale(scale: object, fmt: object) -> tuple[Array, FloatFormat]:
    if fmt is not None and (not isinstance(fmt, FloatFormat) or fmt == FP64):
        raise TypeError(f"scale_format must be a FloatFormat of at most 32 bits, got {fmt!r}")
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
    params = format_params(fmt)
    sign = params.mask ^ params.magnitude_mask
    bits = array.view(fmt.code_dtype)
    # -0 passes, as arithmetic has it; so does a NaN of either sign.
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


def _checked_block(
    block: Block, shape: tuple[int, ...], scales: tuple[int, ...]
) -> Block:
    if not isinstance(block, tuple) or not all(n is None or type(n) is int for n in block):
        raise TypeError(f"block must be a tuple of ints or None (the whole axis), got {block!r}")
    if len(block) != len(shape) or any(n is not None and n < 1 for n in block):
        raise ValueError(f"block must have {len(shape)} entries of at least 1, got {block}")
    if scales != scale_shape(shape, block):
        raise ValueError(
            f"scale must have shape {scale_shape(shape, block)} for codes of {shape} in blocks of {block}, "
            f"got {scales}"
        )
    return block


def _checked_tensor_scale(value: object) -> np.float32:
    if isinstance(value, np.ndarray) and value.ndim == 0:
        value = value[()]
    if isinstance(value, bool) or not isinstance(value, int | float | np.float32):
        raise TypeError(f"tensor_scale must be a float32 number, got {value!r}")
    if not (math.isfinite(value) and 0 < np.float32(value) < math.inf):
        raise ValueError(f"tensor_scale must be finite and positive, got {value}")
    return np.float32(value)
