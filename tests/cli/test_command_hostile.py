"""Nasty values for every subcommand and option, files named like modules, Ctrl-C: no tracebacks."""

from __future__ import annotations

import csv
import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner

import precision as pr
from precision.cli import command

NASTY = {
    "empty": "",
    "long": "x" * 5_000,
    "long_numbers": "9" * 5_000,
    "long_name": "x" * 5_000 + ".npy",
    "nul": "a\0b",
    "unicode": "é𝄞\u202e\udcff",
    "minus": "-1",
    "huge": "1e400",
    "wide": "9" * 20,
    "nan": "nan",
    "missing": "missing.npy",
    "missing_function": "missing.py:f",
    "nested": "(" * 5_000 + ")" * 5_000,
    "calls": "f(" * 200,
    "brackets": "k=" + "[" * 5_000,
    "scheme": "foo://x",
    "spaces": " \t\n",
    "quotes": "'\"'",
    "dots": "...:...",
    "star": "QuantSpec(*e4m3, **x)",
}
MINE = """
import ml_dtypes, numpy as np
def f(x):
    return np.clip(x, -448, 448).astype(ml_dtypes.float8_e4m3fn)
def cell(x):
    return {"double": 2 * x}
"""
# Arguments with which each subcommand does little, its own argument last.
BASE = {
    "gemm": ["--m", "2", "--n", "2", "--k", "32", "--distribution", "normal", "--accumulator", "EXACT"],
    "quantize": ["--shape", "2x32", "--spec", "bf16", "normal"],
    "logfmt": ["--shape", "2x256", "--bits", "8", "normal"],
    "check": ["--like", "e4m3", "mine.py:f"],
    "sweep": ["--set", "k=64", "--set", "m=2", "--set", "n=2", "--set", "offset=0", "--set", "promoted=0",
              "--set", "accumulator=HOPPER_FP8", "promotion"],
    "formats": ["e4m3"],
    "units": ["HOPPER_FP8"],
    "warm": ["--list"],
}  # fmt: skip
TAKES_ARGUMENTS = {"quantize", "logfmt", "check", "sweep", "formats", "units"}


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    Path("mine.py").write_text(MINE)
    np.save("x.npy", np.ones((2, 32), np.float32))
    threads = pr.get_num_threads()
    yield
    pr.set_num_threads(threads)


def _message_or_success(arguments, why):
    found = CliRunner().invoke(command, arguments)
    raised = None if isinstance(found.exception, SystemExit) else found.exception
    assert raised is None, f"{why}: {type(raised).__name__}: {str(raised)[:200]}"
    assert found.exit_code in (0, 1, 2), (why, found.exit_code)
    assert "Traceback" not in found.output, why


CONTEXT = click.Context(command)


def _options(name):
    quiet = ["--no-figure"] if name not in ("check", "formats", "units", "warm") else []
    for parameter in command.get_command(CONTEXT, name).params:
        if isinstance(parameter, click.Option) and not parameter.is_flag:
            yield name, parameter.opts[0], [name, *quiet, parameter.opts[0]]


CASES = [case for name in command.list_commands(CONTEXT) for case in _options(name)]


def test_every_subcommand_is_tried():
    assert set(BASE) == set(command.list_commands(CONTEXT))


@pytest.mark.parametrize(
    ("name", "option", "start"), CASES, ids=[f"{name}{option}" for name, option, _ in CASES]
)
def test_nasty_values_of_options(name, option, start):
    for kind, value in NASTY.items():
        rest = [*BASE[name][:-1], BASE[name][-1]]
        _message_or_success([*start, value, *rest], f"{name} {option} {kind}")
        if name == "gemm" and option in ("--tensor", "--x", "--m"):
            _message_or_success([*start, value, "--weights", "x.npy"], f"{name} --weights, {option} {kind}")
        if name in ("quantize", "logfmt") and option in ("--tensor", "--axis"):
            _message_or_success([*start, value, *BASE[name][2:-1], "x.npy"], f"{name} x.npy, {option} {kind}")


