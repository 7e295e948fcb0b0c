"""Checks of a sweep's store: a file that was damaged, or made by others, is refused with its name.

A store is an SQLite file, and an SQLite file can hold more than rows: a trigger acts when a row is written,
a view or a generated column computes when one is read. So a store's schema must be exactly that of this
package; the schema is only read for that, and SQLite is told to trust no function in it. Then the pages are
checked, and every row: types, JSON and its shape, that a cell's key is the one of its parameters.
"""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Callable
from typing import Any, NamedTuple

from precision._support._types import Plain
from precision._support.files._strict_json import quote_text, strict_json
from precision.sweep._cell_runs import CellOutcome
from precision.sweep._grid import Cell

APPLICATION = 0x70726373  # the application id "prcs" in the file's header
LAYOUT = 1
_DEEPEST = 20  # the most levels of JSON in a run's provenance, which has three
TABLES = {
    "meta": "CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL)",
    "runs": "CREATE TABLE runs (id INTEGER PRIMARY KEY, provenance TEXT NOT NULL)",
    "cells": "CREATE TABLE cells (key TEXT PRIMARY KEY, parameters TEXT NOT NULL, metrics TEXT NOT NULL, "
    "error TEXT, trace TEXT, seconds REAL NOT NULL, run INTEGER NOT NULL REFERENCES runs (id)) WITHOUT ROWID",
}
_SCHEMA: set[tuple[str, str, str, str | None]] = {
    ("table", name, name, text) for name, text in TABLES.items()
}
_SCHEMA.add(("index", "sqlite_autoindex_meta_1", "meta", None))


class Identity(NamedTuple):
    """The identity of the sweep that a store belongs to: function, source, version and parameters."""

    function: str
    source: str | None  #: SHA-256 of the function's source, where Python can find it
    version: str  #: the version of precision
    parameters: tuple[str, ...]


class StoreContents(NamedTuple):
    """The checked contents of a sweep's store."""

    identity: Identity | None  #: None where the sweep was killed before it wrote it
    grid: list[str]  #: the keys of all its cells
    rows: list[tuple[str, dict[str, Plain], CellOutcome]]  #: key, parameters and outcome, in the grid's order
    runs: list[dict[str, Any]]


def guard(database: sqlite3.Connection) -> None:
    """Tell SQLite to trust nothing in a file; this must come before anything is read from it."""
    database.execute("PRAGMA trusted_schema = OFF")
    database.execute("PRAGMA cell_size_check = ON")
    database.execute("PRAGMA mmap_size = 0")


def is_new(database: sqlite3.Connection) -> bool:
    """Tell whether a file has no tables yet; raise if it has tables but is no store. Nothing is changed.

    Raises
    ------
    ValueError
        If the file has another application's number, another layout, or another schema.
    """
    schema = set(database.execute("SELECT type, name, tbl_name, sql FROM sqlite_master"))
    application, layout = (
        database.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version")
    )
    if not schema and application in (0, APPLICATION):
        return True
    if application != APPLICATION:
        raise ValueError("is an SQLite file, but not a store of a sweep")
    if layout != LAYOUT:
        raise ValueError(f"has layout {layout}, and this version of precision writes {LAYOUT}")
    if schema != _SCHEMA:
        other = sorted(f"{kind} {quote_text(name)}" for kind, name, *_ in schema ^ _SCHEMA)
        differing = ", ".join(other[:5])
        raise ValueError(f"is not a store of a sweep as precision makes one: it differs in {differing}")
    return False


def check_pages(database: sqlite3.Connection, size: int) -> None:
    """Raise if the pages of a file are not those of a sound SQLite file of ``size`` bytes, log included.

    From then on SQLite refuses a text that is longer than the file, and `read_contents` may be called.
    """
    pages, page = (database.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "page_size"))
    if pages * page > size:
        raise ValueError(f"is damaged: it claims {pages:,} pages of {page} bytes, and has {size:,} bytes")
    database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, max(size, 1 << 16))
    (found,) = database.execute("PRAGMA quick_check(1)").fetchone()
    if found != "ok":
        raise ValueError(f"is damaged: {quote_text(found, 300)}")


def read_contents(database: sqlite3.Connection) -> StoreContents:
    """Read a store that `is_new` and `check_pages` have passed, and check all of it.

    Raises
    ------
    ValueError
        If anything in it is not as this package writes it.
    """
    identity, grid = _check_meta(database.execute("SELECT name, value FROM meta").fetchall())
    runs = {}
    for number, text in database.execute("SELECT id, provenance FROM runs ORDER BY id"):
        runs[number] = _check_row(f"run {quote_text(number)}", _check_run, text, identity)
    order = {key: i for i, key in enumerate(grid)}
    rows = []
    for key, parameters, metrics, error, trace, seconds, run in database.execute("SELECT * FROM cells"):
        label = f"cell {quote_text(key)}"
        if key not in order:
            raise ValueError(f"is damaged: {label} is not of its grid")
        if run not in runs:
            raise ValueError(f"is damaged: {label} belongs to no run")
        assert identity is not None  # a store with a grid has an identity
        values = _check_row(label, _check_parameters, key, parameters, identity)
        outcome = _check_row(label, _check_outcome, metrics, error, trace, seconds, identity)
        rows.append((key, values, outcome))
    rows.sort(key=lambda row: order[row[0]])
    return StoreContents(identity, grid, rows, list(runs.values()))


