"""LogFMT's tensor: packed bytes, bad input, the same bits everywhere."""

import hashlib
import os
import subprocess
import sys

import logfmt_cases as cases
import numpy as np
import pytest
import reference_logfmt as oracle

import precision as pr
from precision.logfmt import Fallback, LogFMT, Metadata

F = np.float32


# ---- bytes --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", range(3, 17))
def test_pack_and_unpack(bits):
    """Every length around whole bytes and tiles, against Python's integers."""
    for length in (0, 1, 2, 3, 5, 7, 8, 9, 15, 16, 17, 31, 64, 100):
        x = cases.families(3 * length, F, bits)["with zeros"].reshape(3, length) if length else F([[], []])
        spec = LogFMT(bits, 16)
        q = pr.quantize(x, spec)
        packed = q.pack()
        cast = np.ones(q.metadata[0].shape, bool)
        assert packed.dtype == np.uint8 and packed.size == q.nbytes
        assert packed.tobytes() == oracle.packed(q.codes, q.metadata, cast, cases.plain(spec))
        back = spec.unpack(packed, q.shape)
        assert np.array_equal(back.codes, q.codes) and back.codes.dtype == q.codes.dtype
        assert all(np.array_equal(a, b) for a, b in zip(back.metadata, q.metadata, strict=True))


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("fmt", [pr.BF16, pr.FP16], ids=str)
def test_pack_and_unpack_with_a_fallback(fmt, axis):
    x = 3 * cases.families(7 * 40, F, 2)["normal"].reshape(7, 40)
    spec = LogFMT(
        10,
        2,
        metadata=Metadata.EXTREMES,
        metadata_format=pr.BF16,
        fallback=Fallback(fmt, 4, amax_below=5.0),
    )
    q = pr.quantize(x, spec, axis=axis)
    wanted = oracle.encode(x, cases.plain(spec), axis)
    last = [np.ascontiguousarray(np.moveaxis(a, axis, -1)) for a in (q.codes, *q.metadata)]
    assert 0 < wanted.cast.sum() < wanted.cast.size
    metadata = tuple(m.view(np.uint16) for m in last[1:])
    assert q.pack().tobytes() == oracle.packed(last[0], metadata, wanted.cast, cases.plain(spec))
    back = spec.unpack(q.pack(), q.shape, axis)
    assert np.array_equal(back.codes, q.codes) and np.array_equal(back.dequantize(), q.dequantize())
    assert cases.decode_errors(q, wanted, axis) <= 1


def test_bytes_that_are_not_a_tensors():
    spec = LogFMT(5, 16)
    q = pr.quantize(cases.families(37, F)["normal"], spec)
    packed = q.pack()
    for wrong in (packed[:-1], np.append(packed, np.uint8(0)), packed[:0]):
        with pytest.raises(ValueError, match="packed"):
            spec.unpack(wrong, q.shape)
    filled = packed.copy()
    filled[-1] |= 0x80  # 37 * 5 = 185 bits: the last byte has one
    with pytest.raises(ValueError, match="packed"):
        spec.unpack(filled, q.shape)
    with pytest.raises(ValueError):
        spec.unpack(packed, (40,))
    with pytest.raises(TypeError, match="packed"):
        spec.unpack(packed.tobytes(), q.shape)
    with pytest.raises(TypeError, match="packed"):
        spec.unpack(packed.astype(np.int16), q.shape)


# ---- bad input ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "name", "arguments", "options"),
    [
        (ValueError, "bits", (2,), {}),
        (ValueError, "bits", (17,), {}),
        (TypeError, "bits", (True,), {}),
        (TypeError, "bits", (8.0,), {}),
        (ValueError, "block_size", (8, 0), {}),
        (TypeError, "block_size", (8, "128"), {}),
        (TypeError, "base", (8,), {"base": "e"}),
        (TypeError, "space", (8,), {"space": 1}),
        (TypeError, "rounding", (8,), {"rounding": []}),
        (ValueError, "rounding", (8,), {"rounding": pr.Rounding.TOWARD_ZERO}),
        (ValueError, "clamp", (8,), {"clamp": 0}),
        (TypeError, "clamp", (8,), {"clamp": 1.5}),
        (ValueError, "skip_zeros", (8,), {"clamp": None, "skip_zeros": False}),
        (TypeError, "from_stored", (8,), {"from_stored": 1}),
        (ValueError, "metadata_format", (8,), {"metadata_format": pr.E4M3}),
        (ValueError, "metadata_format", (8,), {"metadata": Metadata.EXTREMES, "metadata_format": pr.FP16}),
        (TypeError, "metadata_format", (8,), {"metadata_format": []}),
        (TypeError, "fallback", (8,), {"fallback": 3}),
        (ValueError, "fallback", (8,), {"fallback": Fallback()}),
        (ValueError, "fallback", (8, 3), {"metadata": Metadata.EXTREMES, "fallback": Fallback()}),
    ],
)
def test_bad_specs(error, name, arguments, options):
    with pytest.raises(error, match=name):
        LogFMT(*arguments, **options)


def test_specs_print_as_text_that_reads_back():
    fallback = Fallback(pr.FP16, 64, amax_below=0.5)
    specs = [
        LogFMT(8),
        LogFMT(np.int64(10), np.uint8(64), clamp=np.int32(5), rounding=pr.Stochastic(8, seed=3)),
        LogFMT(9, 16, metadata=Metadata.EXTREMES, metadata_format=pr.BF16, fallback=fallback),
        pr.DEEPEP_LOGFMT10,
    ]
    for spec in specs:
        assert repr(spec) == str(spec) and LogFMT.parse(repr(spec)) == spec
    assert repr(specs[1]) == "LogFMT(10, 64, rounding=Stochastic(bits=8, seed=3), clamp=5)"
    assert repr(fallback) == "Fallback(fp16, 64, amax_below=0.5)" and repr(specs[3]) == "DEEPEP_LOGFMT10"


