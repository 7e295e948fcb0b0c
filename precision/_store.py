"""The store of a sweep: an SQLite file that holds each cell as soon as it is done, and survives SIGKILL.

Every cell is a transaction of its own in SQLite's write-ahead log, so that a process killed at any moment
leaves the cells that were done, whole. The file is locked while a sweep writes to it; the log is then kept in
this process's memory alone, so that network file systems do.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from precision._cell_runs import Outcome
from precision._grid import Cell, Plain

_APPLICATION = 0x70726373  # "prcs", in the file's header
_LAYOUT = 1
_TABLES = (
    "CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL)",
    "CREATE TABLE runs (id INTEGER PRIMARY KEY, provenance TEXT NOT NULL)",
    "CREATE TABLE cells (key TEXT PRIMARY KEY, parameters TEXT NOT NULL, metrics TEXT NOT NULL, error TEXT, "
    "trace TEXT, seconds REAL NOT NULL, run INTEGER NOT NULL REFERENCES runs (id)) WITHOUT ROWID",
    f"PRAGMA application_id = {_APPLICATION}",
    f"PRAGMA user_version = {_LAYOUT}",
)


class Identity(NamedTuple):
    """What must be the same for results to stand beside each other in a store."""

    function: str
    source: str | None  #: SHA-256 of the function's source, where Python can find it
    version: str  #: of precision
    parameters: tuple[str, ...]


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


@contextmanager
def _said(path: Path) -> Iterator[None]:
    """SQLite's errors as Python's, with the path."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        name = getattr(error, "sqlite_errorname", "")
        if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
            raise BlockingIOError(f"store: {path} is being written by another sweep") from error
        if name in ("SQLITE_NOTADB", "SQLITE_CORRUPT"):
            raise ValueError(f"store: {path} is not a store of a sweep, or is damaged: {error}") from error
        raise OSError(
            f"store: {path} cannot be written: {error}. The cells before are kept; run again to go on"
        ) from error


class Store:
    """An open store; a context."""

    def __init__(self, path: Path) -> None:
        check_path(path)
        self._path = path
        self._run = 0
        with _said(path):
            # Whole: ":memory:" is a name like any other here.
            self._database = sqlite3.connect(path.absolute(), timeout=1, isolation_level=None)
            try:
                self._database.execute("PRAGMA locking_mode = EXCLUSIVE")
                new = self._is_new()
                for mode in ("journal_mode = WAL", "synchronous = NORMAL"):
                    self._database.execute(f"PRAGMA {mode}")
                with self._transaction():  # takes the lock, which lasts until the file is closed
                    for statement in _TABLES if new else ():
                        self._database.execute(statement)
            except BaseException:
                self._database.close()
                raise

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

    def _is_new(self) -> bool:
        """Whether the file has no tables yet; of one that has, raise if it is no store. Changes nothing."""
        if self._database.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0:
            return True
        application, layout = (
            self._database.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("application_id", "user_version")
        )
        if application != _APPLICATION:
            raise ValueError(f"store: {self._path} is an SQLite file, but not a store of a sweep")
        if layout != _LAYOUT:
            raise ValueError(
                f"store: {self._path} has layout {layout}, and this version of precision writes {_LAYOUT}"
            )
        return False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._database.close()

    # ---- whose it is --------------------------------------------------------------------------------
    def claim(self, identity: Identity, keys: Iterable[str], *, extend: bool) -> None:
        """Take a new store, or make sure that an old one was made by the same function for the same grid.

        Raises
        ------
        ValueError
            If another function, version or grid made it.
        """
        wanted = list(keys)
        with self._transaction():
            meta = dict(self._database.execute("SELECT name, value FROM meta"))
            if meta:
                self._compare(Identity(**_identity(json.loads(meta["identity"]))), identity)
                made = json.loads(meta["grid"])
                if set(made) != set(wanted) and not extend:
                    shared = len(set(made) & set(wanted))
                    raise ValueError(
                        f"store: {self._path} was written for another grid, of {len(made)} cells: {shared} "
                        f"of this grid's {len(wanted)} are among them. Let it grow (extend), or name another"
                    )
                wanted = list(dict.fromkeys([*made, *wanted]))
            for name, value in (("identity", identity._asdict()), ("grid", wanted)):
                self._database.execute(
                    "INSERT INTO meta VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
                    (name, json.dumps(value)),
                )

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
        with _said(self._path):
            rows = self._database.execute("SELECT key, metrics, error, trace, seconds FROM cells").fetchall()
        return {key: Outcome(json.loads(metrics), *rest) for key, metrics, *rest in rows}

    def forget(self, keys: Sequence[str]) -> None:
        """Drop cells, to have them computed again."""
        with self._transaction():
            self._database.executemany("DELETE FROM cells WHERE key = ?", [(key,) for key in keys])

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


def _identity(made: Mapping[str, Any]) -> dict[str, Any]:
    return {**made, "parameters": tuple(made["parameters"])}


class Stored(NamedTuple):
    """What a store holds, for those who only read it."""

    rows: list[tuple[dict[str, Plain], Outcome]]  #: in the grid's order
    runs: list[dict[str, Any]]
    cells: int  #: that the grid has


def read(path: Path) -> Stored:
    """Read a store that no sweep is writing to.

    Raises
    ------
    FileNotFoundError, ValueError, BlockingIOError
        If there is none, the file is none, or a sweep is writing to it.
    """
    if not path.is_file():
        raise FileNotFoundError(f"store: there is no file {path}")
    with Store(path) as store, _said(path):
        database = store._database
        meta = dict(database.execute("SELECT name, value FROM meta"))
        order = {key: i for i, key in enumerate(json.loads(meta.get("grid", "[]")))}
        found = database.execute(
            "SELECT key, parameters, metrics, error, trace, seconds FROM cells"
        ).fetchall()
        found.sort(key=lambda row: order[row[0]])
        runs = [json.loads(text) for (text,) in database.execute("SELECT provenance FROM runs ORDER BY id")]
    rows = [(json.loads(row[1]), Outcome(json.loads(row[2]), *row[3:])) for row in found]
    return Stored(rows, runs, len(order))
