"""The loops of `_llvm_groups` and `_llvm_squares` in Python, for where they cannot be written in LLVM."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from precision._kernels._llvm_scalars import bits32, float32_of
from precision._kernels._scalar_rounding import nearest_code32

F32, I32, U32 = np.float32, np.int32, np.uint32
_RUN = 16
SIDE = 16  # of a square that is turned at once


def largest(group: int) -> Callable[..., None]:
    """Make the loop that writes bits of the largest magnitude of each group."""

    def loop(x: Any, first: Any, count: Any, out: Any, to: Any) -> None:
        for k in range(count):
            most = U32(0)
            for i in range(group):
                most = max(most, U32(x[first + k * group + i] & U32(0x7FFFFFFF)))
            out[to + k] = most

    return loop


def decoded(kind: str) -> Callable[..., None]:
    """Make the loop that writes values of runs of codes: ``"integer"``, ``"finite"`` or ``"any"``."""
    integer = kind == "integer"

    def loop(
        codes: Any, first: Any, how: Any, factors: Any, places: Any, count: Any, out: Any, to: Any
    ) -> None:
        up, quantum = U32(how.up), F32(how.quantum)
        for i in range(count * _RUN):
            word = U32(U32(codes[first + i]) << up)
            if integer:
                value = F32(I32(I32(word) >> I32(up))) * quantum
            else:
                size = I32(codes[first + i]) & I32(how.magnitude)
                bits = U32((size + how.offset) << how.shift)
                if size < how.hidden:
                    bits = bits32(F32(F32(size) * quantum))
                elif size > how.last:
                    bits = U32(0x7F800000) if size == how.infinity else U32(0x7FC00000)
                value = float32_of(U32(bits | U32(word & U32(0x80000000))))
            out[to + i] = F32(value * factors[i // _RUN >> places])

    return loop


def encoded(operation: str) -> Callable[..., None]:
    """Make the loop that writes codes of runs, multiplied by factors (``"fmul"``) or divided by them."""
    multiplies = operation == "fmul"

    def loop(
        x: Any, first: Any, factors: Any, places: Any, count: Any, short: Any, fmt: Any, codes: Any, to: Any
    ) -> None:
        for i in range(count * _RUN):
            factor = factors[i // _RUN >> places]
            bits = bits32(F32(x[first + i] * factor if multiplies else x[first + i] / factor))
            size = min(U32(bits & U32(0x7FFFFFFF)), U32(short.maximum))
            code = nearest_code32(size, short)
            if bits & U32(0x80000000):
                code = U32(U32(code ^ U32(fmt.negate_flip)) + U32(fmt.negate_base))
            codes[to + i] = U32(code & U32(fmt.mask))

    return loop


def turn_square(source: Any, row: Any, column: Any, step: Any, out: Any, to: Any, width: Any) -> None:
    """Write the rows of a square."""
    for r in range(SIDE):
        for k in range(SIDE):
            out[to + r * width + k] = source[row + r, column + k]
