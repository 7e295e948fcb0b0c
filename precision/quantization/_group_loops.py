"""The fast path for groups of 16 or 32 elements (MX and NVFP4), which gives the bits of the general loops."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any

import numpy as np

from precision._kernels._params import ShortParams
from precision._support._plans import planned
from precision._support._types import Array
from precision._support.machine._aligned_memory import LARGE
from precision.formats._codec_constants import float_bits, format_params, nearest_suits, short_params
from precision.formats._named import E4M3, E8M0, Format
from precision.quantization._row_views import in_pieces
from precision.quantization._scale_rules import Arithmetic, ScaleFormula
from precision.quantization._spec_fields import SpecFields

if TYPE_CHECKING:
    from precision._kernels.numbers._packed_params import Packed


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
    return Quantizer(spec) if known and _short(spec.fmt) is not None else None


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


@planned
def decoding(fmt: Format, scale_format: Format) -> Array | None:
    """Return the numbers by which the fast loops decode a format and its scales, or None if they cannot."""
    params, short = format_params(fmt), _short(fmt)
    if short is None or 0 <= params.nan_code <= params.max_code:
        return None
    if not short.offset:  # the loops use half the least normal value, which must be normal in float32
        return None
    numbers = (
        32 - fmt.bits,
        params.magnitude_mask,
        1 << params.fraction_bits,
        short.offset,
        short.shift,
        params.mask if params.nan_code < 0 else params.max_code,
        params.mask if params.inf_code < 0 else params.inf_code,
        float_bits(2.0 ** (params.min_exponent - params.fraction_bits), 4),
        int(params.negate_flip > 0),
        *format_params(scale_format),
    )
    return np.array(numbers, np.int64)


class Quantizer:
    """The fast loops of one spec."""

    def __init__(self, spec: SpecFields) -> None:
        from precision._kernels.numbers import _flat_calls, _short_groups

        self.divides = spec.scale_rule.only_divides
        self._largest, self._powers = _short_groups.largest_finite, _flat_calls.quantize_by_powers
        self._under_scale, self._with_scale = (
            _flat_calls.quantize_under_scale,
            _flat_calls.quantize_with_scale,
        )
        self.order = {
            Arithmetic.DIVISION: _flat_calls.DIVISION,
            Arithmetic.NVFP4_PAPER: _flat_calls.NVFP4_PAPER,
            Arithmetic.TRANSFORMER_ENGINE: _flat_calls.TRANSFORMER_ENGINE,
        }[spec.arithmetic]

    def largest(self, x: Array, group: int) -> np.float32:
        """Return the largest magnitude in flat ``x``, groups with a NaN or Inf left out."""
        bits = np.uint32(self._largest(x.view(np.uint32), group))
        return bits.view(np.float32)

    def quantize(self, x: Array, group: int, parameters: Packed, codes: Array, scales: Array) -> None:
        """Write the codes of flat ``x`` to ``codes``, and those of its groups' scales to ``scales``."""
        if self.divides:
            self._under_scale(x, group, scales, codes, *parameters, self.order)
        else:
            self._powers(x, group, scales, codes, *parameters)

    def quantize_all(
        self, x: Array, group: int, parameters: Packed, span: float, codes: Array, scales: Array
    ) -> np.float32:
        """Write the codes and scales of a whole flat array, and return its tensor scale.

        ``span`` is the product of the largest element and the largest scale.
        """
        found = np.empty(1, np.float32)
        self._with_scale(x, group, scales, codes, *parameters, self.order, span, found)
        return np.float32(found[0])


def dequantize(
    codes: Array, scales: Array, fmt: Format, scale_format: Format, tensor_scale: np.float32 | None,
    group: int, out: Array, new: bool,
) -> bool:  # fmt: skip
    """Write the values of flat codes to flat ``out``, and return True; return False if no fast loop suits.

    ``new`` tells that ``out`` was not written before.
    """
    whole = 16 <= group <= 4096 and group & (group - 1) == 0  # else a tile is no number of groups
    known = decoding(fmt, scale_format) if whole and out.dtype == np.float32 else None
    if known is None:
        return False

    from precision._kernels.numbers._flat_calls import TILE, dequantize_groups

    # Large results are stored past the caches, 16 bytes at a time; pieces keep the alignment of the whole.
    # (The system clears the pages of new memory as they are first written to: they are in the caches then.)
    streams = int(not new and codes.nbytes + out.nbytes >= LARGE and out.ctypes.data % 16 == 0)
    factor = 1.0 if tensor_scale is None else float(tensor_scale)

    def work(start: int, stop: int) -> None:
        start, stop = start * TILE, min(stop * TILE, codes.size)
        part = scales[start // group : stop // group]
        dequantize_groups(codes[start:stop], group, part, known, factor, streams, out[start:stop])

    # Pieces of fewer codes would take less time than the call of a loop.
    in_pieces(work, -(-codes.size // TILE), max(1 << 16, min(1 << 20, codes.size >> 4)) // TILE)
    return True
