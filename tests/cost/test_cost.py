"""What formats cost: the paper's figures as it prints them, exact fractions, and counts of real arrays."""

from __future__ import annotations

import dataclasses
import json
import math
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import precision as pr
from precision import cost
from precision.cost import _all_to_all

ROOT = Path(__file__).parents[2]
TILES = pr.QuantSpec(pr.E4M3, pr.PerGroup(128))


def printed(value: float, unit: float, places: int) -> str:
    """As the paper prints it: rounded to so many places of a unit."""
    return f"{value / unit:.{places}f}"


# ---- the paper: the key-value cache (table 1) -------------------------------------------------------
@pytest.mark.parametrize(
    ("attention", "values", "kilobytes"),
    [
        (cost.DEEPSEEK_V3, 61 * (512 + 64), "70.272"),
        (cost.QWEN2_5_72B, 80 * 2 * 8 * 128, "327.680"),
        (cost.LLAMA3_1_405B, 126 * 2 * 8 * 128, "516.096"),
    ],
)
def test_cache_of_the_paper(attention, values, kilobytes):
    assert attention.values_per_token == values
    assert cost.kv_cache_bytes(attention) == 2 * values
    assert printed(cost.kv_cache_bytes(attention), 1000, 3) == kilobytes


def test_ratios_of_the_cache_and_the_one_that_does_not_divide():
    deepseek, qwen, llama = map(cost.kv_cache_bytes, (cost.DEEPSEEK_V3, cost.QWEN2_5_72B, cost.LLAMA3_1_405B))
    assert printed(qwen, deepseek, 2) == "4.66"
    assert printed(llama, deepseek, 3) == "7.344"
    assert printed(llama, deepseek, 2) != "7.28"  # what table 1 prints


# ---- the paper: the all-to-all (section 2.3.2) ------------------------------------------------------
def test_infiniband_of_the_paper():
    t = cost.PAPER_EP.time(cost.CX7_IB)
    assert printed(t.per_micro_batch, 1e-6, 2) == "120.96"
    assert printed(t.per_layer, 1e-6, 2) == "241.92"
    assert printed(t.per_token, 1e-3, 2) == "14.76"
    assert math.floor(t.tokens_per_second) == 67
    assert t == cost.PAPER_EP.time(cost.CX7_IB, dispatch=pr.E4M3, combine=pr.BF16)
    assert t == cost.PAPER_EP.time(cost.CX7_IB, dispatch=8, combine=16.0)


def test_nvlink_of_the_paper():
    t = cost.PAPER_EP.time(cost.GB200_NVL72)
    assert printed(t.per_micro_batch, 1e-6, 2) == "6.72"
    assert printed(t.per_token, 1e-3, 2) == "0.82"
    assert round(t.tokens_per_second, -2) == 1200


def test_where_the_papers_figures_part():
    """Each item of the module's list, in words that its text holds."""
    text = _all_to_all.__doc__ or ""
    paper, real = (ep.time(cost.CX7_IB) for ep in (cost.PAPER_EP, cost.DEEPSEEK_V3_EP))
    moe_only = dataclasses.replace(cost.PAPER_EP, layers=58).time(cost.CX7_IB)
    for value, unit, places in (
        (real.per_micro_batch, 1e-6, 2),
        (real.per_token, 1e-3, 2),
        (paper.tokens_per_second, 1, 1),
        (moe_only.per_token, 1e-3, 2),
        (moe_only.tokens_per_second, 1, 1),
        (cost.PAPER_EP.time(cost.GB200_NVL72).tokens_per_second, 1, 0),
        (cost.kv_cache_bytes(cost.LLAMA3_1_405B), cost.kv_cache_bytes(cost.DEEPSEEK_V3), 3),
        (cost.bits_per_element(TILES, (7168,)), 8, 5),
    ):
        assert printed(value, unit, places) in text
    assert printed(real.per_micro_batch, 1e-6, 2) == "123.86"
    assert printed(cost.DEEPSEEK_V3_EP.time(cost.GB200_NVL72).per_micro_batch, 1e-6, 2) == "6.88"
    assert printed(paper.tokens_per_second, 1, 2) == "67.76"
    assert printed(paper.tokens_per_second, 1, 0) == "68"  # printed as 67
    assert (cost.PAPER_EP.hidden, cost.DEEPSEEK_V3_EP.hidden) == (7000, 7168)


