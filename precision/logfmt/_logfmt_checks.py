"""Checks of the parts of LogFMT specs and tensors; each error names the part."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from precision._support._argument_checks import check_int
from precision._support._array_checks import refuse_masked, refuse_overlapping
from precision._support._shared_memory import refuse_shared
from precision._support._types import Array
from precision.formats._code_checks import largest_code
from precision.formats._float_format import FloatFormat
from precision.formats._named import FP16
from precision.formats._rounding_modes import Rounding, Stochastic
from precision.logfmt._design_choices import BelowClamp, Fallback, LogBase, Metadata, SingleValued, Space
from precision.logfmt._logfmt_fields import METADATA_TYPES, LogFMTFields
from precision.logfmt._stored_numbers import cast_elements
from precision.quantization._scale_rules import NonFinite

_TYPES: dict[str, type] = {
    "base": LogBase,
    "space": Space,
    "below_clamp": BelowClamp,
    "metadata": Metadata,
    "single_valued": SingleValued,
    "non_finite": NonFinite,
    "from_stored": bool,
    "skip_zeros": bool,
    "negative_zero": bool,
}
_TO_NEAREST = Rounding.TIES_TO_EVEN, Rounding.TIES_TO_AWAY


def check_fields(fields: LogFMTFields) -> dict[str, int]:
    """Raise TypeError or ValueError unless the parameters are right; return the whole numbers as ints."""
    numbers = {
        "bits": check_int("bits", fields.bits, 3, 16),
        "block_size": check_int("block_size", fields.block_size, 1, 2**31),
    }
    for name, kind in _TYPES.items():
        if not isinstance(getattr(fields, name), kind):
            raise TypeError(f"{name} must be of type {kind.__name__}, got {getattr(fields, name)!r}")
    if not isinstance(fields.rounding, Stochastic | Rounding):
        raise TypeError(f"rounding must be a Rounding or Stochastic, got {fields.rounding!r}")
    if isinstance(fields.rounding, Rounding) and fields.rounding not in _TO_NEAREST:
        raise ValueError(
            f"rounding must be TIES_TO_EVEN, TIES_TO_AWAY or Stochastic(...), got {fields.rounding}"
        )
    if fields.clamp is not None:
        numbers["clamp"] = check_int("clamp", fields.clamp, 1, 4096)
    elif not fields.skip_zeros:
        raise ValueError("skip_zeros=False needs a clamp: else one zero makes min minus infinity")
    _check_metadata_format(fields)
    return numbers


def _check_metadata_format(fields: LogFMTFields) -> None:
    if not isinstance(fields.metadata_format, FloatFormat):
        raise TypeError(f"metadata_format must be a FloatFormat, got {fields.metadata_format!r}")
    if fields.metadata_format not in METADATA_TYPES:
        raise ValueError(f"metadata_format must be FP32, BF16 or FP16, got {fields.metadata_format}")
    extremes = fields.metadata is Metadata.EXTREMES
    if extremes and fields.metadata_format == FP16:
        raise ValueError("metadata_format must be FP32 or BF16 with EXTREMES, got fp16")
    if fields.fallback is None:
        return
    if not isinstance(fields.fallback, Fallback):
        raise TypeError(f"fallback must be a Fallback or None, got {fields.fallback!r}")
    if not extremes:
        raise ValueError("fallback needs metadata=EXTREMES, from which the reader sees which tiles are cast")
    if fields.fallback.span % fields.block_size:
        raise ValueError(
            f"fallback must have a span that block_size={fields.block_size} divides, "
            f"got {fields.fallback.span}"
        )


def check_codes_array(codes: object, fields: LogFMTFields) -> None:
    """Raise TypeError or ValueError unless ``codes`` is an array of the spec's type with an axis."""
    refuse_masked("codes", codes)
    if not isinstance(codes, np.ndarray) or codes.dtype != fields.code_dtype:
        raise TypeError(f"codes must be an ndarray of {fields.code_dtype}, got {_type_of(codes)}")
    if codes.ndim == 0:
        raise ValueError("codes must have at least one axis, got none")


def check_metadata_arrays(metadata: object, codes: Array, fields: LogFMTFields, axis: int) -> None:
    """Raise TypeError or ValueError unless ``metadata`` is two arrays of the spec's type and tiles."""
    kind, shape = METADATA_TYPES[fields.metadata_format], fields.tiles_shape(codes.shape, axis)
    if not isinstance(metadata, tuple) or len(metadata) != 2:
        raise TypeError(f"metadata must be a tuple of two ndarrays, got {type(metadata).__name__}")
    for array in metadata:
        refuse_masked("metadata", array)
        if not isinstance(array, np.ndarray) or array.dtype != kind:
            raise TypeError(f"metadata must be ndarrays of {kind}, got {_type_of(array)}")
        if array.shape != shape:
            raise ValueError(
                f"metadata must have shape {shape} for codes of {codes.shape} in tiles of "
                f"{fields.block_size} along axis {axis}, got {array.shape}"
            )


def _type_of(value: object) -> Any:
    return value.dtype if isinstance(value, np.ndarray) else type(value).__name__


def check_codes(codes: Array, metadata: tuple[Array, Array], fields: LogFMTFields, axis: int) -> None:
    """Raise ValueError unless the code of every element that is cast lies below ``2**bits``."""
    if fields.bits < 8 * codes.itemsize and largest_code(codes) >> fields.bits:
        cast = codes if fields.fallback is None else codes[cast_elements(codes.shape, metadata, fields, axis)]
        if cast.size and int(cast.max()) >> fields.bits:
            raise ValueError(f"codes of {fields} must lie below 2**{fields.bits}, got {cast.max()}")


def check_numbers(metadata: tuple[Array, Array], fields: LogFMTFields) -> None:
    """Raise ValueError unless the two numbers of every tile are a pair that quantizing can store.

    That is two NaNs; a finite min with a finite step that is not negative; or two finite extremes, neither
    of them negative, the smallest not above the largest.
    """
    first, second = (array.astype(np.float64) for array in metadata)
    good = (np.isnan(first) & np.isnan(second)) | (np.isfinite(first) & (second >= 0) & (second < np.inf))
    if fields.metadata is Metadata.EXTREMES:
        good &= np.isnan(first) | ((first >= 0) & (first <= second))
    if not good.all():
        place = tuple(int(i) for i in np.argwhere(~good)[0])
        pair = f"{first[place]} and {second[place]}"
        raise ValueError(f"metadata must be what {fields} stores, got {pair} for tile {place}")


def check_writable(codes: Array, metadata: tuple[Array, Array]) -> None:
    """Raise ValueError unless the arrays of ``out`` can be written, each element in memory of its own."""
    if not all(array.flags.writeable for array in (codes, *metadata)):
        raise ValueError("out must be writable, got read-only codes or metadata")
    first, second = metadata
    refuse_shared(codes=codes, **{"metadata[0]": first, "metadata[1]": second})
    refuse_overlapping("the codes of out", codes)
    for array in metadata:
        refuse_overlapping("the metadata of out", array)


def checked_shape(shape: object) -> tuple[int, ...]:
    """Return ``shape`` as a tuple of ints; raise TypeError or ValueError if it is no shape of an array."""
    try:
        sizes = tuple(operator.index(size) for size in shape)  # type: ignore[attr-defined]
    except TypeError:
        raise TypeError(f"shape must be a tuple of ints, got {shape!r}") from None
    if not sizes or min(sizes) < 0:
        raise ValueError(f"shape must have at least one axis and no negative size, got {sizes}")
    return sizes
