"""A reader of ``.npy`` files and ``.npz`` archives from sources that cannot be trusted.

NumPy's own reader makes room for as much as a header claims, and reads headers as Python does. Here a header
is matched with the one form that writers give it, and is compared with the size of the file before any memory
is asked for. Nothing is unpickled.
"""

from __future__ import annotations

import math
import re
import zipfile
import zlib
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from precision._support._types import Array
from precision._support.files._regular_files import open_regular
from precision._support.files._strict_json import escape_text, quote_text

_MAGIC = b"\x93NUMPY"
_HEADER_LIMIT = 10_000  # bytes; the limit of NumPy's reader
_MOST_AXES = 64
_UNPACKED_LIMIT = 1 << 30  # the most bytes that an archive's arrays may take together
_MOST_DEFLATED = 1032  # the largest factor by which deflate can compress
_SPACE = r"[ \t\n\r\f]"
_NUMBER = r"(?:0|[1-9]\d{0,18})L?"  # Python 2 wrote the L
_ITEM = re.compile(
    rf"""{_SPACE}*(['"])(descr|fortran_order|shape)\1{_SPACE}*:{_SPACE}*
    (?:(['"])(?P<descr>[^'"\\]{{0,100}})\3 | (?P<order>True|False) |
       \((?P<shape>{_SPACE}*(?:(?:{_NUMBER}{_SPACE}*,{_SPACE}*)+(?:{_NUMBER}{_SPACE}*)?)?)\))
    {_SPACE}*(?:,{_SPACE}*|(?=}}))""",
    re.VERBOSE | re.ASCII,
)
_DTYPE = re.compile(
    r"[<>|=]?(?:\?|[biufcSUV]\d{1,9}|[mM]8(?:\[\w{1,20}\])?)|bool|(?:u?int|float|complex)\d{1,3}",
    re.ASCII,
)


class _Header(NamedTuple):
    """The contents of the header of a ``.npy`` file."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    fortran_order: bool


def check_shape(shape: tuple[int, ...], itemsize: int) -> None:
    """Raise ValueError if NumPy cannot have an array of that shape, even one without elements."""
    if len(shape) > _MOST_AXES:
        raise ValueError(f"it has {len(shape)} axes, and NumPy's arrays have at most {_MOST_AXES}")
    if math.prod(n for n in shape if n) * max(itemsize, 1) >= 1 << 63:
        raise ValueError(f"its shape {quote_text(shape)} is larger than any array")


def read_npy(path: Path) -> Array:
    """Read the array of a ``.npy`` file.

    Raises
    ------
    ValueError
        If the file is no ``.npy`` file, holds other things than numbers, dates, characters or bytes, or is
        truncated.
    OSError
        If the file cannot be read.
    """
    with open_regular(path) as (file, size):
        try:
            return _read_array(file, size)
        except ValueError as error:
            raise ValueError(f"{path} is not a readable .npy file: {error}") from None


def read_npz(path: Path) -> dict[str, Array]:
    """Read the arrays of a ``.npz`` archive, by their names.

    Raises
    ------
    ValueError
        If the file is no archive, or is damaged; if a member is no array as `read_npy` reads it, or two have
        one name; if the members are compressed by another method than deflate, or take more than 1 GiB
        together.
    OSError
        If the file cannot be read.
    """
    with open_regular(path) as (file, size):
        try:
            with zipfile.ZipFile(file) as archive:
                members = archive.infolist()
                _check_members(members, size)
                return {
                    member.filename.removesuffix(".npy"): _read_member(archive, member) for member in members
                }
        except (ValueError, zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
            reason = escape_text(str(error), 500)
            raise ValueError(f"{path} is not a readable .npz file: {reason}") from None


# ---- archives -------------------------------------------------------------------------------------------
def _check_members(members: list[zipfile.ZipInfo], size: int) -> None:
    """Raise ValueError if an archive holds other files than arrays, or unpacks to too many bytes.

    No member is read for that.
    """
    names = [member.filename for member in members]
    if len(set(names)) < len(names):
        raise ValueError("it has several members of one name")
    for member in members:
        label = f"its member {quote_text(member.filename)}"
        if not member.filename.endswith(".npy"):
            raise ValueError(f"{label} is no .npy file")
        if not 0 <= member.header_offset < size:
            raise ValueError(f"{label} begins outside the file")
        if member.flag_bits & 1:
            raise ValueError(f"{label} is encrypted")
        most = {zipfile.ZIP_STORED: 1, zipfile.ZIP_DEFLATED: _MOST_DEFLATED}.get(member.compress_type)
        if most is None:
            raise ValueError(f"{label} is compressed by another method than deflate")
        if member.file_size > most * member.compress_size:
            raise ValueError(
                f"{label} claims {member.file_size:,} bytes, which {member.compress_size:,} cannot hold"
            )
    if sum(member.compress_size for member in members) > size:
        raise ValueError("its members take more bytes than the file has")
    unpacked = sum(member.file_size for member in members)
    if unpacked > _UNPACKED_LIMIT:
        raise ValueError(f"its members claim {unpacked:,} bytes, more than the {_UNPACKED_LIMIT:,} allowed")


def _read_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Array:
    """Read the array of one member of an archive, and check the member's checksum."""
    try:
        with archive.open(member) as file:
            array = _read_array(file, member.file_size)
            while file.read(1 << 16):  # the checksum is compared at the end
                pass
    except ValueError as error:
        raise ValueError(f"its member {quote_text(member.filename)}: {error}") from None
    return array


