"""The study ``gemm``: the errors that accumulators make in a matrix product."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np

from precision import accumulators, metrics, specs
from precision._support._argument_checks import check_int
from precision._support._types import Array
from precision._support.machine._blas import check_blas
from precision._support.machine._float_environment import in_default_environment
from precision.accumulators._accumulator import Accumulator
from precision.formats._float_format import FloatFormat
from precision.formats._named import E4M3, parse_format
from precision.gemm._matrix_product import matmul
from precision.metrics._columns import number_text
from precision.metrics._distributions import DISTRIBUTIONS, draw
from precision.plots._columns import drop_failed_rows
from precision.quantization._granularity import Granularity, PerBlock, PerGroup, PerTensor, PerVector
from precision.quantization._quant_spec import QuantSpec
from precision.quantization._quantized_tensor import QuantizedTensor
from precision.studies import _parameters as reads
from precision.studies._command_options import Asked, Command, Option
from precision.studies._experiment import Study
from precision.studies._matrix_files import SIZE, Matrices, given_matrices
from precision.studies._parameters import named
from precision.studies._sections import Section, column_of, values_of
from precision.units._nvidia import HOPPER_BF16, HOPPER_FP8, HOPPER_FP16, HOPPER_TF32
from precision.units._plain_arithmetic import EXACT, FP32_FMA

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

Spec: TypeAlias = QuantSpec | FloatFormat
"""The spec by which an operand is quantized; a bare format rounds its values with a scale of 1."""

POWERS = tuple(2**i for i in range(7, 15))
"""The default K: powers of two from 128 to 16384."""

_TENSORWISE = QuantSpec(E4M3, PerTensor())


# ---- operands and accumulators ----------------------------------------------------------------------
class _Operands(NamedTuple):
    left: QuantizedTensor
    right: QuantizedTensor
    exact: Array  #: the product of the quantized operands, rounded once to float64
    original: Array  #: the product of the originals, by BLAS in float64


@functools.lru_cache(maxsize=1)
def _operands(
    data: str | Matrices, m: int, n: int, k: int, a_spec: Spec, b_spec: Spec, seed: int
) -> _Operands:
    if isinstance(data, Matrices):
        if m > data.a.shape[0] or n > data.b.shape[1] or k > data.a.shape[1]:
            raise ValueError(f"data has shapes {data.a.shape} and {data.b.shape}: too few for {(m, n, k)}")
        a, b = data.a[:m, :k], data.b[:k, :n]
    else:
        a, b = draw(data, (m, k), k_axis=1, seed=seed), draw(data, (k, n), k_axis=0, seed=seed)
    a_spec, b_spec = specs.for_operands(a_spec, b_spec)
    left, right = specs.quantize(a, a_spec, -1), specs.quantize(b, b_spec, -2)
    exact = matmul(left, right, accumulator=EXACT, dtype=np.float64)
    check_blas()
    return _Operands(left, right, exact, a.astype(np.float64) @ b.astype(np.float64))


def _scale_group(spec: Spec) -> int | None:
    """Return the elements of K under one scale of an operand, or None if one scale spans all of K."""
    return None if isinstance(spec, FloatFormat) else spec.granularity.block((1, 1))[-1]


def default_accumulators(a_spec: Spec, b_spec: Spec) -> tuple[Accumulator, ...]:
    """Choose accumulators to compare: forms of the Hopper unit that takes the operands, FP32_FMA and EXACT.

    If no scale changes along K, the forms are the unit itself, the unit promoted every 64 to 1024 of K, and
    the unit with other alignment widths. Else it is promoted at the divisors of the groups that it supports.
    """
    formats = {spec if isinstance(spec, FloatFormat) else spec.fmt for spec in (a_spec, b_spec)}
    groups = [group for group in map(_scale_group, (a_spec, b_spec)) if group is not None]
    unit = next(
        (u for u in (HOPPER_FP8, HOPPER_FP16, HOPPER_BF16, HOPPER_TF32) if formats <= set(u.operands)), None
    )
    chosen: list[Accumulator] = []
    if unit is not None:
        every = [n for n in (1024, 256, 128, 64, 32) if all(g % n == 0 for g in groups)]
        every = [n for n in every if n % unit.products == 0]
        widths = [f for f in (10, 16, 20, 25) if f != unit.fraction_bits]
        if not groups:
            chosen += [unit, *(unit.promoted(n) for n in every if n > 32), *map(unit.with_width, widths)]
        elif every:
            chosen += [unit.promoted(n) for n in every]
            chosen += [unit.with_width(f).promoted(every[0]) for f in widths]
    return (*chosen, FP32_FMA.promoted(min(groups)) if groups else FP32_FMA, EXACT)


# ---- a cell -----------------------------------------------------------------------------------------
@in_default_environment
def measure(
    *,
    data: str | Matrices = "normal",
    m: int = SIZE,
    n: int = SIZE,
    k: int = 4096,
    a_spec: Spec = _TENSORWISE,
    b_spec: Spec = _TENSORWISE,
    accumulator: Accumulator = HOPPER_FP8,
    seed: int = 0,
) -> dict[str, float]:
    """Quantize two matrices, multiply them with an accumulator, and measure its errors.

    Parameters
    ----------
    data : str or Matrices
        A key of `DISTRIBUTIONS`, from which both operands are drawn, or two matrices.
    m, n, k : int
        The sizes of the product (M, K) @ (K, N), for which given matrices are cut.
    a_spec, b_spec : QuantSpec or FloatFormat
        The specs by which the operands are quantized, with groups along K; a bare format means a scale of 1.
        If both round stochastically with one seed, b takes another (`precision.specs.for_operands`).
    accumulator : FusedSum, FmaChain or Exact
        The accumulator that sums the products.
    seed : int
        The seed of the draws.

    Returns
    -------
    dict
        Every measure of `metrics.report` twice: with the prefix ``accumulation_`` against the exact product
        of the *quantized* operands, what the accumulator got wrong; with ``total_`` against the float64
        product of the originals, what the user sees.

    Raises
    ------
    TypeError, ValueError
        As `quantize` and `matmul` raise them; if a size is too large for given matrices.

    Examples
    --------
    An H100 on U(0,1), without and with promotion:

    >>> import precision as pr
    >>> from precision.studies import study
    >>> cell = study("gemm").cell
    >>> for unit in (pr.HOPPER_FP8, pr.HOPPER_FP8.promoted(128)):
    ...     found = cell(data="uniform", m=16, n=16, accumulator=unit)
    ...     print(unit, f"{found['accumulation_signed_relative_error']:.0e}")
    HOPPER_FP8 -7e-02
    HOPPER_FP8.promoted(128) -6e-04
    """
    for name, size in (("m", m), ("n", n), ("k", k)):
        check_int(name, size, 1, 2**31 - 1)
    check_int("seed", seed, 0, 2**63 - 1)
    found = _operands(data, m, n, k, a_spec, b_spec, seed)
    result = matmul(found.left, found.right, accumulator=accumulator)
    values = {f"accumulation_{name}": v for name, v in metrics.report(result, found.exact).items()}
    return values | {f"total_{name}": v for name, v in metrics.report(result, found.original).items()}


# ---- the table --------------------------------------------------------------------------------------
_REFERENCES = {
    "accumulation": "accumulation alone: against the exact product of the quantized operands",
    "total": "quantization and accumulation: against the product of the originals",
}


def _title(data: str) -> str:
    return DISTRIBUTIONS[data].description if data in DISTRIBUTIONS else data


def _largest(table: pd.DataFrame) -> list[pd.DataFrame]:
    """Return for each kind of data the rows of its largest K."""
    return [rows[rows["k"] == rows["k"].max()] for _, rows in table.groupby("data", sort=False)]


def _names(rows: pd.DataFrame) -> list[str]:
    """Return the accumulators' texts, only the form (as .promoted(128)) of the unit on the line above."""
    names, unit = [], ""
    for text in rows["accumulator"]:
        before, (unit, dot, form) = unit, text.partition(".")
        names.append(f"  .{form}" if dot and unit == before else text)
    return names


