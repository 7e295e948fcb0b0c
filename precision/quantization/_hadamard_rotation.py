"""Rotations by a Hadamard matrix, which spread outliers over their block before quantization.

A rotation leaves a product unchanged if both operands are rotated along K, and it composes with any spec::

    pr.matmul(pr.quantize(h(a), pr.NVFP4), pr.quantize(h(b, axis=-2), pr.NVFP4, axis=-2), accumulator=…)
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from precision._support._argument_checks import check_axis, check_int
from precision._support._array_checks import refuse_masked
from precision._support._expressions import shorten
from precision._support._types import Array
from precision._support.machine._float_environment import methods_in_default_environment
from precision._support.machine._threads import parallel
from precision.formats import _text_language
from precision.formats._float_format import FloatFormat
from precision.formats._named import format_of

#: The one sign vector of NVIDIA's NVFP4 training recipe, for ``Hadamard(16, signs=…)`` (TransformerEngine;
#: arXiv 2509.25149, section 4).
TRANSFORMER_ENGINE_SIGNS = (1, 1, 1, -1, 1, -1, -1, -1, -1, -1, -1, 1, -1, 1, -1, -1)
_PIECE = 1 << 15  # elements that are rotated at a time, so that they stay in the cache over all steps


@dataclass(frozen=True)
@methods_in_default_environment
class Hadamard:
    """A rotation: multiplication of every block by signs and an orthonormal Sylvester-Hadamard matrix.

    A block x of ``size`` neighbours along the axis becomes H·(s∘x), where H[i, j] is
    ``(-1)**popcount(i & j) / sqrt(size)``. H is symmetric and its own inverse; signs chosen at random make
    it the randomized Hadamard transform.

    Parameters
    ----------
    size : int
        The number of elements of a block, a power of two from 2 to 1024.
    signs : tuple of int, optional
        The signs s, ``size`` entries of 1 or -1. All are 1 by default.
    seed : int, optional
        A seed of random signs, which may be given instead of ``signs``, from 0 to 2**64 - 1. Sign i is -1
        if bit ``i % 64`` is set in the raw 64-bit word ``i // 64`` of ``numpy.random.Philox(key=seed)``.

    Raises
    ------
    TypeError, ValueError
        If a parameter has the wrong type or range, or both ``signs`` and ``seed`` are given.

    Notes
    -----
    The arithmetic is fixed, so that results have the same bits anywhere. The signs are applied first. Then
    come log2(size) steps, of strides 1, 2, 4, …, size / 2: the elements i and i + stride (where i has a zero
    at the stride's bit) become their sum and their difference, each one IEEE addition in the array's
    precision. Last, every element is multiplied once by 1/sqrt(size), rounded to that precision: exact for
    16, 64 and every other power of four. Sums that exceed the largest float become Inf.

    Examples
    --------
    A single outlier is spread over its block:

    >>> import numpy as np, precision as pr
    >>> h = pr.Hadamard(4)
    >>> h(np.float32([8, 0, 0, 0, 1, 2, 3, 4]))
    array([ 4.,  4.,  4.,  4.,  5., -1., -2.,  0.], dtype=float32)
    >>> h.inverse(h(np.float32([1, 2, 3, 4])))
    array([1., 2., 3., 4.], dtype=float32)

    The product of rotated operands is that of the originals, up to rounding:

    >>> rng = np.random.default_rng(0)
    >>> a, b = rng.standard_normal((8, 64), np.float32), rng.standard_normal((64, 4), np.float32)
    >>> from precision.quantization import TRANSFORMER_ENGINE_SIGNS
    >>> h = pr.Hadamard(16, signs=TRANSFORMER_ENGINE_SIGNS)
    >>> bool(np.allclose(h(a) @ h(b, axis=-2), a @ b, atol=1e-5))
    True
    >>> pr.quantize(h(a), pr.NVFP4).shape
    (8, 64)
    >>> str(pr.Hadamard(32, seed=1)), pr.Hadamard.parse("Hadamard(32, seed=1)") == pr.Hadamard(32, seed=1)
    ('Hadamard(32, seed=1)', True)
    """

    size: int
    signs: tuple[int, ...] | None = field(default=None, kw_only=True)
    seed: int | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        check_int("size", self.size, 2, 1024)
        if self.size & (self.size - 1):
            raise ValueError(f"size must be a power of two, got {self.size}")
        if self.signs is not None and self.seed is not None:
            raise ValueError(f"signs and seed exclude each other, got both (seed={self.seed})")
        if self.seed is not None:
            check_int("seed", self.seed, 0, 2**64 - 1)
        if self.signs is None:
            return
        if not isinstance(self.signs, tuple) or not all(type(sign) is int for sign in self.signs):
            raise TypeError(f"signs must be a tuple of ints, got {self.signs!r}")
        if len(self.signs) != self.size or not {1, -1} >= set(self.signs):
            raise ValueError(f"signs must be {self.size} entries of 1 or -1, got {self.signs}")
        if -1 not in self.signs:  # the same rotation: keep equality by value
            object.__setattr__(self, "signs", None)

    def __str__(self) -> str:
        return _text_language.describe(self)

    @classmethod
    def parse(cls, text: str) -> Hadamard:
        """Return the rotation that a text describes, which is how the rotation prints.

        Raises
        ------
        TypeError
            If ``text`` is not a string.
        ValueError
            If the text describes no rotation; the message names the part that is unknown.

        Examples
        --------
        >>> import precision as pr
        >>> pr.Hadamard.parse("Hadamard(2, signs=(1, -1))").signs
        (1, -1)
        """
        found = _text_language.evaluate(text, {"Hadamard": cls}, "rotation")
        if not isinstance(found, cls):
            raise ValueError(f"rotation {shorten(text)}: must say a Hadamard, as Hadamard(16, seed=1)")
        return found

    @property
    def sign_vector(self) -> tuple[int, ...]:
        """The ``size`` signs s that are applied: those given, those drawn from the seed, or all 1.

        Examples
        --------
        >>> import precision as pr
        >>> pr.Hadamard(8, seed=1).sign_vector
        (-1, -1, -1, -1, -1, 1, -1, -1)
        """
        if self.seed is not None:
            return _drawn(self.size, self.seed)
        return (1,) * self.size if self.signs is None else self.signs

    def __call__(self, x: npt.ArrayLike, axis: int = -1) -> Array:
        """Rotate an array: return H·(s∘x) for every block x along an axis.

        Parameters
        ----------
        x : array_like
            Numbers of type float16, bfloat16, float32, float64 or another floating-point type of ml_dtypes,
            with at least one axis.
        axis : int
            The axis along which blocks lie; its length must be a multiple of ``size``. For a right operand
            (K, N) of a product it is -2.

        Returns
        -------
        ndarray
            A new array of ``x``'s shape, contiguous in memory along ``axis``: float64 for float64, and
            float32 for float32 and every narrower type, which is computed in float32.

        Raises
        ------
        TypeError
            If ``x`` is not of a floating-point type, or ``axis`` is not an integer.
        ValueError
            If ``x`` has no such axis, or its length is not a multiple of ``size``.
        """
        return self._transformed("x", x, axis, forward=True)

    def inverse(self, y: npt.ArrayLike, axis: int = -1) -> Array:
        """Undo the rotation of an array: return s∘(H·y) for every block y along an axis.

        The steps are those of a call, except that the signs are applied last.

        Parameters
        ----------
        y : array_like
            Rotated numbers, of the types and shapes that a call takes as ``x``.
        axis : int
            The axis along which blocks lie.

        Returns
        -------
        ndarray
            A new array, of the type and layout that a call returns.

        Examples
        --------
        >>> import numpy as np, precision as pr
        >>> pr.Hadamard(2, signs=(1, -1)).inverse(np.float64([[1], [0]]), axis=0).tolist()
        [[0.7071067811865476], [-0.7071067811865476]]
        """
        return self._transformed("y", y, axis, forward=False)

    def _transformed(self, name: str, x: npt.ArrayLike, axis: int, forward: bool) -> Array:
        source = _source(name, x)
        along, size = check_axis(axis, source.ndim), self.size
        length = source.shape[along]
        if length % size:
            raise ValueError(
                f"axis must have a length that is a multiple of size {size}, got {length} on axis {axis} of "
                f"{name} with shape {source.shape}"
            )
        kind = np.dtype(np.float64 if source.dtype == np.float64 else np.float32)
        moved = np.moveaxis(source, along, -1)
        result = np.empty(moved.shape, kind)
        blocks, target = moved.reshape(-1, size), result.reshape(-1, size)
        signs = np.array(self.sign_vector, kind)[:, None]
        factor = kind.type(math.sqrt(1 / size))  # the division is exact, so the root is rounded once

        def work(start: int, stop: int) -> None:
            # Blocks become columns, so that every step adds long rows.
            part = np.array(blocks[start:stop].T, kind, order="C")
            with np.errstate(over="ignore", invalid="ignore"):
                if forward:
                    part *= signs
                part = _butterflies(part)
                part *= factor
                if not forward:
                    part *= signs
            target[start:stop] = part.T

        parallel(work, len(blocks), max(1, _PIECE // size))
        return np.moveaxis(result, -1, along)


def _butterflies(rows: Array) -> Array:
    """Multiply the columns of a (size, count) array by the Hadamard matrix, without its factor."""
    size, count = rows.shape
    other, stride = np.empty_like(rows), 1
    while stride < size:
        pairs, target = (part.reshape(size // (2 * stride), 2, stride * count) for part in (rows, other))
        np.add(pairs[:, 0], pairs[:, 1], out=target[:, 0])
        np.subtract(pairs[:, 0], pairs[:, 1], out=target[:, 1])
        rows, other, stride = other, rows, 2 * stride
    return rows


@functools.lru_cache(maxsize=64)
def _drawn(size: int, seed: int) -> tuple[int, ...]:
    words = np.random.Philox(key=seed).random_raw(-(-size // 64))
    return tuple(-1 if int(words[i // 64]) >> (i % 64) & 1 else 1 for i in range(size))


def _source(name: str, x: npt.ArrayLike) -> Array:
    refuse_masked(name, x)
    source = np.asarray(x)
    native = source.dtype.newbyteorder("=")
    try:
        known = isinstance(format_of(native), FloatFormat)
    except (TypeError, ValueError):
        known = False
    if not known:
        raise TypeError(
            f"{name} must be of a floating-point type (float16, bfloat16, …, float64), got {source.dtype}"
        )
    if source.ndim == 0:
        raise ValueError(f"{name} must have at least one axis, got a scalar")
    return source.astype(native, copy=False)
