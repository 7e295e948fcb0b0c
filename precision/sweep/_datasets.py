"""Conversion of a sweep's table to a dataset of xarray."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from precision._support._optional_packages import require
from precision._support.machine._float_environment import in_default_environment

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr


@in_default_environment
def to_xarray(table: pd.DataFrame) -> xr.Dataset:
    """Convert a sweep's table to an xarray Dataset, with a dimension for every parameter that varies.

    Parameters
    ----------
    table : DataFrame
        A table that `sweep` or `read_store` returned, whole or with rows left out.

    Returns
    -------
    xarray.Dataset
        The dataset. Its coordinates are the parameters (those of one value without a dimension), its
        variables the metrics, NaN where the table has no row; ``error`` is a variable if any cell raised.
        ``attrs`` holds the provenance as JSON.

    Raises
    ------
    ImportError
        If xarray is not installed; the message names the extra.
    ValueError
        If the table is not a sweep's, has no rows, or has several rows with the same parameters.

    Examples
    --------
    >>> from precision.sweep import sweep, to_xarray
    >>> table = sweep(lambda x, y, z=0: {"sum": x + y + z}, {"x": [1, 2], "y": [10, 20, 30]})
    >>> found = to_xarray(table)
    >>> dict(found.sizes), found["sum"].sel(x=2, y=30).item(), found["z"].item()
    ({'x': 2, 'y': 3}, 32, 0)
    """
    require("xarray", "sweep")
    provenance = table.attrs.get("provenance", {})
    parameters = [name for name in provenance.get("parameters", []) if name in table]
    if not parameters:
        raise ValueError("table must come from sweep: its attrs['provenance'] names no parameters")
    if table.empty:
        raise ValueError(
            "table must have at least one row, got none: a dataset needs values of its parameters"
        )
    twice = table[table.duplicated(parameters)]
    if len(twice):
        raise ValueError(f"table has several rows with {twice[parameters].iloc[0].to_dict()}")
    varying = [name for name in parameters if table[name].nunique(dropna=False) > 1] or parameters[:1]
    fixed = [name for name in parameters if name not in varying]
    drop = fixed + ([] if table["error"].notna().any() else ["error"])
    dataset: xr.Dataset = table.drop(columns=drop).set_index(varying).to_xarray()
    # pandas sorts the values of an axis; the order of the grid is restored.
    dataset = dataset.reindex({name: list(dict.fromkeys(table[name])) for name in varying})
    dataset = dataset.assign_coords({name: table[name].iloc[0] for name in fixed})
    return dataset.assign_attrs({"provenance": json.dumps(provenance)})
