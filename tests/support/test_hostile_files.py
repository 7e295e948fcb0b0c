"""Files that were damaged or made to harm: the documented error; nothing is executed, written or huge."""

from __future__ import annotations

import io
import json
import os
import shutil
import sqlite3
import tempfile
import threading
import time
import tracemalloc
import zipfile
from contextlib import closing
from pathlib import Path

import hostile_files
import numpy as np
import pytest

import precision as pr
from precision import storage
from precision.hardware import _recorded_cases
from precision.storage import read_header, read_metadata, read_tensor
from precision.studies import read_sources
from precision.sweep import _store, read_store, sweep


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads how much memory it has from /proc")
@pytest.mark.parametrize(("kind", "cases"), hostile_files.KINDS.items())
def test_damaged_files_of_every_kind(kind, cases):
    counts = hostile_files.fuzz(kind, seed=0, cases=cases)
    assert counts.total() == cases
    # The damage reaches both what is refused and what can still be read.
    assert sum(n for said, n in counts.items() if said.startswith("refused")) > cases / 20
    assert sum(n for said, n in counts.items() if said.startswith("read")) > cases / 50


def refused(read, *words):
    """Reading is refused by a plain ValueError with these words, at once and without much memory."""
    tracemalloc.start()
    try:
        start = time.process_time()
        with pytest.raises(ValueError) as caught:
            read()
        assert time.process_time() - start < 5
        assert tracemalloc.get_traced_memory()[1] < 1 << 25
    finally:
        tracemalloc.stop()
    assert type(caught.value) is ValueError
    for word in words:
        assert word in str(caught.value)
    assert len(str(caught.value)) < 2000 and str(caught.value).isprintable()


# ---- safetensors ----------------------------------------------------------------------------------------
def tensors(header: str | bytes, data: bytes = bytes(8)) -> None:
    text = header.encode() if isinstance(header, str) else header
    Path("a.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + data)


W = '"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}'


@pytest.mark.parametrize(
    ("header", "word"),
    [
        ("[" * 100_000, "invalid type"),
        ("{" + W[:-1] + ', "more": ' + "[" * 100_000 + "]" * 100_000 + "}}", "recursion"),
        ('{"__metadata__": ' + '{"a":' * 5000 + "1" + "}" * 5001, "expected a string"),
        ("{" + W + "," + W + "}", "'w' twice"),
        ("{" + W + "," + W.replace("F32", "I32") + "}", "'w' twice"),
        ("{" + W[:-1] + ', "more": ' + "9" * 5000 + "}}", "out of range"),
        ("{" + W[:-1] + ', "more": {"a": 1, "a": 2}}}', "'a' twice"),
        ('{"w": {"dtype": "F32", "shape": [0, 9223372036854775807, 4], "data_offsets": [0, 0]}}', "larger"),
        ('{"w": {"dtype": "F32", "shape": [' + "1," * 70 + '1], "data_offsets": [0, 4]}}', "71 axes"),
        ('{"w": {"dtype": "F32", "shape": [4294967296, 4294967296], "data_offsets": [0, 0]}}', ""),
        ('{"w": {"dtype": "F32", "shape": [' + "9," * 100_000 + '9], "data_offsets": [0, 8]}}', ""),
        ('{"w": {"dtype": "F32", "shape": [true], "data_offsets": [0, 8]}}', "shape (True,)"),
        ('{"w": {"dtype": "F32", "shape": [2.0], "data_offsets": [0, 8]}}', "floating"),
        ('{"\x1b[31m' + W[1:] + "}", "control"),
    ],
    ids=[
        "brackets",
        "nested",
        "metadata",
        "twice",
        "types",
        "digits",
        "unknown",
        "empty",
        "axes",
        "product",
        "long",
        "bool",
        "float",
        "escape",
    ],
)
@pytest.mark.parametrize("read", [read_header, read_metadata, read_tensor, storage.load, read_sources])
def test_headers_of_safetensors(header, word, read):
    data = bytes(4) if "axes" in word else b"" if "[0, 0]" in header else bytes(8)
    tensors(header, data)
    refused(lambda: read("a.safetensors"), "a.safetensors", word)


def test_a_header_that_claims_more_than_the_file_has():
    for length in (9, 10**8, 10**8 + 1, 2**63, 2**64 - 1):
        Path("a.safetensors").write_bytes(length.to_bytes(8, "little") + b"{}")
        refused(lambda: read_header("a.safetensors"), "a.safetensors")


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda text: "[" * 100_000, "nested too deeply"),
        (lambda text: text.replace('"tensors"', '"tensors": {}, "tensors"'), "'tensors' twice"),
        (lambda text: text.replace('"version": 1', '"version": true'), "version is True"),
        (lambda text: text.replace('"e2m1"', json.dumps("(" * 100_000)), "fmt"),
        (lambda text: text.replace('"e2m1"', "7"), "fmt"),
        (lambda text: text.replace("[4, 64]", "[9223372036854775807, 64]"), "larger than"),
        (lambda text: text.replace("[4, 64]", "[" + "1, " * 70 + "1]"), "71 axes"),
        (lambda text: text.replace("[1, 16]", "[1, 100000000000000000000]"), "block must"),
        (lambda text: text.replace('"w"', r'"w\ud800"'), "surrogates"),
    ],
    ids=["nested", "twice", "version", "long", "number", "huge", "axes", "block", "surrogate"],
)
def test_metadata_of_storage(change, word):
    storage.save("a.safetensors", {"w": pr.quantize(np.ones((4, 64), np.float32), pr.NVFP4)})
    whole = Path("a.safetensors").read_bytes()
    length = int.from_bytes(whole[:8], "little")
    header = json.loads(whole[8 : 8 + length])
    text = header["__metadata__"]["precision"]
    header["__metadata__"]["precision"] = change(text)
    assert header["__metadata__"]["precision"] != text
    tensors(json.dumps(header), whole[8 + length :])
    refused(lambda: storage.load("a.safetensors"), "a.safetensors", word)


