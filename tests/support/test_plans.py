"""Plans: kept for equal arguments, bounded, not for errors, and the same whatever calls came before."""

import copy
import dataclasses
import pickle
import subprocess
import sys
import threading

import numpy as np
import pytest

import precision as pr
from precision._support import _plans
from precision._support._plans import planned

F32 = np.float32


def test_equal_arguments_share_a_plan():
    made = []

    @planned
    def prepare(shape, dtype):
        made.append((shape, dtype))
        return object()

    assert prepare((4, 128), np.dtype(F32)) is prepare((4, 128), np.dtype("f4"))
    assert prepare((4, 128), np.dtype(F32)) is not prepare((4, 128), np.dtype(">f4"))
    assert len(made) == 2
    prepare.cache_clear()
    prepare((4, 128), np.dtype(F32))
    assert len(made) == 3


def test_plans_are_bounded():
    made = []
    prepare = planned(lambda n: made.append(n))
    for n in range(3 * _plans.MOST):
        prepare(n)
    assert prepare.cache_info().currsize == _plans.MOST
    prepare(3 * _plans.MOST - 1)
    assert len(made) == 3 * _plans.MOST
    prepare(0)  # forgotten long ago
    assert len(made) == 3 * _plans.MOST + 1


def test_errors_and_arguments_without_hash_are_prepared_anew():
    made = []

    @planned
    def prepare(value):
        made.append(value)
        if value == "bad":
            raise TypeError("value must be good, got bad")
        return [value]

    for _ in range(2):
        with pytest.raises(TypeError, match="must be good"):
            prepare("bad")
        assert prepare([1, 2]) == [[1, 2]]
    assert made == ["bad", [1, 2]] * 2


def test_threads_get_one_plan():
    start, found = threading.Barrier(8), []
    prepare = planned(lambda n: {"n": n})

    def ask():
        start.wait()
        found.extend(prepare(n % 7) for n in range(500))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4000
    assert all(prepare(n)["n"] == n for n in range(7))


# ---- what is asked for by its hash ----------------------------------------------------------------------

KEYS = [
    pr.E4M3, pr.formats.INT8, pr.NVFP4, pr.QuantSpec(pr.E4M3, pr.PerGroup(128)), pr.LogFMT(8),
    pr.HOPPER_FP8, pr.HOPPER_FP8.promoted(128), pr.FP32_FMA.promoted(64), pr.EXACT, pr.BLACKWELL_MX,
]  # fmt: skip


@pytest.mark.parametrize("key", KEYS, ids=str)
def test_keys_keep_their_hash_and_copies_have_the_same(key):
    before = pickle.dumps(key)
    first = hash(key)
    assert pickle.dumps(key) == before or b"_hash" not in pickle.dumps(key)
    for twin in (pickle.loads(before), pickle.loads(pickle.dumps(key)), copy.copy(key), copy.deepcopy(key)):
        assert twin == key and hash(twin) == first and str(twin) == str(key) and type(twin) is type(key)
    assert hash(dataclasses.replace(key)) == first and dataclasses.replace(key) == key


def test_other_fields_have_another_hash():
    assert len({hash(key) for key in KEYS}) == len(KEYS)
    promoted = pr.HOPPER_FP8.promoted(128)
    assert hash(promoted.promoted(None)) == hash(pr.HOPPER_FP8) != hash(promoted)


def test_a_pickled_hash_would_differ_in_another_process():
    """A spec that was asked for its hash here is found among equal ones there."""
    hash(pr.NVFP4), hash(pr.HOPPER_FP8)
    code = (
        "import pickle, sys, precision as pr; "
        "spec, unit = pickle.loads(sys.stdin.buffer.read()); "
        "assert spec in {pr.NVFP4} and unit in {pr.HOPPER_FP8} and str(unit) == 'HOPPER_FP8'"
    )
    subprocess.run([sys.executable, "-c", code], input=pickle.dumps((pr.NVFP4, pr.HOPPER_FP8)), check=True)


# ---- calls do not see the ones before them --------------------------------------------------------------


def every_call():
    """Calls of one kind and the next, such that a plan for one would be wrong for another."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((4, 128)).astype(F32)
    w = rng.standard_normal((128, 8)).astype(F32)
    group = pr.QuantSpec(pr.E4M3, pr.PerGroup(128))
    specs = [
        group, dataclasses.replace(group, min_amax=1e-4), pr.QuantSpec(pr.E4M3, pr.PerGroup(64)),
        dataclasses.replace(group, rounding=pr.Rounding.TOWARD_ZERO), pr.QuantSpec(pr.E5M2, pr.PerGroup(128)),
        pr.QuantSpec(pr.E4M3, pr.PerVector()), pr.MXFP8_E4M3, pr.NVFP4, pr.MXFP4, pr.LogFMT(8),
        pr.LogFMT(8, 64), pr.LogFMT(8, base=pr.logfmt.LogBase.TWO),
        pr.QuantSpec(pr.E4M3, pr.PerBlock(128, 128)),
    ]  # fmt: skip
    for spec in specs:
        for array in (x, x.reshape(2, 256), x.astype(np.float64), x.astype(np.float16), x[:, :96], x[::2]):
            yield lambda array=array, spec=spec: pr.quantize(array, spec).dequantize()
    block = pr.QuantSpec(pr.E4M3, pr.PerBlock(128, 128))
    operands = [
        (pr.encode(x, pr.E4M3), pr.encode(w, pr.E4M3)),
        (pr.encode(x, pr.E4M3)[0], pr.encode(w, pr.E4M3)),
        (pr.encode(x, pr.E5M2), pr.encode(w, pr.E4M3)),
        (pr.quantize(x, group), pr.quantize(w, block, axis=-2)),
        (pr.quantize(x, group), pr.quantize(w, group, axis=-2)),
        (pr.quantize(x, pr.QuantSpec(pr.E4M3, pr.PerVector())), pr.quantize(w, block, axis=-2)),
        (pr.quantize(x, pr.QuantSpec(pr.E4M3, pr.PerTensor())), pr.encode(w, pr.E4M3)),
    ]
    units = [
        pr.HOPPER_FP8.promoted(128),
        pr.HOPPER_FP8.promoted(64),
        pr.HOPPER_FP8.promoted(128).with_width(8),
    ]
    for a, b in operands:
        for unit in units:
            for c in (None, F32(1)):
                yield lambda a=a, b=b, unit=unit, c=c: pr.matmul(a, b, accumulator=unit, c=c)


def forget():
    """Forget every plan."""
    for name, module in list(sys.modules.items()):
        if name.startswith("precision."):
            for value in vars(module).values():
                if hasattr(value, "cache_clear") and getattr(value, "__module__", "").startswith("precision"):
                    value.cache_clear()


def test_a_result_does_not_depend_on_the_calls_before():
    calls = list(every_call())
    wanted = []
    for call in calls:
        forget()
        wanted.append(call().tobytes())
    for order in (calls, calls[::-1]):
        results = [call().tobytes() for call in order]
        assert results == (wanted if order is calls else wanted[::-1])
    assert len(set(wanted)) > len(wanted) // 2


def test_plans_hold_no_number_of_threads():
    calls = list(every_call())[::5]
    before = pr.get_num_threads()
    try:
        wanted = [call().tobytes() for call in calls]
        for threads in (1, 3):
            pr.set_num_threads(threads)
            assert [call().tobytes() for call in calls] == wanted
    finally:
        pr.set_num_threads(before)
