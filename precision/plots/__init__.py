"""Figures of the package's tables; each draws on given axes or makes its own (extra ``plots``)."""

from precision.plots._figure_files import check, save
from precision.plots.figures._accumulator_errors import gemm_errors
from precision.plots.figures._error_lines import (
    error_over,
    error_over_k,
    error_over_promotion,
    error_over_width,
)
from precision.plots.figures._format_values import number_line
from precision.plots.figures._heat_map import error_heatmap
from precision.plots.figures._number_histogram import histogram
from precision.plots.figures._pareto_points import pareto
from precision.plots.figures._small_multiples import panels
from precision.plots.figures._spec_points import error_over_bits, error_over_bytes

__all__ = [
    "check",
    "error_heatmap",
    "error_over",
    "error_over_bits",
    "error_over_bytes",
    "error_over_k",
    "error_over_promotion",
    "error_over_width",
    "gemm_errors",
    "histogram",
    "number_line",
    "panels",
    "pareto",
    "save",
]
