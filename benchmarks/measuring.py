"""Rows of the benchmarks: two sides measured in turn, their ratio and its bar.

A file ``bench_*.py`` declares its rows once, in ``ROWS``. ``python -m benchmarks`` measures and records them
all; ``pytest benchmarks/bench_x.py -s`` measures those of one file, and fails where one misses its bar.

The loop over turns is our own, of some lines. A speed of a shared machine varies by tens of per cent within
minutes, and says little without that of its yardstick at the same moment; but none of the kept libraries
times two calls in turn in one process. pytest-benchmark allows one call a test, and times its rounds without
a break. pyperf finishes one benchmark, in processes of its own, before the next begins. asv's
``--interleave-rounds`` alternates whole benchmarks, each in a new process that compiles and touches its
arrays anew, and judges times, not their ratio. What a library does well is left to it: `timeit` times a block
of calls (without garbage collection), `statistics` takes medians, threadpoolctl names the BLAS and limits its
threads, py-cpuinfo names the processor.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.util
import math
import statistics
import time
import timeit
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Any

import precision as pr
from benchmarks import machine

THREADS = 2
LEAST_TURNS, MOST_TURNS = 7, 101
SECONDS = 1.0
"""After so many seconds a row takes no further turns, if it has the least number of them."""
BLOCK = 1e-4
"""Seconds between two looks at the clock, at least: so few that other processes seldom fall into them."""

Side = Callable[[], float]
"""A function that measures one side once, and returns seconds or bytes."""


@dataclass(frozen=True)
class Yardstick:
    """One side of a ratio: its description, which the tables show, and the function that prepares it."""

    text: str
    make: Callable[[], Side]


@dataclass(frozen=True)
class Row:
    """A benchmark: its name, its yardstick and the function that prepares our side.

    The ratio is one of speeds, where more is better, or of a `cost` in seconds or bytes, where less is.
    """

    name: str
    to: Yardstick
    _: KW_ONLY
    make: Callable[[], Side]
    bar: float | Mapping[str, float] | None = None
    """The ratio that must not be missed; by `machine.vectors`, or else "other", where processors differ."""
    goal: float | None = None
    """The ratio that is aimed at, where the bar is not there yet."""
    cost: bool = False
    headline: bool = False
    """Whether the README shows the row."""
    apart: bool = False
    """Whether the row is measured only where it is named: a whole run must end in a quarter of an hour."""
    threads: int = THREADS
    unit: str = "s"
    needs: tuple[str, ...] = ()
    """Packages without which the row is left out."""

    def bar_here(self) -> float | None:
        """Return the bar on this processor."""
        if isinstance(self.bar, Mapping):
            return self.bar.get(machine.vectors(), self.bar["other"])
        return self.bar

    def reaches(self, ratio: float, bar: float | None) -> bool:
        """Return whether a ratio is as good as a bar, or better."""
        return bar is None or (ratio <= bar if self.cost else ratio >= bar)

    def lacking(self) -> list[str]:
        """Return the packages that the row needs and that are not installed."""
        return [name for name in self.needs if importlib.util.find_spec(name) is None]


@dataclass(frozen=True)
class Measured:
    """A row's ratio: the median and the extremes of the turns' ratios, and the median of each side."""

    ratio: float
    low: float
    high: float
    _: KW_ONLY
    turns: int
    ours: float
    theirs: float


def timed(work: Callable[[], object], *, rest: float = 0.005) -> Side:
    """Return a side that times a call: the least of a few blocks of calls; the first one warms the caches.

    Before each measurement it sleeps for `rest` seconds, until the threads of the other side sleep: those of
    PyTorch and of BLAS spin for a while after each call.
    """
    timer = timeit.Timer(work)
    timer.timeit(1)  # compiles
    usual = timer.timeit(1)
    usual = min(timer.repeat(3, 1)) if usual < 0.1 else usual
    loops = max(1, math.ceil(BLOCK / usual))
    blocks = 1 if usual > 0.1 else 2 if usual > 1e-3 else 5

    def side() -> float:
        time.sleep(rest)
        return min(timer.repeat(blocks, loops)) / loops

    return side


@contextlib.contextmanager
def limited(threads: int) -> Iterator[None]:
    """Let precision, BLAS and OpenMP use so many threads, inside a with statement."""
    import threadpoolctl

    before = pr.get_num_threads()
    pr.set_num_threads(threads)
    try:
        with threadpoolctl.threadpool_limits(threads):
            yield
    finally:
        pr.set_num_threads(before)


def ratios(row: Row, pairs: Sequence[tuple[float, float]]) -> Measured:
    """Return a row's result from what its turns gave, ours and theirs."""
    each = sorted(ours / theirs if row.cost else theirs / ours for ours, theirs in pairs)
    ours, theirs = (statistics.median(side) for side in zip(*pairs, strict=True))
    return Measured(statistics.median(each), each[0], each[-1], turns=len(pairs), ours=ours, theirs=theirs)


def take_turns(ours: Side, theirs: Side) -> list[tuple[float, float]]:
    """Measure both sides in turn, seven times at least, and more often while there is time."""
    pairs: list[tuple[float, float]] = []
    start = time.perf_counter()
    while len(pairs) < LEAST_TURNS or (len(pairs) < MOST_TURNS and time.perf_counter() - start < SECONDS):
        pairs.append((ours(), theirs()))
    return pairs


def measure(row: Row) -> Measured:
    """Measure a row."""
    with limited(row.threads):
        return ratios(row, take_turns(row.make(), row.to.make()))


def amount(value: float, unit: str) -> str:
    """Return seconds or bytes with three digits and a prefix."""
    if unit == "B":
        return f"{value / 2**20:.3g} MiB"
    power = next((power for power in (0, 3, 6) if value >= 10.0**-power), 9)
    return f"{value * 10**power:.3g} {['', 'm', 'µ', 'n'][power // 3]}s"


def line(row: Row, found: Measured) -> str:
    """Return what is printed of a row that was measured."""
    bar = row.bar_here()
    missed = "" if row.reaches(found.ratio, bar) else "  BELOW ITS BAR" if not row.cost else "  ABOVE ITS BAR"
    wanted = [f"{name} {x:g}" for name, x in (("bar", bar), ("goal", row.goal)) if x is not None]
    said = f"  ({', '.join(wanted)})" if wanted else ""
    spread = f"({found.low:.3g} to {found.high:.3g}; {found.turns} turns; {amount(found.ours, row.unit)})"
    return f"{row.name:<50} {found.ratio:7.3g} {spread} of {row.to.text}{said}{missed}"


@functools.cache
def topics() -> dict[str, tuple[Row, ...]]:
    """Return the rows of each file ``bench_*.py``, by the name of the file."""
    files = sorted(Path(__file__).parent.glob("bench_*.py"))
    return {path.stem: importlib.import_module(f"benchmarks.{path.stem}").ROWS for path in files}


def as_test(rows: Sequence[Row]) -> Callable[..., None]:
    """Return a pytest function that measures each row and fails where one misses its bar."""
    import pytest

    @pytest.mark.parametrize("row", rows, ids=lambda row: row.name)
    def test_row(row: Any) -> None:
        for name in row.lacking():
            pytest.skip(f"needs {name}")
        found = measure(row)
        print(f"\n{line(row, found)}", end="")
        assert row.reaches(found.ratio, row.bar_here())

    return test_row
