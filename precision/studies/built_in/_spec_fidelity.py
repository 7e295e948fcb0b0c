"""The study ``quantize``: the errors and the sizes of specs on a distribution or a file."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from precision import specs
from precision._support.machine._float_environment import in_default_environment
from precision.formats._int_format import IntFormat
from precision.formats._named import E4M3
from precision.plots._columns import drop_failed_rows, pareto_front
from precision.quantization import _microscaling
from precision.quantization._granularity import PerGroup, PerTensor, PerVector
from precision.quantization._quant_spec import QuantSpec
from precision.quantization._scale_rules import ScaleRule
from precision.specs._spec_text import AnySpec
from precision.studies import _array_sources, _spec_tallies
from precision.studies import _parameters as reads
from precision.studies._array_sources import Arrays
from precision.studies._command_options import Asked, Command, Option
from precision.studies._experiment import Study
from precision.studies._parameters import ARRAYS
from precision.studies._sections import Section
from precision.studies._spec_tallies import BIAS, BITS, CLIPPED, FLUSHED, LARGEST, SQNR

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

SPECS: tuple[QuantSpec, ...] = (
    _microscaling.MXFP8_E4M3,
    _microscaling.MXFP8_E5M2,
    _microscaling.MXFP6_E2M3,
    _microscaling.MXFP6_E3M2,
    _microscaling.MXFP4,
    _microscaling.NVFP4,
    _microscaling.MXINT8,
    _microscaling.MXINT4,
    _microscaling.NVINT4,
    QuantSpec(E4M3, PerGroup(128)),
    QuantSpec(E4M3, PerTensor()),
    QuantSpec(IntFormat(8), PerVector()),
)
"""The specs that are compared by default: microscaling formats, and FP8 and INT8 with FP32 scales."""


@in_default_environment
def measure(
    *,
    data: str | Arrays = "normal",
    tensor: str = "",
    spec: AnySpec = _microscaling.MXFP8_E4M3,
    axis: int = -1,
    rows: int = 1024,
    columns: int = 4096,
    seed: int = 0,
) -> dict[str, Any]:
    """Quantize an array, and count its bits, its errors and its clipped and flushed elements.

    Parameters
    ----------
    data : str or Arrays
        A key of `DISTRIBUTIONS`, from which a matrix is drawn, or given arrays.
    tensor : str
        The name of one of the arrays; empty if there is only one, and for a distribution.
    spec : QuantSpec, LogFMT or FloatFormat
        The spec to quantize by; a bare format rounds the elements without scales.
    axis : int
        The axis along which groups run, and channels lie, if the distribution has channels.
    rows, columns : int
        The sizes of a matrix that is drawn.
    seed : int
        The seed of the draws.

    Returns
    -------
    dict
        ``shape`` as text, and everything that `Tally` counts, sums and measures.

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong type or range, or the spec does not suit the array.

    Examples
    --------
    >>> import precision as pr
    >>> from precision.studies import study
    >>> cell = study("quantize").cell
    >>> found = [cell(spec=spec, rows=64, columns=128) for spec in (pr.MXFP8_E4M3, pr.MXFP4)]
    >>> [(round(values["sqnr_db"]), values["bits_per_element"], values["shape"]) for values in found]
    [(31, 8.25, '64x128'), (19, 4.25, '64x128')]
    """
    shape, found = _spec_tallies.measured(data, tensor, spec, axis, rows, columns, seed)
    return {"shape": "x".join(map(str, shape))} | _spec_tallies.values(found)


def with_rules(specs: Iterable[AnySpec], rules: Iterable[ScaleRule]) -> tuple[AnySpec, ...]:
    """Return specs, with copies under other scale rules after each spec whose scales are powers of two.

    Raises
    ------
    ValueError
        If there are rules, and no spec has scales that are powers of two.
    """
    rules, any_powers = tuple(rules), False
    found: list[AnySpec] = []
    for spec in specs:
        found.append(spec)
        if not isinstance(spec, QuantSpec):
            continue
        if spec.scale_rule.gives_powers_of_two or not spec.scale_format.fraction_bits:
            any_powers = True
            found += [dataclasses.replace(spec, scale_rule=rule) for rule in rules]
    if rules and not any_powers:
        raise ValueError(
            f"rules ({', '.join(map(str, rules))}) are for specs whose scales are powers of two, "
            f"got {', '.join(map(str, found))}"
        )
    return tuple(dict.fromkeys(found))


def draw_figure(table: pd.DataFrame) -> Figure:
    """Draw SQNR over bits, with a point for each spec and a panel for each kind of data."""
    from precision import plots

    return plots.error_over_bits(drop_failed_rows(table))


def _sections(table: pd.DataFrame) -> list[Section]:
    return _spec_tallies.sections(table, (BITS, SQNR, CLIPPED, FLUSHED, LARGEST, BIAS))


def answer(table: pd.DataFrame) -> str:
    """Name the most exact spec, and those of the Pareto front, in one or two sentences."""
    rows = _spec_tallies.whole(table)
    if not len(rows):
        return "No spec has a finite error here: there is nothing to compare."
    points = {
        (bits, sqnr): text
        for text, bits, sqnr in zip(rows["spec"], rows["bits_per_element"], rows["sqnr_db"], strict=True)
    }
    best = [(points[point], *point) for point in pareto_front(list(points))]
    text, bits, sqnr = best[-1]
    said = f"{_spec_tallies.title_of(rows)}: {text} is the most exact, {sqnr:.1f} dB at {bits:.2f} bits."
    if len(best) > 1:
        others = ", ".join(f"{text} ({sqnr:.1f} dB at {bits:.2f} bits)" for text, bits, sqnr in best[:-1])
        said += f" No spec as small is more exact than {others}."
    return said


def _ask(options: Mapping[str, Any]) -> Asked:
    return _array_sources.axes(options, with_rules(options["spec"] or SPECS, options["rule"]))


STUDY = Study(
    name="quantize",
    question="What does quantizing do to the numbers of a distribution or a file?",
    cell=measure,
    grid={"data": ("normal", "outliers"), "tensor": ("",), "spec": SPECS},
    reads=ARRAYS | {"spec": reads.any_spec("spec")},
    figure=draw_figure,
    sections=_sections,
    answer=answer,
    command=Command(
        help=f"""Quantize numbers, and show bits, errors, and how many are clipped or flushed to zero.

        {_array_sources.DESCRIPTION}
        """,
        options=(
            *_array_sources.OPTIONS,
            Option(
                "spec",
                specs.parse,
                repeatable=True,
                metavar="TEXT",
                help="As MXFP4, 'QuantSpec(e4m3, PerGroup(128))', 'LogFMT(8)' or, without scales, bf16. "
                "Repeatable; by default a dozen.",
            ),
            Option(
                "rule",
                lambda text: reads.scale_rule("rule")(text.upper()),
                repeatable=True,
                metavar="RULE",
                help="Also try scales that are powers of two by this rule: "
                f"{', '.join(ScaleRule.__members__)}. Repeatable.",
            ),
        ),
        ask=_ask,
        columns=_spec_tallies.COLUMNS,
        complete=_spec_tallies.with_totals,
    ),
)
