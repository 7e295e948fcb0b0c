"""Comparison of numbers, in which NaN equals NaN, and their text: a decimal with the bits."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from precision._support._types import Array
from precision.formats._float_format import FloatFormat
from precision.formats._named import Format
from precision.quantization._spec_fields import code_of_value
from precision.testing._hard_values import word_of

FEW = 8
"""Elements of an array that are shown."""


def differ(expected: Array, got: Array, *, signs: bool = False) -> Array:
    """Return where two float64 arrays differ; NaN is the same as NaN, and 0 as -0 unless ``signs``."""
    nan = np.isnan(expected) & np.isnan(got)
    same = (expected == got) | nan
    if signs:
        same &= nan | (np.signbit(expected) == np.signbit(got))
    return np.asarray(~same)


def shortest_decimal(value: Any) -> str:
    """Return the shortest decimal that reads back as the same number of its own type."""
    text = str(value)
    return text.removesuffix(".0")


def show_number(value: Any) -> str:
    """Return a number of an input as text: its decimal and its bits."""
    array = np.asarray(value)
    word = word_of(array.dtype)
    return f"{shortest_decimal(array[()])} (0x{int(array.view(word)[()]):0{2 * word.itemsize}X})"


def code_of(value: float, fmt: Format) -> int | None:
    """Return the code of a value, or None if the format does not have the value."""
    if math.isnan(value):
        return fmt.nan_code if isinstance(fmt, FloatFormat) else None
    if not isinstance(fmt, FloatFormat):
        scaled = math.ldexp(value, fmt.fraction_bits) if math.isfinite(value) else 0.5
        low = -(fmt.max_code + 1) if fmt.signed else 0
        inside = scaled == int(scaled) and low <= scaled <= fmt.max_code
        return int(scaled) & ((1 << fmt.bits) - 1) if inside else None
    negative = math.copysign(1.0, value) < 0
    magnitude = fmt.inf_code if math.isinf(value) else code_of_value(abs(value), fmt)
    if magnitude is None or (negative and (not fmt.signed or (value == 0 and not fmt.has_negative_zero))):
        return None
    return magnitude | (1 << (fmt.bits - 1) if negative else 0)


def show_value(value: float, fmt: Format) -> str:
    """Return a value of a format as text: its decimal and its code."""
    code = code_of(value, fmt)
    text = (
        shortest_decimal(np.float32(value))
        if float(np.float32(value)) == value or value != value
        else shortest_decimal(value)
    )
    return f"{text} (no value of {fmt})" if code is None else f"{text} (0x{code:0{-(-fmt.bits // 4)}X})"


def show_array(x: Array) -> str:
    """Return an input as text: its only number, or its shape and its first numbers that are not zero."""
    if x.size == 1 and x.ndim == 1:
        return show_number(x.reshape(-1)[0])
    flat = x.reshape(-1)
    told = [i for i in range(flat.size) if flat[i] != 0 or np.signbit(flat[i])]
    parts = []
    for i in told[:FEW]:
        where = np.unravel_index(i, x.shape)
        parts.append(f"x[{', '.join(map(str, map(int, where)))}] = {show_number(flat[i])}")
    if len(told) > FEW:
        parts.append(f"and {len(told) - FEW} more")
    elif len(told) < flat.size:
        parts.append("other elements 0" if told else "zeros")
    return f"shape {x.shape}: " + ", ".join(parts)
