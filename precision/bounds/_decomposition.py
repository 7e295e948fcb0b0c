"""The error of a product, split into its causes by replaying the unit and recording each step's changes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from precision._support._types import Array
from precision._support.machine._float_environment import (
    in_default_environment,
    methods_in_default_environment,
)
from precision.accumulators._accumulator import Accumulator
from precision.accumulators._accumulator_text import as_accumulator
from precision.accumulators._operand_layout import Stack
from precision.accumulators._operand_layout import values as stack_values
from precision.accumulators._product import Product
from precision.accumulators._step import Step
from precision.bounds._accumulation import (
    OUTPUT_FORMATS,
    PreparedProduct,
    SumOfProducts,
    Tile,
    split_into_tiles,
)
from precision.bounds._running_error import NO_PLACE, Side, StepRules, as_float64, powers, top_powers
from precision.bounds._whole_product import Specs, prepare
from precision.formats._codec import round_to
from precision.formats._named import TF32
from precision.formats._rounding_modes import Overflow, Rounding
from precision.gemm._matrix_product import matmul
from precision.gemm._operands import Operand
from precision.metrics._scaled_sums import multiply_by_power, sum_squares
from precision.quantization._quantized_tensor import QuantizedTensor
from precision.units._plain_arithmetic import EXACT

PARTS = ("quantization", "alignment", "register", "epilogue", "unexplained")


@dataclass(frozen=True, eq=False)
@methods_in_default_environment
class Explanation:
    """The error of a product, split by cause: ``total`` is the sum of the five other arrays.

    All are float64 and of the result's shape.

    Attributes
    ----------
    total : ndarray
        result - reference.
    quantization : ndarray
        The change by converting the operands: the exact product that the unit is given, less the reference.
    alignment, register : ndarray
        The changes by cutting aligned terms, and by rounding into the register, in all steps together.
    epilogue : ndarray
        The other changes by the declared arithmetic: promotion, scales, the type of the result.
    unexplained : ndarray
        The result less the emulated result: zero for a product that does as declared.

    Examples
    --------
    >>> import numpy as np, precision as pr
    >>> from precision import bounds
    >>> rng = np.random.default_rng(0)
    >>> a, b = (np.abs(rng.standard_normal(shape)).astype(np.float32) for shape in ((64, 512), (512, 64)))
    >>> spec = pr.QuantSpec(pr.E4M3, pr.PerTensor())
    >>> y = pr.matmul(pr.quantize(a, spec), pr.quantize(b, spec, axis=0))
    >>> found = bounds.explain(y, a @ b.astype(np.float64), spec=spec, accumulator=pr.HOPPER_FP8, a=a, b=b)
    >>> max(found.shares(), key=found.shares().get), bool(found.unexplained.any())
    ('alignment', False)
    """

    total: Array
    quantization: Array
    alignment: Array
    register: Array
    epilogue: Array
    unexplained: Array

    def shares(self) -> dict[str, float]:
        """Return each part's share of the total, <part, total> / <total, total>, by the part's name.

        The shares add up to one. All are 0 where the total is zero everywhere or has no elements, and NaN
        where the total holds NaN.
        """
        total = sum_squares(self.total.ravel())
        values, exponent = total.values.reshape(self.total.shape), total.exponent
        size = float(np.vdot(values, values))
        if not size:
            return dict.fromkeys(PARTS, 0.0)
        parts = {name: getattr(self, name) for name in PARTS}
        if exponent:
            parts = {name: np.ldexp(part, -exponent) for name, part in parts.items()}
        return {name: float(np.vdot(part, values)) / size for name, part in parts.items()}

    def __str__(self) -> str:
        shares, lines = self.shares(), [f"{'part':<14}{'rms':>11}{'largest':>11}{'mean':>12}{'share':>9}"]
        for name in ("total", *PARTS):
            part = getattr(self, name)
            if not part.size:
                return "no outputs"
            found = sum_squares(part.ravel())
            rms = multiply_by_power(math.sqrt(found.total / part.size), found.exponent)
            numbers = rms, np.abs(part).max(), part.mean()
            share = 1.0 if name == "total" else shares[name]
            lines.append(
                f"{name:<14}{numbers[0]:11.3e}{numbers[1]:11.3e}{numbers[2]:12.3e}{100 * share:8.2f}%"
            )
        return "\n".join(lines)


def _round_to_integers(x: Array, mode: Rounding) -> Array:
    """Round to integers by a rounding mode; the numbers and their fractions must be exact in float64."""
    if mode is Rounding.TOWARD_ZERO:
        return np.trunc(x)
    if mode is Rounding.TIES_TO_EVEN:
        return np.rint(x)
    if mode is Rounding.TOWARD_POSITIVE:
        return np.ceil(x)
    if mode is Rounding.TOWARD_NEGATIVE:
        return np.floor(x)
    whole = np.trunc(x)
    rest = np.abs(x - whole)
    up = rest >= 0.5 if mode is Rounding.TIES_TO_AWAY else (rest > 0) & (np.mod(whole, 2) == 0)
    rounded: Array = whole + np.copysign(up, x)
    return rounded


class _Replay:
    """A replay of the steps of a fused sum in float64, for every output of a tile."""

    def __init__(self, left: Side, right: Side, rules: StepRules) -> None:
        self.left, self.right, self.rules = left, right, rules
        self.shape = (len(left.values), left.values.shape[1], right.values.shape[2])

    def _iterate_terms(self, first: int, last: int) -> Any:
        """Yield each term's value, and the power of two of its exponent (0 where the term is zero)."""
        left, right, group = self.left, self.right, max(1, self.left.group)
        for k in range(first, last, group):
            some = slice(k, min(last, k + group))
            value = left.values[:, :, some] @ right.values[:, some]
            place = np.full(self.shape, NO_PLACE)
            for n in range(some.start, some.stop):
                np.minimum(place, left.places[:, :, n, None] + right.places[:, n, None, :], out=place)
            term = k // group
            exponent = left.exponents[:, :, term, None].astype(np.int32) + right.exponents[:, term, None, :]
            yield value, np.where(place > NO_PLACE // 2, 0, powers(exponent))

    def run(self, register: Array, first: int, last: int) -> tuple[Array, Array]:
        """Return the changes that aligning and rounding make to a register, over K ``first`` to ``last``."""
        rules = self.rules
        fmt, least = rules.register, 2.0**rules.register.min_exponent
        aligning, rounding = np.zeros(self.shape), np.zeros(self.shape)
        for k in range(first, last, rules.products):
            end = min(k + rules.products, last)
            own = np.where(register == 0, 0, np.maximum(top_powers(np.abs(register)), least))
            largest = np.maximum(own, 2.0**rules.min_exponent)
            for _, exponent in self._iterate_terms(k, end):
                np.maximum(largest, exponent, out=largest)
            step = largest * 2.0**-rules.fraction_bits
            total = _round_to_integers(register / step, rules.alignment) * step
            aligning += total - register
            for value, _ in self._iterate_terms(k, end):
                cut = _round_to_integers(value / step, rules.alignment) * step
                aligning += cut - value
                total += cut
            register = round_to(total, fmt, rounding=rules.rounding, overflow=Overflow.NON_SATURATING) + 0.0
            rounding += register - total
        return aligning, rounding


def _replay_steps(product: SumOfProducts, step: Step, args: PreparedProduct) -> tuple[Array, Array]:
    """Return the changes that aligning and rounding made, in the result's units and its unfolded shape."""
    sizes, length, promotion = args.shapes.sizes, product.length, product.accumulator.promotion
    found = np.zeros(sizes), np.zeros(sizes)
    if not found[0].size:
        return found
    every = promotion or max(1, length)
    for first in range(0, length, every):
        last = min(length, first + every)
        start = None if promotion else args.start
        chain = not step.aligns
        changes = _replay_chain(product.accumulator, args, first, last, start) if chain else None
        for tile in split_into_tiles(sizes):
            if changes is None:
                aligning, rounding = _replay_tile(product, args, tile, first, last, start)
            else:
                aligning, rounding = np.zeros(1), changes[tile]
            factor = product.find_partial_factor(first, tile)
            found[0][tile] += aligning * factor
            found[1][tile] += rounding * factor
    for exact, _ in product.factors:
        for part in found:
            part *= exact
    return found


def _replay_tile(
    product: SumOfProducts, args: PreparedProduct, tile: Tile, first: int, last: int, start: Array | None
) -> tuple[Array, Array]:
    """Return the changes that aligning and rounding made in one tile, over K from ``first`` to ``last``."""
    pairs, rows, columns = tile
    left = product.left.take(args.shapes.left_matrix[pairs], rows, 1)
    right = product.right.take(args.shapes.right_matrix[pairs], columns, 2)
    replay = _Replay(left, right, product.rules)
    return replay.run(np.zeros(replay.shape) if start is None else as_float64(start[tile]), first, last)


def _replay_chain(
    accumulator: Accumulator, args: PreparedProduct, first: int, last: int, start: Array | None
) -> Array:
    """Return the change that float32 roundings made in a chain of additions: the chain less the exact sum."""
    shapes = args.shapes
    left = Stack(shapes.left[:, :, first:last], args.left.fmt)
    right = Stack(shapes.right[:, first:last], args.right.fmt)
    pairs = shapes.left_matrix, shapes.right_matrix
    product = Product(left, right, *pairs, None, None, start)
    chained = accumulator.promoted(None).run(product, np.dtype(np.float32))
    exact = as_float64(stack_values(left)[pairs[0]]) @ as_float64(stack_values(right)[pairs[1]])
    out: Array = chained.astype(np.float64) - exact
    return out if start is None else out - start


def _read_as_unit(operand: Operand, fmt: object) -> Operand:
    """Return an operand as the unit reads it: TF32 units ignore float32's low 13 bits."""
    if isinstance(operand, QuantizedTensor) or fmt != TF32:
        return operand
    return stack_values(Stack(np.ascontiguousarray(operand).view(np.uint32), TF32))


def _multiply_exactly(a: Operand, b: Operand) -> Array:
    """Return the exact product rounded once to float64; with a float64 operand, NumPy's own product."""
    if any(np.asarray(x).dtype == np.float64 for x in (a, b) if not isinstance(x, QuantizedTensor)):
        wide = (x.dequantize(np.float64) if isinstance(x, QuantizedTensor) else np.asarray(x) for x in (a, b))
        left, right = (x.astype(np.float64) for x in wide)
        return np.asarray(left @ right)
    return matmul(a, b, accumulator=EXACT, dtype=np.float64)


@in_default_environment
def explain(
    result: npt.ArrayLike,
    reference: npt.ArrayLike | None = None,
    *,
    accumulator: Accumulator,
    a: Operand,
    b: Operand,
    spec: Specs = None,
    c: npt.ArrayLike | None = None,
) -> Explanation:
    """Split the error of a product into quantization, alignment, register and epilogue.

    Parameters
    ----------
    result : array_like
        The result that a kernel gave for ``a @ b``: float16, bfloat16, float32 or float64.
    reference : array_like, optional
        The wanted result, of the same shape. By default the exact product of ``a`` and ``b``, rounded to
        float64 (the product of float64 arrays is float64's own).
    accumulator : FusedSum, FmaChain or Exact
        The arithmetic that the kernel declares.
    a, b : array or QuantizedTensor
        What `matmul` takes or, with ``spec``, the originals that it quantizes.
    spec : QuantSpec, or a pair of QuantSpec or None, optional
        How ``a`` and ``b`` are quantized, as `error_bound` takes it; of a pair, None leaves an operand as it
        is.
    c : array, optional
        As `matmul` takes it; it counts in the default reference as `matmul` scales it.

    Returns
    -------
    Explanation
        Arrays of the result's shape, which add up to ``result - reference`` (to float64's rounding).

    Raises
    ------
    TypeError, ValueError
        As `matmul` and `quantize` raise them, and if a shape does not fit.

    Notes
    -----
    The unit is replayed step by step. A step adds exact terms p to a register r, and gives
    r' = r + sum(p) + d + e, where d is what cutting the terms and the register to the step's last place
    changed, and e is what rounding the sum into the register changed. So the last register is the exact sum
    plus all d (``alignment``) plus all e (``register``), each times the scales that apply to it: nothing is
    attributed twice, and each of the two obeys its own part of `error_bound`. What promotion, scales and the
    result's type round is the rest of the emulated error. A kernel whose arithmetic is another than the
    declared one has an ``unexplained`` part.

    Where an operand, the result or the emulated result is NaN or Inf, the arrays but ``alignment`` and
    ``register`` are NaN or Inf. Without outputs they have no elements. Time is that of some M * N * K float64
    operations in NumPy. Terms that sum up to more than 53 bits (`ScaledGroups` with wide operands or scales)
    may be attributed with an error of float64's size.

    Examples
    --------
    >>> import numpy as np, precision as pr
    >>> from precision import bounds
    >>> a = pr.encode(np.array([[448.0, 1.0, -448.0]]), pr.E4M3)
    >>> b = pr.encode(np.array([[448.0], [1.0], [448.0]]), pr.E4M3)
    >>> print(bounds.explain(pr.matmul(a, b), accumulator=pr.HOPPER_FP8, a=a, b=b))
    part                  rms    largest        mean    share
    total           1.000e+00  1.000e+00  -1.000e+00  100.00%
    quantization    0.000e+00  0.000e+00   0.000e+00    0.00%
    alignment       1.000e+00  1.000e+00  -1.000e+00  100.00%
    register        0.000e+00  0.000e+00   0.000e+00    0.00%
    epilogue        0.000e+00  0.000e+00   0.000e+00    0.00%
    unexplained     0.000e+00  0.000e+00   0.000e+00    0.00%
    """
    observed = np.asarray(result)
    if observed.dtype.name not in OUTPUT_FORMATS:
        raise TypeError(f"result must be an array of {', '.join(OUTPUT_FORMATS)}, got {observed.dtype}")
    if (np.asarray(reference).dtype.kind, np.asarray(reference).dtype.itemsize > 8) == ("f", True):
        raise TypeError(
            f"reference must be an array of at most 64 bits an element, got {np.asarray(reference).dtype}"
        )
    accumulator = as_accumulator(accumulator)
    args = prepare(spec, accumulator, a, b, c, observed.dtype)
    shape = args.shapes.result
    for name, array in (("result", observed), ("reference", reference)):
        if array is not None and np.shape(array) != shape:
            raise ValueError(f"{name} must have the product's shape {shape}, got {np.shape(array)}")
    given = args.given
    used = [_read_as_unit(x, side.fmt) for x, side in zip(given, (args.left, args.right), strict=True)]
    with np.errstate(all="ignore"):
        begun: Array | float = 0.0
        steps = np.zeros(args.shapes.sizes), np.zeros(args.shapes.sizes)
        if args.start is not None:
            begun = args.start.astype(np.float64)
        if accumulator.step is not None:
            product = SumOfProducts(accumulator, accumulator.step, args)
            steps = _replay_steps(product, accumulator.step, args)
            for exact, _ in product.factors:
                begun = begun * exact
        begun = (
            begun if isinstance(begun, float) else np.broadcast_to(begun, args.shapes.sizes).reshape(shape)
        )
        exact_used = _multiply_exactly(used[0], used[1]) + begun
        emulated = np.asarray(matmul(given[0], given[1], accumulator=accumulator, c=c, dtype=observed.dtype))
        emulated, observed = emulated.astype(np.float64), observed.astype(np.float64)
        wanted = (
            _multiply_exactly(a, b) + begun if reference is None else np.asarray(reference).astype(np.float64)
        )
        alignment, register = (part.reshape(shape) for part in steps)
        return Explanation(
            total=observed - wanted,
            quantization=exact_used - wanted,
            alignment=alignment,
            register=register,
            epilogue=emulated - exact_used - alignment - register,
            unexplained=observed - emulated,
        )
