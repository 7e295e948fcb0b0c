"""Small arrays, quantized and dequantized by one prepared call: the general ways' bits, arrays and errors."""

import dataclasses
import threading

import ml_dtypes
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import precision as pr
from precision import formats
from precision.quantization import _dequantizing, _single_calls
from precision.quantization._quant_spec import SPECS

F32 = np.float32
TE = pr.Arithmetic.TRANSFORMER_ENGINE
NESTED = {"scale_format": pr.E4M3, "tensor_scale": True}
ALL = [
    *SPECS.values(),
    pr.QuantSpec(pr.E4M3, pr.PerGroup(128)),
    pr.QuantSpec(pr.E4M3, pr.PerGroup(7), min_amax=1e-4),
    pr.QuantSpec(pr.E5M2, pr.PerVector(), overflow=pr.Overflow.NON_SATURATING),
    pr.QuantSpec(formats.INT8, pr.PerTensor()),
    pr.QuantSpec(pr.E4M3, pr.PerBlock(2, 16)),
    pr.QuantSpec(pr.E4M3, pr.PerGroup(1)),
    pr.QuantSpec(pr.E4M3, pr.PerGroup(32), rounding=pr.Stochastic(8, seed=3)),
    pr.QuantSpec(pr.E2M3, pr.PerGroup(32), rounding=pr.Rounding.TOWARD_ZERO),
    pr.QuantSpec(pr.E2M1, pr.PerGroup(16), **NESTED),
    pr.QuantSpec(pr.E2M1, pr.PerGroup(32), **NESTED, arithmetic=TE),
    pr.QuantSpec(pr.E2M1, pr.PerGroup(16), **NESTED, arithmetic=pr.Arithmetic.NVFP4_PAPER),
    pr.QuantSpec(pr.E4M3, pr.PerGroup(32), scale_format=pr.E8M0, non_finite=pr.NonFinite.FINITE_AMAX),
]
SHAPES = [(4, 128), (128,), (1, 1), (2, 3, 96), (3, 50), (5, 1), (1, 1, 64), (1, 40000), (0, 16), (3, 0)]


@pytest.fixture
def general():
    """Call a function in the general way."""

    def call(function, *args, **named):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(_single_calls, "MOST", -1)
            patch.setattr(_dequantizing, "MOST", -1)
            return function(*args, **named)

    return call


def drawn(seed, shape, dtype, kind):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(shape) * 10.0 ** rng.integers(-4, 5, shape)
    if kind == "zeros":
        x = np.copysign(0.0, x)
    if kind == "tiny":
        x *= 2.0**-140
    if kind == "huge":
        x *= 2.0**110
    if kind == "special" and x.size:
        x.flat[rng.integers(x.size)] = rng.choice([np.nan, np.inf, -np.inf])
        x.flat[-1] = rng.choice([np.nan, 1.0])
    with np.errstate(over="ignore"):
        return x.astype(dtype)


def parts(array):
    return array.tobytes(), array.dtype, array.shape, array.strides, array.flags.writeable


def parts_of(q):
    second = None if q.tensor_scale is None else (type(q.tensor_scale), q.tensor_scale.tobytes())
    return parts(q.codes), parts(q.scale), q.fmt, q.scale_format, q.block, second


def outcome(function, *args, **named):
    """The parts of a tensor, or the error that is raised."""
    try:
        return parts_of(function(*args, **named))
    except (TypeError, ValueError) as error:
        return type(error), str(error)


@pytest.mark.parametrize("spec", ALL, ids=str)
@given(
    seed=st.integers(0, 2**32 - 1),
    shape=st.sampled_from(SHAPES),
    dtype=st.sampled_from([F32, np.float64, np.float16, ml_dtypes.bfloat16]),
    kind=st.sampled_from(["normal", "zeros", "tiny", "huge", "special"]),
    axis=st.sampled_from([-1, -1, 0, 1]),
    offset=st.sampled_from([0, 7, 2**64 - 50000]),
)
@settings(max_examples=30, deadline=None)
@example(0, (4, 128), F32, "normal", -1, 0)
@example(0, (4, 128), F32, "zeros", -1, 0)
@example(0, (4, 128), F32, "tiny", -1, 0)
@example(0, (4, 128), F32, "huge", -1, 0)
@example(0, (4, 128), F32, "special", -1, 0)
def test_gives_what_the_general_way_gives(spec, seed, shape, dtype, kind, axis, offset):
    x = drawn(seed, shape, dtype, kind)
    held = x.copy()
    ways = []
    for most in (1 << 16, -1):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(_single_calls, "MOST", most)
            patch.setattr(_dequantizing, "MOST", most)
            ways.append([outcome(pr.quantize, x, spec, axis, offset=offset)])
            if isinstance(ways[-1][0][0], type):
                continue
            q = pr.quantize(x, spec, axis, offset=offset)
            ways[-1] += [parts(q.dequantize(kind)) for kind in (F32, np.float64)]
            ways[-1] += [parts(q.T.dequantize())]
    assert ways[0] == ways[1]
    assert x.tobytes() == held.tobytes()


class Changing:
    """A granularity that its owner changes, as none of the package's can be."""

    def __init__(self, n):
        self.n = n

    def block(self, shape, axis=-1):
        return (*[1] * (len(shape) - 1), self.n)


