"""Records of plain numbers by which compiled loops know an accumulator and its scales."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from precision.accumulators._accumulator import FusedSum
from precision.accumulators._inner_scales import ScaledGroups
from precision.accumulators._product import GroupScales, Product, scale_parts
from precision.formats._codec_constants import MODES, code_ends, format_params, value_ends
from precision.formats._named import FP32
from precision.formats._rounding_modes import Overflow, Rounding

#: Stands where a kernel wants a unit and its parameters do not matter: a chain's products come one by one.
ANY = FusedSum((FP32,), 1, fraction_bits=1)
_WHOLE = 2**40


CANONICAL_NAN = np.uint32(0x7FFFFFFF).view(np.float32)


def _epilogue(product: Product, step: int) -> Any:
    """Promotion and group scales for a kernel that counts K in steps of ``step``."""
    from precision._kernels._params import Epilogue

    _, rows, columns = product.shape
    promote = product.promotion // step if product.promotion else 0
    scales = product.scales
    if scales is None:
        shapes = (len(product.left.codes), 1, rows), (len(product.right.codes), 1, columns)
        left, right = (np.ones(shape if promote else 0, np.float32) for shape in shapes)
        whole = max(1, product.length)
        scales = GroupScales(left, whole, right, whole, False)
        groups = 1, 1
    else:
        groups = scales.left.shape[1], scales.right.shape[1]
    left, right = scales.left.reshape(-1), scales.right.reshape(-1)
    spans = (-(-group // step) for group in (scales.left_group, scales.right_group))
    return Epilogue(
        promote, scales.partial_first, left, groups[0], next(spans), right, groups[1], next(spans)
    )


def _unit_scales(product: Product, unit: FusedSum | None) -> Any:
    """The same for the general kernel."""
    from precision._kernels._params import UnitScales

    scales, inside = product.unit_scales, unit.scale_in_unit if unit else None
    if scales is None or unit is None or inside is None:
        empty = np.empty(0, np.float32), np.empty(0, np.int32), np.empty(0, np.int64)
        return UnitScales(-1, 0, 0, *empty, 0, 1, *empty, 0, 1)
    group, place = 0, 0
    if isinstance(inside, ScaledGroups):
        group, place = inside.n, -inside.headroom(unit.operands)[1]
    sides = [
        (values.reshape(-1), *(part.reshape(-1) for part in scale_parts(values, fmt)), values.shape[1], span)
        for values, fmt, span in (
            (scales.left, scales.left_format, scales.left_group),
            (scales.right, scales.right_format, scales.right_group),
        )
    ]
    bits = scales.left_format.fraction_bits + scales.right_format.fraction_bits
    return UnitScales(group, place, bits, *sides[0], *sides[1])


@functools.lru_cache(maxsize=64)
def as_unit(unit: FusedSum) -> Any:
    from precision._kernels._params import Unit

    register = unit.register
    # A truncating register with float32's exponents is a float32 without its last bits.
    like_float32 = register.exponent_bits == 8 and register.bias == 127
    truncating = unit.register_rounding is Rounding.TOWARD_ZERO and like_float32
    mask = (0xFFFFFFFF << (23 - register.fraction_bits)) & 0xFFFFFFFF if truncating else 0
    return Unit(
        products=unit.products,
        fraction_bits=unit.fraction_bits,
        min_exponent=unit.min_exponent,
        register_min_exponent=register.min_exponent,
        register_mask=mask,
    )


@functools.lru_cache(maxsize=64)
def as_register(unit: FusedSum) -> Any:
    from precision._kernels._params import Register

    ends = value_ends(unit.register, code_ends(unit.register, Overflow.NON_SATURATING), 8)
    return Register(format_params(unit.register), MODES[unit.register_rounding], ends)
