"""The look that all figures share: colours, dashes, markers, ticks, and titles of axes."""

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


# Okabe and Ito's colours, which most colour-blind readers tell apart; those that were too pale for text have
# been darkened. Lines that differ in colour differ in dash or marker as well.
BLUE, VERMILION, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#B8608F"
ORANGE, BLACK, SKY = "#B07800", "#000000", "#3A93CC"
# The first five can be told apart without seeing red and green. The five at the end are darker shades, for
# figures of more lines than there are colours.
_SHADES = ("#777777", "#7A2E00", "#00523C", "#003F63", "#7B3560")
COLOURS = (BLUE, VERMILION, BLACK, GREEN, SKY, PURPLE, ORANGE, *_SHADES)
DASHES: tuple[Any, ...] = ("-", "--", "-.", ":", (0, (6, 1.5, 1, 1.5, 1, 1.5)))
MARKERS = "osD^vPX*"
GREY, FAINT, PALE, GRID = "#777777", "#BBBBBB", "#DDDDDD", "#E5E5E5"
JOINED = "\u00a0"  # a space at which no line is broken
SMALL = 8  # the size of names and ticks in points, the smallest in any figure
#: Titles of parameters; metrics declare their own titles in `precision.metrics`.
_TITLES = {
    "k": "K, products in each sum",
    "width": "fraction bits in the alignment",
    "promoted": "products between promotions",
}
_REFERENCES = {"accumulation_": " (accumulation alone)", "total_": " (with quantization)"}


# ---- names of columns -------------------------------------------------------------------------------
def metric_of(column: str) -> Metric | None:
    """Return the metric that a column holds, a prefix for its reference left out; None if it holds none."""
    for prefix in _REFERENCES:
        column = column.removeprefix(prefix)
    return METRICS.get(column)


def title_of(column: str) -> str:
    """Return the title of an axis that shows a column, with the unit."""
    metric = metric_of(column)
    if metric is None:
        return _TITLES.get(column, column.replace("_", " "))
    against = [meaning for prefix, meaning in _REFERENCES.items() if column.startswith(prefix)]
    return metric.label + "".join(against)


def more_is_better(column: str) -> bool:
    """Tell whether larger numbers of a column are better."""
    metric = find_metric(column)
    return metric is not None and metric.more_is_better


def is_linear(column: str) -> bool:
    """Tell whether a column is drawn on a linear axis; others are errors, whose magnitudes span decades."""
    metric = find_metric(column)
    return column.endswith("_share") or (metric is not None and metric.linear)


# ---- places -----------------------------------------------------------------------------------------
def move_apart(
    positions: Sequence[float], gap: float | Sequence[float], low: float, high: float
) -> list[float]:
    """Move rising positions, as little as possible, until neighbours are at least ``gap`` apart.

    If there is no room for that between ``low`` and ``high``, the first ones lie below ``low``.
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
    for i, needed in enumerate(gaps):  # gaps that are still too small after 200 rounds
        placed[i + 1] = max(placed[i + 1], placed[i] + needed)
    shift = max(low - placed[0], 0.0) if placed else 0.0
    placed = [p + shift for p in placed]
    shift = max(placed[-1] - high, 0.0) if placed else 0.0
    return [p - shift for p in placed]


# ---- styles -----------------------------------------------------------------------------------------
class Style(NamedTuple):
    """The look of a line: its colour, its dash and the marker of its points."""

    colour: str
    dash: Any
    marker: str


class Styles:
    """The styles of the lines of one figure, in which a line looks the same in every panel.

    If several parameters tell lines apart, colour and marker stand for the parameter with most values, and
    dashes for the others.
    """

    def __init__(self) -> None:
        self.lead: int | None = None
        self.first: dict[Hashable, int] = {}
        self.rest: dict[Hashable, int] = {}

    def choose(self, keys: Sequence[tuple[Hashable, ...]]) -> None:
        """Choose at the first call which parameter colours stand for: that with most values in ``keys``."""
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
    """Return the styles of the figure that an Axes belongs to, for lines that these columns tell apart."""
    return _STYLES.setdefault(root_of(ax), {}).setdefault(columns, Styles())


# ---- figures and axes -------------------------------------------------------------------------------
def root_of(drawn: Axes | Figure | SubFigure) -> Figure:
    """Return the whole figure that an Axes or a part of a figure belongs to."""
    from matplotlib.figure import Figure

    while not isinstance(drawn, Figure):
        drawn = drawn.figure
    return drawn


def style_axes(axes: Axes, grid: str = "both") -> None:
    """Give Axes the common look: a pale grid below the data, two spines, small ticks."""
    axes.grid(True, axis=grid, color=GRID, linewidth=0.6)  # type: ignore[arg-type]
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=9)


def _choose_visible(places: Sequence[float], widths: Sequence[float]) -> set[int]:
    """Choose the names that do not overlap: the last one, and each that is clear of those kept after it.

    Names are given by their middles and their widths; the result holds the indices of those to keep.
    """
    kept: set[int] = set()
    free = math.inf
    for i in reversed(range(len(places))):
        if places[i] + widths[i] / 2 <= free:
            kept.add(i)
            free = places[i] - widths[i] / 2
    return kept


def label_axes(axes: Axes, x: str = "", y: str = "", size: float = 10) -> None:
    """Set the labels of the axes, broken into lines that are no longer than the axes."""
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
    """Return the ticks, as places and names, that `set_ticks` set on other Axes with the same x axis."""
    if axes is None:
        return {}
    others = (other for other in axes.get_shared_x_axes().get_siblings(axes) if other is not axes)
    return {place: name for other in others for place, name in _TICKS.get(other, {}).items()}


def set_ticks(axes: Axes, ticks: Sequence[float], names: Sequence[str]) -> None:
    """Set ticks of the x axis at some places and nowhere else.

    If there are too many names for the width of the axes, they are slanted, and some are left out. Axes that
    share an x axis share their ticks; ValueError is raised if their names contradict each other.
    """
    called = _TICKS[axes] = dict(zip(ticks, names, strict=True))
    together = sorted({*shared_ticks(axes).items(), *called.items()})
    ticks, names = [place for place, _ in together], [name for _, name in together]
    if len(set(ticks)) < len(ticks) or len(set(names)) < len(names):
        raise ValueError(
            f"panels that share an x axis must agree on it, got {', '.join(called.values())} beside "
            f"{', '.join(shared_ticks(axes).values())}: let them share none (sharex=False)"
        )
    width = axes.get_window_extent().width / root_of(axes).dpi  # in inches, before the layout is final
    places = [width * float(x) for x, _ in axes.transAxes.inverted().transform(
        axes.transData.transform([(tick, axes.get_ylim()[0]) for tick in ticks])
    )]  # fmt: skip
    flat = _choose_visible(places, [0.075 * len(name) + 0.07 for name in names])
    slanted = 3 * len(flat) < 2 * len(names)
    named = _choose_visible(places, [0.17] * len(names)) if slanted else flat
    axes.set_xticks(
        list(ticks),
        [name if i in named else "" for i, name in enumerate(names)],
        fontsize=SMALL,
        rotation=45 if slanted else 0,
        ha="right" if slanted else "center",
        rotation_mode="anchor",
    )
    axes.minorticks_off()
