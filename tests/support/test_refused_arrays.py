"""Masked arrays, ``dtype=None``, outputs whose elements overlap, empty blocks, and scales that overflow."""

import warnings

import ml_dtypes
import numpy as np
import pytest
from numpy.lib.stride_tricks import as_strided

import precision as pr
from precision import metrics, storage, testing
from precision._support._array_checks import refuse_overlapping

X = np.ones((2, 64), np.float32)
CODES = pr.encode(X, pr.E4M3)
MASKED = np.ma.masked_greater(np.arange(128, dtype=np.float32).reshape(2, 64), 3.0)
MASKED_CODES = np.ma.array(CODES.view(np.uint8), mask=False)
TENSOR = pr.QuantizedTensor(CODES, 1.0, fmt=pr.E4M3)
LOG = pr.quantize(X, pr.LogFMT(8, 32))

TAKES_ARRAYS = {
    "quantize": ("x", lambda: pr.quantize(MASKED, pr.MXFP8_E4M3)),
    "quantize LogFMT": ("x", lambda: pr.quantize(MASKED, pr.LogFMT(8, 32))),
    "round_to": ("x", lambda: pr.round_to(MASKED, pr.E4M3)),
    "round_to out": ("out", lambda: pr.round_to(X, pr.E4M3, out=MASKED.copy())),
    "encode": ("x", lambda: pr.encode(MASKED, pr.E4M3)),
    "decode": ("codes", lambda: pr.decode(MASKED_CODES, pr.E4M3)),
    "matmul a": ("a", lambda: pr.matmul(np.ma.array(X), X.T, accumulator=pr.FP32_FMA)),
    "matmul b": ("b", lambda: pr.matmul(X, np.ma.array(X.T), accumulator=pr.EXACT)),
    "matmul c": ("c", lambda: pr.matmul(TENSOR, TENSOR.T, c=np.ma.masked)),
    "trace": ("a_row", lambda: pr.trace(MASKED[0], X[0], accumulator=pr.FP32_FMA)),
    "codes": ("codes", lambda: pr.QuantizedTensor(MASKED_CODES, 1.0, fmt=pr.E4M3)),
    "scale": ("scale", lambda: pr.QuantizedTensor(CODES, MASKED[:, :1], fmt=pr.E4M3)),
    "tensor_scale": (
        "tensor_scale",
        lambda: pr.QuantizedTensor(CODES, 1.0, fmt=pr.E4M3, tensor_scale=np.ma.array(np.float32(2.0))),
    ),
    "dequantize out": ("out", lambda: TENSOR.dequantize(out=MASKED.copy())),
    "LogFMTTensor codes": ("codes", lambda: type(LOG)(np.ma.array(LOG.codes), LOG.metadata, LOG.spec)),
    "LogFMTTensor metadata": (
        "metadata",
        lambda: type(LOG)(LOG.codes, (LOG.metadata[0], np.ma.array(LOG.metadata[1])), LOG.spec),
    ),
    "Hadamard": ("x", lambda: pr.Hadamard(16)(MASKED)),
    "pack": ("codes", lambda: storage.pack(MASKED_CODES, pr.E4M3)),
    "swizzle": ("scale", lambda: storage.swizzle(MASKED_CODES)),
    "metrics": ("result", lambda: metrics.sqnr(MASKED, X)),
}


@pytest.mark.parametrize("call", TAKES_ARRAYS)
def test_masked_arrays_are_refused(call):
    name, run = TAKES_ARRAYS[call]
    with pytest.raises(TypeError, match=f"^{name} must be a plain array, got a masked one.* fill it first"):
        run()


TAKES_TYPES = {
    "dequantize": lambda dtype: TENSOR.dequantize(dtype),
    "dequantize LogFMT": lambda dtype: LOG.dequantize(dtype),
    "matmul": lambda dtype: pr.matmul(TENSOR, TENSOR.T, dtype=dtype),
    "matmul exact": lambda dtype: pr.matmul(TENSOR, TENSOR.T, accumulator=pr.EXACT, dtype=dtype),
    "format_of": lambda dtype: pr.formats.format_of(dtype),
    "check_quantizer": lambda dtype: testing.check_quantizer(lambda x: x, pr.E4M3, dtype=dtype),
    "check_matmul": lambda dtype: testing.check_matmul(lambda a, b: a @ b, pr.HOPPER_FP8, dtype=dtype),
}


@pytest.mark.parametrize("dtype", [None, "no such type"])
@pytest.mark.parametrize("call", TAKES_TYPES)
def test_what_names_no_data_type_is_refused(call, dtype):
    with pytest.raises(TypeError, match=f"^dtype must be .*got {dtype!r}"):
        TAKES_TYPES[call](dtype)


def repeated(dtype, shape=(2, 64)) -> np.ndarray:
    """An array of which a whole axis lies in one place."""
    return as_strided(np.zeros(shape[-1], dtype), shape, (0, np.dtype(dtype).itemsize))


def windows(dtype) -> np.ndarray:
    """Two rows of which the second begins inside the first."""
    size = np.dtype(dtype).itemsize
    return as_strided(np.zeros(80, dtype), (2, 64), (16 * size, size))


