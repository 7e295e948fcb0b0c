"""Arrays as codes and scales: the spec that says how, and the tensor that results."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from typing import Any, Protocol, TypeGuard, TypeVar

import numpy.typing as npt

from precision._support._expressions import shorten
from precision._support.machine._float_environment import in_default_environment
from precision.formats import _text_language
from precision.formats._float_format import FloatFormat, Specials
from precision.formats._int_format import IntFormat
from precision.formats._named import FP32, NAMED, Format
from precision.formats._rounding_modes import Overflow, Rounding, Stochastic, checked_offset
from precision.quantization import _granularity
from precision.quantization._granularity import Granularity, filled, scale_shape
from precision.quantization._quantized_tensor import QuantizedTensor
from precision.quantization._scale_rules import Arithmetic, NonFinite, ScaleRule
from precision.quantization._spec_checks import check_spec

__all__ = [
    "QuantSpec",
    "QuantizedTensor",
    "Spec",
    "alike_but_for_rule",
    "filled",
    "quantize",
    "scale_shape",
]

Result_co = TypeVar("Result_co", covariant=True)


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
        Whether a second scale, float32, lies over the whole tensor: fl32(amax / (max * scale_bound)).
        The groups' scales are then of fl32(fl32(amax / max) / tensor_scale), or by a rule for powers of
        two of fl32(amax / tensor_scale), and the elements are divided by fl32(scale * tensor_scale). (So
        with the ``arithmetic`` DIVISION.)
    rounding : Rounding or Stochastic
        Of the elements. The random bits of an element belong to its flat index in ``x`` (C order), whatever
        the axis; `quantize` can count them from an ``offset``. Two operands of one product need different
        seeds, or the product is biased: see `Stochastic` and `precision.specs.for_operands`.
    overflow : Overflow
        Of the elements. NON_SATURATING needs a ``fmt`` with NaN.
    min_amax : float, optional
        An amax below it counts as it (DeepGEMM: 1e-4).
    arithmetic : Arithmetic
        The order of operations under a tensor scale: DIVISION, as above, NVFP4_PAPER or
        TRANSFORMER_ENGINE. The last two need ``tensor_scale`` and no rule for powers of two.
    scale_bound : float, optional
        The largest group scale that the tensor scale aims at; by default the scale format's largest value.
        (FOUR_OVER_SIX needs room for 1.5 times it: TransformerEngine takes 256 of E4M3's 448.)
    zero_scale : float, optional
        The scale of a group of zeros; by default 1 in FP32, and ``least_scale`` in any other scale format.
        (torchao, gfloat: E8M0's byte 0, the default; microxcaling: 2**-126.)
    least_scale : float, optional
        What a smaller scale becomes; by default the smallest positive value of the scale format. (torchao's
        NVFP4: 2**-6, modelopt's: 2**-9, which is the default.) With 0.0 a scale may round to zero, and its
        elements restore to zero (TransformerEngine's NVFP4).
    scale_overflow : Overflow
        What a scale too large for its format becomes. SATURATE: the largest. NON_SATURATING: NaN, whether
        the format has Inf or not (microxcaling); the codes below it are then those of NaN elements.
    non_finite : NonFinite
        What a NaN or Inf does to its group: NAN_SCALE or FINITE_AMAX.

    Raises
    ------
    TypeError, ValueError
        If a parameter is of the wrong type, or they do not fit together.

    Notes
    -----
    The defaults: a group of zeros has the scale 1 in FP32, and the smallest positive one in any other scale
    format; its elements are zeros. A scale too small for its format becomes the smallest positive value, one
    too large the largest. A group that holds NaN or Inf has the scale NaN, as OCP MX v1.0 (section 5.1)
    makes all its values NaN, in every format; its codes are the format's NaN or, without one, 0, and the
    tensor scale is taken over the other groups. Implementations part on each of these points: the last four
    parameters say what others do. ``zero_scale`` and ``least_scale`` must be values of the scale format.

    Examples
    --------
    >>> import dataclasses, numpy as np, precision as pr
    >>> spec = pr.QuantSpec(pr.E4M3, pr.PerGroup(128))
    >>> q = pr.quantize(np.linspace(-1, 1, 512, dtype=np.float32).reshape(2, 256), spec)
    >>> q.scale.shape, q.codes.dtype.name, spec.bits_per_element((2, 256))
    ((2, 2), 'float8_e4m3fn', 8.25)
    >>> mx = pr.QuantSpec(pr.E2M1, pr.PerGroup(32), scale_format=pr.E8M0, scale_rule=pr.ScaleRule.FLOOR)
    >>> mx == pr.MXFP4, str(mx), str(pr.QuantSpec(pr.E2M1, pr.PerGroup(16)))
    (True, 'MXFP4', 'QuantSpec(e2m1, PerGroup(16))')
    >>> pr.QuantSpec.parse("MXFP4") == mx
    True
    >>> print(dataclasses.replace(mx, scale_overflow=pr.Overflow.NON_SATURATING))
    QuantSpec(e2m1, PerGroup(32), scale_format=e8m0, scale_rule=FLOOR, scale_overflow=NON_SATURATING)
    """

    fmt: Format
    granularity: Granularity
    scale_format: FloatFormat = field(default=FP32, kw_only=True)
    scale_rule: ScaleRule = field(default=ScaleRule.AMAX, kw_only=True)
    tensor_scale: bool = field(default=False, kw_only=True)
    rounding: Rounding | Stochastic = field(default=Rounding.TIES_TO_EVEN, kw_only=True)
    overflow: Overflow = field(default=Overflow.SATURATE, kw_only=True)
    min_amax: float | None = field(default=None, kw_only=True)
    arithmetic: Arithmetic = field(default=Arithmetic.DIVISION, kw_only=True)
    scale_bound: float | None = field(default=None, kw_only=True)
    zero_scale: float | None = field(default=None, kw_only=True)
    least_scale: float | None = field(default=None, kw_only=True)
    scale_overflow: Overflow = field(default=Overflow.SATURATE, kw_only=True)
    non_finite: NonFinite = field(default=NonFinite.NAN_SCALE, kw_only=True)

    @in_default_environment
    def __post_init__(self) -> None:
        check_spec(self)

    @in_default_environment
    def __str__(self) -> str:
        return next((name for name, spec in SPECS.items() if spec == self), _text_language.describe(self))

    @classmethod
    @in_default_environment
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
        found = _text_language.evaluate(text, vocabulary(), "spec")
        if not isinstance(found, cls):
            raise ValueError(f"spec {shorten(text)}: must say a QuantSpec, as QuantSpec(e4m3, PerGroup(128))")
        return found

    @in_default_environment
    def quantize(
        self, x: npt.ArrayLike, axis: int = -1, out: QuantizedTensor | None = None, *, offset: int = 0
    ) -> QuantizedTensor:
        """Codes and scales of ``x``; see `quantize`."""
        from precision.quantization import _row_loops

        return _row_loops.quantized(x, self, axis, out, offset)

    def scale_shape(self, shape: tuple[int, ...], axis: int = -1) -> tuple[int, ...]:
        """Shape of the scales of an array of ``shape``.

        Examples
        --------
        >>> import precision as pr
        >>> pr.QuantSpec(pr.E4M3, pr.PerBlock(128, 128)).scale_shape((300, 256))
        (3, 2)
        """
        return scale_shape(shape, self.granularity.block(shape, axis))

    @in_default_environment
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


