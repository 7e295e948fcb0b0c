"""The check of the floating-point environment of the threads of NumPy's BLAS, which no caller can set."""

from __future__ import annotations

import functools
import os

import numpy as np

from precision._support.machine._float_environment import in_default_environment


def check_blas() -> None:
    """Raise unless the threads of NumPy's BLAS round to nearest even and keep subnormal numbers.

    OpenBLAS starts its threads when NumPy is imported (and anew in a forked process), and each keeps the
    environment of the thread that started it. Where that was not the default one, products of float64
    matrices are wrong, and nothing here can set it. So functions that take numbers from such products call
    this one first. (Exact products by BLAS need no check: nothing in them rounds, underflows or is
    subnormal.) The first call of a process computes a product that shows errors, in some milliseconds.

    Raises
    ------
    FloatingPointError
        If an element of that product is wrong.
    """
    _check(os.getpid())


@functools.lru_cache(maxsize=1)
@in_default_environment
def _check(process: int) -> None:
    """Raise if BLAS's threads compute wrong numbers, once in each process."""
    if _wrong_elements():
        raise FloatingPointError(
            "NumPy's BLAS has threads that do not round to nearest even, or that take subnormal numbers for "
            "zero: they were started where the floating-point environment was not the default one. Import "
            "NumPy before what changes it, or set OPENBLAS_NUM_THREADS=1"
        )


def _wrong_elements() -> int:
    """Count the wrong elements of a BLAS product that is large enough to keep every thread at work.

    Every row of the left operand is alike, and the columns of the right one are of four kinds, so that each
    thread computes some of each: 1 + 2**-53 and 1 + 1.5 * 2**-53 find rounding, as in `is_default`;
    2**-1022 / 2, a subnormal result, finds FTZ; 2**-1050 * 2**1000, a subnormal operand, finds DAZ.
    """
    size = 1024
    step = np.finfo(np.float64).eps / 2
    left = np.ldexp(np.ones((size, 4)), np.array([0, 0, -1022, -1050]))
    right = np.zeros((4, size))
    right[0, 0::4], right[1, 0::4] = 1, step
    right[0, 1::4], right[1, 1::4] = 1, 1.5 * step
    right[2, 2::4] = 0.5
    right[3, 3::4] = np.ldexp(1.0, 1000)
    wanted = np.tile([1, 1 + 2 * step, np.ldexp(1.0, -1023), np.ldexp(1.0, -50)], size // 4)
    return int(np.count_nonzero((left @ right).view(np.uint64) != wanted.view(np.uint64)))
