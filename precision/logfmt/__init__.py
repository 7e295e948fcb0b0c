"""LogFMT-nBit: codes on a logarithmic grid for each tile."""

from precision.logfmt._design_choices import BelowClamp, Fallback, LogBase, Metadata, SingleValued, Space
from precision.logfmt._logfmt_spec import DEEPEP_LOGFMT10, LogFMT, LogFMTTensor

__all__ = [
    "DEEPEP_LOGFMT10",
    "BelowClamp",
    "Fallback",
    "LogBase",
    "LogFMT",
    "LogFMTTensor",
    "Metadata",
    "SingleValued",
    "Space",
]