def quantize(
    x: npt.ArrayLike, spec: Spec[Result_co], axis: int = -1, out: Any = None, *, offset: int = 0
) -> Result_co:
    """Quantize an array as a spec says.

    Parameters
    ----------
    x : array_like
        float16, bfloat16, float32, float64, or another floating-point type of ml_dtypes; at least 1-D.
    spec : QuantSpec
        How; any object with a ``quantize(x, axis, out)`` method (which an ``offset`` other than 0 is given
        to as well).
    axis : int
        Along which groups run. A right operand (K, N) of a product takes ``axis=-2``.
    out : QuantizedTensor, optional
        Whose codes and scales are written into: of ``x``'s shape, the spec's formats and block. They may
        lie in ``x``'s memory, but not in each other's. The tensor returned shares them; it has its own
        tensor scale.
    offset : int
        The index of the first element of ``x``, 0 to 2**64 - ``x.size``, from which a `Stochastic` rounding
        counts its random bits. A deterministic rounding gives the same for every offset. See the notes.

    Returns
    -------
    QuantizedTensor
        Of ``x``'s shape. Groups lie contiguous in memory; the codes of larger blocks lie as ``x`` does.

    Raises
    ------
    TypeError
        If ``x`` is not of a floating-point type, or another argument is of the wrong type.
    ValueError
        If ``axis`` is none of ``x``, the granularity does not suit the shape, or ``offset`` or ``out`` does
        not fit: its codes and scales may not overlap.

    Notes
    -----
    A piece ``x[i:j]`` along the first axis of a larger ``x`` has the offset ``i * x[0].size``; with it the
    piece's codes are those of the whole, if it has the same scales too: it must cut no group (where groups
    or blocks extend along the first axis, ``i`` is a multiple of their length there), and there must be no
    scale over the whole tensor. A piece along another axis is no run of neighbours in C order: quantize
    each run with its own offset.

    Examples
    --------
    >>> import numpy as np, precision as pr
    >>> w = np.random.default_rng(0).standard_normal((256, 384)).astype(np.float32)
    >>> q = pr.quantize(w, pr.QuantSpec(pr.E4M3, pr.PerBlock(128, 128)), axis=-2)
    >>> q.shape, q.scale.shape, q.block
    ((256, 384), (2, 3), (128, 128))

    The second half, as it is quantized in the whole:

    >>> spec = pr.QuantSpec(pr.E4M3, pr.PerBlock(128, 128), rounding=pr.Stochastic(8))
    >>> whole, half = pr.quantize(w, spec), pr.quantize(w[128:], spec, offset=128 * w[0].size)
    >>> bool((half.codes == whole.codes[128:]).all())
    True
    """
    if not callable(getattr(spec, "quantize", None)) or isinstance(spec, type):
        raise TypeError(f"spec must be one as QuantSpec(E4M3, PerGroup(128)), got {spec!r}")
    first = checked_offset(offset, 0)
    if first == 0:
        return spec.quantize(x, axis=axis, out=out)  # also a spec that knows no offset
    counted: Any = spec.quantize
    return counted(x, axis=axis, out=out, offset=first)  # type: ignore[no-any-return]


