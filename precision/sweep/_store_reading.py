"""The reading of a sweep's store without writing anything beside it or in it, whatever its folder allows.

A store is in SQLite's write-ahead mode. A store that a sweep closed is a single file, and is opened as one
that nobody changes (``immutable``). A store whose sweep was killed has a log beside it (``-wal``), and SQLite
reads a log only where it may write; so file and log are copied to the system's temporary folder, where they
are read.

Meanwhile the bytes that SQLite locks are locked here for reading, so that no sweep writes. POSIX drops a
process's locks on a file when it closes any handle of it: a store that this process itself writes to must not
be opened here, and `_open_here` lists them.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from precision._support.files._regular_files import open_regular

_LOCKED = 0x40000002, 510  # the position and the number of the bytes that SQLite locks while it reads
_NAMES_ANOTHER = bytes.fromhex("d9d505f920a163d7")  # the last bytes of a journal that names a super-journal

_opening = threading.Lock()
_open_here: set[tuple[int, int]] = set()


def _forget_locks() -> None:
    """Forget the locks of the parent in a child process, which inherits none of them."""
    global _opening
    _opening = threading.Lock()
    _open_here.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_locks)


def busy_error(path: Path) -> BlockingIOError:
    """Build the error for a store that is in use."""
    return BlockingIOError(f"store: {path} is being written by another sweep")


@contextmanager
def exclude_other_threads() -> Iterator[None]:
    """Keep other threads from opening a store while this one opens a store to write."""
    with _opening:
        yield


def note_open(path: Path) -> tuple[int, int]:
    """Note that this process writes to a store, and return the argument for `note_closed`.

    It is called inside `exclude_other_threads`.
    """
    status = os.stat(path)
    key = status.st_dev, status.st_ino
    _open_here.add(key)
    return key


def note_closed(key: tuple[int, int]) -> None:
    """Note that a store was closed."""
    _open_here.discard(key)


def check_journal(path: Path) -> None:
    """Raise ValueError if the journal beside a store would make SQLite delete another file.

    A hostile journal can do that.
    """
    journal = _path_beside(path, "-journal")
    if _count_bytes_beside(journal, path) >= 16:
        with journal.open("rb") as file:
            file.seek(-8, os.SEEK_END)
            if file.read() == _NAMES_ANOTHER:
                raise ValueError(f"store: {path} has a journal beside it that names another file: {journal}")


def count_bytes(path: Path) -> int:
    """Return the number of bytes of a store and of its log."""
    return os.stat(path).st_size + _count_bytes_beside(_path_beside(path, "-wal"), path)


@contextmanager
def open_to_read(path: Path) -> Iterator[tuple[sqlite3.Connection, int]]:
    """Open a store to read within the block, and give the connection and the bytes of file and log.

    Raises
    ------
    FileNotFoundError, IsADirectoryError, OSError
        If there is no such file, or it cannot be read or copied.
    ValueError
        If it is no SQLite file, or a journal lies beside it.
    BlockingIOError
        If a sweep is writing to it.
    """
    if not path.exists():
        raise FileNotFoundError(f"store: there is no file {path}")
    with _opening:
        status = os.stat(path)
        if (status.st_dev, status.st_ino) in _open_here:
            raise busy_error(path)
        with open_regular(path) as (file, length):
            if file.read(16) != b"SQLite format 3\0":
                why = "" if length else ": it is empty"
                raise ValueError(f"store: {path} is not a store of a sweep{why}")
            try:
                _lock(file)
            except (BlockingIOError, PermissionError):
                raise busy_error(path) from None
            journal = _path_beside(path, "-journal")
            if _count_bytes_beside(journal, path):
                raise ValueError(
                    f"store: {path} has a journal beside it ({journal.name}), as one whose sweep was killed "
                    "while it began: it holds no cells. The same sweep, run again, goes on"
                )
            with _open_file_or_copy(path, file, length) as connection:
                yield connection


@contextmanager
def _open_file_or_copy(path: Path, file: BinaryIO, length: int) -> Iterator[tuple[sqlite3.Connection, int]]:
    """Open a store that has no log where it lies, and a copy of one that has."""
    log = _path_beside(path, "-wal")
    logged = _count_bytes_beside(log, path)
    if not logged:
        uri = f"{path.absolute().as_uri()}?mode=ro&immutable=1"
        yield from _connect(uri, length)
        return
    with tempfile.TemporaryDirectory(prefix="precision-store-") as folder:
        if shutil.disk_usage(folder).free < length + logged:
            raise OSError(f"store: {path}: no room in {folder} for a copy of it and its log")
        copy = Path(folder) / "store.sqlite"
        file.seek(0)
        with copy.open("wb") as target:
            shutil.copyfileobj(file, target, 1 << 20)
        shutil.copyfile(log, _path_beside(copy, "-wal"))
        yield from _connect(f"{copy.absolute().as_uri()}?mode=rw", length + logged)


def _connect(uri: str, length: int) -> Iterator[tuple[sqlite3.Connection, int]]:
    """Open a database, and close it at the end of the block."""
    database = sqlite3.connect(uri, uri=True, timeout=1, isolation_level=None)
    try:
        yield database, length
    finally:
        database.close()


def _path_beside(path: Path, ending: str) -> Path:
    """Return the path of a file that SQLite puts beside a store, links followed."""
    return Path(os.path.realpath(path) + ending)


def _count_bytes_beside(beside: Path, path: Path) -> int:
    """Return the number of bytes of a file beside a store, 0 where there is none."""
    try:
        status = os.lstat(beside)
    except FileNotFoundError:
        return 0
    if not stat.S_ISREG(status.st_mode):
        raise ValueError(f"store: {path}: {beside} beside it must be a regular file")
    return status.st_size


if sys.platform == "win32":
    import msvcrt

    def _lock(file: BinaryIO) -> None:
        file.seek(_LOCKED[0])
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    def _lock(file: BinaryIO) -> None:
        """Lock the bytes that SQLite locks for reading, until the file is closed; raise if they are taken."""
        start, length = _LOCKED
        fcntl.lockf(file, fcntl.LOCK_SH | fcntl.LOCK_NB, length, start)
