"""Grids: which calls a sweep makes, each with the text that names it in a table and a key in a store."""

from __future__ import annotations

import dataclasses
import enum
import functools
import hashlib
import inspect
import itertools
import json
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

import numpy as np

from precision._support._suggestions import near
from precision._support._types import Plain

Axes: TypeAlias = Mapping[str, Any]
_T = TypeVar("_T", int, str)


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One call: the arguments as the function gets them, and as a table shows them."""

    arguments: Mapping[str, Any]
    shown: Mapping[str, Plain]

    @functools.cached_property
    def key(self) -> str:
        """The same for the same arguments in any order: 128 bits of SHA-256 over their text."""
        text = json.dumps(dict(sorted(self.shown.items())), separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:32]


def plain(value: object) -> Plain:
    """A value as tables and stores hold it: numbers, text, None; objects that print as text by that text.

    Raises
    ------
    TypeError
        If the value has no text that says all of it.
    """
    if isinstance(value, np.generic) and value.dtype.kind not in "mM":  # whose items depend on their unit
        item = value.item()  # ml_dtypes' numbers are their own items
        return plain(float(value) if isinstance(item, np.generic) else item)
    if isinstance(value, enum.Enum):
        return str(value)
    if value is None or isinstance(value, bool):
        return value
    # Subclasses print as they like, and no store keeps them.
    if isinstance(value, int):
        return _storable(int.__int__(value))
    if isinstance(value, float):
        return float.__float__(value)
    if isinstance(value, str):
        return _storable(str.__str__(value))
    if isinstance(value, np.dtype) or (isinstance(value, type) and issubclass(value, np.generic)):
        return np.dtype(value).name
    ours = type(value).__module__.partition(".")[0] == "precision"
    if ours or (dataclasses.is_dataclass(value) and not isinstance(value, type)):
        text = str(value)
        if re.search(r" at 0x[0-9a-fA-F]+>", text):
            raise TypeError(f"got {text}, whose text is another in every process")
        fields = getattr(value, "__dataclass_fields__", {})
        if any(isinstance(getattr(value, name, None), np.ndarray) for name in fields):
            raise TypeError(f"got {text}, which holds an array: its text does not say all of it")
        return _storable(text)
    if isinstance(value, tuple):
        texts = [(part, plain(part)) for part in value]
        parts = (repr(text) if isinstance(part, str) else str(text) for part, text in texts)
        return f"({', '.join(parts)})"
    raise TypeError(
        f"got {value!r} of type {type(value).__name__}; a value must be a number, a string, None, a tuple of "
        "them, or an object that prints as text (a spec, an accumulator, an enum, a dataclass)"
    )


def _storable(value: _T) -> _T:
    """The value, if tables and stores can hold it."""
    try:
        str(value).encode()
    except ValueError as error:  # lone surrogates, and ints of thousands of digits
        raise TypeError(f"got {type(value).__name__} that cannot be written: {error}") from None
    return value


def _defaults(function: Callable[..., Any]) -> tuple[dict[str, Any], list[str], bool]:
    """The defaults of a function, the parameters that have none, and whether it takes any other name."""
    defaults: dict[str, Any] = {}
    required: list[str] = []
    takes_any = False
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind is parameter.VAR_KEYWORD:
            takes_any = True
        elif parameter.kind is parameter.POSITIONAL_ONLY:
            raise TypeError(f"function {_called(function)} has the positional-only parameter {name!r}")
        elif parameter.kind is not parameter.VAR_POSITIONAL:
            if parameter.default is parameter.empty:
                required.append(name)
            else:
                defaults[name] = parameter.default
    return defaults, required, takes_any


def _called(function: Callable[..., Any]) -> str:
    return str(getattr(function, "__qualname__", function))


def _values(name: str, values: Any, read: Callable[[Any], Any] | None) -> list[tuple[Any, Plain]]:
    """An axis: each value as the function gets it, and as it is shown."""
    if isinstance(values, set | frozenset):
        raise TypeError(f"grid[{name!r}] is a set, which has no order: give a list")
    if hasattr(values, "dims"):
        values = np.asarray(values)  # xarray's elements are arrays themselves
    if isinstance(values, np.ndarray) and values.ndim == 0:
        values = values[()]
    if isinstance(values, str | bytes | Mapping) or not isinstance(values, Iterable):
        values = [values]
    found: dict[str, tuple[Any, Plain]] = {}
    for value in values:
        if isinstance(value, np.generic):
            try:  # what the function gets must not depend on how the axis was written
                value = plain(value)
            except TypeError as error:
                raise TypeError(f"grid[{name!r}]: {error}") from None
        if read is not None:
            try:
                value = read(value)
            except (TypeError, ValueError) as error:
                raise type(error)(f"grid[{name!r}]: {error}") from error
        try:
            shown = plain(value)
        except TypeError as error:
            raise TypeError(f"grid[{name!r}]: {error}") from None
        if isinstance(shown, float) and math.isnan(shown):
            raise ValueError(f"grid[{name!r}] holds NaN, which is no value of a parameter")
        if repr(shown) in found:  # which tells 1, 1.0, True, 0.0 and -0.0 apart
            raise ValueError(f"grid[{name!r}] holds {shown!r} twice")
        found[repr(shown)] = value, shown
    if not found:
        raise ValueError(f"grid[{name!r}] is empty: it must hold at least one value")
    return list(found.values())


def cells_of(
    function: Callable[..., Any],
    grid: Axes | Sequence[Axes],
    *,
    reads: Mapping[str, Callable[[Any], Any]],
    max_cells: int,
) -> list[Cell]:
    """Every cell of a grid, or of several, each cell once, the last parameter running fastest.

    Parameters with defaults that no axis names stand in every cell with that default, where it has a text.

    Raises
    ------
    TypeError, ValueError
        As `precision.sweep.sweep` says.
    """
    defaults, required, takes_any = _defaults(function)
    if not isinstance(grid, Iterable):
        raise TypeError(f"grid must be a mapping of names to values, or several of them; got {grid!r}")
    grids = [grid] if isinstance(grid, Mapping) else list(grid)
    if not grids:
        raise ValueError("grid is empty: it must name at least one parameter")
    fixed = {}
    for name, value in defaults.items():
        try:
            fixed[name] = plain(value)
        except TypeError:
            continue  # an array, say: part of the function rather than of the table
    known = [*required, *defaults]
    if "error" in fixed or "error" in required:
        raise ValueError(f"function {_called(function)} has a parameter 'error', a column of every table")
    axes = []
    for one in grids:
        if not isinstance(one, Mapping):
            raise TypeError(f"grid must be a mapping of names to values, or several of them; got {one!r}")
        if not one:
            raise ValueError("grid is empty: it must name at least one parameter")
        for name in one:
            if not isinstance(name, str):
                raise TypeError(f"grid must be keyed by names of parameters, got {name!r}")
            if name == "error":
                raise ValueError("grid: 'error' is another column of the table")
            if name not in known and not takes_any:
                raise ValueError(
                    f"grid: {_called(function)} has no parameter {name!r}; {near(name, known, 'it has')}"
                )
        lacking = [name for name in required if name not in one]
        if lacking:
            raise ValueError(
                f"grid: {_called(function)} needs {', '.join(lacking)}, and the grid gives no values"
            )
        axes.append({name: _values(name, values, reads.get(name)) for name, values in one.items()})
    total = sum(math.prod(map(len, one.values())) for one in axes)
    if total > max_cells:
        sizes = " + ".join(" x ".join(f"{name} {len(v)}" for name, v in one.items()) for one in axes)
        raise ValueError(f"grid has {total:,} cells ({sizes}), more than max_cells = {max_cells:,}")
    found: dict[str, Cell] = {}
    order = [*known, *dict.fromkeys(name for one in axes for name in one if name not in known)]
    for one in axes:
        for point in itertools.product(*one.values()):
            arguments = {name: value for name, (value, _) in zip(one, point, strict=True)}
            texts = fixed | {name: shown for name, (_, shown) in zip(one, point, strict=True)}
            shown = {name: texts[name] for name in order if name in texts}
            cell = Cell(arguments=arguments, shown=shown)
            found.setdefault(cell.key, cell)
    return list(found.values())
