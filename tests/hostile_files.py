"""Damaged files of every kind that the package reads, and what may become of reading them.

Run by hand for longer than the tests do: ``python tests/hostile_files.py --seconds 600 --seed 1``.
"""

from __future__ import annotations

import argparse
import io
import json
import math
import random
import shutil
import sqlite3
import tempfile
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from functools import cache
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from hostile_mutations import NAMES, VALUES, damage, edit_json, little_memory, run
from safetensors.numpy import save_file

import precision as pr
from precision import storage
from precision.hardware import _recorded_cases
from precision.storage import PACKED, read_header, read_metadata, read_tensor
from precision.storage._array_files import DTYPES
from precision.sweep import _store, read_store, sweep


class Files:
    """Reading damaged files in one folder; a documented error is a ValueError that names the file."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def outcome(self, path: Path, read: Callable[[], Any]) -> tuple[str, Any]:
        """What became of reading: ``read`` or ``refused``, and the result."""
        try:
            return "read", read()
        except ValueError as error:
            assert type(error) is ValueError, f"{type(error).__name__} is no plain ValueError: {error}"
            assert str(path) in str(error), f"the error does not name the file: {error}"
            assert len(str(error)) < 3000 and str(error).isprintable(), str(error)[:3000]
            return "refused", None

    # ---- safetensors --------------------------------------------------------------------------------
    def safetensors(self, rng: random.Random, number: int) -> str:
        path = self.folder / "a.safetensors"
        data = rng.choice(_safetensors())
        if rng.random() < 0.7:
            length = int.from_bytes(data[:8], "little")
            header, body = data[8 : 8 + length].decode(), data[8 + length :]
            if rng.random() < 0.3 and "precision" in header:
                said = json.loads(header)
                said["__metadata__"]["precision"] = edit_json(rng, said["__metadata__"]["precision"])
                header = json.dumps(said)
            else:
                header = edit_json(rng, header)
            text = header.encode() + b" " * rng.choice([0, 0, 3])
            data = len(text).to_bytes(8, "little") + text + body
        if rng.random() < 0.4:
            data = damage(rng, data)
        path.write_bytes(data)
        result, entries = self.outcome(path, lambda: read_header(path))
        again, _ = self.outcome(path, lambda: read_metadata(path))
        assert result == again
        loaded, _ = self.outcome(path, lambda: _checked(storage.load(path)))
        if result == "refused":
            assert loaded == "refused"
            return "refused"
        _compare_tensors(path, data, entries)
        return f"read, {loaded} as quantized"

    # ---- .npy and .npz ------------------------------------------------------------------------------
    def npy(self, rng: random.Random, number: int) -> str:
        path = self.folder / "a.npy"
        path.write_bytes(_damaged_npy(rng))
        result, array = self.outcome(path, lambda: read_tensor(path))
        if result == "read":
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of headers that Python 2 wrote
                _same(array, np.load(path, allow_pickle=False))
        return result

    def npz(self, rng: random.Random, number: int) -> str:
        from precision.storage._npy_files import read_npz

        path = self.folder / "a.npz"
        members = dict(_members())
        key = rng.choice(list(members))
        how = rng.randrange(4)
        if how == 0:
            members[key] = damage(rng, members[key])
        elif how == 1:
            members[key] = _damaged_npy(rng)
        elif how == 2:
            names = [
                "",
                "a",
                "|",
                "é",
                "x" * 5000,
                "\x1b[31m",
                key[:-1],
                "tensor|0",
                "block|none|1x1x1|0",
                "mm|x|0",
            ]
            members[rng.choice(names)] = members.pop(key)
        data = io.BytesIO()
        with (
            warnings.catch_warnings(),
            zipfile.ZipFile(data, "w", rng.choice([0, 0, 8, 8, 8, 12])) as archive,
        ):
            warnings.simplefilter("ignore")
            for name, member in members.items():
                archive.writestr(name + rng.choice([".npy"] * 30 + ["", ".txt"]) or "x", member)
            if rng.random() < 0.1:
                archive.writestr(key + ".npy", member)
        found = data.getvalue()
        path.write_bytes(damage(rng, found) if how == 3 or rng.random() < 0.2 else found)
        result, arrays = self.outcome(path, lambda: read_npz(path))
        if result == "read":
            with np.load(path, allow_pickle=False) as archive:
                for name, array in arrays.items():
                    _same(array, archive[name])
        cases, _ = self.outcome(path, lambda: _recorded_cases.read(path))
        assert result == "read" or cases == "refused"
        return f"{result}, {cases} as cases"

    # ---- stores -------------------------------------------------------------------------------------
    def store(self, rng: random.Random, number: int) -> str:
        home = self.folder / "store"
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir()
        path = home / "a.sqlite"
        data, log = rng.choice(_stores())
        path.write_bytes(data)
        if log is not None:
            path.with_name("a.sqlite-wal").write_bytes(damage(rng, log) if rng.random() < 0.5 else log)
        if rng.random() < 0.7:
            _edit_store(rng, path)
        elif log is None or rng.random() < 0.3:
            path.write_bytes(_damaged_pages(rng, data))
        before = _folder(home)
        result, table = self.outcome(path, lambda: read_store(path))
        assert _folder(home) == before, "reading changed the folder"
        if result == "read":
            _compare_table(path, table)
        if number % 3 == 0:
            rows = path.read_bytes()
            swept, _ = self.outcome(path, lambda: sweep(_cell, GRID, store=path))
            if swept == "refused" and not any(home.glob("*-wal")) and "a.sqlite-wal" not in before:
                assert path.read_bytes() == rows, "a sweep that was refused changed the file"
            result += f", sweep {'went on' if swept == 'read' else 'refused'}"
        return result


# ---- safetensors --------------------------------------------------------------------------------------
@cache
def _safetensors() -> list[bytes]:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((6, 64)).astype(np.float32)
    quantized = {
        "w": pr.quantize(x, pr.NVFP4),
        "x": pr.quantize(x, pr.MXFP6_E2M3),
        "y": pr.quantize(x, pr.QuantSpec(pr.E4M3, pr.PerTensor())),
        "i": pr.quantize(x[:, :5], pr.QuantSpec(pr.parse_format("int4"), pr.PerVector())),
    }
    plain = {
        "layer.0.weight": x,
        "half": x.astype(ml_dtypes.bfloat16),
        "none": np.zeros((3, 0), np.float16),
        "one": np.array(2.5),
    }
    found = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.safetensors"
        for names in (["w"], ["x", "i"], ["y"], list(quantized)):
            storage.save(path, {name: quantized[name] for name in names})
            found.append(path.read_bytes())
        save_file(plain, path, metadata={"format": "np"})
        found.append(path.read_bytes())
    header = json.dumps(
        {
            "p": {"dtype": "F4", "shape": [2, 8], "data_offsets": [0, 8]},
            "q": {"dtype": "F6_E3M2", "shape": [4, 2], "data_offsets": [8, 14]},
            "r": {"dtype": "BOOL", "shape": [2], "data_offsets": [14, 16]},
        }
    ).encode()
    found.append(len(header).to_bytes(8, "little") + header + bytes(range(14)) + b"\0\1")
    return found


def _checked(tensors: dict[str, pr.QuantizedTensor]) -> None:
    for tensor in tensors.values():
        assert tensor.codes.size < 1 << 20
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # scales of a damaged file overflow
            assert tensor.dequantize().shape == tensor.shape


def _compare_tensors(path: Path, data: bytes, entries: dict[str, Any]) -> None:
    """Each tensor is the bytes that the header, read by Python's own parser, places it at."""
    length = int.from_bytes(data[:8], "little")
    header, body = json.loads(data[8 : 8 + length]), data[8 + length :]
    header.pop("__metadata__", None)
    assert header.keys() == entries.keys()
    for name, said in header.items():
        array = read_tensor(path, name)
        start, stop = said["data_offsets"]
        assert array.tobytes() == body[start:stop]
        assert entries[name].shape == tuple(said["shape"])
        if said["dtype"] in DTYPES:
            assert array.dtype == DTYPES[said["dtype"]] and array.shape == tuple(said["shape"])
        else:
            full = read_tensor(path, name, unpacked=True)
            assert full.shape == tuple(said["shape"]) and full.dtype == PACKED[said["dtype"]].dtype


