"""How many threads: by call, by environment, by processors and by the quota of a container."""

import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

import precision as pr
from precision._support.machine import _processors, _threads
from precision._support.machine._processors import cpu_quota

VARIABLES = "PRECISION_NUM_THREADS", "NUMBA_NUM_THREADS", "OMP_NUM_THREADS"


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch):
    monkeypatch.setattr(_threads, "_num_threads", None)
    monkeypatch.setattr(_processors, "_warned", set())
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


def test_the_order_in_which_they_win(monkeypatch):
    machine = pr.get_num_threads()
    assert machine >= 1
    for number, name in ((41, "OMP_NUM_THREADS"), (42, "NUMBA_NUM_THREADS"), (43, "PRECISION_NUM_THREADS")):
        monkeypatch.setenv(name, str(number))
        assert pr.get_num_threads() == number
    pr.set_num_threads(44)
    assert pr.get_num_threads() == 44


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "many", "4,2", "1_0", "0x4", "9" * 5000, "٣"])
def test_precisions_own_variable_must_be_a_whole_number(monkeypatch, text):
    monkeypatch.setenv("PRECISION_NUM_THREADS", text)
    with pytest.raises(ValueError, match="PRECISION_NUM_THREADS must be a whole number of at least 1, got"):
        pr.get_num_threads()
    with pytest.raises(ValueError, match="PRECISION_NUM_THREADS"):
        pr.round_to(np.ones(10**6, np.float32), pr.E4M3)
    pr.set_num_threads(2)
    assert pr.get_num_threads() == 2


@pytest.mark.parametrize(("text", "number"), [("3", 3), (" 3 ", 3), ("+3", 3), ("007", 7)])
def test_whole_numbers_as_text(monkeypatch, text, number):
    for name in VARIABLES:
        monkeypatch.setenv(name, text)
        assert pr.get_num_threads() == number
        monkeypatch.delenv(name)


def test_an_empty_variable_is_none(monkeypatch):
    machine = pr.get_num_threads()
    for name in VARIABLES:
        monkeypatch.setenv(name, " ")
    assert pr.get_num_threads() == machine


@pytest.mark.parametrize("text", ["4,2", "4 , 2,1", "4"])
def test_openmps_list_begins_with_our_number(monkeypatch, text):
    monkeypatch.setenv("OMP_NUM_THREADS", text)
    assert pr.get_num_threads() == 4


@pytest.mark.parametrize(
    ("name", "text"),
    [("OMP_NUM_THREADS", text) for text in ("0", "-2", "four", "4,x", "4,0", ",4")]
    + [("NUMBA_NUM_THREADS", text) for text in ("0", "four", "4,2")],
)
def test_what_others_cannot_read_is_ignored_with_one_warning(monkeypatch, name, text):
    machine = pr.get_num_threads()
    monkeypatch.setenv(name, text)
    with pytest.warns(RuntimeWarning, match=f"{name} is '{text}'") as seen:
        assert pr.get_num_threads() == machine
        assert pr.get_num_threads() == machine
    assert len(seen) == 1


@pytest.mark.parametrize("n", [np.int8(3), np.uint64(3), np.array(3)])
def test_whole_numbers_of_any_kind(n):
    pr.set_num_threads(n)
    assert pr.get_num_threads() == 3 and type(pr.get_num_threads()) is int


@pytest.mark.parametrize("n", [True, np.True_, 2.0, "2", None])
def test_what_is_no_whole_number(n):
    with pytest.raises(TypeError, match="n must be an int"):
        pr.set_num_threads(n)


def test_a_new_process_reads_them():
    code = "import precision as pr; print(pr.get_num_threads())"
    environment = {**os.environ, "PRECISION_NUM_THREADS": "5", "OMP_NUM_THREADS": "7"}
    found = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert found.stdout.split() == ["5"]


# ---- control groups ---------------------------------------------------------------------------------
def machine(folder: Path, groups: str, mounts: str, files: dict[str, str]) -> tuple[Path, Path]:
    """Make a process's folder of /proc, and a root with files of control groups."""
    process, root = folder / "proc", folder / "root"
    process.mkdir()
    (process / "cgroup").write_text(groups)
    (process / "mountinfo").write_text(mounts)
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return process, root


