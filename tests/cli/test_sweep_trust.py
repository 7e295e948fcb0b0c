"""What a sweep's file may do by itself, and what its user must allow."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from precision.cli import command

MINE = """
from pathlib import Path
Path("ran").touch()
def cell(x):
    return {"double": 2 * x}
"""
STUDY = 'study = "promotion"\n'
GRID = "[grid]\nk = 128\noffset = 1\npromoted = 0\naccumulator = 'HOPPER_FP8'\n"


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    working = tmp_path / "working"
    working.mkdir()
    (tmp_path / "outside").mkdir()
    monkeypatch.chdir(working)
    Path("mine.py").write_text(MINE)
    os.symlink(tmp_path / "outside", "out")
    os.symlink(tmp_path / "outside" / "file.json", "file.json")
    return tmp_path


def run(*arguments):
    return CliRunner().invoke(command, ["sweep", *map(str, arguments)])


def config(text):
    Path("sweep.toml").write_text(text)
    return "sweep.toml"


def everything(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def refused(folder, *arguments, message):
    before = everything(folder)
    found = run(*arguments)
    assert found.exit_code == 2 and message in " ".join(found.output.split()), found.output
    assert everything(folder) == before  # nothing was imported, run or written
    return found


# ---- functions --------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "function", ["mine.py:cell", "mine:cell", "os:system", "precision._support.files._whole_files:os.system"]
)
def test_a_function_that_only_the_file_names_needs_trust(folder, function):
    name = config(f'function = "{function}"\njson = "rows.json"\n[grid]\nx = [1, 2]\n')
    refused(folder, name, message=f"the file names the function '{function}'")
    refused(folder, name, "--executor", "threads", "--set", "x=1", message="give --trust if you know it")


def test_shell_commands_are_not_run(folder):
    refused(
        folder,
        config('function = "os:system"\n[grid]\ncommand = ["touch owned"]\n'),
        message="which may do all that you may",
    )


@pytest.mark.parametrize("how", [["--trust"], ["--function", "mine.py:cell"]])
def test_what_the_user_allows_runs(folder, how):
    name = config('function = "mine.py:cell"\n[grid]\nx = [1, 2]\n')
    found = run(name, *how)
    assert found.exit_code == 0 and Path("ran").exists(), found.output


def test_a_function_of_the_command_line_goes_first_and_needs_no_file(folder):
    name = config('function = "os:system"\n[grid]\nx = [1, 2]\n')
    assert run(name, "--function", "mine.py:cell").exit_code == 0
    found = run("--function", "mine.py:cell", "--set", "x=3", "--csv", "-")
    assert found.exit_code == 0 and found.stdout.splitlines()[1].startswith("3,6")
    refused(folder, "promotion", "--function", "mine.py:cell", message="--function does not go with a study")


@pytest.mark.parametrize("key", ["trust = true", 'named_function = "mine.py:cell"'])
def test_a_file_cannot_trust_itself(folder, key):
    refused(
        folder,
        config(f'function = "mine.py:cell"\n{key}\n[grid]\nx = 1\n'),
        message=f"unknown key {key.split()[0]!r}",
    )


def test_studies_need_no_trust(folder):
    assert run(config(STUDY + "no_figure = true\n" + GRID)).exit_code == 0


# ---- files ------------------------------------------------------------------------------------------
@pytest.mark.parametrize("key", ["json", "csv", "figure", "store"])
@pytest.mark.parametrize(
    "path", ["../outside/a.png", "{folder}/outside/a.png", "out/a.png", "sub/../../a.png", "file.json", "."]
)
@pytest.mark.parametrize("trust", [[], ["--trust"]], ids=["alone", "trusted"])
def test_files_outside_of_the_working_folder_are_refused(folder, key, path, trust):
    os.mkdir("sub")
    name = config(f"{STUDY}{key} = '{path.format(folder=folder)}'\n{GRID}")
    refused(folder, name, *trust, message=f"the file's {key}")


@pytest.mark.parametrize("key", ["json", "csv", "store"])
def test_devices_are_not_below_the_working_folder(folder, key):
    # The standard output by the one name that not even root can replace.
    refused(folder, config(f"{STUDY}{key} = '/proc/self/fd/1'\n{GRID}"), message="does not lie below")


def test_the_same_files_may_be_named_on_the_command_line(folder):
    name = config(f"{STUDY}json = '../outside/no.json'\nfigure = '../no.png'\nstore = '../no'\n{GRID}")
    outside = folder / "outside"
    given = ["--json", "out/a.json", "--figure", outside / "a.svg", "--store", "../outside/a.sqlite"]
    found = run(name, *given)
    assert found.exit_code == 0, found.output
    assert {"a.json", "a.svg", "a.sqlite"} <= set(os.listdir(outside)) and "no.json" not in os.listdir(
        outside
    )


def test_files_below_the_working_folder_may_be_named_by_the_file(folder):
    os.makedirs("a/b")
    os.symlink("a/b", "near")
    paths = {"json": "near/rows.json", "csv": "a/../rows.csv", "store": f"{folder}/working/a/cells.sqlite"}
    keys = "".join(f"{key} = '{path}'\n" for key, path in paths.items())
    found = run(config(f"{STUDY}figure = 'a/b/figure.svg'\n{keys}{GRID}"))
    assert found.exit_code == 0, found.output
    assert all(os.path.exists(path) for path in (*paths.values(), "a/b/rows.json", "a/b/figure.svg"))
    found = run(config(f"{STUDY}no_figure = true\njson = '-'\n{GRID}"))
    assert found.exit_code == 0 and found.stdout.startswith("{")


# ---- executors --------------------------------------------------------------------------------------
@pytest.mark.parametrize("address", ["tcp://203.0.113.1:8786", "foo://x", "elsewhere"])
def test_a_scheduler_that_only_the_file_names_needs_trust(folder, address):
    name = config(f"{STUDY}executor = '{address}'\n{GRID}")
    refused(folder, name, message=f"the file names the executor '{address}'")
    assert "give --trust" not in run(name, "--executor", "threads", "--no-figure").output


def test_the_executors_of_this_machine_need_no_trust(folder):
    found = run(config(f"{STUDY}no_figure = true\nexecutor = 'threads'\nworkers = 2\n{GRID}"))
    assert found.exit_code == 0, found.output


# ---- values of a file -------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("max_cells = inf", "'inf' is not a valid integer"),
        ("max_cells = 2.5", "'2.5' is not a valid integer"),
        ("workers = true", "workers must not be true or false"),
        ("extend = 'yes'", "extend must be true or false"),
        ("json = ''", "'' is no file's name"),
        ('store = "a\\u0000b"', "is no file's name"),
        ("x = " + 9_000 * "[" + 9_000 * "]", "nested too deeply"),
        ("x = " + 9_000 * "{a = " + "1" + 9_000 * "}", "nested too deeply"),
        ("x = " + 5_000 * "9", "is not TOML"),
    ],
    ids=["inf", "fraction", "bool", "flag", "empty", "nul", "arrays", "tables", "digits"],
)
def test_values_are_read_as_on_the_command_line(folder, key, message):
    refused(folder, config(STUDY + key + "\n" + GRID), message=message)
