"""The fast path for groups of 16 or 32 elements (MX and NVFP4), which gives the bits of the general loops."""

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
from precision.quantization._scale_rules import ScaleFormula
from precision.quantization._spec_fields import SpecFields

if TYPE_CHECKING:
    from precision._kernels.numbers._group_scales import ScaleParams
    from precision._kernels.numbers._short_groups import Decoding


GROUPS = 16, 32

_KNOWN = {"fmt", "granularity", "scale_format", "scale_rule", "tensor_scale", "arithmetic"}


def quantizer(spec: SpecFields, dtype: np.dtype[Any]) -> Quantizer | None:
    """Return the fast loops for a spec and a type of source, or None if the spec needs the general loops.

    The fast loops know no fields of a spec but those in `_KNOWN`, and take rows of whole groups of one of the
    lengths in `GROUPS`.
    """
    others = (f for f in fields(SpecFields) if f.name not in _KNOWN)
    if dtype != np.float32 or not all(getattr(spec, f.name) == f.default for f in others):
        return None
    recipe = spec.scale_rule.recipe(spec.fmt)
    # The loops take zeros for an amax of 2**-159, whose scale must be below the least one, 2**-127.
    by_powers = recipe.formula is ScaleFormula.POWER and (recipe.added >> 52) - spec.fmt.max_exponent <= 32
    if spec.tensor_scale:
        known = spec.scale_format == E4M3 and spec.scale_rule.only_divides
    else:
        known = spec.scale_format == E8M0 and by_powers
    short = _short(spec.fmt)
    return Quantizer(spec, short) if known and short is not None else None


def choose_loops(loops: Quantizer | None, group: int, width: int) -> Quantizer | None:
    """Return ``loops`` if they suit rows of ``width`` elements in groups of ``group``, else None."""
    return loops if group in GROUPS and width % group == 0 else None


def _short(fmt: Format) -> ShortParams | None:
    """Return the parameters of an element format for the fast loops, or None if these do not suit it.

    They suit formats of at most 8 bits in which both signs have the same magnitudes.
    """
    params, short = format_params(fmt), short_params(fmt)
    alike = params.max_code == params.max_negative and (params.negative_zero or params.negate_flip)
    if fmt.bits > 8 or not alike or short is None or not nearest_suits(short, short.maximum):
        return None
    return short


@functools.lru_cache(maxsize=256)
def _decoding(fmt: Format) -> tuple[Decoding, int] | None:
    """Return the parameters by which the fast loops decode a format, and 1 for two's complement, else 0.

    None is returned for a format that they cannot decode.
    """
    from precision._kernels.numbers._short_groups import Decoding

    params, short = format_params(fmt), _short(fmt)
    if short is None or 0 <= params.nan_code <= params.max_code:
        return None
    if not short.offset:  # the loops use half the least normal value, which must be normal in float32
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
    """The fast loops of one spec, with the parameters that they need."""

    def __init__(self, spec: SpecFields, short: ShortParams) -> None:
        from precision._kernels.numbers import _short_groups

        self.kernels, self.divides = _short_groups, spec.scale_rule.only_divides
        self.scale_format = spec.scale_format
        nan = code_ends(spec.fmt, spec.overflow).nan_positive
        self.elements = _short_groups.Elements(short, format_params(spec.fmt), nan)

    def largest(self, x: Array, group: int) -> np.float32:
        """Return the largest magnitude in flat ``x``, groups with a NaN or Inf left out."""
        bits = np.uint32(self.kernels.largest_finite(x.view(np.uint32), group))
        return bits.view(np.float32)

    def quantize(self, x: Array, group: int, how: ScaleParams, codes: Array, scales: Array) -> None:
        """Write the codes of flat ``x`` to ``codes``, and those of its groups' scales to ``scales``."""
        kernels = self.kernels
        factors = np.empty(kernels.TILE // min(GROUPS), np.float32)
        rest = scales, factors, factors.view(np.uint32), self.elements, codes
        bits = x.view(np.uint32)
        if not self.divides:
            # Converted to float64, a float32 has 29 zeros at the end of its fraction: they carry nothing.
            powers = kernels.Powers(how.addend >> 29, how.max_exponent)
            kernels.quantize_powers(x, bits, group, powers, *rest)
            return
        short = short_params(self.scale_format)
        assert short is not None
        target = kernels.Narrow(short, format_params(self.scale_format), how.least_code)
        nested = kernels.Nested(how.maximum, how.tensor_scale, how.factor, how.rule.multiply.number)
        kernels.quantize_nested(x, bits, group, nested, target, *rest)


def dequantize(
    codes: Array, scales: Array, fmt: Format, scale_format: Format, tensor_scale: np.float32 | None,
    group: int, out: Array,
) -> bool:  # fmt: skip
    """Write the values of flat codes to flat ``out``, and return True; return False if no fast loop suits."""
    known = _decoding(fmt) if group in GROUPS and out.dtype == np.float32 else None
    if known is None:
        return False

    from precision._kernels.numbers import _short_groups

    # Large results are stored past the caches, 16 bytes at a time; pieces keep the alignment of the whole.
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