SECOND = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
FIRST = (
    "31 23 0:27 {} /sys/fs/cgroup/cpu,cpuacct rw shared:5 - cgroup cgroup rw,cpu,cpuacct\n"
    "32 23 0:28 {} /sys/fs/cgroup/memory rw shared:6 - cgroup cgroup rw,memory\n"
)
V1 = "sys/fs/cgroup/cpu,cpuacct"


@pytest.mark.parametrize(
    ("groups", "mounts", "files", "expected"),
    [
        pytest.param("0::/\n", SECOND, {"sys/fs/cgroup/cpu.max": "200000 100000\n"}, 2, id="whole"),
        pytest.param("0::/\n", SECOND, {"sys/fs/cgroup/cpu.max": "150000 100000\n"}, 2, id="rounded up"),
        pytest.param("0::/\n", SECOND, {"sys/fs/cgroup/cpu.max": "10000 100000\n"}, 1, id="below one"),
        pytest.param("0::/\n", SECOND, {"sys/fs/cgroup/cpu.max": "max 100000\n"}, None, id="no limit"),
        pytest.param("0::/\n", SECOND, {}, None, id="no file"),
        pytest.param("0::/\n", SECOND, {"sys/fs/cgroup/cpu.max": "\n"}, None, id="empty file"),
        pytest.param(
            "0::/a/b c/d\n",
            SECOND,
            {
                "sys/fs/cgroup/a/cpu.max": "300000 100000",
                "sys/fs/cgroup/a/b c/d/cpu.max": "max 100000",
                "sys/fs/cgroup/a/b c/cpu.max": "700000 100000",
            },
            3,
            id="an ancestor's",
        ),
        pytest.param("0::/../x\n", SECOND, {"sys/fs/cgroup/cpu.max": "400000 100000"}, 4, id="above the top"),
        pytest.param(
            "5:memory:/m\n4:cpu,cpuacct:/docker/abc\n",
            FIRST.format("/docker/abc", "/docker/abc"),
            {f"{V1}/cpu.cfs_quota_us": "250000\n", f"{V1}/cpu.cfs_period_us": "100000\n"},
            3,
            id="version 1 in a container",
        ),
        pytest.param(
            "4:cpu,cpuacct:/user/me\n1:name=systemd:/x\n0::/y\n",
            FIRST.format("/", "/") + SECOND.replace("/sys/fs/cgroup", "/sys/fs/cgroup/unified"),
            {f"{V1}/user/me/cpu.cfs_quota_us": "50000\n", f"{V1}/user/me/cpu.cfs_period_us": "10000\n"},
            5,
            id="version 1 beside 2",
        ),
        pytest.param(
            "4:cpu,cpuacct:/\n",
            FIRST.format("/", "/"),
            {f"{V1}/cpu.cfs_quota_us": "-1\n", f"{V1}/cpu.cfs_period_us": "100000\n"},
            None,
            id="version 1 without limit",
        ),
        pytest.param("nonsense\n", SECOND, {}, None, id="nonsense"),
        pytest.param(
            "0::/\n",
            "30 23 0:26 / /with\\040space rw - cgroup2 cgroup2 rw\n",
            {"with space/cpu.max": "200000 100000\n"},
            2,
            id="escaped mount point",
        ),
    ],
)
def test_a_containers_quota(tmp_path, groups, mounts, files, expected):
    assert cpu_quota(*machine(tmp_path, groups, mounts, files)) == expected


def test_without_proc(tmp_path):
    assert cpu_quota(tmp_path / "none", tmp_path) is None


def test_the_quota_and_the_affinity_decide_together(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: range(6), raising=False)
    for quota, expected in ((None, 6), (4, 4), (9, 6)):
        monkeypatch.setattr(_processors, "_own_quota", lambda quota=quota: quota)
        assert pr.get_num_threads() == expected


def test_reading_them_warns_of_nothing():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert _processors.processors() >= 1
