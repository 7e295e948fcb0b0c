"""Stochastic rounding of pieces, which count from their place in the whole, and of products' operands."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
import reference

import precision as pr
from precision import bounds, specs
from precision.bounds._whole_product import prepare
from precision.formats._codec import GRAIN
from precision.logfmt import LogBase, Metadata
from precision.metrics import draw
from precision.studies import Matrices, _drawn_products, study

SEED = 2**63 + 2**32 + 77
COIN = pr.Stochastic(1, seed=SEED)  # its one bit decides what lies halfway
SIZE = 40
OFFSETS = [0, 5, 2**32 - 7, 3 * 2**32 - SIZE + 1, 2**40, 2**63 - 3, 2**64 - SIZE]


def coins(offset, size=SIZE):
    """Whether each element goes up, by Philox in Python's integers."""
    return np.array([reference.random_integer(SEED, offset + i, 1) for i in range(size)], bool)


@pytest.mark.parametrize("offset", OFFSETS)
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_elements_take_the_words_of_their_indices(offset, dtype):
    x, up = np.full((5, 8), 1.0625, dtype), coins(offset).reshape(5, 8)
    rounded = pr.round_to(x, pr.E4M3, rounding=COIN, offset=offset)
    np.testing.assert_array_equal(rounded, np.where(up, 1.125, 1.0))
    codes = pr.encode(x, pr.E4M3, rounding=COIN, offset=offset).view(np.uint8)
    np.testing.assert_array_equal(codes, 0x38 + up)


