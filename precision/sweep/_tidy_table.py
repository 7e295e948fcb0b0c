"""The table of a sweep, made of its cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from precision._support._types import Plain
from precision.sweep._cell_runs import CellOutcome

if TYPE_CHECKING:
    import pandas as pd


def build_table(
    done: Sequence[tuple[Mapping[str, Plain], CellOutcome]], provenance: Mapping[str, Any], *, cells: int
) -> pd.DataFrame:
    """Build a table with one row a cell: parameters, metrics, error.

    The provenance and the count of cells are in ``attrs``.
    """
    import pandas as pd

    parameters = dict.fromkeys(provenance["parameters"])
    metrics = dict.fromkeys(name for _, outcome in done for name in outcome.metrics)
    columns: dict[str, Any] = {}
    for name in parameters:
        columns[name] = _build_column([shown.get(name) for shown, _ in done])
    for name in metrics:
        columns[name] = _build_column([outcome.metrics.get(name) for _, outcome in done])
    columns["error"] = pd.Series([outcome.error for _, outcome in done], dtype=object)
    table = pd.DataFrame(columns, index=pd.RangeIndex(len(done)))
    failed = sum(outcome.error is not None for _, outcome in done)
    table.attrs["provenance"] = {
        **provenance,
        "cells": cells,
        "done": len(done),
        "failed": failed,
        "complete": 0 < cells == len(done),
        "cell_seconds": sum(outcome.seconds for _, outcome in done),
    }
    return table


def _build_column(values: Sequence[Plain]) -> pd.Series:
    """Build a column; whole numbers and truth values keep their type where some are missing."""
    import pandas as pd

    kinds = {type(value) for value in values}
    missing = type(None) in kinds
    kinds.discard(type(None))
    limit = 2**53 if float in kinds else 2**63
    if int in kinds and any(type(v) is int and not -limit <= v < limit for v in values):
        return pd.Series(values, dtype=object)  # no other type keeps every digit
    if kinds == {int} and missing:
        return pd.Series(values, dtype="Int64")
    if kinds == {bool} and missing:
        return pd.Series(values, dtype="boolean")
    if kinds <= {int, float} and float in kinds:
        return pd.Series([float("nan") if v is None else v for v in values], dtype="float64")
    if len(kinds) != 1:
        return pd.Series(values, dtype=object)
    return pd.Series(values)
