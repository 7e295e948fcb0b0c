"""The panels of a study's figure: one for each distribution, with a line for each other combination.

A user may vary other parameters than the study's own grid does. Whatever they are, the distribution of the
random numbers chooses the panel, and all other parameters that vary tell lines apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from precision.metrics._distributions import DISTRIBUTIONS
from precision.plots._columns import find_varying

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


def panels(table: pd.DataFrame, titles: Sequence[str], draw: Any, **options: Any) -> Figure:
    """Draw a figure with a panel for each title; ``titles`` has the title of each row's panel."""
    from precision import plots

    return plots.panels(table.assign(panel=list(titles)), "panel", draw, **options)


def drawn(table: pd.DataFrame) -> list[str]:
    """Return for each row the description of the distribution that its numbers were drawn from."""
    names = [DISTRIBUTIONS[name].description for name in table["distribution"]]
    if "offset" not in table.columns:
        return names
    return [
        f"{name} + {offset:g}" if offset else name
        for name, offset in zip(names, table["offset"], strict=True)
    ]


def by(table: pd.DataFrame, *besides: str) -> tuple[str, ...]:
    """Return the names of the columns that tell lines apart within a panel."""
    return find_varying(table, ("distribution", "offset", *besides))
