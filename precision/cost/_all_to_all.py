"""The costs of a format in a system: bytes of a key-value cache, seconds of an all-to-all exchange.

The arithmetic is that of "Insights into DeepSeek-V3" (arXiv 2505.09343, table 1 and section 2.3.2): bytes
over bandwidth, and nothing else unless it is given. It makes no claim about a real network. Units are SI
throughout: bytes, seconds, bytes per second; a KB is 1000 bytes.

Where a function takes a format, it takes (as `bits_per_element` does):

- a `FloatFormat` or `IntFormat`: its bits, without any scale;
- a spec, or any object with ``bits_per_element(shape)``: the bits that it returns, scales counted;
- a number: that many *bits* a value.

Where the paper's figures part from its own numbers, or from the model:

- Table 1 prints 7.28x for LLaMA-3.1 405B, but 516.096 KB / 70.272 KB is 7.344. (Its 4.66x for Qwen2.5 72B
  is right: 4.663.)
- The hidden size is taken as 7K = 7000; DeepSeek-V3's is 7168. With it 120.96 µs become 123.86, and
  14.76 ms 15.11. `PAPER_EP` has 7000, `DEEPSEEK_V3_EP` has 7168.
- 14.76 ms a token are 67.8 tokens/s, printed as 67; 0.82 ms are 1220, printed as about 1200.
- All 61 layers are charged. The first three of DeepSeek-V3 are dense and send nothing (arXiv 2412.19437,
  section 4.2): its 58 others take 14.03 ms, which is 71.3 tokens/s.
- FP8 counts one byte a value. One float32 scale for every 128 makes it 1.03125.
- Latency and computing are taken as 0: the paper assumes that they are hidden.

The tests hold each of these.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

from precision._support.machine._float_environment import (
    in_default_environment,
    methods_in_default_environment,
)
from precision.cost._kv_cache import (
    DEEPSEEK_V3,
    GQA,
    LLAMA3_1_405B,
    MHA,
    MLA,
    MQA,
    QWEN2_5_72B,
    Attention,
    kv_cache_bytes,
)
from precision.cost._payload_bits import (
    HasBits,
    Payload,
    bits_per_element,
    check_counts,
    check_real,
    find_bits,
)
from precision.formats._named import BF16, E4M3

__all__ = [
    "CX7_IB",
    "DEEPSEEK_V3",
    "DEEPSEEK_V3_EP",
    "GB200_NVL72",
    "GQA",
    "LLAMA3_1_405B",
    "MHA",
    "MLA",
    "MQA",
    "PAPER_EP",
    "QWEN2_5_72B",
    "AllToAllTime",
    "Attention",
    "ExpertParallel",
    "HasBits",
    "Link",
    "Payload",
    "bits_per_element",
    "compare",
    "kv_cache_bytes",
]


@dataclass(frozen=True)
@methods_in_default_environment
class Link:
    """A network link of a GPU: its bandwidth and its latency.

    Parameters
    ----------
    bandwidth : float
        Bytes per second of one GPU in one direction, above 0.
    latency : float
        Seconds that each dispatch and each combine takes besides, at least 0.

    Raises
    ------
    TypeError, ValueError
        If one of them is no number, or out of range.

    Examples
    --------
    400 Gb/s of which 40 GB/s arrive, with 3 µs of latency:

    >>> from precision import cost
    >>> cost.Link(40e9, 3e-6)
    Link(bandwidth=40000000000.0, latency=3e-06)
    """

    bandwidth: float
    latency: float = 0.0

    def __post_init__(self) -> None:
        check_real("bandwidth", self.bandwidth, zero=False)
        check_real("latency", self.latency, zero=True)

    def seconds(self, size: float) -> float:
        """Return the seconds that one transfer of ``size`` bytes takes."""
        check_real("size", size, zero=True)
        return size / self.bandwidth + self.latency


#: The links of the paper's section 2.3.2, as it counts them: InfiniBand at 400 Gb/s, and NVLink over a rack.
CX7_IB = Link(50e9)
GB200_NVL72 = Link(900e9)


@dataclass(frozen=True, kw_only=True)
class AllToAllTime:
    """The bytes and seconds that one GPU needs to send tokens to experts and back.

    `ExpertParallel.time` computes them.

    Parameters
    ----------
    dispatch_bytes, combine_bytes : float
        Bytes sent to the experts, and back from them, for one micro-batch in one layer.
    dispatch, combine : float
        Seconds that dispatch and combine take.
    per_micro_batch : float
        Seconds of dispatch and combine together.
    per_layer : float
        Seconds of one layer, for all micro-batches.
    per_token : float
        Seconds of all layers, for which each request waits for its next token.
    tokens_per_second : float
        Tokens per second of one request, at best: 1 / per_token; infinite if ``per_token`` is 0.
    """

    dispatch_bytes: float
    combine_bytes: float
    dispatch: float
    combine: float
    per_micro_batch: float
    per_layer: float
    per_token: float
    tokens_per_second: float


@dataclass(frozen=True, kw_only=True)
@methods_in_default_environment
class ExpertParallel:
    """A decoder with the experts of each layer spread over GPUs, as one GPU sees it.

    Parameters
    ----------
    layers : int
        Layers that send.
    hidden : int
        Values that represent one token.
    experts_per_token : int
        Number of experts that each token is sent to, shared ones counted.
    tokens : int
        Tokens of one micro-batch on one GPU.
    micro_batches : int
        Number of micro-batches that take turns, so that one computes while another is sent. With 1 nothing
        overlaps.
    compute : float
        Seconds that one micro-batch computes in one layer.

    Raises
    ------
    TypeError, ValueError
        If one of them has the wrong type or range.

    Notes
    -----
    With t seconds to dispatch and combine one micro-batch, c to compute it, and m micro-batches, a layer
    takes max(t + c, m·max(t, c)): each micro-batch goes through both in turn, and neither the link (its
    latency included) nor the GPU serves two at once. No schedule beats that. For two micro-batches and
    c ≤ t it is the paper's 2·t.

    Examples
    --------
    >>> from dataclasses import replace
    >>> from precision import cost
    >>> cost.PAPER_EP
    ExpertParallel(layers=61, hidden=7000, experts_per_token=9, tokens=32, micro_batches=2, compute=0.0)
    >>> moe_only = replace(cost.PAPER_EP, layers=58)
    >>> f"{1e3 * moe_only.time(cost.CX7_IB).per_token:.2f} ms"
    '14.03 ms'
    """

    layers: int
    hidden: int
    experts_per_token: int
    tokens: int
    micro_batches: int = 2
    compute: float = 0.0

    def __post_init__(self) -> None:
        check_counts(self, "layers", "hidden", "experts_per_token", "tokens", "micro_batches")
        check_real("compute", self.compute, zero=True)

    def time(self, link: Link, *, dispatch: Payload = E4M3, combine: Payload = BF16) -> AllToAllTime:
        """Compute the bytes and seconds that sending tokens to the experts and back takes.

        Parameters
        ----------
        link : Link
            The link that tokens are sent through.
        dispatch, combine : format, spec or number of bits
            The formats that values are sent in, to the experts and back (as in `bits_per_element`). A
            micro-batch is quantized as an array (tokens, hidden), groups along ``hidden``, and each copy of a
            token takes its share of the scales along.

        Returns
        -------
        AllToAllTime
            Bytes and seconds.

        Raises
        ------
        TypeError, ValueError
            If ``link`` is no `Link`, or a format is none or does not suit the shape.

        Examples
        --------
        The paper's section 2.3.2: FP8 there and BF16 back.

        >>> from precision import cost
        >>> for link in (cost.CX7_IB, cost.GB200_NVL72):
        ...     t = cost.PAPER_EP.time(link)
        ...     once, layer, token = 1e6 * t.per_micro_batch, 1e6 * t.per_layer, 1e3 * t.per_token
        ...     print(f"{once:.2f} µs, {layer:.2f} µs, {token:.2f} ms, {t.tokens_per_second:.1f} tokens/s")
        120.96 µs, 241.92 µs, 14.76 ms, 67.8 tokens/s
        6.72 µs, 13.44 µs, 0.82 ms, 1219.8 tokens/s

        With the model's real size, and scales, FP8 both ways takes 0.6875 of that:

        >>> import precision as pr
        >>> tiles = pr.QuantSpec(pr.E4M3, pr.PerGroup(128))
        >>> ep = cost.DEEPSEEK_V3_EP
        >>> fp8 = ep.time(cost.CX7_IB, dispatch=tiles, combine=tiles)
        >>> round(fp8.per_token / ep.time(cost.CX7_IB).per_token, 6)
        0.6875
        """
        if not isinstance(link, Link):
            raise TypeError(f"link must be a Link as Link(50e9), got {link!r}")
        shape = (self.tokens, self.hidden)
        values = self.tokens * self.experts_per_token * self.hidden
        there = find_bits("dispatch", dispatch, shape) / 8 * values
        back = find_bits("combine", combine, shape) / 8 * values
        seconds_there, seconds_back = link.seconds(there), link.seconds(back)
        once = seconds_there + seconds_back
        layer = max(once + self.compute, self.micro_batches * max(once, self.compute))
        token = self.layers * layer
        return AllToAllTime(
            dispatch_bytes=there,
            combine_bytes=back,
            dispatch=seconds_there,
            combine=seconds_back,
            per_micro_batch=once,
            per_layer=layer,
            per_token=token,
            tokens_per_second=1 / token if token else math.inf,
        )


#: The paper's section 2.3.2: 8 routed experts and a shared one, two micro-batches, 7K = 7000.
PAPER_EP = ExpertParallel(layers=61, hidden=7000, experts_per_token=9, tokens=32)
#: The paper's decoding with the hidden size that DeepSeek-V3 has, 7168.
DEEPSEEK_V3_EP = replace(PAPER_EP, hidden=7168)


def _name_format(fmt: Payload) -> str:
    """Return the text that names a format, a spec or a number of bits in a table."""
    return f"{fmt:g} bits" if isinstance(fmt, int | float) else str(fmt)


@in_default_environment
def compare(
    formats: Iterable[Payload | tuple[Payload, Payload]], ep: ExpertParallel, link: Link
) -> list[dict[str, str | float]]:
    """Build a table of the costs of formats, one row for each, in the order given.

    Parameters
    ----------
    formats : iterable
        Each a format, spec or number of bits (`bits_per_element`) for both ways, or a pair of them for
        dispatch and combine.
    ep : ExpertParallel
        The model and its micro-batches.
    link : Link
        The link that tokens are sent through.

    Returns
    -------
    list of dict
        Plain values by column: ``dispatch`` and ``combine`` (as text), ``dispatch_bytes_per_element``,
        ``combine_bytes_per_element``, ``dispatch_bytes``, ``combine_bytes``, ``seconds_per_micro_batch``,
        ``seconds_per_layer``, ``seconds_per_token``, ``tokens_per_second`` (as in `AllToAllTime`).

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type, ``formats`` is empty, or an entry is no format or pair; the
        message says which.

    Examples
    --------
    >>> import precision as pr
    >>> from precision import cost
    >>> pairs = [(pr.E4M3, pr.BF16), (pr.E4M3, 10.5), pr.QuantSpec(pr.E4M3, pr.PerGroup(128)), pr.MXFP4]
    >>> for row in cost.compare(pairs, cost.DEEPSEEK_V3_EP, cost.CX7_IB):
    ...     size = row["dispatch_bytes_per_element"] + row["combine_bytes_per_element"]
    ...     print(f"{size:.4f} {row['tokens_per_second']:6.1f}", row["dispatch"], row["combine"], sep="  ")
    3.0000   66.2  e4m3  bf16
    2.3125   85.8  e4m3  10.5 bits
    2.0625   96.3  QuantSpec(e4m3, PerGroup(128))  QuantSpec(e4m3, PerGroup(128))
    1.0625  186.8  MXFP4  MXFP4
    """
    if not isinstance(formats, Iterable):
        raise TypeError(f"formats must be several, as [E4M3, (E4M3, BF16)], got {formats!r}")
    if not isinstance(ep, ExpertParallel):
        raise TypeError(f"ep must be an ExpertParallel as DEEPSEEK_V3_EP, got {ep!r}")
    entries = list(formats)
    if not entries:
        raise ValueError("formats must hold at least one, got none")
    rows: list[dict[str, str | float]] = []
    for i, entry in enumerate(entries):
        pair = entry if isinstance(entry, tuple) else (entry, entry)
        if len(pair) != 2:
            raise ValueError(f"formats[{i}] must be a format or a pair (dispatch, combine), got {entry!r}")
        there, back = (find_bits(f"formats[{i}]", fmt, (ep.tokens, ep.hidden)) for fmt in pair)
        found = ep.time(link, dispatch=there, combine=back)
        rows.append(
            {
                "dispatch": _name_format(pair[0]),
                "combine": _name_format(pair[1]),
                "dispatch_bytes_per_element": there / 8,
                "combine_bytes_per_element": back / 8,
                "dispatch_bytes": found.dispatch_bytes,
                "combine_bytes": found.combine_bytes,
                "seconds_per_micro_batch": found.per_micro_batch,
                "seconds_per_layer": found.per_layer,
                "seconds_per_token": found.per_token,
                "tokens_per_second": found.tokens_per_second,
            }
        )
    return rows
