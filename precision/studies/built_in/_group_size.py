"""The study ``group_size``: the error of quantizing over the number of elements that share a scale."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from precision._support.machine._float_environment import in_default_environment
from precision.formats import _text_language
from precision.formats._named import E2M1, E2M3, E4M3, E5M2, INT4, INT8, Format
from precision.plots._columns import drop_failed_rows
from precision.quantization._granularity import (
    Granularity,
    PerBlock,
    PerGroup,
    PerTensor,
    PerVector,
    clip_block,
)
from precision.quantization._quant_spec import QuantSpec
from precision.studies import _parameters as reads
from precision.studies._drawn_matrices import measured
from precision.studies._experiment import Study
from precision.studies._figure_panels import by, drawn, panels
from precision.studies._parameters import NUMBERS, named

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_TILES = PerGroup(128)


@in_default_environment
def measure(
    *,
    fmt: Format = E4M3,
    group: Granularity = _TILES,
    distribution: str = "outliers",
    rows: int = 1024,
    columns: int = 4096,
    seed: int = 0,
) -> dict[str, float]:
    """Measure the errors of a random matrix that is quantized with FP32 scales of groups along its rows.

    Parameters
    ----------
    fmt : FloatFormat or IntFormat
        The format of the elements.
    group : PerGroup, PerVector, PerTensor or PerBlock
        The rule of which elements share a scale, which is amax / max.
    distribution : str
        A key of `DISTRIBUTIONS`; if it has channels, each is a column.
    rows, columns : int
        The sizes of the matrix.
    seed : int
        The seed of the draws.

    Returns
    -------
    dict
        ``bits_per_element`` (scales counted), and ``sqnr_db``, ``norm_relative_error``,
        ``max_relative_error``, ``signed_relative_error``, ``clipped_share`` and ``flushed_share`` as
        `Tally` defines them.

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong type or range.

    Examples
    --------
    >>> import precision as pr
    >>> from precision.formats import INT8
    >>> from precision.studies import study
    >>> cell = study("group_size").cell
    >>> for group in (pr.PerGroup(16), pr.PerTensor()):
    ...     found = cell(fmt=INT8, group=group)
    ...     print(group, f"{found['bits_per_element']:.2f} bits {found['sqnr_db']:.0f} dB")
    PerGroup(16) 10.00 bits 41 dB
    PerTensor() 8.00 bits 20 dB
    """
    return measured(QuantSpec(fmt, group), distribution, rows, columns, seed)


def _elements(group: str, rows: int, columns: int) -> int:
    """Return how many elements of a matrix share a scale."""
    kinds: dict[str, Any] = {kind.__name__: kind for kind in (PerTensor, PerVector, PerGroup, PerBlock)}
    shape = (int(rows), int(columns))
    found: Any = _text_language.evaluate(str(group), kinds, "group")
    return math.prod(
        min(step, size) for step, size in zip(clip_block(found.block(shape), shape), shape, strict=True)
    )


def draw_figure(table: pd.DataFrame) -> Figure:
    """Draw SQNR over the elements that share a scale, a line for each format, a panel a distribution."""
    from precision import plots

    table = drop_failed_rows(table)
    shared = map(_elements, table["group"], table["rows"], table["columns"])

    def draw(part: pd.DataFrame, *, ax: Axes, **options: Any) -> None:
        plots.error_over_k(part, y="sqnr_db", ax=ax, **options)
        ax.set_xlabel("elements under one scale")

    return panels(table.assign(k=list(shared)), drawn(table), draw, by=by(table, "group"))


STUDY = Study(
    name="group_size",
    question="How many elements may share a scale?",
    cell=measure,
    grid={
        "distribution": ("normal", "student_t", "outliers"),
        "fmt": (E4M3, E5M2, INT8, E2M3, E2M1, INT4),
        "group": (*(PerGroup(2**i) for i in range(4, 11)), PerVector(), PerTensor()),
    },
    reads=named(("fmt", reads.any_format), ("group", reads.granularity)) | NUMBERS,
    figure=draw_figure,
)
