"""Figures in files: whether one can be written, and writing it.

A figure of its own belongs to no window, and pyplot knows nothing of it: Jupyter shows it as the value of a
cell, `save` writes it. With ``ax`` a figure is drawn on the caller's Axes.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from precision._support._optional_packages import require
from precision._support.files._whole_files import check_output, draft
from precision._support.machine._float_environment import in_default_environment
from precision.plots._style import root_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def check(path: str | Path) -> None:
    """Say at once, before any work, if `save` could not write a file of that name.

    Raises
    ------
    ImportError
        Without matplotlib; names the extra.
    ValueError
        If matplotlib writes no such kind of file, or the folder is none.
    OSError
        If the folder takes no files, or what has that name is a folder or may not be written.
    """
    require("matplotlib", "plots")
    from matplotlib.backend_bases import FigureCanvasBase

    path = Path(path)
    kinds = FigureCanvasBase.get_supported_filetypes()
    if path.suffix[1:].lower() not in kinds:
        raise ValueError(f"{path}: a figure's name must end in one of {', '.join(f'.{k}' for k in kinds)}")
    if not path.parent.is_dir():
        raise ValueError(f"{path}: {path.parent} is not a folder")
    check_output(path)


@in_default_environment
def save(drawn: Figure | Axes, path: str | Path) -> None:
    """Write a figure to a file of the kind that its suffix names (.png, .svg, .pdf); whole or not at all.

    The same figure is the same file, whenever it is written.

    Parameters
    ----------
    drawn : matplotlib.figure.Figure or matplotlib.axes.Axes
        The figure, or one of its Axes.
    path : path
        The file.

    Raises
    ------
    ValueError
        If matplotlib writes no such kind, or the folder is none.
    OSError
        If the file cannot be written.
    """
    check(path)
    import matplotlib

    kind = Path(path).suffix[1:].lower()
    # Without dates and with a fixed salt, the same figure is the same file.
    dates = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(kind)
    with draft(path) as beside, matplotlib.rc_context({"svg.hashsalt": "precision"}):
        root_of(drawn).savefig(beside, dpi=160, metadata=dates, format=kind)
