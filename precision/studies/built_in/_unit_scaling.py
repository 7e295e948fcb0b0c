"""The study ``unit_scaling``: the errors of a unit that applies group scales itself, and of promotion."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from precision._support._argument_checks import check_int
from precision._support.machine._float_environment import in_default_environment
from precision.accumulators._inner_scales import ScaledGroups
from precision.accumulators.kinds._fused_sum import FusedSum
from precision.formats._float_format import FloatFormat
from precision.formats._named import E4M3
from precision.formats._rounding_modes import Rounding
from precision.plots._columns import drop_failed_rows
from precision.quantization._granularity import PerBlock, PerGroup
from precision.quantization._quant_spec import QuantSpec
from precision.studies import _parameters as reads
from precision.studies._drawn_products import measured
from precision.studies._experiment import Study
from precision.studies._figure_panels import by, drawn, panels
from precision.studies._parameters import PRODUCT, named

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

DESIGNS = ("promoted", "in_unit")
"""The two designs: scales of groups along K are applied at promotion in float32, or by the unit itself."""

_PRODUCTS = 32  # the products that one instruction of Hopper's FP8 unit sums


@in_default_environment
def measure(
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
    """Measure the errors of a random product with FP32 group scales, applied at promotion or in the unit.

    The left operand has a scale for each 1 x ``group``, the right one for each ``group`` x ``group``.

    Parameters
    ----------
    design : str
        "promoted": the scales are applied when the register is promoted to a float32 total, every ``group``
        of K, as DeepSeek-V3 does on Hopper (arXiv 2412.19437, section 3.3.2). "in_unit": the unit applies
        them and nothing is promoted, as its authors ask of future hardware (section 3.5.2).
    width : int
        The fraction bits of the alignment; the register has as many, but at most 23. Terms of the first
        design are products, those of the second are scaled exact sums of 32 products (`ScaledGroups`).
    group : int
        The elements of K under one scale: a multiple of 32, or for "in_unit" also a divisor of 32.
    k, m, n, distribution, offset, seed
        As in the study ``accumulation``.
    fmt : FloatFormat
        The format of the elements.
    rounding : Rounding
        The rounding of the aligned terms, and of each sum into the register; Hopper truncates both.

    Returns
    -------
    dict
        As the study ``accumulation``.

    Raises
    ------
    TypeError, ValueError
        As the study ``accumulation``; if there is no such design, or it does not suit ``group`` or ``width``.

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
    return measured(unit, left, right, k=k, m=m, n=n, distribution=distribution, offset=offset, seed=seed)


def draw_figure(table: pd.DataFrame) -> Figure:
    """Draw the error over the width, with a line for each design and K and a panel for each distribution."""
    from precision import plots

    table = drop_failed_rows(table)
    return panels(table, drawn(table), plots.error_over_width, by=by(table, "width"))


STUDY = Study(
    name="unit_scaling",
    question="What would a unit gain that takes the scales of groups itself?",
    cell=measure,
    grid={
        "distribution": ("normal", "outliers", "uniform"),
        "k": (1024, 4096, 16384),
        "design": DESIGNS,
        "width": (8, 10, 13, 16, 20, 25, 30),
    },
    reads=named(("fmt", reads.float_format), ("rounding", reads.mode), width=1, group=1)
    | {"design": reads.one_of("design", DESIGNS)}
    | PRODUCT,
    figure=draw_figure,
)
