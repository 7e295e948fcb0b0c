"""Reading arrays from .npy and safetensors files (extra ``files``).

The safetensors library reads and checks the header. Its NumPy interface gives out only the types that NumPy
itself has, and its raw one (``deserialize``) only whole files: so one tensor's bytes are read here, from the
place that the library's own order and sizes leave for it.
"""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np
import numpy.typing as npt

from precision import _bit_packing
from precision._extras import require
from precision._support._float_environment import in_default_environment
from precision.formats import E2M1, E2M3, E3M2, Format

__all__ = ["PACKED", "TensorEntry", "read_header", "read_metadata", "read_tensor"]

Array = npt.NDArray[Any]

_HEADER_LIMIT = 100_000_000  # the format's own

DTYPES: dict[str, npt.DTypeLike] = {
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
    "C64": np.complex64,
}
"""The types of safetensors that have one of NumPy or ml_dtypes, an element in whole bytes."""

PACKED: dict[str, Format] = {"F4": E2M1, "F6_E2M3": E2M3, "F6_E3M2": E3M2}
"""The types of safetensors whose elements are packed, as `storage.pack` does."""


class TensorEntry(NamedTuple):
    """Where a safetensors file keeps one tensor: ``start`` and ``stop`` are bytes from the file's start.

    ``shape`` counts elements, of packed types as well.
    """

    dtype: str
    shape: tuple[int, ...]
    start: int
    stop: int


@in_default_environment
def read_header(path: str | Path) -> dict[str, TensorEntry]:
    """The tensors of a safetensors file.

    Parameters
    ----------
    path : path
        The file. Its data are not read.

    Returns
    -------
    dict
        From each tensor's name to its place, in the order of the file.

    Raises
    ------
    ValueError
        If the file is no safetensors file, is truncated, or is not what its header says.
    OSError
        If it cannot be read.
    ImportError
        If safetensors is not installed.
    """
    return _opened(Path(path))[0]


@in_default_environment
def read_metadata(path: str | Path) -> dict[str, str]:
    """The texts that a safetensors file's header carries beside its tensors; errors as `read_header`."""
    return _opened(Path(path))[1]


