"""Every kernel on arrays that end, or begin, at a page that may not be touched: no read or write outside."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="mprotect as Linux has it")


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    paths = os.pathsep.join(filter(None, (str(TESTS.parent), os.environ.get("PYTHONPATH"))))
    return subprocess.run(
        [sys.executable, str(TESTS / "guarded.py"), *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": paths},
        check=False,
    )


@pytest.mark.parametrize("side", ["end", "begin"])
def test_no_kernel_reads_or_writes_outside(side):
    done = run(side)
    last = done.stdout.rstrip().rpartition("\n")[2]
    assert done.returncode == 0, f"exit status {done.returncode} in: {last}\n{done.stderr[-2000:]}"
    assert last.endswith("no read or write outside") and int(last.split()[0]) > 500


@pytest.mark.parametrize("side", ["end", "begin"])
def test_codes_with_stray_bits_lead_no_kernel_outside(side):
    done = run("stray", side)
    last = done.stdout.rstrip().rpartition("\n")[2]
    assert done.returncode == 0, f"exit status {done.returncode} in: {last}\n{done.stderr[-2000:]}"
    assert last.endswith("no read or write outside") and int(last.split()[0]) > 100


@pytest.mark.parametrize("side", ["end", "begin"])
def test_one_element_outside_ends_the_process(side):
    done = run("outside", side)
    assert done.returncode < 0 and done.stdout == "one element outside\n", (done.returncode, done.stderr)
