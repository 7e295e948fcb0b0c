"""``precision quantize``: what quantizing does to the numbers of a distribution or a file."""

from __future__ import annotations

import difflib
import re
from pathlib import Path
from typing import Any

import click

from precision import _tables, plots
from precision._command_line import Outputs, output_options, reads, said_plainly, with_progress
from precision._kernels._threads import set_num_threads
from precision.quantization_study import (
    DEFAULT_SPECS,
    QuantizationStudy,
    drawn,
    read_sources,
    suited,
    with_rules,
)
from precision.quantized import QuantSpec
from precision.scaling import ScaleRule
from precision.sweep import DISTRIBUTIONS

_SUFFIXES = (".npy", ".safetensors")


def _shape(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", text)
    if found is None:
        raise ValueError(f"must be rows and columns, as 1024x4096; got {text!r}")
    return int(found[1]), int(found[2])


def _rule(text: str) -> ScaleRule:
    if text.upper() not in ScaleRule.__members__:
        raise ValueError(f"must be one of {', '.join(ScaleRule.__members__)}; got {text!r}")
    return ScaleRule[text.upper()]


def _study(options: dict[str, Any]) -> QuantizationStudy:
    data, axis = options["data"], options["axis"]
    specs = with_rules(options["spec"] or DEFAULT_SPECS, options["rule"])
    if data in DISTRIBUTIONS:
        if options["tensor"]:
            raise click.UsageError(f"--tensor is of a file, and {data} is a distribution")
        source = drawn(data, options["shape"] or (1024, 4096), axis=axis, seed=options["seed"])
        return QuantizationStudy(data=data, sources=(source,), specs=specs, axis=axis)
    path = Path(data)
    if not path.is_file():
        near = difflib.get_close_matches(data, DISTRIBUTIONS, n=1)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        missing = f"there is no file {data}" if path.suffix in _SUFFIXES else f"got {data!r}"
        raise ValueError(
            f"FILE_OR_DISTRIBUTION must be one of {', '.join(DISTRIBUTIONS)}, or a .npy or .safetensors "
            f"file; {missing}{hint}"
        )
    if options["shape"]:
        raise click.UsageError("--shape is of a distribution; a file's arrays have their own")
    sources = read_sources(path, options["tensor"])
    if not options["tensor"] and len(sources) > 1:
        # Of a whole file, what all specs can quantize; where that is nothing, the study says why.
        kept, reasons = suited(sources, specs, axis=axis)
        if kept and reasons:
            name, reason = next(iter(reasons.items()))
            click.echo(f"left out: {len(reasons)} of {len(sources)} tensors, as {name}: {reason}", err=True)
        sources = kept or sources
    return QuantizationStudy(data=path.name, sources=sources, specs=specs, axis=axis)


@click.command()
@click.argument("data", metavar="FILE_OR_DISTRIBUTION")
@click.option(
    "--tensor",
    multiple=True,
    metavar="NAME",
    help="Of a .safetensors file; repeatable. By default every floating-point tensor longer than 1.",
)
@click.option(
    "--spec",
    callback=reads(QuantSpec.parse),
    multiple=True,
    metavar="TEXT",
    help="As MXFP4 or 'QuantSpec(e4m3, PerGroup(128))'. Repeatable; by default a dozen.",
)
@click.option(
    "--rule",
    callback=reads(_rule),
    multiple=True,
    metavar="RULE",
    help=f"Also try scales that are powers of two by this rule: {', '.join(ScaleRule.__members__)}. "
    "Repeatable.",
)
@click.option("--axis", type=int, default=-1, show_default=True, help="Along which groups run.")
@click.option("--shape", callback=reads(_shape), metavar="MxN", help="Of a distribution (1024x4096).")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of a distribution.")
@click.option("--threads", type=click.IntRange(1), help="By default the CPUs of this process.")
@output_options("precision-quantize.png")
def quantize(**options: Any) -> None:
    """What quantizing does to numbers: bits, errors, and how many are clipped or flushed to zero.

    FILE_OR_DISTRIBUTION is a .npy or .safetensors file, read tensor by tensor, or a distribution: normal,
    uniform, symmetric, laplace, lognormal, student_t or outliers.
    """
    with said_plainly():
        outputs = Outputs.of(options)
        if options["threads"]:
            set_num_threads(options["threads"])
        study = _study(options)
        rows = list(with_progress(study.rows(), len(study), lambda row: row.tensor or row.data))
        if not outputs.piped:
            _tables.print_fidelity(_tables.console(), rows)
        outputs.write([row.flat() for row in rows], lambda: plots.error_over_bits(rows))