@pytest.mark.parametrize(
    ("dispatch", "combine", "share"),
    [
        (pr.BF16, pr.BF16, Fraction(4, 3)),
        (pr.E4M3, pr.E4M3, Fraction(2, 3)),
        (pr.E4M3, 8, Fraction(2, 3)),
        (TILES, TILES, Fraction(11, 16)),
    ],
)
def test_formats_enter_linearly(dispatch, combine, share):
    of_paper = cost.DEEPSEEK_V3_EP.time(cost.CX7_IB)
    t = cost.DEEPSEEK_V3_EP.time(cost.CX7_IB, dispatch=dispatch, combine=combine)
    assert t.per_token / of_paper.per_token == pytest.approx(float(share), rel=1e-14)


# ---- any numbers: an exact oracle -------------------------------------------------------------------
def exact_bits(fmt, tokens: int, hidden: int) -> Fraction:
    """Bits of a value, from what a person would count for (tokens, hidden)."""
    if isinstance(fmt, (int, float)):
        return Fraction(fmt)
    element, group, scale, tensor = {
        "e4m3": (8, None, 0, 0),
        "bf16": (16, None, 0, 0),
        "int4": (4, None, 0, 0),
        str(TILES): (8, 128, 32, 0),
        "MXFP6_E2M3": (6, 32, 8, 0),
        "NVFP4": (4, 16, 8, 32),
    }[str(fmt)]
    scales = 0 if group is None else tokens * sum(1 for _ in range(0, hidden, group)) * scale
    return Fraction(element * tokens * hidden + scales + tensor, tokens * hidden)


# Those that `exact_bits` counts by hand.
FORMATS = st.one_of(
    st.sampled_from([pr.E4M3, pr.BF16, pr.IntFormat(4), TILES, pr.MXFP6_E2M3, pr.NVFP4]),
    st.integers(1, 64),
    st.floats(0.5, 64),
)


@given(
    layers=st.integers(1, 200),
    hidden=st.integers(1, 20000),
    experts=st.integers(1, 64),
    tokens=st.integers(1, 4096),
    micro_batches=st.integers(1, 4),
    compute=st.floats(0, 1e-3),
    bandwidth=st.floats(1e6, 1e13),
    latency=st.floats(0, 1e-3),
    dispatch=FORMATS,
    combine=FORMATS,
)
def test_all_to_all_is_the_exact_quotient(
    layers, hidden, experts, tokens, micro_batches, compute, bandwidth, latency, dispatch, combine
):
    ep = cost.ExpertParallel(
        layers=layers,
        hidden=hidden,
        experts_per_token=experts,
        tokens=tokens,
        micro_batches=micro_batches,
        compute=compute,
    )
    t = ep.time(cost.Link(bandwidth, latency), dispatch=dispatch, combine=combine)
    sent = [exact_bits(fmt, tokens, hidden) * tokens * experts * hidden / 8 for fmt in (dispatch, combine)]
    there, back = (size / Fraction(bandwidth) + Fraction(latency) for size in sent)
    once, work = there + back, Fraction(compute)
    layer = once + work if micro_batches == 1 else micro_batches * (once if once > work else work)
    expected = {
        "dispatch_bytes": sent[0],
        "combine_bytes": sent[1],
        "dispatch": there,
        "combine": back,
        "per_micro_batch": once,
        "per_layer": layer,
        "per_token": layers * layer,
        "tokens_per_second": 1 / (layers * layer),
    }
    assert set(expected) == {f.name for f in dataclasses.fields(t)}
    for name, value in expected.items():
        assert abs(Fraction(getattr(t, name)) - value) <= value * Fraction(1, 2**48), name


def test_scales_are_those_of_a_real_array():
    rng = np.random.default_rng(0)
    tokens, hidden = 3, 300  # the last group of 128, of 32 and of 16 is short
    x = rng.standard_normal((tokens, hidden), np.float32)
    ep = cost.ExpertParallel(layers=1, hidden=hidden, experts_per_token=5, tokens=tokens)
    for spec in (TILES, pr.MXFP8_E4M3, pr.NVFP4, pr.QuantSpec(pr.IntFormat(8), pr.PerVector())):
        t = ep.time(cost.CX7_IB, dispatch=spec, combine=pr.BF16)
        assert t.dispatch_bytes == pytest.approx(5 * pr.quantize(x, spec).nbytes, rel=1e-14), spec
        assert t.combine_bytes == 5 * 2 * x.size


