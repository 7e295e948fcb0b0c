"""The study ``promotion``: the error of a product over the interval at which its sums are promoted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from precision._support._argument_checks import check_int
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
    promoted: int = 0,
    k: int = 4096,
    m: int = 64,
    n: int = 64,
    distribution: str = "symmetric",
    offset: float = 0.0,
    seed: int = 0,
    fmt: Spec = E4M3,
) -> dict[str, float]:
    """Measure the errors of a random product on a unit whose register is promoted to float32 at intervals.

    Parameters
    ----------
    accumulator : FusedSum or FmaChain
        The unit that sums the products; its own promotion is replaced.
    promoted : int
        The number of elements of K after which the register is added to a float32 total, a multiple of
        the products of a step; 0 for never.
    k, m, n, distribution, offset, seed, fmt
        As in the study ``accumulation``.

    Returns
    -------
    dict
        As the study ``accumulation``.

    Raises
    ------
    TypeError, ValueError
        As the study ``accumulation``; if the unit cannot be promoted so often.

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
    return measured(unit, fmt, fmt, k=k, m=m, n=n, distribution=distribution, offset=offset, seed=seed)


def draw_figure(table: pd.DataFrame) -> Figure:
    """Draw the error over the interval of promotion, a line for each unit and K, a panel a distribution."""
    from precision import plots

    table = drop_failed_rows(table)
    return panels(table, drawn(table), plots.error_over_promotion, by=by(table, "promoted"))


STUDY = Study(
    name="promotion",
    question="How often must a unit be promoted to float32?",
    cell=measure,
    grid={
        "offset": (0.0, 0.25, 1.0),
        "k": (4096, 16384, 65536),
        "accumulator": (HOPPER_FP8, HOPPER_FP8.with_width(10)),
        "promoted": (0, 32, 64, 128, 256, 512, 1024, 2048, 4096),
    },
    reads=named(("accumulator", reads.accumulator), ("fmt", reads.operand_spec), promoted=0) | PRODUCT,
    figure=draw_figure,
)
