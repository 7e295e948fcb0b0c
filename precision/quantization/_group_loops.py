"""Chooses the loops of `_kernels.blocks`, for groups of 16 or 32 of plain specs: the general loops' bits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from precision._kernels._params import ShortParams
from precision._support._types import Array
from precision._support.machine._aligned_memory import LARGE
from precision._support.machine._threads import parallel
from precision.formats._codec_constants import code_ends, format_params, nearest_suits, short_params
from precision.formats._named import E4M3, E8M0, Format
from precision.quantization._quant_spec import QuantSpec
from precision.quantization._scale_rules import ScaleRule

if TYPE_CHECKING:
    from precision._kernels.numbers._group_scales import ScaleParams
    from precision._kernels.numbers._short_groups import Decoding


GROUPS = 16, 32


def quantizer(spec: QuantSpec, dtype: np.dtype[Any], group: int, width: int) -> Quantizer | None:
    """The fast loops for rows of ``width`` in groups of ``group``; None where it takes the general ones.

    They know no parameter of a spec beyond those named here.
    """
    plain = QuantSpec(
        spec.fmt,
        spec.granularity,
        scale_format=spec.scale_format,
        scale_rule=spec.scale_rule,
        tensor_scale=spec.tensor_scale,
        arithmetic=spec.arithmetic,
    )
    powers = (ScaleRule.FLOOR, ScaleRule.CEIL, ScaleRule.RCEIL, ScaleRule.EVEN)
    known = (
        (spec.scale_format == E8M0 and spec.scale_rule in powers and not spec.tensor_scale)
        or (spec.scale_format == E4M3 and spec.scale_rule is ScaleRule.AMAX and spec.tensor_scale)
    )  # fmt: skip
    short = _short(spec.fmt)
    whole = group in GROUPS and width % group == 0
    if dtype != np.float32 or spec != plain or not known or not whole or short is None:
        return None
    return Quantizer(spec, group, short)


def _short(fmt: Format) -> ShortParams | None:
    """What the loops know of a format of elements: at most 8 bits, and both signs alike."""
    params, short = format_params(fmt), short_params(fmt)
    alike = params.max_code == params.max_negative and (params.negative_zero or params.negate_flip)
    if fmt.bits > 8 or not alike or short is None or not nearest_suits(short, short.maximum):
        return None
    return short


def _decoding(fmt: Format) -> tuple[Decoding, int] | None:
    """What the loops know of a format that they decode, and whether it is two's complement."""
    from precision._kernels.numbers._short_groups import Decoding

    params, short = format_params(fmt), _short(fmt)
    if short is None or 0 <= params.nan_code <= params.max_code:
        return None
    if not short.offset:  # the loops go by half the lowest normal value, which float32 must hold as normal
        return None
    decoding = Decoding(
        up=32 - fmt.bits,
        magnitude=params.magnitude_mask,
        hidden=1 << params.fraction_bits,
        offset=short.offset,
        shift=short.shift,
        last=params.mask if params.nan_code < 0 else params.max_code,
        infinity=params.mask if params.inf_code < 0 else params.inf_code,
        quantum=np.float32(2.0 ** (params.min_exponent - params.fraction_bits)),
    )
    return decoding, int(params.negate_flip > 0)


class Quantizer:
    """The fast loops for one spec."""

    def __init__(self, spec: QuantSpec, group: int, short: ShortParams) -> None:
        from precision._kernels.numbers import _short_groups

        self.kernels, self.spec, self.group = _short_groups, spec, group
        nan = code_ends(spec.fmt, spec.overflow).nan_positive
        self.elements = _short_groups.Elements(short, format_params(spec.fmt), nan)

    def largest(self, x: Array) -> np.float32:
        """The largest magnitude of the groups of flat ``x`` without NaN and Inf."""
        bits = np.uint32(self.kernels.largest_finite(x.view(np.uint32), self.group))
        return bits.view(np.float32)

    def quantize(self, x: Array, how: ScaleParams, codes: Array, scales: Array) -> None:
        """Codes of flat ``x`` and of its scales."""
        kernels, spec = self.kernels, self.spec
        factors = np.empty(kernels.TILE // min(GROUPS), np.float32)
        rest = scales, factors, factors.view(np.uint32), self.elements, codes
        bits = x.view(np.uint32)
        if spec.scale_rule is not ScaleRule.AMAX:
            # The low 29 bits of a float32's 52 fraction bits are zero, and so are those of max's.
            powers = kernels.Powers(how.addend >> 29, how.max_exponent)
            kernels.quantize_powers(x, bits, self.group, powers, *rest)
            return
        short = short_params(spec.scale_format)
        assert short is not None
        target = kernels.Narrow(short, format_params(spec.scale_format), how.least_code)
        nested = kernels.Nested(how.maximum, how.tensor_scale, how.factor, how.multiply)
        kernels.quantize_nested(x, bits, self.group, nested, target, *rest)


def dequantize(
    codes: Array, scales: Array, fmt: Format, scale_format: Format, tensor_scale: np.float32 | None,
    group: int, out: Array,
) -> bool:  # fmt: skip
    """Fill flat ``out`` from flat codes and the scales of their groups, where the fast loops suit."""
    known = _decoding(fmt) if group in GROUPS and out.dtype == np.float32 else None
    if known is None:
        return False

    from precision._kernels.numbers import _short_groups

    # Half a line of the cache at a time goes past it; the pieces keep the alignment of the whole.
    streams = int(codes.nbytes + out.nbytes >= LARGE and out.ctypes.data % 16 == 0)
    scale_params, factor = (
        format_params(scale_format),
        np.float32(1 if tensor_scale is None else tensor_scale),
    )

    def work(start: int, stop: int) -> None:
        start, stop = start * _short_groups.TILE, min(stop * _short_groups.TILE, codes.size)
        part = scales[start // group : stop // group]
        _short_groups.dequantize(
            codes[start:stop], group, *known, part, scale_params, factor, streams, out[start:stop]
        )

    tiles = -(-codes.size // _short_groups.TILE)
    parallel(work, tiles, max(1, min(1 << 20, codes.size >> 4) // _short_groups.TILE))
    return True
