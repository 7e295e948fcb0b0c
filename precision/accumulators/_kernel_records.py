"""Records of plain numbers, from which kernels read an accumulator's arithmetic and its scales."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from precision._support._plans import planned
from precision._support._types import Array
from precision.accumulators._product import GroupScales, Product, scale_parts
from precision.accumulators._step import Step
from precision.formats._codec_constants import MODES, code_ends, format_params, value_ends
from precision.formats._rounding_modes import Overflow, Rounding

#: A number of K (or of steps) that no product reaches: a group of so many spans all of K.
_WHOLE = 2**40
_NO_SCALES: Array = np.empty(0, np.float32)


#: The NaN of NVIDIA's tensor cores: all bits set but the sign.
CANONICAL_NAN = np.uint32(0x7FFFFFFF).view(np.float32)


@functools.cache
def _no_epilogue() -> Any:
    """Build the record of a product without promotion and group scales."""
    from precision._kernels._params import Epilogue

    return Epilogue(0, False, _NO_SCALES, 1, 1, _NO_SCALES, 1, 1)


def build_epilogue(product: Product, step: int) -> Any:
    """Build the record of promotion and group scales for a kernel that counts ``step`` of K as one."""
    promote = product.promotion // step if product.promotion else 0
    scales = product.scales
    if scales is None and not promote:
        return _no_epilogue()
    from precision._kernels._params import Epilogue

    _, rows, columns = product.shape
    if scales is None:
        shapes = (len(product.left.codes), 1, rows), (len(product.right.codes), 1, columns)
        ones = [np.ones(shape, np.float32) for shape in shapes]
        whole = max(1, product.length)
        scales = GroupScales(ones[0], whole, ones[1], whole, False)
        groups = 1, 1
    else:
        groups = scales.left.shape[1], scales.right.shape[1]
    left, right = scales.left.reshape(-1), scales.right.reshape(-1)
    spans = (-(-group // step) for group in (scales.left_group, scales.right_group))
    return Epilogue(
        promote, scales.partial_first, left, groups[0], next(spans), right, groups[1], next(spans)
    )


def build_unit_scales(product: Product, step: Step) -> Any:
    """Build the record of a unit's inner scales that the general kernel reads, an empty one if none."""
    from precision._kernels._params import UnitScales

    scales, inside = product.unit_scales, step.inner
    if scales is None or inside is None:
        empty = np.empty(0, np.float32), np.empty(0, np.int32), np.empty(0, np.int64)
        return UnitScales(-1, 0, 0, *empty, 0, 1, *empty, 0, 1)
    sides = [
        (values.reshape(-1), *(part.reshape(-1) for part in scale_parts(values, fmt)), values.shape[1], span)
        for values, fmt, span in (
            (scales.left, scales.left_format, scales.left_group),
            (scales.right, scales.right_format, scales.right_group),
        )
    ]
    bits = scales.left_format.fraction_bits + scales.right_format.fraction_bits
    return UnitScales(inside.group, step.group_place, bits, *sides[0], *sides[1])


@planned
def as_unit(step: Step) -> Any:
    """Build the record of a step that kernels read; chains of fused multiply-adds do not use it."""
    from precision._kernels._params import Unit

    register = step.register
    # A truncating register with float32's exponents is a float32 without its last bits.
    like_float32 = register.exponent_bits == 8 and register.bias == 127
    truncating = step.register_rounding is Rounding.TOWARD_ZERO and like_float32
    mask = (0xFFFFFFFF << (23 - register.fraction_bits)) & 0xFFFFFFFF if truncating else 0
    return Unit(
        products=step.products,
        fraction_bits=1 if step.fraction_bits is None else step.fraction_bits,
        min_exponent=-133 if step.min_exponent is None else step.min_exponent,
        register_min_exponent=register.min_exponent,
        register_mask=mask,
    )


@planned
def as_register(step: Step) -> Any:
    """Build the record by which kernels round sums to the register's format."""
    from precision._kernels._params import Register

    ends = value_ends(step.register, code_ends(step.register, Overflow.NON_SATURATING), 8)
    return Register(format_params(step.register), MODES[step.register_rounding], ends)
