"""Measures of error, counts of the changes that quantizing makes to numbers, and named distributions."""

from precision.metrics._columns import METRICS, Better, Metric
from precision.metrics._distributions import DISTRIBUTIONS, Distribution, draw
from precision.metrics._error_measures import (
    calc_diff,
    cosine,
    max_error_over_mean,
    norm_relative_error,
    signed_relative_error,
    sqnr,
)
from precision.metrics._fidelity import Tally, tally
from precision.metrics._report import MEASURES, report
from precision.metrics._ulp_measures import max_ulp, mean_ulp, ulp_distance

__all__ = [
    "DISTRIBUTIONS", "MEASURES", "METRICS", "Better", "Distribution", "Metric", "Tally", "calc_diff",
    "cosine", "draw", "max_error_over_mean", "max_ulp", "mean_ulp", "norm_relative_error", "report",
    "signed_relative_error", "sqnr", "tally", "ulp_distance",
]  # fmt: skip