def test_names_near_a_missing_one_take_no_minutes():
    names = {f"{'x' * 20_000}{i}": {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]} for i in range(30)}
    names |= {"near": {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]}}
    tensors(json.dumps(names), b"")
    refused(lambda: read_tensor("a.safetensors", "neat"), "near names: near")
    refused(lambda: read_tensor("a.safetensors", "x" * 20_000))


# ---- .npy and .npz --------------------------------------------------------------------------------------
def npy(header: str, data: bytes = bytes(48), *, version: int = 1, length: int | None = None) -> bytes:
    text = header.encode()
    size = (len(text) if length is None else length).to_bytes(2 if version == 1 else 4, "little")
    return b"\x93NUMPY" + bytes([version, 0]) + size + text + data


GOOD = "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }"


@pytest.mark.parametrize(
    "data",
    [
        npy(GOOD.replace("3, 4", "1000000000000,")),
        npy(GOOD.replace("3, 4", "4294967296, 4294967296")),
        npy(GOOD.replace("3, 4", "0, 9223372036854775807, 4")),
        npy(GOOD.replace("3, 4", "-12,")),
        npy(GOOD.replace("3, 4", "True, 12")),
        npy(GOOD.replace("3, 4", "1, " * 65)),
        npy(GOOD.replace("3, 4", "9" * 5000 + ",")),
        npy(GOOD.replace("<f4", "<U1000000000")),
        npy(GOOD.replace("<f4", "V0").replace("3, 4", "1000000000000,"), b""),
        npy(GOOD.replace("<f4", "|O")),
        npy(GOOD.replace("<f4", "f4,(1000000000,)f4")),
        npy(GOOD.replace("'<f4'", "[('a', '<f4')]")),
        npy(GOOD.replace("<f4", "<f4\\x00")),
        npy(GOOD[:-4]),
        npy(GOOD[:30]),
        npy("{'descr': ("),
        npy(GOOD.replace("'<f4'", "'''")),
        npy(GOOD.replace("'<f4'", "(" * 190)),
        npy(GOOD.replace("'<f4'", "-" * 9000 + "1")),
        npy(GOOD.replace("}", "'shape': (3, 4)}")),
        npy(GOOD.replace("}", "'more': 1}")),
        npy(GOOD, length=30_000),
        npy(GOOD.ljust(60_000)),
        npy(GOOD, version=2, length=2**32 - 1),
        npy(GOOD, version=4),
        npy(GOOD, bytes(47)),
        b"\x93NUMPY\x01",
        b"\x93NUMPY\x01\x00\x05",
        b"",
    ],
    ids=[
        "terabytes",
        "product",
        "empty",
        "negative",
        "bool",
        "axes",
        "digits",
        "characters",
        "no bytes",
        "object",
        "text of records",
        "records",
        "escape",
        "torn",
        "torn early",
        "torn in a tuple",
        "torn in a text",
        "brackets",
        "signs",
        "twice",
        "more",
        "length",
        "long",
        "length of 4",
        "version",
        "short",
        "magic",
        "two",
        "nothing",
    ],
)
def test_headers_of_npy(data):
    Path("a.npy").write_bytes(data)
    refused(lambda: read_tensor("a.npy"), "a.npy is not a readable .npy file")
    refused(lambda: read_sources("a.npy"), "a.npy is not a readable .npy file")
    with zipfile.ZipFile("a.npz", "w") as archive:
        archive.writestr("mm|f16|4x4x8|0.npy", data)
    refused(lambda: _recorded_cases.read("a.npz"), "a.npz is not a readable .npz file")


