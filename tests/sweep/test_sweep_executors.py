"""The same table from this process, threads, processes and Dask, and what happens to workers that die."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
import types
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pandas as pd
import pytest
import sweep_cells

import precision as pr
from precision.sweep import read_store, sweep
from precision.sweep._executors import Runner
from precision.sweep._grid import list_cells

distributed = pytest.importorskip("distributed", reason="needs the extra distributed")

GRID = {
    "accumulator": [pr.HOPPER_FP8, pr.HOPPER_FP8.promoted(128), pr.HOPPER_FP8.with_width(10), pr.FP32_FMA],
    "k": [128, 512, 1024],
    "seed": range(3),
    "distribution": ["normal", "uniform"],
}


def cluster_of(workers):
    return distributed.LocalCluster(
        n_workers=workers, threads_per_worker=1, dashboard_address=":0", silence_logs=logging.CRITICAL
    )


@pytest.fixture(scope="module")
def processes():
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        yield pool


@pytest.fixture(scope="module")
def client():
    cluster = cluster_of(2)
    with cluster, distributed.Client(cluster, set_as_default=False) as client:
        yield client


def test_every_executor_gives_the_same_table(processes, client, tmp_path):
    here = sweep(sweep_cells.cell, GRID)
    assert here["error"].isna().all() and here["norm_relative_error"].nunique() > 30
    with ThreadPoolExecutor(3) as threads:
        for executor in (threads, processes, client, client.scheduler.address):
            table = sweep(
                sweep_cells.cell, GRID, executor=executor, store=tmp_path / f"{id(executor)}.sqlite"
            )
            pd.testing.assert_frame_equal(table, here, check_exact=True)
            assert table.equals(here)
            pd.testing.assert_frame_equal(
                read_store(tmp_path / f"{id(executor)}.sqlite"), here, check_exact=True
            )
    for name in ("norm_relative_error", "bias"):  # to the bit
        assert table[name].to_numpy().tobytes() == here[name].to_numpy().tobytes()


def test_cells_run_elsewhere_with_one_kernel_thread_unless_told(processes, client):
    for executor in (processes, client):
        table = sweep(sweep_cells.threads, {"x": range(8)}, executor=executor)
        assert set(table["threads"]) == {1} and os.getpid() not in set(table["elsewhere"])
        assert set(
            sweep(sweep_cells.threads, {"x": range(4)}, executor=executor, kernel_threads=3)["threads"]
        ) == {3}


def test_errors_of_cells_come_back(processes, client):
    here = sweep(sweep_cells.picky, {"x": range(5)})
    for executor in (processes, client):
        pd.testing.assert_frame_equal(sweep(sweep_cells.picky, {"x": range(5)}, executor=executor), here)


def test_a_cell_that_exits_in_a_worker_is_an_error(processes, client):
    with ThreadPoolExecutor(2) as threads:
        for executor in (threads, processes, client):
            table = sweep(sweep_cells.exits, {"x": range(4)}, executor=executor)
            assert table["error"].tolist() == [None, None, "SystemExit: two", None]
    with pytest.raises(SystemExit):  # here it may be a signal's
        sweep(sweep_cells.exits, {"x": range(4)})


def test_a_pool_that_is_shut_down_in_the_middle_ends_the_sweep():
    pool = ThreadPoolExecutor(1)

    def cell(x):
        if x == 1:
            pool.shutdown(wait=False, cancel_futures=True)
        return x

    with pytest.raises(BrokenExecutor, match="ended before the cells did"):
        sweep(cell, {"x": range(4)}, executor=pool)


def test_functions_of_a_notebook_go_to_other_processes(client, processes):
    offset = 3
    for executor in (client, processes):
        assert sweep(lambda x: x + offset, {"x": [1, 2]}, executor=executor)["result"].tolist() == [4, 5]


def test_what_cannot_be_sent_or_read_raises(client, processes, monkeypatch):
    lock = threading.Lock()
    name = "nobodys_module"
    nobodys = types.ModuleType(name)
    exec("def cell(x):\n    return x", nobodys.__dict__)
    monkeypatch.setitem(sys.modules, name, nobodys)
    for executor in (client, processes):
        with pytest.raises(TypeError, match="function cannot be sent to another process"):
            sweep(lambda x: lock, {"x": [1]}, executor=executor)
        with pytest.raises(TypeError, match=r"cannot read it \(ModuleNotFoundError: .*nobodys"):
            sweep(nobodys.cell, {"x": [1, 2]}, executor=executor)


def test_workers_of_another_version_are_refused(client, monkeypatch):
    monkeypatch.setattr("precision.sweep._executors.version", lambda name: "0.0.1")
    monkeypatch.setattr(client, "run", lambda call, name, **how: {"tcp://there": "0.0.2"})
    with pytest.raises(ValueError, match=r"tcp://there has precision-emu 0.0.2, and this process 0.0.1"):
        sweep(sweep_cells.picky, {"x": [1]}, executor=client)


def test_more_cells_than_are_handed_over_at_once():
    with ThreadPoolExecutor(2) as threads:
        table = sweep(lambda x: x * x, {"x": range(3000)}, executor=threads)
    assert table["result"].tolist() == [x * x for x in range(3000)]


class Counting(ThreadPoolExecutor):
    """Notes how many of its futures were open at once."""

    def __init__(self):
        super().__init__(1)
        self.open, self.most = set(), 0

    def submit(self, *what):
        future = super().submit(*what)
        self.open.add(future)
        self.most = max(self.most, len(self.open))
        future.add_done_callback(self.open.discard)
        return future


def test_cells_are_handed_over_a_few_ahead(monkeypatch):
    monkeypatch.setattr("precision.sweep._executors._AHEAD", 3)
    with Counting() as executor:
        assert len(sweep(lambda x: time.sleep(0.001), {"x": range(20)}, executor=executor)) == 20
    assert 2 <= executor.most <= 3


def test_what_ended_before_an_interrupt_is_handed_over():
    class AtOnce(Executor):
        def submit(self, call, *arguments):
            future = Future()
            future.set_result(call(*arguments))
            return future

    def done(cell, outcome):
        seen.append(cell.shown["x"])
        if len(seen) == 1:
            raise KeyboardInterrupt

    seen = []
    cells = list_cells(sweep_cells.picky, {"x": [5, 6, 7]}, reads={}, max_cells=3)
    with Runner(AtOnce()) as runner, pytest.raises(KeyboardInterrupt):
        runner.run(sweep_cells.picky, cells, done)
    assert sorted(seen) == [5, 6, 7]


@pytest.mark.parametrize("executor", [3, "nonsense", "tcp://127.0.0.1:1", object()])
def test_no_executor(executor, monkeypatch):
    monkeypatch.setattr("precision.sweep._executors._PATIENCE", 0.3)
    with pytest.raises((TypeError, ValueError), match="executor"):
        sweep(sweep_cells.picky, {"x": [1]}, executor=executor)


def test_a_worker_of_dask_killed_in_the_middle_loses_nothing(tmp_path):
    grid = {"x": range(60), "folder": str(tmp_path), "seconds": 0.05}
    begun = tmp_path / "begun"
    begun.touch()
    cluster = cluster_of(3)
    with cluster, distributed.Client(cluster, set_as_default=False) as client:
        before = set(client.run(os.getpid).values())
        killed = []

        def kill():
            while len(lines := begun.read_text().splitlines()) < 12:
                time.sleep(0.01)
            killed.append(int(lines[0].split()[0]))  # the first to begin: another may not have begun yet
            os.kill(killed[0], signal.SIGKILL)

        killer = threading.Thread(target=kill)
        killer.start()
        table = sweep(sweep_cells.noted, grid, executor=client, store=tmp_path / "a.sqlite")
        killer.join()
    lines = [line.split() for line in begun.read_text().splitlines()]
    workers = {int(process) for process, *_ in lines}
    assert killed[0] in before and len(workers) > 1  # others went on
    assert len(lines) > 60  # some were begun again elsewhere
    pd.testing.assert_frame_equal(table, sweep(sweep_cells.noted, grid), check_exact=True)
    assert len(read_store(tmp_path / "a.sqlite")) == 60


def test_a_cell_that_kills_its_workers_is_an_error_and_the_rest_goes_on():
    with cluster_of(2) as cluster:
        cluster.scheduler.allowed_failures = 1
        with distributed.Client(cluster, set_as_default=False) as client:
            table = sweep(sweep_cells.deadly, {"x": range(6)}, executor=client)
    assert table["error"].notna().tolist() == [False, False, False, True, False, False]
    assert table["error"][3].startswith("KilledWorker: ") and table["result"].dropna().tolist() == [
        0,
        1,
        2,
        4,
        5,
    ]


def test_a_pool_whose_worker_dies_ends_the_sweep_with_what_was_done_in_the_store(tmp_path):
    store = tmp_path / "a.sqlite"
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool, pytest.raises(BrokenExecutor):
        sweep(sweep_cells.deadly, {"x": range(6)}, executor=pool, store=store)
    assert read_store(store)["x"].tolist() == [0, 1, 2]
    assert not read_store(store).attrs["provenance"]["complete"]


@pytest.fixture
def interruptible():
    """Of a process in a shell's background, which would not hear of Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_ctrl_c_cancels_what_waits_and_keeps_what_is_done(tmp_path, interruptible):
    grid = {"x": range(200), "folder": str(tmp_path), "seconds": 0.02}

    def interrupt():
        while not (tmp_path / "begun").exists():
            time.sleep(0.01)
        time.sleep(0.1)
        os.kill(os.getpid(), signal.SIGINT)

    with ThreadPoolExecutor(2) as threads:
        other = threading.Thread(target=interrupt)
        other.start()
        with pytest.warns(UserWarning, match="interrupted"):
            table = sweep(sweep_cells.noted, grid, executor=threads, store=tmp_path / "a.sqlite")
        other.join()
    assert 0 < len(table) < 100
    assert len((tmp_path / "begun").read_text().splitlines()) <= len(table) + 4
    pd.testing.assert_frame_equal(table, read_store(tmp_path / "a.sqlite"))
    again = sweep(sweep_cells.noted, grid, store=tmp_path / "a.sqlite")
    assert len(again) == 200


