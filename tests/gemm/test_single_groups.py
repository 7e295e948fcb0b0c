"""One group of scales that spans K: a group under promotion, a scale of its row or column without it."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from oracle import product_bits, value32

import precision as pr
from precision import bounds
from precision.hardware import _recorded_cases

M, N = 5, 4


def scales(seed: int, count: int) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0.1, 3.0, count).astype(np.float32)


def operands(k: int, block_a, block_b, seed: int = 0):
    """Operands with these blocks, one scale along K, and the scales of their rows and columns."""
    rng = np.random.default_rng(seed)
    a = pr.encode(rng.standard_normal((M, k)) * 8, pr.E4M3)
    b = pr.encode(rng.standard_normal((k, N)) * 8, pr.E4M3)
    counts = [-(-size // (step or size)) for size, step in ((M, block_a[0]), (N, block_b[1]))]
    sa, sb = scales(seed + 1, counts[0]), scales(seed + 2, counts[1])
    left = pr.QuantizedTensor(a, sa[:, None], fmt=pr.E4M3, block=block_a)
    right = pr.QuantizedTensor(b, sb[None, :], fmt=pr.E4M3, block=block_b)
    each = [np.repeat(s, -(-n // len(s)))[:n] for s, n in ((sa, M), (sb, N))]
    if block_a[0] not in (None, 1):
        each[0] = np.repeat(sa, block_a[0])[:M]
    if block_b[1] not in (None, 1):
        each[1] = np.repeat(sb, block_b[1])[:N]
    return left, right, each


def bits(x: np.ndarray) -> np.ndarray:
    return x.view(np.uint32)


def wanted(left, right, each, accumulator, epilogue: str) -> np.ndarray:
    return product_bits(
        left.codes, right.codes, pr.E4M3, pr.E4M3, accumulator, epilogue=epilogue,
        scale_a=lambda i, j: value32(each[0][i]), scale_b=lambda i, j: value32(each[1][j]),
    )  # fmt: skip


UNITS = [pr.HOPPER_FP8, pr.FP32_FMA]


@pytest.mark.parametrize("unit", UNITS, ids=["HOPPER_FP8", "FP32_FMA"])
@pytest.mark.parametrize("k", [96, 128, 256])
@pytest.mark.parametrize("lines", [1, 3])
def test_without_promotion_it_is_a_scale_of_the_row_or_column(unit, k, lines):
    """The order of row-wise scales, (total * sb) * sa, whichever operand says its K as one group."""
    for step_a, step_b in ((k, k), (k, None), (None, k), (2 * k, 2**70)):
        left, right, each = operands(k, (lines, step_a), (step_b, lines))
        got = pr.matmul(left, right, accumulator=unit)
        assert (bits(got) == wanted(left, right, each, unit, "row")).all()
        row = pr.QuantizedTensor(left.codes[0], left.scale[0], fmt=pr.E4M3, block=(step_a,))
        column = pr.QuantizedTensor(right.codes[:, 0], right.scale[:, 0], fmt=pr.E4M3, block=(step_b,))
        plain = pr.trace(left.codes[0], right.codes[:, 0], accumulator=unit)
        assert (pr.trace(row, column, accumulator=unit).register == plain.register).all()


@pytest.mark.parametrize("unit", UNITS, ids=["HOPPER_FP8", "FP32_FMA"])
@pytest.mark.parametrize("k", [100, 128, 256])
@pytest.mark.parametrize("promotion", [32, 128, 512])
def test_under_promotion_it_stays_a_group(unit, k, promotion):
    """fma(partial * sa, sb, total) at every promotion, also where no promotion divides the group."""
    left, right, each = operands(k, (1, k), (k, 1))
    promoted = unit.promoted(promotion)
    got = pr.matmul(left, right, accumulator=promoted)
    assert (bits(got) == wanted(left, right, each, promoted, "group")).all()
    left, right, each = operands(k, (1, k), (k, 3))
    got = pr.matmul(left, right, accumulator=promoted)
    assert (bits(got) == wanted(left, right, each, promoted, "block")).all()


def test_the_two_orders_part():
    left, right, _ = operands(128, (1, 128), (128, 1))
    whole = zip((left, right), ((1, None), (None, 1)), strict=True)
    rows = [pr.QuantizedTensor(q.codes, q.scale, fmt=q.fmt, block=block) for q, block in whole]
    unit = pr.HOPPER_FP8.promoted(128)
    group, row = pr.matmul(left, right, accumulator=unit), pr.matmul(*rows, accumulator=unit)
    assert (bits(group) != bits(row)).any()
    plain = pr.matmul(left, right), pr.matmul(*rows)
    assert (bits(plain[0]) == bits(plain[1])).all()


def test_an_unscaled_partner():
    left, right, each = operands(128, (1, 128), (None, None))
    got = pr.matmul(left, right.codes)
    assert (bits(got) == wanted(left, right, (each[0], np.ones(N, np.float32)), pr.HOPPER_FP8, "row")).all()


def test_several_groups_still_need_promotion():
    left, right, _ = operands(256, (1, 256), (256, 1))
    halves = pr.QuantizedTensor(left.codes, np.repeat(left.scale, 2, axis=1), fmt=pr.E4M3, block=(1, 128))
    with pytest.raises(ValueError, match=r"groups are 128 of K, .* use .promoted\(128\)"):
        pr.matmul(halves, right)
    with pytest.raises(ValueError, match="divisor of the groups of 128 of K"):
        pr.matmul(halves, right, accumulator=pr.HOPPER_FP8.promoted(96))
    with pytest.raises(ValueError, match="within a group of 128 of K"):
        pr.matmul(halves, right, accumulator=pr.HOPPER_FP8.promoted(256))


@pytest.mark.parametrize("unit", [pr.HOPPER_FP8, pr.HOPPER_FP8.promoted(96)], ids=["plain", "promoted"])
def test_bounds_and_the_exact_product_take_it(unit):
    left, right, _ = operands(256, (1, 256), (256, 1))
    found = bounds.error_bound(None, unit, left, right).total
    exact = pr.matmul(left, right, accumulator=pr.EXACT, dtype=np.float64)
    error = np.abs(pr.matmul(left, right, accumulator=unit) - exact)
    assert np.isfinite(found).all() and (error <= found).all() and error.any()


def test_the_recorded_order_of_one_group_is_that_of_groups():
    """At K = 128 the library's 1x128 call keeps the order of group scales; that of rows gives other bits."""
    parted = 0
    for case in _recorded_cases.read(Path(__file__).parents[1] / "vectors" / "single_groups.npz"):
        assert _recorded_cases.check(case).mismatches == 0
        if not case.name.startswith("block|1x128*1x128"):
            continue
        rows = [dataclasses.replace(x, block=(1, None)) for x in (case.a, case.b.T)]
        other = dataclasses.replace(case, a=rows[0], b=rows[1].T)
        outputs, mismatches = _recorded_cases.check(other)
        assert 0.1 < mismatches / outputs < 0.9
        parted += mismatches
    assert parted > 1000
