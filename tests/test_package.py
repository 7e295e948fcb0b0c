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

ROOT = Path(__file__).parents[1]
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