@pytest.mark.parametrize("make", [repeated, windows])
def test_outputs_that_overlap_themselves_are_refused(make):
    scale = pr.quantize(X, pr.MXFP8_E4M3).scale
    odd_codes = pr.QuantizedTensor(make(pr.E4M3.dtype), scale, fmt=pr.E4M3, block=(1, 32))
    odd_scale = pr.QuantizedTensor(
        CODES.copy(), as_strided(np.ones(1, pr.E8M0.dtype), (2, 2), (0, 0)), fmt=pr.E4M3, block=(1, 32)
    )
    log = type(LOG)(make(LOG.codes.dtype), LOG.metadata, LOG.spec)
    calls = [
        lambda: pr.round_to(X, pr.E4M3, out=make(np.float32)),
        lambda: pr.encode(X, pr.E4M3, out=make(pr.E4M3.dtype)),
        lambda: pr.decode(CODES, pr.E4M3, out=make(np.float32)),
        lambda: TENSOR.dequantize(out=make(np.float32)),
        lambda: LOG.dequantize(np.float64, out=make(np.float64)),
        lambda: pr.quantize(X, pr.MXFP8_E4M3, out=odd_codes),
        lambda: pr.quantize(X, pr.MXFP8_E4M3, out=odd_scale),
        lambda: pr.quantize(X, pr.LogFMT(8, 32), out=log),
    ]
    for call in calls:
        with pytest.raises(ValueError, match="out must give each element its own memory"):
            call()


def test_what_overlaps_is_told_from_what_only_interlaces():
    """Against the places of all bytes, for all small strides."""
    memory = np.zeros(4096, np.uint8)
    for itemsize in (1, 2):
        middle = memory[2048:].view(f"u{itemsize}")
        for shape in ((3, 2), (2, 3), (2, 2, 2), (1, 4), (0, 2)):
            for step in np.ndindex(*(13,) * min(2, len(shape))):
                strides = [s - 6 for s in step] + [5] * (len(shape) - 2)
                array = as_strided(middle, shape, strides)
                places = [
                    sum(i * s for i, s in zip(index, strides, strict=True)) + byte
                    for index in np.ndindex(*shape)
                    for byte in range(itemsize)
                ]
                if len(set(places)) == len(places):
                    refuse_overlapping("out", array)
                else:
                    with pytest.raises(ValueError, match="own memory"):
                        refuse_overlapping("out", array)


@pytest.mark.parametrize("block", [0, False, [], "", 1, np.zeros(0)])
def test_a_block_is_a_tuple(block):
    for scale in (1.0, np.ones((2, 1), np.float32)):
        with pytest.raises(TypeError, match=r"^block must be a tuple"):
            pr.QuantizedTensor(CODES, scale, fmt=pr.E4M3, block=block)
    with pytest.raises(ValueError, match=r"^block must have 2 entries of at least 1"):
        pr.QuantizedTensor(CODES, 1.0, fmt=pr.E4M3, block=(0, 0))


@pytest.mark.parametrize("size", [2**40, 2**62, 2**63, 2**70])
def test_blocks_longer_than_any_axis_are_one_block(size):
    x = np.random.default_rng(0).standard_normal((6, 64)).astype(np.float32)
    ones = pr.encode(np.ones((3, 6)), pr.E4M3)
    for huge, same in (
        (pr.PerBlock(size, 2), pr.PerBlock(6, 2)),
        (pr.PerBlock(2, size), pr.PerBlock(2, 64)),
        (pr.PerGroup(size), pr.PerGroup(64)),
    ):
        q, want = (pr.quantize(x, pr.QuantSpec(pr.E4M3, granularity)) for granularity in (huge, same))
        assert q.block != want.block and (q.scale == want.scale).all()
        assert (q.dequantize() == want.dequantize()).all()
        assert (q.T.dequantize(np.float64) == want.T.dequantize(np.float64)).all()
        for unit in (pr.EXACT, pr.FP32_FMA.promoted(1)):
            got, right = (pr.matmul(t, t.T, accumulator=unit) for t in (q, want))
            assert (got == right).all()
            got, right = (pr.matmul(ones, t, accumulator=unit) for t in (q, want))
            assert (got == right).all()
    batch = pr.QuantizedTensor(
        pr.encode(np.ones((3, 5, 8)), pr.E4M3),
        np.ones((1, 1, 1), np.float32),
        fmt=pr.E4M3,
        block=(size, size, None),
    )
    assert (pr.matmul(batch, batch.mT, accumulator=pr.EXACT) == 8).all()


def test_scales_that_overflow_give_infinity_without_a_warning():
    huge = np.float32(3e38)
    row, column = (np.full(s, huge) for s in ((2, 1), (1, 2)))
    made = [
        pr.QuantizedTensor(CODES, s, fmt=pr.E4M3, block=b, tensor_scale=t)
        for s, b in ((huge, (None, None)), (row, (1, None)), (row, (1, 64)))
        for t in (None, huge)
    ]
    columns = [pr.QuantizedTensor(CODES.T.copy(), column, fmt=pr.E4M3), *(q.T for q in made)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for a in made:
            assert np.isinf(a.multipliers()).all() == (a.tensor_scale is not None)
            assert np.isfinite(a.dequantize(np.float64)).all() == (a.tensor_scale is None)
            for b in columns:
                for unit in (pr.HOPPER_FP8, pr.HOPPER_FP8.promoted(64), pr.FP32_FMA, pr.EXACT):
                    for dtype in (np.float32, np.float16, ml_dtypes.bfloat16):
                        assert np.isinf(
                            pr.matmul(a, b, accumulator=unit, dtype=dtype).astype(np.float32)
                        ).all()
        q = pr.QuantizedTensor(CODES, np.full((2, 2), 254, np.uint8), fmt=pr.E4M3, scale_format=pr.E8M0)
        assert np.isinf(pr.matmul(q, q.T, accumulator=pr.BLACKWELL_MX)).all()
