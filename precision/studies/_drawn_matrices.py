"""Random matrices, and what a spec makes of them, for the studies that quantize.

Cells of the same draws share them; each process keeps two matrices.
"""

from __future__ import annotations

import functools

from precision._support._argument_checks import check_int
from precision._support._types import Array
from precision.metrics._distributions import draw
from precision.metrics._fidelity import tally
from precision.specs._spec_text import AnySpec


@functools.lru_cache(maxsize=2)
def _drawn(distribution: str, rows: int, columns: int, seed: int) -> Array:
    return draw(distribution, (rows, columns), k_axis=1, seed=seed)


def measured(spec: AnySpec, distribution: str, rows: int, columns: int, seed: int) -> dict[str, float]:
    for name, size in (("rows", rows), ("columns", columns)):
        check_int(name, size, 1, 2**31 - 1)
    check_int("seed", seed, 0, 2**63 - 1)
    found = tally(_drawn(distribution, rows, columns, seed), spec)
    return {
        "bits_per_element": found.bits_per_element,
        "sqnr_db": found.sqnr_db,
        "norm_relative_error": found.norm_relative_error,
        "max_relative_error": found.max_relative_error,
        "signed_relative_error": found.signed_relative_error,
        "clipped_share": found.clipped_share,
        "flushed_share": found.flushed_share,
    }
