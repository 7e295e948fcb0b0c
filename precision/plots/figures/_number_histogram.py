"""The figure of the distribution of numbers before and after quantizing."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from precision import specs
from precision._support._argument_checks import check_int
from precision._support._types import Array
from precision._support.machine._float_environment import in_default_environment
from precision.formats._float_format import FloatFormat
from precision.logfmt._logfmt_spec import LogFMT
from precision.metrics import _fidelity
from precision.plots._axes import choose_axes
from precision.plots._columns import wrapped
from precision.plots._style import BLUE, label_axes, style_axes
from precision.quantization._quant_spec import QuantSpec
from precision.specs._spec_text import AnySpec

if TYPE_CHECKING:
    from matplotlib.axes import Axes


_TAIL = 0.002


def _percent(count: int, of: int) -> str:
    if count in (0, of):
        return "100 %" if count else "none"
    share = 100 * count / of
    return f"{share:.2g} %" if share < 10 else f"{share:.1f} %" if share < 99.95 else "over 99.9 %"


def _bins(values: Array, log: bool, bins: int) -> Array:
    low, high = float(values.min()), float(values.max())
    if log:
        # Bins are whole fractions of a binade, so that powers of two lie at their edges.
        # The axis leaves out the long tail of the smallest numbers, which would make the rest narrow.
        low = max(low, float(np.quantile(values, _TAIL)))
        low, high = math.floor(math.log2(low)), math.floor(math.log2(high)) + 1
        parts = max(1, round(bins / (high - low)))
        edges: Array = np.exp2(low + np.arange(parts * (high - low) + 1) / parts)
        return edges
    pad = (high - low) / (2 * bins) or abs(high) or 1.0
    return np.linspace(low - pad, high + pad, bins + 1)


@in_default_environment
def histogram(
    x: npt.ArrayLike,
    after: AnySpec | str | npt.ArrayLike,
    *,
    axis: int = -1,
    log: bool = True,
    bins: int = 96,
    ax: Axes | None = None,
) -> Axes:
    """Draw the distribution of numbers before quantizing (grey, filled) and after it (blue line).

    Parameters
    ----------
    x : array_like
        Numbers of a floating-point type. NaN and Inf are left out, and the title counts them.
    after : QuantSpec, LogFMT, FloatFormat, str or array_like
        The spec or format to quantize by, or its text; or an array of the shape of ``x`` that holds the
        numbers after quantizing.
    axis : int
        The axis along which groups run.
    log : bool
        True for bins of magnitudes that are whole fractions of a binade; zeros, whose share the title
        says, and the smallest 0.2 %, as the label of the axis says, are left out. False for bins of equal
        width over the values.
    bins : int
        The number of bins, about.
    ax : matplotlib.axes.Axes, optional
        The Axes to draw on, as in `error_over_k`.

    Returns
    -------
    matplotlib.axes.Axes
        The Axes, whose title says which share of the elements was zero before and after, and which share
        a spec clipped.

    Raises
    ------
    ImportError
        Without matplotlib; names the extra.
    TypeError, ValueError
        As `specs.parse` and `quantize` raise them; if the shapes differ, ``bins`` is below 1, or no finite
        number is left.

    Examples
    --------
    >>> import numpy as np, precision as pr
    >>> from precision import plots
    >>> axes = plots.histogram(np.float32([7, -3, 0.2, 0]), pr.MXFP4)  # 6, -3, 0, 0
    >>> print(axes.get_title())
    grey: before; zeros: 25.0 %
    line: MXFP4; zeros: 50.0 %, clipped: 25.0 %
    """
    bins = check_int("bins", bins, 1)
    before = np.asarray(x)
    spec = specs.parse(after) if isinstance(after, str) else after
    name, clipped = "after", ""
    if isinstance(spec, QuantSpec | LogFMT | FloatFormat):
        counted = _fidelity.tally(before, spec, axis=axis)
        became = specs.quantize(before, spec, axis, nan=0.0).dequantize(np.float64)
        name, clipped = str(spec), f", clipped: {_percent(counted.clipped, max(1, counted.measured))}"
    else:
        became = np.asarray(after, np.float64)
    before = before.astype(np.float64)
    if before.shape != became.shape:
        raise ValueError(f"after must have x's shape {before.shape}, got {became.shape}")
    usable = np.isfinite(before) & np.isfinite(became)
    if not usable.any():
        raise ValueError("x has no element that is finite before and after: there is nothing to draw")
    lost = int(usable.size - np.count_nonzero(usable))
    parts = [np.abs(part[usable]) if log else part[usable] for part in (before, became)]
    zeros = [_percent(int(np.count_nonzero(part == 0)), part.size) for part in parts]
    shown = [part[part != 0] if log else part for part in parts]
    together = np.concatenate(shown)
    edges = _bins(together if together.size else np.ones(1), log, bins)

    axes = choose_axes(ax, 7.0, 4.2)
    style_axes(axes)
    counts = [100 * np.histogram(some, edges)[0] / part.size for some, part in zip(shown, parts, strict=True)]
    axes.stairs(counts[0], edges, fill=True, color="#C8C8C8")
    axes.stairs(counts[1], edges, color=BLUE, linewidth=1.2)
    if log:
        axes.set_xscale("log", base=2)
    axes.set_ylim(bottom=0)
    if log:
        wide = f"1/{round(1 / math.log2(edges[1] / edges[0]))} binade"
        cut = [int(np.count_nonzero(part < edges[0])) for part in shown]
        left = [_percent(count, part.size) for count, part in zip(cut, parts, strict=True)]
        label = "magnitude" + (f" (smaller: {left[0]} before, {left[1]} after)" if any(cut) else "")
    else:
        wide, label = f"{edges[1] - edges[0]:.2g}", "value"
    label_axes(axes, x=label, y=f"% of the elements, bins of {wide}")
    title = f"grey: before; zeros: {zeros[0]}\nline: {wrapped(name, 60)}; zeros: {zeros[1]}{clipped}"
    axes.set_title(title + (f"\nleft out: {lost:,} not finite" if lost else ""), fontsize=9)
    return axes
