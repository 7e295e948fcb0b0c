"""Accumulators, which say how the products of a dot product are summed, and their text."""

from precision._support._moved_names import raise_for_accumulators as __getattr__  # noqa: F401 -- Python asks for it
from precision.accumulators._accumulator import Accumulator, ScaleEntry
from precision.accumulators._accumulator_text import NAMED, as_accumulator, parse
from precision.accumulators._inner_scales import InnerScales, ScaledGroups, ScaledProducts
from precision.accumulators._step import Step
from precision.accumulators.kinds._exact import Exact
from precision.accumulators.kinds._fma_chain import FmaChain
from precision.accumulators.kinds._fused_sum import FusedSum

__all__ = [
    "NAMED",
    "Accumulator",
    "Exact",
    "FmaChain",
    "FusedSum",
    "InnerScales",
    "ScaleEntry",
    "ScaledGroups",
    "ScaledProducts",
    "Step",
    "as_accumulator",
    "parse",
]
