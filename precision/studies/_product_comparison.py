"""Studies: what the ways of quantizing and accumulating do to a matrix product, as rows of a table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from precision import metrics, specs
from precision._support._types import Array
from precision._support.machine._blas import check_blas
from precision._support.machine._float_environment import (
    each_in_default_environment,
    in_default_environment,
    methods_in_default_environment,
)
from precision.accumulators._accumulator import Accumulator
from precision.formats._float_format import FloatFormat
from precision.formats._named import E4M3
from precision.gemm._matrix_product import matmul
from precision.metrics._distributions import draw
from precision.quantization._granularity import PerTensor
from precision.quantization._quant_spec import QuantSpec
from precision.units._nvidia import HOPPER_BF16, HOPPER_FP8, HOPPER_FP16, HOPPER_TF32
from precision.units._plain_arithmetic import EXACT, FP32_FMA

Spec: TypeAlias = QuantSpec | FloatFormat
"""How an operand becomes codes; a bare format rounds its values as they are, with scale 1."""


# ---- accumulators -----------------------------------------------------------------------------------
def _format(spec: Spec) -> Any:
    return spec if isinstance(spec, FloatFormat) else spec.fmt


def _scale_group(spec: Spec) -> int | None:
    """Elements of K under one scale of this operand, or None where one scale spans all of K."""
    if isinstance(spec, FloatFormat):
        return None
    return spec.granularity.block((1, 1))[-1]


@in_default_environment
def default_accumulators(a_spec: Spec, b_spec: Spec) -> tuple[Accumulator, ...]:
    """The accumulators that a study compares: those of Hopper that take these operands, and two exact ones.

    Without scales that change along K: the unit as it is, promoted every 64 to 1024 of K, and with
    other alignment widths. With such scales: promoted at each divisor of their group that it can do.

    Examples
    --------
    >>> import precision as pr
    >>> from precision.studies import default_accumulators
    >>> spec = pr.QuantSpec(pr.E4M3, pr.PerGroup(128))
    >>> [str(accumulator) for accumulator in default_accumulators(spec, spec)][:2]
    ['HOPPER_FP8.promoted(128)', 'HOPPER_FP8.promoted(64)']
    """
    formats = {_format(a_spec), _format(b_spec)}
    groups = [group for group in map(_scale_group, (a_spec, b_spec)) if group is not None]
    unit = next(
        (u for u in (HOPPER_FP8, HOPPER_FP16, HOPPER_BF16, HOPPER_TF32) if formats <= set(u.operands)), None
    )
    chosen: list[Accumulator] = []
    if unit is not None:
        every = [n for n in (1024, 256, 128, 64, 32) if all(g % n == 0 for g in groups)]
        every = [n for n in every if n % unit.products == 0]
        widths = [f for f in (10, 16, 20, 25) if f != unit.fraction_bits]
        if not groups:
            chosen += [
                unit,
                *(unit.promoted(n) for n in every if n > 32),
                *(unit.with_width(f) for f in widths),
            ]
        elif every:
            chosen += [unit.promoted(n) for n in every]
            chosen += [unit.with_width(f).promoted(every[0]) for f in widths]
    fma: Accumulator = FP32_FMA
    if groups:
        fma = FP32_FMA.promoted(min(groups))
    return (*chosen, fma, EXACT)


# ---- rows -------------------------------------------------------------------------------------------
@dataclass(frozen=True, kw_only=True)
@methods_in_default_environment
class ProductRow:
    """One product, one accumulator, every measure (`metrics.report`) against two references.

    ``accumulation`` is against the exact product of the *quantized* operands: what the accumulator got
    wrong. ``total`` is against the float64 product of the originals: what the user sees.
    """

    data: str
    m: int
    n: int
    k: int
    a_spec: str
    b_spec: str
    accumulator: str
    accumulation: dict[str, float]
    total: dict[str, float]

    def flat(self) -> dict[str, str | int | float]:
        """One level of plain values: the columns of a table."""
        row: dict[str, str | int | float] = {}
        for name in ("data", "m", "n", "k", "a_spec", "b_spec", "accumulator"):
            row[name] = getattr(self, name)
        row |= {f"accumulation_{name}": value for name, value in self.accumulation.items()}
        return row | {f"total_{name}": value for name, value in self.total.items()}


@each_in_default_environment
def compare(
    a: Array,
    b: Array,
    *,
    a_spec: Spec = E4M3,
    b_spec: Spec = E4M3,
    accumulators: Sequence[Accumulator] | None = None,
    data: str = "",
) -> Iterator[ProductRow]:
    """Quantize two matrices, multiply them with each accumulator, and measure the errors.

    Parameters
    ----------
    a, b : ndarray
        Shapes (M, K) and (K, N), floating-point.
    a_spec, b_spec : QuantSpec or FloatFormat
        How each is quantized, groups along K; a bare format means with scale 1. Where both round
        stochastically by one seed, b takes another (`precision.specs.for_operands`), which the rows name.
    accumulators : sequence, optional
        By default those of `default_accumulators`.
    data : str
        What the rows call this pair.

    Yields
    ------
    Row
        One for each accumulator, as it is computed.

    Raises
    ------
    TypeError, ValueError
        As `quantize` and `matmul` raise them; if a or b is no matrix, or they don't share K.

    Examples
    --------
    >>> import precision as pr
    >>> from precision.metrics import draw
    >>> from precision.studies import compare
    >>> a, b = draw("uniform", (16, 4096), k_axis=1), draw("uniform", (4096, 16), k_axis=0)
    >>> fast, slow = compare(a, b, accumulators=[pr.HOPPER_FP8, pr.HOPPER_FP8.promoted(128)])
    >>> fast.accumulation["signed_relative_error"] < -0.05 < slow.accumulation["signed_relative_error"] < 0
    True
    """
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[0]:
        raise ValueError(f"a and b must have shapes (M, K) and (K, N), got {a.shape} and {b.shape}")
    accumulators = default_accumulators(a_spec, b_spec) if accumulators is None else accumulators
    a_spec, b_spec = specs.for_operands(a_spec, b_spec)
    qa, qb = specs.quantize(a, a_spec, -1), specs.quantize(b, b_spec, -2)
    exact = matmul(qa, qb, accumulator=EXACT, dtype=np.float64)
    check_blas()
    original = a.astype(np.float64) @ b.astype(np.float64)
    for accumulator in accumulators:
        result = matmul(qa, qb, accumulator=accumulator)
        yield ProductRow(
            data=data,
            m=a.shape[0],
            n=b.shape[1],
            k=a.shape[1],
            a_spec=str(a_spec),
            b_spec=str(b_spec),
            accumulator=str(accumulator),
            accumulation=metrics.report(result, exact),
            total=metrics.report(result, original),
        )


POWERS = tuple(2**i for i in range(7, 15))
"""K from 128 to 16384."""
_TENSORWISE = QuantSpec(E4M3, PerTensor())


@dataclass(frozen=True, kw_only=True)
@methods_in_default_environment
class GemmStudy:
    """Random products (M, K) @ (K, N): every distribution, K and accumulator; see `compare`.

    Parameters
    ----------
    m, n : int
        Rows of a, columns of b.
    ks : tuple of int
        Values of K.
    distributions : tuple of str
        Keys of `DISTRIBUTIONS`; both operands are drawn from the same one.
    a_spec, b_spec : QuantSpec or FloatFormat
        How the operands are quantized.
    accumulators : tuple, optional
        By default those of `default_accumulators`.
    seed : int
        Fixes the operands.

    Raises
    ------
    TypeError, ValueError
        If a size is no positive integer, or a distribution is unknown.

    Examples
    --------
    >>> from precision.studies import GemmStudy
    >>> study = GemmStudy(m=8, n=8, ks=(64, 128), distributions=("normal",))
    >>> rows = list(study.rows())
    >>> len(rows) == len(study), rows[-1].accumulator, rows[-1].accumulation["norm_relative_error"] < 1e-7
    (True, 'EXACT', True)
    """

    m: int = 128
    n: int = 128
    ks: tuple[int, ...] = POWERS
    distributions: tuple[str, ...] = ("normal", "uniform")
    a_spec: Spec = _TENSORWISE
    b_spec: Spec = _TENSORWISE
    accumulators: tuple[Accumulator, ...] | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        sizes = [("m", self.m), ("n", self.n), *(("ks", k) for k in self.ks)]
        for name, size in sizes:
            if isinstance(size, bool) or not isinstance(size, int):
                raise TypeError(f"{name} must be an int, got {size!r}")
            if size < 1:
                raise ValueError(f"{name} must be at least 1, got {size}")
        if self.seed < 0:
            raise ValueError(f"seed must be at least 0, got {self.seed}")
        for distribution in self.distributions:
            draw(distribution, (1, 1), k_axis=0)

    @property
    def chosen(self) -> tuple[Accumulator, ...]:
        """The accumulators compared."""
        if self.accumulators is not None:
            return self.accumulators
        return default_accumulators(self.a_spec, self.b_spec)

    def __len__(self) -> int:
        return len(self.distributions) * len(self.ks) * len(self.chosen)

    def rows(self) -> Iterator[ProductRow]:
        """The rows as they are computed, K rising within each distribution."""
        for distribution in self.distributions:
            for k in sorted(self.ks):
                yield from compare(
                    draw(distribution, (self.m, k), k_axis=1, seed=self.seed),
                    draw(distribution, (k, self.n), k_axis=0, seed=self.seed),
                    a_spec=self.a_spec,
                    b_spec=self.b_spec,
                    accumulators=self.chosen,
                    data=distribution,
                )
