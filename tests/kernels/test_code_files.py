"""Compiled code on disk: what is damaged or cannot be read or written is a miss, with one warning."""

import ast
import os
import pickle
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from precision._kernels import _code_files, _jit
from precision._kernels._code_files import CodeFiles

#: Rounds a number, and prints it, the warnings and how many functions were compiled.
CODE = """
import sys, warnings
with warnings.catch_warnings(record=True) as seen:
    warnings.simplefilter("always")
    import numpy as np, precision as pr
    {before}
    print(float(pr.round_to(np.float32(1.1), pr.E4M3)))
    from precision._kernels.numbers import _conversion_loops
    print(sum(_conversion_loops.round_nearest32.stats.cache_misses.values()))
print([text for text in map(str, (warning.message for warning in seen)) if "first calls" not in text])
"""


def run(folder: Path, before: str = "pass", **environment: str) -> tuple[str, int, list[str]]:
    """Run `CODE` in a process of its own; returns the number, how much it compiled, and the warnings."""
    found = subprocess.run(
        [sys.executable, "-c", CODE.format(before=before)],
        env={**os.environ, "NUMBA_CACHE_DIR": str(folder), **environment},
        capture_output=True,
        text=True,
    )
    assert found.returncode == 0, found.stderr
    value, compiled, warnings = found.stdout.splitlines()
    return value, int(compiled), ast.literal_eval(warnings)


RIGHT = "1.125"


@pytest.fixture(scope="module")
def warm(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("code")
    assert run(folder) == (RIGHT, 1, [])
    assert run(folder) == (RIGHT, 0, [])  # the second process compiles nothing
    return folder


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda content: b"", id="empty"),
        pytest.param(lambda content: content[:10], id="cut in its mark"),
        pytest.param(lambda content: content[: len(content) // 2], id="truncated"),
        pytest.param(lambda content: content[:-1], id="last byte"),
        pytest.param(lambda content: content + b"\0", id="longer"),
        pytest.param(
            lambda content: content[: len(content) // 2] + b"\xff" + content[len(content) // 2 + 1 :],
            id="altered",
        ),
        pytest.param(lambda content: pickle.dumps("0.0"), id="another's"),
    ],
)
def test_damaged_code_is_a_miss(tmp_path, change, monkeypatch):
    monkeypatch.setattr(_code_files, "_warned", False)
    files = CodeFiles(str(tmp_path), "name", 1)
    files.save("key", [1, 2])
    path = files.path("key")
    path.write_bytes(change(path.read_bytes()))
    with pytest.warns(RuntimeWarning, match="damaged") as seen:
        assert files.load("key") is None
        assert files.load("key") is None
    assert len(seen) == 1
    files.save("key", [1, 2])
    assert files.load("key") == [1, 2]


def test_damaged_code_is_compiled_anew_with_one_warning(warm, tmp_path):
    for path in warm.rglob("*.nbc"):
        copy = tmp_path / path.relative_to(warm)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    value, compiled, warnings = run(tmp_path)
    assert (value, compiled) == (RIGHT, 1)
    assert len(warnings) == 1 and "damaged" in warnings[0] and str(tmp_path) in warnings[0]
    assert run(tmp_path) == (RIGHT, 0, [])  # and saved whole


def test_nothing_is_unpickled_before_its_checksum_is_right(tmp_path):
    files = CodeFiles(str(tmp_path), "name", 1)
    marker = tmp_path / "marker"

    class Trap:
        def __reduce__(self):
            return Path.touch, (marker,)

    body = pickle.dumps((files.state, "key", Trap()))
    whole = _code_files._MARK + _code_files._checksum(body) + body
    files.path("key").write_bytes(whole[:-1] + b"?")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_code_files, "_warned", True)
        assert files.load("key") is None
        assert not marker.exists()
        files.path("key").write_bytes(whole)
        files.load("key")
        assert marker.exists()  # the trap works


def test_what_was_saved_for_another_state_or_signature_is_a_miss(tmp_path):
    files = CodeFiles(str(tmp_path), "name", 1)
    files.save("key", [1, 2])
    assert files.load("key") == [1, 2]
    assert files.load("other") is None
    os.replace(files.path("key"), files.path("other"))
    assert files.load("other") is None
    files.save("key", [3])
    assert CodeFiles(str(tmp_path), "name", 2).load("key") is None
    files.flush()
    assert files.load("key") is None and not list(tmp_path.iterdir())


