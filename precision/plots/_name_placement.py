"""Placement of names beside lines and points, so that they overlap as little as possible.

This module imports matplotlib, an optional package, at its top: import it only inside functions.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backend_bases import RendererBase
from matplotlib.text import Annotation, Text

from precision.plots._style import SMALL, move_apart, root_of

_FAR = 1e300


class End(NamedTuple):
    """A point, or the end of a line, with its name and its colour."""

    x: float
    y: float
    text: str
    colour: str


class _Name(Annotation):
    """A name that is placed anew, by its group, each time it is drawn, as axes may have moved or grown."""

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
    """Names of lines, right of the axes near the heights of the lines' ends, each with a thin leader line."""

    def __init__(self, axes: Axes, ends: Sequence[End]) -> None:
        self.axes = axes
        self.ends = sorted((end for end in ends if end.text), key=lambda end: end.y)
        self.names = [
            _added(axes, end, self, xy=(1.0, 0.5), xycoords="axes fraction", arrowprops=_leader(end.colour))
            for end in self.ends
        ]

    def place(self, renderer: RendererBase) -> None:
        """Move every name to its place for the present size of the axes."""
        box = self.axes.get_window_extent()
        if not self.names or box.height <= 0 or box.width <= 0:
            return
        # Infinities, and zeros on a logarithmic axis, are placed at its edges.
        ends = [[min(max(z, -_FAR), _FAR) for z in (end.x, end.y)] for end in self.ends]
        pixels = self.axes.transData.transform(ends)
        at: Any = np.clip(self.axes.transAxes.inverted().transform(pixels), 0.0, 1.0)
        pixel = root_of(self.axes).dpi / 72  # pixels of one point
        line = 1.22 * SMALL * pixel / box.height
        lines = [end.text.count("\n") + 1 for end in self.ends]
        # If the axes are too low for all names, the names lie closer together: names outside of the axes
        # would make the layout engine shrink the axes more.
        line = min(line, 1.0 / sum(lines))
        gaps = [line * (a + b) / 2 for a, b in itertools.pairwise(lines)]
        placed = move_apart(
            [float(y) for _, y in at], gaps, line * lines[0] / 2, 1.0 - line * (lines[-1] - 1) / 2
        )
        beside = 1.0 + 14 * pixel / box.width
        for name, (x, y), height in zip(self.names, at, placed, strict=True):
            name.xy = (float(x), float(y))
            name.set_position((beside, height))


def _leader(colour: str) -> dict[str, Any]:
    return {
        "arrowstyle": "-", "lw": 0.6, "color": colour, "relpos": (0, 0.5), "shrinkA": 1, "shrinkB": 3,
    }  # fmt: skip


# Directions from a point to the middle of its name: right, left, above, below, and between these.
_DIRECTIONS = ((1, 0), (1, 1), (1, -1), (-1, 0), (-1, 1), (-1, -1), (0, 1), (0, -1))
_DISTANCES = (5, 12, 20, 30, 42, 56, 72, 90, 110)  # in points (1/72 inch)
_Box: TypeAlias = tuple[float, float, float, float]


class PointNames:
    """Names of points, each at the nearest place within the axes where it covers no name and no point.

    A thin line leads to each name that is not right beside its point, across no other name if possible.
    """

    def __init__(self, axes: Axes, points: Sequence[End]) -> None:
        self.axes = axes
        # Short names are placed first: they find room near their points, and long ones must go far anyway.
        self.points = sorted(
            (point for point in points if point.text),
            key=lambda point: (point.text.count("\n"), point.x, -point.y),
        )
        self.names = [
            _added(
                axes, point, self, xy=(point.x, point.y), xycoords="data", ha="center",
                arrowprops=_leader(point.colour) | {"relpos": (0.5, 0.5), "shrinkA": 0},
            )
            for point in self.points
        ]  # fmt: skip
        for name in self.names:
            name.set_in_layout(False)  # names within the axes need no room beside them
        self.placed_for: tuple[Any, bytes] | None = None

    def place(self, renderer: RendererBase) -> None:
        """Move every name to its place for the present size of the axes."""
        box = self.axes.get_window_extent()
        if not self.points or box.height <= 0 or box.width <= 0:
            return
        pixels = np.asarray(self.axes.transData.transform([(p.x, p.y) for p in self.points]), np.float64)
        seen = (box.bounds, pixels.tobytes())
        if seen == self.placed_for:
            return
        self.placed_for = seen
        pixel = root_of(self.axes).dpi / 72
        dots = [_around(x, y, 9 * pixel, 9 * pixel) for x, y in pixels]
        search = _Search((box.x0, box.y0, box.x1, box.y1), dots, pixel)
        extents = [Text.get_window_extent(name, renderer) for name in self.names]
        places = search.places([(extent.width + 2 * pixel, 1.15 * extent.height) for extent in extents])
        for name, (x, y, leads) in zip(self.names, places, strict=True):
            name.set_position(((x - box.x0) / box.width, (y - box.y0) / box.height))
            if name.arrow_patch is not None:
                name.arrow_patch.set_visible(leads)


