"""Known mistakes of matrix products, each with the result it would give."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from precision._support._types import Array
from precision.accumulators._accumulator import Accumulator
from precision.accumulators.kinds._fused_sum import FusedSum
from precision.formats._codec import round_to
from precision.formats._named import BF16, E4M3, E5M2, FP16, FP32, TF32
from precision.formats._rounding_modes import Overflow, Rounding
from precision.testing._shown_numbers import differ
from precision.testing.matmuls._changed_problems import Change, changes, interleave, square, step_of
from precision.testing.matmuls._other_sums import COMBINE, FINISH, Plan, Steps, plain_float32, split, wide
from precision.testing.matmuls._other_units import units
from precision.testing.matmuls._problem import Declared, Problem
from precision.units._nvidia import HOPPER_BF16, HOPPER_FP16
from precision.units._plain_arithmetic import EXACT, FP32_FMA


class Mistake(NamedTuple):
    """A known mistake: its cause, and its result for a problem before that is rounded to its type."""

    cause: str
    compute: Callable[[Problem, Declared], Array]
    change: Change | None = None  #: the problem that was solved in the place of the right one, if it is so


def round_result(y: Array, d: Declared) -> Array:
    """Return float32 sums rounded to the type of the result, as float64."""
    return wide(round_to(wide(y), d.output, overflow=Overflow.NON_SATURATING))


# ---- another result ----------------------------------------------------------------------------------
def _results() -> Iterator[tuple[str, Callable[[Array], Array]]]:
    for fmt in (BF16, FP16, TF32):
        for mode, said in ((Rounding.TOWARD_ZERO, "truncated"), (Rounding.TIES_TO_EVEN, "rounded"),
                           (Rounding.TIES_TO_AWAY, "rounded, ties away,")):  # fmt: skip
            yield (
                f"result {said} to {str(fmt).upper()}",
                functools.partial(round_to, fmt=fmt, rounding=mode, overflow=Overflow.NON_SATURATING),
            )
    yield "result transposed", lambda y: y.swapaxes(-1, -2) if square(y) else y
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


def _saturate(p: Problem, d: Declared) -> Array:
    y, top = p.expected(d, dtype=np.float32), _top(d)
    return np.clip(y, -top, top)


def _top(d: Declared) -> float:
    register = d.accumulator.step.register if d.accumulator.step else FP32
    return min(d.output.max, register.max)


# ---- all of them -------------------------------------------------------------------------------------
def mistakes(d: Declared) -> Iterator[Mistake]:
    """Yield every known mistake, the plainer ones first."""

    def solved(change: Change, p: Problem, d: Declared, unit: Accumulator | None = None) -> Array:
        other = change(p, d)
        if other is None:
            raise ValueError("does not apply")
        return other.expected(d, unit, dtype=np.float32)

    def turned(turn: Callable[[Array], Array], p: Problem, d: Declared) -> Array:
        return turn(p.expected(d, dtype=np.float32))

    def summed(unit: Accumulator, p: Problem, d: Declared) -> Array:
        return p.expected(_taking(d, unit), unit, dtype=np.float32)

    for cause, change in changes(d):
        yield Mistake(cause, functools.partial(solved, change), change)
    yield Mistake("overflow saturates instead of giving Inf", _saturate)
    for cause, turn in _results():
        yield Mistake(cause, functools.partial(turned, turn))
    for cause, unit in units(d.accumulator):
        if unit is not None:
            yield Mistake(cause, functools.partial(summed, unit))
    yield from _sums(d)
    mma = FusedSum((E4M3, E5M2), 16, fraction_bits=25).promoted(32)
    if E4M3 in d.accumulator.operand_formats and not d.scaled:
        cause = "mma.sync instead of wgmma: FP8 runs on the FP16 unit, interleaved along K"
        yield Mistake(cause, functools.partial(solved, interleave, unit=mma))


def _taking(d: Declared, unit: Accumulator) -> Declared:
    """Return the declaration with FP32 for TF32 operands if the unit does not ignore their low bits."""
    if FP32 in unit.operand_formats and TF32 in d.formats:
        return replace(d, formats=(FP32, FP32))
    return d


def _sums(d: Declared) -> Iterator[Mistake]:
    def planned(plan: Callable[[Problem, Declared], Array]) -> Callable[[Problem, Declared], Array]:
        return lambda p, d: p.by_matrix(lambda one: plan(one, d))

    if d.scaled:
        at_promotion = [Mistake(f"epilogue {how}", planned(Plan(combine=how))) for how in COMBINE]
        at_the_end = [Mistake(f"epilogue {how}", planned(Plan(finish=how))) for how in FINISH]
        along_k = any(d.group(side) is not None for side in (0, 1))
        yield from (*at_promotion, *at_the_end) if along_k else (*at_the_end, *at_promotion)
        first: tuple[tuple[str, Accumulator], ...] = (
            ("scales applied to the operands first, then summed in FP32", FP32_FMA),
            ("scales applied to the operands first, then summed exactly", EXACT),
            ("operands with their scales rounded to BF16, then multiplied", HOPPER_BF16),
            ("operands with their scales rounded to FP16, then multiplied", HOPPER_FP16),
        )
        for cause, unit in first:
            yield Mistake(cause, functools.partial(plain_float32, accumulator=unit))
    declared = _declared_epilogue(d)
    step, every = step_of(d), d.accumulator.promotion
    if every:
        yield Mistake("promoted one step too early", planned(Plan(shift=-step, **declared)))
        yield Mistake("promoted one step too late", planned(Plan(shift=step, **declared)))
        yield Mistake("register not cleared at promotion", planned(Plan(cleared=False, **declared)))
        yield Mistake("the last, incomplete interval is not promoted", planned(Plan(last=False, **declared)))
        toward_zero = Plan(adding=Rounding.TOWARD_ZERO, **declared)
        yield Mistake("promotion truncates instead of rounding to nearest", planned(toward_zero))
        yield Mistake("c starts the register, not the total", planned(Plan(start="register", **declared)))
    yield Mistake("c added at the end in FP32", planned(Plan(start="end", **declared)))
    for n in (2, 3, 4, 8):
        cause = f"K split in {n} parts, added afterwards"
        yield Mistake(cause, planned(functools.partial(split, parts=n)))
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


def _declared_epilogue(d: Declared) -> dict[str, Any]:
    """Return the declared way in which scales enter, as options of a `Plan` that changes something else."""
    if not d.scaled:
        return {}
    groups = [d.group(side) is not None for side in (0, 1)]
    lines = [d.specs[side] is not None and 1 in d.block(side, (1 << 20, 1 << 20)) for side in (0, 1)]
    if any(groups):
        first = all(groups) and all(lines)
        return {"combine": "fma(partial * sa, sb, total)" if first else "fma(partial, sa * sb, total)"}
    return {"finish": "(total * sb) * sa" if all(lines) else "total * (sa * sb)"}


def matches(mistake: Mistake, p: Problem, d: Declared, got: Array, *, signs: bool) -> bool:
    """Tell whether a mistake gives exactly the observed result."""
    try:
        with np.errstate(all="ignore"):
            y = round_result(mistake.compute(p, d), d)
    except ValueError:  # it does not apply
        return False
    return y.shape == got.shape and not differ(y, got, signs=signs).any()
