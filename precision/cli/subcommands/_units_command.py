"""The subcommand ``precision units``, which lists the matrix units or shows some of them in full."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click
from rich.table import Table

from precision.cli import _printed_tables
from precision.cli._shared_options import errors_as_messages
from precision.cli._standard_streams import printing, say
from precision.units._catalogue import CATALOGUE, Unit, find_unit


def _entry(unit: Unit) -> dict[str, Any]:
    """Return the arithmetic, instruction, GPUs and evidence of a unit as values that JSON can hold."""
    accumulator, step = unit.accumulator, unit.accumulator.step
    entry: dict[str, Any] = {
        "name": unit.name,
        "operands": [str(fmt) for fmt in accumulator.operand_formats],
        "products": None if step is None else step.products,
        "fraction_bits": None if step is None else step.fraction_bits,
        "register": None if step is None else str(step.register),
        "scales_inside": None if accumulator.inner_scales is None else str(accumulator.inner_scales),
        "accumulator": accumulator.constructor_text(),
    }
    return entry | {
        "instruction": unit.instruction,
        "gpus": list(unit.gpus),
        "evidence": str(unit.evidence),
        "source": unit.source,
    }


def _table(units: list[Unit]) -> Table:
    """Return a table with a line for each unit."""
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("unit", no_wrap=True)
    table.add_column("operands", overflow="fold")
    for heading in ("products\na step", "bits\nkept"):
        table.add_column(heading, justify="right")
    table.add_column("register", no_wrap=True)
    table.add_column("GPUs", overflow="fold")
    table.add_column("evidence", no_wrap=True)
    for unit in units:
        entry = _entry(unit)
        table.add_row(
            entry["name"],
            " ".join(entry["operands"]) or "any",
            *("-" if entry[name] is None else str(entry[name]) for name in ("products", "fraction_bits")),
            entry["register"] or "-",
            ", ".join(entry["gpus"]) or "-",
            entry["evidence"],
        )
    return table


def _sentences(unit: Unit) -> Iterator[str]:
    """Yield sentences that describe the arithmetic of a unit."""
    accumulator, step = unit.accumulator, unit.accumulator.step
    if step is None:
        yield "The exact sum of all products is rounded once."
        return
    if not step.aligns:
        yield "Each product joins the register by one fused multiply-add, in the order of K."
        return
    group = step.inner.group if step.inner else 0
    terms = f"{step.terms} exact sums of {group} products each" if group else f"{step.products} products"
    yield (
        f"A step aligns {terms} and the register at the largest exponent among them, and keeps "
        f"{step.fraction_bits} fraction bits of each ({step.alignment_rounding})."
    )
    if step.min_exponent is not None:
        yield f"The exponent of the alignment is at least {step.min_exponent}."
    yield (
        f"Their exact sum is brought to the register's format {step.register} ({step.register_rounding}), "
        "from which the next step begins."
    )
    if accumulator.inner_scales is not None:
        yield f"The unit applies the scales of both operands itself: {accumulator.inner_scales}."


def _print_in_full(unit: Unit) -> None:
    """Print every fact about a unit on a line of its own, then its arithmetic in words."""
    facts = {
        "unit": unit.name,
        "accumulator": unit.accumulator.constructor_text(),
        "instruction": unit.instruction,
        "GPUs": ", ".join(unit.gpus) or "none",
        "evidence": f"{unit.evidence} ({unit.source})",
    }
    width = max(map(len, facts))
    for name, fact in facts.items():
        say(f"{name:{width}}  {fact}")
    say("\n" + "\n".join(_sentences(unit)))


@click.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--gpu", help="Only units of this GPU, as H100.")
@click.option("--json", "as_json", is_flag=True, help="For machines.")
def units(names: tuple[str, ...], gpu: str | None, as_json: bool) -> None:
    """List the matrix units, or show all that is known of those given.

    NAME is a unit, as HOPPER_FP8.
    """
    with errors_as_messages():
        chosen = [find_unit(name) for name in names] or list(CATALOGUE.values())
        if gpu is not None:
            known = dict.fromkeys(one for unit in CATALOGUE.values() for one in unit.gpus)
            if gpu not in known:
                raise ValueError(f"--gpu must be one of {', '.join(known)}, got {gpu!r}")
            chosen = [unit for unit in chosen if gpu in unit.gpus]
        if as_json:
            say(_printed_tables.as_json([_entry(unit) for unit in chosen]), end="")
            return
        with printing():
            if names:
                for place, unit in enumerate(chosen):
                    if place:
                        say("")
                    _print_in_full(unit)
            else:
                _printed_tables.console().print(_table(chosen))
