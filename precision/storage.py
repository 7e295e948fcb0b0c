"""How quantized tensors lie in memory and in files: packed codes, swizzled scales, safetensors.

`pack` and `unpack` turn codes into a bit stream and back, `swizzle` and `unswizzle` put scales into the order
that cuBLAS reads, `save` and `load` keep whole tensors in a file (extra ``files``).
"""

from __future__ import annotations

import json
import operator
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, overload

import ml_dtypes
import numpy as np
import numpy.typing as npt

from precision import tensors as files
from precision._bit_packing import pack, row_bytes, unpack
from precision._codes import clean_codes
from precision._extras import require
from precision._files import draft
from precision._npy_files import check_shape
from precision._support._arrays import refuse_masked
from precision._support._float_environment import in_default_environment
from precision._support._strict_json import shown, strict_json
from precision.formats import FloatFormat, Format, parse_format
from precision.quantized import QuantizedTensor
from precision.scaling import scale_shape

__all__ = ["load", "pack", "save", "swizzle", "unpack", "unswizzle"]

Array = npt.NDArray[Any]

_TILE_ROWS, _TILE_COLUMNS = 128, 4
_SCALE_DTYPES = [np.dtype(t) for t in (ml_dtypes.float8_e8m0fnu, ml_dtypes.float8_e4m3fn, np.uint8)]


# ---- scales in cuBLAS's order ----------------------------------------------------------------------------
@in_default_environment
def swizzle(scale: Array) -> Array:
    """One-byte scales in the order in which cuBLAS reads those of MX and NVFP4 operands.

    The matrix is cut into tiles of 128 x 4, padded with zero bytes, and the tiles follow each other row by
    row. Inside a tile of 512 bytes the scale in row r and column c lies at byte
    ``(r % 32) * 16 + (r // 32) * 4 + c`` (cuBLAS documentation, block scaling factors layout).

    Parameters
    ----------
    scale : ndarray
        E8M0, E4M3, or uint8 (UE4M3 and any other format of 8 bits or fewer), of shape (..., rows, columns).
        Columns run along K: the scales of a right operand (K, N) are those of its ``mT``.

    Returns
    -------
    ndarray
        New, uint8, of shape (..., 512 * ceil(rows / 128) * ceil(columns / 4)).

    Raises
    ------
    TypeError
        If ``scale`` is no array of one of these types.
    ValueError
        If it has fewer than two axes.

    Examples
    --------
    >>> import numpy as np, precision as pr
    >>> from precision import storage
    >>> q = pr.quantize(np.ones((200, 256), np.float32), pr.MXFP8_E4M3)
    >>> q.scale.shape, storage.swizzle(q.scale).shape
    ((200, 8), (2048,))
    """
    refuse_masked("scale", scale)
    if not isinstance(scale, np.ndarray):
        raise TypeError(f"scale must be an ndarray, got {type(scale).__name__}")
    if scale.dtype not in _SCALE_DTYPES:
        raise TypeError(f"scale must be of {', '.join(map(str, _SCALE_DTYPES))}, got {scale.dtype}")
    if scale.ndim < 2:
        raise ValueError(f"scale must have at least two axes, got shape {scale.shape}")
    *batch, rows, columns = scale.shape
    high, wide = _grid(rows, columns)
    padded = np.zeros((*batch, high * _TILE_ROWS, wide * _TILE_COLUMNS), np.uint8)
    padded[..., :rows, :columns] = scale.view(np.uint8)
    fours = padded.view(np.uint32).reshape(*batch, high, 4, 32, wide)  # four columns move as one
    return np.ascontiguousarray(fours.swapaxes(-3, -1)).view(np.uint8).reshape(*batch, 512 * high * wide)


