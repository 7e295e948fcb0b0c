"""The arrays that studies quantize: draws of a distribution, or tensors of a file, each read when needed."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from precision._support._argument_checks import check_axis, check_int
from precision._support._suggestions import did_you_mean
from precision._support._types import Array
from precision._support.machine._float_environment import in_default_environment
from precision.formats._float_format import FloatFormat
from precision.formats._named import format_of
from precision.metrics._distributions import DISTRIBUTIONS, draw
from precision.specs._spec_text import AnySpec, check_suits
from precision.storage._array_files import read_header, read_tensor
from precision.studies._command_options import Asked, Option

_SUFFIXES = (".npy", ".safetensors")
SHAPE = (1024, 4096)
"""The default rows and columns of a matrix that is drawn."""
DESCRIPTION = (
    "FILE_OR_DISTRIBUTION is a .npy or .safetensors file, read tensor by tensor, or a distribution: "
    f"{', '.join(DISTRIBUTIONS)}."
)
"""The sentence of a subcommand's help that says which arrays it takes."""


def name_of(path: Path) -> str:
    """Return a file's name as text that JSON can hold, with bytes that are not UTF-8 escaped."""
    return path.name.encode("utf-8", "backslashreplace").decode()


class Source(NamedTuple):
    """An array that is not read yet: its name, its shape, and the function that reads it."""

    name: str
    shape: tuple[int, ...]
    read: Callable[[], Array]


class Arrays:
    """A collection of arrays under one name, of which only the last one read stays in memory.

    Parameters
    ----------
    name : str
        The name, by which tables and stores tell collections apart: other arrays need another name.
    sources : iterable of Source
        The arrays.
    """

    def __init__(self, name: str, sources: Iterable[Source]) -> None:
        self.name = name
        self.sources = {source.name: source for source in sources}
        self._held: tuple[str, Array] | None = None

    def __str__(self) -> str:
        return self.name

    @in_default_environment
    def read(self, tensor: str) -> Array:
        """Return the array of a name; the last one that was read is not read again.

        Parameters
        ----------
        tensor : str
            The name of one of the sources.

        Raises
        ------
        ValueError
            If no array has that name; the message lists the names.
        """
        if tensor not in self.sources:
            known = ", ".join(self.sources) or "none"
            hint = did_you_mean(tensor, self.sources)
            raise ValueError(f"tensor must be one of {known}; got {tensor!r}{hint}")
        held = self._held
        if held is None or held[0] != tensor:
            held = self._held = None  # frees the last array before the next one is read
            held = self._held = tensor, self.sources[tensor].read()
        return held[1]


@functools.lru_cache(maxsize=2)
def _drawn(distribution: str, rows: int, columns: int, axis: int, seed: int) -> Array:
    return draw(distribution, (rows, columns), k_axis=axis, seed=seed)


def read(data: str | Arrays, tensor: str, rows: int, columns: int, axis: int, seed: int) -> Array:
    """Return a matrix drawn from a distribution, with channels along ``axis``, or one of given `Arrays`.

    Raises
    ------
    TypeError, ValueError
        If there is no such distribution, tensor, size or axis.
    """
    if isinstance(data, Arrays):
        return data.read(tensor)
    for name, size in (("rows", rows), ("columns", columns)):
        check_int(name, size, 1, 2**31 - 1)
    check_int("seed", seed, 0, 2**63 - 1)
    return _drawn(data, rows, columns, check_axis(axis, 2), seed)


# ---- files ------------------------------------------------------------------------------------------
def _is_floating(dtype: np.dtype[Any]) -> bool:
    try:
        return isinstance(format_of(dtype.newbyteorder("=")), FloatFormat)
    except (TypeError, ValueError):
        return False


def _says_floating(dtype: object) -> bool:
    """Tell whether a type's name in a safetensors header (F32, BF16, F8_E4M3) is a floating-point type's."""
    return str(dtype).upper().startswith(("F", "BF"))


