"""Quantization of small arrays by one call of a loop, for which all but the arrays is prepared."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from precision._support._plans import planned
from precision._support._types import Array
from precision.formats._rounding_modes import signed64
from precision.quantization._granularity import (
    PerBlock,
    PerGroup,
    PerTensor,
    PerVector,
    checked_block,
    clip_block,
    scale_shape,
)
from precision.quantization._group_loops import choose_loops
from precision.quantization._quantized_tensor import QuantizedTensor
from precision.quantization._row_loops import TILE, Plan, find_loop, pack_parameters, plan_of
from precision.quantization._row_views import WORDS, is_native_float
from precision.quantization._scale_constants import scale_params, span
from precision.quantization._spec_fields import SpecFields

MOST = 1 << 16
"""Elements of an array that one call of a loop quantizes, at most: threads would share more."""

_GRANULARITIES = frozenset({PerTensor, PerVector, PerGroup, PerBlock})
"""Granularities that cannot change, so that equal ones give equal blocks. Others may be anyone's."""

Call: TypeAlias = Callable[[Array, int], QuantizedTensor]
"""A prepared quantization: of an array, and of the index from which random bits are counted."""


def find_call(spec: SpecFields, source: object, axis: object) -> Call | None:
    """Return the prepared quantization of an array, or None if the general way is to be taken.

    That is the way for large arrays, for groups that do not lie contiguous in memory, for whatever takes two
    passes, and for arguments that raise an error.
    """
    if (
        type(source) is not np.ndarray
        or type(axis) is not int
        or type(spec.granularity) not in _GRANULARITIES
    ):
        return None
    if source.size > MOST or not source.flags.c_contiguous:
        return None
    return _prepare(spec, source.shape, source.dtype, axis)


class _Frame(NamedTuple):
    """The arrays of a result: their shapes and types, and the fields of the tensor that they do not hold."""

    codes: tuple[int, ...]
    code_dtype: np.dtype[Any]
    scales: tuple[int, ...]
    scale_dtype: np.dtype[Any]
    fields: dict[str, Any]

    def new(self) -> tuple[Array, Array, Array, Array]:
        """Allocate codes and scales, and return both, and their bits as flat arrays."""
        codes, scales = np.empty(self.codes, self.code_dtype), np.empty(self.scales, self.scale_dtype)
        bits = WORDS[self.code_dtype.itemsize], WORDS[self.scale_dtype.itemsize]
        return codes, scales, codes.reshape(-1).view(bits[0]), scales.reshape(-1).view(bits[1])

    def tensor(self, codes: Array, scales: Array, tensor_scale: np.float32 | None) -> QuantizedTensor:
        """Return the tensor of codes and scales that a loop has filled."""
        return QuantizedTensor._of_settled_parts(
            codes=codes, scale=scales, tensor_scale=tensor_scale, **self.fields
        )


@planned
def _prepare(spec: SpecFields, shape: tuple[int, ...], dtype: np.dtype[Any], axis: int) -> Call | None:
    """Prepare the quantization of contiguous arrays of a shape, or return None if one call cannot do it."""
    ndim = len(shape)
    if not is_native_float(dtype) or not math.prod(shape) or not -ndim <= axis < ndim:
        return None
    try:
        block = checked_block(spec.granularity.block(shape, axis), shape)
    except ValueError:  # the general way raises it
        return None
    steps = clip_block(block, shape)
    if [i for i, step in enumerate(steps) if step > 1] not in ([], [ndim - 1]) or axis % ndim != ndim - 1:
        return None
    plan = plan_of(spec, dtype.itemsize == 8)
    frame = _Frame(
        shape, plan.code_dtype, scale_shape(shape, block), plan.scale_dtype,
        {"fmt": spec.fmt, "block": block, "scale_format": spec.scale_format},
    )  # fmt: skip
    if plan.tries_two_scales:
        return None
    fast = choose_loops(plan.fast, steps[-1], shape[-1])
    if spec.tensor_scale:
        return None if fast is None else _under_tensor_scale(plan, frame, fast, steps[-1])
    if fast is not None:
        return _short_groups(plan, frame, fast, steps[-1])
    return _rows(plan, frame, steps[-1])


def _rows(plan: Plan, frame: _Frame, group: int) -> Call:
    """Return the quantization by the general loop over rows."""
    width, size = frame.codes[-1], math.prod(frame.codes)
    groups = -(-width // group)
    tile_rows, tile_width = max(1, TILE // width), width
    if width > TILE and groups > 1:
        tile_width = max(1, TILE // group) * group
    space = min(tile_rows * tile_width, size)
    count, parameters = math.prod(frame.scales), plan.packed
    assert parameters is not None and plan.plain is not None
    encode = find_loop(plan.rounding, plan.plain.rule, False)

    def call(source: Array, offset: int) -> QuantizedTensor:
        codes, scales, code_bits, scale_bits = frame.new()
        where = (np.empty(space, np.uint32), 0, 0, width, 1, signed64(offset)) if plan.random else ()
        encode(
            source.astype(plan.dtype, copy=False).reshape(-1),
            np.empty(count, plan.dtype), scale_bits, np.empty(count, np.float32), np.empty(space, plan.dtype),
            code_bits, width, group, tile_rows, tile_width, *where, *parameters,
        )  # fmt: skip
        return frame.tensor(codes, scales, None)

    return call


def _short_groups(plan: Plan, frame: _Frame, fast: Any, group: int) -> Call:
    """Return the quantization by the fast loops for short groups."""
    parameters = plan.packed
    assert parameters is not None

    def call(source: Array, offset: int) -> QuantizedTensor:
        codes, scales, code_bits, scale_bits = frame.new()
        x = source.astype(plan.dtype, copy=False).reshape(-1)
        fast.quantize(x, group, parameters, code_bits, scale_bits)
        return frame.tensor(codes, scales, None)

    return call


def _under_tensor_scale(plan: Plan, frame: _Frame, fast: Any, group: int) -> Call:
    """Return the quantization by the fast loops for short groups under a tensor scale."""
    parameters = pack_parameters(plan, scale_params(plan.spec, plan.dtype, None))
    whole = span(plan.spec)

    def call(source: Array, offset: int) -> QuantizedTensor:
        codes, scales, code_bits, scale_bits = frame.new()
        x = source.astype(plan.dtype, copy=False).reshape(-1)
        tensor_scale = fast.quantize_all(x, group, parameters, whole, code_bits, scale_bits)
        return frame.tensor(codes, scales, tensor_scale)

    return call
