"""The tables that `docs/speed` holds, one for each machine: their form, and the comparison of a run with one.

A table is a JSON file that ``python -m benchmarks`` writes and nobody edits: ``machine``, ``versions``,
``date`` and ``tree`` (see `machine.described`), a ``note``, and ``rows``, which by the name of a row hold its
yardstick, the median ratio of the turns and their extremes, how many turns there were, and the medians of
both sides in seconds or bytes. Figures of older tables lack the ratio (where only a range was known), the
extremes, or the sides.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import machine
from benchmarks.measuring import Measured, Row

FOLDER = machine.ROOT / "docs" / "speed"
Entry = Mapping[str, Any]


def entry(row: Row, found: Measured) -> dict[str, Any]:
    """Return what is recorded of a row, its numbers with three digits."""
    numbers = {
        name: float(f"{value:.3g}") if isinstance(value, float) else value
        for name, value in asdict(found).items()
    }
    return {"yardstick": row.to.text, **numbers, "unit": row.unit}


def table(described: Mapping[str, Any], rows: Mapping[str, Entry]) -> dict[str, Any]:
    """Return a whole table of entries by name."""
    return {**described, "note": "", "rows": dict(rows)}


def write(path: Path, found: Mapping[str, Any]) -> None:
    """Write a table, a line for each row."""
    head = json.dumps({**found, "rows": {}}, indent=1, ensure_ascii=False)
    lines = ",\n".join(
        f"  {json.dumps(name, ensure_ascii=False)}: {json.dumps(one, ensure_ascii=False)}"
        for name, one in found["rows"].items()
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(head.removesuffix("{}\n}") + f"{{\n{lines}\n }}\n}}\n", encoding="utf-8")


def read(path: Path) -> dict[str, Any]:
    """Return a table that was written."""
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def here() -> Path:
    """Return the file of this machine's table."""
    return FOLDER / f"{machine.slug()}.json"


# ---- what is shown ------------------------------------------------------------------------------------
def digits(x: float) -> str:
    """Return a ratio with two digits, or with all those before the point."""
    return f"{x:.0f}" if x >= 100 else f"{x:#.2g}".rstrip(".")


def said(one: Entry) -> str:
    """Return a ratio and its extremes in a few words: 0.20 (0.18 to 0.22)."""
    ratio, low, high = (one.get(name) for name in ("ratio", "low", "high"))
    spread = "" if low is None or high is None else f"{digits(low)} to {digits(high)}"
    if ratio is None:
        return spread
    return digits(ratio) + (f" ({spread})" if spread else "")


# ---- comparison ---------------------------------------------------------------------------------------
def verdict(row: Row, before: Entry | None, now: Entry) -> str:
    """Return "worse" or "better" where the ratio changed by more than its spread, or else "equal".

    The spread is the difference of the extremes, in that of the two tables where it is larger. Where no ratio
    was recorded, no extremes or another yardstick, the verdict is "unknown".
    """
    if before is None or before["yardstick"] != now["yardstick"]:
        return "unknown"
    if before.get("ratio") is None or before.get("low") is None:
        return "unknown"
    change = now["ratio"] - before["ratio"]
    if abs(change) <= max(one["high"] - one["low"] for one in (before, now)):
        return "equal"
    return "worse" if (change > 0) == row.cost else "better"


@dataclass
class Comparison:
    """The names of rows by their verdicts; and the differences of versions, each in words."""

    worse: list[str] = field(default_factory=list)
    better: list[str] = field(default_factory=list)
    equal: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    versions: list[str] = field(default_factory=list)


def compare(rows: Iterable[Row], before: Mapping[str, Any], now: Mapping[str, Any]) -> Comparison:
    """Compare those rows of two tables that the second one has."""
    found = Comparison()
    for row in rows:
        if row.name in now["rows"]:
            what = verdict(row, before["rows"].get(row.name), now["rows"][row.name])
            getattr(found, what).append(row.name)
    old, new = before["versions"], now["versions"]
    changed = [name for name in old if old[name] != new.get(name)]
    found.versions = [f"{name} {old[name]} there, {new.get(name, 'none')} here" for name in changed]
    return found


def told(found: Comparison, before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Return a comparison in words, a line for each row that changed."""

    def line(name: str, how: str) -> str:
        return f"{how}: {name}: {said(before['rows'][name])} recorded, {said(now['rows'][name])} now"

    return "\n".join(
        [
            *(line(name, "better") for name in found.better),
            *(line(name, "worse") for name in found.worse),
            *found.versions,
            f"{len(found.worse)} worse by more than their spread, {len(found.better)} better, "
            f"{len(found.equal)} within it, {len(found.unknown)} not recorded with a spread",
        ]
    )