def test_the_cells_file_can_be_imported_by_workers():
    assert Path(sweep_cells.__file__).parent == Path(__file__).parents[1]


# ---- stopping at an error ---------------------------------------------------------------------------
def test_the_first_error_ends_a_sweep_that_is_told_so(tmp_path):
    calls = []

    def cell(x):
        calls.append(x)
        if x == 1:
            raise KeyError("odd")
        return x

    store = tmp_path / "cells.sqlite"
    with pytest.raises(KeyError, match="odd"):
        sweep(cell, {"x": [0, 1, 2]}, stop_at_error=True, store=store)
    assert calls == [0, 1]
    assert read_store(store)["error"].tolist() == [None, "KeyError: 'odd'"]
    with ThreadPoolExecutor(1) as threads, pytest.raises(KeyError, match="odd"):
        sweep(cell, {"x": [1]}, stop_at_error=True, executor=threads)
    # An error need not travel: of one in another process the text is raised.
    pool = ProcessPoolExecutor(1, mp_context=get_context("spawn"))
    with pool, pytest.raises(RuntimeError, match="a cell raised ArithmeticError: two is too much"):
        sweep(sweep_cells.picky, {"x": range(5)}, stop_at_error=True, executor=pool)
    assert sweep(cell, {"x": [0, 1]})["error"].tolist() == [None, "KeyError: 'odd'"]
