"""Classes made of matplotlib's. It is imported at the top here: import this module inside functions alone."""

from __future__ import annotations

import io
import itertools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backend_bases import RendererBase
from matplotlib.figure import Figure
from matplotlib.text import Annotation, Text

from precision._figure_style import SMALL, root_of, spread

_FAR = 1e300


def _png(figure: Figure) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=100)
    return file.getvalue()


class ShownFigure(Figure):
    """A figure that Jupyter shows as the value of a cell, though pyplot knows nothing of it."""

    def _repr_png_(self) -> bytes:
        return _png(self)


class ShownAxes(Axes):
    """Axes that Jupyter shows, with their figure, as the value of a cell."""

    def _repr_png_(self) -> bytes:
        return _png(root_of(self))


class End(NamedTuple):
    """A point, or where a line ends, and what it is called."""

    x: float
    y: float
    text: str
    colour: str


class _Name(Annotation):
    """A name whose group says anew where it is whenever it is drawn: axes move and are resized."""

    group: EndNames | PointNames

    def update_positions(self, renderer: RendererBase) -> None:
        self.group.place(renderer)
        super().update_positions(renderer)


def _added(axes: Axes, end: End, group: EndNames | PointNames, **how: Any) -> _Name:
    name = _Name(
        end.text,
        xytext=(1.05, 0.5),
        textcoords="axes fraction",
        fontsize=SMALL,
        color=end.colour,
        va="center",
        linespacing=1.0,
        annotation_clip=False,
        **how,
    )
    name.group = group
    axes.add_artist(name)
    name.set_clip_on(False)
    return name


class EndNames:
    """Names of lines, right of the axes at their ends' heights, but apart; a thin line leads to each."""

    def __init__(self, axes: Axes, ends: Sequence[End]) -> None:
        self.axes = axes
        self.ends = sorted(ends, key=lambda end: end.y)
        self.names = [
            _added(axes, end, self, xy=(1.0, 0.5), xycoords="axes fraction", arrowprops=_leader(end.colour))
            for end in self.ends
        ]

    def place(self, renderer: RendererBase) -> None:
        """Move every name to where it belongs now."""
        box = self.axes.get_window_extent()
        if not self.names or box.height <= 0 or box.width <= 0:
            return
        # Infinities, and zeros on a logarithmic axis, lie at its edges.
        ends = [[min(max(z, -_FAR), _FAR) for z in (end.x, end.y)] for end in self.ends]
        pixels = self.axes.transData.transform(ends)
        at: Any = np.clip(self.axes.transAxes.inverted().transform(pixels), 0.0, 1.0)
        pixel = root_of(self.axes).dpi / 72  # those of a point
        line = 1.22 * SMALL * pixel / box.height
        lines = [end.text.count("\n") + 1 for end in self.ends]
        gaps = [line * (a + b) / 2 for a, b in itertools.pairwise(lines)]
        placed = spread([float(y) for _, y in at], gaps, line * lines[0] / 2, 1.0)
        beside = 1.0 + 14 * pixel / box.width
        for name, (x, y), height in zip(self.names, at, placed, strict=True):
            name.xy = (float(x), float(y))
            name.set_position((beside, height))


def _leader(colour: str) -> dict[str, Any]:
    return {
        "arrowstyle": "-", "lw": 0.6, "color": colour, "relpos": (0, 0.5), "shrinkA": 1, "shrinkB": 3,
    }  # fmt: skip


# Where the middle of a name may lie, seen from its point: right, left, above, below, and between.
_DIRECTIONS = ((1, 0), (1, 1), (1, -1), (-1, 0), (-1, 1), (-1, -1), (0, 1), (0, -1))
_DISTANCES = (5, 12, 20, 30, 42, 56, 72, 90, 110)  # points from it
_Box: TypeAlias = tuple[float, float, float, float]


