"""The figure of a matrix of errors as colours, which shows where the errors lie."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from precision._support._types import Array
from precision._support.machine._float_environment import in_default_environment
from precision.plots._axes import choose_axes
from precision.plots._style import BLACK, SMALL, root_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_CELLS = 256  # most cells drawn along an axis
_REDUCED = {"max": "largest error", "rms": "root mean square"}


def _matrix(x: npt.ArrayLike, name: str) -> Array:
    array = np.asarray(x)
    if array.ndim != 2 or array.size == 0:
        raise ValueError(f"{name} must be a matrix with elements, got shape {array.shape}")
    if array.dtype.kind == "c":
        raise ValueError(f"{name} must be real, got {array.dtype}")
    return array.astype(np.float64)


def _reduced(error: Array, step: tuple[int, int], reduce: str) -> Array:
    """Reduce each ``step`` (rows, columns) of the elements to one number, NaN or Inf if one of them is."""
    rows, columns = (-(-size // s) for size, s in zip(error.shape, step, strict=True))
    padded = np.zeros((rows * step[0], columns * step[1]))
    counts = np.zeros_like(padded)
    padded[: error.shape[0], : error.shape[1]] = error
    counts[: error.shape[0], : error.shape[1]] = 1
    split = (rows, step[0], columns, step[1])
    tiles = padded.reshape(split).transpose(0, 2, 1, 3).reshape(rows, columns, -1)
    if reduce == "rms":
        measured = counts.reshape(split).sum(axis=(1, 3))
        # If squares would leave float64's range, the elements are multiplied by a power of two first.
        peak = np.abs(tiles).max(axis=2)
        extreme = np.isfinite(peak) & (peak > 0) & ((peak < 2.0**-450) | (peak > 2.0**450))
        exponent = np.where(extreme, np.frexp(peak)[1], 0)
        with np.errstate(under="ignore"):
            squares = np.square(np.ldexp(tiles, -exponent[..., None]) if extreme.any() else tiles)
            found: Array = np.ldexp(np.sqrt(squares.sum(axis=2) / measured), exponent)
        return found
    largest = np.where(np.isnan(tiles), np.inf, np.abs(tiles)).argmax(axis=2)
    return np.take_along_axis(tiles, largest[..., None], axis=2)[..., 0]


@in_default_environment
def error_heatmap(
    result: npt.ArrayLike,
    reference: npt.ArrayLike | None = None,
    *,
    log: bool = False,
    block: tuple[int, int] | None = None,
    reduce: str = "max",
    limit: float | None = None,
    unit: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Draw a matrix of errors as colours: with signs on a linear scale, or magnitudes on a logarithmic one.

    Parameters
    ----------
    result : array_like
        A real matrix of results; without ``reference``, the matrix of the errors themselves.
    reference : array_like, optional
        The right results, of the same shape; the error is result - reference, in float64.
    log : bool
        True for magnitudes on a logarithmic scale, on which errors of zero are white. False for signed
        errors: red above zero, blue below it, white for zero.
    block : (int, int), optional
        Rows and columns of a block, for example of the elements under one scale; thin lines mark the
        blocks if they are at least four cells apart.
    reduce : {"max", "rms"}
        The number that a cell shows if it stands for several elements, as in a matrix of more than 256
        rows or columns: the error of largest magnitude, with its sign ("max"), or the root of the mean
        square ("rms"). The title says which.
    limit : float, optional
        The largest magnitude that has a colour of its own; errors beyond it have the last colour. By
        default it is the largest error.
    unit : str
        The unit of the errors, for the label of the colour bar.
    ax : matplotlib.axes.Axes, optional
        The Axes to draw on, as in `error_over_k`; the colour bar takes some of its room.

    Returns
    -------
    matplotlib.axes.Axes
        The Axes. Cells with an error that is NaN or Inf are black, and the title counts these errors.

    Raises
    ------
    ImportError
        Without matplotlib; names the extra.
    TypeError, ValueError
        If ``result`` or ``reference`` is not a real matrix, the shapes differ, or another argument is not
        as described above.

    Examples
    --------
    >>> import numpy as np
    >>> from precision import plots
    >>> axes = plots.error_heatmap(np.float32([[1, 2], [3, 4]]), [[1, 2.5], [3, 3]])
    >>> axes.images[0].get_array().tolist(), axes.images[0].get_clim()
    ([[0.0, -0.5], [0.0, 1.0]], (-1.0, 1.0))
    """
    error = _difference(result, reference)
    if reduce not in _REDUCED:
        raise ValueError(f"reduce must be 'max' or 'rms', got {reduce!r}")
    if block is not None and (len(block) != 2 or min(block) < 1):
        raise ValueError(f"block must be two sizes of at least 1, got {block!r}")
    if limit is not None and not 0 < limit < math.inf:
        raise ValueError(f"limit must be positive, got {limit}")
    step = (-(-error.shape[0] // _CELLS), -(-error.shape[1] // _CELLS))
    bad = int(np.count_nonzero(~np.isfinite(error)))
    cells = error if step == (1, 1) else _reduced(error, step, reduce)
    axes = choose_axes(ax, 6.0, 4.8)
    signed = not log and not (reduce == "rms" and step != (1, 1))
    largest = float(np.abs(cells[np.isfinite(cells)]).max(initial=0.0))
    most = limit or largest or 1.0
    colours = _log_colours(cells, most) if log else _linear_colours(cells, most, signed)
    rows, columns = error.shape
    image = axes.imshow(
        np.ma.masked_invalid(colours.cells), cmap=colours.map, norm=colours.norm, interpolation="nearest",
        aspect="auto", extent=(0.0, float(step[1] * cells.shape[1]), float(step[0] * cells.shape[0]), 0.0),
    )  # fmt: skip
    axes.set(xlim=(0, columns), ylim=(rows, 0), xlabel="column", ylabel="row")
    axes.tick_params(labelsize=9)
    if block is not None:
        _mark_blocks(axes, error.shape, block, step)
    said = []
    if step != (1, 1):
        said.append(f"each cell: {_REDUCED[reduce]} of {step[0]} × {step[1]} elements")
    if log and bool((colours.cells < colours.norm.vmin).any()):
        said.append("white: no error")
    if bad:
        said.append(f"black: {bad:,} not finite")
    axes.set_title("\n".join(said), fontsize=9)
    label = ("error" if signed else "magnitude of the error") + (f", {unit}" if unit else "")
    extend = "neither" if largest <= most else "both" if signed else "max"
    bar = root_of(axes).colorbar(image, ax=axes, label=label, extend=extend)
    bar.ax.tick_params(labelsize=SMALL)
    return axes


def _difference(result: npt.ArrayLike, reference: npt.ArrayLike | None) -> Array:
    """Return result - reference in float64, or the result itself if there is no reference."""
    error = _matrix(result, "result")
    if reference is None:
        return error
    right = _matrix(reference, "reference")
    if right.shape != error.shape:
        raise ValueError(f"reference must have result's shape {error.shape}, got {right.shape}")
    with np.errstate(invalid="ignore"):
        found: Array = error - right
    return found


class _Colours(NamedTuple):
    cells: Array
    norm: Any
    map: Any


def _linear_colours(cells: Array, most: float, signed: bool) -> _Colours:
    """Return linear colours of errors up to ``most``; with signs, white stands for zero in the middle."""
    from matplotlib import colormaps
    from matplotlib.colors import Normalize

    norm = Normalize(-most if signed else 0.0, most)
    return _Colours(cells, norm, colormaps["RdBu_r" if signed else "viridis_r"].with_extremes(bad=BLACK))


def _log_colours(cells: Array, most: float) -> _Colours:
    """Return logarithmic colours of magnitudes up to ``most``, with white for zeros."""
    from matplotlib import colormaps
    from matplotlib.colors import LogNorm

    sizes = np.abs(cells)
    least = float(sizes[np.isfinite(sizes) & (sizes > 0)].min(initial=most))
    norm = LogNorm(least if least < most else most / 10, most)
    shown = np.where(sizes == 0, float(norm.vmin or 0.0) / 2, sizes)
    return _Colours(shown, norm, colormaps["viridis_r"].with_extremes(bad=BLACK, under="white"))


def _mark_blocks(axes: Axes, shape: tuple[int, ...], block: tuple[int, int], step: tuple[int, int]) -> None:
    """Draw lines between blocks of at least four cells; lines between smaller blocks would hide the cells."""
    lines: dict[str, Any] = {"color": "#404040", "linewidth": 0.5}
    for draw, size, every, cell in zip((axes.axhline, axes.axvline), shape, block, step, strict=True):
        if every >= 4 * cell:
            for place in range(every, size, every):
                draw(place, **lines)
