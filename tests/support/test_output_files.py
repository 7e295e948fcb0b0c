"""Output files: links, modes, owners, devices, pipes, threads, long names and failures."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import precision as pr
from precision import plots, storage
from precision._support.files._whole_files import check_output, draft
from precision.cli import command

pytestmark = pytest.mark.skipif(os.name != "posix", reason="modes, links and pipes as POSIX has them")

SMALL = ["gemm", "--m", "4", "--n", "4", "--k", "64", "--distribution", "normal", "--accumulator", "EXACT"]
TENSOR = pr.quantize(np.ones((2, 32), np.float32), pr.MXFP4)


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def _command(option, path):
    no_figure = [] if option == "--figure" else ["--no-figure"]
    found = CliRunner().invoke(command, [*SMALL, *no_figure, option, str(path)])
    assert found.exit_code == 0, found.output


def _figure(path):
    from matplotlib.figure import Figure

    drawn = Figure()
    drawn.add_subplot().plot([1, 2])
    plots.save(drawn, path)


WRITERS = {
    "draft": lambda path: _draft(path, "new"),
    "json": lambda path: _command("--json", path),
    "csv": lambda path: _command("--csv", path),
    "figure": lambda path: _command("--figure", path),
    "plots": _figure,
    "storage": lambda path: storage.save(path, {"w": TENSOR}),
}


def _draft(path, text):
    with draft(path) as beside:
        beside.write_text(text)


@pytest.fixture(params=list(WRITERS))
def write(request):
    return WRITERS[request.param]


def mode(path):
    return stat.S_IMODE(os.stat(path).st_mode)


def test_links_stay_and_their_target_is_replaced(write):
    os.mkdir("far")
    target = Path("far", "target.png")
    target.write_bytes(b"old")
    before = target.stat().st_ino
    os.symlink("far/target.png", "middle.png")
    os.symlink(os.path.abspath("middle.png"), "link.png")
    write("link.png")
    assert os.readlink("link.png") == os.path.abspath("middle.png")
    assert os.readlink("middle.png") == "far/target.png"
    assert target.stat().st_size > 3 or target.read_bytes() == b"new"
    assert not target.is_symlink() and target.stat().st_ino != before  # at once, not piece by piece
    assert sorted(os.listdir()) == ["far", "link.png", "middle.png"] and os.listdir("far") == ["target.png"]


def test_a_link_to_nothing_makes_its_target(write):
    os.symlink("target.png", "link.png")
    write("link.png")
    assert os.path.islink("link.png") and os.path.getsize("target.png") > 0


@pytest.mark.parametrize("bits", [0o600, 0o640, 0o666, 0o755])
def test_an_existing_file_keeps_its_mode(write, bits):
    Path("out.png").write_bytes(b"old")
    os.chmod("out.png", bits)
    write("out.png")
    assert mode("out.png") == bits and Path("out.png").read_bytes() != b"old"


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_a_new_file_has_the_mode_of_the_umask(write, mask):
    before = os.umask(mask)
    try:
        write("out.png")
    finally:
        os.umask(before)
    assert mode("out.png") == 0o666 & ~mask


def test_what_replaces_a_private_file_is_private_from_the_start():
    Path("out").write_text("old")
    os.chmod("out", 0o600)
    with draft("out") as beside:
        assert mode(beside) == 0o600
        beside.write_text("new")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root gives files away")
def test_an_existing_file_keeps_its_owner(write):
    Path("out.png").write_bytes(b"old")
    os.chown("out.png", 12345, 23456)
    os.chmod("out.png", 0o640)
    write("out.png")
    found = os.stat("out.png")
    assert (found.st_uid, found.st_gid, mode("out.png")) == (12345, 23456, 0o640)


def test_a_pipe_gets_the_bytes_and_stays(write):
    os.mkfifo("pipe.png")
    got = []
    reader = threading.Thread(target=lambda: got.append(Path("pipe.png").read_bytes()))
    reader.start()
    write("pipe.png")
    reader.join(60)
    assert stat.S_ISFIFO(os.stat("pipe.png").st_mode) and os.listdir() == ["pipe.png"]
    assert len(got[0]) >= 3


def _null(name):
    """Make a null device: one of our own where this user could replace the system's, else a link to that."""
    if not os.access("/dev", os.W_OK):
        os.symlink("/dev/null", name)
        return
    try:
        os.mknod(name, stat.S_IFCHR | 0o666, os.makedev(1, 3))
    except OSError:
        pytest.skip("this user could harm the system's devices, and can make none")


