"""Costs of a format in a system: the bytes that it stores and the seconds that it takes to send."""

from precision.cost._all_to_all import (
    CX7_IB,
    DEEPSEEK_V3_EP,
    GB200_NVL72,
    PAPER_EP,
    AllToAllTime,
    ExpertParallel,
    Link,
    compare,
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
from precision.cost._payload_bits import HasBits, Payload, bits_per_element

__all__ = [
    "CX7_IB", "DEEPSEEK_V3", "DEEPSEEK_V3_EP", "GB200_NVL72", "GQA", "LLAMA3_1_405B", "MHA", "MLA", "MQA",
    "PAPER_EP", "QWEN2_5_72B", "AllToAllTime", "Attention", "ExpertParallel", "HasBits", "Link", "Payload",
    "bits_per_element", "compare", "kv_cache_bytes",
]  # fmt: skip