class PointNames:
    """Names of points, each in the nearest place within the axes where it lies on no name and no point.

    A thin line leads to each that is not right beside its point, across no other name if that can be.
    """

    def __init__(self, axes: Axes, points: Sequence[End]) -> None:
        self.axes = axes
        # The short ones first: they find room near their points, and long ones must go far anyway.
        self.points = sorted(points, key=lambda point: (point.text.count("\n"), point.x, -point.y))
        self.names = [
            _added(
                axes, point, self, xy=(point.x, point.y), xycoords="data", ha="center",
                arrowprops=_leader(point.colour) | {"relpos": (0.5, 0.5), "shrinkA": 0},
            )
            for point in self.points
        ]  # fmt: skip
        self.placed_for: tuple[Any, bytes] | None = None

    def place(self, renderer: RendererBase) -> None:
        """Move every name to where it belongs now."""
        box = self.axes.get_window_extent()
        pixels = np.asarray(self.axes.transData.transform([(p.x, p.y) for p in self.points]), np.float64)
        seen = (box.bounds, pixels.tobytes())
        if box.height <= 0 or box.width <= 0 or seen == self.placed_for:
            return
        self.placed_for = seen
        pixel = root_of(self.axes).dpi / 72
        dots = [_around(x, y, 9 * pixel, 9 * pixel) for x, y in pixels]
        search = _Search((box.x0, box.y0, box.x1, box.y1), dots, pixel)
        for i, name in enumerate(self.names):
            extent = Text.get_window_extent(name, renderer)
            x, y, leads = search.place(i, extent.width + 2 * pixel, 1.15 * extent.height)
            name.set_position(((x - box.x0) / box.width, (y - box.y0) / box.height))
            if name.arrow_patch is not None:
                name.arrow_patch.set_visible(leads)


class _Search:
    """Places for names among dots, all in pixels."""

    def __init__(self, inside: _Box, dots: list[_Box], pixel: float) -> None:
        self.inside, self.dots, self.pixel = inside, dots, pixel
        self.names: list[_Box] = []
        self.leaders: list[list[tuple[float, float]]] = []

    def place(self, i: int, width: float, height: float) -> tuple[float, float, bool]:
        """The middle of the name of dot ``i``, and whether a line should lead there."""
        left, bottom, right, top = self.dots[i]
        x, y = (left + right) / 2, (bottom + top) / 2
        best = (math.inf, x, y, False)
        for distance in _DISTANCES:
            for across, up in _DIRECTIONS:
                away = distance * self.pixel * (0.7 if across and up else 1.0)
                mx, my = x + across * (width / 2 + away), y + up * (height / 2 + away)
                leads = bool(up) or distance > _DISTANCES[0]
                bad = self._badness(
                    i, _around(mx, my, width, height), _way((x, y), (mx, my)) if leads else []
                )
                if bad < best[0] - 1e-6:
                    best = (bad, mx, my, leads)
            if best[0] < 1e-6:
                break
        _, mx, my, leads = best
        self.names.append(_around(mx, my, width, height))
        if leads:
            self.leaders.append(_way((x, y), (mx, my)))
        return mx, my, leads

    def _badness(self, i: int, name: _Box, leader: list[tuple[float, float]]) -> float:
        others = [dot for j, dot in enumerate(self.dots) if j != i]
        bad = sum(_shared(name, other) for other in (*others, *self.names))
        bad += 4 * ((name[2] - name[0]) * (name[3] - name[1]) - _shared(name, self.inside))
        step = 4 * self.pixel * self.pixel  # what a crossing weighs for each point of a line
        bad += step * sum(_holds(other, point) for other in self.names for point in leader)
        return bad + step * sum(_holds(name, point) for way in self.leaders for point in way)


def _around(x: float, y: float, width: float, height: float) -> _Box:
    return (x - width / 2, y - height / 2, x + width / 2, y + height / 2)


def _shared(a: _Box, b: _Box) -> float:
    """The area that two boxes share."""
    return max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))


def _holds(box: _Box, point: tuple[float, float]) -> bool:
    return box[0] < point[0] < box[2] and box[1] < point[1] < box[3]


def _way(start: tuple[float, float], end: tuple[float, float]) -> list[tuple[float, float]]:
    """Points along a line."""
    parts = [(j + 0.5) / 16 for j in range(16)]
    return [(start[0] + t * (end[0] - start[0]), start[1] + t * (end[1] - start[1])) for t in parts]