@in_default_environment
def read_tensor(path: str | Path, name: str | None = None, *, unpacked: bool = False) -> Array:
    """One tensor of a ``.safetensors`` file, or the array of a ``.npy`` file, in its own dtype.

    Parameters
    ----------
    path : path
        A file whose name ends in ``.npy`` or ``.safetensors``.
    name : str, optional
        The tensor of a safetensors file. May be left out where the file holds only one.
    unpacked : bool
        How to give the elements of F4, F6_E2M3 and F6_E3M2: one a byte, in ml_dtypes' type; or, by
        default, packed as they lie in the file.

    Returns
    -------
    ndarray
        New. What is packed is uint8, its last axis counting bytes; `storage.unpack` with the format that
        `PACKED` names gives its codes. (If a row ends inside a byte, the tensor is one row of all bytes.)

    Raises
    ------
    ValueError
        If the file is of another kind, malformed or truncated, or has no such tensor (with near names).
    OSError
        If it cannot be read.
    ImportError
        If it is a safetensors file, and that library is not installed.
    """
    path = Path(path)
    if path.suffix == ".safetensors":
        entries = read_header(path)
        name = _chosen(path, entries, name)
        array, entry = read_entry(path, name, entries[name]), entries[name]
        if not unpacked or entry.dtype not in PACKED:
            return array
        flat = _bit_packing.unpack(array.reshape(-1), PACKED[entry.dtype], math.prod(entry.shape))
        return flat.reshape(entry.shape)
    if path.suffix != ".npy":
        raise ValueError(f"{path}: operands are read from .npy and .safetensors files")
    if name is not None:
        raise ValueError(f"{path} is a .npy file, which holds one array without a name: leave {name!r} out")
    try:
        found = np.load(path, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise ValueError(f"{path} is not a readable .npy file: {error}") from None
    if not isinstance(found, np.ndarray):
        raise ValueError(f"{path} is not a readable .npy file: it is an archive of several arrays")
    return found


def read_entry(path: Path, name: str, entry: TensorEntry) -> Array:
    """The tensor that lies at a place that `read_header` gave."""
    nbytes = entry.stop - entry.start
    data = np.fromfile(path, np.uint8, nbytes, offset=entry.start)
    if data.size != nbytes:
        raise ValueError(
            f"{path} is truncated: tensor {name!r} ends at byte {entry.stop:,}, the file at byte "
            f"{entry.start + data.size:,}"
        )
    if entry.dtype in DTYPES:
        return data.view(DTYPES[entry.dtype]).reshape(entry.shape)
    row = entry.shape[-1] * PACKED[entry.dtype].bits if entry.shape else 1
    return data if row % 8 else data.reshape(*entry.shape[:-1], row // 8)


def unknown_name(path: Path, name: str, names: Iterable[str]) -> ValueError:
    """The error for a tensor that a file lacks, with names near it."""
    names = list(names)
    near = difflib.get_close_matches(name, names, n=5, cutoff=0.4) or names[:5]
    return ValueError(f"{path} has no tensor {name!r}; near names: {', '.join(near) or 'none'}")


def _chosen(path: Path, entries: dict[str, TensorEntry], name: str | None) -> str:
    if name is None:
        if len(entries) != 1:
            matrices = [key for key, entry in entries.items() if len(entry.shape) == 2]
            some = ", ".join(matrices[:8]) + (", …" if len(matrices) > 8 else "")
            raise ValueError(f"{path} holds {len(entries)} tensors: name one of them ({some})")
        (name,) = entries
    if name not in entries:
        raise unknown_name(path, name, entries)
    return name


def _opened(path: Path) -> tuple[dict[str, TensorEntry], dict[str, str]]:
    safetensors = require("safetensors", "files")
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder, not a file")
    size = path.stat().st_size
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            slices = {name: file.get_slice(name) for name in file.offset_keys()}
            found = {name: (part.get_dtype(), tuple(part.get_shape())) for name, part in slices.items()}
            metadata = dict(file.metadata() or {})
    except safetensors.SafetensorError as error:
        raise ValueError(_explained(path, size, str(error))) from None
    # The library has checked that the tensors follow each other without a gap up to the end of the file.
    sizes = [math.prod(shape) * _bits(path, name, dtype) // 8 for name, (dtype, shape) in found.items()]
    start, entries = size - sum(sizes), {}
    for (name, (dtype, shape)), nbytes in zip(found.items(), sizes, strict=True):
        entries[name] = TensorEntry(dtype, shape, start, start + nbytes)
        start += nbytes
    return entries, metadata


def _bits(path: Path, name: str, dtype: str) -> int:
    if dtype in PACKED:
        return PACKED[dtype].bits
    if dtype in DTYPES:
        return 8 * np.dtype(DTYPES[dtype]).itemsize
    known = ", ".join([*DTYPES, *PACKED])
    raise ValueError(f"{path}: tensor {name!r} has type {dtype}, which is not among {known}")


def _explained(path: Path, size: int, said: str) -> str:
    """What is wrong with a file that the library refused; its own words name neither file nor sizes."""
    with path.open("rb") as file:
        prefix = file.read(8)
        length = int.from_bytes(prefix, "little")
        if len(prefix) < 8 or length > _HEADER_LIMIT:
            return f"{path} is not a safetensors file"
        if 8 + length > size:
            return f"{path} is truncated: its header ends at byte {8 + length:,}, the file at byte {size:,}"
        header = file.read(length)
    with suppress(ValueError, TypeError, KeyError, AttributeError):
        for name, entry in json.loads(header).items():
            if name == "__metadata__":
                continue
            start, stop = entry["data_offsets"]
            needed = -(-math.prod(entry["shape"]) * _bits(path, name, entry["dtype"]) // 8)
            if 0 <= needed != stop - start >= 0:
                return (
                    f"{path}: tensor {name!r} of shape {tuple(entry['shape'])} and type {entry['dtype']} "
                    f"needs {needed:,} bytes and has {stop - start:,}"
                )
            if 8 + length + stop > size:
                return (
                    f"{path} is truncated: tensor {name!r} ends at byte {8 + length + stop:,}, the file at "
                    f"byte {size:,}"
                )
    return (
        f"{path} is not a valid safetensors file: {said.removeprefix('Error while deserializing header: ')}"
    )
