"""Which elements share a scale, and how their largest magnitude becomes one.

A *granularity* answers one question, `block`: how many elements lie under one scale along each axis.
A new one is a new small class with that method. A *scale rule* turns a group's amax into its scale.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, SupportsIndex

from precision._text import describe
from precision.rounding import Named

#: Elements under one scale along each axis; None: the whole axis, however long.
Block = tuple[int | None, ...]


class Granularity(Protocol):
    """What `QuantSpec` asks of a granularity; it must also print as text that `QuantSpec.parse` reads."""

    def block(self, shape: Sequence[int], axis: int = -1) -> Block:
        """Elements under one scale along each axis of an array of ``shape``, quantized along ``axis``."""
        ...


def checked_axis(axis: object, ndim: int) -> int:
    """``axis`` as 0..ndim-1, or an error that names it."""
    if isinstance(axis, bool) or not isinstance(axis, SupportsIndex):
        raise TypeError(f"axis must be an int, got {axis!r}")
    index = operator.index(axis)
    if not -ndim <= index < ndim:
        axes = f"lie in {-ndim}..{ndim - 1} for {ndim} axes" if ndim else "name an axis, and there is none"
        raise ValueError(f"axis must {axes}, got {index}")
    return index % ndim


def filled(block: Block, shape: tuple[int, ...]) -> tuple[int, ...]:
    """A block in which no entry is None or longer than its axis: the length of the axis takes its place."""
    return tuple(
        max(1, size) if step is None else min(step, max(1, size))
        for size, step in zip(shape, block, strict=True)
    )


def scale_shape(shape: tuple[int, ...], block: Block) -> tuple[int, ...]:
    """Blocks along each axis, a last shorter one counted."""
    return tuple(-(-size // step) for size, step in zip(shape, filled(block, shape), strict=True))


def _check_size(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be an int, got {value!r}")
    if value < 1:
        raise ValueError(f"{name} must be at least 1, got {value}")


class _Printed:
    def __str__(self) -> str:
        return describe(self)


@dataclass(frozen=True)
class PerTensor(_Printed):
    """One scale for the whole array.

    Examples
    --------
    >>> import precision as pr
    >>> pr.PerTensor().block((4, 256))
    (None, None)
    """

    __str__ = _Printed.__str__

    def block(self, shape: Sequence[int], axis: int = -1) -> Block:
        """Elements under one scale along each axis: all of them."""
        checked_axis(axis, len(shape))
        return (None,) * len(shape)


@dataclass(frozen=True)
class PerVector(_Printed):
    """One scale for each vector along the axis: row-wise for a left operand (M, K) and ``axis=-1``.

    Examples
    --------
    >>> import precision as pr
    >>> pr.PerVector().block((4, 256)), pr.PerVector().block((256, 8), axis=0)
    ((1, None), (None, 1))
    """

    __str__ = _Printed.__str__

    def block(self, shape: Sequence[int], axis: int = -1) -> Block:
        """Elements under one scale along each axis: all of ``axis``, one of the others."""
        along = checked_axis(axis, len(shape))
        return tuple(None if i == along else 1 for i in range(len(shape)))


@dataclass(frozen=True)
class PerGroup(_Printed):
    """One scale for each ``n`` neighbours along the axis; the last group of a vector may be shorter.

    Parameters
    ----------
    n : int
        Elements in a group, at least 1. An axis shorter than ``n`` is one short group.

    Raises
    ------
    TypeError, ValueError
        If ``n`` is not an integer, or is below 1.

    Examples
    --------
    >>> import precision as pr
    >>> pr.PerGroup(128).block((4, 300))
    (1, 128)
    """

    n: int

    __str__ = _Printed.__str__

    def __post_init__(self) -> None:
        _check_size("n", self.n)

    def block(self, shape: Sequence[int], axis: int = -1) -> Block:
        """Elements under one scale along each axis: ``n`` of ``axis``, one of the others."""
        along = checked_axis(axis, len(shape))
        return tuple(self.n if i == along else 1 for i in range(len(shape)))


@dataclass(frozen=True)
class PerBlock(_Printed):
    """One scale for each rectangle of the last two axes; rectangles at the edges may be smaller.

    Parameters
    ----------
    n, m : int
        ``m`` elements along the axis by ``n`` along the other one of the last two, each at least 1.

    Raises
    ------
    TypeError, ValueError
        If one of them is not an integer, or is below 1.

    Examples
    --------
    >>> import precision as pr
    >>> pr.PerBlock(1, 128).block((64, 256)), pr.PerBlock(1, 128).block((256, 64), axis=-2)
    ((1, 128), (128, 1))
    """

    n: int
    m: int

    __str__ = _Printed.__str__

    def __post_init__(self) -> None:
        _check_size("n", self.n)
        _check_size("m", self.m)

    def block(self, shape: Sequence[int], axis: int = -1) -> Block:
        """Elements under one scale along each axis.

        Raises
        ------
        ValueError
            If there are fewer than two axes, or ``axis`` is none of the last two.
        """
        ndim = len(shape)
        along = checked_axis(axis, ndim)
        if ndim < 2:
            raise ValueError(f"{self} needs an array of at least 2 axes, got shape {tuple(shape)}")
        if along < ndim - 2:
            raise ValueError(f"axis must be one of the last two for {self}, got {axis} of {tuple(shape)}")
        last_two = (self.n, self.m) if along == ndim - 1 else (self.m, self.n)
        return (1,) * (ndim - 2) + last_two


class ScaleRule(Named):
    """How a group's amax (largest magnitude) becomes its scale.

    ``emax`` is the exponent of the element format's largest value, ``max``. The powers of two are taken
    from amax's bits, never from a floating-point logarithm, and are exact down to the smallest
    subnormal; the exponent is then clamped to the scale format's.

    ================= ============================================================================
    member            scale
    ================= ============================================================================
    AMAX              amax / max: one IEEE division, then one rounding (ties to even) to the scale's
                      format (but see `Arithmetic`)
    FLOOR             2**(floor(log2 amax) - emax): OCP MX v1.0, section 6.3; clips what exceeds
                      2**emax most
    CEIL              2**(ceil(log2 amax) - emax): torchao's
    RCEIL             2**ceil(log2(amax / max)), of the exact quotient: the least power of two that
                      clips nothing
    RCEIL_RECIPROCAL  the same of s = fl32(amax * fl32(1 / max)), by its float32 bits: what NVIDIA's
                      recipe for MXFP8 (arXiv 2506.08027, appendix; cuBLAS, section 3.1.4.4.1)
                      becomes in TransformerEngine and torchao
    EVEN              FLOOR of amax rounded to the elements' number of significand bits, half up:
                      torchao's
    FOUR_OVER_SIX_MAE AMAX's scale, or 1.5 times it (for E2M1: amax at 6, or at 4), whichever gives
                      the lower sum of absolute errors (arXiv 2512.02010)
    FOUR_OVER_SIX_MSE the same by the sum of squares
    ================= ============================================================================

    RCEIL_RECIPROCAL takes the exponent field E and the fraction M of s, adds 1 to E if s is normal, E < 254
    and M > 0, or if s is subnormal and M > 0x400000, and gives 2**(E - 127). It parts from RCEIL where s
    rounds onto a power of two from above: next to it, and where s is subnormal.

    FOUR_OVER_SIX rounds 1.5 times the *unrounded* scale. The errors, |restored - x| or their squares, are
    summed one after another along the group, every operation rounded to the source's type (float32, or
    float64 for float64 input); elements that are not finite are left out; where the sums tie, amax is at
    max. So they do where both overflow, as squares of errors above 2**64. How elements are restored is
    `Arithmetic`'s.

    Examples
    --------
    >>> import numpy as np, precision as pr
    >>> x = np.array([7.0, 5.0], np.float32)
    >>> for rule in pr.ScaleRule:
    ...     print(rule, pr.quantize(x, pr.QuantSpec(pr.E2M1, pr.PerGroup(2), scale_rule=rule)).scale)
    AMAX [1.1666666]
    FLOOR [1.]
    CEIL [2.]
    RCEIL [2.]
    RCEIL_RECIPROCAL [2.]
    EVEN [2.]
    FOUR_OVER_SIX_MAE [1.75]
    FOUR_OVER_SIX_MSE [1.75]
    """

    AMAX = "amax"
    FLOOR = "floor"
    CEIL = "ceil"
    RCEIL = "rceil"
    RCEIL_RECIPROCAL = "rceil_reciprocal"
    EVEN = "even"
    FOUR_OVER_SIX_MAE = "four_over_six_mae"
    FOUR_OVER_SIX_MSE = "four_over_six_mse"

    @property
    def gives_powers_of_two(self) -> bool:
        """Whether every scale is a power of two, whatever its format."""
        return self is not ScaleRule.AMAX and not self.tries_two_scales

    @property
    def tries_two_scales(self) -> bool:
        """Whether it is one of FOUR_OVER_SIX."""
        return self in (ScaleRule.FOUR_OVER_SIX_MAE, ScaleRule.FOUR_OVER_SIX_MSE)


class Arithmetic(Named):
    """In which order scales under a tensor scale are computed, and elements scaled.

    ``amax_x`` is the tensor's amax, ``amax`` a group's; ``bound`` is the spec's ``scale_bound``, the
    largest scale that the tensor scale aims at; ``fl`` is one rounding to the source's type (float32, or
    float64 for float64 input), ``fl32`` to float32. ``code`` is the scale's, and stands for its value.

    ================== ==================== ====================== ============================
    member             tensor scale         scale before rounding  elements
    ================== ==================== ====================== ============================
    DIVISION           fl32(amax_x /        fl(fl(amax / max) /    fl(x /
                       (max * bound))       tensor scale)          fl32(code * tensor scale))
    NVFP4_PAPER        fl32(1 / s_enc)      fl(fl(amax / max) *    fl(x * fl32(1 /
                                            s_enc)                 fl32(code * tensor scale)))
    TRANSFORMER_ENGINE fl32(1 / s_enc)      fl(amax * fl(s_enc *   the same
                                            fl(1 / max)))
    ================== ==================== ====================== ============================

    with s_enc = fl32(max * bound / amax_x), at most float32's largest (as TransformerEngine has it) and at
    least its smallest normal number (which only float64 input or a tiny ``bound`` meets); both
    reciprocals are at most float32's largest. A divisor of 0 counts as the smallest float32. Under the two
    quotients of ``amax_x`` the product max * bound is exact for float64 input, so that they are rounded
    once, and fl(max * bound) for other input.

    NVFP4_PAPER is arXiv 2509.25149, appendix B. TRANSFORMER_ENGINE is its ``core_nvfp4.cuh``, and with
    FOUR_OVER_SIX ``quantize_4over6_nvfp4.cuh``: that one takes the *paper's* scale before rounding, and
    restores elements for their errors as fl(fl(fl(q * code) * amax_x) / (max * bound)). The others restore
    them as `QuantizedTensor.dequantize` does, fl(q * fl32(code * tensor scale)).

    Examples
    --------
    >>> import dataclasses, numpy as np, precision as pr
    >>> x = np.float32([[3, 1], [0.5625, 1.125], [1.21875, 0.34375]])
    >>> spec = pr.QuantSpec(pr.E2M1, pr.PerGroup(2), scale_format=pr.E4M3, tensor_scale=True)
    >>> for order in pr.Arithmetic:
    ...     q = pr.quantize(x, dataclasses.replace(spec, arithmetic=order))
    ...     print(order, q.scale.T, pr.decode(q.codes, pr.E2M1)[2])
    DIVISION [[448 160 176]] [6.  1.5]
    NVFP4_PAPER [[448 160 176]] [6. 2.]
    TRANSFORMER_ENGINE [[448 176 176]] [6. 2.]
    """

    DIVISION = "division"
    NVFP4_PAPER = "nvfp4_paper"
    TRANSFORMER_ENGINE = "transformer_engine"


class NonFinite(Named):
    """What a NaN or an infinity does to its group.

    ``NAN_SCALE``: the group's scale is NaN, and with it every value (OCP MX v1.0, section 5.1); the
    elements' codes are the format's NaN or, without one, 0. The tensor scale is taken over the other groups.

    ``FINITE_AMAX``: the scale, and the tensor's, are taken over the finite elements. An infinity becomes
    what the spec's ``overflow`` says, a NaN the format's (positive) NaN or, without one, the largest
    positive value, as PTX's ``cvt.satfinite`` has it (PTX ISA, section 9.7.9.21).

    Examples
    --------
    >>> import dataclasses, numpy as np, precision as pr
    >>> x = np.float32([[3, 1, -np.inf, np.nan]])
    >>> for rule in pr.NonFinite:
    ...     print(rule, pr.quantize(x, dataclasses.replace(pr.MXFP4, non_finite=rule)).dequantize())
    NAN_SCALE [[nan nan nan nan]]
    FINITE_AMAX [[ 3.  1. -3.  3.]]
    """

    NAN_SCALE = "nan_scale"
    FINITE_AMAX = "finite_amax"