@pytest.mark.parametrize("name", sorted(TAKES_ARGUMENTS))
def test_nasty_arguments(name):
    quiet = ["--no-figure"] if name not in ("check", "formats", "units", "warm") else []
    for kind, value in NASTY.items():
        _message_or_success([name, *quiet, *BASE[name][:-1], "--", value], f"{name} {kind}")
        _message_or_success([value, *BASE[name]], kind)


def test_nasty_names_of_parameters_and_values():
    for kind, value in NASTY.items():
        for text in (
            f"k={value}",
            f"{value}=1",
            f"fmt={value}",
            f"accumulator={value}",
            f"distribution={value}",
        ):
            arguments = ["sweep", "--no-figure", *BASE["sweep"][:-1], "--set", text, "promotion"]
            _message_or_success(arguments, f"--set {text[:20]} {kind}")


def _toml(value):
    return json.dumps(value, ensure_ascii=True).replace("\\udcff", "?").replace("\\ud834\\udd1e", "x")


@pytest.mark.parametrize("key", ["study", "function", "grid", "json", "csv", "figure", "store", "executor",
                                 "workers", "max_cells", "extend", "no_figure", "stranger"])  # fmt: skip
def test_nasty_values_of_files(key):
    plain = {f"text_{kind}": _toml(value) for kind, value in NASTY.items()}
    others = {
        "inf": "inf", "nan": "nan", "minus": "-1", "date": "1979-05-27", "time": "07:32:00",
        "list": "[1, [2]]",
        "table": "{a = 1}", "true": "true", "digits": "9" * 5_000, "fraction": "1.5", "wide": "9" * 20,
        "nested": "[" * 5_000 + "]" * 5_000, "half": "[" * 5_000, "somewhat": "[" * 90 + "1" + "]" * 90,
        "tables": "{a=" * 5_000 + "1" + "}" * 5_000, "tables_of_grids": "[{k = [[1]]}, {k = 07:32:00}]",
    }  # fmt: skip
    for kind, value in {**plain, **others}.items():
        grid = "" if key == "grid" else "[grid]\nk = 64\nm = 2\nn = 2\noffset = 0\npromoted = 0\n"
        study = "" if key in ("study", "function") else 'study = "promotion"\n'
        quiet = "" if key in ("figure", "no_figure") else "no_figure = true\n"
        Path("sweep.toml").write_text(f"{key} = {value}\n{study}{quiet}{grid}", encoding="utf-8")
        few = ["--set", "accumulator=HOPPER_FP8", "--set", "k=64"] if key != "function" else []
        _message_or_success(["sweep", "--trust", *few, "sweep.toml"], f"{key} = {kind}")


def test_files_that_are_no_text():
    for name, data in {"a.toml": b"\xff\xfe\0", "b.toml": b"", "c.toml": b"\0" * 99}.items():
        Path(name).write_bytes(data)
        _message_or_success(["sweep", name], name)
    os.mkdir("d.toml")
    _message_or_success(["sweep", "d.toml"], "a folder")


# ---- functions of a user's own ----------------------------------------------------------------------
SHADOW = """
import numpy, numpy as np, ml_dtypes
import neighbour
class Helper:
    def double(self, x):
        return 2 * x
def f(x):
    return np.clip(x, -448, 448).astype(ml_dtypes.float8_e4m3fn)
def cell(x):
    import pandas
    return {"double": Helper().double(x), "numpy": numpy.__file__, "pandas": pandas.__file__,
            "five": neighbour.FIVE}
"""


@pytest.mark.parametrize(
    "name", ["numpy", "pandas", "json", "precision", "secrets", "xarray", "cells", "__main__"]
)
def test_a_file_named_like_a_module_takes_nobodys_place(name):
    Path(f"{name}.py").write_text(SHADOW)
    Path("neighbour.py").write_text("FIVE = 5\n")
    before = dict(sys.modules)
    found = CliRunner().invoke(command, ["check", "--like", "e4m3", f"{name}.py:f"])
    assert found.exit_code == 0, found.output
    here = os.path.realpath(os.curdir)
    for module in (name, name.partition(".")[0]):
        known = sys.modules.get(module)
        assert known is before.get(module) or not str(getattr(known, "__file__", "")).startswith(here)
    assert sys.path[0] != here
    sys.modules.pop("neighbour", None)


