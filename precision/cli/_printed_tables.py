"""What the command prints: tables for people (rich), JSON and CSV for machines."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

from rich.console import Console
from rich.table import Table

from precision import specs
from precision.formats._float_format import FloatFormat
from precision.formats._named import Format
from precision.metrics._distributions import DISTRIBUTIONS
from precision.quantization._quant_spec import alike_but_for_rule
from precision.specs._spec_text import AnySpec
from precision.studies import _spec_comparison
from precision.studies._product_comparison import ProductRow
from precision.studies._wire_comparison import SentRow, Wire
from precision.testing._reports import Report

_WIDTH = 100  # of tables that go to a file or a pipe


class _Console(Console):
    """A console that leaves a pipe which nobody reads to its caller, instead of ending the process."""

    def on_broken_pipe(self) -> None:
        """Pass the error on that rich is handling."""
        raise


def console() -> Console:
    """The standard output, with room for the tables where it is no terminal."""
    found = _Console()
    return found if found.is_terminal else _Console(width=_WIDTH)


# ---- errors -----------------------------------------------------------------------------------------
def _brief(value: float, style: str = ".2e") -> str:
    """No more of an exponent than it needs: 1.39e-4."""
    if value == 0:
        return "0"
    mantissa, e, exponent = f"{value:{style}}".partition("e")
    return f"{mantissa}{e}{int(exponent)}" if e else mantissa


_COLUMNS: tuple[tuple[str, Callable[[dict[str, float]], str]], ...] = (
    ("SQNR\ndB", lambda e: f"{e['sqnr_db']:.1f}"),
    ("norm\nrelative", lambda e: _brief(e["norm_relative_error"])),
    ("max err\n/ mean", lambda e: _brief(e["max_error_over_mean"])),
    ("bias", lambda e: _brief(e["signed_relative_error"], "+.1e")),
    ("mean\nULP", lambda e: _brief(e["mean_ulp"], ".1e")),
    ("max\nULP", lambda e: _brief(e["max_ulp"], ".1e")),
    ("1 -\ncosine", lambda e: _brief(max(0.0, 1 - e["cosine"]))),
    ("calc_\ndiff", lambda e: _brief(e["calc_diff"])),
)
_REFERENCES = {
    "accumulation": "accumulation alone: against the exact product of the quantized operands",
    "total": "quantization and accumulation: against the product of the originals",
}


def say(console: Console, text: str) -> None:
    console.print(text, highlight=False, markup=False, soft_wrap=True)


def error_table(rows: list[ProductRow], reference: str) -> Table:
    """Every measure of some accumulators on one product, against one of the two references."""
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("accumulator", overflow="fold")
    for heading, _ in _COLUMNS:
        table.add_column(heading, justify="right", no_wrap=True)
    unit = ""
    for row in rows:
        errors = getattr(row, reference)
        before, (unit, dot, form) = unit, row.accumulator.partition(".")
        name = (
            f"  .{form}" if dot and unit == before else row.accumulator
        )  # the unit is that of the line above
        table.add_row(name, *(show(errors) for _, show in _COLUMNS))
    return table


def print_errors(console: Console, rows: list[ProductRow]) -> None:
    """For each kind of data, both tables at the largest K."""
    say(console, f"a: {rows[0].a_spec}, b: {rows[0].b_spec}")
    for data in dict.fromkeys(row.data for row in rows):
        k = max(row.k for row in rows if row.data == data)
        shown = [row for row in rows if (row.data, row.k) == (data, k)]
        m, n = shown[0].m, shown[0].n
        name = DISTRIBUTIONS[data].description if data in DISTRIBUTIONS else data
        say(console, f"\n{name}, ({m}, {k}) @ ({k}, {n})")
        for reference, meaning in _REFERENCES.items():
            say(console, f"\n{meaning}")
            console.print(error_table(shown, reference))
    say(console, "")


# ---- numbers ----------------------------------------------------------------------------------------
_MANY = 8  # arrays; of more, only their total is printed


def _or_dash(show: Callable[[float], str]) -> Callable[[float], str]:
    return lambda value: "-" if math.isnan(value) else show(value)


_Columns: TypeAlias = tuple[tuple[str, str, Callable[[float], str]], ...]
_FIDELITY: _Columns = (
    ("bits /\nelement", "bits_per_element", lambda v: f"{v:.3f}"),
    ("SQNR\ndB", "sqnr_db", _or_dash(lambda v: f"{v:.1f}")),
    ("clipped\n%", "clipped_share", _or_dash(lambda v: _brief(100 * v, ".2g"))),
    ("flushed\n%", "flushed_share", _or_dash(lambda v: _brief(100 * v, ".2g"))),
    ("largest\nrelative", "max_relative_error", _or_dash(lambda v: _brief(v, ".3g"))),
    ("bias", "signed_relative_error", _or_dash(lambda v: _brief(v, "+.1e"))),
)


_SENT: _Columns = (
    ("bytes /\nelement", "combine_bytes_per_element", lambda v: f"{v:.4f}"),
    *_FIDELITY[1:2],
    *_FIDELITY[4:],
    ("dispatch\nµs", "seconds_dispatch", lambda v: f"{1e6 * v:.2f}"),
    ("combine\nµs", "seconds_combine", lambda v: f"{1e6 * v:.2f}"),
    ("both\nµs", "seconds_per_micro_batch", lambda v: f"{1e6 * v:.2f}"),
    ("token\nms", "seconds_per_token", lambda v: f"{1e3 * v:.2f}"),
)


def _spec_table(
    rows: list[_spec_comparison.SpecRow], flats: list[dict[str, Any]], columns: _Columns
) -> Table:
    """A line a spec; one that differs from that above in its rule alone stands under it."""
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("spec", overflow="fold")
    partly = any(row.tally.measured < row.tally.elements for row in rows)
    for heading, _, _ in columns:
        table.add_column(heading, justify="right", no_wrap=True)
    if partly:
        table.add_column("measured\n%", justify="right", no_wrap=True)
    base: AnySpec | None = None
    for row, flat in zip(rows, flats, strict=True):
        spec, name = specs.parse(row.spec), row.spec
        if alike_but_for_rule(spec, base):
            name = f"  scale_rule={spec.scale_rule}"
        else:
            base = spec
        cells = [show(float(flat[key])) for _, key, show in columns]
        if partly:
            cells.append(f"{100 * row.tally.measured / row.tally.elements:.4g}")
        table.add_row(name, *cells)
    return table


def _of_one_array(rows: list[_spec_comparison.SpecRow]) -> str:
    first = rows[0]
    name = DISTRIBUTIONS[first.data].description if first.data in DISTRIBUTIONS else first.data
    called = name + (f", {first.tensor}" if first.tensor else "")
    size = "x".join(map(str, first.shape)) if first.shape else f"{first.tally.elements:,} elements"
    bad = first.tally.non_finite
    return f"{called}, {size}" + (f", of which {bad:,} are NaN or Inf" if bad else "")


def _print_specs(
    console: Console,
    rows: list[_spec_comparison.SpecRow],
    flats: list[dict[str, Any]],
    columns: _Columns,
) -> None:
    """A table for each array, and one of their total; of very many arrays the total alone."""
    arrays: dict[tuple[str, str, bool], list[int]] = {}
    for i, row in enumerate(rows):
        arrays.setdefault((row.data, row.tensor, not row.shape), []).append(i)
    totals = [key for key in arrays if key[2]]
    single = len(arrays) - len(totals)
    for key, places in arrays.items():
        if totals and single > _MANY and not key[2]:
            continue
        its_rows = [rows[i] for i in places]
        of = f", {single} tensors" if key[2] else ""
        say(console, f"{_of_one_array(its_rows)}{of}\n")
        console.print(_spec_table(its_rows, [flats[i] for i in places], columns))
        say(console, "")
    if totals and single > _MANY:
        say(console, "--json and --csv hold the rows of each tensor; --tensor chooses some\n")


def print_fidelity(console: Console, rows: list[_spec_comparison.SpecRow]) -> None:
    """What each spec did to each array."""
    _print_specs(console, rows, [row.flat() for row in rows], _FIDELITY)


def setting(wire: Wire) -> str:
    """What is sent where: 32 tokens to 9 experts each, 7000 values, 50 GB/s."""
    ep = wire.ep
    return (
        f"{ep.tokens:,} tokens to {ep.experts_per_token} experts each, {ep.hidden:,} values, "
        f"{wire.link.bandwidth / 1e9:g} GB/s"
    )


def print_sent(console: Console, rows: list[SentRow], wire: Wire) -> None:
    """What each spec did to each array, and what it costs to send."""
    there = "in the row's format, too" if wire.dispatch is None else f"in {rows[0].dispatch}"
    say(console, f"all-to-all: {setting(wire)}; token: {wire.ep.layers} layers")
    say(console, f"to the experts (dispatch) {there}; back (combine) in the row's format\n")
    _print_specs(console, [row.row for row in rows], [row.flat() for row in rows], _SENT)


# ---- checks -----------------------------------------------------------------------------------------
def print_report(console: Console, report: Report) -> None:
    """A line for each property, and below the table what is known of each failure."""
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
    """JSON proper, in which a number that is not finite is null."""

    def proper(item: Any) -> Any:
        if isinstance(item, dict):
            return {key: proper(part) for key, part in item.items()}
        if isinstance(item, list):
            return [proper(part) for part in item]
        return None if isinstance(item, float) and not math.isfinite(item) else item

    return json.dumps(proper(value), indent=1, allow_nan=False) + "\n"


def as_csv(rows: list[dict[str, Any]]) -> str:
    """Rows of the same keys, with a header; of no rows, nothing."""
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
    """What there is to know of a format; codes as numbers, None where there is no such thing."""
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
    """Limits and special codes, a line a format."""
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
    """A value in at most seven significant digits, a power of two as such."""
    if value is None:
        return "-"
    mantissa, exponent = math.frexp(value)
    if mantissa == 0.5 and not 0 <= exponent - 1 <= 10:
        return f"2^{exponent - 1}"
    return f"{value:.7g}"


def print_values(console: Console, fmt: Format) -> None:
    """Every value beside its code; of a float format with a sign, those with the sign bit clear."""
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