# ---- .npy and .npz ----------------------------------------------------------------------------------------
@cache
def _arrays() -> list[bytes]:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((3, 4))
    found = []
    for array in (
        x,
        np.asfortranarray(x),
        x.astype(">f4"),
        x.astype(ml_dtypes.bfloat16),
        np.float16(1),
        x > 0,
        np.zeros((2, 0), "i4"),
        np.array(["a", "bc"]),
        np.array(["2020"], "M8[D]"),
    ):
        for version in ((1, 0), (2, 0), (3, 0)):
            data = io.BytesIO()
            np.lib.format.write_array(data, np.asanyarray(array), version)
            found.append(data.getvalue())
    return found


_DESCRS = [
    "'<f4'",
    "'|O'",
    "'<f8'",
    "'V0'",
    "'<U0'",
    "'|S1000000000'",
    "'<U999999999'",
    "'f4,f4'",
    "'(2,)f4'",
    "f4",
    "[('a', '<f4')]",
    "'<V2'",
    "'<M8[ns]'",
    "'<M8[xx]'",
    "'<M8[25s]'",
    "'float32'",
    "'float7'",
    "'object'",
    "'m8'",
    "('<f4', (1000000, 1000000))",
    "'<f16'",
    "'<f3'",
    "'a5'",
    "''",
    "'\\x66'",
    "3",
    "None",
]
_SHAPES = [
    "(3, 4)",
    "()",
    "(12,)",
    "(12)",
    "[12]",
    "(-12,)",
    "(0,)",
    "(0, 4611686018427387904)",
    "(True, 12)",
    "(3L, 4L)",
    "(9223372036854775807,)",
    "(9223372036854775808,)",
    "(4294967296, 4294967296)",
    "(1000000000000,)",
    "(0, 9223372036854775807, 9223372036854775807)",
    "(" + "1, " * 70 + ")",
    "(" + "1, " * 64 + ")",
    "(1e3,)",
    "(3, 4",
    "(3,, 4)",
    "(007,)",
    "(" + "9" * 5000 + ",)",
    "(1_2,)",
    "(,)",
    "{}",
    "None",
    "(" * 200 + ")" * 200,
    "(" * 3000,
    "-" * 3000 + "1",
    "(3, 4,)",
    "( 3 ,4 )",
]


