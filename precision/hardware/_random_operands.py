"""Random operands and registers for comparisons with hardware, as codes, in regimes that stress each rule.

NumPy makes all of them from bits, so that the same seed gives the same operands on any machine, whatever
casts its PyTorch makes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import NormalDist
from typing import Any

import ml_dtypes
import numpy as np

from precision._support._types import Array
from precision._support.machine._float_environment import in_default_environment
from precision.hardware._instructions import as_bits, code_dtype

#: NumPy's generator of random numbers.
Rng = np.random.Generator
#: Draws bit patterns of a data type and a shape that are hard in one way.
Regime = Callable[[Rng, np.dtype[Any], tuple[int, int]], Array]


@in_default_environment
def draw_operand_rows(rng: Rng, dtype: np.dtype[Any], shape: tuple[int, int], *, right: bool) -> Array:
    """Draw the codes (rows, K) of an operand, each row in a regime of its own.

    Parameters
    ----------
    dtype : numpy.dtype
        The operand's type; codes are unsigned integers of its width.
    right : bool
        True for B, whose pairs of neighbours cancel those of A.
    """
    regimes: list[Regime] = [
        _normal, _normal, _wide, _wide, _any_bits, _tiny, _sparse, _outlier, _powers, _zero, _specials,
        _negated_pairs if right else _pairs,
    ]  # fmt: skip
    return _draw_by_row(rng, dtype, shape, regimes)


@in_default_environment
def draw_registers(rng: Rng, dtype: np.dtype[Any], shape: tuple[int, int]) -> Array:
    """Draw bit patterns (M, N) of registers at the start, each row in a regime of its own."""
    regimes = [_zero, _zero, _normal, _big, _small, _wide, _any_bits, _powers, _specials]
    return _draw_by_row(rng, dtype, shape, regimes)


def _draw_by_row(
    rng: Rng,
    dtype: np.dtype[Any],
    shape: tuple[int, int],
    regimes: Sequence[Regime],
) -> Array:
    """Draw the codes of a matrix, each row in one of some regimes."""
    codes = np.empty(shape, code_dtype(dtype))
    chosen = rng.integers(len(regimes), size=shape[0])
    for number, regime in enumerate(regimes):
        rows = np.flatnonzero(chosen == number)
        codes[rows] = regime(rng, dtype, (len(rows), shape[1]))
    return codes


def _read_field_widths(dtype: np.dtype[Any]) -> tuple[int, int]:
    """Return the numbers of exponent and of fraction bits of a type."""
    info = ml_dtypes.finfo(dtype)
    return int(info.nexp), int(info.nmant)


def _encode(values: Array, dtype: np.dtype[Any]) -> Array:
    """Return the codes of values; those beyond the largest finite value are clipped to it."""
    top = float(ml_dtypes.finfo(dtype).max)
    return as_bits(np.clip(values, -top, top).astype(np.float32).astype(dtype))


def _draw_scaled_normal(rng: Rng, shape: tuple[int, int], exponents: Array | int) -> Array:
    """Draw normal numbers times powers of two."""
    return np.ldexp(rng.standard_normal(shape), exponents)


def _normal(rng: Rng, dtype: np.dtype[Any], shape: tuple[int, int]) -> Array:
    """Draw normal numbers."""
    return _encode(_draw_scaled_normal(rng, shape, 0), dtype)


def _big(rng: Rng, dtype: np.dtype[Any], shape: tuple[int, int]) -> Array:
    """Draw normal numbers times 2**12."""
    return _encode(_draw_scaled_normal(rng, shape, 12), dtype)


def _small(rng: Rng, dtype: np.dtype[Any], shape: tuple[int, int]) -> Array:
    """Draw normal numbers times 2**-12."""
    return _encode(_draw_scaled_normal(rng, shape, -12), dtype)


def _wide(rng: Rng, dtype: np.dtype[Any], shape: tuple[int, int]) -> Array:
    """Draw normal numbers times random powers of two.

    Their exponents spread over more places than an alignment keeps, but not so many that one term is the
    whole sum.
    """
    reach = min(2 ** (_read_field_widths(dtype)[0] - 1), 24)
    return _encode(_draw_scaled_normal(rng, shape, rng.integers(-reach, reach + 1, size=shape)), dtype)


def _any_bits(rng: Rng, dtype: np.dtype[Any], shape: tuple[int, int]) -> Array:
    """Draw any finite bit pattern."""
    _, fraction = _read_field_widths(dtype)
    kind = code_dtype(dtype)
    codes = rng.integers(0, np.iinfo(kind).max, size=shape, dtype=kind, endpoint=True)
    codes[~np.isfinite(codes.view(dtype).astype(np.float32))] ^= kind.type(1 << fraction)  # a lower exponent
    return codes


def _tiny(rng: Rng, dtype: np.dtype[Any], shape: tuple[int, int]) -> Array:
    """Draw subnormals and numbers of the two lowest binades."""
    exponent, fraction = _read_field_widths(dtype)
    kind = code_dtype(dtype)
    magnitude = rng.integers(0, 3 << fraction, size=shape, dtype=kind)
    sign = rng.integers(0, 2, size=shape, dtype=kind) << kind.type(exponent + fraction)
    return np.asarray(magnitude | sign)


def _zero(rng: Rng, dtype: np.dtype[Any], shape: tuple[int, int]) -> Array:
    """Draw zeros of both signs."""
    kind = code_dtype(dtype)
    return np.asarray(rng.integers(0, 2, size=shape, dtype=kind) << kind.type(8 * dtype.itemsize - 1))


def _sparse(rng: Rng, dtype: np.dtype[Any], shape: tuple[int, int]) -> Array:
    """Draw numbers of a wide range, of which 85 in 100 are zeros."""
    return np.where(rng.random(shape) < 0.15, _wide(rng, dtype, shape), _zero(rng, dtype, shape))


def _outlier(rng: Rng, dtype: np.dtype[Any], shape: tuple[int, int]) -> Array:
    """Draw normal numbers, of which 1 in 10 is multiplied by a large power of two."""
    reach = 2 ** (_read_field_widths(dtype)[0] - 1) - 2
    return _encode(
        _draw_scaled_normal(rng, shape, np.where(rng.random(shape) < 0.1, min(reach, 20), 0)), dtype
    )


def _powers(rng: Rng, dtype: np.dtype[Any], shape: tuple[int, int]) -> Array:
    """Draw powers of two and three halves of them, whose sums are exact ties of a rounding."""
    reach = min(2 ** (_read_field_widths(dtype)[0] - 1) - 2, 14)
    signs = rng.choice(np.array([-1.0, 1.0, -1.5, 1.5]), size=shape)
    return _encode(np.ldexp(signs, rng.integers(-reach, reach, size=shape)), dtype)


def _pairs(rng: Rng, dtype: np.dtype[Any], shape: tuple[int, int]) -> Array:
    """Draw pairs of equal neighbours, so that nearly all products cancel with those of `_negated_pairs`."""
    codes = _wide(rng, dtype, shape)
    codes[:, 1::2] = codes[:, 0 : 2 * (shape[1] // 2) : 2]
    return codes


def _negated_pairs(rng: Rng, dtype: np.dtype[Any], shape: tuple[int, int]) -> Array:
    """Draw pairs of neighbours of opposite sign, of which 1 in 10 differs in the last place."""
    codes = _pairs(rng, dtype, shape)
    kind = code_dtype(dtype)
    other = codes[:, 1::2] ^ kind.type(1 << (8 * dtype.itemsize - 1))
    codes[:, 1::2] = other ^ (rng.random(other.shape) < 0.1).astype(kind)  # some products leave a last place
    return codes


def _specials(rng: Rng, dtype: np.dtype[Any], shape: tuple[int, int]) -> Array:
    """Draw normal numbers with NaN, Inf, zeros and the largest value in a few places."""
    values = np.array([np.nan, -np.nan, np.inf, -np.inf, 0.0, -0.0, float(ml_dtypes.finfo(dtype).max)])
    rare = as_bits(values.astype(np.float32).astype(dtype))
    if dtype.itemsize == 4:
        rare[1] = 0x7F800001  # a NaN only in the bits that TF32 ignores
    return np.where(rng.random(shape) < 0.02, rng.choice(rare, size=shape), _normal(rng, dtype, shape))


_QUANTILES = 2**16
_tables: dict[tuple[str, str], Array] = {}

GEMM_DATA = ("normal", "uniform", "wide")
"""Distributions of the operands of whole GEMMs: N(0, 1), U(0, 1), and N(0, 1) times powers of two."""


@in_default_environment
def draw_gemm_operand(rng: Rng, dtype: np.dtype[Any], shape: tuple[int, int], *, data: str) -> Array:
    """Draw the codes of a large FP8 operand, by looking 16 random bits up in a table of quantiles.

    Raises
    ------
    ValueError
        If ``data`` is none of `GEMM_DATA`.
    """
    if data not in GEMM_DATA:
        raise ValueError(f"data must be one of {', '.join(GEMM_DATA)}, got {data!r}")
    key = (dtype.name, data)
    if key not in _tables:
        middles = (np.arange(_QUANTILES) + 0.5) / _QUANTILES
        normal = np.array([NormalDist().inv_cdf(p) for p in middles]) if data != "uniform" else middles
        if data == "wide":
            normal = np.ldexp(normal, np.random.default_rng(0).integers(-6, 7, size=_QUANTILES))
        _tables[key] = _encode(normal, dtype)
    return _tables[key][rng.integers(0, _QUANTILES, size=shape, dtype=np.uint16)]
