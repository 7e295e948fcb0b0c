"""Small arrays, encoded to LogFMT by one prepared call: the general way's bits, arrays and errors."""

import dataclasses

import ml_dtypes
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import precision as pr
from precision.logfmt import LogBase, Metadata, Space, _encoding, _single_calls

F32 = np.float32
ALL = [
    pr.LogFMT(8),
    pr.LogFMT(10, 64),
    pr.LogFMT(3, 7),
    pr.LogFMT(16, base=LogBase.TWO),
    pr.LogFMT(8, metadata_format=pr.BF16),
    pr.LogFMT(6, metadata_format=pr.FP16, from_stored=False),
    pr.LogFMT(8, metadata=Metadata.EXTREMES, clamp=None),
    pr.LogFMT(5, space=Space.LOG, skip_zeros=False, non_finite=pr.NonFinite.FINITE_AMAX),
    pr.LogFMT(8, 16, rounding=pr.Stochastic(8, seed=1)),
    pr.logfmt.DEEPEP_LOGFMT10,
]
SHAPES = [(4, 128), (128,), (1, 1), (2, 3, 96), (3, 50), (5, 1), (1, 8192), (0, 16), (3, 0), (2, 1024)]


def drawn(seed, shape, dtype, kind):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(shape) * 10.0 ** rng.integers(-3, 3, shape)
    if kind == "zeros":
        x[...] = 0
    if kind == "powers":
        x = np.exp2(np.round(x)) * rng.choice([-1, 1], shape)
    if kind == "special" and x.size:
        x.flat[rng.integers(x.size)] = rng.choice([np.nan, np.inf, -np.inf, 0.0])
    with np.errstate(over="ignore"):
        return x.astype(dtype)


def parts(array):
    return array.tobytes(), array.dtype, array.shape, array.strides, array.flags.writeable


def outcome(x, spec, axis=-1, **named):
    """The parts of a tensor, or the error that is raised."""
    try:
        q = spec.quantize(x, axis, **named)
    except (TypeError, ValueError) as error:
        return type(error), str(error)
    return parts(q.codes), *map(parts, q.metadata), q.spec, q.axis


def both_ways(*args, **named):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_single_calls, "MOST", -1)
        wanted = outcome(*args, **named)
    return outcome(*args, **named), wanted


@pytest.mark.parametrize("spec", ALL, ids=str)
@given(
    seed=st.integers(0, 2**32 - 1),
    shape=st.sampled_from(SHAPES),
    dtype=st.sampled_from([F32, np.float64, np.float16, ml_dtypes.bfloat16]),
    kind=st.sampled_from(["normal", "zeros", "powers", "special"]),
    axis=st.sampled_from([-1, -1, 0]),
    offset=st.sampled_from([0, 7, 2**64 - 9000]),
)
@settings(max_examples=25, deadline=None)
@example(0, (4, 128), F32, "normal", -1, 0)
@example(0, (4, 128), F32, "powers", -1, 0)
@example(0, (4, 128), F32, "special", -1, 0)
@example(0, (2, 1024), F32, "zeros", -1, 7)
def test_gives_what_the_general_way_gives(spec, seed, shape, dtype, kind, axis, offset):
    x = drawn(seed, shape, dtype, kind)
    held = x.tobytes()
    ours, wanted = both_ways(x, spec, axis, offset=offset)
    assert ours == wanted and x.tobytes() == held


def test_more_elements_near_boundaries_than_one_call_has_room_for(monkeypatch):
    """Ties at every element, and room for those of one tile alone: the general way divides the tiles."""
    monkeypatch.setattr(_encoding, "_OPEN", 0)
    spec = pr.LogFMT(8, 16, base=LogBase.TWO, space=Space.LOG, rounding=pr.Rounding.TIES_TO_AWAY)
    levels = 2.0 ** np.linspace(0, 12.6, 127)
    ties = np.sqrt(levels[1:] * levels[:-1])
    x = np.tile(np.concatenate([levels[[0, -1]], ties])[:16], (64, 1))
    ours, wanted = both_ways(x, spec)
    assert ours == wanted
    call = _single_calls.find_call(spec, x, -1)
    run = _encoding.Encoding.run
    monkeypatch.setattr(_encoding.Encoding, "run", lambda *args: bool(run(*args)) and args[2][1] == 1)
    assert call(x, 0) is None
    assert outcome(x, spec) == wanted


@pytest.mark.parametrize(
    ("x", "named"),
    [
        (np.ones((4, 128), F32), {"axis": 2}),
        (np.ones((4, 128), F32), {"axis": True}),
        (np.ones((4, 128), F32), {"offset": -1}),
        (np.ones((4, 128), F32), {"offset": 2**64 - 511}),
        (np.ones((4, 128), np.int32), {}),
        (np.ones((4, 128), ">f4"), {}),
        (np.ones((), F32), {}),
        (np.ma.ones((4, 128), F32), {}),
    ],
    ids=str,
)
def test_errors_are_those_of_the_general_way(x, named):
    for _ in range(2):
        ours, wanted = both_ways(x, pr.LogFMT(8), **named)
        assert ours == wanted


def test_is_chosen_for_small_contiguous_arrays():
    x, most, spec = np.ones((4, 128), F32), _single_calls.MOST, pr.LogFMT(8)
    for taken in (x, x[1:3], np.ones((most // 128, 128), F32), np.ones((2, 4, 64))):
        assert _single_calls.find_call(spec, taken, -1) is not None
    for left in (x[:, ::2], x.T, np.ones((most // 128 + 1, 128), F32), x[:0], x.astype(np.int8)):
        assert _single_calls.find_call(spec, left, -1) is None
    assert _single_calls.find_call(spec, x, 0) is None
    assert _single_calls.find_call(pr.logfmt.DEEPEP_LOGFMT10, np.ones((2, 1024), F32), -1) is None


def test_equal_specs_share_a_plan_and_results_share_nothing():
    x, spec = drawn(0, (4, 128), F32, "normal"), pr.LogFMT(8)
    wanted = outcome(x, spec)
    q = dataclasses.replace(spec).quantize(x)
    for array in (q.codes, *q.metadata):
        array[...] = 0
    assert outcome(x, spec) == wanted
    assert outcome(x, pr.LogFMT(8, space=Space.LOG)) != wanted