def _check_row(label: str, check: Callable[..., Any], *values: object) -> Any:
    """Call a check, and name the row in its error."""
    try:
        return check(*values)
    except ValueError as error:
        raise ValueError(f"is damaged: {label}: {error}") from None


# ---- each kind of row -----------------------------------------------------------------------------------
def _check_meta(rows: list[tuple[Any, Any]]) -> tuple[Identity | None, list[str]]:
    """Return the identity and the keys of the grid from the rows of ``meta``."""
    if not rows:
        return None, []
    meta = dict(rows)
    if set(meta) != {"identity", "grid"}:
        raise ValueError("is damaged: it does not say whose it is, or says more than that")
    return _check_row("identity", _check_identity, meta["identity"]), _check_row(
        "grid", _check_grid, meta["grid"]
    )


def _check_identity(text: object) -> Identity:
    """Return the identity that a text holds."""
    values = _decode_object(text)
    if set(values) != set(Identity._fields):
        raise ValueError(f"it must have {', '.join(Identity._fields)}")
    found = Identity(**values | {"parameters": _check_texts(values["parameters"])})
    if type(found.function) is not str or type(found.version) is not str:
        raise ValueError("function and version must be texts")
    if found.source is not None and type(found.source) is not str:
        raise ValueError("source must be a text or null")
    return found


def _check_grid(text: object) -> list[str]:
    """Return the keys of a grid that a text holds."""
    return list(_check_texts(_decode_json(text)))


def _check_run(text: object, identity: Identity | None) -> dict[str, Any]:
    """Return the provenance of a run that a text holds."""
    values = _decode_object(text)
    _check_depth(values)
    if identity is None or sorted(_check_texts(values.get("parameters"))) != sorted(identity.parameters):
        raise ValueError("its parameters must be those of the store")
    return values


def _check_parameters(key: str, text: object, identity: Identity) -> dict[str, Plain]:
    """Return the parameters of a cell that a text holds, whose key must be theirs."""
    values = _decode_plain_values(text)
    if not set(values) <= set(identity.parameters):
        raise ValueError("it has parameters that the store has not")
    if Cell(arguments={}, shown=values).key != key:
        raise ValueError("its key is not the one of its parameters")
    return values


def _check_outcome(metrics: object, error: Any, trace: Any, seconds: Any, identity: Identity) -> CellOutcome:
    """Return the outcome of a cell from the columns of its row."""
    values = _decode_plain_values(metrics)
    if not {"error", *identity.parameters}.isdisjoint(values):
        raise ValueError("it has a metric that is named as another column")
    if not (error is trace is None or (type(error) is type(trace) is str and not values)):
        raise ValueError("it must have metrics, or the text and the trace of an error")
    if type(seconds) is not float or not 0 <= seconds < math.inf:
        raise ValueError(f"seconds must be a number, got {quote_text(seconds)}")
    return CellOutcome(values, error, trace, seconds)


# ---- JSON -----------------------------------------------------------------------------------------------
def _decode_json(text: object) -> Any:
    """Return the decoded JSON of a text."""
    if type(text) is not str:
        raise ValueError(f"it must be a text, got {type(text).__name__}")
    return strict_json(text)


def _decode_object(text: object) -> dict[str, Any]:
    """Return the decoded JSON object of a text."""
    found = _decode_json(text)
    if type(found) is not dict:
        raise ValueError("it must be a JSON object")
    return found


def _check_depth(found: dict[str, Any]) -> None:
    """Raise if an object is nested more deeply than code that walks it by recursion can follow."""
    level: list[Any] = [found]
    for _ in range(_DEEPEST):
        level = [
            value
            for one in level
            if isinstance(one, dict | list)
            for value in (one.values() if isinstance(one, dict) else one)
        ]
        if not level:
            return
    raise ValueError(f"its JSON is nested more than {_DEEPEST} deep")


def _decode_plain_values(text: object) -> dict[str, Plain]:
    """Return the decoded JSON object of a text whose values are all plain."""
    found = _decode_object(text)
    for name, value in found.items():
        if value is not None and type(value) not in (bool, int, float, str):
            raise ValueError(f"{quote_text(name)} must be a number, a text, a truth value or null")
    return found


def _check_texts(found: object) -> tuple[str, ...]:
    """Return a list of different texts as a tuple."""
    if type(found) is not list or not all(type(name) is str for name in found):
        raise ValueError("it must have a list of texts")
    if len(set(found)) < len(found):
        raise ValueError("it has a text of a list twice")
    return tuple(found)
