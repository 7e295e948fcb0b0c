"""The error bound of a whole product: of the conversion of its operands, and of their accumulation."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from precision._support._array_checks import refuse_masked
from precision._support._types import Array
from precision._support.machine._blas import check_blas
from precision._support.machine._float_environment import in_default_environment
from precision.accumulators._accumulator import Accumulator, ScaleEntry
from precision.accumulators._accumulator_text import as_accumulator
from precision.accumulators._operand_layout import Stack
from precision.accumulators._operand_layout import values as stack_values
from precision.bounds import _conversion as conversions
from precision.bounds._accumulation import PreparedProduct, SumOfProducts, bound_exact_sum
from precision.bounds._conversion import Conversion
from precision.bounds._running_error import NEAREST, as_float64
from precision.formats._named import TF32
from precision.formats._rounding_modes import Stochastic
from precision.gemm._operands import Checked, Operand, Shapes, checked_dtype, checked_operand, checked_start
from precision.quantization._quant_spec import QuantSpec
from precision.quantization._quantized_tensor import QuantizedTensor
from precision.specs._spec_text import for_operands

Specs = QuantSpec | tuple[QuantSpec | None, QuantSpec | None] | None


@dataclass(frozen=True, eq=False)
class ErrorBound:
    """The largest error that the declared arithmetic can make in each output of a product.

    Attributes
    ----------
    total : ndarray of float64
        No |result - reference| is larger. Inf where the result may be NaN or Inf, or an operand is.
    quantization, alignment, register, epilogue : ndarray of float64
        The parts of ``total``: from the operands' conversion, the cutting of aligned terms, the rounding into
        the register, and all that follows (promotion, scales, the type of the result).
    probabilistic : ndarray of float64
        A bound that each error exceeds with a probability of at most ``failure``, if errors of roundings to
        nearest are independent and have mean zero. Other errors count in full, so that it is no better
        than ``total`` for units that truncate throughout.
    failure : float
        The probability that an output's error exceeds ``probabilistic``.
    sources : tuple of str
        The rule that bounds each part, and its source.
    """

    total: Array
    quantization: Array
    alignment: Array
    register: Array
    epilogue: Array
    probabilistic: Array
    failure: float
    sources: tuple[str, ...]


def _check_pair_of_specs(spec: Specs) -> tuple[QuantSpec | None, QuantSpec | None]:
    """Return the two operands' specs; raise TypeError if ``spec`` is no spec, pair or None."""
    pair = spec if isinstance(spec, tuple) else for_operands(spec, spec)
    if len(pair) != 2 or not all(one is None or isinstance(one, QuantSpec) for one in pair):
        raise TypeError(f"spec must be a QuantSpec, a pair of them, or None, got {spec!r}")
    return pair


def _convert_operand(
    name: str, x: Operand, spec: QuantSpec | None, axis: int
) -> tuple[Operand, Array | None]:
    """Return the operand that the unit is given, and the original array where ``spec`` quantizes one."""
    if spec is None:
        return x, None
    if isinstance(x, QuantizedTensor):
        raise TypeError(f"{name} must be an array where spec says how to quantize it, got {x!r}")
    refuse_masked(name, x)
    original = np.asarray(x)
    if not original.dtype.isnative:
        original = original.astype(original.dtype.newbyteorder("="))
    try:
        return spec.quantize(original, axis=axis if original.ndim > 1 else -1), original
    except (TypeError, ValueError) as error:
        message = str(error)
        if not message.startswith("x "):
            raise
        raise type(error)(f"{name} {message[2:]}") from None


def _bound_conversion(
    given: Operand, original: Array | None, spec: QuantSpec | None, checked: Checked
) -> Conversion:
    """Bound the change from an original operand to the one that the unit computes with."""
    if isinstance(given, QuantizedTensor):
        if original is not None and spec is not None:
            return conversions.bound_quantization(original, given, spec)
        return conversions.record_unchanged(given.dequantize(np.float64))
    values = as_float64(np.asarray(given))
    if checked.fmt != TF32:
        return conversions.record_unchanged(values)
    bits = np.asarray(given).view(np.uint32)
    return conversions.record_change(values, as_float64(stack_values(Stack(bits, TF32))))


