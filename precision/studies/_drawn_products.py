"""Cells of the studies that multiply matrices: how a unit sums, is promoted, and takes scales.

A cell is a pure function of plain parameters: the same ones give the same bits in any process and order.
Cells that differ in nothing but the unit share their operands, of which each process keeps a few.
"""

from __future__ import annotations

import functools
import math
from typing import NamedTuple, TypeAlias

import numpy as np

from precision import metrics, specs
from precision._support._argument_checks import check_int
from precision._support._types import Array
from precision._support.machine._float_environment import in_default_environment
from precision.accumulators._accumulator import Accumulator
from precision.accumulators._inner_scales import ScaledGroups
from precision.accumulators.kinds._fused_sum import FusedSum
from precision.formats._float_format import FloatFormat
from precision.formats._named import E4M3
from precision.formats._rounding_modes import Rounding
from precision.gemm._matrix_product import matmul
from precision.metrics._distributions import draw
from precision.quantization._granularity import PerBlock, PerGroup
from precision.quantization._quant_spec import QuantSpec
from precision.quantization._quantized_tensor import QuantizedTensor
from precision.units._nvidia import HOPPER_FP8
from precision.units._plain_arithmetic import EXACT

Spec: TypeAlias = QuantSpec | FloatFormat
DESIGNS = ("promoted", "in_unit")
"""Who applies the scales of groups along K: promotion in float32, or the unit itself."""
_TOTAL = ("norm_relative_error", "sqnr_db", "signed_relative_error")
_PRODUCTS = 32  # of K that one instruction of Hopper's FP8 unit sums


class _Operands(NamedTuple):
    left: QuantizedTensor
    right: QuantizedTensor
    exact: Array
    original: Array


def shifted(x: Array, offset: float) -> Array:
    """Draws with ``offset`` added in float32."""
    if isinstance(offset, bool) or not isinstance(offset, int | float):
        raise TypeError(f"offset must be a number, got {offset!r}")
    if not math.isfinite(offset):
        raise ValueError(f"offset must be finite, got {offset}")
    return np.add(x, np.float32(offset))


@functools.lru_cache(maxsize=4)
def _operands(
    a_spec: Spec,
    b_spec: Spec,
    m: int,
    n: int,
    k: int,
    distribution: str,
    offset: float,
    seed: int,
) -> _Operands:
    """Two quantized matrices, their exact product, and that of the originals, both rounded once to float64.

    No sum here goes through a BLAS that could order it by its number of threads.
    """
    a = shifted(draw(distribution, (m, k), k_axis=1, seed=seed), offset)
    b = shifted(draw(distribution, (k, n), k_axis=0, seed=seed), offset)
    pair = zip((a, b), specs.for_operands(a_spec, b_spec), (-1, -2), strict=True)
    left, right = (specs.quantize(x, spec, axis) for x, spec, axis in pair)
    exact = matmul(left, right, accumulator=EXACT, dtype=np.float64)
    return _Operands(left, right, exact, matmul(a, b, accumulator=EXACT, dtype=np.float64))


def _measured(
    unit: Accumulator,
    a_spec: Spec,
    b_spec: Spec,
    *,
    k: int,
    m: int,
    n: int,
    distribution: str,
    offset: float,
    seed: int,
) -> dict[str, float]:
    """Every measure against the product of the quantized operands, and three against the originals'."""
    for name, size in (("k", k), ("m", m), ("n", n)):
        check_int(name, size, 1, 2**31 - 1)
    check_int("seed", seed, 0, 2**63 - 1)
    found = _operands(a_spec, b_spec, m, n, k, distribution, offset, seed)
    result = matmul(found.left, found.right, accumulator=unit)
    values = metrics.report(result, found.exact)
    total = metrics.report(result, found.original)
    return values | {f"total_{name}": total[name] for name in _TOTAL}


@in_default_environment
def accumulation(
    *,
    accumulator: Accumulator = HOPPER_FP8,
    width: int | None = None,
    k: int = 4096,
    m: int = 64,
    n: int = 64,
    distribution: str = "symmetric",
    offset: float = 0.0,
    seed: int = 0,
    fmt: Spec = E4M3,
) -> dict[str, float]:
    """What a unit makes of a random product (M, K) @ (K, N).

    Parameters
    ----------
    accumulator : FusedSum, FmaChain or Exact
        The unit.
    width : int, optional
        The fraction bits of its alignment (`FusedSum.with_width`), and with them those of its register; by
        default as many as it has.
    k, m, n : int
        The matrices' sizes.
    distribution : str
        A key of `DISTRIBUTIONS`, for both operands.
    offset : float
        Added to every draw in float32: U(-1,1) with an offset of 1 is positive.
    seed : int
        Of the draws.
    fmt : QuantSpec or FloatFormat
        How both operands are quantized, groups along K; a bare format with scale 1, saturating. Of a
        stochastic rounding the right operand takes another seed (`precision.specs.for_operands`).

    Returns
    -------
    dict
        What `metrics.report` says against the exact product of the quantized operands, and with the prefix
        ``total_`` three of its measures against the product of the originals.

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong type or range, or the unit does not take the operands.

    Examples
    --------
    An H100 on positive numbers, and the same with an alignment of 25 bits:

    >>> import precision as pr
    >>> from precision.studies import study
    >>> cell = study("accumulation").cell
    >>> for width in (13, 25):
    ...     found = cell(accumulator=pr.HOPPER_FP8, width=width, offset=1.0)
    ...     print(width, f"{found['signed_relative_error']:.1e} {found['total_sqnr_db']:.0f} dB")
    13 -6.6e-02 24 dB
    25 -6.5e-07 64 dB
    """
    unit = accumulator
    if width is not None:
        if accumulator.step is None or not accumulator.step.aligns:
            raise ValueError(f"width must be None for {accumulator}, which aligns nothing; got {width!r}")
        unit = accumulator.with_width(width)
    return _measured(unit, fmt, fmt, k=k, m=m, n=n, distribution=distribution, offset=offset, seed=seed)


