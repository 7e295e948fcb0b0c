"""The code of one number, float32 or float64, for loops that are written once for both."""

from __future__ import annotations

from typing import Any

from numba import types

from precision._kernels._jit import jit, overload
from precision._kernels._llvm_scalars import bits32, bits64
from precision._kernels._params import Ends, FormatParams, ModeParams, StochasticParams
from precision._kernels._scalar_rounding import core32, core64

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
