"""The one look of all figures: colours, dashes and markers, axes and what they are called."""

from __future__ import annotations

import math
import textwrap
import weakref
from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from precision.metrics._columns import METRICS, Metric, find_metric

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure


# Okabe and Ito's colours, which most colour-blind readers tell apart; those too pale for text are darker.
# Whatever differs in colour differs in dash or marker as well.
BLUE, VERMILION, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#B8608F"
ORANGE, BLACK, SKY = "#B07800", "#000000", "#3A93CC"
# The first five differ without green and red, too. The five at the end are shades, for those who draw more
# lines than there are colours.
_SHADES = ("#777777", "#7A2E00", "#00523C", "#003F63", "#7B3560")
COLOURS = (BLUE, VERMILION, BLACK, GREEN, SKY, PURPLE, ORANGE, *_SHADES)
DASHES: tuple[Any, ...] = ("-", "--", "-.", ":", (0, (6, 1.5, 1, 1.5, 1, 1.5)))
MARKERS = "osD^vPX*"
GREY, FAINT, PALE, GRID = "#777777", "#BBBBBB", "#DDDDDD", "#E5E5E5"
JOINED = "\u00a0"  # a space at which no line is broken
SMALL = 8  # points: of names and ticks; nothing is smaller
#: Titles of parameters, which are no metrics: those declare their own in `precision.metrics`.
_TITLES = {
    "k": "K, products in each sum",
    "width": "fraction bits in the alignment",
    "promoted": "products between promotions",
}
_REFERENCES = {"accumulation_": " (accumulation alone)", "total_": " (with quantization)"}


# ---- names of columns -------------------------------------------------------------------------------
def metric_of(column: str) -> Metric | None:
    """Return the metric that a column holds, whatever reference it is against; None if it holds none."""
    for prefix in _REFERENCES:
        column = column.removeprefix(prefix)
    return METRICS.get(column)


def title_of(column: str) -> str:
    """Return what an axis of that column is called, with its unit."""
    metric = metric_of(column)
    if metric is None:
        return _TITLES.get(column, column.replace("_", " "))
    against = [meaning for prefix, meaning in _REFERENCES.items() if column.startswith(prefix)]
    return metric.label + "".join(against)


def more_is_better(column: str) -> bool:
    """Tell whether more of a column's numbers is better."""
    metric = find_metric(column)
    return metric is not None and metric.more_is_better


def is_linear(column: str) -> bool:
    """Tell whether a column is drawn as it is: others are errors, whose magnitudes span decades."""
    metric = find_metric(column)
    return column.endswith("_share") or (metric is not None and metric.linear)


# ---- places -----------------------------------------------------------------------------------------
def spread(positions: Sequence[float], gap: float | Sequence[float], low: float, high: float) -> list[float]:
    """The positions, moved as little as keeps neighbours ``gap`` apart (given in rising order).

    Where there is no room for that between ``low`` and ``high`` they go beyond ``low``.
    """
    placed = list(positions)
    gaps = [gap] * (len(placed) - 1) if isinstance(gap, int | float) else list(gap)
    for _ in range(200):
        moved = False
        for i, needed in enumerate(gaps):
            lack = needed - (placed[i + 1] - placed[i])
            if lack > 1e-9:
                placed[i] -= lack / 2
                placed[i + 1] += lack / 2
                moved = True
        if not moved:
            break
    for i, needed in enumerate(gaps):  # what is left after so many rounds
        placed[i + 1] = max(placed[i + 1], placed[i] + needed)
    shift = max(low - placed[0], 0.0) if placed else 0.0
    placed = [p + shift for p in placed]
    shift = max(placed[-1] - high, 0.0) if placed else 0.0
    return [p - shift for p in placed]


# ---- styles -----------------------------------------------------------------------------------------
class Style(NamedTuple):
    """How a line is drawn."""

    colour: str
    dash: Any
    marker: str


class Styles:
    """Styles of the lines of one figure: a line has the same in every panel.

    Of lines that several parameters tell apart, colour and marker say the one that has most values, and
    dashes the others.
    """

    def __init__(self) -> None:
        self.lead: int | None = None
        self.first: dict[Hashable, int] = {}
        self.rest: dict[Hashable, int] = {}

    def choose(self, keys: Sequence[tuple[Hashable, ...]]) -> None:
        """Let the parameter that has most values in ``keys`` be the one that colours say, once for all."""
        if self.lead is None and keys:
            counts = [len({key[i] for key in keys}) for i in range(len(keys[0]))]
            self.lead = counts.index(max(counts)) if counts else 0

    def _place(self, key: tuple[Hashable, ...]) -> int:
        lead = self.lead or 0
        return self.first.setdefault(key[lead : lead + 1], len(self.first))

    def colour_of(self, key: tuple[Hashable, ...]) -> str:
        return COLOURS[self._place(key) % len(COLOURS)]

    def of(self, key: tuple[Hashable, ...]) -> Style:
        lead, i = self.lead or 0, self._place(key)
        rest = key[:lead] + key[lead + 1 :]
        j = self.rest.setdefault(rest, len(self.rest)) if rest else i
        return Style(COLOURS[i % len(COLOURS)], DASHES[j % len(DASHES)], MARKERS[i % len(MARKERS)])