@pytest.mark.parametrize("offset", OFFSETS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize(
    "group", [pr.PerTensor(), pr.PerVector(), pr.PerGroup(99), pr.PerBlock(99, 99)], ids=str
)
def test_quantized_elements_take_them_too(offset, dtype, axis, group):
    if isinstance(group, pr.PerBlock) and axis == 0:
        return
    x = np.full((2, 4, 5), 1.0625, dtype)
    np.moveaxis(x, axis, 0)[0] = 448  # every scale is 1
    found = pr.quantize(x, pr.QuantSpec(pr.E4M3, group, rounding=COIN), axis, offset=offset)
    assert (pr.decode(found.scale, found.scale_format) == 1).all()
    want = np.where(x == 448, 448, np.where(coins(offset).reshape(x.shape), 1.125, 1.0))
    np.testing.assert_array_equal(found.dequantize(), want)


@pytest.mark.parametrize("offset", OFFSETS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_logarithmic_codes_take_them_too(offset, dtype):
    spec = pr.LogFMT(3, 10, base=LogBase.TWO, metadata=Metadata.EXTREMES, rounding=COIN)
    x = np.full((4, 10), 1.75, dtype)  # of the levels 1, 2 and 4: up, if the bit is set
    x[:, 0], x[:, 1] = 1, 4
    want = np.where(coins(offset).reshape(x.shape), 2.0, 1.0)
    want[:, :2] = x[:, :2]
    np.testing.assert_array_equal(pr.quantize(x, spec, offset=offset).dequantize(), want)
    across = np.full((10, 4), 1.75, dtype)
    across[:2] = [[1], [4]]
    want = np.where(coins(offset).reshape(across.shape), 2.0, 1.0)
    want[:2] = across[:2]
    np.testing.assert_array_equal(pr.quantize(across, spec, 0, offset=offset).dequantize(), want)


RANDOM = pr.Stochastic(8, seed=SEED)
WAYS = {
    "round_to": lambda x, offset: pr.round_to(x, pr.E4M3, rounding=RANDOM, offset=offset),
    "encode": lambda x, offset: pr.encode(x, pr.BF16, rounding=RANDOM, offset=offset).view(np.uint16),
    "int8": lambda x, offset: pr.encode(x, pr.IntFormat(8), rounding=RANDOM, offset=offset),
    "nearest": lambda x, offset: pr.round_to(x, pr.E4M3, offset=offset),
}


def by(spec, axis):
    return lambda x, offset: pr.quantize(x, spec, axis, offset=offset).codes.view(np.uint8)


def of(spec, **fields):
    return dataclasses.replace(spec, rounding=RANDOM, **fields)


WAYS |= {
    "rows": by(of(pr.QuantSpec(pr.E4M3, pr.PerVector())), -1),
    "groups": by(of(pr.QuantSpec(pr.E4M3, pr.PerGroup(16))), -1),
    "groups along the cut": by(of(pr.QuantSpec(pr.E5M2, pr.PerGroup(8))), 0),
    "blocks": by(of(pr.QuantSpec(pr.E4M3, pr.PerBlock(8, 16))), -1),
    "blocks across": by(of(pr.QuantSpec(pr.E4M3, pr.PerBlock(16, 8))), 0),
    "MXFP4": by(of(pr.MXFP4), -1),
    "LogFMT": by(pr.LogFMT(8, 16, rounding=RANDOM), -1),
    "LogFMT along the cut": by(pr.LogFMT(6, 8, rounding=RANDOM), 0),
    "specs.quantize": lambda x, n: specs.quantize(x, of(pr.MXFP8_E4M3), offset=n).codes.view(np.uint8),
    "a bare format": lambda x, n: specs.quantize(x, pr.E4M3, offset=n).codes.view(np.uint8),
    "LogFMT.quantize": lambda x, n: pr.LogFMT(9, 16, rounding=RANDOM).quantize(x, offset=n).codes,
    "QuantSpec.quantize": lambda x, n: of(pr.MXFP8_E5M2).quantize(x, offset=n).codes.view(np.uint8),
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("start", [0, 2**32 - 24 * 48 - 11, 2**64 - 64 * 48])
def test_pieces_along_the_first_axis_make_the_whole(way, dtype, start):
    x = np.random.default_rng(1).standard_normal((64, 48)).astype(dtype)
    whole = way(x, start)
    for cuts in ([0, 8, 64], [0, 16, 24, 56, 64]):
        pieces = [way(x[i:j], start + i * x[0].size) for i, j in itertools.pairwise(cuts)]
        np.testing.assert_array_equal(np.concatenate(pieces), whole)


@pytest.mark.parametrize("way", ["round_to", "encode", "nearest", "rows", "LogFMT"])
def test_large_pieces_of_three_axes(way):
    """More than one call of a loop, with the counter's low word turning over among them."""
    x = np.random.default_rng(2).standard_normal((6, 500, 300), np.float32)
    assert x.size > 3 * GRAIN
    start = 2**32 - 4 * x[0].size - 77
    whole = WAYS[way](x, start)
    pieces = [WAYS[way](x[i:j], start + i * x[0].size) for i, j in ((0, 1), (1, 5), (5, 6))]
    np.testing.assert_array_equal(np.concatenate(pieces), whole)


def test_the_counter_carries_inside_a_large_array():
    x = np.full(2 * GRAIN, 1.0625, np.float32)
    start = 2**33 - GRAIN - 3
    found = pr.round_to(x, pr.E4M3, rounding=COIN, offset=start)
    for index in (0, GRAIN, GRAIN + 2, GRAIN + 3, GRAIN + 4, 2 * GRAIN - 1):
        assert found[index] == (1.125 if coins(start + index, 1)[0] else 1.0)


def test_the_nan_that_overflow_makes_is_found_by_the_same_bits():
    """7 becomes NaN in E2M1 when it is rounded up, past 6, and is refused."""
    x = np.full(SIZE, 7, np.float32)
    for offset in (0, 2**32 - 3):
        up = coins(offset)
        how = {"rounding": COIN, "overflow": pr.Overflow.NON_SATURATING, "offset": offset}
        first = int(up.argmax())
        with pytest.raises(ValueError, match=f"at flat index {first},"):
            pr.round_to(x, pr.E2M1, **how)
        pr.round_to(x[:first], pr.E2M1, **how)


@pytest.mark.parametrize(
    "call",
    [
        lambda offset: pr.round_to(np.ones(8), pr.E4M3, offset=offset),
        lambda offset: pr.encode(np.ones(8), pr.E4M3, rounding=COIN, offset=offset),
        lambda offset: pr.quantize(np.ones(8), pr.MXFP4, offset=offset),
        lambda offset: pr.quantize(np.ones(8), pr.LogFMT(8), offset=offset),
        lambda offset: pr.MXFP4.quantize(np.ones(8), offset=offset),
        lambda offset: pr.LogFMT(8).quantize(np.ones(8), offset=offset),
        lambda offset: specs.quantize(np.ones(8), pr.E4M3, offset=offset),
    ],
    ids=["round_to", "encode", "quantize", "LogFMT", "QuantSpec.quantize", "LogFMT.quantize", "specs"],
)
def test_offsets_are_checked_by_name(call):
    call(np.int64(3)), call(np.uint64(2**64 - 8)), call(np.array(5))
    for wrong in (-1, 2**64, np.int8(-1)):
        with pytest.raises(ValueError, match=r"offset must lie in 0\.\.18446744073709551615, got"):
            call(wrong)
    with pytest.raises(ValueError, match=r"offset must be at most 2\*\*64 - 8 for an array of 8 elements"):
        call(2**64 - 7)
    for wrong in (1.0, "1", None, True, np.float32(2)):
        with pytest.raises(TypeError, match="offset must be a whole number, got"):
            call(wrong)


def test_a_spec_of_a_user_is_given_an_offset_only_where_there_is_one():
    class Mine:
        def quantize(self, x, axis=-1, out=None):
            return "done"

    assert pr.quantize(np.ones(4), Mine()) == pr.quantize(np.ones(4), Mine(), offset=0) == "done"
    with pytest.raises(TypeError, match="offset"):
        pr.quantize(np.ones(4), Mine(), offset=1)


# ---- two operands of one product --------------------------------------------------------------------------


def test_streams():
    how = pr.Stochastic(8, seed=SEED)
    assert how.with_stream(0) == how
    assert how.with_stream(np.int64(1)) == pr.Stochastic(8, seed=(SEED + 0x9E3779B97F4A7C15) % 2**64)
    assert len({how.with_stream(n).seed for n in range(1000)}) == 1000
    for n in (-1, 2**64):
        with pytest.raises(ValueError, match="n must lie in"):
            how.with_stream(n)
    for n in (True, 1.0):
        with pytest.raises(TypeError, match="n must be a whole number"):
            how.with_stream(n)


def test_products_are_unbiased_with_streams_of_their_own():
    n = 2**20
    x = np.full(n, 1.0625, np.float32)
    a, b = (
        pr.round_to(x, pr.E4M3, rounding=how).astype(np.float64) for how in (RANDOM, RANDOM.with_stream(1))
    )
    square, exact = (1 + 1.125**2) / 2, 1.0625**2  # the mean of a * a, and of independent factors
    spread = np.sqrt((square**2 - exact**2) / n)
    assert 5 * spread < (square - exact) / 8
    assert abs((a * b).mean() - exact) < 5 * spread
    assert abs((a * a).mean() - square) < 5 * np.sqrt((1 + 1.125**4) / 2 - square**2) / np.sqrt(n)


STOCHASTIC = pr.QuantSpec(pr.E4M3, pr.PerTensor(), rounding=pr.Stochastic(8, seed=3))


def test_for_operands():
    left, right = specs.for_operands(STOCHASTIC, STOCHASTIC)
    assert left == STOCHASTIC
    assert right == dataclasses.replace(STOCHASTIC, rounding=pr.Stochastic(8, seed=3).with_stream(1))
    fewer = dataclasses.replace(STOCHASTIC, rounding=pr.Stochastic(4, seed=3))  # top bits of the same words
    assert specs.for_operands(STOCHASTIC, fewer)[1].rounding == pr.Stochastic(4, seed=3).with_stream(1)
    logarithmic = pr.LogFMT(8, rounding=pr.Stochastic(8, seed=3))
    assert specs.for_operands(STOCHASTIC, logarithmic)[1].rounding == right.rounding
    other = dataclasses.replace(STOCHASTIC, rounding=pr.Stochastic(8, seed=4))
    for pair in (
        (left, right), (STOCHASTIC, other), (STOCHASTIC, None), (None, STOCHASTIC), (None, None),
        (pr.MXFP4, pr.MXFP4), (STOCHASTIC, pr.MXFP4), (pr.MXFP4, STOCHASTIC), (pr.E4M3, pr.E4M3),
    ):  # fmt: skip
        assert specs.for_operands(*pair) == pair


def halves(k):
    """A row and a column of halfway numbers, with amax 448 where the other has zero: both scales are 1."""
    a, b = np.full((1, k), 1.0625, np.float32), np.full((k, 1), 1.0625, np.float32)
    a[0, :2], b[:2, 0] = (448, 0), (0, 448)
    return a, b


def test_studies_of_products_are_unbiased():
    k = 2**18
    operands = {"data": Matrices("halves", *halves(k)), "a_spec": STOCHASTIC, "b_spec": STOCHASTIC}
    found = study("gemm").cell(**operands, m=1, n=1, k=k, accumulator=pr.EXACT)
    square, exact = (1 + 1.125**2) / 2, 1.0625**2
    spread = np.sqrt((square**2 - exact**2) / k) / exact
    assert 5 * spread < (square / exact - 1) / 4
    assert abs(found["total_signed_relative_error"]) < 5 * spread


def test_cells_and_bounds_quantize_the_right_operand_by_its_own_seed():
    right = specs.for_operands(STOCHASTIC, STOCHASTIC)[1]
    _drawn_products._operands.cache_clear()
    found = _drawn_products._operands(STOCHASTIC, STOCHASTIC, 3, 4, 64, "normal", 0.0, 5)
    b = draw("normal", (64, 4), k_axis=0, seed=5)
    np.testing.assert_array_equal(
        found.right.codes.view(np.uint8), pr.quantize(b, right, axis=-2).codes.view(np.uint8)
    )
    assert (found.right.codes != pr.quantize(b, STOCHASTIC, axis=-2).codes).any()
    a, b = halves(64)
    given = prepare(STOCHASTIC, pr.FP32_FMA, a, b, None, np.float32).given
    assert (given[0].codes.ravel() != given[1].codes.ravel())[2:].any()
    pair = prepare((STOCHASTIC, STOCHASTIC), pr.FP32_FMA, a, b, None, np.float32).given  # as it is said
    assert (pair[0].codes.ravel() == pair[1].codes.ravel())[2:].all()
    assert bounds.error_bound(STOCHASTIC, pr.FP32_FMA, a, b).total.shape == (1, 1)
