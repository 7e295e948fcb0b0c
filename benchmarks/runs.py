"""Runs of many rows, each topic in a process of its own."""

from __future__ import annotations

import multiprocessing
import traceback
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

from benchmarks import record
from benchmarks.measuring import Measured, Row, line, measure, topics

Found = dict[str, Measured | str]
"""By the name of a row its result, or the reason why there is none."""


def measure_topic(topic: str, names: Sequence[str]) -> Found:
    """Measure some rows of a topic, each printed once it is known."""
    found: Found = {}
    for row in topics()[topic]:
        if row.name not in names:
            continue
        if lacking := row.lacking():
            found[row.name] = f"needs {', '.join(lacking)}"
            continue
        try:
            found[row.name] = result = measure(row)
            print(line(row, result), flush=True)
        except Exception:  # the other rows are measured all the same
            found[row.name] = f"failed: {traceback.format_exc()}"
    return found


def measure_all(chosen: Mapping[str, Sequence[Row]]) -> Found:
    """Measure rows, each topic in a new process: none inherits the memory, threads or heap of another."""
    found: Found = {}
    spawn = multiprocessing.get_context("spawn")
    for topic, rows in chosen.items():
        print(f"--- {topic}", flush=True)
        names = [row.name for row in rows]
        with ProcessPoolExecutor(1, mp_context=spawn) as pool:
            try:
                found |= pool.submit(measure_topic, topic, names).result()
            except BrokenProcessPool as error:  # the other topics are measured all the same
                found |= dict.fromkeys(names, f"failed: {error}")
    return found


def entries(rows: Iterable[Row], found: Found) -> dict[str, record.Entry]:
    """Return what is recorded of the rows that were measured."""
    results = ((row, found.get(row.name)) for row in rows)
    return {row.name: record.entry(row, one) for row, one in results if isinstance(one, Measured)}


def again(chosen: Mapping[str, Sequence[Row]], names: Sequence[str]) -> Found:
    """Measure once more what seems to have become worse: a busy minute is no reason."""
    print(f"--- once more, {len(names)} rows that seem worse", flush=True)
    some = {topic: [row for row in rows if row.name in names] for topic, rows in chosen.items()}
    return measure_all({topic: rows for topic, rows in some.items() if rows})
