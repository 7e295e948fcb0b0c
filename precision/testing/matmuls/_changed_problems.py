"""The problems that a wrong GEMM solves instead of its own: misread operands, scales, lengths."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from precision._support._types import Array
from precision.formats._codec import round_to
from precision.formats._float_format import FloatFormat
from precision.formats._named import BF16, E4M3, E5M2, FP16, TF32
from precision.formats._rounding_modes import Overflow, Rounding
from precision.testing.matmuls._problem import Declared, Problem

Change = Callable[[Problem, Declared], Problem | None]
"""None where it does not apply."""


# ---- another problem ---------------------------------------------------------------------------------
def reorder(order: Callable[[int, Declared], Array | None]) -> Change:
    """Return the change that takes K in another order."""

    def change(p: Problem, d: Declared) -> Problem | None:
        index = order(p.length, d)
        if index is None or d.granule != 1:
            return None
        return replace(p, a=p.a.take(index, -1), b=p.b.take(index, -2))

    return change


def step_of(d: Declared) -> int:
    """Return the number of products of one step, 1 where there are no steps."""
    return d.accumulator.step.products if d.accumulator.step else 1


def _reversed_steps(k: int, d: Declared) -> Array:
    blocks = np.split(np.arange(k), range(step_of(d), k, step_of(d)))
    return np.concatenate(blocks[::-1])


def _so_many(k: int, d: Declared, n: int) -> int:
    return n


def _stride(parts: Callable[[int, Declared], int]) -> Callable[[int, Declared], Array | None]:
    """Return the order that takes every n-th of K, from each first one on."""

    def order(k: int, d: Declared) -> Array | None:
        n = parts(k, d)
        return np.concatenate([np.arange(i, k, n) for i in range(n)]) if 1 < n < k else None

    return order


def interleave(p: Problem, d: Declared) -> Problem | None:
    """Return the problem in mma.sync's order for FP8: of every 32 of K, those with k mod 4 < 2 first."""
    if d.scaled:
        return None
    short = -p.length % 32
    a = np.pad(p.a, [(0, 0)] * (p.a.ndim - 1) + [(0, short)])
    b = np.pad(p.b, [(0, 0)] * (p.b.ndim - 2) + [(0, short), (0, 0)])
    places = np.arange(a.shape[-1]).reshape(-1, 32)
    first = np.arange(32) % 4 < 2
    order = np.concatenate([places[:, first], places[:, ~first]], axis=1).reshape(-1)
    return replace(p, a=a.take(order, -1), b=b.take(order, -2))


def _drop_tail(n: int) -> Change:
    """Return the change that leaves out the last K mod n of K."""

    def change(p: Problem, d: Declared) -> Problem | None:
        kept = p.length // n * n
        if kept == p.length:
            return p
        a, b = p.a.copy(), p.b.copy()
        a[..., kept:], b[..., kept:, :] = 0, 0
        return replace(p, a=a, b=b)

    return change


def _run_on(n: int) -> Change:
    """Return the change in which the last step reads past K: into the next row of a, and b's last row."""

    def change(p: Problem, d: Declared) -> Problem | None:
        short = -p.length % n
        if not short or d.scaled or p.a.ndim != 2 or p.b.ndim != 2:
            return p if not short else None
        flat = np.concatenate([p.a.reshape(-1), np.zeros(short, np.float32)])
        rows = np.arange(len(p.a))[:, None] * p.length + np.arange(p.length + short)
        last = np.repeat(p.b[-1:], short, axis=0)
        return replace(p, a=flat[rows], b=np.concatenate([p.b, last]))

    return change


def _change_operands(sides: Sequence[int], what: Callable[[Array, FloatFormat], Array]) -> Change:
    """Return the change that applies ``what`` to the operands of these sides."""

    def change(p: Problem, d: Declared) -> Problem | None:
        x = [
            what(x, f) if i in sides else x
            for i, (x, f) in enumerate(zip((p.a, p.b), d.formats, strict=True))
        ]
        return replace(p, a=x[0], b=x[1])

    return change


def _flush(x: Array, f: FloatFormat) -> Array:
    return np.where(np.abs(x) < 2.0**f.min_exponent, np.copysign(np.float32(0), x), x)


def _nan_as(value: float | None) -> Callable[[Array, FloatFormat], Array]:
    def what(x: Array, f: FloatFormat) -> Array:
        past = 480.0 if f == E4M3 else f.max
        return np.where(np.isnan(x), np.float32(past if value is None else value), x)

    return what


def _to(fmt: FloatFormat, rounding: Rounding) -> Callable[[Array, FloatFormat], Array]:
    return lambda x, f: np.asarray(
        round_to(x, fmt, rounding=rounding, overflow=Overflow.NON_SATURATING), np.float32
    )


def square(x: Array) -> bool:
    """Return whether matrices have as many rows as columns."""
    return bool(x.shape[-1] == x.shape[-2])


def _transpose(p: Problem, d: Declared, sides: str) -> Problem | None:
    if d.scaled or ("a" in sides and not square(p.a)) or ("b" in sides and not square(p.b)):
        return p if not d.scaled else None
    a, b = (
        np.ascontiguousarray(x.swapaxes(-1, -2)) if side in sides else x
        for side, x in (("a", p.a), ("b", p.b))
    )
    return replace(p, a=a, b=b)


def _first(p: Problem, d: Declared, side: str) -> Problem:
    def first(x: Array) -> Array:
        return x if x.ndim == 2 else np.broadcast_to(x[:1], x.shape).copy()

    return replace(p, a=first(p.a)) if side == "a" else replace(p, b=first(p.b))