_STYLES: weakref.WeakKeyDictionary[Figure, dict[tuple[str, ...], Styles]] = weakref.WeakKeyDictionary()


def styles_of(ax: Axes, columns: tuple[str, ...]) -> Styles:
    """Those of an Axes' figure, for lines that these columns tell apart."""
    return _STYLES.setdefault(root_of(ax), {}).setdefault(columns, Styles())


# ---- figures and axes -------------------------------------------------------------------------------
def root_of(drawn: Axes | Figure | SubFigure) -> Figure:
    """The whole figure that an Axes or a part of a figure belongs to."""
    from matplotlib.figure import Figure

    while not isinstance(drawn, Figure):
        drawn = drawn.figure
    return drawn


def dress(axes: Axes, grid: str = "both") -> None:
    """A pale grid below the data, two spines, small ticks."""
    axes.grid(True, axis=grid, color=GRID, linewidth=0.6)  # type: ignore[arg-type]
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=9)


def _apart(places: Sequence[float], widths: Sequence[float]) -> set[int]:
    """Which names to keep, of these widths at these places: the last one, and those free of all behind."""
    kept: set[int] = set()
    free = math.inf
    for i in reversed(range(len(places))):
        if places[i] + widths[i] / 2 <= free:
            kept.add(i)
            free = places[i] - widths[i] / 2
    return kept


def call_axes(axes: Axes, x: str = "", y: str = "", size: float = 10) -> None:
    """What the axes are called, in lines that are no longer than they are."""
    box, dpi = axes.get_window_extent(), root_of(axes).dpi
    for text, inches, set_label in (
        (x, box.width / dpi, axes.set_xlabel),
        (y, box.height / dpi, axes.set_ylabel),
    ):
        if text:
            most = max(16, int(inches * 72 / (0.48 * size)))
            lines = [part for line in text.split("\n") for part in textwrap.wrap(line, most)]
            set_label("\n".join(lines).replace(JOINED, " "), fontsize=size - (len(lines) > 1))


_TICKS: weakref.WeakKeyDictionary[Axes, dict[float, str]] = weakref.WeakKeyDictionary()


def shared_ticks(axes: Axes | None) -> dict[float, str]:
    """What the ticks are called that `ticks_at` gave to other Axes with the same x axis."""
    if axes is None:
        return {}
    others = (other for other in axes.get_shared_x_axes().get_siblings(axes) if other is not axes)
    return {place: name for other in others for place, name in _TICKS.get(other, {}).items()}


def ticks_at(axes: Axes, ticks: Sequence[float], names: Sequence[str]) -> None:
    """Ticks of the x axis at these places alone; names slanted, or left out, where they are too many.

    Axes with the same x axis have their ticks in common, and raise ValueError where they do not agree.
    """
    called = _TICKS[axes] = dict(zip(ticks, names, strict=True))
    together = sorted({*shared_ticks(axes).items(), *called.items()})
    ticks, names = [place for place, _ in together], [name for _, name in together]
    if len(set(ticks)) < len(ticks) or len(set(names)) < len(names):
        raise ValueError(
            f"panels that share an x axis must agree on it, got {', '.join(called.values())} beside "
            f"{', '.join(shared_ticks(axes).values())}: let them share none (sharex=False)"
        )
    width = axes.get_window_extent().width / root_of(axes).dpi  # in inches, about: nothing is laid out yet
    places = [width * float(x) for x, _ in axes.transAxes.inverted().transform(
        axes.transData.transform([(tick, axes.get_ylim()[0]) for tick in ticks])
    )]  # fmt: skip
    flat = _apart(places, [0.075 * len(name) + 0.07 for name in names])
    slanted = 3 * len(flat) < 2 * len(names)
    named = _apart(places, [0.17] * len(names)) if slanted else flat
    axes.set_xticks(
        list(ticks),
        [name if i in named else "" for i, name in enumerate(names)],
        fontsize=SMALL,
        rotation=45 if slanted else 0,
        ha="right" if slanted else "center",
        rotation_mode="anchor",
    )
    axes.minorticks_off()