def _sections(table: pd.DataFrame) -> list[Section]:
    """Return two sections for each kind of data at its largest K, one for each reference."""
    text = f"a: {table['a_spec'].iloc[0]}, b: {table['b_spec'].iloc[0]}\n\n"
    found = []
    for rows in _largest(table):
        m, n, k = (int(rows[size].iloc[0]) for size in ("m", "n", "k"))
        text += f"{_title(rows['data'].iloc[0])}, ({m}, {k}) @ ({k}, {n})\n\n"
        for reference, meaning in _REFERENCES.items():
            columns = [column_of(metrics.METRICS[name], f"{reference}_") for name in metrics.MEASURES]
            found.append(Section(text + meaning, {"accumulator": _names(rows)}, values_of(rows, columns)))
            text = ""
    return found


def answer(table: pd.DataFrame) -> str:
    """Say in sentences which accumulators err most and least, and what quantization alone loses."""
    column = "accumulation_norm_relative_error"
    rows = max(_largest(table), key=lambda rows: np.nan_to_num(rows[column].max()))
    exact = rows[rows["accumulator"] == str(EXACT)]
    others = rows[(rows["accumulator"] != str(EXACT)) & np.isfinite(rows[column])]
    if not len(others):
        return "No accumulator but EXACT has a finite error here: there is nothing to compare."
    worst, best = others.loc[others[column].idxmax()], others.loc[others[column].idxmin()]
    said = (
        f"At K = {worst['k']:,} on {_title(worst['data'])}, {worst['accumulator']} loses "
        f"{number_text(worst[column], '.1e')} of the product's norm in its sums"
    )
    if len(exact):
        alone = exact["total_norm_relative_error"].iloc[0]
        said += f", where quantization alone loses {number_text(alone, '.1e')}"
    if best["accumulator"] != worst["accumulator"]:
        said += f". {best['accumulator']} loses least, {number_text(best[column], '.1e')}"
    return f"{said}."


def draw_figure(table: pd.DataFrame) -> Figure:
    """Draw the errors of the sums over K, with a line for each accumulator and a panel a kind of data."""
    from precision import plots

    return plots.gemm_errors(drop_failed_rows(table))


