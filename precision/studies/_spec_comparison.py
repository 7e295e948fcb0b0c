"""Studies: what the ways of quantizing do to the numbers of a distribution or a file, as rows of a table."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from precision._support._argument_checks import check_axis
from precision._support._types import Array
from precision._support.machine._float_environment import (
    in_default_environment,
    methods_in_default_environment,
)
from precision.formats._float_format import FloatFormat
from precision.formats._int_format import IntFormat
from precision.formats._named import E4M3, format_of
from precision.metrics._distributions import draw
from precision.metrics._fidelity import Tally, tally
from precision.quantization import _microscaling
from precision.quantization._granularity import PerGroup, PerTensor, PerVector
from precision.quantization._quant_spec import QuantSpec
from precision.quantization._scale_rules import ScaleRule
from precision.specs._spec_text import AnySpec, check_suits
from precision.storage._array_files import read_header, read_tensor

DEFAULT_SPECS: tuple[QuantSpec, ...] = (
    _microscaling.MXFP8_E4M3,
    _microscaling.MXFP8_E5M2,
    _microscaling.MXFP6_E2M3,
    _microscaling.MXFP6_E3M2,
    _microscaling.MXFP4,
    _microscaling.NVFP4,
    _microscaling.MXINT8,
    _microscaling.MXINT4,
    _microscaling.NVINT4,
    QuantSpec(E4M3, PerGroup(128)),
    QuantSpec(E4M3, PerTensor()),
    QuantSpec(IntFormat(8), PerVector()),
)
"""What a study compares unless told otherwise: microscaling, and FP8 and INT8 with FP32 scales."""


# ---- what is studied --------------------------------------------------------------------------------
class Source(NamedTuple):
    """An array with its name and shape, read when its turn comes."""

    name: str
    shape: tuple[int, ...]
    read: Callable[[], Array]


@in_default_environment
def drawn(
    distribution: str, shape: tuple[int, int] = (1024, 4096), *, axis: int = -1, seed: int = 0
) -> Source:
    """A matrix of a named distribution (`distributions.draw`); ``axis`` is the one that holds its channels.

    Raises
    ------
    ValueError
        If there is no such distribution, or no such axis.
    """
    draw(distribution, (1, 1), k_axis=0)
    k_axis = check_axis(axis, 2)
    return Source("", shape, lambda: draw(distribution, shape, k_axis=k_axis, seed=seed))


def _is_floating(dtype: np.dtype[Any]) -> bool:
    try:
        return isinstance(format_of(dtype.newbyteorder("=")), FloatFormat)
    except (TypeError, ValueError):
        return False


def _says_floating(dtype: object) -> bool:
    """Of a type as a safetensors header writes it: F32, BF16, F8_E4M3."""
    return str(dtype).upper().startswith(("F", "BF"))


def _check(called: str, floating: bool, dtype: object, shape: tuple[int, ...]) -> None:
    if not floating:
        raise ValueError(f"{called} must be floating-point, of at most 64 bits, got {dtype}")
    if not shape or 0 in shape:
        raise ValueError(f"{called} must have at least one axis and one element, got shape {shape}")


@in_default_environment
def read_sources(path: str | Path, tensors: Sequence[str] = ()) -> tuple[Source, ...]:
    """The array of a ``.npy`` file, or tensors of a ``.safetensors`` file, each read when its turn comes.

    Parameters
    ----------
    path : path
        The file.
    tensors : sequence of str
        Tensors of a safetensors file; by default every floating-point tensor with elements and an axis
        longer than 1.

    Raises
    ------
    ValueError
        As `read_tensor` raises it; if an array is not floating-point, or is empty or a scalar.
    OSError
        If the file cannot be read.
    """
    path = Path(path)
    if path.suffix != ".safetensors":
        array = read_tensor(path, *tensors[:1])
        _check(str(path), _is_floating(array.dtype), array.dtype, array.shape)
        return (Source("", array.shape, lambda: array),)
    entries = read_header(path)
    for name in tensors:
        if name not in entries:
            read_tensor(path, name)  # raises, and says what names are near
        entry = entries[name]
        _check(f"tensor {name!r} of {path}", _says_floating(entry.dtype), entry.dtype, tuple(entry.shape))
    names = tensors or [
        name
        for name, entry in entries.items()
        if _says_floating(entry.dtype) and max(entry.shape, default=0) > 1 and 0 not in entry.shape
    ]
    if not names:
        raise ValueError(f"{path} holds no floating-point tensor with an axis longer than 1")
    return tuple(
        Source(name, tuple(entries[name].shape), functools.partial(read_tensor, path, name))
        for name in dict.fromkeys(names)
    )


@in_default_environment
def suited(
    sources: Iterable[Source], specs: Iterable[AnySpec], *, axis: int = -1
) -> tuple[tuple[Source, ...], dict[str, str]]:
    """The sources whose shape every spec can quantize along ``axis``, and why the others' is none."""
    kept: list[Source] = []
    reasons: dict[str, str] = {}
    specs = tuple(specs)
    for source in sources:
        try:
            for spec in specs:
                check_suits(spec, source.shape, axis)
            kept.append(source)
        except ValueError as error:
            reasons[source.name] = str(error)
    return tuple(kept), reasons


