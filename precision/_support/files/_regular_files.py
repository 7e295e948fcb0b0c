"""Files that are opened to be read, of which nothing is known yet."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def open_regular(path: Path) -> Iterator[tuple[BinaryIO, int]]:
    """A regular file, open to be read, and its size in bytes.

    Raises
    ------
    IsADirectoryError
        If the path is a folder.
    ValueError
        If it is a device, a pipe or a socket, which have no size and may have no end.
    OSError
        If there is no such file, or it cannot be opened.
    """
    _check(path, os.stat(path))  # before it is opened: opening a pipe waits for whoever writes to it
    with path.open("rb") as file:
        found = os.fstat(file.fileno())
        _check(path, found)
        yield file, found.st_size


def _check(path: Path, found: os.stat_result) -> None:
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(f"{path} is a folder, not a file")
    if not stat.S_ISREG(found.st_mode):
        raise ValueError(f"{path} must be a regular file, and is a device, a pipe or a socket")
