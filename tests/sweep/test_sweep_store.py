"""Stores: resumed, killed, refused."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from contextlib import closing
from functools import partial
from pathlib import Path

import pandas as pd
import pytest
import sweep_cells

from precision.sweep import _store, _store_checks, read_store, sweep

CALLS = Counter()


def counted(x, y=0):
    CALLS[x, y] += 1
    if x < 0:
        raise ValueError(f"{x} is negative")
    return {"third": x / 3, "sum": x + y, "text": f"{x}", "nan": float("nan"), "none": None}


def divmod_of(x, y):
    return x // y


@pytest.fixture(autouse=True)
def no_calls():
    CALLS.clear()


@pytest.fixture
def store(tmp_path):
    return tmp_path / "cells.sqlite"


def test_a_stored_table_is_the_same_and_nothing_is_computed_twice(store):
    grid = {"x": [-1, 0, 1, 2**60, 0.1], "y": [1, 2]}
    fresh = sweep(counted, grid)
    CALLS.clear()
    first = sweep(counted, grid, store=store)
    second = sweep(counted, grid, store=store)
    assert set(CALLS.values()) == {1} and len(CALLS) == 10
    for table in (first, second, read_store(store)):
        pd.testing.assert_frame_equal(table, fresh, check_exact=True)
    assert second.attrs["provenance"]["complete"] and read_store(store).attrs["provenance"]["complete"]
    assert list(store.parent.iterdir()) == [store]  # no log is left beside it


def test_the_axes_may_be_written_in_another_order(store):
    sweep(counted, {"x": [1, 2], "y": [3, 4]}, store=store)
    table = sweep(counted, {"y": [4, 3], "x": [1, 2]}, store=store)
    assert set(CALLS.values()) == {1}
    assert table[["y", "x"]].values.tolist() == [[4, 1], [4, 2], [3, 1], [3, 2]]


def test_the_axes_of_a_function_that_takes_any_name_too(store):
    def cell(**given):
        CALLS["any"] += 1
        return given["a"] - given["b"]

    sweep(cell, {"a": [1, 2], "b": 3}, store=store)
    assert sweep(cell, {"b": 3, "a": [1, 2]}, store=store)["result"].tolist() == [-2, -1]
    assert CALLS["any"] == 2


def test_another_grid_is_refused_unless_the_store_is_to_grow(store):
    sweep(counted, {"x": [1, 2]}, store=store)
    for other in ({"x": [1, 2, 3]}, {"x": [1]}):
        with pytest.raises(
            ValueError, match=r"another grid, of 2 cells: \d of this grid's \d are among them"
        ):
            sweep(counted, other, store=store)
    assert sum(CALLS.values()) == 2
    assert sweep(counted, {"x": [3, 2]}, store=store, extend=True)["x"].tolist() == [3, 2]
    assert CALLS == {(1, 0): 1, (2, 0): 1, (3, 0): 1}
    assert read_store(store)["x"].tolist() == [1, 2, 3]
    assert sweep(counted, {"x": [1, 2, 3]}, store=store)["x"].tolist() == [1, 2, 3]


def test_failed_cells_are_kept_and_retried_only_when_asked_for(store):
    grid = {"x": [-1, 1]}
    sweep(counted, grid, store=store)
    table = sweep(counted, grid, store=store)
    assert CALLS[-1, 0] == 1 and table["error"].tolist() == ["ValueError: -1 is negative", None]
    with closing(sqlite3.connect(store)) as database:
        traces = dict(database.execute("SELECT error IS NULL, trace FROM cells"))
    assert traces[1] is None and "in counted" in traces[0]
    sweep(counted, grid, store=store, retry_failed=True)
    assert CALLS[-1, 0] == 2 and CALLS[1, 0] == 1
    sweep(counted, {"x": [2]}, store=store, extend=True, retry_failed=True)  # of this grid alone
    assert CALLS[-1, 0] == 2 and len(read_store(store)) == 3


def test_another_function_version_or_parameter_is_refused(store, monkeypatch):
    sweep(counted, {"x": [1]}, store=store)
    with pytest.raises(ValueError, match=r"by the function .*counted, and this is .*picky"):
        sweep(sweep_cells.picky, {"x": [1]}, store=store)
    changed = _store_checks.Identity("f:f", "1", "1", ("x",))
    with _store.Store(store.with_name("b.sqlite")) as other:
        other.claim(changed, ["k"], extend=False)
        for now, message in (
            (changed._replace(version="2"), "by precision 1, and this is 2"),
            (changed._replace(parameters=("x", "y")), "by a grid of x, and this is one of x, y"),
            (changed._replace(source="2"), "before f:f was changed"),
        ):
            with pytest.raises(ValueError, match=message):
                other.claim(now, ["k"], extend=True)


def test_partials_of_other_functions_or_arguments_are_others(store):
    sweep(partial(counted, 1), {"y": [1]}, store=store)
    for other in (partial(counted, 2), partial(divmod_of, 1)):
        with pytest.raises(ValueError, match="was written by the function"):
            sweep(other, {"y": [1]}, store=store)


def test_a_store_of_a_sweep_killed_at_its_start_is_not_complete(store):
    _store.Store(store).__exit__(None, None, None)
    table = read_store(store)
    assert len(table) == 0 and not table.attrs["provenance"]["complete"]


def test_a_store_is_a_file_whatever_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    sweep(counted, {"x": [1]}, store=":memory:")
    assert len(read_store(tmp_path / ":memory:")) == 1


def test_files_that_are_no_stores_are_refused_untouched(tmp_path):
    text = tmp_path / "notes.txt"
    text.write_text("these are notes, and no database, although the file is quite long\n" * 20)
    with pytest.raises(ValueError, match=r"notes\.txt is not a store of a sweep"):
        sweep(counted, {"x": [1]}, store=text)
    assert text.read_text().startswith("these are notes")
    other = tmp_path / "other.sqlite"
    with closing(sqlite3.connect(other)) as database:
        database.execute("CREATE TABLE cells (a)")
    before = other.read_bytes()
    with pytest.raises(ValueError, match="not a store of a sweep"):
        sweep(counted, {"x": [1]}, store=other)
    assert other.read_bytes() == before
    with pytest.raises(ValueError, match=r"must be an SQLite file|is an SQLite file \(as table.sqlite\)"):
        sweep(counted, {"x": [1]}, store=tmp_path / "table.parquet")
    with pytest.raises(FileNotFoundError, match="is not a folder"):
        sweep(counted, {"x": [1]}, store=tmp_path / "none" / "a.sqlite")
    with pytest.raises(IsADirectoryError, match="is a folder"):
        sweep(counted, {"x": [1]}, store=tmp_path)
    with pytest.raises(FileNotFoundError, match="there is no file"):
        read_store(tmp_path / "none.sqlite")
    assert not CALLS and not (tmp_path / "none.sqlite").exists()


def test_a_layout_of_another_version_is_refused(store):
    sweep(counted, {"x": [1]}, store=store)
    with closing(sqlite3.connect(store)) as database:
        database.execute("PRAGMA user_version = 7")
    with pytest.raises(ValueError, match="has layout 7"):
        sweep(counted, {"x": [1]}, store=store)


def test_a_damaged_store_is_refused(store):
    sweep(counted, {"x": range(200)}, store=store)
    whole = store.read_bytes()
    store.write_bytes(whole[: len(whole) // 3] + b"\xff" * 4096 + whole[len(whole) // 3 + 4096 :])
    with pytest.raises((ValueError, OSError), match=r"cells\.sqlite"):
        sweep(counted, {"x": range(200)}, store=store)


def test_two_sweeps_do_not_write_to_one_store(store):
    script = (
        "import sys, time\nfrom precision.sweep import sweep\n"
        "def wait(x):\n    print('in', flush=True); time.sleep(60)\n"
        "sweep(wait, {'x': [1]}, store=sys.argv[1])\n"
    )
    other = subprocess.Popen([sys.executable, "-c", script, str(store)], stdout=subprocess.PIPE)
    try:
        assert other.stdout.readline() == b"in\n"
        for use in (lambda: sweep(counted, {"x": [1]}, store=store), lambda: read_store(store)):
            with pytest.raises(BlockingIOError, match="being written by another sweep"):
                use()
    finally:
        other.kill()
        other.communicate()
    assert not CALLS


def test_a_full_disk_ends_the_sweep_and_keeps_what_was_done(store, monkeypatch):
    def full(path):
        store = opened(path)
        store._database.execute("PRAGMA max_page_count = 80")
        return store

    opened = _store.Store
    grid = {"x": range(2000)}
    monkeypatch.setattr("precision.sweep._grid_runs.Store", full)
    with pytest.raises(OSError, match=r"cannot be written: database or disk is full.*run again to go on"):
        sweep(counted, grid, store=store)
    done = sum(CALLS.values())
    assert 100 < done < 2000
    monkeypatch.undo()
    table = sweep(counted, grid, store=store)
    assert sum(CALLS.values()) <= 2000 + 1  # the one that found no room
    pd.testing.assert_frame_equal(table, sweep(counted, grid), check_exact=True)


@pytest.mark.skipif(not hasattr(signal, "SIGXFSZ"), reason="needs a limit on the size of files")
def test_a_file_that_may_not_grow_ends_the_sweep_and_keeps_what_was_done(store):
    script = (
        "import resource, signal, sys\nfrom precision.sweep import sweep\nimport sweep_cells\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))\n"
        "sweep(sweep_cells.picky, {'x': range(3000)}, store=sys.argv[1])\n"
    )
    found = subprocess.run(
        [sys.executable, "-c", script, str(store)],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])},
    )
    assert found.returncode == 1
    assert "OSError: store: " in found.stderr and "cannot be written" in found.stderr
    kept = read_store(store)
    assert 100 < len(kept) < 3000 and kept.attrs["provenance"]["cells"] == 3000
    table = sweep(sweep_cells.picky, {"x": range(3000)}, store=store)
    assert table["x"].tolist() == list(range(3000))


# ---- killed -----------------------------------------------------------------------------------------
KILLS, CELLS = 50, 500
# One process imports everything; each run is a fork of it, so that fifty of them take seconds.
RUNNER = """
import os, sys
import pandas, precision, sweep_cells, tqdm.auto
from precision.sweep import sweep
folder, store = sys.argv[1:]
grid = {"x": range(100), "y": range(5), "folder": folder, "seconds": 0.004}
for line in sys.stdin:
    child = os.fork()
    if child == 0:
        sweep(sweep_cells.noted, grid, store=store)
        os._exit(0)
    print(child, flush=True)
    print(os.waitpid(child, 0)[1], flush=True)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_fifty_random_kills_lose_only_the_cell_in_flight(tmp_path, store):
    rng = random.Random(time.time_ns())
    runner = subprocess.Popen(
        [sys.executable, "-c", RUNNER, str(tmp_path), str(store)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])},
    )
    begun = tmp_path / "begun"
    begun.touch()
    for kill in range(KILLS):
        size = begun.stat().st_size
        runner.stdin.write("go\n")
        runner.stdin.flush()
        child = int(runner.stdout.readline())
        # One in five while the sweep starts, the others after some cells.
        while kill % 5 and begun.stat().st_size == size:
            time.sleep(0.0005)
        time.sleep(rng.uniform(0, 0.015 if kill % 5 else 0.05))
        os.kill(child, signal.SIGKILL)
        assert os.WTERMSIG(int(runner.stdout.readline())) == signal.SIGKILL
    runner.stdin.write("go\n")
    runner.stdin.close()
    runner.stdout.readline()
    assert runner.stdout.readline().strip() == "0"
    runner.wait()

    cells = [tuple(map(int, line.split())) for line in begun.read_text().splitlines()]
    last = {process: place for place, (process, *_) in enumerate(cells)}
    in_flight = {cells[place][1:] for place in last.values()}
    times = Counter(cell[1:] for cell in cells)
    assert len(times) == CELLS and len(last) > KILLS * 4 / 5
    assert {cell for cell, n in times.items() if n > 1} <= in_flight
    # A cell is begun again at most once for each run that was killed in it.
    again = Counter(cells[place][1:] for place in last.values())
    assert all(n <= 1 + again[cell] for cell, n in times.items())

    grid = {"x": range(100), "y": range(5), "folder": str(tmp_path), "seconds": 0.004}
    table = sweep(sweep_cells.noted, grid, store=store)
    assert Counter(tuple(map(int, line.split()))[1:] for line in begun.read_text().splitlines()) == times
    undisturbed = sweep(sweep_cells.noted, grid)
    pd.testing.assert_frame_equal(table, undisturbed, check_exact=True)
    with closing(sqlite3.connect(store)) as database:
        assert database.execute("SELECT count(*), count(DISTINCT key) FROM cells").fetchone() == (
            CELLS,
            CELLS,
        )