# ---- the subcommand ---------------------------------------------------------------------------------
def _sizes(text: str) -> tuple[int, ...]:
    sizes = tuple(int(part) if part.strip().isdigit() else 0 for part in text.split(","))
    if min(sizes) < 1:
        raise ValueError(f"must be whole numbers of at least 1, with commas between them; got {text!r}")
    return sizes


def _float_format(text: str) -> FloatFormat:
    fmt = parse_format(text)
    if not isinstance(fmt, FloatFormat):
        raise ValueError(f"{text} is no floating-point format, and no accumulator here takes another")
    return fmt


def _spec(fmt: FloatFormat, scaling: str) -> Spec:
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


def _ask(options: Mapping[str, Any]) -> Asked:
    a_spec, b_spec = (
        _spec(options[f"{x}_format"] or options["format"], options[f"{x}_scaling"] or options["scaling"])
        for x in ("a", "b")
    )
    ks = sorted({k for sizes in options["k"] for k in sizes})
    given = given_matrices(options)
    sizes = {"m": options["m"] or SIZE, "n": options["n"] or SIZE}
    if given is not None:
        (m, most), n = given.a.shape, given.b.shape[1]
        if ks and ks[-1] > most:
            raise ValueError(f"--k {ks[-1]} is more than the operands' K = {most}")
        sizes = {"m": m, "n": n}
        # By default, K are the powers of two from 128 that fit, and all of K.
        ks = ks or [*(k for k in POWERS if k < most), most]
    chosen = options["accumulator"] or default_accumulators(a_spec, b_spec)
    data = options["distribution"] or ("normal", "uniform")
    return Asked(
        {
            "data": list(dict.fromkeys(data)) if given is None else [given],
            "k": ks or POWERS,
            "accumulator": list({str(one): one for one in chosen}.values()),
            "a_spec": a_spec,
            "b_spec": b_spec,
        }
        | sizes
    )


OPTIONS = (
    Option("m", int, least=1, help="Rows of a (128)."),
    Option("n", int, least=1, help="Columns of b (128)."),
    Option("k", _sizes, metavar="K,...", repeatable=True, help="K; several with commas (128 to 16384)."),
    Option(
        "distribution",
        reads.distribution("distribution"),
        repeatable=True,
        metavar="NAME",
        help=f"Of both operands (normal and uniform): {', '.join(DISTRIBUTIONS)}. Repeatable.",
    ),
    Option("format", _float_format, metavar="NAME", default="e4m3", help="Of both operands."),
    Option("a_format", _float_format, metavar="NAME", help="Of a."),
    Option("b_format", _float_format, metavar="NAME", help="Of b."),
    Option(
        "scaling",
        metavar="HOW",
        default="tensor",
        help="none, tensor, row (one scale for each row of a and column of b), 1x128 (groups along K), "
        "128x128.",
    ),
    Option("a_scaling", metavar="HOW", help="Of a."),
    Option("b_scaling", metavar="HOW", help="Of b."),
    Option(
        "accumulator",
        accumulators.parse,
        metavar="TEXT",
        repeatable=True,
        help="As 'HOPPER_FP8.promoted(128)', FP32_FMA or EXACT. Repeatable; by default those that fit.",
    ),
    Option("a", Path, help="Left operand (M, K): .npy or .safetensors."),
    Option("a_tensor", metavar="NAME", help="Tensor of --a."),
    Option("b", Path, help="Right operand (K, N): .npy or .safetensors."),
    Option("b_tensor", metavar="NAME", help="Tensor of --b."),
    Option("weights", Path, help="W, stored [out, in]: multiplies x @ W.T."),
    Option("tensor", metavar="NAME", help="Tensor of --weights."),
    Option("x", Path, help="x for --weights, as .npy (by default N(0,1), --m rows)."),
    Option("seed", int, least=0, default=0, help="Of the draws."),
)

STUDY = Study(
    name="gemm",
    question="What do accumulators make of a matrix product, and what does quantizing its operands?",
    cell=measure,
    grid={
        "data": ("normal", "uniform"),
        "k": POWERS,
        "accumulator": default_accumulators(_TENSORWISE, _TENSORWISE),
    },
    reads=named(
        ("accumulator", reads.accumulator),
        ("a_spec", reads.operand_spec),
        ("b_spec", reads.operand_spec),
        m=1,
        n=1,
        k=1,
        seed=0,
    )
    | {"data": reads.distribution_or("data", Matrices)},
    figure=draw_figure,
    sections=_sections,
    answer=answer,
    command=Command(
        help="""Compare accumulators on a matrix product: a table of errors, and a figure of them over K.

        Every accumulator is measured against two references: the exact product of the quantized operands
        (what it got wrong itself) and the product of the originals (what the user sees).
        """,
        options=OPTIONS,
        ask=_ask,
        columns=(
            "data", "m", "n", "k", "a_spec", "b_spec", "accumulator",
            *(f"{reference}_{name}" for reference in _REFERENCES for name in metrics.MEASURES),
        ),
    ),
)  # fmt: skip
