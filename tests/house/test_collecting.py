"""Every process gives tests the same names, or pytest-xdist refuses them."""

import os
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).parents[1]


def test_ids_are_the_same_in_every_process(request):
    """Another process, of another hash seed and other addresses, finds the tests of this session again."""
    items = [item for item in request.session.items if item.path.is_relative_to(TESTS)]
    files = sorted({str(item.path) for item in items})
    seed = "2" if os.environ.get("PYTHONHASHSEED") == "1" else "1"
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")}
    found = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "--collect-only", "-p", "no:cacheprovider", *files],
        cwd=request.config.rootpath,
        env={**environment, "PYTHONHASHSEED": seed},
        capture_output=True,
        text=True,
    )
    assert found.returncode == 0, found.stdout[-2000:]
    other = set(found.stdout.splitlines())
    assert len(items) > 0 and [item.nodeid for item in items if item.nodeid not in other] == []