def test_a_tensors_scale_is_shared_by_the_tokens_of_a_batch():
    spec = pr.QuantSpec(pr.E4M3, pr.PerTensor())
    ep = cost.ExpertParallel(layers=1, hidden=64, experts_per_token=2, tokens=8)
    assert ep.time(cost.CX7_IB, dispatch=spec).dispatch_bytes == 2 * (8 * 64 + 4)
    gqa = cost.GQA(3, kv_heads=2, head_size=64)
    assert cost.kv_cache_bytes(gqa, spec) == 3 * 2 * (128 + 4)
    assert cost.kv_cache_bytes(gqa, spec, tokens=100) == 3 * 2 * (100 * 128 + 4)


def test_what_overlaps():
    ep = cost.PAPER_EP
    t = ep.time(cost.CX7_IB).per_micro_batch

    def layer(**changes):
        return dataclasses.replace(ep, **changes).time(cost.CX7_IB).per_layer

    assert layer() == layer(compute=t) == 2 * t  # hidden, up to the time it takes to send
    assert layer(compute=3 * t) == 2 * 3 * t
    assert layer(micro_batches=1) == t
    assert layer(micro_batches=1, compute=t) == 2 * t
    slow = ep.time(cost.Link(50e9, 1e-5))
    assert slow.dispatch == pytest.approx(1e-5 + ep.time(cost.CX7_IB).dispatch, rel=1e-14)
    assert slow.per_layer == pytest.approx(2 * (t + 2e-5), rel=1e-14)


# ---- caches of any kind -----------------------------------------------------------------------------
def test_kinds_of_attention():
    assert cost.MQA(7, head_size=80).cached(5) == cost.GQA(7, kv_heads=1, head_size=80).cached(5)
    assert cost.MHA(7, heads=6, head_size=80).cached(5) == cost.GQA(7, kv_heads=6, head_size=80).cached(5)
    for kind, values in (
        (cost.MQA(7, head_size=80), 7 * 2 * 80),
        (cost.MHA(7, heads=6, head_size=80), 7 * 2 * 6 * 80),
        (cost.GQA(7, kv_heads=3, head_size=80), 7 * 2 * 3 * 80),
        (cost.MLA(7, latent=80, rope=6), 7 * 86),
    ):
        assert kind.values_per_token == values
        assert cost.kv_cache_bytes(kind, pr.IntFormat(4), tokens=10) == 10 * values / 2


def test_a_format_for_each_array():
    assert cost.kv_cache_bytes(cost.DEEPSEEK_V3, (TILES, pr.BF16)) == 61 * (512 + 4 * 4 + 2 * 64)
    gqa = cost.GQA(3, kv_heads=2, head_size=96)
    keys, values = 2 * (96 + 4), 2 * 96 * 4.25 / 8  # a head's 96 are one short group of 128, or 3 of 32
    assert cost.kv_cache_bytes(gqa, (TILES, pr.MXFP4)) == pytest.approx(3 * (keys + values), rel=1e-14)


def test_any_attention_and_any_format():
    class Window:  # keeps the last few tokens, and one more vector for each
        layers = 4

        def cached(self, tokens=1):
            return ((min(tokens, 16), 64),)

    class Code:  # a byte for each vector, and 3 bits for each value
        def bits_per_element(self, shape):
            return 3 + 8 / shape[-1]

        def __str__(self):
            return "Code()"

    assert cost.kv_cache_bytes(Window(), Code(), tokens=1000) == 4 * 16 * (64 * 3 + 8) / 8
    (row,) = cost.compare([Code()], cost.DEEPSEEK_V3_EP, cost.CX7_IB)
    assert row["dispatch"] == "Code()"
    assert row["dispatch_bytes"] == 32 * 9 * (7168 * 3 + 8) / 8


