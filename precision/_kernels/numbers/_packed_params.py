"""The parameters of the quantizing loops as arrays, and the tuples that the loops make of them.

Numba takes the tuples of a call apart number by number, which would cost a small array more than its
arithmetic: a loop that Python calls takes three arrays, and makes the tuples itself.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from precision._kernels._jit import jit, overload
from precision._kernels._params import Ends, FormatParams, ModeParams, ShortParams, StochasticParams
from precision._kernels._scalar_rounding import U32
from precision._kernels.numbers._group_scales import Given, Rule, ScaleFormat, ScaleParams, Yes, chosen


class Packed(NamedTuple):
    """The parameters: whole numbers, numbers of the source's type, and float32."""

    ints: Any
    floats: Any
    singles: Any


def packed(
    how: ScaleParams, target: ScaleFormat, fmt: FormatParams, ends: Ends, short: ShortParams,
    mode: ModeParams | StochasticParams, dtype: Any,
) -> Packed:  # fmt: skip
    """Return the parameters of a loop in the order in which the functions below read them."""
    ints = (
        how.addend, how.max_exponent, how.low, how.high, how.over, how.least_code, how.zero_code,
        *target.fmt, *target.mode, *target.ends, *fmt, *ends, *short, *mode,
    )  # fmt: skip
    return Packed(
        np.array(ints, np.int64),
        np.array((how.maximum, how.min_amax, how.tensor_scale, how.factor), dtype),
        np.array((how.least, how.most, how.zero), np.float32),
    )


_TARGET, _ELEMENTS, _SHORT, _MODE = 7, 28, 45, 52  # where each begins among the whole numbers


@jit
def format_at(ints: Any, i: int) -> FormatParams:
    """Unpack a format that begins at place ``i``."""
    return FormatParams(
        ints[i], ints[i + 1], ints[i + 2], ints[i + 3], ints[i + 4], ints[i + 5], ints[i + 6], ints[i + 7],
        ints[i + 8], ints[i + 9], ints[i + 10], ints[i + 11],
    )  # fmt: skip


@jit
def _ends_at(ints: Any, i: int) -> Ends:
    return Ends(ints[i], ints[i + 1], ints[i + 2], ints[i + 3], ints[i + 4])


@jit
def _mode_at(ints: Any, i: int) -> ModeParams:
    return ModeParams(ints[i], ints[i + 1], ints[i + 2], ints[i + 3])


@jit
def scales_of(rule: Rule, ints: Any, floats: Any, singles: Any) -> ScaleParams:
    """Unpack the parameters by which an amax becomes a scale."""
    return ScaleParams(
        rule, ints[0], ints[1], ints[2], ints[3], ints[4],
        floats[0], floats[1], floats[2], floats[3],
        singles[0], ints[5], singles[1], singles[2], ints[6],
    )  # fmt: skip


@jit
def _no_target(how: ScaleParams, ints: Any) -> int:
    return 0


@jit
def _coded_target(how: ScaleParams, ints: Any) -> ScaleFormat:
    mode, ends = _mode_at(ints, _TARGET + 12), _ends_at(ints, _TARGET + 16)
    return ScaleFormat(format_at(ints, _TARGET), mode, ends)


def target_of(how: ScaleParams, ints: Any) -> Any:
    """Unpack the format of the scales, in compiled code; 0 where the rule does not need it."""


@overload(target_of)
def _target_by_rule(how: Any, ints: Any) -> Any:
    plain = chosen(how, "plain") is Yes or chosen(how, "way") is Given
    return _no_target if plain else _coded_target


class Signs(NamedTuple):
    """The codes of negative numbers, and of NaN, as the loops to nearest need them."""

    flip: Any  #: uint32, as the others
    base: Any
    mask: Any
    nan: Any


@jit
def signs_of(ints: Any) -> Signs:
    """Unpack what the loops to nearest need of the elements' format besides `short_of`."""
    i = _ELEMENTS
    return Signs(U32(ints[i + 7]), U32(ints[i + 8]), U32(ints[i + 5]), U32(ints[i + 14]))


@jit
def elements_of(ints: Any) -> tuple[FormatParams, Ends]:
    """Unpack the format of the elements, and the codes of overflow and NaN."""
    return format_at(ints, _ELEMENTS), _ends_at(ints, _ELEMENTS + 12)


@jit
def short_of(ints: Any) -> ShortParams:
    """Unpack the elements' format for the fast loops."""
    i = _SHORT
    return ShortParams(ints[i], ints[i + 1], ints[i + 2], ints[i + 3], ints[i + 4], ints[i + 5], ints[i + 6])


@jit
def mode_of(ints: Any) -> ModeParams:
    """Unpack the rounding mode, if the parameters end in it."""
    return _mode_at(ints, _MODE)


@jit
def random_of(ints: Any) -> StochasticParams:
    """Unpack the parameters of a stochastic rounding, if the parameters end in them."""
    return StochasticParams(ints[_MODE], ints[_MODE + 1], ints[_MODE + 2])
