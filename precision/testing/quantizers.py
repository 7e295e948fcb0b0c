"""Checks of quantizers, dequantizers and packers: one call tries a callable on everything that is hard."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from precision.formats import Format
from precision.quantized import QuantSpec
from precision.rounding import Overflow, Rounding, Stochastic
from precision.testing._calls import Call, label
from precision.testing._element_rules import Rounds
from precision.testing._elements import Elements, elements_properties
from precision.testing._properties import Property, run
from precision.testing._report import Report
from precision.testing._values import checked_source

Array = npt.NDArray[Any]


def quantizer_properties(
    like: Format | QuantSpec,
    *,
    rounding: Rounding | Stochastic | None = None,
    overflow: Overflow | None = None,
    axis: int = -1,
    ragged: bool = True,
    returns: str | None = None,
    dtype: npt.DTypeLike = np.float32,
) -> tuple[Property, ...]:
    kind = checked_source(dtype)
    right = Rounds(like, rounding=rounding or Rounding.TIES_TO_EVEN, overflow=overflow or Overflow.SATURATE)
    return elements_properties(Elements(right, dtype=kind, returns=returns))


def check_quantizer(fn, like, *, convert=None, time_limit=None, **options) -> Report:
    call = Call(fn, convert=convert, time_limit=time_limit)
    return run(quantizer_properties(like, **options), call, subject=label(fn), like=str(like))