@pytest.mark.parametrize("executor", ["in-process", "threads", "processes"])
def test_a_file_named_like_a_module_runs_on_every_executor(executor):
    Path("numpy.py").write_text(SHADOW)
    Path("pandas.py").write_text("raise RuntimeError('this is not pandas')\n")
    Path("neighbour.py").write_text("FIVE = 5\n")
    arguments = ["sweep", "--function", "numpy.py:cell", "--set", "x=1,2", "--csv", "rows.csv",
                 "--store", "cells.sqlite", "--executor", executor]  # fmt: skip
    workers = ["--workers", "1"] if executor != "in-process" else []
    found = CliRunner().invoke(command, [*arguments, *workers])
    assert found.exit_code == 0, found.output
    rows = list(csv.DictReader(Path("rows.csv").read_text().splitlines()))
    assert [row["double"] for row in rows] == ["2", "4"] and {row["five"] for row in rows} == {"5"}
    assert {row["numpy"] for row in rows} == {np.__file__}
    assert not any(row["pandas"].startswith(os.getcwd()) for row in rows)
    from precision.sweep import read_store

    assert read_store("cells.sqlite").attrs["provenance"]["function"] == "numpy:cell"
    sys.modules.pop("neighbour", None)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("import sys; sys.exit(3)", "cannot be imported: SystemExit: 3"),
        ("raise BaseException('odd')", "cannot be imported: BaseException: odd"),
        ("1 / 0", "cannot be imported: ZeroDivisionError"),
        ("def __getattr__(name): raise KeyError(name)", "cannot be read: KeyError"),
        ("f = 5", "is no function but int"),
        ("def f(x): f(x)", "RecursionError"),
        ("def f(x): raise MemoryError", "MemoryError"),
        ("def f(x): raise BaseException('odd')", "odd"),
        ("import sys\ndef f(x): sys.exit(3)", "SystemExit: 3"),
        ("def f(x): return 1e999", "inf"),
        ("def f(x): return object()", "object"),
        ("def f(): return 1", "x"),
        ("f = print", "x"),
        ("class f:\n    def __init__(self, **x): raise OSError('odd')", "odd"),
    ],
    ids=["exit", "base", "zero", "getattr", "number", "recursion", "memory", "base_in", "exit_in", "inf",
         "object", "arguments", "print", "class"],
)  # fmt: skip
def test_errors_of_a_users_own(body, message):
    Path("own.py").write_text(body)
    found = CliRunner().invoke(command, ["sweep", "--function", "own.py:f", "--set", "x=1"])
    assert found.exit_code in (0, 1, 2) and isinstance(found.exception, SystemExit | None), found.exception
    assert message in " ".join(found.output.split()) and "Traceback" not in found.output
    found = CliRunner().invoke(command, ["check", "--like", "e4m3", "own.py:f"])
    assert found.exit_code in (1, 2) and isinstance(found.exception, SystemExit), found.exception
    assert "Traceback" not in found.output


# ---- schedulers -------------------------------------------------------------------------------------
@pytest.mark.parametrize("address", ["foo://x", "://", "http://x", "tcpp://127.0.0.1:1"])
def test_unknown_kinds_of_addresses_are_refused_at_once(address):
    pytest.importorskip("distributed", reason="needs the extra distributed")
    start = time.monotonic()
    arguments = ["sweep", "--no-figure", *BASE["sweep"], "--executor", address, "--store", "cells.sqlite"]
    found = CliRunner().invoke(command, arguments)
    assert found.exit_code == 1 and "unknown address scheme" in " ".join(found.output.split())
    assert time.monotonic() - start < 9 and not os.path.exists("cells.sqlite")


