"""``precision gemm``: accumulators compared on a matrix product."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click
import numpy as np

from precision import plots
from precision._support._types import Array
from precision._support.machine._threads import set_num_threads
from precision.accumulators._accumulator_text import parse as parse_accumulator
from precision.cli import _printed_tables
from precision.cli._shared_options import (
    FILE,
    Outputs,
    name_of,
    output_options,
    reads,
    said_plainly,
    with_progress,
)
from precision.formats._float_format import FloatFormat
from precision.formats._named import parse_format
from precision.metrics import _distributions
from precision.quantization._granularity import Granularity, PerBlock, PerGroup, PerTensor, PerVector
from precision.quantization._quant_spec import QuantSpec
from precision.storage._array_files import read_tensor
from precision.studies import _product_comparison


# ---- what the options mean --------------------------------------------------------------------------
def _sizes(text: str) -> tuple[int, ...]:
    sizes = tuple(int(part) if part.strip().isdigit() else 0 for part in text.split(","))
    if min(sizes) < 1:
        raise ValueError(f"must be whole numbers of at least 1, with commas between them; got {text!r}")
    return sizes


def _distribution(text: str) -> str:
    _distributions.draw(text, (1, 1), k_axis=0)
    return text


def _float_format(text: str) -> FloatFormat:
    fmt = parse_format(text)
    if not isinstance(fmt, FloatFormat):
        raise ValueError(f"{text} is no floating-point format, and no accumulator here takes another")
    return fmt


def _spec(fmt: FloatFormat, scaling: str) -> _product_comparison.Spec:
    known: dict[str, Granularity] = {"tensor": PerTensor(), "row": PerVector()}
    if scaling == "none":
        return fmt
    if scaling in known:
        return QuantSpec(fmt, known[scaling])
    found = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", scaling)
    if found is None:
        raise ValueError(f"scaling must be none, tensor, row, or a block (1x128, 128x128); got {scaling!r}")
    rows, columns = int(found[1]), int(found[2])
    return QuantSpec(fmt, PerGroup(columns) if rows == 1 else PerBlock(rows, columns))


# ---- operands from files ----------------------------------------------------------------------------
def _matrix(path: Path, tensor: str | None, what: str) -> Array:
    array = read_tensor(path, tensor, unpacked=True)
    named = f"{what} ({path}{f', {tensor}' if tensor else ''})"
    if array.ndim != 2 or array.size == 0:
        raise ValueError(f"{named} must be a matrix with elements, got shape {array.shape}")
    if array.dtype.kind in "iub":
        raise ValueError(f"{named} must be floating-point, got {array.dtype}")
    if array.dtype.kind == "c":
        raise ValueError(f"{named} must be real, got {array.dtype}")
    return array if array.dtype == np.float64 else array.astype(np.float32)


def _operands(options: dict[str, Any]) -> tuple[Array, Array, str] | None:
    """Both matrices and what to call them, or None if the operands are to be drawn."""
    a, b, weights, x = (options[name] for name in ("a", "b", "weights", "x"))
    if (a is None) != (b is None):
        raise click.UsageError("--a and --b go together")
    if weights is not None and a is not None:
        raise click.UsageError("give --a and --b, or --weights, not both")
    if weights is None and (x is not None or options["tensor"] is not None):
        raise click.UsageError("--x and --tensor belong to --weights")
    if a is None and (options["a_tensor"] or options["b_tensor"]):
        raise click.UsageError("--a-tensor and --b-tensor belong to --a and --b")
    if a is not None:
        left, right = _matrix(a, options["a_tensor"], "a"), _matrix(b, options["b_tensor"], "b")
        if left.shape[1] != right.shape[0]:
            raise ValueError(
                f"a has shape {left.shape} and b {right.shape}: a's columns must be as many as b's rows"
            )
        return left, right, f"{name_of(a)} @ {name_of(b)}"
    if weights is None:
        return None
    w = _matrix(weights, options["tensor"], "weights")
    called = options["tensor"] or name_of(weights)
    if x is None:
        m = options["m"] or 128
        left = _distributions.draw("normal", (m, w.shape[1]), k_axis=1, seed=options["seed"])
        return left, w.T, f"N(0,1) @ {called}.T"
    left = _matrix(x, None, "x")
    if left.shape[1] != w.shape[1]:
        raise ValueError(
            f"x has shape {left.shape} and the weights {w.shape} ([out, in]): both need as many columns"
        )
    return left, w.T, f"{name_of(x)} @ {called}.T"


def _prefixes(k: int, wanted: tuple[int, ...]) -> tuple[int, ...]:
    """The parts of K to multiply: those asked for, else powers of two from 128, and all of it."""
    if wanted and max(wanted) > k:
        raise ValueError(f"--k {max(wanted)} is more than the operands' K = {k}")
    return wanted or (*(n for n in _product_comparison.POWERS if n < k), k)


def _study(options: dict[str, Any]) -> tuple[int, Iterable[_product_comparison.ProductRow]]:
    """How many rows there will be, and the rows as they come."""
    a_spec, b_spec = (
        _spec(options[f"{x}_format"] or options["format"], options[f"{x}_scaling"] or options["scaling"])
        for x in ("a", "b")
    )
    ks = tuple(sorted({k for sizes in options["k"] for k in sizes}))
    accumulators = options["accumulator"] or _product_comparison.default_accumulators(a_spec, b_spec)
    operands = _operands(options)
    if operands is None:
        study = _product_comparison.GemmStudy(
            m=options["m"] or 128,
            n=options["n"] or 128,
            ks=ks or _product_comparison.POWERS,
            distributions=options["distribution"] or ("normal", "uniform"),
            a_spec=a_spec,
            b_spec=b_spec,
            accumulators=accumulators,
            seed=options["seed"],
        )
        return len(study), study.rows()
    a, b, data = operands
    if options["distribution"]:
        raise click.UsageError("--distribution draws both operands: leave it out where files are given")
    if options["n"] or (options["m"] and not (options["weights"] and options["x"] is None)):
        raise click.UsageError("--m and --n are the files' own: leave them out")
    chosen = _prefixes(a.shape[1], ks)
    rows = (
        row
        for k in chosen
        for row in _product_comparison.compare(
            a[:, :k], b[:k], a_spec=a_spec, b_spec=b_spec, accumulators=accumulators, data=data
        )
    )
    return len(chosen) * len(accumulators), rows


# ---- the command ------------------------------------------------------------------------------------
@click.command()
@click.option("--m", type=click.IntRange(1), help="Rows of a (128).")
@click.option("--n", type=click.IntRange(1), help="Columns of b (128).")
@click.option(
    "--k",
    callback=reads(_sizes),
    metavar="K,...",
    multiple=True,
    help="K; several with commas (128 to 16384).",
)
@click.option(
    "--distribution",
    callback=reads(_distribution),
    multiple=True,
    metavar="NAME",
    help=f"Of both operands (normal and uniform): {', '.join(_distributions.DISTRIBUTIONS)}. Repeatable.",
)
@click.option(
    "--format",
    callback=reads(_float_format),
    metavar="NAME",
    default="e4m3",
    help="Of both operands.",
    show_default=True,
)
@click.option("--a-format", callback=reads(_float_format), metavar="NAME", help="Of a.")
@click.option("--b-format", callback=reads(_float_format), metavar="NAME", help="Of b.")
@click.option(
    "--scaling",
    metavar="HOW",
    default="tensor",
    show_default=True,
    help="none, tensor, row (one scale for each row of a and column of b), 1x128 (groups along K), 128x128.",
)
@click.option("--a-scaling", metavar="HOW", help="Of a.")
@click.option("--b-scaling", metavar="HOW", help="Of b.")
@click.option(
    "--accumulator",
    callback=reads(parse_accumulator),
    metavar="TEXT",
    multiple=True,
    help="As 'HOPPER_FP8.promoted(128)', FP32_FMA or EXACT. Repeatable; by default those that fit.",
)
@click.option("--a", type=FILE, help="Left operand (M, K): .npy or .safetensors.")
@click.option("--a-tensor", metavar="NAME", help="Tensor of --a.")
@click.option("--b", type=FILE, help="Right operand (K, N): .npy or .safetensors.")
@click.option("--b-tensor", metavar="NAME", help="Tensor of --b.")
@click.option("--weights", type=FILE, help="W, stored [out, in]: multiplies x @ W.T.")
@click.option("--tensor", metavar="NAME", help="Tensor of --weights.")
@click.option("--x", type=FILE, help="x for --weights, as .npy (by default N(0,1), --m rows).")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--threads", type=click.IntRange(1), help="By default the CPUs of this process.")
@output_options("precision-gemm.png")
def gemm(**options: Any) -> None:
    """Compare accumulators on a matrix product: a table of errors, and a figure of them over K.

    Every accumulator is measured against two references: the exact product of the quantized operands
    (what it got wrong itself) and the product of the originals (what the user sees).
    """
    with said_plainly():
        outputs = Outputs.of(options)
        if options["threads"]:
            set_num_threads(options["threads"])
        total, coming = _study(options)
        rows = list(with_progress(coming, total, lambda row: f"K = {row.k}"))
        outputs.write(
            [row.flat() for row in rows],
            lambda: plots.gemm_errors(rows),
            lambda: _printed_tables.print_errors(_printed_tables.console(), rows),
        )