def _damaged_npy(rng: random.Random) -> bytes:
    data = rng.choice(_arrays())
    if rng.random() < 0.5:
        version = rng.choice([1, 1, 2, 3, 0, 9])
        items = [f"'descr': {rng.choice(_DESCRS[:1] * 20 + _DESCRS)}", f"'shape': {rng.choice(_SHAPES)}"]
        items.append(f"'fortran_order': {rng.choice(['False', 'True', '0', 'None'])}")
        items += rng.choice([[], [], [], [items[0]], ["'x': 1"], ["1"], ["'a': " + "[" * 500]])
        if rng.random() < 0.3:
            rng.shuffle(items)
        text = "{" + ", ".join(items[: rng.choice([3, 4, 4, 2])]) + rng.choice(["}", ", }", "}\n", "", "} x"])
        if rng.random() < 0.1:
            text = text.replace("'", '"')
        header = text.encode().ljust(rng.choice([0, 118, 12_000]))
        length = (len(header) + rng.choice([0, 0, 0, 1, -1, 100])) % (1 << 16)
        data = (
            b"\x93NUMPY" + bytes([version, 0]) + length.to_bytes(2 if version == 1 else 4, "little") + header
        )
        data += rng.randbytes(rng.choice([48, 48, 96, 7, 0]))
    return damage(rng, data) if rng.random() < 0.5 else data


