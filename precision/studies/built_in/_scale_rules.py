"""The study ``scale_rules``: the errors of microscaling formats under rules for scales of powers of two."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Sequence
from typing import TYPE_CHECKING

from precision._support.machine._float_environment import in_default_environment
from precision.plots._axes import choose_axes
from precision.plots._columns import Key, drop_failed_rows, keys, numbers
from precision.plots._style import COLOURS, GRID, MARKERS, SMALL, style_axes
from precision.quantization._microscaling import (
    MXFP4,
    MXFP6_E2M3,
    MXFP6_E3M2,
    MXFP8_E4M3,
    MXFP8_E5M2,
    MXINT8,
)
from precision.quantization._quant_spec import QuantSpec
from precision.quantization._scale_rules import ScaleRule
from precision.studies import _parameters as reads
from precision.studies._drawn_matrices import measured
from precision.studies._experiment import Study
from precision.studies._figure_panels import drawn, panels
from precision.studies._parameters import NUMBERS, named

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@in_default_environment
def measure(
    *,
    spec: QuantSpec = MXFP4,
    rule: ScaleRule = ScaleRule.FLOOR,
    distribution: str = "normal",
    rows: int = 1024,
    columns: int = 4096,
    seed: int = 0,
) -> dict[str, float]:
    """Measure the errors of a random matrix that is quantized by a spec with another scale rule.

    Parameters
    ----------
    spec : QuantSpec
        The spec, whose own scale rule is replaced.
    rule : ScaleRule
        The scale rule to use.
    distribution, rows, columns, seed
        As in the study ``group_size``.

    Returns
    -------
    dict
        As the study ``group_size``.

    Raises
    ------
    TypeError, ValueError
        As the study ``group_size``; if the rule does not suit the spec.

    Examples
    --------
    >>> import precision as pr
    >>> from precision.studies import study
    >>> cell = study("scale_rules").cell
    >>> for rule in (pr.ScaleRule.FLOOR, pr.ScaleRule.RCEIL):
    ...     found = [cell(spec=spec, rule=rule) for spec in (pr.MXFP8_E4M3, pr.MXFP4)]
    ...     print(rule, *(f"{values['sqnr_db']:.1f} dB" for values in found))
    FLOOR 30.6 dB 18.8 dB
    RCEIL 31.5 dB 18.8 dB
    """
    return measured(dataclasses.replace(spec, scale_rule=rule), distribution, rows, columns, seed)


def _draw_rules(table: pd.DataFrame, *, ax: Axes, rules: Sequence[str]) -> None:
    """Draw for each spec a row of points, one a rule, which shows the median SQNR below that of the best."""
    axes = choose_axes(ax)
    style_axes(axes, "x")
    names = list(dict.fromkeys(map(str, table["spec"])))
    values: dict[Key, list[float]] = {}
    for key, value in zip(
        keys(table, ("spec", "rule")), numbers(table, "sqnr_db", "y").tolist(), strict=True
    ):
        values.setdefault(key, []).append(value)
    found = {key: statistics.median(its) for key, its in values.items()}
    best = {name: max(found[key] for key in found if key[0] == name) for name in names}
    for i, rule in enumerate(rules):
        points = [
            (found[name, rule] - best[name], row + 0.16 * (i - (len(rules) - 1) / 2))
            for row, name in enumerate(names)
            if (name, rule) in found
        ]
        colour, marker = COLOURS[i % len(COLOURS)], MARKERS[i % len(MARKERS)]
        axes.plot(*zip(*points, strict=True), marker, color=colour, markersize=6, label=rule)
    for row in range(1, len(names)):
        axes.axhline(row - 0.5, color=GRID, linewidth=0.6)
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlabel("SQNR less that of the best rule, dB (0 is best)")


def draw_figure(table: pd.DataFrame) -> Figure:
    """Draw by how much each rule's SQNR is below the best one's for a spec, a panel for each distribution."""
    table = drop_failed_rows(table)
    rules = list(dict.fromkeys(map(str, table["rule"])))
    figure = panels(table, drawn(table), _draw_rules, rules=rules)
    figure.axes[-1].legend(fontsize=SMALL, loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)
    return figure


STUDY = Study(
    name="scale_rules",
    question="Which rule for scales that are powers of two suits which format?",
    cell=measure,
    grid={
        "distribution": ("normal", "laplace", "outliers"),
        "spec": (MXFP8_E4M3, MXFP8_E5M2, MXFP6_E2M3, MXFP6_E3M2, MXFP4, MXINT8),
        # RCEIL_RECIPROCAL is left out: it differs from RCEIL only next to powers of two.
        "rule": (ScaleRule.FLOOR, ScaleRule.EVEN, ScaleRule.RCEIL, ScaleRule.CEIL),
    },
    reads=named(("spec", reads.scaled_spec), ("rule", reads.scale_rule)) | NUMBERS,
    figure=draw_figure,
)
