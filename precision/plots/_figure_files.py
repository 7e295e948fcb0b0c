"""Writing of figures to files, and the check, before any work, that a figure can be written.

A figure that a function of `precision.plots` makes belongs to no window and is unknown to pyplot: Jupyter
shows it as the value of a cell, and `save` writes it. With ``ax`` functions draw on the caller's Axes.
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
    """Raise at once, before any work, if `save` could not write a figure to a path.

    Parameters
    ----------
    path : str or pathlib.Path
        The file that is to be written; its suffix (.png, .svg, .pdf) says of which kind.

    Raises
    ------
    ImportError
        Without matplotlib; names the extra.
    ValueError
        If matplotlib writes no such kind of file, or the folder does not exist.
    OSError
        If no file can be made in the folder, or the path is that of a folder or of a file that may not be
        written.
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
    """Write a figure to a file, whole or not at all, of the kind that the suffix names (.png, .svg, .pdf).

    The same figure gives the same bytes whenever it is written.

    Parameters
    ----------
    drawn : matplotlib.figure.Figure or matplotlib.axes.Axes
        The figure, or one of its Axes, which stands for the whole figure.
    path : str or pathlib.Path
        The file to write.

    Raises
    ------
    ValueError
        If matplotlib writes no such kind of file, or the folder does not exist.
    OSError
        If the file cannot be written.
    """
    check(path)
    import matplotlib

    kind = Path(path).suffix[1:].lower()
    # Without dates, and with a fixed salt for SVG's names, the same figure gives the same bytes.
    dates = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(kind)
    with draft(path) as beside, matplotlib.rc_context({"svg.hashsalt": "precision"}):
        root_of(drawn).savefig(beside, dpi=160, metadata=dates, format=kind)
