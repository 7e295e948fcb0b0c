"""The store of a sweep, an SQLite file that holds each cell as soon as it is done, and survives SIGKILL.

Every cell is a transaction of its own in SQLite's write-ahead log, so that a process killed at any moment
leaves the cells that were done, whole. The file is locked while a sweep writes to it; the log's index is then
kept in this process's memory alone, so that network file systems do. Nothing is written to a file before all
that is in it was checked (`_store_checks`), and reading writes nothing (`_store_reading`).
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from precision._support._types import Plain
from precision._support.files._strict_json import escape_text
from precision.sweep import _store_reading
from precision.sweep._cell_runs import CellOutcome
from precision.sweep._grid import Cell
from precision.sweep._store_checks import (
    APPLICATION,
    LAYOUT,
    TABLES,
    Identity,
    StoreContents,
    check_pages,
    guard,
    is_new,
    read_contents,
)

__all__ = ["Identity", "Store", "check_path", "read"]

_NEW = (
    *TABLES.values(),
    f"PRAGMA application_id = {APPLICATION}",
    f"PRAGMA user_version = {LAYOUT}",
)
_OF_THE_SYSTEM = ("SQLITE_FULL", "SQLITE_READONLY", "SQLITE_IOERR", "SQLITE_CANTOPEN", "SQLITE_PERM")


def check_path(path: Path) -> None:
    """Raise before any work if ``path`` cannot be a store."""
    if path.suffix in (".parquet", ".csv", ".json"):
        raise ValueError(
            f"store: {path}: a store is an SQLite file (as {path.stem}.sqlite); the table that sweep returns "
            f"can be written as {path.suffix[1:]}"
        )
    if path.is_dir():
        raise IsADirectoryError(f"store: {path} is a folder; it must be a file")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"store: {path}: {path.parent} is not a folder")
    if path.exists() and not path.is_file():
        raise ValueError(f"store: {path} must be a regular file, and is a device, a pipe or a socket")


@contextmanager
def _translate_errors(path: Path, attempted: str = "written") -> Iterator[None]:
    """Turn SQLite's errors within the block into Python's, with the path."""
    try:
        yield
    except sqlite3.Error as error:
        name = getattr(error, "sqlite_errorname", "")
        if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
            raise _store_reading.busy_error(path) from error
        if name.startswith(_OF_THE_SYSTEM) and name != "SQLITE_IOERR_SHORT_READ":
            kept = ". The cells before are kept; run again to go on" if attempted == "written" else ""
            raise OSError(f"store: {path} cannot be {attempted}: {error}{kept}") from error
        reason = escape_text(str(error))
        raise ValueError(f"store: {path} is not a store of a sweep, or is damaged: {reason}") from error


@contextmanager
def _name_path_in_errors(path: Path) -> Iterator[None]:
    """Put the path before the message of a ValueError within the block."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"store: {path} {error}") from None