@pytest.mark.parametrize(
    "spaced",
    [
        GOOD,
        GOOD.replace("'", '"'),
        GOOD.replace(" ", ""),
        GOOD + " " * 50 + "\n",
        "{'shape':(3L, 4L) , 'descr':'<f4','fortran_order' : False}",
    ],
)
def test_headers_of_other_writers_are_read(spaced):
    data = np.arange(12, dtype=np.float32)
    Path("a.npy").write_bytes(npy(spaced, data.tobytes()))
    assert (read_tensor("a.npy") == data.reshape(3, 4)).all()


@pytest.mark.parametrize(
    ("kind", "claimed", "word"),
    [(0, 2**31, "cannot hold"), (8, 2**32 - 1, "cannot hold"), (8, 2**30 + 1, "more than the 1,073,741,824")],
)
def test_an_archive_that_claims_to_unpack_to_too_much(kind, claimed, word):
    data = io.BytesIO()
    np.save(data, np.random.default_rng(0).integers(0, 256, 1 << 21, np.uint8))
    with zipfile.ZipFile("a.npz", "w", kind) as archive:
        archive.writestr("mm|f16|4x4x8|0.npy", data.getvalue())
    whole = bytearray(Path("a.npz").read_bytes())
    at = whole.rindex(b"PK\x01\x02") + 24
    whole[at : at + 4] = claimed.to_bytes(4, "little")
    Path("a.npz").write_bytes(whole)
    refused(lambda: _recorded_cases.read("a.npz"), "a.npz is not a readable .npz file", word)


def test_an_archive_whose_members_share_their_bytes():
    data = io.BytesIO()
    np.save(data, np.random.default_rng(0).integers(0, 256, 10_000, np.uint8))
    with zipfile.ZipFile("a.npz", "w") as archive:
        for i in range(3):
            archive.writestr(f"{i}.npy", data.getvalue())
            archive.start_dir = archive.filelist[0].header_offset if i < 2 else archive.start_dir
            archive.filelist[-1].header_offset = 0
    refused(lambda: _recorded_cases.read("a.npz"), "a.npz is not a readable .npz file")


