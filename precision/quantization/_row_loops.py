"""Runs the loops of `_kernels.quantize`: arrays of any shape as rows, rows in pieces, pieces on threads."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from precision._kernels._params import StochasticParams
from precision._support._argument_checks import check_axis
from precision._support._array_checks import check_dtype, refuse_masked, refuse_overlapping
from precision._support._shared_memory import refuse_shared
from precision._support._types import Array
from precision._support.machine._threads import parallel
from precision.formats._code_checks import clean_codes
from precision.formats._codec_constants import MODES, format_params, nearest_suits, short_params
from precision.formats._float_format import FloatFormat
from precision.formats._named import format_of
from precision.formats._rounding_modes import Overflow, Rounding, Stochastic, checked_offset, signed64
from precision.quantization import _group_loops
from precision.quantization._granularity import Block, filled, scale_shape
from precision.quantization._quant_spec import QuantSpec
from precision.quantization._quantized_tensor import QuantizedTensor
from precision.quantization._scale_constants import (
    element_ends,
    scale_params,
    scale_target,
    tensor_scale_of,
    trial_params,
)
from precision.quantization._scale_rules import NonFinite

if TYPE_CHECKING:
    from precision._kernels.numbers._four_over_six import Trial
    from precision._kernels.numbers._group_scales import ScaleParams


PIECE = 1 << 20  # elements that one call of a loop works on; less for small arrays, and never more
TILE = 1 << 14  # elements between the stages: source, quotients and codes stay in second-level cache


class Span(NamedTuple):
    """The rows and columns of one piece."""

    top: int
    bottom: int
    left: int
    right: int


class Rows:
    """An array as rows along ``axis``: (outer, inner, width) without a copy, whatever its strides."""

    def __init__(self, array: Array, axis: int) -> None:
        outer, inner = math.prod(array.shape[:axis]), math.prod(array.shape[axis + 1 :])
        self.width, self.inner, self.count = array.shape[axis], inner, outer * inner
        # One sheet where the rows are the array's own; else one for each index before the axis.
        self.sheet = self.count if inner == 1 else inner
        if inner == 1:
            self.sheets = array.reshape(1, outer, self.width)
        else:
            self.sheets = array.reshape(outer, self.width, inner).transpose(0, 2, 1)

    def take(self, span: Span, dtype: np.dtype[Any]) -> Array:
        """The elements of a piece, contiguous and flat; a view where they already are."""
        first, last = span.top // self.sheet, (span.bottom - 1) // self.sheet
        columns = slice(span.left, span.right)
        if first == last:
            rows = slice(span.top - first * self.sheet, span.bottom - first * self.sheet)
            return _contiguous(self.sheets[first, rows, columns], dtype).reshape(-1)
        taken = np.empty((span.bottom - span.top, span.right - span.left), dtype)
        for index in range(first, last + 1):
            start, stop = max(span.top, index * self.sheet), min(span.bottom, (index + 1) * self.sheet)
            rows = slice(start - index * self.sheet, stop - index * self.sheet)
            taken[start - span.top : stop - span.top] = _contiguous(self.sheets[index, rows, columns], dtype)
        return taken.reshape(-1)


def _contiguous(part: Array, dtype: np.dtype[Any]) -> Array:
    """A two-dimensional array as a contiguous one of ``dtype``; a view where it already is."""
    if min(part.shape) > 8 and part.strides[0] < part.strides[1]:
        # NumPy would walk a column at a time, which the cache does not hold.
        from precision._kernels.numbers._quantizing_loops import gather

        word = np.dtype(f"u{part.itemsize}")
        straight = np.empty(part.shape, part.dtype)
        gather(part.view(word), straight.view(word).reshape(-1))
        part = straight
    return np.ascontiguousarray(part, dtype)


def quantized(
    x: npt.ArrayLike, spec: QuantSpec, axis: int, out: QuantizedTensor | None, offset: int = 0
) -> QuantizedTensor:
    """What `QuantSpec.quantize` returns."""
    source = source_of(x)
    first = checked_offset(offset, source.size)
    given = spec.granularity.block(source.shape, axis)
    block = filled(given, source.shape)
    # Rows run along the axis of the groups; of a block's axes along the one that memory runs along.
    spread = [i for i, step in enumerate(block) if step > 1] or [check_axis(axis, source.ndim)]
    along = min(spread, key=lambda i: abs(source.strides[i]))
    codes, scale = _targets(source, spec, given, along, out)
    tensor_scale = np.float32(1) if spec.tensor_scale else None
    if source.size:
        code_rows, keep_codes = _as_rows(codes, along, spec.fmt.code_dtype, source)
        scale_rows, keep_scales = _as_rows(scale, along, spec.scale_format.code_dtype, source)
        others = [i for i in range(source.ndim) if i != along]
        leading = tuple(source.shape[i] for i in others), tuple(block[i] for i in others)
        run = _Run(Rows(source, along), spec, block[along], leading, code_rows, scale_rows, first)
        tensor_scale = run.run()
        keep_codes()
        keep_scales()
    return QuantizedTensor._of_clean_codes(
        codes,
        scale=scale,
        fmt=spec.fmt,
        tensor_scale=tensor_scale,
        block=given,
        scale_format=spec.scale_format,
    )


def dequantized(tensor: QuantizedTensor, dtype: np.dtype[Any], out: Array | None) -> Array:
    """What `QuantizedTensor.dequantize` returns."""
    # In the order of the codes in memory, which is that of a new result as well.
    order = tuple(np.argsort([-abs(step) for step in tensor.codes.strides], kind="stable").tolist())
    clean = clean_codes(tensor.codes, tensor.fmt)
    codes = np.ascontiguousarray(clean.transpose(order)).view(tensor.fmt.code_dtype)
    given = None if out is None else out.transpose(order)
    direct = given is not None and given.flags.c_contiguous and not _overlaps(given, tensor)
    result = given if given is not None and direct else np.empty(codes.shape, dtype)
    if codes.size:
        _fill_values(tensor, order, codes, result)
    if given is not None and out is not None:
        if not direct:
            given[...] = result
        return out
    return result.transpose(np.argsort(order))


def _overlaps(out: Array, tensor: QuantizedTensor) -> bool:
    return np.may_share_memory(out, tensor.codes) or np.may_share_memory(out, tensor.scale)


def _fill_values(tensor: QuantizedTensor, order: tuple[int, ...], codes: Array, result: Array) -> None:
    """Values of contiguous codes, whose axes are the tensor's in ``order``."""
    block = [filled(tensor.block, tensor.shape)[axis] for axis in order]
    width, group = codes.shape[-1], min(block[-1], codes.shape[-1])
    flat, target = codes.reshape(-1), result.reshape(-1)
    if width % group == 0 and all(step == 1 for step in block[:-1]):
        scales = clean_codes(tensor.scale, tensor.scale_format, "scale").transpose(order)
        scales = np.ascontiguousarray(scales).view(tensor.scale_format.code_dtype)
        formats = tensor.fmt, tensor.scale_format
        if _group_loops.dequantize(flat, scales.reshape(-1), *formats, tensor.tensor_scale, group, target):
            return
    row_of = _block_rows(codes.shape[:-1], tuple(block[:-1]))
    multipliers = tensor.multipliers().transpose(order)
    multipliers = np.ascontiguousarray(multipliers).reshape(-1, multipliers.shape[-1])

    from precision._kernels.numbers import _quantizing_loops as kernels

    fmt, one = format_params(tensor.fmt), result.dtype.type(1)

    loop = kernels.dequantize_each if group == 1 else kernels.dequantize

    def work(start: int, stop: int) -> None:
        loop(flat, start, stop, width, group, multipliers, row_of, fmt, one, target)

    def part_of_row(start: int, stop: int) -> None:
        for row, (left, right) in ((n // len(parts), parts[n % len(parts)]) for n in range(start, stop)):
            here, own = slice(row * width + left, row * width + right), row_of[row]
            scales = multipliers[own : own + 1, left // group : -(-right // group)]
            count = right - left
            loop(flat[here], 0, 1, count, min(group, count), scales, row_of[:1] * 0, fmt, one, target[here])

    if width <= PIECE:
        parallel(work, len(row_of), max(1, (PIECE >> 2) // width))
        return
    parts = list(_parts(width, group, PIECE))
    parallel(part_of_row, len(row_of) * len(parts), 1)


def _parts(width: int, group: int, most: int) -> Iterator[tuple[int, int]]:
    """Cut a row into parts of at most ``most`` elements: of whole groups, or of one group that is longer."""
    if group <= most:
        step = most // group * group
        yield from ((left, min(left + step, width)) for left in range(0, width, step))
        return
    for low in range(0, width, group):
        end = min(low + group, width)
        yield from ((left, min(left + most, end)) for left in range(low, end, most))


class _Run:
    """One call of `quantize`: rows, the spec, and the arrays of (rows, width) codes and scales to fill."""

    def __init__(
        self,
        rows: Rows,
        spec: QuantSpec,
        group: int,
        leading: tuple[tuple[int, ...], tuple[int, ...]],
        codes: Array,
        scales: Array,
        offset: int,
    ) -> None:
        from precision._kernels.numbers import _quantizing_loops as kernels

        self.kernels, self.rows, self.spec, self.offset = kernels, rows, spec, signed64(offset)
        self.codes, self.scales = codes, scales
        self.group = min(group, rows.width)
        self.groups = -(-rows.width // self.group)
        self.leading = leading
        self.piece = min(PIECE, max(PIECE >> 4, rows.count * rows.width >> 4))
        if spec.scale_rule.tries_two_scales or self.groups > 1:
            self.piece = max(self.piece, min(PIECE, self.group))  # whole groups
        self.long = self.group > self.piece  #: each group lies in several pieces
        wide = rows.sheets.dtype == np.float64
        self.dtype = np.dtype(np.float64 if wide else np.float32)
        self.word = np.dtype(np.uint64 if wide else np.uint32)
        self.magnitude = self.word.type((1 << (8 * self.word.itemsize - 1)) - 1)
        self.infinity = np.array(np.inf, self.dtype).view(self.word)[()]
        self.encode = self._element_loop()
        self.target = scale_target(spec)
        flat = all(step == 1 for step in leading[1])
        self.blocks = _group_loops.quantizer(spec, self.dtype, self.group, rows.width) if flat else None

    def run(self) -> np.float32 | None:
        """Fill codes and scales; the tensor scale is returned."""
        spec, dtype = self.spec, self.dtype
        if self.blocks is not None:
            tensor = tensor_scale_of(spec, self._largest()) if spec.tensor_scale else None
            how = scale_params(spec, dtype, tensor)
            # What was read last may lie in a cache still.
            self._each(lambda span: self._quantize(span, how, None), backwards=spec.tensor_scale)
            return None if tensor is None else tensor.value
        single = all(step == 1 for step in self.leading[1]) and not spec.scale_rule.tries_two_scales
        if single and not spec.tensor_scale and not self.long:
            how = scale_params(spec, dtype, None)
            self._each(lambda span: self._quantize(span, how, None))
            return None
        finite = spec.non_finite is NonFinite.FINITE_AMAX
        amax = self._amax(finite)
        tensor = tensor_scale_of(spec, amax) if spec.tensor_scale else None
        how = scale_params(spec, dtype, tensor)
        if spec.scale_rule.tries_two_scales:
            divisors = self._better_scales(amax, how, trial_params(spec, dtype, tensor))
        else:
            divisors = self._scales(amax, how)
        row_of = _block_rows(*self.leading)
        self._each(lambda span: self._quantize(span, how, divisors[row_of[span.top : span.bottom]]))
        return None if tensor is None else tensor.value

    # ---- pieces ---------------------------------------------------------------------------------
    def _spans(self) -> Iterator[Span]:
        """Whole rows, or parts of one row: whole groups, or parts of a long one."""
        width = self.rows.width
        if width <= self.piece:
            step = self.piece // width
            for top in range(0, self.rows.count, step):
                yield Span(top, min(top + step, self.rows.count), 0, width)
            return
        for row in range(self.rows.count):
            for left, right in _parts(width, self.group, self.piece):
                yield Span(row, row + 1, left, right)

    def _each(self, work: Any, *, backwards: bool = False) -> None:
        spans = list(self._spans())[:: -1 if backwards else 1]

        def loop(start: int, stop: int) -> None:
            for span in spans[start:stop]:
                work(span)

        parallel(loop, len(spans), 1)

    def _groups(self, span: Span) -> slice:
        return slice(span.left // self.group, -(-span.right // self.group))

    def _quantize(self, span: Span, how: ScaleParams, divisors: Array | None) -> None:
        """Codes of a piece; its scales as well, unless the ``divisors`` of its rows are given."""
        x = self.rows.take(span, self.dtype)
        height, width = span.bottom - span.top, span.right - span.left
        groups = self._groups(span)
        if self.blocks is not None:
            codes = self.codes[span.top : span.bottom, span.left : span.right].reshape(-1)
            scales = self.scales[span.top : span.bottom, groups].reshape(-1)
            self.blocks.quantize(x, how, codes, scales)
            return
        count = height * (groups.stop - groups.start)
        tile_rows = max(1, TILE // width)
        tile_width = width
        if width > TILE and self.groups > 1 and not self.long:
            tile_width = max(1, TILE // self.group) * self.group
        elif width > TILE and divisors is not None:
            tile_width = TILE
        amax = np.empty(count if divisors is None else 0, self.dtype)
        q = np.empty(min(tile_rows * tile_width, x.size), self.dtype)
        scales = self.scales[span.top : span.bottom, groups] if divisors is None else self.scales[:0, :0]
        piece = self.kernels.Piece(
            x,
            x.view(self.word),
            self.magnitude,
            self.infinity,
            amax,
            amax.view(self.word),
            scales.reshape(-1),
            np.empty(count, np.float32) if divisors is None else divisors[:, groups].reshape(-1),
            q,
            q.view(self.word),
        )
        shape = self.kernels.Shape(width, self.group, tile_rows, tile_width, int(divisors is not None))
        codes = self.codes[span.top : span.bottom, span.left : span.right].reshape(-1)
        where = self.kernels.Position(span.top, span.left, self.rows.width, self.rows.inner, self.offset)
        self.encode(piece, shape, how, self.target, codes, where)

    def _element_loop(self) -> Any:
        """The loop for the spec's rounding and the source's type."""
        fmt, rounding, bits = self.spec.fmt, self.spec.rounding, 8 * self.dtype.itemsize
        ends = element_ends(self.spec)
        params, short = format_params(fmt), short_params(fmt)
        if isinstance(rounding, Stochastic):
            random = StochasticParams(rounding.bits, rounding.seed & 0xFFFFFFFF, rounding.seed >> 32)
            loop = getattr(self.kernels, f"quantize_random{bits}")
            return lambda *a: loop(*a[:5], random, params, ends, a[5])
        # Both signs alike: a sign bit with its zero, or symmetric two's complement.
        alike = params.max_code == params.max_negative and (params.negative_zero or params.negate_flip)
        nearest = rounding is Rounding.TIES_TO_EVEN and self.spec.overflow is Overflow.SATURATE and alike
        nearest = nearest and self.spec.non_finite is NonFinite.NAN_SCALE  # else quotients may be NaN
        if nearest and bits == 32 and short is not None and nearest_suits(short, short.maximum):
            return lambda *a: self.kernels.quantize_nearest32(*a[:5], short, params, ends)
        loop = getattr(self.kernels, f"quantize{bits}")
        return lambda *a: loop(*a[:5], MODES[rounding], params, ends)

    # ---- scales ---------------------------------------------------------------------------------
    def _largest(self) -> Array:
        """The largest magnitude of each piece, for the fast loops."""
        blocks, found = self.blocks, []
        assert blocks is not None
        self._each(lambda span: found.append(blocks.largest(self.rows.take(span, self.dtype))))
        return np.array(found, np.float32)

    def _amax(self, finite: bool) -> Array:
        """Largest magnitudes, of the scales' shape (rows, groups)."""
        from precision._kernels.numbers import _group_scales

        # A long group is searched in parts, of which the last one has fewer.
        step = self.piece if self.long else self.group
        parts = -(-self.group // step)
        amax = np.zeros((self.rows.count, self.groups * parts), self.word)

        def work(span: Span) -> None:
            x = self.rows.take(span, self.dtype).view(self.word)
            height, length = span.bottom - span.top, span.right - span.left
            first = span.left // self.group * parts + span.left % self.group // step
            part = amax[span.top : span.bottom, first : first + -(-length // step)].reshape(-1)
            if finite:
                masks = self.magnitude, self.infinity
                _group_scales.largest_finite_magnitudes(x, height, 0, length, step, *masks, part, 0)
            else:
                _group_scales.largest_magnitudes(x, height, 0, length, step, self.magnitude, part, 0)

        self._each(work)
        if self.long:
            amax = amax.reshape(-1, self.groups, parts).max(axis=2)
        shape, block = self.leading
        stack = amax.reshape(*shape, self.groups)
        for axis, size in enumerate(block):
            if size > 1:
                stack = np.maximum.reduceat(stack, np.arange(0, shape[axis], size), axis=axis)
        return np.ascontiguousarray(stack).reshape(-1, self.groups).view(self.dtype)

    def _scales(self, amax: Array, how: ScaleParams) -> Array:
        """Fill the scales; the elements' divisors are returned, of the same shape."""
        from precision._kernels.numbers._group_scales import make_scales

        divisors = np.empty(amax.shape, np.float32)
        flat = amax.reshape(-1), self.scales.reshape(-1), divisors.reshape(-1)

        def work(start: int, stop: int) -> None:
            make_scales(flat[0], start, stop, how, self.target, flat[1], flat[2])

        parallel(work, amax.size, TILE)
        return divisors

    def _better_scales(self, amax: Array, how: ScaleParams, trial: Trial) -> Array:
        """The same where two scales are tried on the elements of each group, which all lie in one row."""
        from precision._kernels.numbers._four_over_six import better_scales

        divisors = np.empty(amax.shape, np.float32)

        def work(span: Span) -> None:
            where = slice(span.top, span.bottom), self._groups(span)
            flat = [array[where].reshape(-1) for array in (amax, self.scales, divisors)]
            rows, width = span.bottom - span.top, span.right - span.left
            x = self.rows.take(span, self.dtype)
            better_scales(x, rows, width, self.group, flat[0], how, self.target, trial, *flat[1:])

        self._each(work)
        return divisors


def _block_rows(shape: tuple[int, ...], block: tuple[int, ...]) -> Array:
    """The row of the scales for each row of elements, rows being the indices into ``shape`` in C order."""
    row_of = np.zeros(1, np.int64)
    for size, step, count in zip(shape, block, scale_shape(shape, block), strict=True):
        row_of = (row_of[:, None] * count + np.arange(size) // step).reshape(-1)
    return row_of


def source_of(x: npt.ArrayLike) -> Array:
    """``x`` as an array of a floating-point type that can be quantized, or an error that says why not."""
    refuse_masked("x", x)
    source = np.asarray(x)
    native = source.dtype.newbyteorder("=")
    try:
        known = isinstance(format_of(native), FloatFormat)
    except (TypeError, ValueError):
        known = False
    if not known:
        raise TypeError(
            f"x must be of a floating-point type (float16, bfloat16, …, float64), got {source.dtype}"
        )
    if source.ndim == 0:
        raise ValueError("x must have at least one axis, got a scalar")
    return source.astype(native, copy=False)


def checked_out(shape: tuple[int, ...], dtype: npt.DTypeLike, out: Array | None) -> np.dtype[Any]:
    """The type to dequantize to, or an error if it is another than float32 and float64, or ``out`` unfit."""
    kind = check_dtype(dtype, "float32 or float64")
    if kind not in (np.float32, np.float64):
        raise TypeError(f"dtype must be float32 or float64, got {kind}")
    if out is not None:
        refuse_masked("out", out)
        if not isinstance(out, np.ndarray):
            raise TypeError(f"out must be an ndarray, got {type(out).__name__}")
        if out.dtype != kind:
            raise TypeError(f"out must have dtype {kind}, got {out.dtype}")
        if out.shape != shape:
            raise ValueError(f"out must have shape {shape}, got {out.shape}")
        if not out.flags.writeable:
            raise ValueError("out must be writable, got a read-only array")
        refuse_overlapping("out", out)
    return kind


def _targets(source: Array, spec: QuantSpec, block: Block, along: int, out: object) -> tuple[Array, Array]:
    """Codes and scales to fill: new ones, contiguous along the axis, or those of ``out`` if they fit."""
    if out is None:
        shapes = source.shape, scale_shape(source.shape, block)
        codes, scale = (
            np.moveaxis(np.empty((*shape[:along], *shape[along + 1 :], shape[along]), fmt.dtype), -1, along)
            for shape, fmt in zip(shapes, (spec.fmt, spec.scale_format), strict=True)
        )
        return codes, scale
    if not isinstance(out, QuantizedTensor):
        raise TypeError(f"out must be a QuantizedTensor, got {type(out).__name__}")
    wanted = (source.shape, spec.fmt, block, spec.scale_format)
    got = (out.shape, out.fmt, out.block, out.scale_format)
    for name, ours, theirs in zip(("shape", "fmt", "block", "scale_format"), wanted, got, strict=True):
        if ours != theirs:
            raise ValueError(f"out must have {name} {ours}, got {theirs}")
    if not (out.codes.flags.writeable and out.scale.flags.writeable):
        raise ValueError("out must be writable, got read-only codes or scales")
    refuse_shared(codes=out.codes, scale=out.scale)
    refuse_overlapping("the codes of out", out.codes)
    refuse_overlapping("the scales of out", out.scale)
    return out.codes, out.scale


def _as_rows(
    array: Array, along: int, code_dtype: np.dtype[Any], source: Array
) -> tuple[Array, Callable[[], None]]:
    """``array`` as rows of codes along an axis to fill, and what to call when they are filled."""
    moved = np.moveaxis(array, along, -1)
    direct = moved.flags.c_contiguous and not np.may_share_memory(array, source)
    rows = moved if direct else np.empty(moved.shape, array.dtype)

    def keep() -> None:
        if not direct:
            moved[...] = rows

    return rows.view(code_dtype).reshape(-1, moved.shape[-1]), keep