def test_a_device_is_written_and_stays(write):
    _null("null.png")
    os.symlink("null.png", "link.png")
    before = os.stat("null.png")
    for name in ("null.png", "link.png"):
        write(name)
        after = os.stat("null.png")
        assert stat.S_ISCHR(after.st_mode) and after.st_ino == before.st_ino
    assert os.readlink("link.png") == "null.png" and sorted(os.listdir()) == ["link.png", "null.png"]


# Where this user could replace the system's links, only names that nobody can.
STANDARD = [
    pytest.param(
        "/dev/stdout", marks=pytest.mark.skipif(os.access("/dev", os.W_OK), reason="could harm /dev")
    ),
    "/dev/fd/1",
    "/proc/self/fd/1",
    "link",
]


@pytest.mark.parametrize("name", STANDARD)
@pytest.mark.parametrize("kind", ["pipe", "file"])
def test_the_standard_output_by_name(name, kind):
    if not os.path.exists("/proc/self/fd/1"):
        pytest.skip("this system has no /proc")
    os.symlink("/proc/self/fd/1", "link")
    script = (
        "import sys\nfrom precision._support.files._whole_files import draft\nprint('before')\n"
        f"with draft({name!r}) as beside: beside.write_text('middle\\n')\nprint('after')"
    )
    run = [sys.executable, "-c", script]
    if kind == "pipe":
        text = subprocess.run(run, stdout=subprocess.PIPE, text=True, check=True).stdout
    else:
        with open("out", "w") as file:
            file.write("first\n")
            file.flush()
            subprocess.run(run, stdout=file, check=True)
        text = Path("out").read_text().removeprefix("first\n")
    assert text == "before\nmiddle\nafter\n"


def test_threads_that_save_to_one_path_do_not_meet():
    texts = [f"{i:03}" * 50_000 for i in range(60)]
    with ThreadPoolExecutor(20) as pool:
        list(pool.map(lambda text: _draft("out", text), texts))
        for future in [pool.submit(storage.save, "w.safetensors", {f"w{i}": TENSOR}) for i in range(60)]:
            future.result()
    assert Path("out").read_text() in texts
    assert len(storage.load("w.safetensors")) == 1
    assert sorted(os.listdir()) == ["out", "w.safetensors"]


def test_names_as_long_as_the_system_allows(write):
    name = "n" * 251 + ".png"
    write(name)
    write(name)
    assert os.listdir() == [name]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_block_that_fails_leaves_the_old_file_and_no_draft(error):
    Path("out").write_text("old")
    with pytest.raises(error), draft("out") as beside:
        beside.write_text("half")
        raise error
    with pytest.raises(error), draft("new") as beside:
        raise error
    assert os.listdir() == ["out"] and Path("out").read_text() == "old"


@pytest.mark.parametrize("check", [check_output, lambda path: _draft(path, "new")])
@pytest.mark.parametrize(
    ("path", "error", "message"),
    [
        ("", ValueError, "'' is no file's name"),
        ("a\0b", ValueError, "is no file's name"),
        ("missing/out", FileNotFoundError, "missing is not a folder"),
        ("file/out", FileNotFoundError, "file is not a folder"),
        ("folder", IsADirectoryError, "folder is a folder"),
        ("to_folder", IsADirectoryError, "to_folder is a folder"),
        ("loop", OSError, "loop cannot be written"),
        ("n" * 256, OSError, "n cannot be written: File name too long"),
        ("/proc/out", OSError, "/proc/out"),
        ("/dev/fd/987", OSError, "/dev/fd/987 cannot be written: Bad file descriptor"),
    ],
    ids=["empty", "nul", "missing", "below_a_file", "folder", "link", "loop", "long", "proc", "descriptor"],
)
def test_what_cannot_be_written_is_said_before(check, path, error, message):
    os.mkdir("folder")
    os.symlink("folder", "to_folder")
    os.symlink("loop", "loop")
    Path("file").write_text("old")
    before = sorted(os.listdir())
    with pytest.raises(error, match=message):
        check(path)
    assert sorted(os.listdir()) == before


def test_files_that_may_not_be_written(monkeypatch):
    Path("out").write_text("old")
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    for check in (check_output, lambda path: _draft(path, "new")):
        with pytest.raises(PermissionError, match="out cannot be written"):
            check("out")
    assert Path("out").read_text() == "old" and os.listdir() == ["out"]


def test_trying_leaves_nothing_behind():
    Path("old").write_text("old")
    os.mkfifo("pipe")  # nobody reads it: trying must not wait
    _null("null")
    before = os.stat("old")
    for path in ("old", "new", "pipe", "null"):
        check_output(path)
    assert sorted(os.listdir()) == ["null", "old", "pipe"]
    assert os.stat("old").st_mtime_ns == before.st_mtime_ns