CHANGES = {
    "missing": None,
    "big-endian": lambda a: a.astype(">i2"),
    "i4": lambda a: a.astype("i4"),
    "c16": lambda a: a.astype("c16"),
    "another axis": lambda a: a[None],
    "two rows": lambda a: a[:2],
    "text": lambda a: np.array("x"),
    "three scales": lambda a: np.ones(3, np.float32),
    "one tile": lambda a: a[0],
    "five of K": lambda a: a[..., :5],
    "f8": lambda a: a.astype("f8"),
}


@pytest.mark.parametrize(
    ("key", "change"),
    [
        ("mm|f16|4x4x8|0", "missing"),
        ("mm|f16|4x4x8|2", "missing"),
        ("wgmma.f32.e4m3.e4m3|x|zero|d", "missing"),
        ("mm|f16|4x4x8|1", "big-endian"),
        ("mm|f16|4x4x8|1", "i4"),
        ("mm|f16|4x4x8|1", "c16"),
        ("mm|f16|4x4x8|1", "another axis"),
        ("mm|f16|4x4x8|2", "two rows"),
        ("scaled|bf16|fast|4x4x16|3", "text"),
        ("scaled|bf16|fast|4x4x16|3", "three scales"),
        ("wgmma.f32.e4m3.e4m3|x|zero|a", "one tile"),
        ("wgmma.f32.e4m3.e4m3|x|zero|b", "five of K"),
        ("wgmma.f32.e4m3.e4m3|x|zero|c", "f8"),
    ],
    ids=str,
)
def test_vectors_that_are_missing_or_others(key, change):
    change = CHANGES[change]
    members = {name: np.load(io.BytesIO(data)) for name, data in hostile_files._members().items()}
    np.savez("good.npz", **members)
    assert len(_recorded_cases.read("good.npz")) == 3
    array = members.pop(key)
    if change is not None:
        members[key] = change(array)
    np.savez("a.npz", **members)
    refused(lambda: _recorded_cases.read("a.npz"), "a.npz", key.rpartition("|")[0])


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes with names")
@pytest.mark.parametrize("name", ["a.npy", "a.safetensors", "a.npz", "a.sqlite"])
def test_a_pipe_is_not_waited_for(name):
    os.mkfifo(name)
    readers = {
        "a.npy": [read_tensor],
        "a.safetensors": [read_tensor, storage.load],
        "a.npz": [_recorded_cases.read],
        "a.sqlite": [read_store, lambda path: sweep(third, {"x": 1}, store=path)],
    }
    for read in readers[name]:
        refused(lambda read=read: read(name), name, "must be a regular file")


# ---- stores -----------------------------------------------------------------------------------------------
STORE = Path("home") / "cells.sqlite"
CALLS: list[float] = []


def third(x):
    CALLS.append(x)
    return {"third": x / 3}


@pytest.fixture
def store():
    STORE.parent.mkdir()
    sweep(third, {"x": [1, 2, 3]}, store=STORE)
    CALLS.clear()
    return STORE


def run_sql(path, *statements):
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        for statement in statements:
            database.execute(statement)


def folder(home):
    return {one.name: one.read_bytes() for one in home.iterdir()}, home.stat().st_mtime_ns