@in_default_environment
def unswizzle(swizzled: Array, shape: Sequence[int]) -> Array:
    """The scales that `swizzle` put in order.

    Parameters
    ----------
    swizzled : ndarray
        uint8, of shape (..., 512 * ceil(rows / 128) * ceil(columns / 4)). What pads the tiles is not
        looked at.
    shape : sequence of int
        Of the scales, (..., rows, columns).

    Returns
    -------
    ndarray
        New, uint8, of that shape; a view as the scales' own type gives them back.

    Raises
    ------
    TypeError
        If an argument has another type.
    ValueError
        If the shapes do not belong together.

    Examples
    --------
    >>> import numpy as np, precision as pr
    >>> from precision import storage
    >>> scale = pr.encode(np.float32([[1, 2, 4], [8, 16, 32]]), pr.E8M0)
    >>> back = storage.unswizzle(storage.swizzle(scale), (2, 3)).view(scale.dtype)
    >>> bool((back == scale).all())
    True
    """
    if not isinstance(swizzled, np.ndarray) or swizzled.dtype != np.uint8:
        got = swizzled.dtype if isinstance(swizzled, np.ndarray) else type(swizzled).__name__
        raise TypeError(f"swizzled must be an ndarray of uint8, got {got}")
    try:
        sizes = tuple(operator.index(n) for n in shape)
    except TypeError:
        raise TypeError(f"shape must be a sequence of ints, got {shape!r}") from None
    if len(sizes) < 2 or min(sizes) < 0:
        raise ValueError(f"shape must be the scales' (..., rows, columns), got {sizes}")
    *batch, rows, columns = sizes
    high, wide = _grid(rows, columns)
    expected = (*batch, 512 * high * wide)
    if swizzled.shape != expected:
        raise ValueError(
            f"swizzled must have shape {expected} for scales of shape {sizes}, got {swizzled.shape}"
        )
    fours = np.ascontiguousarray(swizzled).view(np.uint32).reshape(*batch, high, wide, 32, 4)
    padded = np.ascontiguousarray(fours.swapaxes(-3, -1)).view(np.uint8)
    padded = padded.reshape(*batch, high * _TILE_ROWS, wide * _TILE_COLUMNS)
    return np.array(padded[..., :rows, :columns], order="C")


