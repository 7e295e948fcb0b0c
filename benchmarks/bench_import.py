"""The time in which new processes import `precision`, against NumPy and ml_dtypes, which it imports.

Names of `precision` are imported when they are first asked for; rows say which ones are.
"""

from __future__ import annotations

import functools
import os
import subprocess
import sys

from benchmarks.measuring import Row, Side, Yardstick, as_test

CODE = "import time; start = time.perf_counter(); {}; print(time.perf_counter() - start)"


def seconds(statement: str) -> float:
    """Return the time of a statement in a new process."""
    # Compiled modules are kept, as they are after an installation.
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    command = [sys.executable, "-c", CODE.format(statement)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout)


def imports(statement: str) -> Side:
    """Return the time of a statement, once the disk's and Python's caches are filled."""
    seconds(statement)
    return functools.partial(seconds, statement)


def row(name: str, statement: str, **limits: float) -> Row:
    """Return the row of a statement."""
    return Row(
        name,
        BASE,
        make=functools.partial(imports, statement),
        cost=True,
        headline=statement == "import precision",
        **limits,
    )


BASE = Yardstick("import numpy, ml_dtypes", functools.partial(imports, "import numpy, ml_dtypes"))
ROWS = (
    row("import precision", "import precision", bar=1.4, goal=1.2),
    row(
        "import precision, with quantize and matmul",
        "import precision; precision.quantize; precision.matmul",
        goal=1.3,
    ),
    row("import precision, with every name", "from precision import *"),
)

test_row = as_test(ROWS)
