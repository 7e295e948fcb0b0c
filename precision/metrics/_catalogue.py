"""All metrics by name: tables, sweeps, figures and reports read them here."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from precision.metrics._error_measures import ERRORS
from precision.metrics._fidelity import TALLIED
from precision.metrics._metric import Metric

METRICS: Mapping[str, Metric] = MappingProxyType(ERRORS | TALLIED)
"""Every metric by the name of its column."""
