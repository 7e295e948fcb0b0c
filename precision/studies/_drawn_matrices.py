"""The cell that studies of specs share: a random matrix is quantized by a spec, and its errors measured."""

from __future__ import annotations

from precision.specs._spec_text import AnySpec
from precision.studies import _spec_tallies

_MEASURES = (
    "bits_per_element", "sqnr_db", "norm_relative_error", "max_relative_error", "signed_relative_error",
    "clipped_share", "flushed_share",
)  # fmt: skip


def measured(spec: AnySpec, distribution: str, rows: int, columns: int, seed: int) -> dict[str, float]:
    """Quantize a random matrix, with groups along its rows, and return bits and measures of error by name."""
    _, found = _spec_tallies.measured(distribution, "", spec, -1, rows, columns, seed)
    return {name: getattr(found, name) for name in _MEASURES}
