"""The loops of `_kernels.numbers._short_groups`, chosen for groups of 16 or 32 of plain specs.

They give the bits of the general loops, faster.
"""

from __future__ import annotations

import functools
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import numpy as np

from precision._kernels._params import ShortParams
from precision._support._types import Array
from precision._support.machine._aligned_memory import LARGE
from precision.formats._codec_constants import code_ends, format_params, nearest_suits, short_params
from precision.formats._named import E4M3, E8M0, Format
from precision.quantization._row_views import in_pieces
from precision.quantization._scale_rules import Way
from precision.quantization._spec_fields import SpecFields

if TYPE_CHECKING:
    from precision._kernels.numbers._group_scales import ScaleParams
    from precision._kernels.numbers._short_groups import Decoding


GROUPS = 16, 32

_KNOWN = {"fmt", "granularity", "scale_format", "scale_rule", "tensor_scale", "arithmetic"}


def quantizer(spec: SpecFields, dtype: np.dtype[Any]) -> Quantizer | None:
    """Return the fast loops for a spec and a type of source, for rows of whole groups of one of `GROUPS`.

    None is returned where the general loops must do it: these know no field of a spec beyond `_KNOWN`.
    """
    others = (f for f in fields(SpecFields) if f.name not in _KNOWN)
    if dtype != np.float32 or not all(getattr(spec, f.name) == f.default for f in others):
        return None
    by_powers = spec.scale_rule.recipe(spec.fmt).way is Way.POWER
    if spec.tensor_scale:
        known = spec.scale_format == E4M3 and spec.scale_rule.only_divides
    else:
        known = spec.scale_format == E8M0 and by_powers
    short = _short(spec.fmt)
    return Quantizer(spec, short) if known and short is not None else None


def suited(loops: Quantizer | None, group: int, width: int) -> Quantizer | None:
    """Return the fast loops of a spec, if it has any, where they suit rows of ``width`` in such groups."""
    return loops if group in GROUPS and width % group == 0 else None


def _short(fmt: Format) -> ShortParams | None:
    """Return the parameters of a format of elements that suits the loops, else None.

    It has at most 8 bits, and both signs alike.
    """
    params, short = format_params(fmt), short_params(fmt)
    alike = params.max_code == params.max_negative and (params.negative_zero or params.negate_flip)
    if fmt.bits > 8 or not alike or short is None or not nearest_suits(short, short.maximum):
        return None
    return short


@functools.lru_cache(maxsize=256)
def _decoding(fmt: Format) -> tuple[Decoding, int] | None:
    """Return the parameters of a format that the loops decode, and 1 for two's complement.

    None is returned for a format that they do not decode.
    """
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

    def __init__(self, spec: SpecFields, short: ShortParams) -> None:
        from precision._kernels.numbers import _short_groups

        self.kernels, self.divides = _short_groups, spec.scale_rule.only_divides
        self.scale_format = spec.scale_format
        nan = code_ends(spec.fmt, spec.overflow).nan_positive
        self.elements = _short_groups.Elements(short, format_params(spec.fmt), nan)

    def largest(self, x: Array, group: int) -> np.float32:
        """Return the largest magnitude of the groups of flat ``x`` without NaN and Inf."""
        bits = np.uint32(self.kernels.largest_finite(x.view(np.uint32), group))
        return bits.view(np.float32)

    def quantize(self, x: Array, group: int, how: ScaleParams, codes: Array, scales: Array) -> None:
        """Fill the codes of flat ``x`` and of its scales."""
        kernels = self.kernels
        factors = np.empty(kernels.TILE // min(GROUPS), np.float32)
        rest = scales, factors, factors.view(np.uint32), self.elements, codes
        bits = x.view(np.uint32)
        if not self.divides:
            # A float32's 52 fraction bits as a float64 end in 29 zeros, below which no sum carries.
            powers = kernels.Powers(how.addend >> 29, how.max_exponent)
            kernels.quantize_powers(x, bits, group, powers, *rest)
            return
        short = short_params(self.scale_format)
        assert short is not None
        target = kernels.Narrow(short, format_params(self.scale_format), how.least_code)
        nested = kernels.Nested(how.maximum, how.tensor_scale, how.factor, how.multiply)
        kernels.quantize_nested(x, bits, group, nested, target, *rest)


def dequantize(
    codes: Array, scales: Array, fmt: Format, scale_format: Format, tensor_scale: np.float32 | None,
    group: int, out: Array,
) -> bool:  # fmt: skip
    """Fill flat ``out`` from flat codes and the scales of their groups, and say whether the loops suit."""
    known = _decoding(fmt) if group in GROUPS and out.dtype == np.float32 else None
    if known is None:
        return False

    from precision._kernels.numbers import _short_groups

    # Half a line of the cache at a time goes past it; the pieces keep the alignment of the whole.
    streams = int(codes.nbytes + out.nbytes >= LARGE and out.ctypes.data % 16 == 0)
    scale_params = format_params(scale_format)
    factor = np.float32(1 if tensor_scale is None else tensor_scale)

    def work(start: int, stop: int) -> None:
        start, stop = start * _short_groups.TILE, min(stop * _short_groups.TILE, codes.size)
        part = scales[start // group : stop // group]
        _short_groups.dequantize(
            codes[start:stop], group, *known, part, scale_params, factor, streams, out[start:stop]
        )

    tiles = -(-codes.size // _short_groups.TILE)
    # Pieces of fewer codes would take less time than the call of a loop.
    in_pieces(work, tiles, max(1 << 16, min(1 << 20, codes.size >> 4)) // _short_groups.TILE)
    return True