@pytest.mark.parametrize(
    "statements",
    [
        ["CREATE TRIGGER t AFTER INSERT ON runs BEGIN DELETE FROM cells; END"],
        ["CREATE TRIGGER t AFTER UPDATE ON meta BEGIN DELETE FROM cells; END"],
        ["CREATE TRIGGER t AFTER INSERT ON meta BEGIN DELETE FROM cells; END"],
        ["CREATE VIEW v AS SELECT randomblob(1000000000)"],
        ["ALTER TABLE cells RENAME TO c", "CREATE VIEW cells AS SELECT * FROM c"],
        ["ALTER TABLE cells ADD COLUMN g AS (length(zeroblob(1000000000)))"],
        ["CREATE VIRTUAL TABLE v USING fts5(a)"],
        ["CREATE INDEX i ON cells (length(metrics))"],
        ["CREATE TABLE other (a)"],
        ["DROP TABLE runs"],
        [
            "PRAGMA writable_schema = ON",
            "UPDATE sqlite_master SET sql = replace(sql, 'trace', 'trace DEFAULT 1')",
        ],
        ["PRAGMA writable_schema = ON", "UPDATE sqlite_master SET sql = 'nonsense' WHERE name = 'cells'"],
        ["PRAGMA writable_schema = ON", "UPDATE sqlite_master SET rootpage = 2 WHERE type = 'table'"],
        ["PRAGMA application_id = 7"],
        ["PRAGMA user_version = 7"],
    ],
    ids=[
        "trigger on runs",
        "trigger on updates",
        "trigger on meta",
        "view",
        "view for a table",
        "generated column",
        "virtual table",
        "index",
        "table",
        "no runs",
        "default",
        "nonsense",
        "one page",
        "application",
        "layout",
    ],
)
def test_a_schema_that_is_not_exactly_ours_is_refused_untouched(store, statements):
    run_sql(store, *statements)
    before = folder(store.parent)
    refused(lambda: read_store(store), str(store))
    assert folder(store.parent) == before
    refused(lambda: sweep(third, {"x": [1, 2, 3, 4]}, store=store, extend=True), str(store))
    assert folder(store.parent)[0] == before[0] and not CALLS


IDENTITY = "json_set(value, '$.{}', {}) WHERE name = 'identity'"


@pytest.mark.parametrize(
    "edit",
    [
        "DELETE FROM meta",
        "DELETE FROM meta WHERE name = 'grid'",
        "DELETE FROM meta WHERE name = 'identity'",
        "INSERT INTO meta VALUES ('more', '1')",
        "INSERT INTO meta VALUES (NULL, '1')",
        "UPDATE meta SET value = 'nonsense'",
        "UPDATE meta SET value = '[]'",
        "UPDATE meta SET value = '{}'",
        "UPDATE meta SET value = '[1, 2, 3]' WHERE name = 'grid'",
        "UPDATE meta SET value = '[[]]' WHERE name = 'grid'",
        "UPDATE meta SET value = '[\"a\"]' WHERE name = 'grid'",
        "UPDATE meta SET value = x'5b5d' WHERE name = 'grid'",
        "UPDATE meta SET value = 7 WHERE name = 'grid'",
        "UPDATE meta SET value = " + IDENTITY.format("parameters", "null"),
        "UPDATE meta SET value = " + IDENTITY.format("parameters", "'x'"),
        "UPDATE meta SET value = " + IDENTITY.format("parameters", "json('[[]]')"),
        "UPDATE meta SET value = " + IDENTITY.format("parameters", "json('[\"y\"]')"),
        "UPDATE meta SET value = " + IDENTITY.format("function", "7"),
        "UPDATE meta SET value = " + IDENTITY.format("source", "7"),
        "UPDATE meta SET value = " + IDENTITY.format("version", "null"),
        "UPDATE meta SET value = " + IDENTITY.format("more", "1"),
        "DELETE FROM runs",
        "UPDATE runs SET provenance = '[]'",
        "UPDATE runs SET provenance = '{}'",
        "UPDATE runs SET provenance = '{\"parameters\": null}'",
        'UPDATE runs SET provenance = \'{"parameters": ["y"]}\'',
        "UPDATE runs SET provenance = printf('%.*c', 100000, '[')",
        "UPDATE runs SET provenance = json_set(provenance, '$.more', "
        "json(printf('%s%s', replace(hex(zeroblob(450)), '0', '['), replace(hex(zeroblob(450)), '0', ']'))))",
        "UPDATE cells SET key = 'x' WHERE key = (SELECT min(key) FROM cells)",
        "UPDATE cells SET key = x'78' WHERE key = (SELECT min(key) FROM cells)",
        "UPDATE cells SET parameters = '{\"x\": 77}'",
        "UPDATE cells SET parameters = '[]'",
        "UPDATE cells SET parameters = '{\"x\": [1]}'",
        "UPDATE cells SET parameters = '{}'",
        "UPDATE cells SET metrics = '7'",
        "UPDATE cells SET metrics = '{\"third\": {}}'",
        'UPDATE cells SET metrics = \'{"third": 1, "third": 2}\'',
        "UPDATE cells SET metrics = '{\"x\": 1}'",
        "UPDATE cells SET metrics = '{\"error\": 1}'",
        "UPDATE cells SET metrics = '{\"\\ud800\": 1}'",
        "UPDATE cells SET metrics = '{\"third\": ' || printf('%.*c', 5000, '9') || '}'",
        "UPDATE cells SET metrics = CAST(x'7bff7d' AS TEXT)",
        "UPDATE cells SET metrics = x'7b7d'",
        "UPDATE cells SET error = 'E'",
        "UPDATE cells SET error = 7, trace = 7",
        "UPDATE cells SET trace = 'T'",
        "UPDATE cells SET seconds = 'long'",
        "UPDATE cells SET seconds = -1",
        "UPDATE cells SET seconds = 9e999",
        "UPDATE cells SET run = 77",
        "UPDATE cells SET run = 'first'",
    ],
)
def test_rows_that_no_sweep_writes_are_refused_untouched(store, edit):
    run_sql(store, edit)
    before = folder(store.parent)
    refused(lambda: read_store(store), str(store), "is damaged")
    assert folder(store.parent) == before
    refused(lambda: sweep(third, {"x": [1, 2, 3]}, store=store), str(store), "is damaged")
    assert folder(store.parent)[0] == before[0] and not CALLS


