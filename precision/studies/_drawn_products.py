"""The cell that studies of units share: a product of random matrices, compared with the exact product.

Cells that differ only in the unit share their operands, of which each process keeps a few.
"""

from __future__ import annotations

import functools
import math
from typing import NamedTuple, TypeAlias

import numpy as np

from precision import metrics, specs
from precision._support._argument_checks import check_int
from precision._support._types import Array
from precision.accumulators._accumulator import Accumulator
from precision.formats._float_format import FloatFormat
from precision.gemm._matrix_product import matmul
from precision.metrics._distributions import draw
from precision.quantization._quant_spec import QuantSpec
from precision.quantization._quantized_tensor import QuantizedTensor
from precision.units._plain_arithmetic import EXACT

Spec: TypeAlias = QuantSpec | FloatFormat
_TOTAL = ("norm_relative_error", "sqnr_db", "signed_relative_error")


class _Operands(NamedTuple):
    left: QuantizedTensor
    right: QuantizedTensor
    exact: Array
    original: Array


def shifted(x: Array, offset: float) -> Array:
    """Return random numbers with ``offset`` added in float32; raise if ``offset`` is not a finite number."""
    if isinstance(offset, bool) or not isinstance(offset, int | float):
        raise TypeError(f"offset must be a number, got {offset!r}")
    if not math.isfinite(offset):
        raise ValueError(f"offset must be finite, got {offset}")
    return np.add(x, np.float32(offset))


@functools.lru_cache(maxsize=4)
def _operands(
    a_spec: Spec,
    b_spec: Spec,
    m: int,
    n: int,
    k: int,
    distribution: str,
    offset: float,
    seed: int,
) -> _Operands:
    """Draw and quantize two matrices, and compute the exact products of the quantized and of the originals.

    Both products are rounded once to float64, so that the order in which a BLAS adds does not matter.
    """
    a = shifted(draw(distribution, (m, k), k_axis=1, seed=seed), offset)
    b = shifted(draw(distribution, (k, n), k_axis=0, seed=seed), offset)
    pair = zip((a, b), specs.for_operands(a_spec, b_spec), (-1, -2), strict=True)
    left, right = (specs.quantize(x, spec, axis) for x, spec, axis in pair)
    exact = matmul(left, right, accumulator=EXACT, dtype=np.float64)
    return _Operands(left, right, exact, matmul(a, b, accumulator=EXACT, dtype=np.float64))


def measured(
    unit: Accumulator,
    a_spec: Spec,
    b_spec: Spec,
    *,
    k: int,
    m: int,
    n: int,
    distribution: str,
    offset: float,
    seed: int,
) -> dict[str, float]:
    """Multiply two random matrices on a unit, and measure the errors of the product.

    Every measure is taken against the exact product of the quantized operands, and three with the prefix
    ``total_`` against the product of the originals.
    """
    for name, size in (("k", k), ("m", m), ("n", n)):
        check_int(name, size, 1, 2**31 - 1)
    check_int("seed", seed, 0, 2**63 - 1)
    found = _operands(a_spec, b_spec, m, n, k, distribution, offset, seed)
    result = matmul(found.left, found.right, accumulator=unit)
    values = metrics.report(result, found.exact)
    total = metrics.report(result, found.original)
    return values | {f"total_{name}": total[name] for name in _TOTAL}