# ---- the table --------------------------------------------------------------------------------------
def test_rows_are_plain_and_say_what_time_says():
    entries = [(pr.E4M3, pr.BF16), TILES, (TILES, 10.5), pr.NVFP4, 6]
    rows = cost.compare(entries, cost.DEEPSEEK_V3_EP, cost.GB200_NVL72)
    labels = [(row["dispatch"], row["combine"]) for row in rows]
    spec = str(TILES)
    assert labels == [
        ("e4m3", "bf16"),
        (spec, spec),
        (spec, "10.5 bits"),
        ("NVFP4", "NVFP4"),
        ("6 bits", "6 bits"),
    ]
    assert json.loads(json.dumps(rows)) == rows
    assert list(cost.compare(iter(entries), cost.DEEPSEEK_V3_EP, cost.GB200_NVL72)) == rows
    for entry, row in zip(entries, rows, strict=True):
        dispatch, combine = entry if isinstance(entry, tuple) else (entry, entry)
        t = cost.DEEPSEEK_V3_EP.time(cost.GB200_NVL72, dispatch=dispatch, combine=combine)
        assert row["dispatch_bytes"] == t.dispatch_bytes
        assert row["combine_bytes"] == t.combine_bytes
        assert row["dispatch_bytes_per_element"] * 32 * 9 * 7168 == pytest.approx(t.dispatch_bytes)
        assert row["combine_bytes_per_element"] * 32 * 9 * 7168 == pytest.approx(t.combine_bytes)
        assert row["seconds_per_micro_batch"] == t.per_micro_batch
        assert row["seconds_per_layer"] == t.per_layer
        assert row["seconds_per_token"] == t.per_token
        assert row["tokens_per_second"] == t.tokens_per_second


# ---- errors -----------------------------------------------------------------------------------------
class Nothing:
    def bits_per_element(self, shape):
        return math.nan


