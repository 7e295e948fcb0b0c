"""First calls compile no more functions than they need, and say so once if that takes long."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import warnings
from collections import Counter

import pytest

from precision._support.machine import _compiling_notice
from precision.sweep._first_calls import CALLS, choose_calls

#: The most functions that each call compiles after those before it, in one process: write a smaller number
#: here when a change saves some.
MOST = {
    "encode": 2,
    "round_to stochastic": 12,
    "quantize 1x128": 15,
    "quantize NVFP4 stochastic": 31,
    "matmul FP8": 5,
    "logfmt 8 quantize": 21,
}
#: Makes calls, and prints the functions that each compiled.
CODE = """
import json, sys
from numba.core import event
from precision.sweep._first_calls import make_first_call

class Listener(event.Listener):
    def on_start(self, seen):
        pass
    def on_end(self, seen):
        function = seen.data["dispatcher"].py_func
        names.append(f"{function.__module__}:{function.__qualname__}")

event.register("numba:compile", Listener())
found = {}
for call in sys.argv[1:]:
    names = found[call] = []
    make_first_call(call)
print(json.dumps(found))
"""


def test_first_calls_compile_few_functions(tmp_path):
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, "-c", CODE, *MOST]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    found: dict[str, list[str]] = json.loads(done.stdout)
    for call, most in MOST.items():
        functions = Counter(found[call])
        assert len(found[call]) <= most, (
            f"{call} compiles {len(found[call])} functions, not {most}: {functions}"
        )
    # One type for each argument: float32 and float64, or a scale's and an element's parameters, make two. A
    # function within another exists once for each of two sizes of words.
    ours = Counter(name for names in found.values() for name in names if name.startswith("precision."))
    often = {name: count for name, count in ours.items() if count > (4 if "<locals>" in name else 2)}
    assert not often, f"compiled for several types or constants of the same arguments: {often}"


@pytest.fixture
def fresh(monkeypatch):
    """Forget what was compiled in this process."""
    monkeypatch.setattr(_compiling_notice, "_compiled", _compiling_notice.Compiled(0, 0.0))
    monkeypatch.setattr(_compiling_notice, "_given", False)


def test_a_long_first_call_says_so_once_and_names_the_command(fresh):
    _compiling_notice.note_compiling(0.6)
    with pytest.warns(
        UserWarning, match=r"^precision: first calls have compiled for 1\.2 s.*`precision warm`"
    ) as seen:
        _compiling_notice.note_compiling(0.6)
    assert [one.filename for one in seen] == [__file__]  # not a file of the package
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _compiling_notice.note_compiling(60.0)
    assert _compiling_notice.compiled_here() == (3, pytest.approx(61.2))


def test_the_notice_is_no_error_and_can_be_silenced(fresh, monkeypatch):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _compiling_notice.note_compiling(2.0)
    monkeypatch.setattr(_compiling_notice, "_given", False)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        warnings.filterwarnings("ignore", "precision", UserWarning)
        _compiling_notice.note_compiling(2.0)
    assert not seen


def test_a_first_call_of_a_loop_is_counted_and_a_later_one_is_not(fresh, monkeypatch, tmp_path):
    import numba
    import numpy as np

    from precision._kernels._jit import jit

    monkeypatch.setattr(_compiling_notice, "LONG", 0.0)
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))  # else a later run would find it compiled

    @jit
    def loop(x):
        for i in range(x.size):
            x[i] += 1

    with pytest.warns(UserWarning, match="first calls"):
        loop(np.ones(3))
    loop(np.ones(3))
    assert _compiling_notice.compiled_here().kernels == 1


def test_calls_are_chosen_by_the_beginnings_of_their_names():
    assert choose_calls(()) == list(CALLS)
    assert choose_calls(("encode", "decode BF16")) == [
        "encode stochastic", "encode float64", "encode TOWARD_ZERO", "encode", "encode BF16", "decode BF16",
    ]  # fmt: skip
    with pytest.raises(ValueError, match=r"no call begins with 'quantise' \(did you mean"):
        choose_calls(("encode", "quantise"))


WARM = [
    sys.executable,
    "-m",
    "precision",
    "warm",
    "--workers",
    "1",
    "--only",
    "decode",
    "--only",
    "round_to TO",
]


def test_after_precision_warm_nothing_compiles(tmp_path):
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    first, second = (
        subprocess.run(WARM, env=environment, capture_output=True, text=True, check=True) for _ in range(2)
    )
    assert "decode BF16" in first.stdout and "loops were compiled" in first.stdout
    assert "Everything was compiled before." in second.stdout
    calls = [sys.executable, "-c", CODE, *choose_calls(("decode", "round_to TO"))]
    done = subprocess.run(calls, env=environment, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == {"decode": [], "decode BF16": [], "round_to TOWARD_ZERO": []}


def test_precision_warm_says_if_nothing_can_be_kept(tmp_path):
    # Every process starts with it: Numba finds no folder that can be written.
    no_folder = "import numba.core.caching as caching; caching.CacheImpl._locator_classes = []"
    (tmp_path / "sitecustomize.py").write_text(no_folder)
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    found = subprocess.run(WARM, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True)
    assert found.returncode == 1 and "no folder for compiled code can be written" in found.stderr, found
    assert "decode BF16" in found.stdout


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX's signals")
def test_an_interrupted_precision_warm_keeps_what_is_done(tmp_path):
    command = [
        sys.executable,
        "-m",
        "precision",
        "warm",
        "--workers",
        "1",
        "--only",
        "decode",
        "--only",
        "encode",
    ]
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        while not list(tmp_path.rglob("*.nbc")) and process.poll() is None:
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=120)
    assert process.returncode == 130 and "calls are left; what is compiled is kept" in said, said
    assert list(tmp_path.rglob("*.nbc"))
