"""The cost of a sweep beside its cells, and the gain by a second worker.

The first rows are of 10,000 small cells in this process, with and without a store: the time that a sweep
takes beside a plain loop into a list of dictionaries. The last one runs the same real cells of 50 ms and more
on one Dask worker and on two, whose tables must be the same.
"""

from __future__ import annotations

import functools
import itertools
import logging
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd

import precision as pr
from benchmarks.measuring import Row, Side, Yardstick, as_test
from precision.studies import study
from precision.sweep import sweep

CELLS = 10_000
SMALL_GRID = {"x": range(100), "y": range(CELLS // 100)}
LARGE_GRID = {
    "width": range(4, 24, 2),
    "accumulator": [pr.HOPPER_FP8, pr.HOPPER_FP8.promoted(256), pr.HOPPER_FP8.promoted(512)],
    "m": 128,
    "n": 128,
    "k": 65536,
}


def small_cell(x: int, y: int) -> dict[str, int]:
    return {"sum": x + y, "product": x * y}


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def beside_its_cells(stored: bool) -> Side:
    """Return the seconds that a sweep takes for each small cell, beside a plain loop."""
    folder = tempfile.TemporaryDirectory()
    stores = (Path(folder.name) / f"{i}.sqlite" for i in itertools.count())

    def ours() -> pd.DataFrame:
        return sweep(small_cell, SMALL_GRID, store=next(stores) if stored else None)

    def loop() -> pd.DataFrame:
        cells = itertools.product(*SMALL_GRID.values())
        return pd.DataFrame([{"x": x, "y": y} | small_cell(x, y) for x, y in cells])

    assert len(ours()) == len(loop()) == CELLS
    return lambda: (seconds(ours) - seconds(loop)) / CELLS


@functools.cache
def client(workers: int):
    """Return a client of a cluster with so many workers, each of which has loaded the kernels."""
    from distributed import Client, LocalCluster

    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    cluster = LocalCluster(
        n_workers=workers, threads_per_worker=1, dashboard_address=":0", silence_logs=logging.CRITICAL
    )
    found = Client(cluster, set_as_default=False)
    sizes = {name: LARGE_GRID[name] for name in "mnk"}
    found.run(functools.partial(study("accumulation").cell, width=None, **sizes))
    return found


@functools.cache
def table(workers: int) -> pd.DataFrame:
    """Return the table of the large cells, made by so many workers."""
    return sweep(study("accumulation").cell, LARGE_GRID, executor=client(workers))


def by_workers(workers: int) -> Side:
    """Return the time of the large cells, after a check of their table."""
    pd.testing.assert_frame_equal(table(workers), table(1), check_exact=True)
    assert table(1).attrs["provenance"]["cell_seconds"] / len(table(1)) > 0.05
    return lambda: seconds(lambda: sweep(study("accumulation").cell, LARGE_GRID, executor=client(workers)))


MILLISECOND = Yardstick("a millisecond a cell", lambda: lambda: 1e-3)
ROWS = (
    Row("sweep beside its cells", MILLISECOND, make=lambda: beside_its_cells(stored=False), bar=1, cost=True),
    Row(
        "sweep with a store beside its cells",
        MILLISECOND,
        make=lambda: beside_its_cells(stored=True),
        bar=1,
        cost=True,
    ),
    Row(
        "sweep by two workers",
        Yardstick("one worker", lambda: by_workers(1)),
        make=lambda: by_workers(2),
        bar=1.7,
        needs=("distributed",),
    ),
)

test_row = as_test(ROWS)