def test_bad_arrays():
    spec = LogFMT(8)
    for x in (np.arange(4), np.array([1.0, None]), np.array([True]), np.array([1j]), np.array(["a"])):
        with pytest.raises(TypeError):
            pr.quantize(x, spec)
    with pytest.raises(ValueError, match="axis"):
        pr.quantize(F(1), spec)
    for axis in (2, -3):
        with pytest.raises(ValueError, match="axis"):
            pr.quantize(np.ones((2, 3), F), spec, axis=axis)
    for axis in (True, 0.0, None, [0]):
        with pytest.raises(TypeError, match="axis"):
            pr.quantize(np.ones((2, 3), F), spec, axis=axis)


def test_out():
    spec, x = LogFMT(8, 4), cases.families(20, F)["normal"].reshape(2, 10)
    q = pr.quantize(x, spec)
    into = pr.quantize(np.ones_like(x), spec)
    found = pr.quantize(x, spec, out=into)
    assert np.shares_memory(found.codes, into.codes) and np.array_equal(into.codes, q.codes)
    assert all(np.array_equal(a, b) for a, b in zip(into.metadata, q.metadata, strict=True))
    others = [
        pr.quantize(x[:, :9], spec),
        pr.quantize(x, LogFMT(8, 5)),
        pr.quantize(x, LogFMT(7, 4)),
        pr.quantize(x, spec, axis=0),
    ]
    for wrong in others:
        with pytest.raises(ValueError, match="out"):
            pr.quantize(x, spec, out=wrong)
    for wrong in (np.empty((2, 10), np.uint8), "out"):
        with pytest.raises(TypeError, match="out"):
            pr.quantize(x, spec, out=wrong)
    y = np.empty_like(x)
    assert q.dequantize(out=y) is y and np.array_equal(y, q.dequantize())
    with pytest.raises((TypeError, ValueError), match="out"):
        q.dequantize(out=np.empty((2, 9), F))


def test_metadata_that_do_not_match():
    spec = LogFMT(8, 4)
    q = pr.quantize(np.ones((2, 10), F), spec)
    low, step = q.metadata
    for wrong in (
        (low[:, :2], step),
        (low, step.T),
        (low.astype(np.float64), step),
        (low,),
        (low, step, step),
    ):
        with pytest.raises((TypeError, ValueError), match="metadata"):
            pr.LogFMTTensor(q.codes, wrong, spec)
    for wrong in (q.codes.astype(np.uint16), q.codes[:, :5]):
        with pytest.raises((TypeError, ValueError), match=r"codes|metadata"):
            pr.LogFMTTensor(wrong, q.metadata, spec)


def test_arrays_of_any_layout():
    x = cases.families(6 * 40, F)["normal"].reshape(6, 40)
    spec = LogFMT(9, 16)
    for view in (x.T, x[::-2, ::3], np.asfortranarray(x), x[:, ::-1]):
        q = pr.quantize(view, spec)
        assert np.array_equal(q.codes, pr.quantize(np.ascontiguousarray(view), spec).codes)
    x.flags.writeable = False
    assert pr.quantize(x, spec).shape == x.shape
    for shape in ((0,), (0, 5), (5, 0), (2, 0, 3)):
        q = pr.quantize(np.empty(shape, F), spec)
        assert q.shape == shape and q.dequantize().shape == shape and q.pack().size == q.nbytes
        assert spec.unpack(q.pack(), shape).shape == shape
    assert hash(spec) == hash(LogFMT(9, 16)) and pr.LogFMT.parse(str(spec)) == spec


# ---- the same bits everywhere -------------------------------------------------------------------------


def digest() -> str:
    found = hashlib.sha256()
    specs = [
        LogFMT(8),
        LogFMT(10),
        LogFMT(5, 7, rounding=pr.Stochastic(8, seed=2)),
        LogFMT(12, space=pr.logfmt.Space.LOG, metadata=Metadata.EXTREMES),
        pr.DEEPEP_LOGFMT10,
    ]
    for dtype in cases.DTYPES:
        x = np.concatenate([v for v in cases.families(3000, dtype, 3).values()])
        for spec in specs:
            q = pr.quantize(x, spec)
            found.update(q.pack().tobytes() + q.dequantize().tobytes())
    return found.hexdigest()


@pytest.fixture(scope="module")
def expected():
    return digest()


@pytest.mark.parametrize("count", [1, 2, 7])
def test_any_number_of_threads(count, expected):
    before = pr.get_num_threads()
    try:
        pr.set_num_threads(count)
        assert digest() == expected
    finally:
        pr.set_num_threads(before)


def test_a_generic_processor_gives_the_same_bits(expected, tmp_path):
    environment = {
        **os.environ,
        "NUMBA_CPU_NAME": "generic",
        "NUMBA_CPU_FEATURES": "",
        "NUMBA_CACHE_DIR": str(tmp_path),
        "PYTHONPATH": os.pathsep.join(sys.path),  # this folder, and that of the oracles
    }
    found = subprocess.run(
        [sys.executable, "-c", "import test_logfmt_tensor; print(test_logfmt_tensor.digest())"],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.strip() == expected
