"""The steps by which a spec quantizes a matrix: scales from amaxes, and elements under scales as stored."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np

from precision._support._types import Array
from precision.formats._codec import decode
from precision.formats._rounding_modes import Rounding
from precision.quantization._granularity import Block, PerGroup
from precision.quantization._quant_spec import QuantSpec
from precision.quantization._quantized_tensor import QuantizedTensor
from precision.quantization._scale_rules import Arithmetic, NonFinite
from precision.testing.blocks._block_layout import Layout, repeat_over_blocks
from precision.testing.elements._rounding_mistakes import Rounds

_FLOAT32 = np.finfo(np.float32)


class Parts(NamedTuple):
    """The values of codes, scales and the tensor's scale; without scales, ``values`` are restored numbers."""

    values: Array  #: float64
    scale: Array | None  #: float64, of the scales' shape
    tensor: float = 1.0


class ObservedBlocks(NamedTuple):
    """A matrix that was given to a quantizer, and its result."""

    x: Array
    came: Parts


@dataclass(frozen=True)
class Reference:
    """A spec with the axis of its groups, and its steps one by one."""

    spec: QuantSpec
    axis: int = field(default=-1, kw_only=True)

    @property
    def layout(self) -> Layout:
        """The layout of blocks in a matrix."""
        return Layout(self.spec, self.axis)

    @property
    def rounds(self) -> Rounds:
        """The rounding of quotients to the format of the elements."""
        return Rounds(self.spec.fmt, rounding=self.spec.rounding, overflow=self.spec.overflow)

    def block(self, x: Array) -> Block:
        """Return the number of elements under one scale along each axis of a matrix."""
        return self.layout.block(x.shape)

    def parts(self, x: Array) -> Parts:
        """Return the values and scales that the spec makes of a matrix."""
        return parts_of(self.spec.quantize(x, self.axis))

    def scales(self, amax: Array) -> tuple[Array, float]:
        """Return the scales of blocks with these amaxes, and the tensor's scale."""
        alone = replace(self.spec, granularity=PerGroup(1), rounding=Rounding.TIES_TO_EVEN)
        found = parts_of(alone.quantize(amax))
        assert found.scale is not None
        return found.scale, found.tensor

    def quotients(self, x: Array, scale: Array, tensor: float) -> Array:
        """Return the quotients that are rounded: elements over stored scales, in the source's arithmetic."""
        wide = x if x.dtype == np.float64 else x.astype(np.float32)
        total = self.total(x, scale, tensor).astype(np.float32)
        kind = wide.dtype.type
        with np.errstate(all="ignore"):
            if self.spec.arithmetic is Arithmetic.DIVISION:
                total = np.where(total == 0, _FLOAT32.smallest_subnormal, total)
                return np.asarray(wide / total.astype(kind))
            inverse = np.float32(1) / total
            return np.asarray(wide * np.where(inverse > _FLOAT32.max, _FLOAT32.max, inverse).astype(kind))

    def total(self, x: Array, scale: Array, tensor: float) -> Array:
        """Return fl32(scale * tensor scale) of each element, as float64."""
        with np.errstate(all="ignore"):
            product = scale.astype(np.float32) * np.float32(tensor)
        return repeat_over_blocks(product.astype(np.float64), x.shape, self.block(x))

    def elements(self, x: Array, scale: Array, tensor: float, rounds: Rounds | None = None) -> Array:
        """Return the values of the codes under scales as stored, as float64."""
        values = (rounds or self.rounds)(self.quotients(x, scale, tensor))
        if self.spec.non_finite is NonFinite.FINITE_AMAX and not self.spec.fmt.has_nan:
            values = np.where(np.isnan(x), self.spec.fmt.max, values)
        return values

    def restore(self, x: Array, parts: Parts) -> Array:
        """Return the numbers that codes and scales stand for: float32 numbers, as float64."""
        if parts.scale is None:
            return parts.values
        with np.errstate(all="ignore"):
            total = self.total(x, parts.scale, parts.tensor).astype(np.float32)
            return (parts.values.astype(np.float32) * total).astype(np.float64)


def parts_of(q: QuantizedTensor) -> Parts:
    """Return the values and scales of a quantized tensor."""
    scale = decode(q.scale, q.scale_format).astype(np.float64)
    tensor = 1.0 if q.tensor_scale is None else float(q.tensor_scale)
    return Parts(decode(q.codes, q.fmt).astype(np.float64), scale, tensor)


Predict = Callable[[Array], Parts]