# ---- one array ------------------------------------------------------------------------------------------
def _read_array(file: IO[bytes], size: int) -> Array:
    """Read the array at the start of a file of ``size`` bytes."""
    header, start = _read_header(file, size)
    count = math.prod(header.shape)
    nbytes = count * header.dtype.itemsize
    if start + nbytes > size:
        raise ValueError(
            f"it is truncated: its array ends at byte {start + nbytes:,}, the file at byte {size:,}"
        )
    if count and not nbytes:
        raise ValueError(f"its type {header.dtype} has no bytes")
    data = np.empty(nbytes, np.uint8)
    left = data.data
    while len(left):
        got = file.readinto(left)  # type: ignore[attr-defined]
        if not got:
            raise ValueError(f"it is truncated: {len(left):,} bytes of its array are missing")
        left = left[got:]
    array = data.view(header.dtype) if nbytes else np.empty(0, header.dtype)
    if header.fortran_order:
        return array.reshape(header.shape[::-1]).transpose()
    return array.reshape(header.shape)


def _read_header(file: IO[bytes], size: int) -> tuple[_Header, int]:
    """Return the header of a file, and how many bytes it takes from the start of the file."""
    start = file.read(8)
    if start[:2] == b"PK":
        raise ValueError("it is an archive of several arrays")
    if len(start) < 8 or start[:6] != _MAGIC:
        raise ValueError("it does not begin as one")
    version = start[6], start[7]
    if version not in ((1, 0), (2, 0), (3, 0)):
        raise ValueError(f"its version is {version[0]}.{version[1]}, and 1.0, 2.0 and 3.0 can be read")
    width = 2 if version == (1, 0) else 4
    length = int.from_bytes(file.read(width), "little")
    if length > _HEADER_LIMIT:
        raise ValueError(f"its header claims {length:,} bytes, more than the {_HEADER_LIMIT:,} allowed")
    if 8 + width + length > size:
        raise ValueError(
            f"it is truncated: its header ends at byte {8 + width + length:,}, the file at byte {size:,}"
        )
    text = file.read(length).decode("utf-8" if version == (3, 0) else "latin-1")
    return _parse_header(text, python2=version < (3, 0)), 8 + width + length


def _parse_header(text: str, *, python2: bool) -> _Header:
    """Parse the text of a header: a dictionary of three keys in Python's notation, as writers give it."""
    text = text.lstrip(" \t").rstrip("\n").rstrip(" \t\f")
    found: dict[str, Any] = {}
    at = 1 if text.startswith("{") else len(text)
    while match := _ITEM.match(text, at):
        key, at = match[2], match.end()
        value = match[{"descr": "descr", "fortran_order": "order", "shape": "shape"}[key]]
        if value is None or key in found:
            at = 0  # position 0 never ends a header, so that the check below fails
            break
        found[key] = value
    if len(found) < 3 or text[at:] != "}":
        raise ValueError(f"its header is none of an array of one plain type: {quote_text(text)}")
    numbers = (found["shape"].replace("L", "") if python2 else found["shape"]).split(",")
    shape = tuple(int(number) for number in numbers if number.strip())
    dtype = _parse_dtype(found["descr"])
    check_shape(shape, dtype.itemsize)
    return _Header(dtype, shape, found["fortran_order"] == "True")


def _parse_dtype(descr: str) -> np.dtype[Any]:
    """Return the data type that a header names; raise ValueError unless it is a plain one."""
    if _DTYPE.fullmatch(descr):
        try:
            return np.dtype(descr)
        except (TypeError, ValueError):
            pass  # a name such as f3, which the pattern lets pass
    raise ValueError(f"its type {quote_text(descr)} is none of numbers, dates, characters or bytes")
