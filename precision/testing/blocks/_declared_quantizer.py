"""A quantizer with scales under test: the matrices to give it, and the judges of its results."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np

from precision._support._types import Array
from precision.formats._named import FP32, Format
from precision.formats._rounding_modes import Rounding, Stochastic
from precision.quantization._quantized_tensor import QuantizedTensor
from precision.testing._calls import Call, Fault, as_array, expect_shape
from precision.testing._hard_values import is_float
from precision.testing._properties import Attempt, as_passed
from precision.testing._reports import Outcome, Verdict
from precision.testing._shown_numbers import differ, show_array, show_value
from precision.testing._shrinking import shrink
from precision.testing.blocks import _block_mistakes
from precision.testing.blocks._block_layout import repeat_over_blocks
from precision.testing.blocks._expected_blocks import ObservedBlocks, Parts, Reference, parts_of
from precision.testing.blocks._hard_matrices import Blocks
from precision.testing.elements._declared_rounding import CODES, decode_result


class Comparison(NamedTuple):
    """A comparison of expected with observed numbers, one by one; ``what`` names the kind of numbers."""

    bad: Array
    expected: Array
    got: Array
    fmt: Format
    what: str


Judge = Callable[[Array, Parts], Comparison]


@dataclass(frozen=True)
class Quantizer:
    """A quantizer under test, with the spec that it was said to implement."""

    reference: Reference
    dtype: np.dtype[Any] = field(kw_only=True)
    returns: str | None = field(default=None, kw_only=True)
    ragged: bool = field(default=True, kw_only=True)

    @property
    def inputs(self) -> Blocks:
        """The designed matrices to give the quantizer."""
        return Blocks(self.reference, self.dtype)

    # ---- what comes -------------------------------------------------------------------------------
    def observe(self, call: Call, x: Array) -> Parts:
        """Return the values and scales that the callable gives for a matrix."""
        return self.read(call(x), x)

    def read(self, result: Any, x: Array) -> Parts:
        """Return the values and scales of a result; raise `Fault` if it is of no known form."""
        if isinstance(result, QuantizedTensor):
            expect_shape("codes", result.codes, x.shape)
            return self._with_scale(parts_of(result), x)
        if hasattr(result, "codes") and hasattr(result, "scale"):
            result = (result.codes, result.scale, getattr(result, "tensor_scale", None))
        if isinstance(result, tuple | list):
            return self._read_tuple(tuple(result), x)
        array = as_array(result)
        if self.returns == CODES or not is_float(array.dtype) or array.dtype.itemsize < 2:
            raise Fault(
                "wrong type",
                f"must be (codes, scale), (codes, scale, tensor_scale), a QuantizedTensor, or the restored "
                f"values in a floating-point type, got one array of {array.dtype}",
            )
        return Parts(expect_shape("the restored values", array, x.shape).astype(np.float64), None)

    def _read_tuple(self, result: tuple[Any, ...], x: Array) -> Parts:
        spec = self.reference.spec
        if len(result) == 3 and result[2] is None:
            result = result[:2]
        wanted = 3 if spec.tensor_scale else 2
        if len(result) != wanted:
            names = "(codes, scale, tensor_scale)" if spec.tensor_scale else "(codes, scale)"
            raise Fault("wrong type", f"must be {names} for {spec}, got a tuple of {len(result)}")
        codes = as_array(result[0])
        if codes.shape != x.shape and codes.size * 2 == x.size and codes.dtype == np.uint8:
            raise Fault(
                "wrong shape", f"codes must have shape {x.shape}, one a byte, got {codes.shape}: unpack"
            )
        values = decode_result(expect_shape("codes", codes, x.shape), spec.fmt, CODES)
        scale = self._scale(as_array(result[1]))
        tensor = float(as_array(result[2]).reshape(-1)[0]) if spec.tensor_scale else 1.0
        return self._with_scale(Parts(values, scale, tensor), x)

    def _scale(self, scale: Array) -> Array:
        fmt = self.reference.spec.scale_format
        if scale.dtype == fmt.dtype or (scale.dtype == fmt.code_dtype and scale.dtype.kind == "u"):
            return decode_result(scale, fmt, CODES)
        if is_float(scale.dtype) and scale.dtype.itemsize > 1:
            return scale.astype(np.float64)
        raise Fault(
            "wrong dtype",
            f"scale must be {fmt.dtype} or {fmt.code_dtype} (codes of {fmt}), or values in a floating-point "
            f"type of 16 bits or more, got {scale.dtype}",
        )

    def _with_scale(self, parts: Parts, x: Array) -> Parts:
        shape = self.reference.spec.scale_shape(x.shape, self.reference.axis)
        scale = parts.scale
        assert scale is not None
        if scale.shape != shape and scale.squeeze().shape == np.empty(shape).squeeze().shape:
            scale = scale.reshape(shape)
        return parts._replace(scale=expect_shape("scale", scale, shape))

    # ---- judges -----------------------------------------------------------------------------------
    def scales(self, x: Array, came: Parts) -> Comparison:
        """Compare observed scales with those of the spec's rule."""
        right, spec = self.reference.parts(x), self.reference.spec
        if came.scale is None:
            return self.whole(x, came)
        assert right.scale is not None
        if spec.tensor_scale and np.float32(right.tensor) != np.float32(came.tensor):
            every = np.ones(x.shape, bool)
            wanted, got = (np.full(x.shape, parts.tensor) for parts in (right, came))
            return Comparison(every, wanted, got, FP32, "tensor scale")
        block = self.reference.block(x)
        wanted, got = (repeat_over_blocks(scale, x.shape, block) for scale in (right.scale, came.scale))
        return Comparison(differ(wanted, got), wanted, got, spec.scale_format, "scale")

    def elements(self, x: Array, came: Parts, *, signs: bool = False) -> Comparison:
        """Compare observed elements with the right ones under the observed scales."""
        spec = self.reference.spec
        if came.scale is None:
            return self.whole(x, came, signs=signs)
        usable = np.isfinite(self.reference.total(x, came.scale, came.tensor)) & np.isfinite(x)
        wanted = self._elements(x, came)
        bad = differ(wanted, came.values) if not signs else _wrong_zeros(wanted, came.values)
        bad &= usable
        return Comparison(bad, wanted, came.values, spec.fmt, "code")

    def _elements(self, x: Array, came: Parts) -> Array:
        rounds = self.reference.rounds
        assert came.scale is not None
        if not isinstance(rounds.rounding, Stochastic):
            return self.reference.elements(x, came.scale, came.tensor)
        ways = (replace(rounds, rounding=way) for way in (Rounding.TOWARD_NEGATIVE, Rounding.TOWARD_POSITIVE))
        low, high = (self.reference.elements(x, came.scale, came.tensor, way) for way in ways)
        return np.where(differ(high, came.values), low, high)  # either is right

    def restored_values(self, x: Array, came: Parts) -> Comparison:
        """Compare the restored values, code times scale, with those of the spec."""
        wanted, got = (self.reference.restore(x, parts) for parts in (self.reference.parts(x), came))
        return Comparison(differ(wanted, got), wanted, got, FP32, "restored value")

    def whole(self, x: Array, came: Parts, *, signs: bool = False) -> Comparison:
        """Compare the scales, and where they are right the elements; restored values where no scale came."""
        if came.scale is None:
            right = self.reference.restore(x, self.reference.parts(x))
            bad = differ(right, came.values) if not signs else _wrong_zeros(right, came.values)
            return Comparison(bad, right, came.values, FP32, "restored value")
        found = self.scales(x, came)
        return found if found.bad.any() else self.elements(x, came)

    # ---- one property -----------------------------------------------------------------------------
    def compare(self, name: str, matrices: Iterable[Array], call: Call, judge: Judge) -> Attempt:
        """Judge the results for some matrices, and return the outcome with the smallest failing input."""
        cases, failures = 0, 0
        seen: list[ObservedBlocks] = []
        first: Array | None = None
        for x in matrices:
            came = self.observe(call, x)
            seen.append(ObservedBlocks(x, came))
            found = judge(x, came)
            cases += x.size
            failures += int(found.bad.sum())
            if first is None and found.bad.any():
                first = self._block_of(x, found.bad)
                first = first if self._fails(call, first, judge) else x
        if first is None:
            return as_passed(name, cases, seen)
        small = shrink(first, lambda x: self._fails(call, x, judge), steps=self.reference.layout.steps)
        came = self.observe(call, small)
        found = judge(small, came)
        outcome = _failure(name, cases, failures, small, found)
        return Attempt(outcome, tuple(seen))

    def _fails(self, call: Call, x: Array, judge: Judge) -> bool:
        try:
            return bool(judge(x, self.observe(call, x)).bad.any())
        except Fault:
            return False

    def _block_of(self, x: Array, bad: Array) -> Array:
        """Return the block of a matrix in which the first failure lies."""
        steps = self.reference.layout.steps
        where = np.argwhere(bad)[0]
        low = [int(i) // step * step for i, step in zip(where, steps, strict=True)]
        return x[low[0] : low[0] + steps[0], low[1] : low[1] + steps[1]]

    def guess(self, seen: Sequence[Any]) -> Iterable[str]:
        """Return the known mistakes that predict every result."""
        return _block_mistakes.guess(self.reference, [one for one in seen if isinstance(one, ObservedBlocks)])

    def guess_scales(self, seen: Sequence[Any]) -> Iterable[str]:
        """Return the known mistakes in scales that predict all observed scales."""
        blocks = [one for one in seen if isinstance(one, ObservedBlocks)]
        return _block_mistakes.guess(self.reference, blocks, part="scales")

    def guess_elements(self, seen: Sequence[Any]) -> Iterable[str]:
        """Return the known mistakes in elements that predict them under the observed scales."""
        blocks = [one for one in seen if isinstance(one, ObservedBlocks)]
        return _block_mistakes.guess(self.reference, blocks, part="elements")


def _wrong_zeros(wanted: Array, got: Array) -> Array:
    """Return where a zero has the wrong sign, or is NaN; other wrong numbers do not count."""
    return np.asarray(
        (wanted == 0) & (((got == 0) & (np.signbit(wanted) != np.signbit(got))) | np.isnan(got))
    )


def _failure(name: str, cases: int, failures: int, x: Array, found: Comparison) -> Outcome:
    """Return the failure that shows the first wrong number of the smallest input found."""
    where = np.argwhere(found.bad)
    index = tuple(int(i) for i in where[0]) if len(where) else (0,) * x.ndim
    place = f"{found.what} of x[{', '.join(map(str, index))}]: "
    wanted, got = (show_value(float(array[index]), found.fmt) for array in (found.expected, found.got))
    return Outcome(
        name, Verdict.FAILED, cases=cases, failures=failures, example=show_array(x),
        expected=place + wanted, got=place + got,
    )  # fmt: skip


Test = tuple[str, str, bool, Callable[[Call], Attempt]]


def chain_matrices(*parts: Callable[[], Iterator[Array]]) -> Iterator[Array]:
    """Yield the matrices of several generators, one after another."""
    for part in parts:
        yield from part()
