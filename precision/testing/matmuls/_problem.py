"""A matrix product to try: its numbers, their product by `matmul`, and the arrays that a callable gets."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from precision._support._types import Array
from precision.accumulators._accumulator import Accumulator
from precision.formats._codec import encode
from precision.formats._float_format import FloatFormat
from precision.formats._named import FP32, TF32, format_of
from precision.formats._rounding_modes import Overflow
from precision.gemm._matrix_product import matmul
from precision.quantization._granularity import Block
from precision.quantization._quant_spec import QuantSpec
from precision.quantization._quantized_tensor import QuantizedTensor
from precision.testing._calls import Call, Fault, as_array, expect_shape
from precision.testing._shown_numbers import show_value

TENSORS, CODES, VALUES = "tensors", "codes", "values"
SHOWN = 12
"""Elements of an operand that are shown."""


@dataclass(frozen=True)
class Declared:
    """The declaration of a GEMM: its accumulator, operands, scales and result, and how it is called."""

    accumulator: Accumulator
    formats: tuple[FloatFormat, FloatFormat]
    specs: tuple[QuantSpec | None, QuantSpec | None] = field(default=(None, None), kw_only=True)
    operands: str = field(default=TENSORS, kw_only=True)
    dtype: np.dtype[Any] = field(default=np.dtype(np.float32), kw_only=True)
    start: bool = field(default=False, kw_only=True)  #: whether it takes c
    batches: bool = field(default=True, kw_only=True)
    ragged: bool = field(default=True, kw_only=True)
    exact: bool = field(default=True, kw_only=True)

    @property
    def scaled(self) -> bool:
        return self.specs != (None, None)

    @property
    def output(self) -> FloatFormat:
        """The format of the result."""
        found = format_of(self.dtype)
        assert isinstance(found, FloatFormat)
        return found

    def block(self, side: int, shape: tuple[int, ...]) -> Block:
        """Return the number of elements under one scale of an operand (0: left), along each axis."""
        spec = self.specs[side]
        assert spec is not None
        return spec.granularity.block(shape, -1 if side == 0 else -2)

    def group(self, side: int) -> int | None:
        """Return how many of K share a scale of an operand, or None if all of it does."""
        if self.specs[side] is None:
            return None
        return self.block(side, (1 << 20, 1 << 20))[-1 if side == 0 else -2]

    @property
    def granule(self) -> int:
        """The least K at which all groups of scales end; 1 if scales do not change along K."""
        return math.lcm(*(self.group(side) or 1 for side in (0, 1)))


@dataclass(frozen=True, eq=False)
class Problem:
    """A matrix product: operands as float32 numbers of their formats, scales, tensor scales, and c."""

    a: Array
    b: Array
    scales: tuple[Array | None, Array | None] = field(default=(None, None), kw_only=True)
    second: tuple[Array | None, Array | None] = field(default=(None, None), kw_only=True)
    c: Array | None = field(default=None, kw_only=True)

    @property
    def length(self) -> int:
        return int(self.a.shape[-1])

    def codes(self, d: Declared, side: int) -> Array:
        """Return an operand in its format's own type."""
        x, fmt = (self.a, self.b)[side], d.formats[side]
        if fmt in (FP32, TF32):
            return x
        return encode(x, fmt, overflow=Overflow.NON_SATURATING if fmt.has_nan else Overflow.SATURATE)

    def scale_codes(self, d: Declared, side: int) -> Array:
        spec, scale = d.specs[side], self.scales[side]
        assert spec is not None and scale is not None
        return scale if spec.scale_format == FP32 else encode(scale, spec.scale_format)

    def tensor(self, d: Declared, side: int, codes: Array, scale: Array, second: Array | None) -> Any:
        spec = d.specs[side]
        assert spec is not None
        return QuantizedTensor(
            codes,
            scale,
            fmt=d.formats[side],
            block=d.block(side, codes.shape),
            scale_format=spec.scale_format,
            tensor_scale=None if second is None else np.float32(second),
        )

    def operand(self, d: Declared, side: int) -> Any:
        """Return an operand as `matmul` takes it: an array, or a `QuantizedTensor` if it has scales."""
        codes = self.codes(d, side)
        if d.specs[side] is None:
            return codes
        return self.tensor(d, side, codes, self.scale_codes(d, side), self.second[side])

    def expected(self, d: Declared, accumulator: Accumulator | None = None, dtype: Any = None) -> Array:
        """Return the product as an accumulator sums it (by default the declared one), as float64."""
        unit = d.accumulator if accumulator is None else accumulator
        kind = d.dtype if dtype is None else dtype
        y = matmul(self.operand(d, 0), self.operand(d, 1), accumulator=unit, c=self.c, dtype=kind)
        return y.astype(np.float64)

    def observe(self, call: Call, d: Declared) -> Array:
        """Return the callable's result, as float64.

        Raises
        ------
        Fault
            If it cannot be called, changes its input, or returns something else than such a matrix.
        """
        arrays, adapted = _arguments(self, d, call)
        y = as_array(adapted(*arrays))
        shape = np.broadcast_shapes(self.a.shape[:-2], self.b.shape[:-2])
        expect_shape("the product", y, (*shape, self.a.shape[-2], self.b.shape[-1]))
        if y.dtype != d.dtype:
            raise Fault("wrong dtype", f"the product must be of {d.dtype}, got {y.dtype}")
        return y.astype(np.float64)

    # ---- parts ------------------------------------------------------------------------------------------

    def rows(self, d: Declared, index: Array) -> Problem:
        """Return the problem with some rows of a."""
        return self._lines(d, 0, index)

    def columns(self, d: Declared, index: Array) -> Problem:
        """Return the problem with some columns of b."""
        return self._lines(d, 1, index)

    def _lines(self, d: Declared, side: int, index: Array) -> Problem:
        axis = -2 if side == 0 else -1
        x, scale = (self.a, self.b)[side].take(index, axis), self.scales[side]
        if scale is not None:
            each = d.block(side, (self.a, self.b)[side].shape)[axis]
            if each is not None:
                each_line = index // each
                # Scales of several lines stay with the first of each kept block.
                scale = scale.take(each_line[::each], axis)
        c = self.c
        if c is not None and c.shape[axis] > 1:
            c = c.take(index, axis)
        scales = (scale, self.scales[1]) if side == 0 else (self.scales[0], scale)
        a, b = (x, self.b) if side == 0 else (self.a, x)
        return replace(self, a=a, b=b, scales=scales, c=c)

    def span(self, d: Declared, first: int, last: int) -> Problem:
        """Return the problem with K from ``first``, at which groups of scales must begin, to ``last``."""
        scales = list(self.scales)
        for side, axis in ((0, -1), (1, -2)):
            scale, group = scales[side], d.group(side)
            if scale is not None and group is not None:
                scales[side] = scale.take(range(first // group, -(-last // group)), axis)
        a, b = self.a[..., first:last], self.b[..., first:last, :]
        return replace(self, a=a, b=b, scales=(scales[0], scales[1]))

    def matrices(self) -> Iterator[Problem]:
        """Yield the products of two matrices of which a batch consists, in order."""
        batch = np.broadcast_shapes(self.a.shape[:-2], self.b.shape[:-2])

        def pick(x: Array | None, index: tuple[int, ...]) -> Array | None:
            if x is None or x.ndim == 2:
                return x
            own = index[len(batch) - (x.ndim - 2) :]
            return np.asarray(x[tuple(i if n > 1 else 0 for i, n in zip(own, x.shape, strict=False))])

        for index in itertools.product(*map(range, batch)):
            parts = [pick(x, index) for x in (self.a, self.b, *self.scales, self.c)]
            assert parts[0] is not None and parts[1] is not None
            yield replace(self, a=parts[0], b=parts[1], scales=(parts[2], parts[3]), c=parts[4])

    def by_matrix(self, compute: Callable[[Problem], Array]) -> Array:
        """Return the results of a computation on each two matrices, stacked as the batch is."""
        if self.a.ndim == self.b.ndim == 2:
            return compute(self)
        batch = np.broadcast_shapes(self.a.shape[:-2], self.b.shape[:-2])
        found = np.stack([compute(one) for one in self.matrices()])
        return found.reshape(*batch, *found.shape[1:])

    def line_scales(self, d: Declared, side: int, k: int) -> Array:
        """Return the float32 scale of each row (side 0) or column (1) at one place of K; not for batches."""
        scale, x = self.scales[side], (self.a, self.b)[side]
        axis = 0 if side == 0 else 1
        if scale is None:
            return np.ones(x.shape[axis], np.float32)
        group, each = d.group(side), d.block(side, x.shape)[axis]
        at = scale.take(0 if group is None else min(k // group, scale.shape[1 - axis] - 1), 1 - axis)
        lines = np.repeat(at, x.shape[axis] if each is None else each)[: x.shape[axis]]
        return np.asarray(lines, np.float32)

    def show(self, d: Declared) -> str:
        """Return as text the shapes, and the elements that are not zero, in decimal and in hexadecimal."""
        fa, fb = d.formats
        parts = [_listed("a", self.a, fa), _listed("b", self.b, fb)]
        for side, (name, scale) in enumerate(zip(("scale of a", "scale of b"), self.scales, strict=True)):
            spec = d.specs[side]
            if scale is not None and spec is not None:
                parts.append(_listed(name, scale, spec.scale_format))
        for name, second in zip(("tensor scale of a", "tensor scale of b"), self.second, strict=True):
            if second is not None and second != 1:
                parts.append(f"{name} = {show_value(float(second), FP32)}")
        if self.c is not None:
            parts.append(_listed("c", self.c, FP32))
        sizes = f"M={self.a.shape[-2]}, N={self.b.shape[-1]}, K={self.length}"
        return f"{sizes}: " + "; ".join(part for part in parts if part)


def _listed(name: str, x: Array, fmt: FloatFormat) -> str:
    fmt = FP32 if fmt == TF32 else fmt
    if x.size and (x == x.flat[0]).all() and x.size > 1:
        value = float(x.flat[0])
        return f"{name} = 0 everywhere" if value == 0 else f"{name} = {show_value(value, fmt)} everywhere"
    told = [i for i in np.ndindex(x.shape) if x[i] != 0 or np.signbit(x[i])]
    parts = [f"{name}[{', '.join(map(str, i))}] = {show_value(float(x[i]), fmt)}" for i in told[:SHOWN]]
    if len(told) > SHOWN:
        parts.append(f"and {len(told) - SHOWN} more of shape {x.shape}")
    return ", ".join(parts) or f"{name} = 0"


def _arguments(p: Problem, d: Declared, call: Call) -> tuple[list[Array], Call]:
    """Return the arrays that the callable must leave as they are, and how it is called with them."""
    sides = [side for side in (0, 1) if d.specs[side] is not None]
    codes = [p.codes(d, side) for side in (0, 1)]
    if d.operands == VALUES:
        codes = [p.a, p.b]
    elif d.operands == CODES:
        codes = [x.view(f"u{x.itemsize}") for x in codes]
    scales = [p.scale_codes(d, side) for side in sides]
    if d.operands == VALUES:
        scales = [np.asarray(p.scales[side]) for side in sides]
    second = [np.asarray(x, np.float32) for x in p.second if x is not None]
    arrays = [*codes, *scales, *second, *([] if p.c is None or not d.start else [p.c])]
    with_start = d.start and p.c is not None
    built = d.operands == TENSORS and bool(sides)
    fn, convert = call.fn, call.convert

    def adapted(*given: Any) -> Any:
        rest = list(given)
        named = {"c": rest.pop()} if with_start else {}
        if built:
            operands, extra = rest[:2], rest[2:]
            second = dict(
                zip((i for i in sides if p.second[i] is not None), extra[len(sides) :], strict=True)
            )
            for side, scale in zip(sides, extra, strict=False):
                operands[side] = p.tensor(d, side, operands[side], scale, second.get(side))
            rest = operands if convert is None else [convert(x) for x in operands]
            if convert is not None and named:
                named["c"] = convert(named["c"])
        return fn(*rest, **named)

    return arrays, replace(call, fn=adapted, convert=None if built else convert)