def test_a_granularity_that_changes_is_asked_each_time():
    for hashed in (True, False):
        kind = Changing if hashed else type("Unhashed", (Changing,), {"__hash__": None})
        granularity = kind(32)
        spec, x = pr.QuantSpec(pr.E4M3, granularity), drawn(0, (4, 128), F32, "normal")
        assert pr.quantize(x, spec).block == (1, 32)
        granularity.n = 64
        assert pr.quantize(x, spec).block == (1, 64)


def test_equal_specs_that_are_not_identical(general):
    x = drawn(0, (4, 128), F32, "normal")
    for spec in ALL[:14]:
        twin = dataclasses.replace(spec)
        assert twin is not spec and twin == spec and hash(twin) == hash(spec)
        assert parts_of(pr.quantize(x, twin)) == parts_of(pr.quantize(x, spec))
    one, other = (pr.QuantSpec(pr.E4M3, pr.PerGroup(128), min_amax=least) for least in (1e-4, 1e6))
    assert parts_of(pr.quantize(x, one)) != parts_of(pr.quantize(x, other))
    assert parts_of(pr.quantize(x, other)) == parts_of(general(pr.quantize, x, other))


@pytest.mark.parametrize(
    ("args", "named"),
    [
        ((np.ones((4, 128), F32),), {"axis": 2}),
        ((np.ones((4, 128), F32),), {"axis": -3}),
        ((np.ones((4, 128), F32),), {"axis": True}),
        ((np.ones((4, 128), F32),), {"axis": 1.0}),
        ((np.ones((4, 128), F32),), {"offset": -1}),
        ((np.ones((4, 128), F32),), {"offset": True}),
        ((np.ones((4, 128), F32),), {"offset": 2**64 - 511}),
        ((np.ones((4, 128), F32),), {"offset": 2**64, "axis": 5}),
        ((np.ones((4, 128), np.int32),), {}),
        ((np.ones((4, 128), ">f4"),), {}),
        ((np.ones((4, 128), np.complex64),), {}),
        ((np.ones((4, 128), np.longdouble),), {}),
        ((np.ones((), F32),), {}),
        ((np.ma.ones((4, 128), F32),), {}),
        (([[1.0, 2.0]],), {}),
        ((np.ones(128, F32),), {}),
        ((np.ones((4, 128), "M8[s]"),), {}),
    ],
    ids=str,
)
def test_errors_are_those_of_the_general_way(args, named, general):
    for spec in (ALL[0], pr.QuantSpec(pr.E4M3, pr.PerBlock(1, 128)), pr.QuantSpec(pr.E4M3, pr.PerGroup(128))):
        for _ in range(2):  # an error is not kept
            assert outcome(spec.quantize, *args, **named) == general(outcome, spec.quantize, *args, **named)


def test_bits_above_a_format_are_found():
    q = pr.quantize(np.ones((4, 32), F32), pr.MXFP4)
    q.codes.view(np.uint8)[1, 2] = 0x82
    with pytest.raises(ValueError, match="codes of e2m1 must lie below"):
        q.dequantize()


def test_is_chosen_for_small_contiguous_arrays():
    x, most = np.ones((4, 128), F32), _single_calls.MOST
    spec = pr.QuantSpec(pr.E4M3, pr.PerGroup(128))
    for taken in (x, x[:, :], x[1:3], np.ones((most // 128, 128), F32), np.ones((2, 4, 64), np.float64)):
        assert _single_calls.find_call(spec, taken, -1) is not None
    for left in (x[:, ::2], x.T, np.ones((most // 128 + 1, 128), F32), x[:0], x.astype(np.int8)):
        assert _single_calls.find_call(spec, left, -1) is None
    assert _single_calls.find_call(spec, x, 0) is None


def test_results_share_no_memory_and_may_be_written():
    x = drawn(0, (4, 128), F32, "normal")
    x.flags.writeable = False
    for spec in (ALL[0], pr.NVFP4, pr.QuantSpec(pr.E4M3, pr.PerGroup(128))):
        one = pr.quantize(x, spec)
        wanted, values = parts_of(one), parts(one.dequantize())
        other = pr.quantize(x, spec)
        assert not np.shares_memory(one.codes, other.codes) and not np.shares_memory(one.scale, other.scale)
        other.codes[...] = 0
        other.scale[...] = 1
        other.dequantize()[...] = 7
        again = pr.quantize(x, spec)
        assert parts_of(one) == parts_of(again) == wanted
        assert parts(again.dequantize()) == values


def test_threads_share_plans():
    specs = [pr.MXFP8_E4M3, pr.NVFP4, *(pr.QuantSpec(pr.E4M3, pr.PerGroup(n)) for n in range(100, 140))]
    arrays = [drawn(seed, (4, 128), F32, "normal") for seed in range(4)]
    wanted = {(i, j): parts_of(pr.quantize(x, s)) for i, x in enumerate(arrays) for j, s in enumerate(specs)}
    _single_calls._prepare.cache_clear()
    wrong = []

    def work(first):
        for j, spec in enumerate(specs):
            i = (first + j) % len(arrays)
            q = pr.quantize(arrays[i], dataclasses.replace(spec))
            if parts_of(q) != wanted[i, j] or not np.isfinite(q.dequantize()).all():
                wrong.append((i, spec))

    threads = [threading.Thread(target=work, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