def prepare(
    spec: Specs,
    accumulator: Accumulator,
    a: Operand,
    b: Operand,
    c: npt.ArrayLike | None,
    dtype: npt.DTypeLike,
) -> PreparedProduct:
    """Check all arguments before any work, and quantize the operands as the spec says."""
    if accumulator.step is None and accumulator.scale_entry is not ScaleEntry.EXACT:
        raise TypeError(
            f"accumulator must declare the step that an error bound is made of, or be exact; {accumulator} "
            "declares none"
        )
    check_blas()
    specs, kind = _check_pair_of_specs(spec), checked_dtype(dtype)
    pairs = [
        _convert_operand(name, x, one, axis)
        for name, x, one, axis in (("a", a, specs[0], -1), ("b", b, specs[1], -2))
    ]
    left, right = (
        checked_operand(name, given, accumulator)
        for name, (given, _) in zip("ab", pairs, strict=True)
    )  # fmt: skip
    shapes = Shapes(left, right)
    start = checked_start(c, accumulator, shapes)
    found = None
    if specs != (None, None) or TF32 in (left.fmt, right.fmt):
        one, two = (
            _bound_conversion(given, original, which, checked)
            for (given, original), which, checked in zip(pairs, specs, (left, right), strict=True)
        )
        found = one, two
    return PreparedProduct(left, right, shapes, start, kind, found, (pairs[0][0], pairs[1][0]))


def _bound_quantization(args: PreparedProduct, safe: float) -> tuple[Array, Array, Array]:
    """Return bound, certain part and sum of squares of the error that converting the operands causes."""
    if args.conversions is None:
        nothing = np.zeros(args.shapes.result)
        return nothing, nothing, nothing
    left, right = args.conversions
    with np.errstate(all="ignore"):
        original, used = np.abs(right.original), np.abs(left.used)
        bound = left.change @ original + used @ right.change
        reach = np.abs(left.original) + left.change
        certain = left.certain @ original + reach @ right.certain
        variance = left.rounding**2 @ original**2 + reach**2 @ right.rounding**2
    return tuple(np.where(np.isnan(x), np.inf, x) * safe for x in (bound, certain, variance))  # type: ignore[return-value]


def _list_sources(
    accumulator: Accumulator, specs: tuple[QuantSpec | None, QuantSpec | None]
) -> tuple[str, ...]:
    """Return one line of text for each kind of error: its size, and the source of its bound."""
    found = []
    for spec in specs:
        if spec is not None:
            text = "half a step" if spec.rounding in NEAREST else "a step"
            found.append(f"quantization: {text} of {spec.fmt} times the scale, or what is clipped")
            if isinstance(spec.rounding, Stochastic):
                found.append("stochastic rounding: mean zero (Connolly, Higham, Mary, SIMAX 42, 2021)")
    if accumulator.step and accumulator.step.aligns:
        found.append("alignment: terms with bits below 2**(largest exponent - fraction_bits), one step each")
    if accumulator.step:
        found.append("register: one rounding a step (running error analysis: Higham 2002, section 3.3)")
    found.append("epilogue: one rounding an operation")
    found.append("probabilistic: Azuma-Hoeffding, as in Higham and Mary, SISC 41(5), 2019")
    return tuple(dict.fromkeys(found))


