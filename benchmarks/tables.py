"""The recorded tables as Markdown, which `docs/make.py` puts into README.md and docs/speed.md."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

from benchmarks import record
from benchmarks.measuring import Row, topics

LEGEND = (
    "A plain number is our speed divided by that of the yardstick; *N times* is our time, or memory, divided "
    "by its. Both sides were measured in turn in one run, with two threads unless a row says otherwise, and "
    "write into memory that was touched before unless it says new. The numbers are medians of the turns; the "
    "turns' extremes follow in brackets where they are known."
)
PACKAGES = ("numpy", "blas", "numba", "torch", "torchao", "mmasim")


def machines() -> list[dict[str, Any]]:
    """Return the recorded tables, in the order of their files' names."""
    return [record.read(path) for path in sorted(record.FOLDER.glob("*.json"))]


def heading(table: dict[str, Any]) -> str:
    """Return the head of a machine's column."""
    name = table["machine"]["processor"].replace("(R)", "").replace("(TM)", "").removesuffix(" Processor")
    return f"{name}, {table['machine']['vectors']}"


def described(table: dict[str, Any]) -> str:
    """Return a list item that describes a machine and its run."""
    found, versions = table["machine"], table["versions"]
    kind = f" ({found['kind']})" if found["kind"] else ""
    parts = [
        f"{found['cores']} cores{kind}",
        ", ".join(f"{name} {versions[name]}" for name in PACKAGES if name in versions),
        f"measured on {table['date']}" if table["date"] else "",
        f"at commit {table['tree']}" if table["tree"] else "",
        f"our loops compiled for {found['compiled_for']}" if found["compiled_for"] != found["kind"] else "",
        table["note"],
    ]
    return f"- {heading(table)}: {'; '.join(part for part in parts if part)}\n"


def cell(row: Row, table: dict[str, Any]) -> str:
    """Return what a machine's table says of a row, with the yardstick where it was another one."""
    one = table["rows"].get(row.name)
    if one is None:
        return ""
    said = record.said(one) + (" times" if row.cost else "")
    return said if one["yardstick"] == row.to.text else f"{said} of {one['yardstick']}"


def markdown(rows: Sequence[Row], tables: Sequence[dict[str, Any]]) -> str:
    """Return a table of rows, with a column for each machine."""
    lines = [
        ("what", "of", *map(heading, tables)),
        ("---",) * (2 + len(tables)),
        *((row.name, row.to.text, *(cell(row, table) for table in tables)) for row in rows),
    ]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def headlines() -> str:
    """Return the README's table: the main rows for which there is a figure."""
    tables = machines()
    rows = [row for found in topics().values() for row in found if row.headline]
    rows = [row for row in rows if any(cell(row, table) for table in tables)]
    return f"{LEGEND}\n\n{''.join(map(described, tables))}\n{markdown(rows, tables)}"


def whole() -> str:
    """Return the machines, and a table of each file's rows."""
    tables = machines()
    parts = [f"{LEGEND}\n", "".join(map(described, tables))]
    for topic, rows in topics().items():
        first = str(importlib.import_module(f"benchmarks.{topic}").__doc__).partition("\n")[0]
        shown = [row for row in rows if not row.apart]
        if not shown:
            continue
        parts += [
            f"{first.rstrip('.').replace('``', '`')} ([{topic}.py](../benchmarks/{topic}.py)):\n",
            markdown(shown, tables),
        ]
    return "\n".join(parts)
