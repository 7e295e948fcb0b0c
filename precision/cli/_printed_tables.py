"""Printed tables for people (rich), JSON and CSV for machines."""

from __future__ import annotations

import csv
import io
import json
import math
import re
import textwrap
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from precision.formats._float_format import FloatFormat
from precision.formats._named import Format
from precision.studies._experiment import Study
from precision.studies._sections import Section
from precision.testing._reports import Report

if TYPE_CHECKING:
    import pandas as pd

_WIDTH = 100  # of tables that go to a file or a pipe


class _Console(Console):
    """A console that raises an error for a pipe that nobody reads, instead of ending the process."""

    def on_broken_pipe(self) -> None:
        """Raise the error that rich is handling once more, for the caller."""
        raise


def console() -> Console:
    """Return a console on the standard output, 100 columns wide where that is no terminal."""
    found = _Console()
    return found if found.is_terminal else _Console(width=_WIDTH)


# ---- studies ----------------------------------------------------------------------------------------
def say(console: Console, text: str) -> None:
    """Print text unchanged: without colours, without markup, and without breaking its lines."""
    console.print(text, highlight=False, markup=False, soft_wrap=True)


def print_study(study: Study, table: pd.DataFrame) -> None:
    """Print the sections of a study's table, and its answer in words."""
    found, out = study.sections(table) if study.sections else [], console()
    for i, section in enumerate(found):
        if i:
            say(out, "")
        print_section(out, section)
    if study.answer is not None:
        print_answer(out, study.answer(table))


def print_answer(console: Console, text: str) -> None:
    """Print sentences below a table, in lines of the terminal's width."""
    say(console, f"\n{_wrapped(text, console.width)}\n")


def _wrapped(text: str, width: int) -> str:
    """Break text into lines of a width, but not within a name or within parentheses."""
    whole = re.sub(r"\((?:[^()]|\([^()]*\))*\)", lambda found: found[0].replace(" ", "\u00a0"), text)
    lines = textwrap.wrap(whole, width, break_long_words=False, break_on_hyphens=False)
    return "\n".join(lines).replace("\u00a0", " ")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return text in ("-", "")
    return True


def print_section(console: Console, section: Section) -> None:
    """Print a section of a table without the last columns, if the terminal is too narrow for all of them."""
    texts = {**section.names, **section.values}
    widths = {
        heading: max(len(part) for part in [*heading.split("\n"), *lines]) for heading, lines in texts.items()
    }
    left = console.width - sum(widths[heading] + 1 for heading in section.names)
    shown = []
    for heading in section.values:
        left -= widths[heading] + 1
        if left < -1:  # nothing follows the last column
            break
        shown.append(heading)
    if section.text:
        say(console, section.text)
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)
    for heading in (*section.names, *shown):
        right = heading in section.values or all(map(_is_number, texts[heading]))
        table.add_column(
            heading, justify="right" if right else "left", no_wrap=True, min_width=widths[heading]
        )
    for line in zip(*(texts[heading] for heading in (*section.names, *shown)), strict=True):
        table.add_row(*line)
    console.print(table, crop=False, overflow="ignore")
    lost = [
        heading.replace("-\n", "").replace("\n", " ") for heading in section.values if heading not in shown
    ]
    if lost:
        say(console, _wrapped(f"and {', '.join(lost)} in --json and --csv", console.width))


# ---- checks -----------------------------------------------------------------------------------------
def print_report(console: Console, report: Report) -> None:
    """Print a report of checks: a line for each property, and below the table each failure in full."""
    say(console, report.headline())
    for cause in report.causes:
        say(console, f"likely cause: {cause}")
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for heading in ("property", "", "wrong of tried"):
        table.add_column(heading, justify="right" if heading.startswith("wrong") else "left", no_wrap=True)
    table.add_column("", overflow="fold")
    for outcome in report.outcomes:
        style = "bold red" if outcome.failed else None
        why = outcome.cause if outcome.failed else outcome.note
        counts = outcome.counts() if outcome.cases else ""
        table.add_row(outcome.name, str(outcome.verdict), counts, why, style=style)
    say(console, "")
    console.print(table)
    for outcome in report.failed:
        say(console, f"\n{outcome}")


