"""Functions for tests of sweeps, where worker processes can import them."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import numpy as np

import precision as pr
from precision import metrics
from precision.metrics import draw


def product(*, accumulator, k, seed=0, distribution="normal"):
    """A real cell: kernels, metrics of several types."""
    a = pr.encode(draw(distribution, (8, k), k_axis=1, seed=seed), pr.E4M3)
    b = pr.encode(draw(distribution, (k, 8), k_axis=0, seed=seed), pr.E4M3)
    result = pr.matmul(a, b, accumulator=accumulator)
    exact = pr.matmul(a, b, accumulator=pr.EXACT, dtype=np.float64)
    return {
        "error": metrics.norm_relative_error(result, exact),
        "bias": np.float32(metrics.signed_relative_error(result, exact)),
        "equal": bool((result == exact).all()),
        "steps": k // 32,
        "unit": str(accumulator),
    }


def renamed(**parameters):
    """`product` without the metric that is named as a column of every table."""
    found = product(**parameters)
    found["norm_relative_error"] = found.pop("error")
    return found


def cell(*, accumulator, k, seed=0, distribution="normal"):
    return renamed(accumulator=accumulator, k=k, seed=seed, distribution=distribution)


def noted(*, x, y=0, folder, seconds=0.0):
    """Notes in ``folder`` that it was begun, in one atomic write, and takes its time."""
    descriptor = os.open(Path(folder) / "begun", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(descriptor, f"{os.getpid()} {x} {y}\n".encode())
    os.close(descriptor)
    time.sleep(seconds)
    return {"sum": x + y, "third": x / 3 + y}


def picky(*, x):
    if x == 2:
        raise ArithmeticError("two is too much")
    return {"half": x / 2, "whole": x // 2, "even": x % 2 == 0}


def threads(*, x):
    return {"threads": pr.get_num_threads(), "elsewhere": os.getpid()}


def exits(*, x):
    if x == 2:
        sys.exit("two")
    return x


def deadly(*, x):
    if x == 3:
        os.kill(os.getpid(), 9)
    return x
