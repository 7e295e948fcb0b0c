"""Accumulators that differ from a given one in a parameter or two, each with the difference in words."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from precision.accumulators._accumulator import Accumulator
from precision.formats._float_format import FloatFormat
from precision.formats._named import BF16, E8M13, FP16, FP32, TF32
from precision.formats._rounding_modes import Rounding

#: The difference in words, and the accumulator, or None if it cannot be built.
Neighbour = tuple[str, Accumulator | None]

_INTERVALS = (16, 32, 64, 128, 256, 512)
_NAMES = {
    Rounding.TIES_TO_EVEN: "rounded to nearest even",
    Rounding.TIES_TO_AWAY: "rounded to nearest, ties away",
    Rounding.TOWARD_ZERO: "truncated toward zero",
    Rounding.TOWARD_NEGATIVE: "rounded down (a shift of two's complement)",
    Rounding.TOWARD_POSITIVE: "rounded up",
}


def in_float32(declared: Accumulator) -> str:
    """Describe sums that are kept in float32 although another accumulator was declared."""
    step = declared.step
    if step is None or not step.aligns:
        return f"accumulates in FP32, but not as {declared} does"
    if step.register.exponent_bits == 5:
        return f"accumulates in FP32 where a register of {step.register} was declared"
    return f"accumulates in FP32 where {step.fraction_bits} bits were declared"


def other_intervals(declared: Accumulator, products: int) -> Iterator[Neighbour]:
    """Yield a declared accumulator with other intervals of promotion, multiples of the products of a step."""
    now = "never" if declared.promotion is None else f"every {declared.promotion} of K"
    if declared.promotion is not None:
        yield f"never promoted to FP32 where {now} was declared", declared.promoted(None)
    for every in dict.fromkeys((*_INTERVALS, products)):
        if every % products == 0 and every != declared.promotion:
            declared_as = "although none was declared" if declared.promotion is None else f"instead of {now}"
            yield f"promoted to FP32 every {every} of K {declared_as}", declared.promoted(every)


def other_fused_sums(declared: Any) -> Iterator[Neighbour]:
    """Yield fused sums that differ a little from a declared `FusedSum`, the more common ones first."""
    bits, register, products = declared.fraction_bits, declared.register, declared.products
    yield from other_intervals(declared, products)
    yield from _other_widths(declared)
    for n in (1, 2, 4, 8, 16, 32, 64, 128, 256):
        if n != products:
            yield f"{n} products a step instead of {products}", _with_changes(declared, products=n)
    yield from _other_roundings(declared)
    for fmt in (FP32, E8M13, TF32, BF16, FP16):
        if fmt != register:
            text = f"register of {_gpu_name(fmt)}"
            instead = f"instead of {_gpu_name(register)}"
            yield f"{text} {instead}", _with_changes(declared, register=fmt)
            nearest = _with_changes(declared, register=fmt, register_rounding=Rounding.TIES_TO_EVEN)
            yield f"{text}, rounded to nearest, {instead}", nearest
    yield "operands' low bits not ignored", _with_changes(declared, operands=(*declared.operands, FP32))
    yield "no floor of the largest exponent", _with_changes(declared, min_exponent=-300)
    for floor in (-126, -131, -132, -133, -14, -15, -19, -20, -21, -22):
        if floor != declared.min_exponent:
            text = f"largest exponent is at least {floor} instead of {declared.min_exponent}"
            yield text, _with_changes(declared, min_exponent=floor)
    # Units of other GPUs: fewer or more products at other widths.
    for n in (4, 8, 16, 32, 64):
        for width in (13, 23, 24, 25, 35):
            for fmt in (register, FP32):
                if n != products and width != bits:
                    text = (
                        f"{n} products a step instead of {products}, {width} fraction bits instead of {bits}"
                    )
                    text += "" if fmt == register else f", register of {_gpu_name(fmt)}"
                    yield text, _with_changes(declared, products=n, fraction_bits=width, register=fmt)


def _other_roundings(declared: Any) -> Iterator[Neighbour]:
    """Yield a declared fused sum with other roundings of its aligned terms or its register."""
    for what, name in (("alignment", "aligned terms are"), ("register", "the register is")):
        was = getattr(declared, f"{what}_rounding")
        for mode, words in _NAMES.items():
            if was is not mode:
                text = f"{name} {words} instead of {_NAMES[was]}"
                yield text, _with_changes(declared, **{f"{what}_rounding": mode})


def _other_widths(declared: Any) -> Iterator[Neighbour]:
    """Yield a declared fused sum with other fraction bits in its alignment, the nearest first."""
    bits, register = declared.fraction_bits, declared.register
    wide_register = register != FP32 and register.exponent_bits == 8
    most = declared.inner_scales.most_fraction_bits if declared.inner_scales else 30
    near = sorted(range(1, most + 1), key=lambda n: abs(n - bits))
    if wide_register:
        for n in (25, 24, 23, 26, 27, 28, 30):
            if n != bits:
                yield in_float32(declared), _with_changes(declared, fraction_bits=n, register=FP32)
    for n in near:
        if n != bits:
            text = f"{n} fraction bits in the alignment instead of {bits}"
            yield text, _with_changes(declared, fraction_bits=n)
            if register.exponent_bits == 8:
                text = f"{n} fraction bits instead of {bits}, in the register too"
                held = replace(register, fraction_bits=min(n, 23))
                if held != register:
                    yield text, _with_changes(declared, fraction_bits=n, register=held)


def _with_changes(unit: Any, **changes: object) -> Accumulator | None:
    """Return a copy of a unit with changed fields, or None if such a unit cannot be built."""
    try:
        changed: Accumulator = replace(unit, **changes)
    except ValueError:
        return None
    return changed


def _gpu_name(fmt: FloatFormat) -> str:
    """Return the name of a register's format, as GPU documents write it."""
    return {FP32: "FP32", FP16: "FP16", BF16: "BF16", TF32: "TF32", E8M13: "FP22 (1-8-13)"}.get(fmt, str(fmt))
