"""Classes made of matplotlib's. It is imported at the top here: import this module inside functions alone."""

from __future__ import annotations

import io
import itertools
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
_DISTANCES = (5, 12, 20, 30, 42, 56, 72)  # points from it


class PointNames:
    """Names of points, each in the nearest place within the axes where it lies on no name and no point."""

    def __init__(self, axes: Axes, points: Sequence[End]) -> None:
        self.axes = axes
        self.points = sorted(points, key=lambda point: (point.x, -point.y))
        self.names = [
            _added(
                axes, point, self, xy=(point.x, point.y), xycoords="data", ha="center",
                arrowprops=_leader(point.colour) | {"relpos": (0.5, 0.5), "shrinkA": 0},
            )
            for point in self.points
        ]  # fmt: skip
        self.placed_for: Any = None

    def place(self, renderer: RendererBase) -> None:
        """Move every name to where it belongs now."""
        box = self.axes.get_window_extent()
        pixels = np.asarray(self.axes.transData.transform([(p.x, p.y) for p in self.points]), np.float64)
        seen = (box.bounds, pixels.tobytes())
        if not self.points or box.height <= 0 or box.width <= 0 or seen == self.placed_for:
            return
        self.placed_for = seen
        pixel = root_of(self.axes).dpi / 72
        taken = [_around(x, y, 9 * pixel, 9 * pixel) for x, y in pixels]
        inside = (box.x0, box.y0, box.x1, box.y1)
        for i, (name, (x, y)) in enumerate(zip(self.names, pixels, strict=True)):
            own = taken[i]
            extent = Text.get_window_extent(name, renderer)
            width, height = extent.width + 2 * pixel, 1.15 * extent.height
            best: tuple[float, float, float, float] | None = None
            for distance in _DISTANCES:
                for across, up in _DIRECTIONS:
                    mx = x + across * (width / 2 + distance * pixel * (1 if not up else 0.7))
                    my = y + up * (height / 2 + distance * pixel * (1 if not across else 0.7))
                    rectangle = _around(mx, my, width, height)
                    bad = sum(_shared(rectangle, other) for other in taken if other is not own)
                    bad += 4 * (width * height - _shared(rectangle, inside))
                    if best is None or bad < best[0] - 1e-6:
                        best = (bad, mx, my, distance)
                if best is not None and best[0] < 1e-6:
                    break
            assert best is not None
            taken.append(_around(best[1], best[2], width, height))
            name.set_position(((best[1] - box.x0) / box.width, (best[2] - box.y0) / box.height))
            if name.arrow_patch is not None:
                name.arrow_patch.set_visible(best[3] > _DISTANCES[0])


_Rectangle: TypeAlias = tuple[float, float, float, float]


def _around(x: float, y: float, width: float, height: float) -> _Rectangle:
    return (x - width / 2, y - height / 2, x + width / 2, y + height / 2)


def _shared(a: _Rectangle, b: _Rectangle) -> float:
    """The area that two rectangles share."""
    return max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