@in_default_environment
def error_bound(
    spec: Specs,
    accumulator: Accumulator,
    a: Operand,
    b: Operand,
    *,
    c: npt.ArrayLike | None = None,
    dtype: npt.DTypeLike = np.float32,
    failure: float = 1e-10,
) -> ErrorBound:
    """Return the largest error that the declared arithmetic can make in each output of ``a @ b``.

    Parameters
    ----------
    spec : QuantSpec, or a pair of QuantSpec or None, or None
        How ``a`` and ``b`` are quantized: the reference is then the exact product of the originals. One
        spec for both that rounds stochastically gives ``b`` another seed (`precision.specs.for_operands`);
        a pair is taken as it is. Of a pair, None leaves an operand as it is. With None alone the reference
        is the exact product of what the unit is given.
    accumulator : FusedSum, FmaChain or Exact
        How products are summed.
    a, b : array or QuantizedTensor
        What `matmul` takes or, with ``spec``, the originals that it quantizes.
    c : array, optional
        As `matmul` takes it. It counts in the reference as `matmul` scales it.
    dtype : data type
        The type of the result: float16, bfloat16, float32 or float64.
    failure : float
        The probability, for each output, with which ``probabilistic`` may be exceeded.

    Returns
    -------
    ErrorBound
        ``total`` and its parts, of the result's shape.

    Raises
    ------
    TypeError, ValueError
        As `matmul` and `quantize` raise them, and if ``failure`` is no number between 0 and 1.

    Notes
    -----
    The reference may be rounded to float64, which the bound allows for. The bound is Inf where an operand, a
    scale or ``c`` is NaN or Inf, where a register, a scale or the result may overflow, and where a spec that
    does not saturate may; it is never NaN. A product without outputs has a bound without elements, and with
    K = 0 the bound is that of ``c`` alone. It depends on the data, but on no emulation: it holds for any sum
    that takes the steps and the roundings that the accumulator declares, in that order.

    *Proof.* Let r be the register before a step, s the exact sum so far and B a bound on |r - s|, so that
    |r| <= |s| + B =: R. The largest exponent of the step is at most e, the largest of the exponents of its
    non-zero terms, of R's and of ``min_exponent``. Let q = 2**(e - fraction_bits). A term whose last bit
    weighs q or more is not changed by the alignment. Any other one changes by at most its own size, and by
    less than q (half of q, to nearest); with directed roundings and to odd by less than q. The same holds for
    the register, which is a multiple of its last place. Then the sum, at most T = |s'| + B', is rounded into
    the register: by half its last place at T, to nearest, else by less than that place; and, since all cut
    terms are multiples of some 2**g, by nothing where the last place is no larger than that, and otherwise by
    at most the last place less 2**g. Adding these to B gives the next bound. (Running error analysis: Higham
    2002, section 3.3, with the alignment added.) A fused multiply-add is a step of one term without
    alignment. Promotion, scales and the result's type are roundings to nearest of numbers that are at most
    the exact ones plus the bound so far, and errors made before are scaled with the sum.

    Elements: half a step of the format at x / scale (one step, for roundings that are not to nearest) times
    the scale, the rounding of the quotient added; what exceeds the largest value, for clipped elements. Then
    |ab - a'b'| <= |a - a'| |b| + |a'| |b - b'|. What a TF32 unit ignores of float32 counts as
    quantization.

    *Probabilistic.* Roundings to nearest are modelled as independent, of mean zero (Higham and Mary, SISC
    41(5), 2019), each at most h_i: by the inequality of Azuma and Hoeffding their sum exceeds
    L sqrt(sum h_i**2) with probability at most 2 exp(-L**2 / 2). For stochastic rounding that needs no model
    (Connolly, Higham, Mary, SIMAX 42, 2021). Truncation, clipping and the bias of few random bits count in
    full. Elements that share data share roundings: failures of different outputs are not independent.

    Bounds are computed in float64 and rounded up: every magnitude is raised by (8 K + 64) 2**-52 of itself,
    more than its own computation can have lost. Time is that of some M * N * K small-integer operations and
    one float64 product; memory is the operands' in 12 bytes an element, and the result's in 12 arrays.

    Examples
    --------
    >>> import numpy as np, precision as pr
    >>> from precision import bounds
    >>> rng = np.random.default_rng(0)
    >>> a, b = rng.standard_normal((16, 512)), rng.standard_normal((512, 16))
    >>> a8, b8 = pr.encode(a, pr.E4M3), pr.encode(b, pr.E4M3)
    >>> y, exact = pr.matmul(a8, b8), pr.matmul(a8, b8, accumulator=pr.EXACT, dtype=np.float64)
    >>> bound = bounds.error_bound(None, pr.HOPPER_FP8, a8, b8)
    >>> bool((abs(y - exact) <= bound.total).all()), bool((abs(exact) <= bound.total).any())
    (True, False)
    >>> spec = pr.QuantSpec(pr.E4M3, pr.PerVector())
    >>> whole = bounds.error_bound(spec, pr.HOPPER_FP8.promoted(128), a, b)
    >>> bool((whole.quantization > 10 * whole.alignment).all())
    True
    """
    if isinstance(failure, bool) or not isinstance(failure, int | float):
        raise TypeError(f"failure must be a float, got {failure!r}")
    if not 0 < failure < 1:
        raise ValueError(f"failure must lie between 0 and 1, got {failure}")
    accumulator = as_accumulator(accumulator)
    args = prepare(spec, accumulator, a, b, c, dtype)
    step = accumulator.step
    product = None if step is None else SumOfProducts(accumulator, step, args)
    found = bound_exact_sum(args) if product is None else product.run()
    shape, safe = args.shapes.result, 1 + (8 * args.shapes.length + 64) * 2.0**-52
    quantization, certain, variance = _bound_quantization(args, safe)
    lost = found.lost.reshape(shape)
    parts = {}
    with np.errstate(all="ignore"):
        for name in ("alignment", "register", "epilogue"):
            part = getattr(found, name).reshape(shape) * safe
            parts[name] = np.where(np.isnan(part), np.inf, part)
        total = quantization + parts["alignment"] + parts["register"] + parts["epilogue"]
        total = np.where(lost | np.isnan(total), np.inf, total * safe)
        # Half of the failure probability goes to the operands' roundings, half to the sum's.
        reach = math.sqrt(2 * math.log(4 / failure))
        likely = certain + found.certain.reshape(shape)
        likely = likely + reach * (np.sqrt(variance) + np.sqrt(found.variance.reshape(shape)))
        likely = np.where(lost | np.isnan(likely), np.inf, likely * safe)
    return ErrorBound(
        total=total,
        quantization=quantization,
        probabilistic=np.minimum(likely, total),
        failure=failure,
        sources=_list_sources(accumulator, _check_pair_of_specs(spec)),
        **parts,
    )
