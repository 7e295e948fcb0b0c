"""Named distributions of numbers, from which studies draw their matrices."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np

from precision._support._argument_checks import check_axis, check_int
from precision._support._suggestions import did_you_mean
from precision._support._types import Array
from precision._support.machine._float_environment import in_default_environment


class Distribution(NamedTuple):
    """A named distribution: its description, and the function that draws a matrix of it.

    The function takes a generator, the shape, and the axis ``k`` that a product sums over.
    """

    description: str
    draw: Callable[[np.random.Generator, tuple[int, int], int], Array]


def _draw_outliers(rng: np.random.Generator, shape: tuple[int, int], k: int) -> Array:
    """Draw normal numbers, and multiply by 32 one channel of K in about 128."""
    x = rng.standard_normal(shape, np.float32)
    channels = rng.random(shape[k]) < 1 / 128
    factors: Array = np.expand_dims(np.where(channels, np.float32(32), np.float32(1)), 1 - k)
    return np.multiply(x, factors)


DISTRIBUTIONS: dict[str, Distribution] = {
    "normal": Distribution("N(0,1)", lambda rng, shape, k: rng.standard_normal(shape, np.float32)),
    "uniform": Distribution("U(0,1)", lambda rng, shape, k: rng.random(shape, np.float32)),
    "symmetric": Distribution("U(-1,1)", lambda rng, shape, k: 2 * rng.random(shape, np.float32) - 1),
    "laplace": Distribution("Laplace(0,1)", lambda rng, shape, k: rng.laplace(size=shape).astype(np.float32)),
    "lognormal": Distribution(
        "exp N(0,1), of either sign",
        lambda rng, shape, k: (
            rng.choice(np.array([-1, 1], np.float32), shape) * np.exp(rng.standard_normal(shape, np.float32))
        ),
    ),
    "student_t": Distribution(
        "Student t, 3 degrees of freedom",
        lambda rng, shape, k: rng.standard_t(3, shape).astype(np.float32),
    ),
    "outliers": Distribution("N(0,1), one channel of K in 128 times 32", _draw_outliers),
}
"""The named distributions."""
for _name, _kind in DISTRIBUTIONS.items():
    DISTRIBUTIONS[_name] = _kind._replace(draw=in_default_environment(_kind.draw))


@in_default_environment
def draw(distribution: str, shape: tuple[int, int], *, k_axis: int, seed: int = 0) -> Array:
    """Draw a float32 matrix of a named distribution; the same arguments give the same matrix.

    Parameters
    ----------
    distribution : str
        A key of `DISTRIBUTIONS`.
    shape : (int, int)
        Numbers of rows and of columns, at least 0.
    k_axis : int
        The axis that a product sums over: 1 (or -1) for a left operand, 0 (or -2) for a right one. The matrix
        depends on it as on the seed.
    seed : int
        Seed of the generator, at least 0.

    Returns
    -------
    ndarray of float32
        The matrix, of that shape. It has no NaN or Inf, and no elements if a size is 0.

    Raises
    ------
    TypeError
        If a size, the axis or the seed is not an int.
    ValueError
        If there is no such distribution (the message lists all), the shape does not have two sizes, a size or
        the seed is negative, or a matrix has no such axis.

    Examples
    --------
    >>> from precision.metrics import draw
    >>> x = draw("uniform", (2, 3), k_axis=1)
    >>> x.shape, x.dtype.name, bool((0 <= x).all() and (x < 1).all())
    ((2, 3), 'float32', True)
    """
    if distribution not in DISTRIBUTIONS:
        hint = did_you_mean(distribution, DISTRIBUTIONS)
        raise ValueError(
            f"distribution must be one of {', '.join(DISTRIBUTIONS)}; got {distribution!r}{hint}"
        )
    sizes, along = _check_shape(shape), check_axis(k_axis, 2, "k_axis")
    key = [check_int("seed", seed, 0), zlib.crc32(distribution.encode()), *sizes, along]
    return DISTRIBUTIONS[distribution].draw(np.random.default_rng(key), sizes, along)


def _check_shape(shape: object) -> tuple[int, int]:
    """Return the shape of a matrix as two ints, or raise an error that names it."""
    if not isinstance(shape, Iterable):
        raise TypeError(f"shape must be two sizes, (rows, columns), got {shape!r}")
    sizes = tuple(shape)
    if len(sizes) != 2:
        raise ValueError(f"shape must be two sizes, (rows, columns), got {shape!r}")
    return check_int("shape[0]", sizes[0], 0), check_int("shape[1]", sizes[1], 0)