class _Search:
    """A search for the places of names among dots, in pixels."""

    def __init__(self, inside: _Box, dots: list[_Box], pixel: float) -> None:
        self.inside, self.dots, self.pixel = inside, dots, pixel
        self.names: dict[int, _Box] = {}
        self.leaders: dict[int, list[tuple[float, float]]] = {}

    def places(self, sizes: list[tuple[float, float]]) -> list[tuple[float, float, bool]]:
        """Return the middle of each dot's name, and whether a line must lead there."""
        found = [self._place(i, size) for i, size in enumerate(sizes)]
        for _ in range(2):  # in the first round, names were placed without knowledge of later ones
            found = [self._place(i, size) for i, size in enumerate(sizes)]
        return found

    def _place(self, i: int, size: tuple[float, float]) -> tuple[float, float, bool]:
        left, bottom, right, top = self.dots[i]
        x, y = (left + right) / 2, (bottom + top) / 2
        best = (math.inf, x, y, False)
        for distance in _DISTANCES:
            if best[0] <= self._far(distance):
                break
            for across, up in _DIRECTIONS:
                away = distance * self.pixel * (0.7 if across and up else 1.0)
                mx, my = x + across * (size[0] / 2 + away), y + up * (size[1] / 2 + away)
                leads = bool(up) or distance > _DISTANCES[0]
                leader = _points_along((x, y), (mx, my)) if leads else []
                bad = self._far(distance) + self._badness(i, _around(mx, my, *size), leader)
                if bad < best[0] - 1e-6:
                    best = (bad, mx, my, leads)
        _, mx, my, leads = best
        self.names[i] = _around(mx, my, *size)
        self.leaders[i] = _points_along((x, y), (mx, my)) if leads else []
        return mx, my, leads

    def _far(self, distance: float) -> float:
        return 4 * distance * self.pixel**2

    def _badness(self, i: int, name: _Box, leader: list[tuple[float, float]]) -> float:
        """Return the area in square pixels that a name would cover, weighted by what it would cover."""
        names = [other for j, other in self.names.items() if j != i]
        bad = 8 * sum(_shared(name, dot) for j, dot in enumerate(self.dots) if j != i)
        bad += 3 * sum(_shared(name, other) for other in names)
        bad += 8 * ((name[2] - name[0]) * (name[3] - name[1]) - _shared(name, self.inside))
        crossings = sum(_holds(other, point) for other in names for point in leader)
        leaders = (points for j, points in self.leaders.items() if j != i)
        crossings += sum(_holds(name, point) for points in leaders for point in points)
        return bad + 25 * self.pixel**2 * crossings


def _around(x: float, y: float, width: float, height: float) -> _Box:
    return (x - width / 2, y - height / 2, x + width / 2, y + height / 2)


def _shared(a: _Box, b: _Box) -> float:
    """Return the area that two boxes share."""
    return max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))


def _holds(box: _Box, point: tuple[float, float]) -> bool:
    return box[0] < point[0] < box[2] and box[1] < point[1] < box[3]


def _points_along(start: tuple[float, float], end: tuple[float, float]) -> list[tuple[float, float]]:
    """Return sixteen points spread evenly along a line."""
    parts = [(j + 0.5) / 16 for j in range(16)]
    return [(start[0] + t * (end[0] - start[0]), start[1] + t * (end[1] - start[1])) for t in parts]
