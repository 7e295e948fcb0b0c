"""The rules by which a group's largest magnitude becomes its scale, and the orders of the operations.

A rule is one function, which returns the `Recipe` of the scales for a format of elements, and one member of
`ScaleRule` that names the function. Other code learns about rules by the member's properties.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from precision.formats._float_format import FloatFormat
from precision.formats._named import E2M1, Format
from precision.formats._rounding_modes import Named

_FRACTION = (1 << 52) - 1  # the fraction bits of a float64


class ScaleFormula(enum.Enum):
    """The formula by which kernels compute a scale from an amax."""

    QUOTIENT = "amax / max"
    POWER = "2 to the exponent of float64_bits(amax) + added, less that of max"
    POWER_OF_PRODUCT = "2 to the exponent of fl32(amax * factor), one more where a fraction is left"


class Errors(enum.Enum):
    """The errors that are summed to choose between a scale and 1.5 times that scale."""

    ABSOLUTE = "absolute"
    SQUARED = "squared"


class Recipe(NamedTuple):
    """The formula and the constants by which kernels compute scales by a rule, for one element format."""

    formula: ScaleFormula  #: the same for every format
    #: for POWER: 0 to 2**56 - 1, added to amax's bits. The part below 2**52 makes large fractions carry into
    #: the exponent, and each 2**52 is one exponent more.
    added: int = 0
    factor: np.float32 = np.float32(1)  #: for POWER_OF_PRODUCT
    errors: Errors | None = None  #: for QUOTIENT; the same for every format


# ---- one function for each rule -------------------------------------------------------------------------
def _amax(fmt: Format) -> Recipe:
    return Recipe(ScaleFormula.QUOTIENT)


def _floor(fmt: Format) -> Recipe:
    return Recipe(ScaleFormula.POWER)


def _ceil(fmt: Format) -> Recipe:
    """Return the recipe whose addend carries into the exponent unless amax is a power of two."""
    return Recipe(ScaleFormula.POWER, added=_FRACTION)


def _rceil(fmt: Format) -> Recipe:
    """Return the recipe whose addend carries into the exponent if amax's fraction exceeds max's."""
    largest = int(np.float64(fmt.max).view(np.uint64)) & _FRACTION
    return Recipe(ScaleFormula.POWER, added=_FRACTION - largest)


def _rceil_reciprocal(fmt: Format) -> Recipe:
    return Recipe(ScaleFormula.POWER_OF_PRODUCT, factor=np.float32(1) / np.float32(fmt.max))


def _even(fmt: Format) -> Recipe:
    """Return the recipe whose addend carries if amax, rounded half up to fmt's significand, does."""
    places = fmt.fraction_bits if isinstance(fmt, FloatFormat) else fmt.bits - fmt.signed - 1
    return Recipe(ScaleFormula.POWER, added=1 << (51 - places))


def _four_over_six_mae(fmt: Format) -> Recipe:
    return Recipe(ScaleFormula.QUOTIENT, errors=Errors.ABSOLUTE)


def _four_over_six_mse(fmt: Format) -> Recipe:
    return Recipe(ScaleFormula.QUOTIENT, errors=Errors.SQUARED)


