"""What a user meets first: an import that starts no compiler, typing, the names, the README's commands."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import precision as pr
from precision._support._optional_packages import require
from precision._support.machine._guarded_imports import GROUND

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def modules_after(statement: str) -> set[str]:
    code = f"import sys\n{statement}\nprint('\\n'.join(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    return {name.partition(".")[0] for name in found.stdout.split()}


def test_import_starts_no_compiler_and_no_extra():
    loaded = modules_after("import precision")
    heavy = {
        "numba",
        "llvmlite",
        "matplotlib",
        "click",
        "rich",
        "safetensors",
        "scipy",
        "concurrent",
        "torch",
    }
    assert not loaded & heavy
    third_party = loaded - modules_after("import ml_dtypes, numpy") - set(sys.stdlib_module_names)
    assert {name for name in third_party if not name.startswith("_")} == {"precision"}


def submodules_after(statement: str) -> set[str]:
    """Return the package's rooms that are there after a statement in a new process."""
    code = f"import sys\n{statement}\nprint('\\n'.join(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    names = (name.split(".") for name in found.stdout.split())
    return {name[1] for name in names if name[0] == "precision" and len(name) > 1}


def test_rooms_are_imported_when_they_are_first_asked_for():
    assert submodules_after("import precision") == {"_support"}
    assert submodules_after("import precision; dir(precision)") == {"_support"}
    formats = {"_support", "_kernels", "formats"}
    assert submodules_after("import precision as pr; pr.E4M3") == formats
    assert submodules_after("from precision import round_to") == formats
    assert submodules_after("import precision as pr; pr.QuantSpec") == formats | {"quantization"}
    everyday = {"_support", "_kernels", *GROUND}
    assert submodules_after("import precision as pr; pr.matmul") == everyday
    assert submodules_after("import precision as pr; pr.metrics") >= everyday | {"metrics"}


def test_star_import_and_dir_have_every_name():
    code = (
        "import precision; listed = dir(precision); from precision import *\n"
        "assert set(precision.__all__) <= set(globals()) and quantize is precision.quantize\n"
        "assert dir(precision) == listed and not hasattr(precision, 'a_name_that_nobody_has')"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


#: Each thread asks for a name of its own that is not there yet, or imports a room, all at the same moment.
THREADS = """
import importlib, sys, threading
import precision as pr
sys.setswitchinterval(1e-6)
asked = ["E4M3", "quantize", "Exact", "HOPPER_FP8", "matmul", "matmul", "LogFMT", "get_num_threads",
         "metrics", "cost", "import formats", "import gemm", "import gemm", "import specs", "import metrics"]
gate, errors = threading.Barrier(len(asked)), []

def ask(name):
    gate.wait()
    try:
        room = name.removeprefix("import ")
        importlib.import_module("precision." + room) if room != name else getattr(pr, name)
    except BaseException as error:
        errors.append((name, repr(error)))

threads = [threading.Thread(target=ask, args=(name,), daemon=True) for name in asked]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join(60)
    assert not thread.is_alive()
assert not errors, errors
from precision import formats, gemm
assert pr.E4M3 is formats.E4M3 and pr.matmul is gemm.matmul
"""


@pytest.mark.parametrize("_", range(3))
def test_threads_may_ask_for_first_names_at_once(_):
    found = subprocess.run([sys.executable, "-c", THREADS], capture_output=True, text=True, cwd=ROOT)
    assert found.returncode == 0, found.stderr[-2000:]


TYPED = """
import numpy as np
import precision as pr

bits: int = pr.HOPPER_FP8.fraction_bits
largest: float = pr.E4M3.max
tensor: pr.QuantizedTensor = pr.quantize(np.ones((4, 128), "f4"), pr.MXFP8_E4M3)
reveal_type(bits := pr.HOPPER_FP8.fraction_bits)
reveal_type(largest := pr.E4M3.max)
reveal_type(pr.quantize(np.ones((4, 128), "f4"), pr.MXFP8_E4M3))
wrong: str = pr.E4M3.max
"""


def test_type_checkers_know_the_everyday_names(tmp_path):
    """They see the type of each, and the wrong one: nothing is Any."""
    pytest.importorskip("mypy")
    script = tmp_path / "typed.py"
    script.write_text(TYPED)
    found = subprocess.run(
        [
            sys.executable,
            "-m",
            "mypy",
            "--strict",
            "--cache-dir",
            str(tmp_path),
            "--config-file=",
            str(script),
        ],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert re.findall(r'Revealed type is "(?:\w+\.)*(\w+)"', found.stdout) == [
        "int",
        "float",
        "QuantizedTensor",
    ]
    assert re.findall(r"typed.py:(\d+): error", found.stdout) == ["11"], found.stdout


def test_help_starts_no_compiler():
    assert "numba" not in modules_after(
        "from precision.cli import command\n"
        "try: command(['gemm', '--help'], prog_name='precision')\n"
        "except SystemExit: pass"
    )


def test_all_names_exist():
    assert len(set(pr.__all__)) == len(pr.__all__)
    for name in pr.__all__:
        assert getattr(pr, name) is not None, name
    for name in ("E4M3", "round_to", "QuantSpec", "quantize", "matmul", "HOPPER_FP8", "EXACT", "trace"):
        assert name in pr.__all__


def test_is_typed():
    assert (Path(pr.__file__).parent / "py.typed").exists()


def test_readme_commands_name_extras_and_scripts_that_exist():
    commands = re.findall(r"^pip install .*&& .*$", README, re.MULTILINE)
    assert len(commands) == 2
    for command in commands:
        extras = re.findall(r'"?\.\[(\w+)\]"?', command)
        assert extras and set(extras) <= set(PROJECT["project"]["optional-dependencies"])
    assert PROJECT["project"]["scripts"] == {"precision": "precision.__main__:main"}
    assert commands[0].endswith("&& precision gemm")
    assert commands[1].endswith("&& pytest -n auto --dist worksteal")


def test_module_runs_as_a_command():
    found = subprocess.run(
        [sys.executable, "-m", "precision", "formats", "e2m1"],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    assert "e2m1" in found.stdout


def test_missing_extra_is_explained():
    with pytest.raises(ImportError, match=r"pip install 'precision-emu\[plots\]'"):
        require("a_package_that_nobody_has", "plots")
    code = (
        "import sys\nsys.modules['click'] = None\nsys.argv = ['precision', 'gemm']\n"
        "from precision.__main__ import main\nmain()"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert found.returncode == 1
    assert found.stderr.strip() == "click is not installed: pip install 'precision-emu[cli]'"