def test_pages_that_rows_share_are_refused(store):
    """Overflow pages that many rows name would unpack a small file to gigabytes."""
    sweep(third, {"x": range(4, 40)}, store=store, extend=True)
    run_sql(store, "UPDATE runs SET provenance = json_set(provenance, '$.more', printf('%.*c', 50000, 'x'))")
    read_store(store)
    whole = bytearray(store.read_bytes())
    pages = [whole[at : at + 4] for at in range(0, len(whole), 4096)]
    chain = [i for i in range(len(pages)) if whole[4096 * i + 4 : 4096 * i + 4096] == b"x" * 4092]
    assert len(chain) > 5
    first, second = chain[0], chain[5]
    whole[4096 * first : 4096 * first + 4] = whole[4096 * second : 4096 * second + 4]
    store.write_bytes(whole)
    refused(lambda: read_store(store), "is damaged")


def test_an_empty_file_is_no_store_and_stays_empty():
    Path("a.sqlite").touch()
    refused(lambda: read_store("a.sqlite"), "a.sqlite is not a store of a sweep: it is empty")
    run_sql("b.sqlite", "CREATE TABLE t (a)", "DROP TABLE t", "VACUUM")
    refused(lambda: read_store("b.sqlite"), "b.sqlite is not a store of a sweep")
    Path("c.sqlite").symlink_to("nothing")
    with pytest.raises(FileNotFoundError, match=r"there is no file c\.sqlite"):
        read_store("c.sqlite")
    with pytest.raises(IsADirectoryError, match="is a folder"):
        read_store(".")
    assert sorted(one.name for one in Path().iterdir()) == ["a.sqlite", "b.sqlite", "c.sqlite"]
    assert Path("a.sqlite").stat().st_size == 0
    assert sweep(third, {"x": [1]}, store="a.sqlite")["x"].tolist() == [1]  # which may fill it


def killed(path: Path) -> None:
    """A store as a sweep leaves it that is killed: its last cells are in the log beside it."""
    other = path.with_name("other.sqlite")
    sweep(third, {"x": [1, 2, 3]}, store=other)
    with _store.Store(other) as open_store:
        open_store.begin({"parameters": ["x"], "mark": "in the log"})
        for ending in ("", "-wal"):
            shutil.copyfile(f"{other}{ending}", f"{path}{ending}")
    other.unlink()


