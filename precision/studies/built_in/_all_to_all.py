"""The study ``all_to_all``: the errors of LogFMT and its peers, and their cost in an all-to-all exchange."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from precision import specs
from precision._support.machine._float_environment import in_default_environment
from precision.cost._all_to_all import CX7_IB, PAPER_EP, ExpertParallel, Link
from precision.cost._payload_bits import bits_per_element
from precision.formats._named import BF16, E4M3, E5M2
from precision.logfmt._logfmt_spec import LogFMT
from precision.metrics._fidelity import Tally
from precision.plots._columns import drop_failed_rows
from precision.quantization._granularity import PerGroup
from precision.quantization._microscaling import MXFP8_E4M3, MXFP8_E5M2
from precision.quantization._quant_spec import QuantSpec
from precision.specs._spec_text import AnySpec
from precision.studies import _array_sources, _spec_tallies
from precision.studies import _parameters as reads
from precision.studies._array_sources import Arrays
from precision.studies._command_options import Asked, Command, Option
from precision.studies._experiment import Study
from precision.studies._parameters import ARRAYS, named
from precision.studies._sections import Column, Section
from precision.studies._spec_tallies import BIAS, LARGEST, SQNR

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

BITS = tuple(range(4, 13))
"""The widths of LogFMT that are compared by default."""

_LOGFMT_8 = LogFMT(8)
FP8 = QuantSpec(E4M3, PerGroup(128))
PEERS: tuple[AnySpec, ...] = (FP8, QuantSpec(E5M2, PerGroup(128)), MXFP8_E4M3, MXFP8_E5M2, BF16)
"""The specs that LogFMT is compared with: FP8 with FP32 scales of 1x128 as in DeepSeek-V3, MXFP8, BF16."""

SAME = "same"
"""A word in the place of a spec: tokens are sent in the spec in which the results come back."""


@in_default_environment
def measure(
    *,
    data: str | Arrays = "normal",
    tensor: str = "",
    spec: AnySpec = _LOGFMT_8,
    axis: int = -1,
    rows: int = 1024,
    columns: int = 4096,
    seed: int = 0,
    dispatch: AnySpec | str = E4M3,
    hidden: int = PAPER_EP.hidden,
    tokens: int = PAPER_EP.tokens,
    experts: int = PAPER_EP.experts_per_token,
    layers: int = PAPER_EP.layers,
    bandwidth: float = CX7_IB.bandwidth / 1e9,
    latency: float = 0.0,
) -> dict[str, Any]:
    """Measure the errors of a spec on an array, and the time of an all-to-all exchange in that spec.

    Parameters
    ----------
    data, tensor, axis, rows, columns, seed
        As in the study ``quantize``.
    spec : QuantSpec, LogFMT or FloatFormat
        The spec in which the experts' outputs come back (combine).
    dispatch : QuantSpec, LogFMT, FloatFormat or "same"
        The spec in which tokens are sent to the experts; by default a byte a value without scales, as the
        paper counts it (arXiv 2505.09343, section 2.3.2). "same" is the spec in which they come back.
    hidden, tokens, experts, layers : int
        The values of a token, the tokens of a micro-batch, the experts that each token is sent to, and the
        layers (`ExpertParallel`).
    bandwidth : float
        The bandwidth of a GPU in one direction, in GB/s.
    latency : float
        The seconds before the first byte arrives.

    Returns
    -------
    dict
        The measures of the study ``quantize``; then the bytes that are sent and the seconds that this takes.
        For a LogFMT with a fallback they are counted from the array, since the numbers decide how many tiles
        are cast.

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong type or range, or a spec does not suit the array or a token.

    Examples
    --------
    The paper's 120.96 µs are for FP8 to the experts and BF16 back:

    >>> import precision as pr
    >>> from precision.studies import study
    >>> for spec in (pr.LogFMT(8), pr.BF16):
    ...     found = study("all_to_all").cell(spec=spec, rows=64, columns=256)
    ...     sqnr, once = found["sqnr_db"], 1e6 * found["seconds_per_micro_batch"]
    ...     print(f"{spec!s:14} {sqnr:.0f} dB  {found['combine_bytes_per_element']:.4f} bytes  {once:.2f} µs")
    LogFMT(8, 128) 37 dB  1.0629 bytes  83.17 µs
    bf16           56 dB  2.0000 bytes  120.96 µs
    """
    ep, link = _wire(locals())
    shape, found = _spec_tallies.measured(data, tensor, spec, axis, rows, columns, seed)
    sent = _sent(spec, dispatch, ep, link, found)
    return {"shape": "x".join(map(str, shape))} | _spec_tallies.values(found) | sent


def _wire(values: Mapping[str, Any]) -> tuple[ExpertParallel, Link]:
    """Build the model of the exchange and its network link from a cell's parameters or a row's columns."""
    ep = ExpertParallel(
        layers=values["layers"],
        hidden=values["hidden"],
        experts_per_token=values["experts"],
        tokens=values["tokens"],
    )
    return ep, Link(values["bandwidth"] * 1e9, values.get("latency", 0.0))


def _sent(
    spec: AnySpec, dispatch: AnySpec | str, ep: ExpertParallel, link: Link, found: Tally
) -> dict[str, Any]:
    """Return the bytes that an exchange sends and the seconds that it takes, by the names of columns."""
    token = (ep.tokens, ep.hidden)
    counted = isinstance(spec, LogFMT) and spec.fallback is not None
    combine = found.bits_per_element if counted else bits_per_element(spec, token)
    there = combine if isinstance(dispatch, str) else bits_per_element(dispatch, token)
    time = ep.time(link, dispatch=there, combine=combine)
    return {
        "combine": str(spec),
        "combine_bytes_per_element": combine / 8,
        "dispatch_bytes": time.dispatch_bytes,
        "combine_bytes": time.combine_bytes,
        "seconds_dispatch": time.dispatch,
        "seconds_combine": time.combine,
        "seconds_per_micro_batch": time.per_micro_batch,
        "seconds_per_layer": time.per_layer,
        "seconds_per_token": time.per_token,
        "tokens_per_second": time.tokens_per_second,
    }


def _total(row: dict[str, Any], found: Tally) -> dict[str, Any]:
    """Return the columns of the exchange for the total of a file, from its row and its tally."""
    dispatch = row["dispatch"] if row["dispatch"] == SAME else specs.parse(row["dispatch"])
    return _sent(specs.parse(row["spec"]), dispatch, *_wire(row), found)


def complete(table: pd.DataFrame) -> pd.DataFrame:
    """Add the totals of a file to the table, and replace "same" in its dispatch by the row's spec."""
    table = _spec_tallies.with_totals(table, _total)
    return table.assign(dispatch=table["dispatch"].where(table["dispatch"] != SAME, table["spec"]))


