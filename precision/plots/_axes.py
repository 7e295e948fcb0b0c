"""New figures, and the axes that a drawing function uses: its caller's or its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from precision._support._optional_packages import require
from precision.plots._style import root_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def new_figure(width: float, height: float) -> Figure:
    """Make a figure of a size in inches, without a window and unknown to pyplot; Jupyter shows it."""
    require("matplotlib", "plots")
    from precision.plots._notebook_figures import ShownFigure

    return ShownFigure(figsize=(width, height), layout="constrained")


def choose_axes(ax: Axes | None, width: float = 6.4, height: float = 4.2) -> Axes:
    """Return ``ax`` to draw on, or the Axes of a new figure if it is None.

    A figure without a layout engine gets matplotlib's constrained one, which makes room for names beside
    the axes.
    """
    require("matplotlib", "plots")
    from matplotlib.axes import Axes as AnyAxes

    from precision.plots._notebook_figures import ShownAxes

    if ax is None:
        return new_figure(width, height).add_subplot(axes_class=ShownAxes)
    if not isinstance(ax, AnyAxes):
        raise TypeError(f"ax must be one matplotlib Axes or None, got {type(ax).__name__}")
    figure = root_of(ax)
    if figure.get_layout_engine() is None:
        figure.set_layout_engine("constrained")
    return ax
