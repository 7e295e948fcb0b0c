"""``precision quantize``: what quantizing does to the numbers of a distribution or a file."""

from __future__ import annotations

from typing import Any

import click

from precision import plots, specs
from precision._support.machine._threads import set_num_threads
from precision.cli import _printed_tables
from precision.cli._shared_options import Outputs, output_options, reads, said_plainly, with_progress
from precision.cli._source_options import source_argument, study_of
from precision.quantization._scale_rules import ScaleRule
from precision.studies._spec_comparison import DEFAULT_SPECS, with_rules


def _rule(text: str) -> ScaleRule:
    if text.upper() not in ScaleRule.__members__:
        raise ValueError(f"must be one of {', '.join(ScaleRule.__members__)}; got {text!r}")
    return ScaleRule[text.upper()]


@click.command()
@source_argument
@click.option(
    "--spec",
    callback=reads(specs.parse),
    multiple=True,
    metavar="TEXT",
    help="As MXFP4, 'QuantSpec(e4m3, PerGroup(128))', 'LogFMT(8)' or, without scales, bf16. Repeatable; "
    "by default a dozen.",
)
@click.option(
    "--rule",
    callback=reads(_rule),
    multiple=True,
    metavar="RULE",
    help=f"Also try scales that are powers of two by this rule: {', '.join(ScaleRule.__members__)}. "
    "Repeatable.",
)
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
        study = study_of(options, with_rules(options["spec"] or DEFAULT_SPECS, options["rule"]))
        rows = list(with_progress(study.rows(), len(study), lambda row: row.tensor or row.data))
        outputs.write(
            [row.flat() for row in rows],
            lambda: plots.error_over_bits(rows),
            lambda: _printed_tables.print_fidelity(_printed_tables.console(), rows),
        )
