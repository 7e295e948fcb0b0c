"""What a sweep costs beside its cells, and what workers bring.

Run ``pytest benchmarks/bench_sweep.py -s``. The first prints what a cell of 10,000 small ones takes in this
process beside its function, with and without a store; the yardstick is a plain loop into a list of
dictionaries. The second runs the same real cells of 50 ms and more on one Dask worker and on two, in turn.
"""

from __future__ import annotations

import functools
import itertools
import logging
import time
from statistics import median

import pandas as pd
import pytest

import precision as pr
from precision.studies import study
from precision.sweep import sweep

CELLS = 10_000
OVERHEAD_BAR = 1e-3  # seconds a cell
WORKERS_BAR = 1.7


def small(x, y):
    return {"sum": x + y, "product": x * y}


def seconds(work):
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


@pytest.mark.parametrize("stored", [False, True], ids=["no store", "store"])
def test_overhead(benchmark, tmp_path, stored):
    grid = {"x": range(100), "y": range(CELLS // 100)}
    stores = (tmp_path / f"{i}.sqlite" for i in itertools.count())

    def ours():
        return sweep(small, grid, store=next(stores) if stored else None)

    def loop():
        return pd.DataFrame([{"x": x, "y": y} | small(x, y) for x, y in itertools.product(*grid.values())])

    assert len(ours()) == len(loop()) == CELLS
    beside = median(seconds(ours) - seconds(loop) for _ in range(5)) / CELLS
    name = "with a store" if stored else "in memory"
    print(f"\n{name:13} {1e6 * beside:6.1f} µs a cell (bar {1e6 * OVERHEAD_BAR:.0f})", end="")
    benchmark.extra_info.update(seconds_per_cell=beside)
    benchmark.pedantic(ours, rounds=1)
    assert beside < OVERHEAD_BAR


def test_two_workers(benchmark):
    distributed = pytest.importorskip("distributed", reason="needs the extra distributed")
    cell = study("accumulation").cell
    sizes = {"m": 128, "n": 128, "k": 8192}
    units = [pr.HOPPER_FP8, pr.HOPPER_FP8.promoted(256), pr.HOPPER_FP8.promoted(512)]
    grid = {"width": range(4, 24), "accumulator": units} | sizes
    tables, times = {}, {1: [], 2: []}
    for workers in (1, 2) * 3:
        cluster = distributed.LocalCluster(
            n_workers=workers, threads_per_worker=1, dashboard_address=":0", silence_logs=logging.CRITICAL
        )
        with cluster, distributed.Client(cluster, set_as_default=False) as client:
            # Every worker loads the kernels and makes the operands, which its cells share.
            client.run(functools.partial(cell, width=None, **sizes))
            start = time.perf_counter()
            tables[workers] = sweep(cell, grid, executor=client)
            times[workers].append(time.perf_counter() - start)
    pd.testing.assert_frame_equal(tables[1], tables[2], check_exact=True)
    each = tables[1].attrs["provenance"]["cell_seconds"] / len(tables[1])
    ratio = median(times[1]) / median(times[2])
    said = f"two workers {ratio:.2f} times one (bar {WORKERS_BAR})"
    print(f"\n{len(tables[1])} cells of {1e3 * each:.0f} ms: {said}", end="")
    benchmark.extra_info.update(ratio=ratio, cell_seconds=each)
    benchmark.pedantic(lambda: cell(k=8192), rounds=1)
    assert each > 0.05 and ratio >= WORKERS_BAR
