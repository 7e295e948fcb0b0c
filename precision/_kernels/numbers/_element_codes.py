"""Codes of numbers, of tiles and of groups, float32 or float64, for loops that are written once for both."""

from __future__ import annotations

from typing import Any

from numba import types

from precision._kernels._jit import jit, overload
from precision._kernels._llvm_scalars import always_inline, bits32, bits64, right
from precision._kernels._llvm_vectors import wide_vectors
from precision._kernels._params import Ends, FormatParams, ModeParams, ShortParams, StochasticParams
from precision._kernels._scalar_rounding import (
    U32,
    U64,
    core32,
    core64,
    lifted32,
    nearest_code32,
    random_word32,
    rounded_word32,
    short_code32,
)
from precision._kernels.numbers._group_scales import ScaleParams, Yes, chosen
from precision._kernels.numbers._packed_params import Signs

_rounded32, _random32, _code32 = core32.rounded, core32.rounded_random, core32.code
_rounded64, _random64, _code64 = core64.rounded, core64.rounded_random, core64.code


@jit
def _code_of32(value: Any, fmt: FormatParams, mode: ModeParams, ends: Ends) -> Any:
    sign, size, _, _, code = _rounded32(bits32(value), fmt, mode)
    return _code32(sign, size, code, fmt, ends)


@jit
def _code_of64(value: Any, fmt: FormatParams, mode: ModeParams, ends: Ends) -> Any:
    sign, size, _, _, code = _rounded64(bits64(value), fmt, mode)
    return _code64(sign, size, code, fmt, ends)


@jit
def _random_code_of32(value: Any, word: Any, fmt: FormatParams, mode: StochasticParams, ends: Ends) -> Any:
    sign, size, _, _, code = _random32(bits32(value), fmt, mode, word)
    return _code32(sign, size, code, fmt, ends)


@jit
def _random_code_of64(value: Any, word: Any, fmt: FormatParams, mode: StochasticParams, ends: Ends) -> Any:
    sign, size, _, _, code = _random64(bits64(value), fmt, mode, word)
    return _code64(sign, size, code, fmt, ends)


def code_of(value: Any, fmt: FormatParams, mode: ModeParams, ends: Ends) -> Any:
    """Return the code of a number, in compiled code."""


@overload(code_of)
def _code_by_type(value: Any, fmt: Any, mode: Any, ends: Any) -> Any:
    return _code_of32 if value == types.float32 else _code_of64


def random_code_of(value: Any, word: Any, fmt: FormatParams, mode: StochasticParams, ends: Ends) -> Any:
    """Return the code of a number that is rounded by a random word, in compiled code."""


@overload(random_code_of)
def _random_code_by_type(value: Any, word: Any, fmt: Any, mode: Any, ends: Any) -> Any:
    return _random_code_of32 if value == types.float32 else _random_code_of64


# ---- the codes of a tile --------------------------------------------------------------------------------


@jit
def _encode_tile32(
    q: Any, count: int, codes: Any, to: int, fmt: FormatParams, short: ShortParams, mode: ModeParams,
    ends: Ends,
) -> None:  # fmt: skip
    wide_vectors()
    first, top = U64(to), U32(fmt.mask ^ fmt.magnitude_mask)
    if short.shift:
        for i in range(U64(count)):
            bits = bits32(q[i])
            small, word = lifted32(U32(bits & U32(0x7FFFFFFF)), short)
            word = rounded_word32(word, U32(U32(0) - right(bits, U32(31))), short, mode)
            codes[first + i] = short_code32(small, word, bits, short, ends, top)
    else:
        for i in range(U64(count)):
            codes[first + i] = _code_of32(q[i], fmt, mode, ends)


@jit
def _encode_tile64(
    q: Any, count: int, codes: Any, to: int, fmt: FormatParams, short: ShortParams, mode: ModeParams,
    ends: Ends,
) -> None:  # fmt: skip
    wide_vectors()
    first = U64(to)
    for i in range(U64(count)):
        codes[first + i] = _code_of64(q[i], fmt, mode, ends)


def encode_tile(
    q: Any, count: int, codes: Any, to: int, fmt: FormatParams, short: ShortParams, mode: ModeParams,
    ends: Ends,
) -> None:  # fmt: skip
    """Write codes of the first numbers of ``q`` from ``codes[to]`` on, in compiled code.

    A fast way for float32 is taken where ``short`` suits the format.
    """


@overload(encode_tile)
def _encode_by_type(
    q: Any, count: int, codes: Any, to: int, fmt: Any, short: Any, mode: Any, ends: Any
) -> Any:
    return _encode_tile32 if q.dtype == types.float32 else _encode_tile64


# ---- the codes of a group ---------------------------------------------------------------------------------


@jit
def _nearest_code(bits: Any, short: ShortParams, signs: Signs) -> Any:
    """Return the code of a quotient that is no NaN."""
    always_inline()
    sign = U32(U32(0) - right(bits, U32(31)))
    magnitude, most = U32(bits & U32(0x7FFFFFFF)), U32(short.maximum)
    code = nearest_code32(magnitude if magnitude < most else most, short)
    return U32(U32(U32(code ^ U32(sign & signs.flip)) + U32(sign & signs.base)) & signs.mask)


@jit
def _nearest_quotients(
    x: Any, start: Any, count: Any, divisor: Any, codes: Any, short: ShortParams, signs: Signs,
    how: ScaleParams,
) -> None:  # fmt: skip
    """Write codes of a group's quotients."""
    wide_vectors()
    always_inline()
    for i in range(count):
        codes[start + i] = _nearest_code(bits32(x[start + i] / divisor), short, signs)


@jit
def _nearest_products(
    x: Any, start: Any, count: Any, divisor: Any, codes: Any, short: ShortParams, signs: Signs,
    how: ScaleParams,
) -> None:  # fmt: skip
    """Write codes of a group's products."""
    wide_vectors()
    always_inline()
    for i in range(count):
        codes[start + i] = _nearest_code(bits32(x[start + i] * divisor), short, signs)


def nearest_group(
    x: Any, start: Any, count: Any, divisor: Any, codes: Any, short: ShortParams, signs: Signs,
    how: ScaleParams,
) -> None:  # fmt: skip
    """Write codes of a group's quotients or products."""


@overload(nearest_group)
def _nearest_by_rule(
    x: Any, start: Any, count: Any, divisor: Any, codes: Any, short: Any, signs: Any, how: Any
) -> Any:
    return _nearest_products if chosen(how, "multiply") is Yes else _nearest_quotients


@jit
def fill_group(codes: Any, start: Any, count: Any, code: Any) -> None:
    """Write one code for all of a group."""
    for i in range(count):
        codes[start + i] = code


@jit
def random_group(
    x: Any, start: Any, count: Any, divisor: Any, words: Any, first: Any, codes: Any,
    short: ShortParams, bits: int, ends: Ends, top: int,
) -> None:  # fmt: skip
    """Write codes of a group's quotients, each rounded by its own random integer."""
    wide_vectors()
    always_inline()
    for i in range(count):
        quotient = bits32(x[start + i] / divisor)
        small, word = lifted32(U32(quotient & U32(0x7FFFFFFF)), short)
        word = random_word32(word, words[first + i], short, bits)
        codes[start + i] = short_code32(small, word, quotient, short, ends, top)
