"""Studies of what is sent: the rows of a `QuantizationStudy`, each with what its spec costs on the wire."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from precision import specs
from precision._support.machine._float_environment import methods_in_default_environment
from precision.cost._all_to_all import CX7_IB, PAPER_EP, AllToAllTime, ExpertParallel, Link
from precision.cost._payload_bits import bits_per_element
from precision.formats._named import BF16, E4M3, E5M2
from precision.logfmt._logfmt_spec import LogFMT
from precision.quantization._granularity import PerGroup
from precision.quantization._microscaling import MXFP8_E4M3, MXFP8_E5M2
from precision.quantization._quant_spec import QuantSpec
from precision.specs._spec_text import AnySpec
from precision.studies._spec_comparison import SpecRow

__all__ = ["DEFAULT_BITS", "PEERS", "SentRow", "Wire"]

DEFAULT_BITS = tuple(range(4, 13))
"""Widths of LogFMT that a study compares unless told otherwise."""

PEERS: tuple[AnySpec, ...] = (
    QuantSpec(E4M3, PerGroup(128)),
    QuantSpec(E5M2, PerGroup(128)),
    MXFP8_E4M3,
    MXFP8_E5M2,
    BF16,
)
"""What LogFMT is compared with: FP8 in DeepSeek-V3's tiles of 1x128 with FP32 scales, MXFP8, and BF16."""


@dataclass(frozen=True, kw_only=True)
@methods_in_default_environment
class SentRow:
    """What a spec did to numbers, and what combining in it costs.

    Parameters
    ----------
    row : Row
        The numbers' side.
    dispatch : str
        What tokens are dispatched in.
    bytes_per_element : float
        Sent back for each value of a token's ``hidden`` ones, scales and metadata counted.
    time : AllToAllTime
        The wire's side; see `cost.ExpertParallel.time`.
    """

    row: SpecRow
    dispatch: str
    bytes_per_element: float
    time: AllToAllTime

    def flat(self) -> dict[str, str | int | float]:
        """One level of plain values: the columns of a table. Sizes are in bytes, times in seconds."""
        time = self.time
        return self.row.flat() | {
            "dispatch": self.dispatch,
            "combine": self.row.spec,
            "combine_bytes_per_element": self.bytes_per_element,
            "dispatch_bytes": time.dispatch_bytes,
            "combine_bytes": time.combine_bytes,
            "seconds_dispatch": time.dispatch,
            "seconds_combine": time.combine,
            "seconds_per_micro_batch": time.per_micro_batch,
            "seconds_per_layer": time.per_layer,
            "seconds_per_token": time.per_token,
            "tokens_per_second": time.tokens_per_second,
        }


@dataclass(frozen=True, kw_only=True)
@methods_in_default_environment
class Wire:
    """An all-to-all in which the spec of each row is what experts' outputs come back in (combine).

    Parameters
    ----------
    ep : ExpertParallel
        What is sent; by default as the paper counts it.
    link : Link
        Through what.
    dispatch : QuantSpec, LogFMT, FloatFormat or None
        What tokens go to the experts in: by default E4M3 at a byte a value, as the paper counts it. None:
        in the row's own spec as well.

    Examples
    --------
    The paper's 120.96 µs are of its FP8 there and BF16 back:

    >>> import precision as pr
    >>> from precision.studies import QuantizationStudy, drawn
    >>> from precision.studies import Wire
    >>> sources = (drawn("normal", (64, 256)),)
    >>> study = QuantizationStudy(data="normal", sources=sources, specs=(pr.LogFMT(8), pr.BF16))
    >>> for sent in Wire().sent(study.rows()):
    ...     sqnr, once = sent.row.tally.sqnr_db, 1e6 * sent.time.per_micro_batch
    ...     print(f"{sent.row.spec:14} {sqnr:.0f} dB  {sent.bytes_per_element:.4f} bytes  {once:.2f} µs")
    LogFMT(8, 128) 37 dB  1.0629 bytes  83.17 µs
    bf16           56 dB  2.0000 bytes  120.96 µs
    """

    ep: ExpertParallel = PAPER_EP
    link: Link = CX7_IB
    dispatch: AnySpec | None = E4M3

    def sent(self, rows: Iterable[SpecRow]) -> Iterator[SentRow]:
        """The rows, each with its costs.

        A LogFMT with a fallback is charged the bits that its row's numbers took: how many tiles are cast
        depends on them.
        """
        for row in rows:
            spec = specs.parse(row.spec)
            counted = isinstance(spec, LogFMT) and spec.fallback is not None
            combine = row.tally.bits_per_element if counted else self.bits(spec)
            there = combine if self.dispatch is None else self.bits(self.dispatch)
            yield SentRow(
                row=row,
                dispatch=row.spec if self.dispatch is None else str(self.dispatch),
                bytes_per_element=combine / 8,
                time=self.ep.time(self.link, dispatch=there, combine=combine),
            )

    def bits(self, spec: AnySpec) -> float:
        """Bits that a value takes in ``spec``, its share of scales and metadata counted."""
        return bits_per_element(spec, (self.ep.tokens, self.ep.hidden))
