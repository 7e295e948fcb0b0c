"""Mutants of good matrix products, one realistic bug each: the check must catch every one and name it.

The good one adds partial sums of the emulator in NumPy, as a kernel's main loop does. ``found`` says where a
bug was met, by kind of source.
"""

from dataclasses import replace

import ml_dtypes
import numpy as np
import pytest

import precision as pr
from precision.testing import check_matmul

FP8, SLOW = pr.HOPPER_FP8, pr.HOPPER_FP8.promoted(128)
BLOCKS = (pr.PerGroup(128), pr.PerBlock(128, 128))
E4M3 = np.dtype(ml_dtypes.float8_e4m3fn)


@pytest.fixture(autouse=True)
def one_thread():
    """Products here are tiny: handing them to threads only costs time."""
    before = pr.get_num_threads()
    pr.set_num_threads(1)
    yield
    pr.set_num_threads(before)


# ---- the good loop ---------------------------------------------------------------------------------------
def loop(
    a,
    b,
    scales=None,
    c=None,
    *,
    unit=FP8,
    every=None,
    ends=None,
    groups=None,
    join=None,
    finish=None,
    reset=True,
):
    """Partial sums over intervals of K, joined with a float32 total."""
    k = a.shape[-1]
    every = every or k
    ends = [*(ends or range(every, k, every)), k]
    total = np.float32(0) if c is None else c
    part, first = None, 0
    for index, last in enumerate(ends):
        start = None if reset else part
        part = pr.matmul(a[..., first:last], b[..., first:last, :], accumulator=unit, c=start)
        total = total + part if join is None else join(total, part, index, scales)
        first = last
    return total if finish is None else finish(total, scales)


def slow(a, b, c=None, **changes):
    return loop(a, b, c=c, **{"every": 128, **changes})


def rows_and_columns(a, b):
    """Scales of rows of a and of columns of b."""
    return a.codes, b.codes, (a.scale, b.scale)


def row_wise(a, b, finish=lambda t, s: (t * s[1]) * s[0], unit=FP8):
    x, y, scales = rows_and_columns(a, b)
    return finish(pr.matmul(x, y, accumulator=unit), scales)


def line_scales(a, b, index):
    sa = a.scale[:, min(index, a.scale.shape[1] - 1), None]
    sb = np.repeat(b.scale[min(index, b.scale.shape[0] - 1)], 128)[: b.shape[1]]
    return sa, sb


def scaled(a, b, join=None, scale_of=line_scales, unit=FP8):
    """1 x 128 by 128 x 128."""
    total = np.zeros((a.shape[0], b.shape[1]), np.float32)
    for index, k in enumerate(range(0, a.shape[1], 128)):
        part = pr.matmul(a.codes[:, k : k + 128], b.codes[k : k + 128], accumulator=unit)
        sa, sb = scale_of(a, b, index)
        total = (join or joined)(total, part, sa, sb)
    return total


def joined(total, part, sa, sb):
    return fma(part, sa * sb, total)


def fma(x, y, z):
    """One fused multiply-add an output, by the emulator's chain of them."""
    flat = [np.broadcast_to(v, np.shape(z)).astype(np.float32).reshape(-1, 1, 1) for v in (x, y, z)]
    return pr.matmul(flat[0], flat[1], accumulator=pr.FP32_FMA, c=flat[2]).reshape(np.shape(z))


def test_good_loops_pass():
    for fn, like, options in (
        (slow, SLOW, {"start": True}),
        (row_wise, FP8, {"scales": pr.PerVector(), "batches": False}),
        (scaled, SLOW, {"scales": BLOCKS, "batches": False}),
    ):
        report = check_matmul(fn, like, **options)
        assert report.ok, str(report)


# ---- mutants ---------------------------------------------------------------------------------------------
def float32(a, b):
    return np.matmul(a.astype(np.float32), b.astype(np.float32))


def chain_of_float32(a, b):
    return pr.matmul(a.astype(np.float32), b.astype(np.float32), accumulator=pr.FP32_FMA)


def unit(**changes):
    return lambda a, b: pr.matmul(a, b, accumulator=replace(FP8, **changes))


def whole_steps(a, b):
    whole = a.shape[-1] // 32 * 32
    return pr.matmul(a[..., :whole], b[..., :whole, :]) if whole else pr.matmul(a, b) * np.float32(0)


