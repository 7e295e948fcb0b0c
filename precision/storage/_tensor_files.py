"""Quantized tensors in safetensors files (extra ``files``): `save` writes them, `load` reads them.

Codes are packed as `pack` does, and scales are stored in the order of their tensor.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, overload

import numpy as np

from precision._support._optional_packages import require
from precision._support._types import Array
from precision._support.files._strict_json import quote_text, strict_json
from precision._support.files._whole_files import draft
from precision._support.machine._float_environment import in_default_environment
from precision.formats._bit_packing import pack, row_bytes, unpack
from precision.formats._code_checks import clean_codes
from precision.formats._float_format import FloatFormat
from precision.formats._named import Format, parse_format
from precision.quantization._granularity import scale_shape
from precision.quantization._quantized_tensor import QuantizedTensor
from precision.storage import _array_files as files
from precision.storage._npy_files import check_shape

# ---- tensors in files ------------------------------------------------------------------------------------
_KEY, _VERSION = "precision", 1
_LONGEST_FORMAT = 1000  # the most characters of a format's text in the metadata
_NAMES = {np.dtype(kind): name for name, kind in files.DTYPES.items()}
_WRITER = {
    "F4": "float4_e2m1fn_x2",
    **{name: np.dtype(kind).name for name, kind in files.DTYPES.items()},
}
"""The types that the library's writer takes, by their names in a file's header."""


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
        The file. An existing one is replaced; no file is left half-written.
    tensors : mapping
        Tensors by name, of any shape, also without elements. Codes and scales are written in C order, and bit
        for bit, whatever their values.

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
    descriptions: dict[str, Any] = {}
    parts: dict[str, tuple[str, Array]] = {}
    for name, tensor in tensors.items():
        layouts = _find_layouts(tensor.fmt, tensor.shape)
        stored = next(kind for kind in layouts if kind in _WRITER)
        codes = clean_codes(tensor.codes, tensor.fmt, f"tensor {name!r}: codes")
        scale = clean_codes(tensor.scale, tensor.scale_format, f"tensor {name!r}: scale")
        parts[f"{name}.codes"] = stored, pack(codes, tensor.fmt) if _is_packed(tensor.fmt) else codes
        parts[f"{name}.scale"] = _find_unpacked_type(tensor.scale_format), scale
        if tensor.tensor_scale is not None:
            parts[f"{name}.tensor_scale"] = "F32", np.asarray(tensor.tensor_scale)
        descriptions[name] = {
            "fmt": str(tensor.fmt),
            "scale_format": str(tensor.scale_format),
            "shape": tensor.shape,
            "block": tensor.block,
            "tensor_scale": tensor.tensor_scale is not None,
            "stored": stored,
        }
    # The library takes addresses: the arrays must live until it has written them.
    written = {name: (kind, np.asarray(array, order="C")) for name, (kind, array) in parts.items()}
    specs = {
        name: safetensors.TensorSpec(
            dtype=_WRITER[kind], shape=array.shape, data_ptr=array.ctypes.data, data_len=array.nbytes
        )
        for name, (kind, array) in written.items()
    }
    metadata = {_KEY: json.dumps({"version": _VERSION, "tensors": descriptions})}
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
        The name of one tensor; only its bytes are read. By default all tensors are read.

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
    records = _read_records(path, metadata)
    if name is None:
        return {key: _load_tensor(path, entries, key, records[key]) for key in records}
    if name not in records:
        raise files.unknown_name_error(path, name, records)
    return _load_tensor(path, entries, name, records[name])


class _TensorRecord(NamedTuple):
    """The description of one tensor in the metadata of a file."""

    fmt: Format
    scale_format: FloatFormat
    shape: tuple[int, ...]
    block: tuple[int | None, ...]
    tensor_scale: bool
    stored: str

    @classmethod
    def read(cls, value: Any) -> _TensorRecord:
        """Read the description from decoded JSON, and check it."""
        texts = value["fmt"], value["scale_format"]
        if not all(type(text) is str and len(text) <= _LONGEST_FORMAT for text in texts):
            raise ValueError(f"fmt and scale_format must be the texts of formats, got {quote_text(texts)}")
        fmt, scale_format = map(parse_format, texts)
        if not isinstance(scale_format, FloatFormat):
            raise ValueError(f"scale_format must be a floating-point format, got {scale_format}")
        shape, block = tuple(value["shape"]), tuple(value["block"])
        check_shape(tuple(n for n in shape if type(n) is int), 4)
        if not all(type(n) is int and n >= 0 for n in shape) or not shape:
            raise ValueError(f"shape must be a list of whole numbers, got {quote_text(list(shape))}")
        whole = all(n is None or (type(n) is int and 0 < n < 1 << 63) for n in block)
        if not whole or len(block) != len(shape):
            text = quote_text(list(block))
            raise ValueError(f"block must have {len(shape)} positive entries or null, got {text}")
        if type(value["tensor_scale"]) is not bool or type(value["stored"]) is not str:
            raise ValueError("tensor_scale must be true or false, and stored the name of a type")
        return cls(fmt, scale_format, shape, block, value["tensor_scale"], value["stored"])


def _read_records(path: Path, metadata: Mapping[str, str]) -> dict[str, _TensorRecord]:
    """Return the descriptions of all tensors in the metadata of a file."""
    if _KEY not in metadata:
        raise ValueError(
            f"{path} was not written by storage.save: its header has no metadata {_KEY!r} "
            "(precision.storage.read_tensor reads plain tensors)"
        )
    try:
        found = strict_json(metadata[_KEY])
        version = found["version"]
        if type(version) is not int or version != _VERSION:
            raise ValueError(f"its version is {quote_text(version)}, and {_VERSION} can be read")
        tensors = dict(found["tensors"].items())
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"{path}: the metadata {_KEY!r} cannot be read: {_describe_error(error)}") from None
    result = {}
    for name, value in tensors.items():
        try:
            result[name] = _TensorRecord.read(value)
        except (ValueError, TypeError, KeyError) as error:
            raise ValueError(
                f"{path}: the metadata of tensor {quote_text(name)}: {_describe_error(error)}"
            ) from None
    return result


def _describe_error(error: Exception) -> str:
    """Return the message of an error; for a KeyError, that the key is missing."""
    return f"{error} is missing" if isinstance(error, KeyError) else str(error)


def _load_tensor(
    path: Path, entries: dict[str, files.TensorEntry], name: str, record: _TensorRecord
) -> QuantizedTensor:
    """Read the parts of one tensor and put them together."""
    layouts = _find_layouts(record.fmt, record.shape)
    if record.stored not in layouts:
        raise ValueError(
            f"{path}: the metadata of tensor {name!r} say that codes of {record.fmt} with shape "
            f"{record.shape} are stored as {record.stored}, which must be {' or '.join(layouts)}"
        )

    def read_part(kind: str, dtype: str, shape: tuple[int, ...]) -> Array:
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

    codes = read_part("codes", record.stored, layouts[record.stored])
    scales = scale_shape(record.shape, record.block)
    scale = read_part("scale", _find_unpacked_type(record.scale_format), scales).view(
        record.scale_format.code_dtype
    )
    tensor_scale = np.float32(read_part("tensor_scale", "F32", ())) if record.tensor_scale else None
    try:
        if _is_packed(record.fmt):
            codes = unpack(codes, record.fmt, record.shape[-1])
        return QuantizedTensor(
            codes.view(record.fmt.code_dtype),
            scale,
            fmt=record.fmt,
            tensor_scale=tensor_scale,
            block=record.block,
            scale_format=record.scale_format,
        )
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path}: tensor {name!r}: {error}") from None


def _is_packed(fmt: Format) -> bool:
    """Tell whether the codes of a format are packed in a file."""
    return fmt.bits < 16 and fmt.bits != 8


def _find_layouts(fmt: Format, shape: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    """Return the types under which a file may hold codes, each with the shape in the header."""
    if not _is_packed(fmt):
        return {_find_unpacked_type(fmt): shape}
    own = {kind: shape for kind, known in files.PACKED.items() if known == fmt}
    packed = {"U8": (*shape[:-1], row_bytes(shape[-1], fmt.bits))}
    return packed if shape[-1] * fmt.bits % 8 else own | packed


def _find_unpacked_type(fmt: Format) -> str:
    """Return the name of the type that unpacked codes have in a file.

    It is the format's own type if safetensors has it, else an unsigned integer.
    """
    return _NAMES.get(fmt.dtype, f"U{8 * fmt.code_dtype.itemsize}")
