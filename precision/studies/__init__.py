"""Studies: questions about numbers, each with the cells, the table and the figure that answer it."""

from precision.studies._experiment import Study
from precision.studies._product_comparison import GemmStudy, ProductRow, compare, default_accumulators
from precision.studies._registry import STUDIES, study
from precision.studies._spec_comparison import (
    DEFAULT_SPECS,
    QuantizationStudy,
    Source,
    SpecRow,
    drawn,
    read_sources,
    suited,
    with_rules,
)
from precision.studies._wire_comparison import DEFAULT_BITS, PEERS, SentRow, Wire

__all__ = [
    "DEFAULT_BITS",
    "DEFAULT_SPECS",
    "PEERS",
    "STUDIES",
    "GemmStudy",
    "ProductRow",
    "QuantizationStudy",
    "SentRow",
    "Source",
    "SpecRow",
    "Study",
    "Wire",
    "compare",
    "default_accumulators",
    "drawn",
    "read_sources",
    "study",
    "suited",
    "with_rules",
]
