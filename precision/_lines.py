"""Lines with their names at their ends: what every figure of lines is drawn with."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from precision._figure_style import Style

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class Line(NamedTuple):
    """What is drawn of one combination of parameters; a level has one value, whatever x is."""

    name: str
    style: Style
    xs: Sequence[float]
    ys: Sequence[float]
    band: tuple[Sequence[float], Sequence[float]] | None = None
    level: bool = False
    thick: float = 1.5


def draw_lines(axes: Axes, lines: Sequence[Line], log: bool) -> list[str]:
    """Draw lines with their names at their right ends, and say which values lie beyond the axis.

    Those, zeros on a logarithmic axis and infinities, are open triangles at its edge.
    """
    from precision._artists import End, EndNames

    axes.set_yscale("log" if log else "linear")
    axes.margins(y=0.08)
    ends, outside = [], set()
    for line in lines:
        colour, dash, marker = line.style
        xs, ys = np.asarray(line.xs, np.float64), np.asarray(line.ys, np.float64)
        look: dict[str, Any] = {"color": colour, "linestyle": dash, "linewidth": line.thick}
        shown = np.isfinite(ys) & ((ys > 0) | (not log))
        beyond = ~shown & ~np.isnan(ys)
        outside |= {"0" if y == 0 else "infinite" for y in ys[beyond]}
        where = axes.transAxes if line.level else axes.get_xaxis_transform()
        for x, y in zip([1.0] if line.level else xs[beyond], ys[beyond], strict=False):
            edge, shape = (1.0, "^") if y > 0 else (0.0, "v")
            hollow: dict[str, Any] = {"color": colour, "markerfacecolor": "white", "markersize": 7}
            axes.plot([x], [edge], shape, transform=where, clip_on=False, **hollow)
        if line.level:
            if shown.all():
                axes.axhline(float(ys[0]), **look)
            ends.append(End(math.inf, float(ys[0]), line.name, colour))
            continue
        if line.band:
            axes.fill_between(xs, *line.band, where=shown, color=colour, alpha=0.15, linewidth=0)
        axes.plot(xs, np.where(shown, ys, np.nan), marker=marker, markersize=4, **look)
        last = int(np.flatnonzero(~np.isnan(ys))[-1])
        ends.append(End(float(xs[last]), float(ys[last]), line.name, colour))
    EndNames(axes, ends)
    return sorted(outside)
