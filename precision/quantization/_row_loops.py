"""Quantization of an array row by row: compiled loops that are run on pieces of it by several threads."""

from __future__ import annotations

import dataclasses
import functools
import operator
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np

from precision._kernels._params import NO_SHORT, TIES_TO_EVEN, ModeParams, ShortParams, StochasticParams
from precision._support._argument_checks import check_axis
from precision._support._plans import planned
from precision._support._types import Array
from precision.formats._codec_constants import MODES, format_params, nearest_suits, short_params
from precision.formats._conversion_loop import same_but_for_sign
from precision.formats._rounding_modes import Overflow, Rounding, Stochastic, signed64
from precision.quantization import _group_loops
from precision.quantization._granularity import Block, PerTensor, clip_block
from precision.quantization._row_views import Rows, Span, Target, block_rows, in_pieces, row_parts
from precision.quantization._scale_constants import (
    element_ends,
    scale_params,
    scale_target,
    tensor_scale_of,
    trial_params,
)
from precision.quantization._scale_rules import NonFinite
from precision.quantization._spec_fields import SpecFields

if TYPE_CHECKING:
    from precision._kernels.numbers._four_over_six import Trial
    from precision._kernels.numbers._group_scales import Rule, ScaleFormat, ScaleParams
    from precision._kernels.numbers._packed_params import Packed


Mode: TypeAlias = StochasticParams | ModeParams
"""The parameters of the rounding of elements."""

PIECE = 1 << 20  # the most elements that one call of a loop works on; for small arrays it is fewer
TILE = 1 << 13  # elements that pass all stages at a time, so that they stay in the caches near the core


