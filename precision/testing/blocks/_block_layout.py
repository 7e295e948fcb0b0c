"""The blocks of a matrix that share a scale: their sizes, their amaxes, and matrices made of given blocks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from precision._support._types import Array
from precision.quantization._granularity import Block, clip_block
from precision.quantization._quant_spec import QuantSpec

BUDGET = 1 << 18
"""Elements that one property tries, at most."""
WHOLE_ROWS, WHOLE_COLUMNS = 4, 64
"""Of matrices whose blocks are as long as an axis."""


def repeat_over_blocks(scale: Array, shape: tuple[int, ...], block: Block) -> Array:
    """Return each element's entry of an array that has one entry for each block."""
    for axis, step in enumerate(clip_block(block, shape)):
        scale = np.repeat(scale, step, axis=axis).take(range(shape[axis]), axis=axis)
    return scale


def amax_of(x: Array, block: Block) -> Array:
    """Return the largest magnitude of each block of a matrix, of the scales' shape."""
    return reduce_blocks(np.abs(x), block, np.max)


def reduce_blocks(x: Array, block: Block, reduce: Callable[..., Any]) -> Array:
    """Return one number for each block of a matrix; a short block is filled up with its last elements."""
    height, width = clip_block(block, x.shape)
    rows, columns = -(-x.shape[0] // height), -(-x.shape[1] // width)
    missing = (0, rows * height - x.shape[0]), (0, columns * width - x.shape[1])
    padded = np.pad(x, missing, mode="edge")
    return np.asarray(reduce(padded.reshape(rows, height, columns, width), axis=(1, 3)))


@dataclass(frozen=True)
class Layout:
    """The layout of blocks in a matrix, ``height`` by ``width`` elements each, by the spec's granularity."""

    spec: QuantSpec
    axis: int

    def block(self, shape: tuple[int, ...]) -> Block:
        """Return the number of elements under one scale along each axis of an array of ``shape``."""
        return self.spec.granularity.block(shape, self.axis)

    @property
    def _plain(self) -> Block:
        return self.spec.granularity.block((WHOLE_ROWS, WHOLE_COLUMNS), -1)

    @property
    def height(self) -> int:
        """Elements of a block across the axis of groups."""
        return self._plain[0] or WHOLE_ROWS

    @property
    def width(self) -> int:
        """Elements of a block along the axis of groups."""
        return self._plain[1] or WHOLE_COLUMNS

    @property
    def elements(self) -> int:
        """Elements of a block."""
        return self.height * self.width

    @property
    def steps(self) -> tuple[int, int]:
        """Elements that shrinking keeps together, along both axes."""
        steps = self.height, self.width
        return (steps[1], steps[0]) if self.transposed else steps

    @property
    def transposed(self) -> bool:
        """True if groups run along the first axis."""
        return self.axis in (0, -2)

    @property
    def whole_tensor(self) -> bool:
        """True if there is a single scale."""
        return self._plain == (None, None)

    def most(self) -> int:
        """Return how many blocks one property tries at most."""
        return max(8, min(2048, BUDGET // self.elements)) if not self.whole_tensor else 48

    def place(self, blocks: Array) -> Iterator[Array]:
        """Yield matrices that hold the given blocks (count, elements), with zeros behind the last one."""
        up, across = self._plain[0] is None, self._plain[1] is None
        columns = 1 if across else min(4, len(blocks))
        rows = 1 if up else -(-len(blocks) // columns)
        size = rows * columns
        for start in range(0, len(blocks), size):
            some = blocks[start : start + size]
            full = np.zeros((size, self.elements), blocks.dtype)
            full[: len(some)] = some
            tiles = full.reshape(rows, columns, self.height, self.width).transpose(0, 2, 1, 3)
            matrix = tiles.reshape(rows * self.height, columns * self.width)
            yield np.ascontiguousarray(matrix.T if self.transposed else matrix)