class ScaleRule(Named):
    """The rule by which a group's amax (largest magnitude) becomes its scale.

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
    RCEIL_RECIPROCAL  RCEIL's power of s = fl32(amax * fl32(1 / max)), by its float32 bits: what NVIDIA's
                      recipe for MXFP8 (arXiv 2506.08027, appendix; cuBLAS, section 3.1.4.4.1)
                      becomes in TransformerEngine and torchao
    EVEN              FLOOR of amax rounded to the elements' number of significand bits, half up:
                      torchao's
    FOUR_OVER_SIX_MAE AMAX's scale, or 1.5 times it (for E2M1: amax at 6, or at 4), whichever gives
                      the lower sum of absolute errors (arXiv 2512.02010)
    FOUR_OVER_SIX_MSE as FOUR_OVER_SIX_MAE, by the sum of squares
    ================= ============================================================================

    RCEIL_RECIPROCAL takes the exponent field E and the fraction M of s, adds 1 to E if s is normal, E < 254
    and M > 0, or if s is subnormal and M > 0x400000, and gives 2**(E - 127). It differs from RCEIL if s is
    rounded down to a power of two: if the exact quotient is just above one, or s is subnormal.

    FOUR_OVER_SIX rounds 1.5 times the *unrounded* scale. The errors, |restored - x| or their squares, are
    summed one after another along the group, every operation rounded to the source's type (float32, or
    float64 for float64 input); elements that are not finite are left out. If the sums are equal, the smaller
    scale is taken, which maps amax to max; they are equal, too, if both overflow, as squares of errors above
    2**64 do. `Arithmetic` says how elements are restored.

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

    AMAX = "amax", _amax
    FLOOR = "floor", _floor
    CEIL = "ceil", _ceil
    RCEIL = "rceil", _rceil
    RCEIL_RECIPROCAL = "rceil_reciprocal", _rceil_reciprocal
    EVEN = "even", _even
    FOUR_OVER_SIX_MAE = "four_over_six_mae", _four_over_six_mae
    FOUR_OVER_SIX_MSE = "four_over_six_mse", _four_over_six_mse

    _recipe: Callable[[Format], Recipe]
    _sample: Recipe

    def __new__(cls, value: str, recipe: Callable[[Format], Recipe]) -> ScaleRule:
        """Create a member from its value and the function that makes its recipes."""
        member = object.__new__(cls)
        member._value_ = value
        member._recipe, member._sample = recipe, recipe(E2M1)
        return member

    def recipe(self, fmt: Format) -> Recipe:
        """Return the formula and the constants by which kernels compute scales for elements of a format.

        Parameters
        ----------
        fmt : FloatFormat or IntFormat
            The format of the elements.

        Examples
        --------
        >>> import precision as pr
        >>> recipe = pr.ScaleRule.EVEN.recipe(pr.E2M1)
        >>> recipe.formula.name, recipe.added == 2**50  # amax is rounded to one fraction bit, half up
        ('POWER', True)
        """
        return self._recipe(fmt)

    @property
    def gives_powers_of_two(self) -> bool:
        """True if every scale is a power of two, whatever its format."""
        return self._sample.formula is not ScaleFormula.QUOTIENT

    @property
    def tries_two_scales(self) -> bool:
        """True for the two FOUR_OVER_SIX rules, which choose the better of two scales."""
        return self._sample.errors is not None

    @property
    def only_divides(self) -> bool:
        """True if a scale is amax / max, rounded to its format, and no second scale is tried."""
        return not (self.gives_powers_of_two or self.tries_two_scales)


class Arithmetic(Named):
    """The order of the operations that compute scales under a tensor scale and scale the elements.

    ``amax_x`` is the tensor's amax, ``amax`` a group's; ``bound`` is the spec's ``scale_bound``, the
    largest scale that the tensor scale aims at; ``fl`` is one rounding to the source's type (float32, or
    float64 for float64 input), ``fl32`` to float32. ``code`` stands for the value of the stored scale.

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

    Here s_enc = fl32(max * bound / amax_x), clamped to float32's largest number (as in TransformerEngine)
    and to its smallest normal number (which only float64 input or a tiny ``bound`` reaches); both
    reciprocals are at most float32's largest number. A divisor of 0 is replaced by the smallest float32. In
    the two quotients of ``amax_x`` the product max * bound is exact for float64 input, so that they are
    rounded once; for other input it is fl(max * bound).

    NVFP4_PAPER is from arXiv 2509.25149, appendix B. TRANSFORMER_ENGINE is from that library's
    ``core_nvfp4.cuh``, and with FOUR_OVER_SIX from its ``quantize_4over6_nvfp4.cuh``, which takes the
    *paper's* scale before rounding, and restores elements, to find their errors, as
    fl(fl(fl(q * code) * amax_x) / (max * bound)). The other orders restore them as
    `QuantizedTensor.dequantize` does, fl(q * fl32(code * tensor scale)).

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
    """The effect of a NaN or an infinity on its group.

    ``NAN_SCALE``: the group's scale is NaN, and with it every value (OCP MX v1.0, section 5.1); the
    elements' codes are the format's NaN or, without one, 0. The tensor scale is taken over the other groups.

    ``FINITE_AMAX``: the scale, and the tensor's, are taken over the finite elements. An infinity becomes
    what the spec's ``overflow`` says. A NaN becomes the format's (positive) NaN or, without one, the largest
    positive value, as in PTX's ``cvt.satfinite`` (PTX ISA, section 9.7.9.21).

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
