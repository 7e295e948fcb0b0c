"""Reading matrices from .npy and safetensors files.

The safetensors layout (8 bytes of header length, a JSON header, the data) is read here, not by the
library: it takes forty lines, reads one tensor of a large file without the others, and keeps the
types that NumPy knows only through ml_dtypes.
"""

from __future__ import annotations

import difflib
import json
import math
from pathlib import Path
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np
import numpy.typing as npt

__all__ = ["TensorEntry", "read_header", "read_tensor"]

_HEADER_LIMIT = 100_000_000  # the format's own

_DTYPES: dict[str, npt.DTypeLike] = {
    "F64": np.float64,
    "F32": np.float32,
    "F16": np.float16,
    "BF16": ml_dtypes.bfloat16,
    "F8_E4M3": ml_dtypes.float8_e4m3fn,
    "F8_E5M2": ml_dtypes.float8_e5m2,
    "F8_E8M0": ml_dtypes.float8_e8m0fnu,
    "F8_E4M3FNUZ": ml_dtypes.float8_e4m3fnuz,
    "F8_E5M2FNUZ": ml_dtypes.float8_e5m2fnuz,
    "I64": np.int64,
    "I32": np.int32,
    "I16": np.int16,
    "I8": np.int8,
    "U64": np.uint64,
    "U32": np.uint32,
    "U16": np.uint16,
    "U8": np.uint8,
    "BOOL": np.bool_,
}


class TensorEntry(NamedTuple):
    """Where a safetensors file keeps one tensor: ``start`` and ``stop`` are bytes from the file's start."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    stop: int


def _entry(path: Path, name: str, value: Any, data_start: int, size: int) -> TensorEntry:
    try:
        start, stop = (int(offset) + data_start for offset in value["data_offsets"])
        entry = TensorEntry(str(value["dtype"]), tuple(int(n) for n in value["shape"]), start, stop)
    except (KeyError, TypeError, ValueError):
        raise ValueError(f"{path}: the header's entry for tensor {name!r} is malformed") from None
    if not data_start <= start <= stop or min(entry.shape, default=0) < 0:
        raise ValueError(f"{path}: the header's entry for tensor {name!r} is malformed")
    if stop > size:
        raise ValueError(
            f"{path} is truncated: tensor {name!r} ends at byte {stop:,}, the file at byte {size:,}"
        )
    if entry.dtype in _DTYPES:
        expected = math.prod(entry.shape) * np.dtype(_DTYPES[entry.dtype]).itemsize
        if stop - start != expected:
            raise ValueError(
                f"{path}: tensor {name!r} of shape {entry.shape} and type {entry.dtype} needs {expected:,}"
                f" bytes and has {stop - start:,}"
            )
    return entry


def read_header(path: str | Path) -> dict[str, TensorEntry]:
    """The tensors of a safetensors file, checked against the file's size.

    Parameters
    ----------
    path : path
        The file.

    Returns
    -------
    dict
        From each tensor's name to its place, in the order of the header.

    Raises
    ------
    ValueError
        If the file is no safetensors file, or is truncated.
    OSError
        If it cannot be read.
    """
    path = Path(path)
    size = path.stat().st_size
    with path.open("rb") as file:
        prefix = file.read(8)
        length = int.from_bytes(prefix, "little")
        if len(prefix) < 8 or length > _HEADER_LIMIT:
            raise ValueError(f"{path} is not a safetensors file")
        if 8 + length > size:
            raise ValueError(
                f"{path} is truncated: its header ends at byte {8 + length:,}, the file at {size:,}"
            )
        try:
            header = json.loads(file.read(length))
        except ValueError:
            header = None
    if not isinstance(header, dict):
        raise ValueError(f"{path} is not a safetensors file: its header is no JSON object")
    return {
        name: _entry(path, name, value, 8 + length, size)
        for name, value in header.items()
        if name != "__metadata__"
    }


def _read_safetensors(path: Path, name: str | None) -> npt.NDArray[Any]:
    entries = read_header(path)
    matrices = [key for key, entry in entries.items() if len(entry.shape) == 2]
    if name is None:
        if len(entries) != 1:
            some = ", ".join(matrices[:8]) + (", …" if len(matrices) > 8 else "")
            raise ValueError(f"{path} holds {len(entries)} tensors: name one of them ({some})")
        (name,) = entries
    if name not in entries:
        near = difflib.get_close_matches(name, entries, n=5, cutoff=0.4) or matrices[:5]
        raise ValueError(f"{path} has no tensor {name!r}; near names: {', '.join(near)}")
    entry = entries[name]
    if entry.dtype not in _DTYPES:
        raise ValueError(
            f"{path}: tensor {name!r} has type {entry.dtype}, which is not among {', '.join(_DTYPES)}"
        )
    with path.open("rb") as file:
        file.seek(entry.start)
        data = file.read(entry.stop - entry.start)
    return np.frombuffer(data, _DTYPES[entry.dtype]).reshape(entry.shape)


def read_tensor(path: str | Path, name: str | None = None) -> npt.NDArray[Any]:
    """One tensor of a ``.safetensors`` file, or the array of a ``.npy`` file, in its own dtype.

    Parameters
    ----------
    path : path
        A file whose name ends in ``.npy`` or ``.safetensors``.
    name : str, optional
        The tensor of a safetensors file. May be left out where the file holds only one.

    Returns
    -------
    ndarray
        Read-only for safetensors.

    Raises
    ------
    ValueError
        If the file is of another kind, malformed or truncated, or has no such tensor (with near names).
    OSError
        If it cannot be read.
    """
    path = Path(path)
    if path.suffix == ".safetensors":
        return _read_safetensors(path, name)
    if path.suffix != ".npy":
        raise ValueError(f"{path}: operands are read from .npy and .safetensors files")
    if name is not None:
        raise ValueError(f"{path} is a .npy file, which holds one array without a name: leave {name!r} out")
    try:
        array = np.load(path, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise ValueError(f"{path} is not a readable .npy file: {error}") from None
    if not isinstance(array, np.ndarray):
        raise ValueError(f"{path} is not a readable .npy file: it is an archive of several arrays")
    return array