def _same(array: np.ndarray, other: np.ndarray) -> None:
    assert array.dtype == other.dtype and array.shape == other.shape and array.tobytes() == other.tobytes()


@cache
def _members() -> dict[str, bytes]:
    """The members of a small archive of vectors."""
    a, b = np.zeros((2, 64, 32), np.uint8), np.ones((2, 8, 32), np.uint8)
    c = np.zeros((2, 64, 8), np.uint32)
    arrays = {
        f"wgmma.f32.e4m3.e4m3|x|zero|{part}": array for part, array in zip("abcd", (a, b, c, c), strict=True)
    }
    e = np.ones((4, 16), np.uint8)
    gemm = (e, e, np.zeros((4, 4), np.int16), np.float32(1), np.float32(2))
    arrays |= {f"scaled|bf16|fast|4x4x16|{i}": np.asarray(array) for i, array in enumerate(gemm)}
    arrays |= {
        f"mm|f16|4x4x8|{i}": array
        for i, array in enumerate((e.view("i2"), e.view("i2"), np.eye(4, dtype="f4")))
    }
    found = {}
    for name, array in arrays.items():
        data = io.BytesIO()
        np.save(data, array)
        found[name] = data.getvalue()
    return found


# ---- stores -------------------------------------------------------------------------------------------
GRID = {"x": [1, 2, -1, 0.5], "fmt": ["e4m3", "bf16"]}


def _cell(x: float, fmt: str) -> dict[str, Any]:
    if x < 0:
        raise ValueError(f"{x} is negative")
    return {"third": x / 3, "text": fmt * 3, "big": 2**70, "nan": math.nan, "none": None, "yes": x > 1}


@cache
def _stores() -> list[tuple[bytes, bytes | None]]:
    """Stores as sweeps leave them: closed, extended, killed with and without cells, long, not yet begun."""
    found: list[tuple[bytes, bytes | None]] = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.sqlite"
        sweep(_cell, GRID, store=path)
        found.append((path.read_bytes(), None))
        sweep(_cell, {"x": list(range(300)), "fmt": ["bf16"]}, store=path, extend=True)
        found.append((path.read_bytes(), None))
        for keep in (0, 3):
            part = Path(folder) / f"{keep}.sqlite"
            sweep(_cell, {**GRID, "x": [1, 2]} if keep else GRID, store=part)
            with _store.Store(part) as store:
                store.begin({"parameters": ["x", "fmt"]})
                if not keep:
                    store.forget(list(store.outcomes())[:3])
                found.append((part.read_bytes(), Path(f"{part}-wal").read_bytes()))
        begun = Path(folder) / "b.sqlite"
        with _store.Store(begun):
            found.append((begun.read_bytes(), Path(f"{begun}-wal").read_bytes()))
        found.append((begun.read_bytes(), None))
    return found


def _damaged_pages(rng: random.Random, data: bytes) -> bytes:
    """An SQLite file with faults in its header, or in one page's."""
    if rng.random() < 0.5:
        return damage(rng, data)
    pages = len(data) // 4096
    found = bytearray(data)
    for _ in range(rng.choice([1, 1, 2, 5])):
        page = rng.randrange(pages)
        start = 4096 * page + (100 if page == 0 and rng.random() < 0.7 else 0)
        how = rng.randrange(5)
        if how == 0:  # the page's header and its pointers to cells
            found[start + rng.randrange(40)] = rng.randrange(256)
        elif how == 1:
            at = start + 2 * rng.randrange(30)
            found[at : at + 2] = rng.choice([0, 1, 8, 4095, 4096, 65535, rng.randrange(4096)]).to_bytes(
                2, "big"
            )
        elif how == 2 and page:
            other = 4096 * rng.randrange(1, pages) if pages > 1 else 0
            found[start : start + 4096] = data[other : other + 4096]
        elif how == 3:  # of the first cells from the end of the page: lengths of records and of their columns
            at = 4096 * (page + 1) - 1 - rng.randrange(800)
            found[at] = rng.choice([0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)])
        else:
            found[rng.randrange(100)] = rng.randrange(256)
    return bytes(found)


