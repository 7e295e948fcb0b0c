"""Reading a store without writing anything beside it or in it, whatever its folder allows.

A store is in SQLite's write-ahead mode. One that a sweep closed is a single file, and is opened as one that
nobody changes (``immutable``). One whose sweep was killed has a log beside it (``-wal``), and SQLite reads a
log only where it may write; so file and log are copied to the system's temporary folder, where they are read.

Meanwhile the bytes that SQLite locks are locked here for reading, so that no sweep writes. POSIX drops a
process's locks on a file when it closes any handle of it: a store that this process itself writes to must not
be opened here, and `taken` keeps note of those.
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

_LOCKED = 0x40000002, 510  # where, and how many bytes, SQLite locks while it reads
_NAMES_ANOTHER = bytes.fromhex("d9d505f920a163d7")  # how a journal ends that names a super-journal

_hands = threading.Lock()
_taken: set[tuple[int, int]] = set()


def _forget() -> None:
    """Of a child process, which inherits no lock on a file: begin anew."""
    global _hands
    _hands = threading.Lock()
    _taken.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def busy(path: Path) -> BlockingIOError:
    """The error for a store that is in use."""
    return BlockingIOError(f"store: {path} is being written by another sweep")


@contextmanager
def alone() -> Iterator[None]:
    """While a store is opened to be written, no other thread opens it by hand."""
    with _hands:
        yield


def take(path: Path) -> tuple[int, int]:
    """Note, inside `alone`, that this process writes to a store; what it returns is for `give_back`."""
    found = os.stat(path)
    key = found.st_dev, found.st_ino
    _taken.add(key)
    return key


def give_back(key: tuple[int, int]) -> None:
    """Note that a store was closed."""
    _taken.discard(key)


def check_journal(path: Path) -> None:
    """Raise if the journal beside a store would make SQLite delete another file, as a hostile one can."""
    journal = _beside(path, "-journal")
    if _size(journal, path) >= 16:
        with journal.open("rb") as file:
            file.seek(-8, os.SEEK_END)
            if file.read() == _NAMES_ANOTHER:
                raise ValueError(f"store: {path} has a journal beside it that names another file: {journal}")


def size(path: Path) -> int:
    """The bytes of a store and of its log."""
    return os.stat(path).st_size + _size(_beside(path, "-wal"), path)


@contextmanager
def readable(path: Path) -> Iterator[tuple[sqlite3.Connection, int]]:
    """A store that is open to be read, and the bytes that it and its log have.

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
    with _hands:
        found = os.stat(path)
        if (found.st_dev, found.st_ino) in _taken:
            raise busy(path)
        with open_regular(path) as (file, length):
            if file.read(16) != b"SQLite format 3\0":
                why = "" if length else ": it is empty"
                raise ValueError(f"store: {path} is not a store of a sweep{why}")
            try:
                _lock(file)
            except (BlockingIOError, PermissionError):
                raise busy(path) from None
            journal = _beside(path, "-journal")
            if _size(journal, path):
                raise ValueError(
                    f"store: {path} has a journal beside it ({journal.name}), as one whose sweep was killed "
                    "while it began: it holds no cells. The same sweep, run again, goes on"
                )
            with _opened_for_reading(path, file, length) as connected:
                yield connected


@contextmanager
def _opened_for_reading(path: Path, file: BinaryIO, length: int) -> Iterator[tuple[sqlite3.Connection, int]]:
    log = _beside(path, "-wal")
    logged = _size(log, path)
    if not logged:
        uri = f"{path.absolute().as_uri()}?mode=ro&immutable=1"
        yield from _connected(uri, length)
        return
    with tempfile.TemporaryDirectory(prefix="precision-store-") as folder:
        if shutil.disk_usage(folder).free < length + logged:
            raise OSError(f"store: {path}: no room in {folder} for a copy of it and its log")
        copy = Path(folder) / "store.sqlite"
        file.seek(0)
        with copy.open("wb") as target:
            shutil.copyfileobj(file, target, 1 << 20)
        shutil.copyfile(log, _beside(copy, "-wal"))
        yield from _connected(f"{copy.absolute().as_uri()}?mode=rw", length + logged)


def _connected(uri: str, length: int) -> Iterator[tuple[sqlite3.Connection, int]]:
    database = sqlite3.connect(uri, uri=True, timeout=1, isolation_level=None)
    try:
        yield database, length
    finally:
        database.close()


def _beside(path: Path, ending: str) -> Path:
    """A file of SQLite's beside a store: it follows links to the store, and then takes that name."""
    return Path(os.path.realpath(path) + ending)


def _size(beside: Path, path: Path) -> int:
    """The bytes of a file beside a store; 0 where there is none."""
    try:
        found = os.lstat(beside)
    except FileNotFoundError:
        return 0
    if not stat.S_ISREG(found.st_mode):
        raise ValueError(f"store: {path}: {beside} beside it must be a regular file")
    return found.st_size


if sys.platform == "win32":
    import msvcrt

    def _lock(file: BinaryIO) -> None:
        file.seek(_LOCKED[0])
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    def _lock(file: BinaryIO) -> None:
        """Lock what SQLite locks while it reads, until the file is closed; raise if a sweep has it."""
        start, length = _LOCKED
        fcntl.lockf(file, fcntl.LOCK_SH | fcntl.LOCK_NB, length, start)
