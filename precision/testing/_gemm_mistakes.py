"""Known mistakes of matrix products: what each would give, for a guess to match with what came."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from precision.accumulators import EXACT, FP32_FMA, HOPPER_BF16, HOPPER_FP16, Accumulator, FusedSum
from precision.codec import round_to
from precision.formats import BF16, E4M3, E5M2, FP16, FP32, TF32, FloatFormat
from precision.rounding import Overflow, Rounding
from precision.testing._gemm_problem import Declared, Problem
from precision.testing._gemm_sums import COMBINE, FINISH, Plan, Steps, plain_float32, split, wide
from precision.testing._gemm_units import units
from precision.testing._numbers import differ

Array = npt.NDArray[Any]
Change = Callable[[Problem, Declared], Problem | None]


class Mistake(NamedTuple):
    """A cause and what it would give for a problem, before the result is rounded to its type."""

    cause: str
    compute: Callable[[Problem, Declared], Array]
    change: Change | None = None  #: the problem that was solved in the place of the right one, if it is so


def rounded(y: Array, d: Declared) -> Array:
    """float32 sums as the result's type has them."""
    return wide(round_to(wide(y), d.output, overflow=Overflow.NON_SATURATING))


# ---- another problem ---------------------------------------------------------------------------------
def _inverted(order: Callable[[int, Declared], Array | None]) -> Change:
    def change(p: Problem, d: Declared) -> Problem | None:
        index = order(p.length, d)
        if index is None or d.granule != 1:
            return None
        return replace(p, a=p.a.take(index, -1), b=p.b.take(index, -2))

    return change


def _step(d: Declared) -> int:
    return getattr(d.accumulator, "products", 1)


def _reversed_steps(k: int, d: Declared) -> Array:
    blocks = np.split(np.arange(k), range(_step(d), k, _step(d)))
    return np.concatenate(blocks[::-1])


def _strided(parts: Callable[[int, Declared], int]) -> Callable[[int, Declared], Array | None]:
    def order(k: int, d: Declared) -> Array | None:
        n = parts(k, d)
        return np.concatenate([np.arange(i, k, n) for i in range(n)]) if 1 < n < k else None

    return order


def pairs_of_four(k: int, d: Declared | None = None) -> Array | None:
    """Within every 32 of K those with k mod 4 in {0, 1} first: the order of mma.sync for FP8."""
    if k % 32:
        return None
    k_of = np.arange(k).reshape(-1, 32)
    first = k_of[:, np.arange(32) % 4 < 2]
    return np.concatenate([first, k_of[:, np.arange(32) % 4 >= 2]], axis=1).reshape(-1)


def _dropped(n: int) -> Change:
    def change(p: Problem, d: Declared) -> Problem | None:
        kept = p.length // n * n
        if kept == p.length:
            return p
        a, b = p.a.copy(), p.b.copy()
        a[..., kept:], b[..., kept:, :] = 0, 0
        return replace(p, a=a, b=b)

    return change


def _runs_on(n: int) -> Change:
    """The last step reads what follows in memory: the next row of a, times the next row of b's zeros."""

    def change(p: Problem, d: Declared) -> Problem | None:
        short = -p.length % n
        if not short or d.scaled or p.a.ndim != 2 or p.b.ndim != 2:
            return p if not short else None
        flat = np.concatenate([p.a.reshape(-1), np.zeros(short, np.float32)])
        rows = np.arange(len(p.a))[:, None] * p.length + np.arange(p.length + short)
        last = np.repeat(p.b[-1:], short, axis=0)
        return replace(p, a=flat[rows], b=np.concatenate([p.b, last]))

    return change


def _changed(sides: Sequence[int], what: Callable[[Array, FloatFormat], Array]) -> Change:
    def change(p: Problem, d: Declared) -> Problem | None:
        x = [
            what(x, f) if i in sides else x
            for i, (x, f) in enumerate(zip((p.a, p.b), d.formats, strict=True))
        ]
        return replace(p, a=x[0], b=x[1])

    return change


def _flushed(x: Array, f: FloatFormat) -> Array:
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


def _square(x: Array) -> bool:
    return bool(x.shape[-1] == x.shape[-2])


def _transposed(p: Problem, d: Declared, sides: str) -> Problem | None:
    if d.scaled or ("a" in sides and not _square(p.a)) or ("b" in sides and not _square(p.b)):
        return p if not d.scaled else None
    swap = {side: getattr(p, side).swapaxes(-1, -2) for side in sides}
    return replace(p, **{side: np.ascontiguousarray(x) for side, x in swap.items()})


def _first(p: Problem, side: str) -> Problem:
    x = getattr(p, side)
    return p if x.ndim == 2 else replace(p, **{side: np.broadcast_to(x[:1], x.shape).copy()})


