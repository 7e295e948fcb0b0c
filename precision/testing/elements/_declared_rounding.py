"""A rounding function under test, and the results that its declared format expects."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from precision._support._types import Array
from precision.formats._codec import decode
from precision.formats._int_format import IntFormat
from precision.formats._named import Format
from precision.formats._rounding_modes import Stochastic
from precision.testing import _hard_values
from precision.testing._calls import Call, Fault, as_array, expect_shape
from precision.testing._properties import Attempt, as_not_applicable, as_passed
from precision.testing._reports import Outcome, Verdict
from precision.testing._shown_numbers import differ, show_array, show_value
from precision.testing._shrinking import smallest_element
from precision.testing.elements._rounding_mistakes import Observed, Rounds, guess

CODES, VALUES = "codes", "values"


def decode_result(array: Array, fmt: Format, returns: str | None) -> Array:
    """Return codes or values as float64 values; raise the fault "wrong dtype" if they are neither."""
    kind = array.dtype
    integer = kind.kind == "u" or (kind.kind == "i" and isinstance(fmt, IntFormat))
    if returns != VALUES and kind == fmt.dtype:
        return _decoded_codes(array, fmt)
    if returns != VALUES and integer:
        return _decoded_integers(array, fmt)
    if returns != CODES and _hard_values.is_float(kind) and (kind == fmt.dtype or kind.itemsize > 1):
        return array.astype(np.float64)
    codes = f"codes of {fmt.dtype} or {fmt.code_dtype}"
    wanted = {CODES: codes, VALUES: "values in a floating-point type of 16 bits or more"}
    either = f"{codes}, or values in a floating-point type of 16 bits or more"
    raise Fault("wrong dtype", f"must be {wanted.get(returns or '', either)}, got {kind}")


def _decoded_integers(array: Array, fmt: Format) -> Array:
    if array.dtype.kind == "u":
        return _decoded_codes(array, fmt)
    assert isinstance(fmt, IntFormat)
    return array.astype(np.float64) / 2.0**fmt.fraction_bits


@dataclass(frozen=True)
class Elements:
    """A rounding function under test, with the rounding that it was said to do."""

    right: Rounds
    dtype: np.dtype[Any] = field(kw_only=True)
    returns: str | None = field(default=None, kw_only=True)

    @property
    def fmt(self) -> Format:
        """The format."""
        return self.right.fmt

    def observe(self, call: Call, x: Array) -> Array:
        """Return the values that the callable gives for an array, as float64."""
        return decode_result(expect_shape("the result", as_array(call(x)), x.shape), self.fmt, self.returns)

    def guess(self, seen: Sequence[Any]) -> Iterable[str]:
        """Return the known mistakes that predict every observed value."""
        if isinstance(self.right.rounding, Stochastic):
            return ()
        return guess(self.right, [one for one in seen if isinstance(one, Observed)])

    # ---- one property -----------------------------------------------------------------------------
    def compare(
        self,
        name: str,
        x: Array,
        call: Call,
        *,
        signs: bool = False,
        got: Callable[[Call, Array], Array] | None = None,
        expect: Callable[[Array], Array] | None = None,
    ) -> Attempt:
        """Compare the results for the elements of ``x`` with the expected ones, and return the outcome."""
        observe, expect = got or self.observe, expect or self.right
        if not x.size:
            return as_not_applicable(name, f"{self.dtype} holds no number that would try it")
        try:
            came = observe(call, x)
        except Fault as fault:
            if fault.kind != "raises":
                raise
            return self._raised(name, x, call, fault)
        bad = differ(expect(x), came, signs=signs)
        seen = (Observed(x, came),)
        if not bad.any():
            return as_passed(name, x.size, seen)

        def fails(part: Array) -> bool:
            try:
                return bool(differ(expect(part), observe(call, part), signs=signs).any())
            except Fault:
                return False

        small = smallest_element(x, bad, fails)
        wanted, found = expect(small), observe(call, small)
        where = np.flatnonzero(differ(wanted, found, signs=signs))
        index = int(where[0]) if where.size else 0
        example = (
            show_array(small)
            if small.size == 1
            else f"{show_array(small[index : index + 1])} at index {index} of {small.size}"
        )
        outcome = Outcome(
            name,
            Verdict.FAILED,
            cases=x.size,
            failures=int(bad.sum()),
            example=example,
            expected=show_value(float(wanted[index]), self.fmt),
            got=show_value(float(found[index]), self.fmt),
        )
        return Attempt(outcome, seen)

    def _raised(self, name: str, x: Array, call: Call, fault: Fault) -> Attempt:
        """Return the outcome of a call that raised, with the smallest input found for which it does."""

        def fails(part: Array) -> bool:
            try:
                call(part)
            except Fault:
                return True
            return False

        small = smallest_element(x, np.ones(x.shape, bool), fails)
        wanted = show_value(float(self.right(small)[0]), self.fmt)
        outcome = Outcome(
            name, Verdict.FAILED, cases=x.size, failures=x.size, example=show_array(small),
            expected=wanted, got=str(fault), cause=fault.kind,
        )  # fmt: skip
        return Attempt(outcome, (fault,))

    def with_signs(self, points: Array) -> Array:
        """Return the points, and their negatives too if the format has a sign."""
        return _hard_values.with_signs(points, self.fmt)

    def everything(self) -> Array:
        """Return numbers of every kind but NaN and Inf, in random order."""
        x = self.with_signs(_hard_values.all_kinds(self.fmt, self.dtype))
        return np.random.default_rng(2).permutation(x)


def _decoded_codes(array: Array, fmt: Format) -> Array:
    try:
        return decode(array, fmt).astype(np.float64)
    except ValueError as error:  # bits that the format has not
        raise Fault("wrong dtype", str(error)) from None
