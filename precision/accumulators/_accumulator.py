"""How a matrix unit sums its products. A GPU is a named accumulator, no more.

`FusedSum` is the model of NVIDIA's tensor cores (MMA-Sim, arXiv 2511.10909; Khattak and Mikaitis,
arXiv 2512.07004), with the parameters measured on an H100; `FmaChain` and `Exact` are the two ends
of the scale that it lies on.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import ClassVar

from precision._support._argument_checks import _check_int
from precision._support._expressions import shortened
from precision._support.machine._float_environment import in_default_environment
from precision.accumulators._inner_scales import ScaledGroups, ScaledProducts
from precision.formats import _text_language
from precision.formats._float_format import FloatFormat
from precision.formats._int_format import IntFormat
from precision.formats._named import BF16, E2M1, E2M3, E3M2, E4M3, E5M2, E8M13, FP16, FP32, TF32
from precision.formats._rounding_modes import Rounding


def _check_promotion(promotion: object, products: int) -> None:
    if promotion is None:
        return
    _check_int("promotion", promotion, 1, 2**31 - 1)
    if isinstance(promotion, int) and promotion % products:
        raise ValueError(f"promotion must be a multiple of the unit's {products} products, got {promotion}")


@dataclass(frozen=True)
class FusedSum:
    """A unit that aligns a few exact products and its register at their largest exponent and adds once.

    One step multiplies ``products`` pairs exactly, without normalising (a subnormal operand has its
    format's smallest exponent), takes the largest exponent of the non-zero products and the
    register, but at least ``min_exponent``, rounds each term to a multiple of
    ``2**(largest - fraction_bits)``, adds the rounded terms exactly, and rounds the sum once into
    the register. Overflow gives Inf only then. A zero sum is +0; NaN, Inf times 0 and Inf minus Inf
    give NaN with all bits set but the sign. K that is not a multiple of ``products`` is padded with
    zeros.

    Parameters
    ----------
    operands : tuple of FloatFormat
        The formats that either operand may have.
    products : int
        Products summed in one step, 1 to 1024.
    fraction_bits : int
        Fraction bits kept below the largest exponent, 1 to 30 (40 with `ScaledGroups`).
    register : FloatFormat
        The accumulator's format, signed, with Inf and NaN.
    alignment_rounding, register_rounding : Rounding
        Of the aligned terms, and of the sum into the register.
    min_exponent : int
        Floor of the largest exponent, -300 to 0.
    promotion : int, optional
        Every so many of K, a multiple of ``products``, the register is added to a float32 total (one
        addition, to nearest even) and starts again at zero.
    scale_in_unit : ScaledProducts or ScaledGroups, optional
        The unit takes the operands' scales itself, every term being scaled exactly before it is aligned.
        By default scales are applied outside, at promotion or to the finished sum.

    Raises
    ------
    TypeError, ValueError
        If a parameter is of the wrong type or outside its range.

    Notes
    -----
    The model, and the parameters of the named Hopper units, reproduce an H100 bit for bit.

    Examples
    --------
    >>> import precision as pr
    >>> print(pr.HOPPER_FP8.promoted(128))
    HOPPER_FP8.promoted(128)
    >>> pr.HOPPER_FP8.with_width(25).register == pr.FP32
    True
    >>> print(pr.FusedSum((pr.FP16,), products=8, fraction_bits=24))
    FusedSum((fp16,), 8, fraction_bits=24)
    """

    operands: tuple[FloatFormat, ...]
    products: int
    fraction_bits: int = field(kw_only=True)
    register: FloatFormat = field(default=FP32, kw_only=True)
    alignment_rounding: Rounding = field(default=Rounding.TOWARD_ZERO, kw_only=True)
    register_rounding: Rounding = field(default=Rounding.TOWARD_ZERO, kw_only=True)
    min_exponent: int = field(default=-133, kw_only=True)
    promotion: int | None = field(default=None, kw_only=True)
    scale_in_unit: ScaledProducts | ScaledGroups | None = field(default=None, kw_only=True)

    TEXT_METHODS: ClassVar[tuple[str, ...]] = ("promoted", "with_width")

    def __post_init__(self) -> None:
        if not isinstance(self.operands, tuple) or not self.operands:
            raise TypeError(f"operands must be a tuple of formats, got {self.operands!r}")
        for operand in self.operands:
            if isinstance(operand, IntFormat) or not isinstance(operand, FloatFormat):
                raise TypeError(f"operands must be FloatFormats, got {operand!r}")
            if operand.fraction_bits > 23:
                raise ValueError(f"operands must be formats of float32 values, got {operand}")
        _check_int("products", self.products, 1, 1024)
        grouped = isinstance(self.scale_in_unit, ScaledGroups)
        _check_int("fraction_bits", self.fraction_bits, 1, 40 if grouped else 30)
        _check_int("min_exponent", self.min_exponent, -300, 0)
        register = self.register
        if not isinstance(register, FloatFormat):
            raise TypeError(f"register must be a FloatFormat, got {register!r}")
        if not (register.signed and register.has_inf and register.has_nan) or register.fraction_bits > 23:
            raise ValueError(
                f"register must be a signed format of float32 values with Inf and NaN, got {register}"
            )
        if not register.has_zero:
            raise ValueError(f"register must have a zero, which a sum of zero is, got {register}")
        if register.min_exponent < -126:
            raise ValueError(f"register must have exponents of -126 and above, got {register}")
        for name in ("alignment_rounding", "register_rounding"):
            if not isinstance(getattr(self, name), Rounding):
                raise TypeError(f"{name} must be a Rounding, got {getattr(self, name)!r}")
        _check_promotion(self.promotion, self.products)
        self._check_scales()

    def _check_scales(self) -> None:
        scales = self.scale_in_unit
        if scales is None or isinstance(scales, ScaledProducts):
            return
        if not isinstance(scales, ScaledGroups):
            raise TypeError(
                f"scale_in_unit must be ScaledProducts(), ScaledGroups(n) or None, got {scales!r}"
            )
        if self.products % scales.n:
            raise ValueError(f"scale_in_unit must group a divisor of {self.products} products, got {scales}")
        top, bottom = scales.headroom(self.operands)
        if top + bottom > 62:
            raise ValueError(
                f"operands must have exact sums of {scales.n} products within 62 bits for {scales}, which "
                f"takes {top + bottom}"
            )
        terms = (self.products // scales.n).bit_length()
        most = 58 - top - terms  # two bits for the scales' significands, two below a term's last place
        if self.fraction_bits > most:
            raise ValueError(
                f"fraction_bits must be at most {most} for these operands, got {self.fraction_bits}"
            )

    def promoted(self, every: int | None) -> FusedSum:
        """The same unit, its register added to a float32 total every ``every`` of K (None: never)."""
        return dataclasses.replace(self, promotion=every)

    def with_width(self, bits: int) -> FusedSum:
        """The same unit with ``bits`` fraction bits in the alignment, and ``min(bits, 23)`` in the register.

        A register with fewer exponent bits than float32 (FP16) stays as it is.
        """
        _check_int("bits", bits, 1, 40 if isinstance(self.scale_in_unit, ScaledGroups) else 30)
        register = self.register
        if register.exponent_bits == 8:
            register = dataclasses.replace(register, fraction_bits=min(bits, 23))
        return dataclasses.replace(self, fraction_bits=bits, register=register)

    def __str__(self) -> str:
        plain = self.promoted(None)
        promoted = "" if self.promotion is None else f".promoted({self.promotion})"
        for name, unit in NAMED.items():
            if plain == unit:
                return name + promoted
            if not isinstance(unit, FusedSum) or unit.scale_in_unit != self.scale_in_unit:
                continue
            most = 40 if isinstance(self.scale_in_unit, ScaledGroups) else 30
            if self.fraction_bits <= most and plain == unit.with_width(self.fraction_bits):
                return f"{name}.with_width({self.fraction_bits}){promoted}"
        return _text_language.describe(self)


@dataclass(frozen=True)
class FmaChain:
    """One float32 fused multiply-add a product, in the order of K; any operands of float32 values.

    With ``promotion`` the chain restarts at zero every so many of K and is added to a float32 total.
    NaN results have all bits set but the sign, as on NVIDIA's GPUs.

    Examples
    --------
    >>> import precision as pr
    >>> print(pr.FP32_FMA, pr.FP32_FMA.promoted(128))
    FP32_FMA FP32_FMA.promoted(128)
    """

    promotion: int | None = field(default=None, kw_only=True)

    TEXT_METHODS: ClassVar[tuple[str, ...]] = ("promoted",)

    def __post_init__(self) -> None:
        _check_promotion(self.promotion, 1)

    def promoted(self, every: int | None) -> FmaChain:
        """The same chain, restarted and added to a float32 total every ``every`` of K (None: never)."""
        return dataclasses.replace(self, promotion=every)

    def __str__(self) -> str:
        return "FP32_FMA" + (f".promoted({self.promotion})" if self.promotion else "")


@dataclass(frozen=True)
class Exact:
    """The exact sum of the exact products, scales included, rounded once to the result's type.

    Examples
    --------
    >>> import precision as pr
    >>> print(pr.EXACT)
    EXACT
    """

    TEXT_METHODS: ClassVar[tuple[str, ...]] = ()

    def __str__(self) -> str:
        return "EXACT"


Accumulator = FusedSum | FmaChain | Exact
_MX_ELEMENTS = (E4M3, E5M2, E2M3, E3M2, E2M1)
#: Hopper's wgmma on FP8 operands, FP32 accumulator (measured on an H100).
HOPPER_FP8 = FusedSum((E4M3, E5M2), 32, fraction_bits=13, register=E8M13)
#: The same with an FP16 accumulator: one rounding to nearest even of the exact sum.
HOPPER_FP8_ACC16 = FusedSum(
    (E4M3, E5M2),
    32,
    fraction_bits=13,
    register=FP16,
    register_rounding=Rounding.TIES_TO_EVEN,
    min_exponent=-21,
)
#: Hopper's wgmma and mma.sync on FP16 operands, FP32 accumulator.
HOPPER_FP16 = FusedSum((FP16,), 16, fraction_bits=25)
#: The same on BF16 operands.
HOPPER_BF16 = FusedSum((BF16,), 16, fraction_bits=25)
#: FP16 operands, FP16 accumulator.
HOPPER_FP16_ACC16 = FusedSum(
    (FP16,),
    16,
    fraction_bits=25,
    register=FP16,
    register_rounding=Rounding.TIES_TO_EVEN,
    min_exponent=-21,
)
#: TF32 operands, given as float32 whose low 13 bits the unit ignores.
HOPPER_TF32 = FusedSum((TF32,), 8, fraction_bits=25)
#: Blackwell's tcgen05 and RTX Blackwell's mma on MX operands (as published: MMA-Sim, arXiv 2511.10909).
BLACKWELL_MX = FusedSum(_MX_ELEMENTS, 32, fraction_bits=25, scale_in_unit=ScaledProducts())
#: The same on NVFP4 operands, or MXFP4 with its blocks of 32 (as published, likewise).
BLACKWELL_NVFP4 = FusedSum((E2M1,), 64, fraction_bits=35, min_exponent=-139, scale_in_unit=ScaledGroups(16))
#: Plain float32: one fused multiply-add a product, in order.
FP32_FMA = FmaChain()
#: The correctly rounded sum of the exact products.
EXACT = Exact()
NAMED: dict[str, Accumulator] = {
    "HOPPER_FP8": HOPPER_FP8,
    "HOPPER_FP8_ACC16": HOPPER_FP8_ACC16,
    "HOPPER_FP16": HOPPER_FP16,
    "HOPPER_BF16": HOPPER_BF16,
    "HOPPER_FP16_ACC16": HOPPER_FP16_ACC16,
    "HOPPER_TF32": HOPPER_TF32,
    "BLACKWELL_MX": BLACKWELL_MX,
    "BLACKWELL_NVFP4": BLACKWELL_NVFP4,
    "FP32_FMA": FP32_FMA,
    "EXACT": EXACT,
}


@in_default_environment
def parse(text: str) -> Accumulator:
    """The accumulator that prints as ``text``: a name, a form of one, or a ``FusedSum(...)``.

    Raises
    ------
    TypeError
        If ``text`` is not a string.
    ValueError
        If ``text`` names none; the message lists near names.

    Examples
    --------
    >>> import precision as pr
    >>> pr.parse_accumulator("HOPPER_FP8.with_width(10)") == pr.HOPPER_FP8.with_width(10)
    True
    """
    modes = {mode.name: mode for mode in Rounding}
    kinds = {kind.__name__: kind for kind in (FusedSum, FmaChain, ScaledProducts, ScaledGroups)}
    vocabulary: dict[str, object] = {**NAMED, **kinds, **modes}
    result = _text_language.evaluate(text, vocabulary, "accumulator")
    if not isinstance(result, (FusedSum, FmaChain, Exact)):
        kind = type(result).__name__
        raise ValueError(f"accumulator {shortened(text)}: names a {kind}, not an accumulator")
    return result
