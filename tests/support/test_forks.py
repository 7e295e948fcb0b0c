"""Forks while another thread of the process compiles."""

import importlib
import os
import subprocess
import sys
import threading
import types

import pytest

from precision._support.machine import _forks

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")

#: A thread makes its first calls, into an empty cache, while the main thread forks now and then.
CODE = """
import os, sys, threading, time, warnings
warnings.simplefilter("ignore", DeprecationWarning)  # Python warns of forks with threads: that is the test
import numpy as np, precision as pr
from precision._support.machine import _forks
{before}

def first():
    pr.round_to(np.float32(1.1), pr.E4M3)
    pr.round_to(np.float32(1.1), pr.E4M3, rounding=pr.Rounding.TOWARD_ZERO)

thread = threading.Thread(target=first)
thread.start()
children = []
while thread.is_alive() and len(children) < 4:
    time.sleep(0.3)
    {wait}
    child = os.fork()
    if child == 0:
        try:
            print(float(pr.round_to(np.float32(1.1), pr.E4M3)), flush=True)
        except RuntimeError as error:
            print(error, flush=True)
        os._exit(0)
    children.append(child)
for child in children:
    os.waitpid(child, 0)
thread.join()
print("parent", float(pr.round_to(np.float32(1.1), pr.E4M3)), len(children))
"""


def run(folder, before="", wait="pass"):
    found = subprocess.run(
        [sys.executable, "-c", CODE.format(before=before, wait=wait)],
        env={**os.environ, "NUMBA_CACHE_DIR": str(folder), "PRECISION_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert found.returncode == 0, found.stderr
    *children, parent = found.stdout.splitlines()
    assert parent == f"parent 1.125 {len(children)}" and children
    return children


def test_a_fork_waits_for_the_compilation(tmp_path):
    assert set(run(tmp_path)) == {"1.125"}


def test_a_child_that_could_not_wait_says_what_to_do(tmp_path):
    """As when the compiling thread in turn waits for the thread that forks."""
    # Only once the compiler is at work is a lock held that the child would wait for.
    wait = (
        "lock = sys.modules.get('numba.core.compiler_lock')\n"
        "    while thread.is_alive() and (lock is None or lock.global_compiler_lock._lock.acquire(False)):\n"
        "        lock and lock.global_compiler_lock._lock.release()\n"
        "        time.sleep(0.01)\n"
        "        lock = sys.modules.get('numba.core.compiler_lock')"
    )
    children = run(tmp_path, "_forks.PATIENCE = 0.0", wait)  # at every fork, while it imports as well
    assert "forked while another thread" in children[0] and "'spawn'" in children[0]


#: A thread asks for names that are not there yet, and the main thread forks meanwhile.
NAMES = """
import os, signal, sys, threading, time, warnings
warnings.simplefilter("ignore", DeprecationWarning)
import precision as pr

def first():
    began.set()
    pr.matmul, pr.LogFMT

began = threading.Event()
thread = threading.Thread(target=first)
thread.start()
began.wait()
time.sleep(float(sys.argv[1]))
child = os.fork()
if child == 0:
    signal.alarm(60)  # a lock that nobody gives back
    os._exit(0 if pr.matmul is pr.gemm.matmul and pr.LogFMT is pr.logfmt.LogFMT else 1)
thread.join()
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.parametrize("seconds", [0.0, 0.001, 0.01, 0.03])
def test_a_fork_waits_for_the_import_of_a_room(seconds):
    found = subprocess.run(
        [sys.executable, "-c", NAMES, str(seconds)], capture_output=True, text=True, timeout=120
    )
    assert found.returncode == 0, found.stderr


def test_numba_still_has_the_locks_that_are_guarded():
    import llvmlite.binding.ffi
    import numba.core.compiler_lock

    expected = [numba.core.compiler_lock.global_compiler_lock, llvmlite.binding.ffi.lib._lock]
    assert _forks._holders() == expected
    assert all(hasattr(holder._lock, "_is_owned") for holder in expected)


def test_python_still_has_the_locks_of_imports(tmp_path, monkeypatch):
    """A module's import by another thread is seen, and its own thread's is not."""
    (tmp_path / "ml_dtypes_like.py").write_text("import threading_gate\nthreading_gate.wait()\n")
    began, release, own = threading.Event(), threading.Event(), []
    gate = types.ModuleType("threading_gate")

    def wait() -> None:
        own.append(_forks._imports())
        began.set()
        release.wait(20)

    gate.wait = wait
    monkeypatch.setitem(sys.modules, "threading_gate", gate)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(_forks, "_PACKAGES", {"ml_dtypes_like"})
    thread = threading.Thread(target=lambda: importlib.import_module("ml_dtypes_like"))
    thread.start()
    assert began.wait(20)
    assert own == [[]] and _forks._imports() == ["ml_dtypes_like"]
    release.set()
    thread.join()
    assert not _forks._imports()


def test_a_fork_gives_the_locks_back():
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        os._exit(0 if all(_free(holder._lock) for holder in _forks._holders()) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert all(_free(holder._lock) for holder in _forks._holders())


def _free(lock) -> bool:
    """Tell whether another thread can take a lock."""
    found: list[bool] = []

    def take() -> None:
        got = lock.acquire(timeout=5)
        found.append(got)
        if got:
            lock.release()

    thread = threading.Thread(target=take)
    thread.start()
    thread.join()
    return found[0]
