"""The arrays that attention caches for each token, and their bytes, for several kinds of attention."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Protocol

from precision._support._argument_checks import check_int
from precision._support.machine._float_environment import in_default_environment
from precision.cost._payload_bits import Payload, Shape, check_counts, find_bits
from precision.formats._named import BF16

_MOST = 10**12  # the largest number of tokens


class Attention(Protocol):
    """A kind of attention, as `kv_cache_bytes` needs it."""

    @property
    def layers(self) -> int:
        """The number of layers that cache."""
        ...

    def cached(self, tokens: int = 1) -> tuple[Shape, ...]:
        """Return the shapes of the arrays that one layer caches for a number of tokens."""
        ...


def _count_values(attention: Attention) -> int:
    """Return the number of values that all layers cache for one token."""
    return attention.layers * sum(math.prod(shape) for shape in attention.cached())


def _list_key_value_shapes(tokens: int, heads: int, head_size: int) -> tuple[Shape, ...]:
    """Return the shape of a layer's keys and that of its values."""
    return ((tokens, heads, head_size),) * 2


@dataclass(frozen=True)
class MLA:
    """Multi-head latent attention: a layer keeps a latent vector and a rotary key for each token.

    Parameters
    ----------
    layers : int
        Layers that cache.
    latent : int
        Values of the compressed keys and values (``kv_lora_rank``).
    rope : int
        Values of the key that carries the position, shared by all heads (``qk_rope_head_dim``).

    Raises
    ------
    TypeError, ValueError
        If one of them is no int, or is below 1.

    Examples
    --------
    >>> from precision import cost
    >>> mla = cost.MLA(61, latent=512, rope=64)
    >>> mla == cost.DEEPSEEK_V3, mla.values_per_token, mla.cached(1000)
    (True, 35136, ((1000, 512), (1000, 64)))
    """

    layers: int
    latent: int = field(kw_only=True)
    rope: int = field(kw_only=True)

    def __post_init__(self) -> None:
        check_counts(self, "layers", "latent", "rope")

    @property
    def values_per_token(self) -> int:
        """The number of values that all layers cache for one token."""
        return _count_values(self)

    def cached(self, tokens: int = 1) -> tuple[Shape, ...]:
        """Return the shapes of a layer's cache: latents (tokens, latent) and rotary keys (tokens, rope)."""
        return (tokens, self.latent), (tokens, self.rope)


@dataclass(frozen=True)
class GQA:
    """Grouped-query attention: a layer keeps keys and values of ``kv_heads`` heads.

    Parameters
    ----------
    layers, kv_heads, head_size : int
        Layers that cache, heads of keys and values in each, and values of one key (or value) of one head.

    Raises
    ------
    TypeError, ValueError
        If one of them is no int, or is below 1.

    Examples
    --------
    >>> from precision import cost
    >>> cost.GQA(80, kv_heads=8, head_size=128).values_per_token
    163840
    """

    layers: int
    kv_heads: int = field(kw_only=True)
    head_size: int = field(kw_only=True)

    def __post_init__(self) -> None:
        check_counts(self, "layers", "kv_heads", "head_size")

    @property
    def values_per_token(self) -> int:
        """The number of values that all layers cache for one token."""
        return _count_values(self)

    def cached(self, tokens: int = 1) -> tuple[Shape, ...]:
        """Return the shapes of a layer's keys and values, (tokens, kv_heads, head_size) each."""
        return _list_key_value_shapes(tokens, self.kv_heads, self.head_size)


@dataclass(frozen=True)
class MQA:
    """Multi-query attention: all heads share one key and one value, as `GQA` with ``kv_heads=1``.

    Parameters
    ----------
    layers, head_size : int
        Layers that cache, and values of one key (or value).

    Raises
    ------
    TypeError, ValueError
        If one of them is no int, or is below 1.

    Examples
    --------
    >>> from precision import cost
    >>> cost.MQA(32, head_size=128).values_per_token
    8192
    """

    layers: int
    head_size: int = field(kw_only=True)

    def __post_init__(self) -> None:
        check_counts(self, "layers", "head_size")

    @property
    def values_per_token(self) -> int:
        """The number of values that all layers cache for one token."""
        return _count_values(self)

    def cached(self, tokens: int = 1) -> tuple[Shape, ...]:
        """Return the shapes of a layer's keys and values, (tokens, 1, head_size) each."""
        return _list_key_value_shapes(tokens, 1, self.head_size)


