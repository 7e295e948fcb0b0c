"""``precision sweep``: studies and configuration files, exit codes, messages."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
from click.testing import CliRunner

from precision.cli import command
from precision.studies import STUDIES
from precision.sweep import read_store, sweep

CELLS = """
import os, time
print("loaded")
def cell(x, y=0, who="a"):
    if x < 0:
        raise ValueError("x is negative")
    return {"sum": x + y, "pid": os.getpid()}
def die(x):
    os._exit(1)
def talk(x):
    print("talk")
    os.write(os.open("begun", os.O_WRONLY | os.O_CREAT | os.O_APPEND), f"{os.getpid()}\\n".encode())
    time.sleep(0.05)
    return x
def stop(x):
    if x == 2:
        raise KeyboardInterrupt
    return {"double": 2 * x}
"""


SWEEP = (sys.executable, "-m", "precision", "sweep", "--trust")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(CELLS)
    (tmp_path / "broken.py").write_text("def f(x) return")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "mine", raising=False)
    return tmp_path


def run(*arguments, code=0):
    if str(arguments[0]).endswith(".toml"):
        arguments = ("--trust", *arguments)
    found = CliRunner().invoke(command, ["sweep", *map(str, arguments)])
    assert found.exit_code == code, found.output
    return found


def config(text):
    Path("sweep.toml").write_text(text)
    return "sweep.toml"


def test_list_names_every_study_with_its_question():
    output = run("--list").output
    for study in STUDIES.values():
        assert study.name in output and study.question in output


def test_a_study_by_name_with_part_of_its_grid(folder):
    part = [
        "--set",
        "k=128,256",
        "--set",
        "promoted=0,128",
        "--set",
        "accumulator=HOPPER_FP8",
        "--set",
        "offset=1",
    ]
    found = run("promotion", *part, "--csv", "out.csv", "--json", "out.json", "--store", "cells.sqlite")
    assert "figure: precision-sweep.png" in found.output and Path("precision-sweep.png").stat().st_size > 5000
    with open("out.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    grid = {"k": [128, 256], "promoted": [0, 128], "accumulator": "HOPPER_FP8", "offset": 1}
    table = sweep("promotion", grid)
    assert [float(row["norm_relative_error"]) for row in rows] == table["norm_relative_error"].tolist()
    whole = json.loads(Path("out.json").read_text())
    assert whole["provenance"]["study"] == "promotion" and len(whole["rows"]) == 4
    assert [row["norm_relative_error"] for row in whole["rows"]] == table["norm_relative_error"].tolist()
    assert read_store("cells.sqlite").equals(table)


def test_a_configuration_of_a_study(folder):
    name = config(
        'study = "promotion"\nfigure = "mine.svg"\njson = "-"\nmax_cells = 2\n'
        "[grid]\npromoted = [0, 64]\nk = 128\noffset = 1\naccumulator = 'HOPPER_FP8.with_width(8)'\n"
    )
    found = CliRunner(catch_exceptions=False).invoke(command, ["sweep", name])
    rows = json.loads(found.stdout)["rows"]
    assert [row["promoted"] for row in rows] == [0, 64] and Path("mine.svg").exists()
    assert "max_cells = 2" in run(name, "--set", "promoted=0,32,64", code=1).output
    assert (
        len(json.loads(CliRunner().invoke(command, ["sweep", name, "--set", "promoted=0"]).stdout)["rows"])
        == 1
    )


def test_a_configuration_of_a_function_and_several_grids(folder):
    name = config('function = "mine.py:cell"\n[[grid]]\nx = [1, 2]\n[[grid]]\nx = 2\ny = [0, 5]\n')
    found = run(name, "--csv", "out.csv")
    with open("out.csv", newline="") as file:
        assert [(row["x"], row["y"], row["sum"]) for row in csv.DictReader(file)] == [
            ("1", "0", "1"),
            ("2", "0", "2"),
            ("2", "5", "7"),
        ]
    assert "figure" not in found.output


def test_set_reads_numbers_text_and_brackets(folder):
    name = config('function = "mine.py:cell"\n')
    run(name, "--set", "x=1,2.5", "--set", "who=PerGroup(16, 3),b,true,'c,d',it's", "--csv", "out.csv")
    with open("out.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["x"] for row in rows[::5]] == ["1.0", "2.5"]
    assert [row["who"] for row in rows[:5]] == ["PerGroup(16, 3)", "b", "True", "c,d", "it's"]


def test_cells_that_raise_are_shown_and_the_exit_code_says_so(folder):
    name = config('function = "mine:cell"\nstore = "a.sqlite"\n[grid]\nx = [1, -1]\n')
    found = run(name, code=1)
    assert "1 of 2 cells raised" in found.output and "ValueError: x is" in found.output
    assert len(read_store("a.sqlite")) == 2


def test_a_store_of_a_function_that_was_changed_is_refused(folder):
    name = config('function = "mine.py:cell"\nstore = "a.sqlite"\n[grid]\nx = 1\n')
    run(name)
    (folder / "mine.py").write_text(CELLS.replace("x + y", "x - y"))
    assert "was written before mine:cell was changed" in " ".join(run(name, code=1).output.split())


def test_interrupted_says_so_and_exits_with_130(folder):
    name = config('function = "mine:stop"\nstore = "a.sqlite"\n[grid]\nx = [1, 2, 3]\n')
    assert "interrupted: 2 of 3 cells are missing" in run(name, code=130).output
    assert read_store("a.sqlite")["double"].tolist() == [2]


def test_executors_by_name(folder):
    name = config('function = "mine.py:cell"\nworkers = 2\n[grid]\nx = [1, 2, 3, 4]\n')
    for executor, here in (("threads", True), ("processes", False)):
        run(name, "--executor", executor, "--csv", "out.csv")
        with open("out.csv", newline="") as file:
            rows = list(csv.DictReader(file))
        assert [row["sum"] for row in rows] == list("1234")
        assert ({row["pid"] for row in rows} == {str(os.getpid())}) == here
    assert "workers belong to" in run(name, code=1).output
    assert "executor must be in-process" in run(name, "--executor", "cluster", code=1).output


def test_a_pool_that_breaks_is_a_message(folder):
    name = config('function = "mine.py:die"\nexecutor = "processes"\nworkers = 1\n[grid]\nx = 1\n')
    found = run(name, code=1)
    assert "Error: " in found.output and isinstance(found.exception, SystemExit)


@pytest.mark.parametrize("executor", [["in-process"], ["processes", "--workers", "1"]])
def test_what_cells_print_keeps_off_a_piped_table(folder, executor):
    name = config('function = "mine.py:talk"\n[grid]\nx = [1, 2]\n')
    asked = [*SWEEP, name, "--json", "-", "--executor", *executor]
    found = subprocess.run(asked, capture_output=True, text=True, check=True)
    assert [row["result"] for row in json.loads(found.stdout)["rows"]] == [1, 2]
    assert "loaded" in found.stderr and found.stderr.count("talk") == 2


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="needs signals")
def test_workers_end_with_a_command_that_is_killed(folder):
    name = config(f'function = "mine.py:talk"\n[grid]\nx = {list(range(1000))}\n')
    asked = [*SWEEP, name, "--executor", "processes", "--workers", "2"]
    found = subprocess.Popen(asked, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        while not Path("begun").exists():
            assert found.poll() is None
            time.sleep(0.01)
        found.kill()
        found.communicate(timeout=60)  # ends when no worker holds the pipe
    finally:
        with suppress(ProcessLookupError):
            os.killpg(found.pid, signal.SIGKILL)


def test_dask_gets_functions_of_files(folder):
    distributed = pytest.importorskip("distributed", reason="needs the extra distributed")
    name = config('function = "mine.py:cell"\n[grid]\nx = [1, 2, 3, 4]\n')
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, dashboard_address=":0", silence_logs=50
    ) as cluster:
        # As a user's workers would be: elsewhere, without this folder.
        with distributed.Client(cluster, set_as_default=False) as client:
            client.run(os.chdir, "/")
        run(name, "--executor", cluster.scheduler_address, "--csv", "out.csv")
    with open("out.csv", newline="") as file:
        assert [row["sum"] for row in csv.DictReader(file)] == list("1234")


@pytest.mark.parametrize(
    "text, message",
    [
        ('study = "promotion"\nstoer = "a"', "unknown key 'stoer'; did you mean 'store'"),
        ('study = "promotoin"', "did you mean 'promotion'"),
        ("[grid]\nx = 1", "must have one of study (a name) and function"),
        ('study = "promotion"\nfunction = "a:b"', "must have one of study"),
        ("study = 3", "study must be a string"),
        ('study = "promotion"\ngrid = 3', "grid must be a table"),
        ('study = "promotion"\nworkers = "many"', "'many' is not a valid integer"),
        ('study = "promotion"\nworkers = 0', "0 is not in the range x>=1"),
        ('study = "promotion"\n[grid]\nprompted = 3', "no parameter 'prompted'; did you mean 'promoted'"),
        ('study = "promotion"\n[grid]\naccumulator = "HOPER_FP8"', "near names: HOPPER_FP8"),
        ('study = "promotion"\n[grid]\nk = []', "grid['k'] is empty"),
        ('study = "promotion"\nstore = "no/a.sqlite"', "no is not a folder"),
        ('study = "promotion"\nfigure = "a.xyz"', "a figure's name must end in"),
        ('function = "mine:nothing"\n[grid]\nx=1', "mine has no 'nothing'"),
        ('function = "nobodys_module:f"\n[grid]\nx=1', "No module named"),
        ('function = "mine:cell"\nfigure = "a.png"\n[grid]\nx=1', "figure is for studies"),
        ('function = "mine:cell"', "grid is empty"),
        ("study = ", "is not TOML"),
        ('study = "promotion"\njson = ["a"]', "json must be one value, got ['a']"),
        ('function = "broken.py:f"\n[grid]\nx=1', "cannot be imported: SyntaxError"),
        ('function = "broken:f"\n[grid]\nx=1', "cannot be imported: SyntaxError"),
    ],
)
def test_bad_configurations_are_messages(folder, text, message):
    found = CliRunner().invoke(command, ["sweep", "--trust", config(text)])
    assert found.exit_code in (1, 2) and message in " ".join(found.output.split())
    assert "Traceback" not in found.output and [p.name for p in folder.glob("*.sqlite")] == []


@pytest.mark.parametrize(
    "arguments, message",
    [
        ([], "name a study, a .toml file or a --function"),
        (["none.toml"], "there is no file none.toml"),
        (["promotion", "--set", "k"], "must be NAME=VALUE"),
        (["promotion", "--set", "k=many"], "k must be an int"),
        (["promotion", "--json", "-", "--csv", "-"], "cannot both go to the standard output"),
    ],
)
def test_bad_arguments_are_messages(folder, arguments, message):
    found = CliRunner().invoke(command, ["sweep", *arguments])
    assert found.exit_code in (1, 2) and message in " ".join(found.output.split())


def test_help_starts_neither_pandas_nor_a_compiler():
    script = (
        "import sys\nfrom precision.cli import command\n"
        "try: command(['sweep', '--help'], prog_name='precision')\n"
        "except SystemExit: pass\n"
        "print(sorted({'numba', 'pandas', 'matplotlib.pyplot', 'distributed', 'xarray'} & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert found.stdout.splitlines()[-1] == "[]"
