"""Error bounds with proofs, and errors taken apart into their causes.

`error_bound` and `explain` look at data: they say what one product may have lost, and what it did lose and
where. The other functions are bounds in closed form.
"""

from precision.bounds._aligned_sums import aligned_sum, aligned_truncation, kulisch_width
from precision.bounds._closed_forms import (
    block_fma,
    failure_probability,
    gamma,
    input_conversion,
    probabilistic_gamma,
    stochastic_gamma,
    unit_roundoff,
)
from precision.bounds._decomposition import Explanation, explain
from precision.bounds._whole_product import ErrorBound, error_bound

__all__ = [
    "ErrorBound",
    "Explanation",
    "aligned_sum",
    "aligned_truncation",
    "block_fma",
    "error_bound",
    "explain",
    "failure_probability",
    "gamma",
    "input_conversion",
    "kulisch_width",
    "probabilistic_gamma",
    "stochastic_gamma",
    "unit_roundoff",
]
