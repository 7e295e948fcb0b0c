"""Ctrl-C and errors: every product answers soon, in every thread, and leaves nothing running."""

import dataclasses
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from piece_cases import GENERAL, RNG, normal, product, threads  # noqa: F401 -- threads is a fixture

import precision as pr
from precision import bounds
from precision._support.machine import _threads
from precision.accumulators import _exact_sums

SMALL = np.ones((256, 32), pr.E4M3.dtype)  # and yet of several pieces, which threads share


def special(part: int) -> Callable[[], Any]:
    """Build a product of rows that hold NaN, which the general kernel sums."""
    a, b = normal(16, 4096 // part), normal(4096 // part, 4096)
    a[:] = np.nan
    return lambda: pr.matmul(a, b, accumulator=pr.FP32_FMA)


def blocks(part: int) -> Callable[[], Any]:
    a = pr.quantize(normal(1024 // part, 2048), pr.NVFP4)
    b = pr.quantize(normal(2048, 4096), pr.NVFP4, axis=-2)
    return lambda: pr.matmul(a, b, accumulator=pr.BLACKWELL_NVFP4)


def quantizing(part: int, spec: Any, dtype: type = np.float32) -> Callable[[], Any]:
    x = normal(8192 // part, 2048).astype(dtype)
    return lambda: spec.quantize(x)


def one_output(part: int) -> Callable[[], Any]:
    """Build a product of one output, which sums all of K by the general kernel."""
    unit = pr.FusedSum((pr.E4M3,), 16, fraction_bits=25, alignment_rounding=pr.Rounding.TIES_TO_EVEN)
    codes = RNG.integers(0, 120, (2, 40_000_000 // part), np.uint8)
    a, b = (pr.QuantizedTensor(x, 1.0, fmt=pr.E4M3) for x in codes)
    return lambda: pr.matmul(a, b, accumulator=unit)


def one_tile(part: int) -> Callable[[], Any]:
    x = normal(8_000_000 // part).astype(np.float64)
    return lambda: pr.LogFMT(12, block_size=2**30).quantize(x)


def bound(part: int) -> Callable[[], Any]:
    a, b = normal(512 // part, 1024), normal(1024, 512)
    return lambda: bounds.error_bound(None, pr.FP32_FMA, a, b)


#: Slow work, or a part of it, which compiles what the whole needs.
SLOW: dict[str, Callable[[int], Callable[[], Any]]] = {
    "general": lambda part: product(GENERAL, 4, 2048 // part, 16384, pr.E8M13),
    "special": special,
    "exact": lambda part: product(pr.EXACT, 512 // part, 1024, 1024),
    "blas": lambda part: product(pr.EXACT, 2048 // part, 4096, 4096, pr.E2M1),
    "fp8": lambda part: product(pr.HOPPER_FP8.with_width(28), 512 // part, 8192, 2048, pr.E4M3),
    "blocks": blocks,
    "four-over-six": lambda part: quantizing(
        part, dataclasses.replace(pr.NVFP4, scale_rule=pr.ScaleRule.FOUR_OVER_SIX_MSE)
    ),
    "logfmt": lambda part: quantizing(part, pr.LogFMT(12), np.float64),
    "one output": one_output,
    "one tile": one_tile,
    "bound": bound,
}


@contextmanager
def alarms(timer: int, kind: int, after: float, again: float = 0.0, count: int = 1) -> Iterator[list[float]]:
    """Raise KeyboardInterrupt in the main thread ``count`` times, as Ctrl-C does; yields when it came."""
    came: list[float] = []

    def interrupt(*_: object) -> None:
        came.append(time.perf_counter())
        if len(came) >= count:
            signal.setitimer(timer, 0)
        if len(came) <= count:
            raise KeyboardInterrupt

    before = signal.signal(kind, interrupt)
    signal.setitimer(timer, after, again)
    try:
        yield came
    finally:
        signal.setitimer(timer, 0)
        signal.signal(kind, before)


needs_timer = pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="this system has no timer signals")


def small_work() -> None:
    pr.matmul(SMALL, SMALL.T)
    _threads.parallel(lambda start, stop: None, 10, 1)


def idle() -> bool:
    """Tell whether this process rests, once its threads have ended their present pieces."""
    for _ in range(20):
        began = time.process_time()
        time.sleep(0.1)
        if time.process_time() - began < 0.03:
            return True
    return False


@needs_timer
@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("name", SLOW)
def test_every_product_answers_to_ctrl_c(name, count):
    pr.set_num_threads(count)
    SLOW[name](64)()
    work = SLOW[name](1)
    # Time is the processors': other tests keep them busy as well.
    began = time.process_time()
    with pytest.raises(KeyboardInterrupt), alarms(signal.ITIMER_PROF, signal.SIGPROF, 0.2):
        while True:
            work()
    assert time.process_time() - began - 0.2 < 0.5  # of all threads together
    assert idle()


@needs_timer
def test_a_second_ctrl_c_leaves_at_once_and_the_next_product_does_not_wait():
    pr.set_num_threads(2)
    small_work()
    release = threading.Event()

    def work(start: int, stop: int) -> None:
        if threading.current_thread() is threading.main_thread():
            time.sleep(0.01)
        else:
            release.wait(20)

    began = time.perf_counter()
    try:
        with (
            alarms(signal.ITIMER_REAL, signal.SIGALRM, 0.3, 0.3, 2) as came,
            pytest.raises(KeyboardInterrupt),
        ):
            _threads.parallel(work, 10**6, 1)
        assert len(came) == 2  # the first waits for the other thread's piece
        assert time.perf_counter() - began < 5
        following = threading.Thread(target=small_work, daemon=True)
        following.start()
        following.join(5)
        assert not following.is_alive()
    finally:
        release.set()
    assert idle()


@pytest.mark.parametrize("failing", ["this thread", "another thread"])
def test_an_error_in_any_thread_stops_all(failing):
    pr.set_num_threads(2)
    done: list[int] = []
    both = threading.Barrier(2, timeout=20)

    def work(start: int, stop: int) -> None:
        if start < 2:  # one piece for each thread
            both.wait()
            here = threading.current_thread() is threading.main_thread()
            if here == (failing == "this thread"):
                raise RuntimeError("broken")
        time.sleep(0.005)
        done.append(start)

    with pytest.raises(RuntimeError, match="broken"):
        _threads.parallel(work, 1000, 1)
    assert len(done) < 100


def test_a_long_piece_is_left_at_a_checkpoint():
    pr.set_num_threads(2)
    both, steps = threading.Barrier(2, timeout=20), []

    def work(start: int, stop: int) -> None:
        both.wait()
        if start:
            raise RuntimeError("broken")
        for step in range(1000):
            _threads.checkpoint()
            steps.append(step)
            time.sleep(0.005)

    with pytest.raises(RuntimeError, match="broken"):
        _threads.parallel(work, 2, 1)
    assert len(steps) < 100
    _threads.checkpoint()  # outside a call: nothing


def test_a_busy_pool_keeps_nobody_waiting():
    pr.set_num_threads(2)
    release, began = threading.Event(), threading.Barrier(3, timeout=20)

    def long(start: int, stop: int) -> None:
        began.wait()
        release.wait(20)

    other = threading.Thread(target=lambda: _threads.parallel(long, 2, 1))
    other.start()
    try:
        began.wait()
        seen: list[int] = []
        short = threading.Thread(target=lambda: _threads.parallel(lambda i, j: seen.append(i), 10, 1))
        short.start()
        short.join(5)
        assert not short.is_alive()
        assert sorted(seen) == list(range(10))
    finally:
        release.set()
        other.join()


def test_a_blas_product_is_cut(monkeypatch):
    calls: list[int] = []
    real = np.matmul

    def matmul(a, b, out):
        calls.append(a.shape[0] * a.shape[1] * b.shape[1])
        return real(a, b, out=out)

    monkeypatch.setattr(_exact_sums, "_BLAS_PIECE", 2**20)
    monkeypatch.setattr(_exact_sums.np, "matmul", matmul)
    a, b = normal(512, 64), normal(64, 512)
    out = np.empty((512, 512), np.float64)
    _exact_sums._multiply_by_blas(a.astype(np.float64), b.astype(np.float64), out)
    assert max(calls) <= 2**20 and sum(calls) == 512 * 64 * 512
