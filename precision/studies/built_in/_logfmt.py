"""The study ``logfmt``: the error of LogFMT over its bits, for several lengths of a tile."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from precision._support.machine._float_environment import in_default_environment
from precision.logfmt._logfmt_spec import LogFMT
from precision.plots._columns import drop_failed_rows
from precision.studies import _parameters as reads
from precision.studies._drawn_matrices import measured
from precision.studies._experiment import Study
from precision.studies._figure_panels import by, drawn, panels
from precision.studies._parameters import NUMBERS

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@in_default_environment
def measure(
    *,
    bits: int = 8,
    block_size: int = 128,
    distribution: str = "normal",
    rows: int = 1024,
    columns: int = 4096,
    seed: int = 0,
) -> dict[str, float]:
    """Measure the errors of a random matrix that is quantized by `LogFMT`.

    Parameters
    ----------
    bits : int
        The bits of a code, 3 to 16.
    block_size : int
        The number of neighbours along a row that form a tile.
    distribution, rows, columns, seed
        As in the study ``group_size``.

    Returns
    -------
    dict
        As the study ``group_size``.

    Raises
    ------
    TypeError, ValueError
        As the study ``group_size``.

    Examples
    --------
    >>> from precision.studies import study
    >>> [round(study("logfmt").cell(bits=bits)["sqnr_db"]) for bits in (6, 8, 10)]
    [25, 37, 49]
    """
    return measured(LogFMT(bits, block_size), distribution, rows, columns, seed)


def draw_figure(table: pd.DataFrame) -> Figure:
    """Draw SQNR over the bits of an element, a line for each tile length, a panel for each distribution."""
    from precision import plots

    table = drop_failed_rows(table)

    def draw(part: pd.DataFrame, *, ax: Axes, **options: Any) -> None:
        plots.error_over_width(part, y="sqnr_db", ax=ax, **options)
        low, high = math.floor(part["width"].min()), math.ceil(part["width"].max())
        ax.set_xticks(
            range(low, high + 1), [str(bits) for bits in range(low, high + 1)], rotation=0, ha="center"
        )
        ax.set_xlabel("bits for each element, metadata counted")

    wide = table.assign(width=table["bits_per_element"])
    return panels(wide, drawn(table), draw, by=by(table, "bits"))


STUDY = Study(
    name="logfmt",
    question="How many bits does LogFMT need, and how long a tile?",
    cell=measure,
    grid={
        "distribution": ("normal", "laplace", "outliers"),
        "block_size": (32, 128, 512),
        "bits": tuple(range(4, 13)),
    },
    reads={"bits": reads.whole("bits", 3, 16), "block_size": reads.whole("block_size")} | NUMBERS,
    figure=draw_figure,
)