def test_a_file_that_cannot_be_read_or_written(tmp_path, monkeypatch):
    """It is a folder, which opens for nobody, whatever their rights."""
    files = CodeFiles(str(tmp_path), "name", 1)
    (files.path("key") / "within").mkdir(parents=True)
    for work, words in ((lambda: files.load("key"), "read"), (lambda: files.save("key", 1), "saved")):
        monkeypatch.setattr(_code_files, "_warned", False)
        with pytest.warns(RuntimeWarning, match=f"cannot be {words}"):
            assert work() is None
    assert len(list(tmp_path.iterdir())) == 1  # no draft is left


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root reads everything")
def test_a_folder_without_rights(tmp_path):
    folder = tmp_path / "closed"
    folder.mkdir(mode=0)
    value, compiled, warnings = run(folder)
    assert (value, compiled, len(warnings)) == (RIGHT, 1, 1)


def test_a_full_disk(tmp_path):
    """No file may grow beyond 1000 bytes."""
    pytest.importorskip("resource")
    limit = (
        "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))"
    )
    value, compiled, warnings = run(tmp_path, limit)
    assert (value, compiled, len(warnings)) == (RIGHT, 1, 1)
    assert "cannot be saved" in warnings[0]
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]  # nor are drafts left


def test_processes_that_compile_at_the_same_time(tmp_path):
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda _: run(tmp_path), range(2)))
    assert [(value, warnings) for value, _, warnings in found] == [(RIGHT, [])] * 2
    assert run(tmp_path) == (RIGHT, 0, [])


@pytest.mark.parametrize("package", ["sys", "numpy"])
def test_the_stamp_holds_the_versions_of_python_and_numpy(package, monkeypatch):
    module = pytest.importorskip(package)
    monkeypatch.setattr(module, "version" if package == "sys" else "__version__", "9.9.9")
    assert _jit._room_stamp() != _jit._STAMP


@pytest.mark.parametrize("package", ["numba", "llvmlite"])
def test_code_of_another_compiler_is_not_loaded(package, tmp_path, monkeypatch):
    CodeFiles(str(tmp_path), "name", "stamp").save("key", "code")
    assert CodeFiles(str(tmp_path), "name", "stamp").load("key") == "code"
    monkeypatch.setattr(pytest.importorskip(package), "__version__", "9.9.9")
    assert CodeFiles(str(tmp_path), "name", "stamp").load("key") is None


def test_a_reinstalled_package_keeps_its_compiled_code(tmp_path):
    site, package = tmp_path / "site", Path(_jit.__file__).parent.parent
    found = []
    for _ in range(2):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(
            package, site / "precision", ignore=ignored, copy_function=shutil.copy
        )  # with new times
        found.append(run(tmp_path / "kept", PYTHONPATH=str(site)))
        shutil.rmtree(site)
    assert [(value, compiled) for value, compiled, _ in found] == [(RIGHT, 1), (RIGHT, 0)]


def test_another_numba_keeps_code_in_its_own_way(tmp_path):
    """Where an attribute that we replace is gone, Numba's own cache follows (see test_private_parts.py)."""
    before = (
        "import precision._kernels._numba_cache as fence\n"
        "    def gone(*_): raise AttributeError('filename_base')\n"
        "    fence.CodeFiles = gone"
    )
    value, compiled, warnings = run(tmp_path, before)
    assert (value, compiled, len(warnings)) == (RIGHT, 1, 1)
    assert "its own way" in warnings[0]
    assert list(tmp_path.rglob("*.nbi"))  # Numba's


def test_numba_disabled_is_one_plain_error(tmp_path):
    code = (
        "import numpy as np, precision as pr\n"
        "from precision import metrics, studies, sweep\n"
        "for _ in range(2):\n"
        "    try:\n"
        "        pr.round_to(np.float32(1.1), pr.E4M3)\n"
        "    except RuntimeError as error:\n"
        "        print(error)\n"
    )
    found = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "NUMBA_DISABLE_JIT": "1"},
        capture_output=True,
        text=True,
    )
    assert found.returncode == 0, found.stderr
    lines = found.stdout.splitlines()
    assert len(lines) == 2 and lines[0] == lines[1] and lines[0].startswith("NUMBA_DISABLE_JIT is set")