def draw_figure(table: pd.DataFrame) -> Figure:
    """Draw SQNR over the bytes that are sent, with a panel for each kind of data."""
    from precision import plots

    return plots.error_over_bytes(drop_failed_rows(table))


def _microseconds(value: float) -> str:
    return f"{1e6 * value:.2f}"


def _sections(table: pd.DataFrame) -> list[Section]:
    columns = (
        Column("bytes /\nelement", "combine_bytes_per_element", lambda v: f"{v:.4f}"),
        SQNR,
        LARGEST,
        BIAS,
        Column("dispatch\nµs", "seconds_dispatch", _microseconds),
        Column("combine\nµs", "seconds_combine", _microseconds),
        Column("both\nµs", "seconds_per_micro_batch", _microseconds),
        Column("token\nms", "seconds_per_token", lambda v: f"{1e3 * v:.2f}"),
    )
    first, *others = _spec_tallies.sections(table, columns)
    row = table.iloc[0]
    same = (table["dispatch"].isin([SAME]) | (table["dispatch"] == table["spec"])).all()
    there = "in the row's format, too" if same else f"in {row['dispatch']}"
    text = (
        f"all-to-all: {row['tokens']:,} tokens to {row['experts']} experts each, {row['hidden']:,} values, "
        f"{row['bandwidth']:g} GB/s; token: {row['layers']} layers\n"
        f"to the experts (dispatch) {there}; back (combine) in the row's format\n\n{first.text}"
    )
    return [first._replace(text=text), *others]


def answer(table: pd.DataFrame) -> str:
    """Say in sentences what the smallest and the largest spec cost, and which of FP8's size is most exact."""
    rows = _spec_tallies.whole(table)
    if not len(rows):
        return "No spec has a finite error here: there is nothing to compare."
    sizes = rows["combine_bytes_per_element"]
    small, large = rows.loc[sizes.idxmin()], rows.loc[sizes.idxmax()]

    def cost(row: Any) -> str:
        return (
            f"{_microseconds(row['seconds_per_micro_batch'])} µs with {row['spec']} ({row['sqnr_db']:.1f} dB)"
        )

    said = f"Both ways take {cost(small)}"
    said += f", and {cost(large)}." if large["spec"] != small["spec"] else "."
    peers = rows[rows["spec"] == str(FP8)]
    if len(peers):
        peer = peers.iloc[0]
        # LogFMT stores two numbers a tile where FP8 has one scale: 5 % more counts as the same size.
        fits = rows[sizes <= 1.05 * peer["combine_bytes_per_element"]]
        best = fits.loc[fits["sqnr_db"].idxmax()]
        if best["spec"] != peer["spec"]:
            gain = best["sqnr_db"] - peer["sqnr_db"]
            said += f" Of specs of the size of {FP8}, {best['spec']} is the most exact, by {gain:.1f} dB."
        else:
            said += f" No spec of its size is more exact than {FP8}, {peer['sqnr_db']:.1f} dB."
    return said


