"""A dequantizer under test: the codes to give it, the values to expect, and the known mistakes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

from precision._support._types import Array
from precision.formats._codec import decode
from precision.formats._float_format import FloatFormat, Specials
from precision.formats._named import FP32, NAMED, Format
from precision.quantization._quant_spec import QuantSpec
from precision.quantization._quantized_tensor import QuantizedTensor
from precision.testing._calls import Call, Fault, as_array, expect_shape
from precision.testing._hard_values import is_float
from precision.testing._properties import Attempt, as_not_applicable, as_passed
from precision.testing._reports import Outcome, Verdict
from precision.testing._shown_numbers import differ, show_value
from precision.testing.blocks._block_layout import repeat_over_blocks
from precision.testing.blocks._expected_blocks import Reference
from precision.testing.blocks._hard_matrices import Blocks

ALL_CODES = 1 << 16
"""Codes that are all tried; of wider formats as many, drawn at random."""


class DecodedCodes(NamedTuple):
    """Codes with their scales, and the values that a dequantizer made of them, as float64."""

    codes: Array
    scale: Array | None
    tensor: np.float32 | None
    came: Array


@dataclass(frozen=True)
class Dequantizer:
    """A dequantizer under test, with the format or spec that it was said to restore."""

    like: Format | QuantSpec
    axis: int = field(default=-1, kw_only=True)
    integers: bool = field(default=False, kw_only=True)

    @property
    def fmt(self) -> Format:
        """The format of the codes."""
        return self.like.fmt if isinstance(self.like, QuantSpec) else self.like

    def all_codes(self) -> Array:
        """Return every code of the format, in its ml_dtypes type or as unsigned integers."""
        fmt = self.fmt
        if fmt.bits <= 16:
            codes = np.arange(1 << fmt.bits, dtype=fmt.code_dtype)
        else:
            codes = np.random.default_rng(0).integers(0, 1 << fmt.bits, ALL_CODES).astype(fmt.code_dtype)
        return self._typed(codes, fmt)

    def _typed(self, codes: Array, fmt: Format) -> Array:
        return codes if self.integers else codes.view(fmt.dtype)

    def read(self, result: Any, shape: tuple[int, ...]) -> Array:
        """Return a result as float64; raise `Fault` if it has another shape or no floating-point type."""
        array = expect_shape("the values", as_array(result), shape)
        if not is_float(array.dtype):
            raise Fault("wrong dtype", f"values must be of a floating-point type, got {array.dtype}")
        return array.astype(np.float64)

    # ---- one format -------------------------------------------------------------------------------
    def of_codes(self, name: str, chosen: Callable[[Array], Array], call: Call, signs: bool) -> Attempt:
        """Return the outcome for those codes whose values ``chosen`` picks."""
        codes = self.all_codes()
        wanted = decode(codes, self.fmt).astype(np.float64)
        kept = chosen(wanted)
        if not kept.any():
            return as_not_applicable(name, f"{self.fmt} has none")
        came = self.read(call(codes), codes.shape)
        bad = differ(wanted, came, signs=signs) & kept
        seen = (DecodedCodes(codes, None, None, came),)
        if not bad.any():
            return as_passed(name, int(kept.sum()), seen)
        index = int(np.flatnonzero(bad)[0])
        code = int(codes.view(self.fmt.code_dtype)[index])
        outcome = Outcome(
            name, Verdict.FAILED, cases=int(kept.sum()), failures=int(bad.sum()),
            example=f"code 0x{code:0{-(-self.fmt.bits // 4)}X}",
            expected=show_value(float(wanted[index]), FP32), got=show_value(float(came[index]), FP32),
        )  # fmt: skip
        return Attempt(outcome, seen)

    # ---- with scales ------------------------------------------------------------------------------
    def tensors(self, ragged: bool) -> Iterator[QuantizedTensor]:
        """Yield tensors of random numbers and of random codes, some of lengths that blocks do not divide."""
        assert isinstance(self.like, QuantSpec)
        spec, reference = self.like, Reference(self.like, axis=self.axis)
        rng = np.random.default_rng(1)
        for x in (*Blocks(reference, np.dtype(np.float32)).random(5), *_odd_lengths(reference, rng, ragged)):
            q = spec.quantize(x, self.axis)
            values = decode(np.arange(1 << spec.fmt.bits, dtype=spec.fmt.code_dtype), spec.fmt)
            usable = np.flatnonzero(np.isfinite(values))
            codes = rng.choice(usable, q.shape).astype(spec.fmt.code_dtype).view(spec.fmt.dtype)
            yield q
            yield replace(q, codes=codes)

    def expected(self, q: QuantizedTensor) -> Array:
        """Return fl32(code * fl32(scale * tensor scale)) of each element, as float64."""
        return q.dequantize().astype(np.float64)

    def of_tensors(self, name: str, tensors: Iterable[QuantizedTensor], call: Call) -> Attempt:
        """Return the outcome for some quantized tensors."""
        cases, failures, first, seen = 0, 0, None, []
        for q in tensors:
            came = self._observe(call, q)
            wanted = self.expected(q)
            bad = differ(wanted, came)
            cases, failures = cases + came.size, failures + int(bad.sum())
            seen.append(DecodedCodes(q.codes, q.scale, q.tensor_scale, came))
            if bad.any() and first is None:
                index = tuple(int(i) for i in np.argwhere(bad)[0])
                first = _describe(q, index, wanted, came)
        if first is None:
            return as_passed(name, cases, seen)
        outcome = Outcome(
            name, Verdict.FAILED, cases=cases, failures=failures, example=first[0], expected=first[1],
            got=first[2],
        )  # fmt: skip
        return Attempt(outcome, tuple(seen))

    def _observe(self, call: Call, q: QuantizedTensor) -> Array:
        assert isinstance(self.like, QuantSpec)
        arrays = [self._typed(q.codes.view(q.fmt.code_dtype), q.fmt), q.scale]
        if self.integers and q.scale_format != FP32:
            arrays[1] = q.scale.view(q.scale_format.code_dtype)
        if q.tensor_scale is not None:
            arrays.append(np.asarray(q.tensor_scale))
        return self.read(call(*arrays), q.shape)

    # ---- causes -----------------------------------------------------------------------------------
    def guess(self, seen: Sequence[Any]) -> Iterator[str]:
        """Yield the known mistakes that predict every observed value."""
        given = [one for one in seen if isinstance(one, DecodedCodes)]
        if not given:
            return
        rules = _of_formats(self.fmt) if not isinstance(self.like, QuantSpec) else self._of_scales()
        for name, rule in rules:
            with np.errstate(all="ignore"):
                if not any(differ(np.asarray(rule(one), np.float64), one.came).any() for one in given):
                    yield name

    def _of_scales(self) -> Iterator[tuple[str, Callable[[DecodedCodes], Array]]]:
        assert isinstance(self.like, QuantSpec)
        spec, reference = self.like, Reference(self.like, axis=self.axis)

        def parts(one: DecodedCodes) -> tuple[Array, Array, np.float32]:
            assert one.scale is not None
            values = decode(one.codes, spec.fmt)
            scale = decode(one.scale, spec.scale_format)
            wide = repeat_over_blocks(scale, one.codes.shape, reference.block(one.codes)).astype(np.float32)
            return values, wide, np.float32(1) if one.tensor is None else one.tensor

        def rule(of: Callable[[Array, Array, Any], Array]) -> Callable[[DecodedCodes], Array]:
            return lambda one: of(*parts(one))

        yield "scale not applied", rule(lambda v, s, t: v)
        yield "divided by the scale instead of multiplied", rule(lambda v, s, t: v / (s * t))
        if spec.tensor_scale:
            yield "tensor scale not applied", rule(lambda v, s, t: v * s)
            yield "multiplied by both scales one after another", rule(lambda v, s, t: (v * s) * t)
            yield "multiplied by both scales one after another", rule(lambda v, s, t: (v * t) * s)
        for name, kind in (("bfloat16", ml_dtypes.bfloat16), ("float16", np.float16)):

            def narrow(v: Array, s: Array, t: Any, kind: Any = kind) -> Array:
                return np.asarray((v * (s * t)).astype(kind))

            def narrow_scale(v: Array, s: Array, t: Any, kind: Any = kind) -> Array:
                return np.asarray(v * (s * t).astype(kind).astype(np.float32))

            yield f"restored values rounded to {name}", rule(narrow)
            yield f"scale rounded to {name}", rule(narrow_scale)
        for step in (1, -1):

            def moved(one: DecodedCodes, step: int = step) -> Array:
                assert one.scale is not None
                along = 0 if reference.layout.transposed else 1
                values, scale, tensor = parts(one._replace(scale=np.roll(one.scale, step, axis=along)))
                return np.asarray(values * (scale * tensor))

            yield f"scale of the block {'before' if step > 0 else 'after'} applied", moved
        for name, decoding in _of_formats(spec.fmt):

            def misread(one: DecodedCodes, decoding: Callable[[DecodedCodes], Array] = decoding) -> Array:
                _, scale, tensor = parts(one)
                return np.asarray(decoding(one).astype(np.float32) * (scale * tensor))

            yield name, misread


def _describe(q: QuantizedTensor, index: tuple[int, ...], wanted: Array, came: Array) -> tuple[str, str, str]:
    """Return as text the code and scale of an element, and its expected and observed values."""
    code = int(q.codes.view(q.fmt.code_dtype)[index])
    scale = float(repeat_over_blocks(decode(q.scale, q.scale_format), q.shape, q.block)[index])
    where = ", ".join(map(str, index))
    given = f"shape {q.shape}, code 0x{code:0{-(-q.fmt.bits // 4)}X} at [{where}]"
    given += f" under scale {show_value(scale, q.scale_format)}"
    if q.tensor_scale is not None:
        given += f", tensor scale {show_value(float(q.tensor_scale), FP32)}"
    return given, show_value(float(wanted[index]), FP32), show_value(float(came[index]), FP32)


def _odd_lengths(reference: Reference, rng: np.random.Generator, ragged: bool) -> Iterator[Array]:
    """Yield a matrix of lengths that blocks do not divide, if ``ragged``."""
    if ragged:
        layout = reference.layout
        x = rng.standard_normal((layout.height + 1, 2 * layout.width + 1)).astype(np.float32)
        x = x if reference.spec.fmt.signed else np.abs(x)
        yield np.ascontiguousarray(x.T if layout.transposed else x)


def _of_formats(fmt: Format) -> Iterator[tuple[str, Callable[[DecodedCodes], Array]]]:
    """Yield the mistakes of reading codes as another format or without its specials, each with its values."""
    for name, other in NAMED.items():
        if other.bits == fmt.bits and other != fmt:

            def misread(one: DecodedCodes, other: Format = other) -> Array:
                return decode(one.codes.view(fmt.code_dtype), other).astype(np.float64)

            yield f"codes read as {name} instead of {fmt}", misread
    if isinstance(fmt, FloatFormat):
        limit = fmt.min_normal

        def flushed(one: DecodedCodes) -> Array:
            values = decode(one.codes, fmt).astype(np.float64)
            return np.where(np.abs(values) < limit, np.copysign(0.0, values), values)

        def no_nan(one: DecodedCodes) -> Array:
            values = decode(one.codes, fmt).astype(np.float64)
            codes = one.codes.view(fmt.code_dtype).astype(np.int64)
            wide = FloatFormat(
                fmt.exponent_bits, fmt.fraction_bits, bias=fmt.bias, signed=fmt.signed, specials=Specials.NONE
            )
            return np.where(np.isfinite(values), values, decode(codes.astype(fmt.code_dtype), wide))

        yield "subnormals flushed", flushed
        if fmt.has_nan and fmt.max_exponent < 127 and fmt.subnormals:
            yield "NaN and Inf read as numbers", no_nan
