"""Panels of a study's figure: what is drawn makes panels, and what varies besides makes lines.

A table may vary other parameters than the study's own grid does: what is drawn makes panels, and what varies
besides makes lines.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from precision.metrics._distributions import DISTRIBUTIONS
from precision.plots._columns import varying

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


def panels(table: pd.DataFrame, titles: Sequence[str], draw: Any, **options: Any) -> Figure:
    """A panel for each title, which each row has one of."""
    from precision import plots

    return plots.panels(table.assign(panel=list(titles)), "panel", draw, **options)


def drawn(table: pd.DataFrame) -> list[str]:
    """What each row's numbers are draws of."""
    names = [DISTRIBUTIONS[name].description for name in table["distribution"]]
    if "offset" not in table.columns:
        return names
    return [
        f"{name} + {offset:g}" if offset else name
        for name, offset in zip(names, table["offset"], strict=True)
    ]


def by(table: pd.DataFrame, *besides: str) -> tuple[str, ...]:
    """What tells lines apart within a panel."""
    return varying(table, ("distribution", "offset", *besides))