@in_default_environment
def promotion(
    *,
    accumulator: Accumulator = HOPPER_FP8,
    promoted: int = 0,
    k: int = 4096,
    m: int = 64,
    n: int = 64,
    distribution: str = "symmetric",
    offset: float = 0.0,
    seed: int = 0,
    fmt: Spec = E4M3,
) -> dict[str, float]:
    """What a unit makes of a random product where its sums are promoted to float32 every so often.

    Parameters
    ----------
    accumulator : FusedSum or FmaChain
        The unit; its own promotion is replaced.
    promoted : int
        Every so many of K its register is added to a float32 total: a multiple of its products. 0: never.
    k, m, n, distribution, offset, seed, fmt
        As in `accumulation`.

    Returns
    -------
    dict
        As `accumulation`.

    Raises
    ------
    TypeError, ValueError
        As `accumulation`; if the unit cannot be promoted so often.

    Examples
    --------
    DeepSeek-V3 promotes every 128:

    >>> from precision.studies import study
    >>> cell = study("promotion").cell
    >>> for promoted in (0, 128):
    ...     print(promoted, f"{cell(promoted=promoted, offset=1.0)['signed_relative_error']:.1e}")
    0 -6.6e-02
    128 -5.0e-04
    """
    if accumulator.step is None:
        raise ValueError(f"accumulator must be one that can be promoted, got {accumulator}")
    check_int("promoted", promoted, 0, 2**31 - 1)
    unit = accumulator.promoted(promoted or None)
    return _measured(unit, fmt, fmt, k=k, m=m, n=n, distribution=distribution, offset=offset, seed=seed)


@in_default_environment
def unit_scaling(
    *,
    design: str = "in_unit",
    width: int = 13,
    group: int = 128,
    k: int = 4096,
    m: int = 32,
    n: int = 32,
    distribution: str = "outliers",
    offset: float = 0.0,
    seed: int = 0,
    fmt: FloatFormat = E4M3,
    rounding: Rounding = Rounding.TOWARD_ZERO,
) -> dict[str, float]:
    """What becomes of a product with FP32 scales of 1 x ``group`` by ``group`` x ``group``, in two designs.

    Parameters
    ----------
    design : str
        "promoted": the scales enter where the register is promoted to a float32 total, every ``group`` of K,
        as DeepSeek-V3 does it on Hopper (arXiv 2412.19437, section 3.3.2). "in_unit": the unit takes them
        and nothing is promoted, as its authors ask of future hardware (section 3.5.2).
    width : int
        Fraction bits of the alignment; the register has as many, but at most 23. Terms of the first design
        are products, those of the second exact sums of 32 of them, scaled (`ScaledGroups`).
    group : int
        Elements of K under one scale: a multiple of 32, or in the unit a divisor of it as well.
    k, m, n, distribution, offset, seed
        As in `accumulation`.
    fmt : FloatFormat
        Of the elements.
    rounding : Rounding
        Of the aligned terms, and of each sum into the register; Hopper truncates both.

    Returns
    -------
    dict
        As `accumulation`.

    Raises
    ------
    TypeError, ValueError
        As `accumulation`; if there is no such design, or it does not suit ``group`` or ``width``.

    Examples
    --------
    >>> from precision.studies import study
    >>> cell = study("unit_scaling").cell
    >>> for design in ("promoted", "in_unit"):
    ...     found = [cell(design=design, width=width, k=1024) for width in (13, 25)]
    ...     print(design, *(f"{values['norm_relative_error']:.0e}" for values in found))
    promoted 2e-04 6e-08
    in_unit 2e-04 6e-07
    """
    if design not in DESIGNS:
        raise ValueError(f"design must be one of {', '.join(DESIGNS)}, got {design!r}")
    check_int("group", group, 1, 2**31 - 1)
    scales = ScaledGroups(math.gcd(group, _PRODUCTS)) if design == "in_unit" else None
    unit = FusedSum(
        (fmt,),
        _PRODUCTS,
        fraction_bits=1,
        alignment_rounding=rounding,
        register_rounding=rounding,
        scale_in_unit=scales,
    ).with_width(width)
    if design == "promoted":
        unit = unit.promoted(group)
    left, right = QuantSpec(fmt, PerGroup(group)), QuantSpec(fmt, PerBlock(group, group))
    return _measured(unit, left, right, k=k, m=m, n=n, distribution=distribution, offset=offset, seed=seed)
