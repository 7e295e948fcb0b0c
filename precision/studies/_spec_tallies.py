"""Tallies of what specs did to arrays, as columns of a table, as totals, and as printed sections."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from precision import specs
from precision.metrics._columns import METRICS
from precision.metrics._distributions import DISTRIBUTIONS
from precision.metrics._fidelity import Tally, tally
from precision.quantization._quant_spec import alike_but_for_rule
from precision.specs._spec_text import AnySpec
from precision.studies import _array_sources
from precision.studies._array_sources import Arrays
from precision.studies._sections import Column, Section, column_of, values_of

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = (
    "data", "tensor", "shape", "spec", "elements", "measured", "non_finite", "bits_per_element", "sqnr_db",
    "clipped_share", "flushed_share", "max_relative_error", "signed_relative_error",
)  # fmt: skip
"""The columns that are written to files."""
_MANY = 8  # the most arrays that are printed one by one; of more, only the total is printed
_SHARES = ("bits_per_element", "sqnr_db", "clipped_share", "flushed_share", "signed_relative_error")
BITS, SQNR, CLIPPED, FLUSHED, LARGEST, BIAS = (
    column_of(METRICS[name])
    for name in (
        "bits_per_element", "sqnr_db", "clipped_share", "flushed_share", "max_relative_error",
        "signed_relative_error",
    )
)  # fmt: skip


def values(found: Tally) -> dict[str, Any]:
    """Return the counts, sums and measures of a tally by name, with NaN for the largest of no errors."""
    largest = found.max_relative_error if found.measured else math.nan
    return (
        dataclasses.asdict(found)
        | {name: getattr(found, name) for name in _SHARES}
        | {"max_relative_error": largest}
    )


def tally_of(row: Any) -> Tally:
    """Rebuild the tally from a row of a table that holds its `values`."""
    found = {field.name: row[field.name] for field in dataclasses.fields(Tally)}
    if not found["measured"]:
        found["max_relative_error"] = 0.0
    return Tally(**found)


def measured(
    data: str | Arrays, tensor: str, spec: AnySpec, axis: int, rows: int, columns: int, seed: int
) -> tuple[tuple[int, ...], Tally]:
    """Quantize an array by a spec; return the array's shape and the tally of the changes."""
    x = _array_sources.read(data, tensor, rows, columns, axis, seed)
    return x.shape, tally(x, spec, axis=axis)


def with_totals(
    table: pd.DataFrame, more: Callable[[dict[str, Any], Tally], dict[str, Any]] | None = None
) -> pd.DataFrame:
    """Add to a table the total of each spec over the tensors of a file, if the file has several.

    ``more`` returns further columns of a total, which depend on its tally; `values` are always there.
    """
    import pandas as pd

    totals = []
    for _, rows in table.groupby(["data", "spec"], sort=False):
        if len(rows) > 1:
            records = rows.to_dict("records")  # Python's own numbers
            found = sum(map(tally_of, records), Tally())
            row = records[0] | {"tensor": "", "shape": ""} | values(found)
            totals.append(row | (more(row, found) if more else {}))
    return pd.concat([table, pd.DataFrame(totals)], ignore_index=True) if totals else table


def _is_total(rows: pd.DataFrame) -> bool:
    return not rows["shape"].iloc[0]


def arrays_of(table: pd.DataFrame) -> list[pd.DataFrame]:
    """Return the rows of each array; the last entry is the total of a file, if there is one."""
    return [rows for _, rows in table.groupby(["data", "tensor", "shape"], sort=False)]


def title_of(rows: pd.DataFrame) -> str:
    """Return the title of some rows: the name of their array, with its size."""
    first = rows.iloc[0]
    name = DISTRIBUTIONS[first["data"]].description if first["data"] in DISTRIBUTIONS else first["data"]
    called = name + (f", {first['tensor']}" if first["tensor"] else "")
    size = first["shape"] or f"{first['elements']:,} elements"
    bad = int(first["non_finite"])
    return f"{called}, {size}" + (f", of which {bad:,} are NaN or Inf" if bad else "")


def _names(rows: pd.DataFrame) -> list[str]:
    """Return the specs' texts, only the rule for a spec that differs from the one above in nothing else."""
    names, base = [], None
    for text in rows["spec"]:
        spec = specs.parse(text)
        if alike_but_for_rule(spec, base):
            names.append(f"  scale_rule={spec.scale_rule}")
        else:
            names, base = [*names, text], spec
    return names


def sections(table: pd.DataFrame, columns: Sequence[Column]) -> list[Section]:
    """Return a section for each array and one for the total of a file; only the total of very many arrays."""
    arrays = arrays_of(table)
    single = sum(not _is_total(rows) for rows in arrays)
    found = []
    for rows in arrays:
        total = _is_total(rows)
        if len(arrays) > single > _MANY and not total:
            continue
        title = title_of(rows) + (f", {single} tensors" if total else "")
        if total and single > _MANY:
            title += "\n--json and --csv hold the rows of each tensor; --tensor chooses some"
        numbers = values_of(rows, columns)
        if (rows["measured"] < rows["elements"]).any():
            share = rows["measured"] / rows["elements"]
            numbers["measured\n%"] = [f"{100 * value:.4g}" for value in share]
        found.append(Section(f"{title}\n", {"spec": _names(rows)}, numbers))
    return found


def whole(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows that an answer is made from: those of the total of a file, else of the last array."""
    rows = arrays_of(table)[-1]
    return rows[np.isfinite(rows["sqnr_db"].astype(float))]