_SCHEMAS = [
    "CREATE TRIGGER t AFTER INSERT ON {table} BEGIN DELETE FROM cells; END",
    "CREATE TRIGGER t BEFORE UPDATE ON meta BEGIN DELETE FROM cells; END",
    "CREATE TRIGGER t AFTER DELETE ON cells BEGIN DELETE FROM runs; END",
    "CREATE VIEW v AS SELECT randomblob(1000000000)",
    "CREATE TEMP TABLE t (a)",
    "CREATE TABLE t (a)",
    "CREATE INDEX i ON {table} (1)",
    "CREATE UNIQUE INDEX i ON cells (abs(seconds))",
    "CREATE VIRTUAL TABLE v USING fts5(a)",
    "CREATE VIRTUAL TABLE v USING rtree(a, b, c)",
    "ALTER TABLE {table} ADD COLUMN g AS (randomblob(1000000000))",
    "ALTER TABLE {table} ADD COLUMN d DEFAULT 1",
    "ALTER TABLE {table} RENAME TO other",
    "ALTER TABLE cells RENAME COLUMN trace TO traced",
    "DROP TABLE {table}",
    "ALTER TABLE runs RENAME TO r; CREATE VIEW runs AS SELECT * FROM r",
    "ALTER TABLE cells RENAME TO c; CREATE VIEW cells AS SELECT * FROM c",
    "PRAGMA writable_schema = ON; UPDATE sqlite_master SET rootpage = 2",
    "PRAGMA writable_schema = ON; UPDATE sqlite_master SET sql = 'CREATE TABLE ' || name || ' (a)'",
    "PRAGMA writable_schema = ON; UPDATE sqlite_master SET sql = replace(sql, 'seconds', 'second')",
    "PRAGMA writable_schema = ON; UPDATE sqlite_master SET sql = 'nonsense' WHERE name = 'cells'",
    "PRAGMA writable_schema = ON; UPDATE sqlite_master SET sql = NULL WHERE name = 'runs'",
    "PRAGMA writable_schema = ON; DELETE FROM sqlite_master WHERE name = '{table}'",
    "PRAGMA writable_schema = ON; UPDATE sqlite_master SET sql = replace(sql, 'trace', 'g AS (1), trace')",
    "PRAGMA user_version = 2",
    "PRAGMA application_id = 0",
    "PRAGMA journal_mode = DELETE",
    "PRAGMA auto_vacuum = 1; VACUUM",
    "ANALYZE",
    "VACUUM",
]
_ROWS = [
    "DELETE FROM {table}",
    "DELETE FROM meta WHERE name = 'grid'",
    "DELETE FROM meta WHERE name = 'identity'",
    "INSERT INTO meta VALUES ('x', '1')",
    "INSERT INTO meta VALUES (NULL, '1')",
    "UPDATE cells SET run = 77",
    "UPDATE cells SET key = 'x' WHERE error IS NOT NULL",
    "UPDATE cells SET key = x'00' WHERE error IS NOT NULL",
    "UPDATE cells SET error = 'E' WHERE error IS NULL",
    "UPDATE cells SET trace = NULL",
    "UPDATE cells SET seconds = 9e999",
    "UPDATE cells SET seconds = -1",
    "UPDATE cells SET seconds = 'long'",
    "UPDATE cells SET metrics = CAST(x'7bff7d' AS TEXT)",
    "UPDATE cells SET parameters = CAST(x'ff' AS TEXT)",
    "UPDATE cells SET error = CAST(x'ff' AS TEXT) WHERE error IS NOT NULL",
    "UPDATE {table} SET rowid = rowid + 5",
    "UPDATE runs SET id = -9223372036854775808",
]
_COLUMNS = {
    "meta": ["name", "value"],
    "runs": ["id", "provenance"],
    "cells": ["key", "parameters", "metrics", "error", "trace", "seconds", "run"],
}


