"""Measures of a spec on random matrices, for the studies that quantize; cells share their draws."""

from __future__ import annotations

from precision.specs._spec_text import AnySpec
from precision.studies import _spec_tallies

_MEASURES = (
    "bits_per_element", "sqnr_db", "norm_relative_error", "max_relative_error", "signed_relative_error",
    "clipped_share", "flushed_share",
)  # fmt: skip


def measured(spec: AnySpec, distribution: str, rows: int, columns: int, seed: int) -> dict[str, float]:
    """Return what a spec does to a matrix of draws, groups along its rows."""
    _, found = _spec_tallies.measured(distribution, "", spec, -1, rows, columns, seed)
    return {name: getattr(found, name) for name in _MEASURES}
