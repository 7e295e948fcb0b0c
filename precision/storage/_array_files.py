"""A reader of arrays in .npy and safetensors files (extra ``files``).

The safetensors library reads and checks the header; what it lets pass (a name given twice, shapes that no
array can have) is refused here. Its NumPy interface gives out only the types that NumPy itself has, and its
raw one (``deserialize``) only whole files: so one tensor's bytes are read here, from the place that the
header says and that the library's own order and sizes leave for it.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import ml_dtypes
import numpy as np
import numpy.typing as npt

from precision._support._optional_packages import require
from precision._support._suggestions import find_close_names
from precision._support._types import Array
from precision._support.files._regular_files import open_regular
from precision._support.files._strict_json import escape_text, quote_text, strict_json
from precision._support.machine._float_environment import in_default_environment
from precision.formats import _bit_packing
from precision.formats._named import E2M1, E2M3, E3M2, Format
from precision.storage._npy_files import check_shape, read_npy

_HEADER_LIMIT = 100_000_000  # bytes; the limit of the format itself
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
"""The NumPy or ml_dtypes type of each safetensors type whose elements take whole bytes."""
PACKED: dict[str, Format] = {"F4": E2M1, "F6_E2M3": E2M3, "F6_E3M2": E3M2}
"""The format of each safetensors type whose elements are packed as `storage.pack` packs them."""


class TensorEntry(NamedTuple):
    """The type and shape of a tensor in a safetensors file, and the bytes where it lies.

    The bytes ``start`` and ``stop`` are counted from the start of the file. The ``shape`` counts elements,
    also for packed types.
    """

    dtype: str
    shape: tuple[int, ...]
    start: int
    stop: int


@in_default_environment
def read_header(path: str | Path) -> dict[str, TensorEntry]:
    """Read which tensors a safetensors file has: their types, shapes and places.

    Parameters
    ----------
    path : path
        The file. Its data are not read.

    Returns
    -------
    dict
        Each tensor's entry by its name, in the order of the file; empty for a file without tensors.

    Raises
    ------
    ValueError
        If the file is no safetensors file, is truncated, or is not what its header says; if the header is
        longer than 100 MB, names a tensor twice, or gives a shape that no array can have.
    OSError
        If it cannot be read.
    ImportError
        If safetensors is not installed.
    """
    return _read_checked_header(Path(path))[0]


@in_default_environment
def read_metadata(path: str | Path) -> dict[str, str]:
    """Read the texts that the header of a safetensors file carries beside its tensors.

    Parameters
    ----------
    path : path
        The file. Its data are not read.

    Returns
    -------
    dict
        Each text by its name; empty where there is none.

    Raises
    ------
    ValueError, OSError, ImportError
        As `read_header` raises them.
    """
    return _read_checked_header(Path(path))[1]


@in_default_environment
def read_tensor(path: str | Path, name: str | None = None, *, unpacked: bool = False) -> Array:
    """Read one tensor of a ``.safetensors`` file, or the array of a ``.npy`` file, in its own dtype.

    Parameters
    ----------
    path : path
        A file whose name ends in ``.npy`` or ``.safetensors``.
    name : str, optional
        The name of the tensor in a safetensors file. It may be left out where the file holds only one.
    unpacked : bool
        If true, elements of F4, F6_E2M3 and F6_E3M2 are returned one a byte, in ml_dtypes' type; by default
        they are returned packed, as they lie in the file.

    Returns
    -------
    ndarray
        A new array, of no elements if the tensor has none. Packed elements come as uint8, with bytes along
        the last axis; `storage.unpack` with the format that `PACKED` names gives their codes. (If a row ends
        inside a byte, the result is one row of all bytes.)

    Raises
    ------
    ValueError
        If the file is of another kind, malformed or truncated, or has no such tensor (with near names). A
        ``.npy`` file of Python objects or of records is refused too.
    OSError
        If it cannot be read.
    ImportError
        If it is a safetensors file, and that library is not installed.
    """
    path = Path(path)
    if path.suffix == ".safetensors":
        entries = read_header(path)
        name = _choose_name(path, entries, name)
        array, entry = read_entry(path, name, entries[name]), entries[name]
        if not unpacked or entry.dtype not in PACKED:
            return array
        flat = _bit_packing.unpack(array.reshape(-1), PACKED[entry.dtype], math.prod(entry.shape))
        return flat.reshape(entry.shape)
    if path.suffix != ".npy":
        raise ValueError(f"{path}: operands are read from .npy and .safetensors files")
    if name is not None:
        raise ValueError(f"{path} is a .npy file, which holds one array without a name: leave {name!r} out")
    return read_npy(path)


def read_entry(path: Path, name: str, entry: TensorEntry) -> Array:
    """Read the tensor that lies at a place that `read_header` returned."""
    nbytes = entry.stop - entry.start
    with open_regular(path) as (file, size):
        if entry.stop > size:
            raise ValueError(
                f"{path} is truncated: tensor {name!r} ends at byte {entry.stop:,}, the file at byte {size:,}"
            )
        data = np.fromfile(file, np.uint8, nbytes, offset=entry.start)
    if data.size != nbytes:
        raise ValueError(f"{path} was cut while tensor {name!r} was read")
    if entry.dtype in DTYPES:
        return data.view(DTYPES[entry.dtype]).reshape(entry.shape)
    row = entry.shape[-1] * PACKED[entry.dtype].bits if entry.shape else 1
    return data if row % 8 else data.reshape(*entry.shape[:-1], row // 8)


def unknown_name_error(path: Path, name: str, names: Iterable[str]) -> ValueError:
    """Build the error for a tensor that a file lacks, with near names."""
    # The search for near names takes time that grows with the lengths of both, which no file bounds.
    known = [known for known in itertools.islice(names, 10_000) if len(known) <= 500]
    near = find_close_names(name, known, n=5, cutoff=0.4)
    listed = ", ".join(map(escape_text, near or known[:5]))
    return ValueError(f"{path} has no tensor {quote_text(name)}; near names: {listed or 'none'}")


def _choose_name(path: Path, entries: dict[str, TensorEntry], name: str | None) -> str:
    """Return the name of the tensor to read: the given one, or that of a file's only tensor."""
    if name is None:
        if len(entries) != 1:
            matrices = [key for key, entry in entries.items() if len(entry.shape) == 2]
            some = ", ".join(map(escape_text, matrices[:8])) + (", …" if len(matrices) > 8 else "")
            raise ValueError(f"{path} holds {len(entries)} tensors: name one of them ({some})")
        (name,) = entries
    if name not in entries:
        raise unknown_name_error(path, name, entries)
    return name


