"""Hypothesis strategies for low-precision numbers, arrays, formats, specs, accumulators (extra ``testing``).

Each prefers what is hard: ties and numbers one ULP off ties, subnormals of target and source, both sides of
the largest value, amaxes on and next to powers of two, blocks of zeros or of one value, NaN, Inf, outliers.
All of them shrink to few elements, zeros, and numbers of few significant bits.

In a test file (without a deadline, since the first call of a function may compile for some seconds)::

    from hypothesis import given, settings
    from precision.testing import strategies as pst

    @settings(deadline=None)
    @given(pst.arrays(pr.E4M3))
    def test_rounding_again_changes_nothing(x):
        once = my_rounding(x)
        assert np.array_equal(my_rounding(once), once, equal_nan=True)
"""

from precision.testing.strategies._block_strategies import blocks
from precision.testing.strategies._format_strategies import (
    float_formats,
    formats,
    int_formats,
    overflows,
    roundings,
)
from precision.testing.strategies._number_strategies import arrays, codes, numbers
from precision.testing.strategies._spec_strategies import granularities, specs
from precision.testing.strategies._unit_strategies import accumulators, fused_sums

__all__ = [
    "accumulators", "arrays", "blocks", "codes", "float_formats", "formats", "fused_sums", "granularities",
    "int_formats", "numbers", "overflows", "roundings", "specs",
]  # fmt: skip
