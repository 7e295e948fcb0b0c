"""The subcommand ``precision check``, which tests somebody's quantizer or matrix product."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from precision._support._suggestions import did_you_mean
from precision._support._user_functions import import_function
from precision.accumulators._accumulator import Accumulator
from precision.accumulators._accumulator_text import parse as parse_accumulator
from precision.cli import _printed_tables
from precision.cli._shared_options import Parsed, errors_as_messages
from precision.cli._standard_streams import printing, say
from precision.formats._rounding_modes import Overflow, Rounding
from precision.quantization._quant_spec import QuantSpec
from precision.testing._reports import Report
from precision.testing.blocks._dequantizer_checks import check_dequantizer
from precision.testing.blocks._quantizer_checks import check_quantizer, parse_like
from precision.testing.matmuls._matmul_checks import check_matmul


def _member(kind: Any) -> Callable[[str], Any]:
    def read(text: str) -> Any:
        if text.upper() not in kind.__members__:
            near = did_you_mean(text.upper(), kind.__members__)
            raise ValueError(f"must be one of {', '.join(kind.__members__)}; got {text!r}{near}")
        return kind[text.upper()]

    return read


def _accumulator(text: str) -> Accumulator | None:
    """Return the accumulator that the text names, or None if it names none."""
    try:
        return parse_accumulator(text)
    except ValueError:
        return None


def _checked(fn: Callable[..., Any], options: dict[str, Any]) -> Report:
    convert = None
    if options["torch"]:
        from precision._support._optional_packages import require

        convert = require("torch", "examples").from_numpy
    unit = _accumulator(options["like"])
    if unit is not None:
        return check_matmul(
            fn,
            unit,
            operands=options["operands"],
            scales=None if options["scales"] is None else QuantSpec.parse(options["scales"]),
            exact=not options["bound"],
            ragged=not options["whole_blocks"],
            batches=not options["no_batches"],
            dtype=options["dtype"],
            convert=convert,
            time_limit=options["time_limit"],
        )
    like = parse_like(options["like"])
    shared = {"axis": options["axis"], "ragged": not options["whole_blocks"], "convert": convert}
    shared["time_limit"] = options["time_limit"]
    if options["dequantizer"]:
        return check_dequantizer(fn, like, integers=options["integers"], **shared)
    return check_quantizer(
        fn, like, rounding=options["rounding"], overflow=options["overflow"], dtype=options["dtype"], **shared
    )


@click.command()
@click.argument("function", type=Parsed(import_function), metavar="MODULE:FUNCTION")
@click.option("--like", required=True, metavar="TEXT", help="As mxfp8_e4m3, e4m3 or HOPPER_FP8.")
@click.option("--dequantizer", is_flag=True, help="The function turns codes into values.")
@click.option(
    "--rounding", type=Parsed(_member(Rounding)), metavar="MODE", help="Of a format (TIES_TO_EVEN)."
)
@click.option("--overflow", type=Parsed(_member(Overflow)), metavar="RULE", help="Of a format (SATURATE).")
@click.option("--axis", type=int, default=-1, show_default=True, help="Along which groups run.")
@click.option("--whole-blocks", is_flag=True, help="Try no lengths that blocks do not divide.")
@click.option("--integers", is_flag=True, help="Give a dequantizer unsigned integers, not ml_dtypes' types.")
@click.option(
    "--dtype",
    type=click.Choice(["float32", "float64", "float16", "bfloat16"]),
    default="float32",
    show_default=True,
    help="Of the numbers given; of a matrix product's result.",
)
@click.option(
    "--operands",
    type=click.Choice(["tensors", "codes", "values"]),
    default="tensors",
    show_default=True,
    help="What a matrix product takes.",
)
@click.option("--scales", metavar="SPEC", help="Of a matrix product's operands, as MXFP4.")
@click.option("--bound", is_flag=True, help="A matrix product need only lie within its error bound.")
@click.option("--no-batches", is_flag=True, help="A matrix product takes no stacks of matrices.")
@click.option("--torch", is_flag=True, help="Give tensors of PyTorch.")
@click.option(
    "--time-limit", type=click.FloatRange(0, min_open=True), metavar="SECONDS", help="For each call."
)
@click.option("--json", "as_json", is_flag=True, help="For machines.")
def check(function: Callable[..., Any], as_json: bool, **options: Any) -> None:
    """Try a quantizer or a matrix product on everything that is hard, and say what is wrong with it.

    MODULE:FUNCTION maps an array to codes (or values) for a format, and to codes and scales for a spec;
    two operands to their product for an accumulator.
    The exit status is 1 if a property does not hold.
    """
    with errors_as_messages():
        if options["dtype"] == "bfloat16":
            import ml_dtypes

            options["dtype"] = ml_dtypes.bfloat16
        report = _checked(function, options)
        if as_json:
            say(_printed_tables.as_json(report.to_dict()), end="")
        else:
            with printing():
                _printed_tables.print_report(_printed_tables.console(), report)
    if not report.ok:
        raise click.exceptions.Exit(1)
