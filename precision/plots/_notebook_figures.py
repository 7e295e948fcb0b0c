"""Figures and axes that a notebook shows as images."""

from __future__ import annotations

import io

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from precision.plots._style import root_of


def _png(figure: Figure) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=100)
    return file.getvalue()


class ShownFigure(Figure):
    """A figure that Jupyter shows as the value of a cell, although pyplot does not know it."""

    def _repr_png_(self) -> bytes:
        return _png(self)


class ShownAxes(Axes):
    """Axes that Jupyter shows, with their figure, as the value of a cell."""

    def _repr_png_(self) -> bytes:
        return _png(root_of(self))