# ---- for machines -----------------------------------------------------------------------------------
def as_json(value: Any) -> str:
    """Return a value as strict JSON, in which null stands for NaN and Inf."""

    def proper(item: Any) -> Any:
        if isinstance(item, dict):
            return {key: proper(part) for key, part in item.items()}
        if isinstance(item, list):
            return [proper(part) for part in item]
        return None if isinstance(item, float) and not math.isfinite(item) else item

    return json.dumps(proper(value), indent=1, allow_nan=False) + "\n"


def as_csv(rows: list[dict[str, Any]]) -> str:
    """Return rows, which have the same keys, as CSV with a header; return "" if there are no rows."""
    if not rows:
        return ""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


# ---- formats ----------------------------------------------------------------------------------------
def _hexadecimal(code: int | None, bits: int) -> str:
    return "-" if code is None else f"{code:0{-(-bits // 4)}X}"


def limits(fmt: Format) -> dict[str, Any]:
    """Return the limits of a format and its special codes by name; None stands for what it lacks."""
    row: dict[str, Any] = {
        "format": str(fmt),
        "bits": fmt.bits,
        "exponent_bits": None,
        "fraction_bits": fmt.fraction_bits,
        "bias": None,
        "max": fmt.max,
        "min_normal": fmt.smallest,
        "min_subnormal": None,
        "specials": "NONE",
        "nan_code": None,
        "inf_code": None,
        "zero": fmt.has_zero,
        "negative_zero": fmt.has_negative_zero,
        "dtype": str(fmt.dtype),
    }
    if isinstance(fmt, FloatFormat):
        same = ("exponent_bits", "bias", "min_normal", "min_subnormal", "nan_code", "inf_code")
        row |= {name: getattr(fmt, name) for name in same} | {"specials": str(fmt.specials)}
    return row


def formats_table(formats: Iterable[Format]) -> Table:
    """Return a table of limits and special codes with one line for each format."""
    limited = {"max": "max", "min_normal": "min\nnormal", "min_subnormal": "min sub-\nnormal"}
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)
    for heading in ("format", "bits", "bias", *limited.values(), "specials"):
        left = heading in ("format", "specials")
        table.add_column(heading, justify="left" if left else "right", no_wrap=True)
    for heading in ("NaN", "Inf"):
        table.add_column(heading, justify="right", max_width=8, overflow="fold")
    for fmt in formats:
        row = limits(fmt)
        table.add_row(
            row["format"],
            str(row["bits"]),
            "-" if row["bias"] is None else str(row["bias"]),
            *(_short(row[name]) for name in limited),
            row["specials"],
            *(_hexadecimal(row[name], fmt.bits) for name in ("nan_code", "inf_code")),
        )
    return table


def _short(value: float | None) -> str:
    """Return a value as text: in at most seven significant digits, or as a power of two like 2^-14."""
    if value is None:
        return "-"
    mantissa, exponent = math.frexp(value)
    if mantissa == 0.5 and not 0 <= exponent - 1 <= 10:
        return f"2^{exponent - 1}"
    return f"{value:.7g}"


def print_values(console: Console, fmt: Format) -> None:
    """Print every code of a format with its value, without the codes whose sign bit is set."""
    count, rest = 1 << fmt.bits, ""
    if isinstance(fmt, FloatFormat) and fmt.signed:
        count //= 2
        sign = _hexadecimal(count, fmt.bits)
        rest = f"; with the sign bit ({sign}) the same below zero"
        rest += "" if fmt.has_negative_zero else f", but {sign} itself is NaN"
    console.print(
        f"\n{fmt} ({fmt.dtype}): code and value{rest}", highlight=False, markup=False, soft_wrap=True
    )
    columns = max(1, min(4, count // 8))
    height = -(-count // columns)
    table = Table(box=None, show_header=False, padding=(0, 2), pad_edge=False)
    for i in range(2 * columns):
        table.add_column(justify="right", style="dim" if i % 2 == 0 else None, no_wrap=True)
    for i in range(height):
        codes = range(i, count, height)
        table.add_row(*(cell for c in codes for cell in (_hexadecimal(c, fmt.bits), f"{fmt.value(c):.9g}")))
    console.print(table)