@dataclass(frozen=True)
class MHA:
    """Multi-head attention: every head keeps its own keys and values, as `GQA` with ``kv_heads=heads``.

    Parameters
    ----------
    layers, heads, head_size : int
        Layers that cache, heads in each, and values of one key (or value) of one head.

    Raises
    ------
    TypeError, ValueError
        If one of them is no int, or is below 1.

    Examples
    --------
    >>> from precision import cost
    >>> cost.MHA(32, heads=32, head_size=128).values_per_token
    262144
    """

    layers: int
    heads: int = field(kw_only=True)
    head_size: int = field(kw_only=True)

    def __post_init__(self) -> None:
        check_counts(self, "layers", "heads", "head_size")

    @property
    def values_per_token(self) -> int:
        """The number of values that all layers cache for one token."""
        return _count_values(self)

    def cached(self, tokens: int = 1) -> tuple[Shape, ...]:
        """Return the shapes of a layer's keys and values, (tokens, heads, head_size) each."""
        return _list_key_value_shapes(tokens, self.heads, self.head_size)


#: The models of table 1 of "Insights into DeepSeek-V3" (arXiv 2505.09343).
DEEPSEEK_V3 = MLA(61, latent=512, rope=64)
QWEN2_5_72B = GQA(80, kv_heads=8, head_size=128)
LLAMA3_1_405B = GQA(126, kv_heads=8, head_size=128)


@in_default_environment
def kv_cache_bytes(
    attention: Attention, fmt: Payload | tuple[Payload, ...] = BF16, *, tokens: int = 1
) -> float:
    """Return the bytes of the key-value cache of one token, or of ``tokens`` of them together.

    Parameters
    ----------
    attention : MLA, GQA, MQA or MHA
        The kind of attention: any object with ``layers`` and ``cached(tokens)``.
    fmt : format, spec or number of bits, or a tuple of them
        The format of the cache (as in `bits_per_element`); a tuple has an entry for each array of a layer:
        latents and rotary keys of MLA, keys and values of the others.
    tokens : int
        Number of tokens, at least 1. Their bytes are ``tokens`` times one's, unless tokens share a scale
        (``PerTensor``, ``tensor_scale``).

    Returns
    -------
    float
        Bytes, over all layers. Each array of a layer is quantized by itself, groups along its last axis: a
        head's vector (GQA, MQA, MHA), or a token's (MLA).

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or range, a tuple's length does not fit, or a spec does not suit
        the shapes.

    Examples
    --------
    The paper's table 1, in KB of 1000 bytes. The last ratio is the one that it prints as 7.28:

    >>> import precision as pr
    >>> from precision import cost
    >>> models = cost.DEEPSEEK_V3, cost.QWEN2_5_72B, cost.LLAMA3_1_405B
    >>> kilobytes = [cost.kv_cache_bytes(model) / 1000 for model in models]
    >>> kilobytes, [round(size / kilobytes[0], 3) for size in kilobytes]
    ([70.272, 327.68, 516.096], [1.0, 4.663, 7.344])

    The FP8 cache of FlashMLA's sparse attention: latents with one float32 scale for 128 of them, rotary keys
    left in BF16. It says 656 bytes for a token in one layer:

    >>> tiles = pr.QuantSpec(pr.E4M3, pr.PerGroup(128))
    >>> cost.kv_cache_bytes(cost.DEEPSEEK_V3, (tiles, pr.BF16)) / 61
    656.0
    """
    if isinstance(attention, type) or not callable(getattr(attention, "cached", None)):
        raise TypeError(f"attention must be one as GQA(80, kv_heads=8, head_size=128), got {attention!r}")
    check_counts(attention, "layers")
    check_int("tokens", tokens, 1, _MOST)
    shapes = attention.cached(tokens)
    fmts = fmt if isinstance(fmt, tuple) else (fmt,) * len(shapes)
    if len(fmts) != len(shapes):
        raise ValueError(
            f"fmt must be one format, or one for each of the {len(shapes)} arrays that a layer keeps "
            f"(of {attention}), got {len(fmts)}"
        )
    names = [f"fmt[{i}]" if isinstance(fmt, tuple) else "fmt" for i in range(len(fmts))]
    layer = sum(find_bits(*entry) * math.prod(entry[2]) for entry in zip(names, fmts, shapes, strict=True))
    return attention.layers * layer / 8