@in_default_environment
def with_rules(specs: Iterable[AnySpec], rules: Iterable[ScaleRule]) -> tuple[AnySpec, ...]:
    """The specs, each whose scales are powers of two followed by itself with other scale rules.

    Raises
    ------
    ValueError
        If there are rules, and no spec has such scales.

    Examples
    --------
    >>> import precision as pr
    >>> from precision.studies import with_rules
    >>> [spec.scale_rule.name for spec in with_rules([pr.MXFP4, pr.NVFP4], [pr.ScaleRule.RCEIL])]
    ['FLOOR', 'RCEIL', 'AMAX']
    """
    rules, any_powers = tuple(rules), False
    found: list[AnySpec] = []
    for spec in specs:
        found.append(spec)
        if not isinstance(spec, QuantSpec):
            continue
        if spec.scale_rule.gives_powers_of_two or not spec.scale_format.fraction_bits:
            any_powers = True
            found += [dataclasses.replace(spec, scale_rule=rule) for rule in rules]
    if rules and not any_powers:
        raise ValueError(
            f"rules ({', '.join(map(str, rules))}) are for specs whose scales are powers of two, "
            f"got {', '.join(map(str, found))}"
        )
    return tuple(dict.fromkeys(found))


# ---- rows -------------------------------------------------------------------------------------------
@dataclass(frozen=True, kw_only=True)
@methods_in_default_environment
class SpecRow:
    """One spec, and what it did to one array or (without ``tensor`` and ``shape``) to all of a file.

    Parameters
    ----------
    data : str
        The distribution or the file.
    tensor : str
        The tensor of a file of several; empty for the only array, and for the total.
    shape : tuple of int
        Of the array; empty for the total.
    spec : str
        As `specs.parse` reads it.
    tally : Tally
        The measures.
    """

    data: str
    tensor: str
    shape: tuple[int, ...]
    spec: str
    tally: Tally

    def flat(self) -> dict[str, str | int | float]:
        """One level of plain values: the columns of a table."""
        found = self.tally
        return {
            "data": self.data,
            "tensor": self.tensor,
            "shape": "x".join(map(str, self.shape)),
            "spec": self.spec,
            "elements": found.elements,
            "measured": found.measured,
            "non_finite": found.non_finite,
            "bits_per_element": found.bits_per_element,
            "sqnr_db": found.sqnr_db,
            "clipped_share": found.clipped_share,
            "flushed_share": found.flushed_share,
            "max_relative_error": found.max_relative_error if found.measured else math.nan,
            "signed_relative_error": found.signed_relative_error,
        }


@dataclass(frozen=True, kw_only=True)
@methods_in_default_environment
class QuantizationStudy:
    """Every spec on every source, and the total of each spec where there are several sources; see `tally`.

    Parameters
    ----------
    data : str
        What the rows call the sources together: a distribution, a file.
    sources : tuple of Source
        What is quantized. One is in memory at a time.
    specs : tuple of QuantSpec, LogFMT or FloatFormat
        How.
    axis : int
        Along which groups run.

    Raises
    ------
    ValueError
        If there are no sources or no specs, or a spec or ``axis`` does not suit a source's shape.

    Examples
    --------
    >>> import precision as pr
    >>> from precision.studies import QuantizationStudy, drawn
    >>> source = drawn("normal", (64, 128))
    >>> study = QuantizationStudy(data="normal", sources=(source,), specs=(pr.MXFP8_E4M3, pr.MXFP4))
    >>> [(row.spec, round(row.tally.sqnr_db), row.tally.bits_per_element) for row in study.rows()]
    [('MXFP8_E4M3', 31, 8.25), ('MXFP4', 19, 4.25)]
    """

    data: str
    sources: tuple[Source, ...]
    specs: tuple[AnySpec, ...] = DEFAULT_SPECS
    axis: int = -1

    def __post_init__(self) -> None:
        for name in ("sources", "specs"):
            if not getattr(self, name):
                raise ValueError(f"{name} must hold at least one")
        for name, reason in suited(self.sources, self.specs, axis=self.axis)[1].items():
            raise ValueError(f"{self.data}{f', tensor {name!r}' if name else ''}: {reason}")

    def __len__(self) -> int:
        return (len(self.sources) + (len(self.sources) > 1)) * len(self.specs)

    def rows(self) -> Iterator[SpecRow]:
        """The rows as they are computed: each source's, then the totals."""
        totals = [Tally()] * len(self.specs)
        for source in self.sources:
            x = source.read()
            for i, spec in enumerate(self.specs):
                found = tally(x, spec, axis=self.axis)
                totals[i] += found
                yield self._row(source, spec, found)
            del x  # before the next is read
        if len(self.sources) > 1:
            for spec, total in zip(self.specs, totals, strict=True):
                yield self._row(None, spec, total)

    def _row(self, source: Source | None, spec: AnySpec, found: Tally) -> SpecRow:
        tensor, shape = ("", ()) if source is None else (source.name, source.shape)
        return SpecRow(data=self.data, tensor=tensor, shape=shape, spec=str(spec), tally=found)
