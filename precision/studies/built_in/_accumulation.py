"""The study ``accumulation``: the error of a product over the alignment's width, for several K."""

from __future__ import annotations

from typing import TYPE_CHECKING

from precision._support.machine._float_environment import in_default_environment
from precision.accumulators._accumulator import Accumulator
from precision.formats._named import E4M3
from precision.plots._columns import drop_failed_rows
from precision.studies import _parameters as reads
from precision.studies._drawn_products import Spec, measured
from precision.studies._experiment import Study
from precision.studies._figure_panels import by, drawn, panels
from precision.studies._parameters import PRODUCT, named
from precision.units._nvidia import HOPPER_FP8

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


@in_default_environment
def measure(
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
    """Measure the errors of a random product (M, K) @ (K, N) on a unit with another alignment width.

    Parameters
    ----------
    accumulator : FusedSum, FmaChain or Exact
        The unit that sums the products.
    width : int, optional
        The fraction bits of its alignment (`FusedSum.with_width`), and with them those of its register; by
        default as many as it has.
    k, m, n : int
        The sizes of the matrices.
    distribution : str
        A key of `DISTRIBUTIONS`, from which both operands are drawn.
    offset : float
        The number that is added to every draw in float32: U(-1,1) with an offset of 1 is positive.
    seed : int
        The seed of the draws.
    fmt : QuantSpec or FloatFormat
        The spec by which both operands are quantized, with groups along K; a bare format means a scale of
        1, saturating. If it rounds stochastically, the right operand takes another seed
        (`precision.specs.for_operands`).

    Returns
    -------
    dict
        All measures of `metrics.report` against the exact product of the quantized operands, and three of
        them, with the prefix ``total_``, against the product of the originals.

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
    return measured(unit, fmt, fmt, k=k, m=m, n=n, distribution=distribution, offset=offset, seed=seed)


def draw_figure(table: pd.DataFrame) -> Figure:
    """Draw the error over the width, with a line for each K and a panel for each distribution."""
    from precision import plots

    table = drop_failed_rows(table)
    return panels(table, drawn(table), plots.error_over_width, by=by(table, "width"))


STUDY = Study(
    name="accumulation",
    question="How many bits must an accumulator keep for sums of K products?",
    cell=measure,
    grid={
        "offset": (0.0, 0.25, 1.0),
        "k": (64, 256, 1024, 4096, 16384, 65536),
        "accumulator": (HOPPER_FP8,),
        "width": (4, 6, 8, 10, 12, 13, 14, 16, 18, 20, 22, 24),
    },
    reads=named(("accumulator", reads.accumulator), ("fmt", reads.operand_spec))
    | {"width": reads.whole("width", 1, 30, none=True)}
    | PRODUCT,
    figure=draw_figure,
)