# ---- the subcommand ---------------------------------------------------------------------------------
def _widths(text: str) -> tuple[int, ...]:
    found: list[int] = []
    for part in text.split(","):
        ends = re.fullmatch(r"\s*(\d+)(?:\s*-\s*(\d+))?\s*", part)
        first, last = (int(ends[1]), int(ends[2] or ends[1])) if ends else (0, 0)
        if not 3 <= first <= last <= 16:
            raise ValueError(f"must be widths of 3 to 16, as 8, 6,8,10 or 4-12; got {text!r}")
        found += range(first, last + 1)
    return tuple(dict.fromkeys(found))


def _dispatch(text: str) -> AnySpec | str:
    return SAME if text == SAME else specs.parse(text)


def _ask(options: Mapping[str, Any]) -> Asked:
    _wire(options)  # raises if a size is out of range
    compared = dict.fromkeys((*map(LogFMT, options["bits"]), *PEERS, *options["spec"]))
    return _array_sources.axes(options, compared)


OPTIONS = (
    *_array_sources.OPTIONS,
    Option(
        "bits",
        _widths,
        default=f"{BITS[0]}-{BITS[-1]}",
        metavar="N,...",
        help="Widths of LogFMT: 8, 6,8,10 or 4-12.",
    ),
    Option(
        "spec",
        specs.parse,
        repeatable=True,
        metavar="TEXT",
        help="Also this, as 'LogFMT(8, 64, space=LOG)', DEEPEP_LOGFMT10, MXFP6_E2M3 or fp16. Repeatable.",
    ),
    Option(
        "dispatch",
        _dispatch,
        default="e4m3",
        metavar="TEXT",
        help="What tokens go to the experts in; same: what they come back in. By default a byte a value "
        "without scales, as the paper counts it.",
    ),
    Option(
        "hidden",
        int,
        least=1,
        default=PAPER_EP.hidden,
        help="Values of a token, as the paper counts them; DeepSeek-V3 has 7168.",
    ),
    Option("tokens", int, least=1, default=PAPER_EP.tokens, help="Of a micro-batch on one GPU."),
    Option(
        "experts",
        int,
        least=1,
        default=PAPER_EP.experts_per_token,
        help="That a token is sent to, shared ones counted.",
    ),
    Option("layers", int, least=1, default=PAPER_EP.layers, help="Of the model."),
    Option(
        "bandwidth",
        float,
        least=0,
        default=50.0,
        help="Of a GPU in one direction, in GB/s: 50 is InfiniBand at 400 Gb/s, 900 NVLink in a GB200 rack.",
    ),
)

STUDY = Study(
    name="all_to_all",
    question="What do LogFMT, FP8, MXFP8 and BF16 do to numbers, and cost in an all-to-all?",
    cell=measure,
    grid={"data": ("normal", "outliers"), "tensor": ("",), "spec": (*map(LogFMT, BITS), *PEERS)},
    reads=ARRAYS
    | named(("spec", reads.any_spec), hidden=1, tokens=1, experts=1, layers=1)
    | named(("bandwidth", reads.number), ("latency", reads.number))
    | {"dispatch": reads.or_word(reads.any_spec("dispatch"), SAME)},
    figure=draw_figure,
    sections=_sections,
    answer=answer,
    command=Command(
        help=f"""Compare LogFMT-n with FP8, MXFP8 and BF16: the errors of numbers, and the time to send them.

        {_array_sources.DESCRIPTION} E4M3 and E5M2 have an FP32 scale for every 1x128, as in DeepSeek-V3.

        The times are of expert parallelism's all-to-all in the arithmetic of arXiv 2505.09343, section 2.3.2:
        tokens go to the experts in --dispatch, and what is quantized here is what comes back (combine).
        """,
        options=OPTIONS,
        ask=_ask,
        columns=(
            *_spec_tallies.COLUMNS, "dispatch", "combine", "combine_bytes_per_element", "dispatch_bytes",
            "combine_bytes", "seconds_dispatch", "seconds_combine", "seconds_per_micro_batch",
            "seconds_per_layer", "seconds_per_token", "tokens_per_second",
        ),
        complete=complete,
    ),
)  # fmt: skip
