"""The store of a sweep: an SQLite file that holds each cell as soon as it is done, and survives SIGKILL.

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
from precision._support.files._strict_json import printable
from precision.sweep import _store_reading
from precision.sweep._cell_runs import Outcome
from precision.sweep._grid import Cell
from precision.sweep._store_checks import (
    APPLICATION,
    LAYOUT,
    TABLES,
    Identity,
    Stored,
    check_pages,
    contents,
    guard,
    is_new,
)

__all__ = ["Identity", "Store", "check_path", "read"]

_NEW = (
    *TABLES.values(),
    f"PRAGMA application_id = {APPLICATION}",
    f"PRAGMA user_version = {LAYOUT}",
)
_OF_THE_SYSTEM = ("SQLITE_FULL", "SQLITE_READONLY", "SQLITE_IOERR", "SQLITE_CANTOPEN", "SQLITE_PERM")


def check_path(path: Path) -> None:
    """Raise before any work if ``path`` can be no store."""
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
def _said(path: Path, attempted: str = "written") -> Iterator[None]:
    """SQLite's errors as Python's, with the path."""
    try:
        yield
    except sqlite3.Error as error:
        name = getattr(error, "sqlite_errorname", "")
        if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
            raise _store_reading.busy(path) from error
        if name.startswith(_OF_THE_SYSTEM) and name != "SQLITE_IOERR_SHORT_READ":
            kept = ". The cells before are kept; run again to go on" if attempted == "written" else ""
            raise OSError(f"store: {path} cannot be {attempted}: {error}{kept}") from error
        said = printable(str(error))
        raise ValueError(f"store: {path} is not a store of a sweep, or is damaged: {said}") from error


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """What is wrong with the contents of a file, with its path."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"store: {path} {error}") from None


class Store:
    """An open store; a context."""

    def __init__(self, path: Path) -> None:
        check_path(path)
        _store_reading.check_journal(path)
        self._path = path
        self._run = 0
        self._stored: Stored | None = None  # what it holds, until that changes
        with _store_reading.alone(), _said(path):
            # Whole: ":memory:" is a name like any other here.
            self._database = sqlite3.connect(path.absolute(), timeout=1, isolation_level=None)
            try:
                self._open()
                self._taken = _store_reading.take(path)
            except BaseException:
                self._database.close()
                raise

    def _open(self) -> None:
        """Take the lock, which lasts until the file is closed; check what the file holds; then write."""
        guard(self._database)
        self._database.execute("PRAGMA locking_mode = EXCLUSIVE")
        with self._transaction(), _named(self._path):
            new = is_new(self._database)
            if not new:
                limit = self._database.getlimit(sqlite3.SQLITE_LIMIT_LENGTH)
                check_pages(self._database, _store_reading.size(self._path))
                self._stored = contents(self._database)
                self._database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, limit)
        if new:
            self._log()
            with self._transaction():
                for statement in _NEW:
                    self._database.execute(statement)

    def _log(self) -> None:
        """Turn to the write-ahead log, which is noted in the file."""
        with _said(self._path):
            for mode in ("journal_mode = WAL", "synchronous = NORMAL"):
                self._database.execute(f"PRAGMA {mode}")

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with _said(self._path):
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                if self._database.in_transaction:  # some errors of SQLite's end it themselves
                    self._database.execute("ROLLBACK")
                raise
            self._database.execute("COMMIT")

    def _now(self) -> Stored:
        """What the store holds now."""
        if self._stored is None:
            with _said(self._path), _named(self._path):
                self._stored = contents(self._database)
        return self._stored

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._database.close()
        _store_reading.give_back(self._taken)

    # ---- whose it is --------------------------------------------------------------------------------
    def claim(self, identity: Identity, keys: Iterable[str], *, extend: bool) -> None:
        """Take a new store, or make sure that an old one was made by the same function for the same grid.

        Raises
        ------
        ValueError
            If another function, version or grid made it.
        """
        wanted = list(keys)
        stored = self._now()
        if stored.identity is not None:
            self._compare(stored.identity, identity)
            made = stored.grid
            if set(made) != set(wanted) and not extend:
                shared = len(set(made) & set(wanted))
                raise ValueError(
                    f"store: {self._path} was written for another grid, of {len(made)} cells: {shared} "
                    f"of this grid's {len(wanted)} are among them. Let it grow (extend), or name another"
                )
            wanted = list(dict.fromkeys([*made, *wanted]))
        self._log()
        with self._transaction():
            for name, value in (("identity", identity._asdict()), ("grid", wanted)):
                self._database.execute(
                    "INSERT INTO meta VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
                    (name, json.dumps(value)),
                )
        self._stored = stored._replace(identity=identity, grid=wanted)

    def _compare(self, made: Identity, now: Identity) -> None:
        def refuse(what: str, before: object, after: object) -> ValueError:
            return ValueError(
                f"store: {self._path} was written by {what} {before}, and this is {after}: name another store"
            )

        if made.function != now.function:
            raise refuse("the function", made.function, now.function)
        if made.version != now.version:
            raise refuse("precision", made.version, now.version)
        if sorted(made.parameters) != sorted(now.parameters):
            raise refuse("a grid of", ", ".join(made.parameters), f"one of {', '.join(now.parameters)}")
        if made.source != now.source:
            raise ValueError(
                f"store: {self._path} was written before {now.function} was changed: name another store"
            )

    def begin(self, provenance: Mapping[str, Any]) -> None:
        """Note the run that the cells to come belong to."""
        with _said(self._path):
            found = self._database.execute(
                "INSERT INTO runs (provenance) VALUES (?)", (json.dumps(dict(provenance)),)
            )
        self._run = found.lastrowid or 0

    # ---- cells --------------------------------------------------------------------------------------
    def outcomes(self) -> dict[str, Outcome]:
        """Every cell that was done before, by its key."""
        return {key: outcome for key, _, outcome in self._now().rows}

    def forget(self, keys: Sequence[str]) -> None:
        """Drop cells, to have them computed again."""
        with self._transaction():
            self._database.executemany("DELETE FROM cells WHERE key = ?", [(key,) for key in keys])
        self._stored = None

    def add(self, cell: Cell, outcome: Outcome) -> None:
        """Keep a cell; it is kept when this returns."""
        row = (
            cell.key,
            json.dumps(dict(cell.shown)),
            json.dumps(outcome.metrics),
            outcome.error,
            outcome.trace,
            outcome.seconds,
            self._run,
        )
        with _said(self._path):
            self._database.execute("INSERT INTO cells VALUES (?, ?, ?, ?, ?, ?, ?)", row)
        self._stored = None


class Filled(NamedTuple):
    """What a store holds, for those who only read it."""

    rows: list[tuple[dict[str, Plain], Outcome]]  #: in the grid's order
    runs: list[dict[str, Any]]
    cells: int  #: that the grid has


def read(path: Path) -> Filled:
    """Read a store that no sweep is writing to. Nothing is written, in the file or beside it.

    Raises
    ------
    FileNotFoundError, IsADirectoryError, ValueError, BlockingIOError
        If there is none, the file is none or damaged, or a sweep is writing to it.
    OSError
        If it cannot be read, or has a log beside it and there is no room for a copy.
    """
    with _said(path, "read"), _store_reading.readable(path) as (database, size), _named(path):
        guard(database)
        if is_new(database):
            raise ValueError("is not a store of a sweep: it is an SQLite file without tables")
        check_pages(database, size)
        stored = contents(database)
    return Filled([(made, outcome) for _, made, outcome in stored.rows], stored.runs, len(stored.grid))
