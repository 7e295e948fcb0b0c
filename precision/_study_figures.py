"""Figures of the built-in studies' tables, each through `precision.plots`."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd  # type: ignore[import-untyped, unused-ignore]
    from matplotlib.figure import Figure

__all__ = ["accumulation", "promotion", "unit_scaling"]


def accumulation(table: pd.DataFrame) -> Figure:
    """Error over K for each width, a panel an offset."""
    raise NotImplementedError


def promotion(table: pd.DataFrame) -> Figure:
    """Error over the interval of promotion for each K, a panel an offset."""
    raise NotImplementedError


def unit_scaling(table: pd.DataFrame) -> Figure:
    """Error over the width for each design, a panel a distribution."""
    raise NotImplementedError


def group_size(table: pd.DataFrame) -> Figure:
    """."""
    raise NotImplementedError


def formats(table: pd.DataFrame) -> Figure:
    """."""
    raise NotImplementedError


def logfmt(table: pd.DataFrame) -> Figure:
    """."""
    raise NotImplementedError


def scale_rules(table: pd.DataFrame) -> Figure:
    """."""
    raise NotImplementedError


def stochastic_bits(table: pd.DataFrame) -> Figure:
    """."""
    raise NotImplementedError