def alike_but_for_rule(spec: object, other: object) -> TypeGuard[QuantSpec]:
    """Whether both are of this kind, and the same or different in nothing but the scale rule."""
    if not isinstance(spec, QuantSpec) or not isinstance(other, QuantSpec):
        return False
    names = (f.name for f in fields(spec) if f.name != "scale_rule")
    return all(getattr(spec, name) == getattr(other, name) for name in names)


SPECS: dict[str, QuantSpec] = {}
"""The named specs, by the name that they print."""


def named(name: str, spec: QuantSpec) -> QuantSpec:
    """Let ``spec`` print as ``name``, which `QuantSpec.parse` then reads."""
    SPECS[name] = spec
    return spec


def vocabulary() -> dict[str, object]:
    """The names that `QuantSpec.parse` reads."""
    names: dict[str, object] = {
        kind.__name__: kind
        for kind in (
            QuantSpec, Stochastic, FloatFormat, IntFormat,
            _granularity.PerTensor, _granularity.PerVector, _granularity.PerGroup, _granularity.PerBlock,
        )
    }  # fmt: skip
    for members in (ScaleRule, Arithmetic, NonFinite, Rounding, Overflow, Specials):
        names |= {member.name: member for member in members}
    # mxint8 is a format and MXINT8 a spec.
    return names | dict(NAMED) | {name.upper(): fmt for name, fmt in NAMED.items()} | SPECS
