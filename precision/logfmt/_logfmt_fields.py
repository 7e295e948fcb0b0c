"""The parameters of a LogFMT spec, as everything that runs one reads them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import ml_dtypes
import numpy as np

from precision._support._argument_checks import check_axis
from precision._support._hashed_once import HashedOnce
from precision._support.machine._float_environment import methods_in_default_environment
from precision.formats._float_format import FloatFormat
from precision.formats._named import BF16, FP16, FP32
from precision.formats._rounding_modes import Rounding, Stochastic
from precision.logfmt._design_choices import BelowClamp, Fallback, LogBase, Metadata, SingleValued, Space
from precision.quantization._scale_rules import NonFinite

METADATA_TYPES: dict[FloatFormat, np.dtype[Any]] = {
    FP32: np.dtype(np.float32),
    BF16: np.dtype(ml_dtypes.bfloat16),
    FP16: np.dtype(np.float16),
}
"""The formats that a tile's two numbers may be stored in, with NumPy's types of them."""


@dataclass(frozen=True, repr=False)
@methods_in_default_environment
class LogFMTFields(HashedOnce):
    """The parameters of a `LogFMT` spec, unchecked, without the methods that quantize by them."""

    bits: int
    block_size: int = 128
    base: LogBase = field(default=LogBase.E, kw_only=True)
    rounding: Rounding | Stochastic = field(default=Rounding.TIES_TO_EVEN, kw_only=True)
    space: Space = field(default=Space.LINEAR, kw_only=True)
    clamp: int | None = field(default=32, kw_only=True)
    below_clamp: BelowClamp = field(default=BelowClamp.NEAREST, kw_only=True)
    metadata: Metadata = field(default=Metadata.MIN_STEP, kw_only=True)
    metadata_format: FloatFormat = field(default=FP32, kw_only=True)
    from_stored: bool = field(default=True, kw_only=True)
    single_valued: SingleValued = field(default=SingleValued.FIRST, kw_only=True)
    skip_zeros: bool = field(default=True, kw_only=True)
    negative_zero: bool = field(default=True, kw_only=True)
    non_finite: NonFinite = field(default=NonFinite.NAN_SCALE, kw_only=True)
    fallback: Fallback | None = field(default=None, kw_only=True)

    __hash__ = HashedOnce.__hash__

    @property
    def code_dtype(self) -> np.dtype[Any]:
        """Type of the codes: uint8 up to 8 bits; uint16 for more bits, and with a fallback."""
        return np.dtype(np.uint8 if self.bits <= 8 and self.fallback is None else np.uint16)

    def tiles_shape(self, shape: tuple[int, ...], axis: int = -1) -> tuple[int, ...]:
        """Return the shape of either stored number's array: one entry for each tile along the axis.

        Parameters
        ----------
        shape : tuple of int
            Of the array to quantize.
        axis : int
            The axis along which tiles run.

        Raises
        ------
        TypeError, ValueError
            If ``axis`` is none of the shape's.

        Examples
        --------
        >>> import precision as pr
        >>> pr.LogFMT(8).tiles_shape((4, 300))
        (4, 3)
        """
        along = check_axis(axis, len(shape))
        return *shape[:along], -(-shape[along] // self.block_size), *shape[along + 1 :]

    def bits_per_element(self, shape: tuple[int, ...], axis: int = -1) -> float:
        """Return the bits stored for each element of an array of ``shape``, stored numbers counted.

        A fallback is left out of account: which tiles it takes depends on the elements.

        Raises
        ------
        ValueError
            If the shape holds no element.
        """
        size = math.prod(shape)
        if size == 0:
            raise ValueError(f"shape must hold at least one element, got {tuple(shape)}")
        return self.bits + 2 * self.metadata_format.bits * math.prod(self.tiles_shape(shape, axis)) / size
