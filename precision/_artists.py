"""Classes made of matplotlib's. It is imported at the top here: import this module inside functions alone."""

from __future__ import annotations

import io
import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backend_bases import RendererBase
from matplotlib.figure import Figure
from matplotlib.text import Annotation

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
    """Where a line ends, and what it is called."""

    x: float
    y: float
    text: str
    colour: str


class _EndName(Annotation):
    """A name beside the axes; where, its group says anew whenever it is drawn: axes move and are resized."""

    group: EndNames

    def update_positions(self, renderer: RendererBase) -> None:
        self.group.place()
        super().update_positions(renderer)


class EndNames:
    """Names of lines, right of the axes at their ends' heights, but apart; a thin line leads to each."""

    def __init__(self, axes: Axes, ends: Sequence[End]) -> None:
        self.axes = axes
        self.ends = sorted(ends, key=lambda end: end.y)
        self.names = [self._name(end) for end in self.ends]

    def _name(self, end: End) -> _EndName:
        name = _EndName(
            end.text,
            xy=(1.0, 0.5),
            xytext=(1.05, 0.5),
            xycoords="axes fraction",
            fontsize=SMALL,
            color=end.colour,
            va="center",
            linespacing=1.0,
            annotation_clip=False,
            arrowprops={
                "arrowstyle": "-", "lw": 0.6, "color": end.colour, "relpos": (0, 0.5),
                "shrinkA": 1, "shrinkB": 3,
            },
        )  # fmt: skip
        name.group = self
        self.axes.add_artist(name)
        name.set_clip_on(False)
        return name

    def place(self) -> None:
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