def _edit_store(rng: random.Random, path: Path) -> None:
    """Change a store through SQLite: what anyone who has the file can do."""
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        for _ in range(rng.choice([1, 1, 2])):
            table = rng.choice(list(_COLUMNS))
            try:
                how = rng.random()
                if how < 0.35:
                    for statement in rng.choice(_SCHEMAS).format(table=table).split("; "):
                        database.execute(statement)
                elif how < 0.6:
                    database.execute(rng.choice(_ROWS).format(table=table))
                else:
                    _edit_value(rng, database, table)
            except (sqlite3.Error, OverflowError, ValueError, TypeError, RecursionError):
                pass  # this file does not allow it, or holds no JSON any more


def _edit_value(rng: random.Random, database: sqlite3.Connection, table: str) -> None:
    column = rng.choice(_COLUMNS[table])
    if column in ("value", "provenance", "parameters", "metrics") or rng.random() < 0.3:
        column = {"meta": "value", "runs": "provenance", "cells": rng.choice(["parameters", "metrics"])}[
            table
        ]
        key = {"meta": "name", "runs": "id", "cells": "key"}[table]
        rows = database.execute(f"SELECT {key}, {column} FROM {table}").fetchall()
        if rows:
            which, text = rng.choice(rows)
            database.execute(
                f"UPDATE {table} SET {column} = ? WHERE {key} = ?", (edit_json(rng, text), which)
            )
        return
    value = rng.choice([*VALUES, *NAMES, b"", b"\xff", "z" * 100_000, "[" * 50_000])
    if isinstance(value, list | dict):
        value = json.dumps(value)
    database.execute(f"UPDATE {table} SET {column} = ?", (value,))


def _folder(home: Path) -> dict[str, Any]:
    found: dict[str, Any] = {one.name: (one.read_bytes(), one.stat().st_mtime_ns) for one in home.iterdir()}
    return found | {".": home.stat().st_mtime_ns}


def _compare_table(path: Path, table: Any) -> None:
    """The table is what plain SQLite and Python's JSON find in a copy of the file."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "copy.sqlite"
        for ending in ("", "-wal"):
            if Path(f"{path}{ending}").exists():
                shutil.copyfile(f"{path}{ending}", f"{copy}{ending}")
        with closing(sqlite3.connect(copy)) as database:
            meta = dict(database.execute("SELECT name, value FROM meta"))
            rows = database.execute("SELECT key, parameters, metrics, error FROM cells").fetchall()
    grid = json.loads(meta.get("grid", "[]"))
    rows.sort(key=lambda row: grid.index(row[0]))
    assert len(table) == len(rows)
    for (_, parameters, metrics, error), found in zip(rows, table.to_dict("records"), strict=True):
        wanted = json.loads(parameters) | json.loads(metrics) | {"error": error}
        for name, value in wanted.items():
            got = found[name]
            missing = got is None or str(got) in ("nan", "<NA>")
            assert got == value or (missing and (value is None or value != value)), (name, value, got)


KINDS = {"safetensors": 900, "npy": 2500, "npz": 500, "store": 350}
"""The kinds of files, and how many cases of each the tests try."""


def fuzz(kind: str, *, seed: int, cases: int | None = None, seconds: float | None = None) -> Counter[str]:
    """Read damaged files of a kind, and return what became of how many."""
    with tempfile.TemporaryDirectory() as folder:
        files = Files(Path(folder))
        for corpus in (_safetensors, _arrays, _members, _stores):
            corpus()
        getattr(files, kind)(random.Random(0), 1)  # compiles what decoding takes
        with little_memory():
            return run(getattr(files, kind), name=kind, seed=seed, cases=cases, seconds=seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600, help="of all kinds together")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kind", choices=KINDS, action="append")
    asked = parser.parse_args()
    kinds = asked.kind or list(KINDS)
    for kind in kinds:
        counts = fuzz(kind, seed=asked.seed, seconds=asked.seconds / len(kinds))
        print(f"{kind}: {counts.total()} cases, {dict(counts.most_common())}", flush=True)


if __name__ == "__main__":
    main()
