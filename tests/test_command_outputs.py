"""Every subcommand's outputs: tried before the work, written before anything is printed, in any encoding."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from precision import plots, storage
from precision.cli import _printed_tables, _study_commands, _sweep_options, command
from precision.studies import Study
from precision.studies._command_options import Asked, Command, Option

STUDIES = {
    "gemm": [
        "gemm",
        "--m",
        "4",
        "--n",
        "4",
        "--k",
        "64",
        "--distribution",
        "normal",
        "--accumulator",
        "EXACT",
    ],
    "quantize": ["quantize", "normal", "--shape", "4x64", "--spec", "MXFP4"],
    "logfmt": ["logfmt", "normal", "--shape", "4x256", "--bits", "8"],
    "sweep": ["sweep", "promotion", "--set", "k=128", "--set", "m=4", "--set", "n=4", "--set", "offset=0"],
}
QUANTIZER = """
import ml_dtypes, numpy as np
def f(x):
    return np.clip(x, -448, 448).astype(ml_dtypes.float8_e4m3fn)
"""
COMMANDS = {
    **STUDIES,
    "formats": ["formats", "e4m3"],
    "check": ["check", "--like", "e4m3", "mine.py:f"],
    "list": ["sweep", "--list"],
    "help": ["sweep", "--help"],
}
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
FILES = ["--json", "rows.json", "--csv", "rows.csv", "--figure", "figure.svg"]


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    Path("mine.py").write_text(QUANTIZER)


@pytest.fixture(params=list(STUDIES))
def study(request):
    return STUDIES[request.param]


@pytest.fixture
def no_work(monkeypatch):
    def work(*arguments, **options):
        raise AssertionError("the work has begun")

    monkeypatch.setattr(_study_commands, "compute_table", work)
    monkeypatch.setattr(_sweep_options, "_run_sweep", work)


def _refused(arguments, *parts):
    before = sorted(os.listdir())
    found = CliRunner().invoke(command, arguments)
    said = " ".join(found.output.split())
    assert found.exit_code == 2 and isinstance(found.exception, SystemExit), (found.output, found.exception)
    assert all(part in said for part in parts), said
    assert sorted(os.listdir()) == before


# ---- tried before the work --------------------------------------------------------------------------
@pytest.mark.parametrize("option", ["--json", "--csv", "--figure"])
@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("", "is no file's name"),
        ("a\0b.png", "is no file's name"),
        ("missing/a.png", "is not a folder"),
        ("file.png/a.png", "is not a folder"),
        ("folder.png", "is a folder"),
        ("loop.png", "cannot be written"),
        ("n" * 300 + ".png", "cannot be written"),
        pytest.param("/proc/a.png", "/proc/a.png", marks=LINUX),
    ],
    ids=["empty", "nul", "missing", "below_a_file", "folder", "loop", "long", "proc"],
)
def test_bad_outputs_are_refused_by_name(study, no_work, option, path, reason):
    os.mkdir("folder.png")
    os.symlink("loop.png", "loop.png")
    Path("file.png").touch()
    _refused([*study, option, path], option, reason)


@pytest.mark.parametrize("option", ["--json", "--csv", "--figure"])
def test_outputs_that_this_user_may_not_write(study, no_work, option, monkeypatch):
    Path("old.png").write_text("old")
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    extra = [] if option == "--figure" else ["--no-figure"]
    _refused([*study, *extra, option, "old.png"], option, "old.png cannot be written")
    assert Path("old.png").read_text() == "old"


@pytest.mark.parametrize("option", ["--json", "--csv", "--figure"])
def test_a_folder_that_takes_no_files(study, no_work, option, monkeypatch):
    def refuse(path, flags, *mode, **rest):
        if flags & os.O_CREAT:
            raise OSError(30, "Read-only file system", path)
        return opened(path, flags, *mode, **rest)

    opened = os.open
    monkeypatch.setattr(os, "open", refuse)
    extra = [] if option == "--figure" else ["--no-figure"]
    _refused([*study, *extra, option, "new.png"], option, "new.png cannot be written: Read-only file system")


def test_the_figure_by_default_is_tried_too(study, no_work):
    os.mkdir(f"precision-{study[0]}.png")
    _refused(study, "--figure", f"precision-{study[0]}.png is a folder")


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("", "is no file's name"),
        ("a\0b", "is no file's name"),
        ("missing/a", "is not a folder"),
        ("folder", "is a folder"),
        ("n" * 300, "cannot be written"),
        ("pipe", "is a device or a pipe"),
    ],
    ids=["empty", "nul", "missing", "folder", "long", "pipe"],
)
def test_bad_stores_are_refused_by_name(no_work, path, reason):
    os.mkdir("folder")
    os.mkfifo("pipe")
    _refused([*STUDIES["sweep"], "--no-figure", "--store", path], "--store", reason)


# ---- written before anything is printed -------------------------------------------------------------
def test_files_are_there_when_printing_fails(study, monkeypatch):
    class Full:
        encoding = "utf-8"

        def write(self, text):
            raise OSError(28, "No space left on device")

        def flush(self):
            pass

        def isatty(self):
            return False

    def main(*arguments, **options):
        with contextlib.redirect_stdout(Full()), pytest.raises(SystemExit) as ended:
            command.main(args=[*study, *FILES], prog_name="precision")
        return ended.value.code

    assert main() == 1
    _check_files()


def _check_files():
    assert json.loads(Path("rows.json").read_text())
    assert len(Path("rows.csv").read_text().splitlines()) > 1
    assert "<svg" in Path("figure.svg").read_text()


def test_a_file_that_fails_costs_neither_the_others_nor_the_table(study, monkeypatch):
    def save(drawn, path):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(plots, "save", save)
    found = CliRunner().invoke(command, [*study, *FILES])
    assert found.exit_code == 1 and "--figure figure.svg: [Errno 28] No space left" in found.output
    assert Path("rows.json").exists() and Path("rows.csv").exists() and len(found.stdout.splitlines()) > 3


# ---- narrow terminals -------------------------------------------------------------------------------
@pytest.mark.parametrize("width", [60, 80, 200])
def test_names_are_whole_in_narrow_terminals(study, width, monkeypatch):
    """Columns of numbers are left out, the last ones first, and a line says which."""
    monkeypatch.setattr(_printed_tables, "_WIDTH", width)
    found = CliRunner().invoke(command, [*study, "--no-figure", "--json", "rows.json"])
    lines = found.stdout.splitlines()
    assert found.exit_code == 0
    # Lines of text stay whole for the terminal to wrap; those of the tables have two spaces in them.
    tables = [line for line in lines if "  " in line.strip()]
    assert tables and max(map(len, tables)) <= width, max(tables, key=len)
    rows = json.loads(Path("rows.json").read_text())
    for row in rows["rows"] if isinstance(rows, dict) else rows:
        name = str(row.get("spec") or row["accumulator"])
        assert any(line.startswith(f"{name} ") for line in lines), name
    some_left_out = "in --json and --csv" in " ".join(lines)
    assert some_left_out or width > 60 or study[0] == "quantize"
    assert not some_left_out or width < 200 or study[0] == "sweep"


# ---- the answer -------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", ["gemm", "quantize", "logfmt"])
def test_a_command_that_measures_ends_with_its_answer(name, monkeypatch):
    arguments = [part for part in STUDIES[name] if part not in ("--accumulator", "EXACT")]
    found = CliRunner().invoke(command, [*arguments, "--no-figure"])
    assert found.exit_code == 0
    *_, last = found.stdout.strip().split("\n\n")
    said = " ".join(last.split())
    assert said.endswith(".") and 1 <= said.count(". ") + 1 <= 3 and any(sign.isdigit() for sign in said)
    piped = CliRunner().invoke(command, [*arguments, "--no-figure", "--csv", "-"])
    assert said not in " ".join(piped.stdout.split())


# ---- encodings --------------------------------------------------------------------------------------
@pytest.mark.parametrize("encoding", ["gbk", "ascii", "cp1252"])
@pytest.mark.parametrize("name", list(COMMANDS))
def test_any_encoding_prints(name, encoding):
    files = ["--no-figure", "--json", "rows.json"] if name in STUDIES else []
    found = CliRunner(charset=encoding).invoke(command, [*COMMANDS[name], *files])
    assert found.exit_code == 0, (found.output, found.exception)
    found.stdout_bytes.decode(encoding)
    assert not files or json.loads(Path("rows.json").read_text())


def test_substitutes():
    whole = CliRunner().invoke(command, COMMANDS["logfmt"]).stdout
    assert "µs" in whole
    found = CliRunner(charset="gbk").invoke(command, COMMANDS["logfmt"])
    assert found.stdout_bytes.decode("gbk") == whole.replace("µ", "u")
    Path("many.py").write_text("def f(x):\n    return x\n")
    values = ",".join(map(str, range(99)))
    arguments = ["sweep", "--function", "many.py:f", "--set", f"x={values}"]
    found = CliRunner(charset="ascii").invoke(command, arguments)
    assert found.exit_code == 0 and b"... 51 more" in found.stdout_bytes


@pytest.mark.parametrize("charset", ["utf-8", "ascii"])
def test_names_that_no_encoding_has(charset):
    np.save("x\udcff.npy", np.ones((4, 64), np.float32))
    arguments = ["quantize", "x\udcff.npy", "--spec", "MXFP4", *FILES]
    found = CliRunner(charset=charset).invoke(command, arguments)
    assert found.exit_code == 0, (found.output, found.exception)
    assert b"x\\udcff.npy" in found.stdout_bytes
    _check_files()
    found = CliRunner(charset=charset).invoke(command, [*arguments[:4], "--no-figure", "--csv", "-"])
    assert found.exit_code == 0 and b"x\\udcff.npy" in found.stdout_bytes


@pytest.mark.parametrize(
    "settings",
    [{"PYTHONIOENCODING": "gbk"}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}],
    ids=["gbk", "C"],
)
def test_a_process_of_another_encoding(settings):
    arguments = [sys.executable, "-m", "precision", *COMMANDS["logfmt"], "--json", "rows.json", "--no-figure"]
    found = subprocess.run(arguments, env={**os.environ, **settings}, capture_output=True)
    assert found.returncode == 0 and found.stderr == b""
    assert json.loads(Path("rows.json").read_text()) and b"us" in found.stdout


# ---- pipes that nobody reads ------------------------------------------------------------------------
class Gone:
    """A standard output whose reader has left."""

    encoding = "utf-8"

    def write(self, text):
        raise BrokenPipeError(32, "Broken pipe")

    def flush(self):
        raise BrokenPipeError(32, "Broken pipe")

    def fileno(self):
        raise OSError("no file")

    def isatty(self):
        return False


@pytest.mark.parametrize("name", [name for name in COMMANDS if name != "help"])
def test_a_closed_pipe_loses_nothing(name):
    files = FILES if name in STUDIES else []
    with contextlib.redirect_stdout(Gone()), pytest.raises(SystemExit) as ended:
        command.main(args=[*COMMANDS[name], *files], prog_name="precision")
    assert ended.value.code == 0
    if files:
        _check_files()


def test_a_check_that_fails_says_so_to_a_closed_pipe():
    Path("bad.py").write_text(QUANTIZER.replace("448)", "300)"))
    with contextlib.redirect_stdout(Gone()), pytest.raises(SystemExit) as ended:
        command.main(args=["check", "--like", "e4m3", "bad.py:f"], prog_name="precision")
    assert ended.value.code == 1


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX's pipes")
@pytest.mark.parametrize("errors_too", [False, True])
def test_a_process_whose_pipe_is_closed(errors_too):
    reader, writer = os.pipe()
    os.close(reader)
    arguments = [sys.executable, "-m", "precision", *COMMANDS["gemm"], *FILES]
    found = subprocess.run(arguments, stdout=writer, stderr=writer if errors_too else subprocess.PIPE)
    os.close(writer)
    assert found.returncode == 0 and not found.stderr
    _check_files()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
@pytest.mark.parametrize("name", ["formats", "list", "help"])
def test_a_full_disk_is_a_message(name):
    with open("/dev/full", "w") as full:
        arguments = [sys.executable, "-m", "precision", *COMMANDS[name]]
        found = subprocess.run(arguments, stdout=full, stderr=subprocess.PIPE, text=True)
    assert found.returncode == 1 and found.stderr.startswith("Error: ") and found.stderr.count("\n") == 1


def test_storage_says_at_once_what_it_cannot_write():
    with pytest.raises(FileNotFoundError, match="no is not a folder"):
        storage.save("no/w.safetensors", {})


# ---- options of studies -----------------------------------------------------------------------------
def add(*, x=0, y=0.5):
    """A cell of two numbers."""
    if x == 7:
        raise ArithmeticError("seven is odd")
    return {"sum": x + y}


def test_an_option_named_as_a_parameter_reaches_the_cell(monkeypatch):
    options = (Option("x", int, least=0, repeatable=True), Option("y", float, default=2.0, least=0))
    asked = Command(
        help="Add two numbers.",
        options=options,
        ask=lambda given: Asked({"x": given["x"]}, ("adding",)),
        columns=("y", "sum"),
        complete=lambda table: table.assign(sum=-table["sum"]),
    )
    adding = Study(
        name="add", question="What is the sum?", cell=add, grid={}, reads={}, figure=None, command=asked,
        answer=lambda table: f"It is {table['sum'].iloc[0]}.",
    )  # fmt: skip
    monkeypatch.setattr(_study_commands, "study", lambda name: adding)
    made = _study_commands.study_command("add", "add")
    found = CliRunner().invoke(made, ["--x", "3", "--x", "1", "--no-figure", "--csv", "-"])
    assert (found.stdout, found.stderr) == ("y,sum\n2.0,-5.0\n2.0,-3.0\n", "adding\n")
    assert "It is -3.5." in CliRunner().invoke(made, ["--x", "3", "--y", "0.5", "--no-figure"]).stdout
    for arguments, message in (
        (["--x", "-1"], "-1 is not in the range x>=0"),
        (["--x", "1", "--y", "0"], "0.0 is not in the range x>0"),
        (["--x", "1", "--x", "7"], "Error: ArithmeticError: seven is odd"),
    ):
        refused = CliRunner().invoke(made, [*arguments, "--no-figure", "--csv", "rows.csv"])
        assert refused.exit_code in (1, 2) and message in refused.output and not os.path.exists("rows.csv")
    help = CliRunner().invoke(made, ["--help"]).stdout
    assert "Add two numbers." in help and "[default: 2.0; x>0]" in help


def negate(*, twice=False):
    """A cell of a truth value."""
    return {"result": 1 if twice else -1}


def test_a_flag_of_a_study_takes_no_value(monkeypatch):
    asked = Command(
        help="Negate one.",
        options=(Option("twice", bool, help="Two times."),),
        ask=lambda given: Asked({}),
        columns=("twice", "result"),
    )
    negating = Study(
        name="negate", question="What is it?", cell=negate, grid={}, reads={}, figure=None, command=asked,
        answer=lambda table: "",
    )  # fmt: skip
    monkeypatch.setattr(_study_commands, "study", lambda name: negating)
    made = _study_commands.study_command("negate", "negate")
    for arguments, row in (([], "False,-1"), (["--twice"], "True,1")):
        found = CliRunner().invoke(made, [*arguments, "--no-figure", "--csv", "-"])
        assert found.stdout == f"twice,result\n{row}\n"
    assert "--twice    " in CliRunner().invoke(made, ["--help"]).stdout
