"""The bound of a whole product: the tiles' bounds, promotion, scales and the result's type put together."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from precision import _quantization_bound as conversions
from precision._arguments import (
    Checked,
    Epilogue,
    Operand,
    Shapes,
    checked_dtype,
    checked_operand,
    checked_start,
    plan_scales,
    read_scales,
)
from precision._kernels._threads import parallel
from precision._packing import Stack
from precision._packing import values as stack_values
from precision._quantization_bound import Conversion
from precision._running_bound import (
    NEAREST,
    Machine,
    Side,
    Stray,
    grains,
    rounding_error,
    sides,
    widened,
)
from precision.accumulators import Accumulator, Exact, FmaChain, FusedSum
from precision.formats import BF16, FP16, FP32, FP64, TF32, FloatFormat
from precision.quantized import QuantizedTensor, QuantSpec
from precision.rounding import Rounding, Stochastic

Array = npt.NDArray[Any]
Tile = tuple[slice, slice, slice]
Specs = QuantSpec | tuple[QuantSpec | None, QuantSpec | None] | None

#: Outputs of a tile: its arrays of float64 stay in second-level cache.
TILE = 1 << 16
OUTPUTS = {"float16": FP16, "bfloat16": BF16, "float32": FP32, "float64": FP64}


@dataclass(frozen=True, eq=False)
class ErrorBound:
    """The largest error of each output that the declared arithmetic can make.

    Attributes
    ----------
    total : ndarray of float64
        No |result - reference| is larger. Inf where the result may be NaN or Inf, or an operand is.
    quantization, alignment, register, epilogue : ndarray of float64
        Its parts: the operands' conversion, cutting of aligned terms, rounding into the register, and all
        that comes after it (promotion, scales, the type of the result).
    probabilistic : ndarray of float64
        Exceeded with a probability of at most ``failure``, for each output, where errors of roundings to
        nearest are independent and have mean zero. Other errors count in full, so that it is no better
        than ``total`` for units that truncate throughout.
    failure : float
        See ``probabilistic``.
    sources : tuple of str
        Where each part comes from.
    """

    total: Array
    quantization: Array
    alignment: Array
    register: Array
    epilogue: Array
    probabilistic: Array
    failure: float
    sources: tuple[str, ...]


class Prepared(NamedTuple):
    """A product's checked arguments, as `matmul` checks them, and its operands' conversion."""

    left: Checked
    right: Checked
    shapes: Shapes
    start: Array | None
    kind: np.dtype[Any]
    conversions: tuple[Conversion, Conversion] | None
    given: tuple[Operand, Operand]  #: the operands, quantized


def _pair_of_specs(spec: Specs) -> tuple[QuantSpec | None, QuantSpec | None]:
    pair = spec if isinstance(spec, tuple) else (spec, spec)
    if len(pair) != 2 or not all(one is None or isinstance(one, QuantSpec) for one in pair):
        raise TypeError(f"spec must be a QuantSpec, a pair of them, or None, got {spec!r}")
    return pair


def _converted(name: str, x: Operand, spec: QuantSpec | None, axis: int) -> tuple[Operand, Array | None]:
    """What the unit is given, and the original of what ``spec`` quantizes."""
    if spec is None:
        return x, None
    if isinstance(x, QuantizedTensor):
        raise TypeError(f"{name} must be an array where spec says how to quantize it, got {x!r}")
    original = np.asarray(x)
    return spec.quantize(original, axis=axis if original.ndim > 1 else -1), original


def _conversion(
    given: Operand, original: Array | None, spec: QuantSpec | None, checked: Checked
) -> Conversion:
    if isinstance(given, QuantizedTensor):
        if original is not None and spec is not None:
            return conversions.quantizing(original, given, spec)
        return conversions.untouched(given.dequantize(np.float64))
    values = widened(np.asarray(given))
    if checked.fmt != TF32:
        return conversions.untouched(values)
    bits = np.asarray(given).view(np.uint32)
    return conversions.known(values, widened(stack_values(Stack(bits, TF32))))


def prepare(
    spec: Specs,
    accumulator: Accumulator,
    a: Operand,
    b: Operand,
    c: npt.ArrayLike | None,
    dtype: npt.DTypeLike,
) -> Prepared:
    """Check everything before any work, and quantize what the spec says."""
    if not isinstance(accumulator, (FusedSum, FmaChain, Exact)):
        raise TypeError(f"accumulator must be a FusedSum, FmaChain or Exact, got {accumulator!r}")
    specs, kind = _pair_of_specs(spec), checked_dtype(dtype)
    pairs = [
        _converted(name, x, one, axis)
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
            _conversion(given, original, which, checked)
            for (given, original), which, checked in zip(pairs, specs, (left, right), strict=True)
        )
        found = one, two
    return Prepared(left, right, shapes, start, kind, found, (pairs[0][0], pairs[1][0]))


class Parts:
    """Bounds of a tile's outputs that are scaled, added to and rounded; the exact value beside them.

    The exact value is a multiple of ``exact_grain``, what the unit has in its place one of ``grain``.
    """

    def __init__(self, value: Array, size: Array, safe: float, exact_grain: Array, grain: Array) -> None:
        self.value, self.size, self.safe = value, size, safe
        self.exact_grain, self.grain = exact_grain, grain
        nothing: Array = np.zeros(value.shape)
        self.alignment, self.register, self.epilogue = nothing, nothing, nothing
        self.certain, self.variance = nothing, nothing
        self.lost: Array = np.zeros(value.shape, np.bool_)

    @classmethod
    def of(cls, stray: Stray) -> Parts:
        """The register's."""
        parts = cls(stray.sums.copy(), stray.sizes.copy(), stray.machine.safe, stray.exact_grain, stray.grain)
        parts.alignment, parts.register = stray.alignment.copy(), stray.register.copy()
        parts.certain, parts.variance = stray.certain.copy(), stray.variance.copy()
        return parts

    @property
    def most(self) -> Array:
        """No result is larger."""
        slack = self.size * (self.safe - 1)
        return (np.abs(self.value) + slack + self.alignment + self.register + self.epilogue) * self.safe

    def scale(self, exact: Array, used: Array, rounds: bool) -> None:
        """Multiplied by ``used`` (of float32) where ``exact`` is meant; the product perhaps rounded."""
        off = np.abs(used - exact)
        self.certain = self.certain * used + np.abs(self.value) * off
        self.epilogue = self.epilogue * used + np.abs(self.value) * off
        self.alignment, self.register = self.alignment * used, self.register * used
        self.variance = self.variance * used**2
        self.value, self.size = self.value * exact, self.size * exact
        self.exact_grain, self.grain = self.exact_grain * grains(exact), self.grain * grains(used)
        self.lost |= ~(used <= FP32.max)
        if rounds:
            # A power of two rounds nothing but subnormal results.
            powers = np.frexp(used)[0] == 0.5
            self.round(FP32, np.where(powers, 2.0**-150, np.inf))

    def add(self, other: Parts) -> None:
        for name in ("value", "size", "alignment", "register", "epilogue", "certain", "variance"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.exact_grain = np.minimum(self.exact_grain, other.exact_grain)
        self.grain = np.minimum(self.grain, other.grain)
        self.lost |= other.lost

    def round(self, fmt: FloatFormat, most: Array | float = np.inf) -> None:
        """Rounded to nearest, which changes it by at most ``most``."""
        size = self.most
        change = np.minimum(rounding_error(size, fmt, Rounding.TIES_TO_EVEN, self.grain), most)
        self.lost |= ~(size <= fmt.max)
        self.epilogue = self.epilogue + change
        self.variance = self.variance + change**2

    def compare(self) -> None:
        """The reference is the exact value rounded to float64."""
        change = rounding_error(self.most, FP64, Rounding.TIES_TO_EVEN, self.exact_grain)
        self.epilogue, self.certain = self.epilogue + change, self.certain + change


class _Result(NamedTuple):
    """Arrays (results, rows, columns) to fill."""

    alignment: Array
    register: Array
    epilogue: Array
    certain: Array
    variance: Array
    lost: Array


class SumOfProducts:
    """The accumulation of a product in tiles."""

    def __init__(self, accumulator: FusedSum | FmaChain, args: Prepared) -> None:
        self.accumulator, self.shapes, self.start = accumulator, args.shapes, args.start
        self.kind, self.length, self.converted = args.kind, args.shapes.length, args.conversions is not None
        self.machine = Machine.of(accumulator, max(1, self.length))
        self.scales = read_scales(args.left, -1), read_scales(args.right, -2)
        self.epilogue: Epilogue = plan_scales(*self.scales, accumulator, self.shapes)
        stacks = Stack(self.shapes.left, args.left.fmt), Stack(self.shapes.right, args.right.fmt)
        self.left, self.right = sides(*stacks, self.epilogue.unit, accumulator)
        self.factors = self._exact_factors()

    def _exact_factors(self) -> list[tuple[Array, Array]]:
        """The factors of the finished sum: what is meant, and float32's."""
        used = [np.asarray(factor, np.float64) for factor in self.epilogue.factors]
        exact = list(used)
        tensor = [s.tensor_scale for s in self.scales if s.tensor_scale is not None]
        if tensor and used:
            exact[-1] = np.asarray(math.prod(float(scale) for scale in tensor))
        first = len(used) - bool(tensor)
        if first == 1:  # a product of both operands' scales, rounded
            sa, sb = (
                scales.expanded(len(stack), count)[which, 0].astype(np.float64)
                for scales, stack, count, which in (
                    (self.scales[0], self.shapes.left, self.shapes.rows, self.shapes.left_matrix),
                    (self.scales[1], self.shapes.right, self.shapes.columns, self.shapes.right_matrix),
                )
            )
            exact[0] = sa[:, :, None] * sb[:, None, :]
        return list(zip(exact, used, strict=True))

    def merging(self) -> float:
        """How far float32 products of two scales, which the reference takes, lie from the exact ones."""
        most = 1.0
        for scales in self.scales:
            if scales.tensor_scale is not None:
                exact = scales.values.astype(np.float64) * float(scales.tensor_scale)
                with np.errstate(all="ignore"):
                    rounded = (scales.values * scales.tensor_scale).astype(np.float64)
                    off = np.abs(rounded / exact - 1)[exact != 0]
                most *= 1 + float(off.max(initial=0))
        return most - 1

    def run(self) -> _Result:
        """Every output's bounds."""
        shape = self.shapes.sizes
        bounds = [np.zeros(shape) for _ in range(5)]
        out = _Result(bounds[0], bounds[1], bounds[2], bounds[3], bounds[4], np.zeros(shape, np.bool_))
        if not out.lost.size:
            return out
        pieces = list(tiles(shape))
        merging = self.merging()

        def work(first: int, last: int) -> None:
            with np.errstate(all="ignore"):
                for tile in pieces[first:last]:
                    self._tile(tile, merging, out)

        parallel(work, len(pieces), 1)
        return out

    def _tile(self, tile: Tile, merging: float, out: _Result) -> None:
        pairs, rows, columns = tile
        i, j = self.shapes.left_matrix[pairs], self.shapes.right_matrix[pairs]
        left, right = self.left.take(i, rows, 1), self.right.take(j, columns, 2)
        start = None if self.start is None else self.start[tile]
        parts = self._sums(
            left, right, None if start is None else np.nan_to_num(start, posinf=0, neginf=0), tile
        )
        for exact, used in self.factors:
            parts.scale(_part(exact, tile), _part(used, tile), rounds=True)
        if merging:
            off = parts.size * merging
            parts.epilogue, parts.certain = parts.epilogue + off, parts.certain + off
        if merging or self.converted:  # the reference is another number, of as many digits as there are
            parts.exact_grain = np.zeros(parts.value.shape)
        if self.kind != np.float32 and self.kind != np.float64:
            parts.round(OUTPUTS[self.kind.name])
        parts.compare()
        if start is not None:
            parts.lost |= ~np.isfinite(start)
        for name in out._fields:
            getattr(out, name)[tile] = getattr(parts, name)

    def _sums(self, left: Side, right: Side, start: Array | None, tile: Tile) -> Parts:
        """The sums before scales that multiply them at the end."""
        promotion = self.accumulator.promotion
        stray = Stray(left, right, self.machine, None if promotion else start)
        if not promotion:
            stray.run(0, self.length)
            parts = Parts.of(stray)
            parts.lost |= stray.lost
            return parts
        initial = np.zeros(stray.lost.shape) if start is None else start.astype(np.float64)
        ends = grains(initial)
        total = Parts(initial, np.abs(initial), self.machine.safe, ends, ends)
        for first in range(0, self.length, promotion):
            last = min(first + promotion, self.length)
            stray.reset()
            stray.run(first, last)
            partial = Parts.of(stray)
            self._scale_partial(partial, first, tile)
            total.add(partial)
            total.round(FP32)
        total.lost |= stray.lost
        return total

    def _group_scales(self, k: int, tile: Tile) -> tuple[Array, Array]:
        """The scales of K from ``k`` that enter at promotion."""
        groups = self.epilogue.groups
        assert groups is not None
        pairs, rows, columns = tile
        i, j = self.shapes.left_matrix[pairs], self.shapes.right_matrix[pairs]
        sa = groups.left[i, k // groups.left_group][:, rows, None].astype(np.float64)
        return sa, groups.right[j, k // groups.right_group][:, None, columns].astype(np.float64)

    def partial_factor(self, k: int, tile: Tile) -> Array | float:
        """What the sum over an interval of promotion from ``k`` is multiplied by, exactly."""
        if self.epilogue.groups is None:
            return 1.0
        sa, sb = self._group_scales(k, tile)
        factor: Array = sa * sb
        return factor

    def _scale_partial(self, partial: Parts, k: int, tile: Tile) -> None:
        """Group scales of K from ``k``; the product with the last one is fused with the addition."""
        if self.epilogue.groups is None:
            return
        sa, sb = self._group_scales(k, tile)
        if self.epilogue.groups.partial_first:
            partial.scale(sa, sa, rounds=True)
            partial.scale(sb, sb, rounds=False)
        else:
            partial.scale(sa * sb, (sa * sb).astype(np.float32).astype(np.float64), rounds=False)


def _part(x: Array, tile: Tile) -> Array:
    """The part of an array that broadcasts to (results, rows, columns)."""
    if x.ndim == 0:
        return x
    return x[tuple(slice(None) if size == 1 else some for size, some in zip(x.shape, tile, strict=True))]


def tiles(shape: tuple[int, int, int]) -> Any:
    """Slices of pairs, rows and columns, of some `TILE` outputs each."""
    pairs, rows, columns = shape
    wide = max(1, min(columns, 512))
    high = max(1, min(rows, TILE // wide))
    deep = max(1, TILE // (wide * high))
    for p in range(0, pairs, deep):
        for m in range(0, rows, high):
            for n in range(0, columns, wide):
                yield slice(p, p + deep), slice(m, m + high), slice(n, n + wide)


def _quantization(args: Prepared, safe: float) -> tuple[Array, Array, Array]:
    """Bound, certain part and squares of what converting the operands does to the result."""
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


def _exact(args: Prepared) -> _Result:
    """The bounds of `EXACT`: one rounding to the result's type."""
    a, b = (
        given.quantized.dequantize(np.float64) if given.quantized is not None else widened(given.codes)
        for given in (args.left, args.right)
    )
    safe = 1 + (8 * args.shapes.length + 64) * 2.0**-52
    with np.errstate(all="ignore"):
        value, size = (np.asarray(x @ y).reshape(args.shapes.sizes) for x, y in ((a, b), (abs(a), abs(b))))
        if args.start is not None:
            value, size = value + args.start, size + np.abs(args.start)
        ends = [grains(np.asarray(x)).min(initial=np.inf) for x in (a, b, args.start) if x is not None]
        grain = np.full(value.shape, min(ends[0] * ends[1], *ends[2:], np.inf))
        parts = Parts(value, size, safe, grain, grain)
        parts.round(OUTPUTS[args.kind.name])
        if args.conversions is not None:
            parts.exact_grain = np.zeros(value.shape)
        parts.compare()
    parts.lost |= ~np.isfinite(size)
    return _Result(*(getattr(parts, name) for name in _Result._fields))


def _sources(accumulator: Accumulator, specs: tuple[QuantSpec | None, QuantSpec | None]) -> tuple[str, ...]:
    found = []
    for spec in specs:
        if spec is not None:
            text = "half a step" if spec.rounding in NEAREST else "a step"
            found.append(f"quantization: {text} of {spec.fmt} times the scale, or what is clipped")
            if isinstance(spec.rounding, Stochastic):
                found.append("stochastic rounding: mean zero (Connolly, Higham, Mary, SIMAX 42, 2021)")
    if isinstance(accumulator, FusedSum):
        found.append("alignment: terms with bits below 2**(largest exponent - fraction_bits), one step each")
    if not isinstance(accumulator, Exact):
        found.append("register: one rounding a step (running error analysis: Higham 2002, section 3.3)")
    found.append("epilogue: one rounding an operation")
    found.append("probabilistic: Azuma-Hoeffding, as in Higham and Mary, SISC 41(5), 2019")
    return tuple(dict.fromkeys(found))


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
    """For each output of ``a @ b`` the largest error that the declared arithmetic can make.

    Parameters
    ----------
    spec : QuantSpec, or a pair of QuantSpec or None, or None
        How ``a`` and ``b`` are quantized: the reference is then the exact product of the originals. Of a
        pair, None leaves an operand as it is. With None alone the reference is the exact product of what
        the unit is given.
    accumulator : FusedSum, FmaChain or Exact
        How products are summed.
    a, b : array or QuantizedTensor
        What `matmul` takes or, with ``spec``, the originals that it quantizes.
    c : array, optional
        As `matmul` takes it. It counts in the reference as `matmul` scales it.
    dtype : data type
        The result's: float16, bfloat16, float32 or float64.
    failure : float
        How often, for each output, ``probabilistic`` may be exceeded.

    Returns
    -------
    ErrorBound
        ``total`` and its parts, of the result's shape.

    Raises
    ------
    TypeError, ValueError
        As `matmul` and `quantize` do, and if ``failure`` is no number between 0 and 1.

    Notes
    -----
    The reference may be rounded to float64, which the bound allows for. It is Inf where an operand, a scale
    or ``c`` is NaN or Inf, where a register, a scale or the result may overflow, and where a spec that does
    not saturate may. It depends on the data, but on no emulation: it holds for whatever sums in the steps and
    with the roundings that the accumulator declares, in that order.

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
    args = prepare(spec, accumulator, a, b, c, dtype)
    product = None if isinstance(accumulator, Exact) else SumOfProducts(accumulator, args)
    found = _exact(args) if product is None else product.run()
    shape, safe = args.shapes.result, 1 + (8 * args.shapes.length + 64) * 2.0**-52
    quantization, certain, variance = _quantization(args, safe)
    lost = found.lost.reshape(shape)
    parts = {}
    with np.errstate(all="ignore"):
        for name in ("alignment", "register", "epilogue"):
            part = getattr(found, name).reshape(shape) * safe
            parts[name] = np.where(np.isnan(part), np.inf, part)
        total = quantization + parts["alignment"] + parts["register"] + parts["epilogue"]
        total = np.where(lost | np.isnan(total), np.inf, total * safe)
        # Half of the failures for the operands' roundings, half for the sum's.
        reach = math.sqrt(2 * math.log(4 / failure))
        likely = certain + found.certain.reshape(shape)
        likely = likely + reach * (np.sqrt(variance) + np.sqrt(found.variance.reshape(shape)))
        likely = np.where(lost | np.isnan(likely), np.inf, likely * safe)
    return ErrorBound(
        total=total,
        quantization=quantization,
        probabilistic=np.minimum(likely, total),
        failure=failure,
        sources=_sources(accumulator, _pair_of_specs(spec)),
        **parts,
    )
