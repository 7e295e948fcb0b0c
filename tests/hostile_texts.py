"""Damaged texts and TOML files, and what may become of reading them: an answer, or the documented error.

Run by hand for longer than the tests do: ``python tests/hostile_texts.py --seconds 600 --seed 1``.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from hostile_mutations import NUMERALS, damage, little_memory, run

import precision as pr
from precision import accumulators, specs
from precision.cli import _sweep_options
from precision.cli.subcommands._sweep_command import sweep_command
from precision.formats import NAMED
from precision.quantization._quant_spec import SPECS
from precision.sweep import sweep

FORMATS = [*NAMED, "e4m3", "e3m2", "ue8m0", "int4", "uint8", "int2"]
UNITS = [name for name, unit in vars(accumulators).items() if isinstance(unit, accumulators.Accumulator)]
TEXTS: dict[str, tuple[Callable[[str], Any], list[str]]] = {
    "formats": (pr.parse_format, FORMATS),
    "specs": (
        specs.parse,
        [
            *SPECS,
            *map(str, SPECS.values()),
            "QuantSpec(e4m3, PerGroup(128))",
            "QuantSpec(e4m3, PerBlock(128, 128), scale_rule=CEIL)",
            "QuantSpec(e2m1, PerGroup(16), scale_format=e4m3, tensor_scale=True)",
            "LogFMT(8)",
            "LogFMT(8, block_size=64)",
            "bf16",
        ],
    ),
    "accumulators": (
        accumulators.parse,
        [*UNITS, "HOPPER_FP8.promoted(128)", "FusedSum((E4M3, E5M2), 16, fraction_bits=25)", "EXACT"],
    ),
}
PIECES = [
    "(",
    ")",
    "((",
    ",",
    "=",
    "**",
    "*",
    ".",
    "'",
    '"',
    "[",
    "]",
    "{",
    "}",
    "\\",
    "\n",
    "\0",
    ":=",
    "lambda: 0",
    "**{}",
    "**x",
    "*()",
    "x=1",
    "scale_rule=CEIL",
    "-",
    "~",
    "not ",
    "…",
    "é",
    "²",
    "\ud800",
    "\u202e",
    "__class__",
    "None",
    "True",
    "1j",
    "0x10",
    "1_000",
    "1e999",
    "nan",
    "'a'",
    "b'a'",
    "f'{1}'",
    "...",
    "if",
    " ",
    "\t",
]
LONG = [1000, 10_000, 100_000]


def damaged(rng: random.Random, text: str, texts: list[str]) -> str:
    """A text with one to three faults."""
    for _ in range(rng.choice([1, 1, 2, 3])):
        at = rng.randrange(len(text) + 1)
        stop = min(len(text), at + rng.choice([1, 2, 5, 20]))
        how = rng.randrange(9)
        if how == 0:
            text = text[:at] + rng.choice(PIECES) + text[at:]
        elif how == 1:
            text = text[:at] + text[stop:]
        elif how == 2:
            text = text[:at] + text[at:stop] * 2 + text[stop:]
        elif how == 3:
            text = text[:at] + rng.choice(NUMERALS) + text[stop:]
        elif how == 4:
            text = text[:at] + rng.choice(texts) + text[at:]
        elif how == 5 and rng.random() < 0.3:
            text = text[:at] + rng.choice(PIECES) * rng.choice(LONG) + text[at:]
        elif how == 6:
            wrapped = rng.choice(
                ["{}.promoted(128)", "({},)", "-{}", "{}()", "QuantSpec({})", "PerGroup({})"]
            )
            times = rng.choice([1, 1, 1, 2, 50, 500])
            for _ in range(times if len(text) < 1000 else 1):
                text = wrapped.format(text)
        elif how == 7:
            text = text.swapcase()
        else:
            text = text[:at] + chr(rng.choice([0, 7, 27, 127, 160, 0x2028, 0xD800, 0x1F600])) + text[stop:]
    return text


def one_text(kind: str) -> Callable[[random.Random, int], str]:
    """A case of a kind of text: read, or refused by a ValueError of a bearable length."""
    read, texts = TEXTS[kind]

    def case(rng: random.Random, number: int) -> str:
        text = damaged(rng, rng.choice(texts), texts)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")  # the parser of Python warns of some texts
                found = read(text)
        except ValueError as error:
            assert len(str(error)) < 3000, f"{len(str(error))} signs of error for {text[:100]!r}"
            return "refused"
        assert read(str(found)) == found, f"{text!r} reads as {found}, which reads as something else"
        return "read"

    return case


# ---- TOML -----------------------------------------------------------------------------------------------
TOML = [
    'study = "promotion"\n[grid]\npromoted = [0, 128]\nk = 4096\naccumulator = "HOPPER_FP8"\n',
    'function = "math:sqrt"\nstore = "a.sqlite"\nworkers = 2\n[grid]\nx = [1, 2.5, "a"]\n',
    'study = "promotion"\nkernel-threads = 1\n[[grid]]\nk = [32, 64]\n[[grid]]\noffset = 1.0\n',
]
KEYS = [
    'study = "x"',
    "study = 1",
    "function = []",
    "grid = 1",
    "grid = [1]",
    "grid = []",
    "[grid.k]",
    "k = {a = 1}",
    "k = []",
    "k = [[1, 2], [3]]",
    "k = inf",
    "k = nan",
    "k = 2020-01-01",
    "k = 12:00:00",
    "max-cells = 0",
    "max-cells = 1e3",
    "unknown = 1",
    "extend = 1",
    "store = []",
    "set = 'a=1'",
    "workers = -1",
    "help = true",
    "k = " + "[" * 5000 + "]" * 5000,
    "k = " + "9" * 5000,
    "k = " + "{a=" * 3000 + "1" + "}" * 3000,
    "a" + ".a" * 1000 + " = 1",
    "[" + "a." * 1000 + "a]",
    'k = "' + "x" * 100_000 + '"',
]


def toml(folder: Path) -> Callable[[random.Random, int], str]:
    """A case of a configuration file: what the command is asked for, and the grid that it would compute."""
    path = folder / "a.toml"
    parameter = next(one for one in sweep_command.params if one.name == "asked")

    def case(rng: random.Random, number: int) -> str:
        lines = rng.choice(TOML).splitlines()
        for _ in range(rng.choice([0, 1, 1, 2])):
            lines.insert(rng.randrange(len(lines) + 1), rng.choice(KEYS))
        if rng.random() < 0.3:
            del lines[rng.randrange(len(lines))]
        data = "\n".join(lines).encode()
        path.write_bytes(damage(rng, data) if rng.random() < 0.5 else data)
        try:
            asked = _sweep_options.read_argument(click.Context(sweep_command), parameter, str(path))
        except click.BadParameter as error:
            assert str(path) in str(error)
            return "refused"
        if "study" not in asked:
            return "read"
        try:
            sweep(asked["study"], asked.get("grid"), max_cells=0)
        except (TypeError, ValueError) as error:  # there are always more cells than that
            return "read" if "more than max_cells" in str(error) else "refused as a grid"
        raise AssertionError("a sweep of no cells at most came to an end")

    return case


KINDS = {"formats": 1500, "specs": 1500, "accumulators": 1500, "toml": 300}
"""The kinds of texts, and how many cases of each the tests try."""


def fuzz(kind: str, *, seed: int, cases: int | None = None, seconds: float | None = None) -> Counter[str]:
    """Read damaged texts of a kind, and return what became of how many."""
    with tempfile.TemporaryDirectory() as folder, little_memory():
        case = toml(Path(folder)) if kind == "toml" else one_text(kind)
        return run(case, name=kind, seed=seed, cases=cases, seconds=seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600, help="of all kinds together")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kind", choices=KINDS, action="append")
    asked = parser.parse_args()
    kinds = asked.kind or list(KINDS)
    for kind in kinds:
        counts = fuzz(kind, seed=asked.seed, seconds=asked.seconds / len(kinds))
        print(f"{kind}: {counts.total()} cases, {dict(counts.most_common())}", flush=True)


if __name__ == "__main__":
    main()
