"""Sweeps of any function over a grid of parameters, as a table (extra ``sweep``)."""

from precision.sweep._datasets import to_xarray
from precision.sweep._grid_runs import MAX_CELLS, read_store, sweep

__all__ = ["MAX_CELLS", "read_store", "sweep", "to_xarray"]
