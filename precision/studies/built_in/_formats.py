"""The study ``formats``: the errors of specs whose elements have 8, 6 or 4 bits."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from precision._support.machine._float_environment import in_default_environment
from precision.formats._int_format import IntFormat
from precision.formats._named import E4M3, INT8
from precision.logfmt._logfmt_spec import LogFMT
from precision.plots._columns import drop_failed_rows
from precision.quantization._granularity import PerGroup
from precision.quantization._microscaling import (
    MXFP4,
    MXFP6_E2M3,
    MXFP6_E3M2,
    MXFP8_E4M3,
    MXFP8_E5M2,
    MXINT4,
    MXINT8,
    NVFP4,
    NVINT4,
)
from precision.quantization._quant_spec import QuantSpec
from precision.specs._spec_text import AnySpec
from precision.studies import _parameters as reads
from precision.studies._drawn_matrices import measured
from precision.studies._experiment import Study
from precision.studies._figure_panels import by, drawn, panels
from precision.studies._parameters import NUMBERS, named

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


@in_default_environment
def measure(
    *,
    spec: AnySpec = MXFP8_E4M3,
    distribution: str = "normal",
    rows: int = 1024,
    columns: int = 4096,
    seed: int = 0,
) -> dict[str, float]:
    """Measure the errors of a random matrix that is quantized by a spec.

    Parameters
    ----------
    spec : QuantSpec, LogFMT or FloatFormat
        The spec, with groups along the rows; a bare format rounds the elements without scales.
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
    >>> import precision as pr
    >>> from precision.studies import study
    >>> [round(study("formats").cell(spec=spec)["sqnr_db"]) for spec in (pr.MXFP4, pr.NVFP4, pr.NVINT4)]
    [19, 20, 21]
    """
    return measured(spec, distribution, rows, columns, seed)


def draw_figure(table: pd.DataFrame) -> Figure:
    """Draw SQNR over bits, with a point for each spec and a panel for each distribution."""
    from precision import plots

    table = drop_failed_rows(table)
    return panels(table, drawn(table), plots.pareto, names=by(table), across=2, size=(6.4, 4.6))


STUDY = Study(
    name="formats",
    question="Which format makes the most of 8, 6 or 4 bits?",
    cell=measure,
    grid={
        "distribution": ("normal", "laplace", "student_t", "outliers"),
        "spec": (
            MXFP8_E4M3,
            MXFP8_E5M2,
            MXINT8,
            QuantSpec(E4M3, PerGroup(128)),
            QuantSpec(INT8, PerGroup(128)),
            LogFMT(8),
            MXFP6_E2M3,
            MXFP6_E3M2,
            dataclasses.replace(MXINT8, fmt=IntFormat(6, fraction_bits=4)),
            LogFMT(6),
            MXFP4,
            NVFP4,
            MXINT4,
            NVINT4,
            LogFMT(4),
        ),
    },
    reads=named(("spec", reads.any_spec)) | NUMBERS,
    figure=draw_figure,
)
