"""Measures of error, counts of the changes that quantizing makes to numbers, and named distributions."""

from precision.metrics._columns import METRICS, Better, Metric
from precision.metrics._distributions import DISTRIBUTIONS, Distribution, draw
from precision.metrics._error_measures import (
    MEASURES,
    calc_diff,
    cosine,
    max_error_over_mean,
    max_ulp,
    mean_ulp,
    norm_relative_error,
    report,
    signed_relative_error,
    sqnr,
    ulp_distance,
)
from precision.metrics._fidelity import Tally, tally

__all__ = [
    "DISTRIBUTIONS", "MEASURES", "METRICS", "Better", "Distribution", "Metric", "Tally", "calc_diff",
    "cosine", "draw", "max_error_over_mean", "max_ulp", "mean_ulp", "norm_relative_error", "report",
    "signed_relative_error", "sqnr", "tally", "ulp_distance",
]  # fmt: skip
