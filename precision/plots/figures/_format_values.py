"""The figure of the values of formats on a number line."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from precision._support.machine._float_environment import in_default_environment
from precision.formats._float_format import FloatFormat
from precision.formats._int_format import IntFormat
from precision.formats._named import Format, parse_format
from precision.plots._axes import choose_axes
from precision.plots._style import BLUE, GREY, SMALL, VERMILION, label_axes, root_of, style_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MOST_BITS = 8


def _formats(formats: Iterable[Format | str] | Format | str) -> list[Format]:
    given = [formats] if isinstance(formats, str | FloatFormat | IntFormat) else list(formats)
    found = [parse_format(fmt) if isinstance(fmt, str) else fmt for fmt in given]
    if not found:
        raise ValueError("formats is empty: there is nothing to draw")
    for fmt in found:
        if not isinstance(fmt, FloatFormat | IntFormat):
            raise TypeError(f"formats must be formats or their names, got {fmt!r}")
        if fmt.bits > _MOST_BITS:
            raise ValueError(f"formats must have at most {_MOST_BITS} bits, got {fmt} of {fmt.bits}")
    return found


def _values(fmt: Format) -> list[float]:
    """Return every finite value of a format in rising order, those left out that encoding never writes."""
    values = {fmt.value(code) for code in range(1 << fmt.bits)}
    least = fmt.min if isinstance(fmt, IntFormat) else -math.inf
    return sorted(value for value in values if math.isfinite(value) and value >= least)


def _is_subnormal(fmt: Format, value: float) -> bool:
    return isinstance(fmt, FloatFormat) and fmt.subnormals and 0 < abs(value) < fmt.min_normal


def _written(value: float) -> str:
    """Return the text of a value; a power of two below 1/4 or above 1024 is written as a power."""
    mantissa, exponent = math.frexp(abs(value))
    if mantissa == 0.5 and not -2 <= exponent - 1 <= 10:
        return f"{'−' if value < 0 else ''}$2^{{{exponent - 1}}}$"
    return f"{value:.6g}".replace("-", "−")


def _thin(axes: Axes, values: list[float]) -> float:
    """Choose the width of strokes in points, thin enough to leave the median gap between values open."""
    if len(values) < 2:
        return 1.2
    places = axes.transData.transform([(value, 0.0) for value in values])[:, 0] * 72 / root_of(axes).dpi
    return float(np.clip(0.45 * np.median(np.diff(places)), 0.5, 1.2))


def _symmetric_ticks(least: float, reach: float) -> list[float]:
    """Return about nine ticks: zero, and powers of two of both signs."""
    low, high = math.frexp(least)[1] - 1, math.frexp(reach)[1] - 1
    step = max(1, -(-(high - low) // 4))
    powers = [math.ldexp(1.0, e) for e in range(high, low - 1, -step)]
    return [*(-p for p in powers), 0.0, *reversed(powers)]


@in_default_environment
def number_line(
    formats: Iterable[Format | str] | Format | str,
    *,
    log: bool = True,
    negative: bool = False,
    ax: Axes | None = None,
) -> Axes:
    """Draw the values of formats as strokes, in a row for each format; subnormals are shorter, and red.

    Parameters
    ----------
    formats : iterable of FloatFormat, IntFormat or str
        Formats of up to 8 bits, or their names.
    log : bool
        True for a logarithmic axis (base 2), on which zero is left out. With ``negative`` the axis is
        linear between the least positive value and its negative.
    negative : bool
        True to draw negative values, too.
    ax : matplotlib.axes.Axes, optional
        The Axes to draw on, as in `error_over_k`.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ImportError
        Without matplotlib; names the extra.
    TypeError, ValueError
        If ``formats`` is empty, or one of them is not a format, is unknown or has more than 8 bits.

    Examples
    --------
    >>> from precision import plots
    >>> axes = plots.number_line(["e2m1", "int4"], log=False)
    >>> normal = axes.collections[0]
    >>> [float(segment[0][0]) for segment in normal.get_segments()]
    [0.0, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0]
    """
    chosen = _formats(formats)
    axes = choose_axes(ax, 8.0, 1.0 + 0.55 * len(chosen))
    style_axes(axes, grid="x")
    axes.spines["left"].set_visible(False)
    least = min(fmt.smallest for fmt in chosen)
    reach = max(max(map(abs, _values(fmt))) if negative else fmt.max for fmt in chosen)
    scale = ""
    if log and negative:
        axes.set_xscale("symlog", base=2, linthresh=least)
        axes.set_xlim(-1.5 * reach, 1.5 * reach)
        axes.set_xticks(_symmetric_ticks(least, reach))
        axes.minorticks_off()
        scale = f", linear within ±{_written(least)}"
    elif log:
        axes.set_xscale("log", base=2)
        axes.set_xlim(least / 1.5, 1.5 * reach)
        scale = ", logarithmic: zero left out"
    else:
        axes.set_xlim(-1.03 * reach if negative else -0.03 * reach, 1.03 * reach)
    for row, fmt in enumerate(chosen):
        values = [v for v in _values(fmt) if (negative or v >= 0) and (v != 0 or negative or not log)]
        normal = [v for v in values if not _is_subnormal(fmt, v)]
        subnormal = [v for v in values if _is_subnormal(fmt, v)]
        axes.axhline(row, color=GREY, linewidth=0.6, zorder=1)
        axes.vlines(normal, row - 0.3, row + 0.3, color=BLUE, linewidth=_thin(axes, normal))
        axes.vlines(subnormal, row - 0.16, row + 0.16, color=VERMILION, linewidth=_thin(axes, subnormal))
        axes.annotate(
            f"max {_written(fmt.max)}\nleast {_written(fmt.smallest)}",
            xy=(1.0, row), xytext=(6, 0), xycoords=axes.get_yaxis_transform(), textcoords="offset points",
            fontsize=SMALL, va="center", annotation_clip=False, linespacing=1.1,
        )  # fmt: skip
    axes.set_ylim(len(chosen) - 0.45, -0.55)
    axes.set_yticks(range(len(chosen)), [str(fmt) for fmt in chosen], fontsize=10)
    axes.tick_params(axis="y", length=0)
    reds = any(_is_subnormal(fmt, v) for fmt in chosen for v in _values(fmt))
    label_axes(axes, x=f"value{scale}" + ("; short strokes (red): subnormals" if reds else ""))
    return axes