class Store:
    """The open store of a sweep that is running; a context manager."""

    def __init__(self, path: Path) -> None:
        check_path(path)
        _store_reading.check_journal(path)
        self._path = path
        self._run = 0
        self._stored: StoreContents | None = None  # the contents, until they change
        with _store_reading.exclude_other_threads(), _translate_errors(path):
            # The absolute path is given, so that a file may be named ":memory:".
            self._database = sqlite3.connect(path.absolute(), timeout=1, isolation_level=None)
            try:
                self._open()
                self._taken = _store_reading.note_open(path)
            except BaseException:
                self._database.close()
                raise

    def _open(self) -> None:
        """Take the lock, which lasts until the file is closed; check the file's contents; then write."""
        guard(self._database)
        self._database.execute("PRAGMA locking_mode = EXCLUSIVE")
        with self._transaction(), _name_path_in_errors(self._path):
            new = is_new(self._database)
            if not new:
                limit = self._database.getlimit(sqlite3.SQLITE_LIMIT_LENGTH)
                check_pages(self._database, _store_reading.count_bytes(self._path))
                self._stored = read_contents(self._database)
                self._database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, limit)
        if new:
            self._use_write_ahead_log()
            with self._transaction():
                for statement in _NEW:
                    self._database.execute(statement)

    def _use_write_ahead_log(self) -> None:
        """Turn to SQLite's write-ahead log, which the file records."""
        with _translate_errors(self._path):
            for mode in ("journal_mode = WAL", "synchronous = NORMAL"):
                self._database.execute(f"PRAGMA {mode}")

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """Run the block as one transaction, which an error undoes."""
        with _translate_errors(self._path):
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                if self._database.in_transaction:  # some errors of SQLite end the transaction themselves
                    self._database.execute("ROLLBACK")
                raise
            self._database.execute("COMMIT")

    def _read_contents(self) -> StoreContents:
        """Return the contents of the store."""
        if self._stored is None:
            with _translate_errors(self._path), _name_path_in_errors(self._path):
                self._stored = read_contents(self._database)
        return self._stored

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._database.close()
        _store_reading.note_closed(self._taken)

    # ---- the sweep that it belongs to ---------------------------------------------------------------
    def claim(self, identity: Identity, keys: Iterable[str], *, extend: bool) -> None:
        """Take a new store, or check that the same function made an existing one for the same grid.

        Raises
        ------
        ValueError
            If another function, version or grid made it.
        """
        wanted = list(keys)
        stored = self._read_contents()
        if stored.identity is not None:
            self._check_identity(stored.identity, identity)
            present = stored.grid
            if set(present) != set(wanted) and not extend:
                shared = len(set(present) & set(wanted))
                raise ValueError(
                    f"store: {self._path} was written for another grid, of {len(present)} cells: {shared} "
                    f"of this grid's {len(wanted)} are among them. Let it grow (extend), or name another"
                )
            wanted = list(dict.fromkeys([*present, *wanted]))
        self._use_write_ahead_log()
        with self._transaction():
            for name, value in (("identity", identity._asdict()), ("grid", wanted)):
                self._database.execute(
                    "INSERT INTO meta VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
                    (name, json.dumps(value)),
                )
        self._stored = stored._replace(identity=identity, grid=wanted)

    def _check_identity(self, stored: Identity, current: Identity) -> None:
        """Raise ValueError if another function, version or set of parameters made the store."""

        def refuse(what: str, before: object, after: object) -> ValueError:
            """Build the error for one difference."""
            return ValueError(
                f"store: {self._path} was written by {what} {before}, and this is {after}: name another store"
            )

        if stored.function != current.function:
            raise refuse("the function", stored.function, current.function)
        if stored.version != current.version:
            raise refuse("precision", stored.version, current.version)
        if sorted(stored.parameters) != sorted(current.parameters):
            raise refuse("a grid of", ", ".join(stored.parameters), f"one of {', '.join(current.parameters)}")
        if stored.source != current.source:
            raise ValueError(
                f"store: {self._path} was written before {current.function} was changed: name another store"
            )

    def begin(self, provenance: Mapping[str, Any]) -> None:
        """Record the run that the coming cells belong to."""
        with _translate_errors(self._path):
            cursor = self._database.execute(
                "INSERT INTO runs (provenance) VALUES (?)", (json.dumps(dict(provenance)),)
            )
        self._run = cursor.lastrowid or 0

    # ---- cells --------------------------------------------------------------------------------------
    def outcomes(self) -> dict[str, CellOutcome]:
        """Return the outcome of every cell in the store, by its key."""
        return {key: outcome for key, _, outcome in self._read_contents().rows}

    def forget(self, keys: Sequence[str]) -> None:
        """Remove cells, so that they are computed again."""
        with self._transaction():
            self._database.executemany("DELETE FROM cells WHERE key = ?", [(key,) for key in keys])
        self._stored = None

    def add(self, cell: Cell, outcome: CellOutcome) -> None:
        """Write a cell to the file; it is safe there when this returns."""
        row = (
            cell.key,
            json.dumps(dict(cell.shown)),
            json.dumps(outcome.metrics),
            outcome.error,
            outcome.trace,
            outcome.seconds,
            self._run,
        )
        with _translate_errors(self._path):
            self._database.execute("INSERT INTO cells VALUES (?, ?, ?, ?, ?, ?, ?)", row)
        self._stored = None


class StoreSnapshot(NamedTuple):
    """The contents of a sweep's store, for callers that only read it."""

    rows: list[tuple[dict[str, Plain], CellOutcome]]  #: in the grid's order
    runs: list[dict[str, Any]]
    cells: int  #: the number of cells of the grid


def read(path: Path) -> StoreSnapshot:
    """Read a store that no sweep is writing to; nothing is written, in the file or beside it.

    Raises
    ------
    FileNotFoundError, IsADirectoryError, ValueError, BlockingIOError
        If there is no file, it is no store or damaged, or a sweep is writing to it.
    OSError
        If the file cannot be read, or has a log beside it and there is no room for a copy.
    """
    with (
        _translate_errors(path, "read"),
        _store_reading.open_to_read(path) as (database, size),
        _name_path_in_errors(path),
    ):
        guard(database)
        if is_new(database):
            raise ValueError("is not a store of a sweep: it is an SQLite file without tables")
        check_pages(database, size)
        stored = read_contents(database)
    return StoreSnapshot(
        [(parameters, outcome) for _, parameters, outcome in stored.rows], stored.runs, len(stored.grid)
    )