@pytest.mark.parametrize("with_log", [False, True])
def test_reading_writes_nothing(with_log):
    STORE.parent.mkdir()
    if with_log:
        killed(STORE)
    else:
        sweep(third, {"x": [1, 2, 3]}, store=STORE)
    before = folder(STORE.parent)
    table = read_store(STORE)
    assert table["x"].tolist() == [1, 2, 3]
    assert ("mark" in table.attrs["provenance"]) == with_log
    assert folder(STORE.parent) == before
    assert len(before[0]) == 1 + with_log


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("with_log", [False, True])
def test_reading_from_a_folder_that_may_not_be_written(with_log):
    home = Path(tempfile.mkdtemp())  # which others may enter, as they may not enter pytest's
    path = home / "cells.sqlite"
    try:
        if with_log:
            killed(path)
        else:
            sweep(third, {"x": [1, 2, 3]}, store=path)
        for one in home.iterdir():
            one.chmod(0o444)
        home.chmod(0o555)
        child = os.fork()
        if child == 0:  # a user who may write nowhere there
            code = 1
            try:
                if os.getuid() == 0:
                    os.setgid(65534)
                    os.setuid(65534)
                assert not os.access(home, os.W_OK) and not os.access(path, os.W_OK)
                code = 0 if read_store(path)["x"].tolist() == [1, 2, 3] else 2
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    finally:
        home.chmod(0o755)
        shutil.rmtree(home)


def test_reading_what_this_process_writes_is_refused_and_frees_no_lock(store):
    """POSIX would drop the lock of the sweep when its own process closed another handle of the file."""
    with _store.Store(store):
        with pytest.raises(BlockingIOError, match="being written by another sweep"):
            read_store(store)
        Path("link.sqlite").symlink_to(store)
        with pytest.raises(BlockingIOError, match="being written by another sweep"):
            read_store("link.sqlite")
        if hasattr(os, "fork"):
            child = os.fork()
            if child == 0:  # for which the lock is another process's
                code = 1
                try:
                    read_store(store)
                except BlockingIOError:
                    code = 0
                finally:
                    os._exit(code)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert len(read_store(store)) == 3


def test_threads_read_one_store_together(store):
    found: list[int] = []
    threads = [threading.Thread(target=lambda: found.append(len(read_store(store)))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [3] * 4


def test_a_journal_beside_a_store(store):
    """One that SQLite would play back; at its end it may name a file for SQLite to delete."""
    victim = Path("victim").absolute()
    victim.write_text("precious")
    journal = store.with_name(store.name + "-journal")
    name = str(victim).encode()
    magic = bytes.fromhex("d9d505f920a163d7")
    header = magic + (0).to_bytes(4, "big") + bytes(4) + (1).to_bytes(4, "big") + (512).to_bytes(4, "big")
    end = name + len(name).to_bytes(4, "big") + sum(name).to_bytes(4, "big") + magic
    journal.write_bytes(header.ljust(512, b"\0") + end)
    before = folder(store.parent)
    refused(lambda: read_store(store), "has a journal beside it")
    refused(
        lambda: sweep(third, {"x": [1, 2, 3]}, store=store), "has a journal beside it that names another file"
    )
    assert folder(store.parent) == before and victim.read_text() == "precious"


def test_a_log_of_something_else_is_left_out(store):
    log = store.with_name(store.name + "-wal")
    log.write_bytes(os.urandom(10_000))
    before = folder(store.parent)
    assert read_store(store)["x"].tolist() == [1, 2, 3]  # its checksums do not hold: SQLite reads none of it
    assert folder(store.parent) == before
    log.unlink()
    log.symlink_to("elsewhere")
    refused(lambda: read_store(store), "must be a regular file")
