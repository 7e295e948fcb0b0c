"""The class `QuantSpec`, which says how an array becomes codes and scales, and the table of named specs."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass, fields
from typing import TypeGuard

import numpy.typing as npt

from precision._support._expressions import shorten
from precision._support._hashed_once import HashedOnce
from precision._support._moved_names import raise_for_quantization
from precision._support._suggestions import did_you_mean
from precision._support.machine._float_environment import in_default_environment
from precision.formats import _text_language
from precision.formats._float_format import FloatFormat, Specials
from precision.formats._int_format import IntFormat
from precision.formats._named import NAMED
from precision.formats._rounding_modes import Overflow, Rounding, Stochastic, checked_offset
from precision.quantization import _granularity, _row_loops
from precision.quantization._granularity import checked_block, scale_shape
from precision.quantization._quantized_tensor import QuantizedTensor, check_target
from precision.quantization._row_views import source_of
from precision.quantization._scale_rules import Arithmetic, NonFinite, ScaleRule
from precision.quantization._single_calls import find_call
from precision.quantization._spec_fields import SpecFields, check_fields


@dataclass(frozen=True, repr=False)
class QuantSpec(SpecFields):
    """A spec that says how an array becomes codes and scales.

    The scale of a group comes from its amax, the largest magnitude, by ``scale_rule``, and is rounded to
    ``scale_format``. Then the elements are divided by the scale *as stored*: one IEEE division in float32
    (float64 for float64 input), then one rounding to ``fmt``.

    Parameters
    ----------
    fmt : FloatFormat or IntFormat
        The format of the elements, which must have a zero.
    granularity : PerTensor, PerVector, PerGroup or PerBlock
        The rule of which elements share a scale.
    scale_format : FloatFormat
        The format of the scales, which must have a NaN and at most 32 bits.
    scale_rule : ScaleRule
        The rule by which amax becomes a scale.
    tensor_scale : bool
        True for a second scale, one float32 for the whole tensor: fl32(amax / (max * scale_bound)) of the
        tensor's amax. A group's scale is then fl32(fl32(amax / max) / tensor_scale), rounded to its format,
        or by a rule for powers of two that of fl32(amax / tensor_scale), and the elements are divided by
        fl32(scale * tensor_scale). (This is the ``arithmetic`` DIVISION.)
    rounding : Rounding or Stochastic
        The rounding of the elements. The random bits of an element belong to its flat index in ``x`` (C
        order), whatever the axis; `quantize` can count indices from an ``offset``. Two operands of one
        product need different seeds, or the product is biased: see `Stochastic` and
        `precision.specs.for_operands`.
    overflow : Overflow
        The rule for elements too large for ``fmt``. NON_SATURATING needs a ``fmt`` with NaN.
    min_amax : float, optional
        The least amax: a smaller one is replaced by it (DeepGEMM: 1e-4).
    arithmetic : Arithmetic
        The order of operations under a tensor scale: DIVISION, as above, NVFP4_PAPER or
        TRANSFORMER_ENGINE. The last two need ``tensor_scale``, and exclude rules for powers of two.
    scale_bound : float, optional
        The largest group scale that the tensor scale aims at; by default the scale format's largest value.
        (FOUR_OVER_SIX needs room for 1.5 times the bound: TransformerEngine takes 256 of E4M3's 448.)
    zero_scale : float, optional
        The scale of a group of zeros; by default 1 in FP32, and ``least_scale`` in any other scale format.
        (torchao, gfloat: E8M0's byte 0, the default; microxcaling: 2**-126.)
    least_scale : float, optional
        The least scale: a smaller one is replaced by it. By default it is the smallest positive value of
        the scale format. (torchao's NVFP4: 2**-6, modelopt's: 2**-9, which is the default.) With 0.0 a
        scale may round to zero, and its elements are restored as zeros (TransformerEngine's NVFP4).
    scale_overflow : Overflow
        The rule for a scale too large for its format. SATURATE replaces it by the largest value,
        NON_SATURATING by NaN, whether the format has Inf or not (microxcaling); the codes of its elements
        are then those of NaN.
    non_finite : NonFinite
        The effect of a NaN or Inf on its group: NAN_SCALE or FINITE_AMAX.

    Raises
    ------
    TypeError, ValueError
        If a parameter has the wrong type, or the parameters do not fit together.

    Notes
    -----
    By default, a group of zeros has the scale 1 in FP32, and the smallest positive scale in any other scale
    format; its elements are zeros. A scale too small for its format becomes the smallest positive value, one
    too large the largest. A group that holds NaN or Inf has the scale NaN, whatever the formats: OCP MX v1.0
    (section 5.1) makes all its values NaN. Its codes are the format's NaN or, without one, 0, and the tensor
    scale is taken over the other groups. Implementations differ on each of these points: the last four
    parameters give what others do. ``zero_scale`` and ``least_scale`` must be values of the scale format.

    Examples
    --------
    >>> import dataclasses, numpy as np, precision as pr
    >>> spec = pr.QuantSpec(pr.E4M3, pr.PerGroup(128))
    >>> q = pr.quantize(np.linspace(-1, 1, 512, dtype=np.float32).reshape(2, 256), spec)
    >>> q.scale.shape, q.codes.dtype.name, spec.bits_per_element((2, 256))
    ((2, 2), 'float8_e4m3fn', 8.25)
    >>> mx = pr.QuantSpec(pr.E2M1, pr.PerGroup(32), scale_format=pr.E8M0, scale_rule=pr.ScaleRule.FLOOR)
    >>> mx, pr.QuantSpec(pr.E2M1, pr.PerGroup(16))
    (MXFP4, QuantSpec(e2m1, PerGroup(16)))
    >>> pr.QuantSpec.parse("MXFP4") == mx
    True
    >>> dataclasses.replace(mx, scale_overflow=pr.Overflow.NON_SATURATING)
    QuantSpec(e2m1, PerGroup(32), scale_format=e8m0, scale_rule=FLOOR, scale_overflow=NON_SATURATING)
    """

    __hash__ = HashedOnce.__hash__

    @in_default_environment
    def __post_init__(self) -> None:
        check_fields(self)

    @in_default_environment
    def __str__(self) -> str:
        for name, spec in SPECS.items():
            if spec == self:
                return name
        return _text_language.describe(self)

    def __repr__(self) -> str:
        return str(self)

    @classmethod
    @in_default_environment
    def parse(cls, text: str) -> QuantSpec:
        """Return the spec that a text describes, which is how the spec prints.

        Raises
        ------
        TypeError
            If ``text`` is not a string.
        ValueError
            If the text describes no spec; the message names the part that is unknown.

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
        """Quantize an array by this spec, as `precision.quantize` does.

        Parameters
        ----------
        x, axis, out, offset
            As in `precision.quantize`.

        Raises
        ------
        TypeError, ValueError
            As `precision.quantize` raises them.

        Examples
        --------
        >>> import numpy as np, precision as pr
        >>> pr.QuantSpec(pr.E4M3, pr.PerTensor()).quantize(np.float32([1, 2, 448])).dequantize()
        array([  1.,   2., 448.], dtype=float32)
        """
        call = None if out is not None else find_call(self, x, axis)
        if call is not None:
            return call(x, checked_offset(offset, x.size))  # type: ignore[arg-type, union-attr]
        source = source_of(x)
        first = checked_offset(offset, source.size)
        block = checked_block(self.granularity.block(source.shape, axis), source.shape)
        if out is not None:
            check_target(out, source.shape, self.fmt, self.scale_format, block)
        given = None if out is None else (out.codes, out.scale)
        codes, scale, tensor_scale = _row_loops.quantize_rows(source, self, block, axis, first, given)
        return QuantizedTensor._of_settled_parts(
            codes=codes,
            scale=scale,
            fmt=self.fmt,
            tensor_scale=tensor_scale,
            block=block,
            scale_format=self.scale_format,
        )

    def scale_shape(self, shape: tuple[int, ...], axis: int = -1) -> tuple[int, ...]:
        """Return the shape of the scales of an array of ``shape``.

        Examples
        --------
        >>> import precision as pr
        >>> pr.QuantSpec(pr.E4M3, pr.PerBlock(128, 128)).scale_shape((300, 256))
        (3, 2)
        """
        return scale_shape(shape, self.granularity.block(shape, axis))

    @in_default_environment
    def bits_per_element(self, shape: tuple[int, ...], axis: int = -1) -> float:
        """Return the bits stored for each element of an array of ``shape``, scales counted.

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


def alike_but_for_rule(spec: object, other: object) -> TypeGuard[QuantSpec]:
    """Tell whether both are a `QuantSpec`, and are equal except perhaps for the scale rule."""
    if not isinstance(spec, QuantSpec) or not isinstance(other, QuantSpec):
        return False
    names = (f.name for f in fields(spec) if f.name != "scale_rule")
    return all(getattr(spec, name) == getattr(other, name) for name in names)


SPECS: dict[str, QuantSpec] = {}
"""The named specs, by the name that they print."""


def name_spec(name: str, spec: QuantSpec) -> QuantSpec:
    """Give a spec a name, as which it prints and by which `QuantSpec.parse` finds it; return the spec."""
    SPECS[name] = spec
    return spec


def find_spec(name: str) -> QuantSpec:
    """Return a named spec, as the attribute of `precision.quantization` with its name.

    Raises
    ------
    AttributeError
        If there is none of that name; the message lists near names, or says where the name moved.
    """
    if name in SPECS:
        return SPECS[name]
    raise_for_quantization(name, "" if name.startswith("_") else did_you_mean(name, SPECS))


def list_names() -> list[str]:
    """List the attributes of `precision.quantization` for `dir`: named specs, and the room's public names."""
    return sorted({*SPECS, *sys.modules["precision.quantization"].__all__})


def vocabulary() -> dict[str, object]:
    """Return the names that `QuantSpec.parse` reads, with what they stand for."""
    names: dict[str, object] = {
        kind.__name__: kind
        for kind in (
            QuantSpec, Stochastic, FloatFormat, IntFormat,
            _granularity.PerTensor, _granularity.PerVector, _granularity.PerGroup, _granularity.PerBlock,
        )
    }  # fmt: skip
    for members in (ScaleRule, Arithmetic, NonFinite, Rounding, Overflow, Specials):
        names |= {member.name: member for member in members}
    # Specs come last: mxint8 is a format, and MXINT8 must be the spec.
    return names | dict(NAMED) | {name.upper(): fmt for name, fmt in NAMED.items()} | SPECS
