"""The loops for short groups, and dequantizing, as Python calls them: by flat arrays and few numbers.

Numba takes the tuples of a call apart number by number, which would cost a small array more than its
arithmetic. The functions here take the arrays of `_packed_params`, and make the tuples themselves.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from precision._kernels._jit import jit
from precision._kernels._llvm_scalars import bits32, float32_of
from precision._kernels._llvm_vectors import wide_vectors
from precision._kernels._params import FormatParams, ShortParams
from precision._kernels._scalar_rounding import U32, decode_value
from precision._kernels.numbers._group_scales import No, Quotients, Rule
from precision._kernels.numbers._packed_params import elements_of, format_at, scales_of, short_of, target_of
from precision._kernels.numbers._quantizing_loops import dequantize
from precision._kernels.numbers._short_groups import TILE as TILE
from precision._kernels.numbers._short_groups import (
    Decoding,
    Elements,
    Narrow,
    Nested,
    Powers,
    largest_finite,
    quantize_nested,
    quantize_powers,
)
from precision._kernels.numbers._short_groups import dequantize as dequantize_short

F32 = np.float32

# The smallest is made of bits: NumPy's finfo keeps the one that it computed first, which is 0 under a
# caller's flush-to-zero.
SMALLEST, LARGEST = np.uint32(1).view(np.float32), np.finfo(np.float32).max
LEAST_NORMAL = np.uint32(1 << 23).view(np.float32)

DIVISION, NVFP4_PAPER, TRANSFORMER_ENGINE = range(3)
"""Orders of operations under a tensor scale."""

_CODED = Rule(Quotients(), No(), No(), No())
"""A rule with a scale format. The loops for short groups have choices of their own, and read no other."""


@jit
def quantize_by_powers(
    x: Any, group: int, scales: Any, codes: Any, ints: Any, floats: Any, singles: Any
) -> None:
    """Write codes of whole groups of float32, and their E8M0 scales."""
    how = scales_of(_CODED, ints, floats, singles)
    fmt, ends = elements_of(ints)
    elements = Elements(short_of(ints), fmt, ends.nan_positive)
    factors = np.empty(TILE // 16, np.float32)
    # Converted to float64, a float32 has 29 zeros at the end of its fraction: they carry nothing.
    powers = Powers(how.addend >> 29, how.max_exponent)
    quantize_powers(
        x, x.view(np.uint32), group, powers, scales, factors, factors.view(np.uint32), elements, codes
    )


@jit
def _short_of_format(fmt: FormatParams) -> ShortParams:
    """Return the record of a format of few bits for the fast loops."""
    last_place = fmt.min_exponent - fmt.fraction_bits + 23
    maximum = int(bits32(decode_value(U32(fmt.max_code), fmt)))
    return ShortParams(
        23 - fmt.fraction_bits,
        (fmt.min_exponent + 127) << 23,
        (last_place + 127) << 23,
        (fmt.min_exponent + 126) << fmt.fraction_bits,
        maximum,
        fmt.max_code,
        maximum,
    )


@jit
def _quantize_nested(
    x: Any, group: int, scales: Any, codes: Any, ints: Any, how: Nested, target: FormatParams, least: int
) -> None:
    """Write codes of whole groups and their scales by a rule under a tensor scale."""
    fmt, ends = elements_of(ints)
    elements = Elements(short_of(ints), fmt, ends.nan_positive)
    narrow = Narrow(_short_of_format(target), target, least)
    factors = np.empty(TILE // 16, np.float32)
    quantize_nested(
        x, x.view(np.uint32), group, how, narrow, scales, factors, factors.view(np.uint32), elements, codes
    )


@jit
def quantize_under_scale(
    x: Any, group: int, scales: Any, codes: Any, ints: Any, floats: Any, singles: Any, order: int
) -> None:
    """Write codes of whole groups of float32, and their scales under the tensor scale among ``floats``."""
    how = scales_of(_CODED, ints, floats, singles)
    target = target_of(how, ints)
    nested = Nested(how.maximum, how.tensor_scale, how.factor, int(order != DIVISION))
    _quantize_nested(x, group, scales, codes, ints, nested, target.fmt, how.least_code)


@jit
def quantize_with_scale(
    x: Any, group: int, scales: Any, codes: Any, ints: Any, floats: Any, singles: Any,
    order: int, span: float, found: Any,
) -> None:  # fmt: skip
    """Write what `quantize_under_scale` does, under the tensor scale that ``x`` itself has, to ``found``.

    ``span`` is the product of the largest element and the largest scale.
    """
    how = scales_of(_CODED, ints, floats, singles)
    target = target_of(how, ints)
    amax, largest = float32_of(U32(largest_finite(x.view(np.uint32), group))), F32(how.maximum)
    scale, encode = F32(1), F32(1)
    if amax > F32(0) and order == DIVISION:
        scale = F32(amax / F32(span))
        scale = min(max(scale, SMALLEST), LARGEST)
    elif amax > F32(0):
        encode = F32(F32(span) / amax)
        encode = min(max(encode, LEAST_NORMAL), LARGEST)
        scale = F32(F32(1) / encode)
    found[0] = scale
    if order == TRANSFORMER_ENGINE:
        encode, largest = F32(encode * F32(F32(1) / largest)), F32(1)
    nested = Nested(largest, scale, encode, int(order != DIVISION))
    _quantize_nested(x, group, scales, codes, ints, nested, target.fmt, how.least_code)


@jit
def dequantize_groups(
    codes: Any, group: int, scales: Any, ints: Any, factor: Any, streams: int, out: Any
) -> None:
    """Write values of whole groups of 16, 32, 64, … codes."""
    how = Decoding(ints[0], ints[1], ints[2], ints[3], ints[4], ints[5], ints[6], float32_of(U32(ints[7])))
    dequantize_short(codes, group, how, ints[8], scales, format_at(ints, 9), F32(factor), streams, out)


@jit
def dequantize_rows(
    codes: Any, width: int, group: int, scales: Any, row_of: Any, ints: Any, factor: Any, out: Any
) -> None:
    """Write values of whole rows; row r takes the scales of row ``row_of[r]``, of flat ``scales``."""
    wide_vectors()
    fmt, scale_format = format_at(ints, 0), format_at(ints, 12)
    across = (width + group - 1) // group
    each = np.empty((scales.size // across, across), np.float32)
    flat = each.reshape(-1)
    for i in range(scales.size):
        flat[i] = F32(decode_value(U32(scales[i]), scale_format) * F32(factor))
    dequantize(codes, 0, row_of.size, width, group, each, row_of, fmt, out.dtype.type(1), out)