def _scale(side: int, what: Callable[[Array, int], Array]) -> Change:
    """Return the change that applies ``what(scales, axis of K)`` to the scales of one operand."""

    def change(p: Problem, d: Declared) -> Problem | None:
        scale = p.scales[side]
        if scale is None:
            return None
        new = np.ascontiguousarray(what(scale, -1 if side == 0 else -2), np.float32)
        return replace(p, scales=(new, p.scales[1]) if side == 0 else (p.scales[0], new))

    return change


def _other(by: int) -> Callable[[Array, int], Array]:
    return lambda s, axis: s.take(np.clip(np.arange(s.shape[axis]) + by, 0, s.shape[axis] - 1), axis)


def _first_group(s: Array, axis: int) -> Array:
    return np.broadcast_to(s.take([0], axis), s.shape)


def _column_major(s: Array, axis: int) -> Array:
    return s.swapaxes(-1, -2).reshape(s.shape)


def _other_line(s: Array, axis: int) -> Array:
    return np.roll(s, -1, -2 if axis == -1 else -1)


def _of_the_other(side: int) -> Change:
    def change(p: Problem, d: Declared) -> Problem | None:
        mine, other = p.scales[side], p.scales[1 - side]
        if mine is None or other is None:
            return None
        flipped = other.swapaxes(-1, -2)
        # By position, where there are as many, and modulo where there are not.
        rows, columns = (np.arange(n) % m for n, m in zip(mine.shape[-2:], flipped.shape[-2:], strict=True))
        new = np.ascontiguousarray(flipped[..., rows[:, None], columns[None, :]])
        return replace(p, scales=(new, other) if side == 0 else (other, new))

    return change


def changes(d: Declared) -> Iterator[tuple[str, Change]]:
    """Yield the problems that may have been solved instead of the given one, each with its cause."""
    for sides, said in (("a", "a"), ("b", "b"), ("ab", "a and b")):
        yield f"{said} read transposed", functools.partial(_transpose, sides=sides)
    for side in "ab":
        yield f"the first matrix of {side}'s batch used for all of them", functools.partial(_first, side=side)
    for n in dict.fromkeys((step_of(d), d.accumulator.promotion or 128, 4, 8, 16, 32, 64, 128, 256)):
        if n > 1:
            yield f"the last K mod {n} of K left out", _drop_tail(n)
            yield f"reads past the end of K up to a multiple of {n}", _run_on(n)
    for which, said in (((0, 1), "subnormal operands"), ((0,), "subnormals of a"), ((1,), "subnormals of b")):
        yield f"{said} flushed to zero", _change_operands(which, _flush)
    if E4M3 in d.formats:
        yield "E4M3's NaN read as 480", _change_operands((0, 1), _nan_as(None))
    yield "NaN operands read as 0", _change_operands((0, 1), _nan_as(0.0))
    yield (
        "Inf operands read as the largest number",
        _change_operands((0, 1), lambda x, f: np.clip(x, -f.max, f.max)),
    )
    if {E4M3, E5M2} & set(d.formats):
        for which, said in (((0, 1), "codes"), ((0,), "codes of a"), ((1,), "codes of b")):
            yield (
                f"{said} read as those of the fnuz format: half as large",
                _change_operands(which, lambda x, f: x / 2),
            )
    for fmt in (TF32, BF16, FP16):
        for mode, said in ((Rounding.TIES_TO_EVEN, "rounded"), (Rounding.TIES_TO_AWAY, "rounded, ties away"),
                           (Rounding.TOWARD_ZERO, "truncated")):  # fmt: skip
            yield f"operands {said} to {str(fmt).upper()} first", _change_operands((0, 1), _to(fmt, mode))
    yield "c left out", lambda p, d: replace(p, c=None if p.c is None else np.zeros_like(p.c))
    yield "c counted twice", lambda p, d: replace(p, c=None if p.c is None else p.c * 2)
    yield "order of K reversed", reorder(lambda k, d: np.arange(k)[::-1])
    yield "order of steps reversed", reorder(_reversed_steps)
    yield "a step takes every n-th of K", reorder(_stride(lambda k, d: -(-k // step_of(d))))
    for n in (2, 4, 8):
        yield f"K taken in strides of {n}", reorder(_stride(functools.partial(_so_many, n=n)))
    if d.scaled:
        yield from _scale_changes()


def _one(x: Array | None) -> Array | None:
    return None if x is None else np.ones_like(x)


def _both(first: Change, then: Change) -> Change:
    def change(p: Problem, d: Declared) -> Problem | None:
        one = first(p, d)
        return None if one is None else then(one, d)

    return change


def _scale_changes() -> Iterator[tuple[str, Change]]:
    """Yield the changes of scales."""
    yield "scale of b used for a", _of_the_other(0)
    yield "scale of a used for b", _of_the_other(1)
    for by, said in ((1, "next group of K"), (-1, "group of K before")):
        yield f"scales are those of the {said}", _both(_scale(0, _other(by)), _scale(1, _other(by)))
    for side, name in ((0, "a"), (1, "b")):
        for what, said in (
            (lambda s, axis: np.ones_like(s), f"scale of {name} left out"),
            (lambda s, axis: 1 / s, f"divided by the scale of {name} instead of multiplied"),
            (lambda s, axis: s * s, f"scale of {name} applied twice"),
            (_other(1), f"scale of {name} is that of the next group of K"),
            (_other(-1), f"scale of {name} is that of the group of K before"),
            (_first_group, f"scale of the first group of K used for all, of {name}"),
            (_column_major, f"scales of {name} read in the other memory order (axes exchanged)"),
            (_other_line, f"scale of {name} is that of the next {'row' if side == 0 else 'column'}"),
        ):
            yield said, _scale(side, what)
    yield "tensor scale left out", lambda p, d: replace(p, second=(_one(p.second[0]), _one(p.second[1])))
