"""Accumulators that a GEMM may have used in the place of the declared one, each with the cause it is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from precision.accumulators._accumulator import EXACT, FP32_FMA, Accumulator, Exact, FmaChain, FusedSum
from precision.accumulators._inner_scales import ScaledGroups
from precision.formats._float_format import FloatFormat
from precision.formats._named import BF16, E8M13, FP16, FP32, TF32
from precision.formats._rounding_modes import Rounding

Unit = tuple[str, Accumulator | None]

_INTERVALS = (16, 32, 64, 128, 256, 512)
_NAMES = {
    Rounding.TIES_TO_EVEN: "rounded to nearest even",
    Rounding.TIES_TO_AWAY: "rounded to nearest, ties away",
    Rounding.TOWARD_ZERO: "truncated toward zero",
    Rounding.TOWARD_NEGATIVE: "rounded down (a shift of two's complement)",
    Rounding.TOWARD_POSITIVE: "rounded up",
}


def in_float32(d: Accumulator) -> str:
    """What it is called that sums are better than declared."""
    if isinstance(d, FusedSum):
        if d.register.exponent_bits == 5:
            return f"accumulates in FP32 where a register of {d.register} was declared"
        return f"accumulates in FP32 where {d.fraction_bits} bits were declared"
    return f"accumulates in FP32, but not as {d} does"


def units(declared: Accumulator) -> Iterator[Unit]:
    """Other accumulators, those that are more often met first."""
    if isinstance(declared, FusedSum):
        yield from _fused(declared)
        return
    if isinstance(declared, FmaChain):
        yield from _intervals(declared)
        yield "sums exactly and rounds once", EXACT
        yield (
            "accumulates as a tensor core does: FP32 register, truncated",
            FusedSum((FP16, BF16, TF32, FP32), 16, fraction_bits=25),
        )
    if isinstance(declared, Exact):
        yield "accumulates in FP32, one fused multiply-add a product", FP32_FMA


def _intervals(declared: FusedSum | FmaChain) -> Iterator[Unit]:
    now = "never" if declared.promotion is None else f"every {declared.promotion} of K"
    if declared.promotion is not None:
        yield f"never promoted to FP32 where {now} was declared", declared.promoted(None)
    step = declared.products if isinstance(declared, FusedSum) else 1
    for every in dict.fromkeys((*_INTERVALS, step)):
        if every % step == 0 and every != declared.promotion:
            declared_as = "although none was declared" if declared.promotion is None else f"instead of {now}"
            yield f"promoted to FP32 every {every} of K {declared_as}", declared.promoted(every)


def _fused(declared: FusedSum) -> Iterator[Unit]:
    bits, register, products = declared.fraction_bits, declared.register, declared.products
    yield from _intervals(declared)
    yield from _widths(declared)
    for n in (1, 2, 4, 8, 16, 32, 64, 128, 256):
        if n != products:
            yield f"{n} products a step instead of {products}", _with(declared, products=n)
    for what in ("alignment", "register"):
        for mode, said in _NAMES.items():
            if getattr(declared, f"{what}_rounding") is not mode:
                name = "aligned terms are" if what == "alignment" else "the register is"
                was = _NAMES[getattr(declared, f"{what}_rounding")]
                text = f"{name} {said} instead of {was}"
                yield text, _with(declared, **{f"{what}_rounding": mode})
    for fmt in (FP32, E8M13, TF32, BF16, FP16):
        if fmt != register:
            yield f"register of {_name(fmt)} instead of {_name(register)}", _with(declared, register=fmt)
            nearest = _with(declared, register=fmt, register_rounding=Rounding.TIES_TO_EVEN)
            yield f"register of {_name(fmt)}, rounded to nearest, instead of {_name(register)}", nearest
    yield "operands' low bits not ignored", replace(declared, operands=(*declared.operands, FP32))
    yield "no floor of the largest exponent", _with(declared, min_exponent=-300)
    for floor in (-126, -131, -132, -133, -14, -15, -19, -20, -21, -22):
        if floor != declared.min_exponent:
            text = f"largest exponent is at least {floor} instead of {declared.min_exponent}"
            yield text, _with(declared, min_exponent=floor)
    yield in_float32(declared), FP32_FMA
    yield in_float32(declared), FP32_FMA.promoted(declared.promotion)
    yield "sums exactly and rounds once", EXACT
    # Units of other GPUs: fewer or more products at other widths.
    for n in (4, 8, 16, 32, 64):
        for width in (13, 23, 24, 25, 35):
            for fmt in (register, FP32):
                if n != products and width != bits:
                    text = (
                        f"{n} products a step instead of {products}, {width} fraction bits instead of {bits}"
                    )
                    text += "" if fmt == register else f", register of {_name(fmt)}"
                    yield text, _with(declared, products=n, fraction_bits=width, register=fmt)


def _widths(declared: FusedSum) -> Iterator[Unit]:
    bits, register = declared.fraction_bits, declared.register
    wide_register = register != FP32 and register.exponent_bits == 8
    most = 40 if isinstance(declared.scale_in_unit, ScaledGroups) else 30
    near = sorted(range(1, most + 1), key=lambda n: abs(n - bits))
    if wide_register:
        for n in (25, 24, 23, 26, 27, 28, 30):
            if n != bits:
                yield in_float32(declared), _with(declared, fraction_bits=n, register=FP32)
    for n in near:
        if n != bits:
            text = f"{n} fraction bits in the alignment instead of {bits}"
            yield text, _with(declared, fraction_bits=n)
            if register.exponent_bits == 8:
                text = f"{n} fraction bits instead of {bits}, in the register too"
                held = replace(register, fraction_bits=min(n, 23))
                if held != register:
                    yield text, _with(declared, fraction_bits=n, register=held)


def _with(unit: FusedSum, **changes: object) -> FusedSum | None:
    """A changed unit; None where there is no such one."""
    inside = unit.scale_in_unit
    products = changes.get("products")
    if isinstance(inside, ScaledGroups) and isinstance(products, int) and products % inside.n:
        return None
    if unit.promotion is not None and isinstance(products, int) and unit.promotion % products:
        return None
    try:
        return replace(unit, **changes)  # type: ignore[arg-type]
    except ValueError:
        return None


def _name(fmt: FloatFormat) -> str:
    return {FP32: "FP32", FP16: "FP16", BF16: "BF16", TF32: "TF32", E8M13: "FP22 (1-8-13)"}.get(fmt, str(fmt))