def ep(**changes):
    return dataclasses.replace(cost.PAPER_EP, **changes)


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: cost.Link(0), ValueError, "bandwidth must be above 0 and finite, got 0"),
        (lambda: cost.Link(-1e9), ValueError, "bandwidth must be above 0 and finite, got -1"),
        (lambda: cost.Link(math.nan), ValueError, "bandwidth .* got nan"),
        (lambda: cost.Link(math.inf), ValueError, "bandwidth .* got inf"),
        (lambda: cost.Link(10**400), ValueError, "bandwidth .* finite"),
        (lambda: cost.Link("50e9"), TypeError, "bandwidth must be a number, got '50e9'"),
        (lambda: cost.Link(True), TypeError, "bandwidth must be a number, got True"),
        (lambda: cost.Link(1.0, -1e-6), ValueError, "latency must be at least 0 and finite, got -1e-06"),
        (lambda: cost.Link(1.0, math.nan), ValueError, "latency .* got nan"),
        (lambda: ep(layers=0), ValueError, "layers must lie in 1.*got 0"),
        (lambda: ep(hidden=-7168), ValueError, "hidden must lie in 1.*got -7168"),
        (lambda: ep(hidden=7e3), TypeError, "hidden must be an int, got 7000.0"),
        (lambda: ep(tokens=True), TypeError, "tokens must be an int, got True"),
        (lambda: ep(experts_per_token=0), ValueError, "experts_per_token .*got 0"),
        (lambda: ep(micro_batches=0), ValueError, "micro_batches .*got 0"),
        (lambda: ep(compute=-1.0), ValueError, "compute must be at least 0 and finite, got -1"),
        (lambda: ep(compute=None), TypeError, "compute must be a number, got None"),
        (lambda: ep().time(50e9), TypeError, r"link must be a Link as Link\(50e9\), got 5"),
        (lambda: ep().time(cost.CX7_IB, dispatch="e4m3"), TypeError, "dispatch must be a format .*'e4m3'"),
        (lambda: ep().time(cost.CX7_IB, combine=0), ValueError, "combine must be a positive.*of bits, got 0"),
        (lambda: ep().time(cost.CX7_IB, combine=-8), ValueError, "combine .* got -8"),
        (lambda: ep().time(cost.CX7_IB, combine=math.nan), ValueError, "combine .* got nan"),
        (lambda: ep().time(cost.CX7_IB, combine=10**400), ValueError, "combine .* finite"),
        (lambda: ep().time(cost.CX7_IB, combine=True), TypeError, "combine .* got True"),
        (lambda: ep().time(cost.CX7_IB, combine=None), TypeError, "combine .* got None"),
        (lambda: ep().time(cost.CX7_IB, combine=pr.QuantSpec), TypeError, "combine .* got <class"),
        (lambda: ep().time(cost.CX7_IB, combine=Nothing()), ValueError, "combine must give .* got nan"),
        (lambda: cost.bits_per_element(Nothing(), (3, 4)), ValueError, r"fmt must give .*\(3, 4\), got nan"),
        (lambda: cost.bits_per_element(TILES, (0,)), ValueError, "at least one element"),
        (lambda: cost.MLA(0, latent=512, rope=64), ValueError, "layers .*got 0"),
        (lambda: cost.MLA(61, latent=512.0, rope=64), TypeError, "latent must be an int, got 512.0"),
        (lambda: cost.MLA(61, latent=512, rope=0), ValueError, "rope .*got 0"),
        (lambda: cost.GQA(80, kv_heads=0, head_size=128), ValueError, "kv_heads .*got 0"),
        (lambda: cost.GQA(80, kv_heads=8, head_size=-1), ValueError, "head_size .*got -1"),
        (lambda: cost.MQA(80, head_size="128"), TypeError, "head_size must be an int, got '128'"),
        (lambda: cost.MHA(80, heads=None, head_size=128), TypeError, "heads must be an int, got None"),
        (lambda: cost.kv_cache_bytes(70272), TypeError, "attention must be one as GQA.*got 70272"),
        (lambda: cost.kv_cache_bytes(cost.MLA), TypeError, "attention must be one as GQA.*got <class"),
        (lambda: cost.kv_cache_bytes(cost.DEEPSEEK_V3, tokens=0), ValueError, "tokens .*got 0"),
        (lambda: cost.kv_cache_bytes(cost.DEEPSEEK_V3, "bf16"), TypeError, "fmt must be a format.*'bf16'"),
        (lambda: cost.kv_cache_bytes(cost.DEEPSEEK_V3, (8,)), ValueError, "fmt must be .*2 arrays.*got 1"),
        (lambda: cost.kv_cache_bytes(cost.DEEPSEEK_V3, (8, 0)), ValueError, r"fmt\[1\] must be .*got 0"),
        (lambda: cost.compare(pr.E4M3, ep(), cost.CX7_IB), TypeError, "formats must be several"),
        (lambda: cost.compare([], ep(), cost.CX7_IB), ValueError, "formats must hold at least one"),
        (lambda: cost.compare([8, "x"], ep(), cost.CX7_IB), TypeError, r"formats\[1\] must be a format.*'x'"),
        (lambda: cost.compare([(8, 8, 8)], ep(), cost.CX7_IB), ValueError, r"formats\[0\] .* a pair"),
        (lambda: cost.compare([8], cost.CX7_IB, ep()), TypeError, "ep must be an ExpertParallel"),
        (lambda: cost.compare([8], ep(), 50e9), TypeError, "link must be a Link"),
    ],
)
def test_errors_name_the_argument_its_value_and_what_is_right(call, kind, message):
    with pytest.raises(kind, match=message):
        call()


def test_a_spec_that_does_not_suit_the_shape_says_so():
    class Rows(cost.MLA):
        def cached(self, tokens=1):
            return ((self.latent,),)

    with pytest.raises(ValueError, match="at least 2 axes"):
        cost.kv_cache_bytes(Rows(1, latent=256, rope=1), pr.QuantSpec(pr.E4M3, pr.PerBlock(128, 128)))


def test_starts_no_compiler():
    code = (
        "import sys\nimport precision as pr\nfrom precision import cost\n"
        "cost.compare([pr.MXFP4, 8], cost.PAPER_EP, cost.CX7_IB)\n"
        "cost.kv_cache_bytes(cost.DEEPSEEK_V3, pr.NVFP4)\n"
        "print('numba' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert found.stdout.strip() == "False"


def test_all_names_exist():
    assert len(set(_all_to_all.__all__)) == len(_all_to_all.__all__)
    for name in _all_to_all.__all__:
        assert getattr(cost, name) is not None, name