def _check(called: str, floating: bool, dtype: object, shape: tuple[int, ...]) -> None:
    if not floating:
        raise ValueError(f"{called} must be floating-point, of at most 64 bits, got {dtype}")
    if not shape or 0 in shape:
        raise ValueError(f"{called} must have at least one axis and one element, got shape {shape}")


@in_default_environment
def read_sources(path: str | Path, tensors: Sequence[str] = ()) -> tuple[Source, ...]:
    """List the array of a ``.npy`` file, or tensors of a ``.safetensors`` file, without reading tensors.

    Parameters
    ----------
    path : str or pathlib.Path
        The file to read.
    tensors : sequence of str
        The names of tensors of a safetensors file; by default every floating-point tensor with elements and
        an axis longer than 1.

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
            read_tensor(path, name)  # raises an error that suggests names
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


def suited(
    sources: Iterable[Source], specs: Iterable[AnySpec], *, axis: int = -1
) -> tuple[tuple[Source, ...], dict[str, str]]:
    """Return the sources that every spec can quantize along ``axis``, and for each other one the reason."""
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


# ---- options ----------------------------------------------------------------------------------------
def _shape(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", text)
    if found is None:
        raise ValueError(f"must be rows and columns, as 1024x4096; got {text!r}")
    return int(found[1]), int(found[2])


OPTIONS = (
    Option("data", positional=True, metavar="FILE_OR_DISTRIBUTION"),
    Option(
        "tensor",
        repeatable=True,
        metavar="NAME",
        help="Of a .safetensors file; repeatable. By default every floating-point tensor longer than 1.",
    ),
    Option("axis", int, default=-1, help="Along which groups run."),
    Option("shape", _shape, metavar="MxN", help="Of a distribution (1024x4096)."),
    Option("seed", int, least=0, default=0, help="Of a distribution."),
)
"""Options that choose the arrays which a subcommand studies; `axes` reads them."""


def axes(options: Mapping[str, Any], specs: Iterable[AnySpec]) -> Asked:
    """Build the grid of the arrays that `OPTIONS` choose and of some specs, which run fastest.

    Raises
    ------
    ValueError
        If there is no such file, tensor or distribution; if an option for distributions is given with a
        file, or the reverse; if a spec does not suit the array, or any array of the file.
    """
    data, axis, specs = options["data"], options["axis"], tuple(specs)
    if data in DISTRIBUTIONS:
        if options["tensor"]:
            raise ValueError(f"--tensor is of a file, and {data} is a distribution")
        rows, columns = options["shape"] or SHAPE
        _check_all(data, [Source("", (rows, columns), lambda: np.empty(0))], specs, axis)
        return Asked({"data": [data], "tensor": [""], "spec": specs, "rows": rows, "columns": columns})
    path = Path(data)
    if not path.is_file():
        hint = did_you_mean(data, DISTRIBUTIONS)
        missing = f"there is no file {data}" if path.suffix in _SUFFIXES else f"got {data!r}"
        raise ValueError(
            f"FILE_OR_DISTRIBUTION must be one of {', '.join(DISTRIBUTIONS)}, or a .npy or .safetensors "
            f"file; {missing}{hint}"
        )
    if options["shape"]:
        raise ValueError("--shape is of a distribution; a file's arrays have their own")
    sources, notes = read_sources(path, options["tensor"]), []
    if not options["tensor"] and len(sources) > 1:
        # From a whole file, the tensors that all specs can quantize; if there is none, the check says why.
        kept, reasons = suited(sources, specs, axis=axis)
        if kept and reasons:
            name, reason = next(iter(reasons.items()))
            notes.append(f"left out: {len(reasons)} of {len(sources)} tensors, as {name}: {reason}")
        sources = kept or sources
    _check_all(name_of(path), sources, specs, axis)
    arrays = Arrays(name_of(path), sources)
    return Asked({"data": [arrays], "tensor": list(arrays.sources), "spec": specs}, tuple(notes))


def _check_all(data: str, sources: Iterable[Source], specs: Iterable[AnySpec], axis: int) -> None:
    for name, reason in suited(sources, specs, axis=axis)[1].items():
        raise ValueError(f"{data}{f', tensor {name!r}' if name else ''}: {reason}")