def _scale(side: int, what: Callable[[Array, int], Array]) -> Change:
    """The scales of one operand changed by ``what``, given the axis of K."""

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
    """Problems that may have been solved in the place of the right one."""
    for sides, said in (("a", "a"), ("b", "b"), ("ab", "a and b")):
        yield f"{said} read transposed", functools.partial(_transposed, sides=sides)
    for side in "ab":
        yield f"the first matrix of {side}'s batch used for all of them", functools.partial(_first, side=side)
    for n in dict.fromkeys(
        (_step(d), getattr(d.accumulator, "promotion", None) or 128, 4, 8, 16, 32, 64, 128, 256)
    ):
        if n > 1:
            yield f"the last K mod {n} of K left out", _dropped(n)
            yield f"reads past the end of K up to a multiple of {n}", _runs_on(n)
    for sides, said in (((0, 1), "subnormal operands"), ((0,), "subnormals of a"), ((1,), "subnormals of b")):
        yield f"{said} flushed to zero", _changed(sides, _flushed)
    if E4M3 in d.formats:
        yield "E4M3's NaN read as 480", _changed((0, 1), _nan_as(None))
    yield "NaN operands read as 0", _changed((0, 1), _nan_as(0.0))
    yield "Inf operands read as the largest number", _changed((0, 1), lambda x, f: np.clip(x, -f.max, f.max))
    if {E4M3, E5M2} & set(d.formats):
        for sides, said in (((0, 1), "codes"), ((0,), "codes of a"), ((1,), "codes of b")):
            yield (
                f"{said} read as those of the fnuz format: half as large",
                _changed(sides, lambda x, f: x / 2),
            )
    for fmt in (TF32, BF16, FP16):
        for mode, said in ((Rounding.TIES_TO_EVEN, "rounded"), (Rounding.TIES_TO_AWAY, "rounded, ties away"),
                           (Rounding.TOWARD_ZERO, "truncated")):  # fmt: skip
            yield f"operands {said} to {str(fmt).upper()} first", _changed((0, 1), _to(fmt, mode))
    yield "c left out", lambda p, d: replace(p, c=None if p.c is None else np.zeros_like(p.c))
    yield "c counted twice", lambda p, d: replace(p, c=None if p.c is None else p.c * 2)
    yield "order of K reversed", _inverted(lambda k, d: np.arange(k)[::-1])
    yield "order of steps reversed", _inverted(_reversed_steps)
    yield "a step takes every n-th of K", _inverted(_strided(lambda k, d: -(-k // _step(d))))
    for n in (2, 4, 8):
        yield f"K taken in strides of {n}", _inverted(_strided(lambda k, d, n=n: n))
    if d.scaled:
        yield from _scale_changes()


def _scale_changes() -> Iterator[tuple[str, Change]]:
    yield "scale of b used for a", _of_the_other(0)
    yield "scale of a used for b", _of_the_other(1)
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
    yield (
        "tensor scale left out",
        lambda p, d: replace(p, second=tuple(None if s is None else np.ones_like(s) for s in p.second)),
    )  # type: ignore[arg-type]


# ---- another result ----------------------------------------------------------------------------------
def _results() -> Iterator[tuple[str, Callable[[Array], Array]]]:
    for fmt in (BF16, FP16, TF32):
        for mode, said in ((Rounding.TOWARD_ZERO, "truncated"), (Rounding.TIES_TO_EVEN, "rounded"),
                           (Rounding.TIES_TO_AWAY, "rounded, ties away,")):  # fmt: skip
            yield (
                f"result {said} to {str(fmt).upper()}",
                lambda y, fmt=fmt, mode=mode: round_to(
                    y, fmt, rounding=mode, overflow=Overflow.NON_SATURATING
                ),
            )
    yield "result transposed", lambda y: y.swapaxes(-1, -2) if _square(y) else y
    yield "NaN becomes 0 in the result", lambda y: np.where(np.isnan(y), 0, y)
    yield (
        "NaN and Inf become numbers in the result",
        lambda y: np.nan_to_num(y, posinf=FP32.max, neginf=-FP32.max),
    )
    yield "subnormal results flushed to zero", lambda y: np.where(np.abs(y) < 2.0**-126, np.copysign(0, y), y)
    yield "a zero result is -0", lambda y: np.where(y == 0, -0.0, y)
    for n in (4, 8, 16, 32, 64, 128):
        yield f"rows past the last whole tile of {n} left out", functools.partial(_tiles, n=n, axis=-2)
        yield f"columns past the last whole tile of {n} left out", functools.partial(_tiles, n=n, axis=-1)


def _tiles(y: Array, n: int, axis: int) -> Array:
    size, keep = y.shape[axis], np.arange(y.shape[axis]) < y.shape[axis] // n * n
    return np.where(keep[:, None] if axis == -2 else keep, y, 0) if size else y


def _saturated(p: Problem, d: Declared) -> Array:
    y, top = p.expected(d, dtype=np.float32), _top(d)
    return np.clip(y, -top, top)


def _top(d: Declared) -> float:
    register = d.accumulator.register if isinstance(d.accumulator, FusedSum) else FP32
    return min(d.output.max, register.max)


# ---- all of them -------------------------------------------------------------------------------------
def mistakes(d: Declared) -> Iterator[Mistake]:
    """Every known mistake, the plainer ones first."""

    def solved(change: Change, p: Problem, d: Declared, unit: Accumulator | None = None) -> Array:
        other = change(p, d)
        if other is None:
            raise ValueError("does not apply")
        return other.expected(d, unit, dtype=np.float32)

    for cause, change in changes(d):
        yield Mistake(cause, functools.partial(solved, change), change)
    yield Mistake("overflow saturates instead of giving Inf", _saturated)
    for cause, turn in _results():
        yield Mistake(cause, lambda p, d, turn=turn: turn(p.expected(d, dtype=np.float32)))
    for cause, unit in units(d.accumulator):
        if unit is not None:
            yield Mistake(cause, lambda p, d, unit=unit: p.expected(_taking(d, unit), unit, dtype=np.float32))
    yield from _sums(d)
    mma = FusedSum((E4M3, E5M2), 16, fraction_bits=25).promoted(32)
    if isinstance(d.accumulator, FusedSum) and E4M3 in d.accumulator.operands and not d.scaled:
        cause = "mma.sync instead of wgmma: FP8 runs on the FP16 unit, interleaved along K"
        yield Mistake(cause, functools.partial(solved, _inverted(pairs_of_four), unit=mma))


def _taking(d: Declared, unit: Accumulator) -> Declared:
    """For operands whose low bits are not ignored."""
    if isinstance(unit, FusedSum) and FP32 in unit.operands and TF32 in d.formats:
        return replace(d, formats=(FP32, FP32))
    return d


def _sums(d: Declared) -> Iterator[Mistake]:
    def planned(plan: Callable[[Problem, Declared], Array]) -> Callable[[Problem, Declared], Array]:
        return lambda p, d: p.by_matrix(lambda one: plan(one, d))

    if d.scaled:
        for how in COMBINE:
            yield Mistake(f"epilogue {how}", planned(Plan(combine=how)))
        for how in FINISH:
            yield Mistake(f"epilogue {how}", planned(Plan(finish=how)))
        for unit, said in ((FP32_FMA, "in FP32"), (EXACT, "exactly")):
            cause = f"scales applied to the operands first, then summed {said}"
            yield Mistake(cause, lambda p, d, unit=unit: plain_float32(p, d, unit))
        for unit in (HOPPER_BF16, HOPPER_FP16):
            cause = f"operands with their scales rounded to {str(unit.operands[0]).upper()}, then multiplied"
            yield Mistake(cause, lambda p, d, unit=unit: plain_float32(p, d, unit))
    declared = _combined(d)
    step, every = _step(d), getattr(d.accumulator, "promotion", None)
    if every:
        yield Mistake("promoted one step too early", planned(Plan(shift=-step, **declared)))
        yield Mistake("promoted one step too late", planned(Plan(shift=step, **declared)))
        yield Mistake("register not cleared at promotion", planned(Plan(cleared=False, **declared)))
        yield Mistake("the last, incomplete interval is not promoted", planned(Plan(last=False, **declared)))
        toward_zero = Plan(adding=Rounding.TOWARD_ZERO, **declared)
        yield Mistake("promotion truncates instead of rounding to nearest", planned(toward_zero))
    for start, said in (
        ("register", "c starts the register instead of the total"),
        ("total", "c starts a float32 total instead of the register"),
        ("end", "c added at the end in FP32"),
    ):
        yield Mistake(said, planned(Plan(start=start, **declared)))
    for n in (2, 3, 4, 8):
        cause = f"K split in {n} parts, added afterwards"
        yield Mistake(cause, lambda p, d, n=n: p.by_matrix(lambda one: split(one, d, n)))
    for cause, steps in (
        ("aligned at exponents of normalised products", Steps(normalised=True)),
        ("subnormal operands enter with exponents of their own", Steps(own_exponent=True)),
        ("zero products take part in the largest exponent", Steps(zeros=True)),
        ("the register is not aligned with the products, but added after them", Steps(register="apart")),
        ("the register is not cut in the alignment", Steps(register="uncut")),
        ("a subnormal register is flushed to zero", Steps(flushed=True)),
        ("the register saturates", Steps(saturated=True)),
        ("products rounded to FP16 before they are summed", Steps(products=FP16)),
        ("products rounded to BF16 before they are summed", Steps(products=BF16)),
    ):
        yield Mistake(cause, planned(steps))


def _combined(d: Declared) -> dict[str, str]:
    """How the declared scales enter, for plans that change something else."""
    if not d.scaled:
        return {}
    groups = [d.group(side) is not None for side in (0, 1)]
    lines = [d.specs[side] is not None and 1 in d.block(side, (1 << 20, 1 << 20)) for side in (0, 1)]
    if any(groups):
        first = all(groups) and all(lines)
        return {"combine": "fma(partial * sa, sb, total)" if first else "fma(partial, sa * sb, total)"}
    return {"finish": "(total * sb) * sa" if all(lines) else "total * (sa * sb)"}


def matches(mistake: Mistake, p: Problem, d: Declared, got: Array, *, signs: bool) -> bool:
    """Whether a mistake gives exactly what came."""
    try:
        with np.errstate(all="ignore"):
            y = rounded(mistake.compute(p, d), d)
    except (ValueError, TypeError):
        return False
    return y.shape == got.shape and not differ(y, got, signs=signs).any()
