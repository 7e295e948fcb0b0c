"""The matrices of files that a study of products multiplies, and the options that name the files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from precision._support._types import Array
from precision.metrics._distributions import draw
from precision.storage._array_files import read_tensor
from precision.studies._array_sources import name_of

SIZE = 128
"""The default rows of a left operand, and columns of a right one, that are drawn."""


class Matrices:
    """A pair of matrices, (M, K) and (K, N), under one name.

    Parameters
    ----------
    name : str
        The name, by which tables and stores tell pairs apart: other matrices need another name.
    a, b : ndarray
        The matrices, floating-point, of shapes (M, K) and (K, N).

    Raises
    ------
    ValueError
        If ``a`` and ``b`` are not matrices that can be multiplied.

    Examples
    --------
    >>> import numpy as np, precision as pr
    >>> from precision.studies import Matrices, study
    >>> mine = Matrices("ones", np.ones((2, 64), np.float32), np.ones((64, 3), np.float32))
    >>> found = study("gemm").cell(data=mine, m=2, n=3, k=64, accumulator=pr.EXACT)
    >>> found["total_norm_relative_error"] < 1e-6
    True
    """

    def __init__(self, name: str, a: Array, b: Array) -> None:
        if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[0]:
            raise ValueError(f"a and b must have shapes (M, K) and (K, N), got {a.shape} and {b.shape}")
        self.name, self.a, self.b = name, a, b

    def __str__(self) -> str:
        return self.name


def _matrix(path: Path, tensor: str | None, what: str) -> Array:
    array = read_tensor(path, tensor, unpacked=True)
    called = f"{what} ({path}{f', {tensor}' if tensor else ''})"
    if array.ndim != 2 or array.size == 0:
        raise ValueError(f"{called} must be a matrix with elements, got shape {array.shape}")
    if array.dtype.kind in "iub":
        raise ValueError(f"{called} must be floating-point, got {array.dtype}")
    if array.dtype.kind == "c":
        raise ValueError(f"{called} must be real, got {array.dtype}")
    return array if array.dtype == np.float64 else array.astype(np.float32)


def _check_files(options: Mapping[str, Any]) -> None:
    """Raise ValueError unless the options that name files fit together, and no option contradicts them."""
    a, b, weights = options["a"], options["b"], options["weights"]
    if (a is None) != (b is None):
        raise ValueError("--a and --b go together")
    if weights is not None and a is not None:
        raise ValueError("give --a and --b, or --weights, not both")
    if weights is None and (options["x"] is not None or options["tensor"] is not None):
        raise ValueError("--x and --tensor belong to --weights")
    if a is None and (options["a_tensor"] or options["b_tensor"]):
        raise ValueError("--a-tensor and --b-tensor belong to --a and --b")
    if weights is None and a is None:
        return
    if options["distribution"]:
        raise ValueError("--distribution draws both operands: leave it out where files are given")
    if options["n"] or (options["m"] and not (weights and options["x"] is None)):
        raise ValueError("--m and --n are the files' own: leave them out")


def given_matrices(options: Mapping[str, Any]) -> Matrices | None:
    """Return the matrices that options name as files, or None if the operands are to be drawn."""
    _check_files(options)
    a, b, weights, x = (options[name] for name in ("a", "b", "weights", "x"))
    if a is not None:
        left, right = _matrix(a, options["a_tensor"], "a"), _matrix(b, options["b_tensor"], "b")
        if left.shape[1] != right.shape[0]:
            raise ValueError(
                f"a has shape {left.shape} and b {right.shape}: a's columns must be as many as b's rows"
            )
        return Matrices(f"{name_of(a)} @ {name_of(b)}", left, right)
    if weights is None:
        return None
    w = _matrix(weights, options["tensor"], "weights")
    called = options["tensor"] or name_of(weights)
    if x is None:
        size = (options["m"] or SIZE, w.shape[1])
        return Matrices(f"N(0,1) @ {called}.T", draw("normal", size, k_axis=1, seed=options["seed"]), w.T)
    left = _matrix(x, None, "x")
    if left.shape[1] != w.shape[1]:
        raise ValueError(
            f"x has shape {left.shape} and the weights {w.shape} ([out, in]): both need as many columns"
        )
    return Matrices(f"{name_of(x)} @ {called}.T", left, w.T)
