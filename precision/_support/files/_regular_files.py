"""The opening of regular files to read, and refusal of whatever else a path may name, as a pipe."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def open_regular(path: Path) -> Iterator[tuple[BinaryIO, int]]:
    """Open a regular file to read within the block, and give the file and its size in bytes.

    Raises
    ------
    IsADirectoryError
        If the path is a folder.
    ValueError
        If it is a device, a pipe or a socket, which have no size and may have no end.
    OSError
        If there is no such file, or it cannot be opened.
    """
    _check_regular(path, os.stat(path))  # this comes first, since opening a pipe waits for a writer
    with path.open("rb") as file:
        found = os.fstat(file.fileno())
        _check_regular(path, found)
        yield file, found.st_size


def _check_regular(path: Path, found: os.stat_result) -> None:
    """Raise unless the status of a file is that of a regular one."""
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(f"{path} is a folder, not a file")
    if not stat.S_ISREG(found.st_mode):
        raise ValueError(f"{path} must be a regular file, and is a device, a pipe or a socket")