def _read_checked_header(path: Path) -> tuple[dict[str, TensorEntry], dict[str, str]]:
    """Read a header, check it, and return its tensors and its texts."""
    safetensors = require("safetensors", "files")
    header, size = _read_raw_header(path)
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            slices = {name: file.get_slice(name) for name in file.offset_keys()}
            types = {name: (part.get_dtype(), tuple(part.get_shape())) for name, part in slices.items()}
            metadata = dict(file.metadata() or {})
    except safetensors.SafetensorError as error:
        raise ValueError(_explain_refusal(path, header, size, str(error))) from None
    try:
        declared = strict_json(header)
    except ValueError as error:
        raise ValueError(f"{path} is not a valid safetensors file: {error}") from None
    # The library has checked that the tensors follow each other without a gap up to the end of the file.
    entries, first = {}, 8 + len(header)
    start = first
    for name, (dtype, shape) in types.items():
        bits = _find_bits(path, name, dtype)
        try:
            check_shape(shape, -(-bits // 8))
        except ValueError as error:
            raise ValueError(f"{path}: tensor {quote_text(name)}: {error}") from None
        stop = start + math.prod(shape) * bits // 8
        if declared[name]["data_offsets"] != [start - first, stop - first]:
            raise ValueError(f"{path}: tensor {quote_text(name)} does not lie where the sizes before it say")
        entries[name] = TensorEntry(dtype, shape, start, stop)
        start = stop
    return entries, metadata


def _read_raw_header(path: Path) -> tuple[bytes, int]:
    """Return the bytes of a file's header, and the size of the file."""
    with open_regular(path) as (file, size):
        prefix = file.read(8)
        length = int.from_bytes(prefix, "little")
        if len(prefix) < 8 or length > _HEADER_LIMIT:
            raise ValueError(f"{path} is not a safetensors file")
        if 8 + length > size:
            raise ValueError(
                f"{path} is truncated: its header ends at byte {8 + length:,}, the file at byte {size:,}"
            )
        return file.read(length), size


def _find_bits(path: Path, name: str, dtype: str) -> int:
    """Return the bits of an element by the name of its type; raise ValueError if the type is unknown."""
    if dtype in PACKED:
        return PACKED[dtype].bits
    if dtype in DTYPES:
        return 8 * np.dtype(DTYPES[dtype]).itemsize
    known = ", ".join([*DTYPES, *PACKED])
    raise ValueError(f"{path}: tensor {quote_text(name)} has type {dtype}, which is not among {known}")


def _explain_refusal(path: Path, header: bytes, size: int, message: str) -> str:
    """Build the message about a file that the library refused, whose own names neither file nor sizes."""
    first = 8 + len(header)
    with suppress(ValueError, TypeError, KeyError, AttributeError):
        for name, entry in strict_json(header).items():
            if name == "__metadata__":
                continue
            start, stop = entry["data_offsets"]
            if len(entry["shape"]) > 64:  # the product of millions of numbers would take minutes
                continue
            needed = -(-math.prod(entry["shape"]) * _find_bits(path, name, entry["dtype"]) // 8)
            if 0 <= needed != stop - start >= 0:
                return (
                    f"{path}: tensor {quote_text(name)} of shape {tuple(entry['shape'])} and type "
                    f"{entry['dtype']} needs {needed:,} bytes and has {stop - start:,}"
                )
            if first + stop > size:
                return (
                    f"{path} is truncated: tensor {quote_text(name)} ends at byte {first + stop:,}, the file "
                    f"at byte {size:,}"
                )
    words = message.removeprefix("Error while deserializing header: ")
    return f"{path} is not a valid safetensors file: {escape_text(words, 300)}"
