"""Checks of dequantizers, and of a quantizer and a dequantizer together."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from precision._support._types import Array
from precision._support.machine._float_environment import in_default_environment
from precision.quantization._quant_spec import QuantSpec
from precision.testing._calls import Call, label
from precision.testing._properties import Attempt, Property, as_not_applicable, as_passed, run
from precision.testing._reports import Report
from precision.testing.blocks._declared_dequantizer import Dequantizer
from precision.testing.blocks._declared_quantizer import Test
from precision.testing.blocks._quantizer_checks import Like, check_quantizer, parse_like


@in_default_environment
def dequantizer_properties(
    like: Like, *, axis: int = -1, ragged: bool = True, integers: bool = False
) -> tuple[Property, ...]:
    """Return the properties that `check_dequantizer` tries, for pytest to try one by one.

    Parameters
    ----------
    like, axis, ragged, integers
        As in `check_dequantizer`.

    Returns
    -------
    tuple of Property
        Each prints as its name, and has ``check(fn)``, which raises an AssertionError where ``fn`` lacks it.

    Raises
    ------
    TypeError, ValueError
        If ``like`` is no format or spec.

    Examples
    --------
    >>> import numpy as np, precision as pr
    >>> from precision.testing import dequantizer_properties
    >>> properties = dequantizer_properties(pr.E4M3)
    >>> [str(prop) for prop in properties]
    ['result', 'input unchanged', 'finite values', 'infinities', 'NaN', 'signed zero']
    >>> properties[2].check(lambda codes: codes.astype(np.float32)).cases
    252
    """
    declared = parse_like(like)
    target = Dequantizer(declared, axis=-1 if axis in (-1, 1) else -2, integers=integers)
    tests = _spec_tests(target, ragged) if isinstance(declared, QuantSpec) else _format_tests(target)
    return tuple(
        Property(name, meaning, test=test, guess=target.guess, essential=essential)
        for name, meaning, essential, test in tests
    )


def _spec_tests(target: Dequantizer, ragged: bool) -> Iterator[Test]:
    """Yield the tests of a dequantizer with scales."""
    tensors = list(target.tensors(ragged))
    whole = [q for q in tensors if all(n % (s or n) == 0 for n, s in zip(q.shape, q.block, strict=True))]
    rest = [q for q in tensors if not any(q is other for other in whole)]

    def result(call: Call) -> Attempt:
        target._observe(call, whole[0])
        return as_passed("result", 1)

    def unchanged(call: Call) -> Attempt:
        target._observe(replace(call, forgiving=False), whole[0])
        return as_passed("input unchanged", whole[0].codes.size)

    def edges(call: Call) -> Attempt:
        if not rest:
            return as_not_applicable("block edges", "ragged=False: lengths are multiples of the block")
        return target.of_tensors("block edges", rest, call)

    def values(call: Call) -> Attempt:
        return target.of_tensors("restored values", whole, call)

    yield "result", "shape and type of the result", True, result
    yield "input unchanged", "the input is not written into", False, unchanged
    yield "restored values", "code times scale, rounded once", False, values
    yield "block edges", "lengths that blocks do not divide: the last one is shorter", False, edges


def _format_tests(target: Dequantizer) -> Iterator[Test]:
    """Yield the tests of a dequantizer of bare codes."""

    def result(call: Call) -> Attempt:
        codes = target.all_codes()
        target.read(call(codes), codes.shape)
        return as_passed("result", 1)

    def unchanged(call: Call) -> Attempt:
        codes = target.all_codes()
        replace(call, forgiving=False)(codes)
        return as_passed("input unchanged", codes.size)

    def values(name: str, meaning: str, chosen: Callable[[Array], Array], signs: bool = False) -> Test:
        return name, meaning, False, lambda call: target.of_codes(name, chosen, call, signs)

    yield "result", "shape and type of the result", True, result
    yield "input unchanged", "the input is not written into", False, unchanged
    yield values("finite values", "every finite code has its value", lambda v: np.isfinite(v) & (v != 0))
    yield values("infinities", "codes of Inf are Inf", np.isinf)
    yield values("NaN", "codes of NaN are NaN", np.isnan)
    yield values("signed zero", "zeros keep their sign", lambda v: v == 0, True)


@in_default_environment
def check_dequantizer(
    fn: Callable[..., Any],
    like: Like,
    *,
    axis: int = -1,
    ragged: bool = True,
    integers: bool = False,
    convert: Callable[[Any], Any] | None = None,
    time_limit: float | None = None,
) -> Report:
    """Try a dequantizer on every code, or on codes under every kind of scale.

    Parameters
    ----------
    fn : callable
        For a format: an array of codes to their values. For a spec: ``fn(codes, scale)``, or
        ``fn(codes, scale, tensor_scale)``, to the restored values, of the codes' shape and a
        floating-point type.
    like : FloatFormat, IntFormat, QuantSpec or str
        What it should be like.
    axis : int
        Along which axis of a matrix the groups of a spec run.
    ragged : bool
        Whether lengths that blocks do not divide are tried.
    integers : bool
        Whether codes (and scales, but float32 ones) are given as unsigned integers, not as ml_dtypes' types.
    convert, time_limit
        As in `check_quantizer`.

    Returns
    -------
    Report
        As of `check_quantizer`. Restored values must be fl32(code * fl32(scale * tensor_scale)).

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit.

    Notes
    -----
    The properties for a format: *result* (shape and type), *input unchanged*, *finite values*, *infinities*,
    *NaN* and *signed zero*: each code has its value, zeros their sign. For a spec: *result*, *input
    unchanged*, *restored values* (the product above, for random codes under random scales), and *block edges*
    (so in lengths that blocks do not divide).

    Examples
    --------
    >>> import numpy as np, precision as pr
    >>> from precision.testing import check_dequantizer
    >>> report = check_dequantizer(lambda codes: codes.astype(np.float32), like=pr.E4M3)
    >>> report.ok
    True
    """
    call = Call(fn, convert=convert, time_limit=time_limit)
    properties = dequantizer_properties(like, axis=axis, ragged=ragged, integers=integers)
    return run(properties, call, subject=label(fn), like=str(parse_like(like)))


@in_default_environment
def check_roundtrip(
    quantize: Callable[..., Any],
    dequantize: Callable[..., Any],
    like: Like,
    **options: Any,
) -> Report:
    """Check that ``dequantize(*quantize(x))`` restores what the spec or format restores.

    Two mistakes that undo each other (nibbles swapped both ways, say) pass, as they should here.

    Parameters
    ----------
    quantize : callable
        An array to codes (for a format), or to a tuple (for a spec).
    dequantize : callable
        What ``quantize`` returned, a tuple as several arguments, to the restored values.
    like : FloatFormat, IntFormat, QuantSpec or str
        What they should be like.
    **options
        Those of `check_quantizer`, but ``returns``.

    Returns
    -------
    Report
        As of `check_quantizer` for a callable that returns restored values alone.

    Examples
    --------
    >>> import ml_dtypes, numpy as np, precision as pr
    >>> from precision.testing import check_roundtrip
    >>> there = lambda x: np.clip(x, -6, 6).astype(ml_dtypes.float4_e2m1fn)
    >>> check_roundtrip(there, lambda codes: codes.astype(np.float32), like=pr.E2M1).ok
    True
    """
    for name, fn in (("quantize", quantize), ("dequantize", dequantize)):
        if not callable(fn):
            raise TypeError(f"{name} must be callable, got {fn!r}")

    def both(x: Any) -> Any:
        between = quantize(x)
        return dequantize(*between) if isinstance(between, tuple) else dequantize(between)

    both.__qualname__ = f"{label(dequantize)}({label(quantize)})"
    return check_quantizer(both, like, returns="values", **options)
