"""The same bits for any number of threads, callers and processors, and after a fork."""

import hashlib
import multiprocessing
import os
import shutil
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import precision as pr
from precision._kernels import _jit
from precision._kernels.products import _tile_sums
from precision._support.machine import _threads

UNITS = [
    pr.HOPPER_FP8,
    pr.HOPPER_FP8.promoted(128),
    pr.HOPPER_FP8.with_width(20),
    pr.HOPPER_FP8.with_width(28),
    pr.HOPPER_FP8_ACC16,
    pr.FP32_FMA,
    pr.EXACT,
]


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    before = pr.get_num_threads()
    yield
    pr.set_num_threads(before)


def digest() -> str:
    """Of products by every kernel, with NaN, Inf, scales and odd sizes."""
    rng = np.random.default_rng(0)
    x, w = (
        rng.standard_normal((300, 333)).astype(np.float32),
        rng.standard_normal((333, 150)).astype(np.float32),
    )
    a, b = pr.encode(20 * x, pr.E5M2), pr.encode(20 * w, pr.E4M3)
    a[7, 5], b[9, 11] = np.inf, np.nan
    found = hashlib.sha256()
    for unit in UNITS:
        found.update(pr.matmul(a, b, accumulator=unit).tobytes())
    for kind, unit in ((np.float16, pr.HOPPER_FP16), (np.float32, pr.HOPPER_TF32)):
        found.update(pr.matmul(x.astype(kind), w.astype(kind), accumulator=unit).tobytes())
    bf16 = [pr.encode(v * np.float32(2.0**-60), pr.BF16) for v in (x, w)]
    found.update(pr.matmul(*bf16, accumulator=pr.HOPPER_BF16).tobytes())
    qa = pr.quantize(x, pr.QuantSpec(pr.E4M3, pr.PerGroup(128)))
    qb = pr.quantize(w, pr.QuantSpec(pr.E4M3, pr.PerBlock(128, 128)), axis=-2)
    found.update(pr.matmul(qa, qb, accumulator=pr.HOPPER_FP8.promoted(128)).tobytes())
    found.update(qa.codes.tobytes() + qb.scale.tobytes())
    return found.hexdigest()


@pytest.fixture(scope="module")
def expected() -> str:
    return digest()


@pytest.mark.parametrize("count", [1, 2, 7])
def test_any_number_of_threads(count, expected):
    pr.set_num_threads(count)
    assert digest() == expected


def test_eight_callers_at_once(expected):
    pr.set_num_threads(3)
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda _: digest(), range(8))) == [expected] * 8


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_forked_child_computes_after_its_parent_did(expected):
    pr.set_num_threads(2)
    assert digest() == expected  # the parent's pool has threads that the child will not have
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", DeprecationWarning
        )  # Python warns of forks with threads: that is the test
        with multiprocessing.get_context("fork").Pool(1) as pool:
            assert pool.apply_async(digest).get(timeout=120) == expected


def test_a_generic_processor_gives_the_same_bits(expected, tmp_path):
    """No wide vectors and no fused multiply-add: what is left of a kernel is still exact."""
    code = "import test_threads; print(test_threads.digest())"
    environment = {
        **os.environ,
        "NUMBA_CPU_NAME": "generic",
        "NUMBA_CPU_FEATURES": "",
        "NUMBA_CACHE_DIR": str(tmp_path),
    }
    found = subprocess.run(
        [sys.executable, "-c", code],
        cwd=os.path.dirname(__file__),
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.strip() == expected


def test_rounding_mode_is_the_threads_own_again():
    """The kernels round toward zero while they sum; afterwards this thread rounds to nearest even."""
    ones = np.ones((4, 64), pr.E4M3.dtype)
    for unit in UNITS:
        pr.matmul(ones, ones.T, accumulator=unit)
        assert np.float32(1) + np.float32(2.0**-24) * np.float32(1.5) > 1  # toward zero gives 1


def test_pieces_are_every_element_once():
    for count in (1, 2, 5):
        pr.set_num_threads(count)
        seen: list[int] = []
        lock = threading.Lock()

        def work(start: int, stop: int, seen: list[int] = seen, lock: threading.Lock = lock) -> None:
            with lock:
                seen.extend(range(start, stop))

        _threads.parallel(work, 103, 10)
        assert sorted(seen) == list(range(103))
        _threads.parallel(work, 0, 10)
        assert len(seen) == 103


@pytest.mark.parametrize("count", [1, 3])
def test_an_exception_is_raised_once_all_have_stopped(count):
    pr.set_num_threads(count)

    def work(start: int, stop: int) -> None:
        if start == 30:
            raise RuntimeError("piece 3")

    with pytest.raises(RuntimeError, match="piece 3"):
        _threads.parallel(work, 100, 10)


@pytest.mark.parametrize(
    ("n", "error"), [(0, ValueError), (-1, ValueError), (1.5, TypeError), (True, TypeError)]
)
def test_bad_numbers_of_threads(n, error):
    with pytest.raises(error, match="n must be"):
        pr.set_num_threads(n)


def test_cached_code_belongs_to_the_whole_room():
    """Numba stamps a cache entry with one file; ours is stamped with all kernels, which inline each other."""
    file = _tile_sums.sum_tiles._cache._cache_file
    assert file.state[-1] == _jit._STAMP == _jit._room_stamp()
    assert _jit._STAMP in file.name  # and lies in files of its own


def test_the_stamp_follows_contents_and_not_times(tmp_path, monkeypatch):
    """A copy with other times has the original's stamp; one changed letter of any file makes another."""
    shutil.copytree(_jit._FOLDER, tmp_path / "room", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(_jit, "_FOLDER", tmp_path / "room")
    source = tmp_path / "room" / "products" / "_tile_sums.py"
    os.utime(source, (1e9, 1e9))
    assert _jit._room_stamp() == _jit._STAMP
    text = source.read_text()
    source.write_text(text[:-2] + "#" + text[-1])
    assert _jit._room_stamp() != _jit._STAMP


def test_cached_code_loads_before_what_only_compiling_needs(expected):
    """Our way to load still fits this Numba, with every kernel, and other code compiles after it."""
    code = (
        "import sys, numba, numpy as np, test_threads\n"
        "print(test_threads.digest(), 'numba.np.linalg' in sys.modules)\n"
        "print(numba.njit(lambda x: np.flip(x).sum())(np.ones(3)), 'numba.np.linalg' in sys.modules)\n"
    )
    for _ in range(2):  # the first one compiles what an earlier test has compiled and not kept
        found = subprocess.run(
            [sys.executable, "-c", code],
            cwd=os.path.dirname(__file__),
            capture_output=True,
            text=True,
            check=True,
        )
    assert found.stdout.split() == [expected, "False", "3.0", "True"]


def test_no_writable_cache_warns_once_and_compiles(tmp_path):
    code = (
        "import warnings; warnings.simplefilter('error'); import numba.core.caching as caching\n"
        "caching.CacheImpl._locator_classes = []\n"
        "import precision as pr, numpy as np\n"
        "with warnings.catch_warnings(record=True) as seen:\n"
        "    warnings.simplefilter('always')\n"
        "    print(float(pr.round_to(np.float32(1.1), pr.E4M3)))\n"
        "print(sum('NUMBA_CACHE_DIR' in str(w.message) for w in seen))\n"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["1.125", "1"]
