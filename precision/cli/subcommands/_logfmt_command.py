"""``precision logfmt``: LogFMT-nBit beside other formats, on numbers and on the wire."""

from __future__ import annotations

import re
from typing import Any

import click

from precision import plots, specs
from precision._support.machine._threads import set_num_threads
from precision.cli import _printed_tables
from precision.cli._shared_options import Outputs, output_options, reads, said_plainly, with_progress
from precision.cli._source_options import source_argument, study_of
from precision.cost._all_to_all import PAPER_EP, ExpertParallel, Link
from precision.logfmt._logfmt_spec import LogFMT
from precision.specs._spec_text import AnySpec
from precision.studies._wire_comparison import DEFAULT_BITS, PEERS, Wire


def _widths(text: str) -> tuple[int, ...]:
    found: list[int] = []
    for part in text.split(","):
        ends = re.fullmatch(r"\s*(\d+)(?:\s*-\s*(\d+))?\s*", part)
        first, last = (int(ends[1]), int(ends[2] or ends[1])) if ends else (0, 0)
        if not 3 <= first <= last <= 16:
            raise ValueError(f"must be widths of 3 to 16, as 8, 6,8,10 or 4-12; got {text!r}")
        found += range(first, last + 1)
    return tuple(dict.fromkeys(found))


def _dispatch(text: str) -> AnySpec | None:
    return None if text == "same" else specs.parse(text)


@click.command()
@source_argument
@click.option(
    "--bits",
    callback=reads(_widths),
    default=f"{DEFAULT_BITS[0]}-{DEFAULT_BITS[-1]}",
    show_default=True,
    metavar="N,...",
    help="Widths of LogFMT: 8, 6,8,10 or 4-12.",
)
@click.option(
    "--spec",
    callback=reads(specs.parse),
    multiple=True,
    metavar="TEXT",
    help="Also this, as 'LogFMT(8, 64, space=LOG)', DEEPEP_LOGFMT10, MXFP6_E2M3 or fp16. Repeatable.",
)
@click.option(
    "--dispatch",
    callback=reads(_dispatch),
    default="e4m3",
    show_default=True,
    metavar="TEXT",
    help="What tokens go to the experts in; same: what they come back in. By default a byte a value without "
    "scales, as the paper counts it.",
)
@click.option(
    "--hidden",
    type=click.IntRange(1),
    default=PAPER_EP.hidden,
    show_default=True,
    help="Values of a token, as the paper counts them; DeepSeek-V3 has 7168.",
)
@click.option(
    "--tokens",
    type=click.IntRange(1),
    default=PAPER_EP.tokens,
    show_default=True,
    help="Of a micro-batch on one GPU.",
)
@click.option(
    "--experts",
    type=click.IntRange(1),
    default=PAPER_EP.experts_per_token,
    show_default=True,
    help="That a token is sent to, shared ones counted.",
)
@click.option("--layers", type=click.IntRange(1), default=PAPER_EP.layers, show_default=True)
@click.option(
    "--bandwidth",
    type=click.FloatRange(0, min_open=True),
    default=50.0,
    show_default=True,
    help="Of a GPU in one direction, in GB/s: 50 is InfiniBand at 400 Gb/s, 900 NVLink in a GB200 rack.",
)
@output_options("precision-logfmt.png")
def logfmt(**options: Any) -> None:
    """LogFMT-n beside FP8, MXFP8 and BF16: the errors of numbers, and the time to send them.

    FILE_OR_DISTRIBUTION is a .npy or .safetensors file, read tensor by tensor, or a distribution: normal,
    uniform, symmetric, laplace, lognormal, student_t or outliers. E4M3 and E5M2 have an FP32 scale for every
    1x128, as in DeepSeek-V3.

    The times are of expert parallelism's all-to-all in the arithmetic of arXiv 2505.09343, section 2.3.2:
    tokens go to the experts in --dispatch, and what is quantized here is what comes back (combine).
    """
    with said_plainly():
        outputs = Outputs.of(options)
        if options["threads"]:
            set_num_threads(options["threads"])
        wire = Wire(
            ep=ExpertParallel(
                layers=options["layers"],
                hidden=options["hidden"],
                experts_per_token=options["experts"],
                tokens=options["tokens"],
            ),
            link=Link(options["bandwidth"] * 1e9),
            dispatch=options["dispatch"],
        )
        compared = dict.fromkeys((*map(LogFMT, options["bits"]), *PEERS, *options["spec"]))
        study = study_of(options, compared)
        sent = wire.sent(study.rows())
        rows = list(with_progress(sent, len(study), lambda found: found.row.tensor or found.row.data))
        outputs.write(
            [row.flat() for row in rows],
            lambda: plots.error_over_bytes(rows, wire),
            lambda: _printed_tables.print_sent(_printed_tables.console(), rows, wire),
        )
