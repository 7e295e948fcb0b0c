"""Figures of the built-in studies' tables, each through `precision.plots`.

A table may vary other parameters than the study's own grid does: what is drawn makes panels, and what varies
besides makes lines.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from precision.formats import _text_language
from precision.metrics._distributions import DISTRIBUTIONS
from precision.plots._axes import own_axes
from precision.plots._columns import Key, keys, numbers, usable, varying
from precision.plots._style import COLOURS, GRID, MARKERS, SMALL, dress
from precision.quantization._granularity import PerBlock, PerGroup, PerTensor, PerVector, filled

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "accumulation",
    "formats",
    "group_size",
    "logfmt",
    "promotion",
    "scale_rules",
    "stochastic_bits",
    "unit_scaling",
]


def _panels(table: pd.DataFrame, titles: Sequence[str], draw: Any, **options: Any) -> Figure:
    """A panel for each title, which each row has one of."""
    from precision import plots

    return plots.panels(table.assign(panel=list(titles)), "panel", draw, **options)


def _drawn(table: pd.DataFrame) -> list[str]:
    """What each row's numbers are draws of."""
    names = [DISTRIBUTIONS[name].description for name in table["distribution"]]
    if "offset" not in table.columns:
        return names
    return [
        f"{name} + {offset:g}" if offset else name
        for name, offset in zip(names, table["offset"], strict=True)
    ]


def _by(table: pd.DataFrame, *besides: str) -> tuple[str, ...]:
    """What tells lines apart within a panel."""
    return varying(table, ("distribution", "offset", *besides))


def accumulation(table: pd.DataFrame) -> Figure:
    """Error over the width, a line for each K, a panel for what is drawn."""
    from precision import plots

    table = usable(table)
    return _panels(table, _drawn(table), plots.error_over_width, by=_by(table, "width"))


def promotion(table: pd.DataFrame) -> Figure:
    """Error over the interval of promotion, a line for each unit and K, a panel for what is drawn."""
    from precision import plots

    table = usable(table)
    return _panels(table, _drawn(table), plots.error_over_promotion, by=_by(table, "promoted"))


def unit_scaling(table: pd.DataFrame) -> Figure:
    """Error over the width, a line for each design and K, a panel for what is drawn."""
    from precision import plots

    table = usable(table)
    return _panels(table, _drawn(table), plots.error_over_width, by=_by(table, "width"))


def _elements(group: str, rows: int, columns: int) -> int:
    """How many elements of a matrix share a scale."""
    kinds: dict[str, Any] = {kind.__name__: kind for kind in (PerTensor, PerVector, PerGroup, PerBlock)}
    shape = (int(rows), int(columns))
    found: Any = _text_language.evaluate(str(group), kinds, "group")
    return math.prod(
        min(step, size) for step, size in zip(filled(found.block(shape), shape), shape, strict=True)
    )


def group_size(table: pd.DataFrame) -> Figure:
    """SQNR over the elements that share a scale, a line for each format, a panel for each distribution."""
    from precision import plots

    table = usable(table)
    shared = map(_elements, table["group"], table["rows"], table["columns"])

    def draw(part: pd.DataFrame, *, ax: Axes, **options: Any) -> None:
        plots.error_over_k(part, y="sqnr_db", ax=ax, **options)
        ax.set_xlabel("elements under one scale")

    return _panels(table.assign(k=list(shared)), _drawn(table), draw, by=_by(table, "group"))


def formats(table: pd.DataFrame) -> Figure:
    """SQNR and bits of each spec, a panel for each distribution."""
    from precision import plots

    table = usable(table)
    return _panels(table, _drawn(table), plots.pareto, names=_by(table), across=2, size=(6.4, 4.6))


def logfmt(table: pd.DataFrame) -> Figure:
    """SQNR over the bits of an element, a line for each length of a tile, a panel for each distribution."""
    from precision import plots

    table = usable(table)

    def draw(part: pd.DataFrame, *, ax: Axes, **options: Any) -> None:
        plots.error_over_width(part, y="sqnr_db", ax=ax, **options)
        low, high = math.floor(part["width"].min()), math.ceil(part["width"].max())
        ax.set_xticks(
            range(low, high + 1), [str(bits) for bits in range(low, high + 1)], rotation=0, ha="center"
        )
        ax.set_xlabel("bits for each element, metadata counted")

    wide = table.assign(width=table["bits_per_element"])
    return _panels(wide, _drawn(table), draw, by=_by(table, "bits"))


def scale_rules(table: pd.DataFrame) -> Figure:
    """How far each rule's SQNR stays behind the best one's, for each spec; a panel for each distribution."""
    table = usable(table)
    rules = list(dict.fromkeys(map(str, table["rule"])))
    figure = _panels(table, _drawn(table), _draw_rules, rules=rules)
    figure.axes[-1].legend(fontsize=SMALL, loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)
    return figure


def _draw_rules(table: pd.DataFrame, *, ax: Axes, rules: Sequence[str]) -> None:
    """A row of points for each spec, one below the other where they coincide; of several seeds the median."""
    axes = own_axes(ax)
    dress(axes, "x")
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


def stochastic_bits(table: pd.DataFrame) -> Figure:
    """Error over K, a line for each rounding, a panel for each format and what is drawn."""
    from precision import plots

    table = usable(table)
    titles = [f"{fmt} sums of {drawn}" for fmt, drawn in zip(table["fmt"], _drawn(table), strict=True)]

    def draw(part: pd.DataFrame, *, ax: Axes, **options: Any) -> None:
        plots.error_over_k(part, ax=ax, **options)
        ax.set_xlabel("K, additions in each sum")

    return _panels(table, titles, draw, by=_by(table, "fmt", "k"), sharey=False)
