"""What ``precision quantize`` and ``precision logfmt`` share: which numbers to study."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

import click

from precision._support._suggestions import did_you_mean
from precision.cli._shared_options import name_of, reads
from precision.cli._standard_streams import say
from precision.metrics._distributions import DISTRIBUTIONS
from precision.specs._spec_text import AnySpec
from precision.studies._spec_comparison import QuantizationStudy, drawn, read_sources, suited

_SUFFIXES = (".npy", ".safetensors")
Command = TypeVar("Command", bound=Callable[..., Any])


def _shape(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", text)
    if found is None:
        raise ValueError(f"must be rows and columns, as 1024x4096; got {text!r}")
    return int(found[1]), int(found[2])


def source_argument(command: Command) -> Command:
    """The argument and the options that `study_of` reads, but for the specs."""
    options = (
        click.argument("data", metavar="FILE_OR_DISTRIBUTION"),
        click.option(
            "--tensor",
            multiple=True,
            metavar="NAME",
            help="Of a .safetensors file; repeatable. By default every floating-point tensor longer than 1.",
        ),
        click.option("--axis", type=int, default=-1, show_default=True, help="Along which groups run."),
        click.option("--shape", callback=reads(_shape), metavar="MxN", help="Of a distribution (1024x4096)."),
        click.option(
            "--seed", type=click.IntRange(0), default=0, show_default=True, help="Of a distribution."
        ),
        click.option("--threads", type=click.IntRange(1), help="By default the CPUs of this process."),
    )
    for option in reversed(options):
        command = option(command)
    return command


def study_of(options: dict[str, Any], specs: Iterable[AnySpec]) -> QuantizationStudy:
    """The study that a command's options ask for."""
    data, axis, specs = options["data"], options["axis"], tuple(specs)
    if data in DISTRIBUTIONS:
        if options["tensor"]:
            raise click.UsageError(f"--tensor is of a file, and {data} is a distribution")
        source = drawn(data, options["shape"] or (1024, 4096), axis=axis, seed=options["seed"])
        return QuantizationStudy(data=data, sources=(source,), specs=specs, axis=axis)
    path = Path(data)
    if not path.is_file():
        hint = did_you_mean(data, DISTRIBUTIONS)
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
            say(f"left out: {len(reasons)} of {len(sources)} tensors, as {name}: {reason}", err=True)
        sources = kept or sources
    return QuantizationStudy(data=name_of(path), sources=sources, specs=specs, axis=axis)