def _grid(rows: int, columns: int) -> tuple[int, int]:
    return -(-rows // _TILE_ROWS), -(-columns // _TILE_COLUMNS)


# ---- tensors in files ------------------------------------------------------------------------------------
_KEY, _VERSION = "precision", 1
_LONGEST_FORMAT = 1000  # signs of a format's text in the metadata
_NAMES = {np.dtype(kind): name for name, kind in files.DTYPES.items()}
_WRITER = {
    "F4": "float4_e2m1fn_x2",
    **{name: np.dtype(kind).name for name, kind in files.DTYPES.items()},
}
"""The types that the library's writer takes, by their names in a header."""


@in_default_environment
def save(path: str | Path, tensors: Mapping[str, QuantizedTensor]) -> None:
    """Write quantized tensors to a safetensors file.

    A tensor ``w`` becomes ``w.codes``, ``w.scale`` and, if it has one, ``w.tensor_scale`` (float32, no
    axes). The header's metadata hold, under ``precision``, a JSON object that says of each tensor its
    ``fmt``, ``scale_format``, ``shape`` and ``block``, whether it has a ``tensor_scale``, and as what its
    codes are ``stored``.

    Codes of fewer than 8 bits, and of 9 to 15, are packed by `pack`. E2M1 is stored as F4, which is the same
    bytes; where an odd number of codes ends a row inside a byte, and for every other such format, the packed
    bytes are stored as U8: the library (0.8) reads F6_E2M3 and F6_E3M2, but its writer refuses them, and
    has no type for the rest. E4M3, E5M2, their FNUZ kin, E8M0, FP16, BF16, FP32 and the integers of 8 and 16
    bits are stored under their own types; other formats of 8, 16 and more bits as U8, U16 and U32. Scales
    are not packed.

    Parameters
    ----------
    path : path
        The file; one that is there is replaced, and none is left half-written.
    tensors : mapping
        From names to tensors. Codes and scales are written in C order, whatever theirs in memory.

    Raises
    ------
    TypeError
        If ``tensors`` is no mapping of strings to QuantizedTensors.
    OSError
        If the file cannot be written.
    ImportError
        If safetensors is not installed.

    Examples
    --------
    >>> import tempfile, numpy as np, precision as pr
    >>> from precision import storage
    >>> q = pr.quantize(np.ones((4, 64), np.float32), pr.NVFP4)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     storage.save(f"{folder}/w.safetensors", {"w": q})
    ...     back = storage.load(f"{folder}/w.safetensors", "w")
    >>> back.shape, back.block, str(back.fmt), str(back.scale_format)
    ((4, 64), (1, 16), 'e2m1', 'e4m3')
    """
    safetensors = require("safetensors", "files")
    if not isinstance(tensors, Mapping):
        raise TypeError(f"tensors must be a mapping of names to QuantizedTensors, got {tensors!r}")
    for name, tensor in tensors.items():
        if not isinstance(name, str):
            raise TypeError(f"tensors must have names that are str, got {name!r}")
        if not isinstance(tensor, QuantizedTensor):
            raise TypeError(f"tensors must hold QuantizedTensors, got {type(tensor).__name__} as {name!r}")
    said: dict[str, Any] = {}
    parts: dict[str, tuple[str, Array]] = {}
    for name, tensor in tensors.items():
        layouts = _layouts(tensor.fmt, tensor.shape)
        stored = next(kind for kind in layouts if kind in _WRITER)
        codes = clean_codes(tensor.codes, tensor.fmt, f"tensor {name!r}: codes")
        scale = clean_codes(tensor.scale, tensor.scale_format, f"tensor {name!r}: scale")
        parts[f"{name}.codes"] = stored, pack(codes, tensor.fmt) if _is_packed(tensor.fmt) else codes
        parts[f"{name}.scale"] = _plain_type(tensor.scale_format), scale
        if tensor.tensor_scale is not None:
            parts[f"{name}.tensor_scale"] = "F32", np.asarray(tensor.tensor_scale)
        said[name] = {
            "fmt": str(tensor.fmt),
            "scale_format": str(tensor.scale_format),
            "shape": tensor.shape,
            "block": tensor.block,
            "tensor_scale": tensor.tensor_scale is not None,
            "stored": stored,
        }
    # The library takes addresses: the arrays must live until it has written them.
    held = {name: (kind, np.asarray(array, order="C")) for name, (kind, array) in parts.items()}
    specs = {
        name: safetensors.TensorSpec(
            dtype=_WRITER[kind], shape=array.shape, data_ptr=array.ctypes.data, data_len=array.nbytes
        )
        for name, (kind, array) in held.items()
    }
    metadata = {_KEY: json.dumps({"version": _VERSION, "tensors": said})}
    with draft(path) as beside:
        try:
            safetensors.serialize_file(specs, beside, metadata)
        except safetensors.SafetensorError as error:
            raise OSError(f"{path} cannot be written: {error}") from None


@overload
def load(path: str | Path, name: None = None) -> dict[str, QuantizedTensor]: ...
@overload
def load(path: str | Path, name: str) -> QuantizedTensor: ...
@in_default_environment
def load(path: str | Path, name: str | None = None) -> dict[str, QuantizedTensor] | QuantizedTensor:
    """Read the quantized tensors that `save` wrote.

    Parameters
    ----------
    path : path
        The file.
    name : str, optional
        Of one tensor; only its bytes are read.

    Returns
    -------
    QuantizedTensor or dict
        The tensor of that name, or all of them by their names; equal to those saved in every bit.

    Raises
    ------
    ValueError
        If the file is no safetensors file, is truncated, was not written by `save`, holds other types,
        shapes or bytes than its metadata say, or has no tensor of that name (with near names).
    OSError
        If it cannot be read.
    ImportError
        If safetensors is not installed.

    Examples
    --------
    >>> import tempfile, numpy as np, precision as pr
    >>> from precision import storage
    >>> x = np.random.default_rng(0).standard_normal((8, 64), np.float32)
    >>> q = pr.quantize(x, pr.MXFP6_E2M3)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     storage.save(f"{folder}/x.safetensors", {"x": q})
    ...     back = storage.load(f"{folder}/x.safetensors")
    >>> list(back), bool((back["x"].dequantize() == q.dequantize()).all())
    (['x'], True)
    """
    path = Path(path)
    entries, metadata = files.read_header(path), files.read_metadata(path)
    said = _said(path, metadata)
    if name is None:
        return {key: _loaded(path, entries, key, said[key]) for key in said}
    if name not in said:
        raise files.unknown_name(path, name, said)
    return _loaded(path, entries, name, said[name])


class _Said(NamedTuple):
    """What the metadata say of one tensor."""

    fmt: Format
    scale_format: FloatFormat
    shape: tuple[int, ...]
    block: tuple[int | None, ...]
    tensor_scale: bool
    stored: str

    @classmethod
    def read(cls, value: Any) -> _Said:
        texts = value["fmt"], value["scale_format"]
        if not all(type(text) is str and len(text) <= _LONGEST_FORMAT for text in texts):
            raise ValueError(f"fmt and scale_format must be the texts of formats, got {shown(texts)}")
        fmt, scale_format = map(parse_format, texts)
        if not isinstance(scale_format, FloatFormat):
            raise ValueError(f"scale_format must be a floating-point format, got {scale_format}")
        shape, block = tuple(value["shape"]), tuple(value["block"])
        check_shape(tuple(n for n in shape if type(n) is int), 4)
        if not all(type(n) is int and n >= 0 for n in shape) or not shape:
            raise ValueError(f"shape must be a list of whole numbers, got {shown(list(shape))}")
        whole = all(n is None or (type(n) is int and 0 < n < 1 << 63) for n in block)
        if not whole or len(block) != len(shape):
            said = shown(list(block))
            raise ValueError(f"block must have {len(shape)} positive entries or null, got {said}")
        if type(value["tensor_scale"]) is not bool or type(value["stored"]) is not str:
            raise ValueError("tensor_scale must be true or false, and stored the name of a type")
        return cls(fmt, scale_format, shape, block, value["tensor_scale"], value["stored"])


def _said(path: Path, metadata: Mapping[str, str]) -> dict[str, _Said]:
    if _KEY not in metadata:
        raise ValueError(
            f"{path} was not written by storage.save: its header has no metadata {_KEY!r} "
            "(precision.tensors.read_tensor reads plain tensors)"
        )
    try:
        found = strict_json(metadata[_KEY])
        version = found["version"]
        if type(version) is not int or version != _VERSION:
            raise ValueError(f"its version is {shown(version)}, and {_VERSION} can be read")
        said = dict(found["tensors"].items())
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"{path}: the metadata {_KEY!r} cannot be read: {_words(error)}") from None
    result = {}
    for name, value in said.items():
        try:
            result[name] = _Said.read(value)
        except (ValueError, TypeError, KeyError) as error:
            raise ValueError(f"{path}: the metadata of tensor {shown(name)}: {_words(error)}") from None
    return result