def garbage_beyond_k(a, b):
    """The last step reads memory that nobody wrote."""
    short = -a.shape[-1] % 32
    old = np.random.default_rng(a.shape[-1]).standard_normal((short, b.shape[-1])).astype(E4M3)
    a = np.concatenate([a, np.ones((*a.shape[:-1], short), E4M3)], axis=-1)
    b = np.concatenate([b, np.broadcast_to(old, (*b.shape[:-2], *old.shape))], axis=-2)
    return pr.matmul(a, b)


def square_transposed(a, b):
    square = b.shape[-1] == b.shape[-2]
    return pr.matmul(a, b.swapaxes(-1, -2) if square else b)


def first_batch(a, b):
    return pr.matmul(a, np.broadcast_to(b[:1], b.shape) if b.ndim == 3 else b)


def flushed(x):
    y = x.astype(np.float32)
    return np.where(np.abs(y) < 2.0**-6, np.float32(0), y).astype(E4M3)


def without_nan(a, b):
    wide = (x.astype(np.float32) for x in (a, b))
    return pr.matmul(*(np.where(np.isnan(x), np.float32(0), x).astype(E4M3) for x in wide))


def bfloat16_bits(y):
    return (y.view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)


def split_k(a, b, parts=2):
    k = a.shape[-1]
    size = -(-k // parts // 32) * 32
    return sum(
        pr.matmul(a[..., i : i + size], b[..., i : i + size, :]) for i in range(size, k, size)
    ) + pr.matmul(a[..., :size], b[..., :size, :])


def mma_sync(a, b):
    """On the FP16 unit, interleaved: k mod 4 in {0, 1} first, then {2, 3}, c added in FP32."""
    half = pr.FusedSum((pr.FP16,), 16, fraction_bits=25)
    k = a.shape[-1]
    pad = -k % 32
    a = np.pad(a.astype(np.float16), [(0, 0)] * (a.ndim - 1) + [(0, pad)])
    b = np.pad(b.astype(np.float16), [(0, 0)] * (b.ndim - 2) + [(0, pad), (0, 0)])
    total = np.float32(0)
    for first in range(0, k, 32):
        k_of = np.arange(first, first + 32)
        low, high = k_of[k_of % 4 < 2], k_of[k_of % 4 >= 2]
        part = pr.matmul(a[..., low], b[..., low, :], accumulator=half)
        total = total + pr.matmul(a[..., high], b[..., high, :], accumulator=half, c=part)
    return total


def saturating16(a, b):
    y = pr.matmul(a, b, accumulator=pr.HOPPER_FP8_ACC16)
    return np.clip(y, np.float32(-65504), np.float32(65504))


def in_float32_registers(a, b):
    return pr.matmul(a, b, accumulator=replace(pr.HOPPER_FP8_ACC16, register=pr.FP32), dtype=np.float16)


def tf32_nearest(a, b):
    return pr.matmul(
        *(pr.round_to(x, pr.TF32, overflow=pr.Overflow.NON_SATURATING) for x in (a, b)),
        accumulator=pr.HOPPER_TF32,
    )


def added_last(a, b, c=None):
    return pr.matmul(a, b) + (np.float32(0) if c is None else c)


def next_group(a, b, index):
    return line_scales(a, b, index + 1)


def a_for_b(a, b, index):
    sa, sb = line_scales(a, b, index)
    return sa, np.resize(sa[:1, 0], sb.shape)


def rowwise_other_order(t, s):
    return (t * s[0]) * s[1]


def no_subnormal_registers(a, b):
    y = pr.matmul(a, b, accumulator=pr.HOPPER_BF16)
    return np.where(np.abs(y) < 2.0**-126, np.float32(0), y)


def stale_register(a, b):
    return slow(a, b, reset=False)


ROWS = {"scales": pr.PerVector(), "batches": False}
GROUPS = {"scales": BLOCKS, "batches": False}
MUTANTS = [
    # name, like, options, mutant, cause, where it was met
    ("BLAS", FP8, {}, float32, "accumulates in FP32 where 13 bits were declared, in an order of its own",
     "emulation by dequantizing"),
    ("a chain in float32", FP8, {}, chain_of_float32, "accumulates in FP32 where 13 bits were declared", ""),
    ("fourteen bits", FP8, {}, lambda a, b: pr.matmul(a, b, accumulator=FP8.with_width(14)),
     "14 fraction bits instead of 13, in the register too",
     "a paper's count, misread"),
    ("a step of 16", FP8, {}, unit(products=16), "16 products a step instead of 32", "another GPU's unit"),
    ("nearest in the alignment", FP8, {}, unit(alignment_rounding=pr.Rounding.TIES_TO_EVEN),
     "aligned terms are rounded to nearest even instead of truncated toward zero", ""),
    ("floor in the alignment", FP8, {}, unit(alignment_rounding=pr.Rounding.TOWARD_NEGATIVE),
     "aligned terms are rounded down (a shift of two's complement) instead of truncated toward zero",
     "another vendor's unit"),
    ("nearest in the register", FP8, {}, unit(register_rounding=pr.Rounding.TIES_TO_EVEN),
     "the register is rounded to nearest even instead of truncated toward zero", ""),
    ("FP32 between steps", FP8, {}, unit(register=pr.FP32), "register of FP32 instead of FP22 (1-8-13)", ""),
    ("mma.sync", FP8, {}, mma_sync,
     "mma.sync instead of wgmma: FP8 runs on the FP16 unit, interleaved along K", "measured on a GPU"),
    ("fast accumulation", SLOW, {}, lambda a, b: pr.matmul(a, b),
     "never promoted to FP32 where every 128 of K was declared", "a library's default"),
    ("promotion every 64", SLOW, {}, lambda a, b: slow(a, b, every=64),
     "promoted to FP32 every 64 of K instead of every 128 of K", ""),
    ("promoted too early", SLOW, {}, lambda a, b: loop(a, b, ends=range(96, a.shape[-1], 128)),
     "promoted one step too early", ""),
    ("stale register", SLOW, {}, stale_register, "register not cleared at promotion", ""),
    ("split K", FP8, {}, split_k, "K split in 2 parts, added afterwards",
     "a GPU library's kernels for large K"),
    ("tail dropped", FP8, {}, whole_steps, "the last K mod 32 of K left out", ""),
    ("tail of garbage", FP8, {}, garbage_beyond_k, "wrong only where K is no multiple of 32", ""),
    ("transposed", FP8, {}, square_transposed, "b read transposed", "column-major libraries"),
    ("one batch", FP8, {}, first_batch, "the first matrix of b's batch used for all of them", ""),
    ("subnormals flushed", FP8, {}, lambda a, b: pr.matmul(flushed(a), flushed(b)),
     "subnormal operands flushed to zero", "an older GPU's unit"),
    ("NaN dropped", FP8, {}, without_nan, "NaN operands read as 0", ""),
    ("through bfloat16", FP8, {}, lambda a, b: bfloat16_bits(pr.matmul(a, b)), "result truncated to BF16",
     "stores that take the upper half"),
    ("register saturates", pr.HOPPER_FP8_ACC16, {}, saturating16,
     "overflow saturates instead of giving Inf", ""),
    ("FP16 register as FP32", pr.HOPPER_FP8_ACC16, {"dtype": np.float16},
     in_float32_registers,
     "register of FP32 instead of FP16", ""),
    ("TF32 to nearest", pr.HOPPER_TF32, {}, tf32_nearest, "operands rounded to TF32 first",
     "a GPU library's float32 product"),
    ("c last", FP8, {"start": True}, added_last, "c added at the end in FP32", "mma.sync for FP8"),
    ("row-wise scales", FP8, ROWS, lambda a, b: row_wise(a, b, rowwise_other_order),
     "epilogue (total * sa) * sb", "the two orders of one recipe"),
    ("unfused epilogue", SLOW, GROUPS,
     lambda a, b: scaled(a, b, lambda t, p, sa, sb: p * (sa * sb) + t),
     "epilogue partial * (sa * sb) + total", "a kernel's source read without its compiler"),
    ("group off by one", SLOW, GROUPS, lambda a, b: scaled(a, b, scale_of=next_group),
     "scales are those of the next group of K", ""),
    ("partial scaled first", SLOW, GROUPS,
     lambda a, b: scaled(a, b, lambda t, p, sa, sb: fma(p * sa, sb, t)),
     "epilogue fma(partial * sa, sb, total)", "the recipe of the other pair of scales"),
    ("subnormal sums flushed", pr.HOPPER_BF16, {"batches": False}, no_subnormal_registers,
     "subnormal results flushed to zero", "flush-to-zero builds"),
]  # fmt: skip


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda m: m[0])
def test_mutant(mutant):
    _, like, options, fn, cause, _ = mutant
    report = check_matmul(fn, like, **options)
    assert not report.ok
    assert report.causes == (cause,), str(report)


def test_half_of_the_gallery_was_met():
    met = [mutant[-1] for mutant in MUTANTS]
    assert len(met) >= 10 and sum(map(bool, met)) * 2 >= len(met)
