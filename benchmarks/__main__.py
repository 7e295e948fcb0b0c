"""The command ``python -m benchmarks``, which measures every row, records and compares."""

from __future__ import annotations

import difflib
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

import click

from benchmarks import machine, record
from benchmarks.measuring import Row, topics
from benchmarks.runs import Found, again, entries, measure_all


def choose(patterns: Sequence[str]) -> dict[str, list[Row]]:
    """Return the rows of a name, or with a part or a pattern in their name or their topic's, by topic.

    Without patterns these are all but those that are measured apart.
    """
    rows = {topic: list(found) for topic, found in topics().items()}
    wanted: dict[str, list[Row]] = {topic: [] for topic in rows}
    if not patterns:
        return {topic: [row for row in found if not row.apart] for topic, found in rows.items()}
    for pattern in patterns:
        meant = {topic: [row for row in found if means(pattern, topic, row)] for topic, found in rows.items()}
        if not any(meant.values()):
            near = difflib.get_close_matches(pattern, [*rows, *(row.name for row in all_rows())], cutoff=0.3)
            raise click.UsageError(f"no row is called {pattern!r}; near are: {', '.join(near) or 'none'}")
        for topic, some in meant.items():
            wanted[topic] += [row for row in some if row not in wanted[topic]]
    return {topic: [row for row in rows[topic] if row in some] for topic, some in wanted.items() if some}


def means(pattern: str, topic: str, row: Row) -> bool:
    """Return whether a pattern names a row or its topic; the whole name of a row means that row alone."""
    if any(pattern == one.name for one in all_rows()):
        return pattern == row.name
    pattern, name = pattern.lower(), row.name.lower()
    return pattern in topic or pattern in name or fnmatchcase(name, pattern)


def all_rows() -> list[Row]:
    """Return the rows of all topics."""
    return [row for found in topics().values() for row in found]


def summary(rows: Iterable[Row], found: Found) -> bool:
    """Print what was left out, failed, or missed its bar or goal; return whether all bars are met."""
    said: dict[str, list[str]] = {"left out": [], "failed": [], "misses its bar": [], "not at its goal": []}
    for row in rows:
        one = found[row.name]
        if isinstance(one, str):
            said["left out" if one.startswith("needs ") else "failed"].append(f"{row.name}: {one}")
            continue
        if not row.reaches(one.ratio, row.bar_here()):
            said["misses its bar"].append(f"{row.name}: {one.ratio:.3g}, bar {row.bar_here():g}")
        if not row.reaches(one.ratio, row.goal):
            said["not at its goal"].append(f"{row.name}: {one.ratio:.3g}, goal {row.goal:g}")
    for what, some in said.items():
        for text in some:
            print(f"{what}: {text}")
    return not said["failed"] and not said["misses its bar"]


def listed(chosen: Mapping[str, Sequence[Row]]) -> str:
    """Return the rows with yardstick, bar on this processor, and goal."""
    return "\n".join(
        f"{topic}: {row.name}, of {row.to.text}: {limits(row)}"
        for topic, rows in chosen.items()
        for row in rows
    )


def limits(row: Row) -> str:
    """Return a row's bar and goal in words."""
    asked = {"bar": row.bar_here(), "goal": row.goal}
    said = [f"{name} {value:g}" for name, value in asked.items() if value is not None]
    text = f"at {'most' if row.cost else 'least'}, {', '.join(said)}" if said else "no bar"
    return f"{text} (only if it is named)" if row.apart else text


@click.command(
    help="Measure every row of the benchmarks in turn with its yardstick, in a quarter of an hour."
)
@click.option(
    "--only", "patterns", multiple=True, metavar="NAME", help="Rows with this in their name; a topic."
)
@click.option("--list", "list_only", is_flag=True, help="List the rows, and measure nothing.")
@click.option(
    "--compare",
    is_flag=False,
    flag_value="",
    metavar="[FILE]",
    help="Compare with this machine's recorded table, or another; exit code 1 if a row is worse by more than "
    "its spread, twice.",
)
@click.option("--out", type=click.Path(path_type=Path), help="Write the table here.")
def main(patterns: tuple[str, ...], list_only: bool, compare: str | None, out: Path | None) -> None:
    """Without ``--only`` and ``--compare``, write the table of this machine into ``docs/speed``."""
    if list_only:
        print(listed(choose(patterns or ("*",))))
        return
    chosen = choose(patterns)
    before = None
    if compare is not None:
        path = Path(compare) if compare else record.here()
        if not path.exists():
            raise click.UsageError(f"no table to compare with: {path}")
        before = record.read(path)
    start, rows = time.monotonic(), [row for some in chosen.values() for row in some]
    described = machine.described()
    print(f"{described['machine']}\n{described['versions']}", flush=True)
    found = measure_all(chosen)
    good = summary(rows, found)
    print(f"{len(rows)} rows in {(time.monotonic() - start) / 60:.1f} minutes")
    now = record.table(described, entries(rows, found))
    if before is not None:
        compared = record.compare(rows, before, now)
        if compared.worse:
            now["rows"] |= entries(rows, again(chosen, compared.worse))
            compared = record.compare(rows, before, now)
        print(record.told(compared, before, now))
        good = good and not compared.worse
    if out is None and not patterns and before is None:
        out = record.here()
    if out is not None:
        record.write(out, now)
        print(f"written: {out}; then run python docs/make.py 'speed*'")
    sys.exit(not good)


if __name__ == "__main__":
    main()