def _words(error: Exception) -> str:
    return f"{error} is missing" if isinstance(error, KeyError) else str(error)


def _loaded(path: Path, entries: dict[str, files.TensorEntry], name: str, said: _Said) -> QuantizedTensor:
    layouts = _layouts(said.fmt, said.shape)
    if said.stored not in layouts:
        raise ValueError(
            f"{path}: the metadata of tensor {name!r} say that codes of {said.fmt} with shape {said.shape} "
            f"are stored as {said.stored}, which must be {' or '.join(layouts)}"
        )

    def part(kind: str, dtype: str, shape: tuple[int, ...]) -> Array:
        full = f"{name}.{kind}"
        if full not in entries:
            raise ValueError(f"{path}: tensor {full!r}, which the metadata of {name!r} need, is missing")
        entry = entries[full]
        if (entry.dtype, entry.shape) != (dtype, shape):
            raise ValueError(
                f"{path}: tensor {full!r} must be {dtype} of shape {shape}, as the metadata of {name!r} "
                f"say, and is {entry.dtype} of shape {entry.shape}"
            )
        return files.read_entry(path, full, entry)

    codes = part("codes", said.stored, layouts[said.stored])
    scales = scale_shape(said.shape, said.block)
    scale = part("scale", _plain_type(said.scale_format), scales).view(said.scale_format.code_dtype)
    tensor_scale = np.float32(part("tensor_scale", "F32", ())) if said.tensor_scale else None
    try:
        if _is_packed(said.fmt):
            codes = unpack(codes, said.fmt, said.shape[-1])
        return QuantizedTensor(
            codes.view(said.fmt.code_dtype),
            scale,
            fmt=said.fmt,
            tensor_scale=tensor_scale,
            block=said.block,
            scale_format=said.scale_format,
        )
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path}: tensor {name!r}: {error}") from None


def _is_packed(fmt: Format) -> bool:
    return fmt.bits < 16 and fmt.bits != 8


def _layouts(fmt: Format, shape: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    """The types under which a file may hold such codes, each with the shape in the header."""
    if not _is_packed(fmt):
        return {_plain_type(fmt): shape}
    own = {kind: shape for kind, known in files.PACKED.items() if known == fmt}
    packed = {"U8": (*shape[:-1], row_bytes(shape[-1], fmt.bits))}
    return packed if shape[-1] * fmt.bits % 8 else own | packed


def _plain_type(fmt: Format) -> str:
    """The type of unpacked codes: the format's own, else unsigned integers."""
    return _NAMES.get(fmt.dtype, f"U{8 * fmt.code_dtype.itemsize}")