def quantize_rows(
    source: Array,
    spec: SpecFields,
    given: Block,
    axis: int,
    offset: int,
    out: tuple[Array, Array] | None,
) -> tuple[Array, Array, np.float32 | None]:
    """Quantize an array by a spec whose block is ``given``; return its codes, scales and tensor scale.

    The codes and scales are those of ``out``, or new arrays that are contiguous along the axis.
    """
    shape, block = source.shape, clip_block(given, source.shape)
    # Rows run along the axis of the groups; if a block spans several axes, along the most contiguous one.
    spread = [i for i, step in enumerate(block) if step > 1] or [check_axis(axis, source.ndim)]
    along = spread[0] if len(spread) == 1 else min(spread, key=lambda i: abs(source.strides[i]))
    plan = plan_of(spec, source.itemsize == 8)
    if out is None:
        counts = tuple([-(-size // step) for size, step in zip(shape, block, strict=True)])
        codes, scale = Target.new(shape, along, plan.code_dtype), Target.new(counts, along, plan.scale_dtype)
    else:
        codes, scale = (Target.given(array, along, source) for array in out)
    tensor_scale = np.float32(1) if spec.tensor_scale else None
    if source.size:
        leading = shape[:along] + shape[along + 1 :], block[:along] + block[along + 1 :]
        run = _Run(plan, Rows(source, along), block[along], leading, codes.rows, scale.rows, offset)
        tensor_scale = run.run()
    return codes.finish(), scale.finish(), tensor_scale


class Plan(NamedTuple):
    """The parts of a run that depend only on the spec and the source's type, so that calls share them."""

    spec: SpecFields  #: with another granularity, which no loop reads
    tries_two_scales: bool
    code_dtype: np.dtype[Any]
    scale_dtype: np.dtype[Any]
    dtype: np.dtype[Any]  #: of the arithmetic: float64, or float32 for every narrower source
    word: np.dtype[Any]  #: the unsigned integers of its size
    rounding: str  #: of elements, as `quantizing_loop` calls it
    mode: Mode
    short: ShortParams  #: `NO_SHORT` if they do not suit the format and the rounding
    random: bool
    target: ScaleFormat
    plain: ScaleParams | None  #: None under a tensor scale, whose value depends on the source
    packed: Packed | None  #: all parameters of the loop; None under a tensor scale
    fast: _group_loops.Quantizer | None


_NAMES = tuple(field.name for field in dataclasses.fields(SpecFields) if field.name != "granularity")
_settings = operator.attrgetter(*_NAMES)
"""Returns the fields of a spec that a plan depends on: all but the granularity, which may have no hash."""


def plan_of(spec: SpecFields, wide: bool) -> Plan:
    """Return the plan for a spec, and for float64 sources (``wide``) or narrower ones."""
    return _plan(_settings(spec), wide)


@planned
def _plan(settings: tuple[Any, ...], wide: bool) -> Plan:
    """Build the plan for specs with these settings."""
    spec = SpecFields(granularity=PerTensor(), **dict(zip(_NAMES, settings, strict=True)))
    dtype = np.dtype(np.float64 if wide else np.float32)
    word = np.dtype(np.uint64 if wide else np.uint32)
    rounding, mode, short = _element_rounding(spec, dtype)
    target, plain = scale_target(spec), None if spec.tensor_scale else scale_params(spec, dtype, None)
    plan = Plan(
        spec=spec,
        tries_two_scales=spec.scale_rule.tries_two_scales,
        code_dtype=spec.fmt.dtype,
        scale_dtype=spec.scale_format.dtype,
        dtype=dtype,
        word=word,
        rounding=rounding,
        mode=mode,
        short=short,
        random=isinstance(mode, StochasticParams),
        target=target,
        plain=plain,
        packed=None,
        fast=_group_loops.quantizer(spec, dtype),
    )
    return plan if plain is None else plan._replace(packed=pack_parameters(plan, plain))


def pack_parameters(plan: Plan, how: ScaleParams) -> Packed:
    """Pack the parameters of a loop over elements into the arrays that it takes."""
    from precision._kernels.numbers._packed_params import packed

    spec = plan.spec
    ends = element_ends(spec)
    return packed(how, plan.target, format_params(spec.fmt), ends, plan.short, plan.mode, plan.dtype)


@functools.cache
def find_loop(rounding: str, rule: Rule, given: bool) -> Callable[..., None]:
    """Return the loop over elements for a rule, or for scales that are ``given``."""
    from precision._kernels.numbers._group_scales import Given, No
    from precision._kernels.numbers._quantizing_loops import quantizing_loop

    return quantizing_loop(rounding, rule._replace(way=Given(), plain=No()) if given else rule)


def _element_rounding(spec: SpecFields, dtype: np.dtype[Any]) -> tuple[str, Mode, ShortParams]:
    """Return how the loop for a spec and a type of source rounds, and its parameters."""
    fmt, rounding = spec.fmt, spec.rounding
    params, short = format_params(fmt), short_params(fmt)
    signed = short if short is not None and short.shift > 1 and same_but_for_sign(fmt) else NO_SHORT
    if isinstance(rounding, Stochastic):
        random = StochasticParams(rounding.bits, rounding.seed & 0xFFFFFFFF, rounding.seed >> 32)
        return "random", random, signed
    # Both signs have the same magnitudes: there is a sign bit and a -0, or symmetric two's complement.
    alike = params.max_code == params.max_negative and (params.negative_zero or params.negate_flip)
    nearest = rounding is Rounding.TIES_TO_EVEN and spec.overflow is Overflow.SATURATE and alike
    nearest = nearest and spec.non_finite is NonFinite.NAN_SCALE  # with the other rule quotients may be NaN
    if nearest and dtype == np.float32 and short is not None and nearest_suits(short, short.maximum):
        return "nearest", TIES_TO_EVEN, short
    return "any", MODES[rounding], signed


class _Run:
    """The state of one call of `quantize_rows`: its source as rows, its plan, and the arrays to fill."""

    def __init__(
        self,
        plan: Plan,
        rows: Rows,
        group: int,
        leading: tuple[tuple[int, ...], tuple[int, ...]],
        codes: Array,
        scales: Array,
        offset: int,
    ) -> None:
        self.plan, self.rows = plan, rows
        self.codes, self.scales, self.offset = codes, scales, signed64(offset)
        self.group = min(group, rows.width)
        self.groups = -(-rows.width // self.group)
        self.leading = leading
        self.flat = all(step == 1 for step in leading[1])
        # Rows that lie across memory are copied first: a copy is to stay in the second-level cache.
        most = PIECE if rows.inner == 1 else PIECE >> 2
        self.piece = min(most, max(PIECE >> 4, rows.count * rows.width >> 4))
        if plan.tries_two_scales or self.groups > 1:
            self.piece = max(self.piece, min(PIECE, self.group))  # whole groups
        self.long = self.group > self.piece  #: each group lies in several pieces
        self.fast = _group_loops.choose_loops(plan.fast, self.group, rows.width) if self.flat else None

    def run(self) -> np.float32 | None:
        """Write all codes and scales, and return the tensor scale, None without one."""
        spec, dtype, plain = self.plan.spec, self.plan.dtype, self.plan.plain
        if self.fast is not None:
            tensor = tensor_scale_of(spec, self._largest(self.fast)) if spec.tensor_scale else None
            how = plain or scale_params(spec, dtype, tensor)
            # The second pass runs backwards: what the first one read last may still be in the cache.
            self._each(lambda span: self._quantize(span, how, None), backwards=spec.tensor_scale)
            return None if tensor is None else tensor.value
        single = self.flat and not self.plan.tries_two_scales
        if single and plain is not None and not self.long:
            self._each(lambda span: self._quantize(span, plain, None))
            return None
        finite = spec.non_finite is NonFinite.FINITE_AMAX
        amax = self._amax(finite)
        tensor = tensor_scale_of(spec, amax) if spec.tensor_scale else None
        how = plain or scale_params(spec, dtype, tensor)
        if self.plan.tries_two_scales:
            divisors = self._better_scales(amax, how, trial_params(spec, dtype, tensor))
        else:
            divisors = self._scales(amax, how)
        row_of = block_rows(*self.leading)
        self._each(lambda span: self._quantize(span, how, divisors[row_of[span.top : span.bottom]]))
        return None if tensor is None else tensor.value

    # ---- pieces ---------------------------------------------------------------------------------
    def _spans(self) -> Iterator[Span]:
        """Yield pieces: whole rows, whole groups of one row, or parts of a long group."""
        width = self.rows.width
        if width <= self.piece:
            step = self.piece // width
            for top in range(0, self.rows.count, step):
                yield Span(top, min(top + step, self.rows.count), 0, width)
            return
        for row in range(self.rows.count):
            for left, right in row_parts(width, self.group, self.piece):
                yield Span(row, row + 1, left, right)

    def _each(self, work: Any, *, backwards: bool = False) -> None:
        if self.rows.count * self.rows.width <= self.piece:
            work(Span(0, self.rows.count, 0, self.rows.width))
            return
        spans = list(self._spans())[:: -1 if backwards else 1]

        def loop(start: int, stop: int) -> None:
            for span in spans[start:stop]:
                work(span)

        in_pieces(loop, len(spans), 1)

    def _groups(self, span: Span) -> slice:
        return slice(span.left // self.group, -(-span.right // self.group))

    def _quantize(self, span: Span, how: ScaleParams, divisors: Array | None) -> None:
        """Write the codes of a piece, and its scales unless the ``divisors`` of its rows are given."""
        plan = self.plan
        x = self.rows.take(span, plan.dtype)
        height, width = span.bottom - span.top, span.right - span.left
        groups = self._groups(span)
        codes = self.codes[span.top : span.bottom, span.left : span.right].reshape(-1)
        parameters = plan.packed
        if parameters is None or how is not plan.plain:
            parameters = pack_parameters(plan, how)
        if self.fast is not None:
            scales = self.scales[span.top : span.bottom, groups].reshape(-1)
            self.fast.quantize(x, self.group, parameters, codes, scales)
            return
        count = height * (groups.stop - groups.start)
        tile_rows = max(1, TILE // width)
        tile_width = width
        if width > TILE and self.groups > 1 and not self.long:
            tile_width = max(1, TILE // self.group) * self.group
        elif width > TILE and divisors is not None:
            tile_width = TILE
        encode = find_loop(plan.rounding, how.rule, divisors is not None)
        amax = np.empty(count if divisors is None else 0, plan.dtype)
        q = np.empty(min(tile_rows * tile_width, x.size), plan.dtype)
        scales = self.scales[span.top : span.bottom, groups] if divisors is None else self.scales[:0, :0]
        factors = np.empty(count, np.float32) if divisors is None else divisors[:, groups].reshape(-1)
        where: tuple[Any, ...] = ()
        if plan.random:
            words = np.empty(q.size, np.uint32)
            where = words, span.top, span.left, self.rows.width, self.rows.inner, self.offset
        encode(
            x, amax, scales.reshape(-1), factors, q, codes,
            width, self.group, tile_rows, tile_width, *where, *parameters,
        )  # fmt: skip

    # ---- scales ---------------------------------------------------------------------------------
    def _largest(self, fast: _group_loops.Quantizer) -> Array:
        """Return the largest magnitude of each piece, found by the fast loops."""
        found: list[np.float32] = []
        dtype, group = self.plan.dtype, self.group
        self._each(lambda span: found.append(fast.largest(self.rows.take(span, dtype), group)))
        return np.array(found, np.float32)

    def _amax(self, finite: bool) -> Array:
        """Return the largest magnitude of each group, (rows, groups), of finite elements if ``finite``."""
        from precision._kernels.numbers import _group_scales

        # A long group is searched in parts, the last of which may be shorter.
        step = self.piece if self.long else self.group
        parts = -(-self.group // step)
        amax = np.zeros((self.rows.count, self.groups * parts), self.plan.word)

        find = _group_scales.largest_finite_magnitudes if finite else _group_scales.largest_magnitudes

        def work(span: Span) -> None:
            x = self.rows.take(span, self.plan.dtype)
            height, length = span.bottom - span.top, span.right - span.left
            first = span.left // self.group * parts + span.left % self.group // step
            part = amax[span.top : span.bottom, first : first + -(-length // step)].reshape(-1)
            find(x, height, 0, length, step, part.view(self.plan.dtype), 0)

        self._each(work)
        if self.long:
            amax = amax.reshape(-1, self.groups, parts).max(axis=2)
        shape, block = self.leading
        stack = amax.reshape(*shape, self.groups)
        for axis, size in enumerate(block):
            if size > 1:
                stack = np.maximum.reduceat(stack, np.arange(0, shape[axis], size), axis=axis)
        return np.ascontiguousarray(stack).reshape(-1, self.groups).view(self.plan.dtype)

    def _scales(self, amax: Array, how: ScaleParams) -> Array:
        """Write the scales, and return the divisor of each group's elements, (rows, groups)."""
        from precision._kernels.numbers._group_scales import make_scales

        divisors = np.empty(amax.shape, np.float32)
        flat = amax.reshape(-1), self.scales.reshape(-1), divisors.reshape(-1)

        def work(start: int, stop: int) -> None:
            make_scales(flat[0], start, stop, how, self.plan.target, flat[1], flat[2])

        in_pieces(work, amax.size, TILE)
        return divisors

    def _better_scales(self, amax: Array, how: ScaleParams, trial: Trial) -> Array:
        """Write the better of two scales for each group, and return the divisor of each group's elements.

        Every group lies in one row.
        """
        from precision._kernels.numbers._four_over_six import better_scales

        divisors = np.empty(amax.shape, np.float32)

        def work(span: Span) -> None:
            where = slice(span.top, span.bottom), self._groups(span)
            flat = [array[where].reshape(-1) for array in (amax, self.scales, divisors)]
            rows, width = span.bottom - span.top, span.right - span.left
            x = self.rows.take(span, self.plan.dtype)
            better_scales(x, rows, width, self.group, flat[0], how, self.plan.target, trial, *flat[1:])

        self._each(work)
        return divisors