# ---- Ctrl-C -----------------------------------------------------------------------------------------
@pytest.fixture
def sigint():
    """Set what becomes of SIGINT here, and so in the processes that a test starts.

    A shell without job control, as in CI, starts with SIGINT ignored what it puts into the background; so may
    nohup. Python then installs no handler, and every process that it starts ignores SIGINT as well.
    """
    before = signal.getsignal(signal.SIGINT)
    yield lambda handler: signal.signal(signal.SIGINT, handler)
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("name", list(BASE))
def test_an_interrupt_ends_every_subcommand_with_130(name, monkeypatch):
    def interrupt(*arguments, **options):
        raise KeyboardInterrupt

    work = {
        **dict.fromkeys(("gemm", "quantize", "logfmt"), "precision.sweep._executors.run_cell"),
        "check": "precision.cli.subcommands._check_command.check_quantizer",
        "sweep": "precision.sweep._executors.run_cell",
        "formats": "precision.cli._printed_tables.formats_table",
        "units": "precision.cli.subcommands._units_command.find_unit",
        "warm": "precision.cli.subcommands._warm_command.say",
    }
    monkeypatch.setattr(work[name], interrupt)
    files = (
        ["--json", "rows.json", "--csv", "rows.csv"]
        if name not in ("check", "formats", "units", "warm")
        else []
    )
    found = CliRunner().invoke(command, [name, *files, *BASE[name]])
    assert found.exit_code == 130 and "Traceback" not in found.output
    assert "interrupted" in found.stderr


def test_an_interrupt_while_c_calls_python_is_not_lost(monkeypatch, sigint):
    sigint(signal.default_int_handler)

    def interrupt():
        raise KeyboardInterrupt

    def work(*arguments):
        ctypes.CFUNCTYPE(None)(interrupt)()  # C cannot pass it on
        for _ in range(1000):
            time.sleep(0.01)
        raise AssertionError("the interrupt did not come once more")

    monkeypatch.setattr("precision.sweep._executors.run_cell", work)
    found = CliRunner().invoke(command, ["gemm", *BASE["gemm"]])
    assert found.exit_code == 130 and found.stderr == "\ninterrupted\n"


def test_an_interrupt_while_a_file_is_imported():
    Path("own.py").write_text("raise KeyboardInterrupt")
    for arguments in (["check", "--like", "e4m3", "own.py:f"], ["sweep", "--function", "own.py:f"]):
        assert CliRunner().invoke(command, arguments).exit_code == 130


needs_signals = pytest.mark.skipif(os.name != "posix", reason="needs POSIX's signals")
on_every_executor = pytest.mark.parametrize(
    "executor",
    [["in-process"], ["threads", "--workers", "2"], ["processes", "--workers", "2"]],
    ids=["here", "threads", "processes"],
)


def _sent_sigint(function, values, executor):
    """Run a sweep in a process of its own, and send it SIGINT, as a terminal does, once a cell has begun.

    Returns its exit code, what it printed on the standard error, and the seconds from SIGINT to its end.
    """
    Path("own.py").write_text(
        f"import time\nfrom pathlib import Path\ndef f(x):\n    {function}\n    return x\n"
    )
    arguments = [sys.executable, "-m", "precision", "sweep", "--function", "own.py:f", "--set", f"x={values}"]
    with subprocess.Popen([*arguments, "--executor", *executor], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, start_new_session=True) as running:  # fmt: skip
        try:
            while not os.path.exists("begun"):
                assert running.poll() is None
                time.sleep(0.01)
            start = time.monotonic()
            os.killpg(running.pid, signal.SIGINT)  # to workers too
            _, said = running.communicate(timeout=60)
            return running.returncode, said, time.monotonic() - start
        finally:
            with suppress(ProcessLookupError):
                os.killpg(running.pid, signal.SIGKILL)


@needs_signals
@on_every_executor
def test_ctrl_c_of_a_process(executor, sigint):
    sigint(signal.default_int_handler)
    # The first cell takes a minute, where it can be ended.
    values = ",".join(map(str, range(executor[0] == "threads", 2000)))
    code, said, seconds = _sent_sigint(
        "Path('begun').touch(); time.sleep(0.05 if x else 60)", values, executor
    )
    assert executor[0] == "threads" or seconds < 20  # a thread ends its cell
    assert code == 130 and "Traceback" not in said and "interrupted" in said, said


@needs_signals
@on_every_executor
def test_a_process_that_was_started_to_ignore_ctrl_c_goes_on(executor, sigint):
    sigint(signal.SIG_IGN)
    code, said, _ = _sent_sigint("Path('begun').touch(); time.sleep(0.3)", "1,2,3", executor)
    assert code == 0 and "Traceback" not in said and "interrupted" not in said, said
